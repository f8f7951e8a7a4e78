//! Paged prefill attention on tensor cores: prompts, chunks of prompts and single rows in one launch.

use half::f16;
use inference::{
    kv_cache::q8_tile::Side,
    ops::paged_attention::{AttentionSequence, AttentionShape, reference},
};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{assert_close, put_bytes, random, round_to_half, runner::Case, unwritten_bytes};

const BLOCK: usize = 16;
/// The most query rows of a block of threads, `PREFILL_ROWS` in the kernel.
const MOST_ROWS: usize = 128;
/// Queries and weights are rounded to f16, and values are of the order of 1.
const TOLERANCE: f32 = 2e-3;
/// A block that no cache has.
const NOBODYS: u32 = u32::MAX / 2;

/// What keys and values are kept in.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Format {
    F16,
    Q8,
}

const FORMATS: [Format; 2] = [Format::F16, Format::Q8];

#[derive(Clone, Copy)]
struct Check<'a> {
    format: Format,
    shape: AttentionShape,
    /// Tokens in the cache and how many of them, the last, are queries.
    sequences: &'a [(usize, usize)],
    /// Rows that a tile has at most.
    rows: usize,
}

/// Keys and values of a step, as numbers that are already rounded to f16 and as bytes: what no token wrote is NaN, so that reading
/// it shows.
struct Cache {
    numbers: [Vec<f32>; 2],
    bytes: [Vec<u8>; 2],
    sequences: Vec<AttentionSequence>,
}

impl Format {
    /// Writes a token's numbers of a head to a cache, and returns what they are in the products.
    fn put(self, side: Side, cache: &mut [u8], place: (usize, usize), head: &[f32]) -> Vec<f32> {
        if self == Self::Q8 {
            let numbers = put_bytes(side, cache, place, head);
            return numbers.into_iter().map(round_to_half).collect();
        }
        let (tile, token) = place;
        for (d, x) in head.iter().enumerate() {
            let at = tile * head.len() * BLOCK + side.place(head.len(), token, d);
            cache[2 * at..][..2].copy_from_slice(&f16::from_f32(*x).to_le_bytes());
        }
        head.iter().copied().map(round_to_half).collect()
    }

    fn unwritten(self, tiles: usize, head_dim: usize) -> Vec<u8> {
        match self {
            Self::F16 => vec![0xff; 2 * tiles * head_dim * BLOCK],
            Self::Q8 => unwritten_bytes(tiles, head_dim),
        }
    }
}

impl<'a> Check<'a> {
    fn new(shape: AttentionShape, sequences: &'a [(usize, usize)]) -> Self {
        Self {
            format: Format::F16,
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
        let tiles = order.len() * heads;
        let random_numbers = [1, 2].map(|seed| random(seed, tiles * dim * BLOCK));
        let mut numbers = [(); 2].map(|()| vec![f32::NAN; tiles * dim * BLOCK]);
        let mut bytes = [(); 2].map(|()| self.format.unwritten(tiles, dim));
        let mut sequences = Vec::new();
        let mut q_start = 0;
        for &(context_len, q_len) in self.sequences {
            let mut block_table = order.split_off(order.len() - context_len.div_ceil(BLOCK));
            let first = self.shape.first_visible(context_len - q_len) / BLOCK * BLOCK;
            block_table[..first / BLOCK].fill(NOBODYS);
            for (t, head) in (first..context_len).flat_map(|t| (0..heads).map(move |h| (t, h))) {
                let tile = block_table[t / BLOCK] as usize * heads + head;
                for (which, side) in [Side::Keys, Side::Values].into_iter().enumerate() {
                    let at = |d| tile * dim * BLOCK + side.place(dim, t % BLOCK, d);
                    let new: Vec<f32> = (0..dim).map(|d| random_numbers[which][at(d)]).collect();
                    let place = (tile, t % BLOCK);
                    let became = self.format.put(side, &mut bytes[which], place, &new);
                    (0..dim).for_each(|d| numbers[which][at(d)] = became[d]);
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
        Cache {
            numbers,
            bytes,
            sequences,
        }
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
        let name = match self.format {
            Format::F16 => "paged_prefill_f16",
            Format::Q8 => "paged_prefill_q8",
        };
        Case::new(name)
            .size("num_heads", self.shape.num_heads)
            .size("num_kv_heads", self.shape.num_kv_heads)
            .size("head_dim", self.shape.head_dim)
            .size("max_blocks", max_blocks)
            .size("window", self.shape.window.unwrap_or(0))
            .scalar("scale", self.shape.scale)
            .scalar("softcap", self.shape.softcap.unwrap_or(0.0))
            .buffer("q", q)
            .buffer("k_cache", &cache.bytes[0])
            .buffer("v_cache", &cache.bytes[1])
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
        let [k, v] = &cache.numbers;
        let want = reference::paged_attention(q, k, v, &cache.sequences, self.shape);
        let what = format!(
            "{:?} {:?} {:?} by {}",
            self.format, self.shape, self.sequences, self.rows
        );
        assert_close(&what, &out, &want, TOLERANCE);
        out
    }

    #[track_caller]
    fn run(&self) -> Vec<f32> {
        self.run_with(&self.queries())
    }

    #[track_caller]
    fn run_in_all_formats(&self) {
        for format in FORMATS {
            Self { format, ..*self }.run();
        }
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
            Check::new(shape, sequences[(i + i / 4 + j) % 4]).run_in_all_formats();
        }
    }
}

#[test]
fn chunks_that_take_several_tiles_agree_with_the_reference() {
    for head_dim in [64, 80, 96, 128] {
        Check::new(AttentionShape::new(2, 1, head_dim), &[(200, 150)]).run_in_all_formats();
    }
}

#[test]
fn prompts_of_whole_tiles_agree_with_the_reference() {
    let shape = AttentionShape::new(1, 1, 128);
    Check::new(shape, &[(64, 64), (128, 128), (192, 64)]).run_in_all_formats();
}

#[test]
fn a_window_and_a_bound_of_scores_agree_with_the_reference() {
    for (window, head_dim) in [(1, 96), (16, 80), (20, 128), (100, 64), (500, 96)] {
        let shape = AttentionShape {
            window: Some(window),
            softcap: Some(1.5),
            ..AttentionShape::new(2, 1, head_dim)
        };
        Check::new(shape, &[(1, 1), (16, 16), (150, 140), (129, 2)]).run_in_all_formats();
    }
}

#[test]
fn blocks_before_the_window_are_not_read() {
    let shape = AttentionShape {
        window: Some(70),
        ..AttentionShape::new(2, 2, 64)
    };
    Check::new(shape, &[(300, 3), (257, 20)]).run_in_all_formats();
}

/// Large scores, whose maximum moves from tile to tile: weights of one tile are nothing beside the next one's.
#[test]
fn weights_far_apart_agree_with_the_reference() {
    let shape = AttentionShape {
        scale: 1.0,
        ..AttentionShape::new(2, 1, 64)
    };
    for format in FORMATS {
        let check = Check {
            format,
            ..Check::new(shape, &[(330, 40)])
        };
        // Rounded before, because such a scale makes the rounding of queries large.
        let rounded = check.queries().into_iter().map(round_to_half);
        check.run_with(&rounded.collect::<Vec<_>>());
    }
}

#[test]
fn a_row_gives_the_same_bits_however_its_prompt_is_cut() {
    for (window, format) in [
        (None, Format::F16),
        (Some(50), Format::F16),
        (None, Format::Q8),
        (Some(50), Format::Q8),
    ] {
        let shape = AttentionShape {
            window,
            ..AttentionShape::new(1, 1, 80)
        };
        let check = |rows| Check {
            format,
            rows,
            ..Check::new(shape, &[(190, 150)])
        };
        assert_eq!(check(MOST_ROWS).run(), check(37).run());
    }
}
