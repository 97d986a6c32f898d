//! The few with the most packets of many.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Keeps those with the most packets. Of equally many the lesser keys win, so that the order of arrival does not matter.
#[derive(Debug)]
pub(super) struct Best<K: Ord, T> {
    /// The lightest on top.
    kept: BinaryHeap<Kept<K, T>>,
    limit: usize,
}

#[derive(Debug)]
struct Kept<K: Ord, T> {
    rank: (Reverse<u64>, K),
    value: T,
}

impl<K: Ord, T> PartialEq for Kept<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl<K: Ord, T> Eq for Kept<K, T> {}

impl<K: Ord, T> PartialOrd for Kept<K, T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, T> Ord for Kept<K, T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl<K: Ord, T> Best<K, T> {
    pub(super) const fn new(limit: usize) -> Best<K, T> {
        Best { kept: BinaryHeap::new(), limit }
    }

    /// Offers one with all of its packets; `value` is only made if it is kept.
    pub(super) fn offer<E>(&mut self, packets: u64, key: K, value: impl FnOnce() -> Result<T, E>) -> Result<(), E> {
        let rank = (Reverse(packets), key);
        if self.kept.len() >= self.limit && self.kept.peek().is_none_or(|lightest| lightest.rank <= rank) {
            return Ok(());
        }
        self.kept.push(Kept { rank, value: value()? });
        if self.kept.len() > self.limit {
            self.kept.pop();
        }
        Ok(())
    }

    /// Those that were kept, the one with the most packets first.
    pub(super) fn into_sorted(self) -> impl Iterator<Item = (u64, K, T)> {
        self.kept
            .into_sorted_vec()
            .into_iter()
            .map(|Kept { rank: (Reverse(packets), key), value }| (packets, key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_packets_are_kept_whatever_comes_first() {
        let offers = [(5, 'c'), (9, 'x'), (5, 'a'), (1, 'b'), (5, 'b'), (9, 'y')];
        let mut turned = offers;
        turned.reverse();
        for offers in [offers, turned] {
            let mut best = Best::new(4);
            offers.iter().for_each(|&(packets, key)| best.offer(packets, key, || Ok::<_, ()>(packets * 10)).unwrap());
            let kept: Vec<_> = best.into_sorted().collect();
            assert_eq!(kept, [(9, 'x', 90), (9, 'y', 90), (5, 'a', 50), (5, 'b', 50)]);
        }
        let mut none = Best::<char, ()>::new(0);
        none.offer(1, 'a', || Err(())).unwrap();
        assert_eq!(none.into_sorted().count(), 0);
    }
}
