//! What the collector archives, read by DuckDB.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use martlet_tests::compare::ALWAYS;
use martlet_tests::daemon::{Collector, eventually, run_ok};
use martlet_tests::program::{program, run, workspace_root};
use martlet_tests::{python, shared};
use serde_json::Value;

/// The archive follows the journal from second to second, and commits come soon.
const EAGER: [(&str, &str); 2] =
    [("MARTLET_ARCHIVE__PENDING_BYTES", "0"), ("MARTLET_STORE__COMMIT_INTERVAL_MS", "200")];

fn start() -> Collector {
    Collector::start_with(&EAGER.map(|(name, value)| (name, Path::new(value))))
}

fn replay(collector: &Collector, class: &str, file: &Path, observe: &[&str]) {
    let mut command = Command::new(program("martlet-sensor"));
    command.args(["replay", "--collector", &collector.ingest.to_string(), "--class", class, "--sensor", "e2e"]);
    let outcome = run(command.args(observe).arg(file), b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

fn drill(folder: &Path, packets: &str) -> std::path::PathBuf {
    let file = folder.join("drill.pcap");
    run_ok(program("martlet-drill"), &["--out", file.to_str().unwrap(), "--packets", packets, "--quiet"]);
    file
}

/// Waits until everything is archived and, long after the days of captures, merged.
fn settle(collector: &Collector) {
    eventually("everything to be archived", || collector.metric("martlet_collector_archive_pending_records") == 0.0);
    let mut files = -1.0;
    eventually("files to be merged", || {
        let before = std::mem::replace(&mut files, collector.metric("martlet_collector_archive_files"));
        std::thread::sleep(std::time::Duration::from_millis(2500));
        before == files
    });
    assert_eq!(collector.metric("martlet_collector_archive_lost_records"), 0.0);
}

/// Packets and bytes by kind, IP version, protocol and port, of rows that have a port.
type Services = BTreeMap<(String, u64, u64, u64), (u64, u64)>;

fn services_of(totals: &Value, class: &str) -> Services {
    let mut services = Services::new();
    for row in totals["services"].as_array().unwrap() {
        if row[0] == class && !row[3].is_null() {
            let number = |place: usize| row[place].as_u64().unwrap();
            let key = (row[4].as_str().unwrap().to_owned(), number(1), number(2), number(3));
            services.insert(key, (number(5), number(6)));
        }
    }
    services
}

/// The archive says of every port what the API says from memory, and of all together.
fn assert_same(collector: &Collector, totals: &Value, class: &str) {
    let archived = services_of(totals, class);
    assert!(archived.len() > 20, "{archived:?}");
    for kind in ["scan", "backscatter", "other"] {
        let answer = collector.api(&format!("/api/v1/ports?class={class}&kind={kind}&{ALWAYS}"));
        for port in answer["ports"].as_array().unwrap() {
            let number = |name: &str| port[name].as_u64().unwrap();
            if number("packets") > 0 {
                let key = (kind.to_owned(), number("ip"), number("protocol"), number("port"));
                assert_eq!(archived.get(&key), Some(&(number("packets"), number("bytes"))), "{key:?}");
            }
        }
        let of_kind = |row: &&Value| row[0] == class && row[4] == kind;
        let rows = totals["services"].as_array().unwrap().iter().filter(of_kind);
        let packets: u64 = rows.map(|row| row[5].as_u64().unwrap()).sum();
        assert_eq!(answer["totals"]["packets"], packets, "{class} {kind}");
    }
}

#[test]
fn duckdb_reads_what_was_counted() {
    let Some(interpreter) = python::interpreter() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = drill(folder.path(), "60000");
    let collector = start();
    let observe = ["--observe", "198.18.0.0/24"];
    replay(&collector, "drill", &file, &observe);
    replay(&collector, "import", &file, &observe);
    // Twice the same, and once more after everything was archived: all known.
    replay(&collector, "import", &file, &observe);
    settle(&collector);
    replay(&collector, "import", &file, &observe);
    settle(&collector);
    let archive = collector.state().join("archive");
    let totals = python::ask(&interpreter, "totals.py", &[archive.as_os_str()]);
    for class in ["drill", "import"] {
        assert_same(&collector, &totals, class);
    }
    assert_eq!((&totals["misplaced"], &totals["misspelt"]), (&0.into(), &0.into()));
    let types = &totals["types"];
    for (column, expected) in [
        ("window_start", "TIMESTAMP WITH TIME ZONE"),
        ("date", "DATE"),
        ("source", "VARCHAR"),
        ("port", "INTEGER"),
        ("kind", "VARCHAR"),
        ("packets", "BIGINT"),
    ] {
        assert_eq!(types[column], expected, "{column}");
    }
    // The files that the collector names are those that are there.
    let state = collector.state().to_str().unwrap();
    let listed =
        run(Command::new(program("martlet-collector")).args(["archive", "files", "--json", "--data-dir", state]), b"");
    let listed: Vec<Value> = listed
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let mut there: Vec<String> = shared::files_below(&archive).iter().map(|path| path.display().to_string()).collect();
    let mut named: Vec<String> = listed.iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect();
    there.sort();
    named.sort();
    assert_eq!(named, there);
    let rows: u64 = listed.iter().map(|file| file["rows"].as_u64().unwrap()).sum();
    assert_eq!(totals["rows"], rows);
    // The documented queries, on the same archive.
    let document = workspace_root().join("docs/archive.md");
    let ran = python::ask(&interpreter, "queries.py", &[document.as_os_str(), OsStr::new(state)]);
    let rows = ran["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 10);
    assert!(rows.iter().all(|rows| rows.as_u64() > Some(0)), "{rows:?}");
    assert_eq!(collector.stop(), Some(0));
}

#[test]
fn every_format_has_the_same_rows() {
    let Some(interpreter) = python::interpreter() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = drill(folder.path(), "20000");
    let collector = start();
    replay(&collector, "drill", &file, &["--observe", "198.18.0.0/24"]);
    settle(&collector);
    let (archive, state) = (collector.state().join("archive"), collector.state().to_str().unwrap());
    let mut paths = vec![archive.clone()];
    for format in ["csv", "ndjson", "openmetrics", "parquet"] {
        let path = folder.path().join(format);
        let all = ["export", "--from", "1990-01-01", "--to", "2040-01-01T00:00:00Z", "--top", "20"];
        run_ok(
            program("martlet-collector"),
            &[&all[..], &["--format", format, "--output", path.to_str().unwrap(), "--data-dir", state]].concat(),
        );
        paths.push(path);
    }
    let arguments: Vec<&OsStr> = paths.iter().map(|path| path.as_os_str()).collect();
    let answer = python::ask(&interpreter, "exports.py", &arguments);
    assert!(answer["archive"][0].as_u64() > Some(1000), "{answer}");
    for format in ["csv", "ndjson", "parquet"] {
        assert_eq!(answer[format], answer["archive"], "{format}");
        assert_eq!(answer[format!("{format}_differs")], 0, "{format}");
    }
    let checks = answer["openmetrics"].as_object().unwrap();
    assert_eq!(checks.len(), 5);
    for (name, check) in checks {
        assert!(check[0].as_u64() > Some(0), "{name}: {check}");
        assert_eq!(check[1], true, "{name}: {check}");
    }
    // Nothing of another class, nothing of another time, and standard output.
    let export = |arguments: &[&str]| {
        run_ok(program("martlet-collector"), &[&["export"], arguments, &["--data-dir", state]].concat())
    };
    assert_eq!(export(&["--from", "1990-01-01", "--to", "2040-01-01", "--format", "ndjson", "--class", "real"]), "");
    assert_eq!(export(&["--from", "1990-01-01", "--to", "1990-01-02", "--format", "csv"]).lines().count(), 1);
    let piped = run(
        Command::new(program("martlet-collector")).args([
            "export",
            "--from",
            "1990-01-01",
            "--to",
            "2040-01-01",
            "--format",
            "parquet",
            "--data-dir",
            state,
        ]),
        b"",
    );
    assert_eq!((piped.code, piped.stderr.contains("--output")), (Some(1), true), "{}", piped.stderr);
}

#[test]
fn an_address_is_erased_while_the_collector_runs_and_while_it_does_not() {
    let Some(interpreter) = python::interpreter() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = drill(folder.path(), "20000");
    let data = folder.path().join("state");
    let collector = Collector::start_in(&data, &EAGER.map(|(name, value)| (name, Path::new(value))));
    replay(&collector, "drill", &file, &["--observe", "198.18.0.0/24"]);
    settle(&collector);
    let archive = collector.state().join("archive");
    let before = python::ask(&interpreter, "totals.py", &[archive.as_os_str()]);
    let state = collector.state().to_str().unwrap().to_owned();
    let erase = |network: &str| {
        let outcome = run(
            Command::new(program("martlet-collector")).args(["erase", "--source", network, "--data-dir", &state]),
            b"",
        );
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("done"), "{}", outcome.stderr);
    };
    // Half of all addresses while it runs, and the other half when it does not.
    erase("0.0.0.0/1");
    let half = python::ask(&interpreter, "totals.py", &[archive.as_os_str()]);
    let sources = |totals: &Value| totals["sources"][0][1].as_u64().unwrap();
    assert!(sources(&half) < sources(&before) && sources(&half) > 1);
    assert_eq!(collector.stop(), Some(0));
    let kept = data.to_str().unwrap();
    let outcome = run(
        Command::new(program("martlet-collector")).args(["erase", "--source", "128.0.0.0/1", "--data-dir", kept]),
        b"",
    );
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let after = python::ask(&interpreter, "totals.py", &[Path::new(kept).join("archive").as_os_str()]);
    assert_eq!(sources(&after), 1);
    assert_eq!(after["packets"], before["packets"]);
    // A network that is none, and a directory without a store.
    for (arguments, code, says) in [
        (["erase", "--source", "nonsense", "--data-dir", kept], 2, "invalid"),
        (["erase", "--source", "192.0.2.0/24", "--data-dir", "/nonexistent"], 1, "no store"),
    ] {
        let outcome = run(Command::new(program("martlet-collector")).args(arguments), b"");
        assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(says), "{}", outcome.stderr);
    }
}
