//! The dependency edges of ARCHITECTURE.md: which crate may know which.

use std::collections::BTreeSet;
use std::process::Command;

use cargo_metadata::MetadataCommand;

use crate::run::repository;

/// Crate, and the workspace crates it depends on.
const EDGES: &[(&str, &[&str])] = &[
    ("inference", &[]),
    ("inference-fuzz", &["inference"]),
    ("rag", &[]),
    ("web-api", &[]),
    ("web-ui", &["web-api"]),
    ("web-server", &["inference", "rag", "web-api", "web-ui"]),
    ("cloister", &["inference", "rag", "web-server"]),
];

/// `benches` measures, so it may leave out what it does not measure yet.
const BENCHES_MAY: &[&str] = &["inference", "rag", "web-api"];

#[test]
fn crates_depend_on_each_other_exactly_as_the_architecture_says() {
    let metadata = MetadataCommand::new()
        .manifest_path(repository().join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap();
    let members: BTreeSet<&str> = metadata
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let expected: BTreeSet<&str> = EDGES
        .iter()
        .map(|(name, _)| *name)
        .chain(["benches"])
        .collect();
    assert_eq!(members, expected);
    for package in &metadata.packages {
        // Dependencies of tests count too: a test that needs a forbidden crate is in the wrong crate.
        let found: BTreeSet<&str> = package
            .dependencies
            .iter()
            .map(|dependency| dependency.name.as_str())
            .filter(|name| members.contains(name))
            .collect();
        match EDGES
            .iter()
            .find(|(name, _)| *name == package.name.as_str())
        {
            Some((name, expected)) => {
                assert_eq!(found, expected.iter().copied().collect(), "{name}")
            }
            None => assert!(
                found.iter().all(|name| BENCHES_MAY.contains(name)),
                "benches: {found:?}"
            ),
        }
    }
}

#[test]
fn the_browser_bundle_contains_no_server_crate() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(repository()).args([
        "tree",
        "--offline",
        "--locked",
        "-p",
        "web-ui",
        "--features",
        "hydrate",
    ]);
    cargo.args([
        "--target",
        "wasm32-unknown-unknown",
        "-e",
        "normal",
        "--prefix",
        "none",
        "-f",
        "{p}",
    ]);
    let output = cargo.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    let crates: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(
        crates.contains("web-api") && crates.contains("leptos"),
        "{crates:?}"
    );
    let forbidden = [
        "inference",
        "rag",
        "web-server",
        "axum",
        "hyper",
        "tokio",
        "rusqlite",
        "qdrant-edge",
        "candle-core",
        "ureq",
        "argon2",
    ];
    for name in forbidden {
        assert!(!crates.contains(name), "{name} is in the browser bundle");
    }
}
