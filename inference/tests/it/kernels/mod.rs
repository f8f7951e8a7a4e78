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

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-2.0f32..2.0)).collect()
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
