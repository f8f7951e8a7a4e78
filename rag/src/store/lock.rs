//! The exclusive lock of a folder that one process owns, waited for a little.

use std::fs::{File, TryLockError};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// How long a lock is waited for, and how often it is tried.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Takes the lock of `file`; `false` when another process still holds it after two seconds.
///
/// A process that was killed while it started a child leaves its locks to that child until the child
/// runs its program, so a held lock is not yet another owner.
///
/// # Errors
/// The file system knows no locks, or failed.
pub fn lock_soon(file: &File) -> io::Result<bool> {
    let held = |taken: &Result<(), TryLockError>| matches!(taken, Err(TryLockError::WouldBlock));
    match retry_while(held, || file.try_lock()) {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Tries for up to two seconds, until the result is no longer `busy`; returns the last one.
pub(super) fn retry_while<T>(busy: impl Fn(&T) -> bool, mut attempt: impl FnMut() -> T) -> T {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        let result = attempt();
        if !busy(&result) || Instant::now() >= deadline {
            return result;
        }
        thread::sleep(LOCK_POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_released_soon_is_taken_and_one_that_is_kept_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("owner.lock");
        let first = File::create(&path).unwrap();
        let second = File::create(&path).unwrap();
        assert!(lock_soon(&first).unwrap());
        assert!(!lock_soon(&second).unwrap());
        let release = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            drop(first);
        });
        assert!(lock_soon(&second).unwrap());
        release.join().unwrap();
    }
}
