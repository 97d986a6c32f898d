//! `martlet-sensor doctor` finds each fault that is planted, in network namespaces that this test makes, with the real program.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use martlet_tests::daemon::{Daemon, eventually, root_with, run_ok};
use martlet_tests::network::{DARK, Network, SCANNER, SENSOR};
use martlet_tests::program::{program, run, workspace_root};
use serde_json::Value;

const TOOLS: [&str; 6] = ["ip", "curl", "hping3", "nft", "ethtool", "tcpdump"];

/// A sensor's namespace, and what it is configured to.
struct Patient {
    network: Network,
    folder: tempfile::TempDir,
    sensor: Option<Daemon>,
}

impl Patient {
    fn new() -> Patient {
        Patient { network: Network::make(), folder: tempfile::tempdir().unwrap(), sensor: None }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("sensor.toml")
    }

    /// Writes a configuration that observes these networks; `more` stands behind `[observe]`.
    fn configure(&self, posture: &str, networks: &str, more: &str) {
        let mut text = String::new();
        write!(
            text,
            "[sensor]\nname = \"dark\"\nposture = \"{posture}\"\nstate_dir = \"{}\"\n[capture]\ninterfaces = [\"dark0\"]\nring_mib = 1\n\
             [uplink]\ncollector = \"{SCANNER}:7460\"\n[window]\nseconds = 1\n[log]\nfilter = \"warn\"\n\
             [observe]\nnetworks = {networks}\npublic_address = \"as_seen\"\n{more}",
            self.folder.path().join("state").display()
        )
        .unwrap();
        fs::write(self.file(), text).unwrap();
    }

    fn command(&self, name: impl AsRef<Path>) -> Command {
        Network::command(&self.network.sensor, name)
    }

    fn start(&mut self) {
        let mut command = self.command(program("martlet-sensor"));
        self.sensor = Some(Daemon::start(command.args(["run", "--config"]).arg(self.file())));
        eventually("the sensor to answer", || self.status().is_some());
    }

    fn stop(&mut self) {
        assert_eq!(self.sensor.take().unwrap().stop(), Some(0));
    }

    fn status(&self) -> Option<Value> {
        let mut command = self.command(program("martlet-sensor"));
        let outcome = run(command.args(["status", "--json", "--config"]).arg(self.file()), b"");
        (outcome.code == Some(0)).then(|| outcome.json())
    }

    /// What the doctor says of one check: its level and its message. What is wrong always has a remedy, and exactly what fails
    /// makes the exit code 1.
    fn says(&self, check: &str, more: &[&str]) -> (String, String) {
        let mut command = self.command(program("martlet-sensor"));
        let outcome = run(command.args(["doctor", "--json"]).args(more).arg("--config").arg(self.file()), b"");
        let report = outcome.json();
        let findings = report["findings"].as_array().unwrap();
        assert!(findings.iter().all(|it| (it["level"] == "ok") == it["remedy"].is_null()), "{report}");
        let fails = findings.iter().any(|it| it["level"] == "fail");
        assert_eq!(outcome.code, Some(i32::from(fails)), "{report}");
        let found =
            findings.iter().find(|it| it["check"] == check).unwrap_or_else(|| panic!("{check} not in {report}"));
        (found["level"].as_str().unwrap().to_owned(), found["message"].as_str().unwrap().to_owned())
    }

    fn assert(&self, check: &str, level: &str, part: &str) {
        let said = self.says(check, &[]);
        assert!(said.0 == level && said.1.contains(part), "{check} {level} {part:?}: {said:?}");
    }

    fn ip(&self, line: &str) {
        run_ok("ip", &[&["-n", &self.network.sensor], &line.split(' ').collect::<Vec<_>>()[..]].concat());
    }
}

/// What is wrong with the machine and the configuration, whether or not a sensor runs.
#[test]
fn planted_faults_of_the_machine_are_found() {
    if !root_with(&TOOLS) {
        return;
    }
    let patient = Patient::new();
    let dark = format!("[\"{DARK}\"]");
    patient.configure("silent", &dark, "");
    for check in ["interface", "offload", "filter", "arp", "silence", "services", "nat"] {
        patient.assert(check, "ok", "");
    }
    // Nobody runs, neither sensor nor collector.
    patient.assert("traffic", "fail", "the sensor cannot be asked");
    patient.assert("collector", "fail", "refused");

    // Offloads that merge packets.
    run_ok("ip", &["netns", "exec", &patient.network.sensor, "ethtool", "-K", "dark0", "gro", "on"]);
    patient.assert("offload", "warn", "gro");
    run_ok("ip", &["netns", "exec", &patient.network.sensor, "ethtool", "-K", "dark0", "gro", "off"]);
    patient.assert("offload", "ok", "");

    // A filter that excludes everything.
    patient.configure("silent", &dark, "exclude = [{ network = \"0.0.0.0/0\" }]\n");
    patient.assert("filter", "fail", "no packet passes");
    patient.configure("silent", &dark, "exclude = [{ network = \"198.51.100.0/24\" }]\n");
    patient.assert("filter", "ok", "256 IPv4 addresses");

    // Addresses on the link that nobody has; then the host takes them, which answers ARP, and everything else.
    patient.configure("silent", "[\"198.19.0.64/26\"]", "");
    patient.assert("arp", "fail", "nobody's");
    patient.ip("route add local 198.19.0.64/26 dev lo");
    patient.assert("arp", "ok", "");
    patient.assert("silence", "fail", "198.19.0.64/26");
    patient.configure("rst", "[\"198.19.0.64/26\"]", "");
    patient.assert("silence", "ok", "");

    // A service on every address, and thus on observed ones.
    let mut listening = patient.command("bash");
    let listening = Daemon::start(listening.args(["-c", "exec python3 -m http.server 8099 --bind 0.0.0.0"]));
    eventually("the service to be found", || patient.says("services", &[]).1.contains("tcp/8099"));
    patient.assert("services", "fail", "tcp/8099");
    drop(listening);
    eventually("the service to be gone", || patient.says("services", &[]).0 == "ok");

    // A firewall in front of the collector, and no route to it.
    let nft = |rules: &str| run_ok("ip", &["netns", "exec", &patient.network.sensor, "nft", rules]);
    nft(
        "add table inet wall; add chain inet wall out { type filter hook output priority 0; }; add rule inet wall out tcp dport 7460 drop",
    );
    patient.assert("collector", "fail", "does not take connections");
    let waited = patient.says("collector", &[]).1;
    assert!(!waited.contains("refused"), "{waited}");
    nft("delete table inet wall");
    patient.ip("addr del 198.19.0.1/24 dev dark0");
    patient.assert("collector", "fail", "no route");
    patient.ip("addr add 198.19.0.1/24 dev dark0");

    // Carriers' NAT.
    patient.configure("rst", "[\"100.64.9.9\"]", "");
    patient.assert("nat", "fail", "100.64.9.9");

    // The interface: without a link, switched off, gone.
    run_ok("ip", &["-n", &patient.network.scanner, "link", "set", "scan0", "down"]);
    patient.assert("interface", "fail", "no link");
    run_ok("ip", &["-n", &patient.network.scanner, "link", "set", "scan0", "up"]);
    patient.ip("link set dark0 down");
    patient.assert("interface", "fail", "switched off");
    patient.network.unplug();
    patient.assert("interface", "fail", "there is no interface dark0");
}

/// What only a running sensor knows.
#[test]
fn planted_faults_of_a_running_sensor_are_found() {
    if !root_with(&TOOLS) {
        return;
    }
    let mut patient = Patient::new();
    patient.configure("silent", &format!("[\"{DARK}\"]"), "");
    patient.start();
    patient.assert("traffic", "ok", "nothing was counted yet");
    thread::sleep(Duration::from_secs(2));
    // Nothing seen for long, where long is a second.
    let (level, message) = patient.says("traffic", &["--quiet-after", "1"]);
    assert!(level == "fail" && message.contains("no packet was counted"), "{message}");
    patient.network.scan("hping3 -q -S -p 23 -c 3 -i u2000 198.18.0.9");
    eventually("the packets to be counted", || patient.status().unwrap()["capture"]["packets"] == 3);
    patient.assert("traffic", "ok", "the last packet was counted");
    patient.assert("ring", "ok", "");

    // A ring of 1 MiB, and a sensor that has no processor for a while.
    let id = patient.sensor.as_ref().unwrap().id().to_string();
    run_ok("kill", &["-STOP", &id]);
    patient.network.scan("hping3 -q -S -p 23 -c 20000 -i u20 198.18.0.9");
    run_ok("kill", &["-CONT", &id]);
    eventually("the drops to be seen", || patient.status().unwrap()["capture"]["kernel_drops"].as_u64() > Some(0));
    patient.assert("ring", "fail", "a ring was full");
    patient.stop();
    patient.assert("traffic", "fail", "the sensor cannot be asked");
}

/// Without rules a host answers for an address that it has; with those that are shipped it does not, and the sensor counts both.
#[test]
fn shipped_rules_keep_observed_addresses_silent() {
    if !root_with(&TOOLS) {
        return;
    }
    let mut patient = Patient::new();
    patient.ip("addr add 198.18.0.9/32 dev dark0");
    patient.configure("silent", "[\"198.18.0.9\"]", "");
    patient.start();
    let answers = |port: u16| {
        let mut command = Network::command(&patient.network.scanner, "hping3");
        let outcome =
            run(command.args(["-q", "-S", "-p", &port.to_string(), "-c", "3", "-i", "u100000", "198.18.0.9"]), b"");
        // The last lines are statistics: "3 packets transmitted, 3 packets received, ...".
        let said = format!("{}{}", outcome.text(), outcome.stderr);
        let received = said.split(" packets received").next().unwrap().rsplit(' ').next().unwrap().to_owned();
        received.parse::<u64>().unwrap_or_else(|_| panic!("{said}"))
    };
    let counted = |number: u64| {
        eventually("the packets to be counted", || patient.status().unwrap()["capture"]["packets"] == number)
    };
    patient.assert("silence", "fail", "198.18.0.9");
    assert_eq!(answers(81), 3);
    counted(3);

    let shipped = fs::read_to_string(workspace_root().join("systemd/martlet-silent.nft")).unwrap();
    let edited = shipped.replace("\"eth0\"", "\"dark0\"").replace("192.0.2.0/24", "198.18.0.9");
    assert_ne!(edited, shipped);
    let rules = patient.folder.path().join("silent.nft");
    fs::write(&rules, edited).unwrap();
    run_ok("ip", &["netns", "exec", &patient.network.sensor, "nft", "-f", rules.to_str().unwrap()]);
    assert_eq!(answers(82), 0);
    counted(6);
    patient.assert("silence", "ok", "martlet_silent");
    // Another address of the same host still answers, and the file can be loaded again.
    run_ok("ip", &["netns", "exec", &patient.network.sensor, "nft", "-f", rules.to_str().unwrap()]);
    run_ok("ip", &["netns", "exec", &patient.network.scanner, "ping", "-c", "1", "-W", "2", SENSOR]);
    patient.stop();
}

/// An interface gets another address: a new address epoch, and what is sent to the new one is counted.
#[test]
fn a_changed_address_begins_an_epoch() {
    if !root_with(&TOOLS) {
        return;
    }
    let mut patient = Patient::new();
    patient.configure("rst", "\"interface\"", "");
    patient.start();
    let capture = || patient.status().unwrap()["capture"].clone();
    assert_eq!((&capture()["address_epoch"], &capture()["ipv4_addresses"]), (&1.into(), &1.into()));
    patient.network.scan(&format!("hping3 -q -S -p 23 -c 2 -i u2000 {SENSOR}"));
    eventually("the old address to be counted", || capture()["packets"] == 2);
    patient.ip("addr del 198.19.0.1/24 dev dark0");
    patient.ip("addr add 198.19.0.78/24 dev dark0");
    eventually("the change to be noticed", || {
        let now = capture();
        now["address_epoch"].as_u64() >= Some(2) && now["ipv4_addresses"] == 1
    });
    patient.network.scan("hping3 -q -S -p 23 -c 3 -i u2000 198.19.0.78");
    eventually("the new address to be counted", || capture()["packets"].as_u64() >= Some(5));
    patient.stop();
}
