//! The product by candle's kernels, for any device.

use std::sync::Arc;

use candle_core::{Module, Result, Tensor, quantized::QMatMul, quantized::QTensor};

/// Returns `x W^T`.
///
/// # Errors
/// A candle error unless the shapes fit.
pub fn matmul(x: &Tensor, weights: &Arc<QTensor>) -> Result<Tensor> {
    QMatMul::from_arc(weights.clone())?.forward(x)
}
