//! `/api/v1/sources`: who sends most.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use martlet_window::{DistinctSources, IpVersion};
use serde::Serialize;

use super::super::Sources;
use super::geo::GeoUsed;
use super::json::{Distinct, Head, ip_number};
use super::params::{Accepts, Query};
use crate::geo::{Owner, Region, Snapshot};
use crate::live::{LiveView, Source};

pub(super) const ACCEPTS: Accepts =
    Accepts { range: true, sensor: false, kind: false, points: false, limit: true, hours: false };

#[derive(Serialize)]
pub(super) struct SourcesAnswer {
    #[serde(flatten)]
    head: Head,
    totals: Totals,
    sources: Vec<SourceEntry>,
    networks: Vec<NetworkEntry>,
    packets_unlisted_bound: u64,
    geo: GeoUsed,
}

#[derive(Serialize)]
struct Totals {
    packets: u64,
    sources: Distinct,
}

#[derive(Serialize)]
struct SourceEntry {
    address: IpAddr,
    ip: u8,
    packets: u64,
    packets_error: u64,
    network: IpNet,
    region: Region,
    asn: Option<u32>,
    organisation: Option<String>,
    known_scanner: Option<String>,
}

#[derive(Serialize)]
struct NetworkEntry {
    network: IpNet,
    ip: u8,
    packets: u64,
    packets_error: u64,
    sources: u64,
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

pub(super) fn sources(sources: &Sources, view: &LiveView, query: &Query) -> SourcesAnswer {
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
    let networks = networks(&listed);
    // One snapshot for the whole answer, which names what it is of.
    let geo = sources.geo.snapshot();
    let entry = |source| source_entry(source, &geo);
    SourcesAnswer {
        head: Head::new(query),
        totals: Totals { packets, sources: Distinct::from(&all) },
        sources: heaviest(listed, query.limit).into_iter().filter_map(entry).collect(),
        networks: heaviest(networks, query.limit).into_iter().filter_map(network_entry).collect(),
        packets_unlisted_bound: floors,
        geo: GeoUsed::from(&*geo),
    }
}

fn heaviest(mut sums: Vec<(Source, Sum)>, limit: usize) -> Vec<(Source, Sum)> {
    sums.sort_unstable_by_key(|(source, sum)| (Reverse(sum.packets), *source));
    sums.truncate(limit);
    sums
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
