//! A capture goes in at a sensor; the collector's API gives the totals of `martlet-sensor count`.

use std::path::Path;
use std::process::Command;

use martlet_tests::compare::{ALWAYS, assert_same, assert_same_ports, count};
use martlet_tests::daemon::{Collector, run_ok};
use martlet_tests::program::{program, run};
use martlet_tests::shared;
use serde_json::Value;

fn replay(collector: &Collector, class: &str, file: &Path, observe: &[&str]) {
    let mut command = Command::new(program("martlet-sensor"));
    command.args(["replay", "--collector", &collector.ingest.to_string(), "--class", class, "--sensor", "e2e"]);
    let outcome = run(command.args(observe).arg(file), b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
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
    assert_same(&|path| collector.api(path), "drill", &counted);
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
        assert_same(&|path| collector.api(path), "import", &counted);
        (collector, counted)
    };
    for path in ["scans/scan-1433.pcap", "scans/23-tcp-scan.pcap", "scanners/zmap_tcp_5k.pcapng"] {
        let (collector, counted) = compare(path, &[]);
        assert_same_ports(&|path| collector.api(path), "import", &counted);
    }
    for path in ["worms/slammer_worm.pcap", "backscatter/pkt.TCP.synflood.spoofed.pcap", "scanners/nmap.pcapng"] {
        compare(path, &[]);
    }
    compare("darknet/cloud-address_2020-04_2021-10.pcap.zst", &["--observe", "167.99.227.94/32"]);
}
