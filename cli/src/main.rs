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

use std::ffi::OsStr;
use std::io::IsTerminal;
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
    // Model files may be shared between accounts; everything else this program writes is its account's alone.
    if !matches!(cli.command, Command::Models(_)) {
        rag::private::close_umask();
    }
    // The child that reads one document needs neither settings nor threads.
    if let Command::ExtractChild(child) = &cli.command {
        let status = rag::extract_child_main(&child.file);
        return ExitCode::from(u8::try_from(status).unwrap_or(1));
    }
    start_logging(matches!(cli.command, Command::Serve(_)));
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

/// Added to it while the suite is served: who signed in, was turned away, made, used and deleted what.
const SECURITY_LOG: &str = "security=info";

/// Logs to stderr: warnings and, while serving, security events; or what `CLOISTER_LOG` asks for (`info`, `web_server=debug`,
/// `warn,security=info`). Empty means the default. As JSON with `CLOISTER_LOG_FORMAT=json`; in colours on a terminal only.
fn start_logging(is_serving: bool) {
    let wanted = std::env::var("CLOISTER_LOG").unwrap_or_default();
    let filter = EnvFilter::try_new(log_filter(&wanted, is_serving)).unwrap_or_else(|error| {
        output::note(&format!(
            "warning: CLOISTER_LOG is not understood ({error}); logging as without it"
        ));
        EnvFilter::new(log_filter("", is_serving))
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(in_colours(
            std::io::stderr().is_terminal(),
            std::env::var_os("NO_COLOR").as_deref(),
        ));
    if std::env::var("CLOISTER_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.init();
    }
}

/// Whether lines are coloured: not in a file, and not where `NO_COLOR` is set to anything (<https://no-color.org>).
fn in_colours(is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
}

/// What is logged: what was asked for, if anything was.
fn log_filter(wanted: &str, is_serving: bool) -> String {
    match (wanted.trim(), is_serving) {
        ("", true) => format!("{DEFAULT_LOG},{SECURITY_LOG}"),
        ("", false) => DEFAULT_LOG.to_owned(),
        (wanted, _) => wanted.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_colours_on_a_terminal_where_they_are_wanted() {
        assert!(in_colours(true, None));
        assert!(in_colours(true, Some(OsStr::new(""))));
        assert!(!in_colours(true, Some(OsStr::new("1"))));
        assert!(!in_colours(false, None));
    }

    #[test]
    fn an_empty_filter_is_the_default_and_serving_logs_security_events() {
        for nothing in ["", "  "] {
            assert_eq!(log_filter(nothing, false), DEFAULT_LOG);
            assert_eq!(
                log_filter(nothing, true),
                "warn,qdrant_edge=error,security=info"
            );
        }
        assert_eq!(log_filter("debug", true), "debug");
        for filter in [log_filter("", true), log_filter("", false)] {
            assert!(EnvFilter::try_new(filter).is_ok());
        }
    }
}
