//! Embeddings against sentence-transformers'.

use half::f16;
use inference::{DeviceChoice, Encoder};
use serde::Deserialize;

use crate::common::models_dir;
use crate::golden::{golden, prose};

#[derive(Deserialize)]
struct EmbeddingsGolden {
    texts: Vec<String>,
    /// Stretches of the prose: first character, number of characters.
    prose: Vec<(usize, usize)>,
    dim: usize,
    /// One row a text, those of `texts` first: little-endian f16, which costs less than 1e-6 of cosine.
    f16_base64: String,
}

fn encoder() -> Option<Encoder> {
    let folder = models_dir().join("all-minilm-l6-v2");
    if !folder.join("model.safetensors").exists() {
        assert!(
            std::env::var_os("CI").is_none(),
            "{} holds no encoder",
            folder.display()
        );
        println!("skipped: {} holds no encoder", folder.display());
        return None;
    }
    Some(Encoder::load(&folder, &DeviceChoice::Cpu).unwrap())
}

fn golden_texts(golden: &EmbeddingsGolden) -> Vec<String> {
    let prose: Vec<char> = prose().chars().collect();
    let stretch = |&(start, length): &(usize, usize)| {
        prose[start..prose.len().min(start + length)]
            .iter()
            .collect()
    };
    golden
        .texts
        .iter()
        .cloned()
        .chain(golden.prose.iter().map(stretch))
        .collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn embeddings_equal_those_of_sentence_transformers() {
    let Some(encoder) = encoder() else { return };
    let golden: EmbeddingsGolden = golden("embeddings.json");
    let texts = golden_texts(&golden);
    assert!(
        texts.len() >= 100
            && texts
                .iter()
                .filter(|text| encoder.count_tokens(text) > 254)
                .count()
                >= 10,
        "long ones included"
    );
    let bytes = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        &golden.f16_base64,
    )
    .unwrap();
    let expected: Vec<f32> = bytes
        .chunks_exact(2)
        .map(|pair| f16::from_le_bytes([pair[0], pair[1]]).to_f32())
        .collect();
    assert_eq!(
        (encoder.dim(), expected.len()),
        (golden.dim, texts.len() * golden.dim)
    );

    let started = std::time::Instant::now();
    let embeddings = encoder.embed(&texts).unwrap();
    let seconds = started.elapsed().as_secs_f32();
    let cosines: Vec<f32> = embeddings
        .iter()
        .zip(expected.chunks_exact(golden.dim))
        .map(|(ours, theirs)| cosine(ours, theirs))
        .collect();
    let worst = cosines.iter().copied().fold(1.0, f32::min);
    println!(
        "{} texts in {seconds:.2} s, smallest cosine {worst:.7}",
        texts.len()
    );
    for (text, cosine) in texts.iter().zip(&cosines) {
        assert!(*cosine > 0.9999, "{cosine}: {text:?}");
    }
    for embedding in &embeddings {
        let length: f32 = embedding.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-5);
    }
}

#[test]
fn a_text_embeds_the_same_alone_and_in_a_batch_and_from_many_threads() {
    let Some(encoder) = encoder() else { return };
    let texts: Vec<String> = [
        "short",
        "a somewhat longer text about boats",
        &"long ".repeat(300),
    ]
    .map(String::from)
    .to_vec();
    let together = encoder.embed(&texts).unwrap();
    std::thread::scope(|scope| {
        for (text, expected) in texts.iter().zip(&together) {
            let encoder = &encoder;
            scope.spawn(move || {
                let alone = encoder.embed(std::slice::from_ref(text)).unwrap();
                assert!(cosine(&alone[0], expected) > 0.999_99, "{text}");
            });
        }
    });
    assert_eq!(encoder.embed(&[]).unwrap(), Vec::<Vec<f32>>::new());
}

#[test]
fn texts_are_cut_at_the_encoders_length_and_counted_whole() {
    let Some(encoder) = encoder() else { return };
    assert_eq!(
        (encoder.dim(), encoder.max_tokens(), encoder.name()),
        (384, 256, "all-minilm-l6-v2")
    );
    assert_eq!(encoder.count_tokens("unbelievable boats"), 2);
    for nothing in ["", " \n", "\u{200b}"] {
        assert_eq!(encoder.count_tokens(nothing), 0, "{nothing:?}");
    }
    assert_eq!(encoder.count_tokens(&"word ".repeat(400)), 400);
    let [whole, cut] = ["word ".repeat(400), "word ".repeat(254)]
        .map(|text| encoder.embed(&[text]).unwrap().remove(0));
    assert!(cosine(&whole, &cut) > 0.999_999);
}

#[test]
fn word_pieces_have_the_vectors_of_their_text() {
    let Some(encoder) = encoder() else { return };
    let texts = ["hello world", "hello", "world"].map(str::to_owned);
    let of_texts = encoder.embed(&texts).unwrap();
    // With and without the two that frame a text.
    let ids = [vec![7592, 2088], vec![101, 7592, 102], vec![2088]];
    assert_eq!(encoder.embed_tokens(&ids).unwrap(), of_texts);
    let long = [vec![7592; 300], vec![7592; 254]];
    let cut = encoder.embed_tokens(&long).unwrap();
    assert!(cosine(&cut[0], &cut[1]) > 0.999_99);
    let vocab_size = encoder.vocab_size() as u32;
    assert_eq!(vocab_size, 30_522);
    assert!(encoder.embed_tokens(&[vec![vocab_size - 1]]).is_ok());
    for foreign in [vocab_size, u32::MAX] {
        assert!(encoder.embed_tokens(&[vec![foreign]]).is_err(), "{foreign}");
    }
}
