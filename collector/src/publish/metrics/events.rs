//! Events, and how those who are to be told of them fare.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use martlet_telemetry::counters::{MetricKind, Samples, to_f64};

use super::{Families, signed, texts};
use crate::events::{Event, EventError, name, type_name};
use crate::publish::Sources;
use crate::publish::services::protocol_name;

/// Most events that have a series of their own: the newest that are open.
const MOST_OPEN: usize = 50;

impl Families<'_> {
    pub(super) fn events(&self) -> Result<(), prometheus::Error> {
        self.add(
            MetricKind::Gauge,
            "martlet_observed_event_detected_timestamp_seconds",
            "When an event was detected, as a Unix time; of the 50 newest that are open. For annotations.",
            &["class", "type", "severity", "ip", "protocol", "port", "mark"],
            |sources, _| {
                let open = answered(sources.events.open_events(MOST_OPEN));
                // Two of one port and mark are one series, with the newer time.
                let mut newest: BTreeMap<Vec<String>, i64> = BTreeMap::new();
                for event in open {
                    let time = newest.entry(labels(&event)).or_insert(event.detected);
                    *time = event.detected.max(*time);
                }
                newest.into_iter().map(|(labels, time)| (labels, signed(time))).collect()
            },
        )?;
        self.add(
            MetricKind::Gauge,
            "martlet_collector_event_records",
            "Events that are kept.",
            &["class", "type", "state"],
            |sources, _| {
                let counts = answered(sources.events.counts());
                let sample = |(class, finding_type, state, count): (martlet_window::TrafficClass, _, _, u64)| {
                    (texts([class.name(), type_name(finding_type), name(state)]), to_f64(count))
                };
                counts.into_iter().map(sample).collect()
            },
        )?;
        self.add(
            MetricKind::Counter,
            "martlet_collector_event_deliveries_total",
            "Attempts to tell a target of an event, by what became of them.",
            &["target", "outcome"],
            |sources, _| {
                each_target(sources, |target| {
                    target.outcomes.iter().map(|(outcome, count)| (Some(outcome), count)).collect()
                })
            },
        )?;
        self.add(
            MetricKind::Gauge,
            "martlet_collector_event_deliveries_pending",
            "Changes of events that a target is to be told of and has not taken yet.",
            &["target"],
            |sources, _| each_target(sources, |target| vec![(None, target.pending.load(Relaxed))]),
        )
    }
}

/// What the store says; nothing while it cannot be read, which the log says.
fn answered<T: Default>(answer: Result<T, EventError>) -> T {
    answer.unwrap_or_else(|error| {
        tracing::error!("cannot read events for the metrics: {error}");
        T::default()
    })
}

fn labels(event: &Event) -> Vec<String> {
    let key = event.key;
    let ip = if key.ip == martlet_window::IpVersion::V4 { "4" } else { "6" };
    texts([
        event.id.class.name(),
        type_name(event.finding_type),
        name(event.severity),
        ip,
        &protocol_name(key.protocol),
        &key.port.to_string(),
        key.population.name(),
    ])
}

fn each_target(
    sources: &Sources,
    values: impl Fn(&crate::events::TargetCounters) -> Vec<(Option<&'static str>, u64)>,
) -> Samples {
    let samples = sources.event_targets.iter().flat_map(|target| {
        values(target).into_iter().map(|(label, count)| {
            let labels = [Some(target.name.as_str()), label].into_iter().flatten().map(str::to_owned);
            (labels.collect(), to_f64(count))
        })
    });
    samples.collect()
}
