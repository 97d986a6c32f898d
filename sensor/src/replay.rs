//! `martlet-sensor replay`: the path of a live sensor from capture files, keeping capture time.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use martlet_window::{Posture, SensorName, Timestamp, TrafficClass, WindowLength};
use rand::RngCore;
use sha2::{Digest, Sha256};

use crate::aggregate::{Aggregator, Part, Sink, TableLimits, WindowTable};
use crate::batch::{BatchIdentity, FileSink, handover};
use crate::capture::file::{CaptureError, CaptureFile, Progress};
use crate::classify::Aim;
use crate::count::progress_bar;
use crate::identity;
use crate::pipeline::{Outcomes, Pipeline};
use crate::screen::{AddressSet, Screen};
use crate::spool::{self, MemoryDisk, SpoolFigures, SpoolSettings};
use crate::uplink::{self, ClientTls, TcpDial, TlsDial, UplinkSettings, UplinkState};

/// What to replay, and where to.
#[derive(Debug)]
pub struct ReplayOptions {
    /// Capture files; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// Observed networks; empty if every packet counts.
    pub observe: AddressSet,
    /// Whether answers to what the observed addresses sent are left out.
    pub drop_solicited: bool,
    /// The address that senders aimed at.
    pub aim: Aim,
    /// Drill or import.
    pub class: TrafficClass,
    /// How the observed addresses behaved.
    pub posture: Posture,
    /// Name under which the counts are published.
    pub sensor: SensorName,
    /// Length of a window.
    pub window: WindowLength,
    /// Caps of a window part.
    pub limits: TableLimits,
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
    let origin = identity::of_imports(options.sensor.as_str());
    let epoch = epoch(options, path)?;
    let identity = BatchIdentity { origin, class: options.class, posture: options.posture };
    // The file is the batches' durable copy: an import that was cut off is repeated, and counts once.
    let figures = Arc::new(SpoolFigures::default());
    let (spool, mut outlet, _) =
        spool::open(MemoryDisk::default(), origin, SpoolSettings::replay(), figures.clone(), Box::new(move || epoch))?;
    let (handover, batcher) = handover(identity);
    let settings = UplinkSettings { origin, name: options.sensor.clone(), max_rows: options.limits.max_rows };
    let mut dial = TlsDial { under: TcpDial { collector: collector.to_owned() }, tls: options.tls.clone() };
    let (parts, encoded, sent) = thread::scope(|scope| {
        let encoder = scope.spawn(move || batcher.run(spool));
        let uplink = scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let state = UplinkState::default();
            let sent = runtime.block_on(uplink::run(&settings, &mut outlet, &mut dial, &mut rand::rng(), &state));
            if sent.is_err() {
                // Nobody takes batches any more: let the encoder, and with it the reader, run through.
                outlet.abandon();
            }
            sent.map_err(anyhow::Error::from)
        });
        let unavailable = options.aim.unavailable();
        let mut sink = FileSink { handover: &handover, limits: options.limits, unavailable, parts: 0 };
        pump(options, file, &mut sink, meter, replayed);
        let parts = sink.parts;
        drop(handover);
        (parts, encoder.join(), uplink.join())
    });
    encoded.map_err(|_| anyhow::anyhow!("the encoder panicked"))??;
    sent.map_err(|_| anyhow::anyhow!("the uplink panicked"))??;
    let lost = figures.dropped_in_all().batches;
    anyhow::ensure!(lost == 0, "the collector would not take {lost} batches of {}", path.display());
    replayed.parts += parts;
    replayed.batches += figures.delivered.load(Relaxed);
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
    let aggregator = Aggregator::new(options.window, options.limits);
    let screen = Screen::offline(&options.observe, options.drop_solicited);
    let mut pipeline = Pipeline::new(screen, options.aim, options.observe.clone(), aggregator);
    let mut pace = options.speed.map(Pace::new);
    let mut newest = Timestamp(i64::MIN);
    loop {
        match file.next_frame() {
            Ok(Some(frame)) => {
                if let Some(pace) = &mut pace {
                    pace.wait_for(frame.time);
                }
                // Only progress closes windows: behind a wrong clock each late packet would close its own.
                if frame.time > newest {
                    newest = frame.time;
                    pipeline.tick(newest, sink);
                }
                pipeline.take(frame, sink);
                if pipeline.outcomes().frames.is_multiple_of(65_536) {
                    meter.show();
                }
            }
            Ok(None) => break,
            Err(error) => {
                replayed.errors.push(error);
                break;
            }
        }
    }
    if newest.0 != i64::MIN {
        pipeline.finish(newest, sink);
    }
    replayed.add(pipeline.outcomes());
}

impl Replayed {
    fn add(&mut self, outcomes: &Outcomes) {
        self.outcomes.frames += outcomes.frames;
        self.outcomes.packets += outcomes.packets;
        for (sum, frames) in self.outcomes.rejected.iter_mut().zip(outcomes.rejected) {
            *sum += frames;
        }
    }
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

/// Holds frames back to a multiple of real time.
struct Pace {
    speed: f64,
    began: Option<(Instant, Timestamp)>,
}

impl Pace {
    const fn new(speed: f64) -> Pace {
        Pace { speed, began: None }
    }

    fn wait_for(&mut self, time: Timestamp) {
        let (start, first) = *self.began.get_or_insert_with(|| (Instant::now(), time));
        let elapsed = u64::try_from(time.0.saturating_sub(first.0)).unwrap_or(0);
        let due = Duration::try_from_secs_f64(Duration::from_nanos(elapsed).as_secs_f64() / self.speed);
        let Some(due) = due.ok().and_then(|due| start.checked_add(due)) else { return };
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// The epoch of a file: its hash together with everything that decides what its batches are, so that the same
/// import counts once, and another import of the same file is another.
fn epoch(options: &ReplayOptions, path: &Path) -> Result<u64> {
    if path == Path::new("-") {
        // Standard input cannot be read twice; each such import is taken for a new one.
        return Ok(rand::rng().next_u64());
    }
    let content = file_hash(path).with_context(|| path.display().to_string())?;
    let settings = format!(
        "{:?} {} {:?} {:?} {:?} {} {:?}",
        options.observe.networks(),
        options.drop_solicited,
        options.aim,
        options.class,
        options.posture,
        options.window.seconds(),
        options.limits
    );
    let [a, b, c, d, e, f, g, h, ..] = identity::hash(&[&content, settings.as_bytes()]);
    Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
}

fn file_hash(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(sha.finalize().into()),
            read => sha.update(&buffer[..read]),
        }
    }
}
