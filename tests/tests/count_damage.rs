//! Damaged captures: what is in front of the damage counts, and what is behind it wherever the framing is intact.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use martlet_tests::capture::{Order, boundaries, ethernet, ipv4, pcap, pcapng, tcp};
use martlet_tests::program::{Outcome, program, run};
use martlet_tests::shared;
use serde_json::{Value, json};

fn count(arguments: &[&str], file: &Path) -> Outcome {
    run(Command::new(program("martlet-sensor")).args(["count", "--format", "json"]).args(arguments).arg(file), b"")
}

fn count_bytes(arguments: &[&str], capture: &[u8]) -> Outcome {
    let command = &mut Command::new(program("martlet-sensor"));
    run(command.args(["count", "--format", "json"]).args(arguments).arg("-"), capture)
}

fn packet(source: u8) -> Vec<u8> {
    ipv4(6, [8, 8, 8, source], [192, 0, 2, 1], &tcp(40_000, 23, 1, 0x02))
}

fn good(source: u8) -> Vec<u8> {
    ethernet(0x0800, &packet(source))
}

fn damaged() -> Vec<(&'static str, Vec<u8>)> {
    let mut version = packet(2);
    version[0] = 0x75;
    let mut header_length = packet(2);
    header_length[0] = 0x44;
    vec![
        ("truncated_link", good(2)[..13].to_vec()),
        ("truncated_link", Vec::new()),
        ("truncated_link", ethernet(0x8100, &[0, 1, 8])),
        ("not_ip", ethernet(0x0806, &[0; 28])),
        ("not_ip", ethernet(0x8847, &[0, 1, 0x01, 64, 0x45])),
        ("truncated_ip", good(2)[..14].to_vec()),
        ("truncated_ip", good(2)[..33].to_vec()),
        ("truncated_ip", ethernet(0x86dd, &[0x60; 39])),
        ("bad_ip_version", ethernet(0x0800, &version)),
        ("bad_ip_header", ethernet(0x0800, &header_length)),
    ]
}

#[test]
fn a_damaged_frame_hides_none_behind_it() {
    for (reason, frame) in damaged() {
        for capture in [
            pcap(Order::Little, 1, &[&good(1), &frame, &good(3)]),
            pcapng(Order::Big, 1, &[&good(1), &frame, &good(3)]),
        ] {
            let outcome = count_bytes(&[], &capture);
            // A damaged frame is the sender's or the snap length's doing, not the file's.
            assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{reason}");
            let report = outcome.json();
            assert_eq!(report["rejected"], json!({ reason: 1 }));
            assert_eq!((&report["packets"], &report["sources"]), (&json!(2), &json!(2)), "{reason}");
        }
    }
}

#[test]
fn a_screened_frame_hides_none_behind_it() {
    let observed = [192, 0, 2, 1];
    let segment = tcp(40_000, 23, 1, 0x02);
    let screened = [
        ("outbound", ipv4(6, observed, [8, 8, 8, 8], &segment)),
        ("not_observed", ipv4(6, [8, 8, 8, 8], [192, 0, 2, 2], &segment)),
        ("link_local", ipv4(6, [169, 254, 0, 1], observed, &segment)),
    ];
    for (reason, packet) in screened {
        let frames = [good(1), ethernet(0x0800, &packet), good(3)];
        let report = count_bytes(&["--observe", "192.0.2.1"], &pcap(Order::Little, 1, &frames)).json();
        assert_eq!((&report["rejected"], &report["packets"]), (&json!({ reason: 1 }), &json!(2)));
    }
}

#[test]
fn an_unread_link_type_hides_nothing_behind_it() {
    // Sections of one file, each with its own byte order and link type.
    let capture = [
        pcapng(Order::Little, 1, &[&good(1)]),
        pcapng(Order::Little, 195, &[&good(2), &good(2)]),
        pcapng(Order::Big, 101, &[&packet(3)]),
    ]
    .concat();
    let outcome = count_bytes(&[], &capture);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("2 frames have link type 195"), "{}", outcome.stderr);
    let report = outcome.json();
    assert_eq!((&report["rejected"], &report["packets"]), (&json!({"unsupported_link_type": 2}), &json!(2)));
}

#[test]
fn damage_inside_a_pcapng_block_is_named_and_skipped() {
    let mut capture = pcapng(Order::Little, 1, &[&good(1), &good(2), &good(3)]);
    let (second, _) = boundaries(&capture)[2];
    // The block claims more captured bytes than it has; its framing is intact.
    capture[second + 8 + 12..second + 8 + 16].copy_from_slice(&9999u32.to_le_bytes());
    let outcome = count_bytes(&[], &capture);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains(&format!("at offset {second}: ")), "{}", outcome.stderr);
    assert_eq!(outcome.json()["packets"], 2);
}

#[test]
fn a_compressed_file_that_is_cut_off_counts_as_far_as_it_goes() {
    let frames = vec![good(1); 50];
    let plain = pcap(Order::Little, 1, &frames);
    let whole = zstd::encode_all(&*[&plain[..], &plain[24..]].concat(), 1).unwrap();
    // The second frame of the stream is missing its end.
    let capture = [zstd::encode_all(&*plain, 1).unwrap(), whole[..whole.len() - 3].to_vec()].concat();
    let outcome = count_bytes(&[], &capture);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("(offset after decompression)"), "{}", outcome.stderr);
    assert!(outcome.json()["packets"].as_u64() >= Some(50));
}

/// Cuts a capture behind every byte. The frames of whole records count; an end at a record's boundary is no damage;
/// anywhere else the error names the file and the offset of the record that is cut off.
fn cut_everywhere(capture: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cut.pcap");
    let places = boundaries(capture);
    assert_eq!(places.last().unwrap().0, capture.len());
    for length in 0..=capture.len() {
        fs::write(&file, &capture[..length]).unwrap();
        let outcome = count(&[], &file);
        let &(offset, frames) = places.iter().rev().find(|(place, _)| *place <= length).unwrap_or(&(0, 0));
        let whole = offset == length && length > 0;
        let report = outcome.json();
        assert_eq!(report["frames"], frames, "cut at {length}");
        assert_eq!(outcome.code, Some(i32::from(!whole)), "cut at {length}: {}", outcome.stderr);
        let complaint = format!("martlet-sensor: {}: at offset {offset}: ", file.display());
        assert_eq!(outcome.stderr.starts_with(&complaint), !whole, "cut at {length}: {}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), usize::from(!whole), "cut at {length}: {}", outcome.stderr);
    }
}

#[test]
fn pcap_files_cut_at_every_length() {
    let frames = [good(1), good(2)[..13].to_vec(), good(3)];
    cut_everywhere(&pcap(Order::Little, 1, &frames));
    cut_everywhere(&pcap(Order::Big, 1, &frames));
}

#[test]
fn pcapng_files_cut_at_every_length() {
    let frames = [good(1), good(2)[..13].to_vec(), good(3)];
    cut_everywhere(&pcapng(Order::Little, 1, &frames));
    cut_everywhere(&pcapng(Order::Big, 1, &frames));
}

#[test]
fn shared_pcap_files_cut_at_every_length() {
    cut_shared(&["le.pcap", "be.pcap"]);
}

#[test]
fn shared_pcapng_files_cut_at_every_length() {
    cut_shared(&["test001-le.pcapng", "test001-be.pcapng", "test017-le.pcapng", "test017-be.pcapng"]);
}

fn cut_shared(names: &[&str]) {
    let Some(captures) = shared::captures() else { return };
    for name in names {
        let capture = fs::read(captures.join("odd/formats").join(name)).unwrap();
        cut_everywhere(&capture);
    }
}

#[test]
fn the_shared_damaged_files() {
    let Some(damaged) = shared::captures().map(|captures| captures.join("odd/damaged")) else { return };
    // Frames in front of the damage, and its offset.
    for (name, frames, offset) in
        [("fuzz.pcap", 1, 228), ("honeypot.pcap", 0, 0), ("tls_DER-incomplete-header.pcap", 6, 5035)]
    {
        let outcome = count(&[], &damaged.join(name));
        assert_eq!(outcome.code, Some(1), "{name}");
        assert!(outcome.stderr.contains(&format!(": at offset {offset}: ")), "{}", outcome.stderr);
        let report: Value = outcome.json();
        assert_eq!(report["frames"], frames, "{name}");
    }
}
