//! One worker thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use martlet_wire::WireError;
use martlet_wire::v1::Limits;
use tokio::sync::oneshot;

use super::cut::Cut;
use super::decoder::{Decoded, Decoder, Encoded};
use super::delta::{Arrival, Delta, Rules};
use super::hours::Loss;
use crate::ingest::SensorId;
use crate::journal::Checkpoint;
use crate::live::{RECENT_STEP_SECONDS, RECENT_STEPS};

/// A worker hands its tables over early when they hold about so many keys.
const LARGE_DELTA: usize = 1 << 18;

/// What became of payloads that were decoded together, with the payloads.
pub type DecodedGroup = Vec<Result<(Decoded, Encoded), WireError>>;

/// What workers do.
#[derive(Debug)]
pub enum Job {
    /// Decode payloads and check every rule.
    Decode {
        /// At least one.
        payloads: Vec<Encoded>,
        /// Where to answer, in the same order, with the payloads; gone when nobody waits any more.
        reply: oneshot::Sender<DecodedGroup>,
    },
    /// Count what was accepted.
    Count(Vec<Counted>),
    /// Meet the other workers.
    Cut(Arc<Cut>),
}

/// Something that was accepted and counts now.
#[derive(Debug)]
pub enum Counted {
    /// A batch.
    Batch {
        /// Whose.
        sensor: SensorId,
        /// When and how it came.
        arrival: Arrival,
        /// What.
        batch: Box<Decoded>,
    },
    /// A loss.
    Loss(Loss),
}

/// What workers pass to the merger.
#[derive(Debug)]
pub enum HandOver {
    /// What one worker counted.
    Tables(Box<Delta>),
    /// All that was counted before this point has been handed over, and nothing that comes after it.
    Cut(Box<Checkpoint>),
}

/// What all workers count about themselves.
#[derive(Debug, Default)]
pub struct Counters {
    /// Rows counted.
    pub rows: AtomicU64,
    /// Batches counted.
    pub batches: AtomicU64,
    /// Hand-overs to the merger.
    pub hand_overs: AtomicU64,
}

/// How workers work.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How rows become counts.
    pub rules: Rules,
    /// What is believed of a peer's lengths.
    pub limits: Limits,
    /// How often counts are handed over.
    pub interval: Duration,
    /// End of the newest window of each class, in seconds since the Unix epoch, as the merger knows it.
    pub newest: Arc<[AtomicI64; 3]>,
    /// What workers count about themselves.
    pub counters: Arc<Counters>,
    /// Workers that have died.
    pub dead: Arc<AtomicUsize>,
}

/// One worker: run it on a thread of its own, or pump it.
pub struct Worker {
    plan: Plan,
    jobs: Receiver<Job>,
    hand_over: Sender<HandOver>,
    empty: Receiver<Box<Delta>>,
    delta: Box<Delta>,
    decoder: Decoder,
    /// The cut at which it waits for the others.
    cut: Option<Arc<Cut>>,
}

impl Worker {
    /// A worker that takes `jobs`, hands over to `hand_over` and gets its emptied tables back from `empty`.
    ///
    /// # Errors
    /// If the decompression library cannot allocate its state.
    pub fn new(
        plan: Plan,
        jobs: Receiver<Job>,
        hand_over: Sender<HandOver>,
        empty: Receiver<Box<Delta>>,
    ) -> std::io::Result<Worker> {
        let decoder = Decoder::new(plan.limits)?;
        Ok(Worker { plan, jobs, hand_over, empty, delta: Box::default(), decoder, cut: None })
    }

    /// Works until nobody can send jobs any more and all are done, then hands over what is left.
    pub fn run(mut self) {
        let mut due = Instant::now() + self.plan.interval;
        loop {
            match self.jobs.recv_deadline(due) {
                Ok(job) => self.work(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if let Some(cut) = self.cut.take() {
                cut.wait(|| self.plan.dead.load(Relaxed) == 0);
            }
            let now = Instant::now();
            if now >= due {
                self.hand_over();
                due = now + self.plan.interval;
            }
        }
        self.hand_over();
    }

    /// Does one job that waits, if it may; `false` if there was nothing to do. For pumping without a thread.
    pub fn turn(&mut self) -> bool {
        if self.cut.as_ref().is_some_and(|cut| !cut.is_complete()) {
            return false;
        }
        self.cut = None;
        let Ok(job) = self.jobs.try_recv() else {
            return false;
        };
        self.work(job);
        true
    }

    fn work(&mut self, job: Job) {
        match job {
            Job::Decode { payloads, reply } => {
                let decoded = payloads.into_iter().map(|encoded| self.decode(encoded)).collect();
                // Nobody waits when the connection ended meanwhile; the batches are not counted then.
                let _ = reply.send(decoded);
            }
            Job::Count(counted) => counted.into_iter().for_each(|counted| self.count(counted)),
            Job::Cut(cut) => {
                self.hand_over();
                let hand_over = &self.hand_over;
                // The merger outlives the workers; if it is gone the process is failing and says so elsewhere.
                cut.arrive(|checkpoint| drop(hand_over.send(HandOver::Cut(checkpoint))));
                self.cut = Some(cut);
            }
        }
    }

    fn decode(&mut self, mut encoded: Encoded) -> Result<(Decoded, Encoded), WireError> {
        let memory = std::mem::take(&mut encoded.memory);
        let decoded = self.decoder.decode(&encoded.payload, memory)?;
        Ok((decoded, encoded))
    }

    fn count(&mut self, counted: Counted) {
        match counted {
            Counted::Batch { sensor, arrival, batch } => self.count_batch(sensor, arrival, *batch),
            Counted::Loss(loss) => self.delta.lose(&loss),
        }
        if self.delta.size() >= LARGE_DELTA {
            self.hand_over();
        }
    }

    fn count_batch(&mut self, sensor: SensorId, arrival: Arrival, batch: Decoded) {
        let Decoded { header, columns, memory, .. } = batch;
        let newest = self.plan.newest[header.class as usize].load(Relaxed);
        let recent_from = newest.saturating_sub(RECENT_STEP_SECONDS * RECENT_STEPS);
        self.delta.add(&self.plan.rules, sensor, &header, &columns, recent_from, arrival);
        self.plan.counters.rows.fetch_add(columns.len() as u64, Relaxed);
        self.plan.counters.batches.fetch_add(1, Relaxed);
        self.decoder.keep(columns);
        drop(memory);
    }

    /// Hands the tables over, if anything was counted. A pumped worker is told when.
    pub fn hand_over(&mut self) {
        self.decoder.trim();
        if self.delta.is_empty() {
            return;
        }
        let empty = self.empty.try_recv().unwrap_or_default();
        let full = std::mem::replace(&mut self.delta, empty);
        self.plan.counters.hand_overs.fetch_add(1, Relaxed);
        // As for cuts.
        let _ = self.hand_over.send(HandOver::Tables(full));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // What it had counted is gone: others must not wait for it at a cut, and no cut completes without it.
        if std::thread::panicking() {
            self.plan.dead.fetch_add(1, Relaxed);
        }
    }
}
