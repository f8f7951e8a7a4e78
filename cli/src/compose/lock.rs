//! Who owns the data directory: one process at a time, by an exclusive lock on `cloister.lock`.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rag::private::{PrivateError, Repaired, claim};

use crate::failure::{Failure, Outcome, chain};
use crate::output;

/// Held for as long as this process owns the data directory; the system releases it however the process ends.
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the data directory, creating it where missing and closing it to other accounts, which is said.
    ///
    /// # Errors
    /// Another owner, named by its process id, or a directory that cannot be written or belongs to another account.
    pub fn acquire(data_dir: &Path) -> Outcome<Self> {
        let repaired = claim(data_dir).map_err(|error| not_private(data_dir, &error))?;
        if let Some(sentence) = sentence(&repaired) {
            output::note(&sentence);
        }
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
    let failure = Failure::config(format!(
        "cannot write to the data directory {}: {error}",
        data_dir.display()
    ));
    match error.kind() {
        ErrorKind::StorageFull => failure.hint("make room on that disk and start again"),
        _ => failure.hint("choose another with --data DIR or CLOISTER_DATA"),
    }
}

fn not_private(data_dir: &Path, error: &PrivateError) -> Failure {
    match error {
        PrivateError::Foreign { owner, .. } => Failure::config(chain(error)).hint(format!(
            "run this as the account with the id {owner}, or give {} to the one that runs it with `chown -R`; \
             or choose another data directory with --data DIR",
            data_dir.display()
        )),
        PrivateError::Io { source, .. } => unwritable(data_dir, source),
    }
}

/// What was open to other accounts.
fn sentence(repaired: &[Repaired]) -> Option<String> {
    let (first, rest) = repaired.split_first()?;
    let more = match rest.len() {
        0 => String::new(),
        more => format!(" and {more} more below"),
    };
    Some(format!(
        "warning: other accounts of this machine could get at {} (mode {:o}){more}; now only this one can",
        first.path.display(),
        first.mode
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_was_open_is_closed_and_one_that_is_not_ours_is_refused() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(folder.path().join("suite.db"), "").unwrap();
        drop(DataLock::acquire(folder.path()).unwrap());
        for name in ["", "suite.db", "cloister.lock"] {
            let metadata = folder.path().join(name).metadata().unwrap();
            assert_eq!(metadata.mode() & 0o077, 0, "{name}");
        }
        // Root alone can make a directory of another account.
        let foreign = match chown(folder.path(), Some(65534), None) {
            Ok(()) => folder.path(),
            Err(_) => Path::new("/proc"),
        };
        let refused = DataLock::acquire(foreign).err().unwrap();
        assert!(
            refused.message.contains("belongs to another account"),
            "{}",
            refused.message
        );
        assert!(refused.hint.unwrap().contains("chown"));
    }

    #[test]
    fn what_was_open_is_one_sentence() {
        let repaired = |count| {
            let one = Repaired {
                path: "/data".into(),
                mode: 0o755,
            };
            vec![one; count]
        };
        assert_eq!(sentence(&[]), None);
        let one = sentence(&repaired(1)).unwrap();
        assert!(one.contains("/data (mode 755); now"), "{one}");
        assert!(sentence(&repaired(3)).unwrap().contains("and 2 more below"));
    }

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
