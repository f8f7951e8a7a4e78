//! Files beneath the paths that were given, opened without following a link.
//!
//! Whoever may write to an ingested folder may put a symbolic link in the place of a file or folder at any moment, and
//! this process may be able to read what they are not. So a folder is opened once, when it is listed, and everything
//! below it is opened from that descriptor: by `openat2`, or component by component where the kernel (before Linux 5.6)
//! or a container refuses that call. What was opened is what is hashed and what is extracted.
//!
//! Hard links are beyond this: Linux refuses them to people who may not write to the file (`fs.protected_hardlinks`).

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Flags of a folder that is only passed through.
const FOLDER: libc::c_int = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
/// Flags of a file to read: a FIFO or a device neither blocks nor becomes the controlling terminal.
const READ: libc::c_int = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;

/// A folder that was opened when it was listed.
#[derive(Debug, Clone)]
pub(super) struct Root {
    folder: Arc<File>,
}

/// A regular file beneath a root.
#[derive(Debug, Clone)]
pub(super) struct Source {
    root: Root,
    relative: PathBuf,
}

impl Root {
    /// Opens a folder by its canonical path: links in it were resolved, and a new one is not followed.
    pub(super) fn open(canonical: &Path) -> io::Result<Self> {
        let top = File::open("/")?;
        let relative = canonical.strip_prefix("/").unwrap_or(canonical);
        let folder = if relative.as_os_str().is_empty() {
            top
        } else {
            open_beneath(&top, relative, FOLDER)?
        };
        Ok(Self {
            folder: Arc::new(folder),
        })
    }

    /// The file at a path of plain components below the folder.
    pub(super) fn source(&self, relative: PathBuf) -> Source {
        Source {
            root: self.clone(),
            relative,
        }
    }
}

impl Source {
    /// Opens the file for reading.
    ///
    /// # Errors
    /// A component that is a link now, a file that is not regular, and what the system says otherwise.
    pub(super) fn open(&self) -> io::Result<File> {
        let file = open_beneath(&self.root.folder, &self.relative, READ)?;
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::other("it is not a regular file"))
        }
    }
}

/// What the failure to open a file means, for the report.
pub(super) fn unreadable(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ELOOP) => {
            "it is a symbolic link now, or a folder above it is; links are not followed".to_owned()
        }
        _ if error.kind() == io::ErrorKind::NotFound => {
            "the file went away while it was read; run the ingestion again".to_owned()
        }
        _ if error.kind() == io::ErrorKind::FileTooLarge => error.to_string(),
        _ => format!("the file cannot be read ({error}); check its permissions"),
    }
}

fn open_beneath(folder: &File, relative: &Path, flags: libc::c_int) -> io::Result<File> {
    match open_by_one_call(folder, relative, flags) {
        // No such call in this kernel, or a container's filter of system calls that does not know it.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            open_by_components(folder, relative, flags)
        }
        opened => opened,
    }
}

fn open_by_one_call(folder: &File, relative: &Path, flags: libc::c_int) -> io::Result<File> {
    let path = c_string(relative)?;
    // SAFETY: an `open_how` is plain numbers, for which zero is a value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::try_from(flags).map_err(io::Error::other)?;
    how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS;
    // SAFETY: path and `how` live across the call, which reads them only.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            folder.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    owned(RawFd::try_from(descriptor).map_err(io::Error::other)?)
}

fn open_by_components(folder: &File, relative: &Path, flags: libc::c_int) -> io::Result<File> {
    let mut components = relative.components().peekable();
    let mut folder = folder.try_clone()?;
    while let Some(component) = components.next() {
        let Component::Normal(name) = component else {
            return Err(io::Error::from_raw_os_error(libc::EXDEV));
        };
        let is_last = components.peek().is_none();
        let flags = if is_last { flags } else { FOLDER };
        let opened = open_no_link(&folder, Path::new(name), flags);
        folder = opened.map_err(|error| match error.raw_os_error() {
            // What the one call says of the same thing.
            Some(libc::ENOTDIR) if is_link(&folder, Path::new(name)) => {
                io::Error::from_raw_os_error(libc::ELOOP)
            }
            _ => error,
        })?;
        if is_last {
            return Ok(folder);
        }
    }
    Err(io::Error::from_raw_os_error(libc::ENOENT))
}

fn open_no_link(folder: &File, name: &Path, flags: libc::c_int) -> io::Result<File> {
    let name = c_string(name)?;
    // SAFETY: the name lives across the call, which reads it only.
    owned(unsafe { libc::openat(folder.as_raw_fd(), name.as_ptr(), flags | libc::O_NOFOLLOW) })
}

/// Only for the message: the decision was the kernel's.
fn is_link(folder: &File, name: &Path) -> bool {
    open_no_link(folder, name, libc::O_PATH | libc::O_CLOEXEC)
        .and_then(|found| found.metadata())
        .is_ok_and(|metadata| metadata.is_symlink())
}

/// The descriptor that a call returned, or why it returned none.
fn owned(descriptor: RawFd) -> io::Result<File> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call that returned it gave it to nobody else.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

fn c_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    type Open = fn(&File, &Path, libc::c_int) -> io::Result<File>;

    /// Both ways to open must agree in everything.
    const WAYS: [(&str, Open); 2] = [
        ("one call", open_by_one_call),
        ("components", open_by_components),
    ];

    fn read(open: Open, root: &Path, relative: &str) -> Result<String, Option<i32>> {
        let folder = File::open(root).unwrap();
        let opened = open(&folder, Path::new(relative), READ);
        let mut file = opened.map_err(|error| error.raw_os_error())?;
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        Ok(text)
    }

    #[test]
    fn files_below_are_opened_and_links_and_ways_out_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("sub/deep")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(root.join("sub/deep/a.txt"), "a").unwrap();
        fs::write(root.join("b.txt"), "b").unwrap();
        fs::write(outside.join("secret.txt"), "secret").unwrap();
        symlink(outside.join("secret.txt"), root.join("link.txt")).unwrap();
        symlink("b.txt", root.join("inner.txt")).unwrap();
        symlink(&outside, root.join("folder")).unwrap();
        symlink("sub", root.join("inner")).unwrap();
        let cases = [
            ("sub/deep/a.txt", Ok("a")),
            ("b.txt", Ok("b")),
            ("link.txt", Err(libc::ELOOP)),
            ("inner.txt", Err(libc::ELOOP)),
            ("folder/secret.txt", Err(libc::ELOOP)),
            ("inner/deep/a.txt", Err(libc::ELOOP)),
            ("../outside/secret.txt", Err(libc::EXDEV)),
            ("missing.txt", Err(libc::ENOENT)),
            ("missing/a.txt", Err(libc::ENOENT)),
            ("b.txt/c.txt", Err(libc::ENOTDIR)),
            ("", Err(libc::ENOENT)),
        ];
        for (way, open) in WAYS {
            for (relative, expected) in cases {
                let found = read(open, &root, relative);
                let expected = expected.map(str::to_owned).map_err(Some);
                assert_eq!(found, expected, "{relative:?} by {way}");
            }
        }
    }

    #[test]
    fn a_root_stays_the_folder_it_was_and_only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let (given, moved, outside) =
            (base.join("given"), base.join("moved"), base.join("outside"));
        fs::create_dir(&given).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(given.join("a.txt"), "ours").unwrap();
        fs::write(outside.join("a.txt"), "secret").unwrap();
        let root = Root::open(&given).unwrap();
        fs::rename(&given, &moved).unwrap();
        symlink(&outside, &given).unwrap();
        let mut text = String::new();
        let source = root.source("a.txt".into());
        source.open().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "ours");
        let refused = Root::open(&given).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ELOOP));

        let _socket = std::os::unix::net::UnixListener::bind(moved.join("s.txt")).unwrap();
        fs::create_dir(moved.join("d.txt")).unwrap();
        for name in ["s.txt", "d.txt"] {
            assert!(root.source(name.into()).open().is_err(), "{name}");
        }
    }
}
