//! What deletion leaves in a file of SQLite, and how it goes: for the catalogue and for the server's accounts.
//!
//! `secure_delete` overwrites what is deleted, but the write-ahead log holds pages as they were before, and where SQLite
//! rearranges a page of a tree, bytes stay in the gap between. [`empty_log`] ends the first, [`Remains::tidy`] the second by writing
//! the file anew. Whether there is anything to remove is remembered in memory; a program that was killed leaves a log, which is
//! what [`Remains::of`] takes for a sign.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

/// Largest file that is written anew: a few seconds of work and as much room again.
const MOST_BYTES_WRITTEN_ANEW: u64 = 512 << 20;

/// Whether something was deleted since a file was last written anew.
#[derive(Debug)]
pub struct Remains {
    path: PathBuf,
    exist: AtomicBool,
}

impl Remains {
    /// Those of the file at `path`, which is not open yet.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let was_killed = std::fs::metadata(log).is_ok_and(|log| log.len() > 0);
        Self {
            path: path.to_owned(),
            exist: AtomicBool::new(was_killed),
        }
    }

    /// Notes that something is deleted.
    pub fn note(&self) {
        self.exist.store(true, Ordering::Relaxed);
    }

    /// Writes the file anew, if something was deleted and it is not too large for that. Blocking; takes about a second for every
    /// 100 MB, in which nothing else is written.
    ///
    /// # Errors
    /// When there is not room for a second file; the first is unchanged then.
    pub fn tidy(&self, connection: &Connection) -> rusqlite::Result<()> {
        if !self.exist.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let bytes = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        if bytes > MOST_BYTES_WRITTEN_ANEW {
            tracing::warn!(
                path = %self.path.display(),
                bytes,
                "too large to be written anew; fragments of deleted text may remain in it. Stop the server and run VACUUM with sqlite3"
            );
            return Ok(());
        }
        let written = connection
            .execute_batch("VACUUM")
            .and_then(|()| empty_log(connection, &self.path));
        if written.is_err() {
            self.note();
        }
        written
    }
}

/// Writes the log back into the file and cuts it to nothing. Waits for readers; where one is very slow, the next call does it.
///
/// # Errors
/// When the log cannot be written back, as on a full disk.
pub fn empty_log(connection: &Connection, path: &Path) -> rusqlite::Result<()> {
    let busy: i64 =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy != 0 {
        tracing::warn!(path = %path.display(), "a slow reader kept the write-ahead log from being emptied");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_was_left_is_a_sign_that_something_may_remain() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.db");
        let exist = || Remains::of(&path).exist.load(Ordering::Relaxed);
        assert!(!exist());
        let connection = Connection::open(&path).unwrap();
        connection
            .pragma_update(None, "journal_mode", "wal")
            .unwrap();
        connection
            .execute_batch("CREATE TABLE words (word TEXT)")
            .unwrap();
        assert!(exist());
        empty_log(&connection, &path).unwrap();
        assert!(!exist());
        let remains = Remains::of(&path);
        remains.note();
        remains.tidy(&connection).unwrap();
        assert!(!remains.exist.load(Ordering::Relaxed));
    }
}
