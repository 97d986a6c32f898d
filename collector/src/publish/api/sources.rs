//! `/api/v1/sources`: who sends most.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use martlet_window::{DistinctSources, IpVersion};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::problem::Problem;
use super::endpoint::{About, Asked, Endpoint};
use super::format::Table;
use super::geo::GeoUsed;
use super::json::{Distinct, Head, ip_number};
use super::list::{Page, by_packets, page, top};
use super::parameter::Parameter;
use super::params::Accepts;
use super::public::{Minimum, Withheld};
use super::validator::Validity;
use crate::geo::{Owner, Region, Snapshot};
use crate::live::Source;
use crate::tokens::Scope;

/// The path.
pub(super) struct Path;

/// Who sends most.
#[derive(Serialize, ToSchema)]
#[schema(as = Sources)]
pub(super) struct SourcesAnswer {
    #[serde(flatten)]
    head: Head,
    /// Of everything in the range.
    totals: Totals,
    /// What asks for the next page: of `sources`, or of `networks` where sources are not published; null on the last one.
    next_cursor: Option<String>,
    /// Sources by packets, descending; none where they are not published.
    sources: Vec<SourceEntry>,
    /// How many are behind these.
    sources_left_out: usize,
    /// Networks (/24 and /48) by packets, descending; the same on every page of `sources`.
    networks: Vec<NetworkEntry>,
    /// How many are behind these.
    networks_left_out: usize,
    /// A source that is not kept sent at most so many packets.
    packets_unlisted_bound: u64,
    /// Networks that are not published; null for whoever sees everything.
    withheld: Option<Withheld>,
    /// The data that regions, networks and scanners come from.
    geo: GeoUsed,
}

/// Of everything in the range.
#[derive(Serialize, ToSchema)]
#[schema(as = SourceTotals)]
struct Totals {
    /// Packets.
    packets: u64,
    /// Sources.
    sources: Distinct,
}

/// A source.
#[derive(Serialize, ToSchema)]
pub(super) struct SourceEntry {
    /// Its address.
    #[schema(value_type = String)]
    address: IpAddr,
    /// 4 or 6.
    ip: u8,
    /// Packets, at least.
    packets: u64,
    /// How many more they may be.
    packets_error: u64,
    /// The /24 or /48 around it.
    #[schema(value_type = String)]
    network: IpNet,
    /// Where the address is registered, as ISO 3166-1 alpha-2; `ZZ` if that is not known.
    #[schema(value_type = String, pattern = "^[A-Z]{2}$")]
    region: Region,
    /// The autonomous system that announces it.
    asn: Option<u32>,
    /// Who that is.
    organisation: Option<String>,
    /// The list of known scanners that it is on.
    known_scanner: Option<String>,
}

/// A network.
#[derive(Serialize, ToSchema)]
pub(super) struct NetworkEntry {
    /// A /24 or /48.
    #[schema(value_type = String)]
    network: IpNet,
    /// 4 or 6.
    ip: u8,
    /// Packets of its sources that are kept, at least.
    packets: u64,
    /// How many more they may be.
    packets_error: u64,
    /// Sources that are kept: at least so many there were.
    sources: u64,
}

/// What the table has: sources, or networks where those are not published.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum SourceRow<'a> {
    /// A source.
    Source(&'a SourceEntry),
    /// A network.
    Network(&'a NetworkEntry),
}

#[derive(Clone, Copy, Default)]
struct Sum {
    packets: u64,
    /// Errors of the buckets that list the source.
    error: u64,
    /// Floors of those buckets: what must not be added for them again.
    floors: u64,
    sources: u64,
}

impl Endpoint for Path {
    const ABOUT: About = About {
        name: "sources",
        summary: "Who sends most",
        accepts: Accepts::new(&[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Limit,
            Parameter::Cursor,
            Parameter::Format,
        ]),
        scope: Scope::Public,
        validity: Validity::Counts,
        walks: true,
    };
    type Answer = SourcesAnswer;

    fn answer(asked: &Asked<'_>) -> Result<SourcesAnswer, Problem> {
        Ok(sources(asked))
    }
}

impl Table for SourcesAnswer {
    type Row = SourceRow<'static>;
    /// An entry is a source or a network, and leaves the other's columns empty.
    const COLUMNS: &'static [&'static str] = &[
        "address",
        "ip",
        "network",
        "packets",
        "packets_error",
        "sources",
        "region",
        "asn",
        "organisation",
        "known_scanner",
    ];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        let networks = if self.withheld.is_some() { self.networks.as_slice() } else { &[] };
        self.sources.iter().map(SourceRow::Source).chain(networks.iter().map(SourceRow::Network))
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}

fn sources(asked: &Asked<'_>) -> SourcesAnswer {
    let Asked { view, query, geo, .. } = *asked;
    let mut sums: HashMap<Source, Sum> = HashMap::new();
    let mut all = DistinctSources::default();
    let (mut packets, mut floors) = (0u64, 0u64);
    for (_, bucket) in view.class(query.class).buckets.range(query.from..query.to) {
        let top = bucket.top();
        floors = floors.saturating_add(top.floor());
        for entry in top.entries() {
            let sum = sums.entry(entry.source).or_default();
            sum.packets = sum.packets.saturating_add(entry.packets);
            sum.error = sum.error.saturating_add(entry.error);
            sum.floors = sum.floors.saturating_add(top.floor());
        }
        for (_, row) in bucket.kinds() {
            packets = packets.saturating_add(row.packets);
            all.merge(&row.sources);
        }
    }
    let mut listed: Vec<(Source, Sum)> = sums.into_iter().collect();
    // In a bucket that does not list a source it can have sent as much as the bucket's floor.
    for (_, sum) in &mut listed {
        sum.error = sum.error.saturating_add(floors.saturating_sub(sum.floors));
        sum.sources = 1;
    }
    let mut networks = networks(&listed);
    let withheld = query.public.map(|minimum| withhold(minimum, &mut networks));
    let (sources, networks) = if withheld.is_some() {
        (Page { entries: Vec::new(), left_out: 0, next: None }, page(query, networks, place))
    } else {
        (page(query, listed, place), top(query, networks, place))
    };
    SourcesAnswer {
        head: Head::new(query),
        totals: Totals { packets, sources: Distinct::from(&all) },
        next_cursor: sources.next.or(networks.next),
        sources: sources.entries.into_iter().filter_map(|source| source_entry(source, geo)).collect(),
        sources_left_out: sources.left_out,
        networks: networks.entries.into_iter().filter_map(network_entry).collect(),
        networks_left_out: networks.left_out,
        packets_unlisted_bound: floors,
        withheld,
        geo: GeoUsed::from(geo),
    }
}

/// Takes out networks that are about too few.
fn withhold(minimum: Minimum, networks: &mut Vec<(Source, Sum)>) -> Withheld {
    let mut withheld = Withheld::default();
    networks.retain(|(_, sum)| {
        let is_told = sum.packets >= minimum.packets && sum.sources >= minimum.sources;
        if !is_told {
            withheld.add(sum.packets);
        }
        is_told
    });
    withheld
}

fn place((source, sum): &(Source, Sum)) -> [u8; 25] {
    let mut order = [ip_number(source.ip); 17];
    order[1..].copy_from_slice(&source.bits().to_be_bytes());
    by_packets(sum.packets, order)
}

fn networks(listed: &[(Source, Sum)]) -> Vec<(Source, Sum)> {
    let mut sums: HashMap<Source, Sum> = HashMap::new();
    for (source, sum) in listed {
        let free_bits = match source.ip {
            IpVersion::V4 => 32 - 24,
            IpVersion::V6 => 128 - 48,
        };
        let network = Source::new(source.ip, source.bits() >> free_bits << free_bits);
        let total = sums.entry(network).or_default();
        total.packets = total.packets.saturating_add(sum.packets);
        total.error = total.error.saturating_add(sum.error);
        total.sources += 1;
    }
    sums.into_iter().collect()
}

/// The /24 or /48 that holds an address.
fn network_of(source: &Source) -> Option<IpNet> {
    let length = match source.ip {
        IpVersion::V4 => 24,
        IpVersion::V6 => 48,
    };
    IpNet::new(source.address(), length).ok().map(|network| network.trunc())
}

fn source_entry((source, sum): (Source, Sum), geo: &Snapshot) -> Option<SourceEntry> {
    let Owner { region, asn, organisation, known_scanner } = geo.owner(source.address());
    Some(SourceEntry {
        address: source.address(),
        ip: ip_number(source.ip),
        packets: sum.packets,
        packets_error: sum.error,
        network: network_of(&source)?,
        region,
        asn,
        organisation: organisation.map(Cow::into_owned),
        known_scanner: known_scanner.map(str::to_owned),
    })
}

fn network_entry((network, sum): (Source, Sum)) -> Option<NetworkEntry> {
    Some(NetworkEntry {
        network: network_of(&network)?,
        ip: ip_number(network.ip),
        packets: sum.packets,
        packets_error: sum.error,
        sources: sum.sources,
    })
}
