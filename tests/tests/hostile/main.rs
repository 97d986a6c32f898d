//! Hostile peers against the real collector: what they cost it, that they are counted, and that a sensor in order hardly notices.
//!
//! Each attack is paced, since it shares the machine with the collector and the sensor. With `--nocapture` the figures of
//! benches/results are printed: times attacked, seconds, times a second, the collector's processor time in per cent of a core, by how many
//! MiB its memory grew at most, and the median of the sensor's waits for an acknowledgement before and during the attack, in ms.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod attack;
mod honest;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};
use std::{fs, thread};

use attack::{Fortress, call_from, count, paced, whole};
use honest::{Honest, Identity, caller, over_tls, session};
use martlet_enrol::{ALPN_ENROL, ALPN_INGEST, Request, Secret, encode_request, request};
use martlet_tests::daemon::{Collector, eventually};
use martlet_wire::v1::{FrameType, Message, RefusalReason, write_frame};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;

/// Seconds of most attacks.
const LONG: f64 = 4.0;
/// Addresses that an attack comes from, unless it needs more.
const SOURCES: u64 = 40;

fn source(n: u64) -> u32 {
    u32::try_from(n % SOURCES).unwrap()
}

/// As many descriptors as the system allows.
fn allow_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// Until the other side ends it.
fn drain(mut stream: &TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
}

/// What a client says first.
fn client_hello(fortress: &Fortress) -> Vec<u8> {
    let mut hello = Vec::new();
    session(&caller(&fortress.ca("honest"), None, ALPN_INGEST)).write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn garbage_instead_of_tls() {
    let fortress = Fortress::new(&[], None);
    let mut sensor = Honest::connect(fortress.collector.ingest, Some(&fortress.sensor("honest")), "honest");
    let hello = client_hello(&fortress);
    let mut mangled = hello.clone();
    // Lengths within the message that do not fit together.
    mangled[43..].fill(0xa5);
    let mut random = [0; 600];
    random.iter_mut().enumerate().for_each(|(n, byte)| *byte = u8::try_from(n * 151 % 251).unwrap());
    random[0] = 0x7f;
    let toll = fortress.endure("garbage", &mut sensor, || {
        paced(300, LONG, |n| {
            let Some(mut stream) = call_from(source(n), fortress.collector.ingest) else { return };
            let bytes = match n % 3 {
                0 => &random[..],
                1 => &hello[..hello.len() / 2],
                _ => &mangled[..],
            };
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            drain(&stream);
        })
    });
    let reasons = ["not_tls", "broken", "other"].map(|reason| fortress.metric("ingest_tls_failures_total", reason));
    assert_eq!(fortress.metric("ingest_violations_total", "tls_handshake"), toll.attacks);
    assert_eq!(reasons.iter().sum::<u64>(), toll.attacks, "{reasons:?}");
    assert!(reasons.iter().all(|&count| count >= toll.attacks / 3), "{reasons:?} of {}", toll.attacks);
    toll.is_at_most(32, 0.5);
}

#[test]
fn handshakes_of_a_byte_a_second() {
    let fortress = Fortress::new(&[("MARTLET_INGEST__HANDSHAKE_TIMEOUT_SECONDS", "3")], None);
    let mut sensor = Honest::connect(fortress.collector.ingest, Some(&fortress.sensor("honest")), "honest");
    let hello = client_hello(&fortress);
    // More than may wait, so that the first ones give way, and the others run out of time.
    let slow = 400;
    let toll = fortress.endure("one byte a second", &mut sensor, || {
        let mut streams: Vec<TcpStream> =
            (0..slow).map(|n| call_from(source(n), fortress.collector.ingest).unwrap()).collect();
        for byte in hello.iter().take(5) {
            streams.iter_mut().for_each(|stream| drop(stream.write_all(&[*byte])));
            thread::sleep(Duration::from_secs(1));
        }
        streams.iter().for_each(drain);
        slow
    });
    let violation = |reason| fortress.metric("ingest_violations_total", reason);
    let (late, crowded) = (violation("handshake_timeout"), violation("crowded_out"));
    assert_eq!(late + crowded, slow, "{late}, {crowded}");
    assert!(crowded >= slow - 256, "{crowded}");
    assert!(toll.seconds < 15.0, "they were not ended in time: {} s", toll.seconds);
    toll.is_at_most(32, 0.5);
}

#[test]
fn ten_thousand_connections_that_say_nothing() {
    allow_descriptors();
    let fortress = Fortress::new(&[], None);
    let mut sensor = Honest::connect(fortress.collector.ingest, Some(&fortress.sensor("honest")), "honest");
    let late = fortress.sensor("late");
    let open = || whole(&fortress.collector, "ingest_connections");
    let silent = 10_000;
    let toll = fortress.endure("10,000 silent connections", &mut sensor, || {
        let mut held = Vec::new();
        let mut slowest = Duration::ZERO;
        for n in 0..silent {
            // Fifty from each address, fewer than one may have.
            held.push(call_from(n / 50, fortress.collector.ingest));
            if n % 2_500 == 2_499 {
                // A sensor that comes now gets in.
                let begun = Instant::now();
                Honest::connect(fortress.collector.ingest, Some(&late), "late").deliver();
                slowest = slowest.max(begun.elapsed());
                assert!(open() <= 256 + 2, "{}", open());
            }
        }
        // Of which most is the listen queue, if that is full for a moment.
        assert!(slowest < Duration::from_secs(5), "{slowest:?}");
        assert_eq!(held.iter().flatten().count(), held.len());
        u64::from(silent)
    });
    eventually("the end of them", || open() <= 2);
    let refused = fortress.metric("ingest_connections_refused_total", "connections");
    assert_eq!((refused, fortress.metric("ingest_connections_refused_total", "accept_failed")), (0, 0));
    let crowded = fortress.metric("ingest_violations_total", "crowded_out");
    assert!((9_000..=10_000).contains(&crowded), "{crowded}");
    toll.is_at_most(64, 0.9);
}

#[test]
fn a_collector_with_few_descriptors_keeps_some_for_its_files() {
    allow_descriptors();
    // Files are opened all the time: an archive with every commit, which comes every quarter of a second.
    let settings = [("MARTLET_STORE__COMMIT_INTERVAL_MS", "250"), ("MARTLET_ARCHIVE__PENDING_BYTES", "0")];
    let fortress = Fortress::new(&[&settings[..], &[("MARTLET_HTTP__MAX_CONNECTIONS", "64")]].concat(), Some(400));
    let mut sensor = Honest::connect(fortress.collector.ingest, Some(&fortress.sensor("honest")), "honest");
    let late = fortress.sensor("late");
    let sum = |name: &str| whole(&fortress.collector, name);
    let (commits, rows) = (sum("store_commits_total"), sum("archive_rows"));
    let mut most = 0;
    let toll = fortress.endure("2,000 silent, 400 descriptors", &mut sensor, || {
        // The handshake of the first ones: those that keep their places are no strangers, so all others share what is left.
        let held: Vec<_> = (0..2_000)
            .map(|n| {
                if n % 100 == 0 {
                    let files = fs::read_dir(format!("/proc/{}/fd", fortress.collector.id())).unwrap().count();
                    most = most.max(files);
                    thread::sleep(Duration::from_millis(150));
                }
                call_from(n / 50, fortress.collector.ingest)
            })
            .collect();
        Honest::connect(fortress.collector.ingest, Some(&late), "late").deliver();
        held.len() as u64
    });
    assert!(most < 350, "{most} of 400 descriptors were in use");
    assert_eq!(fortress.metric("ingest_connections_refused_total", "accept_failed"), 0);
    assert!(sum("store_commits_total") > commits + 4, "{} commits", sum("store_commits_total") - commits);
    eventually("more rows in the archive", || sum("archive_rows") > rows);
    toll.is_at_most(32, 0.9);
}

/// A chain that nobody trusts, of certificates that are all the same.
fn made_up(length: usize, padding: usize) -> Identity {
    let mut params = CertificateParams::new(["stranger.example".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "x".repeat(padding));
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Identity { chain: vec![certificate.der().clone(); length], key }
}

#[test]
fn floods_of_certificates_and_tokens() {
    let fortress = Fortress::new(&[], None);
    let mut sensor = Honest::connect(fortress.collector.ingest, Some(&fortress.sensor("honest")), "honest");
    let ca = fortress.ca("honest");
    let as_sensor = |identity| caller(&ca, Some(identity), ALPN_INGEST);
    // Just below and far above the 64 KiB that rustls takes of a handshake's message.
    let shown = [as_sensor(made_up(1, 9)), as_sensor(made_up(100, 100)), as_sensor(made_up(100, 5_000))];
    let nobody = caller(&ca, None, ALPN_INGEST);
    let enrols = caller(&ca, None, ALPN_ENROL);
    let key = request().unwrap().request;
    let mut giant = u32::MAX.to_le_bytes().to_vec();
    giant.extend([0; 1000]);
    let toll = fortress.endure("certificates and tokens", &mut sensor, || {
        paced(120, LONG, |n| {
            let Some(stream) = call_from(source(n), fortress.collector.ingest) else { return };
            let (config, words) = match n % 6 {
                kind @ 0..3 => (&shown[usize::try_from(kind).unwrap()], Vec::new()),
                3 => (&nobody, Vec::new()),
                4 => (&enrols, encode_request(&Request { secret: Some(Secret::new()), request: key.clone() }).unwrap()),
                _ => (&enrols, giant.clone()),
            };
            let mut line = over_tls(config, stream);
            let _ = line.write_all(&words).and_then(|()| line.flush());
            // To its end: an answer, or an alert.
            let _ = std::io::copy(&mut line, &mut std::io::sink());
        })
    });
    let each = toll.attacks / 6;
    let failures = |reason| fortress.metric("ingest_tls_failures_total", reason);
    let outcome = |outcome| fortress.metric("enrolments_total", outcome);
    let bad = failures("bad_certificate");
    assert!(bad >= 2 * each && bad + failures("other") + failures("broken") >= 3 * each, "{bad} of {}", toll.attacks);
    assert!(failures("no_certificate") >= each, "{}", failures("no_certificate"));
    assert!(outcome("not_valid") >= each && outcome("torn") >= each, "{} {}", outcome("not_valid"), outcome("torn"));
    let counted = fortress.metric("ingest_violations_total", "tls_handshake") + outcome("not_valid") + outcome("torn");
    assert_eq!(counted, toll.attacks);
    toll.is_at_most(48, 0.6);
}

/// Limits that frames can be just over without being large.
const TIGHT: [(&str, &str); 3] = [
    ("MARTLET_INGEST__MAX_BATCH_BYTES", "65536"),
    ("MARTLET_INGEST__MAX_ROWS", "1000"),
    ("MARTLET_INGEST__MAX_STREAMS_PER_CONNECTION", "4"),
];

/// How often what was wrong is counted, by family and reason.
const WRONG: [(&str, &str); 12] = [
    ("ingest_frame_errors_total", "bad_magic"),
    ("ingest_frame_errors_total", "unknown_version"),
    ("ingest_frame_errors_total", "unknown_frame_type"),
    ("ingest_frame_errors_total", "reserved_bits"),
    ("ingest_frame_errors_total", "frame_too_long"),
    ("ingest_frame_errors_total", "frame_too_long"),
    ("ingest_frame_errors_total", "bad_checksum"),
    ("ingest_frame_errors_total", "bad_name"),
    ("ingest_frame_errors_total", "bad_length"),
    ("ingest_frame_errors_total", "too_many_rows"),
    ("ingest_violations_total", "streams"),
    ("ingest_violations_total", "unexpected_frame"),
];

/// Breaks the rule of that place in [`WRONG`], and hears what comes of it.
fn break_rule(peer: &mut Honest, place: usize) -> Option<Message> {
    let mut frame = peer.batch(2);
    let whole = |frame_type, payload: &[u8]| {
        let mut frame = Vec::new();
        write_frame(frame_type, payload, &mut frame).unwrap();
        frame
    };
    let stream = [&peer.stream.origin.0[..], &peer.stream.epoch.to_le_bytes()].concat();
    match place {
        0 => frame[0] ^= 1,
        1 => frame[4] = 2,
        2 => frame[5] = 10,
        3 => frame[6] = 1,
        4 => frame = whole(FrameType::Hello, &[b'a'; 513]),
        5 => {
            frame = whole(FrameType::Batch, &vec![0x5a; 65_537]);
            // It is refused for what it claims; with more of it unread the answer might be lost as the connection ends.
            frame.truncate(100);
        }
        6 => *frame.last_mut().unwrap() ^= 1,
        // A name one longer than names are.
        7 => frame = whole(FrameType::Open, &[&stream[..], &[33], &[b'a'; 33]].concat()),
        8 => frame = whole(FrameType::Lost, &[0; 81]),
        9 => {
            peer.sequence = 0;
            frame = peer.batch(1001);
        }
        10 => {
            let name: martlet_window::SensorName =
                std::str::from_utf8(&peer.stream.origin.0[..7]).unwrap().parse().unwrap();
            frame.clear();
            for epoch in 0..4 {
                let stream = martlet_wire::v1::Stream { epoch, ..peer.stream };
                Message::Open { stream, name: name.clone() }.write(&mut frame);
            }
        }
        _ => frame = whole(FrameType::Ack, &[0; 40]),
    }
    peer.write(&frame).ok()?;
    loop {
        match peer.hear() {
            Some(Message::Position { .. }) => {}
            other => return other,
        }
    }
}

fn frames_over_every_limit(fortress: &Fortress, target: &Collector, over_tls: bool) {
    let config = |name| over_tls.then(|| fortress.sensor(name));
    let (honest, mallory) = (config("honest"), config("mallory"));
    let mut sensor = Honest::connect(target.ingest, honest.as_ref(), "honest");
    let name = if over_tls { "frames over limits, TLS" } else { "frames over limits, plain" };
    let toll = fortress.endure(name, &mut sensor, || {
        paced(120, LONG, |n| {
            let mut peer = Honest::connect(target.ingest, mallory.as_ref(), "mallory");
            let place = usize::try_from(n % 12).unwrap();
            let told = break_rule(&mut peer, place);
            let is_told = match place {
                9 => matches!(told, Some(Message::Nack { .. })),
                10 => told == Some(Message::Refused { reason: RefusalReason::Full }),
                _ => told == Some(Message::Refused { reason: RefusalReason::Protocol }),
            };
            assert!(is_told, "{:?}: {told:?}", WRONG[place]);
        })
    });
    for (family, reason) in WRONG {
        let places = WRONG.iter().filter(|&&other| other == (family, reason)).count() as u64;
        let counted = count(target, family, reason);
        let least = places * (toll.attacks / 12);
        assert!((least..=least + places).contains(&counted), "{reason}: {counted} of {}", toll.attacks);
    }
    assert_eq!(
        count(target, "ingest_batches_total", "malformed"),
        count(target, "ingest_frame_errors_total", "too_many_rows")
    );
    toll.is_at_most(48, 0.6);
}

#[test]
fn frames_over_every_limit_of_an_enrolled_peer() {
    let fortress = Fortress::new(&TIGHT, None);
    frames_over_every_limit(&fortress, &fortress.collector, true);
}

#[test]
fn frames_over_every_limit_without_tls() {
    let fortress = Fortress::plain(&TIGHT);
    frames_over_every_limit(&fortress, &fortress.collector, false);
}
