//! `cloister ingest`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use web_server::LocalRequest;

use super::local::{self, list, number, text};
use crate::args::IngestArgs;
use crate::compose::Need;
use crate::config::Config;
use crate::failure::{Failure, Outcome};
use crate::output;

/// Files named for each reason why files were passed over.
const SKIPPED_EXAMPLES: usize = 3;

/// Makes the collection equal to the paths, once or until stopped.
///
/// # Errors
/// A path that is not there or cannot be read; whatever the library reports.
pub async fn run(config: &Config, args: IngestArgs) -> Outcome<()> {
    let paths = readable_paths(&args.paths)?;
    ingest(config, &paths, &args.collection, args.full).await?;
    if !args.watch {
        return Ok(());
    }
    let interval = Duration::from_secs(args.interval.max(1));
    let mut seen = snapshot(&paths);
    output::note("watching for changes; Ctrl-C ends it");
    loop {
        tokio::time::sleep(interval).await;
        let now = snapshot(&paths);
        if now == seen {
            continue;
        }
        // A file still being written changes again before the next look: wait until one look passes without a change.
        tokio::time::sleep(interval.min(Duration::from_secs(2))).await;
        if snapshot(&paths) == now {
            ingest(config, &paths, &args.collection, false).await?;
            seen = now;
        }
    }
}

async fn ingest(config: &Config, paths: &[PathBuf], collection: &str, full: bool) -> Outcome<()> {
    let request = LocalRequest::Ingest {
        paths: paths.to_vec(),
        collection: collection.to_owned(),
        full,
    };
    let report = local::call_with_progress(config, request, Need::Retrieval).await?;
    if config.json {
        output::json(&report);
    } else {
        show_report(collection, &report);
    }
    Ok(())
}

fn show_report(collection: &str, report: &Value) {
    let failed = list(report, "failed");
    let count = |key: &str| number(report, key).to_string();
    let header = [
        "ADDED",
        "UPDATED",
        "UNCHANGED",
        "RENAMED",
        "REMOVED",
        "FAILED",
        "PASSAGES",
    ];
    let row = vec![
        count("added"),
        count("updated"),
        count("unchanged"),
        count("renamed"),
        count("removed"),
        failed.len().to_string(),
        count("passages"),
    ];
    let seconds = report
        .get("seconds")
        .and_then(Value::as_f64)
        .unwrap_or_default();
    output::line(&format!(
        "Collection {}, {seconds:.1} s",
        output::name(collection)
    ));
    output::print(&output::table(&header, &[row]));
    if !failed.is_empty() {
        output::line("\nNot taken in:");
        for file in failed {
            output::line(&format!(
                "  {}: {}",
                output::name(text(file, "path")),
                output::name(text(file, "reason"))
            ));
        }
    }
    let skipped = list(report, "skipped");
    if !skipped.is_empty() {
        output::line("\nPassed over (all with --json):");
        let files = skipped
            .iter()
            .map(|file| (text(file, "reason"), text(file, "path")));
        output::print(&skipped_lines(files));
    }
}

/// A line for each reason: how many files, and the first of them.
fn skipped_lines<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (reason, path) in files {
        by_reason.entry(reason).or_default().push(path);
    }
    let mut lines = String::new();
    for (reason, paths) in by_reason {
        let examples = paths[..paths.len().min(SKIPPED_EXAMPLES)].join(", ");
        let more = if paths.len() > SKIPPED_EXAMPLES {
            ", ..."
        } else {
            ""
        };
        lines.push_str(&format!("  {}: {reason} ({examples}{more})\n", paths.len()));
    }
    lines
}

/// Absolute paths of things that are there and can be read.
fn readable_paths(paths: &[PathBuf]) -> Outcome<Vec<PathBuf>> {
    paths.iter().map(|path| readable_path(path)).collect()
}

fn readable_path(path: &Path) -> Outcome<PathBuf> {
    let refused = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::user(format!("there is no file or folder {}", path.display()))
                .hint("check the path; ingestion takes folders and files")
        }
        std::io::ErrorKind::PermissionDenied => Failure::user(format!(
            "{} may not be read by this account",
            path.display()
        ))
        .hint(format!(
            "give the account that runs cloister read permission, e.g. chmod -R u+rX {}",
            path.display()
        )),
        _ => Failure::user(format!("cannot read {}: {error}", path.display())),
    };
    let absolute = path.canonicalize().map_err(|error| refused(&error))?;
    if absolute.is_dir() {
        std::fs::read_dir(&absolute).map_err(|error| refused(&error))?;
    } else {
        std::fs::File::open(&absolute).map_err(|error| refused(&error))?;
    }
    Ok(absolute)
}

/// Size and time of change of every file below the paths.
fn snapshot(paths: &[PathBuf]) -> BTreeMap<PathBuf, (u64, Option<SystemTime>)> {
    let mut files = BTreeMap::new();
    let mut pending = paths.to_vec();
    while let Some(path) = pending.pop() {
        // What cannot be looked at now is looked at next time.
        let Ok(metadata) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            pending.extend(
                std::fs::read_dir(&path)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path()),
            );
        } else {
            files.insert(path, (metadata.len(), metadata.modified().ok()));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_over_is_counted_by_reason_with_examples() {
        let files = [
            ("files of type .png are not read", "a.png"),
            ("hidden", ".git/"),
            ("files of type .png are not read", "b.png"),
            ("files of type .png are not read", "c.png"),
            ("files of type .png are not read", "d.png"),
        ];
        assert_eq!(
            skipped_lines(files.into_iter()),
            "  4: files of type .png are not read (a.png, b.png, c.png, ...)\n  1: hidden (.git/)\n"
        );
    }
}
