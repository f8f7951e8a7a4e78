//! Room for the files of the embedded index.
//!
//! qdrant-edge makes its files sparse and writes them through memory. A page of a hole gets its place on the disk when it is
//! first touched, and where there is none the process is ended by `SIGBUS`. So every file gets all of its blocks as
//! soon as it is there ([`Growth::fill_holes`]), and an operation that may make new files has to find room for as many
//! as it may make ([`Growth::reserve_bytes`]).

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use walkdir::WalkDir;

use crate::disk::{DiskFull, DiskSpace};

/// Largest file that qdrant-edge 0.9 makes at a time: chunks of vectors, pages of payloads, segments of its log are each
/// 32 MiB and a header.
const FILE_BYTES: u64 = 33 << 20;
/// Files that one write can add: a chunk of dense vectors, a page each of payloads and sparse vectors, a segment of the log
/// and the one that is prepared behind it.
const FILES_OF_A_WRITE: u64 = 5;
/// Files that opening or deleting can add: the two segments of the log.
const FILES_OF_THE_LOG: u64 = 2;
/// Smallest unit in which file systems give room.
const BLOCK_BYTES: u64 = 4096;

/// Watches over the room of one index.
pub(super) struct Growth {
    folder: PathBuf,
    disk: DiskSpace,
    /// Files (by inode) that have their blocks up to a length, so that they are not asked for again where a file system
    /// counts blocks otherwise (compressed ones do).
    filled: Mutex<HashMap<PathBuf, (u64, u64)>>,
    /// Bytes without a place on the disk.
    holes: AtomicU64,
}

impl Growth {
    pub(super) fn new(folder: &Path, disk: DiskSpace) -> Self {
        Self {
            folder: folder.to_owned(),
            disk,
            filled: Mutex::default(),
            holes: AtomicU64::new(0),
        }
    }

    /// Bytes that have to be free before points are written.
    pub(super) fn reserve_bytes(&self) -> u64 {
        self.holes.load(Ordering::Relaxed) + FILES_OF_A_WRITE * FILE_BYTES
    }

    /// Checks that there is room to write points whose vectors take `bytes`.
    pub(super) fn require_for_write(&self, bytes: u64) -> Result<(), DiskFull> {
        // They are written twice, to the log and to their files, and new files are at least as large as they are.
        self.disk
            .require(self.reserve_bytes() + bytes.saturating_mul(2))
    }

    /// Checks that there is room to open the index or to delete from it.
    pub(super) fn require_for_log(&self) -> Result<(), DiskFull> {
        let holes = self.holes.load(Ordering::Relaxed);
        self.disk.require(holes + FILES_OF_THE_LOG * FILE_BYTES)
    }

    /// Checks that there is room for a second copy of everything, which is how the index is reorganised.
    pub(super) fn require_for_copy(&self) -> Result<(), DiskFull> {
        let copy: u64 = self.files().map(|(_, metadata)| metadata.len()).sum();
        self.disk.require(copy + self.reserve_bytes())
    }

    /// What a failure for want of room says, with the numbers of now.
    pub(super) fn full(&self) -> DiskFull {
        DiskFull {
            path: self.folder.clone(),
            free_bytes: self.disk.free_bytes().unwrap_or_default(),
            needed_bytes: self.reserve_bytes(),
        }
    }

    /// Gives every file the blocks it lacks. What cannot be given, for want of room or because the file system gives none in
    /// advance, is asked for in the reserve instead.
    pub(super) fn fill_holes(&self) {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = 0;
        let mut still_filled = HashMap::new();
        for (path, metadata) in self.files() {
            let (inode, len) = (metadata.ino(), metadata.len());
            let hole = len.saturating_sub(metadata.blocks().saturating_mul(512));
            if hole < BLOCK_BYTES {
                continue;
            }
            if filled.get(&path) == Some(&(inode, len)) {
                still_filled.insert(path, (inode, len));
                continue;
            }
            // Started with too little room it would take the rest of it and fail.
            let has_room = self.disk.require(hole + FILE_BYTES).is_ok();
            if has_room && allocate(&path, len).is_ok() {
                still_filled.insert(path, (inode, len));
            } else {
                left += hole;
            }
        }
        *filled = still_filled;
        self.holes.store(left, Ordering::Relaxed);
    }

    fn files(&self) -> impl Iterator<Item = (PathBuf, Metadata)> {
        // A file that goes away meanwhile needs no room.
        WalkDir::new(&self.folder).into_iter().filter_map(|entry| {
            let entry = entry.ok().filter(|entry| entry.file_type().is_file())?;
            let metadata = fs::symlink_metadata(entry.path()).ok()?;
            Some((entry.into_path(), metadata))
        })
    }
}

/// Gives the first `len` bytes of a file their place on the disk; its content and length stay.
fn allocate(path: &Path, len: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    let len = libc::off_t::try_from(len).map_err(io::Error::other)?;
    // SAFETY: takes an open descriptor and numbers. Not `posix_fallocate`, which writes where it cannot allocate.
    match unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, 0, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse(folder: &Path, name: &str, len: u64) -> PathBuf {
        let path = folder.join(name);
        let file = File::create(&path).unwrap();
        file.set_len(len).unwrap();
        path
    }

    #[test]
    fn holes_are_filled_where_there_is_room_and_asked_for_where_there_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let len = 3 << 20;
        let path = sparse(folder.path(), "chunk_0.mmap", len);
        let reserve = FILES_OF_A_WRITE * FILE_BYTES;

        let tight = DiskSpace::measured_by(folder.path(), move |_| Ok(reserve));
        let growth = Growth::new(folder.path(), tight);
        assert_eq!(growth.require_for_write(0), Ok(()));
        let no_room = DiskSpace::measured_by(folder.path(), move |_| Ok(len));
        let without = Growth::new(folder.path(), no_room);
        without.fill_holes();
        assert_eq!(without.reserve_bytes(), reserve + len);
        assert!(fs::metadata(&path).unwrap().blocks() * 512 < len);

        growth.fill_holes();
        let metadata = fs::metadata(&path).unwrap();
        // Where the file system cannot allocate ahead, the room is in the reserve.
        let left = len.saturating_sub(metadata.blocks() * 512);
        assert_eq!(growth.reserve_bytes(), reserve + left);
        assert_eq!(metadata.len(), len);
        assert_eq!(fs::read(&path).unwrap(), vec![0; len as usize]);
    }

    #[test]
    fn opening_needs_less_room_than_writing_and_a_copy_more() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("data"), vec![1; 5000]).unwrap();
        let growth = |free| {
            Growth::new(
                folder.path(),
                DiskSpace::measured_by(folder.path(), move |_| Ok(free)),
            )
        };
        let log = FILES_OF_THE_LOG * FILE_BYTES;
        let write = FILES_OF_A_WRITE * FILE_BYTES;
        assert!(growth(log).require_for_log().is_ok());
        assert!(growth(log - 1).require_for_log().is_err());
        assert!(growth(write + 20).require_for_write(10).is_ok());
        assert!(growth(write + 19).require_for_write(10).is_err());
        assert!(growth(write + 5000).require_for_copy().is_ok());
        assert!(growth(write + 4999).require_for_copy().is_err());
    }
}
