//! Whatever ends a collector, wherever it is: each batch counts once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::simulated::{Contents, Life, Sensor, World, contents};
use common::{Spool, TEN, sorted, tcp_scan};
use martlet_journal::simulated::{Crash, Faults, Injected};
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
    let mut steps = 0;
    while !sensors.iter().all(Sensor::is_done) {
        world.step(life, sensors, true);
        steps += 1;
        assert!(steps < 5000, "it does not come to an end");
    }
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

/// A run of crashes and faults, then one without until everything is committed: how the machine fared.
fn disturbed(seed: u64, batches: i64, expected: &Contents) -> (u64, Injected) {
    let mut random = Random(seed);
    let world = World::new(seed, |_| {});
    let mut sensors = sensors(batches);
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
    world.machine.set_faults(if seed.is_multiple_of(2) { faults } else { Faults::default() });
    for _ in 0..3 + random.below(6) {
        world.machine.crash_after(random.below(120));
        let mut life = None;
        for _ in 0..20 + random.below(300) {
            match life.as_mut() {
                None => life = world.start(),
                // Between a cut and its commit, any number of other things may happen.
                Some(running) => world.step(running, &mut sensors, random.below(4) == 0),
            }
            if world.machine.is_down() {
                break;
            }
        }
        let how = if random.below(2) == 0 { Crash::Power } else { Crash::Process };
        world.crash(life, &mut sensors, how);
    }
    let fared = (world.machine.steps(), world.machine.injected());
    world.machine.set_faults(Faults::default());
    let mut last = world.start().unwrap();
    run_until_done(&world, &mut last, &mut sensors);
    assert_eq!(&contents(&last.pipeline.publish()), expected, "seed {seed}");
    world.crash(Some(last), &mut sensors, Crash::Power);
    let mut again = world.start().unwrap();
    world.settle(&mut again, &mut []);
    assert_eq!(&contents(&again.pipeline.publish()), expected, "seed {seed}, after one more start");
    fared
}

#[test]
fn a_crash_at_any_step_of_the_disk_counts_each_batch_once() {
    let expected = undisturbed(40);
    let mut injected = Injected::default();
    for seed in 0..400 {
        injected = injected.plus(disturbed(seed, 40, &expected).1);
    }
    println!("{injected:?}");
    assert!(injected.power_losses > 500 && injected.process_crashes > 500 && injected.sync_errors > 20);
}

#[test]
fn a_seed_always_does_the_same() {
    let expected = undisturbed(40);
    for seed in 1000..1030 {
        assert_eq!(disturbed(seed, 40, &expected), disturbed(seed, 40, &expected), "seed {seed}");
    }
}

/// A world in which nothing is committed by itself, with everything of its sensors journaled.
fn journaled(batches: i64) -> (World, Vec<Sensor>) {
    let world = World::new(1, |config| config.store.commit_interval_ms = 600_000);
    let mut sensors = sensors(batches);
    let mut life = world.start().unwrap();
    world.settle(&mut life, &mut sensors);
    assert!(sensors.iter().all(|sensor| sensor.journaled == batches.unsigned_abs() && sensor.committed == 0));
    world.crash(Some(life), &mut sensors, Crash::Power);
    (world, sensors)
}

#[test]
fn a_journal_damaged_at_any_byte_is_replayed_as_far_as_it_is_intact_and_the_rest_is_asked_for() {
    const BATCHES: i64 = 4;
    let expected = undisturbed(BATCHES);
    let (whole, _) = journaled(BATCHES);
    let image = whole.machine.image();
    let files = image.files("journal").unwrap().clone();
    let (mut damages, mut renamed) = (0, 0);
    for (name, bytes) in &files {
        for offset in 0..bytes.len() {
            let world = World::new(1, |_| {});
            world.machine.load(&image);
            assert!(world.machine.damage("journal", name, u64::try_from(offset).unwrap(), 0x55));
            let mut sensors = sensors(BATCHES);
            sensors.iter_mut().for_each(|sensor| sensor.journaled = BATCHES.unsigned_abs());
            let mut life = world.start().unwrap();
            world.settle(&mut life, &mut []);
            // One byte damages one record: what is behind it in its stream waits for it.
            let batches = life.pipeline.publish().class(TrafficClass::Real).totals.batches;
            assert!(batches >= 3 * BATCHES.unsigned_abs() - 4, "{batches} batches left, damage at {offset}");
            run_until_done(&world, &mut life, &mut sensors);
            let contents = contents(&life.pipeline.publish());
            if contents.names() == expected.names() {
                assert_eq!(contents, expected, "damage at {offset}");
            } else {
                // A name was lost and given again: its sensor has another number now, which buckets name.
                assert_eq!(contents.totals(), expected.totals(), "damage at {offset}");
                renamed += 1;
            }
            damages += 1;
        }
    }
    println!("{damages} damages, {renamed} of them to a name");
    assert!(damages > 2000 && renamed < 200);
}

#[test]
fn a_journal_cut_off_at_any_length_is_replayed_as_far_as_it_goes() {
    const BATCHES: i64 = 3;
    let expected = undisturbed(BATCHES);
    let (whole, _) = journaled(BATCHES);
    let image = whole.machine.image();
    let (name, bytes) = image.files("journal").unwrap().first_key_value().unwrap();
    for length in (0..bytes.len()).step_by(3) {
        let mut cut = image.clone();
        cut.files_mut("journal").get_mut(name).unwrap().truncate(length);
        let world = World::new(1, |_| {});
        world.machine.load(&cut);
        let mut sensors = sensors(BATCHES);
        sensors.iter_mut().for_each(|sensor| sensor.journaled = BATCHES.unsigned_abs());
        let mut life = world.start().unwrap();
        run_until_done(&world, &mut life, &mut sensors);
        assert_eq!(contents(&life.pipeline.publish()), expected, "cut off at {length}");
    }
}

#[test]
fn a_journal_that_is_gone_costs_nothing_that_was_committed() {
    let expected = undisturbed(40);
    let world = World::new(1, |_| {});
    let mut all = sensors(40);
    let mut some = sensors(40);
    some.iter_mut().for_each(|sensor| sensor.frames.truncate(25));
    let mut life = world.start().unwrap();
    run_until_done(&world, &mut life, &mut some);
    world.crash(Some(life), &mut some, Crash::Power);
    let mut image = world.machine.image();
    image.files_mut("journal").clear();
    world.machine.load(&image);
    // New records must not look as if they were committed.
    for (sensor, committed) in all.iter_mut().zip(&some) {
        (sensor.committed, sensor.journaled) = (committed.committed, committed.journaled);
    }
    for batches in [30, 40] {
        let mut life = world.start().unwrap();
        let mut more = sensors(40);
        for (sensor, known) in more.iter_mut().zip(&all) {
            (sensor.committed, sensor.journaled) = (known.committed, known.journaled);
            sensor.frames.truncate(batches);
        }
        world.settle(&mut life, &mut more);
        world.crash(Some(life), &mut more, Crash::Power);
        all = more;
    }
    let mut life = world.start().unwrap();
    world.settle(&mut life, &mut []);
    assert_eq!(contents(&life.pipeline.publish()), expected);
}
