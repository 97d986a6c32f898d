//! What a key is expected to have in an hour.

use serde::{Deserialize, Serialize};

use crate::series::Count;

/// Hours of a day that are remembered one by one.
const DAY: usize = 24;
/// Hours of a week.
const WEEK: usize = 168;
/// Weeks that are remembered hour by hour.
const WEEKS: usize = 4;
/// So many must be known: of its own week an hour says nothing about itself.
const FEWEST_WEEKS: usize = 2;
/// Of the last day's hours the highest and lowest are left out: an hour of somebody's scan moves nothing.
const TRIMMED_HIGH: usize = 6;
const TRIMMED_LOW: usize = 2;
/// From so many sightings in a day on a key's week is remembered; below, hours have too few to have a rhythm.
const BUSY_DAY: u64 = 240;

/// Counts of hours: the last day, and of busy keys the last weeks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Baseline {
    /// The hour that counts, in hours since the Unix epoch, and what it has.
    hour: i64,
    count: u64,
    /// Hours that are known, 24 at most.
    known: u8,
    day: [Count; DAY],
    /// By week, then hour of the week; the week is its number modulo the weeks.
    weeks: Option<Box<Weeks>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Weeks {
    /// The first hour that is remembered.
    since: i64,
    counts: Vec<Count>,
}

impl Baseline {
    /// Of a key that is first seen in this hour, and was not for so many hours before.
    #[must_use]
    pub fn new(hour: i64, hours_before: i64) -> Baseline {
        let known = u8::try_from(hours_before.clamp(0, DAY as i64)).unwrap_or_default();
        Baseline { hour, known, ..Baseline::default() }
    }

    /// Adds to an hour; hours come in order.
    pub fn add(&mut self, hour: i64, count: u64) {
        if hour > self.hour {
            self.close(hour);
        }
        self.count += count;
    }

    /// Ends the hour that counts, and those up to the one given, which had nothing.
    fn close(&mut self, next: i64) {
        let first = self.hour.max(next - WEEK as i64 * WEEKS as i64);
        for hour in first..next {
            let count = Count::new(if hour == self.hour { std::mem::take(&mut self.count) } else { 0 });
            self.day[slot(hour, DAY)] = count;
            self.known = (self.known + 1).min(24);
            let weeks = &mut self.weeks;
            if weeks.is_none() && self.day.iter().map(|count| count.get()).sum::<u64>() >= BUSY_DAY {
                *weeks = Some(Box::new(Weeks { since: hour, counts: vec![Count::default(); WEEK * WEEKS] }));
            }
            if let Some(weeks) = weeks {
                weeks.counts[slot(hour, WEEK * WEEKS)] = count;
            }
        }
        self.count = 0;
        self.hour = next;
    }

    /// Sightings that an hour of the last day had, without its most and least busy hours; and how many hours say so.
    #[must_use]
    pub fn level(&self) -> (f64, f64) {
        let known = usize::from(self.known);
        if known == 0 {
            return (0.0, 0.0);
        }
        let mut hours: Vec<u64> = (1..=known as i64).map(|back| self.day[slot(self.hour - back, DAY)].get()).collect();
        hours.sort_unstable();
        let (low, high) = (TRIMMED_LOW * known / DAY, TRIMMED_HIGH * known / DAY);
        let kept = &hours[low..known - high];
        (mean(kept.iter().copied()), to_f64(known as u64))
    }

    /// How this hour of the week compares with others, where two weeks at least are known: in units of the mean hour.
    ///
    /// It is the median over earlier weeks of the hour and its neighbours, so that neither an event of a week before nor one that
    /// goes on is a rhythm.
    #[must_use]
    pub fn rhythm(&self, hour: i64) -> Option<f64> {
        let weeks = self.weeks.as_ref()?;
        let known = usize::try_from((self.hour - weeks.since) / WEEK as i64).ok()?.min(WEEKS);
        if known < FEWEST_WEEKS {
            return None;
        }
        let expected = |hour: i64| {
            let mut counts = [0; 3 * WEEKS];
            let mut held = 0;
            for week in 1..=WEEKS as i64 {
                for near in -1..=1 {
                    // The same hour of an earlier week that has been counted.
                    let back = (hour - self.hour).div_euclid(WEEK as i64) + week;
                    let at = hour - back * WEEK as i64 + near;
                    if back > 0 && at >= weeks.since && at < self.hour && self.hour - at <= (WEEK * WEEKS) as i64 {
                        counts[held] = weeks.counts[slot(at, WEEK * WEEKS)].get();
                        held += 1;
                    }
                }
            }
            counts[..held].sort_unstable();
            // Of an even number the lower of the middle two: of two weeks the one without an event.
            if held == 0 { 0.0 } else { to_f64(counts[(held - 1) / 2]) }
        };
        let week = (0..WEEK as i64 / 4).map(|quarter| expected(self.hour - 4 * quarter)).sum::<f64>();
        let mean = week / to_f64(WEEK as u64 / 4);
        // A key that is silent most of the week has bursts and no rhythm.
        if mean < 1.0 { None } else { Some((expected(hour) / mean).clamp(0.2, 5.0)) }
    }
}

fn slot(hour: i64, slots: usize) -> usize {
    // The remainder is below the number of slots.
    usize::try_from(hour.rem_euclid(slots as i64)).unwrap_or_default()
}

fn mean(counts: impl ExactSizeIterator<Item = u64>) -> f64 {
    let number = to_f64(counts.len() as u64);
    if number > 0.0 { to_f64(counts.sum()) / number } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
const fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_moves_no_level() {
        let mut baseline = Baseline::new(1000, 0);
        assert_eq!(baseline.level(), (0.0, 0.0));
        for hour in 1000..1100 {
            baseline.add(hour, if (1090..1094).contains(&hour) { 500 } else { 4 });
        }
        assert_eq!(baseline.level(), (4.0, 24.0));
        // A day of nothing.
        baseline.add(1130, 1);
        assert_eq!(baseline.level(), (0.0, 24.0));
    }

    #[test]
    fn a_week_has_a_rhythm() {
        let is_day = |hour: i64| hour.rem_euclid(24) < 12;
        let mut baseline = Baseline::new(0, 0);
        for hour in 0..3 * 168 + 28 {
            // One week's day is ten times as busy.
            let event = if (200..220).contains(&hour) { 10 } else { 1 };
            baseline.add(hour, event * if is_day(hour) { 30 } else { 10 });
            assert!(hour > 340 || baseline.rhythm(hour).is_none());
        }
        // An event that goes on for half a day is none either.
        for hour in 3 * 168 + 28..3 * 168 + 40 {
            baseline.add(hour, 300);
        }
        for hour in 3 * 168 + 28..3 * 168 + 64 {
            let rhythm = baseline.rhythm(hour).unwrap();
            // Hours beside a change may take either side.
            if (1..11).contains(&hour.rem_euclid(24)) || (13..23).contains(&hour.rem_euclid(24)) {
                assert!((rhythm - if is_day(hour) { 1.5 } else { 0.5 }).abs() < 0.1, "{hour} {rhythm}");
            }
        }
    }
}
