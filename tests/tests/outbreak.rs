//! A drill goes straight to a collector as sensors: its packets are those of its truth and count once, the collector calls its worm
//! and nothing else, the alert is drafted, and the exercise's review tells.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::Command;

use martlet_tests::compare::ALWAYS;
use martlet_tests::daemon::{Collector, eventually, packets, run_ok};
use martlet_tests::program::{program, run};
use serde_json::Value;

/// Events of drills, of one type or all.
fn events(collector: &Collector, kind: &str) -> Vec<Value> {
    collector.api(&format!("/api/v1/events?class=drill&limit=100{kind}"))["events"].as_array().unwrap().clone()
}

/// Sends a drill, and looks whether the collector has its packets once, however often it was sent.
fn drill(collector: &Collector, scenario: &str, dark: &str) {
    let folder = tempfile::tempdir().unwrap();
    let truth = folder.path().join("truth.json");
    let mut command = Command::new(program("martlet-drill"));
    command.args(["--scenario", scenario, "--seed", "3", "--dark", dark, "--quiet", "--sensors", "3"]);
    let outcome = run(command.args(["--collector", &collector.ingest.to_string(), "--truth"]).arg(&truth), b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let truth: Value = serde_json::from_slice(&fs::read(&truth).unwrap()).unwrap();
    let sent = truth["packets"].as_u64().unwrap();
    assert!(sent > 10_000, "{scenario}");
    eventually("the drill's packets", || packets(&collector.api("/api/v1/status"), "drill") >= sent);
    assert_eq!(packets(&collector.api("/api/v1/status"), "drill"), sent, "{scenario}");
}

/// Everything that came is known to the detector.
fn detected(collector: &Collector) {
    eventually("everything to be committed", || {
        collector.metric("martlet_collector_journal_uncommitted_records") == 0.0
    });
    eventually("everything to be looked at", || collector.metric("martlet_collector_detect_pending_records") == 0.0);
}

#[test]
fn the_worm_of_a_drill_is_called_once_and_reviewed() {
    let state = tempfile::tempdir().unwrap();
    let collector = Collector::start_in(state.path(), &[]);
    drill(&collector, "slammer", "198.18.0.0/22");
    detected(&collector);
    let outbreaks = events(&collector, "&type=outbreak");
    assert_eq!(outbreaks.len(), 1, "{outbreaks:?}");
    let event = &outbreaks[0];
    assert_eq!((&event["protocol"], &event["port"], &event["mark"]), (&"udp".into(), &1434.into(), &"slammer".into()));
    assert_eq!((&event["class"], &event["state"]), (&"drill".into(), &"detected".into()));
    // 75,000 hosts at 4,000 scans a second double in 9.9 s, and a little more slowly when a tenth of them is infected.
    let doubling = &event["estimates"]["doubling_seconds"];
    let (low, high) = (doubling["low"].as_f64().unwrap(), doubling["high"].as_f64().unwrap());
    assert!(low < 12.5 && high > 8.0, "{doubling}");
    // It is an exercise, and nothing else knows of it.
    let real = collector.api("/api/v1/events?class=real");
    assert_eq!(real["events"].as_array().unwrap().len(), 0);
    let id = event["id"].as_str().unwrap();
    let whole = collector.api(&format!("/api/v1/events/{id}"));
    assert_eq!(whole["evidence"]["sensors"].as_array().unwrap().len(), 3, "{whole}");
    assert!(whole["evidence"]["addresses"].as_u64().unwrap() > 1000, "{whole}");
    let base = format!("http://{}", collector.http);
    let draft = run_ok("curl", &["--silent", "--fail", &format!("{base}/api/v1/events/{id}/draft?lang=en&tlp=green")]);
    assert!(draft.contains("EXERCISE") && draft.contains("1434") && draft.contains("TLP:GREEN"), "{draft}");

    // The same drill again is known, and a collector that was killed reads again what it had not saved and calls nothing anew.
    let before = events(&collector, "");
    drop(collector);
    let collector = Collector::start_in(state.path(), &[]);
    drill(&collector, "slammer", "198.18.0.0/22");
    detected(&collector);
    assert_eq!(events(&collector, ""), before);
    let base = format!("http://{}", collector.http);

    let folder = tempfile::tempdir().unwrap();
    let exercise = folder.path().join("exercise.toml");
    fs::write(
        &exercise,
        "title = \"A test\"\nscenario = \"slammer\"\nseed = 3\nstart = \"2026-01-01T00:00:00Z\"\n\
         [[participant]]\nname = \"one\"\nsensors = 3\ndark = \"198.18.0.0/22\"\n",
    )
    .unwrap();
    let mut review = Command::new(program("martlet-drill"));
    review.arg("review").arg(&exercise).args(["--collector", &format!("one={base}")]);
    let outcome = run(&mut review, b"");
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.text(), outcome.stderr);
    assert!(outcome.text().contains("outbreak") && outcome.text().contains("1434"), "{}", outcome.text());
    assert_eq!(collector.stop(), Some(0));
}

#[test]
fn what_is_no_worm_is_no_outbreak() {
    for scenario in ["research-sweep", "backscatter-flood", "loud-scanner", "dhcp-renumbering", "sensor-outage"] {
        let collector = Collector::start();
        drill(&collector, scenario, "198.18.0.0/26");
        detected(&collector);
        let outbreaks = events(&collector, "&type=outbreak");
        assert!(outbreaks.is_empty(), "{scenario}: {outbreaks:?}");
        if scenario == "sensor-outage" {
            // Who was out has neither windows nor exposure then; the others have the whole day.
            let sensors = collector.api(&format!("/api/v1/sensors?class=drill&{ALWAYS}"));
            let sensors = sensors["sensors"].as_array().unwrap();
            let seconds = |sensor: &Value| sensor["exposure"]["watched_seconds"].as_f64().unwrap();
            let watched: Vec<f64> = sensors.iter().map(seconds).collect();
            assert_eq!(watched.iter().filter(|watched| **watched == 86_400.0).count(), 2, "{watched:?}");
            let out = sensors.iter().find(|sensor| seconds(sensor) < 86_400.0).unwrap();
            assert_eq!(out["windows"].as_f64().unwrap() * 10.0, seconds(out));
        }
        if scenario == "backscatter-flood" {
            // Its ramp of forged SYNs is seen, and for what it is.
            let surges = events(&collector, "&type=surge&protocol=tcp&port=7547");
            let is_spoofed = |event: &Value| event["labels"].to_string().contains("spoofed_looking");
            assert!(!surges.is_empty() && surges.iter().all(is_spoofed), "{surges:?}");
        }
        assert_eq!(collector.stop(), Some(0));
    }
}
