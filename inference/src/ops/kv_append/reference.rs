//! Scalar truth of writing to the cache.

use half::f16;

use crate::kv_cache::{BLOCK_SIZE, CacheLayout, KvCacheDtype};

/// Writes each token's keys and values to its slot; the caches hold f32, rounded to the cache's type.
pub fn kv_append(
    k: &[f32],
    v: &[f32],
    (k_cache, v_cache): (&mut [f32], &mut [f32]),
    slots: &[u32],
    layout: &CacheLayout,
) {
    let round = |value: f32| match layout.dtype {
        KvCacheDtype::F16 => f16::from_f32(value).to_f32(),
        KvCacheDtype::F32 => value,
    };
    let (heads, dim) = (layout.num_kv_heads[0], layout.head_dim);
    for (token, &slot) in slots.iter().enumerate() {
        let (block, offset) = (slot as usize / BLOCK_SIZE, slot as usize % BLOCK_SIZE);
        for head in 0..heads {
            for d in 0..dim {
                let from = (token * heads + head) * dim + d;
                k_cache[((block * heads + head) * dim + d) * BLOCK_SIZE + offset] = round(k[from]);
                v_cache[((block * heads + head) * BLOCK_SIZE + offset) * dim + d] = round(v[from]);
            }
        }
    }
}
