//! Counters indexed by closed enums, and metrics that are read at scrape time.
//!
//! A stage counts with [`EnumCounters`]: an array of atomics, no lock, no text. What Prometheus sees is made from
//! such state by [`Family`] collectors when it asks, so that a number exists once.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// A closed enum whose values have a place and a name.
pub trait Labelled: Copy + Send + Sync + 'static {
    /// The names of all values, in the order of [`Labelled::index`].
    const NAMES: &'static [&'static str];

    /// Place of this value in [`Labelled::NAMES`].
    fn index(self) -> usize;
}

/// Defines a closed enum of outcomes or reasons with its [`Labelled`] names.
///
/// ```
/// martlet_telemetry::labelled! {
///     /// What became of a call.
///     pub enum Outcome {
///         /// It was taken.
///         Taken = "taken",
///         /// It was refused.
///         Refused = "refused",
///     }
/// }
/// # use martlet_telemetry::counters::Labelled;
/// assert_eq!(Outcome::NAMES[Outcome::Refused.index()], "refused");
/// ```
#[macro_export]
macro_rules! labelled {
    ($(#[$meta:meta])* $visibility:vis enum $name:ident { $($(#[$value_meta:meta])* $value:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $visibility enum $name { $($(#[$value_meta])* $value),+ }

        impl $name {
            /// Every value.
            #[allow(dead_code, reason = "not every enum is iterated")]
            $visibility const ALL: &'static [$name] = &[$($name::$value),+];
        }

        impl $crate::counters::Labelled for $name {
            const NAMES: &'static [&'static str] = &[$($text),+];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

/// One counter for each value of an enum.
pub struct EnumCounters<E> {
    cells: Box<[AtomicU64]>,
    of: PhantomData<fn(E)>,
}

impl<E: Labelled> Default for EnumCounters<E> {
    fn default() -> EnumCounters<E> {
        EnumCounters { cells: E::NAMES.iter().map(|_| AtomicU64::new(0)).collect(), of: PhantomData }
    }
}

impl<E: Labelled> EnumCounters<E> {
    /// All zero.
    #[must_use]
    pub fn new() -> EnumCounters<E> {
        EnumCounters::default()
    }

    /// Adds one.
    pub fn increment(&self, value: E) {
        self.add(value, 1);
    }

    /// Adds `n`.
    pub fn add(&self, value: E, n: u64) {
        self.cells[value.index()].fetch_add(n, Relaxed);
    }

    /// The count of one value.
    #[must_use]
    pub fn get(&self, value: E) -> u64 {
        self.cells[value.index()].load(Relaxed)
    }

    /// Name and count of every value, also of those that are zero.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        E::NAMES.iter().zip(&self.cells).map(|(&name, cell)| (name, cell.load(Relaxed)))
    }
}

impl<E: Labelled> fmt::Debug for EnumCounters<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Whether a metric only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows; its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// Values of one metric family: for each sample the values of the labels, in the family's order, and the number.
pub type Samples = Vec<(Vec<String>, f64)>;

/// A metric family whose samples are made at scrape time.
pub struct Family {
    description: Desc,
    name: String,
    help: String,
    kind: MetricKind,
    labels: &'static [&'static str],
    samples: Box<dyn Fn() -> Samples + Send + Sync>,
}

impl Family {
    /// A family with these labels.
    ///
    /// # Errors
    /// If name, help or a label is not one that Prometheus takes.
    pub fn new(
        kind: MetricKind,
        name: &str,
        help: &str,
        labels: &'static [&'static str],
        samples: impl Fn() -> Samples + Send + Sync + 'static,
    ) -> Result<Family, prometheus::Error> {
        let names = labels.iter().map(|&label| label.to_owned()).collect();
        let description = Desc::new(name.to_owned(), help.to_owned(), names, HashMap::new())?;
        Ok(Family {
            description,
            name: name.to_owned(),
            help: help.to_owned(),
            kind,
            labels,
            samples: Box::new(samples),
        })
    }

    /// Whether it only grows.
    #[must_use]
    pub const fn kind(&self) -> MetricKind {
        self.kind
    }

    /// The counts of an enum under one label.
    ///
    /// # Errors
    /// As [`Family::new`].
    pub fn of_counters<E: Labelled>(
        name: &str,
        help: &str,
        labels: &'static [&'static str; 1],
        counters: Arc<EnumCounters<E>>,
    ) -> Result<Family, prometheus::Error> {
        Family::new(MetricKind::Counter, name, help, labels, move || {
            counters.iter().map(|(value, count)| (vec![value.to_owned()], to_f64(count))).collect()
        })
    }
}

/// A count as Prometheus holds it: exact up to 2^53.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "Prometheus knows only floating point; exact up to 2^53")]
pub const fn to_f64(count: u64) -> f64 {
    count as f64
}

impl Collector for Family {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let metrics = (self.samples)().into_iter().map(|(values, number)| {
            debug_assert_eq!(values.len(), self.labels.len());
            let labels = self.labels.iter().zip(values).map(|(&name, value)| {
                let mut pair = LabelPair::default();
                pair.set_name(name.to_owned());
                pair.set_value(value);
                pair
            });
            let mut metric = Metric::from_label(labels.collect());
            match self.kind {
                MetricKind::Counter => {
                    let mut counter = Counter::default();
                    counter.set_value(number);
                    metric.set_counter(counter);
                }
                MetricKind::Gauge => {
                    let mut gauge = Gauge::default();
                    gauge.set_value(number);
                    metric.set_gauge(gauge);
                }
            }
            metric
        });
        let mut family = MetricFamily::default();
        family.set_name(self.name.clone());
        family.set_help(self.help.clone());
        family.set_field_type(match self.kind {
            MetricKind::Counter => MetricType::COUNTER,
            MetricKind::Gauge => MetricType::GAUGE,
        });
        family.set_metric(metrics.collect());
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Registry, TextEncoder};

    labelled! {
        /// Test outcomes.
        enum Outcome {
            /// One.
            Taken = "taken",
            /// Two.
            Refused = "refused",
        }
    }

    #[test]
    fn counters_reach_the_exposition_also_when_zero() {
        let counters = Arc::new(EnumCounters::<Outcome>::new());
        counters.add(Outcome::Taken, 3);
        let registry = Registry::new();
        let family = Family::of_counters("martlet_test_calls_total", "Calls.", &["outcome"], counters.clone()).unwrap();
        registry.register(Box::new(family)).unwrap();
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains("# TYPE martlet_test_calls_total counter"), "{text}");
        assert!(text.contains("martlet_test_calls_total{outcome=\"taken\"} 3"), "{text}");
        assert!(text.contains("martlet_test_calls_total{outcome=\"refused\"} 0"), "{text}");
        assert_eq!((counters.get(Outcome::Taken), counters.get(Outcome::Refused)), (3, 0));
        assert_eq!(Outcome::ALL.len(), Outcome::NAMES.len());
    }
}
