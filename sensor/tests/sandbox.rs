//! What a process can and cannot do that has entered the sensor's sandbox. Each case runs in a process of its own: this
//! program, started again. Whole sensors under it are in the workspace's tests (`least_privilege.rs`).

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is its own harness, and its child reports on standard output"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use martlet_sensor::config;
use martlet_sensor::sandbox::Sandbox;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Uid, User, getppid, setuid};
use rustix::net::{AddressFamily as Family, Protocol, SocketType as Kind, socket};
use rustix::process::{Resource, Rlimit, setrlimit};

/// The argument by which this program knows that it is the confined one; behind it a case and a configuration.
const CONFINED: &str = "--confined";
/// Exists on every Linux.
const USER: &str = "nobody";

type Case = (&'static str, fn());

const CASES: [Case; 9] = [
    ("a_confined_process_does_what_a_sensor_does_and_nothing_else", confined_by_address),
    ("a_collector_that_is_a_name_can_be_looked_up", confined_by_name),
    ("of_a_configuration_among_others_only_the_file_can_be_read", configuration_among_others),
    ("it_is_not_entered_with_threads", threads),
    ("a_defect_shows_as_outside", defects),
    ("root_becomes_the_user_and_keeps_one_capability", becomes_the_user),
    ("it_can_be_switched_off", switched_off),
    ("users_and_directories_that_do_not_fit_are_named", mistakes),
    ("what_is_missing_is_said", missing),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, case, config] = arguments.as_slice()
        && flag == CONFINED
    {
        return child(case, Path::new(config));
    }
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    for (name, case) in CASES {
        if wanted.is_none_or(|wanted| name.contains(wanted.as_str())) {
            case();
            println!("test {name} ... ok");
        }
    }
}

/// A sensor's directory and configuration, and a place where a collector listens.
struct Ground {
    folder: tempfile::TempDir,
    collector: TcpListener,
    other: TcpListener,
}

impl Ground {
    fn new() -> Ground {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = tempfile::tempdir().unwrap();
        // The user that the sensor becomes must get there.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Ground { folder, collector: listen(), other: listen() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a configuration with further lines of `[sensor]`.
    fn config(&self, host: &str, sensor: &str) -> PathBuf {
        let path = self.path("sensor.toml");
        let text = format!(
            "[sensor]\nname = \"s\"\nposture = \"silent\"\nstate_dir = \"{}\"\n{sensor}\n[capture]\ninterfaces = \
             [\"lo\"]\n[observe]\nnetworks = \"interface\"\n[uplink]\ncollector = \"{host}:{}\"\n",
            self.path("state").display(),
            self.collector.local_addr().unwrap().port()
        );
        fs::write(&path, text).unwrap();
        fs::write(path.with_extension("new"), "").unwrap();
        path
    }

    /// Runs a case to its end.
    fn run(&self, case: &str, host: &str, sensor: &str) -> Confined {
        let mut confined = Confined::start(self, case, &self.config(host, sensor));
        confined.finish();
        confined
    }
}

/// A process in the sandbox.
struct Confined {
    child: Child,
    lines: BTreeMap<String, String>,
    stderr: String,
}

impl Confined {
    /// Starts a case and waits until it has said everything; it lives on until [`Confined::finish`].
    fn start(ground: &Ground, case: &str, config: &Path) -> Confined {
        let other = ground.other.local_addr().unwrap().port().to_string();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([CONFINED, case])
            .arg(config)
            .env("OTHER_PORT", other)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let mut lines = BTreeMap::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if line == "end" {
                break;
            }
            let (what, outcome) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
            assert_eq!(lines.insert(what.to_owned(), outcome.to_owned()), None, "{what} twice");
        }
        Confined { child, lines, stderr: String::new() }
    }

    fn status(&self, field: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
        line.trim().to_owned()
    }

    fn finish(&mut self) -> std::process::ExitStatus {
        drop(self.child.stdin.take());
        self.child.stderr.take().unwrap().read_to_string(&mut self.stderr).unwrap();
        self.child.wait().unwrap()
    }

    /// Asserts what came of every attempt.
    fn outcomes(&self, expected: &[(&str, &str)]) {
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(what, outcome)| ((*what).to_owned(), (*outcome).to_owned())).collect();
        assert_eq!(self.lines, expected, "{}", self.stderr);
    }
}

/// The confined process: enters, and says what it can do.
fn child(case: &str, config: &Path) {
    let (_, checked) = config::load(config).unwrap();
    let sandbox = match Sandbox::of(&checked) {
        Ok(sandbox) => sandbox,
        Err(error) => return say("error", error),
    };
    // Opened before, as the capture is.
    let ready = thread_if(case == "thread");
    let in_force = match sandbox.enter() {
        Ok(in_force) => in_force,
        Err(error) => return say("error", error),
    };
    match case {
        "attempts" => attempts(&checked.state_dir, config, &checked.collector),
        "configuration" => configuration_is_read(config),
        "missing" => say("missing", in_force.missing().join("; ")),
        "abort" => std::process::abort(),
        "panic" => panic!("a defect"),
        "user" => {
            say("in force", in_force);
            say("setuid", outcome(setuid(Uid::from_raw(0))));
            say("state", outcome(fs::write(checked.state_dir.join("file"), "x")));
        }
        "open" => {
            say("in force", in_force);
            say("read the configuration", outcome(fs::read(config)));
            say("start a program", outcome(Command::new("/bin/true").status()));
        }
        other => panic!("no case {other}"),
    }
    drop(ready);
    println!("end");
    io::stdout().flush().unwrap();
    // Until the one who looks at us has seen enough.
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn say(what: &str, outcome: impl std::fmt::Display) {
    println!("{what}: {outcome}");
}

fn outcome<T>(result: Result<T, impl Into<io::Error>>) -> String {
    match result.map_err(Into::into) {
        Ok(_) => "ok".to_owned(),
        Err(error) => {
            error.raw_os_error().map_or_else(|| error.to_string(), |code| format!("{:?}", Errno::from_raw(code)))
        }
    }
}

/// A thread that waits for its sender to go.
fn thread_if(wanted: bool) -> Option<std::sync::mpsc::Sender<()>> {
    wanted.then(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::spawn(move || receiver.recv());
        sender
    })
}

/// The file that SIGHUP has read again, and one that could take its place.
fn configuration_is_read(config: &Path) {
    say("read the configuration", outcome(fs::read(config)));
    say("read beside the configuration", outcome(fs::read(config.with_extension("new"))));
}

fn attempts(state: &Path, config: &Path, collector: &str) {
    // What a sensor does.
    say("write state", outcome(fs::write(state.join("file"), "x")));
    say("rename state", outcome(fs::rename(state.join("file"), state.join("renamed"))));
    say("read state", outcome(fs::read(state.join("renamed"))));
    say("remove state", outcome(fs::remove_file(state.join("renamed"))));
    say(
        "make a directory",
        outcome(fs::create_dir(state.join("spool")).and_then(|()| File::open(state.join("spool"))?.sync_all())),
    );
    say("count drops", outcome(fs::read("/sys/class/net/lo/statistics/rx_missed_errors")));
    say(
        "start a thread",
        outcome(
            thread::Builder::new()
                .name("edge".into())
                .spawn(|| ())
                .and_then(|thread| thread.join().map_err(|_| io::Error::other("it panicked"))),
        ),
    );
    say("call the collector", outcome(TcpStream::connect(collector)));
    configuration_is_read(config);
    // What it does not.
    say("read /etc/hosts", outcome(fs::read("/etc/hosts")));
    say("write the configuration", outcome(fs::OpenOptions::new().append(true).open(config)));
    say("read above the configuration", outcome(fs::read_dir(config.parent().and_then(Path::parent).unwrap())));
    say("read the program", outcome(fs::read(std::env::current_exe().unwrap())));
    say("read /proc", outcome(fs::read("/proc/1/cmdline")));
    say("write beside state", outcome(fs::write(state.with_file_name("beside"), "x")));
    say("link out of state", outcome(std::os::unix::fs::symlink("/etc", state.join("link"))));
    say(
        "call another port",
        outcome(TcpStream::connect(format!("127.0.0.1:{}", std::env::var("OTHER_PORT").unwrap()))),
    );
    say("listen", outcome(TcpListener::bind("127.0.0.1:0")));
    say("start a program", outcome(Command::new("/bin/true").status()));
    say("become a program", outcome(Err::<(), _>(Command::new("/bin/true").exec())));
    say("trace", outcome(ptrace::attach(getppid())));
    say("kill", outcome(kill(getppid(), Signal::SIGCONT)));
    say("new namespace", outcome(unshare(CloneFlags::CLONE_NEWUSER)));
    say("mount", outcome(mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REMOUNT, None::<&str>)));
    say("raise a limit", outcome(setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) })));
    let kinds = [
        ("tcp", Family::INET, Kind::STREAM, 0),
        ("tcp6", Family::INET6, Kind::STREAM, 0),
        ("sctp", Family::INET, Kind::STREAM, 132),
        ("udp", Family::INET, Kind::DGRAM, 0),
        ("icmp", Family::INET, Kind::DGRAM, 1),
        ("raw", Family::INET, Kind::RAW, 1),
        ("raw6", Family::INET6, Kind::RAW, 58),
        ("notify", Family::UNIX, Kind::DGRAM, 0),
        ("unix stream", Family::UNIX, Kind::STREAM, 0),
        ("route", Family::NETLINK, Kind::RAW, 0),
        ("generic netlink", Family::NETLINK, Kind::RAW, 16),
        ("netfilter", Family::NETLINK, Kind::RAW, 12),
        ("vsock", Family::VSOCK, Kind::STREAM, 0),
        ("alg", Family::from_raw(38), Kind::SEQPACKET, 0),
    ];
    for (name, family, kind, protocol) in kinds {
        let protocol = std::num::NonZeroU32::new(protocol).map(Protocol::from_raw);
        say(name, outcome(socket(family, kind, protocol)));
    }
    say("socket pair", outcome(UnixStream::pair()));
    say("look up", outcome(("localhost", 1).to_socket_addrs()));
}

/// What both kinds of collectors have in common.
const COMMON: [(&str, &str); 38] = [
    ("write state", "ok"),
    ("rename state", "ok"),
    ("read state", "ok"),
    ("remove state", "ok"),
    ("make a directory", "ok"),
    ("count drops", "ok"),
    ("start a thread", "ok"),
    ("call the collector", "ok"),
    ("read the configuration", "ok"),
    ("read beside the configuration", "ok"),
    ("write the configuration", "EACCES"),
    ("read above the configuration", "EACCES"),
    ("read the program", "EACCES"),
    ("read /proc", "EACCES"),
    ("write beside state", "EACCES"),
    // No call of a sensor makes one.
    ("link out of state", "EPERM"),
    ("call another port", "EACCES"),
    ("listen", "EACCES"),
    ("start a program", "EPERM"),
    ("become a program", "EPERM"),
    ("trace", "EPERM"),
    ("kill", "EPERM"),
    ("new namespace", "EPERM"),
    ("mount", "EPERM"),
    ("raise a limit", "EPERM"),
    ("tcp", "ok"),
    ("tcp6", "ok"),
    ("sctp", "EPERM"),
    ("icmp", "EPERM"),
    ("raw", "EPERM"),
    ("raw6", "EPERM"),
    ("notify", "ok"),
    ("route", "ok"),
    ("generic netlink", "EPERM"),
    ("netfilter", "EPERM"),
    ("vsock", "EPERM"),
    ("alg", "EPERM"),
    ("socket pair", "ok"),
];

fn confined_by_address() {
    if !has_landlock() {
        return;
    }
    let confined = Ground::new().run("attempts", "127.0.0.1", "");
    let own = [("read /etc/hosts", "EACCES"), ("udp", "EPERM"), ("unix stream", "EPERM")];
    let looked_up = confined.lines.get("look up").unwrap();
    assert_ne!(looked_up, "ok");
    confined.outcomes(&[&COMMON[..], &own, &[("look up", looked_up)]].concat());
}

fn confined_by_name() {
    if !has_landlock() {
        return;
    }
    let confined = Ground::new().run("attempts", "localhost", "");
    let own = [("read /etc/hosts", "ok"), ("udp", "ok"), ("unix stream", "ok"), ("look up", "ok")];
    confined.outcomes(&[&COMMON[..], &own].concat());
}

/// Beside it lies what is not Martlet's.
fn configuration_among_others() {
    if !has_landlock() {
        return;
    }
    let ground = Ground::new();
    let own = ground.config("127.0.0.1", "");
    let config = tempfile::Builder::new().prefix("martlet-").suffix(".toml").tempfile_in("/tmp").unwrap();
    fs::copy(own, config.path()).unwrap();
    let beside = config.path().with_extension("new");
    fs::write(&beside, "").unwrap();
    let mut confined = Confined::start(&ground, "configuration", config.path());
    confined.finish();
    fs::remove_file(beside).unwrap();
    confined.outcomes(&[("read the configuration", "ok"), ("read beside the configuration", "EACCES")]);
}

/// Capabilities, Landlock and what starts later belong to one thread: others would stay outside.
fn threads() {
    let confined = Ground::new().run("thread", "127.0.0.1", "");
    assert!(confined.lines["error"].contains("other threads run already"), "{:?}", confined.lines);
}

fn defects() {
    let ground = Ground::new();
    let config = ground.config("127.0.0.1", "");
    let mut confined = Confined::start(&ground, "panic", &config);
    assert_eq!(confined.finish().code(), Some(101));
    assert!(confined.stderr.contains("a defect"), "{}", confined.stderr);
    let mut confined = Confined::start(&ground, "abort", &config);
    assert_eq!(confined.finish().signal(), Some(Signal::SIGABRT as i32));
}

fn becomes_the_user() {
    if !is_root() {
        return;
    }
    let ground = Ground::new();
    let user = User::from_name(USER).unwrap().unwrap();
    fs::create_dir(ground.path("state")).unwrap();
    chown(ground.path("state"), Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    let mut confined = Confined::start(&ground, "user", &ground.config("127.0.0.1", &format!("user = \"{USER}\"")));
    let ids = |id: u32| vec![id.to_string(); 4].join("\t");
    assert_eq!(confined.status("Uid"), ids(user.uid.as_raw()));
    assert_eq!(confined.status("Gid"), ids(user.gid.as_raw()));
    // Root's own groups are not the user's.
    assert_eq!(confined.status("Groups"), user.gid.to_string());
    let (raw, none) = ("0000000000002000", "0000000000000000");
    for (set, expected) in [("CapEff", raw), ("CapPrm", raw), ("CapInh", none), ("CapAmb", none), ("CapBnd", none)] {
        assert_eq!(confined.status(set), expected, "{set}");
    }
    assert_eq!((confined.status("NoNewPrivs"), confined.status("Seccomp")), ("1".to_owned(), "2".to_owned()));
    // Files of a process that is not dumpable are root's.
    let owner =
        std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{}/mem", confined.child.id())).unwrap());
    assert_eq!(owner, 0);
    confined.finish();
    assert_eq!(confined.lines["setuid"], "EPERM");
    assert_eq!(confined.lines["state"], "ok", "{}", confined.stderr);
    assert!(confined.lines["in force"].starts_with(&format!("user {USER}; CAP_NET_RAW alone")), "{:?}", confined.lines);
}

fn switched_off() {
    let confined = Ground::new().run("open", "127.0.0.1", "sandbox = false");
    confined.outcomes(&[("in force", "not confined"), ("read the configuration", "ok"), ("start a program", "ok")]);
}

fn mistakes() {
    let ground = Ground::new();
    let error = |sensor: &str| ground.run("open", "127.0.0.1", sensor).lines["error"].clone();
    let unknown = error("user = \"martlet-nobody-has-this\"");
    assert!(unknown.contains("no user \"martlet-nobody-has-this\""), "{unknown}");
    if !is_root() {
        return;
    }
    let user = format!("user = \"{USER}\"");
    let none = error(&user);
    assert!(none.contains(&format!("install -d -m 700 -o {USER} {}", ground.path("state").display())), "{none}");
    fs::create_dir(ground.path("state")).unwrap();
    let roots = error(&user);
    assert!(roots.contains(&format!("chown -R {USER} {}", ground.path("state").display())), "{roots}");
}

fn missing() {
    let confined = Ground::new().run("missing", "127.0.0.1", "");
    let stays_root = confined.lines["missing"].contains("the sensor stays root");
    assert_eq!(stays_root, Uid::effective().is_root(), "{:?}", confined.lines);
}

fn is_root() -> bool {
    required(Uid::effective().is_root(), "root")
}

/// Whether this kernel has all that the sandbox can use.
fn has_landlock() -> bool {
    let confined = Ground::new().run("missing", "127.0.0.1", "");
    required(!confined.lines["missing"].contains("not restricted"), "Landlock of Linux 6.12 or newer")
}

/// Tests that need something are skipped where it is missing, except where they are required to run.
fn required(has: bool, what: &str) -> bool {
    if !has {
        assert!(std::env::var_os("MARTLET_REQUIRE_ROOT") != Some("1".into()), "this test needs {what}");
        eprintln!("skipped: this test needs {what}");
    }
    has
}
