//! Sensor and collector are killed at random moments, the line between them is cut, and the collector's disk is filled,
//! while packets of known number are counted. At the end every packet that the sensor closed a window on is there once.
//!
//! `MARTLET_KILL_SECONDS` sets how long each test makes trouble, `MARTLET_KILL_SEED` repeats its choices.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};
use std::{env, thread};

use martlet_collector::archive::{FileError, Merge};
use martlet_tests::compare::{assert_same, count};
use martlet_tests::daemon::{Daemon, eventually, packets, root_with, run_ok};
use martlet_tests::program::{program, run};
use martlet_window::TrafficClass;
use serde_json::Value;

/// The collector's address on the line between the namespaces, and the sensor's.
const CENTRE: &str = "198.19.1.2";
const SITE: &str = "198.19.1.1";
/// The scanner's address on the line that the sensor watches, and the sensor's.
const OUTSIDE: &str = "198.19.0.2";
const EDGE: &str = "198.19.0.1";
const DARK: &str = "198.18.0.0/24";
const TOOLS: [&str; 6] = ["ip", "curl", "hping3", "mount", "umount", "tcpdump"];

/// How long a disturbance lasts.
const DISTURBANCE: Duration = Duration::from_millis(700);

fn trouble() -> Duration {
    Duration::from_secs(env::var("MARTLET_KILL_SECONDS").map_or(20, |text| text.parse().unwrap()))
}

/// A small generator (xorshift64*), so that a run can be repeated from its seed.
struct Choices(u64);

impl Choices {
    #[expect(clippy::print_stderr, reason = "without the seed a failure cannot be repeated")]
    fn new(test: &str) -> Choices {
        let clock = || u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos()) | 1;
        let seed = env::var("MARTLET_KILL_SEED").map_or_else(|_| clock(), |text| text.parse().unwrap());
        eprintln!("{test}: MARTLET_KILL_SEED={seed} repeats these choices");
        Choices(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn pause(&mut self, longest_ms: u64) {
        thread::sleep(Duration::from_millis(self.below(longest_ms)));
    }
}

/// Two namespaces with two lines between them, and a small disk for the collector. Gone with the value.
struct Place {
    centre: String,
    site: String,
    folder: tempfile::TempDir,
    disk: PathBuf,
    collector: Option<Daemon>,
}

impl Place {
    fn make() -> Place {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed));
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        let place = Place { centre: format!("mt-c-{id}"), site: format!("mt-s-{id}"), folder, disk, collector: None };
        let (centre, site) = (place.centre.as_str(), place.site.as_str());
        for namespace in [centre, site] {
            run_ok("ip", &["netns", "add", namespace]);
            run_ok("ip", &["-n", namespace, "link", "set", "lo", "up"]);
        }
        for (here, there, left, right) in [("up0", "up1", CENTRE, SITE), ("out0", "dark0", OUTSIDE, EDGE)] {
            run_ok("ip", &["link", "add", here, "netns", centre, "type", "veth", "peer", "name", there, "netns", site]);
            for (namespace, device, address) in [(centre, here, left), (site, there, right)] {
                run_ok("ip", &["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", device]);
                run_ok("ip", &["-n", namespace, "link", "set", device, "up"]);
            }
        }
        run_ok("ip", &["-n", centre, "route", "add", DARK, "via", EDGE]);
        fs::create_dir(&place.disk).unwrap();
        run_ok("mount", &["-t", "tmpfs", "-o", "size=24m", "martlet-test", place.disk.to_str().unwrap()]);
        place
    }

    fn command(namespace: &str, name: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(name.as_ref());
        command
    }

    /// Starts the collector; it may take as long as it needs to be ready.
    fn start_collector(&mut self) {
        let mut command = Place::command(&self.centre, program("martlet-collector"));
        command.args(["serve", "--listen", &format!("{CENTRE}:7460"), "--http", "127.0.0.1:7461", "--data-dir"]);
        // The namespaces are the tunnel.
        command.env("MARTLET_INGEST__ALLOW_PLAIN", "true");
        // Small, so that segments end, commits are many, and the disk can be full.
        command.arg(self.disk.join("data")).envs([
            ("MARTLET_STORE__COMMIT_INTERVAL_MS", "300"),
            ("MARTLET_STORE__SEGMENT_BYTES", "262144"),
            ("MARTLET_STORE__RESERVE_BYTES", "4194304"),
            // The archive writes all the time, and a little at a time; captures' days are merged as soon as they may be.
            ("MARTLET_ARCHIVE__PENDING_BYTES", "0"),
            ("MARTLET_ARCHIVE__RUN_ROWS", "2048"),
            ("MARTLET_LOG__FILTER", "error"),
        ]);
        self.collector = Some(Daemon::start(&mut command));
    }

    fn get(&self, namespace: &str, url: &str) -> Option<String> {
        let mut command = Place::command(namespace, "curl");
        let outcome = run(command.args(["--silent", "--fail", "--max-time", "10", url]), b"");
        (outcome.code == Some(0)).then(|| outcome.text().to_owned())
    }

    fn is_ready(&self) -> bool {
        self.get(&self.centre, "127.0.0.1:7461/readyz").is_some()
    }

    fn api(&self, path: &str) -> Value {
        let answer = self.get(&self.centre, &format!("127.0.0.1:7461{path}")).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    fn kill_collector(&mut self, choices: &mut Choices) {
        // Dropping sends SIGKILL.
        self.collector = None;
        choices.pause(500);
        self.start_collector();
    }

    /// Takes the line between sensor and collector down for a while.
    fn cut_line(&self) {
        run_ok("ip", &["-n", &self.centre, "link", "set", "up0", "down"]);
        thread::sleep(DISTURBANCE);
        run_ok("ip", &["-n", &self.centre, "link", "set", "up0", "up"]);
    }

    /// Leaves no byte free for a while.
    fn fill_disk(&self) {
        let filler = self.disk.join("filler");
        let mut file = fs::File::create(&filler).unwrap();
        // Until it fails, which is what is wanted.
        let _ = std::io::copy(&mut std::io::repeat(0), &mut file);
        thread::sleep(DISTURBANCE);
        fs::remove_file(&filler).unwrap();
    }

    fn disturb(&mut self, choices: &mut Choices, done: &mut BTreeMap<&'static str, u32>) {
        let what = match choices.below(3) {
            0 => {
                self.kill_collector(choices);
                "collector killed"
            }
            1 => {
                self.cut_line();
                "line cut"
            }
            _ => {
                self.fill_disk();
                "disk filled"
            }
        };
        *done.entry(what).or_default() += 1;
    }

    /// Every packet that the API knows is in the archive once.
    fn assert_archived(&self, class: TrafficClass) {
        let metric = |name: &str| -> f64 {
            let metrics = self.get(&self.centre, "127.0.0.1:7461/metrics").unwrap();
            let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.unwrap().parse().unwrap()
        };
        let data = self.disk.join("data");
        eventually("everything to be committed", || metric("martlet_collector_journal_uncommitted_records") == 0.0);
        eventually("everything to be archived", || metric("martlet_collector_archive_pending_records") == 0.0);
        assert!(metric("martlet_collector_archive_lost_records") == 0.0);
        // A file that another took the place of after it was listed is gone: the list is right when it is made again.
        let archived = loop {
            match archived_packets(&data, class) {
                Err(FileError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => (),
                archived => break archived.unwrap(),
            }
        };
        assert_eq!(archived, packets(&self.api("/api/v1/status"), class.name()));
    }

    /// Nothing was lost, and nothing is double.
    fn assert_whole(&self, class: &str) {
        let sensors = self.api(&format!("/api/v1/sensors?class={class}"));
        for sensor in sensors["sensors"].as_array().unwrap() {
            assert_eq!(sensor["lost"]["batches"], 0, "{sensor}");
        }
    }
}

fn archived_packets(data: &Path, class: TrafficClass) -> Result<u64, FileError> {
    let files = run_ok(program("martlet-collector"), &["archive", "files", "--data-dir", data.to_str().unwrap()]);
    let mut archived = 0;
    for file in files.lines() {
        let mut merge = Merge::open(&[PathBuf::from(file)])?;
        while let Some(row) = merge.next_row()? {
            if merge.labels().observer(row.observer).class == class {
                archived += row.packets;
            }
        }
    }
    Ok(archived)
}

impl Drop for Place {
    fn drop(&mut self) {
        self.collector = None;
        let _ = Command::new("umount").arg("--lazy").arg(&self.disk).status();
        for namespace in [&self.centre, &self.site] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

#[expect(clippy::print_stderr, reason = "how much trouble there was is what the test is worth")]
fn report(test: &str, done: &BTreeMap<&'static str, u32>) {
    eprintln!("{test}: {done:?}");
}

#[test]
fn a_replayed_capture_is_counted_once_whatever_is_killed() {
    if !root_with(&TOOLS) {
        return;
    }
    let test = "replay";
    let (mut choices, mut done) = (Choices::new(test), BTreeMap::new());
    let mut place = Place::make();
    let file = place.folder.path().join("drill.pcap");
    run_ok(program("martlet-drill"), &["--out", file.to_str().unwrap(), "--packets", "60000", "--quiet"]);
    let counted = count(&file, &["--observe", DARK]);
    place.start_collector();
    // The drill's day in a few seconds, so that there is something to interrupt; at last as fast as it goes.
    let replay = |place: &Place, speed: &[&str]| -> Child {
        let mut command = Place::command(&place.site, program("martlet-sensor"));
        command.args(["replay", "--class", "drill", "--sensor", "site", "--observe", DARK, "--collector"]);
        command.arg(format!("{CENTRE}:7460")).args(speed).arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let slow = ["--speed", "14400"];
    let mut child = replay(&place, &slow);
    let start = Instant::now();
    while start.elapsed() < trouble() {
        choices.pause(900);
        if choices.below(3) == 0 || child.try_wait().unwrap().is_some() {
            child.kill().unwrap();
            child.wait().unwrap();
            child = replay(&place, &slow);
            *done.entry("replay killed").or_default() += 1;
        } else {
            place.disturb(&mut choices, &mut done);
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    report(test, &done);
    eventually("the collector to be ready", || place.is_ready());
    assert!(martlet_tests::program::wait(&mut replay(&place, &[])).success());
    assert_same(&|path| place.api(path), "drill", &counted);
    place.assert_whole("drill");
    place.assert_archived(TrafficClass::Drill);
}

#[test]
fn a_live_sensor_loses_nothing_that_it_closed() {
    if !root_with(&TOOLS) {
        return;
    }
    let test = "live";
    let (mut choices, mut done) = (Choices::new(test), BTreeMap::new());
    let mut place = Place::make();
    let config = place.folder.path().join("sensor.toml");
    let state = place.folder.path().join("state");
    let text = format!(
        "[sensor]\nname = \"site\"\nposture = \"silent\"\nstate_dir = \"{}\"\n[capture]\ninterfaces = [\"dark0\"]\n\
         [observe]\nnetworks = [\"{DARK}\"]\npublic_address = \"as_seen\"\n[window]\nseconds = 1\n\
         [uplink]\ncollector = \"{CENTRE}:7460\"\n[log]\nfilter = \"error\"\n",
        state.display()
    );
    fs::write(&config, text).unwrap();
    let witness_file = place.folder.path().join("witness.pcap");
    let mut command = Place::command(&place.site, "tcpdump");
    command.args(["-Z", "root", "-U", "-n", "-i", "dark0", "--immediate-mode", "-w"]);
    let witness = Daemon::start(command.arg(&witness_file));
    place.start_collector();

    let start_sensor = |place: &Place| {
        let mut command = Place::command(&place.site, program("martlet-sensor"));
        let sensor = Daemon::start(command.args(["run", "--config"]).arg(&config));
        // Packets that come before it watches are nobody's.
        eventually("the sensor to watch", || {
            let metrics = place.get(&place.site, "127.0.0.1:7462/metrics");
            metrics.is_some_and(|text| text.contains("martlet_sensor_"))
        });
        sensor
    };
    let mut sensor = start_sensor(&place);
    let start = Instant::now();
    let mut port = 1000;
    while start.elapsed() < trouble() {
        port += 1;
        let mut scanner = Place::command(&place.centre, "hping3");
        let line = format!("-q -S -p {port} -c 300 -i u1000 198.18.0.{}", choices.below(250) + 1);
        let _ = run(scanner.args(line.split(' ')), b"");
        // The window, its grace and the sync: what is closed then must survive.
        let closed = Instant::now() + Duration::from_millis(2_500);
        place.disturb(&mut choices, &mut done);
        thread::sleep(closed.saturating_duration_since(Instant::now()));
        match choices.below(4) {
            0 => {
                drop(sensor);
                *done.entry("sensor killed").or_default() += 1;
                sensor = start_sensor(&place);
            }
            1 => {
                assert_eq!(sensor.stop(), Some(0));
                *done.entry("sensor stopped").or_default() += 1;
                sensor = start_sensor(&place);
            }
            _ => {}
        }
    }
    report(test, &done);
    eventually("the collector to be ready", || place.is_ready());
    witness.stop();
    let filter = format!("dst net {DARK} and tcp");
    let witnessed = run_ok("tcpdump", &["-n", "-r", witness_file.to_str().unwrap(), "--count", &filter]);
    let witnessed: u64 = witnessed.split(' ').next().unwrap().parse().unwrap();
    assert!(witnessed >= 300);
    eventually("all packets at the collector", || {
        place
            .get(&place.centre, "127.0.0.1:7461/api/v1/status")
            .is_some_and(|status| packets(&serde_json::from_str(&status).unwrap(), "real") >= witnessed)
    });
    assert_eq!(sensor.stop(), Some(0));
    assert_eq!(packets(&place.api("/api/v1/status"), "real"), witnessed);
    place.assert_whole("real");
    place.assert_archived(TrafficClass::Real);
}
