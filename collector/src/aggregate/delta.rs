//! What one worker has counted since it last handed over.

use std::collections::HashMap;

use foldhash::fast::RandomState as TableState;
use martlet_telemetry::counters::to_f64;
use martlet_window::{
    BatchHeader, DistinctSources, IpVersion, Mark, Marks, Posture, RejectReason, TrafficClass, Window,
};
use martlet_wire::v1::Columns;

use super::hash::SourceHash;
use super::hours::{HourKey, Hours, Loss, SensorHour, hour_of};
use super::log::{NO_STEP, RowLog};
use super::owners::OwnerKey;
use super::sources::SourceCounts;
use crate::ingest::{Lost, SensorId};
use crate::live::{KindKey, RECENT_STEP_SECONDS, RowKey, SILENT_WINDOWS, ServiceKind, Sorted};

/// Tables whose keys an attacker chooses in part; the state is seeded at random.
type Table<K, V> = HashMap<K, V, TableState>;

/// Most buckets whose tables are kept for later: those of live sensors are one or two, those of a backlog more.
const SPARE_BUCKETS: usize = 8;
/// Most memory that they take together, in bytes, about.
const SPARE_BYTES: usize = 32 << 20;

const MARKS: usize = Mark::ALL.len();

/// Packets, bytes and distinct sources of something.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Packets.
    pub packets: u64,
    /// IP total lengths, in bytes.
    pub bytes: u64,
    /// Sources.
    pub sources: DistinctSources,
}

impl Counts {
    fn add(&mut self, sums: Sums) {
        self.packets += sums.packets;
        self.bytes = self.bytes.saturating_add(sums.bytes);
    }
}

/// How one sensor watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SensorCounts {
    /// Windows that came (their first parts).
    pub windows: u64,
    /// Windows, among those, that came late; of real traffic only.
    pub late_windows: u64,
    /// IPv4 packets.
    pub ipv4_packets: u64,
    /// IPv6 packets.
    pub ipv6_packets: u64,
    /// IP total lengths, in bytes.
    pub bytes: u64,
    /// Frames seen.
    pub frames: u64,
    /// Frames that the kernel dropped.
    pub kernel_drops: u64,
    /// Frames that the interface dropped.
    pub interface_drops: u64,
    /// Frames not counted, by reason.
    pub rejected: [u64; RejectReason::ALL.len()],
    /// Time watched, in milliseconds.
    pub watched_ms: u64,
    /// Addresses times milliseconds watched.
    pub ipv4_address_ms: u64,
    /// /64 prefixes times milliseconds watched.
    pub ipv6_prefix_ms: u64,
    /// Whether any batch did not know its exposure.
    pub exposure_unknown: bool,
}

impl SensorCounts {
    /// Adds another's; saturates, since these are a peer's claims.
    pub fn add(&mut self, other: &SensorCounts) {
        let sum = |mine: &mut u64, theirs: u64| *mine = mine.saturating_add(theirs);
        sum(&mut self.windows, other.windows);
        sum(&mut self.late_windows, other.late_windows);
        sum(&mut self.ipv4_packets, other.ipv4_packets);
        sum(&mut self.ipv6_packets, other.ipv6_packets);
        sum(&mut self.bytes, other.bytes);
        sum(&mut self.frames, other.frames);
        sum(&mut self.kernel_drops, other.kernel_drops);
        sum(&mut self.interface_drops, other.interface_drops);
        for (mine, theirs) in self.rejected.iter_mut().zip(other.rejected) {
            sum(mine, theirs);
        }
        sum(&mut self.watched_ms, other.watched_ms);
        sum(&mut self.ipv4_address_ms, other.ipv4_address_ms);
        sum(&mut self.ipv6_prefix_ms, other.ipv6_prefix_ms);
        self.exposure_unknown |= other.exposure_unknown;
    }

    /// Time watched, in seconds; `None` if any batch did not know it.
    #[must_use]
    pub fn watched_seconds(&self) -> Option<f64> {
        (!self.exposure_unknown).then(|| to_f64(self.watched_ms) / 1000.0)
    }

    fn of(header: &BatchHeader, is_late: bool) -> SensorCounts {
        let exposure = header.exposure.unwrap_or_default();
        let watched_ms = u64::from(exposure.watched_ms);
        let windows = u64::from(header.part == 0);
        SensorCounts {
            windows,
            late_windows: if is_late { windows } else { 0 },
            frames: header.capture.frames,
            kernel_drops: header.capture.kernel_drops,
            interface_drops: header.capture.interface_drops,
            rejected: header.capture.rejected,
            watched_ms,
            ipv4_address_ms: watched_ms.saturating_mul(exposure.ipv4_addresses),
            ipv6_prefix_ms: watched_ms.saturating_mul(exposure.ipv6_prefixes),
            exposure_unknown: header.exposure.is_none(),
            ..SensorCounts::default()
        }
    }
}

/// The newest that one sensor said of itself in one class.
#[derive(Clone, Copy, Debug)]
pub struct SensorReport {
    /// The latest window.
    pub window: Window,
    /// Start of the earliest window, in seconds since the Unix epoch.
    pub first_window: i64,
    /// When its last batch arrived, in milliseconds since the Unix epoch.
    pub arrived_ms: i64,
    /// How far its clock is behind the collector's, in milliseconds, as of the last live batch; see [`Arrival`].
    pub clock_offset_ms: Option<i64>,
    /// Posture of the batch with the latest window.
    pub posture: Posture,
    /// Marks that this batch could not test.
    pub unavailable: Marks,
}

impl SensorReport {
    /// Takes in another report of the same sensor and class.
    pub fn merge(&mut self, other: &SensorReport) {
        self.first_window = self.first_window.min(other.first_window);
        if other.clock_offset_ms.is_some() && (self.clock_offset_ms.is_none() || other.arrived_ms >= self.arrived_ms) {
            self.clock_offset_ms = other.clock_offset_ms;
        }
        self.arrived_ms = self.arrived_ms.max(other.arrived_ms);
        if (other.window.end(), other.arrived_ms) >= (self.window.end(), self.arrived_ms) {
            self.window = other.window;
            self.posture = other.posture;
            self.unavailable = other.unavailable;
        }
    }
}

/// When and how a batch arrived. It is decided and journaled with the batch, so that a replay counts the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Milliseconds since the Unix epoch, by the collector's clock.
    pub at_ms: i64,
    /// Whether it came live, not out of a backlog: then the time since the end of its window says how far the sensor's
    /// clock is behind ours. `ingest` says how the two are told apart.
    pub is_live: bool,
}

impl Arrival {
    /// How far the sensor's clock is behind, in milliseconds, if this arrival can say it.
    pub(super) fn clock_offset_ms(&self, window: Window) -> Option<i64> {
        self.is_live.then(|| self.at_ms.saturating_sub(window.end().saturating_mul(1000)))
    }
}

/// What was added to one bucket.
#[derive(Debug, Default)]
pub struct BucketDelta {
    /// Runs of rows that are not sorted yet.
    log: RowLog,
    /// By service, kind and sensor; empty until [`Delta::sort`].
    pub rows: Sorted<RowKey>,
    /// By start, what was added to steps of the recent past; empty until [`Delta::sort`].
    pub recent: Vec<(i64, RecentDelta)>,
    /// By IP version, protocol and kind.
    pub kinds: Table<KindKey, Counts>,
    /// By mark number; a row with several marks is in each.
    pub marks: [Counts; MARKS],
    /// By sensor.
    pub sensors: Table<SensorId, SensorCounts>,
    /// Packets by source.
    pub sources: SourceCounts,
    /// Marks that some batch could test.
    pub tested: Marks,
    /// Marks that some batch could not test.
    pub untested: Marks,
}

impl BucketDelta {
    /// Memory of the large tables, in bytes, about.
    fn heap_bytes(&self) -> usize {
        self.log.heap_bytes() + self.sources.heap_bytes()
    }

    fn clear(&mut self) {
        self.log.clear();
        self.rows = Sorted::default();
        self.recent.clear();
        self.kinds.clear();
        self.marks = Default::default();
        self.sensors.clear();
        self.sources.clear();
        (self.tested, self.untested) = (Marks::NONE, Marks::NONE);
    }

    /// Turns what was logged into sorted counts. The bucket begins at `start`; for `relax` see [`Delta::sort`].
    fn sort(&mut self, start: i64, relax: &mut dyn FnMut()) {
        if self.log.is_empty() {
            return;
        }
        debug_assert!(self.rows.is_empty(), "a delta is sorted once, before it is handed over");
        self.log.sort();
        relax();
        self.rows = self.log.rows(relax);
        let steps = self.log.steps(relax).into_iter();
        self.recent.extend(steps.map(|(step, delta)| (start + i64::from(step) * RECENT_STEP_SECONDS, delta)));
        self.log.clear();
    }
}

/// What was added to one step of the recent past.
#[derive(Debug, Default)]
pub struct RecentDelta {
    /// By service and kind, over all sensors: the busiest, and what is left.
    pub services: Sorted<ServiceKind>,
    /// Of all services.
    pub sums: Sums,
    /// Of all services.
    pub sources: DistinctSources,
}

/// What was added to a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassDelta {
    /// Batches.
    pub batches: u64,
    /// Packets.
    pub packets: u64,
    /// IP total lengths, in bytes.
    pub bytes: u64,
}

/// All tables of one worker.
#[derive(Debug, Default)]
pub struct Delta {
    /// By class and start of the bucket.
    pub buckets: Table<(TrafficClass, i64), BucketDelta>,
    /// By sensor and class.
    pub sensors: Table<(SensorId, TrafficClass), SensorReport>,
    /// By class.
    pub classes: [ClassDelta; 3],
    /// Loss and exposure.
    pub hours: Hours,
    /// What sensors lost.
    pub lost: Table<SensorId, Lost>,
    /// Live batches by the end of their window, in seconds since the Unix epoch.
    pub live: Table<i64, u64>,
    /// Packets by who sent them, each key once.
    pub owners: Vec<(OwnerKey, u64)>,
    /// Rows, batches and losses.
    size: usize,
    /// Emptied tables of buckets: their memory is used again, since a page that is new costs more than what is written on it.
    spare: Vec<BucketDelta>,
    adder: RowAdder,
}

/// What is used again from batch to batch to add rows.
#[derive(Debug, Default)]
struct RowAdder {
    /// Hashes of the sources of a batch.
    hashes: Vec<u64>,
    /// The same of those with each mark.
    marked: [Vec<u64>; MARKS],
}

impl RowAdder {
    /// Hashes the sources of a batch, and counts their packets.
    fn count_sources(&mut self, rules: &Rules, bucket: &mut BucketDelta, columns: &Columns) {
        // Classes are sorted by IP version first.
        let ipv4 = columns.runs.partition_point(|run| run.class.ip() == IpVersion::V4);
        let ipv4 = ipv4.checked_sub(1).map_or(0, |last| columns.runs[last].range().end);
        self.hashes.clear();
        for (ip, range) in [(IpVersion::V4, 0..ipv4), (IpVersion::V6, ipv4..columns.len())] {
            let sources = &columns.sources[range.clone()];
            // No set knows a hash of 0; see `DistinctSources`.
            self.hashes.extend(sources.iter().map(|&source| rules.source_hash.of_bits(ip, source).max(1)));
            bucket.sources.add(ip, sources, &columns.packets[range]);
        }
    }

    /// Adds the rows of a batch, and returns the sums by IP version.
    fn add(&mut self, bucket: &mut BucketDelta, sensor: SensorId, step: u32, columns: &Columns) -> [Sums; 2] {
        let mut by_ip = [Sums::default(); 2];
        for runs in columns.runs.chunk_by(|a, b| a.class.kind_bits() == b.class.kind_bits()) {
            let (Some(first), Some(last)) = (runs.first(), runs.last()) else { continue };
            let mut all = Sums::default();
            for run in runs {
                let range = run.range();
                let hashes = &self.hashes[range.clone()];
                let sums = Sums {
                    packets: columns.packets[range.clone()].iter().map(|&packets| u64::from(packets)).sum(),
                    bytes: columns.bytes[range].iter().fold(0u64, |sum, &bytes| sum.saturating_add(bytes)),
                };
                bucket.log.push(sensor, run.class, step, sums, hashes);
                for mark in run.class.marks().iter() {
                    bucket.marks[mark as usize].add(sums);
                    self.marked[mark as usize].extend_from_slice(hashes);
                }
                all.add(sums);
            }
            let class = first.class.unpack();
            let kind = bucket.kinds.entry(KindKey::new(&class)).or_default();
            kind.sources.insert(&self.hashes[first.range().start..last.range().end]);
            kind.add(all);
            by_ip[usize::from(class.ip == IpVersion::V6)].add(all);
        }
        for (counts, hashes) in bucket.marks.iter_mut().zip(&mut self.marked) {
            counts.sources.insert(hashes);
            hashes.clear();
        }
        by_ip
    }
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Packets.
    pub packets: u64,
    /// IP total lengths, in bytes.
    pub bytes: u64,
}

impl Sums {
    /// Adds others; saturates, since these are a peer's claims.
    pub const fn add(&mut self, other: Sums) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// How rows become counts.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Hashes sources for sketches.
    pub source_hash: SourceHash,
    /// Length of a bucket, in seconds.
    pub bucket_seconds: i64,
    /// Beyond three windows, how late a batch of real traffic may arrive without being late, in seconds.
    pub late_grace_seconds: i64,
}

impl Rules {
    fn is_late(&self, window: Window, arrived_ms: i64) -> bool {
        let patience = SILENT_WINDOWS * i64::from(window.length.seconds()) + self.late_grace_seconds;
        arrived_ms > (window.end() + patience).saturating_mul(1000)
    }
}

impl Delta {
    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.classes.iter().all(|class| class.batches == 0) && self.lost.is_empty()
    }

    /// Rows, batches and losses: what bounds the memory of a worker between hand-overs.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Sorts what was logged. The worker does so before it hands over, so that the merger need not. It takes some milliseconds;
    /// `relax` is called again and again meanwhile, for what cannot wait so long.
    pub fn sort(&mut self, relax: &mut dyn FnMut()) {
        for (&(_, start), bucket) in &mut self.buckets {
            bucket.sort(start, relax);
        }
    }

    /// Takes the tables of all buckets out, sorted. What is given back by [`Delta::keep`] is used again.
    pub fn take_buckets(&mut self) -> Vec<((TrafficClass, i64), BucketDelta)> {
        self.sort(&mut || ());
        self.buckets.drain().collect()
    }

    /// Takes back a bucket's tables.
    pub fn keep(&mut self, mut bucket: BucketDelta) {
        let kept: usize = self.spare.iter().map(BucketDelta::heap_bytes).sum();
        if self.spare.len() < SPARE_BUCKETS && kept + bucket.heap_bytes() <= SPARE_BYTES {
            bucket.clear();
            self.spare.push(bucket);
        }
    }

    /// Empties the tables; the outer ones keep their room.
    pub fn clear(&mut self) {
        self.buckets.clear();
        self.sensors.clear();
        self.classes = Default::default();
        self.hours.clear();
        self.lost.clear();
        self.live.clear();
        self.owners.clear();
        self.size = 0;
    }

    /// Adds one batch. `recent_from` is the start of the oldest step of the recent past that is still of interest.
    pub fn add(
        &mut self,
        rules: &Rules,
        sensor: SensorId,
        header: &BatchHeader,
        columns: &Columns,
        recent_from: i64,
        arrival: Arrival,
    ) {
        let start = header.window.start;
        let bucket_start = start - start.rem_euclid(rules.bucket_seconds);
        let spare = &mut self.spare;
        let new = || spare.pop().unwrap_or_default();
        let bucket = self.buckets.entry((header.class, bucket_start)).or_insert_with(new);
        let step = start - start.rem_euclid(RECENT_STEP_SECONDS);
        // A bucket has at most 8640 steps.
        let number = u32::try_from((step - bucket_start) / RECENT_STEP_SECONDS).unwrap_or(NO_STEP);
        let number = if step >= recent_from { number } else { NO_STEP };
        if arrival.is_live && header.class == TrafficClass::Real {
            *self.live.entry(header.window.end()).or_default() += 1;
        }
        let is_late = header.class == TrafficClass::Real && rules.is_late(header.window, arrival.at_ms);
        let mut counts = SensorCounts::of(header, is_late);
        self.adder.count_sources(rules, bucket, columns);
        let [ipv4, ipv6] = self.adder.add(bucket, sensor, number, columns);
        if columns.is_empty() && number != NO_STEP {
            bucket.log.push_quiet(number);
        }
        (counts.ipv4_packets, counts.ipv6_packets) = (ipv4.packets, ipv6.packets);
        counts.bytes = ipv4.bytes.saturating_add(ipv6.bytes);
        self.size += 1 + columns.len();
        bucket.untested = bucket.untested.union(header.unavailable);
        bucket.tested = bucket.tested.union(without(header.unavailable));
        bucket.sensors.entry(sensor).or_default().add(&counts);
        let class = &mut self.classes[header.class as usize];
        class.batches += 1;
        class.packets += counts.ipv4_packets + counts.ipv6_packets;
        class.bytes = class.bytes.saturating_add(counts.bytes);
        let report = SensorReport {
            window: header.window,
            first_window: start,
            arrived_ms: arrival.at_ms,
            clock_offset_ms: arrival.clock_offset_ms(header.window),
            posture: header.posture,
            unavailable: header.unavailable,
        };
        self.sensors.entry((sensor, header.class)).and_modify(|known| known.merge(&report)).or_insert(report);
        let hour = SensorHour::of(header, is_late, report.clock_offset_ms);
        self.hours.entry(HourKey { hour: hour_of(start), class: header.class, sensor }).or_default().add(&hour);
    }

    /// Adds what a sensor lost.
    pub fn lose(&mut self, loss: &Loss) {
        self.lost.entry(loss.sensor).or_default().add(&loss.lost);
        loss.share_out(|key, lost| {
            self.size += 1;
            self.hours.entry(key).or_default().add(&SensorHour { lost, ..SensorHour::default() });
        });
    }
}

/// Every mark that is not in `marks`.
fn without(marks: Marks) -> Marks {
    let all = martlet_window::Mark::ALL.into_iter();
    all.filter(|&mark| !marks.contains(mark)).fold(Marks::NONE, Marks::with)
}
