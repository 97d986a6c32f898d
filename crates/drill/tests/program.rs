//! The program itself: files, refusals and exit codes.

use std::path::Path;
use std::process::{Command, Output};

#[expect(clippy::unwrap_used, reason = "a program that does not start should fail the test")]
fn drill(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_martlet-drill")).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_file_and_its_truth_agree_and_are_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (pcap, truth) = (dir.path().join("d.pcap"), dir.path().join("d.json"));
    let arguments =
        ["--out", pcap.to_str().unwrap(), "--truth", truth.to_str().unwrap(), "--packets", "20000", "--seed", "3"];
    let output = drill(&arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("20000 packets") && stderr(&output).contains("doubling in"));
    let bytes = std::fs::read(&pcap).unwrap();
    assert_eq!(bytes[..4], [0x4d, 0x3c, 0xb2, 0xa1], "little-endian nanosecond pcap");
    assert_eq!(bytes[20..24], [1, 0, 0, 0], "Ethernet");
    let (mut at, mut packets, mut ip_bytes) = (24, 0, 0);
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap());
        at += 16 + usize::try_from(length).unwrap();
        packets += 1;
        ip_bytes += length - 14;
    }
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&truth).unwrap()).unwrap();
    assert_eq!((packets, &report["frames"]), (20_000, &20_000.into()));
    assert_eq!(report["bytes"], ip_bytes);
    assert_eq!(report["drill"]["outbreak"]["port"], 2323);

    let again = drill(&arguments);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("--force"), "{}", stderr(&again));
    assert_eq!(std::fs::read(&pcap).unwrap(), bytes, "untouched");
    let forced = drill(&[&arguments[..], &["--force", "--quiet"]].concat());
    assert!(forced.status.success() && forced.stderr.is_empty());
    assert_eq!(std::fs::read(&pcap).unwrap(), bytes, "the same again");
}

#[test]
fn standard_output_carries_the_capture() {
    let output = drill(&["--out", "-", "--packets", "100", "--outbreak", "none", "--format", "pcap-micro"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(output.stdout[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
    assert!(stderr(&output).contains("no outbreak"));
}

#[test]
fn a_short_drill_has_its_outbreak_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let truth = dir.path().join("t.json");
    let output = drill(&["--out", "-", "--duration", "1h", "--rate", "24", "--truth", truth.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&truth).unwrap()).unwrap();
    assert_eq!(report["drill"]["outbreak"]["start_s"], 1_767_225_600.0 + 1800.0);
}

#[test]
fn mistakes_are_named() {
    for (arguments, code, says) in [
        (&["--out", "-", "--duration", "3"][..], 2, "unit"),
        (&["--out", "-", "--prefix", "10.0.0.0/4"], 2, "/8"),
        (&["--out", "-", "--prefix", "::/64"], 2, "invalid"),
        (&["--out", "-", "--outbreak", "icmp/8"], 2, "tcp nor udp"),
        (&["--out", "-", "--outbreak-start", "25h"], 2, "before the drill ends"),
        (&["--out", "-", "--duration", "0s"], 2, "from 1 ms"),
        (&["--out", "-", "--outbreak", "udp/53", "--outbreak-mark", "slammer"], 2, "udp/1434"),
        (&["--out", "-", "--packets", "5"], 2, "the outbreak alone"),
        (&["--out", "-", "--rate", "-5"], 2, "unexpected argument"),
        (&["--out", "-", "--rate=-5"], 2, "from 0 up"),
        (&["--out", "-", "--start", "yesterday"], 2, "--start"),
        (&["--out", "-", "--start", "1960-01-01T00:00:00Z"], 2, "1970"),
        (&["--out", "/nonexistent/d.pcap"], 1, "cannot write /nonexistent/d.pcap"),
        (&["--out", "same", "--truth", "same"], 1, "same file"),
        (&[], 2, "--out"),
        (&["--scenario", "code-blue"], 2, "there are slammer, code-red"),
        (&["--scenario", "slammer", "--outbreak", "tcp/80"], 2, "cannot be used with"),
        (&["--scenario", "slammer", "--prefix", "198.18.0.0/30", "--sensors", "5"], 2, "sensors"),
        (&["--interface", "lo"], 2, "--bounded-by"),
        (&["--interface", "lo", "--bounded-by", "1"], 2, "--counts-as-real"),
        (&["--interface", "lo", "--bounded-by", "1", "--counts-as-real", "--dark", "8.8.8.0/24"], 2, "not sent to"),
        (&["--interface", "none0", "--bounded-by", "1", "--counts-as-real"], 1, "no interface none0"),
    ] {
        let output = drill(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_full_disk_is_said_clearly() {
    if !Path::new("/dev/full").exists() {
        eprintln!("skipped: this system has no /dev/full");
        return;
    }
    let output = drill(&["--out", "/dev/full", "--force", "--packets", "100000"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot write /dev/full: No space left"), "{}", stderr(&output));
}

#[test]
fn a_scenario_without_a_name_for_its_file_says_in_it_that_it_is_a_drill() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_martlet-drill"))
        .args(["--scenario", "research-sweep", "--seed", "7", "--rate", "0"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    // A header, and 256 SYNs of 66 bytes with headers of their own.
    assert_eq!(std::fs::metadata(dir.path().join("drill-research-sweep-7.pcap")).unwrap().len(), 24 + 256 * (16 + 66));
}

#[test]
fn every_parameter_of_a_scenario_is_in_the_guide() {
    let guide = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/drills.md")).unwrap();
    for scenario in martlet_drill::scenarios::ALL {
        let section = guide.split("\n### ").find(|section| section.starts_with(scenario.name)).unwrap_or_default();
        for parameter in scenario.parameters {
            let row = format!("| {} | {} | {} |", parameter.name, parameter.value, parameter.source);
            assert!(section.contains(&row), "{}: {row}", scenario.name);
        }
    }
}
