//! What all paths of the API have in common: formats, pages, entity tags, headers, the description.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;

use common::{Server, Spool, TEN, deliver, http, range, tcp_scan};
use martlet_window::TrafficClass;
use serde_json::{Value, json};

/// A server with one sensor, and packets to ports from 1 to `ports` from one source each; port 1 has one packet, port 2 two.
fn with_ports(ports: u16) -> (Server, Spool, common::Client) {
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let rows: Vec<_> = (1..=ports).map(|port| tcp_scan(port, 0xc000_0200 + u32::from(port), port.into())).collect();
    deliver(&mut client, &mut spool, &[(TEN, rows)]);
    server.wait_for_batches(TrafficClass::Real, 1);
    (server, spool, client)
}

#[test]
fn the_table_comes_as_csv_and_ndjson() {
    let (server, ..) = with_ports(3);
    let csv = server.ask("/api/v1/ports", &["accept: text/csv"]);
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    assert_eq!(csv.header("content-disposition"), Some("attachment; filename=\"martlet-ports.csv\""));
    assert_eq!(
        csv.body,
        "ip,protocol,protocol_name,port,service,packets,bytes,sources_count,sources_exact,sources_error,kinds_scan,\
         kinds_backscatter,kinds_other\r\n\
         4,6,tcp,3,,3,120,1,true,0.0,3,0,0\r\n4,6,tcp,2,,2,80,1,true,0.0,2,0,0\r\n4,6,tcp,1,,1,40,1,true,0.0,1,0,0\r\n"
    );
    let lines = server.ask("/api/v1/ports?format=ndjson", &[]);
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let lines: Vec<Value> = lines.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(lines), server.ok("/api/v1/ports")["ports"]);

    // A series by step, and hours by sensor, each row with its time.
    let half_hour = range(TEN, TEN + 1800);
    let summary = server.ask(&format!("/api/v1/summary?{half_hour}&format=csv"), &[]).body;
    let times: Vec<_> = summary.lines().map(|line| line.split(',').take(2).collect::<Vec<_>>().join(",")).collect();
    let rows = ["2024-11-21T10:00:00Z,6", "2024-11-21T10:10:00Z,0", "2024-11-21T10:20:00Z,0"];
    assert_eq!(times, ["start,packets", rows[0], rows[1], rows[2]]);
    let hours = server.ask(&format!("/api/v1/coverage?{}&format=csv", range(TEN - 3600, TEN + 3600)), &[]).body;
    let starts: Vec<_> = hours.lines().skip(1).map(|line| line.split(',').take(3).collect::<Vec<_>>()).collect();
    assert_eq!(starts, [["alpha", "2024-11-21T09:00:00Z", ""], ["alpha", "2024-11-21T10:00:00Z", "partly"]]);
    // Every plain field of an entry is a column; lists and maps are not.
    for path in ["summary", "ports", "sources", "sensors", "coverage"] {
        let csv = server.ask(&format!("/api/v1/{path}?format=csv"), &[]).body;
        let widths: BTreeSet<_> = csv.lines().map(|line| line.split(',').count()).collect();
        assert_eq!((widths.len(), csv.lines().count() > 1), (1, true), "{csv}");
        let columns: BTreeSet<_> = csv.lines().next().unwrap().split(',').map(str::to_owned).collect();
        let lines = server.ask(&format!("/api/v1/{path}?format=ndjson"), &[]).body;
        let entry: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        let mut fields = BTreeSet::new();
        plain_fields(&entry, "", &mut fields);
        // A list where a port is asked for, and else null.
        fields.retain(|field| !field.starts_with("rejected_") && field != "source_series");
        assert_eq!(columns.difference(&fields).filter(|name| *name != "sources").count(), 0, "{path}");
        assert_eq!(fields.difference(&columns).count(), 0, "{path}");
    }
}

fn plain_fields(value: &Value, name: &str, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            let inner = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}_{key}") };
            object.iter().for_each(|(key, value)| plain_fields(value, &inner(key), fields));
        }
        Value::Array(_) => {}
        _ => {
            fields.insert(name.to_owned());
        }
    }
}

#[test]
fn the_format_is_the_one_asked_for_or_there_is_none() {
    let server = Server::start();
    for (path, accept, status) in [
        ("ports?format=csv", "*/*", 200),
        ("ports?format=csv", "application/json, */*;q=0.1", 200),
        ("ports?format=csv", "application/json", 406),
        ("ports?format=xml", "*/*", 400),
        ("ports", "text/html", 406),
        ("status", "text/csv", 406),
        ("status?format=csv", "*/*", 406),
        ("status?format=json", "*/*", 200),
    ] {
        let answer = server.ask(&format!("/api/v1/{path}"), &[&format!("accept: {accept}")]);
        assert_eq!(answer.status, status, "{path} {accept}");
        if status != 200 {
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path} {accept}");
        }
    }
}

/// All pages of a list, by the header `Link`.
fn pages(server: &Server, path: &str, list: &str) -> Vec<Value> {
    let mut entries = Vec::new();
    let mut query = format!("{path}?limit=3");
    loop {
        let answer = server.ask(&format!("/api/v1/{query}"), &[]);
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        let body = answer.json();
        let page = body[list].as_array().unwrap();
        assert!(page.len() <= 3);
        entries.extend(page.iter().cloned());
        let left = body[format!("{list}_left_out")].as_u64().unwrap();
        let Some(next) = answer.header("link") else {
            assert_eq!((left, &body["next_cursor"]), (0, &Value::Null));
            return entries;
        };
        assert!(left > 0);
        let next = next.strip_prefix("<?").unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        assert!(next.ends_with(body["next_cursor"].as_str().unwrap()), "{next}");
        query = format!("{path}?{next}");
    }
}

#[test]
fn lists_go_on_behind_their_cursor() {
    let (server, mut spool, mut client) = with_ports(8);
    for name in ["beta", "gamma", "delta", "epsilon"] {
        let mut other = Spool::new(name.as_bytes()[0], 0, name);
        let mut client = other.connect(&server);
        deliver(&mut client, &mut other, &[(TEN, vec![])]);
    }
    server.wait_for_batches(TrafficClass::Real, 5);
    for (path, list) in [("ports", "ports"), ("sources", "sources"), ("sensors", "sensors"), ("coverage", "sensors")] {
        let whole = server.ok(&format!("/api/v1/{path}?limit=1000"))[list].clone();
        let mut paged = json!(pages(&server, path, list));
        let mut whole = whole;
        [&mut whole, &mut paged].into_iter().for_each(forget_ages);
        assert_eq!(paged, whole, "{path}");
        assert!(paged.as_array().unwrap().len() >= 5);
    }

    // A page is of the range of the first one, and goes on behind the same entry, whatever has come meanwhile.
    let first = server.ok("/api/v1/ports?limit=2");
    assert_eq!((&first["ports"][1]["port"], &first["to"]), (&json!(7), &json!("2024-11-21T10:10:00Z")));
    deliver(
        &mut client,
        &mut spool,
        &[(TEN + 10, vec![tcp_scan(99, 1, 500)]), (TEN + 3600, vec![tcp_scan(6, 1, 500)])],
    );
    server.wait_for_batches(TrafficClass::Real, 7);
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = server.ok(&format!("/api/v1/ports?limit=2&cursor={cursor}"));
    assert_eq!((&second["ports"][0]["port"], &second["to"]), (&json!(6), &first["to"]));
    assert_eq!(server.ok("/api/v1/ports?limit=1")["ports"][0]["packets"], 506);

    // Whoever changes query or cursor is told so.
    let last = if cursor.ends_with('0') { '1' } else { '0' };
    let damaged = format!("{}{last}", &cursor[..cursor.len() - 1]);
    for query in [
        format!("ports?kind=scan&cursor={cursor}"),
        format!("ports?ip=4&cursor={cursor}"),
        format!("ports?protocol=tcp&cursor={cursor}"),
        format!("sources?cursor={cursor}"),
        format!("ports?cursor={damaged}"),
        format!("ports?cursor={}", &cursor[2..]),
        "ports?cursor=".to_owned(),
    ] {
        let (status, problem) = server.get(&format!("/api/v1/{query}"));
        assert_eq!((status, &problem["parameter"]), (400, &json!("cursor")), "{query}");
    }
    let (_, problem) = server.get(&format!("/api/v1/ports?kind=scan&cursor={cursor}"));
    assert!(problem["detail"].as_str().unwrap().contains("another query"), "{problem}");
}

fn forget_ages(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.remove("last_report_age_seconds");
            object.values_mut().for_each(forget_ages);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_ages),
        _ => {}
    }
}

#[test]
fn what_a_client_knows_is_not_sent_again() {
    let (mut server, mut spool, mut client) = with_ports(3);
    let ask = |server: &Server, path: &str, tag: &str| server.ask(path, &[&format!("if-none-match: {tag}")]);
    for path in ["summary", "ports", "ports?format=csv", "sources"] {
        let path = format!("/api/v1/{path}");
        let first = server.ask(&path, &[]);
        let tag = first.header("etag").unwrap();
        assert!(tag.starts_with('"'), "{tag}");
        let again = ask(&server, &path, tag);
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
        for header in ["etag", "cache-control", "vary", "x-content-type-options"] {
            assert_eq!(again.header(header), first.header(header), "{path} {header}");
        }
        assert_eq!(again.header("cache-control"), Some("private, no-cache"));
        assert_eq!(ask(&server, &path, "\"x\", *").status, 304);
        assert_eq!(ask(&server, &path, "\"x\"").status, 200);
    }
    // Another query or format has another tag.
    let tags = ["ports", "ports?limit=2", "ports?format=csv", "ports?format=ndjson", "summary"];
    let tag = |path: &&str| server.ask(&format!("/api/v1/{path}"), &[]).header("etag").unwrap().to_owned();
    let tags: BTreeSet<_> = tags.iter().map(tag).collect();
    assert_eq!(tags.len(), 5);
    // What depends on the clock says so by its bytes; what is another at each moment has none.
    let ended = format!("/api/v1/coverage?class=import&{}", range(TEN, TEN + 3600));
    let tag = server.ask(&ended, &[]).header("etag").unwrap().to_owned();
    assert_eq!(ask(&server, &ended, &tag).status, 304);
    let status = server.ask("/api/v1/status", &[]);
    assert_eq!((status.header("etag"), status.header("cache-control")), (None, Some("no-store")));

    let before = server.ask("/api/v1/ports", &[]).header("etag").unwrap().to_owned();
    deliver(&mut client, &mut spool, &[(TEN + 10, vec![tcp_scan(3, 1, 1)])]);
    server.wait_for_batches(TrafficClass::Real, 2);
    let answer = ask(&server, "/api/v1/ports", &before);
    assert_eq!((answer.status, &answer.json()["ports"][0]["packets"]), (200, &json!(4)));
    // Generations begin anew with each start; tags do not.
    let before = answer.header("etag").unwrap().to_owned();
    server.stop();
    let server = Server::in_directory(server.directory.clone(), |_| {});
    let after = ask(&server, "/api/v1/ports", &before);
    assert_eq!((after.status, &after.json()["ports"][0]["packets"]), (200, &json!(4)));
}

#[test]
fn head_has_what_get_has_but_no_body() {
    let (server, ..) = with_ports(3);
    for path in ["/", "/metrics", "/api/v1/status", "/api/v1/ports?format=csv", "/api/v1/openapi.json"] {
        let (status, head, body) = http(server.http, "HEAD", path);
        assert_eq!((status, body.as_str()), (200, ""), "{path}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let whole = http(server.http, "GET", path).2;
        // What shows the time or a process' own numbers differs from one request to the next.
        if !matches!(path, "/metrics" | "/api/v1/status") {
            assert_eq!(length.unwrap(), whole.len().to_string(), "{path}");
        }
    }
    let (status, head, _) = http(server.http, "PUT", "/api/v1/ports");
    assert!(status == 405 && head.contains("allow: GET, HEAD"), "{head}");
}

#[test]
fn the_description_has_every_path_parameter_and_answer() {
    let server = Server::start();
    let answer = server.ask("/api/v1/openapi.json", &[]);
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    let tag = answer.header("etag").unwrap();
    assert_eq!(server.ask("/api/v1/openapi.json", &[&format!("if-none-match: {tag}")]).status, 304);
    let paths = document["paths"].as_object().unwrap();
    let mut names =
        ["coverage", "ports", "sensors", "sources", "status", "stream", "summary"].map(str::to_owned).to_vec();
    let of_history = [
        "changes",
        "exposure",
        "first-seen",
        "icmp",
        "marks",
        "networks",
        "populations",
        "port",
        "port-sources",
        "ports",
        "protocols",
        "regions",
        "scanners",
        "sensors",
        "series",
        "source",
        "sources",
        "weeks",
    ];
    names.extend(["events", "events/{id}", "events/{id}/draft"].map(str::to_owned));
    names.extend(["reports", "reports/{time}", "reports/{time}/notes"].map(str::to_owned));
    names.extend(of_history.map(|name| format!("history/{name}")));
    names.sort();
    let names = names.iter().map(|name| format!("/api/v1/{name}")).collect::<Vec<_>>();
    assert_eq!(paths.keys().cloned().collect::<Vec<_>>(), names);
    for (path, item) in paths {
        let operation = &item["get"];
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let known = |name: &str| parameters.iter().any(|parameter| parameter["name"] == name);
        assert_eq!(parameters.is_empty(), path == "/api/v1/stream", "{path}");
        // What is described is taken, and what is not is refused.
        for name in [
            "class",
            "from",
            "to",
            "step",
            "sensor",
            "kind",
            "zone",
            "ip",
            "protocol",
            "port",
            "address",
            "order",
            "group_by",
            "direction",
            "sources",
            "type",
            "state",
            "since",
            "until",
            "lang",
            "tlp",
            "revision",
            "compare",
            "limit",
            "cursor",
            "format",
            "points",
        ] {
            let (_, problem) = server.get(&format!(
                "{}?{name}=%00",
                path.replace("{id}", "00000000000000000").replace("{time}", "2024-W47")
            ));
            let kind = if known(name) { "bad" } else { "unknown" };
            assert_eq!(problem["type"], format!("urn:martlet:problem:{kind}-parameter"), "{path} {name}");
        }
        for status in ["200", "304", "400", "401", "403", "405", "406", "413", "414", "429", "431", "500", "503"] {
            assert!(operation["responses"][status].is_object(), "{path} {status}");
        }
        let described = |value: &Value| value["description"].as_str().is_some_and(|text| !text.is_empty());
        assert!(parameters.iter().all(described), "{path}");
        assert!(operation["responses"].as_object().unwrap().values().all(described), "{path}");
        assert_eq!(operation["security"].as_array().unwrap().len(), 2, "{path}");
    }
    // Those that change something say what they take, and when they do not.
    let change = &paths["/api/v1/events/{id}"]["post"];
    let body = &change["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!((&body["required"], &body["additionalProperties"]), (&json!(["action"]), &json!(false)));
    for status in ["200", "400", "401", "403", "404", "405", "406", "409", "413", "415", "429", "503"] {
        assert!(change["responses"][status].is_object(), "{status}");
    }
    let changing = paths.values().filter(|item| item.as_object().is_some_and(|item| item.len() > 1));
    assert_eq!(changing.count(), 2);
    let notes = &paths["/api/v1/reports/{time}/notes"]["put"];
    let body = &notes["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!((&body["required"], &body["additionalProperties"]), (&Value::Null, &json!(false)));
    for status in ["200", "400", "401", "403", "404", "405", "406", "409", "412", "413", "415", "428", "429", "503"] {
        assert!(notes["responses"][status].is_object(), "{status}");
    }
    let report = &paths["/api/v1/reports/{time}"]["get"]["responses"]["200"]["content"];
    let types: Vec<_> = report.as_object().unwrap().keys().collect();
    assert_eq!(types, ["application/json", "application/zip", "text/html"]);
    // What has no end is described as what it is.
    let stream = &paths["/api/v1/stream"]["get"]["responses"]["200"]["content"];
    assert_eq!(stream.as_object().unwrap().keys().collect::<Vec<_>>(), ["text/event-stream"]);
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    // Every field is described, and every reference leads somewhere.
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut references = BTreeSet::new();
    collect_references(&document, &mut references);
    for reference in references {
        assert!(schemas.contains_key(reference.strip_prefix("#/components/schemas/").unwrap()), "{reference}");
    }
}

fn collect_references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
            object.values().for_each(|value| collect_references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_references(value, found)),
        _ => {}
    }
}
