//! Capture files imported by `martlet-collector import`: the same history as by a replay into a running collector, once,
//! whatever happens to the process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use martlet_tests::compare::{ALWAYS, assert_same, count};
use martlet_tests::daemon::{Collector, eventually, get, packets, root_with, run_ok};
use martlet_tests::program::{Outcome, program, run};
use serde_json::Value;

const OBSERVE: [&str; 2] = ["--observe", "198.18.0.0/24"];

fn drill(folder: &Path, name: &str, more: &[&str]) -> PathBuf {
    let file = folder.join(name);
    let arguments = [&["--out", file.to_str().unwrap(), "--quiet"], more].concat();
    run_ok(program("martlet-drill"), &arguments);
    file
}

fn command(data: &Path, observe: &[&str], files: &[&Path]) -> Command {
    let mut command = Command::new(program("martlet-collector"));
    command.args(["import", "--sensor", "old", "--data-dir"]).arg(data).args(observe).args(files);
    command
}

fn import(data: &Path, observe: &[&str], files: &[&Path]) -> Outcome {
    run(&mut command(data, observe, files), b"")
}

fn replay(collector: &Collector, observe: &[&str], file: &Path) {
    let mut command = Command::new(program("martlet-sensor"));
    command.args(["replay", "--sensor", "old", "--collector", &collector.ingest.to_string()]);
    let outcome = run(command.args(observe).arg(file), b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

/// What an import says beside how far it has come, which a slow machine makes it say.
fn complaints(outcome: &Outcome) -> Vec<&str> {
    outcome.stderr.lines().filter(|line| !line.contains(" packets counted; ")).collect()
}

/// Batches that an import says were new, and known already.
fn batches(outcome: &Outcome) -> (u64, u64) {
    let line = outcome.text().lines().last().unwrap();
    let (new, known) = line.split_once(" batches new, ").unwrap();
    (new.parse().unwrap(), known.strip_suffix(" known already").unwrap().parse().unwrap())
}

/// Everything that the API says of imports, but not when it came and when it was asked.
fn history(collector: &Collector) -> Vec<Value> {
    let days = "from=2026-01-01T00:00:00Z&to=2026-01-12T00:00:00Z";
    let ask = |path: &str, range: &str| {
        let mut answer = collector.api(&format!("/api/v1/{path}class=import&{range}"));
        forget_clock(&mut answer);
        answer
    };
    let always = ["summary?", "ports?", "sources?", "sensors?"];
    always.into_iter().map(|path| ask(path, ALWAYS)).chain([ask("coverage?", days)]).collect()
}

fn forget_clock(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| {
                !["generated_at", "last_report_at", "last_report_age_seconds"].contains(&key.as_str())
            });
            fields.values_mut().for_each(forget_clock);
        }
        Value::Array(entries) => entries.iter_mut().for_each(forget_clock),
        _ => {}
    }
}

/// Two new data directories with one key for the hashes of sources, so that what is estimated is the same in both.
fn twins(folder: &Path) -> [PathBuf; 2] {
    let twins = ["one", "two"].map(|name| folder.join(name));
    assert_eq!(Collector::start_in(&twins[0], &[]).stop(), Some(0));
    run_ok("cp", &["-r", twins[0].to_str().unwrap(), twins[1].to_str().unwrap()]);
    twins
}

/// What a collector that is started in the directory shows; nothing must be left for it to replay.
fn history_in(data: &Path) -> Vec<Value> {
    let collector = Collector::start_in(data, &[]);
    let (_, metrics) = get(collector.http, "/metrics").unwrap();
    assert!(metrics.contains("martlet_collector_journal_replayed_records_total 0\n"), "{metrics}");
    let history = history(&collector);
    assert_eq!(collector.stop(), Some(0));
    history
}

#[test]
fn an_import_is_the_same_history_as_a_replay_and_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = drill(folder.path(), "drill.pcap", &["--packets", "60000"]);
    let [imported, replayed] = twins(folder.path());
    let outcome = import(&imported, &OBSERVE, &[&file]);
    assert_eq!((outcome.code, complaints(&outcome)), (Some(0), Vec::new()));
    let (new, known) = batches(&outcome);
    assert!(new > 1000 && known == 0, "{new} {known}");
    let counted = count(&file, &OBSERVE);
    let summary = format!("1 file: {} frames, {} packets counted", counted["frames"], counted["packets"]);
    assert!(outcome.text().starts_with(&summary), "{}", outcome.text());
    assert!(outcome.text().contains(", from 2026-01-01T00:00:00Z to 2026-01-02T00:00:00Z\n"), "{}", outcome.text());

    let collector = Collector::start_in(&replayed, &[]);
    replay(&collector, &OBSERVE, &file);
    assert_same(&|path| collector.api(path), "import", &counted);
    let expected = history(&collector);
    assert_eq!(collector.stop(), Some(0));
    assert_eq!(history_in(&imported), expected);

    // A second time, and each way after the other, it is known.
    for data in [&imported, &replayed] {
        let outcome = import(data, &["--observe", "198.18.0.0/25,198.18.0.128/25"], &[&file]);
        assert_eq!((outcome.code, batches(&outcome)), (Some(0), (0, new)), "{}", outcome.stderr);
        assert_eq!(history_in(data), expected);
    }
    let collector = Collector::start_in(&imported, &[]);
    replay(&collector, &OBSERVE, &file);
    assert_eq!(history(&collector), expected);
    // Other settings make it another import.
    assert_eq!(collector.stop(), Some(0));
    let outcome = import(&imported, &["--observe", "198.18.0.0/25"], &[&file]);
    assert_eq!(outcome.code, Some(0));
    assert_ne!(history_in(&imported), expected);
}

/// Starts an import, and waits until much of it is in the journal.
fn begin(data: &Path, file: &Path, least_bytes: u64) -> Child {
    let mut command = command(data, &OBSERVE, &[file]);
    // Often, so that there are commits before the end.
    command.env("MARTLET_STORE__COMMIT_INTERVAL_MS", "50");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let journal = data.join("journal");
    let bytes = || -> u64 {
        let Ok(files) = fs::read_dir(&journal) else { return 0 };
        files.map(|file| file.unwrap().metadata().map_or(0, |data| data.len())).sum()
    };
    eventually("batches in the journal", || bytes() >= least_bytes);
    child
}

fn end_of(child: Child) -> Outcome {
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    Outcome { code: output.status.code(), stdout: output.stdout, stderr }
}

#[test]
fn an_import_that_is_killed_or_interrupted_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let file = drill(folder.path(), "drill.pcap", &["--packets", "400000", "--duration", "10d"]);
    let [data, whole] = twins(folder.path());
    let outcome = import(&whole, &OBSERVE, &[&file]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let (all, _) = batches(&outcome);
    let bytes = |data: &Path| -> u64 {
        fs::read_dir(data.join("journal")).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
    };
    let length = bytes(&whole);

    // Killed twice.
    for share in [1, 2] {
        let mut child = begin(&data, &file, length * share / 8);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "it had ended before it was killed");
    }
    // Asked to end.
    let child = begin(&data, &file, length * 3 / 8);
    run_ok("kill", &[&child.id().to_string()]);
    let outcome = end_of(child);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("SIGTERM: ended before all files were read"), "{}", outcome.stderr);
    let (interrupted_new, interrupted_known) = batches(&outcome);
    assert!(interrupted_new > 0 && interrupted_known > 0, "{}", outcome.text());
    // What it said is in the history, and nothing is left to replay.
    let partial = history_in(&data);
    let outcome = import(&data, &OBSERVE, &[&file]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let (new, known) = batches(&outcome);
    assert_eq!((new + known, known), (all, interrupted_new + interrupted_known));
    assert!(new > 0);
    let expected = history_in(&whole);
    assert_ne!(partial, expected);
    assert_eq!(history_in(&data), expected);
}

#[test]
fn a_collector_that_runs_keeps_its_directory() {
    let folder = tempfile::tempdir().unwrap();
    let file = drill(folder.path(), "drill.pcap", &["--packets", "3000"]);
    let data = folder.path().join("data");
    let collector = Collector::start_in(&data, &[]);
    let outcome = import(&data, &OBSERVE, &[&file]);
    assert_eq!((outcome.code, outcome.stdout.len()), (Some(1), 0));
    for words in [data.to_str().unwrap(), "in use by a collector; stop it", "martlet-sensor replay --collector"] {
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    }
    assert_eq!(packets(&collector.api("/api/v1/status"), "import"), 0);
    assert_eq!(collector.stop(), Some(0));
}

#[test]
fn damaged_files_are_named_and_count_as_far_as_they_are_intact() {
    let folder = tempfile::tempdir().unwrap();
    let good = drill(folder.path(), "good.pcap", &["--packets", "20000", "--seed", "2"]);
    let cut = folder.path().join("cut.pcap");
    let mut bytes = fs::read(drill(folder.path(), "drill.pcap", &["--packets", "20000"])).unwrap();
    bytes.truncate(bytes.len() / 2 + 7);
    fs::write(&cut, &bytes).unwrap();
    let empty = folder.path().join("empty.pcap");
    fs::write(&empty, "").unwrap();
    let missing = folder.path().join("missing.pcap");

    let data = folder.path().join("data");
    let outcome = import(&data, &OBSERVE, &[&missing, &cut, &empty, &good]);
    assert_eq!(outcome.code, Some(1));
    let complaints = complaints(&outcome);
    assert_eq!(complaints.len(), 3, "{}", outcome.stderr);
    let expected = [(&missing, "No such file"), (&cut, ": at offset "), (&empty, "the file is empty")];
    for (line, (file, what)) in complaints.into_iter().zip(expected) {
        assert!(line.contains(file.to_str().unwrap()) && line.contains(what), "{line}");
    }
    // As many as `count` finds in both.
    let mut counting = Command::new(program("martlet-sensor"));
    let counted = run(counting.args(["count", "--format", "json"]).args(OBSERVE).args([&cut, &good]), b"");
    assert_eq!(counted.code, Some(1));
    let counted = counted.json();
    let summary = format!("2 files: {} frames, {} packets counted", counted["frames"], counted["packets"]);
    assert!(outcome.text().starts_with(&summary), "{}", outcome.text());
    let collector = Collector::start_in(&data, &[]);
    assert_same(&|path| collector.api(path), "import", &counted);
    assert_eq!(collector.stop(), Some(0));
    // The damage is the same each time.
    let again = import(&data, &OBSERVE, &[&cut, &good]);
    assert_eq!((again.code, batches(&again)), (Some(1), (0, batches(&outcome).0)));
}

/// A disk of which nothing may be used is a full one.
#[test]
fn a_full_disk_is_waited_for_until_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let file = drill(folder.path(), "drill.pcap", &["--packets", "3000"]);
    let data = folder.path().join("data");
    let mut waiting = command(&data, &OBSERVE, &[&file]);
    waiting.env("MARTLET_STORE__RESERVE_BYTES", (1u64 << 44).to_string());
    let mut child = waiting.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let stalled = lines.find(|line| line.as_ref().unwrap().contains("taking batches stalled (disk_full)"));
    assert!(stalled.is_some());
    run_ok("kill", &[&child.id().to_string()]);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(end_of(child).code, Some(1), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("SIGTERM while the disk took nothing")), "{rest:?}");
    // There is room now.
    let outcome = import(&data, &OBSERVE, &[&file]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let collector = Collector::start_in(&data, &[]);
    assert_same(&|path| collector.api(path), "import", &count(&file, &OBSERVE));
    assert_eq!(collector.stop(), Some(0));
}

#[test]
fn what_cannot_be_known_again_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let outcome = import(&data, &OBSERVE, &[Path::new("-")]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("standard input") && outcome.stderr.contains("read twice"), "{}", outcome.stderr);
    assert!(!data.exists());
    let pipe = folder.path().join("pipe");
    run_ok("mkfifo", &[pipe.to_str().unwrap()]);
    let outcome = import(&data, &OBSERVE, &[&pipe]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("not a regular file"), "{}", outcome.stderr);

    // A file that is written without pause.
    let growing = drill(folder.path(), "drill.pcap", &["--packets", "200000"]);
    let done = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::OpenOptions::new().append(true).open(&growing).unwrap();
            while !done.load(Relaxed) {
                file.write_all(&[0; 64]).unwrap();
                thread::sleep(Duration::from_micros(100));
            }
        });
        let outcome = import(&data, &OBSERVE, &[&growing]);
        done.store(true, Relaxed);
        outcome
    });
    assert_eq!((outcome.code, batches(&outcome)), (Some(1), (0, 0)), "{}", outcome.text());
    assert!(outcome.stderr.contains("it is being written"), "{}", outcome.stderr);
}

#[test]
fn what_cannot_be_used_is_told_before_anything_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    let file = drill(folder.path(), "drill.pcap", &["--packets", "3000"]);
    let data = folder.path().join("data");
    let mut small = command(&data, &OBSERVE, &[&file]);
    let outcome = run(small.env("MARTLET_INGEST__MAX_ROWS", "1000"), b"");
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("ingest.max_rows"), "{}", outcome.stderr);
    assert!(!data.exists());
    for wrong in [&["--observe", "nowhere"][..], &["--window", "7"], &["--data-dir"]] {
        assert_eq!(run(command(&data, &[], &[&file]).args(wrong), b"").code, Some(2), "{wrong:?}");
    }
    assert_eq!(import(&data, &OBSERVE, &[&file]).code, Some(0));
    if !root_with(&[]) {
        return;
    }
    // The store of another user.
    chown(data.join("martlet.db"), Some(12_345), None).unwrap();
    let outcome = import(&data, &OBSERVE, &[&file]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("martlet.db belongs to the user with number 12345"), "{}", outcome.stderr);
}

/// More files than streams that may be in memory at a time: each has to be committed before the next has room.
#[test]
fn files_are_not_bounded_by_streams_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = (0..5u32)
        .map(|seed| {
            let seed = seed.to_string();
            drill(folder.path(), &seed, &["--packets", "3000", "--seed", &seed])
        })
        .collect();
    let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let data = folder.path().join("data");
    let mut command = command(&data, &OBSERVE, &paths);
    command.envs([("MARTLET_INGEST__MAX_STREAMS", "1"), ("MARTLET_STORE__COMMIT_INTERVAL_MS", "100")]);
    let outcome = run(&mut command, b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.text().starts_with("5 files: "), "{}", outcome.text());
    let before = batches(&outcome);
    let outcome = import(&data, &OBSERVE, &paths);
    assert_eq!(batches(&outcome), (0, before.0));
}
