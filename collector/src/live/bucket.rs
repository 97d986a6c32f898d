//! One bucket of history.

use martlet_window::{DistinctSources, Marks};

use super::key::{KindKey, RowKey, ServiceKey};
use super::top::TopSources;
use crate::aggregate::{BucketDelta, Counts, SensorCounts};
use crate::ingest::SensorId;

/// What an allocation costs beside its bytes: the allocator's header and rounding.
const ALLOCATION: usize = 16;

/// Packets, bytes and distinct sources of one key.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Packets.
    pub packets: u64,
    /// IP total lengths, in bytes.
    pub bytes: u64,
    /// Sources.
    pub sources: DistinctSources,
}

impl Row {
    fn merge(&mut self, other: &Row) {
        self.sources.merge(&other.sources);
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn heap_bytes(&self) -> usize {
        // What a small set holds is in the row itself; another's is in one or two allocations.
        match self.sources.heap_bytes() {
            0 => 0,
            bytes => bytes + 2 * ALLOCATION,
        }
    }
}

/// Everything that is known of one bucket of event time of one class. Lists are sorted by key.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    pub(super) rows: Vec<(RowKey, Row)>,
    pub(super) kinds: Vec<(KindKey, Row)>,
    pub(super) marks: Vec<(u8, Row)>,
    pub(super) sensors: Vec<(SensorId, SensorCounts)>,
    pub(super) top: TopSources,
    /// As of [`Bucket::update_memory`].
    pub(super) memory_bytes: usize,
    /// Marks that some batch could test.
    pub tested: Marks,
    /// Marks that some batch could not test.
    pub untested: Marks,
}

impl Bucket {
    /// By service, kind and sensor.
    #[must_use]
    pub fn rows(&self) -> &[(RowKey, Row)] {
        &self.rows
    }

    /// By IP version, protocol and kind.
    #[must_use]
    pub fn kinds(&self) -> &[(KindKey, Row)] {
        &self.kinds
    }

    /// By mark number.
    #[must_use]
    pub fn marks(&self) -> &[(u8, Row)] {
        &self.marks
    }

    /// By sensor.
    #[must_use]
    pub fn sensors(&self) -> &[(SensorId, SensorCounts)] {
        &self.sensors
    }

    /// The heaviest sources.
    #[must_use]
    pub const fn top(&self) -> &TopSources {
        &self.top
    }

    /// Adds what a worker counted. Beyond `max_keys` rows, new services are counted without being told apart; the
    /// packets so counted are returned.
    pub fn add(&mut self, delta: &mut BucketDelta, max_keys: usize, top_sources: usize) -> u64 {
        let overflowed = self.add_rows(delta, max_keys);
        add_sorted(&mut self.kinds, sorted(delta.kinds.drain()));
        add_sorted(&mut self.marks, sorted(delta.marks.drain()));
        for (sensor, counts) in delta.sensors.drain() {
            match self.sensors.binary_search_by_key(&sensor, |entry| entry.0) {
                Ok(place) => self.sensors[place].1.add(&counts),
                Err(place) => {
                    self.sensors.reserve_exact(1);
                    self.sensors.insert(place, (sensor, counts));
                }
            }
        }
        self.top.add(&delta.sources, top_sources);
        delta.sources.clear();
        self.tested = self.tested.union(delta.tested);
        self.untested = self.untested.union(delta.untested);
        overflowed
    }

    fn add_rows(&mut self, delta: &mut BucketDelta, max_keys: usize) -> u64 {
        let mut rows: Vec<(RowKey, Counts)> = delta.rows.drain(..).collect();
        // A sensor's rows come nearly in this order.
        rows.sort_by_key(|row| row.0);
        let mut new = add_known(&mut self.rows, rows.into_iter());
        let room = max_keys.saturating_sub(self.rows.len());
        let mut overflow = Vec::new();
        if new.len() > room {
            // The heaviest get the room that is left.
            new.select_nth_unstable_by_key(room, |(key, row)| (std::cmp::Reverse(row.packets), *key));
            overflow = new.split_off(room);
            new.sort_unstable_by_key(|row| row.0);
        }
        insert_sorted(&mut self.rows, new);
        let mut overflowed = 0;
        for (key, row) in overflow {
            overflowed += row.packets;
            let key = RowKey { service: ServiceKey::overflow(key.service.ip()), ..key };
            match self.rows.binary_search_by_key(&key, |entry| entry.0) {
                Ok(place) => self.rows[place].1.merge(&row),
                Err(place) => self.rows.insert(place, (key, row)),
            }
        }
        overflowed
    }

    /// Memory of the bucket, in bytes, when it was last measured: an estimate that does not know how the allocator fragments.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Measures the memory of the bucket, in bytes.
    pub fn update_memory(&mut self) -> usize {
        /// A bucket's place in the map of its class, its reference counts, and the allocations of its lists.
        const PLACE: usize = 64 + 6 * ALLOCATION;
        let rows = self.rows.iter().map(|row| row.1.heap_bytes()).sum::<usize>()
            + self.rows.capacity() * size_of::<(RowKey, Row)>();
        let kinds = self.kinds.iter().map(|row| row.1.heap_bytes()).sum::<usize>()
            + self.kinds.capacity() * size_of::<(KindKey, Row)>();
        let marks = self.marks.iter().map(|row| row.1.heap_bytes()).sum::<usize>()
            + self.marks.capacity() * size_of::<(u8, Row)>();
        let sensors = self.sensors.capacity() * size_of::<(SensorId, SensorCounts)>();
        self.memory_bytes = size_of::<Bucket>() + PLACE + rows + kinds + marks + sensors + self.top.heap_bytes();
        self.memory_bytes
    }
}

/// The entries of a small table, ascending by key.
fn sorted<K: Ord + Copy>(counts: impl Iterator<Item = (K, Counts)>) -> impl Iterator<Item = (K, Counts)> {
    let mut counts: Vec<(K, Counts)> = counts.collect();
    counts.sort_unstable_by_key(|entry| entry.0);
    counts.into_iter()
}

/// Adds counts, ascending by key, to a list that is, too.
fn add_sorted<K: Ord + Copy>(list: &mut Vec<(K, Row)>, counts: impl Iterator<Item = (K, Counts)>) {
    let new = add_known(list, counts);
    insert_sorted(list, new);
}

/// Adds what has a place in the list already, and returns the rest. Both are ascending by key.
fn add_known<K: Ord>(list: &mut [(K, Row)], counts: impl Iterator<Item = (K, Counts)>) -> Vec<(K, Row)> {
    let mut at = 0;
    let mut new = Vec::new();
    for (key, Counts { packets, bytes, sources }) in counts {
        at = gallop(list, at, &key);
        let added = Row { packets, bytes, sources };
        match list.get_mut(at).filter(|entry| entry.0 == key) {
            Some((_, row)) => row.merge(&added),
            None => new.push((key, added)),
        }
    }
    new
}

/// Takes in rows whose keys are not in the list. Both are ascending by key.
fn insert_sorted<K: Ord + Copy>(list: &mut Vec<(K, Row)>, mut new: Vec<(K, Row)>) {
    if !new.is_empty() {
        list.reserve_exact(new.len());
        list.append(&mut new);
        // Two sorted runs, which the stable sort merges in linear time.
        list.sort_by_key(|entry| entry.0);
    }
}

/// The first place from `from` on whose key is not below `key`: by steps that double, since the next key is mostly near.
fn gallop<K: Ord, V>(list: &[(K, V)], from: usize, key: &K) -> usize {
    let (mut low, mut step) = (from, 1);
    while low + step <= list.len() && list[low + step - 1].0 < *key {
        low += step;
        step *= 2;
    }
    let high = (low + step - 1).min(list.len());
    low + list[low..high].partition_point(|entry| entry.0 < *key)
}
