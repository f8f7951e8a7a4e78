//! The data directory is its owner's alone, whatever the umask and whoever made it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::run::{Finished, Place};

const EMBEDDER: &str = "all-minilm-l6-v2";

/// Everything below a folder that other accounts could get at, by mode.
fn open_to_others(folder: &Path) -> Vec<String> {
    let mut pending = vec![folder.to_owned()];
    let mut open = Vec::new();
    while let Some(path) = pending.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        if metadata.mode() & 0o077 != 0 {
            open.push(format!("{} {:o}", path.display(), metadata.mode()));
        }
        if metadata.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            pending.extend(entries.map(|entry| entry.unwrap().path()));
        }
    }
    open
}

/// Runs with a umask that hides nothing.
fn run_openly(place: &Place, args: &[&str]) -> Finished {
    let inner = place.command(args);
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "umask 000; exec \"$0\" \"$@\""])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env_clear()
        .envs(
            inner
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(place.dir.path());
    Finished::from(command.output().unwrap())
}

#[test]
fn what_is_made_is_private_and_what_was_open_is_closed_and_said() {
    let Some(place) = Place::with_test_models(&[EMBEDDER]) else {
        return;
    };
    let docs = place.write("docs/a.txt", "The canteen opens at noon.");
    let ingest = ["ingest", docs.to_str().unwrap(), "--collection", "c"];
    let made = run_openly(&place, &ingest);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert_eq!(open_to_others(&place.data()), Vec::<String>::new());
    assert!(!made.stderr.contains("other accounts"), "{}", made.stderr);

    for path in ["", "catalogue.db", "suite.db", "vectors"] {
        let path = place.data().join(path);
        let mode = if path.is_dir() { 0o777 } else { 0o666 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let again = run_openly(&place, &ingest);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(open_to_others(&place.data()), Vec::<String>::new());
    assert!(again.stderr.contains("other accounts"), "{}", again.stderr);
    assert!(again.stderr.contains("mode 777"), "{}", again.stderr);
    assert!(again.stderr.contains("3 more below"), "{}", again.stderr);
}

#[test]
fn models_beside_the_documents_do_not_open_them() {
    let place = Place::new();
    let models = place.data().join("models");
    let models = models.to_str().unwrap();
    let listed = run_openly(&place, &["--models", models, "models", "list"]);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    let mode = std::fs::metadata(place.data()).unwrap().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}
