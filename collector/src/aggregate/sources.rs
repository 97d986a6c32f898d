//! Packets by source: the largest table of a worker, and the one that every row changes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use foldhash::fast::RandomState as TableState;
use martlet_window::IpVersion;

use crate::live::Source;

/// Places that an empty table begins with.
const FEWEST_PLACES: usize = 1 << 10;
/// A table that is emptied keeps at most so many places, which are 4 MiB: more would be emptied in vain each time.
const MOST_KEPT_PLACES: usize = 1 << 19;

/// Takes every page of a table once, neighbours far apart: an odd number near a power of two by the golden ratio.
const SCATTER: usize = 0x9e37_79b1;

/// The secret of this process: those whose addresses are counted must not be able to choose them so that they collide.
static SECRET: LazyLock<[u64; 2]> = LazyLock::new(|| {
    let state = RandomState::new();
    [state.hash_one(0), state.hash_one(1) | 1]
});

/// Packets by source.
///
/// IPv4 sources, which are nearly all, have eight bytes each in a table with open addressing and linear probing: a row then
/// costs one cache line. A source of more than 2^32 - 1 packets goes on in a map beside it.
///
/// Two things that often help such tables did not help this one at up to ten million sources (benches, program aggregation):
/// reading the homes of 128 rows before changing any, and huge pages, which take longer to clear than they save.
#[derive(Clone, Debug)]
pub struct SourceCounts {
    /// A power of two of places, at most five eighths taken; empty where there are no packets.
    places: Vec<Place>,
    taken: usize,
    /// Packets that did not fit into a source's place, beside those that did.
    carried: HashMap<u32, u64, TableState>,
    ipv6: HashMap<u128, u64, TableState>,
    secret: [u64; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    source: u32,
    packets: u32,
}

impl Default for SourceCounts {
    fn default() -> SourceCounts {
        SourceCounts {
            places: Vec::new(),
            taken: 0,
            carried: HashMap::default(),
            ipv6: HashMap::default(),
            secret: *SECRET,
        }
    }
}

impl SourceCounts {
    /// Sources.
    #[must_use]
    pub fn len(&self) -> usize {
        self.taken + self.ipv6.len()
    }

    /// Whether there are no sources.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory on the heap, in bytes, about.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.places.len() * size_of::<Place>() + self.ipv6.capacity() * size_of::<(u128, u64)>()
    }

    /// Packets of a source.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "an IPv4 source has 32 bits")]
    pub fn get(&self, source: Source) -> Option<u64> {
        if source.ip == IpVersion::V6 || self.places.is_empty() {
            return self.ipv6.get(&source.bits()).copied().filter(|_| source.ip == IpVersion::V6);
        }
        let (address, mask) = (source.bits() as u32, self.places.len() - 1);
        let mut at = self.home(address) & mask;
        while self.places[at].packets > 0 {
            if self.places[at].source == address {
                return Some(self.packets(&self.places[at]));
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// Packets of a place that is taken, and what was carried from it.
    fn packets(&self, place: &Place) -> u64 {
        let carried = if self.carried.is_empty() { None } else { self.carried.get(&place.source) };
        u64::from(place.packets) + carried.copied().unwrap_or(0)
    }

    /// Adds rows: sources as in a count row, and as many counts of packets, each at least 1.
    pub fn add(&mut self, ip: IpVersion, sources: &[u128], packets: &[u32]) {
        match ip {
            IpVersion::V4 => self.add_ipv4(sources, packets),
            IpVersion::V6 => {
                for (&source, &packets) in sources.iter().zip(packets) {
                    *self.ipv6.entry(source).or_default() += u64::from(packets);
                }
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "an IPv4 source has 32 bits")]
    fn add_ipv4(&mut self, sources: &[u128], packets: &[u32]) {
        for (sources, packets) in sources.chunks(FEWEST_PLACES / 2).zip(packets.chunks(FEWEST_PLACES / 2)) {
            self.make_room(sources.len());
            for (&source, &packets) in sources.iter().zip(packets) {
                self.add_one(source as u32, packets);
            }
        }
    }

    /// There is room.
    #[inline]
    fn add_one(&mut self, source: u32, packets: u32) {
        let mask = self.places.len() - 1;
        let mut at = self.home(source) & mask;
        loop {
            let place = &mut self.places[at];
            if place.packets == 0 {
                *place = Place { source, packets };
                self.taken += 1;
                return;
            }
            if place.source == source {
                match place.packets.checked_add(packets) {
                    Some(sum) => place.packets = sum,
                    None => self.carry(source, packets),
                }
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// Rare, so it is kept out of the loop around it.
    #[cold]
    #[inline(never)]
    fn carry(&mut self, source: u32, packets: u32) {
        *self.carried.entry(source).or_default() += u64::from(packets);
    }

    /// The place of a source, in a table of any size: the fold of a product with a secret.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
    fn home(&self, source: u32) -> usize {
        let product = u128::from(u64::from(source) ^ self.secret[0]) * u128::from(self.secret[1]);
        (product as u64 ^ (product >> 64) as u64) as usize
    }

    /// Makes the table so large that so many more sources fit.
    fn make_room(&mut self, more: usize) {
        let needed = (self.taken + more) * 8 / 5 + 1;
        if needed > self.places.len() {
            self.grow(needed);
        }
    }

    #[cold]
    fn grow(&mut self, needed: usize) {
        let larger = vec![Place::default(); needed.next_power_of_two().max(FEWEST_PLACES)];
        let old = std::mem::replace(&mut self.places, larger);
        self.taken = 0;
        for place in old.iter().filter(|place| place.packets > 0) {
            self.add_one(place.source, place.packets);
        }
    }

    /// Adds all that another table counted.
    pub fn merge(&mut self, other: &SourceCounts) {
        // In the order of their places, all sources would first crowd one end of a table of the same hash.
        let pages = other.places.len() / FEWEST_PLACES;
        for page in (0..pages).map(|n| n.wrapping_mul(SCATTER) & (pages - 1)) {
            self.make_room(FEWEST_PLACES);
            for place in &other.places[page * FEWEST_PLACES..][..FEWEST_PLACES] {
                if place.packets > 0 {
                    self.add_one(place.source, place.packets);
                }
            }
        }
        for (&source, &packets) in &other.carried {
            *self.carried.entry(source).or_default() += packets;
        }
        for (&source, &packets) in &other.ipv6 {
            *self.ipv6.entry(source).or_default() += packets;
        }
    }

    /// All sources, each once, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Source, u64)> {
        let places = self.places.iter().filter(|place| place.packets > 0);
        let ipv4 = places.map(|place| (Source::new(IpVersion::V4, place.source.into()), self.packets(place)));
        ipv4.chain(self.ipv6.iter().map(|(&source, &packets)| (Source::new(IpVersion::V6, source), packets)))
    }

    /// Forgets all sources and keeps the memory, unless it is unusually much.
    pub fn clear(&mut self) {
        if self.places.len() > MOST_KEPT_PLACES {
            self.places = Vec::new();
        } else if self.taken > 0 {
            self.places.fill(Place::default());
        }
        self.taken = 0;
        self.carried.clear();
        self.ipv6.clear();
        if self.ipv6.capacity() > MOST_KEPT_PLACES / 8 {
            self.ipv6 = HashMap::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn sums(counts: &SourceCounts) -> BTreeMap<Source, u64> {
        let sums: BTreeMap<Source, u64> = counts.iter().collect();
        assert_eq!(sums.len(), counts.len());
        assert!(sums.iter().all(|(&source, &packets)| counts.get(source) == Some(packets)));
        assert_eq!(counts.get(Source::new(IpVersion::V4, u32::MAX.into())), None);
        sums
    }

    proptest! {
        #[test]
        fn it_counts_as_a_map_does(rows in proptest::collection::vec((any::<bool>(), 0u32..3000, 1u32..5), 0..6000)) {
            let (mut counts, mut expected) = (SourceCounts::default(), BTreeMap::new());
            for (v6, source, packets) in rows {
                let ip = if v6 { IpVersion::V6 } else { IpVersion::V4 };
                counts.add(ip, &[source.into()], &[packets]);
                *expected.entry(Source::new(ip, source.into())).or_default() += u64::from(packets);
            }
            prop_assert_eq!(counts.len(), expected.len());
            prop_assert_eq!(sums(&counts), expected);
            counts.clear();
            prop_assert!(counts.is_empty() && counts.iter().next().is_none());
        }
    }

    #[test]
    fn more_than_a_place_holds_is_carried() {
        let mut counts = SourceCounts::default();
        counts.add(IpVersion::V4, &[7; 5], &[u32::MAX; 5]);
        counts.add(IpVersion::V4, &[7, 8], &[1, 1]);
        assert_eq!(counts.len(), 2);
        let source = |bits| Source::new(IpVersion::V4, bits);
        assert_eq!(sums(&counts), BTreeMap::from([(source(7), 5 * u64::from(u32::MAX) + 1), (source(8), 1)]));
    }

    #[test]
    fn merged_tables_hold_what_both_did() {
        // Nearly full tables of the same size, in which few sources are the same, and more than a place holds.
        let mut counts = [SourceCounts::default(), SourceCounts::default()];
        let mut expected = BTreeMap::new();
        for (number, counts) in (0u128..).zip(&mut counts) {
            let sources: Vec<u128> = (0..80_000).map(|n| n * 2 + number * n % 3).collect();
            counts.add(IpVersion::V4, &sources, &vec![u32::MAX - 1; sources.len()]);
            counts.add(IpVersion::V6, &[1, 2 + number], &[1, 1]);
            for (source, packets) in counts.iter() {
                *expected.entry(source).or_default() += packets;
            }
        }
        let [mut merged, other] = counts;
        merged.merge(&other);
        assert_eq!(sums(&merged), expected);
        let mut empty = SourceCounts::default();
        empty.merge(&merged);
        empty.merge(&SourceCounts::default());
        assert_eq!(sums(&empty), expected);
    }

    #[test]
    fn large_batches_and_reuse() {
        let mut counts = SourceCounts::default();
        for round in 0..3u128 {
            let sources: Vec<u128> = (0..700_000).map(|n| n * 6000 + round).collect();
            counts.add(IpVersion::V4, &sources, &vec![1; sources.len()]);
            assert_eq!(counts.len(), sources.len());
            counts.clear();
        }
    }
}
