//! `cloister generate`, `tokenize` and `perplexity`: a language model by itself.

use std::io::Read;

use inference::{
    AddSpecial, ChatMessage, Engine, Event, GenerateRequest, GgufFile, Priority, Role,
    SamplingParams, Tokenizer,
};
use serde_json::json;

use crate::args::{GenerateArgs, PerplexityArgs, TokenizeArgs};
use crate::compose::{self, load_engine};
use crate::config::Config;
use crate::failure::{Failure, Outcome, chain};
use crate::models::choose::resolve;
use crate::models::{ModelKind, ModelStore};
use crate::output;

/// Continues a text; people see it arrive.
///
/// # Errors
/// A model that cannot be loaded, a prompt that does not fit, settings that cannot be used.
pub fn generate(config: &Config, args: &GenerateArgs) -> Outcome<()> {
    let prompt = text_or_stdin(&args.prompt)?;
    let engine = load_engine(config, &args.model, |engine| {
        engine.max_num_seqs = 1;
        engine.threads = args.threads.or(engine.threads);
    })?;
    let prompt = encode(&engine, &prompt, args)?;
    let sampling = SamplingParams {
        max_tokens: args.max_tokens,
        stop: args.stop.clone(),
        ignore_eos: args.ignore_eos,
        ..args.sampling.params()
    };
    let mut stream = engine
        .submit(GenerateRequest {
            prompt,
            sampling,
            priority: Priority::Interactive,
        })
        .map_err(|error| {
            Failure::user(chain(&error)).hint("`cloister generate --help` describes the limits")
        })?;
    let (mut text, mut tokens) = (String::new(), Vec::new());
    while let Some(event) = stream.blocking_next() {
        match event {
            Event::Delta {
                text: delta,
                tokens: ids,
                ..
            } => {
                if !config.json {
                    output::document(&delta);
                }
                text.push_str(&delta);
                tokens.extend(ids);
            }
            Event::Finished {
                reason,
                usage,
                timings,
            } => {
                let (queue_ms, prefill_ms, decode_ms) =
                    (timings.queue_ms, timings.prefill_ms, timings.decode_ms);
                if config.json {
                    output::json(&json!({
                        "text": text,
                        "tokens": tokens,
                        "finish_reason": format!("{reason:?}").to_lowercase(),
                        "usage": {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens},
                        "timings": {"queue_ms": queue_ms, "prefill_ms": prefill_ms, "decode_ms": decode_ms},
                        "model": engine.model().name,
                    }));
                } else {
                    output::line("");
                    output::note(&speed(
                        usage.prompt_tokens,
                        prefill_ms,
                        usage.completion_tokens,
                        decode_ms,
                    ));
                }
                return Ok(());
            }
            Event::Failed(error) => return Err(Failure::internal(chain(&error))),
        }
    }
    Err(Failure::internal(
        "the engine stopped before the text was complete",
    ))
}

fn encode(engine: &Engine, prompt: &str, args: &GenerateArgs) -> Outcome<Vec<u32>> {
    if args.chat {
        let message = ChatMessage {
            role: Role::User,
            content: prompt.to_owned(),
        };
        return engine
            .encode_chat(&[message])
            .map_err(|error| Failure::user(chain(&error)));
    }
    Ok(if args.special {
        engine.tokenizer().encode_with_special(prompt)
    } else {
        engine.tokenizer().encode(prompt, AddSpecial::Yes)
    })
}

fn speed(
    prompt_tokens: usize,
    prefill_ms: f64,
    completion_tokens: usize,
    decode_ms: f64,
) -> String {
    let per_second = |tokens: usize, ms: f64| {
        if ms > 0.0 {
            tokens as f64 * 1000.0 / ms
        } else {
            0.0
        }
    };
    format!(
        "{prompt_tokens} tokens read ({:.0}/s), {completion_tokens} written ({:.1}/s)",
        per_second(prompt_tokens, prefill_ms),
        // The first token comes out of the prefill.
        per_second(completion_tokens.saturating_sub(1), decode_ms)
    )
}

/// Shows the token ids of a text.
///
/// # Errors
/// A file that is no model, or whose tokenizer this version does not know.
pub fn tokenize(config: &Config, args: &TokenizeArgs) -> Outcome<()> {
    let text = match (&args.file, &args.text) {
        (Some(path), _) => std::fs::read_to_string(path)
            .map_err(|error| Failure::user(format!("cannot read {}: {error}", path.display())))?,
        (None, Some(text)) => text_or_stdin(text)?,
        (None, None) => String::new(),
    };
    let store = ModelStore::open(&config.models_dir)?;
    let chosen = resolve(&store, &args.model, ModelKind::Chat)?;
    let unusable = |error: &dyn std::error::Error| {
        Failure::user(format!("cannot use the tokenizer of {}: {}", chosen.name, chain(error)))
            .hint("`cloister models list` shows models that work; a file that was cut off must be fetched again")
    };
    let gguf = GgufFile::open(&chosen.path).map_err(|error| unusable(&error))?;
    let tokenizer = Tokenizer::from_gguf(&gguf).map_err(|error| unusable(&error))?;
    let tokens = if args.special {
        tokenizer.encode_with_special(&text)
    } else {
        tokenizer.encode(&text, AddSpecial::No)
    };
    if config.json {
        output::json(&json!({ "tokens": tokens }));
        return Ok(());
    }
    for &token in &tokens {
        output::line(&format!(
            "{token:>7}  {:?}",
            String::from_utf8_lossy(tokenizer.token_bytes(token))
        ));
    }
    Ok(())
}

/// Measures how well a model predicts a text.
///
/// # Errors
/// A model that cannot be loaded, or a text shorter than two windows.
pub fn perplexity(config: &Config, args: &PerplexityArgs) -> Outcome<()> {
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| Failure::user(format!("cannot read {}: {error}", args.file.display())))?;
    let store = ModelStore::open(&config.models_dir)?;
    let chosen = resolve(&store, &args.model, ModelKind::Chat)?;
    let engine = config.engine(&chosen);
    let mut engine = engine.map_err(|error| compose::load_failure(&chosen, &error))?;
    engine.threads = args.threads.or(engine.threads);
    let report =
        inference::perplexity(&engine, &text, args.window).map_err(|error| match &error {
            inference::PerplexityError::Load(load) => compose::load_failure(&chosen, load),
            other => Failure::user(chain(other)),
        })?;
    if config.json {
        output::json(&json!({"perplexity": report.perplexity, "tokens": report.tokens}));
    } else {
        output::line(&format!(
            "perplexity {:.4} over {} tokens",
            report.perplexity, report.tokens
        ));
    }
    Ok(())
}

/// `-` means stdin.
fn text_or_stdin(text: &str) -> Outcome<String> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut input = String::new();
    std::io::stdin()
        .read_to_string(&mut input)
        .map_err(|error| Failure::user(format!("cannot read stdin: {error}")))?;
    Ok(input)
}
