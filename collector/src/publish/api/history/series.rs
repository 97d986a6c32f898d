//! `/api/v1/history/series`: how something went over time.

use std::cmp::Reverse;

use martlet_window::{IpVersion, Kind, Service};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::endpoint::About;
use super::super::format::Table;
use super::super::json::{Distinct, Time, ip_number, words};
use super::super::parameter::{GroupBy as Wanted, Parameter};
use super::shapes::{Rates, port_key};
use super::{HistoryAsked, HistoryPath, Refusal, about, step};
use crate::publish::services::protocol_name;
use crate::rollup::Order;
use crate::rollup::query::{GroupBy, Grouping, Series as Found, SeriesKey, Step, Which};

/// The path.
pub(super) struct Path;

/// How something went over time.
#[derive(Serialize, ToSchema)]
#[schema(as = HistorySeries)]
pub(super) struct Body {
    /// The IP version that was asked for.
    #[serde(skip)]
    ip: Option<u8>,
    /// What there is a series of each.
    #[schema(schema_with = grouped_schema)]
    group_by: &'static str,
    /// Length of a step; null where steps are days of the zone.
    step_seconds: Option<i64>,
    /// Begin of each step.
    starts: Vec<Time>,
    /// IPv4 addresses times days watched, by step; null where a sensor does not know.
    ipv4_address_days: Vec<Option<f64>>,
    /// IPv6 /64 prefixes times days watched, by step; null where a sensor does not know.
    ipv6_prefix_days: Vec<Option<f64>>,
    /// The series with the most packets first.
    series: Vec<Series>,
    /// How many are left out, by `limit`.
    series_left_out: usize,
}

fn grouped_schema() -> utoipa::openapi::Schema {
    words(&Wanted::ALL.map(Wanted::name))
}

/// One series.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryOneSeries)]
pub(super) struct Series {
    /// What it is of: `all`, a kind, a region and so on; of a port such as `tcp/23`.
    name: String,
    /// Of a port: 4 or 6.
    ip: Option<u8>,
    /// Of a port: its IP protocol.
    protocol: Option<u8>,
    /// Of a port: its number.
    port: Option<u16>,
    /// All packets.
    total: u64,
    /// Packets by step.
    packets: Vec<u64>,
    /// Sources by step; null unless `sources=yes` asks for them and steps are whole days of a configured zone.
    sources: Option<Vec<Distinct>>,
}

/// One step of one series.
#[derive(Serialize, ToSchema)]
#[schema(as = HistorySeriesRow)]
pub(super) struct Row {
    /// What the series is of.
    name: String,
    /// 4 or 6, of a port.
    ip: Option<u8>,
    /// Start of the step.
    start: Time,
    /// Packets.
    packets: u64,
    /// Sources, if they were asked for and are known.
    sources: Option<Distinct>,
    #[serde(flatten)]
    rates: Rates,
}

impl HistoryPath for Path {
    const ABOUT: About = about(
        "history/series",
        "How something went over time",
        &[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Group,
            Parameter::Step,
            Parameter::Kind,
            Parameter::Zone,
            Parameter::Ip,
            Parameter::Protocol,
            Parameter::Port,
            Parameter::GroupBy,
            Parameter::Sources,
            Parameter::Limit,
            Parameter::Format,
        ],
    );
    type Body = Body;

    fn answer(asked: &HistoryAsked<'_>) -> Result<Body, Refusal> {
        let HistoryAsked { snapshot, query, span, .. } = *asked;
        let wanted = query.wanted.group_by.unwrap_or(Wanted::None);
        let (filter, group_by) = group_by(asked, wanted)?;
        let step = step(asked)?;
        let with_sources = query.wanted.sources.unwrap_or(false);
        let list = snapshot.series(&filter, span, &step, &group_by, with_sources)?;
        let exposures = snapshot.exposure_by_step(&filter, span, &list.starts)?;
        let mut series: Vec<Series> = list.series.into_iter().map(one).collect();
        series.sort_by(|a, b| (Reverse(a.total), &a.name, a.ip).cmp(&(Reverse(b.total), &b.name, b.ip)));
        let series_left_out = series.len().saturating_sub(query.limit);
        series.truncate(query.limit);
        Ok(Body {
            ip: asked.filter.ip.map(ip_number),
            group_by: wanted.name(),
            step_seconds: match step {
                Step::Seconds(seconds) => Some(seconds),
                Step::Days(_) => None,
            },
            starts: list.starts.into_iter().map(Time).collect(),
            ipv4_address_days: exposures.iter().map(|exposure| exposure.address_days(IpVersion::V4)).collect(),
            ipv6_prefix_days: exposures.iter().map(|exposure| exposure.address_days(IpVersion::V6)).collect(),
            series,
            series_left_out,
        })
    }
}

/// What is to be told apart, of what.
fn group_by(asked: &HistoryAsked<'_>, wanted: Wanted) -> Result<(crate::rollup::query::Filter, GroupBy), Refusal> {
    let service = asked.service();
    let without_protocol = asked.without_protocol();
    Ok(match (wanted, service) {
        (Wanted::None | Wanted::Port, Some(_)) => {
            let (protocol, port) = (asked.query.wanted.protocol.unwrap_or(0), asked.query.wanted.port.unwrap_or(0));
            let versions = [IpVersion::V4, IpVersion::V6].into_iter();
            let versions = versions.filter(|ip| asked.filter.ip.is_none_or(|only| only == *ip));
            (asked.filter, GroupBy::Services(versions.map(|ip| port_key(ip, protocol, port)).collect()))
        }
        (Wanted::None, None) => (asked.filter, GroupBy::Nothing),
        (Wanted::Port, None) => {
            let HistoryAsked { snapshot, query, filter, span, zone, .. } = asked;
            let list = snapshot.services(filter, *span, zone, Which::Ports, Order::Packets, query.limit)?;
            (*filter, GroupBy::Services(list.services.iter().map(|entry| entry.service).collect()))
        }
        (Wanted::Kind, _) => (asked.filter, GroupBy::Kind),
        (Wanted::Dimension(dimension), None) => (asked.filter, GroupBy::Dimension(dimension, Grouping::All)),
        (Wanted::Dimension(dimension), Some(service)) => {
            (without_protocol, GroupBy::Dimension(dimension, Grouping::Service(service)))
        }
    })
}

fn one(found: Found) -> Series {
    let Found { key, packets, sources } = found;
    let total = packets.iter().fold(0, |sum: u64, &packets| sum.saturating_add(packets));
    let (mut ip, mut protocol, mut port) = (None, None, None);
    let name = match key {
        SeriesKey::All => "all".to_owned(),
        SeriesKey::Kind(kind) => Kind::name(kind).to_owned(),
        SeriesKey::Name(name) => name,
        SeriesKey::Service(service) => {
            let class = service.class();
            let number = class.and_then(|class| match class.service {
                Service::Port(port) => Some(port),
                _ => None,
            });
            (ip, protocol, port) = (class.map(|c| ip_number(c.ip)), class.map(|c| c.protocol), number);
            format!("{}/{}", protocol_name(protocol.unwrap_or(0)), port.unwrap_or(0))
        }
    };
    let sources = sources.ok().map(|sources| sources.into_iter().map(Distinct::from).collect());
    Series { name, ip, protocol, port, total, packets, sources }
}

impl Table for Body {
    type Row = Row;
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "ip",
        "start",
        "packets",
        "sources.count",
        "sources.exact",
        "sources.error",
        "packets_per_address_day",
        "packets_per_prefix_day",
    ];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.series.iter().flat_map(|series| {
            (0..self.starts.len()).map(|place| {
                let packets = series.packets[place];
                let exposure = [(4, &self.ipv4_address_days), (6, &self.ipv6_prefix_days)];
                let only = series.ip.or(self.ip);
                let [v4, v6] = exposure.map(|(ip, days)| days[place].filter(|days| only == Some(ip) && *days > 0.0));
                Row {
                    name: series.name.clone(),
                    ip: series.ip,
                    start: self.starts[place],
                    packets,
                    sources: series.sources.as_ref().map(|sources| sources[place]),
                    rates: Rates::over(packets, v4, v6),
                }
            })
        })
    }
}
