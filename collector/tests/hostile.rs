//! A thousand hostile connections cost the real program bounded memory, are counted by reason, and disturb no sensor.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use common::{Client, Spool, TEN, http, sample, tcp_scan, wait};
use martlet_wire::v1::{FrameType, Message, write_frame};

/// The real program with short timeouts and no limit for one address.
struct Program {
    child: Child,
    ingest: SocketAddr,
    http: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Program {
    fn start() -> Program {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_martlet-collector"))
            .args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"])
            .arg(directory.path())
            .env("MARTLET_INGEST__MAX_CONNECTIONS_PER_ADDRESS", "2000")
            .env("MARTLET_INGEST__MAX_CONNECTIONS", "2000")
            .env("MARTLET_INGEST__MAX_WAITING_CONNECTIONS", "1000")
            .env("MARTLET_INGEST__HANDSHAKE_TIMEOUT_SECONDS", "3")
            .env("MARTLET_INGEST__FRAME_TIMEOUT_SECONDS", "3")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (ingest, http) = loop {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, rest)) = line.split_once("sensors: ") {
                let (ingest, rest) = rest.split_once("; HTTP: http://").unwrap();
                break (ingest.parse().unwrap(), rest.split_once('/').unwrap().0.parse().unwrap());
            }
        };
        // Somebody must read on, or the program would block on its log.
        std::thread::spawn(move || lines.for_each(drop));
        Program { child, ingest, http, _directory: directory }
    }

    fn resident_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    fn metric(&self, series: &str) -> f64 {
        sample(&http(self.http, "GET", "/metrics").2, series).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hello() -> Vec<u8> {
    let mut out = Vec::new();
    let peer = martlet_window::Origin([8; 16]);
    Message::Hello { peer, name: "mallory".parse().unwrap() }.write(&mut out);
    out
}

/// One hostile connection of each of five sorts.
fn attack(address: SocketAddr, sort: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut frame = Vec::new();
    write_frame(FrameType::Batch, &vec![0x5a; 8 << 20], &mut frame).unwrap();
    let _ = match sort {
        // Random bytes.
        0 => stream.write_all(&[0xa5; 300]),
        // A giant length.
        1 => {
            let mut giant = hello();
            giant.extend_from_slice(b"MRTL\x01\x05\0\0\xff\xff\xff\xff\0\0\0\0");
            stream.write_all(&giant)
        }
        // Half a header, then silence.
        2 => stream.write_all(b"MRTL\x01"),
        // A long frame of which one MiB comes.
        3 => stream.write_all(&[&hello()[..], &frame[..1 << 20]].concat()),
        // Nothing at all.
        _ => Ok(()),
    };
    stream
}

#[test]
fn a_thousand_hostile_connections() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();

    let program = Program::start();
    let mut spool = Spool::new(1, 0, "good");
    let mut client = Client::connect(program.ingest, "good");
    client.open(spool.stream, "good").unwrap();
    let before = program.resident_bytes();
    let over = AtomicBool::new(false);
    let (batches, slowest, peak) = std::thread::scope(|scope| {
        let good = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !over.load(Relaxed) {
                let rows: Vec<_> = (0..200).map(|n| tcp_scan(23, n, 1)).collect();
                let frame = spool.batch(TEN + 10 * (spool.next as i64 % 60), &rows);
                let begun = Instant::now();
                client.send_bytes(&frame);
                assert!(matches!(client.receive(), Some(Message::Ack { .. })));
                slowest = slowest.max(begun.elapsed());
                std::thread::sleep(Duration::from_millis(20));
            }
            (spool.next, slowest)
        });
        let mut peak = 0;
        let mut held = Vec::new();
        for n in 0..1000 {
            held.push(attack(program.ingest, n % 5));
            peak = peak.max(program.resident_bytes());
        }
        // Until every one of them has been thrown out.
        wait(|| program.metric("martlet_collector_ingest_connections") <= 1.0);
        peak = peak.max(program.resident_bytes());
        over.store(true, Relaxed);
        let (batches, slowest) = good.join().unwrap();
        (batches, slowest, peak)
    });
    println!(
        "resident before {} MiB, peak {} MiB; {batches} good batches, slowest answer {slowest:?}",
        before >> 20,
        peak >> 20
    );
    // 64 MiB of frames, 1000 small buffers, and room for the allocator.
    assert!(peak - before < 160 << 20, "{} MiB more", (peak - before) >> 20);
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let violation =
        |reason| program.metric(&format!("martlet_collector_ingest_violations_total{{reason=\"{reason}\"}}"));
    let frame_error =
        |reason| program.metric(&format!("martlet_collector_ingest_frame_errors_total{{reason=\"{reason}\"}}"));
    assert_eq!((frame_error("bad_magic"), frame_error("frame_too_long")), (200.0, 200.0));
    assert_eq!((violation("bad_frame"), violation("handshake_timeout")), (400.0, 200.0));
    // Half headers, and long frames: those that found memory were too slow, the others waited for it in vain.
    assert_eq!(violation("frame_timeout") + violation("memory_timeout"), 400.0);
    assert_eq!(program.metric("martlet_collector_ingest_batches_total{outcome=\"accepted\"}"), batches as f64);
}
