//! Users and capabilities.
//!
//! `CAP_NET_RAW` is kept: an interface that goes away and comes back, as a tunnel or a virtual machine's card does, is
//! captured again only with it. The alternative, to give it up and to end when an interface fails, would lose minutes of
//! watching to a manager that starts us again, and would need a manager.

use std::ffi::CString;
use std::fmt;
use std::io;

use nix::unistd::{User, initgroups, setresgid, setresuid};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
};

use super::SandboxError;

/// What opening a capture needs.
const KEPT: CapabilitySet = CapabilitySet::NET_RAW;

/// What a process can still do beyond its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Capabilities in force, as bits.
    pub effective: u64,
    /// Capabilities that a program started by us could get if anything let it, as bits.
    pub bounding: u64,
    /// Whether this is root, who owns most files whatever its capabilities.
    pub root: bool,
}

impl Held {
    pub(super) fn missing(&self) -> Option<String> {
        self.root.then(|| {
            "the sensor stays root: without capabilities, but root's files are its own; set sensor.user".to_owned()
        })
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = if self.effective == 0 { "no capability" } else { "CAP_NET_RAW alone" };
        write!(f, "{kept}, bounding set {:#x}, no new privileges, not dumpable", self.bounding)
    }
}

/// Becomes a user. Of root's capabilities it keeps those that [`give_up`] still needs, or the one for captures.
pub(super) fn become_user(user: &User, gives_up: bool) -> Result<(), SandboxError> {
    if gives_up {
        empty_bounding_set();
    }
    let failed = SandboxError::step("becoming sensor.user");
    switch(user).map_err(failed)?;
    // All that was in force went with the user; what is permitted stayed.
    let sets = capabilities(None).map_err(io::Error::from).map_err(SandboxError::step("reading capabilities"))?;
    let kept = sets.permitted & KEPT;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(io::Error::from).map_err(SandboxError::step("keeping CAP_NET_RAW"))
}

fn switch(user: &User) -> io::Result<()> {
    let name = CString::new(user.name.as_bytes())?;
    set_keep_capabilities(true)?;
    initgroups(&name, user.gid)?;
    setresgid(user.gid, user.gid, user.gid)?;
    setresuid(user.uid, user.uid, user.uid)?;
    Ok(set_keep_capabilities(false)?)
}

/// Drops all capabilities but the one that is kept, for good.
pub(super) fn give_up() -> Result<Held, SandboxError> {
    let step = |step| move |error: rustix::io::Errno| SandboxError::Step { step, source: error.into() };
    empty_bounding_set();
    let sets = capabilities(None).map_err(step("reading capabilities"))?;
    let kept = sets.permitted & KEPT;
    let wanted = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    clear_ambient_capability_set().map_err(step("clearing ambient capabilities"))?;
    // A service manager that left us nothing else may have forbidden the call itself.
    if sets.effective != wanted.effective || sets.permitted != wanted.permitted {
        set_capabilities(None, wanted).map_err(step("dropping capabilities"))?;
    } else {
        // Only a program that we start could inherit, and none can be started.
        let _ = set_capabilities(None, wanted);
    }
    set_no_new_privs(true).map_err(step("no_new_privs"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(step("not being dumpable"))?;
    let held = capabilities(None).map_err(step("reading capabilities"))?;
    Ok(Held {
        effective: held.effective.bits(),
        bounding: bounding_set().bits(),
        root: nix::unistd::geteuid().is_root(),
    })
}

/// Without `CAP_SETPCAP` nobody may; the service manager has done it then, or what is left is of no use without starting
/// programs.
fn empty_bounding_set() {
    for capability in bounding_set().iter() {
        let _ = remove_capability_from_bounding_set(capability);
    }
}

/// The kernel knows capabilities up to some number, and says so.
fn bounding_set() -> CapabilitySet {
    let all = (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit));
    all.take_while(|&one| capability_is_in_bounding_set(one).is_ok())
        .filter(|&one| capability_is_in_bounding_set(one).unwrap_or(false))
        .collect()
}
