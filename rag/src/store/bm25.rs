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
        let vector = self.0.embed_query(&with_spellings(text));
        SparseVector {
            indices: vector.indices,
            values: vector.values,
        }
    }
}

/// A query with the other spellings of its part numbers: `QR97166` finds `QR-97166`, and the other way round.
fn with_spellings(text: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '/' | '.' | '_');
    let mut query = text.to_owned();
    for token in text.split(|c: char| !is_part(c)) {
        let token = token.trim_matches(|c: char| !c.is_alphanumeric());
        let has_both =
            token.chars().any(char::is_alphabetic) && token.chars().any(|c| c.is_ascii_digit());
        if !has_both {
            continue;
        }
        let joined: String = token.chars().filter(|c| c.is_alphanumeric()).collect();
        let mut parts = String::new();
        let mut before: Option<char> = None;
        for c in joined.chars() {
            if before.is_some_and(|b| b.is_ascii_digit() != c.is_ascii_digit()) {
                parts.push(' ');
            }
            parts.push(c);
            before = Some(c);
        }
        query.push_str(&format!(" {joined} {parts}"));
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_numbers_are_found_however_they_are_joined() {
        let bm25 = Bm25::new();
        let meet = |document: &str, query: &str| {
            let document = bm25.document(document).indices;
            bm25.query(query)
                .indices
                .iter()
                .filter(|i| document.contains(i))
                .count()
        };
        assert_eq!(meet("valve QR-97166 steel", "QR97166"), 2);
        assert_eq!(meet("valve QR97166 steel", "QR-97166"), 1);
        assert_eq!(meet("valve QR97166 steel", "qr97166"), 1);
        assert_eq!(
            bm25.query("in 2024, mid-year"),
            bm25.query("in 2024 mid year")
        );
    }

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
