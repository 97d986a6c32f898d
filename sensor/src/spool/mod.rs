//! Batches that the collector has not yet said it has, on the disk.
//!
//! ```text
//! encoder -- place, push --> SpoolWriter        Outlet -- next --> uplink -- frames --> collector
//!                               |  files  ---->   |
//!                               |                 | <-- acknowledge -- Ack
//!                               | <--- work ----- |
//! ```
//!
//! Each start of a sensor begins a new **epoch**, a journal of its own whose record numbers are the stream's sequence
//! numbers; the epochs of earlier starts are only drained. So no number is ever given to two different batches, whatever a
//! crash, a restored backup or a copied machine made of the files. The format is specified in docs/spool.md.
//!
//! All waiting for disks happens at the encoder's end. The uplink's end reads, and otherwise leaves work for the other.

mod directory;
mod epoch;
mod memory;
mod moving;
mod outlet;
mod record;
mod shared;
mod writer;

pub use memory::MemoryDisk;
pub use outlet::{Changes, Next, Outlet, Standing};
pub use record::{Kind, PRELUDE_LENGTH, Prelude};
pub use shared::{Loss, SpoolFigures};
pub use writer::{SpoolWriter, open};

use martlet_journal::Settings;
use martlet_wire::v1::Limits;

/// Disk space that a live sensor leaves to others.
const RESERVE: u64 = 32 << 20;
/// Batches that a replay keeps for the collector: enough to keep the line busy.
const REPLAY_BYTES: u64 = 8 << 20;

/// What happens at the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtCap {
    /// The oldest batches are dropped and counted: a live capture must go on.
    DropOldest,
    /// Whoever pushes waits: a file can. Its epoch is the same each time, and its batches can be made again, so that they
    /// are deleted as soon as the collector has journaled them.
    Wait,
}

/// The limits of a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    /// Bytes of all batches that are held; one batch always fits, and two segments do.
    pub max_bytes: u64,
    /// What happens when there are more.
    pub at_cap: AtCap,
    /// Batches are dropped and deleted in files of this size.
    pub segment_bytes: u64,
    /// Bytes of the disk that are left free.
    pub reserve_bytes: u64,
}

impl SpoolSettings {
    /// For a live sensor that may use so much of the disk.
    #[must_use]
    pub fn live(max_bytes: u64) -> SpoolSettings {
        let segment_bytes = (max_bytes / 16).clamp(64 << 10, 4 << 20);
        SpoolSettings { max_bytes, at_cap: AtCap::DropOldest, segment_bytes, reserve_bytes: RESERVE }
    }

    /// For a replay, in memory.
    #[must_use]
    pub fn replay() -> SpoolSettings {
        let segment_bytes = REPLAY_BYTES / 16;
        SpoolSettings { max_bytes: REPLAY_BYTES, at_cap: AtCap::Wait, segment_bytes, reserve_bytes: 0 }
    }

    fn journal(&self) -> Settings {
        Settings {
            segment_bytes: self.segment_bytes,
            max_record_bytes: Limits::default().max_batch_bytes.saturating_add(1 << 10),
            reserve_bytes: self.reserve_bytes,
        }
    }
}

/// What a spool held when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Epochs of earlier starts.
    pub epochs: u64,
    /// Records in them. Some may have arrived already.
    pub records: u64,
    /// Their bytes on the disk.
    pub bytes: u64,
    /// Records that are damaged or missing.
    pub damaged: u64,
    /// Bytes that belong to no intact record.
    pub damaged_bytes: u64,
    /// Bytes at the ends that a crash left half written.
    pub torn_bytes: u64,
}
