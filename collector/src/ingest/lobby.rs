//! Connections that have not said who they are.
//!
//! Anybody can open one, say nothing, and keep it until the time limit of Hello. So their number has a bound of its own, and where that is
//! reached the one that has waited longest gives way to the newcomer: a sensor needs milliseconds for its handshake, and gets in
//! among ten thousand that say nothing. What sensors that said Hello hold is out of reach for strangers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::signal::Once;

/// Everybody who has not said Hello.
#[derive(Debug)]
pub(super) struct Lobby {
    most: usize,
    /// By the number of the connection, so that the first is the one that has waited longest.
    waiting: Mutex<BTreeMap<u64, Arc<Once>>>,
}

/// One of them; leaves when it is dropped.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    lobby: &'a Lobby,
    number: u64,
    shown_out: Arc<Once>,
}

impl Lobby {
    /// A lobby for so many.
    pub(super) fn new(most: usize) -> Lobby {
        Lobby { most: most.max(1), waiting: Mutex::default() }
    }

    /// Lets a connection in, by its number, which grows from one to the next.
    pub(super) fn enter(&self, number: u64) -> Guest<'_> {
        let shown_out = Arc::new(Once::default());
        let mut waiting = self.waiting();
        waiting.insert(number, shown_out.clone());
        let oldest = if waiting.len() > self.most { waiting.pop_first() } else { None };
        drop(waiting);
        if let Some((_, oldest)) = oldest {
            oldest.happen();
        }
        Guest { lobby: self, number, shown_out }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Once>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest<'_> {
    /// It is known now, and gives way to nobody any more.
    pub(super) fn leave(&self) {
        self.lobby.waiting().remove(&self.number);
    }

    /// Waits until it has to give way.
    pub(super) async fn shown_out(&self) {
        self.shown_out.happened().await;
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_one_that_has_waited_longest_gives_way_unless_it_is_known() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let is_out = async |guest: &Guest<'_>| {
                tokio::time::timeout(Duration::from_millis(20), guest.shown_out()).await.is_ok()
            };
            let lobby = Lobby::new(2);
            let (known, old) = (lobby.enter(1), lobby.enter(2));
            known.leave();
            let new = lobby.enter(3);
            assert_eq!((is_out(&known).await, is_out(&old).await, is_out(&new).await), (false, false, false));
            let newest = lobby.enter(4);
            assert_eq!((is_out(&known).await, is_out(&old).await, is_out(&new).await), (false, true, false));
            // Who leaves makes room.
            drop(new);
            let last = lobby.enter(5);
            assert!(!is_out(&newest).await && !is_out(&last).await);
            drop((known, old, newest, last));
            assert!(lobby.waiting().is_empty());
        });
    }
}
