//! A real collector on loopback, and a hand-made sensor that speaks to it.
#![allow(dead_code, reason = "each test program uses a part")]
#![expect(clippy::panic, reason = "a test fails by panicking")]

pub(crate) mod findings;
pub(crate) mod history;
pub(crate) mod mmdb;
pub(crate) mod simulated;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use martlet_collector::config::Config;
use martlet_collector::run::Collector;
use martlet_window::{
    BatchHeader, CaptureStatistics, Class, CountRow, Digest, Exposure, IpVersion, Kind, Mark, Marks, Origin, Posture,
    Service, TrafficClass, Window, WindowLength,
};
use martlet_wire::v1::{BatchEncoder, FRAME_HEADER_LENGTH, FrameHeader, Limits, Message, Stream};
use serde_json::Value;

/// 2024-11-21T10:00:00Z: aligned to a bucket, and in the past of any clock that runs this.
pub(crate) const TEN: i64 = 1_732_183_200;

pub(crate) struct Server {
    pub(crate) runtime: tokio::runtime::Runtime,
    collector: Option<Collector>,
    pub(crate) ingest: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) directory: Arc<tempfile::TempDir>,
}

impl Server {
    pub(crate) fn start() -> Server {
        Server::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Server {
        Server::in_directory(Arc::new(tempfile::tempdir().unwrap()), change)
    }

    /// With the state of an earlier one.
    pub(crate) fn in_directory(directory: Arc<tempfile::TempDir>, change: impl FnOnce(&mut Config)) -> Server {
        let mut config = Config::default();
        config.ingest.listen = "127.0.0.1:0".parse().unwrap();
        config.http.listen = "127.0.0.1:0".parse().unwrap();
        config.store.data_dir = directory.path().join("state");
        config.aggregate.merge_interval_ms = 50;
        // Acknowledgements of commits come when a test asks for them, and never in between.
        config.store.commit_interval_ms = 600_000;
        config.aggregate.workers = 2;
        change(&mut config);
        config.check().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let collector = runtime.block_on(Collector::start(config)).unwrap();
        let (ingest, http) = (collector.ingest_address, collector.http_address);
        Server { runtime, collector: Some(collector), ingest, http, directory }
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = http(self.http, "GET", path);
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    pub(crate) fn ok(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(crate) fn metrics(&self) -> String {
        http(self.http, "GET", "/metrics").2
    }

    /// Waits until so many batches are in the published view.
    pub(crate) fn wait_for_batches(&self, class: TrafficClass, batches: u64) {
        let collector = self.collector.as_ref().unwrap();
        wait(|| collector.view().class(class).totals.batches == batches);
    }

    pub(crate) fn stop(&mut self) -> std::sync::Arc<martlet_collector::live::LiveView> {
        let collector = self.collector.take().unwrap();
        self.runtime.block_on(collector.stop())
    }
}

/// The parameters of a range of time, in seconds since the Unix epoch.
pub(crate) fn range(from: i64, to: i64) -> String {
    let time = |seconds| jiff::Timestamp::from_second(seconds).unwrap();
    format!("from={}&to={}", time(from), time(to))
}

pub(crate) fn wait(condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "it did not happen within 20 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Status, head and body.
pub(crate) fn http(address: SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    send(address, &format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
}

/// The same of a request as it is sent.
pub(crate) fn send(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

/// An answer in its parts.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// A header of it, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Server {
    /// Asks with further headers, each as a line.
    pub(crate) fn ask(&self, path: &str, lines: &[&str]) -> Answer {
        let host = if lines.iter().any(|line| line.starts_with("host:")) { "" } else { "host: localhost\r\n" };
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let (status, head, body) =
            send(self.http, &format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{host}{lines}\r\n"));
        Answer { status, head, body }
    }

    /// The same with a token.
    pub(crate) fn ask_with(&self, token: &str, path: &str) -> Answer {
        self.ask(path, &[&format!("authorization: Bearer {token}")])
    }

    /// Where the store is.
    pub(crate) fn location(&self) -> martlet_collector::store::Location {
        martlet_collector::store::Location::in_directory(&self.directory.path().join("state"))
    }
}

/// The value of a metric's sample, written as in the exposition.
pub(crate) fn sample(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// A connection that has said Hello.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, name: &str) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = Client { stream };
        client.send(&Message::Hello { peer: Origin([9; 16]), name: name.parse().unwrap() });
        assert!(matches!(client.receive(), Some(Message::Welcome { .. })));
        client
    }

    pub(crate) fn send(&mut self, message: &Message) {
        let mut out = Vec::new();
        message.write(&mut out);
        self.stream.write_all(&out).unwrap();
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Receives Acks until everything below `to` is acknowledged: one may speak for several batches, but each must go
    /// beyond the one before it, and beyond `from`.
    pub(crate) fn expect_acks(&mut self, stream: Stream, mut from: u64, to: u64) {
        while from < to {
            let answer = self.receive();
            let position = match answer {
                Some(Message::Ack { stream: about, journaled, committed })
                    if about == stream && committed <= journaled =>
                {
                    journaled
                }
                _ => 0,
            };
            assert!(from < position && position <= to, "{answer:?} instead of an Ack beyond {from}, up to {to}");
            from = position;
        }
    }

    /// The next message, or `None` if the connection ended.
    pub(crate) fn receive(&mut self) -> Option<Message> {
        let mut head = [0; FRAME_HEADER_LENGTH];
        self.stream.read_exact(&mut head).ok()?;
        let header = FrameHeader::parse(&head, &Limits::default()).unwrap();
        let mut payload = vec![0; header.length as usize];
        self.stream.read_exact(&mut payload).ok()?;
        Some(Message::read(header.frame_type, &payload).unwrap())
    }

    pub(crate) fn open(&mut self, stream: Stream, name: &str) -> Option<Message> {
        self.send(&Message::Open { stream, name: name.parse().unwrap() });
        self.receive()
    }
}

/// Makes the batches of one stream.
pub(crate) struct Spool {
    pub(crate) stream: Stream,
    pub(crate) name: String,
    pub(crate) class: TrafficClass,
    pub(crate) next: u64,
    pub(crate) last: Digest,
    encoder: BatchEncoder,
}

impl Spool {
    pub(crate) fn new(origin: u8, epoch: u64, name: &str) -> Spool {
        let stream = Stream { origin: Origin([origin; 16]), epoch };
        Spool {
            stream,
            name: name.to_owned(),
            class: TrafficClass::Real,
            next: 0,
            last: Digest::default(),
            encoder: BatchEncoder::new().unwrap(),
        }
    }

    pub(crate) fn header(&self, start: i64, rows: &[CountRow]) -> BatchHeader {
        let packets = rows.iter().map(|row| u64::from(row.packets)).sum();
        BatchHeader {
            origin: self.stream.origin,
            epoch: self.stream.epoch,
            sequence: self.next,
            predecessor: self.last,
            class: self.class,
            posture: Posture::Silent,
            window: Window { start, length: WindowLength::DEFAULT },
            part: 0,
            exposure: Some(Exposure { watched_ms: 10_000, ipv4_addresses: 256, ipv6_prefixes: 1 }),
            unavailable: Marks::NONE,
            capture: CaptureStatistics { frames: packets, packets, ..CaptureStatistics::default() },
        }
    }

    /// The next batch as a frame; what follows continues from it.
    pub(crate) fn batch(&mut self, start: i64, rows: &[CountRow]) -> Vec<u8> {
        let header = self.header(start, rows);
        self.batch_of(&header, rows)
    }

    pub(crate) fn batch_of(&mut self, header: &BatchHeader, rows: &[CountRow]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.last = self.encoder.write(header, rows.iter().copied(), &mut frame).unwrap();
        self.next = header.sequence + 1;
        frame
    }

    pub(crate) fn connect(&self, server: &Server) -> Client {
        let mut client = Client::connect(server.ingest, &self.name);
        let position = client.open(self.stream, &self.name);
        assert!(matches!(position, Some(Message::Position { .. })), "{position:?}");
        client
    }
}

pub(crate) fn tcp_scan(port: u16, source: u32, packets: u32) -> CountRow {
    row(6, Service::Port(port), Kind::Scan, Marks::NONE, source, packets)
}

pub(crate) fn marked(port: u16, source: u32, packets: u32, mark: Mark) -> CountRow {
    row(6, Service::Port(port), Kind::Scan, Marks::NONE.with(mark), source, packets)
}

pub(crate) fn row(protocol: u8, service: Service, kind: Kind, marks: Marks, source: u32, packets: u32) -> CountRow {
    let class = Class { ip: IpVersion::V4, protocol, service, kind, marks };
    let source = u128::from(source);
    CountRow { class: class.into(), source, packets, targets: 1, bytes: u64::from(packets) * 40 }
}

pub(crate) fn sorted(mut rows: Vec<CountRow>) -> Vec<CountRow> {
    rows.sort_by_key(CountRow::key);
    rows
}

/// Sends batches and asserts that all are acknowledged.
pub(crate) fn deliver(client: &mut Client, spool: &mut Spool, batches: &[(i64, Vec<CountRow>)]) {
    for (start, rows) in batches {
        let frame = spool.batch(*start, rows);
        client.send_bytes(&frame);
    }
    client.expect_acks(spool.stream, spool.next - batches.len() as u64, spool.next);
}

impl Server {
    /// Posts JSON with further headers, each as a line.
    pub(crate) fn post(&self, path: &str, lines: &[&str], body: &str) -> Answer {
        self.change("POST", path, lines, body)
    }

    /// The same by another method.
    pub(crate) fn change(&self, method: &str, path: &str, lines: &[&str], body: &str) -> Answer {
        let has = |name: &str| lines.iter().any(|line| line.starts_with(name));
        let host = if has("host:") { "" } else { "host: localhost\r\n" };
        let media_type = if has("content-type:") { "" } else { "content-type: application/json\r\n" };
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n{host}{media_type}{lines}");
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let (status, head, body) = send(self.http, &request);
        Answer { status, head, body }
    }
}
