//! A stored answer without the words that its documents no longer have.
//!
//! A *claim* is a piece of an answer that ends behind its markers (`[1][2]`), at the end of a line or at the border of a
//! sentence without support. In an answer that loses a quote or a passage, a claim stays only if a quote that still stands
//! supports it; every other one is overwritten by [`REMOVED`], those without any quote included, because nothing says that
//! they were not made from the removed text. Quotes, titles, paths and snippets go too. What only moved inside its document
//! keeps its words and gets its new place, page and headings; titles and paths follow the document. The question is its
//! author's and stays.
//!
//! A claim also has words that are not in its quote: a row of a table is read with the heads of its columns, a sentence with
//! the headings above it. A quote does not support a claim that has such a word which is there no longer: a word of the
//! table's header row that neither the present one nor the row has, or a word of the headings that the whole document does
//! not have any more. Only words that the document had are compared, because a paraphrase has words that no document has; a
//! heading that got another name costs only the claims that name it. An answer from before citations had header rows takes
//! the present one as its own.
//!
//! Where the words stand is [`super::document_now`]'s to say. Must not know: databases, the library.

use std::collections::{HashMap, HashSet};

use web_api::{Citation, Message, Source, Span};

use super::document_now::{DocumentNow, PresentDocument, has_word, lost_words};

/// Stands where the words of removed documents were: on screen, in search, in later prompts.
pub const REMOVED: &str = "(source was removed)";

/// Longest number that is taken for a marker.
const MAX_MARKER_DIGITS: usize = 3;

/// The message without what documents no longer have. Documents that `now` does not name are as they were.
pub fn without_removed_words(message: Message, now: &HashMap<i64, DocumentNow>) -> Message {
    let count = (message.citations.len(), message.sources.len());
    let known: HashSet<usize> = message.citations.iter().map(|c| c.n).collect();
    let mut left = Left::new();
    let mut citations = Vec::with_capacity(count.0);
    for citation in message.citations {
        let heading = heading_of(&citation, &message.sources);
        if let Some((citation, lost)) = standing_citation(citation, heading, now) {
            left.insert(citation.n, lost);
            citations.push(citation);
        }
    }
    let titles = new_titles(&message.sources, now);
    let sources = message.sources.into_iter();
    let sources: Vec<Source> = sources.filter_map(|s| standing_source(s, now)).collect();

    let chars: Vec<char> = message.answer.chars().collect();
    let claims = claims(&chars, &message.unsupported, &known);
    let is_whole = (citations.len(), sources.len()) == count
        && claims
            .iter()
            .all(|claim| claim.loses_nothing(&chars, &left));
    let is_refusal = message.refused && citations.is_empty();
    let (answer, unsupported) = if is_whole && is_refusal && !titles.is_empty() {
        // Cloister's own words and the titles of the closest documents.
        (with_new_titles(&message.answer, &titles), Vec::new())
    } else if is_whole {
        (message.answer, message.unsupported)
    } else {
        let answer = overwrite(&chars, claims, &known, &left);
        // Their quotes stand, but no claim is left that they support.
        citations.retain(|c| left[&c.n].is_empty() || answer.contains(&format!("[{}]", c.n)));
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

/// The numbers of the citations that stand, each with the words that a claim must not have to be supported by it.
type Left = HashMap<usize, Vec<String>>;

/// The headings above a quote: those of the passage that it is in; empty where no passage that is listed holds it.
fn heading_of<'a>(citation: &Citation, sources: &'a [Source]) -> &'a [String] {
    let mut sources = sources.iter();
    let holds = |source: &&Source| {
        source.document == citation.document && (source.start..source.end).contains(&citation.start)
    };
    sources.find(holds).map_or(&[], |source| &source.heading)
}

/// The citation at its present place, with the words around it that are lost; `None` where its document does not have the
/// quote.
fn standing_citation(
    citation: Citation,
    heading: &[String],
    now: &HashMap<i64, DocumentNow>,
) -> Option<(Citation, Vec<String>)> {
    let document = match now.get(&citation.document) {
        None => return Some((citation, Vec::new())),
        Some(DocumentNow::Gone) => return None,
        Some(DocumentNow::Present(document)) => document,
    };
    let start = document.place_of(&citation.quote, citation.start, heading)?;
    let table_head = document.table_head_of(&citation.quote, start);
    let lost = lost_around(&citation, heading, document, table_head.as_deref());
    let citation = Citation {
        path: document.path.clone(),
        title: document.title.clone(),
        page: document.page_at(start),
        start,
        end: start + (citation.end - citation.start),
        table_head,
        ..citation
    };
    Some((citation, lost))
}

/// The words of a quote's header row and headings that are there no longer.
fn lost_around(
    citation: &Citation,
    heading: &[String],
    document: &PresentDocument,
    table_head: Option<&str>,
) -> Vec<String> {
    let head = citation.table_head.as_deref().unwrap_or_default();
    let row = format!("{} {}", table_head.unwrap_or_default(), citation.quote);
    let mut lost = lost_words(head, &row);
    // To read the whole text takes a while, and hardly any heading changes.
    let is_there = |path: &[String]| document.blocks.iter().any(|block| block.heading == path);
    if !heading.is_empty() && !is_there(heading) {
        let text = format!("{} {}", document.title, document.text);
        lost.extend(lost_words(&heading.join(" "), &text));
    }
    lost
}

/// The passage at its present place; `None` where its document does not have what is shown of it.
fn standing_source(source: Source, now: &HashMap<i64, DocumentNow>) -> Option<Source> {
    let document = match now.get(&source.document) {
        None => return Some(source),
        Some(DocumentNow::Gone) => return None,
        Some(DocumentNow::Present(document)) => document,
    };
    let start = document.place_of(&source.snippet, source.start, &source.heading)?;
    Some(Source {
        path: document.path.clone(),
        title: document.title.clone(),
        page: document.page_at(start),
        heading: document.heading_at(start).to_vec(),
        start,
        end: start + (source.end - source.start),
        ..source
    })
}

/// The titles of passages that are others now, with the new ones; longer ones first, which may hold shorter ones.
fn new_titles(sources: &[Source], now: &HashMap<i64, DocumentNow>) -> Vec<(String, String)> {
    let new_title = |source: &Source| match now.get(&source.document) {
        Some(DocumentNow::Present(document)) if document.title != source.title => {
            Some((source.title.clone(), document.title.clone()))
        }
        _ => None,
    };
    let mut titles: Vec<(String, String)> = sources.iter().filter_map(new_title).collect();
    titles.sort_by_key(|(old, _)| std::cmp::Reverse(old.len()));
    titles
}

/// The text with new titles where old ones stand, not inside of words.
fn with_new_titles(text: &str, titles: &[(String, String)]) -> String {
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let is_inside = written
            .chars()
            .next_back()
            .is_some_and(char::is_alphanumeric);
        let stands = |old: &str| {
            let behind = rest.strip_prefix(old).filter(|_| !old.is_empty());
            behind.is_some_and(|behind| !behind.starts_with(char::is_alphanumeric))
        };
        match titles.iter().find(|(old, _)| !is_inside && stands(old)) {
            Some((old, new)) => {
                written.push_str(new);
                rest = &rest[old.len()..];
            }
            None => {
                written.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    written
}

/// The answer in which claims that no citation of `left` supports are overwritten. `known` are the numbers that are markers.
fn overwrite(chars: &[char], claims: Vec<Claim>, known: &HashSet<usize>, left: &Left) -> String {
    let mut written = Written::default();
    for claim in claims {
        let supporting = claim.supporting(chars, left);
        match claim {
            Claim::Space(range) => written.space.extend(&chars[range]),
            Claim::Text { range, .. } if supporting.is_empty() => written.overwrite(&chars[range]),
            Claim::Text { range, .. } => written.keep(&chars[range], known, &supporting),
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

impl Claim {
    /// The numbers of its markers whose citations support it.
    fn supporting(&self, chars: &[char], left: &Left) -> HashSet<usize> {
        let Claim::Text { range, numbers } = self else {
            return HashSet::new();
        };
        let text = without_markers(&chars[range.clone()]).to_lowercase();
        let supports = |n: &&usize| {
            let lost = left.get(n);
            lost.is_some_and(|lost| !lost.iter().any(|word| has_word(&text, word)))
        };
        numbers.iter().filter(supports).copied().collect()
    }

    /// Whether all of its citations support it.
    fn loses_nothing(&self, chars: &[char], left: &Left) -> bool {
        let supporting = self.supporting(chars, left);
        match self {
            Claim::Space(_) => true,
            Claim::Text { numbers, .. } => numbers.iter().all(|n| supporting.contains(n)),
        }
    }
}

/// The text of a claim; a number of a marker is none of its words.
fn without_markers(claim: &[char]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < claim.len() {
        match marker_at(claim, at) {
            Some((_, length)) => at += length,
            None => {
                text.push(claim[at]);
                at += 1;
            }
        }
    }
    text
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

    use super::super::document_now::tests::present;
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
            table_head: None,
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
            let now = HashMap::from([(1, now_of(&[("", None, text)]))]);
            let after = without_removed_words(message("Alpha [1]. Beta [2].", 2, &[]), &now);
            assert_eq!(after.answer, answer, "{text:?}");
            let citation = after.citations.iter().find(|c| c.document == 1);
            assert_eq!(citation.map(|c| (c.start, c.end)), place, "{text:?}");
        }
    }

    #[test]
    fn an_answer_whose_documents_have_all_of_its_words_is_as_it_was() {
        let before = message("Alpha [1]. A guess.", 2, &["A guess."]);
        let now = [1, 2].map(|n| {
            let document = PresentDocument {
                path: format!("{n}.txt"),
                title: format!("Title {n}"),
                ..present(&[("", None, &format!("quote {n}"))])
            };
            (n, DocumentNow::Present(document))
        });
        assert_eq!(
            without_removed_words(before.clone(), &HashMap::from(now)),
            before
        );
    }

    #[test]
    fn a_claim_with_words_of_a_header_row_stays_only_with_them() {
        let old = "| Pump | greatest HYDROWORT pressure in bar |";
        let psi = "| Pump | greatest pressure in psi |";
        let wider = "| Pump | greatest HYDROWORT pressure in bar | Colour |";
        let read = "Pump: P4 | greatest HYDROWORT pressure in bar: 120 [1]";
        let cases = [
            (read, old, read),
            (read, wider, read),
            (read, psi, REMOVED),
            (read, "", REMOVED),
            ("P4 amounts to 120 bar [1].", psi, REMOVED),
            // Its words are the model's own, or still there.
            (
                "P4 amounts to a pressure of 120 [1].",
                psi,
                "P4 amounts to a pressure of 120 [1].",
            ),
            ("P4: 120 [1]", "", "P4: 120 [1]"),
            (
                "P4 has a hydrowort. [1] P4 has 120 [1]. A guess.",
                psi,
                "(source was removed) P4 has 120 [1]. (source was removed)",
            ),
            // Another quote supports it.
            (
                "The Hydrowort is 120 [1][2].",
                psi,
                "The Hydrowort is 120 [2].",
            ),
        ];
        for (answer, head, expected) in cases {
            let mut before = message(answer, 2, &[]);
            "| P4 | 120 |".clone_into(&mut before.citations[0].quote);
            before.citations[0].table_head = Some(old.to_owned());
            let rows = match head {
                "" => "| P4 | 120 |".to_owned(),
                head => format!("{head}\n|---|---|\n| P4 | 120 |"),
            };
            let now = HashMap::from([(1, now_of(&[("", None, &rows)]))]);
            let after = without_removed_words(before, &now);
            assert_eq!(after.answer, expected, "{answer:?} under {head:?}");
            let first = after.citations.iter().find(|c| c.n == 1);
            let now_head = first.and_then(|c| c.table_head.as_deref());
            let is_shown = expected.contains("[1]");
            let is_head = is_shown && !head.is_empty();
            assert_eq!(first.is_some(), is_shown, "{answer:?} under {head:?}");
            assert_eq!(now_head, is_head.then_some(head), "{answer:?}");
        }
    }

    #[test]
    fn an_answer_of_before_header_rows_were_noted_takes_the_present_one() {
        let mut before = message("P4 has a Hydrowort of 120 [1].", 1, &[]);
        "| P4 | 120 |".clone_into(&mut before.citations[0].quote);
        let rows = "| Pump | bar |\n|---|---|\n| P4 | 120 |";
        let now = HashMap::from([(1, now_of(&[("", None, rows)]))]);
        let after = without_removed_words(before.clone(), &now);
        assert_eq!(after.answer, before.answer);
        let head = after.citations[0].table_head.as_deref();
        assert_eq!(head, Some("| Pump | bar |"));
    }

    /// Headings joined by ` > `, page, text.
    type TestBlock = (&'static str, Option<u32>, &'static str);

    #[test]
    fn a_claim_that_names_a_heading_stays_only_with_it() {
        let named = "Pump Alpha has 120 bar [1].";
        let cases: &[(&str, &[TestBlock], &str)] = &[
            (named, &[("Alpha", None, "120 bar.")], named),
            (named, &[("Omega", None, "120 bar.")], REMOVED),
            (
                named,
                &[
                    ("Alpha", None, "Its valve."),
                    ("Omega", None, "See Alpha. 120 bar."),
                ],
                named,
            ),
            (named, &[("Omega", None, "As Alpha had: 120 bar.")], named),
            (
                "It has 120 bar [1].",
                &[("Omega", None, "120 bar.")],
                "It has 120 bar [1].",
            ),
        ];
        for (answer, blocks, expected) in cases {
            let mut before = message(answer, 1, &[]);
            "120 bar.".clone_into(&mut before.citations[0].quote);
            before.sources = vec![source(1, &["Alpha"], "120 bar.")];
            let now = HashMap::from([(1, now_of(blocks))]);
            let after = without_removed_words(before, &now);
            assert_eq!(after.answer, *expected, "{answer:?} in {blocks:?}");
        }
    }

    #[test]
    fn what_stands_keeps_up_with_its_document() {
        let mut before = message("First [1]. Second [2].", 2, &[]);
        before.sources = vec![source(1, &["Alpha"], "quote 1"), source(2, &[], "quote 2")];
        let blocks = [
            ("Omega", Some(1), "quote 1"),
            ("Alpha", Some(2), "Here: quote 1"),
        ];
        let after = without_removed_words(before.clone(), &HashMap::from([(1, now_of(&blocks))]));
        assert_eq!(after.answer, before.answer);
        assert_eq!(
            after.citations[0],
            Citation {
                path: "new.txt".to_owned(),
                title: "New".to_owned(),
                page: Some(2),
                start: 15,
                end: 22,
                ..before.citations[0].clone()
            }
        );
        assert_eq!(
            after.sources[0],
            Source {
                path: "new.txt".to_owned(),
                title: "New".to_owned(),
                page: Some(2),
                start: 15,
                end: 22,
                ..before.sources[0].clone()
            }
        );
        assert_eq!(after.citations[1], before.citations[1]);
        assert_eq!(after.sources[1], before.sources[1]);

        let renamed = HashMap::from([(1, now_of(&[("Gamma", None, "quote 1")]))]);
        let after = without_removed_words(before, &renamed);
        assert_eq!(after.sources[0].heading, ["Gamma"]);
        assert_eq!(
            (after.citations[0].start, after.citations[0].page),
            (0, None)
        );
    }

    #[test]
    fn a_refusal_names_documents_by_their_present_titles() {
        let text = "Not there. The closest passages are in: Title 1; Title 12; Other.";
        let now = HashMap::from([(1, now_of(&[("", None, "quote 1")]))]);
        let cases = [
            (
                true,
                "Not there. The closest passages are in: New; Title 12; Other.",
            ),
            (false, text),
        ];
        for (refused, expected) in cases {
            let before = Message {
                refused,
                sources: vec![source(1, &[], "quote 1"), source(12, &[], "quote 12")],
                ..message(text, 0, &[])
            };
            let after = without_removed_words(before, &now);
            assert_eq!(after.answer, expected);
            assert_eq!(after.sources[0].title, "New");
        }
    }

    fn now_of(blocks: &[(&str, Option<u32>, &str)]) -> DocumentNow {
        DocumentNow::Present(present(blocks))
    }

    /// A passage at the beginning of a document, as long as its snippet.
    fn source(document: i64, heading: &[&str], snippet: &str) -> Source {
        Source {
            n: 1,
            collection: 1,
            document,
            path: format!("{document}.txt"),
            title: format!("Title {document}"),
            page: None,
            heading: heading.iter().map(|h| (*h).to_owned()).collect(),
            start: 0,
            end: snippet.chars().count(),
            score: 1.0,
            snippet: snippet.to_owned(),
        }
    }
}
