//! Writes the keys and values of new tokens into their slots of the paged cache, rounding to its type.

pub mod candle;
pub mod cpu;
pub mod reference;

use candle_core::{Result, Tensor};

use crate::kv_cache::BLOCK_SIZE;

/// Writes `k` and `v`, both `[num_tokens, num_kv_heads * head_dim]` f32, to the cache slots of the tokens.
///
/// `k_cache` and `v_cache`: a layer's cache of [`crate::kv_cache::CacheLayout`], f16 or f32. `slots`: one a token, no two equal.
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
    let (num_blocks, num_kv_heads, head_dim, _) = k_cache.dims4()?;
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
        cpu::kv_append(k, v, k_cache, v_cache, slots)
    } else {
        candle::kv_append(k, v, k_cache, v_cache, slots)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::{
        kv_cache::{CacheLayout, KvCacheDtype},
        ops::testing::{random, tensor, values},
    };

    #[test]
    fn both_paths_write_exactly_what_the_reference_writes() {
        for (num_kv_heads, head_dim) in [(1, 2), (3, 64), (2, 80)] {
            for (dtype, tensor_dtype) in [
                (KvCacheDtype::F16, DType::F16),
                (KvCacheDtype::F32, DType::F32),
            ] {
                let layout = CacheLayout {
                    num_blocks: 3,
                    num_kv_heads: vec![num_kv_heads],
                    head_dim,
                    dtype,
                };
                let slots = [33u32, 0, 47, 15, 16];
                let width = num_kv_heads * head_dim;
                let (k, v) = (random(1, 5 * width), random(2, 5 * width));
                let (mut want_k, mut want_v) = (vec![0.0; 48 * width], vec![0.0; 48 * width]);
                reference::kv_append(&k, &v, (&mut want_k, &mut want_v), &slots, &layout);
                let (k, v) = (tensor(&k, &[5, width]), tensor(&v, &[5, width]));
                for append in [cpu::kv_append, candle::kv_append] {
                    let zeros = |shape: [usize; 4]| {
                        Tensor::zeros(&shape, tensor_dtype, &Device::Cpu).unwrap()
                    };
                    let (k_cache, v_cache) = (zeros(layout.k_shape(0)), zeros(layout.v_shape(0)));
                    append(&k, &v, &k_cache, &v_cache, &slots).unwrap();
                    assert_eq!(values(&k_cache), want_k);
                    assert_eq!(values(&v_cache), want_v);
                }
            }
        }
    }
}
