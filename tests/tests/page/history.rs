//! Days, weeks and quarters.

use std::path::Path;
use std::process::Command;

use martlet_tests::daemon::{Collector, run_ok};
use martlet_tests::program::{program, run};
use serde_json::Value;

use crate::browser::{Browser, Look, Page, attribute};
use crate::now;

const DAY: i64 = 86_400;

fn time(seconds: i64) -> String {
    run_ok("date", &["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"]).trim().to_owned()
}

fn date(seconds: i64) -> String {
    time(seconds)[..10].to_owned()
}

/// A collector with five weeks of background, and a port that was scanned much in the week before last.
fn collector(folder: &Path, end: i64) -> Collector {
    let [background, scanned] = ["background.pcap", "scanned.pcap"].map(|name| folder.join(name));
    let drill = |file: &Path, start: i64, more: &[&str]| {
        let arguments =
            ["--quiet", "--prefix", "198.18.0.0/16", "--start", &time(start), "--out", file.to_str().unwrap()];
        run_ok(program("martlet-drill"), &[&arguments, more].concat());
    };
    drill(
        &background,
        end - 35 * DAY,
        &["--duration", "840h", "--packets", "30000", "--outbreak", "none", "--seed", "3"],
    );
    let outbreak = [
        "--outbreak",
        "udp/1434",
        "--outbreak-start",
        "1m",
        "--scan-rate",
        "200",
        "--infected",
        "400",
        "--vulnerable",
        "401",
    ];
    drill(
        &scanned,
        end - 8 * DAY,
        &[&["--duration", "2h", "--rate", "1", "--seed", "6"], outbreak.as_slice()].concat(),
    );
    // What is old would be coarsened at once.
    let settings = [("MARTLET_ARCHIVE__SOURCE_DAYS", Path::new("0"))];
    let data = folder.join("data");
    let mut import = Command::new(program("martlet-collector"));
    import.envs(settings).args(["import", "--sensor", "kyoto", "--observe", "198.18.0.0/16", "--data-dir"]);
    let outcome = run(import.arg(&data).args([&background, &scanned]), b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    Collector::start_in(&data, &settings)
}

/// Ports of the page's table are those of the answer, with what they had before.
fn ports_are_those_of(page: &Page, now: &Value, before: &Value) {
    let rows = page.elements("port-row");
    assert!(rows.len() >= 15, "{}", rows.len());
    for (row, port) in rows.iter().zip(now["ports"].as_array().unwrap()) {
        for name in ["protocol", "port", "packets"] {
            assert_eq!(attribute(row, name), port[name].to_string());
        }
        let earlier = before["ports"]
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["port"] == port["port"] && entry["protocol"] == port["protocol"]);
        let expected = earlier.map_or(String::new(), |entry| entry["packets"].to_string());
        assert_eq!(attribute(row, "before"), expected, "{row}");
    }
}

#[test]
fn periods_show_what_history_says_and_what_changed() {
    let Some(browser) = Browser::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    // Whole weeks, so that the one before last is that of the scans wherever today lies in its week.
    let monday = (now() / DAY + 3) / 7 * 7 * DAY - 3 * DAY;
    let collector = collector(folder.path(), monday);
    let week = |weeks: i64| (monday - weeks * 7 * DAY, monday - (weeks - 1) * 7 * DAY);
    let ask = |path: &str, (from, to): (i64, i64), more: &str| {
        collector.api(&format!("/api/v1/history/{path}?class=import&from={}&to={}{more}", time(from), time(to)))
    };

    // The newest week, by itself: the class's last window decides, and not the clock.
    let page = browser.visit(&collector, "#range=week", Look::Light, &["axe"]);
    assert_eq!(page.seen["violations"], Value::Array(Vec::new()));
    let (now, before) = (ask("ports", week(1), "&limit=100"), ask("ports", week(2), "&limit=300"));
    assert_eq!(page.value("total-packets"), now["totals"]["packets"].as_u64().unwrap());
    assert_eq!(page.value("total-sources"), now["totals"]["sources"]["count"].as_u64().unwrap());
    ports_are_those_of(&page, &now, &before);
    let down: Vec<&str> =
        page.elements("moved-row").into_iter().filter(|row| attribute(row, "direction") == "down").collect();
    assert!(down.iter().any(|row| attribute(row, "port") == "1434"), "{down:?}");
    assert!(page.text().contains(&format!("{} – {}", date(week(1).0), date(week(1).1 - 1))));

    // The one before, by its link, and by the address that stands there then.
    let there = format!("wait:[data-testid=total-packets][data-value=\"{}\"]", before["totals"]["packets"]);
    let page = browser.visit(&collector, "#range=week", Look::Light, &["click:[data-testid=earlier]", &there]);
    let address = page.seen["hash"].as_str().unwrap().to_owned();
    assert_eq!(address, format!("#range=week&from={}", date(week(2).0)));
    let page = browser.open(&collector, &address);
    ports_are_those_of(&page, &before, &ask("ports", week(3), "&limit=300"));
    assert_eq!(attribute(page.element("outlook"), "state"), "rising");
    let up: Vec<&str> =
        page.elements("moved-row").into_iter().filter(|row| attribute(row, "direction") == "up").collect();
    assert_eq!(attribute(up[0], "port"), "1434", "what rose most comes first");

    // A port: the figures of both times, its regions and marks.
    let page = browser.visit(&collector, &format!("{address}&port=udp/1434"), Look::Japanese, &["axe"]);
    assert_eq!(page.seen["violations"], Value::Array(Vec::new()));
    let port = ask("port", week(2), "&protocol=udp&port=1434&step=1h");
    assert_eq!(page.value("port-packets"), port["totals"]["packets"].as_u64().unwrap());
    assert_eq!(page.value("port-sources"), port["totals"]["sources"]["count"].as_u64().unwrap());
    let regions = page.elements("region-row");
    for (row, region) in regions.iter().zip(port["regions"].as_array().unwrap()) {
        assert_eq!(
            (attribute(row, "region"), attribute(row, "packets").to_owned()),
            (region["name"].as_str().unwrap(), region["packets"].to_string())
        );
    }
    assert!(!regions.is_empty() && page.text().contains("送信元地域"));

    // A day and a quarter; of a time of which nothing is known nothing is new.
    let page = browser.visit(&collector, &format!("#range=day&from={}", date(week(2).1 - DAY)), Look::Dark, &["axe"]);
    assert_eq!(page.seen["violations"], Value::Array(Vec::new()));
    let day = ask("ports", (week(2).1 - DAY, week(2).1), "&limit=100");
    assert_eq!(page.value("total-packets"), day["totals"]["packets"].as_u64().unwrap());
    assert_eq!(attribute(page.element("chart-period"), "steps"), "96");
    let page = browser.visit(&collector, "#range=quarter", Look::Phone, &["axe"]);
    assert_eq!(page.seen["violations"], Value::Array(Vec::new()));
    assert_eq!(page.seen["scroll_width"], 360);
    let page = browser.open(&collector, &format!("#range=week&from={}", date(week(5).0)));
    assert_eq!(attribute(page.element("outlook"), "state"), "short");
    assert!(page.elements("moved-row").is_empty());

    // Nothing is gone, and nothing is 0, in a time of which nothing is known yet.
    let page = browser.open(&collector, &format!("#range=week&from={}", date(monday + 14 * DAY)));
    assert_eq!((page.elements("nothing-yet").len(), page.elements("moved-row").len()), (1, 0));
    // What cannot be is refused in words, with a way out.
    let page = browser.visit(&collector, "#range=week&port=nonsense/23", Look::Light, &["wait:#app a[href='#']"]);
    assert_eq!(attribute(page.element("app"), "state"), "failed");

    tables_are_there_as_csv(&browser, &collector, &now);
    browser.photograph(&collector, &address, Look::Light, "week");
}

/// What a table links to is what it shows.
fn tables_are_there_as_csv(browser: &Browser, collector: &Collector, now: &Value) {
    let page = browser.open(collector, "#range=week");
    let links = page.elements("csv");
    assert!(links.len() >= 8, "{}", links.len());
    for link in links {
        let address = link.split("href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
        let csv = run_ok("curl", &["--silent", "--fail", &format!("http://{}/{address}", collector.http)]);
        assert!(csv.lines().next().unwrap().contains(','), "{address}");
        if address.contains("history/ports") {
            let first = &now["ports"][0];
            let expected = format!(
                "{},{},{},{},",
                first["ip"],
                first["protocol"],
                first["protocol_name"].as_str().unwrap(),
                first["port"]
            );
            assert!(csv.lines().nth(1).unwrap().starts_with(&expected), "{csv:.300}");
        }
    }
}

/// Begin, end, up to when it is known, the end of that day, and the time before: of a period that is chosen, with what is known.
#[test]
fn periods_begin_and_end_where_they_should() {
    let Some(browser) = Browser::find() else { return };
    let collector = Collector::start();
    let period = |range: &str, from: &str, known: &str| {
        let from = if from.is_empty() { "null".to_owned() } else { format!("'{from}'") };
        let times = "[p.from, p.end, p.until, p.whole, p.previous.from, p.previous.to].map((t) => new Date(1000 * t).toISOString().slice(0, 16))";
        format!(
            "state:((p) => {times})(state.periodOf({{ range: '{range}', from: {from} }}, Date.parse('{known}:00Z') / 1000))"
        )
    };
    let cases = [
        // A Wednesday at noon.
        (period("week", "", "2026-11-25T12:00"), "11-23T00 11-30T00 11-25T12 11-26T00 11-16T00 11-18T12"),
        (period("day", "", "2026-11-25T12:00"), "11-25T00 11-26T00 11-25T12 11-26T00 11-24T00 11-24T12"),
        // Midnight is the end of the time before, and chosen by its date nothing is known of what begins there.
        (period("day", "", "2026-11-25T00:00"), "11-24T00 11-25T00 11-25T00 11-25T00 11-23T00 11-24T00"),
        (period("week", "", "2026-11-23T00:00"), "11-16T00 11-23T00 11-23T00 11-23T00 11-09T00 11-16T00"),
        (period("week", "2026-11-23", "2026-11-23T00:00"), "11-23T00 11-30T00 11-23T00 11-24T00 11-16T00 11-16T00"),
        (period("day", "2026-12-24", "2026-11-25T12:00"), "12-24T00 12-25T00 12-24T00 12-25T00 12-23T00 12-23T00"),
        // Quarters of the year are of unequal length, and weeks before 1970 begin on Mondays as well.
        (period("quarter", "", "2026-10-01T06:00"), "10-01T00 01-01T00 10-01T06 10-02T00 07-01T00 07-01T06"),
        (period("quarter", "2026-03-31", "2026-11-25T12:00"), "01-01T00 04-01T00 04-01T00 04-01T00 10-01T00 01-01T00"),
        (period("week", "1969-12-28", "2026-11-25T12:00"), "12-22T00 12-29T00 12-29T00 12-29T00 12-15T00 12-22T00"),
    ];
    let actions: Vec<&str> = cases.iter().map(|(action, _)| action.as_str()).collect();
    let page = browser.visit(&collector, "", Look::Light, &actions);
    for ((action, expected), found) in cases.iter().zip(page.seen["found"].as_array().unwrap()) {
        let found: Vec<&str> = found.as_array().unwrap().iter().map(|time| &time.as_str().unwrap()[5..13]).collect();
        assert_eq!(found.join(" "), *expected, "{action}");
    }
}

#[test]
fn without_an_archive_the_page_says_so() {
    let Some(browser) = Browser::find() else { return };
    let collector = Collector::start_with(&[("MARTLET_ARCHIVE__ENABLED", Path::new("false"))]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("drill.pcap");
    run_ok(
        program("martlet-drill"),
        &["--out", file.to_str().unwrap(), "--packets", "1000", "--outbreak", "none", "--quiet"],
    );
    let ingest = collector.ingest.to_string();
    run_ok(
        program("martlet-sensor"),
        &["replay", "--collector", &ingest, "--class", "drill", "--sensor", "one", file.to_str().unwrap()],
    );
    let page = browser.visit(&collector, "#range=week", Look::Light, &["wait:#app[data-state=no-history]"]);
    assert_eq!(page.elements("no-history").len(), 1);
}
