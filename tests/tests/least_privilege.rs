//! Whole sensors with no more privileges than they need, in network namespaces that this test makes: from packets on a wire
//! to counts at a collector. What a confined process cannot do is tested beside the sensor (`sensor/tests/sandbox.rs`).

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use martlet_tests::daemon::{Daemon, eventually, root_with, run_ok};
use martlet_tests::network::{DARK, Network, SCANNER};
use martlet_tests::program::{program, run};
use serde_json::Value;

const TOOLS: [&str; 5] = ["ip", "hping3", "curl", "setpriv", "id"];
/// Exists on every Linux.
const USER: &str = "nobody";
/// `CAP_NET_RAW` as a set.
const NET_RAW: &str = "0000000000002000";
const NONE: &str = "0000000000000000";

/// Both daemons: the collector with the scanner, so that the uplink crosses the link that is watched.
struct Setup {
    network: Network,
    _collector: Daemon,
    folder: tempfile::TempDir,
}

impl Setup {
    /// Starts a collector, and makes a state directory that belongs to the user.
    fn new() -> Setup {
        let network = Network::make();
        let folder = tempfile::tempdir().unwrap();
        // The user must get at the program and the directory.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Network::command(&network.scanner, program("martlet-collector"));
        command.args(["serve", "--listen", &format!("{SCANNER}:7460"), "--http", "127.0.0.1:7461", "--data-dir"]);
        // The namespaces are the tunnel.
        command.env("MARTLET_INGEST__ALLOW_PLAIN", "true");
        let collector = Daemon::start(command.arg(folder.path().join("collector")));
        let setup = Setup { network, _collector: collector, folder };
        fs::copy(program("martlet-sensor"), setup.path("martlet-sensor")).unwrap();
        fs::create_dir(setup.path("state")).unwrap();
        let id = |flag| run_ok("id", &[flag, USER]).trim().parse().unwrap();
        chown(setup.path("state"), Some(id("-u")), Some(id("-g"))).unwrap();
        eventually("the collector to be ready", || {
            setup.get(&setup.network.scanner, "127.0.0.1:7461/readyz").is_some()
        });
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the sensor's configuration, with further lines of `[sensor]`.
    fn config(&self, sensor: &str) -> PathBuf {
        let text = format!(
            "[sensor]\nname = \"dark\"\nposture = \"silent\"\nstate_dir = \"{}\"\n{sensor}\n[capture]\ninterfaces = \
             [\"dark0\"]\n[observe]\nnetworks = [\"{DARK}\"]\npublic_address = \"as_seen\"\n[window]\nseconds = 1\n\
             [uplink]\ncollector = \"{SCANNER}:7460\"\n[log]\nfilter = \"warn\"\n",
            self.path("state").display()
        );
        fs::write(self.path("sensor.toml"), text).unwrap();
        self.path("sensor.toml")
    }

    fn get(&self, namespace: &str, url: &str) -> Option<String> {
        let mut command = Network::command(namespace, "curl");
        let outcome = run(command.args(["--silent", "--fail", "--max-time", "10", url]), b"");
        (outcome.code == Some(0)).then(|| outcome.text().to_owned())
    }

    fn is_connected(&self) -> bool {
        let metrics = self.get(&self.network.sensor, "127.0.0.1:7462/metrics");
        metrics.is_some_and(|text| text.contains("martlet_sensor_uplink_connected 1"))
    }

    /// Packets to a TCP port that the collector knows of.
    fn counted(&self, port: u64) -> u64 {
        let answer = self.get(&self.network.scanner, "127.0.0.1:7461/api/v1/ports?limit=1000").unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let row = answer["ports"].as_array().unwrap().iter().find(|row| row["protocol"] == 6 && row["port"] == port);
        row.map_or(0, |row| row["packets"].as_u64().unwrap())
    }

    /// Sends probes to a port, which all reach the collector as counts.
    fn probe(&self, port: u64, packets: u64) {
        self.network.scan(&format!("hping3 -q -S -p {port} -c {packets} -i u2000 198.18.0.9"));
        eventually("the probes at the collector", || self.counted(port) >= packets);
        assert_eq!(self.counted(port), packets);
    }
}

/// A field of a process's status.
fn status(process: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in {status}")).trim().to_owned()
}

/// What holds for every thread of a sensor, however it was started.
fn assert_confined(sensor: &Daemon, bounding: &str) {
    let threads = fs::read_dir(format!("/proc/{}/task", sensor.id())).unwrap();
    let threads: Vec<u32> =
        threads.map(|thread| thread.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    // Capture, encoder and edge.
    assert!(threads.len() >= 3, "{threads:?}");
    let uid = run_ok("id", &["-u", USER]).trim().to_owned();
    for thread in threads {
        assert_eq!(status(thread, "Uid").split('\t').collect::<Vec<_>>(), [uid.as_str(); 4]);
        for (set, expected) in
            [("CapEff", NET_RAW), ("CapPrm", NET_RAW), ("CapInh", NONE), ("CapAmb", NONE), ("CapBnd", bounding)]
        {
            assert_eq!(status(thread, set), expected, "{set}");
        }
        assert_eq!(status(thread, "NoNewPrivs"), "1");
        assert_eq!(status(thread, "Seccomp"), "2");
    }
}

/// The user and the one capability from outside, as a service manager gives them.
#[test]
fn a_user_with_one_capability_counts_and_captures_an_interface_that_comes_back() {
    if !root_with(&TOOLS) {
        return;
    }
    let setup = Setup::new();
    let group = run_ok("id", &["-g", USER]);
    let mut command = Network::command(&setup.network.sensor, "setpriv");
    command.args(["--reuid", USER, "--regid", group.trim(), "--clear-groups", "--inh-caps", "-all,+net_raw"]);
    command.args(["--ambient-caps", "-all,+net_raw", "--bounding-set", "-all,+net_raw"]);
    command.arg(setup.path("martlet-sensor")).args(["run", "--config"]).arg(setup.config(""));
    let sensor = Daemon::start(&mut command);
    eventually("the sensor to be connected", || setup.is_connected());
    assert_confined(&sensor, NET_RAW);
    setup.probe(4001, 50);

    setup.network.unplug();
    // Not only the wire is gone: what comes back is another interface of the same name.
    std::thread::sleep(Duration::from_secs(3));
    setup.network.plug();
    eventually("the interface to be captured again", || {
        setup.network.scan("hping3 -q -S -p 4002 -c 1 198.18.0.9");
        setup.counted(4002) > 0
    });
    assert!(setup.is_connected());
    setup.probe(4003, 50);
    assert_eq!(sensor.stop(), Some(0));
}

/// Root gives up being root; and the service manager is told that work goes on.
#[test]
fn root_becomes_the_user_and_the_watchdog_is_told() {
    if !root_with(&TOOLS) {
        return;
    }
    let setup = Setup::new();
    let socket = setup.path("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let config = setup.config(&format!("user = \"{USER}\""));
    let sensor = start_as_root(&setup, &config, &socket);
    assert_eq!(received(&manager), "READY=1");
    eventually("the sensor to be connected", || setup.is_connected());
    assert_confined(&sensor, NONE);
    setup.probe(4001, 50);
    for _ in 0..3 {
        assert_eq!(received(&manager), "WATCHDOG=1");
    }
    // A sensor whose interface is gone is well: it waits.
    setup.network.unplug();
    std::thread::sleep(Duration::from_secs(4));
    manager.set_nonblocking(true).unwrap();
    while manager.recv(&mut [0; 100]).is_ok() {}
    manager.set_nonblocking(false).unwrap();
    assert_eq!(received(&manager), "WATCHDOG=1");
    assert_eq!(sensor.stop(), Some(0));
}

fn start_as_root(setup: &Setup, config: &Path, socket: &Path) -> Daemon {
    let mut command: Command = Network::command(&setup.network.sensor, program("martlet-sensor"));
    // Told three times in nine seconds.
    command.env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", "9000000");
    Daemon::start(command.args(["run", "--config"]).arg(config))
}

fn received(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 100];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}
