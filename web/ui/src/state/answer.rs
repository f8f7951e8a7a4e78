//! An answer on screen, folded together from its events. Pure: no network, no signals.
//!
//! The server numbers events from 1 and repeats the tail after a break, so an event whose number was seen is ignored:
//! folding the same stream twice, or from any point again, gives the same answer. An answer that is met while it runs
//! starts empty and is folded from its first event; a stored answer is taken as it is.

use web_api::{AnswerEvent, AnswerMode, AnswerStatus, Citation, Message, Source, Span};

use crate::markdown::{AnswerMarks, marker_numbers};

/// One answer on screen.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerView {
    /// The question and the answer so far.
    pub message: Message,
    /// What is going on, e.g. `Searching 2 collections`; empty when nothing is to be said.
    pub activity: String,
    /// Number of the last event that was folded in.
    pub last_event: u64,
    /// Whether the connection broke and the page tries again.
    pub reconnecting: bool,
}

impl AnswerView {
    /// A message as the server stores it. A running one starts empty: its events are sent from the first.
    pub fn from_message(mut message: Message) -> Self {
        let mut activity = String::new();
        if message.status == AnswerStatus::Running {
            message.answer.clear();
            message.citations.clear();
            message.unsupported.clear();
            message.sources.clear();
            activity.push_str("Starting");
        }
        AnswerView {
            message,
            activity,
            last_event: 0,
            reconnecting: false,
        }
    }

    /// Folds in one event. Events that were seen, and events after the end, change nothing.
    ///
    /// The last event counts whatever its number: for an answer that ended long ago the server sends it alone.
    pub fn apply(&mut self, number: u64, event: AnswerEvent) {
        let seen = number <= self.last_event && !event.is_last();
        if seen || !self.is_running() {
            return;
        }
        self.last_event = self.last_event.max(number);
        self.reconnecting = false;
        match event {
            AnswerEvent::Status { text } => self.activity = text,
            AnswerEvent::Sources { passages } => self.message.sources = passages,
            AnswerEvent::Delta { text } => self.message.answer.push_str(&text),
            AnswerEvent::Citation { citation } => self.message.citations.push(citation),
            AnswerEvent::Unsupported { start, end } => {
                self.message.unsupported.push(Span { start, end });
            }
            AnswerEvent::Done { message } => {
                self.message = *message;
                self.activity.clear();
                if self.message.status == AnswerStatus::Running {
                    // `done` is the last word even if the stored row says otherwise.
                    self.message.status = AnswerStatus::Done;
                }
            }
            AnswerEvent::Error { message } => self.fail(message),
        }
    }

    /// Ends the answer with a reason; the text so far stays.
    pub fn fail(&mut self, reason: String) {
        self.message.status = AnswerStatus::Failed;
        self.message.error = Some(reason);
        self.activity.clear();
        self.reconnecting = false;
    }

    /// Whether more is to come.
    pub fn is_running(&self) -> bool {
        self.message.status == AnswerStatus::Running
    }

    /// What the renderer needs to know.
    pub fn marks(&self) -> AnswerMarks {
        let mut numbers: Vec<(usize, String)> = Vec::new();
        let cited = self
            .message
            .citations
            .iter()
            .map(|citation| (citation.n, place(&citation.title, citation.page)));
        let found = self
            .message
            .sources
            .iter()
            .map(|source| (source.n, place(&source.title, source.page)));
        for (n, label) in cited.chain(found) {
            if numbers.iter().all(|(known, _)| *known != n) {
                numbers.push((n, label));
            }
        }
        let ours = self.message.refused && self.message.model.is_none();
        AnswerMarks {
            sources: numbers,
            unsupported: self.message.unsupported.clone(),
            verbatim: ours || self.message.mode == AnswerMode::QuoteOnly,
            quotes: self
                .message
                .citations
                .iter()
                .map(|citation| citation.quote.clone())
                .collect(),
        }
    }

    /// What the `mark`-th button of the text points to: the k-th marker of a number opens that number's k-th quote (or
    /// its last one), and without a verified quote the passage of that number.
    pub fn target_of_mark(&self, mark: usize) -> Option<Target> {
        let marks = self.marks();
        let known: Vec<usize> = marker_numbers(&self.message.answer)
            .into_iter()
            .filter(|n| marks.sources.iter().any(|(number, _)| number == n))
            .collect();
        let n = *known.get(mark)?;
        let nth = known[..mark].iter().filter(|number| **number == n).count();
        let targets = self.targets();
        let same: Vec<&Target> = targets.iter().filter(|target| target.n == n).collect();
        same.get(nth)
            .or(same.last())
            .map(|target| (*target).clone())
    }

    /// Everything the panel can show, in order: verified quotes, then passages whose number is in the text but has none.
    pub fn targets(&self) -> Vec<Target> {
        let mut targets: Vec<Target> = self.message.citations.iter().map(Target::quote).collect();
        let numbers = marker_numbers(&self.message.answer);
        for source in &self.message.sources {
            let quoted = targets.iter().any(|target| target.n == source.n);
            if !quoted && (self.message.refused || numbers.contains(&source.n)) {
                targets.push(Target::passage(source));
            }
        }
        targets
    }
}

/// `Handbook, page 3`.
pub fn place(title: &str, page: Option<u32>) -> String {
    match page {
        Some(page) => format!("{title}, page {page}"),
        None => title.to_owned(),
    }
}

/// A place in a document that the panel can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Number in the answer.
    pub n: usize,
    /// The document.
    pub document: i64,
    /// Title of the document.
    pub title: String,
    /// Path of the document.
    pub path: String,
    /// Page, where the format has pages.
    pub page: Option<u32>,
    /// Chars of the document text.
    pub span: Span,
    /// The verified quote, or the beginning of the passage.
    pub text: String,
    /// Whether `text` is a quote that was found in the document: only then it is highlighted.
    pub verified: bool,
}

impl Target {
    /// A verified quote.
    pub fn quote(citation: &Citation) -> Self {
        Target {
            n: citation.n,
            document: citation.document,
            title: citation.title.clone(),
            path: citation.path.clone(),
            page: citation.page,
            span: Span {
                start: citation.start,
                end: citation.end,
            },
            text: citation.quote.clone(),
            verified: true,
        }
    }

    /// A passage that was found, without a checked quote.
    pub fn passage(source: &Source) -> Self {
        Target {
            n: source.n,
            document: source.document,
            title: source.title.clone(),
            path: source.path.clone(),
            page: source.page,
            span: Span {
                start: source.start,
                end: source.end,
            },
            text: source.snippet.clone(),
            verified: false,
        }
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
