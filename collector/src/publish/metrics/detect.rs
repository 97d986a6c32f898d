//! What Prometheus is told of the detector.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use martlet_telemetry::counters::{MetricKind, to_f64};
use martlet_window::TrafficClass;

use super::{Families, stalled};
use crate::detect::DetectState;

/// Where a number of each class is.
type Numbers = fn(&DetectState) -> &[AtomicU64; TrafficClass::ALL.len()];

impl Families<'_> {
    pub(super) fn detect(&self) -> Result<(), prometheus::Error> {
        self.add(
            MetricKind::Gauge,
            "martlet_collector_detect_stalled",
            "1 if nothing is looked for for this reason; it goes on by itself, and the journal keeps what was not looked at.",
            &["reason"],
            |sources, _| stalled(&sources.journal.detect.health),
        )?;
        self.gauge(
            "martlet_collector_detect_pending_records",
            "Records of the journal that are committed and that the detector has not read; 0 without one.",
            |sources, _| {
                let counters = &sources.journal.counters;
                // Without a detector nothing is read.
                let has_detector = counters.detected.load(Relaxed) != u64::MAX;
                let read = if has_detector { sources.journal.detect.read.load(Relaxed) } else { u64::MAX };
                counters.committed.load(Relaxed).saturating_sub(read)
            },
        )?;
        self.gauge(
            "martlet_collector_detect_lost_records",
            "Records of the journal that counted, and that the detector could not read.",
            |sources, _| sources.journal.detect.lost_records.load(Relaxed),
        )?;
        self.gauge(
            "martlet_collector_detect_saved_bytes",
            "Length of what the detector last saved, in bytes.",
            |sources, _| sources.journal.detect.saved_bytes.load(Relaxed),
        )?;
        let gauges: [(&str, &str, Numbers); 3] = [
            ("keys", "Populations on ports that are told apart.", |state| &state.keys),
            (
                "candidates",
                "Populations on ports that are more than expected, and whose sources are followed.",
                |state| &state.candidates,
            ),
            ("open_findings", "Findings that are not over.", |state| &state.open),
        ];
        for (name, help, numbers) in gauges {
            self.by_class(MetricKind::Gauge, &format!("martlet_collector_detect_{name}"), help, numbers)?;
        }
        self.counter(
            "martlet_collector_detect_early_reports_total",
            "Windows of real traffic that the detector left out since they ended after their arrival: a sensor's clock is ahead.",
            |sources, _| sources.journal.detect.early_reports.load(Relaxed),
        )?;
        let counters: [(&str, &str, Numbers); 3] = [
            ("late_reports", "Windows that came when the detector had gone on without them.", |state| {
                &state.late_reports
            }),
            (
                "overflowed_sightings",
                "Sightings for which the detector had no place: detect.thresholds.max_keys.",
                |state| &state.overflowed,
            ),
            (
                "refused_candidates",
                "Candidates for which another was given up, or that were not followed: detect.thresholds.max_candidates.",
                |state| &state.refused_candidates,
            ),
        ];
        for (name, help, numbers) in counters {
            let name = format!("martlet_collector_detect_{name}_total");
            self.by_class(MetricKind::Counter, &name, help, numbers)?;
        }
        Ok(())
    }

    fn by_class(&self, kind: MetricKind, name: &str, help: &str, numbers: Numbers) -> Result<(), prometheus::Error> {
        self.add(kind, name, help, &["class"], move |sources, _| {
            let numbers = numbers(&sources.journal.detect);
            let of_class =
                |class: TrafficClass| (vec![class.name().to_owned()], to_f64(numbers[class as usize].load(Relaxed)));
            TrafficClass::ALL.map(of_class).into()
        })
    }
}
