//! Shapes that answers from history share.

use jiff::Timestamp;
use martlet_telemetry::counters::to_f64;
use martlet_window::{Class, IpVersion, Kind, Marks, Service};
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::super::json::{Distinct, NamedPort, Time, class_schema, ip_number, words};
use super::{HistoryAsked, Refusal};
use crate::labels::Group;
use crate::live::ServiceKey;
use crate::rollup::query::{Basis, Exposure, ServiceTotals, Sum, Unknown};
use crate::rollup::{DAY_SECONDS, GRACE_SECONDS, week_of};

/// A UTC day, in days since the Unix epoch; written as a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Day(pub(super) i64);

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = Timestamp::from_second(self.0.saturating_mul(DAY_SECONDS)).map_err(serde::ser::Error::custom)?;
        serializer.collect_str(&time.to_zoned(jiff::tz::TimeZone::UTC).date())
    }
}

impl PartialSchema for Day {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Date);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl ToSchema for Day {}

/// What an answer from history begins with.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryHead {
    /// `real`, `drill` or `import`.
    #[schema(schema_with = class_schema)]
    class: &'static str,
    /// Begin of the time that is counted.
    from: Time,
    /// Its end, which is not in it.
    to: Time,
    /// The time zone whose days are meant.
    zone: String,
    /// The group of sensors that was asked for, if one was.
    group: Option<String>,
    /// The IP version that was asked for, if one was.
    ip: Option<u8>,
    /// The IP protocol that was asked for, if one was.
    protocol: Option<u8>,
    /// The kind that was asked for, if one was.
    #[schema(schema_with = kind_or_null)]
    kind: Option<&'static str>,
    /// What stands behind the figures.
    basis: BasisShape,
}

pub(super) fn kind_or_null() -> Schema {
    let object = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null]));
    let kinds = Kind::ALL.map(|kind| serde_json::Value::from(kind.name()));
    object.enum_values(Some(kinds.into_iter().chain([serde_json::Value::Null]))).into()
}

/// What stands behind the figures of a time: how much of it is known, and what they are to be divided by.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryBasis)]
pub(super) struct BasisShape {
    /// The state of history; it goes up with every change of any day.
    generation: u64,
    /// UTC days that the time touches.
    days: usize,
    /// Those of them of which nothing is known, as ranges; the end is not in it.
    missing_days: Vec<DayRange>,
    /// Days that will be made again, since something came late or was excluded.
    pending_days: Vec<Day>,
    /// Packets, in whole UTC days, that exclusions left out.
    excluded_packets: u64,
    /// Packets, in whole UTC days, of whose sources only the network is known: distinct sources count each network once.
    coarse_packets: u64,
    /// Services that are not told apart, since a day had too many: their packets are in all sums.
    folded_services: u64,
    #[serde(flatten)]
    exposure: ExposureShape,
    /// Sensors that watched.
    sensors: usize,
    /// How much of the time those sensors watched, from 0 to 1; null where none did.
    watched_share: Option<f64>,
    /// Which week this is; null if it is none, or not of a zone whose weeks are closed.
    week: Option<Week>,
}

/// Some days.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DayRange {
    /// The first one.
    from: Day,
    /// The day behind the last one.
    to: Day,
}

/// A week as it is published.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryWeek)]
pub(super) struct Week {
    /// `open`: it will be closed; `closed`: figures are those of the revision; `changing`: a later revision follows.
    #[schema(schema_with = week_states)]
    state: &'static str,
    /// The newest revision, from 1 on; null while it is open.
    revision: Option<i64>,
    /// When that was made.
    closed: Option<Time>,
    /// When it is closed for the first time, at the earliest.
    closes: Time,
}

fn week_states() -> Schema {
    words(&["open", "closed", "changing"])
}

/// How much was watched, and what of it was lost.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryWatched)]
pub(super) struct ExposureShape {
    /// Sensors times days that they watched.
    sensor_days: f64,
    /// IPv4 addresses times days watched; null where a sensor does not know.
    ipv4_address_days: Option<f64>,
    /// IPv6 /64 prefixes times days watched; null where a sensor does not know.
    ipv6_prefix_days: Option<f64>,
    /// Whether an hour at the begin or end of the time counts in part, shared out evenly.
    exposure_shared: bool,
    /// Frames that kernels dropped.
    kernel_drops: u64,
    /// Frames that interfaces dropped.
    interface_drops: u64,
    /// Packets that sensors said they lost.
    lost_packets: u64,
    /// Windows that sensors said they lost.
    lost_windows: u64,
}

impl From<&Exposure> for ExposureShape {
    fn from(exposure: &Exposure) -> ExposureShape {
        ExposureShape {
            sensor_days: exposure.sensor_days(),
            ipv4_address_days: exposure.address_days(IpVersion::V4),
            ipv6_prefix_days: exposure.address_days(IpVersion::V6),
            exposure_shared: exposure.is_shared,
            kernel_drops: exposure.kernel_drops,
            interface_drops: exposure.interface_drops,
            lost_packets: exposure.lost_packets,
            lost_windows: exposure.lost_windows,
        }
    }
}

impl HistoryHead {
    pub(super) fn of(asked: &HistoryAsked<'_>) -> Result<HistoryHead, Refusal> {
        let HistoryAsked { filter, basis, .. } = asked;
        Ok(HistoryHead {
            class: filter.class.name(),
            from: Time(basis.span.from()),
            to: Time(basis.span.to()),
            zone: asked.zone.name().to_owned(),
            group: asked.query.wanted.group.as_ref().map(Group::to_string),
            ip: filter.ip.map(ip_number),
            protocol: filter.protocol,
            kind: filter.kind.map(Kind::name),
            basis: BasisShape::of(asked, basis)?,
        })
    }

    /// The state of history.
    pub(super) const fn generation(&self) -> u64 {
        self.basis.generation
    }
}

impl BasisShape {
    pub(super) fn of(asked: &HistoryAsked<'_>, basis: &Basis) -> Result<BasisShape, Refusal> {
        let (from, to) = (basis.span.from(), basis.span.to());
        let mut missing: Vec<DayRange> = Vec::new();
        for &day in &basis.missing_days {
            match missing.last_mut() {
                Some(range) if range.to.0 == day => range.to = Day(day + 1),
                _ => missing.push(DayRange { from: Day(day), to: Day(day + 1) }),
            }
        }
        let sensors = basis.sensors.len();
        let possible = days(to - from) * f64::from(u32::try_from(sensors).unwrap_or(u32::MAX));
        let watched_share = (sensors > 0).then(|| (basis.exposure.sensor_days() / possible).min(1.0));
        Ok(BasisShape {
            generation: basis.generation.unsigned_abs(),
            days: usize::try_from((to - 1).div_euclid(DAY_SECONDS) - from.div_euclid(DAY_SECONDS) + 1).unwrap_or(0),
            missing_days: missing,
            pending_days: basis.dirty_days.iter().copied().map(Day).collect(),
            excluded_packets: basis.excluded_packets,
            coarse_packets: basis.coarse_packets,
            folded_services: basis.folded_services,
            exposure: ExposureShape::from(&basis.exposure),
            sensors,
            watched_share,
            week: week(asked, basis)?,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of days with a few digits")]
fn days(seconds: i64) -> f64 {
    seconds as f64 / DAY_SECONDS as f64
}

fn week(asked: &HistoryAsked<'_>, basis: &Basis) -> Result<Option<Week>, Refusal> {
    let span = basis.span;
    let is_week = week_of(asked.zone, span.from()) == Some(span.from()..span.to());
    if !is_week || !asked.snapshot.closes_weeks(asked.zone)? {
        return Ok(None);
    }
    let closes = Time(span.to().saturating_add(GRACE_SECONDS));
    let newest = asked.snapshot.weeks(asked.zone, span)?.into_iter().next();
    Ok(Some(match newest {
        None => Week { state: "open", revision: None, closed: None, closes },
        Some(week) => Week {
            state: if basis.dirty_days.is_empty() { "closed" } else { "changing" },
            revision: Some(week.revision),
            closed: Some(Time(week.closed_ms.div_euclid(1000))),
            closes,
        },
    }))
}

/// Packets, bytes and sources of something.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryCounts)]
pub(super) struct Counts {
    /// Packets.
    packets: u64,
    /// Their IP total lengths; null where the time is not made of whole UTC days.
    bytes: Option<u64>,
    /// Sources; null where the time is not made of whole days of a configured zone.
    sources: Option<Distinct>,
}

impl From<&Sum> for Counts {
    fn from(sum: &Sum) -> Counts {
        Counts { packets: sum.packets(), bytes: sum.bytes().ok(), sources: sum.sources().ok().map(Distinct::from) }
    }
}

/// Of everything that matches, and why a figure is not known.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryTotals)]
pub(super) struct Totals {
    #[serde(flatten)]
    counts: Counts,
    /// Why bytes are null.
    bytes_unknown: Option<&'static str>,
    /// Why sources are null.
    sources_unknown: Option<&'static str>,
}

impl From<&Sum> for Totals {
    fn from(sum: &Sum) -> Totals {
        Totals {
            counts: Counts::from(sum),
            bytes_unknown: sum.bytes().err().map(Unknown::reason),
            sources_unknown: sum.sources().err().map(Unknown::reason),
        }
    }
}

/// Packets by kind.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryKinds)]
pub(super) struct Kinds {
    /// Attempts to reach the port.
    scan: u64,
    /// Answers to forged packets.
    backscatter: u64,
    /// Neither.
    other: u64,
}

impl From<[u64; 3]> for Kinds {
    fn from([scan, backscatter, other]: [u64; 3]) -> Kinds {
        Kinds { scan, backscatter, other }
    }
}

/// What a number of packets comes to for each address that was watched.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryRates)]
pub(super) struct Rates {
    /// For each IPv4 address and day; null of IPv6, where nothing was watched, and where nobody knows how much.
    packets_per_address_day: Option<f64>,
    /// For each IPv6 /64 prefix and day; null of IPv4.
    packets_per_prefix_day: Option<f64>,
}

impl Rates {
    /// Of packets of one version; of both there is none.
    pub(super) fn new(exposure: &Exposure, packets: u64, ip: Option<IpVersion>) -> Rates {
        let rate = |of: IpVersion| exposure.rate(packets, of).filter(|_| ip == Some(of));
        Rates { packets_per_address_day: rate(IpVersion::V4), packets_per_prefix_day: rate(IpVersion::V6) }
    }

    /// Of packets over address days and prefix days, where those are known, are not 0, and are of the packets' version.
    pub(super) fn over(packets: u64, ipv4: Option<f64>, ipv6: Option<f64>) -> Rates {
        let rate = |days: f64| to_f64(packets) / days;
        Rates { packets_per_address_day: ipv4.map(rate), packets_per_prefix_day: ipv6.map(rate) }
    }
}

/// A port.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryPort {
    #[serde(flatten)]
    port: NamedPort,
    #[serde(flatten)]
    counts: Counts,
    /// Sum of the sources of each day of the zone; null where the time is not made of such days.
    daily_sources: Option<u64>,
    /// Sensors that saw it on one day, for one kind: the most.
    sensors: u64,
    /// Packets by kind.
    kinds: Kinds,
    #[serde(flatten)]
    rates: Rates,
}

/// Columns of a port.
pub(super) const PORT_COLUMNS: [&str; 17] = [
    "ip",
    "protocol",
    "protocol_name",
    "port",
    "service",
    "packets",
    "bytes",
    "sources.count",
    "sources.exact",
    "sources.error",
    "daily_sources",
    "sensors",
    "kinds.scan",
    "kinds.backscatter",
    "kinds.other",
    "packets_per_address_day",
    "packets_per_prefix_day",
];

impl HistoryPort {
    /// `None` of what has no port.
    pub(super) fn of(totals: &ServiceTotals, exposure: &Exposure) -> Option<HistoryPort> {
        let class = totals.service.class()?;
        let Service::Port(port) = class.service else { return None };
        Some(HistoryPort {
            port: NamedPort::new(class.ip, class.protocol, port),
            counts: Counts::from(&totals.sum),
            daily_sources: totals.daily_sources.ok(),
            sensors: totals.sensors,
            kinds: Kinds::from(totals.kinds),
            rates: Rates::new(exposure, totals.sum.packets(), Some(class.ip)),
        })
    }
}

/// The key of a port.
pub(super) fn port_key(ip: IpVersion, protocol: u8, port: u16) -> ServiceKey {
    let class = Class { ip, protocol, service: Service::Port(port), kind: Kind::Scan, marks: Marks::NONE };
    ServiceKey::new(class.into())
}
