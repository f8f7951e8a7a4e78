//! Makes a smaller file of a model: every matrix rounded to the type that a [`Recipe`] gives it, the rest copied.
//!
//! Tensors are read, rounded and written in slabs of rows on all threads, so memory does not grow with the model. The
//! result is written under a temporary name beside the target and renamed when it is complete and on the disk; whatever
//! happens, the target is the old file or the whole new one. Metadata is kept but for the file type, the version of the
//! quantization and what only concerned the old file's layout.

use std::{
    fs::File,
    io::{self, BufWriter},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rayon::prelude::*;

use super::{
    BlockError, GgmlType, GgufError, GgufFile, Recipe, TensorInfo, Value, dequantize, encode,
    recipe::{ModelFacts, is_rounded, target_type},
    writer::{GgufStream, TensorHeader},
};

/// Weights rounded at a time: 64 MB as f32, enough to keep many threads busy.
const SLAB_WEIGHTS: usize = 1 << 24;
/// Weights a thread takes at a time, in whole rows.
const CHUNK_WEIGHTS: usize = 1 << 16;
/// Version of the block formats that ggml writes today.
const QUANTIZATION_VERSION: u32 = 2;

/// How to quantize.
#[derive(Debug, Clone, Copy)]
pub struct QuantizeOptions {
    pub recipe: Recipe,
    /// Whether weights that were rounded before may be rounded again, which loses more than rounding once.
    pub allow_requantize: bool,
    /// Whether a file with the target's name is replaced.
    pub overwrite: bool,
}

/// How far the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantizeProgress<'a> {
    /// The tensor at work.
    pub tensor: &'a str,
    /// The type it gets.
    pub ggml_type: GgmlType,
    /// Weights done of all tensors.
    pub weights_done: u64,
    pub weights: u64,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuantizeReport {
    pub tensors: usize,
    pub weights: u64,
    /// Tensors that were rounded to a new type.
    pub rounded: usize,
    /// Tensors whose rows are not whole super-blocks, so that they got a larger type than the recipe's.
    pub fallbacks: usize,
    pub input_bytes: u64,
    pub output_bytes: u64,
}

/// Why a model could not be quantized.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    #[error(transparent)]
    Input(#[from] GgufError),
    #[error("{path} exists")]
    Exists { path: PathBuf },
    #[error(
        "tensor `{tensor}` is {ggml_type}: it was rounded before, and rounding it again loses more"
    )]
    Requantize { tensor: String, ggml_type: GgmlType },
    #[error("tensor `{tensor}`: {source}")]
    Blocks { tensor: String, source: BlockError },
    #[error("tensor `{tensor}` has weights that are not finite numbers")]
    NotFinite { tensor: String },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
}

/// Writes the model `input` to `output`, rounded by the recipe. `progress` is called before every tensor and slab.
///
/// # Errors
/// [`QuantizeError`]; the target is then as it was before.
pub fn quantize(
    input: &Path,
    output: &Path,
    options: QuantizeOptions,
    progress: &mut dyn FnMut(QuantizeProgress<'_>),
) -> Result<QuantizeReport, QuantizeError> {
    if !options.overwrite && output.symlink_metadata().is_ok() {
        return Err(QuantizeError::Exists {
            path: output.to_owned(),
        });
    }
    let file = GgufFile::open(input)?;
    let plan = plan(&file, options)?;
    let write_error = |source| QuantizeError::Write {
        path: output.to_owned(),
        source,
    };
    let partial = Partial::create(output).map_err(write_error)?;
    let output_bytes = write(&file, &plan, options.recipe, &partial, progress)?;
    file.check_unchanged()?;
    partial.finish(output).map_err(write_error)?;
    Ok(QuantizeReport {
        tensors: plan.tensors.len(),
        weights: plan.weights,
        rounded: plan
            .tensors
            .iter()
            .filter(|tensor| tensor.is_changed())
            .count(),
        fallbacks: plan.fallbacks,
        input_bytes: file.file_bytes(),
        output_bytes,
    })
}

/// What happens to each tensor, in the order of the output.
struct Plan<'a> {
    tensors: Vec<PlannedTensor<'a>>,
    weights: u64,
    fallbacks: usize,
}

struct PlannedTensor<'a> {
    name: &'a str,
    info: &'a TensorInfo,
    ggml_type: GgmlType,
}

impl PlannedTensor<'_> {
    fn is_changed(&self) -> bool {
        self.ggml_type != self.info.ggml_type
    }

    fn width(&self) -> usize {
        self.info.shape.last().copied().unwrap_or(0)
    }
}

fn plan(file: &GgufFile, options: QuantizeOptions) -> Result<Plan<'_>, QuantizeError> {
    let facts = ModelFacts::of(file);
    let mut plan = Plan {
        tensors: Vec::new(),
        weights: 0,
        fallbacks: 0,
    };
    for (name, info) in file.tensors() {
        let mut tensor = PlannedTensor {
            name,
            info,
            ggml_type: info.ggml_type,
        };
        if is_rounded(name, &info.shape) {
            let width = tensor.width();
            tensor.ggml_type = target_type(options.recipe, &facts, name, width);
            let (most_weights, _) = options.recipe.most().block().unwrap_or((1, 1));
            plan.fallbacks += usize::from(!width.is_multiple_of(most_weights));
        }
        if tensor.is_changed() && info.ggml_type.is_quantized() && !options.allow_requantize {
            return Err(QuantizeError::Requantize {
                tensor: name.clone(),
                ggml_type: info.ggml_type,
            });
        }
        // A type of unknown size cannot be copied either; this is the error that says so.
        file.tensor_data(name)?;
        plan.weights += info.elements() as u64;
        plan.tensors.push(tensor);
    }
    // Layers in order of their numbers, as other programs write them: a file is read from front to back.
    plan.tensors.sort_by_key(|tensor| place(tensor.name));
    Ok(plan)
}

/// Sorts what belongs to no layer first, then layer by layer.
fn place(name: &str) -> (Option<u64>, &str) {
    let layer = name
        .strip_prefix("blk.")
        .and_then(|rest| rest.split('.').next()?.parse().ok());
    (layer, name)
}

/// Writes everything and returns the size of the file.
fn write(
    file: &GgufFile,
    plan: &Plan<'_>,
    recipe: Recipe,
    partial: &Partial,
    progress: &mut dyn FnMut(QuantizeProgress<'_>),
) -> Result<u64, QuantizeError> {
    let write_error = |source| QuantizeError::Write {
        path: partial.path.clone(),
        source,
    };
    let mut metadata = file.metadata().clone();
    metadata.retain(|key, _| !key.starts_with("split."));
    metadata.insert("general.file_type".into(), Value::U32(recipe.file_type()));
    let version = Value::U32(QUANTIZATION_VERSION);
    metadata.insert("general.quantization_version".into(), version);
    let headers: Vec<TensorHeader> = plan
        .tensors
        .iter()
        .map(|tensor| TensorHeader {
            name: tensor.name.to_owned(),
            shape: tensor.info.shape.clone(),
            ggml_type: tensor.ggml_type,
        })
        .collect();
    let out = BufWriter::with_capacity(1 << 20, &partial.file);
    let mut stream = GgufStream::start(out, &metadata, &headers).map_err(write_error)?;
    let mut state = QuantizeProgress {
        tensor: "",
        ggml_type: GgmlType::F32,
        weights_done: 0,
        weights: plan.weights,
    };
    for tensor in &plan.tensors {
        (state.tensor, state.ggml_type) = (tensor.name, tensor.ggml_type);
        let data = file.tensor_data(tensor.name)?;
        let width = tensor.width();
        let slab_rows = (SLAB_WEIGHTS / width.max(1)).max(1);
        let (Some(row_bytes), Some(new_row_bytes)) = (
            tensor.info.ggml_type.bytes_of(width),
            tensor.ggml_type.bytes_of(width),
        ) else {
            // The reader has checked the old rows and `target_type` the new ones.
            let ggml_type = tensor.ggml_type;
            return Err(blocks(tensor, BlockError::Type { ggml_type }));
        };
        for slab in data.chunks(slab_rows * row_bytes) {
            progress(state);
            let rows = slab.len() / row_bytes;
            if tensor.is_changed() {
                let rounded = round(tensor, slab, row_bytes, rows * new_row_bytes)?;
                stream.append(&rounded).map_err(write_error)?;
            } else {
                stream.append(slab).map_err(write_error)?;
            }
            state.weights_done += (rows * width) as u64;
        }
    }
    progress(state);
    stream.finish().map_err(write_error)?;
    let size = partial.file.metadata().map_err(write_error)?.len();
    Ok(size)
}

fn blocks(tensor: &PlannedTensor<'_>, source: BlockError) -> QuantizeError {
    QuantizeError::Blocks {
        tensor: tensor.name.to_owned(),
        source,
    }
}

/// Rounds whole rows to the tensor's new type, on all threads.
fn round(
    tensor: &PlannedTensor<'_>,
    rows: &[u8],
    row_bytes: usize,
    new_bytes: usize,
) -> Result<Vec<u8>, QuantizeError> {
    let width = tensor.width();
    let num_rows = rows.len() / row_bytes;
    let chunk_rows = (CHUNK_WEIGHTS / width.max(1)).max(1);
    let mut out = vec![0u8; new_bytes];
    let is_finite = AtomicBool::new(true);
    out.par_chunks_mut(chunk_rows * (new_bytes / num_rows.max(1)))
        .zip(rows.par_chunks(chunk_rows * row_bytes))
        .try_for_each(|(out, rows)| {
            let mut weights = vec![0f32; rows.len() / row_bytes * width];
            dequantize(tensor.info.ggml_type, rows, &mut weights)?;
            if !weights.iter().all(|weight| weight.is_finite()) {
                is_finite.store(false, Ordering::Relaxed);
            }
            encode(tensor.ggml_type, &weights, out)
        })
        .map_err(|source| blocks(tensor, source))?;
    if is_finite.into_inner() {
        Ok(out)
    } else {
        Err(QuantizeError::NotFinite {
            tensor: tensor.name.to_owned(),
        })
    }
}

/// The file that becomes the target; removed when it does not.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Partial {
    fn create(target: &Path) -> io::Result<Self> {
        let mut name = target
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?
            .to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let path = target.with_file_name(name);
        let file = File::create(&path)?;
        Ok(Self { path, file })
    }

    fn finish(self, target: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.path, target)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After a rename there is nothing left under this name; otherwise what is left is of no use.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
