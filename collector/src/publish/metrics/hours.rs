//! The last hour of each sensor whose windows should all have come: what was expected, what came, what was missing.

use martlet_telemetry::counters::{MetricKind, Samples, to_f64};
use martlet_window::TrafficClass;

use super::super::Sources;
use super::{Families, SENSOR, each_sensor, seconds, signed};
use crate::aggregate::{HOUR_SECONDS, HourKey, SensorHour};
use crate::ingest::SensorId;
use crate::live::{Coverage, Expectation, LiveView, held_hours};

/// How a number is read off an hour; `None` where it is not known.
type Value = fn(&Coverage) -> Option<f64>;

/// What nobody told is not 0.
fn told(hour: &SensorHour, number: u64) -> Option<f64> {
    hour.is_heard().then(|| to_f64(number))
}

fn exposure(hour: &SensorHour, ms: u64) -> Option<f64> {
    (hour.is_heard() && !hour.exposure_unknown).then(|| seconds(ms))
}

/// Name, help and value. Where something is expected, what came and what is said to be lost are known.
const GAUGES: [(&str, &str, Value); 13] = [
    ("windows_expected", "Windows expected in the last hour.", |hour| hour.expected.map(to_f64)),
    ("windows_received", "Windows of the last hour that came.", |hour| Some(to_f64(hour.sum.windows))),
    (
        "coverage_ratio",
        "Time watched in the last hour by the time that was to be watched, 0 to 1; absent where it is not known.",
        |hour| {
            let watched_ms = if hour.sum.exposure_unknown { return None } else { hour.sum.watched_ms };
            (hour.expected_ms > 0).then(|| (to_f64(watched_ms) / to_f64(hour.expected_ms)).min(1.0))
        },
    ),
    ("windows_late", "Windows of the last hour that came late.", |hour| Some(to_f64(hour.sum.late_windows))),
    ("windows_lost", "Windows of the last hour that the sensor said it lost.", |hour| {
        Some(to_f64(hour.sum.lost.windows))
    }),
    ("windows_missing", "Windows of the last hour that neither came nor are said to be lost.", |hour| {
        Some(to_f64(hour.missing))
    }),
    ("lost_packets", "Packets of the last hour that the sensor said it lost.", |hour| {
        Some(to_f64(hour.sum.lost.packets))
    }),
    ("lost_seconds", "Seconds watched in the last hour whose counts the sensor said it lost.", |hour| {
        Some(seconds(hour.sum.lost.watched_ms))
    }),
    ("kernel_drops", "Frames of the last hour that the sensor's kernel dropped; absent if no window came.", |hour| {
        told(&hour.sum, hour.sum.kernel_drops)
    }),
    (
        "interface_drops",
        "Frames of the last hour that the sensor's interface dropped; absent if no window came.",
        |hour| told(&hour.sum, hour.sum.interface_drops),
    ),
    ("watched_seconds", "Seconds watched in the windows of the last hour that came; absent if none came.", |hour| {
        exposure(&hour.sum, hour.sum.watched_ms)
    }),
    (
        "ipv4_address_seconds",
        "IPv4 addresses times seconds watched in the windows of the last hour that came; absent if none came.",
        |hour| exposure(&hour.sum, hour.sum.ipv4_address_ms),
    ),
    (
        "ipv6_prefix_seconds",
        "IPv6 /64 prefixes times seconds watched in the windows of the last hour that came; absent if none came.",
        |hour| exposure(&hour.sum, hour.sum.ipv6_prefix_ms),
    ),
];

impl Families<'_> {
    pub(super) fn last_hour(&self) -> Result<(), prometheus::Error> {
        for (name, help, value) in GAUGES {
            let name = format!("martlet_observed_sensor_last_hour_{name}");
            self.add(MetricKind::Gauge, &name, help, SENSOR, move |sources, view| {
                each_last_hour(sources, view, |_, hour| value(hour))
            })?;
        }
        self.add(
            MetricKind::Gauge,
            "martlet_observed_sensor_last_hour_start_timestamp_seconds",
            "Start of the last hour all of whose windows should have come from the sensor, as a Unix time.",
            SENSOR,
            |sources, view| each_last_hour(sources, view, |start, _| Some(signed(start))),
        )
    }
}

/// Sensors of which nothing was expected in their last hour have no samples.
fn each_last_hour(sources: &Sources, view: &LiveView, value: impl Fn(i64, &Coverage) -> Option<f64>) -> Samples {
    let now = sources.clock.now();
    each_sensor(view, |sensor, class| {
        let (id, class) = (view.sensor_id(sensor.name.as_str())?, TrafficClass::ALL[class]);
        let expectation = Expectation::of(view, sensor, class, now)?;
        let hour = expectation.last_hour();
        // Of a clock that is days ahead nothing is held.
        if hour >= now && !held_hours(view.class(class).last_window_end).contains(&hour) {
            return None;
        }
        let coverage = last_hour(view, id, class, hour, &expectation)?;
        value(hour, &coverage)
    })
}

fn last_hour(
    view: &LiveView,
    sensor: SensorId,
    class: TrafficClass,
    hour: i64,
    expectation: &Expectation,
) -> Option<Coverage> {
    debug_assert_eq!(hour % HOUR_SECONDS, 0);
    let mut coverage = Coverage::default();
    coverage.add(hour, view.hours.get(&HourKey { hour, class, sensor }), Some(expectation));
    coverage.state.map(|_| coverage)
}
