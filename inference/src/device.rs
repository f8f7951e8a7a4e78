//! Device selection and the size of the CPU compute pool.

use std::sync::Once;

#[cfg(feature = "cuda")]
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError};
use candle_core::{Device, DeviceLocation};

#[cfg(feature = "cuda")]
use crate::gpu_driver::GpuDriver;
use crate::{config::DeviceChoice, gpu_driver::DriverProblem, ops::pool};

mod cuda_libraries;

pub use cuda_libraries::LibraryProblem;

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("this build has no CUDA support; use the CPU or build with the `cuda` feature")]
    NoCuda,
    #[error("CUDA device {index} cannot be used: {reason}")]
    Driver { index: usize, reason: DriverProblem },
    #[error("CUDA device {index} cannot be used: {reason}")]
    Library {
        index: usize,
        reason: LibraryProblem,
    },
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

/// The compute capability whose machine code a CUDA build has, for example `90`; later cards compile its kernels when they load them.
pub const BUILT_FOR: Option<&str> = option_env!("CLOISTER_COMPUTE_CAP");

/// A card as CUDA sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CudaCard {
    /// Of `--device cuda:N`.
    pub index: usize,
    pub name: String,
    /// Major and minor.
    pub capability: (i32, i32),
    pub total_bytes: u64,
    pub free_bytes: u64,
}

/// Returns the cards that CUDA sees, each with what it says or why it cannot be used. Takes some hundred MB of each meanwhile.
///
/// # Errors
/// A [`DeviceError`] when there is no CUDA to ask.
#[cfg(not(feature = "cuda"))]
pub fn cuda_cards() -> Result<Vec<Result<CudaCard, DeviceError>>, DeviceError> {
    Err(DeviceError::NoCuda)
}

/// Returns the cards that CUDA sees, each with what it says or why it cannot be used. Takes some hundred MB of each meanwhile.
///
/// # Errors
/// A [`DeviceError`] when there is no CUDA to ask.
#[cfg(feature = "cuda")]
pub fn cuda_cards() -> Result<Vec<Result<CudaCard, DeviceError>>, DeviceError> {
    let problem = GpuDriver::problem(GpuDriver::find().as_ref());
    ready(0, problem.as_ref(), cuda_libraries::open)?;
    let count = CudaContext::device_count().map_err(|error| refused(0, error))?;
    let cards = 0..usize::try_from(count).unwrap_or(0);
    let look = |index| look_at(index).map_err(|error| refused(index, error));
    Ok(cards.map(look).collect())
}

#[cfg(feature = "cuda")]
fn look_at(index: usize) -> Result<CudaCard, DriverError> {
    let card = CudaContext::new(index)?;
    let (free, total) = card.mem_get_info()?;
    Ok(CudaCard {
        index,
        name: card.name()?,
        capability: card.compute_capability()?,
        total_bytes: total as u64,
        free_bytes: free as u64,
    })
}

#[cfg(feature = "cuda")]
fn refused(index: usize, error: DriverError) -> DeviceError {
    DeviceError::Open {
        index,
        source: Box::new(candle_core::Error::wrap(error)),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_: usize) -> Result<Device, DeviceError> {
    Err(DeviceError::NoCuda)
}

#[cfg(feature = "cuda")]
fn open_cuda(index: usize) -> Result<Device, DeviceError> {
    let problem = GpuDriver::problem(GpuDriver::find().as_ref());
    ready(index, problem.as_ref(), cuda_libraries::open)?;
    // Where the system tells what is wrong, its reason is clearer than the number that CUDA gives.
    let device = Device::new_cuda_with_stream(index).map_err(|source| match problem {
        Some(reason) => DeviceError::Driver { index, reason },
        None => DeviceError::Open {
            index,
            source: Box::new(source),
        },
    })?;
    if let Device::Cuda(cuda) = &device {
        // SAFETY: everything runs on this one stream, in the order in which it was launched.
        unsafe { cuda.disable_event_tracking() };
    }
    Ok(device)
}

/// Returns whether CUDA can be called: the driver has no known problem, and the libraries open. Asks for the driver first, whose
/// absence is the reason when its library is missing too.
///
/// A driver that the system does not show may be there all the same (Windows' in its Linux subsystem), so its library decides.
///
/// # Errors
/// [`DeviceError::Driver`] or [`DeviceError::Library`].
#[cfg(any(test, feature = "cuda"))]
fn ready(
    index: usize,
    problem: Option<&DriverProblem>,
    open_libraries: impl FnOnce() -> Result<(), LibraryProblem>,
) -> Result<(), DeviceError> {
    let refused = |reason: &DriverProblem| DeviceError::Driver {
        index,
        reason: reason.clone(),
    };
    match problem {
        Some(known @ (DriverProblem::OldDriver { .. } | DriverProblem::NoCard { .. })) => {
            return Err(refused(known));
        }
        Some(DriverProblem::NoDriver) | None => {}
    }
    open_libraries().map_err(|reason| match (problem, reason) {
        (Some(problem), LibraryProblem::NoDriverLibrary { .. }) => refused(problem),
        (_, reason) => DeviceError::Library { index, reason },
    })
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

    /// Returns the message about a device, or an empty one when CUDA would be called.
    fn refusal(problem: Option<DriverProblem>, libraries: Result<(), LibraryProblem>) -> String {
        ready(3, problem.as_ref(), || libraries)
            .err()
            .map_or_else(String::new, |error| error.to_string())
    }

    fn missing(library: &'static str) -> Result<(), LibraryProblem> {
        let reason = format!("{library}: cannot open shared object file");
        Err(match library {
            "libcuda.so.1" => LibraryProblem::NoDriverLibrary { reason },
            _ => LibraryProblem::NoLibrary { library, reason },
        })
    }

    #[test]
    fn a_device_that_cannot_be_used_says_why_before_cuda_is_called() {
        let version = || "535.183.01".to_owned();
        let old = Some(DriverProblem::OldDriver { version: version() });
        let no_card = Some(DriverProblem::NoCard { version: version() });
        let no_driver = Some(DriverProblem::NoDriver);
        for (problem, libraries, told) in [
            (old, missing("libcuda.so.1"), "driver is version 535.183.01"),
            (no_card, Ok(()), "sees no card"),
            (
                no_driver.clone(),
                missing("libcuda.so.1"),
                "no NVIDIA driver loaded",
            ),
            (
                no_driver.clone(),
                missing("libcublas.so.13"),
                "libcublas.so.13 cannot be opened",
            ),
            (None, missing("libcuda.so.1"), "--gpus all"),
            (None, missing("libcurand.so.10"), "cuda-toolchain libraries"),
        ] {
            let message = refusal(problem, libraries);
            assert!(
                message.starts_with("CUDA device 3 cannot be used: ") && message.contains(told),
                "{told}: {message}"
            );
        }
        assert_eq!(refusal(None, Ok(())), "");
        // A driver that only its library shows.
        assert_eq!(refusal(no_driver, Ok(())), "");
    }

    #[test]
    fn libraries_are_not_opened_for_a_driver_that_is_too_old() {
        let version = "535.183.01".to_owned();
        let old = DriverProblem::OldDriver { version };
        let opened = || panic!("opened");
        assert!(ready(0, Some(&old), opened).is_err());
    }
}
