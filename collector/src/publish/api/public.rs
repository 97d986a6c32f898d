//! What is told to everybody: late, by the hour at least, over all sensors, and no row that is about few.

use serde::Serialize;
use utoipa::ToSchema;

use crate::aggregate::HOUR_SECONDS;
use crate::publish::PublicationConfig;

/// What a row must have to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Minimum {
    pub(super) packets: u64,
    pub(super) sources: u64,
    delay_seconds: i64,
}

impl From<&PublicationConfig> for Minimum {
    fn from(config: &PublicationConfig) -> Minimum {
        let delay_seconds = i64::from(config.delay_hours) * HOUR_SECONDS;
        Minimum { packets: config.min_packets, sources: config.min_sources, delay_seconds }
    }
}

impl Minimum {
    /// The shortest range of time of which anything is told: buckets for an hour or more, in seconds.
    pub(super) const fn unit(bucket_seconds: i64) -> i64 {
        let buckets = HOUR_SECONDS / bucket_seconds + (HOUR_SECONDS % bucket_seconds != 0) as i64;
        buckets * bucket_seconds
    }

    /// Until when anything is told; the start of a unit.
    pub(super) const fn until(self, now: i64, unit: i64) -> i64 {
        let until = now - self.delay_seconds;
        until - until.rem_euclid(unit)
    }

    /// Whether the parts of a row can be told: a number that is there and below the minimum could be had by subtracting the
    /// others from their sum, so either all are told or none.
    pub(super) fn allows_parts(self, parts: &[u64]) -> bool {
        parts.iter().all(|&packets| packets == 0 || packets >= self.packets)
    }
}

/// Rows that are about too few to be told, all in one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Withheld {
    /// How many rows.
    rows: u64,
    /// Their packets.
    packets: u64,
}

impl Withheld {
    pub(super) fn add(&mut self, packets: u64) {
        self.rows += 1;
        self.packets = self.packets.saturating_add(packets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_of_less_than_an_hour_or_too_early() {
        for (bucket, unit) in [(60, 3600), (600, 3600), (2400, 4800), (3600, 3600), (7200, 7200), (86_400, 86_400)] {
            assert_eq!(Minimum::unit(bucket), unit, "{bucket}");
        }
        let minimum = Minimum { packets: 10, sources: 3, delay_seconds: 86_400 };
        assert_eq!(minimum.until(86_400 + 7199, 3600), 3600);
        assert_eq!(minimum.until(0, 3600), -86_400);
        assert!(minimum.allows_parts(&[0, 10, 11]) && !minimum.allows_parts(&[0, 9, 100]));
    }
}
