//! Logit bias.

use super::adjust::Adjust;

/// The bias that forbids a token, as clients of OpenAI's API use it.
const FORBIDS: f32 = -100.0;

/// Adds each bias to its token's logit; -100 forbids the token. Ids outside the vocabulary are ignored.
pub(super) fn apply(logits: &mut impl Adjust, biases: &[(u32, f32)]) {
    for &(id, bias) in biases {
        logits.adjust(id, bias <= 0.0, |logit| {
            if bias <= FORBIDS {
                f32::NEG_INFINITY
            } else {
                logit + bias
            }
        });
    }
}
