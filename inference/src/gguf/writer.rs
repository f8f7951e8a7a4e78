//! Writes GGUF version 3 files, for tests and for converted models.
//!
//! Everything is held in memory until [`GgufWriter::write`]; this is meant for small files.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use candle_core::{
    Device, Tensor,
    quantized::{GgmlDType, QTensor},
};

use super::{Array, GgmlType, Value};

const ALIGNMENT: usize = 32;

/// A GGUF file under construction.
#[derive(Debug, Default)]
pub struct GgufWriter {
    metadata: BTreeMap<String, Value>,
    tensors: Vec<(String, Vec<usize>, GgmlType, Vec<u8>)>,
}

impl GgufWriter {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a metadata key, replacing an earlier value.
    pub fn set(&mut self, key: &str, value: Value) -> &mut Self {
        self.metadata.insert(key.to_owned(), value);
        self
    }

    pub fn set_str(&mut self, key: &str, value: &str) -> &mut Self {
        self.set(key, Value::String(value.to_owned()))
    }

    pub fn set_u32(&mut self, key: &str, value: u32) -> &mut Self {
        self.set(key, Value::U32(value))
    }

    pub fn set_f32(&mut self, key: &str, value: f32) -> &mut Self {
        self.set(key, Value::F32(value))
    }

    /// Removes a metadata key, for tests of files that lack it.
    pub fn remove(&mut self, key: &str) -> &mut Self {
        self.metadata.remove(key);
        self
    }

    /// Adds a tensor from bytes that are already in the given type. `shape` has rows first.
    pub fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        ggml_type: GgmlType,
        data: Vec<u8>,
    ) -> &mut Self {
        self.tensors
            .push((name.to_owned(), shape.to_vec(), ggml_type, data));
        self
    }

    /// Quantizes f32 weights to `dtype` and adds them. `shape` has rows first.
    ///
    /// # Errors
    /// A candle error when the last dimension is not a whole number of blocks or the counts differ.
    pub fn quantize(
        &mut self,
        name: &str,
        shape: &[usize],
        dtype: GgmlDType,
        weights: &[f32],
    ) -> candle_core::Result<&mut Self> {
        let tensor = Tensor::from_slice(weights, shape, &Device::Cpu)?;
        let quantized = QTensor::quantize(&tensor, dtype)?;
        let data = quantized.data()?.into_owned();
        Ok(self.tensor(name, shape, type_of(dtype), data))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Whatever writing `path` fails with.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        std::fs::File::create(path)?.write_all(&self.to_bytes())
    }

    /// Returns the bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(b"GGUF");
        out.extend_from_slice(&3u32.to_le_bytes());
        out.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        out.extend_from_slice(&(self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            put_string(&mut out, key);
            put_value(&mut out, value);
        }
        let mut offset = 0;
        for (name, shape, ggml_type, data) in &self.tensors {
            put_string(&mut out, name);
            out.extend_from_slice(&(shape.len() as u32).to_le_bytes());
            for &dim in shape.iter().rev() {
                out.extend_from_slice(&(dim as u64).to_le_bytes());
            }
            out.extend_from_slice(&ggml_type.0.to_le_bytes());
            out.extend_from_slice(&(offset as u64).to_le_bytes());
            offset += data.len().next_multiple_of(ALIGNMENT);
        }
        for (_, _, _, data) in &self.tensors {
            out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
            out.extend_from_slice(data);
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out
    }
}

fn type_of(dtype: GgmlDType) -> GgmlType {
    let id = (0..64)
        .map(GgmlType)
        .find(|ggml_type| ggml_type.candle() == Some(dtype));
    // Q8_1 and Q8_K are activation formats that no file holds.
    id.unwrap_or(GgmlType::F32)
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

macro_rules! put_numbers {
    ($out:ident, $kind:expr, $items:ident) => {{
        $out.extend_from_slice(&u32::to_le_bytes($kind));
        $out.extend_from_slice(&($items.len() as u64).to_le_bytes());
        for item in $items {
            $out.extend_from_slice(&item.to_le_bytes());
        }
    }};
}

macro_rules! put_number {
    ($out:ident, $kind:expr, $item:ident) => {{
        $out.extend_from_slice(&u32::to_le_bytes($kind));
        $out.extend_from_slice(&$item.to_le_bytes());
    }};
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => put_number!(out, 0, v),
        Value::I8(v) => put_number!(out, 1, v),
        Value::U16(v) => put_number!(out, 2, v),
        Value::I16(v) => put_number!(out, 3, v),
        Value::U32(v) => put_number!(out, 4, v),
        Value::I32(v) => put_number!(out, 5, v),
        Value::F32(v) => put_number!(out, 6, v),
        Value::Bool(v) => {
            out.extend_from_slice(&7u32.to_le_bytes());
            out.push(u8::from(*v));
        }
        Value::String(v) => {
            out.extend_from_slice(&8u32.to_le_bytes());
            put_string(out, v);
        }
        Value::Array(v) => {
            out.extend_from_slice(&9u32.to_le_bytes());
            put_array(out, v);
        }
        Value::U64(v) => put_number!(out, 10, v),
        Value::I64(v) => put_number!(out, 11, v),
        Value::F64(v) => put_number!(out, 12, v),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    match array {
        Array::U8(v) => put_numbers!(out, 0, v),
        Array::I8(v) => put_numbers!(out, 1, v),
        Array::U16(v) => put_numbers!(out, 2, v),
        Array::I16(v) => put_numbers!(out, 3, v),
        Array::U32(v) => put_numbers!(out, 4, v),
        Array::I32(v) => put_numbers!(out, 5, v),
        Array::F32(v) => put_numbers!(out, 6, v),
        Array::Bool(v) => {
            out.extend_from_slice(&7u32.to_le_bytes());
            out.extend_from_slice(&(v.len() as u64).to_le_bytes());
            out.extend(v.iter().map(|&item| u8::from(item)));
        }
        Array::String(v) => {
            out.extend_from_slice(&8u32.to_le_bytes());
            out.extend_from_slice(&(v.len() as u64).to_le_bytes());
            v.iter().for_each(|item| put_string(out, item));
        }
        Array::Array(v) => {
            out.extend_from_slice(&9u32.to_le_bytes());
            out.extend_from_slice(&(v.len() as u64).to_le_bytes());
            v.iter().for_each(|item| put_array(out, item));
        }
        Array::U64(v) => put_numbers!(out, 10, v),
        Array::I64(v) => put_numbers!(out, 11, v),
        Array::F64(v) => put_numbers!(out, 12, v),
    }
}
