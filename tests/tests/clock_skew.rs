//! A sensor whose clock is wrong, by the real programs under `faketime`: what an operator sees, and what still works.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use martlet_tests::capture::{Order, ethernet, ipv4, pcap, tcp};
use martlet_tests::daemon::{Collector, packets, root_with};
use martlet_tests::program::{Outcome, program, run};

/// Packets of the capture that is sent here.
const PACKETS: u64 = 40;
/// A day and ten minutes, in seconds.
const DAY: i64 = 87_000;

struct Setup {
    collector: Collector,
    folder: tempfile::TempDir,
}

impl Setup {
    fn new() -> Setup {
        let folder = tempfile::tempdir().unwrap();
        let syn = tcp(40_000, 23, 7, 2);
        let frames: Vec<Vec<u8>> =
            (0..PACKETS).map(|_| ethernet(0x0800, &ipv4(6, [203, 0, 113, 9], [198, 18, 0, 7], &syn))).collect();
        fs::write(folder.path().join("scan.pcap"), pcap(Order::Little, 1, &frames)).unwrap();
        let names = [("MARTLET_ENROLL__NAMES", Path::new("[\"127.0.0.1\"]"))];
        Setup { collector: Collector::start_with(&names), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn token(&self, name: &str) -> String {
        let mut command = Command::new(program("martlet-collector"));
        command.args(["enroll", "create", "--name", name, "--data-dir"]).arg(self.collector.state());
        let outcome = run(&mut command, b"");
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.text().to_owned()
    }

    /// Enrols a sensor whose clock is ahead by so many seconds.
    fn enrol(&self, name: &str, token: &str, ahead: i64) -> Outcome {
        let mut command = sensor(ahead);
        command.args(["enroll", "--collector", &self.collector.ingest.to_string(), "--token-file", "-", "--force"]);
        command.args(["--interface", "lo", "--state-dir"]).arg(self.path(name));
        run(command.arg("--config").arg(self.path(&format!("{name}.toml"))), token.as_bytes())
    }

    /// Sends the capture.
    fn replay(&self, name: &str, ahead: i64) -> Command {
        let tls = self.path(name).join("tls");
        let mut command = sensor(ahead);
        command.args(["replay", "--collector", &self.collector.ingest.to_string(), "--sensor", name]);
        command.arg("--ca").arg(tls.join("ca.pem")).arg("--certificate").arg(tls.join("sensor.pem"));
        command.arg("--key").arg(tls.join("sensor.pem")).args(["--observe", "198.18.0.0/24"]);
        command.arg(self.path("scan.pcap"));
        command
    }

    fn imported(&self) -> u64 {
        packets(&self.collector.api("/api/v1/status"), "import")
    }
}

/// A sensor's program whose clock is ahead by so many seconds. What it measures durations with goes on as ever.
fn sensor(ahead: i64) -> Command {
    let mut command = Command::new(program("martlet-sensor"));
    // What the program `faketime` does, without a process in between. The dynamic linker knows what $LIB is.
    command.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1").env("FAKETIME", format!("{ahead:+}s"));
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command
}

#[test]
fn a_clock_that_is_a_day_off_is_told_of_and_the_sensor_works() {
    if !root_with(&["faketime"]) {
        return;
    }
    let setup = Setup::new();
    let cases = [("behind", -DAY, "1 d 0 h behind"), ("ahead", DAY, "1 d 0 h ahead of"), ("late", -330, "5 min ")];
    for (name, ahead, words) in cases {
        let outcome = setup.enrol(name, &setup.token(name), ahead);
        assert_eq!(outcome.code, Some(0), "{name}: {}", outcome.stderr);
        let told = outcome.text().lines().find(|line| line.starts_with("warning: ")).unwrap();
        let clock = format!("this machine's clock is {words}");
        assert!(told.contains(&clock) && told.contains("set one of them"), "{clock}: {told}");
    }
    // Below five minutes there is nothing to say.
    for ahead in [-270, 270] {
        let outcome = setup.enrol("near", &setup.token("near"), ahead);
        assert!(
            outcome.code == Some(0) && !outcome.text().contains("warning"),
            "{} {}",
            outcome.text(),
            outcome.stderr
        );
    }
    // Certificates hold for either.
    for (number, (name, ahead)) in (1..).zip([("behind", -DAY), ("ahead", DAY)]) {
        let outcome = run(&mut setup.replay(name, ahead), b"");
        assert_eq!(outcome.code, Some(0), "{name}: {}", outcome.stderr);
        martlet_tests::daemon::eventually("the packets", || setup.imported() == number * PACKETS);
    }
}

#[test]
fn a_clock_by_which_no_certificate_holds_is_named_with_the_difference() {
    if !root_with(&["faketime"]) {
        return;
    }
    let setup = Setup::new();
    let token = setup.token("s");
    let cases: [(i64, &[&str]); 2] = [
        (-3 * DAY, &["before it begins", "it is at least 3 d 0 h behind the collector's"]),
        (200 * DAY, &["after it ended"]),
    ];
    for (ahead, words) in cases {
        let outcome = setup.enrol("s", &token, ahead);
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        let common = [
            "the collector's certificate is not valid now: this machine's clock says ",
            "set this clock",
            "nothing was told",
        ];
        for part in common.iter().chain(words) {
            assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
        }
        assert!(!setup.path("s.toml").exists());
    }
    // The token is as good as before, and the clock is set.
    let outcome = setup.enrol("s", &token, 0);
    assert!(outcome.code == Some(0) && !outcome.text().contains("warning"), "{}", outcome.stderr);

    // The same clock later, of a sensor that runs: by its log, and by its doctor.
    for (ahead, words, dates) in
        [(-3 * DAY, "is not valid yet", "is not valid before"), (200 * DAY, "has expired", "expired on")]
    {
        let told = first_complaint(setup.replay("s", ahead));
        let clock = format!(
            "the collector's certificate {words}, or this machine's clock is wrong: this machine's clock says "
        );
        assert!(told.contains(&clock), "{told}");
        let mut doctor = sensor(ahead);
        doctor.args(["doctor", "--json", "--config"]).arg(setup.path("s.toml"));
        let report = run(&mut doctor, b"").json();
        let found = report["findings"].as_array().unwrap().iter().find(|it| it["check"] == "certificate").unwrap();
        let message = found["message"].as_str().unwrap();
        assert_eq!(found["level"], "fail", "{message}");
        assert!(message.contains(dates) && message.contains("this machine's clock says "), "{message}");
        assert!(found["remedy"].as_str().unwrap().contains("set the clock"), "{found}");
    }
}

/// The first line that a program has to say.
fn first_complaint(mut command: Command) -> String {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    line
}
