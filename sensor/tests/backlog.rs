//! A large backlog drains in order, and memory does not grow with it.
//!
//! `MARTLET_BACKLOG_MIB=2048` makes it 2 GiB; it needs as much space where temporary files are.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::time::Instant;

use common::{Ledger, ORIGIN, drain, open, place_rows};
use martlet_journal::RealDisk;
use martlet_observe::batch::{BatchSink, Fresh};
use martlet_sensor::spool::SpoolSettings;
use martlet_wire::v1::{Stream, Totals, move_batch};

/// A value of /proc/self/status, in KiB.
fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_matches(|it: char| !it.is_ascii_digit()).parse().unwrap()
}

#[test]
fn a_backlog_drains_in_order_in_little_memory() {
    let mib: u64 = std::env::var("MARTLET_BACKLOG_MIB").map_or(96, |mib| mib.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(directory.path()).unwrap();
    let settings = SpoolSettings::live(mib << 21);
    let mut spool = open(&disk, settings, 1);
    // One batch after the other is the same at another place: making each would take longer than all the rest.
    let (header, mut frame) = place_rows(spool.writer.place(), 7, 40_000);
    let held = Totals::of(&header);
    let began = Instant::now();
    let mut batches = 0;
    for life in 0..3 {
        if life > 0 {
            spool = open(&disk, settings, 10 * life);
        }
        let mut bytes = 0;
        while bytes < (mib << 20) / 3 {
            let place = spool.writer.place();
            let stream = Stream { origin: ORIGIN, epoch: place.epoch };
            let digest = move_batch(&mut frame, stream, place.sequence, place.predecessor).unwrap();
            spool.writer.push(&Fresh { frame: &frame, digest, window: header.window.start, held });
            bytes += frame.len() as u64;
            batches += 1;
        }
    }
    drop(spool);
    let written = began.elapsed();

    // The peak from here on.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS:");
    let began = Instant::now();
    let mut spool = open(&disk, settings, 100);
    let opened = began.elapsed();
    assert_eq!((spool.found.epochs, spool.found.records), (3, batches));
    assert_eq!(spool.outlet.epochs(), [1, 10, 20, 100]);
    let mut ledger = Ledger::default();
    let began = Instant::now();
    drain(&mut spool.outlet, &mut ledger);
    let drained = began.elapsed();
    spool.writer.tend();
    let peak = status("VmHWM:");
    assert_eq!((ledger.counted.len() as u64, ledger.duplicates), (batches, 0));
    assert_eq!(ledger.lost, Totals::default());
    assert_eq!(spool.outlet.epochs(), [100]);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    println!(
        "{batches} batches, {} MiB: written in {written:.1?}, opened in {opened:.1?}, drained in {drained:.1?}; \
         {before} KiB before, at most {peak} KiB",
        spool.found.bytes >> 20
    );
    assert!(peak < 64 << 10, "{peak} KiB");
}
