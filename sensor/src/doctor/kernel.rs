//! What only system calls tell: whether a driver merges packets, and whether anybody keeps the clock right.
//!
//! Nobody offers these calls without unsafe code, and the kernel has no file that says the same. Both only read.
#![expect(
    unsafe_code,
    reason = "ioctl(SIOCETHTOOL) and adjtimex have no safe form; each is one call on memory of its own"
)]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Longest name of an interface, with the zero behind it (`IFNAMSIZ`).
const NAME_LENGTH: usize = 16;
/// Commands and flag of linux/ethtool.h.
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETH_FLAG_LRO: u32 = 1 << 15;

/// Whether an interface or the kernel merges packets before a capture sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offloads {
    /// Generic receive offload.
    pub(super) gro: bool,
    /// Large receive offload.
    pub(super) lro: bool,
}

/// How the kernel's clock is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// Whether a program for it has said lately that the clock is right.
    pub(super) synchronised: bool,
    /// How wrong it may be at most.
    pub(super) max_error: Duration,
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq` with a pointer in its union, which has 24 bytes at most.
#[repr(C)]
struct Request {
    name: [u8; NAME_LENGTH],
    value: *mut Value,
    rest: [u8; 24],
}

/// Which offloads an interface has switched on.
///
/// # Errors
/// If there is no such interface. What a driver does not know is off.
pub(super) fn offloads(interface: &str) -> io::Result<Offloads> {
    let ask = |command| match ethtool(interface, command) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(0),
        answer => answer,
    };
    Ok(Offloads { gro: ask(ETHTOOL_GGRO)? != 0, lro: ask(ETHTOOL_GFLAGS)? & ETH_FLAG_LRO != 0 })
}

fn ethtool(interface: &str, command: u32) -> io::Result<u32> {
    let mut value = Value { command, data: 0 };
    let mut request = Request { name: [0; NAME_LENGTH], value: &raw mut value, rest: [0; 24] };
    let name = interface.as_bytes();
    if name.len() >= NAME_LENGTH {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    request.name[..name.len()].copy_from_slice(name);
    // Any socket will do; it sends nothing.
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    // SAFETY: `request` is at least as large as the kernel's structure and lives through the call, as does the `value` that it
    // points to; both commands write one u32 into it.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if done == 0 { Ok(value.data) } else { Err(io::Error::last_os_error()) }
}

/// How the clock is kept.
///
/// # Errors
/// If the system does not tell.
pub(super) fn clock() -> io::Result<Clock> {
    // SAFETY: all zeros is a value of this structure of numbers; `modes` 0 changes nothing.
    let (state, told) = unsafe {
        let mut told: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut told), told)
    };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    let max_error = Duration::from_micros(u64::try_from(told.maxerror).unwrap_or(0));
    Ok(Clock { synchronised: told.status & libc::STA_UNSYNC == 0, max_error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_can_be_asked_and_what_is_not_there_cannot() {
        offloads("lo").unwrap();
        assert!(offloads("no-such-dev").is_err());
        assert!(offloads("a-name-that-is-too-long").is_err());
        clock().unwrap();
    }
}
