//! All interleavings of the steps in which workers hand over to the merger. [`Cut`] is the real one; around it are models
//! of what `collector/src/aggregate/worker.rs` and `collector/src/live/merger.rs` do with it, in the same order, and
//! channels and swapped pointers made of what loom can see into. Run by `scripts/loom.sh`.

#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::time::Duration;

use loom::sync::atomic::{AtomicUsize, Ordering::*};
use loom::sync::{Arc, Mutex};
use loom::thread;
use martlet_handover::Cut;

/// Tries all interleavings in which a thread is interrupted at most so often where it did not wait. Without a bound three
/// threads would take hours; errors that need more interruptions than two are rare.
fn model(interruptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interruptions);
    builder.check(test);
}

/// Stands in for a channel of which the senders are gone, or which is only asked whether something is there.
struct Queue<T>(Mutex<VecDeque<T>>);

impl<T> Queue<T> {
    fn new(items: impl IntoIterator<Item = T>) -> Arc<Queue<T>> {
        Arc::new(Queue(Mutex::new(items.into_iter().collect())))
    }

    fn push(&self, item: T) {
        self.0.lock().unwrap().push_back(item);
    }

    fn take(&self) -> Option<T> {
        self.0.lock().unwrap().pop_front()
    }

    fn take_all(&self) -> Vec<T> {
        self.0.lock().unwrap().drain(..).collect()
    }
}

#[derive(Clone)]
enum Job {
    Count(usize),
    Cut(Arc<Cut<usize>>),
    /// Counting panics.
    Die,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandOver {
    Tables(usize),
    Cut(usize),
}

/// A worker, as its thread runs it.
struct Worker {
    jobs: Arc<Queue<Job>>,
    handed_over: Arc<Queue<HandOver>>,
    dead: Arc<AtomicUsize>,
    look: Duration,
    counted: usize,
}

impl Worker {
    fn run(mut self) {
        while let Some(job) = self.jobs.take() {
            match job {
                Job::Count(packets) => self.counted += packets,
                Job::Cut(cut) => {
                    self.hand_over();
                    cut.arrive(|checkpoint| self.handed_over.push(HandOver::Cut(checkpoint)));
                    cut.wait(self.look, || self.dead.load(Relaxed) == 0, || ());
                }
                Job::Die => {
                    self.dead.fetch_add(1, Relaxed);
                    return;
                }
            }
        }
        self.hand_over();
    }

    fn hand_over(&mut self) {
        if self.counted > 0 {
            self.handed_over.push(HandOver::Tables(std::mem::take(&mut self.counted)));
        }
    }
}

/// Lets so many workers do all jobs, and returns what was handed over.
fn work(workers: usize, look: Duration, jobs: Vec<Job>) -> Vec<HandOver> {
    let (jobs, handed_over, dead) = (Queue::new(jobs), Queue::new([]), Arc::new(AtomicUsize::new(0)));
    let worker = |_| {
        let (jobs, handed_over, dead) = (jobs.clone(), handed_over.clone(), dead.clone());
        let worker = Worker { jobs, handed_over, dead, look, counted: 0 };
        thread::spawn(move || worker.run())
    };
    let threads: Vec<_> = (0..workers).map(worker).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(jobs.take().is_none());
    handed_over.take_all()
}

/// Packets before each cut and behind the last one, and the checkpoints.
fn sums(handed_over: &[HandOver]) -> (Vec<usize>, Vec<usize>) {
    let (mut sums, mut checkpoints) = (vec![0], Vec::new());
    for handed_over in handed_over {
        match *handed_over {
            HandOver::Tables(packets) => *sums.last_mut().unwrap() += packets,
            HandOver::Cut(checkpoint) => {
                checkpoints.push(checkpoint);
                sums.push(0);
            }
        }
    }
    (sums, checkpoints)
}

fn cut(workers: usize, checkpoint: usize) -> Vec<Job> {
    vec![Job::Cut(Arc::new(Cut::new(workers, checkpoint))); workers]
}

/// Waits that only end when somebody wakes the one who waits.
const FOR_EVER: Duration = Duration::MAX;

#[test]
fn two_workers_meet() {
    model(3, || {
        let jobs = [vec![Job::Count(1), Job::Count(2)], cut(2, 7), vec![Job::Count(4), Job::Count(8)]].concat();
        assert_eq!(sums(&work(2, FOR_EVER, jobs)), (vec![3, 12], vec![7]));
    });
}

#[test]
fn two_workers_meet_again() {
    model(3, || {
        let jobs = [vec![Job::Count(1)], cut(2, 7), vec![Job::Count(2)], cut(2, 8), vec![Job::Count(4)]].concat();
        assert_eq!(sums(&work(2, FOR_EVER, jobs)), (vec![1, 2, 4], vec![7, 8]));
    });
}

#[test]
fn three_workers_meet() {
    model(2, || {
        let jobs = [vec![Job::Count(1)], cut(3, 7), vec![Job::Count(2)]].concat();
        assert_eq!(sums(&work(3, FOR_EVER, jobs)), (vec![1, 2], vec![7]));
    });
}

#[test]
fn the_others_go_on_without_a_worker_that_died_and_no_checkpoint_says_that_its_counts_are_there() {
    model(2, || {
        // One of them counts, and takes it along.
        let jobs =
            [vec![Job::Count(1), Job::Die], cut(2, 7), vec![Job::Count(2)], cut(2, 8), vec![Job::Count(4)]].concat();
        let handed_over = work(2, Duration::ZERO, jobs);
        let (sums, checkpoints) = sums(&handed_over);
        assert_eq!(checkpoints, []);
        assert!(sums == [6] || sums == [7], "{handed_over:?}");
    });
}

#[test]
fn two_of_three_go_on_without_the_one_that_died() {
    model(1, || {
        let jobs = [vec![Job::Die], cut(3, 7), vec![Job::Count(2)]].concat();
        assert_eq!(sums(&work(3, Duration::ZERO, jobs)), (vec![2], vec![]));
    });
}

#[test]
fn a_cut_that_a_worker_met_before_it_died_holds_everything_or_is_given_up() {
    model(2, || {
        let jobs = [vec![Job::Count(1)], cut(2, 7), vec![Job::Die, Job::Count(2)]].concat();
        let handed_over = work(2, Duration::ZERO, jobs);
        match sums(&handed_over) {
            (sums, checkpoints) if checkpoints.is_empty() => assert_eq!(sums, [3]),
            both => assert_eq!(both, (vec![1, 2], vec![7])),
        }
    });
}

/// Tables that go round between worker and merger.
struct Table {
    /// Who has it in hand.
    hands: AtomicUsize,
    packets: AtomicUsize,
}

impl Table {
    fn take(&self) {
        assert_eq!(self.hands.fetch_add(1, Relaxed), 0, "in two hands");
    }

    fn give(&self) {
        assert_eq!(self.hands.fetch_sub(1, Relaxed), 1);
    }
}

#[test]
fn a_table_that_goes_round_is_in_one_hand_and_comes_back_empty() {
    const MOST_EMPTY: usize = 1;
    model(3, || {
        let tables: Arc<Vec<Table>> =
            Arc::new((0..4).map(|_| Table { hands: AtomicUsize::new(0), packets: AtomicUsize::new(0) }).collect());
        let (full, empty, new) = (Queue::new([]), Queue::new([]), Arc::new(AtomicUsize::new(0)));
        let worker = || {
            let (tables, full, empty, new) = (tables.clone(), full.clone(), empty.clone(), new.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    let table = empty.take().unwrap_or_else(|| new.fetch_add(1, Relaxed));
                    tables[table].take();
                    assert_eq!(tables[table].packets.load(Relaxed), 0, "not empty");
                    tables[table].packets.store(1, Relaxed);
                    tables[table].give();
                    full.push(table);
                }
            })
        };
        let threads = [worker(), worker()];
        // The merger, until it has seen everything.
        let mut merged = 0;
        while merged < 4 {
            let Some(table) = full.take() else {
                thread::yield_now();
                continue;
            };
            tables[table].take();
            merged += tables[table].packets.load(Relaxed);
            tables[table].packets.store(0, Relaxed);
            tables[table].give();
            let mut empty = empty.0.lock().unwrap();
            // Full when nobody needs it: then it is dropped.
            if empty.len() < MOST_EMPTY {
                empty.push_back(table);
            }
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(full.take_all(), []);
    });
}

/// A view whose parts must belong together; it is never changed once it is published.
struct View {
    packets: AtomicUsize,
    sources: AtomicUsize,
}

#[test]
fn a_reader_sees_whole_views_that_only_get_newer() {
    model(3, || {
        let views: Arc<[View; 3]> =
            Arc::new(std::array::from_fn(|_| View { packets: AtomicUsize::new(0), sources: AtomicUsize::new(0) }));
        let (newest, visible) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let merger = {
            let (views, newest, visible) = (views.clone(), newest.clone(), visible.clone());
            thread::spawn(move || {
                for number in 1..=2 {
                    views[number].packets.store(number * 10, Relaxed);
                    views[number].sources.store(number, Relaxed);
                    // As `ArcSwap::store` does.
                    newest.swap(number, AcqRel);
                }
                // Whoever waits for the start is told behind the view that has everything.
                visible.store(1, Release);
            })
        };
        let is_visible = visible.load(Acquire) == 1;
        let mut last = 0;
        for _ in 0..2 {
            let view = newest.load(Acquire);
            assert_eq!(views[view].packets.load(Relaxed), view * 10);
            assert_eq!(views[view].sources.load(Relaxed), view);
            assert!(view >= last && (!is_visible || view == 2));
            last = view;
        }
        merger.join().unwrap();
    });
}
