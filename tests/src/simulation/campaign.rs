//! Many worlds: a range of seeds, spread over threads.

use std::any::Any;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::LocalSet;

use super::tally::{Events, Tally};
use super::verdict::Findings;
use super::world::World;

/// What became of one seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Operations of disks, and turns of the collector.
    pub steps: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Faults by kind.
    pub faults: Tally,
    /// Different if anything that was told went differently.
    pub fingerprint: u64,
    /// What was found; what is wrong, if anything is.
    pub result: Result<Findings, String>,
}

/// Lives through the world of one seed.
#[must_use]
pub fn run(seed: u64, is_verbose: bool) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let events = Events::new(is_verbose);
    let panics = PanicsOfThread::watch();
    let lived = std::panic::catch_unwind(AssertUnwindSafe(|| {
        LocalSet::new().block_on(&runtime, async {
            let begun = tokio::time::Instant::now();
            let mut world = World::new(seed, events.clone());
            let result = world.run().await;
            (result, world.steps(), world.tally(), begun.elapsed())
        })
    }));
    let (result, steps, faults, simulated) = lived.unwrap_or_else(|payload| {
        (Err(format!("panicked: {}", message(payload.as_ref()))), 0, events.tally(), Duration::ZERO)
    });
    // One that a task of its own caught.
    let result = if panics.any() { result.and(Err("something panicked".to_owned())) } else { result };
    Report { seed, steps, simulated, faults, fingerprint: events.fingerprint(), result }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

thread_local! {
    static PANICS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts panics of the present thread, also those that somebody catches.
struct PanicsOfThread {
    before: u64,
}

impl PanicsOfThread {
    fn watch() -> PanicsOfThread {
        static HOOK: std::sync::Once = std::sync::Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                PANICS.set(PANICS.get() + 1);
                before(info);
            }));
        });
        PanicsOfThread { before: PANICS.get() }
    }

    fn any(&self) -> bool {
        PANICS.get() > self.before
    }
}

/// What became of a range of seeds.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that were run.
    pub seeds: u64,
    /// Steps of all.
    pub steps: u64,
    /// Simulated time of all.
    pub simulated: Duration,
    /// Faults of all.
    pub faults: Tally,
    /// What all have found.
    pub findings: Findings,
    /// Seeds that failed, and why.
    pub failures: Vec<(u64, String)>,
}

impl Summary {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.steps += report.steps;
        self.simulated += report.simulated;
        self.faults.merge(&report.faults);
        match &report.result {
            Ok(findings) => self.findings.merge(findings),
            Err(what) => self.failures.push((report.seed, what.clone())),
        }
    }
}

/// Runs a range of seeds on so many threads, and calls `each` for every report, in no order. Ends early where `each` says
/// false.
pub fn run_all(seeds: Range<u64>, jobs: usize, is_verbose: bool, each: impl Fn(&Report) -> bool + Sync) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds.end {
                return;
            }
            let report = run(seed, is_verbose);
            summary.lock().unwrap_or_else(PoisonError::into_inner).add(&report);
            if !each(&report) {
                next.store(seeds.end, Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.failures.sort_unstable();
    summary
}
