//! Writes what `scripts/fuzz` starts from to a folder: small GGUF files that are read without an error.
//!
//! `cargo run --release -p inference --example gguf-seeds -- FOLDER`

use std::path::PathBuf;

use inference::gguf::synthetic::{SyntheticModel, everything};

fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(std::io::Error::other("a folder is needed"));
    };
    std::fs::create_dir_all(&folder)?;
    everything().write(&folder.join("everything.gguf"))?;
    let smallest = SyntheticModel {
        num_layers: 1,
        hidden: 32,
        num_heads: 1,
        num_kv_heads: 1,
        head_dim: 32,
        ffn: 32,
        ..SyntheticModel::default()
    };
    smallest.write(&folder.join("llama.gguf"))
}
