//! Crashes that tests ask for.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use super::error::ArchiveError;

/// Fails at one step, and at all behind it, as a process does that has crashed.
#[derive(Clone, Debug)]
pub(super) struct Fuse(Arc<AtomicI64>);

impl Default for Fuse {
    fn default() -> Fuse {
        Fuse(Arc::new(AtomicI64::new(i64::MAX)))
    }
}

impl Fuse {
    /// Lets so many steps pass.
    pub(super) fn set(&self, steps: i64) {
        self.0.store(steps, Relaxed);
    }

    pub(super) fn has_blown(&self) -> bool {
        self.0.load(Relaxed) < 0
    }

    pub(super) fn step(&self) -> Result<(), ArchiveError> {
        if self.0.fetch_sub(1, Relaxed) <= 0 { Err(ArchiveError::Crash) } else { Ok(()) }
    }
}
