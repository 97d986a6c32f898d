//! `/api/v1/coverage`: how well each sensor watched, hour by hour.

use std::collections::BTreeMap;

use martlet_telemetry::counters::to_f64;
use martlet_window::TrafficClass;
use serde::Serialize;

use super::super::Sources;
use super::super::problem::Problem;
use super::json::{Head, Time, signed_seconds};
use super::params::{Accepts, Query};
use crate::aggregate::{HOUR_SECONDS, HourKey, SensorHour};
use crate::ingest::SensorId;
use crate::live::{Coverage, CoverageState, Expectation, LiveView, held_hours};
use crate::store::{Reader, StoreError};

pub(super) const ACCEPTS: Accepts =
    Accepts { range: true, sensor: true, kind: false, points: true, limit: true, hours: true };

#[derive(Serialize)]
pub(super) struct Answer {
    #[serde(flatten)]
    head: Head,
    step_seconds: i64,
    sensors: Vec<SensorEntry>,
}

#[derive(Serialize)]
struct SensorEntry {
    name: String,
    expected_from: Option<Time>,
    expected_to: Option<Time>,
    window_seconds: Option<u64>,
    totals: Cell,
    series: Series,
}

/// One step of one sensor, or the range. What only a batch can tell is `None` where none came.
#[derive(Clone, Copy, Serialize)]
struct Cell {
    state: Option<&'static str>,
    windows_expected: Option<u64>,
    windows_received: u64,
    windows_late: u64,
    windows_lost: u64,
    windows_missing: Option<u64>,
    expected_seconds: Option<f64>,
    watched_seconds: Option<f64>,
    ipv4_address_seconds: Option<f64>,
    ipv6_prefix_seconds: Option<f64>,
    packets: Option<u64>,
    kernel_drops: Option<u64>,
    interface_drops: Option<u64>,
    lost_packets: u64,
    lost_seconds: f64,
    clock_offset_seconds: Option<f64>,
    clock_wrong: Option<bool>,
}

/// The same, by step.
#[derive(Default, Serialize)]
struct Series {
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
}

pub(super) fn coverage(sources: &Sources, view: &LiveView, query: &Query) -> Result<Answer, Problem> {
    let mut walk = Walk::new(view, query, sources.clock.now());
    each_hour(sources, view, query, |key, hour| walk.see(key, hour)).map_err(|error| {
        tracing::error!("cannot read hours of loss and exposure: {error}");
        Problem::store()
    })?;
    walk.go_to(query.to);
    let sensors = walk.sensors.into_values().map(|sensor| sensor.entry(sources));
    let mut sensors: Vec<SensorEntry> = sensors.collect();
    sensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Answer { head: Head::new(query), step_seconds: query.step_seconds, sensors })
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
    fn new(view: &LiveView, query: &Query, now: i64) -> Walk {
        let chosen = query.sensors(view).into_iter().map(|(id, sensor)| {
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
