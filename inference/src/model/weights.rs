//! Takes tensors out of a GGUF file, checked against the shapes the configuration demands.

use std::sync::Arc;

use candle_core::{Device, Tensor, quantized::QTensor};

use super::ModelError;
use crate::{gguf::GgufFile, layers::Linear, layers::RmsNorm};

/// Loads tensors of one file to one device.
pub struct Weights<'a> {
    pub file: &'a GgufFile,
    pub device: &'a Device,
}

impl Weights<'_> {
    /// Loads a tensor that must have this shape.
    pub fn tensor(&self, name: &str, want: &[usize]) -> Result<QTensor, ModelError> {
        if let Some(info) = self.file.tensor(name)
            && info.shape != want
        {
            return Err(ModelError::TensorShape {
                tensor: name.to_owned(),
                got: info.shape.clone(),
                want: want.to_vec(),
            });
        }
        Ok(self.file.load_tensor(name, self.device)?)
    }

    /// Loads a small tensor as f32.
    pub fn vector(&self, name: &str, len: usize) -> Result<Tensor, ModelError> {
        Ok(self.tensor(name, &[len])?.dequantize(self.device)?)
    }

    /// Loads `{name}.weight` of `[out, inp]` and, where `bias` allows it and the file has it, `{name}.bias`.
    pub fn linear(
        &self,
        name: &str,
        out: usize,
        inp: usize,
        bias: bool,
    ) -> Result<Linear, ModelError> {
        let weight = self.tensor(&format!("{name}.weight"), &[out, inp])?;
        let bias_name = format!("{name}.bias");
        let bias = match self.file.tensor(&bias_name) {
            Some(_) if bias => Some(self.vector(&bias_name, out)?),
            Some(_) => {
                return Err(ModelError::Unsupported {
                    what: format!("the tensor `{bias_name}`"),
                });
            }
            None => None,
        };
        Ok(Linear::new(Arc::new(weight), bias)?)
    }

    pub fn norm(&self, name: &str, hidden: usize, eps: f32) -> Result<RmsNorm, ModelError> {
        Ok(RmsNorm {
            weight: self.vector(&format!("{name}.weight"), hidden)?,
            eps,
        })
    }
}
