//! `/api/v1/status`: is it alive, what does it hold, what was refused.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use martlet_telemetry::counters::{EnumCounters, Labelled, to_f64};
use martlet_telemetry::latency::{Quantiles, Recent as RecentLatency};
use martlet_window::{Service, TrafficClass};
use serde::Serialize;

use super::super::Sources;
use super::geo::GeoStatus;
use super::json::{Distinct, NamedPort, Time};
use crate::ingest::Lost;
use crate::journal::{Condition, Health};
use crate::live::{LiveView, RECENT_STEP_SECONDS, RECENT_STEPS, RecentStep};

/// Over how many steps the rate is averaged: a minute, so that windows of any length weigh in evenly.
const RATE_STEPS: i64 = 6;
/// How many services of the last complete step are listed.
const RECENT_PORTS: usize = 10;

#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    state: &'static str,
    started: Time,
    now: Time,
    uptime_seconds: u64,
    bucket_seconds: i64,
    classes: Vec<ClassStatus>,
    history: History,
    journal: JournalStatus,
    store: StoreStatus,
    ingest: IngestStatus,
    geo: GeoStatus,
    latency: BTreeMap<&'static str, LatencyStatus>,
}

#[derive(Serialize)]
struct JournalStatus {
    #[serde(flatten)]
    health: HealthStatus,
    bytes: u64,
    uncommitted_records: u64,
    replayed_records: u64,
    skipped_records: u64,
    damaged_records: u64,
}

#[derive(Serialize)]
struct StoreStatus {
    #[serde(flatten)]
    health: HealthStatus,
    commits: u64,
    last_commit_age_seconds: Option<f64>,
}

#[derive(Serialize)]
struct HealthStatus {
    state: &'static str,
    reason: Option<&'static str>,
    stalled_seconds: Option<f64>,
}

impl HealthStatus {
    fn of(health: &Health, now_ms: i64) -> HealthStatus {
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

/// How long ago something was, in seconds; 0 if a clock says that it has not been yet.
pub(super) fn age_seconds(at_ms: i64, now_ms: i64) -> f64 {
    to_f64(now_ms.saturating_sub(at_ms).max(0).unsigned_abs()) / 1000.0
}

#[derive(Serialize)]
struct ClassStatus {
    class: &'static str,
    batches: u64,
    packets: u64,
    bytes: u64,
    sensors: usize,
    first_window: Option<Time>,
    last_window_end: Option<Time>,
    last_arrival_age_seconds: Option<f64>,
    history: ClassHistory,
    recent: Recent,
}

#[derive(Serialize)]
struct ClassHistory {
    from: Option<Time>,
    to: Option<Time>,
    buckets: usize,
}

#[derive(Serialize)]
struct History {
    from: Option<Time>,
    to: Option<Time>,
    bucket_seconds: i64,
    buckets: usize,
    evicted_buckets: u64,
    memory_bytes: u64,
    memory_limit_bytes: u64,
}

#[derive(Serialize)]
struct Recent {
    step_seconds: i64,
    packets_per_second: Option<f64>,
    averaged_seconds: i64,
    windows: Vec<RecentWindow>,
    ports: Vec<RecentPort>,
}

#[derive(Serialize)]
struct RecentWindow {
    start: Time,
    complete: bool,
    packets: u64,
    bytes: u64,
    sources: Distinct,
}

#[derive(Serialize)]
struct RecentPort {
    #[serde(flatten)]
    port: NamedPort,
    packets: u64,
    sources: Distinct,
}

#[derive(Serialize)]
struct IngestStatus {
    connections: Connections,
    batches: BTreeMap<&'static str, u64>,
    frame_errors: BTreeMap<&'static str, u64>,
    violations: BTreeMap<&'static str, u64>,
    tls_failures: BTreeMap<&'static str, u64>,
    lost: LostStatus,
}

/// The last five minutes, in seconds; `null` where there was nothing.
#[derive(Serialize)]
struct LatencyStatus {
    count: u64,
    p50: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
    max: Option<f64>,
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

#[derive(Serialize)]
struct Connections {
    open: u64,
    accepted: u64,
    refused: BTreeMap<&'static str, u64>,
}

/// What was lost before it could be delivered.
#[derive(Serialize)]
pub(super) struct LostStatus {
    batches: u64,
    windows: u64,
    packets: u64,
    watched_seconds: f64,
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

pub(super) fn status(sources: &Sources, view: &LiveView, now: i64) -> Status {
    let now_ms = sources.clock.now_ms();
    let counters = &sources.journal.counters;
    let last_commit_ms = counters.last_commit_ms.load(Relaxed);
    let with_data = TrafficClass::ALL.into_iter().filter(|&class| view.class(class).totals.batches > 0);
    let firsts = view.classes.iter().filter_map(|class| Some(*class.buckets.first_key_value()?.0));
    let lasts = view.classes.iter().filter_map(|class| Some(*class.buckets.last_key_value()?.0));
    Status {
        version: env!("CARGO_PKG_VERSION"),
        state: if sources.journal.is_stalled() { "stalled" } else { "running" },
        started: Time(sources.started_at),
        now: Time(now),
        uptime_seconds: sources.started.elapsed().as_secs(),
        bucket_seconds: view.bucket_seconds,
        classes: with_data.map(|class| class_status(view, class, now, now_ms)).collect(),
        history: History {
            from: firsts.min().map(Time),
            to: lasts.max().map(|start| Time(start + view.bucket_seconds)),
            bucket_seconds: view.bucket_seconds,
            buckets: view.classes.iter().map(|class| class.buckets.len()).sum(),
            evicted_buckets: view.evicted_buckets,
            memory_bytes: view.memory_bytes,
            memory_limit_bytes: view.memory_limit_bytes,
        },
        journal: JournalStatus {
            health: HealthStatus::of(&sources.journal.ingest, now_ms),
            bytes: counters.bytes.load(Relaxed),
            uncommitted_records: counters.uncommitted(),
            replayed_records: counters.replayed_records.load(Relaxed),
            skipped_records: counters.skipped_records.load(Relaxed),
            damaged_records: counters.damaged_records.load(Relaxed),
        },
        store: StoreStatus {
            health: HealthStatus::of(&sources.journal.store, now_ms),
            commits: counters.commits.load(Relaxed),
            last_commit_age_seconds: (last_commit_ms > 0).then(|| age_seconds(last_commit_ms, now_ms)),
        },
        ingest: ingest(sources, view),
        geo: GeoStatus::of(&sources.geo.snapshot(), now_ms),
        latency: latency(sources, Instant::now()),
    }
}

fn class_status(view: &LiveView, class: TrafficClass, now: i64, now_ms: i64) -> ClassStatus {
    let state = view.class(class);
    let start = state.buckets.first_key_value().map(|(&start, _)| Time(start));
    let end = state.buckets.last_key_value().map(|(&start, _)| Time(start + view.bucket_seconds));
    ClassStatus {
        class: class.name(),
        batches: state.totals.batches,
        packets: state.totals.packets,
        bytes: state.totals.bytes,
        sensors: view.sensors.iter().filter(|sensor| sensor.reports[class as usize].is_some()).count(),
        first_window: state.first_window.map(Time),
        last_window_end: state.last_window_end.map(Time),
        last_arrival_age_seconds: state.last_arrival_ms.map(|at_ms| age_seconds(at_ms, now_ms)),
        history: ClassHistory { from: start, to: end, buckets: state.buckets.len() },
        recent: recent(view, class, now),
    }
}

fn recent(view: &LiveView, class: TrafficClass, now: i64) -> Recent {
    let steps = &view.class(class).recent;
    let complete_until = view.complete_until(class, now);
    let windows =
        steps.iter().rev().take(usize::try_from(RECENT_STEPS).unwrap_or(0)).map(|(&start, step)| RecentWindow {
            start: Time(start),
            complete: complete_until.is_some_and(|until| start + RECENT_STEP_SECONDS <= until),
            packets: step.packets,
            bytes: step.bytes,
            sources: Distinct::from(&step.sources),
        });
    let mut windows: Vec<RecentWindow> = windows.collect();
    windows.reverse();
    let last = view.last_complete_step(class, now);
    let averaged_seconds = RATE_STEPS * RECENT_STEP_SECONDS;
    let packets_per_second = last.map(|(start, _)| {
        let from = start + RECENT_STEP_SECONDS - averaged_seconds;
        let packets: u64 = steps.range(from..=start).map(|(_, step)| step.packets).sum();
        to_f64(packets) / f64::from(u8::try_from(averaged_seconds).unwrap_or(u8::MAX))
    });
    Recent {
        step_seconds: RECENT_STEP_SECONDS,
        packets_per_second,
        averaged_seconds,
        windows,
        ports: last.map(|(_, step)| recent_ports(step)).unwrap_or_default(),
    }
}

fn recent_ports(step: &RecentStep) -> Vec<RecentPort> {
    let mut rows: Vec<_> = step.services.iter().filter(|(key, _)| key.port().is_some()).collect();
    rows.sort_unstable_by_key(|(key, row)| (Reverse(row.packets), *key));
    let ports = rows.into_iter().take(RECENT_PORTS).filter_map(|(key, row)| {
        let class = key.class()?;
        let Service::Port(port) = class.service else {
            return None;
        };
        Some(RecentPort {
            port: NamedPort::new(class.ip, class.protocol, port),
            packets: row.packets,
            sources: Distinct::from(&row.sources.to_set()),
        })
    });
    ports.collect()
}

fn ingest(sources: &Sources, view: &LiveView) -> IngestStatus {
    let counters = &sources.ingest;
    let mut lost = Lost::default();
    view.sensors.iter().for_each(|sensor| lost.add(&sensor.lost));
    let mut batches = by_name(&counters.batches);
    batches.insert("received", counters.batches_received.load(Relaxed));
    IngestStatus {
        connections: Connections {
            open: counters.open.load(Relaxed),
            accepted: counters.accepted.load(Relaxed),
            refused: by_name(&counters.refused),
        },
        batches,
        frame_errors: by_name(&counters.frame_errors),
        violations: by_name(&counters.violations),
        tls_failures: by_name(&counters.tls_failures),
        lost: LostStatus::from(&lost),
    }
}

fn latency(sources: &Sources, now: Instant) -> BTreeMap<&'static str, LatencyStatus> {
    sources.latencies.each().map(|(name, latency)| (name, latency.recent(now).into())).into()
}

fn by_name<E: Labelled>(counters: &EnumCounters<E>) -> BTreeMap<&'static str, u64> {
    counters.iter().collect()
}
