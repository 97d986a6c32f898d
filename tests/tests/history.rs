//! `/api/v1/history/...` of the real collector, held against DuckDB on its archive.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use martlet_tests::daemon::{Collector, eventually, get, run_ok};
use martlet_tests::program::{program, run};
use martlet_tests::python;
use serde_json::Value;

/// The week from Monday on: the drill covers its Tuesday to Thursday.
const WEEK: (&str, &str) = ("2026-01-05T00:00:00Z", "2026-01-12T00:00:00Z");

/// The drills are of long ago, and only networks would be left of their sources.
const KEEP_SOURCES: (&str, &str) = ("MARTLET_ARCHIVE__SOURCE_DAYS", "0");

fn start(data: &Path) -> Collector {
    Collector::start_in(data, &[(KEEP_SOURCES.0, Path::new(KEEP_SOURCES.1))])
}

fn drill(folder: &Path, name: &str, start: &str, duration: &str, seed: &str) -> PathBuf {
    let file = folder.join(name);
    let arguments =
        ["--out", file.to_str().unwrap(), "--quiet", "--start", start, "--duration", duration, "--seed", seed];
    run_ok(program("martlet-drill"), &[&arguments[..], &["--packets", "20000"]].concat());
    file
}

fn import(data: &Path, sensor: &str, file: &Path) {
    let mut command = Command::new(program("martlet-collector"));
    command
        .env(KEEP_SOURCES.0, KEEP_SOURCES.1)
        .args(["import", "--sensor", sensor, "--observe", "198.18.0.0/24", "--data-dir"])
        .arg(data)
        .arg(file);
    let outcome = run(&mut command, b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

fn ask(collector: &Collector, path: &str, more: &str) -> Value {
    collector.api(&format!("/api/v1/history/{path}?class=import&from={}&to={}&{more}", WEEK.0, WEEK.1))
}

/// Status, and the part of the problem's type that tells it apart.
fn refusal(collector: &Collector, path: &str) -> (u16, String) {
    let (status, body) = get(collector.http, &format!("/api/v1/history/{path}")).unwrap();
    let problem: Value = serde_json::from_str(&body).unwrap();
    (status, problem["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned())
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} of {value}"))
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("{name} of {value}"))
}

/// Every entry of a list, page by page.
fn pages(collector: &Collector, path: &str, name: &str, more: &str) -> Vec<Value> {
    let (mut entries, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = ask(collector, path, &format!("limit=997&{more}{cursor}"));
        entries.extend(list(&page, name).iter().cloned());
        match page["next_cursor"].as_str() {
            None => return entries,
            // The cursor has the range, and goes before what is given.
            Some(next) => cursor = format!("&cursor={next}"),
        }
    }
}

#[test]
fn history_says_what_duckdb_finds_in_the_archive() {
    let Some(interpreter) = python::interpreter() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    import(&data, "one", &drill(folder.path(), "one.pcap", "2026-01-06T00:00:00Z", "72h", "1"));
    let collector = start(&data);
    let archive = data.join("archive");
    let arguments = ["import", "2026-01-05T00:00:00", "2026-01-12T00:00:00"].map(OsStr::new);
    let truth = python::ask(&interpreter, "history.py", &[&[archive.as_os_str()], &arguments[..]].concat());

    let answer = ask(&collector, "ports", "limit=1");
    assert_eq!(answer["totals"]["packets"], truth["packets"]);
    assert_eq!(number(&answer["basis"], "days"), 7);
    // Nothing is known of Monday, and of Friday to Sunday.
    let missing =
        serde_json::json!([{"from": "2026-01-05", "to": "2026-01-06"}, {"from": "2026-01-09", "to": "2026-01-12"}]);
    assert_eq!(answer["basis"]["missing_days"], missing);
    assert_eq!(answer["basis"]["pending_days"], serde_json::json!([]));
    // Nobody knows how long a capture file was watched.
    assert_eq!(answer["basis"]["ipv4_address_days"], Value::Null);
    ports(&collector, &truth);
    groups(&collector, &truth);
    series(&collector, &truth);
    first_seen(&collector, &truth);
    sources(&collector, &truth);
    sources_of_ports(&collector, &truth);
    populations(&collector, &truth);
    weeks(&collector);
    assert_eq!(collector.stop(), Some(0));

    // What comes late makes another revision of the week.
    import(&data, "two", &drill(folder.path(), "two.pcap", "2026-01-08T00:00:00Z", "24h", "2"));
    let collector = start(&data);
    let answer = ask(&collector, "weeks", "");
    let revisions: Vec<u64> = list(&answer, "weeks").iter().map(|week| number(week, "revision")).collect();
    assert_eq!(revisions, [2, 1]);
    assert_eq!(answer["basis"]["week"]["state"], "closed");
    assert_eq!(answer["basis"]["week"]["revision"], 2);
    assert_eq!(collector.stop(), Some(0));
}

/// Every packet is of one kind, and what one packet confirms is confirmed of every source that has the mark.
fn populations(collector: &Collector, truth: &Value) {
    let entries = pages(collector, "populations", "populations", "");
    let kinds = entries.iter().filter(|entry| entry["by"] == "kind");
    assert_eq!(kinds.map(|entry| number(entry, "packets")).sum::<u64>(), number(truth, "packets"));
    let find = |by: &str, name: &str| {
        let is_it = |entry: &&Value| entry["by"] == by && entry["name"] == name && entry["kind"] == "scan";
        entries.iter().find(is_it).unwrap_or_else(|| panic!("{by} {name} among {entries:?}"))
    };
    let (mark, confirmed) = (find("mark", "mirai"), find("confirmed", "mirai"));
    assert!(number(mark, "packets") > 0);
    for figure in ["packets", "sources"] {
        assert_eq!(mark[figure], confirmed[figure], "{figure}");
    }
    // There is one sensor.
    assert_eq!(number(find("reach", "several_sensors"), "packets"), 0);
    let half = "populations?class=import&from=2026-01-06T00:00:00Z&to=2026-01-06T12:00:00Z";
    assert_eq!(refusal(collector, half), (400, "not-kept".to_owned()));
}

fn ports(collector: &Collector, truth: &Value) {
    let found: Vec<Vec<u64>> = pages(collector, "ports", "ports", "")
        .iter()
        .map(|port| {
            let of = ["ip", "protocol", "port", "packets", "bytes"].map(|name| number(port, name));
            of.into_iter().chain([number(&port["sources"], "count")]).collect()
        })
        .collect();
    let expected: Vec<Vec<u64>> = serde_json::from_value(truth["ports"].clone()).unwrap();
    assert!(expected.len() > 1000, "more than a page: {}", expected.len());
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found[..5], expected[..5]);
        assert_near(found[5], expected[5]);
    }
}

/// Numbers of distinct sources: exact up to 1,024, and else an estimate with a standard error of 1.6 %: five of them are never
/// seen.
fn assert_near(found: u64, sources: u64) {
    let far = found.abs_diff(sources);
    assert!(if sources <= 1024 { far == 0 } else { far * 100 <= sources * 8 }, "{found} for {sources}");
}

fn groups(collector: &Collector, truth: &Value) {
    let found: BTreeMap<String, (u64, u64)> = pages(collector, "regions", "groups", "")
        .iter()
        .map(|group| {
            (group["name"].as_str().unwrap().to_owned(), (number(group, "packets"), number(&group["sources"], "count")))
        })
        .collect();
    let expected: Vec<(String, u64, u64)> = serde_json::from_value(truth["regions"].clone()).unwrap();
    assert!(expected.len() > 20);
    let known: Vec<_> = expected.iter().map(|(name, packets, _)| (name.clone(), *packets)).collect();
    assert_eq!(found.iter().map(|(name, (packets, _))| (name.clone(), *packets)).collect::<Vec<_>>(), known);
    expected.iter().for_each(|(name, _, sources)| assert_near(found[name].1, *sources));
    let protocols = ask(collector, "protocols", "limit=1000");
    let total: u64 = list(&protocols, "groups").iter().map(|group| number(group, "packets")).sum();
    assert_eq!(truth["packets"], total);
    let icmp: Vec<[u64; 4]> = list(&ask(collector, "icmp", "limit=1000"), "icmp")
        .iter()
        .map(|of| [number(of, "ip"), number(of, "type"), number(of, "code"), number(of, "packets")])
        .collect();
    let mut expected: Vec<[u64; 4]> = serde_json::from_value(truth["icmp"].clone()).unwrap();
    expected.sort_by_key(|&[ip, icmp_type, code, packets]| (u64::MAX - packets, ip, icmp_type, code));
    assert_eq!(icmp, expected);
    let sensors = ask(collector, "sensors", "ip=4");
    assert_eq!(list(&sensors, "groups")[0]["name"], "one");
    assert_eq!(list(&ask(collector, "exposure", ""), "exposures")[0]["sensor"], "one");
    assert!(list(&ask(collector, "marks", ""), "groups").iter().any(|group| group["name"] == "mirai"));
    assert!(!list(&ask(collector, "networks", ""), "networks").is_empty());
}

fn series(collector: &Collector, truth: &Value) {
    let hours: Vec<(u64, u64)> = serde_json::from_value(truth["hours"].clone()).unwrap();
    let answer = ask(collector, "series", "step=1h");
    let (only, starts) = (&list(&answer, "series")[0], list(&answer, "starts"));
    assert_eq!((only["name"].as_str(), starts.len()), (Some("all"), 168));
    let found: Vec<u64> = list(only, "packets").iter().map(|n| n.as_u64().unwrap()).filter(|&n| n > 0).collect();
    assert_eq!(found, hours.iter().map(|(_, packets)| *packets).collect::<Vec<_>>());

    // Every port of the first ones, by day, with its sources of each day.
    let answer = ask(collector, "series", "group_by=port&step=1d&sources=yes&limit=50");
    assert_eq!(answer["step_seconds"], Value::Null);
    let days: Vec<&str> = list(&answer, "starts").iter().map(|start| &start.as_str().unwrap()[..10]).collect();
    let mut expected: BTreeMap<(u64, u64, &str), (u64, u64)> = BTreeMap::new();
    let rows: Vec<(u64, u64, String, u64, u64)> = serde_json::from_value(truth["port_days"].clone()).unwrap();
    for (protocol, port, day, packets, sources) in &rows {
        expected.insert((*protocol, *port, day), (*packets, *sources));
    }
    assert_eq!(list(&answer, "series").len(), 50);
    for one in list(&answer, "series") {
        for (place, day) in days.iter().enumerate() {
            let key = (number(one, "protocol"), number(one, "port"), *day);
            let (packets, sources) = expected.get(&key).copied().unwrap_or_default();
            assert_eq!(one["packets"][place], packets, "{key:?}");
            assert_near(number(&one["sources"][place], "count"), sources);
        }
    }

    // One port, and what it was before.
    let [protocol, port] = ["protocol", "port"].map(|name| number(&list(&answer, "series")[0], name));
    let detail = ask(collector, "port", &format!("protocol={protocol}&port={port}&step=1d"));
    assert_eq!(detail["totals"]["packets"], list(&answer, "series")[0]["total"]);
    assert_eq!(detail["previous"]["packets"], 0);
    assert_eq!(list(&detail, "series").len(), 7);
    assert!(!list(&detail, "first_seen").is_empty());
    let changes = ask(collector, "changes", "limit=1");
    let first = &list(&changes, "changes")[0];
    assert_eq!((&first["difference"], &first["now"]["port"]), (&detail["totals"]["packets"], &port.into()));
}

fn first_seen(collector: &Collector, truth: &Value) {
    let mut found: Vec<(String, String, u64, u64)> = pages(collector, "first-seen", "services", "")
        .iter()
        .filter(|entry| !entry["port"].is_null())
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            (text("date"), text("kind"), number(entry, "protocol"), number(entry, "port"))
        })
        .collect();
    found.sort();
    let expected: Vec<(String, String, u64, u64)> = serde_json::from_value(truth["first_seen"].clone()).unwrap();
    assert!(expected.len() > 300);
    assert_eq!(found, expected);
}

fn sources(collector: &Collector, truth: &Value) {
    let expected: Vec<(String, u64, u64, usize, String)> = serde_json::from_value(truth["sources"].clone()).unwrap();
    let listed = ask(collector, "sources", "limit=1000");
    for (source, packets, _, _, region) in &expected {
        let entry = list(&listed, "sources").iter().find(|entry| entry["source"] == **source);
        let entry = entry.unwrap_or_else(|| panic!("{source} is not listed"));
        let (least, error) = (number(entry, "packets"), number(entry, "packets_error"));
        assert!(least <= *packets && *packets <= least + error, "{packets} of {entry}");
        assert_eq!(entry["region"], **region);
    }
    let (source, packets, bytes, days, _) = &expected[0];
    let detail = ask(collector, "source", &format!("address={source}&kind=scan"));
    assert_eq!((number(&detail, "packets"), number(&detail, "bytes")), (*packets, *bytes));
    assert_eq!(list(&detail, "days").len(), *days);
    assert_eq!(detail["sensors"], 1);
    // Bloom filters spare most of what an address that never came would read.
    let nobody = ask(collector, "source", "address=2001:db8::1");
    assert_eq!((number(&nobody, "packets"), number(&nobody, "row_groups_read")), (0, 0));
}

fn weeks(collector: &Collector) {
    let answer = ask(collector, "weeks", "");
    assert_eq!(list(&answer, "weeks").len(), 1, "{answer}");
    assert_eq!(list(&answer, "weeks")[0]["revision"], 1);
    assert_eq!(answer["basis"]["week"]["closes"], "2026-01-15T00:00:00Z");
    // A week of a zone whose weeks nobody closes will never be.
    let tokyo = "class=import&zone=Asia/Tokyo&from=2026-01-04T15:00:00Z&to=2026-01-11T15:00:00Z";
    assert_eq!(collector.api(&format!("/api/v1/history/weeks?{tokyo}"))["basis"]["week"], Value::Null);
}

#[test]
fn what_history_cannot_say_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    import(&data, "one", &drill(folder.path(), "one.pcap", "2026-01-06T00:00:00Z", "24h", "1"));
    let collector = start(&data);
    for (path, problem) in [
        ("ports?zone=Mars/Olympus", "bad-parameter"),
        ("ports?from=2026-01-07T00:00:00Z&to=2026-01-07T00:00:00Z", "bad-parameter"),
        ("ports?from=1800-01-01T00:00:00Z&to=2026-01-07T00:00:00Z", "bad-parameter"),
        ("series?step=10m", "bad-parameter"),
        ("series?port=23", "bad-parameter"),
        ("series?group_by=colour", "bad-parameter"),
        ("port?protocol=tcp", "bad-parameter"),
        ("port?protocol=tcp&port=65536", "bad-parameter"),
        ("port?protocol=nonsense&port=23", "bad-parameter"),
        ("source", "bad-parameter"),
        ("source?address=example.org", "bad-parameter"),
        ("source?address=192.0.2.1&from=2020-01-01T00:00:00Z", "bad-parameter"),
        ("series?group_by=region&protocol=tcp", "not-kept"),
        ("networks?from=2026-01-06T00:15:00Z&to=2026-01-07T00:00:00Z&class=import", "not-kept"),
        (
            "ports?order=daily_sources&zone=Asia/Tokyo&from=2026-01-06T15:00:00Z&to=2026-01-07T15:00:00Z&class=import",
            "not-kept",
        ),
        ("ports?sensor=one", "unknown-parameter"),
        ("ports?zone=UTC&zone=UTC", "repeated-parameter"),
    ] {
        assert_eq!(refusal(&collector, path), (400, problem.to_owned()), "{path}");
    }
    // Without a range: the week up to the end of the newest day of the class.
    let answer = collector.api("/api/v1/history/ports?class=import");
    assert_eq!(
        (answer["from"].as_str(), answer["to"].as_str()),
        (Some("2025-12-31T00:00:00Z"), Some("2026-01-07T00:00:00Z"))
    );
    // Days of a zone that is not configured have packets, and say why they have no sources.
    let tokyo = "from=2026-01-05T15:00:00Z&to=2026-01-06T15:00:00Z&zone=Asia/Tokyo&class=import";
    let answer = collector.api(&format!("/api/v1/history/ports?{tokyo}"));
    assert!(number(&answer["totals"], "packets") > 5_000);
    assert_eq!(answer["totals"]["sources"], Value::Null);
    assert!(answer["totals"]["sources_unknown"].as_str().unwrap().contains("history.report_zones"), "{answer}");
    // Nothing of another class, and no error.
    let answer = collector.api("/api/v1/history/ports?class=real");
    assert_eq!((number(&answer["totals"], "packets"), list(&answer, "ports").len()), (0, 0));
    assert_eq!(collector.stop(), Some(0));
}

/// Status of an answer, and its tag.
fn tag(collector: &Collector, known: Option<&str>) -> (u16, String) {
    let url = format!("http://{}/api/v1/history/ports?class=import", collector.http);
    let mut curl = Command::new("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code} %header{etag}", &url]);
    curl.args(known.iter().flat_map(|tag| ["-H".to_owned(), format!("If-None-Match: {tag}")]));
    let said = String::from_utf8(curl.output().unwrap().stdout).unwrap();
    let (status, tag) = said.split_once(' ').unwrap();
    (status.parse().unwrap(), tag.to_owned())
}

#[test]
fn what_a_client_keeps_of_history_stays_right_until_that_changes() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    import(&data, "one", &drill(folder.path(), "one.pcap", "2026-01-06T00:00:00Z", "24h", "1"));
    let collector = start(&data);
    let (status, first) = tag(&collector, None);
    assert_eq!(status, 200);
    assert_eq!(tag(&collector, Some(&first)), (304, first.clone()));
    assert_eq!(collector.stop(), Some(0));
    let collector = start(&data);
    assert_eq!(tag(&collector, Some(&first)).0, 304);
    assert_eq!(collector.stop(), Some(0));
    import(&data, "two", &drill(folder.path(), "two.pcap", "2026-01-06T00:00:00Z", "24h", "2"));
    let collector = start(&data);
    eventually("history to have changed", || tag(&collector, Some(&first)).0 == 200);
    assert_eq!(collector.stop(), Some(0));
}

/// Who looked for a port: everybody, exactly.
fn sources_of_ports(collector: &Collector, truth: &Value) {
    let rows: Vec<(u8, u16, String, u64, String, String, String)> =
        serde_json::from_value(truth["port_sources"].clone()).unwrap();
    let mut ports: Vec<(u8, u16)> = rows.iter().map(|row| (row.0, row.1)).collect();
    ports.dedup();
    assert!(ports.len() >= 2, "{ports:?}");
    for (protocol, port) in ports {
        let answer = ask(collector, "port-sources", &format!("protocol={protocol}&port={port}&limit=1000"));
        let expected: Vec<_> = rows.iter().filter(|row| (row.0, row.1) == (protocol, port)).collect();
        let packets: u64 = expected.iter().map(|row| row.3).sum();
        assert_eq!((number(&answer, "packets"), number(&answer, "network_packets")), (packets, 0));
        assert_eq!(answer["distinct"], serde_json::json!({"count": expected.len(), "exact": true, "error": 0.0}));
        let listed = list(&answer, "sources");
        assert_eq!(listed.len() as u64 + number(&answer, "sources_left_out"), expected.len() as u64);
        assert!(listed.is_sorted_by_key(|entry| std::cmp::Reverse(number(entry, "packets"))));
        for entry in listed {
            let (.., packets, first, last, region) =
                expected.iter().find(|row| entry["address"] == *row.2).unwrap_or_else(|| panic!("nobody is {entry}"));
            assert_eq!((number(entry, "packets"), &entry["region"]), (*packets, &Value::from(region.as_str())));
            assert_eq!(
                (&entry["first_window"], &entry["last_window"]),
                (&Value::from(first.as_str()), &Value::from(last.as_str()))
            );
        }
        let networks = list(&answer, "networks");
        if number(&answer, "networks_left_out") == 0 {
            assert_eq!(networks.iter().map(|network| number(network, "packets")).sum::<u64>(), packets);
            assert_eq!(networks.iter().map(|network| number(network, "sources")).sum::<u64>(), expected.len() as u64);
        }
        assert!(number(&answer, "row_groups_read") <= number(&answer, "row_groups"));
    }
    let nobody = ask(collector, "port-sources", "protocol=udp&port=9&ip=6");
    assert_eq!((number(&nobody, "packets"), number(&nobody, "row_groups_read")), (0, 0));
}
