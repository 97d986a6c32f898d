//! Makes commits of snapshots.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use martlet_telemetry::latency::Latency;

use super::schema::Store;
use crate::clock::SharedClock;
use crate::journal::{Queue, Stall, State};
use crate::live::Snapshot;

/// First wait before a store that failed is tried again; it doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// Writes snapshots into the store, and tells the journal stage. Run it on a thread of its own, or pump it.
pub struct Committer {
    store: Store,
    snapshots: Receiver<Snapshot>,
    queue: Queue,
    state: Arc<State>,
    clock: SharedClock,
    latency: Arc<Latency>,
    /// What could not be written yet, when it is tried again, and how long the wait was.
    waiting: Option<(Snapshot, Instant, Duration)>,
}

impl Committer {
    /// A committer of snapshots that come one at a time.
    #[must_use]
    pub fn new(
        store: Store,
        snapshots: Receiver<Snapshot>,
        queue: Queue,
        state: Arc<State>,
        clock: SharedClock,
        latency: Arc<Latency>,
    ) -> Committer {
        Committer { store, snapshots, queue, state, clock, latency, waiting: None }
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Commits until there will be no more snapshots. What cannot be written when all others have ended stays in the
    /// journal.
    pub fn run(mut self) {
        loop {
            let patience = match &self.waiting {
                Some((_, at, _)) => at.saturating_duration_since(Instant::now()),
                None => LONGEST_RETRY,
            };
            let received = self.snapshots.recv_timeout(patience);
            let is_over = matches!(received, Err(RecvTimeoutError::Disconnected));
            if let Ok(snapshot) = received {
                self.commit(snapshot, Instant::now(), FIRST_RETRY);
            }
            self.retry(Instant::now());
            if is_over {
                return;
            }
        }
    }

    /// Commits what waits; `false` if there was nothing to do. For pumping without a thread; `now` only says what is due.
    pub fn turn(&mut self, now: Instant) -> bool {
        let has_retried = self.retry(now);
        match self.snapshots.try_recv() {
            Ok(snapshot) => {
                self.commit(snapshot, now, FIRST_RETRY);
                true
            }
            Err(_) => has_retried,
        }
    }

    fn retry(&mut self, now: Instant) -> bool {
        match self.waiting.take() {
            Some((snapshot, at, wait)) if at <= now => {
                self.commit(snapshot, now, (wait * 2).min(LONGEST_RETRY));
                true
            }
            waiting => {
                self.waiting = waiting;
                false
            }
        }
    }

    fn commit(&mut self, snapshot: Snapshot, now: Instant, wait: Duration) {
        let begun = Instant::now();
        match self.store.commit(&snapshot) {
            Ok(()) => {
                self.latency.record(begun.elapsed());
                self.state.store.work(self.clock.now_ms());
                self.queue.committed(snapshot.checkpoint);
            }
            Err(error) => {
                let reason = if error.is_full() { Stall::DiskFull } else { Stall::DiskFailing };
                self.state.store.stall(reason, &error, self.clock.now_ms());
                self.waiting = Some((snapshot, now + wait, wait));
            }
        }
    }
}
