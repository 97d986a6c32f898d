//! `/api/v1/history/port-sources`: whose packets concerned one port, from the archive.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use martlet_window::{IpVersion, address_from_bits};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::super::problem::Problem;
use super::super::endpoint::About;
use super::super::format::Table;
use super::super::json::{Distinct, Time};
use super::super::parameter::Parameter;
use super::files::{Owner, over_files};
use super::{HistoryAsked, HistoryPath, Refusal, about, of_one_version};
use crate::archive::{COARSE_V4, COARSE_V6, Labels, PortSearch, Row, coarse};
use crate::rollup::query::Filter;
use crate::rollup::{DAY_SECONDS, RollupError};

/// So many days are looked through at once.
const MOST_DAYS: i64 = 92;
/// Sources that are told apart, some 250 bytes each while the answer is made, if each has a network of its own; of a port with more only
/// a shorter time can be asked about.
const MOST_SOURCES: usize = 1 << 19;
/// After so many rows the clock is looked at.
const ROWS_BETWEEN_LOOKS: u64 = 1 << 16;

/// The path.
pub(super) struct Path;

/// Whose packets concerned one port: who looked for it, or, of backscatter, who answered from it.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryPortSources)]
pub(super) struct Body {
    /// The port that was asked for.
    port: u16,
    /// Packets of known sources.
    packets: u64,
    /// Their sources.
    distinct: Distinct,
    /// Packets of whose sources only the network is left.
    network_packets: u64,
    /// The /24 or /48 of sources, by packets, descending.
    networks: Vec<NetworkEntry>,
    /// How many are left out, by `limit`.
    networks_left_out: usize,
    /// Sources by packets, descending.
    sources: Vec<Entry>,
    /// How many are left out, by `limit`.
    sources_left_out: usize,
    /// Row groups of the archive's files that the time touches.
    row_groups: u64,
    /// Those that had to be read.
    row_groups_read: u64,
}

/// A network.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryPortNetwork)]
struct NetworkEntry {
    /// A /24 or /48.
    #[schema(value_type = String)]
    network: IpNet,
    /// Packets.
    packets: u64,
    /// Sources in it; null where only the network is left of some.
    sources: Option<u64>,
    /// Whom its heaviest source belonged to, as known when its packets were archived.
    #[serde(flatten)]
    owner: Owner,
}

/// A source.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryPortSource)]
pub(super) struct Entry {
    /// Its address; `0.0.0.0` and `::` stand for sources that a sensor masked, too.
    #[schema(value_type = String)]
    address: IpAddr,
    /// Packets.
    packets: u64,
    /// Start of the first window with them.
    first_window: Time,
    /// Start of the last one.
    last_window: Time,
    /// Whom it belonged to, as known when its packets were archived, the last time.
    #[serde(flatten)]
    owner: Owner,
}

#[derive(Clone, Copy)]
struct Sum {
    packets: u64,
    first: i64,
    last: i64,
    /// Whose it is, as the labels number it.
    network: u32,
}

#[derive(Default)]
struct Found {
    sources: HashMap<u128, Sum, foldhash::fast::RandomState>,
    /// Packets of networks of which only that is left.
    coarse: HashMap<u128, (u64, u32), foldhash::fast::RandomState>,
    rows: u64,
    /// There is too much to go on.
    is_too_much: bool,
}

impl HistoryPath for Path {
    const ABOUT: About = about(
        "history/port-sources",
        "Whose packets concerned one port: with kind=scan, who looked for it",
        &[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Kind,
            Parameter::Ip,
            Parameter::Protocol,
            Parameter::Port,
            Parameter::Limit,
            Parameter::Format,
        ],
    );
    type Body = Body;

    fn filter(filter: Filter) -> Filter {
        of_one_version(filter)
    }

    fn answer(asked: &HistoryAsked<'_>) -> Result<Body, Refusal> {
        let HistoryAsked { query, span, .. } = *asked;
        let wanted = &query.wanted;
        let given = wanted.protocol.zip(wanted.port);
        let (protocol, port) = given.ok_or_else(|| Problem::unfit("port", "given, with `protocol`"))?;
        if span.to() - span.from() > MOST_DAYS * DAY_SECONDS {
            return Err(Problem::unfit("from", format!("within {MOST_DAYS} days before `to`")).into());
        }
        let ip = asked.filter.ip.unwrap_or(IpVersion::V4);
        let begin = || (Found::default(), PortSearch::new(ip, protocol, port), Labels::default());
        let (found, search, labels) = over_files(asked, begin, |(found, search, labels), path| {
            search
                .file(path, labels, &mut |row, labels| found.see(asked, row, labels))
                .map_err(RollupError::Archive)?;
            if found.is_too_much { Err(RollupError::TooLong.into()) } else { Ok(()) }
        })?;
        Ok(found.answer(query.limit, (ip, port), &search, &labels))
    }
}

impl Found {
    /// Counts a row; `false` where there is too much to go on.
    fn see(&mut self, asked: &HistoryAsked<'_>, row: &Row, labels: &Labels) -> bool {
        self.rows += 1;
        let is_late = self.rows.is_multiple_of(ROWS_BETWEEN_LOOKS) && Instant::now() > asked.deadline;
        let kind = row.class.unpack().kind;
        let is_meant = labels.observer(row.observer).class == asked.query.class
            && (asked.span.from()..asked.span.to()).contains(&row.start)
            && asked.filter.kind.is_none_or(|wanted| wanted == kind);
        if is_meant && labels.network(row.network).is_coarse {
            let (packets, network) = self.coarse.entry(row.source).or_insert((0, row.network));
            (*packets, *network) = (packets.saturating_add(row.packets), row.network);
        } else if is_meant {
            let new = Sum { packets: 0, first: row.start, last: row.start, network: row.network };
            let sum = self.sources.entry(row.source).or_insert(new);
            sum.packets = sum.packets.saturating_add(row.packets);
            sum.first = sum.first.min(row.start);
            if row.start >= sum.last {
                (sum.last, sum.network) = (row.start, row.network);
            }
        }
        self.is_too_much |= is_late || self.sources.len() + self.coarse.len() > MOST_SOURCES;
        !self.is_too_much
    }

    fn answer(self, limit: usize, (ip, port): (IpVersion, u16), search: &PortSearch, labels: &Labels) -> Body {
        let mut sources: Vec<(u128, Sum)> = self.sources.into_iter().collect();
        sources.sort_unstable_by_key(|(source, sum)| (Reverse(sum.packets), *source));
        // Packets, sources, whose the heaviest source is, and whether of some only the network is left.
        let mut networks: HashMap<u128, (u64, u64, u32, bool), foldhash::fast::RandomState> = HashMap::default();
        for (source, sum) in &sources {
            let (packets, of_it, _, _) = networks.entry(coarse(ip, *source)).or_insert((0, 0, sum.network, false));
            (*packets, *of_it) = (packets.saturating_add(sum.packets), *of_it + 1);
        }
        let mut network_packets: u64 = 0;
        for (network, (coarse_packets, label)) in self.coarse {
            network_packets = network_packets.saturating_add(coarse_packets);
            let (packets, _, _, is_coarse) = networks.entry(network).or_insert((0, 0, label, true));
            (*packets, *is_coarse) = (packets.saturating_add(coarse_packets), true);
        }
        let prefix = if ip == IpVersion::V4 { COARSE_V4 } else { COARSE_V6 };
        let mut networks: Vec<_> = networks.into_iter().collect();
        networks.sort_unstable_by_key(|(network, (packets, ..))| (Reverse(*packets), *network));
        let packets = sources.iter().fold(0, |all: u64, (_, sum)| all.saturating_add(sum.packets));
        let owner = |label: u32| Owner::from(labels.network(label));
        let network_entry = |&(network, (packets, sources, label, is_coarse)): &(u128, (u64, u64, u32, bool))| {
            let network = IpNet::new(address_from_bits(ip, network), prefix).ok()?;
            Some(NetworkEntry { network, packets, sources: (!is_coarse).then_some(sources), owner: owner(label) })
        };
        let entry = |&(source, sum): &(u128, Sum)| Entry {
            address: address_from_bits(ip, source),
            packets: sum.packets,
            first_window: Time(sum.first),
            last_window: Time(sum.last),
            owner: owner(sum.network),
        };
        Body {
            port,
            packets,
            distinct: Distinct::exactly(sources.len()),
            network_packets,
            networks: networks.iter().take(limit).filter_map(network_entry).collect(),
            networks_left_out: networks.len().saturating_sub(limit),
            sources: sources.iter().take(limit).map(entry).collect(),
            sources_left_out: sources.len().saturating_sub(limit),
            row_groups: search.groups,
            row_groups_read: search.groups_read,
        }
    }
}

impl Table for Body {
    type Row = Entry;
    const COLUMNS: &'static [&'static str] =
        &["address", "packets", "first_window", "last_window", "region", "asn", "organisation", "known_scanner"];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.sources.iter()
    }
}
