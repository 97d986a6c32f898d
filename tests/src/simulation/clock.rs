//! The wall clocks of the world: simulated time plus whatever somebody has set them wrong by.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use martlet_collector::clock::Clock;
use tokio::time::Instant;

/// A wall clock that can jump. What it says between jumps follows tokio's time.
#[derive(Debug)]
pub(super) struct JumpingClock {
    begun: Instant,
    offset_ms: AtomicI64,
}

impl JumpingClock {
    /// A clock that says `at` seconds since the Unix epoch now.
    pub(super) fn new(at: i64) -> JumpingClock {
        JumpingClock { begun: Instant::now(), offset_ms: AtomicI64::new(at * 1000) }
    }

    pub(super) fn jump(&self, milliseconds: i64) {
        self.offset_ms.fetch_add(milliseconds, Relaxed);
    }
}

impl Clock for JumpingClock {
    fn now_ms(&self) -> i64 {
        let passed = i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        passed.saturating_add(self.offset_ms.load(Relaxed))
    }
}
