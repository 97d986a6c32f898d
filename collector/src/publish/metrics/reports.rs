//! What Prometheus is told of reports that are made by themselves.

use std::sync::atomic::Ordering::Relaxed;

use martlet_telemetry::counters::Family;

use super::Families;

impl Families<'_> {
    pub(super) fn reports(&self) -> Result<(), prometheus::Error> {
        self.counter(
            "martlet_collector_reports_files_total",
            "Files of reports that were written into reports.directory.",
            |sources, _| sources.journal.reports.files.load(Relaxed),
        )?;
        self.catalogue.register(Family::of_counters(
            "martlet_collector_reports_failures_total",
            "Reports of reports.schedule that were due and could not be made, written, or printed as PDF; each is tried again.",
            &["step"],
            self.sources.journal.reports.failures.clone(),
        )?)?;
        self.gauge(
            "martlet_collector_reports_unfinished",
            "Times of reports.schedule whose report could not be finished when it was last tried.",
            |sources, _| sources.journal.reports.unfinished.load(Relaxed),
        )
    }
}
