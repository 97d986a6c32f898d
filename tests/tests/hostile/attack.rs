//! A collector with its own CA, a sensor in order, and what an attack costs the two.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use martlet_enrol::ALPN_INGEST;
use martlet_tests::daemon::Collector;
use martlet_tests::program::{program, run};
use rustls::ClientConfig;

use super::honest::{Honest, Identity, caller};

/// How long the sensor is watched without an attack.
const QUIET: Duration = Duration::from_secs(2);
/// How often it delivers.
const BEAT: Duration = Duration::from_millis(25);
/// A median may be twice the quiet one, and this more: a machine that is shared moves both.
const FLOOR: Duration = Duration::from_millis(20);
/// Ticks of a processor's time in a second, as Linux shows them to programs.
const TICKS: f64 = 100.0;

/// A collector under attack.
pub(crate) struct Fortress {
    pub(crate) collector: Collector,
    folder: tempfile::TempDir,
    /// Attacks share two cores with what they are aimed at: one at a time.
    _turn: MutexGuard<'static, ()>,
}

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fortress {
    /// One without TLS.
    pub(crate) fn plain(settings: &[(&str, &str)]) -> Fortress {
        let turn = turn();
        let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, Path::new(value))).collect();
        Fortress { collector: Collector::start_with(&settings), folder: tempfile::tempdir().unwrap(), _turn: turn }
    }

    /// One that enrols sensors under 127.0.0.1, with a limit of descriptors if one is given.
    pub(crate) fn new(settings: &[(&str, &str)], descriptors: Option<u32>) -> Fortress {
        let turn = turn();
        let mut all = vec![("MARTLET_ENROLL__NAMES", Path::new("[\"127.0.0.1\"]"))];
        all.extend(settings.iter().map(|(key, value)| (*key, Path::new(value))));
        let collector = match descriptors {
            Some(most) => Collector::start_confined(&["prlimit", &format!("--nofile={most}:{most}")], &all),
            None => Collector::start_with(&all),
        };
        Fortress { collector, folder: tempfile::tempdir().unwrap(), _turn: turn }
    }

    /// Enrols a sensor; returns the directory of its TLS files.
    pub(crate) fn enrol(&self, name: &str) -> PathBuf {
        let mut command = Command::new(program("martlet-collector"));
        command.args(["enroll", "create", "--name", name, "--data-dir"]).arg(self.collector.state());
        let token = run(&mut command, b"");
        let state = self.folder.path().join(name);
        let mut command = Command::new(program("martlet-sensor"));
        command.args(["enroll", "--collector", &self.collector.ingest.to_string(), "--token-file", "-", "--state-dir"]);
        command
            .arg(&state)
            .args(["--interface", "lo", "--config"])
            .arg(self.folder.path().join(format!("{name}.toml")));
        let outcome = run(&mut command, &token.stdout);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        state.join("tls")
    }

    /// How an enrolled sensor calls.
    pub(crate) fn sensor(&self, name: &str) -> Arc<ClientConfig> {
        let tls = self.enrol(name);
        caller(&tls.join("ca.pem"), Some(Identity::read(&tls.join("sensor.pem"))), ALPN_INGEST)
    }

    /// The certificates of the collector's CA, once somebody has enrolled under this name.
    pub(crate) fn ca(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).join("tls/ca.pem")
    }

    pub(crate) fn metric(&self, family: &str, reason: &str) -> u64 {
        count(&self.collector, family, reason)
    }

    fn status(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.collector.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
    }

    /// Seconds of processor time that the collector has taken.
    fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.collector.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / TICKS
    }

    /// Watches a sensor in quiet, and then while `attack` goes on, which says how often it has done what it does.
    #[expect(clippy::print_stdout, reason = "the figures of benches/results, with --nocapture")]
    pub(crate) fn endure(&self, name: &str, sensor: &mut Honest, attack: impl FnOnce() -> u64 + Send) -> Toll {
        // The first ones make what is made once: threads, buffers, a segment of the journal.
        watch(sensor, || false, Duration::from_millis(300));
        let quiet = watch(sensor, || false, QUIET);
        let (memory, cpu, begun) = (self.status("VmRSS:"), self.cpu_seconds(), Instant::now());
        // What was most so far is forgotten.
        fs::write(format!("/proc/{}/clear_refs", self.collector.id()), "5").unwrap();
        let over = AtomicBool::new(false);
        let (times, attacked) = thread::scope(|scope| {
            let attacker = scope.spawn(|| {
                // Also if it fails.
                let _end = SetWhenDropped(&over);
                attack()
            });
            (attacked(sensor, &over), attacker.join().unwrap())
        });
        let seconds = begun.elapsed().as_secs_f64();
        let toll = Toll {
            times,
            attacks: attacked,
            seconds,
            cpu_share: (self.cpu_seconds() - cpu) / seconds,
            grown_mib: self.status("VmHWM:").saturating_sub(memory) >> 10,
            quiet,
        };
        println!(
            "| {name} | {} | {:.1} | {:.0} | {:.0} | {} | {:.1} | {:.1} |",
            toll.attacks,
            toll.seconds,
            toll.attacks as f64 / toll.seconds,
            100.0 * toll.cpu_share,
            toll.grown_mib,
            1000.0 * median(&toll.quiet).as_secs_f64(),
            1000.0 * median(&toll.times).as_secs_f64(),
        );
        toll
    }
}

struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn attacked(sensor: &mut Honest, over: &AtomicBool) -> Vec<Duration> {
    watch(sensor, || over.load(Relaxed), Duration::from_secs(60))
}

fn watch(sensor: &mut Honest, is_over: impl Fn() -> bool, longest: Duration) -> Vec<Duration> {
    let begun = Instant::now();
    let mut times = Vec::new();
    while begun.elapsed() < longest && !is_over() {
        times.push(sensor.deliver());
        thread::sleep(BEAT);
    }
    times
}

/// What an attack cost.
pub(crate) struct Toll {
    /// The sensor's waits for acknowledgements before it and during it.
    quiet: Vec<Duration>,
    times: Vec<Duration>,
    pub(crate) attacks: u64,
    pub(crate) seconds: f64,
    cpu_share: f64,
    grown_mib: u64,
}

impl Toll {
    /// Asserts that the collector took no more memory and processor time than that, and that the sensor was hardly disturbed.
    pub(crate) fn is_at_most(&self, mib: u64, cores: f64) {
        assert!(self.grown_mib <= mib, "the collector grew by {} MiB", self.grown_mib);
        assert!(self.cpu_share <= cores, "the collector took {:.2} cores", self.cpu_share);
        let (quiet, during) = (median(&self.quiet), median(&self.times));
        assert!(during <= 2 * quiet + FLOOR, "acknowledgements took {during:?}, and {quiet:?} before");
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

/// A counter of the collector's, by its reason or outcome.
pub(crate) fn count(collector: &Collector, family: &str, reason: &str) -> u64 {
    let label = if ["enrolments_total", "ingest_batches_total"].contains(&family) { "outcome" } else { "reason" };
    whole(collector, &format!("{family}{{{label}=\"{reason}\"}}"))
}

/// One of the collector's counters or gauges.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts, far below 2^53")]
pub(crate) fn whole(collector: &Collector, series: &str) -> u64 {
    collector.metric(&format!("martlet_collector_{series}")) as u64
}

/// Lets something be done so often in a second, for so long.
pub(crate) fn paced(per_second: u32, seconds: f64, mut each: impl FnMut(u64)) -> u64 {
    let begun = Instant::now();
    let mut done = 0;
    while begun.elapsed().as_secs_f64() < seconds {
        each(done);
        done += 1;
        let due = f64::from(u32::try_from(done).unwrap()) / f64::from(per_second);
        thread::sleep(Duration::from_secs_f64(due).saturating_sub(begun.elapsed()));
    }
    done
}

/// Calls from one of the 16 million addresses of the loopback interface. `None` if it is not let in within ten seconds: a full listen queue
/// lets callers try again after one, three and seven.
pub(crate) fn call_from(source: u32, to: SocketAddr) -> Option<TcpStream> {
    // The standard library cannot choose where it calls from.
    thread_local!(static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    let source = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + source);
    let stream = RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((source, 0).into()).unwrap();
            let called = tokio::time::timeout(Duration::from_secs(10), socket.connect(to)).await;
            called.ok()?.ok()?.into_std().ok()
        })
    })?;
    stream.set_nonblocking(false).unwrap();
    let patience = Some(Duration::from_secs(5));
    stream.set_read_timeout(patience).unwrap();
    stream.set_write_timeout(patience).unwrap();
    Some(stream)
}
