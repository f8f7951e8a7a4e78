//! Products of activations with matrices that share them: with packed weights for up to 64 tokens, with cuBLAS in f16 for more.

use std::cell::OnceCell;

use candle_core::{
    CudaDevice, Result,
    cuda_backend::{
        WrapErr,
        cudarc::cublas::{result::gemm_ex, sys as blas},
    },
};

use super::{
    arguments::{AddBias, Address, PACKED_PARTS, PackedGemm, PackedGemv, PackedMatrix},
    kernels::{Kernels, Launch},
    memory::Buffer,
    plan::{WGMMA_ROWS, gemm_entry, gemm_rows, gemm_splits, wgmma_splits},
    weights::Packed,
};
use crate::ops::packed_matmul::{PackedFormat, TILE_ROWS, units_of};

/// Warps of a block of `packed_gemv.cu`.
pub const GEMV_WARPS: usize = 8;
/// Most shared memory of a launch of it.
pub const GEMV_SHARED: usize = GEMV_WARPS * 2 * 4608;

/// Threads and shared memory of a block of `packed_gemm.cu`.
pub const GEMM_THREADS: usize = 128;
pub const GEMM_SHARED: usize = 98_304;
/// The products of compute capability 9.0.
const WGMMA: &str = "packed_gemm_wgmma";
/// Shared memory of a block of it.
const WGMMA_SHARED: usize = 229_376;
/// What activations in f16 were multiplied by (`HALVES_SCALE` of `packed.cuh`), the other way round.
const HALVES_SCALE_BACK: f32 = 64.0;

/// Makes the kernels ready.
pub fn prepare(kernels: &mut Kernels) -> Result<()> {
    for name in [
        "packed_gemv",
        "packed_gemv_one",
        "packed_gemv_spans",
        "packed_gemv_spans_one",
    ] {
        kernels.find("packed_gemv", name, GEMV_SHARED)?;
    }
    kernels.find("packed_gemv", "unpack_weights_f16", 0)?;
    kernels.find("rows", "add_bias", 0)?;
    for name in ["packed_gemm_16", "packed_gemm_32", "packed_gemm_64"] {
        kernels.find("packed_gemm", name, GEMM_SHARED)?;
    }
    if kernels.has_module(WGMMA) {
        for name in ["packed_wgmma_16", "packed_wgmma_32", "packed_wgmma_64"] {
            kernels.find(WGMMA, name, WGMMA_SHARED)?;
        }
    }
    Ok(())
}

/// A launch of `packed_gemm.cu` or `packed_gemm_wgmma.cu`.
struct Gemm {
    kernel: String,
    row_blocks: usize,
    num_splits: usize,
    threads: usize,
    shared: usize,
    /// Of the sums of all splits.
    floats: usize,
}

/// Where `packed_gemm.cu` joins its splits.
#[derive(Debug)]
pub struct GemmRoom {
    partial: Buffer,
    arrived: Buffer,
}

impl GemmRoom {
    /// Makes room for all of these matrices.
    pub fn new<'a>(
        device: &CudaDevice,
        matrices: impl Iterator<Item = &'a Matrices>,
        multiprocessors: usize,
    ) -> Result<Self> {
        let (mut floats, mut blocks) = (0, 0);
        for matrices in matrices {
            for tokens in [16, 32, 64] {
                for is_hopper in [false, true] {
                    if let Some(gemm) = matrices.gemm(tokens, (is_hopper, multiprocessors)) {
                        floats = floats.max(gemm.floats);
                        blocks = blocks.max(gemm.row_blocks);
                    }
                }
            }
        }
        Ok(Self {
            partial: Buffer::uninitialised(device, 4 * floats)?,
            arrived: Buffer::zeros(device, 4 * blocks)?,
        })
    }
}

/// Matrices with one input, whose results lie side by side: `[tokens, rows of all]`.
#[derive(Debug)]
pub struct Matrices {
    parts: Vec<Packed>,
    rows: usize,
    width: usize,
    dense: OnceCell<Buffer>,
}

impl Matrices {
    /// # Errors
    /// A candle error when the matrices do not have one width, or are more than a launch takes.
    pub fn new(parts: Vec<Packed>) -> Result<Self> {
        let width = parts.first().map_or(0, Packed::width);
        if parts.len() > PACKED_PARTS || parts.iter().any(|part| part.width() != width) {
            candle_core::bail!("{} matrices of different widths", parts.len());
        }
        Ok(Self {
            rows: parts.iter().map(Packed::rows).sum(),
            width,
            parts,
            dense: OnceCell::new(),
        })
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the bytes of the weights in 16 bits.
    pub fn dense_bytes(&self) -> usize {
        2 * self.rows * self.width
    }

    /// Returns the parts as launches name them, for `y`: `[tokens, rows]`.
    fn parts(&self, y: Address) -> Result<[PackedMatrix; PACKED_PARTS]> {
        let mut parts = [PackedMatrix::default(); PACKED_PARTS];
        let mut first = 0;
        for (part, to) in self.parts.iter().zip(&mut parts) {
            *to = part.part(y + 4 * first as Address, self.rows)?;
            first += part.rows();
        }
        Ok(parts)
    }

    fn row_blocks(&self, rows: usize) -> usize {
        self.parts
            .iter()
            .map(|part| part.rows().div_ceil(rows))
            .sum()
    }

    /// Returns how a product of so many tokens in f16 is launched.
    fn gemm(&self, tokens: usize, (is_hopper, multiprocessors): (bool, usize)) -> Option<Gemm> {
        let most = gemm_entry(tokens)?;
        let num_units = units_of(self.width);
        // Up to 16 tokens both take as long.
        let is_wgmma = is_hopper && most > 16;
        let rows = if is_wgmma {
            WGMMA_ROWS
        } else {
            gemm_rows(most)
        };
        let row_blocks = self.row_blocks(rows);
        let num_splits = if is_wgmma {
            wgmma_splits(row_blocks, num_units, multiprocessors)
        } else {
            gemm_splits(row_blocks, num_units, multiprocessors)
        };
        Some(Gemm {
            kernel: format!("packed_{}_{most}", if is_wgmma { "wgmma" } else { "gemm" }),
            row_blocks,
            num_splits,
            threads: if is_wgmma { 512 } else { GEMM_THREADS },
            shared: if is_wgmma { WGMMA_SHARED } else { GEMM_SHARED },
            floats: num_splits * row_blocks * rows * most,
        })
    }

    /// Multiplies up to 8 packed tokens; `y`: `[tokens, rows]` f32.
    pub fn few(&self, kernels: &Kernels, x: Address, tokens: usize, y: Address) -> Result<()> {
        let formats = || self.parts.iter().map(Packed::format);
        let ring_bytes = formats().map(PackedFormat::ring_bytes).max().unwrap_or(0);
        let arguments = PackedGemv {
            part: self.parts(y)?,
            x,
            num_units: units_of(self.width) as i32,
            batch: tokens as i32,
            num_parts: self.parts.len() as i32,
            ring_bytes: ring_bytes as i32,
        };
        let is_spans = formats().all(|format| format == PackedFormat::NibblesSpans);
        let tiles: usize = self
            .parts
            .iter()
            .map(|part| part.rows().div_ceil(TILE_ROWS))
            .sum();
        let kernel = match (is_spans, tokens) {
            (true, 1) => "packed_gemv_spans_one",
            (true, _) => "packed_gemv_spans",
            (false, 1) => "packed_gemv_one",
            (false, _) => "packed_gemv",
        };
        let launch = Launch {
            grid: [tiles, 1, 1],
            threads: 32 * GEMV_WARPS,
            shared: GEMV_WARPS * ring_bytes,
        };
        kernels.launch(kernel, launch, &arguments)
    }

    /// Multiplies up to 64 tokens in f16; `y`: `[tokens, rows]` f32.
    pub fn some(
        &self,
        kernels: &Kernels,
        x: Address,
        tokens: usize,
        y: Address,
        (room, multiprocessors): (&GemmRoom, usize),
    ) -> Result<()> {
        let Some(gemm) = self.gemm(tokens, (kernels.has_module(WGMMA), multiprocessors)) else {
            candle_core::bail!("{tokens} tokens with packed weights");
        };
        let arguments = PackedGemm {
            part: self.parts(y)?,
            x,
            partial: room.partial.address(),
            arrived: room.arrived.address(),
            num_units: units_of(self.width) as i32,
            batch: tokens as i32,
            num_parts: self.parts.len() as i32,
            num_splits: gemm.num_splits as i32,
        };
        let launch = Launch {
            grid: [gemm.row_blocks, gemm.num_splits, 1],
            threads: gemm.threads,
            shared: gemm.shared,
        };
        kernels.launch(&gemm.kernel, launch, &arguments)
    }

    /// Multiplies tokens in f16, `[tokens, width]`; `y`: `[tokens, rows]` f32. The weights stay in memory in f16, or are written to
    /// `scratch`, of [`Self::dense_bytes`], each time.
    pub fn many(
        &self,
        kernels: &Kernels,
        x: Address,
        tokens: usize,
        y: Address,
        scratch: Option<&Buffer>,
    ) -> Result<()> {
        let weights = match scratch {
            Some(scratch) => {
                self.unpack(kernels, scratch.address())?;
                scratch.address()
            }
            None => self.resident(kernels)?,
        };
        let (back, zero) = (HALVES_SCALE_BACK, 0f32);
        let (alpha, beta) = ((&raw const back).cast(), (&raw const zero).cast());
        let (m, n, k) = (self.rows as i32, tokens as i32, self.width as i32);
        let f16 = blas::cudaDataType_t::CUDA_R_16F;
        // SAFETY: column-major, `y^T [rows, tokens] = weights [rows, width] x^T [width, tokens]`, of buffers that large.
        unsafe {
            gemm_ex(
                *kernels.device().cublas_handle().handle(),
                blas::cublasOperation_t::CUBLAS_OP_T,
                blas::cublasOperation_t::CUBLAS_OP_N,
                m,
                n,
                k,
                alpha,
                weights as *const _,
                f16,
                k,
                x as *const _,
                f16,
                k,
                beta,
                y as *mut _,
                blas::cudaDataType_t::CUDA_R_32F,
                m,
                blas::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                blas::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .w()?;
        let mut first = 0;
        for part in &self.parts {
            if part.has_bias() {
                let arguments = AddBias {
                    bias: part.bias()?,
                    y: y + 4 * first as Address,
                    stride: self.rows as i64,
                    width: part.rows() as i32,
                };
                let launch = Launch::new([part.rows().div_ceil(256), tokens, 1], 256);
                kernels.launch("add_bias", launch, &arguments)?;
            }
            first += part.rows();
        }
        Ok(())
    }

    /// Returns the weights in f16, made when they are needed first.
    pub fn resident(&self, kernels: &Kernels) -> Result<Address> {
        if let Some(dense) = self.dense.get() {
            return Ok(dense.address());
        }
        let dense = Buffer::uninitialised(kernels.device(), self.dense_bytes())?;
        self.unpack(kernels, dense.address())?;
        Ok(self.dense.get_or_init(|| dense).address())
    }

    fn unpack(&self, kernels: &Kernels, to: Address) -> Result<()> {
        let mut first = 0;
        for part in &self.parts {
            part.unpack(
                kernels,
                "unpack_weights_f16",
                to + (2 * first * self.width) as Address,
            )?;
            first += part.rows();
        }
        Ok(())
    }
}
