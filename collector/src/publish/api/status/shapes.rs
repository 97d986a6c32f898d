//! What `/api/v1/status` has.

use std::collections::BTreeMap;
use std::time::Duration;

use martlet_telemetry::counters::to_f64;
use martlet_telemetry::latency::{Quantiles, Recent as RecentLatency};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::Schema;

use super::super::geo::GeoStatus;
use super::super::json::{Distinct, NamedPort, Time, class_schema, words};
use super::age_seconds;
use crate::ingest::Lost;
use crate::journal::{Condition, Health};

/// Everything, or what is published.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = StatusAnswer)]
pub(in super::super) enum Answer {
    /// For whoever sees everything.
    Full(Box<Status>),
    /// For everybody.
    Public(PublicStatus),
}

/// What everybody is told of the collector.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct PublicStatus {
    /// The program's version.
    pub(super) version: &'static str,
    /// The collector's clock.
    pub(super) now: Time,
    /// Ranges and steps of answers are whole multiples of this.
    pub(super) bucket_seconds: i64,
    /// Until when answers tell anything.
    pub(super) published_until: Time,
    /// What is published.
    pub(super) publication: PublicationStatus,
}

/// What is published: `[publication]` of the configuration.
#[derive(Serialize, ToSchema)]
pub(super) struct PublicationStatus {
    /// How old what is told is at least.
    pub(super) delay_hours: u32,
    /// Fewest packets of a row.
    pub(super) min_packets: u64,
    /// Fewest distinct sources of a row.
    pub(super) min_sources: u64,
}

/// Is it alive, what does it hold, what was refused.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct Status {
    /// The program's version.
    pub(super) version: &'static str,
    /// `stalled` while no batch is acknowledged because the disk is full or fails.
    #[schema(schema_with = state_schema)]
    pub(super) state: &'static str,
    /// When the collector started.
    pub(super) started: Time,
    /// The collector's clock.
    pub(super) now: Time,
    /// How long the process runs.
    pub(super) uptime_seconds: u64,
    /// Length of a bucket of history.
    pub(super) bucket_seconds: i64,
    /// Classes that ever brought a batch.
    pub(super) classes: Vec<ClassStatus>,
    /// What is held in memory.
    pub(super) history: History,
    /// The journal: what is acknowledged.
    pub(super) journal: JournalStatus,
    /// The store: what is committed.
    pub(super) store: StoreStatus,
    /// The archive; null if there is none (`archive.enabled`).
    pub(super) archive: Option<ArchiveStatus>,
    /// The days that are made of it; null without an archive.
    pub(super) days: Option<DaysStatus>,
    /// What came from sensors, and what was refused.
    pub(super) ingest: IngestStatus,
    /// Whom sources belong to: the data, and how it fares.
    pub(super) geo: GeoStatus,
    /// How long things took in the last five minutes, in seconds.
    pub(super) latency: BTreeMap<&'static str, LatencyStatus>,
}

fn state_schema() -> Schema {
    words(&["running", "stalled"])
}

/// The journal.
#[derive(Serialize, ToSchema)]
pub(super) struct JournalStatus {
    #[serde(flatten)]
    pub(super) health: HealthStatus,
    /// Bytes of its segments.
    pub(super) bytes: u64,
    /// Records that are acknowledged and not in the store yet.
    pub(super) uncommitted_records: u64,
    /// Records that the last start counted again.
    pub(super) replayed_records: u64,
    /// Records that the last start did not count: behind damage, or there twice.
    pub(super) skipped_records: u64,
    /// Records that were damaged.
    pub(super) damaged_records: u64,
}

/// The store.
#[derive(Serialize, ToSchema)]
pub(super) struct StoreStatus {
    #[serde(flatten)]
    pub(super) health: HealthStatus,
    /// Commits since the start.
    pub(super) commits: u64,
    /// How long ago the last was.
    pub(super) last_commit_age_seconds: Option<f64>,
}

/// The archive.
#[derive(Serialize, ToSchema)]
pub(super) struct ArchiveStatus {
    #[serde(flatten)]
    pub(super) health: HealthStatus,
    /// Records of the journal that are not in it yet.
    pub(super) pending_records: u64,
    /// Records that counted, and could not be read when they were to be archived.
    pub(super) lost_records: u64,
    /// Files that there are.
    pub(super) files: u64,
    /// Rows in them.
    pub(super) rows: u64,
    /// Their length.
    pub(super) bytes: u64,
}

/// The days that are made of the archive.
#[derive(Serialize, ToSchema)]
pub(super) struct DaysStatus {
    #[serde(flatten)]
    pub(super) health: HealthStatus,
    /// Days whose archive has changed since they were made.
    pub(super) marked_days: u64,
    /// Days that were made since the start.
    pub(super) made_days: u64,
}

/// How a place of durable state fares.
#[derive(Serialize, ToSchema)]
pub(super) struct HealthStatus {
    /// `running` or `stalled`.
    #[schema(schema_with = state_schema)]
    pub(super) state: &'static str,
    /// Why it is stalled.
    pub(super) reason: Option<&'static str>,
    /// For how long.
    pub(super) stalled_seconds: Option<f64>,
}

impl HealthStatus {
    pub(super) fn of(health: &Health, now_ms: i64) -> HealthStatus {
        match health.condition() {
            Condition::Running => HealthStatus { state: "running", reason: None, stalled_seconds: None },
            Condition::Stalled { reason, since_ms } => HealthStatus {
                state: "stalled",
                reason: Some(reason.name()),
                stalled_seconds: Some(age_seconds(since_ms, now_ms)),
            },
        }
    }
}

/// A class of traffic, since the store was begun.
#[derive(Serialize, ToSchema)]
pub(super) struct ClassStatus {
    /// `real`, `drill` or `import`.
    #[schema(schema_with = class_schema)]
    pub(super) class: &'static str,
    /// Batches counted.
    pub(super) batches: u64,
    /// Packets counted.
    pub(super) packets: u64,
    /// Their IP total lengths.
    pub(super) bytes: u64,
    /// Sensors that brought any.
    pub(super) sensors: usize,
    /// Start of the earliest window.
    pub(super) first_window: Option<Time>,
    /// End of the latest window.
    pub(super) last_window_end: Option<Time>,
    /// How long ago a batch arrived.
    pub(super) last_arrival_age_seconds: Option<f64>,
    /// What is held in memory of it.
    pub(super) history: ClassHistory,
    /// The last ten minutes of its time.
    pub(super) recent: Recent,
}

/// What is held of a class.
#[derive(Serialize, ToSchema)]
pub(super) struct ClassHistory {
    /// Start of the first bucket.
    pub(super) from: Option<Time>,
    /// End of the last bucket.
    pub(super) to: Option<Time>,
    /// Buckets.
    pub(super) buckets: usize,
}

/// What is held in memory.
#[derive(Serialize, ToSchema)]
pub(super) struct History {
    /// Start of the first bucket.
    pub(super) from: Option<Time>,
    /// End of the last bucket.
    pub(super) to: Option<Time>,
    /// Length of a bucket.
    pub(super) bucket_seconds: i64,
    /// Buckets of all classes.
    pub(super) buckets: usize,
    /// Oldest buckets that were dropped to keep the limit.
    pub(super) evicted_buckets: u64,
    /// Memory that they take, estimated.
    pub(super) memory_bytes: u64,
    /// Its limit.
    pub(super) memory_limit_bytes: u64,
}

/// The recent past of a class.
#[derive(Serialize, ToSchema)]
pub(super) struct Recent {
    /// Length of a step.
    pub(super) step_seconds: i64,
    /// Of all sensors together, not per address; null without a complete step.
    pub(super) packets_per_second: Option<f64>,
    /// Over how long that is.
    pub(super) averaged_seconds: i64,
    /// Steps, oldest first.
    pub(super) windows: Vec<RecentWindow>,
    /// The busiest services of the last complete step.
    pub(super) ports: Vec<RecentPort>,
}

/// A step.
#[derive(Serialize, ToSchema)]
pub(super) struct RecentWindow {
    /// Its start.
    pub(super) start: Time,
    /// Whether every sensor that still reports has reported beyond it.
    pub(super) complete: bool,
    /// Packets.
    pub(super) packets: u64,
    /// Their IP total lengths.
    pub(super) bytes: u64,
    /// Sources.
    pub(super) sources: Distinct,
}

/// A service of the last complete step.
#[derive(Serialize, ToSchema)]
pub(super) struct RecentPort {
    #[serde(flatten)]
    pub(super) port: NamedPort,
    /// Packets.
    pub(super) packets: u64,
    /// Sources.
    pub(super) sources: Distinct,
}

/// What came from sensors since the start, by its outcome or by what was wrong.
#[derive(Serialize, ToSchema)]
pub(super) struct IngestStatus {
    /// Connections.
    pub(super) connections: Connections,
    /// Batches by outcome; `received` is their sum and those in flight.
    pub(super) batches: BTreeMap<&'static str, u64>,
    /// What was wrong with bytes from peers.
    pub(super) frame_errors: BTreeMap<&'static str, u64>,
    /// Connections ended, or requests on them refused, because a rule was broken.
    pub(super) violations: BTreeMap<&'static str, u64>,
    /// TLS handshakes that failed.
    pub(super) tls_failures: BTreeMap<&'static str, u64>,
    /// What sensors said they lost, since the store was begun.
    pub(super) lost: LostStatus,
}

/// The last five minutes, in seconds; null where there was nothing.
#[derive(Serialize, ToSchema)]
pub(super) struct LatencyStatus {
    /// How many there were.
    pub(super) count: u64,
    /// The median.
    pub(super) p50: Option<f64>,
    /// What one in a hundred exceeds.
    pub(super) p99: Option<f64>,
    /// What one in a thousand exceeds.
    pub(super) p999: Option<f64>,
    /// The longest.
    pub(super) max: Option<f64>,
}

impl From<RecentLatency> for LatencyStatus {
    fn from(RecentLatency { count, quantiles }: RecentLatency) -> LatencyStatus {
        let seconds = |of: fn(&Quantiles) -> Duration| quantiles.as_ref().map(|quantiles| of(quantiles).as_secs_f64());
        LatencyStatus {
            count,
            p50: seconds(|quantiles| quantiles.p50),
            p99: seconds(|quantiles| quantiles.p99),
            p999: seconds(|quantiles| quantiles.p999),
            max: seconds(|quantiles| quantiles.max),
        }
    }
}

/// Connections of sensors.
#[derive(Serialize, ToSchema)]
pub(super) struct Connections {
    /// Open now.
    pub(super) open: u64,
    /// Taken.
    pub(super) accepted: u64,
    /// Not taken, by reason.
    pub(super) refused: BTreeMap<&'static str, u64>,
}

/// What was lost before it could be delivered.
#[derive(Serialize, ToSchema)]
pub(in super::super) struct LostStatus {
    /// Batches.
    pub(super) batches: u64,
    /// Windows.
    pub(super) windows: u64,
    /// Packets.
    pub(super) packets: u64,
    /// Seconds watched.
    pub(super) watched_seconds: f64,
}

impl From<&Lost> for LostStatus {
    fn from(lost: &Lost) -> LostStatus {
        LostStatus {
            batches: lost.batches,
            windows: lost.windows,
            packets: lost.packets,
            watched_seconds: to_f64(lost.watched_ms) / 1000.0,
        }
    }
}
