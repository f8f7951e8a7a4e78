//! The catalogue: the SQL database that is the truth about collections, documents and passages.
//!
//! Everything a search result shows comes from here; the vector store only says which passages. A
//! point of the store that no row of `passages` names does not exist as far as anybody can tell, so
//! the transaction that writes a document's passages is the moment the document changes.
//!
//! SQLite in WAL mode: one writer at a time, readers beside it. Absent on purpose: files, embedding,
//! decisions about what to ingest.

mod documents;
mod schema;
mod search;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior};
use uuid::Uuid;

use crate::access::{AccessScope, CollectionId};
use crate::error::LibraryError;
use crate::records::CollectionInfo;
use crate::remains::{Remains, empty_log};

pub(crate) use documents::{
    DocumentRow, FailedDocument, FileFacts, IndexedDocument, NewPassage, RenamedDocument, Written,
};
pub(crate) use search::StoredPassage;

/// How long a writer waits for another process's lock. Only backups and tools compete.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The open database.
pub struct Catalogue {
    path: PathBuf,
    writer: Mutex<Connection>,
    /// Idle read connections; as many as ever read at the same time.
    readers: Mutex<Vec<Connection>>,
    instance: Uuid,
    /// What is left of deleted text.
    remains: Remains,
}

impl Catalogue {
    /// Opens or creates the database and brings it to the newest schema.
    ///
    /// # Errors
    /// [`LibraryError::NewerSchema`], [`LibraryError::Catalogue`].
    pub fn open(path: &Path) -> Result<Self, LibraryError> {
        let remains = Remains::of(path);
        let mut connection = Self::connect(path)?;
        schema::migrate(&mut connection, path)?;
        connection.execute(
            "INSERT OR IGNORE INTO meta (key, value) VALUES ('instance', ?1)",
            [Uuid::new_v4().to_string()],
        )?;
        let instance: String =
            connection.query_row("SELECT value FROM meta WHERE key = 'instance'", [], |row| {
                row.get(0)
            })?;
        let instance = Uuid::parse_str(&instance).map_err(|_| LibraryError::Catalogue {
            reason: format!("`{instance}` is not an instance id"),
        })?;
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(connection),
            readers: Mutex::new(Vec::new()),
            instance,
            remains,
        })
    }

    /// A random id given when the catalogue was created: tells apart suites that share a vector server.
    pub(crate) fn instance(&self) -> Uuid {
        self.instance
    }

    fn connect(path: &Path) -> Result<Connection, LibraryError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // Unit tests crash programs, not machines, and need not wait for the disk.
        let synchronous = if cfg!(test) { "OFF" } else { "FULL" };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // Text of removed documents is overwritten, not just unlinked.
        connection.pragma_update(None, "secure_delete", true)?;
        Ok(connection)
    }

    /// Empties the write-ahead log after something was deleted: it holds pages as they were before.
    pub(crate) fn forget(&self) -> Result<(), LibraryError> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(empty_log(&writer, &self.path)?)
    }

    /// Removes what deletions left: see [`Remains::tidy`].
    pub(crate) fn tidy(&self) -> Result<(), LibraryError> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.remains.tidy(&writer)?)
    }

    /// Notes that text is deleted, for [`Self::tidy`].
    fn note_deletion(&self) {
        self.remains.note();
    }

    /// A value that was stored under a key, if it was.
    pub(crate) fn meta(&self, key: &str) -> Result<Option<String>, LibraryError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
            Ok(statement.query_row([key], |row| row.get(0)).optional()?)
        })
    }

    /// Stores a value under a key, or removes it.
    pub(crate) fn set_meta(&self, key: &str, value: Option<&str>) -> Result<(), LibraryError> {
        self.write(|transaction| {
            match value {
                Some(value) => transaction.execute(
                    "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    (key, value),
                )?,
                None => transaction.execute("DELETE FROM meta WHERE key = ?1", [key])?,
            };
            Ok(())
        })
    }

    fn read<T>(
        &self,
        run: impl FnOnce(&Connection) -> Result<T, LibraryError>,
    ) -> Result<T, LibraryError> {
        let idle = self
            .readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let connection = match idle {
            Some(connection) => connection,
            None => Self::connect(&self.path)?,
        };
        let result = run(&connection);
        self.readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
        result
    }

    fn write<T>(
        &self,
        run: impl FnOnce(&Transaction<'_>) -> Result<T, LibraryError>,
    ) -> Result<T, LibraryError> {
        let mut connection = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = run(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    /// Collections in the scope, by name.
    pub(crate) fn collections(
        &self,
        scope: &AccessScope,
    ) -> Result<Vec<CollectionInfo>, LibraryError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached(&format!("{COLLECTION_INFO} ORDER BY c.name"))?;
            let rows = statement.query_map([], collection_info)?;
            let all = rows.collect::<Result<Vec<_>, _>>()?;
            Ok(all
                .into_iter()
                .filter(|info| scope.allows(info.id))
                .collect())
        })
    }

    /// The collection of this name, whoever may see it.
    pub(crate) fn collection_by_name(
        &self,
        name: &str,
    ) -> Result<Option<CollectionInfo>, LibraryError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached(&format!("{COLLECTION_INFO} WHERE c.name = ?1"))?;
            Ok(statement.query_row([name], collection_info).optional()?)
        })
    }

    /// The collection with this id, whoever may see it.
    pub(crate) fn collection(
        &self,
        id: CollectionId,
    ) -> Result<Option<CollectionInfo>, LibraryError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached(&format!("{COLLECTION_INFO} WHERE c.id = ?1"))?;
            Ok(statement.query_row([id.0], collection_info).optional()?)
        })
    }

    /// Adds a collection.
    ///
    /// # Errors
    /// [`LibraryError::CollectionExists`].
    pub(crate) fn create_collection(&self, name: &str) -> Result<CollectionId, LibraryError> {
        self.write(|transaction| {
            let added = transaction.execute(
                "INSERT OR IGNORE INTO collections (name, updated_at) VALUES (?1, ?2)",
                (name, now()),
            )?;
            if added == 0 {
                return Err(LibraryError::CollectionExists {
                    name: name.to_owned(),
                });
            }
            Ok(CollectionId(transaction.last_insert_rowid()))
        })
    }

    /// Removes a collection with its documents; returns the points to delete, or `None` where there
    /// is no such collection.
    pub(crate) fn delete_collection(
        &self,
        id: CollectionId,
    ) -> Result<Option<Vec<Uuid>>, LibraryError> {
        self.note_deletion();
        self.write(|transaction| {
            let points = points_where(transaction, "d.collection_id = ?1", id.0)?;
            let removed = transaction.execute("DELETE FROM collections WHERE id = ?1", [id.0])?;
            Ok((removed > 0).then_some(points))
        })
    }
}

const COLLECTION_INFO: &str = "
    SELECT c.id, c.name, c.updated_at,
           (SELECT count(*) FROM documents d WHERE d.collection_id = c.id),
           (SELECT coalesce(sum(d.passages), 0) FROM documents d WHERE d.collection_id = c.id),
           (SELECT count(*) FROM documents d WHERE d.collection_id = c.id AND d.state = 'failed')
    FROM collections c";

fn collection_info(row: &Row<'_>) -> rusqlite::Result<CollectionInfo> {
    Ok(CollectionInfo {
        id: CollectionId(row.get(0)?),
        name: row.get(1)?,
        updated_at: row.get(2)?,
        documents: row.get(3)?,
        passages: row.get(4)?,
        failed: row.get(5)?,
    })
}

/// Points of the documents `d` for which `condition` on `?1` holds.
fn points_where(
    connection: &Connection,
    condition: &str,
    value: i64,
) -> Result<Vec<Uuid>, LibraryError> {
    let sql = format!(
        "SELECT p.point_id FROM passages p JOIN documents d ON d.id = p.document_id WHERE {condition}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([value], |row| row.get::<_, Uuid>(0))?;
    Ok(rows.collect::<Result<Vec<_>, _>>()?)
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
}

impl From<rusqlite::Error> for LibraryError {
    fn from(error: rusqlite::Error) -> Self {
        if crate::disk::is_full(&error) {
            return Self::CatalogueFull;
        }
        Self::Catalogue {
            reason: error.to_string(),
        }
    }
}

impl From<serde_json::Error> for LibraryError {
    fn from(error: serde_json::Error) -> Self {
        Self::Catalogue {
            reason: error.to_string(),
        }
    }
}
