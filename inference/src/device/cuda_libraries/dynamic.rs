//! Libraries that are opened while the program runs, and the addresses of their functions.

use std::ffi::{CStr, CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::{DRIVER_LIBRARY, FOLDER, LibraryProblem};

/// A function that is defined here and elsewhere.
pub struct Jump {
    pub function: &'static CStr,
    /// Where the function here goes on.
    pub target: &'static AtomicPtr<c_void>,
}

/// Functions of one library.
pub struct Library {
    /// Its file, with the version.
    pub name: &'static str,
    pub jumps: &'static [Jump],
}

impl Library {
    /// Opens the library and lets all its jumps go there. It stays open: nothing could tell when the last call has returned.
    ///
    /// `program`: the file of this program, beside which [`FOLDER`] may be.
    ///
    /// # Errors
    /// A [`LibraryProblem`] when the library does not open or lacks a function.
    pub fn connect(&self, program: Option<&Path>) -> Result<(), LibraryProblem> {
        let handle = open_library(&place(self.name, program)).map_err(|reason| {
            let library = self.name;
            match library {
                DRIVER_LIBRARY => LibraryProblem::NoDriverLibrary { reason },
                _ => LibraryProblem::NoLibrary { library, reason },
            }
        })?;
        for jump in self.jumps {
            // SAFETY: the handle is of a library that stays open; the name ends with a zero byte.
            let found = unsafe { libc::dlsym(handle.as_ptr(), jump.function.as_ptr()) };
            if found.is_null() {
                return Err(LibraryProblem::NoFunction {
                    library: self.name,
                    function: jump.function.to_string_lossy().into_owned(),
                });
            }
            jump.target.store(found, Ordering::Release);
        }
        Ok(())
    }
}

/// Returns what to open for a library: its file in [`FOLDER`] beside the program where there is one, else its name, which the
/// system looks for (`LD_LIBRARY_PATH`, then where libraries are installed).
fn place(library: &str, program: Option<&Path>) -> PathBuf {
    let beside = program
        .and_then(Path::parent)
        .map(|folder| folder.join(FOLDER).join(library));
    match beside {
        Some(file) if library != DRIVER_LIBRARY && file.exists() => file,
        _ => PathBuf::from(library),
    }
}

/// Opens a library, or returns the system's reason why not.
fn open_library(file: &Path) -> Result<NonNull<c_void>, String> {
    let name = CString::new(file.as_os_str().as_bytes())
        .map_err(|_| "its path contains a zero byte".to_owned())?;
    // SAFETY: the name ends with a zero byte. What a library of CUDA does when it is opened is as for a program that needs it.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    NonNull::new(handle).ok_or_else(last_error)
}

fn last_error() -> String {
    // SAFETY: returns this thread's own message, which lives until its next call of these functions.
    let message = unsafe { libc::dlerror() };
    if message.is_null() {
        return "the system gives no reason".to_owned();
    }
    // SAFETY: not null, so it is a message that ends with a zero byte.
    let message = unsafe { CStr::from_ptr(message) };
    message.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nowhere() -> *mut c_void {
        std::ptr::null_mut()
    }

    #[test]
    fn libraries_come_from_the_folder_beside_the_program_but_the_drivers_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("cloister");
        let beside = folder.path().join(FOLDER);
        let place = |library: &str| place(library, Some(&program));
        assert_eq!(place("libcublas.so.13"), Path::new("libcublas.so.13"));
        std::fs::create_dir(&beside).unwrap();
        for library in ["libcublas.so.13", DRIVER_LIBRARY] {
            std::fs::write(beside.join(library), "").unwrap();
        }
        assert_eq!(place("libcublas.so.13"), beside.join("libcublas.so.13"));
        assert_eq!(place(DRIVER_LIBRARY), Path::new(DRIVER_LIBRARY));
        assert_eq!(super::place("a.so", None), Path::new("a.so"));
    }

    #[test]
    fn a_missing_library_is_named_with_the_way_out() {
        let connect = |name| Library { name, jumps: &[] }.connect(None).unwrap_err();
        let problem = connect("libno-such-library.so.13").to_string();
        for part in [
            "libno-such-library.so.13 cannot be opened",
            "No such file",
            "cuda-toolchain libraries",
        ] {
            assert!(problem.contains(part), "{problem}");
        }
        let problem = LibraryProblem::NoDriverLibrary {
            reason: "no such file".to_owned(),
        };
        assert!(problem.to_string().contains("--gpus all"), "{problem}");
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn jumps_lead_to_the_librarys_functions_and_a_missing_one_is_named() {
        static FOUND: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
        static MISSED: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
        const JUMPS: [Jump; 2] = [
            Jump {
                function: c"strlen",
                target: &FOUND,
            },
            Jump {
                function: c"no_such_function",
                target: &MISSED,
            },
        ];
        let problem = Library {
            name: "libc.so.6",
            jumps: &JUMPS,
        }
        .connect(None)
        .unwrap_err();
        assert_eq!(
            problem,
            LibraryProblem::NoFunction {
                library: "libc.so.6",
                function: "no_such_function".to_owned()
            }
        );
        assert_ne!(FOUND.load(Ordering::Acquire), nowhere());
        assert_eq!(MISSED.load(Ordering::Acquire), nowhere());
    }
}
