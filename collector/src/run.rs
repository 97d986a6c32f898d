//! Builds the stages, joins them, and stops them in reverse order. The only file that names every stage.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded};
use martlet_journal::{Journal, RealDisk, Recovery};
use martlet_telemetry::admin::Readiness;
use martlet_telemetry::catalogue::Catalogue;
use martlet_telemetry::http::{HttpLimits, serve};
use martlet_telemetry::notify::Notifier;
use martlet_telemetry::watchdog::Watchdog;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::archive::{self, ArchiveError, Archiver};
use crate::clock::SystemClock;
use crate::config::{Config, IngestConfig};
use crate::detect::{self, DetectError, Follower};
use crate::enroll::{self, EnrollStoreError, EnrollTls, EnrollTlsError};
use crate::events::{Book, Courier, TellError};
use crate::geo::{Geo, GeoError, Watcher};
use crate::ingest::{self, Gate, Ingest, Tls, TlsError};
use crate::journal::{self, Pulses, Queue};
use crate::labels::SharedLabels;
use crate::live::LiveView;
use crate::pipeline::{Drive, Links, Pipeline, Visible};
use crate::publish::{self, Sources, Streams};
use crate::report::{Office, Press};
use crate::rollup::{self, Keeper as HistoryKeeper, Roller, RollupError, ZoneError};
use crate::store::{DirectoryLock, Location, LockError, Store, StoreError};
use crate::tokens::{Keeper, TokenError, Tokens};

/// How long HTTP answers that have begun may take when the collector stops.
const HTTP_GRACE: Duration = Duration::from_millis(500);

/// Why the collector cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The files of `ingest.tls` cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file of `geo` cannot be used.
    #[error(transparent)]
    Geo(#[from] GeoError),
    /// The data directory cannot be had.
    #[error(transparent)]
    DataDirectory(#[from] LockError),
    /// The store cannot be used.
    #[error("cannot open {}: {source}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// History cannot be made.
    #[error(transparent)]
    History(#[from] RollupError),
    /// A time zone of `history.report_zones` cannot be used.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// Receivers of events cannot be told.
    #[error("events: {0}")]
    Events(#[from] TellError),
    /// What the detector knows cannot be read.
    #[error("the detector: {0}")]
    Detect(#[from] DetectError),
    /// The archive cannot be used.
    #[error("cannot open the archive in {}: {source}", path.display())]
    Archive {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: ArchiveError,
    },
    /// The tokens cannot be read.
    #[error("cannot read the tokens: {0}")]
    Tokens(#[from] TokenError),
    /// The collector's own CA cannot be had.
    #[error(transparent)]
    Authority(#[from] EnrollTlsError),
    /// The certificates of sensors cannot be read.
    #[error("cannot read the certificates of sensors: {0}")]
    Certificates(#[from] EnrollStoreError),
    /// The journal cannot be read.
    #[error("cannot open the journal in {}: {message}", path.display())]
    Journal {
        /// The directory.
        path: PathBuf,
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
    /// What the listener for sensors speaks, for files that are read again.
    tls: Option<Tls>,
    stages: Stages,
    threads: Vec<JoinHandle<()>>,
    /// Set to end the HTTP server, and the streams that would keep it.
    stop_http: watch::Sender<bool>,
    http: tokio::task::JoinHandle<()>,
    deaths: mpsc::UnboundedReceiver<String>,
    view: Arc<ArcSwap<LiveView>>,
    pulses: Pulses,
    _lock: DirectoryLock,
}

/// The stages behind the gate, the archive, and those who look at files and tokens; they end when this does, also if a start fails
/// half-way.
struct Stages {
    queue: Queue,
    /// All but the queue go on for as long as this is there.
    _watching: Sender<Infallible>,
}

impl Drop for Stages {
    fn drop(&mut self) {
        self.queue.stop();
    }
}

impl Collector {
    /// Starts a collector with a configuration that was checked. When this returns it takes batches, and everything that
    /// it had acknowledged before is counted. HTTP answers 503 until then.
    ///
    /// # Errors
    /// If the certificates, a file of `geo`, the data directory, the store, the journal, an address or a thread cannot be had.
    pub async fn start(config: Config) -> Result<Collector, StartError> {
        // What can fail for the operator's reasons comes first.
        let tls = Tls::configured(&config.ingest)?;
        let (geo, watcher) = Geo::open(&config.geo)?;
        geo.snapshot().describe().iter().for_each(|line| tracing::info!("geo: {line}"));
        let lock = DirectoryLock::take(&config.store.data_dir)?;
        let sensors = bind(config.ingest.listen, "sensors").await?;
        let readers = bind(config.http.listen, "HTTP").await?;
        let (ingest_address, http_address) = (sensors.local_addr()?, readers.local_addr()?);

        let catalogue = Catalogue::default();
        // One message for each thread and task at most.
        let (deaths_sender, deaths) = mpsc::unbounded_channel();
        let links = Arc::new(Links::new(&config, Arc::new(SystemClock)));
        let own = config.enroll.is_enabled().then(|| EnrollTls::open(&config, links.clock.clone())).transpose()?;
        let tls = tls.or(own.as_ref().map(EnrollTls::gate));
        let ingest_counters = Arc::new(ingest::Counters::default());
        let readiness = Readiness::new();
        let (stop_http, mut stopped) = watch::channel(false);
        let mut sources = sources(&config, &links, ingest_counters.clone(), geo.clone(), stopped.clone());
        sources.certificates = own.as_ref().map(EnrollTls::lives).unwrap_or_default();
        let tokens = Arc::new(Tokens::new(config.http.max_queries_per_caller));
        let router = publish::router(&config, sources, tokens.clone(), &catalogue, readiness.clone())?;
        let limits = HttpLimits { max_connections: config.http.max_connections, ..HttpLimits::default() };
        let stop = async move { drop(stopped.wait_for(|stop| *stop).await) };
        let serving = serve(readers, router, limits, stop, HTTP_GRACE);
        let obituary = Obituary::new("the HTTP server", &deaths_sender);
        let http = tokio::spawn(async move {
            serving.await;
            drop(obituary);
        });

        // Reading the store and the journal takes its time, and blocks.
        let (watching, watched) = bounded(0);
        let stages = Stages { queue: links.queue.clone(), _watching: watching };
        let starting = (config.clone(), links.clone(), geo, deaths_sender.clone(), watched.clone());
        let started = tokio::task::spawn_blocking(move || {
            start_threads(&starting.0, &starting.1, &starting.2, &starting.3, starting.4)
        });
        let (mut threads, visible) = started.await.map_err(|_| StartError::Replay)??;
        threads.push(keep(&config, &tokens, watched.clone(), &links, &deaths_sender)?);
        threads.extend(own.map(|own| keep_certificates(own, watched.clone(), &deaths_sender)).transpose()?);
        threads.extend(print_reports(&config, watched.clone(), &links, &deaths_sender)?);
        threads.extend(watch(watcher, watched, &links, &deaths_sender)?);
        config
            .http
            .warnings(!tokens.is_empty() || config.publication.public)
            .iter()
            .for_each(|warning| tracing::warn!("{warning}"));
        visible.await.map_err(|_| StartError::Replay)?;

        let most = ingest::fitting(config.ingest.max_connections, config.http.max_connections);
        let gate = Gate::new(IngestConfig { max_connections: most, ..config.ingest }, ingest_counters, links.behind())
            .behind_tls(tls.clone());
        let obituary = Obituary::new("the listener for sensors", &deaths_sender);
        let ingest = ingest::listen(sensors, gate, obituary);
        readiness.set_ready();
        tracing::info!("sensors: {ingest_address}; HTTP: http://{http_address}/");
        let (view, pulses) = (links.view.clone(), links.state.pulses.clone());
        Ok(Collector {
            ingest_address,
            http_address,
            readiness,
            ingest,
            tls,
            stages,
            threads,
            stop_http,
            http,
            deaths,
            view,
            pulses,
            _lock: lock,
        })
    }

    /// The newest published view.
    #[must_use]
    pub fn view(&self) -> Arc<LiveView> {
        self.view.load_full()
    }

    /// Reads the files of `ingest.tls` again, for connections that come from now on; says whether there are any.
    ///
    /// # Errors
    /// If they cannot be used; those that were read before go on.
    pub fn reload_tls(&self, config: &Config) -> Result<bool, TlsError> {
        match (&self.tls, &config.ingest.tls) {
            (Some(tls), Some(files)) if !tls.has_own_authority() => tls.reload(files).map(|()| true),
            _ => Ok(false),
        }
    }

    /// What tells the service manager that what comes gets into the counts. The task that runs it shows that connections
    /// are served, too.
    #[must_use]
    pub fn watchdog(&self, notifier: Notifier) -> Watchdog {
        let Pulses { journal, workers, merger } = &self.pulses;
        Watchdog::from_environment(notifier)
            .watching("the journal stage or its disk", journal)
            .watching("the workers", workers)
            .watching("the merger", merger)
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
        drop(self.stages);
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count()
        });
        if joined.await.unwrap_or(1) > 0 {
            tracing::error!("a thread did not end cleanly");
        }
        let _ = self.stop_http.send(true);
        if self.http.await.is_err() {
            tracing::error!("the HTTP server did not end cleanly");
        }
        tracing::info!("stopped");
        self.view.load_full()
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

/// Threads that follow the journal, by their obituaries: they end as soon as they are told to, and no commit waits for them.
pub(crate) const FOLLOWERS: [&str; 4] = ["thread events", "thread detect", "thread archive", "thread history"];

/// Opens store and journal, and starts all threads. What comes back beside them completes when the replay is visible.
pub(crate) fn start_threads(
    config: &Config,
    links: &Links,
    geo: &Arc<Geo>,
    deaths: &mpsc::UnboundedSender<String>,
    stop: Receiver<Infallible>,
) -> Result<(Vec<JoinHandle<()>>, Visible), StartError> {
    let journal = open_journal(config)?;
    let location = Location::in_directory(&config.store.data_dir);
    let path = || config.store.data_dir.join("martlet.db");
    let failed = |source| StartError::Store { path: path(), source };
    let store = Store::open(location.clone()).map_err(failed)?;
    // Its place in the history is noted before anything can be added to that.
    let courier = Courier::open(&config.events, location.clone(), links.event_targets.clone(), links.clock.clone())?;
    if !config.detect.enabled {
        detect::retire(&location, links.clock.now_ms())?;
    }
    let follower =
        config.detect.enabled.then(|| open_detector(config, links, geo, location.clone(), &journal)).transpose()?;
    let archiver = config.archive.enabled.then(|| open_archive(config, links, geo, location, &journal)).transpose()?;
    let (pipeline, visible) =
        Pipeline::new(config, links, geo.clone(), journal, store, Drive::Threads).map_err(failed)?;
    let start = |name: String, work: Box<dyn FnOnce() + Send>| {
        let obituary = Obituary::new(&format!("thread {name}"), deaths);
        std::thread::Builder::new().name(name).spawn(move || {
            let _obituary = obituary;
            work();
        })
    };
    let mut threads = pipeline.start(start)?;
    let stop_telling = stop.clone();
    threads.push(start("events".to_owned(), Box::new(move || courier.run(&stop_telling)))?);
    if let Some(follower) = follower {
        let stop = stop.clone();
        threads.push(start("detect".to_owned(), Box::new(move || follower.run(&stop)))?);
    }
    if let Some(archiver) = archiver {
        let (keeper, stop_history) = (open_history(config, links)?, stop.clone());
        threads.push(start("archive".to_owned(), Box::new(move || archiver.run(&stop)))?);
        threads.push(start("history".to_owned(), Box::new(move || keeper.run(&stop_history)))?);
    }
    Ok((threads, visible))
}

/// Opens the detector behind an opened journal and store. From now on the journal keeps what it has not saved.
fn open_detector(
    config: &Config,
    links: &Links,
    geo: &Arc<Geo>,
    location: Location,
    journal: &Journal<RealDisk>,
) -> Result<Follower<RealDisk>, StartError> {
    let reader = journal.reader(0).map_err(DetectError::Journal)?;
    let (settings, geo) = (config.detect.clone(), geo.clone());
    let (state, clock) = (links.state.clone(), links.clock.clone());
    Ok(Follower::new(detect::Parts { settings, location, reader, geo, state, clock })?)
}

/// Opens the archive behind an opened journal and store. From now on the journal keeps what is not archived.
fn open_archive(
    config: &Config,
    links: &Links,
    geo: &Arc<Geo>,
    location: Location,
    journal: &Journal<RealDisk>,
) -> Result<Archiver<RealDisk>, StartError> {
    let root = config.archive_directory();
    let failed = |source| StartError::Archive { path: root.clone(), source };
    let open = || {
        Archiver::new(archive::Parts {
            config: config.archive.clone(),
            root: root.clone(),
            location,
            reader: journal.reader(0).map_err(ArchiveError::Journal)?,
            geo: geo.clone(),
            state: links.state.clone(),
            clock: links.clock.clone(),
            rests: true,
        })
    };
    open().map_err(failed)
}

/// Opens what makes history of the archive, behind a store that was loaded.
fn open_history(config: &Config, links: &Links) -> Result<HistoryKeeper, StartError> {
    let location = Location::in_directory(&config.store.data_dir);
    let settings = rollup::Settings::configured(config, rollup::source_key(&location)?)?;
    let roller = Roller::open(&location, rollup::Archive(config.archive_directory()), settings)?;
    Ok(HistoryKeeper::new(roller, config, links.state.clone(), links.clock.clone()))
}

/// Archives what a collector that does not run any more has committed, and makes the days of history that it changed. The
/// directory is locked.
pub(crate) fn finish_history(config: &Config) -> Result<(), StartError> {
    if !config.archive.enabled {
        return Ok(());
    }
    let failed = |source| StartError::Archive { path: config.archive_directory(), source };
    open_archive_alone(config)?.0.flush().map_err(failed)?;
    let links = Links::new(config, Arc::new(SystemClock));
    Ok(open_history(config, &links)?.make_all()?)
}

/// The archive of a collector that does not run and whose directory is locked, and how many records of its journal are not in
/// its store.
pub(crate) fn open_archive_alone(config: &Config) -> Result<(Archiver<RealDisk>, u64), StartError> {
    let (geo, _) = Geo::open(&config.geo)?;
    let journal = open_journal(config)?;
    let location = Location::in_directory(&config.store.data_dir);
    let failed = |source| StartError::Store { path: config.store.data_dir.join("martlet.db"), source };
    drop(Store::open(location.clone()).map_err(failed)?);
    let links = Links::new(config, Arc::new(SystemClock));
    let archiver = open_archive(config, &links, &geo, location, &journal)?;
    let committed =
        archiver.committed().map_err(|source| StartError::Archive { path: config.archive_directory(), source })?;
    Ok((archiver, journal.durable().saturating_sub(committed)))
}

/// Reads the tokens, and starts the thread that does so again and again.
fn keep(
    config: &Config,
    tokens: &Arc<Tokens>,
    stop: Receiver<Infallible>,
    links: &Links,
    deaths: &mpsc::UnboundedSender<String>,
) -> Result<JoinHandle<()>, StartError> {
    let location = Location::in_directory(&config.store.data_dir);
    let keeper = Keeper::open(&location, tokens.clone(), links.clock.clone())?;
    let obituary = Obituary::new("thread tokens", deaths);
    Ok(std::thread::Builder::new().name("tokens".to_owned()).spawn(move || {
        let _obituary = obituary;
        keeper.run(&stop);
    })?)
}

/// Reads which certificates are revoked, and starts the thread that does so again and again.
fn keep_certificates(
    own: EnrollTls,
    stop: Receiver<Infallible>,
    deaths: &mpsc::UnboundedSender<String>,
) -> Result<JoinHandle<()>, StartError> {
    let keeper = enroll::Keeper::open(own)?;
    let obituary = Obituary::new("thread enroll", deaths);
    Ok(std::thread::Builder::new().name("enroll".to_owned()).spawn(move || {
        let _obituary = obituary;
        keeper.run(&stop);
    })?)
}

/// Starts the thread that makes reports by itself, if any are to be made.
fn print_reports(
    config: &Config,
    stop: Receiver<Infallible>,
    links: &Links,
    deaths: &mpsc::UnboundedSender<String>,
) -> std::io::Result<Option<JoinHandle<()>>> {
    let press = Press::configured(config, links.state.clone(), links.clock.clone());
    let start = |press: Press| {
        let obituary = Obituary::new("thread reports", deaths);
        std::thread::Builder::new().name("reports".to_owned()).spawn(move || {
            let _obituary = obituary;
            press.run(&stop);
        })
    };
    press.map(start).transpose()
}

/// Starts the thread that reads files of `geo` again, if there are any.
fn watch(
    watcher: Watcher,
    stop: Receiver<Infallible>,
    links: &Links,
    deaths: &mpsc::UnboundedSender<String>,
) -> std::io::Result<Option<JoinHandle<()>>> {
    if watcher.is_idle() {
        return Ok(None);
    }
    let (clock, obituary) = (links.clock.clone(), Obituary::new("thread geo", deaths));
    let thread = std::thread::Builder::new().name("geo".to_owned()).spawn(move || {
        let _obituary = obituary;
        watcher.run(&clock, &stop);
    })?;
    Ok(Some(thread))
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

/// What `/metrics` has, as a table in Markdown; of a collector that does not run.
pub(crate) fn metrics_markdown() -> Result<String, StartError> {
    let config = Config::default();
    let (geo, _) = Geo::open(&config.geo)?;
    let links = Links::new(&config, Arc::new(SystemClock));
    Ok(publish::metrics_markdown(&sources(&config, &links, Arc::default(), geo, watch::channel(false).1))?)
}

fn sources(
    config: &Config,
    links: &Links,
    ingest: Arc<ingest::Counters>,
    geo: Arc<Geo>,
    stopped: watch::Receiver<bool>,
) -> Sources {
    let events = Arc::new(Book::new(Location::in_directory(&config.store.data_dir)));
    Sources {
        view: links.view.clone(),
        ingest,
        certificates: Arc::default(),
        aggregate: links.aggregate.clone(),
        journal: links.state.clone(),
        queues: links.queues.clone(),
        latencies: links.latencies.clone(),
        geo,
        store: Location::in_directory(&config.store.data_dir),
        history: Arc::new(rollup::query::Pool::new(Location::in_directory(&config.store.data_dir))),
        archive: rollup::Archive(config.archive_directory()),
        labels: Arc::new(SharedLabels::new(Location::in_directory(&config.store.data_dir))),
        reports: Arc::new(Office::new(config, events.clone())),
        events,
        event_targets: links.event_targets.clone(),
        streams: Arc::new(Streams::new(config.http.max_streams, stopped)),
        clock: links.clock.clone(),
        max_clock_offset_ms: i64::from(config.ingest.max_clock_offset_seconds) * 1000,
        started: Instant::now(),
        started_at: links.clock.now(),
    }
}

async fn bind(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, purpose, source })
}
