//! Whether the numbers of a report agree with each other: everything derived is worked out again from what it is derived from.
//!
//! Published reports have had percentages that disagree with their own counts. What this cannot know: whether the counts are right.

mod overview;
mod parts;
mod ranking;

use crate::model::{FORMAT, Report, Sources};

/// How far two floats may be apart, relative to the larger one: sums are taken in different orders.
const TOLERANCE: f64 = 1e-9;

/// A number that is not what the others say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} is {says}, but should be {should_be}")]
pub struct Disagreement {
    /// Where it stands: a JSON pointer (RFC 6901) into the report.
    pub place: String,
    /// What stands there.
    pub says: String,
    /// What the others come to.
    pub should_be: String,
}

/// Checks a report against itself, and against the stored report of the previous period where there is one.
///
/// # Errors
/// All that disagrees, in the order of the report.
pub fn check(report: &Report, previous: Option<&Report>) -> Result<(), Vec<Disagreement>> {
    let mut checker = Checker { found: Vec::new(), largest_error: 0.0 };
    checker.equal("/format", report.format, FORMAT);
    checker.head(report);
    checker.overview(report);
    checker.rankings(report);
    checker.movers(report);
    checker.populations(report);
    checker.groups(report);
    checker.sensor_ports(report);
    checker.events(report);
    checker.quality(report);
    if let Some(previous) = previous {
        checker.against_previous(report, previous);
    }
    if checker.found.is_empty() { Ok(()) } else { Err(checker.found) }
}

struct Checker {
    found: Vec<Disagreement>,
    /// The largest error of distinct sources seen so far.
    largest_error: f64,
}

impl Checker {
    fn found(&mut self, place: impl Into<String>, says: impl ToString, should_be: impl ToString) {
        let (place, says, should_be) = (place.into(), says.to_string(), should_be.to_string());
        self.found.push(Disagreement { place, says, should_be });
    }

    fn equal<T: PartialEq + ToString>(&mut self, place: impl Into<String>, says: T, should_be: T) {
        if says != should_be {
            self.found(place, says, should_be);
        }
    }

    fn at_most<T: PartialOrd + ToString>(&mut self, place: impl Into<String>, says: T, most: T) {
        // Also of what is not a number.
        if !matches!(says.partial_cmp(&most), Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal)) {
            self.found(place, says, format!("at most {}", most.to_string()));
        }
    }

    fn at_least<T: PartialOrd + ToString>(&mut self, place: impl Into<String>, says: T, least: T) {
        if !matches!(says.partial_cmp(&least), Some(std::cmp::Ordering::Greater | std::cmp::Ordering::Equal)) {
            self.found(place, says, format!("at least {}", least.to_string()));
        }
    }

    /// A float, or that it is not known.
    fn close(&mut self, place: impl Into<String>, says: Option<f64>, should_be: Option<f64>) {
        let is_close = match (says, should_be) {
            (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
            (None, None) => true,
            _ => false,
        };
        if !is_close {
            self.found(place, told(says), told(should_be));
        }
    }

    /// A rate that cannot be worked out is a number all the same, and not below 0.
    fn rate(&mut self, place: impl Into<String>, says: Option<f64>) {
        if let Some(says) = says
            && !(says >= 0.0 && says.is_finite())
        {
            self.found(place, says, "a number of at least 0");
        }
    }

    fn percent(&mut self, place: impl Into<String>, says: Option<f64>) {
        if let Some(says) = says
            && !(0.0..=100.0 * (1.0 + TOLERANCE)).contains(&says)
        {
            self.found(place, says, "a number from 0 to 100");
        }
    }

    fn sources(&mut self, place: &str, sources: Option<Sources>) {
        if let Some(Sources { error, .. }) = sources {
            self.rate(format!("{place}/error"), Some(error));
            self.largest_error = self.largest_error.max(error);
        }
    }
}

fn told<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "not known".to_owned(), |value| value.to_string())
}

/// Packets as a float: exact up to 2^53, and far within the tolerance beyond.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn float(packets: u64) -> f64 {
    packets as f64
}

/// `part` of `whole`, in percent.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * float(part) / float(whole))
}

/// Change from `before` to `now`, in percent.
fn change(now: f64, before: f64) -> Option<f64> {
    (before > 0.0).then(|| 100.0 * (now - before) / before)
}

/// `packets` by sensors, addresses or prefixes and days.
fn per(packets: u64, days: f64) -> Option<f64> {
    (days > 0.0).then(|| float(packets) / days)
}

/// Rank of each of several values in descending order: 1 and how many are larger.
fn ranks(values: &[u64]) -> Vec<u32> {
    let larger = |value: &u64| values.iter().filter(|other| *other > value).count();
    values.iter().map(|value| u32::try_from(larger(value) + 1).unwrap_or(u32::MAX)).collect()
}
