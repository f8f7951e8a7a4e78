//! Pitfall 17: the first token of a text has activations far larger than all others, and a kernel that rounds activations
//! by a scale for 256 columns or for several rows could lose everything beside them. Ours round each row by itself, by a
//! scale for 32 or 256 columns; these tests show that neither the first token of a real model nor a token with a
//! hundredfold outlier costs more than other tokens do.

use std::path::{Path, PathBuf};

use inference::{
    AddSpecial, GgufFile,
    gguf::{GgmlType, writer::GgufWriter},
};
use tempfile::TempDir;

use crate::architectures::logits_of;
use crate::common::{load, real_model};
use crate::golden::{SMOLLM2, prose};
use crate::golden_engine::dequantize;
use crate::golden_types::{HIDDEN, exact_type_model, type_model};

const NUM_TOKENS: usize = 48;

/// Returns how far each position's logits are from those of the same weights in f32, in units of their own spread.
fn errors(quantized: &Path, exact: &Path, text: &[u32]) -> Vec<f32> {
    let [quantized, exact] =
        [quantized, exact].map(|path| logits_of(path, text, NUM_TOKENS, NUM_TOKENS));
    let error = |(quantized, exact): (&Vec<f32>, &Vec<f32>)| {
        let mean = exact.iter().sum::<f32>() / exact.len() as f32;
        let spread: f32 = exact.iter().map(|logit| (logit - mean).powi(2)).sum();
        let distance: f32 = quantized
            .iter()
            .zip(exact)
            .map(|(a, b)| (a - b).powi(2))
            .sum();
        (distance / spread).sqrt()
    };
    quantized.iter().zip(&exact).map(error).collect()
}

fn mean(errors: &[f32]) -> f32 {
    errors.iter().sum::<f32>() / errors.len() as f32
}

#[test]
fn pitfall_17_the_first_token_of_a_real_model_is_rounded_no_worse_than_the_others() {
    // Of the Qwen model of 0.5B, whose two gigabytes in f32 are not written here: .058, others .024.
    let Some(path) = real_model(SMOLLM2) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let exact = folder.path().join("exact.gguf");
    dequantize(&path, &exact);
    let mut text = load(&path, |_| ())
        .tokenizer()
        .encode(&prose(), AddSpecial::Yes);
    text.truncate(NUM_TOKENS);
    let errors = errors(&path, &exact, &text);
    let (first, others) = (errors[0], mean(&errors[1..]));
    println!("first token {first:.4}, others {others:.4}");
    assert!(first < 2.0 * others, "{first}, others {others}");
}

#[test]
fn pitfall_17_an_outlier_in_the_first_token_does_not_spoil_those_that_follow() {
    let text: Vec<u32> = (0..NUM_TOKENS as u32).map(|i| (i * 37 + 3) % 256).collect();
    for ggml_type in [
        GgmlType::Q8_0,
        GgmlType::Q4_0,
        GgmlType::Q4_K,
        GgmlType::Q6_K,
    ] {
        let errors_with = |outlier: f32| {
            let [quantized, exact] = [type_model(ggml_type), exact_type_model(ggml_type)]
                .map(|writer| with_outlier(writer, text[0], outlier));
            errors(&quantized.1, &exact.1, &text)
        };
        let (plain, outlier) = (errors_with(1.0), errors_with(100.0));
        let (plain, outlier) = (mean(&plain[1..]), mean(&outlier[1..]));
        println!("{ggml_type}: followers {plain:.4}, behind an outlier {outlier:.4}");
        assert!(
            outlier < 1.5 * plain,
            "{ggml_type}: {outlier}, else {plain}"
        );
    }
}

/// Writes a model with its embedding as F32 and one column of `token`'s row `outlier` times as large as most are.
fn with_outlier(mut writer: GgufWriter, token: u32, outlier: f32) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    writer.write(&path).unwrap();
    let file = GgufFile::open(&path).unwrap();
    let mut weights = file.dequantize_tensor("token_embd.weight").unwrap();
    drop(file);
    weights[token as usize * HIDDEN + 5] = 0.3 * outlier;
    let data = weights.iter().flat_map(|weight| weight.to_le_bytes());
    writer.replace_tensor("token_embd.weight", GgmlType::F32, data.collect());
    writer.write(&path).unwrap();
    (folder, path)
}
