//! Compiles our CUDA kernels for the `cuda` feature; without it there is nothing to do.
//!
//! `NVCC` names the compiler (default: the one on the path), `CUDA_COMPUTE_CAP` the compute capability, for example `90`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
};

/// The sources whose kernels are launched; `src/gpu/kernels.rs` includes what comes of this list.
const MODULES: [&str; 14] = [
    "add_rms_norm",
    "candidates_of_row",
    "expert_gemm",
    "expert_gemv",
    "expert_routing",
    "expert_rows",
    "gated_activation",
    "packed_gemm",
    "packed_gemm_wgmma",
    "packed_gemv",
    "paged_decode_attention",
    "paged_prefill_attention",
    "rope_append",
    "rows",
];

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=kernels");
    println!("cargo::rerun-if-env-changed=NVCC");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return ExitCode::SUCCESS;
    }
    let capability = env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "80".to_owned());
    println!("cargo::rustc-env=CLOISTER_COMPUTE_CAP={capability}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let rows = MODULES.map(|name| {
        format!("({name:?}, include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.fatbin\")))")
    });
    let list = format!(
        "const MODULES: &[(&str, &[u8])] = &[{}];\n",
        rows.join(", ")
    );
    fs::write(out.join("modules.rs"), list).expect("cargo's folder is writable");
    let failures: Vec<String> = thread::scope(|scope| {
        let out = &out;
        let capability = &capability;
        let running: Vec<_> = MODULES
            .iter()
            .map(|module| scope.spawn(move || compile(module, capability, out)))
            .collect();
        running
            .into_iter()
            .filter_map(|thread| thread.join().expect("no panic").err())
            .collect()
    });
    for failure in &failures {
        println!("cargo::error={failure}");
    }
    if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What to compile a module for: machine code of the capability, and PTX that later cards compile when they load it. Products of
/// warpgroups exist on 9.0 only, as machine code; elsewhere such a module is empty.
fn target(module: &str, capability: &str) -> Option<String> {
    match (module.ends_with("_wgmma"), capability) {
        (false, _) => Some(format!(
            "arch=compute_{capability},code=[sm_{capability},compute_{capability}]"
        )),
        (true, "90") => Some("arch=compute_90a,code=sm_90a".to_owned()),
        (true, _) => None,
    }
}

/// Compiles a module; an empty image where the capability has none of its kernels.
fn compile(module: &str, capability: &str, out: &Path) -> Result<(), String> {
    let nvcc = env::var_os("NVCC").unwrap_or_else(|| "nvcc".into());
    let image = out.join(module).with_extension("fatbin");
    let source = Path::new("kernels").join(module).with_extension("cu");
    let Some(target) = target(module, capability) else {
        return fs::write(&image, [])
            .map_err(|error| format!("{} cannot be written: {error}", image.display()));
    };
    let code = format!("-gencode={target}");
    let output = Command::new(&nvcc)
        .args(["-std=c++17", "-O3", "-fatbin", &code, "-o"])
        .args([&image, &source])
        .output()
        .map_err(|error| format!("{} does not start: {error}", Path::new(&nvcc).display()))?;
    if !output.status.success() || fs::metadata(&image).is_err() {
        let text = String::from_utf8_lossy(&output.stderr).replace('\n', " ");
        return Err(format!("nvcc cannot compile {}: {text}", source.display()));
    }
    Ok(())
}
