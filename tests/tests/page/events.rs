//! Events on the page: the list, one event, what an analyst does, and what everybody is shown.

#[path = "../../../collector/tests/common/findings.rs"]
mod findings;

use std::path::Path;

use findings::{finding, record};
use martlet_collector::events::{Book, Change, Request};
use martlet_collector::store::Location;
use martlet_detect::FindingType;
use martlet_tests::daemon::{Collector, eventually};
use martlet_window::TrafficClass;
use serde_json::Value;

use crate::browser::{Browser, Look, Page, attribute};
use crate::feed::{Sensor, WINDOW_SECONDS};
use crate::now;

/// When findings begin: 2024-11-21T10:00:00Z.
const TEN: i64 = 1_732_183_200;

/// A collector with a sensor that watches, an outbreak and a surge that are real, and one that is exercised.
fn with_events(settings: &[(&str, &Path)]) -> Collector {
    let collector = Collector::start_with(settings);
    let present = now() - now() % WINDOW_SECONDS;
    let mut sensor = Sensor::connect(collector.ingest, 1, "alpha");
    sensor.watch(present - 1800, present, 9, 0);
    let delivered = sensor.delivered;
    eventually("all windows in the live view", || {
        collector.api("/api/v1/sensors")["sensors"][0]["windows"].as_u64() == Some(delivered)
    });
    let location = Location::in_directory(collector.state());
    let findings = [finding(23, FindingType::Outbreak, 2), finding(80, FindingType::Surge, 3)];
    record(&location, TrafficClass::Real, &findings, TEN + 20_000);
    record(&location, TrafficClass::Drill, &[finding(445, FindingType::Outbreak, 2)], TEN + 20_000);
    collector
}

fn id_of(collector: &Collector, class: &str, port: u16) -> String {
    let list = collector.api(&format!("/api/v1/events?class={class}&protocol=tcp&port={port}"));
    list["events"][0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn an_analyst_sees_what_was_called_and_says_what_it_is() {
    let Some(browser) = Browser::find() else { return };
    let collector = with_events(&[("MARTLET_HTTP__LOOPBACK_SCOPE", Path::new("analyst"))]);
    let page = browser.open(&collector, "");
    let rows = page.elements("event-row");
    assert_eq!(rows.len(), 2, "of the class that is shown");
    assert_eq!((attribute(rows[1], "type"), attribute(rows[1], "state")), ("outbreak", "detected"));

    let id = id_of(&collector, "real", 23);
    for look in Look::ALL {
        let page = browser.visit(&collector, &format!("#event={id}"), look, &["wait:[data-testid=event]", "axe"]);
        assert_eq!(page.seen["violations"], Value::Array(Vec::new()));
        assert_eq!(attribute(page.elements("event")[0], "state"), "detected");
        assert_eq!(attribute(page.elements("chart-event")[0], "steps"), "2");
        assert_eq!((page.elements("event-network").len(), page.elements("event-sensor").len()), (2, 2));
        assert_eq!(attribute(page.elements("event-region")[0], "region"), "JP");
        // What can be done with an event that nobody has looked at.
        assert_eq!(page.elements("event-action").len(), 5);
    }
    let actions = [
        "wait:[data-action=acknowledge]",
        "click:[data-action=acknowledge]",
        "wait:[data-testid=event][data-state=acknowledged]",
    ];
    let page = browser.visit(&collector, &format!("#event={id}"), Look::Light, &actions);
    assert_eq!(page.elements("event-action").len(), 4);
    assert_eq!(collector.api(&format!("/api/v1/events/{id}"))["history"][1]["action"], "acknowledged");
    let page = note_while_another_assigns(&browser, &collector, &id);
    assert_eq!(page.elements("event-action").len(), 4);
    // To assess without saying anything is refused, and told.
    let actions =
        ["wait:[data-action=assess]", "click:[data-action=assess]", "wait:[data-testid=event-said]:not(:empty)"];
    let page = browser.visit(&collector, &format!("#event={id}"), Look::Light, &actions);
    assert!(page.text().contains("note: a text"), "{}", page.text());
    let actions =
        ["wait:[data-testid=draft-show]", "click:[data-testid=draft-show]", "wait:[data-testid=draft]", "axe"];
    let page = browser.visit(&collector, &format!("#event={id}&lang=ja"), Look::Japanese, &actions);
    assert!(page.text().contains("TLP:RED") && page.text().contains("注意喚起（案）"), "{}", page.text());
    assert_eq!(page.seen["violations"], Value::Array(Vec::new()));
    browser.photograph(&collector, &format!("#event={id}"), Look::Tall, "event");

    // An exercise is never shown without saying so, wherever its address comes from.
    let drill = id_of(&collector, "drill", 445);
    let page = browser.visit(&collector, &format!("#event={drill}"), Look::Light, &["wait:[data-testid=event]"]);
    assert_eq!(attribute(page.elements("class-banner")[0], "class"), "drill");
    let page = browser.visit(&collector, "#event=00000000000000000", Look::Light, &["wait:[data-testid=no-event]"]);
    assert!(page.elements("event").is_empty());
}

/// An analyst takes an event over, then another assigns it to somebody else, then the first notes something: which leaves the other's
/// assignment what it is.
fn note_while_another_assigns(browser: &Browser, collector: &Collector, id: &str) -> Page {
    let path = format!("/api/v1/events/{id}");
    let page = std::thread::scope(|scope| {
        let actions = [
            "wait:[data-action=note]",
            "focus:#event-owner",
            "press:H",
            "click:[data-action=assign]",
            "wait:#event-owner[value=Jiro]",
            "focus:#event-note",
            "press:x",
            "click:[data-action=note]",
            "wait:[data-testid=event][data-version=\"5\"]",
        ];
        let first = scope.spawn(move || browser.visit(collector, &format!("#event={id}"), Look::Light, &actions));
        eventually("the first assignment", || collector.api(&path)["owner"] == "H");
        change(collector, id, "jiro", Request::Assign, None, Some("Jiro"));
        first.join().unwrap()
    });
    let event = collector.api(&path);
    assert_eq!((&event["owner"], &event["history"][4]["note"]), (&"Jiro".into(), &"x".into()));
    page
}

fn change(collector: &Collector, id: &str, by: &str, request: Request, note: Option<&str>, owner: Option<&str>) {
    let (note, owner) = (note.map(str::to_owned), owner.map(str::to_owned));
    let change = Change { request, version: None, note, owner, recipients: None, severity: None };
    let book = Book::new(Location::in_directory(collector.state()));
    book.change(id.parse().unwrap(), &change, by, TEN * 1000).unwrap();
}

#[test]
fn who_may_only_read_is_offered_nothing_and_everybody_sees_what_was_assessed() {
    let Some(browser) = Browser::find() else { return };
    let collector = with_events(&[("MARTLET_PUBLICATION__PUBLIC", Path::new("true"))]);
    let id = id_of(&collector, "real", 23);
    let page = browser.visit(&collector, &format!("#event={id}"), Look::Light, &["wait:[data-testid=event]"]);
    assert!(page.elements("event-form").is_empty() && page.elements("event-action").is_empty());
    let page = browser.open(&collector, "public/");
    assert!(page.elements("event-row").is_empty(), "nobody has assessed any");
    change(&collector, &id, "hanako", Request::Assess, Some("kept inside"), Some("Hanako"));
    let page = browser.visit(&collector, "public/", Look::Light, &["wait:[data-testid=event-row]", "axe"]);
    assert_eq!(page.elements("event-row").len(), 1);
    let actions = ["wait:[data-testid=event]", "axe"];
    let page = browser.visit(&collector, &format!("public/#event={id}"), Look::Phone, &actions);
    assert_eq!(page.seen["violations"], Value::Array(Vec::new()));
    for part in ["event-network", "event-sensor", "event-form", "draft-show", "event-delivery"] {
        assert!(page.elements(part).is_empty(), "{part}");
    }
    let html = page.seen["html"].as_str().unwrap().to_lowercase();
    for hidden in ["kept inside", "hanako", "133.0.0", "alpha"] {
        assert!(!html.contains(hidden), "{hidden}");
    }
}
