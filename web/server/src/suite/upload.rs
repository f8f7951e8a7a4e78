//! Uploads: received to disk, then read into the library one after the other by a task of the server.
//!
//! Place: `DATA/incoming/<collection>/<uuid>/<name>`; while it is received the file is called `.part`. What a
//! previous process received completely but did not read is read at the next start; the rest is removed.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rag::CollectionId;
use tokio::sync::Notify;
use uuid::Uuid;
use web_api::{Document, DocumentState};

use super::Suite;
use crate::blocking::join;
use crate::db::now_ms;

/// Longest file name that is taken: file systems end at 255 bytes, and the library adds to it.
const NAME_MAX_BYTES: usize = 200;
/// How often the disk is looked at again while uploads wait for room.
const ROOM_POLL: Duration = Duration::from_secs(5);
/// Reasons of failed uploads that are remembered until the next start.
const FAILURES_KEPT: usize = 100;
const PART_NAME: &str = ".part";

/// Files that wait to be read, and those that could not be.
pub struct Uploads {
    folder: PathBuf,
    state: Mutex<State>,
    added: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Upload>,
    reading: Option<Upload>,
    /// Why nothing is read at the moment.
    stalled: Option<String>,
    failed: VecDeque<(Upload, String)>,
}

/// A file that was received completely.
#[derive(Debug, Clone)]
pub struct Upload {
    collection: CollectionId,
    name: String,
    path: PathBuf,
    bytes: u64,
    at: i64,
}

/// Where a file is received.
#[derive(Debug)]
pub struct Incoming {
    collection: CollectionId,
    name: String,
    folder: PathBuf,
    complete: bool,
}

impl Uploads {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            state: Mutex::default(),
            added: Notify::new(),
        }
    }

    /// Makes a place for one file. Blocking.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn receive(&self, collection: CollectionId, name: &str) -> io::Result<Incoming> {
        let folder = self
            .folder
            .join(collection.0.to_string())
            .join(Uuid::new_v4().to_string());
        rag::private::create_dir(&folder)?;
        Ok(Incoming {
            collection,
            name: name.to_owned(),
            folder,
            complete: false,
        })
    }

    /// Takes a file that was received completely into the queue.
    pub fn add(&self, upload: Upload) {
        self.lock().waiting.push_back(upload);
        self.added.notify_one();
    }

    /// Files of a collection that are not documents of the library: waiting, being read, or refused by it.
    pub fn documents(&self, collection: CollectionId) -> Vec<Document> {
        let state = self.lock();
        let pending = state
            .waiting
            .iter()
            .chain(&state.reading)
            .map(|upload| (upload, DocumentState::Pending, state.stalled.clone()));
        let failed = state
            .failed
            .iter()
            .map(|(upload, reason)| (upload, DocumentState::Failed, Some(reason.clone())));
        pending
            .chain(failed)
            .filter(|(upload, ..)| upload.collection == collection)
            .map(|(upload, document_state, reason)| Document {
                id: None,
                path: upload.name.clone(),
                title: upload.name.clone(),
                state: document_state,
                reason,
                pages: None,
                passages: 0,
                bytes: upload.bytes,
                updated_at: Some(upload.at),
            })
            .collect()
    }

    /// Finds what a previous process left: complete files are queued, the rest is removed. Blocking.
    fn recover(&self) -> io::Result<()> {
        for collection in entries(&self.folder)? {
            let id = collection
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.parse().ok());
            for folder in entries(&collection)? {
                let files = entries(&folder)?;
                let file = files
                    .first()
                    .filter(|file| file.file_name().is_some_and(|name| name != PART_NAME));
                match (
                    id,
                    file.and_then(|file| Some((file, file.file_name()?.to_str()?))),
                ) {
                    (Some(id), Some((file, name))) => self.add(Upload {
                        collection: CollectionId(id),
                        name: name.to_owned(),
                        bytes: std::fs::metadata(file)?.len(),
                        path: file.clone(),
                        at: now_ms(),
                    }),
                    _ => std::fs::remove_dir_all(&folder)?,
                }
            }
        }
        Ok(())
    }

    async fn next(&self) -> Upload {
        loop {
            {
                let mut state = self.lock();
                if let Some(upload) = state.waiting.pop_front() {
                    state.reading = Some(upload.clone());
                    return upload;
                }
            }
            self.added.notified().await;
        }
    }

    /// Keeps an upload that could not be read for want of room as the next one.
    fn put_back(&self, upload: Upload, reason: String) {
        let mut state = self.lock();
        state.reading = None;
        state.stalled = Some(reason);
        state.waiting.push_front(upload);
    }

    fn finished(&self, upload: Upload, failure: Option<String>) {
        let mut state = self.lock();
        state.reading = None;
        state.stalled = None;
        state.failed.retain(|(earlier, _)| {
            earlier.collection != upload.collection || earlier.name != upload.name
        });
        if let Some(reason) = failure {
            state.failed.push_back((upload, reason));
            while state.failed.len() > FAILURES_KEPT {
                state.failed.pop_front();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Incoming {
    /// The file to write to.
    pub fn path(&self) -> PathBuf {
        self.folder.join(PART_NAME)
    }

    /// Gives the received file its name. Blocking.
    ///
    /// # Errors
    /// When it cannot be renamed; it is removed then.
    pub fn finish(mut self, bytes: u64) -> io::Result<Upload> {
        let path = self.folder.join(&self.name);
        std::fs::rename(self.path(), &path)?;
        self.complete = true;
        Ok(Upload {
            collection: self.collection,
            name: self.name.clone(),
            path,
            bytes,
            at: now_ms(),
        })
    }
}

impl Drop for Incoming {
    /// A file that was not received completely leaves nothing behind.
    fn drop(&mut self) {
        if !self.complete {
            // Nothing can be done about a failure here, and the next start tries again.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Whether a previous process received something that it did not read. Blocking.
pub(super) fn are_left(folder: &Path) -> bool {
    let collections = entries(folder).unwrap_or_default();
    let mut uploads = collections.iter().map(|collection| entries(collection));
    uploads.any(|uploads| uploads.is_ok_and(|uploads| !uploads.is_empty()))
}

/// Reads uploads into the library until the server stops. One at a time: the library ingests one at a time anyway. Without
/// room on the disk they wait for it.
pub async fn read_uploads(suite: Arc<Suite>) {
    let recovering = Arc::clone(&suite);
    if let Err(error) =
        join(tokio::task::spawn_blocking(move || recovering.uploads.recover()).await)
    {
        tracing::warn!(%error, "files of interrupted uploads could not be looked through");
    }
    loop {
        let upload = suite.uploads.next().await;
        let job = upload.clone();
        let result = suite
            .with_library(move |library| {
                let result = library.add_file(job.collection, &job.name, &job.path);
                let waits = matches!(&result, Err(error) if error.is_disk_full());
                if let Some(folder) = job.path.parent().filter(|_| !waits) {
                    // The library keeps its own copy. A leftover is found at the next start.
                    let _ = std::fs::remove_dir_all(folder);
                }
                result
            })
            .await;
        if let Err(error) = &result
            && error.is_disk_full()
        {
            tracing::error!(%error, "uploaded files wait for room on the disk");
            let reason = "The server's disk is full; the file is read when there is room.";
            suite.uploads.put_back(upload, reason.to_owned());
            tokio::time::sleep(ROOM_POLL).await;
            continue;
        }
        let failure = result.err().map(|error| error.to_string());
        if let Some(reason) = &failure {
            tracing::warn!(
                collection = upload.collection.0,
                reason,
                "an uploaded file was not taken"
            );
        }
        suite.uploads.finished(upload, failure);
        // It may have replaced a document that answers quote.
        if let Err(error) = suite.forget_removed_words().await {
            tracing::warn!(%error, "answers were not compared with their documents");
        }
    }
}

/// The name under which an uploaded file is kept: its last path component without control characters.
///
/// # Errors
/// One sentence, when nothing usable is left.
pub fn file_name(sent: &str) -> Result<String, &'static str> {
    let name = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name
        .chars()
        .filter(|character| !character.is_control())
        .collect();
    let name = name.trim().trim_start_matches('.');
    if name.is_empty() {
        return Err("The file has no usable name.");
    }
    if name.len() > NAME_MAX_BYTES {
        return Err("The file's name is too long; shorten it to 200 bytes.");
    }
    Ok(name.to_owned())
}

/// Paths in a folder; none when it does not exist.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_folders_control_characters_and_leading_dots() {
        assert_eq!(
            file_name("C:\\plans\\Q3 report.pdf").unwrap(),
            "Q3 report.pdf"
        );
        assert_eq!(file_name("../../etc/passwd").unwrap(), "passwd");
        assert_eq!(file_name("..\u{0}x\n.txt").unwrap(), "x.txt");
        assert!(file_name("").is_err());
        assert!(file_name("a/..").is_err());
        assert!(file_name(&"x".repeat(300)).is_err());
    }

    #[test]
    fn complete_files_survive_a_restart_and_partial_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::new(folder.path().to_owned());
        let complete = uploads.receive(CollectionId(7), "a.txt").unwrap();
        std::fs::write(complete.path(), "text").unwrap();
        complete.finish(4).unwrap();
        let partial = uploads.receive(CollectionId(7), "b.txt").unwrap();
        std::fs::write(partial.path(), "te").unwrap();
        std::mem::forget(partial); // as a kill would

        let uploads = Uploads::new(folder.path().to_owned());
        uploads.recover().unwrap();
        let documents = uploads.documents(CollectionId(7));
        assert_eq!(documents.len(), 1);
        assert_eq!(
            (documents[0].path.as_str(), documents[0].bytes),
            ("a.txt", 4)
        );
        assert_eq!(uploads.documents(CollectionId(8)).len(), 0);
    }
}
