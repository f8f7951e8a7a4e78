//! The prompt: a system part that never changes (so that the engine's prefix cache keeps it) and a user part with the
//! passages and the question.
//!
//! Document text is data. It stands between two lines that carry a tag derived from question and passages, so a
//! document cannot close them; what looks like a citation marker in it is rewritten and invisible characters are
//! removed. The quote check reads the original text, so nothing of this changes a quote.
//!
//! Absent on purpose: a sentence about refusing (a 1.5B model then refuses half of what it knows; refusal is decided
//! before the model by [`crate::refusal`] and after it by [`crate::answer`]), and a demand for markers (it forgets
//! half of them; the quote check attaches them).

use serde::{Deserialize, Serialize};

use crate::{Hit, context::ContextPassage, terms::is_invisible};

/// Stored with every answer; changes whenever the wording of the prompt does.
pub const PROMPT_VERSION: &str = "2026-11-25.1";

/// Rules for every answer. Never contains anything of the request.
const SYSTEM: &str = "You answer questions from a company's documents. Read the passages and answer the question in one full \
    sentence, using the exact words of the passages.";

/// How many earlier turns the model sees; more push the passages out of a small model's attention.
const MAX_HISTORY_TURNS: usize = 2;

/// Longest earlier answer that is repeated to the model, in characters.
const MAX_HISTORY_CHARS: usize = 400;

/// Who speaks in a chat prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptRole {
    /// The instructions.
    System,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
}

/// One message of a chat prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptMessage {
    /// Who speaks.
    pub role: PromptRole,
    /// What is said.
    pub content: String,
}

/// Builds the chat prompt: rules, the last turns of `history` (question, answer), then passages and question.
pub fn build_prompt(
    question: &str,
    history: &[(String, String)],
    context: &[ContextPassage],
) -> Vec<PromptMessage> {
    let mut messages = vec![PromptMessage {
        role: PromptRole::System,
        content: SYSTEM.to_owned(),
    }];
    for (asked, answered) in &history[history.len().saturating_sub(MAX_HISTORY_TURNS)..] {
        messages.push(PromptMessage {
            role: PromptRole::User,
            content: shorten(asked),
        });
        messages.push(PromptMessage {
            role: PromptRole::Assistant,
            content: shorten(&without_markers(answered)),
        });
    }
    let tag = delimiter_tag(question, context);
    let mut content = format!("<passages {tag}>\n");
    for passage in context {
        content.push_str(&format!(
            "{}\n{}\n\n",
            passage_header(passage.n, &passage.hit),
            harmless(&passage.text)
        ));
    }
    content.push_str(&format!(
        "</passages {tag}>\n\nQuestion: {}",
        question.trim()
    ));
    messages.push(PromptMessage {
        role: PromptRole::User,
        content,
    });
    messages
}

/// `[n] title > heading > heading`, the line above a passage.
pub(crate) fn passage_header(n: usize, hit: &Hit) -> String {
    let mut parts: Vec<&str> = vec![hit.title.trim()];
    parts.extend(
        hit.heading
            .iter()
            .map(|h| h.trim())
            .filter(|h| !h.is_empty()),
    );
    parts.dedup();
    let header = harmless(&parts.join(" > ")).replace('\n', " ");
    format!("[{n}] {}", header.chars().take(160).collect::<String>())
}

/// Document text as the model may read it: no invisible characters, no citation markers, no chat control words.
fn harmless(text: &str) -> String {
    let visible: String = text.chars().filter(|c| !is_invisible(*c)).collect();
    rewrite_brackets(&visible, |inner| format!("({inner})"))
}

/// An earlier answer without its `[n]`: those numbers mean other passages now.
fn without_markers(answer: &str) -> String {
    rewrite_brackets(answer, |_| String::new()).replace(" .", ".")
}

/// Replaces `[digits]` by what `rewrite` makes of the digits.
fn rewrite_brackets(text: &str, rewrite: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        out.push_str(&rest[..open]);
        let inner = &rest[open + 1..];
        let digits = inner.bytes().take_while(u8::is_ascii_digit).count();
        if (1..=3).contains(&digits) && inner[digits..].starts_with(']') {
            out.push_str(&rewrite(&inner[..digits]));
            rest = &inner[digits + 1..];
        } else {
            out.push('[');
            rest = inner;
        }
    }
    out.push_str(rest);
    out
}

/// Eight hex digits that no passage and no header contains, the same for the same prompt.
fn delimiter_tag(question: &str, context: &[ContextPassage]) -> String {
    for round in 0u64.. {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&round.to_le_bytes());
        hasher.update(question.as_bytes());
        for passage in context {
            hasher.update(passage.text.as_bytes());
        }
        let tag: String = hasher.finalize().to_hex().chars().take(8).collect();
        let taken = |p: &ContextPassage| {
            p.text.contains(&tag)
                || p.hit.title.contains(&tag)
                || p.hit.heading.iter().any(|h| h.contains(&tag))
        };
        if !context.iter().any(taken) {
            return tag;
        }
    }
    unreachable!("a finite text does not contain every tag")
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= MAX_HISTORY_CHARS {
        return text.trim().to_owned();
    }
    let mut short: String = text.chars().take(MAX_HISTORY_CHARS).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests;
