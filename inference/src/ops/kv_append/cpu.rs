//! Writing to the cache on the CPU: a few kilobytes a token, not worth other threads.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor};
use half::f16;

use crate::{
    kv_cache::{
        BLOCK_SIZE, CacheLayout, KvCacheDtype,
        q8_tile::{self, GROUP, Side},
    },
    ops::cpu::multiversion,
};

/// See [`super::kv_append`].
pub fn kv_append(
    k: &Tensor,
    v: &Tensor,
    (k_cache, v_cache): (&Tensor, &Tensor),
    slots: &[u32],
    layout: &CacheLayout,
) -> Result<()> {
    let append = |side| Append {
        side,
        slots,
        layout,
    };
    k_cache.inplace_op2(k, &append(Side::Keys))?;
    v_cache.inplace_op2(v, &append(Side::Values))
}

struct Append<'a> {
    side: Side,
    slots: &'a [u32],
    layout: &'a CacheLayout,
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
        let places = cache_start..cache_end;
        match (self.layout.dtype, cache) {
            (KvCacheDtype::F16, CpuStorage::F16(cache)) => {
                self.write(&mut cache[places], new, f16::from_f32);
            }
            (KvCacheDtype::F32, CpuStorage::F32(cache)) => {
                self.write(&mut cache[places], new, |value| value);
            }
            (KvCacheDtype::Q8_0, CpuStorage::U8(cache)) => {
                self.write_bytes(&mut cache[places], new);
            }
            (dtype, _) => candle_core::bail!("the tensors are no cache of {dtype}"),
        }
        Ok(())
    }
}

impl Append<'_> {
    fn write<T: Copy>(&self, cache: &mut [T], new: &[f32], round: impl Fn(f32) -> T) {
        let rounded: Vec<T> = new.iter().copied().map(round).collect();
        let tile_len = self.layout.head_dim * BLOCK_SIZE;
        self.each_head(cache, tile_len, |head, offset, tile| {
            let head_dim = self.layout.head_dim;
            self.put(&rounded[head * head_dim..][..head_dim], offset, tile);
        });
    }

    fn write_bytes(&self, cache: &mut [u8], new: &[f32]) {
        let head_dim = self.layout.head_dim;
        let groups = q8_tile::groups(head_dim);
        let mut bytes = vec![0; new.len()];
        let mut scales = vec![f16::ZERO; new.len() / head_dim * groups];
        quantize(new, head_dim, &mut bytes, &mut scales);
        let tile_len = q8_tile::tile_bytes(head_dim);
        self.each_head(cache, tile_len, |head, offset, tile| {
            self.put(&bytes[head * head_dim..][..head_dim], offset, tile);
            let scales = &scales[head * groups..][..groups];
            for (group, scale) in scales.iter().enumerate() {
                let at = q8_tile::scale_place(head_dim, offset, group);
                tile[at..at + 2].copy_from_slice(&scale.to_le_bytes());
            }
        });
    }

    /// Hands out each key head of each token: its number, the token's place in its block, and the tile.
    fn each_head<T>(
        &self,
        cache: &mut [T],
        tile_len: usize,
        mut write: impl FnMut(usize, usize, &mut [T]),
    ) {
        let heads = self.layout.num_kv_heads[0];
        for (token, &slot) in self.slots.iter().enumerate() {
            let (block, offset) = (slot as usize / BLOCK_SIZE, slot as usize % BLOCK_SIZE);
            let tiles = cache[block * heads * tile_len..].chunks_exact_mut(tile_len);
            for (head, tile) in tiles.take(heads).enumerate() {
                write(token * heads + head, offset, tile);
            }
        }
    }

    /// Writes the numbers of a head to the token's place in a tile.
    fn put<T: Copy>(&self, head: &[T], offset: usize, tile: &mut [T]) {
        match self.side {
            Side::Keys => {
                for (value, column) in head.iter().zip(tile.chunks_exact_mut(BLOCK_SIZE)) {
                    column[offset] = *value;
                }
            }
            Side::Values => tile[offset * head.len()..][..head.len()].copy_from_slice(head),
        }
    }
}

multiversion! {
    /// Rounds heads of `head_dim` numbers to bytes and scales.
    fn quantize(values: &[f32], head_dim: usize, bytes: &mut [u8], scales: &mut [f16]) = quantize_heads
}

#[inline(always)]
fn quantize_heads<const FUSED: bool>(
    values: &[f32],
    head_dim: usize,
    bytes: &mut [u8],
    scales: &mut [f16],
) {
    let heads = values
        .chunks_exact(head_dim)
        .zip(bytes.chunks_exact_mut(head_dim));
    let scales = scales.chunks_exact_mut(q8_tile::groups(head_dim));
    for ((head, bytes), scales) in heads.zip(scales) {
        let groups = head.chunks(GROUP).zip(bytes.chunks_mut(GROUP));
        for ((group, bytes), scale) in groups.zip(scales) {
            *scale = q8_tile::quantize(group, bytes);
        }
    }
}
