//! Several answers to one request, of one or several prompts: as many generations, followed as one stream.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt, future, stream};
use inference::{Event, Priority, SamplingParams};

use super::super::error::Failure;
use crate::blocking::join;
use crate::model::{LanguageModel, ModelError};

/// Answers of one request. Each takes a place in the queue and keys and values of its own for the same prompt.
const MOST_ANSWERS: usize = 8;

/// An answer whose turn has come waits so long for a place in the queue, which others may have filled meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// What happens in the answers, each with its index; an error is that of one that could not start. Dropping it cancels them all.
pub(super) type AnswerStream =
    Pin<Box<dyn Stream<Item = (usize, Result<Event, ModelError>)> + Send>>;

/// What is to be written.
pub(super) struct Wanted {
    pub prompts: Vec<Vec<u32>>,
    /// Answers to each prompt.
    pub n: usize,
    pub sampling: SamplingParams,
    /// Answers that are written at once; the others follow one after another.
    pub at_once: usize,
}

/// Returns how many answers are asked for.
///
/// # Errors
/// 400 naming `n`.
pub(super) fn num_answers(n: Option<i64>) -> Result<usize, Failure> {
    let n = n.unwrap_or(1);
    match usize::try_from(n) {
        Ok(n) if (1..=MOST_ANSWERS).contains(&n) => Ok(n),
        _ => Err(Failure::invalid_param(
            "n",
            format!("n must be between 1 and {MOST_ANSWERS}; it is {n}."),
        )),
    }
}

/// Starts the answers: number `i` to prompt `p` has the index `p * n + i`. When one of the first cannot start, those that did are
/// cancelled. Blocking.
///
/// # Errors
/// That of the model.
pub(super) fn start_answers(
    model: Arc<dyn LanguageModel>,
    wanted: Wanted,
) -> Result<AnswerStream, ModelError> {
    let Wanted {
        prompts,
        n,
        sampling,
        at_once,
    } = wanted;
    let of_prompt = |prompt: Vec<u32>| (0..n).map(move |answer| (prompt.clone(), answer));
    let answers = prompts.into_iter().flat_map(of_prompt).enumerate();
    let answers = answers.map(|(index, (prompt, answer))| Answer {
        index,
        prompt,
        sampling: SamplingParams {
            answer_idx: answer as u64,
            ..sampling.clone()
        },
    });
    let mut first: Vec<Answer> = answers.collect();
    let later = first.split_off(at_once.min(first.len()));
    let started = first.into_iter().map(|answer| answer.start(&*model));
    let started: Vec<AnswerStream> = started.collect::<Result<_, _>>()?;
    let later = stream::iter(later).then(move |answer| answer.start_later(Arc::clone(&model)));
    let all = stream::iter(started).chain(later);
    Ok(Box::pin(all.flatten_unordered(at_once)))
}

/// One that is to be written.
#[derive(Clone)]
struct Answer {
    index: usize,
    prompt: Vec<u32>,
    sampling: SamplingParams,
}

impl Answer {
    fn start(self, model: &dyn LanguageModel) -> Result<AnswerStream, ModelError> {
        let index = self.index;
        let events = model.generate(self.prompt, self.sampling, Priority::Api)?;
        Ok(Box::pin(events.map(move |event| (index, Ok(event)))))
    }

    /// Starts when its turn has come.
    async fn start_later(self, model: Arc<dyn LanguageModel>) -> AnswerStream {
        let since = Instant::now();
        loop {
            let (answer, model) = (self.clone(), Arc::clone(&model));
            let started = tokio::task::spawn_blocking(move || answer.start(&*model));
            match join(started.await) {
                Ok(events) => return events,
                Err(ModelError::Overloaded { .. }) if since.elapsed() < LONGEST_WAIT => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    let failed = (self.index, Err(error));
                    return Box::pin(stream::once(future::ready(failed)));
                }
            }
        }
    }
}
