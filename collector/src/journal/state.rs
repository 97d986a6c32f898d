//! What others may know of the journal stage and of commits.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use arc_swap::ArcSwap;
use martlet_telemetry::watchdog::Pulse;

use super::ledger::SensorRecord;
use crate::archive::ArchiveState;
use crate::detect::DetectState;
use crate::report::ReportsState;
use crate::rollup::HistoryState;
use crate::signal::Event;

/// Why nothing is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// The disk is full, or less is free than is kept in reserve.
    DiskFull,
    /// The disk fails.
    DiskFailing,
}

impl Stall {
    /// The name used in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Stall::DiskFull => "disk_full",
            Stall::DiskFailing => "disk_failing",
        }
    }

    /// Of an error of the system.
    #[must_use]
    pub fn of(error: &std::io::Error) -> Stall {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Stall::DiskFull,
            _ => Stall::DiskFailing,
        }
    }
}

/// Whether something works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// It does.
    #[default]
    Running,
    /// It waits for the disk.
    Stalled {
        /// Why.
        reason: Stall,
        /// Since when, in milliseconds since the Unix epoch.
        since_ms: i64,
    },
}

/// Something that may stall, and says so once for each change.
#[derive(Debug)]
pub struct Health {
    /// What stops, for the log.
    what: &'static str,
    condition: Mutex<Condition>,
    stalls: AtomicU64,
}

impl Health {
    pub(crate) const fn new(what: &'static str) -> Health {
        Health { what, condition: Mutex::new(Condition::Running), stalls: AtomicU64::new(0) }
    }

    /// How it is.
    #[must_use]
    pub fn condition(&self) -> Condition {
        *self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often it has stalled.
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.stalls.load(Relaxed)
    }

    /// It cannot go on for this reason.
    pub(crate) fn stall(&self, reason: Stall, error: &dyn std::fmt::Display, now_ms: i64) {
        let mut condition = self.condition.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *condition {
            // The reason may change while it lasts; that is no news for the log.
            Condition::Stalled { reason: known, .. } => *known = reason,
            running => {
                *running = Condition::Stalled { reason, since_ms: now_ms };
                self.stalls.fetch_add(1, Relaxed);
                tracing::error!("{} stalled ({}): {error}; trying again until it works", self.what, reason.name());
            }
        }
    }

    /// It works.
    pub(crate) fn work(&self, now_ms: i64) {
        let mut condition = self.condition.lock().unwrap_or_else(PoisonError::into_inner);
        if let Condition::Stalled { since_ms, .. } = std::mem::take(&mut *condition) {
            tracing::info!("{} goes on after {} s", self.what, now_ms.saturating_sub(since_ms).max(0) / 1000);
        }
    }
}

/// What the stage and the committer count.
#[derive(Debug, Default)]
pub struct Counters {
    /// Records made durable.
    pub records: AtomicU64,
    /// Syncs of the journal.
    pub syncs: AtomicU64,
    /// Bytes of the journal's segments now.
    pub bytes: AtomicU64,
    /// Records that the journal lost to damage, as far as they were not committed.
    pub damaged_records: AtomicU64,
    /// Records replayed at the start.
    pub replayed_records: AtomicU64,
    /// Records that did not count when they were replayed: behind damage, or written twice.
    pub skipped_records: AtomicU64,
    /// Records below this one are durable.
    pub durable: AtomicU64,
    /// Records below this one are committed.
    pub committed: AtomicU64,
    /// Records below this one are in the archive; the greatest number where there is none. The journal keeps the others.
    pub archived: AtomicU64,
    /// Records below this one need not be read again by the detector; the greatest number where there is none.
    pub detected: AtomicU64,
    /// Commits.
    pub commits: AtomicU64,
    /// When the last commit was made, in milliseconds since the Unix epoch; 0 before the first.
    pub last_commit_ms: AtomicI64,
    /// Streams whose positions are in memory.
    pub streams: AtomicU64,
}

impl Counters {
    /// Records that are durable and not committed.
    #[must_use]
    pub fn uncommitted(&self) -> u64 {
        self.durable.load(Relaxed).saturating_sub(self.committed.load(Relaxed))
    }

    /// Whether there is an archive that the journal waits for.
    #[must_use]
    pub fn has_archive(&self) -> bool {
        self.archived.load(Relaxed) != u64::MAX
    }

    /// Records that are durable and not archived; 0 without an archive.
    #[must_use]
    pub fn unarchived(&self) -> u64 {
        self.durable.load(Relaxed).saturating_sub(self.archived.load(Relaxed))
    }
}

/// What shows that a batch which comes now gets into the counts. Each stage's thread beats once a turn, with or without work.
#[derive(Clone, Debug, Default)]
pub struct Pulses {
    /// The journal stage.
    pub journal: Pulse,
    /// All workers: at a cut they wait for each other, so that one which hangs stops them all.
    pub workers: Pulse,
    /// The merger.
    pub merger: Pulse,
}

/// What is shared.
#[derive(Debug)]
pub struct State {
    /// Whether the stages come round.
    pub pulses: Pulses,
    /// Whether batches are acknowledged.
    pub ingest: Health,
    /// Whether the store takes commits.
    pub store: Health,
    /// What the archive says of itself.
    pub archive: ArchiveState,
    /// What history says of itself.
    pub history: HistoryState,
    /// What the detector says of itself.
    pub detect: DetectState,
    /// What is said of reports that are made by themselves.
    pub reports: ReportsState,
    /// Counters.
    pub counters: Counters,
    /// Sensors that are durable, by their number.
    pub sensors: ArcSwap<Vec<SensorRecord>>,
    /// Whether the journal has been replayed.
    pub replayed: AtomicBool,
    /// Happens with every commit.
    pub commits: Event,
}

impl Default for State {
    fn default() -> State {
        State {
            pulses: Pulses::default(),
            ingest: Health::new("taking batches"),
            store: Health::new("committing to the store"),
            archive: ArchiveState::default(),
            history: HistoryState::default(),
            detect: DetectState::default(),
            reports: ReportsState::default(),
            // Nothing waits for an archive or a detector that there is not.
            counters: Counters {
                archived: AtomicU64::new(u64::MAX),
                detected: AtomicU64::new(u64::MAX),
                ..Counters::default()
            },
            sensors: ArcSwap::default(),
            replayed: AtomicBool::new(false),
            commits: Event::default(),
        }
    }
}

impl State {
    /// Whether nothing is acknowledged for want of a working disk.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.ingest.condition() != Condition::Running
    }
}
