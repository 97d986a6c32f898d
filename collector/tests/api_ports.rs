//! `/api/v1/ports` of single services.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Server, Spool, TEN, deliver, range, row, sorted, tcp_scan};
use martlet_window::{Class, CountRow, IpVersion, Kind, Marks, Service, TrafficClass};
use serde_json::{Value, json};

fn over_ipv6(protocol: u8, service: Service, source: u128, packets: u32) -> CountRow {
    let class = Class { ip: IpVersion::V6, protocol, service, kind: Kind::Scan, marks: Marks::NONE };
    CountRow { class: class.into(), source, packets, targets: 1, bytes: u64::from(packets) * 60 }
}

/// Two sensors: TCP, UDP and more over both versions of IP, in the first bucket, and further sources of 23/tcp in the third.
fn server(publication: (u64, u64)) -> Server {
    let server = Server::with(|config| {
        (config.publication.min_packets, config.publication.min_sources) = publication;
        config.publication.public = true;
    });
    let udp = |port, source, packets| row(17, Service::Port(port), Kind::Scan, Marks::NONE, source, packets);
    let first = sorted(vec![
        tcp_scan(23, 1, 5),
        tcp_scan(23, 2, 6),
        tcp_scan(80, 1, 7),
        udp(23, 3, 11),
        row(6, Service::Port(23), Kind::Backscatter, Marks::NONE, 9, 2),
        row(1, Service::Icmp { icmp_type: 8, code: 0 }, Kind::Scan, Marks::NONE, 3, 13),
        row(47, Service::None, Kind::Other, Marks::NONE, 5, 17),
        over_ipv6(6, Service::Port(23), 1, 19),
        over_ipv6(58, Service::Icmp { icmp_type: 128, code: 0 }, 2, 23),
    ]);
    let later = vec![tcp_scan(23, 2, 3), tcp_scan(23, 7, 4), tcp_scan(23, 8, 5)];
    for (number, name, batch) in [(1, "alpha", (TEN, first)), (2, "beta", (TEN + 1200, later))] {
        let mut spool = Spool::new(number, 0, name);
        let mut client = spool.connect(&server);
        deliver(&mut client, &mut spool, &[batch]);
    }
    server.wait_for_batches(TrafficClass::Real, 2);
    server
}

fn half_hour() -> String {
    range(TEN, TEN + 1800)
}

/// Version, protocol and port of the entries of an answer.
fn services(answer: &Value) -> Vec<(u64, u64, u64)> {
    let number = |entry: &Value, name: &str| entry[name].as_u64().unwrap();
    let entries = answer["ports"].as_array().unwrap().iter();
    entries.map(|entry| (number(entry, "ip"), number(entry, "protocol"), number(entry, "port"))).collect()
}

#[test]
fn only_what_is_asked_for_is_listed_and_counted() {
    let server = server((10, 3));
    let ask = |query: &str| server.ok(&format!("/api/v1/ports?{}&{query}", half_hour()));
    let whole = ask("limit=20");
    assert_eq!(whole["totals"]["packets"], 115);
    for (query, found, packets, icmp, without_port) in [
        ("ip=4", &[(4, 6, 23), (4, 17, 23), (4, 6, 80)][..], 73, 1, 1),
        ("ip=6", &[(6, 6, 23)], 42, 1, 0),
        ("protocol=tcp", &[(4, 6, 23), (6, 6, 23), (4, 6, 80)], 51, 0, 0),
        ("protocol=6&ip=6", &[(6, 6, 23)], 19, 0, 0),
        ("protocol=icmp", &[], 13, 1, 0),
        ("protocol=gre", &[], 17, 0, 1),
        ("protocol=tcp&port=23", &[(4, 6, 23), (6, 6, 23)], 44, 0, 0),
        ("protocol=tcp&port=23&ip=4", &[(4, 6, 23)], 25, 0, 0),
        ("protocol=tcp&port=23&ip=4&kind=backscatter", &[(4, 6, 23)], 2, 0, 0),
        ("protocol=tcp&port=24", &[], 0, 0, 0),
        ("protocol=icmp&port=8", &[], 0, 0, 0),
    ] {
        let answer = ask(query);
        assert_eq!(services(&answer), found, "{query}");
        assert_eq!(answer["totals"]["packets"], packets, "{query}");
        assert_eq!(answer["icmp"].as_array().unwrap().len(), icmp, "{query}");
        assert_eq!(answer["without_port"].as_array().unwrap().len(), without_port, "{query}");
        // Each entry is what it is among all, but for what only one port has.
        for mut entry in answer["ports"].as_array().unwrap().clone() {
            entry["source_series"] = Value::Null;
            let known = whole["ports"].as_array().unwrap().contains(&entry);
            assert!(known || query.contains("kind="), "{query}: {entry}");
        }
    }
    for (query, parameter) in
        [("port=23", "protocol"), ("port=23&ip=4", "protocol"), ("ip=5", "ip"), ("protocol=tpc", "protocol")]
    {
        // Also with a tag that fits everything.
        let answer = server.ask(&format!("/api/v1/ports?{query}"), &["if-none-match: *"]);
        assert_eq!((answer.status, &answer.json()["parameter"]), (400, &json!(parameter)), "{query}");
    }
    let csv = server.ask(&format!("/api/v1/ports?{}&protocol=udp&port=23&format=csv", half_hour()), &[]).body;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].ends_with(",kinds_scan,kinds_backscatter,kinds_other"), "{csv}");
    assert_eq!(lines[1], "4,17,udp,23,telnet,11,440,1,true,0.0,11,0,0");
}

#[test]
fn one_port_has_its_sources_by_step() {
    let server = server((10, 3));
    let exact = |count: u64| json!({"count": count, "exact": true, "error": 0.0});
    let ask = |query: &str| server.ok(&format!("/api/v1/ports?{}&step=10m&{query}", half_hour()));
    let answer = ask("protocol=tcp&port=23&ip=4");
    let port = &answer["ports"][0];
    assert_eq!((&port["series"], &port["sources"]["count"]), (&json!([13, 0, 12]), &json!(5)));
    assert_eq!(port["source_series"], json!([exact(3), exact(0), exact(3)]));
    let steps = server.ok(&format!("/api/v1/ports?{}&step=30m&protocol=tcp&port=23&ip=4", half_hour()));
    assert_eq!(steps["ports"][0]["source_series"], json!([exact(5)]));
    // Of one sensor they are kept, too.
    let beta = ask("protocol=tcp&port=23&sensor=beta");
    assert_eq!(beta["ports"][0]["source_series"], json!([exact(0), exact(0), exact(3)]));
    assert_eq!(ask("protocol=tcp&port=23&sensor=nobody")["ports"], json!([]));
    // Of many ports they would be too many.
    for query in ["limit=20", "protocol=tcp", "ip=4"] {
        assert!(ask(query)["ports"].as_array().unwrap().iter().all(|port| port["source_series"].is_null()), "{query}");
    }
}

#[test]
fn a_cursor_belongs_to_what_was_asked_for() {
    let server = server((10, 3));
    let first = server.ok("/api/v1/ports?limit=1&protocol=tcp");
    let cursor = first["next_cursor"].as_str().unwrap();
    let next = server.ok(&format!("/api/v1/ports?limit=1&protocol=tcp&cursor={cursor}"));
    assert_eq!((services(&first), services(&next)), (vec![(4, 6, 23)], vec![(6, 6, 23)]));
    for query in ["", "protocol=udp&", "protocol=tcp&ip=4&", "protocol=tcp&port=23&", "protocol=6&"] {
        let (status, problem) = server.get(&format!("/api/v1/ports?limit=1&{query}cursor={cursor}"));
        assert_eq!((status, &problem["parameter"]), (400, &json!("cursor")), "{query}");
    }
}

#[test]
fn asking_for_one_service_tells_everybody_nothing_about_few() {
    let server = server((10, 3));
    let ask = |query: &str| server.ok(&format!("/public/api/v1/ports?{}&{query}", half_hour()));
    // Of all rows together it is told how many are not.
    let whole = ask("");
    assert_eq!((services(&whole), &whole["totals"]["packets"]), (vec![(4, 6, 23)], &json!(115)));
    assert_eq!(whole["withheld"], json!({"rows": 6, "packets": 90}));
    // A port that one source asked for, and one that nobody did, look alike.
    let (few, none) = (ask("protocol=udp&port=23"), ask("protocol=udp&port=24"));
    assert_eq!(few, none);
    assert_eq!((&few["ports"], &few["totals"]["packets"], &few["withheld"]), (&json!([]), &json!(0), &json!(null)));
    for query in ["protocol=tcp", "ip=4", "protocol=tcp&port=23"] {
        let answer = ask(query);
        assert_eq!((services(&answer), &answer["totals"]["packets"]), (vec![(4, 6, 23)], &json!(25)), "{query}");
        assert_eq!((&answer["withheld"], &answer["other"]["packets"]), (&json!(null), &json!(0)), "{query}");
    }
    assert_eq!(ask("ip=6")["totals"]["packets"], 0);
    // Sources by step are told if all parts are of enough.
    let exact = |count: u64| json!({"count": count, "exact": true, "error": 0.0});
    let port = ask("protocol=tcp&port=23")["ports"][0].clone();
    assert_eq!((&port["series"], &port["source_series"]), (&json!([25]), &json!([exact(5)])));
    let more = |rows: Vec<CountRow>, start: i64, origin: u8| {
        let mut spool = Spool::new(origin, 0, &format!("sensor-{origin}"));
        let mut client = spool.connect(&server);
        deliver(&mut client, &mut spool, &[(start, rows)]);
        server.wait_for_batches(TrafficClass::Real, u64::from(origin));
    };
    // An hour with many packets from two sources, and one with few packets.
    let hours = |n: i64| format!("/public/api/v1/ports?{}&protocol=tcp&port=23&ip=4", range(TEN, TEN + n * 3600));
    more(vec![tcp_scan(23, 1, 50), tcp_scan(23, 2, 50)], TEN + 3600, 3);
    let port = server.ok(&hours(2))["ports"][0].clone();
    assert_eq!((&port["series"], &port["source_series"]), (&json!([25, 100]), &json!(null)));
    more(vec![tcp_scan(23, 1, 1), tcp_scan(23, 2, 1), tcp_scan(23, 3, 1)], TEN + 7200, 4);
    let port = server.ok(&hours(3))["ports"][0].clone();
    assert_eq!((&port["series"], &port["source_series"]), (&json!(null), &json!(null)));
}
