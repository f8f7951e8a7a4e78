//! The program `cloister`: reads the command line and settings, runs one command, says how it ended.
//!
//! [`compose`] is the composition root: the one place that knows both the engine and the library and brings them together.

mod args;
mod commands;
mod compose;
mod config;
mod failure;
mod models;
mod output;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::config::Config;
use crate::failure::{Failure, Outcome};

/// Bounds the memory of chat templates, which come with model files.
#[global_allocator]
static ALLOCATOR: inference::MeteredAllocator = inference::MeteredAllocator;

/// Exit status after Ctrl-C, as shells expect it.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // `--help` and `--version` are no mistakes, everything else is the user's (2).
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            // Nobody can be told that the terminal is gone.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    // The child that reads one document needs neither settings nor threads.
    if let Command::ExtractChild(child) = &cli.command {
        let status = rag::extract_child_main(&child.file);
        return ExitCode::from(u8::try_from(status).unwrap_or(1));
    }
    start_logging();
    match run(cli) {
        Ok(code) => code,
        Err(failure) => {
            output::note(&failure.to_string());
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Outcome<ExitCode> {
    let config = Config::load(&cli.global)?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::internal(format!("cannot start threads: {error}")))?;
    let outcome = runtime.block_on(async {
        // The server ends its requests in its own way.
        if let Command::Serve(args) = cli.command {
            return commands::serve::run(config, args)
                .await
                .map(|()| ExitCode::SUCCESS);
        }
        let work = commands::run(config, cli.command);
        tokio::pin!(work);
        tokio::select! {
            outcome = &mut work => outcome.map(|()| ExitCode::SUCCESS),
            _ = tokio::signal::ctrl_c() => {
                output::note("\nstopped; running the same command again continues where it can");
                // Ends at once, whatever runs: all work can be continued after any end, a power cut included.
                std::process::exit(INTERRUPTED)
            }
        }
    });
    // A failure must not wait for threads that are still at work; what they leave can be continued.
    runtime.shutdown_background();
    outcome
}

/// What is logged unless `CLOISTER_LOG` asks for something else. The embedded store warns at every start that
/// switches of its server, which nobody here could set, are not set.
const DEFAULT_LOG: &str = "warn,qdrant_edge=error";

/// Logs to stderr: warnings, or what `CLOISTER_LOG` asks for (`info`, `web_server=debug`); as JSON with
/// `CLOISTER_LOG_FORMAT=json`.
fn start_logging() {
    let filter =
        EnvFilter::try_from_env("CLOISTER_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::env::var("CLOISTER_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.with_target(false).init();
    }
}
