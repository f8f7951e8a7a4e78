//! The functions of CUDA's libraries that candle calls and the few that we do, each a jump to where [`open`] found it.
//!
//! A function that is missing here shows when the feature is checked: the linker takes it from the library, and the program needs
//! that library to start. A function more costs 24 bytes, but a library that lacks it is refused.

use std::arch::naked_asm;
use std::ffi::c_void;
use std::sync::{OnceLock, atomic::AtomicPtr};

use super::LibraryProblem;
use super::dynamic::{Jump, Library};

/// Opens the libraries, once in a process.
///
/// # Errors
/// The [`LibraryProblem`] of the first that cannot be used; the driver's is the first.
pub fn open() -> Result<(), LibraryProblem> {
    static OPENED: OnceLock<Result<(), LibraryProblem>> = OnceLock::new();
    OPENED
        .get_or_init(|| {
            let program = std::env::current_exe().ok();
            LIBRARIES
                .iter()
                .try_for_each(|library| library.connect(program.as_deref()))
        })
        .clone()
}

/// Where every jump leads before its library is open.
extern "C" fn not_open() {
    // Its caller is foreign to panics, so this ends the program, which is right: there is nothing to return.
    panic!("a function of CUDA was called before its library was opened");
}

/// Defines a jump for each function: `target` is its address in memory, and the function itself only goes there, so that
/// arguments and stack stay as its caller left them, whatever they are.
macro_rules! libraries {
    ($($library:literal: $($function:ident)*;)*) => {
        mod targets {
            use super::{AtomicPtr, c_void, not_open};
            $($(
                #[allow(non_upper_case_globals)] // named as the function
                pub static $function: AtomicPtr<c_void> = AtomicPtr::new(not_open as *mut c_void);
            )*)*
        }

        $($(
            #[allow(non_snake_case)] // named as candle calls it
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            extern "C" fn $function() {
                jump_to!(targets::$function)
            }
        )*)*

        const LIBRARIES: &[Library] = &[$(Library {
            name: $library,
            jumps: &[$(Jump {
                function: match std::ffi::CStr::from_bytes_with_nul(concat!(stringify!($function), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!("a name without a zero byte"),
                },
                target: &targets::$function,
            }),*],
        }),*];
    };
}

#[cfg(target_arch = "x86_64")]
macro_rules! jump_to {
    ($target:path) => {
        naked_asm!("jmp qword ptr [rip + {target}]", target = sym $target)
    };
}

/// `x16` is the register that calls between libraries may change.
#[cfg(target_arch = "aarch64")]
macro_rules! jump_to {
    ($target:path) => {
        naked_asm!(
            "adrp x16, {target}",
            "ldr x16, [x16, :lo12:{target}]",
            "br x16",
            target = sym $target,
        )
    };
}

// The runtime that candle's kernels are compiled for. Whole, because the linker would look into it before it meets them.
#[link(
    name = "cudart_static",
    kind = "static",
    modifiers = "+whole-archive,-bundle"
)]
unsafe extern "C" {}

libraries! {
    "libcuda.so.1":
        cuCtxDestroy_v2 cuCtxGetCurrent cuCtxSetCurrent cuCtxSynchronize cuDeviceGet cuDeviceGetAttribute cuDeviceGetCount cuDeviceGetName
        cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRetain cuEventCreate cuEventDestroy_v2 cuEventRecord cuEventSynchronize cuFuncSetAttribute
        cuGetErrorString cuGraphDestroy cuGraphExecDestroy cuGraphInstantiateWithFlags cuGraphLaunch cuInit cuLaunchKernel
        cuLaunchKernelEx
        cuMemAllocAsync cuMemAlloc_v2 cuMemFreeAsync cuMemFree_v2 cuMemFreeHost cuMemGetInfo_v2 cuMemHostAlloc cuMemcpyDtoDAsync_v2 cuMemcpyDtoHAsync_v2
        cuMemcpyHtoDAsync_v2 cuMemcpyPeerAsync cuMemsetD8Async cuModuleGetFunction cuModuleLoad cuModuleLoadData
        cuModuleUnload cuStreamBeginCapture_v2 cuStreamCreate cuStreamDestroy_v2 cuStreamEndCapture cuStreamIsCapturing cuStreamSynchronize cuStreamWaitEvent;
    "libcublas.so.13":
        cublasCreate_v2 cublasDestroy_v2 cublasDgemmStridedBatched cublasGemmEx cublasGemmStridedBatchedEx
        cublasSetStream_v2 cublasSetWorkspace_v2;
    "libcurand.so.10":
        curandCreateGenerator curandDestroyGenerator curandSetPseudoRandomGeneratorSeed curandSetStream;
}
