//! The live view with many sensors: what grows, what changes, what it asks for, and who can use it.

use std::thread;
use std::time::Duration;

use martlet_tests::daemon::{Collector, eventually, packets};
use martlet_window::CountRow;
use serde_json::Value;

use crate::browser::{Browser, Look, attribute};
use crate::feed::{Sensor, WINDOW_SECONDS, scan};
use crate::now;

/// Ports that are always scanned, and how much.
const USUAL: [(u16, u32); 10] =
    [(23, 30), (22, 18), (80, 14), (443, 12), (445, 9), (8080, 7), (3389, 6), (6379, 5), (5900, 3), (25, 2)];
const WORM: u16 = 5555;
/// In what time the sources of the worm double.
const DOUBLING_SECONDS: i64 = 1800;

/// A number that looks random and is always the same.
fn mixed(a: i64, b: i64) -> u32 {
    let product = (a ^ b.rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed());
    u32::try_from((product.cast_unsigned() >> 33) & 0x7fff_ffff).unwrap()
}

/// What a sensor sees in a window: the usual, and from `outbreak` on a worm whose sources double.
fn seen(sensor: u8, start: i64, outbreak: i64) -> Vec<CountRow> {
    let number = i64::from(sensor);
    let mut rows: Vec<CountRow> = Vec::new();
    for (port, weight) in USUAL {
        let key = i64::from(port) * 100 + number;
        if mixed(start, key) % 40 < weight {
            rows.push(scan(port, 0x0b00_0000 + mixed(start, key + 7) % 0x3000_0000, 1 + mixed(key, start) % 3));
        }
    }
    if start >= outbreak && sensor == 1 {
        let doublings =
            f64::from(i32::try_from(start - outbreak).unwrap()) / f64::from(i32::try_from(DOUBLING_SECONDS).unwrap());
        let infected: u32 = format!("{:.0}", 3.0 * doublings.exp2()).parse().unwrap();
        // Others every minute, so that the sources of a step grow as those of a minute do.
        let base = 0x5000_0000 + u32::try_from(start - outbreak).unwrap() * 64;
        rows.extend((0..infected).map(|host| scan(WORM, base + host, 1)));
    }
    rows
}

#[test]
fn fifty_sensors_and_an_outbreak_are_shown_to_everybody_who_looks() {
    let Some(browser) = Browser::find() else { return };
    let collector = Collector::start();
    let now = now();
    let present = now - now % WINDOW_SECONDS;
    let (begin, outbreak) = (present - 10 * 3600, present - 3 * 3600);
    let names: Vec<String> = (1..=50).map(|number| format!("sensor-{number:02}")).collect();
    let mut sensors: Vec<Sensor> = names
        .iter()
        .zip(1..)
        .map(|(name, number)| {
            let mut sensor = Sensor::connect(collector.ingest, number, name);
            // One of them is dead.
            let until = if number == 17 { present - 5 * 3600 } else { present };
            sensor.see(begin, until, 0, |start| seen(number, start, outbreak));
            sensor
        })
        .collect();
    let delivered: u64 = sensors.iter().map(|sensor| sensor.delivered).sum();
    let windows = |collector: &Collector| {
        let sensors = collector.api("/api/v1/sensors?limit=1000");
        let each = sensors["sensors"].as_array().unwrap().iter().map(|sensor| sensor["windows"].as_u64().unwrap());
        each.sum::<u64>()
    };
    eventually("all windows in the live view", || windows(&collector) == delivered);

    // Nobody else is asked, all of the page is small, and it is usable by those who see little, or use no mouse.
    for look in Look::ALL {
        let page = browser.visit(&collector, "", look, &["axe"]);
        assert_eq!(page.seen["violations"], Value::Array(Vec::new()));
        assert_eq!(page.elements("sensor-row").len(), 50);
        let own = format!("http://{}/", collector.http);
        let asked = page.seen["asked"].as_array().unwrap();
        assert!(asked.len() > 15 && asked.iter().all(|url| url.as_str().unwrap().starts_with(&own)), "{asked:?}");
        let files = page.seen["requests"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|request| !request["url"].as_str().unwrap().contains("/api/"));
        let bytes: u64 =
            files.map(|request| request["bytes"].as_u64().unwrap() + request["headers"].as_u64().unwrap()).sum();
        assert!((50_000..200_000).contains(&bytes), "{bytes}");
        // Nothing is wider than the window.
        let width = page.seen["scroll_width"].as_u64().unwrap();
        assert_eq!(width, if matches!(look, Look::Phone) { 360 } else { 1280 });
    }
    browser.photograph(&collector, "", Look::Light, "fifty-sensors");
    browser.photograph(&collector, "", Look::Phone, "phone");
    browser.photograph(&collector, "", Look::Japanese, "japanese");

    outbreak_is_seen(&browser, &collector, outbreak);
    keys_are_enough(&browser, &collector);

    // What a sensor delivers is shown without the page being loaded again, and soon.
    let before = collector.api("/api/v1/summary")["totals"]["packets"].as_u64().unwrap();
    let feeding = thread::spawn(move || {
        thread::sleep(Duration::from_secs(6));
        sensors[0].watch(present, present + WINDOW_SECONDS, 1234, 0);
        sensors
    });
    let after = format!("wait:[data-testid=total-packets][data-value=\"{}\"]", before + 1234);
    let page = browser.visit(&collector, "", Look::Light, &["wait:#conn[data-live=true]", &after]);
    assert_eq!(page.value("total-packets"), before + 1234);
    let waited = page.seen["waits"][1].as_f64().unwrap();
    assert!(waited < 14.0, "{waited} s, of which six at most nothing happened");
    drop(feeding.join().unwrap());
    assert!(packets(&collector.api("/api/v1/status"), "real") >= before + 1234);
}

/// The worm stands out, its page says how fast it grows, and what it says is true.
fn outbreak_is_seen(browser: &Browser, collector: &Collector, outbreak: i64) {
    let page = browser.open(collector, "");
    assert_eq!(attribute(page.element("outlook"), "state"), "rising");
    let rows = page.elements("outlook-row");
    assert!(rows.iter().any(|row| attribute(row, "port") == WORM.to_string()), "{rows:?}");

    let page = browser.visit(collector, &format!("#port=tcp/{WORM}"), Look::Light, &["axe"]);
    assert_eq!(page.seen["violations"], Value::Array(Vec::new()));
    let answer = collector.api(&format!("/api/v1/ports?protocol=tcp&port={WORM}&ip=4"));
    assert_eq!(page.value("port-packets"), answer["ports"][0]["packets"].as_u64().unwrap());
    assert_eq!(page.value("port-sources"), answer["ports"][0]["sources"]["count"].as_u64().unwrap());
    let growth = page.element("growth");
    assert_eq!(attribute(growth, "state"), "rising");
    let number = |name: &str| attribute(growth, name).parse::<f64>().unwrap();
    let truth = std::f64::consts::LN_2 * 3600.0 / f64::from(i32::try_from(DOUBLING_SECONDS).unwrap());
    assert!((number("rate") - truth).abs() < 0.15 * truth, "{growth} and in truth {truth}");
    assert!(number("low") < number("rate") && number("rate") < number("high"), "{growth}");
    assert!(number("from") >= f64::from(i32::try_from(outbreak - 600).unwrap()), "{growth}");
    browser.photograph(collector, &format!("#port=tcp/{WORM}"), Look::Light, "outbreak");
    browser.photograph(collector, &format!("#port=tcp/{WORM}"), Look::Dark, "dark");

    // A port that nobody looked for has a page as well, and one that is none leads to the overview.
    assert_eq!(browser.open(collector, "#port=udp/4").elements("no-port").len(), 1);
    assert_eq!(browser.open(collector, "#port=tcp/70000").elements("outlook").len(), 1);
}

/// Everything can be reached and used with keys alone.
fn keys_are_enough(browser: &Browser, collector: &Collector) {
    let span = "focus:[data-testid=span-choice][data-value='24h']";
    let page = browser.visit(collector, "", Look::Light, &[span, "press:ArrowLeft", "wait:#app[data-span='6h']"]);
    assert_eq!(page.seen["hash"], "#span=6h");
    let actions = ["focus:#plot-span", "press:End", "press:ArrowLeft", "press:ArrowLeft"];
    let page = browser.visit(collector, "", Look::Light, &actions);
    let chart = page.element("chart-span");
    let steps: i64 = attribute(chart, "steps").parse().unwrap();
    let focus = page.seen["focus"].as_str().unwrap();
    assert!(
        focus.contains("role=\"slider\"") && focus.contains(&format!("aria-valuenow=\"{}\"", steps - 3)),
        "{focus}"
    );
    assert!(focus.contains(" packets"), "what it points at is said: {focus}");
    let page = browser.visit(collector, "", Look::Light, &["press:Tab", "press:Enter", "press:Tab"]);
    assert!(!page.seen["focus"].as_str().unwrap().contains("id=\"skip\""));
    assert_eq!(page.seen["hash"], "", "to skip to the numbers asks for nothing else");
    let row = "click:[data-testid=port-row] a";
    let page = browser.visit(
        collector,
        "",
        Look::Light,
        &[row, "wait:[data-testid=chart-port]", "click:[data-testid=log]", "wait:[data-testid=log][aria-pressed=true]"],
    );
    assert!(page.seen["hash"].as_str().unwrap().starts_with("#port=tcp/"), "{}", page.seen["hash"]);
}
