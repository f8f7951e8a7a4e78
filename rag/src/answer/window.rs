//! Windows: the sentences of the context and pairs of neighbours, cut into what claims are compared with.

use std::collections::{HashMap, HashSet};

use super::{
    entity::Mentions,
    quantity::Quantities,
    table::{Row, cells, is_header, is_row, lines_of_forms},
    wording::without_reference_marks,
};
use crate::answer::context::{ContextPassage, Quote};
use crate::text::fold::normalise;
use crate::text::polarity::{Languages, clauses, is_denying, languages_of};
use crate::text::sentence::{Span, split_sentences};
use crate::text::terms::{Term, TermKind, terms_in};

/// Longest quote of two neighbouring sentences, in characters.
const MAX_PAIR_CHARS: usize = 500;

/// Fewest words that parallel sentences share, and the least share of all their words, numbers left out.
const MIN_PARALLEL_WORDS: usize = 2;
const MIN_PARALLEL_SHARE: f32 = 0.5;

/// One sentence or two neighbouring ones.
#[derive(Debug)]
pub(crate) struct Window {
    pub quote: Quote,
    pub sentences: usize,
    pub keys: HashSet<String>,
    pub affirmed: HashSet<String>,
    pub negated: HashSet<String>,
    /// Terms of sentences without any denial.
    pub plain: HashSet<String>,
    /// The terms of each clause, and whether it denies; none of a row.
    pub clauses: Vec<(HashSet<String>, bool)>,
    /// Numbers and names.
    pub facts: HashMap<String, TermKind>,
    pub quantities: Quantities,
    /// What is named in it, and in the heads of its row.
    pub mentions: Mentions,
    /// The row that it is, where it is one.
    pub row: Option<Row>,
    /// The whole form that its line is one of.
    pub form: Option<Span>,
    /// It is the header row of a table: names, no statement.
    pub is_head: bool,
}

/// A passage, cut up.
#[derive(Debug, Default)]
pub(crate) struct PassageWindows {
    pub windows: Vec<Window>,
    /// The languages of the passage, where its words tell.
    pub languages: Option<Languages>,
    /// Terms of title and headings.
    pub headings: HashSet<String>,
    /// Terms of title, headings and all sentences.
    pub keys: HashSet<String>,
    /// Terms of title, headings and the sentences outside of tables.
    pub text_keys: HashSet<String>,
    /// What title and headings name.
    pub heading_mentions: Mentions,
    /// What title, headings and the sentences outside of tables name.
    pub text_mentions: Mentions,
}

/// Cuts a passage into windows, in order; the pair of two sentences follows the second of them.
pub(crate) fn cut(passage_idx: usize, passage: &ContextPassage) -> PassageWindows {
    let chars: Vec<char> = passage.text.chars().collect();
    let headings = format!("{} {}", passage.hit.title, passage.hit.heading.join(" "));
    let known = languages_of(&normalise(&format!("{headings} {}", passage.text)));
    let languages = known.unwrap_or_else(Languages::unknown);
    let mut cut = PassageWindows {
        languages: known,
        headings: terms_in(&headings, languages)
            .into_iter()
            .map(|t| t.key)
            .collect(),
        heading_mentions: Mentions::of(&headings),
        ..PassageWindows::default()
    };
    cut.keys = cut.headings.clone();
    cut.text_keys = cut.headings.clone();
    cut.text_mentions = cut.heading_mentions.clone();
    let mut heads: Vec<String> = passage.table_head.as_deref().map(cells).unwrap_or_default();
    let mut previous: Option<usize> = None;
    let spans = split_sentences(&passage.text);
    let forms = lines_of_forms(&chars, &spans);
    for span in spans {
        let text: String = chars[span.start..span.end].iter().collect();
        let quote = Quote { passage_idx, span };
        let is_form = forms.contains(&span.start);
        let window = if is_row(&text) {
            if is_header(&chars, span.end) {
                heads = cells(&text);
                let head = Window::new(
                    quote,
                    &terms_in(&text, languages),
                    Mentions::default(),
                    None,
                );
                Window {
                    is_head: true,
                    ..head
                }
            } else {
                Window::of_row(quote, Row::new(&text, &heads, languages), &text)
                    .with_quantities(&text)
            }
        } else if is_form && let Some(row) = Row::of_form(&text, languages) {
            heads.clear();
            let window = Window::of_row(quote, row, &text).with_quantities(&text);
            cut.text_mentions.extend(&window.mentions);
            window
        } else {
            heads.clear();
            let window = {
                let text = without_reference_marks(&text);
                Window::new(
                    quote,
                    &terms_in(&text, languages),
                    Mentions::of(&text),
                    None,
                )
                .with_quantities(&text)
                .with_clauses(&text, languages)
            };
            cut.text_mentions.extend(&window.mentions);
            cut.text_keys.extend(window.keys.iter().cloned());
            window
        };
        cut.keys.extend(window.keys.iter().cloned());
        let at = cut.windows.len();
        cut.windows.push(window);
        let near = |i: usize| span.end - cut.windows[i].quote.span.start <= MAX_PAIR_CHARS;
        let is_row = is_row(&text) || is_form;
        let is_parallel = |i: usize| cut.windows[i].is_parallel(&cut.windows[at]);
        // Parallel sentences are about different things, so they are none of each other's context.
        if let Some(before) = previous.filter(|&i| !is_row && near(i) && !is_parallel(i)) {
            let pair = cut.windows[before].joined(&cut.windows[at]);
            cut.windows.push(pair);
        }
        // A row is a statement of its own, also beside another one.
        previous = (!is_row).then_some(at);
    }
    cut
}

impl Window {
    fn of_row(quote: Quote, row: Row, text: &str) -> Self {
        let mut mentions = Mentions::of(text);
        for cell in &row.cells {
            mentions.extend(&Mentions::of(&cell.head));
            // "Room | 204" names room 204.
            if cell.text.starts_with(|c: char| c.is_ascii_digit()) {
                for word in cell.head.split_whitespace() {
                    mentions.extend(&Mentions::of(&format!("{word} {}", cell.text)));
                }
            }
        }
        Self::new(quote, &row.terms(), mentions, Some(row))
    }

    fn new(quote: Quote, terms: &[Term], mentions: Mentions, row: Option<Row>) -> Self {
        let denies = terms.iter().any(|t| t.negated || is_denying(&t.key))
            || row.as_ref().is_some_and(Row::denies);
        let denied_heads = |key: &String| {
            row.as_ref().is_some_and(|row| {
                let denied = row.cells.iter().filter(|cell| cell.says == Some(false));
                denied.into_iter().any(|cell| cell.head_keys.contains(key))
            })
        };
        let pick = |negated: bool| -> HashSet<String> {
            let picked = terms.iter().filter(|t| t.negated == negated);
            picked.map(|t| t.key.clone()).collect()
        };
        let facts = terms.iter().filter(|t| t.kind != TermKind::Word);
        let facts = facts.map(|t| (t.key.clone(), t.kind)).collect();
        let keys: HashSet<String> = terms.iter().map(|t| t.key.clone()).collect();
        let plain = if denies { HashSet::new() } else { keys.clone() };
        let mut affirmed = pick(false);
        affirmed.retain(|key| !denied_heads(key));
        Self {
            quote,
            sentences: 1,
            keys,
            affirmed,
            negated: pick(true),
            plain,
            clauses: Vec::new(),
            facts,
            quantities: Quantities::default(),
            mentions,
            row,
            form: None,
            is_head: false,
        }
    }

    /// Whether two sentences say the same of different things: half of their words are the same, numbers left out.
    pub fn is_parallel(&self, other: &Self) -> bool {
        let is_sentence = |w: &Self| w.sentences == 1 && w.row.is_none() && !w.is_head;
        if !is_sentence(self) || !is_sentence(other) || self.quote == other.quote {
            return false;
        }
        let words = |w: &Self| -> HashSet<String> {
            let is_number = |key: &&String| w.facts.get(*key) == Some(&TermKind::Number);
            w.keys
                .iter()
                .filter(|key| !is_number(key))
                .cloned()
                .collect()
        };
        let (mine, theirs) = (words(self), words(other));
        let shared = mine.intersection(&theirs).count();
        let all = mine.union(&theirs).count();
        shared >= MIN_PARALLEL_WORDS
            && shared as f32 >= MIN_PARALLEL_SHARE * all as f32
            && mine != theirs
    }

    fn with_clauses(self, text: &str, languages: Languages) -> Self {
        let clauses = clauses(text).into_iter().map(|clause| {
            let terms = terms_in(&clause, languages);
            let denies = terms.iter().any(|t| t.negated || is_denying(&t.key));
            (terms.into_iter().map(|t| t.key).collect(), denies)
        });
        Self {
            clauses: clauses.collect(),
            ..self
        }
    }

    fn with_quantities(self, text: &str) -> Self {
        Self {
            quantities: Quantities::of(text),
            ..self
        }
    }

    fn joined(&self, next: &Window) -> Window {
        let join = |a: &HashSet<String>, b: &HashSet<String>| -> HashSet<String> {
            a.union(b).cloned().collect()
        };
        let negated = join(&self.negated, &next.negated);
        let mut quote = self.quote;
        quote.span.end = next.quote.span.end;
        let mut mentions = self.mentions.clone();
        mentions.extend(&next.mentions);
        let facts = self.facts.iter().chain(&next.facts);
        Window {
            quote,
            sentences: self.sentences + next.sentences,
            keys: join(&self.keys, &next.keys),
            // What one of the two denies is not affirmed by the other one, which may be about something else.
            affirmed: join(&self.affirmed, &next.affirmed)
                .difference(&negated)
                .cloned()
                .collect(),
            plain: join(&self.plain, &next.plain),
            clauses: [&self.clauses[..], &next.clauses[..]].concat(),
            negated,
            facts: facts.map(|(key, kind)| (key.clone(), *kind)).collect(),
            quantities: self.quantities.joined(&next.quantities),
            mentions,
            row: None,
            form: None,
            is_head: false,
        }
    }
}
