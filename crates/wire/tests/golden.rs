//! The worked example of docs/wire.md, byte for byte: the document cannot drift from the code, nor the code from it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use martlet_window::{
    BatchHeader, CaptureStatistics, Class, CountRow, Digest, Exposure, IpVersion, Kind, Mark, Marks, Origin, Posture,
    RejectReason, SensorName, Service, TrafficClass, Window, WindowLength,
};
use martlet_wire::WireError;
use martlet_wire::v1::{
    BATCH_FIXED_LENGTH, BatchEncoder, BatchView, Columns, FRAME_HEADER_LENGTH, FrameHeader, FrameType, Limits, Message,
    NackReason, RefusalReason, Stream, Totals, digest,
};

fn document() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/wire.md")).unwrap()
}

/// The bytes of the hex block behind this heading: offset, bytes, and a remark behind two blanks a line.
fn hex_block(document: &str, heading: &str) -> Vec<u8> {
    let (_, section) = document.split_once(heading).unwrap();
    let (_, block) = section.split_once("```hex\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let mut bytes = Vec::new();
    for line in block.lines() {
        let (offset, rest) = line.trim_start().split_once("  ").unwrap();
        assert_eq!(offset.parse::<usize>().unwrap(), bytes.len(), "{line}");
        let (hex, _) = rest.split_once("  ").unwrap_or((rest, ""));
        bytes.extend(hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    bytes
}

/// What the document says the example holds.
fn example() -> (BatchHeader, Vec<CountRow>) {
    let mut capture = CaptureStatistics { frames: 8, packets: 6, kernel_drops: 0, ..CaptureStatistics::default() };
    capture.rejected[RejectReason::NotIp as usize] = 2;
    let header = BatchHeader {
        origin: Origin(*b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"),
        epoch: 7,
        sequence: 0,
        predecessor: Digest::default(),
        class: TrafficClass::Real,
        posture: Posture::Silent,
        window: Window { start: 1_600_000_000, length: WindowLength::DEFAULT },
        part: 0,
        exposure: Some(Exposure { watched_ms: 10_000, ipv4_addresses: 256, ipv6_prefixes: 0 }),
        unavailable: Marks::NONE,
        capture,
    };
    let scan = Class {
        ip: IpVersion::V4,
        protocol: 6,
        service: Service::Port(23),
        kind: Kind::Scan,
        marks: Marks::NONE.with(Mark::Mirai),
    };
    let answer = Class {
        ip: IpVersion::V4,
        protocol: 17,
        service: Service::Port(53),
        kind: Kind::Backscatter,
        marks: Marks::NONE,
    };
    let row = |class: Class, source: u32, packets: u32, targets: u32, bytes: u64| CountRow {
        class: class.into(),
        source: source.into(),
        packets,
        targets,
        bytes,
    };
    let rows =
        vec![row(scan, 0xc633_6407, 3, 2, 120), row(scan, 0xc633_6409, 2, 2, 88), row(answer, 0xcb00_7101, 1, 1, 541)];
    (header, rows)
}

fn encode(header: &BatchHeader, rows: &[CountRow]) -> (Vec<u8>, Digest) {
    let mut frame = Vec::new();
    let digest = BatchEncoder::new().unwrap().write(header, rows.iter().copied(), &mut frame).unwrap();
    (frame, digest)
}

fn decode(frame: &[u8]) -> Result<(BatchHeader, Vec<CountRow>), WireError> {
    let header = FrameHeader::parse(frame.first_chunk().unwrap(), &Limits::default())?;
    let payload = &frame[FRAME_HEADER_LENGTH..];
    header.verify(payload)?;
    assert_eq!(header.frame_type, FrameType::Batch);
    let view = BatchView::read(payload, &Limits::default())?;
    let mut columns = Columns::default();
    view.columns(&mut zstd::bulk::Decompressor::new().unwrap(), &mut Vec::new(), &mut columns)?;
    Ok((view.header, columns.rows().collect()))
}

#[test]
fn the_documents_batch_means_what_the_document_says() {
    let frame = hex_block(&document(), "## Example: a batch");
    assert_eq!(decode(&frame), Ok(example()));
}

#[test]
fn the_documents_batch_is_what_we_send() {
    let (header, rows) = example();
    let (frame, hash) = encode(&header, &rows);
    let documented = hex_block(&document(), "## Example: a batch");
    // The columns are too few to compress, so zstd stores them; no level or version of it would do otherwise.
    assert_eq!(frame, documented, "\nsent       {frame:02x?}\ndocumented {documented:02x?}");
    assert_eq!(hash, digest(&frame[FRAME_HEADER_LENGTH..]));
    let hex: String = hash.0.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(document().contains(&hex), "the digest {hex} is not in the document");
}

#[test]
fn the_documents_columns_are_the_ones_in_its_batch() {
    let document = document();
    let frame = hex_block(&document, "## Example: a batch");
    let columns = hex_block(&document, "### The columns, decompressed");
    let raw = zstd::bulk::decompress(&frame[FRAME_HEADER_LENGTH + BATCH_FIXED_LENGTH..], 1000).unwrap();
    assert_eq!(raw, columns);
}

#[test]
fn the_documents_hello_is_what_we_send() {
    let mut frame = Vec::new();
    Message::Hello { peer: example().0.origin, name: "sensor-1".parse().unwrap() }.write(&mut frame);
    assert_eq!(frame, hex_block(&document(), "### Example: Hello"));
}

/// Cells of the first columns of a Markdown table that stands behind a heading.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, section) = document.split_once(heading).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2)
        .map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect())
        .collect()
}

#[test]
fn the_documents_lists_are_the_codes() {
    let document = document();
    let second = |heading| table(&document, heading).into_iter().map(|row| row[1].clone()).collect::<Vec<_>>();

    let errors: Vec<String> = table(&document, "## Why bytes are refused").into_iter().map(|r| r[0].clone()).collect();
    assert_eq!(errors, WireError::REASONS);

    let reasons: Vec<&str> = RejectReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(second("### Outcomes of frames"), reasons);

    let marks: Vec<&str> = Mark::ALL.iter().map(|mark| mark.name()).collect();
    assert_eq!(second("### Mark bits"), marks);
}

/// Every message: the document's layout, and each field's bytes in its place.
#[test]
fn the_documents_message_layouts_are_the_codes() {
    let document = document();
    let origin = [0xaa; 16];
    let stream = Stream { origin: Origin(origin), epoch: 0x0102_0304_0506_0708 };
    let name: SensorName = "ab".parse().unwrap();
    let place = [&origin[..], &[8, 7, 6, 5, 4, 3, 2, 1]].concat();
    // Little-endian numbers of eight bytes.
    let numbers = |numbers: &[u8]| numbers.iter().flat_map(|&n| [n, 0, 0, 0, 0, 0, 0, 0]).collect::<Vec<u8>>();
    let of_stream = |rest: &[u8]| [&place, rest].concat();
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7];
    let messages = [
        (
            "### Hello (1)",
            Message::Hello { peer: stream.origin, name: name.clone() },
            [&origin[..], &[2, b'a', b'b']].concat(),
        ),
        (
            "### Welcome (2)",
            Message::Welcome { your_address: "192.0.2.7".parse().unwrap(), max_batch_bytes: 1, max_rows: 2 },
            [&mapped[..], &[1, 0, 0, 0, 2, 0, 0, 0]].concat(),
        ),
        ("### Open (3)", Message::Open { stream, name }, of_stream(&[2, b'a', b'b'])),
        (
            "### Position (4)",
            Message::Position { stream, expected: 9, predecessor: Some(Digest([5; 16])) },
            of_stream(&[numbers(&[9]), vec![5; 16], vec![1]].concat()),
        ),
        ("### Ack (6)", Message::Ack { stream, journaled: 10, committed: 8 }, of_stream(&numbers(&[10, 8]))),
        (
            "### Nack (7)",
            Message::Nack { stream, expected: 4, reason: NackReason::BrokenChain },
            of_stream(&[numbers(&[4]), vec![2]].concat()),
        ),
        (
            "### Lost (8)",
            Message::Lost {
                stream,
                from: 1,
                to: 2,
                totals: Totals { windows: 3, packets: 4, watched_ms: 5 },
                first_window: 6,
                last_window: 7,
            },
            of_stream(&numbers(&[1, 2, 3, 4, 5, 6, 7])),
        ),
        ("### Refused (9)", Message::Refused { reason: RefusalReason::Idle }, vec![5]),
    ];
    for (heading, message, payload) in messages {
        let mut frame = Vec::new();
        message.write(&mut frame);
        assert_eq!(&frame[FRAME_HEADER_LENGTH..], payload, "{heading}");
        assert!(heading.ends_with(&format!("({})", frame[5])), "{heading}");
        let mut end = 0;
        for row in table(&document, heading) {
            assert_eq!(row[0].parse::<usize>().unwrap(), end, "{heading}: {row:?}");
            // `n` is the length of the name.
            end += if row[1] == "n" { 2 } else { row[1].parse::<usize>().unwrap() };
        }
        assert_eq!(end, payload.len(), "{heading}");
    }
}

#[test]
fn the_documents_reasons_are_the_codes() {
    let document = document();
    let listed = |text: &str| assert!(document.contains(text), "{text}");
    use NackReason::{BrokenChain, Malformed, OutOfSequence};
    let nacks = [(OutOfSequence, "out of sequence"), (BrokenChain, "broken chain"), (Malformed, "malformed")];
    listed(&format!("reason: {}", nacks.map(|(reason, name)| format!("{} {name}", reason as u8)).join(", ")));
    use RefusalReason::{Full, Idle, NotAllowed, Protocol, Stopping};
    let refusals = [
        (Full, "full"),
        (Protocol, "not the protocol"),
        (NotAllowed, "not allowed"),
        (Stopping, "stopping"),
        (Idle, "idle"),
    ];
    listed(&format!("reason: {}", refusals.map(|(reason, name)| format!("{} {name}", reason as u8)).join(", ")));
}

#[test]
fn the_documents_batch_header_has_no_gaps() {
    let mut end = 0;
    for row in table(&document(), "### Batch (5)") {
        assert_eq!(row[0].parse::<usize>().unwrap(), end, "{row:?}");
        // The columns are the rest.
        end += row[1].parse::<usize>().unwrap_or(0);
    }
    assert_eq!(end, BATCH_FIXED_LENGTH);
}
