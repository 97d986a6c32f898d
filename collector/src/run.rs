//! Builds the stages, joins them, and stops them in reverse order. The only file that names every stage.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded};
use martlet_journal::{Journal, RealDisk, Recovery};
use martlet_telemetry::admin::Readiness;
use martlet_telemetry::http::{HttpLimits, serve};
use prometheus::{Histogram, Registry};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::aggregate::{self, Delta, HandOver, Job, Plan, Rules, SourceHash, Worker};
use crate::clock::{SharedClock, SystemClock};
use crate::config::Config;
use crate::ingest::{self, Behind, Budget, Gate, Ingest};
use crate::journal::{self, Ledger, Parts, Queue, Request, Stage, State};
use crate::live::{LiveStore, LiveView, Merger, Statistics};
use crate::publish::{self, Sources};
use crate::store::{Committer, DirectoryLock, Loaded, Location, LockError, Reader, Store, StoreError};

/// How long HTTP answers that have begun may take when the collector stops.
const HTTP_GRACE: Duration = Duration::from_millis(500);

/// Why the collector cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot be had.
    #[error(transparent)]
    DataDirectory(#[from] LockError),
    /// The store cannot be used.
    #[error("cannot open {}: {source}", path.display())]
    Store {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The journal cannot be read.
    #[error("cannot open the journal in {}: {message}", path.display())]
    Journal {
        /// The directory.
        path: std::path::PathBuf,
        /// Why.
        message: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {purpose}: {source}; is another program using it?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What for.
        purpose: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A thread or its state cannot be made.
    #[error("cannot start a worker: {0}")]
    Thread(#[from] std::io::Error),
    /// A metric cannot be registered: a defect.
    #[error("cannot register the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A thread ended before the journal was replayed.
    #[error(
        "a thread ended unexpectedly while the journal was replayed: this is a defect; please report the lines above"
    )]
    Replay,
}

/// A running collector.
pub struct Collector {
    /// Where sensors call: the bound address, also where port 0 was configured.
    pub ingest_address: SocketAddr,
    /// Where HTTP is served.
    pub http_address: SocketAddr,
    readiness: Readiness,
    ingest: Ingest,
    queue: Queue,
    threads: Vec<JoinHandle<()>>,
    stop_http: oneshot::Sender<()>,
    http: tokio::task::JoinHandle<()>,
    deaths: mpsc::UnboundedReceiver<String>,
    view: Arc<ArcSwap<LiveView>>,
    _lock: DirectoryLock,
}

/// What threads and publishers share.
struct Common {
    clock: SharedClock,
    state: Arc<State>,
    view: Arc<ArcSwap<LiveView>>,
    newest: Arc<[AtomicI64; 3]>,
    aggregate: Arc<aggregate::Counters>,
    statistics: Arc<Statistics>,
    commit_seconds: Histogram,
    batch_memory: Budget,
    jobs: Sender<Job>,
    job_queue: Receiver<Job>,
    queue: Queue,
    inbox: Receiver<Request>,
    deaths: mpsc::UnboundedSender<String>,
}

impl Collector {
    /// Starts a collector with a configuration that was checked. When this returns it takes batches, and everything that
    /// it had acknowledged before is counted. HTTP answers 503 until then.
    ///
    /// # Errors
    /// If the data directory, the store, the journal, an address or a thread cannot be had.
    pub async fn start(config: Config) -> Result<Collector, StartError> {
        // What can fail for the operator's reasons comes first.
        let lock = DirectoryLock::take(&config.store.data_dir)?;
        let sensors = bind(config.ingest.listen, "sensors").await?;
        let readers = bind(config.http.listen, "HTTP").await?;
        let (ingest_address, http_address) = (sensors.local_addr()?, readers.local_addr()?);

        let registry = Registry::new();
        // One message for each thread and task at most.
        let (deaths_sender, deaths) = mpsc::unbounded_channel();
        let common = Arc::new(Common::new(&config, &registry, deaths_sender)?);
        let ingest_counters = Arc::new(ingest::Counters::default());
        let readiness = Readiness::new();
        let sources = common.sources(&config, ingest_counters.clone());
        let router = publish::router(&config.http, sources, registry, readiness.clone())?;
        let limits = HttpLimits { max_connections: config.http.max_connections, ..HttpLimits::default() };
        let (stop_http, stopped) = oneshot::channel();
        let serving = serve(readers, router, limits, async { drop(stopped.await) }, HTTP_GRACE);
        let obituary = Obituary::new("the HTTP server", &common.deaths);
        let http = tokio::spawn(async move {
            serving.await;
            drop(obituary);
        });

        // Reading the store and the journal takes its time, and blocks.
        let (started, waiting) = (common.clone(), config.clone());
        let threads = tokio::task::spawn_blocking(move || start_threads(&waiting, &started));
        let (threads, visible) = threads.await.map_err(|_| StartError::Replay)??;
        visible.await.map_err(|_| StartError::Replay)?;

        let Common { jobs, queue, state, batch_memory, view, .. } = &*common;
        let (jobs, queue, state, batch_memory) = (jobs.clone(), queue.clone(), state.clone(), batch_memory.clone());
        let behind = Behind { jobs, queue: queue.clone(), state, batch_memory };
        let gate = Gate::new(config.ingest, ingest_counters, behind);
        let obituary = Obituary::new("the listener for sensors", &common.deaths);
        let ingest = ingest::listen(sensors, gate, obituary);
        readiness.set_ready();
        tracing::info!("sensors: {ingest_address}; HTTP: http://{http_address}/");
        let view = view.clone();
        Ok(Collector {
            ingest_address,
            http_address,
            readiness,
            ingest,
            queue,
            threads,
            stop_http,
            http,
            deaths,
            view,
            _lock: lock,
        })
    }

    /// The newest published view.
    #[must_use]
    pub fn view(&self) -> Arc<LiveView> {
        self.view.load_full()
    }

    /// Waits until a thread or task that must not end has ended, and says which.
    pub async fn failed(&mut self) -> String {
        match self.deaths.recv().await {
            Some(name) => format!("{name} ended unexpectedly: this is a defect; please report the lines above"),
            None => std::future::pending().await,
        }
    }

    /// Stops: takes nothing new, finishes, counts and commits what was taken, and returns the last view.
    pub async fn stop(self) -> Arc<LiveView> {
        self.readiness.set_stopping();
        self.ingest.stop().await;
        // The journal stage ends after its last commit; without it the workers end, behind them the merger, and behind
        // that the committer.
        self.queue.stop();
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count()
        });
        if joined.await.unwrap_or(1) > 0 {
            tracing::error!("a thread did not end cleanly");
        }
        let _ = self.stop_http.send(());
        if self.http.await.is_err() {
            tracing::error!("the HTTP server did not end cleanly");
        }
        tracing::info!("stopped");
        self.view.load_full()
    }
}

impl Common {
    fn new(
        config: &Config,
        registry: &Registry,
        deaths: mpsc::UnboundedSender<String>,
    ) -> Result<Common, prometheus::Error> {
        let clock: SharedClock = Arc::new(SystemClock);
        let newest: Arc<[AtomicI64; 3]> = Arc::new([const { AtomicI64::new(i64::MIN) }; 3]);
        let empty = LiveStore::new(config.live.clone(), &config.metrics, newest.clone()).view(&[], clock.now());
        // Every batch with a share of the memory for batches in flight has at most one job at a time.
        let most = Budget::most_batches(config.ingest.batch_memory_bytes);
        let (jobs, job_queue) = bounded(most + config.aggregate.worker_count() + 1);
        let (queue, inbox) = journal::queue();
        Ok(Common {
            clock,
            state: Arc::default(),
            view: Arc::new(ArcSwap::from_pointee(empty)),
            newest,
            aggregate: Arc::default(),
            statistics: Arc::new(publish::merge_statistics(registry)?),
            commit_seconds: publish::commit_seconds(registry)?,
            batch_memory: Budget::new(config.ingest.batch_memory_bytes),
            jobs,
            job_queue,
            queue,
            inbox,
            deaths,
        })
    }

    fn sources(&self, config: &Config, ingest: Arc<ingest::Counters>) -> Sources {
        Sources {
            view: self.view.clone(),
            ingest,
            aggregate: self.aggregate.clone(),
            journal: self.state.clone(),
            queue: self.job_queue.clone(),
            clock: self.clock.clone(),
            max_clock_offset_ms: i64::from(config.ingest.max_clock_offset_seconds) * 1000,
            started: Instant::now(),
            started_at: self.clock.now(),
        }
    }
}

/// Tells of the end of a thread or task, however it ends.
struct Obituary {
    name: String,
    deaths: mpsc::UnboundedSender<String>,
}

impl Obituary {
    fn new(name: &str, deaths: &mpsc::UnboundedSender<String>) -> Obituary {
        Obituary { name: name.to_owned(), deaths: deaths.clone() }
    }
}

impl Drop for Obituary {
    fn drop(&mut self) {
        let _ = self.deaths.send(std::mem::take(&mut self.name));
    }
}

/// Opens store and journal, and starts all threads. What comes back beside them completes when the replay is visible.
fn start_threads(config: &Config, common: &Common) -> Result<(Vec<JoinHandle<()>>, oneshot::Receiver<()>), StartError> {
    let Common { clock, state, queue, deaths, .. } = common;
    let location = Location::in_directory(&config.store.data_dir);
    let (store, reader, loaded) = open_store(config, &location)?;
    let Loaded { record, source_key, sensors, live } = loaded;
    let mut live_store = LiveStore::new(config.live.clone(), &config.metrics, common.newest.clone());
    live_store.restore(live, clock.now());

    let workers = config.aggregate.worker_count();
    let (visible, is_visible) = oneshot::channel();
    let stage = Stage::new(Parts {
        settings: journal::Settings {
            commit_interval: config.store.commit_interval(),
            commit_bytes: config.store.commit_bytes,
            workers,
        },
        journal: open_journal(config)?,
        ledger: Ledger::new(config.ingest.max_sensors, config.ingest.max_streams, sensors, Box::new(reader)),
        committed: record,
        inbox: common.inbox.clone(),
        jobs: common.jobs.clone(),
        memory: common.batch_memory.clone(),
        state: state.clone(),
        clock: clock.clone(),
        visible,
    })?;
    let (snapshots, taken) = bounded(1);
    let committer =
        Committer::new(store, taken, queue.clone(), state.clone(), clock.clone(), common.commit_seconds.clone());
    let plan = Plan {
        rules: Rules {
            source_hash: SourceHash::new(source_key),
            bucket_seconds: config.live.bucket_seconds.into(),
            late_grace_seconds: config.live.silent_grace_seconds.into(),
        },
        limits: config.ingest.limits(),
        interval: config.aggregate.merge_interval(),
        newest: common.newest.clone(),
        counters: common.aggregate.clone(),
        dead: Arc::default(),
    };
    let (hand_over, handed_over) = bounded::<HandOver>(workers);
    let (give_back, empty) = bounded::<Box<Delta>>(workers);
    let mut threads = Vec::new();
    for number in 0..workers {
        let worker = Worker::new(plan.clone(), common.job_queue.clone(), hand_over.clone(), empty.clone())?;
        threads.push(start_thread(format!("worker-{number}"), deaths, move || worker.run())?);
    }
    let merger = Merger {
        store: live_store,
        state: state.clone(),
        handed_over,
        empty: give_back,
        view: common.view.clone(),
        snapshots,
        interval: config.aggregate.merge_interval(),
        clock: clock.clone(),
        statistics: common.statistics.clone(),
    };
    threads.push(start_thread("merger".to_owned(), deaths, move || merger.run())?);
    threads.push(start_thread("committer".to_owned(), deaths, move || committer.run())?);
    threads.push(start_thread("journal".to_owned(), deaths, move || stage.run())?);
    Ok((threads, is_visible))
}

fn open_store(config: &Config, location: &Location) -> Result<(Store, Reader, Loaded), StartError> {
    let open = || {
        let mut store = Store::open(location.clone())?;
        let loaded = store.load(config.live.bucket_seconds.into(), rand::random())?;
        Ok((store, Reader::open(location)?, loaded))
    };
    open().map_err(|source| StartError::Store { path: config.store.data_dir.join("martlet.db"), source })
}

fn open_journal(config: &Config) -> Result<Journal<RealDisk>, StartError> {
    let path = config.store.data_dir.join("journal");
    let error = |message: String| StartError::Journal { path: path.clone(), message };
    let disk = RealDisk::open(&path).map_err(|source| error(source.to_string()))?;
    let settings = journal::journal_settings(config.store.segment_bytes, config.store.reserve_bytes);
    let (journal, recovery) =
        Journal::open(disk, settings, &mut |_, _| ()).map_err(|source| error(source.to_string()))?;
    report(&recovery);
    Ok(journal)
}

/// Says what the journal had suffered.
fn report(recovery: &Recovery) {
    if recovery.damaged_ranges > 0 || recovery.quarantined > 0 || recovery.missing > 0 {
        tracing::error!(
            "the journal was damaged: {} bytes in {} places, {} records are missing, {} segments were moved aside; what was \
             not committed of them is asked for again",
            recovery.damaged_bytes,
            recovery.damaged_ranges,
            recovery.missing,
            recovery.quarantined
        );
    }
}

fn start_thread(
    name: String,
    deaths: &mpsc::UnboundedSender<String>,
    work: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let obituary = Obituary::new(&format!("thread {name}"), deaths);
    std::thread::Builder::new().name(name).spawn(move || {
        let _obituary = obituary;
        work();
    })
}

async fn bind(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, purpose, source })
}
