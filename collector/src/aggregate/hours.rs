//! What each hour of a sensor was worth: what came, what was missing, how long how much was watched.

use std::collections::HashMap;

use foldhash::fast::RandomState as TableState;
use martlet_window::{BatchHeader, TrafficClass};

use crate::ingest::{Lost, SensorId};

/// Length of an hour, in seconds.
pub const HOUR_SECONDS: i64 = 3600;
/// A loss over more hours than this is written into its last hour: the range is a peer's claim.
const MOST_HOURS_OF_A_LOSS: i64 = 24 * 92;

/// No window starts before, in seconds since the Unix epoch: what nanoseconds since 1970 can say, as on the wire.
const EARLIEST: i64 = i64::MIN / 1_000_000_000 - 60;
/// No window starts after.
const LATEST: i64 = i64::MAX / 1_000_000_000;

/// An hour of one class of one sensor. Hours sort by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HourKey {
    /// Start of the hour of event time, in seconds since the Unix epoch.
    pub hour: i64,
    /// Class.
    pub class: TrafficClass,
    /// Whose.
    pub sensor: SensorId,
}

/// Hours, in no order.
pub type Hours = HashMap<HourKey, SensorHour, TableState>;

/// Loss and exposure of an hour. A window belongs as a whole to the hour in which it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SensorHour {
    /// Length of windows, in seconds; 0 before any came.
    pub window_seconds: u64,
    /// Windows that came (their first parts).
    pub windows: u64,
    /// Windows, among those that came, that came so late that the sensor had been called silent; of real traffic only.
    pub late_windows: u64,
    /// Packets counted.
    pub packets: u64,
    /// Frames that the kernel dropped.
    pub kernel_drops: u64,
    /// Frames that the interface dropped.
    pub interface_drops: u64,
    /// What the sensor lost before it could deliver it. A loss over several hours is shared out by time.
    pub lost: Lost,
    /// Time watched, in milliseconds.
    pub watched_ms: u64,
    /// IPv4 addresses times milliseconds watched.
    pub ipv4_address_ms: u64,
    /// /64 prefixes times milliseconds watched.
    pub ipv6_prefix_ms: u64,
    /// Whether any batch did not know its exposure.
    pub exposure_unknown: bool,
    /// How far the sensor's clock was behind the collector's, in milliseconds: of all measurements the one farthest
    /// from 0. `None` if none was possible.
    pub clock_offset_ms: Option<i64>,
}

impl SensorHour {
    /// Windows that a whole hour has, `None` before any window came.
    #[must_use]
    pub fn windows_expected(&self) -> Option<u64> {
        HOUR_SECONDS.unsigned_abs().checked_div(self.window_seconds)
    }

    /// Adds another part of the same hour; saturates, since these are a peer's claims.
    pub fn add(&mut self, other: &SensorHour) {
        let sum = |mine: &mut u64, theirs: u64| *mine = mine.saturating_add(theirs);
        if other.window_seconds > 0 {
            self.window_seconds = other.window_seconds;
        }
        sum(&mut self.windows, other.windows);
        sum(&mut self.late_windows, other.late_windows);
        sum(&mut self.packets, other.packets);
        sum(&mut self.kernel_drops, other.kernel_drops);
        sum(&mut self.interface_drops, other.interface_drops);
        self.lost.add(&other.lost);
        sum(&mut self.watched_ms, other.watched_ms);
        sum(&mut self.ipv4_address_ms, other.ipv4_address_ms);
        sum(&mut self.ipv6_prefix_ms, other.ipv6_prefix_ms);
        self.exposure_unknown |= other.exposure_unknown;
        self.clock_offset_ms = farthest(self.clock_offset_ms, other.clock_offset_ms);
    }

    /// What one batch adds to its hour.
    pub(super) fn of(header: &BatchHeader, is_late: bool, clock_offset_ms: Option<i64>) -> SensorHour {
        let exposure = header.exposure.unwrap_or_default();
        let watched_ms = u64::from(exposure.watched_ms);
        let windows = u64::from(header.part == 0);
        SensorHour {
            window_seconds: u64::from(header.window.length.seconds()),
            windows,
            late_windows: if is_late { windows } else { 0 },
            packets: header.capture.packets,
            kernel_drops: header.capture.kernel_drops,
            interface_drops: header.capture.interface_drops,
            lost: Lost::default(),
            watched_ms,
            ipv4_address_ms: watched_ms.saturating_mul(exposure.ipv4_addresses),
            ipv6_prefix_ms: watched_ms.saturating_mul(exposure.ipv6_prefixes),
            exposure_unknown: header.exposure.is_none(),
            clock_offset_ms,
        }
    }
}

/// The one farther from 0; of two that are equally far the one that is behind.
fn farthest(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.into_iter().chain(b).max_by_key(|offset| (offset.unsigned_abs(), *offset))
}

/// A loss that a sensor told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Whose.
    pub sensor: SensorId,
    /// Class of the stream that it was lost from.
    pub class: TrafficClass,
    /// What was lost.
    pub lost: Lost,
    /// Start of the earliest window that may be lost, in seconds since the Unix epoch.
    pub first_window: i64,
    /// Start of the latest one.
    pub last_window: i64,
}

impl Loss {
    /// Shares the loss out to the hours that it covers, by time. What does not divide goes to the last hour, so the
    /// shares add up to the loss.
    pub(super) fn share_out(&self, mut each: impl FnMut(HourKey, Lost)) {
        let key = |hour| HourKey { hour, class: self.class, sensor: self.sensor };
        let last_window = self.last_window.clamp(EARLIEST, LATEST);
        let first_window = self.first_window.clamp(EARLIEST, last_window);
        let (first, last) = (hour_of(first_window), hour_of(last_window));
        let hours = (last - first) / HOUR_SECONDS + 1;
        let mut rest = self.lost;
        if hours <= MOST_HOURS_OF_A_LOSS {
            let end = last_window + 1;
            let span = end - first_window;
            for hour in (0..hours - 1).map(|n| first + n * HOUR_SECONDS) {
                let covered = (hour + HOUR_SECONDS).min(end) - hour.max(first_window);
                let share = self.lost.fraction(covered.unsigned_abs(), span.unsigned_abs());
                rest = rest.without(&share);
                each(key(hour), share);
            }
        }
        each(key(last), rest);
    }
}

/// Start of the hour in which a time lies.
pub(super) const fn hour_of(time: i64) -> i64 {
    time - time.rem_euclid(HOUR_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(first_window: i64, last_window: i64) -> Vec<(i64, Lost)> {
        let lost = Lost { batches: 7, windows: 100, packets: 1001, watched_ms: 10 };
        let loss = Loss { sensor: SensorId(1), class: TrafficClass::Real, lost, first_window, last_window };
        let mut shares = Vec::new();
        loss.share_out(|key, lost| shares.push((key.hour, lost)));
        let mut sum = Lost::default();
        shares.iter().for_each(|(_, share)| sum.add(share));
        assert_eq!(sum, lost);
        shares
    }

    #[test]
    fn a_loss_is_shared_out_by_time_and_nothing_of_it_is_lost() {
        assert_eq!(shares(7200, 7300).len(), 1);
        let three = shares(3600 - 1800, 3600 + 3600 + 1799);
        let windows: Vec<_> = three.iter().map(|(hour, lost)| (*hour, lost.windows)).collect();
        assert_eq!(windows, [(0, 25), (3600, 50), (7200, 25)]);
        // Claims that make no sense stay in one hour.
        assert_eq!(shares(i64::MIN, i64::MAX / 2).len(), 1);
        assert_eq!(shares(9000, 100).len(), 1);
        assert_eq!(shares(-10, 10).len(), 2);
    }

    #[test]
    fn the_clock_farthest_off_is_kept() {
        let hour = |offset| SensorHour { clock_offset_ms: offset, ..SensorHour::default() };
        let mut sum = hour(None);
        for offset in [Some(5), None, Some(-900), Some(30)] {
            sum.add(&hour(offset));
        }
        assert_eq!(sum.clock_offset_ms, Some(-900));
    }
}
