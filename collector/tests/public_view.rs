//! The public view: what anybody is told below `/public/`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Server, Spool, TEN, deliver, range, tcp_scan};
use martlet_collector::config::Config;
use martlet_collector::tokens::{Grant, LoopbackScope, Scope, TokenStore};
use martlet_window::TrafficClass;
use serde_json::json;

/// Port 23 from three sources, port 80 from two.
fn with_traffic(change: impl FnOnce(&mut Config)) -> Server {
    let server = Server::with(change);
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let rows = vec![
        tcp_scan(23, 0xc000_0201, 20),
        tcp_scan(23, 0xc000_0202, 20),
        tcp_scan(23, 0xc000_0203, 20),
        tcp_scan(80, 0x0a00_0001, 300),
        tcp_scan(80, 0x0a00_0002, 400),
    ];
    deliver(&mut client, &mut spool, &[(TEN, rows)]);
    server.wait_for_batches(TrafficClass::Real, 1);
    server
}

fn token(server: &Server, scope: Scope) -> String {
    let mut store = TokenStore::open(&server.location()).unwrap();
    let grant = Grant { name: scope.name().to_owned(), scope, organisation: None, expires: None };
    let token = store.create(&grant, 0).unwrap().reveal();
    common::wait(|| server.ask_with(&token, "/api/v1/status").status == 200);
    token
}

#[test]
fn whoever_asks_is_told_what_scope_public_is_told() {
    let server = with_traffic(|config| {
        config.publication.public = true;
        config.http.loopback_scope = LoopbackScope::None;
    });
    let [public, admin] = [Scope::Public, Scope::Admin].map(|scope| token(&server, scope));
    let hours = range(TEN, TEN + 7200);
    for path in ["summary", "ports", "ports?protocol=tcp&port=23&", "sources", "ports?format=csv&", "sources?limit=1&"]
    {
        let path = if path.contains('?') { format!("{path}{hours}") } else { format!("{path}?{hours}") };
        let expected = server.ask_with(&public, &format!("/api/v1/{path}"));
        assert_eq!(expected.status, 200, "{path}: {}", expected.body);
        for lines in [
            vec![],
            vec![format!("authorization: Bearer {admin}")],
            vec!["authorization: Bearer nonsense".to_owned()],
            vec!["host: martlet.example.net".to_owned(), "x-forwarded-for: 192.0.2.7".to_owned()],
        ] {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let told = server.ask(&format!("/public/api/v1/{path}"), &lines);
            assert_eq!((told.status, &told.body), (200, &expected.body), "{path} {lines:?}");
            assert_eq!(told.header("cache-control"), Some("public, max-age=60"), "{path}");
            assert_eq!(told.header("vary"), Some("accept"), "{path}");
            assert_eq!(told.header("link"), expected.header("link"), "{path}");
            let again = server
                .ask(&format!("/public/api/v1/{path}"), &[&format!("if-none-match: {}", told.header("etag").unwrap())]);
            assert_eq!((again.status, again.header("cache-control")), (304, Some("public, max-age=60")), "{path}");
        }
    }
    let status = server.ok("/public/api/v1/status");
    assert!(status["published_until"].is_string() && status["classes"].is_null(), "{status}");
    assert_eq!(server.ok(&format!("/public/api/v1/sources?{hours}"))["sources"], json!([]));
    for (path, code) in [
        ("ports?sensor=alpha", 403),
        ("ports?class=import", 403),
        ("ports?step=10m", 400),
        ("status?class=real", 400),
        ("ports?colour=red", 400),
    ] {
        let refused = server.ask_with(&admin, &format!("/public/api/v1/{path}"));
        assert_eq!((refused.status, refused.header("cache-control")), (code, Some("no-store")), "{path}");
    }
}

#[test]
fn nothing_else_is_below_it() {
    let open = with_traffic(|config| config.publication.public = true);
    for path in [
        "/public",
        "/public/api/v1/sensors",
        "/public/api/v1/coverage",
        "/public/api/v1/stream",
        "/public/api/v1/history/ports",
        "/public/metrics",
        "/public/healthz",
        "/public/readyz",
        "/public/public/",
        "/public/api/v1/",
        "/public/api/v1/../../../metrics",
    ] {
        assert_eq!(open.ask(path, &[]).status, 404, "{path}");
    }
    let page = open.ask("/public/", &[]);
    assert!(page.status == 200 && page.body == open.ask("/", &[]).body);
    assert_eq!(page.header("cache-control"), Some("public, max-age=60"));
    // Its description has its paths, at which nobody needs a token.
    let document = open.ok("/public/api/v1/openapi.json");
    let paths = document["paths"].as_object().unwrap();
    let names =
        ["events", "events/{id}", "ports", "sources", "status", "summary"].map(|name| format!("/public/api/v1/{name}"));
    assert_eq!(paths.keys().collect::<Vec<_>>(), names.each_ref());
    for (path, item) in paths {
        assert_eq!(item["get"]["security"], json!([{}]), "{path}");
        assert_eq!(item.as_object().unwrap().len(), 1, "{path}: nothing can be changed");
        let status = if path.ends_with("{id}") { 404 } else { 200 };
        assert_eq!(open.ask(path, &[]).status, status, "{path}");
    }
    // Where it is not wanted, nothing is there.
    let closed = Server::start();
    for path in ["/public/", "/public/page/style.css", "/public/api/v1/status", "/public/api/v1/openapi.json"] {
        assert_eq!(closed.ask(path, &[]).status, 404, "{path}");
    }
}

#[test]
fn what_arrives_does_not_show_before_its_time() {
    // The tags of answers, too, change with what is told and not with what comes.
    let server = with_traffic(|config| config.publication.public = true);
    let path = format!("/public/api/v1/ports?{}", range(TEN, TEN + 7200));
    let before = server.ask(&path, &[]).header("etag").unwrap().to_owned();
    let mut spool = Spool::new(2, 0, "beta");
    let mut client = spool.connect(&server);
    deliver(&mut client, &mut spool, &[(TEN + 86_400, vec![tcp_scan(31_337, 1, 1)])]);
    server.wait_for_batches(TrafficClass::Real, 2);
    assert_eq!(server.ask(&path, &[&format!("if-none-match: {before}")]).status, 304);
}

#[test]
fn its_readers_share_their_queries_and_take_nobody_elses() {
    let server = Server::with(|config| {
        config.publication.public = true;
        (config.http.max_queries, config.http.max_queries_per_caller) = (1, 1);
    });
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let batches: Vec<_> = (0..300).map(|n| (TEN + 600 * n, (0..200).map(|p| tcp_scan(p, 1, 20)).collect())).collect();
    deliver(&mut client, &mut spool, &batches);
    server.wait_for_batches(TrafficClass::Real, 300);
    let path = format!("api/v1/ports?limit=1000&{}", range(TEN, TEN + 600 * 300));
    let (statuses, inside): (Vec<u16>, u16) = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..24).map(|_| scope.spawn(|| server.ask(&format!("/public/{path}"), &[]))).collect();
        let inside = server.ask(&format!("/{path}"), &[]).status;
        (asked.into_iter().map(|asked| asked.join().unwrap().status).collect(), inside)
    });
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert_eq!(inside, 200);
}
