//! Reads one capture file after another.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use martlet_observe::batch::{EncodedFile, FileEncoder};
use martlet_observe::capture::file::{CaptureError, CaptureFile};
use martlet_observe::import::{self, ImportSettings};
use martlet_observe::pipeline::Outcomes;
use martlet_wire::v1::Stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::Imported;
use super::error::{FileError, ImportError};
use super::feed::{Fed, Feed, FeedError};
use super::meter::{Meter, Work};
use super::stream::{Contents, FileStream, GROUPS_AHEAD};

/// Reads files and feeds their batches. It blocks, and so has a thread of its own.
pub(super) struct Reader {
    runtime: Handle,
    settings: ImportSettings,
    feed: Arc<Feed>,
    stop: Arc<AtomicBool>,
    meter: Arc<Meter>,
}

/// A file whose stream is known.
struct Identified {
    file: CaptureFile,
    epoch: u64,
    stamp: Stamp,
}

/// What tells that a file is no longer the one that was identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(data: &fs::Metadata) -> Stamp {
        Stamp { inode: data.ino(), length: data.len(), modified: (data.mtime(), data.mtime_nsec()) }
    }
}

/// What reading a file gave.
struct FileRead {
    outcomes: Outcomes,
    parts: u64,
    span: Option<(i64, i64)>,
    contents: Contents,
    damage: Option<CaptureError>,
    /// Whether it was read as far as it can be.
    is_whole: bool,
}

impl Reader {
    pub(super) fn new(
        runtime: Handle,
        settings: ImportSettings,
        feed: Arc<Feed>,
        stop: Arc<AtomicBool>,
        meter: Arc<Meter>,
    ) -> Reader {
        Reader { runtime, settings, feed, stop, meter }
    }

    /// Imports files until there are no more, or it is told to stop.
    pub(super) fn import(&self, files: &[PathBuf]) -> Result<Imported, ImportError> {
        let mut imported = Imported::default();
        for path in files {
            let identified = self.identify(path);
            if self.is_stopped() {
                imported.is_cut_off = true;
                break;
            }
            match identified {
                Ok(identified) => self.import_file(path, identified, &mut imported)?,
                Err(error) => imported.errors.push(error),
            }
        }
        Ok(imported)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    fn identify(&self, path: &Path) -> Result<Identified, FileError> {
        self.meter.begin(Work::Identify, path);
        let at = |source| CaptureError::Io { file: path.to_owned(), source };
        let data = fs::metadata(path).map_err(at)?;
        if !data.is_file() && !data.is_dir() {
            return Err(FileError::Irregular(path.to_owned()));
        }
        let file = CaptureFile::open(path, &self.meter.progress)?;
        let content = Stoppable { file: File::open(path).map_err(at)?, stop: &self.stop };
        let epoch = self.settings.epoch(content).map_err(at)?;
        let stamp = Stamp::of(&data);
        if Stamp::of(&fs::metadata(path).map_err(at)?) != stamp {
            return Err(FileError::Growing(path.to_owned()));
        }
        Ok(Identified { file, epoch, stamp })
    }

    fn import_file(&self, path: &Path, identified: Identified, imported: &mut Imported) -> Result<(), ImportError> {
        let Identified { mut file, epoch, stamp } = identified;
        self.meter.begin(Work::Read, path);
        let stream = Stream { origin: self.settings.origin(), epoch };
        let known = self.runtime.block_on(self.feed.open(stream, &self.settings.sensor))?;
        let (groups, made) = mpsc::channel(GROUPS_AHEAD);
        let feeding = self.runtime.spawn(self.feed.clone().run(stream, made));
        let over = Arc::new(AtomicBool::new(false));
        let batches = FileStream::new(epoch, known, groups, over.clone());
        let read = self.read(&mut file, batches, &over, imported.outcomes.packets);
        let fed = self.runtime.block_on(feeding).map_err(|_| ImportError::Ended("the feed".to_owned()))?;
        let FileRead { outcomes, parts, span, contents, damage, is_whole } = read?;

        imported.files += u64::from(is_whole);
        imported.is_cut_off |= !is_whole && self.is_stopped();
        imported.outcomes.add(&outcomes);
        imported.parts += parts;
        imported.rows += contents.rows;
        imported.known_batches += contents.batches.min(known.expected);
        imported.span = match (imported.span, span) {
            (Some((first, last)), Some((from, to))) => Some((first.min(from), last.max(to))),
            (before, of_this) => before.or(of_this),
        };
        let complaints = damage.into_iter().chain(file.complaints());
        imported.errors.extend(complaints.map(FileError::Capture));
        let Fed { taken, failure } = fed;
        imported.new_batches += taken;
        let file = path.to_owned();
        match failure {
            Some(FeedError::Ended) => return Err(ImportError::Ended("a thread".to_owned())),
            Some(FeedError::Refused(reason)) => imported.errors.push(FileError::Refused { file, reason }),
            None if contents.differ || is_whole && contents.batches < known.expected => {
                imported.errors.push(FileError::OtherBatches(file));
            }
            // One that is gone was read all the same.
            None if fs::metadata(path).is_ok_and(|data| Stamp::of(&data) != stamp) => {
                imported.errors.push(FileError::Changed(file));
            }
            None => {}
        }
        Ok(())
    }

    /// Reads a file through the pipeline.
    fn read(
        &self,
        file: &mut CaptureFile,
        batches: FileStream,
        over: &AtomicBool,
        packets_before: u64,
    ) -> Result<FileRead, ImportError> {
        let ImportSettings { limits, aim, .. } = self.settings;
        let mut sink = FileEncoder::new(self.settings.batch_identity(), limits, aim.unavailable(), batches)?;
        let mut pipeline = self.settings.pipeline();
        let mut is_whole = true;
        let read = import::read(file, &mut pipeline, &mut sink, |_, outcomes| {
            self.meter.packets.store(packets_before + outcomes.packets, Relaxed);
            is_whole = !self.is_stopped() && !over.load(Relaxed);
            if is_whole { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let EncodedFile { batches, parts, span } = sink.finish()?;
        let (outcomes, contents) = (*pipeline.outcomes(), batches.finish());
        Ok(FileRead { outcomes, parts, span, contents, damage: read.err(), is_whole })
    }
}

/// A file that cannot be read any more once the import is to stop.
struct Stoppable<'a> {
    file: File,
    stop: &'a AtomicBool,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Relaxed) {
            return Err(io::Error::other("the import is stopped"));
        }
        self.file.read(buffer)
    }
}
