//! Paged decode attention, with and without splits of the context.

use half::{bf16, f16};
use inference::{
    kv_cache::q8_tile::Side,
    ops::paged_attention::{AttentionSequence, AttentionShape, reference},
};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    assert_close,
    packed::{assert_halves, assert_packed},
    put_bytes, random, round_to_half,
    runner::Case,
    unwritten_bytes,
};

const TILE: usize = 16;

#[derive(Debug, Clone, Copy)]
enum Format {
    F16,
    Bf16,
    F32,
    Q8,
}

/// Those that are read on tensor cores.
const TENSOR_FORMATS: [Format; 2] = [Format::F16, Format::Q8];

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::Q8 => "q8",
        }
    }

    /// Writes a token's numbers of a head to a cache, and returns what they have become: values of 8 bits are f16 in the products.
    fn put(self, side: Side, cache: &mut [u8], place: (usize, usize), head: &[f32]) -> Vec<f32> {
        let (tile, token) = place;
        let size = if matches!(self, Self::F32) { 4 } else { 2 };
        let mut put = |d: usize, bytes: &[u8]| {
            let at = tile * head.len() * TILE + side.place(head.len(), token, d);
            cache[at * size..][..size].copy_from_slice(bytes);
        };
        let numbers = head.iter().enumerate();
        match self {
            Self::F16 => numbers
                .map(|(d, x)| {
                    put(d, &f16::from_f32(*x).to_le_bytes());
                    round_to_half(*x)
                })
                .collect(),
            Self::Bf16 => numbers
                .map(|(d, x)| {
                    put(d, &bf16::from_f32(*x).to_le_bytes());
                    bf16::from_f32(*x).to_f32()
                })
                .collect(),
            Self::F32 => numbers
                .map(|(d, x)| {
                    put(d, &x.to_le_bytes());
                    *x
                })
                .collect(),
            Self::Q8 => {
                let numbers = put_bytes(side, cache, place, head).into_iter();
                match side {
                    Side::Keys => numbers.collect(),
                    Side::Values => numbers.map(round_to_half).collect(),
                }
            }
        }
    }

    /// A cache that no token has written to: NaN, so that reading it shows.
    fn unwritten(self, tiles: usize, head_dim: usize) -> Vec<u8> {
        let bytes = match self {
            Self::Q8 => return unwritten_bytes(tiles, head_dim),
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
        };
        vec![0xff; tiles * head_dim * TILE * bytes]
    }
}

struct Check<'a> {
    format: Format,
    shape: AttentionShape,
    /// 0: a row that only fills the batch.
    context_lens: &'a [usize],
    num_splits: usize,
}

/// Keys and values of a step as numbers and as bytes: what no token wrote is NaN, so that reading it shows.
#[derive(Clone)]
struct Cache {
    numbers: [Vec<f32>; 2],
    bytes: [Vec<u8>; 2],
    block_tables: Vec<Vec<u32>>,
}

impl Check<'_> {
    fn cache(&self) -> Cache {
        let AttentionShape {
            num_kv_heads: heads,
            head_dim: dim,
            ..
        } = self.shape;
        let blocks: usize = self.context_lens.iter().map(|len| len.div_ceil(TILE)).sum();
        let mut order: Vec<u32> = (0..blocks as u32 + 3).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(5));
        let tiles = order.len() * heads;
        let random_numbers = [1, 2].map(|seed| random(seed, tiles * dim * TILE));
        let mut numbers = [(); 2].map(|()| vec![f32::NAN; tiles * dim * TILE]);
        let mut bytes = [(); 2].map(|()| self.format.unwritten(tiles, dim));
        let block_tables: Vec<Vec<u32>> = self
            .context_lens
            .iter()
            .map(|len| order.split_off(order.len() - len.div_ceil(TILE)))
            .collect();
        for (table, &len) in block_tables.iter().zip(self.context_lens) {
            for (t, head) in (0..len).flat_map(|t| (0..heads).map(move |head| (t, head))) {
                let tile = table[t / TILE] as usize * heads + head;
                for (which, side) in [Side::Keys, Side::Values].into_iter().enumerate() {
                    let at = |d| tile * dim * TILE + side.place(dim, t % TILE, d);
                    let new: Vec<f32> = (0..dim).map(|d| random_numbers[which][at(d)]).collect();
                    let place = (tile, t % TILE);
                    let became = self.format.put(side, &mut bytes[which], place, &new);
                    (0..dim).for_each(|d| numbers[which][at(d)] = became[d]);
                }
            }
        }
        Cache {
            numbers,
            bytes,
            block_tables,
        }
    }

    fn want(&self, q: &[f32], cache: &Cache) -> Vec<f32> {
        let width = self.shape.num_heads * self.shape.head_dim;
        let rows = self
            .context_lens
            .iter()
            .zip(&cache.block_tables)
            .enumerate();
        rows.flat_map(|(row, (&context_len, table))| {
            if context_len == 0 {
                return vec![0.0; width];
            }
            let sequence = AttentionSequence {
                q_start: 0,
                q_len: 1,
                context_len,
                block_table: table.clone(),
            };
            let q = &q[row * width..][..width];
            let [k, v] = &cache.numbers;
            reference::paged_attention(q, k, v, &[sequence], self.shape)
        })
        .collect()
    }

    fn case(&self, q: &[f32], cache: &Cache) -> Case {
        let max_blocks = cache
            .block_tables
            .iter()
            .map(Vec::len)
            .max()
            .unwrap_or(0)
            .max(1);
        // Beyond a sequence's blocks the table holds a number that no cache has.
        let tables: Vec<u32> = cache
            .block_tables
            .iter()
            .flat_map(|table| {
                (0..max_blocks).map(|i| table.get(i).copied().unwrap_or(u32::MAX / 2))
            })
            .collect();
        let lens: Vec<u32> = self.context_lens.iter().map(|&len| len as u32).collect();
        Case::new(format!("paged_decode_{}", self.format.name()))
            .size("num_heads", self.shape.num_heads)
            .size("num_kv_heads", self.shape.num_kv_heads)
            .size("head_dim", self.shape.head_dim)
            .size("num_splits", self.num_splits)
            .size("window", self.shape.window.unwrap_or(0))
            .scalar("scale", self.shape.scale)
            .scalar("softcap", self.shape.softcap.unwrap_or(0.0))
            .buffer("q", q)
            .buffer("k_cache", &cache.bytes[0])
            .buffer("v_cache", &cache.bytes[1])
            .buffer("block_tables", &tables)
            .buffer("context_lens", &lens)
    }

    fn queries(&self) -> Vec<f32> {
        random(
            3,
            self.context_lens.len() * self.shape.num_heads * self.shape.head_dim,
        )
    }

    #[track_caller]
    fn run(&self) -> Vec<f32> {
        let (q, cache) = (self.queries(), self.cache());
        let buffers = self.case(&q, &cache).run();
        let out: Vec<f32> = buffers.get("out");
        let what = format!(
            "{:?} {:?} {:?} in {}",
            self.format, self.shape, self.context_lens, self.num_splits
        );
        assert_close(&what, &out, &self.want(&q, &cache), 2e-5);
        // The merges add in an order of their own.
        let width = self.shape.num_heads * self.shape.head_dim;
        assert_packed(&what, &buffers.get("packed"), &out, width);
        assert_halves(&what, &buffers.get("halves"), &out, width, 1e-6);
        out
    }
}

#[test]
fn every_head_size_group_and_format_agrees_with_the_reference() {
    let heads = [
        (3, 3),
        (4, 2),
        (6, 2),
        (8, 2),
        (5, 1),
        (6, 1),
        (14, 2),
        (8, 1),
    ];
    let lens: [&[usize]; 4] = [&[1], &[17, 90], &[16], &[33, 0, 5]];
    for (i, (num_heads, num_kv_heads)) in heads.into_iter().enumerate() {
        for (j, head_dim) in [64, 80, 96, 128].into_iter().enumerate() {
            let formats = [Format::F16, Format::Bf16, Format::F32];
            for format in [formats[(i + j) % 3], Format::Q8] {
                Check {
                    format,
                    shape: AttentionShape::new(num_heads, num_kv_heads, head_dim),
                    context_lens: lens[(i + 2 * j) % 4],
                    num_splits: 1 + (i + j) % 2,
                }
                .run();
            }
        }
    }
}

#[test]
fn a_batch_of_33_with_blocks_out_of_order_agrees_with_the_reference() {
    let lens: Vec<usize> = (0..33).map(|i| i * 7 % 60).collect();
    for (num_splits, format) in [(1, Format::F16), (3, Format::F16), (2, Format::Q8)] {
        Check {
            format,
            shape: AttentionShape::new(4, 1, 64),
            context_lens: &lens,
            num_splits,
        }
        .run();
    }
}

#[test]
fn contexts_of_many_blocks_agree_with_the_reference() {
    // More than 32 blocks a warp: the block table is read several times.
    for (shape, num_splits) in [
        (AttentionShape::new(2, 1, 64), 1),
        (AttentionShape::new(7, 1, 64), 5),
    ] {
        for (window, format) in [
            (None, Format::F16),
            (Some(1900), Format::F16),
            (Some(1900), Format::Q8),
        ] {
            Check {
                format,
                shape: AttentionShape { window, ..shape },
                context_lens: &[2111, 0, 700],
                num_splits,
            }
            .run();
        }
    }
}

#[test]
fn scores_that_rise_and_scores_that_are_bounded_agree_with_the_reference() {
    let shapes = [(4, 128, None), (8, 96, Some(3.0)), (3, 80, None)];
    for ((num_heads, head_dim, softcap), format) in shapes
        .into_iter()
        .flat_map(|shape| TENSOR_FORMATS.map(|format| (shape, format)))
    {
        Check {
            format,
            // Scores of up to some hundred: maxima are raised again and again.
            shape: AttentionShape {
                scale: 3.0,
                softcap,
                ..AttentionShape::new(num_heads, 1, head_dim)
            },
            context_lens: &[300, 45],
            num_splits: 2,
        }
        .run();
    }
}

#[test]
fn splits_that_get_no_tokens_change_nothing() {
    for (num_splits, format) in [
        (2, Format::F16),
        (7, Format::F16),
        (32, Format::F16),
        (7, Format::Q8),
    ] {
        Check {
            format,
            shape: AttentionShape::new(8, 2, 80),
            context_lens: &[1, 0, 40, 200],
            num_splits,
        }
        .run();
    }
}

#[test]
fn a_window_and_a_bound_of_scores_agree_with_the_reference() {
    for (window, format, num_splits) in [
        (1, Format::F32, 2),
        (1, Format::F16, 3),
        (16, Format::F16, 2),
        (20, Format::F32, 2),
        (50, Format::F16, 7),
        (100, Format::F16, 1),
        (500, Format::F16, 2),
        (1, Format::Q8, 2),
        (20, Format::Q8, 3),
        (50, Format::Q8, 1),
        (500, Format::Q8, 7),
    ] {
        Check {
            format,
            shape: AttentionShape {
                window: Some(window),
                softcap: Some(1.5),
                ..AttentionShape::new(4, 2, 96)
            },
            context_lens: &[1, 16, 70, 129, 301],
            num_splits,
        }
        .run();
    }
}

#[test]
fn a_sequence_alone_gives_the_bits_that_it_gives_in_a_batch() {
    for format in TENSOR_FORMATS {
        let check = |context_lens| Check {
            format,
            shape: AttentionShape::new(4, 2, 64),
            context_lens,
            num_splits: 3,
        };
        let batch = check(&[70, 9, 33]);
        let (q, cache) = (batch.queries(), batch.cache());
        let together: Vec<f32> = batch.case(&q, &cache).run().get("out");
        let width = 4 * 64;
        for (row, context_len) in [70, 9, 33].into_iter().enumerate() {
            let alone = check(std::slice::from_ref(&[70, 9, 33][row]));
            assert_eq!(alone.context_lens, [context_len]);
            let cache = Cache {
                block_tables: vec![cache.block_tables[row].clone()],
                ..cache.clone()
            };
            let out: Vec<f32> = alone
                .case(&q[row * width..][..width], &cache)
                .run()
                .get("out");
            assert_eq!(out, together[row * width..][..width]);
        }
    }
}
