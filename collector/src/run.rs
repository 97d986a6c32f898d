//! Builds the stages, joins them, and stops them in reverse order. The only file that names every stage.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded};
use martlet_telemetry::admin::Readiness;
use martlet_telemetry::http::{HttpLimits, serve};
use prometheus::Registry;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::aggregate::{self, Delta, Job, Plan, Rules, Worker};
use crate::config::Config;
use crate::ingest::{self, Budget, Ingest, Ledger};
use crate::live::{LiveView, Merger, Store, unix_now};
use crate::publish::{self, Sources};

/// How long HTTP answers that have begun may take when the collector stops.
const HTTP_GRACE: Duration = Duration::from_millis(500);

/// Why the collector cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("cannot write to the data directory {}: {source}; create it, or choose another with --data-dir", path.display())]
    DataDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
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
}

/// A running collector.
pub struct Collector {
    /// Where sensors call: the bound address, also where port 0 was configured.
    pub ingest_address: SocketAddr,
    /// Where HTTP is served.
    pub http_address: SocketAddr,
    readiness: Readiness,
    ingest: Ingest,
    jobs: Sender<Job>,
    threads: Vec<JoinHandle<()>>,
    stop_http: oneshot::Sender<()>,
    http: tokio::task::JoinHandle<()>,
    deaths: mpsc::UnboundedReceiver<String>,
    view: Arc<ArcSwap<LiveView>>,
}

impl Collector {
    /// Starts a collector with a configuration that was checked. When this returns it takes batches.
    ///
    /// # Errors
    /// If the data directory, an address or a thread cannot be had. Nothing is left running then.
    pub async fn start(config: Config) -> Result<Collector, StartError> {
        // What can fail for the operator's reasons comes first.
        prepare(&config.store.data_dir)?;
        let sensors = bind(config.ingest.listen, "sensors").await?;
        let readers = bind(config.http.listen, "HTTP").await?;
        let (ingest_address, http_address) = (sensors.local_addr()?, readers.local_addr()?);

        let ledger = Arc::new(Ledger::new(config.ingest.max_sensors, config.ingest.max_streams));
        let newest: Arc<[AtomicI64; 3]> = Arc::new([const { AtomicI64::new(i64::MIN) }; 3]);
        let mut store = Store::new(config.live.clone(), &config.metrics, newest.clone());
        let view = Arc::new(ArcSwap::from_pointee(store.view(Vec::new(), unix_now())));
        let registry = Registry::new();
        let statistics = Arc::new(publish::merge_statistics(&registry)?);

        // Every batch with a share of the memory for batches in flight has at most one job at a time.
        let (jobs, queue) = bounded(Budget::most_batches(config.ingest.batch_memory_bytes) + 1);
        let aggregate_counters = Arc::new(aggregate::Counters::default());
        let plan = Plan {
            rules: Rules { source_hash: Default::default(), bucket_seconds: config.live.bucket_seconds.into() },
            limits: config.ingest.limits(),
            interval: config.aggregate.merge_interval(),
            newest,
            counters: aggregate_counters.clone(),
        };
        // One message for each thread and task at most.
        let (deaths_sender, deaths) = mpsc::unbounded_channel();
        let merging = |deltas, empty| Merger {
            store,
            ledger: ledger.clone(),
            deltas,
            empty,
            view: view.clone(),
            interval: config.aggregate.merge_interval(),
            statistics,
        };
        let threads = start_threads(&plan, config.aggregate.worker_count(), &queue, merging, &deaths_sender)?;

        let ingest_counters = Arc::new(ingest::Counters::default());
        let sources = Sources {
            view: view.clone(),
            ingest: ingest_counters.clone(),
            aggregate: aggregate_counters,
            ledger: ledger.clone(),
            queue,
            started: Instant::now(),
            started_at: unix_now(),
        };
        let readiness = Readiness::new();
        let router = publish::router(&config.http, sources, registry, readiness.clone())?;
        let limits = HttpLimits { max_connections: config.http.max_connections, ..HttpLimits::default() };
        let (stop_http, stopped) = oneshot::channel();
        let serving = serve(readers, router, limits, async { drop(stopped.await) }, HTTP_GRACE);
        let obituary = Obituary::new("the HTTP server", &deaths_sender);
        let http = tokio::spawn(async move {
            serving.await;
            drop(obituary);
        });
        let obituary = Obituary::new("the listener for sensors", &deaths_sender);
        let ingest = ingest::listen(sensors, config.ingest, ledger, ingest_counters, jobs.clone(), obituary);
        readiness.set_ready();
        tracing::info!("sensors: {ingest_address}; HTTP: http://{http_address}/; counts are held in memory");
        Ok(Collector { ingest_address, http_address, readiness, ingest, jobs, threads, stop_http, http, deaths, view })
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

    /// Stops: takes nothing new, finishes and counts what was taken, and returns the last view.
    pub async fn stop(self) -> Arc<LiveView> {
        self.readiness.set_stopping();
        self.ingest.stop().await;
        // Without senders the workers empty the queue and end, and behind them the merger.
        drop(self.jobs);
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

fn start_threads(
    plan: &Plan,
    workers: usize,
    queue: &Receiver<Job>,
    merging: impl FnOnce(Receiver<Box<Delta>>, Sender<Box<Delta>>) -> Merger,
    deaths: &mpsc::UnboundedSender<String>,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let (hand_over, deltas) = bounded(workers);
    let (give_back, empty) = bounded(workers);
    let mut threads = Vec::new();
    for number in 0..workers {
        let worker = Worker::new(plan.clone(), queue.clone(), hand_over.clone(), empty.clone())?;
        threads.push(start_thread(format!("worker-{number}"), deaths, move || worker.run())?);
    }
    let merger = merging(deltas, give_back);
    threads.push(start_thread("merger".to_owned(), deaths, move || merger.run())?);
    Ok(threads)
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

/// Makes the data directory and checks that it can be written. Nothing is kept in it yet: the journal and the store
/// go here.
fn prepare(path: &Path) -> Result<(), StartError> {
    let probe = path.join(".martlet-write-probe");
    std::fs::create_dir_all(path)
        .and_then(|()| std::fs::write(&probe, b""))
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|source| StartError::DataDirectory { path: path.to_owned(), source })
}

async fn bind(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, purpose, source })
}
