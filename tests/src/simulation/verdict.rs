//! Compares what a collector has counted with what the model says.

use std::collections::{BTreeMap, BTreeSet};

use martlet_collector::aggregate::{HourKey, SensorHour, SourceHash};
use martlet_collector::live::{Bucket, LiveView, RowRef, Source};
use martlet_window::{Class, DistinctSources, IpVersion, Kind, Marks, PackedClass, TrafficClass};
use martlet_wire::v1::Totals;

use super::batch::{BUCKET_SECONDS, Made};
use super::model::{Duty, Model};

/// Beyond so many batches of which nobody knows whether they are lost, sums are only bounded.
const MOST_UNKNOWN: usize = 14;
const HOUR: i64 = 3600;

/// Packets, bytes and who sent them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sum {
    packets: u64,
    bytes: u64,
    sources: BTreeSet<(IpVersion, u128)>,
}

impl Sum {
    fn is(&self, row: RowRef<'_>, hash: &SourceHash) -> bool {
        let mut expected = DistinctSources::default();
        self.sources.iter().for_each(|&(ip, bits)| expected.insert(&[hash.of(Source::new(ip, bits))]));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        expected.write(&mut ours);
        row.sources.to_set().write(&mut theirs);
        (self.packets, self.bytes) == (row.packets, row.bytes) && ours == theirs
    }
}

/// What one bucket must say.
#[derive(Default)]
struct Expected {
    rows: BTreeMap<(PackedClass, u16), Sum>,
    kinds: BTreeMap<(IpVersion, u8, Kind), Sum>,
    marks: BTreeMap<u8, Sum>,
    /// By sensor: IPv4 packets, IPv6 packets, bytes, frames, drops, milliseconds, address times, unknown.
    sensors: BTreeMap<u16, [u64; 9]>,
}

/// What was found in a world that is as it must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Batches that were made.
    pub batches: u64,
    /// Batches that count.
    pub counted: u64,
    /// Batches that are lost, or of which nobody knows.
    pub not_counted: u64,
}

impl Findings {
    /// Adds another world's.
    pub fn merge(&mut self, other: &Findings) {
        self.batches += other.batches;
        self.counted += other.counted;
        self.not_counted += other.not_counted;
    }
}

/// Compares a view, and the hours of the store, with the model.
pub(super) fn judge(
    model: &Model,
    view: &LiveView,
    hours: &[(HourKey, SensorHour)],
    hash: &SourceHash,
) -> Result<Findings, String> {
    let sensors: Vec<Option<u16>> =
        model.identities.iter().map(|identity| view.sensor_id(identity.name.as_str()).map(|id| id.0)).collect();
    let mut counted = Vec::new();
    for (id, made) in model.made.iter().enumerate() {
        let times = times(made, sensors[made.identity], view);
        let duty = model.duty(id);
        let fate = &model.fates[id];
        let what = || format!("batch {id} of sensor {}: {duty:?}, {fate:?}", made.identity);
        match times {
            0 if duty == Duty::Counted => return Err(format!("not counted: {}", what())),
            0 => {}
            1 if duty == Duty::Lost => return Err(format!("counted, though no spool ever took it: {}", what())),
            1 => counted.push(id),
            _ => return Err(format!("counted {times} times: {}", what())),
        }
    }
    let each: Vec<&Made> = counted.iter().map(|&id| &model.made[id]).collect();
    buckets(&each, &sensors, view, hash)?;
    let is_counted: BTreeSet<usize> = counted.iter().copied().collect();
    for (identity, sensor) in sensors.iter().enumerate().filter(|(identity, _)| model.twins != Some(*identity)) {
        losses(model, identity, *sensor, &is_counted, view, hours)?;
    }
    exposure(&each, &sensors, hours)?;
    let totals = view.class(TrafficClass::Real).totals;
    let packets: u64 = each.iter().map(|made| made.header.capture.packets).sum();
    if (totals.batches, totals.packets) != (each.len() as u64, packets) {
        return Err(format!("the class has {totals:?}; {} batches with {packets} packets count", each.len()));
    }
    let (batches, counted) = (model.made.len() as u64, each.len() as u64);
    Ok(Findings { batches, counted, not_counted: batches - counted })
}

fn times(made: &Made, sensor: Option<u16>, view: &LiveView) -> u64 {
    let bucket = view.class(TrafficClass::Real).buckets.get(&made.bucket());
    let Some((bucket, sensor)) = bucket.zip(sensor) else { return 0 };
    let counts = bucket.sensors().iter().find(|(id, _)| id.0 == sensor);
    counts.map_or(0, |(_, counts)| made.times(&counts.rejected))
}

fn buckets(each: &[&Made], sensors: &[Option<u16>], view: &LiveView, hash: &SourceHash) -> Result<(), String> {
    let mut expected: BTreeMap<i64, Expected> = BTreeMap::new();
    for made in each {
        let sensor = sensors[made.identity].unwrap_or(u16::MAX);
        add(expected.entry(made.bucket()).or_default(), made, sensor);
    }
    let found = &view.class(TrafficClass::Real).buckets;
    if !found.keys().eq(expected.keys()) {
        return Err(format!("buckets {:?} instead of {:?}", found.keys(), expected.keys()));
    }
    for ((start, bucket), expected) in found.iter().zip(expected.values()) {
        compare(bucket, expected, hash).map_err(|what| format!("bucket {start} (of {BUCKET_SECONDS} s): {what}"))?;
    }
    Ok(())
}

fn add(expected: &mut Expected, made: &Made, sensor: u16) {
    let header = &made.header;
    let exposure = header.exposure.unwrap_or_default();
    let watched = u64::from(exposure.watched_ms);
    let (mut ipv4, mut ipv6, mut bytes) = (0, 0, 0);
    for row in &made.rows {
        let class = row.class.unpack();
        let packets = u64::from(row.packets);
        *if class.ip == IpVersion::V4 { &mut ipv4 } else { &mut ipv6 } += packets;
        bytes += row.bytes;
        let plain = PackedClass::from(Class { marks: Marks::NONE, ..class });
        let mut sums = vec![
            expected.rows.entry((plain, sensor)).or_default(),
            expected.kinds.entry((class.ip, class.protocol, class.kind)).or_default(),
        ];
        let mut marked = Vec::new();
        for mark in class.marks.iter() {
            marked.push(mark as u8);
        }
        for sum in &mut sums {
            take(sum, class.ip, row.source, packets, row.bytes);
        }
        for mark in marked {
            take(expected.marks.entry(mark).or_default(), class.ip, row.source, packets, row.bytes);
        }
    }
    let added = [
        ipv4,
        ipv6,
        bytes,
        header.capture.frames,
        header.capture.kernel_drops,
        header.capture.interface_drops,
        watched,
        watched * exposure.ipv4_addresses,
        watched * exposure.ipv6_prefixes,
    ];
    let sums = expected.sensors.entry(sensor).or_default();
    sums.iter_mut().zip(added).for_each(|(sum, added)| *sum += added);
}

fn take(sum: &mut Sum, ip: IpVersion, source: u128, packets: u64, bytes: u64) {
    sum.packets += packets;
    sum.bytes += bytes;
    sum.sources.insert((ip, source));
}

fn compare(bucket: &Bucket, expected: &Expected, hash: &SourceHash) -> Result<(), String> {
    let plain = |class: Option<Class>, kind| class.map(|class| PackedClass::from(Class { kind, ..class }));
    let rows = bucket.merged_rows();
    let rows = rows.iter().map(|(key, row)| ((plain(key.service.class(), key.kind), key.sensor.0), row));
    let found: BTreeMap<_, _> = rows.collect();
    all("row", found, expected.rows.iter().map(|(key, sum)| ((Some(key.0), key.1), sum)), hash)?;
    let kinds = bucket.kinds().iter().map(|(key, row)| ((key.ip, key.protocol, key.kind), row.as_ref())).collect();
    all("kind", kinds, expected.kinds.iter().map(|(key, sum)| (*key, sum)), hash)?;
    let marks = bucket.marks().iter().map(|(mark, row)| (*mark, row.as_ref())).collect();
    all("mark", marks, expected.marks.iter().map(|(mark, sum)| (*mark, sum)), hash)?;
    let sensors: BTreeMap<u16, [u64; 9]> = bucket
        .sensors()
        .iter()
        .map(|(id, counts)| {
            let sums = [
                counts.ipv4_packets,
                counts.ipv6_packets,
                counts.bytes,
                counts.frames,
                counts.kernel_drops,
                counts.interface_drops,
                counts.watched_ms,
                counts.ipv4_address_ms,
                counts.ipv6_prefix_ms,
            ];
            (id.0, sums)
        })
        .collect();
    if sensors == expected.sensors {
        Ok(())
    } else {
        Err(format!("sensors {sensors:?} instead of {:?}", expected.sensors))
    }
}

fn all<'a, K: Ord + std::fmt::Debug>(
    what: &str,
    mut found: BTreeMap<K, RowRef<'_>>,
    expected: impl Iterator<Item = (K, &'a Sum)>,
    hash: &SourceHash,
) -> Result<(), String> {
    for (key, sum) in expected {
        match found.remove(&key) {
            Some(row) if sum.is(row, hash) => {}
            Some(row) => {
                let (packets, sources) = (sum.packets, sum.sources.len());
                return Err(format!("{what} {key:?}: {row:?} instead of {packets} packets of {sources} sources"));
            }
            None => return Err(format!("{what} {key:?} is missing: {} packets", sum.packets)),
        }
    }
    found.into_iter().next().map_or(Ok(()), |(key, row)| Err(format!("{what} {key:?} is too much: {row:?}")))
}

/// What a sensor says that it lost must be exactly what is not counted of it.
fn losses(
    model: &Model,
    identity: usize,
    sensor: Option<u16>,
    is_counted: &BTreeSet<usize>,
    view: &LiveView,
    hours: &[(HourKey, SensorHour)],
) -> Result<(), String> {
    let lost = sensor.map(|id| view.sensors[usize::from(id)].lost).unwrap_or_default();
    let lost = Totals { windows: lost.windows, packets: lost.packets, watched_ms: lost.watched_ms };
    let mine = |id: &usize| model.made[*id].identity == identity && !is_counted.contains(id);
    let (mut certain, mut unknown) = (Totals::default(), Vec::new());
    let mut ids = Vec::new();
    for id in (0..model.made.len()).filter(mine) {
        let held = model.made[id].held();
        match model.duty(id) {
            Duty::Anything => unknown.push(held),
            _ => {
                certain = certain.plus(held);
                ids.push(id);
            }
        }
    }
    let fits = if unknown.len() > MOST_UNKNOWN {
        let most = unknown.iter().fold(certain, |sum, held| sum.plus(*held));
        within(certain, lost) && within(lost, most)
    } else {
        let subsets = (0..1u32 << unknown.len()).map(|subset| {
            let chosen = unknown.iter().enumerate().filter(|(place, _)| subset >> place & 1 == 1);
            chosen.fold(certain, |sum, (_, held)| sum.plus(*held))
        });
        subsets.into_iter().any(|sum| sum == lost)
    };
    if !fits {
        return Err(format!(
            "sensor {identity} lost {lost:?}; {certain:?} is not counted (batches {ids:?}), and perhaps some of {unknown:?}"
        ));
    }
    let mine = hours.iter().filter(|(key, _)| Some(key.sensor.0) == sensor);
    let by_hour = mine.fold(Totals::default(), |sum, (_, hour)| {
        let lost = hour.lost;
        sum.plus(Totals { windows: lost.windows, packets: lost.packets, watched_ms: lost.watched_ms })
    });
    if by_hour == lost { Ok(()) } else { Err(format!("sensor {identity} lost {lost:?}, but {by_hour:?} by hours")) }
}

fn within(low: Totals, high: Totals) -> bool {
    low.windows <= high.windows && low.packets <= high.packets && low.watched_ms <= high.watched_ms
}

fn exposure(each: &[&Made], sensors: &[Option<u16>], hours: &[(HourKey, SensorHour)]) -> Result<(), String> {
    let mut expected: BTreeMap<(i64, u16), [u64; 8]> = BTreeMap::new();
    for made in each {
        let header = &made.header;
        let hour = header.window.start - header.window.start.rem_euclid(HOUR);
        let exposure = header.exposure.unwrap_or_default();
        let watched = u64::from(exposure.watched_ms);
        let added = [
            u64::from(header.part == 0),
            header.capture.packets,
            header.capture.kernel_drops,
            header.capture.interface_drops,
            watched,
            watched * exposure.ipv4_addresses,
            watched * exposure.ipv6_prefixes,
            u64::from(header.exposure.is_none()),
        ];
        let sums = expected.entry((hour, sensors[made.identity].unwrap_or(u16::MAX))).or_default();
        sums.iter_mut().zip(added).for_each(|(sum, added)| *sum += added);
    }
    expected.values_mut().for_each(|sums| sums[7] = sums[7].min(1));
    let found = hours.iter().map(|(key, hour)| {
        let sums = [
            hour.windows,
            hour.packets,
            hour.kernel_drops,
            hour.interface_drops,
            hour.watched_ms,
            hour.ipv4_address_ms,
            hour.ipv6_prefix_ms,
            u64::from(hour.exposure_unknown),
        ];
        ((key.hour, key.sensor.0), sums)
    });
    // An hour in which everything was lost has a row, too.
    let found: BTreeMap<_, _> = found.filter(|(_, sums)| sums.iter().any(|&sum| sum > 0)).collect();
    expected.retain(|_, sums| sums.iter().any(|&sum| sum > 0));
    if found == expected { Ok(()) } else { Err(format!("hours {found:?} instead of {expected:?}")) }
}
