//! Keeps a data directory to the account that runs the program, whatever the umask was and whoever made it.
//!
//! Documents, questions and password hashes lie in it. A directory with mode 0700 keeps everybody else from all below it, so
//! that is what is made or repaired; the files known by name are repaired too, for those who already have them open
//! or mounted elsewhere. An entry that belongs to another account is refused: its owner could read and change it.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// Bits of a mode that let others in.
const OTHERS: u32 = 0o077;
/// Files of a data directory; the ones of SQLite come with side files of the same name and an ending.
const FILES: [&str; 9] = [
    "suite.db",
    "suite.db-wal",
    "suite.db-shm",
    "catalogue.db",
    "catalogue.db-wal",
    "catalogue.db-shm",
    "cloister.lock",
    "cloister.toml",
    "vectors.lock",
];
/// Folders of a data directory whose content is private. Model files are not: others may share them.
const FOLDERS: [&str; 4] = ["vectors", "vectors.new", "uploads", "incoming"];

/// Why a data directory cannot be made private.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// Somebody else owns it or something in it.
    #[error("{path} belongs to another account (user id {owner}, this is {this})")]
    Foreign {
        /// The directory or entry.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs this.
        this: u32,
    },
    /// It cannot be made, looked at, or changed.
    #[error("cannot make {path} private: {source}")]
    Io {
        /// The directory or entry.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An entry that was open to other accounts and is not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// Which.
    pub path: PathBuf,
    /// Its permission bits before.
    pub mode: u32,
}

/// From now on, what this process makes is its account's alone.
pub fn close_umask() {
    // SAFETY: umask takes and returns a number; it cannot fail.
    unsafe { libc::umask(0o077) };
}

/// Makes the folder, and those above it, with mode 0700 where they are missing.
///
/// # Errors
/// As [`fs::create_dir_all`].
pub fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes the data directory where it is missing, and keeps it to this account where it is not. Returns what was repaired.
///
/// # Errors
/// [`PrivateError`]; some entries may have been repaired.
pub fn claim(data_dir: &Path) -> Result<Vec<Repaired>, PrivateError> {
    let mut repaired = Vec::new();
    create_dir(data_dir).map_err(|source| PrivateError::Io {
        path: data_dir.to_owned(),
        source,
    })?;
    repair(data_dir, &mut repaired)?;
    for name in FILES {
        repair(&data_dir.join(name), &mut repaired)?;
    }
    for name in FOLDERS {
        let folder = data_dir.join(name);
        // Nobody gets below a folder that is closed, so what is below needs no look.
        if repair(&folder, &mut repaired)? {
            repair_below(&folder, &mut repaired)?;
        }
    }
    Ok(repaired)
}

/// Closes an entry to others; returns whether that was needed. A missing one needs nothing.
fn repair(path: &Path, repaired: &mut Vec<Repaired>) -> Result<bool, PrivateError> {
    let io = |source| PrivateError::Io {
        path: path.to_owned(),
        source,
    };
    // An administrator may have put a link in its place; what it points to is what is private.
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io(error)),
    };
    close(path, &metadata, repaired)
}

fn repair_below(folder: &Path, repaired: &mut Vec<Repaired>) -> Result<(), PrivateError> {
    for entry in WalkDir::new(folder).min_depth(1) {
        let io = |path: &Path, source| PrivateError::Io {
            path: path.to_owned(),
            source,
        };
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(folder).to_owned();
            io(&path, error.into())
        })?;
        let metadata = entry
            .metadata()
            .map_err(|error| io(entry.path(), error.into()))?;
        if !metadata.is_symlink() {
            close(entry.path(), &metadata, repaired)?;
        }
    }
    Ok(())
}

fn close(
    path: &Path,
    metadata: &Metadata,
    repaired: &mut Vec<Repaired>,
) -> Result<bool, PrivateError> {
    // SAFETY: geteuid takes and changes nothing, and cannot fail.
    let this = unsafe { libc::geteuid() };
    if metadata.uid() != this {
        return Err(PrivateError::Foreign {
            path: path.to_owned(),
            owner: metadata.uid(),
            this,
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(false);
    }
    fs::set_permissions(path, Permissions::from_mode(mode & 0o700)).map_err(|source| {
        PrivateError::Io {
            path: path.to_owned(),
            source,
        }
    })?;
    repaired.push(Repaired {
        path: path.to_owned(),
        mode,
    });
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn open_to_all(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_new_directory_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("deep/data");
        assert_eq!(claim(&data).unwrap(), []);
        assert_eq!(mode(&data), 0o700);
        assert_eq!(mode(&folder.path().join("deep")), 0o700);
    }

    #[test]
    fn an_open_directory_and_what_is_in_it_is_closed_and_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        fs::create_dir_all(data.join("uploads/1/sub")).unwrap();
        fs::create_dir_all(data.join("models")).unwrap();
        let files = [
            "suite.db",
            "catalogue.db-wal",
            "uploads/1/sub/a.txt",
            "models/m.gguf",
        ];
        for file in files {
            fs::write(data.join(file), "x").unwrap();
            open_to_all(&data.join(file), 0o644);
        }
        for open in ["", "uploads", "uploads/1", "uploads/1/sub", "models"] {
            open_to_all(&data.join(open), 0o755);
        }
        let outside = tempfile::NamedTempFile::new().unwrap();
        open_to_all(outside.path(), 0o644);
        std::os::unix::fs::symlink(outside.path(), data.join("uploads/link")).unwrap();
        let repaired = claim(data).unwrap();
        let names: Vec<_> = repaired
            .iter()
            .map(|found| {
                let name = found.path.strip_prefix(data).unwrap();
                (name.to_str().unwrap(), found.mode)
            })
            .collect();
        assert_eq!(
            names,
            [
                ("", 0o755),
                ("suite.db", 0o644),
                ("catalogue.db-wal", 0o644),
                ("uploads", 0o755),
                ("uploads/1", 0o755),
                ("uploads/1/sub", 0o755),
                ("uploads/1/sub/a.txt", 0o644)
            ]
        );
        assert_eq!(mode(&data.join("uploads/1/sub/a.txt")), 0o600);
        assert_eq!(mode(&data.join("uploads/1/sub")), 0o700);
        assert_eq!(mode(&data.join("models/m.gguf")), 0o644);
        assert_eq!(mode(outside.path()), 0o644, "links are not followed");
        assert_eq!(claim(data).unwrap(), []);
    }

    #[test]
    fn what_belongs_to_another_account_is_refused() {
        // `/proc` is root's, for whom another owner has to be made.
        let folder = tempfile::tempdir().unwrap();
        let foreign = folder.path().join("suite.db");
        fs::write(&foreign, "x").unwrap();
        let data = match std::os::unix::fs::chown(&foreign, Some(65534), None) {
            Ok(()) => folder.path(),
            Err(_) => Path::new("/proc"),
        };
        let error = claim(data).unwrap_err();
        assert!(matches!(error, PrivateError::Foreign { .. }), "{error}");
    }
}
