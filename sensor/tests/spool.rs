//! The spool over its real format: restarts, damage, quotas, copies.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::sync::atomic::Ordering::Relaxed;

use common::{Ledger, TEN, disk_of, drain, image, open, push, push_rows, sum};
use martlet_journal::{Disk, DiskFile, RealDisk};
use martlet_sensor::spool::{AtCap, MemoryDisk, SpoolSettings};
use martlet_wire::v1::Totals;

/// Two or three of the tests' small batches to a segment.
const SMALL: SpoolSettings =
    SpoolSettings { max_bytes: 1 << 20, at_cap: AtCap::DropOldest, segment_bytes: 1200, reserve_bytes: 0 };

#[test]
fn what_is_delivered_is_deleted_and_what_is_not_waits_for_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(directory.path().join("spool")).unwrap();
    let mut ledger = Ledger::default();
    let mut spool = open(&disk, SMALL, 100);
    assert_eq!(spool.found, martlet_sensor::spool::Found::default());
    (0..5).for_each(|n| _ = push(&mut spool.writer, n));
    drain(&mut spool.outlet, &mut ledger);
    assert_eq!(ledger.counted, [10, 11, 12, 13, 14]);
    (5..12).for_each(|n| _ = push(&mut spool.writer, n));
    assert_eq!(spool.figures.batches.load(Relaxed), 7);
    // Killed: nothing is closed, nothing finished.
    drop(spool);

    let mut spool = open(&disk, SMALL, 200);
    assert_eq!((spool.found.epochs, spool.found.damaged), (1, 0));
    assert!(spool.found.records >= 7);
    (12..14).for_each(|n| _ = push(&mut spool.writer, n));
    assert_eq!(spool.outlet.epochs(), [100, 200]);
    drain(&mut spool.outlet, &mut ledger);
    assert_eq!(ledger.counted, (10..24).collect::<Vec<_>>());
    assert_eq!((ledger.lost, ledger.duplicates), (Totals::default(), 0));
    spool.writer.tend();
    assert_eq!(spool.outlet.epochs(), [200], "a drained epoch is deleted");
    spool.writer.close();
    assert!(spool.outlet.is_done());
    drop(spool.outlet);
    spool.writer.finish();
    assert_eq!(image(&disk).len(), 0, "nothing is left");
}

#[test]
fn nothing_is_deleted_before_it_is_committed() {
    let disk = MemoryDisk::default();
    let mut ledger = Ledger { holds_back: true, ..Ledger::default() };
    let mut spool = open(&disk, SMALL, 100);
    (0..20).for_each(|n| _ = push(&mut spool.writer, n));
    let files = image(&disk).len();
    drain(&mut spool.outlet, &mut ledger);
    spool.writer.close();
    assert!(spool.outlet.is_done(), "journaled is enough to stop");
    drop(spool.outlet);
    spool.writer.finish();
    assert_eq!(image(&disk).len(), files);
    // The collector forgot the last ones: it crashed.
    ledger.streams.get_mut(&100).unwrap().expected = 15;
    ledger.streams.get_mut(&100).unwrap().predecessor = None;
    ledger.counted.truncate(15);
    ledger.holds_back = false;
    let mut spool = open(&disk, SMALL, 200);
    drain(&mut spool.outlet, &mut ledger);
    assert_eq!(ledger.counted, (10..30).collect::<Vec<_>>());
}

#[test]
fn a_restored_or_copied_spool_counts_once() {
    let disk = MemoryDisk::default();
    let mut ledger = Ledger::default();
    let mut spool = open(&disk, SMALL, 100);
    (0..6).for_each(|n| _ = push(&mut spool.writer, n));
    let backup = image(&disk);
    (6..9).for_each(|n| _ = push(&mut spool.writer, n));
    drain(&mut spool.outlet, &mut ledger);
    assert_eq!(ledger.counted.len(), 9);

    // Two machines start from the backup, and count on.
    for (first_epoch, first) in [(200, 20), (300, 30)] {
        let mut copy = open(&disk_of(&backup), SMALL, first_epoch);
        (first..first + 4).for_each(|n| _ = push(&mut copy.writer, n));
        drain(&mut copy.outlet, &mut ledger);
        copy.writer.tend();
        assert_eq!(copy.outlet.epochs(), [first_epoch]);
    }
    let expected: Vec<u64> = (10..19).chain(30..34).chain(40..44).collect();
    assert_eq!(ledger.counted, expected);
    assert_eq!(ledger.lost, Totals::default());
}

#[test]
fn of_two_machines_that_run_on_from_one_memory_neither_swallows_the_other() {
    // A copy of a running machine: the live epoch itself is shared.
    let disk = MemoryDisk::default();
    let mut ledger = Ledger::default();
    let mut original = open(&disk, SMALL, 100);
    let mut copy = open(&MemoryDisk::default(), SMALL, 100);
    for machine in [&mut original, &mut copy] {
        (0..3).for_each(|n| _ = push(&mut machine.writer, n));
    }
    drain(&mut original.outlet, &mut ledger);
    drain(&mut copy.outlet, &mut ledger);
    assert_eq!(ledger.counted, [10, 11, 12]);
    (3..8).for_each(|n| _ = push(&mut original.writer, n));
    drain(&mut original.outlet, &mut ledger);
    // Fewer, more, or as many as the other made meanwhile.
    (20..25).for_each(|n| _ = push(&mut copy.writer, n));
    drain(&mut copy.outlet, &mut ledger);
    assert_eq!(copy.figures.forks.load(Relaxed), 1);
    (25..27).for_each(|n| _ = push(&mut copy.writer, n));
    assert_eq!(copy.outlet.epochs(), [101]);
    drain(&mut copy.outlet, &mut ledger);
    let expected: Vec<u64> = (10..18).chain(30..37).collect();
    assert_eq!(ledger.counted, expected);
    assert_eq!((ledger.lost, ledger.duplicates), (Totals::default(), 0));
}

#[test]
fn a_copy_is_known_although_the_batch_to_compare_is_damaged() {
    let mut ledger = Ledger::default();
    let mut original = open(&MemoryDisk::default(), SMALL, 100);
    (0..5).for_each(|n| _ = push(&mut original.writer, n));
    drain(&mut original.outlet, &mut ledger);
    let disk = MemoryDisk::default();
    let mut copy = open(&disk, SMALL, 100);
    let held: Vec<Totals> = (20..26).map(|n| push(&mut copy.writer, n)).collect();
    // The collector has five of this epoch, and the fifth of ours is gone. The sixth says what it was.
    let frames = image(&disk).into_iter().flat_map(|(name, bytes)| {
        let starts: Vec<u64> = (0..).zip(bytes.windows(4)).filter(|it| it.1 == b"MRTL").map(|it| it.0).collect();
        starts.into_iter().map(move |start| (name.clone(), start))
    });
    let (name, start) = frames.into_iter().nth(4).unwrap();
    disk.open(&name).unwrap().write_at(&[0xff; 8], start).unwrap();
    drain(&mut copy.outlet, &mut ledger);
    copy.writer.tend();
    assert_eq!((copy.figures.forks.load(Relaxed), copy.outlet.epochs()), (1, vec![101]));
    drain(&mut copy.outlet, &mut ledger);
    assert_eq!(ledger.counted, (10..15).chain(30..34).chain([35]).collect::<Vec<_>>());
    assert_eq!(ledger.lost, held[4]);
}

#[test]
fn at_the_quota_the_oldest_go_and_the_loss_is_exact() {
    let settings = SpoolSettings { max_bytes: 8_000, ..SMALL };
    for (arrived, heard) in [(0, true), (1, true), (7, true), (12, true), (1, false), (7, false), (12, false)] {
        let disk = MemoryDisk::default();
        let mut ledger = Ledger::default();
        let mut spool = open(&disk, settings, 100);
        let mut held: Vec<Totals> = (0..arrived).map(|n| push(&mut spool.writer, n)).collect();
        if heard {
            drain(&mut spool.outlet, &mut ledger);
        } else {
            // They arrive, but no acknowledgement reaches the sensor.
            drain(&mut open(&disk_of(&image(&disk)), settings, 999).outlet, &mut ledger);
        }
        let before = ledger.clone();
        held.extend((arrived..arrived + 100).map(|n| push(&mut spool.writer, n)));
        assert!(spool.figures.bytes.load(Relaxed) <= settings.max_bytes);
        let dropped = spool.figures.dropped_in_all();
        assert!(dropped.batches > 60, "{dropped:?}");
        drain(&mut spool.outlet, &mut ledger);
        assert_eq!(ledger.lost_batches + ledger.counted.len() as u64, arrived + 100);
        assert_eq!(ledger.streams[&100].totals, sum(&held));
        assert_eq!(ledger.packets() + ledger.lost.packets, sum(&held).packets);
        if heard {
            assert_eq!(ledger.lost, dropped.held);
            // From the window of the last batch that arrived to that of the last one that did not.
            let window = |at: u64| TEN + 10 * i64::try_from(at - u64::from(at > 0 && at.is_multiple_of(4))).unwrap();
            let (first, last) = (arrived.saturating_sub(1), arrived + ledger.lost_batches - 1);
            assert_eq!(ledger.lost_windows, [(window(first), window(last).max(window(last - 1)))], "{arrived}");
        }

        // The same after a restart: what is missing is known from what is left.
        let lost = ledger.lost;
        drop(spool);
        let mut ledger = before;
        let mut spool = open(&disk, settings, 200);
        drain(&mut spool.outlet, &mut ledger);
        assert_eq!((ledger.streams[&100].totals, ledger.lost), (sum(&held), lost));
    }
}

#[test]
fn a_whole_epoch_that_must_go_is_announced() {
    let settings = SpoolSettings { max_bytes: 8_000, ..SMALL };
    let disk = MemoryDisk::default();
    let mut ledger = Ledger::default();
    let mut all = Vec::new();
    let mut last = 0;
    for start in 0..5 {
        let mut spool = open(&disk, settings, 100 * start);
        all.extend((0..30).map(|n| push(&mut spool.writer, 100 * start + n)));
        assert!(spool.figures.bytes.load(Relaxed) <= settings.max_bytes + 1000);
        if start == 2 {
            // Some of what is dropped later arrives, and nobody hears that it did.
            let mut unheard = open(&disk_of(&image(&disk)), settings, 999);
            drain(&mut unheard.outlet, &mut ledger);
            last = ledger.counted.len();
        }
    }
    let mut spool = open(&disk, settings, 1000);
    drain(&mut spool.outlet, &mut ledger);
    assert!(last > 5);
    assert_eq!(sum(&ledger.streams.values().map(|it| it.totals).collect::<Vec<_>>()), sum(&all));
    let counted = Totals { packets: ledger.packets(), ..Totals::default() };
    assert_eq!(ledger.lost.packets + counted.packets, sum(&all).packets);
    assert_eq!(ledger.duplicates, 0);
    spool.writer.tend();
    assert_eq!(spool.outlet.epochs(), [1000]);
}

#[test]
fn more_starts_than_may_be_remembered_are_given_up_and_counted() {
    let disk = MemoryDisk::default();
    let mut all = Vec::new();
    for start in 0..1010 {
        // As if each had found the spool of all before it; opening them all each time would take long.
        let alone = MemoryDisk::default();
        let mut spool = open(&alone, SMALL, start);
        all.push(push(&mut spool.writer, 1));
        for (name, bytes) in image(&alone) {
            disk.create(&name.replacen("00000000", &format!("{start:08}"), 1)).unwrap().write_at(&bytes, 0).unwrap();
        }
    }
    let mut ledger = Ledger::default();
    let mut spool = open(&disk, SMALL, 5000);
    spool.writer.tend();
    assert_eq!(spool.outlet.epochs().len(), 1001);
    all.push(push(&mut spool.writer, 1));
    drain(&mut spool.outlet, &mut ledger);
    assert_eq!(ledger.counted.len(), 1001);
    assert_eq!(ledger.packets() + ledger.lost.packets, sum(&all).packets);
}

#[test]
fn a_malformed_batch_is_given_up_and_counted() {
    let disk = MemoryDisk::default();
    let mut spool = open(&disk, SMALL, 100);
    let held: Vec<Totals> = (0..5).map(|n| push(&mut spool.writer, n)).collect();
    let mut ledger = Ledger::default();
    spool.outlet.resume(100, 0, None).unwrap();
    spool.outlet.refuse(100, 2).unwrap();
    drain(&mut spool.outlet, &mut ledger);
    assert_eq!(ledger.counted, [10, 11, 13, 14]);
    assert_eq!((ledger.lost, ledger.lost_windows), (held[2], vec![(TEN + 20, TEN + 20)]));
}

/// Delivers a damaged spool, and checks that everything intact arrived and the rest is known.
fn assert_all_accounted(disk: &MemoryDisk, all: &[Totals], what: &str) -> (usize, Totals) {
    let mut spool = open(disk, SMALL, 900);
    let mut ledger = Ledger::default();
    let records = spool.found.records;
    drain(&mut spool.outlet, &mut ledger);
    assert_eq!(ledger.counted.len() as u64, records, "{what}: every intact record arrives");
    assert!(ledger.counted.is_sorted(), "{what}: {:?}", ledger.counted);
    // What is behind the last intact record, nobody knows of.
    let known = ledger.counted.last().map_or(0, |&packets| usize::try_from(packets).unwrap() - 9);
    assert_eq!(ledger.packets() + ledger.lost.packets, sum(&all[..known]).packets, "{what}");
    if known > 0 {
        assert_eq!(ledger.streams[&100].totals, sum(&all[..known]), "{what}");
    }
    // A spool that was damaged can be used, and is as good as new.
    let more = push(&mut spool.writer, 50);
    drain(&mut spool.outlet, &mut ledger);
    assert_eq!(ledger.counted.last(), Some(&more.packets));
    spool.writer.tend();
    assert_eq!(spool.outlet.epochs(), [900], "{what}");
    (ledger.counted.len() - 1, ledger.lost)
}

#[test]
fn damage_at_any_byte_costs_only_what_it_hits() {
    let disk = MemoryDisk::default();
    let mut spool = open(&disk, SMALL, 100);
    let all: Vec<Totals> = (0..6).map(|n| push(&mut spool.writer, n)).collect();
    drop(spool);
    let image = image(&disk);
    assert!(image.len() > 1);
    let mut hit = 0;
    for (name, bytes) in &image {
        for offset in 0..bytes.len() {
            for mask in [0x01, 0xff] {
                let mut damaged = image.clone();
                damaged.get_mut(name).unwrap()[offset] ^= mask;
                let what = format!("{name} at {offset}");
                let (arrived, _) = assert_all_accounted(&disk_of(&damaged), &all, &what);
                assert!(arrived >= all.len() - 1, "{what}: {arrived} arrived");
                hit += usize::from(arrived < all.len());
            }
        }
    }
    assert!(hit > 1000, "{hit} places hit a record");
}

#[test]
fn any_length_of_any_file_opens() {
    let disk = MemoryDisk::default();
    let mut spool = open(&disk, SMALL, 100);
    let all: Vec<Totals> = (0..6).map(|n| push(&mut spool.writer, n)).collect();
    drop(spool);
    let image = image(&disk);
    for (name, bytes) in &image {
        let mut damaged = image.clone();
        damaged.remove(name);
        assert_all_accounted(&disk_of(&damaged), &all, &format!("{name} is gone"));
        for length in 0..bytes.len() {
            let mut damaged = image.clone();
            damaged.get_mut(name).unwrap().truncate(length);
            assert_all_accounted(&disk_of(&damaged), &all, &format!("{name} of {length} bytes"));
            // The same length, but never written.
            let mut zeroed = image.clone();
            zeroed.get_mut(name).unwrap()[length..].fill(0);
            assert_all_accounted(&disk_of(&zeroed), &all, &format!("{name} zero from {length}"));
        }
    }
}

#[test]
fn large_batches_go_through() {
    let disk = MemoryDisk::default();
    let settings = SpoolSettings { max_bytes: 4 << 20, segment_bytes: 64 << 10, ..SMALL };
    let mut spool = open(&disk, settings, 100);
    let held: Vec<Totals> = (0..10).map(|n| push_rows(&mut spool.writer, n, 40_000)).collect();
    assert!(spool.figures.bytes.load(Relaxed) > 500_000);
    let mut ledger = Ledger::default();
    drain(&mut spool.outlet, &mut ledger);
    assert_eq!(ledger.packets(), sum(&held).packets);
}
