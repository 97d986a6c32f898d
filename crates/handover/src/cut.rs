//! A cut through the stream of jobs: all workers meet at it, so that the merger sees exactly what lies before it.

use std::sync::PoisonError;
use std::time::Duration;

#[cfg(loom)]
use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(loom))]
use std::sync::{Condvar, Mutex, MutexGuard};

/// One copy for each worker lies in the queue, behind all jobs that belong before it. A worker that takes one hands over
/// its tables and takes no other job until all have done so. The last one to arrive passes the checkpoint on, which may
/// take long: the lock is free meanwhile, so that the others can do what does not wait for it.
#[derive(Debug)]
pub struct Cut<C> {
    workers: usize,
    state: Mutex<State<C>>,
    all: Condvar,
}

#[derive(Debug)]
struct State<C> {
    arrived: usize,
    checkpoint: Option<C>,
    /// All have arrived, and the checkpoint, if it was not given up, has been passed on.
    is_complete: bool,
}

impl<C> Cut<C> {
    /// A cut for so many workers.
    #[must_use]
    pub fn new(workers: usize, checkpoint: C) -> Cut<C> {
        let state = State { arrived: 0, checkpoint: Some(checkpoint), is_complete: false };
        Cut { workers, state: Mutex::new(state), all: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        // A poisoned lock only says that another thread panicked elsewhere: the state here is always whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker has handed over. `finish` is given the checkpoint if it was the last; others are let go after that.
    pub fn arrive(&self, finish: impl FnOnce(C)) {
        let mut state = self.lock();
        state.arrived += 1;
        if state.arrived < self.workers {
            return;
        }
        let checkpoint = state.checkpoint.take();
        drop(state);
        checkpoint.map(finish);
        self.lock().is_complete = true;
        self.all.notify_all();
    }

    /// Whether all have arrived, and the last one has passed the checkpoint on.
    pub fn is_complete(&self) -> bool {
        self.lock().is_complete
    }

    /// Waits until it is complete, or cannot be any more: every `look` it is looked at whether all are alive, and
    /// `meanwhile` done. If one is dead the cut is given up: what a dead worker had counted is gone, so the checkpoint must not be passed on, although this worker
    /// may come upon the copy that was the dead one's and arrive again.
    pub fn wait(&self, look: Duration, are_all_alive: impl Fn() -> bool, mut meanwhile: impl FnMut()) {
        let mut state = self.lock();
        while !state.is_complete {
            if !are_all_alive() {
                state.checkpoint = None;
                return;
            }
            drop(state);
            meanwhile();
            state = self.lock();
            if !state.is_complete {
                state = self.rest(state, look);
            }
        }
    }

    #[cfg(not(loom))]
    fn rest<'a>(&'a self, state: MutexGuard<'a, State<C>>, look: Duration) -> MutexGuard<'a, State<C>> {
        self.all.wait_timeout(state, look).unwrap_or_else(PoisonError::into_inner).0
    }

    /// loom has no clock: no time at all is modelled as a rest that ends when others have had their turn, any other as one
    /// that never ends by itself, so that every wake-up that is missing is found.
    #[cfg(loom)]
    fn rest<'a>(&'a self, state: MutexGuard<'a, State<C>>, look: Duration) -> MutexGuard<'a, State<C>> {
        if look.is_zero() {
            drop(state);
            loom::thread::yield_now();
            return self.lock();
        }
        self.all.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_passes_the_checkpoint_on() {
        let (cut, mut passed) = (Cut::new(2, 7), Vec::new());
        cut.arrive(|checkpoint| passed.push(checkpoint));
        assert!(passed.is_empty() && !cut.is_complete());
        cut.arrive(|checkpoint| passed.push(checkpoint));
        assert!(cut.is_complete());
        cut.wait(Duration::MAX, || false, || ());
        assert_eq!(passed, [7]);
    }

    #[test]
    fn without_a_worker_that_died_it_passes_nothing_on() {
        let cut = Cut::new(2, ());
        cut.arrive(|()| panic!("one of two"));
        cut.wait(Duration::ZERO, || false, || ());
        // The copy of the dead one.
        cut.arrive(|()| panic!("the same one again"));
        cut.wait(Duration::MAX, || false, || ());
    }
}
