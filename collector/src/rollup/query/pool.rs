//! Connections that are kept for the next question: opening one reads the schema.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::History;
use crate::rollup::error::RollupError;
use crate::store::Location;

/// Most connections that are kept while nobody asks.
const MOST_IDLE: usize = 8;
/// How many steps of SQLite's machine there are between two looks at the clock.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// Connections to the store, each lent to one question at a time.
#[derive(Debug)]
pub struct Pool {
    location: Location,
    idle: Mutex<Vec<History>>,
}

impl Pool {
    /// Of a store that is opened, and so has its tables, before anybody asks.
    #[must_use]
    pub const fn new(location: Location) -> Pool {
        Pool { location, idle: Mutex::new(Vec::new()) }
    }

    /// Asks on a connection. What is asked after the deadline fails with [`RollupError::TooLong`].
    ///
    /// # Errors
    /// If the store cannot be opened.
    pub fn ask<T>(&self, deadline: Instant, ask: impl FnOnce(&History) -> T) -> Result<T, RollupError> {
        self.ask_while(move || Instant::now() <= deadline, ask)
    }

    /// The same for as long as something is so.
    ///
    /// # Errors
    /// If the store cannot be opened.
    pub fn ask_while<T>(
        &self,
        goes_on: impl Fn() -> bool + Send + 'static,
        ask: impl FnOnce(&History) -> T,
    ) -> Result<T, RollupError> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let history = kept.map_or_else(|| History::open(&self.location), Ok)?;
        history.connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || !goes_on()));
        let answer = ask(&history);
        history.connection.progress_handler(0, None::<fn() -> bool>);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(history);
        }
        Ok(answer)
    }
}
