//! Every batch counts exactly once, whatever the connections do.

#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;

use common::{Client, Server, Spool, TEN, deliver, range, row, sample, sorted, tcp_scan, wait};
use martlet_window::{Digest, Kind, Marks, Service, TrafficClass, WindowLength};
use martlet_wire::v1::{Message, NackReason, RefusalReason, Totals, write_frame};
use serde_json::json;

fn outcomes(server: &Server) -> BTreeMap<String, u64> {
    let status = server.ok("/api/v1/status");
    let batches = status["ingest"]["batches"].as_object().unwrap();
    batches.iter().map(|(name, count)| (name.clone(), count.as_u64().unwrap())).filter(|(_, n)| *n > 0).collect()
}

/// The whole map of outcomes, which must also add up.
fn assert_outcomes(server: &Server, expected: &[(&str, u64)]) {
    let received: u64 = expected.iter().map(|(_, n)| n).sum();
    let mut all: BTreeMap<String, u64> = expected.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    all.insert("received".to_owned(), received);
    // A batch is counted as received before it has its outcome, and answered after.
    wait(|| outcomes(server).values().sum::<u64>() >= 2 * received);
    assert_eq!(outcomes(server), all);
}

fn packets(server: &Server, class: &str) -> u64 {
    let path = format!("/api/v1/summary?class={class}&{}", range(0, TEN + 86_400));
    server.ok(&path)["totals"]["packets"].as_u64().unwrap()
}

fn nack(spool: &Spool, expected: u64, reason: NackReason) -> Option<Message> {
    Some(Message::Nack { stream: spool.stream, expected, reason })
}

fn ack(spool: &Spool, next: u64) -> Option<Message> {
    Some(Message::Ack { stream: spool.stream, journaled: next, committed: 0 })
}

fn lost(spool: &Spool, from: u64, to: u64, totals: Totals) -> Message {
    Message::Lost { stream: spool.stream, from, to, totals, first_window: TEN, last_window: TEN + 600 }
}

#[test]
fn what_two_sensors_send_is_what_is_published() {
    let mut server = Server::start();
    let (mut a, mut b) = (Spool::new(1, 0, "alpha"), Spool::new(2, 0, "beta"));
    let (mut to_a, mut to_b) = (a.connect(&server), b.connect(&server));
    deliver(
        &mut to_a,
        &mut a,
        &[
            (TEN, sorted(vec![tcp_scan(23, 1, 3), tcp_scan(23, 2, 4), tcp_scan(80, 1, 1)])),
            (TEN + 10, vec![tcp_scan(23, 1, 5)]),
        ],
    );
    deliver(&mut to_b, &mut b, &[(TEN, vec![tcp_scan(23, 2, 7)]), (TEN + 10, vec![])]);
    server.wait_for_batches(TrafficClass::Real, 4);
    let ports = server.ok(&format!("/api/v1/ports?{}", range(TEN, TEN + 600)));
    assert_eq!(ports["totals"], serde_json::json!({"packets": 20, "bytes": 800}));
    assert_eq!(ports["ports"][0]["port"], 23);
    assert_eq!(ports["ports"][0]["service"], "telnet");
    assert_eq!(ports["ports"][0]["packets"], 19);
    assert_eq!(ports["ports"][0]["sources"], serde_json::json!({"count": 2, "exact": true, "error": 0.0}));
    assert_eq!(ports["ports"][1]["packets"], 1);
    let alpha = server.ok(&format!("/api/v1/ports?sensor=alpha&{}", range(TEN, TEN + 600)));
    assert_eq!(alpha["totals"]["packets"], 13);
    assert_outcomes(&server, &[("accepted", 4)]);
    let view = server.stop();
    assert_eq!(view.class(TrafficClass::Real).totals.packets, 20);
}

#[test]
fn duplicates_are_acknowledged_and_not_counted() {
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let first = spool.batch(TEN, &[tcp_scan(23, 1, 3)]);
    let second = spool.batch(TEN + 10, &[tcp_scan(23, 1, 4)]);
    for (frame, next) in [(&first, 1), (&first, 1), (&second, 2), (&first, 2), (&second, 2)] {
        client.send_bytes(frame);
        assert_eq!(client.receive(), ack(&spool, next));
    }
    // The same on another connection, which learns the position.
    let mut again = Client::connect(server.ingest, "alpha");
    let position = again.open(spool.stream, "alpha");
    let predecessor = Some(spool.last);
    assert_eq!(position, Some(Message::Position { stream: spool.stream, expected: 2, predecessor }));
    again.send_bytes(&first);
    assert_eq!(again.receive(), ack(&spool, 2));
    server.wait_for_batches(TrafficClass::Real, 2);
    assert_eq!(packets(&server, "real"), 7);
    assert_outcomes(&server, &[("accepted", 2), ("duplicate", 4)]);
}

#[test]
fn out_of_sequence_waits_and_a_gap_is_closed_by_lost() {
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let frames: Vec<Vec<u8>> = (0..5).map(|n| spool.batch(TEN + 10 * n, &[tcp_scan(23, 1, 1)])).collect();
    client.send_bytes(&frames[1]);
    assert_eq!(client.receive(), nack(&spool, 0, NackReason::OutOfSequence));
    client.send_bytes(&frames[0]);
    assert_eq!(client.receive(), ack(&spool, 1));
    // The totals up to batch 2: batch 0, which arrived, and what is lost.
    let totals = Totals { windows: 3, packets: 12, watched_ms: 30_000 };
    let lost = |from, to| lost(&spool, from, to, totals);
    client.send(&lost(2, 3));
    assert_eq!(client.receive(), nack(&spool, 1, NackReason::OutOfSequence));
    client.send(&lost(1, 2));
    assert_eq!(client.receive(), ack(&spool, 3));
    client.send(&lost(1, 2));
    assert_eq!(client.receive(), ack(&spool, 3));
    client.send_bytes(&frames[3]);
    assert_eq!(client.receive(), ack(&spool, 4));
    client.send_bytes(&frames[4]);
    assert_eq!(client.receive(), ack(&spool, 5));
    server.wait_for_batches(TrafficClass::Real, 3);
    wait(|| server.ok("/api/v1/status")["ingest"]["lost"]["batches"] == 2);
    let sensors = server.ok("/api/v1/sensors");
    let lost = serde_json::json!({"batches": 2, "windows": 2, "packets": 11, "watched_seconds": 20.0});
    assert_eq!(sensors["sensors"][0]["lost"], lost);
    assert_outcomes(&server, &[("accepted", 3), ("out_of_sequence", 1)]);
}

#[test]
fn a_broken_chain_is_refused_and_a_new_epoch_goes_on() {
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let first = spool.batch(TEN, &[tcp_scan(23, 1, 1)]);
    client.send_bytes(&first);
    assert_eq!(client.receive(), ack(&spool, 1));
    spool.last = Digest([7; 16]);
    let clone = spool.batch(TEN + 10, &[tcp_scan(23, 1, 1)]);
    client.send_bytes(&clone);
    assert_eq!(client.receive(), nack(&spool, 1, NackReason::BrokenChain));
    let mut fresh = Spool::new(1, 1, "alpha");
    assert!(matches!(client.open(fresh.stream, "alpha"), Some(Message::Position { expected: 0, .. })));
    deliver(&mut client, &mut fresh, &[(TEN + 10, vec![tcp_scan(23, 1, 1)])]);
    assert_outcomes(&server, &[("accepted", 2), ("broken_chain", 1)]);
}

/// Damages the columns and makes the frame's checksum right again.
fn with_bad_columns(frame: &[u8]) -> Vec<u8> {
    let mut payload = frame[martlet_wire::v1::FRAME_HEADER_LENGTH..].to_vec();
    let last = payload.len() - 3;
    payload[last] ^= 0x55;
    let mut out = Vec::new();
    write_frame(martlet_wire::v1::FrameType::Batch, &payload, &mut out).unwrap();
    out
}

#[test]
fn a_malformed_batch_stops_all_that_was_sent_behind_it() {
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let rows: Vec<_> = (0..50).map(|n| tcp_scan(23, n, 1 + n % 3)).collect();
    let frames: Vec<Vec<u8>> = (0..5).map(|n| spool.batch(TEN + 10 * n, &rows)).collect();
    let bad = with_bad_columns(&frames[2]);
    // All at once: the answers must come in order, a Nack for each that is refused.
    client.send_bytes(&[&frames[0][..], &frames[1], &bad, &frames[3], &frames[4]].concat());
    client.expect_acks(spool.stream, 0, 2);
    assert_eq!(client.receive(), nack(&spool, 2, NackReason::Malformed));
    assert_eq!(client.receive(), nack(&spool, 2, NackReason::OutOfSequence));
    assert_eq!(client.receive(), nack(&spool, 2, NackReason::OutOfSequence));
    // The right bytes are still welcome, and then the rest.
    client.send_bytes(&[&frames[2][..], &frames[3], &frames[4]].concat());
    client.expect_acks(spool.stream, 2, 5);
    server.wait_for_batches(TrafficClass::Real, 5);
    let each: u64 = rows.iter().map(|row| u64::from(row.packets)).sum();
    assert_eq!(packets(&server, "real"), 5 * each);
    assert_outcomes(&server, &[("accepted", 5), ("malformed", 1), ("out_of_sequence", 2)]);
}

#[test]
fn batches_that_come_together_are_acknowledged_together() {
    let server = Server::start();
    let (mut spool, mut other) = (Spool::new(1, 0, "alpha"), Spool::new(1, 1, "alpha"));
    let mut client = spool.connect(&server);
    assert!(matches!(client.open(other.stream, "alpha"), Some(Message::Position { expected: 0, .. })));
    // Two streams, duplicates, a loss and more batches than may be in flight, in one piece.
    let mut frames: Vec<Vec<u8>> = (0..100).map(|n| spool.batch(TEN + 10 * n, &[tcp_scan(23, 1, 1)])).collect();
    frames.push(frames[7].clone());
    let mut lost = Vec::new();
    let totals = Totals { windows: 105, packets: 109, watched_ms: 1_050_000 };
    self::lost(&spool, 100, 104, totals).write(&mut lost);
    frames.push(lost);
    spool.next = 105;
    frames.extend((0..10).map(|n| spool.batch(TEN + 10 * n, &[tcp_scan(23, 1, 1)])));
    frames.extend((0..10).map(|n| other.batch(TEN + 10 * n, &[tcp_scan(23, 1, 1)])));
    client.send_bytes(&frames.concat());
    let mut reached = BTreeMap::new();
    let mut answers = 0;
    while reached != BTreeMap::from([(0, 115), (1, 10)]) {
        let Some(Message::Ack { stream, journaled, .. }) = client.receive() else { panic!("no Ack") };
        answers += 1;
        let before = reached.insert(stream.epoch, journaled).unwrap_or(0);
        assert!(before <= journaled, "{journaled} after {before}");
    }
    assert!(answers < 60, "{answers} answers to 122 frames");
    server.wait_for_batches(TrafficClass::Real, 120);
    assert_eq!(packets(&server, "real"), 120);
    assert_outcomes(&server, &[("accepted", 120), ("duplicate", 1)]);
    wait(|| server.ok("/api/v1/sensors")["sensors"][0]["lost"]["packets"] == 9);
    let metric = "martlet_observed_sensor_lost_packets_total{sensor=\"alpha\"}";
    assert_eq!(sample(&server.metrics(), metric), Some(9.0));
}

#[test]
fn what_came_before_a_broken_frame_still_counts() {
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let frames: Vec<Vec<u8>> = (0..5).map(|n| spool.batch(TEN + 10 * n, &[tcp_scan(23, 1, 1)])).collect();
    client.send_bytes(&[&frames.concat()[..], b"this is no frame of ours"].concat());
    client.expect_acks(spool.stream, 0, 5);
    assert_eq!(client.receive(), Some(Message::Refused { reason: RefusalReason::Protocol }));
    assert_outcomes(&server, &[("accepted", 5)]);
}

#[test]
fn more_batches_than_memory_for_them_wait_and_count() {
    // Memory for two small batches, and four connections that want it.
    let server = Server::with(|config| {
        config.ingest.max_rows = 100;
        config.ingest.batch_memory_bytes = 140 << 10;
    });
    std::thread::scope(|scope| {
        for origin in 1..=4 {
            let server = &server;
            scope.spawn(move || {
                let mut spool = Spool::new(origin, 0, &format!("sensor-{origin}"));
                let mut client = spool.connect(server);
                let batches: Vec<_> = (0..200).map(|n| (TEN + 10 * (n % 60), vec![tcp_scan(23, 1, 1)])).collect();
                deliver(&mut client, &mut spool, &batches);
            });
        }
    });
    server.wait_for_batches(TrafficClass::Real, 800);
    assert_outcomes(&server, &[("accepted", 800)]);
}

#[test]
fn an_unreadable_header_is_malformed_in_its_place() {
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let rows = [tcp_scan(23, 1, 1)];
    let mut header = spool.header(TEN, &rows);
    header.capture.frames += 1; // one frame without an outcome
    let frame = spool.batch_of(&header, &rows);
    client.send_bytes(&frame);
    assert_eq!(client.receive(), nack(&spool, 0, NackReason::Malformed));
    client.send(&lost(&spool, 0, 0, Totals { windows: 1, packets: 1, watched_ms: 1 }));
    assert_eq!(client.receive(), ack(&spool, 1));
    assert_outcomes(&server, &[("malformed", 1)]);
    assert_eq!(server.ok("/api/v1/status")["ingest"]["frame_errors"]["inconsistent"], 1);
}

#[test]
fn connections_that_fight_over_one_stream_count_each_batch_once() {
    const BATCHES: usize = 300;
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let frames: Vec<Vec<u8>> =
        (0..BATCHES).map(|n| spool.batch(TEN + 10 * (n as i64 % 60), &[tcp_scan(23, n as u32, 1)])).collect();
    std::thread::scope(|scope| {
        for carrier in 0..4 {
            let (frames, spool, server) = (&frames, &spool, &server);
            scope.spawn(move || {
                let mut next = 0;
                while next < BATCHES {
                    let mut client = Client::connect(server.ingest, "alpha");
                    if let Some(Message::Position { expected, .. }) = client.open(spool.stream, "alpha") {
                        next = expected as usize;
                    }
                    // Until a newer connection takes the stream over; in bursts of different sizes.
                    while next < BATCHES {
                        let end = (next + 3 + 5 * carrier).min(BATCHES);
                        let burst = frames[next..end].concat();
                        if std::io::Write::write_all(&mut client.stream, &burst).is_err() {
                            break;
                        }
                        match client.receive() {
                            Some(Message::Ack { journaled, .. }) => next = journaled as usize,
                            Some(Message::Nack { expected, reason: NackReason::OutOfSequence, .. }) => {
                                next = expected as usize;
                            }
                            Some(Message::Refused { reason: RefusalReason::Superseded }) | None => break,
                            other => panic!("{other:?}"),
                        }
                    }
                }
            });
        }
    });
    server.wait_for_batches(TrafficClass::Real, BATCHES as u64);
    assert_eq!(packets(&server, "real"), BATCHES as u64);
    wait(|| server.ok("/api/v1/status")["ingest"]["connections"]["open"] == 0);
    let outcomes = outcomes(&server);
    assert_eq!(outcomes["accepted"], BATCHES as u64);
    assert_eq!(outcomes.values().sum::<u64>(), 2 * outcomes["received"]);
}

#[test]
fn a_newer_connection_takes_a_stream_over() {
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut old = spool.connect(&server);
    let first = spool.batch(TEN, &[tcp_scan(23, 1, 1)]);
    old.send_bytes(&first);
    assert_eq!(old.receive(), ack(&spool, 1));
    let mut new = spool.connect(&server);
    assert_eq!(old.receive(), Some(Message::Refused { reason: RefusalReason::Superseded }));
    assert_eq!(old.receive(), None);
    let second = spool.batch(TEN + 10, &[tcp_scan(23, 1, 1)]);
    new.send_bytes(&second);
    assert_eq!(new.receive(), ack(&spool, 2));
    assert_eq!(server.ok("/api/v1/status")["ingest"]["violations"]["superseded"], 1);
}

#[test]
fn classes_never_mix() {
    let server = Server::start();
    for (origin, class) in (1..).zip(TrafficClass::ALL) {
        let name = format!("sensor-{origin}");
        let mut spool = Spool::new(origin, 0, &name);
        spool.class = class;
        let mut client = spool.connect(&server);
        deliver(&mut client, &mut spool, &[(TEN, vec![tcp_scan(u16::from(origin), 1, 10 * u32::from(origin))])]);
        server.wait_for_batches(class, 1);
    }
    for (origin, class) in (1u64..).zip(["real", "drill", "import"]) {
        assert_eq!(packets(&server, class), 10 * origin);
        let path = format!("/api/v1/ports?class={class}&{}", range(TEN, TEN + 1));
        let ports = server.ok(&path);
        assert_eq!(ports["ports"].as_array().unwrap().len(), 1);
        assert_eq!(ports["ports"][0]["port"], origin);
        let metrics = server.metrics();
        let labelled =
            |line: &&str| line.starts_with("martlet_observed_packets_total") && line.contains(&format!("\"{class}\""));
        assert_eq!(metrics.lines().filter(labelled).count(), 1);
        let value: f64 = metrics.lines().find(labelled).unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        assert!((value - 10.0 * origin as f64).abs() < 1e-9);
    }
}

#[test]
fn a_name_belongs_to_one_origin() {
    let server = Server::start();
    let spool = Spool::new(1, 0, "alpha");
    let _client = spool.connect(&server);
    let mut thief = Client::connect(server.ingest, "alpha");
    let other = Spool::new(2, 0, "alpha");
    assert_eq!(thief.open(other.stream, "alpha"), Some(Message::Refused { reason: RefusalReason::NotAllowed }));
    assert_eq!(thief.receive(), None);
    assert_eq!(server.ok("/api/v1/status")["ingest"]["violations"]["name_taken"], 1);
}

#[test]
fn a_batch_without_open_and_frames_out_of_place_end_the_connection() {
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let frame = spool.batch(TEN, &[tcp_scan(23, 1, 1)]);
    let refused = Some(Message::Refused { reason: RefusalReason::Protocol });
    let mut client = Client::connect(server.ingest, "alpha");
    client.send_bytes(&frame);
    assert_eq!(client.receive(), refused);
    let mut client = Client::connect(server.ingest, "alpha");
    client.send(&Message::Refused { reason: RefusalReason::Idle });
    assert_eq!(client.receive(), refused);
    assert_outcomes(&server, &[("not_opened", 1)]);
    wait(|| server.ok("/api/v1/status")["ingest"]["violations"]["unexpected_frame"] == 2);
}

#[test]
fn caps_refuse_and_are_counted() {
    let server = Server::with(|config| {
        config.ingest.max_sensors = 1;
        config.ingest.max_streams_per_connection = 1;
        config.ingest.max_connections = 3;
    });
    let full = Some(Message::Refused { reason: RefusalReason::Full });
    let first = Spool::new(1, 0, "alpha");
    let mut client = first.connect(&server);
    let mut second = Client::connect(server.ingest, "beta");
    assert_eq!(second.open(Spool::new(2, 0, "beta").stream, "beta"), full);
    assert_eq!(client.open(Spool::new(1, 1, "alpha").stream, "alpha"), full);
    drop((client, second));
    wait(|| server.ok("/api/v1/status")["ingest"]["connections"]["open"] == 0);
    let _held: Vec<Client> = (0..3).map(|_| Client::connect(server.ingest, "alpha")).collect();
    let stream = std::net::TcpStream::connect(server.ingest).unwrap();
    assert_eq!(Client { stream }.receive(), full);
    let status = server.ok("/api/v1/status");
    assert_eq!(status["ingest"]["connections"]["refused"]["connections"], 1);
    assert_eq!(status["ingest"]["violations"]["sensors"], 1);
    assert_eq!(status["ingest"]["violations"]["streams"], 1);
}

#[test]
fn stopping_counts_what_was_acknowledged() {
    let mut server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let batches: Vec<_> = (0..100).map(|n| (TEN + 10 * n, vec![tcp_scan(23, 1, 1)])).collect();
    deliver(&mut client, &mut spool, &batches);
    let begun = std::time::Instant::now();
    let view = server.stop();
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    assert_eq!(view.class(TrafficClass::Real).totals.batches, 100);
    assert_eq!(client.receive(), Some(Message::Refused { reason: RefusalReason::Stopping }));
}

#[test]
fn a_peer_that_takes_no_answers_does_not_hold_up_the_end() {
    use std::io::Write;
    let mut server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let frame = spool.batch(TEN, &[tcp_scan(23, 1, 1)]);
    client.send_bytes(&frame);
    assert_eq!(client.receive(), ack(&spool, 1));
    // One that is out of sequence is refused each time it comes; Acks would speak for many.
    spool.batch(TEN + 10, &[tcp_scan(23, 1, 1)]);
    let frame = spool.batch(TEN + 20, &[tcp_scan(23, 1, 1)]);
    let many = frame.repeat(1000);
    client.stream.set_write_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    // Until everything between us is full: the answers, and then the batches.
    let mut rounds = 0;
    while client.stream.write_all(&many).is_ok() {
        rounds += 1;
        assert!(rounds < 1000, "the collector takes batches without end although nobody takes its answers");
    }
    let begun = std::time::Instant::now();
    let view = server.stop();
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(view.class(TrafficClass::Real).totals.packets, 1);
}

#[test]
fn metrics_say_what_the_api_says() {
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let icmp = row(1, Service::Icmp { icmp_type: 8, code: 0 }, Kind::Scan, Marks::NONE, 5, 2);
    deliver(&mut client, &mut spool, &[(TEN, sorted(vec![icmp, tcp_scan(23, 1, 3), tcp_scan(40_000, 1, 4)]))]);
    server.wait_for_batches(TrafficClass::Real, 1);
    let metrics = server.metrics();
    let packets = |protocol: &str, port: &str| {
        let labels = format!("class=\"real\",sensor=\"alpha\",protocol=\"{protocol}\",port=\"{port}\"");
        sample(&metrics, &format!("martlet_observed_packets_total{{{labels}}}"))
    };
    assert_eq!((packets("tcp", "23"), packets("tcp", "other"), packets("icmp", "")), (Some(3.0), Some(4.0), Some(2.0)));
    assert_eq!(sample(&metrics, "martlet_collector_ingest_batches_total{outcome=\"accepted\"}"), Some(1.0));
    assert_eq!(sample(&metrics, "martlet_collector_ingest_batches_received_total"), Some(1.0));
    assert_eq!(sample(&metrics, "martlet_collector_aggregate_rows_total"), Some(3.0));
    assert!(!metrics.contains("127.0.0.1"), "metrics must not carry addresses");
    let missing: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("# TYPE") && line.ends_with("counter") && !line.contains("_total "))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
    let gauges: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("# TYPE") && line.ends_with("gauge") && line.contains("_total "))
        .collect();
    assert_eq!(gauges, Vec::<&str>::new());
}

#[test]
fn latencies_are_told_by_metrics_and_status() {
    let server = Server::with(|config| config.store.commit_interval_ms = 50);
    let status = server.ok("/api/v1/status");
    let names: Vec<&String> = status["latency"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["acknowledgement", "commit", "freshness", "journal_sync", "merge", "queue_wait"]);
    let nothing = json!({"count": 0, "p50": null, "p99": null, "p999": null, "max": null});
    assert_eq!(status["latency"]["acknowledgement"], nothing);

    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    // Live ones come window by window, and the first three are not known to be live.
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for n in 0..5 {
        if n > 0 {
            std::thread::sleep(std::time::Duration::from_millis(600));
        }
        let rows = [tcp_scan(23, 1, 1)];
        let start = i64::try_from(now()).unwrap() - 3;
        let mut header = spool.header(start, &rows);
        header.window.length = WindowLength::from_seconds(1).unwrap();
        header.exposure = None;
        let frame = spool.batch_of(&header, &rows);
        client.send_bytes(&frame);
        loop {
            match client.receive() {
                Some(Message::Ack { journaled, .. }) if journaled == spool.next => break,
                Some(Message::Ack { .. }) => {}
                other => panic!("{other:?} instead of an Ack"),
            }
        }
    }
    let latency = |name: &str| server.ok("/api/v1/status")["latency"][name].clone();
    wait(|| latency("commit")["count"].as_u64() > Some(0) && latency("freshness")["count"] == 2);
    let metrics = server.metrics();
    for (name, family, least) in [
        ("acknowledgement", "ingest_acknowledgement", 5),
        ("queue_wait", "journal_queue_wait", 6),
        ("journal_sync", "journal_sync", 1),
        ("merge", "live_merge", 1),
        ("commit", "store_commit", 1),
        ("freshness", "freshness", 2),
    ] {
        let latency = latency(name);
        assert!(latency["count"].as_u64() >= Some(least), "{name}: {latency}");
        let value = |quantile: &str| latency[quantile].as_f64().unwrap();
        assert!(value("p50") <= value("p99") && value("p99") <= value("p999") && value("p999") <= value("max"));
        let family = format!("martlet_collector_{family}_seconds");
        for series in [format!("{family}_count"), format!("{family}_bucket{{le=\"+Inf\"}}")] {
            assert!(sample(&metrics, &series) >= Some(f64::from(u32::try_from(least).unwrap())), "{series}");
        }
        assert!(sample(&metrics, &format!("{family}_sum")) > Some(0.0), "{family}");
        let clamped = format!("martlet_collector_latency_clamped_total{{latency=\"{name}\"}}");
        assert_eq!(sample(&metrics, &clamped), Some(0.0));
    }
    // A window that ended two seconds before it came is seen within the next seconds.
    let freshness = latency("freshness");
    assert!((1.0..20.0).contains(&freshness["p50"].as_f64().unwrap()), "{freshness}");
    assert_eq!(sample(&metrics, "martlet_collector_freshness_seconds_bucket{le=\"0.5\"}"), Some(0.0));
}
