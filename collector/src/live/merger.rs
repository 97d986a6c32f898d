//! The thread that owns the live store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::image::LiveImage;
use super::store::LiveStore;
use super::view::LiveView;
use crate::aggregate::{Delta, HandOver};
use crate::clock::SharedClock;
use crate::journal::{Checkpoint, State};
use crate::latencies::Latencies;

/// Everything below one record of the journal that is not in the store yet.
#[derive(Debug)]
pub struct Snapshot {
    /// The record, names and positions.
    pub checkpoint: Box<Checkpoint>,
    /// Counts.
    pub live: LiveImage,
}

/// What the merger is made of.
pub struct Parts {
    /// The live store.
    pub store: LiveStore,
    /// Names of sensors.
    pub state: Arc<State>,
    /// What workers hand over.
    pub handed_over: Receiver<HandOver>,
    /// Emptied tables on their way back; full when nobody needs them.
    pub empty: Sender<Box<Delta>>,
    /// Where views are published.
    pub view: Arc<ArcSwap<LiveView>>,
    /// Where snapshots go. One is on its way at a time.
    pub snapshots: Sender<Snapshot>,
    /// How often a view is published.
    pub interval: Duration,
    /// The wall clock.
    pub clock: SharedClock,
    /// How long merging takes, and windows take to be seen.
    pub latencies: Latencies,
}

/// Adds what workers hand over to the live store, publishes views, and takes snapshots at cuts. Run it on a thread of its
/// own, or pump it.
pub struct Merger {
    parts: Parts,
    /// Live batches that are merged and in no view yet, by the end of their window, in seconds since the Unix epoch.
    unseen: Vec<(i64, u64)>,
    /// Whether what is handed over comes from the journal: most of it had been seen before the start.
    is_replay: bool,
}

impl Merger {
    /// A merger to which what is replayed is handed over first.
    #[must_use]
    pub fn new(parts: Parts) -> Merger {
        Merger { parts, unseen: Vec::new(), is_replay: true }
    }

    /// Merges until all workers are gone and their last tables are in, then publishes a last view.
    pub fn run(mut self) {
        let mut due = Instant::now() + self.parts.interval;
        loop {
            self.parts.state.pulses.merger.beat();
            match self.parts.handed_over.recv_deadline(due) {
                Ok(handed_over) => self.take(handed_over),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // Workers hand over at about the same time: a view waits for all of them, but not for the next round.
            let now = Instant::now();
            let interval = self.parts.interval;
            let settled = self.parts.handed_over.is_empty() && due.saturating_duration_since(now) < interval / 2;
            if now >= due || settled {
                self.publish();
                self.parts.latencies.rotate(now);
                due = now + interval;
            }
        }
        self.publish();
    }

    /// Takes in what waits; `false` if nothing did. For pumping without a thread; `now` only says which latencies are recent.
    pub fn turn(&mut self, now: Instant) -> bool {
        let mut has_worked = false;
        while let Ok(handed_over) = self.parts.handed_over.try_recv() {
            self.take(handed_over);
            has_worked = true;
        }
        self.parts.latencies.rotate(now);
        has_worked
    }

    fn take(&mut self, handed_over: HandOver) {
        match handed_over {
            HandOver::Tables(delta) => self.merge(delta),
            HandOver::Cut(mut checkpoint) => {
                if let Some(visible) = checkpoint.visible.take() {
                    self.is_replay = false;
                    self.publish();
                    let _ = visible.send(());
                }
                let live = self.parts.store.changes();
                // The committer outlives the merger; if it is gone the process is failing and says so elsewhere.
                let _ = self.parts.snapshots.send(Snapshot { checkpoint, live });
            }
        }
    }

    fn merge(&mut self, mut delta: Box<Delta>) {
        if !self.is_replay {
            self.unseen.extend(delta.live.drain());
        }
        let begun = Instant::now();
        self.parts.store.add(&mut delta, self.parts.clock.now());
        self.parts.latencies.merge.record(begun.elapsed());
        let _ = self.parts.empty.try_send(delta);
    }

    /// Publishes a view of what is merged, and returns it.
    pub fn publish(&mut self) -> Arc<LiveView> {
        let Parts { store, state, view, clock, latencies, .. } = &mut self.parts;
        let published = Arc::new(store.view(&state.sensors.load(), clock.now()));
        view.store(published.clone());
        let now_ms = clock.now_ms();
        for (window_end, batches) in self.unseen.drain(..) {
            // By a clock that is ahead of ours a window has not ended yet.
            let age_ms = now_ms.saturating_sub(window_end.saturating_mul(1000)).max(0);
            latencies.freshness.record_n(Duration::from_millis(age_ms.unsigned_abs()), batches);
        }
        published
    }
}
