//! The quote check: which sentences of the context support a sentence of the answer.
//!
//! *Novel* terms of an answer sentence are those that the question did not already hold: they are what the sentence
//! claims. A quote supports the sentence when
//! - every novel number and name of the sentence is in it (a name may also be elsewhere in the same passage, because
//!   documents say "he" and "the company"),
//! - it holds enough of the novel terms, weighted by how rare they are in this context ([`MIN_NOVEL_COVERAGE`]),
//! - it is about the question at all ([`MIN_TOPIC_COVERAGE`]), and
//! - it does not say the opposite: a negated term must not be affirmed, nor the other way round.
//!
//! The check compares words, so it cannot see a claim that recombines true words wrongly ("A bought B" for "B bought
//! A"). It errs towards *unsupported*: a paraphrase without shared words is flagged although it may be true.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::{
    context::ContextPassage,
    sentence::{Span, split_sentences},
    terms::{Term, TermKind, capitalises_nouns, match_strength, term_keys, terms},
};

/// Share of the weight of the novel terms that a quote must hold.
///
/// Measured on 602 XQuAD questions with four retrieved paragraphs. Sentences of the gold paragraph: 99.7 % supported, all
/// of them by that paragraph; "question: it is ANSWER": 96.4 %. The same with the answer exchanged for another one of its
/// kind: 1.6 % of the numbers, 8.7 % of the names and 51 % of the common words still pass as sentences (65 % at .6), 4.7,
/// 5.8 and 4.1 % as short answers. Sentences of the 1.5B model: .7 flags none that .6 does not.
const MIN_NOVEL_COVERAGE: f32 = 0.7;

/// Share of the weight of all terms of question and sentence that quote and passage must hold.
const MIN_TOPIC_COVERAGE: f32 = 0.3;

/// A second quote is looked for when the first one holds less than this of the novel terms.
const GOOD_NOVEL_COVERAGE: f32 = 0.75;

/// What a second quote must add to be shown.
const MIN_GAIN: f32 = 0.2;

/// Longest quote of two neighbouring sentences, in characters.
const MAX_PAIR_CHARS: usize = 500;

/// What a term that is not in the quote but elsewhere in its passage counts.
const ELSEWHERE: f32 = 0.5;

/// How many quotes are tried as the first of two.
const FIRST_QUOTES: usize = 6;

/// Words with which a model speaks about its passages; they claim nothing.
const META_WORDS: &[&str] = &["passag", "accord", "excerpt", "answer", "question"];

/// Words that deny without a negator.
const DENYING: &[&str] = &[
    "fail",
    "lack",
    "unabl",
    "prohibit",
    "forbid",
    "forbidden",
    "exclud",
    "except",
    "onli",
    "refus",
    "deni",
    "absent",
    "unknown",
    "ban",
    "unlik",
    "reject",
    "rar",
    "hardli",
    "impossibl",
    "unavailabl",
    "avoid",
    "prevent",
    "declin",
    "stop",
];

/// A quote: characters `span` of the window of passage `passage_idx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quote {
    /// Index into the context, from 0.
    pub passage_idx: usize,
    /// Characters of [`ContextPassage::text`].
    pub span: Span,
}

/// A sentence of the context, measured against the question.
#[derive(Debug, Clone)]
pub(crate) struct RankedSentence {
    /// Where it is.
    pub quote: Quote,
    /// Share of the weight of the question's terms in the sentence, 0..=1.
    pub inside: f32,
    /// The same with what is elsewhere in its passage at half weight.
    pub near: f32,
    /// Number of different terms.
    pub num_terms: usize,
    kinds: HashSet<TermKind>,
}

impl RankedSentence {
    /// Whether the sentence has a term of this kind that the question does not have.
    pub fn holds(&self, kind: TermKind) -> bool {
        self.kinds.contains(&kind)
    }
}

/// Result of the check of one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// One or two quotes hold what the sentence says.
    Supported(Vec<Quote>),
    /// No quote does.
    Unsupported,
    /// The sentence claims nothing ("Here is what I found:").
    Nothing,
}

/// The sentences of a context, ready to be compared.
#[derive(Debug)]
pub(crate) struct QuoteIndex {
    windows: Vec<Window>,
    /// Terms of title, headings and text of each passage.
    passage_keys: Vec<HashSet<String>>,
    /// Number of sentences that hold a term.
    frequency: HashMap<String, usize>,
    num_sentences: usize,
    question: Vec<Term>,
    question_keys: HashSet<String>,
    /// Parallel to `question`.
    question_strengths: Vec<Strengths>,
}

/// One sentence or two neighbouring ones.
#[derive(Debug)]
struct Window {
    quote: Quote,
    sentences: usize,
    keys: HashSet<String>,
    affirmed: HashSet<String>,
    negated: HashSet<String>,
    /// Terms of sentences without any denial.
    plain: HashSet<String>,
    /// Numbers and names.
    facts: HashMap<String, TermKind>,
}

/// A sentence of the answer, cut into what is compared.
struct Claim {
    terms: Vec<Term>,
    /// Parallel to `terms`: not already in the question.
    novel: Vec<bool>,
    weights: Vec<f32>,
    strengths: Vec<Strengths>,
    strict_names: bool,
    claimed: BTreeSet<usize>,
    denies: bool,
}

/// How well one term is matched: computed once, read for every combination of windows.
#[derive(Debug)]
struct Strengths {
    /// Inside each window.
    windows: Vec<f32>,
    /// In each passage, title and headings included.
    passages: Vec<f32>,
}

/// How a set of windows fits a claim.
#[derive(Clone, Copy)]
struct Fit {
    /// Share of the novel weight inside the quote.
    novel: f32,
    /// The same with what is elsewhere in the passage at [`ELSEWHERE`].
    novel_near: f32,
    /// Share of the weight of sentence and question inside the quote.
    topic: f32,
    /// The same with what is elsewhere in the passage.
    topic_near: f32,
    facts_hold: bool,
}

impl Fit {
    fn supports(&self) -> bool {
        self.facts_hold
            && self.novel_near >= MIN_NOVEL_COVERAGE
            && self.novel > 0.0
            && self.topic_near >= MIN_TOPIC_COVERAGE
    }

    fn rank(&self) -> f32 {
        self.novel + 0.2 * self.novel_near + 0.6 * self.topic + 0.15 * self.topic_near
    }
}

impl QuoteIndex {
    /// Cuts the context into sentences; the question's terms count as given.
    pub fn new(question: &str, context: &[ContextPassage]) -> Self {
        let mut windows: Vec<Window> = Vec::new();
        let mut frequency: HashMap<String, usize> = HashMap::new();
        let mut num_sentences = 0;
        let mut passage_keys = Vec::with_capacity(context.len());
        for (passage_idx, passage) in context.iter().enumerate() {
            let chars: Vec<char> = passage.text.chars().collect();
            let mut keys = term_keys(&format!(
                "{} {}",
                passage.hit.title,
                passage.hit.heading.join(" ")
            ));
            let mut previous: Option<usize> = None;
            for span in split_sentences(&passage.text) {
                let text: String = chars[span.start..span.end].iter().collect();
                let window = Window::new(
                    Quote { passage_idx, span },
                    &terms(&without_reference_marks(&text)),
                );
                num_sentences += 1;
                for key in &window.keys {
                    *frequency.entry(key.clone()).or_default() += 1;
                    keys.insert(key.clone());
                }
                let at = windows.len();
                windows.push(window);
                if let Some(before) =
                    previous.filter(|&i| span.end - windows[i].quote.span.start <= MAX_PAIR_CHARS)
                {
                    let pair = windows[before].joined(&windows[at]);
                    windows.push(pair);
                }
                previous = Some(at);
            }
            passage_keys.push(keys);
        }
        let question = unique(terms(question));
        let question_keys = question.iter().map(|t| t.key.clone()).collect();
        let mut index = Self {
            windows,
            passage_keys,
            frequency,
            num_sentences,
            question,
            question_keys,
            question_strengths: Vec::new(),
        };
        index.question_strengths = index.question.iter().map(|t| index.measure(t)).collect();
        index
    }

    /// Number of passages.
    pub fn num_passages(&self) -> usize {
        self.passage_keys.len()
    }

    /// Finds the quotes that support `sentence`. `claimed` are the passage numbers (from 1) that the model named; they
    /// only break near ties, because a model's marker proves nothing.
    pub fn check(&self, sentence: &str, claimed: &BTreeSet<usize>) -> Verdict {
        let Some(claim) = self.claim(sentence, claimed) else {
            return Verdict::Nothing;
        };
        let mut fits: Vec<(usize, Fit, f32)> = (0..self.windows.len())
            .map(|i| {
                let fit = self.fit(&claim, &[i]);
                (i, fit, self.rank(&claim, i, &fit))
            })
            .filter(|(_, fit, _)| fit.novel > 0.0)
            .collect();
        fits.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
        let single = fits.iter().find(|(_, fit, _)| fit.supports());
        if let Some((i, fit, _)) = single
            && fit.novel >= GOOD_NOVEL_COVERAGE
        {
            return Verdict::Supported(vec![self.windows[*i].quote]);
        }
        let pair = self.best_pair(&claim, &fits, single.map_or(0.0, |(_, fit, _)| fit.novel));
        match (pair, single) {
            (Some((a, b)), _) => {
                Verdict::Supported(vec![self.windows[a].quote, self.windows[b].quote])
            }
            (None, Some((i, ..))) => Verdict::Supported(vec![self.windows[*i].quote]),
            (None, None) => Verdict::Unsupported,
        }
    }

    fn rank(&self, claim: &Claim, window: usize, fit: &Fit) -> f32 {
        let window = &self.windows[window];
        let claimed = if claim.claimed.contains(&(window.quote.passage_idx + 1)) {
            0.08
        } else {
            0.0
        };
        let longer = 0.12 * (window.sentences - 1) as f32;
        fit.rank() + claimed - longer - 0.01 * window.quote.passage_idx as f32
    }

    /// Two single sentences that support the claim together and clearly better than one does.
    fn best_pair(
        &self,
        claim: &Claim,
        fits: &[(usize, Fit, f32)],
        alone: f32,
    ) -> Option<(usize, usize)> {
        let singles: Vec<usize> = fits
            .iter()
            .map(|(i, ..)| *i)
            .filter(|&i| self.windows[i].sentences == 1)
            .collect();
        let mut best: Option<(f32, usize, usize)> = None;
        for (rank, &first) in singles.iter().take(FIRST_QUOTES).enumerate() {
            let first_alone = self.fit(claim, &[first]).novel;
            for &second in &singles[rank + 1..] {
                let fit = self.fit(claim, &[first, second]);
                let gains = fit.novel >= alone + MIN_GAIN && fit.novel >= first_alone + MIN_GAIN;
                if fit.supports()
                    && gains
                    && best.is_none_or(|(score, ..)| fit.rank() > score + 1e-6)
                {
                    best = Some((fit.rank(), first, second));
                }
            }
        }
        best.map(|(_, a, b)| (a.min(b), a.max(b)))
    }

    /// `None` where the sentence claims nothing.
    fn claim(&self, sentence: &str, claimed: &BTreeSet<usize>) -> Option<Claim> {
        let mut claimed = claimed.clone();
        let text = strip_passage_names(
            without_item_mark(sentence),
            self.num_passages(),
            &mut claimed,
        );
        let terms: Vec<Term> = unique(terms(&text))
            .into_iter()
            .filter(|t| !META_WORDS.contains(&t.key.as_str()))
            .collect();
        if terms.is_empty() {
            return None;
        }
        let denies = terms.iter().any(|t| t.negated);
        let mut novel: Vec<bool> = terms
            .iter()
            .map(|t| match_strength(t, &self.question_keys) == 0.0)
            .collect();
        if !novel.contains(&true) {
            novel = vec![true; terms.len()];
        }
        let weights = terms.iter().map(|t| self.weight(t)).collect();
        let strengths = terms.iter().map(|t| self.measure(t)).collect();
        Some(Claim {
            strict_names: !capitalises_nouns(&text),
            strengths,
            terms,
            novel,
            weights,
            claimed,
            denies,
        })
    }

    /// Inverse sentence frequency, more for facts.
    fn weight(&self, term: &Term) -> f32 {
        let frequency = self.frequency.get(&term.key).copied().unwrap_or(0) as f32;
        let idf = (1.0 + (self.num_sentences as f32 + 1.0) / (frequency + 1.0)).ln();
        match term.kind {
            TermKind::Number => 1.5 * idf,
            TermKind::Name => 1.2 * idf,
            TermKind::Word => idf,
            TermKind::SmallNumber => 0.7 * idf,
        }
    }

    /// Measures every single sentence against the question, in the order of the context.
    pub fn rank_for_question(&self) -> impl Iterator<Item = RankedSentence> {
        self.windows
            .iter()
            .enumerate()
            .filter(|(_, w)| w.sentences == 1)
            .map(|(i, window)| {
                let mut sum = Sum::default();
                for (_, strengths, weight) in self.question_terms() {
                    let (inside, near) = self.combine(strengths, &[i]);
                    sum.add(weight, inside, near);
                }
                let kinds = window
                    .facts
                    .iter()
                    .filter(|(key, _)| !self.question_keys.contains(*key))
                    .map(|(_, kind)| *kind)
                    .collect();
                RankedSentence {
                    quote: window.quote,
                    inside: sum.inside(),
                    near: sum.near(),
                    num_terms: window.keys.len(),
                    kinds,
                }
            })
    }

    /// Share of the weight of the question's terms that passage `passage_idx` has, title and headings included.
    pub fn question_coverage(&self, passage_idx: usize) -> f32 {
        let mut sum = Sum::default();
        for (_, strengths, weight) in self.question_terms() {
            let strength = strengths.passages[passage_idx];
            sum.add(weight, strength, strength);
        }
        sum.inside()
    }

    /// Share of the names and numbers of the question that no passage has.
    pub fn missing_question_facts(&self) -> f32 {
        let is_fact = |term: &Term| matches!(term.kind, TermKind::Name | TermKind::Number);
        let facts = self.question_terms().filter(|(term, ..)| is_fact(term));
        let missing: Vec<bool> = facts
            .map(|(_, strengths, _)| strengths.passages.iter().all(|s| *s == 0.0))
            .collect();
        if missing.is_empty() {
            return 0.0;
        }
        missing.iter().filter(|m| **m).count() as f32 / missing.len() as f32
    }

    /// The terms of the question, how well they are matched, and their weights.
    fn question_terms(&self) -> impl Iterator<Item = (&Term, &Strengths, f32)> {
        let terms = self.question.iter().zip(&self.question_strengths);
        terms.map(|(term, strengths)| (term, strengths, self.weight(term)))
    }

    fn fit(&self, claim: &Claim, windows: &[usize]) -> Fit {
        let mut sums = Sums::default();
        let mut facts_hold = true;
        for (i, term) in claim.terms.iter().enumerate() {
            let (novel, weight) = (claim.novel[i], claim.weights[i]);
            let (inside, near) = self.combine(&claim.strengths[i], windows);
            sums.topic.add(weight, inside, near);
            if novel {
                sums.novel.add(weight, inside, near);
                facts_hold &= match term.kind {
                    TermKind::Number => inside > 0.0,
                    TermKind::Name => near > 0.0 || !claim.strict_names,
                    TermKind::Word | TermKind::SmallNumber => true,
                };
            }
            facts_hold &= inside == 0.0 || !self.contradicts(claim, term, windows);
        }
        for (term, strengths, weight) in self.question_terms() {
            if !claim.terms.iter().any(|t| t.key == term.key) {
                let (inside, near) = self.combine(strengths, windows);
                sums.topic.add(weight, inside, near);
            }
        }
        Fit {
            novel: sums.novel.inside(),
            novel_near: sums.novel.near(),
            topic: sums.topic.inside(),
            topic_near: sums.topic.near(),
            facts_hold,
        }
    }

    fn measure(&self, term: &Term) -> Strengths {
        let strength = |keys| match_strength(term, keys);
        Strengths {
            windows: self.windows.iter().map(|w| strength(&w.keys)).collect(),
            passages: self.passage_keys.iter().map(strength).collect(),
        }
    }

    /// How well a term is matched inside the windows, and with the rest of their passages.
    fn combine(&self, term: &Strengths, windows: &[usize]) -> (f32, f32) {
        let best = |strength: &dyn Fn(usize) -> f32| {
            windows.iter().map(|&i| strength(i)).fold(0.0, f32::max)
        };
        let inside = best(&|i| term.windows[i]);
        if inside > 0.0 {
            return (inside, inside);
        }
        let elsewhere = best(&|i| term.passages[self.windows[i].quote.passage_idx]);
        (0.0, ELSEWHERE * elsewhere)
    }

    /// Whether the windows deny what the claim affirms, or the other way round.
    fn contradicts(&self, claim: &Claim, term: &Term, windows: &[usize]) -> bool {
        let any = |set: fn(&Window) -> &HashSet<String>| {
            windows
                .iter()
                .any(|&i| set(&self.windows[i]).contains(&term.key))
        };
        if term.negated {
            return any(|w| &w.plain) && !any(|w| &w.negated);
        }
        any(|w| &w.negated) && !any(|w| &w.affirmed) && !claim.denies
    }
}

impl Window {
    fn new(quote: Quote, terms: &[Term]) -> Self {
        let denies = terms
            .iter()
            .any(|t| t.negated || DENYING.contains(&t.key.as_str()));
        let pick = |negated: bool| {
            terms
                .iter()
                .filter(|t| t.negated == negated)
                .map(|t| t.key.clone())
                .collect()
        };
        let facts = terms
            .iter()
            .filter(|t| t.kind != TermKind::Word)
            .map(|t| (t.key.clone(), t.kind))
            .collect();
        let keys: HashSet<String> = terms.iter().map(|t| t.key.clone()).collect();
        let plain = if denies { HashSet::new() } else { keys.clone() };
        Self {
            quote,
            sentences: 1,
            keys,
            affirmed: pick(false),
            negated: pick(true),
            plain,
            facts,
        }
    }

    fn joined(&self, next: &Window) -> Window {
        let join = |a: &HashSet<String>, b: &HashSet<String>| a.union(b).cloned().collect();
        let span = Span {
            start: self.quote.span.start,
            end: next.quote.span.end,
        };
        Window {
            quote: Quote {
                passage_idx: self.quote.passage_idx,
                span,
            },
            sentences: self.sentences + next.sentences,
            keys: join(&self.keys, &next.keys),
            affirmed: join(&self.affirmed, &next.affirmed),
            negated: join(&self.negated, &next.negated),
            plain: join(&self.plain, &next.plain),
            facts: self
                .facts
                .iter()
                .chain(&next.facts)
                .map(|(key, kind)| (key.clone(), *kind))
                .collect(),
        }
    }
}

#[derive(Default)]
struct Sums {
    novel: Sum,
    topic: Sum,
}

#[derive(Default)]
struct Sum {
    total: f32,
    inside: f32,
    near: f32,
}

impl Sum {
    fn add(&mut self, weight: f32, inside: f32, near: f32) {
        self.total += weight;
        self.inside += weight * inside;
        self.near += weight * near;
    }

    fn inside(&self) -> f32 {
        if self.total > 0.0 {
            self.inside / self.total
        } else {
            0.0
        }
    }

    fn near(&self) -> f32 {
        if self.total > 0.0 {
            self.near / self.total
        } else {
            0.0
        }
    }
}

/// A document's own `[12]` are no numbers of its sentence.
fn without_reference_marks(text: &str) -> String {
    let mut parts = text.split('[');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let mark = (1..=3).contains(&digits) && part[digits..].starts_with(']');
        out.push(' ');
        out.push_str(if mark { &part[digits + 1..] } else { part });
    }
    out
}

/// Keeps the first of equal keys; it is negated only if all of them are.
fn unique(terms: Vec<Term>) -> Vec<Term> {
    let mut found: Vec<Term> = Vec::with_capacity(terms.len());
    for term in terms {
        match found.iter_mut().find(|t| t.key == term.key) {
            Some(known) => known.negated &= term.negated,
            None => found.push(term),
        }
    }
    found
}

/// A sentence without the `-` or `2.` of its list item.
fn without_item_mark(sentence: &str) -> &str {
    let text = sentence.trim_start();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let numbered = (1..=3)
        .contains(&digits)
        .then(|| text[digits..].strip_prefix(['.', ')']))
        .flatten();
    let rest = numbered
        .or_else(|| text.strip_prefix(['-', '*', '•', '+']))
        .unwrap_or(text);
    if rest.starts_with(char::is_whitespace) {
        rest
    } else {
        text
    }
}

/// Removes "passage 2", "sources 1 and 3" from a sentence; their numbers are claims about passages, not about the world.
fn strip_passage_names(
    sentence: &str,
    num_passages: usize,
    claimed: &mut BTreeSet<usize>,
) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut after_name = false;
    for word in sentence.split_whitespace() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let number = bare
            .parse::<usize>()
            .ok()
            .filter(|n| (1..=num_passages).contains(n));
        let name = matches!(
            bare.to_lowercase().as_str(),
            "passage" | "passages" | "excerpt" | "source" | "sources" | "document" | "documents"
        );
        match number {
            Some(n) if after_name => {
                claimed.insert(n);
            }
            _ => {
                kept.push(word);
                after_name = name || (after_name && matches!(bare, "and" | "or" | ""));
            }
        }
    }
    kept.join(" ")
}
