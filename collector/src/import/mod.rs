//! `martlet-collector import`: capture files become history, in this process and without a network.
//!
//! ```text
//! one thread                                                        the runtime            threads of crate::pipeline
//! capture file --frame--> observe --batch--> FileStream --groups--> Feed --payloads----> aggregate::Worker
//!                                            (leaves out what        |  <---decoded--------/
//!                                             the ledger has)        +----Submission---> journal::Stage
//! ```
//!
//! A file is the stream of batches that `martlet-sensor replay` would send of it (`martlet_observe::import`), and goes the way of
//! all batches from where a connection's frames have been read: workers decode, the journal stage decides, and what it accepts
//! is counted and committed. So all that holds for a sensor's batches holds for a file's: each counts once, whatever happens to
//! the process, and an import that was cut off goes on where it ended.
//!
//! - `files`: reads one file after another.
//! - `stream`: the batches of one file.
//! - `feed`: has batches decoded and decided.
//! - `meter`: how far it has come.
//!
//! Memory is bounded by named limits: of windows ([`TableLimits`](martlet_observe::aggregate::TableLimits)), of groups in
//! front of the feed, and by `ingest.batch_memory_bytes` behind it. Whoever is ahead waits.

mod error;
mod feed;
mod files;
mod meter;
mod stream;

use std::convert::Infallible;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use jiff::Timestamp;
use martlet_observe::import::ImportSettings;
use martlet_observe::pipeline::Outcomes;
use martlet_telemetry::shutdown::Shutdown;
use rustix::process::geteuid;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{self, spawn_blocking};
use tokio::time::{interval, sleep, timeout};

use crate::clock::SystemClock;
use crate::config::Config;
use crate::geo::Geo;
use crate::journal::{Condition, Queue, State};
use crate::pipeline::Links;
use crate::run::{FOLLOWERS, StartError, finish_history, start_threads};
use crate::store::{DirectoryLock, Location, LockError};

pub use error::{FileError, ImportError};
use feed::Feed;
use files::Reader;
use meter::Meter;

/// How often it is shown how far the import has come.
const SHOW: Duration = Duration::from_millis(250);
/// After a signal, how long batches on their way may take to be decided while the disk takes nothing.
const DRAIN: Duration = Duration::from_secs(5);
/// How often the journal stage is asked to end: each time its patience with its last commit begins anew.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What to import.
#[derive(Debug)]
pub struct ImportOptions {
    /// Capture files.
    pub files: Vec<PathBuf>,
    /// What decides their batches.
    pub settings: ImportSettings,
}

/// What was imported.
#[derive(Debug, Default)]
pub struct Imported {
    /// Files that were read to their end, or to where they are damaged.
    pub files: u64,
    /// Outcomes of all frames.
    pub outcomes: Outcomes,
    /// Windows, or parts of them.
    pub parts: u64,
    /// Count rows.
    pub rows: u64,
    /// Batches that count from now on.
    pub new_batches: u64,
    /// Batches that an earlier import or replay had brought.
    pub known_batches: u64,
    /// Start of the first window with packets and end of the last one, in seconds since the Unix epoch.
    pub span: Option<(i64, i64)>,
    /// Buckets of history that found no room in memory.
    pub evicted_buckets: u64,
    /// Whether it ended before the files did.
    pub is_cut_off: bool,
    /// The signal that it got.
    pub signal: Option<&'static str>,
    /// Records of the journal that the next start has to replay.
    pub uncommitted_records: u64,
    /// What went wrong with files.
    pub errors: Vec<FileError>,
}

impl Imported {
    /// Whether everything that there was has been imported, and committed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.errors.is_empty() && !self.is_cut_off && self.uncommitted_records == 0
    }
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = if self.files == 1 { "file" } else { "files" };
        writeln!(f, "{} {files}: {}", self.files, self.outcomes)?;
        write!(f, "{} windows or parts, {} rows", self.parts, self.rows)?;
        if let Some((first, last)) = self.span {
            write!(f, ", from {} to {}", at(first), at(last))?;
        }
        write!(f, "\n{} batches new, {} known already", self.new_batches, self.known_batches)
    }
}

fn at(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s"), |time| time.to_string())
}

/// Imports all files. When this returns, what was imported is committed and archived, unless the result says otherwise: what was
/// committed before a signal is archived by the next start.
///
/// # Errors
/// If the data directory or the stages cannot be had, or nothing more can be imported. What is wrong with one file is in the
/// result.
pub async fn run(config: Config, options: ImportOptions) -> Result<Imported, ImportError> {
    let shutdown = Shutdown::install().map_err(ImportError::Signals)?;
    let mut requested = std::pin::pin!(shutdown.requested());
    check(&config, &options.settings)?;
    let _lock = DirectoryLock::take(&config.store.data_dir).map_err(|error| match error {
        LockError::InUse(path) => ImportError::InUse(path),
        unusable @ LockError::Unusable { .. } => ImportError::Start(unusable.into()),
    })?;
    let links = Arc::new(Links::new(&config, Arc::new(SystemClock)));
    let (deaths, mut died) = mpsc::unbounded_channel();
    // The archive follows for as long as this is there.
    let (archiving, archived) = bounded(0);
    let starting = start(config.clone(), links.clone(), deaths, archived);
    let threads = tokio::select! {
        biased;
        // What is being replayed stays in the journal.
        signal = &mut requested => {
            return Ok(Imported { is_cut_off: true, signal: Some(signal), ..Imported::default() });
        }
        threads = starting => threads?,
    };

    let (queue, state, view) = (links.queue.clone(), links.state.clone(), links.view.clone());
    let feed = Feed::new(links.behind());
    // The workers end when nobody can give them work any more.
    drop(links);
    let evicted_before = view.load().evicted_buckets;
    let (stop, meter) = (Arc::new(AtomicBool::new(false)), Arc::new(Meter::new(&options.files)));
    let reader = Reader::new(Handle::current(), options.settings, feed, stop.clone(), meter.clone());
    let mut reading = spawn_blocking(move || reader.import(&options.files));
    let mut show = interval(SHOW);
    let (read, signal) = loop {
        tokio::select! {
            biased;
            thread = died.recv() => break (Err(ended(thread)), None),
            read = &mut reading => break (read.unwrap_or_else(|_| Err(ended(None))), None),
            signal = &mut requested => {
                stop.store(true, Relaxed);
                break (drain(reading, &state, signal).await, Some(signal));
            }
            _ = show.tick() => meter.show(),
        }
    };
    meter.finish();
    if let Err(error @ (ImportError::Ended(_) | ImportError::Stalled(_))) = read {
        return Err(error);
    }
    let told = async {
        if signal.is_none() {
            requested.await;
        }
    };
    drop(archiving);
    finish(&queue, &state, threads, died, told).await?;
    if signal.is_none() {
        tracing::info!("writing the rest of the archive, and the days of history");
        spawn_blocking(move || finish_history(&config))
            .await
            .map_err(|_| ImportError::Ended("the archive".to_owned()))??;
    }
    let mut imported = read?;
    imported.signal = signal;
    imported.uncommitted_records = state.counters.uncommitted();
    imported.evicted_buckets = view.load().evicted_buckets.saturating_sub(evicted_before);
    Ok(imported)
}

fn ended(thread: Option<String>) -> ImportError {
    ImportError::Ended(thread.unwrap_or_else(|| "a thread".to_owned()))
}

/// Waits for a reader that was told to stop, unless the disk takes nothing.
async fn drain(
    mut reading: task::JoinHandle<Result<Imported, ImportError>>,
    state: &State,
    signal: &'static str,
) -> Result<Imported, ImportError> {
    loop {
        match timeout(DRAIN, &mut reading).await {
            Ok(read) => return read.unwrap_or_else(|_| Err(ended(None))),
            Err(_) if state.is_stalled() => return Err(ImportError::Stalled(signal)),
            Err(_) => {}
        }
    }
}

/// What can be known to be wrong before anything is begun.
fn check(config: &Config, settings: &ImportSettings) -> Result<(), ImportError> {
    // As a sensor reckons: the least compressible row takes 20 bytes.
    let theirs = config.ingest.max_rows.min(config.ingest.max_batch_bytes / 20);
    let ours = settings.limits.max_rows;
    if theirs < ours {
        return Err(ImportError::TooManyRows { ours, theirs });
    }
    // Files that another user makes here are files that the collector cannot use.
    if let Location::File(store) = Location::in_directory(&config.store.data_dir)
        && let Ok(data) = std::fs::metadata(&store)
        && data.uid() != geteuid().as_raw()
    {
        return Err(ImportError::OtherUser { store, uid: data.uid() });
    }
    Ok(())
}

/// Starts the stages, and waits until what the journal had is counted.
async fn start(
    config: Config,
    links: Arc<Links>,
    deaths: mpsc::UnboundedSender<String>,
    archived: Receiver<Infallible>,
) -> Result<Vec<JoinHandle<()>>, ImportError> {
    let (geo, _) = Geo::open(&config.geo).map_err(StartError::from)?;
    let started = spawn_blocking(move || start_threads(&config, &links, &geo, &deaths, archived)).await;
    let (threads, visible) = started.map_err(|_| StartError::Replay)??;
    visible.await.map_err(|_| StartError::Replay)?;
    Ok(threads)
}

/// Lets the stages end behind their last commit, however long it takes; once it was `told` to end, only while the disk takes it.
async fn finish(
    queue: &Queue,
    state: &State,
    threads: Vec<JoinHandle<()>>,
    mut died: mpsc::UnboundedReceiver<String>,
    told: impl Future<Output = ()>,
) -> Result<(), ImportError> {
    let join = || threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
    let mut joined = spawn_blocking(join);
    let mut told = std::pin::pin!(told);
    let (mut is_alive, mut is_told) = (true, false);
    queue.stop();
    loop {
        tokio::select! {
            biased;
            panicked = &mut joined => return match panicked {
                Ok(0) => Ok(()),
                _ => Err(ended(None)),
            },
            // The journal stage ends first, and the others behind it: one that panicked before it would be waited for in vain.
            thread = died.recv(), if is_alive => {
                is_alive = thread.is_some_and(|name| FOLLOWERS.contains(&name.as_str()));
            }
            () = &mut told, if !is_told => is_told = true,
            () = sleep(ASK_AGAIN), if is_alive => {
                let is_stalled = state.is_stalled() || state.store.condition() != Condition::Running;
                if !(is_told && is_stalled) {
                    queue.stop();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Request, queue};

    #[tokio::test]
    async fn the_last_commit_is_waited_for_although_followers_have_ended() {
        let (queue, inbox) = queue();
        let (deaths, died) = mpsc::unbounded_channel();
        for follower in FOLLOWERS {
            deaths.send(follower.to_owned()).unwrap();
        }
        let (end, ended) = bounded::<Infallible>(0);
        let stage = std::thread::spawn(move || assert!(ended.recv().is_err()));
        let state = State::default();
        let finishing = finish(&queue, &state, vec![stage], died, std::future::pending());
        let asked = async {
            sleep(2 * ASK_AGAIN + ASK_AGAIN / 2).await;
            drop(end);
            inbox.try_iter().filter(|request| matches!(request, Request::Stop)).count()
        };
        let (finished, asked) = tokio::join!(finishing, asked);
        finished.unwrap();
        assert_eq!(asked, 3);
    }
}
