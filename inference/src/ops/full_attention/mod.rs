//! Attention of every token over its whole text, before and after it: the encoder's. arXiv 1706.03762.
//!
//! Texts lie one after another without padding. On the CPU only: on other devices the encoder is candle's.

#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod cpu;
pub mod reference;

use candle_core::{Result, Tensor};

/// Lengths of the texts, and head count and size.
#[derive(Debug, Clone, Copy)]
pub struct FullAttention<'a> {
    /// Tokens of each text.
    pub lengths: &'a [usize],
    pub num_heads: usize,
    pub head_dim: usize,
}

/// Returns `[num_tokens, num_heads * head_dim]` f32 for `q`, `k` and `v` of that shape. Scores are divided by the root of
/// the head size. A text's result does not depend on the other texts.
///
/// # Errors
/// A candle error unless the shapes fit and all are on the CPU.
pub fn full_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    shape: FullAttention<'_>,
) -> Result<Tensor> {
    let want = [shape.lengths.iter().sum(), shape.num_heads * shape.head_dim];
    if [q, k, v].iter().any(|tensor| tensor.dims() != want) {
        candle_core::bail!(
            "attention of {:?}, {:?}, {:?}: {want:?} are needed",
            q.dims(),
            k.dims(),
            v.dims()
        );
    }
    cpu::full_attention(q, k, v, shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, random, tensor, values};

    #[test]
    fn it_agrees_with_the_reference_on_odd_shapes() {
        let texts: [&[usize]; 5] = [&[1], &[2, 17, 1], &[16, 33], &[8, 0, 9], &[70]];
        for lengths in texts {
            for (num_heads, head_dim) in [(1, 8), (2, 32), (3, 20), (12, 32), (1, 64)] {
                let shape = FullAttention {
                    lengths,
                    num_heads,
                    head_dim,
                };
                let dims = [lengths.iter().sum(), num_heads * head_dim];
                let inputs = [1, 2, 3].map(|seed| random(seed, dims[0] * dims[1]));
                let [q, k, v] = inputs.each_ref().map(|values| tensor(values, &dims));
                let got = values(&full_attention(&q, &k, &v, shape).unwrap());
                let [q, k, v] = &inputs;
                assert_close(&got, &reference::full_attention(q, k, v, &shape), 1e-4);
            }
        }
    }

    #[test]
    fn a_text_is_bit_for_bit_the_same_alone_and_in_a_batch() {
        let lengths = [5, 40, 19];
        let dims = [64, 64];
        let [q, k, v] = [1, 2, 3].map(|seed| tensor(&random(seed, 64 * 64), &dims));
        let run = |start: usize, lengths: &[usize]| {
            let [q, k, v] = [&q, &k, &v].map(|tensor| {
                let rows = tensor.narrow(0, start, lengths.iter().sum()).unwrap();
                rows.contiguous().unwrap()
            });
            let shape = FullAttention {
                lengths,
                num_heads: 2,
                head_dim: 32,
            };
            values(&full_attention(&q, &k, &v, shape).unwrap())
        };
        let together = run(0, &lengths);
        assert_eq!(run(5, &[40]), together[5 * 64..45 * 64]);
        assert_eq!(run(45, &[19]), together[45 * 64..]);
    }
}
