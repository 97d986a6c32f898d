//! A joint exercise on the command line: the file is checked, and a review of what real HTTP servers tell is what happened.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

const FILE: &str = r#"
title = "Spring exercise"
scenario = "code-red"
seed = 3
start = "2026-11-30T00:00:00Z"
[[inject]]
at = "6h"
text = "A vendor tells of a hole."
[[inject]]
at = "12h"
text = "A colleague asks about tcp/502."
scenario = "research-sweep"
[[participant]]
name = "kyoto"
sensors = 2
dark = "198.18.0.0/24"
[[participant]]
name = "osaka"
sensors = 1
dark = "198.18.4.0/24"
"#;

#[expect(clippy::unwrap_used, reason = "a program that does not start should fail the test")]
fn drill(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_martlet-drill")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[expect(clippy::unwrap_used, reason = "a test without its file should fail")]
fn shared_file(dir: &Path) -> PathBuf {
    let path = dir.join("exercise.toml");
    std::fs::write(&path, FILE).unwrap();
    path
}

/// A server that answers with these bodies in turn, and keeps the heads of the requests.
#[expect(clippy::unwrap_used, reason = "a server that cannot serve should fail the test")]
fn serve(bodies: Vec<Value>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, heads) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let kept = heads.clone();
    std::thread::spawn(move || {
        for body in bodies {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            kept.lock().unwrap().push(text(&head));
            let body = body.to_string();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
                .unwrap();
        }
    });
    (address, heads)
}

fn event(kind: &str, port: u16, detected: &str) -> Value {
    json!({
        "id": format!("{port:032x}"), "class": "drill", "type": kind, "ip": 4, "protocol": "tcp", "port": port,
        "mark": "none", "state": "acknowledged", "severity": "high", "owner": "ito", "onset": "2026-11-30T05:00:00Z",
        "detected": detected, "recorded": "2026-12-01T09:00:00Z", "labels": ["single_sensor"],
        "estimates": {
            "rate_per_hour": {"value": 1.7, "low": 1.5, "high": 1.9},
            "doubling_seconds": {"value": 1467.0, "low": 1313.0, "high": 1663.0},
            "infected": null, "susceptible": null
        },
        "history": [
            {"at": "2026-12-01T09:00:00Z", "by": "martlet", "action": "detected", "note": null},
            {"at": "2026-12-01T09:12:30Z", "by": "ito", "action": "acknowledged", "note": "looking"}
        ],
        "more": "a later version may tell more"
    })
}

#[test]
fn a_check_says_what_everybody_will_see() {
    let dir = tempfile::tempdir().unwrap();
    let path = shared_file(dir.path());
    let output = drill(&["exercise", "check", path.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for line in [
        "participant osaka: 1 sensors on 198.18.4.0/24",
        "4.00 h: code-red on tcp/80; must be called [Outbreak]",
        "12.00 h: A colleague",
    ] {
        assert!(text(&output.stdout).contains(line), "{line}: {}", text(&output.stdout));
    }
    let output =
        drill(&["exercise", "run", path.to_str().unwrap(), "--participant", "nara", "--collector", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("there are kyoto, osaka"), "{}", text(&output.stderr));
}

#[test]
fn a_review_tells_who_called_what_and_when_and_who_missed_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = shared_file(dir.path());
    // Kyoto calls the worm six hours after its onset at 04:00, tells of it on a second page, and takes the sweep for a worm.
    let (kyoto, asked) = serve(vec![
        json!({"events": [event("outbreak", 502, "2026-11-30T12:30:00Z")], "next_cursor": "abc"}),
        json!({"events": [
            event("outbreak", 80, "2026-11-30T10:00:00Z"),
            event("surge", 9, "2026-11-30T03:00:00Z"),
            event("outbreak", 80, "2026-10-01T00:00:00Z")
        ], "next_cursor": null}),
    ]);
    let (osaka, _) = serve(vec![json!({"events": [], "next_cursor": null})]);
    let token = dir.path().join("token");
    std::fs::write(&token, "martlet_secret\n").unwrap();
    let arguments = [
        "review".to_owned(),
        path.to_str().unwrap().to_owned(),
        format!("--collector=kyoto=http://{kyoto}/"),
        format!("--collector=osaka=http://{osaka}"),
        format!("--token-file=kyoto={}", token.display()),
        "--json".to_owned(),
    ];
    let output = drill(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let review: Value = serde_json::from_slice(&output.stdout).unwrap();
    let worm = &review["injects"][0];
    assert_eq!((&worm["name"], &worm["onset"]), (&"code-red".into(), &"2026-11-30T04:00:00Z".into()));
    let call = &worm["by_collector"]["kyoto"]["calls"][0];
    assert_eq!((&call["verdict"], &call["hours_after_onset"]), (&"right".into(), &6.0.into()));
    // With a = 358 / 60 * 359000 / 2^32 a second: doublings in six hours, and the logistic curve from 10 hosts.
    let grown = 358.0 / 60.0 * 359_000.0 / 4_294_967_296.0 * 21_600.0_f64;
    let odds = 10.0 / 358_990.0 * grown.exp();
    assert!((call["doublings_after_onset"].as_f64().unwrap() - grown / 2.0_f64.ln()).abs() < 1e-6);
    assert!((call["infected_share"].as_f64().unwrap() - odds / (1.0 + odds)).abs() < 1e-6);
    assert_eq!(worm["by_collector"]["kyoto"]["missed"], json!([]));
    assert_eq!(
        worm["by_collector"]["kyoto"]["calls"].as_array().unwrap().len(),
        1,
        "October's event is another drill's"
    );
    assert_eq!(worm["by_collector"]["osaka"]["missed"], json!(["outbreak"]));
    assert_eq!(review["injects"][1]["by_collector"]["kyoto"]["calls"][0]["verdict"], "wrong");
    assert_eq!(review["unexplained"]["kyoto"][0]["port"], 9);

    let asked = asked.lock().unwrap();
    assert!(asked[0].starts_with("GET /api/v1/events?class=drill&limit=1000 HTTP/1.1"), "{}", asked[0]);
    assert!(asked[1].contains("&cursor=abc ") && asked[1].contains("Bearer martlet_secret"), "{}", asked[1]);
}

#[test]
fn a_review_reads_as_a_timeline_and_says_who_did_not_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = shared_file(dir.path());
    let (kyoto, _) =
        serve(vec![json!({"events": [event("outbreak", 80, "2026-11-30T10:00:00Z")], "next_cursor": null})]);
    let collectors = [format!("kyoto=http://{kyoto}"), "osaka=http://127.0.0.1:9".to_owned()];
    let output =
        drill(&["review", path.to_str().unwrap(), "--collector", &collectors[0], "--collector", &collectors[1]]);
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    let order = [
        "4.00 h  onset of code-red on tcp/80",
        "6.00 h  inject: A vendor tells of a hole.",
        "10.00 h  kyoto called outbreak for code-red, 6.00 h after its onset, 15.5 doublings",
        "acknowledged by ito 12.5 min after it was recorded: looking",
        "12.00 h  onset of research-sweep on tcp/502",
        "osaka could not be asked",
    ];
    let places: Vec<_> =
        order.iter().map(|line| printed.find(line).unwrap_or_else(|| panic!("{line}: {printed}"))).collect();
    assert!(places.is_sorted(), "{printed}");
}
