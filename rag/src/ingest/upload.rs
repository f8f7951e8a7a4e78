//! Uploads: one document at a time, kept in the data directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;

use super::IngestError;
use super::plan::Change;
use super::run::{Batch, Run};
use super::scan::{ScannedFile, facts};
use super::source::Root;
use crate::access::{AccessScope, CollectionId};
use crate::error::LibraryError;
use crate::library::Library;
use crate::library::create_dir;
use crate::records::{AddedFile, DocumentState};

/// Longest part of an upload's name that file systems take, in bytes.
const MAX_PART_BYTES: usize = 255;

impl Library {
    /// Adds the file at `path` to the collection under `name`, or replaces the document of that name.
    /// Other documents stay. The file is copied; the caller may delete its own.
    ///
    /// A file that cannot be read is not an error: the document is there with its reason.
    ///
    /// # Errors
    /// [`LibraryError::UnknownCollection`]; [`LibraryError::InvalidName`] for a name that is not a relative
    /// path; [`IngestError`] when a store fails.
    pub fn add_file(
        &self,
        collection: CollectionId,
        name: &str,
        path: &Path,
    ) -> Result<AddedFile, IngestError> {
        let info = self.require_collection(&AccessScope::all(), collection)?;
        check_upload_name(name)?;
        let lock = self.collection_lock(collection);
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
        self.check_room_for(bytes).map_err(LibraryError::from)?;
        let file = self.keep_upload(collection, name, path)?;
        let id = self
            .catalogue
            .reserve_documents(collection, std::slice::from_ref(&file.facts))?[0];
        let before = self.catalogue.document_info(&AccessScope::all(), id)?;
        let updated = before.is_some_and(|info| info.state != DocumentState::Pending);

        let cancel = AtomicBool::new(false);
        let mut progress = |_| {};
        let mut run = Run::new(self, collection, &info.name, &mut progress, &cancel);
        match self.prepare(&file) {
            Ok(prepared) => {
                let mut batch = Batch::default();
                batch.push(id, Change::Added, *prepared);
                run.store_batch(batch)?;
            }
            Err(failure) => run.write_failed(id, *failure)?,
        }
        self.store.flush().map_err(LibraryError::from)?;
        self.catalogue.forget()?;
        let document = self.catalogue.document_info(&AccessScope::all(), id)?;
        let document = document.ok_or(LibraryError::UnknownDocument { id })?;
        Ok(AddedFile { document, updated })
    }

    /// Copies the file into the uploads folder; the copy appears under its name only when it is whole.
    fn keep_upload(
        &self,
        collection: CollectionId,
        name: &str,
        path: &Path,
    ) -> Result<ScannedFile, LibraryError> {
        let folder = self.uploads_of(collection);
        let target = folder.join(name);
        create_dir(target.parent().unwrap_or(&folder))?;
        let partial = folder.join(format!(".{}.partial", uuid::Uuid::new_v4().simple()));
        let io = |path: &Path| {
            let path: PathBuf = path.to_owned();
            move |source| LibraryError::Io { path, source }
        };
        // The copy has the mode of the original, which may have been made by somebody with another umask.
        let copied = fs::copy(path, &partial)
            .and_then(|_| fs::set_permissions(&partial, fs::Permissions::from_mode(0o600)))
            .and_then(|()| fs::rename(&partial, &target));
        if copied.is_err() {
            let _ = fs::remove_file(&partial);
        }
        copied.map_err(io(&target))?;
        let metadata = target.metadata().map_err(io(&target))?;
        let mut facts = facts(
            name.to_owned(),
            folder.to_string_lossy().into_owned(),
            &metadata,
        );
        facts.uploaded = true;
        let root = folder.canonicalize().and_then(|folder| Root::open(&folder));
        let source = root.map_err(io(&folder))?.source(PathBuf::from(name));
        Ok(ScannedFile { source, facts })
    }
}

/// An upload's name is a relative path of plain parts: it cannot lead out of the uploads folder.
fn check_upload_name(name: &str) -> Result<(), LibraryError> {
    let plain = Path::new(name)
        .components()
        .all(|part| matches!(part, Component::Normal(part) if part.len() <= MAX_PART_BYTES));
    let reason = if name.is_empty() || name.ends_with('/') {
        "it does not name a file"
    } else if !plain || name.contains('\\') {
        "it must be a file name or a relative path"
    } else if name.chars().any(char::is_control) {
        "it contains control characters"
    } else {
        return Ok(());
    };
    Err(LibraryError::InvalidName {
        name: name.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["a.txt", "sub/a b.txt", "ümlaut.pdf"] {
            assert!(check_upload_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "/etc/passwd",
            "../a.txt",
            "sub/../../a.txt",
            "a\\b.txt",
            "sub/",
            "a\n.txt",
        ] {
            assert!(check_upload_name(name).is_err(), "{name}");
        }
    }
}
