//! `/api/v1/ports`: which services are looked for.

use std::collections::{HashMap, HashSet};

use martlet_window::{Class, DistinctSources, IpVersion, Service};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::problem::Problem;
use super::super::services::protocol_name;
use super::endpoint::{About, Asked, Endpoint};
use super::format::Table;
use super::json::{Distinct, Head, NamedPort, ip_number};
use super::list::{Page, by_packets, page, top};
use super::parameter::Parameter;
use super::params::{Accepts, Query, Selection, Wanted};
use super::public::{Minimum, Withheld};
use super::validator::Validity;
use crate::live::{LiveView, RowRef, ServiceKey, ServiceKind};
use crate::tokens::Scope;

/// The path.
pub(super) struct Path;

/// Which services are looked for.
#[derive(Serialize, ToSchema)]
pub(super) struct Ports {
    #[serde(flatten)]
    head: Head,
    /// Of everything that matches, also what the lists leave out.
    totals: PacketsBytes,
    /// Length of a step of the series.
    step_seconds: i64,
    /// What asks for the next page of `ports`; null on the last one.
    next_cursor: Option<String>,
    /// Ports by packets, descending.
    ports: Vec<PortEntry>,
    /// How many ports are behind these.
    ports_left_out: usize,
    /// ICMP and ICMPv6 by type and code, by packets, descending; the same on every page.
    icmp: Vec<IcmpEntry>,
    /// How many are behind these.
    icmp_left_out: usize,
    /// Protocols without ports, and later fragments, by packets, descending; the same on every page.
    without_port: Vec<BareEntry>,
    /// What is not told apart any more.
    other: PacketsBytes,
    /// Rows of all three lists that are not published; null for whoever sees everything.
    withheld: Option<Withheld>,
}

/// A sum.
#[derive(Clone, Copy, Default, Serialize, ToSchema)]
struct PacketsBytes {
    /// Packets.
    packets: u64,
    /// Their IP total lengths.
    bytes: u64,
}

/// A port.
#[derive(Serialize, ToSchema)]
pub(super) struct PortEntry {
    #[serde(flatten)]
    port: NamedPort,
    /// Packets.
    packets: u64,
    /// Their IP total lengths.
    bytes: u64,
    /// Sources.
    sources: Distinct,
    /// Packets by kind; null where a part of them is not published.
    kinds: Option<Kinds>,
    /// Packets by step; null where a part of them is not published.
    series: Option<Vec<u64>>,
    /// Sources by step, where a `port` was asked for; else null, and where a part of them is not published.
    source_series: Option<Vec<Distinct>>,
}

/// Packets by kind.
#[derive(Serialize, ToSchema)]
struct Kinds {
    /// Attempts to reach the port.
    scan: u64,
    /// Answers to forged packets.
    backscatter: u64,
    /// Neither.
    other: u64,
}

/// A type and code of ICMP or ICMPv6.
#[derive(Serialize, ToSchema)]
struct IcmpEntry {
    /// 4 or 6.
    ip: u8,
    /// The type.
    #[serde(rename = "type")]
    icmp_type: u8,
    /// The code.
    code: u8,
    /// Packets.
    packets: u64,
    /// Their IP total lengths.
    bytes: u64,
    /// Sources.
    sources: Distinct,
}

/// A protocol without ports.
#[derive(Serialize, ToSchema)]
#[schema(as = ProtocolEntry)]
struct BareEntry {
    /// 4 or 6.
    ip: u8,
    /// IP protocol number.
    protocol: u8,
    /// Its name in lower case, or the number as text.
    protocol_name: String,
    /// Packets.
    packets: u64,
    /// Their IP total lengths.
    bytes: u64,
    /// Sources.
    sources: Distinct,
}

/// What the lists tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
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

    /// What tells entries of one list apart that have equally many packets.
    fn order(self) -> [u8; 4] {
        match self {
            Entry::Port(ip, protocol, port) => {
                let [high, low] = port.to_be_bytes();
                [ip_number(ip), protocol, high, low]
            }
            Entry::Icmp(ip, icmp_type, code) => [ip_number(ip), icmp_type, code, 0],
            Entry::Bare(ip, protocol) => [ip_number(ip), protocol, 0, 0],
        }
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
    /// Empty unless it is wanted.
    source_series: Vec<DistinctSources>,
}

impl Wanted {
    /// Whether single services are asked for.
    const fn has_services(&self) -> bool {
        self.ip.is_some() || self.protocol.is_some()
    }

    /// Whether rows of a service are asked for, as far as is known: what is not told apart any more may be of any protocol.
    fn has(&self, service: ServiceKey) -> bool {
        let has_ip = self.ip.is_none_or(|ip| ip == service.ip());
        has_ip
            && service.class().is_none_or(|class| {
                self.protocol.is_none_or(|protocol| protocol == class.protocol)
                    && self.port.is_none_or(|port| class.service == Service::Port(port))
            })
    }
}

impl PacketsBytes {
    fn add(&mut self, row: &RowRef<'_>) {
        self.packets = self.packets.saturating_add(row.packets);
        self.bytes = self.bytes.saturating_add(row.bytes);
    }

    fn sum<'a>(sums: impl Iterator<Item = &'a Sum>) -> PacketsBytes {
        sums.fold(PacketsBytes::default(), |all, Sum { counts, .. }| PacketsBytes {
            packets: all.packets.saturating_add(counts.packets),
            bytes: all.bytes.saturating_add(counts.bytes),
        })
    }
}

type Ranked = (Entry, Sum);

impl Endpoint for Path {
    const ABOUT: About = About {
        name: "ports",
        summary: "Which services are looked for",
        accepts: Accepts::new(&[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Step,
            Parameter::Sensor,
            Parameter::Kind,
            Parameter::Ip,
            Parameter::Protocol,
            Parameter::Port,
            Parameter::Limit,
            Parameter::Cursor,
            Parameter::Format,
        ]),
        scope: Scope::Public,
        validity: Validity::Counts,
        walks: true,
    };
    type Answer = Ports;

    fn answer(asked: &Asked<'_>) -> Result<Ports, Problem> {
        Ok(ports(asked.view, asked.query))
    }
}

impl Table for Ports {
    type Row = PortEntry;
    const COLUMNS: &'static [&'static str] = &[
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
        "kinds.scan",
        "kinds.backscatter",
        "kinds.other",
    ];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.ports.iter()
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}

fn ports(view: &LiveView, query: &Query) -> Ports {
    let mut sums: HashMap<Entry, Sum> = HashMap::new();
    let (mut totals, mut other) = (PacketsBytes::default(), PacketsBytes::default());
    each_row(view, query, |_, key, row| {
        let entry = Entry::of(key.service);
        match entry {
            Some(entry) => {
                let sum = sums.entry(entry).or_default();
                sum.counts.add(&row);
                sum.kinds[key.kind as usize] += row.packets;
            }
            None => other.add(&row),
        }
        // Of what protocol the others are nobody knows any more.
        if entry.is_some() || query.wanted.protocol.is_none() {
            totals.add(&row);
        }
    });
    let mut withheld = query.public.map(|minimum| withhold(view, query, minimum, &mut sums));
    if withheld.is_some() && query.wanted.has_services() {
        // Whoever asks for one service would learn from any of these what is withheld of it, if only that there is something.
        totals = PacketsBytes::sum(sums.values());
        (other, withheld) = (PacketsBytes::default(), None);
    }
    let place = |(entry, sum): &Ranked| -> [u8; 12] { by_packets(sum.counts.packets, entry.order()) };
    let list = |of: fn(&Entry) -> bool| sums.iter().filter(|(entry, _)| of(entry)).map(|(e, s)| (*e, *s)).collect();
    let ports = page(query, list(|entry| matches!(entry, Entry::Port(..))), place);
    let icmp = top(query, list(|entry| matches!(entry, Entry::Icmp(..))), place);
    let bare = top(query, list(|entry| matches!(entry, Entry::Bare(..))), place);
    // Sketches and series only for what is listed: they are the expensive part.
    let entries = |page: &Page<Ranked>| page.entries.iter().map(|(entry, _)| *entry).collect::<Vec<_>>();
    let listed = [&ports, &icmp, &bare].into_iter().flat_map(entries);
    let details = details(view, query, listed.collect());
    Ports {
        head: Head::new(query),
        totals,
        step_seconds: query.step_seconds,
        next_cursor: ports.next,
        ports: ports.entries.iter().filter_map(|listed| port_entry(query, listed, &details)).collect(),
        ports_left_out: ports.left_out,
        icmp: icmp.entries.iter().filter_map(|listed| icmp_entry(listed, &details)).collect(),
        icmp_left_out: icmp.left_out,
        without_port: bare.entries.iter().filter_map(|listed| bare_entry(listed, &details)).collect(),
        other,
        withheld,
    }
}

/// Visits rows of the buckets that are asked for; the same key may come several times, and then means the sum.
fn each_row(view: &LiveView, query: &Query, mut visit: impl FnMut(i64, ServiceKind, RowRef<'_>)) {
    let has_service = |service| !query.wanted.has_services() || query.wanted.has(service);
    for (&start, bucket) in view.class(query.class).buckets.range(query.from..query.to) {
        let mut visit = |key: ServiceKind, row| {
            if query.kind.is_none_or(|kind| kind == key.kind) && has_service(key.service) {
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

/// Takes out what is about too few. Only as many sources are held of each as decide it: whoever sends can make many ports.
fn withhold(view: &LiveView, query: &Query, minimum: Minimum, sums: &mut HashMap<Entry, Sum>) -> Withheld {
    let mut few: HashMap<Entry, DistinctSources> = HashMap::new();
    let heavy = sums.iter().filter(|(_, sum)| sum.counts.packets >= minimum.packets);
    few.extend(heavy.map(|(entry, _)| (*entry, DistinctSources::default())));
    let mut enough: HashSet<Entry> = HashSet::new();
    each_row(view, query, |_, key, row| {
        let Some(entry) = Entry::of(key.service) else { return };
        let Some(sources) = few.get_mut(&entry) else { return };
        row.sources.add_to(sources);
        if sources.count() >= minimum.sources {
            few.remove(&entry);
            enough.insert(entry);
        }
    });
    let mut withheld = Withheld::default();
    sums.retain(|entry, sum| {
        let is_told = enough.contains(entry);
        if !is_told {
            withheld.add(sum.counts.packets);
        }
        is_told
    });
    withheld
}

fn details(view: &LiveView, query: &Query, listed: HashSet<Entry>) -> HashMap<Entry, Detail> {
    let mut details: HashMap<Entry, Detail> = HashMap::new();
    // A sketch a step is what is expensive here; of one port, which two entries at most can have, it can be afforded.
    let sketches = if query.wanted.port.is_some() { query.steps } else { 0 };
    each_row(view, query, |start, key, row| {
        let Some(entry) = Entry::of(key.service).filter(|entry| listed.contains(entry)) else {
            return;
        };
        let new = || Detail {
            sources: DistinctSources::default(),
            series: vec![0; query.steps],
            source_series: vec![DistinctSources::default(); sketches],
        };
        let (detail, step) = (details.entry(entry).or_insert_with(new), query.step(start));
        row.sources.add_to(&mut detail.sources);
        detail.series[step] += row.packets;
        if let Some(sources) = detail.source_series.get_mut(step) {
            row.sources.add_to(sources);
        }
    });
    details
}

fn port_entry(query: &Query, (entry, sum): &Ranked, details: &HashMap<Entry, Detail>) -> Option<PortEntry> {
    let Entry::Port(ip, protocol, port) = *entry else {
        return None;
    };
    let detail = details.get(entry)?;
    let is_told = |parts: &[u64]| query.public.is_none_or(|minimum| minimum.allows_parts(parts));
    let [scan, backscatter, other] = sum.kinds;
    let is_series_told = is_told(&detail.series);
    let has_enough = |sources: &DistinctSources| {
        let count = sources.count();
        query.public.is_none_or(|minimum| count == 0 || count >= minimum.sources)
    };
    let is_source_series_told = is_series_told && detail.source_series.iter().all(has_enough);
    let source_series = query.wanted.port.filter(|_| is_source_series_told);
    Some(PortEntry {
        port: NamedPort::new(ip, protocol, port),
        packets: sum.counts.packets,
        bytes: sum.counts.bytes,
        sources: Distinct::from(&detail.sources),
        kinds: is_told(&sum.kinds).then_some(Kinds { scan, backscatter, other }),
        series: is_series_told.then(|| detail.series.clone()),
        source_series: source_series.map(|_| detail.source_series.iter().map(Distinct::from).collect()),
    })
}

fn icmp_entry((entry, sum): &Ranked, details: &HashMap<Entry, Detail>) -> Option<IcmpEntry> {
    let Entry::Icmp(ip, icmp_type, code) = *entry else {
        return None;
    };
    let sources = Distinct::from(&details.get(entry)?.sources);
    let PacketsBytes { packets, bytes } = sum.counts;
    Some(IcmpEntry { ip: ip_number(ip), icmp_type, code, packets, bytes, sources })
}

fn bare_entry((entry, sum): &Ranked, details: &HashMap<Entry, Detail>) -> Option<BareEntry> {
    let Entry::Bare(ip, protocol) = *entry else {
        return None;
    };
    let sources = Distinct::from(&details.get(entry)?.sources);
    let PacketsBytes { packets, bytes } = sum.counts;
    Some(BareEntry { ip: ip_number(ip), protocol, protocol_name: protocol_name(protocol), packets, bytes, sources })
}
