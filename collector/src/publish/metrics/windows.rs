//! Distinct sources of the last minute, hour and day, of the ports that have series.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use martlet_telemetry::counters::{MetricKind, Samples, to_f64};
use martlet_window::{Class, DistinctSources, IpVersion, Kind, Marks, Service, TrafficClass};

use super::super::Sources;
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
                    let windows = [
                        ("1m", minute(view, class, until)),
                        ("1h", hour(view, class, until, &hours)),
                        ("1d", day(sources, view, class, until, &days)),
                    ];
                    for (window, counts) in windows {
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

/// What was found out for each class, and what it was found out from.
struct Kept<K>(Mutex<[Option<(K, Counts)>; 3]>);

impl<K> Default for Kept<K> {
    fn default() -> Kept<K> {
        Kept(Mutex::default())
    }
}

impl<K> Kept<K> {
    /// What is kept if it comes from the same, or else what is found out now.
    fn get(
        &self,
        class: TrafficClass,
        from: K,
        is_same: impl Fn(&K, &K) -> bool,
        find: impl FnOnce() -> Option<Counts>,
    ) -> Option<Counts> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &mut kept[class as usize];
        if let Some((before, counts)) = kept
            && is_same(before, &from)
        {
            return Some(counts.clone());
        }
        let counts = find()?;
        *kept = Some((from, counts.clone()));
        Some(counts)
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
fn hour(
    view: &LiveView,
    class: TrafficClass,
    until: i64,
    kept: &Kept<(i64, Vec<Weak<Bucket>>, Tracked)>,
) -> Option<Counts> {
    let state = view.class(class);
    if HOUR_SECONDS % view.bucket_seconds != 0 {
        return None;
    }
    let until = until - until.rem_euclid(view.bucket_seconds);
    let from = until - HOUR_SECONDS;
    let is_evicted =
        view.evicted_buckets > 0 && state.buckets.first_key_value().is_some_and(|(&first, _)| first > from);
    if state.first_window? > from || is_evicted {
        return None;
    }
    let buckets = || state.buckets.range(from..until).map(|(_, bucket)| bucket);
    let key = (from, buckets().map(Arc::downgrade).collect(), view.observed.tracked.clone());
    let is_same = |a: &(i64, Vec<Weak<Bucket>>, Tracked), b: &(i64, Vec<Weak<Bucket>>, Tracked)| {
        a.0 == b.0
            && a.1.len() == b.1.len()
            && a.1.iter().zip(&b.1).all(|(a, b)| Weak::ptr_eq(a, b))
            && Arc::ptr_eq(&a.2, &b.2)
    };
    kept.get(class, key, is_same, || {
        let mut sets = Sets::new(view, class);
        buckets().for_each(|bucket| bucket.services().for_each(|(key, row)| sets.add(key, &row)));
        Some(sets.counts())
    })
}

/// The newest whole UTC day, from history.
fn day(
    sources: &Sources,
    view: &LiveView,
    class: TrafficClass,
    until: i64,
    kept: &Kept<(i64, i64, Tracked)>,
) -> Option<Counts> {
    let until = until - until.rem_euclid(DAY_SECONDS);
    let span = Span::new(until - DAY_SECONDS, until).ok()?;
    let tracked = &view.observed.tracked;
    let ask = |history: &History| -> Result<Option<Counts>, RollupError> {
        let snapshot = history.snapshot()?;
        let key = (until, snapshot.generation(), tracked.clone());
        let is_same =
            |a: &(i64, i64, Tracked), b: &(i64, i64, Tracked)| (a.0, a.1) == (b.0, b.1) && Arc::ptr_eq(&a.2, &b.2);
        let mut failed = None;
        let counts = kept.get(class, key, is_same, || {
            let found = (|| {
                if !snapshot.has_day(span.from().div_euclid(DAY_SECONDS))? {
                    return Ok(None);
                }
                let filter = Filter { kind: Some(Kind::Scan), ..Filter::class(class) };
                let count = |&(protocol, port): &Port| {
                    let mut sum = 0;
                    for ip in [IpVersion::V4, IpVersion::V6] {
                        let (service, kind, marks) = (Service::Port(port), Kind::Scan, Marks::NONE);
                        let key = ServiceKey::new(Class { ip, protocol, service, kind, marks }.into());
                        let totals = snapshot.service(&filter, span, &Zone::UTC, key)?;
                        // A whole day cuts nothing, so they are known.
                        sum += totals.sum.sources().map_or(0, |distinct| distinct.count);
                    }
                    Ok(((protocol, port), sum))
                };
                tracked[class as usize].iter().map(count).collect::<Result<Counts, RollupError>>().map(Some)
            })();
            found.unwrap_or_else(|error: RollupError| {
                failed = Some(error);
                None
            })
        });
        failed.map_or(Ok(counts), Err)
    };
    let answer = sources.history.ask(Instant::now() + PATIENCE, ask);
    answer.and_then(|counts| counts).unwrap_or_else(|error| {
        tracing::warn!("cannot read yesterday's distinct sources for Prometheus: {error}");
        None
    })
}
