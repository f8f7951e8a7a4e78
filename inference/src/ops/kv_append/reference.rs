//! Scalar truth of writing to the cache.

use half::f16;

use crate::kv_cache::{BLOCK_SIZE, CacheLayout, KvCacheDtype, q8_tile::GROUP};

/// Writes each token's keys and values to its slot; the caches hold f32 in the order of a cache of f16, rounded to the cache's type.
pub fn kv_append(
    k: &[f32],
    v: &[f32],
    (k_cache, v_cache): (&mut [f32], &mut [f32]),
    slots: &[u32],
    layout: &CacheLayout,
) {
    let (heads, dim) = (layout.num_kv_heads[0], layout.head_dim);
    let (k, v) = (rounded(k, layout), rounded(v, layout));
    for (token, &slot) in slots.iter().enumerate() {
        let (block, offset) = (slot as usize / BLOCK_SIZE, slot as usize % BLOCK_SIZE);
        for head in 0..heads {
            for d in 0..dim {
                let from = (token * heads + head) * dim + d;
                k_cache[((block * heads + head) * dim + d) * BLOCK_SIZE + offset] = k[from];
                v_cache[((block * heads + head) * BLOCK_SIZE + offset) * dim + d] = v[from];
            }
        }
    }
}

/// Returns what becomes of numbers in a cache of this type.
fn rounded(values: &[f32], layout: &CacheLayout) -> Vec<f32> {
    let half = |value: f32| f16::from_f32(value).to_f32();
    match layout.dtype {
        KvCacheDtype::F16 => values.iter().copied().map(half).collect(),
        KvCacheDtype::F32 => values.to_vec(),
        KvCacheDtype::Q8_0 => {
            let heads = values.chunks(layout.head_dim);
            let groups = heads.flat_map(|head| head.chunks(GROUP));
            let rounded = groups.flat_map(|group| {
                let largest = group
                    .iter()
                    .fold(0.0f32, |most, value| most.max(value.abs()));
                let scale = largest / 127.0;
                group.iter().map(move |value| match scale {
                    0.0 => 0.0,
                    _ => (value * (1.0 / scale)).round() * half(scale),
                })
            });
            rounded.collect()
        }
    }
}
