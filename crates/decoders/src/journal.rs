//! Segments of a journal after anything has happened to them.

use std::collections::BTreeMap;

use martlet_journal::v1::{HEADER_LENGTH, SegmentId};
use martlet_journal::{Disk, DiskFile, Item, Journal, Settings};
use martlet_sensor::spool::MemoryDisk;

/// Small segments, so that a few records fill several.
const SETTINGS: Settings = Settings { segment_bytes: 256, max_record_bytes: 1 << 12, reserve_bytes: 0 };

/// Any bytes as a segment, and as damage to segments that were written in order.
///
/// The first byte says which, and then how long each record is. A journal opens whatever its files hold; the records that it
/// shows are some of those that were written, with their numbers; and it goes on.
pub fn journal(input: &[u8]) {
    let Some((&how, input)) = input.split_first() else { return };
    if how == 0 { foreign(input) } else { damaged(usize::from(how), input) }
}

/// Bytes that nobody wrote as a journal, behind a header that is right: without it they would be set aside at once.
fn foreign(bytes: &[u8]) {
    let disk = MemoryDisk::default();
    let id = SegmentId { ordinal: 1, first: 3 };
    let mut file = disk.create(&id.name()).expect("an empty disk");
    file.write_at(&[&id.header()[..], bytes].concat(), 0).expect("memory");
    reopen(&disk, None);
}

/// The input's first half are records of `length` bytes, its second half is where bytes change and into what.
fn damaged(length: usize, input: &[u8]) {
    let (content, damage) = input.split_at(input.len() / 2);
    let disk = MemoryDisk::default();
    let mut written = BTreeMap::new();
    {
        let (mut journal, _) = Journal::open(disk.clone(), SETTINGS, &mut |_, _| {}).expect("a sound disk");
        for record in content.chunks(length) {
            let number = journal.append(&[record]).expect("a sound disk with room");
            journal.sync().expect("a sound disk");
            written.insert(number, record.to_vec());
        }
    }
    let mut names = disk.list().expect("memory");
    names.sort();
    for change in damage.chunks_exact(4) {
        let &[file, high, low, value] = change else { continue };
        let Some(name) = names.get(usize::from(file) % names.len().max(1)) else { return };
        let mut file = disk.open(name).expect("it is there");
        let (length, place) = (file.len().expect("memory"), u64::from(u16::from_be_bytes([high, low])));
        if place < length {
            file.write_at(&[value], place).expect("memory");
        } else {
            // Beyond the end: the file is cut off somewhere, as by a crash.
            file.set_len((place % (length + 1)).max(HEADER_LENGTH as u64)).expect("memory");
        }
    }
    reopen(&disk, Some(&written));
}

/// Opens what is there, twice; holds what is shown against what was written, if that is known; and writes on.
fn reopen(disk: &MemoryDisk, written: Option<&BTreeMap<u64, Vec<u8>>>) {
    let mut first = Vec::new();
    let (mut journal, recovery) =
        Journal::open(disk.clone(), SETTINGS, &mut |number, record| first.push((number, record.to_vec())))
            .expect("never because of what is in it");
    assert_eq!(recovery.records, first.len() as u64);
    assert!(first.is_sorted_by(|a, b| a.0 < b.0));
    if let Some(written) = written {
        assert!(first.iter().all(|(number, record)| written.get(number) == Some(record)), "a record nobody wrote");
    }
    let mut read = Vec::new();
    let mut reader = journal.reader(journal.first()).expect("a sound disk");
    let mut record = Vec::new();
    loop {
        match reader.next(&mut record).expect("a sound disk") {
            Item::Record(number) => read.push((number, record.clone())),
            Item::Damaged(numbers) => assert!(!numbers.is_empty()),
            Item::End => break,
        }
    }
    assert_eq!(read, first, "reading and opening disagree");
    let number = journal.append(&[b"more"]).expect("a sound disk with room");
    journal.sync().expect("a sound disk");
    drop((reader, journal));
    first.push((number, b"more".to_vec()));
    let mut again = Vec::new();
    Journal::open(disk.clone(), SETTINGS, &mut |number, record| again.push((number, record.to_vec())))
        .expect("a sound disk");
    assert_eq!(again, first, "what was shown once is there again");
}
