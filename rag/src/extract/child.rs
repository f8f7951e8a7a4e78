//! The limited process in which files of unknown origin are read.
//!
//! The parent starts `program args... PATH` and reads one line of JSON from it. The child reads the file, then
//! gives up what it no longer needs: it may open no further file or socket, write to no file, gain no
//! privilege, and use no more memory and CPU time than its limits; where the kernel allows it, it leaves
//! the network too. Only then does it parse. The parent waits at most the wall limit and ends the child's whole
//! process group then.
//!
//! A process per file costs a few milliseconds; a worker for many files would have to be replaced after every failure
//! and would carry one document's damage into the next.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{ExtractError, extract_bytes, read_file};
use crate::document::Extracted;

/// Environment variable by which the parent tells the child its limits: `MEMORY_BYTES,CPU_SECONDS`.
const LIMITS_VARIABLE: &str = "CLOISTER_EXTRACT_LIMITS";
/// Variables the child keeps; it may need the second to find the libraries it was linked to.
const KEPT_VARIABLES: [&str; 2] = ["PATH", "LD_LIBRARY_PATH"];
/// Stack of the thread that parses. Deeply nested input needs more than the usual 2 MiB.
const STACK_BYTES: usize = 64 << 20;
/// How much of what the child complains about is kept.
const MAX_STDERR_BYTES: u64 = 4096;
/// How often a child that has answered is looked at until it has ended.
const REAP_INTERVAL: Duration = Duration::from_millis(1);

/// What one extraction may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Address space of the child. Default 2 GiB; more lets larger documents through and lets a hostile one take more.
    pub memory_bytes: u64,
    /// CPU time of the child, rounded up to seconds. Default 60 s.
    pub cpu: Duration,
    /// Wall time of the child. Default 120 s.
    pub wall: Duration,
    /// Largest answer that is accepted; the parent holds it in memory. Default 256 MiB.
    pub output_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 2 << 30,
            cpu: Duration::from_secs(60),
            wall: Duration::from_secs(120),
            output_bytes: 256 << 20,
        }
    }
}

/// Starts the child processes: `program args... PATH`, where the program ends in [`extract_child_main`].
#[derive(Debug, Clone)]
pub struct Extractor {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub limits: Limits,
}

/// The child's answer on its standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(Extracted),
    Error(ExtractError),
}

impl Extractor {
    /// Extracts the blocks of the file at `path` in a child process. Blocks until it ends, at most the wall limit.
    ///
    /// # Errors
    /// The reason why there is no text, one of [`ExtractError`].
    pub fn extract(&self, path: &Path) -> Result<Extracted, ExtractError> {
        let path = std::path::absolute(path).map_err(ExtractError::unreadable)?;
        let started = Instant::now();
        let mut child = self.spawn(&path)?;
        let outcome = self.read(&mut child, started)?;
        if outcome.timed_out {
            return Err(ExtractError::Timeout {
                seconds: self.limits.wall.as_secs(),
            });
        }
        if outcome.stdout.len() as u64 > self.limits.output_bytes {
            let got = outcome.stdout.len() as u64;
            return Err(ExtractError::TooLarge {
                what: "bytes of extracted text".into(),
                got,
                limit: self.limits.output_bytes,
            });
        }
        // The answer is the last line: a library may have printed before.
        let line = outcome
            .stdout
            .trim_ascii_end()
            .rsplit(|&byte| byte == b'\n')
            .next()
            .unwrap_or_default();
        match serde_json::from_slice(line) {
            Ok(Answer::Ok(extracted)) if outcome.status.success() => Ok(extracted),
            Ok(Answer::Error(error)) if outcome.status.success() => Err(error),
            _ => Err(self.failure(outcome.status, &outcome.stderr)),
        }
    }

    fn spawn(&self, path: &Path) -> Result<Child, ExtractError> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .arg(path)
            .env_clear()
            .envs(
                KEPT_VARIABLES
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .env(
                LIMITS_VARIABLE,
                format!(
                    "{},{}",
                    self.limits.memory_bytes,
                    whole_seconds(self.limits.cpu)
                ),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        command.spawn().map_err(|error| ExtractError::Failed {
            reason: format!("cannot start {}: {error}", self.program.display()),
        })
    }

    /// Reads what the child prints and waits for its end, or ends it.
    fn read(&self, child: &mut Child, started: Instant) -> Result<Outcome, ExtractError> {
        let failed = |error: std::io::Error| ExtractError::Failed {
            reason: error.to_string(),
        };
        let pid = child.id();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let timed_out = AtomicBool::new(false);
        let limit = self.limits.output_bytes.saturating_add(1);
        let (answered, wait_for_answer) = mpsc::channel::<()>();
        let (stdout, stderr) = std::thread::scope(|scope| {
            let timed_out = &timed_out;
            let complaints = scope.spawn(|| read_some(stderr, MAX_STDERR_BYTES));
            // A reader blocks until the child's end of the pipe closes, so someone else has to watch the clock.
            let left = self.limits.wall.saturating_sub(started.elapsed());
            scope.spawn(move || {
                if wait_for_answer.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Timeout) {
                    timed_out.store(true, Ordering::Relaxed);
                    kill_group(pid);
                }
            });
            let stdout = read_some(stdout, limit);
            if stdout.len() as u64 >= limit {
                kill_group(pid);
            }
            let stderr = complaints.join().unwrap_or_default();
            drop(answered);
            (stdout, stderr)
        });
        loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                let timed_out = timed_out.into_inner();
                return Ok(Outcome {
                    status,
                    stdout,
                    stderr,
                    timed_out,
                });
            }
            if started.elapsed() >= self.limits.wall {
                timed_out.store(true, Ordering::Relaxed);
                kill_group(pid);
            }
            std::thread::sleep(REAP_INTERVAL);
        }
    }

    /// What the end of a child without an answer means.
    fn failure(&self, status: ExitStatus, stderr: &[u8]) -> ExtractError {
        let complaint = String::from_utf8_lossy(stderr);
        let out_of_memory = ExtractError::OutOfMemory {
            limit_bytes: self.limits.memory_bytes,
        };
        match status.signal() {
            Some(libc::SIGXCPU) => ExtractError::Timeout {
                seconds: whole_seconds(self.limits.cpu),
            },
            // Not killed by this process: the kernel took the memory back.
            Some(libc::SIGKILL) => out_of_memory,
            _ if complaint.contains("memory allocation of") => out_of_memory,
            Some(_) if complaint.contains("overflowed its stack") => {
                ExtractError::corrupt("it is nested too deeply")
            }
            Some(signal) => ExtractError::Failed {
                reason: format!("the reader was ended by signal {signal}"),
            },
            None => {
                let first_line = complaint.lines().next().unwrap_or("no message");
                ExtractError::Failed {
                    reason: format!("the reader ended with {status}: {first_line}"),
                }
            }
        }
    }
}

/// How a child ended.
struct Outcome {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    timed_out: bool,
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// Reads up to `limit` bytes and lets the rest go to nobody.
fn read_some(pipe: Option<impl Read>, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // A read error means the same as the end: what came until then is judged.
        let _ = pipe.take(limit).read_to_end(&mut bytes);
    }
    bytes
}

/// Ends a child that has not been waited for, with everything it started.
fn kill_group(pid: u32) {
    let Ok(pid) = libc::pid_t::try_from(pid) else {
        return;
    };
    // SAFETY: kill has no memory effects; the child leads its own group and is not reaped yet, so the id is its own.
    unsafe { libc::kill(-pid, libc::SIGKILL) };
}

/// Body of the hidden `extract-child PATH` command. Prints the answer as one line of JSON and returns the exit
/// status: 0 with an answer (an error is one), 1 if it could not be printed.
///
/// Gives up rights of the whole process for good, so the process must do nothing else afterwards.
#[must_use]
pub fn extract_child_main(path: &Path) -> i32 {
    let bytes = read_file(path);
    let memory_bytes = confine_to_limits();
    let answer = match bytes.and_then(|bytes| parse(bytes, path, memory_bytes)) {
        Ok(extracted) => Answer::Ok(extracted),
        Err(error) => Answer::Error(error),
    };
    let mut stdout = std::io::stdout().lock();
    // A line of its own even if something was printed before without ending its line.
    let printed = stdout.write_all(b"\n").is_ok()
        && serde_json::to_writer(&mut stdout, &answer).is_ok()
        && stdout
            .write_all(b"\n")
            .and_then(|()| stdout.flush())
            .is_ok();
    i32::from(!printed)
}

/// Applies the limits that the parent set, or the defaults, and returns the memory limit in bytes.
fn confine_to_limits() -> u64 {
    let limits = std::env::var(LIMITS_VARIABLE).ok();
    let limits = limits.as_deref().and_then(|limits| limits.split_once(','));
    let limits = limits.and_then(|(memory, cpu)| Some((memory.parse().ok()?, cpu.parse().ok()?)));
    let default = Limits::default();
    let (memory_bytes, cpu_seconds) =
        limits.unwrap_or((default.memory_bytes, whole_seconds(default.cpu)));
    confine(memory_bytes, cpu_seconds);
    memory_bytes
}

fn parse(bytes: Vec<u8>, path: &Path, memory_bytes: u64) -> Result<Extracted, ExtractError> {
    let out_of_memory = ExtractError::OutOfMemory {
        limit_bytes: memory_bytes,
    };
    let extension = super::extension_of(path);
    let thread = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || extract_bytes(&bytes, &extension));
    let Ok(thread) = thread else {
        return Err(out_of_memory);
    };
    match thread.join() {
        Ok(Err(ExtractError::OutOfMemory { .. })) => Err(out_of_memory),
        Ok(result) => result,
        Err(_) => Err(ExtractError::corrupt("the reader gave up on it")),
    }
}

/// Gives up every right that parsing does not need. Each step is best effort, none depends on another.
fn confine(memory_bytes: u64, cpu_seconds: u64) {
    // Nothing may be opened any more: 0, 1 and 2 are the only descriptors below the limit.
    let limits = [
        (libc::RLIMIT_NOFILE, 3),
        (libc::RLIMIT_FSIZE, 0),
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_CPU, cpu_seconds),
        (libc::RLIMIT_AS, memory_bytes),
    ];
    // SAFETY: these calls take plain numbers.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        // Needs root, or user namespaces and a single thread.
        if libc::unshare(libc::CLONE_NEWNET) != 0 {
            libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET);
        }
    }
    for (resource, value) in limits {
        // The hard CPU limit is a second later: the soft one ends the child with a signal of its own.
        let rlim_max = if resource == libc::RLIMIT_CPU {
            value.saturating_add(1)
        } else {
            value
        };
        let limit = libc::rlimit {
            rlim_cur: value,
            rlim_max,
        };
        // SAFETY: `limit` is a valid rlimit that lives across the call.
        unsafe { libc::setrlimit(resource, &raw const limit) };
    }
}
