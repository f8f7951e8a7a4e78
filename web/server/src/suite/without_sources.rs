//! A stored answer without the words that its documents no longer have.
//!
//! A *claim* is a piece of an answer that ends behind its markers (`[1][2]`), at the end of a line or at the border of a
//! sentence without support. In an answer that loses a quote or a passage, a claim stays only if a quote that still stands
//! supports it; every other one is overwritten by [`REMOVED`], those without any quote included, because nothing says that
//! they were not made from the removed text. Quotes, titles, paths and snippets go too. What only moved inside its document
//! keeps its words and gets its new place. The question is its author's and stays.
//!
//! Must not know: databases, the library.

use std::collections::{HashMap, HashSet};

use web_api::{Citation, Message, Source, Span};

/// Stands where the words of removed documents were: on screen, in search, in later prompts.
pub const REMOVED: &str = "(source was removed)";

/// Longest number that is taken for a marker.
const MAX_MARKER_DIGITS: usize = 3;

/// What a document that answers refer to has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentNow {
    /// It is not there any more.
    Gone,
    /// Its text, which may be another one than the answers were made from.
    Text(String),
}

/// The message without what documents no longer have. Documents that `now` does not name are as they were.
pub fn without_removed_words(message: Message, now: &HashMap<i64, DocumentNow>) -> Message {
    let count = (message.citations.len(), message.sources.len());
    let known: HashSet<usize> = message.citations.iter().map(|c| c.n).collect();
    let citations = message.citations.into_iter();
    let citations: Vec<Citation> = citations
        .filter_map(|c| standing_citation(c, now))
        .collect();
    let sources = message.sources.into_iter();
    let sources: Vec<Source> = sources.filter_map(|s| standing_source(s, now)).collect();
    let (answer, unsupported) = if (citations.len(), sources.len()) == count {
        (message.answer, message.unsupported)
    } else {
        let left: HashSet<usize> = citations.iter().map(|c| c.n).collect();
        let answer = overwrite(&message.answer, &message.unsupported, &known, &left);
        // A sentence without support is a claim without a citation, so none is left.
        (answer, Vec::new())
    };
    Message {
        answer,
        unsupported,
        citations,
        sources,
        ..message
    }
}

/// The citation at its present place; `None` where its document does not have the quote.
fn standing_citation(citation: Citation, now: &HashMap<i64, DocumentNow>) -> Option<Citation> {
    let document = now.get(&citation.document);
    let start = standing_start(document, &citation.quote, citation.start)?;
    Some(Citation {
        start,
        end: start + (citation.end - citation.start),
        ..citation
    })
}

/// The passage at its present place; `None` where its document does not have what is shown of it.
fn standing_source(source: Source, now: &HashMap<i64, DocumentNow>) -> Option<Source> {
    let document = now.get(&source.document);
    let start = standing_start(document, &source.snippet, source.start)?;
    Some(Source {
        start,
        end: start + (source.end - source.start),
        ..source
    })
}

/// The character at which a document has `words`: `start` where they are still there, else where they are now.
fn standing_start(document: Option<&DocumentNow>, words: &str, start: usize) -> Option<usize> {
    let text = match document {
        None => return Some(start),
        Some(DocumentNow::Gone) => return None,
        Some(DocumentNow::Text(text)) => text,
    };
    let at_start = text.char_indices().nth(start);
    if at_start.is_some_and(|(byte, _)| text[byte..].starts_with(words)) {
        return Some(start);
    }
    let byte = text.find(words)?;
    Some(text[..byte].chars().count())
}

/// The answer in which claims without a citation of `left` are overwritten. `known` are the numbers that are markers.
fn overwrite(
    text: &str,
    unsupported: &[Span],
    known: &HashSet<usize>,
    left: &HashSet<usize>,
) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut written = Written::default();
    for claim in claims(&chars, unsupported, known) {
        match claim {
            Claim::Space(range) => written.space.extend(&chars[range]),
            Claim::Text { range, numbers } if numbers.iter().any(|n| left.contains(n)) => {
                written.keep(&chars[range], known, left);
            }
            Claim::Text { range, .. } => written.overwrite(&chars[range]),
        }
    }
    written.text
}

/// A piece of an answer.
enum Claim {
    /// White space between claims.
    Space(std::ops::Range<usize>),
    /// Text up to the end of its markers.
    Text {
        range: std::ops::Range<usize>,
        numbers: Vec<usize>,
    },
}

fn claims(chars: &[char], unsupported: &[Span], known: &HashSet<usize>) -> Vec<Claim> {
    let borders: HashSet<usize> = unsupported
        .iter()
        .flat_map(|span| [span.start, span.end])
        .collect();
    let mut claims = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let start = at;
        while at < chars.len() && chars[at].is_whitespace() {
            at += 1;
        }
        if at > start {
            claims.push(Claim::Space(start..at));
            continue;
        }
        let mut numbers = Vec::new();
        while at < chars.len() && chars[at] != '\n' && (at == start || !borders.contains(&at)) {
            match marker_at(chars, at).filter(|(n, _)| known.contains(n)) {
                Some((n, length)) => {
                    numbers.push(n);
                    at += length;
                }
                // Behind the markers only what closes the sentence belongs to it.
                None if !numbers.is_empty() && !is_closing(chars, at) => break,
                None => at += 1,
            }
        }
        claims.push(Claim::Text {
            range: start..at,
            numbers,
        });
    }
    claims
}

/// Whether a sentence that has its markers goes on here: with white space before another marker, or with punctuation.
fn is_closing(chars: &[char], at: usize) -> bool {
    let space = chars[at..].iter().take_while(|c| **c == ' ').count();
    if space > 0 {
        return marker_at(chars, at + space).is_some();
    }
    !chars[at].is_alphanumeric() && !chars[at].is_whitespace() && chars[at] != '['
}

/// `[12]` at `at`: its number and its length.
fn marker_at(chars: &[char], at: usize) -> Option<(usize, usize)> {
    if chars.get(at) != Some(&'[') {
        return None;
    }
    let digits: String = chars[at + 1..]
        .iter()
        .take(MAX_MARKER_DIGITS)
        .take_while(|c| c.is_ascii_digit())
        .collect();
    let number = digits.parse().ok()?;
    (chars.get(at + 1 + digits.len()) == Some(&']')).then_some((number, digits.len() + 2))
}

/// The answer as far as it is written again.
#[derive(Default)]
struct Written {
    text: String,
    /// White space that is written before the next claim.
    space: String,
    /// Whether the last claim was overwritten; further ones of the same paragraph say nothing more.
    is_overwritten: bool,
}

impl Written {
    fn keep(&mut self, claim: &[char], known: &HashSet<usize>, left: &HashSet<usize>) {
        self.text.push_str(&std::mem::take(&mut self.space));
        self.is_overwritten = false;
        let mut at = 0;
        while at < claim.len() {
            match marker_at(claim, at) {
                Some((n, length)) if known.contains(&n) && !left.contains(&n) => {
                    at += length;
                    if claim.get(at) != Some(&'[') {
                        self.text.truncate(self.text.trim_end_matches(' ').len());
                    }
                }
                _ => {
                    self.text.push(claim[at]);
                    at += 1;
                }
            }
        }
    }

    fn overwrite(&mut self, claim: &[char]) {
        let space = std::mem::take(&mut self.space);
        if self.is_overwritten && !space.contains('\n') {
            return;
        }
        self.text.push_str(&space);
        self.text.extend(list_mark(claim));
        self.text.push_str(REMOVED);
        self.is_overwritten = true;
    }
}

/// The mark of a list item or heading at the beginning of a line (`- `, `1. `, `## `), so that the rest keeps its form.
fn list_mark(claim: &[char]) -> &[char] {
    let mark = claim
        .iter()
        .take_while(|c| {
            matches!(c, '-' | '*' | '+' | '#' | '>')
                || c.is_ascii_digit()
                || **c == '.'
                || **c == ')'
        })
        .count();
    let digits = claim[..mark].iter().filter(|c| c.is_ascii_digit()).count();
    // `30 days` and `2026. ` are no numbers of items.
    let is_item = digits == 0 || digits <= 2 && matches!(claim[mark - 1], '.' | ')');
    if mark > 0 && claim.get(mark) == Some(&' ') && is_item && mark <= 6 {
        &claim[..=mark]
    } else {
        &[]
    }
}

#[cfg(test)]
mod tests {
    use web_api::AskRequest;

    use super::*;

    /// A message whose citation `n` is of document `n`.
    fn message(answer: &str, cited: usize, unsupported: &[&str]) -> Message {
        let request = AskRequest {
            question: "What?".to_owned(),
            collections: Vec::new(),
            quote_only: false,
        };
        let citations = (1..=cited).map(|n| Citation {
            n,
            document: n as i64,
            path: format!("{n}.txt"),
            title: format!("Title {n}"),
            page: None,
            quote: format!("quote {n}"),
            start: 0,
            end: 7,
        });
        let spans = unsupported.iter().map(|sentence| {
            let start = answer[..answer.find(sentence).unwrap()].chars().count();
            Span {
                start,
                end: start + sentence.chars().count(),
            }
        });
        Message {
            answer: answer.to_owned(),
            citations: citations.collect(),
            unsupported: spans.collect(),
            ..Message::running(String::new(), String::new(), &request, 0)
        }
    }

    #[test]
    fn a_claim_stays_only_with_a_quote_of_a_document_that_is_there() {
        let table: &[(&str, &[&str], &[i64], &str)] = &[
            (
                "Alpha [1]. Beta [2].",
                &[],
                &[1],
                "(source was removed) Beta [2].",
            ),
            (
                "Alpha [1]. Beta [2].",
                &[],
                &[2],
                "Alpha [1]. (source was removed)",
            ),
            ("Alpha [1]. Beta [2].", &[], &[1, 2], "(source was removed)"),
            (
                "Alpha. [1] Beta. [2]",
                &[],
                &[2],
                "Alpha. [1] (source was removed)",
            ),
            ("Both say so [1][2].", &[], &[1], "Both say so [2]."),
            ("Both say so [1] [2].", &[], &[2], "Both say so [1]."),
            (
                "Fünf Größen [1]。Übel [2]。",
                &[],
                &[1],
                "(source was removed)Übel [2]。",
            ),
            (
                "Guessed. Beta [2].",
                &["Guessed."],
                &[1],
                "(source was removed) Beta [2].",
            ),
            (
                "Beta [2]. Guessed.",
                &["Guessed."],
                &[1],
                "Beta [2]. (source was removed)",
            ),
            (
                "- Alpha [1]\n- Beta [2]\n1. Gamma [1]",
                &[],
                &[1],
                "- (source was removed)\n- Beta [2]\n1. (source was removed)",
            ),
            ("No marker at all.", &[], &[1], "(source was removed)"),
            (
                "Array x[7] and [9] of Beta [2]",
                &[],
                &[1],
                "Array x[7] and [9] of Beta [2]",
            ),
            ("30 days [1].", &[], &[1], "(source was removed)"),
            ("", &[], &[1], ""),
            (
                "Guessed. Beta [2].",
                &["Guessed."],
                &[9],
                "Guessed. Beta [2].",
            ),
        ];
        for (answer, unsupported, gone, expected) in table {
            let now = HashMap::from_iter(gone.iter().map(|id| (*id, DocumentNow::Gone)));
            let before = message(answer, 2, unsupported);
            let after = without_removed_words(before, &now);
            assert_eq!(after.answer, *expected, "{answer:?} without {gone:?}");
            assert!(
                after
                    .citations
                    .iter()
                    .all(|citation| !now.contains_key(&citation.document))
            );
            assert_eq!(after.question, "What?");
            // What was done once changes nothing when it is done again.
            assert_eq!(
                without_removed_words(after.clone(), &now)
                    .answer
                    .matches("source")
                    .count(),
                expected.matches("source").count()
            );
        }
    }

    #[test]
    fn a_claim_of_a_document_that_changed_stays_only_with_its_words() {
        // The quote of document `n` is "quote n", at its beginning.
        let cases = [
            ("quote 1 as before", Some((0, 7)), "Alpha [1]. Beta [2]."),
            (
                "Neu: größer. quote 1",
                Some((13, 20)),
                "Alpha [1]. Beta [2].",
            ),
            ("nothing of it", None, "(source was removed) Beta [2]."),
            ("", None, "(source was removed) Beta [2]."),
        ];
        for (text, place, answer) in cases {
            let now = HashMap::from([(1, DocumentNow::Text(text.to_owned()))]);
            let after = without_removed_words(message("Alpha [1]. Beta [2].", 2, &[]), &now);
            assert_eq!(after.answer, answer, "{text:?}");
            let citation = after.citations.iter().find(|c| c.document == 1);
            assert_eq!(citation.map(|c| (c.start, c.end)), place, "{text:?}");
        }
    }

    #[test]
    fn an_answer_whose_documents_have_all_of_its_words_is_as_it_was() {
        let before = message("Alpha [1]. A guess.", 2, &["A guess."]);
        let now = HashMap::from([
            (1, DocumentNow::Text("quote 1".to_owned())),
            (2, DocumentNow::Text("quote 2".to_owned())),
        ]);
        assert_eq!(without_removed_words(before.clone(), &now), before);
    }
}
