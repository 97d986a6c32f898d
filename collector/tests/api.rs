//! The HTTP API answers as docs/api.md says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Server, Spool, TEN, deliver, http, marked, range, row, sample, send, sorted, tcp_scan};
use martlet_window::{Kind, Mark, Marks, Service, TrafficClass};
use serde_json::{Value, json};

const PATHS: [&str; 5] = ["summary", "ports", "sources", "sensors", "coverage"];

#[test]
fn without_data_there_are_empty_lists_and_zeros() {
    let server = Server::start();
    let status = server.ok("/api/v1/status");
    assert_eq!(status["classes"], json!([]));
    assert_eq!(status["state"], "running");
    assert_eq!(status["history"]["buckets"], 0);
    let summary = server.ok("/api/v1/summary?from=1970-01-01T00:00:00Z&to=1970-01-01T01:40:00Z&step=40m");
    assert_eq!(
        summary["totals"],
        json!({"packets": 0, "bytes": 0, "sources": {"count": 0, "exact": true, "error": 0.0}})
    );
    assert_eq!((&summary["from"], &summary["to"]), (&json!("1970-01-01T00:00:00Z"), &json!("1970-01-01T01:40:00Z")));
    assert_eq!((&summary["step_seconds"], &summary["series"]["packets"]), (&json!(2400), &json!([0, 0, 0])));
    assert_eq!(server.ok("/api/v1/ports")["ports"], json!([]));
    assert_eq!(server.ok("/api/v1/sources")["networks"], json!([]));
    assert_eq!(server.ok("/api/v1/sensors")["sensors"], json!([]));
}

#[test]
fn wrong_requests_get_typed_errors() {
    let server = Server::start();
    for path in PATHS {
        for (query, kind, parameter) in [
            ("class=fake", "bad-parameter", "class"),
            ("from=2026-11-21T10:00:00Z&to=2026-11-21T10:00:00Z", "bad-parameter", "from"),
            ("from=2026-11-21T20:00:00Z&to=2026-11-21T10:00:00Z", "bad-parameter", "from"),
            ("limit=0", "bad-parameter", "limit"),
            ("to=tomorrow", "bad-parameter", "to"),
            ("colour=red", "unknown-parameter", "colour"),
            ("limit=1&limit=2", "repeated-parameter", "limit"),
        ] {
            let (status, body) = server.get(&format!("/api/v1/{path}?{query}"));
            assert_eq!(status, 400, "{path}?{query}");
            assert_eq!(body["type"], format!("urn:martlet:problem:{kind}"), "{path}?{query}");
            assert_eq!((&body["parameter"], &body["status"]), (&json!(parameter), &json!(400)), "{path}?{query}");
            assert!(body["detail"].as_str().unwrap().contains(parameter));
            assert!(body["title"].is_string() && body["expected"].is_string(), "{body}");
        }
    }
    assert_eq!(server.get("/api/v1/sources?sensor=alpha").0, 400);
    assert_eq!(server.get("/api/v1/status?class=real").0, 400);
    assert_eq!(http(server.http, "HEAD", "/api/v1/status").0, 200);
}

#[test]
fn whatever_is_wrong_is_said_as_problem_details() {
    let server = Server::start();
    let long = format!("/api/v1/status?{}", "x".repeat(5000));
    let head =
        |line: &str, more: &str| format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}\r\n");
    for (status, request) in [
        (404, head("GET /api/v1/nothing", "")),
        (404, head("GET /nothing", "")),
        (405, head("POST /api/v1/status", "content-length: 0\r\n")),
        (405, head("DELETE /", "")),
        (405, head("OPTIONS /metrics", "")),
        (413, head("GET /api/v1/status", "content-length: 2\r\n") + "{}"),
        (413, head("GET /", "transfer-encoding: chunked\r\n") + "0\r\n\r\n"),
        (414, head(&format!("GET {long}"), "")),
        (431, head("GET /", &format!("x: {}\r\n", "y".repeat(20_000)))),
        (400, head("GET /", "no header\r\n")),
        (400, head("GET /api/v1/summary?from=%ff", "")),
    ] {
        let line = request.lines().next().unwrap().chars().take(60).collect::<String>();
        let (found, head, body) = send(server.http, &request);
        assert_eq!(found, status, "{line}: {head}");
        assert!(head.contains("content-type: application/problem+json"), "{line}: {head}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["status"], status, "{line}: {body}");
        assert!(problem["type"].is_string() && problem["title"].is_string() && problem["detail"].is_string());
        assert_eq!(head.contains("\r\nallow: GET, HEAD"), status == 405, "{line}: {head}");
    }
}

#[test]
fn answers_carry_security_headers() {
    let server = Server::start();
    for path in ["/", "/api/v1/status", "/metrics", "/healthz", "/nothing"] {
        let (_, head, _) = http(server.http, "GET", path);
        for header in [
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cross-origin-opener-policy: same-origin",
            "cross-origin-resource-policy: same-origin",
            "cross-origin-embedder-policy: require-corp",
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'",
        ] {
            assert!(head.contains(header), "{path}: {head}");
        }
        // The page may be kept, if it is asked about.
        let kept = if path == "/" { "cache-control: no-cache" } else { "cache-control: no-store" };
        assert!(head.contains(kept), "{path}: {head}");
        assert!(!head.contains("unsafe"), "{path}: {head}");
        // No other site's page may read anything.
        assert!(!head.contains("access-control-"), "{path}: {head}");
    }
    assert_eq!(http(server.http, "GET", "/readyz").0, 200);
}

#[test]
fn kinds_marks_icmp_and_portless_packets_are_told_apart() {
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let backscatter = row(6, Service::Port(80), Kind::Backscatter, Marks::NONE, 7, 5);
    let error = Service::IcmpError { icmp_type: 3, code: 3, quoted_protocol: 17, quoted_port: 53 };
    let rows = sorted(vec![
        marked(23, 1, 3, Mark::Mirai),
        tcp_scan(23, 2, 4),
        tcp_scan(80, 2, 1),
        backscatter,
        row(1, Service::Icmp { icmp_type: 8, code: 0 }, Kind::Scan, Marks::NONE, 3, 2),
        row(1, error, Kind::Backscatter, Marks::NONE, 4, 6),
        row(47, Service::None, Kind::Other, Marks::NONE.with(Mark::Tunnel), 5, 1),
    ]);
    let mut header = spool.header(TEN, &rows);
    header.unavailable = Marks::NONE.with(Mark::Masscan);
    let frame = spool.batch_of(&header, &rows);
    client.send_bytes(&frame);
    client.receive().unwrap();
    server.wait_for_batches(TrafficClass::Real, 1);

    let ten_minutes = range(TEN, TEN + 600);
    let summary = server.ok(&format!("/api/v1/summary?{ten_minutes}"));
    assert_eq!(summary["totals"]["packets"], 22);
    assert_eq!(summary["totals"]["sources"]["count"], 6);
    assert_eq!(summary["marks"]["mirai"], json!({"packets": 3, "sources": {"count": 1, "exact": true, "error": 0.0}}));
    assert_eq!(summary["marks"]["masscan"], "unavailable");
    assert_eq!(summary["marks"]["slammer"]["packets"], 0);
    assert_eq!(summary["kinds"][0]["kind"], "scan");
    assert_eq!(summary["kinds"][0]["packets"], 8);
    assert_eq!(summary["series"]["packets"], json!([22]));
    assert_eq!(summary["series"]["backscatter_packets"], json!([11]));

    let ports = server.ok(&format!("/api/v1/ports?{ten_minutes}"));
    assert_eq!(ports["ports"][0]["port"], 23);
    assert_eq!(ports["ports"][1]["kinds"], json!({"scan": 1, "backscatter": 5, "other": 0}));
    assert_eq!(ports["icmp"][0]["type"], 3);
    assert_eq!(ports["icmp"][1]["packets"], 2);
    assert_eq!(ports["without_port"][0]["protocol_name"], "gre");
    let scans = server.ok(&format!("/api/v1/ports?{ten_minutes}&kind=scan&limit=1"));
    assert_eq!((&scans["totals"]["packets"], &scans["ports_left_out"]), (&json!(10), &json!(1)));
    let one = server.ok(&format!("/api/v1/summary?{ten_minutes}&sensor=alpha"));
    assert_eq!(one["totals"], summary["totals"]);
    assert_eq!((&one["marks"], &one["series"]["sources"]), (&json!({}), &json!(null)));
    assert_eq!(server.ok(&format!("/api/v1/summary?{ten_minutes}&sensor=nobody"))["totals"]["packets"], 0);
}

#[test]
fn late_data_lands_in_its_own_time() {
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let day = 86_400;
    deliver(
        &mut client,
        &mut spool,
        &[
            (TEN, vec![tcp_scan(23, 1, 1)]),
            (TEN + 1200, vec![tcp_scan(23, 1, 2)]),
            (TEN - day, vec![tcp_scan(23, 1, 4)]),
            (TEN + 590, vec![tcp_scan(23, 1, 8)]),
        ],
    );
    server.wait_for_batches(TrafficClass::Real, 4);
    let half_hour = range(TEN, TEN + 1800);
    assert_eq!(server.ok(&format!("/api/v1/summary?{half_hour}"))["series"]["packets"], json!([9, 0, 2]));
    let yesterday = range(TEN - day, TEN - day + 600);
    assert_eq!(server.ok(&format!("/api/v1/summary?{yesterday}"))["totals"]["packets"], 4);
    // The default range is the 24 h that end with the newest data, not with the newest arrival.
    let default = server.ok("/api/v1/summary");
    assert_eq!(default["to"], "2024-11-21T10:30:00Z");
    assert_eq!(default["totals"]["packets"], 11);
    // What claims to be from the future counts, but moves nothing.
    let far = 4_000_000_200;
    deliver(&mut client, &mut spool, &[(far, vec![tcp_scan(23, 1, 16)])]);
    server.wait_for_batches(TrafficClass::Real, 5);
    assert_eq!(server.ok("/api/v1/summary")["to"], "2024-11-21T10:30:00Z");
    let future = range(far, far + 1);
    assert_eq!(server.ok(&format!("/api/v1/summary?{future}"))["totals"]["packets"], 16);
}

#[test]
fn sources_and_networks_are_ranked_with_their_error() {
    let server = Server::with(|config| config.live.top_sources_per_bucket = 16);
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let base = 0xc000_0200; // 192.0.2.0
    deliver(&mut client, &mut spool, &[(TEN, vec![tcp_scan(23, base + 1, 9), tcp_scan(23, base + 2, 5)])]);
    server.wait_for_batches(TrafficClass::Real, 1);
    let sources = server.ok("/api/v1/sources");
    let first = json!({
        "address": "192.0.2.1", "ip": 4, "packets": 9, "packets_error": 0, "network": "192.0.2.0/24",
        "region": "ZZ", "asn": null, "organisation": null, "known_scanner": null,
    });
    assert_eq!(sources["sources"][0], first);
    let network = json!({"network": "192.0.2.0/24", "ip": 4, "packets": 14, "packets_error": 0, "sources": 2});
    assert_eq!(sources["networks"], json!([network]));
    assert_eq!(sources["packets_unlisted_bound"], 0);
    // A flood of single packets does not push out the heavy ones.
    let flood: Vec<_> = (0..500).map(|n| tcp_scan(80, 0x0a00_0000 + n, 1)).collect();
    deliver(&mut client, &mut spool, &[(TEN + 10, flood)]);
    server.wait_for_batches(TrafficClass::Real, 2);
    let sources = server.ok("/api/v1/sources");
    assert_eq!(sources["sources"][0], first);
    assert_eq!(sources["packets_unlisted_bound"], 1);
    assert_eq!(sources["totals"]["sources"]["count"], 502);
}

#[test]
fn sensors_show_exposure_rates_and_silence() {
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let rows = [tcp_scan(23, 1, 128)];
    let mut header = spool.header(TEN, &rows);
    header.capture.frames += 3;
    header.capture.rejected[1] = 3;
    header.capture.kernel_drops = 7;
    let frame = spool.batch_of(&header, &rows);
    client.send_bytes(&frame);
    client.receive().unwrap();
    let mut import = Spool::new(2, 0, "beta");
    import.class = TrafficClass::Import;
    let mut header = import.header(TEN, &rows);
    header.exposure = None;
    let frame = import.batch_of(&header, &rows);
    let mut to_import = import.connect(&server);
    to_import.send_bytes(&frame);
    to_import.receive().unwrap();
    server.wait_for_batches(TrafficClass::Real, 1);
    server.wait_for_batches(TrafficClass::Import, 1);

    let answer = server.ok("/api/v1/sensors");
    assert_eq!(answer["sensors"].as_array().unwrap().len(), 1);
    let alpha = &answer["sensors"][0];
    assert_eq!((&alpha["name"], &alpha["posture"]), (&json!("alpha"), &json!("silent")));
    let exposure = json!({"watched_seconds": 10.0, "ipv4_address_seconds": 2560.0, "ipv6_prefix_seconds": 10.0});
    assert_eq!(alpha["exposure"], exposure);
    // 128 packets to 256 addresses in 10 s: half a packet an address, 8640 times a day.
    assert_eq!(alpha["rate"]["ipv4_packets_per_address_day"], 4320.0);
    assert_eq!(
        (&alpha["frames"], &alpha["rejected"]["not_ip"], &alpha["kernel_drops"]),
        (&json!(131), &json!(3), &json!(7))
    );
    assert_eq!(alpha["silent"], true);
    let import = &server.ok("/api/v1/sensors?class=import")["sensors"][0];
    assert_eq!((&import["exposure"], &import["silent"]), (&json!(null), &json!(false)));
    assert_eq!(import["rate"]["ipv4_packets_per_address_day"], json!(null));
}

#[test]
fn only_real_sensors_are_silent() {
    let server = Server::start();
    for (origin, class) in (1..).zip(TrafficClass::ALL) {
        let mut spool = Spool::new(origin, 0, class.name());
        spool.class = class;
        let mut client = spool.connect(&server);
        deliver(&mut client, &mut spool, &[(TEN, vec![tcp_scan(23, 1, 1)])]);
        server.wait_for_batches(class, 1);
    }
    let metrics = server.metrics();
    for (class, silent) in [("real", true), ("drill", false), ("import", false)] {
        assert_eq!(server.ok(&format!("/api/v1/sensors?class={class}"))["sensors"][0]["silent"], silent, "{class}");
        let series = format!("martlet_observed_sensor_silent{{class=\"{class}\",sensor=\"{class}\"}}");
        assert_eq!(sample(&metrics, &series), Some(f64::from(u8::from(silent))), "{class}");
    }
}

#[test]
fn a_series_tells_quiet_from_unwatched() {
    let server = Server::start();
    let (mut one, mut two) = (Spool::new(1, 0, "alpha"), Spool::new(2, 0, "beta"));
    let (mut to_one, mut to_two) = (one.connect(&server), two.connect(&server));
    // Two sensors without a packet; nobody; packets in a window of unknown exposure beside a known one.
    deliver(&mut to_one, &mut one, &[(TEN, vec![]), (TEN + 10, vec![]), (TEN + 1200, vec![])]);
    deliver(&mut to_two, &mut two, &[(TEN, vec![])]);
    let rows = [tcp_scan(23, 1, 5)];
    let mut header = two.header(TEN + 1200, &rows);
    header.exposure = None;
    to_two.send_bytes(&two.batch_of(&header, &rows));
    to_two.expect_acks(two.stream, 1, 2);
    server.wait_for_batches(TrafficClass::Real, 5);
    let range = format!("/api/v1/summary?{}", range(TEN, TEN + 1800));
    let series = &server.ok(&range)["series"];
    assert_eq!(series["packets"], json!([0, 0, 5]));
    assert_eq!(series["watched_seconds"], json!([30.0, 0.0, null]));
    let alpha = &server.ok(&format!("{range}&sensor=alpha"))["series"];
    assert_eq!(alpha["watched_seconds"], json!([20.0, 0.0, 10.0]));
    assert_eq!(server.ok(&format!("{range}&sensor=nobody"))["series"]["watched_seconds"], json!([0.0, 0.0, 0.0]));
    // A window without packets makes a step of the recent past.
    let windows = &server.ok("/api/v1/status")["classes"][0]["recent"]["windows"];
    assert_eq!(windows.as_array().unwrap().len(), 1);
    deliver(&mut to_one, &mut one, &[(TEN + 1210, vec![])]);
    server.wait_for_batches(TrafficClass::Real, 6);
    let windows = &server.ok("/api/v1/status")["classes"][0]["recent"]["windows"];
    assert_eq!((&windows[1]["packets"], &windows[1]["start"]), (&json!(0), &json!("2024-11-21T10:20:10Z")));
}

#[test]
fn the_recent_past_follows_event_time() {
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    spool.class = TrafficClass::Import;
    let mut client = spool.connect(&server);
    let old = 1_500_000_000;
    let batches: Vec<_> = (0..100u32).map(|n| (old + 10 * i64::from(n), vec![tcp_scan(23, n, 6)])).collect();
    deliver(&mut client, &mut spool, &batches);
    server.wait_for_batches(TrafficClass::Import, 100);
    let status = server.ok("/api/v1/status");
    let recent = &status["classes"][0]["recent"];
    assert_eq!(recent["windows"].as_array().unwrap().len(), 60);
    assert_eq!(recent["windows"][59]["start"], "2017-07-14T02:56:30Z");
    assert_eq!(recent["windows"][59]["complete"], true);
    assert_eq!(recent["packets_per_second"], 0.6);
    assert_eq!(recent["ports"][0]["sources"]["count"], 1);
    let metrics = server.metrics();
    assert!(
        metrics.contains("martlet_observed_sources{class=\"import\",protocol=\"tcp\",port=\"23\",window=\"1m\"} 6"),
        "{metrics}"
    );
}
