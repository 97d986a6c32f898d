//! What the collector's API says against what `martlet-sensor count` says of the same capture.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::daemon::{self, eventually};
use crate::program::{program, run};

/// More than the whole time of every capture here.
pub const ALWAYS: &str = "from=1990-01-01T00:00:00Z&to=2030-01-01T00:00:00Z&limit=1000";

/// What `martlet-sensor count` says of a capture.
///
/// # Panics
/// If it fails.
#[must_use]
pub fn count(file: &Path, observe: &[&str]) -> Value {
    let mut command = Command::new(program("martlet-sensor"));
    let outcome = run(command.args(["count", "--format", "json"]).args(observe).arg(file), b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    outcome.json()
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

/// What the API says, once the live view has as many packets, equals what `count` says. `api` gives the JSON at a path.
///
/// # Panics
/// If it does not.
pub fn assert_same(api: &dyn Fn(&str) -> Value, class: &str, count: &Value) {
    let packets = count["packets"].as_u64().unwrap();
    eventually("all packets in the live view", || daemon::packets(&api("/api/v1/status"), class) >= packets);
    let summary = api(&format!("/api/v1/summary?class={class}&{ALWAYS}"));
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
    let (shown, counted) = (kinds(&summary["kinds"], "protocol"), kinds(&count["kinds"], "proto"));
    assert_eq!(shown.keys().collect::<Vec<_>>(), counted.keys().collect::<Vec<_>>());
    for (key, (packets, sources)) in &counted {
        assert_eq!(shown[key].0, *packets, "{key}");
        assert_sources(&shown[key].1, sources, key);
    }

    for (mark, counted) in count["marks"].as_object().unwrap() {
        assert_eq!(summary["marks"][mark]["packets"], counted["packets"], "{mark}");
        assert_sources(&summary["marks"][mark]["sources"], &counted["sources"], mark);
    }

    let sensors = api(&format!("/api/v1/sensors?class={class}&{ALWAYS}"));
    let sensor = &sensors["sensors"][0];
    assert_eq!(sensor["frames"], count["frames"]);
    for (reason, frames) in count["rejected"].as_object().unwrap() {
        assert_eq!(&sensor["rejected"][reason], frames, "{reason}");
    }
    // A file does not say how long anybody watched.
    assert!(sensor["exposure"].is_null());

    // ICMP by type and code, where the list is not cut.
    let ports = api(&format!("/api/v1/ports?class={class}&{ALWAYS}"));
    assert_eq!(ports["icmp_left_out"], 0);
    let icmp = |list: &Value| -> BTreeMap<String, u64> {
        let entry =
            |row: &Value| (format!("{} {} {}", row["ip"], row["type"], row["code"]), row["packets"].as_u64().unwrap());
        list.as_array().unwrap().iter().map(entry).collect()
    };
    assert_eq!(icmp(&ports["icmp"]), icmp(&count["icmp"]));
}

/// Ports are comparable where there is no backscatter: `count` goes by destination port, rows by the service concerned.
///
/// # Panics
/// If ports differ.
pub fn assert_same_ports(api: &dyn Fn(&str) -> Value, class: &str, count: &Value) {
    let shown = api(&format!("/api/v1/ports?class={class}&{ALWAYS}"));
    let table = |list: &Value, protocol: &str| -> BTreeMap<String, (u64, u64)> {
        let entry = |row: &Value| {
            let numbers = (row["packets"].as_u64().unwrap(), row["bytes"].as_u64().unwrap());
            (format!("{} {} {}", row["ip"], row[protocol], row["port"]), numbers)
        };
        list.as_array().unwrap().iter().filter(|row| !row["port"].is_null()).map(entry).collect()
    };
    assert_eq!(table(&shown["ports"], "protocol"), table(&count["ports"], "proto"));
}
