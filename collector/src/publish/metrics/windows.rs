//! Distinct sources of the last minute, hour and day, of the ports that have series.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use martlet_telemetry::counters::{MetricKind, Samples, to_f64};
use martlet_window::{Class, DistinctSources, IpVersion, Kind, Marks, Service, TrafficClass};

use super::super::services::protocol_name;
use super::{Families, texts};
use crate::aggregate::HOUR_SECONDS;
use crate::live::{Bucket, LiveView, RECENT_STEP_SECONDS, RowRef, ServiceKey, ServiceKind};
use crate::rollup::query::{Filter, History, Span};
use crate::rollup::{DAY_SECONDS, RollupError, Zone};

const MINUTE_SECONDS: i64 = 60;
/// What a question about yesterday may take; without an answer its samples are missing from one scrape.
const PATIENCE: Duration = Duration::from_secs(2);

/// Protocol and port.
type Port = (u8, u16);
type Tracked = Arc<[BTreeSet<Port>; 3]>;
type Counts = Vec<(Port, u64)>;

impl Families<'_> {
    pub(super) fn windows(&self) -> Result<(), prometheus::Error> {
        let (hours, days) = (Kept::default(), Kept::default());
        self.add(
            MetricKind::Gauge,
            "martlet_observed_sources",
            "Distinct sources that scanned the port in the newest whole minute, hour (both moving) or UTC day of which everything is there; all sensors and both IP versions, not per address.",
            &["class", "protocol", "port", "window"],
            move |sources, view| {
                let mut samples = Samples::new();
                for class in TrafficClass::ALL {
                    let Some(until) = view.complete_until(class, sources.clock.now()) else { continue };
                    let asked = sources.history.ask(Instant::now() + PATIENCE, |history| day(history, view, class, until, &days));
                    let windows = [
                        ("1m", Ok(minute(view, class, until))),
                        ("1h", hour(view, class, until, &hours)),
                        ("1d", asked.and_then(|counts| counts)),
                    ];
                    for (window, counts) in windows {
                        let counts = counts.unwrap_or_else(|error| {
                            tracing::warn!("cannot tell Prometheus of the sources of {window}: {error}");
                            None
                        });
                        samples.extend(counts.into_iter().flatten().map(|((protocol, port), count)| {
                            let labels = texts([class.name(), &protocol_name(protocol), &port.to_string(), window]);
                            (labels, to_f64(count))
                        }));
                    }
                }
                samples
            },
        )
    }
}

/// What counts were found out from.
#[derive(Default)]
struct Basis {
    /// Start of the window.
    from: i64,
    /// Of the ports of this list.
    tracked: Tracked,
    /// Of history; 0 where it was not asked.
    generation: i64,
    /// None where history was asked.
    buckets: Vec<Weak<Bucket>>,
}

impl PartialEq for Basis {
    fn eq(&self, other: &Basis) -> bool {
        let same_buckets = || self.buckets.iter().zip(&other.buckets).all(|(a, b)| Weak::ptr_eq(a, b));
        (self.from, self.generation, self.buckets.len()) == (other.from, other.generation, other.buckets.len())
            && Arc::ptr_eq(&self.tracked, &other.tracked)
            && same_buckets()
    }
}

/// What was found out for each class, until it comes from something else.
#[derive(Default)]
struct Kept(Mutex<[Option<(Basis, Counts)>; 3]>);

impl Kept {
    fn get(
        &self,
        class: TrafficClass,
        basis: Basis,
        find: impl FnOnce() -> Result<Counts, RollupError>,
    ) -> Result<Counts, RollupError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut kept[class as usize];
        if let Some((before, counts)) = kept
            && *before == basis
        {
            return Ok(counts.clone());
        }
        let counts = find()?;
        *kept = Some((basis, counts.clone()));
        Ok(counts)
    }
}

/// Sets of sources of the ports that have series.
struct Sets(BTreeMap<Port, DistinctSources>);

impl Sets {
    fn new(view: &LiveView, class: TrafficClass) -> Sets {
        Sets(view.observed.tracked[class as usize].iter().map(|&port| (port, DistinctSources::default())).collect())
    }

    fn add(&mut self, key: ServiceKind, row: &RowRef<'_>) {
        if key.kind == Kind::Scan
            && let Some(port) = key.service.port()
            && let Some(set) = self.0.get_mut(&port)
        {
            row.sources.add_to(set);
        }
    }

    fn counts(self) -> Counts {
        self.0.into_iter().map(|(port, set)| (port, set.count())).collect()
    }
}

/// The newest six steps of the recent past that are complete.
fn minute(view: &LiveView, class: TrafficClass, until: i64) -> Option<Counts> {
    let state = view.class(class);
    let until = until - until.rem_euclid(RECENT_STEP_SECONDS);
    let from = until - MINUTE_SECONDS;
    if state.first_window? > from {
        return None;
    }
    let mut steps = state.recent.range(from..until).map(|(_, step)| step).peekable();
    steps.peek()?;
    let mut sets = Sets::new(view, class);
    for step in steps {
        if step.packets > 0 && step.services.is_empty() {
            // Somebody is so far behind that services are forgotten already.
            return None;
        }
        step.services.iter().for_each(|(key, row)| sets.add(key, &row));
    }
    Some(sets.counts())
}

/// The newest buckets that are complete and make an hour.
fn hour(view: &LiveView, class: TrafficClass, until: i64, kept: &Kept) -> Result<Option<Counts>, RollupError> {
    let state = view.class(class);
    let until = until - until.rem_euclid(view.bucket_seconds);
    let from = until - HOUR_SECONDS;
    let is_whole = HOUR_SECONDS % view.bucket_seconds == 0 && state.first_window.is_some_and(|first| first <= from);
    let is_evicted =
        view.evicted_buckets > 0 && state.buckets.first_key_value().is_some_and(|(&first, _)| first > from);
    if !is_whole || is_evicted {
        return Ok(None);
    }
    let buckets = || state.buckets.range(from..until).map(|(_, bucket)| bucket);
    let tracked = view.observed.tracked.clone();
    let basis = Basis { from, tracked, buckets: buckets().map(Arc::downgrade).collect(), generation: 0 };
    let find = || {
        let mut sets = Sets::new(view, class);
        buckets().for_each(|bucket| bucket.services().for_each(|(key, row)| sets.add(key, &row)));
        Ok(sets.counts())
    };
    kept.get(class, basis, find).map(Some)
}

/// The newest whole UTC day, from history.
fn day(
    history: &History,
    view: &LiveView,
    class: TrafficClass,
    until: i64,
    kept: &Kept,
) -> Result<Option<Counts>, RollupError> {
    let until = until - until.rem_euclid(DAY_SECONDS);
    let from = until - DAY_SECONDS;
    let (span, tracked) = (Span::new(from, until)?, &view.observed.tracked);
    let snapshot = history.snapshot()?;
    if !snapshot.has_day(from.div_euclid(DAY_SECONDS))? {
        return Ok(None);
    }
    let filter = Filter { kind: Some(Kind::Scan), ..Filter::class(class) };
    let count = |&(protocol, port): &Port| {
        let mut sum = 0;
        for ip in [IpVersion::V4, IpVersion::V6] {
            let (service, kind, marks) = (Service::Port(port), Kind::Scan, Marks::NONE);
            let key = ServiceKey::new(Class { ip, protocol, service, kind, marks }.into());
            let totals = snapshot.service(&filter, span, &Zone::UTC, key)?;
            sum += totals.sum.sources().map_err(|unknown| RollupError::NotKept(unknown.reason()))?.count;
        }
        Ok(((protocol, port), sum))
    };
    let basis = Basis { from, tracked: tracked.clone(), generation: snapshot.generation(), buckets: Vec::new() };
    kept.get(class, basis, || tracked[class as usize].iter().map(count).collect()).map(Some)
}
