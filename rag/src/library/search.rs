//! Search: candidates from the vector store, fused, with their text from the catalogue.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

use crate::access::{AccessScope, CollectionId, DocumentId};
use crate::catalogue::StoredPassage;
use crate::error::LibraryError;
use crate::library::Library;
use crate::store::{Candidates, Filter, HybridQuery};

/// Candidates taken from each of the two searches; at least twice as many as are wanted.
const MIN_CANDIDATES: usize = 150;
/// Most candidates taken, whatever was asked for: bounds the work of one query.
const MAX_CANDIDATES: usize = 1000;
/// Weight of the dense search in the fused score; the rest is BM25's. On XQuAD English, each of its 120 paragraphs a text
/// file and its 612 questions the file of questions, `cloister eval QUESTIONS --collection xquad --retrieval-only` measures
/// recall@1 .953, recall@5 1 and nDCG@10 .980 with all-minilm-l6-v2. The more the words of a question are others than the
/// paragraph's, the more the dense search is needed, hence more than half.
const DENSE_WEIGHT: f32 = 0.6;
/// Best scores of a list among which a candidate stands out or not: those that it competes with. All 150 are too many,
/// because most of a mixed collection has none of the words and makes every passage that has some stand out.
const NUM_COMPARED: usize = 40;

/// What to look for.
#[derive(Debug, Clone, Default)]
pub struct SearchRequest {
    /// The words of the user.
    pub query: String,
    /// Where to look; empty means everywhere in the scope.
    pub collections: Vec<CollectionId>,
    /// How many passages to return at most.
    pub k: usize,
    /// Documents to leave out, as if they were not there.
    pub exclude: Vec<DocumentId>,
}

/// A passage that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// Collection of the document.
    pub collection: CollectionId,
    /// Document of the passage.
    pub document: DocumentId,
    /// Path of the document relative to the ingested folder, with `/` between the parts.
    pub path: String,
    /// Title of the document; its file name where it has none.
    pub title: String,
    /// Page on which the passage begins, from 1, where the format has pages.
    pub page: Option<u32>,
    /// Headings above the passage, outermost first.
    pub heading: Vec<String>,
    /// First character of the passage in the document text.
    pub start: usize,
    /// One past the last character of the passage in the document text.
    pub end: usize,
    /// Characters `start..end` of the document text.
    pub text: String,
    /// Position of the passage among the passages of its document, from 0.
    pub passage_index: u32,
    /// Fused score in 0..=1; comparable within one search only.
    pub score: f32,
    /// Cosine similarity of the passage and the query, where the dense search saw the passage.
    pub dense: Option<f32>,
    /// BM25 score, where the keyword search saw the passage.
    pub bm25: Option<f32>,
}

impl Library {
    /// The passages that fit the query best, best first. Nothing for an empty query.
    ///
    /// Only passages of collections that are both in the scope and among the requested ones take part;
    /// whatever else the library holds has no influence on the hits, their order or their scores.
    ///
    /// # Errors
    /// When the embedder, the store or the catalogue fails.
    pub fn search(
        &self,
        scope: &AccessScope,
        request: &SearchRequest,
    ) -> Result<Vec<Hit>, LibraryError> {
        let filter = Filter {
            collections: scope.restrict(&request.collections),
            exclude: request.exclude.clone(),
        };
        if request.query.trim().is_empty() || request.k == 0 || filter.is_nothing() {
            return Ok(Vec::new());
        }
        // Documents are in this form too, whatever the keyboard or the file gave.
        let query: String = request.query.nfc().collect();
        let dense = self
            .embedder
            .embed(std::slice::from_ref(&query))?
            .into_iter()
            .next()
            .unwrap_or_default();
        let limit = (2 * request.k).clamp(MIN_CANDIDATES, MAX_CANDIDATES);
        let sparse = self.bm25.query(&query);
        let candidates = self.store.query(&HybridQuery {
            dense,
            sparse,
            filter,
            limit,
        })?;
        self.hits(scope, &fuse(&candidates), request.k)
    }

    /// The first `k` of the fused candidates that the catalogue knows, without repeated texts.
    fn hits(
        &self,
        scope: &AccessScope,
        fused: &[Fused],
        k: usize,
    ) -> Result<Vec<Hit>, LibraryError> {
        let mut hits = Vec::with_capacity(k);
        let mut seen = HashSet::new();
        for part in fused.chunks(k.max(16)) {
            let points: Vec<Uuid> = part.iter().map(|candidate| candidate.id).collect();
            let mut passages: HashMap<Uuid, StoredPassage> = self
                .catalogue
                .passages_of_points(scope, &points)?
                .into_iter()
                .map(|passage| (passage.point, passage))
                .collect();
            for candidate in part {
                // A point without a passage belongs to an ingestion that has not finished.
                let Some(passage) = passages.remove(&candidate.id) else {
                    continue;
                };
                if seen.insert(*blake3::hash(passage.text.as_bytes()).as_bytes()) {
                    hits.push(hit(passage, candidate));
                }
                if hits.len() == k {
                    return Ok(hits);
                }
            }
        }
        Ok(hits)
    }
}

/// A candidate of either search with its fused score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fused {
    pub id: Uuid,
    pub score: f32,
    pub dense: Option<f32>,
    pub bm25: Option<f32>,
}

/// Weighted sum of how far a candidate stands out of each list ([`Spread`]); best first, ties by id. The sums are scaled so
/// that the last one is 0 and the first 1.
///
/// Cosines of passages that are all alike (rows of one table) differ by noise, out of which none stands, while the one
/// passage with the part number that was asked for stands far out of BM25's list. Scaling each list to 0..=1 stretches
/// noise to full weight instead, and few rows are then found first by their numbers. This way `cloister search NUMBER` has
/// the right passage first for each of 1,500 rows of a catalogue, alone (212 passages) and among the 150 documents of two
/// other collections.
///
/// A candidate that BM25 did not list has none of the words and scores 0 there; one that the dense search did not list
/// scores no more than its lowest.
pub(crate) fn fuse(candidates: &Candidates) -> Vec<Fused> {
    let mut fused: HashMap<Uuid, Fused> = HashMap::new();
    let empty = |id| Fused {
        id,
        score: 0.0,
        dense: None,
        bm25: None,
    };
    for scored in &candidates.dense {
        let entry = fused.entry(scored.id).or_insert_with(|| empty(scored.id));
        entry.dense = Some(scored.score);
    }
    for scored in &candidates.bm25 {
        let entry = fused.entry(scored.id).or_insert_with(|| empty(scored.id));
        entry.bm25 = Some(scored.score);
    }
    let mut fused: Vec<Fused> = fused.into_values().collect();
    let lowest = candidates.dense.iter().map(|scored| scored.score);
    let lowest = lowest.fold(f32::INFINITY, f32::min);
    let cosines = candidates.dense.iter().map(|scored| scored.score);
    let dense = Spread::of(cosines.collect());
    let words = fused.iter().map(|candidate| candidate.bm25.unwrap_or(0.0));
    let bm25 = Spread::of(words.collect());
    for candidate in &mut fused {
        candidate.score = DENSE_WEIGHT * dense.deviation(candidate.dense.unwrap_or(lowest))
            + (1.0 - DENSE_WEIGHT) * bm25.deviation(candidate.bm25.unwrap_or(0.0));
    }
    fused.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
    if let (Some(first), Some(last)) = (fused.first().copied(), fused.last().copied()) {
        let span = first.score - last.score;
        for candidate in &mut fused {
            candidate.score = match span > 0.0 {
                true => (candidate.score - last.score) / span,
                false => 1.0,
            };
        }
    }
    fused
}

/// Mean and standard deviation of the best scores of a list, without the very best one: what that one stands out of.
///
/// The deviation is at least the best one's distance from the mean divided by the number of scores: the fewer there are,
/// the less a gap means.
struct Spread {
    mean: f32,
    deviation: f32,
}

impl Spread {
    fn of(mut scores: Vec<f32>) -> Self {
        scores.sort_by(|a, b| b.total_cmp(a));
        scores.truncate(NUM_COMPARED);
        let [best, others @ ..] = scores.as_slice() else {
            return Self {
                mean: 0.0,
                deviation: 0.0,
            };
        };
        let count = others.len().max(1) as f32;
        let mean = others.iter().sum::<f32>() / count;
        let variance = others
            .iter()
            .map(|score| (score - mean).powi(2))
            .sum::<f32>()
            / count;
        Self {
            mean,
            deviation: variance.sqrt().max((best - mean) / count),
        }
    }

    /// How many deviations a score is above the mean; 0 where all scores are equal. Below the mean it falls towards -1
    /// only, because a candidate may be far below in one list and the right one by the other.
    fn deviation(&self, score: f32) -> f32 {
        /// Scores of one list that differ by less are equal up to rounding.
        const EQUAL: f32 = 1e-6;
        if self.deviation <= EQUAL {
            return 0.0;
        }
        let deviations = (score - self.mean) / self.deviation;
        if deviations < 0.0 {
            deviations / (1.0 - deviations)
        } else {
            deviations
        }
    }
}

fn hit(passage: StoredPassage, candidate: &Fused) -> Hit {
    Hit {
        collection: passage.collection,
        document: passage.document,
        path: passage.path,
        title: passage.title,
        page: passage.page,
        heading: passage.heading,
        start: passage.start,
        end: passage.end,
        text: passage.text,
        passage_index: passage.index,
        score: candidate.score,
        dense: candidate.dense,
        bm25: candidate.bm25,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Scored;

    fn of(id: u128, score: f32) -> Scored {
        Scored {
            id: Uuid::from_u128(id),
            score,
        }
    }

    fn order(candidates: &Candidates) -> Vec<u128> {
        fuse(candidates).iter().map(|f| f.id.as_u128()).collect()
    }

    #[test]
    fn what_both_searches_put_first_is_first_and_ties_go_by_id() {
        let candidates = Candidates {
            dense: vec![of(1, 0.9), of(2, 0.7), of(3, 0.5)],
            bm25: vec![of(1, 12.0), of(4, 6.0), of(6, 2.4), of(5, 2.4)],
        };
        let fused = fuse(&candidates);
        let ids: Vec<u128> = fused.iter().map(|f| f.id.as_u128()).collect();
        assert_eq!(ids, [1, 4, 2, 5, 6, 3]);
        assert_eq!((fused[0].score, fused[5].score), (1.0, 0.0));
        assert_eq!((fused[2].dense, fused[2].bm25), (Some(0.7), None));
    }

    /// `num` cosines around `middle` that differ by noise of `width`, without two equal ones.
    fn noise(num: u128, middle: f32, width: f32) -> Vec<Scored> {
        let wave = |i: u128| ((i * 37 % num) as f32 / num as f32 - 0.5) * width;
        (1..=num).map(|i| of(i, middle + wave(i))).collect()
    }

    #[test]
    fn a_word_that_few_passages_hold_wins_over_noise_of_cosines() {
        for num in [30, 75, 150] {
            for holders in [1, 2] {
                for right in [7, 18] {
                    let mut bm25 = noise(num, 0.05, 0.02);
                    let own = right..right + holders;
                    bm25.retain(|scored| !own.contains(&scored.id.as_u128()));
                    bm25.extend(own.clone().map(|id| of(id, 4.0)));
                    let candidates = Candidates {
                        dense: noise(num, 0.5, 0.1),
                        bm25,
                    };
                    let mut first = order(&candidates)[..holders as usize].to_vec();
                    first.sort_unstable();
                    let wanted: Vec<u128> = own.collect();
                    assert_eq!(first, wanted, "{num} passages, {holders} holders");
                }
            }
        }
    }

    #[test]
    fn a_meaning_that_one_passage_alone_has_wins_over_noise_of_words() {
        let mut dense = noise(120, 0.1, 0.1);
        dense[40].score = 0.7;
        let candidates = Candidates {
            dense,
            bm25: noise(60, 2.0, 2.0),
        };
        assert_eq!(order(&candidates)[0], 41);
    }

    #[test]
    fn lists_without_spread_decide_nothing() {
        let candidates = Candidates {
            dense: vec![of(1, 0.2)],
            bm25: vec![],
        };
        assert_eq!(fuse(&candidates)[0].score, 1.0);
        assert_eq!(fuse(&Candidates::default()), vec![]);
        let equal = Candidates {
            dense: vec![of(2, 0.4), of(1, 0.4)],
            bm25: vec![of(1, 3.0), of(2, 1.0)],
        };
        assert_eq!(order(&equal), [1, 2]);
    }
}
