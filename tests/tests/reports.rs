//! Observation reports by the real program: their numbers are those that DuckDB finds in the archive, of a real capture and of a drill
//! with many sensors; revisions, notes and formats are what docs/reports.md says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use martlet_tests::daemon::{Collector, eventually, run_ok};
use martlet_tests::program::{Outcome, program, run};
use martlet_tests::{python, shared};
use serde_json::Value;

/// The captures are old, and only networks would be left of their sources.
const SETTINGS: [(&str, &str); 2] =
    [("MARTLET_ARCHIVE__SOURCE_DAYS", "0"), ("MARTLET_HISTORY__REPORT_ZONES", r#"["UTC", "Asia/Tokyo"]"#)];

/// A directory of state, and how reports of it are made.
struct State {
    folder: tempfile::TempDir,
    settings: Vec<(&'static str, &'static str)>,
}

impl State {
    fn new() -> State {
        State { folder: tempfile::tempdir().unwrap(), settings: SETTINGS.to_vec() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("martlet-collector"));
        command.args(arguments).arg("--data-dir").arg(self.data()).envs(self.settings.iter().copied());
        command
    }

    fn import(&self, sensor: &str, observe: &str, file: &Path) {
        let mut command = self.command(&["import", "--sensor", sensor, "--observe", observe]);
        let outcome = run(command.arg(file), b"");
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    }

    fn report(&self, arguments: &[&str]) -> Outcome {
        run(&mut self.command(&[&["report"], arguments].concat()), b"")
    }

    /// A report as JSON, and the file in which it is.
    fn json(&self, name: &str, arguments: &[&str]) -> (Value, PathBuf) {
        let path = self.folder.path().join(format!("{name}.json"));
        let out = ["--format", "json", "--out", path.to_str().unwrap()];
        let outcome = self.report(&[arguments, &out[..]].concat());
        assert_eq!(outcome.code, Some(0), "{arguments:?}: {}", outcome.stderr);
        (serde_json::from_slice(&fs::read(&path).unwrap()).unwrap(), path)
    }

    /// Has DuckDB work reports out again; says how many numbers it compared.
    fn recount(&self, interpreter: &Path, reports: &[PathBuf]) -> u64 {
        let (store, archive) = (self.data().join("martlet.db"), self.data().join("archive"));
        let labels = self.folder.path().join("labels.json");
        let listed = run(&mut self.command(&["sensor", "list", "--json"]), b"");
        assert_eq!(listed.code, Some(0), "{}", listed.stderr);
        fs::write(&labels, listed.text()).unwrap();
        let arguments: Vec<&OsStr> = [store.as_os_str(), labels.as_os_str(), archive.as_os_str()]
            .into_iter()
            .chain(reports.iter().map(|path| path.as_os_str()))
            .collect();
        let answer = python::ask(interpreter, "report.py", &arguments);
        assert!(answer["differences"].as_array().unwrap().is_empty(), "{answer:#}");
        answer["compared"].as_u64().unwrap()
    }
}

#[test]
fn ten_weeks_of_a_real_darknet_are_what_duckdb_counts() {
    let (Some(captures), Some(interpreter)) = (shared::captures(), python::interpreter()) else { return };
    let file = captures.join("darknet/cloud-address_2020-04_2021-10.pcap.zst");
    let mut state = State::new();
    state.import("cloud", "167.99.227.94/32", &file);
    let week = |week: &str| ["weekly", "--class", "import", "--week", week].map(str::to_owned);
    let make = |state: &State, label: &str| {
        let arguments = week(label);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        state.json(label, &arguments)
    };
    let weeks = [
        "2020-W20", "2020-W21", "2020-W30", "2020-W40", "2020-W50", "2020-W53", "2021-W10", "2021-W11", "2021-W22",
        "2021-W35",
    ];
    let made: Vec<(Value, PathBuf)> = weeks.iter().map(|label| make(&state, label)).collect();
    for (report, _) in &made {
        assert_eq!((&report["revision"], &report["previous"]["is_known"]), (&1.into(), &true.into()));
        assert_eq!(report["ports"]["rows"].as_array().unwrap().len(), 5);
    }
    // W21 stands beside the kept W20.
    assert_eq!((&made[0].0["previous"]["revision"], &made[1].0["previous"]["revision"]), (&Value::Null, &1.into()));
    let files: Vec<PathBuf> = made.iter().map(|(_, path)| path.clone()).collect();
    let compared = state.recount(&interpreter, &files);
    assert!(compared > 10 * 150, "{compared}");

    // Made again it is the same file, and a quarter and days of another zone are counted alike.
    let before = fs::read(&files[6]).unwrap();
    make(&state, weeks[6]);
    assert_eq!(fs::read(&files[6]).unwrap(), before);
    state.settings.push(("MARTLET_REPORTS__ZONE", "Asia/Tokyo"));
    let days = ["days", "--class", "import", "--from", "2021-03-01", "--to", "2021-03-10"];
    let quarter = ["quarterly", "--class", "import", "--quarter", "2021-Q1"];
    let month = ["monthly", "--class", "import", "--month", "2020-12"];
    let files = [("days", &days[..]), ("quarter", &quarter), ("month", &month)].map(|(name, arguments)| {
        let (report, path) = state.json(name, arguments);
        assert_eq!(report["period"]["zone"], "Asia/Tokyo");
        path
    });
    assert!(state.recount(&interpreter, &files) > 300);
}

#[test]
fn a_drill_of_fifty_sensors_is_what_duckdb_counts() {
    let Some(interpreter) = python::interpreter() else { return };
    let mut state = State::new();
    let archive = [("MARTLET_ARCHIVE__PENDING_BYTES", "1"), ("MARTLET_REPORTS__MIN_SENSORS", "3")];
    state.settings.extend(archive);
    let settings: Vec<(&str, &Path)> = state.settings.iter().map(|(name, value)| (*name, Path::new(value))).collect();
    let collector = Collector::start_in(&state.data(), &settings);
    // Of 50 sensors one has no label, and one is the only one of its group.
    for number in 1..50 {
        let position = if number <= 30 { "position=domestic" } else { "position=overseas" };
        let group = if number == 7 { "group=alone" } else { "group=many" };
        // Of those at home five have an operator who lets no SQL in.
        let filtered = if number <= 5 { "filtered=25,udp/1433-1434" } else { "filtered=" };
        let name = format!("drill-{number}");
        let labelled = run(&mut state.command(&["sensor", "set", &name, position, group, filtered]), b"");
        assert_eq!(labelled.code, Some(0), "{}", labelled.stderr);
    }
    let truth = state.folder.path().join("truth.json");
    let to = collector.ingest.to_string();
    // Over a midnight.
    let when = ["--start", "2026-01-06T23:40:00Z", "--duration", "40m"];
    let sensors = ["--sensors", "50", "--dark", "198.18.0.0/22"];
    let send =
        ["--scenario", "slammer", "--seed", "5", "--quiet", "--collector", &to, "--truth", truth.to_str().unwrap()];
    run_ok(program("martlet-drill"), &[&send[..], &sensors, &when].concat());
    let sent: Value = serde_json::from_slice(&fs::read(&truth).unwrap()).unwrap();
    let sent = sent["packets"].as_u64().unwrap();
    let week = "class=drill&from=2026-01-05T00:00:00Z&to=2026-01-12T00:00:00Z";
    eventually("history to have the drill's packets, and the detector to have seen them", || {
        let history = collector.api(&format!("/api/v1/history/ports?limit=1&{week}"));
        history["totals"]["packets"] == sent && collector.metric("martlet_collector_detect_pending_records") == 0.0
    });
    assert_eq!(collector.stop(), Some(0));
    let (report, path) = state.json("drill", &["weekly", "--class", "drill", "--week", "2026-W02"]);
    assert_eq!(report["overview"]["exposure"]["sensors"], 50);
    let packets: u64 = report["overview"]["packets"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(packets, sent);
    // Of an exercise every event is told; it was called while it was sent.
    assert_eq!(report["events"]["assessed"][0]["service"]["number"], 1434);
    // What is per sensor of the worm's port is per sensor that can see it.
    let worm = report["ports"]["rows"].as_array().unwrap().iter().find(|row| row["key"]["number"] == 1434).unwrap();
    assert_eq!(worm["watching"]["sensors"], 45);
    // From `many`, or from both positions, and all sensors figures of one or two would follow; from one position of twenty.
    let names = |report: &Value| -> Vec<String> {
        let groups = report["groups"].as_array().unwrap().iter();
        groups.map(|group| group["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&report), ["position:domestic"]);
    assert!(state.recount(&interpreter, &[path]) > 100);

    // A report of a group has its sensors only; one of few sensors is refused, and one that nobody is in.
    let overseas = ["weekly", "--class", "drill", "--week", "2026-W02", "--sensors", "position:overseas"];
    let (group, path) = state.json("overseas", &overseas);
    assert_eq!((&group["group"], &group["overview"]["exposure"]["sensors"]), (&"position:overseas".into(), &19.into()));
    assert_eq!(group["revision"], 1);
    assert!(group["ports"]["rows"].as_array().unwrap().iter().all(|row| row.get("watching").is_none()));
    assert!(state.recount(&interpreter, &[path]) > 100);
    for (sensors, why) in [("alone", "had 1 sensors"), ("economy:JP", "there is no group")] {
        let refused = state.report(&[&overseas[..5], &["--sensors", sensors]].concat());
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
    assert_eq!(state.report(&["list"]).text(), "drill\t2026-W02\t1\tall\ndrill\t2026-W02\t1\tposition:overseas\n");
    // Where one sensor may be told, all groups stand side by side.
    state.settings.push(("MARTLET_REPORTS__MIN_SENSORS", "1"));
    let (all, path) = state.json("groups", &["days", "--class", "drill", "--from", "2026-01-06", "--to", "2026-01-07"]);
    assert_eq!(names(&all), ["alone", "many", "position:domestic", "position:overseas"]);
    let rates = all["overview"]["rates"].as_array().unwrap();
    assert!(rates.iter().any(|rate| rate["of"]["name"] == "position:domestic" && rate["sensors"] == 30));
    assert!(state.recount(&interpreter, &[path]) > 100);
    // Ports by sensor, each by its number.
    assert_eq!(all["sensor_ports"], Value::Array(Vec::new()));
    state.settings.extend([("MARTLET_REPORTS__MIN_SENSORS", "3"), ("MARTLET_REPORTS__SENSOR_PORTS", "true")]);
    let (told, path) =
        state.json("sensors", &["days", "--class", "drill", "--from", "2026-01-05", "--to", "2026-01-08"]);
    let of_sensors = told["sensor_ports"].as_array().unwrap();
    assert_eq!(
        of_sensors.iter().map(|of| of["sensor"].as_u64().unwrap()).collect::<Vec<_>>(),
        (1..=50).collect::<Vec<_>>()
    );
    assert!(
        of_sensors.iter().all(|of| of["ports"]
            .as_array()
            .unwrap()
            .iter()
            .any(|port| port["service"]["number"] == 1434))
    );
    assert!(state.recount(&interpreter, &[path]) > 200);
    let html = state.report(&["weekly", "--class", "drill", "--week", "2026-W02"]);
    assert_eq!(html.code, Some(0), "{}", html.stderr);
    assert!(html.text().contains("EXERCISE") && !html.text().contains("drill-"), "names of sensors are not told");
}

#[test]
fn late_data_is_a_revision_and_notes_are_kept() {
    let state = State::new();
    let drill = |name: &str, start: &str, duration: &str, seed: &str| {
        let file = state.folder.path().join(name);
        let arguments =
            ["--out", file.to_str().unwrap(), "--quiet", "--start", start, "--duration", duration, "--seed", seed];
        run_ok(program("martlet-drill"), &[&arguments[..], &["--packets", "60000"]].concat());
        file
    };
    state.import("one", "198.18.0.0/24", &drill("one.pcap", "2026-01-05T00:00:00Z", "168h", "1"));
    let week = ["weekly", "--class", "import", "--week", "2026-W02"];
    let (first, path) = state.json("first", &week);
    assert_eq!((&first["revision"], &first["previous"]["is_known"]), (&1.into(), &false.into()));
    let published = fs::read(&path).unwrap();
    let html = state.report(&week).text().to_owned();
    assert!(html.contains("Analyst&#39;s comment: none entered") || html.contains("Analyst's comment: none entered"));

    // What analysts write is kept, is no revision, and is text wherever it stands.
    let notes = state.folder.path().join("notes.toml");
    fs::write(&notes, "comment.en = \"<script>alert(1)</script> =cmd|x\"\ncomment.ja = \"観測された\"\n").unwrap();
    let with_notes = state.report(&[&week[..], &["--notes", notes.to_str().unwrap()]].concat());
    assert_eq!(with_notes.code, Some(0), "{}", with_notes.stderr);
    let html = state.report(&week).text().to_owned();
    assert!(html.contains("&lt;script&gt;") && !html.contains("<script"), "{html}");
    assert!(state.report(&[&week[..], &["--lang", "ja"]].concat()).text().contains("観測された"));
    fs::write(&notes, "events.00000000000000000.en = \"none\"\n").unwrap();
    let refused = state.report(&[&week[..], &["--notes", notes.to_str().unwrap()]].concat());
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("events.00000000000000000"), "{}", refused.stderr);

    // What comes late makes the next revision, which says what changed; the first stays what it was.
    state.import("two", "198.18.0.0/24", &drill("two.pcap", "2026-01-08T00:00:00Z", "24h", "2"));
    let (second, _) = state.json("second", &week);
    assert_eq!(second["revision"], 2);
    let changes = second["changes"].as_array().unwrap();
    let change = changes.iter().find(|change| change["place"] == "/ports/total/packets").unwrap();
    assert_eq!(change["before"], first["ports"]["total"]["packets"]);
    assert_eq!(change["now"], second["ports"]["total"]["packets"]);
    let (_, path) = state.json("again", &[&week[..], &["--revision", "1"]].concat());
    let (mut again, mut before): (Value, Value) =
        (serde_json::from_slice(&fs::read(&path).unwrap()).unwrap(), serde_json::from_slice(&published).unwrap());
    again["notes"].take();
    before["notes"].take();
    assert_eq!(again, before);
    let list = state.report(&["list"]);
    assert_eq!(list.text(), "import\t2026-W02\t1\tall\nimport\t2026-W02\t2\tall\n");

    // The week after does not stand beside one that is kept with other figures than it has now.
    let kept = state.data().join("reports/import/2026-W02.r2.json");
    let damaged = fs::read_to_string(&kept).unwrap();
    let total = second["ports"]["rows"][0]["cell"]["packets"].to_string();
    state.import("one", "198.18.0.0/24", &drill("three.pcap", "2026-01-12T00:00:00Z", "168h", "3"));
    fs::write(&kept, damaged.replace(&total, "77777")).unwrap();
    let refused = state.report(&["weekly", "--class", "import", "--week", "2026-W03"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("disagree") && refused.stderr.contains("77777"), "{}", refused.stderr);
    fs::write(&kept, damaged).unwrap();
    let next = ["weekly", "--class", "import", "--week", "2026-W03"];
    let (third, _) = state.json("third", &next);
    assert_eq!((&third["previous"]["revision"], &third["previous"]["is_known"]), (&2.into(), &true.into()));

    // What was kept stays the report of its time when settings change, in every format.
    let outcome = run(state.command(&[&["report"], &next[..]].concat()).env("MARTLET_REPORTS__TOP", "3"), b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("configured otherwise when it was kept"), "{}", outcome.stderr);
    let list = state.report(&["list"]);
    assert_eq!(list.text().lines().count(), 3, "{}", list.text());
    // A zone at whose midnights no day is cut has no distinct sources, which the rules ask for.
    let zone = ["days", "--class", "import", "--from", "2026-01-06", "--to", "2026-01-07"];
    let outcome =
        run(state.command(&[&["report"], &zone[..]].concat()).env("MARTLET_REPORTS__ZONE", "Asia/Kolkata"), b"");
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("history.report_zones"), "{}", outcome.stderr);
}

#[test]
fn what_cannot_be_done_is_said() {
    let state = State::new();
    let week = ["weekly", "--week", "2026-W02"];
    let nothing = state.report(&week);
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.stderr.contains("has no store"), "{}", nothing.stderr);
    for (arguments, code, what) in [
        (&["weekly", "--week", "2026-10"][..], 2, "no ISO week"),
        (&["monthly", "--month", "2026-13"], 2, "no month"),
        (&["days", "--from", "2026-01-02", "--to", "2026-01-01"], 2, "the last one included"),
        (&["weekly", "--lang", "tlh"], 2, "take en, ja, or a file"),
        (&["weekly", "--format", "csv"], 2, "--out"),
        (&["weekly", "--format", "pdf"], 2, "--out"),
    ] {
        let outcome = state.report(arguments);
        assert_eq!(outcome.code, Some(code), "{arguments:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(what), "{arguments:?}: {}", outcome.stderr);
    }
    let collector = Collector::start_in(&state.data(), &[]);
    assert_eq!(collector.stop(), Some(0));
    let nothing = state.report(&week);
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.stderr.contains("nothing is known of 2026-W02"), "{}", nothing.stderr);
}
