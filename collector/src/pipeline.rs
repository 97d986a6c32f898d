//! The stages behind the gate, put together: run by threads, or pumped by a simulation.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use martlet_journal::{Disk, Journal};
use tokio::sync::oneshot;

use crate::aggregate::{self, DecodeJob, Delta, Job, Plan, Rules, SourceHash, Worker, WorkerQueues};
use crate::clock::SharedClock;
use crate::config::{Config, Port};
use crate::events::TargetCounters;
use crate::geo::Geo;
use crate::ingest::{Behind, Budget};
use crate::journal::{self, Ledger, Parts, Queue, Request, Stage, State, Sweeper};
use crate::latencies::Latencies;
use crate::live::{self, LiveStore, LiveView, Merger};
use crate::store::{Committer, Loaded, Reader, Store, StoreError};

/// What the stages share with each other and with whoever watches them. It exists before they do.
pub struct Links {
    /// The wall clock.
    pub clock: SharedClock,
    /// What the journal stage and the committer say of themselves.
    pub state: Arc<State>,
    /// The newest view.
    pub view: Arc<ArcSwap<LiveView>>,
    /// What workers count about themselves.
    pub aggregate: Arc<aggregate::Counters>,
    /// How long the stages take.
    pub latencies: Latencies,
    /// The workers' queues, for their depth.
    pub queues: WorkerQueues,
    /// The way to the journal stage.
    pub queue: Queue,
    /// What is counted of those who are told of events.
    pub event_targets: Arc<[TargetCounters]>,
    newest: Arc<[AtomicI64; 3]>,
    batch_memory: Budget,
    decode: Sender<DecodeJob>,
    jobs: Sender<Job>,
    inbox: Receiver<Request>,
}

impl Links {
    /// Links for a configuration that was checked.
    #[must_use]
    pub fn new(config: &Config, clock: SharedClock) -> Links {
        let newest: Arc<[AtomicI64; 3]> = Arc::new([const { AtomicI64::new(i64::MIN) }; 3]);
        let empty = LiveStore::new(config.live.clone(), &config.metrics, newest.clone()).view(&[], clock.now());
        // Every batch with a share of the memory for batches in flight has at most one job at a time.
        let most = Budget::most_batches(config.ingest.batch_memory_bytes);
        let (decode, decode_queue) = bounded(most);
        let (jobs, job_queue) = bounded(most + config.aggregate.worker_count() + 1);
        let (queue, inbox) = journal::queue();
        Links {
            clock,
            state: Arc::default(),
            view: Arc::new(ArcSwap::from_pointee(empty)),
            aggregate: Arc::default(),
            latencies: Latencies::default(),
            queues: WorkerQueues { decode: decode_queue, jobs: job_queue },
            queue,
            event_targets: TargetCounters::of(&config.events),
            newest,
            batch_memory: Budget::new(config.ingest.batch_memory_bytes),
            decode,
            jobs,
            inbox,
        }
    }

    /// What a gate leads to.
    #[must_use]
    pub fn behind(&self) -> Behind {
        Behind {
            decode: self.decode.clone(),
            queue: self.queue.clone(),
            state: self.state.clone(),
            batch_memory: self.batch_memory.clone(),
            acknowledgement: self.latencies.acknowledgement.clone(),
        }
    }
}

/// How stages are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// Each on its thread: a stage that is ahead waits for the next one.
    Threads,
    /// One after another by [`Pipeline::turn`]: nobody may wait.
    Pump,
}

/// The stages behind the gate.
pub struct Pipeline<D: Disk> {
    stage: Stage<D>,
    workers: Vec<Worker>,
    merger: Merger,
    committer: Committer,
    sweeper: Sweeper<D::File>,
}

/// Completes when everything that the journal had and the store had not is visible to readers.
pub type Visible = oneshot::Receiver<()>;

impl<D: Disk> Pipeline<D> {
    /// Loads the store, and puts the stages together. They begin with replaying the journal.
    ///
    /// # Errors
    /// If the store or the journal cannot be read, or a library cannot allocate its state.
    pub fn new(
        config: &Config,
        links: &Links,
        geo: Arc<Geo>,
        journal: Journal<D>,
        mut store: Store,
        drive: Drive,
    ) -> Result<(Pipeline<D>, Visible), StoreError> {
        let bucket_seconds = config.live.bucket_seconds.into();
        let Loaded { record, source_key, sensors, live } = store.load(bucket_seconds, rand::random())?;
        let reader = Box::new(Reader::open(store.location())?);
        let mut live_store = LiveStore::new(config.live.clone(), &config.metrics, links.newest.clone());
        live_store.restore(live, links.clock.now());
        let (visible, is_visible) = oneshot::channel();
        let worker_count = config.aggregate.worker_count();
        let (sweepings, sweeper) = Sweeper::new();
        let stage = Stage::new(Parts {
            settings: journal::Settings {
                commit_interval: config.store.commit_interval(),
                commit_bytes: config.store.commit_bytes,
                workers: worker_count,
            },
            journal,
            ledger: Ledger::new(config.ingest.max_sensors, config.ingest.max_streams, sensors, reader),
            committed: record,
            inbox: links.inbox.clone(),
            jobs: links.jobs.clone(),
            memory: links.batch_memory.clone(),
            state: links.state.clone(),
            clock: links.clock.clone(),
            latencies: links.latencies.clone(),
            sweepings,
            visible,
        })?;
        let mut region_ports: Vec<Port> = config.metrics.ports.clone();
        region_ports.sort_unstable();
        region_ports.dedup();
        let plan = Plan {
            rules: Rules {
                source_hash: SourceHash::new(source_key),
                bucket_seconds,
                late_grace_seconds: config.live.silent_grace_seconds.into(),
            },
            limits: config.ingest.limits(),
            interval: config.aggregate.merge_interval(),
            newest: links.newest.clone(),
            counters: links.aggregate.clone(),
            geo,
            pulse: links.state.pulses.workers.clone(),
            region_ports: region_ports.into(),
            dead: Arc::default(),
        };
        let (hand_over, handed_over) = match drive {
            Drive::Threads => bounded(worker_count),
            Drive::Pump => unbounded(),
        };
        let (give_back, empty) = bounded::<Box<Delta>>(worker_count);
        let worker = |_| Worker::new(plan.clone(), links.queues.clone(), hand_over.clone(), empty.clone());
        let workers = (0..worker_count).map(worker).collect::<std::io::Result<_>>()?;
        let (snapshots, taken) = bounded(1);
        let merger = Merger::new(live::Parts {
            store: live_store,
            state: links.state.clone(),
            handed_over,
            empty: give_back,
            view: links.view.clone(),
            snapshots,
            interval: config.aggregate.merge_interval(),
            clock: links.clock.clone(),
            latencies: links.latencies.clone(),
        });
        let (queue, state, clock) = (links.queue.clone(), links.state.clone(), links.clock.clone());
        let committer = Committer::new(store, taken, queue, state, clock, links.latencies.commit.clone());
        Ok((Pipeline { stage, workers, merger, committer, sweeper }, is_visible))
    }

    /// Starts each stage on a thread of its own by `start`, which is given a name and the work.
    ///
    /// # Errors
    /// The first error of `start`. Threads that have been started end by themselves then.
    pub fn start(
        self,
        mut start: impl FnMut(String, Box<dyn FnOnce() + Send>) -> std::io::Result<JoinHandle<()>>,
    ) -> std::io::Result<Vec<JoinHandle<()>>> {
        let Pipeline { stage, workers, merger, committer, sweeper } = self;
        let mut threads = Vec::new();
        for (number, worker) in workers.into_iter().enumerate() {
            threads.push(start(format!("worker-{number}"), Box::new(move || worker.run()))?);
        }
        threads.push(start("merger".to_owned(), Box::new(move || merger.run()))?);
        threads.push(start("committer".to_owned(), Box::new(move || committer.run()))?);
        threads.push(start("sweeper".to_owned(), Box::new(move || sweeper.run()))?);
        threads.push(start("journal".to_owned(), Box::new(move || stage.run()))?);
        Ok(threads)
    }

    /// Lets every stage do what it can without waiting; `false` once the journal stage has ended. For [`Drive::Pump`];
    /// `now` only says what is due. A turn of the committer is left out where `commits` is `false`, as if it took long.
    pub fn turn(&mut self, now: Instant, commits: bool) -> bool {
        let goes_on = self.stage.turn(now);
        // Several rounds: at a cut the workers wait for each other.
        while self.workers.iter_mut().filter_map(|worker| worker.turn().then_some(())).count() > 0 {}
        self.workers.iter_mut().for_each(Worker::hand_over);
        self.merger.turn(now);
        if commits {
            self.committer.turn(now);
        }
        self.sweeper.turn();
        goes_on
    }

    /// The store that commits go to.
    #[must_use]
    pub const fn store(&self) -> &Store {
        self.committer.store()
    }

    /// Publishes a view of everything that was counted, and returns it.
    pub fn publish(&mut self) -> Arc<LiveView> {
        self.merger.publish()
    }
}
