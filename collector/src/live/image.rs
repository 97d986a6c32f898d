//! The live store as it is written down and taken in again.

use std::sync::Arc;

use martlet_window::TrafficClass;

use super::bucket::Bucket;
use super::observed::ObserverImage;
use super::recent::RecentStep;
use crate::aggregate::{ClassDelta, Hours, SensorCounts, SensorReport};
use crate::ingest::{Lost, SensorId};

/// Start of a bucket or step, in seconds since the Unix epoch.
pub type Start = i64;

/// Things by class and start; `None` for one that is not held any more.
pub type ByStart<T> = Vec<((TrafficClass, Start), Option<Arc<T>>)>;

/// Totals of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassImage {
    /// Since the store was begun.
    pub totals: ClassDelta,
    /// Start of the earliest window, in seconds since the Unix epoch.
    pub first_window: Option<i64>,
    /// End of the latest window, in seconds since the Unix epoch.
    pub last_window_end: Option<i64>,
    /// When the last batch arrived, in milliseconds since the Unix epoch.
    pub last_arrival_ms: Option<i64>,
}

/// Parts of the live store: those that changed, to be written down; or all, to be taken in.
#[derive(Debug, Default)]
pub struct LiveImage {
    /// All classes, by their number.
    pub classes: [ClassImage; 3],
    /// Newest reports and totals of sensors.
    pub sensors: Vec<((SensorId, TrafficClass), SensorReport, SensorCounts)>,
    /// What sensors lost in all.
    pub lost: Vec<(SensorId, Lost)>,
    /// Buckets.
    pub buckets: ByStart<Bucket>,
    /// Steps of the recent past.
    pub recent: ByStart<RecentStep>,
    /// What Prometheus is told, if it changed.
    pub observed: Option<ObserverImage>,
    /// Loss and exposure: to be written down, what is to be *added* to what is written; to be taken in, what is held.
    pub hours: Hours,
    /// Buckets dropped to keep the memory limit.
    pub evicted_buckets: u64,
    /// Packets whose service is not told apart because their bucket was full.
    pub overflowed_packets: u64,
    /// Packets whose service is known over all sensors only, because their bucket was full of rows by sensor.
    pub sensor_overflowed_packets: u64,
    /// Sets of sources that were made less exact, because their bucket took too much memory.
    pub coarsened_sets: u64,
    /// Packets whose service is not told apart because their step of the recent past was full.
    pub recent_overflowed_packets: u64,
}

#[cfg(test)]
impl LiveImage {
    /// What is written down after `newer` has been written over this.
    pub(super) fn overlay(&mut self, newer: LiveImage) {
        for (key, report, totals) in newer.sensors {
            self.sensors.retain(|old| old.0 != key);
            self.sensors.push((key, report, totals));
        }
        for (key, bucket) in newer.buckets {
            self.buckets.retain(|old| old.0 != key);
            self.buckets.push((key, bucket));
        }
        for (key, step) in newer.recent {
            self.recent.retain(|old| old.0 != key);
            self.recent.push((key, step));
        }
        for (key, hour) in newer.hours {
            self.hours.entry(key).or_default().add(&hour);
        }
        self.classes = newer.classes;
        self.observed = newer.observed.or(self.observed.take());
        self.lost.extend(newer.lost);
    }
}
