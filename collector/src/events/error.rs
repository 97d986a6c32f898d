//! Why something about events cannot be done.

use thiserror::Error;

use super::kinds::{Request, State, name};

/// Why something about events cannot be done.
#[derive(Debug, Error)]
pub enum EventError {
    /// SQLite failed.
    #[error("the store of events failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A row cannot be understood.
    #[error("a row of the store's tables of events is damaged")]
    Damaged,
    /// There is none of this name.
    #[error("there is no such event")]
    NoSuchEvent,
    /// The event has changed since whoever asks has looked.
    #[error("the event has version {current}, and the request is about version {asked}: look at it again")]
    Changed {
        /// What it has.
        current: i64,
        /// What was asked about.
        asked: i64,
    },
    /// Its life does not go there.
    #[error("an event that is {} cannot be asked to {}: its life goes on and never back", name(*.from), name(*.request))]
    Illegal {
        /// Where it is.
        from: State,
        /// What was asked for.
        request: Request,
    },
    /// A text or list is too long, or something is missing.
    #[error("{field}: {rule}")]
    Bad {
        /// Of the request.
        field: &'static str,
        /// What it must be.
        rule: String,
    },
    /// Its history is full.
    #[error("the event has {0} entries in its history, which is as many as there may be")]
    Full(usize),
}
