//! The thread that owns the live store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use prometheus::Histogram;

use super::image::LiveImage;
use super::store::LiveStore;
use super::view::LiveView;
use crate::aggregate::{Delta, HandOver};
use crate::clock::SharedClock;
use crate::journal::{Checkpoint, State};

/// What the merger counts about itself.
#[derive(Debug)]
pub struct Statistics {
    /// Time that taking in one worker's tables took, in seconds.
    pub merge_seconds: Histogram,
}

/// Everything below one record of the journal that is not in the store yet.
#[derive(Debug)]
pub struct Snapshot {
    /// The record, names and positions.
    pub checkpoint: Box<Checkpoint>,
    /// Counts.
    pub live: LiveImage,
}

/// Adds what workers hand over to the live store, publishes views, and takes snapshots at cuts. Run it on a thread of its
/// own, or pump it.
pub struct Merger {
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
    /// What the merger counts about itself.
    pub statistics: Arc<Statistics>,
}

impl Merger {
    /// Merges until all workers are gone and their last tables are in, then publishes a last view.
    pub fn run(mut self) {
        let mut due = Instant::now() + self.interval;
        loop {
            match self.handed_over.recv_deadline(due) {
                Ok(handed_over) => self.take(handed_over),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // Workers hand over at about the same time: a view waits for all of them, but not for the next round.
            let now = Instant::now();
            let settled = self.handed_over.is_empty() && due.saturating_duration_since(now) < self.interval / 2;
            if now >= due || settled {
                self.publish();
                due = now + self.interval;
            }
        }
        self.publish();
    }

    /// Takes in what waits; `false` if nothing did. For pumping without a thread.
    pub fn turn(&mut self) -> bool {
        let mut has_worked = false;
        while let Ok(handed_over) = self.handed_over.try_recv() {
            self.take(handed_over);
            has_worked = true;
        }
        has_worked
    }

    fn take(&mut self, handed_over: HandOver) {
        match handed_over {
            HandOver::Tables(mut delta) => {
                let timer = self.statistics.merge_seconds.start_timer();
                self.store.add(&mut delta, self.clock.now());
                timer.observe_duration();
                let _ = self.empty.try_send(delta);
            }
            HandOver::Cut(mut checkpoint) => {
                if let Some(visible) = checkpoint.visible.take() {
                    self.publish();
                    let _ = visible.send(());
                }
                let live = self.store.changes();
                // The committer outlives the merger; if it is gone the process is failing and says so elsewhere.
                let _ = self.snapshots.send(Snapshot { checkpoint, live });
            }
        }
    }

    /// Publishes a view of what is merged.
    pub fn publish(&mut self) {
        let view = self.store.view(&self.state.sensors.load(), self.clock.now());
        self.view.store(Arc::new(view));
    }
}
