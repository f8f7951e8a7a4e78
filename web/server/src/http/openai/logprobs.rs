//! Log-probabilities in OpenAI's two shapes.

use inference::{MOST_TOP_LOGPROBS, ScoredToken, TokenLogprobs};
use web_api::openai::{
    ChatCompletionRequest, ChoiceLogprobs, CompletionLogprobs, RankedLogprobs, TokenLogprob,
};

use super::super::error::Failure;

/// Returns how many alternatives a chat asks for; `None` when it wants no log-probabilities.
///
/// # Errors
/// 400 naming `top_logprobs`.
pub(super) fn of_chat(request: &ChatCompletionRequest) -> Result<Option<usize>, Failure> {
    let wanted = request.logprobs.unwrap_or(false);
    match request.top_logprobs {
        Some(0) | None => Ok(wanted.then_some(0)),
        Some(_) if !wanted => Err(Failure::invalid_param(
            "top_logprobs",
            "top_logprobs needs logprobs to be true.",
        )),
        Some(count) => in_range("top_logprobs", count).map(Some),
    }
}

/// Checks a number of alternatives.
///
/// # Errors
/// 400 naming `param`.
pub(super) fn in_range(param: &'static str, count: usize) -> Result<usize, Failure> {
    if count <= MOST_TOP_LOGPROBS {
        return Ok(count);
    }
    Err(Failure::invalid_param(
        param,
        format!("{param} must be between 0 and {MOST_TOP_LOGPROBS}; it is {count}."),
    ))
}

/// The shape of a chat; `None` for no tokens.
pub(super) fn in_chat(tokens: Vec<TokenLogprobs>) -> Option<ChoiceLogprobs> {
    let content: Vec<TokenLogprob> = tokens
        .into_iter()
        .map(|token| TokenLogprob {
            top_logprobs: Some(token.top.into_iter().map(scored).collect()),
            ..scored(token.chosen)
        })
        .collect();
    (!content.is_empty()).then_some(ChoiceLogprobs { content })
}

fn scored(token: ScoredToken) -> TokenLogprob {
    TokenLogprob {
        token: String::from_utf8_lossy(&token.bytes).into_owned(),
        logprob: token.logprob,
        bytes: token.bytes,
        top_logprobs: None,
    }
}

/// Makes the shape of `/v1/completions`, whose offsets count on from chunk to chunk.
#[derive(Debug, Default)]
pub(super) struct CompletionOffsets {
    /// Characters that have begun.
    characters: usize,
}

impl CompletionOffsets {
    /// The shape of a completion; `None` for no tokens.
    pub fn next(&mut self, tokens: Vec<TokenLogprobs>) -> Option<CompletionLogprobs> {
        let mut logprobs = CompletionLogprobs::default();
        for TokenLogprobs { chosen, top } in tokens {
            let name = name(&chosen);
            let best = top.iter().map(|token| (self::name(token), token.logprob));
            let mut ranked: Vec<(String, f32)> = best.collect();
            if ranked.iter().all(|(there, _)| *there != name) {
                ranked.push((name.clone(), chosen.logprob));
            }
            logprobs.top_logprobs.push(RankedLogprobs(ranked));
            logprobs.tokens.push(name);
            logprobs.token_logprobs.push(chosen.logprob);
            logprobs.text_offset.push(self.characters);
            let begins = |byte: &&u8| **byte & 0xc0 != 0x80;
            self.characters += chosen.bytes.iter().filter(begins).count();
        }
        (!logprobs.tokens.is_empty()).then_some(logprobs)
    }
}

/// The token's text; of part of a character its bytes, so that different tokens have different names.
fn name(token: &ScoredToken) -> String {
    match std::str::from_utf8(&token.bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let bytes = token.bytes.iter().map(|byte| format!("\\x{byte:02x}"));
            format!("bytes:{}", bytes.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(bytes: &[u8], logprob: f32, top: Vec<ScoredToken>) -> TokenLogprobs {
        let chosen = ScoredToken {
            id: 0,
            bytes: bytes.to_vec(),
            logprob,
        };
        TokenLogprobs { chosen, top }
    }

    #[test]
    fn completions_count_characters_and_name_parts_of_characters_by_their_bytes() {
        let mut offsets = CompletionOffsets::default();
        let best = token(b" one", -0.1, Vec::new()).chosen;
        let first = vec![
            token("h\u{e9}".as_bytes(), -0.5, vec![best]),
            token(b"\xe2\x82", -1.0, Vec::new()),
        ];
        let first = offsets.next(first).unwrap();
        assert_eq!(first.tokens, ["h\u{e9}", "bytes:\\xe2\\x82"]);
        assert_eq!(first.text_offset, [0, 2]);
        let ranked = [(" one".to_owned(), -0.1), ("h\u{e9}".to_owned(), -0.5)];
        assert_eq!(first.top_logprobs[0].0, ranked);
        let json = serde_json::to_string(&first.top_logprobs[0]).unwrap();
        assert_eq!(json, "{\" one\":-0.1,\"h\u{e9}\":-0.5}");
        let second = vec![
            token(b"\xac", -1.0, Vec::new()),
            token(b"!", -2.0, Vec::new()),
        ];
        assert_eq!(offsets.next(second).unwrap().text_offset, [3, 3]);
        assert_eq!(offsets.next(Vec::new()), None);
    }

    #[test]
    fn chats_list_bytes_and_alternatives() {
        let best = token(b"yes", -0.1, Vec::new()).chosen;
        let logprobs = in_chat(vec![token(b"\xe2", -1.5, vec![best])]).unwrap();
        let json = serde_json::to_value(&logprobs).unwrap();
        let top =
            serde_json::json!([{ "token": "yes", "logprob": -0.1f32, "bytes": [121, 101, 115] }]);
        let chosen = serde_json::json!({ "token": "\u{fffd}", "logprob": -1.5, "bytes": [226], "top_logprobs": top });
        assert_eq!(json, serde_json::json!({ "content": [chosen] }));
        assert_eq!(in_chat(Vec::new()), None);
    }
}
