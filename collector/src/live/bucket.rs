//! One bucket of history.

use std::any::Any;
use std::sync::{Arc, Weak};

use martlet_window::{DistinctSources, Marks};

use super::codec::{Stored, StoredBlob};
use super::key::{KindKey, RowKey, ServiceKind};
use super::sorted::{Levels, RowRef, SetRef, Sorted, SortedKey};
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
    /// Adds another.
    pub fn merge(&mut self, other: RowRef<'_>) {
        other.sources.add_to(&mut self.sources);
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// As rows of sorted lists are looked at.
    #[must_use]
    pub const fn as_ref(&self) -> RowRef<'_> {
        RowRef { packets: self.packets, bytes: self.bytes, sources: SetRef::Set(&self.sources) }
    }

    fn heap_bytes(&self) -> usize {
        // What a small set holds is in the row itself; another's is in one or two allocations.
        match self.sources.heap_bytes() {
            0 => 0,
            bytes => bytes + 2 * ALLOCATION,
        }
    }
}

/// Kinds of lists that rows are kept in.
pub const LIST_KINDS: usize = 2;

/// Says whether a list is the same as before: two are if they point to the same place, which is not used again while anybody
/// points to it.
pub type ListId = Weak<dyn Any + Send + Sync>;

/// How many keys and sources a bucket tells apart.
#[derive(Clone, Copy, Debug)]
pub struct BucketLimits {
    /// Services by kind, over all sensors.
    pub services: usize,
    /// Services by kind and sensor.
    pub rows: usize,
    /// Heaviest sources.
    pub top_sources: usize,
    /// Bytes that services, and rows by sensor, each take before sets of sources are made coarse.
    pub bytes: usize,
}

/// What was told apart less than it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coarsened {
    /// Packets whose service is not known any more.
    pub without_service: u64,
    /// Packets whose service is known over all sensors only.
    pub without_sensor: u64,
    /// Sets of sources that are less exact.
    pub sets: u64,
}

/// Everything that is known of one bucket of event time of one class. Lists are sorted by key.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    /// Only if rows by sensor have overflowed: otherwise they say it all.
    pub(super) services: Option<Levels<ServiceKind>>,
    pub(super) rows: Levels<RowKey>,
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
    /// By service and kind, over all sensors, in no order: a key may come several times, and then means the sum.
    pub fn services(&self) -> impl Iterator<Item = (ServiceKind, RowRef<'_>)> {
        let by_sensor = self.services.is_none().then(|| self.rows.iter());
        let over_all = self.services.iter().flat_map(Levels::iter);
        over_all.chain(by_sensor.into_iter().flatten().map(|(key, row)| (key.into(), row)))
    }

    /// By service, kind and sensor, in no order, as [`Bucket::services`].
    pub fn rows(&self) -> impl Iterator<Item = (RowKey, RowRef<'_>)> {
        self.rows.iter()
    }

    /// By service, kind and sensor, ascending, each key once.
    #[must_use]
    pub fn merged_rows(&self) -> Arc<Sorted<RowKey>> {
        self.rows.merged()
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

    /// Adds what a worker counted and sorted. Beyond the limits new keys are counted without being told apart.
    pub fn add(&mut self, delta: &mut BucketDelta, limits: &BucketLimits) -> Coarsened {
        let coarsened = self.add_rows(std::mem::take(&mut delta.rows), limits);
        add_sorted(&mut self.kinds, sorted(delta.kinds.drain()));
        let marks = (0u8..).zip(&mut delta.marks).filter(|(_, counts)| counts.packets > 0);
        add_sorted(&mut self.marks, marks.map(|(mark, counts)| (mark, std::mem::take(counts))));
        for (sensor, counts) in delta.sensors.drain() {
            match self.sensors.binary_search_by_key(&sensor, |entry| entry.0) {
                Ok(place) => self.sensors[place].1.add(&counts),
                Err(place) => {
                    self.sensors.reserve_exact(1);
                    self.sensors.insert(place, (sensor, counts));
                }
            }
        }
        self.top.add(&delta.sources, limits.top_sources);
        delta.sources.clear();
        self.tested = self.tested.union(delta.tested);
        self.untested = self.untested.union(delta.untested);
        coarsened
    }

    fn add_rows(&mut self, rows: Sorted<RowKey>, limits: &BucketLimits) -> Coarsened {
        let mut coarsened = Coarsened::default();
        if self.services.is_none() && !self.rows.has_room_for(&rows, limits.rows) {
            // From here on a service is not the sum of its rows any more.
            let before = self.rows.merged().summed(ServiceKind::from);
            self.services = Some(Arc::new(before).into());
        }
        if let Some(services) = &mut self.services {
            coarsened.without_service = services.add(rows.summed(ServiceKind::from), limits.services);
            coarsened.sets += services.bound_memory(limits.bytes);
        }
        coarsened.without_sensor = self.rows.add(rows, limits.rows);
        coarsened.sets += self.rows.bound_memory(limits.bytes);
        coarsened
    }

    /// The lists of its rows by sensor, and of its services, each with what identifies it as long as it is the same.
    #[must_use]
    pub fn lists(&self) -> [Vec<(ListId, &dyn StoredBlob)>; LIST_KINDS] {
        fn with_id<K: SortedKey + Stored + Send + Sync + 'static>(list: &Arc<Sorted<K>>) -> (ListId, &dyn StoredBlob) {
            (Arc::downgrade(list) as ListId, &**list)
        }
        let services = self.services.iter().flat_map(Levels::lists);
        [self.rows.lists().map(with_id).collect(), services.map(with_id).collect()]
    }

    /// Takes back a list of a kind, those of each kind in their order; `None` if it is damaged.
    pub fn put_list(&mut self, kind: usize, blob: &[u8]) -> Option<()> {
        match kind {
            0 => self.rows.push_list(Stored::from_blob(blob)?),
            1 => self.services.as_mut()?.push_list(Stored::from_blob(blob)?),
            _ => return None,
        }
        Some(())
    }

    /// Memory of the bucket, in bytes, when it was last measured: an estimate that does not know how the allocator fragments.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Measures the memory of the bucket, in bytes.
    pub fn update_memory(&mut self) -> usize {
        /// A bucket's place in the map of its class, its reference counts, and the allocations of its lists.
        const PLACE: usize = 64 + 7 * ALLOCATION;
        let services = self.services.as_ref().map_or(0, |services| services.heap_bytes(ALLOCATION));
        let rows = services + self.rows.heap_bytes(ALLOCATION);
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

/// Adds counts, ascending by key, to a short list that is, too.
fn add_sorted<K: Ord + Copy>(list: &mut Vec<(K, Row)>, counts: impl Iterator<Item = (K, Counts)>) {
    for (key, Counts { packets, bytes, sources }) in counts {
        let added = Row { packets, bytes, sources };
        match list.binary_search_by_key(&key, |entry| entry.0) {
            Ok(place) => list[place].1.merge(added.as_ref()),
            Err(place) => {
                list.reserve_exact(1);
                list.insert(place, (key, added));
            }
        }
    }
}
