//! The extraction child as a program of its own, for tests: what `cloister extract-child PATH` does.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return ExitCode::from(2);
    };
    ExitCode::from(u8::try_from(rag::extract_child_main(&path)).unwrap_or(1))
}
