//! What Prometheus is told of the archive.

use std::sync::atomic::Ordering::Relaxed;

use martlet_telemetry::counters::{MetricKind, to_f64};

use super::{Families, Value, single, stalled};
use crate::archive::ArchiveState;

impl Families<'_> {
    pub(super) fn archive(&self) -> Result<(), prometheus::Error> {
        self.add(
            MetricKind::Gauge,
            "martlet_collector_archive_stalled",
            "1 if nothing is written into the archive for this reason; it goes on by itself, and the journal keeps what is not archived.",
            &["reason"],
            |sources, _| stalled(&sources.journal.archive.health),
        )?;
        self.counter(
            "martlet_collector_archive_stalls_total",
            "How often writing the archive stalled.",
            |sources, _| sources.journal.archive.health.stalls(),
        )?;
        let gauges: [(&str, &str, Value<ArchiveState>); 4] = [
            ("files", "Files of the archive.", |state| to_f64(state.files.load(Relaxed))),
            ("rows", "Count rows in the archive.", |state| to_f64(state.rows.load(Relaxed))),
            ("bytes", "Length of all files of the archive, in bytes.", |state| to_f64(state.bytes.load(Relaxed))),
            (
                "lost_records",
                "Records of the journal that counted, and could not be read when they were to be archived.",
                |state| to_f64(state.lost_records.load(Relaxed)),
            ),
        ];
        for (name, help, value) in gauges {
            let name = format!("martlet_collector_archive_{name}");
            self.add(MetricKind::Gauge, &name, help, &[], move |sources, _| single(value(&sources.journal.archive)))?;
        }
        self.gauge(
            "martlet_collector_archive_pending_records",
            "Records of the journal that are not in the archive yet; 0 without one.",
            |sources, _| sources.journal.counters.unarchived(),
        )?;
        self.add(
            MetricKind::Gauge,
            "martlet_collector_history_stalled",
            "1 if no day of history can be made for this reason; it goes on by itself.",
            &["reason"],
            |sources, _| stalled(&sources.journal.history.health),
        )?;
        self.gauge(
            "martlet_collector_history_pending_rollups",
            "Days whose archive has changed since they were made.",
            |sources, _| sources.journal.history.marked_days.load(Relaxed),
        )?;
        self.counter("martlet_collector_history_rollups_total", "Days of history that were made.", |sources, _| {
            sources.journal.history.made_days.load(Relaxed)
        })?;
        let counters: [(&str, &str, Value<ArchiveState>); 5] = [
            ("runs", "Runs that made files of the journal.", |state| to_f64(state.runs.load(Relaxed))),
            ("written_rows", "Count rows that they wrote.", |state| to_f64(state.rows_written.load(Relaxed))),
            ("merged_files", "Files that were merged into others.", |state| to_f64(state.merged_files.load(Relaxed))),
            (
                "coarsened_files",
                "Files of which only networks of sources were left, for archive.source_days.",
                |state| to_f64(state.coarsened_files.load(Relaxed)),
            ),
            ("deleted_files", "Files that were deleted, for archive.keep_days or archive.max_bytes.", |state| {
                to_f64(state.deleted_files.load(Relaxed))
            }),
        ];
        for (name, help, value) in counters {
            let name = format!("martlet_collector_archive_{name}_total");
            self.add(MetricKind::Counter, &name, help, &[], move |sources, _| single(value(&sources.journal.archive)))?;
        }
        Ok(())
    }
}
