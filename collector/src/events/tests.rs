//! What the outbox and retention do to a store, at times that a test says.

use martlet_detect::{Evidence, Finding, FindingType, Key, Population};
use martlet_window::{IpVersion, TrafficClass};
use rusqlite::Connection;

use super::config::ClassName;
use super::kinds::{Action, Severity};
use super::outbox::{self, Rule};
use super::recorder::Recorder;
use super::retention;
use crate::config::GeoConfig;
use crate::geo::Geo;
use crate::store::{Location, Store};

const DAY: i64 = 86_400;
const DAY_MS: i64 = DAY * 1000;

struct Books {
    connection: Connection,
    recorder: Recorder,
    _folder: tempfile::TempDir,
}

impl Books {
    fn new() -> Books {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::in_directory(folder.path());
        drop(Store::open(location.clone()).unwrap());
        let connection = location.connect().unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        let (geo, _) = Geo::open(&GeoConfig::default()).unwrap();
        Books { connection, recorder: Recorder::new(geo), _folder: folder }
    }

    /// Records a finding of a port; `day` is when it was detected and recorded.
    fn record(&mut self, class: TrafficClass, port: u16, finding_type: FindingType, day: i64, has_ended: bool) {
        let time = day * DAY;
        let finding = Finding {
            key: Key { ip: IpVersion::V6, protocol: 17, port, population: Population::None },
            onset: 0,
            finding_type,
            detected: time,
            last_active: time,
            ended: has_ended.then_some(time),
            labels: vec![],
            estimates: None,
            evidence: Evidence::default(),
        };
        self.recorder.record(&self.connection, class, &[finding], |_| String::new(), time * 1000).unwrap();
    }

    fn ports(&self) -> Vec<u16> {
        let mut select = self.connection.prepare("SELECT port FROM events ORDER BY port").unwrap();
        select.query_map((), |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// Makes deliveries, and says which are due: port and action.
    fn due(&mut self, rules: &[Rule], target: &str, now_ms: i64) -> Vec<(u16, Action)> {
        while outbox::fill(&mut self.connection, rules, now_ms).unwrap() {}
        let mut due = Vec::new();
        while let Some(next) = outbox::due(&self.connection, target, now_ms).unwrap() {
            due.push((next.event.key.port, next.entry.action));
            outbox::delivered(&self.connection, &next, now_ms).unwrap();
        }
        due
    }
}

fn rule(target: &str, min_severity: Severity, classes: &[ClassName]) -> Rule {
    Rule { target: target.to_owned(), min_severity, classes: classes.to_vec() }
}

#[test]
fn old_news_is_forgotten_and_what_matters_is_kept() {
    let mut books = Books::new();
    let real = TrafficClass::Real;
    books.record(real, 1, FindingType::FirstSeenPort, 10, true);
    books.record(real, 2, FindingType::Surge, 10, false);
    books.record(real, 3, FindingType::Outbreak, 10, true);
    books.record(real, 4, FindingType::Surge, 12, true);
    let forget =
        |books: &Books, days, most, day: i64| retention::forget(&books.connection, days, most, day * DAY_MS).unwrap();
    assert_eq!(forget(&books, 5, 100, 15), 0, "not before the day");
    assert_eq!((forget(&books, 5, 100, 16), books.ports()), (1, vec![2, 3, 4]));
    assert_eq!((forget(&books, 0, 100, 10_000), books.ports()), (0, vec![2, 3, 4]));
    // Of too many, what matters less goes first, and of that what is over.
    assert_eq!((forget(&books, 0, 2, 20), books.ports()), (1, vec![2, 3]));
    assert_eq!((forget(&books, 0, 1, 20), books.ports()), (1, vec![3]));
    let left: i64 = books.connection.query_row("SELECT count(*) FROM event_history", (), |row| row.get(0)).unwrap();
    assert_eq!(left, 2, "histories go with their events: what is left was detected and has ended");
}

#[test]
fn each_target_is_told_what_it_wants_once_and_from_its_beginning_on() {
    let mut books = Books::new();
    books.record(TrafficClass::Real, 1, FindingType::Outbreak, 1, false);
    let all = [ClassName::Real, ClassName::Drill];
    let rules = [rule("high", Severity::High, &[ClassName::Real]), rule("all", Severity::Info, &all)];
    outbox::retire(&mut books.connection, &rules, 0).unwrap();
    books.record(TrafficClass::Real, 2, FindingType::Surge, 2, false);
    books.record(TrafficClass::Drill, 3, FindingType::Outbreak, 2, false);
    books.record(TrafficClass::Real, 4, FindingType::Outbreak, 2, true);
    books.record(TrafficClass::Import, 5, FindingType::Outbreak, 2, true);
    let told = [(4, Action::Detected), (4, Action::Ended)];
    assert_eq!(books.due(&rules, "high", 5), told);
    assert_eq!(books.due(&rules, "all", 5), [&[(2, Action::Detected), (3, Action::Detected)][..], &told].concat());
    assert_eq!((books.due(&rules, "high", 6), books.due(&rules, "all", 6)), (vec![], vec![]));
    // An escalation makes it severe enough.
    books.record(TrafficClass::Real, 2, FindingType::Outbreak, 3, false);
    assert_eq!(books.due(&rules, "high", 7), [(2, Action::Escalated)]);
    // What is not configured any more is forgotten; when it comes back, it is told what happens then.
    outbox::retire(&mut books.connection, &rules[..1], 8).unwrap();
    assert_eq!(outbox::pending(&books.connection, "all").unwrap(), 0);
    books.record(TrafficClass::Real, 6, FindingType::Outbreak, 4, false);
    outbox::retire(&mut books.connection, &rules, 9).unwrap();
    assert_eq!((books.due(&rules, "all", 9), books.due(&rules, "high", 9)), (vec![], vec![(6, Action::Detected)]));
}

#[test]
fn more_changes_than_go_at_once_are_told_in_their_order() {
    let mut books = Books::new();
    let rules = [rule("all", Severity::Info, &[ClassName::Real])];
    outbox::retire(&mut books.connection, &rules, 0).unwrap();
    let ports: Vec<u16> = (0..1203).collect();
    for &port in &ports {
        books.record(TrafficClass::Real, port, FindingType::Surge, 1, false);
    }
    let told: Vec<_> = books.due(&rules, "all", 1).into_iter().map(|(port, _)| port).collect();
    assert_eq!(told, ports);
}

#[test]
fn what_nobody_takes_is_given_up_after_three_days() {
    let mut books = Books::new();
    let rules = [rule("deaf", Severity::Info, &[ClassName::Real])];
    outbox::retire(&mut books.connection, &rules, 0).unwrap();
    books.record(TrafficClass::Real, 1, FindingType::Surge, 1, false);
    outbox::fill(&mut books.connection, &rules, 0).unwrap();
    let (mut now_ms, mut attempts, mut is_over) = (0, 0, false);
    while !is_over {
        // Nothing is due before its time.
        let due = std::iter::from_fn(|| {
            now_ms += 1000;
            Some(outbox::due(&books.connection, "deaf", now_ms).unwrap())
        });
        let due = due.flatten().next().unwrap();
        assert_eq!(due.attempts, attempts);
        attempts += 1;
        is_over = outbox::failed(&books.connection, &due, "it is deaf", now_ms).unwrap();
        assert_eq!(outbox::pending(&books.connection, "deaf").unwrap(), u64::from(!is_over));
    }
    // Within an hour of three days, after nine waits that double and then hours, or half hours by chance.
    assert!((3 * DAY_MS..3 * DAY_MS + 3_600_000).contains(&now_ms), "{now_ms}");
    assert!((75..160).contains(&attempts), "{attempts}");
    assert!(outbox::due(&books.connection, "deaf", i64::MAX).unwrap().is_none());
    outbox::forget(&books.connection, now_ms + 91 * DAY_MS).unwrap();
    let left: i64 = books.connection.query_row("SELECT count(*) FROM event_deliveries", (), |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}
