//! The thread that looks for what commands have changed: revocations, and the CA.

use std::convert::Infallible;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::store::{EnrollStore, EnrollStoreError};
use super::tls::EnrollTls;

/// How often it looks: a revoked certificate is refused, and its connections end, so much later at most.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Looks again and again.
pub struct Keeper {
    store: EnrollStore,
    tls: EnrollTls,
    is_failing: bool,
}

impl Keeper {
    /// Opens the store and reads what is revoked.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(tls: EnrollTls) -> Result<Keeper, EnrollStoreError> {
        let store = EnrollStore::open(tls.location())?;
        // Nothing that is revoked may be let in by a start.
        let standing = store.standing(tls.now())?;
        let mut keeper = Keeper { store, tls, is_failing: false };
        let refreshed = keeper.tls.refresh(standing).map_err(|error| error.to_string());
        keeper.note(refreshed);
        Ok(keeper)
    }

    /// Works until the other end of `stop` is gone.
    pub fn run(mut self, stop: &Receiver<Infallible>) {
        while stop.recv_timeout(POLL_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let turned = self.turn();
            self.note(turned);
        }
    }

    fn turn(&mut self) -> Result<(), String> {
        let standing = self.store.standing(self.tls.now()).map_err(|error| error.to_string())?;
        self.tls.refresh(standing).map_err(|error| error.to_string())
    }

    /// Says once, not every second, that something fails. What is known stays in use.
    fn note(&mut self, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.is_failing = false,
            Err(error) if !self.is_failing => {
                self.is_failing = true;
                tracing::error!("cannot look for revocations and the CA: {error}");
            }
            Err(_) => {}
        }
    }
}
