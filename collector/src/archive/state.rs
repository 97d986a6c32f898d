//! What others may know of the archive.

use std::sync::atomic::AtomicU64;

use crate::journal::Health;

/// Counters of the archive's thread.
#[derive(Debug)]
pub struct ArchiveState {
    /// Whether it works.
    pub health: Health,
    /// Files that there are.
    pub files: AtomicU64,
    /// Rows in them.
    pub rows: AtomicU64,
    /// Their length.
    pub bytes: AtomicU64,
    /// Records of the journal that could not be read when they were to be archived.
    pub lost_records: AtomicU64,
    /// Runs that made files of the journal since the start.
    pub runs: AtomicU64,
    /// Rows that they wrote.
    pub rows_written: AtomicU64,
    /// Files that were merged into others since the start.
    pub merged_files: AtomicU64,
    /// Files of which only networks of sources are left, since the start.
    pub coarsened_files: AtomicU64,
    /// Files that were deleted for their age or their size, since the start.
    pub deleted_files: AtomicU64,
}

impl Default for ArchiveState {
    fn default() -> ArchiveState {
        let zero = AtomicU64::default;
        ArchiveState {
            health: Health::new("writing the archive"),
            files: zero(),
            rows: zero(),
            bytes: zero(),
            lost_records: zero(),
            runs: zero(),
            rows_written: zero(),
            merged_files: zero(),
            coarsened_files: zero(),
            deleted_files: zero(),
        }
    }
}
