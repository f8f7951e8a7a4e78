//! Paged decode attention, with and without splits of the context.

use half::{bf16, f16};
use inference::ops::paged_attention::{AttentionSequence, AttentionShape, reference};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    assert_close,
    packed::{assert_halves, assert_packed},
    random,
    runner::Case,
};

const TILE: usize = 16;

#[derive(Debug, Clone, Copy)]
enum Format {
    F16,
    Bf16,
    F32,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        }
    }

    fn round(self, x: f32) -> f32 {
        match self {
            Self::F16 => f16::from_f32(x).to_f32(),
            Self::Bf16 => bf16::from_f32(x).to_f32(),
            Self::F32 => x,
        }
    }

    fn bytes(self, values: &[f32]) -> Vec<u8> {
        let bytes = |x: &f32| match self {
            Self::F16 => f16::from_f32(*x).to_le_bytes().to_vec(),
            Self::Bf16 => bf16::from_f32(*x).to_le_bytes().to_vec(),
            Self::F32 => x.to_le_bytes().to_vec(),
        };
        values.iter().flat_map(bytes).collect()
    }
}

struct Check<'a> {
    format: Format,
    shape: AttentionShape,
    /// 0: a row that only fills the batch.
    context_lens: &'a [usize],
    num_splits: usize,
}

/// Keys and values of a step: what no token wrote is NaN, so that reading it shows.
struct Cache {
    k: Vec<f32>,
    v: Vec<f32>,
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
        let mut k = vec![f32::NAN; order.len() * heads * dim * TILE];
        let mut v = k.clone();
        let (keys, values) = (random(1, k.len()), random(2, k.len()));
        let block_tables: Vec<Vec<u32>> = self
            .context_lens
            .iter()
            .map(|len| order.split_off(order.len() - len.div_ceil(TILE)))
            .collect();
        for (table, &len) in block_tables.iter().zip(self.context_lens) {
            for t in 0..len {
                let block = table[t / TILE] as usize;
                for head in 0..heads {
                    for d in 0..dim {
                        let k_at = ((block * heads + head) * dim + d) * TILE + t % TILE;
                        let v_at = ((block * heads + head) * TILE + t % TILE) * dim + d;
                        k[k_at] = self.format.round(keys[k_at]);
                        v[v_at] = self.format.round(values[v_at]);
                    }
                }
            }
        }
        Cache { k, v, block_tables }
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
            reference::paged_attention(q, &cache.k, &cache.v, &[sequence], self.shape)
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
            .buffer("k_cache", &self.format.bytes(&cache.k))
            .buffer("v_cache", &self.format.bytes(&cache.v))
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
    let formats = [Format::F16, Format::Bf16, Format::F32];
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
            Check {
                format: formats[(i + j) % 3],
                shape: AttentionShape::new(num_heads, num_kv_heads, head_dim),
                context_lens: lens[(i + 2 * j) % 4],
                num_splits: 1 + (i + j) % 2,
            }
            .run();
        }
    }
}

#[test]
fn a_batch_of_33_with_blocks_out_of_order_agrees_with_the_reference() {
    let lens: Vec<usize> = (0..33).map(|i| i * 7 % 60).collect();
    for num_splits in [1, 3] {
        Check {
            format: Format::F16,
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
        for window in [None, Some(1900)] {
            Check {
                format: Format::F16,
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
    for (num_heads, head_dim, softcap) in [(4, 128, None), (8, 96, Some(3.0)), (3, 80, None)] {
        Check {
            format: Format::F16,
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
    for num_splits in [2, 7, 32] {
        Check {
            format: Format::F16,
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
    let check = |context_lens| Check {
        format: Format::F16,
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
            k: cache.k.clone(),
            v: cache.v.clone(),
            block_tables: vec![cache.block_tables[row].clone()],
        };
        let out: Vec<f32> = alone
            .case(&q[row * width..][..width], &cache)
            .run()
            .get("out");
        assert_eq!(out, together[row * width..][..width]);
    }
}
