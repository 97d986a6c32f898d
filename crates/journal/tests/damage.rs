//! A small journal damaged at every offset and cut at every length: it opens, keeps what is intact, counts the rest,
//! and goes on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use martlet_journal::{
    Item, Journal, Recovery, Settings,
    simulated::{Image, Machine},
    v1::{DAMAGED_SUFFIX, HEAD_LENGTH, HEADER_LENGTH, SegmentId},
};

const DIRECTORY: &str = "journal";
const SETTINGS: Settings = Settings { segment_bytes: 260, max_record_bytes: 200, reserve_bytes: 0 };

/// Where a record lies: computed from the format, not by the code under test.
struct Place {
    file: String,
    start: usize,
    end: usize,
}

struct Sample {
    image: Image,
    payloads: Vec<Vec<u8>>,
    places: Vec<Place>,
}

/// Three segments, with records of no length, of zeros, and one that holds a copy of a record.
fn sample() -> Sample {
    let machine = Machine::new(0);
    let (mut journal, _) = Journal::open(machine.disk(DIRECTORY), SETTINGS, &mut |_, _| {}).unwrap();
    let mut payloads: Vec<Vec<u8>> =
        [0, 1, 30, 17, 64, 3, 100, 0, 2, 48, 5].iter().map(|&length| vec![7; length]).collect();
    payloads[3] = vec![0; 40];
    let mut copied = false;
    for number in 0..payloads.len() {
        if number == 6 {
            let image = machine.image();
            let (_, bytes) = image.files(DIRECTORY).unwrap().first_key_value().unwrap();
            payloads[6] = bytes[HEADER_LENGTH..HEADER_LENGTH + 100].to_vec();
            copied = true;
        }
        journal.append(&[&payloads[number]]).unwrap();
    }
    assert!(copied);
    journal.sync().unwrap();
    let image = machine.image();
    let mut places = Vec::new();
    for (file, bytes) in image.files(DIRECTORY).unwrap() {
        let mut start = HEADER_LENGTH;
        while start < bytes.len() {
            let end = start + HEAD_LENGTH + payloads[places.len()].len();
            places.push(Place { file: file.clone(), start, end });
            start = end;
        }
        assert_eq!(start, bytes.len());
    }
    assert_eq!(places.len(), payloads.len());
    assert!(image.files(DIRECTORY).unwrap().len() >= 3);
    Sample { image, payloads, places }
}

/// Opens the damaged image, checks that exactly `kept` came out, and that it goes on; returns what recovery said.
fn check(sample: &Sample, image: &Image, kept: &[usize], what: &str) -> Recovery {
    let machine = Machine::from_image(1, image);
    let mut seen = Vec::new();
    let (mut journal, recovery) = Journal::open(machine.disk(DIRECTORY), SETTINGS, &mut |number, payload| {
        seen.push((number, payload.to_vec()));
    })
    .unwrap();
    let mut expected: Vec<(u64, Vec<u8>)> =
        kept.iter().map(|&number| (number as u64, sample.payloads[number].clone())).collect();
    assert_eq!(seen, expected, "{what}");
    assert_eq!(recovery.records, kept.len() as u64, "{what}");
    assert_eq!(journal.durable(), journal.next(), "{what}");
    assert!(kept.last().is_none_or(|&last| journal.next() > last as u64), "{what}");

    for payload in [b"one".as_slice(), b"", &[9; 200]] {
        expected.push((journal.next(), payload.to_vec()));
        journal.append(&[payload]).unwrap();
    }
    journal.sync().unwrap();
    let mut reader = journal.reader(journal.first()).unwrap();
    let mut buffer = Vec::new();
    let mut number = journal.first();
    let mut read = Vec::new();
    loop {
        match reader.next(&mut buffer).unwrap() {
            Item::Record(got) => {
                assert_eq!(got, number, "{what}");
                read.push((got, buffer.clone()));
                number += 1;
            }
            Item::Damaged(range) => {
                assert!(range.start == number && range.end > number, "{what}: {range:?} at {number}");
                number = range.end;
            }
            Item::End => break,
        }
    }
    assert_eq!((number, &read), (journal.next(), &expected), "{what}");
    drop(journal);
    let mut seen = Vec::new();
    Journal::open(machine.disk(DIRECTORY), SETTINGS, &mut |number, payload| seen.push((number, payload.to_vec())))
        .unwrap();
    assert_eq!(seen, expected, "{what}");
    recovery
}

#[test]
fn the_undamaged_sample_has_no_damage() {
    let sample = sample();
    let all: Vec<usize> = (0..sample.payloads.len()).collect();
    let recovery = check(&sample, &sample.image, &all, "undamaged");
    assert_eq!(recovery, Recovery { segments: recovery.segments, records: all.len() as u64, ..Recovery::default() });
}

#[test]
fn damage_at_every_offset_takes_one_record_at_most() {
    let sample = sample();
    let last = sample.places.len() - 1;
    for (file, bytes) in sample.image.files(DIRECTORY).unwrap() {
        for (offset, &byte) in bytes.iter().enumerate() {
            let changes = (0..8).map(|bit| byte ^ 1 << bit).chain([0, 0xff]);
            for change in changes.filter(|&change| change != byte) {
                let mut image = sample.image.clone();
                image.files_mut(DIRECTORY).get_mut(file).unwrap()[offset] = change;
                let hit = sample.places.iter().position(|it| it.file == *file && (it.start..it.end).contains(&offset));
                let kept: Vec<usize> = (0..=last).filter(|&number| Some(number) != hit).collect();
                let what = format!("{file} at {offset}: {change}");
                let recovery = check(&sample, &image, &kept, &what);
                // A last record that is not whole is taken for what a crash left: nothing says that it was synced.
                let torn = hit == Some(last);
                assert_eq!(recovery.missing, u64::from(hit.is_some() && !torn), "{what}");
                assert_eq!(recovery.damaged_ranges, u64::from(!torn), "{what}");
                let length = hit.map_or(HEADER_LENGTH, |hit| sample.places[hit].end - sample.places[hit].start) as u64;
                let counted = if torn { recovery.torn_bytes } else { recovery.damaged_bytes };
                assert_eq!(counted, length, "{what}");
                assert_eq!(recovery.quarantined, 0, "{what}");
            }
        }
    }
}

#[test]
fn cutting_at_every_length_keeps_what_is_before() {
    let sample = sample();
    let files = sample.image.files(DIRECTORY).unwrap();
    for (file, bytes) in files {
        for length in 0..bytes.len() {
            for zeros in [false, true] {
                let mut image = sample.image.clone();
                let cut = image.files_mut(DIRECTORY).get_mut(file).unwrap();
                cut.truncate(length);
                if zeros {
                    // What a file system leaves whose lengths reach the disk before the bytes.
                    cut.resize(bytes.len(), 0);
                }
                // Bytes that are zero anyway are not hurt by becoming zero.
                let lost = |it: &Place| {
                    it.file == *file
                        && it.end > length
                        && !(zeros && bytes[it.start.max(length)..it.end].iter().all(|&byte| byte == 0))
                };
                let kept: Vec<usize> =
                    (0..sample.places.len()).filter(|&number| !lost(&sample.places[number])).collect();
                let recovery = check(&sample, &image, &kept, &format!("{file} cut to {length}, zeros {zeros}"));
                let is_last = files.keys().next_back() == Some(file);
                // How many there were behind the end of the journal nobody can say.
                let missing = if is_last { 0 } else { sample.places.len() - kept.len() };
                assert_eq!(recovery.missing, missing as u64, "{file} cut to {length}, zeros {zeros}: {recovery:?}");
            }
        }
    }
}

#[test]
fn a_segment_that_is_gone_or_unreadable_costs_only_its_records() {
    let sample = sample();
    for file in sample.image.files(DIRECTORY).unwrap().keys() {
        let kept: Vec<usize> = (0..sample.places.len()).filter(|&number| sample.places[number].file != *file).collect();
        let mut image = sample.image.clone();
        let bytes = image.files_mut(DIRECTORY).remove(file).unwrap();
        let recovery = check(&sample, &image, &kept, &format!("{file} removed"));
        assert_eq!(recovery.quarantined, 0);

        image.files_mut(DIRECTORY).insert(file.clone(), bytes.iter().map(|byte| byte ^ 0x55).collect());
        let recovery = check(&sample, &image, &kept, &format!("{file} unreadable"));
        assert_eq!((recovery.quarantined, recovery.damaged_ranges > 0), (1, true));
    }
}

#[test]
fn what_is_not_a_segment_is_left_alone() {
    let mut sample = sample();
    let all: Vec<usize> = (0..sample.payloads.len()).collect();
    let copy = sample.image.files(DIRECTORY).unwrap().values().next().unwrap().clone();
    let below = SegmentId { ordinal: 0, first: 1 << 40 };
    let strangers =
        ["lost+found", "notes.txt", "1-2.segment", "0000000000000001-0000000000000000.segment.bak", &below.name()];
    for name in strangers {
        sample.image.files_mut(DIRECTORY).insert(name.to_owned(), copy.clone());
    }
    let recovery = check(&sample, &sample.image, &all, "strangers");
    assert_eq!((recovery.foreign, recovery.quarantined, recovery.missing), (strangers.len() as u64, 0, 0));
}

#[test]
fn only_a_few_segments_are_kept_aside() {
    let machine = Machine::new(3);
    for round in 0..10_u64 {
        let (mut journal, recovery) = Journal::open(machine.disk(DIRECTORY), SETTINGS, &mut |_, _| {}).unwrap();
        assert_eq!(recovery.quarantined, u64::from(round > 0), "{recovery:?}");
        journal.append(&[b"doomed"]).unwrap();
        journal.sync().unwrap();
        let mut image = machine.image();
        let (name, bytes) =
            image.files_mut(DIRECTORY).iter_mut().rfind(|(name, _)| !name.ends_with(DAMAGED_SUFFIX)).unwrap();
        assert!(SegmentId::parse(name).unwrap().ordinal == round);
        bytes.fill(0xaa);
        machine.load(&image);
    }
    let (_, _) = Journal::open(machine.disk(DIRECTORY), SETTINGS, &mut |_, _| {}).unwrap();
    let image = machine.image();
    let names: Vec<&String> = image.files(DIRECTORY).unwrap().keys().collect();
    assert!(names.iter().all(|name| name.ends_with(DAMAGED_SUFFIX)) && names.len() == 4, "{names:?}");
}
