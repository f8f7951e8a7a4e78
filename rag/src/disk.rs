//! Room on the disk of the data directory.
//!
//! A full disk is met before it is met by others: the index writes through mapped files, where running out of disk is not
//! an error but a signal that ends the process, so room is asked for before each batch and at the start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// There is less room than is needed. Nothing was written, and what was there before is whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the disk that holds {path} is nearly full: {} are free, {} are needed",
    mib(*free_bytes),
    mib(*needed_bytes)
)]
pub struct DiskFull {
    /// A folder on that disk.
    pub path: PathBuf,
    /// What this user may still write there.
    pub free_bytes: u64,
    /// What the next step may write at most.
    pub needed_bytes: u64,
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Says how many bytes are free at a path.
type FreeBytes = dyn Fn(&Path) -> io::Result<u64> + Send + Sync;

/// The disk under a folder. Clones share it.
#[derive(Clone)]
pub struct DiskSpace {
    path: PathBuf,
    free: Arc<FreeBytes>,
}

impl DiskSpace {
    /// The disk under a folder or file.
    pub fn of(path: impl Into<PathBuf>) -> Self {
        Self::measured_by(path, free_bytes)
    }

    /// [`Self::of`], measured by something else than the system: for tests.
    pub fn measured_by(
        path: impl Into<PathBuf>,
        free: impl Fn(&Path) -> io::Result<u64> + Send + Sync + 'static,
    ) -> Self {
        Self {
            path: path.into(),
            free: Arc::new(free),
        }
    }

    /// Bytes that this user may still write.
    ///
    /// # Errors
    /// The folder is gone, or its file system does not tell.
    pub fn free_bytes(&self) -> io::Result<u64> {
        (self.free)(&self.path)
    }

    /// Checks that so many bytes are free. A file system that does not tell how much it has is taken to have enough.
    ///
    /// # Errors
    /// [`DiskFull`].
    pub fn require(&self, needed_bytes: u64) -> Result<(), DiskFull> {
        match self.free_bytes() {
            Ok(free_bytes) if free_bytes < needed_bytes => Err(DiskFull {
                path: self.path.clone(),
                free_bytes,
                needed_bytes,
            }),
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "free room on the disk is unknown");
                Ok(())
            }
        }
    }
}

/// Bytes that this user may still write on the file system of `path`.
fn free_bytes(path: &Path) -> io::Result<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    // SAFETY: a `statvfs` is plain numbers, for which zero is a value.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: path and `found` live across the call.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Whether SQLite failed because there was no room to write.
pub fn is_full(error: &rusqlite::Error) -> bool {
    /// The shared memory beside a database could not grow, `SQLITE_IOERR_SHMSIZE`.
    const SHARED_MEMORY_SIZE: std::ffi::c_int = 10 | (19 << 8);
    error.sqlite_error().is_some_and(|error| {
        error.code == rusqlite::ErrorCode::DiskFull || error.extended_code == SHARED_MEMORY_SIZE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_compared_and_the_error_names_place_and_numbers() {
        let disk = DiskSpace::measured_by("/data", |_| Ok(3 << 20));
        assert_eq!(disk.require(3 << 20), Ok(()));
        let error = disk.require((3 << 20) + 1).unwrap_err();
        assert_eq!(
            (error.free_bytes, error.needed_bytes),
            (3 << 20, (3 << 20) + 1)
        );
        let text = disk.require(200 << 20).unwrap_err().to_string();
        for part in ["/data", "3.0 MiB are free", "200.0 MiB are needed"] {
            assert!(text.contains(part), "{text}");
        }
        let unknown = DiskSpace::measured_by("/data", |_| Err(io::Error::other("no")));
        assert_eq!(unknown.require(u64::MAX), Ok(()));
    }

    #[test]
    fn the_system_is_asked_about_the_file_system_of_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let free = DiskSpace::of(folder.path()).free_bytes().unwrap();
        assert!(free > 0);
        assert!(DiskSpace::of("/proc").free_bytes().unwrap() == 0);
        assert!(
            DiskSpace::of(folder.path().join("missing"))
                .free_bytes()
                .is_err()
        );
    }

    #[test]
    fn a_database_that_cannot_grow_is_full() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "max_page_count", 3).unwrap();
        let error = connection
            .execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(100000));")
            .unwrap_err();
        assert!(is_full(&error), "{error}");
        assert!(!is_full(&connection.execute_batch("nonsense").unwrap_err()));
    }
}
