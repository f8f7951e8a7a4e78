//! Several answers to one request, of one or several prompts: as many generations, followed as one stream.

use std::pin::Pin;

use futures_util::{Stream, StreamExt, stream};
use inference::{Event, Priority, SamplingParams};

use super::super::error::Failure;
use crate::model::{LanguageModel, ModelError};

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

/// Starts `n` answers to each prompt: answer `i` to prompt `p` has the index `p * n + i`. When one cannot start, those that
/// did are cancelled.
///
/// # Errors
/// That of the model.
pub(super) fn start_answers(
    model: &dyn LanguageModel,
    prompts: &[Vec<u32>],
    n: usize,
    sampling: &SamplingParams,
) -> Result<AnswerStream, ModelError> {
    let mut answers = Vec::with_capacity(prompts.len() * n);
    for prompt in prompts {
        for answer in 0..n {
            let sampling = SamplingParams {
                answer_idx: answer as u64,
                ..sampling.clone()
            };
            let stream = model.generate(prompt.clone(), sampling, Priority::Api)?;
            let index = answers.len();
            answers.push(stream.map(move |event| (index, event)));
        }
    }
    Ok(Box::pin(stream::select_all(answers)))
}
