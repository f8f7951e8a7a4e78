//! Takes tensors out of a GGUF file, checked against the shapes the configuration demands.
//!
//! Invariant: a tensor of the file that no layer asked for is an error ([`Weights::check_all_used`]); a model that
//! runs without a part of itself would answer fluently and wrongly.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{Mutex, PoisonError},
};

use candle_core::{Device, Tensor, quantized::QTensor};

use super::ModelError;
#[cfg(feature = "cuda")]
use crate::gguf::EncodedMatrix;
use crate::{gguf::GgufFile, layers::Linear, layers::RmsNorm};

/// Loads tensors of one file to one device.
pub struct Weights<'a> {
    pub file: &'a GgufFile,
    pub device: &'a Device,
    used: Mutex<BTreeSet<String>>,
}

impl<'a> Weights<'a> {
    pub fn new(file: &'a GgufFile, device: &'a Device) -> Self {
        Self {
            file,
            device,
            used: Mutex::default(),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.file.tensor(name).is_some()
    }

    /// Returns the number of rows of a tensor.
    pub fn height(&self, name: &str) -> Result<usize, ModelError> {
        self.file.tensor_data(name)?;
        let shape = self.file.tensor(name).map(|info| info.shape.as_slice());
        Ok(shape.and_then(<[usize]>::first).copied().unwrap_or(0))
    }

    /// Loads a tensor that must have this shape.
    pub fn tensor(&self, name: &str, want: &[usize]) -> Result<QTensor, ModelError> {
        self.check_shape(name, want)?;
        Ok(self.file.load_tensor(name, self.device)?)
    }

    /// Loads a small tensor as f32.
    pub fn vector(&self, name: &str, len: usize) -> Result<Tensor, ModelError> {
        Ok(self.tensor(name, &[len])?.dequantize(self.device)?)
    }

    /// Loads `{name}.weight` of `[out, inp]` and, where the file has it, `{name}.bias`.
    pub fn linear(&self, name: &str, out: usize, inp: usize) -> Result<Linear, ModelError> {
        self.linear_rows(name, 0..out, out, inp)
    }

    /// Loads some rows of `{name}.weight` of `[out, inp]`, for matrices that are stored as one.
    pub fn linear_rows(
        &self,
        name: &str,
        rows: Range<usize>,
        out: usize,
        inp: usize,
    ) -> Result<Linear, ModelError> {
        let weight = format!("{name}.weight");
        self.check_shape(&weight, &[out, inp])?;
        let bias = self.bias(name, rows.clone(), out)?;
        self.load(&weight, rows, bias)
    }

    /// Loads one matrix of `{name}.weight` of `[count, out, inp]`.
    pub fn linear_of(
        &self,
        name: &str,
        index: usize,
        [count, out, inp]: [usize; 3],
    ) -> Result<Linear, ModelError> {
        let name = format!("{name}.weight");
        self.check_shape(&name, &[count, out, inp])?;
        self.load(&name, index * out..(index + 1) * out, None)
    }

    /// Returns some rows of `{name}.weight` of `[out, inp]` as the file has them, and their bias on the device. Whoever has
    /// copied them gives the pages back.
    #[cfg(feature = "cuda")]
    pub fn encoded(
        &self,
        name: &str,
        rows: Range<usize>,
        out: usize,
        inp: usize,
    ) -> Result<(EncodedMatrix<'a>, Option<Tensor>), ModelError> {
        let weight = format!("{name}.weight");
        self.check_shape(&weight, &[out, inp])?;
        let bias = self.bias(name, rows.clone(), out)?;
        Ok((self.file.matrix(&weight, rows)?, bias))
    }

    /// As [`Self::encoded`] for one matrix of `{name}.weight` of `[count, out, inp]`, without a bias.
    #[cfg(feature = "cuda")]
    pub fn encoded_of(
        &self,
        name: &str,
        index: usize,
        [count, out, inp]: [usize; 3],
    ) -> Result<EncodedMatrix<'a>, ModelError> {
        let weight = format!("{name}.weight");
        self.check_shape(&weight, &[count, out, inp])?;
        Ok(self.file.matrix(&weight, index * out..(index + 1) * out)?)
    }

    /// Returns a tensor's numbers, of any type.
    #[cfg(feature = "cuda")]
    pub fn numbers(&self, name: &str, want: &[usize]) -> Result<Vec<f32>, ModelError> {
        self.check_shape(name, want)?;
        Ok(self.file.dequantize_tensor(name)?)
    }

    pub fn norm(&self, name: &str, width: usize, eps: f32) -> Result<RmsNorm, ModelError> {
        Ok(RmsNorm {
            weight: self.vector(&format!("{name}.weight"), width)?,
            eps,
        })
    }

    /// Checks that the file holds nothing that no layer asked for.
    pub fn check_all_used(&self, architecture: &'static str) -> Result<(), ModelError> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // Old files carry the angles of their rope, which are known without.
        let is_needless = |name: &str| name.ends_with("attn_rot_embd.weight");
        let names = self.file.tensors().keys();
        let unknown = names.into_iter().find(|name| {
            let is_rope = name.starts_with("rope_f");
            !is_rope && !is_needless(name) && !used.contains(name.as_str())
        });
        match unknown {
            Some(name) => Err(ModelError::UnknownTensor {
                tensor: name.clone(),
                architecture,
            }),
            None => Ok(()),
        }
    }

    /// Loads rows of a tensor that is shaped as asked, and gives the file's pages back.
    fn load(
        &self,
        tensor: &str,
        rows: Range<usize>,
        bias: Option<Tensor>,
    ) -> Result<Linear, ModelError> {
        let matrix = self.file.matrix(tensor, rows.clone())?;
        let linear = Linear::load(matrix, bias, self.device)?;
        self.file.release(tensor, rows)?;
        Ok(linear)
    }

    fn bias(
        &self,
        name: &str,
        rows: Range<usize>,
        out: usize,
    ) -> Result<Option<Tensor>, ModelError> {
        let name = format!("{name}.bias");
        if !self.has(&name) {
            return Ok(None);
        }
        let bias = self.vector(&name, out)?;
        Ok(Some(bias.narrow(0, rows.start, rows.len())?.contiguous()?))
    }

    fn check_shape(&self, name: &str, want: &[usize]) -> Result<(), ModelError> {
        if let Some(info) = self.file.tensor(name)
            && info.shape != want
        {
            return Err(ModelError::TensorShape {
                tensor: name.to_owned(),
                got: info.shape.clone(),
                want: want.to_vec(),
            });
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert(name.to_owned());
        Ok(())
    }
}
