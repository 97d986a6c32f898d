//! Enrolment with the real programs: from a token to counts, and everything that must not work.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use martlet_tests::capture::{Order, ethernet, ipv4, pcap, tcp};
use martlet_tests::daemon::{Collector, Daemon, eventually, packets, root_with, run_ok};
use martlet_tests::network::{DARK, Network, SCANNER};
use martlet_tests::program::{Outcome, program, run};
use serde_json::Value;

/// How soon a revocation is to take effect.
const REVOKED_WITHIN: Duration = Duration::from_secs(2);
/// Packets of the capture that is sent here.
const PACKETS: u64 = 40;

/// A collector that enrols sensors under 127.0.0.1, and room for their files.
struct Setup {
    collector: Collector,
    folder: tempfile::TempDir,
}

impl Setup {
    fn new(settings: &[(&str, &str)]) -> Setup {
        let mut all = vec![("MARTLET_ENROLL__NAMES", Path::new("[\"127.0.0.1\"]"))];
        all.extend(settings.iter().map(|(key, value)| (*key, Path::new(value))));
        let folder = tempfile::tempdir().unwrap();
        let syn = tcp(40_000, 23, 7, 2);
        let frames: Vec<Vec<u8>> =
            (0..PACKETS).map(|_| ethernet(0x0800, &ipv4(6, [203, 0, 113, 9], [198, 18, 0, 7], &syn))).collect();
        fs::write(folder.path().join("scan.pcap"), pcap(Order::Little, 1, &frames)).unwrap();
        Setup { collector: Collector::start_with(&all), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `martlet-collector enroll ...` beside the collector that runs.
    fn enroll(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(program("martlet-collector"));
        command.arg("enroll").args(arguments).arg("--data-dir").arg(self.collector.state());
        run(&mut command, b"")
    }

    fn token(&self, arguments: &[&str]) -> String {
        let outcome = self.enroll(&[&["create"], arguments].concat());
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert_eq!(outcome.text().lines().count(), 1);
        outcome.text().to_owned()
    }

    /// `martlet-sensor enroll` with the token on standard input; its files are named after the sensor.
    fn sensor(&self, files: &str, token: &str, further: &[&str]) -> Outcome {
        let mut command = Command::new(program("martlet-sensor"));
        command.args(["enroll", "--collector", &self.collector.ingest.to_string(), "--token-file", "-", "--state-dir"]);
        command.arg(self.path(files)).arg("--config").arg(self.path(&format!("{files}.toml"))).args(further);
        run(&mut command, token.as_bytes())
    }

    fn enrol(&self, name: &str) {
        // What the package brings gives way: nobody has said anything in it.
        fs::write(self.path(&format!("{name}.toml")), include_str!("../../systemd/sensor.toml")).unwrap();
        let outcome = self.sensor(name, &self.token(&["--name", name]), &["--interface", "lo"]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    }

    /// Sends the capture under a name with somebody's certificate.
    fn replay(&self, files: &str, name: &str, further: &[&str]) -> Command {
        let tls = self.path(files).join("tls");
        let mut command = Command::new(program("martlet-sensor"));
        command.args(["replay", "--collector", &self.collector.ingest.to_string(), "--sensor", name]);
        command.arg("--ca").arg(tls.join("ca.pem")).arg("--certificate").arg(tls.join("sensor.pem"));
        command.arg("--key").arg(tls.join("sensor.pem")).args(["--observe", "198.18.0.0/24"]).args(further);
        command.arg(self.path("scan.pcap"));
        command
    }

    /// The same, for as long as it takes until something is said on standard error, which is returned.
    fn complaint(&self, files: &str, name: &str) -> String {
        use std::io::{BufRead, BufReader};
        let mut child = self.replay(files, name, &[]).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let _ = child.kill();
        child.wait().unwrap();
        line
    }

    fn metric(&self, family: &str, label: &str, value: &str) -> f64 {
        self.collector.metric(&format!("martlet_collector_{family}{{{label}=\"{value}\"}}"))
    }

    fn imported(&self) -> u64 {
        packets(&self.collector.api("/api/v1/status"), "import")
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Asserts that enrolment failed for a reason.
fn assert_refused(outcome: &Outcome, code: i32, words: &str) {
    assert_eq!(outcome.code, Some(code), "{words}: {}", outcome.stderr);
    assert!(outcome.stderr.contains(words), "{words}: {}", outcome.stderr);
}

#[test]
fn a_token_works_once_and_whatever_is_wrong_is_said() {
    let setup = Setup::new(&[]);
    let token = setup.token(&["--name", "tokyo-1", "--group", "tokyo", "--economy", "JP", "--ttl", "1h"]);
    let outcome = setup.sensor("tokyo-1", &token, &["--interface", "lo", "--observe", "198.18.0.0/24"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    for words in
        ["tokyo-1 is enrolled", "group=tokyo", "<- watched, as asked for", "256 IPv4 addresses", "Start it with"]
    {
        assert!(outcome.text().contains(words), "{words}: {}", outcome.text());
    }
    let tls = setup.path("tokyo-1").join("tls");
    let secret = [tls.join("sensor.pem"), tls.join("ca.pem"), setup.collector.state().join("ca/authority.pem")];
    assert_eq!(secret.map(|file| mode(&file)), [0o600; 3]);
    let config = setup.path("tokyo-1.toml");
    let checked = run_ok(program("martlet-sensor"), &["check", "--config", config.to_str().unwrap()]);
    assert!(checked.contains("renew = true") && checked.contains("posture = \"silent\""), "{checked}");

    let outcome = run(&mut setup.replay("tokyo-1", "tokyo-1", &[]), b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    eventually("the packets to be counted", || setup.imported() == PACKETS);
    let state = setup.collector.state().to_str().unwrap();
    let sensors = run_ok(program("martlet-collector"), &["sensor", "list", "--json", "--data-dir", state]);
    let sensors: Value = serde_json::from_str(&sensors).unwrap();
    let labels = serde_json::json!({ "group": "tokyo", "economy": "JP" });
    assert_eq!(sensors["tokyo-1"]["labels"], labels);

    // Each of the wrong ones, with what it says and how it is counted.
    let again = |token: &str| setup.sensor("other", token, &["--interface", "lo"]);
    assert_refused(&again(&token), 1, "was used before");
    let short = setup.token(&["--name", "late", "--ttl", "1s"]);
    thread::sleep(Duration::from_millis(1100));
    assert_refused(&again(&short), 1, "has expired");
    let revoked = setup.token(&["--name", "gone"]);
    assert_eq!(setup.enroll(&["revoke", "gone"]).code, Some(0));
    assert_refused(&again(&revoked), 1, "was revoked");
    let flip = |text: &str, at: usize| {
        let digit = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
        format!("{}{digit}{}", &text[..at], &text[at + 1..])
    };
    let good = setup.token(&["--name", "other"]);
    assert_refused(&again(&flip(&good, 10)), 1, "the token is not valid");
    assert_refused(&again(&flip(&good, 100)), 1, "does not have the CA that the token names");
    assert_refused(&again(&good[..60]), 2, "is not whole");
    let name = ["--interface", "lo", "--server-name", "collector.example"];
    assert_refused(&setup.sensor("other", &good, &name), 1, "for other names");
    assert!(!setup.path("other").join("tls/sensor.pem").exists() && !setup.path("other.toml").exists());
    // A sensor that is configured is not overwritten, and the token still works.
    fs::write(setup.path("other.toml"), "mine").unwrap();
    assert_refused(&again(&good), 2, "is there already");
    let kept = setup.sensor("other", &good, &["--keep-config"]);
    assert_eq!((kept.code, fs::read_to_string(setup.path("other.toml")).unwrap().as_str()), (Some(0), "mine"));
    for (outcome, count) in
        [("enrolled", 2.0), ("used", 1.0), ("expired", 1.0), ("revoked", 1.0), ("not_valid", 1.0), ("failed", 0.0)]
    {
        assert!((setup.metric("enrolments_total", "outcome", outcome) - count).abs() < 0.5, "{outcome}");
    }

    let listed: Value = setup.enroll(&["list", "--json"]).json();
    let states: Vec<_> = listed["certificates"].as_array().unwrap().iter().map(|of| of["state"].clone()).collect();
    assert_eq!(states, ["valid", "valid"]);
    let open = listed["tokens"].as_array().unwrap().iter().filter(|of| of["state"] == "open").count();
    assert_eq!((open, listed["tokens"].as_array().unwrap().len()), (0, 4));
    assert!(setup.enroll(&["list"]).text().contains("tokyo-1"));
    assert_eq!(setup.collector.stop(), Some(0));
}

#[test]
fn without_a_certificate_nobody_is_served_but_to_enrol_and_a_collector_may_not_offer_it() {
    let setup = Setup::new(&[]);
    setup.enrol("a");
    let ca = setup.path("a/tls/ca.pem");
    let mut command = Command::new(program("martlet-sensor"));
    command.args(["replay", "--collector", &setup.collector.ingest.to_string(), "--sensor", "a", "--ca"]).arg(ca);
    command.args(["--observe", "198.18.0.0/24"]).arg(setup.path("scan.pcap"));
    let child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let daemon = KillOnDrop(child);
    eventually("the refusal", || setup.metric("ingest_tls_failures_total", "reason", "no_certificate") > 0.5);
    drop(daemon);
    assert_eq!(setup.imported(), 0);
    let token = setup.token(&["--name", "b"]);
    let plain = Setup { collector: Collector::start(), folder: tempfile::tempdir().unwrap() };
    assert_refused(&plain.sensor("b", &token, &["--interface", "lo"]), 1, "does not speak TLS");
}

struct KillOnDrop(std::process::Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_certificate_speaks_for_its_own_name_and_a_revoked_one_is_cut_off_at_once() {
    let setup = Setup::new(&[]);
    setup.enrol("honest");
    setup.enrol("thief");
    let told = setup.complaint("thief", "honest");
    assert!(told.contains("not the name in our certificate"), "{told}");
    assert!((setup.metric("ingest_violations_total", "reason", "other_name") - 1.0).abs() < 0.5);
    assert_eq!(setup.imported(), 0);

    // One that sends for as long as the capture took, which is longer than this test.
    let live = KillOnDrop(
        setup.replay("thief", "thief", &["--speed", "1"]).stderr(std::process::Stdio::null()).spawn().unwrap(),
    );
    let connections = || setup.collector.metric("martlet_collector_ingest_connections");
    eventually("the connection", || connections() > 0.5);
    let revoked = Instant::now();
    assert_eq!(setup.enroll(&["revoke", "thief"]).code, Some(0));
    eventually("the end of the connection", || setup.metric("ingest_violations_total", "reason", "revoked") > 0.5);
    assert!(revoked.elapsed() < REVOKED_WITHIN + Duration::from_secs(1), "{:?}", revoked.elapsed());
    drop(live);
    let told = setup.complaint("thief", "thief");
    assert!(told.contains("is revoked"), "{told}");
    assert!(setup.metric("ingest_tls_failures_total", "reason", "revoked") > 0.5);
    // The other goes on; and a start knows of what was revoked.
    let outcome = run(&mut setup.replay("honest", "honest", &[]), b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

#[test]
fn sensors_live_through_a_new_ca_and_not_through_one_that_replaces_the_old() {
    let setup = Setup::new(&[]);
    setup.enrol("early");
    let before = setup.token(&["--name", "between"]);
    assert_eq!(setup.enroll(&["rotate-ca"]).code, Some(0));
    thread::sleep(REVOKED_WITHIN);
    for (name, token) in [("between", before), ("late", setup.token(&["--name", "late"]))] {
        let outcome = setup.sensor(name, &token, &["--interface", "lo"]);
        assert_eq!(outcome.code, Some(0), "{name}: {}", outcome.stderr);
    }
    let ca = |name: &str| fs::read_to_string(setup.path(name).join("tls/ca.pem")).unwrap();
    assert!(ca("early") != ca("late") && ca("between") == ca("late"));
    for name in ["early", "between", "late"] {
        let outcome = run(&mut setup.replay(name, name, &[]), b"");
        assert_eq!(outcome.code, Some(0), "{name}: {}", outcome.stderr);
    }
    assert_eq!(setup.enroll(&["rotate-ca", "--distrust"]).code, Some(0));
    thread::sleep(REVOKED_WITHIN);
    for name in ["early", "late"] {
        let told = setup.complaint(name, name);
        assert!(told.contains("not signed by any of uplink.tls.ca"), "{name}: {told}");
    }
    setup.enrol("again");
    assert_eq!(run(&mut setup.replay("again", "again", &[]), b"").code, Some(0));
}

/// From nothing to counted packets with two commands, in two namespaces; then through the ends of several certificates.
#[test]
fn a_sensor_enrols_counts_and_renews_by_itself() {
    if !root_with(&["ip", "hping3", "curl"]) {
        return;
    }
    let network = Network::make();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut command = Network::command(&network.scanner, program("martlet-collector"));
    command.args(["serve", "--listen", &format!("{SCANNER}:7460"), "--http", "127.0.0.1:7461", "--data-dir"]);
    command.arg(path("collector")).env("MARTLET_ENROLL__NAMES", format!("[\"{SCANNER}\"]"));
    command.env("MARTLET_ENROLL__SENSOR_LIFE", "16s").env("MARTLET_ENROLL__SERVER_LIFE", "30s");
    let _collector = Daemon::start(&mut command);
    let get = |namespace: &str, url: &str| {
        let mut command = Network::command(namespace, "curl");
        let outcome = run(command.args(["--silent", "--fail", "--max-time", "10", url]), b"");
        (outcome.code == Some(0)).then(|| outcome.text().to_owned())
    };
    let of_collector = |what: &str| get(&network.scanner, &format!("127.0.0.1:7461{what}"));
    eventually("the collector to be ready", || of_collector("/readyz").is_some());
    let state = path("collector");
    let token = run_ok(
        program("martlet-collector"),
        &["enroll", "create", "--name", "dark", "--data-dir", state.to_str().unwrap()],
    );
    fs::write(path("token"), &token).unwrap();

    let config = path("sensor.toml");
    let mut enroll = Network::command(&network.sensor, program("martlet-sensor"));
    enroll.args(["enroll", "--collector", &format!("{SCANNER}:7460"), "--token-file"]).arg(path("token"));
    enroll.arg("--config").arg(&config).arg("--state-dir").arg(path("sensor")).args(["--observe", DARK]);
    let outcome = run(&mut enroll, b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    // Nobody named it: there is no default route here, and it is the only one that could be.
    assert!(outcome.text().contains("dark0"), "{}", outcome.text());
    let identity = path("sensor/tls/sensor.pem");
    let first = fs::read_to_string(&identity).unwrap();
    let mut command = Network::command(&network.sensor, program("martlet-sensor"));
    command.arg("run").arg("--config").arg(&config).env("MARTLET_WINDOW__SECONDS", "1");
    let sensor = Daemon::start(&mut command);
    let started = Instant::now();

    let sum = |what: &str| {
        let text = get(&network.sensor, "127.0.0.1:7462/metrics").unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix(what)?.trim().parse::<f64>().ok())
    };
    let counted = || {
        let status: Value = serde_json::from_str(&of_collector("/api/v1/status").unwrap()).unwrap();
        packets(&status, "real")
    };
    eventually("the connection", || sum("martlet_sensor_uplink_connected ") == Some(1.0));
    let scan = || network.scan("hping3 -S -p 23 -c 5 -i u20000 198.18.0.7");
    scan();
    eventually("the first packets", || counted() == 5);
    // Through the ends of two certificates, and the collector's own comes of age.
    thread::sleep(Duration::from_secs(30).saturating_sub(started.elapsed()));
    eventually("the connection", || sum("martlet_sensor_uplink_connected ") == Some(1.0));
    scan();
    eventually("the packets behind the renewals", || counted() == 10);
    assert!(sum("martlet_sensor_certificate_renewals_total{outcome=\"renewed\"} ").unwrap() >= 2.0);
    assert_eq!(sum("martlet_sensor_certificate_renewals_total{outcome=\"refused\"} "), Some(0.0));
    assert!((0.0..=16.0).contains(&sum("martlet_sensor_certificate_remaining_seconds ").unwrap()));
    let metrics = of_collector("/metrics").unwrap();
    let of_dark = |what: &str| {
        let series = format!("martlet_collector_sensor_certificate_{what}_seconds{{sensor=\"dark\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse::<f64>().ok())
    };
    assert_eq!(of_dark("life"), Some(16.0));
    assert!(of_dark("remaining").is_some_and(|left| (0.0..=16.0).contains(&left)), "{metrics}");
    let ended = "martlet_collector_ingest_violations_total{reason=\"certificate_expired\"} ";
    let ended = metrics.lines().find_map(|line| line.strip_prefix(ended)).unwrap();
    assert!(ended.parse::<f64>().unwrap() >= 1.0, "{ended}");
    let now = fs::read_to_string(&identity).unwrap();
    let key = |text: &str| text[..text.find("-----BEGIN CERTIFICATE").unwrap()].to_owned();
    assert!(key(&first) != key(&now) && mode(&identity) == 0o600);
    assert_eq!(sensor.stop(), Some(0));
}
