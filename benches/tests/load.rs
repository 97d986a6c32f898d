//! `martlet-load` against a real collector: what it says it sent is what the collector counted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use martlet_tests::daemon::{Collector, get};
use martlet_tests::program::{Outcome, run};
use serde_json::Value;

fn load(collector: &Collector, arguments: &str) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_martlet-load"));
    command.args(["--json", "--collector", &collector.ingest.to_string()]).args(arguments.split_whitespace());
    run(&mut command, b"")
}

/// A number among the collector's metrics.
fn metric(collector: &Collector, name: &str) -> u64 {
    let (_, text) = get(collector.http, "/metrics").unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap()
}

fn run_complete(collector: &Collector, arguments: &str, rows: u64) -> Value {
    let before = metric(collector, "martlet_collector_aggregate_rows_total");
    let outcome = load(collector, arguments);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let report = outcome.json();
    assert_eq!(report["rows"], rows, "{report}");
    assert!(report["packets"].as_u64().unwrap() >= rows && report["packets"] == report["packets_sent"], "{report}");
    assert_eq!(metric(collector, "martlet_collector_aggregate_rows_total") - before, rows, "{report}");
    // The kernel counts CPU time in steps of 10 ms, of which a small load may take none: a rate by it is none then.
    let cpu_s = report["collector_cpu_s"].as_f64().unwrap();
    assert_eq!(report["rows_per_cpu_s"].as_f64().is_some_and(|rate| rate > 0.0), cpu_s > 0.0, "{report}");
    for figure in ["rows_per_s", "wire_bytes_per_row", "rss_mb", "rss_now_mb"] {
        assert!(report[figure].as_f64().is_some_and(|number| number > 0.0), "{figure}: {report}");
    }
    let latency = |name: &str| report["ack_ms"][name].as_f64().unwrap();
    assert!(0.0 < latency("p50") && latency("p50") <= latency("p99") && latency("p99") <= latency("max"), "{report}");
    assert!(report["commits"].as_u64().unwrap() >= 1, "{report}");
    assert_eq!((&report["history"], &report["interrupted"]), (&Value::Bool(false), &Value::Bool(false)));
    report
}

#[test]
fn every_shape_arrives_whole() {
    let collector = Collector::start();
    run_complete(&collector, "--sensors 3 --batches 20 --rows 200 --keys 1000", 12_000);
    run_complete(&collector, "--sensors 2 --batches 10 --rows 300 --shape storm", 6_000);
    let report = run_complete(&collector, "--batches 5 --rows 5000 --shape single-giant", 25_000);
    assert_eq!(report["reused_batches"], 0);
    // No memory for frames: all but each sensor's first are made of it.
    let report = run_complete(&collector, "--sensors 2 --batches 30 --rows 100 --memory-mb 0", 6_000);
    assert_eq!(report["reused_batches"], 58);
    // Open loop: 40 batches a second for six seconds, in which the collector commits once at least.
    let report = run_complete(&collector, "--sensors 4 --rows 50 --rate 2000 --seconds 6", 12_000);
    assert!(report["seconds"].as_f64().unwrap() >= 239.0 / 40.0, "{report}");
    assert!(report["ack_ms_at_boundary"]["batches"].as_u64().unwrap() >= 40, "{report}");
    assert_eq!(collector.stop(), Some(0));
}

#[test]
fn a_refusal_is_said_and_fails() {
    let collector = Collector::start();
    // One address may have 64 connections.
    let outcome = load(&collector, "--sensors 65 --batches 1 --rows 10");
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("max_connections_per_address"), "{}", outcome.stderr);
}
