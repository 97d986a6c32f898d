//! `/api/v1/summary`: totals, kinds, marks and a time series.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use martlet_window::{DistinctSources, Kind, Mark, Marks};
use serde::Serialize;

use super::super::Sources;
use super::super::services::protocol_name;
use super::exposure::{Exposure, Rate};
use super::json::{Distinct, Head, ip_number};
use super::params::{Accepts, Query, Selection};
use crate::aggregate::SensorCounts;
use crate::live::{Bucket, KindKey, LiveView, RowRef};

pub(super) const ACCEPTS: Accepts =
    Accepts { range: true, sensor: true, kind: false, points: true, limit: true, hours: false };

#[derive(Serialize)]
pub(super) struct Summary {
    #[serde(flatten)]
    head: Head,
    totals: Totals,
    exposure: Option<Exposure>,
    rate: Rate,
    kinds: Vec<KindSummary>,
    marks: BTreeMap<&'static str, MarkSummary>,
    step_seconds: i64,
    series: Series,
}

#[derive(Serialize)]
struct Totals {
    packets: u64,
    bytes: u64,
    sources: Distinct,
}

#[derive(Serialize)]
struct KindSummary {
    ip: u8,
    protocol: u8,
    protocol_name: String,
    kind: &'static str,
    packets: u64,
    bytes: u64,
    sources: Distinct,
}

#[derive(Serialize)]
#[serde(untagged)]
enum MarkSummary {
    Unavailable(&'static str),
    Counted {
        packets: u64,
        sources: Distinct,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        partial: bool,
    },
}

#[derive(Serialize)]
struct Series {
    packets: Vec<u64>,
    scan_packets: Vec<u64>,
    backscatter_packets: Vec<u64>,
    other_packets: Vec<u64>,
    sources: Option<Vec<Distinct>>,
    watched_seconds: Vec<Option<f64>>,
    ipv4_packets_per_address_day: Vec<Option<f64>>,
    ipv6_packets_per_prefix_day: Vec<Option<f64>>,
}

#[derive(Default)]
struct Sum {
    packets: u64,
    bytes: u64,
    sources: DistinctSources,
}

impl Sum {
    fn add(&mut self, row: RowRef<'_>) {
        self.packets = self.packets.saturating_add(row.packets);
        self.bytes = self.bytes.saturating_add(row.bytes);
        row.sources.add_to(&mut self.sources);
    }
}

#[derive(Default)]
struct Sums {
    kinds: BTreeMap<KindKey, Sum>,
    overflow: Sum,
    marks: BTreeMap<u8, Sum>,
    tested: Marks,
    untested: Marks,
    series: [Vec<u64>; 3],
    sources: Vec<DistinctSources>,
    watched: Vec<SensorCounts>,
}

pub(super) fn summary(_: &Sources, view: &LiveView, query: &Query) -> Summary {
    let mut sums = Sums {
        series: std::array::from_fn(|_| vec![0; query.steps]),
        sources: vec![DistinctSources::default(); query.steps],
        watched: vec![SensorCounts::default(); query.steps],
        ..Sums::default()
    };
    for (&start, bucket) in view.class(query.class).buckets.range(query.from..query.to) {
        let chosen = bucket.sensors().iter().filter(|(sensor, _)| query.sensor.has(*sensor));
        chosen.for_each(|(_, counts)| sums.watched[query.step(start)].add(counts));
        match query.sensor {
            Selection::All => sums.add_all(bucket, query.step(start)),
            one => sums.add_one(bucket, one, query.step(start)),
        }
    }
    sums.finish(query)
}

impl Sums {
    fn add_all(&mut self, bucket: &Bucket, step: usize) {
        for (key, row) in bucket.kinds() {
            self.kinds.entry(*key).or_default().add(row.as_ref());
            self.series[key.kind as usize][step] += row.packets;
            self.sources[step].merge(&row.sources);
        }
        for (mark, row) in bucket.marks() {
            self.marks.entry(*mark).or_default().add(row.as_ref());
        }
        self.tested = self.tested.union(bucket.tested);
        self.untested = self.untested.union(bucket.untested);
    }

    fn add_one(&mut self, bucket: &Bucket, sensor: Selection, step: usize) {
        for (key, row) in bucket.rows().filter(|(key, _)| sensor.has(key.sensor)) {
            match key.service.class() {
                Some(class) => {
                    let key = KindKey { kind: key.kind, ..KindKey::new(&class) };
                    self.kinds.entry(key).or_default().add(row);
                }
                // What protocol it was is not known any more.
                None => self.overflow.add(row),
            }
            self.series[key.kind as usize][step] += row.packets;
        }
    }

    fn finish(self, query: &Query) -> Summary {
        let mut totals = self.overflow;
        for sum in self.kinds.values() {
            totals.packets = totals.packets.saturating_add(sum.packets);
            totals.bytes = totals.bytes.saturating_add(sum.bytes);
            totals.sources.merge(&sum.sources);
        }
        let mut kinds: Vec<(KindKey, Sum)> = self.kinds.into_iter().collect();
        kinds.sort_by_key(|(key, sum)| (Reverse(sum.packets), *key));
        let kinds = kinds.into_iter().take(query.limit).map(|(key, sum)| KindSummary {
            ip: ip_number(key.ip),
            protocol: key.protocol,
            protocol_name: protocol_name(key.protocol),
            kind: key.kind.name(),
            packets: sum.packets,
            bytes: sum.bytes,
            sources: Distinct::from(&sum.sources),
        });
        let all = query.sensor == Selection::All;
        let marks = if all { marks(&self.marks, self.tested, self.untested) } else { BTreeMap::new() };
        let [scan, backscatter, other] = self.series;
        let packets = (0..query.steps).map(|i| scan[i] + backscatter[i] + other[i]).collect();
        debug_assert_eq!(Kind::ALL, [Kind::Scan, Kind::Backscatter, Kind::Other]);
        let mut watched = SensorCounts::default();
        self.watched.iter().for_each(|step| watched.add(step));
        let rates: Vec<Rate> = self.watched.iter().map(Rate::of).collect();
        Summary {
            head: Head::new(query),
            exposure: Exposure::of(&watched),
            rate: Rate::of(&watched),
            totals: Totals { packets: totals.packets, bytes: totals.bytes, sources: Distinct::from(&totals.sources) },
            kinds: kinds.collect(),
            marks,
            step_seconds: query.step_seconds,
            series: Series {
                packets,
                scan_packets: scan,
                backscatter_packets: backscatter,
                other_packets: other,
                sources: all.then(|| self.sources.iter().map(Distinct::from).collect()),
                watched_seconds: self.watched.iter().map(SensorCounts::watched_seconds).collect(),
                ipv4_packets_per_address_day: rates.iter().map(|rate| rate.ipv4_packets_per_address_day).collect(),
                ipv6_packets_per_prefix_day: rates.iter().map(|rate| rate.ipv6_packets_per_prefix_day).collect(),
            },
        }
    }
}

fn marks(sums: &BTreeMap<u8, Sum>, tested: Marks, untested: Marks) -> BTreeMap<&'static str, MarkSummary> {
    let nothing = Sum::default();
    let summary = |mark: Mark| {
        if untested.contains(mark) && !tested.contains(mark) {
            return MarkSummary::Unavailable("unavailable");
        }
        let sum = sums.get(&(mark as u8)).unwrap_or(&nothing);
        MarkSummary::Counted {
            packets: sum.packets,
            sources: Distinct::from(&sum.sources),
            partial: untested.contains(mark),
        }
    };
    Mark::ALL.into_iter().map(|mark| (mark.name(), summary(mark))).collect()
}
