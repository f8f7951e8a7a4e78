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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{
        gguf::{GgmlType, GgufFile, writer::GgufWriter},
        ops::testing::{random, tensor, values},
    };

    /// A layer of random weights as a file has them, and the weights.
    fn layer(ggml_type: GgmlType, out: usize, width: usize) -> (Linear, Vec<f32>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.gguf");
        let mut writer = GgufWriter::new();
        let weights = random(1 + u64::from(ggml_type.0), out * width);
        writer
            .encode("w", &[out, width], ggml_type, &weights)
            .unwrap();
        writer.write(&path).unwrap();
        let file = GgufFile::open(&path).unwrap();
        let weight = file.load_tensor("w", &Device::Cpu).unwrap();
        let linear = Linear::new(Arc::new(weight), None).unwrap();
        (linear, file.dequantize_tensor("w").unwrap())
    }

    /// Columns whose activations share a scale when they are rounded to 8 bits; `None` where they are not rounded.
    fn activation_block(ggml_type: GgmlType) -> Option<usize> {
        match ggml_type {
            GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 => None,
            // It is computed with as Q8_0.
            GgmlType::IQ4_XS => Some(32),
            other => other.block().map(|(weights, _)| weights),
        }
    }

    /// Returns the product and the standard deviation that rounding the activations gives it.
    fn product(weights: &[f32], x: &[f32], block: Option<usize>) -> (f64, f64) {
        let (mut sum, mut variance) = (0f64, 0f64);
        for (column, (w, x_i)) in weights.iter().zip(x).enumerate() {
            let term = f64::from(*w) * f64::from(*x_i);
            sum += term;
            // Sums in f32, and scales in f16.
            variance += (term * 1e-6).powi(2);
            if let Some(block) = block {
                let around = &x[column / block * block..][..block];
                let largest = around.iter().fold(0f32, |most, x| most.max(x.abs()));
                // A step of largest / 127 has a variance of its square / 12.
                let step = f64::from(*w) * f64::from(largest) / 127.0;
                variance += step * step / 12.0 + (term / 2048.0).powi(2);
            }
        }
        (sum, variance.sqrt())
    }

    #[test]
    fn products_of_every_type_are_right_within_the_rounding_of_activations() {
        // Heights that are and are not whole tiles of 16, one and several rows.
        let shapes = [
            (1, 256, 16),
            (3, 512, 17),
            (5, 256, 33),
            (2, 768, 48),
            (9, 1024, 1),
        ];
        for ggml_type in GgmlType::SUPPORTED {
            let mut worst = 0f64;
            for (num_rows, width, out) in shapes {
                let (linear, weights) = layer(ggml_type, out, width);
                assert_eq!(linear.in_features().unwrap(), width);
                let x = random(9, num_rows * width);
                let got = values(&linear.forward(&tensor(&x, &[num_rows, width])).unwrap());
                for (index, got) in got.into_iter().enumerate() {
                    let (row, column) = (index / out, index % out);
                    let weights = &weights[column * width..][..width];
                    let x = &x[row * width..][..width];
                    let (want, deviation) = product(weights, x, activation_block(ggml_type));
                    worst = worst.max((f64::from(got) - want).abs() / deviation);
                }
            }
            // The largest of 600 normal numbers is 3.4 deviations.
            assert!(worst < 5.0, "{ggml_type}: {worst} deviations");
        }
    }

    #[test]
    fn layers_of_different_types_share_an_input() {
        let x = tensor(&random(3, 2 * 256), &[2, 256]);
        for types in [
            [GgmlType::IQ4_NL, GgmlType::Q8_0, GgmlType::MXFP4],
            [GgmlType::Q4_K, GgmlType::Q6_K, GgmlType::Q4_K],
            [GgmlType::Q2_K, GgmlType::IQ4_XS, GgmlType::F16],
        ] {
            let layers = types.map(|ggml_type| layer(ggml_type, 32, 256).0);
            let together = forward_shared(layers.each_ref(), &x).unwrap();
            for (layer, together) in layers.iter().zip(together) {
                let alone = values(&layer.forward(&x).unwrap());
                for (a, b) in alone.iter().zip(values(&together)) {
                    assert!(
                        (a - b).abs() <= 1e-4 * a.abs().max(1.0),
                        "{types:?}: {a}, {b}"
                    );
                }
            }
        }
    }
}
