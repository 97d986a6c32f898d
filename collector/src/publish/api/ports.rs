//! `/api/v1/ports`: which services are looked for.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use martlet_window::{Class, DistinctSources, IpVersion, Service};
use serde::Serialize;

use super::super::Sources;
use super::super::services::protocol_name;
use super::json::{Distinct, Head, NamedPort, ip_number};
use super::params::{Accepts, Query, Selection};
use crate::live::{LiveView, RowRef, ServiceKey, ServiceKind};

pub(super) const ACCEPTS: Accepts =
    Accepts { range: true, sensor: true, kind: true, points: true, limit: true, hours: false };

#[derive(Serialize)]
pub(super) struct Ports {
    #[serde(flatten)]
    head: Head,
    totals: PacketsBytes,
    step_seconds: i64,
    ports: Vec<PortEntry>,
    ports_left_out: usize,
    icmp: Vec<IcmpEntry>,
    icmp_left_out: usize,
    without_port: Vec<BareEntry>,
    other: PacketsBytes,
}

#[derive(Clone, Copy, Default, Serialize)]
struct PacketsBytes {
    packets: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct PortEntry {
    #[serde(flatten)]
    port: NamedPort,
    packets: u64,
    bytes: u64,
    sources: Distinct,
    kinds: Kinds,
    series: Vec<u64>,
}

#[derive(Serialize)]
struct Kinds {
    scan: u64,
    backscatter: u64,
    other: u64,
}

#[derive(Serialize)]
struct IcmpEntry {
    ip: u8,
    #[serde(rename = "type")]
    icmp_type: u8,
    code: u8,
    packets: u64,
    bytes: u64,
    sources: Distinct,
}

#[derive(Serialize)]
struct BareEntry {
    ip: u8,
    protocol: u8,
    protocol_name: String,
    packets: u64,
    bytes: u64,
    sources: Distinct,
}

/// What the lists tell apart. The order is that of entries with equally many packets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Entry {
    Port(IpVersion, u8, u16),
    Icmp(IpVersion, u8, u8),
    Bare(IpVersion, u8),
}

impl Entry {
    fn of(service: ServiceKey) -> Option<Entry> {
        let Class { ip, protocol, service, .. } = service.class()?;
        Some(match service {
            Service::Port(port) => Entry::Port(ip, protocol, port),
            Service::Icmp { icmp_type, code } | Service::IcmpError { icmp_type, code, .. } => {
                Entry::Icmp(ip, icmp_type, code)
            }
            Service::None => Entry::Bare(ip, protocol),
        })
    }
}

#[derive(Clone, Copy, Default)]
struct Sum {
    counts: PacketsBytes,
    kinds: [u64; 3],
}

struct Detail {
    sources: DistinctSources,
    series: Vec<u64>,
}

impl PacketsBytes {
    fn add(&mut self, row: &RowRef<'_>) {
        self.packets = self.packets.saturating_add(row.packets);
        self.bytes = self.bytes.saturating_add(row.bytes);
    }
}

/// Ranked entries of one list: at most as many as asked for, and how many there were.
struct Ranked {
    entries: Vec<(Entry, Sum)>,
    left_out: usize,
}

pub(super) fn ports(_: &Sources, view: &LiveView, query: &Query) -> Ports {
    let mut sums: HashMap<Entry, Sum> = HashMap::new();
    let (mut totals, mut other) = (PacketsBytes::default(), PacketsBytes::default());
    each_row(view, query, |_, key, row| {
        totals.add(&row);
        match Entry::of(key.service) {
            Some(entry) => {
                let sum = sums.entry(entry).or_default();
                sum.counts.add(&row);
                sum.kinds[key.kind as usize] += row.packets;
            }
            None => other.add(&row),
        }
    });
    let ports = rank(&sums, query.limit, |entry| matches!(entry, Entry::Port(..)));
    let icmp = rank(&sums, query.limit, |entry| matches!(entry, Entry::Icmp(..)));
    let bare = rank(&sums, query.limit, |entry| matches!(entry, Entry::Bare(..)));
    // Sketches and series only for what is listed: they are the expensive part.
    let listed = [&ports, &icmp, &bare].into_iter().flat_map(|ranked| ranked.entries.iter().map(|(entry, _)| *entry));
    let details = details(view, query, listed.collect());
    Ports {
        head: Head::new(query),
        totals,
        step_seconds: query.step_seconds,
        ports: ports.entries.iter().filter_map(|listed| port_entry(listed, &details)).collect(),
        ports_left_out: ports.left_out,
        icmp: icmp.entries.iter().filter_map(|listed| icmp_entry(listed, &details)).collect(),
        icmp_left_out: icmp.left_out,
        without_port: bare.entries.iter().filter_map(|listed| bare_entry(listed, &details)).collect(),
        other,
    }
}

/// Visits rows of the buckets that are asked for; the same key may come several times, and then means the sum.
fn each_row(view: &LiveView, query: &Query, mut visit: impl FnMut(i64, ServiceKind, RowRef<'_>)) {
    for (&start, bucket) in view.class(query.class).buckets.range(query.from..query.to) {
        let mut visit = |key: ServiceKind, row| {
            if query.kind.is_none_or(|kind| kind == key.kind) {
                visit(start, key, row);
            }
        };
        if query.sensor == Selection::All {
            bucket.services().for_each(|(key, row)| visit(key, row));
            continue;
        }
        for (key, row) in bucket.rows().filter(|(key, _)| query.sensor.has(key.sensor)) {
            visit(ServiceKind { service: key.service, kind: key.kind }, row);
        }
    }
}

fn rank(sums: &HashMap<Entry, Sum>, limit: usize, of: impl Fn(&Entry) -> bool) -> Ranked {
    let mut entries: Vec<(Entry, Sum)> =
        sums.iter().filter(|(entry, _)| of(entry)).map(|(entry, sum)| (*entry, *sum)).collect();
    entries.sort_unstable_by_key(|(entry, sum)| (Reverse(sum.counts.packets), *entry));
    let left_out = entries.len().saturating_sub(limit);
    entries.truncate(limit);
    Ranked { entries, left_out }
}

fn details(view: &LiveView, query: &Query, listed: HashSet<Entry>) -> HashMap<Entry, Detail> {
    let mut details: HashMap<Entry, Detail> = HashMap::new();
    each_row(view, query, |start, key, row| {
        let Some(entry) = Entry::of(key.service).filter(|entry| listed.contains(entry)) else {
            return;
        };
        let new = || Detail { sources: DistinctSources::default(), series: vec![0; query.steps] };
        let detail = details.entry(entry).or_insert_with(new);
        row.sources.add_to(&mut detail.sources);
        detail.series[query.step(start)] += row.packets;
    });
    details
}

fn port_entry((entry, sum): &(Entry, Sum), details: &HashMap<Entry, Detail>) -> Option<PortEntry> {
    let Entry::Port(ip, protocol, port) = *entry else {
        return None;
    };
    let detail = details.get(entry)?;
    let [scan, backscatter, other] = sum.kinds;
    Some(PortEntry {
        port: NamedPort::new(ip, protocol, port),
        packets: sum.counts.packets,
        bytes: sum.counts.bytes,
        sources: Distinct::from(&detail.sources),
        kinds: Kinds { scan, backscatter, other },
        series: detail.series.clone(),
    })
}

fn icmp_entry((entry, sum): &(Entry, Sum), details: &HashMap<Entry, Detail>) -> Option<IcmpEntry> {
    let Entry::Icmp(ip, icmp_type, code) = *entry else {
        return None;
    };
    let sources = Distinct::from(&details.get(entry)?.sources);
    let PacketsBytes { packets, bytes } = sum.counts;
    Some(IcmpEntry { ip: ip_number(ip), icmp_type, code, packets, bytes, sources })
}

fn bare_entry((entry, sum): &(Entry, Sum), details: &HashMap<Entry, Detail>) -> Option<BareEntry> {
    let Entry::Bare(ip, protocol) = *entry else {
        return None;
    };
    let sources = Distinct::from(&details.get(entry)?.sources);
    let PacketsBytes { packets, bytes } = sum.counts;
    Some(BareEntry { ip: ip_number(ip), protocol, protocol_name: protocol_name(protocol), packets, bytes, sources })
}
