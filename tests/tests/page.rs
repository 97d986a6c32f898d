//! The live page in a real browser shows the numbers of the API.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::Command;

use martlet_tests::daemon::{Collector, eventually, packets, root_with, run_ok};
use martlet_tests::program::{program, run};
use serde_json::Value;

/// Elements of the page with this test identifier, each with its opening tag.
fn elements<'a>(page: &'a str, id: &str) -> Vec<&'a str> {
    let marked = format!("data-testid=\"{id}\"");
    let tag = |at: usize| {
        let start = page[..at].rfind('<').unwrap();
        let end = at + page[at..].find('>').unwrap();
        &page[start..=end]
    };
    page.match_indices(&marked).map(|(at, _)| tag(at)).collect()
}

fn attribute<'a>(tag: &'a str, name: &str) -> &'a str {
    let from = tag.find(&format!(" data-{name}=\"")).unwrap_or_else(|| panic!("no data-{name} in {tag}"));
    tag[from..].split('"').nth(1).unwrap()
}

/// The page as the browser shows it after it has asked the API.
fn shown(collector: &Collector, hash: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.args(["--virtual-time-budget=6000", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    let outcome = run(command.arg(format!("http://{}/{hash}", collector.http)), b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    outcome.text().to_owned()
}

#[test]
fn the_page_shows_what_the_api_says() {
    if !root_with(&["chromium"]) {
        return;
    }
    let collector = Collector::start();
    let page = shown(&collector, "");
    assert_eq!(elements(&page, "empty-state").len(), 1, "without data the page says what to do");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("drill.pcap");
    run_ok(program("martlet-drill"), &["--out", file.to_str().unwrap(), "--packets", "40000", "--quiet"]);
    let ingest = collector.ingest.to_string();
    let replay = ["replay", "--collector", &ingest, "--class", "drill", "--sensor", "drill-1", file.to_str().unwrap()];
    run_ok(program("martlet-sensor"), &replay);
    eventually("the drill in the live view", || packets(&collector.api("/api/v1/status"), "drill") == 40_000);

    let page = shown(&collector, "");
    let summary = collector.api("/api/v1/summary?class=drill");
    let value = |id: &str| attribute(elements(&page, id)[0], "value").parse::<u64>().unwrap();
    // The page never shows a drill without saying so, loudly.
    assert_eq!(attribute(elements(&page, "class-banner")[0], "class"), "drill");
    assert_eq!(value("total-packets"), summary["totals"]["packets"].as_u64().unwrap());
    assert_eq!(value("total-bytes"), summary["totals"]["bytes"].as_u64().unwrap());
    assert_eq!(value("total-sources"), summary["totals"]["sources"]["count"].as_u64().unwrap());

    let ports = collector.api("/api/v1/ports?class=drill&limit=10");
    let rows = elements(&page, "port-row");
    assert!(rows.len() >= 10, "{} rows", rows.len());
    for (row, port) in rows.iter().zip(ports["ports"].as_array().unwrap()) {
        for (name, key) in [("protocol", "protocol"), ("port", "port"), ("packets", "packets")] {
            assert_eq!(attribute(row, name), port[key].to_string());
        }
    }
    let sources = collector.api("/api/v1/sources?class=drill&limit=5");
    for (row, source) in elements(&page, "source-row").iter().zip(sources["sources"].as_array().unwrap()) {
        assert_eq!(Value::from(attribute(row, "address")), source["address"]);
        assert_eq!(attribute(row, "packets"), source["packets"].to_string());
    }
    let sensors = elements(&page, "sensor-row");
    assert_eq!(sensors.len(), 1);
    assert_eq!((attribute(sensors[0], "sensor"), attribute(sensors[0], "packets")), ("drill-1", "40000"));
}
