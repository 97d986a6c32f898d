//! The live store: counts of all classes, owned by one thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use martlet_window::TrafficClass;

use super::bucket::{Bucket, BucketLimits};
use super::coverage::held_hours;
use super::image::{ClassImage, LiveImage, Start};
use super::observed::Observer;
use super::recent::{self, RecentSteps};
use super::view::{ClassView, LiveView, RecentHours, SensorView};
use crate::aggregate::{ClassDelta, Delta, HourKey, Hours, RecentDelta, SensorCounts, SensorReport};
use crate::config::{LiveConfig, MetricsConfig};
use crate::ingest::{Lost, SensorId};
use crate::journal::SensorRecord;

/// Windows that end later than this after now come from a clock that is wrong, in seconds.
const CLOCK_TOLERANCE_SECONDS: i64 = 300;
/// So many lists of rows that are as large as they may be fit into the memory; a bucket has two at most.
const LISTS_PER_LIMIT: u64 = 8;
/// Most bytes of one list, whatever the configuration: a quarter of 2^32 hashes, so that two lists that are merged stay below.
const MOST_LIST_BYTES: usize = 1 << 33;
/// Buckets that begin later than this after now are the first to go when memory is short, in seconds.
const FAR_FUTURE_SECONDS: i64 = 86_400;

/// Counts in memory, and which of them have changed since they were last written down.
#[derive(Debug)]
pub struct LiveStore {
    config: LiveConfig,
    classes: [ClassState; 3],
    reports: BTreeMap<(SensorId, TrafficClass), SensorReport>,
    /// Since the store was begun, also of what has been evicted.
    sensor_totals: BTreeMap<(SensorId, TrafficClass), SensorCounts>,
    lost: BTreeMap<SensorId, Lost>,
    hours: Arc<RecentHours>,
    observer: Observer,
    changed: Changed,
    newest: Arc<[AtomicI64; 3]>,
    memory_bytes: u64,
    evicted_buckets: u64,
    overflowed_packets: u64,
    sensor_overflowed_packets: u64,
    coarsened_sets: u64,
    recent_overflowed_packets: u64,
    /// How often something was added.
    additions: u64,
}

/// What has changed since it was last written down.
#[derive(Debug, Default)]
struct Changed {
    buckets: BTreeSet<(TrafficClass, Start)>,
    recent: BTreeSet<(TrafficClass, Start)>,
    sensors: BTreeSet<(SensorId, TrafficClass)>,
    lost: BTreeSet<SensorId>,
    /// What was added to hours, whether or not they are held.
    hours: Hours,
}

/// Counts of one class. What views share is behind `Arc`s and copied when it changes.
#[derive(Debug, Default)]
struct ClassState {
    totals: ClassDelta,
    first_window: Option<i64>,
    last_window_end: Option<i64>,
    last_arrival_ms: Option<i64>,
    buckets: Arc<BTreeMap<i64, Arc<Bucket>>>,
    recent: Arc<RecentSteps>,
}

impl LiveStore {
    /// An empty store. `newest` is kept up to date for the workers.
    #[must_use]
    pub fn new(config: LiveConfig, metrics: &MetricsConfig, newest: Arc<[AtomicI64; 3]>) -> LiveStore {
        LiveStore {
            config,
            classes: Default::default(),
            reports: BTreeMap::new(),
            sensor_totals: BTreeMap::new(),
            lost: BTreeMap::new(),
            hours: Arc::default(),
            changed: Changed::default(),
            observer: Observer::new(metrics),
            newest,
            memory_bytes: 0,
            evicted_buckets: 0,
            overflowed_packets: 0,
            sensor_overflowed_packets: 0,
            coarsened_sets: 0,
            recent_overflowed_packets: 0,
            additions: 0,
        }
    }

    /// Takes in what was written down; the store must be empty. More than fits into the memory is dropped as always.
    pub fn restore(&mut self, image: LiveImage, now: i64) {
        for ((state, class), newest) in self.classes.iter_mut().zip(image.classes).zip(&*self.newest) {
            let ClassImage { totals, first_window, last_window_end, last_arrival_ms } = class;
            let (buckets, recent) = Default::default();
            *state = ClassState { totals, first_window, last_window_end, last_arrival_ms, buckets, recent };
            newest.store(last_window_end.unwrap_or(i64::MIN), Relaxed);
        }
        for (key, report, totals) in image.sensors {
            self.reports.insert(key, report);
            self.sensor_totals.insert(key, totals);
        }
        self.lost = image.lost.into_iter().collect();
        for ((class, start), bucket) in image.buckets {
            let Some(bucket) = bucket else { continue };
            self.memory_bytes += bucket.memory_bytes() as u64;
            Arc::make_mut(&mut self.classes[class as usize].buckets).insert(start, bucket);
        }
        for ((class, start), step) in image.recent {
            let Some(step) = step else { continue };
            Arc::make_mut(&mut self.classes[class as usize].recent).insert(start, step);
        }
        if let Some(observed) = image.observed {
            self.observer.restore(observed);
        }
        self.hours = Arc::new(image.hours.into_iter().collect());
        self.evicted_buckets = image.evicted_buckets;
        self.overflowed_packets = image.overflowed_packets;
        self.sensor_overflowed_packets = image.sensor_overflowed_packets;
        self.coarsened_sets = image.coarsened_sets;
        self.recent_overflowed_packets = image.recent_overflowed_packets;
        self.evict(now);
    }

    /// What has changed since this was last asked. Cheap: what is large is shared, and copied only when it changes.
    #[must_use]
    pub fn changes(&mut self) -> LiveImage {
        let Changed { buckets, recent, sensors, lost, hours } = std::mem::take(&mut self.changed);
        let bucket = |&(class, start): &(TrafficClass, Start)| {
            ((class, start), self.classes[class as usize].buckets.get(&start).cloned())
        };
        let step = |&(class, start): &(TrafficClass, Start)| {
            ((class, start), self.classes[class as usize].recent.get(&start).cloned())
        };
        let sensor = |&key: &(SensorId, TrafficClass)| {
            Some((key, *self.reports.get(&key)?, self.sensor_totals.get(&key).copied().unwrap_or_default()))
        };
        LiveImage {
            classes: TrafficClass::ALL.map(|class| self.classes[class as usize].image()),
            sensors: sensors.iter().filter_map(sensor).collect(),
            lost: lost.iter().filter_map(|&id| Some((id, *self.lost.get(&id)?))).collect(),
            buckets: buckets.iter().map(bucket).collect(),
            recent: recent.iter().map(step).collect(),
            observed: self.observer.changes(),
            hours,
            evicted_buckets: self.evicted_buckets,
            overflowed_packets: self.overflowed_packets,
            sensor_overflowed_packets: self.sensor_overflowed_packets,
            coarsened_sets: self.coarsened_sets,
            recent_overflowed_packets: self.recent_overflowed_packets,
        }
    }

    /// Adds what a worker counted and empties it. `now` is the wall clock, in seconds since the Unix epoch: only to
    /// tell which windows claim to be from the future.
    pub fn add(&mut self, delta: &mut Delta, now: i64) {
        self.additions += 1;
        for (class, added) in self.classes.iter_mut().zip(delta.classes) {
            class.totals.batches += added.batches;
            class.totals.packets = class.totals.packets.saturating_add(added.packets);
            class.totals.bytes = class.totals.bytes.saturating_add(added.bytes);
        }
        for (&(sensor, class), report) in &delta.sensors {
            self.reports.entry((sensor, class)).and_modify(|known| known.merge(report)).or_insert(*report);
            self.changed.sensors.insert((sensor, class));
            self.classes[class as usize].hear(report, now);
            if let Some(end) = self.classes[class as usize].last_window_end {
                self.newest[class as usize].store(end, Relaxed);
            }
        }
        for (sensor, lost) in delta.lost.drain() {
            self.lost.entry(sensor).or_default().add(&lost);
            self.changed.lost.insert(sensor);
        }
        self.add_hours(delta);
        let limits = BucketLimits {
            services: self.config.max_services_per_bucket,
            rows: self.config.max_keys_per_bucket,
            top_sources: self.config.top_sources_per_bucket,
            // So that even the largest buckets leave room for some others, and places within a list fit into 32 bits.
            bytes: usize::try_from(self.config.memory_limit_bytes / LISTS_PER_LIMIT)
                .map_or(MOST_LIST_BYTES, |bytes| bytes.min(MOST_LIST_BYTES)),
        };
        for ((class, start), mut bucket_delta) in delta.take_buckets() {
            for (step, added) in bucket_delta.recent.drain(..) {
                self.add_recent(class, step, added, now);
            }
            self.changed.buckets.insert((class, start));
            self.observer.count(class, &bucket_delta);
            for (&sensor, counts) in &bucket_delta.sensors {
                self.sensor_totals.entry((sensor, class)).or_default().add(counts);
            }
            let buckets = Arc::make_mut(&mut self.classes[class as usize].buckets);
            let bucket = Arc::make_mut(buckets.entry(start).or_default());
            let before = bucket.memory_bytes();
            let coarsened = bucket.add(&mut bucket_delta, &limits);
            self.overflowed_packets += coarsened.without_service;
            self.sensor_overflowed_packets += coarsened.without_sensor;
            self.coarsened_sets += coarsened.sets;
            let after = bucket.update_memory();
            self.memory_bytes = (self.memory_bytes + after as u64).saturating_sub(before as u64);
            delta.keep(bucket_delta);
        }
        self.observer.count_owners(delta.owners.drain(..));
        self.forget_recent();
        delta.clear();
        self.evict(now);
    }

    fn add_hours(&mut self, delta: &mut Delta) {
        for (key, hour) in delta.hours.drain() {
            self.changed.hours.entry(key).or_default().add(&hour);
            if self.holds(&key) {
                Arc::make_mut(&mut self.hours).entry(key).or_default().add(&hour);
            }
        }
        let held = self.classes.each_ref().map(|class| held_hours(class.last_window_end));
        if self.hours.keys().any(|key| !held[key.class as usize].contains(&key.hour)) {
            Arc::make_mut(&mut self.hours).retain(|key, _| held[key.class as usize].contains(&key.hour));
        }
    }

    /// Whether an hour is among those that are held.
    fn holds(&self, key: &HourKey) -> bool {
        held_hours(self.classes[key.class as usize].last_window_end).contains(&key.hour)
    }

    fn add_recent(&mut self, class: TrafficClass, start: i64, step: RecentDelta, now: i64) {
        let in_future = start > now.saturating_add(CLOCK_TOLERANCE_SECONDS);
        if !in_future {
            self.changed.recent.insert((class, start));
            let steps = Arc::make_mut(&mut self.classes[class as usize].recent);
            self.recent_overflowed_packets += recent::add(steps, start, step);
        }
    }

    fn forget_recent(&mut self) {
        for (class, name) in self.classes.iter_mut().zip(TrafficClass::ALL) {
            if let Some(end) = class.last_window_end.filter(|_| !class.recent.is_empty()) {
                let changed = |start| {
                    self.changed.recent.insert((name, start));
                };
                recent::forget(Arc::make_mut(&mut class.recent), end, changed);
            }
        }
    }

    /// Drops buckets until the memory is within its limit; the last one stays.
    fn evict(&mut self, now: i64) {
        while self.memory_bytes > self.config.memory_limit_bytes {
            let count: usize = self.classes.iter().map(|class| class.buckets.len()).sum();
            let far = now.saturating_add(FAR_FUTURE_SECONDS);
            let newest = (0..3).filter_map(|i| Some((*self.classes[i].buckets.last_key_value()?.0, i))).max();
            let oldest = (0..3).filter_map(|i| Some((*self.classes[i].buckets.first_key_value()?.0, i))).min();
            // A wrong clock must not push out what is right.
            let victim = newest.filter(|(start, _)| *start > far).or(oldest);
            let Some((start, class)) = victim.filter(|_| count > 1) else {
                return;
            };
            if let Some(bucket) = Arc::make_mut(&mut self.classes[class].buckets).remove(&start) {
                self.memory_bytes = self.memory_bytes.saturating_sub(bucket.memory_bytes() as u64);
                self.evicted_buckets += 1;
                self.changed.buckets.insert((TrafficClass::ALL[class], start));
            }
        }
    }

    /// The state as readers see it; `now` as for [`LiveStore::add`].
    #[must_use]
    pub fn view(&mut self, sensors: &[SensorRecord], now: i64) -> LiveView {
        self.observer.evaluate(now);
        let sensors = sensors.iter().enumerate().map(|(index, record)| {
            let id = SensorId(u16::try_from(index).unwrap_or(u16::MAX));
            let reports = TrafficClass::ALL.map(|class| self.reports.get(&(id, class)).copied());
            let totals = TrafficClass::ALL.map(|class| self.sensor_totals.get(&(id, class)).copied());
            let lost = self.lost.get(&id).copied().unwrap_or_default();
            SensorView { name: record.name.clone(), lost, reports, totals }
        });
        LiveView {
            // Sensors that have brought nothing yet are names in the view; neither number ever goes down.
            generation: self.additions + sensors.len() as u64,
            bucket_seconds: i64::from(self.config.bucket_seconds),
            silent_grace_seconds: i64::from(self.config.silent_grace_seconds),
            sensors: sensors.collect(),
            classes: TrafficClass::ALL.map(|class| self.classes[class as usize].view()),
            hours: self.hours.clone(),
            observed: self.observer.publish(),
            memory_bytes: self.memory_bytes,
            memory_limit_bytes: self.config.memory_limit_bytes,
            evicted_buckets: self.evicted_buckets,
            overflowed_packets: self.overflowed_packets,
            sensor_overflowed_packets: self.sensor_overflowed_packets,
            coarsened_sets: self.coarsened_sets,
            recent_overflowed_packets: self.recent_overflowed_packets,
        }
    }
}

impl ClassState {
    fn hear(&mut self, report: &SensorReport, now: i64) {
        let first = self.first_window.get_or_insert(report.first_window);
        *first = report.first_window.min(*first);
        let end = report.window.end();
        if end <= now.saturating_add(CLOCK_TOLERANCE_SECONDS) {
            let last = self.last_window_end.get_or_insert(end);
            *last = end.max(*last);
        }
        self.last_arrival_ms = self.last_arrival_ms.max(Some(report.arrived_ms));
    }

    fn view(&self) -> ClassView {
        ClassView {
            totals: self.totals,
            first_window: self.first_window,
            last_window_end: self.last_window_end,
            last_arrival_ms: self.last_arrival_ms,
            buckets: self.buckets.clone(),
            recent: self.recent.clone(),
        }
    }

    const fn image(&self) -> ClassImage {
        ClassImage {
            totals: self.totals,
            first_window: self.first_window,
            last_window_end: self.last_window_end,
            last_arrival_ms: self.last_arrival_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::{Arrival, Rules, SourceHash};
    use crate::live::{RECENT_SERVICES, SortedKey, Stored};
    use martlet_window::{
        BatchHeader, CaptureStatistics, Class, Digest, DistinctSources, Exposure, IpVersion, Kind, Marks, Origin,
        Posture, Service, Window, WindowLength,
    };
    use martlet_wire::v1::{Columns, Run};

    const NOW: i64 = 1_700_000_000;
    const ARRIVAL: Arrival = Arrival { at_ms: NOW * 1000, is_live: false };

    fn store(change: impl FnOnce(&mut LiveConfig)) -> LiveStore {
        let mut config = LiveConfig::default();
        change(&mut config);
        LiveStore::new(config, &MetricsConfig::default(), Arc::new([const { AtomicI64::new(i64::MIN) }; 3]))
    }

    fn rules() -> Rules {
        Rules { source_hash: SourceHash::new([7; 16]), bucket_seconds: 600, late_grace_seconds: 30 }
    }

    /// One packet from `source` to each of `ports`.
    fn columns(ports: std::ops::Range<u16>, source: u128) -> Columns {
        let mut columns = Columns::default();
        for (place, port) in (0u32..).zip(ports) {
            let (service, marks) = (Service::Port(port), Marks::NONE);
            let class = Class { ip: IpVersion::V4, protocol: 6, service, kind: Kind::Scan, marks };
            columns.runs.push(Run { class: class.into(), start: place, end: place + 1 });
            columns.sources.push(source);
            columns.packets.push(1);
            columns.bytes.push(40);
            columns.targets.push(1);
        }
        columns
    }

    fn header(class: TrafficClass, start: i64, packets: u64) -> BatchHeader {
        BatchHeader {
            origin: Origin([1; 16]),
            epoch: 0,
            sequence: 0,
            predecessor: Digest::default(),
            class,
            posture: Posture::Silent,
            window: Window { start, length: WindowLength::DEFAULT },
            part: 0,
            exposure: Some(Exposure { watched_ms: 10_000, ipv4_addresses: 1, ipv6_prefixes: 0 }),
            unavailable: Marks::NONE,
            capture: CaptureStatistics { frames: packets, packets, ..CaptureStatistics::default() },
        }
    }

    fn add(store: &mut LiveStore, class: TrafficClass, start: i64, ports: std::ops::Range<u16>, source: u128) {
        let mut delta = Delta::default();
        let columns = columns(ports, source);
        let header = header(class, start, columns.len() as u64);
        delta.add(&rules(), SensorId(0), &header, &columns, i64::MIN, ARRIVAL);
        store.add(&mut delta, NOW);
        assert!(delta.is_empty());
    }

    fn measured(store: &LiveStore) -> u64 {
        let buckets = store.classes.iter().flat_map(|class| class.buckets.values());
        buckets.map(|bucket| Bucket::clone(bucket).update_memory() as u64).sum()
    }

    #[test]
    fn the_oldest_buckets_go_first_and_a_wrong_clock_goes_before_them() {
        let limit = 1 << 20;
        let mut store = store(|config| config.memory_limit_bytes = limit);
        add(&mut store, TrafficClass::Real, NOW + 10 * FAR_FUTURE_SECONDS, 0..10, 1);
        let first = NOW - NOW.rem_euclid(600) - 600 * 400;
        for n in 0..400 {
            add(&mut store, TrafficClass::Real, first + 600 * n, 0..50, 1);
        }
        assert!(store.memory_bytes <= limit && store.evicted_buckets > 0);
        let view = store.view(&[], NOW);
        let starts: Vec<i64> = view.class(TrafficClass::Real).buckets.keys().copied().collect();
        // What is left is the newest of what is right, without a hole.
        assert_eq!(*starts.last().unwrap(), first + 600 * 399);
        assert!(starts.windows(2).all(|pair| pair[1] == pair[0] + 600));
        assert_eq!(starts.len() as u64 + view.evicted_buckets, 401);
        // Totals since the start do not shrink.
        assert_eq!(view.class(TrafficClass::Real).totals.packets, 400 * 50 + 10);
    }

    #[test]
    fn the_running_estimate_is_the_measured_one() {
        let mut store = store(|_| {});
        for n in 0..300u16 {
            let start = NOW - i64::from(n % 7) * 600;
            add(&mut store, TrafficClass::ALL[usize::from(n % 3)], start, n..n + 20, u128::from(n));
        }
        // Clones have no spare room, so the measure of clones is a little lower.
        let (running, measured) = (store.memory_bytes, measured(&store));
        assert!(measured <= running && running < measured + measured / 2, "{running} {measured}");
    }

    #[test]
    fn beyond_the_cap_of_rows_ports_are_exact_over_all_sensors_and_then_packets_count_without_their_port() {
        let mut store = store(|config| (config.max_keys_per_bucket, config.max_services_per_bucket) = (100, 150));
        let mut packets = |ports, source| {
            add(&mut store, TrafficClass::Real, NOW, ports, source);
            let view = store.view(&[], NOW);
            let bucket = view.class(TrafficClass::Real).buckets.values().next().unwrap().clone();
            fn sum<K: SortedKey>(rows: impl Iterator<Item = (K, u64)>) -> [u64; 2] {
                rows.fold([0, 0], |[kept, rest], (key, packets)| match key.is_overflow() {
                    false => [kept + packets, rest],
                    true => [kept, rest + packets],
                })
            }
            let by_sensor = sum(bucket.rows().map(|(key, row)| (key, row.packets)));
            let over_all = sum(bucket.services().map(|(key, row)| (key, row.packets)));
            assert_eq!([by_sensor[1], over_all[1]], [view.sensor_overflowed_packets, view.overflowed_packets]);
            (by_sensor, over_all)
        };
        assert_eq!(packets(0..80, 1), ([80, 0], [80, 0]));
        // 40 known ports and 20 new ones find room by sensor, and over all sensors all do.
        assert_eq!(packets(40..140, 2), ([140, 40], [180, 0]));
        // Now there are 140 of 150 services.
        assert_eq!(packets(100..200, 3), ([140, 140], [230, 50]));
    }

    #[test]
    fn beyond_the_cap_of_services_recent_packets_count_without_their_port() {
        let mut store = store(|_| {});
        let start = NOW - NOW.rem_euclid(10);
        // The first alone is beyond the cap, and the second finds no room for what is new.
        add(&mut store, TrafficClass::Real, start, 0..1100, 1);
        add(&mut store, TrafficClass::Real, start, 1000..1100, 2);
        let view = store.view(&[], NOW);
        let step = view.class(TrafficClass::Real).recent.values().next().unwrap().clone();
        assert_eq!(step.packets, 1200);
        // What is not told apart has a row too.
        assert!((RECENT_SERVICES..=RECENT_SERVICES + 1).contains(&step.services.len()), "{}", step.services.len());
        assert!(view.recent_overflowed_packets >= 76, "{}", view.recent_overflowed_packets);
        let told_apart = step.services.iter().filter(|(key, _)| !key.is_overflow()).map(|(_, row)| row.packets);
        assert_eq!(told_apart.sum::<u64>(), 1200 - view.recent_overflowed_packets);
    }

    #[test]
    fn a_view_does_not_change_when_the_store_does() {
        let mut store = store(|_| {});
        add(&mut store, TrafficClass::Real, NOW, 23..24, 1);
        let before = store.view(&[], NOW);
        add(&mut store, TrafficClass::Real, NOW, 23..24, 2);
        let after = store.view(&[], NOW);
        let counts = |view: &LiveView| {
            let bucket = view.class(TrafficClass::Real).buckets.values().next().unwrap().clone();
            let (mut packets, mut sources) = (0, DistinctSources::default());
            bucket.rows().for_each(|(_, row)| {
                packets += row.packets;
                row.sources.add_to(&mut sources);
            });
            (packets, sources.count())
        };
        assert_eq!((counts(&before), counts(&after)), ((1, 1), (2, 2)));
    }

    /// As the store writes it and reads it again.
    fn through_blobs(image: LiveImage) -> LiveImage {
        fn again<T: Stored>(value: &T) -> T {
            T::from_blob(&value.to_blob().unwrap()).unwrap()
        }
        fn bucket(bucket: &Bucket) -> Bucket {
            let mut back = again(bucket);
            for (kind, lists) in bucket.lists().iter().enumerate() {
                lists.iter().for_each(|(_, list)| back.put_list(kind, &list.blob().unwrap()).unwrap());
            }
            back.update_memory();
            back
        }
        LiveImage {
            buckets: image.buckets.into_iter().map(|(key, b)| (key, b.map(|b| Arc::new(bucket(&b))))).collect(),
            recent: image.recent.into_iter().map(|(key, s)| (key, s.map(|s| Arc::new(again(&*s))))).collect(),
            observed: image.observed.as_ref().map(again),
            ..image
        }
    }

    #[test]
    fn what_is_written_down_comes_back() {
        let mut first = store(|_| {});
        let mut images = Vec::new();
        for n in 0..300u16 {
            let start = NOW - i64::from(n % 70) * 600;
            add(&mut first, TrafficClass::ALL[usize::from(n % 3)], start, n..n + 20, u128::from(n % 50));
            if n % 100 == 99 {
                images.push(through_blobs(first.changes()));
            }
        }
        assert!(first.changes().buckets.is_empty());
        // The newest of each is what the store holds.
        let mut whole = images.remove(0);
        for image in images {
            whole.overlay(image);
        }
        let mut second = store(|_| {});
        second.restore(whole, NOW);
        let (first, second) = (first.view(&[], NOW), second.view(&[], NOW));
        // Lists that grew may have room to spare, which is no difference; so blobs are compared.
        let contents = |view: &LiveView| {
            let each = view.classes.iter().map(|class| {
                let lists = |bucket: &Bucket| {
                    bucket.lists().map(|lists| lists.iter().map(|list| list.1.blob().unwrap()).collect::<Vec<_>>())
                };
                let buckets =
                    class.buckets.iter().map(|(start, bucket)| (*start, bucket.to_blob().unwrap(), lists(bucket)));
                let steps = class.recent.iter().map(|(start, step)| (*start, step.to_blob().unwrap()));
                let times = (class.first_window, class.last_window_end, class.last_arrival_ms);
                (class.totals, times, buckets.collect::<Vec<_>>(), steps.collect::<Vec<_>>())
            });
            each.collect::<Vec<_>>()
        };
        assert!(contents(&first) == contents(&second));
        assert_eq!(format!("{:?}", first.observed), format!("{:?}", second.observed));
        assert_eq!(first.hours, second.hours);
        assert!(first.hours.len() > 20);
    }

    #[test]
    fn a_sparse_capture_of_550_days_fits() {
        // 79,200 ten-minute buckets of about seven packets each.
        let mut store = store(|_| {});
        let first = NOW - NOW.rem_euclid(600) - 79_200 * 600;
        let mut delta = Delta::default();
        for n in 0..79_200i64 {
            let start: i64 = first + 600 * n;
            let port = u16::try_from(n % 1000).unwrap();
            let columns = columns(port..port + 7, n.unsigned_abs().into());
            let header = header(TrafficClass::Import, start, 7);
            delta.add(&rules(), SensorId(0), &header, &columns, i64::MAX, ARRIVAL);
            if delta.size() > 100_000 {
                store.add(&mut delta, NOW);
            }
        }
        store.add(&mut delta, NOW);
        let view = store.view(&[], NOW);
        println!("{} MiB", view.memory_bytes >> 20);
        assert_eq!((view.class(TrafficClass::Import).buckets.len(), view.evicted_buckets), (79_200, 0));
    }
}
