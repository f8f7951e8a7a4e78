//! Writes the synthetic models that are compared with other programs to a folder, one GGUF file each.
//!
//! `cargo run --release -p inference --example synthetic-models -- FOLDER`

use std::path::PathBuf;

use inference::gguf::synthetic::{catalogue, types};

fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(std::io::Error::other("a folder is needed"));
    };
    std::fs::create_dir_all(&folder)?;
    for (name, model) in catalogue().into_iter().chain(types()) {
        model.write(&folder.join(format!("{name}.gguf")))?;
    }
    Ok(())
}
