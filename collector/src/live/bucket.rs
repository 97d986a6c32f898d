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
    fn add(&mut self, counts: Counts) {
        self.sources.merge(&counts.sources);
        self.packets = self.packets.saturating_add(counts.packets);
        self.bytes = self.bytes.saturating_add(counts.bytes);
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
        self.top.add(delta.sources.iter(), top_sources);
        delta.sources.clear();
        self.tested = self.tested.union(delta.tested);
        self.untested = self.untested.union(delta.untested);
        overflowed
    }

    fn add_rows(&mut self, delta: &mut BucketDelta, max_keys: usize) -> u64 {
        let mut rows: Vec<(RowKey, Counts)> = delta.rows.drain(..).collect();
        let room = max_keys.saturating_sub(self.rows.len());
        let mut overflowed = 0;
        if rows.len() > room {
            // The heaviest new keys get the room that is left.
            let is_known = |key: &RowKey| self.rows.binary_search_by_key(key, |entry| entry.0).is_ok();
            rows.sort_by_cached_key(|(key, counts)| (!is_known(key), std::cmp::Reverse(counts.packets), *key));
            let known = rows.partition_point(|(key, _)| is_known(key));
            for (key, counts) in rows.iter_mut().skip(known + room) {
                overflowed += counts.packets;
                key.service = ServiceKey::overflow(key.service.ip());
            }
        }
        // A sensor's rows come nearly in this order.
        rows.sort_by_key(|row| row.0);
        add_sorted(&mut self.rows, rows.into_iter());
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

/// Adds counts, ascending by key, to a list that is, too. A key may come several times.
fn add_sorted<K: Ord + Copy>(list: &mut Vec<(K, Row)>, counts: impl Iterator<Item = (K, Counts)>) {
    let mut new: Vec<(K, Row)> = Vec::new();
    let mut at = 0;
    for (key, counts) in counts {
        at = gallop(list, at, &key);
        match (list.get_mut(at).filter(|entry| entry.0 == key), new.last_mut()) {
            (Some((_, row)), _) => row.add(counts),
            (None, Some((last, row))) if *last == key => row.add(counts),
            _ => {
                let mut row = Row::default();
                row.add(counts);
                new.push((key, row));
            }
        }
    }
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
