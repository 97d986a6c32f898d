//! Many seeded worlds in which everything goes wrong: each batch is counted once, or is counted as lost.

use martlet_tests::simulation::campaign::{run, run_all};

/// As many as fit into a minute or so of two slow cores.
const SEEDS: u64 = 2500;

#[test]
fn each_batch_counts_once_whatever_happens() {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let summary = run_all(0..SEEDS, jobs, false, |report| {
        if let Err(what) = &report.result {
            println!("seed {}: {what}", report.seed);
        }
        true
    });
    println!("{} seeds, {} steps, {} faults", summary.seeds, summary.steps, summary.faults.total());
    assert_eq!(summary.failures, []);
    // A simulation in which nothing happens proves nothing.
    assert!(summary.findings.counted > 100 * SEEDS / 2 && summary.faults.total() > 20 * SEEDS);
    for kind in [
        "collector: killed at a step of its disk",
        "sensor: killed at a step of its disk",
        "disk: unsynced writes lost",
        "disk: failed syncs",
        "disk: bits flipped, synced",
        "net: cut inside a frame",
        "net: all of a connection comes again",
        "sensor: an old backup restored",
        "sensor: machine copied",
    ] {
        assert!(summary.faults.of(kind) > 10, "{kind}: {}", summary.faults.of(kind));
    }
}

#[test]
fn a_seed_gives_the_same_world_each_time() {
    for seed in 0..20 {
        let [a, b] = [run(seed, false), run(seed, false)];
        assert_eq!((a.fingerprint, a.steps, a.faults), (b.fingerprint, b.steps, b.faults), "seed {seed}");
    }
}
