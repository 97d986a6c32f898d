//! `/api/v1/events`: what the detector called, and what analysts say of it.
//!
//! - [`list`], [`event`]: for whoever may read; what is published of them, for everybody.
//! - [`change`]: the one path that changes something.
//! - [`draft`]: the draft of a public alert.

pub(super) mod change;
pub(super) mod draft;
pub(super) mod event;
pub(super) mod list;
mod shapes;

use super::super::problem::{Kind, Problem};
use crate::events::{EventError, EventId};

/// The event that a path names.
fn id(item: Option<&str>) -> Result<EventId, Problem> {
    item.and_then(|item| item.parse().ok()).ok_or_else(no_such_event)
}

fn no_such_event() -> Problem {
    Problem::new(Kind::NoSuchEvent, "/api/v1/events lists those that there are")
}

impl From<EventError> for Problem {
    fn from(error: EventError) -> Problem {
        match &error {
            EventError::NoSuchEvent => no_such_event(),
            EventError::Changed { .. } => Problem::new(Kind::EventChanged, error.to_string()),
            EventError::Illegal { .. } => Problem::new(Kind::IllegalTransition, error.to_string()),
            EventError::Full(_) => Problem::new(Kind::IllegalTransition, error.to_string()),
            EventError::Bad { .. } => Problem::new(Kind::BadBody, error.to_string()),
            EventError::Sqlite(_) | EventError::Damaged => {
                tracing::error!("cannot read or write events: {error}");
                Problem::store()
            }
        }
    }
}
