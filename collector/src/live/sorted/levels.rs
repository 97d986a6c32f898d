//! A log-structured merge of sorted lists: how a bucket's rows grow without being copied for each list that comes.

use std::sync::Arc;

use super::{RowRef, Sorted, SortedKey};

/// Counts by key as few sorted lists, the older the longer: a list that comes is merged with those before it that are not twice
/// as long. Each row is copied about once for each doubling of what is held, and not once for each list that comes.
#[derive(Clone, Debug)]
pub struct Levels<K> {
    /// A key may be in several.
    lists: Vec<Arc<Sorted<K>>>,
    /// Keys that are told apart in all lists together, where that is known.
    told_apart: Option<usize>,
    /// Bytes that were left when sets were made coarse last.
    coarse_bytes: usize,
}

impl<K> Default for Levels<K> {
    fn default() -> Levels<K> {
        Levels { lists: Vec::new(), told_apart: Some(0), coarse_bytes: 0 }
    }
}

impl<K: SortedKey> Levels<K> {
    /// All rows, in no order: a key may come several times, and then means the sum.
    pub fn iter(&self) -> impl Iterator<Item = (K, RowRef<'_>)> {
        self.lists.iter().flat_map(|list| list.iter())
    }

    /// The lists, the oldest first: what is written down of them is kept as long as they are the same.
    pub fn lists(&self) -> impl Iterator<Item = &Arc<Sorted<K>>> {
        self.lists.iter()
    }

    /// Adds a list behind all others, as [`Levels::lists`] gave it.
    pub fn push_list(&mut self, list: Sorted<K>) {
        self.told_apart = None;
        self.lists.push(Arc::new(list));
    }

    /// All rows as one list.
    #[must_use]
    pub fn merged(&self) -> Arc<Sorted<K>> {
        let merge = |newer: Arc<Sorted<K>>, older: &Arc<Sorted<K>>| Arc::new(Sorted::merged(older.clone(), newer));
        match self.lists.split_last() {
            Some((newest, older)) => older.iter().rev().fold(newest.clone(), merge),
            None => Arc::default(),
        }
    }

    /// Memory on the heap, in bytes, about; with reference counts and what an allocation costs beside its bytes.
    #[must_use]
    pub fn heap_bytes(&self, allocation: usize) -> usize {
        let list = |list: &Arc<Sorted<K>>| {
            list.heap_bytes() + size_of::<Sorted<K>>() + 2 * size_of::<usize>() + 3 * allocation
        };
        self.lists.capacity() * size_of::<usize>() + self.lists.iter().map(list).sum::<usize>()
    }

    /// Whether adding a list leaves it at no more than `most` keys.
    #[must_use]
    pub fn has_room_for(&mut self, rows: &Sorted<K>, most: usize) -> bool {
        let held: usize = self.lists.iter().map(|list| list.len()).sum();
        held + rows.len() <= most || {
            let (told_apart, is_known) = (self.told_apart(), known(&self.lists, rows));
            told_apart + rows.told_apart() - is_known.iter().filter(|&&is_known| is_known).count() <= most
        }
    }

    /// How many keys are told apart.
    fn told_apart(&mut self) -> usize {
        let lists = &self.lists;
        let first_in = |place: usize| {
            let known = known(&lists[..place], &lists[place]);
            let told_apart =
                lists[place].rows.iter().zip(known).filter(|(row, known)| !known && !row.key.is_overflow());
            told_apart.count()
        };
        *self.told_apart.get_or_insert_with(|| (0..lists.len()).map(first_in).sum())
    }

    /// Adds a list. Beyond `most` keys, new ones are not told apart; returns how many packets these were.
    pub fn add(&mut self, rows: Sorted<K>, most: usize) -> u64 {
        let (mut rows, mut overflowed) = (rows, 0);
        if rows.is_empty() {
            return 0;
        }
        let held: usize = self.lists.iter().map(|list| list.len()).sum();
        if held + rows.len() <= most {
            self.told_apart = None;
        } else {
            // Only now it must be known how many keys there are.
            let (told_apart, is_known) = (self.told_apart(), known(&self.lists, &rows));
            let (kept, new, packets) = rows.limited(|place| is_known[place], most.saturating_sub(told_apart));
            (rows, overflowed) = (kept, packets);
            self.told_apart = Some(told_apart + new);
        }
        self.lists.push(Arc::new(rows));
        while let [.., older, newer] = &self.lists[..]
            && older.weight() < 2 * newer.weight()
        {
            self.merge_last();
        }
        overflowed
    }

    /// Makes sets coarse if all take more than so many bytes; returns how many. The keys alone may take more.
    pub fn bound_memory(&mut self, most_bytes: usize) -> u64 {
        // What a few lists bring is let in before all is gone through again.
        let most_bytes = most_bytes.max(self.coarse_bytes + self.coarse_bytes / 4);
        let mut coarsened = 0;
        for all in [false, true] {
            if self.heap_bytes(0) <= most_bytes {
                break;
            }
            self.compact();
            if let Some(list) = self.lists.first_mut() {
                let (coarse, sets) = list.coarsened(all);
                *list = Arc::new(coarse);
                coarsened += sets;
            }
            self.coarse_bytes = self.heap_bytes(0);
        }
        coarsened
    }

    /// Merges all lists into one.
    pub fn compact(&mut self) {
        while self.lists.len() > 1 {
            self.merge_last();
        }
    }

    fn merge_last(&mut self) {
        if let (Some(newer), Some(older)) = (self.lists.pop(), self.lists.pop()) {
            self.lists.push(Arc::new(Sorted::merged(older, newer)));
        }
    }
}

/// For each row of a list, whether its key is in others, too.
fn known<K: SortedKey>(others: &[Arc<Sorted<K>>], rows: &Sorted<K>) -> Vec<bool> {
    let mut is_known = vec![false; rows.len()];
    others.iter().for_each(|other| other.mark_known(rows, &mut is_known));
    is_known
}

impl<K: SortedKey> From<Arc<Sorted<K>>> for Levels<K> {
    fn from(list: Arc<Sorted<K>>) -> Levels<K> {
        let told_apart = Some(list.told_apart());
        let lists = if list.is_empty() { Vec::new() } else { vec![list] };
        Levels { lists, told_apart, coarse_bytes: 0 }
    }
}
