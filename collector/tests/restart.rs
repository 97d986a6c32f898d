//! What a collector knew before it was stopped or killed, it knows after.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::simulated::{Sensor, World};
use common::{Client, Server, Spool, TEN, deliver, http, marked, row, sorted, tcp_scan, wait};
use martlet_collector::aggregate::{HOUR_SECONDS, HourKey, SensorHour};
use martlet_collector::ingest::{Lost, SensorId};
use martlet_collector::store::{Location, Reader, SCHEMA_VERSION, Store, StoreError};
use martlet_journal::simulated::Crash;
use martlet_window::{Kind, Mark, Marks, Service, TrafficClass};
use martlet_wire::v1::{Message, Totals};
use serde_json::{Value, json};

const QUERIES: [&str; 6] = [
    "summary?class=real",
    "summary?class=import&step=4h",
    "ports?class=real",
    "ports?class=real&sensor=beta&kind=scan",
    "sources?class=real",
    "sensors?class=real",
];

/// Everything that the API says, without what only says how long ago something was.
fn answers(server: &Server) -> BTreeMap<String, Value> {
    let mut answers: BTreeMap<String, Value> =
        QUERIES.iter().map(|query| ((*query).to_owned(), server.ok(&format!("/api/v1/{query}")))).collect();
    let status = server.ok("/api/v1/status");
    answers.insert("classes".to_owned(), status["classes"].clone());
    answers.insert("history".to_owned(), status["history"].clone());
    answers.insert("lost".to_owned(), status["ingest"]["lost"].clone());
    answers.values_mut().for_each(forget_ages);
    answers
}

fn forget_ages(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(forget_ages),
        Value::Object(map) => {
            // Lists that grew have room to spare, which is not kept.
            map.retain(|key, _| !key.ends_with("_age_seconds") && key != "memory_bytes" && key != "complete");
            map.values_mut().for_each(forget_ages);
        }
        _ => {}
    }
}

/// Counters of what was observed, by series.
fn observed(server: &Server) -> BTreeMap<String, f64> {
    let metrics = server.metrics();
    let lines = metrics.lines().filter(|line| line.starts_with("martlet_observed_") && line.contains("_total"));
    let samples =
        lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, n)| (series.to_owned(), n.parse().unwrap()));
    samples.collect()
}

/// Fills a collector with something of everything.
fn fill(server: &Server) -> (Spool, Spool) {
    let (mut a, mut b) = (Spool::new(1, 0, "alpha"), Spool::new(2, 7, "beta"));
    b.class = TrafficClass::Import;
    let (mut to_a, mut to_b) = (a.connect(server), b.connect(server));
    let batches = (0..100).map(|n| {
        let icmp = row(1, Service::Icmp { icmp_type: 8, code: 0 }, Kind::Scan, Marks::NONE, n, 2);
        let port = 1000 + u16::try_from(n % 37).unwrap();
        (TEN + 10 * i64::from(n), sorted(vec![icmp, tcp_scan(port, n, 3), marked(23, n, 1, Mark::Mirai)]))
    });
    deliver(&mut to_a, &mut a, &batches.clone().collect::<Vec<_>>());
    deliver(&mut to_b, &mut b, &batches.map(|(start, rows)| (start - 86_400, rows)).collect::<Vec<_>>());
    let totals = Totals { windows: 104, packets: 707, watched_ms: 1_040_000 };
    to_a.send(&Message::Lost { stream: a.stream, from: 100, to: 103, totals, first_window: TEN, last_window: TEN });
    to_a.expect_acks(a.stream, 100, 104);
    a.next = 104;
    deliver(&mut to_a, &mut a, &[(TEN + 2000, vec![tcp_scan(23, 1, 1)])]);
    server.wait_for_batches(TrafficClass::Real, 101);
    server.wait_for_batches(TrafficClass::Import, 100);
    wait(|| server.ok("/api/v1/status")["ingest"]["lost"]["packets"] == 107);
    (a, b)
}

#[test]
fn a_stop_and_a_start_change_no_number() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let mut server = Server::in_directory(directory.clone(), |_| {});
    let (mut a, _) = fill(&server);
    let before = (answers(&server), observed(&server));
    server.stop();
    for _ in 0..2 {
        let mut server = Server::in_directory(directory.clone(), |_| {});
        assert_eq!((answers(&server), observed(&server)), before);
        // The stop committed everything: nothing was replayed.
        assert_eq!(server.ok("/api/v1/status")["journal"]["replayed_records"], 0);
        server.stop();
    }
    // And it goes on where it was.
    let server = Server::in_directory(directory, |_| {});
    let mut client = Client::connect(server.ingest, "alpha");
    let position = Message::Position { stream: a.stream, expected: 105, predecessor: Some(a.last) };
    assert_eq!(client.open(a.stream, "alpha"), Some(position));
    // What it has is committed, and the sensor is told without having sent anything.
    assert_eq!(client.receive(), Some(Message::Ack { stream: a.stream, journaled: 105, committed: 105 }));
    deliver(&mut client, &mut a, &[(TEN + 2010, vec![tcp_scan(23, 1, 1)])]);
    server.wait_for_batches(TrafficClass::Real, 102);
    for (series, count) in observed(&server) {
        assert!(count >= before.1.get(&series).copied().unwrap_or(0.0), "{series} went down");
    }
}

#[test]
fn a_kill_changes_no_number_either() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let server = Server::in_directory(directory.clone(), |_| {});
    fill(&server);
    let before = (answers(&server), observed(&server));
    // What the files are at this moment is what a kill leaves: nothing has been committed.
    let killed = Arc::new(tempfile::tempdir().unwrap());
    let copied =
        std::process::Command::new("cp").arg("-a").arg(directory.path().join("state")).arg(killed.path()).status();
    assert!(copied.unwrap().success());
    drop(server);
    let server = Server::in_directory(killed, |_| {});
    assert_eq!((answers(&server), observed(&server)), before);
    let replayed = server.ok("/api/v1/status")["journal"]["replayed_records"].clone();
    // Two names, 201 batches, one loss.
    assert_eq!(replayed, 204);
}

#[test]
fn what_is_committed_is_told_although_nothing_comes() {
    let server = Server::with(|config| config.store.commit_interval_ms = 200);
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let frame = spool.batch(TEN, &[tcp_scan(23, 1, 1)]);
    client.send_bytes(&frame);
    let mut said = Vec::new();
    while said.last() != Some(&(1, 1)) {
        match client.receive() {
            Some(Message::Ack { journaled, committed, .. }) => said.push((journaled, committed)),
            other => panic!("{other:?}"),
        }
    }
    assert!(said.len() <= 2, "{said:?}");
    let mut again = spool.connect(&server);
    assert_eq!(again.receive(), Some(Message::Ack { stream: spool.stream, journaled: 1, committed: 1 }));
}

#[test]
fn a_data_directory_belongs_to_one_collector() {
    let server = Server::start();
    let mut config = martlet_collector::config::Config::default();
    config.ingest.listen = "127.0.0.1:0".parse().unwrap();
    config.http.listen = "127.0.0.1:0".parse().unwrap();
    config.store.data_dir = server.directory.path().join("state");
    let second = server.runtime.block_on(martlet_collector::run::Collector::start(config));
    let message = second.err().unwrap().to_string();
    assert!(message.contains("in use by another collector") && message.contains("--data-dir"), "{message}");
}

#[test]
fn positions_are_kept_for_ever() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let few = |config: &mut martlet_collector::config::Config| {
        config.ingest.max_streams = 4;
        config.store.commit_interval_ms = 10;
    };
    let mut server = Server::in_directory(directory.clone(), few);
    let mut spools: Vec<Spool> = (0..30).map(|epoch| Spool::new(1, epoch, "alpha")).collect();
    for spool in &mut spools {
        // More lives than fit into memory: each waits until one before it is committed.
        let mut client = loop {
            let mut client = Client::connect(server.ingest, "alpha");
            if let Some(Message::Position { .. }) = client.open(spool.stream, "alpha") {
                break client;
            }
        };
        let frame = spool.batch(TEN, &[tcp_scan(23, 1, 1)]);
        client.send_bytes(&frame);
        assert!(matches!(client.receive(), Some(Message::Ack { journaled: 1, .. })));
    }
    server.wait_for_batches(TrafficClass::Real, 30);
    for round in 0..2 {
        for spool in &spools {
            let mut client = Client::connect(server.ingest, "alpha");
            let position = Message::Position { stream: spool.stream, expected: 1, predecessor: Some(spool.last) };
            assert_eq!(client.open(spool.stream, "alpha"), Some(position), "round {round}");
        }
        server.stop();
        server = Server::in_directory(directory.clone(), few);
    }
    assert_eq!(server.ok("/api/v1/status")["classes"][0]["packets"], 30);
}

#[test]
fn http_shows_no_number_before_the_replay_is_done() {
    use martlet_telemetry::admin::Readiness;
    let server = Server::start();
    let router = axum::Router::new()
        .route("/metrics", axum::routing::get(|| async { "a number" }))
        .route("/api/v1/status", axum::routing::get(|| async { "a number" }))
        .route("/healthz", axum::routing::get(|| async { "alive" }));
    let readiness = Readiness::new();
    let router = martlet_collector::publish::only_when_ready(router, &readiness);
    let address = server.runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = martlet_telemetry::http::HttpLimits::default();
        let forever = std::future::pending();
        tokio::spawn(martlet_telemetry::http::serve(listener, router, limits, forever, std::time::Duration::ZERO));
        address
    });
    for path in ["/metrics", "/api/v1/status"] {
        let (status, _, body) = http(address, "GET", path);
        assert_eq!(status, 503);
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["type"], json!("urn:martlet:problem:starting"));
    }
    assert_eq!(http(address, "GET", "/healthz").0, 200);
    readiness.set_ready();
    assert_eq!(http(address, "GET", "/metrics").2, "a number");
}

#[test]
fn a_store_of_an_older_version_is_brought_forward() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.db");
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch(include_str!("../src/store/schema/1.sql")).unwrap();
    raw.execute_batch(
        "PRAGMA application_id = 0x4d52544c; PRAGMA user_version = 1;
         INSERT INTO meta VALUES (0, 17, 600, x'000102030405060708090a0b0c0d0e0f', 1, 2, 3);
         INSERT INTO sensors (sensor, origin, name) VALUES (0, x'00112233445566778899aabbccddeeff', 'alpha');",
    )
    .unwrap();
    drop(raw);
    let loaded = Store::open(Location::File(path.clone())).unwrap().load(600, [9; 16]).unwrap();
    assert_eq!((loaded.record, loaded.source_key[15], loaded.sensors[0].name.as_str()), (17, 15, "alpha"));
    let live = loaded.live;
    assert_eq!((live.evicted_buckets, live.overflowed_packets, live.recent_overflowed_packets), (1, 2, 3));
    assert_eq!((live.sensor_overflowed_packets, live.coarsened_sets), (0, 0));
    let raw = rusqlite::Connection::open(&path).unwrap();
    let version: usize = raw.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, SCHEMA_VERSION);
}

#[test]
fn a_store_of_another_program_or_version_is_refused_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.db");
    let location = Location::File(path.clone());
    let mut store = Store::open(location.clone()).unwrap();
    store.load(600, [1; 16]).unwrap();
    // The secret is drawn once.
    assert_eq!(store.load(600, [2; 16]).unwrap().source_key, [1; 16]);
    let other = store.load(60, [1; 16]).unwrap_err();
    assert!(other.to_string().contains("live.bucket_seconds = 60"), "{other}");
    drop(store);
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    assert!(matches!(Store::open(location), Err(StoreError::Newer { found }) if found == SCHEMA_VERSION as i64 + 1));
    let foreign = directory.path().join("y.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(matches!(Store::open(Location::File(foreign)), Err(StoreError::Foreign)));
    let text = directory.path().join("z.db");
    std::fs::write(&text, "not a database, but long enough to be looked at".repeat(100)).unwrap();
    assert!(matches!(Store::open(Location::File(text)), Err(StoreError::Sqlite(_))));
}

#[test]
fn hours_hold_what_came_and_what_was_lost_for_ever() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let mut server = Server::in_directory(directory.clone(), |_| {});
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let week = 7 * 86_400;
    let rows = [tcp_scan(23, 1, 4)];
    let mut header = spool.header(TEN, &rows);
    header.capture.kernel_drops = 5;
    header.capture.interface_drops = 6;
    let frame = spool.batch_of(&header, &rows);
    client.send_bytes(&frame);
    client.expect_acks(spool.stream, 0, 1);
    // Half of the loss lies in the hour of the batch, half in the next.
    let totals = Totals { windows: 361, packets: 1004, watched_ms: 3_610_000 };
    let (first_window, last_window) = (TEN + 1800, TEN + 5399);
    client.send(&Message::Lost { stream: spool.stream, from: 1, to: 360, totals, first_window, last_window });
    client.expect_acks(spool.stream, 1, 361);
    spool.next = 361;
    deliver(&mut client, &mut spool, &[(TEN + week, vec![])]);
    let view = server.stop();
    let key = |hour| HourKey { hour, class: TrafficClass::Real, sensor: SensorId(0) };
    let lost = Lost { batches: 180, windows: 180, packets: 500, watched_ms: 1_800_000 };
    let first = SensorHour {
        window_seconds: 10,
        windows: 1,
        // It came long after it was captured.
        late_windows: 1,
        packets: 4,
        kernel_drops: 5,
        interface_drops: 6,
        lost,
        watched_ms: 10_000,
        ipv4_address_ms: 2_560_000,
        ipv6_prefix_ms: 10_000,
        exposure_unknown: false,
        clock_offset_ms: None,
    };
    // In memory are two days around the newest data, in the store is everything.
    assert_eq!(view.hours.keys().map(|key| key.hour).collect::<Vec<_>>(), [TEN + week]);
    let reader = Reader::open(&Location::in_directory(&directory.path().join("state"))).unwrap();
    let mut hours = Vec::new();
    let range = TEN..TEN + week + HOUR_SECONDS;
    reader.sensor_hours(TrafficClass::Real, range, |key, hour| hours.push((key, *hour))).unwrap();
    assert_eq!(hours[0], (key(TEN), first));
    assert_eq!((hours[1].0, hours[1].1.lost), (key(TEN + 3600), lost));
    assert_eq!((hours.len(), hours[2].0), (3, key(TEN + week)));
    assert_eq!(hours[2].1.watched_ms, 10_000);
}

#[test]
fn a_clock_that_is_off_is_measured_on_live_batches_only_and_counts() {
    let world = World::new(1, |_| {});
    let mut spool = Spool::new(1, 0, "alpha");
    let frames: Vec<_> = (0..40).map(|n| spool.batch(TEN + 10 * n, &[tcp_scan(23, 1, 1)])).collect();
    let mut sensors = [Sensor::new(&spool, frames.clone())];
    let offset =
        |life: &mut common::simulated::Life| life.pipeline.publish().sensors[0].reports[0].unwrap().clock_offset_ms;
    // A backlog of 30 batches comes at once: it says nothing about a clock, however old it is.
    sensors[0].frames.truncate(30);
    let at = |n: i64| (TEN + 10 * n) * 1000;
    world.clock.0.store(at(30) + 90_000, std::sync::atomic::Ordering::Relaxed);
    let mut life = world.start().unwrap();
    world.settle(&mut life, &mut sensors);
    assert_eq!((sensors[0].committed, offset(&mut life)), (30, None));
    // Then each comes when its window has ended, by a clock that is 90 s behind ours.
    for n in 30..40 {
        let later = std::time::Duration::from_secs(10);
        world.runtime.block_on(tokio::time::advance(later));
        world.clock.0.store(at(n + 1) + 91_500, std::sync::atomic::Ordering::Relaxed);
        sensors[0].frames.push(frames[usize::try_from(n).unwrap()].clone());
        (0..40).for_each(|_| world.step(&mut life, &mut sensors, true));
        // Three silences in a row tell a live stream from one that was only held up.
        assert_eq!(offset(&mut life), (n >= 32).then_some(91_500), "batch {n}");
    }
    let view = life.pipeline.publish();
    assert_eq!(view.class(TrafficClass::Real).totals.packets, 40);
    assert_eq!(view.hours.values().next().unwrap().clock_offset_ms, Some(91_500));
    world.crash(Some(life), &mut sensors, Crash::Power);
    let mut life = world.start().unwrap();
    world.settle(&mut life, &mut []);
    assert_eq!(offset(&mut life), Some(91_500));
    let mut windows = Vec::new();
    world.reader().sensor_hours(TrafficClass::Real, TEN..TEN + 1, |_, hour| windows.push(hour.windows)).unwrap();
    assert_eq!(windows, [40]);
}

#[test]
fn freshness_is_of_live_batches_and_not_of_backlogs_or_replays() {
    let world = World::new(1, |config| config.store.commit_interval_ms = 600_000);
    let mut spool = Spool::new(1, 0, "alpha");
    let frames: Vec<_> = (0..10).map(|n| spool.batch(TEN + 10 * n, &[tcp_scan(23, 1, 1)])).collect();
    let mut sensors = [Sensor::new(&spool, Vec::new())];
    let recent = |life: &common::simulated::Life| {
        let recent = life.links.latencies.freshness.recent(std::time::Instant::now());
        (recent.count, recent.quantiles.map(|quantiles| (quantiles.p50.as_millis(), quantiles.max.as_millis())))
    };
    let set = |seconds: i64| world.clock.0.store((TEN + seconds) * 1000, std::sync::atomic::Ordering::Relaxed);
    let mut life = world.start().unwrap();
    for (n, frame) in (0..).zip(&frames) {
        // Each comes when its window has ended; those from the third silence on are live.
        world.runtime.block_on(tokio::time::advance(std::time::Duration::from_secs(10)));
        sensors[0].frames.push(frame.clone());
        (0..40).for_each(|_| world.step(&mut life, &mut sensors, true));
        assert_eq!(recent(&life).0, u64::try_from((n - 3_i64).max(0)).unwrap(), "what is in no view is not seen");
        // Seen 1 s after the end of the window, or 2 s; the last one by a clock that is behind the sensor's.
        set(match n {
            9 => 10,
            n => 10 * (n + 1) + 1 + n % 2,
        });
        life.pipeline.publish();
    }
    let (count, quantiles) = recent(&life);
    let (p50, max) = quantiles.unwrap();
    assert_eq!((count, p50 / 10, max / 10), (7, 100, 200));
    let submissions = life.links.latencies.queue_wait.recent(std::time::Instant::now()).count;
    assert_eq!(submissions, 11, "one Open, and ten batches that came alone");
    assert_eq!(life.links.latencies.acknowledgement.recent(std::time::Instant::now()).count, 10);

    world.crash(Some(life), &mut sensors, Crash::Power);
    let mut life = world.start().unwrap();
    world.settle(&mut life, &mut []);
    assert_eq!(life.pipeline.publish().class(TrafficClass::Real).totals.batches, 10);
    assert_eq!(recent(&life), (0, None), "what is replayed had been seen");
}
