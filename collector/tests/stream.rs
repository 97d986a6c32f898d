//! Live updates: `/api/v1/stream`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{Server, Spool, TEN, deliver, http, sample, tcp_scan, wait};
use martlet_collector::tokens::LoopbackScope;
use serde_json::{Value, json};

/// A client of a stream.
struct Stream {
    connection: TcpStream,
    /// What has been read and not looked at, without its chunks' lengths.
    text: String,
    head: String,
}

impl Stream {
    fn open(server: &Server) -> Stream {
        let mut connection = TcpStream::connect(server.http).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let request = "GET /api/v1/stream HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
        connection.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(byte(&mut connection).unwrap());
        }
        Stream { connection, text: String::new(), head: String::from_utf8(head).unwrap() }
    }

    /// The next chunk of the body, `None` at its proper end.
    fn chunk(&mut self) -> Option<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(byte(&mut self.connection).unwrap());
        }
        let length = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim_end(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        self.connection.read_exact(&mut chunk).unwrap();
        chunk.truncate(length);
        (length > 0).then(|| String::from_utf8(chunk).unwrap())
    }

    /// The lines of the next event, `None` when the stream has ended.
    fn event(&mut self) -> Option<Vec<String>> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.lines().map(str::to_owned).collect();
                self.text = rest.to_owned();
                return Some(event);
            }
            let chunk = self.chunk()?;
            self.text.push_str(&chunk);
        }
    }

    /// Number and data of the next event.
    fn status(&mut self) -> (u64, Value) {
        let lines = self.event().unwrap();
        let field = |name: &str| {
            let mut found = lines.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            found.next().unwrap_or_else(|| panic!("no {name} in {lines:?}")).to_owned()
        };
        assert_eq!(field("event"), "status");
        (field("id").parse().unwrap(), serde_json::from_str(&field("data")).unwrap())
    }
}

fn byte(connection: &mut TcpStream) -> Option<u8> {
    let mut byte = [0];
    connection.read_exact(&mut byte).ok()?;
    Some(byte[0])
}

fn open_streams(server: &Server) -> Option<f64> {
    sample(&server.metrics(), "martlet_collector_http_streams")
}

#[test]
fn a_change_comes_within_a_second_or_two() {
    let server = Server::start();
    assert_eq!(open_streams(&server), Some(0.0));
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let (mut one, mut two) = (Stream::open(&server), Stream::open(&server));
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
        ("vary", "accept, authorization"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert!(one.head.contains(&format!("\r\n{name}: {value}\r\n")), "{}", one.head);
    }
    let first = one.event().unwrap();
    assert_eq!((first[0].as_str(), first[1].as_str(), first.len()), ("retry: 5000", "event: status", 4));
    let (before, status) = two.status();
    // The same as without a stream, but for what goes on with the clock.
    let mut asked = server.ok("/api/v1/status");
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&status), names(&asked));
    assert_eq!(status["classes"], json!([]));
    assert_eq!(open_streams(&server), Some(2.0));

    deliver(&mut client, &mut spool, &[(TEN, vec![tcp_scan(23, 1, 7)])]);
    let begun = Instant::now();
    for stream in [&mut one, &mut two] {
        let (id, status) = loop {
            let (id, status) = stream.status();
            if status["classes"] != json!([]) {
                break (id, status);
            }
        };
        assert!(id > before, "{id} {before}");
        assert_eq!(status["classes"][0]["packets"], 7);
        asked = server.ok("/api/v1/status");
        assert_eq!(status["classes"][0]["recent"], asked["classes"][0]["recent"]);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // A client that goes is forgotten.
    drop((one, two));
    wait(|| open_streams(&server) == Some(0.0));
}

#[test]
fn what_is_no_stream_is_refused() {
    let server = Server::with(|config| config.http.max_streams = 1);
    for (path, lines, status, kind) in [
        ("/api/v1/stream?format=json", &[][..], 400, "unknown-parameter"),
        ("/api/v1/stream?class=real", &[], 400, "unknown-parameter"),
        ("/api/v1/stream", &["accept: application/json"], 406, "not-acceptable"),
        ("/api/v1/stream", &["host: rebound.example.net"], 401, "token-missing"),
    ] {
        let answer = server.ask(path, lines);
        assert_eq!((answer.status, &answer.json()["type"]), (status, &json!(format!("urn:martlet:problem:{kind}"))));
    }
    // Headers alone take no place.
    for _ in 0..3 {
        let (status, head, body) = http(server.http, "HEAD", "/api/v1/stream");
        assert_eq!((status, body.as_str()), (200, ""), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
    }
    let mut only = Stream::open(&server);
    only.status();
    let refused = server.ask("/api/v1/stream", &[]);
    assert_eq!((refused.status, &refused.json()["type"]), (503, &json!("urn:martlet:problem:busy")));
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(only);
    wait(|| open_streams(&server) == Some(0.0));
    Stream::open(&server).status();

    let public = Server::with(|config| config.http.loopback_scope = LoopbackScope::Public);
    assert_eq!(public.ask("/api/v1/stream", &[]).status, 403);
}

#[test]
fn the_time_for_an_answer_does_not_end_it() {
    let server = Server::with(|config| config.http.request_timeout_seconds = 1);
    let mut stream = Stream::open(&server);
    let (first, begun) = (stream.status().0, Instant::now());
    // Nothing changes, so the next one comes for its age.
    let (second, status) = stream.status();
    assert!((Duration::from_secs(14)..Duration::from_secs(18)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(second, first);
    assert!(status["uptime_seconds"].as_u64().unwrap() >= 14);
}

#[test]
fn streams_end_with_the_collector_and_do_not_keep_it() {
    let mut server = Server::start();
    let mut streams: Vec<Stream> = (0..4).map(|_| Stream::open(&server)).collect();
    for stream in &mut streams {
        stream.status();
    }
    let begun = Instant::now();
    server.stop();
    let taken = begun.elapsed();
    for stream in &mut streams {
        // Its end is one, and no connection that breaks: a browser asks again.
        while stream.event().is_some() {}
        assert_eq!(byte(&mut stream.connection), None);
    }
    assert!(taken < Duration::from_secs(3), "{taken:?}");
}
