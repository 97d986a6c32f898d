//! Labels in memory, as of a few seconds ago at most.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::label::Label;
use super::store::{LabelStore, LabelStoreError};
use crate::store::Location;

/// How old they may be before they are read again.
const FRESH: Duration = Duration::from_secs(2);

/// Labels by a sensor's name.
pub type Labels = BTreeMap<String, BTreeMap<Label, String>>;

/// Reads labels when somebody asks and those it has are old: readers of the store wait for nobody.
#[derive(Debug)]
pub struct SharedLabels {
    location: Location,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    store: Option<LabelStore>,
    labels: Arc<Labels>,
    read: Option<Instant>,
    is_failing: bool,
}

impl SharedLabels {
    /// Of a store.
    #[must_use]
    pub fn new(location: Location) -> SharedLabels {
        SharedLabels { location, state: Mutex::default() }
    }

    /// The labels of all sensors. What is known stays in use when they cannot be read.
    #[must_use]
    pub fn get(&self) -> Arc<Labels> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.read.is_none_or(|read| read.elapsed() >= FRESH) {
            match self.read(&mut state.store) {
                Ok(labels) => (state.labels, state.is_failing) = (Arc::new(labels), false),
                Err(error) => {
                    // Once, not every two seconds.
                    if !state.is_failing {
                        tracing::error!("cannot read the labels of sensors: {error}");
                    }
                    state.is_failing = true;
                }
            }
            state.read = Some(Instant::now());
        }
        state.labels.clone()
    }

    fn read(&self, store: &mut Option<LabelStore>) -> Result<Labels, LabelStoreError> {
        if store.is_none() {
            *store = Some(LabelStore::open(&self.location)?);
        }
        let listed = store.as_ref().map(LabelStore::list).transpose()?.unwrap_or_default();
        Ok(listed.into_iter().map(|(sensor, labelled)| (sensor, labelled.labels)).collect())
    }
}
