//! Documents and their passages: what ingestion reads and writes.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use uuid::Uuid;

use super::{Catalogue, now, points_where};
use crate::access::{AccessScope, CollectionId, DocumentId};
use crate::error::LibraryError;
use crate::records::{DocumentInfo, DocumentRecord, DocumentState, StoredBlock};

/// A document as ingestion sees it: what is needed to decide whether its file has changed.
#[derive(Debug, Clone)]
pub(crate) struct DocumentRow {
    pub id: DocumentId,
    pub path: String,
    pub root: String,
    pub uploaded: bool,
    pub state: DocumentState,
    pub reason: Option<String>,
    pub own_title: bool,
    pub hash: Option<String>,
    pub bytes: u64,
    pub modified_ns: i64,
    pub pipeline: String,
}

/// A file as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileFacts {
    /// Path of the document: relative to `root`, `/` between the parts.
    pub path: String,
    pub root: String,
    pub uploaded: bool,
    pub bytes: u64,
    pub modified_ns: i64,
}

/// Everything about a document that has become searchable.
#[derive(Debug)]
pub(crate) struct IndexedDocument {
    pub id: DocumentId,
    pub file: FileFacts,
    pub hash: String,
    pub title: String,
    pub own_title: bool,
    /// What a reader should know, such as pages without text.
    pub note: Option<String>,
    pub pages: Option<u32>,
    pub pipeline: String,
    pub embedder: String,
    pub text: String,
    pub blocks: Vec<StoredBlock>,
    pub passages: Vec<NewPassage>,
}

/// A passage to be written.
#[derive(Debug, Clone)]
pub(crate) struct NewPassage {
    pub point: Uuid,
    pub index: u32,
    pub start: usize,
    pub end: usize,
    pub page: Option<u32>,
    pub heading: Vec<String>,
    pub header: String,
    pub text: String,
}

/// A document that could not be made searchable.
#[derive(Debug)]
pub(crate) struct FailedDocument {
    pub id: DocumentId,
    pub file: FileFacts,
    pub hash: Option<String>,
    pub reason: String,
    pub pipeline: String,
    pub embedder: String,
}

/// A document whose file has another path now.
#[derive(Debug)]
pub(crate) struct RenamedDocument {
    pub id: DocumentId,
    pub file: FileFacts,
    /// Passage index and new point.
    pub points: Vec<(u32, Uuid)>,
}

/// What a write did.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Points that nothing names any more.
    pub stale_points: Vec<Uuid>,
    /// Documents that were removed in the meantime, so that nothing was written for them.
    pub gone: Vec<DocumentId>,
}

impl Catalogue {
    /// All documents of a collection, by path.
    pub(crate) fn document_rows(
        &self,
        collection: CollectionId,
    ) -> Result<Vec<DocumentRow>, LibraryError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, path, root, uploaded, state, reason, own_title, hash, bytes, modified_ns, pipeline
                 FROM documents WHERE collection_id = ?1 ORDER BY path",
            )?;
            let rows = statement.query_map([collection.0], |row| {
                Ok(DocumentRow {
                    id: DocumentId(row.get(0)?),
                    path: row.get(1)?,
                    root: row.get(2)?,
                    uploaded: row.get(3)?,
                    state: state(row, 4)?,
                    reason: row.get(5)?,
                    own_title: row.get(6)?,
                    hash: row.get(7)?,
                    bytes: row.get(8)?,
                    modified_ns: row.get(9)?,
                    pipeline: row.get(10)?,
                })
            })?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })
    }

    /// Adds documents as pending, so that points can carry their ids. Returns an id for each file, in
    /// order; a path that is there already keeps its row and its state.
    ///
    /// # Errors
    /// [`LibraryError::UnknownCollection`] where the collection is gone.
    pub(crate) fn reserve_documents(
        &self,
        collection: CollectionId,
        files: &[FileFacts],
    ) -> Result<Vec<DocumentId>, LibraryError> {
        self.write(|transaction| {
            require_collection(transaction, collection)?;
            let mut insert = transaction.prepare_cached(
                "INSERT OR IGNORE INTO documents
                     (collection_id, path, root, uploaded, state, title, bytes, modified_ns, pipeline, embedder, updated_at)
                 VALUES (?1, ?2, ?3, ?4, 'pending', ?5, ?6, ?7, '', '', ?8)",
            )?;
            let mut find =
                transaction.prepare_cached("SELECT id FROM documents WHERE collection_id = ?1 AND path = ?2")?;
            let mut ids = Vec::with_capacity(files.len());
            for file in files {
                let name = file.path.rsplit('/').next().unwrap_or(&file.path);
                insert.execute(params![
                    collection.0, file.path, file.root, file.uploaded, name, file.bytes, file.modified_ns, now()
                ])?;
                ids.push(DocumentId(find.query_row(params![collection.0, file.path], |row| row.get(0))?));
            }
            Ok(ids)
        })
    }

    /// Makes documents searchable, all in one transaction.
    pub(crate) fn write_indexed(
        &self,
        collection: CollectionId,
        documents: &[IndexedDocument],
    ) -> Result<Written, LibraryError> {
        self.write(|transaction| {
            let mut written = Written::default();
            for document in documents {
                let old = points_where(transaction, "d.id = ?1", document.id.0)?;
                if !old.is_empty() {
                    self.note_deletion();
                }
                if !update_indexed(transaction, document)? {
                    written.gone.push(document.id);
                    continue;
                }
                transaction.execute(
                    "DELETE FROM passages WHERE document_id = ?1",
                    [document.id.0],
                )?;
                transaction.execute(
                    "INSERT OR REPLACE INTO texts (document_id, text, blocks) VALUES (?1, ?2, ?3)",
                    params![
                        document.id.0,
                        document.text,
                        serde_json::to_string(&document.blocks)?
                    ],
                )?;
                insert_passages(transaction, document)?;
                let new: HashSet<Uuid> = document
                    .passages
                    .iter()
                    .map(|passage| passage.point)
                    .collect();
                written
                    .stale_points
                    .extend(old.into_iter().filter(|point| !new.contains(point)));
            }
            touch_collection(transaction, collection)?;
            Ok(written)
        })
    }

    /// Records failures. What was searchable of these documents no longer is.
    pub(crate) fn write_failed(
        &self,
        collection: CollectionId,
        documents: &[FailedDocument],
    ) -> Result<Written, LibraryError> {
        self.note_deletion();
        self.write(|transaction| {
            let mut written = Written::default();
            for document in documents {
                written.stale_points.extend(points_where(transaction, "d.id = ?1", document.id.0)?);
                transaction.execute("DELETE FROM passages WHERE document_id = ?1", [document.id.0])?;
                transaction.execute("DELETE FROM texts WHERE document_id = ?1", [document.id.0])?;
                let FailedDocument { id, file, hash, reason, pipeline, embedder } = document;
                let name = file.path.rsplit('/').next().unwrap_or(&file.path);
                let changed = transaction.execute(
                    "UPDATE documents SET path = ?2, root = ?3, uploaded = ?4, state = 'failed', reason = ?5,
                         title = ?6, own_title = 0, pages = NULL, passages = 0, hash = ?7, bytes = ?8, modified_ns = ?9,
                         pipeline = ?10, embedder = ?11, updated_at = ?12
                     WHERE id = ?1",
                    params![
                        id.0, file.path, file.root, file.uploaded, reason, name, hash, file.bytes, file.modified_ns,
                        pipeline, embedder, now()
                    ],
                )?;
                if changed == 0 {
                    written.gone.push(*id);
                }
            }
            touch_collection(transaction, collection)?;
            Ok(written)
        })
    }

    /// Notes new file times of documents whose content is the same.
    pub(crate) fn write_touched(
        &self,
        touched: &[(DocumentId, FileFacts)],
    ) -> Result<(), LibraryError> {
        self.write(|transaction| {
            for (id, file) in touched {
                transaction.execute(
                    "UPDATE documents SET root = ?2, uploaded = ?3, bytes = ?4, modified_ns = ?5 WHERE id = ?1",
                    params![id.0, file.root, file.uploaded, file.bytes, file.modified_ns],
                )?;
            }
            Ok(())
        })
    }

    /// Gives a document its new path and its passages their new points; the text stays.
    pub(crate) fn write_renamed(
        &self,
        collection: CollectionId,
        document: &RenamedDocument,
    ) -> Result<Written, LibraryError> {
        self.write(|transaction| {
            let RenamedDocument { id, file, points } = document;
            let stale_points = points_where(transaction, "d.id = ?1", id.0)?;
            let changed = transaction.execute(
                "UPDATE documents SET path = ?2, root = ?3, uploaded = ?4, bytes = ?5, modified_ns = ?6, updated_at = ?7
                 WHERE id = ?1",
                params![id.0, file.path, file.root, file.uploaded, file.bytes, file.modified_ns, now()],
            )?;
            if changed == 0 {
                return Ok(Written { stale_points: Vec::new(), gone: vec![*id] });
            }
            for (index, point) in points {
                transaction.execute(
                    "UPDATE passages SET point_id = ?3 WHERE document_id = ?1 AND idx = ?2",
                    params![id.0, index, point],
                )?;
            }
            touch_collection(transaction, collection)?;
            Ok(Written { stale_points, gone: Vec::new() })
        })
    }

    /// Removes documents; returns their points.
    pub(crate) fn remove_documents(&self, ids: &[DocumentId]) -> Result<Vec<Uuid>, LibraryError> {
        self.note_deletion();
        self.write(|transaction| {
            let mut points = Vec::new();
            for id in ids {
                points.extend(points_where(transaction, "d.id = ?1", id.0)?);
                transaction.execute(
                    "UPDATE collections SET updated_at = ?2
                     WHERE id = (SELECT collection_id FROM documents WHERE id = ?1)",
                    params![id.0, now()],
                )?;
                transaction.execute("DELETE FROM documents WHERE id = ?1", [id.0])?;
            }
            Ok(points)
        })
    }

    /// A digest for each document of its file's content, path and title; none for an id that no document has. Another version
    /// of a reader is not another version of a document: what answers quote was in the file and still is.
    pub(crate) fn document_versions(
        &self,
        ids: &[i64],
    ) -> Result<HashMap<i64, String>, LibraryError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT coalesce(hash, ''), path, title FROM documents WHERE id = ?1",
            )?;
            let mut versions = HashMap::new();
            for id in ids {
                let version = statement.query_row([id], version).optional()?;
                versions.extend(version.map(|version| (*id, version)));
            }
            Ok(versions)
        })
    }

    /// Documents of a collection, by path; nothing where the scope does not allow it.
    pub(crate) fn documents(
        &self,
        scope: &AccessScope,
        collection: CollectionId,
    ) -> Result<Vec<DocumentInfo>, LibraryError> {
        if !scope.allows(collection) {
            return Ok(Vec::new());
        }
        self.read(|connection| {
            let sql = format!("{DOCUMENT_INFO} WHERE d.collection_id = ?1 ORDER BY d.path");
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([collection.0], document_info)?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })
    }

    /// One document as listed; `None` where there is none or the scope does not allow it.
    pub(crate) fn document_info(
        &self,
        scope: &AccessScope,
        id: DocumentId,
    ) -> Result<Option<DocumentInfo>, LibraryError> {
        self.read(|connection| find_document(connection, scope, id))
    }

    /// One document with its text (empty while it is not searchable).
    pub(crate) fn document(
        &self,
        scope: &AccessScope,
        id: DocumentId,
    ) -> Result<Option<DocumentRecord>, LibraryError> {
        self.read(|connection| {
            // One snapshot for both statements, so that text and info are of the same version.
            let snapshot = connection.unchecked_transaction()?;
            let Some(info) = find_document(&snapshot, scope, id)? else {
                return Ok(None);
            };
            let mut statement =
                snapshot.prepare_cached("SELECT text, blocks FROM texts WHERE document_id = ?1")?;
            let stored = statement
                .query_row([id.0], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
                })
                .optional()?;
            let (text, blocks) = match stored {
                Some((text, blocks)) => (text, serde_json::from_str(&blocks)?),
                None => (String::new(), Vec::new()),
            };
            Ok(Some(DocumentRecord { info, text, blocks }))
        })
    }
}

fn update_indexed(
    transaction: &Transaction<'_>,
    document: &IndexedDocument,
) -> Result<bool, LibraryError> {
    let IndexedDocument {
        id,
        file,
        hash,
        title,
        own_title,
        note,
        pages,
        pipeline,
        embedder,
        ..
    } = document;
    let changed = transaction.execute(
        "UPDATE documents SET path = ?2, root = ?3, uploaded = ?4, state = 'indexed', reason = ?5, title = ?6,
             own_title = ?7, pages = ?8, hash = ?9, bytes = ?10, modified_ns = ?11, pipeline = ?12, embedder = ?13,
             updated_at = ?14, passages = ?15
         WHERE id = ?1",
        params![
            id.0, file.path, file.root, file.uploaded, note, title, own_title, pages, hash, file.bytes,
            file.modified_ns, pipeline, embedder, now(),
            document.passages.len()
        ],
    )?;
    Ok(changed > 0)
}

fn insert_passages(
    transaction: &Transaction<'_>,
    document: &IndexedDocument,
) -> Result<(), LibraryError> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO passages (document_id, idx, point_id, start, end, page, heading, header, text)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for passage in &document.passages {
        insert.execute(params![
            document.id.0,
            passage.index,
            passage.point,
            passage.start,
            passage.end,
            passage.page,
            serde_json::to_string(&passage.heading)?,
            passage.header,
            passage.text
        ])?;
    }
    Ok(())
}

fn require_collection(
    transaction: &Transaction<'_>,
    collection: CollectionId,
) -> Result<(), LibraryError> {
    let exists: bool = transaction.query_row(
        "SELECT EXISTS (SELECT 1 FROM collections WHERE id = ?1)",
        [collection.0],
        |row| row.get(0),
    )?;
    if exists {
        Ok(())
    } else {
        Err(LibraryError::UnknownCollection {
            name: collection.0.to_string(),
        })
    }
}

fn touch_collection(
    transaction: &Transaction<'_>,
    collection: CollectionId,
) -> Result<(), LibraryError> {
    transaction.execute(
        "UPDATE collections SET updated_at = ?2 WHERE id = ?1",
        params![collection.0, now()],
    )?;
    Ok(())
}

fn find_document(
    connection: &Connection,
    scope: &AccessScope,
    id: DocumentId,
) -> Result<Option<DocumentInfo>, LibraryError> {
    let mut statement = connection.prepare_cached(&format!("{DOCUMENT_INFO} WHERE d.id = ?1"))?;
    let info = statement.query_row([id.0], document_info).optional()?;
    Ok(info.filter(|info| scope.allows(info.collection)))
}

const DOCUMENT_INFO: &str = "
    SELECT d.id, d.collection_id, d.path, d.title, d.state, d.reason, d.pages, d.bytes, d.updated_at, d.passages
    FROM documents d";

fn document_info(row: &Row<'_>) -> rusqlite::Result<DocumentInfo> {
    Ok(DocumentInfo {
        id: DocumentId(row.get(0)?),
        collection: CollectionId(row.get(1)?),
        path: row.get(2)?,
        title: row.get(3)?,
        state: state(row, 4)?,
        reason: row.get(5)?,
        pages: row.get(6)?,
        bytes: row.get(7)?,
        updated_at: row.get(8)?,
        passages: row.get(9)?,
    })
}

/// Hex BLAKE3 of three columns with a NUL behind each, which no column has.
fn version(row: &Row<'_>) -> rusqlite::Result<String> {
    let mut hasher = blake3::Hasher::new();
    for column in 0..3 {
        let part: String = row.get(column)?;
        hasher.update(part.as_bytes()).update(&[0]);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<DocumentState> {
    Ok(match row.get_ref(column)?.as_str()? {
        "indexed" => DocumentState::Indexed,
        "failed" => DocumentState::Failed,
        _ => DocumentState::Pending,
    })
}
