//! Landlock: files, TCP ports and signals.
//!
//! Rules name directories, not files, where files are replaced by renaming: a rule holds for the file that was there.

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, PathFdError,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    path_beneath_rules,
};

use super::SandboxError;

/// The newest version that this was tested with; older kernels restrict what they can.
const TESTED: ABI = ABI::V7;
/// The first versions with TCP ports, and with signals and abstract sockets.
const PORTS_SINCE: ABI = ABI::V4;
const SCOPES_SINCE: ABI = ABI::V6;
/// Where an interface's driver counts its drops: the first has links into the second.
const INTERFACES: [&str; 2] = ["/sys/class/net", "/sys/devices"];
/// What looking up a name reads: its configuration, and libraries that configuration may name (`nss-resolve`, `mdns4`).
const LOOKING_UP: [&str; 7] =
    ["/etc", "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/run/systemd/resolve", "/run/NetworkManager"];
/// DNS over TCP, for answers that do not fit into a datagram.
const DNS: u16 = 53;

/// What may be opened.
#[derive(Clone, Debug)]
pub struct Files {
    /// To read and write.
    pub state_dir: PathBuf,
    /// To read the configuration again.
    pub configuration: Vec<PathBuf>,
    /// Whether names are looked up.
    pub names: bool,
    /// The one TCP port that is called.
    pub collector_port: u16,
}

/// What Landlock restricts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilesOutcome {
    /// Files and directories.
    pub files: bool,
    /// TCP ports.
    pub ports: bool,
    /// Signals to other processes.
    pub signals: bool,
}

impl FilesOutcome {
    pub(super) fn missing(&self) -> Option<String> {
        let says = |has: bool, what: &str| (!has).then(|| what.to_owned());
        says(self.files, "files are not restricted: the kernel has no Landlock (5.13 or newer, in its list of `lsm`), or a filter of the service manager forbids it")
            .or_else(|| says(self.ports, "TCP ports and signals are not restricted: the kernel's Landlock is older than 6.7"))
            .or_else(|| says(self.signals, "signals are not restricted: the kernel's Landlock is older than 6.12"))
    }
}

impl fmt::Display for FilesOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.files, "files"), (self.ports, "TCP ports"), (self.signals, "signals")];
        let has: Vec<&str> = parts.iter().filter(|(has, _)| *has).map(|(_, what)| *what).collect();
        if has.is_empty() { f.write_str("no Landlock") } else { write!(f, "Landlock for {}", has.join(", ")) }
    }
}

/// What this kernel could restrict.
pub(super) fn offered() -> FilesOutcome {
    let hard = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    // A set of rules that nobody enters restricts nothing.
    let has = |ruleset: Result<Ruleset, RulesetError>| ruleset.and_then(Ruleset::create).is_ok();
    FilesOutcome {
        files: has(hard().handle_access(AccessFs::from_all(ABI::V1))),
        ports: has(hard().handle_access(AccessNet::from_all(PORTS_SINCE))),
        signals: has(hard().scope(Scope::Signal)),
    }
}

/// Restricts this thread, and those that it starts.
pub(super) fn restrict(files: &Files) -> Result<FilesOutcome, SandboxError> {
    let offered = offered();
    let RestrictionStatus { ruleset, .. } = rules(files)?.restrict_self()?;
    Ok(if ruleset == RulesetStatus::NotEnforced { FilesOutcome::default() } else { offered })
}

fn rules(files: &Files) -> Result<RulesetCreated, SandboxError> {
    let Files { state_dir, configuration, names, collector_port } = files;
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut readable: Vec<PathBuf> = INTERFACES.iter().map(PathBuf::from).collect();
    readable.extend_from_slice(configuration);
    let mut ports = vec![*collector_port];
    if *names {
        readable.extend(LOOKING_UP.iter().map(PathBuf::from));
        readable.extend(resolver_directory());
        ports.push(DNS);
    }
    let state = PathFd::new(state_dir).map_err(|error| unreachable_directory(state_dir, error))?;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(TESTED))?
        .handle_access(AccessNet::from_all(PORTS_SINCE))?
        .scope(scopes())?
        .create()?
        .add_rule(PathBeneath::new(state, reading | writing()))?
        // What this machine has not is left out.
        .add_rules(path_beneath_rules(readable, reading))?;
    for port in ports {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    Ok(rules)
}

/// What the spool and the identity do in the state directory.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::MakeDir | AccessFs::RemoveFile
}

/// A service manager may listen on an abstract socket, which would be out of reach.
fn scopes() -> BitFlags<Scope> {
    let abstract_manager = env::var_os("NOTIFY_SOCKET").is_some_and(|socket| socket.as_bytes().starts_with(b"@"));
    if abstract_manager { Scope::Signal.into() } else { Scope::from_all(SCOPES_SINCE) }
}

/// Where `/etc/resolv.conf` really is; it is replaced there when the network changes.
fn resolver_directory() -> Option<PathBuf> {
    let file = fs::canonicalize("/etc/resolv.conf").ok()?;
    file.parent().map(Path::to_owned)
}

fn unreachable_directory(directory: &Path, error: PathFdError) -> SandboxError {
    SandboxError::StateDir { directory: directory.to_owned(), source: io::Error::other(error) }
}
