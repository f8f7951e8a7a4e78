//! Quote-only answers: the best sentences of the documents, verbatim, each with its citation. No model is involved, so
//! no word of such an answer can be wrong; it may only be beside the point.

use crate::answer::context::{ContextPassage, Quote};
use crate::answer::ranking::best_sentences;
use crate::answer::refusal::refusal;
use crate::answer::support::QuoteIndex;
use crate::answer::types::{Answer, Citation};

/// Most sentences in an answer.
const MAX_SENTENCES: usize = 3;

/// A further sentence must reach this share of the best one's score.
const CLOSE_TO_BEST: f32 = 0.8;

/// Without a common word, a passage must be at least this near to the question ("sick" and "illness" are .36).
const MIN_COSINE: f32 = 0.3;

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
        let citation = Citation::of(i + 1, &context[quote.passage_idx], quote);
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

#[cfg(test)]
mod tests;
