//! What a report says, in numbers. Every language and every format is written from this, and it is what is kept of a report.
//!
//! Whoever makes one fills in counts and what is derived from them; [`crate::check`] works everything that is derived out again
//! and refuses what disagrees. What is not known is `None`, never 0. Nothing here depends on the clock, the machine or the
//! language. Cells that are finer than [`Rules`] allow were merged before: none of them is in here.

#![expect(missing_docs, reason = "a field whose name says it all has no words beside it")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The format of [`Report`] as JSON. Another number is refused by readers.
pub const FORMAT: u32 = 1;

/// A report of one time and one traffic class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// The time.
    pub period: Period,
    /// What it is compared with.
    pub previous: Previous,
    /// From 1 on; `None` while it is provisional: data may still come.
    pub revision: Option<u32>,
    /// Of a revision above 1: what has changed since the one before, in the order of the report.
    pub changes: Vec<Changed>,
    /// Real traffic, a drill or an import: never more than one.
    pub class: Class,
    /// Only sensors of this group; all if `None`.
    pub group: Option<String>,
    /// What may be said.
    pub rules: Rules,
    /// What must be said first.
    pub warnings: Vec<Warning>,
    pub overview: Overview,
    /// Packets of kind scan by destination port of TCP and UDP, or by type of ICMP, over IPv4.
    pub ports: Ranking<Service>,
    /// Packets of kind scan by source region, over IPv4: ISO 3166-1 codes, `ZZ` where it is not known.
    pub regions: Ranking<String>,
    pub movers: Movers,
    pub populations: Populations,
    /// Packets of kind backscatter over IPv4; services are those of the victims that answered. Ranked without comparison.
    pub backscatter: Ranking<Service>,
    /// By sensor group, in order of name; empty without groups.
    pub groups: Vec<Group>,
    /// The ports that each sensor saw most; empty unless switched on.
    pub sensor_ports: Vec<SensorPorts>,
    pub events: Events,
    pub quality: Quality,
    pub notes: Notes,
}

/// The time of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    pub kind: PeriodKind,
    /// `2021-W10`, `2021-03`, `2021-Q1`, or `2021-03-08..2021-03-14`, both days included.
    pub label: String,
    /// IANA name of the zone in which days begin.
    pub zone: String,
    /// First day, as `2021-03-08`.
    pub first: String,
    /// Last day, which belongs to it.
    pub last: String,
    /// Begin, RFC 3339 in UTC.
    pub from: String,
    /// End, which does not belong to it.
    pub to: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeriodKind {
    Week,
    Month,
    Quarter,
    Days,
}

/// What a report is compared with: a time of the same kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    pub period: Period,
    /// The revision of the stored report that previous ranks are taken from; `None` if there is none, so that they are worked out
    /// from history as it is now.
    pub revision: Option<u32>,
    /// Whether all days of that time are known. If not, nothing is compared.
    pub is_known: bool,
}

/// A number that is another than in the revision before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// Where it stands: a JSON pointer (RFC 6901) into the report.
    pub place: String,
    /// What stood there; `None` if nothing did.
    pub before: Option<serde_json::Value>,
    /// What stands there now; `None` if nothing does.
    pub now: Option<serde_json::Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Real,
    Drill,
    Import,
}

/// What was decided before anything was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Rows of tables.
    pub top: u32,
    /// A row that fewer sensors saw is merged into the others. Where it is not known how many did, as of regions, 0.
    pub min_sensors: u32,
    /// As is one of fewer distinct sources.
    pub min_sources: u64,
    /// And one of fewer packets.
    pub min_packets: u64,
    /// Places of the previous period that a previous rank is looked for in.
    pub previous_places: u32,
    /// Whether the ports that each sensor saw are told.
    #[serde(default)]
    pub sensor_ports: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Warning {
    /// Less was watched than the threshold, both in percent of what sensors should have.
    LowCoverage { coverage_percent: f64, threshold_percent: f64 },
    /// Days of the period of which nothing is known.
    MissingDays { days: Vec<String> },
    /// Days of the period that are made again: late data came, or something was excluded.
    UnsettledDays { days: Vec<String> },
    /// A sensor does not know how much it watched: nothing is told per address.
    UnknownExposure,
}

/// How much was watched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exposure {
    /// Sensors that reported.
    pub sensors: u32,
    /// Sensors times days; `None` where a sensor does not know how much it watched, as of capture files.
    pub sensor_days: Option<f64>,
    /// IPv4 addresses times days; `None` as before.
    pub address_days: Option<f64>,
    /// IPv6 prefixes of 64 bits times days; `None` as before.
    pub prefix_days: Option<f64>,
    /// Hours that were watched, of those that sensors of real traffic should have; `None` of drills and imports.
    pub coverage_percent: Option<f64>,
}

/// Distinct sources: addresses of IPv4, /64 prefixes of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sources {
    pub count: u64,
    /// Relative standard error; 0 if it is exact.
    pub error: f64,
}

/// Packets by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kinds {
    pub scan: u64,
    pub backscatter: u64,
    pub other: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    pub exposure: Exposure,
    pub previous_exposure: Option<Exposure>,
    /// Packets over IPv4.
    pub packets: Kinds,
    /// And of the previous period, where it is known.
    pub previous_packets: Option<Kinds>,
    /// `packets` of all kinds against `previous_packets`, in percent; `None` without those, or if they are 0.
    pub change_percent: Option<f64>,
    /// Packets of kind scan per sensor and day.
    pub per_sensor_day: Option<f64>,
    /// Mean over days of each day's distinct sources of kind scan over IPv4, of the days on which they are known.
    pub mean_daily_sources: Option<f64>,
    /// Scans per address and day: all sensors first, then groups by name, then sizes from small to large. Groups and sizes of
    /// fewer sensors than the rules want are not told.
    pub rates: Vec<Rate>,
    /// Of all IP versions and days: what was seen on each, in order.
    pub days: Vec<Day>,
    /// IPv6, where anything was watched or seen.
    pub ipv6: Option<Ipv6>,
}

/// Packets of kind scan per IPv4 address and day of several sensors, each of which counts alike: pooled by address, one large
/// block would drown all single addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    pub of: RateOf,
    /// Sensors that are meant: of those that watched, and know how much.
    pub sensors: u32,
    pub mean: f64,
    /// Quartiles, interpolated between the sensors beside them.
    pub lower_quartile: f64,
    pub median: f64,
    pub upper_quartile: f64,
    /// Sensors with a coverage of at least `quality.least_coverage_percent` in both periods; 0 if they are fewer than the rules want. Without
    /// them nothing is compared.
    pub compared: u32,
    /// Means over those, now and before, and the change in percent.
    pub compared_mean: Option<f64>,
    pub compared_previous: Option<f64>,
    pub change_percent: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum RateOf {
    All,
    Group {
        name: String,
    },
    /// Sensors that watch so many addresses on average, both included; `most` is `None` for no bound.
    Size {
        least: u64,
        most: Option<u64>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Day {
    /// As `2021-03-08`.
    pub date: String,
    pub exposure: Exposure,
    /// Packets over IPv4; `None` where nothing is known of the day.
    pub packets: Option<Kinds>,
    /// Distinct sources of kind scan over IPv4.
    pub sources: Option<Sources>,
    /// Packets of kind scan per sensor and day.
    pub per_sensor_day: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ipv6 {
    pub packets: Kinds,
    /// /64 prefixes of kind scan.
    pub sources: Option<Sources>,
    /// Packets of kind scan per /64 prefix that was watched, and day.
    pub per_prefix_day: Option<f64>,
}

/// A service that packets were for. What it is called is no part of what it is: the register changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Service {
    /// `tcp`, `udp` or `icmp`, or the number of another protocol.
    pub protocol: String,
    /// Port, or type of ICMP.
    pub number: u16,
    /// IANA's name of the port, which does not say what the packets speak.
    pub name: Option<String>,
}

impl PartialEq for Service {
    fn eq(&self, other: &Service) -> bool {
        (&self.protocol, self.number) == (&other.protocol, other.number)
    }
}

impl Eq for Service {}

/// The first of many, the rest as one, and all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranking<K> {
    /// In descending order of packets.
    pub rows: Vec<Ranked<K>>,
    /// What is not listed, and what may not be.
    pub others: Cell,
    /// `rows` and `others` together.
    pub total: Cell,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranked<K> {
    /// From 1 on; rows with as many packets have the same.
    pub rank: u32,
    pub key: K,
    pub cell: Cell,
    /// Distinct sources.
    pub sources: Option<Sources>,
    /// Sensors that saw it, where that is known.
    pub sensors: Option<u32>,
    /// Who watched it, if it is a port that is filtered before some sensors: what is per sensor in `cell` is per sensor of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watching: Option<Watching>,
    pub previous_rank: PreviousRank,
    /// Packets of the previous period, where it is known and they may be told.
    pub previous_packets: Option<u64>,
    /// Change of packets, in percent; `None` without previous packets, or if those are 0.
    pub change_percent: Option<f64>,
}

/// The exposure of a port that is filtered before some sensors: that of the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watching {
    pub sensors: u32,
    /// As in [`Exposure`].
    pub sensor_days: Option<f64>,
    /// The same for each day of the overview.
    pub daily: Vec<Option<f64>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    pub packets: u64,
    /// Of `total.packets`, in percent.
    pub share_percent: Option<f64>,
    /// Packets per sensor and day: of sensors that watched it, where not all did.
    pub per_sensor_day: Option<f64>,
    /// The same for each day of the overview; `None` where nothing is known of the day. None at all are told of a row with fewer packets
    /// on a day than the rules want, and then of the others, which would tell them.
    pub daily: Vec<Option<Daily>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Daily {
    pub packets: u64,
    /// `None` where nothing was watched.
    pub per_sensor: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum PreviousRank {
    Place {
        rank: u32,
    },
    /// Not among [`Rules::previous_places`].
    Outside,
    /// Nothing is known of the previous period.
    Unknown,
}

/// The ports that changed most; all empty if nothing is known of the previous period.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Movers {
    /// By packets, the largest change first.
    pub packets_up: Vec<Mover>,
    pub packets_down: Vec<Mover>,
    /// By distinct sources: sums of each day's.
    pub sources_up: Vec<Mover>,
    pub sources_down: Vec<Mover>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mover {
    pub service: Service,
    pub packets: u64,
    pub previous_packets: u64,
    /// Sums of each day's distinct sources, where they are known.
    pub daily_sources: Option<u64>,
    pub previous_daily_sources: Option<u64>,
    /// Of what it is listed for, in percent; `None` if that was 0.
    pub change_percent: Option<f64>,
}

/// Who scanned, over IPv4, kind scan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Populations {
    /// All packets and sources of the kind.
    pub all: Population,
    /// Marks of packets: what tools leave in a packet (docs/fingerprints.md).
    pub marks: Vec<Population>,
    /// Sources of which a tool is confirmed. `None` where the period is not made of UTC days, by which that is known.
    pub confirmed: Option<Vec<Population>>,
    /// Known scanners, by list.
    pub known_scanners: Vec<Population>,
    /// Sources, on no list of known scanners, of 10 ports or more a day. `None` as before, and where they are too few to be told.
    pub multi_port: Option<Population>,
    /// Ports with the most packets that carry Mirai's mark.
    pub mirai_ports: Vec<MiraiPort>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Population {
    /// The mark's, tool's or list's name.
    pub name: String,
    pub packets: u64,
    /// Of all packets, in percent.
    pub packets_percent: Option<f64>,
    pub sources: Option<Sources>,
    /// Of all sources, in percent.
    pub sources_percent: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MiraiPort {
    pub service: Service,
    /// With the mark.
    pub marked_packets: u64,
    /// With and without.
    pub packets: u64,
    pub percent: Option<f64>,
    /// Distinct sources of those with the mark.
    pub sources: Option<Sources>,
}

/// A group of sensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    pub exposure: Exposure,
    /// Packets over IPv4.
    pub packets: Kinds,
    /// Of kind scan.
    pub per_sensor_day: Option<f64>,
    pub previous_per_sensor_day: Option<f64>,
    pub change_percent: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SensorPorts {
    /// Its number: names of sensors are not told.
    pub sensor: u32,
    pub group: Option<String>,
    /// Ports that at least [`Rules::min_sensors`] sensors saw.
    pub ports: Vec<SensorPort>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SensorPort {
    pub rank: u32,
    pub service: Service,
    pub packets: u64,
}

/// What was called an outbreak or a surge in the period, and what analysts said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// Those that an analyst has assessed, by onset.
    pub assessed: Vec<Event>,
    /// How many others there were that nobody has assessed.
    pub unassessed: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub id: String,
    /// `surge` or `outbreak`.
    #[serde(rename = "type")]
    pub event_type: String,
    pub service: Service,
    /// Population that it was seen in: a mark's name, or `none`.
    pub mark: String,
    pub severity: String,
    /// RFC 3339 in UTC.
    pub onset: String,
    pub detected: String,
    pub ended: Option<String>,
    /// Of an outbreak.
    pub rate_per_hour: Option<Estimate>,
    pub doubling_seconds: Option<Estimate>,
    /// The analyst's note, from the file of comments.
    pub note: Option<Text>,
}

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub value: Option<f64>,
    pub low: f64,
    pub high: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// A sensor below it is left out of comparisons.
    pub least_coverage_percent: f64,
    /// By number.
    pub sensors: Vec<SensorQuality>,
    /// Days of which nothing is known, as `2021-03-08`, UTC.
    pub missing_days: Vec<String>,
    /// Packets that the operator left out.
    pub excluded_packets: u64,
    /// Packets of whose sources only the network is left.
    pub coarse_packets: u64,
    /// Services that were too many to be told apart on a day.
    pub folded_services: u64,
    /// The largest relative standard error of distinct sources in this report; 0 if all are exact.
    pub largest_error: f64,
    /// What regions were looked up in when the rows were archived; empty where that is not known.
    pub region_data: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SensorQuality {
    /// Its number: names of sensors are not told.
    pub sensor: u32,
    pub group: Option<String>,
    pub coverage_percent: Option<f64>,
    /// Packets, of which it is known that they were not counted: by kernel, interface, and spool.
    pub kernel_drops: u64,
    pub interface_drops: u64,
    pub lost_packets: u64,
}

/// What an analyst wrote: empty where nobody has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Notes {
    /// On the whole.
    pub comment: Option<Text>,
    /// On what was noteworthy.
    pub phenomena: Option<Text>,
}

/// A text by language, as `en`; a language that has none gets the one of another, with its name.
pub type Text = BTreeMap<String, String>;
