//! The limited child process in which files are read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ExtractError;
use crate::document::Extracted;

/// What one extraction may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Address space of the child. Default 2 GiB; more lets larger documents through and lets a hostile one take more.
    pub memory_bytes: u64,
    /// CPU time of the child. Default 60 s.
    pub cpu: Duration,
    /// Wall time of the child. Default 120 s.
    pub wall: Duration,
    /// Largest JSON answer that is accepted. Default 256 MiB.
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

/// Starts the child processes: `program args... PATH`.
#[derive(Debug, Clone)]
pub struct Extractor {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub limits: Limits,
}

impl Extractor {
    /// Extracts the blocks of the file at `path` in a child process. Blocks until it ends.
    ///
    /// # Errors
    /// The reason why there is no text, one of [`ExtractError`].
    pub fn extract(&self, path: &Path) -> Result<Extracted, ExtractError> {
        super::extract_file(path)
    }
}

/// Body of the hidden `extract-child PATH` command. Returns the exit status.
#[must_use]
pub fn extract_child_main(path: &Path) -> i32 {
    let result = super::extract_file(path);
    i32::from(serde_json::to_writer(std::io::stdout().lock(), &result).is_err())
}
