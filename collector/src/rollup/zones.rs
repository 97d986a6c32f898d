//! Days of the time zones that reports are made in, and where they cut UTC days.
//!
//! Zones come from the data that is compiled in, so that two machines, and a container without any, cut days alike.

use std::ops::Range;

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use thiserror::Error;

use super::quarters::{QUARTER_SECONDS, QUARTERS};
use super::sketch::MOST_SEGMENTS;

/// Length of a UTC day, in seconds.
pub const DAY_SECONDS: i64 = 86_400;
/// Most zones that can be configured: each cuts a day, and each piece of a day has sketches of its own.
pub const MOST_ZONES: usize = 8;

/// A zone that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ZoneError {
    /// No zone has this name.
    #[error(
        "history.report_zones: {0:?} is no time zone that this program knows; take a name such as \"UTC\" or \"Asia/Tokyo\""
    )]
    Unknown(String),
    /// There are too many.
    #[error("history.report_zones has {0} zones; take at most {MOST_ZONES}")]
    TooMany(usize),
}

/// A time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone(TimeZone);

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Zone = Zone(TimeZone::UTC);

    /// The zone with a name of the IANA time zone database.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &str) -> Result<Zone, ZoneError> {
        if name == "UTC" {
            return Ok(Zone::UTC);
        }
        let zone = TimeZoneDatabase::bundled().get(name);
        zone.map(Zone).map_err(|_| ZoneError::Unknown(name.chars().take(40).collect()))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// When a day of this zone begins and ends, in seconds since the Unix epoch. `None` beyond what calendars have.
    #[must_use]
    pub fn day(&self, date: Date) -> Option<Range<i64>> {
        Some(self.midnight(date)?..self.midnight(date.tomorrow().ok()?)?)
    }

    /// The date in this zone at a time in seconds since the Unix epoch.
    #[must_use]
    pub fn date(&self, time: i64) -> Option<Date> {
        Some(jiff::Timestamp::from_second(time).ok()?.to_zoned(self.0.clone()).date())
    }

    /// The days of this zone that lie in a time as a whole, if it is made of nothing but such days.
    #[must_use]
    pub fn days(&self, span: Range<i64>) -> Option<Vec<Range<i64>>> {
        let (mut date, mut days) = (self.date(span.start)?, Vec::new());
        let mut next = span.start;
        while next < span.end {
            let day = self.day(date)?;
            if day.start != next || day.end > span.end {
                return None;
            }
            next = day.end;
            days.push(day);
            date = date.tomorrow().ok()?;
        }
        Some(days)
    }

    fn midnight(&self, date: Date) -> Option<i64> {
        // A midnight that is skipped is followed by the day's first moment; of two the first counts.
        Some(date.to_zoned(self.0.clone()).ok()?.timestamp().as_second())
    }
}

/// The zones whose days have distinct sources.
#[derive(Clone, Debug, PartialEq)]
pub struct Zones(Vec<Zone>);

impl Default for Zones {
    fn default() -> Zones {
        Zones(vec![Zone::UTC])
    }
}

impl Zones {
    /// The zones with these names.
    ///
    /// # Errors
    /// If there is none with one of the names, or there are too many.
    pub fn named<T: AsRef<str>>(names: &[T]) -> Result<Zones, ZoneError> {
        if names.len() > MOST_ZONES {
            return Err(ZoneError::TooMany(names.len()));
        }
        names.iter().map(|name| Zone::named(name.as_ref())).collect::<Result<_, _>>().map(Zones)
    }

    /// All.
    #[must_use]
    pub fn all(&self) -> &[Zone] {
        &self.0
    }

    /// How they cut a UTC day, given in days since the Unix epoch. A midnight that is not at a quarter hour cuts nothing: then
    /// days of its zone have no distinct sources.
    #[must_use]
    pub fn segments(&self, day: i64) -> Segments {
        let start = day.saturating_mul(DAY_SECONDS);
        let mut cuts = vec![0];
        for zone in &self.0 {
            let Some(date) = zone.date(start) else { continue };
            for date in [Some(date), date.tomorrow().ok()].into_iter().flatten() {
                let midnight = zone.midnight(date).map(|midnight| midnight - start);
                let quarter = midnight.filter(|at| (0..DAY_SECONDS).contains(at) && at % QUARTER_SECONDS == 0);
                cuts.extend(quarter.and_then(|at| u8::try_from(at / QUARTER_SECONDS).ok()));
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        cuts.truncate(MOST_SEGMENTS);
        Segments { starts: cuts }
    }
}

/// The pieces of a UTC day that have distinct sources of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    /// The quarter hour in which each begins; the first is 0.
    starts: Vec<u8>,
}

impl Segments {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.starts.len()
    }

    /// The quarter hours in which they begin.
    #[must_use]
    pub fn starts(&self) -> &[u8] {
        &self.starts
    }

    /// Segments that begin at these quarter hours; `None` if those are not ascending from 0.
    #[must_use]
    pub fn from_starts(starts: &[u8]) -> Option<Segments> {
        let is_sound = starts.first() == Some(&0)
            && starts.len() <= MOST_SEGMENTS
            && starts.is_sorted_by(|a, b| a < b)
            && starts.iter().all(|&start| usize::from(start) < QUARTERS);
        is_sound.then(|| Segments { starts: starts.to_vec() })
    }

    /// The segment of each quarter hour.
    #[must_use]
    pub fn by_quarter(&self) -> [u8; QUARTERS] {
        let mut segments = [0; QUARTERS];
        for (number, &start) in (0u8..).zip(&self.starts) {
            segments[usize::from(start)..].fill(number);
        }
        segments
    }

    /// The segments that these quarter hours are made of, as bits; `None` if one begins or ends within a segment.
    #[must_use]
    pub fn exactly(&self, quarters: Range<usize>) -> Option<u32> {
        let is_cut = |quarter: usize| quarter == QUARTERS || self.starts.iter().any(|&cut| usize::from(cut) == quarter);
        let within = |start: &u8| quarters.contains(&usize::from(*start));
        let bits = self.starts.iter().enumerate().filter(|(_, start)| within(start));
        (is_cut(quarters.start) && is_cut(quarters.end)).then(|| bits.fold(0, |bits, (place, _)| bits | 1 << place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    /// 2026-03-29, when Berlin's clocks go forward.
    const SPRING: i64 = 20_541;

    #[test]
    fn zones_cut_days_at_their_midnights() {
        let starts = |zones: &[&str], day| Zones::named(zones).unwrap().segments(day).starts().to_vec();
        assert_eq!(starts(&["UTC"], SPRING), [0]);
        assert_eq!(starts(&[], SPRING), [0]);
        assert_eq!(starts(&["UTC", "Asia/Tokyo"], SPRING), [0, 60]);
        // +5:30, +5:45.
        assert_eq!(starts(&["Asia/Kolkata", "Asia/Kathmandu"], SPRING), [0, 73, 74]);
        // Winter's midnight, and the day after summer's.
        assert_eq!(
            (starts(&["Europe/Berlin"], SPRING - 1), starts(&["Europe/Berlin"], SPRING)),
            (vec![0, 92], vec![0, 88])
        );
        assert_eq!(starts(&["America/New_York"], SPRING), [0, 16]);
        // Liberia's midnight was 44 minutes and 30 seconds behind UTC's until 1972.
        assert_eq!(starts(&["Africa/Monrovia"], 0), [0]);
    }

    #[test]
    fn days_of_a_zone_have_their_length() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        let day = berlin.day(date(2026, 3, 29)).unwrap();
        assert_eq!((day.end - day.start, day.start), (23 * 3600, SPRING * DAY_SECONDS - 3600));
        let week = berlin.day(date(2026, 3, 23)).unwrap().start..day.end;
        let days = berlin.days(week.clone()).unwrap();
        assert_eq!((days.len(), days.last()), (7, Some(&day)));
        assert_eq!(berlin.days(week.start..week.end + 900), None);
        assert_eq!(berlin.days(week.start + 900..week.end), None);
        assert_eq!(Zone::UTC.days(week), None);
        assert_eq!(Zone::UTC.days(0..DAY_SECONDS * 2).unwrap().len(), 2);
    }

    #[test]
    fn only_whole_segments_have_distinct_sources() {
        let segments = Zones::named(&["Asia/Tokyo", "Asia/Kolkata"]).unwrap().segments(SPRING);
        assert_eq!(segments.starts(), [0, 60, 74]);
        assert_eq!(segments.exactly(0..QUARTERS), Some(0b111));
        assert_eq!(segments.exactly(60..QUARTERS), Some(0b110));
        assert_eq!(segments.exactly(60..74), Some(0b10));
        assert_eq!((segments.exactly(0..61), segments.exactly(1..60)), (None, None));
        let by_quarter = segments.by_quarter();
        assert_eq!((by_quarter[59], by_quarter[60], by_quarter[73], by_quarter[95]), (0, 1, 1, 2));
        assert_eq!(Segments::from_starts(segments.starts()), Some(segments));
        for wrong in [&[][..], &[1], &[0, 5, 5], &[0, 96]] {
            assert_eq!(Segments::from_starts(wrong), None);
        }
    }

    #[test]
    fn a_zone_that_nobody_knows_is_named() {
        assert!(Zones::named(&["Asia/Tokio"]).unwrap_err().to_string().contains("Asia/Tokio"));
        assert_eq!(Zones::named(&["UTC"; 9]), Err(ZoneError::TooMany(9)));
        assert_eq!(Zone::named("asia/tokyo").unwrap().name(), "Asia/Tokyo");
    }
}
