//! What the two ends of a spool know of each other: what may be sent, and what has been acknowledged.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use martlet_journal::{Disk, Reader};
use martlet_wire::v1::Totals;
use tokio::sync::Notify;

use super::directory::EpochDisk;

/// What was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Batches.
    pub batches: u64,
    /// What they held.
    pub held: Totals,
}

/// A spool's numbers, for metrics and reports.
#[derive(Debug, Default)]
pub struct SpoolFigures {
    /// Batches that wait for an acknowledgement.
    pub batches: AtomicU64,
    /// Bytes on the disk.
    pub bytes: AtomicU64,
    /// Epochs that hold batches or wait for the collector's last word.
    pub epochs: AtomicU64,
    /// Batches that the collector has acknowledged.
    pub delivered: AtomicU64,
    /// Batches that the collector had acknowledged and wants again: it has lost its memory of them.
    pub wanted_again: AtomicU64,
    /// Batches dropped by the quota, for want of space, or because the collector refuses them.
    pub dropped_batches: AtomicU64,
    /// Windows that began in dropped batches.
    pub dropped_windows: AtomicU64,
    /// Packets of dropped batches.
    pub dropped_packets: AtomicU64,
    /// Time watched in dropped batches, in milliseconds.
    pub dropped_watched_ms: AtomicU64,
    /// Records found damaged or missing.
    pub damaged_records: AtomicU64,
    /// Epochs that were left because somebody else had gone on with them.
    pub forks: AtomicU64,
    /// Whether the last batch found no room on the disk.
    pub disk_full: AtomicBool,
}

impl SpoolFigures {
    pub(super) fn dropped(&self, loss: &Loss) {
        self.dropped_batches.fetch_add(loss.batches, Relaxed);
        self.dropped_windows.fetch_add(loss.held.windows, Relaxed);
        self.dropped_packets.fetch_add(loss.held.packets, Relaxed);
        self.dropped_watched_ms.fetch_add(loss.held.watched_ms, Relaxed);
    }

    /// What was dropped in all.
    #[must_use]
    pub fn dropped_in_all(&self) -> Loss {
        Loss {
            batches: self.dropped_batches.load(Relaxed),
            held: Totals {
                windows: self.dropped_windows.load(Relaxed),
                packets: self.dropped_packets.load(Relaxed),
                watched_ms: self.dropped_watched_ms.load(Relaxed),
            },
        }
    }
}

/// An epoch as the uplink sees it.
pub(super) struct Stretch<D: Disk> {
    pub(super) epoch: u64,
    /// Whether batches are still added.
    pub(super) live: bool,
    /// The lowest sequence number that is held.
    pub(super) first: u64,
    /// Records below this are durable, and may be sent.
    pub(super) end: u64,
    /// What the records below `end` held, and the newest start of a window among them: a gap may reach up to there.
    pub(super) reached: Option<(Totals, i64)>,
    /// Records below this are acknowledged: the collector will not ask again unless it fails.
    pub(super) journaled: u64,
    /// Records below this may be deleted.
    pub(super) committed: u64,
    /// What the records below `journaled` held, as far as it is known here.
    pub(super) settled: Totals,
    /// Start of the window of the last record below `journaled`, if known.
    pub(super) settled_window: Option<i64>,
    /// Somebody else went on with it: its batches must be moved before they are sent.
    pub(super) forked: bool,
    /// For the uplink to take.
    pub(super) reader: Option<Reader<EpochDisk<D>>>,
}

pub(super) struct State<D: Disk> {
    /// Oldest first.
    pub(super) stretches: VecDeque<Stretch<D>>,
    /// No more batches will come.
    pub(super) closed: bool,
    /// Nobody takes batches any more.
    pub(super) abandoned: bool,
}

impl<D: Disk> State<D> {
    pub(super) fn stretch(&mut self, epoch: u64) -> Option<&mut Stretch<D>> {
        self.stretches.iter_mut().find(|stretch| stretch.epoch == epoch)
    }

    /// Batches that wait for an acknowledgement.
    pub(super) fn waiting(&self) -> u64 {
        let each = self.stretches.iter().map(|it| it.end.saturating_sub(it.journaled.max(it.first)));
        each.sum()
    }
}

pub(super) struct Shared<D: Disk> {
    state: Mutex<State<D>>,
    /// Something was acknowledged or given up: there may be room.
    pub(super) room: Condvar,
    /// There may be something to send, or something else for the uplink to know.
    pub(super) changed: Notify,
    pub(super) figures: Arc<SpoolFigures>,
}

impl<D: Disk> Shared<D> {
    pub(super) fn new(figures: Arc<SpoolFigures>) -> Shared<D> {
        let state = State { stretches: VecDeque::new(), closed: false, abandoned: false };
        Shared { state: Mutex::new(state), room: Condvar::new(), changed: Notify::new(), figures }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<D>> {
        // Every change leaves whole state before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the figures up to date after a change.
    pub(super) fn count(&self, state: &State<D>) {
        self.figures.batches.store(state.waiting(), Relaxed);
        let holding = state.stretches.iter().filter(|it| it.end > it.committed.max(it.first));
        self.figures.epochs.store(holding.count() as u64, Relaxed);
    }
}
