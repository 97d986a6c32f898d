//! Who may see what: tokens, scopes, programs of this machine, and what is told to everybody.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Server, Spool, TEN, deliver, marked, range, sorted, tcp_scan, wait};
use martlet_collector::config::Config;
use martlet_collector::tokens::{Grant, LoopbackScope, Scope, TokenStore};
use martlet_window::{Mark, TrafficClass};
use serde_json::{Value, json};

fn closed(config: &mut Config) {
    config.http.loopback_scope = LoopbackScope::None;
}

/// Makes a token as the command does, and waits until the collector knows it.
fn token(server: &Server, scope: Scope, expires: Option<i64>) -> String {
    let mut store = TokenStore::open(&server.location()).unwrap();
    let grant = Grant { name: scope.name().to_owned(), scope, organisation: None, expires };
    let token = store.create(&grant, 0).unwrap().reveal();
    if expires.is_none() {
        wait(|| server.ask_with(&token, "/api/v1/status").status == 200);
    }
    token
}

#[test]
fn a_token_opens_what_its_scope_says() {
    let server = Server::with(closed);
    for path in ["/api/v1/status", "/api/v1/ports", "/api/v1/nothing", "/metrics"] {
        let refused = server.ask(path, &[]);
        assert_eq!(refused.status, 401, "{path}");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"martlet\""));
        assert_eq!(refused.json()["type"], "urn:martlet:problem:token-missing");
    }
    // The page and the description hold nothing that was observed.
    for path in ["/", "/healthz", "/readyz", "/api/v1/openapi.json"] {
        assert_eq!(server.ask(path, &[]).status, 200, "{path}");
    }
    let tokens = Scope::ALL.map(|scope| token(&server, scope, None));
    for (path, statuses) in [
        ("/api/v1/status", [200, 200, 200, 200]),
        ("/api/v1/summary", [200, 200, 200, 200]),
        ("/api/v1/ports", [200, 200, 200, 200]),
        ("/api/v1/sources", [200, 200, 200, 200]),
        ("/api/v1/sensors", [403, 200, 200, 200]),
        ("/api/v1/coverage", [403, 200, 200, 200]),
        ("/api/v1/ports?sensor=alpha", [403, 200, 200, 200]),
        ("/api/v1/ports?class=import", [403, 200, 200, 200]),
        ("/metrics", [403, 200, 200, 200]),
        ("/api/v1/events", [200, 200, 200, 200]),
        ("/api/v1/nothing", [404, 404, 404, 404]),
    ] {
        assert_eq!([0, 1, 2, 3].map(|i| server.ask_with(&tokens[i], path).status), statuses, "{path}");
    }
    let refused = server.ask_with(&tokens[0], "/api/v1/sensors");
    let challenge = "Bearer realm=\"martlet\", error=\"insufficient_scope\", scope=\"read\"";
    assert_eq!(refused.header("www-authenticate"), Some(challenge));
    // An answer for one scope is not confirmed to another.
    let tag = server.ask_with(&tokens[1], "/api/v1/ports").header("etag").unwrap().to_owned();
    let line = [format!("authorization: Bearer {}", tokens[0]), format!("if-none-match: {tag}")];
    assert_eq!(server.ask("/api/v1/ports", &[&line[0], &line[1]]).status, 200);
}

#[test]
fn what_is_no_token_in_use_is_refused() {
    let server = Server::start();
    let good = token(&server, Scope::Read, None);
    let last = if good.ends_with('0') { '1' } else { '0' };
    let expired = {
        let mut store = TokenStore::open(&server.location()).unwrap();
        let grant = Grant { name: "old".to_owned(), scope: Scope::Read, organisation: None, expires: Some(1000) };
        store.create(&grant, 0).unwrap().reveal()
    };
    std::thread::sleep(Duration::from_secs(3));
    for line in [
        "authorization: Bearer".to_owned(),
        "authorization: Bearer x".to_owned(),
        format!("authorization: Basic {good}"),
        format!("authorization: {good}"),
        format!("authorization: Bearer {}{last}", &good[..good.len() - 1]),
        format!("authorization: Bearer {expired}"),
        format!("authorization: Bearer {good}\r\nauthorization: Bearer {good}"),
        "authorization: Bearer \u{fc}".to_owned(),
    ] {
        // Also from this machine, which needs none: whoever shows one means it.
        let refused = server.ask("/api/v1/status", &[&line]);
        assert_eq!(refused.status, 401, "{line}");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"martlet\", error=\"invalid_token\""));
    }
    assert_eq!(server.ask("/api/v1/status", &[&format!("authorization: bearer {good}")]).status, 200);
    TokenStore::open(&server.location()).unwrap().revoke("read", 1).unwrap();
    wait(|| server.ask_with(&good, "/api/v1/status").status == 401);
    // It was used today, and that is written down.
    let used = TokenStore::open(&server.location()).unwrap().list().unwrap();
    assert!(used.iter().find(|token| token.name == "read").unwrap().last_used.is_some());
    assert_eq!(used.iter().find(|token| token.name == "old").unwrap().last_used, None);
}

#[test]
fn only_what_is_of_this_machine_needs_no_token() {
    let server = Server::start();
    for host in ["localhost", "127.0.0.1:7461", "[::1]:80", "LOCALHOST:1"] {
        assert_eq!(server.ask("/api/v1/status", &[&format!("host: {host}")]).status, 200, "{host}");
    }
    // A name that leads here, and a proxy that passes somebody else's request on.
    for line in [
        "host: rebound.example.net",
        "host: 192.0.2.1",
        "x-forwarded-for: 192.0.2.7",
        "forwarded: for=x",
        "via: 1.1 x",
        "sec-fetch-site: cross-site",
    ] {
        assert_eq!(server.ask("/api/v1/status", &[line]).status, 401, "{line}");
    }
    assert_eq!(server.ask("http://rebound.example.net/api/v1/status", &[]).status, 401);
    let public = Server::with(|config| config.http.loopback_scope = LoopbackScope::Public);
    assert_eq!(public.ask("/api/v1/sensors", &[]).status, 403);
    assert!(public.ok("/api/v1/status")["classes"].is_null());
}

#[test]
fn one_caller_has_few_queries_at_a_time() {
    let server = Server::with(|config| {
        (config.http.max_queries, config.http.max_queries_per_caller) = (1, 1);
    });
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let batches: Vec<_> = (0..300).map(|n| (TEN + 600 * n, (0..200).map(|p| tcp_scan(p, 1, 1)).collect())).collect();
    deliver(&mut client, &mut spool, &batches);
    server.wait_for_batches(TrafficClass::Real, 300);
    let path = format!("/api/v1/ports?limit=1000&step=10m&{}", range(TEN, TEN + 600 * 300));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..24).map(|_| scope.spawn(|| server.ask(&path, &[]))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap().status).collect()
    });
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert_eq!(server.ask(&path, &[]).status, 200);
}

/// Packets to three ports, in the past: 23 from three sources, 80 from two, 443 few.
fn published() -> (Server, String) {
    let server = Server::with(|config| {
        closed(config);
        config.publication.min_packets = 10;
        config.publication.min_sources = 3;
    });
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let net = 0xc000_0200;
    let first = sorted(vec![
        marked(23, net + 1, 20, Mark::Mirai),
        tcp_scan(23, net + 2, 20),
        tcp_scan(23, net + 3, 20),
        tcp_scan(80, 0x0a00_0001, 300),
        tcp_scan(80, 0x0a00_0002, 400),
        tcp_scan(443, net + 1, 2),
        tcp_scan(443, net + 2, 2),
        tcp_scan(443, net + 3, 2),
    ]);
    deliver(&mut client, &mut spool, &[(TEN, first), (TEN + 1200, vec![tcp_scan(23, net + 1, 5)])]);
    server.wait_for_batches(TrafficClass::Real, 2);
    let token = token(&server, Scope::Public, None);
    (server, token)
}

#[test]
fn everybody_is_told_nothing_about_few() {
    let (server, token) = published();
    let get = |path: &str| -> Value {
        let answer = server.ask_with(&token, &format!("/api/v1/{path}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    };
    let hours = range(TEN, TEN + 7200);
    let ports = get(&format!("ports?{hours}"));
    assert_eq!((&ports["bucket_seconds"], &ports["step_seconds"]), (&json!(3600), &json!(3600)));
    assert_eq!(ports["totals"]["packets"], 771);
    assert_eq!(ports["withheld"], json!({"rows": 2, "packets": 706}));
    assert_eq!(ports["ports"].as_array().unwrap().len(), 1);
    let port = &ports["ports"][0];
    assert_eq!((&port["port"], &port["packets"], &port["sources"]["count"]), (&json!(23), &json!(65), &json!(3)));
    assert_eq!((&port["series"], &port["kinds"]["scan"]), (&json!([65, 0]), &json!(65)));

    let summary = get(&format!("summary?{hours}"));
    assert_eq!(summary["kinds"][0]["packets"], 771);
    assert_eq!((&summary["marks"]["mirai"], &summary["marks"]["slammer"]["packets"]), (&json!("withheld"), &json!(0)));
    assert_eq!(summary["withheld"], json!({"rows": 1, "packets": 20}));
    assert_eq!((&summary["series"]["packets"], &summary["series"]["scan_packets"]), (&json!([771, 0]), &json!(null)));

    let sources = get(&format!("sources?{hours}"));
    assert_eq!(sources["sources"], json!([]));
    let networks = sources["networks"].as_array().unwrap();
    assert_eq!((networks.len(), &networks[0]["network"]), (1, &json!("192.0.2.0/24")));
    assert_eq!(sources["withheld"], json!({"rows": 1, "packets": 700}));
    let csv = server.ask(&format!("/api/v1/sources?{hours}&format=csv"), &[&format!("authorization: Bearer {token}")]);
    assert!(csv.body.contains("192.0.2.0/24") && !csv.body.contains("192.0.2.1,"), "{}", csv.body);

    // By its kinds a row could be taken apart.
    let scans = server.ask_with(&token, &format!("/api/v1/ports?kind=scan&{hours}"));
    assert_eq!((scans.status, &scans.json()["parameter"]), (403, &json!("kind")));
    // Ten minutes are not told; neither is what is within the delay.
    let ten = server.ask_with(&token, &format!("/api/v1/ports?step=10m&{hours}"));
    assert_eq!((ten.status, &ten.json()["parameter"]), (400, &json!("step")));
    let rounded = get(&format!("ports?{}", range(TEN + 600, TEN + 1200)));
    assert_eq!((&rounded["from"], &rounded["to"]), (&json!("2024-11-21T10:00:00Z"), &json!("2024-11-21T11:00:00Z")));
    let status = get("status");
    assert_eq!(status["publication"], json!({"delay_hours": 24, "min_packets": 10, "min_sources": 3}));
    assert!(["classes", "ingest", "journal", "latency", "geo"].iter().all(|part| status[part].is_null()), "{status}");
}

#[test]
fn everybody_is_told_late() {
    let server = Server::with(closed);
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let now =
        i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let hour = now - now.rem_euclid(3600);
    let rows = || (1..=4).map(|source| tcp_scan(23, source, 50)).collect::<Vec<_>>();
    deliver(&mut client, &mut spool, &[(hour - 26 * 3600, rows()), (hour - 3600, rows())]);
    server.wait_for_batches(TrafficClass::Real, 2);
    let token = token(&server, Scope::Public, None);
    let summary = server.ask_with(&token, "/api/v1/summary").json();
    assert_eq!(summary["totals"]["packets"], 200);
    let until: jiff::Timestamp = summary["to"].as_str().unwrap().parse().unwrap();
    assert!((23 * 3600..26 * 3600).contains(&(now - until.as_second())), "{until}");
    // A later end is the latest that is told, and a later begin is none.
    let later = server.ask_with(&token, &format!("/api/v1/summary?{}", range(hour - 27 * 3600, hour))).json();
    assert_eq!((&later["to"], &later["totals"]["packets"]), (&summary["to"], &json!(200)));
    let early = server.ask_with(&token, &format!("/api/v1/summary?{}", range(hour - 2 * 3600, hour)));
    assert_eq!((early.status, &early.json()["parameter"]), (400, &json!("from")));
}
