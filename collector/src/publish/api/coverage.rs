//! `/api/v1/coverage`: how well each sensor watched, hour by hour.

use std::collections::BTreeMap;

use martlet_telemetry::counters::to_f64;
use martlet_window::TrafficClass;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::Schema;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};

use super::super::Sources;
use super::super::problem::Problem;
use super::endpoint::{About, Asked, Endpoint};
use super::format::Table;
use super::json::{Head, Time, list_of, signed_seconds};
use super::list::{Page, page};
use super::parameter::Parameter;
use super::params::{Accepts, Query, Ranges};
use super::validator::Validity;
use crate::aggregate::{HOUR_SECONDS, HourKey, SensorHour};
use crate::ingest::SensorId;
use crate::live::{Coverage, CoverageState, Expectation, LiveView, SensorView, held_hours};
use crate::store::{Reader, StoreError};
use crate::tokens::Scope;

/// The path.
pub(super) struct Path;

/// How well each sensor watched, by steps of whole hours.
#[derive(Serialize, ToSchema)]
#[schema(as = Coverage)]
pub(super) struct Answer {
    #[serde(flatten)]
    head: Head,
    /// Length of a step.
    step_seconds: i64,
    /// What asks for the next page; null on the last one.
    next_cursor: Option<String>,
    /// Sensors by name.
    sensors: Vec<SensorEntry>,
    /// How many are behind these.
    sensors_left_out: usize,
}

/// A sensor.
#[derive(Serialize, ToSchema)]
#[schema(as = CoverageSensor)]
struct SensorEntry {
    /// Its pseudonym.
    name: String,
    /// From when on windows are expected of it.
    expected_from: Option<Time>,
    /// Until when.
    expected_to: Option<Time>,
    /// Length of its latest window.
    window_seconds: Option<u64>,
    /// Of the range.
    totals: Cell,
    /// By step.
    series: Series,
}

/// One step of one sensor.
#[derive(Serialize, ToSchema)]
pub(super) struct CoverageRow {
    /// The sensor's pseudonym.
    sensor: String,
    /// Start of the step.
    start: Time,
    #[serde(flatten)]
    cell: Cell,
}

/// One step of one sensor, or the range. What only a batch can tell is null where none came.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[schema(as = CoverageCell)]
struct Cell {
    /// How the step is to be read: docs/api.md. Null if nothing is expected and nothing known.
    #[schema(schema_with = state_schema)]
    state: Option<&'static str>,
    /// Windows that should have come by now.
    windows_expected: Option<u64>,
    /// Windows that came.
    windows_received: u64,
    /// Those of them that came late.
    windows_late: u64,
    /// Windows that the sensor said it lost.
    windows_lost: u64,
    /// Windows expected, and neither received nor said to be lost.
    windows_missing: Option<u64>,
    /// How long the expected windows last.
    expected_seconds: Option<f64>,
    /// How long was watched.
    watched_seconds: Option<f64>,
    /// IPv4 addresses times seconds watched.
    ipv4_address_seconds: Option<f64>,
    /// IPv6 /64 prefixes times seconds watched.
    ipv6_prefix_seconds: Option<f64>,
    /// Packets that counted.
    packets: Option<u64>,
    /// Frames that the sensor's kernel dropped.
    kernel_drops: Option<u64>,
    /// Frames that its interface dropped.
    interface_drops: Option<u64>,
    /// Packets of what it said it lost.
    lost_packets: u64,
    /// Seconds watched of what it said it lost.
    lost_seconds: f64,
    /// The largest offset of its clock that was measured.
    clock_offset_seconds: Option<f64>,
    /// Whether that is too far.
    clock_wrong: Option<bool>,
}

fn state_schema() -> Schema {
    let states = CoverageState::ALL.map(CoverageState::name).into_iter().map(Value::from);
    let object = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null]));
    object.enum_values(Some(states.chain([Value::Null]))).into()
}

/// The same, by step: every field of a cell, as an array.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = CoverageSeries)]
struct Series {
    #[schema(schema_with = states_schema)]
    state: Vec<Option<&'static str>>,
    windows_expected: Vec<Option<u64>>,
    windows_received: Vec<u64>,
    windows_late: Vec<u64>,
    windows_lost: Vec<u64>,
    windows_missing: Vec<Option<u64>>,
    expected_seconds: Vec<Option<f64>>,
    watched_seconds: Vec<Option<f64>>,
    ipv4_address_seconds: Vec<Option<f64>>,
    ipv6_prefix_seconds: Vec<Option<f64>>,
    packets: Vec<Option<u64>>,
    kernel_drops: Vec<Option<u64>>,
    interface_drops: Vec<Option<u64>>,
    lost_packets: Vec<u64>,
    lost_seconds: Vec<f64>,
    clock_offset_seconds: Vec<Option<f64>>,
    clock_wrong: Vec<Option<bool>>,
}

fn states_schema() -> Schema {
    list_of(state_schema())
}

impl Cell {
    fn of(sources: &Sources, coverage: &Coverage) -> Cell {
        let Coverage { sum, expected, missing, expected_ms, state } = coverage;
        let seconds = |ms: u64| to_f64(ms) / 1000.0;
        let exposure = |ms: u64| (sum.is_heard() && !sum.exposure_unknown).then(|| seconds(ms));
        let told = |number: u64| sum.is_heard().then_some(number);
        Cell {
            state: state.map(CoverageState::name),
            windows_expected: *expected,
            windows_received: sum.windows,
            windows_late: sum.late_windows,
            windows_lost: sum.lost.windows,
            windows_missing: expected.map(|_| *missing),
            expected_seconds: expected.map(|_| seconds(*expected_ms)),
            watched_seconds: exposure(sum.watched_ms),
            ipv4_address_seconds: exposure(sum.ipv4_address_ms),
            ipv6_prefix_seconds: exposure(sum.ipv6_prefix_ms),
            packets: told(sum.packets),
            kernel_drops: told(sum.kernel_drops),
            interface_drops: told(sum.interface_drops),
            lost_packets: sum.lost.packets,
            lost_seconds: seconds(sum.lost.watched_ms),
            clock_offset_seconds: sum.clock_offset_ms.map(signed_seconds),
            clock_wrong: sum.clock_offset_ms.map(|offset_ms| sources.is_clock_wrong(Some(offset_ms))),
        }
    }
}

impl Series {
    fn push(&mut self, cell: Cell) {
        self.state.push(cell.state);
        self.windows_expected.push(cell.windows_expected);
        self.windows_received.push(cell.windows_received);
        self.windows_late.push(cell.windows_late);
        self.windows_lost.push(cell.windows_lost);
        self.windows_missing.push(cell.windows_missing);
        self.expected_seconds.push(cell.expected_seconds);
        self.watched_seconds.push(cell.watched_seconds);
        self.ipv4_address_seconds.push(cell.ipv4_address_seconds);
        self.ipv6_prefix_seconds.push(cell.ipv6_prefix_seconds);
        self.packets.push(cell.packets);
        self.kernel_drops.push(cell.kernel_drops);
        self.interface_drops.push(cell.interface_drops);
        self.lost_packets.push(cell.lost_packets);
        self.lost_seconds.push(cell.lost_seconds);
        self.clock_offset_seconds.push(cell.clock_offset_seconds);
        self.clock_wrong.push(cell.clock_wrong);
    }

    /// Step by step again.
    fn cells(&self) -> impl Iterator<Item = Cell> {
        (0..self.state.len()).map(|i| Cell {
            state: self.state[i],
            windows_expected: self.windows_expected[i],
            windows_received: self.windows_received[i],
            windows_late: self.windows_late[i],
            windows_lost: self.windows_lost[i],
            windows_missing: self.windows_missing[i],
            expected_seconds: self.expected_seconds[i],
            watched_seconds: self.watched_seconds[i],
            ipv4_address_seconds: self.ipv4_address_seconds[i],
            ipv6_prefix_seconds: self.ipv6_prefix_seconds[i],
            packets: self.packets[i],
            kernel_drops: self.kernel_drops[i],
            interface_drops: self.interface_drops[i],
            lost_packets: self.lost_packets[i],
            lost_seconds: self.lost_seconds[i],
            clock_offset_seconds: self.clock_offset_seconds[i],
            clock_wrong: self.clock_wrong[i],
        })
    }
}

impl Endpoint for Path {
    const ABOUT: About = About {
        name: "coverage",
        summary: "Hour by hour: what was expected of each sensor, what came, what was lost",
        accepts: Accepts {
            parameters: &[
                Parameter::Class,
                Parameter::From,
                Parameter::To,
                Parameter::Step,
                Parameter::Sensor,
                Parameter::Limit,
                Parameter::Cursor,
                Parameter::Format,
            ],
            ranges: Ranges::Hours,
        },
        scope: Scope::Read,
        validity: Validity::Answer,
        walks: true,
    };
    type Answer = Answer;

    fn answer(asked: &Asked<'_>) -> Result<Answer, Problem> {
        let Asked { sources, view, query, .. } = *asked;
        let chosen = page(query, query.sensors(view), |(_, sensor)| sensor.name.as_str());
        let Page { entries, left_out, next } = chosen;
        let mut walk = Walk::new(view, query, entries, asked.now_ms.div_euclid(1000));
        each_hour(sources, view, query, |key, hour| walk.see(key, hour)).map_err(|error| {
            tracing::error!("cannot read hours of loss and exposure: {error}");
            Problem::store()
        })?;
        walk.go_to(query.to);
        let sensors = walk.sensors.into_values().map(|sensor| sensor.entry(sources));
        let mut sensors: Vec<SensorEntry> = sensors.collect();
        sensors.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Answer {
            head: Head::new(query),
            step_seconds: query.step_seconds,
            next_cursor: next,
            sensors,
            sensors_left_out: left_out,
        })
    }
}

impl Table for Answer {
    type Row = CoverageRow;
    const COLUMNS: &'static [&'static str] = &[
        "sensor",
        "start",
        "state",
        "windows_expected",
        "windows_received",
        "windows_late",
        "windows_lost",
        "windows_missing",
        "expected_seconds",
        "watched_seconds",
        "ipv4_address_seconds",
        "ipv6_prefix_seconds",
        "packets",
        "kernel_drops",
        "interface_drops",
        "lost_packets",
        "lost_seconds",
        "clock_offset_seconds",
        "clock_wrong",
    ];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        let (from, step) = (self.head.from(), self.step_seconds);
        self.sensors.iter().flat_map(move |sensor| {
            let starts = (0..).map(move |n: i64| from + n * step);
            starts.zip(sensor.series.cells()).map(|(start, cell)| CoverageRow {
                sensor: sensor.name.clone(),
                start: Time(start),
                cell,
            })
        })
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}

/// Visits what is known of the hours of the range, ascending: around the newest data from memory, else from the store.
fn each_hour(
    sources: &Sources,
    view: &LiveView,
    query: &Query,
    mut visit: impl FnMut(HourKey, &SensorHour),
) -> Result<(), StoreError> {
    let held = held_hours(view.class(query.class).last_window_end);
    let held = held.start.clamp(query.from, query.to)..held.end.clamp(query.from, query.to);
    let older = query.from..held.start;
    let newer = held.end..query.to;
    let reader = if older.is_empty() && newer.is_empty() { None } else { Some(Reader::open(&sources.store)?) };
    if let Some(reader) = reader.as_ref().filter(|_| !older.is_empty()) {
        reader.sensor_hours(query.class, older, &mut visit)?;
    }
    if !held.is_empty() {
        let key = |hour| HourKey { hour, class: TrafficClass::Real, sensor: SensorId(0) };
        for (key, hour) in view.hours.range(key(held.start)..key(held.end)) {
            if key.class == query.class {
                visit(*key, hour);
            }
        }
    }
    if let Some(reader) = reader.as_ref().filter(|_| !newer.is_empty()) {
        reader.sensor_hours(query.class, newer, &mut visit)?;
    }
    Ok(())
}

/// Goes over the hours of the range once, whether or not anything is known of them.
struct Walk {
    /// The next hour that is not added up yet.
    hour: i64,
    from: i64,
    step_seconds: i64,
    /// What is known of that hour.
    known: BTreeMap<SensorId, SensorHour>,
    sensors: BTreeMap<SensorId, SensorSum>,
}

struct SensorSum {
    name: String,
    expectation: Option<Expectation>,
    total: Coverage,
    steps: Vec<Coverage>,
}

impl Walk {
    fn new(view: &LiveView, query: &Query, chosen: Vec<(SensorId, &SensorView)>, now: i64) -> Walk {
        let chosen = chosen.into_iter().map(|(id, sensor)| {
            let sum = SensorSum {
                name: sensor.name.to_string(),
                expectation: Expectation::of(view, sensor, query.class, now),
                total: Coverage::default(),
                steps: vec![Coverage::default(); query.steps],
            };
            (id, sum)
        });
        Walk {
            hour: query.from,
            from: query.from,
            step_seconds: query.step_seconds,
            known: BTreeMap::new(),
            sensors: chosen.collect(),
        }
    }

    fn see(&mut self, key: HourKey, hour: &SensorHour) {
        self.go_to(key.hour);
        self.known.insert(key.sensor, *hour);
    }

    /// Adds up all hours before this one.
    fn go_to(&mut self, until: i64) {
        while self.hour < until {
            let step = usize::try_from((self.hour - self.from) / self.step_seconds).unwrap_or(0);
            for (id, sensor) in &mut self.sensors {
                let (known, expectation) = (self.known.get(id), sensor.expectation.as_ref());
                sensor.total.add(self.hour, known, expectation);
                if let Some(sum) = sensor.steps.get_mut(step) {
                    sum.add(self.hour, known, expectation);
                }
            }
            self.known.clear();
            self.hour += HOUR_SECONDS;
        }
    }
}

impl SensorSum {
    fn entry(self, sources: &Sources) -> SensorEntry {
        let mut series = Series::default();
        self.steps.iter().for_each(|step| series.push(Cell::of(sources, step)));
        let expectation = self.expectation.filter(|expectation| expectation.window_seconds > 0);
        SensorEntry {
            name: self.name,
            expected_from: expectation.map(|expectation| Time(expectation.from)),
            expected_to: expectation.map(|expectation| Time(expectation.to)),
            window_seconds: expectation.map(|expectation| expectation.window_seconds),
            totals: Cell::of(sources, &self.total),
            series,
        }
    }
}
