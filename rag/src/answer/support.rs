//! The quote check: which sentences of the context support a sentence of the answer.
//!
//! *Novel* terms of an answer sentence are those that the question did not already hold: they are what the sentence
//! claims. A quote supports the sentence when
//! - every novel number and name of the sentence is in it, a number with the same unit ([`super::quantity`]); a name may also
//!   be elsewhere in the same passage, because documents say "he" and "the company",
//! - it holds enough of the novel terms, weighted by how rare they are in this context ([`MIN_NOVEL_COVERAGE`]),
//! - it is about the question at all ([`MIN_TOPIC_COVERAGE`]), and
//! - nothing is to be said against it ([`super::objection`]): it does not say the opposite, it is about the entities of
//!   the question, and a row of a table has the column that was asked for.
//!
//! A sentence without novel terms ("Yes, it is flammable") claims all of its terms, and a bare yes or no those of the
//! question; both must then be in the quote itself.
//!
//! The check compares words, so it cannot see a claim that recombines true words wrongly ("A bought B" for "B bought
//! A"). It errs towards *unsupported*: a paraphrase without shared words is flagged although it may be true.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    entity::{Entity, Mentions, entities},
    form::note_forms,
    phrases::is_meta,
    quantity::Quantities,
    table::Row,
    window::{SectionWindows, Window, cut},
    wording::{strip_passage_names, unique, without_item_mark},
};
use crate::answer::context::{ContextPassage, Quote};
use crate::answer::wording::on_one_line;
use crate::text::fold::normalise;
use crate::text::polarity::{self, Languages, languages_of, leading_answer};
use crate::text::sentence::Span;
use crate::text::terms::{Term, TermKind, capitalises_nouns, match_strength, terms, terms_in};
use crate::text::unspaced::{bigram_runs, fill_junctions, is_unspaced};

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

/// What a term that is not in the quote but elsewhere in its passage counts.
const ELSEWHERE: f32 = 0.5;

/// The same for a term in title or headings of a claim that only restates the question: they hold for every sentence.
const IN_HEADINGS: f32 = 0.9;

/// Weight of a bigram of hiragana against one with other characters: they write particles and endings.
const HIRAGANA: f32 = 0.3;

/// How many quotes are tried as the first of two.
const FIRST_QUOTES: usize = 6;

/// Share of the question that a sentence must have to veto a statement, and how much more than what supports it.
const MIN_VETO_TOPIC: f32 = 0.6;
const MIN_VETO_LEAD: f32 = 0.1;

/// Most quotes of one sentence: a list of what is in many rows.
const MAX_QUOTES: usize = 8;

/// What a third or further quote must add.
const MIN_SET_GAIN: f32 = 0.05;

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
    /// It is the header row of a table.
    pub is_head: bool,
    /// The whole form that it is a line of.
    pub form: Option<Span>,
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
    /// The quotes hold together what the sentence says.
    Supported(Vec<Quote>),
    /// No quote does.
    Unsupported(Doubt),
    /// The sentence claims nothing ("Here is what I found:").
    Nothing,
}

/// Why a sentence is not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// The quote says the opposite.
    Opposite(Quote),
    /// The words are those of another entity than the question's.
    OtherEntity,
    /// The row holds the value, but not as what was asked for.
    OtherFact(Quote),
    /// No quote has enough of its words.
    NotFound,
}

impl Doubt {
    /// The quote that speaks against the sentence.
    pub fn quote(&self) -> Option<Quote> {
        match self {
            Self::Opposite(quote) | Self::OtherFact(quote) => Some(*quote),
            Self::OtherEntity | Self::NotFound => None,
        }
    }
}

/// The sentences of a context, ready to be compared.
#[derive(Debug)]
pub(crate) struct QuoteIndex {
    pub(super) windows: Vec<Window>,
    pub(super) sections: Vec<SectionWindows>,
    num_passages: usize,
    /// Number of sentences that hold a term.
    frequency: HashMap<String, usize>,
    num_sentences: usize,
    pub(super) question: Vec<Term>,
    pub(super) question_keys: HashSet<String>,
    pub(super) question_mentions: Mentions,
    pub(super) question_text: String,
    pub(super) entities: Vec<Entity>,
    /// Those of them that are nowhere, though each of their words is somewhere.
    pub(super) put_together: Vec<Entity>,
    /// Parallel to `question`.
    question_strengths: Vec<Strengths>,
}

/// A sentence of the answer, cut into what is compared.
pub(super) struct Claim {
    pub terms: Vec<Term>,
    /// Parallel to `terms`: not already in the question.
    pub novel: Vec<bool>,
    weights: Vec<f32>,
    strengths: Vec<Strengths>,
    strict_names: bool,
    claimed: BTreeSet<usize>,
    pub denies: bool,
    /// The yes or no that it begins with.
    pub answer: Option<bool>,
    /// It is nothing but a yes or a no; `terms` are the question's.
    pub is_bare: bool,
    /// It has no term that the question does not have.
    pub restates: bool,
    pub mentions: Mentions,
}

impl Claim {
    /// The terms that the question does not have; all of them where it has all.
    pub fn novel_terms(&self) -> impl Iterator<Item = &Term> {
        let terms = self.terms.iter().zip(&self.novel);
        terms.filter(|(_, novel)| **novel).map(|(term, _)| term)
    }
}

/// How well one term is matched: computed once, read for every combination of windows.
#[derive(Debug)]
struct Strengths {
    /// Inside each window.
    windows: Vec<f32>,
    /// In each section, title and headings included.
    sections: Vec<f32>,
    /// In title, headings and the sentences outside of tables: what holds for every row.
    texts: Vec<f32>,
    /// In title and headings.
    headings: Vec<f32>,
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
    /// Whether the words are there; what is to be said against it is [`QuoteIndex::objection`].
    fn covers(&self) -> bool {
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
        let mut sections = Vec::with_capacity(context.len());
        for (passage_idx, passage) in context.iter().enumerate() {
            for mut section in cut(passage_idx, passage) {
                note_forms(&passage.text, &mut section.windows);
                for window in &mut section.windows {
                    window.section = sections.len();
                }
                windows.append(&mut section.windows);
                sections.push(section);
            }
        }
        let sentences = windows.iter().filter(|w| w.sentences == 1 && !w.is_head);
        let num_sentences = sentences.clone().count();
        for key in sentences.flat_map(|w| &w.keys) {
            *frequency.entry(key.clone()).or_default() += 1;
        }
        let terms = unique(terms(question));
        let mut index = Self {
            windows,
            sections,
            num_passages: context.len(),
            frequency,
            num_sentences,
            question_keys: terms.iter().map(|t| t.key.clone()).collect(),
            question: terms,
            question_mentions: Mentions::of(question),
            question_text: question.to_owned(),
            entities: entities(question),
            put_together: Vec::new(),
            question_strengths: Vec::new(),
        };
        index.question_strengths = index.question.iter().map(|t| index.measure(t)).collect();
        index.put_together = index.names_put_together();
        index
    }

    /// Number of passages.
    pub fn num_passages(&self) -> usize {
        self.num_passages
    }

    /// A quote as it is read aloud: on one line, a row of a table with the heads of its columns, a form with its keys.
    /// `only_asked` leaves out the columns or lines that the question does not name, if it names any.
    pub fn shown(&self, quote: Quote, context: &[ContextPassage], only_asked: bool) -> String {
        let window = self.windows.iter().find(|w| w.quote == quote);
        if let Some(row) = window.and_then(|w| w.row.as_ref()) {
            let asked = match only_asked {
                true => row.columns_named(&self.question),
                false => Vec::new(),
            };
            return row.shown(&asked);
        }
        if let Some(form) = self.shown_form(quote, only_asked) {
            return form;
        }
        let Quote { passage_idx, span } = quote;
        let chars = context[passage_idx].text.chars();
        let text: String = chars.skip(span.start).take(span.end - span.start).collect();
        on_one_line(&text)
    }

    /// A quote of several lines of a form; `None` where it is none.
    fn shown_form(&self, quote: Quote, only_asked: bool) -> Option<String> {
        let is_line = |w: &&Window| {
            w.form.is_some()
                && w.quote.passage_idx == quote.passage_idx
                && quote.span.holds(w.quote.span)
        };
        let lines = self.windows.iter().filter(is_line);
        let rows: Vec<&Row> = lines.filter_map(|w| w.row.as_ref()).collect();
        let is_named = |row: &&Row| !row.columns_named(&self.question).is_empty();
        let shows_some = only_asked && rows.iter().skip(1).any(is_named);
        // The first line says what the form is about.
        let is_shown = |(i, row): &(usize, &Row)| !shows_some || *i == 0 || is_named(row);
        let shown = rows.iter().copied().enumerate().filter(is_shown);
        let parts: Vec<String> = shown.map(|(_, row)| row.shown(&[])).collect();
        (!parts.is_empty()).then(|| parts.join(" | "))
    }

    /// The whole form that a quote is a line of; the quote itself where it is none.
    pub fn whole_form(&self, quote: Quote) -> Quote {
        let window = self.windows.iter().find(|w| w.quote == quote);
        let form = window.and_then(|w| w.form);
        Quote {
            span: form.unwrap_or(quote.span),
            ..quote
        }
    }

    /// Finds the quotes that support `sentence`. `claimed` are the passage numbers (from 1) that the model named; they
    /// only break near ties, because a model's marker proves nothing.
    pub fn check(&self, sentence: &str, claimed: &BTreeSet<usize>) -> Verdict {
        let Some(claim) = self.claim(sentence, claimed) else {
            return Verdict::Nothing;
        };
        let mut fits: Vec<(usize, Fit, f32)> = (0..self.windows.len())
            .filter(|&i| !self.windows[i].is_head)
            .map(|i| {
                let fit = self.fit(&claim, &[i]);
                (i, fit, self.rank(&claim, i, &fit))
            })
            .filter(|(_, fit, _)| fit.novel > 0.0)
            .collect();
        fits.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
        let single = fits.iter().find(|(i, fit, _)| {
            fit.covers() && self.is_near_topic(*i) && self.objection(&claim, &[*i]).is_none()
        });
        if let Some((i, ..)) = single
            && let Some(quote) = self.veto(&claim, *i)
        {
            return Verdict::Unsupported(Doubt::Opposite(quote));
        }
        if let Some((i, fit, _)) = single
            && fit.novel >= GOOD_NOVEL_COVERAGE
        {
            return Verdict::Supported(vec![self.windows[*i].quote]);
        }
        let doubt = match single {
            Some(_) => None,
            None => Some(self.doubt(&claim, &fits)),
        };
        if let Some(opposite @ Doubt::Opposite(_)) = doubt {
            // Parts of other sentences prove nothing against one that has all of the words.
            return Verdict::Unsupported(opposite);
        }
        let pair = self.best_pair(&claim, &fits, single.map_or(0.0, |(_, fit, _)| fit.novel));
        let found = pair
            .map(|(a, b)| vec![a, b])
            .or_else(|| single.map(|(i, ..)| vec![*i]))
            .or_else(|| self.best_set(&claim, &fits));
        match found {
            Some(found) => {
                Verdict::Supported(found.into_iter().map(|i| self.windows[i].quote).collect())
            }
            None => Verdict::Unsupported(doubt.unwrap_or(Doubt::NotFound)),
        }
    }

    /// Whether a window or its passage has a term of the question, if that has any.
    fn is_near_topic(&self, window: usize) -> bool {
        let mut strengths = self.question_strengths.iter();
        self.question.is_empty() || strengths.any(|s| self.combine(s, &[window], false).1 > 0.0)
    }

    /// A sentence that says the opposite of the claim and has more of the question than the window that supports it ("Alcohol is
    /// not reimbursed" beside "Meals are reimbursed up to 42 EUR"), or is a part of it.
    fn veto(&self, claim: &Claim, support: usize) -> Option<Quote> {
        let asked = |window: usize| {
            let mut sum = Sum::default();
            for (_, strengths, weight) in self.question_terms() {
                sum.add(weight, strengths.windows[window], 0.0);
            }
            sum.inside()
        };
        let (known, whole) = (asked(support), self.windows[support].quote);
        let is_part = |quote: Quote| {
            quote != whole && quote.passage_idx == whole.passage_idx && whole.span.holds(quote.span)
        };
        let speaks_more = |i: &usize| {
            let share = asked(*i);
            let lead = match is_part(self.windows[*i].quote) {
                true => 0.0,
                false => MIN_VETO_LEAD,
            };
            share >= MIN_VETO_TOPIC && share >= known + lead
        };
        (0..self.windows.len())
            .filter(|&i| i != support && self.windows[i].sentences == 1 && !self.windows[i].is_head)
            .filter(speaks_more)
            .find(|&i| self.is_opposite(claim, &self.windows[i]))
            .map(|i| self.windows[i].quote)
    }

    /// The sentence without the yes that it begins with, where nothing shows it: the rest denies, or a word of the question is
    /// neither in the rest nor in the quotes ("Yes, it is contraindicated" to "Is it safe?"). `None` where it stands as it is.
    pub fn without_unshown_yes(&self, sentence: &str, quotes: &[Quote]) -> Option<String> {
        let (true, rest) = leading_answer(sentence)? else {
            return None;
        };
        let claim = self.claim(rest, &BTreeSet::new())?;
        let denies_question = self.question.iter().any(|term| term.negated);
        let windows: Vec<&Window> = self
            .windows
            .iter()
            .filter(|w| quotes.contains(&w.quote))
            .collect();
        let is_shown = |term: &Term| {
            let in_rest = claim.terms.iter().any(|said| said.key == term.key);
            let in_keys = |keys: &HashSet<String>| match_strength(term, keys) > 0.0;
            in_rest
                || windows
                    .iter()
                    .any(|w| in_keys(&w.keys) || in_keys(&self.sections[w.section].headings))
        };
        if (!claim.denies || denies_question) && self.question.iter().all(is_shown) {
            return None;
        }
        let mut chars = rest.chars();
        let first = chars.next().into_iter().flat_map(char::to_uppercase);
        Some(first.chain(chars).collect())
    }

    /// Whether a sentence has a number that is neither the question's nor counts or names passages.
    pub fn adds_number(&self, sentence: &str) -> bool {
        let count = self.num_passages();
        let text = strip_passage_names(sentence, count, &mut BTreeSet::new());
        terms(&text).iter().any(|term| {
            term.kind == TermKind::Number
                && term.key != count.to_string()
                && match_strength(term, &self.question_keys) == 0.0
        })
    }

    /// Why none of the windows supports the claim: the objection against the best one that has its words.
    fn doubt(&self, claim: &Claim, fits: &[(usize, Fit, f32)]) -> Doubt {
        if self.misses_entity() {
            return Doubt::OtherEntity;
        }
        let objections: Vec<Doubt> = fits
            .iter()
            .filter(|(_, fit, _)| fit.covers())
            .filter_map(|(i, ..)| self.objection(claim, &[*i]))
            .collect();
        let opposite = objections.iter().find(|d| matches!(d, Doubt::Opposite(_)));
        let first = opposite.or(objections.first());
        first.copied().unwrap_or(Doubt::NotFound)
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
                if fit.covers()
                    && gains
                    && best.is_none_or(|(score, ..)| fit.rank() > score + 1e-6)
                    && self.objection(claim, &[first, second]).is_none()
                {
                    best = Some((fit.rank(), first, second));
                }
            }
        }
        best.map(|(_, a, b)| (a.min(b), a.max(b)))
    }

    /// Single sentences that support the claim together, each of which adds something: a list of what many rows say.
    fn best_set(&self, claim: &Claim, fits: &[(usize, Fit, f32)]) -> Option<Vec<usize>> {
        let usable: Vec<usize> = fits
            .iter()
            .map(|(i, ..)| *i)
            .filter(|&i| self.windows[i].sentences == 1)
            .filter(|&i| !matches!(self.objection(claim, &[i]), Some(Doubt::Opposite(_))))
            .collect();
        let mut chosen = vec![*usable.first()?];
        let mut fit = self.fit(claim, &chosen);
        while !fit.covers() {
            let with = |i: usize| [chosen.as_slice(), &[i]].concat();
            let more = usable.iter().filter(|i| !chosen.contains(i));
            let (next, next_fit) = more
                .map(|&i| (i, self.fit(claim, &with(i))))
                .max_by(|a, b| a.1.rank().total_cmp(&b.1.rank()).then(b.0.cmp(&a.0)))?;
            if next_fit.novel < fit.novel + MIN_SET_GAIN || chosen.len() == MAX_QUOTES {
                return None;
            }
            chosen.push(next);
            fit = next_fit;
        }
        chosen.sort_unstable();
        self.objection(claim, &chosen).is_none().then_some(chosen)
    }

    /// `None` where the sentence claims nothing.
    fn claim(&self, sentence: &str, claimed: &BTreeSet<usize>) -> Option<Claim> {
        let mut claimed = claimed.clone();
        let text = strip_passage_names(
            without_item_mark(sentence),
            self.num_passages(),
            &mut claimed,
        );
        let (answer, rest) = match leading_answer(&text).or_else(|| trailing_answer(&text)) {
            Some((says, rest)) => (Some(says), rest),
            None => (None, text.as_str()),
        };
        let mut terms = unique(terms_in(rest, self.languages_of(&text)));
        terms.retain(|t| !is_meta(&t.key));
        // "Yes it is.", "The answer is yes."
        let answer = answer.or_else(|| terms.is_empty().then(|| outer_answer(&text))?);
        let is_bare = answer.is_some() && terms.is_empty();
        if is_bare {
            let affirmed = |term: &Term| Term {
                negated: false,
                ..term.clone()
            };
            terms = self.question.iter().map(affirmed).collect();
        }
        if terms.is_empty() {
            return None;
        }
        let mut novel: Vec<bool> = terms
            .iter()
            .map(|t| match_strength(t, &self.question_keys) == 0.0)
            .collect();
        let restates = !novel.contains(&true);
        if restates {
            novel = vec![true; terms.len()];
        }
        let mut claim = Claim {
            strict_names: !capitalises_nouns(rest),
            denies: terms.iter().any(|t| t.negated),
            weights: terms.iter().map(|t| self.weight(t)).collect(),
            strengths: terms.iter().map(|t| self.measure(t)).collect(),
            novel,
            claimed,
            answer,
            is_bare,
            restates,
            mentions: Mentions::of(rest),
            terms,
        };
        self.bridge_bigrams(&mut claim, rest);
        self.drop_other_quantities(&mut claim, rest);
        Some(claim)
    }

    /// A number is not found where it counts something else.
    fn drop_other_quantities(&self, claim: &mut Claim, text: &str) {
        let said = Quantities::of(text);
        for (term, strengths) in claim.terms.iter().zip(&mut claim.strengths) {
            for (strength, window) in strengths.windows.iter_mut().zip(&self.windows) {
                if term.kind == TermKind::Number && said.is_other_in(&window.quantities, &term.key)
                {
                    *strength = 0.0;
                }
            }
        }
    }

    /// The languages of a sentence of the answer: its own, as far as it and the question tell, else those of the passages.
    fn languages_of(&self, sentence: &str) -> Languages {
        let own = languages_of(&normalise(&format!("{sentence} {}", self.question_text)));
        let sections = self.sections.iter().filter_map(|s| s.languages);
        own.or_else(|| sections.reduce(Languages::or))
            .unwrap_or_else(Languages::unknown)
    }

    /// Gives the bigrams of unspaced scripts what [`fill_junctions`] says, window by window.
    fn bridge_bigrams(&self, claim: &mut Claim, text: &str) {
        let position = |key: &String| claim.terms.iter().position(|t| t.key == *key);
        let runs: Vec<Vec<usize>> = bigram_runs(&normalise(text))
            .iter()
            .filter_map(|run| run.iter().map(position).collect())
            .collect();
        for run in runs {
            for window in 0..self.windows.len() {
                let known = |&i: &usize| claim.strengths[i].windows[window];
                let mut strengths: Vec<f32> = run.iter().map(known).collect();
                if strengths.iter().all(|strength| *strength == 0.0) {
                    continue;
                }
                fill_junctions(&mut strengths);
                for (&i, strength) in run.iter().zip(strengths) {
                    if claim.novel[i] {
                        claim.strengths[i].windows[window] = strength;
                    }
                }
            }
        }
    }

    /// Inverse sentence frequency, more for facts.
    fn weight(&self, term: &Term) -> f32 {
        let mut frequency = self.frequency.get(&term.key).copied().unwrap_or(0) as f32;
        if term.key.starts_with(is_unspaced) {
            // A bigram that is nowhere mostly straddles two words: no sign of something rare.
            frequency = frequency.max(1.0);
        }
        let mut idf = (1.0 + (self.num_sentences as f32 + 1.0) / (frequency + 1.0)).ln();
        if term
            .key
            .chars()
            .all(|c| matches!(c, '\u{3041}'..='\u{309f}'))
        {
            idf *= HIRAGANA;
        }
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
                    let (inside, near) = self.combine(strengths, &[i], false);
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
                    is_head: window.is_head,
                    form: window.form,
                    kinds,
                }
            })
    }

    /// Share of the weight of the question's terms that passage `passage_idx` has, title and headings included.
    pub fn question_coverage(&self, passage_idx: usize) -> f32 {
        let mut sum = Sum::default();
        for (_, strengths, weight) in self.question_terms() {
            let own = self.sections.iter().zip(&strengths.sections);
            let own = own.filter(|(section, _)| section.passage_idx == passage_idx);
            let strength = own.map(|(_, strength)| *strength).fold(0.0, f32::max);
            sum.add(weight, strength, strength);
        }
        sum.inside()
    }

    /// Share of the names and numbers of the question that no passage has.
    pub fn missing_question_facts(&self) -> f32 {
        let is_fact = |term: &Term| matches!(term.kind, TermKind::Name | TermKind::Number);
        let facts = self.question_terms().filter(|(term, ..)| is_fact(term));
        let missing: Vec<bool> = facts
            .map(|(_, strengths, _)| strengths.sections.iter().all(|s| *s == 0.0))
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
            let (inside, near) = self.combine(&claim.strengths[i], windows, claim.restates);
            sums.topic.add(weight, inside, near);
            if novel {
                sums.novel.add(weight, inside, near);
                facts_hold &= match term.kind {
                    TermKind::Number => inside > 0.0 || (claim.restates && near > 0.0),
                    TermKind::Name => near > 0.0 || !claim.strict_names,
                    TermKind::Word | TermKind::SmallNumber => true,
                };
            }
        }
        for (term, strengths, weight) in self.question_terms() {
            if !claim.terms.iter().any(|t| t.key == term.key) {
                let (inside, near) = self.combine(strengths, windows, false);
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
        let sections = self.sections.iter();
        Strengths {
            windows: self.windows.iter().map(|w| strength(&w.keys)).collect(),
            sections: sections.clone().map(|s| strength(&s.keys)).collect(),
            texts: sections.clone().map(|s| strength(&s.text_keys)).collect(),
            headings: sections.map(|s| strength(&s.headings)).collect(),
        }
    }

    /// How well a term is matched inside the windows, and with the rest of their passages; for a claim that only
    /// `restates` the question the rest is title and headings, because the sentence beside may be about something else.
    fn combine(&self, term: &Strengths, windows: &[usize], restates: bool) -> (f32, f32) {
        let best = |strength: &dyn Fn(usize) -> f32| {
            windows.iter().map(|&i| strength(i)).fold(0.0, f32::max)
        };
        let inside = best(&|i| term.windows[i]);
        if inside > 0.0 {
            return (inside, inside);
        }
        let elsewhere = best(&|i| {
            let window = &self.windows[i];
            let rest = match window.row {
                _ if restates => &term.headings,
                Some(_) => &term.texts,
                None => &term.sections,
            };
            rest[window.section]
        });
        let share = if restates { IN_HEADINGS } else { ELSEWHERE };
        (0.0, share * elsewhere)
    }
}

/// The yes or no of `Glycerol: yes` and `| Glycerol | yes |`, and what stands before it.
fn trailing_answer(text: &str) -> Option<(bool, &str)> {
    let text = text.trim().trim_end_matches('|').trim_end();
    let at = text.rfind([':', '：', '|'])?;
    let separator = text[at..].chars().next()?;
    let says = polarity::cell(&text[at + separator.len_utf8()..])?;
    Some((says, &text[..at]))
}

/// The yes or no that is the first or the last word.
fn outer_answer(text: &str) -> Option<bool> {
    let mut words = text.split(|c: char| !c.is_alphanumeric());
    let mut next = || words.by_ref().find(|word| !word.is_empty());
    let (first, mut last) = (next(), None);
    while let Some(word) = next() {
        last = Some(word);
    }
    [first, last].into_iter().flatten().find_map(polarity::cell)
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
