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
        add_sorted(&mut self.kinds, delta.kinds.drain());
        add_sorted(&mut self.marks, delta.marks.drain());
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
        let known = self.rows.len();
        let mut overflowed = 0;
        let mut overflow: Vec<(RowKey, Counts)> = Vec::new();
        if known + delta.rows.len() > max_keys {
            let mut room = max_keys.saturating_sub(known);
            let mut rows: Vec<(RowKey, Counts)> = delta.rows.drain().collect();
            // The heaviest new keys get the room that is left.
            rows.sort_unstable_by_key(|(key, counts)| (std::cmp::Reverse(counts.packets), *key));
            for (key, counts) in rows {
                let is_known = self.rows[..known].binary_search_by_key(&key, |entry| entry.0).is_ok();
                if is_known || room > 0 {
                    room -= usize::from(!is_known);
                    delta.rows.insert(key, counts);
                } else {
                    overflowed += counts.packets;
                    overflow.push((RowKey { service: ServiceKey::overflow(key.service.ip()), ..key }, counts));
                }
            }
        }
        add_sorted(&mut self.rows, delta.rows.drain());
        for row in overflow {
            add_sorted(&mut self.rows, std::iter::once(row));
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

/// Adds counts to a sorted list: in place where the key is known, the others with one sort at the end.
fn add_sorted<K: Ord + Copy>(list: &mut Vec<(K, Row)>, counts: impl Iterator<Item = (K, Counts)>) {
    let known = list.len();
    let mut new: Vec<(K, Row)> = Vec::new();
    for (key, counts) in counts {
        match list[..known].binary_search_by_key(&key, |entry| entry.0) {
            Ok(place) => list[place].1.add(counts),
            Err(_) => {
                let mut row = Row::default();
                row.add(counts);
                new.push((key, row));
            }
        }
    }
    if !new.is_empty() {
        list.reserve_exact(new.len());
        list.append(&mut new);
        // Two sorted runs after sorting the tail: the stable sort merges them in linear time.
        list[known..].sort_unstable_by_key(|entry| entry.0);
        list.sort_by_key(|entry| entry.0);
    }
}
