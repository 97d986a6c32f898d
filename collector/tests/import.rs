//! Imports into a store in which others have been: names and streams that are taken.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Server, Spool, TEN, deliver, tcp_scan};
use martlet_observe::aggregate::TableLimits;
use martlet_observe::classify::Aim;
use martlet_observe::import::ImportSettings;
use martlet_observe::screen::AddressSet;
use martlet_window::{Posture, TrafficClass, WindowLength};
use martlet_wire::v1::Stream;

/// A pcap file of raw IP without a frame.
const EMPTY: [u8; 24] = [
    0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0, //
];

/// As [`EMPTY`], with one frame: an IPv4 header without anything behind it.
fn one_frame() -> Vec<u8> {
    let record = [1_600_000_000, 0, 20, 20].map(u32::to_le_bytes).concat();
    let packet = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 8, 8, 4, 4, 192, 0, 2, 1];
    [&EMPTY[..], &record, &packet].concat()
}

/// Exit status, standard output and standard error.
fn import(server: &Server, file: &Path) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_martlet-collector"));
    command.args(["import", "--sensor", "old", "--data-dir"]).arg(server.directory.path().join("state")).arg(file);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The stream of a file with this content.
fn stream(content: &[u8]) -> Stream {
    let settings = ImportSettings {
        sensor: "old".parse().unwrap(),
        observe: AddressSet::default(),
        drop_solicited: false,
        aim: Aim::AsSeen,
        class: TrafficClass::Import,
        posture: Posture::Silent,
        window: WindowLength::DEFAULT,
        limits: TableLimits::default(),
    };
    Stream { origin: settings.origin(), epoch: settings.epoch(content).unwrap() }
}

/// A collector that ran, and took one batch of a stream.
fn after_a_batch_of(stream: Stream) -> Server {
    let mut server = Server::start();
    let mut spool = Spool::new(0, 0, "old");
    spool.stream = stream;
    spool.class = TrafficClass::Import;
    let mut client = spool.connect(&server);
    deliver(&mut client, &mut spool, &[(TEN, vec![tcp_scan(23, 1, 5)])]);
    server.stop();
    server
}

#[test]
fn a_name_that_a_sensor_has_is_refused() {
    let server = after_a_batch_of(Spool::new(7, 1, "old").stream);
    let file = server.directory.path().join("file.pcap");
    fs::write(&file, one_frame()).unwrap();
    let (status, out, error) = import(&server, &file);
    assert_eq!((status, out.as_str()), (1, ""), "{error}");
    assert!(error.contains("the name old belongs to a sensor; choose another with --sensor"), "{error}");
}

#[test]
fn a_stream_that_has_other_batches_is_left_alone() {
    for content in [EMPTY.to_vec(), one_frame()] {
        let server = after_a_batch_of(stream(&content));
        let file = server.directory.path().join("file.pcap");
        fs::write(&file, &content).unwrap();
        let (status, out, error) = import(&server, &file);
        assert_eq!(status, 1, "{out}{error}");
        assert!(error.contains("file.pcap: the collector knows other batches of this file"), "{error}");
        assert!(out.contains("\n0 batches new"), "{out}");
        let again = Server::in_directory(server.directory.clone(), |_| {});
        let summary = again.ok("/api/v1/summary?class=import&from=2020-01-01T00:00:00Z&to=2025-01-01T00:00:00Z");
        assert_eq!(summary["totals"]["packets"], 5);
    }
}

#[test]
fn a_file_without_a_frame_is_no_mistake() {
    let mut server = Server::start();
    server.stop();
    let file = server.directory.path().join("file.pcap");
    fs::write(&file, EMPTY).unwrap();
    let (status, out, error) = import(&server, &file);
    assert_eq!((status, error.as_str()), (0, ""));
    assert_eq!(
        out,
        "1 file: 0 frames, 0 packets counted\n0 windows or parts, 0 rows\n0 batches new, 0 known already\n"
    );
}
