//! A cut through the stream of jobs: all workers meet at it, so that the merger sees exactly what lies before it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::journal::Checkpoint;

/// How often a waiting worker looks whether the others are still alive.
const LOOK: Duration = Duration::from_millis(100);

/// One copy for each worker lies in the queue, behind all jobs that belong before it. A worker that takes one hands over
/// its tables and takes no other job until all have done so. The last one to arrive passes the checkpoint on.
#[derive(Debug)]
pub struct Cut {
    workers: usize,
    state: Mutex<State>,
    all: Condvar,
}

#[derive(Debug)]
struct State {
    arrived: usize,
    checkpoint: Option<Box<Checkpoint>>,
}

impl Cut {
    /// A cut for so many workers.
    #[must_use]
    pub fn new(workers: usize, checkpoint: Box<Checkpoint>) -> Cut {
        Cut { workers, state: Mutex::new(State { arrived: 0, checkpoint: Some(checkpoint) }), all: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned lock only says that another thread panicked elsewhere: the state here is always whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker has handed over. `finish` is given the checkpoint if it was the last; others are let go after that.
    pub(super) fn arrive(&self, finish: impl FnOnce(Box<Checkpoint>)) {
        let mut state = self.lock();
        state.arrived += 1;
        if state.arrived == self.workers {
            if let Some(checkpoint) = state.checkpoint.take() {
                finish(checkpoint);
            }
            drop(state);
            self.all.notify_all();
        }
    }

    /// Whether all have arrived.
    pub(super) fn is_complete(&self) -> bool {
        self.lock().arrived >= self.workers
    }

    /// Waits until all have arrived, or one cannot any more.
    pub(super) fn wait(&self, are_all_alive: impl Fn() -> bool) {
        let mut state = self.lock();
        while state.arrived < self.workers && are_all_alive() {
            state = self.all.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
