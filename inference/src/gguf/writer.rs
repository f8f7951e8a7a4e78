//! Writes GGUF version 3 files: [`GgufStream`] as the data comes, for files of any size, and [`GgufWriter`] from memory,
//! for tests.
//!
//! Both write the raw blocks of any type; whether they mean anything is the caller's affair.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use candle_core::{
    Device, Tensor,
    quantized::{GgmlDType, QTensor},
};

use super::{Array, GgmlType, Value, encode};

const ALIGNMENT: usize = 32;

/// Name, shape and type of a tensor that is going to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorHeader {
    pub name: String,
    /// Rows first; the last dimension is contiguous.
    pub shape: Vec<usize>,
    pub ggml_type: GgmlType,
}

impl TensorHeader {
    /// Returns the size of the data, or `None` for unknown types and rows that are not whole blocks.
    pub fn bytes(&self) -> Option<usize> {
        let (&row, rows) = self.shape.split_last()?;
        let row_bytes = self.ggml_type.bytes_of(row)?;
        rows.iter()
            .try_fold(row_bytes, |bytes, &dim| bytes.checked_mul(dim))
    }
}

/// A GGUF file that is being written: the header first, then the data of its tensors in order, in pieces of any size.
#[derive(Debug)]
pub struct GgufStream<W> {
    out: W,
    /// Bytes of the tensors that are not written yet, the next one last.
    ahead: Vec<usize>,
    /// Bytes that the current tensor still lacks.
    lacking: usize,
    /// Bytes to fill up before the next tensor.
    padding: usize,
}

impl<W: Write> GgufStream<W> {
    /// Writes the header. `general.alignment` is left out: tensors are aligned to 32 bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a tensor whose size is unknown, or whatever writing fails with.
    pub fn start(
        mut out: W,
        metadata: &BTreeMap<String, Value>,
        tensors: &[TensorHeader],
    ) -> io::Result<Self> {
        let mut metadata = metadata.clone();
        metadata.remove("general.alignment");
        let mut sized = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            let bytes = tensor.bytes().ok_or_else(|| {
                let what = format!(
                    "tensor `{}` of shape {:?} is not whole blocks of {}",
                    tensor.name, tensor.shape, tensor.ggml_type
                );
                io::Error::new(io::ErrorKind::InvalidInput, what)
            })?;
            sized.push((
                tensor.name.as_str(),
                &*tensor.shape,
                tensor.ggml_type,
                bytes,
            ));
        }
        let header = header(&metadata, &sized);
        out.write_all(&header)?;
        let ahead = sized.iter().rev().map(|tensor| tensor.3).collect();
        Ok(Self {
            out,
            ahead,
            lacking: 0,
            padding: 0,
        })
    }

    /// Writes the next piece of the data of all tensors, joined.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when the file is complete, or whatever writing fails with.
    pub fn append(&mut self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            if self.lacking == 0 {
                self.out.write_all(&[0; ALIGNMENT][..self.padding])?;
                self.lacking = self.ahead.pop().ok_or_else(|| {
                    io::Error::new(io::ErrorKind::InvalidInput, "data after the last tensor")
                })?;
                self.padding = self.lacking.next_multiple_of(ALIGNMENT) - self.lacking;
            }
            let (now, later) = data.split_at(self.lacking.min(data.len()));
            self.out.write_all(now)?;
            self.lacking -= now.len();
            data = later;
        }
        Ok(())
    }

    /// Ends the file and returns what it was written to, flushed.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when data is missing, or whatever writing fails with.
    pub fn finish(mut self) -> io::Result<W> {
        if self.lacking > 0 || !self.ahead.is_empty() {
            let what = format!(
                "{} bytes and {} tensors are missing",
                self.lacking,
                self.ahead.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        self.out.write_all(&[0; ALIGNMENT][..self.padding])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// A small GGUF file under construction in memory.
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

    /// Puts other data in the place of a tensor's, of any type; a tensor that is not there stays so.
    pub fn replace_tensor(&mut self, name: &str, ggml_type: GgmlType, data: Vec<u8>) -> &mut Self {
        for tensor in self.tensors.iter_mut().filter(|tensor| tensor.0 == name) {
            (tensor.2, tensor.3) = (ggml_type, data.clone());
        }
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

    /// Rounds f32 weights to a type, of which `IQ4_NL`, `IQ4_XS` and `MXFP4` are unknown to candle, and adds them. `shape`
    /// has rows first.
    ///
    /// # Errors
    /// A candle error when the last dimension is not a whole number of blocks, the counts differ, or the type is not
    /// [supported](GgmlType::SUPPORTED).
    pub fn encode(
        &mut self,
        name: &str,
        shape: &[usize],
        ggml_type: GgmlType,
        weights: &[f32],
    ) -> candle_core::Result<&mut Self> {
        if let (GgmlType::Q2_K | GgmlType::Q3_K, Some(dtype)) = (ggml_type, ggml_type.candle()) {
            return self.quantize(name, shape, dtype, weights);
        }
        let header = TensorHeader {
            name: name.to_owned(),
            shape: shape.to_vec(),
            ggml_type,
        };
        let mut data = vec![0; header.bytes().unwrap_or(0)];
        encode(ggml_type, weights, &mut data).map_err(candle_core::Error::wrap)?;
        Ok(self.tensor(name, shape, ggml_type, data))
    }

    /// Returns the bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let sized: Vec<_> = self
            .tensors
            .iter()
            .map(|(name, shape, ggml_type, data)| (name.as_str(), &**shape, *ggml_type, data.len()))
            .collect();
        let mut out = header(&self.metadata, &sized);
        for (_, _, _, data) in &self.tensors {
            out.extend_from_slice(data);
            out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        }
        out
    }
}

/// Name, shape, type and bytes of a tensor.
type SizedTensor<'a> = (&'a str, &'a [usize], GgmlType, usize);

/// Returns everything before the data, filled up to the alignment.
fn header(metadata: &BTreeMap<String, Value>, tensors: &[SizedTensor<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(b"GGUF");
    out.extend_from_slice(&3u32.to_le_bytes());
    out.extend_from_slice(&(tensors.len() as u64).to_le_bytes());
    out.extend_from_slice(&(metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        put_string(&mut out, key);
        put_value(&mut out, value);
    }
    let mut offset = 0;
    for (name, shape, ggml_type, bytes) in tensors {
        put_string(&mut out, name);
        out.extend_from_slice(&(shape.len() as u32).to_le_bytes());
        for &dim in shape.iter().rev() {
            out.extend_from_slice(&(dim as u64).to_le_bytes());
        }
        out.extend_from_slice(&ggml_type.0.to_le_bytes());
        out.extend_from_slice(&(offset as u64).to_le_bytes());
        offset += bytes.next_multiple_of(ALIGNMENT);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out
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
