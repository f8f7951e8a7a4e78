//! Memory of the device: buffers whose places a captured step relies on, and pinned memory of the host.

use candle_core::{
    CudaDevice, Result, Storage, Tensor,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DeviceRepr, PinnedHostSlice, sys},
    },
};
use half::{bf16, f16};

use super::arguments::Address;

/// Memory on the device, of bytes.
#[derive(Debug)]
pub struct Buffer {
    /// Frees the memory.
    _slice: CudaSlice<u8>,
    address: Address,
}

impl Buffer {
    /// Allocates zeros.
    pub fn zeros(device: &CudaDevice, bytes: usize) -> Result<Self> {
        Self::new(device.alloc_zeros::<u8>(bytes.max(16))?)
    }

    /// Allocates memory that is written before it is read.
    pub fn uninitialised(device: &CudaDevice, bytes: usize) -> Result<Self> {
        // SAFETY: what it is for writes it first.
        Self::new(unsafe { device.alloc::<u8>(bytes.max(16))? })
    }

    /// Copies bytes to the device.
    pub fn of(device: &CudaDevice, bytes: &[u8]) -> Result<Self> {
        Self::new(device.clone_htod(bytes)?)
    }

    fn new(slice: CudaSlice<u8>) -> Result<Self> {
        let stream = slice.stream().clone();
        let address = slice.device_ptr(&stream).0;
        Ok(Self {
            _slice: slice,
            address,
        })
    }

    pub fn address(&self) -> Address {
        self.address
    }
}

/// Returns where a tensor on the device begins.
///
/// # Errors
/// A candle error for a tensor elsewhere, of another type, or with gaps.
pub fn address_of(tensor: &Tensor) -> Result<Address> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else {
        candle_core::bail!("a tensor on the device is needed");
    };
    if !layout.is_contiguous() {
        candle_core::bail!("a tensor without gaps is needed");
    }
    let size = tensor.dtype().size_in_bytes();
    let base = match tensor.dtype() {
        candle_core::DType::F32 => start(storage.as_cuda_slice::<f32>()?),
        candle_core::DType::F16 => start(storage.as_cuda_slice::<f16>()?),
        candle_core::DType::BF16 => start(storage.as_cuda_slice::<bf16>()?),
        candle_core::DType::U8 => start(storage.as_cuda_slice::<u8>()?),
        other => candle_core::bail!("a tensor of {other:?} has no kernel"),
    };
    Ok(base + (layout.start_offset() * size) as Address)
}

fn start<T: DeviceRepr>(slice: &CudaSlice<T>) -> Address {
    let stream = slice.stream().clone();
    slice.device_ptr(&stream).0
}

/// Memory of the host that the device reads and writes by itself.
#[derive(Debug)]
pub struct Pinned<T>(PinnedHostSlice<T>);

impl<
    T: DeviceRepr + bytemuck::Zeroable + candle_core::cuda_backend::cudarc::driver::ValidAsZeroBits,
> Pinned<T>
{
    pub fn new(stream: &CudaStream, len: usize) -> Result<Self> {
        // SAFETY: filled below.
        let mut slice =
            unsafe { stream.context().alloc_pinned_with_flags::<T>(len.max(1), 0) }.w()?;
        slice.as_mut_slice().w()?.fill_with(T::zeroed);
        Ok(Self(slice))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Waits for copies that use it.
    pub fn as_slice(&self) -> Result<&[T]> {
        self.0.as_slice().w()
    }

    /// Waits for copies that use it.
    pub fn as_mut_slice(&mut self) -> Result<&mut [T]> {
        self.0.as_mut_slice().w()
    }
}

/// Copies `values` to the device, after what was launched before.
pub fn upload<T>(stream: &CudaStream, values: &[T], to: Address) -> Result<()> {
    // SAFETY: the buffers are as long, by their owner's arithmetic; the stream's copies end before the memory is reused.
    unsafe {
        sys::cuMemcpyHtoDAsync_v2(
            to,
            values.as_ptr().cast(),
            size_of_val(values),
            stream.cu_stream(),
        )
    }
    .result()
    .w()
}

/// Copies from the device, after what was launched before; the values are there once the stream is synchronised.
pub fn download<T>(stream: &CudaStream, from: Address, to: &mut [T]) -> Result<()> {
    // SAFETY: as above.
    unsafe {
        sys::cuMemcpyDtoHAsync_v2(
            to.as_mut_ptr().cast(),
            from,
            size_of_val(to),
            stream.cu_stream(),
        )
    }
    .result()
    .w()
}
