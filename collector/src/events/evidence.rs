//! What an event was called on, as it is kept: with the regions and networks as they were known when it was recorded.

use std::collections::HashMap;

use ipnet::{Ipv4Net, Ipv6Net};
use martlet_detect::{Bin, Estimate, Estimates, Evidence as Found};
use martlet_window::{IpVersion, address_from_bits};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::geo::Snapshot;

/// Most bins of a series that are kept: the newest.
const MOST_BINS: usize = 2048;
/// Most networks that are kept: those that were seen first.
const MOST_NETWORKS: usize = 256;
/// Most sensors that are kept: those with most sightings.
const MOST_SENSORS: usize = 64;
/// Most regions that are kept: those with most sources.
const MOST_REGIONS: usize = 64;
/// Longest name of an organisation that is kept, in characters.
const LONGEST_ORGANISATION: usize = 100;
/// What networks of sources are: an IPv4 /24, an IPv6 /48.
const V4_PREFIX: u8 = 24;
const V6_PREFIX: u8 = 48;

/// What an event was called on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Length of a bin of the series, in seconds.
    pub bin_seconds: u32,
    /// The series, oldest first.
    pub series: Vec<SeriesBin>,
    /// How much better growth explains the series than chance or a step do: a difference of log likelihoods.
    pub growth_over_step: f64,
    /// Observed addresses of all sensors that reported.
    pub addresses: u64,
    /// Sources that are remembered since the population first exceeded what was expected.
    pub sources: u32,
    /// Regions of the networks below, by their sources; as of when the event was recorded.
    pub regions: Vec<RegionCount>,
    /// Networks that sources were seen in first, in the order of their first sighting.
    pub networks: Vec<Network>,
    /// Sensors by their sightings.
    pub sensors: Vec<SensorCount>,
}

/// A bin of a series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeriesBin {
    /// Its start, in seconds since the Unix epoch.
    pub start: i64,
    /// Sightings: sources times sensors times windows.
    pub sightings: u32,
    /// What was expected of them.
    pub expected: f32,
}

/// A region with its part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventRegion)]
pub struct RegionCount {
    /// ISO 3166-1 alpha-2, or ZZ where it is not known.
    pub region: String,
    /// Sources in networks of it.
    pub sources: u32,
}

/// A network that sources are in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventNetwork)]
pub struct Network {
    /// An IPv4 /24 or IPv6 /48.
    pub network: String,
    /// Its region: ISO 3166-1 alpha-2, or ZZ.
    pub region: String,
    /// Number of the autonomous system that announces it, where that is known.
    pub asn: Option<u32>,
    /// The organisation behind that, where it is known.
    pub organisation: Option<String>,
    /// Name of the list of known scanners that it is on.
    pub known_scanner: Option<String>,
    /// Its sources that are remembered.
    pub sources: u32,
}

/// A sensor that saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventSensor)]
pub struct SensorCount {
    /// Its pseudonym.
    pub sensor: String,
    /// Sightings.
    pub sightings: u64,
}

impl Evidence {
    /// What the detector found, with what is known of the networks now.
    pub(crate) fn looked_up(
        found: &Found,
        ip: IpVersion,
        geo: &Snapshot,
        sensor_name: &dyn Fn(u16) -> String,
    ) -> Evidence {
        let network = |seen: &martlet_detect::SeenNetwork| {
            let address = address_from_bits(ip, seen.address);
            let owner = geo.owner(address);
            Network {
                network: prefix(address),
                region: owner.region.as_str().to_owned(),
                asn: owner.asn,
                organisation: owner.organisation.map(|name| name.chars().take(LONGEST_ORGANISATION).collect()),
                known_scanner: owner.known_scanner.map(str::to_owned),
                sources: seen.sources,
            }
        };
        let mut by_region: HashMap<String, u32> = HashMap::new();
        for seen in &found.networks {
            let region = geo.owner(address_from_bits(ip, seen.address)).region;
            let sources = by_region.entry(region.as_str().to_owned()).or_default();
            *sources = sources.saturating_add(seen.sources);
        }
        let mut regions: Vec<_> =
            by_region.into_iter().map(|(region, sources)| RegionCount { region, sources }).collect();
        regions.sort_unstable_by(|a, b| (b.sources, &a.region).cmp(&(a.sources, &b.region)));
        regions.truncate(MOST_REGIONS);
        let mut sensors: Vec<_> = found.sensors.iter().collect();
        sensors.sort_by_key(|seen| std::cmp::Reverse(seen.sightings));
        let sensors = sensors.into_iter().take(MOST_SENSORS);
        let newest = found.series.len().saturating_sub(MOST_BINS);
        Evidence {
            bin_seconds: found.bin_seconds,
            series: found.series.iter().skip(newest).map(SeriesBin::from).collect(),
            growth_over_step: finite(found.growth_over_step).unwrap_or_default(),
            addresses: found.addresses,
            sources: found.sources,
            regions,
            networks: found.networks.iter().take(MOST_NETWORKS).map(network).collect(),
            sensors: sensors
                .map(|seen| SensorCount { sensor: sensor_name(seen.sensor), sightings: seen.sightings })
                .collect(),
        }
    }
}

impl From<&Bin> for SeriesBin {
    fn from(bin: &Bin) -> SeriesBin {
        let expected = if bin.expected.is_finite() { bin.expected } else { 0.0 };
        SeriesBin { start: bin.start, sightings: bin.sightings, expected }
    }
}

/// JSON has no numbers that are not finite: what is not bounded is absent.
pub(crate) fn bounded(estimates: &Estimates) -> Estimates {
    let one = |estimate: Estimate| Estimate {
        value: estimate.value.and_then(finite),
        low: finite(estimate.low).unwrap_or_default(),
        high: estimate.high.and_then(finite),
    };
    Estimates {
        rate_per_hour: one(estimates.rate_per_hour),
        doubling_seconds: one(estimates.doubling_seconds),
        infected: estimates.infected.map(one),
        susceptible: estimates.susceptible.map(one),
    }
}

fn finite(value: f64) -> Option<f64> {
    Some(value).filter(|value| value.is_finite())
}

fn prefix(address: std::net::IpAddr) -> String {
    match address {
        std::net::IpAddr::V4(address) => {
            Ipv4Net::new(address, V4_PREFIX).map_or_else(|_| String::new(), |net| net.trunc().to_string())
        }
        std::net::IpAddr::V6(address) => {
            Ipv6Net::new(address, V6_PREFIX).map_or_else(|_| String::new(), |net| net.trunc().to_string())
        }
    }
}
