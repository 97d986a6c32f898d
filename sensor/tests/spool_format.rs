//! docs/spool.md says what is on the disk.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;

use common::{ORIGIN, TEN, image, open, push};
use martlet_sensor::spool::{AtCap, Kind, MemoryDisk, PRELUDE_LENGTH, Prelude, SpoolSettings};
use martlet_window::{Digest, Origin};
use martlet_wire::v1::{FRAME_HEADER_LENGTH, Totals, batch_identity, digest};

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/spool.md")).unwrap()
}

#[test]
fn the_documents_record_is_what_we_write() {
    let document = document();
    let (_, section) = document.split_once("## Record").unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let mut end = 0;
    for row in rows.skip(2) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[1].parse::<usize>().unwrap(), end, "{row}");
        end += cells[2].parse().unwrap_or(0);
    }
    assert_eq!(end, PRELUDE_LENGTH);

    let totals = |n| Totals { windows: n, packets: n + 1, watched_ms: n + 2 };
    let prelude = Prelude {
        kind: Kind::Batch(Digest([9; 16])),
        window: -1,
        newest_before: 2,
        oldest: 3,
        before: totals(4),
        held: totals(7),
        settled: totals(10),
        acknowledged: 13,
    };
    let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 0];
    expected.extend((-1i64).to_le_bytes());
    (2u64..=13).for_each(|number| expected.extend(number.to_le_bytes()));
    expected.extend([9; 16]);
    assert_eq!(prelude.write().as_slice(), expected);
    assert_eq!(Prelude { kind: Kind::Loss, ..prelude }.write()[1], 1);
}

#[test]
fn the_files_are_named_and_filled_as_the_document_says() {
    let settings =
        SpoolSettings { max_bytes: 1 << 20, at_cap: AtCap::DropOldest, segment_bytes: 1 << 20, reserve_bytes: 0 };
    let disk = MemoryDisk::default();
    drop(open(&disk, settings, 0xabc));
    assert!(image(&disk).is_empty(), "files appear with the first batch");
    let mut spool = open(&disk, settings, 0xabc);
    push(&mut spool.writer, 0);
    drop(spool);
    let mut spool = open(&disk, settings, 0xabd);
    push(&mut spool.writer, 1);
    let files = image(&disk);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "00000000-0000000000000abc.0000000000000000-0000000000000000.segment",
            "00000001-0000000000000abd.0000000000000000-0000000000000000.segment"
        ]
    );
    // Behind the journal's two headers (docs/journal.md).
    let record = &files[names[1]][28 + 20..];
    let (prelude, frame) = Prelude::read(record).unwrap();
    let payload = &frame[FRAME_HEADER_LENGTH..];
    assert_eq!(prelude.kind, Kind::Batch(digest(payload)));
    assert_eq!((prelude.window, prelude.newest_before, prelude.oldest), (TEN + 10, TEN + 10, TEN + 10));
    let (stream, sequence) = batch_identity(payload).unwrap();
    let Origin(origin) = stream.origin;
    assert_eq!((origin, stream.epoch, sequence), (ORIGIN.0, 0xabd, 0));
}

#[test]
fn the_documents_limits_are_the_codes() {
    let document = document();
    let live = SpoolSettings::live(1024 << 20);
    assert_eq!((live.reserve_bytes, live.segment_bytes), (32 << 20, 4 << 20));
    assert_eq!(SpoolSettings::live(16 << 20).segment_bytes, 1 << 20);
    assert_eq!(SpoolSettings::live(0).segment_bytes, 64 << 10);
    for text in ["| reserve | 32 MiB", "a 16th of `spool_mib`, from 64 KiB to 4 MiB", "| 1024 MiB over all"] {
        assert!(document.contains(text), "{text}");
    }
}
