//! `/api/v1/summary`: totals, kinds, marks and a time series.

use std::collections::BTreeMap;

use martlet_window::{DistinctSources, Kind, Mark, Marks};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::Schema;

use super::super::problem::Problem;
use super::super::services::protocol_name;
use super::endpoint::{About, Asked, Endpoint};
use super::exposure::{Exposure, Rate};
use super::format::Table;
use super::json::{Distinct, Head, Time, ip_number, words};
use super::list::{by_packets, top};
use super::parameter::Parameter;
use super::params::{Accepts, Query, Selection};
use super::public::{Minimum, Withheld};
use super::validator::Validity;
use crate::aggregate::SensorCounts;
use crate::live::{Bucket, KindKey, LiveView, RowRef};
use crate::tokens::Scope;

/// The path.
pub(super) struct Path;

/// Totals, kinds, marks and a time series.
#[derive(Serialize, ToSchema)]
pub(super) struct Summary {
    #[serde(flatten)]
    head: Head,
    /// Of everything that matches.
    totals: Totals,
    /// What was watched; null if any batch does not know.
    exposure: Option<Exposure>,
    /// Packets by exposure.
    rate: Rate,
    /// By IP version, protocol and kind, by packets, descending.
    kinds: Vec<KindSummary>,
    /// How many are behind these.
    kinds_left_out: usize,
    /// Every mark by name; empty where a sensor was asked for.
    marks: BTreeMap<&'static str, MarkSummary>,
    /// Kinds and marks that are not published; null for whoever sees everything.
    withheld: Option<Withheld>,
    /// Length of a step of the series.
    step_seconds: i64,
    /// By step.
    series: Series,
}

/// Of everything that matches.
#[derive(Serialize, ToSchema)]
#[schema(as = SummaryTotals)]
struct Totals {
    /// Packets.
    packets: u64,
    /// Their IP total lengths.
    bytes: u64,
    /// Sources.
    sources: Distinct,
}

/// One kind of packets of one protocol.
#[derive(Serialize, ToSchema)]
struct KindSummary {
    /// 4 or 6.
    ip: u8,
    /// IP protocol number.
    protocol: u8,
    /// Its name in lower case, or the number as text.
    protocol_name: String,
    /// `scan`, `backscatter` or `other`.
    #[schema(schema_with = kind_schema)]
    kind: &'static str,
    /// Packets.
    packets: u64,
    /// Their IP total lengths.
    bytes: u64,
    /// Sources.
    sources: Distinct,
}

fn kind_schema() -> Schema {
    words(&Kind::ALL.map(Kind::name))
}

/// Packets with a mark.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum MarkSummary {
    /// Why there is no number.
    None(Absence),
    /// A number.
    Counted {
        /// Packets.
        packets: u64,
        /// Sources.
        sources: Distinct,
        /// Present, and true, where some sensors could not test for it.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        partial: bool,
    },
}

/// Why there is no number: no sensor could test for the mark, or it is not published.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Absence {
    Unavailable,
    Withheld,
}

/// Numbers by step.
#[derive(Serialize, ToSchema)]
#[schema(as = SummarySeries)]
struct Series {
    /// Packets.
    packets: Vec<u64>,
    /// Those of kind scan; null, like the next two, where kinds are not published by step.
    scan_packets: Option<Vec<u64>>,
    /// Those of kind backscatter.
    backscatter_packets: Option<Vec<u64>>,
    /// Those of kind other.
    other_packets: Option<Vec<u64>>,
    /// Sources; null where a sensor was asked for.
    sources: Option<Vec<Distinct>>,
    /// Seconds watched, summed over sensors; null where a batch does not know.
    watched_seconds: Vec<Option<f64>>,
    /// Packets of IPv4 for each address and day.
    ipv4_packets_per_address_day: Vec<Option<f64>>,
    /// Packets of IPv6 for each /64 prefix and day.
    ipv6_packets_per_prefix_day: Vec<Option<f64>>,
}

/// One step.
#[derive(Serialize, ToSchema)]
pub(super) struct SummaryRow {
    /// Its start.
    start: Time,
    /// Packets.
    packets: u64,
    /// Those of kind scan; null, like the next two, where kinds are not published by step.
    scan_packets: Option<u64>,
    /// Those of kind backscatter.
    backscatter_packets: Option<u64>,
    /// Those of kind other.
    other_packets: Option<u64>,
    /// Sources; null where a sensor was asked for.
    sources: Option<Distinct>,
    /// Seconds watched, summed over sensors; null where a batch does not know.
    watched_seconds: Option<f64>,
    /// Packets of IPv4 for each address and day.
    ipv4_packets_per_address_day: Option<f64>,
    /// Packets of IPv6 for each /64 prefix and day.
    ipv6_packets_per_prefix_day: Option<f64>,
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

impl Sum {
    /// Whether it is published; what is not is counted.
    fn is_told(&self, minimum: Minimum, withheld: &mut Withheld) -> bool {
        let is_told = self.packets >= minimum.packets && self.sources.count() >= minimum.sources;
        if !is_told {
            withheld.add(self.packets);
        }
        is_told
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

impl Endpoint for Path {
    const ABOUT: About = About {
        name: "summary",
        summary: "Totals, kinds, marks and a time series",
        accepts: Accepts::new(&[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Step,
            Parameter::Sensor,
            Parameter::Limit,
            Parameter::Format,
        ]),
        scope: Scope::Public,
        validity: Validity::Counts,
        walks: true,
    };
    type Answer = Summary;

    fn answer(asked: &Asked<'_>) -> Result<Summary, Problem> {
        Ok(summary(asked.view, asked.query))
    }
}

impl Table for Summary {
    type Row = SummaryRow;
    const COLUMNS: &'static [&'static str] = &[
        "start",
        "packets",
        "scan_packets",
        "backscatter_packets",
        "other_packets",
        "sources.count",
        "sources.exact",
        "sources.error",
        "watched_seconds",
        "ipv4_packets_per_address_day",
        "ipv6_packets_per_prefix_day",
    ];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        let starts = (0..).map(|n: i64| self.head.from() + n * self.step_seconds);
        let series = &self.series;
        starts.zip(0..series.packets.len()).map(|(start, i)| SummaryRow {
            start: Time(start),
            packets: series.packets[i],
            scan_packets: series.scan_packets.as_ref().map(|packets| packets[i]),
            backscatter_packets: series.backscatter_packets.as_ref().map(|packets| packets[i]),
            other_packets: series.other_packets.as_ref().map(|packets| packets[i]),
            sources: series.sources.as_ref().map(|sources| sources[i]),
            watched_seconds: series.watched_seconds[i],
            ipv4_packets_per_address_day: series.ipv4_packets_per_address_day[i],
            ipv6_packets_per_prefix_day: series.ipv6_packets_per_prefix_day[i],
        })
    }
}

fn summary(view: &LiveView, query: &Query) -> Summary {
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
        let mut withheld = query.public.map(|_| Withheld::default());
        let mut kinds: Vec<(KindKey, Sum)> = self.kinds.into_iter().collect();
        if let Some((minimum, withheld)) = query.public.zip(withheld.as_mut()) {
            kinds.retain(|(_, sum)| sum.is_told(minimum, withheld));
        }
        let kinds = top(query, kinds, |(key, sum)| -> [u8; 11] {
            by_packets(sum.packets, [ip_number(key.ip), key.protocol, key.kind as u8])
        });
        let kinds_left_out = kinds.left_out;
        let kinds = kinds.entries.into_iter().map(|(key, sum)| KindSummary {
            ip: ip_number(key.ip),
            protocol: key.protocol,
            protocol_name: protocol_name(key.protocol),
            kind: key.kind.name(),
            packets: sum.packets,
            bytes: sum.bytes,
            sources: Distinct::from(&sum.sources),
        });
        let all = query.sensor == Selection::All;
        let marks = if all {
            marks(&self.marks, self.tested, self.untested, query.public.zip(withheld.as_mut()))
        } else {
            BTreeMap::new()
        };
        let [scan, backscatter, other] = self.series;
        let packets = (0..query.steps).map(|i| scan[i] + backscatter[i] + other[i]).collect();
        let by_kind = query.public.is_none();
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
            kinds_left_out,
            marks,
            withheld,
            step_seconds: query.step_seconds,
            series: Series {
                packets,
                scan_packets: by_kind.then_some(scan),
                backscatter_packets: by_kind.then_some(backscatter),
                other_packets: by_kind.then_some(other),
                sources: all.then(|| self.sources.iter().map(Distinct::from).collect()),
                watched_seconds: self.watched.iter().map(SensorCounts::watched_seconds).collect(),
                ipv4_packets_per_address_day: rates.iter().map(|rate| rate.ipv4_packets_per_address_day).collect(),
                ipv6_packets_per_prefix_day: rates.iter().map(|rate| rate.ipv6_packets_per_prefix_day).collect(),
            },
        }
    }
}

fn marks(
    sums: &BTreeMap<u8, Sum>,
    tested: Marks,
    untested: Marks,
    mut public: Option<(Minimum, &mut Withheld)>,
) -> BTreeMap<&'static str, MarkSummary> {
    let nothing = Sum::default();
    let mut summary = |mark: Mark| {
        if untested.contains(mark) && !tested.contains(mark) {
            return MarkSummary::None(Absence::Unavailable);
        }
        let sum = sums.get(&(mark as u8)).unwrap_or(&nothing);
        if let Some((minimum, withheld)) = public.as_mut()
            && sum.packets > 0
            && !sum.is_told(*minimum, withheld)
        {
            return MarkSummary::None(Absence::Withheld);
        }
        MarkSummary::Counted {
            packets: sum.packets,
            sources: Distinct::from(&sum.sources),
            partial: untested.contains(mark),
        }
    };
    Mark::ALL.into_iter().map(|mark| (mark.name(), summary(mark))).collect()
}
