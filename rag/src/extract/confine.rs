//! Gives up every right of a process that reading a document does not need, for good.
//!
//! Several layers, none of which depends on another, so that a kernel without one still has the rest:
//!
//! - every inherited descriptor but standard output and standard error is closed, and `RLIMIT_NOFILE` is 0: the
//!   limit is the highest number, not a count, so that with any other value closing one would make room for a new one;
//! - *Landlock* without a single rule: no file can be opened, no TCP or UDP port used, and no process or abstract socket
//!   outside reached;
//! - *seccomp* with a list of the system calls that parsing needs ([`allowed_calls`]); all others answer `EPERM`.
//!   It alone refuses what needs no descriptor: `kill`, `chmod`, `unlink`, `clone`, `execve`, `ptrace`;
//! - limits on memory, CPU time, written bytes and processes (which the kernel ignores for root), no new privileges, no
//!   core dumps, and death with the parent.
//!
//! [`run_confined`] says which of them the kernel refused; callers tell the administrator.

use std::collections::BTreeMap;
use std::fmt;

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetError, RulesetStatus, Scope,
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};
use serde::{Deserialize, Serialize};

/// Stack of the thread that parses. Deeply nested input needs more than the usual 2 MiB.
const STACK_BYTES: usize = 64 << 20;
/// Descriptors that are closed one by one where the kernel cannot close a range (before Linux 5.9).
const MAX_CLOSED_SINGLY: libc::c_int = 65_536;

/// A layer of confinement that a kernel can lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// The list of allowed system calls.
    Seccomp,
    /// The ban on files, ports and processes outside.
    Landlock,
    /// Limits on descriptors, memory, CPU time, written bytes and processes.
    Limits,
    /// No privileges by running a program that gives them.
    NoNewPrivileges,
    /// A network namespace of its own; only asked for where seccomp is missing.
    Network,
}

impl fmt::Display for Protection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Seccomp => "seccomp (CONFIG_SECCOMP_FILTER): system calls are not refused",
            Self::Landlock => {
                "Landlock (Linux 5.13, enabled at boot by lsm=landlock): files are kept from the process by seccomp alone"
            }
            Self::Limits => "resource limits: the kernel refused to set one",
            Self::NoNewPrivileges => "no_new_privs: programs with set-user-id keep their privileges",
            Self::Network => "a network namespace: without seccomp the process can reach the network",
        })
    }
}

/// What a confined process may use.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Address space, in bytes.
    pub memory_bytes: u64,
    /// CPU time, in seconds; the end is `SIGXCPU`, a second later `SIGKILL`.
    pub cpu_seconds: u64,
}

/// Why confined work gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfinedError {
    /// There was no memory for the thread that does it.
    OutOfMemory,
    /// It panicked.
    Panicked,
}

/// Confines this process, then runs `work` in it. Returns what the kernel refused of the confinement beside the result.
///
/// Nothing of it can be taken back, and it is the whole process that is confined, so it must do nothing afterwards
/// but write to its standard output and end. Standard input is closed: what is needed of it has to be read before.
pub fn run_confined<T: Send>(
    allowance: Allowance,
    work: impl FnOnce() -> T + Send,
) -> (Result<T, ConfinedError>, Vec<Protection>) {
    let mut missing = Vec::new();
    let mut note = |protection, is_in_place: bool| {
        if !is_in_place {
            missing.push(protection);
        }
    };
    close_descriptors();
    note(Protection::NoNewPrivileges, give_up_privileges());
    // Creating the ruleset takes a descriptor, so it comes before the limits. Threads inherit it.
    note(Protection::Landlock, enforce_landlock().unwrap_or(false));
    let filter = seccomp_filter().ok().filter(|_| has_seccomp());
    if filter.is_none() {
        // Needs a process of one thread, so it comes before the one that parses.
        note(Protection::Network, leave_network());
    }
    let result = std::thread::scope(|scope| {
        let confined = || {
            // In the thread, because afterwards there cannot be another one.
            let limited = set_limits(allowance);
            // For all threads: they share their memory, so the weakest one is what an attacker has.
            let filtered = filter
                .as_ref()
                .is_some_and(|filter| seccompiler::apply_filter_all_threads(filter).is_ok());
            (limited, filtered, work())
        };
        let thread = std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, confined)
            .map_err(|_| ConfinedError::OutOfMemory)?;
        thread.join().map_err(|_| ConfinedError::Panicked)
    });
    let result = result.map(|(limited, filtered, result)| {
        note(Protection::Limits, limited);
        note(Protection::Seccomp, filtered);
        result
    });
    (result, missing)
}

/// Closes every descriptor but standard output and standard error: whatever the parent left open would be in reach.
fn close_descriptors() {
    // SAFETY: nothing in this process owns a descriptor above 2, and standard input is documented to be closed.
    unsafe {
        libc::close(0);
        if libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) != 0 {
            for descriptor in 3..MAX_CLOSED_SINGLY {
                libc::close(descriptor);
            }
        }
    }
}

/// Returns whether the process can no longer gain privileges.
fn give_up_privileges() -> bool {
    // SAFETY: these calls take plain numbers.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    }
}

/// Bans everything Landlock knows of in this thread and those it starts; false where the kernel has no Landlock.
fn enforce_landlock() -> Result<bool, RulesetError> {
    // As much of the newest version as this kernel has: the crate leaves out what it does not know.
    let abi = ABI::V10;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

fn has_seccomp() -> bool {
    const SECCOMP_GET_ACTION_AVAIL: libc::c_uint = 2;
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: `action` is read during the call only.
    unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        ) == 0
    }
}

/// Returns whether the process has no network any more. Needs root, or user namespaces and a single thread.
fn leave_network() -> bool {
    // SAFETY: unshare takes a plain number.
    unsafe {
        libc::unshare(libc::CLONE_NEWNET) == 0
            || libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) == 0
    }
}

/// Returns whether every limit was set.
fn set_limits(allowance: Allowance) -> bool {
    let Allowance {
        memory_bytes,
        cpu_seconds,
    } = allowance;
    // The hard CPU limit is a second later: the soft one ends the process with a signal of its own.
    let limits = [
        (libc::RLIMIT_NOFILE, 0, 0),
        (libc::RLIMIT_NPROC, 0, 0),
        (libc::RLIMIT_FSIZE, 0, 0),
        (libc::RLIMIT_CORE, 0, 0),
        (libc::RLIMIT_CPU, cpu_seconds, cpu_seconds.saturating_add(1)),
        (libc::RLIMIT_AS, memory_bytes, memory_bytes),
    ];
    limits
        .into_iter()
        .fold(true, |all, (resource, soft, hard)| {
            let limit = libc::rlimit {
                rlim_cur: soft,
                rlim_max: hard,
            };
            // SAFETY: `limit` is a valid rlimit that lives across the call.
            let is_set = unsafe { libc::setrlimit(resource, &raw const limit) } == 0;
            all && is_set
        })
}

/// Calls that are allowed whatever their arguments: memory, threads that are there waiting for one another, time,
/// reading and writing what is open, signals of its own, and the end. Under `strace -f`, documents of every format ask for
/// nothing else but `openat`, which they do without; what the C library calls on the ways to `abort` and to the message of
/// a stack overflow is in it, too.
const ALWAYS_ALLOWED: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_read,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
];

/// The allowed calls, with what their arguments must be where that matters.
fn allowed_calls() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let word = |argument, operator, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)
    };
    let number = |argument, value| {
        SeccompCondition::new(
            argument,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Eq,
            u64::from(value),
        )
    };
    let not_executable = || {
        let executable = libc::PROT_EXEC as u64;
        SeccompRule::new(vec![word(2, SeccompCmpOp::MaskedEq(executable), 0)?])
    };
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = ALWAYS_ALLOWED
        .iter()
        .map(|&call| (call, Vec::new()))
        .collect();
    // No new code: what was not in the program cannot be run.
    calls.insert(libc::SYS_mmap, vec![not_executable()?]);
    calls.insert(libc::SYS_mprotect, vec![not_executable()?]);
    // `abort` sends a signal to its own thread.
    let to_itself = SeccompRule::new(vec![number(0, std::process::id())?])?;
    calls.insert(libc::SYS_tgkill, vec![to_itself]);
    // Limits of its own may be read, not set.
    let reads_own = SeccompRule::new(vec![number(0, 0)?, word(2, SeccompCmpOp::Eq, 0)?])?;
    calls.insert(libc::SYS_prlimit64, vec![reads_own]);
    Ok(calls)
}

/// The filter, or an error where there is none for this kind of processor.
fn seccomp_filter() -> Result<BpfProgram, BackendError> {
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(
        allowed_calls()?,
        refused,
        SeccompAction::Allow,
        architecture,
    )?
    .try_into()
}
