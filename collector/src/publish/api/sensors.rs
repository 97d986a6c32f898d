//! `/api/v1/sensors`: how well each sensor watched.

use std::collections::BTreeMap;

use martlet_window::{RejectReason, TrafficClass};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::Schema;

use super::super::problem::Problem;
use super::endpoint::{About, Asked, Endpoint};
use super::exposure::{Exposure, Rate};
use super::format::Table;
use super::json::{Head, Time, class_schema, list_of, signed_seconds};
use super::list::page;
use super::parameter::Parameter;
use super::params::Accepts;
use super::status::{LostStatus, age_seconds};
use super::validator::Validity;
use crate::aggregate::SensorCounts;
use crate::ingest::SensorId;
use crate::labels::Label;
use crate::live::SensorView;
use crate::tokens::Scope;

/// The path.
pub(super) struct Path;

/// How well each sensor watched.
#[derive(Serialize, ToSchema)]
pub(super) struct Sensors {
    #[serde(flatten)]
    head: Head,
    /// What asks for the next page; null on the last one.
    next_cursor: Option<String>,
    /// Sensors by name.
    sensors: Vec<SensorEntry>,
    /// How many are behind these.
    sensors_left_out: usize,
}

/// A sensor. What is summed is of class and range.
#[derive(Serialize, ToSchema)]
pub(super) struct SensorEntry {
    /// Its pseudonym.
    name: String,
    /// What operators say of it.
    labels: Labels,
    /// Every class that it has brought.
    #[schema(schema_with = classes_schema)]
    classes: Vec<&'static str>,
    /// What it answers to packets: nothing (`silent`), resets, or as a service; of its latest batch.
    posture: Option<&'static str>,
    /// Start of its first window.
    first_window: Option<Time>,
    /// End of its latest window.
    last_window_end: Option<Time>,
    /// How long ago a batch of it arrived.
    last_report_age_seconds: Option<f64>,
    /// Whether it has not reported for too long; of real traffic only.
    silent: bool,
    /// How far its clock is behind the collector's.
    clock_offset_seconds: Option<f64>,
    /// Whether that is too far.
    clock_wrong: bool,
    /// Windows that came.
    windows: u64,
    /// Those of them that came late.
    late_windows: u64,
    /// Packets that counted.
    packets: u64,
    /// Their IP total lengths.
    bytes: u64,
    /// Frames seen: packets and what was rejected.
    frames: u64,
    /// Frames that did not count, by reason.
    rejected: BTreeMap<&'static str, u64>,
    /// Frames that the sensor's kernel dropped.
    kernel_drops: u64,
    /// Frames that its interface dropped.
    interface_drops: u64,
    /// What it watched; null if any batch does not know.
    exposure: Option<Exposure>,
    /// Packets by exposure.
    rate: Rate,
    /// What it said it lost, of all classes and times.
    lost: LostStatus,
    /// Marks that its latest batch could not test.
    unavailable_marks: Vec<&'static str>,
}

/// What operators say of a sensor; null where nobody has said it.
#[derive(Serialize, ToSchema)]
#[schema(as = SensorLabels)]
struct Labels {
    /// Any group that they like.
    group: Option<String>,
    /// ISO 3166-1 code.
    economy: Option<String>,
    /// `domestic` or `overseas`.
    position: Option<String>,
    /// Whose network it is in: `isp`, `cloud`, `academic`, `corporate`, `government`, `other`.
    network: Option<String>,
    /// `static` or `dynamic`.
    addressing: Option<String>,
}

impl Labels {
    fn of(labels: Option<&BTreeMap<Label, String>>) -> Labels {
        let [group, economy, position, network, addressing] = Label::ALL.map(|label| labels?.get(&label).cloned());
        Labels { group, economy, position, network, addressing }
    }
}

fn classes_schema() -> Schema {
    list_of(class_schema())
}

impl Endpoint for Path {
    const ABOUT: About = About {
        name: "sensors",
        summary: "How well each sensor watched",
        accepts: Accepts::new(&[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Sensor,
            Parameter::Limit,
            Parameter::Cursor,
            Parameter::Format,
        ]),
        scope: Scope::Read,
        validity: Validity::Answer,
        walks: true,
    };
    type Answer = Sensors;

    fn answer(asked: &Asked<'_>) -> Result<Sensors, Problem> {
        let Asked { view, query, .. } = asked;
        let mut counts: BTreeMap<SensorId, SensorCounts> = BTreeMap::new();
        for (_, bucket) in view.class(query.class).buckets.range(query.from..query.to) {
            for (sensor, added) in bucket.sensors() {
                counts.entry(*sensor).or_default().add(added);
            }
        }
        let sensors = page(query, query.sensors(view), |(_, sensor)| sensor.name.as_str());
        let labels = asked.sources.labels.get();
        let entries = sensors.entries.into_iter().map(|(id, sensor)| {
            let counts = counts.get(&id).copied().unwrap_or_default();
            entry(asked, sensor, &counts, labels.get(sensor.name.as_str()))
        });
        Ok(Sensors {
            head: Head::new(query),
            next_cursor: sensors.next,
            sensors: entries.collect(),
            sensors_left_out: sensors.left_out,
        })
    }
}

impl Table for Sensors {
    type Row = SensorEntry;
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "labels.group",
        "labels.economy",
        "labels.position",
        "labels.network",
        "labels.addressing",
        "posture",
        "first_window",
        "last_window_end",
        "last_report_age_seconds",
        "silent",
        "clock_offset_seconds",
        "clock_wrong",
        "windows",
        "late_windows",
        "packets",
        "bytes",
        "frames",
        "kernel_drops",
        "interface_drops",
        "exposure.watched_seconds",
        "exposure.ipv4_address_seconds",
        "exposure.ipv6_prefix_seconds",
        "rate.ipv4_packets_per_address_day",
        "rate.ipv6_packets_per_prefix_day",
        "lost.batches",
        "lost.windows",
        "lost.packets",
        "lost.watched_seconds",
    ];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.sensors.iter()
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}

fn entry(
    asked: &Asked<'_>,
    sensor: &SensorView,
    counts: &SensorCounts,
    labels: Option<&BTreeMap<Label, String>>,
) -> SensorEntry {
    let Asked { sources, view, now_ms, .. } = *asked;
    let class = asked.query.class;
    let report = sensor.reports[class as usize];
    let offset_ms = report.and_then(|report| report.clock_offset_ms);
    let classes = TrafficClass::ALL.into_iter().filter(|class| sensor.reports[*class as usize].is_some());
    let reasons = RejectReason::ALL.into_iter();
    SensorEntry {
        name: sensor.name.to_string(),
        labels: Labels::of(labels),
        classes: classes.map(TrafficClass::name).collect(),
        posture: report.map(|report| report.posture.name()),
        first_window: report.map(|report| Time(report.first_window)),
        last_window_end: report.map(|report| Time(report.window.end())),
        last_report_age_seconds: report.map(|report| age_seconds(report.arrived_ms, now_ms)),
        silent: view.is_silent(sensor, class, now_ms.div_euclid(1000)),
        clock_offset_seconds: offset_ms.map(signed_seconds),
        clock_wrong: sources.is_clock_wrong(offset_ms),
        windows: counts.windows,
        late_windows: counts.late_windows,
        packets: counts.ipv4_packets.saturating_add(counts.ipv6_packets),
        bytes: counts.bytes,
        frames: counts.frames,
        rejected: reasons.map(|reason| (reason.name(), counts.rejected[reason as usize])).collect(),
        kernel_drops: counts.kernel_drops,
        interface_drops: counts.interface_drops,
        rate: Rate::of(counts),
        exposure: Exposure::of(counts),
        lost: LostStatus::from(&sensor.lost),
        unavailable_marks: report
            .map(|report| report.unavailable.iter().map(|mark| mark.name()).collect())
            .unwrap_or_default(),
    }
}
