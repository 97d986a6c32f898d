//! The view of observation reports: what is finished, and what is provisional.

use std::path::Path;

use martlet_tests::daemon::{Collector, eventually, run_ok};
use serde_json::Value;

use crate::browser::{Browser, Look, attribute};
use crate::feed::{Sensor, WINDOW_SECONDS, scan};
use crate::now;

const DAY: i64 = 86_400;

/// A time as date(1) writes it.
fn date(seconds: i64, format: &str) -> String {
    run_ok("date", &["-u", "-d", &format!("@{seconds}"), &format!("+{format}")]).trim_end().to_owned()
}

#[test]
fn reports_are_listed_with_their_revisions_and_lead_to_every_format() {
    let Some(browser) = Browser::find() else { return };
    let settings = [
        ("MARTLET_ARCHIVE__PENDING_BYTES", Path::new("0")),
        ("MARTLET_STORE__COMMIT_INTERVAL_MS", Path::new("200")),
        ("MARTLET_REPORTS__SCHEDULE", Path::new("[]")),
    ];
    let collector = Collector::start_with(&settings);
    // The last week that is closed: 1970-01-05 was a Monday, and sensors have 72 hours.
    let monday = (now() - 3 * DAY - 4 * DAY).div_euclid(7 * DAY) * 7 * DAY + 4 * DAY - 7 * DAY;
    let mut sensor = Sensor::connect(collector.ingest, 1, "alpha");
    for day in 0..7 {
        let from = monday + day * DAY;
        sensor
            .see(from, from + WINDOW_SECONDS, 0, |_| (0..5).map(|source| scan(23, 0xc000_0200 + source, 4)).collect());
    }
    let week = date(monday, "%G-W%V");
    let range = ["from=", "&to="].iter().zip([monday, monday + 7 * DAY]);
    let range: String = range.map(|(name, time)| format!("{name}{}", date(time, "%Y-%m-%dT00:00:00Z"))).collect();
    eventually("history to have the week", || {
        collector.api(&format!("/api/v1/history/ports?{range}"))["totals"]["packets"] == 140
    });
    // Whoever asks for a report that is closed has it kept.
    assert_eq!(collector.api(&format!("/api/v1/reports/{week}?format=json"))["revision"], 1);

    let list = collector.api("/api/v1/reports");
    for look in Look::ALL {
        let page = browser.visit(&collector, "#view=reports", look, &["wait:[data-testid=report-row]", "axe"]);
        assert_eq!(page.seen["violations"], Value::Array(Vec::new()));
        let row = page.element("report-row");
        assert_eq!((attribute(row, "time"), attribute(row, "kind"), attribute(row, "revision")), (&*week, "week", "1"));
        let open: Vec<&str> = page.elements("report-open").iter().map(|row| attribute(row, "time")).collect();
        let expected = ["current_week", "last_week"].map(|name| list[name].as_str().unwrap());
        assert_eq!(open, expected.into_iter().filter(|time| *time != week).collect::<Vec<_>>());
        // Two languages, and tables and numbers, of each.
        assert_eq!(page.elements("report-link").len(), 4 * (open.len() + 1));
        let html = page.seen["html"].as_str().unwrap();
        for query in
            ["class=real&amp;lang=ja&amp;format=html&amp;revision=1", "class=real&amp;format=json&amp;revision=1"]
        {
            assert!(html.contains(&format!("api/v1/reports/{week}?{query}")), "{query}");
        }
    }
    browser.photograph(&collector, "#view=reports", Look::Light, "reports");
    // From any view there, and by any range back again; by keys alone.
    let there = browser.visit(
        &collector,
        "#range=week",
        Look::Light,
        &["focus:[data-testid=reports-link]", "press:Enter", "wait:[data-testid=report-row]"],
    );
    assert!(there.seen["hash"].as_str().unwrap().contains("view=reports"));
    let back = browser.visit(
        &collector,
        "#view=reports",
        Look::Light,
        &[
            "wait:[data-testid=report-row]",
            "click:label:has([data-testid=range-choice][value=live])",
            "wait:[data-testid=port-row]",
        ],
    );
    assert!(!back.seen["hash"].as_str().unwrap().contains("view"), "{}", back.seen["hash"]);
    // Another class has others.
    let page = browser.visit(&collector, "#view=reports&class=drill", Look::Light, &["wait:[data-testid=reports]"]);
    assert!(page.elements("report-row").is_empty() && page.text().contains("None yet."));
    assert_eq!(collector.stop(), Some(0));
}
