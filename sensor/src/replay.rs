//! `martlet-sensor replay`: the path of a live sensor from capture files, keeping capture time.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use martlet_observe::aggregate::{Part, Sink, TableLimits, WindowTable};
use martlet_observe::batch::FileSink;
use martlet_observe::capture::file::{CaptureError, CaptureFile, Progress};
use martlet_observe::import::{self, ImportSettings};
use martlet_observe::pipeline::Outcomes;
use martlet_observe::progress::progress_bar;
use rand::RngCore;

use crate::delivery::Delivery;
use crate::pace::Pace;
use crate::uplink::ClientTls;

/// What to replay, and where to.
#[derive(Debug)]
pub struct ReplayOptions {
    /// Capture files; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// What decides the batches.
    pub import: ImportSettings,
    /// Times faster than real time; `None` for as fast as it goes.
    pub speed: Option<f64>,
    /// Host and port of the collector; `None` to count windows only.
    pub collector: Option<String>,
    /// How it is called over TLS; `None` for plain TCP.
    pub tls: Option<ClientTls>,
}

/// What was replayed.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Outcomes of all frames.
    pub outcomes: Outcomes,
    /// Windows, or parts of them.
    pub parts: u64,
    /// Count rows.
    pub rows: u64,
    /// Batches that the collector acknowledged.
    pub batches: u64,
    /// What went wrong with files.
    pub errors: Vec<CaptureError>,
}

/// Replays all files.
///
/// # Errors
/// If the collector refuses the stream; damaged files are reported in the result.
pub fn run(options: &ReplayOptions) -> Result<Replayed> {
    let mut replayed = Replayed::default();
    let bar = progress_bar(&options.files);
    let progress = Progress::default();
    for path in &options.files {
        let mut file = match CaptureFile::open(path, &progress) {
            Ok(file) => file,
            Err(error) => {
                replayed.errors.push(error);
                continue;
            }
        };
        let meter = Meter { bar: &bar, progress: &progress };
        match &options.collector {
            Some(collector) => deliver(options, path, &mut file, collector, &meter, &mut replayed)?,
            None => {
                let mut sink = Counting::default();
                pump(options, &mut file, &mut sink, &meter, &mut replayed);
                replayed.parts += sink.parts;
                replayed.rows += sink.rows;
            }
        }
        replayed.errors.extend(file.complaints());
    }
    bar.finish_and_clear();
    Ok(replayed)
}

/// Replays one file to the collector: one epoch, named after the file and after all that decides its batches.
fn deliver(
    options: &ReplayOptions,
    path: &Path,
    file: &mut CaptureFile,
    collector: &str,
    meter: &Meter<'_>,
    replayed: &mut Replayed,
) -> Result<()> {
    let import = &options.import;
    // The file is the batches' durable copy: an import that was cut off is repeated, and counts once.
    let delivery = Delivery::start(import, epoch(import, path)?, collector, options.tls.clone())?;
    let unavailable = import.aim.unavailable();
    let mut sink = FileSink { handover: delivery.handover(), limits: import.limits, unavailable, parts: 0 };
    pump(options, file, &mut sink, meter, replayed);
    replayed.parts += sink.parts;
    replayed.batches += delivery.finish().with_context(|| path.display().to_string())?;
    Ok(())
}

/// Reads a file to its end through the pipeline.
fn pump(
    options: &ReplayOptions,
    file: &mut CaptureFile,
    sink: &mut dyn Sink,
    meter: &Meter<'_>,
    replayed: &mut Replayed,
) {
    let mut pipeline = options.import.pipeline();
    let mut pace = options.speed.map(Pace::new);
    let read = import::read(file, &mut pipeline, sink, |time, outcomes| {
        if let Some(pace) = &mut pace {
            pace.wait_for(time);
        }
        if outcomes.frames.is_multiple_of(65_536) {
            meter.show();
        }
        ControlFlow::Continue(())
    });
    replayed.errors.extend(read.err());
    replayed.outcomes.add(pipeline.outcomes());
}

/// Where the progress bar gets its numbers.
struct Meter<'a> {
    bar: &'a ProgressBar,
    progress: &'a Progress,
}

impl Meter<'_> {
    fn show(&self) {
        self.bar.set_position(self.progress.bytes());
    }
}

/// Counts windows and rows, and throws them away: for a trial run.
#[derive(Default)]
struct Counting {
    parts: u64,
    rows: u64,
    tables: Vec<WindowTable>,
}

impl Sink for Counting {
    fn part(&mut self, part: Part) {
        self.parts += 1;
        if let Some(mut table) = part.table {
            self.rows += table.sorted_rows().count() as u64;
            table.clear();
            self.tables.push(table);
        }
    }

    fn table(&mut self) -> WindowTable {
        self.tables.pop().unwrap_or_else(|| WindowTable::new(TableLimits::default()))
    }
}

/// The epoch of a file. Standard input cannot be read twice; each such import is taken for a new one.
fn epoch(import: &ImportSettings, path: &Path) -> Result<u64> {
    if path == Path::new("-") {
        return Ok(rand::rng().next_u64());
    }
    let at = || path.display().to_string();
    import.epoch(File::open(path).with_context(at)?).with_context(at)
}
