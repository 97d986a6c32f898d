//! Events: from findings to the store, out of the API, and what analysts make of them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::findings::{finding, record};
use common::{Server, TEN, wait};
use martlet_collector::events::Recorded;
use martlet_collector::store::{Location, Store};
use martlet_collector::tokens::{Grant, LoopbackScope, Scope, TokenStore};
use martlet_detect::{Finding, FindingType, Key};
use martlet_window::TrafficClass;
use serde_json::{Value, json};

const REAL: TrafficClass = TrafficClass::Real;

/// A store without a collector, and what is in its tables of events.
struct Books {
    _folder: tempfile::TempDir,
    location: Location,
}

impl Books {
    fn new() -> Books {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::in_directory(folder.path());
        drop(Store::open(location.clone()).unwrap());
        Books { _folder: folder, location }
    }

    fn record(&self, findings: &[Finding]) -> Recorded {
        record(&self.location, REAL, findings, TEN + 100_000)
    }

    /// Type, state, severity, whether it has ended, and version of the one event; and the actions of its history.
    fn event(&self) -> (String, Vec<String>) {
        let Location::File(path) = &self.location else { unreachable!("it is a file") };
        let connection = rusqlite::Connection::open(path).unwrap();
        let select = "SELECT type || ' ' || state || ' ' || severity || ' ' || (ended IS NOT NULL) || ' ' || version FROM events";
        let event = connection.query_row(select, (), |row| row.get(0)).unwrap();
        let mut history = connection.prepare("SELECT action FROM event_history ORDER BY change").unwrap();
        let actions = history.query_map((), |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        (event, actions)
    }
}

#[test]
fn a_finding_is_one_event_and_never_goes_back() {
    let books = Books::new();
    let first = finding(23, FindingType::FirstSeenPort, 0);
    let surge = finding(23, FindingType::Surge, 1);
    let outbreak = finding(23, FindingType::Outbreak, 2);
    let active = Finding { last_active: TEN + 3 * 3600, ..outbreak.clone() };
    let ended = Finding { ended: Some(TEN + 4 * 3600), ..active.clone() };
    let told = [&first, &surge, &outbreak, &active, &ended].map(Clone::clone);

    assert_eq!(books.record(&told[..1]), Recorded { detected: 1, ..Recorded::default() });
    assert_eq!(books.event(), ("first_seen_port detected info 0 1".to_owned(), vec!["detected".to_owned()]));
    assert_eq!(books.record(&told[..1]), Recorded { known: 1, ..Recorded::default() });
    assert_eq!(books.record(&told[1..3]), Recorded { escalated: 2, ..Recorded::default() });
    assert_eq!(books.event().0, "outbreak detected high 0 3");
    // A detector that starts anew says what it has said before.
    assert_eq!(books.record(&told[..3]), Recorded { known: 3, ..Recorded::default() });
    assert_eq!(books.record(&told[3..4]), Recorded { renewed: 1, ..Recorded::default() });
    assert_eq!(books.record(&told[4..]), Recorded { ended: 1, ..Recorded::default() });
    let state = books.event();
    assert_eq!(state.0, "outbreak detected high 1 4");
    assert_eq!(state.1, ["detected", "escalated", "escalated", "ended"]);
    // Whatever it repeats, in whichever order, changes nothing any more.
    for rotation in 0..told.len() {
        let mut again = told.clone();
        again.rotate_left(rotation);
        assert_eq!(books.record(&again), Recorded { known: 5, ..Recorded::default() }, "{rotation}");
        assert_eq!(books.event(), state);
    }
}

#[test]
fn what_is_called_late_ends_up_the_same() {
    let together = Books::new();
    let surge = finding(80, FindingType::Surge, 1);
    let ended = Finding { ended: Some(TEN + 7200), ..finding(80, FindingType::Outbreak, 2) };
    assert_eq!(
        together.record(std::slice::from_ref(&ended)),
        Recorded { detected: 1, ended: 1, ..Recorded::default() }
    );
    assert_eq!(together.record(std::slice::from_ref(&surge)), Recorded { known: 1, ..Recorded::default() });
    assert_eq!(together.event().0, "outbreak detected high 1 2");
    let apart = Books::new();
    apart.record(&[surge]);
    apart.record(&[ended]);
    assert_eq!(apart.event().0, "outbreak detected high 1 3");
    assert_eq!(apart.event().1, ["detected", "escalated", "ended"]);
}

/// A server on which programs of the machine may do what analysts may.
fn server() -> Server {
    Server::with(|config| config.http.loopback_scope = LoopbackScope::Analyst)
}

fn only(answer: &Value) -> &Value {
    assert_eq!(answer["events"].as_array().unwrap().len(), 1, "{answer}");
    &answer["events"][0]
}

#[test]
fn an_event_is_told_with_its_evidence() {
    let server = server();
    record(&server.location(), REAL, &[finding(23, FindingType::Outbreak, 2)], TEN + 7300);
    let list = server.ok("/api/v1/events");
    let event = only(&list);
    let id = event["id"].as_str().unwrap();
    assert_eq!((id.len(), &list["next_cursor"]), (17, &Value::Null));
    let expected = json!({
        "id": id, "class": "real", "type": "outbreak", "ip": 4, "protocol": "tcp", "port": 23, "service": "telnet", "mark": "mirai",
        "state": "detected", "severity": "high", "owner": null, "recipients": [],
        "onset": "2024-11-21T10:00:00Z", "detected": "2024-11-21T12:00:00Z", "recorded": "2024-11-21T12:01:40Z",
        "last_active": "2024-11-21T12:00:00Z", "ended": null, "labels": ["one_network"],
        "estimates": {
            "rate_per_hour": {"value": 0.7, "low": 0.5, "high": 0.9},
            "doubling_seconds": {"value": 3565.0, "low": 2773.0, "high": 4991.0},
            "infected": {"value": 12000.0, "low": 9000.0, "high": 16000.0},
            "susceptible": null,
        },
        "history": [{"at": "2024-11-21T12:01:40Z", "by": "detector", "action": "detected", "note": "outbreak"}],
        "version": 1,
    });
    assert_eq!(*event, expected);
    let whole = server.ok(&format!("/api/v1/events/{id}"));
    assert_eq!(whole["estimates"], event["estimates"]);
    let evidence = &whole["evidence"];
    assert_eq!(evidence["series"][1], json!({"start": "2024-11-21T10:10:00Z", "sightings": 80, "expected": 3.5}));
    assert_eq!(evidence["regions"], json!([{"region": "JP", "sources": 9}, {"region": "ZZ", "sources": 2}]));
    assert_eq!(evidence["networks"][0]["network"], "133.0.0.0/24");
    assert_eq!(evidence["sensors"], json!([{"sensor": "alpha", "sightings": 80}, {"sensor": "beta", "sightings": 40}]));
    // What is beyond all numbers is none in JSON.
    assert_eq!(evidence["growth_over_step"], 0.0);
    for (path, status, problem) in [
        ("/api/v1/events/00000000000000000", 404, "no-such-event"),
        ("/api/v1/events/x", 404, "no-such-event"),
        ("/api/v1/events?type=worm", 400, "bad-parameter"),
        ("/api/v1/events?from=2024-11-21T10:00:00Z", 400, "unknown-parameter"),
    ] {
        let answer = server.ask(path, &[]);
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.json()["type"], format!("urn:martlet:problem:{problem}"), "{path}");
    }
}

#[test]
fn the_list_is_filtered_and_goes_on() {
    let server = server();
    let at = |port: u16, hours| finding(port, FindingType::Surge, hours);
    let findings: Vec<_> = (1..=7).map(|port| at(port, i64::from(port))).collect();
    record(&server.location(), REAL, &findings, TEN);
    // Two that were detected at once are both listed, once.
    record(&server.location(), REAL, &[at(107, 7), finding(200, FindingType::Outbreak, 9)], TEN);
    record(&server.location(), TrafficClass::Drill, &[finding(23, FindingType::Outbreak, 2)], TEN);
    let ports = |answer: &Value| -> Vec<u64> {
        answer["events"].as_array().unwrap().iter().map(|event| event["port"].as_u64().unwrap()).collect()
    };
    let whole = ports(&server.ok("/api/v1/events?limit=100"));
    assert_eq!((whole.len(), whole[0], whole[8]), (9, 200, 1));
    let (mut paged, mut next) = (Vec::new(), String::new());
    loop {
        let page = server.ask(&format!("/api/v1/events?limit=2{next}"), &[]);
        paged.extend(ports(&page.json()));
        match page.json()["next_cursor"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => break,
        }
        assert!(page.header("link").unwrap().contains("rel=\"next\""));
    }
    assert_eq!(paged, whole);
    for (query, expected) in [
        ("type=outbreak", vec![200]),
        ("class=drill", vec![23]),
        ("since=2024-11-21T16:00:00Z&until=2024-11-21T17:00:00Z", vec![6]),
        ("protocol=tcp&port=3", vec![3]),
        ("protocol=udp", vec![]),
        ("state=resolved", vec![]),
        ("ip=6", vec![]),
    ] {
        assert_eq!(ports(&server.ok(&format!("/api/v1/events?{query}"))), expected, "{query}");
    }
    let csv = server.ask("/api/v1/events?type=outbreak&format=csv", &[]).body;
    assert!(csv.starts_with("id,class,type,") && csv.lines().count() == 2 && csv.contains(",200,"), "{csv}");
}

#[test]
fn an_event_lives_forward_and_two_analysts_do_not_overwrite_each_other() {
    let server = server();
    record(&server.location(), REAL, &[finding(23, FindingType::Surge, 2)], TEN);
    let id = only(&server.ok("/api/v1/events"))["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/events/{id}");
    let post = |body: Value| {
        let answer = server.post(&path, &[], &body.to_string());
        (answer.status, answer.json())
    };
    let (status, event) = post(json!({"action": "acknowledge", "version": 1, "owner": "Hanako", "severity": "medium"}));
    assert_eq!(
        (status, &event["state"], &event["owner"], &event["version"]),
        (200, &json!("acknowledged"), &json!("Hanako"), &json!(2))
    );
    let (status, problem) = post(json!({"action": "resolve", "version": 1}));
    assert_eq!((status, &problem["type"]), (409, &json!("urn:martlet:problem:event-changed")));
    let (status, problem) = post(json!({"action": "acknowledge"}));
    assert_eq!((status, &problem["type"]), (409, &json!("urn:martlet:problem:illegal-transition")));
    assert_eq!(post(json!({"action": "assess"})).0, 400, "an assessment says something");
    let (status, event) =
        post(json!({"action": "assess", "note": "Mirai, a new variant", "recipients": ["ISP A", "CSIRT B"]}));
    assert_eq!((status, &event["state"], event["recipients"][1].as_str()), (200, &json!("assessed"), Some("CSIRT B")));

    // The detector calls it something stronger: what the analyst has chosen stays.
    record(&server.location(), REAL, &[finding(23, FindingType::Outbreak, 3)], TEN);
    let event = server.ok(&path);
    let fields = ["type", "state", "severity", "owner"].map(|name| event[name].as_str().unwrap().to_owned());
    assert_eq!(fields, ["outbreak", "acknowledged", "medium", "Hanako"]);
    assert_eq!(event["history"][1]["note"], "(severity: low -> medium; owner: nobody -> Hanako)");
    assert_eq!(post(json!({"action": "resolve"})).0, 200);
    assert_eq!(post(json!({"action": "note", "note": "the vendor has a patch"})).0, 200);
    let (status, event) = post(json!({"action": "assign", "owner": ""}));
    assert_eq!((status, &event["owner"]), (200, &Value::Null));
    let history: Vec<_> = event["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("{} {}", entry["by"].as_str().unwrap(), entry["action"].as_str().unwrap()))
        .collect();
    assert_eq!(
        history,
        [
            "detector detected",
            "local acknowledged",
            "local assessed",
            "detector escalated",
            "local resolved",
            "local noted",
            "local assigned"
        ]
    );
    for body in [
        "",
        "{}",
        "[]",
        r#"{"action":"close"}"#,
        r#"{"action":"note","note":"x","extra":1}"#,
        r#"{"action":"assign"}"#,
        r#"{"action":"assign","severity":"huge"}"#,
    ] {
        let answer = server.post(&path, &[], body);
        assert_eq!(
            (answer.status, answer.json()["type"].as_str()),
            (400, Some("urn:martlet:problem:bad-body")),
            "{body}"
        );
    }
    let long = json!({"action": "note", "note": "x".repeat(4001)}).to_string();
    assert_eq!(server.post(&path, &[], &long).status, 400);
    let huge = json!({"action": "note", "note": "x".repeat(100_000)}).to_string();
    assert_eq!(server.post(&path, &[], &huge).status, 413);
}

#[test]
fn what_was_resolved_as_less_is_open_again_as_more() {
    let server = server();
    record(&server.location(), REAL, &[finding(23, FindingType::Surge, 2)], TEN);
    let id = only(&server.ok("/api/v1/events"))["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/events/{id}");
    assert_eq!(server.post(&path, &[], r#"{"action":"resolve","note":"a research sweep"}"#).status, 200);
    record(&server.location(), REAL, &[finding(23, FindingType::Outbreak, 3)], TEN);
    let event = server.ok(&path);
    assert_eq!((&event["state"], &event["severity"]), (&json!("detected"), &json!("high")));
    assert_eq!(event["history"][1]["note"], "a research sweep");
}

#[test]
fn what_nobody_follows_any_more_has_ended() {
    let is_open = |server: &Server| server.ok("/api/v1/events")["events"][0]["ended"].is_null();
    let mut server = Server::start();
    record(&server.location(), REAL, &[finding(23, FindingType::Outbreak, 2)], TEN);
    record(&server.location(), TrafficClass::Drill, &[finding(23, FindingType::Outbreak, 2)], TEN);
    server.stop();
    let (directory, location) = (server.directory.clone(), server.location());
    drop(server);
    let mut server = Server::in_directory(directory.clone(), |_| {});
    assert!(is_open(&server), "what was saved is known again");
    server.stop();
    drop(server);
    // Another version's state of one class: of that alone nothing is known.
    let Location::File(path) = &location else { unreachable!("it is a file") };
    let connection = rusqlite::Connection::open(path).unwrap();
    assert_eq!(connection.execute("UPDATE detector SET state = x'00' WHERE class = 0", ()).unwrap(), 1);
    drop(connection);
    let mut server = Server::in_directory(directory.clone(), |_| {});
    let event = server.ok("/api/v1/events")["events"][0].clone();
    assert_eq!(event["ended"], event["last_active"]);
    assert!(server.ok("/api/v1/events?class=drill")["events"][0]["ended"].is_null());
    server.stop();
    drop(server);
    // A collector that looks for nothing follows nothing.
    let server = Server::in_directory(directory, |config| config.detect.enabled = false);
    assert!(!server.ok("/api/v1/events?class=drill")["events"][0]["ended"].is_null());
    let id = event["id"].as_str().unwrap();
    let actions: Vec<Value> = server.ok(&format!("/api/v1/events/{id}"))["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].clone())
        .collect();
    assert_eq!(actions, ["detected", "ended"]);
}

#[test]
fn only_analysts_change_events_and_no_other_site_does() {
    let server = Server::start();
    record(&server.location(), REAL, &[finding(23, FindingType::Surge, 2)], TEN);
    let id = only(&server.ok("/api/v1/events"))["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/events/{id}");
    let note = r#"{"action":"note","note":"seen"}"#;
    // Without a token, programs of this machine may read.
    assert_eq!(server.post(&path, &[], note).status, 403);
    let mut store = TokenStore::open(&server.location()).unwrap();
    let mut token = |name: &str, scope| {
        let grant = Grant { name: name.to_owned(), scope, organisation: None, expires: None };
        let token = store.create(&grant, 0).unwrap().reveal();
        wait(|| server.ask_with(&token, "/api/v1/status").status == 200);
        format!("authorization: Bearer {token}")
    };
    let (reader, analyst) = (token("reader", Scope::Read), token("hanako", Scope::Analyst));
    assert_eq!(server.post(&path, &[&reader], note).status, 403);
    assert_eq!(
        server.post(&path, &[&analyst, "sec-fetch-site: cross-site"], note).json()["type"],
        "urn:martlet:problem:cross-site"
    );
    assert_eq!(server.post(&path, &[&analyst, "content-type: text/plain"], note).status, 415);
    assert_eq!(server.post(&path, &[&analyst, "accept: text/html"], note).status, 406);
    assert_eq!(server.post(&format!("{path}?x=1"), &[&analyst], note).status, 400);
    assert_eq!(server.post("/api/v1/events/00000000000000000", &[&analyst], note).status, 404);
    let done = server.post(&path, &[&analyst, "sec-fetch-site: same-origin"], note);
    assert_eq!((done.status, done.header("cache-control")), (200, Some("no-store")));
    assert_eq!(done.json()["history"][1]["by"], "hanako");
    let (status, head, _) = common::http(server.http, "PUT", &path);
    assert!(status == 405 && head.contains("allow: GET, HEAD, POST"), "{head}");
    assert_eq!(server.post("/api/v1/events", &[&analyst], note).status, 405);
}

#[test]
fn everybody_is_told_of_assessed_real_outbreaks_and_nothing_of_the_analysts() {
    let server = Server::with(|config| {
        config.publication.public = true;
        config.http.loopback_scope = LoopbackScope::Analyst;
    });
    record(
        &server.location(),
        REAL,
        &[
            finding(23, FindingType::Outbreak, 2),
            finding(80, FindingType::Outbreak, 3),
            finding(99, FindingType::FirstSeenPort, 3),
            finding(8080, FindingType::Surge, 1),
        ],
        TEN,
    );
    record(&server.location(), TrafficClass::Drill, &[finding(445, FindingType::Outbreak, 2)], TEN);
    let assess = r#"{"action":"assess","note":"secret","owner":"hanako","recipients":["ISP"]}"#;
    let path_of = |class: &str, port: u16| {
        let list = server.ok(&format!("/api/v1/events?class={class}&protocol=tcp&port={port}"));
        format!("/api/v1/events/{}", only(&list)["id"].as_str().unwrap())
    };
    for (class, port) in [("real", 23), ("real", 99), ("real", 8080), ("drill", 445)] {
        assert_eq!(server.post(&path_of(class, port), &[], assess).status, 200);
    }
    // A false alarm is resolved without a word.
    assert_eq!(server.post(&path_of("real", 80), &[], r#"{"action":"resolve"}"#).status, 200);
    // What was assessed as a surge is public until it is called an outbreak, of which nobody has said anything.
    let risen = format!("/public{}", path_of("real", 8080));
    assert_eq!(server.ask(&risen, &[]).status, 200);
    record(&server.location(), REAL, &[finding(8080, FindingType::Outbreak, 3)], TEN);
    assert_eq!(server.ok(&path_of("real", 8080))["state"], "acknowledged");
    let list = server.ask("/public/api/v1/events", &[]);
    assert_eq!(list.header("cache-control"), Some("public, max-age=60"));
    let told = list.json();
    let event = only(&told);
    assert_eq!((&event["port"], &event["owner"], &event["recipients"]), (&json!(23), &Value::Null, &json!([])));
    assert_eq!(
        event["history"][1],
        json!({"at": event["history"][1]["at"], "by": null, "action": "assessed", "note": null})
    );
    let whole = server.ask(&format!("/public/api/v1/events/{}", event["id"].as_str().unwrap()), &[]);
    let evidence = &whole.json()["evidence"];
    // Of two sources only one region is told; the minimum is three.
    assert_eq!(
        (&evidence["networks"], &evidence["sensors"], &evidence["regions"]),
        (&json!([]), &json!([]), &json!([{"region": "JP", "sources": 9}]))
    );
    for hidden in ["secret", "hanako", "ISP", "133.0.0", "alpha", "local"] {
        assert!(!list.body.contains(hidden) && !whole.body.contains(hidden), "{hidden}");
    }
    assert_eq!(server.ask("/public/api/v1/events?class=drill", &[]).status, 403);
    let all = server.ok("/api/v1/events");
    for event in all["events"].as_array().unwrap() {
        let path = format!("/public/api/v1/events/{}", event["id"].as_str().unwrap());
        assert_eq!(server.ask(&path, &[]).status, if event["port"] == 23 { 200 } else { 404 }, "{event}");
        assert_eq!(server.post(&path, &[], assess).status, 405);
        assert_eq!(server.ask(&format!("{path}/draft"), &[]).status, 404);
    }
    assert_eq!(server.post(&path_of("real", 8080), &[], assess).status, 200);
    assert_eq!(server.ask(&risen, &[]).status, 200);
}

#[test]
fn a_draft_is_marked_and_says_what_its_marking_allows() {
    let server = server();
    record(&server.location(), TrafficClass::Drill, &[finding(23, FindingType::Outbreak, 2)], TEN);
    let list = server.ok("/api/v1/events?class=drill");
    let path = format!("/api/v1/events/{}/draft", only(&list)["id"].as_str().unwrap());
    let draft = server.ask(&format!("{path}?lang=ja&tlp=amber+strict"), &[]);
    assert_eq!((draft.status, draft.header("content-type")), (200, Some("text/markdown; charset=utf-8")));
    assert!(draft.body.starts_with("**TLP:AMBER+STRICT**") && draft.body.contains("## I. 概要"), "{}", draft.body);
    assert!(draft.body.contains("訓練") && draft.body.contains("alpha"), "{}", draft.body);
    assert!(server.ask(&path, &[]).body.starts_with("**TLP:RED**"));
    for bad in ["lang=fr", "tlp=white", "lang=en&lang=ja"] {
        assert_eq!(server.ask(&format!("{path}?{bad}"), &[]).status, 400, "{bad}");
    }
    assert_eq!(server.ask(&path, &["accept: application/json"]).status, 406);
}

#[test]
fn keys_of_one_port_are_apart() {
    let books = Books::new();
    let one = finding(23, FindingType::Surge, 1);
    let other = Finding { key: Key { population: martlet_detect::Population::None, ..one.key }, ..one.clone() };
    assert_eq!(books.record(&[one, other]).detected, 2);
}
