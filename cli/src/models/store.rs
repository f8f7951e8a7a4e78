//! The models directory: which models are installed, and whether their bytes are what they should be.
//!
//! Layout: `<models>/<name>/<file>`, beside it `installed.json` with the checksums found. A file is read in full and
//! compared once; after that its size and time of change stand for it, so that starting does not read gigabytes twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::fetch::sha256_file;
use super::manifest::{Manifest, ModelKind, load_all};
use crate::failure::{Failure, Outcome};

const RECORD: &str = "installed.json";

/// What is known about an installed model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Where the files came from, for people.
    pub source: String,
    /// What it is used for.
    pub kind: ModelKind,
    /// Licence, for models without a manifest.
    #[serde(default)]
    pub licence: String,
    /// Architecture, for models without a manifest.
    #[serde(default)]
    pub architecture: String,
    /// By path relative to the model's folder.
    pub files: BTreeMap<String, RecordedFile>,
}

/// One file whose content was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedFile {
    /// Length.
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
    /// Time of change in nanoseconds since 1970 when it was checked.
    pub modified_ns: u128,
}

/// A model in the listing.
#[derive(Debug, Clone, Serialize)]
pub struct ModelEntry {
    /// Name in commands.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// What it is used for.
    pub kind: ModelKind,
    /// Architecture.
    pub architecture: String,
    /// Whether all files are there.
    pub installed: bool,
    /// The model's file (or folder, when it has several); null where not installed.
    pub path: Option<PathBuf>,
    /// Size of all files.
    pub bytes: u64,
    /// Checksum of the largest file: pinned, or as recorded at the first pull; null where neither.
    pub sha256: Option<String>,
    /// Where the checksum comes from.
    pub checksum: ChecksumOrigin,
    /// Licence of the weights.
    pub licence: String,
    /// Whether it is used when none is named.
    pub default: bool,
    /// Chat template, in words; empty where there is none.
    pub template: String,
    /// Most tokens.
    pub context: u64,
    /// Resident bytes while in use.
    pub memory_bytes: u64,
    /// `test`, `gpu`.
    pub tags: Vec<String>,
    /// One sentence.
    pub note: String,
}

/// Where the checksum of a model comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChecksumOrigin {
    /// Written in the manifest: the publisher's own.
    Pinned,
    /// Found at the first pull or import; later checks compare with it.
    RecordedAtFirstPull,
    /// Not known before the first pull.
    UnknownUntilPulled,
}

/// Result of checking one file.
#[derive(Debug, Clone, Serialize)]
pub struct FileCheck {
    /// Path relative to the model's folder.
    pub path: String,
    /// Checksum of the bytes on disk.
    pub sha256: String,
    /// What it should be.
    pub expected: Option<String>,
    /// Whether they are equal.
    pub ok: bool,
}

/// The models directory.
pub struct ModelStore {
    root: PathBuf,
    manifests: Vec<Manifest>,
}

impl ModelStore {
    /// Looks at a directory that need not exist yet.
    ///
    /// # Errors
    /// A manifest of the company's own that cannot be used.
    pub fn open(root: &Path) -> Outcome<Self> {
        let manifests = load_all(root).map_err(|error| {
            Failure::config(error.to_string()).hint("correct or remove that manifest")
        })?;
        Ok(ModelStore {
            root: root.to_owned(),
            manifests,
        })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All manifests.
    pub fn manifests(&self) -> &[Manifest] {
        &self.manifests
    }

    /// The manifest of a name.
    pub fn manifest(&self, name: &str) -> Option<&Manifest> {
        self.manifests.iter().find(|manifest| manifest.name == name)
    }

    /// The folder of a model.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Whether every file of a manifest is there with its size.
    pub fn is_complete(&self, manifest: &Manifest) -> bool {
        let folder = self.folder(&manifest.name);
        manifest.files.iter().all(|file| {
            std::fs::metadata(folder.join(&file.path)).is_ok_and(|metadata| {
                metadata.is_file() && file.bytes.is_none_or(|bytes| bytes == metadata.len())
            })
        })
    }

    /// The record of an installed model, where there is a readable one.
    pub fn record(&self, name: &str) -> Option<Record> {
        let text = std::fs::read_to_string(self.folder(name).join(RECORD)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Writes the record of a model, whole or not at all.
    ///
    /// # Errors
    /// Whatever writing fails with.
    pub fn write_record(&self, name: &str, record: &Record) -> std::io::Result<()> {
        let folder = self.folder(name);
        let partial = folder.join(format!("{RECORD}.part"));
        std::fs::write(&partial, serde_json::to_string_pretty(record)?)?;
        std::fs::rename(partial, folder.join(RECORD))
    }

    /// Names of models that are there without a manifest: imported ones.
    pub fn imported(&self) -> Vec<(String, Record)> {
        let mut found: Vec<_> = std::fs::read_dir(&self.root)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.') && self.manifest(name).is_none())
            .filter_map(|name| self.record(&name).map(|record| (name, record)))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// Everything that can be listed; `default_chat` is marked beside the default encoder.
    pub fn entries(&self, default_chat: Option<&str>, embedder: &str) -> Vec<ModelEntry> {
        let is_default = |kind: ModelKind, name: &str| match kind {
            ModelKind::Chat => default_chat == Some(name),
            ModelKind::Embedding => embedder == name,
        };
        let mut entries: Vec<ModelEntry> = self
            .manifests
            .iter()
            .map(|manifest| self.entry(manifest, is_default(manifest.kind, &manifest.name)))
            .collect();
        for (name, record) in self.imported() {
            let folder = self.folder(&name);
            let largest = record.files.iter().max_by_key(|(_, file)| file.bytes);
            entries.push(ModelEntry {
                title: name.clone(),
                kind: record.kind,
                architecture: record.architecture.clone(),
                installed: record.files.keys().all(|path| folder.join(path).is_file()),
                path: largest.map(|(path, _)| folder.join(path)),
                bytes: record.files.values().map(|file| file.bytes).sum(),
                sha256: largest.map(|(_, file)| file.sha256.clone()),
                checksum: ChecksumOrigin::RecordedAtFirstPull,
                licence: record.licence.clone(),
                default: is_default(record.kind, &name),
                template: String::new(),
                context: 0,
                memory_bytes: 0,
                tags: vec!["imported".to_owned()],
                note: format!("Imported: {}", record.source),
                name,
            });
        }
        entries
    }

    fn entry(&self, manifest: &Manifest, default: bool) -> ModelEntry {
        let installed = self.is_complete(manifest);
        let record = self.record(&manifest.name);
        let folder = self.folder(&manifest.name);
        let largest = manifest.files.iter().max_by_key(|file| file.size_hint());
        let recorded = largest.and_then(|file| record.as_ref()?.files.get(&file.path));
        let path = match manifest.files.as_slice() {
            [only] => folder.join(&only.path),
            _ => folder,
        };
        let pinned = largest.and_then(|file| file.sha256.clone());
        ModelEntry {
            name: manifest.name.clone(),
            title: manifest.title.clone(),
            kind: manifest.kind,
            architecture: manifest.architecture.clone(),
            installed,
            path: installed.then_some(path),
            bytes: manifest.total_bytes(),
            checksum: match (manifest.is_pinned(), recorded) {
                (true, _) => ChecksumOrigin::Pinned,
                (false, Some(_)) => ChecksumOrigin::RecordedAtFirstPull,
                (false, None) => ChecksumOrigin::UnknownUntilPulled,
            },
            sha256: pinned.or_else(|| recorded.map(|file| file.sha256.clone())),
            licence: manifest.licence.clone(),
            default,
            template: manifest.template.clone(),
            context: manifest.context,
            memory_bytes: manifest.memory_bytes,
            tags: manifest.tags.clone(),
            note: manifest.note.clone(),
        }
    }

    /// Reads every file of an installed model and compares it with what it should be; records the result where all is well.
    ///
    /// # Errors
    /// A model that is not installed, or a file that cannot be read.
    pub fn verify(&self, name: &str) -> Outcome<Vec<FileCheck>> {
        let expected = self.expected_checksums(name)?;
        let folder = self.folder(name);
        let mut checks = Vec::with_capacity(expected.len());
        let mut files = BTreeMap::new();
        for (path, expected) in expected {
            let file = folder.join(&path);
            let sha256 =
                sha256_file(&file, &format!("checking {name}/{path}")).map_err(|error| {
                    Failure::config(format!("cannot read {}: {error}", file.display()))
                })?;
            files.insert(path.clone(), recorded_file(&file, sha256.clone()));
            let ok = expected.as_ref().is_none_or(|expected| *expected == sha256);
            checks.push(FileCheck {
                path,
                sha256,
                expected,
                ok,
            });
        }
        if checks.iter().all(|check| check.ok) {
            let old = self.record(name);
            let manifest = self.manifest(name);
            let record = Record {
                source: old
                    .as_ref()
                    .map_or_else(|| "put there by hand".to_owned(), |old| old.source.clone()),
                kind: manifest
                    .map(|manifest| manifest.kind)
                    .or(old.as_ref().map(|old| old.kind))
                    .unwrap_or(ModelKind::Chat),
                licence: old
                    .as_ref()
                    .map(|old| old.licence.clone())
                    .unwrap_or_default(),
                architecture: old.map(|old| old.architecture).unwrap_or_default(),
                files,
            };
            // A read-only models directory only means that the next start reads the files again.
            if let Err(error) = self.write_record(name, &record) {
                tracing::debug!(%error, name, "cannot record the checksums");
            }
        }
        Ok(checks)
    }

    /// Makes sure that the files are what they should be before they are used.
    ///
    /// Cheap when size and time of change are as recorded; reads the files otherwise.
    ///
    /// # Errors
    /// A file that differs, with the command that repairs it.
    pub fn check_before_use(&self, name: &str) -> Outcome<()> {
        if self.is_as_recorded(name)? {
            return Ok(());
        }
        let checks = self.verify(name)?;
        match checks.iter().find(|check| !check.ok) {
            None => Ok(()),
            Some(check) => Err(mismatch(name, check)),
        }
    }

    fn is_as_recorded(&self, name: &str) -> Outcome<bool> {
        let Some(record) = self.record(name) else {
            return Ok(false);
        };
        let folder = self.folder(name);
        Ok(self
            .expected_checksums(name)?
            .iter()
            .all(|(path, expected)| {
                record.files.get(path).is_some_and(|file| {
                    expected
                        .as_ref()
                        .is_none_or(|expected| *expected == file.sha256)
                        && *file == recorded_file(&folder.join(path), file.sha256.clone())
                })
            }))
    }

    /// File paths with the checksum each should have: pinned, else recorded, else none.
    fn expected_checksums(&self, name: &str) -> Outcome<Vec<(String, Option<String>)>> {
        let record = self.record(name);
        if let Some(manifest) = self.manifest(name) {
            if !self.is_complete(manifest) {
                return Err(self.not_installed(name));
            }
            let expected = |path: &str, pinned: &Option<String>| {
                pinned
                    .clone()
                    .or_else(|| Some(record.as_ref()?.files.get(path)?.sha256.clone()))
            };
            return Ok(manifest
                .files
                .iter()
                .map(|file| (file.path.clone(), expected(&file.path, &file.sha256)))
                .collect());
        }
        match record {
            Some(record) => Ok(record
                .files
                .into_iter()
                .map(|(path, file)| (path, Some(file.sha256)))
                .collect()),
            None => Err(self.unknown(name)),
        }
    }

    /// The failure for a model that has a manifest but no (complete) files.
    pub fn not_installed(&self, name: &str) -> Failure {
        let folder = self.folder(name);
        if folder.is_dir() && self.record(name).is_some() {
            return Failure::config(format!(
                "model {name} is incomplete: a file in {} is missing or has the wrong size",
                folder.display()
            ))
            .hint(format!("`cloister models pull {name}` fetches it again"));
        }
        Failure::user(format!("model {name} is not installed in {}", self.root.display()))
            .hint(format!("`cloister models pull {name}` fetches it; without a network, `cloister models pull {name} --from FOLDER`"))
    }

    /// The failure for a name that nobody knows.
    pub fn unknown(&self, name: &str) -> Failure {
        let mut known: Vec<String> = self
            .manifests
            .iter()
            .map(|manifest| manifest.name.clone())
            .collect();
        known.extend(self.imported().into_iter().map(|(name, _)| name));
        Failure::user(format!("there is no model named `{name}`")).hint(format!(
            "known models: {}; `cloister models import FILE.gguf` adds another",
            known.join(", ")
        ))
    }
}

/// The failure for bytes that differ.
pub fn mismatch(name: &str, check: &FileCheck) -> Failure {
    Failure::config(format!(
        "{name}: the checksum of {} is {}, but it should be {}; the file is damaged or not the one the manifest means",
        check.path,
        check.sha256,
        check.expected.as_deref().unwrap_or("unknown")
    ))
    .hint(format!("`cloister models remove {name}`, then `cloister models pull {name}`"))
}

/// Size and time of change of a file whose checksum is known.
pub fn recorded_file(path: &Path, sha256: String) -> RecordedFile {
    let metadata = std::fs::metadata(path).ok();
    let modified = metadata
        .as_ref()
        .and_then(|metadata| metadata.modified().ok())
        .unwrap_or(SystemTime::UNIX_EPOCH);
    RecordedFile {
        bytes: metadata.map_or(0, |metadata| metadata.len()),
        sha256,
        modified_ns: modified
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos()),
    }
}
