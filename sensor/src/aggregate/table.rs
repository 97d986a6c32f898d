//! The rows of one window part.
//!
//! Adding a packet to its row is waiting for memory, so the table is laid out for few and overlapping waits: a row
//! is half a cache line, found by open addressing without a separate index; classes, of which there are few, are
//! numbered, and so are IPv6 sources, so that every key is one 64-bit word; and packets come in batches whose slots
//! are all asked for before any is used.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use martlet_window::{CountRow, IpVersion, PackedClass};

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
    /// 0 if its class or source has no number yet.
    key: u64,
    slot: u32,
    /// A word that was read so that its cache line is on its way.
    touched: u64,
}

/// Packets that are added together.
pub const TOGETHER: usize = 64;

/// A row: key (source or its number, and the class's number), packets and targets, bytes, first target. All zero is
/// an empty slot, since class numbers begin at 1; a plain array, so that a new table's memory comes zeroed from the
/// system and is only touched when used.
type Slot = [u64; 4];
const KEY: usize = 0;
const PACKETS_TARGETS: usize = 1;
const BYTES: usize = 2;
const FIRST_TARGET: usize = 3;
const EMPTY: Slot = [0; 4];
/// One target, in the upper half beside the packets.
const ONE_TARGET: u64 = 1 << 32;

/// Classes whose numbers are found without hashing.
const RECENT_CLASSES: usize = 1024;

/// Count rows under construction, found by (class, source).
///
/// All memory is reserved when the table is made; adding allocates nothing once the numbers of classes and IPv6
/// sources have grown to what the traffic has, and clearing keeps it. Keys are hashed with a key per process, since
/// sources are chosen by the people we watch.
pub struct WindowTable {
    limits: TableLimits,
    /// A power of two, at least 8/7 of the rows.
    slots: Vec<Slot>,
    /// Places of rows, in the order of their first packets.
    used: Vec<u32>,
    classes: Numbers<PackedClass>,
    /// Classes seen lately, by their low bits, with their numbers: few classes make most of the traffic.
    recent_classes: Box<[(PackedClass, u32); RECENT_CLASSES]>,
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
            slots: vec![EMPTY; (rows * 8).div_ceil(7).next_power_of_two()],
            used: Vec::with_capacity(rows),
            classes: Numbers::default(),
            recent_classes: Box::new([(PackedClass::ZERO, 0); RECENT_CLASSES]),
            ipv6_sources: Numbers::default(),
            further_targets: Targets::new(limits.max_further_targets as usize),
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
    /// If one needs a new row or target and the cap is reached; an empty table takes at least one packet.
    pub fn add(&mut self, observations: &[Observation]) -> Result<(), Full> {
        let mut added = 0;
        for chunk in observations.chunks(TOGETHER) {
            // First only touch memory, and let no branch depend on it: a wrong guess would wait for every load, and
            // so many loads are under way at the same time.
            let mut places = [Place::default(); TOGETHER];
            for (place, seen) in places.iter_mut().zip(chunk) {
                place.key = self.known_key(seen);
                place.slot = self.home(place.key);
                place.touched = self.slots[place.slot as usize][KEY];
            }
            for (place, seen) in places.iter_mut().zip(chunk) {
                if place.touched != place.key {
                    place.slot = self.probe(place.key);
                }
                if self.slots[place.slot as usize][FIRST_TARGET] != u64::from(seen.target) {
                    place.touched = self.further_targets.touch(place.slot, seen.target, &self.hasher);
                }
            }
            std::hint::black_box(&places);
            for (place, seen) in places.iter().zip(chunk) {
                // A row never moves, so one that was found is still there. One that was not may be there by now.
                let found = place.key != 0 && self.slots[place.slot as usize][KEY] == place.key;
                if !(if found { self.count(place.slot, seen) } else { self.add_row(seen) }) {
                    return Err(Full { added });
                }
                added += 1;
            }
        }
        Ok(())
    }

    /// Where the search for a key begins.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low bits choose a slot; there are at most 2^20")]
    fn home(&self, key: u64) -> u32 {
        (self.hasher.hash_one(key) as usize & (self.slots.len() - 1)) as u32
    }

    /// The slot of this key, or the empty one where it belongs.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "there are at most 2^20 slots (window.max_rows)")]
    fn probe(&self, key: u64) -> u32 {
        let mask = self.slots.len() - 1;
        let mut slot = self.home(key) as usize;
        // At least an eighth of the slots is empty, so this ends.
        while self.slots[slot][KEY] != key && self.slots[slot][KEY] != 0 {
            slot = (slot + 1) & mask;
        }
        slot as u32
    }

    /// The key of a packet whose class and source have numbers; 0 otherwise, which is no row's key.
    #[inline]
    fn known_key(&mut self, seen: &Observation) -> u64 {
        let source = match seen.class.ip() {
            IpVersion::V4 => Some(low_half(seen.source)),
            IpVersion::V6 => self.ipv6_sources.find(&seen.source, &self.hasher),
        };
        match (source, self.class_number(seen.class)) {
            (Some(source), Some(class)) => key(source, class),
            _ => 0,
        }
    }

    #[inline]
    fn class_number(&mut self, class: PackedClass) -> Option<u32> {
        let recent = &mut self.recent_classes[recent_place(class)];
        if recent.0 == class && recent.1 != 0 {
            return Some(recent.1);
        }
        let number = self.classes.find(&class, &self.hasher)?;
        *recent = (class, number);
        Some(number)
    }

    /// Counts a packet in its row; `false` if its target is one too many.
    #[inline]
    fn count(&mut self, slot: u32, seen: &Observation) -> bool {
        let row = &mut self.slots[slot as usize];
        if row[FIRST_TARGET] != u64::from(seen.target) {
            match self.further_targets.insert(slot, seen.target, &self.hasher) {
                Insertion::New => row[PACKETS_TARGETS] += ONE_TARGET,
                Insertion::Known => {}
                Insertion::Full => return false,
            }
        }
        // 2^32 packets of one row would take a window of hours at any rate that a capture can hold.
        row[PACKETS_TARGETS] += 1;
        row[BYTES] += u64::from(seen.bytes);
        true
    }

    /// Counts a packet whose row was not there when its chunk was looked up; `false` if it needs one row too many.
    fn add_row(&mut self, seen: &Observation) -> bool {
        let known = self.known_key(seen);
        if known != 0 {
            // Another packet of the chunk may have made it.
            let slot = self.probe(known);
            if self.slots[slot as usize][KEY] == known {
                return self.count(slot, seen);
            }
        }
        if self.used.len() >= self.limits.max_rows.max(1) as usize {
            return false;
        }
        let source = match seen.class.ip() {
            IpVersion::V4 => low_half(seen.source),
            IpVersion::V6 => self.ipv6_sources.find_or_add(seen.source, &self.hasher),
        };
        let key = key(source, self.classes.find_or_add(seen.class, &self.hasher));
        let slot = self.probe(key);
        self.slots[slot as usize] = [key, ONE_TARGET, 0, u64::from(seen.target)];
        self.used.push(slot);
        self.count(slot, seen)
    }

    /// Only those that have numbers can be remembered, and those are fewer than all places in a quiet window.
    fn forget_recent_classes(&mut self) {
        for &class in &self.classes.values {
            self.recent_classes[recent_place(class)].1 = 0;
        }
    }

    /// Packets in all rows.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.used.iter().map(|&slot| u64::from(halves(self.slots[slot as usize][PACKETS_TARGETS]).1)).sum()
    }

    /// The rows sorted by key, as a batch wants them.
    pub fn sorted_rows(&mut self) -> impl Iterator<Item = CountRow> {
        // The places are sorted, not the rows: a list of rows would be the largest thing in a sensor's memory.
        let mut used = std::mem::take(&mut self.used);
        used.sort_unstable_by_key(|&slot| self.row(&self.slots[slot as usize]).key());
        self.used = used;
        self.used.iter().map(|&slot| self.row(&self.slots[slot as usize]))
    }

    fn row(&self, slot: &Slot) -> CountRow {
        let (source, class) = halves(slot[KEY]);
        let (targets, packets) = halves(slot[PACKETS_TARGETS]);
        let class = self.classes.value(class);
        let source = match class.ip() {
            IpVersion::V4 => u128::from(source),
            IpVersion::V6 => self.ipv6_sources.value(source),
        };
        CountRow { class, source, packets, targets, bytes: slot[BYTES] }
    }

    /// Empties the table and keeps its memory. Wiping everything costs the whole size, which quiet windows should
    /// not pay: few rows are taken out one by one.
    pub fn clear(&mut self) {
        if self.used.len() < self.slots.len() / 8 {
            for &slot in &self.used {
                self.slots[slot as usize] = EMPTY;
            }
        } else {
            self.slots.fill(EMPTY);
        }
        self.used.clear();
        self.forget_recent_classes();
        self.classes.clear(&self.hasher);
        self.ipv6_sources.clear(&self.hasher);
        self.further_targets.clear();
    }
}

/// Where a class is remembered: its service's and protocol's bits, mixed.
const fn recent_place(class: PackedClass) -> usize {
    let bits = class.bits();
    ((bits >> 56) ^ (bits >> 76) ^ bits) as usize & (RECENT_CLASSES - 1)
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
    const fn pair(slot: u32, target: u32) -> u64 {
        (slot as u64 + 1) << 32 | target as u64
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low bits choose a place")]
    fn home(&self, pair: u64, hasher: &RandomState) -> usize {
        hasher.hash_one(pair) as usize & (self.pairs.len() - 1)
    }

    /// Reads where the search for a pair begins.
    #[inline]
    fn touch(&self, slot: u32, target: u32, hasher: &RandomState) -> u64 {
        self.pairs[self.home(Targets::pair(slot, target), hasher)]
    }

    #[inline]
    fn insert(&mut self, slot: u32, target: u32, hasher: &RandomState) -> Insertion {
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
#[expect(clippy::cast_possible_truncation, reason = "an IPv4 source has 32 bits")]
const fn low_half(source: u128) -> u32 {
    source as u32
}

const fn key(source: u32, class: u32) -> u64 {
    (source as u64) << 32 | class as u64
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
                prop_assert!(table.slots.iter().all(|slot| *slot == EMPTY));
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
