//! The uplink against a collector that refuses.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use martlet_sensor::spool::{AtCap, Spool, Spooled};
use martlet_sensor::uplink::{self, UplinkSettings, UplinkState};
use martlet_window::{Digest, Origin};
use martlet_wire::v1::{
    FRAME_HEADER_LENGTH, FrameHeader, FrameType, Limits, Message, NackReason, Stream, Totals, write_frame,
};

const STREAM: Stream = Stream { origin: Origin([7; 16]), epoch: 9 };

/// What the collector heard after the greeting.
#[derive(Debug, PartialEq)]
enum Heard {
    Batch(u64),
    Lost(u64, u64),
}

fn spool(batches: u64) -> Arc<Spool> {
    let spool = Spool::new(1 << 20, AtCap::Wait);
    for sequence in 0..batches {
        let mut frame = Vec::new();
        // The collector of this test looks at nothing but the number.
        write_frame(FrameType::Batch, &sequence.to_le_bytes(), &mut frame).unwrap();
        spool.push(Spooled { sequence, frame, window_start: 0, packets: 1, watched_ms: 1, totals: Totals::default() });
    }
    spool.close();
    Arc::new(spool)
}

fn receive(stream: &mut TcpStream) -> Option<(FrameType, Vec<u8>)> {
    let mut head = [0; FRAME_HEADER_LENGTH];
    stream.read_exact(&mut head).ok()?;
    let header = FrameHeader::parse(&head, &Limits::default()).unwrap();
    let mut payload = vec![0; header.length as usize];
    stream.read_exact(&mut payload).ok()?;
    header.verify(&payload).unwrap();
    Some((header.frame_type, payload))
}

fn send(stream: &mut TcpStream, message: &Message) {
    let mut frame = Vec::new();
    message.write(&mut frame);
    // The sensor may be gone already, when it has heard enough.
    let _ = stream.write_all(&frame);
}

/// Serves one connection: `answer` says what each batch or loss is answered with, if anything.
fn collector(listener: &TcpListener, mut answer: impl FnMut(&Heard) -> Option<Message>) -> Vec<Heard> {
    let (mut stream, peer) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut heard = Vec::new();
    while let Some((frame_type, payload)) = receive(&mut stream) {
        let what = match frame_type {
            FrameType::Hello => {
                let welcome = Message::Welcome { your_address: peer.ip(), max_batch_bytes: 8 << 20, max_rows: 1 << 19 };
                send(&mut stream, &welcome);
                continue;
            }
            FrameType::Open => {
                send(
                    &mut stream,
                    &Message::Position { stream: STREAM, expected: 0, predecessor: Some(Digest::default()) },
                );
                continue;
            }
            FrameType::Batch => Heard::Batch(u64::from_le_bytes(payload.try_into().unwrap())),
            _ => match Message::read(frame_type, &payload).unwrap() {
                Message::Lost { from, to, .. } => Heard::Lost(from, to),
                other => panic!("{other:?}"),
            },
        };
        if let Some(message) = answer(&what) {
            send(&mut stream, &message);
        }
        heard.push(what);
    }
    heard
}

fn ack(below: u64) -> Option<Message> {
    Some(Message::Ack { stream: STREAM, journaled: below, committed: below })
}

fn nack(expected: u64, reason: NackReason) -> Option<Message> {
    Some(Message::Nack { stream: STREAM, expected, reason })
}

/// Runs an uplink to its end against this collector.
fn converse(spool: &Arc<Spool>, answer: impl FnMut(&Heard) -> Option<Message> + Send) -> Vec<Heard> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = UplinkSettings {
        collector: listener.local_addr().unwrap().to_string(),
        name: "test".parse().unwrap(),
        stream: STREAM,
        max_rows: 1000,
    };
    thread::scope(|scope| {
        let heard = scope.spawn(|| collector(&listener, answer));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ended = runtime.block_on(async {
            tokio::time::timeout(
                Duration::from_secs(20),
                uplink::run(&settings, spool, &Arc::new(UplinkState::default())),
            )
            .await
        });
        ended.expect("the uplink goes in circles").unwrap();
        heard.join().unwrap()
    })
}

/// A ledger as the collector keeps it, which refuses one batch the first time it comes.
struct Ledger {
    expected: u64,
    refuse: Option<(u64, NackReason)>,
}

impl Ledger {
    fn answer(&mut self, what: &Heard) -> Option<Message> {
        match *what {
            Heard::Batch(sequence) if sequence > self.expected => nack(self.expected, NackReason::OutOfSequence),
            Heard::Batch(sequence) if sequence == self.expected => {
                if let Some((_, reason)) = self.refuse.take_if(|(bad, _)| *bad == sequence) {
                    return nack(sequence, reason);
                }
                self.expected += 1;
                ack(self.expected)
            }
            Heard::Lost(from, to) if from == self.expected => {
                self.expected = to + 1;
                ack(self.expected)
            }
            Heard::Lost(from, _) if from > self.expected => nack(self.expected, NackReason::OutOfSequence),
            Heard::Batch(_) | Heard::Lost(..) => ack(self.expected),
        }
    }
}

#[test]
fn a_batch_out_of_sequence_is_sent_again() {
    let spool = spool(5);
    let mut ledger = Ledger { expected: 0, refuse: Some((2, NackReason::OutOfSequence)) };
    let heard = converse(&spool, |what| ledger.answer(what));
    assert_eq!(ledger.expected, 5);
    assert!(heard.len() < 30, "{heard:?}");
    assert!(spool.is_done());
    assert_eq!((spool.delivered().batches, spool.dropped_in_all().batches), (5, 0));
}

#[test]
fn a_malformed_batch_is_given_up_and_announced() {
    for bad in [0, 2, 4] {
        let spool = spool(5);
        let mut ledger = Ledger { expected: 0, refuse: Some((bad, NackReason::Malformed)) };
        let heard = converse(&spool, |what| ledger.answer(what));
        assert_eq!(ledger.expected, 5, "{heard:?}");
        assert!(heard.contains(&Heard::Lost(bad, bad)), "{heard:?}");
        assert!(heard.len() < 30, "{heard:?}");
        assert_eq!((spool.delivered().batches, spool.dropped_in_all().batches), (4, 1));
        assert!(spool.is_done());
    }
}
