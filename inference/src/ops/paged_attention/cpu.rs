//! Paged attention on the CPU, straight over the cache.
//!
//! A work item is a tile of a sequence's new tokens with one key head: all query heads of the group times the tile's
//! tokens are the *rows* that share each block of keys and values. A block is converted to f32 once for all rows; the
//! softmax is online (arXiv 1805.02867), so nothing of the size of the context is kept. A long context is computed in
//! chunks, whose sums are joined at the end; where there are few work items, chunks are items of their own
//! (flash-decoding). The order of additions depends on the row's own context only, so a row's result is the same alone
//! and in any batch, and whoever computes its chunks; a cache in 8 bits gives the bits of one in f32 with the same numbers.
//! Decode is bound by reading the cache, prefill by the multiplications.

use std::{cell::RefCell, ops::Range};

use candle_core::{CpuStorage, Device, Error, Result, Storage, Tensor};
use half::f16;

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::{AttentionSequence, AttentionShape};
use crate::{
    kv_cache::{
        BLOCK_SIZE,
        q8_tile::{self, EXCESS, GROUP},
    },
    ops::{
        cpu::{DisjointMut, LANES, exp, f16_to_f32, fma, multiversion, parallel, with_f32},
        pool::pool,
    },
};

/// Rows of a tile, about: their queries and sums (2 * 48 * 128 * 4 B) stay in the L2 cache.
const TILE_ROWS: usize = 48;
/// Blocks between two rescalings of the online softmax: what it costs beside the products falls with their number. Spans
/// lie at multiples of their length, so that they do not depend on what a row shares a tile with.
pub(super) const SPAN_BLOCKS: usize = 4;
/// Blocks whose keys share each query in registers.
pub(super) const BLOCKS_TOGETHER: usize = 2;
/// Keys of a span.
pub(super) const SPAN: usize = SPAN_BLOCKS * BLOCK_SIZE;
/// Spans of a chunk, 1,024 keys: enough to hide the cost of joining it.
const CHUNK_SPANS: usize = 16;
/// Work items for each thread below which chunks become items.
const ITEMS_A_THREAD: usize = 4;
/// Rows that share the registers of a portable inner loop; with more the compiler keeps their sums in memory.
const ROW_GROUP: usize = 4;

const _: () = assert!(
    BLOCK_SIZE == LANES,
    "a block of keys is one vector of scores"
);

/// See [`super::paged_attention`].
pub fn paged_attention(
    q: &Tensor,
    k_cache: &Tensor,
    v_cache: &Tensor,
    sequences: &[AttentionSequence],
    shape: AttentionShape,
) -> Result<Tensor> {
    let items = whole_items(sequences, shape);
    let is_split = items.len() < ITEMS_A_THREAD * pool(None).threads();
    attention(q, (k_cache, v_cache), items, shape, is_split)
}

/// Returns a work item for each tile and key head.
pub(super) fn whole_items(sequences: &[AttentionSequence], shape: AttentionShape) -> Vec<Item<'_>> {
    let tile_tokens = (TILE_ROWS / shape.group()).max(1);
    let mut items = Vec::new();
    for sequence in sequences {
        for first in (0..sequence.q_len).step_by(tile_tokens) {
            let num_tokens = tile_tokens.min(sequence.q_len - first);
            items.extend(
                (0..shape.num_kv_heads)
                    .map(|kv_head| Item::new(sequence, first..first + num_tokens, kv_head, shape)),
            );
        }
    }
    items
}

/// Computes the items, with `is_split` a chunk at a time.
pub(super) fn attention(
    q: &Tensor,
    (k_cache, v_cache): (&Tensor, &Tensor),
    whole: Vec<Item<'_>>,
    shape: AttentionShape,
    is_split: bool,
) -> Result<Tensor> {
    let items = match is_split {
        true => whole.iter().flat_map(Item::chunks).collect(),
        false => whole,
    };
    // Of items that are chunks: what they come to.
    let mut sums: Vec<Running> = Vec::new();
    sums.resize_with(items.len(), Running::default);
    let mut out = vec![0f32; q.elem_count()];
    let (k_storage, _) = k_cache.storage_and_layout();
    let (v_storage, _) = v_cache.storage_and_layout();
    let (k, v) = (Cached::of(&k_storage)?, Cached::of(&v_storage)?);
    with_f32(q, |q| {
        let inputs = Inputs {
            q,
            k,
            v,
            shape,
            #[cfg(target_arch = "x86_64")]
            avx512: avx512::suits(shape.head_dim),
            out: DisjointMut::new(&mut out),
        };
        let shared = DisjointMut::new(&mut sums);
        parallel(items.len(), true, |range| {
            SCRATCH.with_borrow_mut(|scratch| {
                for index in range {
                    let item = &items[index];
                    attend(&inputs, item, scratch);
                    if item.is_whole {
                        store(&inputs, item, &scratch.running);
                    } else {
                        // SAFETY: an item is in one range.
                        let sums = unsafe { shared.range(index, 1) };
                        std::mem::swap(&mut sums[0], &mut scratch.running);
                    }
                }
            });
        });
        join_chunks(&inputs, &items, &mut sums);
        Ok(())
    })?;
    Tensor::from_vec(out, q.dims(), &Device::Cpu)
}

#[derive(Clone)]
pub(super) struct Item<'a> {
    pub sequence: &'a AttentionSequence,
    /// First token of the tile among the sequence's new ones.
    pub first: usize,
    pub num_tokens: usize,
    pub kv_head: usize,
    /// The part of the context to compute.
    pub spans: Range<usize>,
    /// Whether that is all that the tile sees.
    is_whole: bool,
}

impl<'a> Item<'a> {
    fn new(
        sequence: &'a AttentionSequence,
        tokens: Range<usize>,
        kv_head: usize,
        shape: AttentionShape,
    ) -> Self {
        let position = |token: usize| sequence.context_len - sequence.q_len + token;
        let first_span = shape.first_visible(position(tokens.start)) / SPAN;
        Self {
            sequence,
            first: tokens.start,
            num_tokens: tokens.len(),
            kv_head,
            spans: first_span..position(tokens.end - 1) / SPAN + 1,
            is_whole: true,
        }
    }

    /// Whether this is a later chunk of the same tile.
    fn follows(&self, earlier: &Self) -> bool {
        let place = |item: &Self| (item.sequence.q_start, item.first, item.kv_head);
        place(self) == place(earlier)
    }

    /// Returns an item for each chunk, or the item itself if it lies in one.
    fn chunks(&self) -> Vec<Self> {
        let chunks = self.spans.start / CHUNK_SPANS..self.spans.end.div_ceil(CHUNK_SPANS);
        if chunks.len() <= 1 {
            return vec![self.clone()];
        }
        chunks
            .map(|chunk| Self {
                spans: self.spans.start.max(chunk * CHUNK_SPANS)
                    ..self.spans.end.min((chunk + 1) * CHUNK_SPANS),
                is_whole: false,
                ..self.clone()
            })
            .collect()
    }
}

pub(super) struct Inputs<'a> {
    q: &'a [f32],
    pub k: Cached<'a>,
    pub v: Cached<'a>,
    pub shape: AttentionShape,
    /// Whether [`avx512::suits`].
    #[cfg(target_arch = "x86_64")]
    avx512: bool,
    out: DisjointMut<'a, f32>,
}

/// The numbers of a cache. Its tiles, the keys or values of a block and key head, follow each other.
#[derive(Clone, Copy)]
pub(super) enum Cached<'a> {
    F16(&'a [f16]),
    /// See [`q8_tile`].
    Q8(&'a [u8]),
    F32(&'a [f32]),
}

impl<'a> Cached<'a> {
    fn of(storage: &'a Storage) -> Result<Self> {
        match storage {
            Storage::Cpu(CpuStorage::F16(data)) => Ok(Self::F16(data)),
            Storage::Cpu(CpuStorage::U8(data)) => Ok(Self::Q8(data)),
            Storage::Cpu(CpuStorage::F32(data)) => Ok(Self::F32(data)),
            _ => Err(Error::Msg(
                "the cache is f16, q8_0 or f32 on the CPU".into(),
            )),
        }
    }
}

/// Returns the tile of this index, `len` numbers long.
#[inline(always)]
pub(super) fn tile_of<T>(cache: &[T], index: usize, len: usize) -> &[T] {
    &cache[index * len..][..len]
}

/// Working memory of a thread, kept between tiles. Rows are token-major: `row = token * group + head_in_group`.
#[derive(Default)]
pub(super) struct Scratch {
    /// `[rows, head_dim]`, times the scale.
    pub q: Vec<f32>,
    /// `[head_dim, rows]`: the same the other way round, where one token is computed by itself.
    pub q_by_dimension: Vec<f32>,
    /// Of the current chunk.
    pub running: Running,
    /// Of the chunks before it, if there are any.
    before: Option<Running>,
    /// `[rows, SPAN]`: scores, then weights, of the current span.
    pub weights: Vec<f32>,
    /// `[BLOCKS_TOGETHER, head_dim, BLOCK_SIZE]`
    pub k: Vec<f32>,
    /// `[BLOCK_SIZE, head_dim]`
    pub v: Vec<f32>,
}

/// Sums of the online softmax.
#[derive(Default)]
pub(super) struct Running {
    /// `[rows, head_dim]`: weighted sum of values so far.
    pub sums: Vec<f32>,
    /// `[rows]`: largest score so far.
    max: Vec<f32>,
    /// `[rows, BLOCK_SIZE]`: sums of weights so far, of every 16th key.
    total: Vec<f32>,
}

impl Running {
    fn reset(&mut self, rows: usize, head_dim: usize) {
        for (buffer, len, fill) in [
            (&mut self.sums, rows * head_dim, 0.0),
            (&mut self.max, rows, f32::NEG_INFINITY),
            (&mut self.total, rows * BLOCK_SIZE, 0.0),
        ] {
            buffer.clear();
            buffer.resize(len, fill);
        }
    }

    /// Adds the sums of the chunk that follows.
    fn join(&mut self, next: &Self) {
        let rows = self.max.len();
        let head_dim = self.sums.len() / rows.max(1);
        for row in 0..rows {
            let (ours, theirs) = (self.max[row], next.max[row]);
            // Nothing of one of them is visible to the row: its sums are 0.
            if theirs == f32::NEG_INFINITY {
                continue;
            }
            let max = ours.max(theirs);
            let factor = |part: f32| match part == f32::NEG_INFINITY {
                true => 0.0,
                false => exp(part - max),
            };
            let (ours, theirs) = (factor(ours), factor(theirs));
            self.max[row] = max;
            for (sums, next, len) in [
                (&mut self.sums, &next.sums, head_dim),
                (&mut self.total, &next.total, BLOCK_SIZE),
            ] {
                let sums = &mut sums[row * len..][..len];
                for (sum, next) in sums.iter_mut().zip(&next[row * len..]) {
                    *sum = *sum * ours + next * theirs;
                }
            }
        }
    }
}

impl Scratch {
    /// Puts the sums of a chunk away before the next one begins.
    pub fn end_chunk(&mut self) {
        let rows = self.running.max.len();
        let head_dim = self.running.sums.len() / rows.max(1);
        match &mut self.before {
            Some(before) => before.join(&self.running),
            None => self.before = Some(std::mem::take(&mut self.running)),
        }
        self.running.reset(rows, head_dim);
    }

    /// Joins the last chunk with those before it.
    pub fn end_item(&mut self) {
        if let Some(mut before) = self.before.take() {
            before.join(&self.running);
            self.running = before;
        }
    }
}

/// Whether a chunk ends with this span, and another one follows in the item.
pub(super) fn ends_chunk(item: &Item<'_>, span: usize) -> bool {
    (span + 1).is_multiple_of(CHUNK_SPANS) && span + 1 < item.spans.end
}

/// Joins the chunks of each tile, which follow each other, and writes the results.
fn join_chunks(inputs: &Inputs<'_>, items: &[Item<'_>], sums: &mut [Running]) {
    let mut index = 0;
    while index < items.len() {
        let item = &items[index];
        let mut joined = std::mem::take(&mut sums[index]);
        index += 1;
        if item.is_whole {
            continue;
        }
        while index < items.len() && items[index].follows(item) {
            joined.join(&sums[index]);
            index += 1;
        }
        store(inputs, item, &joined);
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Runs an item with the kernel that suits it; they give the same bits.
fn attend(inputs: &Inputs<'_>, item: &Item<'_>, scratch: &mut Scratch) {
    #[cfg(target_arch = "x86_64")]
    if inputs.avx512 {
        // SAFETY: the CPU and the shapes suit.
        return unsafe { avx512::attend(inputs, item, scratch) };
    }
    tile(inputs, item, scratch);
}

multiversion! {
    fn tile(inputs: &Inputs<'_>, item: &Item<'_>, scratch: &mut Scratch) = portable_tile
}

#[inline(always)]
fn portable_tile<const FUSED: bool>(inputs: &Inputs<'_>, item: &Item<'_>, scratch: &mut Scratch) {
    tile_body::<Portable<FUSED>>(inputs, item, scratch);
}

#[inline(always)]
pub(super) fn tile_body<M: BlockMath>(inputs: &Inputs<'_>, item: &Item<'_>, scratch: &mut Scratch) {
    let shape = inputs.shape;
    let AttentionShape {
        num_kv_heads,
        head_dim,
        ..
    } = shape;
    let (group, sequence) = (shape.group(), item.sequence);
    load_queries(inputs, item, scratch);
    // Position of the tile's first token.
    let first_position = sequence.context_len - sequence.q_len + item.first;
    let seen = first_position + item.num_tokens;
    let block_len = head_dim * BLOCK_SIZE;
    // Blocks before the window of the tile's first token are seen by none of its tokens.
    let first_block = shape.first_visible(first_position) / BLOCK_SIZE;
    let last_block = (seen - 1) / BLOCK_SIZE;
    let index = |block: usize| {
        let block = sequence.block_table[block] as usize;
        block * num_kv_heads + item.kv_head
    };
    for span in item.spans.clone() {
        let start = span * SPAN;
        let blocks = (span * SPAN_BLOCKS).max(first_block)
            ..last_block.min(span * SPAN_BLOCKS + SPAN_BLOCKS - 1) + 1;
        // Rows that see a part of `len` keys from `start` on: those before see none of it, and neither do those behind,
        // whose windows begin after it.
        let rows = |start: usize, len: usize| {
            let in_window = shape.window.map_or(item.num_tokens, |window| {
                (start + len - 1 + window).saturating_sub(first_position)
            });
            let first = start.saturating_sub(first_position);
            first * group..in_window.min(item.num_tokens) * group
        };
        for first in blocks.clone().step_by(BLOCKS_TOGETHER) {
            let together = first..blocks.end.min(first + BLOCKS_TOGETHER);
            for (block, keys) in together.clone().zip(scratch.k.chunks_exact_mut(block_len)) {
                M::widen_keys(inputs.k, index(block), keys);
            }
            // Some rows see the first of them only; the scores they get too many are not read.
            let rows = rows(first * BLOCK_SIZE, together.len() * BLOCK_SIZE);
            let in_span = first % SPAN_BLOCKS;
            M::scores(scratch, rows, in_span..in_span + together.len(), head_dim);
        }
        for row in rows(start, SPAN) {
            let position = first_position + row / group;
            let hidden = shape.first_visible(position).saturating_sub(start);
            let visible = hidden..(position + 1 - start).min(SPAN);
            softmax_row(scratch, row, visible, shape);
        }
        for block in blocks {
            M::widen_values(inputs.v, index(block), &mut scratch.v);
            let rows = rows(block * BLOCK_SIZE, BLOCK_SIZE);
            let valid = (seen - block * BLOCK_SIZE).min(BLOCK_SIZE);
            M::sums(scratch, rows, (block % SPAN_BLOCKS, valid), head_dim);
        }
        if ends_chunk(item, span) {
            scratch.end_chunk();
        }
    }
    scratch.end_item();
}

/// Copies the tile's queries, scaled, and resets the running sums.
#[inline(always)]
pub(super) fn load_queries(inputs: &Inputs<'_>, item: &Item<'_>, scratch: &mut Scratch) {
    let AttentionShape {
        num_heads,
        head_dim,
        ..
    } = inputs.shape;
    let group = inputs.shape.group();
    let (rows, scale) = (item.num_tokens * group, inputs.shape.scale);
    scratch.q.clear();
    for token in 0..item.num_tokens {
        let row = item.sequence.q_start + item.first + token;
        let at = (row * num_heads + item.kv_head * group) * head_dim;
        scratch.q.extend(
            inputs.q[at..at + group * head_dim]
                .iter()
                .map(|value| value * scale),
        );
    }
    scratch.running.reset(rows, head_dim);
    // Written before they are read, so what another tile left in them does not matter.
    for (buffer, len) in [
        (&mut scratch.weights, rows * SPAN),
        (&mut scratch.k, BLOCKS_TOGETHER * head_dim * BLOCK_SIZE),
        (&mut scratch.v, head_dim * BLOCK_SIZE),
    ] {
        buffer.resize(len, 0.0);
    }
}

/// What a tile does with a block of the cache. Every implementation adds in the same order, so all give the same bits.
pub(super) trait BlockMath {
    /// Converts a tile of keys.
    fn widen_keys(from: Cached<'_>, tile: usize, to: &mut [f32]);

    /// Converts a tile of values.
    fn widen_values(from: Cached<'_>, tile: usize, to: &mut [f32]);

    /// Writes the scores of some rows with the keys of at most [`BLOCKS_TOGETHER`] blocks of the span to the weights.
    fn scores(scratch: &mut Scratch, rows: Range<usize>, blocks: Range<usize>, head_dim: usize);

    /// Adds the values of the first `valid` tokens of block `block`, times their weights, to the sums of some rows.
    fn sums(scratch: &mut Scratch, rows: Range<usize>, block: (usize, usize), head_dim: usize);
}

/// Plain loops.
struct Portable<const FUSED: bool>;

impl<const FUSED: bool> BlockMath for Portable<FUSED> {
    #[inline(always)]
    fn widen_keys(from: Cached<'_>, tile: usize, to: &mut [f32]) {
        match from {
            Cached::F16(from) => widen_halves(tile_of(from, tile, to.len()), to),
            Cached::F32(from) => to.copy_from_slice(tile_of(from, tile, to.len())),
            Cached::Q8(from) => {
                let head_dim = to.len() / BLOCK_SIZE;
                let tile = tile_of(from, tile, q8_tile::tile_bytes(head_dim));
                for (d, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                    let scales = group_scales(tile, head_dim, d / GROUP);
                    for lane in 0..LANES {
                        to[lane] = scales[lane] * centred(tile[d * LANES + lane]);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn widen_values(from: Cached<'_>, tile: usize, to: &mut [f32]) {
        match from {
            Cached::F16(from) => widen_halves(tile_of(from, tile, to.len()), to),
            Cached::F32(from) => to.copy_from_slice(tile_of(from, tile, to.len())),
            Cached::Q8(from) => {
                let head_dim = to.len() / BLOCK_SIZE;
                let tile = tile_of(from, tile, q8_tile::tile_bytes(head_dim));
                for group in 0..q8_tile::groups(head_dim) {
                    let scales = group_scales(tile, head_dim, group);
                    let columns = group * GROUP..head_dim.min((group + 1) * GROUP);
                    for (t, scale) in scales.into_iter().enumerate() {
                        let row = t * head_dim + columns.start..t * head_dim + columns.end;
                        for (to, byte) in to[row.clone()].iter_mut().zip(&tile[row]) {
                            *to = scale * centred(*byte);
                        }
                    }
                }
            }
        }
    }

    // Loops, not closures: code outside these functions is not compiled for their instruction set.
    #[inline(always)]
    fn scores(scratch: &mut Scratch, rows: Range<usize>, blocks: Range<usize>, head_dim: usize) {
        for (index, block) in blocks.enumerate() {
            let keys = index * head_dim * BLOCK_SIZE;
            for row in rows.clone().step_by(ROW_GROUP) {
                let at = (row, block, keys);
                match rows.end - row {
                    1 => score_rows::<FUSED, 1>(scratch, at, head_dim),
                    2 => score_rows::<FUSED, 2>(scratch, at, head_dim),
                    3 => score_rows::<FUSED, 3>(scratch, at, head_dim),
                    _ => score_rows::<FUSED, ROW_GROUP>(scratch, at, head_dim),
                }
            }
        }
    }

    #[inline(always)]
    fn sums(scratch: &mut Scratch, rows: Range<usize>, block: (usize, usize), head_dim: usize) {
        for row in rows.clone().step_by(ROW_GROUP) {
            match rows.end - row {
                1 => sum_rows::<FUSED, 1>(scratch, row, block, head_dim),
                2 => sum_rows::<FUSED, 2>(scratch, row, block, head_dim),
                3 => sum_rows::<FUSED, 3>(scratch, row, block, head_dim),
                _ => sum_rows::<FUSED, ROW_GROUP>(scratch, row, block, head_dim),
            }
        }
    }
}

/// Returns what each instruction set makes of a tile of bytes.
#[cfg(test)]
pub(super) fn widened_by_all(
    side: q8_tile::Side,
    cache: &[u8],
    tile: usize,
    head_dim: usize,
) -> Vec<Vec<f32>> {
    type Widen = fn(Cached<'_>, usize, &mut [f32]);
    let mut by: Vec<[Widen; 2]> = vec![[
        Portable::<false>::widen_keys,
        Portable::<false>::widen_values,
    ]];
    #[cfg(target_arch = "x86_64")]
    if avx512::suits(head_dim) {
        by.push([avx512::Avx512::widen_keys, avx512::Avx512::widen_values]);
    }
    let widened = |[keys, values]: [Widen; 2]| {
        let mut numbers = vec![0.0; head_dim * BLOCK_SIZE];
        let widen = match side {
            q8_tile::Side::Keys => keys,
            q8_tile::Side::Values => values,
        };
        widen(Cached::Q8(cache), tile, &mut numbers);
        numbers
    };
    by.into_iter().map(widened).collect()
}

#[inline(always)]
fn widen_halves(from: &[f16], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = f16_to_f32(*from);
    }
}

/// Returns the scales of a block's tokens in a group of a tile in 8 bits.
#[inline(always)]
fn group_scales(tile: &[u8], head_dim: usize, group: usize) -> [f32; LANES] {
    let bytes = &tile[q8_tile::scale_place(head_dim, 0, group)..][..2 * LANES];
    let mut scales = [0.0; LANES];
    for (scale, bytes) in scales.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *scale = scale_to_f32(f16::from_le_bytes(*bytes));
    }
    scales
}

/// Returns a scale as f32: as [`f16_to_f32`], and what is not finite stays so.
#[inline(always)]
fn scale_to_f32(half: f16) -> f32 {
    let is_finite = half.to_bits() & 0x7c00 != 0x7c00;
    if is_finite {
        f16_to_f32(half)
    } else {
        f32::NAN
    }
}

/// Returns the number that a byte stands for.
#[inline(always)]
fn centred(byte: u8) -> f32 {
    (i32::from(byte) - EXCESS) as f32
}

/// Scores of `R` rows with the 16 keys of a block, which begin at `keys`.
#[inline(always)]
fn score_rows<const FUSED: bool, const R: usize>(
    scratch: &mut Scratch,
    (row, block, keys): (usize, usize, usize),
    head_dim: usize,
) {
    let mut scores = [[0f32; LANES]; R];
    let q = &scratch.q[row * head_dim..][..R * head_dim];
    let keys = &scratch.k[keys..][..head_dim * BLOCK_SIZE];
    for (d, keys) in keys.chunks_exact(LANES).enumerate() {
        for r in 0..R {
            let query = q[r * head_dim + d];
            for lane in 0..LANES {
                scores[r][lane] = fma::<FUSED>(query, keys[lane], scores[r][lane]);
            }
        }
    }
    for (r, scores) in scores.iter().enumerate() {
        scratch.weights[(row + r) * SPAN + block * LANES..][..LANES].copy_from_slice(scores);
    }
}

/// Turns a row's scores with a span into weights relative to the new maximum and rescales what was summed so far.
#[inline(always)]
pub(super) fn softmax_row(
    scratch: &mut Scratch,
    row: usize,
    visible: Range<usize>,
    shape: AttentionShape,
) {
    let head_dim = shape.head_dim;
    // The blocks that the row sees.
    let blocks = visible.start / LANES * LANES..visible.end.next_multiple_of(LANES);
    let weights = &mut scratch.weights[row * SPAN..][..SPAN];
    weights[blocks.start..visible.start].fill(f32::NEG_INFINITY);
    weights[visible.end..blocks.end].fill(f32::NEG_INFINITY);
    let weights = &mut weights[blocks.clone()];
    if let Some(softcap) = shape.softcap {
        for weight in weights.iter_mut() {
            *weight = softcap * (*weight / softcap).tanh();
        }
    }
    let mut largest = [f32::NEG_INFINITY; LANES];
    for chunk in weights.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            largest[lane] = largest[lane].max(chunk[lane]);
        }
    }
    let old_max = scratch.running.max[row];
    let new_max = old_max.max(folded::<true>(&largest));
    for weight in weights.iter_mut() {
        *weight = exp(*weight - new_max);
    }
    // `exp` of minus infinity is small, not 0.
    weights[..visible.start - blocks.start].fill(0.0);
    weights[visible.end - blocks.start..].fill(0.0);
    let total = &mut scratch.running.total[row * LANES..][..LANES];
    if new_max > old_max {
        let rescale = if old_max == f32::NEG_INFINITY {
            0.0
        } else {
            exp(old_max - new_max)
        };
        total.iter_mut().for_each(|total| *total *= rescale);
        scratch.running.sums[row * head_dim..][..head_dim]
            .iter_mut()
            .for_each(|sum| *sum *= rescale);
        scratch.running.max[row] = new_max;
    }
    for chunk in weights.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            total[lane] += chunk[lane];
        }
    }
}

/// Returns the sum of 16 numbers or, with `MAX`, the largest: halves against each other, four steps where a fold in
/// order waits for fifteen.
#[inline(always)]
fn folded<const MAX: bool>(values: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    lanes.copy_from_slice(values);
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            let (a, b) = (lanes[lane], lanes[lane + half]);
            lanes[lane] = if MAX { a.max(b) } else { a + b };
        }
    }
    lanes[0]
}

/// Adds the block's weighted values to the sums of `R` rows.
#[inline(always)]
fn sum_rows<const FUSED: bool, const R: usize>(
    scratch: &mut Scratch,
    row: usize,
    (block, valid): (usize, usize),
    head_dim: usize,
) {
    let weights = &scratch.weights[row * SPAN + block * LANES..];
    let weights = &weights[..(R - 1) * SPAN + LANES];
    let whole = head_dim - head_dim % LANES;
    for at in (0..whole).step_by(LANES) {
        let mut sums = [[0f32; LANES]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            sums.copy_from_slice(&scratch.running.sums[(row + r) * head_dim + at..][..LANES]);
        }
        for t in 0..valid {
            let values = &scratch.v[t * head_dim + at..][..LANES];
            for r in 0..R {
                let weight = weights[r * SPAN + t];
                for lane in 0..LANES {
                    sums[r][lane] = fma::<FUSED>(weight, values[lane], sums[r][lane]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            scratch.running.sums[(row + r) * head_dim + at..][..LANES].copy_from_slice(sums);
        }
    }
    for d in whole..head_dim {
        for r in 0..R {
            let mut sum = scratch.running.sums[(row + r) * head_dim + d];
            for t in 0..valid {
                sum = fma::<FUSED>(weights[r * SPAN + t], scratch.v[t * head_dim + d], sum);
            }
            scratch.running.sums[(row + r) * head_dim + d] = sum;
        }
    }
}

#[inline(always)]
fn store(inputs: &Inputs<'_>, item: &Item<'_>, running: &Running) {
    let AttentionShape {
        num_heads,
        head_dim,
        ..
    } = inputs.shape;
    let group = inputs.shape.group();
    for token in 0..item.num_tokens {
        let row = item.sequence.q_start + item.first + token;
        let at = (row * num_heads + item.kv_head * group) * head_dim;
        // SAFETY: tokens belong to one tile, and tiles of a token differ in their key head, so ranges do not overlap.
        let out = unsafe { inputs.out.range(at, group * head_dim) };
        let rows = token * group..(token + 1) * group;
        for (out, row) in out.chunks_exact_mut(head_dim).zip(rows) {
            let normalise = 1.0 / folded::<false>(&running.total[row * LANES..][..LANES]);
            let sums = &running.sums[row * head_dim..][..head_dim];
            out.iter_mut()
                .zip(sums)
                .for_each(|(out, sum)| *out = sum * normalise);
        }
    }
}
