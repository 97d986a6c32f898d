//! Real scanners against a live sensor, in network namespaces that this test makes: a scanning host, and a sensor to
//! which a dark prefix is routed. All traffic stays on one veth pair, bounded in count.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, thread};

use martlet_tests::daemon::{Daemon, eventually, root_with, run_ok};
use martlet_tests::network::{DARK, Network, SCANNER, SENSOR};
use martlet_tests::program::{program, run};
use serde_json::Value;

const TOOLS: [&str; 8] = ["ip", "nmap", "masscan", "zmap", "hping3", "tcpdump", "ping", "curl"];

/// Both daemons and an independent witness.
struct Setup {
    network: Network,
    collector: Daemon,
    sensor: Option<Daemon>,
    witness: Option<Daemon>,
    folder: tempfile::TempDir,
}

impl Setup {
    fn start(observe: &str) -> Setup {
        let network = Network::make();
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        let path = |name: &str| root.join(name);
        // The collector is with the scanner: the sensor's uplink crosses the very link that it watches.
        let mut command = Network::command(&network.scanner, program("martlet-collector"));
        command.args(["serve", "--listen", &format!("{SCANNER}:7460"), "--http", "127.0.0.1:7461", "--data-dir"]);
        // The namespaces are the tunnel.
        command.env("MARTLET_INGEST__ALLOW_PLAIN", "true");
        let collector = Daemon::start(command.arg(path("collector")));
        let mut command = Network::command(&network.sensor, "tcpdump");
        command.args(["-Z", "root", "-U", "-n", "-i", "dark0", "-B", "32768", "--immediate-mode", "-w"]);
        let witness = Daemon::start(command.arg(path("witness.pcap")));
        let mut setup = Setup { network, collector, sensor: None, witness: Some(witness), folder };
        eventually("the collector to be ready", || {
            setup.get(&setup.network.scanner, "127.0.0.1:7461/readyz").is_some()
        });

        let mut config = String::new();
        write!(
            config,
            "[sensor]\nname = \"dark\"\nposture = \"silent\"\nstate_dir = \"{}\"\n[capture]\ninterfaces = [\"dark0\"]\n\
             [observe]\nnetworks = [{observe}]\npublic_address = \"as_seen\"\n[window]\nseconds = 1\n\
             [uplink]\ncollector = \"{SCANNER}:7460\"\n[log]\nfilter = \"warn\"\n",
            path("sensor").display()
        )
        .unwrap();
        fs::write(path("sensor.toml"), config).unwrap();
        let mut command = Network::command(&setup.network.sensor, program("martlet-sensor"));
        setup.sensor = Some(Daemon::start(command.args(["run", "--config"]).arg(path("sensor.toml"))));
        eventually("the sensor to be connected", || {
            let metrics = setup.get(&setup.network.sensor, "127.0.0.1:7462/metrics");
            metrics.is_some_and(|text| text.contains("martlet_sensor_uplink_connected 1"))
        });
        setup
    }

    fn get(&self, namespace: &str, url: &str) -> Option<String> {
        let mut command = Network::command(namespace, "curl");
        let outcome = run(command.args(["--silent", "--fail", "--max-time", "10", url]), b"");
        (outcome.code == Some(0)).then(|| outcome.text().to_owned())
    }

    fn api(&self, path: &str) -> Value {
        let answer = self.get(&self.network.scanner, &format!("127.0.0.1:7461{path}")).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    /// Stops the sensor, which delivers its open windows, and the witness.
    fn finish(&mut self) -> PathBuf {
        // What the kernel still batches reaches the sensor within a tenth of a second.
        thread::sleep(Duration::from_millis(500));
        assert_eq!(self.sensor.take().unwrap().stop(), Some(0));
        self.witness.take().unwrap().stop();
        self.folder.path().join("witness.pcap")
    }
}

/// How many packets of the witness's capture a BPF filter matches.
fn witnessed(capture: &Path, filter: &str) -> u64 {
    let counted = run_ok("tcpdump", &["-n", "-r", capture.to_str().unwrap(), "--count", filter]);
    counted.split(' ').next().unwrap().parse().unwrap()
}

/// The row of a TCP or UDP port in an answer of `/api/v1/ports`.
fn row(ports: &Value, protocol: u64, port: u64) -> &Value {
    let rows = ports["ports"].as_array().unwrap();
    let found = rows.iter().find(|row| row["protocol"] == protocol && row["port"] == port);
    found.unwrap_or_else(|| panic!("no row for {protocol}/{port} in {ports}"))
}

#[test]
fn real_scanners_are_counted_with_their_kinds_and_marks() {
    if !root_with(&TOOLS) {
        return;
    }
    let mut setup = Setup::start(&format!("\"{DARK}\""));
    let network = &setup.network;
    let router = Network::hardware_address(&network.sensor, "dark0");
    let empty = setup.folder.path().join("empty");
    fs::write(&empty, "").unwrap();

    network.scan("nmap -sS -Pn -n --max-retries 0 --host-timeout 60s -p 1001-1003 198.18.0.0/28");
    // With second tries, which have another sequence number.
    network.scan("nmap -sS -Pn -n --max-retries 1 --host-timeout 60s -p 1005,1006 198.18.0.0/28");
    network.scan("nmap -sF -Pn -n --max-retries 0 --host-timeout 60s -p 1004 198.18.0.1");
    network.scan(&format!(
        "masscan 198.18.0.0/24 -p2001,2002 --rate 2000 --wait 0 --adapter scan0 --adapter-ip {SCANNER} --router-mac {router}"
    ));
    network.scan(&format!(
        "zmap -q -p 3001 -i scan0 -S {SCANNER} -G {router} -r 2000 -c 1 -b {} -o /dev/null {DARK}",
        empty.display()
    ));
    network.scan("hping3 -q -S -p 4001 -c 5 -i u2000 198.18.0.9");
    network.scan("hping3 -q -A -p 4002 -c 5 -i u2000 198.18.0.9");
    network.scan("hping3 -q -R -s 4003 -k -p 9 -c 5 -i u2000 198.18.0.9");
    network.scan("hping3 -q -SA -s 4004 -k -p 9 -c 5 -i u2000 198.18.0.9");
    network.scan("hping3 -q --udp -p 4005 -c 5 -i u2000 198.18.0.9");
    network.scan("hping3 -q -1 -c 5 -i u2000 198.18.0.9");
    let capture = setup.finish();

    let all = witnessed(&capture, "dst net 198.18.0.0/24 and ip");
    let port = |filter: &str| witnessed(&capture, &format!("dst net 198.18.0.0/24 and {filter}"));
    // nmap: 16 addresses x 3 ports; masscan: 256 x 2; zmap: 256. What the tools really sent is what the witness saw.
    assert!(port("tcp dst portrange 1001-1003") >= 48);
    assert!(port("tcp dst portrange 2001-2002") >= 500);
    assert!(port("tcp dst port 3001") >= 250);
    eventually("all packets at the collector", || {
        setup.api("/api/v1/summary")["totals"]["packets"].as_u64().unwrap() >= all
    });

    let summary = setup.api("/api/v1/summary?limit=100");
    assert_eq!(summary["totals"]["packets"], all);
    assert_eq!(summary["totals"]["sources"]["count"], 1);
    let ports = setup.api("/api/v1/ports?limit=1000");
    for (number, kind) in
        [(1001, "scan"), (1004, "scan"), (2001, "scan"), (3001, "scan"), (4001, "scan"), (4002, "other")]
    {
        let row = row(&ports, 6, number);
        assert_eq!(row["packets"], port(&format!("tcp dst port {number}")), "{number}");
        assert_eq!(row["packets"], row["kinds"][kind], "{number}");
    }
    for number in [4003, 4004] {
        let row = row(&ports, 6, number);
        assert_eq!(row["packets"], 5);
        assert_eq!(row["kinds"]["backscatter"], 5);
    }
    assert_eq!(row(&ports, 17, 4005)["kinds"]["scan"], 5);
    let echo = ports["icmp"].as_array().unwrap().iter().find(|row| row["type"] == 8).unwrap();
    assert_eq!(echo["packets"], 5);

    let mark = |name: &str| summary["marks"][name]["packets"].as_u64().unwrap();
    let twice = port("tcp dst portrange 1005-1006");
    assert_eq!(mark("nmap_shape"), port("tcp dst portrange 1001-1003") + twice);
    // Whatever comes behind the first second try has a pair, and nothing before it: no scan here shares its mask with another.
    let pairs = mark("nmap");
    assert!(twice >= 48 && pairs >= twice / 3 && pairs < twice, "{pairs} of {twice}");
    assert_eq!(mark("unicornscan"), 0);
    assert_eq!(mark("stealth"), port("tcp dst port 1004"));
    // Debian's zmap is older than 4.1, its masscan older than November 2023.
    // The IP ID alone is met by chance once in 65,536 packets: as the witness saw, whoever sent it.
    let syn = "tcp[tcpflags] & (tcp-syn | tcp-ack | tcp-rst | tcp-fin) == tcp-syn";
    assert_eq!(mark("zmap_ipid"), port(&format!("{syn} and ip[4:2] == 54321")));
    assert_eq!(mark("zmap"), port("tcp dst port 3001"));
    assert!(mark("masscan_ipid") >= port("tcp dst portrange 2001-2002"));
    assert_eq!(mark("masscan"), port("tcp dst portrange 2001-2002"));
    assert_eq!(mark("mirai"), 0);

    let sensor = &setup.api("/api/v1/sensors")["sensors"][0];
    assert_eq!(sensor["kernel_drops"], 0);
    let watched = sensor["exposure"]["watched_seconds"].as_f64().unwrap();
    assert!((sensor["exposure"]["ipv4_address_seconds"].as_f64().unwrap() - 256.0 * watched).abs() < 1.0);
    assert!(watched > 1.0);
    drop(setup.collector);
}

/// What the kernel and the tools of an ordinary machine send looks like no scanner's.
#[test]
fn ordinary_stacks_carry_no_tool_mark() {
    if !root_with(&TOOLS) {
        return;
    }
    let mut setup = Setup::start(&format!("\"{DARK}\""));
    let network = &setup.network;
    let bash = |line: &str| run(Network::command(&network.scanner, "bash").args(["-c", line]), b"");
    // Connections that nobody answers: SYNs, and their repetitions. Curl's to several ports, bash's own.
    for (host, port) in [(5, 80), (6, 443), (7, 8080), (8, 22)] {
        let url = format!("http://198.18.0.{host}:{port}/");
        let _ = run(Network::command(&network.scanner, "curl").args(["--silent", "--max-time", "3", &url]), b"");
    }
    bash("timeout 2 bash -c 'echo > /dev/tcp/198.18.0.9/25'");
    let _ =
        run(Network::command(&network.scanner, "ping").args(["-c", "3", "-i", "0.2", "-W", "1", "198.18.0.10"]), b"");
    // A question of DNS, one of mDNS, and the first bytes of a QUIC client's Initial, by the kernel's UDP.
    bash("printf '\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\x01a\\0\\0\\x01\\0\\x01' > /dev/udp/198.18.0.11/53");
    bash("printf '\\0\\0\\0\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\x05local\\0\\0\\x0c\\0\\x01' > /dev/udp/198.18.0.12/5353");
    bash(
        "printf '\\xc3\\0\\0\\0\\x01\\x08\\x01\\x02\\x03\\x04\\x05\\x06\\x07\\x08\\0\\0%1180s' > /dev/udp/198.18.0.13/443",
    );
    let capture = setup.finish();

    let all = witnessed(&capture, "dst net 198.18.0.0/24 and ip");
    let syns = witnessed(&capture, "dst net 198.18.0.0/24 and tcp[tcpflags] & tcp-syn != 0");
    assert!(syns >= 10 && all >= syns + 6, "{syns} SYNs of {all}");
    eventually("all packets at the collector", || {
        setup.api("/api/v1/summary")["totals"]["packets"].as_u64().unwrap() >= all
    });
    let summary = setup.api("/api/v1/summary?limit=100");
    assert_eq!(summary["totals"]["packets"], all);
    for (mark, count) in summary["marks"].as_object().unwrap() {
        // The scanner's address is of a block for benchmarks, which is special; and an IP ID alone is met by chance.
        let expected = match mark.as_str() {
            "spoofed_looking" => all,
            "masscan_ipid" | "zmap_ipid" => continue,
            _ => 0,
        };
        assert_eq!(count["packets"], expected, "{mark}");
    }
}

#[test]
fn the_hosts_own_traffic_is_not_counted() {
    if !root_with(&TOOLS) {
        return;
    }
    // The sensor watches its own single address, over which its uplink runs too.
    let mut setup = Setup::start(&format!("\"{SENSOR}/32\""));
    let network = &setup.network;
    // What the host asks: echo requests, TCP to an open and to a closed port, UDP to a closed port.
    let _ = run(Network::command(&network.sensor, "ping").args(["-c", "5", "-i", "0.05", SCANNER]), b"");
    for port in ["7460", "9"] {
        let url = format!("http://{SCANNER}:{port}/");
        let _ = run(Network::command(&network.sensor, "curl").args(["--silent", "--max-time", "2", &url]), b"");
    }
    // bash's /dev/udp sends one datagram; the scanner's kernel answers with an ICMP error that quotes it.
    let question = format!("echo question > /dev/udp/{SCANNER}/5999");
    let _ = run(Network::command(&network.sensor, "bash").args(["-c", &question]), b"");
    // What others send unasked, twice: the kernel's own RST in between must not make the second one solicited.
    network.scan(&format!("hping3 -q -S -s 5001 -k -p 4444 -c 2 -i u200000 {SENSOR}"));
    let capture = setup.finish();

    let probes =
        witnessed(&capture, &format!("dst host {SENSOR} and tcp dst port 4444 and tcp[tcpflags] & tcp-syn != 0"));
    assert_eq!(probes, 2);
    // The scanner's kernel knows nothing of hping3's connections and answers the RSTs with nothing.
    let answers = witnessed(&capture, &format!("dst host {SENSOR} and (icmp or tcp src port 9)"));
    let solicited = || {
        setup.api("/api/v1/sensors")["sensors"][0]["rejected"]["solicited"].as_u64().is_some_and(|n| n >= answers + 3)
    };
    // Two workers hand over, each in its time: the window of the probes may be seen before one that was sent earlier.
    eventually("the probes and all that came before at the collector", || {
        setup.api("/api/v1/summary")["totals"]["packets"].as_u64().unwrap() >= probes && solicited()
    });
    let ports = setup.api("/api/v1/ports?limit=1000");
    let counted: Vec<&Value> = ports["ports"].as_array().unwrap().iter().collect();
    assert_eq!(counted.len(), 1, "{ports}");
    assert_eq!(row(&ports, 6, 4444)["packets"], probes);
    assert_eq!(ports["icmp"].as_array().unwrap().len(), 0, "{ports}");

    let rejected = &setup.api("/api/v1/sensors")["sensors"][0]["rejected"];
    let solicited = rejected["solicited"].as_u64().unwrap();
    let with_uplink = answers + witnessed(&capture, &format!("dst host {SENSOR} and tcp src port 7460"));
    // Five echo replies, one RST, one ICMP error. The uplink's last acknowledgements come after the last window.
    assert_eq!(answers, 7);
    assert!((answers + 3..=with_uplink).contains(&solicited), "{rejected}, {with_uplink} witnessed");
    assert!(rejected["outbound"].as_u64().unwrap() > 0);
}
