//! The API's description holds: Schemathesis reads it, asks whatever it allows and much that it does not, and compares.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "page/feed.rs"]
mod feed;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use feed::Sensor;
use martlet_tests::daemon::{Collector, eventually, packets, run_ok};
use martlet_tests::program::{Outcome, program, run};
use martlet_tests::python;

/// What an answer may not do. Left out is that all allowed data is accepted: that `from` lies before `to` no schema can say.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
    response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance,ignored_auth";
/// Requests of each kind to each path: less than a minute of work for each run.
const EXAMPLES: &str = "8";

/// Schemathesis, where `scripts/test.sh` has put it.
fn schemathesis() -> Option<PathBuf> {
    python::interpreter().map(|interpreter| interpreter.with_file_name("st"))
}

/// A collector with traffic of two classes: a drill, and two sensors that watch now, one of which has lost something.
fn with_traffic(settings: &[(&str, &Path)]) -> Collector {
    let collector = Collector::start_with(settings);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("drill.pcap");
    run_ok(program("martlet-drill"), &["--out", file.to_str().unwrap(), "--packets", "20000", "--quiet"]);
    let ingest = collector.ingest.to_string();
    run_ok(
        program("martlet-sensor"),
        &["replay", "--collector", &ingest, "--class", "drill", "--sensor", "drill-1", file.to_str().unwrap()],
    );
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let hour = now - now % 3600;
    for (number, name) in [(1, "alpha"), (2, "beta")] {
        let mut sensor = Sensor::connect(collector.ingest, number, name);
        sensor.watch(hour - 30 * 3600, hour - 20 * 3600, 9, 1);
        sensor.lose(hour - 20 * 3600, hour - 19 * 3600, 60);
        sensor.watch(hour - 2 * 3600, hour, 9, 0);
    }
    collector
}

/// Makes a token of a scope.
fn token(collector: &Collector, scope: &str) -> String {
    let data = collector.state().to_str().unwrap();
    let arguments = ["token", "create", "--name", scope, "--scope", scope, "--data-dir", data];
    let token = run_ok(program("martlet-collector"), &arguments).trim_end().to_owned();
    let url = format!("http://{}/api/v1/status", collector.http);
    eventually("the token to be known", || {
        let header = format!("Authorization: Bearer {token}");
        let mut curl = Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", &header, &url]);
        curl.output().unwrap().stdout == b"200"
    });
    token
}

/// How a question that is none may be refused: its own list, and 414 where so much is asked that it is too long.
const REFUSALS: &str = "[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 414, 415, 422, 428, 429, '5xx']
";

/// Runs Schemathesis with a description, which is an address or a file.
fn compare(schemathesis: &Path, collector: &Collector, description: &str, arguments: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("schemathesis.toml"), REFUSALS).unwrap();
    let mut command = Command::new(schemathesis);
    command.current_dir(folder.path()).args(["run", description, "--url", &format!("http://{}", collector.http)]);
    // One worker: two that parse Python at a time crash CPython 3.11 now and then ("AST constructor recursion depth mismatch").
    command.args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--seed", "1", "--workers", "1"]);
    command.args(["--request-timeout", "10", "--continue-on-failure", "--no-shrink", "--warnings", "off"]);
    run(command.args(arguments), b"")
}

/// Holds everything that the collector's description has against its answers.
fn examine(schemathesis: &Path, collector: &Collector, token: Option<&str>) {
    let description = format!("http://{}/api/v1/openapi.json", collector.http);
    let header = token.map(|token| format!("Authorization: Bearer {token}"));
    // An answer of the stream goes on for minutes, and whoever waits for its end learns nothing: collector/tests/stream.rs examines it.
    let mut arguments = vec!["--max-examples", EXAMPLES, "--exclude-path", "/api/v1/stream"];
    arguments.extend(header.iter().flat_map(|header| ["--header", header.as_str()]));
    let outcome = compare(schemathesis, collector, &description, &arguments);
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.text(), outcome.stderr);
    // It has really asked, and of every other path.
    assert!(outcome.text().contains("Tested: 32"), "{}", outcome.text());
}

/// That a description which is wrong in one word is found out: else the above would say nothing.
fn examine_a_wrong_one(schemathesis: &Path, collector: &Collector) {
    let mut description = collector.api("/api/v1/openapi.json");
    description["components"]["schemas"]["PacketsBytes"]["properties"]["packets"]["type"] = "string".into();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.json");
    fs::write(&file, description.to_string()).unwrap();
    let arguments = ["--max-examples", "3", "--include-path", "/api/v1/ports"];
    let outcome = compare(schemathesis, collector, file.to_str().unwrap(), &arguments);
    assert_eq!(outcome.code, Some(1), "{}\n{}", outcome.text(), outcome.stderr);
    assert!(outcome.text().contains("Response violates schema"), "{}", outcome.text());
}

#[test]
fn answers_are_as_described_whoever_asks() {
    let Some(schemathesis) = schemathesis() else { return };
    let open = with_traffic(&[]);
    eventually("the drill in the live view", || packets(&open.api("/api/v1/status"), "drill") == 20_000);
    examine(&schemathesis, &open, None);
    examine_a_wrong_one(&schemathesis, &open);
    assert_eq!(open.stop(), Some(0));

    // Where nobody needs no token, the description says so, and what is shown without one is found out.
    let closed = with_traffic(&[("MARTLET_HTTP__LOOPBACK_SCOPE", Path::new("none"))]);
    for scope in ["public", "admin"] {
        examine(&schemathesis, &closed, Some(&token(&closed, scope)));
    }
    assert_eq!(closed.stop(), Some(0));
}
