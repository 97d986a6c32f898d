//! Every metric family of a daemon: registered, and described for its documentation.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{Gauge, Registry};

use crate::counters::{Family, MetricKind};
use crate::latency::LatencyFamily;

/// A collector of one family that knows its type.
pub trait Typed: Collector + 'static {
    /// As Prometheus calls it.
    fn type_name(&self) -> &'static str;
}

impl Typed for Family {
    fn type_name(&self) -> &'static str {
        match self.kind() {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        }
    }
}

impl Typed for LatencyFamily {
    fn type_name(&self) -> &'static str {
        "histogram"
    }
}

impl Typed for Gauge {
    fn type_name(&self) -> &'static str {
        "gauge"
    }
}

/// A registry that remembers what was registered: a family without samples is in no scrape. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    registry: Registry,
    declared: Arc<Mutex<Vec<Declared>>>,
}

/// What is said of a family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub type_name: &'static str,
    /// Names of its labels.
    pub labels: Vec<String>,
    /// What it says.
    pub help: String,
}

impl Catalogue {
    /// Registers a family.
    ///
    /// # Errors
    /// If one of this name is there already.
    pub fn register(&self, family: impl Typed) -> Result<(), prometheus::Error> {
        let type_name = family.type_name();
        let declared: Vec<Declared> = family
            .desc()
            .into_iter()
            .map(|desc| {
                let constant = desc.const_label_pairs.iter().map(|pair| pair.name().to_owned());
                let labels = constant.chain(desc.variable_labels.iter().cloned()).collect();
                Declared { name: desc.fq_name.clone(), type_name, labels, help: desc.help.clone() }
            })
            .collect();
        self.registry.register(Box::new(family))?;
        self.declared.lock().unwrap_or_else(PoisonError::into_inner).extend(declared);
        Ok(())
    }

    /// The registry.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Every family, by name.
    #[must_use]
    pub fn declared(&self) -> Vec<Declared> {
        let mut declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        declared.sort();
        declared
    }

    /// A table of every family, in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = "| metric | type | labels | what |\n| --- | --- | --- | --- |\n".to_owned();
        for Declared { name, type_name, labels, help } in self.declared() {
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| `{name}` | {type_name} | {} | {} |", labels.join(", "), help.replace('|', "\\|"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_registered_is_described_also_without_samples() {
        let catalogue = Catalogue::default();
        let family = |name| Family::new(MetricKind::Gauge, name, "One | other.", &["a", "b"], Vec::new).unwrap();
        catalogue.register(family("martlet_test_b")).unwrap();
        crate::build::register(&catalogue, "test", "1.0").unwrap();
        catalogue.register(family("martlet_test_a")).unwrap();
        assert!(catalogue.register(family("martlet_test_a")).is_err());
        assert_eq!(catalogue.registry().gather().len(), 1);
        assert_eq!(
            catalogue.markdown(),
            "| metric | type | labels | what |\n| --- | --- | --- | --- |\n\
             | `martlet_build_info` | gauge | `daemon`, `version` | Which build is running; always 1. |\n\
             | `martlet_test_a` | gauge | `a`, `b` | One \\| other. |\n\
             | `martlet_test_b` | gauge | `a`, `b` | One \\| other. |\n"
        );
    }
}
