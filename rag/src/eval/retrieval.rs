//! Measures of retrieval: is the right document found, and how high.

use serde::{Deserialize, Serialize};

use super::EvalQuestion;
use crate::access::{AccessScope, CollectionId};
use crate::error::LibraryError;
use crate::library::Library;
use crate::library::search::{Hit, SearchRequest};

/// Passages asked for; enough for 20 different documents in most collections.
const DEPTH: usize = 60;

/// Means over questions. One document answers each question, so recall@k is the share of questions
/// with that document among the first k documents.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RetrievalMetrics {
    /// Questions measured.
    pub questions: usize,
    /// Right document first.
    #[serde(rename = "recall@1")]
    pub recall_at_1: f64,
    /// Right document among the first 5.
    #[serde(rename = "recall@5")]
    pub recall_at_5: f64,
    /// Right document among the first 20.
    #[serde(rename = "recall@20")]
    pub recall_at_20: f64,
    /// Normalised discounted cumulative gain of the first 10 documents.
    #[serde(rename = "ndcg@10")]
    pub ndcg_at_10: f64,
}

/// Searches every question and measures where its document comes.
///
/// `on_question` is told the index of each question when it is done.
///
/// # Errors
/// When a search fails.
pub fn evaluate_retrieval(
    library: &Library,
    scope: &AccessScope,
    collection: CollectionId,
    questions: &[EvalQuestion],
    on_question: &mut dyn FnMut(usize),
) -> Result<RetrievalMetrics, LibraryError> {
    let mut metrics = RetrievalMetrics {
        questions: questions.len(),
        ..RetrievalMetrics::default()
    };
    for (question_idx, question) in questions.iter().enumerate() {
        let request = SearchRequest {
            query: question.question.clone(),
            collections: vec![collection],
            k: DEPTH,
            ..SearchRequest::default()
        };
        let rank = document_rank(&library.search(scope, &request)?, &question.document);
        metrics.recall_at_1 += recall_at(1, rank);
        metrics.recall_at_5 += recall_at(5, rank);
        metrics.recall_at_20 += recall_at(20, rank);
        metrics.ndcg_at_10 += ndcg_at(10, rank);
        on_question(question_idx);
    }
    let n = questions.len().max(1) as f64;
    for mean in [
        &mut metrics.recall_at_1,
        &mut metrics.recall_at_5,
        &mut metrics.recall_at_20,
        &mut metrics.ndcg_at_10,
    ] {
        *mean /= n;
    }
    Ok(metrics)
}

/// Place of the document among the distinct documents of the hits, from 0.
fn document_rank(hits: &[Hit], document: &str) -> Option<usize> {
    let mut seen: Vec<&str> = Vec::new();
    for hit in hits {
        if hit.path == document {
            return Some(seen.len());
        }
        if !seen.contains(&hit.path.as_str()) {
            seen.push(&hit.path);
        }
    }
    None
}

/// 1 where the only relevant document is among the first `k`, else 0.
pub fn recall_at(k: usize, rank: Option<usize>) -> f64 {
    if rank.is_some_and(|rank| rank < k) {
        1.0
    } else {
        0.0
    }
}

/// nDCG of a list with one relevant document: `1 / log2(rank + 2)` within the first `k`, else 0.
pub fn ndcg_at(k: usize, rank: Option<usize>) -> f64 {
    match rank {
        Some(rank) if rank < k => 1.0 / (rank as f64 + 2.0).log2(),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gain_falls_with_the_rank_and_ends_at_k() {
        assert_eq!(ndcg_at(10, Some(0)), 1.0);
        assert_eq!(ndcg_at(10, Some(2)), 0.5);
        assert_eq!(ndcg_at(10, Some(10)), 0.0);
        assert_eq!(ndcg_at(10, None), 0.0);
        assert_eq!((recall_at(5, Some(4)), recall_at(5, Some(5))), (1.0, 0.0));
    }
}
