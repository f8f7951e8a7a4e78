//! GGUF model files: an mmap reader for versions 2 and 3 that trusts nothing, and a writer.
//!
//! The reader parses the header once and hands out metadata and tensors. Tensor data is copied to the device
//! when it is loaded, so the mapping can be dropped afterwards and a file that changes later does no harm.
//! Shapes are in candle's order (rows first), the reverse of the file's.
//! Absent on purpose: what the keys mean (see [`crate::model::config`] and [`crate::text`]).

mod error;
mod ggml_type;
mod parse;
pub mod synthetic;
mod value;
pub mod vocabulary;
pub mod writer;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
};

use candle_core::{
    Device,
    quantized::{QStorage, QTensor},
};
use memmap2::Mmap;

use self::parse::ParseError;
pub use self::{
    error::GgufError,
    ggml_type::GgmlType,
    value::{Array, Value},
};

/// Where a tensor lies in the file and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Rows first; the last dimension is contiguous.
    pub shape: Vec<usize>,
    pub ggml_type: GgmlType,
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

/// An open GGUF file: parsed header over mapped bytes.
pub struct GgufFile {
    path: PathBuf,
    map: Mmap,
    version: u32,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl GgufFile {
    /// Opens a file and parses its header.
    ///
    /// # Errors
    /// [`GgufError`] when it cannot be read, is no GGUF file of version 2 or 3, or its header contradicts itself
    /// or the file's length. Tensors of unknown type are accepted here and refused by [`Self::load_tensor`].
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let read_error = |source| GgufError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read_error)?;
        if file.metadata().map_err(read_error)?.is_dir() {
            return Err(read_error(std::io::Error::from(
                std::io::ErrorKind::IsADirectory,
            )));
        }
        // SAFETY: the mapping is read-only. Another process that shortens the file while it is being loaded could
        // raise SIGBUS; models are files that only `cloister models` writes, by rename.
        let map = unsafe { Mmap::map(&file) }.map_err(read_error)?;
        let header = parse::parse(&map).map_err(|error| located(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            map,
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

    /// Returns the size of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.map.len() as u64
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
        Ok(&self.map[info.start..info.start + info.bytes])
    }

    /// Copies a tensor to the device.
    ///
    /// # Errors
    /// [`GgufError::NoTensor`], [`GgufError::TensorType`] for a type candle has no kernels for, or
    /// [`GgufError::Device`] when the device refuses (out of memory).
    pub fn load_tensor(&self, name: &str, device: &Device) -> Result<QTensor, GgufError> {
        let info = self.require_tensor(name)?;
        let dtype = info
            .ggml_type
            .candle()
            .ok_or_else(|| self.tensor_type(name, info))?;
        let data = self.tensor_data(name)?;
        QStorage::from_data(Cow::Borrowed(data), device, dtype)
            .and_then(|storage| QTensor::new(storage, info.shape.clone()))
            .map_err(|source| GgufError::Device {
                path: self.path.clone(),
                tensor: name.to_owned(),
                source: Box::new(source),
            })
    }

    /// Copies some rows of a tensor to the device, as a matrix. A stack of matrices counts as one below another.
    ///
    /// # Errors
    /// Those of [`Self::load_tensor`]; rows that the tensor does not have are [`GgufError::Device`].
    pub fn load_rows(
        &self,
        name: &str,
        rows: Range<usize>,
        device: &Device,
    ) -> Result<QTensor, GgufError> {
        let info = self.require_tensor(name)?;
        let dtype = info
            .ggml_type
            .candle()
            .ok_or_else(|| self.tensor_type(name, info))?;
        let columns = info.shape.last().copied().unwrap_or(1).max(1);
        // Blocks run along a row, so a row is a whole number of bytes.
        let row_bytes = info.bytes / (info.elements() / columns).max(1);
        let data = self
            .tensor_data(name)?
            .get(rows.start * row_bytes..rows.end * row_bytes);
        let load = |data| {
            let storage = QStorage::from_data(Cow::Borrowed(data), device, dtype)?;
            QTensor::new(storage, (rows.len(), columns))
        };
        data.ok_or_else(|| candle_core::Error::Msg(format!("no rows {rows:?}")))
            .and_then(load)
            .map_err(|source| GgufError::Device {
                path: self.path.clone(),
                tensor: name.to_owned(),
                source: Box::new(source),
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
    let header = parse::parse(bytes).map_err(|error| located(Path::new("(memory)"), error))?;
    Ok(GgufHeader {
        version: header.version,
        metadata: header.metadata,
        tensors: header.tensors,
    })
}

fn located(path: &Path, error: ParseError) -> GgufError {
    let path = path.to_owned();
    match error {
        ParseError::NotGguf(found) => GgufError::NotGguf { path, found },
        ParseError::Version(version) => GgufError::Version { path, version },
        ParseError::Corrupt { offset, what } => GgufError::Corrupt { path, offset, what },
    }
}

#[cfg(test)]
mod tests;
