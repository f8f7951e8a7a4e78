//! Hostile code inside the extraction process: what a parser could be tricked into must be refused by the kernel.
//!
//! The attempts run in this test binary again, as an ordinary user (65534 where the tests run as root, whom the kernel
//! refuses less and whom these tests would flatter). Those that an ordinary user may make are made unconfined as well,
//! so that an attempt that could never succeed is noticed.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::Error;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rag::Protection;
use rag::extract::confine::{Allowance, run_confined};

const HOSTILE_TEST: &str = "confine::acts_as_hostile_code";
const MODE: &str = "CLOISTER_TEST_HOSTILE";
const PLACE: &str = "CLOISTER_TEST_PLACE";
const VICTIM: &str = "CLOISTER_TEST_VICTIM";
/// `nobody`: an account that owns nothing here but what a test gives it.
const ORDINARY: u32 = 65534;

/// What an attempt returned: `Err` with the error number.
type Outcome = Result<(), i32>;

/// An attempt that an ordinary user may make, and must not be able to make when confined.
const POSSIBLE: bool = true;
/// An attempt that may fail for other reasons, too.
const DOUBTFUL: bool = false;

/// The value of a system call as an outcome.
fn outcome(value: i64) -> Outcome {
    match value {
        0.. => Ok(()),
        _ => Err(Error::last_os_error().raw_os_error().unwrap_or(-1)),
    }
}

fn c(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

/// Makes one system call with up to four arguments.
fn call(number: libc::c_long, arguments: [usize; 4]) -> Outcome {
    let [a, b, c, d] = arguments;
    // SAFETY: every call in this file passes pointers that live across it, or none; the point is that it is refused.
    outcome(unsafe { libc::syscall(number, a, b, c, d, 0, 0) })
}

fn files(place: &Path) -> Vec<(&'static str, bool, Outcome)> {
    let path = |name: &str| c(&place.join(name));
    let at = libc::AT_FDCWD as usize;
    let (readable, other, new) = (path("readable.txt"), path("other.txt"), path("new.txt"));
    let (readable_at, other_at, new_at) = (
        readable.as_ptr() as usize,
        other.as_ptr() as usize,
        new.as_ptr() as usize,
    );
    let open = |flags: i32| call(libc::SYS_openat, [at, readable_at, flags as usize, 0]);
    let mut stat: libc::stat = unsafe_zeroed();
    // SAFETY: closing a descriptor of this process has no effect on its memory.
    unsafe { libc::close(0) };
    vec![
        ("open", POSSIBLE, open(libc::O_RDONLY)),
        ("open for writing", POSSIBLE, open(libc::O_RDWR)),
        ("open a path only", POSSIBLE, open(libc::O_PATH)),
        (
            "create",
            POSSIBLE,
            call(
                libc::SYS_openat,
                [at, new_at, (libc::O_CREAT | libc::O_RDWR) as usize, 0o600],
            ),
        ),
        (
            "look at",
            POSSIBLE,
            call(
                libc::SYS_newfstatat,
                [at, readable_at, &raw mut stat as usize, 0],
            ),
        ),
        (
            "change the mode",
            POSSIBLE,
            call(libc::SYS_fchmodat, [at, other_at, 0o777, 0]),
        ),
        (
            "truncate",
            POSSIBLE,
            call(libc::SYS_truncate, [other_at, 1, 0, 0]),
        ),
        (
            "rename",
            POSSIBLE,
            call(libc::SYS_renameat2, [at, other_at, at, other_at]),
        ),
        (
            "make a folder",
            POSSIBLE,
            call(
                libc::SYS_mkdirat,
                [at, path("folder").as_ptr() as usize, 0o700, 0],
            ),
        ),
        (
            "make a link",
            POSSIBLE,
            call(
                libc::SYS_symlinkat,
                [readable_at, at, path("link").as_ptr() as usize, 0],
            ),
        ),
        (
            "delete",
            POSSIBLE,
            call(libc::SYS_unlinkat, [at, other_at, 0, 0]),
        ),
        (
            "a file in memory",
            POSSIBLE,
            call(libc::SYS_memfd_create, [readable_at, 0, 0, 0]),
        ),
        (
            "another descriptor",
            POSSIBLE,
            call(libc::SYS_dup, [1, 0, 0, 0]),
        ),
    ]
}

/// A value of a C type for which zero is one.
fn unsafe_zeroed<T: Copy>() -> T {
    // SAFETY: used for structs of plain numbers only.
    unsafe { std::mem::zeroed() }
}

fn network(place: &Path) -> Vec<(&'static str, bool, Outcome)> {
    let socket = |domain: i32, kind: i32| {
        // SAFETY: plain numbers.
        outcome(i64::from(unsafe { libc::socket(domain, kind, 0) }))
    };
    let connected = std::os::unix::net::UnixStream::connect(place.join("owner.sock"));
    let connected = connected
        .map(drop)
        .map_err(|error| error.raw_os_error().unwrap_or(-1));
    vec![
        (
            "unix socket",
            POSSIBLE,
            socket(libc::AF_UNIX, libc::SOCK_STREAM),
        ),
        (
            "internet socket",
            POSSIBLE,
            socket(libc::AF_INET, libc::SOCK_STREAM),
        ),
        (
            "datagram socket",
            POSSIBLE,
            socket(libc::AF_INET, libc::SOCK_DGRAM),
        ),
        (
            "netlink socket",
            POSSIBLE,
            socket(libc::AF_NETLINK, libc::SOCK_RAW),
        ),
        ("connect to the owner's socket", POSSIBLE, connected),
        (
            "io_uring",
            DOUBTFUL,
            call(libc::SYS_io_uring_setup, [1, 0, 0, 0]),
        ),
    ]
}

fn processes(victim: i32) -> Vec<(&'static str, bool, Outcome)> {
    // SAFETY: the child of the fork ends at once.
    let forked = unsafe {
        match libc::fork() {
            0 => libc::_exit(0),
            pid => outcome(i64::from(pid)),
        }
    };
    let spawned = Command::new("/bin/true").status().map(drop);
    let thread = std::thread::Builder::new().spawn(|| ());
    let error = |error: Error| error.raw_os_error().unwrap_or(-1);
    let victim_id = victim as usize;
    let attach = libc::PTRACE_ATTACH as usize;
    let mut byte = 0_u8;
    let local = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let local = &raw const local as usize;
    vec![
        ("fork", POSSIBLE, forked),
        ("run a program", POSSIBLE, spawned.map_err(error)),
        ("start a thread", POSSIBLE, thread.map(drop).map_err(error)),
        (
            "signal",
            POSSIBLE,
            call(libc::SYS_kill, [victim_id, 0, 0, 0]),
        ),
        (
            "signal a thread",
            POSSIBLE,
            call(libc::SYS_tgkill, [victim_id, victim_id, 0, 0]),
        ),
        (
            "a handle",
            POSSIBLE,
            call(libc::SYS_pidfd_open, [victim_id, 0, 0, 0]),
        ),
        (
            "trace",
            DOUBTFUL,
            call(libc::SYS_ptrace, [attach, victim_id, 0, 0]),
        ),
        (
            "read its memory",
            DOUBTFUL,
            call(libc::SYS_process_vm_readv, [victim_id, local, 1, local]),
        ),
        (
            "change its limits",
            DOUBTFUL,
            call(libc::SYS_prlimit64, [victim_id, 7, local, 0]),
        ),
    ]
}

fn rights() -> Vec<(&'static str, bool, Outcome)> {
    let more = libc::rlimit {
        rlim_cur: 64,
        rlim_max: 64,
    };
    // SAFETY: `more` lives across the call.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const more) };
    // SAFETY: a new anonymous mapping touches no other memory.
    let mapped = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let executable = libc::PROT_READ | libc::PROT_EXEC;
        libc::mmap(std::ptr::null_mut(), 4096, executable, flags, -1, 0)
    };
    let mapped = if mapped == libc::MAP_FAILED { -1 } else { 0 };
    let dumpable = libc::PR_SET_DUMPABLE as usize;
    vec![
        ("more descriptors", DOUBTFUL, outcome(i64::from(raised))),
        ("new code", POSSIBLE, outcome(mapped)),
        (
            "core dumps",
            POSSIBLE,
            call(libc::SYS_prctl, [dumpable, 1, 0, 0]),
        ),
        (
            "namespaces",
            DOUBTFUL,
            call(libc::SYS_unshare, [libc::CLONE_NEWUSER as usize, 0, 0, 0]),
        ),
        ("mount", DOUBTFUL, call(libc::SYS_mount, [0, 0, 0, 0])),
        ("bpf", DOUBTFUL, call(libc::SYS_bpf, [0, 0, 0, 0])),
        (
            "page faults",
            DOUBTFUL,
            call(libc::SYS_userfaultfd, [1, 0, 0, 0]),
        ),
        ("keys", DOUBTFUL, call(libc::SYS_keyctl, [0, 0, 0, 0])),
        (
            "counters",
            DOUBTFUL,
            call(libc::SYS_perf_event_open, [0, 0, 0, 0]),
        ),
        (
            "event counters",
            POSSIBLE,
            call(libc::SYS_eventfd2, [0, 0, 0, 0]),
        ),
        (
            "another directory",
            POSSIBLE,
            call(
                libc::SYS_chdir,
                [c(Path::new("/")).as_ptr() as usize, 0, 0, 0],
            ),
        ),
    ]
}

fn attempts(place: &Path, victim: i32) -> Vec<(&'static str, bool, Outcome)> {
    let mut attempts = files(place);
    attempts.extend(network(place));
    attempts.extend(processes(victim));
    attempts.extend(rights());
    attempts
}

#[test]
fn acts_as_hostile_code() {
    // Set by the tests below; in an ordinary run there is nothing to do.
    let Some(mode) = std::env::var_os(MODE) else {
        return;
    };
    let place = PathBuf::from(std::env::var_os(PLACE).unwrap());
    let victim: i32 = std::env::var(VICTIM).unwrap().parse().unwrap();
    if mode == "confined" {
        let allowance = Allowance {
            memory_bytes: 1 << 30,
            cpu_seconds: 10,
        };
        let (made, missing) = run_confined(allowance, || attempts(&place, victim));
        println!("\nmissing {}", serde_json::to_string(&missing).unwrap());
        show("", made.unwrap());
        // The other threads of the process are as confined as the one that did the work.
        show("first thread: ", attempts(&place, victim));
        let program = c(Path::new("/bin/true"));
        let executed = call(libc::SYS_execve, [program.as_ptr() as usize, 0, 0, 0]);
        show("", vec![("become a program", DOUBTFUL, executed)]);
    } else {
        show("", attempts(&place, victim));
    }
    std::process::exit(0);
}

fn show(prefix: &str, made: Vec<(&'static str, bool, Outcome)>) {
    for (name, possible, outcome) in made {
        let error = outcome.err().unwrap_or(0);
        println!("\nattempt {prefix}{name}|{possible}|{error}");
    }
}

/// A place with files of an ordinary user, a socket, and a process of the same user.
struct Scene {
    place: tempfile::TempDir,
    program: PathBuf,
    victim: Child,
    _listener: UnixListener,
}

impl Scene {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().to_owned();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        // The folder of the build may be closed to other users.
        let program = path.join("program");
        // By another process: a file that this one has open for writing, and so any child that another test starts meanwhile,
        // cannot be run ("text file busy").
        let copied = Command::new("cp")
            .arg(std::env::current_exe().unwrap())
            .arg(&program)
            .status();
        assert!(copied.unwrap().success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let listener = UnixListener::bind(path.join("owner.sock")).unwrap();
        fs::set_permissions(path.join("owner.sock"), fs::Permissions::from_mode(0o777)).unwrap();
        for name in ["readable.txt", "other.txt"] {
            fs::write(path.join(name), "confidential").unwrap();
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o600)).unwrap();
            if is_root() {
                chown(path.join(name), Some(ORDINARY), Some(ORDINARY)).unwrap();
            }
        }
        let victim = ordinary(Command::new("sleep").arg("60")).spawn().unwrap();
        Self {
            place,
            program,
            victim,
            _listener: listener,
        }
    }

    /// Runs the attempts and returns, by name, whether each is possible for an ordinary user and its error, 0 for none.
    fn run(&self, mode: &str) -> (Vec<Protection>, BTreeMap<String, (bool, i32)>) {
        let mut command = Command::new(&self.program);
        command
            .args([HOSTILE_TEST, "--exact", "--nocapture", "--test-threads=1"])
            .env(MODE, mode)
            .env(PLACE, self.place.path())
            .env(VICTIM, self.victim.id().to_string())
            .current_dir(self.place.path());
        let output = ordinary(&mut command).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{}\n{text}\n{errors}",
            output.status
        );
        let attempts = text
            .lines()
            .filter_map(|line| line.strip_prefix("attempt "))
            .map(|line| {
                let parts: Vec<&str> = line.split('|').collect();
                let result = (parts[1].parse().unwrap(), parts[2].parse().unwrap());
                (parts[0].to_owned(), result)
            })
            .collect();
        let missing = text
            .lines()
            .find_map(|line| line.strip_prefix("missing "))
            .map(|line| serde_json::from_str(line).unwrap())
            .unwrap_or_default();
        (missing, attempts)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

fn is_root() -> bool {
    // SAFETY: takes and changes nothing.
    unsafe { libc::geteuid() == 0 }
}

fn ordinary(command: &mut Command) -> &mut Command {
    if is_root() {
        command.uid(ORDINARY).gid(ORDINARY);
    }
    command
}

fn kernel_has_landlock() -> bool {
    // SAFETY: with these arguments the call returns the version.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) > 0 }
}

#[test]
fn hostile_code_in_the_extraction_process_is_refused_everything() {
    let mut scene = Scene::new();
    let (missing, attempts) = scene.run("confined");
    assert!(attempts.contains_key("become a program"), "{attempts:?}");
    assert!(attempts.len() > 75, "{attempts:?}");
    let got: Vec<_> = attempts
        .iter()
        .filter(|(_, (_, error))| *error == 0)
        .collect();
    assert!(got.is_empty(), "not refused: {got:?}");
    let expected = if kernel_has_landlock() {
        vec![]
    } else {
        vec![Protection::Landlock]
    };
    assert_eq!(missing, expected);

    // What the kernel said is what happened.
    assert!(
        scene.victim.try_wait().unwrap().is_none(),
        "the victim was ended"
    );
    let other = scene.place.path().join("other.txt");
    assert_eq!(fs::read_to_string(&other).unwrap(), "confidential");
    assert_eq!(fs::metadata(&other).unwrap().mode() & 0o777, 0o600);
    for name in ["new.txt", "folder", "link"] {
        assert!(!scene.place.path().join(name).exists(), "{name}");
    }
}

#[test]
fn the_attempts_are_ones_that_succeed_without_confinement() {
    let scene = Scene::new();
    let (_, attempts) = scene.run("free");
    let refused: Vec<_> = attempts
        .iter()
        .filter(|(_, (possible, error))| *possible && *error != 0)
        .collect();
    assert!(
        refused.is_empty(),
        "refused without confinement: {refused:?}"
    );
    assert!(!scene.place.path().join("other.txt").exists());
}
