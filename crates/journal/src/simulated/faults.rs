//! What can be made to go wrong, and the count of what did.

use std::io;

/// How often things fail by themselves, each in cases per million operations of its kind. All 0 by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A read fails with EIO.
    pub read_error: u32,
    /// A read brings fewer bytes than asked for.
    pub short_read: u32,
    /// A write, or a change of a file's length, fails with EIO; a write may have written some of its bytes.
    pub write_error: u32,
    /// A write writes fewer bytes than asked for.
    pub short_write: u32,
    /// A write or a creation fails with ENOSPC.
    pub no_space: u32,
    /// A sync of a file fails with EIO. What was unsynced is partly written and partly lost, can still be read, and is
    /// mostly not tried again by the next sync: so does Linux.
    pub sync_error: u32,
    /// Listing, creating, opening, removing or renaming files, or syncing a directory, fails with EIO.
    pub directory_error: u32,
    /// In an unsynced write that survives a loss of power, one bit is wrong.
    pub flip_unsynced: u32,
}

/// A kind of operation, for a fault on request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `Disk::list`, and listing directories.
    List,
    /// `Disk::create`, and making a directory.
    Create,
    /// `Disk::open`, and opening a directory.
    Open,
    /// `Disk::remove`, and removing a directory.
    Remove,
    /// `Disk::rename`.
    Rename,
    /// `Disk::sync_directory`.
    SyncDirectory,
    /// `DiskFile::read_at`.
    Read,
    /// `DiskFile::write_at`.
    Write,
    /// `DiskFile::sync`.
    Sync,
    /// `DiskFile::set_len`.
    SetLength,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// EIO, with the side effects that [`Faults`] describes.
    Error,
    /// ENOSPC.
    NoSpace,
    /// Fewer bytes than asked for. Only reads and writes can do this; others succeed.
    Short,
}

impl Fault {
    pub(super) fn error(self) -> io::Error {
        // The numbers of Linux, so that callers see the same kinds as from a real disk.
        const EIO: i32 = 5;
        const ENOSPC: i32 = 28;
        io::Error::from_raw_os_error(if self == Fault::NoSpace { ENOSPC } else { EIO })
    }
}

/// How the machine, or the process, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Crash {
    /// `kill -9`: what was written can still be read, synced or not.
    Process,
    /// The power went: unsynced writes are lost, torn, reordered or kept; unsynced directory changes undone or kept.
    Power,
}

/// How often each thing was made to go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Reads that failed.
    pub read_errors: u64,
    /// Reads cut short.
    pub short_reads: u64,
    /// Writes and changes of length that failed.
    pub write_errors: u64,
    /// Writes cut short, on request or because the disk became full.
    pub short_writes: u64,
    /// Operations for which there was no space, on request or truly.
    pub no_space: u64,
    /// Syncs of files that failed.
    pub sync_errors: u64,
    /// Directory operations that failed.
    pub directory_errors: u64,
    /// Crashes of the process only.
    pub process_crashes: u64,
    /// Losses of power.
    pub power_losses: u64,
    /// Unsynced writes that a loss of power or a failed sync took.
    pub lost_writes: u64,
    /// Unsynced writes of which it left a part.
    pub torn_writes: u64,
    /// Unsynced writes that it kept although an earlier one to the same file was lost.
    pub reordered_writes: u64,
    /// Bits flipped in unsynced writes.
    pub flipped_unsynced: u64,
    /// Bits flipped in synced bytes, on request.
    pub flipped_synced: u64,
    /// Creations, removals and renames that a loss of power undid.
    pub lost_directory_changes: u64,
}

impl Injected {
    /// The sum of `self` and `other`, for many runs.
    #[must_use]
    pub const fn plus(self, other: Injected) -> Injected {
        Injected {
            read_errors: self.read_errors + other.read_errors,
            short_reads: self.short_reads + other.short_reads,
            write_errors: self.write_errors + other.write_errors,
            short_writes: self.short_writes + other.short_writes,
            no_space: self.no_space + other.no_space,
            sync_errors: self.sync_errors + other.sync_errors,
            directory_errors: self.directory_errors + other.directory_errors,
            process_crashes: self.process_crashes + other.process_crashes,
            power_losses: self.power_losses + other.power_losses,
            lost_writes: self.lost_writes + other.lost_writes,
            torn_writes: self.torn_writes + other.torn_writes,
            reordered_writes: self.reordered_writes + other.reordered_writes,
            flipped_unsynced: self.flipped_unsynced + other.flipped_unsynced,
            flipped_synced: self.flipped_synced + other.flipped_synced,
            lost_directory_changes: self.lost_directory_changes + other.lost_directory_changes,
        }
    }

    /// Everything together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.read_errors
            + self.short_reads
            + self.write_errors
            + self.short_writes
            + self.no_space
            + self.sync_errors
            + self.directory_errors
            + self.process_crashes
            + self.power_losses
            + self.lost_writes
            + self.torn_writes
            + self.reordered_writes
            + self.flipped_unsynced
            + self.flipped_synced
            + self.lost_directory_changes
    }
}
