//! What a sensor gives up once its capture is open, before it reads a packet or hears from the network.
//!
//! Three layers, each of use without the others:
//! - `privileges`: another user, of all capabilities only the one that opening an interface again needs, no way to gain
//!   any, no dump of the memory.
//! - `files`: Landlock. The state directory to write, the configuration's and few others to read; TCP only to the collector's port; no signals
//!   to others.
//! - `calls`: seccomp. The system calls and kinds of sockets that a sensor uses; every other call fails.
//!
//! All of it holds for threads that start later, so it is entered while there is only one. What each layer leaves open, and
//! why, is in docs/security.md.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod calls;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
#[path = "no_calls.rs"]
mod calls;
mod configuration;
mod files;
mod privileges;

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use martlet_journal::RealDisk;
use nix::unistd::User;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use thiserror::Error;

use crate::config::Config;
use crate::run::spool_in;
use crate::state_dir;

pub use configuration::Readable;
pub use files::{Files, FilesOutcome};
pub use privileges::Held;

/// Why a sensor cannot give up its privileges. It does not go on with them.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// There is no such user.
    #[error(
        "sensor.user: there is no user {0:?}; make it with `useradd --system {0}`, or leave the setting out to stay who starts the sensor"
    )]
    NoUser(String),
    /// The users of this machine cannot be asked for.
    #[error("sensor.user: cannot look up {name:?}: {source}")]
    LookUp {
        /// The user.
        name: String,
        /// Why.
        source: nix::Error,
    },
    /// Only root can become somebody else.
    #[error("sensor.user: only root can become {0:?}; start the sensor as root or as that user")]
    NotRoot(String),
    /// There is nothing that the user could write to.
    #[error(
        "sensor.state_dir: there is no {}; make it for the user that the sensor becomes: install -d -m 700 -o {user} {}",
        directory.display(),
        directory.display()
    )]
    NoStateDir {
        /// The directory.
        directory: PathBuf,
        /// The user.
        user: String,
    },
    /// The state directory cannot be made.
    #[error("sensor.state_dir: {}: {source}", directory.display())]
    StateDir {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in the state directory belongs to somebody else.
    #[error(
        "sensor.state_dir: the user {user} cannot write {}; give it the directory: chown -R {user} {}",
        path.display(),
        directory.display()
    )]
    NotOurs {
        /// The directory or a file in it.
        path: PathBuf,
        /// The directory.
        directory: PathBuf,
        /// The user.
        user: String,
    },
    /// Somebody started a thread before.
    #[error("cannot enter the sandbox: other threads run already, which is a defect; please report it")]
    Threads,
    /// The system refuses one of the steps.
    #[error("cannot enter the sandbox: {step}: {source}; sensor.sandbox = false goes on without")]
    Step {
        /// What was refused.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Landlock refuses what should be possible.
    #[error("cannot enter the sandbox: Landlock: {0}; sensor.sandbox = false goes on without")]
    Landlock(#[from] landlock::RulesetError),
    /// seccomp refuses what should be possible.
    #[error("cannot enter the sandbox: seccomp: {0}; sensor.sandbox = false goes on without")]
    Seccomp(#[from] seccompiler::Error),
}

impl SandboxError {
    fn step(step: &'static str) -> impl FnOnce(io::Error) -> SandboxError {
        move |source| SandboxError::Step { step, source }
    }
}

/// What a sensor is going to be confined to.
#[derive(Clone, Debug)]
pub struct Sandbox {
    user: Option<User>,
    confined: bool,
    state_dir: PathBuf,
    configuration: Readable,
    /// The collector is given by name, which must be looked up.
    names: bool,
    collector_port: u16,
}

impl Sandbox {
    /// What a configuration asks for.
    ///
    /// # Errors
    /// If there is no such user, or this process cannot become it.
    pub fn of(config: &Config) -> Result<Sandbox, SandboxError> {
        let user = config.user.as_deref().map(account).transpose()?;
        // One that was started as the user already has nothing to become.
        let user = user.filter(|user| user.uid != nix::unistd::geteuid());
        let port = config.collector.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        Ok(Sandbox {
            user,
            confined: config.sandbox,
            state_dir: config.state_dir.clone(),
            configuration: Readable::of(config.file.as_deref()),
            names: config.collector.parse::<SocketAddr>().is_err(),
            // A checked configuration has one.
            collector_port: port.unwrap_or_default(),
        })
    }

    /// Gives up everything. From here on this process cannot go back, nor can any thread that it starts.
    ///
    /// # Errors
    /// If a step fails that this system should have. What it does not have at all is left out, which the answer says.
    pub fn enter(&self) -> Result<InForce, SandboxError> {
        if threads() > 1 {
            return Err(SandboxError::Threads);
        }
        self.have_state_dir()?;
        if let Some(user) = &self.user {
            privileges::become_user(user, self.confined)?;
        }
        if !self.confined {
            self.owns_state_dir()?;
            return Ok(InForce { user: self.user_name(), confinement: None });
        }
        let held = privileges::give_up()?;
        self.owns_state_dir()?;
        let files = files::restrict(&self.files())?;
        // The last: it forbids the steps before.
        let calls = calls::filter(self.names)?;
        Ok(InForce { user: self.user_name(), confinement: Some(Confinement { held, files, calls }) })
    }

    /// What would be in force, as far as that can be said beforehand.
    #[must_use]
    pub fn describe(&self) -> String {
        let user = self.user_name().map(|user| format!("becomes the user {user}, ")).unwrap_or_default();
        if !self.confined {
            return format!("{user}is not confined (sensor.sandbox = false)");
        }
        let names = if self.names {
            "; the collector is a name, so it may also read /etc and what looking up needs, and speak DNS"
        } else {
            ""
        };
        let configuration: Vec<String> =
            self.configuration.paths.iter().map(|path| path.display().to_string()).collect();
        format!(
            "{user}keeps CAP_NET_RAW alone, writes only to {}, reads its configuration in {}, calls only port {}{names}; on this kernel with \
             {}, {}",
            self.state_dir.display(),
            configuration.join(" and "),
            self.collector_port,
            files::offered(),
            calls::offered(),
        )
    }

    fn files(&self) -> Files {
        Files {
            state_dir: self.state_dir.clone(),
            configuration: self.configuration.paths.clone(),
            names: self.names,
            collector_port: self.collector_port,
        }
    }

    fn user_name(&self) -> Option<String> {
        self.user.as_ref().map(|user| user.name.clone())
    }

    /// Root without capabilities cannot write everywhere, nor can the user that it becomes.
    fn owns_state_dir(&self) -> Result<(), SandboxError> {
        let directory = &self.state_dir;
        let used = [directory.clone(), spool_in(directory), directory.join(state_dir::FILE)];
        let refused = |path: &PathBuf| access(path, Access::WRITE_OK) == Err(Errno::ACCESS);
        match used.into_iter().find(refused) {
            Some(path) => Err(SandboxError::NotOurs { path, directory: directory.clone(), user: whoami() }),
            None => Ok(()),
        }
    }

    /// Landlock's rules name directories that are there. One made now would be root's, which the user could not write to.
    fn have_state_dir(&self) -> Result<(), SandboxError> {
        let directory = self.state_dir.clone();
        if let Some(user) = self.user.as_ref().filter(|_| !directory.is_dir()) {
            return Err(SandboxError::NoStateDir { directory, user: user.name.clone() });
        }
        // Made durably; what is above it is out of reach later.
        match RealDisk::open(&directory) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(SandboxError::NotOurs { path: directory.clone(), directory, user: whoami() })
            }
            Err(source) => Err(SandboxError::StateDir { directory, source }),
        }
    }
}

/// The user of this process.
fn whoami() -> String {
    let uid = nix::unistd::geteuid();
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

fn account(name: &str) -> Result<User, SandboxError> {
    let found = User::from_name(name).map_err(|source| SandboxError::LookUp { name: name.to_owned(), source })?;
    let user = found.ok_or_else(|| SandboxError::NoUser(name.to_owned()))?;
    let me = nix::unistd::geteuid();
    if !me.is_root() && user.uid != me {
        return Err(SandboxError::NotRoot(name.to_owned()));
    }
    Ok(user)
}

/// Threads of this process; one where that cannot be counted.
fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

/// What is in force, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The user that the sensor became.
    pub user: Option<String>,
    /// What it is confined to; `None` if that is switched off.
    pub confinement: Option<Confinement>,
}

/// What a confined sensor has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// Its capabilities.
    pub held: Held,
    /// What Landlock restricts.
    pub files: FilesOutcome,
    /// Why system calls are not filtered; `None` if they are.
    pub calls: Option<String>,
}

impl InForce {
    /// What an operator should know is missing.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let Some(Confinement { held, files, calls }) = &self.confinement else {
            return vec!["the sensor is not confined (sensor.sandbox = false)".to_owned()];
        };
        let calls = calls.as_ref().map(|why| format!("system calls are not filtered: {why}"));
        held.missing().into_iter().chain(files.missing()).chain(calls).collect()
    }
}

impl fmt::Display for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "user {user}; ")?;
        }
        let Some(Confinement { held, files, calls }) = &self.confinement else {
            return f.write_str("not confined");
        };
        write!(f, "{held}; {files}")?;
        if calls.is_none() { f.write_str("; system calls filtered") } else { Ok(()) }
    }
}
