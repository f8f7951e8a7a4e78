//! Time of the attention of one new token over a long context on the CPU, by what keys and values are kept in: the attention of
//! all layers of a model, each with a cache of its own, so that they come from memory as in decoding. Bound by reading the cache.
//!
//! `cargo run --release -p inference --example attention -- [CONTEXT]`

use std::time::Instant;

use candle_core::{Device, Result, Tensor};
use inference::{
    KvCacheDtype,
    kv_cache::{CacheLayout, blocks_for},
    ops::{
        cache_tensors::tensor_dtype,
        kv_append::kv_append,
        paged_attention::{AttentionSequence, AttentionShape, paged_attention},
    },
};

/// Model, layers, and its query heads, key heads and head size.
const MODELS: [(&str, usize, (usize, usize, usize)); 4] = [
    ("SmolLM2 135M", 30, (9, 3, 64)),
    ("Qwen2.5 0.5B", 24, (14, 2, 64)),
    ("Qwen2.5 1.5B", 28, (12, 2, 128)),
    ("Llama 3.1 8B", 8, (32, 8, 128)),
];
const DTYPES: [KvCacheDtype; 2] = [KvCacheDtype::F16, KvCacheDtype::Q8_0];
const RUNS: usize = 9;

fn main() -> Result<()> {
    let argument = std::env::args().nth(1);
    let context = argument.and_then(|text| text.parse().ok()).unwrap_or(8_192);
    for (name, layers, heads) in MODELS {
        let shape = AttentionShape::new(heads.0, heads.1, heads.2);
        let models = DTYPES
            .iter()
            .map(|&dtype| Caches::new(layers, shape, context, dtype))
            .collect::<Result<Vec<_>>>()?;
        // In turn, so that what else the machine does falls on all of them.
        let mut times = vec![Vec::new(); models.len()];
        for _ in 0..RUNS {
            for (caches, times) in models.iter().zip(&mut times) {
                let started = Instant::now();
                caches.attend()?;
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
        }
        for (caches, times) in models.iter().zip(&mut times) {
            times.sort_by(f64::total_cmp);
            let median = times[RUNS / 2];
            let bytes = layers as f64 * caches.layout.bytes() as f64;
            print_line(&format!(
                "{name:<14} context {context:>6} {:<5} {median:>8.2} ms a token {:>6.1} GB/s",
                caches.layout.dtype.name(),
                bytes / median / 1e6
            ));
        }
    }
    Ok(())
}

struct Caches {
    layout: CacheLayout,
    shape: AttentionShape,
    layers: Vec<(Tensor, Tensor)>,
    sequence: AttentionSequence,
    q: Tensor,
}

impl Caches {
    fn new(
        layers: usize,
        shape: AttentionShape,
        context_len: usize,
        dtype: KvCacheDtype,
    ) -> Result<Self> {
        let num_blocks = blocks_for(context_len);
        let layout = CacheLayout {
            num_blocks,
            num_kv_heads: vec![shape.num_kv_heads],
            head_dim: shape.head_dim,
            dtype,
        };
        let slots: Vec<u32> = (0..context_len as u32).collect();
        let new = (context_len, shape.num_kv_heads * shape.head_dim);
        let numbers = Tensor::randn(0f32, 1.0, new, &Device::Cpu)?;
        let layer = |_| {
            let zeros =
                |shape: [usize; 4]| Tensor::zeros(&shape, tensor_dtype(dtype), &Device::Cpu);
            let (k, v) = (zeros(layout.k_shape(0))?, zeros(layout.v_shape(0))?);
            kv_append(&numbers, &numbers, &k, &v, &slots)?;
            Ok((k, v))
        };
        let layers = (0..layers).map(layer).collect::<Result<_>>()?;
        // Neighbours of a sequence are not neighbours in memory.
        let block = |index: usize| (index * 17 % num_blocks) as u32;
        Ok(Self {
            layers,
            shape,
            sequence: AttentionSequence {
                q_start: 0,
                q_len: 1,
                context_len,
                block_table: (0..num_blocks).map(block).collect(),
            },
            q: Tensor::randn(
                0f32,
                1.0,
                (1, shape.num_heads * shape.head_dim),
                &Device::Cpu,
            )?,
            layout,
        })
    }

    fn attend(&self) -> Result<()> {
        let sequences = std::slice::from_ref(&self.sequence);
        for (k, v) in &self.layers {
            paged_attention(&self.q, k, v, sequences, self.shape)?;
        }
        Ok(())
    }
}

#[allow(clippy::print_stdout)]
fn print_line(line: &str) {
    println!("{line}");
}
