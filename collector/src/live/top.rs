//! The heaviest sources of a bucket, with an honest error.
//!
//! The idea is that of Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient computation of frequent and top-k
//! elements in data streams", 2005) in a form that merges: `floor` bounds what any source that is not listed can have
//! sent, `packets` is what is certain of a listed one, and `error` what it may have sent beside that before it was
//! listed. So `packets <= truth <= packets + error` for listed sources and `truth <= floor` for all others, whatever
//! the order of merges.

use std::cmp::Reverse;

use super::key::Source;
use crate::aggregate::SourceCounts;

/// A listed source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopEntry {
    /// The source.
    pub source: Source,
    /// Packets that are certain.
    pub packets: u64,
    /// Most packets it may have sent beside them.
    pub error: u64,
}

impl TopEntry {
    const fn bound(&self) -> u64 {
        self.packets.saturating_add(self.error)
    }
}

/// The heaviest sources.
#[derive(Clone, Debug, Default)]
pub struct TopSources {
    /// Ascending by source.
    pub(super) entries: Vec<TopEntry>,
    pub(super) floor: u64,
}

impl TopSources {
    /// The listed sources, ascending by address.
    #[must_use]
    pub fn entries(&self) -> &[TopEntry] {
        &self.entries
    }

    /// Most packets that a source which is not listed can have sent.
    #[must_use]
    pub const fn floor(&self) -> u64 {
        self.floor
    }

    /// Memory on the heap, in bytes.
    #[must_use]
    pub const fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<TopEntry>()
    }

    /// Adds exact counts, then keeps the `capacity` heaviest.
    pub fn add(&mut self, counts: &SourceCounts, capacity: usize) {
        for entry in &mut self.entries {
            let packets = counts.get(entry.source).unwrap_or(0);
            entry.packets = entry.packets.saturating_add(packets);
        }
        // What is lighter than all of a full list would be dropped from it at once.
        let lightest = self.entries.iter().map(TopEntry::bound).min().filter(|_| self.entries.len() >= capacity);
        let (known, floor) = (self.entries.len(), self.floor);
        let mut dropped = 0;
        for (source, packets) in counts.iter() {
            // It may have been here before, unlisted.
            let entry = TopEntry { source, packets, error: floor };
            let is_light = lightest.is_some_and(|lightest| entry.bound() < lightest);
            if is_light && entry.bound() <= dropped {
                continue;
            }
            let is_new = self.entries[..known].binary_search_by_key(&source, |entry| entry.source).is_err();
            match (is_new, is_light) {
                (true, true) => dropped = entry.bound(),
                (true, false) => self.entries.push(entry),
                (false, _) => {}
            }
        }
        self.floor = floor.max(dropped);
        if self.entries.len() > capacity {
            self.prune(capacity);
        }
        self.entries.sort_unstable_by_key(|entry| entry.source);
    }

    fn prune(&mut self, capacity: usize) {
        // Ties are broken by address, so that the same counts always list the same sources.
        let order = |entry: &TopEntry| (Reverse(entry.bound()), entry.error, entry.source);
        self.entries.select_nth_unstable_by_key(capacity, order);
        let dropped = self.entries.drain(capacity..).map(|entry| entry.bound()).max();
        self.floor = self.floor.max(dropped.unwrap_or(0));
        self.entries.shrink_to(capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_window::IpVersion;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn counts(of: impl IntoIterator<Item = (u128, u64)>) -> SourceCounts {
        let mut counts = SourceCounts::default();
        for (source, packets) in of {
            counts.add(IpVersion::V4, &[source], &[u32::try_from(packets).unwrap()]);
        }
        counts
    }

    proptest! {
        #[test]
        fn the_bounds_hold(rounds in proptest::collection::vec(
            proptest::collection::vec((0u128..60, 1u64..50), 0..60), 0..20)) {
            let mut top = TopSources::default();
            let mut truth: BTreeMap<u128, u64> = BTreeMap::new();
            for round in rounds {
                let mut delta: BTreeMap<u128, u64> = BTreeMap::new();
                for (source, packets) in round {
                    *delta.entry(source).or_default() += packets;
                    *truth.entry(source).or_default() += packets;
                }
                top.add(&counts(delta), 10);
                prop_assert!(top.entries().len() <= 10);
                for (&source, &packets) in &truth {
                    let source = Source::new(IpVersion::V4, source);
                    match top.entries().iter().find(|entry| entry.source == source) {
                        Some(entry) => {
                            prop_assert!(entry.packets <= packets && packets <= entry.packets + entry.error);
                        }
                        None => prop_assert!(packets <= top.floor()),
                    }
                }
            }
        }
    }

    #[test]
    fn few_sources_are_exact_and_a_heavy_one_survives_a_flood() {
        let source = |n: u128| Source::new(IpVersion::V4, n);
        let mut top = TopSources::default();
        for round in 0..100u128 {
            let flood = (0..50).map(|i| (1000 + round * 50 + i, 1));
            top.add(&counts(flood.chain([(1, 20)])), 64);
        }
        let heavy = top.entries().iter().find(|entry| entry.source == source(1)).unwrap();
        assert_eq!((heavy.packets, heavy.error), (2000, 0));
        assert!(top.floor() <= 100, "{}", top.floor());
    }
}
