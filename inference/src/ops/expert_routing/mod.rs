//! Which experts a token goes to, and how much each counts: the `num_used` most probable ones after a softmax over
//! all (Mixtral, arXiv 2401.04088). Of equally probable experts the first wins.
//!
//! Two forms of the same answer: [`cpu::by_expert`] lists each expert's tokens, so that its weights are read once for
//! all of them; [`candle::weights`] is a matrix with zeros, which no device has to hand back.

pub mod candle;
pub mod cpu;
pub mod reference;

/// How many experts and how their weights are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoutingRule {
    /// Experts a token uses; at least 1, at most as many as there are.
    pub num_used: usize,
    /// Whether the weights of the chosen are divided by their sum.
    pub normalise: bool,
    /// Factor of all weights.
    pub scale: f32,
}

/// Smallest sum that weights are divided by: the smallest normal f16, as in llama.cpp.
const MIN_SUM: f32 = 6.103_515_6e-5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, random, tensor, values};

    #[test]
    fn both_paths_agree_with_the_reference() {
        for (num_tokens, num_experts, num_used) in [(1, 1, 1), (3, 4, 2), (40, 8, 2), (7, 128, 8)] {
            for (normalise, scale) in [(true, 1.0), (false, 1.0), (true, 2.5)] {
                let rule = RoutingRule {
                    num_used,
                    normalise,
                    scale,
                };
                let logits = random(3, num_tokens * num_experts);
                let want = reference::weights(&logits, num_experts, rule);
                let logits = tensor(&logits, &[num_tokens, num_experts]);
                let dense = candle::weights(&logits, rule).unwrap();
                assert_close(&values(&dense), &want, 1e-6);
                let mut sparse = vec![0.0; want.len()];
                for (expert, rows) in cpu::by_expert(&logits, rule).unwrap().iter().enumerate() {
                    for (&token, &weight) in rows.tokens.iter().zip(&rows.weights) {
                        sparse[token as usize * num_experts + expert] = weight;
                    }
                }
                assert_close(&sparse, &want, 1e-6);
                let used = sparse.iter().filter(|weight| **weight != 0.0).count();
                assert_eq!(used, num_tokens * num_used);
            }
        }
    }

    #[test]
    fn of_equal_experts_the_first_wins() {
        let rule = RoutingRule {
            num_used: 2,
            normalise: true,
            scale: 1.0,
        };
        let logits = [1.0, 3.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5];
        let want = reference::weights(&logits, 4, rule);
        assert!(want[0] > 0.0 && want[1] > want[0] && want[2..4] == [0.0; 2]);
        assert_eq!(want[4..], [0.5, 0.5, 0.0, 0.0]);
        let logits = tensor(&logits, &[2, 4]);
        assert_close(
            &values(&candle::weights(&logits, rule).unwrap()),
            &want,
            1e-6,
        );
        let rows = cpu::by_expert(&logits, rule).unwrap();
        let tokens: Vec<&[u32]> = rows.iter().map(|rows| rows.tokens.as_slice()).collect();
        assert_eq!(tokens, [&[0, 1][..], &[0, 1], &[], &[]]);
    }

    #[test]
    fn logits_that_are_not_numbers_give_weights_that_are_not() {
        let rule = RoutingRule {
            num_used: 1,
            normalise: true,
            scale: 1.0,
        };
        let logits = tensor(&[f32::NAN, 0.0, 1.0, 0.0], &[2, 2]);
        let rows = cpu::by_expert(&logits, rule).unwrap();
        let of_first_token = rows.iter().find(|rows| rows.tokens.contains(&0)).unwrap();
        assert!(of_first_token.weights[0].is_nan());
    }
}
