//! Launches of attention: turning and storing new keys, one query a sequence, tiles of queries.

use candle_core::Result;

use super::{
    arguments::{Address, PagedDecodeAttention, PagedPrefillAttention, RopeAppend, RopeAppendNorm},
    kernels::{Kernels, Launch},
    plan::{TILE_QUERIES, Width},
};
use crate::{
    kv_cache::{BLOCK_SIZE, KvCacheDtype},
    ops::paged_attention::AttentionShape,
};

/// A layer's keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheAddresses {
    pub k: Address,
    pub v: Address,
    pub dtype: KvCacheDtype,
}

/// Cosines and sines of a rope.
#[derive(Debug, Clone, Copy)]
pub struct RopeAddresses {
    pub cos: Address,
    pub sin: Address,
    pub pairs: usize,
    pub is_halves: bool,
}

/// Weights of the norms of heads of queries and of keys.
#[derive(Debug, Clone, Copy)]
pub struct HeadNorms {
    pub q: Address,
    pub k: Address,
    pub eps: f32,
}

/// Where a step's numbers lie.
#[derive(Debug, Clone, Copy)]
pub struct StepAddresses {
    pub positions: Address,
    pub slots: Address,
    pub context_lens: Address,
    pub block_tables: Address,
    pub tiles: Address,
    pub max_blocks: usize,
}

/// Room for the parts of split contexts.
#[derive(Debug, Clone, Copy)]
pub struct Partial {
    pub values: Address,
    pub states: Address,
}

/// Sizes of heads for which there are kernels.
pub fn takes(shape: &AttentionShape) -> bool {
    matches!(shape.head_dim, 64 | 80 | 96 | 128) && shape.group() <= 8
}

/// Types of keys and values for which there are kernels.
pub fn takes_cache(dtype: KvCacheDtype) -> bool {
    matches!(dtype, KvCacheDtype::F16 | KvCacheDtype::Q8_0)
}

/// How the kernels of a cache are called.
fn suffix(dtype: KvCacheDtype) -> &'static str {
    match dtype {
        KvCacheDtype::F16 => "f16",
        KvCacheDtype::Q8_0 => "q8",
        KvCacheDtype::F32 => "f32",
    }
}

fn append_name(dtype: KvCacheDtype, has_norms: bool) -> String {
    let norm = if has_norms { "norm_" } else { "" };
    format!("rope_append_{norm}{}", suffix(dtype))
}

fn decode_name(shape: &AttentionShape, dtype: KvCacheDtype) -> String {
    format!(
        "paged_decode_{}_{}_{}",
        suffix(dtype),
        shape.head_dim,
        shape.group().next_power_of_two()
    )
}

fn prefill_name(shape: &AttentionShape, dtype: KvCacheDtype) -> String {
    format!("paged_prefill_{}_{}", suffix(dtype), shape.head_dim)
}

/// Bytes of shared memory of a tile of queries: 64 keys and values in f16, the next 64 as they lie in the cache, and the queries of
/// larger heads. The kernel's `prefill_shared_bytes` and `prefill_bytes_shared_bytes`.
fn prefill_shared(shape: &AttentionShape, dtype: KvCacheDtype) -> usize {
    let halves = 64 * (2 * shape.head_dim + 8) * 2;
    let next = match dtype {
        KvCacheDtype::Q8_0 => 64 / BLOCK_SIZE * 2 * dtype.tile_bytes(shape.head_dim),
        KvCacheDtype::F16 | KvCacheDtype::F32 => halves,
    };
    let queries = if shape.head_dim <= 64 {
        0
    } else {
        TILE_QUERIES * shape.head_dim * 2
    };
    halves + next + queries
}

/// Makes the kernels of a shape ready.
pub fn prepare(kernels: &mut Kernels, shape: &AttentionShape, dtype: KvCacheDtype) -> Result<()> {
    for has_norms in [false, true] {
        kernels.find("rope_append", &append_name(dtype, has_norms), 0)?;
    }
    let merges = [
        "paged_decode_merge",
        "paged_decode_merge_packed",
        "paged_decode_merge_halves",
    ];
    for name in [decode_name(shape, dtype).as_str()]
        .into_iter()
        .chain(merges)
    {
        kernels.find("paged_decode_attention", name, 0)?;
    }
    kernels.find(
        "paged_prefill_attention",
        &prefill_name(shape, dtype),
        prefill_shared(shape, dtype),
    )
}

/// Turns the queries of `qkv`, `[tokens, q | k | v]`, into `q`, and stores keys and values; normalises heads before that where they have
/// norms.
pub fn rope_append(
    kernels: &Kernels,
    shape: &AttentionShape,
    (qkv, q): (Address, Address),
    (rope, norms): (&RopeAddresses, Option<HeadNorms>),
    cache: CacheAddresses,
    (step, tokens): (&StepAddresses, usize),
) -> Result<()> {
    let (q_width, kv_width) = (
        shape.num_heads * shape.head_dim,
        shape.num_kv_heads * shape.head_dim,
    );
    let stride = (q_width + 2 * kv_width) as i64;
    let arguments = RopeAppend {
        q: qkv,
        k: qkv + 4 * q_width as Address,
        v: qkv + 4 * (q_width + kv_width) as Address,
        q_out: q,
        k_cache: cache.k,
        v_cache: cache.v,
        cos: rope.cos,
        sin: rope.sin,
        positions: step.positions,
        slots: step.slots,
        q_stride: stride,
        kv_stride: stride,
        num_heads: shape.num_heads as i32,
        num_kv_heads: shape.num_kv_heads as i32,
        head_dim: shape.head_dim as i32,
        half: rope.pairs as i32,
        halves: i32::from(rope.is_halves),
        num_tokens: tokens as i32,
    };
    let heads = shape.num_heads + 2 * shape.num_kv_heads;
    let launch = Launch::new([heads, tokens.div_ceil(16), 1], 256);
    let name = append_name(cache.dtype, norms.is_some());
    let Some(norms) = norms else {
        return kernels.launch(&name, launch, &arguments);
    };
    let arguments = RopeAppendNorm {
        rope: arguments,
        q_norm: norms.q,
        k_norm: norms.k,
        norm_eps: norms.eps,
    };
    kernels.launch(&name, launch, &arguments)
}

fn window(shape: &AttentionShape) -> i32 {
    shape
        .window
        .map_or(0, |window| i32::try_from(window).unwrap_or(i32::MAX))
}

/// Attention of one query a sequence; `q` and `out`: `[sequences, heads * head_dim]`. Leaves the result in `packed` too where the
/// next product takes packed activations; returns whether it did.
pub fn decode(
    kernels: &Kernels,
    shape: &AttentionShape,
    (q, out, packed): (Address, Address, Address),
    cache: CacheAddresses,
    (step, sequences, width): (&StepAddresses, usize, Width),
    (partial, num_splits): (Partial, usize),
) -> Result<bool> {
    let arguments = PagedDecodeAttention {
        q,
        k_cache: cache.k,
        v_cache: cache.v,
        block_tables: step.block_tables,
        context_lens: step.context_lens,
        out,
        partial: partial.values,
        partial_state: partial.states,
        num_heads: shape.num_heads as i32,
        num_kv_heads: shape.num_kv_heads as i32,
        max_blocks: step.max_blocks as i32,
        num_splits: num_splits as i32,
        window: window(shape),
        scale: shape.scale,
        softcap: shape.softcap.unwrap_or(0.0),
        head_dim: shape.head_dim as i32,
        packed,
    };
    let launch = Launch::new([num_splits, shape.num_kv_heads, sequences], 128);
    kernels.launch(&decode_name(shape, cache.dtype), launch, &arguments)?;
    let units = Launch::new(
        [
            (shape.num_heads * shape.head_dim).div_ceil(1024),
            sequences,
            1,
        ],
        128,
    );
    match width {
        Width::Few => kernels.launch("paged_decode_merge_packed", units, &arguments)?,
        Width::Some => kernels.launch("paged_decode_merge_halves", units, &arguments)?,
        Width::Many => {
            if num_splits > 1 {
                let launch = Launch::new([shape.num_heads, sequences, 1], shape.head_dim);
                kernels.launch("paged_decode_merge", launch, &arguments)?;
            }
            return Ok(false);
        }
    }
    Ok(true)
}

/// Attention of `tiles` tiles of queries; `q` and `out`: `[tokens, heads * head_dim]`.
pub fn prefill(
    kernels: &Kernels,
    shape: &AttentionShape,
    (q, out): (Address, Address),
    cache: CacheAddresses,
    (step, tiles): (&StepAddresses, usize),
) -> Result<()> {
    let arguments = PagedPrefillAttention {
        q,
        k_cache: cache.k,
        v_cache: cache.v,
        block_tables: step.block_tables,
        tiles: step.tiles,
        out,
        num_heads: shape.num_heads as i32,
        num_kv_heads: shape.num_kv_heads as i32,
        max_blocks: step.max_blocks as i32,
        window: window(shape),
        scale: shape.scale,
        softcap: shape.softcap.unwrap_or(0.0),
    };
    let launch = Launch {
        grid: [shape.num_heads, tiles, 1],
        threads: 128,
        shared: prefill_shared(shape, cache.dtype),
    };
    kernels.launch(&prefill_name(shape, cache.dtype), launch, &arguments)
}
