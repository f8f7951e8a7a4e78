//! Who owns the data directory: one process at a time, by an exclusive lock on `cloister.lock`.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::failure::{Failure, Outcome};

/// Held for as long as this process owns the data directory; the system releases it however the process ends.
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the data directory, creating it (mode 0700) where missing.
    ///
    /// # Errors
    /// Another owner, named by its process id, or a directory that cannot be written.
    pub fn acquire(data_dir: &Path) -> Outcome<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir)
            .map_err(|error| unwritable(data_dir, &error))?;
        let path = data_dir.join("cloister.lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| unwritable(data_dir, &error))?;
        if !rag::store::lock_soon(&file).map_err(|error| unwritable(data_dir, &error))? {
            let mut owner = String::new();
            // The number only helps; without it the message is still true.
            let _ = file.read_to_string(&mut owner);
            let owner = owner.trim();
            let owner = if owner.is_empty() {
                String::new()
            } else {
                format!(" (process {owner})")
            };
            return Err(Failure::config(format!("the data directory {} is in use by another cloister{owner}", data_dir.display()))
                .hint("wait for it to end; while `cloister serve` runs, other commands go through it as soon as it is ready"));
        }
        let id = std::process::id().to_string();
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(id.as_bytes()));
        written.map_err(|error| unwritable(data_dir, &error))?;
        Ok(DataLock { _file: file })
    }
}

fn unwritable(data_dir: &Path, error: &std::io::Error) -> Failure {
    Failure::config(format!(
        "cannot write to the data directory {}: {error}",
        data_dir.display()
    ))
    .hint("choose another with --data DIR or CLOISTER_DATA")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_until_the_first_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let first = DataLock::acquire(&data).unwrap();
        let refused = DataLock::acquire(&data).err().unwrap();
        assert!(
            refused
                .message
                .contains(&format!("process {}", std::process::id())),
            "{}",
            refused.message
        );
        drop(first);
        DataLock::acquire(&data).unwrap();
    }
}
