//! Writing to the cache by candle's scatter, for any device.

use candle_core::{Result, Tensor};

use crate::kv_cache::BLOCK_SIZE;

/// See [`super::kv_append`].
pub fn kv_append(
    k: &Tensor,
    v: &Tensor,
    k_cache: &Tensor,
    v_cache: &Tensor,
    slots: &[u32],
) -> Result<()> {
    let (_, num_kv_heads, head_dim, _) = k_cache.dims4()?;
    let (block_size, heads, dim) = (BLOCK_SIZE as u32, num_kv_heads as u32, head_dim as u32);
    let mut k_index = Vec::with_capacity(slots.len() * num_kv_heads * head_dim);
    let mut v_index = Vec::with_capacity(k_index.capacity());
    for &slot in slots {
        let (block, offset) = (slot / block_size, slot % block_size);
        for head in 0..heads {
            let row = block * heads + head;
            k_index.extend((0..dim).map(|d| (row * dim + d) * block_size + offset));
            v_index.extend((0..dim).map(|d| (row * block_size + offset) * dim + d));
        }
    }
    for (values, cache, index) in [(k, k_cache, k_index), (v, v_cache, v_index)] {
        let index = Tensor::from_vec(index, values.elem_count(), values.device())?;
        let values = values.to_dtype(cache.dtype())?.flatten_all()?;
        // A contiguous tensor's flat view shares its memory, so this writes to the cache itself.
        cache.flatten_all()?.scatter_set(&index, &values, 0)?;
    }
    Ok(())
}
