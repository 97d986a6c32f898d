//! Observation reports over HTTP and by schedule: the same bytes as the command's, notes of several analysts, files and their revisions.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use common::simulated::TestClock;
use common::{Client, Server, Spool, TEN, tcp_scan, wait};
use martlet_collector::config::Config;
use martlet_collector::events::Language;
use martlet_collector::journal::State;
use martlet_collector::report::{Failed, Form, GoesOn, Press};
use martlet_collector::tokens::{Grant, LoopbackScope, Scope, TokenStore};
use martlet_window::CountRow;
use serde_json::{Value, json};

const DAY: i64 = 86_400;
/// Monday of the week of TEN, 2024-W47.
const MONDAY: i64 = TEN - TEN % DAY - 3 * DAY;
/// From when on that week is closed.
const CLOSES: i64 = MONDAY + 10 * DAY;

/// Nothing is made by the collector itself, and data of 2024 keeps its sources.
fn settings(config: &mut Config) {
    config.store.commit_interval_ms = 100;
    config.archive.pending_bytes = 0;
    config.archive.source_days = 0;
    config.reports.schedule = Vec::new();
    config.http.loopback_scope = LoopbackScope::Analyst;
    config.publication.public = true;
}

/// A collector, and a sensor that sends to it.
struct Site {
    server: Server,
    spool: Spool,
    client: Client,
    packets: u64,
}

impl Site {
    /// With a packet a day from each of ten sources to port 23, for a week.
    fn new() -> Site {
        let server = Server::with(settings);
        let spool = Spool::new(1, 0, "alpha");
        let client = spool.connect(&server);
        let mut site = Site { server, spool, client, packets: 0 };
        let days =
            |day| (MONDAY + day * DAY + 3600, (0..10).map(|source| tcp_scan(23, 0xc000_0200 + source, 1)).collect());
        site.send((0..7).map(days).collect());
        site
    }

    /// Sends windows, and waits until history has them.
    fn send(&mut self, windows: Vec<(i64, Vec<CountRow>)>) {
        self.packets += windows.iter().flat_map(|(_, rows)| rows).map(|row| u64::from(row.packets)).sum::<u64>();
        send(&mut self.client, &mut self.spool, &windows);
        // All weeks of the tests.
        let range = common::range(MONDAY, MONDAY + 14 * DAY);
        wait(|| is_in_history(&self.server, &range, self.packets));
    }

    /// What the command writes.
    fn command(&self, arguments: &[&str], name: &str) -> Vec<u8> {
        let (state, out) = (self.server.directory.path().join("state"), self.server.directory.path().join(name));
        let mut command = Command::new(env!("CARGO_BIN_EXE_martlet-collector"));
        command.args(["report", "weekly", "--week", "2024-W47", "--out"]).arg(&out).arg("--data-dir").arg(state);
        let done = command.args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        fs::read(out).unwrap()
    }

    fn token(&self, scope: Scope) -> String {
        let mut store = TokenStore::open(&self.server.location()).unwrap();
        let grant = Grant { name: scope.name().to_owned(), scope, organisation: None, expires: None };
        let token = store.create(&grant, 0).unwrap().reveal();
        wait(|| self.server.ask_with(&token, "/api/v1/status").status == 200);
        format!("authorization: Bearer {token}")
    }
}

/// Sends windows. What is acknowledged of them depends on when commits come, and is not looked at.
fn send(client: &mut Client, spool: &mut Spool, windows: &[(i64, Vec<CountRow>)]) {
    for (start, rows) in windows {
        client.send_bytes(&spool.batch(*start, rows));
    }
}

fn is_in_history(server: &Server, range: &str, packets: u64) -> bool {
    let history = server.ok(&format!("/api/v1/history/ports?{range}"));
    history["totals"]["packets"] == packets && history["basis"]["pending_days"] == json!([])
}

/// Head and body of an answer that may be no text.
fn fetch(server: &Server, path: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(server.http).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer.split_off(end + 4))
}

fn problem(answer: &common::Answer) -> (u16, String) {
    (answer.status, answer.json()["type"].as_str().unwrap().replace("urn:martlet:problem:", ""))
}

#[test]
fn a_report_over_http_is_what_the_command_writes() {
    let site = Site::new();
    let server = &site.server;
    assert_eq!(server.ok("/api/v1/reports")["reports"], json!([]));
    for (name, query, arguments) in [
        ("a.html", "", &[][..]),
        ("a.html", "?lang=ja", &["--lang", "ja"]),
        ("a.json", "?format=json", &["--format", "json"]),
        ("a.zip", "?format=csv&lang=ja", &["--format", "csv", "--lang", "ja"]),
        ("b.zip", "?format=md", &["--format", "md"]),
        ("a.html", "?compare=2", &["--compare", "2"]),
        ("a.html", "?revision=1", &["--revision", "1"]),
    ] {
        let (head, body) = fetch(server, &format!("/api/v1/reports/2024-W47{query}"));
        assert!(head.starts_with("HTTP/1.1 200"), "{query}: {head}");
        assert!(body == site.command(arguments, name), "{query} is not what the command writes");
        assert!(head.contains("content-security-policy: default-src 'none'; style-src 'sha256-"), "{head}");
        let place = if name.ends_with("html") { "inline" } else { "attachment" };
        assert!(head.contains(&format!("content-disposition: {place}; filename=\"2024-W47.")), "{head}");
    }
    // It was over long ago, so that asking for it kept it.
    let list = server.ok("/api/v1/reports");
    let kept = json!([{"class": "real", "time": "2024-W47", "kind": "week", "revision": 1}]);
    assert_eq!((&list["reports"], &list["reports_left_out"], &list["next_cursor"]), (&kept, &json!(0), &Value::Null));
    assert_eq!(list["current_week"].as_str().unwrap().len(), "2024-W47".len());
    assert_eq!(
        server.ask("/api/v1/reports?format=csv", &[]).body,
        "class,time,kind,revision\r\nreal,2024-W47,week,1\r\n"
    );
    assert_eq!(server.ok("/api/v1/reports?class=drill")["reports"], json!([]));
    // The newest time first, page by page; of it the newest revision.
    let shelf = server.directory.path().join("state/reports/real");
    let file = |name: &str| {
        fs::copy(shelf.join("2024-W47.r1.json"), shelf.join(name)).unwrap();
    };
    let more = ["2024-W47.r2.json", "2024-W46.r1.json", "2024-11.r10.json", "2024-Q4.r1.json", "x.r1.json"];
    more.iter().for_each(|name| file(name));
    let mut listed = Vec::new();
    let mut next = String::new();
    loop {
        let page = server.ok(&format!("/api/v1/reports?limit=2{next}"));
        listed.extend(
            page["reports"].as_array().unwrap().iter().map(|row| format!("{} {}", row["time"], row["revision"])),
        );
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        next = format!("&cursor={cursor}");
    }
    let expected = ["2024-Q4 1", "2024-11 10", "2024-W47 2", "2024-W47 1", "2024-W46 1"];
    assert_eq!(listed.iter().map(|row| row.replace('"', "")).collect::<Vec<_>>(), expected);
    more.iter().for_each(|name| fs::remove_file(shelf.join(name)).unwrap());

    // What a client knows is not sent again, whatever the format.
    let page = server.ask("/api/v1/reports/2024-W47", &[]);
    assert_eq!((page.header("cache-control"), page.body.contains("<script")), (Some("private, no-cache"), false));
    let tag = page.header("etag").unwrap();
    let again = server.ask("/api/v1/reports/2024-W47?revision=1", &[&format!("if-none-match: {tag}")]);
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    let accepting = |accept: &str| server.ask("/api/v1/reports/2024-W47", &[&format!("accept: {accept}")]);
    assert_eq!(accepting("application/json").json()["revision"], 1);
    assert_eq!(accepting("text/html,*/*;q=0.8").header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(accepting("text/csv").status, 406);
}

#[test]
fn what_cannot_be_told_is_said_and_no_time_leads_elsewhere() {
    let site = Site::new();
    let server = &site.server;
    fs::write(server.directory.path().join("state/secret.toml"), "comment.en = \"secret\"").unwrap();
    for (path, status, kind) in [
        ("2024-W99", 400, "bad-parameter"),
        ("2024-W+1", 400, "bad-parameter"),
        ("..%2f..%2fsecret", 400, "bad-parameter"),
        ("2024-W47%00", 400, "bad-parameter"),
        ("%FF%FE", 400, "bad-parameter"),
        ("%E3%80%80", 400, "bad-parameter"),
        ("2024-01-01..2026-01-01", 400, "bad-parameter"),
        ("2024-11-20..2024-11-19", 400, "bad-parameter"),
        ("9999-12", 400, "bad-parameter"),
        ("2024-W46?format=pdf", 400, "bad-parameter"),
        ("2024-W47?revision=0", 400, "bad-parameter"),
        ("2024-W47?compare=521", 400, "bad-parameter"),
        ("2024-W47?revision=1&compare=2", 400, "bad-parameter"),
        ("2024-W47?limit=1", 400, "unknown-parameter"),
        ("2024-W47?revision=7", 404, "no-such-report"),
        ("2024-W30", 404, "no-such-report"),
        ("0001-W01", 404, "no-such-report"),
        ("2024-W47/x", 404, "not-found"),
        ("%2e%2e", 400, "bad-parameter"),
    ] {
        let answer = server.ask(&format!("/api/v1/reports/{path}"), &[]);
        assert_eq!(problem(&answer), (status, kind.to_owned()), "{path}: {}", answer.body);
        assert!(!answer.body.contains("secret\""), "{path}");
    }
    let long = server.ask(&format!("/api/v1/reports/{}", "9".repeat(3000)), &[]);
    assert!(long.status == 400 && long.body.len() < 1000, "{}", long.body);
    for path in ["..%2f..%2fsecret/notes", "2024-W99/notes"] {
        assert_eq!(server.ask(&format!("/api/v1/reports/{path}"), &[]).status, 400, "{path}");
    }
    // It is in no public view, and needs a token that may read.
    let public = site.token(Scope::Public);
    for path in ["reports", "reports/2024-W47", "reports/2024-W47/notes"] {
        assert_eq!(server.ask(&format!("/public/api/v1/{path}"), &[]).status, 404, "{path}");
        assert_eq!(
            problem(&server.ask(&format!("/api/v1/{path}"), &[&public])),
            (403, "forbidden".to_owned()),
            "{path}"
        );
    }
    // A kept report that history does not bear out any more keeps the one behind it from being told.
    server.ok("/api/v1/reports/2024-W47?format=json");
    let kept = server.directory.path().join("state/reports/real/2024-W47.r1.json");
    let mut report: Value = serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap();
    report["ports"]["rows"][0]["cell"]["packets"] = json!(77_777);
    fs::write(&kept, report.to_string()).unwrap();
    let mut site = site;
    let rows =
        |day: i64| (MONDAY + (7 + day) * DAY, (0..10).map(|source| tcp_scan(23, 0xc000_0200 + source, 1)).collect());
    site.send((0..7).map(rows).collect());
    let refused = site.server.ask("/api/v1/reports/2024-W48", &[]);
    assert_eq!(problem(&refused), (409, "report-refused".to_owned()), "{}", refused.body);
    assert!(refused.body.contains("77777"), "{}", refused.body);
}

#[test]
fn two_analysts_do_not_overwrite_each_others_notes() {
    let site = Site::new();
    let (server, path) = (&site.server, "/api/v1/reports/2024-W47/notes");
    let empty = server.ask(path, &[]);
    assert_eq!(empty.json(), json!({"comment": {}, "phenomena": {}, "events": {}}));
    let seen = format!("if-match: {}", empty.header("etag").unwrap());
    let put = |lines: &[&str], body: &Value| server.change("PUT", path, lines, &body.to_string());
    let first = json!({"comment": {"en": "<b>doubled</b>", "ja": "倍増した"}});
    assert_eq!(problem(&put(&[], &first)), (428, "notes-unseen".to_owned()));
    let before = server.ask("/api/v1/reports/2024-W47", &[]).header("etag").unwrap().to_owned();
    let written = put(&[&seen], &first);
    assert_eq!((written.status, written.header("cache-control")), (200, Some("no-store")), "{}", written.body);
    assert_eq!(server.ok(path)["comment"], first["comment"]);
    // In every language and format, as text, also of the command; with another tag.
    let page = server.ask("/api/v1/reports/2024-W47", &[&format!("if-none-match: {before}")]);
    assert!(page.status == 200 && page.body.contains("&lt;b&gt;doubled"), "{}", page.body);
    assert!(server.ask("/api/v1/reports/2024-W47?lang=ja", &[]).body.contains("倍増した"));
    assert!(String::from_utf8(site.command(&[], "a.html")).unwrap().contains("&lt;b&gt;doubled"));
    assert_eq!(server.ok("/api/v1/reports/2024-W47?format=json")["revision"], 1, "notes are no figures");

    // Whoever has not seen that writes nothing.
    let second = json!({"phenomena": {"en": "a sweep"}});
    assert_eq!(problem(&put(&[&seen], &second)), (412, "notes-changed".to_owned()));
    assert_eq!(server.ok(path)["comment"], first["comment"]);
    let seen = format!("if-match: {}", written.header("etag").unwrap());
    assert_eq!(put(&[&seen], &second).status, 200);
    assert_eq!(server.ok(path), json!({"comment": {}, "phenomena": {"en": "a sweep"}, "events": {}}));
    // At the same time as well: one of many writes, and the others are told.
    let seen = format!("if-match: {}", server.ask(path, &[]).header("etag").unwrap());
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let write = |n: u32| {
            let (body, seen) = (json!({"comment": {"en": format!("analyst {n}")}}).to_string(), seen.as_str());
            scope.spawn(move || server.change("PUT", path, &[seen], &body).status)
        };
        let writers: Vec<_> = (0..4).map(write).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 412].contains(status)), "{statuses:?}");

    let any = "if-match: *";
    for body in [
        json!([]),
        json!({"coment": {}}),
        json!({"comment": "x"}),
        json!({"comment": {"en": 1}}),
        json!({"comment": {"en": "x".repeat(20_001)}}),
        json!({"events": {"00000000000000000": {"en": "no such event"}}}),
    ] {
        assert_eq!(problem(&put(&[any], &body)), (400, "bad-body".to_owned()));
    }
    assert_eq!(put(&[any], &json!({"comment": {"en": "x".repeat(1 << 20)}})).status, 413);
    assert_eq!(put(&[any, "content-type: text/plain"], &first).status, 415);
    assert_eq!(put(&[any, &site.token(Scope::Read)], &first).status, 403);
    let analyst = site.token(Scope::Analyst);
    let from_elsewhere = put(&[any, &analyst, "sec-fetch-site: cross-site"], &first);
    assert_eq!(problem(&from_elsewhere), (403, "cross-site".to_owned()));
    assert_eq!(put(&[any, &analyst], &first).status, 200);
    let elsewhere = server.change("PUT", "/api/v1/reports/2031-W01/notes", &[any], &first.to_string());
    assert_eq!(problem(&elsewhere), (404, "no-such-report".to_owned()));
    let deleted = server.change("DELETE", path, &[], "");
    assert_eq!((deleted.status, deleted.header("allow")), (405, Some("GET, HEAD, PUT")));
}

/// Names of files.
fn names(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_week_is_written_once_it_is_closed_and_again_when_it_changes() {
    let mut site = Site::new();
    let out = site.server.directory.path().join("out");
    let mut config = Config::default();
    settings(&mut config);
    config.store.data_dir = site.server.directory.path().join("state");
    config.reports.schedule = vec![martlet_collector::report::PeriodKind::Week];
    config.reports.directory = Some(out.clone());
    config.reports.languages = vec![Language::English, Language::Japanese];
    config.reports.formats = vec![Form::Html, Form::Csv, Form::Json, Form::Pdf];
    // Prints the page as it is, behind what makes it a PDF.
    let script = "{ printf '%%PDF-1.7 '; cat \"$1\"; } > \"$2\"";
    config.reports.pdf_command = ["sh", "-c", script, "sh", "{html}", "{pdf}"].map(str::to_owned).into();
    config.check().unwrap();
    let (state, clock) = (Arc::new(State::default()), Arc::new(TestClock::default()));
    let mut press = Press::configured(&config, state.clone(), clock.clone()).unwrap();
    let goes_on: GoesOn = Arc::new(|| true);
    // Whatever is due at a time.
    let mut run = |seconds: i64| {
        clock.0.store(seconds * 1000, Relaxed);
        let turns = (0..).take_while(|_| press.turn(&goes_on)).count();
        assert!(turns < 10, "{turns}");
        turns
    };
    let written = |state: &State| state.reports.files.load(Relaxed);

    // Nothing is finished a second too early, also not the weeks before, of which nothing is known.
    run(CLOSES - 1);
    assert!(!config.store.data_dir.join("reports").exists());
    // Without its directory the report is kept, and the files are tried again.
    run(CLOSES);
    assert_eq!(names(&config.store.data_dir.join("reports/real")), BTreeSet::from(["2024-W47.r1.json".to_owned()]));
    assert_eq!((state.reports.failures.get(Failed::Write), state.reports.unfinished.load(Relaxed)), (1, 1));
    fs::create_dir(&out).unwrap();
    run(CLOSES + 3600);
    let first = ["en.csv.zip", "en.html", "en.pdf", "ja.csv.zip", "ja.html", "ja.pdf", "json"];
    let first: BTreeSet<_> = first.map(|name| format!("2024-W47.r1.{name}")).into();
    assert_eq!((names(&out), written(&state), state.reports.unfinished.load(Relaxed)), (first.clone(), 7, 0));
    let page = fs::read(out.join("2024-W47.r1.ja.html")).unwrap();
    assert!(page == fetch(&site.server, "/api/v1/reports/2024-W47?lang=ja").1);
    let printed = fs::read(out.join("2024-W47.r1.ja.pdf")).unwrap();
    assert!(printed.starts_with(b"%PDF-1.7 ") && printed.ends_with(&page));

    // Once more it is the same, and nothing is written; what analysts write is in the files at once.
    assert_eq!(run(CLOSES + 3601), 0);
    run(CLOSES + 2 * DAY);
    assert_eq!(written(&state), 7);
    let notes = json!({"comment": {"en": "as usual", "ja": "例年どおり"}}).to_string();
    let put = site.server.change("PUT", "/api/v1/reports/2024-W47/notes", &["if-match: *"], &notes);
    assert_eq!(put.status, 200, "{}", put.body);
    assert_eq!(run(CLOSES + 2 * DAY + 1), 1);
    assert_eq!((names(&out), written(&state)), (first.clone(), 14), "all have the notes");
    for name in ["2024-W47.r1.ja.html", "2024-W47.r1.ja.pdf"] {
        assert!(String::from_utf8(fs::read(out.join(name)).unwrap()).unwrap().contains("例年どおり"), "{name}");
    }

    // What comes late makes the next revision, beside the first.
    site.send(vec![(MONDAY + DAY + 7200, (0..10).map(|source| tcp_scan(445, 0xc000_0300 + source, 9)).collect())]);
    assert_eq!(run(CLOSES + 2 * DAY + 2), 0, "it is looked at again a day later");
    run(CLOSES + 4 * DAY);
    let second: BTreeSet<_> = first.iter().map(|name| name.replace(".r1.", ".r2.")).collect();
    assert_eq!(names(&out), first.union(&second).cloned().collect());
    let second: Value = serde_json::from_slice(&fs::read(out.join("2024-W47.r2.json")).unwrap()).unwrap();
    assert!(second["revision"] == 2 && !second["changes"].as_array().unwrap().is_empty());

    // What is gone is written again, by a new start as well, which catches up with the last four weeks and no more.
    fs::remove_file(out.join("2024-W47.r2.en.html")).unwrap();
    let mut later = Press::configured(&config, state.clone(), clock.clone()).unwrap();
    clock.0.store((CLOSES + 5 * 7 * DAY) * 1000, Relaxed);
    while later.turn(&goes_on) {}
    assert!(!out.join("2024-W47.r2.en.html").exists());
    clock.0.store((CLOSES + 3 * 7 * DAY) * 1000, Relaxed);
    while later.turn(&goes_on) {}
    assert!(out.join("2024-W47.r2.en.html").exists());
    // A collector that stops makes nothing more.
    fs::remove_file(out.join("2024-W47.r2.en.html")).unwrap();
    let mut stopped = Press::configured(&config, state, clock).unwrap();
    let stops: GoesOn = Arc::new(|| false);
    assert!(stopped.turn(&stops) && stopped.turn(&stops), "it is still due");
    assert!(!out.join("2024-W47.r2.en.html").exists());
}

#[test]
fn the_collector_writes_by_itself_and_stops_in_time() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let out = directory.path().join("out");
    fs::create_dir(&out).unwrap();
    // The last week that is closed, of real time.
    let now = jiff::Timestamp::now().as_second();
    let monday = (now - 3 * DAY - 4 * DAY).div_euclid(7 * DAY) * 7 * DAY + 4 * DAY - 7 * DAY;
    let mut server = Server::in_directory(directory.clone(), settings);
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let day = |day| (monday + day * DAY + 60, (0..10).map(|source| tcp_scan(23, 0xc000_0200 + source, 1)).collect());
    send(&mut client, &mut spool, &(0..7).map(day).collect::<Vec<_>>());
    let range = common::range(monday, monday + 7 * DAY);
    wait(|| is_in_history(&server, &range, 70));
    server.stop();
    drop(server);
    let mut server = Server::in_directory(directory, |config| {
        settings(config);
        config.reports.schedule = Config::default().reports.schedule;
        config.reports.directory = Some(out.clone());
    });
    wait(|| !names(&out).is_empty());
    wait(|| common::sample(&server.metrics(), "martlet_collector_reports_files_total") == Some(1.0));
    let name = names(&out).pop_first().unwrap();
    assert!(name.ends_with(".r1.en.html"), "{name}");
    let time = name.split('.').next().unwrap();
    assert_eq!(server.ok("/api/v1/reports")["reports"][0]["time"], time);
    let begun = std::time::Instant::now();
    server.stop();
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}

#[test]
fn the_check_says_where_nothing_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let (out, file) = (folder.path().join("out"), folder.path().join("c.toml"));
    let check = |settings: &str| {
        fs::write(&file, format!("[reports]\n{settings}")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_martlet-collector"));
        let done = command.args(["check", "--config"]).arg(&file).output().unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let directory = format!("directory = {out:?}\n");
    let (status, said) = check(&directory);
    assert!(status == Some(0) && said.contains("reports.directory") && said.contains("out: No such file"), "{said}");
    fs::create_dir(&out).unwrap();
    assert_eq!(check(&directory), (Some(0), String::new()));
    assert!(names(&out).is_empty(), "nothing is left there");
    fs::set_permissions(&out, fs::Permissions::from_mode(0o500)).unwrap();
    // Nothing keeps root from writing.
    if fs::write(out.join("probe"), "").is_err() {
        assert!(check(&directory).1.contains("Permission denied"));
    }
    fs::set_permissions(&out, fs::Permissions::from_mode(0o700)).unwrap();
    let missing = "formats = [\"pdf\"]\npdf_command = [\"no-such-printer\", \"{html}\", \"{pdf}\"]\n";
    let (status, said) = check(&format!("{directory}{missing}"));
    assert!(status == Some(0) && said.contains("no PDF will be written") && said.contains("no-such-printer"), "{said}");
    for (settings, expected) in [
        (&*format!("{directory}formats = []\n"), "reports.formats = []"),
        (&format!("{directory}languages = []\n"), "reports.languages = []"),
        ("pdf_command = [\"printer\"]\n", "reports.pdf_command"),
        ("languages = [\"fr\"]\n", "fr"),
        ("schedule = [\"day\"]\n", "day"),
    ] {
        let (status, said) = check(settings);
        assert!(status == Some(78) && said.contains(expected), "{settings}: {said}");
    }
}
