//! Crashes, failing syncs, full disks and flipped bits at any step, against a model.
//!
//! `MARTLET_JOURNAL_SEEDS=A..B` runs other seeds than the built-in ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use martlet_journal::{
    AppendError, Item, Journal, Recovery, Settings,
    simulated::{Crash, Disk, Fault, Faults, Injected, Machine, Operation},
};

const DIRECTORY: &str = "journal";

/// SplitMix64, as in the simulation but drawn from separately.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.index(items.len())]
    }
}

/// What must be true, kept without looking at the journal's files.
#[derive(Default)]
struct Model {
    /// Every payload ever offered under a number.
    offered: BTreeMap<u64, BTreeSet<Vec<u8>>>,
    /// What the journal said is durable, and what was found when opening.
    durable: BTreeMap<u64, Vec<u8>>,
    /// Appended and not durable.
    pending: Vec<(u64, Vec<u8>)>,
    /// Records below may be gone.
    floor: u64,
    /// A drop was cut short by a crash: the oldest segment may be gone.
    dropping: bool,
    /// Synced bits that were flipped and may not have shown yet: each may take one record.
    flips: u64,
    /// Payloads made so far, so that each is another.
    payloads: u64,
}

struct Run {
    random: Random,
    machine: Machine,
    settings: Settings,
    model: Model,
    log: Vec<String>,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut random = Random(seed);
        let segment_bytes = 100 + random.below(3000);
        let settings = Settings { segment_bytes, max_record_bytes: 1500, reserve_bytes: random.below(2) * 4096 };
        let rate = |random: &mut Random| random.pick(&[0, 0, 5_000, 40_000]);
        let faults = Faults {
            read_error: rate(&mut random),
            short_read: rate(&mut random),
            write_error: rate(&mut random),
            short_write: rate(&mut random),
            no_space: rate(&mut random),
            sync_error: rate(&mut random),
            directory_error: rate(&mut random),
            flip_unsynced: rate(&mut random),
        };
        let machine = Machine::new(random.next());
        machine.set_faults(faults);
        Run { random, machine, settings, model: Model::default(), log: Vec::new() }
    }

    /// Opens until it succeeds, crashing on the way now and then, and checks what comes out.
    fn open(&mut self) -> (Journal<Disk>, Recovery) {
        loop {
            let mut seen = Vec::new();
            let disk = self.machine.disk(DIRECTORY);
            let result =
                Journal::open(disk, self.settings, &mut |number, payload| seen.push((number, payload.to_vec())));
            match result {
                Ok((journal, recovery)) => {
                    self.check_opened(&journal, recovery, seen);
                    return (journal, recovery);
                }
                Err(error) if self.machine.is_down() => {
                    self.log.push(format!("crash while opening: {error}"));
                    self.restart();
                }
                Err(error) => self.log.push(format!("cannot open: {error}")),
            }
            assert!(self.log.len() < 5000, "it never opens");
        }
    }

    fn restart(&mut self) {
        let crash = if self.random.below(3) == 0 { Crash::Process } else { Crash::Power };
        self.log.push(format!("restart {crash:?}"));
        self.machine.restart(crash);
        if self.random.below(3) == 0 {
            self.machine.crash_after(self.random.below(12));
        }
    }

    fn check_opened(&mut self, journal: &Journal<Disk>, recovery: Recovery, seen: Vec<(u64, Vec<u8>)>) {
        let model = &mut self.model;
        self.log.push(format!("opened {}..{} {recovery:?}", journal.first(), journal.next()));
        assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "out of order");
        assert_eq!(recovery.records, seen.len() as u64);
        assert_eq!(journal.durable(), journal.next());
        if recovery.quarantined == 0 {
            assert_eq!(recovery.missing, journal.next() - journal.first() - recovery.records);
        }
        for (number, payload) in &seen {
            assert!((journal.first()..journal.next()).contains(number));
            let offered = model.offered.get(number).is_some_and(|offered| offered.contains(payload));
            assert!(offered, "record {number} was never appended like this");
            if let Some(durable) = model.durable.get(number) {
                assert_eq!(durable, payload, "record {number} is not the one that was synced");
            }
        }
        let seen: BTreeMap<u64, Vec<u8>> = seen.into_iter().collect();
        let floor = model.floor;
        if std::mem::take(&mut model.dropping) {
            while let Some(entry) = model.durable.first_entry()
                && !seen.contains_key(entry.key())
            {
                entry.remove();
            }
        }
        let lost: Vec<u64> = model.durable.range(floor..).map(|(&n, _)| n).filter(|n| !seen.contains_key(n)).collect();
        assert!(lost.len() as u64 <= model.flips, "durable records {lost:?} are gone, {} flips", model.flips);
        model.flips -= lost.len() as u64;
        if model.flips == 0 && lost.is_empty() {
            let next = model.durable.last_key_value().map_or(0, |(&last, _)| last + 1);
            assert!(journal.next() >= next, "{} is before {next}", journal.next());
        }
        // What survived without having been promised is durable from now on.
        model.durable = seen;
        model.pending.clear();
        model.floor = model.floor.max(journal.first());
    }

    fn append(&mut self, journal: &mut Journal<Disk>) {
        let length = if self.random.below(8) == 0 { self.random.below(1500) } else { self.random.below(60) };
        self.model.payloads += 1;
        let mut payload = self.model.payloads.to_le_bytes().to_vec();
        // Heads and whole records inside payloads must not be taken for records.
        payload.extend((0..length).map(|_| if length % 2 == 0 { 0 } else { self.random.next().to_le_bytes()[0] }));
        let number = journal.next();
        self.model.offered.entry(number).or_default().insert(payload.clone());
        let (left, right) = payload.split_at(self.random.index(payload.len()));
        match journal.append(&[left, right]) {
            Ok(got) => {
                assert_eq!(got, number);
                assert_eq!(journal.next(), number + 1);
                self.model.pending.push((number, payload));
                // A segment that was full made the ones before durable.
                self.promise(journal.durable());
            }
            Err(AppendError::TooLarge { length, .. }) => assert!(length > 1500),
            Err(AppendError::Full { free, needed }) => assert!(free < needed && journal.next() == number),
            Err(AppendError::Io(error)) => {
                self.log.push(format!("append {number}: {error}"));
                self.promise(journal.durable());
                assert_eq!(journal.next(), journal.durable());
                self.model.pending.clear();
            }
        }
    }

    /// The journal says that records below `durable` are.
    fn promise(&mut self, durable: u64) {
        let model = &mut self.model;
        let kept = model.pending.iter().position(|&(number, _)| number >= durable).unwrap_or(model.pending.len());
        model.durable.extend(model.pending.drain(..kept));
    }

    fn sync(&mut self, journal: &mut Journal<Disk>) {
        let before = journal.durable();
        match journal.sync() {
            Ok(durable) => {
                assert_eq!((durable, journal.durable()), (journal.next(), journal.next()));
                self.promise(durable);
                assert!(self.model.pending.is_empty());
            }
            Err(error) => {
                self.log.push(format!("sync: {error}"));
                assert_eq!((journal.durable(), journal.next()), (before, before));
                self.model.pending.clear();
            }
        }
    }

    fn read(&mut self, journal: &Journal<Disk>) {
        let from = journal.first() + self.random.below(journal.durable() - journal.first() + 1);
        let mut reader = journal.reader(from).unwrap();
        let (mut buffer, mut number) = (Vec::new(), from);
        loop {
            assert_eq!(reader.position(), number);
            match reader.next(&mut buffer) {
                Ok(Item::Record(got)) => {
                    assert_eq!(got, number);
                    assert_eq!(self.model.durable.get(&number), Some(&buffer), "record {number}");
                    number += 1;
                }
                Ok(Item::Damaged(range)) => {
                    assert_eq!(range.start, number);
                    let there = self.model.durable.range(range.clone()).count() as u64;
                    assert!(there <= self.model.flips, "{range:?} cannot be read although {there} should be there");
                    number = range.end;
                }
                Ok(Item::End) => break,
                Err(_) if self.machine.is_down() => return,
                Err(_) => {}
            }
        }
        assert_eq!(number, journal.durable());
    }

    fn give_up(&mut self, journal: &mut Journal<Disk>) {
        if self.random.below(2) == 0 {
            let below = journal.first() + self.random.below(journal.durable() - journal.first() + 1);
            self.model.floor = self.model.floor.max(below);
            let _ = journal.release(below);
            assert!(journal.first() <= below);
        } else {
            let before = (journal.first(), journal.next());
            let result = journal.drop_oldest();
            self.log.push(format!("drop oldest: {result:?}"));
            self.promise(journal.durable());
            if let Ok(Some(range)) = &result {
                assert!(range.start >= before.0 && !range.is_empty());
                assert!(journal.first() >= range.end);
            }
            self.model.dropping |= self.machine.is_down();
            if journal.next() < before.1 {
                assert!(result.is_err());
                self.model.pending.clear();
            }
        }
        // Whatever was said, what is gone from the journal's own view was given up here.
        self.model.floor = self.model.floor.max(journal.first());
    }

    fn turn(&mut self, journal: &mut Journal<Disk>) {
        match self.random.below(24) {
            0..=11 => self.append(journal),
            12..=16 => self.sync(journal),
            17 => self.read(journal),
            18 => self.give_up(journal),
            19 if self.random.below(8) == 0 => {
                let number = journal.next() + self.random.below(5);
                let result = journal.advance(number);
                self.log.push(format!("advance to {number}: {result:?}"));
                self.promise(journal.durable());
                assert!(result.is_err() || journal.next() == number);
                if result.is_err() {
                    self.model.pending.clear();
                }
            }
            19 => self.machine.set_free(self.random.below(12_000)),
            20 => self.machine.set_capacity(1 << 40),
            21 => self.machine.crash_after(self.random.below(20)),
            22 => {
                const OPERATIONS: [Operation; 4] =
                    [Operation::Sync, Operation::Write, Operation::SetLength, Operation::SyncDirectory];
                let fault = self.random.pick(&[Fault::Error, Fault::NoSpace]);
                self.machine.request(self.random.pick(&OPERATIONS), fault);
            }
            _ => {
                // Only in some runs: a flip excuses a lost record from then on.
                if self.settings.segment_bytes.is_multiple_of(3)
                    && self.random.below(3) == 0
                    && self.machine.flip_synced().is_some()
                {
                    self.log.push("flip".to_owned());
                    self.model.flips += 1;
                }
            }
        }
    }

    fn run(&mut self) {
        for _ in 0..2 + self.random.below(8) {
            let (mut journal, _) = self.open();
            for _ in 0..self.random.below(60) {
                self.turn(&mut journal);
                if self.machine.is_down() {
                    break;
                }
            }
            drop(journal);
            if self.machine.is_down() || self.random.below(3) > 0 {
                self.restart();
            }
        }
        // With a disk that works again, and room on it, everything works at once.
        self.machine.set_faults(Faults::default());
        self.machine.set_capacity(1 << 40);
        self.machine.restart(Crash::Power);
        let (mut journal, _) = self.open();
        let next = journal.next();
        assert_eq!(journal.append(&[b"works"]).unwrap(), next);
        assert_eq!(journal.sync().unwrap(), next + 1);
        self.model.durable.insert(next, b"works".to_vec());
        self.model.offered.entry(next).or_default().insert(b"works".to_vec());
        self.read(&journal);
        drop(journal);
        self.machine.restart(Crash::Power);
        let (journal, _) = self.open();
        assert_eq!(journal.next(), next + 1);
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("MARTLET_JOURNAL_SEEDS") else { return 0..10_000 };
    let (from, to) = text.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn nothing_durable_is_lost_and_nothing_appears() {
    let mut injected = Injected::default();
    let mut steps = 0;
    for seed in seeds() {
        let mut run = Run::new(seed);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.run()));
        if let Err(panic) = result {
            for line in &run.log {
                println!("{line}");
            }
            println!("failed with MARTLET_JOURNAL_SEEDS={seed}..{}", seed + 1);
            std::panic::resume_unwind(panic);
        }
        injected = injected.plus(run.machine.injected());
        steps += run.machine.steps();
    }
    println!("{} seeds, {steps} steps, {injected:#?}", seeds().count());
}

/// The same seed takes the same steps and meets the same faults.
#[test]
fn a_run_can_be_repeated() {
    let outcome = |seed| {
        let mut run = Run::new(seed);
        run.run();
        (run.log, run.machine.steps(), run.machine.injected(), run.machine.image())
    };
    for seed in 0..20 {
        assert_eq!(outcome(seed), outcome(seed));
    }
}
