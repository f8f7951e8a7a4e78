//! The prompt: a system part that never changes and a user part with the passages and the question.
//!
//! Document text is data. It stands between two lines that carry a tag derived from question and passages, so a
//! document cannot close them; what looks like a citation marker in it is rewritten and invisible characters are
//! removed. The quote check reads the original text, so nothing of this changes a quote.
//!
//! Absent on purpose: a sentence about refusing (a 1.5B model then refuses half of what it knows; refusal is decided
//! before the model by [`crate::answer::refusal`] and after it by [`crate::answer`]), and a demand for markers (it forgets
//! half of them; the quote check attaches them).
//!
//! The ladder, Qwen2.5-Coder-1.5B-Instruct Q4_K_M, greedy, on XQuAD English with the first four of 120 paragraphs (right
//! one among them for 99.5 %). *Contains*: the model's sentence has the gold answer; *shown*: the checked answer has it,
//! which quotes the closest sentence where nothing was supported; *cites*: a citation is to the gold paragraph.
//!
//! | prompt | questions | passages, characters | contains | shown | cites |
//! |---|---|---|---|---|---|
//! | "only the passages, number in brackets, else: Not in the documents" (gold paragraph among five, no check) | 40 | 3,900 | .38 | | .38 |
//! | "answer in one sentence and end it with the number in brackets" (the same) | 24 | 3,900 | .75 | | .54 |
//! | whole paragraphs, "one full sentence, using the exact words" | 20, set 1 | 3,140 | .75 | .80 | .90 |
//! | sentences that matter, at most 1,200 characters | 23, set 1 | 1,170 | .74 | .83 | .96 |
//! | sentences that matter, cut at half of the best score | 20, set 2 | 980 | .95 | .95 | 1.00 |
//! | the same | 50, set 3 | 1,150 | .76 | .78 | .96 |
//! | the same, and the three closest sentences once more before the question, behind the delimiter | 50, set 3 | 1,600 | .84 | | |
//! | **the same, inside the delimiters (this prompt)** | 100, set 4 | 1,600 | | .80 | .96 |
//! | **the same** | 100, set 5 | 1,600 | | .82 | .97 |
//!
//! The sets are different questions; twenty are worth about .1 either way, fifty .06, a hundred .04. Sets 4 and 5 were looked
//! at once, at the end (`cloister eval`; false refusals .01 in both, AUROC .93). On set 3 also: one closest sentence .80, "keep the words of the
//! question and of the passage" behind the question .78, "first quote the sentence, then answer" .78.
//! Without a model, the quotes of [`crate::answer::quote_only`] have the answer for .86 of all 612 and cite the paragraph for .96.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::answer::context::{ContextPassage, Quote, harmless, passage_header};
use crate::answer::ranking::best_sentences;
use crate::answer::support::{QuoteIndex, RankedSentence};
use crate::text::sentence::Span;

/// Stored with every answer; changes whenever the wording of the prompt does.
pub const PROMPT_VERSION: &str = "2026-12-01.1";

/// Rules for every answer. Never contains anything of the request.
const SYSTEM: &str = "You answer questions from a company's documents. Read the passages and answer the question in one full \
    sentence, using the exact words of the passages.";

/// Most characters of passages in the prompt, about 400 tokens.
///
/// On XQuAD (four paragraphs, 3,140 characters) the sentence with the answer is among the four for 99.5 % of the
/// questions. Cut to 1,600 characters it stays for 98.2 %; with [`MIN_SHARE_OF_BEST`] still for 98.2 %, in 980
/// characters. The time to the first word is proportional to the length: three times shorter.
const MAX_FOCUS_CHARS: usize = 1600;

/// Sentences of less than this share of the best one's score are left out once [`MIN_FOCUS_CHARS`] are there. At .6 the
/// answer is lost for another .3 % of the questions.
const MIN_SHARE_OF_BEST: f32 = 0.5;

/// "Explain the onboarding" shares few words with the sentences that do; the best passage comes along whole.
const MIN_FOCUS_CHARS: usize = 700;

/// Longest table that comes along whole, in characters: the head of an accident report has about 500.
const MAX_WHOLE_TABLE_CHARS: usize = 700;

/// Sentences that are said again before the question. They hold the answer for .90 of 50 XQuAD questions, one alone for
/// .74; the ladder above has what each does for the model's sentence.
const NUM_CLOSEST: usize = 3;

/// Most characters of all of them together, about 180 tokens.
const MAX_CLOSEST_CHARS: usize = 700;

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

/// Builds the chat prompt: rules, the turns of `history` (question, answer; see [`super::history`]), then the sentences of
/// `context` that matter for the question, then the question.
pub fn build_prompt(
    question: &str,
    history: &[(String, String)],
    context: &[ContextPassage],
) -> Vec<PromptMessage> {
    let mut messages = vec![PromptMessage {
        role: PromptRole::System,
        content: SYSTEM.to_owned(),
    }];
    for (asked, answered) in history {
        let turn = [(PromptRole::User, asked), (PromptRole::Assistant, answered)];
        messages.extend(turn.map(|(role, content)| PromptMessage {
            role,
            content: content.clone(),
        }));
    }
    // A follow-up ("and in 2020?") often names its subject only in the question before.
    let topic = match history.last() {
        Some((before, _)) => format!("{question} {before}"),
        None => question.to_owned(),
    };
    let tag = delimiter_tag(question, context);
    let mut content = format!("<passages {tag}>\n");
    for (passage, text) in context.iter().zip(focus(&topic, context)) {
        if !text.is_empty() {
            content.push_str(&format!(
                "{}\n{}\n\n",
                passage_header(passage.n, &passage.hit),
                harmless(&text)
            ));
        }
    }
    content.push_str(&closest_sentences(&topic, context));
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

/// Builds the prompt that asks once more, after a statement that nothing supported: the quotes alone, each with the
/// title and headings of its passage, a row of a table with the heads of its columns.
pub(crate) fn build_second_prompt(
    question: &str,
    context: &[ContextPassage],
    index: &QuoteIndex,
    quotes: &[Quote],
) -> Vec<PromptMessage> {
    let tag = delimiter_tag(question, context);
    let mut content = format!("<passages {tag}>\n");
    for (at, passage) in context.iter().enumerate() {
        let own: Vec<&Quote> = quotes.iter().filter(|q| q.passage_idx == at).collect();
        if own.is_empty() {
            continue;
        }
        content.push_str(&passage_header(passage.n, &passage.hit));
        content.push('\n');
        for quote in own {
            let text = index.shown(*quote, context, false);
            content.push_str(&format!("{}\n", harmless(&text)));
        }
        content.push('\n');
    }
    content.push_str(&format!(
        "</passages {tag}>\n\nQuestion: {}",
        question.trim()
    ));
    [
        (PromptRole::System, SYSTEM.to_owned()),
        (PromptRole::User, content),
    ]
    .map(|(role, content)| PromptMessage { role, content })
    .into()
}

/// The sentences that answer `question` best by the words alone, once more and nearest to the question.
///
/// A small model reads what stands last with the most care, and then mixes up fewer sentences of like passages. Inside
/// the delimiters, because they are document text; empty where the passages hardly have more.
fn closest_sentences(question: &str, context: &[ContextPassage]) -> String {
    let index = QuoteIndex::new(question, context);
    let ranked = best_sentences(question, &index, context);
    if ranked.len() <= NUM_CLOSEST {
        return String::new();
    }
    let mut left = MAX_CLOSEST_CHARS;
    let mut out = String::new();
    let mut quotes: Vec<Quote> = Vec::new();
    for (_, sentence) in ranked.into_iter().take(NUM_CLOSEST) {
        let quote = index.whole_form(sentence.quote);
        if !quotes.contains(&quote) {
            quotes.push(quote);
        }
    }
    for quote in quotes {
        let text = harmless(&index.shown(quote, context, false));
        let Some(rest) = left.checked_sub(text.chars().count()) else {
            break;
        };
        left = rest;
        out.push_str(&format!("- {text}\n"));
    }
    if out.is_empty() {
        return out;
    }
    format!("Closest sentences:\n{out}")
}

/// The text of each passage cut down to the sentences that matter for the question, with their neighbours, `…` where
/// something is left out; empty for a passage of which nothing is left.
fn focus(question: &str, context: &[ContextPassage]) -> Vec<String> {
    let index = QuoteIndex::new(question, context);
    let sentences: Vec<RankedSentence> = index.rank_for_question().collect();
    let passages: Vec<Vec<char>> = context.iter().map(|p| p.text.chars().collect()).collect();
    let score =
        |s: &RankedSentence| s.inside + 0.3 * s.near + 0.5 * context[s.quote.passage_idx].hit.score;
    let mut order: Vec<usize> = (0..sentences.len()).collect();
    order.sort_by(|&a, &b| {
        score(&sentences[b])
            .total_cmp(&score(&sentences[a]))
            .then(a.cmp(&b))
    });
    let chars_of = |i: &usize| sentences[*i].quote.span.end - sentences[*i].quote.span.start;
    let is_row =
        |i: usize| passages[sentences[i].quote.passage_idx][sentences[i].quote.span.start] == '|';
    let mut kept = BTreeSet::new();
    let mut used = 0;
    let best = order.first().map_or(0.0, |&i| score(&sentences[i]));
    for at in order {
        if used >= MIN_FOCUS_CHARS && score(&sentences[at]) < MIN_SHARE_OF_BEST * best {
            break;
        }
        let same_passage =
            |i: &usize| sentences[*i].quote.passage_idx == sentences[at].quote.passage_idx;
        let mut group: Vec<usize> = (at.saturating_sub(1)..(at + 2).min(sentences.len()))
            .filter(same_passage)
            .collect();
        if is_row(at) {
            let in_table = |i: &usize| same_passage(i) && is_row(*i);
            let above: Vec<usize> = (0..at).rev().take_while(in_table).collect();
            let below = (at + 1..sentences.len()).take_while(in_table);
            let table: Vec<usize> = above
                .iter()
                .rev()
                .copied()
                .chain([at])
                .chain(below)
                .collect();
            // The rows of a form explain each other, and a row of a longer table says nothing without the names of its
            // columns.
            group = if table.iter().map(chars_of).sum::<usize>() <= MAX_WHOLE_TABLE_CHARS {
                table
            } else {
                let head = above.last().copied().filter(|&i| sentences[i].is_head);
                head.into_iter().chain([at]).collect()
            };
        }
        if let Some(form) = sentences[at].form.filter(|_| !is_row(at)) {
            let in_form = |i: &usize| same_passage(i) && form.holds(sentences[*i].quote.span);
            group = (0..sentences.len()).filter(in_form).collect();
        }
        for group in [group, vec![at]] {
            let new: Vec<usize> = group.into_iter().filter(|i| !kept.contains(i)).collect();
            let more: usize = new.iter().map(chars_of).sum();
            if used + more <= MAX_FOCUS_CHARS || kept.is_empty() {
                used += more;
                kept.extend(new);
                break;
            }
        }
    }
    passages
        .iter()
        .enumerate()
        .map(|(passage_idx, chars)| {
            let spans: Vec<Span> = kept
                .iter()
                .filter(|&&i| sentences[i].quote.passage_idx == passage_idx)
                .map(|&i| sentences[i].quote.span)
                .collect();
            let text = join_spans(chars, &spans);
            match &context[passage_idx].table_head {
                Some(head) if text.trim_start_matches(['…', ' ']).starts_with('|') => {
                    format!("{head}\n{text}")
                }
                _ => text,
            }
        })
        .collect()
}

/// The spans in order, `…` for every gap that holds more than white space.
fn join_spans(chars: &[char], spans: &[Span]) -> String {
    let mut out = String::new();
    let mut at = 0;
    for span in spans {
        let gap = &chars[at..span.start];
        if gap.iter().any(|c| c.is_alphanumeric()) {
            out.push_str(if out.is_empty() { "… " } else { " … " });
        } else if !out.is_empty() {
            out.extend(gap);
        }
        out.extend(&chars[span.start..span.end]);
        at = span.end;
    }
    if !out.is_empty() && chars[at..].iter().any(|c| c.is_alphanumeric()) {
        out.push_str(" …");
    }
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

#[cfg(test)]
mod tests;
