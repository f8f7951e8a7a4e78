//! Our kernels, compiled into the program for one compute capability (see `build.rs`), and how they are launched.

use std::{collections::HashMap, ffi::c_void, sync::Arc};

use candle_core::{
    CudaDevice, Result,
    cuda_backend::{
        WrapErr,
        cudarc::{
            driver::{CudaFunction, CudaModule, CudaStream, sys},
            nvrtc::Ptx,
        },
    },
};

// `MODULES`: each source's name and kernels, empty where the compute capability has none.
include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// Most bytes of shared memory of a launch that has not asked for more.
const PLAIN_SHARED: usize = 48 << 10;

/// All kernels by name.
#[derive(Debug)]
pub struct Kernels {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    /// Those that are built for this compute capability.
    modules: HashMap<&'static str, Arc<CudaModule>>,
    functions: HashMap<String, CudaFunction>,
    /// Whether a kernel is set up while the one before ends. Kernels wait by themselves before they read what that one wrote.
    pub early_start: bool,
}

/// How a kernel is launched.
#[derive(Debug, Clone, Copy)]
pub struct Launch {
    pub grid: [usize; 3],
    pub threads: usize,
    /// Bytes of shared memory beside what the kernel declares.
    pub shared: usize,
}

impl Launch {
    pub fn new(grid: [usize; 3], threads: usize) -> Self {
        Self {
            grid,
            threads,
            shared: 0,
        }
    }
}

impl Kernels {
    /// Loads all kernels, so that none is loaded within a step.
    ///
    /// # Errors
    /// A candle error when the device is of another compute capability than the program was built for.
    pub fn load(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        let context = stream.context();
        let modules = MODULES
            .iter()
            .filter(|(_, image)| !image.is_empty())
            .map(|(name, image)| {
                let module = context.load_module(Ptx::from_binary(image.to_vec())).map_err(|error| {
                    candle_core::Error::Msg(format!(
                        "the kernels of {name} do not load ({error}): this program was built for compute capability {}",
                        env!("CLOISTER_COMPUTE_CAP")
                    ))
                });
                Ok((*name, module?))
            })
            .collect::<Result<_>>()?;
        let capability = context.compute_capability().w()?;
        Ok(Self {
            device: device.clone(),
            stream,
            modules,
            functions: HashMap::new(),
            early_start: capability.0 >= 9,
        })
    }

    pub fn device(&self) -> &CudaDevice {
        &self.device
    }

    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Makes a kernel of a module (the name of its source) ready, and lets it have `shared` bytes of shared memory.
    ///
    /// # Errors
    /// A candle error when there is no such kernel or the device has less shared memory.
    pub fn find(&mut self, module: &str, name: &str, shared: usize) -> Result<()> {
        if self.functions.contains_key(name) {
            return Ok(());
        }
        let Some(module) = self.modules.get(module) else {
            candle_core::bail!("no module {module} for the kernel {name}");
        };
        let function = module.load_function(name).w()?;
        if shared > PLAIN_SHARED {
            let attribute =
                sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(attribute, shared as i32).w()?;
        }
        self.functions.insert(name.to_owned(), function);
        Ok(())
    }

    /// Whether a module is built for this compute capability.
    pub fn has_module(&self, module: &str) -> bool {
        self.modules.contains_key(module)
    }

    /// Launches a kernel with its one structure of arguments, of the same layout as in its source.
    ///
    /// # Errors
    /// A candle error when the launch is refused; what goes wrong while it runs shows at the next wait.
    pub fn launch<A: Copy>(&self, name: &str, launch: Launch, arguments: &A) -> Result<()> {
        if launch.grid.contains(&0) {
            return Ok(());
        }
        let Some(function) = self.functions.get(name) else {
            candle_core::bail!("the kernel {name} was not made ready");
        };
        let mut early = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue {
                programmaticStreamSerializationAllowed: 1,
            },
        };
        let [x, y, z] = launch.grid.map(|size| size as u32);
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: launch.threads as u32,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: launch.shared as u32,
            hStream: self.stream.cu_stream(),
            attrs: &raw mut early,
            numAttrs: u32::from(self.early_start),
        };
        let mut parameters = [(&raw const *arguments).cast_mut().cast::<c_void>()];
        // SAFETY: the structure is the kernel's only parameter, and copied before this returns.
        unsafe {
            sys::cuLaunchKernelEx(
                &raw const config,
                function.cu_function(),
                parameters.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        }
        .result()
        .w()
    }
}
