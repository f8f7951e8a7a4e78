//! The answer while it is written: characters in, checked text out.
//!
//! The stream is read one character at a time, so how it was cut into deltas cannot change the result. A sentence leaves
//! when it has been judged, so that nothing which a passage contradicts is ever on a screen; code leaves at once. The
//! model's own markers never leave: at the end of each sentence the quote check decides which citation it gets, and a
//! model's marker only breaks near ties.
//!
//! A statement that is not supported is *withheld*. At the end of the model's text [`AnswerTracker::ask_again`] gives the
//! prompt of a second answer, from the closest sentences alone; what is then still withheld is replaced by the closest
//! sentence, verbatim. Without a close sentence it is shown after all, flagged.
//!
//! A sentence that says that the documents do not answer is *held* with what follows until something is supported. An
//! answer that has nothing else is refused in Cloister's own words, because a model denies in words that nothing checks
//! ("the cost of a part that does not exist is not stated").
//!
//! Citations are numbered in order of first appearance, one number per quote, so that `[n]` always stands for
//! exactly one highlighted piece of text.
//!
//! Code (fenced or in back quotes) passes untouched and unchecked.

use std::collections::BTreeSet;

use super::{
    marker::{Marker, read_marker},
    phrases::denies_answer,
    support::{Doubt, QuoteIndex, Verdict},
};
use crate::answer::context::{ContextPassage, Quote};
use crate::answer::notices::Notices;
use crate::answer::prompt::{PromptMessage, build_second_prompt};
use crate::answer::ranking::best_sentences;
use crate::answer::refusal::refusal;
use crate::answer::types::{Answer, AnswerEvent, Citation};
use crate::text::sentence::{Boundary, boundary, is_closer, is_terminator};

/// Share of the weight of the question's terms that the sentence which replaces an unsupported answer must have.
const MIN_CLOSEST_COVERAGE: f32 = 0.3;

/// Sentences that the model is asked about once more.
const NUM_SECOND_QUOTES: usize = 3;

/// Checks an answer while it streams.
#[derive(Debug)]
pub struct AnswerTracker {
    question: String,
    context: Vec<ContextPassage>,
    index: QuoteIndex,
    /// Cloister's own sentences, in the language of the question.
    notices: &'static Notices,
    /// Read but not yet decided.
    held: Vec<char>,
    code: Code,
    /// Only white space since the last line break.
    line_is_blank: bool,
    sentence: OpenSentence,
    answer: Answer,
    answer_chars: usize,
    /// White space between what was shown and what will be.
    gap: String,
    /// Statements that no passage supports, not shown so far.
    withheld: Vec<Withheld>,
    /// Sentences from the first denial on, until one is supported.
    held_back: Vec<HeldSentence>,
    second: SecondAnswer,
    /// Quotes in order of `Citation::n`.
    quotes: Vec<Quote>,
    denied: bool,
    checked: usize,
    supported: usize,
    /// The text ended before the model did, so nobody knows what its last sentence was going to say.
    is_broken_off: bool,
    events: Vec<AnswerEvent>,
    delta: String,
}

/// A statement that is not supported, with its full stop.
#[derive(Debug, Clone)]
struct Withheld {
    text: String,
    doubt: Doubt,
}

/// A sentence with its full stop, not shown so far.
#[derive(Debug, Clone)]
struct HeldSentence {
    /// Line breaks before it.
    gap: String,
    sentence: OpenSentence,
    stop: String,
}

/// How far the second answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SecondAnswer {
    NotAsked,
    /// It is being written; the first one had so many supported sentences.
    Asked {
        supported_before: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Outside,
    Inline,
    Fenced,
}

/// The sentence that is being written.
#[derive(Debug, Clone, Default)]
struct OpenSentence {
    /// White space before it.
    lead: String,
    text: Vec<char>,
    /// Passage numbers that the model named.
    claimed: BTreeSet<usize>,
}

/// What stands at the beginning of the held text.
enum Piece {
    /// Goes on: this many characters of text.
    Text(usize),
    /// A marker inside a sentence.
    Marker { length: usize, numbers: Vec<usize> },
    /// The sentence ends: full stops and closing quotes, then markers behind them.
    SentenceEnd {
        terminators: usize,
        length: usize,
        numbers: Vec<usize>,
    },
    /// The line ends; white space of this length.
    LineEnd(usize),
    /// A code fence.
    Fence,
    /// Not decided yet.
    Undecided,
}

impl AnswerTracker {
    /// Starts an answer to `question` from `context`, the passages of the prompt.
    pub fn new(question: &str, context: Vec<ContextPassage>) -> Self {
        let index = QuoteIndex::new(question, &context);
        let passages = context.iter().map(|passage| passage.text.as_str());
        Self {
            notices: Notices::for_question(question, passages),
            question: question.to_owned(),
            context,
            index,
            held: Vec::new(),
            code: Code::Outside,
            line_is_blank: true,
            sentence: OpenSentence::default(),
            answer: Answer::default(),
            answer_chars: 0,
            gap: String::new(),
            withheld: Vec::new(),
            held_back: Vec::new(),
            second: SecondAnswer::NotAsked,
            supported: 0,
            quotes: Vec::new(),
            denied: false,
            checked: 0,
            is_broken_off: false,
            events: Vec::new(),
            delta: String::new(),
        }
    }

    /// Reads more of the model's text and returns what can be shown of it.
    pub fn push(&mut self, text: &str) -> Vec<AnswerEvent> {
        for c in text.chars().filter(|c| *c != '\r') {
            self.held.push(c);
            self.read_held(false);
        }
        self.flush_delta();
        std::mem::take(&mut self.events)
    }

    /// Ends the model's text. `Some` prompt when a statement was withheld and the passages have sentences close to it:
    /// what the model answers to it is to be pushed as well, before [`AnswerTracker::finish`]. Only once an answer.
    pub fn ask_again(&mut self) -> (Vec<AnswerEvent>, Option<Vec<PromptMessage>>) {
        self.read_held(true);
        self.close_sentence(&[]);
        self.flush_delta();
        let events = std::mem::take(&mut self.events);
        let is_first = self.second == SecondAnswer::NotAsked && !self.denied;
        let quotes = match is_first {
            true => self.quotes_in_doubt(),
            false => Vec::new(),
        };
        if quotes.is_empty() {
            return (events, None);
        }
        self.second = SecondAnswer::Asked {
            supported_before: self.supported,
        };
        self.line_is_blank = true;
        self.code = Code::Outside;
        if !self.answer.text.is_empty() {
            self.gap = "\n\n".to_owned();
        }
        let prompt = build_second_prompt(&self.question, &self.context, &self.index, &quotes);
        (events, Some(prompt))
    }

    /// What a second answer is to be read from: the quotes that spoke against the withheld statements, and the closest
    /// ones. Empty where nothing can be gained: nothing was withheld, or the question is about something unknown.
    fn quotes_in_doubt(&self) -> Vec<Quote> {
        let mut quotes: Vec<Quote> = Vec::new();
        if self.withheld.is_empty() {
            return quotes;
        }
        let against = self.withheld.iter().filter_map(|w| w.doubt.quote());
        for quote in against.chain(self.closest()) {
            let quote = self.index.whole_form(quote);
            if !quotes.contains(&quote) && quotes.len() < NUM_SECOND_QUOTES {
                quotes.push(quote);
            }
        }
        quotes
    }

    /// The sentences that are close to the question and about what it names, best first.
    fn closest(&self) -> impl Iterator<Item = Quote> {
        best_sentences(&self.question, &self.index, &self.context)
            .into_iter()
            .filter(|(_, s)| s.inside >= MIN_CLOSEST_COVERAGE)
            .map(|(_, s)| s.quote)
            .filter(move |quote| self.index.is_about_question(*quote))
    }

    /// Ends the answer: the last events and the whole answer, whose text is the deltas joined.
    pub fn finish(mut self) -> (Vec<AnswerEvent>, Answer) {
        self.read_held(true);
        self.close_sentence(&[]);
        self.gap.clear();
        let is_settled = match self.second {
            SecondAnswer::NotAsked => self.withheld.is_empty(),
            SecondAnswer::Asked { supported_before } => self.supported > supported_before,
        };
        self.answer.withheld = self.withheld.iter().map(|w| w.text.clone()).collect();
        let is_empty = self.answer.text.trim().is_empty() && self.withheld.is_empty();
        self.denied |= is_empty && self.held_back.is_empty();
        if self.denied && self.answer.citations.is_empty() {
            self.refuse();
        } else if !is_settled {
            self.replace_withheld();
        } else if self.answer.citations.is_empty() {
            if self.checked == 0 && self.index.num_passages() > 0 {
                self.flag(0, self.answer_chars);
            }
            self.add_closest_sentence();
        }
        self.flush_delta();
        (self.events, self.answer)
    }

    /// Ends an answer that was stopped, or failed half way: as [`AnswerTracker::finish`], but the last sentence is
    /// cited when it is supported and not flagged when it is not, and nothing is added to what the model wrote, unless all
    /// of that was withheld.
    pub fn break_off(mut self) -> (Vec<AnswerEvent>, Answer) {
        self.is_broken_off = true;
        self.read_held(true);
        self.close_sentence(&[]);
        self.gap.clear();
        self.answer.withheld = self.withheld.iter().map(|w| w.text.clone()).collect();
        if self.denied && self.answer.citations.is_empty() {
            self.refuse();
        } else if self.answer.text.is_empty() && !self.withheld.is_empty() {
            self.replace_withheld();
        }
        self.flush_delta();
        (self.events, self.answer)
    }

    /// Puts the closest quote in the place of what is still withheld; a refusal where the question is about something that
    /// the passages do not have.
    fn replace_withheld(&mut self) {
        let is_alone = self.answer.citations.is_empty();
        let doubts: Vec<Doubt> = self.withheld.iter().map(|w| w.doubt).collect();
        if let Some(quote) = doubts.iter().find_map(Doubt::quote) {
            // The row is there, but not with what was asked for.
            if is_alone && !doubts.iter().any(|d| matches!(d, Doubt::Opposite(_))) {
                self.separate();
                self.emit(&self.notices.refusal);
                self.answer.refused = true;
            }
            self.add_quote(quote);
        } else if self.add_closest_sentence() || !is_alone {
            // The quote says it, or what is supported stands alone.
        } else if doubts.contains(&Doubt::OtherEntity) {
            self.refuse();
        } else {
            for withheld in std::mem::take(&mut self.withheld) {
                self.separate();
                let start = self.answer_chars;
                self.emit(&withheld.text);
                self.flag(start, self.answer_chars);
            }
            self.answer.withheld.clear();
        }
    }

    /// Says that the documents do not answer, and which ones are closest, in the place of the model's own denial. One that was
    /// shown already, because code followed it, stands.
    fn refuse(&mut self) {
        self.answer.refused = true;
        let was_shown = self.denied && self.held_back.is_empty() && self.answer_chars > 0;
        self.held_back.clear();
        if !was_shown {
            self.separate();
            let hits: Vec<_> = self.context.iter().map(|p| p.hit.clone()).collect();
            self.emit(&refusal(&self.question, &hits).text);
        }
    }

    /// Adds the closest sentence of the documents, verbatim; returns whether there is one that is not cited yet.
    fn add_closest_sentence(&mut self) -> bool {
        let closest = self.closest().next();
        closest.is_some_and(|quote| self.add_quote(quote))
    }

    /// Adds a quote; returns whether it is a new one.
    fn add_quote(&mut self, quote: Quote) -> bool {
        if self.known(quote).is_some() {
            return false;
        }
        let quote = self.index.whole_form(quote);
        let mut shown = self.index.shown(quote, &self.context, true);
        if !shown.ends_with(|c| is_terminator(c) || is_closer(c)) {
            shown.push('.');
        }
        self.separate();
        self.emit(&format!("{}{shown}", self.notices.closest_says));
        let n = self.cite(quote);
        self.emit(&format!(" [{n}]"));
        true
    }

    /// Begins a new paragraph if there is anything before it.
    fn separate(&mut self) {
        if !self.answer.text.is_empty() {
            self.emit("\n\n");
        }
    }

    fn read_held(&mut self, at_end: bool) {
        while !self.held.is_empty() {
            match self.next_piece(at_end) {
                Piece::Undecided => return,
                Piece::Text(length) => self.text(length),
                Piece::Marker { length, numbers } => {
                    self.sentence.claimed.extend(numbers);
                    self.held.drain(..length);
                }
                Piece::SentenceEnd {
                    terminators,
                    length,
                    numbers,
                } => {
                    self.sentence.claimed.extend(numbers);
                    let terminators: Vec<char> =
                        self.held.drain(..length).take(terminators).collect();
                    self.line_is_blank = false;
                    self.close_sentence(&terminators);
                }
                Piece::LineEnd(length) => {
                    self.close_sentence(&[]);
                    if self.code == Code::Inline {
                        self.code = Code::Outside;
                    }
                    let space: String = self.held.drain(..length).collect();
                    // The space around a withheld sentence is the space around what comes next.
                    let is_first = self.answer_chars == 0 && self.held_back.is_empty();
                    if !is_first && space.len() > self.gap.len() {
                        self.gap = space;
                    }
                    self.line_is_blank = true;
                }
                Piece::Fence => {
                    self.close_sentence(&[]);
                    self.show_held_back();
                    let fence: String = self.held.drain(..3).collect();
                    self.emit(&fence);
                    self.code = if self.code == Code::Fenced {
                        Code::Outside
                    } else {
                        Code::Fenced
                    };
                    self.line_is_blank = false;
                }
            }
        }
    }

    fn next_piece(&self, at_end: bool) -> Piece {
        let held = &self.held;
        let undecided = |known: Piece| if at_end { known } else { Piece::Undecided };
        if held[0] == '`' && self.line_is_blank && self.code != Code::Inline {
            let ticks = held.iter().take_while(|c| **c == '`').count();
            if ticks >= 3 {
                return Piece::Fence;
            }
            if ticks == held.len() && !at_end {
                return Piece::Undecided;
            }
        }
        if self.code == Code::Fenced {
            return Piece::Text(1);
        }
        if held[0].is_whitespace() {
            let space = held.iter().take_while(|c| c.is_whitespace()).count();
            if space == held.len() {
                return undecided(Piece::LineEnd(space));
            }
            if held[..space].contains(&'\n') {
                return Piece::LineEnd(space);
            }
        }
        if self.code == Code::Inline {
            return Piece::Text(1);
        }
        match read_marker(held, self.index.num_passages(), at_end) {
            Marker::Found { length, numbers } => return Piece::Marker { length, numbers },
            Marker::Partial => return Piece::Undecided,
            Marker::Absent => {}
        }
        if is_terminator(held[0]) {
            self.sentence_end(at_end)
        } else {
            Piece::Text(1)
        }
    }

    /// Decides whether the full stop at the beginning of the held text ends the sentence.
    fn sentence_end(&self, at_end: bool) -> Piece {
        let held = &self.held;
        let terminators = held
            .iter()
            .take_while(|c| is_terminator(**c) || is_closer(**c))
            .count();
        let mut length = terminators;
        let mut numbers = Vec::new();
        while length < held.len() {
            match read_marker(&held[length..], self.index.num_passages(), at_end) {
                Marker::Found {
                    length: more,
                    numbers: named,
                } => {
                    length += more;
                    numbers.extend(named);
                }
                Marker::Partial => return Piece::Undecided,
                Marker::Absent => break,
            }
        }
        let after = &held[length..];
        if length == held.len() && !at_end {
            return Piece::Undecided;
        }
        let decision = if numbers.is_empty() {
            boundary(&self.sentence.text, &held[..terminators], after, at_end)
        } else {
            Boundary::Yes
        };
        match decision {
            Boundary::Yes => Piece::SentenceEnd {
                terminators,
                length,
                numbers,
            },
            Boundary::No => Piece::Text(1),
            Boundary::NeedMore => Piece::Undecided,
        }
    }

    /// Reads the first `length` held characters as part of the sentence; code in fences is none and is shown.
    fn text(&mut self, length: usize) {
        let text: String = self.held.drain(..length).collect();
        for c in text.chars() {
            match (c, self.code) {
                ('`', Code::Outside) => self.code = Code::Inline,
                ('`' | '\n', Code::Inline) => self.code = Code::Outside,
                _ => {}
            }
            if c == ' ' && self.line_is_blank && self.code == Code::Outside {
                // Behind a marker that began the line.
                continue;
            }
            self.line_is_blank = c == '\n' || (self.line_is_blank && c.is_whitespace());
            if self.code == Code::Fenced {
                self.emit(c.encode_utf8(&mut [0; 4]));
            } else if self.sentence.text.is_empty() && c.is_whitespace() {
                self.sentence.lead.push(c);
            } else {
                self.sentence.text.push(c);
            }
        }
    }

    /// Checks the sentence, then shows it with its markers and its full stop, or withholds it.
    fn close_sentence(&mut self, terminators: &[char]) {
        let sentence = std::mem::take(&mut self.sentence);
        let text: String = sentence.text.iter().collect();
        let stop: String = terminators.iter().collect();
        let verdict = match self.index.check(&text, &sentence.claimed) {
            // A lead-in need not be found, but it must not say what the documents deny.
            Verdict::Supported(_) | Verdict::Unsupported(Doubt::NotFound) if is_lead_in(&text) => {
                Verdict::Nothing
            }
            verdict => verdict,
        };
        // "The price is not mentioned, but it is 500 euros" states a price.
        let denies = denies_answer(&text) && !self.index.adds_number(&text);
        match verdict {
            Verdict::Supported(quotes) => {
                self.checked += 1;
                if self.is_repetition(&quotes) {
                    return;
                }
                self.supported += 1;
                self.show_held_back();
                let shown = self.index.without_unshown_yes(&text, &quotes);
                self.show(&OpenSentence {
                    text: shown.unwrap_or(text).chars().collect(),
                    ..sentence
                });
                // `"It works." [1]` but `It works [1].`
                let behind = terminators.iter().any(|c| is_closer(*c));
                if behind {
                    self.emit(&stop);
                }
                for quote in quotes {
                    let n = self.cite(quote);
                    self.emit(&format!(" [{n}]"));
                }
                if !behind {
                    self.emit(&stop);
                }
            }
            Verdict::Nothing => {
                self.denied |= denies;
                self.show_or_hold(sentence, stop);
            }
            Verdict::Unsupported(Doubt::NotFound) if denies || self.is_open_end(terminators) => {
                self.checked += 1;
                self.denied |= denies;
                self.show_or_hold(sentence, stop);
            }
            Verdict::Unsupported(doubt) => {
                self.checked += 1;
                self.withheld.push(Withheld {
                    text: text + &stop,
                    doubt,
                });
            }
        }
    }

    /// Whether a sentence has no end because the answer broke off: nobody knows what it was going to say. Behind nothing but
    /// withheld statements it is not shown.
    fn is_open_end(&self, terminators: &[char]) -> bool {
        let is_alone = self.answer.citations.is_empty() && !self.withheld.is_empty();
        self.is_broken_off && terminators.is_empty() && !is_alone
    }

    /// Whether a sentence of the second answer has nothing that the first one did not have.
    fn is_repetition(&self, quotes: &[Quote]) -> bool {
        match self.second {
            SecondAnswer::Asked { supported_before } if supported_before > 0 => {
                quotes.iter().all(|quote| self.known(*quote).is_some())
            }
            _ => false,
        }
    }

    /// Shows a sentence that nothing supports and nothing speaks against, or holds it behind a denial.
    fn show_or_hold(&mut self, sentence: OpenSentence, stop: String) {
        if sentence.text.is_empty() && stop.is_empty() {
            return;
        }
        if self.denied && self.answer.citations.is_empty() {
            let gap = std::mem::take(&mut self.gap);
            let held = HeldSentence {
                gap,
                sentence,
                stop,
            };
            self.held_back.push(held);
        } else {
            self.show(&sentence);
            self.emit(&stop);
        }
    }

    /// Shows what was held back.
    fn show_held_back(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        for held in std::mem::take(&mut self.held_back) {
            self.gap = held.gap;
            self.show(&held.sentence);
            self.emit(&held.stop);
        }
        self.gap = gap;
    }

    fn show(&mut self, sentence: &OpenSentence) {
        let text: String = sentence.text.iter().collect();
        if self.gap.is_empty() && self.answer_chars > 0 {
            self.emit(&sentence.lead);
        }
        self.emit(&text);
    }

    /// The number of the citation that has `quote` in it.
    fn known(&self, quote: Quote) -> Option<usize> {
        let holds = |q: &Quote| {
            q.passage_idx == quote.passage_idx
                && q.span.start <= quote.span.start
                && quote.span.end <= q.span.end
        };
        self.quotes.iter().position(holds).map(|at| at + 1)
    }

    /// Returns the number of the citation of `quote`, making it at first use.
    fn cite(&mut self, quote: Quote) -> usize {
        if let Some(known) = self.known(quote) {
            return known;
        }
        self.quotes.push(quote);
        let citation = Citation::of(self.quotes.len(), &self.context[quote.passage_idx], quote);
        self.flush_delta();
        self.events.push(AnswerEvent::Citation(citation.clone()));
        self.answer.citations.push(citation);
        self.quotes.len()
    }

    fn flag(&mut self, start: usize, end: usize) {
        self.flush_delta();
        self.answer.unsupported.push((start, end));
        self.events.push(AnswerEvent::Unsupported { start, end });
    }

    fn emit(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let gap = std::mem::take(&mut self.gap);
        self.delta.push_str(&gap);
        self.answer.text.push_str(&gap);
        self.answer_chars += gap.chars().count();
        self.delta.push_str(text);
        self.answer.text.push_str(text);
        self.answer_chars += text.chars().count();
    }

    fn flush_delta(&mut self) {
        if !self.delta.is_empty() {
            self.events
                .push(AnswerEvent::Delta(std::mem::take(&mut self.delta)));
        }
    }
}

/// Headings and "Here is what I found:" introduce; they claim nothing.
fn is_lead_in(text: &str) -> bool {
    text.starts_with('#') || text.trim_end().ends_with(':')
}
