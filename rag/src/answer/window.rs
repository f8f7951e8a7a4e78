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
use crate::text::polarity::{self, Languages, clauses, is_denying, languages_of};
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
    /// Index of its section among those of the context.
    pub section: usize,
}

/// A section of a passage, cut up. What stands below another heading is about something else.
#[derive(Debug, Default)]
pub(crate) struct SectionWindows {
    /// Index of the passage in the context.
    pub passage_idx: usize,
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

/// Cuts a passage into its sections, and those into windows, in order; the pair of two sentences follows the second of them.
pub(crate) fn cut(passage_idx: usize, passage: &ContextPassage) -> Vec<SectionWindows> {
    let title = &passage.hit.title;
    let whole = format!("{title} {} {}", passage.hit.heading.join(" "), passage.text);
    let languages = languages_of(&normalise(&whole));
    let chars: Vec<char> = passage.text.chars().collect();
    let spans = split_sentences(&passage.text);
    let mut sections = Vec::new();
    let mut left = spans.as_slice();
    for (i, (end, heading)) in ends_of_sections(passage, chars.len())
        .into_iter()
        .enumerate()
    {
        let (own, later) = left.split_at(left.partition_point(|span| span.start < end));
        left = later;
        let is_titled = !passage.title_is_heading || heading.is_empty() || heading.contains(title);
        let title = if is_titled { title.as_str() } else { "" };
        let headings = format!("{title} {}", heading.join(" "));
        let table_head = passage.table_head.as_deref().filter(|_| i == 0);
        let section = SectionWindows::new(passage_idx, &headings, languages);
        sections.push(section.cut(&chars, own, table_head));
    }
    sections
}

/// Where each section of a passage ends, in characters of its text, and its headings.
fn ends_of_sections(passage: &ContextPassage, len: usize) -> Vec<(usize, Vec<String>)> {
    if passage.sections.is_empty() {
        return vec![(len, passage.hit.heading.clone())];
    }
    let starts = passage.sections.iter().skip(1);
    let ends = starts
        .map(|section| section.start - passage.start)
        .chain([len]);
    let headings = passage
        .sections
        .iter()
        .map(|section| section.heading.clone());
    ends.zip(headings).collect()
}

/// Whether the rows below the header that ends at `end` are properties with their values: two columns, some of whose values are
/// a yes or a no and some are not. Their keys are what a question names, not the head of the second column.
fn is_property_table(chars: &[char], end: usize) -> bool {
    let below: String = chars[end..].iter().collect();
    let rows = below.lines().skip(2).take_while(|line| is_row(line));
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    let says = |row: &Vec<String>| polarity::cell(&row[1]).is_some();
    rows.iter().all(|row| row.len() == 2) && rows.iter().any(says) && !rows.iter().all(says)
}

impl SectionWindows {
    fn new(passage_idx: usize, headings: &str, languages: Option<Languages>) -> Self {
        let terms = terms_in(headings, languages.unwrap_or_else(Languages::unknown));
        let keys: HashSet<String> = terms.into_iter().map(|t| t.key).collect();
        let mentions = Mentions::of(headings);
        Self {
            passage_idx,
            windows: Vec::new(),
            languages,
            keys: keys.clone(),
            text_keys: keys.clone(),
            headings: keys,
            text_mentions: mentions.clone(),
            heading_mentions: mentions,
        }
    }

    /// Cuts the sentences `spans` of the passage `chars`.
    fn cut(mut self, chars: &[char], spans: &[Span], table_head: Option<&str>) -> Self {
        let languages = self.languages.unwrap_or_else(Languages::unknown);
        let mut heads: Vec<String> = table_head.map(cells).unwrap_or_default();
        let mut previous: Option<usize> = None;
        let forms = lines_of_forms(chars, spans);
        for &span in spans {
            let text: String = chars[span.start..span.end].iter().collect();
            let quote = Quote {
                passage_idx: self.passage_idx,
                span,
            };
            let is_form = forms.contains(&span.start);
            let window = if is_row(&text) {
                if is_header(chars, span.end) {
                    heads = match is_property_table(chars, span.end) {
                        true => Vec::new(),
                        false => cells(&text),
                    };
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
                self.text_mentions.extend(&window.mentions);
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
                self.text_mentions.extend(&window.mentions);
                self.text_keys.extend(window.keys.iter().cloned());
                window
            };
            self.keys.extend(window.keys.iter().cloned());
            let at = self.windows.len();
            self.windows.push(window);
            let near = |i: usize| span.end - self.windows[i].quote.span.start <= MAX_PAIR_CHARS;
            let is_row = is_row(&text) || is_form;
            let is_parallel = |i: usize| self.windows[i].is_parallel(&self.windows[at]);
            // Parallel sentences are about different things, so they are none of each other's context.
            if let Some(before) = previous.filter(|&i| !is_row && near(i) && !is_parallel(i)) {
                let pair = self.windows[before].joined(&self.windows[at]);
                self.windows.push(pair);
            }
            // A row is a statement of its own, also beside another one.
            previous = (!is_row).then_some(at);
        }
        self
    }
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
            section: 0,
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
            section: 0,
        }
    }
}
