//! Writes the keys and values of new tokens into their slots of the paged cache, rounding to its type.

pub mod candle;
pub mod cpu;
pub mod reference;

use candle_core::{Result, Tensor};

use super::cache_tensors::{layout_of, refuse_bytes};
use crate::kv_cache::BLOCK_SIZE;

/// Writes `k` and `v`, both `[num_tokens, num_kv_heads * head_dim]` f32, to the cache slots of the tokens.
///
/// `k_cache` and `v_cache`: a layer's cache of [`crate::kv_cache::CacheLayout`]. `slots`: one a token, no two equal.
///
/// # Errors
/// A candle error unless the shapes fit and every slot is in the cache.
pub fn kv_append(
    k: &Tensor,
    v: &Tensor,
    k_cache: &Tensor,
    v_cache: &Tensor,
    slots: &[u32],
) -> Result<()> {
    let (num_blocks, num_kv_heads, _, _) = k_cache.dims4()?;
    let head_dim = k.dim(1)? / num_kv_heads.max(1);
    let layout = layout_of(k_cache, head_dim)?;
    let expected = [slots.len(), num_kv_heads * head_dim];
    if k.dims() != expected || v.dims() != expected {
        candle_core::bail!(
            "kv_append of {:?} and {:?} where {expected:?} is needed",
            k.dims(),
            v.dims()
        );
    }
    if slots
        .iter()
        .any(|&slot| slot as usize >= num_blocks * BLOCK_SIZE)
    {
        candle_core::bail!("a slot is not in the cache of {num_blocks} blocks");
    }
    if k_cache.device().is_cpu() {
        cpu::kv_append(k, v, (k_cache, v_cache), slots, &layout)
    } else {
        refuse_bytes(&layout)?;
        candle::kv_append(k, v, k_cache, v_cache, slots)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{
        kv_cache::{CacheLayout, KvCacheDtype, q8_tile::Side},
        ops::{
            cache_tensors::tensor_dtype,
            testing::{cache_numbers, random, tensor},
        },
    };

    const SLOTS: [u32; 5] = [33, 0, 47, 15, 16];

    fn caches(layout: &CacheLayout) -> (Tensor, Tensor) {
        let zeros = |shape: [usize; 4]| {
            Tensor::zeros(&shape, tensor_dtype(layout.dtype), &Device::Cpu).unwrap()
        };
        (zeros(layout.k_shape(0)), zeros(layout.v_shape(0)))
    }

    #[test]
    fn both_paths_write_exactly_what_the_reference_writes() {
        for (num_kv_heads, head_dim) in [(1, 2), (3, 64), (2, 80), (1, 96), (2, 20)] {
            for dtype in KvCacheDtype::ALL {
                let layout = CacheLayout {
                    num_blocks: 3,
                    num_kv_heads: vec![num_kv_heads],
                    head_dim,
                    dtype,
                };
                let width = num_kv_heads * head_dim;
                let (k, v) = (random(1, 5 * width), random(2, 5 * width));
                let (mut want_k, mut want_v) = (vec![0.0; 48 * width], vec![0.0; 48 * width]);
                reference::kv_append(&k, &v, (&mut want_k, &mut want_v), &SLOTS, &layout);
                let (k, v) = (tensor(&k, &[5, width]), tensor(&v, &[5, width]));
                let mut written = vec![caches(&layout)];
                let (k_cache, v_cache) = &written[0];
                cpu::kv_append(&k, &v, (k_cache, v_cache), &SLOTS, &layout).unwrap();
                if dtype != KvCacheDtype::Q8_0 {
                    let (k_cache, v_cache) = caches(&layout);
                    candle::kv_append(&k, &v, &k_cache, &v_cache, &SLOTS).unwrap();
                    written.push((k_cache, v_cache));
                }
                for (k_cache, v_cache) in written {
                    assert_eq!(cache_numbers(&k_cache, Side::Keys, head_dim), want_k);
                    assert_eq!(cache_numbers(&v_cache, Side::Values, head_dim), want_v);
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_the_cache_is_an_error() {
        let layout = CacheLayout {
            num_blocks: 3,
            num_kv_heads: vec![2],
            head_dim: 64,
            dtype: KvCacheDtype::Q8_0,
        };
        let (k_cache, v_cache) = caches(&layout);
        let append = |width: usize, slots: &[u32]| {
            let new = tensor(&random(1, slots.len() * width), &[slots.len(), width]);
            kv_append(&new, &new, &k_cache, &v_cache, slots)
        };
        assert!(append(128, &[47]).is_ok());
        assert!(append(128, &[48]).is_err());
        assert!(append(160, &[0]).is_err());
        assert!(append(129, &[0]).is_err());
    }
}
