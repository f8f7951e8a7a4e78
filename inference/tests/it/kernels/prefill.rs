//! Paged prefill attention on tensor cores: prompts, chunks of prompts and single rows in one launch.

use half::f16;
use inference::ops::paged_attention::{AttentionSequence, AttentionShape, reference};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{assert_close, random, runner::Case};

const BLOCK: usize = 16;
/// The most query rows of a block of threads, `PREFILL_ROWS` in the kernel.
const MOST_ROWS: usize = 128;
/// Queries and weights are rounded to f16, and values are of the order of 1.
const TOLERANCE: f32 = 2e-3;
/// A block that no cache has.
const NOBODYS: u32 = u32::MAX / 2;

struct Check<'a> {
    shape: AttentionShape,
    /// Tokens in the cache and how many of them, the last, are queries.
    sequences: &'a [(usize, usize)],
    /// Rows that a tile has at most.
    rows: usize,
}

/// Keys and values of a step, already rounded: what no token wrote is NaN, so that reading it shows.
struct Cache {
    k: Vec<f32>,
    v: Vec<f32>,
    sequences: Vec<AttentionSequence>,
}

fn round(values: Vec<f32>) -> Vec<f32> {
    let round = |x| f16::from_f32(x).to_f32();
    values.into_iter().map(round).collect()
}

fn halves(values: &[f32]) -> Vec<u16> {
    let bits = |&x: &f32| f16::from_f32(x).to_bits();
    values.iter().map(bits).collect()
}

impl<'a> Check<'a> {
    fn new(shape: AttentionShape, sequences: &'a [(usize, usize)]) -> Self {
        Self {
            shape,
            sequences,
            rows: MOST_ROWS,
        }
    }

    /// Blocks out of order. Those before the window of a sequence's first query belong to nobody.
    fn cache(&self) -> Cache {
        let AttentionShape {
            num_kv_heads: heads,
            head_dim: dim,
            ..
        } = self.shape;
        let blocks: usize = self.sequences.iter().map(|s| s.0.div_ceil(BLOCK)).sum();
        let mut order: Vec<u32> = (0..blocks as u32 + 3).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(5));
        let mut k = vec![f32::NAN; order.len() * heads * dim * BLOCK];
        let mut v = k.clone();
        let keys = round(random(1, k.len()));
        let values = round(random(2, v.len()));
        let mut sequences = Vec::new();
        let mut q_start = 0;
        for &(context_len, q_len) in self.sequences {
            let mut block_table = order.split_off(order.len() - context_len.div_ceil(BLOCK));
            let first = self.shape.first_visible(context_len - q_len) / BLOCK * BLOCK;
            block_table[..first / BLOCK].fill(NOBODYS);
            for t in first..context_len {
                let block = block_table[t / BLOCK] as usize;
                for head in 0..heads {
                    for d in 0..dim {
                        let k_at = ((block * heads + head) * dim + d) * BLOCK + t % BLOCK;
                        let v_at = ((block * heads + head) * BLOCK + t % BLOCK) * dim + d;
                        k[k_at] = keys[k_at];
                        v[v_at] = values[v_at];
                    }
                }
            }
            sequences.push(AttentionSequence {
                q_start,
                q_len,
                context_len,
                block_table,
            });
            q_start += q_len;
        }
        Cache { k, v, sequences }
    }

    /// Sequence, first row, rows and first position of each tile, those with the longest context first.
    fn tiles(&self, sequences: &[AttentionSequence]) -> Vec<u32> {
        let mut tiles = Vec::new();
        for (index, sequence) in sequences.iter().enumerate() {
            let position = sequence.context_len - sequence.q_len;
            for row in (0..sequence.q_len).step_by(self.rows) {
                let rows = self.rows.min(sequence.q_len - row);
                tiles.push([index, sequence.q_start + row, rows, position + row]);
            }
        }
        tiles.sort_by_key(|[_, _, rows, position]| std::cmp::Reverse(rows + position));
        let numbers = tiles.into_iter().flatten();
        numbers.map(|number| number as u32).collect()
    }

    fn case(&self, q: &[f32], cache: &Cache) -> Case {
        let tables = cache.sequences.iter().map(|s| &s.block_table);
        let max_blocks = tables.clone().map(Vec::len).max().unwrap_or(0);
        let tables: Vec<u32> = tables
            .flat_map(|table| (0..max_blocks).map(|i| table.get(i).copied().unwrap_or(NOBODYS)))
            .collect();
        Case::new("paged_prefill_f16")
            .size("num_heads", self.shape.num_heads)
            .size("num_kv_heads", self.shape.num_kv_heads)
            .size("head_dim", self.shape.head_dim)
            .size("max_blocks", max_blocks)
            .size("window", self.shape.window.unwrap_or(0))
            .scalar("scale", self.shape.scale)
            .scalar("softcap", self.shape.softcap.unwrap_or(0.0))
            .buffer("q", q)
            .buffer("k_cache", &halves(&cache.k))
            .buffer("v_cache", &halves(&cache.v))
            .buffer("block_tables", &tables)
            .buffer("tiles", &self.tiles(&cache.sequences))
    }

    fn queries(&self) -> Vec<f32> {
        let rows: usize = self.sequences.iter().map(|s| s.1).sum();
        random(3, rows * self.shape.num_heads * self.shape.head_dim)
    }

    #[track_caller]
    fn run_with(&self, q: &[f32]) -> Vec<f32> {
        let cache = self.cache();
        let out: Vec<f32> = self.case(q, &cache).run().get("out");
        let want = reference::paged_attention(q, &cache.k, &cache.v, &cache.sequences, self.shape);
        let what = format!("{:?} {:?} by {}", self.shape, self.sequences, self.rows);
        assert_close(&what, &out, &want, TOLERANCE);
        out
    }

    #[track_caller]
    fn run(&self) -> Vec<f32> {
        self.run_with(&self.queries())
    }
}

#[test]
fn every_head_size_and_group_agrees_with_the_reference() {
    let heads = [
        (3, 3),
        (4, 2),
        (3, 1),
        (4, 1),
        (7, 1),
        (8, 1),
        (14, 2),
        (6, 2),
    ];
    let sequences: [&[(usize, usize)]; 4] = [
        &[(1, 1)],
        &[(17, 17), (90, 5)],
        &[(16, 16)],
        &[(33, 3), (70, 70), (5, 1)],
    ];
    for (i, (num_heads, num_kv_heads)) in heads.into_iter().enumerate() {
        for (j, head_dim) in [64, 80, 96, 128].into_iter().enumerate() {
            let shape = AttentionShape::new(num_heads, num_kv_heads, head_dim);
            Check::new(shape, sequences[(i + i / 4 + j) % 4]).run();
        }
    }
}

#[test]
fn chunks_that_take_several_tiles_agree_with_the_reference() {
    for head_dim in [64, 80, 96, 128] {
        Check::new(AttentionShape::new(2, 1, head_dim), &[(200, 150)]).run();
    }
}

#[test]
fn prompts_of_whole_tiles_agree_with_the_reference() {
    let shape = AttentionShape::new(1, 1, 128);
    Check::new(shape, &[(64, 64), (128, 128), (192, 64)]).run();
}

#[test]
fn a_window_and_a_bound_of_scores_agree_with_the_reference() {
    for (window, head_dim) in [(1, 96), (16, 80), (20, 128), (100, 64), (500, 96)] {
        let shape = AttentionShape {
            window: Some(window),
            softcap: Some(1.5),
            ..AttentionShape::new(2, 1, head_dim)
        };
        Check::new(shape, &[(1, 1), (16, 16), (150, 140), (129, 2)]).run();
    }
}

#[test]
fn blocks_before_the_window_are_not_read() {
    let shape = AttentionShape {
        window: Some(70),
        ..AttentionShape::new(2, 2, 64)
    };
    Check::new(shape, &[(300, 3), (257, 20)]).run();
}

/// Large scores, whose maximum moves from tile to tile: weights of one tile are nothing beside the next one's.
#[test]
fn weights_far_apart_agree_with_the_reference() {
    let shape = AttentionShape {
        scale: 1.0,
        ..AttentionShape::new(2, 1, 64)
    };
    let check = Check::new(shape, &[(330, 40)]);
    // Rounded before, because such a scale makes the rounding of queries large.
    check.run_with(&round(check.queries()));
}

#[test]
fn a_row_gives_the_same_bits_however_its_prompt_is_cut() {
    for window in [None, Some(50)] {
        let shape = AttentionShape {
            window,
            ..AttentionShape::new(1, 1, 80)
        };
        let check = |rows| Check {
            rows,
            ..Check::new(shape, &[(190, 150)])
        };
        assert_eq!(check(MOST_ROWS).run(), check(37).run());
    }
}
