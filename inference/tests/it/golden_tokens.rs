//! Token ids of 2,000 texts against llama.cpp's, for every kind of vocabulary; `scripts/goldens/text.py` made them.
//!
//! Three sets: small vocabularies that are committed, one for each way of splitting and merging; the models
//! of `CLOISTER_TEST_MODELS`; and real vocabularies without models where `CLOISTER_TEST_VOCABULARIES` points.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use inference::gguf::{Array, Value, writer::GgufWriter};
use inference::{AddSpecial, Detokenizer, GgufFile, Tokenizer};
use serde::Deserialize;

use crate::common::real_model;
use crate::golden::{QWEN_05B, SMOLLM2, fnv1a, golden};
use crate::text_lines::lines;

#[derive(Deserialize)]
struct TokensGolden {
    /// Hash of the characters of all texts.
    texts: String,
    vocabularies: BTreeMap<String, VocabularyGolden>,
}

#[derive(Deserialize)]
struct VocabularyGolden {
    /// Control tokens are text.
    plain: Hashes,
    /// Control tokens are parsed; BOS and EOS as the file says.
    special: Hashes,
    end_tokens: Vec<u32>,
}

#[derive(Deserialize)]
struct Hashes {
    all: String,
    /// 8 bits of each line's hash, in base64.
    lines: String,
}

#[derive(Deserialize)]
struct Vocabulary {
    tokens: Vec<String>,
    types: Vec<i32>,
    merges: Option<Vec<String>>,
    scores: Option<Vec<f32>>,
}

#[test]
fn token_ids_of_small_vocabularies_equal_those_of_llama_cpp() {
    let golden: TokensGolden = golden("text/tokens-small.json");
    let texts = checked_lines(&golden);
    let folder = tempfile::tempdir().unwrap();
    for (name, expected) in &golden.vocabularies {
        let path = small_vocabulary(folder.path(), name);
        check(name, &path, expected, &texts);
    }
    assert_eq!(golden.vocabularies.len(), 24);
}

#[test]
fn token_ids_of_smollm2_and_qwen_equal_those_of_llama_cpp_on_2000_texts() {
    let golden: TokensGolden = golden("text/tokens-models.json");
    let texts = checked_lines(&golden);
    for name in [SMOLLM2, QWEN_05B] {
        if let Some(path) = real_model(name) {
            check(name, &path, &golden.vocabularies[name], &texts);
        }
    }
}

#[test]
#[ignore = "reads the vocabularies in the folder that CLOISTER_TEST_VOCABULARIES names"]
fn token_ids_of_real_vocabularies_equal_those_of_llama_cpp() {
    let golden: TokensGolden = golden("text/tokens-real.json");
    let folder = std::env::var_os("CLOISTER_TEST_VOCABULARIES").map(PathBuf::from);
    let folder = folder.expect("CLOISTER_TEST_VOCABULARIES is set");
    let texts = checked_lines(&golden);
    for (name, expected) in &golden.vocabularies {
        let path = folder.join(format!("{name}.gguf"));
        assert!(path.exists(), "{} is missing", path.display());
        check(name, &path, expected, &texts);
    }
}

/// Characters whose class llama.cpp's tables and ours know from different versions of Unicode would show here.
#[test]
fn every_character_is_split_as_llama_cpp_splits_it() {
    const BLOCK: u32 = 0x1000;
    let golden: BTreeMap<String, Vec<String>> = golden("text/characters.json");
    let folder = tempfile::tempdir().unwrap();
    for (name, expected) in &golden {
        let path = small_vocabulary(folder.path(), name);
        let tokenizer = Tokenizer::from_gguf(&GgufFile::open(&path).unwrap()).unwrap();
        // Where characters are assigned.
        let blocks: Vec<u32> = (0..0x3_2000)
            .step_by(BLOCK as usize)
            .chain([0xE_0000])
            .collect();
        assert_eq!(expected.len(), blocks.len());
        for (block, expected) in blocks.into_iter().zip(expected) {
            let mut ids = Vec::new();
            for start in (block..block + BLOCK).step_by(64) {
                let characters = (start..start + 64).filter_map(char::from_u32);
                let text: String = characters
                    .map(|c| format!("a{c}b {c}{c}1{c} \n{c}\n"))
                    .collect();
                ids.extend(tokenizer.encode(&text, AddSpecial::No));
            }
            assert_eq!(fnv1a(&ids)[..8], *expected, "{name}: U+{block:04X} and on");
        }
    }
    assert_eq!(golden.len(), 3);
}

/// Makes the texts and checks that they are those that llama.cpp saw.
fn checked_lines(golden: &TokensGolden) -> Vec<String> {
    let texts = lines();
    let characters = texts.iter().flat_map(|text| text.chars().chain(['\n']));
    let hash = fnv1a(&characters.map(u32::from).collect::<Vec<_>>());
    assert_eq!(
        hash, golden.texts,
        "the texts differ from those of the script"
    );
    texts
}

fn check(name: &str, path: &Path, expected: &VocabularyGolden, texts: &[String]) {
    let tokenizer = Tokenizer::from_gguf(&GgufFile::open(path).unwrap()).unwrap();
    let plain = |text: &str| tokenizer.encode(text, AddSpecial::No);
    check_ids(&format!("{name}, plain"), texts, &expected.plain, plain);
    let special = |text: &str| with_bos_and_eos(&tokenizer, text);
    check_ids(
        &format!("{name}, special"),
        texts,
        &expected.special,
        special,
    );
    assert_eq!(tokenizer.eos_ids(), expected.end_tokens, "{name}");
    for text in texts {
        check_properties(name, &tokenizer, text);
    }
    println!(
        "{name}: the ids of {} texts are those of llama.cpp",
        texts.len()
    );
}

fn with_bos_and_eos(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    // What `encode` adds to nothing: BOS, or EOS, or both.
    let around = tokenizer.encode("", AddSpecial::Yes);
    let bos = usize::from(tokenizer.adds_bos());
    let ids = tokenizer.encode_with_special(text);
    [&around[..bos], &ids, &around[bos..]].concat()
}

fn check_ids(what: &str, texts: &[String], expected: &Hashes, encode: impl Fn(&str) -> Vec<u32>) {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(&expected.lines)
        .unwrap();
    let mut different = Vec::new();
    let (mut upper, mut lower) = (Vec::new(), Vec::new());
    for (index, text) in texts.iter().enumerate() {
        let ids = encode(text);
        let hash = fnv1a(&ids);
        if u8::from_str_radix(&hash[14..], 16).unwrap() != bytes[index] {
            different.push((index, text, ids));
        }
        upper.push(u32::from_str_radix(&hash[..8], 16).unwrap());
        lower.push(u32::from_str_radix(&hash[8..], 16).unwrap());
    }
    let shown: Vec<_> = different.iter().take(3).collect();
    assert!(
        different.is_empty(),
        "{what}: {} of {} texts have other ids: {shown:?}",
        different.len(),
        texts.len()
    );
    upper.extend(lower);
    assert_eq!(fnv1a(&upper), expected.all, "{what}");
}

/// Decoding gives the text back, in one piece and streamed, and text yields no control token.
fn check_properties(name: &str, tokenizer: &Tokenizer, text: &str) {
    let ids = tokenizer.encode(text, AddSpecial::No);
    assert!(
        ids.iter().all(|&id| !tokenizer.is_control(id)),
        "{name}: {text:?} yields a control token"
    );
    // Phi-3's special tokens, which these are in the small vocabulary, swallow the blanks after them.
    let swallows = name == "spm-phi-3"
        && ["<think>", "[INST]", "\n\n"]
            .iter()
            .any(|token| text.contains(token));
    if !swallows {
        assert_eq!(tokenizer.decode(&ids), spellable(tokenizer, text), "{name}");
    }
    let special = tokenizer.encode_with_special(text);
    for ids in [ids, special] {
        let mut detokenizer = Detokenizer::new();
        let mut streamed: String = ids
            .iter()
            .map(|&id| detokenizer.push(tokenizer, id))
            .collect();
        streamed.push_str(&detokenizer.finish());
        assert_eq!(streamed, tokenizer.decode(&ids), "{name}: {text:?}");
    }
}

/// What a vocabulary can express of a text: some lack control characters, and those are dropped, as llama.cpp drops
/// them.
fn spellable(tokenizer: &Tokenizer, text: &str) -> String {
    let is_missing = |c: char| {
        c.is_control()
            && tokenizer
                .encode(c.encode_utf8(&mut [0; 4]), AddSpecial::No)
                .is_empty()
    };
    text.replace(is_missing, "")
}

/// Writes a committed vocabulary as a GGUF file, as `vocabularies.py` does.
fn small_vocabulary(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(format!("{name}.gguf"));
    let mut writer = GgufWriter::new();
    let vocabulary: Vocabulary;
    if let Some(pre) = name.strip_prefix("bpe-") {
        vocabulary = golden("text/vocabulary-bpe.json");
        let id_of = |text: &str| vocabulary.tokens.iter().position(|token| token == text);
        writer
            .set_str("tokenizer.ggml.model", "gpt2")
            .set_str("tokenizer.ggml.pre", pre)
            .set_u32(
                "tokenizer.ggml.bos_token_id",
                id_of("<|im_start|>").unwrap() as u32,
            )
            .set_u32(
                "tokenizer.ggml.eos_token_id",
                id_of("<|im_end|>").unwrap() as u32,
            );
    } else {
        vocabulary = golden("text/vocabulary-spm.json");
        writer.set_str("tokenizer.ggml.model", "llama");
        match name {
            "spm" => {}
            "spm-no-prefix" => {
                for (key, value) in [
                    ("add_space_prefix", false),
                    ("add_bos_token", false),
                    ("add_eos_token", true),
                ] {
                    writer.set(&format!("tokenizer.ggml.{key}"), Value::Bool(value));
                }
            }
            "spm-phi-3" => {
                writer.set_str("general.name", "Phi-3 like");
            }
            _ => panic!("{name}"),
        }
    }
    let Vocabulary {
        tokens,
        types,
        merges,
        scores,
    } = vocabulary;
    writer.set("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)));
    writer.set("tokenizer.ggml.token_type", Value::Array(Array::I32(types)));
    if let Some(merges) = merges {
        writer.set("tokenizer.ggml.merges", Value::Array(Array::String(merges)));
    }
    if let Some(scores) = scores {
        writer.set("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
    }
    writer.write(&path).unwrap();
    path
}
