//! Text to sparse BM25 vectors, with the tokens and ids of Qdrant's own BM25.
//!
//! Document vectors carry the term-frequency half of BM25 (k1, b and the average length are fixed
//! when a passage is written); the stores multiply by the IDF at query time.

use qdrant_edge::bm25_embed::{EdgeBm25, EdgeBm25Config};
use qdrant_edge::external::ordered_float::NotNan;

use super::SparseVector;

/// Terms of a passage after stop words, measured on the XQuAD English paragraphs and the sample reports
/// (60 to 90). One number for all, so that vectors do not depend on what else is in the collection.
const AVERAGE_TERMS: f64 = 75.0;

/// The tokenizer and weights of BM25.
pub struct Bm25(EdgeBm25);

impl Default for Bm25 {
    fn default() -> Self {
        Self::new()
    }
}

impl Bm25 {
    /// English stemming and stop words; accents are folded, so `Muller` finds `Müller`.
    pub fn new() -> Self {
        let config = EdgeBm25Config {
            avg_len: NotNan::new(AVERAGE_TERMS).expect("a number"),
            ascii_folding: Some(true),
            ..EdgeBm25Config::default()
        };
        Self(EdgeBm25::new(config).expect("the parameters above are valid"))
    }

    /// Weights of a passage.
    pub fn document(&self, text: &str) -> SparseVector {
        let vector = self.0.embed_document(text);
        SparseVector {
            indices: vector.indices,
            values: vector.values,
        }
    }

    /// Weights of a query: 1 for each distinct term.
    pub fn query(&self, text: &str) -> SparseVector {
        let vector = self.0.embed_query(text);
        SparseVector {
            indices: vector.indices,
            values: vector.values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inflections_and_accents_meet_and_stop_words_vanish() {
        let bm25 = Bm25::new();
        assert_eq!(
            bm25.query("the Müllers' contracts").indices,
            bm25.query("muller contract").indices
        );
        assert_eq!(bm25.query("the and of"), SparseVector::default());
        assert!(bm25.document("contract contract").values[0] > bm25.document("contract").values[0]);
    }
}
