//! Which model is used: the one that was named, else the first default that is installed and fits the memory.

use std::path::{Path, PathBuf};

use super::manifest::{Manifest, ModelKind};
use super::store::ModelStore;
use crate::failure::{Failure, Outcome};

/// A model on disk, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Name shown to users.
    pub name: String,
    /// The GGUF file, or the folder of an encoder.
    pub path: PathBuf,
}

/// Bytes a new process can use now: what the system calls available, less where a control group allows less.
pub fn available_memory() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let available = system.available_memory();
    system
        .cgroup_limits()
        .map_or(available, |limits| available.min(limits.free_memory))
}

/// The chat default: of the installed defaults the first that fits `available` bytes, else the one that needs least.
pub fn default_chat(store: &ModelStore, available: u64) -> Option<&Manifest> {
    let mut defaults: Vec<&Manifest> = store
        .manifests()
        .iter()
        .filter(|manifest| {
            manifest.kind == ModelKind::Chat
                && manifest.default_rank.is_some()
                && store.is_complete(manifest)
        })
        .collect();
    defaults.sort_by_key(|manifest| manifest.default_rank);
    let fitting = defaults
        .iter()
        .find(|manifest| manifest.default_needs_bytes <= available);
    fitting
        .or_else(|| {
            defaults
                .iter()
                .min_by_key(|manifest| manifest.default_needs_bytes)
        })
        .copied()
}

/// The default that should be pulled on a machine with `available` bytes.
pub fn recommended_chat(store: &ModelStore, available: u64) -> Option<&Manifest> {
    let mut defaults: Vec<&Manifest> = store
        .manifests()
        .iter()
        .filter(|manifest| manifest.kind == ModelKind::Chat && manifest.default_rank.is_some())
        .collect();
    defaults.sort_by_key(|manifest| manifest.default_rank);
    defaults
        .iter()
        .find(|manifest| manifest.default_needs_bytes <= available)
        .or(defaults.last())
        .copied()
}

/// The model that a name or a path means, with its checksum compared where one is known.
///
/// # Errors
/// An unknown name or path, a model that is not installed, the wrong kind, bytes that differ.
pub fn resolve(store: &ModelStore, spec: &str, kind: ModelKind) -> Outcome<Chosen> {
    let path = Path::new(spec);
    let looks_like_path = spec.contains('/')
        || path
            .extension()
            .is_some_and(|extension| extension == "gguf");
    if looks_like_path || path.is_file() {
        return by_path(path, kind);
    }
    if let Some(manifest) = store.manifest(spec) {
        if manifest.kind != kind {
            return Err(wrong_kind(spec, manifest.kind, kind));
        }
        if !store.is_complete(manifest) {
            return Err(store.not_installed(spec));
        }
        store.check_before_use(spec)?;
        return Ok(Chosen {
            name: spec.to_owned(),
            path: store.folder(spec).join(main_path(manifest)),
        });
    }
    let imported = store.imported().into_iter().find(|(name, _)| name == spec);
    let Some((name, record)) = imported else {
        return Err(store.unknown(spec));
    };
    if record.kind != kind {
        return Err(wrong_kind(spec, record.kind, kind));
    }
    store.check_before_use(&name)?;
    let file = record.files.keys().next().cloned().unwrap_or_default();
    Ok(Chosen {
        path: store.folder(&name).join(file),
        name,
    })
}

/// A chat model is its one file, an encoder its folder.
fn main_path(manifest: &Manifest) -> &str {
    match manifest.kind {
        ModelKind::Chat => &manifest.files[0].path,
        ModelKind::Embedding => "",
    }
}

fn by_path(path: &Path, kind: ModelKind) -> Outcome<Chosen> {
    let metadata = std::fs::metadata(path).map_err(|error| {
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        Failure::user(format!(
            "cannot read the model {}: {reason}",
            path.display()
        ))
        .hint("`cloister models list` shows the models that are installed")
    })?;
    match kind {
        ModelKind::Chat if metadata.is_dir() => {
            Err(Failure::user(format!("{} is a folder, a model is a .gguf file", path.display()))
                .hint("name the file in that folder"))
        }
        ModelKind::Embedding if !metadata.is_dir() => {
            Err(Failure::user(format!("{} is a file, an embedding model is a folder with model.safetensors and tokenizer.json", path.display()))
                .hint("name the folder"))
        }
        _ => {
            let stem = path.file_stem().map_or_else(|| path.display().to_string(), |stem| stem.to_string_lossy().into_owned());
            Ok(Chosen { name: stem, path: path.to_owned() })
        }
    }
}

fn wrong_kind(name: &str, is: ModelKind, wanted: ModelKind) -> Failure {
    let hint = "`cloister models list` shows what each model is for";
    Failure::user(format!(
        "{name} is a model for {is}, but one for {wanted} is needed here"
    ))
    .hint(hint)
}
