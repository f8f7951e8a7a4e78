//! Which sentences of the context answer a question best, by the words alone.
//!
//! A sentence is ranked by the weight of the question's terms in it, by what the rest of its passage adds, by the score
//! of its passage, and by whether it holds the kind of thing that the question asks for (a number, a name).

use super::context::{ContextPassage, Quote};
use super::support::{QuoteIndex, RankedSentence};
use crate::text::sentence::{is_closer, is_terminator};
use crate::text::terms::TermKind;

/// A sentence that holds the kind of thing asked for.
const KIND_BONUS: f32 = 0.15;

/// What the rest of the passage adds, against what is in the sentence.
const NEAR_WEIGHT: f32 = 0.6;

/// What the score of the passage adds.
const PASSAGE_WEIGHT: f32 = 0.5;

/// What a heading or a fragment loses.
const FRAGMENT_MALUS: f32 = 0.3;

/// A sentence shorter than this is a heading or a fragment more often than an answer.
const MIN_TERMS: usize = 4;

/// What a question asks for, as far as its first words tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Number,
    Name,
    Anything,
}

/// The sentences of the context, best first, with their scores; those of equal score in the order of the text.
pub(crate) fn best_sentences(
    question: &str,
    index: &QuoteIndex,
    context: &[ContextPassage],
) -> Vec<(f32, RankedSentence)> {
    let wanted = wanted(question);
    let mut scored: Vec<(f32, RankedSentence)> = index
        .rank_for_question()
        .filter(|s| !s.is_head)
        .map(|s| (score(&s, context, wanted), s))
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored
}

fn score(sentence: &RankedSentence, context: &[ContextPassage], wanted: Wanted) -> f32 {
    let passage = &context[sentence.quote.passage_idx];
    let held = match wanted {
        Wanted::Number => sentence.holds(TermKind::Number) || sentence.holds(TermKind::SmallNumber),
        Wanted::Name => sentence.holds(TermKind::Name),
        Wanted::Anything => false,
    };
    let bonus = if held { KIND_BONUS } else { 0.0 };
    let fragment = sentence.num_terms < MIN_TERMS || is_heading(passage, sentence.quote);
    let malus = if fragment { FRAGMENT_MALUS } else { 0.0 };
    sentence.inside + NEAR_WEIGHT * sentence.near + PASSAGE_WEIGHT * passage.hit.score + bonus
        - malus
}

/// Whether a quote is a line without a full stop that is no list item and no row of a table.
fn is_heading(passage: &ContextPassage, quote: Quote) -> bool {
    let mut chars = passage
        .text
        .chars()
        .skip(quote.span.start)
        .take(quote.span.end - quote.span.start);
    let first = chars.next();
    let last = chars.last();
    let item = first.is_some_and(|c| matches!(c, '|' | '-' | '*' | '•') || c.is_ascii_digit());
    !item
        && last.is_some_and(|c| !is_terminator(c) && !is_closer(c) && !matches!(c, ':' | ';' | ','))
}

fn wanted(question: &str) -> Wanted {
    let lower = question.trim().to_lowercase();
    let has = |phrases: &[&str]| {
        phrases
            .iter()
            .any(|p| lower.starts_with(p) || lower.contains(&format!(" {p}")))
    };
    if has(&[
        "how many",
        "how much",
        "how long",
        "how old",
        "how far",
        "how often",
        "how big",
        "how fast",
        "how high",
        "how large",
        "when",
        "what year",
        "which year",
        "what percent",
        "which day",
        "which number",
        "what number",
        "which room",
        "what time",
        "what date",
        "wie viel",
        "wann",
        "cuánt",
        "cuándo",
        "combien",
        "quand",
    ]) {
        Wanted::Number
    } else if has(&[
        "who",
        "whom",
        "whose",
        "where",
        "which city",
        "what city",
        "what country",
        "wer",
        "wo",
        "quién",
        "dónde",
        "qui",
        "où",
    ]) {
        Wanted::Name
    } else {
        Wanted::Anything
    }
}
