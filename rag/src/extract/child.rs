//! The limited process in which files of unknown origin are read.
//!
//! The parent opens the file, starts `program args... document.EXTENSION` with it as standard input, and reads one line
//! of JSON from the child. The child reads the file, then gives up what it no longer needs ([`super::confine`]): it can
//! open no file or socket, start no process or program, reach no other process and change nothing on disk, and uses no
//! more memory and CPU time than its limits. Only then does it parse. The parent waits at most the wall limit and ends
//! the child's whole process group then.
//!
//! What the kernel refused of the confinement comes back with the answer. It is logged once, and
//! [`Extractor::missing_protections`] tells it to whoever asks.
//!
//! A process per file costs a few milliseconds; a worker for many files would have to be replaced after every failure
//! and would carry one document's damage into the next.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::confine::{Allowance, ConfinedError, Protection, run_confined};
use super::{ExtractError, MAX_FILE_BYTES, check_file, extension_of, extract_bytes, open_file};
use crate::document::Extracted;

/// Environment variable by which the parent tells the child its limits: `MEMORY_BYTES,CPU_SECONDS`.
const LIMITS_VARIABLE: &str = "CLOISTER_EXTRACT_LIMITS";
/// Variables the child keeps; it may need the second to find the libraries it was linked to.
const KEPT_VARIABLES: [&str; 2] = ["PATH", "LD_LIBRARY_PATH"];
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

/// Starts the child processes: `program args... NAME <FILE`, where the program ends in [`extract_child_main`].
#[derive(Debug, Clone)]
pub struct Extractor {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub limits: Limits,
}

/// What the child prints on its standard output.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    result: ExtractionResult,
    /// What the kernel refused of the confinement.
    missing: Vec<Protection>,
}

/// [`Result`] as it travels.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ExtractionResult {
    Ok(Extracted),
    Error(ExtractError),
}

impl Extractor {
    /// Extracts the blocks of the file at `path` in a child process. Blocks until it ends, at most the wall limit.
    ///
    /// # Errors
    /// The reason why there is no text, one of [`ExtractError`].
    pub fn extract(&self, path: &Path) -> Result<Extracted, ExtractError> {
        self.extract_open(&open_file(path)?, path)
    }

    /// [`Self::extract`] of a file that is open for reading; of `name` only the extension counts. Moves the file's
    /// position.
    ///
    /// # Errors
    /// As [`Self::extract`].
    pub fn extract_open(&self, file: &File, name: &Path) -> Result<Extracted, ExtractError> {
        check_file(file)?;
        let mut input = file.try_clone().map_err(ExtractError::unreadable)?;
        input.rewind().map_err(ExtractError::unreadable)?;
        let answer = self.run(Stdio::from(input), &extension_of(name))?;
        warn_of_missing(&answer.missing);
        match answer.result {
            ExtractionResult::Ok(extracted) => Ok(extracted.bounded()),
            ExtractionResult::Error(error) => Err(error),
        }
    }

    /// Starts a child to find out which parts of the confinement this machine's kernel refuses; none is what is wanted.
    ///
    /// # Errors
    /// [`ExtractError::Failed`] and the like where no child can be started.
    pub fn missing_protections(&self) -> Result<Vec<Protection>, ExtractError> {
        Ok(self.run(Stdio::null(), "txt")?.missing)
    }

    fn run(&self, input: Stdio, extension: &str) -> Result<Answer, ExtractError> {
        let started = Instant::now();
        let mut child = self.spawn(input, extension)?;
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
            Ok(answer) if outcome.status.success() => Ok(answer),
            _ => Err(self.failure(outcome.status, &outcome.stderr)),
        }
    }

    fn spawn(&self, input: Stdio, extension: &str) -> Result<Child, ExtractError> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            // A name of ours: the file's own could begin with a dash, and is nobody's business there.
            .arg(format!("document.{extension}"))
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
            .stdin(input)
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

/// Says once per process that children run with less protection than they should.
fn warn_of_missing(missing: &[Protection]) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if missing.is_empty() || WARNED.swap(true, Ordering::Relaxed) {
        return;
    }
    for protection in missing {
        tracing::warn!(
            "documents are read without a protection that this kernel lacks: {protection}"
        );
    }
}

/// Body of the hidden `extract-child NAME` command: reads the document from standard input; of `name` only the extension
/// counts. Prints the answer as one line of JSON and returns the exit status: 0 with an answer (an error is one), 1
/// if it could not be printed.
///
/// Gives up rights of the whole process for good, so the process must do nothing else afterwards.
#[must_use]
pub fn extract_child_main(name: &Path) -> i32 {
    let bytes = read_input();
    let extension = extension_of(name);
    let allowance = allowance();
    let (parsed, missing) = run_confined(allowance, move || {
        bytes.and_then(|bytes| extract_bytes(&bytes, &extension))
    });
    let out_of_memory = ExtractError::OutOfMemory {
        limit_bytes: allowance.memory_bytes,
    };
    let result = match parsed {
        Ok(Ok(extracted)) => ExtractionResult::Ok(extracted),
        Ok(Err(ExtractError::OutOfMemory { .. })) | Err(ConfinedError::OutOfMemory) => {
            ExtractionResult::Error(out_of_memory)
        }
        Ok(Err(error)) => ExtractionResult::Error(error),
        Err(ConfinedError::Panicked) => {
            ExtractionResult::Error(ExtractError::corrupt("the reader gave up on it"))
        }
    };
    let answer = Answer { result, missing };
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

/// The limits that the parent set, or the defaults.
fn allowance() -> Allowance {
    let limits = std::env::var(LIMITS_VARIABLE).ok();
    let limits = limits.as_deref().and_then(|limits| limits.split_once(','));
    let limits = limits.and_then(|(memory, cpu)| Some((memory.parse().ok()?, cpu.parse().ok()?)));
    let default = Limits::default();
    let (memory_bytes, cpu_seconds) =
        limits.unwrap_or((default.memory_bytes, whole_seconds(default.cpu)));
    Allowance {
        memory_bytes,
        cpu_seconds,
    }
}

/// The document on standard input. The parent has looked at its kind and size; it may have grown since.
fn read_input() -> Result<Vec<u8>, ExtractError> {
    let mut bytes = Vec::new();
    let limit = MAX_FILE_BYTES.saturating_add(1);
    std::io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(ExtractError::unreadable)?;
    match bytes.len() as u64 {
        0 => Err(ExtractError::Empty),
        got if got >= limit => Err(super::too_large(got)),
        _ => Ok(bytes),
    }
}
