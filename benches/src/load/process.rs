//! CPU time and memory of a process, from /proc (proc(5)).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};

/// State of a listening socket in /proc/net/tcp (the kernel's `TCP_LISTEN`).
const LISTEN: &str = "0A";

/// A process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pid: u32,
}

/// Resident memory in KiB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Memory {
    pub(crate) peak_kib: u64,
    pub(super) now_kib: u64,
}

impl Process {
    /// This process.
    pub(crate) fn own() -> Process {
        Process { pid: std::process::id() }
    }

    /// The collector: the process that is named, or the one that listens on this address.
    pub(super) fn find(pid: Option<u32>, collector: SocketAddr) -> Result<Process> {
        let process = match pid {
            Some(pid) => Process { pid },
            None => listener(collector)
                .with_context(|| format!("no process of this machine that we may look into listens on {collector}"))?,
        };
        process.cpu_seconds()?;
        Ok(process)
    }

    fn read(self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }

    /// User and system time of all its threads, also of those that have ended.
    #[expect(clippy::cast_precision_loss, reason = "clock ticks since a boot")]
    pub(crate) fn cpu_seconds(self) -> Result<f64> {
        let ticks = cpu_ticks(&self.read("stat")?).context("/proc: no CPU time in stat")?;
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Resident memory.
    pub(crate) fn memory(self) -> Result<Memory> {
        memory(&self.read("status")?).context("/proc: no memory in status")
    }

    /// Lets the peak begin anew, so that it is this run's. Not vital: else it is the process's.
    pub(crate) fn forget_peak(self) {
        let _ = fs::write(format!("/proc/{}/clear_refs", self.pid), "5");
    }
}

fn cpu_ticks(stat: &str) -> Option<u64> {
    // The name in brackets may hold anything; behind it the third field follows.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(14 - 3);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn memory(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Memory { peak_kib: field("VmHWM:")?, now_kib: field("VmRSS:")? })
}

/// The process that listens on an address.
fn listener(address: SocketAddr) -> Option<Process> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().find_map(|table| listening_inode(table, address))?;
    let socket = format!("socket:[{inode}]");
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.map(|pid| Process { pid }).find(|process| process.has_open(&socket))
}

impl Process {
    fn has_open(self, link: &str) -> bool {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", self.pid)) else { return false };
        descriptors.flatten().any(|it| fs::read_link(it.path()).is_ok_and(|target| target.as_os_str() == link))
    }
}

fn listening_inode(table: &str, address: SocketAddr) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let (ip, port) = parse_address(local)?;
        let is_it = *state == LISTEN && port == address.port() && (ip == address.ip() || ip.is_unspecified());
        if is_it { inode.parse().ok() } else { None }
    })
}

/// An address as the kernel prints it: words of 32 bits in the machine's byte order, in hexadecimal digits.
fn parse_address(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    let words: Option<Vec<u8>> = (0..ip.len() / 8)
        .map(|word| Some(u32::from_str_radix(ip.get(word * 8..word * 8 + 8)?, 16).ok()?.to_ne_bytes()))
        .collect::<Option<Vec<[u8; 4]>>>()
        .map(|words| words.concat());
    let bytes = words?;
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some((ip.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 900 0 0 0 12 34 0 0 20 0 9 0 100 5 6";
        assert_eq!(cpu_ticks(stat), Some(46));
        let status = "Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t 1024 kB\n";
        assert_eq!(memory(status), Some(Memory { peak_kib: 2048, now_kib: 1024 }));
    }

    #[test]
    fn whoever_listens_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = TcpListener::bind(address) else { continue };
            let found = Process::find(None, socket.local_addr().unwrap()).unwrap();
            assert_eq!(found.pid, std::process::id());
            assert!(found.memory().unwrap().peak_kib > 0);
        }
    }
}
