//! CUDA kernels on the host: each `.cu` of `inference/kernels` compiled as C++ and run on small odd shapes against its op's
//! `reference.rs`, under AddressSanitizer and UBSan, with several orders of threads. No GPU and no CUDA is needed.
//!
//! `inference/kernels/host/emulator.h` says how, and what such a run cannot show.

mod attention;
mod candidates;
mod experts;
mod harness;
mod head_norms;
mod packed;
mod packed_gemm;
mod prefill;
mod ptx;
mod runner;
mod small;

use half::f16;
use inference::kv_cache::q8_tile::{self, Side};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-2.0f32..2.0)).collect()
}

/// Returns a cache in 8 bits of so many tiles that no token has written to: every scale is NaN.
fn unwritten_bytes(tiles: usize, head_dim: usize) -> Vec<u8> {
    vec![0xff; tiles * q8_tile::tile_bytes(head_dim)]
}

/// Writes a token's numbers of a head to its place in a tile of a cache in 8 bits, and returns what they have become.
fn put_bytes(
    side: Side,
    cache: &mut [u8],
    (tile, token): (usize, usize),
    head: &[f32],
) -> Vec<f32> {
    let dim = head.len();
    let tile = &mut cache[tile * q8_tile::tile_bytes(dim)..][..q8_tile::tile_bytes(dim)];
    for (group, numbers) in head.chunks(q8_tile::GROUP).enumerate() {
        let mut bytes = vec![0; numbers.len()];
        let scale = q8_tile::quantize(numbers, &mut bytes);
        let at = q8_tile::scale_place(dim, token, group);
        tile[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        for (i, byte) in bytes.into_iter().enumerate() {
            tile[side.place(dim, token, group * q8_tile::GROUP + i)] = byte;
        }
    }
    (0..dim)
        .map(|d| q8_tile::number(side, tile, dim, token, d))
        .collect()
}

fn round_to_half(x: f32) -> f32 {
    f16::from_f32(x).to_f32()
}

#[track_caller]
fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let bound = tolerance * want.abs().max(1.0);
        // Written so that NaN fails.
        assert!(
            (got - want).abs() <= bound,
            "{what}: element {index} is {got}, not {want}"
        );
    }
}
