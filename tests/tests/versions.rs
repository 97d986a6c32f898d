//! Sensors of other versions: what one of version 1 has sent counts for ever, and one of a later version is told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use martlet_tests::daemon::{Collector, eventually, packets};

/// What martlet-sensor 0.1.0 sent from a capture of 40 SYNs to port 23, and then a Lost of one more window with 7 packets: recorded, and
/// never made again.
const RECORDED: &[u8] = include_bytes!("data/sensor-v1.bin");
const HEADER: usize = 16;
const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const OPEN: u8 = 3;
const POSITION: u8 = 4;
const BATCH: u8 = 5;
const ACK: u8 = 6;
const LOST: u8 = 8;
const REFUSED: u8 = 9;

/// Types and payloads of frames in bytes.
fn frames(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        assert_eq!(&bytes[..5], b"MRTL\x01");
        let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
        frames.push((bytes[5], &bytes[HEADER..HEADER + length]));
        bytes = &bytes[HEADER + length..];
    }
    frames
}

fn number(payload: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(payload[offset..offset + 8].try_into().unwrap())
}

fn answer(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; HEADER];
    stream.read_exact(&mut head).unwrap();
    let mut payload = vec![0; u32::from_le_bytes(head[8..12].try_into().unwrap()) as usize];
    stream.read_exact(&mut payload).unwrap();
    (head[5], payload)
}

fn connect(collector: &Collector) -> TcpStream {
    let stream = TcpStream::connect(collector.ingest).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

#[test]
fn what_a_sensor_of_version_1_sent_counts_as_it_says() {
    let sent = frames(RECORDED);
    let types: Vec<u8> = sent.iter().map(|(of, _)| *of).collect();
    let batches = types.iter().filter(|of| **of == BATCH).count();
    assert_eq!((&types[..2], types.last()), (&[HELLO, OPEN][..], Some(&LOST)));
    assert_eq!(batches + 3, types.len());
    let said: u64 = sent.iter().filter(|(of, _)| *of == BATCH).map(|(_, payload)| number(payload, 96)).sum();
    assert_eq!(said, 40);

    let collector = Collector::start();
    let mut stream = connect(&collector);
    stream.write_all(RECORDED).unwrap();
    let (welcome, position) = (answer(&mut stream).0, answer(&mut stream));
    assert_eq!((welcome, position.0, number(&position.1, 24)), (WELCOME, POSITION, 0));
    // Acks up to behind the Lost, which takes the number of one batch.
    let mut journaled = 0;
    while journaled < batches as u64 + 1 {
        let (of, payload) = answer(&mut stream);
        assert_eq!(of, ACK);
        journaled = number(&payload, 24);
    }
    eventually("the packets to be counted", || packets(&collector.api("/api/v1/status"), "drill") == said);
    let lost =
        |what: &str| collector.metric(&format!("martlet_observed_sensor_lost_{what}_total{{sensor=\"v1-sensor\"}}"));
    eventually("the loss to be told", || (lost("packets") - 7.0).abs() < 0.5);
    assert!((lost("windows") - 1.0).abs() < 0.5 && (lost("batches") - 1.0).abs() < 0.5);
    let violations = collector.api("/api/v1/status")["ingest"]["violations"].clone();
    assert!(violations.as_object().unwrap().values().all(|count| count == 0), "{violations}");
}

#[test]
fn a_sensor_of_a_later_version_is_refused_and_counted() {
    let collector = Collector::start();
    let mut stream = connect(&collector);
    let mut later = RECORDED.to_vec();
    later[4] = 2;
    stream.write_all(&later[..HEADER + 32]).unwrap();
    // In a frame of the version that this collector speaks: Refused, not the protocol.
    let mut head = [0; HEADER];
    stream.read_exact(&mut head).unwrap();
    let mut reason = [0; 1];
    stream.read_exact(&mut reason).unwrap();
    assert_eq!((&head[..6], reason), (&[b'M', b'R', b'T', b'L', 1, REFUSED][..], [2]));
    let status = collector.api("/api/v1/status");
    assert_eq!(status["ingest"]["frame_errors"]["unknown_version"], 1, "{status}");
}
