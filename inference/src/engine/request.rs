//! A request inside the step loop: what turns its tokens into events.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::sync::mpsc::UnboundedSender;

use super::event::{EngineError, Event, FinishReason, Timings, Usage};
use crate::{
    sampling::{Sampler, SamplingParams},
    sequence::{Priority, SequenceId},
    text::{Detokenizer, StopMatcher, Tokenizer},
};

/// A request as it crosses from the handle to the step loop.
pub(super) struct Submission {
    pub id: SequenceId,
    pub prompt: Vec<u32>,
    pub sampling: SamplingParams,
    pub priority: Priority,
    /// Unbounded, but the sender stops after `max_tokens` events.
    pub events: UnboundedSender<Event>,
    pub cancelled: Arc<AtomicBool>,
    pub submitted: Instant,
    pub entropy: u64,
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
    /// Tokens whose text has not been sent.
    unsent: Vec<u32>,
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
            sampling,
            events,
            cancelled,
            submitted,
            entropy,
            ..
        } = submission;
        Self {
            detokenizer: Detokenizer::after(tokenizer, &prompt),
            stops: StopMatcher::new(&sampling.stop),
            max_tokens: sampling.max_tokens,
            ignore_eos: sampling.ignore_eos,
            usage: Usage {
                prompt_tokens: prompt.len(),
                completion_tokens: 0,
            },
            sampler: Sampler::new(sampling, &prompt, entropy),
            events,
            cancelled,
            unsent: Vec::new(),
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

    /// Chooses the next token from the logits over the vocabulary and sends what became certain.
    ///
    /// Returns the token to continue with, or `None` when the request has ended and waits for [`Self::send_last`].
    pub fn advance(&mut self, logits: &[f32], tokenizer: &Tokenizer, is_full: bool) -> Option<u32> {
        let Ok(token) = self.sampler.sample(logits) else {
            self.fail(EngineError::InvalidLogits);
            return None;
        };
        let now = Instant::now();
        self.first_token.get_or_insert(now);
        if !self.ignore_eos && tokenizer.eos_ids().contains(&token) {
            self.finish(FinishReason::Stop, now);
            return None;
        }
        self.usage.completion_tokens += 1;
        self.unsent.push(token);
        let text = self.detokenizer.push(tokenizer, token);
        let outcome = self.stops.push(&text);
        if outcome.stopped {
            self.send(outcome.emit);
            self.set_finished(FinishReason::Stop, now);
            return None;
        }
        if self.usage.completion_tokens >= self.max_tokens || is_full {
            self.send(outcome.emit);
            self.finish(FinishReason::Length, now);
            return None;
        }
        if !outcome.emit.is_empty() {
            self.send(outcome.emit);
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
        if !outcome.stopped {
            rest.push_str(&self.stops.finish());
        }
        if !rest.is_empty() || !self.unsent.is_empty() {
            self.send(rest);
        }
        self.set_finished(reason, now);
    }

    fn send(&mut self, text: String) {
        let tokens = std::mem::take(&mut self.unsent);
        let _ = self.events.send(Event::Delta { text, tokens });
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
