//! What operators say of sensors: which group each belongs to, in which economy it is, behind what network, and which ports that one
//! filters.
//!
//! ```text
//! martlet-collector sensor set -> store (sensor_labels) -> rollups (a scope for each value of history.group_labels) -> reports, API
//!                                                       \-> SharedLabels -> /metrics, /api/v1/sensors
//! ```
//!
//! Labels stand in the store and not in the configuration, so that enrolment can write them and a running collector sees them
//! within seconds. docs/collector.md tells operators of them.

mod filtered;
mod label;
mod shared;
mod store;

pub use filtered::FilteredPorts;
pub use label::{Group, Label, LabelError, Setting};
pub use shared::{Labels, SharedLabels};
pub(crate) use store::set_labels;
pub use store::{LabelStore, LabelStoreError, Labelled, filtered, groups, scope_of, scopes};
