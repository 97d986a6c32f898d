//! Backups of a running collector, restored: the same history, and one that goes on exactly.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use martlet_tests::compare::ALWAYS;
use martlet_tests::daemon::{Collector, eventually, packets, run_ok};
use martlet_tests::program::{program, run};
use serde_json::Value;

/// The drills are of long ago. What a day that is made again has of sources of which only networks are left depends on when that was.
const KEEP_SOURCES: (&str, &str) = ("MARTLET_ARCHIVE__SOURCE_DAYS", "0");
/// The archive follows the journal from second to second, and commits come soon.
const EAGER: [(&str, &str); 3] =
    [("MARTLET_ARCHIVE__PENDING_BYTES", "0"), ("MARTLET_STORE__COMMIT_INTERVAL_MS", "200"), KEEP_SOURCES];
/// Nothing is committed or archived before the end.
const LAZY: [(&str, &str); 2] = [("MARTLET_STORE__COMMIT_INTERVAL_MS", "600000"), KEEP_SOURCES];

fn start(data: &Path, settings: &[(&str, &str)]) -> Collector {
    let settings: Vec<(&str, &Path)> = settings.iter().map(|(name, value)| (*name, Path::new(*value))).collect();
    Collector::start_in(data, &settings)
}

fn drills(folder: &Path, count: u32, packets: &str) -> Vec<PathBuf> {
    let drill = |seed: u32| {
        let (file, seed) = (folder.join(format!("{seed}.pcap")), seed.to_string());
        let arguments = ["--out", file.to_str().unwrap(), "--packets", packets, "--seed", &seed, "--quiet"];
        run_ok(program("martlet-drill"), &arguments);
        file
    };
    (0..count).map(drill).collect()
}

fn replay(ingest: &str, file: &Path) {
    let mut command = Command::new(program("martlet-sensor"));
    command.args(["replay", "--sensor", "old", "--observe", "198.18.0.0/24", "--collector", ingest]).arg(file);
    let outcome = run(&mut command, b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

fn send(collector: &Collector, file: &Path) {
    replay(&collector.ingest.to_string(), file);
}

fn back_up(data: &Path, output: &Path, more: &[&str]) -> String {
    let mut command = Command::new(program("martlet-collector"));
    let command = command.args(["backup", "--data-dir"]).arg(data).arg("--output").arg(output).args(more);
    let outcome = run(command, b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    outcome.stderr
}

fn query(data: &Path, sql: &str) -> Value {
    let mut command = Command::new(program("martlet-collector"));
    command.args(["query", "--format", "json", "--limit", "10000000", "--data-dir"]).arg(data).arg(sql);
    let outcome = run(&mut command, b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    outcome.json()
}

/// Waits until everything is archived and history is made of it.
fn settle(collector: &Collector) {
    eventually("everything to be committed", || {
        collector.metric("martlet_collector_journal_uncommitted_records") == 0.0
    });
    eventually("everything to be archived", || collector.metric("martlet_collector_archive_pending_records") == 0.0);
    eventually("history to be made", || {
        query(collector.state(), "SELECT * FROM rollup_dirty").as_array().unwrap().is_empty()
    });
    assert_eq!(collector.metric("martlet_collector_archive_lost_records"), 0.0);
}

/// Everything that is known: what the API says from memory, history by day, and all rows of the archive.
#[derive(PartialEq)]
struct Known {
    api: Vec<Value>,
    history: Vec<Value>,
    rows: Vec<String>,
}

fn known(collector: &Collector) -> Known {
    settle(collector);
    let api = ["summary", "ports", "sources", "sensors"].map(|path| {
        let mut answer = collector.api(&format!("/api/v1/{path}?class=import&{ALWAYS}"));
        forget_clock(&mut answer);
        if path == "sources" {
            // Which sources are the heaviest is told with an error that depends on when commits were made.
            answer = answer["totals"].take();
        }
        answer
    });
    let services = "SELECT date, class, service, kind, packets, bytes, sources, sources_exact, quarters, sketch FROM services_by_day ORDER BY 1, 2, 3, 4";
    let sources = "SELECT * FROM sources_by_day ORDER BY date, class, kind, place";
    let first = "SELECT * FROM first_seen ORDER BY date, class, kind, service";
    let data = collector.state();
    let mut export = Command::new(program("martlet-collector"));
    export.args(["export", "--from", "1990-01-01", "--to", "2040-01-01", "--format", "csv", "--data-dir"]);
    let exported = run(export.arg(data), b"");
    assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    let mut rows: Vec<String> = exported.text().lines().map(str::to_owned).collect();
    rows.sort();
    Known { api: api.into(), history: [services, sources, first].map(|sql| query(data, sql)).into(), rows }
}

impl Known {
    fn assert_same(&self, other: &Known, what: &str) {
        for (ours, theirs) in self.api.iter().zip(&other.api) {
            for (name, value) in ours.as_object().unwrap() {
                assert!(value == &theirs[name], "{what}: {name} of the API differs");
            }
        }
        assert_eq!(self.rows.len(), other.rows.len(), "{what}");
        assert!(self.rows == other.rows, "{what}: rows of the archive differ");
        for (place, (ours, theirs)) in self.history.iter().zip(&other.history).enumerate() {
            assert!(ours == theirs, "{what}: query {place} of history differs");
        }
    }
}

fn forget_clock(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let passing = ["generated_at", "last_report_at", "last_report_age_seconds"];
            fields.retain(|key, _| !passing.contains(&key.as_str()));
            fields.values_mut().for_each(forget_clock);
        }
        Value::Array(entries) => entries.iter_mut().for_each(forget_clock),
        _ => {}
    }
}

#[test]
fn a_restored_copy_is_the_same_and_goes_on_as_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let files = drills(folder.path(), 2, "30000");
    for (name, settings) in [("eager", &EAGER[..]), ("lazy", &LAZY)] {
        let (data, copy) = (folder.path().join(name), folder.path().join(format!("{name}-copy")));
        let collector = start(&data, settings);
        send(&collector, &files[0]);
        if name == "eager" {
            settle(&collector);
        }
        let said = back_up(&data, &copy, &[]);
        assert_eq!(said.contains("archive 0 B in 0 files"), name == "lazy", "{said}");
        // One that is eager from here on, so that all of it is seen.
        assert_eq!(collector.stop(), Some(0));
        let (collector, restored) = (start(&data, &EAGER), start(&copy, &EAGER));
        let before = known(&collector);
        assert!(before.rows.len() > 20_000, "{}", before.rows.len());
        known(&restored).assert_same(&before, name);
        // What is known already does not count again, and what is new counts in both.
        send(&restored, &files[0]);
        known(&restored).assert_same(&before, name);
        send(&restored, &files[1]);
        send(&collector, &files[1]);
        let after = known(&collector);
        assert!(after.rows.len() > before.rows.len() + 20_000);
        known(&restored).assert_same(&after, name);
        assert_eq!((collector.stop(), restored.stop()), (Some(0), Some(0)));
    }
}

#[test]
fn backups_under_load_lose_nothing_and_count_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let files = drills(folder.path(), 6, "20000");
    let data = folder.path().join("data");
    let collector = start(&data, &EAGER);
    let (ingest, done) = (collector.ingest.to_string(), AtomicBool::new(false));
    let copies: Vec<PathBuf> = thread::scope(|scope| {
        scope.spawn(|| {
            files.iter().for_each(|file| replay(&ingest, file));
            done.store(true, Relaxed);
        });
        let (mut copies, mut again) = (Vec::new(), 0);
        while !done.load(Relaxed) {
            let copy = folder.path().join(format!("copy-{}", copies.len()));
            let links = if copies.len() % 2 == 0 { &[][..] } else { &["--link"] };
            again += u32::from(back_up(&data, &copy, links).contains("so it began"));
            copies.push(copy);
        }
        println!("{again} of {} backups began again, because files were replaced", copies.len());
        copies
    });
    let whole = known(&collector);
    let all = packets(&collector.api("/api/v1/status"), "import");
    assert_eq!(collector.stop(), Some(0));
    assert!(copies.len() > 3, "{} backups", copies.len());
    // The first, the last, and some between.
    let mut partial = 0;
    for place in [0, copies.len() / 3, copies.len() * 2 / 3, copies.len() - 1] {
        let restored = start(&copies[place], &EAGER);
        let had = packets(&restored.api("/api/v1/status"), "import");
        println!("backup {place} of {}: {had} of {all} packets", copies.len());
        partial += u32::from(had > 0 && had < all);
        files.iter().for_each(|file| send(&restored, file));
        known(&restored).assert_same(&whole, &format!("backup {place}"));
        assert_eq!(restored.stop(), Some(0));
    }
    assert!(partial > 0);
}
