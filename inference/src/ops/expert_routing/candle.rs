//! Routing from candle's operations, for any device. Nothing is read back.

use candle_core::{D, Result, Tensor};

use super::{MIN_SUM, RoutingRule};

/// Returns `[num_tokens, num_experts]`: the weight of each expert for each token, 0 where it is not used.
/// `logits`: the same shape, f32. A device may break ties in another way than the CPU, but always in the same.
///
/// # Errors
/// A candle error unless there are as many experts as are used.
pub fn weights(logits: &Tensor, rule: RoutingRule) -> Result<Tensor> {
    let probabilities = candle_nn::ops::softmax(logits, D::Minus1)?;
    let order = probabilities.arg_sort_last_dim(false)?;
    let chosen = order.narrow(1, 0, rule.num_used)?.contiguous()?;
    let mut weights = probabilities.gather(&chosen, 1)?;
    if rule.normalise {
        let sum = weights.sum_keepdim(1)?.maximum(f64::from(MIN_SUM))?;
        weights = weights.broadcast_div(&sum)?;
    }
    weights = (weights * f64::from(rule.scale))?;
    probabilities
        .zeros_like()?
        .scatter_add(&chosen, &weights, 1)
}
