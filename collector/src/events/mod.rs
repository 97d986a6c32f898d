//! Events: what the detector calls, with a life that analysts give it.
//!
//! ```text
//! detector -findings-> Recorder: tables events, event_history --> Book <- API, page, metrics
//!                        in the detector's own transaction          ^
//!                                          analysts: acknowledge, assess, resolve, note, assign
//!
//! event_history -in order-> outbox: a delivery for each target that wants it -> Courier -> Alertmanager, webhooks
//! ```
//!
//! One outbreak is one event, however often the detector says it. What is called, and what is said of it, is a row of the history
//! in the same transaction; deliveries are made from that history, so nobody is told what did not happen, and nothing that
//! happened is left untold, whenever the collector dies. docs/events.md describes life, API and formats.

mod alertmanager;
mod book;
mod client;
mod config;
mod courier;
mod draft;
mod error;
mod event;
mod evidence;
mod kinds;
mod outbox;
mod recorder;
mod retention;
#[cfg(test)]
mod tests;
mod text;
mod webhook;

pub use book::{Book, Change, LONGEST_NAME, LONGEST_NOTE, MOST_HISTORY, MOST_RECIPIENTS, Wanted};
pub use client::ClientError;
pub use config::{AlertmanagerConfig, EventsConfig, EventsConfigError, WebhookConfig};
pub use courier::{Courier, Outcome, TargetCounters, TellError};
pub use draft::{Language, Tlp, draft};
pub use error::EventError;
pub use event::{DeliveryRecord, Event, HistoryEntry, Whole};
pub use evidence::{Evidence, Network, RegionCount, SensorCount, SeriesBin};
pub use kinds::{Action, EventId, Request, Severity, State, TYPES, severity_name, type_name, type_named};
pub(crate) use kinds::{name, named};
pub use recorder::{Recorded, Recorder};
pub use retention::MOST_EVENTS;
pub(crate) use text::label_name;
pub(crate) use text::time;
pub use webhook::{REPLAY_WINDOW_SECONDS, SIGNATURE_HEADER, signature};

/// What the detector is called in histories.
pub const DETECTOR: &str = "detector";
/// What programs of the collector's machine that ask without a token are called in histories.
pub const LOCAL: &str = "local";
