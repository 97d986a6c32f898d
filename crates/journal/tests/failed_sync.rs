//! Records that a failed sync took back never come again, although the page cache shows them as intact.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use martlet_journal::{
    Item, Journal, Settings,
    simulated::{Crash, Disk, Fault, Machine, Operation},
};

const SETTINGS: Settings = Settings { segment_bytes: 4096, max_record_bytes: 100, reserve_bytes: 0 };

fn open(machine: &Machine) -> (Journal<Disk>, Vec<(u64, Vec<u8>)>) {
    let mut seen = Vec::new();
    let visit = &mut |number, payload: &[u8]| seen.push((number, payload.to_vec()));
    let (journal, _) = Journal::open(machine.disk("journal"), SETTINGS, visit).unwrap();
    (journal, seen)
}

/// One durable record, and one that a failed sync took back but that could not be cut off.
fn with_a_failed_sync(machine: &Machine) -> Journal<Disk> {
    let (mut journal, _) = open(machine);
    journal.append(&[b"kept"]).unwrap();
    journal.sync().unwrap();
    journal.append(&[b"taken back"]).unwrap();
    machine.request(Operation::Sync, Fault::Error);
    machine.request(Operation::SetLength, Fault::Error);
    journal.sync().unwrap_err();
    assert_eq!((journal.next(), journal.durable()), (1, 1));
    journal
}

fn record(number: u64, payload: &[u8]) -> (u64, Vec<u8>) {
    (number, payload.to_vec())
}

#[test]
fn the_next_record_takes_the_number() {
    for seed in 0..50 {
        for crash in [Crash::Process, Crash::Power] {
            let machine = Machine::new(seed);
            let mut journal = with_a_failed_sync(&machine);
            let mut reader = journal.reader(0).unwrap();
            assert_eq!(journal.append(&[b"again"]).unwrap(), 1);
            journal.sync().unwrap();
            let mut buffer = Vec::new();
            assert_eq!(reader.next(&mut buffer).unwrap(), Item::Record(0));
            assert_eq!(reader.next(&mut buffer).unwrap(), Item::Record(1));
            assert_eq!(buffer, b"again");
            machine.restart(crash);
            assert_eq!(open(&machine).1, [record(0, b"kept"), record(1, b"again")]);
        }
    }
}

#[test]
fn going_on_at_a_higher_number_does_not_bring_it_back() {
    for seed in 0..50 {
        for crash in [Crash::Process, Crash::Power] {
            let machine = Machine::new(seed);
            let mut journal = with_a_failed_sync(&machine);
            journal.advance(5).unwrap();
            machine.restart(crash);
            let (journal, seen) = open(&machine);
            assert_eq!((seen, journal.next()), (vec![record(0, b"kept")], 5));
        }
    }
}

#[test]
fn what_opening_shows_survives_the_next_loss_of_power() {
    for seed in 0..200 {
        let machine = Machine::new(seed);
        drop(with_a_failed_sync(&machine));
        machine.restart(Crash::Process);
        let (journal, seen) = open(&machine);
        assert_eq!(journal.durable(), seen.len() as u64);
        machine.restart(Crash::Power);
        assert_eq!(open(&machine).1, seen);
    }
}

#[test]
fn the_name_of_a_segment_is_durable_before_its_records() {
    for seed in 0..50 {
        let machine = Machine::new(seed);
        let (mut journal, _) = open(&machine);
        journal.append(&[b"kept"]).unwrap();
        journal.sync().unwrap();
        machine.restart(Crash::Power);
        assert_eq!(open(&machine).1, [record(0, b"kept")]);
    }
}
