//! Writes the keys and values of new tokens into their slots of the paged cache, rounding to f16.

pub mod candle;
pub mod cpu;
pub mod reference;

use candle_core::{Result, Tensor};

use crate::kv_cache::BLOCK_SIZE;

/// Writes `k` and `v`, both `[num_tokens, num_kv_heads * head_dim]` f32, to the cache slots of the tokens.
///
/// `k_cache` and `v_cache`: a layer's cache of [`crate::kv_cache::CacheLayout`], f16. `slots`: one a token, no two equal.
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
        kv_cache::CacheLayout,
        ops::testing::{random, tensor, values},
    };

    #[test]
    fn both_paths_write_exactly_what_the_reference_writes() {
        for (num_kv_heads, head_dim) in [(1, 2), (3, 64), (2, 80)] {
            let layout = CacheLayout {
                num_blocks: 3,
                num_layers: 1,
                num_kv_heads,
                head_dim,
            };
            let slots = [33u32, 0, 47, 15, 16];
            let (k, v) = (
                random(1, 5 * num_kv_heads * head_dim),
                random(2, 5 * num_kv_heads * head_dim),
            );
            let (mut want_k, mut want_v) = (
                vec![0.0; 48 * num_kv_heads * head_dim],
                vec![0.0; 48 * num_kv_heads * head_dim],
            );
            reference::kv_append(&k, &v, &mut want_k, &mut want_v, &slots, &layout);
            let shape = [5, num_kv_heads * head_dim];
            let (k, v) = (tensor(&k, &shape), tensor(&v, &shape));
            for append in [cpu::kv_append, candle::kv_append] {
                let k_cache = Tensor::zeros(&layout.k_shape(), DType::F16, &Device::Cpu).unwrap();
                let v_cache = Tensor::zeros(&layout.v_shape(), DType::F16, &Device::Cpu).unwrap();
                append(&k, &v, &k_cache, &v_cache, &slots).unwrap();
                assert_eq!(values(&k_cache), want_k);
                assert_eq!(values(&v_cache), want_v);
            }
        }
    }
}
