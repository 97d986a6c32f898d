//! The certificates of sensors that are of the collector's own CA: how long they hold.

use martlet_telemetry::counters::{MetricKind, Samples};

use super::{Families, signed, texts};
use crate::enroll::Life;
use crate::publish::Sources;

const SENSOR: &[&str] = &["sensor"];

impl Families<'_> {
    pub(super) fn certificates(&self) -> Result<(), prometheus::Error> {
        self.add(
            MetricKind::Gauge,
            "martlet_collector_sensor_certificate_remaining_seconds",
            "Seconds until the certificate ends that was issued to this sensor and holds longest; absent once it has ended or is revoked.",
            SENSOR,
            |sources, _| {
                let now = sources.clock.now();
                each(sources, |life| life.not_after.saturating_sub(now))
            },
        )?;
        self.add(
            MetricKind::Gauge,
            "martlet_collector_sensor_certificate_life_seconds",
            "Seconds for which this certificate was issued. A sensor renews it when a third of that is left.",
            SENSOR,
            |sources, _| each(sources, Life::seconds),
        )
    }
}

/// A sample of each sensor.
fn each(sources: &Sources, value: impl Fn(Life) -> i64) -> Samples {
    let lives = sources.certificates.now();
    lives.iter().map(|(sensor, life)| (texts([sensor]), signed(value(*life)))).collect()
}
