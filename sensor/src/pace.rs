//! Keeping to a multiple of real time, for replays and drills.

use std::thread;
use std::time::{Duration, Instant};

use martlet_window::Timestamp;

/// Holds frames back to a multiple of real time.
#[derive(Debug)]
pub struct Pace {
    speed: f64,
    began: Option<(Instant, Timestamp)>,
}

impl Pace {
    /// So many times faster than real time, above 0; it begins with the first time that is waited for.
    #[must_use]
    pub const fn new(speed: f64) -> Pace {
        Pace { speed, began: None }
    }

    /// Waits until this time is due.
    pub fn wait_for(&mut self, time: Timestamp) {
        let (start, first) = *self.began.get_or_insert_with(|| (Instant::now(), time));
        let elapsed = u64::try_from(time.0.saturating_sub(first.0)).unwrap_or(0);
        let due = Duration::try_from_secs_f64(Duration::from_nanos(elapsed).as_secs_f64() / self.speed);
        let Some(due) = due.ok().and_then(|due| start.checked_add(due)) else { return };
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}
