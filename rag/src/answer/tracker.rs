//! The answer while it is written: characters in, checked text out.
//!
//! The stream is read one character at a time, so how it was cut into deltas cannot change the result. Text leaves at
//! once; held back are only white space, what may be the beginning of a marker, and full stops until it is known
//! whether they end the sentence. The model's own markers never leave: at the end of each sentence the quote check
//! decides which citation it gets, and a model's marker only breaks near ties.
//!
//! Citations are numbered in order of first appearance, one number per quote, so that `[n]` always stands for
//! exactly one highlighted piece of text.
//!
//! Code (fenced or in back quotes) passes untouched and unchecked.

use std::collections::BTreeSet;

use super::{
    Answer, AnswerEvent, Citation,
    marker::{Marker, read_marker},
    phrases::denies_answer,
    support::{Quote, QuoteIndex, Verdict},
};
use crate::{
    context::ContextPassage,
    extractive::{best_sentences, on_one_line},
    sentence::{Boundary, boundary, is_closer, is_terminator},
};

/// Shown when the model stops without a word.
const EMPTY_ANSWER: &str = "The documents do not seem to answer this question.";

/// Stands before the sentence that replaces an unsupported answer.
const CLOSEST: &str = "The closest passage says: ";

/// Share of the weight of the question's terms that such a sentence must have.
const MIN_CLOSEST_COVERAGE: f32 = 0.3;

/// Checks an answer while it streams.
#[derive(Debug)]
pub struct AnswerTracker {
    question: String,
    context: Vec<ContextPassage>,
    index: QuoteIndex,
    /// Read but not yet decided.
    held: Vec<char>,
    code: Code,
    /// Only white space since the last line break.
    line_is_blank: bool,
    sentence: OpenSentence,
    answer: Answer,
    answer_chars: usize,
    /// Quotes in order of `Citation::n`.
    quotes: Vec<Quote>,
    denied: bool,
    checked: usize,
    /// The text ended before the model did, so nobody knows what its last sentence was going to say.
    is_broken_off: bool,
    events: Vec<AnswerEvent>,
    delta: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Outside,
    Inline,
    Fenced,
}

/// The sentence that is being written.
#[derive(Debug, Default)]
struct OpenSentence {
    text: Vec<char>,
    /// Where it began in the answer, in characters.
    start: usize,
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
        Self {
            question: question.to_owned(),
            context,
            index,
            held: Vec::new(),
            code: Code::Outside,
            line_is_blank: true,
            sentence: OpenSentence::default(),
            answer: Answer::default(),
            answer_chars: 0,
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

    /// Ends the answer: the last events and the whole answer, whose text is the deltas joined.
    pub fn finish(mut self) -> (Vec<AnswerEvent>, Answer) {
        self.read_held(true);
        self.close_sentence(&[]);
        if self.answer.text.trim().is_empty() {
            self.emit(EMPTY_ANSWER);
            self.denied = true;
        }
        if self.answer.citations.is_empty() {
            if self.denied {
                self.answer.refused = true;
            } else {
                if self.checked == 0 && self.index.num_passages() > 0 {
                    self.flag(0, self.answer_chars);
                }
                self.add_closest_sentence();
            }
        }
        self.flush_delta();
        (self.events, self.answer)
    }

    /// Ends an answer that was stopped, or failed half way: as [`AnswerTracker::finish`], but the last sentence is
    /// cited when it is supported and not flagged when it is not, and nothing is added to what the model wrote.
    pub fn break_off(mut self) -> (Vec<AnswerEvent>, Answer) {
        self.is_broken_off = true;
        self.read_held(true);
        self.close_sentence(&[]);
        self.answer.refused = self.denied && self.answer.citations.is_empty();
        self.flush_delta();
        (self.events, self.answer)
    }

    /// Nothing of the model's answer is supported: the reader gets the closest sentence of the documents, verbatim.
    fn add_closest_sentence(&mut self) {
        let closest = best_sentences(&self.question, &self.index, &self.context)
            .into_iter()
            .next();
        let Some((_, sentence)) = closest.filter(|(_, s)| s.inside >= MIN_CLOSEST_COVERAGE) else {
            return;
        };
        let passage = &self.context[sentence.quote.passage_idx];
        let quote = make_citation(1, passage, sentence.quote).quote;
        self.emit(&format!("\n\n{CLOSEST}{}", on_one_line(&quote)));
        let n = self.cite(sentence.quote);
        self.emit(&format!(" [{n}]"));
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
                    let space: String = self.held.drain(..length).collect();
                    if self.answer_chars > 0 && !(at_end && self.held.is_empty()) {
                        self.emit(&space);
                    }
                    self.line_is_blank = true;
                }
                Piece::Fence => {
                    self.close_sentence(&[]);
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

    /// Shows the first `length` held characters as part of the sentence.
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
            self.emit(c.encode_utf8(&mut [0; 4]));
            if self.code == Code::Fenced {
                continue;
            }
            if self.sentence.text.is_empty() {
                if c.is_whitespace() {
                    continue;
                }
                self.sentence.start = self.answer_chars - 1;
            }
            self.sentence.text.push(c);
        }
    }

    /// Checks the sentence, then shows its markers and its full stop.
    fn close_sentence(&mut self, terminators: &[char]) {
        let sentence = std::mem::take(&mut self.sentence);
        let text: String = sentence.text.iter().collect();
        let stop: String = terminators.iter().collect();
        let verdict = if is_lead_in(&text) {
            Verdict::Nothing
        } else {
            self.index.check(&text, &sentence.claimed)
        };
        match verdict {
            Verdict::Supported(quotes) => {
                self.checked += 1;
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
                self.denied |= denies_answer(&text);
                self.emit(&stop);
            }
            Verdict::Unsupported => {
                self.checked += 1;
                self.emit(&stop);
                if denies_answer(&text) {
                    self.denied = true;
                } else if !self.is_broken_off {
                    self.flag(sentence.start, self.answer_chars);
                }
            }
        }
    }

    /// Returns the number of the citation of `quote`, making it at first use.
    fn cite(&mut self, quote: Quote) -> usize {
        let known = self.quotes.iter().position(|q| {
            q.passage_idx == quote.passage_idx
                && q.span.start <= quote.span.start
                && quote.span.end <= q.span.end
        });
        if let Some(known) = known {
            return known + 1;
        }
        self.quotes.push(quote);
        let citation = make_citation(self.quotes.len(), &self.context[quote.passage_idx], quote);
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

/// The citation of a quote: verbatim text, its place in the document, its page.
pub(crate) fn make_citation(n: usize, passage: &ContextPassage, quote: Quote) -> Citation {
    let length = quote.span.end - quote.span.start;
    let start = passage.start + quote.span.start;
    Citation {
        n,
        document: passage.hit.document,
        path: passage.hit.path.clone(),
        title: passage.hit.title.clone(),
        page: passage.page_at(start),
        quote: passage
            .text
            .chars()
            .skip(quote.span.start)
            .take(length)
            .collect(),
        start,
        end: start + length,
    }
}

/// Headings and "Here is what I found:" introduce; they claim nothing.
fn is_lead_in(text: &str) -> bool {
    text.starts_with('#') || text.trim_end().ends_with(':')
}
