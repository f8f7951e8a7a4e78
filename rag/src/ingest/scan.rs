//! Which files there are under the given paths.
//!
//! Symbolic links below a given path are not followed: what they point to is either below it too, and
//! found there, or outside, where nobody asked to look. That holds for links that appear after the listing, too: see
//! [`super::source`]. Hidden files, lock files of office programs and
//! anything that is not a regular file are passed over, and so are files whose extension says that they
//! are not documents; each is named with the reason. What cannot be listed is remembered, so that nothing
//! is taken for removed there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use walkdir::{DirEntry, WalkDir};

use super::source::{Root, Source};
use super::{FailedFile, IngestError, SkippedFile};
use crate::catalogue::FileFacts;
use crate::extract::extension_of;
use crate::extract::readers::{is_document, supported_extensions};

/// A file to ingest.
#[derive(Debug, Clone)]
pub(super) struct ScannedFile {
    pub source: Source,
    pub facts: FileFacts,
}

/// Something below a root that could not be listed.
#[derive(Debug, Clone)]
struct Unlisted {
    root: PathBuf,
    /// Relative to the root; empty for the root itself.
    relative: String,
}

/// What the paths hold.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// By path; paths are distinct.
    pub files: Vec<ScannedFile>,
    /// What could not be listed.
    pub failed: Vec<FailedFile>,
    /// What was passed over, by path.
    pub skipped: Vec<SkippedFile>,
    unlisted: Vec<Unlisted>,
    /// Folders that were opened to be listed, and those of files that were given by name.
    roots: HashMap<PathBuf, Root>,
}

impl Scan {
    /// The open folder of this canonical path.
    fn root(&mut self, folder: &Path) -> std::io::Result<Root> {
        if let Some(root) = self.roots.get(folder) {
            return Ok(root.clone());
        }
        let root = Root::open(folder)?;
        self.roots.insert(folder.to_owned(), root.clone());
        Ok(root)
    }

    /// Whether a document may still be there although it was not seen.
    pub(super) fn may_hide(&self, root: &str, path: &str) -> bool {
        self.unlisted.iter().any(|unlisted| {
            let names = [
                Some(unlisted.relative.clone()),
                prefixed(&unlisted.root, &unlisted.relative),
            ];
            unlisted.root.to_string_lossy() == root
                && names
                    .iter()
                    .flatten()
                    .any(|name| is_at_or_below(path, name))
        })
    }
}

fn is_at_or_below(path: &str, folder: &str) -> bool {
    folder.is_empty()
        || path
            .strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Lists the files under `paths`, which may be folders and files.
///
/// # Errors
/// [`IngestError::NoSuchPath`]; [`IngestError::NothingToIngest`] where no document was found and
/// nothing failed.
pub(super) fn scan(paths: &[PathBuf]) -> Result<Scan, IngestError> {
    let mut scan = Scan::default();
    let mut seen = Seen::default();
    for path in paths {
        let absolute = path.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => IngestError::NoSuchPath { path: path.clone() },
            _ => IngestError::UnreadablePath {
                path: path.clone(),
                reason: error.to_string(),
            },
        })?;
        if absolute.is_dir() {
            scan_folder(&absolute, &mut scan, &mut seen);
        } else {
            scan_file(&absolute, &mut scan, &mut seen);
        }
    }
    if scan.files.is_empty() && scan.failed.is_empty() {
        return Err(IngestError::NothingToIngest {
            paths: paths
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
            passed_over: passed_over(&scan.skipped),
            supported: supported_extensions().collect::<Vec<_>>().join(", "),
        });
    }
    make_paths_distinct(&mut scan);
    scan.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(scan)
}

/// Absolute paths that were met: given paths may overlap.
#[derive(Debug, Default)]
struct Seen {
    files: HashSet<PathBuf>,
    skipped: HashSet<PathBuf>,
}

/// " (passed over: 2: hidden ...)", or nothing where nothing is.
fn passed_over(skipped: &[SkippedFile]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for SkippedFile { reason, .. } in skipped {
        *counts.entry(reason).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(reason, count)| format!("{count}: {reason}"))
        .collect();
    if counts.is_empty() {
        String::new()
    } else {
        format!(" (passed over: {})", counts.join("; "))
    }
}

fn scan_file(absolute: &Path, scan: &mut Scan, seen: &mut Seen) {
    let name = absolute
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let root = absolute.parent().unwrap_or(Path::new("/"));
    match absolute.metadata() {
        Ok(metadata) if metadata.is_file() => {
            add(scan, seen, root, name, absolute.to_owned(), &metadata);
        }
        Ok(_) => scan.failed.push(FailedFile {
            path: name,
            reason: "it is not a regular file".to_owned(),
        }),
        Err(error) => cannot_list(scan, root, name, &error),
    }
}

fn scan_folder(root: &Path, scan: &mut Scan, seen: &mut Seen) {
    // Opened before it is listed: whatever takes its place meanwhile is not what is read.
    if let Err(error) = scan.root(root) {
        return cannot_list(scan, root, String::new(), &error);
    }
    let mut walk = WalkDir::new(root)
        .follow_links(false)
        .sort_by_file_name()
        .into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let path = error.path().unwrap_or(root).to_owned();
                let error = error
                    .into_io_error()
                    .unwrap_or_else(|| std::io::Error::other("it cannot be listed"));
                cannot_list(scan, root, relative(root, &path), &error);
                continue;
            }
        };
        let is_dir = entry.file_type().is_dir();
        let mut path = relative(root, entry.path());
        if let Some(reason) = reason_to_skip(&entry) {
            if is_dir {
                walk.skip_current_dir();
                path.push('/');
            }
            if seen.skipped.insert(entry.into_path()) {
                scan.skipped.push(SkippedFile { path, reason });
            }
            continue;
        }
        if is_dir {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) => add(scan, seen, root, path, entry.into_path(), &metadata),
            Err(error) => cannot_list(scan, root, path, &error.into()),
        }
    }
}

/// Why something found in a folder is passed over; `None` for documents and for folders to look into.
fn reason_to_skip(entry: &DirEntry) -> Option<String> {
    let (name, kind) = (entry.file_name().to_string_lossy(), entry.file_type());
    if entry.depth() == 0 {
        return None;
    }
    let reason = if name.starts_with("~$") {
        "lock file of an office program"
    } else if name.starts_with('.') {
        "hidden, its name begins with a dot"
    } else if kind.is_symlink() {
        "symbolic link; links are not followed"
    } else if kind.is_dir() {
        return None;
    } else if !kind.is_file() {
        "not a regular file"
    } else {
        let extension = extension_of(entry.path());
        return match (is_document(&extension), extension.as_str()) {
            (true, _) => None,
            (false, "") => Some("its name has no extension, so its type is not known".to_owned()),
            (false, extension) => Some(format!("files of type .{extension} are not read")),
        };
    };
    Some(reason.to_owned())
}

fn add(
    scan: &mut Scan,
    seen: &mut Seen,
    root: &Path,
    path: String,
    absolute: PathBuf,
    metadata: &Metadata,
) {
    let folder = match scan.root(root) {
        Ok(folder) => folder,
        Err(error) => return cannot_list(scan, root, path, &error),
    };
    let relative = absolute.strip_prefix(root).unwrap_or(&absolute).to_owned();
    if seen.files.insert(absolute) {
        let root = root.to_string_lossy().into_owned();
        scan.files.push(ScannedFile {
            source: folder.source(relative),
            facts: facts(path, root, metadata),
        });
    }
}

/// The facts of a file that was not uploaded.
pub(super) fn facts(path: String, root: String, metadata: &Metadata) -> FileFacts {
    FileFacts {
        path,
        root,
        uploaded: false,
        bytes: metadata.len(),
        modified_ns: modified_ns(metadata),
    }
}

/// Modification time in nanoseconds since 1970; 0 where the file system does not tell.
pub(super) fn modified_ns(metadata: &Metadata) -> i64 {
    let since = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

fn cannot_list(scan: &mut Scan, root: &Path, relative: String, error: &std::io::Error) {
    let path = if relative.is_empty() {
        root.to_string_lossy().into_owned()
    } else {
        relative.clone()
    };
    let reason = format!("it cannot be read ({error}); what was ingested from it before is kept");
    scan.failed.push(FailedFile { path, reason });
    scan.unlisted.push(Unlisted {
        root: root.to_owned(),
        relative,
    });
}

fn relative(root: &Path, path: &Path) -> String {
    let parts = path.strip_prefix(root).unwrap_or(path).components();
    parts
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join("/")
}

/// Gives files of different folders that have the same relative path the name of their folder in
/// front; where even that is not enough (or a name is not Unicode), all but the first fail.
fn make_paths_distinct(scan: &mut Scan) {
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for file in &scan.files {
        *uses.entry(&file.facts.path).or_default() += 1;
    }
    let repeated: HashSet<String> = uses
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .map(|(path, _)| path.to_owned())
        .collect();
    let mut distinct: BTreeMap<String, ScannedFile> = BTreeMap::new();
    for mut file in std::mem::take(&mut scan.files) {
        if repeated.contains(&file.facts.path)
            && let Some(path) = prefixed(Path::new(&file.facts.root), &file.facts.path)
        {
            file.facts.path = path;
        }
        if distinct.contains_key(&file.facts.path) {
            let reason =
                "another file with the same relative path is in the collection; rename one of them";
            scan.failed.push(FailedFile {
                path: file.facts.path,
                reason: reason.to_owned(),
            });
        } else {
            distinct.insert(file.facts.path.clone(), file);
        }
    }
    scan.files = distinct.into_values().collect();
}

fn prefixed(root: &Path, path: &str) -> Option<String> {
    root.file_name()
        .map(|name| format!("{}/{path}", name.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn paths(scan: &Scan) -> Vec<&str> {
        scan.files
            .iter()
            .map(|file| file.facts.path.as_str())
            .collect()
    }

    #[test]
    fn only_visible_regular_documents_are_listed_in_order_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        for name in [
            "b.txt",
            "a.md",
            "sub/c.txt",
            ".hidden.txt",
            ".git/d.txt",
            "~$b.docx",
            "image.png",
            "README",
            "old.doc",
        ] {
            fs::write(root.join(name), "x").unwrap();
        }
        fs::write(outside.join("secret.txt"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        std::os::unix::fs::symlink(outside.join("secret.txt"), root.join("secret.txt")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket.txt")).unwrap();
        let found = scan(std::slice::from_ref(&root)).unwrap();
        assert_eq!(paths(&found), ["a.md", "b.txt", "old.doc", "sub/c.txt"]);
        assert_eq!(found.failed, []);
        let skipped: Vec<String> = found
            .skipped
            .iter()
            .map(|skipped| format!("{} {}", skipped.path, skipped.reason))
            .collect();
        assert_eq!(
            skipped,
            [
                ".git/ hidden, its name begins with a dot",
                ".hidden.txt hidden, its name begins with a dot",
                "README its name has no extension, so its type is not known",
                "image.png files of type .png are not read",
                "link symbolic link; links are not followed",
                "secret.txt symbolic link; links are not followed",
                "socket.txt not a regular file",
                "~$b.docx lock file of an office program",
            ]
        );
    }

    #[test]
    fn equal_names_of_two_folders_are_told_apart_and_overlapping_paths_count_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["x/same.txt", "y/same.txt", "y/other.txt"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let found = scan(&[
            dir.path().join("x"),
            dir.path().join("y"),
            dir.path().join("y/other.txt"),
        ])
        .unwrap();
        assert_eq!(paths(&found), ["other.txt", "x/same.txt", "y/same.txt"]);
    }

    #[test]
    fn a_missing_path_and_a_folder_without_documents_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let missing = scan(&[dir.path().join("nowhere")]).unwrap_err();
        assert!(
            matches!(missing, IngestError::NoSuchPath { .. }),
            "{missing}"
        );
        fs::write(dir.path().join("image.png"), "x").unwrap();
        let empty = scan(&[dir.path().to_owned()]).unwrap_err();
        assert!(
            matches!(empty, IngestError::NothingToIngest { .. }),
            "{empty}"
        );
        assert!(
            empty
                .to_string()
                .contains("(passed over: 1: files of type .png are not read)"),
            "{empty}"
        );
    }

    #[test]
    fn what_cannot_be_listed_hides_only_what_is_below_it() {
        let unlisted = vec![Unlisted {
            root: "/data/x".into(),
            relative: "sub".into(),
        }];
        let scan = Scan {
            unlisted,
            ..Scan::default()
        };
        assert!(scan.may_hide("/data/x", "sub/a.txt"));
        assert!(scan.may_hide("/data/x", "x/sub/a.txt"));
        assert!(!scan.may_hide("/data/x", "subway.txt"));
        assert!(!scan.may_hide("/data/y", "sub/a.txt"));
    }
}
