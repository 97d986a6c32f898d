//! Exact counts over a capture. Memory grows with the distinct keys, nothing else.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use martlet_observe::classify::{Aim, destination_port};
use martlet_packet::{Packet, Transport, protocol};
use martlet_window::{Class, IpVersion, Kind, Mark, Marks, RejectReason, Timestamp, address_bits};

type Map<K, V> = HashMap<K, V, RandomState>;
type Set<K> = HashSet<K, RandomState>;

/// A source address with its version: `::192.0.2.1` is another source than `192.0.2.1`.
type Source = (IpVersion, u128);

/// IP version, protocol, and destination port where there is one.
pub(super) type PortKey = (IpVersion, u8, Option<u16>);
/// IP version, type, code.
pub(super) type IcmpKey = (IpVersion, u8, u8);
/// IP version, protocol, kind.
pub(super) type KindKey = (IpVersion, u8, Kind);

/// Packets, bytes and distinct sources of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Sum of stated IP lengths.
    pub bytes: u64,
    /// Exact number of distinct source addresses.
    pub sources: u64,
}

/// Counts by one kind of key, with exact distinct sources.
#[derive(Debug)]
struct Counts<K> {
    /// Index of each key in `counts`.
    index: Map<K, u32>,
    counts: Vec<(K, Count)>,
    seen: Set<(u32, Source)>,
}

impl<K: Copy + Eq + std::hash::Hash> Counts<K> {
    fn new() -> Counts<K> {
        Counts { index: Map::default(), counts: Vec::new(), seen: Set::default() }
    }

    fn add(&mut self, key: K, source: Source, bytes: u32) {
        // There are fewer than 2^32 keys of each kind: at most 2 versions x 256 protocols x 65,537 ports.
        let next = u32::try_from(self.counts.len()).unwrap_or(u32::MAX);
        let index = *self.index.entry(key).or_insert(next);
        if index == next {
            self.counts.push((key, Count::default()));
        }
        let Some((_, count)) = self.counts.get_mut(index as usize) else { return };
        count.packets += 1;
        count.bytes += u64::from(bytes);
        count.sources += u64::from(self.seen.insert((index, source)));
    }
}

/// What was counted.
#[derive(Debug)]
pub struct Tally {
    frames: u64,
    rejected: [u64; RejectReason::ALL.len()],
    total: Count,
    sources: Set<Source>,
    times: Option<(Timestamp, Timestamp)>,
    ports: Counts<PortKey>,
    icmp: Map<IcmpKey, u64>,
    kinds: Counts<KindKey>,
    marks: Counts<Mark>,
    unavailable: Marks,
}

impl Tally {
    /// An empty tally.
    #[must_use]
    pub fn new(aim: Aim) -> Tally {
        Tally {
            frames: 0,
            rejected: Default::default(),
            total: Count::default(),
            sources: Set::default(),
            times: None,
            ports: Counts::new(),
            icmp: Map::default(),
            kinds: Counts::new(),
            marks: Counts::new(),
            unavailable: aim.unavailable(),
        }
    }

    /// Counts a frame that holds no packet to count.
    pub fn reject(&mut self, reason: RejectReason) {
        self.frames += 1;
        self.rejected[reason as usize] += 1;
    }

    /// Counts a packet.
    pub fn count(&mut self, packet: &Packet<'_>, class: Class, time: Timestamp) {
        let source = (packet.ip(), address_bits(packet.source));
        self.frames += 1;
        self.total.packets += 1;
        self.total.bytes += u64::from(packet.length);
        self.total.sources += u64::from(self.sources.insert(source));
        self.times = Some(self.times.map_or((time, time), |(first, last)| (first.min(time), last.max(time))));
        self.ports.add((class.ip, class.protocol, destination_port(packet)), source, packet.length);
        self.kinds.add((class.ip, class.protocol, class.kind), source, packet.length);
        if let Transport::Icmp(icmp) = &packet.transport {
            let own = if class.ip == IpVersion::V4 { protocol::ICMP } else { protocol::ICMPV6 };
            if class.protocol == own {
                *self.icmp.entry((class.ip, icmp.icmp_type, icmp.code)).or_default() += 1;
            }
        }
        for mark in class.marks.iter() {
            self.marks.add(mark, source, packet.length);
        }
    }

    /// Frames: packets and rejects.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Packets, bytes and distinct sources in all.
    #[must_use]
    pub const fn total(&self) -> Count {
        self.total
    }

    /// Frames rejected for a reason.
    #[must_use]
    pub const fn rejected(&self, reason: RejectReason) -> u64 {
        self.rejected[reason as usize]
    }

    /// Time of the first and the last counted packet.
    #[must_use]
    pub const fn times(&self) -> Option<(Timestamp, Timestamp)> {
        self.times
    }

    /// By IP version, protocol and destination port; most packets first.
    #[must_use]
    pub fn ports(&self) -> Vec<(PortKey, Count)> {
        sorted(&self.ports.counts)
    }

    /// By IP version, type and code; most packets first.
    #[must_use]
    pub fn icmp(&self) -> Vec<(IcmpKey, u64)> {
        let mut rows: Vec<_> = self.icmp.iter().map(|(&key, &packets)| (key, packets)).collect();
        rows.sort_unstable_by_key(|&(key, packets)| (std::cmp::Reverse(packets), key));
        rows
    }

    /// By IP version, protocol and kind; most packets first.
    #[must_use]
    pub fn kinds(&self) -> Vec<(KindKey, Count)> {
        sorted(&self.kinds.counts)
    }

    /// By mark, in wire order; `None` where a mark could not be decided.
    #[must_use]
    pub fn marks(&self) -> Vec<(Mark, Option<Count>)> {
        let count = |mark: Mark| {
            let found = self.marks.counts.iter().find(|&&(key, _)| key == mark);
            found.map(|&(_, count)| count).unwrap_or_default()
        };
        let decided = |mark: Mark| (!self.unavailable.contains(mark)).then(|| count(mark));
        Mark::ALL.into_iter().map(|mark| (mark, decided(mark))).collect()
    }
}

fn sorted<K: Copy + Ord>(counts: &[(K, Count)]) -> Vec<(K, Count)> {
    let mut rows = counts.to_vec();
    rows.sort_unstable_by_key(|&(key, count)| (std::cmp::Reverse(count.packets), key));
    rows
}
