//! What is shown to everybody.

use std::path::Path;

use martlet_tests::daemon::{Collector, eventually, get};
use serde_json::Value;

use crate::browser::{Browser, Look};
use crate::feed::{Sensor, WINDOW_SECONDS, scan};
use crate::now;

#[test]
fn what_is_published_is_late_and_names_no_sensor_and_no_address() {
    let Some(browser) = Browser::find() else { return };
    let settings = [("MARTLET_PUBLICATION__PUBLIC", Path::new("true"))];
    let collector = Collector::start_with(&settings);
    let now = now();
    let present = now - now % WINDOW_SECONDS;
    let mut sensor = Sensor::connect(collector.ingest, 1, "kumamoto-7");
    // A port that was looked for two days ago, and one that is today.
    sensor.see(present - 3 * 86_400, present - 2 * 86_400, 0, |start| {
        let minute = u32::try_from((start / 60) % 500).unwrap();
        vec![scan(2323, 0x0b00_0000 + minute, 2), scan(8443, 0x0b00_0001, 1)]
    });
    sensor.see(present - 3600, present, 0, |start| {
        vec![scan(31_337, u32::try_from(start % 1000).unwrap() + 0x0c00_0000, 5)]
    });
    let delivered = sensor.delivered;
    eventually("all windows in the live view", || {
        collector.api("/api/v1/sensors?from=2026-01-01T00:00:00Z")["sensors"][0]["windows"].as_u64() == Some(delivered)
    });

    let page = browser.visit(&collector, "public/#span=7d", Look::Light, &["axe"]);
    assert_eq!(page.seen["violations"], Value::Array(Vec::new()));
    let (html, text) = (page.seen["html"].as_str().unwrap(), page.text());
    assert!(text.contains("2323/tcp"), "{text}");
    // Of one source, of today, of a sensor, of an address nothing is said.
    for hidden in ["8443", "31337", "kumamoto", "11.0.0.1"] {
        assert!(!html.contains(hidden), "{hidden}");
    }
    for part in ["sensor-row", "coverage-row", "sensor-filter", "source-row", "range-choice", "class-choice"] {
        assert!(page.elements(part).is_empty(), "{part}");
    }
    let answer = collector.api("/public/api/v1/summary?from=2026-01-01T00:00:00Z&step=30d");
    assert_eq!(page.value("total-packets"), answer["totals"]["packets"].as_u64().unwrap());
    // A proxy that passes on /public/ passes on all that the page needs.
    let own = format!("http://{}/public/", collector.http);
    let asked = page.seen["asked"].as_array().unwrap();
    assert!(asked.iter().all(|url| url.as_str().unwrap().starts_with(&own)), "{asked:?}");
    let page = browser.visit(&collector, "public/#span=7d&port=tcp/2323", Look::Japanese, &["axe"]);
    assert_eq!(page.seen["violations"], Value::Array(Vec::new()));
    assert!(page.value("port-packets") >= 2800, "{}", page.value("port-packets"));
    browser.photograph(&collector, "public/#span=7d", Look::Light, "public");

    // Where nobody asked for it there is none.
    let closed = Collector::start();
    assert_eq!(get(closed.http, "/public/").map(|(status, _)| status), Some(404));
}
