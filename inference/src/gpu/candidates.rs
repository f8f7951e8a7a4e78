//! Choosing the candidates of rows on the device.

use candle_core::{CudaDevice, Result};

use super::{
    arguments::{Address, CandidatesOfRow},
    kernels::{Kernels, Launch},
    memory::{Buffer, Pinned, download},
    plan::slices_of,
};
use crate::{model::RECORD_WORDS, sampling::ROW_CANDIDATES};

/// Threads of a block of `candidates_of_row.cu`; its `SELECT_THREADS`.
const SELECT_THREADS: usize = 512;
/// Most rows that have room; a step with more sends whole rows.
const MOST_ROWS: usize = 128;

/// Room for the candidates of a step.
pub struct CandidateRoom {
    rows: usize,
    num_slices: usize,
    slice_logits: Buffer,
    slice_ids: Buffer,
    slice_rest: Buffer,
    records: Buffer,
    host: Pinned<u32>,
}

/// Rows of logits on the device.
#[derive(Debug, Clone, Copy)]
pub struct LogitsRows {
    pub logits: Address,
    pub count: usize,
    pub stride: usize,
    pub width: usize,
}

/// Makes the kernels ready.
pub fn prepare(kernels: &mut Kernels) -> Result<()> {
    ["candidates_of_slices", "candidates_of_row"]
        .iter()
        .try_for_each(|name| kernels.find("candidates_of_row", name, 0))
}

impl CandidateRoom {
    /// Makes room for steps of at most so many rows; none for a vocabulary that the kernels do not take.
    pub fn new(
        device: &CudaDevice,
        kernels: &Kernels,
        vocab_size: usize,
        logits_rows: usize,
    ) -> Result<Self> {
        let num_slices = slices_of(vocab_size).unwrap_or(0);
        let rows = if num_slices > 0 {
            logits_rows.min(MOST_ROWS)
        } else {
            0
        };
        let words = |each: usize| Buffer::uninitialised(device, 4 * rows * each);
        Ok(Self {
            rows,
            num_slices,
            slice_logits: words(num_slices * ROW_CANDIDATES)?,
            slice_ids: words(num_slices * ROW_CANDIDATES)?,
            slice_rest: words(num_slices * 2)?,
            records: words(RECORD_WORDS)?,
            host: Pinned::new(kernels.stream(), rows * RECORD_WORDS)?,
        })
    }

    /// Whether a step of so many rows has room.
    pub fn takes(&self, rows: usize) -> bool {
        rows <= self.rows
    }

    /// Launches what chooses, and the copy to the host.
    pub fn choose(&mut self, kernels: &Kernels, rows: LogitsRows) -> Result<()> {
        let arguments = CandidatesOfRow {
            logits: rows.logits,
            slice_logits: self.slice_logits.address(),
            slice_ids: self.slice_ids.address(),
            slice_rest: self.slice_rest.address(),
            records: self.records.address(),
            stride: rows.stride as i64,
            width: rows.width as i32,
            num_slices: self.num_slices as i32,
        };
        let grid = [self.num_slices, rows.count, 1];
        let slices = Launch::new(grid, SELECT_THREADS);
        kernels.launch("candidates_of_slices", slices, &arguments)?;
        let joined = Launch::new([rows.count, 1, 1], SELECT_THREADS);
        kernels.launch("candidates_of_row", joined, &arguments)?;
        let host = &mut self.host.as_mut_slice()?[..rows.count * RECORD_WORDS];
        download(kernels.stream(), self.records.address(), host)
    }

    /// Returns the records of `rows` once the stream was waited for.
    pub fn records(&self, rows: usize) -> Result<&[u32]> {
        Ok(&self.host.as_slice()?[..rows * RECORD_WORDS])
    }
}
