//! Models for tests: synthetic ones written on the spot, and real ones where they are installed.

use std::path::{Path, PathBuf};

use inference::{
    Engine, EngineConfig, Event, FinishReason, GenerateRequest, TokenStream, Usage,
    gguf::synthetic::SyntheticModel,
};

/// Folder of the real models: `CLOISTER_TEST_MODELS`, else `target/test-models` of the workspace.
pub fn models_dir() -> PathBuf {
    let from_environment = std::env::var_os("CLOISTER_TEST_MODELS").map(PathBuf::from);
    from_environment
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-models"))
}

/// Returns the GGUF file of a real model, or `None` (and says so) where it is not installed.
///
/// # Panics
/// Where a continuous-integration run lacks a model that it must have.
pub fn real_model(name: &str) -> Option<PathBuf> {
    let folder = models_dir().join(name);
    let files = std::fs::read_dir(&folder)
        .ok()
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let found = files.into_iter().find(|path| {
        path.extension()
            .is_some_and(|extension| extension == "gguf")
    });
    if found.is_none() {
        let required = std::env::var_os("CI").is_some() && name.starts_with("smollm2");
        assert!(!required, "{} holds no model", folder.display());
        println!("skipped: {} holds no model", folder.display());
    }
    found
}

/// A synthetic model in a folder of its own, which lives as long as this.
pub struct TinyModel {
    _folder: tempfile::TempDir,
    pub path: PathBuf,
}

pub fn tiny(model: &SyntheticModel) -> TinyModel {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("tiny.gguf");
    model.write(&path).expect("written");
    TinyModel {
        _folder: folder,
        path,
    }
}

pub fn load(path: &Path, change: impl FnOnce(&mut EngineConfig)) -> Engine {
    let mut config = EngineConfig::new(path);
    config.kv_cache_tokens = 1_024;
    change(&mut config);
    Engine::load(config).expect("the model loads")
}

/// Everything a request produced.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    pub text: String,
    pub tokens: Vec<u32>,
    pub reason: FinishReason,
    pub usage: Usage,
}

pub fn collect(mut stream: TokenStream) -> Output {
    let (mut text, mut tokens) = (String::new(), Vec::new());
    while let Some(event) = stream.blocking_next() {
        match event {
            Event::Delta {
                text: piece,
                tokens: ids,
                ..
            } => {
                text.push_str(&piece);
                tokens.extend(ids);
            }
            Event::Finished { reason, usage, .. } => {
                return Output {
                    text,
                    tokens,
                    reason,
                    usage,
                };
            }
            Event::Failed(error) => panic!("failed: {error}"),
        }
    }
    panic!("the stream ended without a last event")
}

pub fn generate(engine: &Engine, request: GenerateRequest) -> Output {
    collect(engine.submit(request).expect("accepted"))
}
