//! docs/journal.md: its example is what the code writes, byte for byte, and its constants are the code's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use martlet_journal::{
    Journal, Settings,
    simulated::Machine,
    v1::{DAMAGED_SUFFIX, HEAD_LENGTH, HEADER_LENGTH, SEGMENT_SUFFIX, VERSION},
};

const DOCUMENT: &str = include_str!("../../../docs/journal.md");

/// The bytes of the example: of each line between the fences, what is before the two spaces.
fn example() -> (String, Vec<u8>) {
    let (_, rest) = DOCUMENT.split_once("```journal\n").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let mut lines = block.lines();
    let name = lines.next().unwrap().to_owned();
    let hex = lines.flat_map(|line| line.split("  ").next().unwrap().split_whitespace());
    (name, hex.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect())
}

#[test]
fn the_example_is_what_is_written() {
    let machine = Machine::new(0);
    let settings = Settings { reserve_bytes: 0, ..Settings::default() };
    let open = || Journal::open(machine.disk("journal"), settings, &mut |_, _| {}).unwrap().0;
    let mut journal = open();
    journal.advance(258).unwrap();
    drop(journal);
    let mut journal = open();
    journal.append(&[b"mart", b"let"]).unwrap();
    journal.append(&[b""]).unwrap();
    journal.sync().unwrap();
    let image = machine.image();
    let (name, bytes) = image.files("journal").unwrap().last_key_value().unwrap();
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((name.clone(), bytes.clone()), example(), "{name}\n{}", hex.join(" "));
}

#[test]
fn the_example_is_read() {
    let (name, bytes) = example();
    let machine = Machine::new(0);
    let mut image = machine.image();
    image.files_mut("journal").insert(name, bytes);
    machine.load(&image);
    let mut seen = Vec::new();
    let visit = &mut |number, payload: &[u8]| seen.push((number, payload.to_vec()));
    Journal::open(machine.disk("journal"), Settings::default(), visit).unwrap();
    assert_eq!(seen, [(258, b"martlet".to_vec()), (259, Vec::new())]);
}

#[test]
fn the_constants_are_the_documents() {
    for sentence in [
        format!("a header of {HEADER_LENGTH} bytes"),
        format!("a head of {HEAD_LENGTH} bytes"),
        format!("version: {VERSION} |"),
        format!("`{SEGMENT_SUFFIX}`"),
        format!("`{DAMAGED_SUFFIX}`"),
    ] {
        assert!(DOCUMENT.contains(&sentence), "{sentence}");
    }
    let Settings { segment_bytes, max_record_bytes, reserve_bytes } = Settings::default();
    for (name, value) in [
        ("segment_bytes", segment_bytes),
        ("max_record_bytes", u64::from(max_record_bytes)),
        ("reserve_bytes", reserve_bytes),
    ] {
        assert!(DOCUMENT.contains(&format!("| `{name}` | {} MiB |", value >> 20)), "{name}");
    }
}
