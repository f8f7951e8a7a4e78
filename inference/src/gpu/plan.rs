//! How a step is run on a GPU: its batch bucket, the split of its contexts, its tiles of queries. Pure arithmetic.

use crate::{
    kv_cache::{BLOCK_SIZE, blocks_for},
    model::RowLogits,
    ops::packed_matmul::{HALVES_UNIT_BYTES, TILE_TOKENS, X_UNIT_BYTES, units_of},
    runner::StepInput,
    sampling::{ROW_CANDIDATES, Wanted},
};

/// Sequences of a captured step. A step of single tokens is padded to the next; above the last it is not captured.
pub const BUCKETS: [usize; 10] = [1, 2, 4, 8, 16, 24, 32, 48, 64, 128];
/// Most splits of a context.
pub const MAX_SPLITS: usize = 64;
/// Blocks of keys that a split has at least: two for each of its warps.
const BLOCKS_OF_SPLIT: usize = 8;
/// Blocks of threads for each multiprocessor that attention aims at.
const WAVES: usize = 1;
/// Rows of queries of a tile of `paged_prefill_attention.cu`.
pub const TILE_QUERIES: usize = 128;
/// A row that only fills a batch; the value of `device.cuh`.
pub const NO_SLOT: u32 = u32::MAX;

/// Logits of a slice, and slices of a row, of `candidates_of_row.cu`.
const SLICE: usize = 8_192;
const MOST_SLICES: usize = 32;
// One block joins the candidates of all slices, and takes as many as a slice has logits.
const _: () = assert!(MOST_SLICES * ROW_CANDIDATES <= SLICE);

/// Returns into how many slices a row of logits is cut to choose its candidates; `None` when it is too long.
pub fn slices_of(vocab_size: usize) -> Option<usize> {
    let slices = vocab_size.div_ceil(SLICE);
    (1..=MOST_SLICES).contains(&slices).then_some(slices)
}

/// Returns what of each row with logits is sent to the host. Whole rows are numbered in their order; the largest are filled in later.
pub fn rows_to_send(step: &StepInput, chooses_candidates: bool) -> Vec<RowLogits> {
    let mut whole = 0;
    let rows = 0..step.logits_rows.len();
    let to_send = rows.map(|row| match step.wanted(row) {
        Wanted::Largest => RowLogits::Largest(0),
        Wanted::Candidates if chooses_candidates => RowLogits::Candidates,
        Wanted::Candidates | Wanted::Row => {
            whole += 1;
            RowLogits::Whole(whole - 1)
        }
    });
    to_send.collect()
}

/// What a captured step depends on: the same key, the same launches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GraphKey {
    pub bucket: usize,
    pub num_splits: usize,
}

/// Returns the bucket of a number of sequences; `None` above the largest.
pub fn bucket_of(num_sequences: usize) -> Option<usize> {
    BUCKETS.into_iter().find(|&bucket| bucket >= num_sequences)
}

/// Whether every sequence of the step has one token: then it is captured.
pub fn is_decode(step: &StepInput) -> bool {
    step.sequences.iter().all(|sequence| sequence.q_len == 1)
}

/// Returns the key of a step of single tokens; `None` when it is not captured.
pub fn graph_key(
    step: &StepInput,
    num_kv_heads: usize,
    multiprocessors: usize,
) -> Option<GraphKey> {
    let bucket = bucket_of(step.sequences.len()).filter(|_| is_decode(step))?;
    let longest = step
        .sequences
        .iter()
        .map(|sequence| sequence.context_len)
        .max()?;
    Some(GraphKey {
        bucket,
        num_splits: num_splits(bucket * num_kv_heads, longest, multiprocessors),
    })
}

/// Returns in how many parts contexts are split, so that `rows` (sequences times key heads) fill the device: a power of two.
pub fn num_splits(rows: usize, longest_context: usize, multiprocessors: usize) -> usize {
    let wanted = (WAVES * multiprocessors).div_ceil(rows.max(1));
    let useful = blocks_for(longest_context).div_ceil(BLOCKS_OF_SPLIT);
    let splits = wanted.min(useful).clamp(1, MAX_SPLITS);
    // The power of two below, so that a step's launches change seldom as contexts grow.
    1 << splits.ilog2()
}

/// A tile of queries of one sequence, as `paged_prefill_attention.cu` reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct QueryTile {
    pub sequence: u32,
    pub first_row: u32,
    pub rows: u32,
    pub first_position: u32,
}

/// Returns the tiles of a step, those with most keys first, so that no long one starts last.
pub fn query_tiles(step: &StepInput) -> Vec<QueryTile> {
    let mut tiles = Vec::new();
    for (index, sequence) in step.sequences.iter().enumerate() {
        let first_position = sequence.context_len - sequence.q_len;
        for start in (0..sequence.q_len).step_by(TILE_QUERIES) {
            tiles.push(QueryTile {
                sequence: index as u32,
                first_row: (sequence.q_start + start) as u32,
                rows: (sequence.q_len - start).min(TILE_QUERIES) as u32,
                first_position: (first_position + start) as u32,
            });
        }
    }
    tiles.sort_by_key(|tile| std::cmp::Reverse(tile.first_position + tile.rows));
    tiles
}

/// How the activations of so many tokens are written, and with what they are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Up to 8: whole numbers of 14 bits, `packed_gemv.cu`.
    Few,
    /// Up to 64: f16 in the order of fragments, `packed_gemm.cu`.
    Some,
    /// f16 rows, weights in f16, cuBLAS.
    Many,
}

/// Most tokens of products that read packed weights where the weights are there in f16 too: from here on cuBLAS is as fast.
pub const MOST_PACKED: usize = 32;
/// The same where they would have to be unpacked for each product.
pub const MOST_PACKED_ALONE: usize = 64;

impl Width {
    /// `most_packed`: [`MOST_PACKED`] or [`MOST_PACKED_ALONE`].
    pub fn of(tokens: usize, most_packed: usize) -> Self {
        if tokens <= TILE_TOKENS {
            Self::Few
        } else if tokens <= most_packed {
            Self::Some
        } else {
            Self::Many
        }
    }

    /// Returns the bytes of activations of this width of rows.
    pub fn activation_bytes(self, tokens: usize, width: usize) -> usize {
        let tiles = tokens.div_ceil(TILE_TOKENS) * units_of(width);
        match self {
            Self::Few => tiles * X_UNIT_BYTES,
            Self::Some => tiles * HALVES_UNIT_BYTES,
            Self::Many => 2 * tokens * width,
        }
    }
}

/// Returns the tokens of the smallest entry point of `packed_gemm.cu` that has room.
pub fn gemm_entry(tokens: usize) -> Option<usize> {
    [16, 32, 64].into_iter().find(|&most| tokens <= most)
}

/// Returns the rows of weights of a block of `packed_gemm.cu`; its `gemm_rows`.
pub fn gemm_rows(tokens: usize) -> usize {
    if tokens > 32 { 192 } else { 128 }
}

/// Columns that its splits share out.
const GEMM_CHUNKS_OF_UNIT: usize = 4;

/// Returns into how many parts `packed_gemm.cu` cuts the columns; its `gemm_splits`.
pub fn gemm_splits(row_blocks: usize, num_units: usize, multiprocessors: usize) -> usize {
    let chunks = num_units * GEMM_CHUNKS_OF_UNIT;
    let cost = |splits: usize| {
        let waves = (row_blocks * splits).div_ceil(2 * multiprocessors);
        let (end, joins) = if splits > 1 { (7, splits) } else { (5, 0) };
        waves * (chunks.div_ceil(splits) + end) + joins
    };
    let splits = (1..=12).filter(|&splits| splits == 1 || splits * GEMM_CHUNKS_OF_UNIT <= chunks);
    splits
        .min_by_key(|&splits| (cost(splits), splits))
        .unwrap_or(1)
}

/// Rows of weights of a block of `packed_gemm_wgmma.cu`.
pub const WGMMA_ROWS: usize = 256;

/// Returns into how many parts `packed_gemm_wgmma.cu` cuts the columns; its `wgmma_splits`.
pub fn wgmma_splits(row_blocks: usize, num_units: usize, multiprocessors: usize) -> usize {
    let chunks = 2 * num_units;
    let cost = |splits: usize| {
        let waves = (row_blocks * splits).div_ceil(multiprocessors);
        let steps = splits.next_power_of_two().ilog2() as usize;
        waves * (chunks.div_ceil(splits) + 2 + usize::from(splits > 1)) + 2 * steps
    };
    let splits = (1..=16).filter(|&splits| splits == 1 || splits * 2 <= chunks);
    splits
        .min_by_key(|&splits| (cost(splits), splits))
        .unwrap_or(1)
}

/// Most experts of a layer and of a token for which there are kernels (`expert_routing.cu`).
pub const MOST_EXPERTS: usize = 256;
pub const MOST_EXPERTS_USED: usize = 8;
/// Most tokens that are routed by one launch.
pub const ROUTED_AT_ONCE: usize = 64;

/// What the routing of so many tokens has room for: no size depends on which experts they choose (`experts.cuh`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertPlan {
    /// A token and one of its experts.
    pub pairs: usize,
    /// Rows of activations, those of an expert from a multiple of 8 on.
    pub places: usize,
    /// Most places of a tile, which a block multiplies.
    pub tile_rows: usize,
    /// As many as there can be.
    pub num_tiles: usize,
}

impl ExpertPlan {
    pub fn new(tokens: usize, num_experts: usize, num_used: usize) -> Self {
        let pairs = tokens * num_used;
        let in_use = pairs.min(num_experts);
        let tile_rows = if tokens <= TILE_TOKENS {
            TILE_TOKENS
        } else {
            // Half more than an expert has on average, so that most need one tile, whose weights are read once.
            let wanted = (3 * pairs).div_ceil(2 * num_experts.max(1));
            gemm_entry(wanted).unwrap_or(64)
        };
        Self {
            pairs,
            places: pairs + in_use * (TILE_TOKENS - 1),
            tile_rows,
            num_tiles: pairs / tile_rows + in_use,
        }
    }

    /// Returns room for the plan of any number of tokens up to this one.
    pub fn room(tokens: usize, num_experts: usize, num_used: usize) -> Self {
        let plan = Self::new(tokens, num_experts, num_used);
        Self {
            num_tiles: plan.pairs / TILE_TOKENS + plan.pairs.min(num_experts),
            ..plan
        }
    }
}

/// Numbers that a step passes to the device, one array after another: `sequences` rows of tables, `tokens` of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputLayout {
    pub tokens: usize,
    pub sequences: usize,
    pub max_blocks: usize,
    pub tiles: usize,
}

impl InputLayout {
    pub fn token_ids(&self) -> usize {
        0
    }
    pub fn positions(&self) -> usize {
        self.tokens
    }
    pub fn slots(&self) -> usize {
        2 * self.tokens
    }
    /// Rows with logits.
    pub fn logits_rows(&self) -> usize {
        3 * self.tokens
    }
    pub fn context_lens(&self) -> usize {
        4 * self.tokens
    }
    /// A multiple of 4: tiles are read 16 bytes at once.
    pub fn query_tiles(&self) -> usize {
        (self.context_lens() + self.sequences).next_multiple_of(4)
    }
    pub fn block_tables(&self) -> usize {
        self.query_tiles() + 4 * self.tiles
    }
    /// Returns the number of `u32`.
    pub fn len(&self) -> usize {
        self.block_tables() + self.sequences * self.max_blocks
    }

    /// Writes the step into `to`, of [`Self::len`] numbers; rows that the step does not have only fill the batch.
    pub fn fill(&self, step: &StepInput, tiles: &[QueryTile], to: &mut [u32]) {
        let mut put = |at: usize, len: usize, values: &[u32], rest: u32| {
            to[at..][..values.len()].copy_from_slice(values);
            to[at + values.len()..at + len].fill(rest);
        };
        put(self.token_ids(), self.tokens, &step.token_ids, 0);
        put(self.positions(), self.tokens, &step.positions, 0);
        put(self.slots(), self.tokens, &step.slots, NO_SLOT);
        put(self.logits_rows(), self.tokens, &step.logits_rows, 0);
        let lens: Vec<u32> = step
            .sequences
            .iter()
            .map(|sequence| sequence.context_len as u32)
            .collect();
        put(self.context_lens(), self.sequences, &lens, 0);
        for (index, tile) in tiles.iter().enumerate() {
            let words = [
                tile.sequence,
                tile.first_row,
                tile.rows,
                tile.first_position,
            ];
            put(self.query_tiles() + 4 * index, 4, &words, 0);
        }
        for (index, sequence) in step.sequences.iter().enumerate() {
            put(
                self.block_tables() + index * self.max_blocks,
                sequence.block_table.len(),
                &sequence.block_table,
                0,
            );
        }
    }
}

/// Returns the blocks of the longest context, rounded so that tables keep their places as models differ little.
pub fn table_width(max_len: usize) -> usize {
    max_len.div_ceil(BLOCK_SIZE).next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::paged_attention::AttentionSequence;

    fn step(sequences: &[(usize, usize)]) -> StepInput {
        let mut input = StepInput::default();
        for &(q_len, context_len) in sequences {
            let q_start = input.token_ids.len();
            input.token_ids.extend((0..q_len as u32).map(|i| 100 + i));
            input
                .positions
                .extend((context_len - q_len) as u32..context_len as u32);
            input.slots.extend((0..q_len as u32).map(|i| 7 + i));
            input.logits_rows.push(input.token_ids.len() as u32 - 1);
            input.sequences.push(AttentionSequence {
                q_start,
                q_len,
                context_len,
                block_table: (0..blocks_for(context_len) as u32)
                    .map(|block| 50 + block)
                    .collect(),
            });
        }
        input
    }

    #[test]
    fn of_each_row_what_is_wanted_is_sent() {
        let mut step = step(&[(1, 40); 5]);
        // The last has no wish.
        step.wanted = vec![
            Wanted::Candidates,
            Wanted::Row,
            Wanted::Largest,
            Wanted::Candidates,
        ];
        let (chosen, largest) = (RowLogits::Candidates, RowLogits::Largest(0));
        let whole = RowLogits::Whole;
        assert_eq!(
            rows_to_send(&step, true),
            [chosen, whole(0), largest, chosen, whole(1)]
        );
        assert_eq!(
            rows_to_send(&step, false),
            [whole(0), whole(1), largest, whole(2), whole(3)]
        );
    }

    #[test]
    fn a_row_is_cut_into_slices_whose_candidates_fit_a_block() {
        let slices = [0, 1, 8_192, 8_193, 262_144, 262_145].map(slices_of);
        assert_eq!(slices, [None, Some(1), Some(1), Some(2), Some(32), None]);
    }

    #[test]
    fn steps_of_single_tokens_have_the_smallest_bucket_that_holds_them() {
        for (count, bucket) in [
            (1, 1),
            (2, 2),
            (3, 4),
            (8, 8),
            (9, 16),
            (33, 48),
            (128, 128),
        ] {
            let key = graph_key(&step(&vec![(1, 40); count]), 8, 132).unwrap();
            assert_eq!(key.bucket, bucket, "{count}");
        }
        assert_eq!(graph_key(&step(&vec![(1, 40); 129]), 8, 132), None);
        assert_eq!(graph_key(&step(&[(1, 40), (2, 40)]), 8, 132), None);
        assert_eq!(graph_key(&step(&[]), 8, 132), None);
    }

    #[test]
    fn contexts_are_split_until_the_device_is_full_and_no_further() {
        // One sequence of 8 key heads: 17 splits fill 132 multiprocessors.
        assert_eq!(num_splits(8, 1024, 132), 8);
        assert_eq!(num_splits(8, 8192, 132), 16);
        assert_eq!(num_splits(2, 8192, 132), 64);
        assert_eq!(num_splits(8, 60, 132), 1);
        assert_eq!(num_splits(64 * 8, 8192, 132), 1);
        assert_eq!(num_splits(1, 1 << 20, 132), MAX_SPLITS);
        for rows in 1..600 {
            for len in [1, 16, 17, 500, 5_000, 100_000] {
                let splits = num_splits(rows, len, 132);
                assert!(splits.is_power_of_two() && splits <= MAX_SPLITS);
                // Every split has work for its warps.
                assert!(
                    splits == 1 || splits * BLOCKS_OF_SPLIT < blocks_for(len) + BLOCKS_OF_SPLIT
                );
            }
        }
    }

    #[test]
    fn activations_are_written_for_the_product_that_reads_them() {
        for (tokens, most, width) in [
            (1, 32, Width::Few),
            (8, 32, Width::Few),
            (9, 32, Width::Some),
            (32, 32, Width::Some),
            (33, 32, Width::Many),
            (33, 64, Width::Some),
            (65, 64, Width::Many),
        ] {
            assert_eq!(Width::of(tokens, most), width, "{tokens}");
        }
        assert_eq!(Width::Few.activation_bytes(3, 576), 3 * X_UNIT_BYTES);
        assert_eq!(Width::Some.activation_bytes(17, 576), 3 * 3 * 4096);
        assert_eq!(Width::Many.activation_bytes(100, 576), 2 * 100 * 576);
    }

    #[test]
    fn columns_are_split_until_blocks_fill_the_device() {
        // The matrices of Llama 3.1 8B on 132 multiprocessors at 64 tokens: gate and up, down, q with k and v, output.
        for (row_blocks, num_units, splits) in
            [(150, 16, 3), (22, 56, 12), (34, 16, 6), (22, 16, 8)]
        {
            assert_eq!(gemm_splits(row_blocks, num_units, 132), splits);
        }
        for row_blocks in 1..300 {
            for num_units in [1, 3, 16, 56] {
                assert!((1..=num_units.max(1)).contains(&gemm_splits(row_blocks, num_units, 132)));
            }
        }
        assert_eq!(
            [9, 17, 33, 65].map(gemm_entry),
            [Some(16), Some(32), Some(64), None]
        );
    }

    #[test]
    fn every_routing_has_room_and_tiles_are_read_once_on_average() {
        for (num_experts, num_used) in [(8, 2), (1, 1), (64, 8), (128, 8), (60, 4), (3, 3)] {
            for tokens in (1..200).chain([511, 2_048, 5_000]) {
                let plan = ExpertPlan::new(tokens, num_experts, num_used);
                let room = ExpertPlan::room(tokens + 7, num_experts, num_used);
                assert!(plan.num_tiles <= room.num_tiles && plan.places <= room.places);
                assert_eq!(plan.tile_rows == TILE_TOKENS, tokens <= TILE_TOKENS);
                // The worst: all pairs but one each with one expert; and all alike.
                let used = num_experts.min(plan.pairs);
                for first in [plan.pairs - (used - 1), plan.pairs.div_ceil(used)] {
                    let first = first.min(tokens);
                    let rest = (plan.pairs - first).div_ceil((used - 1).max(1)).min(tokens);
                    let counts = [first].into_iter().chain(vec![rest; used - 1]);
                    let (mut places, mut tiles, mut left) = (0, 0, plan.pairs);
                    for count in counts {
                        let count = count.min(left);
                        left -= count;
                        places += count.next_multiple_of(TILE_TOKENS);
                        tiles += count.div_ceil(plan.tile_rows);
                    }
                    assert!(places <= plan.places && tiles <= plan.num_tiles, "{plan:?}");
                }
            }
        }
        // Mixtral: 4 tokens an expert, 16, and a prompt.
        assert_eq!(ExpertPlan::new(16, 8, 2).tile_rows, 16);
        assert_eq!(ExpertPlan::new(64, 8, 2).tile_rows, 32);
        assert_eq!(ExpertPlan::new(2_048, 8, 2).tile_rows, 64);
        assert_eq!(ExpertPlan::new(1, 8, 2).num_tiles, 2);
    }

    #[test]
    fn tiles_cover_every_query_once_and_the_longest_come_first() {
        let step = step(&[(1, 900), (300, 300), (128, 4_000)]);
        let tiles = query_tiles(&step);
        let mut seen = vec![0; step.token_ids.len()];
        for tile in &tiles {
            assert!((1..=TILE_QUERIES as u32).contains(&tile.rows));
            for row in tile.first_row..tile.first_row + tile.rows {
                seen[row as usize] += 1;
                let position = tile.first_position + row - tile.first_row;
                assert_eq!(step.positions[row as usize], position);
            }
        }
        assert!(seen.iter().all(|&times| times == 1));
        let last = |tile: &QueryTile| tile.first_position + tile.rows;
        assert!(
            tiles
                .windows(2)
                .all(|pair| last(&pair[0]) >= last(&pair[1]))
        );
    }

    #[test]
    fn a_padded_step_writes_to_no_slot_and_attends_to_nothing() {
        let step = step(&[(1, 33), (1, 5)]);
        let layout = InputLayout {
            tokens: 4,
            sequences: 4,
            max_blocks: 3,
            tiles: 0,
        };
        let mut numbers = vec![9; layout.len()];
        layout.fill(&step, &[], &mut numbers);
        assert_eq!(numbers[layout.positions()..][..4], [32, 4, 0, 0]);
        assert_eq!(numbers[layout.slots()..][..4], [7, 7, NO_SLOT, NO_SLOT]);
        assert_eq!(numbers[layout.logits_rows()..][..4], [0, 1, 0, 0]);
        assert_eq!(numbers[layout.context_lens()..][..4], [33, 5, 0, 0]);
        assert_eq!(numbers[layout.block_tables()..][..4], [50, 51, 52, 50]);
    }

    #[test]
    fn the_arrays_of_a_step_do_not_overlap() {
        let layout = InputLayout {
            tokens: 5,
            sequences: 3,
            max_blocks: 4,
            tiles: 2,
        };
        assert_eq!(layout.query_tiles() % 4, 0);
        assert!(layout.query_tiles() >= layout.context_lens() + 3);
        assert_eq!(layout.len(), layout.block_tables() + 12);
    }
}
