//! How long the stages take: one histogram for each, all made in one way.

use std::sync::Arc;

use martlet_telemetry::counters::{MetricKind, to_f64};
use martlet_telemetry::latency::{Latency, LatencyFamily};

use super::{Families, texts};
use crate::latencies::Latencies;

/// Upper bounds in microseconds, up to 30 s.
const BOUNDS: &[u64] = FRESHNESS_BOUNDS.split_at(14).0;
/// The same, up to ten minutes: windows alone may be a minute long.
const FRESHNESS_BOUNDS: &[u64] = &[
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
];

/// Which latency a family shows.
type Which = fn(&Latencies) -> &Arc<Latency>;

/// Name without `martlet_collector_` and `_seconds`, help, bounds and latency.
const FAMILIES: [(&str, &str, &[u64], Which); 6] = [
    (
        "ingest_acknowledgement",
        "Seconds from when a batch's frame had been read whole to when its Ack had been written; each acknowledged batch, live or not.",
        BOUNDS,
        |latencies| &latencies.acknowledgement,
    ),
    (
        "journal_queue_wait",
        "Seconds from a submission to the journal stage to when its group began to be decided; each submission.",
        BOUNDS,
        |latencies| &latencies.queue_wait,
    ),
    ("journal_sync", "Seconds that one sync of the journal took, for a whole group.", BOUNDS, |latencies| {
        &latencies.journal_sync
    }),
    ("live_merge", "Seconds that taking one worker's tables into the live store took.", BOUNDS, |latencies| {
        &latencies.merge
    }),
    ("store_commit", "Seconds that one commit to the store took, until it was on disk.", BOUNDS, |latencies| {
        &latencies.commit
    }),
    (
        "freshness",
        "Seconds from the end of a window to the first view with its batch, by the clocks of sensor and collector; each live batch of real traffic, 0 if the sensor's clock is ahead.",
        FRESHNESS_BOUNDS,
        |latencies| &latencies.freshness,
    ),
];

impl Families<'_> {
    pub(super) fn latencies(&self) -> Result<(), prometheus::Error> {
        for (name, help, bounds, which) in FAMILIES {
            let name = format!("martlet_collector_{name}_seconds");
            let family = LatencyFamily::new(&name, help, bounds, which(&self.sources.latencies).clone())?;
            self.catalogue.register(family)?;
        }
        self.add(
            MetricKind::Counter,
            "martlet_collector_latency_clamped_total",
            "Latencies of more than ten minutes, which are recorded as 601 s.",
            &["latency"],
            |sources, _| {
                let each = sources.latencies.each();
                each.map(|(name, latency)| (texts([name]), to_f64(latency.clamped()))).into()
            },
        )
    }
}
