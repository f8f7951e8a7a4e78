//! `suite.db`: accounts, sessions, keys, conversations, messages. SQLite in WAL mode.
//!
//! One connection writes, behind a mutex; a few others read. Both run on the blocking pool. Every query of a
//! user's row takes the user's id, so that an id alone never opens anything.
//!
//! What is deleted leaves no words: pages are overwritten (`secure_delete`), the full-text indexes forget at once (their own
//! `secure-delete`), [`Database::forget`] empties the write-ahead log, and [`Database::tidy`] writes the file anew after deletions,
//! now and then and in [`Database::close`], after which a stopped suite is `suite.db` alone. See [`rag::remains`].

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use web_api::UnixMs;

use rag::remains::{Remains, empty_log};

use crate::blocking::join;

pub mod conversations;
pub mod keys;
pub mod messages;
pub mod sessions;
pub mod sources;
pub mod users;

/// Migrations in order; the position of the last one applied is the database's `user_version`. Never edit one that shipped.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/001_accounts_and_conversations.sql"),
    include_str!("migrations/002_suspension_and_sources.sql"),
    include_str!("migrations/003_versions_of_sources.sql"),
];

/// How long a statement waits for another process (a backup, an administrator's shell) before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle reading connections that are kept.
const READERS_KEPT: usize = 4;

/// Row id of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub i64);

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It cannot be opened or migrated.
    #[error("cannot open the database {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A newer version wrote it.
    #[error(
        "{path} was written by a newer version of Cloister (schema {found}, this one knows {known}); use that version or restore a backup"
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// The newest that is known here.
        known: usize,
    },
    /// There is no room to write.
    #[error("the disk that holds {path} is full: {source}")]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// A statement failed.
    #[error("the database failed: {0}")]
    Sql(#[from] rusqlite::Error),
    /// It was closed, because the program ends.
    #[error("the database is closed because the server is stopping")]
    Closed,
}

impl DatabaseError {
    /// Whether making room on the disk is the way out.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::DiskFull { .. } => true,
            Self::Open { source, .. } | Self::Sql(source) => rag::disk::is_full(source),
            Self::NewerSchema { .. } | Self::Closed => false,
        }
    }

    /// Names the file of a disk that is full.
    fn of_file(self, path: &Path) -> Self {
        match self {
            Self::Open { source, .. } | Self::Sql(source) if rag::disk::is_full(&source) => {
                Self::DiskFull {
                    path: path.to_owned(),
                    source,
                }
            }
            other => other,
        }
    }
}

/// Handle to the database; clones share it.
#[derive(Clone)]
pub struct Database {
    path: Arc<PathBuf>,
    // Both are `None` once the database is closed.
    writer: Arc<Mutex<Option<Connection>>>,
    idle_readers: Arc<Mutex<Option<Vec<Connection>>>>,
    // What is left of deleted text.
    remains: Arc<Remains>,
}

impl Database {
    /// Opens or creates the file and migrates it. Blocking.
    ///
    /// # Errors
    /// [`DatabaseError::Open`] or [`DatabaseError::NewerSchema`]; the file is unchanged then.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        Self::open_or_fail(path).map_err(|error| error.of_file(path))
    }

    fn open_or_fail(path: &Path) -> Result<Self, DatabaseError> {
        let opened = |source| DatabaseError::Open {
            path: path.to_owned(),
            source,
        };
        let remains = Arc::new(Remains::of(path));
        let mut connection = Connection::open(path).map_err(opened)?;
        restrict_to_owner(path);
        prepare(&connection).map_err(opened)?;
        connection
            .pragma_update(None, "journal_mode", "wal")
            .map_err(opened)?;
        migrate(&mut connection, path)?;
        // A copy of the file alone has the accounts, whatever happens to the log beside it.
        empty_log(&connection, path).map_err(opened)?;
        Ok(Self {
            path: Arc::new(path.to_owned()),
            writer: Arc::new(Mutex::new(Some(connection))),
            idle_readers: Arc::new(Mutex::new(Some(Vec::new()))),
            remains,
        })
    }

    /// Whether there is no database at the path yet: no file, or one without any table. Changes nothing.
    pub fn is_new(path: &Path) -> bool {
        if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) || !path.exists() {
            return true;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // What cannot be read is not new; opening it says what is wrong.
        Connection::open_with_flags(path, flags)
            .and_then(|connection| {
                connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
            })
            .is_ok_and(|version| version == 0)
    }

    /// Empties the write-ahead log after something was deleted, so that no page is left as it was before. Waits for readers;
    /// where one is very slow, the next call or the end does it.
    ///
    /// # Errors
    /// When the log cannot be written back, as on a full disk.
    pub async fn forget(&self) -> Result<(), DatabaseError> {
        let database = self.clone();
        join(tokio::task::spawn_blocking(move || database.forget_blocking()).await)
    }

    /// [`Self::forget`] for callers that may block.
    ///
    /// # Errors
    /// When the log cannot be written back, as on a full disk.
    pub fn forget_blocking(&self) -> Result<(), DatabaseError> {
        self.remains.note();
        self.settle_blocking()
    }

    /// Writes the log back into the file, so that a copy of the file alone has everything.
    ///
    /// # Errors
    /// When the log cannot be written back, as on a full disk.
    pub async fn settle(&self) -> Result<(), DatabaseError> {
        let database = self.clone();
        join(tokio::task::spawn_blocking(move || database.settle_blocking()).await)
    }

    /// Removes what deletions left. Blocking.
    ///
    /// # Errors
    /// As [`Remains::tidy`].
    pub fn tidy(&self) -> Result<(), DatabaseError> {
        let writer = lock(&self.writer);
        Ok(self
            .remains
            .tidy(writer.as_ref().ok_or(DatabaseError::Closed)?)?)
    }

    fn settle_blocking(&self) -> Result<(), DatabaseError> {
        let writer = lock(&self.writer);
        let connection = writer.as_ref().ok_or(DatabaseError::Closed)?;
        empty_log(connection, &self.path)
            .map_err(|error| DatabaseError::from(error).of_file(&self.path))
    }

    /// Writes everything into the file itself and closes it; later calls fail with [`DatabaseError::Closed`]. Blocking.
    ///
    /// # Errors
    /// When the log cannot be written back; it is then read at the next start.
    pub fn close(&self) -> Result<(), DatabaseError> {
        // Readers go first: the last connection removes the log, and one that may not write cannot.
        drop(lock(&self.idle_readers).take());
        let Some(connection) = lock(&self.writer).take() else {
            return Ok(());
        };
        if let Err(error) = self.remains.tidy(&connection) {
            tracing::warn!(%error, "fragments of deleted text may remain in the database of accounts");
        }
        empty_log(&connection, &self.path)?;
        connection.close().map_err(|(_, error)| error.into())
    }

    /// Runs `work` in one transaction; it is rolled back when `work` fails.
    ///
    /// # Errors
    /// What `work` or the commit reports.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let database = self.clone();
        join(tokio::task::spawn_blocking(move || database.write_blocking(work)).await)
    }

    /// [`Self::write`] for callers that may block.
    ///
    /// # Errors
    /// What `work` or the commit reports.
    pub fn write_blocking<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        let mut writer = lock(&self.writer);
        let connection = writer.as_mut().ok_or(DatabaseError::Closed)?;
        let in_transaction = || {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        in_transaction()
            .map_err(|error: rusqlite::Error| DatabaseError::from(error).of_file(&self.path))
    }

    /// Runs `work` on a reading connection, beside a writer.
    ///
    /// # Errors
    /// What `work` reports.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let database = self.clone();
        join(tokio::task::spawn_blocking(move || database.read_blocking(work)).await)
    }

    /// [`Self::read`] for callers that may block.
    ///
    /// # Errors
    /// What `work` reports.
    pub fn read_blocking<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        let idle = lock(&self.idle_readers)
            .as_mut()
            .ok_or(DatabaseError::Closed)?
            .pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = Connection::open_with_flags(&*self.path, flags)?;
                prepare(&connection)?;
                connection
            }
        };
        let value = work(&connection)?;
        if let Some(idle) = lock(&self.idle_readers)
            .as_mut()
            .filter(|idle| idle.len() < READERS_KEPT)
        {
            idle.push(connection);
        }
        Ok(value)
    }
}

/// Now, as it is stored.
pub fn now_ms() -> UnixMs {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // With WAL, NORMAL can lose the last commits in a power cut but never corrupts.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // Deleted conversations are overwritten with zeros.
    connection.pragma_update(None, "secure_delete", true)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), DatabaseError> {
    let opened = |source| DatabaseError::Open {
        path: path.to_owned(),
        source,
    };
    let found: usize = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(opened)?;
    let known = MIGRATIONS.len();
    if found > known {
        return Err(DatabaseError::NewerSchema {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found) {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(opened)?;
        transaction.execute_batch(migration).map_err(opened)?;
        transaction
            .pragma_update(None, "user_version", index + 1)
            .map_err(opened)?;
        transaction.commit().map_err(opened)?;
    }
    Ok(())
}

/// Password hashes and conversations are for the owner of the server alone. SQLite gives its side files the same mode.
fn restrict_to_owner(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if let Err(error) = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)) {
        tracing::warn!(path = %path.display(), %error, "cannot restrict the database to its owner");
    }
}

/// A panic while the lock was held left no half-done change: transactions roll back.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "forgetting_tests.rs"]
mod forgetting_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("suite.db");
        drop(Database::open(&path).unwrap());
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 999)
            .unwrap();
        let error = Database::open(&path).err().unwrap();
        assert!(
            matches!(error, DatabaseError::NewerSchema { found: 999, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_full_disk_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("suite.db");
        let database = Database::open(&path).unwrap();
        let error = database
            .write_blocking(|transaction| {
                let pages: i64 =
                    transaction.pragma_query_value(None, "page_count", |row| row.get(0))?;
                transaction.pragma_update(None, "max_page_count", pages)?;
                for number in 0..1000 {
                    let email = format!("{number}@example.org");
                    users::insert(transaction, &email, web_api::Role::Member, "hash")?;
                }
                Ok(())
            })
            .unwrap_err();
        assert!(error.is_disk_full(), "{error}");
        let text = error.to_string();
        assert!(
            text.starts_with("the disk that holds ") && text.contains("suite.db is full"),
            "{text}"
        );
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("suite.db")).unwrap();
        let result = database.write_blocking(|transaction| {
            users::insert(transaction, "a@example.org", web_api::Role::Member, "hash")?;
            Err::<(), _>(rusqlite::Error::InvalidQuery)
        });
        assert!(result.is_err());
        assert_eq!(database.read_blocking(users::list).unwrap(), []);
    }
}
