//! `/api/v1/status`: is it alive, what does it hold, what was refused.

mod shapes;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use martlet_telemetry::counters::{EnumCounters, Labelled, to_f64};
use martlet_window::{Service, TrafficClass};
use serde::Serialize;

pub(super) use self::shapes::{Answer, LostStatus};
use self::shapes::{
    ArchiveStatus, ClassHistory, ClassStatus, Connections, DaysStatus, HealthStatus, History, IngestStatus,
    JournalStatus, LatencyStatus, PublicStatus, PublicationStatus, Recent, RecentPort, RecentWindow, Status,
    StoreStatus,
};
use super::super::Sources;
use super::super::problem::Problem;
use super::endpoint::{About, Asked, Endpoint};
use super::format::Table;
use super::geo::GeoStatus;
use super::json::{Distinct, NamedPort, Time};
use super::parameter::Parameter;
use super::params::Accepts;
use super::public::Minimum;
use super::validator::Validity;
use crate::ingest::Lost;
use crate::live::{LiveView, RECENT_STEP_SECONDS, RECENT_STEPS, RecentStep, Row, ServiceKey, ServiceKind};
use crate::tokens::Scope;

/// Over how many steps the rate is averaged: a minute, so that windows of any length weigh in evenly.
const RATE_STEPS: i64 = 6;
/// How many services of the last complete step are listed.
const RECENT_PORTS: usize = 10;

/// The path.
pub(super) struct Path;

impl Endpoint for Path {
    const ABOUT: About = About {
        name: "status",
        summary: "Is it alive, what does it hold, what was refused",
        accepts: Accepts::new(&[Parameter::Format]),
        scope: Scope::Public,
        validity: Validity::Never,
        walks: false,
    };
    type Answer = Answer;

    fn answer(asked: &Asked<'_>) -> Result<Answer, Problem> {
        Ok(match asked.query.public {
            Some(minimum) => Answer::Public(public(asked, minimum)),
            None => full(asked.sources, asked.view, asked.now_ms),
        })
    }
}

impl Table for Answer {
    type Row = ();
    const COLUMNS: &'static [&'static str] = &[];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        std::iter::empty::<()>()
    }
}

/// The answer for whoever sees everything.
pub(super) fn full(sources: &Sources, view: &LiveView, now_ms: i64) -> Answer {
    Answer::Full(Box::new(status(sources, view, now_ms)))
}

/// How long ago something was, in seconds; 0 if a clock says that it has not been yet.
pub(super) fn age_seconds(at_ms: i64, now_ms: i64) -> f64 {
    to_f64(now_ms.saturating_sub(at_ms).max(0).unsigned_abs()) / 1000.0
}

fn public(asked: &Asked<'_>, minimum: Minimum) -> PublicStatus {
    let now = asked.now_ms.div_euclid(1000);
    let bucket_seconds = Minimum::unit(asked.view.bucket_seconds);
    let publication = asked.publication;
    PublicStatus {
        version: env!("CARGO_PKG_VERSION"),
        now: Time(now),
        bucket_seconds,
        published_until: Time(minimum.until(now, bucket_seconds)),
        publication: PublicationStatus {
            delay_hours: publication.delay_hours,
            min_packets: publication.min_packets,
            min_sources: publication.min_sources,
        },
    }
}

fn status(sources: &Sources, view: &LiveView, now_ms: i64) -> Status {
    let now = now_ms.div_euclid(1000);
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
        archive: counters.has_archive().then(|| archive(sources, now_ms)),
        days: counters.has_archive().then(|| days(sources, now_ms)),
        ingest: ingest(sources, view),
        geo: GeoStatus::of(&sources.geo.snapshot(), now_ms),
        latency: latency(sources, Instant::now()),
    }
}

fn archive(sources: &Sources, now_ms: i64) -> ArchiveStatus {
    let archive = &sources.journal.archive;
    ArchiveStatus {
        health: HealthStatus::of(&archive.health, now_ms),
        pending_records: sources.journal.counters.unarchived(),
        lost_records: archive.lost_records.load(Relaxed),
        files: archive.files.load(Relaxed),
        rows: archive.rows.load(Relaxed),
        bytes: archive.bytes.load(Relaxed),
    }
}

fn days(sources: &Sources, now_ms: i64) -> DaysStatus {
    let history = &sources.journal.history;
    DaysStatus {
        health: HealthStatus::of(&history.health, now_ms),
        marked_days: history.marked_days.load(Relaxed),
        made_days: history.made_days.load(Relaxed),
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
    // Kinds of one service follow each other.
    let mut rows: Vec<(ServiceKey, Row)> = Vec::new();
    for (ServiceKind { service, .. }, row) in step.services.iter().filter(|(key, _)| key.service.port().is_some()) {
        match rows.last_mut() {
            Some((last, sum)) if *last == service => sum.merge(row),
            _ => {
                let mut sum = Row::default();
                sum.merge(row);
                rows.push((service, sum));
            }
        }
    }
    rows.sort_unstable_by_key(|(key, row)| (Reverse(row.packets), *key));
    let ports = rows.into_iter().take(RECENT_PORTS).filter_map(|(key, row)| {
        let class = key.class()?;
        let Service::Port(port) = class.service else {
            return None;
        };
        Some(RecentPort {
            port: NamedPort::new(class.ip, class.protocol, port),
            packets: row.packets,
            sources: Distinct::from(&row.sources),
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
