//! The tensors of a cache: which candle type a [`KvCacheDtype`] is, and whether tensors are those of a layout.

use candle_core::{DType, Device, Result, Tensor};
use half::{f16, vec::HalfBitsVecExt};

use crate::kv_cache::{CacheLayout, KvCacheDtype};

/// Returns the type of the tensors.
pub fn tensor_dtype(dtype: KvCacheDtype) -> DType {
    match dtype {
        KvCacheDtype::F16 => DType::F16,
        KvCacheDtype::Q8_0 => DType::U8,
        KvCacheDtype::F32 => DType::F32,
    }
}

/// Returns zeros. On a CPU they are pages that the system zeroes when they are first used: a cache is seldom full, and writing 400 MB
/// took half the time in which a small model is ready.
///
/// # Errors
/// A candle error when the device is out of memory.
pub fn zeros(shape: [usize; 4], dtype: KvCacheDtype, device: &Device) -> Result<Tensor> {
    if device.is_cpu() && dtype == KvCacheDtype::F16 {
        // candle asks for the other types so, but writes the zeros of f16 itself.
        let zeros = vec![0u16; shape.iter().product()];
        return Tensor::from_vec(zeros.reinterpret_into::<f16>(), &shape, device);
    }
    Tensor::zeros(&shape, tensor_dtype(dtype), device)
}

/// Returns the layout of a layer's cache, of which `k_cache` are the keys.
///
/// # Errors
/// A candle error when they are no keys of heads of this size.
pub fn layout_of(k_cache: &Tensor, head_dim: usize) -> Result<CacheLayout> {
    let dtypes = KvCacheDtype::ALL.into_iter();
    let mut dtypes = dtypes.filter(|&dtype| tensor_dtype(dtype) == k_cache.dtype());
    let Some(dtype) = dtypes.next() else {
        candle_core::bail!("a cache of {:?}", k_cache.dtype());
    };
    let (num_blocks, num_kv_heads, _, _) = k_cache.dims4()?;
    let layout = CacheLayout {
        num_blocks,
        num_kv_heads: vec![num_kv_heads],
        head_dim,
        dtype,
    };
    if k_cache.dims() != layout.k_shape(0) {
        candle_core::bail!(
            "keys of {:?} where heads of {head_dim} have {:?}",
            k_cache.dims(),
            layout.k_shape(0)
        );
    }
    Ok(layout)
}

/// Fails for a cache in 8 bits: candle's operations cannot read one.
pub fn refuse_bytes(layout: &CacheLayout) -> Result<()> {
    if layout.dtype == KvCacheDtype::Q8_0 {
        candle_core::bail!(
            "keys and values in 8 bits are read by Cloister's own kernels only; set kv_cache_dtype to f16"
        );
    }
    Ok(())
}
