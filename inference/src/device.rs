//! Device selection and the size of the CPU compute pool.

use candle_core::Device;

use crate::{config::DeviceChoice, ops::pool};

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("this build has no CUDA support; use the CPU or build with the `cuda` feature")]
    NoCuda,
    #[error("CUDA device {index} cannot be opened: {source}")]
    Open {
        index: usize,
        source: Box<candle_core::Error>,
    },
    #[error(
        "{asked} threads were asked for, but the compute pool of this process already has {actual}"
    )]
    Threads { asked: usize, actual: usize },
}

/// Opens the chosen device.
///
/// # Errors
/// [`DeviceError::NoCuda`] or [`DeviceError::Open`]; never falls back to the CPU.
pub fn open(choice: &DeviceChoice) -> Result<Device, DeviceError> {
    match *choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        #[cfg(feature = "cuda")]
        DeviceChoice::Cuda(index) => Device::new_cuda(index).map_err(|source| DeviceError::Open {
            index,
            source: Box::new(source),
        }),
        #[cfg(not(feature = "cuda"))]
        DeviceChoice::Cuda(_) => Err(DeviceError::NoCuda),
    }
}

/// Sizes all thread pools of the process, candle's included, which compute what has no kernel of ours. Call it in `main`
/// before anything else; it has no effect once a model is loaded.
///
/// # Safety
/// No other thread may exist: candle reads its size from the process environment, which this writes.
pub unsafe fn set_cpu_threads(threads: usize) {
    // SAFETY: the caller promises that no other thread exists which could read the environment meanwhile.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", threads.to_string()) };
    // SAFETY: as above.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
    // Starts threads, so it comes last.
    pool::pool(Some(threads));
}

/// Freed memory up to this size stays with the process.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: libc::c_int = 256 << 20;

/// Tells the C library to keep freed memory for the next step. By default it gives results of some megabytes back to the
/// system at once, and the next step pays for the same pages again: a fifth of the time of a long prompt.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for parameter in [libc::M_TRIM_THRESHOLD, libc::M_MMAP_THRESHOLD] {
        // SAFETY: only sets a number in the allocator, under its lock; a value it does not take changes nothing.
        let taken = unsafe { libc::mallopt(parameter, KEPT_BYTES) };
        if taken == 0 {
            tracing::debug!(parameter, "the allocator keeps its own threshold");
        }
    }
}

/// Gives memory that was freed back to the system, once, after a model is loaded: what reading its file took is as large as
/// a small model, and never needed again.
pub fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: works on the allocator's own free memory, under its locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Returns the number of threads that compute.
pub fn cpu_threads() -> usize {
    pool::pool(None).threads()
}

/// Creates the compute pool with the size that was asked for, or checks that it has it.
///
/// # Errors
/// [`DeviceError::Threads`] when it was created with another size.
pub fn check_threads(asked: Option<usize>) -> Result<(), DeviceError> {
    match asked {
        Some(threads) if threads != pool::pool(asked).threads() => Err(DeviceError::Threads {
            asked: threads,
            actual: cpu_threads(),
        }),
        _ => Ok(()),
    }
}
