//! The program: exit statuses, messages, stopping.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_martlet-collector"))
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = program().args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn check_prints_the_effective_configuration() {
    let (status, out, _) = run(&["check", "--listen", "127.0.0.1:9"]);
    assert_eq!(status, 0);
    let config: martlet_collector::config::Config = toml::from_str(&out).unwrap();
    assert_eq!(config.ingest.listen.port(), 9);
    config.check().unwrap();
}

#[test]
fn check_says_where_each_setting_comes_from() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    std::fs::write(&file, "[live]\nbucket_seconds = 60\n").unwrap();
    let mut command = program();
    command.env("MARTLET_METRICS__TOP_PORTS", "3").args(["check", "--listen", "127.0.0.1:9", "--config"]).arg(&file);
    let out = String::from_utf8(command.output().unwrap().stdout).unwrap();
    for line in [
        "listen = \"127.0.0.1:9\" # --listen".to_owned(),
        "listen = \"127.0.0.1:7461\" # default".to_owned(),
        "top_ports = 3 # MARTLET_METRICS__TOP_PORTS".to_owned(),
        format!("bucket_seconds = 60 # {}:2", file.display()),
    ] {
        assert!(out.lines().any(|found| found == line), "{line} not in\n{out}");
    }
}

#[test]
fn the_shipped_configuration_is_the_default() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/collector.toml");
    let (status, out, error) = run(&["check", "--config", path]);
    assert_eq!(status, 0);
    // Who checks need not be able to write where the collector does.
    assert!(error.lines().all(|line| line.contains("store.data_dir") || line.contains("archive.directory")), "{error}");
    let table = |text: &str| toml::from_str::<toml::Table>(text).unwrap();
    assert_eq!(table(&out), table(&run(&["check"]).1));
    // Every setting is explained there, as a comment with its default.
    let text = std::fs::read_to_string(path).unwrap();
    let uncommented: String = text
        .lines()
        .map(|line| line.strip_prefix("#").filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    let explained: toml::Table = toml::from_str(&uncommented).unwrap();
    let effective: toml::Table = toml::from_str(&out).unwrap();
    assert_eq!(explained, effective);
}

#[test]
fn check_says_what_the_files_of_geo_are() {
    let (_, out, _) = run(&["check"]);
    assert!(out.contains("# regions: iptocc "), "{out}");
    let directory = tempfile::tempdir().unwrap();
    let (config, list) = (directory.path().join("c.toml"), directory.path().join("Example.txt"));
    std::fs::write(&config, format!("[geo]\nscanner_lists = [{list:?}]\n")).unwrap();
    std::fs::write(&list, "192.0.2.0/24\n192.0.2.1\n").unwrap();
    let (status, out, error) = run(&["check", "--config", config.to_str().unwrap()]);
    assert_eq!(status, 0, "{error}");
    assert!(out.contains("# known scanners: networks 2, lists 1\n"), "{out}");
    // What it printed can be used again.
    let again: martlet_collector::config::Config = toml::from_str(&out).unwrap();
    assert_eq!(again.geo.scanner_lists.as_slice(), std::slice::from_ref(&list));
    // A broken file is named, and stops check and start.
    std::fs::write(&list, "192.0.2.0/24\nexample.org\n").unwrap();
    let data = directory.path().join("data");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()];
    for (arguments, expected) in [(&["check"][..], 78), (&serve[..], 1)] {
        let arguments = [arguments, &["--config", config.to_str().unwrap()]].concat();
        let (status, _, error) = run(&arguments);
        assert_eq!(status, expected, "{error}");
        assert!(error.contains("geo.scanner_lists:") && error.contains("Example.txt, line 2:"), "{error}");
    }
    assert!(!data.exists(), "nothing was begun");
}

#[test]
fn a_wrong_configuration_exits_with_78_and_misuse_with_2_and_both_say_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    std::fs::write(&file, "[ingest]\nlissten = \"127.0.0.1:1\"\n").unwrap();
    let (status, _, error) = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(status, 78);
    assert!(error.contains("c.toml") && error.contains("lissten"), "{error}");
    assert!(error.contains("did you mean `listen`?"), "{error}");
    std::fs::write(&file, "[live]\nbucket_seconds = 7\n").unwrap();
    let (status, _, error) = run(&["serve", "--config", file.to_str().unwrap()]);
    assert_eq!(status, 78);
    assert!(error.contains("live.bucket_seconds"), "{error}");
    assert_eq!(run(&["check", "--config", "/nonexistent.toml"]).0, 78);
    assert_eq!(run(&["query", "--config", "/nonexistent.toml", "SELECT 1"]).0, 78);
    assert_eq!(run(&["fly"]).0, 2);
    let (status, out, _) = run(&["--version"]);
    assert_eq!((status, out.trim()), (0, concat!("martlet-collector ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn failures_exit_with_1_and_name_the_culprit() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, _, error) = run(&["serve", "--listen", &address, "--http", "127.0.0.1:0", "--data-dir", data]);
    assert_eq!(status, 1);
    assert!(error.contains(&address), "{error}");
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (status, _, error) =
        run(&["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir", file.to_str().unwrap()]);
    assert_eq!(status, 1);
    assert!(error.contains("data directory") && error.contains(file.to_str().unwrap()), "{error}");
}

#[test]
fn tokens_are_made_shown_once_and_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let token = |arguments: &[&str]| run(&[&["token"], arguments, &["--data-dir", data.to_str().unwrap()]].concat());
    // A directory that is made here might belong to the wrong user.
    let (status, _, error) = token(&["list"]);
    assert!(status == 1 && error.contains("start the collector once"), "{error}");
    std::fs::create_dir(&data).unwrap();
    let (status, made, told) = token(&["create", "--name", "grafana", "--scope", "read", "--expires", "2999-12-31"]);
    assert_eq!(status, 0, "{told}");
    let made = made.trim_end();
    assert!(
        made.starts_with("martlet_") && made.len() == 89 && told.contains("cannot be shown again"),
        "{made} {told}"
    );
    assert_eq!(token(&["create", "--name", "csirt", "--scope", "public", "--organisation", "Example CSIRT"]).0, 0);
    let (status, listed, _) = token(&["list"]);
    assert_eq!(status, 0);
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split("  ").map(str::trim).collect()).collect();
    let cells = |line: usize| lines[line].iter().filter(|cell| !cell.is_empty()).copied().collect::<Vec<_>>();
    assert_eq!((lines.len(), cells(1)[..3].to_vec()), (3, vec!["csirt", "public", "Example CSIRT"]));
    assert_eq!((cells(2)[..3].to_vec(), cells(2)[4]), (vec!["grafana", "read", "default"], "2999-12-31"));
    assert!(!listed.contains(&made[25..]));
    for (arguments, expected, words) in [
        (&["create", "--name", "grafana", "--scope", "read"][..], 1, "already"),
        (&["create", "--name", "a b", "--scope", "read"], 1, "no name"),
        (&["create", "--name", "x", "--scope", "write"], 2, "write"),
        (&["create", "--name", "x", "--scope", "read", "--expires", "2020-01-01"], 2, "the day is over"),
        (&["create", "--name", "x", "--scope", "read", "--expires", "tomorrow"], 2, "--expires"),
        (&["revoke", "nobody"], 1, "no token"),
    ] {
        let (status, out, error) = token(arguments);
        assert!(status == expected && out.is_empty() && error.contains(words), "{arguments:?}: {status} {error}");
    }
    assert_eq!(token(&["revoke", "grafana"]).0, 0);
    assert_eq!(token(&["revoke", "grafana"]).0, 1);
    assert_eq!(token(&["create", "--name", "grafana", "--scope", "admin"]).0, 0);
}

#[test]
fn an_address_that_others_reach_gets_warnings() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let check = ["check", "--http", "0.0.0.0:7461", "--data-dir", data];
    let (status, _, error) = run(&check);
    assert_eq!(status, 0);
    assert!(error.contains("there is no token") && error.contains("unencrypted"), "{error}");
    assert_eq!(run(&["token", "create", "--name", "x", "--scope", "read", "--data-dir", data]).0, 0);
    let (_, _, error) = run(&check);
    assert!(!error.contains("there is no token") && error.contains("unencrypted"), "{error}");
    assert_eq!(run(&["check", "--http", "127.0.0.1:7461", "--data-dir", data]).2, "");
    // Nobody runs there.
    let (status, _, error) = run(&["status", "--http", "127.0.0.1:9", "--data-dir", data]);
    assert!(status == 1 && error.contains("does the daemon run"), "{error}");
}

#[test]
fn a_signal_stops_it_cleanly_and_the_manager_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut child = program()
        .args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"])
        .arg(directory.path().join("data"))
        .env("NOTIFY_SOCKET", &socket)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut buffer = [0; 64];
    let length = manager.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"READY=1");
    let begun = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let length = manager.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"STOPPING=1");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(directory.path().join("data").is_dir());
}

#[test]
fn a_hangup_takes_what_can_be_taken_and_names_the_rest() {
    use std::io::{BufRead, BufReader};
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let data = directory.path().join("data");
    let settings = ["--listen", "127.0.0.1:0", "--http", &free, "--data-dir", data.to_str().unwrap()];
    std::fs::write(&file, "[log]\nfilter = \"info\"\n").unwrap();
    let mut command = program();
    command.arg("serve").args(settings).arg("--config").arg(&file);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains("sensors: ")).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let mut hangup = |text: &str| {
        std::fs::write(&file, text).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        let mut said = String::new();
        // What is wrong with a file is told in several lines, the last of which says what was meant.
        while !said.contains("read again; ") && !said.contains("did you mean") {
            said += &lines.next().unwrap();
        }
        said
    };
    let said = hangup("[log]\nfilter = \"warn,martlet_collector=info\"\n[live]\nbucket_seconds = 60\n");
    for part in ["log.filter has changed, and is in effect", "live.bucket_seconds has changed, and waits for a restart"]
    {
        assert!(said.contains(part), "{said}");
    }
    assert!(said.contains("1 changed settings are in effect, 1 wait"), "{said}");
    let said = hangup("[live]\nbucket_secods = 60\n");
    assert!(said.contains("all stays as it is") && said.contains("did you mean `bucket_seconds`?"), "{said}");
    // It goes on, and says so.
    let (status, out, error) = run(&[&["status"][..], &settings].concat());
    assert!(
        status == 0 && out.contains("running, version") && out.contains("no sensor has reported yet"),
        "{out}{error}"
    );
    let (_, out, _) = run(&[&["status", "--json"][..], &settings].concat());
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["status"]["journal"]["state"], "running");
    assert!(json["disk"]["free_bytes"].as_u64() > Some(0), "{json}");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
