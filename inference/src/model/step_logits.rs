//! What a step leaves of its rows of logits, and how the candidates of a row travel.

use candle_core::Tensor;

use crate::sampling::{ROW_CANDIDATES, RowCandidates};

/// Numbers of 32 bits that candidates of a row are sent as: logits, ids, the rest, and what fills 16 bytes.
/// `RECORD_WORDS` of `candidates_of_row.cu`.
pub const RECORD_WORDS: usize = 2 * ROW_CANDIDATES + 4;

/// What a forward pass yields.
#[derive(Debug)]
pub struct StepLogits {
    /// `[rows that are known as a whole, rows of the embedding]` f32
    pub logits: Tensor,
    /// What is known of each row that has logits.
    pub rows: Vec<RowLogits>,
    /// `[rows, RECORD_WORDS]` where one of them is known by its candidates.
    pub records: Vec<u32>,
    /// Whether each row comes from valid numbers. Integer kernels turn NaN into ordinary numbers, so this is known
    /// before the last product only.
    pub is_valid: Vec<bool>,
}

/// What is known of a row of logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowLogits {
    /// All of it: the row of this number of [`StepLogits::logits`].
    Whole(usize),
    /// [`StepLogits::candidates`].
    Candidates,
    /// Which is the largest.
    Largest(u32),
}

impl StepLogits {
    /// Returns the logits of rows that are all known as a whole.
    pub fn of_all(logits: Tensor, is_valid: Vec<bool>) -> Self {
        Self {
            logits,
            rows: (0..is_valid.len()).map(RowLogits::Whole).collect(),
            records: Vec::new(),
            is_valid,
        }
    }

    /// Returns the token of the largest logit of a row of which only that is known.
    pub fn largest(&self, row: usize) -> Option<u32> {
        match self.rows[row] {
            RowLogits::Largest(token) => Some(token),
            RowLogits::Whole(_) | RowLogits::Candidates => None,
        }
    }

    /// Returns the candidates of a row of `width` logits that is known by them.
    pub fn candidates(&self, row: usize, width: usize) -> RowCandidates<'_> {
        let record = &self.records[row * RECORD_WORDS..][..RECORD_WORDS];
        let (logits, others) = record.split_at(ROW_CANDIDATES);
        RowCandidates {
            logits: bytemuck::cast_slice(logits),
            ids: &others[..ROW_CANDIDATES],
            rest: f32::from_bits(others[ROW_CANDIDATES]),
            width,
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn a_record_is_read_as_the_kernel_writes_it() {
        let mut records = vec![0; 2 * RECORD_WORDS];
        let record = &mut records[RECORD_WORDS..];
        for index in 0..ROW_CANDIDATES {
            record[index] = (9.0 - index as f32).to_bits();
            record[ROW_CANDIDATES + index] = 7 * index as u32;
        }
        record[2 * ROW_CANDIDATES] = 0.25f32.to_bits();
        let step = StepLogits {
            logits: Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap(),
            rows: vec![RowLogits::Largest(3), RowLogits::Candidates],
            records,
            is_valid: vec![true; 2],
        };
        let row = step.candidates(1, 5_000);
        assert_eq!(
            (row.logits.len(), row.ids.len()),
            (ROW_CANDIDATES, ROW_CANDIDATES)
        );
        assert_eq!(
            (row.logits[2], row.ids[2], row.rest, row.width),
            (7.0, 14, 0.25, 5_000)
        );
    }
}
