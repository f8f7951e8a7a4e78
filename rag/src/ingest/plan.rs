//! What to do about each file: compared with the catalogue by size and time, then by content.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek};

use super::FailedFile;
use super::pipeline::is_current;
use super::scan::{Scan, ScannedFile};
use super::source::unreadable;
use crate::access::DocumentId;
use crate::catalogue::{DocumentRow, FileFacts};
use crate::extract::{MAX_FILE_BYTES, too_large};
use crate::records::DocumentState;

/// Why a file is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Added,
    Updated,
    Renamed,
}

/// A file to extract, embed and store.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Row of the document where it has one.
    pub id: Option<DocumentId>,
    pub file: ScannedFile,
    pub change: Change,
}

/// A document whose file has another path now.
#[derive(Debug)]
pub(super) struct Rename {
    pub row: DocumentRow,
    pub file: ScannedFile,
    pub hash: String,
}

/// A file that could not be read.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub id: Option<DocumentId>,
    pub facts: FileFacts,
    pub reason: String,
}

/// Everything there is to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub unchanged: usize,
    /// Same content, other time or root.
    pub touched: Vec<(DocumentId, FileFacts)>,
    /// Failed before, and the file is the same.
    pub still_failed: Vec<FailedFile>,
    pub unreadable: Vec<Unreadable>,
    pub renames: Vec<Rename>,
    pub jobs: Vec<Job>,
    pub removals: Vec<DocumentRow>,
    /// Uploaded documents that a file of a folder now stands for.
    pub taken_over: Vec<String>,
}

/// Hex BLAKE3 of a file's content. Moves the file's position.
///
/// # Errors
/// Those of reading, and [`io::ErrorKind::FileTooLarge`] for a file that would not be extracted either: a sparse file or
/// one that grows all the time has no end worth waiting for.
pub(super) fn hash_file(mut file: &File) -> io::Result<String> {
    let too_large = |bytes| io::Error::new(io::ErrorKind::FileTooLarge, too_large(bytes));
    let stated = file.metadata()?.len();
    if stated > MAX_FILE_BYTES {
        return Err(too_large(stated));
    }
    let mut hasher = blake3::Hasher::new();
    file.rewind()?;
    let read = io::copy(&mut file.take(MAX_FILE_BYTES + 1), &mut hasher)?;
    if read > MAX_FILE_BYTES {
        return Err(too_large(read));
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// What the files are compared under.
#[derive(Debug, Clone, Copy)]
pub(super) struct Basis<'a> {
    /// Name of the embedder of today.
    pub(super) embedder: &'a str,
    /// Read all files, also those of unchanged size and time.
    pub(super) full: bool,
}

/// Compares the files with the rows of the collection. Reads the files that may have changed;
/// `on_file` is told before each and stops the work by returning false (`None` is returned then).
pub(super) fn plan(
    scan: &Scan,
    rows: Vec<DocumentRow>,
    basis: Basis<'_>,
    on_file: &mut dyn FnMut(&str) -> bool,
) -> Option<Plan> {
    let mut plan = Plan::default();
    let mut rows: BTreeMap<String, DocumentRow> = rows
        .into_iter()
        .map(|row| (row.path.clone(), row))
        .collect();
    let mut new = Vec::new();
    for file in &scan.files {
        if !on_file(&file.facts.path) {
            return None;
        }
        let row = rows.remove(&file.facts.path);
        if row.as_ref().is_some_and(|row| row.uploaded) {
            plan.taken_over.push(file.facts.path.clone());
        }
        if let Some(row) = &row
            && !basis.full
            && is_as_before(row, &file.facts)
            && is_settled(row, basis.embedder)
        {
            plan.keep(row, &file.facts);
            continue;
        }
        let hash = match file.source.open().and_then(|file| hash_file(&file)) {
            Ok(hash) => hash,
            Err(error) => {
                plan.unreadable.push(Unreadable {
                    id: row.map(|row| row.id),
                    facts: file.facts.clone(),
                    reason: unreadable(&error),
                });
                continue;
            }
        };
        match row {
            Some(row) if row.hash.as_ref() == Some(&hash) && is_settled(&row, basis.embedder) => {
                plan.touched.push((row.id, file.facts.clone()));
                plan.keep(&row, &file.facts);
            }
            Some(row) => {
                let change = if row.state == DocumentState::Pending {
                    Change::Added
                } else {
                    Change::Updated
                };
                plan.jobs.push(Job {
                    id: Some(row.id),
                    file: file.clone(),
                    change,
                });
            }
            None => new.push((file.clone(), hash)),
        }
    }
    let mut gone: Vec<DocumentRow> = rows
        .into_values()
        .filter(|row| !row.uploaded && !scan.may_hide(&row.root, &row.path))
        .collect();
    plan.pair_renames(new, &mut gone, basis.embedder);
    plan.removals = gone;
    Some(plan)
}

impl Plan {
    fn keep(&mut self, row: &DocumentRow, facts: &FileFacts) {
        if row.state == DocumentState::Failed {
            let reason = row.reason.clone().unwrap_or_default();
            self.still_failed.push(FailedFile {
                path: facts.path.clone(),
                reason,
            });
        } else {
            self.unchanged += 1;
        }
    }

    /// Matches new files with gone documents of the same content, in the order of their paths.
    fn pair_renames(
        &mut self,
        new: Vec<(ScannedFile, String)>,
        gone: &mut Vec<DocumentRow>,
        embedder: &str,
    ) {
        let mut by_hash: HashMap<String, Vec<DocumentRow>> = HashMap::new();
        for row in std::mem::take(gone).into_iter().rev() {
            match &row.hash {
                Some(hash)
                    if row.state == DocumentState::Indexed
                        && is_current(&row.pipeline, &row.path, embedder) =>
                {
                    by_hash.entry(hash.clone()).or_default().push(row);
                }
                _ => gone.push(row),
            }
        }
        for (file, hash) in new {
            // Under a name of another format the same content would be read otherwise.
            let same = by_hash.get_mut(&hash).and_then(|rows| {
                let found = rows
                    .iter()
                    .rposition(|row| is_current(&row.pipeline, &file.facts.path, embedder))?;
                Some(rows.remove(found))
            });
            match same {
                Some(row) => self.renames.push(Rename { row, file, hash }),
                None => self.jobs.push(Job {
                    id: None,
                    file,
                    change: Change::Added,
                }),
            }
        }
        gone.extend(by_hash.into_values().flatten());
        gone.sort_by(|a, b| a.path.cmp(&b.path));
    }
}

/// The file looks as it did when the document was written.
fn is_as_before(row: &DocumentRow, facts: &FileFacts) -> bool {
    row.bytes == facts.bytes
        && row.modified_ns == facts.modified_ns
        && row.root == facts.root
        && row.uploaded == facts.uploaded
}

/// The document needs no work as long as its content is the same. A failure without a hash had a
/// cause outside the file, so it is tried again.
fn is_settled(row: &DocumentRow, embedder: &str) -> bool {
    row.state != DocumentState::Pending
        && is_current(&row.pipeline, &row.path, embedder)
        && row.hash.is_some()
}
