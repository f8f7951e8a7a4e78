//! Logit bias.

/// The bias that forbids a token, as clients of OpenAI's API use it.
const FORBIDS: f32 = -100.0;

/// Adds each bias to its token's logit; -100 forbids the token. Ids outside the vocabulary are ignored.
pub fn apply(logits: &mut [f32], biases: &[(u32, f32)]) {
    for &(id, bias) in biases {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit = if bias <= FORBIDS {
                f32::NEG_INFINITY
            } else {
                *logit + bias
            };
        }
    }
}
