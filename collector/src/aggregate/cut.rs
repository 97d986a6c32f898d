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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::{Arrival, Counted, HandOver, Job, Loss, Plan, Rules, SourceHash, Worker};
    use crate::ingest::{Lost, SensorId};
    use crossbeam_channel::{Receiver, unbounded};
    use martlet_window::TrafficClass;
    use std::sync::Arc;

    fn loss(batches: u64) -> Job {
        let lost = Lost { batches, ..Lost::default() };
        let (sensor, class) = (SensorId(0), TrafficClass::Real);
        Job::Count(vec![Counted::Loss(Loss { sensor, class, lost, first_window: 0, last_window: 0 })])
    }

    fn plan() -> Plan {
        let rules = Rules { source_hash: SourceHash::new([0; 16]), bucket_seconds: 600, late_grace_seconds: 0 };
        Plan {
            rules,
            limits: Default::default(),
            interval: Duration::from_secs(1000),
            newest: Arc::default(),
            counters: Arc::default(),
            dead: Arc::default(),
        }
    }

    /// Batches lost before the cut, and behind it.
    fn around(handed_over: &Receiver<HandOver>) -> (u64, u64) {
        let (mut sums, mut side) = ([0, 0], 0);
        for handed_over in handed_over.try_iter() {
            match handed_over {
                HandOver::Tables(delta) => sums[side] += delta.lost[&SensorId(0)].batches,
                HandOver::Cut(_) => side += 1,
            }
        }
        assert_eq!(side, 1);
        sums.into()
    }

    #[test]
    fn a_pumped_worker_takes_nothing_behind_a_cut_before_the_others_have_met_it() {
        let ((jobs, queue), (hand_over, handed_over), (_back, empty)) = (unbounded(), unbounded(), unbounded());
        let worker = || Worker::new(plan(), queue.clone(), hand_over.clone(), empty.clone()).unwrap();
        let (mut fast, mut slow) = (worker(), worker());
        let cut = Arc::new(Cut::new(2, Box::default()));
        for job in [loss(1), loss(2), Job::Cut(cut.clone()), Job::Cut(cut), loss(4)] {
            jobs.send(job).unwrap();
        }
        assert!(slow.turn());
        assert!(fast.turn() && fast.turn());
        // The slow one still has what it counted before the cut.
        assert!(!fast.turn());
        assert!(slow.turn() && fast.turn());
        fast.hand_over();
        assert_eq!(around(&handed_over), (3, 4));
    }

    #[test]
    fn threads_meet_at_a_cut() {
        for round in 0..50 {
            let ((jobs, queue), (hand_over, handed_over), (_back, empty)) = (unbounded(), unbounded(), unbounded());
            let cut = Arc::new(Cut::new(3, Box::default()));
            (0..500).for_each(|_| jobs.send(loss(1)).unwrap());
            (0..3).for_each(|_| jobs.send(Job::Cut(cut.clone())).unwrap());
            (0..500).for_each(|_| jobs.send(loss(1)).unwrap());
            drop(jobs);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    let worker = Worker::new(plan(), queue.clone(), hand_over.clone(), empty.clone()).unwrap();
                    scope.spawn(move || worker.run());
                }
            });
            assert_eq!(around(&handed_over), (500, 500), "round {round}");
        }
    }

    #[test]
    fn an_arrival_says_how_far_the_clock_is_off_only_if_it_is_live() {
        let window = martlet_window::Window { start: 100, length: martlet_window::WindowLength::DEFAULT };
        let offset = |at_ms, is_live| Arrival { at_ms, is_live }.clock_offset_ms(window);
        assert_eq!(offset(111_500, true), Some(1500));
        assert_eq!(offset(50_000, true), Some(-60_000));
        assert_eq!(offset(50_000, false), None);
    }
}
