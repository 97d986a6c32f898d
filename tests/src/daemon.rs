//! Running daemons, and what they answer over HTTP.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use serde_json::Value;

use crate::program::program;

/// How long a daemon may take to start, to stop, or to show a number.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A process that ends with the test.
#[derive(Debug)]
pub struct Daemon(Child);

impl Daemon {
    /// Starts a program in the background.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Daemon {
        Daemon(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap())
    }

    /// Asks it to stop (SIGTERM) and returns its exit code.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn stop(mut self) -> Option<i32> {
        let told = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(told.success());
        crate::program::wait(&mut self.0).code()
    }

    /// Its process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already, which is all that is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A collector on free ports of the loopback address.
#[derive(Debug)]
pub struct Collector {
    daemon: Daemon,
    /// Where sensors call.
    pub ingest: SocketAddr,
    /// Where the API is.
    pub http: SocketAddr,
    state: PathBuf,
    /// Its own data directory, unless it was given one.
    own_state: Option<tempfile::TempDir>,
}

impl Collector {
    /// Starts a collector and waits until it is ready.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start() -> Collector {
        Collector::start_with(&[])
    }

    /// As [`Collector::start`], with variables of the environment.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_with(settings: &[(&str, &Path)]) -> Collector {
        let state = tempfile::tempdir().unwrap();
        let mut collector = Collector::start_in(state.path(), settings);
        collector.own_state = Some(state);
        collector
    }

    /// As [`Collector::start_with`], with a data directory that outlasts it.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_in(state: &Path, settings: &[(&str, &Path)]) -> Collector {
        Collector::start_by(Command::new(program("martlet-collector")), state, settings)
    }

    /// As [`Collector::start_with`], by a program that runs it, such as `prlimit` with its arguments.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_confined(by: &[&str], settings: &[(&str, &Path)]) -> Collector {
        let state = tempfile::tempdir().unwrap();
        let mut command = Command::new(by[0]);
        command.args(&by[1..]).arg(program("martlet-collector"));
        let mut collector = Collector::start_by(command, state.path(), settings);
        collector.own_state = Some(state);
        collector
    }

    fn start_by(mut command: Command, state: &Path, settings: &[(&str, &Path)]) -> Collector {
        let (ingest, http) = (free_address(), free_address());
        command.args(["serve", "--listen", &ingest.to_string(), "--http", &http.to_string(), "--data-dir"]);
        let daemon = Daemon::start(command.arg(state).envs(settings.iter().copied()));
        let collector = Collector { daemon, ingest, http, state: state.to_owned(), own_state: None };
        eventually("the collector to be ready", || get(http, "/readyz").is_some_and(|(status, _)| status == 200));
        collector
    }

    /// Its data directory.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Its process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.daemon.id()
    }

    /// The value of a metric's sample, written as in the exposition.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn metric(&self, series: &str) -> f64 {
        let (_, metrics) = get(self.http, "/metrics").unwrap();
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        metrics.lines().find_map(value).unwrap()
    }

    /// The JSON at a path of the API.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn api(&self, path: &str) -> Value {
        let (status, body) = get(self.http, path).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Stops it and returns its exit code.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn stop(self) -> Option<i32> {
        self.daemon.stop()
    }
}

/// An address of the loopback interface that nobody listened on a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Packets of a class in an answer of `/api/v1/status`.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn packets(status: &Value, class: &str) -> u64 {
    let found = status["classes"].as_array().unwrap().iter().find(|entry| entry["class"] == class);
    found.map_or(0, |entry| entry["packets"].as_u64().unwrap())
}

/// Status and body of a GET request; `None` if nobody answers.
#[must_use]
pub fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "this client reads whole bodies only: {head}");
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// Waits until something holds.
///
/// # Panics
/// If it does not within [`PATIENCE`].
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Whether tests that need root and these programs can run; says why not, or fails where they are required: with
/// `MARTLET_REQUIRE_ROOT=1`.
///
/// # Panics
/// If they are required and something is missing.
#[must_use]
#[expect(clippy::print_stderr, reason = "a test that did nothing must say so")]
pub fn root_with(tools: &[&str]) -> bool {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let found = |tool: &&&str| {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|folder| folder.join(tool).exists())
    };
    let missing = if !is_root {
        Some("root".to_owned())
    } else {
        tools.iter().find(|tool| !found(tool)).map(|tool| format!("the program {tool}"))
    };
    let Some(missing) = missing else { return true };
    assert!(env::var_os("MARTLET_REQUIRE_ROOT") != Some("1".into()), "this test needs {missing}");
    eprintln!("skipped: this test needs {missing}");
    false
}

/// Runs a program that must succeed, and returns what it wrote to standard output.
///
/// # Panics
/// If it fails.
pub fn run_ok(program: impl AsRef<OsStr>, arguments: &[&str]) -> String {
    let output = Command::new(&program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?} {arguments:?}: {error}", program.as_ref());
    String::from_utf8_lossy(&output.stdout).into_owned()
}
