//! Where a drill's packets go besides a capture: to a collector as sensors would send them, or onto a line.

pub mod interface;
pub mod sensors;

use crate::generator::Drill;
use martlet_window::Timestamp;

/// A time of a drill, in nanoseconds since the Unix epoch, as captures have them.
pub(crate) fn timestamp(time_ns: u64) -> Timestamp {
    // A drill ends before 2106.
    Timestamp(i64::try_from(time_ns).unwrap_or(i64::MAX))
}

/// Waits until a time of a drill is due, and tells whoever follows it; at full speed it does not wait.
pub trait Clock {
    /// Called with times that never go back: of windows' ends, and of packets.
    fn wait_for(&mut self, time_ns: u64);
}

impl<F: FnMut(u64)> Clock for F {
    fn wait_for(&mut self, time_ns: u64) {
        self(time_ns);
    }
}

/// What a drill is called where its batches are told apart from those of every other: all that decides its packets.
pub(crate) fn description(drill: &Drill) -> String {
    format!("martlet drill 1 {:?}", drill.config())
}
