//! The sources of a day: which sent the most packets, and of which regions and networks they are.
//!
//! Rows come by service, so a source comes back again and again. As long as they all fit, their sums are exact. When there are
//! too many, the lighter half is forgotten, as in Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient computation of frequent
//! and top-k elements in data streams", 2005): `floor` is then the most that any source can have sent that is not known, and a
//! source that comes anew may have sent as much before. So `packets <= truth <= packets + error` for those that are listed, and
//! `truth <= floor` for all others.
//!
//! The table also says which sources each region and network had: a set is told of a source when the source is forgotten, at the
//! end, or when it belongs to something else from then on; not with each service that it asks for.

use std::cmp::Reverse;
use std::collections::HashMap;

use foldhash::fast::RandomState as TableState;
use martlet_window::{Kind, TrafficClass};

use super::records::Record;
use super::sketch::Seen;
use crate::archive::Labels;
use crate::live::Source;

/// A source that scanned so many ports in a day scans for many services.
pub const MULTI_PORT: u32 = 10;

/// A source with what it sent of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    kind: Kind,
    source: Source,
    /// Only its network is left.
    is_coarse: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    packets: u64,
    bytes: u64,
    error: u64,
    seen: Seen,
    /// Scanned ports, by protocol.
    ports: u32,
    /// The service that the last packets were for.
    last: u32,
    /// Whom it belongs to.
    network: u32,
}

impl Entry {
    const fn bound(&self) -> u64 {
        self.packets.saturating_add(self.error)
    }

    const fn told(&self, key: &Key) -> Told {
        Told { kind: key.kind, source: key.source, network: self.network, seen: self.seen }
    }
}

/// What a source sent of one kind to one service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) kind: Kind,
    pub(super) source: Source,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Its hash, and the segments in which it was seen.
    pub(super) seen: Seen,
    /// Number of the service, among those that have come.
    pub(super) service: u32,
    /// Whether that is a port that was scanned.
    pub(super) is_port: bool,
    /// A number of the labels.
    pub(super) network: u32,
}

/// What is said of a source of a region and network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) kind: Kind,
    pub(super) source: Source,
    pub(super) network: u32,
    pub(super) seen: Seen,
}

/// The sources of one traffic class.
#[derive(Debug)]
pub(super) struct SourceList {
    entries: HashMap<Key, Entry, TableState>,
    floor: u64,
    limit: usize,
}

impl SourceList {
    pub(super) fn new(limit: usize) -> SourceList {
        SourceList { entries: HashMap::default(), floor: 0, limit: limit.max(2) }
    }

    /// Adds what a source sent. `tell` is told of sources as they are forgotten, or change hands.
    pub(super) fn add(&mut self, sent: &Sent, labels: &Labels, tell: &mut dyn FnMut(Told)) {
        let is_coarse = labels.network(sent.network).is_coarse;
        let key = Key { kind: sent.kind, source: sent.source, is_coarse };
        if self.entries.len() >= self.limit && !self.entries.contains_key(&key) {
            self.prune(tell);
        }
        let (error, seen) = (self.floor, (sent.seen.0, 0));
        let fresh = Entry { packets: 0, bytes: 0, error, seen, ports: 0, last: u32::MAX, network: sent.network };
        let entry = self.entries.entry(key).or_insert(fresh);
        entry.packets = entry.packets.saturating_add(sent.packets);
        entry.bytes = entry.bytes.saturating_add(sent.bytes);
        if entry.last != sent.service {
            entry.last = sent.service;
            entry.ports += u32::from(sent.is_port);
        }
        if entry.network == sent.network {
            entry.seen.1 |= sent.seen.1;
        } else if labels.network(entry.network) < labels.network(sent.network) {
            // The same of several in the end, whatever came first.
            tell(entry.told(&key));
            (entry.network, entry.seen) = (sent.network, sent.seen);
        } else {
            tell(Told { kind: sent.kind, source: sent.source, network: sent.network, seen: sent.seen });
        }
    }

    /// Forgets the lighter half.
    fn prune(&mut self, tell: &mut dyn FnMut(Told)) {
        let mut bounds: Vec<(Reverse<u64>, Key)> =
            self.entries.iter().map(|(key, entry)| (Reverse(entry.bound()), *key)).collect();
        let (_, &mut middle, _) = bounds.select_nth_unstable(self.limit / 2);
        self.floor = self.floor.max(middle.0.0);
        self.entries.retain(|key, entry| {
            let is_kept = (Reverse(entry.bound()), *key) < middle;
            if !is_kept {
                tell(entry.told(key));
            }
            is_kept
        });
    }

    /// Tells of all sources that are left.
    pub(super) fn tell_all(&self, tell: &mut dyn FnMut(Told)) {
        self.entries.iter().for_each(|(key, entry)| tell(entry.told(key)));
    }

    /// The lists of all kinds.
    pub(super) fn into_records(self, class: TrafficClass, limit: usize, labels: &Labels) -> Vec<Record> {
        let mut sorted: Vec<(Key, Entry)> = self.entries.into_iter().collect();
        let order = |(key, entry): &(Key, Entry)| (key.kind, Reverse(entry.bound()), entry.error, *key);
        sorted.sort_unstable_by_key(order);
        let mut records = Vec::new();
        for of_kind in sorted.chunk_by(|a, b| a.0.kind == b.0.kind) {
            let kind = of_kind[0].0.kind;
            let is_unknown = |entry: &Entry| labels.network(entry.network).known_scanner.is_none();
            let multi_port = of_kind.iter().filter(|(_, entry)| entry.ports >= MULTI_PORT && is_unknown(entry));
            let (multi_port_sources, multi_port_packets) = multi_port
                .fold((0, 0u64), |(sources, packets), (_, entry)| (sources + 1, packets.saturating_add(entry.packets)));
            let left_out = of_kind.get(limit).map_or(0, |(_, entry)| entry.bound());
            records.push(Record::SourceList {
                class,
                kind,
                floor: self.floor.max(left_out),
                is_complete: self.floor == 0,
                multi_port_sources,
                multi_port_packets,
            });
            for (place, (key, entry)) in of_kind.iter().take(limit).enumerate() {
                let network = labels.network(entry.network).clone();
                let mut source = key.source.address().to_string();
                if key.is_coarse {
                    source = format!("{source}/{}", network.prefix_length(key.source.ip));
                }
                let Entry { packets, error, bytes, ports, .. } = *entry;
                records.push(Record::Source { class, kind, place, source, packets, error, bytes, ports, network });
            }
        }
        records
    }
}
