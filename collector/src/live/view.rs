//! What readers see: immutable, and consistent in itself.

use martlet_window::{SensorName, TrafficClass};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::bucket::Bucket;
#[cfg(doc)]
use super::coverage::held_hours;
use super::observed::Observed;
use super::recent::{RECENT_STEP_SECONDS, RecentStep, RecentSteps};
use crate::aggregate::{ClassDelta, HourKey, SensorCounts, SensorHour, SensorReport};
use crate::ingest::{Lost, SensorId};

/// After how many windows without a report a sensor may be silent, and a batch that comes may be late.
pub const SILENT_WINDOWS: i64 = 3;

/// Loss and exposure of the last hours.
pub type RecentHours = BTreeMap<HourKey, SensorHour>;

/// The store at one moment.
#[derive(Clone, Debug)]
pub struct LiveView {
    /// Goes up with every change: views of one process that have the same number say the same of what was observed.
    pub generation: u64,
    /// Length of a bucket, in seconds.
    pub bucket_seconds: i64,
    /// Beyond three windows, how long a sensor may be without a report, in seconds.
    pub silent_grace_seconds: i64,
    /// Sensors, by [`SensorId`].
    pub sensors: Vec<SensorView>,
    /// Classes, by their number.
    pub classes: [ClassView; 3],
    /// Loss and exposure of the hours around the newest data of each class: [`held_hours`]. Others are in the store.
    pub hours: Arc<RecentHours>,
    /// What Prometheus is told.
    pub observed: Observed,
    /// Memory of the buckets, in bytes (estimated).
    pub memory_bytes: u64,
    /// Its limit, in bytes.
    pub memory_limit_bytes: u64,
    /// Buckets dropped to keep it.
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

/// One sensor.
#[derive(Clone, Debug)]
pub struct SensorView {
    /// Its pseudonym.
    pub name: SensorName,
    /// What it said it lost.
    pub lost: Lost,
    /// Its newest report in each class.
    pub reports: [Option<SensorReport>; 3],
    /// How it watched in each class since the store was begun.
    pub totals: [Option<SensorCounts>; 3],
}

/// One class.
#[derive(Clone, Debug)]
pub struct ClassView {
    /// Since the store was begun.
    pub totals: ClassDelta,
    /// Start of the earliest window, in seconds since the Unix epoch.
    pub first_window: Option<i64>,
    /// End of the latest window, in seconds since the Unix epoch.
    pub last_window_end: Option<i64>,
    /// When the last batch arrived, in milliseconds since the Unix epoch.
    pub last_arrival_ms: Option<i64>,
    /// Buckets by their start, in seconds since the Unix epoch.
    pub buckets: Arc<BTreeMap<i64, Arc<Bucket>>>,
    /// Steps of the recent past by their start, in seconds since the Unix epoch.
    pub recent: Arc<RecentSteps>,
}

impl LiveView {
    /// One class.
    #[must_use]
    pub const fn class(&self, class: TrafficClass) -> &ClassView {
        &self.classes[class as usize]
    }

    /// The sensor of this name.
    #[must_use]
    pub fn sensor_id(&self, name: &str) -> Option<SensorId> {
        let place = self.sensors.iter().position(|sensor| sensor.name.as_str() == name)?;
        u16::try_from(place).ok().map(SensorId)
    }

    /// Whether a sensor that should watch now has not reported for too long; `now` in seconds since the Unix epoch.
    /// Only real traffic is silent: what is replayed or imported comes to an end, and nobody is missed then.
    #[must_use]
    pub fn is_silent(&self, sensor: &SensorView, class: TrafficClass, now: i64) -> bool {
        class == TrafficClass::Real && sensor.reports[class as usize].is_some_and(|report| self.is_late(&report, now))
    }

    fn is_late(&self, report: &SensorReport, now: i64) -> bool {
        now.saturating_sub(report.window.end()) > self.patience_seconds(report)
    }

    /// How long after the end of its window a report may come before anybody worries, in seconds.
    #[must_use]
    pub fn patience_seconds(&self, report: &SensorReport) -> i64 {
        SILENT_WINDOWS * i64::from(report.window.length.seconds()) + self.silent_grace_seconds
    }

    /// End of what every sensor of the class that still reports has reported, in seconds since the Unix epoch: steps
    /// that end by then are complete.
    #[must_use]
    pub fn complete_until(&self, class: TrafficClass, now: i64) -> Option<i64> {
        let last = self.class(class).last_window_end?;
        let reports = self.sensors.iter().filter_map(|sensor| sensor.reports[class as usize]);
        let ends = reports.filter(|report| self.still_reports(report, class, now)).map(|report| report.window.end());
        Some(ends.min().map_or(last, |end| end.min(last)))
    }

    /// Whether more is to be expected. Files may be of any time: of them the arrival counts.
    fn still_reports(&self, report: &SensorReport, class: TrafficClass, now: i64) -> bool {
        match class {
            TrafficClass::Real => !self.is_late(report, now),
            TrafficClass::Drill | TrafficClass::Import => {
                now.saturating_sub(report.arrived_ms.div_euclid(1000)) <= self.patience_seconds(report)
            }
        }
    }

    /// The newest complete step of the recent past with its start.
    #[must_use]
    pub fn last_complete_step(&self, class: TrafficClass, now: i64) -> Option<(i64, &Arc<RecentStep>)> {
        let until = self.complete_until(class, now)?.saturating_sub(RECENT_STEP_SECONDS);
        self.class(class).recent.range(..=until).next_back().map(|(&start, step)| (start, step))
    }
}
