//! A vector store of a few lines: every query looks at every point. The truth the others are compared
//! with, and a store whose crash can be simulated.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use uuid::Uuid;

use super::{Candidates, Filter, HybridQuery, Point, Scored, StoreError, VectorStore, rank};

#[derive(Default)]
struct State {
    points: BTreeMap<Uuid, Point>,
    /// As of the last flush.
    durable: BTreeMap<Uuid, Point>,
}

/// Points in memory.
#[derive(Default)]
pub(crate) struct ExactStore(Mutex<State>);

impl ExactStore {
    /// Loses what was not flushed.
    pub(crate) fn crash(&self) {
        let mut state = self.0.lock().unwrap();
        state.points = state.durable.clone();
    }

    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap() = State::default();
    }

    /// Points by id.
    pub(crate) fn points(&self) -> BTreeMap<Uuid, Point> {
        self.0.lock().unwrap().points.clone()
    }
}

pub(crate) fn matches(filter: &Filter, point: &Point) -> bool {
    filter
        .collections
        .as_ref()
        .is_none_or(|collections| collections.contains(&point.collection))
        && !filter.exclude.contains(&point.document)
}

/// Scores the points the filter lets through: cosine, and BM25 with the IDF over just those points.
pub(crate) fn search<'a>(
    points: impl Iterator<Item = &'a Point>,
    query: &HybridQuery,
) -> Candidates {
    let visible: Vec<&Point> = points
        .filter(|point| matches(&query.filter, point))
        .collect();
    let dense = visible
        .iter()
        .map(|point| Scored {
            id: point.id,
            score: point
                .dense
                .iter()
                .zip(&query.dense)
                .map(|(a, b)| a * b)
                .sum(),
        })
        .collect();
    let mut frequency: HashMap<u32, f32> = HashMap::new();
    for term in visible.iter().flat_map(|point| &point.sparse.indices) {
        *frequency.entry(*term).or_default() += 1.0;
    }
    let n = visible.len() as f32;
    let idf = |term: &u32| {
        let df = frequency.get(term).copied().unwrap_or(0.0);
        ((n - df + 0.5) / (df + 0.5) + 1.0).ln()
    };
    let bm25 = visible
        .iter()
        .filter_map(|point| {
            let weights: HashMap<&u32, &f32> = point
                .sparse
                .indices
                .iter()
                .zip(&point.sparse.values)
                .collect();
            let terms = query.sparse.indices.iter().zip(&query.sparse.values);
            let parts: Vec<f32> = terms
                .filter_map(|(term, q)| weights.get(term).map(|d| *d * q * idf(term)))
                .collect();
            (!parts.is_empty()).then(|| Scored {
                id: point.id,
                score: parts.iter().sum(),
            })
        })
        .collect();
    Candidates {
        dense: rank(dense, query.limit),
        bm25: rank(bm25, query.limit),
    }
}

impl VectorStore for ExactStore {
    fn upsert(&self, points: &[Point]) -> Result<(), StoreError> {
        self.0
            .lock()
            .unwrap()
            .points
            .extend(points.iter().map(|point| (point.id, point.clone())));
        Ok(())
    }

    fn delete(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        let mut state = self.0.lock().unwrap();
        ids.iter().for_each(|id| drop(state.points.remove(id)));
        Ok(())
    }

    fn query(&self, query: &HybridQuery) -> Result<Candidates, StoreError> {
        Ok(search(self.0.lock().unwrap().points.values(), query))
    }

    fn dense_vectors(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, Vec<f32>)>, StoreError> {
        let state = self.0.lock().unwrap();
        Ok(ids
            .iter()
            .filter_map(|id| state.points.get(id).map(|point| (*id, point.dense.clone())))
            .collect())
    }

    fn count(&self, filter: &Filter) -> Result<usize, StoreError> {
        Ok(self
            .0
            .lock()
            .unwrap()
            .points
            .values()
            .filter(|point| matches(filter, point))
            .count())
    }

    fn ids(&self) -> Result<Vec<Uuid>, StoreError> {
        Ok(self.0.lock().unwrap().points.keys().copied().collect())
    }

    fn flush(&self) -> Result<(), StoreError> {
        let mut state = self.0.lock().unwrap();
        state.durable = state.points.clone();
        Ok(())
    }

    fn optimize(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A store that outlives the library that uses it, as a disk does.
impl VectorStore for std::sync::Arc<ExactStore> {
    fn upsert(&self, points: &[Point]) -> Result<(), StoreError> {
        (**self).upsert(points)
    }

    fn delete(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        (**self).delete(ids)
    }

    fn query(&self, query: &HybridQuery) -> Result<Candidates, StoreError> {
        (**self).query(query)
    }

    fn dense_vectors(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, Vec<f32>)>, StoreError> {
        (**self).dense_vectors(ids)
    }

    fn count(&self, filter: &Filter) -> Result<usize, StoreError> {
        (**self).count(filter)
    }

    fn ids(&self) -> Result<Vec<Uuid>, StoreError> {
        (**self).ids()
    }

    fn flush(&self) -> Result<(), StoreError> {
        (**self).flush()
    }

    fn optimize(&self) -> Result<(), StoreError> {
        (**self).optimize()
    }
}
