//! A capture goes in at a sensor; the collector's API gives the totals of `martlet-sensor count`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use martlet_tests::daemon::{Collector, eventually, run_ok};
use martlet_tests::program::{program, run};
use martlet_tests::shared;
use serde_json::Value;

/// More than the whole time of every capture here.
const ALWAYS: &str = "from=1990-01-01T00:00:00Z&to=2030-01-01T00:00:00Z&limit=1000";

fn count(file: &Path, observe: &[&str]) -> Value {
    let mut command = Command::new(program("martlet-sensor"));
    let outcome = run(command.args(["count", "--format", "json"]).args(observe).arg(file), b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    outcome.json()
}

fn replay(collector: &Collector, class: &str, file: &Path, observe: &[&str]) {
    let mut command = Command::new(program("martlet-sensor"));
    command.args(["replay", "--collector", &collector.ingest.to_string(), "--class", class, "--sensor", "e2e"]);
    let outcome = run(command.args(observe).arg(file), b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

/// A distinct count of the API is the exact one, or within five standard errors of it where it says it is estimated.
fn assert_sources(api: &Value, exact: &Value, what: &str) {
    let (got, wanted) = (api["count"].as_u64().unwrap(), exact.as_u64().unwrap());
    if api["exact"].as_bool().unwrap() {
        assert_eq!(got, wanted, "{what}");
    } else {
        let allowed = 5.0 * api["error"].as_f64().unwrap() * wanted as f64;
        assert!((got as f64 - wanted as f64).abs() <= allowed, "{what}: {got} for {wanted}");
    }
}

/// What the API says equals what `count` says.
fn assert_same(collector: &Collector, class: &str, count: &Value) {
    let packets = count["packets"].as_u64().unwrap();
    eventually("all packets in the live view", || collector.packets(class) >= packets);
    let summary = collector.api(&format!("/api/v1/summary?class={class}&points=1&{ALWAYS}"));
    assert_eq!(summary["totals"]["packets"], count["packets"]);
    assert_eq!(summary["totals"]["bytes"], count["bytes"]);
    assert_sources(&summary["totals"]["sources"], &count["sources"], "all sources");

    let kinds = |list: &Value, protocol: &str| -> BTreeMap<String, (u64, Value)> {
        let entry = |row: &Value| {
            let key = format!("{} {} {}", row["ip"], row[protocol], row["kind"]);
            (key, (row["packets"].as_u64().unwrap(), row["sources"].clone()))
        };
        list.as_array().unwrap().iter().map(entry).collect()
    };
    let (api, counted) = (kinds(&summary["kinds"], "protocol"), kinds(&count["kinds"], "proto"));
    assert_eq!(api.keys().collect::<Vec<_>>(), counted.keys().collect::<Vec<_>>());
    for (key, (packets, sources)) in &counted {
        assert_eq!(api[key].0, *packets, "{key}");
        assert_sources(&api[key].1, sources, key);
    }

    for (mark, counted) in count["marks"].as_object().unwrap() {
        assert_eq!(summary["marks"][mark]["packets"], counted["packets"], "{mark}");
        assert_sources(&summary["marks"][mark]["sources"], &counted["sources"], mark);
    }

    let sensors = collector.api(&format!("/api/v1/sensors?class={class}&{ALWAYS}"));
    let sensor = &sensors["sensors"][0];
    assert_eq!(sensor["frames"], count["frames"]);
    for (reason, frames) in count["rejected"].as_object().unwrap() {
        assert_eq!(&sensor["rejected"][reason], frames, "{reason}");
    }
    // A file does not say how long anybody watched.
    assert!(sensor["exposure"].is_null());

    // ICMP by type and code, where the list is not cut.
    let ports = collector.api(&format!("/api/v1/ports?class={class}&points=1&{ALWAYS}"));
    assert_eq!(ports["icmp_left_out"], 0);
    let icmp = |list: &Value| -> BTreeMap<String, u64> {
        let entry =
            |row: &Value| (format!("{} {} {}", row["ip"], row["type"], row["code"]), row["packets"].as_u64().unwrap());
        list.as_array().unwrap().iter().map(entry).collect()
    };
    assert_eq!(icmp(&ports["icmp"]), icmp(&count["icmp"]));
}

/// Ports are comparable where there is no backscatter: `count` goes by destination port, rows by the service concerned.
fn assert_same_ports(collector: &Collector, class: &str, count: &Value) {
    let api = collector.api(&format!("/api/v1/ports?class={class}&points=1&{ALWAYS}"));
    let table = |list: &Value, protocol: &str| -> BTreeMap<String, (u64, u64)> {
        let entry = |row: &Value| {
            let numbers = (row["packets"].as_u64().unwrap(), row["bytes"].as_u64().unwrap());
            (format!("{} {} {}", row["ip"], row[protocol], row["port"]), numbers)
        };
        list.as_array().unwrap().iter().filter(|row| !row["port"].is_null()).map(entry).collect()
    };
    assert_eq!(table(&api["ports"], "protocol"), table(&count["ports"], "proto"));
}

#[test]
fn a_drill_gives_the_same_totals_and_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("drill.pcap");
    run_ok(program("martlet-drill"), &["--out", file.to_str().unwrap(), "--packets", "60000", "--quiet"]);
    let observe = ["--observe", "198.18.0.0/24"];
    let counted = count(&file, &observe);
    let collector = Collector::start();
    replay(&collector, "drill", &file, &observe);
    // The same file a second time is known and changes nothing.
    replay(&collector, "drill", &file, &observe);
    assert_same(&collector, "drill", &counted);
    // Drill data never shows as anything else.
    let real = collector.api(&format!("/api/v1/summary?class=real&{ALWAYS}"));
    assert_eq!(real["totals"]["packets"], 0);
    assert_eq!(collector.stop(), Some(0));
}

#[test]
fn real_captures_give_the_same_totals() {
    let Some(captures) = shared::captures() else { return };
    let compare = |path: &str, observe: &[&str]| -> (Collector, Value) {
        let file = captures.join(path);
        let counted = count(&file, observe);
        let collector = Collector::start();
        replay(&collector, "import", &file, observe);
        assert_same(&collector, "import", &counted);
        (collector, counted)
    };
    for path in ["scans/scan-1433.pcap", "scans/23-tcp-scan.pcap", "scanners/zmap_tcp_5k.pcapng"] {
        let (collector, counted) = compare(path, &[]);
        assert_same_ports(&collector, "import", &counted);
    }
    for path in ["worms/slammer_worm.pcap", "backscatter/pkt.TCP.synflood.spoofed.pcap", "scanners/nmap.pcapng"] {
        compare(path, &[]);
    }
    compare("darknet/cloud-address_2020-04_2021-10.pcap.zst", &["--observe", "167.99.227.94/32"]);
}
