//! `POST /v1/embeddings`, as numbers or as base64.
//!
//! Texts are brought to Unicode NFC, as the passages of documents are, so that one text has one vector however its accents
//! were typed. A text that is longer than the model reads is an error unless `truncate` is true: cut without a word, two
//! long texts with the same beginning would have one vector.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Json as JsonResponse;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rag::{EmbedError, Embedder};
use unicode_normalization::UnicodeNormalization;
use web_api::openai::{
    Embedding, EmbeddingRequest, EmbeddingResponse, EmbeddingUsage, EmbeddingVector, TextOrTokens,
};

use super::super::error::{Failure, OpenAiFailure};
use super::body::OpenAiJson;
use super::unknown_model;
use crate::auth::CurrentUser;
use crate::blocking::join;
use crate::suite::Suite;

/// Texts of a request; OpenAI's limit.
const MOST_TEXTS: usize = 2048;
/// Texts that are computed in one go: after each the request may find that its client has gone.
const TEXTS_AT_ONCE: usize = 64;
/// A request that waits longer for its turn is sent away.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

pub(crate) async fn embeddings(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    OpenAiJson(request, _): OpenAiJson<EmbeddingRequest>,
) -> Result<JsonResponse<EmbeddingResponse>, OpenAiFailure> {
    let embedder = Arc::clone(&suite.embedder);
    if let Some(name) = &request.model
        && suite.config.model_of(name) != embedder.name()
    {
        let model = suite.model.as_ref();
        let other = model.map(|model| (model.name(), "a language model"));
        let failure = unknown_model(&suite, name, embedder.name(), other);
        return Err(OpenAiFailure(failure));
    }
    let base64 = is_base64(request.encoding_format.as_deref())?;
    let truncate = request.truncate.unwrap_or(false);
    let inputs = request.input.into_vec();
    check_number(&inputs)?;
    let _places = suite.places(&user, 1)?;
    let turn = tokio::time::timeout(LONGEST_WAIT, suite.embedding.take(user.id)).await;
    let _turn = turn
        .map_err(|_| Failure::busy("The embedding model is busy; try again in a few seconds."))?;
    let model = embedder.name().to_owned();
    let checked = {
        let embedder = Arc::clone(&embedder);
        tokio::task::spawn_blocking(move || checked(&*embedder, inputs, truncate))
    };
    let (inputs, tokens) = join(checked.await)?;
    let mut data = Vec::with_capacity(inputs.len());
    for inputs in inputs.chunks(TEXTS_AT_ONCE) {
        let (embedder, inputs) = (Arc::clone(&embedder), inputs.to_vec());
        let vectors = tokio::task::spawn_blocking(move || embed(&*embedder, inputs));
        let vectors = join(vectors.await);
        for vector in vectors.map_err(|error| Failure::from(rag::LibraryError::from(error)))? {
            data.push(embedding(data.len(), vector, base64));
        }
    }
    let usage = EmbeddingUsage {
        prompt_tokens: tokens,
        total_tokens: tokens,
    };
    Ok(JsonResponse(EmbeddingResponse {
        object: "list".to_owned(),
        data,
        model,
        usage,
    }))
}

fn is_base64(encoding_format: Option<&str>) -> Result<bool, Failure> {
    match encoding_format {
        None | Some("float") => Ok(false),
        Some("base64") => Ok(true),
        Some(_) => Err(Failure::invalid_param(
            "encoding_format",
            "encoding_format is float or base64.",
        )),
    }
}

fn check_number(inputs: &[TextOrTokens]) -> Result<(), Failure> {
    let there = inputs.len();
    if !(1..=MOST_TEXTS).contains(&there) {
        let reason = format!("input has {there} texts; 1 to {MOST_TEXTS} are accepted.");
        return Err(Failure::invalid_param("input", reason));
    }
    let empty = inputs.iter().position(TextOrTokens::is_empty);
    empty.map_or(Ok(()), |index| Err(nothing_at(index)))
}

fn nothing_at(index: usize) -> Failure {
    Failure::invalid_param(
        "input",
        format!("input[{index}] is empty; there is no vector of nothing."),
    )
}

/// Normalises the texts and checks each against what the model reads; returns them with their tokens in all.
fn checked(
    embedder: &dyn Embedder,
    mut inputs: Vec<TextOrTokens>,
    truncate: bool,
) -> Result<(Vec<TextOrTokens>, usize), Failure> {
    let most = embedder
        .max_tokens()
        .saturating_sub(embedder.num_frame_tokens());
    let mut tokens = 0;
    for (index, input) in inputs.iter_mut().enumerate() {
        let count = match input {
            TextOrTokens::Text(text) => {
                *text = text.nfc().collect();
                embedder.count_tokens(text)
            }
            TextOrTokens::Tokens(ids) => {
                check_ids(embedder, index, ids)?;
                ids.len()
            }
        };
        // Blanks, or characters that nobody sees.
        if count == 0 {
            return Err(nothing_at(index));
        }
        if count > most && !truncate {
            let name = embedder.name();
            return Err(Failure::invalid_param(
                "input",
                format!(
                    "input[{index}] has {count} tokens, but {name} reads {most}. Divide it, or send `truncate: true` to \
                     have its beginning embedded."
                ),
            ));
        }
        tokens += count.min(most);
    }
    Ok((inputs, tokens))
}

fn check_ids(embedder: &dyn Embedder, index: usize, ids: &[u32]) -> Result<(), Failure> {
    let vocab_size = embedder.vocab_size();
    let name = embedder.name();
    let reason = match ids.iter().find(|id| **id as usize >= vocab_size) {
        None => return Ok(()),
        Some(_) if vocab_size == 0 => format!("{name} takes texts and no token ids."),
        Some(id) => format!(
            "input[{index}] has the token id {id}, but {name} has {vocab_size}: its own, which are those of no other model. \
             Send texts."
        ),
    };
    Err(Failure::invalid_param("input", reason))
}

/// The vectors of texts and token ids, in order.
fn embed(embedder: &dyn Embedder, inputs: Vec<TextOrTokens>) -> Result<Vec<Vec<f32>>, EmbedError> {
    let (mut texts, mut lists) = (Vec::new(), Vec::new());
    let is_text: Vec<bool> = inputs
        .into_iter()
        .map(|input| match input {
            TextOrTokens::Text(text) => {
                texts.push(text);
                true
            }
            TextOrTokens::Tokens(ids) => {
                lists.push(ids);
                false
            }
        })
        .collect();
    let none = || Ok(Vec::new());
    let of_texts = if texts.is_empty() {
        none()
    } else {
        embedder.embed(&texts)
    };
    let of_lists = if lists.is_empty() {
        none()
    } else {
        embedder.embed_tokens(&lists)
    };
    let (mut of_texts, mut of_lists) = (of_texts?.into_iter(), of_lists?.into_iter());
    let next = |is_text| {
        if is_text {
            of_texts.next()
        } else {
            of_lists.next()
        }
    };
    Ok(is_text.into_iter().filter_map(next).collect())
}

fn embedding(index: usize, vector: Vec<f32>, base64: bool) -> Embedding {
    let embedding = if base64 {
        let bytes: Vec<u8> = vector
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        EmbeddingVector::Base64(STANDARD.encode(bytes))
    } else {
        EmbeddingVector::Float(vector)
    };
    Embedding {
        object: "embedding".to_owned(),
        index,
        embedding,
    }
}
