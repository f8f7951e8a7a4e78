//! Several answers to one request: as many generations, followed as one stream.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use inference::{Event, SamplingParams};

use super::super::error::Failure;
use crate::model::{ModelError, ModelStream};

/// Answers of one request. Each takes a place in the queue and keys and values of its own for the same prompt.
const MOST_ANSWERS: usize = 8;

/// Events of all answers, each with the answer's index. Dropping it cancels them all.
pub(super) type AnswerStream = Pin<Box<dyn Stream<Item = (usize, Event)> + Send>>;

/// Returns how many answers are asked for.
///
/// # Errors
/// 400 naming `n`.
pub(super) fn num_answers(n: Option<usize>) -> Result<usize, Failure> {
    match n.unwrap_or(1) {
        n if (1..=MOST_ANSWERS).contains(&n) => Ok(n),
        n => Err(Failure::invalid_param(
            "n",
            format!("n must be between 1 and {MOST_ANSWERS}; it is {n}."),
        )),
    }
}

/// Starts `n` answers. When one cannot start, those that did are cancelled.
///
/// # Errors
/// That of `start`.
pub(super) fn start_answers(
    n: usize,
    sampling: &SamplingParams,
    start: impl Fn(SamplingParams) -> Result<ModelStream, ModelError>,
) -> Result<AnswerStream, ModelError> {
    let mut answers = Vec::with_capacity(n);
    for index in 0..n {
        let stream = start(SamplingParams {
            answer_idx: index as u64,
            ..sampling.clone()
        })?;
        answers.push(stream.map(move |event| (index, event)));
    }
    Ok(Box::pin(stream::select_all(answers)))
}
