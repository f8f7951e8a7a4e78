//! From logits to the next token: parameters, the single steps, and the sampler that applies them in order.
//!
//! A *candidate* is a token that may still be chosen, with its logit. Each step is a small function or state of its
//! own over logits or candidates; [`Sampler`] owns the order and all buffers. The order is llama.cpp's default:
//!
//! 1. the logits must be numbers; the *logprobs* that a request asked for are taken from them as they are;
//! 2. [`bias`]: logit bias; [`banned`]: tokens that would complete a banned string or sequence;
//! 3. [`penalties`]: repetition, presence, frequency; [`dry`]: continued repetitions;
//! 4. [`truncation`]: top-n-sigma, top-k, typical, top-p, min-p; [`xtc`];
//! 5. temperature, then the [`draw`]; with [`mirostat`] it replaces step 4, after the temperature.
//!
//! At temperature 0 the best token after step 3 is taken, and of equals the one with the lowest id.
//!
//! A device that computes logits need not send them: it chooses the [`RowCandidates`], some hundred tokens, and [`partial`] says for
//! each step whether what it leaves is certain beside the [`rest`]; if not, the sampler asks for the row. Either way a request has
//! the same answer: few candidates are drawn from in the order of their logits, wherever they come from.
//!
//! The random numbers belong to the sequence, so its answer does not depend on what else is in the batch.
//! Absent on purpose: tensors, channels, the tokenizer (see [`Vocabulary`]).

mod adjust;
mod banned;
mod bias;
mod candidates;
mod draw;
mod dry;
mod logprobs;
mod mirostat;
mod params;
mod partial;
mod penalties;
mod rest;
mod row_candidates;
mod sampler;
mod truncation;
mod vocabulary;
mod xtc;

#[cfg(test)]
mod tests;

pub use candidates::{Candidate, argmax};
pub use logprobs::Logprobs;
pub use params::{Dry, InvalidSampling, MOST_TOP_LOGPROBS, Mirostat, SamplingParams};
pub use row_candidates::{ROW_CANDIDATES, RowCandidates};
pub use sampler::{Choice, SampleError, Sampler, Wanted};
pub use vocabulary::Vocabulary;
