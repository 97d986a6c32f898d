//! 550 days at one cloud address, imported: the archive and history against the capture's ground truth, and against the capture
//! itself, counted again by a program of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use martlet_collector::config::GeoConfig;
use martlet_collector::geo::{Geo, Region};
use martlet_tests::compare::{ALWAYS, assert_same, count};
use martlet_tests::daemon::Collector;
use martlet_tests::program::{program, run};
use martlet_tests::{python, shared};
use serde_json::{Map, Value};

const ADDRESS: &str = "167.99.227.94";
const OBSERVE: &str = "167.99.227.94/32";
const SERVICE: &str = "protocol, port, icmp_type, icmp_code, quoted_protocol, quoted_port, kind";

/// What history has of everything by some columns, as rows `k0`, `k1` ... with sums, distinct sources and their error.
fn history(data: &Path, view: &str, keys: &str) -> Value {
    // The keys have no comma and space within a function.
    let columns: Vec<&str> = keys.split(", ").collect();
    let named: Vec<String> = columns.iter().enumerate().map(|(place, key)| format!("{key} AS k{place}")).collect();
    let groups: Vec<String> = (1..=columns.len()).map(|place| place.to_string()).collect();
    let sql = format!(
        "SELECT {}, sum(packets) AS packets, sum(bytes) AS bytes, distinct_sources(sketch) AS sources, \
         distinct_error(sketch) AS error, max(sources) AS stored FROM {view} WHERE class = 'import' GROUP BY {}",
        named.join(", "),
        groups.join(", ")
    );
    ask(data, &sql)
}

fn ask(data: &Path, sql: &str) -> Value {
    let mut command = Command::new(program("martlet-collector"));
    command.args(["query", "--format", "json", "--limit", "10000000", "--data-dir"]).arg(data).arg(sql);
    let outcome = run(&mut command, b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    outcome.json()
}

/// Imports the capture, which takes a while: so everything that is asked of it is one test.
fn import(file: &Path, data: &Path) {
    let mut command = Command::new(program("martlet-collector"));
    command.args(["import", "--sensor", "cloud", "--observe", OBSERVE, "--data-dir"]).arg(data).arg(file);
    let outcome = run(&mut command, b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

/// What the API has in memory is what the ground truth says, and `martlet-sensor count`.
fn assert_api(data: &Path, file: &Path, inbound: &Value) {
    // The capture is old, and what is compared later needs its addresses.
    let collector = Collector::start_in(data, &[("MARTLET_ARCHIVE__SOURCE_DAYS", Path::new("0"))]);
    let api = |path: &str| collector.api(path);
    let summary = api(&format!("/api/v1/summary?class=import&{ALWAYS}"));
    assert_eq!(summary["totals"]["packets"], inbound["ip_packets"]);
    assert_eq!(summary["totals"]["bytes"], inbound["ip_bytes"]);
    let ports = api(&format!("/api/v1/ports?class=import&{ALWAYS}"));
    let icmp = ports["icmp"].as_array().unwrap();
    let types = inbound["icmp_type_code"].as_object().unwrap();
    assert_eq!(icmp.len(), types.len());
    for row in icmp {
        assert_eq!(row["packets"], types[&format!("{}/{}", row["type"], row["code"])], "{row}");
    }
    assert_same(&api, "import", &count(file, &["--observe", OBSERVE]));
    assert_eq!(collector.stop(), Some(0));
}

/// The regions that history has of all sources are those of the built-in data, and a database agrees as far as it does on sources
/// that scan: fewer of them than of all addresses lie where their block is registered.
/// Returns how many sources both know, and of which share they say the same.
fn assert_regions(data: &Path, database: PathBuf) -> (u32, f64) {
    let sql = "SELECT DISTINCT source, region FROM sources_by_day WHERE class = 'import'";
    let sources = ask(data, sql);
    let open = |config: &GeoConfig| Geo::open(config).unwrap().0.snapshot();
    let built_in = open(&GeoConfig::default());
    let database = open(&GeoConfig { country_database: Some(database), ..GeoConfig::default() });
    let (mut both, mut same) = (0u32, 0u32);
    for row in sources.as_array().unwrap() {
        let source: IpAddr = row["source"].as_str().unwrap().parse().unwrap();
        let (ours, theirs) = (built_in.owner(source).region, database.owner(source).region);
        assert_eq!(row["region"], ours.as_str(), "{source}");
        if ours != Region::UNKNOWN && theirs != Region::UNKNOWN {
            both += 1;
            same += u32::from(ours == theirs);
        }
    }
    let share = f64::from(same) / f64::from(both);
    // Measured: 49,080 and 0.8293.
    assert!(both > 48_000 && share > 0.8, "{both} {share}");
    (both, share)
}

#[test]
fn the_darknet_capture_comes_to_what_others_count() {
    let Some(shared) = shared::data() else { return };
    let captures = shared.join("captures");
    let packed = captures.join("darknet/cloud-address_2020-04_2021-10.pcap.zst");
    let truth = captures.join("darknet/cloud-address_2020-04_2021-10.pcap.truth.json");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    import(&packed, &data);
    let inbound: Value = serde_json::from_slice(&fs::read(&truth).unwrap()).unwrap();
    assert_api(&data, &packed, &inbound["inbound"]);

    let (both, share) = assert_regions(&data, shared.join("geo/geo-whois-asn-country.mmdb"));
    println!("regions: both know {both} sources, agree on {share:.4}");

    let Some(interpreter) = python::interpreter() else { return };
    let asked = [
        ("days", "protocols_by_day", "date"),
        ("days_and_protocols", "protocols_by_day", "date, protocol, kind"),
        ("days_and_ports", "services_by_day", &format!("date, {SERVICE}")),
        ("months", "protocols_by_day", "substr(date,1,7)"),
        ("months_and_protocols", "protocols_by_day", "substr(date,1,7), protocol, kind"),
        ("all", "protocols_by_day", "'all'"),
        ("all_protocols", "protocols_by_day", "protocol, kind"),
        ("all_ports", "services_by_day", SERVICE),
    ];
    let answers: Map<String, Value> =
        asked.iter().map(|(name, view, keys)| ((*name).to_owned(), history(&data, view, keys))).collect();
    let said = folder.path().join("history.json");
    fs::write(&said, serde_json::to_string(&answers).unwrap()).unwrap();
    let unpacked = folder.path().join("capture.pcap");
    zstd::stream::copy_decode(File::open(&packed).unwrap(), File::create(&unpacked).unwrap()).unwrap();
    let archive = data.join("archive");
    let arguments = [unpacked.as_os_str(), ADDRESS.as_ref(), archive.as_os_str(), truth.as_os_str(), said.as_os_str()];
    let found = python::ask(&interpreter, "darknet.py", &arguments);
    println!("{found:#}");

    assert_found(&found);
    // A day's number is kept beside the sketch that it comes from.
    for level in ["days_and_protocols", "days_and_ports"] {
        let rows = answers[level].as_array().unwrap();
        assert!(rows.iter().all(|row| row["stored"] == row["sources"]), "{level}");
    }
}

/// What was compared is much, and nothing of it differs.
fn assert_found(found: &Value) {
    // The archive beside the capture, counted by other code; and both beside what tshark counted.
    for (name, least) in [
        ("days", 500),
        ("days_and_protocols", 1000),
        ("ports", 20_000),
        ("days_and_ports", 80_000),
        ("truth_of_all", 1),
        ("truth_of_protocols", 8),
        ("truth_of_icmp", 41),
        ("truth_of_ports", 14_000),
    ] {
        assert_eq!(found[name]["differing"], 0, "{name}: {}", found[name]);
        assert!(found[name]["groups"].as_u64() >= Some(least), "{name}: {}", found[name]);
    }
    assert_eq!(found["sent_to_ports"]["archive"], found["sent_to_ports"]["truth"]);
    // History beside exact distinct counts: equal up to 1,024, and within five standard errors beyond.
    let (mut exact, mut estimated) = (0, 0);
    for (level, compared) in found["history"].as_object().unwrap() {
        for wrong in ["missing", "wrong_sums", "wrong_exact", "needlessly_estimated"] {
            assert_eq!(compared[wrong], 0, "{level}: {compared}");
        }
        assert!(compared["most_standard_errors"].as_f64() < Some(5.0), "{level}: {compared}");
        exact += compared["exact"].as_u64().unwrap();
        estimated += compared["estimated"].as_u64().unwrap();
    }
    assert!(exact > 100_000 && estimated > 50, "{exact} {estimated}");
}
