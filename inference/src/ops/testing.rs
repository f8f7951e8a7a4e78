//! Random inputs and comparisons for the tests of the operations.

use candle_core::{DType, Device, Result, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::kv_cache::{
    BLOCK_SIZE,
    q8_tile::{self, Side},
};

pub fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-2.0f32..2.0)).collect()
}

pub fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).expect("count suits the shape")
}

pub fn values(tensor: &Tensor) -> Vec<f32> {
    fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
        tensor
            .to_dtype(candle_core::DType::F32)?
            .flatten_all()?
            .to_vec1()
    }
    flat(tensor).expect("a tensor of numbers")
}

/// Returns the numbers of a layer's keys or values, whatever they are kept in, in the order of a cache of f16.
pub fn cache_numbers(cache: &Tensor, side: Side, head_dim: usize) -> Vec<f32> {
    if cache.dtype() != DType::U8 {
        return values(cache);
    }
    let bytes = cache.flatten_all().and_then(|flat| flat.to_vec1::<u8>());
    let bytes = bytes.expect("a tensor of bytes");
    let tiles = bytes.chunks(q8_tile::tile_bytes(head_dim));
    tiles
        .flat_map(|tile| q8_tile::widened(side, tile, head_dim))
        .collect()
}

/// Returns the bytes of a cache in 8 bits that holds these numbers, given in the order of a cache of f16, rounded.
pub fn cache_bytes(numbers: &[f32], side: Side, head_dim: usize) -> Vec<u8> {
    let tiles = numbers.chunks(head_dim * BLOCK_SIZE);
    tiles
        .flat_map(|numbers| {
            let mut tile = vec![0; q8_tile::tile_bytes(head_dim)];
            for token in 0..BLOCK_SIZE {
                let head: Vec<f32> = (0..head_dim)
                    .map(|d| numbers[side.place(head_dim, token, d)])
                    .collect();
                for (group, numbers) in head.chunks(q8_tile::GROUP).enumerate() {
                    let mut bytes = vec![0; numbers.len()];
                    let scale = q8_tile::quantize(numbers, &mut bytes);
                    let at = q8_tile::scale_place(head_dim, token, group);
                    tile[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                    for (i, byte) in bytes.into_iter().enumerate() {
                        tile[side.place(head_dim, token, group * q8_tile::GROUP + i)] = byte;
                    }
                }
            }
            tile
        })
        .collect()
}

#[track_caller]
pub fn assert_close(got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len());
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let bound = tolerance * want.abs().max(1.0);
        assert!(
            (got - want).abs() <= bound,
            "element {index}: {got}, not {want}"
        );
    }
}
