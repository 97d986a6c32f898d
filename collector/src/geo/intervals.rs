//! Networks of an address family as one sorted list of intervals: longest prefix wins, found by one binary search.
//!
//! Networks lie within each other or apart, never across, so they can be laid flat when they are read: each place where
//! the most specific network changes is one entry. A lookup is then a search for the last such place at or below the
//! address.

use std::cmp::Reverse;

/// The number of an address.
pub(super) trait Number: Copy + Ord {
    /// The number behind it; `None` behind the last.
    fn next(self) -> Option<Self>;
}

impl Number for u32 {
    fn next(self) -> Option<u32> {
        self.checked_add(1)
    }
}

impl Number for u128 {
    fn next(self) -> Option<u128> {
        self.checked_add(1)
    }
}

/// A network, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network<N> {
    pub(super) first: N,
    pub(super) last: N,
    pub(super) owner: u32,
}

/// Who owns what, without gaps: an entry goes on until the next one begins.
#[derive(Debug, Default)]
pub(super) struct Intervals<N> {
    starts: Vec<N>,
    owners: Vec<Option<u32>>,
}

impl<N: Number> Intervals<N> {
    /// Of two networks that are the same, the one that comes first in the list wins.
    pub(super) fn new(mut networks: Vec<Network<N>>) -> Intervals<N> {
        // Stable: the same network of a later list stays behind that of an earlier one, and is dropped.
        networks.sort_by_key(|network| (network.first, Reverse(network.last)));
        networks.dedup_by_key(|network| (network.first, network.last));
        let mut flat = Intervals { starts: Vec::new(), owners: Vec::new() };
        // The networks around the place that was reached, the widest first.
        let mut around: Vec<Network<N>> = Vec::new();
        for network in networks {
            while let Some(inner) = around.pop_if(|inner| inner.last < network.first) {
                flat.leave(&inner, around.last());
            }
            flat.begin(network.first, Some(network.owner));
            around.push(network);
        }
        while let Some(inner) = around.pop() {
            flat.leave(&inner, around.last());
        }
        flat.starts.shrink_to_fit();
        flat.owners.shrink_to_fit();
        flat
    }

    fn leave(&mut self, inner: &Network<N>, outer: Option<&Network<N>>) {
        if let Some(behind) = inner.last.next() {
            self.begin(behind, outer.map(|outer| outer.owner));
        }
    }

    fn begin(&mut self, start: N, owner: Option<u32>) {
        match (self.starts.last(), self.owners.last_mut()) {
            // Several networks end, or one begins, at the same place: what is said last holds.
            (Some(&last), Some(held)) if last == start => *held = owner,
            (_, Some(held)) if *held == owner => {}
            _ => {
                self.starts.push(start);
                self.owners.push(owner);
            }
        }
    }

    /// Owner of the most specific network that holds the address.
    pub(super) fn owner(&self, address: N) -> Option<u32> {
        let after = self.starts.partition_point(|&start| start <= address);
        after.checked_sub(1).and_then(|at| self.owners[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network(address: u32, length: u32, owner: u32) -> Network<u32> {
        let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
        Network { first: address & !hosts, last: address | hosts, owner }
    }

    /// The definition itself: the longest prefix, and of equal ones the first.
    fn by_hand(networks: &[Network<u32>], address: u32) -> Option<u32> {
        let holding = networks.iter().filter(|network| (network.first..=network.last).contains(&address));
        // min_by_key gives the first of equal ones.
        holding.min_by_key(|network| network.last - network.first).map(|network| network.owner)
    }

    #[test]
    fn the_longest_prefix_wins() {
        let networks = vec![
            network(0x0a00_0000, 8, 1),
            network(0x0a01_0000, 16, 2),
            network(0x0a01_0203, 32, 3),
            network(0, 1, 0),
        ];
        let table = Intervals::new(networks);
        for (address, owner) in [
            (0x0a00_0000, Some(1)),
            (0x0a01_0202, Some(2)),
            (0x0a01_0203, Some(3)),
            (0x0a01_0204, Some(2)),
            (0x0a01_ffff, Some(2)),
            (0x0a02_0000, Some(1)),
            (0x0b00_0000, Some(0)),
            (0x7fff_ffff, Some(0)),
            (0x8000_0000, None),
            (u32::MAX, None),
        ] {
            assert_eq!(table.owner(address), owner, "{address:08x}");
        }
        assert_eq!(Intervals::<u128>::new(Vec::new()).owner(7), None);
    }

    #[test]
    fn the_last_address_has_nothing_behind_it() {
        let table = Intervals::new(vec![network(u32::MAX, 8, 1), network(u32::MAX, 32, 2)]);
        assert_eq!((table.owner(u32::MAX), table.owner(u32::MAX - 1)), (Some(2), Some(1)));
        let all = Intervals::new(vec![Network { first: 0, last: u128::MAX, owner: 9 }]);
        assert_eq!((all.owner(0), all.owner(u128::MAX)), (Some(9), Some(9)));
    }

    proptest! {
        #[test]
        fn it_is_what_the_definition_says(
            networks in prop::collection::vec((0u32..64, 26u32..=32, 0u32..4), 0..24),
        ) {
            // All within a space so small that networks nest, touch and repeat.
            let networks: Vec<_> = networks.into_iter().map(|(at, length, owner)| network(at, length, owner)).collect();
            let table = Intervals::new(networks.clone());
            for address in (0..70).chain([u32::MAX]) {
                prop_assert_eq!(table.owner(address), by_hand(&networks, address), "{}", address);
            }
        }
    }
}
