//! The spool over a disk that fails, is full, and loses power at any step: what was pushed counts once, or is known as lost.
//!
//! `MARTLET_SPOOL_SEEDS=A..B` runs other seeds than the built-in ones.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use common::{Ledger, ORIGIN, push, try_drain};
use martlet_journal::simulated::{Crash, Disk, Faults, Machine};
use martlet_observe::batch::BatchSink;
use martlet_sensor::spool::{self, AtCap, Outlet, SpoolFigures, SpoolSettings, SpoolWriter};
use martlet_wire::v1::Totals;
use rand::{Rng, SeedableRng, rngs::StdRng};

struct Run {
    chance: StdRng,
    machine: Machine,
    settings: SpoolSettings,
    ledger: Ledger,
    /// Packets of the batches that must count, and of those that may.
    certain: BTreeSet<u64>,
    possible: BTreeSet<u64>,
    next: u64,
    epoch: u64,
    crashes: u64,
}

struct Life {
    writer: SpoolWriter<Disk>,
    outlet: Outlet<Disk>,
    figures: Arc<SpoolFigures>,
}

impl Run {
    fn new(seed: u64, has_faults: bool) -> Run {
        let mut chance = StdRng::seed_from_u64(seed);
        let machine = Machine::new(chance.random());
        if has_faults {
            let mut rate = || [0, 0, 3_000, 30_000][chance.random_range(0..4)];
            machine.set_faults(Faults {
                read_error: rate(),
                short_read: rate(),
                write_error: rate(),
                short_write: rate(),
                no_space: rate(),
                sync_error: rate(),
                directory_error: rate(),
                ..Faults::default()
            });
        }
        let settings = SpoolSettings {
            max_bytes: 1 << 20,
            at_cap: AtCap::DropOldest,
            segment_bytes: chance.random_range(400..4000),
            reserve_bytes: 0,
        };
        Run {
            chance,
            machine,
            settings,
            ledger: Ledger::default(),
            certain: BTreeSet::new(),
            possible: BTreeSet::new(),
            next: 0,
            epoch: 0,
            crashes: 0,
        }
    }

    fn restart(&mut self) {
        self.crashes += 1;
        let crash = if self.chance.random_ratio(1, 3) { Crash::Process } else { Crash::Power };
        self.machine.restart(crash);
    }

    fn open(&mut self) -> Life {
        for _ in 0..10_000 {
            let figures = Arc::new(SpoolFigures::default());
            self.epoch += 1000;
            let mut epoch = self.epoch;
            let draw = Box::new(move || {
                epoch += 1;
                epoch
            });
            match spool::open(self.machine.disk("spool"), ORIGIN, self.settings, figures.clone(), draw) {
                Ok((writer, outlet, found)) => {
                    assert_eq!(found.damaged, 0, "{found:?}");
                    return Life { writer, outlet, figures };
                }
                Err(_) if self.machine.is_down() => self.restart(),
                Err(_) => {}
            }
        }
        panic!("it never opens");
    }

    fn push(&mut self, life: &mut Life) {
        let dropped = life.figures.dropped_batches.load(Relaxed);
        let packets = 10 + self.next;
        push(&mut life.writer, self.next);
        self.next += 1;
        let kept = dropped == life.figures.dropped_batches.load(Relaxed) && !self.machine.is_down();
        if kept {
            self.certain.insert(packets)
        } else {
            self.possible.insert(packets)
        };
    }

    fn work(&mut self) {
        let mut life = self.open();
        if self.chance.random_ratio(2, 3) {
            self.machine.crash_after(self.chance.random_range(0..200));
        }
        for _ in 0..self.chance.random_range(1..40) {
            if self.machine.is_down() {
                break;
            }
            match self.chance.random_range(0..10) {
                0..5 => self.push(&mut life),
                5..8 => {
                    let frames = self.chance.random_range(0..20);
                    // A disk that cannot be read now can later.
                    let _ = try_drain(&mut life.outlet, &mut self.ledger, frames);
                }
                8 => life.writer.tend(),
                _ => {
                    // Somebody else went on with the stream: allowed only where all acknowledgements were heard.
                    if try_drain(&mut life.outlet, &mut self.ledger, u64::MAX).is_ok() {
                        self.push(&mut life);
                        // None if it is left already, and could not be moved yet.
                        let live = life.writer.place().epoch;
                        if life.outlet.standing(live).is_some() {
                            life.outlet.fork(live);
                        }
                        life.writer.tend();
                    }
                }
            }
        }
        if self.chance.random_ratio(1, 4) {
            life.writer.close();
            drop(life.outlet);
            life.writer.finish();
        }
        if !self.machine.is_down() {
            self.machine.crash();
        }
        self.restart();
    }

    /// Everything is well again: what is held is delivered.
    fn finish(&mut self) {
        self.machine.set_faults(Faults::default());
        let mut life = self.open();
        try_drain(&mut life.outlet, &mut self.ledger, u64::MAX).unwrap();
        life.writer.tend();
        assert_eq!(life.outlet.epochs().len(), 1);
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("MARTLET_SPOOL_SEEDS") else { return 0..400 };
    let (from, to) = text.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn what_was_pushed_counts_once_whatever_the_disk_does() {
    let (mut crashes, mut batches) = (0, 0);
    for seed in seeds() {
        let has_faults = seed % 2 == 1;
        let mut run = Run::new(seed, has_faults);
        for _ in 0..8 {
            run.work();
        }
        run.finish();
        let counted: BTreeSet<u64> = run.ledger.counted.iter().copied().collect();
        assert_eq!(counted.len(), run.ledger.counted.len(), "seed {seed}: counted twice");
        let missing: Vec<_> = run.certain.difference(&counted).collect();
        assert!(missing.is_empty(), "seed {seed}: {missing:?} do not count");
        assert!(counted.is_subset(&run.certain.union(&run.possible).copied().collect()), "seed {seed}");
        // Only what found no place on the disk may be called lost.
        let possible: u64 = run.possible.iter().sum();
        assert!(run.ledger.lost.packets <= possible, "seed {seed}: {:?}", run.ledger.lost);
        if !has_faults {
            assert_eq!(run.ledger.lost, Totals::default(), "seed {seed}");
        }
        crashes += run.crashes;
        batches += run.next;
    }
    println!("{batches} batches, {crashes} crashes");
}

#[test]
fn a_full_disk_costs_the_oldest_and_the_loss_is_exact() {
    let machine = Machine::new(1);
    let settings =
        SpoolSettings { max_bytes: 1 << 20, at_cap: AtCap::DropOldest, segment_bytes: 4096, reserve_bytes: 64 << 10 };
    machine.set_capacity(112 << 10);
    let open = || common::open(&machine.disk("spool"), settings, 100);
    let mut spool = open();
    let mut all: Vec<Totals> = (0..300).map(|n| push(&mut spool.writer, n)).collect();
    let dropped = spool.figures.dropped_in_all();
    assert!(dropped.batches > 150 && !spool.figures.disk_full.load(Relaxed), "{dropped:?}");
    // Somebody else takes the rest: more than dropping could free.
    machine.set_free(0);
    all.extend((300..310).map(|n| push(&mut spool.writer, n)));
    assert!(spool.figures.disk_full.load(Relaxed));
    let dropped = spool.figures.dropped_in_all();
    machine.set_free(100 << 10);
    all.extend((310..320).map(|n| push(&mut spool.writer, n)));
    assert!(!spool.figures.disk_full.load(Relaxed));
    assert_eq!(spool.figures.dropped_in_all(), dropped);

    let mut ledger = Ledger::default();
    try_drain(&mut spool.outlet, &mut ledger, u64::MAX).unwrap();
    assert_eq!(ledger.lost, dropped.held);
    assert_eq!(ledger.streams[&100].totals, common::sum(&all));
    assert_eq!(ledger.counted.last_chunk::<10>().unwrap(), &std::array::from_fn(|n| 320 + n as u64));
    // Ten batches had no sequence number; one stands for them.
    assert_eq!(ledger.streams[&100].expected, 320 - 10 + 1);
}
