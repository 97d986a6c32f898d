//! The ways to count. Each is one function from rows to one or more tables; the clock is around it.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};
use dashmap::DashMap;
use foldhash::fast::RandomState;
use hashbrown::hash_table::{Entry, HashTable};
use martlet_collector::aggregate::SourceCounts;
use martlet_window::IpVersion;
use rustix::time::{ClockId, clock_gettime};

use super::draw::{Batch, Rows};

/// Locks of a map that has several.
const SHARDS: usize = 64;

/// A way to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// std's map as it comes; the lock is taken once a batch.
    Mutex,
    /// A lock and a hashbrown table for each shard; the lock is taken for each row, which is hashed once.
    Shards,
    /// The same as a library.
    DashMap,
    /// Each thread has the keys whose hash says so, and passes rows with others on.
    Channels,
    /// As ours, with hashbrown's map.
    Private,
    /// The collector's table.
    Ours,
}

/// What must be the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) sources: usize,
    pub(super) packets: u64,
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) totals: Totals,
    pub(super) seconds: f64,
    /// CPU time of all threads.
    pub(super) cpu_seconds: f64,
    /// What merging took of it, on one thread.
    pub(super) merge_cpu_seconds: f64,
}

impl Way {
    pub(super) const ALL: [Way; 6] = [Way::Mutex, Way::Shards, Way::DashMap, Way::Channels, Way::Private, Way::Ours];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Way::Mutex => "std HashMap, one mutex",
            Way::Shards => "64 mutexes, hashbrown",
            Way::DashMap => "DashMap, 64 shards",
            Way::Channels => "crossbeam-channel, hashbrown for each thread",
            Way::Private => "hashbrown for each thread, merged",
            Way::Ours => "ours: SourceCounts for each thread, merged",
        }
    }

    /// About how much memory it takes, in bytes: a table that grows exists in two sizes for a while.
    pub(super) fn bytes(self, keys: u32, threads: usize) -> u64 {
        let (keys, threads) = (u64::from(keys), threads as u64);
        let hashbrown = (keys * 8 / 7).next_power_of_two() * 17 * 3 / 2;
        match self {
            Way::Mutex | Way::Shards | Way::DashMap | Way::Channels => hashbrown,
            Way::Private => hashbrown * threads,
            Way::Ours => (keys * 8 / 5).next_power_of_two() * 8 * 3 / 2 * threads,
        }
    }

    pub(super) fn run(self, rows: &Rows, threads: usize) -> Outcome {
        match self {
            Way::Mutex => mutex(rows, threads),
            Way::Shards => shards(rows, threads),
            Way::DashMap => dash_map(rows, threads),
            Way::Channels => channels(rows, threads),
            Way::Private => private(rows, threads),
            Way::Ours => ours(rows, threads),
        }
    }
}

/// Gives each of the threads its share, and returns what they made of it.
fn each<T: Send>(
    rows: &Rows,
    threads: usize,
    count: impl Fn(usize, &mut dyn Iterator<Item = &Batch>) -> T + Sync,
) -> Vec<T> {
    let count = &count;
    std::thread::scope(|scope| {
        let run = |thread| scope.spawn(move || count(thread, &mut rows.share(thread, threads)));
        let handles: Vec<_> = (0..threads).map(run).collect();
        let join = |handle: std::thread::ScopedJoinHandle<'_, T>| match handle.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        handles.into_iter().map(join).collect()
    })
}

/// The clocks are stopped when `count` returns; `total` is not on them.
fn timed<T>(count: impl FnOnce() -> T, total: impl FnOnce(&T) -> Totals) -> Outcome {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let counted = count();
    let (seconds, cpu_seconds) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    Outcome { totals: total(&counted), seconds, cpu_seconds, merge_cpu_seconds: 0.0 }
}

/// As [`timed`], where each thread has a table of its own and they are merged.
fn timed_merge<T: Send>(
    rows: &Rows,
    threads: usize,
    count: impl Fn(&mut dyn Iterator<Item = &Batch>) -> T + Sync,
    merge: impl FnOnce(Vec<T>) -> T,
    total: impl FnOnce(&T) -> Totals,
) -> Outcome {
    let mut merge_cpu_seconds = 0.0;
    let all = || {
        let tables = each(rows, threads, |_, batches| count(batches));
        let before = cpu_seconds();
        let merged = merge(tables);
        merge_cpu_seconds = cpu_seconds() - before;
        merged
    };
    let outcome = timed(all, total);
    Outcome { merge_cpu_seconds, ..outcome }
}

/// CPU time of all threads.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn sum<'a>(packets: impl ExactSizeIterator<Item = &'a u64>) -> Totals {
    Totals { sources: packets.len(), packets: packets.sum() }
}

fn mutex(rows: &Rows, threads: usize) -> Outcome {
    let count = || {
        let map: Mutex<HashMap<u32, u64>> = Mutex::default();
        each(rows, threads, |_, batches| {
            for batch in batches {
                let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
                batch.rows().for_each(|(source, packets)| *map.entry(source).or_default() += packets);
            }
        });
        map.into_inner().unwrap_or_else(PoisonError::into_inner)
    };
    timed(count, |map| sum(map.values()))
}

/// A shard in cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<HashTable<(u32, u64)>>);

fn shards(rows: &Rows, threads: usize) -> Outcome {
    let state = RandomState::default();
    let add = |shard: &Shard, hash, source, packets| {
        let mut table = shard.0.lock().unwrap_or_else(PoisonError::into_inner);
        match table.entry(hash, |entry| entry.0 == source, |entry| state.hash_one(entry.0)) {
            Entry::Occupied(mut entry) => entry.get_mut().1 += packets,
            Entry::Vacant(entry) => drop(entry.insert((source, packets))),
        }
    };
    let count = || {
        let shards: [Shard; SHARDS] = std::array::from_fn(|_| Shard::default());
        each(rows, threads, |_, batches| {
            for (source, packets) in batches.flat_map(Batch::rows) {
                let hash = state.hash_one(source);
                add(&shards[part(hash, SHARDS)], hash, source, packets);
            }
        });
        shards.map(|shard| shard.0.into_inner().unwrap_or_else(PoisonError::into_inner))
    };
    timed(count, |shards| Totals {
        sources: shards.iter().map(HashTable::len).sum(),
        packets: shards.iter().flatten().map(|entry| entry.1).sum(),
    })
}

/// Which of so many parts a hash belongs to, by bits that a table does not look at.
const fn part(hash: u64, parts: usize) -> usize {
    (hash >> 48) as usize % parts
}

fn dash_map(rows: &Rows, threads: usize) -> Outcome {
    let count = || {
        let map: DashMap<u32, u64, RandomState> = DashMap::with_hasher_and_shard_amount(RandomState::default(), SHARDS);
        each(rows, threads, |_, batches| {
            for (source, packets) in batches.flat_map(Batch::rows) {
                *map.entry(source).or_default() += packets;
            }
        });
        map
    };
    timed(count, |map| Totals { sources: map.len(), packets: map.iter().map(|entry| *entry.value()).sum() })
}

/// A map of its own.
type Map = hashbrown::HashMap<u32, u64, RandomState>;
/// Rows of one batch that belong to one thread.
type Routed = Vec<(u32, u64)>;

fn channels(rows: &Rows, threads: usize) -> Outcome {
    let state = RandomState::default();
    let count = || {
        let (senders, receivers): (Vec<Sender<Routed>>, Vec<Receiver<Routed>>) =
            (0..threads).map(|_| unbounded()).unzip();
        // Each thread has senders of its own, and an inbox ends when all of them are gone.
        let ends: Vec<Mutex<Option<_>>> =
            receivers.into_iter().map(|inbox| Mutex::new(Some((inbox, senders.clone())))).collect();
        drop(senders);
        each(rows, threads, |thread, batches| {
            let end = ends[thread].lock().unwrap_or_else(PoisonError::into_inner).take();
            let mut map = Map::with_hasher(state.clone());
            if let Some((inbox, senders)) = end {
                route(thread, batches, senders, &inbox, &mut map);
            }
            map
        })
    };
    timed(count, |maps| Totals {
        sources: maps.iter().map(Map::len).sum(),
        packets: maps.iter().flat_map(Map::values).sum(),
    })
}

/// Counts what belongs to a thread, its own rows and those of others, and sends them theirs.
fn route(
    thread: usize,
    batches: &mut dyn Iterator<Item = &Batch>,
    senders: Vec<Sender<Routed>>,
    inbox: &Receiver<Routed>,
    map: &mut Map,
) {
    let state = map.hasher().clone();
    let mut add = |(source, packets)| *map.entry(source).or_default() += packets;
    if senders.len() == 1 {
        return batches.flat_map(Batch::rows).for_each(add);
    }
    for batch in batches {
        let room = batch.sources.len();
        let mut routed: Vec<Routed> = (0..senders.len()).map(|_| Vec::with_capacity(room)).collect();
        for (source, packets) in batch.rows() {
            routed[part(state.hash_one(source), senders.len())].push((source, packets));
        }
        for (to, rows) in routed.into_iter().enumerate() {
            if to == thread {
                rows.into_iter().for_each(&mut add);
            } else {
                // All are alive until all have drained their inboxes.
                let _ = senders[to].send(rows);
            }
        }
        inbox.try_iter().flatten().for_each(&mut add);
    }
    drop(senders);
    inbox.iter().flatten().for_each(add);
}

fn private(rows: &Rows, threads: usize) -> Outcome {
    let state = RandomState::default();
    let count = |batches: &mut dyn Iterator<Item = &Batch>| {
        let mut map = Map::with_hasher(state.clone());
        for (source, packets) in batches.flat_map(Batch::rows) {
            *map.entry(source).or_default() += packets;
        }
        map
    };
    let merge = |maps: Vec<Map>| {
        let mut maps = maps.into_iter();
        let mut merged = maps.next().unwrap_or_default();
        for map in maps {
            // Sources come in the order of their hash: without room for all of them they would first crowd one end.
            merged.reserve(map.len());
            map.into_iter().for_each(|(source, packets)| *merged.entry(source).or_default() += packets);
        }
        merged
    };
    timed_merge(rows, threads, count, merge, |map| sum(map.values()))
}

fn ours(rows: &Rows, threads: usize) -> Outcome {
    let count = |batches: &mut dyn Iterator<Item = &Batch>| {
        let mut counts = SourceCounts::default();
        batches.for_each(|batch| counts.add(IpVersion::V4, &batch.sources, &batch.packets));
        counts
    };
    let merge = |tables: Vec<SourceCounts>| {
        let mut tables = tables.into_iter();
        let mut merged = tables.next().unwrap_or_default();
        tables.for_each(|table| merged.merge(&table));
        merged
    };
    timed_merge(rows, threads, count, merge, |counts| Totals {
        sources: counts.len(),
        packets: counts.iter().map(|(_, packets)| packets).sum(),
    })
}
