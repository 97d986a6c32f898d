//! `martlet-collector query` and `rebuild`, as programs, on a store with history.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::{Command, Output};

use common::history::{DAY, Fact, SOURCE_KEY, Site};
use martlet_collector::archive::Network;
use martlet_collector::geo::Region;
use martlet_collector::rollup::{DAY_SECONDS, Settings};
use martlet_window::{Class, IpVersion, Kind, Mark, Marks, Service, TrafficClass};
use serde_json::{Value, json};

fn run(site: &Site, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_martlet-collector"))
        .args(arguments)
        .arg("--data-dir")
        .arg(site.directory.path())
        .output()
        .unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn query(site: &Site, sql: &str) -> Vec<Value> {
    let (status, out, error) = run(site, &["query", "--format", "json", sql]);
    assert_eq!((status, error.as_str()), (0, ""), "{sql}");
    serde_json::from_str(&out).unwrap()
}

fn refused(site: &Site, arguments: &[&str], status: i32) -> String {
    let (found, _, error) = run(site, arguments);
    assert_eq!(found, status, "{error}");
    error
}

/// Two days of three ports and of every column that there is, with exposure.
fn site() -> Site {
    let settings = Settings { watched: vec!["tcp/23".parse().unwrap()], ..Settings::new(SOURCE_KEY) };
    let mut site = Site::new(settings);
    let mut facts = Vec::new();
    for day in 0..2i64 {
        for source in 0..30u128 {
            let port = [23, 23, 445, 8080][usize::try_from(source).unwrap() % 4];
            let marks = if port == 23 { Marks::NONE.with(Mark::Mirai) } else { Marks::NONE };
            let class = Class { ip: IpVersion::V4, protocol: 6, service: Service::Port(port), kind: Kind::Scan, marks };
            facts.push(Fact {
                sensor: "tokyo-1",
                traffic: TrafficClass::Real,
                class,
                source: source + 5 * u128::from(day.unsigned_abs()),
                start: (DAY + day) * DAY_SECONDS + 12 * 3600 + i64::try_from(source).unwrap() * 60,
                packets: 2,
                bytes: 80,
                network: Network {
                    region: Region::parse(if source < 10 { "JP" } else { "NO" }).unwrap(),
                    asn: (source < 20).then_some(7),
                    organisation: (source < 20).then(|| "=Formula, Inc.".into()),
                    known_scanner: (source == 0).then(|| "survey".into()),
                    is_coarse: false,
                },
            });
        }
    }
    // Seen on the second day only, and a drill that must not count.
    let class = Class { service: Service::Port(9), marks: Marks::NONE, ..facts[0].class };
    facts.push(Fact { class, start: (DAY + 1) * DAY_SECONDS, ..facts[0].clone() });
    facts.push(Fact { traffic: TrafficClass::Drill, packets: 1_000_000, ..facts[0].clone() });
    site.archive("a", &facts);
    site.roll();
    let sql = "INSERT INTO meta (id, record, bucket_seconds, source_key) VALUES (0, 0, 600, ?1);";
    site.connection().execute(sql, [SOURCE_KEY]).unwrap();
    let exposure =
        "INSERT INTO sensors (sensor, origin, name) VALUES (0, x'00112233445566778899aabbccddeeff', 'tokyo-1')";
    site.connection().execute(exposure, ()).unwrap();
    for hour in 0..48 {
        let sql =
            "INSERT INTO sensor_hours VALUES (?1, 0, 0, 10, 360, 0, 5, 0, 0, 0, 0, 0, 0, 3600000, 7200000, 0, 0, NULL)";
        site.connection().execute(sql, [DAY * DAY_SECONDS + hour * 3600]).unwrap();
    }
    site
}

/// Every statement of the documentation finds something.
#[test]
fn the_documented_statements_run() {
    let site = site();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/history.md")).unwrap();
    let statements: Vec<&str> = text.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(statements.len() >= 10);
    for statement in statements {
        assert!(!query(&site, statement).is_empty(), "{statement}");
    }
    // Every view that is there is documented.
    let views = query(&site, "SELECT name FROM sqlite_schema WHERE type = 'view'");
    for view in views {
        assert!(text.contains(&format!("`{}`", view["name"].as_str().unwrap())), "{view}");
    }
}

#[test]
fn answers_are_what_was_counted() {
    let site = site();
    let sql =
        "SELECT date, sum(packets) AS packets, distinct_sources(sketch) AS sources, distinct_error(sketch) AS error
         FROM services_by_day WHERE class = 'real' AND service = tcp(23) GROUP BY date ORDER BY date";
    let day = |date: &str| json!({"date": date, "packets": 32, "sources": 16, "error": 0.0});
    assert_eq!(query(&site, sql), [day("2026-03-29"), day("2026-03-30")]);
    // Sources 0, 1, 4, 5 ... of the first day and five more than those of the second: both together.
    let sql =
        "SELECT distinct_sources(sketch) AS sources FROM services_by_day WHERE class = 'real' AND service = tcp(23)";
    let both: std::collections::BTreeSet<u32> = (0..30).filter(|n| n % 4 < 2).flat_map(|n| [n, n + 5]).collect();
    assert_eq!(query(&site, sql), [json!({"sources": both.len()})]);
    let sql = "SELECT packets, quarter(quarters, 48) AS first, quarters(quarters, 48, 52) AS hour, quarters(quarters, 0, 48) AS before
         FROM services_by_day WHERE class = 'real' AND service = tcp(23) AND date = '2026-03-29'";
    assert_eq!(query(&site, sql), [json!({"packets": 32, "first": 16, "hour": 32, "before": 0})]);
    let sql = "SELECT port, date FROM first_seen WHERE class = 'real' ORDER BY port";
    let first = [(9, "2026-03-30"), (23, "2026-03-29"), (445, "2026-03-29"), (8080, "2026-03-29")];
    assert_eq!(query(&site, sql), first.map(|(port, date)| json!({"port": port, "date": date})));
    let sql = "SELECT sum(ipv4_address_days) AS days FROM exposure_by_hour WHERE class = 'real'";
    assert_eq!(query(&site, sql), [json!({"days": 4.0})]);
    let sql = "SELECT class, sum(packets) AS packets FROM sensors_by_day GROUP BY class ORDER BY class";
    let sums = [json!({"class": "drill", "packets": 1_000_000}), json!({"class": "real", "packets": 122})];
    assert_eq!(query(&site, sql), sums);
    // Found by index, for however many days.
    let sql = "EXPLAIN QUERY PLAN SELECT sum(packets) FROM services_by_day WHERE class = 'real' AND service = tcp(23)";
    let plan = query(&site, sql);
    let is_found =
        |step: &Value| step["detail"].as_str().unwrap().contains("rollup=? AND class=? AND scope=? AND service=?");
    assert!(plan.iter().any(is_found), "{plan:?}");
}

#[test]
fn answers_have_formats() {
    let site = site();
    let sql = "SELECT organisation, sum(packets) AS packets, max(sketch) AS sketch FROM networks_by_day WHERE class = 'real' AND date = '2026-03-29'
         GROUP BY organisation ORDER BY packets DESC";
    let (_, table, _) = run(&site, &["query", sql]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[0].starts_with("organisation") && lines[2].starts_with("=Formula, Inc.       40"), "{table}");
    assert!(lines[2].ends_with("bytes)"), "{table}");
    let (_, csv, _) = run(&site, &["query", "--format", "csv", sql]);
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(lines[0], "organisation,packets,sketch");
    assert!(lines[1].starts_with("\"'=Formula, Inc.\",40,01"), "{csv}");
    assert_eq!(run(&site, &["query", "--format", "json", "SELECT 1 AS one WHERE 0"]).1, "[\n]\n");
    assert_eq!(run(&site, &["query", "--format", "csv", "SELECT NULL AS a, 1.5 AS b"]).1, "a,b\r\n,1.5\r\n");
}

#[test]
fn only_history_is_read_and_nothing_is_written() {
    let site = site();
    for sql in [
        "SELECT hex(source_key) FROM meta",
        "SELECT * FROM streams",
        "SELECT * FROM rollup_days JOIN meta",
        "SELECT (SELECT source_key FROM meta) FROM rollup_days",
        "WITH m AS (SELECT * FROM meta) SELECT * FROM m",
        "PRAGMA query_only = 0",
        "PRAGMA user_version",
        "ATTACH '/tmp/x.db' AS x",
        "DELETE FROM rollup_days",
        "UPDATE rollup_days SET packets = 0",
        "CREATE TABLE x (y)",
        "CREATE TEMP TABLE x AS SELECT 1",
        "DROP TABLE rollup_days",
        "VACUUM INTO '/tmp/x.db'",
        "BEGIN IMMEDIATE",
        "SELECT load_extension('x')",
    ] {
        let error = refused(&site, &["query", sql], 2);
        assert!(error.contains("only SELECT") || error.contains("not authorized"), "{sql}: {error}");
    }
    let error = refused(&site, &["query", "SELEC 1"], 2);
    assert!(error.contains("syntax error"), "{error}");
    let error = refused(&site, &["query", "SELECT quarter(sketch, 1) FROM services_by_day"], 2);
    assert!(error.contains("takes a column quarters"), "{error}");
    let error = refused(&site, &["query", "SELECT quarter(quarters, 96) FROM services_by_day"], 2);
    assert!(error.contains("from 0 to 95"), "{error}");
    let error = refused(&site, &["query", "SELECT 1; SELECT 2"], 2);
    assert!(error.contains("one statement") || error.contains("Multiple"), "{error}");
}

#[test]
fn limits_hold_and_are_told() {
    let site = site();
    let forever = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let begun = std::time::Instant::now();
    let error = refused(&site, &["query", "--timeout", "1", forever], 1);
    assert!(error.contains("stopped after 1 s") && begun.elapsed().as_secs() < 20, "{error}");
    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20) SELECT i FROM n";
    let (status, out, error) = run(&site, &["query", "--limit", "5", "--format", "csv", many]);
    assert_eq!((status, out.as_str()), (1, "i\r\n1\r\n2\r\n3\r\n4\r\n5\r\n"));
    assert!(error.contains("stopped after 5 rows"), "{error}");
    assert_eq!(run(&site, &["query", "--limit", "20", "--format", "csv", many]).0, 0);
    // A store that is not there, and one of another version.
    let nowhere = tempfile::tempdir().unwrap();
    let program = || Command::new(env!("CARGO_BIN_EXE_martlet-collector"));
    for command in [&["query", "SELECT 1"][..], &["rebuild", "--list"]] {
        let output = program().args(command).arg("--data-dir").arg(nowhere.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains("--data-dir"));
        assert_eq!(std::fs::read_dir(nowhere.path()).unwrap().count(), 0, "nothing was made");
    }
    site.connection().pragma_update(None, "user_version", 999).unwrap();
    let error = refused(&site, &["query", "SELECT 1"], 1);
    assert!(error.contains("999") && error.contains("newer"), "{error}");
}

#[test]
fn rebuild_makes_days_again_and_leaves_out_what_is_excluded() {
    let site = site();
    let packets = "SELECT sum(packets) AS packets FROM protocols_by_day WHERE class = 'real'";
    let all = [json!({"packets": 122})];
    assert_eq!(query(&site, packets), all);
    for (arguments, expected) in [
        (&["rebuild"][..], "--from and --to"),
        (&["rebuild", "--from", "2026-03-30", "--to", "2026-03-30"], "the day behind the last one"),
        (&["rebuild", "--exclude", "tokyo-1:2026-03-29T12:10:00Z..2026-03-29T13:00:00Z"], "whole hours"),
        (&["rebuild", "--exclude", "tokyo-1"], "SENSOR:FROM..TO"),
        (&["rebuild", "--include", "7"], "no exclusion 7"),
    ] {
        let error = refused(&site, arguments, 2);
        assert!(error.contains(expected), "{error}");
    }
    let (status, _, error) =
        run(&site, &["rebuild", "--exclude", "tokyo-1:2026-03-29T12:00:00Z..2026-03-30T00:00:00Z"]);
    assert_eq!(status, 0, "{error}");
    assert!(error.contains("2026-03-29: made"), "{error}");
    assert_eq!(query(&site, packets), [json!({"packets": 62})]);
    let (_, listed, _) = run(&site, &["rebuild", "--list"]);
    assert_eq!(listed, "1 tokyo-1:2026-03-29T12:00:00Z..2026-03-30T00:00:00Z\n");
    let (status, _, error) = run(&site, &["rebuild", "--include", "1", "--from", "2026-03-01", "--to", "2026-05-01"]);
    assert_eq!(status, 0, "{error}");
    assert!(error.contains("marked to be made again: 2") && error.contains("2026-03-30: made"), "{error}");
    assert_eq!(query(&site, packets), all);
    // While a collector has the directory it makes the days.
    let lock = martlet_collector::store::DirectoryLock::take(site.directory.path()).unwrap();
    let (status, _, error) = run(&site, &["rebuild", "--from", "2026-03-29", "--to", "2026-03-30"]);
    assert_eq!(status, 0, "{error}");
    assert!(error.contains("the running collector"), "{error}");
    drop(lock);
    let dirty = "SELECT day FROM rollup_dirty";
    assert_eq!(query(&site, dirty), [json!({"day": DAY})]);
}
