//! Matrix product with quantized weights, and an optional bias.
//!
//! The kernels are candle's: on x86 `Q4_K`, `Q6_K` and `Q8_0` weights are repacked on first use into tiles for
//! AVX-512/AVX2 integer products, on CUDA they are its MMVQ and MMQ kernels. `F32`, `F16` and `BF16` weights
//! become dense f32.

use std::sync::Arc;

use candle_core::{
    Module, Result, Tensor,
    quantized::{GgmlDType, QMatMul, QTensor},
};

/// `y = x W^T + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`
    weight: QMatMul,
    /// `[out]` f32
    bias: Option<Tensor>,
}

impl Linear {
    /// # Errors
    /// A candle error when a dense weight does not fit into memory.
    pub fn new(weight: Arc<QTensor>, bias: Option<Tensor>) -> Result<Self> {
        Ok(Self { weight: QMatMul::from_arc(weight)?, bias })
    }

    /// Returns `[num_tokens, out]` for `x`: `[num_tokens, in]` f32.
    ///
    /// # Errors
    /// A candle error unless the shapes fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.add_bias(self.weight.forward(x)?)
    }

    fn add_bias(&self, y: Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }

    /// Returns the quantized type of the weight, `None` when it is dense.
    pub fn dtype(&self) -> Option<GgmlDType> {
        self.quantized().map(QTensor::dtype)
    }

    /// Returns the width of the input.
    ///
    /// # Errors
    /// A candle error when the weight is no matrix.
    pub fn in_features(&self) -> Result<usize> {
        match &self.weight {
            QMatMul::QTensor(weight) => Ok(weight.shape().dims2()?.1),
            QMatMul::Tensor(weight) | QMatMul::TensorF16(weight) => weight.dim(1),
        }
    }

    fn quantized(&self) -> Option<&QTensor> {
        match &self.weight {
            QMatMul::QTensor(weight) => Some(weight),
            _ => None,
        }
    }
}

/// Returns the products of several layers with the same input, which is quantized once where the kernels allow it.
///
/// # Errors
/// A candle error unless the shapes fit.
pub fn forward_shared<const N: usize>(layers: [&Linear; N], x: &Tensor) -> Result<[Tensor; N]> {
    let weights: Vec<&QTensor> = layers.iter().filter_map(|layer| layer.quantized()).collect();
    if weights.len() == N
        && let Some(products) = QTensor::gemv_fused_shared_lhs(&weights, x)?
        && let Ok(products) = <[Tensor; N]>::try_from(products)
    {
        return collect(layers.iter().zip(products).map(|(layer, product)| layer.add_bias(product)));
    }
    collect(layers.iter().map(|layer| layer.forward(x)))
}

fn collect<const N: usize>(tensors: impl Iterator<Item = Result<Tensor>>) -> Result<[Tensor; N]> {
    let tensors = tensors.collect::<Result<Vec<_>>>()?;
    tensors.try_into().map_err(|_| candle_core::Error::Msg("one product a layer".into()))
}
