//! The thread that owns the store.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use prometheus::Histogram;

use super::store::Store;
use super::view::LiveView;
use crate::aggregate::Delta;
use crate::ingest::Ledger;

/// What the merger counts about itself.
#[derive(Debug)]
pub struct Statistics {
    /// Time that taking in one worker's tables took, in seconds.
    pub merge_seconds: Histogram,
}

/// Adds what workers hand over to the store, and publishes views. Run it on a thread of its own.
pub struct Merger {
    /// The store.
    pub store: Store,
    /// Names and losses of sensors.
    pub ledger: Arc<Ledger>,
    /// What workers hand over.
    pub deltas: Receiver<Box<Delta>>,
    /// Emptied tables on their way back; full when nobody needs them.
    pub empty: Sender<Box<Delta>>,
    /// Where views are published.
    pub view: Arc<ArcSwap<LiveView>>,
    /// How often a view is published.
    pub interval: Duration,
    /// What the merger counts about itself.
    pub statistics: Arc<Statistics>,
}

/// The wall clock, in seconds since the Unix epoch.
#[must_use]
pub fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl Merger {
    /// Merges until all workers are gone and their last tables are in, then publishes a last view.
    pub fn run(mut self) {
        let mut due = Instant::now() + self.interval;
        loop {
            match self.deltas.recv_deadline(due) {
                Ok(delta) => self.merge(delta),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // Workers hand over at about the same time: a view waits for all of them, but not for the next round.
            let now = Instant::now();
            let settled = self.deltas.is_empty() && due.saturating_duration_since(now) < self.interval / 2;
            if now >= due || settled {
                self.publish();
                due = now + self.interval;
            }
        }
        self.publish();
    }

    fn merge(&mut self, mut delta: Box<Delta>) {
        let timer = self.statistics.merge_seconds.start_timer();
        self.store.add(&mut delta, unix_now());
        timer.observe_duration();
        let _ = self.empty.try_send(delta);
    }

    fn publish(&mut self) {
        let view = self.store.view(self.ledger.sensors(), unix_now());
        self.view.store(Arc::new(view));
    }
}
