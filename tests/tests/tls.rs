//! Sensor and collector, the real programs, over TLS.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/certificates.rs"]
mod certificates;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use certificates::Authority;
use martlet_tests::compare::{assert_same, count};
use martlet_tests::daemon::{Collector, run_ok};
use martlet_tests::program::{program, run};

const OBSERVE: [&str; 2] = ["--observe", "198.18.0.0/24"];

fn drill(folder: &Path) -> PathBuf {
    let file = folder.join("drill.pcap");
    run_ok(program("martlet-drill"), &["--out", file.to_str().unwrap(), "--packets", "20000", "--quiet"]);
    file
}

fn replay(collector: &Collector, tls: &[(&str, &Path)], file: &Path) -> Command {
    let mut command = Command::new(program("martlet-sensor"));
    command.args(["replay", "--collector", &collector.ingest.to_string(), "--class", "drill", "--sensor", "e2e"]);
    for (flag, path) in tls {
        command.arg(flag).arg(path);
    }
    command.args(OBSERVE).arg(file);
    command
}

/// The first line that the program has to say.
fn complaint(mut command: Command) -> String {
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    line
}

#[test]
fn a_drill_gives_the_same_totals_over_tls_and_whoever_is_not_trusted_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, others) = (Authority::new(folder.path(), "ours"), Authority::new(folder.path(), "others"));
    let (server, sensor) = (ours.sign("127.0.0.1"), ours.sign("sensor"));
    let file = drill(folder.path());
    let collector = Collector::start_with(&[
        ("MARTLET_INGEST__TLS__CERTIFICATE", &server.certificate),
        ("MARTLET_INGEST__TLS__KEY", &server.key),
        ("MARTLET_INGEST__TLS__CLIENT_CA", &ours.file),
    ]);
    let cases: [(&[(&str, &Path)], &str); 3] = [
        (&[], "the collector speaks TLS"),
        (&[("--ca", &ours.file)], "wants a certificate of ours"),
        (&[("--ca", &others.file)], "not signed by any of"),
    ];
    for (tls, words) in cases {
        let told = complaint(replay(&collector, tls, &file));
        assert!(told.contains(words), "{words}: {told}");
    }
    let tls: [(&str, &Path); 3] =
        [("--ca", &ours.file), ("--certificate", &sensor.certificate), ("--key", &sensor.key)];
    let outcome = run(&mut replay(&collector, &tls, &file), b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_same(&|path| collector.api(path), "drill", &count(&file, &OBSERVE));
    let status = collector.api("/api/v1/status");
    assert_eq!(status["ingest"]["tls_failures"]["not_tls"], 1, "{status}");
    assert_eq!(collector.stop(), Some(0));
}

#[test]
fn a_sensor_that_speaks_tls_to_a_plain_collector_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new(folder.path(), "ours");
    let collector = Collector::start();
    let told = complaint(replay(&collector, &[("--ca", &ours.file)], &drill(folder.path())));
    assert!(told.contains("does not speak TLS"), "{told}");
    assert_eq!(collector.api("/api/v1/status")["ingest"]["violations"]["unexpected_tls"], 1);
}
