//! What is remembered of a key while it is more than expected: its sources, and who saw them.

use std::collections::{BTreeMap, VecDeque};

use martlet_window::IpVersion;
use serde::{Deserialize, Serialize};

use crate::finding::{SeenBy, SeenNetwork};

/// Sensors of a candidate that are told apart; the rest is one more.
const MOST_SENSORS: usize = 64;
/// Networks that evidence lists.
const LISTED_NETWORKS: usize = 20;

/// One source.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Seen {
    /// End of the window of its first sighting, in seconds since the Unix epoch.
    first: i64,
    /// Its place in the order of first sightings.
    place: u32,
    /// Sightings in later windows.
    again: u32,
}

/// Sightings of sources that had been seen before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Again {
    /// How many.
    pub sightings: f64,
    /// In how many seconds, summed over the sources, each from its first sighting.
    pub seconds: f64,
}

/// Sources and sensors of one key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Candidate {
    sources: BTreeMap<u128, Seen>,
    /// Sources in the order of their first sightings: the first is forgotten when there are too many.
    order: VecDeque<u128>,
    /// Sources that were remembered so far.
    remembered: u32,
    sensors: BTreeMap<u16, u64>,
    sightings: u64,
    /// Since when it is followed, in seconds since the Unix epoch.
    pub since: i64,
    /// Until when it is followed.
    pub until: i64,
    /// Until when a finding of it went on that has ended: what was before is no news.
    pub called_until: Option<i64>,
}

impl Candidate {
    /// A candidate that is followed for that time.
    #[must_use]
    pub fn new(since: i64, until: i64) -> Candidate {
        Candidate { since, until, ..Candidate::default() }
    }

    /// Adds what one sensor saw in one window that ends then.
    pub fn add(&mut self, sensor: u16, window_end: i64, sources: &[u128], most_sources: usize) {
        self.sightings += sources.len() as u64;
        let place = if self.sensors.len() < MOST_SENSORS { sensor } else { u16::MAX };
        let known = if self.sensors.contains_key(&sensor) { sensor } else { place };
        *self.sensors.entry(known).or_default() += sources.len() as u64;
        for &source in sources {
            if let Some(seen) = self.sources.get_mut(&source) {
                // Others may see it in the same window, or a late batch may be of an earlier one.
                seen.again += u32::from(window_end > seen.first);
                continue;
            }
            self.sources.insert(source, Seen { first: window_end, place: self.remembered, again: 0 });
            self.order.push_back(source);
            self.remembered = self.remembered.saturating_add(1);
            if self.order.len() > most_sources
                && let Some(oldest) = self.order.pop_front()
            {
                self.sources.remove(&oldest);
            }
        }
    }

    /// Sources that are remembered.
    #[must_use]
    pub fn source_count(&self) -> u32 {
        u32::try_from(self.sources.len()).unwrap_or(u32::MAX)
    }

    /// How many times more than single sightings its sightings scatter: the mean, over sightings, of how often their source was
    /// seen.
    #[must_use]
    pub fn clumping(&self) -> f64 {
        let (mut sum, mut squares) = (0.0, 0.0);
        for seen in self.sources.values() {
            let times = f64::from(seen.again) + 1.0;
            sum += times;
            squares += times * times;
        }
        if sum > 0.0 { squares / sum } else { 1.0 }
    }

    /// The share of the sensor that saw most.
    #[must_use]
    pub fn largest_sensor_share(&self) -> f64 {
        let most = self.sensors.values().copied().max().unwrap_or_default();
        to_f64(most) / to_f64(self.sightings.max(1))
    }

    /// The share of sources that lie in the /16 of IPv4, or /32 of IPv6, that has most.
    #[must_use]
    pub fn largest_network_share(&self, ip: IpVersion) -> f64 {
        let shift = if ip == IpVersion::V4 { 16 } else { 96 };
        let mut largest = 0;
        let mut current = (None, 0u32);
        for source in self.sources.keys() {
            let network = Some(source >> shift);
            current = if current.0 == network { (network, current.1 + 1) } else { (network, 1) };
            largest = largest.max(current.1);
        }
        f64::from(largest) / f64::from(self.source_count().max(1))
    }

    /// How often those sources were seen again that were first seen within so many seconds before `now`.
    #[must_use]
    pub fn again(&self, now: i64, seconds: f64) -> Again {
        let mut sum = Again { sightings: 0.0, seconds: 1.0 };
        for seen in self.sources.values() {
            let age = to_f64((now - seen.first).max(0).unsigned_abs());
            if age <= seconds {
                sum.sightings += f64::from(seen.again);
                sum.seconds += age;
            }
        }
        sum
    }

    /// The networks that sources were seen in first.
    #[must_use]
    pub fn networks(&self, ip: IpVersion) -> Vec<SeenNetwork> {
        let shift = if ip == IpVersion::V4 { 8 } else { 80 };
        let mut networks: BTreeMap<u128, (u32, u32)> = BTreeMap::new();
        for (source, seen) in &self.sources {
            let network = networks.entry(source >> shift << shift).or_insert((seen.place, 0));
            network.0 = network.0.min(seen.place);
            network.1 += 1;
        }
        let mut networks: Vec<_> = networks.into_iter().collect();
        networks.sort_unstable_by_key(|network| network.1.0);
        networks.truncate(LISTED_NETWORKS);
        networks.into_iter().map(|(address, (_, sources))| SeenNetwork { address, sources }).collect()
    }

    /// Sensors, by sightings.
    #[must_use]
    pub fn sensors(&self) -> Vec<SeenBy> {
        let mut sensors: Vec<_> =
            self.sensors.iter().map(|(&sensor, &sightings)| SeenBy { sensor, sightings }).collect();
        sensors.sort_by_key(|seen| std::cmp::Reverse(seen.sightings));
        sensors
    }
}

/// The interval of 95 % of a Poisson mean of which so many were counted: Wilson and Hilferty's approximation of the exact one.
#[must_use]
pub fn poisson_interval(count: f64) -> (f64, f64) {
    let low = if count > 0.0 {
        count * (1.0 - 1.0 / (9.0 * count) - 1.96 / (3.0 * count.sqrt())).max(0.0).powi(3)
    } else {
        0.0
    };
    let above = count + 1.0;
    (low, above * (1.0 - 1.0 / (9.0 * above) + 1.96 / (3.0 * above.sqrt())).powi(3))
}

#[expect(clippy::cast_precision_loss, reason = "counts and seconds are far below 2^53")]
const fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_tables() {
        // Garwood's exact limits: 0: 0-3.69, 3: 0.62-8.77, 27: 17.79-39.28.
        for (count, low, high) in [(0.0, 0.0, 3.69), (3.0, 0.62, 8.77), (27.0, 17.79, 39.28)] {
            let found = poisson_interval(count);
            assert!((found.0 - low).abs() < 0.06 && (found.1 - high).abs() < 0.06, "{count} {found:?}");
        }
    }

    #[test]
    fn sources_that_come_again_tell_their_rate() {
        let mut candidate = Candidate::default();
        for n in 0..100 {
            candidate.add(0, 1000 + n, &[n.unsigned_abs().into()], 50);
            // The same window at another sensor is no time later.
            candidate.add(1, 1000 + n, &[n.unsigned_abs().into()], 50);
        }
        // The oldest were forgotten.
        assert_eq!((candidate.source_count(), candidate.again(1100, 1e9).sightings), (50, 0.0));
        (50..100).for_each(|n| candidate.add(0, 1100, &[n], 50));
        // 50 sightings in the sum of 1 to 50 seconds, and 10 in that of 1 to 10.
        assert_eq!(candidate.again(1100, 1e9), Again { sightings: 50.0, seconds: 1276.0 });
        assert_eq!(candidate.again(1100, 10.0), Again { sightings: 10.0, seconds: 56.0 });
        assert!((candidate.largest_sensor_share() - 0.6).abs() < 1e-9);
        assert!((candidate.largest_network_share(IpVersion::V4) - 1.0).abs() < 1e-9);
        assert_eq!(candidate.networks(IpVersion::V4), [SeenNetwork { address: 0, sources: 50 }]);
    }
}
