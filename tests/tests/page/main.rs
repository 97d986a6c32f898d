//! The live page in a real browser shows the numbers of the API.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod browser;
mod events;
mod feed;
mod history;
mod live;
mod public;
mod reports;
mod words;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use browser::{Browser, Look, Page, attribute};
use feed::{Sensor, WINDOW_SECONDS};
use martlet_tests::daemon::{Collector, eventually, packets, run_ok};
use martlet_tests::program::program;
use serde_json::Value;

/// Seconds since the Unix epoch.
fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

#[test]
fn the_page_shows_what_the_api_says() {
    let Some(browser) = Browser::find() else { return };
    let collector = Collector::start();
    let page = browser.open(&collector, "");
    assert_eq!(page.elements("empty-state").len(), 1, "without data the page says what to do");
    browser.photograph(&collector, "", Look::Light, "empty");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("drill.pcap");
    run_ok(program("martlet-drill"), &["--out", file.to_str().unwrap(), "--packets", "40000", "--quiet"]);
    let ingest = collector.ingest.to_string();
    let replay = ["replay", "--collector", &ingest, "--class", "drill", "--sensor", "drill-1", file.to_str().unwrap()];
    run_ok(program("martlet-sensor"), &replay);
    eventually("the drill in the live view", || packets(&collector.api("/api/v1/status"), "drill") == 40_000);

    let page = browser.open(&collector, "");
    browser.photograph(&collector, "", Look::Light, "one-sensor");
    let summary = collector.api("/api/v1/summary?class=drill");
    // The page never shows a drill without saying so, loudly.
    assert_eq!(attribute(page.elements("class-banner")[0], "class"), "drill");
    assert_eq!(page.value("total-packets"), summary["totals"]["packets"].as_u64().unwrap());
    assert_eq!(page.value("total-bytes"), summary["totals"]["bytes"].as_u64().unwrap());
    assert_eq!(page.value("total-sources"), summary["totals"]["sources"]["count"].as_u64().unwrap());

    let ports = collector.api("/api/v1/ports?class=drill&limit=10");
    let rows = page.elements("port-row");
    assert!(rows.len() >= 10, "{} rows", rows.len());
    for (row, port) in rows.iter().zip(ports["ports"].as_array().unwrap()) {
        for (name, key) in [("protocol", "protocol"), ("port", "port"), ("packets", "packets")] {
            assert_eq!(attribute(row, name), port[key].to_string());
        }
    }
    let sources = collector.api("/api/v1/sources?class=drill&limit=5");
    for (row, source) in page.elements("source-row").iter().zip(sources["sources"].as_array().unwrap()) {
        assert_eq!(Value::from(attribute(row, "address")), source["address"]);
        assert_eq!(attribute(row, "packets"), source["packets"].to_string());
        assert_eq!(Value::from(attribute(row, "region")), source["region"]);
        assert_eq!(source["region"].as_str().unwrap().len(), 2);
    }
    let sensors = page.elements("sensor-row");
    assert_eq!(sensors.len(), 1);
    assert_eq!((attribute(sensors[0], "sensor"), attribute(sensors[0], "packets")), ("drill-1", "40000"));
}

#[test]
fn the_page_asks_for_a_token_where_one_is_needed() {
    let Some(browser) = Browser::find() else { return };
    let collector = Collector::start_with(&[("MARTLET_HTTP__LOOPBACK_SCOPE", Path::new("none"))]);
    let page = browser.open(&collector, "");
    assert!(!page.element("token").contains("hidden"));
    assert_eq!(attribute(page.elements("app")[0], "state"), "failed");
    let open = Collector::start();
    assert!(browser.open(&open, "").element("token").contains("hidden"));
}

/// What the strip of a sensor says of so many hours from one on; empty where nothing is expected.
fn strip(page: &Page, sensor: &str, from: i64, hours: i64) -> Vec<String> {
    let cells = page.elements("coverage-hour").into_iter().filter(|cell| attribute(cell, "sensor") == sensor);
    let cells: Vec<&str> = cells.collect();
    let state = |n: i64| {
        let hour = (from + 3600 * n).to_string();
        let cell = cells.iter().find(|cell| attribute(cell, "hour") == hour);
        let cell = cell.unwrap_or_else(|| panic!("no hour {hour} of {sensor}"));
        if cell.contains("data-state") { attribute(cell, "state").to_owned() } else { String::new() }
    };
    (0..hours).map(state).collect()
}

#[test]
fn a_dead_sensor_and_a_quiet_network_look_different() {
    let Some(browser) = Browser::find() else { return };
    let collector = Collector::start();
    let now = now();
    let hour = now - now % 3600;
    let begin = |hours: i64| hour - hours * 3600;
    let present = now - now % WINDOW_SECONDS;
    let [mut busy, mut quiet, mut dead, mut lossy] = [(1, "busy"), (2, "quiet"), (3, "dead"), (4, "lossy")]
        .map(|(number, name)| Sensor::connect(collector.ingest, number, name));
    busy.watch(begin(20), present, 9, 0);
    quiet.watch(begin(20), present, 0, 0);
    // Busy until it died in the middle of an hour.
    dead.watch(begin(20), begin(6) + 1800, 9, 0);
    lossy.watch(begin(20), begin(12), 9, 0);
    lossy.lose(begin(12), begin(10) + 1800, 300);
    lossy.watch(begin(10) + 1800, begin(8), 9, 0);
    lossy.watch(begin(8), begin(7), 9, 4);
    lossy.watch(begin(7) + 900, begin(6), 9, 0);
    lossy.watch(begin(6), present, 9, 0);
    let delivered = busy.delivered + quiet.delivered + dead.delivered + lossy.delivered;
    eventually("all windows in the live view", || {
        let sensors = collector.api("/api/v1/sensors");
        let windows = sensors["sensors"].as_array().unwrap().iter().map(|sensor| sensor["windows"].as_u64().unwrap());
        windows.sum::<u64>() == delivered
    });

    let page = browser.open(&collector, "");
    let states = |name: &str, hours_ago: i64, hours: i64| strip(&page, name, begin(hours_ago), hours);
    // Before their first window nothing is expected. In the hour that runs nobody may be yet.
    assert_eq!(states("busy", 22, 2), ["", ""]);
    assert_eq!(states("busy", 20, 20), ["watched"; 20]);
    assert_eq!(states("quiet", 20, 20), ["quiet"; 20]);
    assert_eq!(states("dead", 20, 14), ["watched"; 14]);
    assert_eq!(states("dead", 6, 6), ["partly", "unheard", "unheard", "unheard", "unheard", "unheard"]);
    assert_eq!(states("lossy", 20, 8), ["watched"; 8]);
    assert_eq!(states("lossy", 12, 7), ["lost", "lost", "lost", "watched", "partly", "partly", "watched"]);
    assert_eq!(states("lossy", 5, 5), ["watched"; 5]);

    // The rows say what the API says.
    let answer = collector.api("/api/v1/coverage?step=1h");
    for row in page.elements("coverage-row") {
        let sensors = answer["sensors"].as_array().unwrap();
        let totals = &sensors.iter().find(|sensor| sensor["name"] == attribute(row, "sensor")).unwrap()["totals"];
        for (name, key) in [("received", "windows_received"), ("lost", "windows_lost"), ("drops", "kernel_drops")] {
            assert_eq!(attribute(row, name), totals[key].to_string(), "{row}");
        }
    }
    // For those who do not see it, it is said in words.
    assert!(page.seen["html"].as_str().unwrap().contains("nothing heard "), "the strip of the dead sensor has a text");
    let kinds: Vec<_> = page.elements("notice").iter().map(|notice| attribute(notice, "kind").to_owned()).collect();
    assert!(["silent", "drops", "lost"].iter().all(|kind| kinds.iter().any(|found| found == kind)), "{kinds:?}");
    browser.photograph(&collector, "", Look::Tall, "dead-sensor");

    // One sensor's hours stand in a table, too; of hours of which nothing is heard, packets are not 0.
    let page = browser.open(&collector, "#sensor=dead");
    let rows = page.elements("coverage-hour-row");
    assert_eq!(rows.len(), 24);
    let unheard = rows.iter().filter(|row| row.contains("data-state=\"unheard\"")).count();
    assert!((5..=7).contains(&unheard), "{rows:?}");
    assert_eq!(page.elements("coverage-row").len(), 1);
}
