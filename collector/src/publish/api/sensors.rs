//! `/api/v1/sensors`: how well each sensor watched.

use std::collections::BTreeMap;

use martlet_telemetry::counters::to_f64;
use martlet_window::{RejectReason, TrafficClass};
use serde::Serialize;

use super::super::Sources;
use super::json::{Head, Time};
use super::params::{Accepts, Query};
use super::status::{LostStatus, age_seconds};
use crate::aggregate::SensorCounts;
use crate::ingest::SensorId;
use crate::live::{LiveView, SensorView};

pub(super) const ACCEPTS: Accepts = Accepts { range: true, sensor: true, kind: false, points: false, limit: true };

const DAY_SECONDS: f64 = 86_400.0;

#[derive(Serialize)]
pub(super) struct Sensors {
    #[serde(flatten)]
    head: Head,
    sensors: Vec<SensorEntry>,
}

#[derive(Serialize)]
struct SensorEntry {
    name: String,
    classes: Vec<&'static str>,
    posture: Option<&'static str>,
    first_window: Option<Time>,
    last_window_end: Option<Time>,
    last_report_age_seconds: Option<f64>,
    silent: bool,
    clock_offset_seconds: Option<f64>,
    clock_wrong: bool,
    packets: u64,
    bytes: u64,
    frames: u64,
    rejected: BTreeMap<&'static str, u64>,
    kernel_drops: u64,
    interface_drops: u64,
    exposure: Option<Exposure>,
    rate: Rate,
    lost: LostStatus,
    unavailable_marks: Vec<&'static str>,
}

#[derive(Serialize)]
struct Exposure {
    watched_seconds: f64,
    ipv4_address_seconds: f64,
    ipv6_prefix_seconds: f64,
}

#[derive(Serialize)]
struct Rate {
    ipv4_packets_per_address_day: Option<f64>,
    ipv6_packets_per_prefix_day: Option<f64>,
}

pub(super) fn sensors(sources: &Sources, view: &LiveView, query: &Query) -> Sensors {
    let mut counts: BTreeMap<SensorId, SensorCounts> = BTreeMap::new();
    for (_, bucket) in view.class(query.class).buckets.range(query.from..query.to) {
        for (sensor, added) in bucket.sensors() {
            counts.entry(*sensor).or_default().add(added);
        }
    }
    let known = view.sensors.iter().enumerate().filter_map(|(index, sensor)| {
        let id = SensorId(u16::try_from(index).ok()?);
        let of_class = sensor.reports[query.class as usize].is_some();
        let of_none = sensor.reports.iter().all(Option::is_none);
        (query.sensor.has(id) && (of_class || of_none)).then_some((id, sensor))
    });
    let mut known: Vec<(SensorId, &SensorView)> = known.collect();
    known.sort_by(|a, b| a.1.name.cmp(&b.1.name));
    known.truncate(query.limit);
    let entries = known.into_iter().map(|(id, sensor)| {
        let counts = counts.get(&id).copied().unwrap_or_default();
        entry(sources, view, query.class, sensor, &counts)
    });
    Sensors { head: Head::new(query), sensors: entries.collect() }
}

fn entry(
    sources: &Sources,
    view: &LiveView,
    class: TrafficClass,
    sensor: &SensorView,
    counts: &SensorCounts,
) -> SensorEntry {
    let now_ms = sources.clock.now_ms();
    let report = sensor.reports[class as usize];
    let offset_ms = report.and_then(|report| report.clock_offset_ms);
    let classes = TrafficClass::ALL.into_iter().filter(|class| sensor.reports[*class as usize].is_some());
    let reasons = RejectReason::ALL.into_iter();
    let exposure = counts.watched_seconds().map(|watched_seconds| Exposure {
        watched_seconds,
        ipv4_address_seconds: to_f64(counts.ipv4_address_ms) / 1000.0,
        ipv6_prefix_seconds: to_f64(counts.ipv6_prefix_ms) / 1000.0,
    });
    let rate = |packets: u64, seconds: fn(&Exposure) -> f64| {
        let seconds = exposure.as_ref().map(seconds).filter(|&seconds| seconds > 0.0)?;
        Some(to_f64(packets) / (seconds / DAY_SECONDS))
    };
    SensorEntry {
        name: sensor.name.to_string(),
        classes: classes.map(TrafficClass::name).collect(),
        posture: report.map(|report| report.posture.name()),
        first_window: report.map(|report| Time(report.first_window)),
        last_window_end: report.map(|report| Time(report.window.end())),
        last_report_age_seconds: report.map(|report| age_seconds(report.arrived_ms, now_ms)),
        silent: view.is_silent(sensor, class, now_ms.div_euclid(1000)),
        clock_offset_seconds: offset_ms.map(signed_seconds),
        clock_wrong: sources.is_clock_wrong(offset_ms),
        packets: counts.ipv4_packets.saturating_add(counts.ipv6_packets),
        bytes: counts.bytes,
        frames: counts.frames,
        rejected: reasons.map(|reason| (reason.name(), counts.rejected[reason as usize])).collect(),
        kernel_drops: counts.kernel_drops,
        interface_drops: counts.interface_drops,
        rate: Rate {
            ipv4_packets_per_address_day: rate(counts.ipv4_packets, |exposure| exposure.ipv4_address_seconds),
            ipv6_packets_per_prefix_day: rate(counts.ipv6_packets, |exposure| exposure.ipv6_prefix_seconds),
        },
        exposure,
        lost: LostStatus::from(&sensor.lost),
        unavailable_marks: report
            .map(|report| report.unavailable.iter().map(|mark| mark.name()).collect())
            .unwrap_or_default(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 ms")]
const fn signed_seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
