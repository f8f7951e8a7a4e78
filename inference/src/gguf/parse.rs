//! Parses the header of a GGUF file from untrusted bytes.
//!
//! Every count is checked against the bytes that are left before anything is allocated, so memory stays
//! within a small multiple of the file's own size whatever the file claims.
//! Source: the GGUF specification (`docs/gguf.md` of ggml).

use std::collections::BTreeMap;

use super::{Array, GgmlType, TensorInfo, Value};

/// Deepest array nesting accepted; real files use none.
const MAX_ARRAY_DEPTH: u32 = 4;
/// ggml tensors have at most four dimensions.
const MAX_DIMS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;
/// Longest key and tensor name accepted. The specification allows 65,535 bytes for keys and 64 for names.
const MAX_KEY_BYTES: u64 = 65_535;

/// What the header says: metadata, tensors, and where tensor data starts.
pub(super) struct Header {
    pub version: u32,
    pub metadata: BTreeMap<String, Value>,
    pub tensors: BTreeMap<String, TensorInfo>,
}

/// Why parsing stopped; [`super::GgufFile::open`] adds the path.
#[derive(Debug)]
pub(super) enum ParseError {
    NotGguf(String),
    Version(u32),
    Corrupt { offset: u64, what: String },
}

type Result<T> = std::result::Result<T, ParseError>;

/// Parses the header. Tensor offsets in the result are absolute and lie inside `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Result<Header> {
    let mut cursor = Cursor { bytes, position: 0 };
    let version = magic_and_version(&mut cursor)?;
    let tensor_count = cursor.u64()?;
    let metadata_count = cursor.u64()?;
    // A tensor needs at least 32 bytes of header, a metadata pair at least 13.
    cursor.check_count(tensor_count, 32, "tensors")?;
    cursor.check_count(metadata_count, 13, "metadata pairs")?;
    let metadata = read_metadata(&mut cursor, metadata_count)?;
    let raw_tensors = read_tensor_infos(&mut cursor, tensor_count)?;
    let alignment = alignment(&metadata, cursor.position)?;
    let data_start = (cursor.position as u64).next_multiple_of(alignment);
    let tensors = place_tensors(raw_tensors, data_start, alignment, bytes.len() as u64)?;
    Ok(Header {
        version,
        metadata,
        tensors,
    })
}

fn magic_and_version(cursor: &mut Cursor<'_>) -> Result<u32> {
    let magic = cursor.bytes.get(..4).unwrap_or(cursor.bytes);
    if magic != b"GGUF" {
        return Err(ParseError::NotGguf(describe_magic(cursor.bytes)));
    }
    cursor.position = 4;
    let version = cursor.u32()?;
    match version {
        2 | 3 => Ok(version),
        other => Err(ParseError::Version(other)),
    }
}

/// Names the format that the first bytes betray, for the error message.
fn describe_magic(bytes: &[u8]) -> String {
    let known: [(&[u8], &str); 6] = [
        (b"PK\x03\x04", "a ZIP archive or PyTorch checkpoint"),
        (b"%PDF", "a PDF document"),
        (b"lmgg", "an old GGML file (convert it to GGUF)"),
        (b"tjgg", "an old GGJT file (convert it to GGUF)"),
        (
            b"version https://git-lfs",
            "a Git LFS pointer, not the file itself",
        ),
        (b"<", "markup, perhaps an error page of a download"),
    ];
    if bytes.is_empty() {
        return "nothing: the file is empty".to_owned();
    }
    if let Some((_, name)) = known.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return (*name).to_owned();
    }
    if bytes.get(8..10) == Some(b"{\"") {
        return "a safetensors header".to_owned();
    }
    let shown = &bytes[..bytes.len().min(4)];
    format!("bytes {shown:02x?}")
}

fn read_metadata(cursor: &mut Cursor<'_>, count: u64) -> Result<BTreeMap<String, Value>> {
    let mut metadata = BTreeMap::new();
    for _ in 0..count {
        let at = cursor.position;
        let key = cursor.key()?;
        let kind = cursor.u32()?;
        let value = cursor.value(kind)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(corrupt(at, format!("metadata key `{key}` occurs twice")));
        }
    }
    Ok(metadata)
}

struct RawTensor {
    name: String,
    at: usize,
    dims: Vec<u64>,
    ggml_type: GgmlType,
    offset: u64,
}

fn read_tensor_infos(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<RawTensor>> {
    let mut tensors = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let at = cursor.position;
        let name = cursor.key()?;
        let num_dims = cursor.u32()?;
        if num_dims == 0 || num_dims > MAX_DIMS {
            return Err(corrupt(
                at,
                format!("tensor `{name}` has {num_dims} dimensions"),
            ));
        }
        let dims = (0..num_dims)
            .map(|_| cursor.u64())
            .collect::<Result<Vec<_>>>()?;
        let ggml_type = GgmlType(cursor.u32()?);
        let offset = cursor.u64()?;
        tensors.push(RawTensor {
            name,
            at,
            dims,
            ggml_type,
            offset,
        });
    }
    Ok(tensors)
}

fn alignment(metadata: &BTreeMap<String, Value>, position: usize) -> Result<u64> {
    let Some(value) = metadata.get("general.alignment") else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    match value.as_u64() {
        // Blocks hold f16 and f32 scales; below 8 they would be misaligned in memory.
        Some(alignment) if alignment.is_power_of_two() && (8..=65_536).contains(&alignment) => {
            Ok(alignment)
        }
        _ => Err(corrupt(
            position,
            format!("general.alignment is {value:?}; a power of two from 8 is needed"),
        )),
    }
}

/// Turns offsets into absolute ranges and checks that they are aligned, inside the file and apart.
fn place_tensors(
    raw: Vec<RawTensor>,
    data_start: u64,
    alignment: u64,
    file_len: u64,
) -> Result<BTreeMap<String, TensorInfo>> {
    let mut tensors = BTreeMap::new();
    let mut ranges = Vec::with_capacity(raw.len());
    for tensor in raw {
        let RawTensor {
            name,
            at,
            dims,
            ggml_type,
            offset,
        } = tensor;
        let fail = |what: String| corrupt(at, format!("tensor `{name}` {what}"));
        let elements = dims
            .iter()
            .try_fold(1u64, |product, &dim| product.checked_mul(dim));
        let elements = match elements {
            Some(elements) if elements > 0 && elements <= i64::MAX as u64 => elements,
            _ => return Err(fail(format!("has the impossible shape {dims:?}"))),
        };
        if offset % alignment != 0 {
            return Err(fail(format!(
                "starts at {offset}, which is not a multiple of {alignment}"
            )));
        }
        let start = data_start
            .checked_add(offset)
            .filter(|start| *start <= file_len);
        let Some(start) = start else {
            return Err(fail(format!(
                "starts at {offset} of the data, past the end of the file"
            )));
        };
        // The size of an unknown type is unknown; such a tensor can be listed but not read.
        let bytes = match ggml_type.block() {
            None => 0,
            Some((block_weights, block_bytes)) => {
                if dims[0] % block_weights as u64 != 0 {
                    return Err(fail(format!(
                        "has rows of {}, not whole {ggml_type} blocks",
                        dims[0]
                    )));
                }
                let bytes = (elements / block_weights as u64).checked_mul(block_bytes as u64);
                let end = bytes.and_then(|bytes| start.checked_add(bytes));
                match (bytes, end) {
                    (Some(bytes), Some(end)) if end <= file_len => bytes,
                    _ => {
                        return Err(fail(format!(
                            "of shape {dims:?} ends past the end of the file ({file_len} bytes)"
                        )));
                    }
                }
            }
        };
        ranges.push((start, start + bytes, name.clone()));
        // GGUF lists the fastest dimension first; candle and this engine list it last.
        let shape = dims.iter().rev().map(|&dim| dim as usize).collect();
        let info = TensorInfo {
            shape,
            ggml_type,
            part: 0,
            start: start as usize,
            bytes: bytes as usize,
        };
        if tensors.insert(name.clone(), info).is_some() {
            return Err(corrupt(at, format!("tensor `{name}` occurs twice")));
        }
    }
    ranges.sort();
    if let Some(pair) = ranges.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        let what = format!("tensors `{}` and `{}` overlap", pair[0].2, pair[1].2);
        return Err(ParseError::Corrupt {
            offset: pair[1].0,
            what,
        });
    }
    Ok(tensors)
}

fn corrupt(offset: usize, what: impl Into<String>) -> ParseError {
    ParseError::Corrupt {
        offset: offset as u64,
        what: what.into(),
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

macro_rules! little_endian {
    ($($name:ident: $type:ty),*) => {$(
        fn $name(&mut self) -> Result<$type> {
            const SIZE: usize = size_of::<$type>();
            let mut raw = [0u8; SIZE];
            raw.copy_from_slice(self.take(SIZE as u64)?);
            Ok(<$type>::from_le_bytes(raw))
        }
    )*};
}

impl<'a> Cursor<'a> {
    little_endian!(u16: u16, i16: i16, u32: u32, i32: i32, u64: u64, i64: i64, f32: f32, f64: f64, i8: i8, u8: u8);

    fn left(&self) -> u64 {
        (self.bytes.len() - self.position) as u64
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        if len > self.left() {
            return Err(corrupt(
                self.position,
                format!("{len} bytes are needed, {} are left", self.left()),
            ));
        }
        let start = self.position;
        self.position += len as usize;
        Ok(&self.bytes[start..self.position])
    }

    fn check_count(&self, count: u64, min_bytes_each: u64, what: &str) -> Result<()> {
        match count.checked_mul(min_bytes_each) {
            Some(bytes) if bytes <= self.left() => Ok(()),
            _ => Err(corrupt(
                self.position,
                format!("{count} {what} cannot fit into {} bytes", self.left()),
            )),
        }
    }

    fn key(&mut self) -> Result<String> {
        let at = self.position;
        let len = self.u64()?;
        if len > MAX_KEY_BYTES {
            return Err(corrupt(at, format!("a name of {len} bytes")));
        }
        let raw = self.take(len)?;
        let name = std::str::from_utf8(raw).map_err(|_| corrupt(at, "a name that is not UTF-8"))?;
        Ok(name.to_owned())
    }

    fn bool(&mut self) -> Result<bool> {
        Ok(self.u8()? != 0)
    }

    fn string(&mut self) -> Result<String> {
        let len = self.u64()?;
        // Some vocabularies in the wild hold stray bytes; the text is kept as far as it is text.
        Ok(String::from_utf8_lossy(self.take(len)?).into_owned())
    }

    fn value(&mut self, kind: u32) -> Result<Value> {
        Ok(match kind {
            0 => Value::U8(self.u8()?),
            1 => Value::I8(self.i8()?),
            2 => Value::U16(self.u16()?),
            3 => Value::I16(self.i16()?),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(self.i32()?),
            6 => Value::F32(self.f32()?),
            7 => Value::Bool(self.bool()?),
            8 => Value::String(self.string()?),
            9 => Value::Array(self.array(0)?),
            10 => Value::U64(self.u64()?),
            11 => Value::I64(self.i64()?),
            12 => Value::F64(self.f64()?),
            other => {
                return Err(corrupt(
                    self.position,
                    format!("metadata of unknown type {other}"),
                ));
            }
        })
    }

    fn array(&mut self, depth: u32) -> Result<Array> {
        if depth >= MAX_ARRAY_DEPTH {
            return Err(corrupt(self.position, "arrays are nested too deeply"));
        }
        let kind = self.u32()?;
        let count = self.u64()?;
        Ok(match kind {
            0 => Array::U8(self.items(count, 1, Self::u8)?),
            1 => Array::I8(self.items(count, 1, Self::i8)?),
            2 => Array::U16(self.items(count, 2, Self::u16)?),
            3 => Array::I16(self.items(count, 2, Self::i16)?),
            4 => Array::U32(self.items(count, 4, Self::u32)?),
            5 => Array::I32(self.items(count, 4, Self::i32)?),
            6 => Array::F32(self.items(count, 4, Self::f32)?),
            7 => Array::Bool(self.items(count, 1, Self::bool)?),
            8 => Array::String(self.items(count, 8, Self::string)?),
            9 => Array::Array(self.items(count, 12, |cursor| cursor.array(depth + 1))?),
            10 => Array::U64(self.items(count, 8, Self::u64)?),
            11 => Array::I64(self.items(count, 8, Self::i64)?),
            12 => Array::F64(self.items(count, 8, Self::f64)?),
            other => {
                return Err(corrupt(
                    self.position,
                    format!("an array of unknown type {other}"),
                ));
            }
        })
    }

    fn items<T>(
        &mut self,
        count: u64,
        min_bytes_each: u64,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.check_count(count, min_bytes_each, "array elements")?;
        let mut items = Vec::with_capacity(count as usize);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }
}
