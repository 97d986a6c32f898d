//! The rows of one window part.
//!
//! Adding a packet to its row is waiting for memory, most of all after the processor has slept: then no line of the
//! table is in its caches. So the table is laid out for few and overlapping waits: everything about a row is half a
//! cache line and never lies across two, it is found by open addressing without a separate index, its key is the class
//! and the source themselves, and packets come in batches whose slots are all asked for before any is used.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use martlet_window::{CountRow, IpVersion, PackedClass};

use super::prefetch::prefetch;

/// Caps of one window part. At a cap the part is closed and the window goes on in the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableLimits {
    /// Rows; about 50 bytes each.
    pub max_rows: u32,
    /// Observed addresses beyond the first that rows have hit, over all rows; 9 bytes each.
    pub max_further_targets: u32,
}

impl Default for TableLimits {
    fn default() -> TableLimits {
        // Seven eighths of 2^17 slots.
        TableLimits { max_rows: 114_688, max_further_targets: 57_344 }
    }
}

/// The table is at a cap: close the part and add what is left to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// How many of the packets were added.
    pub added: usize,
}

/// What a row needs to know of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The class of the packet.
    pub class: PackedClass,
    /// The source, as [`CountRow::source`].
    pub source: u128,
    /// A number for the observed address that it hit.
    pub target: u32,
    /// IP total length as stated.
    pub bytes: u32,
}

/// What is known of a packet's row before anything changes.
#[derive(Clone, Copy, Default)]
struct Place {
    /// 0 if its IPv6 source has no number yet, which is no row's key.
    key: u128,
    slot: usize,
}

/// Packets that are best added together.
pub const TOGETHER: usize = 256;
/// Packets whose memory is asked for together: about as many cache lines as a core fetches at a time.
const STEP: usize = 32;

/// A row in four words. All zero is an empty slot, since every key has its highest bit set.
type Slot = [u64; 4];
/// The key's halves: the set bit, the class and the source or its number.
const KEY_HIGH: usize = 0;
const KEY_LOW: usize = 1;
/// 32 bits of packets, and above them the first target.
const PACKETS: usize = 2;
/// 40 bits of bytes, which hold more than 60 s of 100 Gbit/s, and above them 24 bits of targets.
const BYTES: usize = 3;
const BYTES_MASK: u64 = (1 << 40) - 1;
const ONE_TARGET: u64 = 1 << 40;
/// Targets of one row, and so further targets of a table.
const MAX_TARGETS: usize = (1 << 24) - 2;

/// Count rows under construction, found by (class, source).
///
/// All memory is reserved when the table is made; adding allocates nothing once the numbers of IPv6 sources have grown
/// to what the traffic has, and clearing keeps it. Keys are hashed with a key per process, since sources are chosen by
/// the people we watch.
pub struct WindowTable {
    limits: TableLimits,
    slots: Slots,
    /// Places of rows, in the order of their first packets.
    used: Vec<u32>,
    ipv6_sources: Numbers<u128>,
    /// Targets of rows beyond each row's first.
    further_targets: Targets,
    hasher: RandomState,
}

impl std::fmt::Debug for WindowTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WindowTable({} of {} rows)", self.used.len(), self.limits.max_rows)
    }
}

impl WindowTable {
    /// An empty table that will never grow.
    #[must_use]
    pub fn new(limits: TableLimits) -> WindowTable {
        let rows = limits.max_rows.max(1) as usize;
        WindowTable {
            limits,
            slots: Slots::new((rows * 8).div_ceil(7).next_power_of_two()),
            used: Vec::with_capacity(rows),
            ipv6_sources: Numbers::default(),
            further_targets: Targets::new((limits.max_further_targets as usize).min(MAX_TARGETS)),
            hasher: RandomState::default(),
        }
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// Adds packets to the rows of their keys.
    ///
    /// # Errors
    /// If one needs a new row or target and the cap is reached, or its row can count no further; an empty table takes
    /// at least one packet.
    pub fn add(&mut self, observations: &[Observation]) -> Result<(), Full> {
        let mut chunks = observations.chunks(STEP);
        let mut added = 0;
        let mut next = chunks.next().map(|chunk| (chunk, self.fetch(chunk)));
        while let Some((chunk, places)) = next {
            // What the next chunk needs is on its way while this one is counted.
            next = chunks.next().map(|chunk| (chunk, self.fetch(chunk)));
            self.count_chunk(chunk, places).map_err(|full| Full { added: added + full.added })?;
            added += chunk.len();
        }
        Ok(())
    }

    /// Where packets' rows should be, with those places on their way to the cache.
    #[inline]
    fn fetch(&self, chunk: &[Observation]) -> [Place; STEP] {
        let mut places = [Place::default(); STEP];
        for (place, seen) in places.iter_mut().zip(chunk) {
            place.key = self.known_key(seen);
            place.slot = self.slots.home(self.hasher.hash_one(place.key));
            prefetch(self.slots.rows(), place.slot);
        }
        places
    }

    #[inline]
    fn count_chunk(&mut self, chunk: &[Observation], mut places: [Place; STEP]) -> Result<(), Full> {
        let rows = self.slots.rows();
        for place in &mut places[..chunk.len()] {
            place.slot = self.slots.in_line(place.slot, place.key).unwrap_or_else(|| {
                let next = self.slots.next_line(place.slot);
                prefetch(rows, next);
                next
            });
        }
        for (place, seen) in places.iter_mut().zip(chunk) {
            place.slot = self.slots.find(place.slot, place.key);
            if first_target(&rows[place.slot]) != seen.target {
                self.further_targets.prefetch(place.slot, seen.target, &self.hasher);
            }
        }
        for (added, (place, seen)) in places.iter().zip(chunk).enumerate() {
            // A row never moves, so one that was found is still there. One that was not may be there by now.
            let found = place.key != 0 && holds(&self.slots.rows()[place.slot], place.key);
            if !(if found { self.count(place.slot, seen) } else { self.add_row(seen) }) {
                return Err(Full { added });
            }
        }
        Ok(())
    }

    /// The key of a packet; 0 if its IPv6 source has no number yet.
    #[inline]
    fn known_key(&self, seen: &Observation) -> u128 {
        match seen.class.ip() {
            IpVersion::V4 => key(seen.class, low_half(seen.source)),
            IpVersion::V6 => {
                let number = self.ipv6_sources.find(&seen.source, &self.hasher);
                number.map_or(0, |number| key(seen.class, number))
            }
        }
    }

    /// Counts a packet in its row; `false` if its target is one too many or the row's counters are full.
    #[inline]
    fn count(&mut self, slot: usize, seen: &Observation) -> bool {
        let row = &mut self.slots.rows_mut()[slot];
        let bytes = u64::from(seen.bytes);
        if halves(row[PACKETS]).1 == u32::MAX || (row[BYTES] & BYTES_MASK) + bytes > BYTES_MASK {
            return false;
        }
        if first_target(row) != seen.target {
            match self.further_targets.insert(slot, seen.target, &self.hasher) {
                Insertion::New => row[BYTES] += ONE_TARGET,
                Insertion::Known => {}
                Insertion::Full => return false,
            }
        }
        row[PACKETS] += 1;
        row[BYTES] += bytes;
        true
    }

    /// Counts a packet whose row was not there when its chunk was looked up; `false` if it needs one row too many.
    fn add_row(&mut self, seen: &Observation) -> bool {
        let full = self.used.len() >= self.limits.max_rows.max(1) as usize;
        let key = match seen.class.ip() {
            IpVersion::V6 if !full => key(seen.class, self.ipv6_sources.find_or_add(seen.source, &self.hasher)),
            _ => self.known_key(seen),
        };
        let slot = self.slots.find(self.slots.home(self.hasher.hash_one(key)), key);
        let row = &mut self.slots.rows_mut()[slot];
        // Another packet of the chunk may have made it.
        if key == 0 || !holds(row, key) {
            if full {
                return false;
            }
            let (high, low) = words(key);
            *row = [high, low, u64::from(seen.target) << 32, ONE_TARGET];
            // There are at most 2^20 slots (window.max_rows).
            self.used.push(u32::try_from(slot).unwrap_or(u32::MAX));
        }
        self.count(slot, seen)
    }

    /// Packets in all rows.
    #[must_use]
    pub fn packets(&self) -> u64 {
        let rows = self.slots.rows();
        self.used.iter().map(|&slot| u64::from(halves(rows[slot as usize][PACKETS]).1)).sum()
    }

    /// The rows sorted by key, as a batch wants them.
    pub fn sorted_rows(&mut self) -> impl Iterator<Item = CountRow> {
        // The places are sorted, not the rows: a list of rows would be the largest thing in a sensor's memory.
        let mut used = std::mem::take(&mut self.used);
        let rows = self.slots.rows();
        used.sort_unstable_by_key(|&slot| self.row_key(&rows[slot as usize]));
        self.used = used;
        self.used.iter().map(|&slot| self.row(&self.slots.rows()[slot as usize]))
    }

    fn row_key(&self, row: &Slot) -> (PackedClass, u128) {
        let key = joined(row) & !SET;
        let source = low_half(key);
        let class = PackedClass::from_trusted_bits(key >> 32);
        match class.ip() {
            IpVersion::V4 => (class, u128::from(source)),
            IpVersion::V6 => (class, self.ipv6_sources.value(source)),
        }
    }

    fn row(&self, row: &Slot) -> CountRow {
        let (class, source) = self.row_key(row);
        let (_, packets) = halves(row[PACKETS]);
        // What is above 40 bits has 24.
        let targets = u32::try_from(row[BYTES] >> 40).unwrap_or(u32::MAX);
        CountRow { class, source, packets, targets, bytes: row[BYTES] & BYTES_MASK }
    }

    /// Empties the table and keeps its memory. Wiping everything costs the whole size, which quiet windows should
    /// not pay: few rows are taken out one by one.
    pub fn clear(&mut self) {
        let rows = self.slots.rows_mut();
        if self.used.len() < rows.len() / 8 {
            for &slot in &self.used {
                rows[slot as usize] = EMPTY;
            }
        } else {
            rows.fill(EMPTY);
        }
        self.used.clear();
        self.ipv6_sources.clear(&self.hasher);
        self.further_targets.clear();
    }
}

const EMPTY: Slot = [0; 4];
/// Set in every key.
const SET: u128 = 1 << 127;

/// The key of a row: its class has 85 bits.
const fn key(class: PackedClass, source: u32) -> u128 {
    SET | class.bits() << 32 | source as u128
}

#[expect(clippy::cast_possible_truncation, reason = "both halves are kept")]
const fn words(key: u128) -> (u64, u64) {
    ((key >> 64) as u64, key as u64)
}

const fn joined(row: &Slot) -> u128 {
    (row[KEY_HIGH] as u128) << 64 | row[KEY_LOW] as u128
}

#[inline]
const fn holds(row: &Slot, key: u128) -> bool {
    joined(row) == key
}

#[inline]
const fn first_target(row: &Slot) -> u32 {
    halves(row[PACKETS]).0
}

/// A power of two of slots, each within one cache line. The memory comes zeroed from the system, so that what is never
/// used is never touched.
struct Slots {
    words: Vec<u64>,
    /// Words in front of the first slot, for alignment.
    before: usize,
    len: usize,
}

impl Slots {
    const CACHE_LINE: usize = 64;

    fn new(len: usize) -> Slots {
        let words = vec![0; len * size_of::<Slot>() / size_of::<u64>() + Slots::CACHE_LINE / size_of::<u64>()];
        let before = words.as_ptr().align_offset(Slots::CACHE_LINE).min(Slots::CACHE_LINE / size_of::<u64>());
        Slots { words, before, len }
    }

    #[inline]
    fn rows(&self) -> &[Slot] {
        &self.words[self.before..].as_chunks().0[..self.len]
    }

    #[inline]
    fn rows_mut(&mut self) -> &mut [Slot] {
        &mut self.words[self.before..].as_chunks_mut().0[..self.len]
    }

    /// Where the search for a key begins.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low bits choose a slot")]
    const fn home(&self, hash: u64) -> usize {
        hash as usize & (self.len - 1)
    }

    /// The slot of this key, or the empty one where it belongs, if either is in the same cache line as `slot`.
    #[inline]
    fn in_line(&self, slot: usize, key: u128) -> Option<usize> {
        let rows = self.rows();
        [slot, slot ^ 1].into_iter().find(|&slot| holds(&rows[slot], key) || rows[slot][KEY_HIGH] == 0)
    }

    #[inline]
    const fn next_line(&self, slot: usize) -> usize {
        (slot + 2) & (self.len - 1)
    }

    /// The slot of this key, or the empty one where it belongs: in the cache line of `slot` or the lines behind.
    #[inline]
    fn find(&self, mut slot: usize, key: u128) -> usize {
        loop {
            // At least an eighth of the slots is empty, so this ends.
            match self.in_line(slot, key) {
                Some(found) => return found,
                None => slot = self.next_line(slot),
            }
        }
    }
}

/// A bounded set of (slot, target) pairs, by open addressing.
struct Targets {
    /// A power of two; 0 is empty.
    pairs: Vec<u64>,
    len: usize,
    max: usize,
}

/// What became of a pair.
enum Insertion {
    New,
    Known,
    Full,
}

impl Targets {
    fn new(max: usize) -> Targets {
        Targets { pairs: vec![0; (max.max(1) * 8).div_ceil(7).next_power_of_two()], len: 0, max }
    }

    /// The pair as a word that is never 0.
    const fn pair(slot: usize, target: u32) -> u64 {
        (slot as u64 + 1) << 32 | target as u64
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low bits choose a place")]
    fn home(&self, pair: u64, hasher: &RandomState) -> usize {
        hasher.hash_one(pair) as usize & (self.pairs.len() - 1)
    }

    #[inline]
    fn prefetch(&self, slot: usize, target: u32, hasher: &RandomState) {
        prefetch(&self.pairs, self.home(Targets::pair(slot, target), hasher));
    }

    #[inline]
    fn insert(&mut self, slot: usize, target: u32, hasher: &RandomState) -> Insertion {
        let pair = Targets::pair(slot, target);
        let mut place = self.home(pair, hasher);
        // At least an eighth is empty, so this ends.
        while self.pairs[place] != 0 {
            if self.pairs[place] == pair {
                return Insertion::Known;
            }
            place = (place + 1) & (self.pairs.len() - 1);
        }
        if self.len >= self.max {
            return Insertion::Full;
        }
        self.pairs[place] = pair;
        self.len += 1;
        Insertion::New
    }

    fn clear(&mut self) {
        if self.len > 0 {
            self.pairs.fill(0);
            self.len = 0;
        }
    }
}

/// The 32 bits of an IPv4 source.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "an IPv4 source has 32 bits")]
const fn low_half(source: u128) -> u32 {
    source as u32
}

/// Upper and lower half.
#[expect(clippy::cast_possible_truncation, reason = "halves of 32 bits are what is wanted")]
const fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// Values with numbers from 1, in the order of their first appearance.
struct Numbers<T> {
    values: Vec<T>,
    index: HashTable<u32>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Numbers<T> {
        Numbers { values: Vec::new(), index: HashTable::new() }
    }
}

impl<T: Copy + Eq + Hash> Numbers<T> {
    fn find(&self, value: &T, hasher: &RandomState) -> Option<u32> {
        self.index.find(hasher.hash_one(value), |&number| self.value(number) == *value).copied()
    }

    fn find_or_add(&mut self, value: T, hasher: &RandomState) -> u32 {
        if let Some(number) = self.find(&value, hasher) {
            return number;
        }
        self.values.push(value);
        // There are never more values than rows, of which there are fewer than 2^32.
        let number = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let values = &self.values;
        let hash = |&number: &u32| hasher.hash_one(values[number as usize - 1]);
        self.index.insert_unique(hasher.hash_one(value), number, hash);
        number
    }

    fn value(&self, number: u32) -> T {
        self.values[number as usize - 1]
    }

    /// Forgets all numbers; few are taken out one by one, as wiping costs the whole size.
    fn clear(&mut self, hasher: &RandomState) {
        const FEW: usize = 64;
        if self.values.len() < FEW {
            for (number, value) in (1u32..).zip(&self.values) {
                if let Ok(entry) = self.index.find_entry(hasher.hash_one(value), |&known| known == number) {
                    entry.remove();
                }
            }
        } else {
            self.index.clear();
        }
        self.values.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_window::{Class, Kind, Marks, Service};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn class(ip: IpVersion, port: u16) -> PackedClass {
        let service = Service::Port(port);
        Class { ip, protocol: 6, service, kind: Kind::Scan, marks: Marks::NONE }.into()
    }

    fn seen(port: u16, source: u128, target: u32, bytes: u32) -> Observation {
        Observation { class: class(IpVersion::V4, port), source, target, bytes }
    }

    fn packets(table: &WindowTable) -> u64 {
        table.packets()
    }

    proptest! {
        #[test]
        fn counts_what_a_plain_map_counts(
            packets in proptest::collection::vec((any::<bool>(), 0u16..4, 0u128..20, 0u32..5, 20u32..1500), 0..300),
        ) {
            let mut table = WindowTable::new(TableLimits { max_rows: 200, max_further_targets: 500 });
            let observations: Vec<_> = packets
                .iter()
                .map(|&(v6, port, source, target, bytes)| {
                    // An IPv6 source whose low 32 bits are those of an IPv4 source is another source.
                    let (ip, source) = if v6 { (IpVersion::V6, source << 32 | 7) } else { (IpVersion::V4, source) };
                    Observation { class: class(ip, port), source, target, bytes }
                })
                .collect();
            // Twice, so that a cleared table is used too.
            for _ in 0..2 {
                prop_assert_eq!(table.add(&observations), Ok(()));
                let mut model: BTreeMap<_, (u32, u64, BTreeSet<u32>)> = BTreeMap::new();
                for seen in &observations {
                    let entry = model.entry((seen.class, seen.source)).or_default();
                    entry.0 += 1;
                    entry.1 += u64::from(seen.bytes);
                    entry.2.insert(seen.target);
                }
                let rows: Vec<_> = table.sorted_rows().map(|r| (r.key(), r.packets, r.bytes, r.targets)).collect();
                let expected: Vec<_> = model
                    .into_iter()
                    .map(|(key, (packets, bytes, targets))| (key, packets, bytes, u32::try_from(targets.len()).unwrap()))
                    .collect();
                prop_assert_eq!(rows, expected);
                table.clear();
                prop_assert!(table.is_empty());
                prop_assert!(table.slots.rows().iter().all(|slot| *slot == EMPTY));
            }
        }
    }

    #[test]
    fn full_means_full_and_changes_nothing() {
        let mut table = WindowTable::new(TableLimits { max_rows: 2, max_further_targets: 1 });
        assert_eq!(table.add(&[seen(1, 1, 7, 40), seen(1, 1, 8, 40)]), Ok(()));
        assert_eq!(table.add(&[seen(1, 1, 8, 40), seen(1, 1, 9, 40)]), Err(Full { added: 1 }));
        assert_eq!(table.add(&[seen(2, 1, 7, 40), seen(3, 1, 7, 40), seen(1, 1, 7, 40)]), Err(Full { added: 1 }));
        assert_eq!(packets(&table), 4);
        table.clear();
        assert_eq!(table.add(&[seen(9, 9, 9, 40)]), Ok(()));
        assert_eq!((packets(&table), table.len()), (1, 1));
    }

    #[test]
    fn a_full_table_holds_all_it_says_and_is_wiped() {
        let limits = TableLimits { max_rows: 7_000, max_further_targets: 1 };
        let mut table = WindowTable::new(limits);
        let many: Vec<_> = (0..7_001u16).map(|i| seen(i % 300, u128::from(i), 1, 40)).collect();
        assert_eq!(table.add(&many), Err(Full { added: 7_000 }));
        assert_eq!((table.len(), packets(&table)), (7_000, 7_000));
        table.clear();
        assert_eq!(table.add(&many[..7_000]), Ok(()));
    }

    #[test]
    fn a_table_takes_at_least_one_packet() {
        let mut table = WindowTable::new(TableLimits { max_rows: 0, max_further_targets: 0 });
        assert_eq!(table.add(&[seen(1, 1, 7, 40)]), Ok(()));
    }
}
