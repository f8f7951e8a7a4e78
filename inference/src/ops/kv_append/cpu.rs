//! Writing to the cache on the CPU: a few kilobytes a token, not worth other threads.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor};
use half::f16;

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
    k_cache.inplace_op2(
        k,
        &Append {
            which: Which::Keys,
            slots,
            num_kv_heads,
            head_dim,
        },
    )?;
    v_cache.inplace_op2(
        v,
        &Append {
            which: Which::Values,
            slots,
            num_kv_heads,
            head_dim,
        },
    )
}

#[derive(Clone, Copy)]
enum Which {
    Keys,
    Values,
}

struct Append<'a> {
    which: Which,
    slots: &'a [u32],
    num_kv_heads: usize,
    head_dim: usize,
}

impl InplaceOp2 for Append<'_> {
    fn name(&self) -> &'static str {
        "kv_append"
    }

    fn cpu_fwd(
        &self,
        cache: &mut CpuStorage,
        cache_layout: &Layout,
        new: &CpuStorage,
        new_layout: &Layout,
    ) -> Result<()> {
        let (Some((cache_start, cache_end)), Some((new_start, new_end))) = (
            cache_layout.contiguous_offsets(),
            new_layout.contiguous_offsets(),
        ) else {
            candle_core::bail!("kv_append needs contiguous tensors");
        };
        let CpuStorage::F32(new) = new else {
            candle_core::bail!("kv_append takes keys and values in f32");
        };
        let new = &new[new_start..new_end];
        match cache {
            CpuStorage::F16(cache) => {
                self.write(&mut cache[cache_start..cache_end], new, f16::from_f32);
            }
            CpuStorage::F32(cache) => {
                self.write(&mut cache[cache_start..cache_end], new, |value| value);
            }
            _ => candle_core::bail!("kv_append writes into a cache of f16 or f32"),
        }
        Ok(())
    }
}

impl Append<'_> {
    fn write<T>(&self, cache: &mut [T], new: &[f32], round: impl Fn(f32) -> T) {
        let block_len = self.num_kv_heads * self.head_dim * BLOCK_SIZE;
        let tokens = new.chunks_exact(self.num_kv_heads * self.head_dim);
        for (&slot, token) in self.slots.iter().zip(tokens) {
            let (block, offset) = (slot as usize / BLOCK_SIZE, slot as usize % BLOCK_SIZE);
            let block = &mut cache[block * block_len..][..block_len];
            let heads = token.chunks_exact(self.head_dim);
            for (head, tile) in heads.zip(block.chunks_exact_mut(self.head_dim * BLOCK_SIZE)) {
                match self.which {
                    Which::Keys => {
                        for (value, column) in head.iter().zip(tile.chunks_exact_mut(BLOCK_SIZE)) {
                            column[offset] = round(*value);
                        }
                    }
                    Which::Values => {
                        let row = &mut tile[offset * self.head_dim..][..self.head_dim];
                        row.iter_mut()
                            .zip(head)
                            .for_each(|(to, from)| *to = round(*from));
                    }
                }
            }
        }
    }
}
