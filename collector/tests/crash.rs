//! Whatever ends a collector, wherever it is: each batch counts once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::simulated::{Contents, Life, Sensor, World, contents};
use common::{Spool, TEN, sorted, tcp_scan};
use martlet_journal::simulated::{Crash, Faults};
use martlet_window::TrafficClass;

/// A small generator of our own (SplitMix64), so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % bound
    }
}

fn sensors(batches: i64) -> Vec<Sensor> {
    let make = |(origin, name): (u8, &str)| {
        let mut spool = Spool::new(origin, u64::from(origin) << 60, name);
        let frames = (0..batches).map(|n| {
            let source = u32::from(origin) * 100 + u32::try_from(n).unwrap();
            let rows = vec![tcp_scan(23, source, 1 + u32::from(origin)), tcp_scan(80, source % 7, 2)];
            spool.batch(TEN + 10 * n, &sorted(rows))
        });
        let frames = frames.collect();
        Sensor::new(&spool, frames)
    };
    [(1, "alpha"), (2, "beta"), (3, "gamma")].map(make).into()
}

fn run_until_done(world: &World, life: &mut Life, sensors: &mut [Sensor]) {
    for _ in 0..5000 {
        if sensors.iter().all(Sensor::is_done) {
            return;
        }
        world.step(life, sensors, true);
    }
    panic!("it does not come to an end");
}

/// What is counted when nothing goes wrong.
fn undisturbed(batches: i64) -> Contents {
    let world = World::new(0, |_| {});
    let mut sensors = sensors(batches);
    let mut life = world.start().unwrap();
    run_until_done(&world, &mut life, &mut sensors);
    let view = life.pipeline.publish();
    let totals = view.class(TrafficClass::Real).totals;
    assert_eq!(totals.batches, 3 * batches.unsigned_abs());
    assert_eq!(totals.packets, batches.unsigned_abs() * (2 + 3 + 4 + 6));
    assert_eq!(sensors.iter().map(|sensor| sensor.set_back).sum::<u64>(), 0);
    contents(&view)
}

#[test]
fn a_crash_at_any_step_of_the_disk_counts_each_batch_once() {
    const BATCHES: i64 = 40;
    let expected = undisturbed(BATCHES);
    let (mut crashes, mut lives, mut injected) = (0, 0u64, 0);
    for seed in 0..400u64 {
        let mut random = Random(seed);
        let world = World::new(seed, |_| {});
        let mut sensors = sensors(BATCHES);
        let faults = Faults {
            read_error: 5_000,
            short_read: 50_000,
            write_error: 5_000,
            short_write: 20_000,
            no_space: 5_000,
            sync_error: 10_000,
            directory_error: 5_000,
            flip_unsynced: 100_000,
        };
        world.machine.set_faults(if seed % 2 == 0 { faults } else { Faults::default() });
        let mut life = None;
        for _ in 0..3 + random.below(6) {
            world.machine.crash_after(random.below(120));
            for _ in 0..20 + random.below(300) {
                let Some(running) = life.as_mut() else {
                    life = world.start();
                    lives += 1;
                    if world.machine.is_down() {
                        break;
                    }
                    continue;
                };
                // Between a cut and its commit, any number of other things may happen.
                world.step(running, &mut sensors, random.below(4) == 0);
                if world.machine.is_down() {
                    break;
                }
            }
            crashes += 1;
            let how = if random.below(2) == 0 { Crash::Power } else { Crash::Process };
            match life.take() {
                Some(running) => world.crash(running, &mut sensors, how),
                None => {
                    world.machine.crash();
                    world.machine.restart(how);
                }
            }
        }
        injected += world.machine.injected().total();
        world.machine.set_faults(Faults::default());
        let mut last = world.start().unwrap();
        run_until_done(&world, &mut last, &mut sensors);
        let view = last.pipeline.publish();
        assert_eq!(contents(&view), expected, "seed {seed}");
        drop(last);
        // And once more from the store alone.
        sensors.iter_mut().for_each(Sensor::hang_up);
        let mut again = world.start().unwrap();
        world.settle(&mut again, &mut []);
        assert_eq!(contents(&again.pipeline.publish()), expected, "seed {seed}, from the store");
    }
    println!("{crashes} crashes, {lives} lives, {injected} faults");
}
