//! `suite.db`: accounts, sessions, keys, conversations, messages. SQLite in WAL mode.
//!
//! One connection writes, behind a mutex; a few others read. Both run on the blocking pool. Every query of a
//! user's row takes the user's id, so that an id alone never opens anything.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use web_api::UnixMs;

use crate::suite::join;

pub mod conversations;
pub mod keys;
pub mod messages;
pub mod sessions;
pub mod users;

/// Migrations in order; the position of the last one applied is the database's `user_version`. Never edit one that shipped.
const MIGRATIONS: &[&str] = &[include_str!(
    "migrations/001_accounts_and_conversations.sql"
)];

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
    /// A statement failed.
    #[error("the database failed: {0}")]
    Sql(#[from] rusqlite::Error),
}

/// Handle to the database; clones share it.
#[derive(Clone)]
pub struct Database {
    path: Arc<PathBuf>,
    writer: Arc<Mutex<Connection>>,
    idle_readers: Arc<Mutex<Vec<Connection>>>,
}

impl Database {
    /// Opens or creates the file and migrates it. Blocking.
    ///
    /// # Errors
    /// [`DatabaseError::Open`] or [`DatabaseError::NewerSchema`]; the file is unchanged then.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        let opened = |source| DatabaseError::Open {
            path: path.to_owned(),
            source,
        };
        let mut connection = Connection::open(path).map_err(opened)?;
        restrict_to_owner(path);
        prepare(&connection).map_err(opened)?;
        connection
            .pragma_update(None, "journal_mode", "wal")
            .map_err(opened)?;
        migrate(&mut connection, path)?;
        Ok(Self {
            path: Arc::new(path.to_owned()),
            writer: Arc::new(Mutex::new(connection)),
            idle_readers: Arc::default(),
        })
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
        let mut connection = lock(&self.writer);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
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
        let idle = lock(&self.idle_readers).pop();
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
        let mut idle = lock(&self.idle_readers);
        if idle.len() < READERS_KEPT {
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
