//! Event time: which steps are complete, and how much was watched in each bin.

use std::collections::BTreeMap;

use martlet_window::IpVersion;
use serde::{Deserialize, Serialize};

use crate::series::{BINS, LENGTHS, LEVELS, Ring};

/// Exposure of a bin that differs by more than this from the newest bin's is that of other sensors, which see other levels.
const OTHER_SENSORS: f64 = 0.25;
/// So many bins of others, an outage for instance, leave the rest what it was.
const FEW_OTHERS: usize = 6;

/// By how many seconds arrivals go back when the collector's clock was set back.
const CLOCK_SET_BACK: i64 = 600;

/// One sensor's report of one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// The sensor's number.
    pub sensor: u16,
    /// Start of the window, in seconds since the Unix epoch.
    pub window_start: i64,
    /// Its length, in seconds.
    pub window_seconds: u32,
    /// When it arrived, in seconds since the Unix epoch by the collector's clock.
    pub arrived: i64,
    /// How much was watched of IPv4, in address-seconds, and of IPv6, in /64-seconds; 0 where it is not known.
    pub exposure: [u64; 2],
}

impl Report {
    /// End of the window.
    #[must_use]
    pub const fn end(&self) -> i64 {
        self.window_start.saturating_add(self.window_seconds as i64)
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Newest {
    end: i64,
    arrived: i64,
    window_seconds: u32,
}

/// When each sensor was last heard of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sensors {
    newest: BTreeMap<u16, Newest>,
    arrived: i64,
}

impl Sensors {
    /// Notes a report.
    pub fn note(&mut self, report: &Report) {
        if self.arrived - report.arrived > CLOCK_SET_BACK {
            // The collector's clock was ahead: what it said then is no time to come.
            self.newest.values_mut().for_each(|newest| newest.arrived = newest.arrived.min(report.arrived));
            self.arrived = report.arrived;
        }
        self.arrived = self.arrived.max(report.arrived);
        let (end, arrived, window_seconds) = (report.end(), report.arrived, report.window_seconds);
        let newest = self.newest.entry(report.sensor).or_insert(Newest { end, arrived, window_seconds });
        *newest = Newest { end: newest.end.max(end), arrived: newest.arrived.max(arrived), window_seconds };
    }

    /// When the newest report arrived.
    #[must_use]
    pub const fn newest_arrival(&self) -> i64 {
        self.arrived
    }

    /// Until when every sensor has reported, of those that reported within so many seconds of the newest arrival.
    #[must_use]
    pub fn complete_until(&self, wait_seconds: u32) -> Option<i64> {
        self.heard(wait_seconds).map(|newest| newest.end).min()
    }

    /// The end of the newest window.
    #[must_use]
    pub fn newest_end(&self) -> Option<i64> {
        self.newest.values().map(|newest| newest.end).max()
    }

    /// The longest window of those sensors, in seconds.
    #[must_use]
    pub fn longest_window(&self, wait_seconds: u32) -> i64 {
        self.heard(wait_seconds).map(|newest| i64::from(newest.window_seconds)).max().unwrap_or_default()
    }

    /// How many sensors reported lately.
    #[must_use]
    pub fn count(&self, wait_seconds: u32) -> usize {
        self.heard(wait_seconds).count()
    }

    fn heard(&self, wait_seconds: u32) -> impl Iterator<Item = &Newest> {
        self.newest.values().filter(move |newest| self.arrived - newest.arrived <= i64::from(wait_seconds))
    }
}

/// Exposure by bin, of IPv4 and IPv6.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exposure {
    rings: [[Ring; LEVELS]; 2],
    /// Reports, whatever exposure they tell.
    reports: [Ring; LEVELS],
}

/// How much each of the newest bins was watched, in units of the newest one.
pub struct Watched {
    /// Oldest first; 0 where nobody watched, or others did.
    pub bins: [f64; BINS],
    /// Whether nearly all bins were watched, and by the same sensors.
    pub is_whole: bool,
    /// Observed addresses in the newest bin; 0 where it is not known.
    pub addresses: f64,
}

impl Exposure {
    /// From a step on that starts then.
    #[must_use]
    pub fn new(step: i64) -> Exposure {
        let rings = LENGTHS.map(|length| Ring::new(step.div_euclid(length)));
        Exposure { rings: [rings.clone(), rings.clone()], reports: rings }
    }

    /// Adds what was watched in a step.
    pub fn add(&mut self, step: i64, exposure: [u64; 2], reports: u64) {
        for (level, length) in LENGTHS.iter().enumerate() {
            let bin = step.div_euclid(*length);
            self.reports[level].add(bin, reports);
            for (rings, exposure) in self.rings.iter_mut().zip(exposure) {
                rings[level].add(bin, exposure);
            }
        }
    }

    /// How much the bins up to one were watched.
    #[must_use]
    pub fn watched(&self, ip: IpVersion, level: usize, bin: i64) -> Watched {
        let exposure = self.rings[usize::from(ip == IpVersion::V6)][level].until(bin);
        let reports = self.reports[level].until(bin);
        let newest = exposure[BINS - 1];
        let mut watched = Watched { bins: [0.0; BINS], is_whole: true, addresses: 0.0 };
        if newest == 0 {
            // Nobody knows: whoever reported watched alike.
            watched.bins = reports.map(|reports| if reports > 0 { 1.0 } else { 0.0 });
            watched.is_whole = reports.iter().filter(|reports| **reports == 0).count() <= FEW_OTHERS;
            return watched;
        }
        watched.addresses = to_f64(newest) / to_f64(LENGTHS[level].unsigned_abs());
        let mut others = 0;
        for (bin, exposure) in watched.bins.iter_mut().zip(exposure) {
            let share = to_f64(exposure) / to_f64(newest);
            if (share - 1.0).abs() <= OTHER_SENSORS {
                *bin = share;
            } else {
                others += 1;
            }
        }
        watched.is_whole = others <= FEW_OTHERS;
        watched
    }
}

#[expect(clippy::cast_precision_loss, reason = "address-seconds of the whole of IPv4 in a month are below 2^53")]
const fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(sensor: u16, end: i64, arrived: i64) -> Report {
        Report { sensor, window_start: end - 10, window_seconds: 10, arrived, exposure: [2560, 0] }
    }

    #[test]
    fn a_step_is_complete_when_all_who_still_report_have_passed_it() {
        let mut sensors = Sensors::default();
        assert_eq!(sensors.complete_until(300), None);
        sensors.note(&report(1, 1000, 1001));
        sensors.note(&report(2, 900, 1001));
        assert_eq!((sensors.complete_until(300), sensors.count(300)), (Some(900), 2));
        // A late window takes nothing back, and who is silent is not waited for.
        sensors.note(&report(1, 500, 1400));
        assert_eq!(sensors.complete_until(300), Some(1000));
        assert_eq!((sensors.longest_window(300), sensors.count(300)), (10, 1));
        // A clock that was a day ahead and is set right leaves nobody heard for a day.
        sensors.note(&report(1, 1400, 90_000));
        sensors.note(&report(2, 1410, 1500));
        assert_eq!((sensors.newest_arrival(), sensors.count(300), sensors.newest_end()), (1500, 2, Some(1410)));
    }

    #[test]
    fn bins_of_other_sensors_do_not_count() {
        let mut exposure = Exposure::new(0);
        for step in 0..40 {
            let addresses = if step < 20 { 256 } else { 512 };
            if step != 35 {
                exposure.add(step * 10, [addresses * 10, 0], 1);
            }
        }
        let watched = exposure.watched(IpVersion::V4, 0, 39);
        let expected: [f64; BINS] = std::array::from_fn(|place| if place < 12 || place == 27 { 0.0 } else { 1.0 });
        assert_eq!((watched.bins, watched.is_whole, watched.addresses), (expected, false, 512.0));
        // Of IPv6 nothing is known.
        let watched = exposure.watched(IpVersion::V6, 0, 39);
        assert_eq!((watched.bins[0], watched.bins[27], watched.is_whole), (1.0, 0.0, true));
        // After a time in which nobody watched, nothing that was known before is worth much.
        exposure.add(600, [5120, 0], 1);
        assert!(!exposure.watched(IpVersion::V4, 0, 60).is_whole && !exposure.watched(IpVersion::V6, 0, 60).is_whole);
    }
}
