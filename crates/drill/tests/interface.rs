//! Frames onto a line: a veth pair between two network namespaces. Needs root and iproute2.

use std::process::{Command, Output};

#[expect(clippy::unwrap_used, reason = "a program that does not start should fail the test")]
fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

fn ip(arguments: &[&str]) {
    let output = run("ip", arguments);
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Two namespaces with a veth pair between them; gone with the value.
struct Line {
    from: String,
    to: String,
}

impl Line {
    fn make() -> Line {
        let id = std::process::id();
        let line = Line { from: format!("md-from-{id}"), to: format!("md-to-{id}") };
        for namespace in [&line.from, &line.to] {
            ip(&["netns", "add", namespace]);
            // Nothing else is to be said on the line.
            ip(&["netns", "exec", namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"]);
            ip(&["netns", "exec", namespace, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"]);
        }
        ip(&["link", "add", "drill0", "netns", &line.from, "type", "veth", "peer", "name", "dark0", "netns", &line.to]);
        ip(&["-n", &line.from, "link", "set", "drill0", "up", "arp", "off"]);
        ip(&["-n", &line.to, "link", "set", "dark0", "up", "arp", "off"]);
        line
    }

    /// Packets and bytes that reached the other end.
    #[expect(clippy::unwrap_used, reason = "an answer that cannot be read should fail the test")]
    fn arrived(&self) -> (u64, u64) {
        let output = run("ip", &["-n", &self.to, "-j", "-s", "link", "show", "dark0"]);
        let links: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let received = &links[0]["stats64"]["rx"];
        (received["packets"].as_u64().unwrap(), received["bytes"].as_u64().unwrap())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for namespace in [&self.from, &self.to] {
            run("ip", &["netns", "del", namespace]);
        }
    }
}

#[test]
fn frames_reach_the_other_end_at_their_times_and_no_more_than_asked_for() {
    let root = std::fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t"));
    if !root || Command::new("ip").arg("-V").output().is_err() {
        eprintln!("skipped: making network namespaces needs root and iproute2");
        return;
    }
    let line = Line::make();
    let drill = env!("CARGO_BIN_EXE_martlet-drill");
    // A sweep of a /24 in 45 minutes, 900 times as fast: three seconds, of which the first 200 packets take about 2.3.
    let scenario = ["--scenario", "research-sweep", "--rate", "0", "--duration", "90m", "--seed", "2"];
    let sending = ["--interface", "drill0", "--counts-as-real", "--bounded-by", "200", "--speed", "900"];
    let begun = std::time::Instant::now();
    let arguments = [&["netns", "exec", &line.from, drill][..], &scenario, &sending].concat();
    let output = run("ip", &arguments);
    let took = begun.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("count this as real traffic"), "{said}");
    assert!(said.contains("200 packets to 198.18.0.0/24 sent on drill0"), "{said}");
    assert_eq!(line.arrived(), (200, 200 * 66));
    // The sweep begins after half of the 90 minutes, which is three seconds more.
    assert!((5.0..15.0).contains(&took), "{took} s");
}
