//! One worker thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use martlet_window::{BatchHeader, Digest};
use martlet_wire::WireError;
use martlet_wire::v1::{BatchView, Columns, Limits, digest};
use tokio::sync::oneshot;

use super::delta::{Delta, Rules};
use crate::ingest::{SensorId, Share};
use crate::live::{RECENT_STEP_SECONDS, RECENT_STEPS};

/// A worker hands its tables over early when they hold about so many keys.
const LARGE_DELTA: usize = 1 << 17;
/// Columns are kept for later batches while they have room for at most so many rows in all: large batches must not hold
/// memory for ever.
const SPARE_ROWS: usize = 1 << 16;
/// How many columns are kept at most: about as many as two full groups of one connection.
const SPARE_COLUMNS: usize = 64;

/// A batch whose columns were checked.
#[derive(Debug)]
pub struct Decoded {
    /// Its header.
    pub header: BatchHeader,
    /// Hash of its payload.
    pub digest: Digest,
    /// Its rows.
    pub columns: Columns,
    /// What it takes of the memory for batches in flight.
    pub memory: Share,
}

/// A batch as it came.
#[derive(Debug)]
pub struct Encoded {
    /// The payload of a batch frame whose header was read.
    pub payload: Vec<u8>,
    /// What the payload takes of the memory for frames.
    pub payload_memory: Share,
    /// What the decoded batch takes of the memory for batches in flight; at least its decoded cost.
    pub memory: Share,
}

/// What workers do.
#[derive(Debug)]
pub enum Job {
    /// Decode payloads and check every rule.
    Decode {
        /// At least one.
        payloads: Vec<Encoded>,
        /// Where to answer, in the same order; gone when nobody waits any more.
        reply: oneshot::Sender<Vec<Result<Decoded, WireError>>>,
    },
    /// Count batches that the ledger accepted.
    Count {
        /// Whose, and what.
        batches: Vec<(SensorId, Decoded)>,
    },
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
}

/// One worker: run it on a thread of its own.
pub struct Worker {
    plan: Plan,
    jobs: Receiver<Job>,
    hand_over: Sender<Box<Delta>>,
    empty: Receiver<Box<Delta>>,
    delta: Box<Delta>,
    decompressor: zstd::bulk::Decompressor<'static>,
    raw: Vec<u8>,
    spare: Vec<Columns>,
    /// Rows that the spare columns have room for.
    spare_rows: usize,
}

impl Worker {
    /// A worker that takes `jobs`, hands over to `hand_over` and gets its emptied tables back from `empty`.
    ///
    /// # Errors
    /// If the decompression library cannot allocate its state.
    pub fn new(
        plan: Plan,
        jobs: Receiver<Job>,
        hand_over: Sender<Box<Delta>>,
        empty: Receiver<Box<Delta>>,
    ) -> std::io::Result<Worker> {
        let decompressor = zstd::bulk::Decompressor::new()?;
        let (raw, spare) = (Vec::new(), Vec::new());
        Ok(Worker { plan, jobs, hand_over, empty, delta: Box::default(), decompressor, raw, spare, spare_rows: 0 })
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
            let now = Instant::now();
            if now >= due {
                self.hand_over();
                due = now + self.plan.interval;
            }
        }
        self.hand_over();
    }

    fn work(&mut self, job: Job) {
        match job {
            Job::Decode { payloads, reply } => {
                let decoded = payloads.into_iter().map(|encoded| self.decode(encoded)).collect();
                // Nobody waits when the connection ended meanwhile; the batches are not counted then.
                let _ = reply.send(decoded);
            }
            Job::Count { batches } => {
                let arrived = Instant::now();
                batches.into_iter().for_each(|(sensor, batch)| self.count(sensor, batch, arrived));
            }
        }
    }

    fn decode(&mut self, encoded: Encoded) -> Result<Decoded, WireError> {
        let Encoded { payload, payload_memory: _payload_memory, memory } = encoded;
        let view = BatchView::read(&payload, &self.plan.limits)?;
        let mut columns = self.spare.pop().unwrap_or_default();
        self.spare_rows -= room(&columns);
        match view.columns(&mut self.decompressor, &mut self.raw, &mut columns) {
            Ok(()) => Ok(Decoded { header: view.header, digest: digest(&payload), columns, memory }),
            Err(error) => {
                self.keep(columns);
                Err(error)
            }
        }
    }

    fn count(&mut self, sensor: SensorId, batch: Decoded, arrived: Instant) {
        let Decoded { header, columns, memory, .. } = batch;
        let newest = self.plan.newest[header.class as usize].load(Relaxed);
        let recent_from = newest.saturating_sub(RECENT_STEP_SECONDS * RECENT_STEPS);
        self.delta.add(&self.plan.rules, sensor, &header, &columns, recent_from, arrived);
        self.plan.counters.rows.fetch_add(columns.len() as u64, Relaxed);
        self.plan.counters.batches.fetch_add(1, Relaxed);
        self.keep(columns);
        drop(memory);
        if self.delta.size() >= LARGE_DELTA {
            self.hand_over();
        }
    }

    fn keep(&mut self, columns: Columns) {
        let rows = self.spare_rows + room(&columns);
        if rows <= SPARE_ROWS && self.spare.len() < SPARE_COLUMNS {
            self.spare_rows = rows;
            self.spare.push(columns);
        }
    }

    fn hand_over(&mut self) {
        if self.raw.capacity() > SPARE_ROWS * 16 {
            self.raw = Vec::new();
        }
        if self.delta.is_empty() {
            return;
        }
        let empty = self.empty.try_recv().unwrap_or_default();
        let full = std::mem::replace(&mut self.delta, empty);
        self.plan.counters.hand_overs.fetch_add(1, Relaxed);
        // The merger outlives the workers; if it is gone the process is failing and says so elsewhere.
        let _ = self.hand_over.send(full);
    }
}

/// Rows that columns have room for.
fn room(columns: &Columns) -> usize {
    columns.sources.capacity()
}
