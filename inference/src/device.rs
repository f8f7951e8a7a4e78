//! Device selection and the size of the CPU compute pool.

use std::sync::Once;

use candle_core::{Device, DeviceLocation};

#[cfg(feature = "cuda")]
use crate::gpu_driver::GpuDriver;
use crate::{config::DeviceChoice, gpu_driver::DriverProblem, ops::pool};

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("this build has no CUDA support; use the CPU or build with the `cuda` feature")]
    NoCuda,
    #[error("CUDA device {index} cannot be used: {reason}")]
    Driver { index: usize, reason: DriverProblem },
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

/// Whether this build can use CUDA devices at all.
pub const HAS_CUDA: bool = cfg!(feature = "cuda");

/// Opens the chosen device. [`DeviceChoice::Auto`] warns once a process when it takes the CPU, with the reason.
///
/// # Errors
/// A [`DeviceError`] that says why the device cannot be used; only `Auto` goes on with the CPU.
pub fn open(choice: &DeviceChoice) -> Result<Device, DeviceError> {
    match *choice {
        DeviceChoice::Cpu => Ok(Device::Cpu),
        DeviceChoice::Cuda(index) => open_cuda(index),
        DeviceChoice::Auto => Ok(open_cuda(0).unwrap_or_else(|reason| {
            static WARNED: Once = Once::new();
            WARNED.call_once(|| tracing::warn!("computing on the CPU: {reason}"));
            Device::Cpu
        })),
    }
}

/// Opens the chosen device and returns what people call it.
///
/// # Errors
/// As of [`open`].
pub fn describe(choice: &DeviceChoice) -> Result<String, DeviceError> {
    open(choice).map(|device| name(&device))
}

/// Returns what people call a device.
pub fn name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => format!("CPU, {} threads", cpu_threads()),
        DeviceLocation::Cuda { gpu_id } => format!("CUDA {gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("Metal {gpu_id}"),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_: usize) -> Result<Device, DeviceError> {
    Err(DeviceError::NoCuda)
}

#[cfg(feature = "cuda")]
fn open_cuda(index: usize) -> Result<Device, DeviceError> {
    // Where the system tells what is wrong, its reason is clearer than the number that CUDA gives.
    Device::new_cuda(index).map_err(
        |source| match GpuDriver::problem(GpuDriver::find().as_ref()) {
            Some(reason) => DeviceError::Driver { index, reason },
            None => DeviceError::Open {
                index,
                source: Box::new(source),
            },
        },
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn pitfall_24_a_build_without_cuda_says_so_and_only_auto_takes_the_cpu() {
        let error = open(&DeviceChoice::Cuda(0)).unwrap_err().to_string();
        assert!(error.contains("no CUDA support"), "{error}");
        assert!(open(&DeviceChoice::Auto).unwrap().is_cpu());
        assert!(describe(&DeviceChoice::Cpu).unwrap().starts_with("CPU, "));
    }
}
