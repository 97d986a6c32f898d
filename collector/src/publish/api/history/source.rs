//! `/api/v1/history/source`: what one source did, everywhere, from the archive.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;

use martlet_window::{Mark, Service};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::super::problem::Problem;
use super::super::endpoint::About;
use super::super::format::Table;
use super::super::json::Time;
use super::super::parameter::Parameter;
use super::files::{Owner, over_files};
use super::shapes::{Day, Kinds};
use super::{HistoryAsked, HistoryPath, Refusal, about};
use crate::archive::{Labels, Network, Row, Search};
use crate::publish::services::{protocol_name, service};
use crate::rollup::{DAY_SECONDS, RollupError};

/// So many days are looked for a source at once.
const MOST_DAYS: i64 = 400;

/// The path.
pub(super) struct Path;

/// What one source did.
#[derive(Serialize, ToSchema)]
#[schema(as = HistorySourceDetail)]
pub(super) struct Body {
    /// The source.
    #[schema(value_type = String)]
    address: IpAddr,
    /// Packets that were archived with this address.
    packets: u64,
    /// Their IP total lengths.
    bytes: u64,
    /// Packets by kind.
    kinds: Kinds,
    /// Start of the first window with them; null if there is none.
    first_window: Option<Time>,
    /// Start of the last one.
    last_window: Option<Time>,
    /// Sensors that saw it.
    sensors: usize,
    /// Marks of its packets.
    marks: Vec<&'static str>,
    /// Whom the address belonged to, as known when its packets were archived; the newest first.
    owners: Vec<Owner>,
    /// Services by packets, descending.
    services: Vec<Entry>,
    /// How many are left out, by `limit`.
    services_left_out: usize,
    /// Packets by UTC day, of days with any.
    days: Vec<OfDay>,
    /// Packets of its /24 or /48 of which no more is left of the source; they may be of others.
    network_packets: u64,
    /// Row groups of the archive's files that the time touches.
    row_groups: u64,
    /// Those that had to be read.
    row_groups_read: u64,
}

/// A service.
#[derive(Serialize, ToSchema)]
#[schema(as = HistorySourceService)]
pub(super) struct Entry {
    /// IP protocol number.
    protocol: u8,
    /// Its name in lower case, or the number as text.
    protocol_name: String,
    /// The port; null of what has none.
    port: Option<u16>,
    /// The IANA name of a port that is often scanned.
    service: Option<&'static str>,
    /// The type of an ICMP or ICMPv6 message.
    icmp_type: Option<u8>,
    /// Packets.
    packets: u64,
    /// Start of the first window with them.
    first_window: Time,
    /// Start of the last one.
    last_window: Time,
}

/// A day.
#[derive(Serialize, ToSchema)]
#[schema(as = HistorySourceDay)]
struct OfDay {
    /// The UTC day.
    date: Day,
    /// Packets.
    packets: u64,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    packets: u64,
    first: i64,
    last: i64,
}

impl Sum {
    fn add(&mut self, row: &Row) {
        if self.packets == 0 {
            (self.first, self.last) = (row.start, row.start);
        }
        self.packets = self.packets.saturating_add(row.packets);
        (self.first, self.last) = (self.first.min(row.start), self.last.max(row.start));
    }
}

#[derive(Default)]
struct Found {
    all: Sum,
    bytes: u64,
    kinds: [u64; 3],
    sensors: BTreeSet<std::sync::Arc<str>>,
    marks: BTreeSet<Mark>,
    owners: Vec<(i64, Owner)>,
    services: BTreeMap<(u8, Option<u16>, Option<u8>), Sum>,
    days: BTreeMap<i64, u64>,
    network_packets: u64,
}

impl HistoryPath for Path {
    const ABOUT: About = about(
        "history/source",
        "What one source did, everywhere",
        &[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Kind,
            Parameter::Address,
            Parameter::Limit,
            Parameter::Format,
        ],
    );
    type Body = Body;

    fn answer(asked: &HistoryAsked<'_>) -> Result<Body, Refusal> {
        let HistoryAsked { query, span, .. } = *asked;
        let address = query.wanted.address.ok_or_else(|| Problem::unfit("address", "given"))?;
        if span.to() - span.from() > MOST_DAYS * DAY_SECONDS {
            return Err(Problem::unfit("from", format!("within {MOST_DAYS} days before `to`")).into());
        }
        let begin = || (Found::default(), Search::new(address), Labels::default());
        let (found, search, _) = over_files(asked, begin, |(found, search, labels), path| {
            let see = &mut |row: &Row, labels: &Labels| found.see(asked, row, labels);
            Ok(search.file(path, labels, see).map_err(RollupError::Archive)?)
        })?;
        Ok(found.answer(query.limit, address, &search))
    }
}

impl Found {
    fn see(&mut self, asked: &HistoryAsked<'_>, row: &Row, labels: &Labels) {
        let (observer, network) = (labels.observer(row.observer), labels.network(row.network));
        let class = row.class.unpack();
        let is_meant = observer.class == asked.query.class
            && (asked.span.from()..asked.span.to()).contains(&row.start)
            && asked.filter.kind.is_none_or(|kind| kind == class.kind);
        if !is_meant {
            return;
        }
        if network.is_coarse {
            self.network_packets = self.network_packets.saturating_add(row.packets);
            return;
        }
        self.all.add(row);
        self.bytes = self.bytes.saturating_add(row.bytes);
        let of_kind = &mut self.kinds[class.kind as usize];
        *of_kind = of_kind.saturating_add(row.packets);
        self.sensors.insert(observer.sensor.clone());
        self.marks.extend(class.marks.iter());
        let (port, icmp_type) = match class.service {
            Service::Port(port) => (Some(port), None),
            Service::Icmp { icmp_type, .. } | Service::IcmpError { icmp_type, .. } => (None, Some(icmp_type)),
            Service::None => (None, None),
        };
        self.services.entry((class.protocol, port, icmp_type)).or_default().add(row);
        let of_day = self.days.entry(row.day()).or_default();
        *of_day = of_day.saturating_add(row.packets);
        self.own(row.start, network);
    }

    fn own(&mut self, start: i64, network: &Network) {
        let owner = Owner::from(network);
        match self.owners.iter_mut().find(|(_, known)| *known == owner) {
            Some((last, _)) => *last = start.max(*last),
            None => self.owners.push((start, owner)),
        }
    }

    fn answer(mut self, limit: usize, address: IpAddr, search: &Search) -> Body {
        self.owners.sort_by_key(|(last, _)| std::cmp::Reverse(*last));
        let entry = |((protocol, port, icmp_type), sum): (&(u8, Option<u16>, Option<u8>), &Sum)| Entry {
            protocol: *protocol,
            protocol_name: protocol_name(*protocol),
            port: *port,
            service: port.and_then(|port| service(*protocol, port)),
            icmp_type: *icmp_type,
            packets: sum.packets,
            first_window: Time(sum.first),
            last_window: Time(sum.last),
        };
        let mut services: Vec<Entry> = self.services.iter().map(entry).collect();
        services.sort_by_key(|entry| (std::cmp::Reverse(entry.packets), entry.protocol, entry.port, entry.icmp_type));
        let services_left_out = services.len().saturating_sub(limit);
        services.truncate(limit);
        let window = |time: i64| (self.all.packets > 0).then_some(Time(time));
        Body {
            address,
            packets: self.all.packets,
            bytes: self.bytes,
            kinds: Kinds::from(self.kinds),
            first_window: window(self.all.first),
            last_window: window(self.all.last),
            sensors: self.sensors.len(),
            marks: self.marks.iter().map(|mark| mark.name()).collect(),
            owners: self.owners.into_iter().map(|(_, owner)| owner).collect(),
            services,
            services_left_out,
            days: self.days.into_iter().map(|(day, packets)| OfDay { date: Day(day), packets }).collect(),
            network_packets: self.network_packets,
            row_groups: search.groups,
            row_groups_read: search.groups_read,
        }
    }
}

impl Table for Body {
    type Row = Entry;
    const COLUMNS: &'static [&'static str] =
        &["protocol", "protocol_name", "port", "service", "icmp_type", "packets", "first_window", "last_window"];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.services.iter()
    }
}
