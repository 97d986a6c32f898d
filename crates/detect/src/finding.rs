//! What the detector says: findings, each of one population on one port.

use martlet_window::IpVersion;
use serde::{Deserialize, Serialize};

use crate::population::Population;

/// What rows are told apart by: one population on one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u32", from = "u32")]
pub struct Key {
    /// IP version.
    pub ip: IpVersion,
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
    /// Destination port.
    pub port: u16,
    /// Which tool or bot the packets look like, if any.
    pub population: Population,
}

/// What is found, from the weakest to the strongest: a finding only ever goes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingType {
    /// Several sources probe a port that nobody probed for as long as is remembered.
    FirstSeenPort,
    /// Many more sources than expected: most new scanning comes as such a step.
    Surge,
    /// The sources grow exponentially, and neither chance nor a step explains it.
    Outbreak,
}

/// What must be said beside a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// Nine of ten sightings come from one sensor, although several watch.
    SingleSensor,
    /// So many sources cannot be real that the others may not be either.
    SpoofedLooking,
    /// Half of the sources lie in one /16 of IPv4, or one /32 of IPv6.
    OneNetwork,
}

/// An estimate with its interval of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The most likely value; absent where the data only bound it.
    pub value: Option<f64>,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval; absent where the data do not bound it.
    pub high: Option<f64>,
}

/// What is estimated of an outbreak.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimates {
    /// Growth rate a of `dI/dt = a I (1 - I/N)`, per hour.
    pub rate_per_hour: Estimate,
    /// Doubling time ln 2 / a, in seconds.
    pub doubling_seconds: Estimate,
    /// Hosts that scan now; often only a lower bound. Absent where more than a tenth of what is seen is background.
    pub infected: Option<Estimate>,
    /// Hosts that can be infected, N, if targets are chosen at random among all IPv4 addresses. Absent as `infected`, and
    /// where it is not known how many addresses are observed.
    pub susceptible: Option<Estimate>,
}

impl Estimates {
    /// Whether these are surer and no other: a rate outside the interval that is known is that of a worm that has run out of hosts,
    /// which grows no longer exponentially.
    pub(crate) fn is_better_than(&self, known: &Estimates) -> bool {
        let (new, known) = (&self.rate_per_hour, &known.rate_per_hour);
        let width = |estimate: &Estimate| estimate.high.unwrap_or(f64::INFINITY) / estimate.low;
        let is_inside =
            new.value.is_some_and(|value| known.low <= value && known.high.is_none_or(|high| value <= high));
        is_inside && width(new) < width(known)
    }
}

/// One bin of the series that a finding was called on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Its start, in seconds since the Unix epoch.
    pub start: i64,
    /// Sightings: sources times sensors times windows.
    pub sightings: u32,
    /// What was expected of them.
    pub expected: f32,
}

/// A network that sources are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenNetwork {
    /// Its first address: an IPv4 /24 or IPv6 /48, as [`martlet_window::CountRow::source`].
    pub address: u128,
    /// Its sources that are remembered.
    pub sources: u32,
}

/// A sensor that saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenBy {
    /// The sensor's number, as the caller numbered it.
    pub sensor: u16,
    /// Sightings.
    pub sightings: u64,
}

/// What a finding was called on. Kept as of the call, and renewed only when the finding goes up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Length of a bin of the series, in seconds.
    pub bin_seconds: u32,
    /// The series, oldest first.
    pub series: Vec<Bin>,
    /// How much better growth explains the series than chance or a step do: a difference of log likelihoods.
    pub growth_over_step: f64,
    /// Observed addresses of all sensors that reported.
    pub addresses: u64,
    /// Sources that are remembered, since the population first exceeded what was expected.
    pub sources: u32,
    /// The networks that sources were seen in first, in order of their first sighting.
    pub networks: Vec<SeenNetwork>,
    /// Sensors, by sightings.
    pub sensors: Vec<SeenBy>,
}

/// One finding as it is now. The same finding comes again whenever it changes; [`Finding::id`] says which it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Of which population on which port.
    pub key: Key,
    /// When it began as far as can be told, in seconds since the Unix epoch. Never changes: with the key it identifies the finding.
    pub onset: i64,
    /// What it is.
    pub finding_type: FindingType,
    /// When it was called what it is, in event time: the end of the last bin that it was called on.
    pub detected: i64,
    /// When it was last above what was expected, in event time.
    pub last_active: i64,
    /// When it was over, in event time.
    pub ended: Option<i64>,
    /// What must be said beside it, ascending.
    pub labels: Vec<Label>,
    /// Of an outbreak: as of the bin whose rate was the surest.
    pub estimates: Option<Estimates>,
    /// What it was called on.
    pub evidence: Evidence,
}

impl Finding {
    /// Number of the finding among those of its class: a function of key and onset, so that a detector that reads the
    /// same batches again says the same findings (FNV-1a, 64 bits).
    #[must_use]
    pub fn id(&self) -> u64 {
        let Key { ip, protocol, port, population } = self.key;
        let head = [u8::from(ip == IpVersion::V6), protocol, population as u8];
        let bytes = head.into_iter().chain(port.to_be_bytes()).chain(self.onset.to_be_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}
