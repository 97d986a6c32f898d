//! At the real constants: segments of 64 MiB, records of several MiB, in bounded memory.
//!
//! One test, so that the process's peak memory is its own. `MARTLET_JOURNAL_BACKLOG_MIB=2048` makes the backlog longer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, os::unix::fs::FileExt, time::Instant};

use martlet_journal::{Item, Journal, RealDisk, Settings};

const LARGEST: usize = 8 << 20;
/// What one record, one buffer of the reader, one of recovery and the program itself come to, generously.
const PEAK_BYTES: u64 = 64 << 20;

fn length(number: u64) -> usize {
    [LARGEST, 1, 300_000, 0, 5_000_000, 70_000, 131_072, 131_071][(number % 8) as usize]
}

/// A payload in which every 8 bytes are different from all others, so that a mix-up shows.
fn fill(number: u64, payload: &mut Vec<u8>) {
    payload.clear();
    payload.extend((0..length(number).div_ceil(8) as u64).flat_map(|at| (number << 32 | at).to_le_bytes()));
    payload.truncate(length(number));
}

fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn a_backlog_of_many_segments_is_opened_and_read_in_bounded_memory() {
    let backlog = std::env::var("MARTLET_JOURNAL_BACKLOG_MIB").map_or(200, |text| text.parse::<u64>().unwrap()) << 20;
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { reserve_bytes: 0, ..Settings::default() };
    let open = |visit: &mut dyn FnMut(u64, &[u8])| {
        Journal::open(RealDisk::open(directory.path()).unwrap(), settings, visit).unwrap()
    };
    let started = Instant::now();
    let (mut journal, _) = open(&mut |_, _| {});
    let mut payload = Vec::new();
    while journal.bytes() < backlog {
        fill(journal.next(), &mut payload);
        let (left, right) = payload.split_at(payload.len() / 3);
        journal.append(&[left, right]).unwrap();
    }
    journal.sync().unwrap();
    let next = journal.next();
    println!("{next} records, {} bytes appended in {:?}", journal.bytes(), started.elapsed());
    drop(journal);

    // One bit in a large record of the second segment.
    let mut names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() > 2, "{names:?}");
    for path in &names {
        assert!(fs::metadata(path).unwrap().len() <= settings.segment_bytes);
    }
    let first: u64 = u64::from_str_radix(&names[1].file_stem().unwrap().to_str().unwrap()[17..], 16).unwrap();
    let damaged = (first..).find(|&number| length(number) == LARGEST).unwrap();
    let offset = 28 + (first..damaged).map(|number| 20 + length(number) as u64).sum::<u64>() + 20 + 3_000_000;
    let file = fs::OpenOptions::new().read(true).write(true).open(&names[1]).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
    drop(file);

    let started = Instant::now();
    let mut expected = 0;
    let (journal, recovery) = open(&mut |number, read| {
        expected += u64::from(expected == damaged);
        assert_eq!(number, expected);
        fill(number, &mut payload);
        assert!(read == payload, "record {number}");
        expected += 1;
    });
    println!("opened in {:?}: {recovery:?}", started.elapsed());
    assert_eq!((expected, journal.next()), (next, next));
    assert_eq!((recovery.records, recovery.missing, recovery.damaged_ranges), (next - 1, 1, 1));
    assert_eq!(recovery.damaged_bytes, 20 + LARGEST as u64);

    let started = Instant::now();
    let mut reader = journal.reader(3).unwrap();
    let mut read = Vec::new();
    for number in 3..next {
        let item = reader.next(&mut read).unwrap();
        if number == damaged {
            assert_eq!(item, Item::Damaged(number..number + 1));
            continue;
        }
        assert_eq!(item, Item::Record(number));
        fill(number, &mut payload);
        assert!(read == payload, "record {number}");
    }
    assert_eq!(reader.next(&mut read).unwrap(), Item::End);
    println!("read in {:?}, peak memory {} bytes", started.elapsed(), peak_bytes());
    assert!(peak_bytes() < PEAK_BYTES, "{} bytes", peak_bytes());
}
