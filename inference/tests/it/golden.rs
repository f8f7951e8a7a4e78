//! Reading the golden files, which `scripts/goldens/make.py` writes with llama.cpp and sentence-transformers.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

pub const SMOLLM2: &str = "smollm2-135m-instruct";
pub const QWEN_05B: &str = "qwen2.5-coder-0.5b-instruct";
pub const QWEN_15B: &str = "qwen2.5-coder-1.5b-instruct";

fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

pub fn golden<T: DeserializeOwned>(name: &str) -> T {
    let text = golden_text(name);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The text of a golden file.
pub fn golden_text(name: &str) -> String {
    let path = golden_path(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text that perplexity and long embeddings are computed on.
pub fn prose() -> String {
    golden_text("prose.txt")
}

/// FNV-1a of the ids as little-endian u32, as in `make.py`.
pub fn fnv1a(ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    fnv1a_of_bytes(&bytes)
}

/// FNV-1a of bytes, as in `types.py`.
pub fn fnv1a_of_bytes(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    format!("{hash:016x}")
}
