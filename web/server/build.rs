//! Embeds the page's bundle: writes a table of the files under `web/dist` for `src/assets.rs` to include.
//!
//! `scripts/build-web` makes that folder. Without it the table is empty and the page says so.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let manifest_dir = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let dist = manifest_dir.join("../dist");
    // Cargo takes a watched path that is missing for changed, every time; an empty folder is not.
    fs::create_dir_all(&dist)?;
    println!("cargo::rerun-if-changed=../dist");

    let mut files = Vec::new();
    collect(&dist, &mut files)?;
    files.sort();
    let mut bundle = DefaultHasher::new();
    let mut table = String::from("pub(crate) static ASSETS: &[Asset] = &[\n");
    for file in &files {
        let file = file.canonicalize()?;
        let name = file
            .strip_prefix(dist.canonicalize()?)
            .expect("it was found there");
        let name = name
            .to_str()
            .expect("the bundle's names are ASCII")
            .replace('\\', "/");
        let mut hasher = DefaultHasher::new();
        fs::read(&file)?.hash(&mut hasher);
        (&name, hasher.finish()).hash(&mut bundle);
        writeln!(
            table,
            "    Asset {{ path: {name:?}, bytes: include_bytes!({file:?}), content_type: {:?}, hash: \"{:016x}\" }},",
            content_type(&name),
            hasher.finish()
        )
        .expect("a String takes any text");
    }
    table.push_str("];\n");
    writeln!(
        table,
        "pub(crate) static BUNDLE_VERSION: &str = \"{:016x}\";",
        bundle.finish()
    )
    .expect("a String takes any text");
    fs::write(out_dir.join("assets.rs"), table)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "wasm" => "application/wasm",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "json" | "webmanifest" | "map" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
