//! The thread between tokens at rest and tokens in memory.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::known::Tokens;
use super::secret::PublicId;
use super::store::{TokenError, TokenStore};
use crate::clock::SharedClock;
use crate::store::Location;

/// How often tokens are read: a new one can be used, and a revoked one no longer, so much later at most.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);
const DAY_SECONDS: i64 = 86_400;

/// Reads tokens again and again, and writes down on which days they were used.
pub struct Keeper {
    store: TokenStore,
    tokens: Arc<Tokens>,
    clock: SharedClock,
    /// The day of which uses were noted, and whose.
    day: i64,
    noted: HashSet<PublicId>,
    is_failing: bool,
}

impl Keeper {
    /// Opens the store and reads all tokens.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn open(location: &Location, tokens: Arc<Tokens>, clock: SharedClock) -> Result<Keeper, TokenError> {
        let store = TokenStore::open(location)?;
        tokens.replace(&store.list()?);
        let day = clock.now().div_euclid(DAY_SECONDS);
        Ok(Keeper { store, tokens, clock, day, noted: HashSet::new(), is_failing: false })
    }

    /// Works until the other end of `stop` is gone.
    pub fn run(mut self, stop: &Receiver<Infallible>) {
        while stop.recv_timeout(POLL_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            self.turn();
        }
        // What was used since.
        self.turn();
    }

    fn turn(&mut self) {
        match self.work() {
            Ok(()) => self.is_failing = false,
            // Once, not every two seconds. What is known stays in use.
            Err(error) if !self.is_failing => {
                self.is_failing = true;
                tracing::error!("cannot read tokens, or note that they were used: {error}");
            }
            Err(_) => {}
        }
    }

    fn work(&mut self) -> Result<(), TokenError> {
        self.tokens.replace(&self.store.list()?);
        // Uses of the day that just ended, first.
        let today = self.clock.now().div_euclid(DAY_SECONDS);
        self.note()?;
        if today != self.day {
            (self.day, self.noted) = (today, HashSet::new());
            self.note()?;
        }
        Ok(())
    }

    fn note(&mut self) -> Result<(), TokenError> {
        let mut used = self.tokens.used_on(self.day);
        used.retain(|public_id| !self.noted.contains(public_id));
        if !used.is_empty() {
            self.store.note_use(&used, self.day)?;
            self.noted.extend(used);
        }
        Ok(())
    }
}
