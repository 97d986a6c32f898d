//! How well a sensor watched, hour by hour: what was to be expected of it, what came, and what that comes to.
//!
//! Only of sensors of real traffic anything is expected: files and drills come to an end, and nobody is missed then.
//! Everything is event time; the clock only says up to when windows should have come by now.

use std::ops::Range;

use martlet_window::TrafficClass;

use super::view::{LiveView, SensorView};
use crate::aggregate::{HOUR_SECONDS, SensorHour};

/// How many hours of loss and exposure are held in memory before, and after, the hour of the newest data of their class.
const HELD_HOURS: i64 = 48;

/// The hours that are held in memory, as starts in seconds since the Unix epoch; all others are in the store only.
/// `newest` is the end of the newest window of the class. A sensor whose clock is in another time zone is ahead of it.
#[must_use]
pub fn held_hours(newest: Option<i64>) -> Range<i64> {
    newest.map_or(i64::MIN..i64::MAX, |newest| {
        let hour = newest - newest.rem_euclid(HOUR_SECONDS);
        hour - HELD_HOURS * HOUR_SECONDS..hour + (HELD_HOURS + 1) * HOUR_SECONDS
    })
}

/// What an hour, or several, of one sensor come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoverageState {
    /// Every window came, nothing was dropped, and not more than one window's length went unwatched.
    Watched,
    /// Something came, but not every window, or not of all the time, or frames were dropped.
    Partly,
    /// The sensor said that it lost something.
    Lost,
    /// Nothing came, and nobody knows why.
    Unheard,
    /// Windows came that do not say how long was watched.
    Unknown,
}

impl CoverageState {
    /// Every state.
    pub const ALL: [CoverageState; 5] = [
        CoverageState::Watched,
        CoverageState::Partly,
        CoverageState::Lost,
        CoverageState::Unheard,
        CoverageState::Unknown,
    ];

    /// The name used in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            CoverageState::Watched => "watched",
            CoverageState::Partly => "partly",
            CoverageState::Lost => "lost",
            CoverageState::Unheard => "unheard",
            CoverageState::Unknown => "unknown",
        }
    }

    /// Of both together.
    fn and(self, other: CoverageState) -> CoverageState {
        match (self, other) {
            (one, another) if one == another => one,
            (CoverageState::Lost, _) | (_, CoverageState::Lost) => CoverageState::Lost,
            (CoverageState::Unknown, _) | (_, CoverageState::Unknown) => CoverageState::Unknown,
            _ => CoverageState::Partly,
        }
    }

    /// Of an hour in which so many windows are expected, at least one.
    fn of(hour: &SensorHour, expected: u64, missing: u64, window_seconds: u64) -> CoverageState {
        let unwatched_ms = (expected * window_seconds * 1000).saturating_sub(hour.watched_ms);
        if hour.lost.batches > 0 || hour.lost.windows > 0 || hour.lost.packets > 0 {
            CoverageState::Lost
        } else if !hour.is_heard() {
            CoverageState::Unheard
        } else if hour.exposure_unknown {
            CoverageState::Unknown
        } else if missing > 0
            || hour.kernel_drops > 0
            || hour.interface_drops > 0
            // A sensor begins, and begins again, within a window.
            || unwatched_ms > window_seconds * 1000
        {
            CoverageState::Partly
        } else {
            CoverageState::Watched
        }
    }
}

/// When windows of a sensor are expected: from the start of its first one until they should have come by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Start of its first window, in seconds since the Unix epoch.
    pub from: i64,
    /// Windows that end later need not have come yet; in seconds since the Unix epoch.
    pub to: i64,
    /// Length of its latest window, in seconds; 0 before any came.
    pub window_seconds: u64,
}

impl Expectation {
    /// What is expected of a sensor by now (in seconds since the Unix epoch): nothing before its first window; `None`
    /// if nothing is ever expected in this class.
    #[must_use]
    pub fn of(view: &LiveView, sensor: &SensorView, class: TrafficClass, now: i64) -> Option<Expectation> {
        if class != TrafficClass::Real {
            return None;
        }
        let Some(report) = &sensor.reports[class as usize] else {
            return Some(Expectation { from: 0, to: 0, window_seconds: 0 });
        };
        Some(Expectation {
            from: report.first_window,
            to: now.saturating_sub(view.patience_seconds(report)).max(report.window.end()),
            window_seconds: report.window.length.seconds().into(),
        })
    }

    /// Windows of this length, in seconds, that begin in an hour and should have come.
    fn windows(&self, hour: i64, window_seconds: u64) -> u64 {
        let Some(length) = i64::try_from(window_seconds).ok().filter(|&length| length > 0) else {
            return 0;
        };
        let from = self.from.max(hour);
        let to = self.to.saturating_sub(length - 1).min(hour + HOUR_SECONDS);
        let before = |time: i64| -(-time).div_euclid(length);
        u64::try_from(before(to) - before(from)).unwrap_or(0)
    }

    /// The start of the last hour all of whose windows should have come.
    #[must_use]
    pub const fn last_hour(&self) -> i64 {
        self.to - self.to.rem_euclid(HOUR_SECONDS) - HOUR_SECONDS
    }
}

/// Hours of one sensor, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// What came, and what was lost.
    pub sum: SensorHour,
    /// Windows expected; `None` where nothing ever is.
    pub expected: Option<u64>,
    /// Windows, among those, that neither came nor are said to be lost: they may still come.
    pub missing: u64,
    /// Time that these windows last, in milliseconds.
    pub expected_ms: u64,
    /// What it comes to; `None` where nothing is expected.
    pub state: Option<CoverageState>,
}

impl Coverage {
    /// Adds an hour; `known` is what is known of it, if anything.
    pub fn add(&mut self, hour: i64, known: Option<&SensorHour>, expectation: Option<&Expectation>) {
        if let Some(known) = known {
            self.sum.add(known);
        }
        let Some(expectation) = expectation else {
            return;
        };
        let known = known.copied().unwrap_or_default();
        let length = if known.is_heard() { known.window_seconds } else { expectation.window_seconds };
        // A sensor tells of what it lost before its first window, too. A window that was begun twice came twice.
        let accounted = known.windows.saturating_add(known.lost.windows);
        let whole_hour = HOUR_SECONDS.unsigned_abs().checked_div(length).unwrap_or(u64::MAX);
        let expected = expectation.windows(hour, length).max(accounted.min(whole_hour));
        let total = self.expected.get_or_insert(0);
        if expected == 0 && known == SensorHour::default() {
            return;
        }
        *total = total.saturating_add(expected);
        let missing = expected.saturating_sub(accounted);
        self.missing = self.missing.saturating_add(missing);
        self.expected_ms = self.expected_ms.saturating_add(expected.saturating_mul(length * 1000));
        let state = CoverageState::of(&known, expected, missing, length);
        self.state = Some(self.state.map_or(state, |before| before.and(state)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::Lost;

    const HOUR: i64 = 3600 * 480_000;
    const WHOLE: Expectation = Expectation { from: HOUR - 7200, to: HOUR + 7200, window_seconds: 10 };

    fn heard(windows: u64) -> SensorHour {
        SensorHour { window_seconds: 10, windows, watched_ms: windows * 10_000, ..SensorHour::default() }
    }

    fn one(hour: i64, known: Option<SensorHour>, expectation: Expectation) -> Coverage {
        let mut coverage = Coverage::default();
        coverage.add(hour, known.as_ref(), Some(&expectation));
        coverage
    }

    #[test]
    fn windows_are_expected_from_the_first_until_they_should_have_come() {
        let expected = |from, to, seconds| {
            let expectation = Expectation { from: HOUR + from, to: HOUR + to, window_seconds: seconds };
            expectation.windows(HOUR, seconds)
        };
        assert_eq!(expected(-100, 3600, 10), 360);
        assert_eq!(expected(-100, 9000, 10), 360);
        assert_eq!(expected(3590, 3600, 10), 1);
        assert_eq!(expected(3590, 3599, 10), 0);
        assert_eq!((expected(0, 9, 10), expected(0, 10, 10), expected(0, 19, 10)), (0, 1, 1));
        assert_eq!((expected(0, 3600, 1), expected(60, 3600, 60)), (3600, 59));
        assert_eq!((expected(0, -3600, 10), expected(3600, 7200, 10), expected(0, 3600, 0)), (0, 0, 0));
        let negative = Expectation { from: -7200, to: 0, window_seconds: 10 };
        assert_eq!((negative.windows(-3600, 10), negative.windows(0, 10), negative.last_hour()), (360, 0, -3600));
        assert_eq!(Expectation { to: HOUR + 3599, ..WHOLE }.last_hour(), HOUR - 3600);
    }

    #[test]
    fn an_hour_is_what_the_worst_of_it_says() {
        let state = |known| one(HOUR, known, WHOLE).state.map(CoverageState::name);
        assert_eq!(state(Some(heard(360))), Some("watched"));
        // The first of the windows was begun in its middle, and one was begun twice.
        assert_eq!(state(Some(SensorHour { watched_ms: 3_590_000, ..heard(361) })), Some("watched"));
        assert_eq!(state(Some(SensorHour { watched_ms: 3_589_999, ..heard(360) })), Some("partly"));
        assert_eq!(state(Some(heard(359))), Some("partly"));
        assert_eq!(state(Some(SensorHour { kernel_drops: 1, ..heard(360) })), Some("partly"));
        assert_eq!(state(Some(SensorHour { interface_drops: 1, ..heard(360) })), Some("partly"));
        assert_eq!(state(Some(SensorHour { exposure_unknown: true, ..heard(360) })), Some("unknown"));
        assert_eq!(state(None), Some("unheard"));
        let lost = Lost { batches: 1, windows: 1, packets: 0, watched_ms: 10_000 };
        assert_eq!(state(Some(SensorHour { lost, ..heard(359) })), Some("lost"));
        assert_eq!(one(HOUR - 36_000, None, WHOLE), Coverage { expected: Some(0), ..Coverage::default() });
    }

    #[test]
    fn what_is_lost_is_not_missing_and_was_expected_also_before_the_first_window() {
        let lost = Lost { batches: 200, windows: 200, packets: 9, watched_ms: 2_000_000 };
        let first = Expectation { from: HOUR + 2600, ..WHOLE };
        let coverage = one(HOUR, Some(SensorHour { lost, ..heard(90) }), first);
        assert_eq!((coverage.expected, coverage.missing), (Some(290), 0));
        let coverage = one(HOUR, Some(SensorHour { lost, ..heard(90) }), WHOLE);
        assert_eq!((coverage.expected, coverage.missing), (Some(360), 70));
        // Of a sensor whose windows never came their length is not known.
        let never = Expectation { from: 0, to: 0, window_seconds: 0 };
        let coverage = one(HOUR, Some(SensorHour { lost, ..SensorHour::default() }), never);
        assert_eq!((coverage.expected, coverage.missing, coverage.expected_ms), (Some(200), 0, 0));
        assert_eq!(coverage.state, Some(CoverageState::Lost));
    }

    #[test]
    fn hours_add_up_and_none_hides_the_gaps_of_another() {
        let mut coverage = Coverage::default();
        for (hour, known) in [(HOUR, Some(heard(370))), (HOUR + 3600, None), (HOUR + 7200, None)] {
            coverage.add(hour, known.as_ref(), Some(&WHOLE));
        }
        assert_eq!((coverage.expected, coverage.missing, coverage.sum.windows), (Some(720), 360, 370));
        assert_eq!((coverage.state, coverage.expected_ms), (Some(CoverageState::Partly), 7_200_000));
        let mut files = Coverage::default();
        files.add(HOUR, Some(&heard(5)), None);
        assert_eq!((files.expected, files.state, files.sum.windows), (None, None, 5));
    }

    #[test]
    fn memory_holds_the_hours_around_the_newest() {
        let held = held_hours(Some(HOUR + 1));
        assert_eq!((held.start, held.end), (HOUR - 48 * 3600, HOUR + 49 * 3600));
        assert!(held_hours(None).contains(&HOUR));
    }
}
