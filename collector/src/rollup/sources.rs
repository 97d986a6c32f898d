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
use martlet_window::{Kind, Marks, TrafficClass};

use super::populations::{Marked, Population};
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
    /// The segments in which it was seen, whomever it belonged to.
    segments: u32,
    /// TCP SYNs; no more than fit, which is a day of 50,000 a second.
    syns: u32,
    sensors: Sensors,
}

/// Which sensors saw something: the number of one, or that they were several. Four bytes, since there is one in each entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sensors(u32);

impl Sensors {
    const SEVERAL: Sensors = Sensors(u32::MAX);

    /// The sensor with a number. There are far fewer than four thousand million.
    pub(super) fn one(number: usize) -> Sensors {
        Sensors(u32::try_from(number).unwrap_or(u32::MAX))
    }

    pub(super) fn and(self, other: Sensors) -> Sensors {
        if self == other { self } else { Sensors::SEVERAL }
    }
}

impl Entry {
    const fn bound(&self) -> u64 {
        self.packets.saturating_add(self.error)
    }

    const fn told(&self, key: &Key) -> Told {
        Told { kind: key.kind, source: key.source, network: self.network, seen: self.seen, ended: None }
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
    /// The marks of all these packets.
    pub(super) marks: Marks,
    /// Whether they are TCP SYNs.
    pub(super) is_syn: bool,
    pub(super) sensors: Sensors,
}

/// What is said of a source of a region and network.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) kind: Kind,
    pub(super) source: Source,
    pub(super) network: u32,
    pub(super) seen: Seen,
    /// What all of its packets showed, when no more are added to them.
    pub(super) ended: Option<Ended>,
}

/// What all packets of a source showed.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    /// The segments in which it was seen.
    pub(super) segments: u32,
    /// The populations that it belongs to, with its packets that count there.
    pub(super) belongs: Vec<(Population, u64)>,
}

/// The sources of one traffic class.
#[derive(Debug)]
pub(super) struct SourceList {
    entries: HashMap<Key, Entry, TableState>,
    /// Of those entries with marks that say something of their source: few have.
    marked: HashMap<Key, Marked, TableState>,
    floor: u64,
    limit: usize,
}

impl SourceList {
    pub(super) fn new(limit: usize) -> SourceList {
        SourceList { entries: HashMap::default(), marked: HashMap::default(), floor: 0, limit: limit.max(2) }
    }

    /// Adds what a source sent. `tell` is told of sources as they are forgotten, or change hands.
    pub(super) fn add(&mut self, sent: &Sent, labels: &Labels, tell: &mut dyn FnMut(Told)) {
        let is_coarse = labels.network(sent.network).is_coarse;
        let key = Key { kind: sent.kind, source: sent.source, is_coarse };
        if self.entries.len() >= self.limit && !self.entries.contains_key(&key) {
            self.prune(labels, tell);
        }
        let fresh = Entry {
            packets: 0,
            bytes: 0,
            error: self.floor,
            seen: (sent.seen.0, 0),
            ports: 0,
            last: u32::MAX,
            network: sent.network,
            segments: 0,
            syns: 0,
            sensors: sent.sensors,
        };
        let entry = self.entries.entry(key).or_insert(fresh);
        entry.packets = entry.packets.saturating_add(sent.packets);
        entry.bytes = entry.bytes.saturating_add(sent.bytes);
        if entry.last != sent.service {
            entry.last = sent.service;
            entry.ports += u32::from(sent.is_port);
        }
        entry.segments |= sent.seen.1;
        entry.sensors = entry.sensors.and(sent.sensors);
        if sent.is_syn {
            entry.syns = entry.syns.saturating_add(u32::try_from(sent.packets).unwrap_or(u32::MAX));
        }
        if Marked::concerns(sent.marks) {
            self.marked.entry(key).or_default().add(sent.marks, sent.packets);
        }
        if entry.network == sent.network {
            entry.seen.1 |= sent.seen.1;
        } else if labels.network(entry.network) < labels.network(sent.network) {
            // The same of several in the end, whatever came first.
            tell(entry.told(&key));
            (entry.network, entry.seen) = (sent.network, sent.seen);
        } else {
            tell(Told { kind: sent.kind, source: sent.source, network: sent.network, seen: sent.seen, ended: None });
        }
    }

    /// Forgets the lighter half.
    fn prune(&mut self, labels: &Labels, tell: &mut dyn FnMut(Told)) {
        let mut bounds: Vec<(Reverse<u64>, Key)> =
            self.entries.iter().map(|(key, entry)| (Reverse(entry.bound()), *key)).collect();
        let (_, &mut middle, _) = bounds.select_nth_unstable(self.limit / 2);
        self.floor = self.floor.max(middle.0.0);
        let marked = &mut self.marked;
        self.entries.retain(|key, entry| {
            let is_kept = (Reverse(entry.bound()), *key) < middle;
            if !is_kept {
                tell(ended(key, entry, marked.remove(key), labels));
            }
            is_kept
        });
    }

    /// Tells of all sources that are left.
    pub(super) fn tell_all(&self, labels: &Labels, tell: &mut dyn FnMut(Told)) {
        self.entries.iter().for_each(|(key, entry)| tell(ended(key, entry, self.marked.get(key).copied(), labels)));
    }

    /// Whether all sources were told apart.
    pub(super) const fn is_complete(&self) -> bool {
        self.floor == 0
    }

    /// The lists of all kinds.
    pub(super) fn into_records(self, class: TrafficClass, limit: usize, labels: &Labels) -> Vec<Record> {
        let is_complete = self.is_complete();
        let mut sorted: Vec<(Key, Entry)> = self.entries.into_iter().collect();
        let order = |(key, entry): &(Key, Entry)| (key.kind, Reverse(entry.bound()), entry.error, *key);
        sorted.sort_unstable_by_key(order);
        let mut records = Vec::new();
        for of_kind in sorted.chunk_by(|a, b| a.0.kind == b.0.kind) {
            let kind = of_kind[0].0.kind;
            let multi_port = of_kind.iter().filter(|(_, entry)| is_multi_port(entry, labels));
            let (multi_port_sources, multi_port_packets) = multi_port
                .fold((0, 0u64), |(sources, packets), (_, entry)| (sources + 1, packets.saturating_add(entry.packets)));
            let left_out = of_kind.get(limit).map_or(0, |(_, entry)| entry.bound());
            records.push(Record::SourceList {
                class,
                kind,
                floor: self.floor.max(left_out),
                is_complete,
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

fn is_multi_port(entry: &Entry, labels: &Labels) -> bool {
    entry.ports >= MULTI_PORT && labels.network(entry.network).known_scanner.is_none()
}

/// What is told of a source of which nothing more is added.
fn ended(key: &Key, entry: &Entry, marked: Option<Marked>, labels: &Labels) -> Told {
    let tools = marked.into_iter().flat_map(|marked| marked.confirmed(entry.syns.into()));
    let whole = [
        (Population::MultiPort, is_multi_port(entry, labels)),
        (Population::SeveralSensors, entry.sensors == Sensors::SEVERAL),
    ];
    let whole = whole.into_iter().filter(|&(_, belongs)| belongs).map(|(population, _)| (population, entry.packets));
    Told { ended: Some(Ended { segments: entry.segments, belongs: tools.chain(whole).collect() }), ..entry.told(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `history.tracked_sources` says that a source costs.
    #[test]
    fn a_source_is_as_large_as_the_configuration_says() {
        assert_eq!(size_of::<(Key, Entry)>(), 96);
        assert_eq!(size_of::<(Key, Marked)>(), 80);
    }

    #[test]
    fn sensors_are_one_until_another_comes() {
        let one = Sensors::one(7);
        assert_eq!(one.and(Sensors::one(7)), one);
        for several in [one.and(Sensors::one(8)), Sensors::SEVERAL.and(one), one.and(Sensors::SEVERAL)] {
            assert_eq!(several, Sensors::SEVERAL);
        }
    }
}
