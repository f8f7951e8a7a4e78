//! CUDA's libraries, opened when a GPU is asked for rather than when the program starts, so that one program serves machines
//! with and without a driver.
//!
//! candle is linked with these libraries by name, and a system does not start a program that needs a library it lacks. So the
//! functions that candle calls are defined here, as *jumps* to addresses that [`open`] fills in. The linker meets them first
//! and takes nothing from the libraries, which then are not among those that the program needs.
//!
//! Invariants:
//! - the program needs no library of CUDA to start: `scripts/cuda-toolchain feature` checks it, and fails when a new version of
//!   candle calls a function that is not in `functions.rs`;
//! - no jump is taken before [`open`] has succeeded: [`super::open`] is the only way to a CUDA device.
//!
//! The CUDA runtime is part of the program (`libcudart_static.a`), because candle's kernels register themselves with it before
//! `main`. Absent on purpose: NVRTC, which compiles kernels at run time; nothing here does.

#[cfg(any(test, feature = "cuda"))]
mod dynamic;
#[cfg(feature = "cuda")]
mod functions;

#[cfg(feature = "cuda")]
pub use functions::open;

/// A folder beside the program where libraries are looked for first.
const FOLDER: &str = "cuda";

/// Comes with the driver and must be of its version, so it is never taken from [`FOLDER`].
const DRIVER_LIBRARY: &str = "libcuda.so.1";

/// Why the libraries of CUDA cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LibraryProblem {
    #[error(
        "the driver's library {DRIVER_LIBRARY} cannot be opened ({reason}); install the driver's libraries too, and start \
         containers with `--gpus all`"
    )]
    NoDriverLibrary { reason: String },
    #[error(
        "{library} cannot be opened ({reason}); install the libraries of CUDA 13, or put them into a folder `{FOLDER}` beside \
         the program with `scripts/cuda-toolchain libraries`"
    )]
    NoLibrary {
        library: &'static str,
        reason: String,
    },
    #[error("{library} lacks the function `{function}`; the libraries of CUDA 13 are needed")]
    NoFunction {
        library: &'static str,
        function: String,
    },
}
