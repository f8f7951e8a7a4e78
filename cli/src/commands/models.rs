//! `cloister models`

use std::collections::BTreeMap;
use std::path::Path;

use inference::GgufFile;
use serde_json::json;

use super::quantize;
use crate::args::ModelsCommand;
use crate::compose::on_gpu;
use crate::config::Config;
use crate::failure::{Failure, Outcome, chain};
use crate::models::choose::{available_memory, default_chat, recommended_chat};
use crate::models::fetch::sha256_file;
use crate::models::manifest::is_plain_name;
use crate::models::progress::size;
use crate::models::pull::pull;
use crate::models::store::{
    ChecksumOrigin, FileCheck, ModelEntry, Record, mismatch, recorded_file,
};
use crate::models::{ModelKind, ModelStore};
use crate::output;

/// Lists, fetches, imports, checks, quantizes and removes models.
///
/// # Errors
/// An unknown name, a source or disk that fails, bytes that differ.
pub fn run(config: &Config, command: ModelsCommand) -> Outcome<()> {
    if config.models_dir.starts_with(&config.data_dir) {
        // Model files may be read by all; the folder they usually lie in holds documents, too. Where it cannot be made, the
        // models cannot either, and that is said below.
        let _ = rag::private::create_dir(&config.data_dir);
    }
    let store = ModelStore::open(&config.models_dir)?;
    match command {
        ModelsCommand::Quantize(args) => quantize::run(config, &args),
        ModelsCommand::List => list(config, &store),
        ModelsCommand::Pull {
            names,
            from,
            offline,
        } => pull_all(config, &store, names, from, offline),
        ModelsCommand::Import {
            file,
            name,
            licence,
        } => import(config, &store, &file, name, &licence),
        ModelsCommand::Verify { name } => verify(config, &store, name),
        ModelsCommand::Remove { name } => remove(config, &store, &name),
    }
}

fn entries(config: &Config, store: &ModelStore) -> Vec<ModelEntry> {
    let configured = config.file.models.chat.as_str();
    let default = match configured {
        "auto" => default_chat(store, available_memory()).map(|manifest| manifest.name.as_str()),
        "none" => None,
        name => Some(name),
    };
    store.entries(default, &config.file.models.embedder)
}

fn list(config: &Config, store: &ModelStore) -> Outcome<()> {
    let entries = entries(config, store);
    if config.json {
        output::json(&json!({ "models": entries, "dir": store.root() }));
        return Ok(());
    }
    let row = |entry: &ModelEntry| {
        let state = match (entry.installed, entry.default) {
            (true, true) => "default",
            (true, false) => "installed",
            (false, _) => "-",
        };
        let checksum = match entry.checksum {
            ChecksumOrigin::Pinned => "pinned",
            ChecksumOrigin::RecordedAtFirstPull => "recorded at first pull",
            ChecksumOrigin::UnknownUntilPulled => "not known before the first pull",
        };
        let memory = if entry.memory_bytes == 0 {
            "-".to_owned()
        } else {
            size(entry.memory_bytes)
        };
        vec![
            entry.name.clone(),
            entry.kind.to_string(),
            state.to_owned(),
            size(entry.bytes),
            memory,
            checksum.to_owned(),
            entry.licence.clone(),
        ]
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    output::print(&output::table(
        &[
            "NAME", "FOR", "STATE", "SIZE", "MEMORY", "CHECKSUM", "LICENCE",
        ],
        &rows,
    ));
    output::note(&format!(
        "\nModels are kept in {}. `cloister models pull NAME` fetches one.",
        store.root().display()
    ));
    for entry in entries.iter().filter(|entry| !entry.note.is_empty()) {
        output::note(&format!("  {}: {}", entry.name, entry.note));
    }
    Ok(())
}

fn pull_all(
    config: &Config,
    store: &ModelStore,
    mut names: Vec<String>,
    from: Option<String>,
    offline: bool,
) -> Outcome<()> {
    if names.is_empty() {
        if on_gpu(config) {
            return Err(Failure::user("there is no default model for a GPU yet")
                .hint("`cloister models list` shows candidates; name one"));
        }
        names.extend(
            recommended_chat(store, available_memory()).map(|manifest| manifest.name.clone()),
        );
        names.push(config.file.models.embedder.clone());
    }
    let options = config.pull_options(from, offline);
    let mut pulled = Vec::new();
    for name in &names {
        let manifest = store.manifest(name).ok_or_else(|| store.unknown(name))?;
        let source = if store.is_complete(manifest) && store.check_before_use(name).is_ok() {
            output::note(&format!("{name} is installed and its checksum is right"));
            None
        } else {
            let source = pull(store, manifest, &options)?;
            output::note(&format!("{name} is installed, from {source}"));
            Some(source)
        };
        pulled.push(json!({"name": name, "path": store.folder(name), "source": source, "already_installed": source.is_none()}));
    }
    if config.json {
        output::json(&json!({ "pulled": pulled }));
    }
    Ok(())
}

fn import(
    config: &Config,
    store: &ModelStore,
    file: &Path,
    name: Option<String>,
    licence: &str,
) -> Outcome<()> {
    let gguf = GgufFile::open(file).map_err(|error| {
        Failure::user(format!(
            "cannot import {}: {}",
            file.display(),
            chain(&error)
        ))
        .hint("a model is a GGUF file (.gguf), version 2 or 3")
    })?;
    let architecture = gguf
        .get_str("general.architecture")
        .unwrap_or("unknown")
        .to_owned();
    drop(gguf);
    let sha256 = sha256_file(file, "reading the file")
        .map_err(|error| Failure::user(format!("cannot read {}: {error}", file.display())))?;
    let file_name = file
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let known = store.manifests().iter().find(|manifest| {
        manifest.files.len() == 1 && manifest.files[0].sha256.as_deref() == Some(sha256.as_str())
    });
    let stem = file_name
        .strip_suffix(".gguf")
        .unwrap_or(&file_name)
        .to_lowercase();
    let name = name
        .or_else(|| known.map(|manifest| manifest.name.clone()))
        .unwrap_or(stem);
    if !is_plain_name(&name) {
        return Err(
            Failure::user(format!("`{name}` cannot be the name of a model"))
                .hint("--name with letters, digits, dots, dashes and underscores"),
        );
    }
    let known = known.filter(|manifest| manifest.name == name);
    if known.is_none() && store.manifest(&name).is_some() {
        return Err(Failure::user(format!("{name} is the name of a listed model, but the file is not that one (its checksum differs)")).hint("choose another with --name"));
    }
    let target_name = known.map_or(file_name, |manifest| manifest.files[0].path.clone());
    let target = store.folder(&name).join(&target_name);
    copy_into_place(file, &target)?;
    let record = Record {
        source: format!("imported from {}", file.display()),
        kind: ModelKind::Chat,
        licence: known.map_or_else(|| licence.to_owned(), |manifest| manifest.licence.clone()),
        architecture,
        files: BTreeMap::from([(target_name, recorded_file(&target, sha256.clone()))]),
    };
    store.write_record(&name, &record).map_err(|error| {
        Failure::config(format!(
            "cannot write to {}: {error}",
            store.folder(&name).display()
        ))
    })?;
    if config.json {
        output::json(&json!({"name": name, "path": target, "sha256": sha256}));
    } else {
        output::line(&format!("{name} is installed"));
    }
    Ok(())
}

/// Copies a file so that the target is never seen half-written.
fn copy_into_place(from: &Path, target: &Path) -> Outcome<()> {
    let partial = target.with_extension("part");
    let copy = || -> std::io::Result<()> {
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::copy(from, &partial)?;
        std::fs::rename(&partial, target)
    };
    copy().map_err(|error| {
        // The partial copy is of no use, and what went wrong is already known.
        let _ = std::fs::remove_file(&partial);
        Failure::config(format!("cannot write {}: {error}", target.display()))
            .hint("free space there, or choose another place with --models DIR")
    })
}

fn verify(config: &Config, store: &ModelStore, name: Option<String>) -> Outcome<()> {
    let names = match name {
        Some(name) => vec![name],
        None => entries(config, store)
            .into_iter()
            .filter(|entry| entry.installed)
            .map(|entry| entry.name)
            .collect(),
    };
    let mut results = Vec::new();
    let mut wrong: Option<(String, FileCheck)> = None;
    for name in names {
        let recorded = store.record(&name).is_some();
        let checks = store.verify(&name)?;
        if let Some(check) = checks.iter().find(|check| !check.ok) {
            wrong = wrong.or_else(|| Some((name.clone(), check.clone())));
        }
        if !config.json {
            for check in &checks {
                let verdict = match (&check.expected, check.ok, recorded) {
                    (_, false, _) => "DIFFERS",
                    (None, true, _) => "recorded now (no checksum was known)",
                    (Some(_), true, _) => "right",
                };
                output::line(&format!("{name}/{}: {verdict}", check.path));
            }
        }
        results.push(
            json!({"name": name, "ok": checks.iter().all(|check| check.ok), "files": checks}),
        );
    }
    if config.json {
        output::json(&json!({ "models": results }));
    }
    match wrong {
        None => Ok(()),
        Some((name, check)) => Err(mismatch(&name, &check)),
    }
}

fn remove(config: &Config, store: &ModelStore, name: &str) -> Outcome<()> {
    let folder = store.folder(name);
    if !is_plain_name(name) || (store.manifest(name).is_none() && store.record(name).is_none()) {
        return Err(store.unknown(name));
    }
    if !folder.exists() {
        return Err(Failure::user(format!(
            "model {name} is not installed in {}",
            store.root().display()
        )));
    }
    std::fs::remove_dir_all(&folder)
        .map_err(|error| Failure::config(format!("cannot delete {}: {error}", folder.display())))?;
    if config.json {
        output::json(&json!({"name": name, "removed": true}));
    } else {
        output::line(&format!("{name} is removed"));
    }
    Ok(())
}
