//! GGUF model files: an mmap reader for versions 2 and 3 that trusts nothing, and a writer.
//!
//! The reader parses the header once and hands out metadata and tensors. Tensor data is copied to the device
//! when it is loaded, so the mapping can be dropped afterwards and a file that changes later does no harm.
//! Shapes are in candle's order (rows first), the reverse of the file's. A split model is opened by any of its parts
//! and looks like one file ([`parts`] also says how files are guarded against change).
//!
//! Weights of all [`GgmlType::SUPPORTED`] types are known by value ([`dequantize`]); those without kernels are
//! re-encoded when they are loaded ([`reencode`]). [`quantize()`] makes a smaller file of a model.
//! Absent on purpose: what the keys mean (see [`crate::model::config`] and [`crate::text`]).

mod dequantize;
mod encode;
mod error;
mod ggml_type;
mod parse;
mod parts;
mod quantize;
mod recipe;
mod reencode;
pub mod synthetic;
mod value;
pub mod vocabulary;
pub mod writer;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
};

use candle_core::{
    Device,
    quantized::{GgmlDType, QStorage, QTensor},
};

use self::parts::{Opened, Part};
pub use self::{
    dequantize::{BlockError, dequantize},
    encode::encode,
    error::GgufError,
    ggml_type::GgmlType,
    quantize::{QuantizeError, QuantizeOptions, QuantizeProgress, QuantizeReport, quantize},
    recipe::Recipe,
    value::{Array, Value},
};

/// Where a tensor lies in the file and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Rows first; the last dimension is contiguous.
    pub shape: Vec<usize>,
    pub ggml_type: GgmlType,
    /// Index of the part of a split model.
    part: usize,
    /// Where the data starts in the part.
    start: usize,
    bytes: usize,
}

impl TensorInfo {
    /// Returns the number of weights.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns the size in the file, 0 for an unknown type.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Rows of a matrix in a type that can be computed with: bytes of the mapping, or re-encoded ones.
#[derive(Debug)]
pub struct EncodedMatrix<'a> {
    pub dtype: GgmlDType,
    /// `[rows, columns]`
    pub shape: (usize, usize),
    pub data: Cow<'a, [u8]>,
}

/// An open GGUF file, or all parts of a split one: parsed header over mapped bytes.
pub struct GgufFile {
    path: PathBuf,
    parts: Vec<Part>,
    version: u32,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl GgufFile {
    /// Opens a file, or all parts of the split model that it is a part of, and parses the header.
    ///
    /// # Errors
    /// [`GgufError`] when it cannot be read, is no GGUF file of version 2 or 3, its header contradicts itself or the
    /// file's length, or a part of a split model is missing or belongs to another. Tensors of unknown type are accepted
    /// here and refused by [`Self::load_tensor`].
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let Opened { parts, header } = parts::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            parts,
            version: header.version,
            metadata: header.metadata,
            tensors: header.tensors,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns the size of the file, of all parts together, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.parts
            .iter()
            .map(|part| part.bytes().len() as u64)
            .sum()
    }

    /// Checks that no other program has changed the file since it was opened (see [`parts`] for what is noticed).
    ///
    /// # Errors
    /// [`GgufError::Changed`].
    pub fn check_unchanged(&self) -> Result<(), GgufError> {
        self.parts.iter().try_for_each(Part::check_unchanged)
    }

    /// Returns all metadata, sorted by key.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// Returns all tensors, sorted by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    pub fn get_str(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns an integer of any width that fits `u32`.
    pub fn get_u32(&self, key: &str) -> Option<u32> {
        self.get(key)?.as_u64()?.try_into().ok()
    }

    pub fn get_f32(&self, key: &str) -> Option<f32> {
        self.get(key)?.as_f32()
    }

    pub fn get_bool(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub fn get_arr_str(&self, key: &str) -> Option<&[String]> {
        match self.get(key)? {
            Value::Array(Array::String(items)) => Some(items),
            _ => None,
        }
    }

    pub fn get_arr_f32(&self, key: &str) -> Option<&[f32]> {
        match self.get(key)? {
            Value::Array(Array::F32(items)) => Some(items),
            _ => None,
        }
    }

    /// Returns an array of integers of any width whose values fit `u32`.
    pub fn get_arr_u32(&self, key: &str) -> Option<Vec<u32>> {
        match self.get(key)? {
            Value::Array(array) => array
                .to_u64s()?
                .into_iter()
                .map(|item| item.try_into().ok())
                .collect(),
            _ => None,
        }
    }

    /// Like [`Self::get_str`], for keys without which the file is of no use.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`] when the key is absent or of another type.
    pub fn require_str(&self, key: &str) -> Result<&str, GgufError> {
        self.get_str(key).ok_or_else(|| self.missing(key))
    }

    /// Like [`Self::get_u32`], for keys without which the file is of no use.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`] when the key is absent or of another type.
    pub fn require_u32(&self, key: &str) -> Result<u32, GgufError> {
        self.get_u32(key).ok_or_else(|| self.missing(key))
    }

    fn missing(&self, key: &str) -> GgufError {
        GgufError::MissingKey {
            path: self.path.clone(),
            key: key.to_owned(),
        }
    }

    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// Returns the bytes of a tensor as they are in the file.
    ///
    /// # Errors
    /// [`GgufError::NoTensor`], or [`GgufError::TensorType`] for a type whose size is unknown.
    pub fn tensor_data(&self, name: &str) -> Result<&[u8], GgufError> {
        let info = self.require_tensor(name)?;
        if info.ggml_type.block().is_none() {
            return Err(self.tensor_type(name, info));
        }
        Ok(&self.parts[info.part].bytes()[info.start..info.start + info.bytes])
    }

    /// Returns all weights of a tensor.
    ///
    /// # Errors
    /// [`GgufError::NoTensor`], [`GgufError::Blocks`] for a type whose values are unknown, or [`GgufError::Changed`].
    pub fn dequantize_tensor(&self, name: &str) -> Result<Vec<f32>, GgufError> {
        let info = self.require_tensor(name)?;
        let mut weights = vec![0f32; info.elements()];
        dequantize(info.ggml_type, self.tensor_data(name)?, &mut weights)
            .map_err(|source| self.blocks(name, source))?;
        self.parts[info.part].check_unchanged()?;
        Ok(weights)
    }

    /// Copies a tensor to the device. `IQ4_NL`, `IQ4_XS` and `MXFP4` become `Q8_0` or `F32`; [`reencode`] says at what
    /// cost.
    ///
    /// # Errors
    /// [`GgufError::NoTensor`], [`GgufError::TensorType`] for a type that cannot be computed with,
    /// [`GgufError::Changed`], or [`GgufError::Device`] when the device refuses (out of memory).
    pub fn load_tensor(&self, name: &str, device: &Device) -> Result<QTensor, GgufError> {
        let info = self.require_tensor(name)?;
        let data = self.tensor_data(name)?;
        self.load_data(name, info, data, info.shape.clone(), device)
    }

    /// Copies `data`, whole blocks of the tensor, to the device as a tensor of this shape.
    fn load_data(
        &self,
        name: &str,
        info: &TensorInfo,
        data: &[u8],
        shape: Vec<usize>,
        device: &Device,
    ) -> Result<QTensor, GgufError> {
        let (dtype, data) = self.computable(name, info, data)?;
        let tensor = QStorage::from_data(data, device, dtype)
            .and_then(|storage| QTensor::new(storage, shape))
            .map_err(|source| self.device(name, source))?;
        self.parts[info.part].check_unchanged()?;
        Ok(tensor)
    }

    /// Returns `data`, whole blocks of the tensor, in a type that can be computed with.
    fn computable<'a>(
        &self,
        name: &str,
        info: &TensorInfo,
        data: &'a [u8],
    ) -> Result<(GgmlDType, Cow<'a, [u8]>), GgufError> {
        if !GgmlType::SUPPORTED.contains(&info.ggml_type) {
            return Err(self.tensor_type(name, info));
        }
        if let Some(dtype) = info.ggml_type.candle() {
            return Ok((dtype, Cow::Borrowed(data)));
        }
        let reencoded =
            reencode::reencode(info.ggml_type, data).map_err(|source| self.blocks(name, source))?;
        Ok((reencoded.dtype, Cow::Owned(reencoded.data)))
    }

    fn device(&self, name: &str, source: candle_core::Error) -> GgufError {
        GgufError::Device {
            path: self.path.clone(),
            tensor: name.to_owned(),
            source: Box::new(source),
        }
    }

    fn blocks(&self, name: &str, source: BlockError) -> GgufError {
        GgufError::Blocks {
            path: self.path.clone(),
            tensor: name.to_owned(),
            source,
        }
    }

    /// Returns some rows of a tensor as a matrix. A stack of matrices counts as one below another. Whoever has copied
    /// them calls [`Self::release`].
    ///
    /// # Errors
    /// Those of [`Self::load_tensor`]; rows that the tensor does not have are [`GgufError::Device`].
    pub fn matrix(&self, name: &str, rows: Range<usize>) -> Result<EncodedMatrix<'_>, GgufError> {
        let (info, columns) = (self.require_tensor(name)?, self.columns(name)?);
        let data = self.rows(name, rows.clone())?;
        let (dtype, data) = self.computable(name, info, data)?;
        Ok(EncodedMatrix {
            dtype,
            shape: (rows.len(), columns),
            data,
        })
    }

    /// Gives the memory of rows back that have been copied out of the mapping, after a check that they were not changed
    /// meanwhile. Reading them again maps them again.
    ///
    /// # Errors
    /// [`GgufError::Changed`], or what [`Self::matrix`] says of these rows.
    pub fn release(&self, name: &str, rows: Range<usize>) -> Result<(), GgufError> {
        let part = &self.parts[self.require_tensor(name)?.part];
        part.check_unchanged()?;
        part.release(self.rows(name, rows)?);
        Ok(())
    }

    fn columns(&self, name: &str) -> Result<usize, GgufError> {
        let info = self.require_tensor(name)?;
        Ok(info.shape.last().copied().unwrap_or(1).max(1))
    }

    /// Returns the bytes of some rows.
    fn rows(&self, name: &str, rows: Range<usize>) -> Result<&[u8], GgufError> {
        let (info, columns) = (self.require_tensor(name)?, self.columns(name)?);
        // Blocks run along a row, so a row is a whole number of bytes.
        let row_bytes = info.bytes / (info.elements() / columns).max(1);
        self.tensor_data(name)?
            .get(rows.start * row_bytes..rows.end * row_bytes)
            .ok_or_else(|| {
                let reason = format!("no rows {rows:?}");
                self.device(name, candle_core::Error::Msg(reason))
            })
    }

    fn require_tensor(&self, name: &str) -> Result<&TensorInfo, GgufError> {
        self.tensor(name).ok_or_else(|| GgufError::NoTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
        })
    }

    fn tensor_type(&self, name: &str, info: &TensorInfo) -> GgufError {
        GgufError::TensorType {
            path: self.path.clone(),
            tensor: name.to_owned(),
            ggml_type: info.ggml_type.name(),
        }
    }
}

impl std::fmt::Debug for GgufFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GgufFile")
            .field("path", &self.path)
            .field("version", &self.version)
            .field("metadata", &self.metadata.len())
            .field("tensors", &self.tensors.len())
            .finish()
    }
}

/// What the header of a file says.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufHeader {
    pub version: u32,
    pub metadata: BTreeMap<String, Value>,
    pub tensors: BTreeMap<String, TensorInfo>,
}

/// Parses the header of a file that is in memory, as [`GgufFile::open`] does.
///
/// # Errors
/// As [`GgufFile::open`].
pub fn parse_header(bytes: &[u8]) -> Result<GgufHeader, GgufError> {
    let header =
        parse::parse(bytes).map_err(|error| parts::located(Path::new("(memory)"), error))?;
    Ok(GgufHeader {
        version: header.version,
        metadata: header.metadata,
        tensors: header.tensors,
    })
}

#[cfg(test)]
mod tests;
