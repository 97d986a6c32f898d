//! seccomp: the system calls that a sensor uses.
//!
//! A call that is not in the list fails with `EPERM`, as an ordinary lack of rights does, and is reported by whoever made it;
//! it does not kill. A list made today cannot know what the C library of tomorrow calls, and a sensor that counts with one
//! feature less is better than one that dies at a place that no test has reached. Calls that no kernel had when the list was
//! made fail with `ENOSYS`, upon which libraries use what they used before; so does `clone3`, whose flags a filter cannot see.
//!
//! With `CAP_NET_RAW` kept, packet sockets must stay possible. Raw IP sockets are not, nor is anything that starts a
//! program, looks into another process, or changes the kernel.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::path::Path;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::SandboxError;

/// The first number without a call on Linux 6.18; all architectures have had the same numbers for new calls since 424.
const UNKNOWN: c_long = 470;
/// So many of them are answered with `ENOSYS`: about ten years of new calls. x86-64 uses those from 512 for something else.
const FUTURE: c_long = 40;

/// Calls that are allowed whatever their arguments.
const ALLOWED: &[c_long] = &[
    // Memory; what may be executed is below.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Time, randomness, oneself.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_nanosleep,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Files; which of them is Landlock's to say.
    libc::SYS_close,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat2,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
    // Sockets; of which kind is below.
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    // Threads and signals.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_membarrier,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
];

/// Older forms, which only this architecture has and which its C libraries use.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_epoll_wait,
    libc::SYS_getdents,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(target_arch = "aarch64")]
const OLDER: &[c_long] = &[libc::SYS_renameat];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLDER: &[c_long] = &[];

/// What libpcap and the C library ask of devices: numbers, addresses and properties of interfaces, and whether standard
/// error is a terminal. Nothing that types into one.
const DEVICE_QUESTIONS: &[u64] = &[
    FIONBIO, TCGETS, 0x8912, // SIOCGIFCONF
    0x8913, // SIOCGIFFLAGS
    0x8915, // SIOCGIFADDR
    0x891b, // SIOCGIFNETMASK
    0x8921, // SIOCGIFMTU
    0x8927, // SIOCGIFHWADDR
    0x8933, // SIOCGIFINDEX
    0x8946, // SIOCETHTOOL; changes need CAP_NET_ADMIN
    0x8b01, // SIOCGIWNAME
];
const FIONBIO: u64 = 0x5421;
const TCGETS: u64 = 0x5401;

/// Bits of a socket's type beside the kind (`SOCK_NONBLOCK`, `SOCK_CLOEXEC`).
const KIND: u64 = 0xf;

/// Installs the filter for all threads, and says why it could not if this system has none.
pub(super) fn filter(names: bool) -> Result<Option<String>, SandboxError> {
    let arch = TargetArch::try_from(ARCH).map_err(seccompiler::Error::from)?;
    let [unknown, allowed] = programs(names, arch).map_err(seccompiler::Error::from)?;
    match apply_filter_all_threads(&unknown) {
        Err(seccompiler::Error::Seccomp(error)) => return Ok(Some(error.to_string())),
        other => other?,
    }
    apply_filter_all_threads(&allowed)?;
    Ok(None)
}

/// Whether this kernel filters calls.
pub(super) fn offered() -> &'static str {
    if Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        "a filter of system calls"
    } else {
        "no filter of system calls"
    }
}

/// Two filters, both of which must allow a call: of one filter all refusals are alike.
fn programs(names: bool, arch: TargetArch) -> Result<[BpfProgram; 2], BackendError> {
    let unknown = (UNKNOWN..UNKNOWN + FUTURE).chain([libc::SYS_clone3]);
    let unknown: Rules = unknown.map(|call| (call, Vec::new())).collect();
    let mut allowed = unknown.clone();
    allowed.extend(ALLOWED.iter().chain(OLDER).map(|&call| (call, Vec::new())));
    allowed.extend(by_arguments(names)?);
    let refuse = |error: i32| SeccompAction::Errno(error.unsigned_abs());
    let unknown = SeccompFilter::new(unknown, SeccompAction::Allow, refuse(libc::ENOSYS), arch)?;
    let allowed = SeccompFilter::new(allowed, refuse(libc::EPERM), SeccompAction::Allow, arch)?;
    Ok([unknown.try_into()?, allowed.try_into()?])
}

/// Calls and the conditions of which one must hold; none is needed where the list is empty.
type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Calls that are allowed with some arguments.
fn by_arguments(names: bool) -> Result<Rules, BackendError> {
    let (write, execute) = (bits(libc::PROT_WRITE), bits(libc::PROT_EXEC));
    let mut mapping = vec![rule([without(2, execute)])?];
    if names {
        // A library that looking up a name loads: never what can also be written.
        mapping.push(rule([without(2, write)])?);
    }
    let namespaces = bits(
        libc::CLONE_NEWNS
            | libc::CLONE_NEWCGROUP
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUSER
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWNET,
    );
    let thread = bits(libc::CLONE_THREAD);
    let own = u64::from(std::process::id());
    let questions = DEVICE_QUESTIONS.iter().map(|&question| rule([is(1, question)]));
    Ok(BTreeMap::from([
        (libc::SYS_mmap, mapping),
        (libc::SYS_mprotect, vec![rule([without(2, execute)])?]),
        // Threads, and no processes.
        (libc::SYS_clone, vec![rule([masked(0, thread | namespaces, thread)])?]),
        (libc::SYS_prctl, vec![rule([is(0, bits(libc::PR_SET_NAME))])?, rule([is(0, bits(libc::PR_SET_VMA))])?]),
        // Limits are read, not set.
        (libc::SYS_prlimit64, vec![rule([whole(2, 0)])?]),
        // How a process aborts itself.
        (libc::SYS_tgkill, vec![rule([is(0, own)])?]),
        (libc::SYS_ioctl, questions.collect::<Result<_, _>>()?),
        (libc::SYS_socket, sockets(names)?),
        (libc::SYS_socketpair, vec![rule([is(0, bits(libc::AF_UNIX))])?]),
    ]))
}

fn sockets(names: bool) -> Result<Vec<SeccompRule>, BackendError> {
    let kind = |family: i32, kind: i32| [is(0, bits(family)), masked(1, KIND, bits(kind))];
    let protocol = |family, of, number: i32| {
        let [family, of] = kind(family, of);
        rule([family, of, is(2, bits(number))])
    };
    let mut sockets = vec![
        // The uplink and HTTP.
        protocol(libc::AF_INET, libc::SOCK_STREAM, 0)?,
        protocol(libc::AF_INET6, libc::SOCK_STREAM, 0)?,
        // What a service manager is told; the C library and libpcap also ask interfaces' numbers and properties on one. The kernel
        // makes a datagram socket of the second, which libpcap falls back to when generic netlink is refused.
        rule(kind(libc::AF_UNIX, libc::SOCK_DGRAM))?,
        rule(kind(libc::AF_UNIX, libc::SOCK_RAW))?,
        // Opening an interface again; without link-layer header where libpcap makes its own.
        rule(kind(libc::AF_PACKET, libc::SOCK_RAW))?,
        rule(kind(libc::AF_PACKET, libc::SOCK_DGRAM))?,
        // Interfaces and their addresses.
        protocol(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?,
        protocol(libc::AF_NETLINK, libc::SOCK_DGRAM, libc::NETLINK_ROUTE)?,
    ];
    if names {
        sockets.extend([
            // DNS.
            protocol(libc::AF_INET, libc::SOCK_DGRAM, 0)?,
            protocol(libc::AF_INET6, libc::SOCK_DGRAM, 0)?,
            // nscd and systemd-resolved.
            rule(kind(libc::AF_UNIX, libc::SOCK_STREAM))?,
        ]);
    }
    Ok(sockets)
}

/// Constants of the C library are of a signed type; all that are used here are positive.
fn bits(constant: i32) -> u64 {
    u64::from(constant.unsigned_abs())
}

type Condition = Result<SeccompCondition, BackendError>;

fn rule(conditions: impl IntoIterator<Item = Condition>) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

/// The lower 32 bits of an argument, which is what the kernel looks at where it takes an int.
fn is(argument: u8, value: u64) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

/// All 64 bits of an argument.
fn whole(argument: u8, value: u64) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value)
}

fn without(argument: u8, mask: u64) -> Condition {
    masked(argument, mask, 0)
}
