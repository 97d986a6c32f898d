//! What a drill is asked to be, and whether that can be done.

use crate::arrivals::OutbreakModel;
use crate::inject::{Inject, Outage};
use ipnet::Ipv4Net;
use std::time::Duration;

/// Mean packets a day that reach one dark address, all kinds together: NICTER saw one packet every 13 seconds at each of
/// its addresses in 2024 (White Paper Information and Communications in Japan 2025, chapter II-1-10).
pub const PACKETS_PER_ADDRESS_DAY: f64 = 86_400.0 / 13.0;

/// 2026-01-01T00:00:00Z. Fixed, so that the defaults alone always make the same file.
pub const DEFAULT_START_S: u64 = 1_767_225_600;

const MAX_DURATION: Duration = Duration::from_secs(10 * 366 * 86_400);
/// More packets than anybody writes to one file; catches a slipped unit before the disk does.
const MAX_PACKETS: f64 = 1e11;
/// Every IPv4 address is at most one host, and indices must fit the space that sources may have.
const MAX_POPULATION: u64 = 3_000_000_000;
/// Injects of one drill; each costs a look at its next arrival for every packet.
pub const MAX_INJECTS: usize = 64;
/// Sensors that a dark prefix is split among: each costs two threads and two tables of open windows.
pub const MAX_SENSORS: u32 = 64;

/// A drill: background radiation on a dark prefix, and perhaps an outbreak or other injects. [`crate::Drill::new`] checks it.
#[derive(Clone, Debug, PartialEq)]
pub struct DrillConfig {
    /// Decides every random choice. The same seed and configuration give the same bytes on every machine.
    pub seed: u64,
    /// Unix time of the beginning, in seconds.
    pub start_s: u64,
    /// Time covered. Every packet lies in `start..start + duration`.
    pub duration: Duration,
    /// The dark addresses, all of them.
    pub dark: Ipv4Net,
    /// Mean background packets per dark address and day.
    pub packets_per_address_day: f64,
    /// The outbreak, if any.
    pub outbreak: Option<OutbreakConfig>,
    /// Exact number of packets in total. The background is thinned or thickened to fit, the outbreak stays as it is, and
    /// `packets_per_address_day` is ignored.
    pub exact_packets: Option<u64>,
    /// Name of the scenario that the injects come from.
    pub scenario: Option<String>,
    /// What happens besides the background and the outbreak.
    pub injects: Vec<Inject>,
    /// When parts of the prefix see nothing.
    pub outages: Vec<Outage>,
    /// Sensors that the dark prefix is split among, in parts as equal as can be. Outages are told by sensor.
    pub sensors: u32,
    /// Dark prefixes of others who see the same drill: no source lies in them either, so that all see the same hosts.
    pub also_dark: Vec<Ipv4Net>,
    /// Whose view it is. Views of one seed have the same hosts, which reach each at other moments.
    pub view: u64,
}

impl Default for DrillConfig {
    /// A day on 198.18.0.0/24 (benchmarking space, RFC 2544) with the default outbreak at noon.
    fn default() -> Self {
        Self {
            seed: 1,
            start_s: DEFAULT_START_S,
            duration: Duration::from_secs(86_400),
            dark: Ipv4Net::new_assert([198, 18, 0, 0].into(), 24),
            packets_per_address_day: PACKETS_PER_ADDRESS_DAY,
            outbreak: Some(OutbreakConfig::default()),
            exact_packets: None,
            scenario: None,
            injects: Vec::new(),
            outages: Vec::new(),
            sensors: 1,
            also_dark: Vec::new(),
            view: 0,
        }
    }
}

/// The transport that an outbreak scans over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, protocol 6.
    Tcp,
    /// UDP, protocol 17.
    Udp,
}

impl Transport {
    /// The IP protocol number.
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// What the packets of an outbreak look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutbreakMark {
    /// No tool mark: an ordinary Linux connection attempt, or a short UDP datagram.
    None,
    /// Mirai's: TCP sequence number equal to the destination address.
    Mirai,
    /// Slammer's shape: UDP 1434, IP length 404, first payload byte 4. The rest is harmless filler.
    Slammer,
}

/// One self-spreading outbreak by uniform random scanning: `dI/dt = a I (1 - I/N)` with `a = q eta N / 2^32`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutbreakConfig {
    /// Transport scanned.
    pub transport: Transport,
    /// Destination port scanned.
    pub port: u16,
    /// Shape of the packets.
    pub mark: OutbreakMark,
    /// Begin, after the start of the drill.
    pub start: Duration,
    /// Scans a second that each infected host sends, over all 2^32 addresses (eta).
    pub scans_per_host_s: f64,
    /// Hosts infected at the begin (I0).
    pub initial_infected: u64,
    /// Vulnerable hosts, the infected ones included (N).
    pub vulnerable: u64,
    /// Chance that a scan of a vulnerable host infects it, above 0 to 1: below 1 where it has to guess a password (q).
    pub infection_chance: f64,
}

impl Default for OutbreakConfig {
    /// A Mirai-like outbreak on tcp/2323: 160 scans a second and host, 10 of 10,000 hosts infected at hour 12. The rate a
    /// is 3.7e-4 a second, so it doubles every 31 minutes and half is infected after 5.2 hours; a /24 sees 27 of its
    /// packets by 10 % infected and 8,200 a day at saturation.
    fn default() -> Self {
        Self {
            transport: Transport::Tcp,
            port: 2323,
            mark: OutbreakMark::Mirai,
            start: Duration::from_secs(12 * 3600),
            scans_per_host_s: 160.0,
            initial_infected: 10,
            vulnerable: 10_000,
            infection_chance: 1.0,
        }
    }
}

/// Why a configuration cannot be drilled.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The time covered is empty or absurd.
    #[error("the duration must be from 1 ms to 3660 days, not {0:?}")]
    Duration(Duration),
    /// The capture format holds seconds in 32 bits.
    #[error("the drill would end at unix time {0}, after 2106-02-07, which a pcap file cannot express")]
    End(u64),
    /// Fewer than /8 would leave too little space for sources.
    #[error("the dark prefix {0} is shorter than /8")]
    Prefix(Ipv4Net),
    /// The mean is not a positive number.
    #[error("the rate must be a number from 0 up, in packets per address and day, not {0}")]
    Rate(f64),
    /// More packets than a file should hold.
    #[error(
        "about {0:.0} packets would be made, more than {MAX_PACKETS:.0}; lower the rate, the duration or the prefix"
    )]
    TooMany(f64),
    /// The exact count is below what the outbreak alone sends.
    #[error("the outbreak alone sends {outbreak} packets into the prefix, more than the {packets} asked for in total")]
    OutbreakLarger {
        /// Packets of the outbreak.
        outbreak: u64,
        /// Packets asked for.
        packets: u64,
    },
    /// The outbreak would begin after the end.
    #[error("the outbreak must start before the drill ends ({0:?} is not before {1:?})")]
    OutbreakStart(Duration, Duration),
    /// The scan rate is not a positive number.
    #[error("the outbreak's scans a second and host must be above 0 and at most 1e6, not {0}")]
    ScanRate(f64),
    /// Hosts do not fit the model.
    #[error(
        "the outbreak needs 1 <= initial infected <= vulnerable <= {MAX_POPULATION}, not {initial} and {vulnerable}"
    )]
    Population {
        /// Initially infected hosts.
        initial: u64,
        /// Vulnerable hosts.
        vulnerable: u64,
    },
    /// The chance of infection is none.
    #[error("the chance that a scan of a vulnerable host infects it must be above 0 and at most 1, not {0}")]
    InfectionChance(f64),
    /// An inject begins or ends where it cannot.
    #[error("{name} is to begin {begin:?} after the start, and to last for some time within the drill's {duration:?}")]
    InjectTime {
        /// Name of the inject.
        name: String,
        /// Its begin after the start.
        begin: Duration,
        /// The drill's duration.
        duration: Duration,
    },
    /// A parameter of an inject is out of its range.
    #[error("{name}: {what}")]
    Inject {
        /// Name of the inject.
        name: String,
        /// What is wrong, with the range.
        what: &'static str,
    },
    /// More injects than are kept.
    #[error("{0} injects are more than the {MAX_INJECTS} that a drill may have")]
    TooManyInjects(usize),
    /// The prefix cannot be split.
    #[error(
        "the prefix of {addresses} addresses is to be split among 1 to {MAX_SENSORS} sensors, each with at least one, not {sensors}"
    )]
    Sensors {
        /// Sensors asked for.
        sensors: u32,
        /// Addresses of the prefix.
        addresses: u64,
    },
    /// An outage is of nobody, or never.
    #[error("an outage is of one of the {0} sensors (from 0), and begins before it ends")]
    Outage(u32),
    /// Packets that are missing cannot be counted beforehand.
    #[error("an exact number of packets goes with neither injects nor outages")]
    ExactWithInjects,
    /// The mark does not exist on that transport or port.
    #[error("the mark {mark:?} does not go with this outbreak: mirai is a TCP mark, slammer is udp/1434")]
    Mark {
        /// The mark asked for.
        mark: OutbreakMark,
    },
}

impl DrillConfig {
    /// Checks everything that can be said without generating.
    ///
    /// # Errors
    /// Says which field is out of range, and what the range is.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.duration < Duration::from_millis(1) || self.duration > MAX_DURATION {
            return Err(ConfigError::Duration(self.duration));
        }
        let end = self.start_s.saturating_add(self.duration.as_secs()).saturating_add(1);
        if end > u64::from(u32::MAX) {
            return Err(ConfigError::End(end));
        }
        if self.dark.prefix_len() < 8 {
            return Err(ConfigError::Prefix(self.dark));
        }
        if !self.packets_per_address_day.is_finite() || self.packets_per_address_day < 0.0 {
            return Err(ConfigError::Rate(self.packets_per_address_day));
        }
        let mut outbreak = self.outbreak.as_ref().map_or(Ok(0.0), |outbreak| self.check_outbreak(outbreak))?;
        for inject in &self.injects {
            outbreak += inject.check(self)?;
        }
        self.check_scenario()?;
        let expected = self.exact_packets.map_or(self.mean_background() + outbreak, |n| n as f64);
        if expected.max(outbreak) > MAX_PACKETS {
            return Err(ConfigError::TooMany(expected.max(outbreak)));
        }
        Ok(())
    }

    fn check_scenario(&self) -> Result<(), ConfigError> {
        if self.injects.len() > MAX_INJECTS {
            return Err(ConfigError::TooManyInjects(self.injects.len()));
        }
        let (sensors, addresses) = (self.sensors, self.dark_addresses());
        if sensors == 0 || sensors > MAX_SENSORS || u64::from(sensors) > addresses {
            return Err(ConfigError::Sensors { sensors, addresses });
        }
        if self.outages.iter().any(|outage| outage.sensor >= sensors || outage.begin >= outage.end) {
            return Err(ConfigError::Outage(sensors));
        }
        if self.exact_packets.is_some() && !(self.injects.is_empty() && self.outages.is_empty()) {
            return Err(ConfigError::ExactWithInjects);
        }
        Ok(())
    }

    /// The seed of everything that differs between views: when packets arrive, and which host sends which.
    pub(crate) fn stream_seed(&self) -> u64 {
        if self.view == 0 { self.seed } else { crate::random::mix(self.seed, self.view) }
    }

    /// All dark prefixes in which no source lies.
    pub(crate) fn all_dark(&self) -> Vec<Ipv4Net> {
        [&[self.dark][..], &self.also_dark].concat()
    }

    /// Offset into the dark prefix of the first address of a sensor's part.
    pub fn part_begin(&self, sensor: u32) -> u64 {
        u64::from(sensor) * self.dark_addresses() / u64::from(self.sensors.max(1))
    }

    /// The sensor that an address at this offset into the dark prefix belongs to.
    pub fn sensor_of(&self, offset: u32) -> u32 {
        // The last sensor whose part does not begin behind the offset, the inverse of `part_begin`.
        let sensors = u64::from(self.sensors.max(1));
        let sensor = ((u64::from(offset) + 1) * sensors).div_ceil(self.dark_addresses()) - 1;
        u32::try_from(sensor).unwrap_or(u32::MAX)
    }

    /// Checks the outbreak and gives the packets that it is expected to send into the prefix.
    pub(crate) fn check_outbreak(&self, outbreak: &OutbreakConfig) -> Result<f64, ConfigError> {
        if outbreak.start >= self.duration {
            return Err(ConfigError::OutbreakStart(outbreak.start, self.duration));
        }
        if !(outbreak.scans_per_host_s > 0.0 && outbreak.scans_per_host_s <= 1e6) {
            return Err(ConfigError::ScanRate(outbreak.scans_per_host_s));
        }
        if !(outbreak.infection_chance > 0.0 && outbreak.infection_chance <= 1.0) {
            return Err(ConfigError::InfectionChance(outbreak.infection_chance));
        }
        let (initial, vulnerable) = (outbreak.initial_infected, outbreak.vulnerable);
        if initial == 0 || initial > vulnerable || vulnerable > MAX_POPULATION {
            return Err(ConfigError::Population { initial, vulnerable });
        }
        let fits = match outbreak.mark {
            OutbreakMark::None => true,
            OutbreakMark::Mirai => outbreak.transport == Transport::Tcp,
            OutbreakMark::Slammer => outbreak.transport == Transport::Udp && outbreak.port == 1434,
        };
        if !fits {
            return Err(ConfigError::Mark { mark: outbreak.mark });
        }
        let model = OutbreakModel::new(outbreak, self.dark_addresses());
        Ok(model.sightings((self.duration - outbreak.start).as_secs_f64()))
    }

    /// Number of dark addresses.
    pub fn dark_addresses(&self) -> u64 {
        1 << (32 - u32::from(self.dark.prefix_len()))
    }

    /// Expected background packets, the day's rhythm left aside.
    pub fn mean_background(&self) -> f64 {
        self.packets_per_address_day * self.dark_addresses() as f64 * self.duration.as_secs_f64() / 86_400.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_sound_and_as_described() {
        let config = DrillConfig::default();
        assert_eq!(config.check(), Ok(()));
        let model = OutbreakModel::new(&OutbreakConfig::default(), config.dark_addresses());
        assert!((model.growth_per_s() - 3.725e-4).abs() < 1e-6);
        assert!((model.doubling_s() / 60.0 - 31.0).abs() < 0.1);
        assert!((model.time_to_share_s(0.5) / 3600.0 - 5.15).abs() < 0.01);
        assert!((model.sightings(model.time_to_share_s(0.1)) - 26.7).abs() < 0.3);
    }

    #[test]
    fn every_address_belongs_to_one_sensor() {
        for (prefix, sensors) in
            [("198.18.0.0/24", 1), ("198.18.0.0/24", 3), ("198.18.0.0/28", 16), ("198.18.0.0/20", 7)]
        {
            let config = DrillConfig { dark: prefix.parse().unwrap(), sensors, ..DrillConfig::default() };
            for offset in 0..config.dark_addresses() {
                let sensor = config.sensor_of(u32::try_from(offset).unwrap());
                let part = config.part_begin(sensor)..config.part_begin(sensor + 1);
                assert!(sensor < sensors && part.contains(&offset), "{prefix} {sensors} {offset}");
            }
        }
    }

    #[test]
    fn each_mistake_is_named() {
        let ok = DrillConfig::default();
        let outbreak = OutbreakConfig::default();
        let with = |outbreak| DrillConfig { outbreak: Some(outbreak), ..ok.clone() }.check();
        assert!(matches!(
            DrillConfig { duration: Duration::ZERO, ..ok.clone() }.check(),
            Err(ConfigError::Duration(_))
        ));
        assert!(matches!(DrillConfig { start_s: u64::MAX, ..ok.clone() }.check(), Err(ConfigError::End(_))));
        assert!(matches!(
            DrillConfig { dark: "0.0.0.0/0".parse().unwrap(), ..ok.clone() }.check(),
            Err(ConfigError::Prefix(_))
        ));
        for rate in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(matches!(
                DrillConfig { packets_per_address_day: rate, ..ok.clone() }.check(),
                Err(ConfigError::Rate(_))
            ));
        }
        assert!(matches!(
            DrillConfig { packets_per_address_day: 1e12, ..ok.clone() }.check(),
            Err(ConfigError::TooMany(_))
        ));
        assert!(matches!(with(OutbreakConfig { start: ok.duration, ..outbreak }), Err(ConfigError::OutbreakStart(..))));
        assert!(matches!(
            with(OutbreakConfig { scans_per_host_s: f64::NAN, ..outbreak }),
            Err(ConfigError::ScanRate(_))
        ));
        assert!(matches!(
            with(OutbreakConfig { initial_infected: 0, ..outbreak }),
            Err(ConfigError::Population { .. })
        ));
        assert!(matches!(with(OutbreakConfig { vulnerable: 9, ..outbreak }), Err(ConfigError::Population { .. })));
        assert!(matches!(
            with(OutbreakConfig { transport: Transport::Udp, ..outbreak }),
            Err(ConfigError::Mark { .. })
        ));
    }
}
