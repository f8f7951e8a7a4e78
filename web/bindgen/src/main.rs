//! Writes what loads the browser bundle: `bindgen BUNDLE.wasm FOLDER` makes `FOLDER/cloister.js` and `FOLDER/cloister_bg.wasm`.
//!
//! The same as `wasm-bindgen --target web --no-typescript --remove-name-section --remove-producers-section`, by the library under
//! that command: the command brings a test runner with a web server and a TLS stack, which takes twice as long to compile.

use std::{env, error::Error, path::PathBuf};

use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [bundle, folder] = arguments.as_slice() else {
        return Err("usage: bindgen BUNDLE.wasm FOLDER".into());
    };
    Bindgen::new()
        .input_path(bundle)
        .out_name("cloister")
        .web(true)?
        .omit_default_module_path(false)
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(folder)?;
    Ok(())
}
