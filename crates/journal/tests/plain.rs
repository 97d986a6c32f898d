//! The plain path on a real directory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use martlet_journal::{
    AppendError, DiskFile as _, Item, Journal, RealDisk, RealVolume, Recovery, Settings, Volume, simulated::Machine,
};

const SMALL: Settings = Settings { segment_bytes: 200, max_record_bytes: 100, reserve_bytes: 0 };

type Records = Vec<(u64, Vec<u8>)>;

fn open(path: &std::path::Path) -> (Journal<RealDisk>, Recovery, Records) {
    let mut seen = Vec::new();
    let disk = RealDisk::open(path).unwrap();
    let (journal, recovery) =
        Journal::open(disk, SMALL, &mut |number, payload| seen.push((number, payload.to_vec()))).unwrap();
    (journal, recovery, seen)
}

#[test]
fn records_come_back_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/on/the/way");
    let (mut journal, recovery, _) = open(&path);
    assert_eq!(recovery, Recovery::default());
    for number in 0..20_u8 {
        assert_eq!(journal.append(&[b"record ", &[number]]).unwrap(), u64::from(number));
    }
    assert!(journal.durable() < 20);
    assert_eq!(journal.sync().unwrap(), 20);
    assert!(matches!(journal.append(&[&[0; 101]]), Err(AppendError::TooLarge { length: 101, limit: 100 })));
    drop(journal);

    let (mut journal, recovery, seen) = open(&path);
    assert_eq!(recovery, Recovery { segments: 4, records: 20, ..Recovery::default() });
    assert!(
        seen.iter()
            .enumerate()
            .all(|(n, (number, payload))| n as u64 == *number && payload.last().copied() == u8::try_from(n).ok())
    );
    assert_eq!((journal.first(), journal.next(), journal.durable()), (0, 20, 20));

    let mut reader = journal.reader(7).unwrap();
    let mut buffer = Vec::new();
    for number in 7..20 {
        assert_eq!(reader.next(&mut buffer).unwrap(), Item::Record(number));
        assert_eq!(buffer, [b"record ".as_slice(), &[u8::try_from(number).unwrap()]].concat());
    }
    assert_eq!(reader.next(&mut buffer).unwrap(), Item::End);
    journal.append(&[b"more"]).unwrap();
    assert_eq!(reader.next(&mut buffer).unwrap(), Item::End);
    journal.sync().unwrap();
    assert_eq!(reader.next(&mut buffer).unwrap(), Item::Record(20));
    assert_eq!(buffer, b"more");
}

#[test]
fn release_and_quota_delete_whole_segments() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(directory.path());
    for _ in 0..20 {
        journal.append(&[b"12345678"]).unwrap();
    }
    journal.sync().unwrap();
    let bytes = journal.bytes();
    let mut reader = journal.reader(0).unwrap();
    journal.release(7).unwrap();
    assert_eq!(journal.first(), 6);
    assert!(journal.bytes() < bytes);
    assert_eq!(journal.drop_oldest().unwrap(), Some(6..12));
    let mut buffer = Vec::new();
    assert_eq!(reader.next(&mut buffer).unwrap(), Item::Damaged(0..12));
    assert_eq!(reader.next(&mut buffer).unwrap(), Item::Record(12));
    assert_eq!(journal.drop_oldest().unwrap(), Some(12..18));
    assert_eq!(journal.drop_oldest().unwrap(), Some(18..20));
    assert_eq!(journal.drop_oldest().unwrap(), None);
    assert_eq!((journal.first(), journal.next()), (20, 20));
    drop(journal);
    let (journal, _, seen) = open(directory.path());
    assert_eq!((journal.first(), journal.next(), seen.len()), (20, 20, 0));
}

#[test]
fn released_segments_can_be_closed_later() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(directory.path());
    for _ in 0..20 {
        journal.append(&[b"12345678"]).unwrap();
    }
    journal.sync().unwrap();
    let files = || std::fs::read_dir(directory.path()).unwrap().count();
    let (before, mut kept) = (files(), Vec::new());
    journal.release_to(13, |segment| kept.push(segment)).unwrap();
    assert_eq!((journal.first(), before - files(), kept.len()), (12, 2, 2));
    // They are gone from the directory only.
    assert!(kept.iter().all(|segment| segment.len().unwrap() > 0));
}

fn journals_below_one_directory<V: Volume>(volume: &V) {
    assert!(volume.directories().unwrap().is_empty());
    for name in ["a", "b"] {
        let (mut journal, _) = Journal::open(volume.directory(name).unwrap(), SMALL, &mut |_, _| {}).unwrap();
        journal.append(&[name.as_bytes()]).unwrap();
        journal.sync().unwrap();
    }
    let mut names = volume.directories().unwrap();
    names.sort();
    assert_eq!(names, ["a", "b"]);
    volume.remove_directory("a").unwrap();
    assert!(volume.remove_directory("a").is_err());
    assert_eq!(volume.directories().unwrap(), ["b"]);
    let mut seen = Vec::new();
    let visit = &mut |number, payload: &[u8]| seen.push((number, payload.to_vec()));
    Journal::open(volume.directory("b").unwrap(), SMALL, visit).unwrap();
    assert_eq!(seen, [(0, b"b".to_vec())]);
}

#[test]
fn several_journals_share_a_volume() {
    let directory = tempfile::tempdir().unwrap();
    journals_below_one_directory(&RealVolume::open(directory.path().join("spool")).unwrap());
    journals_below_one_directory(&Machine::new(0).volume("spool"));
}
