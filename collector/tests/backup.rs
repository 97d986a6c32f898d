//! `martlet-collector backup`: what it refuses, what it leaves behind, and what sensors do with a collector that was restored.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::{Server, Spool, TEN, deliver, tcp_scan};
use martlet_collector::ingest::Lost;
use martlet_collector::store::SCHEMA_VERSION;
use martlet_window::TrafficClass;
use martlet_wire::v1::{Message, NackReason, Totals};
use rusqlite::Connection;

/// Exit status and what was said.
fn back_up(data: &Path, output: &Path, more: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_martlet-collector"));
    let command = command.args(["backup", "--data-dir"]).arg(data).arg("--output").arg(output).args(more);
    let outcome = command.output().unwrap();
    assert!(outcome.stdout.is_empty());
    (outcome.status.code().unwrap(), String::from_utf8(outcome.stderr).unwrap())
}

fn refused(data: &Path, output: &Path, words: &[&str]) {
    let (status, said) = back_up(data, output, &[]);
    assert_eq!(status, 1, "{said}");
    assert!(words.iter().all(|words| said.contains(words)), "{words:?}: {said}");
}

/// A directory in which a collector has counted something and ended.
fn filled() -> Arc<tempfile::TempDir> {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let mut server = Server::in_directory(directory.clone(), |_| {});
    let mut spool = Spool::new(1, 0, "alpha");
    deliver(&mut spool.connect(&server), &mut spool, &[(TEN, vec![tcp_scan(23, 1, 4)])]);
    server.stop();
    directory
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_backup_is_whole_private_and_replaces_nothing() {
    let directory = filled();
    let (data, folder) = (directory.path().join("state"), tempfile::tempdir().unwrap());
    let output = folder.path().join("monday");
    let (status, said) = back_up(&data, &output, &[]);
    assert_eq!(status, 0, "{said}");
    for words in ["monday: everything acknowledged before 20", "store ", ", journal ", ", archive 0 B in 0 files"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(names(&output), ["archive", "journal", "martlet.db"]);
    assert_eq!(output.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(names(folder.path()), ["monday"]);
    let copy = Connection::open(output.join("martlet.db")).unwrap();
    let found: String = copy.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(found, "ok");
    let mode: String = copy.query_row("PRAGMA journal_mode", (), |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    drop(copy);
    // Nothing is replaced; an empty directory is filled.
    refused(&data, &output, &["monday exists and is not an empty directory"]);
    refused(&data, &output.join("martlet.db"), &["martlet.db exists and is not an empty directory"]);
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert_eq!(back_up(&data, &empty, &[]).0, 0);
    // One that did not end, or is still being written.
    fs::create_dir(folder.path().join("tuesday.partial")).unwrap();
    refused(&data, &folder.path().join("tuesday"), &["tuesday.partial exists", "interrupted", "delete it"]);
    assert_eq!(names(folder.path()), ["empty", "monday", "tuesday.partial"]);
}

#[test]
fn what_cannot_be_backed_up_is_told() {
    let directory = filled();
    let (data, folder) = (directory.path().join("state"), tempfile::tempdir().unwrap());
    let output = folder.path().join("out");
    refused(&folder.path().join("none"), &output, &["there is no store in", "none", "--data-dir"]);
    refused(folder.path(), &output, &["there is no store in"]);
    refused(&data, &folder.path().join("no/where"), &["cannot write to", "No such file or directory"]);
    refused(&data, &data.join("copy"), &["lies in what is to be copied"]);
    refused(&data, &data.join("archive/copy"), &["lies in what is to be copied"]);
    refused(&data, Path::new("/"), &["/ "]);
    // The store of a newer program.
    let store = Connection::open(data.join("martlet.db")).unwrap();
    store.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    refused(&data, &output, &["schema version", "newer martlet-collector"]);
    store.pragma_update(None, "user_version", SCHEMA_VERSION).unwrap();
    // A file that the store lists and nobody has.
    let sql = "INSERT INTO archive_files (day, name, rows, packets, bytes, first, last, is_coarse) \
               VALUES (20048, '0000000007.parquet', 1, 1, 5, 0, 0, 0)";
    store.execute(sql, ()).unwrap();
    refused(&data, &output, &["date=2024-11-21/0000000007.parquet was gone, or replaced, 10 times", "start it once"]);
    // And one that has another length than it should.
    let day = data.join("archive/date=2024-11-21");
    fs::create_dir_all(&day).unwrap();
    fs::write(day.join("0000000007.parquet"), "four").unwrap();
    assert_eq!(names(folder.path()), [""; 0]);
    let (status, said) = back_up(&data, &output, &["--link"]);
    assert!(
        status == 0 && said.contains("warning: ") && said.contains("0000000007.parquet has not the length"),
        "{said}"
    );
    assert!(said.contains("archive 4 B in 1 file, 1 of them linked"), "{said}");
    let copy = output.join("archive/date=2024-11-21/0000000007.parquet");
    assert_eq!(copy.metadata().unwrap().ino(), day.join("0000000007.parquet").metadata().unwrap().ino());
    assert_eq!(names(&output.join("archive")), ["date=2024-11-21"]);
}

/// A real file system of so many KiB; needs root.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(kib: u32) -> Option<SmallDisk> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={kib}k");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path()).status();
        mounted.is_ok_and(|status| status.success()).then(|| SmallDisk(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_that_becomes_full_is_left_as_it_was() {
    let directory = filled();
    let data = directory.path().join("state");
    let Some(disk) = SmallDisk::mount(256) else {
        println!("skipped: mounting a small disk needs root");
        return;
    };
    let output = disk.0.path().join("out");
    // Once the store has no room, and once the archive.
    refused(&data, &output, &["full"]);
    assert_eq!(names(disk.0.path()), [""; 0]);
    // The disk itself cannot be given a backup's name.
    refused(&data, disk.0.path(), &["is a mount point", "name a new directory in it"]);
    let large = SmallDisk::mount(4096).unwrap();
    let store = Connection::open(data.join("martlet.db")).unwrap();
    let sql = "INSERT INTO archive_files (day, name, rows, packets, bytes, first, last, is_coarse) \
               VALUES (20048, '0000000007.parquet', 1, 1, 8388608, 0, 0, 0)";
    store.execute(sql, ()).unwrap();
    let day = data.join("archive/date=2024-11-21");
    fs::create_dir_all(&day).unwrap();
    fs::write(day.join("0000000007.parquet"), vec![1; 8 << 20]).unwrap();
    let output: PathBuf = large.0.path().join("out");
    refused(&data, &output, &["cannot write", "0000000007.parquet", "No space left on device"]);
    assert_eq!(names(large.0.path()), [""; 0]);
}

/// What was acknowledged after a backup is lost if that is restored, unless the sensor still has it; and then it is told.
#[test]
fn a_sensor_tells_a_restored_collector_what_it_no_longer_has() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let mut server = Server::in_directory(directory.clone(), |_| {});
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let window = |n: u32| (TEN + 10 * i64::from(n), vec![tcp_scan(23, n, 1 << n)]);
    deliver(&mut client, &mut spool, &[window(0), window(1)]);
    // Neither is committed: both are in the journal alone.
    let restored = Arc::new(tempfile::tempdir().unwrap());
    let (status, said) = back_up(&directory.path().join("state"), &restored.path().join("state"), &[]);
    assert_eq!(status, 0, "{said}");
    deliver(&mut client, &mut spool, &[window(2), window(3)]);
    server.wait_for_batches(TrafficClass::Real, 4);
    assert_eq!(server.stop().class(TrafficClass::Real).totals.packets, 0b1111);

    let mut server = Server::in_directory(restored, |_| {});
    assert_eq!(server.ok("/api/v1/status")["classes"][0]["packets"], 0b11);
    let mut client = spool.connect(&server);
    let (start, rows) = window(4);
    let frame = spool.batch(start, &rows);
    client.send_bytes(&frame);
    // What is committed meanwhile is told in between.
    let nack = Message::Nack { stream: spool.stream, expected: 2, reason: NackReason::OutOfSequence };
    let answer = std::iter::from_fn(|| client.receive()).find(|answer| !matches!(answer, Message::Ack { .. }));
    assert_eq!(answer, Some(nack));
    // The sensor has deleted 2 and 3 and says so, then sends again what it has.
    let totals = Totals { windows: 4, packets: 0b1111, watched_ms: 40_000 };
    let (first_window, last_window) = (TEN + 20, TEN + 30);
    client.send(&Message::Lost { stream: spool.stream, from: 2, to: 3, totals, first_window, last_window });
    while !matches!(client.receive(), Some(Message::Ack { journaled: 4, .. })) {}
    client.send_bytes(&frame);
    while !matches!(client.receive(), Some(Message::Ack { journaled: 5, .. })) {}
    let view = server.stop();
    assert_eq!(view.class(TrafficClass::Real).totals.packets, 0b1_0011);
    let lost = Lost { batches: 2, windows: 2, packets: 0b1100, watched_ms: 20_000 };
    assert!(view.hours.values().any(|hour| hour.lost == lost), "{:?}", view.hours);
}
