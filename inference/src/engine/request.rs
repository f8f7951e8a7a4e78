//! A request inside the step loop: what turns its tokens into events.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    alignment::HeldLogprobs,
    event::{EngineError, Event, FinishReason, ScoredToken, Timings, TokenLogprobs, Usage},
};
use crate::{
    sampling::{Choice, Logprobs, RowCandidates, SampleError, Sampler, Wanted},
    sequence::{Priority, SequenceId},
    text::{Detokenizer, StopMatcher, Tokenizer},
};

/// A request as it crosses from the handle to the step loop.
pub(super) struct Submission {
    pub id: SequenceId,
    pub prompt: Vec<u32>,
    pub sampler: Sampler,
    pub limits: Limits,
    pub priority: Priority,
    /// Unbounded, but the sender stops after `max_tokens` events.
    pub events: UnboundedSender<Event>,
    pub cancelled: Arc<AtomicBool>,
    pub submitted: Instant,
}

/// Where an answer ends.
pub(super) struct Limits {
    pub max_tokens: usize,
    pub stop: Vec<String>,
    pub ignore_eos: bool,
}

/// What is known of the logits of a request's next token.
pub(super) enum Seen<'a> {
    Row(&'a [f32]),
    Candidates(RowCandidates<'a>),
    Largest(u32),
}

/// What came of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advance {
    /// The token to continue with.
    Token(u32),
    /// The request has ended and waits for [`Request::send_last`].
    Ended,
    /// Nothing yet: the candidates do not suffice.
    NeedsRow,
}

/// State of an accepted request besides its [`crate::sequence::Sequence`].
pub(super) struct Request {
    sampler: Sampler,
    detokenizer: Detokenizer,
    stops: StopMatcher,
    events: UnboundedSender<Event>,
    cancelled: Arc<AtomicBool>,
    max_tokens: usize,
    ignore_eos: bool,
    usage: Usage,
    /// Tokens since the last event.
    unsent: Vec<u32>,
    logprobs: HeldLogprobs,
    /// The last event, held until the request's blocks are free: who sees the end may count on that.
    last: Option<Event>,
    submitted: Instant,
    started: Option<Instant>,
    first_token: Option<Instant>,
}

impl Request {
    pub fn new(submission: Submission, tokenizer: &Tokenizer) -> Self {
        let Submission {
            prompt,
            sampler,
            limits,
            events,
            cancelled,
            submitted,
            ..
        } = submission;
        Self {
            detokenizer: Detokenizer::after(tokenizer, &prompt),
            stops: StopMatcher::new(&limits.stop),
            max_tokens: limits.max_tokens,
            ignore_eos: limits.ignore_eos,
            usage: Usage {
                prompt_tokens: prompt.len(),
                completion_tokens: 0,
            },
            sampler,
            events,
            cancelled,
            unsent: Vec::new(),
            logprobs: HeldLogprobs::default(),
            last: None,
            submitted,
            started: None,
            first_token: None,
        }
    }

    /// Whether nobody listens any more.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || self.events.is_closed()
    }

    /// Returns when the first step of the request was.
    pub fn started(&self) -> Option<Instant> {
        self.started
    }

    /// Marks the first step of the request.
    pub fn start(&mut self, now: Instant) {
        self.started.get_or_insert(now);
    }

    /// Chooses the next token from what is known of its logits over the vocabulary, and sends what became certain.
    pub fn advance(&mut self, seen: Seen<'_>, tokenizer: &Tokenizer, is_full: bool) -> Advance {
        let choice = match seen {
            Seen::Row(logits) => self.sampler.sample(logits).map(Some),
            Seen::Candidates(candidates) => self.sampler.sample_candidates(candidates),
            Seen::Largest(token) => Ok(Some(Choice {
                token,
                logprobs: None,
            })),
        };
        match choice {
            Ok(Some(choice)) => match self.take(choice, tokenizer, is_full) {
                Some(token) => Advance::Token(token),
                None => Advance::Ended,
            },
            Ok(None) => Advance::NeedsRow,
            Err(error) => {
                self.fail(error.into());
                Advance::Ended
            }
        }
    }

    /// What the next token depends on.
    pub fn wanted(&self) -> Wanted {
        self.sampler.wanted()
    }

    /// Returns the token to continue with, or `None` when the request has ended.
    fn take(&mut self, choice: Choice, tokenizer: &Tokenizer, is_full: bool) -> Option<u32> {
        let token = choice.token;
        let now = Instant::now();
        self.first_token.get_or_insert(now);
        if !self.ignore_eos && tokenizer.eos_ids().contains(&token) {
            self.finish(FinishReason::Stop, now);
            return None;
        }
        self.usage.completion_tokens += 1;
        self.unsent.push(token);
        let text = self.detokenizer.push(tokenizer, token);
        let logprobs = choice
            .logprobs
            .map(|logprobs| with_bytes(tokenizer, token, logprobs));
        self.logprobs.push(logprobs, text.len());
        let outcome = self.stops.push(&text);
        if outcome.stopped {
            let logprobs = self.logprobs.release(outcome.emit.len());
            self.send(outcome.emit, logprobs);
            self.set_finished(FinishReason::Stop, now);
            return None;
        }
        let is_last = self.usage.completion_tokens >= self.max_tokens || is_full;
        if !outcome.emit.is_empty() || is_last {
            let logprobs = self.logprobs.release(outcome.emit.len());
            self.send(outcome.emit, logprobs);
        }
        if is_last {
            self.finish(FinishReason::Length, now);
            return None;
        }
        Some(token)
    }

    /// Ends the request with a failure.
    pub fn fail(&mut self, error: EngineError) {
        self.last = Some(Event::Failed(error));
    }

    /// Sends the last event; a cancelled request has none.
    pub fn send_last(self) {
        if let Some(event) = self.last {
            // A closed channel means that nobody wants to know.
            let _ = self.events.send(event);
        }
    }

    /// Sends the text that was held back and ends the request.
    fn finish(&mut self, reason: FinishReason, now: Instant) {
        let outcome = self.stops.push(&self.detokenizer.finish());
        let mut rest = outcome.emit;
        let logprobs = if outcome.stopped {
            self.logprobs.release(rest.len())
        } else {
            rest.push_str(&self.stops.finish());
            self.logprobs.release_all()
        };
        if !rest.is_empty() || !self.unsent.is_empty() || !logprobs.is_empty() {
            self.send(rest, logprobs);
        }
        self.set_finished(reason, now);
    }

    fn send(&mut self, text: String, logprobs: Vec<TokenLogprobs>) {
        let tokens = std::mem::take(&mut self.unsent);
        let _ = self.events.send(Event::Delta {
            text,
            tokens,
            logprobs,
        });
    }

    fn set_finished(&mut self, reason: FinishReason, now: Instant) {
        let started = self.started.unwrap_or(now);
        let first_token = self.first_token.unwrap_or(now);
        let ms =
            |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1e3;
        let timings = Timings {
            queue_ms: ms(self.submitted, started),
            prefill_ms: ms(started, first_token),
            decode_ms: ms(first_token, now),
        };
        self.last = Some(Event::Finished {
            reason,
            usage: self.usage,
            timings,
        });
    }
}

impl From<SampleError> for EngineError {
    fn from(error: SampleError) -> Self {
        match error {
            SampleError::InvalidLogits => EngineError::InvalidLogits,
            SampleError::NothingLeft => EngineError::NothingLeft,
        }
    }
}

fn with_bytes(tokenizer: &Tokenizer, token: u32, logprobs: Logprobs) -> TokenLogprobs {
    let scored = |id: u32, logprob: f32| {
        let name = tokenizer
            .token_text(id)
            .filter(|_| tokenizer.is_control(id));
        let bytes = name.map_or(tokenizer.token_bytes(id), str::as_bytes);
        ScoredToken {
            id,
            bytes: bytes.to_vec(),
            logprob,
        }
    };
    TokenLogprobs {
        chosen: scored(token, logprobs.chosen),
        top: logprobs
            .top
            .into_iter()
            .map(|(id, logprob)| scored(id, logprob))
            .collect(),
    }
}
