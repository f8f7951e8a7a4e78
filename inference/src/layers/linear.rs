//! Matrix product with quantized weights, and an optional bias.
//!
//! On the CPU, weights in blocks of 32 go through [`crate::ops::block_matmul`], `Q4_K` and `Q6_K` through
//! [`crate::ops::superblock_matmul`] where the CPU suits it; the rest through candle, as all do on CUDA. `F32`, `F16` and
//! `BF16` weights become dense f32.

use std::sync::Arc;

use candle_core::{
    Module, Result, Tensor,
    quantized::{GgmlDType, QMatMul, QTensor},
};

use crate::ops::{
    block_matmul::{self, BLOCK, BlockWeights},
    superblock_matmul::{self, SUPERBLOCK, SuperblockWeights},
};

/// `y = x W^T + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`
    weight: Weight,
    /// `[out]` f32
    bias: Option<Tensor>,
}

#[derive(Debug, Clone)]
enum Weight {
    Blocks(Arc<BlockWeights>),
    Superblocks(Arc<SuperblockWeights>),
    Candle(QMatMul),
}

impl Linear {
    /// # Errors
    /// A candle error when the weights do not fit into memory in the form they are computed in.
    pub fn new(weight: Arc<QTensor>, bias: Option<Tensor>) -> Result<Self> {
        Ok(Self {
            weight: Weight::new(weight)?,
            bias,
        })
    }

    /// Returns `[num_tokens, out]` for `x`: `[num_tokens, in]` f32.
    ///
    /// # Errors
    /// A candle error unless the shapes fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.weight {
            Weight::Blocks(weight) => self.add_bias(block_matmul::matmul(
                &block_matmul::QuantizedRows::new(x)?,
                weight,
            )?),
            Weight::Superblocks(weight) => self.add_bias(superblock_matmul::matmul(
                &superblock_matmul::QuantizedRows::new(x)?,
                weight,
            )?),
            Weight::Candle(weight) => self.add_bias(weight.forward(x)?),
        }
    }

    fn add_bias(&self, y: Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }

    /// Returns the super-block type of the weight, `None` when it is another.
    pub fn dtype(&self) -> Option<GgmlDType> {
        self.quantized().map(QTensor::dtype)
    }

    /// Returns the width of the input.
    ///
    /// # Errors
    /// A candle error when the weight is no matrix.
    pub fn in_features(&self) -> Result<usize> {
        match &self.weight {
            Weight::Blocks(weight) => Ok(weight.blocks_per_row * BLOCK),
            Weight::Superblocks(weight) => Ok(weight.blocks_per_row * SUPERBLOCK),
            Weight::Candle(QMatMul::QTensor(weight)) => Ok(weight.shape().dims2()?.1),
            Weight::Candle(QMatMul::Tensor(weight) | QMatMul::TensorF16(weight)) => weight.dim(1),
        }
    }

    fn quantized(&self) -> Option<&QTensor> {
        match &self.weight {
            Weight::Candle(QMatMul::QTensor(weight)) => Some(weight),
            _ => None,
        }
    }

    fn blocks(&self) -> Option<&BlockWeights> {
        match &self.weight {
            Weight::Blocks(weight) => Some(weight),
            _ => None,
        }
    }

    fn superblocks(&self) -> Option<&SuperblockWeights> {
        match &self.weight {
            Weight::Superblocks(weight) => Some(weight),
            _ => None,
        }
    }
}

impl Weight {
    fn new(weight: Arc<QTensor>) -> Result<Self> {
        if weight.device().is_cpu() {
            if let Some(blocks) = BlockWeights::pack(&weight)? {
                return Ok(Self::Blocks(Arc::new(blocks)));
            }
            if let Some(superblocks) = SuperblockWeights::pack(&weight)? {
                return Ok(Self::Superblocks(Arc::new(superblocks)));
            }
        }
        Ok(Self::Candle(QMatMul::from_arc(weight)?))
    }
}

/// Returns the products of several layers with the same input, which is quantized once where the kernels allow it.
///
/// # Errors
/// A candle error unless the shapes fit.
pub fn forward_shared<const N: usize>(layers: [&Linear; N], x: &Tensor) -> Result<[Tensor; N]> {
    let blocks: Vec<&BlockWeights> = layers.iter().filter_map(|layer| layer.blocks()).collect();
    if blocks.len() == N {
        let rows = block_matmul::QuantizedRows::new(x)?;
        let products = layers.iter().zip(blocks);
        return collect(
            products.map(|(layer, weight)| layer.add_bias(block_matmul::matmul(&rows, weight)?)),
        );
    }
    let superblocks: Vec<&SuperblockWeights> = layers
        .iter()
        .filter_map(|layer| layer.superblocks())
        .collect();
    if superblocks.len() == N {
        let rows = superblock_matmul::QuantizedRows::new(x)?;
        let products = layers.iter().zip(superblocks);
        return collect(
            products
                .map(|(layer, weight)| layer.add_bias(superblock_matmul::matmul(&rows, weight)?)),
        );
    }
    let weights: Vec<&QTensor> = layers
        .iter()
        .filter_map(|layer| layer.quantized())
        .collect();
    if weights.len() == N
        && let Some(products) = QTensor::gemv_fused_shared_lhs(&weights, x)?
        && let Ok(products) = <[Tensor; N]>::try_from(products)
    {
        return collect(
            layers
                .iter()
                .zip(products)
                .map(|(layer, product)| layer.add_bias(product)),
        );
    }
    collect(layers.iter().map(|layer| layer.forward(x)))
}

fn collect<const N: usize>(tensors: impl Iterator<Item = Result<Tensor>>) -> Result<[Tensor; N]> {
    let tensors = tensors.collect::<Result<Vec<_>>>()?;
    tensors
        .try_into()
        .map_err(|_| candle_core::Error::Msg("one product a layer".into()))
}
