//! Runs the binary in a data directory of its own, with nothing of the surrounding environment.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A data directory, a models directory and a place for files.
pub struct Place {
    pub dir: TempDir,
    models: Option<PathBuf>,
    env: Vec<(String, String)>,
    bound_by_permissions: bool,
}

impl Place {
    /// Empty, with a models directory of its own.
    pub fn new() -> Self {
        Place {
            dir: tempfile::tempdir().unwrap(),
            models: None,
            env: Vec::new(),
            bound_by_permissions: false,
        }
    }

    /// Empty, with the test models; `None` (and a message) where they are absent.
    pub fn with_test_models(needed: &[&str]) -> Option<Self> {
        let models = test_models(needed)?;
        Some(Place {
            models: Some(models),
            ..Place::new()
        })
    }

    /// Sets a variable for the commands run here.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Permissions of files hold for the commands run here though the tests may run as root.
    pub fn bound_by_permissions(mut self) -> Self {
        self.bound_by_permissions = true;
        self
    }

    pub fn path(&self, inner: &str) -> PathBuf {
        self.dir.path().join(inner)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub fn models(&self) -> PathBuf {
        self.models.clone().unwrap_or_else(|| self.path("models"))
    }

    /// Writes a file, making its folder.
    pub fn write(&self, inner: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(inner);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The command, ready to be run.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloister"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path());
        command
            .env("CLOISTER_DATA", self.data())
            .env("CLOISTER_MODELS", self.models());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
            .args(args)
            .stdin(Stdio::null())
            .current_dir(self.dir.path());
        if self.bound_by_permissions {
            // SAFETY: a system call without memory of its own is all that happens between fork and exec.
            unsafe { command.pre_exec(drop_override_of_permissions) };
        }
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Finished {
        Finished::from(self.command(args).output().unwrap())
    }

    /// Runs with `--json`, demands success, returns the document.
    pub fn json<S: AsRef<OsStr>>(&self, args: &[S]) -> Value {
        let mut args: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
        args.push(OsStr::new("--json"));
        let finished = self.run(&args);
        assert_eq!(finished.code, Some(0), "{args:?}: {}", finished.stderr);
        serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", finished.stdout))
    }
}

/// What makes root root as far as files go is no longer in reach of the program that this process becomes.
fn drop_override_of_permissions() -> std::io::Result<()> {
    const CAP_DAC_OVERRIDE: libc::c_ulong = 1;
    const CAP_DAC_READ_SEARCH: libc::c_ulong = 2;
    for capability in [CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH] {
        // SAFETY: numbers only. Anybody but root is refused, and has nothing to drop.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    Ok(())
}

/// How a command ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The models directory for tests: `CLOISTER_TEST_MODELS`, else `target/test-models`. Where one of the needed models is
/// absent, says so and returns `None`; in CI the small ones must be there.
pub fn test_models(needed: &[&str]) -> Option<PathBuf> {
    let root = std::env::var_os("CLOISTER_TEST_MODELS")
        .map_or_else(|| repository().join("target/test-models"), PathBuf::from);
    let absent: Vec<_> = needed
        .iter()
        .filter(|name| !root.join(name).is_dir())
        .collect();
    if absent.is_empty() {
        return root.canonicalize().ok();
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{absent:?} must be in {}",
        root.display()
    );
    println!("skipped: {absent:?} not in {}", root.display());
    None
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
