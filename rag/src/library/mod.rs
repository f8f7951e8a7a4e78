//! The library: collections of documents, searchable. The one handle the rest of the suite holds.

pub(crate) mod search;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::access::{AccessScope, CollectionId, DocumentId};
use crate::catalogue::Catalogue;
use crate::disk::{DiskFull, DiskSpace};
use crate::document::Extracted;
use crate::embed::Embedder;
use crate::error::LibraryError;
use crate::extract::{ExtractError, Extractor};
use crate::records::{CollectionInfo, DocumentInfo, DocumentRecord};
use crate::store::bm25::Bm25;
use crate::store::edge::EdgeStore;
use crate::store::qdrant::{QdrantConfig, QdrantStore};
use crate::store::{
    OPTIMIZE_AFTER, Point, PointKey, StoreError, StoreSchema, VectorStore, point_id,
};

/// Passages embedded and written at a time while the store is rebuilt.
const REBUILD_BATCH: usize = 256;
/// Room that the catalogue and copies of files have to find beside the index before a batch of documents is written. They
/// fail cleanly where it turns out too small.
const CATALOGUE_RESERVE: u64 = 64 << 20;
/// Longest name of a collection, in characters.
const MAX_NAME_CHARS: usize = 100;

/// Key of the catalogue's note that there are accounts.
const ACCOUNTS_KEY: &str = "accounts";

/// How to open a library.
#[derive(Debug, Clone)]
pub struct LibraryConfig {
    /// Folder of the catalogue (`catalogue.db`), the embedded vectors (`vectors/`) and the uploaded
    /// files (`uploads/`). Created where missing. One process at a time.
    pub data_dir: PathBuf,
    /// Where vectors live.
    pub store: StoreChoice,
    /// Reads text out of files, in a child process.
    pub extractor: Extractor,
}

/// Where vectors live.
#[derive(Debug, Clone)]
pub enum StoreChoice {
    /// In this process, under the data directory.
    Embedded,
    /// On a Qdrant server.
    Server {
        /// gRPC address, such as `http://127.0.0.1:6334`.
        url: String,
        /// The server's key, where it wants one.
        api_key: Option<String>,
    },
}

/// Reads text out of an open file, of whose name the extension counts. The seam between ingestion and the child process
/// that does it.
pub(crate) type ExtractFn =
    Box<dyn Fn(&File, &Path) -> Result<Extracted, ExtractError> + Send + Sync>;

/// Collections of documents, searchable. Cheap to share behind an `Arc`; every method takes `&self`.
///
/// Searches run beside each other and beside an ingestion; ingestions into one collection wait for
/// one another.
pub struct Library {
    pub(crate) catalogue: Catalogue,
    pub(crate) store: Box<dyn VectorStore>,
    pub(crate) embedder: Arc<dyn Embedder>,
    pub(crate) bm25: Bm25,
    pub(crate) extract: ExtractFn,
    pub(crate) uploads_dir: PathBuf,
    /// Of the data directory.
    pub(crate) disk: DiskSpace,
    /// One lock a collection, held while its documents are changed.
    collection_locks: Mutex<HashMap<CollectionId, Arc<Mutex<()>>>>,
    /// Steps left until a simulated crash.
    #[cfg(test)]
    pub(crate) crash_in: std::sync::atomic::AtomicUsize,
}

impl Library {
    /// Opens the library and makes the vector store agree with the catalogue: points of documents
    /// that are gone are deleted, and passages without a point are embedded again (all of them where
    /// the store was lost or the embedder changed, which takes as long as ingesting them).
    ///
    /// # Errors
    /// When the data directory, the catalogue or the store cannot be opened, or the disk has too little room to
    /// open them safely ([`LibraryError::is_disk_full`]).
    pub fn open(config: LibraryConfig, embedder: Arc<dyn Embedder>) -> Result<Self, LibraryError> {
        let LibraryConfig {
            data_dir,
            store,
            extractor,
        } = config;
        create_dir(&data_dir)?;
        let catalogue = Catalogue::open(&data_dir.join("catalogue.db"))?;
        let schema = StoreSchema {
            embedder: embedder.name().to_owned(),
            dim: embedder.dim(),
        };
        let store: Box<dyn VectorStore> = match store {
            StoreChoice::Embedded => {
                let disk = DiskSpace::of(&data_dir);
                Box::new(EdgeStore::open(&data_dir.join("vectors"), &schema, disk)?)
            }
            StoreChoice::Server { url, api_key } => {
                let collection = format!("cloister-{}", catalogue.instance().simple());
                Box::new(QdrantStore::open(
                    QdrantConfig {
                        url,
                        api_key,
                        collection,
                    },
                    &schema,
                )?)
            }
        };
        let extract = Box::new(move |file: &File, name: &Path| extractor.extract_open(file, name));
        Self::assemble(
            catalogue,
            store,
            embedder,
            extract,
            data_dir.join("uploads"),
        )
    }

    /// Measures the room for documents by something else than the system: for tests.
    #[must_use]
    pub fn measure_disk_by(mut self, disk: DiskSpace) -> Self {
        self.disk = disk;
        self
    }

    /// Puts the parts together and reconciles.
    pub(crate) fn assemble(
        catalogue: Catalogue,
        store: Box<dyn VectorStore>,
        embedder: Arc<dyn Embedder>,
        extract: ExtractFn,
        uploads_dir: PathBuf,
    ) -> Result<Self, LibraryError> {
        let data_dir = uploads_dir.parent().unwrap_or(&uploads_dir);
        let library = Self {
            disk: DiskSpace::of(data_dir),
            catalogue,
            store,
            embedder,
            bm25: Bm25::new(),
            extract,
            uploads_dir,
            collection_locks: Mutex::new(HashMap::new()),
            #[cfg(test)]
            crash_in: std::sync::atomic::AtomicUsize::new(usize::MAX),
        };
        library.reconcile()?;
        Ok(library)
    }

    /// The embedder that passages and queries go through.
    pub fn embedder(&self) -> &Arc<dyn Embedder> {
        &self.embedder
    }

    /// The collections in the scope, by name.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn collections(&self, scope: &AccessScope) -> Result<Vec<CollectionInfo>, LibraryError> {
        self.catalogue.collections(scope)
    }

    /// The collection of this name.
    ///
    /// # Errors
    /// [`LibraryError::UnknownCollection`] where there is none or the scope does not allow it.
    pub fn collection_by_name(
        &self,
        scope: &AccessScope,
        name: &str,
    ) -> Result<CollectionInfo, LibraryError> {
        let found = self.catalogue.collection_by_name(name)?;
        found
            .filter(|info| scope.allows(info.id))
            .ok_or_else(|| LibraryError::UnknownCollection {
                name: name.to_owned(),
            })
    }

    /// Adds an empty collection.
    ///
    /// # Errors
    /// [`LibraryError::CollectionExists`], [`LibraryError::InvalidName`].
    pub fn create_collection(&self, name: &str) -> Result<CollectionInfo, LibraryError> {
        check_name(name)?;
        let id = self.catalogue.create_collection(name)?;
        self.catalogue
            .collection(id)?
            .ok_or_else(|| LibraryError::UnknownCollection {
                name: name.to_owned(),
            })
    }

    /// Removes a collection with its documents, vectors and uploaded files.
    ///
    /// # Errors
    /// [`LibraryError::UnknownCollection`]; [`LibraryError::Store`] when the vectors could not be deleted
    /// (they are unreachable at once, and deleted when the library is next opened).
    pub fn delete_collection(&self, id: CollectionId) -> Result<(), LibraryError> {
        let points = self.catalogue.delete_collection(id)?.ok_or_else(|| {
            LibraryError::UnknownCollection {
                name: id.0.to_string(),
            }
        })?;
        let uploads = self.uploads_of(id);
        if uploads.exists() {
            std::fs::remove_dir_all(&uploads).map_err(|source| LibraryError::Io {
                path: uploads,
                source,
            })?;
        }
        self.delete_points(&points)?;
        self.store.flush()?;
        self.catalogue.forget()
    }

    /// The documents of a collection, by path.
    ///
    /// # Errors
    /// [`LibraryError::UnknownCollection`] where there is none or the scope does not allow it.
    pub fn documents(
        &self,
        scope: &AccessScope,
        collection: CollectionId,
    ) -> Result<Vec<DocumentInfo>, LibraryError> {
        self.require_collection(scope, collection)?;
        self.catalogue.documents(scope, collection)
    }

    /// A document with its text.
    ///
    /// # Errors
    /// [`LibraryError::UnknownDocument`] where there is none or the scope does not allow it.
    pub fn document(
        &self,
        scope: &AccessScope,
        id: DocumentId,
    ) -> Result<DocumentRecord, LibraryError> {
        self.catalogue
            .document(scope, id)?
            .ok_or(LibraryError::UnknownDocument { id })
    }

    /// Removes one document with its vectors and, where it was uploaded, its file. A document that was
    /// ingested from a folder comes back with the next ingestion unless its file is removed too.
    ///
    /// # Errors
    /// [`LibraryError::UnknownDocument`] where there is none or the scope does not allow it.
    pub fn remove_document(&self, scope: &AccessScope, id: DocumentId) -> Result<(), LibraryError> {
        let info = self
            .catalogue
            .document_info(scope, id)?
            .ok_or(LibraryError::UnknownDocument { id })?;
        let points = self.catalogue.remove_documents(&[id])?;
        let upload = self.uploads_of(info.collection).join(&info.path);
        match std::fs::remove_file(&upload) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(LibraryError::Io {
                    path: upload,
                    source,
                });
            }
            _ => {}
        }
        self.delete_points(&points)?;
        self.store.flush()?;
        self.catalogue.forget()
    }

    /// The versions of documents, for whoever keeps references to them: another version means that the file's
    /// content, the path or the title is another one. An id without a version is no document any more.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn document_versions(&self, ids: &[i64]) -> Result<HashMap<i64, String>, LibraryError> {
        self.catalogue.document_versions(ids)
    }

    /// After deletions, writes the catalogue anew: SQLite leaves bytes in gaps of pages that it rearranges. About a second for
    /// every 100 MB, in which nothing else is written; a very large catalogue is left as it is.
    ///
    /// # Errors
    /// When there is not room for a second file; the first is unchanged then.
    pub fn tidy(&self) -> Result<(), LibraryError> {
        self.catalogue.tidy()
    }

    /// Writes everything into the files themselves, so that a stopped library is whole without side files. It stays open.
    ///
    /// # Errors
    /// When a file cannot be written; what is missing is made good at the next start.
    pub fn settle(&self) -> Result<(), LibraryError> {
        self.store.flush()?;
        self.catalogue.forget()
    }

    /// Whether the documents were seen together with accounts: see [`Self::note_accounts`].
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn had_accounts(&self) -> Result<bool, LibraryError> {
        Ok(self.catalogue.meta(ACCOUNTS_KEY)?.is_some())
    }

    /// Notes beside the documents that there are accounts (or none any more), so that a lost database of accounts is not
    /// taken for a new installation.
    ///
    /// # Errors
    /// When the catalogue cannot be written.
    pub fn note_accounts(&self, exist: bool) -> Result<(), LibraryError> {
        if self.had_accounts()? == exist {
            return Ok(());
        }
        self.catalogue
            .set_meta(ACCOUNTS_KEY, exist.then_some("exist"))
    }

    /// Checks that there is room on the disk for the next batch of documents.
    ///
    /// # Errors
    /// [`DiskFull`], with what is free and what is needed.
    pub fn check_room(&self) -> Result<(), DiskFull> {
        self.check_room_for(0)
    }

    /// [`Self::check_room`] with so many bytes of a file to be kept beside.
    ///
    /// # Errors
    /// [`DiskFull`].
    pub fn check_room_for(&self, bytes: u64) -> Result<(), DiskFull> {
        let reserve = self.store.reserve_bytes() + CATALOGUE_RESERVE;
        self.disk.require(reserve.saturating_add(bytes))
    }

    /// Deletes points that no document names any more. Without room on the disk they stay until the library is next opened:
    /// they cannot be found, and whoever removes documents to make room must not be refused.
    pub(crate) fn delete_points(&self, points: &[Uuid]) -> Result<(), LibraryError> {
        match self.store.delete(points) {
            Err(StoreError::DiskFull(error)) => {
                tracing::warn!(%error, points = points.len(), "vectors of removed documents stay until the next start");
                Ok(())
            }
            deleted => Ok(deleted?),
        }
    }

    /// Reorganises the index where there is room for it; it only makes searches faster.
    pub(crate) fn optimize_index(&self) -> Result<(), LibraryError> {
        match self.store.optimize() {
            Err(StoreError::DiskFull(error)) => {
                tracing::warn!(%error, "the vector index was not optimized");
                Ok(())
            }
            optimized => Ok(optimized?),
        }
    }

    pub(crate) fn require_collection(
        &self,
        scope: &AccessScope,
        id: CollectionId,
    ) -> Result<CollectionInfo, LibraryError> {
        let found = self.catalogue.collection(id)?;
        found
            .filter(|info| scope.allows(info.id))
            .ok_or_else(|| LibraryError::UnknownCollection {
                name: id.0.to_string(),
            })
    }

    pub(crate) fn uploads_of(&self, collection: CollectionId) -> PathBuf {
        self.uploads_dir.join(collection.0.to_string())
    }

    /// The lock of a collection's documents.
    pub(crate) fn collection_lock(&self, id: CollectionId) -> Arc<Mutex<()>> {
        let mut locks = self
            .collection_locks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        locks.entry(id).or_default().clone()
    }

    /// Makes the store agree with the catalogue.
    fn reconcile(&self) -> Result<(), LibraryError> {
        self.adopt_embedder()?;
        let wanted = self.catalogue.all_points()?;
        let stored: HashSet<Uuid> = self.store.ids()?.into_iter().collect();
        let missing: Vec<Uuid> = wanted
            .iter()
            .copied()
            .filter(|point| !stored.contains(point))
            .collect();
        let wanted: HashSet<Uuid> = wanted.into_iter().collect();
        let orphans: Vec<Uuid> = stored
            .into_iter()
            .filter(|point| !wanted.contains(point))
            .collect();
        if !orphans.is_empty() {
            tracing::info!(
                points = orphans.len(),
                "deleting vectors of documents that are gone"
            );
            self.delete_points(&orphans)?;
        }
        if !missing.is_empty() {
            tracing::warn!(
                passages = missing.len(),
                "the vector index lacks passages; embedding them again"
            );
        }
        for points in missing.chunks(REBUILD_BATCH) {
            self.rebuild_points(points)?;
        }
        if !missing.is_empty() || !orphans.is_empty() {
            self.store.flush()?;
        }
        if missing.len() >= OPTIMIZE_AFTER {
            self.optimize_index()?;
        }
        Ok(())
    }

    /// Gives documents that were embedded by another model the points of this one. Their passages
    /// stay as that model's tokenizer cut them until they are ingested again.
    fn adopt_embedder(&self) -> Result<(), LibraryError> {
        let embedder = self.embedder.name();
        for (id, collection, path, hash, pipeline) in
            self.catalogue.documents_of_other_embedders(embedder)?
        {
            let key = PointKey {
                collection: &collection,
                path: &path,
                hash: &hash,
                pipeline: &pipeline,
                embedder,
            };
            let passages = self.catalogue.passages_of_document(id)?;
            let points: Vec<(u32, Uuid)> = passages
                .iter()
                .map(|passage| (passage.index, point_id(key, passage.index)))
                .collect();
            self.catalogue.write_points(id, embedder, &points)?;
        }
        Ok(())
    }

    fn rebuild_points(&self, points: &[Uuid]) -> Result<(), LibraryError> {
        let passages = self
            .catalogue
            .passages_of_points(&AccessScope::all(), points)?;
        let texts: Vec<String> = passages
            .iter()
            .map(|passage| searchable_text(&passage.header, &passage.text))
            .collect();
        let vectors = self.embedder.embed(&texts)?;
        let points: Vec<Point> = passages
            .iter()
            .zip(&texts)
            .zip(vectors)
            .map(|((passage, text), dense)| Point {
                id: passage.point,
                collection: passage.collection,
                document: passage.document,
                dense,
                sparse: self.bm25.document(text),
            })
            .collect();
        self.store.upsert(&points)?;
        Ok(())
    }
}

/// What is embedded and indexed for a passage: its header, then its text.
pub(crate) fn searchable_text(header: &str, text: &str) -> String {
    if header.is_empty() {
        text.to_owned()
    } else {
        format!("{header}\n{text}")
    }
}

/// Checks the name of a collection.
pub(crate) fn check_name(name: &str) -> Result<(), LibraryError> {
    let reason = if name.trim().is_empty() {
        "it is empty"
    } else if name.trim() != name {
        "it begins or ends with a space"
    } else if name.chars().count() > MAX_NAME_CHARS {
        "it has more than 100 characters"
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

pub(crate) fn create_dir(path: &Path) -> Result<(), LibraryError> {
    crate::private::create_dir(path).map_err(|source| LibraryError::Io {
        path: path.to_owned(),
        source,
    })
}
