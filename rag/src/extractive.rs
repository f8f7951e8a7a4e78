//! Quote-only answers: the best sentences of the documents, verbatim, each with its citation. No model is involved, so
//! no word of such an answer can be wrong; it may only be beside the point.
//!
//! A sentence is ranked by the weight of the question's terms in it, by what the rest of its passage adds, by the score
//! of its passage, and by whether it holds the kind of thing that the question asks for (a number, a name).

use crate::{
    answer::{
        Answer, make_citation,
        support::{Quote, QuoteIndex, RankedSentence},
    },
    context::ContextPassage,
    refusal::refusal,
    sentence::{is_closer, is_terminator},
    terms::TermKind,
};

/// Most sentences in an answer.
const MAX_SENTENCES: usize = 3;

/// A further sentence must reach this share of the best one's score.
const CLOSE_TO_BEST: f32 = 0.8;

/// Without a common word, a passage must be at least this near to the question ("sick" and "illness" are .36).
const MIN_COSINE: f32 = 0.3;

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

/// Returns the sentences of `context` that answer `question` best, verbatim; refused where none has anything of it.
pub fn quote_only(question: &str, context: &[ContextPassage]) -> Answer {
    let index = QuoteIndex::new(question, context);
    let mut scored = best_sentences(question, &index, context);
    let cosine = context
        .iter()
        .filter_map(|p| p.hit.dense)
        .fold(0.0, f32::max);
    if scored.iter().all(|(_, s)| s.near == 0.0) && cosine < MIN_COSINE {
        scored.clear();
    }
    let Some(best) = scored.first().map(|(score, _)| *score) else {
        let hits: Vec<_> = context.iter().map(|p| p.hit.clone()).collect();
        return refusal(question, &hits);
    };
    let mut answer = Answer::default();
    let close = scored
        .iter()
        .take_while(|(score, _)| *score >= CLOSE_TO_BEST * best);
    let mut chosen: Vec<Quote> = Vec::new();
    for quote in close.map(|(_, sentence)| index.whole_form(sentence.quote)) {
        if !chosen.contains(&quote) {
            chosen.push(quote);
        }
    }
    chosen.truncate(MAX_SENTENCES);
    for (i, quote) in chosen.into_iter().enumerate() {
        let citation = make_citation(i + 1, &context[quote.passage_idx], quote);
        if i > 0 {
            answer.text.push_str("\n\n");
        }
        answer.text.push_str(&format!(
            "{} [{}]",
            index.shown(quote, context, false),
            citation.n
        ));
        answer.citations.push(citation);
    }
    answer
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

/// A quote as it reads on screen: the line breaks of the document are white space.
pub(crate) fn on_one_line(quote: &str) -> String {
    quote.split_whitespace().collect::<Vec<_>>().join(" ")
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

#[cfg(test)]
mod tests;
