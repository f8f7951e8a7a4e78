//! Matrix product with quantized weights, and an optional bias.
//!
//! On the CPU, weights in blocks of 32 go through [`crate::ops::block_matmul`], `Q4_K`, `Q5_K` and `Q6_K` through
//! [`crate::ops::superblock_matmul`]; the rest through candle, as all do on CUDA. `F32`, `F16` and `BF16` weights become
//! dense f32.

use std::{cell::OnceCell, sync::Arc};

use candle_core::{
    DType, Device, Module, Result, Tensor,
    quantized::{GgmlDType, QMatMul, QStorage, QTensor},
};

use crate::{
    gguf::EncodedMatrix,
    ops::{
        block_matmul::{self, BLOCK, BlockWeights},
        cpu::with_f32,
        i16_matmul::{self, Int16Rows, Int16Weights},
        superblock_matmul::{self, SUPERBLOCK, SuperblockWeights},
    },
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
    Int16(Arc<Int16Weights>),
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

    /// Loads the weights of a file's matrix: packed straight from its bytes where a kernel takes them, so that nothing is
    /// in memory twice.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn load(matrix: EncodedMatrix<'_>, bias: Option<Tensor>, device: &Device) -> Result<Self> {
        let EncodedMatrix { dtype, shape, data } = matrix;
        let packed = device.is_cpu().then(|| Weight::pack(dtype, shape, &data));
        let weight = match packed.flatten() {
            Some(packed) => packed,
            None => {
                let weight = QTensor::new(QStorage::from_data(data, device, dtype)?, shape)?;
                Weight::Candle(QMatMul::from_arc(Arc::new(weight))?)
            }
        };
        Ok(Self { weight, bias })
    }

    /// Rounds the weights, `[out, in]` f32 on the CPU, to 16 bits; `None` where the kernel does not take them.
    ///
    /// # Errors
    /// A candle error for any other tensor.
    pub fn int16(weights: &Tensor, bias: Option<Tensor>) -> Result<Option<Self>> {
        let shape = weights.dims2()?;
        let packed = with_f32(weights, |weights| Ok(Int16Weights::pack(shape, weights)))?;
        Ok(packed.map(|packed| Self {
            weight: Weight::Int16(Arc::new(packed)),
            bias,
        }))
    }

    /// Returns the weights of the rows `ids`, `[ids.len(), in]` f32: an embedding that shares its memory with the output
    /// layer.
    ///
    /// # Errors
    /// A candle error for a row that is not there.
    pub fn rows(&self, ids: &[u32], device: &Device) -> Result<Tensor> {
        let index = || Tensor::from_slice(ids, ids.len(), device);
        match &self.weight {
            Weight::Int16(_) => candle_core::bail!("a layer of 16 bits is no embedding"),
            Weight::Blocks(weight) => gather(
                ids,
                weight.out,
                |id, rows| weight.push_row(id, rows),
                device,
            ),
            Weight::Superblocks(weight) => gather(
                ids,
                weight.out,
                |id, rows| weight.push_row(id, rows),
                device,
            ),
            Weight::Candle(QMatMul::QTensor(weight)) => weight.embedding(&index()?),
            Weight::Candle(QMatMul::Tensor(weight) | QMatMul::TensorF16(weight)) => {
                weight.index_select(&index()?, 0)?.to_dtype(DType::F32)
            }
        }
    }

    /// Returns `[num_tokens, out]` for `x`: `[num_tokens, in]` f32.
    ///
    /// # Errors
    /// A candle error unless the shapes fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.product(&Input::new(x))
    }

    fn product(&self, input: &Input<'_>) -> Result<Tensor> {
        let bias = self.bias.as_ref();
        match &self.weight {
            Weight::Int16(weight) => i16_matmul::matmul(input.int16()?, weight, bias),
            Weight::Blocks(weight) => block_matmul::matmul(input.blocks()?, weight, bias),
            Weight::Superblocks(weight) => {
                superblock_matmul::matmul(input.superblocks()?, weight, bias)
            }
            Weight::Candle(weight) => self.add_bias(weight.forward(input.x)?),
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
            Weight::Int16(weight) => Ok(weight.width),
            Weight::Blocks(weight) => Ok(weight.blocks_per_row * BLOCK),
            Weight::Superblocks(weight) => Ok(weight.blocks_per_row * SUPERBLOCK),
            Weight::Candle(QMatMul::QTensor(weight)) => Ok(weight.shape().dims2()?.1),
            Weight::Candle(QMatMul::Tensor(weight) | QMatMul::TensorF16(weight)) => weight.dim(1),
        }
    }

    /// Whether candle repacks the weights when they are used first.
    pub fn is_packed_late(&self) -> bool {
        self.quantized().is_some()
    }

    fn quantized(&self) -> Option<&QTensor> {
        match &self.weight {
            Weight::Candle(QMatMul::QTensor(weight)) => Some(weight),
            _ => None,
        }
    }
}

impl Weight {
    fn new(weight: Arc<QTensor>) -> Result<Self> {
        if weight.device().is_cpu() {
            let shape = weight.shape().dims2()?;
            if let Some(packed) = Self::pack(weight.dtype(), shape, &weight.data()?) {
                return Ok(packed);
            }
        }
        Ok(Self::Candle(QMatMul::from_arc(weight)?))
    }

    /// Packs a matrix `[out, in]`; `None` where no kernel of ours takes it.
    fn pack(dtype: GgmlDType, shape: (usize, usize), data: &[u8]) -> Option<Self> {
        if let Some(blocks) = BlockWeights::pack(dtype, shape, data) {
            return Some(Self::Blocks(Arc::new(blocks)));
        }
        let superblocks = SuperblockWeights::pack(dtype, shape, data)?;
        Some(Self::Superblocks(Arc::new(superblocks)))
    }
}

/// Returns rows of a packed matrix, which `push_row` appends.
fn gather(
    ids: &[u32],
    out: usize,
    push_row: impl Fn(usize, &mut Vec<f32>),
    device: &Device,
) -> Result<Tensor> {
    let mut rows = Vec::new();
    for &id in ids {
        if id as usize >= out {
            candle_core::bail!("row {id} of {out}");
        }
        push_row(id as usize, &mut rows);
    }
    let width = rows.len() / ids.len().max(1);
    Tensor::from_vec(rows, (ids.len(), width), device)
}

/// An input, rounded once for all layers that want it so.
struct Input<'a> {
    x: &'a Tensor,
    blocks: OnceCell<block_matmul::QuantizedRows>,
    int16: OnceCell<Int16Rows>,
    superblocks: OnceCell<superblock_matmul::QuantizedRows>,
}

impl<'a> Input<'a> {
    fn new(x: &'a Tensor) -> Self {
        Self {
            x,
            blocks: OnceCell::new(),
            int16: OnceCell::new(),
            superblocks: OnceCell::new(),
        }
    }

    fn int16(&self) -> Result<&Int16Rows> {
        get_or_try(&self.int16, || Int16Rows::new(self.x))
    }

    fn blocks(&self) -> Result<&block_matmul::QuantizedRows> {
        get_or_try(&self.blocks, || block_matmul::QuantizedRows::new(self.x))
    }

    fn superblocks(&self) -> Result<&superblock_matmul::QuantizedRows> {
        let new = || superblock_matmul::QuantizedRows::new(self.x);
        get_or_try(&self.superblocks, new)
    }
}

fn get_or_try<T>(cell: &OnceCell<T>, new: impl FnOnce() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(value) => Ok(value),
        None => {
            let value = new()?;
            Ok(cell.get_or_init(|| value))
        }
    }
}

/// Returns the products of several layers with the same input, which is quantized once where the kernels allow it.
///
/// # Errors
/// A candle error unless the shapes fit.
pub fn forward_shared<const N: usize>(layers: [&Linear; N], x: &Tensor) -> Result<[Tensor; N]> {
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
    let input = Input::new(x);
    collect(layers.iter().map(|layer| layer.product(&input)))
}

fn collect<const N: usize>(tensors: impl Iterator<Item = Result<Tensor>>) -> Result<[Tensor; N]> {
    let tensors = tensors.collect::<Result<Vec<_>>>()?;
    tensors
        .try_into()
        .map_err(|_| candle_core::Error::Msg("one product a layer".into()))
}

#[cfg(test)]
mod tests {
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
        let weight = file.matrix("w", 0..out).unwrap();
        let linear = Linear::load(weight, None, &Device::Cpu).unwrap();
        file.release("w", 0..out).unwrap();
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
    fn rows_of_every_type_are_the_weights_of_the_file() {
        for ggml_type in GgmlType::SUPPORTED {
            for (out, width) in [(32, 512), (17, 256)] {
                let (linear, weights) = layer(ggml_type, out, width);
                let ids = [3, 16, 0, 3];
                let got = linear.rows(&ids, &Device::Cpu).unwrap();
                assert_eq!(got.dims(), [ids.len(), width]);
                for (id, got) in ids.iter().zip(values(&got).chunks(width)) {
                    let want = &weights[*id as usize * width..][..width];
                    for (got, want) in got.iter().zip(want) {
                        // The scale of IQ4_XS is rounded when it is loaded.
                        let bound = want.abs() / 2048.0;
                        assert!((got - want).abs() <= bound, "{ggml_type}: {got}, {want}");
                    }
                }
                assert!(linear.rows(&[out as u32], &Device::Cpu).is_err());
            }
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
