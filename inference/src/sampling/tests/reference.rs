//! Every step once more, as slow and as close to its definition as possible, in f64.

use super::super::{Dry, SamplingParams, Vocabulary};

/// The tokens that are left, with their logits, in the order of their ids.
pub type Kept = Vec<(u32, f64)>;

pub fn all(logits: &[f32]) -> Kept {
    let numbered = logits.iter().zip(0..);
    numbered
        .filter(|(logit, _)| logit.is_finite())
        .map(|(&logit, id)| (id, f64::from(logit)))
        .collect()
}

/// Probability of each kept token.
pub fn softmax(kept: &Kept) -> Vec<f64> {
    let largest = kept
        .iter()
        .map(|token| token.1)
        .fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = kept.iter().map(|token| (token.1 - largest).exp()).sum();
    kept.iter()
        .map(|token| (token.1 - largest).exp() / total)
        .collect()
}

fn keep(kept: &Kept, mut ids: Vec<u32>) -> Kept {
    ids.sort_unstable();
    kept.iter()
        .filter(|token| ids.binary_search(&token.0).is_ok())
        .copied()
        .collect()
}

/// Ids with their probabilities, most probable first.
fn ranked(kept: &Kept) -> Vec<(u32, f64)> {
    let mut ranked: Vec<(u32, f64)> = kept
        .iter()
        .map(|token| token.0)
        .zip(softmax(kept))
        .collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked
}

pub fn top_k(kept: &Kept, k: usize) -> Kept {
    let k = if k == 0 { kept.len() } else { k };
    keep(
        kept,
        ranked(kept).iter().take(k).map(|token| token.0).collect(),
    )
}

pub fn top_p(kept: &Kept, p: f32) -> Kept {
    let (mut ids, mut sum) = (Vec::new(), 0.0);
    for (id, probability) in ranked(kept) {
        ids.push(id);
        sum += probability;
        if p < 1.0 && sum >= f64::from(p) {
            break;
        }
    }
    keep(kept, ids)
}

pub fn min_p(kept: &Kept, p: f32) -> Kept {
    let ranked = ranked(kept);
    let bound = f64::from(p) * ranked[0].1;
    keep(
        kept,
        ranked
            .iter()
            .filter(|token| token.1 >= bound)
            .map(|token| token.0)
            .collect(),
    )
}

pub fn typical(kept: &Kept, p: f32) -> Kept {
    let ranked = ranked(kept);
    let entropy: f64 = ranked
        .iter()
        .filter(|token| token.1 > 0.0)
        .map(|token| -token.1 * token.1.ln())
        .sum();
    let mut by_distance: Vec<(f64, u32, f64)> = ranked
        .iter()
        .map(|&(id, probability)| ((-probability.ln() - entropy).abs(), id, probability))
        .collect();
    by_distance.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut ids, mut sum) = (Vec::new(), 0.0);
    for (_, id, probability) in by_distance {
        ids.push(id);
        sum += probability;
        if p < 1.0 && sum > f64::from(p) {
            break;
        }
    }
    keep(kept, ids)
}

pub fn top_n_sigma(kept: &Kept, n: f32) -> Kept {
    if n == 0.0 {
        return kept.clone();
    }
    let count = kept.len() as f64;
    let mean = kept.iter().map(|token| token.1).sum::<f64>() / count;
    let deviation = (kept
        .iter()
        .map(|token| (token.1 - mean).powi(2))
        .sum::<f64>()
        / count)
        .sqrt();
    let largest = kept
        .iter()
        .map(|token| token.1)
        .fold(f64::NEG_INFINITY, f64::max);
    kept.iter()
        .filter(|token| token.1 >= largest - f64::from(n) * deviation)
        .copied()
        .collect()
}

pub fn xtc(kept: &Kept, threshold: f32) -> Kept {
    let mut ranked = ranked(kept);
    let tops = ranked
        .iter()
        .filter(|token| token.1 >= f64::from(threshold))
        .count();
    ranked.drain(..tops.saturating_sub(1));
    keep(kept, ranked.iter().map(|token| token.0).collect())
}

/// The candidates at most `bound` bits surprising, at least the best.
pub fn less_surprising(kept: &Kept, bound: f32) -> Kept {
    let ranked = ranked(kept);
    let mut ids: Vec<u32> = ranked
        .iter()
        .filter(|token| -token.1.log2() <= f64::from(bound))
        .map(|token| token.0)
        .collect();
    if ids.is_empty() {
        ids.push(ranked[0].0);
    }
    keep(kept, ids)
}

pub fn temperature(kept: &Kept, temperature: f32) -> Kept {
    kept.iter()
        .map(|token| (token.0, token.1 / f64::from(temperature)))
        .collect()
}

/// Bias, bans, penalties and DRY for an answer that continues `prompt` and so far is `answer`.
pub fn adjusted(
    logits: &[f32],
    params: &SamplingParams,
    prompt: &[u32],
    answer: &[u32],
    vocabulary: &Vocabulary,
) -> Vec<f32> {
    let mut logits = logits.to_vec();
    for &(id, bias) in &params.logit_bias {
        logits[id as usize] += if bias == -100.0 {
            f32::NEG_INFINITY
        } else {
            bias
        };
    }
    for id in 0..logits.len() as u32 {
        if completes_a_ban(params, answer, id, vocabulary) {
            logits[id as usize] = f32::NEG_INFINITY;
        }
    }
    penalise(&mut logits, params, prompt, answer);
    let history = [prompt, answer].concat();
    for id in 0..logits.len() as u32 {
        logits[id as usize] -= dry_penalty(&params.dry, &history, id, vocabulary);
    }
    logits
}

fn text(tokens: &[u32], vocabulary: &Vocabulary) -> Vec<u8> {
    tokens
        .iter()
        .flat_map(|&id| vocabulary.bytes(id))
        .copied()
        .collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn completes_a_ban(
    params: &SamplingParams,
    answer: &[u32],
    id: u32,
    vocabulary: &Vocabulary,
) -> bool {
    let longer = [answer, &[id]].concat();
    let (before, after) = (text(answer, vocabulary), text(&longer, vocabulary));
    let ends_in_token = |string: &String| {
        (before.len() + 1..=after.len()).any(|end| after[..end].ends_with(string.as_bytes()))
    };
    params.banned_strings.iter().any(ends_in_token)
        || params
            .banned_sequences
            .iter()
            .any(|sequence| longer.ends_with(sequence))
}

fn penalise(logits: &mut [f32], params: &SamplingParams, prompt: &[u32], answer: &[u32]) {
    let history: Vec<(u32, bool)> = prompt
        .iter()
        .map(|&id| (id, false))
        .chain(answer.iter().map(|&id| (id, true)))
        .collect();
    let window = &history[history.len()
        - history
            .len()
            .min(params.penalty_last_n.unwrap_or(usize::MAX))..];
    for (logit, id) in logits.iter_mut().zip(0u32..) {
        let occurrences = window.iter().filter(|token| token.0 == id);
        let in_answer = occurrences.clone().filter(|token| token.1).count();
        if occurrences.count() > 0 {
            let penalty = params.repetition_penalty;
            *logit = if *logit > 0.0 {
                *logit / penalty
            } else {
                *logit * penalty
            };
        }
        if in_answer > 0 {
            *logit -= params.presence_penalty + params.frequency_penalty * in_answer as f32;
        }
    }
}

/// Tokens after the last one in which a sequence breaker ends.
fn tokens_since_breaker(dry: &Dry, history: &[u32], vocabulary: &Vocabulary) -> usize {
    let ends_in_last = |tokens: &[u32]| {
        let whole = text(tokens, vocabulary);
        let before = text(&tokens[..tokens.len() - 1], vocabulary).len();
        dry.sequence_breakers.iter().any(|breaker| {
            (before + 1..=whole.len()).any(|end| whole[..end].ends_with(breaker.as_bytes()))
        })
    };
    (0..history.len())
        .find(|&back| ends_in_last(&history[..history.len() - back]))
        .unwrap_or(history.len())
}

fn dry_penalty(dry: &Dry, history: &[u32], id: u32, vocabulary: &Vocabulary) -> f32 {
    let window = &history[history.len() - history.len().min(dry.last_n.unwrap_or(usize::MAX))..];
    let is_breaker = dry
        .sequence_breakers
        .iter()
        .any(|breaker| contains(vocabulary.bytes(id), breaker.as_bytes()));
    if dry.multiplier == 0.0 || is_breaker {
        return 0.0;
    }
    let most = tokens_since_breaker(dry, history, vocabulary).min(window.len());
    let occurred_before = |length: usize| {
        let repeated = [&window[window.len() - length..], &[id]].concat();
        window.windows(length + 1).any(|part| part == repeated)
    };
    let longest = (1..=most).rev().find(|&length| occurred_before(length));
    match longest.filter(|&length| length >= dry.allowed_length) {
        Some(length) => dry.multiplier * dry.base.powi((length - dry.allowed_length) as i32),
        None => 0.0,
    }
}

/// What the whole sampler draws from: the probability of each token.
pub fn distribution(adjusted: &[f32], params: &SamplingParams, xtc_strikes: bool) -> Vec<f64> {
    let mut kept = all(adjusted);
    if let Some(mirostat) = params.mirostat {
        kept = less_surprising(&temperature(&kept, params.temperature), 2.0 * mirostat.tau);
    } else {
        kept = top_k(&top_n_sigma(&kept, params.top_n_sigma), params.top_k);
        kept = min_p(
            &top_p(&typical(&kept, params.typical_p), params.top_p),
            params.min_p,
        );
        if xtc_strikes {
            kept = xtc(&kept, params.xtc_threshold);
        }
        kept = temperature(&kept, params.temperature);
    }
    let mut probabilities = vec![0.0; adjusted.len()];
    for ((id, _), probability) in kept.iter().zip(softmax(&kept)) {
        probabilities[*id as usize] = probability;
    }
    probabilities
}
