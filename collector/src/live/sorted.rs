//! Counts by key in sorted lists, with each key's distinct sources: what rows of a bucket are kept in.
//!
//! A list never changes once it is made, so views and commits share it, and adding to it means to merge two lists into a third.
//! Each step through it reads memory in its order. A hash table per bucket with a set on the heap per key, which was here
//! before, waits for memory at each key instead, and has to be copied when a view still holds it.

mod levels;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use martlet_window::DistinctSources;

pub use self::levels::Levels;

/// What a list is sorted by.
pub trait SortedKey: Copy + Ord {
    /// The key of what is not told apart from others like it any more. Such keys are behind all others.
    #[must_use]
    fn overflow(self) -> Self;
    /// Whether it is such a key.
    fn is_overflow(self) -> bool;
}

/// Counts ascending by key.
#[derive(Clone, Debug)]
pub struct Sorted<K> {
    rows: Vec<Entry<K>>,
    /// The hashes of exact sets, one set behind another in the order of the rows, ascending in each.
    hashes: Vec<u64>,
    /// Sets that are not exact any more.
    large: Vec<DistinctSources>,
}

#[derive(Clone, Copy, Debug)]
struct Entry<K> {
    key: K,
    packets: u64,
    bytes: u64,
    /// Where its hashes end, which begin where those of the row before it end.
    end: u32,
    /// One more than the place of its set among the large ones; 0 if it is exact.
    large: u32,
}

/// What is known of one key.
#[derive(Clone, Copy, Debug)]
pub struct RowRef<'a> {
    /// Packets.
    pub packets: u64,
    /// IP total lengths, in bytes.
    pub bytes: u64,
    /// Sources.
    pub sources: SetRef<'a>,
}

/// Distinct sources of one key.
#[derive(Clone, Copy, Debug)]
pub enum SetRef<'a> {
    /// All their hashes, ascending; at most [`DistinctSources::EXACT_LIMIT`].
    Hashes(&'a [u64]),
    /// A set.
    Set(&'a DistinctSources),
}

impl SetRef<'_> {
    /// Adds them to a set.
    pub fn add_to(&self, set: &mut DistinctSources) {
        match self {
            SetRef::Hashes(hashes) => set.insert(hashes),
            SetRef::Set(sources) => set.merge(sources),
        }
    }

    /// The relative standard error of their number; 0 if it is exact.
    #[must_use]
    pub const fn standard_error(&self) -> f64 {
        match self {
            SetRef::Hashes(_) => 0.0,
            SetRef::Set(set) => set.standard_error(),
        }
    }

    /// As a set of its own.
    #[must_use]
    pub fn to_set(self) -> DistinctSources {
        let mut set = DistinctSources::default();
        self.add_to(&mut set);
        set
    }
}

impl<K> Default for Sorted<K> {
    fn default() -> Sorted<K> {
        Sorted { rows: Vec::new(), hashes: Vec::new(), large: Vec::new() }
    }
}

impl<K: SortedKey> Sorted<K> {
    /// An empty list with room for so many rows and hashes.
    #[must_use]
    pub fn with_capacity(rows: usize, hashes: usize) -> Sorted<K> {
        Sorted { rows: Vec::with_capacity(rows), hashes: Vec::with_capacity(hashes), large: Vec::new() }
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All rows, ascending by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (K, RowRef<'_>)> + DoubleEndedIterator {
        (0..self.rows.len()).map(|place| (self.rows[place].key, self.row(place)))
    }

    /// Memory on the heap, in bytes, about. Sketches that are shared with other lists count in each.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Entry<K>>()
            + self.hashes.capacity() * size_of::<u64>()
            + self.large.capacity() * size_of::<DistinctSources>()
            + self.large.iter().map(DistinctSources::heap_bytes).sum::<usize>()
    }

    /// What copying it costs: eight bytes each.
    fn weight(&self) -> usize {
        self.rows.len() * (size_of::<Entry<K>>() / 8) + self.hashes.len() + self.large.len() * 512
    }

    fn row(&self, place: usize) -> RowRef<'_> {
        let entry = &self.rows[place];
        RowRef { packets: entry.packets, bytes: entry.bytes, sources: self.set(place) }
    }

    fn set(&self, place: usize) -> SetRef<'_> {
        let entry = &self.rows[place];
        match entry.large {
            0 => SetRef::Hashes(&self.hashes[self.begin(place)..entry.end as usize]),
            large => SetRef::Set(&self.large[large as usize - 1]),
        }
    }

    /// Where the hashes of the row at a place begin.
    fn begin(&self, place: usize) -> usize {
        place.checked_sub(1).map_or(0, |before| self.rows[before].end as usize)
    }

    /// Adds a row behind all others. Its hashes are those that were added to the list since the last row, ascending.
    #[expect(clippy::cast_possible_truncation, reason = "see position")]
    fn close_row(&mut self, key: K, packets: u64, bytes: u64) {
        debug_assert!(self.rows.last().is_none_or(|last| last.key < key));
        self.rows.push(Entry { key, packets, bytes, end: self.hashes.len() as u32, large: 0 });
    }

    /// Adds a row behind all others with any number of hashes, in any order, which are left in no order.
    pub fn push(&mut self, key: K, packets: u64, bytes: u64, hashes: &mut Vec<u64>) {
        /// More are sorted by putting them into a table first, most of which are of few sources.
        const FEW: usize = 64;
        if hashes.len() > FEW {
            let mut set = DistinctSources::default();
            set.insert(hashes);
            self.push_set(key, packets, bytes, set);
            return;
        }
        if hashes.len() > 1 {
            hashes.sort_unstable();
            hashes.dedup();
        }
        self.hashes.extend_from_slice(hashes);
        self.close_row(key, packets, bytes);
    }

    /// Adds a row behind all others.
    pub fn push_set(&mut self, key: K, packets: u64, bytes: u64, set: DistinctSources) {
        match set.hashes() {
            Some(hashes) => {
                self.hashes.extend_from_slice(&hashes);
                self.close_row(key, packets, bytes);
            }
            None => self.push_large(key, packets, bytes, set),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "there are no more sets than rows; see position")]
    fn push_large(&mut self, key: K, packets: u64, bytes: u64, set: DistinctSources) {
        self.close_row(key, packets, bytes);
        self.large.push(set);
        if let Some(last) = self.rows.last_mut() {
            last.large = self.large.len() as u32;
        }
    }

    fn push_ref(&mut self, key: K, row: &RowRef<'_>) {
        match row.sources {
            SetRef::Hashes(hashes) => {
                self.hashes.extend_from_slice(hashes);
                self.close_row(key, row.packets, row.bytes);
            }
            SetRef::Set(set) => self.push_large(key, row.packets, row.bytes, set.clone()),
        }
    }

    /// Adds rows of another list behind all others; its sketches are taken out of `large`.
    fn push_span(&mut self, from: &Sorted<K>, places: std::ops::Range<usize>, large: &mut [DistinctSources]) {
        if places.is_empty() {
            return;
        }
        let (begin, end) = (from.begin(places.start), from.rows[places.end - 1].end as usize);
        // Both are below 2^32, and so is their sum.
        let (old, new) = (position(begin), position(self.hashes.len()));
        self.hashes.extend_from_slice(&from.hashes[begin..end]);
        let first = self.rows.len();
        self.rows.extend_from_slice(&from.rows[places]);
        for entry in &mut self.rows[first..] {
            entry.end = entry.end - old + new;
            if entry.large > 0 {
                self.large.push(std::mem::take(&mut large[entry.large as usize - 1]));
                entry.large = position(self.large.len());
            }
        }
    }

    /// Adds the row of a key that is in both lists.
    fn push_sum(&mut self, mine: (&Entry<K>, OwnedSet<'_>), theirs: (&Entry<K>, OwnedSet<'_>)) {
        let (key, bytes) = (mine.0.key, mine.0.bytes.saturating_add(theirs.0.bytes));
        let packets = mine.0.packets.saturating_add(theirs.0.packets);
        match (mine.1, theirs.1) {
            (OwnedSet::Exact(mine), OwnedSet::Exact(theirs)) => {
                let begin = self.hashes.len();
                union(mine, theirs, &mut self.hashes);
                if self.hashes.len() - begin > DistinctSources::EXACT_LIMIT {
                    let mut set = DistinctSources::default();
                    set.insert(&self.hashes[begin..]);
                    self.hashes.truncate(begin);
                    self.push_large(key, packets, bytes, set);
                } else {
                    self.close_row(key, packets, bytes);
                }
            }
            (OwnedSet::Large(mut set), OwnedSet::Exact(hashes))
            | (OwnedSet::Exact(hashes), OwnedSet::Large(mut set)) => {
                set.insert(hashes);
                self.push_large(key, packets, bytes, set);
            }
            (OwnedSet::Large(mut mine), OwnedSet::Large(theirs)) => {
                mine.merge(&theirs);
                self.push_large(key, packets, bytes, mine);
            }
        }
    }

    fn owned_set<'a>(&'a self, place: usize, large: &mut [DistinctSources]) -> OwnedSet<'a> {
        match self.rows[place].large {
            0 => OwnedSet::Exact(&self.hashes[self.begin(place)..self.rows[place].end as usize]),
            set => OwnedSet::Large(std::mem::take(&mut large[set as usize - 1])),
        }
    }

    /// All that two lists have. Rows of the longer one are copied in spans between those of the shorter one.
    #[must_use]
    pub fn merged(mut one: Arc<Sorted<K>>, mut other: Arc<Sorted<K>>) -> Sorted<K> {
        if one.len() < other.len() {
            std::mem::swap(&mut one, &mut other);
        }
        // A list that nobody else holds gives its sketches away: they are changed in place then.
        let take = |list: &mut Arc<Sorted<K>>| match Arc::get_mut(list) {
            Some(list) => std::mem::take(&mut list.large),
            None => list.large.clone(),
        };
        let (mut large, mut other_large) = (take(&mut one), take(&mut other));
        let mut sum = Sorted::with_capacity(one.len() + other.len(), one.hashes.len() + other.hashes.len());
        let mut at = 0;
        for (place, entry) in other.rows.iter().enumerate() {
            let next = gallop(&one.rows, at, &entry.key);
            sum.push_span(&one, at..next, &mut large);
            at = next;
            match one.rows.get(at).filter(|known| known.key == entry.key) {
                Some(known) => {
                    let sets = (one.owned_set(at, &mut large), other.owned_set(place, &mut other_large));
                    sum.push_sum((known, sets.0), (entry, sets.1));
                    at += 1;
                }
                None => sum.push_span(&other, place..place + 1, &mut other_large),
            }
        }
        sum.push_span(&one, at..one.len(), &mut large);
        sum.trim();
        sum
    }

    /// Gives back memory that is not used, where it is much.
    pub fn trim(&mut self) {
        if self.rows.capacity() > self.rows.len() / 8 * 9 {
            self.rows.shrink_to_fit();
        }
        if self.hashes.capacity() > self.hashes.len() / 8 * 9 {
            self.hashes.shrink_to_fit();
        }
        self.large.shrink_to_fit();
    }

    /// The sums of all rows whose keys `sum` takes for the same. It keeps the order of keys.
    #[must_use]
    pub fn summed<S: SortedKey>(&self, sum: impl Fn(K) -> S) -> Sorted<S> {
        let mut sums = Sorted::with_capacity(self.len(), self.hashes.len());
        let mut hashes = Vec::new();
        let mut place = 0;
        while let Some(first) = self.rows.get(place) {
            let key = sum(first.key);
            let end = place + self.rows[place..].iter().take_while(|entry| sum(entry.key) == key).count();
            if end == place + 1 {
                sums.push_ref(key, &self.row(place));
            } else {
                let (mut packets, mut bytes) = (0u64, 0u64);
                let mut large: Option<DistinctSources> = None;
                hashes.clear();
                for place in place..end {
                    let row = self.row(place);
                    (packets, bytes) = (packets.saturating_add(row.packets), bytes.saturating_add(row.bytes));
                    match (row.sources, &mut large) {
                        (SetRef::Hashes(few), _) => hashes.extend_from_slice(few),
                        (SetRef::Set(set), Some(large)) => large.merge(set),
                        (SetRef::Set(set), large) => *large = Some(set.clone()),
                    }
                }
                match large {
                    Some(mut large) => {
                        large.insert(&hashes);
                        sums.push_large(key, packets, bytes, large);
                    }
                    None => sums.push(key, packets, bytes, &mut hashes),
                }
            }
            place = end;
        }
        sums.trim();
        sums
    }

    /// Keeps rows of keys for which `is_known` holds and as many of the others as there is room for, those of most packets;
    /// the rest is added up under keys of overflow. Returns how many new keys were kept and how many packets overflowed.
    fn limited(self, is_known: impl Fn(usize) -> bool, room: usize) -> (Sorted<K>, usize, u64) {
        let mut new: Vec<usize> =
            (0..self.len()).filter(|&place| !is_known(place) && !self.rows[place].key.is_overflow()).collect();
        let mut overflowed = 0;
        if new.len() <= room {
            return (self, new.len(), 0);
        }
        // Ties are broken by key, so that the same counts always keep the same rows.
        new.select_nth_unstable_by_key(room, |&place| (std::cmp::Reverse(self.rows[place].packets), place));
        let mut is_dropped = vec![false; self.len()];
        new[room..].iter().for_each(|&place| is_dropped[place] = true);
        let mut rest: BTreeMap<K, (u64, u64, DistinctSources)> = BTreeMap::new();
        let mut kept = Sorted::with_capacity(self.len(), self.hashes.len());
        for (place, (key, row)) in self.iter().enumerate() {
            if !is_dropped[place] && !key.is_overflow() {
                kept.push_ref(key, &row);
                continue;
            }
            if is_dropped[place] {
                overflowed += row.packets;
            }
            let (packets, bytes, set) = rest.entry(if key.is_overflow() { key } else { key.overflow() }).or_default();
            (*packets, *bytes) = (packets.saturating_add(row.packets), bytes.saturating_add(row.bytes));
            row.sources.add_to(set);
        }
        for (key, (packets, bytes, set)) in rest {
            kept.push_set(key, packets, bytes, set);
        }
        kept.trim();
        (kept, room, overflowed)
    }

    /// Lets each key take some hundred bytes at most: first only sets that are exact are made coarse, with `all` sketches, too.
    /// Returns how many sets became coarse.
    fn coarsened(&self, all: bool) -> (Sorted<K>, u64) {
        let mut coarse = Sorted::with_capacity(self.len(), 0);
        let mut sets = 0;
        for (key, row) in self.iter() {
            let before = match row.sources {
                SetRef::Set(_) if !all => DistinctSources::COARSE_ERROR,
                _ => row.sources.standard_error(),
            };
            let mut set = row.sources.to_set();
            if before < DistinctSources::COARSE_ERROR {
                set.make_coarse();
            }
            sets += u64::from(set.standard_error() > before);
            coarse.push_set(key, row.packets, row.bytes, set);
        }
        coarse.trim();
        (coarse, sets)
    }

    /// Keys that are told apart.
    fn told_apart(&self) -> usize {
        self.rows.partition_point(|entry| !entry.key.is_overflow())
    }

    /// For each row of `rows`, marks those whose key is here, too.
    fn mark_known(&self, rows: &Sorted<K>, is_known: &mut [bool]) {
        let mut at = 0;
        for (entry, is_known) in rows.rows.iter().zip(is_known) {
            at = gallop(&self.rows, at, &entry.key);
            *is_known |= self.rows.get(at).is_some_and(|known| known.key == entry.key);
        }
    }
}

/// A place among hashes or sketches, of which a list has fewer than 2^32: a worker hands over lists of some 2^18 rows, and the
/// merger makes sets coarse before a bucket's lists take 8 GiB ([`Levels::bound_memory`]).
#[expect(clippy::cast_possible_truncation, reason = "see above")]
const fn position(place: usize) -> u32 {
    debug_assert!(place <= u32::MAX as usize);
    place as u32
}

/// A set of one of two lists that are merged.
enum OwnedSet<'a> {
    Exact(&'a [u64]),
    Large(DistinctSources),
}

/// Appends what is in either of two ascending lists, each once.
fn union(mut mine: &[u64], mut theirs: &[u64], out: &mut Vec<u64>) {
    while let (Some((&a, more_mine)), Some((&b, more_theirs))) = (mine.split_first(), theirs.split_first()) {
        out.push(a.min(b));
        if a <= b {
            mine = more_mine;
        }
        if b <= a {
            theirs = more_theirs;
        }
    }
    out.extend_from_slice(mine);
    out.extend_from_slice(theirs);
}

/// The first place from `from` on whose key is not below `key`: by steps that double, since the next key is mostly near.
fn gallop<K: Ord>(rows: &[Entry<K>], from: usize, key: &K) -> usize {
    let (mut low, mut step) = (from, 1);
    while low + step <= rows.len() && rows[low + step - 1].key < *key {
        low += step;
        step *= 2;
    }
    let high = (low + step - 1).min(rows.len());
    low + rows[low..high].partition_point(|entry| entry.key < *key)
}
