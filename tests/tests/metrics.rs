//! `/metrics` of real programs: as documented, as `promtool` would have it, and with sums that agree.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use martlet_tests::capture::{Order, ethernet, ipv4, pcap, tcp, udp};
use martlet_tests::daemon::{Collector, get, packets, run_ok};
use martlet_tests::metrics::{assert_documented, documented, labels, samples};
use martlet_tests::program::{program, run, workspace_root};
use martlet_tests::prometheus::tools;

/// What a program prints about its metrics.
fn printed(name: &str) -> String {
    let outcome = run(Command::new(program(name)).arg("metrics"), b"");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    String::from_utf8(outcome.stdout).unwrap()
}

/// With `MARTLET_UPDATE_DOCS=1` the page is brought up to date instead.
#[test]
fn the_page_has_what_the_programs_print() {
    let path = workspace_root().join("docs/metrics.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let mut expected = page.clone();
    for name in ["martlet-collector", "martlet-sensor"] {
        let begin = format!("<!-- {name} metrics -->\n");
        let (before, rest) = expected.split_once(&begin).unwrap();
        let (_, after) = rest.split_once("<!-- end -->\n").unwrap();
        expected = format!("{before}{begin}{}<!-- end -->\n{after}", printed(name));
    }
    if std::env::var_os("MARTLET_UPDATE_DOCS").is_some() {
        std::fs::write(&path, expected).unwrap();
        return;
    }
    assert!(page == expected, "docs/metrics.md is old: run this test with MARTLET_UPDATE_DOCS=1");
}

/// Sums of the samples of a family by these labels.
fn sums(scrape: &str, family: &str, by: &[&str]) -> BTreeMap<Vec<String>, f64> {
    let mut sums = BTreeMap::new();
    for (series, value) in samples(scrape).into_iter().filter(|(series, _)| series.split('{').next() == Some(family)) {
        let labels = labels(series);
        let key = by
            .iter()
            .map(|label| (*labels.get(label).unwrap_or_else(|| panic!("{label} of {series}"))).to_owned())
            .collect();
        *sums.entry(key).or_default() += value;
    }
    sums
}

/// What the collector says once everything that was replayed is in its view.
fn settled(collector: &Collector) -> (f64, String) {
    let mut before = 0;
    loop {
        let counted = packets(&collector.api("/api/v1/status"), "drill");
        if counted > 0 && counted == before {
            let (_, scrape) = get(collector.http, "/metrics").unwrap();
            return (f64::from(u32::try_from(counted).unwrap()), scrape);
        }
        before = counted;
        thread::sleep(Duration::from_millis(1500));
    }
}

#[test]
fn a_scrape_is_documented_and_its_sums_agree() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, lists) = (folder.path().join("drill.pcap"), folder.path().join("lists"));
    std::fs::create_dir(&lists).unwrap();
    // A quarter of the address space belongs to somebody who says so.
    std::fs::write(lists.join("Survey.txt"), "0.0.0.0/2\n").unwrap();
    let drill =
        ["--out", capture.to_str().unwrap(), "--quiet", "--seed", "5", "--duration", "20m", "--packets", "30000"];
    run_ok(program("martlet-drill"), &drill);
    let collector = Collector::start_with(&[("MARTLET_GEO__SCANNER_LISTS", Path::new(&format!("[{lists:?}]")))]);
    let ingest = collector.ingest.to_string();
    let replay =
        ["replay", "--collector", &ingest, "--sensor", "one", "--observe", "198.18.0.0/24", "--class", "drill"];
    run_ok(program("martlet-sensor"), &[&replay[..], &[capture.to_str().unwrap()]].concat());
    let (packets, scrape) = settled(&collector);
    let families = assert_documented(&scrape);
    assert!(families.len() > 55, "{}", families.len());
    assert!(packets > 25_000.0, "{packets}");
    let total = |family: &str| sums(&scrape, family, &[]).into_values().next().unwrap_or_default();
    for family in ["packets", "kind_packets", "region_packets"] {
        assert_eq!(total(&format!("martlet_observed_{family}_total")), packets, "{family}");
    }
    // By kind all say the same, and every scan is of some list or of none.
    let kinds = sums(&scrape, "martlet_observed_kind_packets_total", &["kind"]);
    assert_eq!(sums(&scrape, "martlet_observed_region_packets_total", &["kind"]), kinds);
    let scanners = sums(&scrape, "martlet_observed_scanner_packets_total", &["scanner"]);
    assert_eq!(scanners.values().sum::<f64>(), kinds[&vec!["scan".to_owned()]]);
    let share = scanners[&vec!["Survey".to_owned()]] / packets;
    assert!((0.1..0.5).contains(&share), "{scanners:?}");
    // Ports of the list have by region what scans of them have in the API.
    let by_port = sums(&scrape, "martlet_observed_region_port_packets_total", &["protocol", "port"]);
    let ports = collector.api("/api/v1/ports?class=drill&kind=scan&limit=1000");
    let mut compared = 0;
    for port in ports["ports"].as_array().unwrap().iter().filter(|port| port["ip"] == 4) {
        let key = vec![port["protocol_name"].as_str().unwrap_or("").to_owned(), port["port"].to_string()];
        if let Some(&by_region) = by_port.get(&key) {
            assert_eq!(by_region, port["packets"].as_f64().unwrap(), "{port}");
            compared += 1;
        }
    }
    assert!(compared > 5, "{by_port:?}");
    if let Some(tools) = tools() {
        let outcome = run(Command::new(tools.path("promtool")).args(["check", "metrics"]), scrape.as_bytes());
        assert_eq!((outcome.code, &outcome.stdout[..], outcome.stderr.as_str()), (Some(0), &b""[..], ""));
    }
    // Families without samples were not there, and all others that are documented of a collector were.
    let of_real = ["martlet_observed_sensor_last_hour_", "martlet_observed_sensor_clock_", "martlet_sensor_"];
    let is_expected = |name: &String| !of_real.iter().any(|prefix| name.starts_with(prefix));
    let documented = documented().into_keys().filter(is_expected);
    let missing: Vec<_> = documented.filter(|name| !families.contains(name)).collect();
    // No database was configured, nobody has enrolled, and nothing was called or told.
    let empty = [
        "martlet_collector_event_deliveries_pending",
        "martlet_collector_event_deliveries_total",
        "martlet_collector_event_records",
        "martlet_collector_geo_database_built_timestamp_seconds",
        "martlet_collector_sensor_certificate_life_seconds",
        "martlet_collector_sensor_certificate_remaining_seconds",
        "martlet_observed_event_detected_timestamp_seconds",
    ];
    assert_eq!(missing, empty);
    assert_eq!(collector.stop(), Some(0));
}

/// Distinct sources by port, as the API lists them, page by page.
fn sources(collector: &Collector, path: &str) -> BTreeMap<(String, String), f64> {
    let (mut sums, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let page = collector.api(&format!("{path}&limit=1000{cursor}"));
        for port in page["ports"].as_array().unwrap() {
            let key = (port["protocol_name"].as_str().unwrap().to_owned(), port["port"].to_string());
            *sums.entry(key).or_default() += port["sources"]["count"].as_f64().unwrap_or_else(|| panic!("{port}"));
        }
        match page["next_cursor"].as_str() {
            None => return sums,
            Some(next) => cursor = format!("&cursor={next}"),
        }
    }
}

/// Windows of distinct sources against the API, which the tests of history hold against the archive.
#[test]
fn windows_of_sources_have_what_the_api_has() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, data) = (folder.path().join("drill.pcap"), folder.path().join("data"));
    let drill = [
        "--quiet",
        "--start",
        "2026-01-06T00:00:00Z",
        "--duration",
        "30h",
        "--packets",
        "60000",
        "--seed",
        "9",
        "--outbreak",
        "none",
    ];
    run_ok(program("martlet-drill"), &[&drill[..], &["--out", capture.to_str().unwrap()]].concat());
    let keep = ("MARTLET_ARCHIVE__SOURCE_DAYS", Path::new("0"));
    let mut import = Command::new(program("martlet-collector"));
    import
        .env(keep.0, keep.1)
        .args(["import", "--sensor", "one", "--observe", "198.18.0.0/24", "--data-dir"])
        .arg(&data);
    let outcome = run(import.arg(&capture), b"");
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let collector = Collector::start_in(&data, &[keep]);
    let (_, scrape) = get(collector.http, "/metrics").unwrap();
    let status = collector.api("/api/v1/status");
    let class = status["classes"].as_array().unwrap().iter().find(|class| class["class"] == "import").unwrap();
    // The newest whole bucket of ten minutes, and the hour that ends with it.
    let end = class["last_window_end"].as_str().unwrap();
    let (hour, rest) = end.split_once(':').unwrap();
    let tens = rest.chars().next().unwrap();
    let (day, hours) = hour.split_once('T').unwrap();
    let hours: u32 = hours.parse().unwrap();
    let (from, to) = (format!("{day}T{:02}:{tens}0:00Z", hours - 1), format!("{day}T{hours:02}:{tens}0:00Z"));
    let windows = [
        ("1h", format!("/api/v1/ports?class=import&kind=scan&from={from}&to={to}")),
        (
            "1d",
            "/api/v1/history/ports?class=import&kind=scan&from=2026-01-06T00:00:00Z&to=2026-01-07T00:00:00Z".to_owned(),
        ),
    ];
    let gauges = sums(&scrape, "martlet_observed_sources", &["window", "protocol", "port"]);
    for (window, path) in windows {
        let truth = sources(&collector, &path);
        let of_window = gauges.iter().filter(|(key, _)| key[0] == window);
        let mut found = 0;
        for (key, &value) in of_window {
            let expected = truth.get(&(key[1].clone(), key[2].clone())).copied().unwrap_or_default();
            assert_eq!(value, expected, "{key:?}");
            found += usize::from(value > 0.0);
        }
        assert!(found > 5, "{window}: {found}");
    }
    assert!(gauges.keys().any(|key| key[0] == "1m"));
    assert_eq!(collector.stop(), Some(0));
}

/// Every port of TCP and UDP, each from another part of the address space.
#[test]
fn a_storm_over_all_ports_stays_within_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("storm.pcap");
    let frame = |number: u32| {
        let source = number.wrapping_mul(2_654_435_761).to_be_bytes();
        let port = u16::try_from(number & 0xffff).unwrap();
        let (protocol, payload) =
            if number >> 16 == 0 { (6, tcp(40_000, port, 1, 2)) } else { (17, udp(40_000, port, b"?")) };
        ethernet(0x0800, &ipv4(protocol, source, [198, 18, 0, 1], &payload))
    };
    let frames: Vec<Vec<u8>> = (0..1 << 17).map(frame).collect();
    std::fs::write(&capture, pcap(Order::Little, 1, &frames)).unwrap();
    let collector = Collector::start();
    let ingest = collector.ingest.to_string();
    for sensor in ["one", "two"] {
        let replay =
            ["replay", "--collector", &ingest, "--sensor", sensor, "--observe", "198.18.0.1/32", "--class", "drill"];
        run_ok(program("martlet-sensor"), &[&replay[..], &[capture.to_str().unwrap()]].concat());
    }
    let (counted, scrape) = settled(&collector);
    let series =
        |family: &str| samples(&scrape).iter().filter(|(series, _)| series.split('{').next() == Some(family)).count();
    let regions = sums(&scrape, "martlet_observed_region_packets_total", &["region"]).len();
    assert!((200..=676).contains(&regions), "{regions}");
    // As docs/metrics.md says, with 26 ports in the list, 30 that are promoted, and two sensors.
    let (sensors, ports, most) = (2, 26, 26 + 2 * 30);
    for (family, bound) in [
        ("packets_total", sensors * (most + 5)),
        ("bytes_total", sensors * (most + 5)),
        ("kind_packets_total", 15 * sensors),
        ("region_packets_total", 3 * regions),
        ("region_port_packets_total", ports * regions),
        ("scanner_packets_total", 1),
        ("sources", 3 * most),
    ] {
        let found = series(&format!("martlet_observed_{family}"));
        assert!((1..=bound).contains(&found), "{family}: {found} of {bound}");
    }
    let of_sensors =
        samples(&scrape).iter().filter(|(series, _)| series.starts_with("martlet_observed_sensor_")).count();
    assert!(of_sensors <= 32 * sensors, "{of_sensors}");
    assert!(counted > 200_000.0, "{counted}");
    assert_eq!(sums(&scrape, "martlet_observed_packets_total", &[]).into_values().next(), Some(counted));
    assert_eq!(collector.stop(), Some(0));
}
