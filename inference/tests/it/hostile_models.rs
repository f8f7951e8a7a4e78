//! Odd and damaged model files whose header can be read: loading and running them is an error or an answer, never a
//! panic. `gguf_fuzz.rs` covers files whose header cannot be read.

use std::panic::catch_unwind;

use candle_core::{Device, quantized::GgmlDType};
use inference::{
    Engine, EngineConfig, Event, GenerateRequest, GgufFile, SamplingParams,
    gguf::{GgmlType, parse_header, synthetic::SyntheticModel},
};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// Damaged files; about a quarter of them has a header that can be read.
const FILES: usize = 2_000;
const ODD_NUMBERS: [u32; 8] = [0, 1, 3, 7, 255, 65_537, i32::MAX as u32, u32::MAX];

/// Changes a bit, a byte or a number of the part before the weights.
fn damage(bytes: &mut [u8], header_len: usize, rng: &mut ChaCha8Rng) {
    let at = rng.random_range(24..header_len);
    match rng.random_range(0..3) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => bytes[at] = rng.random(),
        _ => {
            let number = ODD_NUMBERS.choose(rng).unwrap_or(&0).to_le_bytes();
            bytes[at..at + 4].copy_from_slice(&number);
        }
    }
}

/// Loads the model and asks for three tokens; the error in words.
fn load_and_run(config: EngineConfig) -> Result<(), String> {
    let engine = Engine::load(config).map_err(|error| error.to_string())?;
    let request = GenerateRequest {
        prompt: vec![1, 2, 3],
        sampling: SamplingParams {
            max_tokens: 3,
            ..Default::default()
        },
        ..Default::default()
    };
    let mut stream = engine.submit(request).map_err(|error| error.to_string())?;
    while let Some(event) = stream.blocking_next() {
        if let Event::Failed(error) = event {
            return Err(error.to_string());
        }
    }
    Ok(())
}

#[test]
fn pitfall_23_models_with_damaged_metadata_run_or_are_refused_and_never_panic() {
    let small = SyntheticModel {
        num_layers: 1,
        hidden: 32,
        num_heads: 2,
        num_kv_heads: 1,
        ffn: 32,
        ..Default::default()
    };
    let models = [
        SyntheticModel {
            architecture: "qwen2",
            tied: false,
            weights: GgmlDType::F16,
            ..small.clone()
        },
        SyntheticModel {
            rope_freqs: true,
            ..small
        },
    ];
    let originals = models.map(|model| model.to_writer().unwrap().to_bytes());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.gguf");
    let mut rng = ChaCha8Rng::seed_from_u64(23);
    let (mut ran, mut refused) = (0, 0);
    for file in 0..FILES {
        let mut bytes = originals[file % originals.len()].clone();
        let name = b"token_embd.weight";
        let header_len = bytes
            .windows(name.len())
            .position(|window| window == name)
            .unwrap();
        damage(&mut bytes, header_len, &mut rng);
        if parse_header(&bytes).is_err() {
            continue;
        }
        std::fs::write(&path, &bytes).unwrap();
        let mut config = EngineConfig::new(&path);
        config.kv_cache_tokens = 256;
        let outcome = catch_unwind(|| load_and_run(config));
        match outcome.unwrap_or_else(|_| panic!("file {file}: a panic while loading")) {
            Ok(()) => ran += 1,
            Err(error) => {
                assert!(!error.contains("panic"), "file {file}: {error}");
                refused += 1;
            }
        }
    }
    assert!(
        ran > 100 && refused > 100,
        "{ran} ran, {refused} were refused"
    );
}

/// A file with two tensors of one row each whose data is aligned to `alignment`.
fn aligned_file(alignment: u32, rows: [&[f32]; 2]) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let padded =
        |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(alignment as usize), 0);
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(2u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(text("general.alignment"));
    bytes.extend(4u32.to_le_bytes());
    bytes.extend(alignment.to_le_bytes());
    let mut offset = 0u64;
    for (name, row) in ["first", "second"].iter().zip(rows) {
        bytes.extend(text(name));
        bytes.extend(1u32.to_le_bytes());
        bytes.extend((row.len() as u64).to_le_bytes());
        bytes.extend(GgmlType::F32.0.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        offset += (4 * row.len() as u64).next_multiple_of(alignment.into());
    }
    for row in rows {
        padded(&mut bytes);
        bytes.extend(row.iter().flat_map(|weight| weight.to_le_bytes()));
    }
    bytes
}

#[test]
fn pitfall_22_tensors_are_found_at_any_alignment_that_a_file_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aligned.gguf");
    let rows: [&[f32]; 2] = [&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0, 7.0, 8.0]];
    for alignment in [8, 16, 32, 64, 4_096] {
        std::fs::write(&path, aligned_file(alignment, rows)).unwrap();
        let file = GgufFile::open(&path).unwrap();
        for (name, row) in ["first", "second"].iter().zip(rows) {
            let tensor = file.load_tensor(name, &Device::Cpu).unwrap();
            let weights = tensor
                .dequantize(&Device::Cpu)
                .unwrap()
                .to_vec1::<f32>()
                .unwrap();
            assert_eq!(weights, row, "{name} at {alignment}");
        }
    }
    for alignment in [1, 4, 24] {
        std::fs::write(&path, aligned_file(alignment, rows)).unwrap();
        let error = GgufFile::open(&path).unwrap_err().to_string();
        assert!(error.contains("general.alignment"), "{alignment}: {error}");
    }
}
