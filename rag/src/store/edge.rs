//! The embedded vector store: one qdrant-edge shard in a folder of this process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use qdrant_edge::{
    AnyVariants, Condition, CountRequest, CreateIndex, Distance, EdgeConfig, EdgeShard,
    EdgeSparseVectorParams, EdgeVectorParams, FieldCondition, FieldIndexOperations,
    Filter as EdgeFilter, HnswIndexConfig, IdfCorpusParams, IdfParams, JsonPath, Match, Modifier,
    NamedQuery, OperationError, PayloadFieldSchema, PayloadSchemaType, PointId,
    PointInsertOperations, PointOperations, PointStruct, QueryBatchRequest, QueryEnum,
    QueryRequest, RetrieveRequest, ScoredPoint, ScoringQuery, ScrollRequest, SearchParams,
    UpdateOperation, Vector, VectorInternal, VectorStructInternal, Vectors, WithPayloadInterface,
    WithVector,
};
use uuid::Uuid;

use super::growth::Growth;
use super::{
    COLLECTION_KEY, Candidates, DOCUMENT_KEY, Filter, HybridQuery, Point, SPARSE_VECTOR, Scored,
    SparseVector, StoreError, StoreSchema, VectorStore,
    lock::{lock_soon, retry_while},
    rank,
};
use crate::disk::DiskSpace;

/// Ids read at a time.
const SCROLL_PAGE: usize = 4096;

/// A qdrant-edge shard.
pub struct EdgeStore {
    path: PathBuf,
    dense_name: String,
    shard: EdgeShard,
    growth: Growth,
    /// Held while the shard is open: a shard that another process has open looks like a damaged one.
    _lock: File,
}

impl EdgeStore {
    /// Opens the shard in `path`, or makes an empty one where there is none, where it was made for
    /// another embedder, or where it cannot be read. The caller fills it from the catalogue.
    ///
    /// # Errors
    /// [`StoreError::Embedded`] when another process has it open, or not even an empty shard can be made;
    /// [`StoreError::DiskFull`] when there is too little room to open it safely.
    pub fn open(path: &Path, schema: &StoreSchema, disk: DiskSpace) -> Result<Self, StoreError> {
        let fail = |reason| StoreError::Embedded {
            path: path.to_owned(),
            operation: "be opened",
            reason,
        };
        let growth = Growth::new(path, disk);
        growth.fill_holes();
        growth.require_for_log()?;
        let lock = lock(path).map_err(fail)?;
        if path.exists() {
            match load(path, schema) {
                Ok(shard) => return Ok(Self::with(path, schema, shard, growth, lock)),
                Err(reason) => {
                    tracing::warn!(path = %path.display(), %reason, "rebuilding the vector index");
                }
            }
        }
        growth.require_for_write(0)?;
        create(path, schema).map_err(fail)?;
        let shard = load(path, schema).map_err(fail)?;
        Ok(Self::with(path, schema, shard, growth, lock))
    }

    fn with(
        path: &Path,
        schema: &StoreSchema,
        shard: EdgeShard,
        growth: Growth,
        lock: File,
    ) -> Self {
        growth.fill_holes();
        Self {
            growth,
            path: path.to_owned(),
            dense_name: schema.embedder.clone(),
            shard,
            _lock: lock,
        }
    }

    fn error(&self, operation: &'static str, error: &OperationError) -> StoreError {
        let reason = error.to_string();
        // The cause is flattened into a sentence before it comes here.
        if reason.contains(&std::io::Error::from_raw_os_error(libc::ENOSPC).to_string()) {
            return self.growth.full().into();
        }
        StoreError::Embedded {
            path: self.path.clone(),
            operation,
            reason,
        }
    }

    fn update(&self, what: &'static str, operation: UpdateOperation) -> Result<(), StoreError> {
        self.shard
            .update(operation)
            .map_err(|error| self.error(what, &error))
    }

    fn search_request(&self, vector: VectorInternal, query: &HybridQuery) -> QueryRequest {
        let filter = edge_filter(&query.filter);
        let (using, idf) = match vector {
            // Without a corpus of its own the IDF would count deleted points until they are vacuumed.
            VectorInternal::Sparse(_) => {
                let corpus = filter.clone().unwrap_or_default();
                (
                    SPARSE_VECTOR,
                    Some(IdfParams::Corpus(IdfCorpusParams { corpus })),
                )
            }
            // The dense search has no IDF, and refuses to be given one.
            _ => (self.dense_name.as_str(), None),
        };
        let nearest = NamedQuery::new(vector, using.to_owned());
        let mut request = QueryRequest::new(query.limit);
        request.query = Some(ScoringQuery::Vector(QueryEnum::Nearest(nearest)));
        request.params = Some(SearchParams {
            exact: true,
            idf,
            ..SearchParams::default()
        });
        request.filter = filter;
        request
    }
}

impl VectorStore for EdgeStore {
    fn upsert(&self, points: &[Point]) -> Result<(), StoreError> {
        if points.is_empty() {
            return Ok(());
        }
        let bytes: usize = points
            .iter()
            .map(|point| size_of::<f32>() * (point.dense.len() + 2 * point.sparse.indices.len()))
            .sum();
        self.growth.require_for_write(bytes as u64)?;
        let points = points
            .iter()
            .map(|point| edge_point(&self.dense_name, point))
            .collect();
        let written = self.update(
            "be written",
            UpdateOperation::PointOperation(PointOperations::UpsertPoints(
                PointInsertOperations::PointsList(points),
            )),
        );
        self.growth.fill_holes();
        written
    }

    fn delete(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.growth.require_for_log()?;
        let ids = ids.iter().copied().map(PointId::Uuid).collect();
        self.update(
            "delete points",
            UpdateOperation::PointOperation(PointOperations::DeletePoints { ids }),
        )
    }

    fn query(&self, query: &HybridQuery) -> Result<Candidates, StoreError> {
        if query.filter.is_nothing() || query.limit == 0 {
            return Ok(Candidates::default());
        }
        let mut queries =
            vec![self.search_request(VectorInternal::Dense(query.dense.clone()), query)];
        if !query.sparse.indices.is_empty() {
            queries.push(self.search_request(sparse_vector(&query.sparse), query));
        }
        let mut lists = self
            .shard
            .query_batch(QueryBatchRequest::new(queries))
            .map_err(|error| self.error("be searched", &error))?
            .into_iter();
        let mut next = || {
            rank(
                lists
                    .next()
                    .unwrap_or_default()
                    .iter()
                    .filter_map(scored)
                    .collect(),
                query.limit,
            )
        };
        Ok(Candidates {
            dense: next(),
            bm25: next(),
        })
    }

    fn dense_vectors(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, Vec<f32>)>, StoreError> {
        let mut request = RetrieveRequest::new(ids.iter().copied().map(PointId::Uuid).collect());
        request.with_payload = Some(WithPayloadInterface::Bool(false));
        request.with_vector = Some(WithVector::Selector(vec![self.dense_name.clone()]));
        let records = self
            .shard
            .retrieve(request)
            .map_err(|error| self.error("be read", &error))?;
        let dense = records
            .into_iter()
            .filter_map(|record| match (record.id, record.vector) {
                (PointId::Uuid(id), Some(VectorStructInternal::Named(mut named))) => {
                    match named.remove(&self.dense_name) {
                        Some(VectorInternal::Dense(vector)) => Some((id, vector)),
                        _ => None,
                    }
                }
                _ => None,
            });
        Ok(dense.collect())
    }

    fn count(&self, filter: &Filter) -> Result<usize, StoreError> {
        if filter.is_nothing() {
            return Ok(0);
        }
        let request = CountRequest {
            filter: edge_filter(filter),
            exact: true,
        };
        self.shard
            .count(request)
            .map_err(|error| self.error("be counted", &error))
    }

    fn ids(&self) -> Result<Vec<Uuid>, StoreError> {
        let mut ids = Vec::new();
        let mut offset = None;
        loop {
            let request = ScrollRequest {
                offset,
                limit: Some(SCROLL_PAGE),
                with_payload: Some(WithPayloadInterface::Bool(false)),
                ..ScrollRequest::new()
            };
            let (records, next) = self
                .shard
                .scroll(request)
                .map_err(|error| self.error("be listed", &error))?;
            ids.extend(records.iter().filter_map(|record| uuid(&record.id)));
            if next.is_none() {
                return Ok(ids);
            }
            offset = next;
        }
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.shard
            .flush()
            .map_err(|error| self.error("be flushed", &error))
    }

    fn optimize(&self) -> Result<(), StoreError> {
        self.growth.require_for_copy()?;
        self.shard
            .optimize()
            .map_err(|error| self.error("be optimized", &error))?;
        self.growth.fill_holes();
        self.flush()
    }

    fn reserve_bytes(&self) -> u64 {
        self.growth.reserve_bytes()
    }
}

/// Takes the lock beside the shard.
fn lock(path: &Path) -> Result<File, String> {
    let file = File::create(path.with_extension("lock")).map_err(|error| error.to_string())?;
    match lock_soon(&file) {
        Ok(true) => Ok(file),
        Ok(false) => Err("another process has it open".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Makes an empty shard. It is built beside its place and moved there when it is whole, so that a
/// shard without its payload indexes is never found.
fn create(path: &Path, schema: &StoreSchema) -> Result<(), String> {
    let building = path.with_extension("new");
    for old in [path, &building] {
        if old.exists() {
            fs::remove_dir_all(old).map_err(|error| error.to_string())?;
        }
    }
    fs::create_dir_all(&building).map_err(|error| error.to_string())?;
    let shard = EdgeShard::new(&building, config(schema)).map_err(|error| error.to_string())?;
    for key in [COLLECTION_KEY, DOCUMENT_KEY] {
        let index = CreateIndex {
            field_name: json_path(key),
            field_schema: Some(PayloadFieldSchema::FieldType(PayloadSchemaType::Integer)),
        };
        let operation =
            UpdateOperation::FieldIndexOperation(FieldIndexOperations::CreateIndex(index));
        shard.update(operation).map_err(|error| error.to_string())?;
    }
    shard.flush().map_err(|error| error.to_string())?;
    drop(shard);
    fs::rename(&building, path).map_err(|error| error.to_string())
}

/// Loads the shard and checks that it can be read and was made for `schema`. The error is a sentence
/// for the log.
fn load(path: &Path, schema: &StoreSchema) -> Result<EdgeShard, String> {
    // The log has a lock of its own, which a child that is about to run its program can hold: see `lock_soon`.
    let held = |loaded: &Result<EdgeShard, String>| matches!(loaded, Err(reason) if reason.contains("WouldBlock"));
    let shard = retry_while(held, || load_once(path))?;
    let found = shard
        .config()
        .vectors
        .get(&schema.embedder)
        .map(|params| params.size);
    match found {
        Some(dim) if dim == schema.dim => Ok(shard),
        _ => Err(format!(
            "it was made for another embedder than {} ({})",
            schema.embedder, schema.dim
        )),
    }
}

fn load_once(path: &Path) -> Result<EdgeShard, String> {
    // Files that were cut short make the shard panic rather than fail in places.
    let loaded = std::panic::catch_unwind(|| {
        let shard = EdgeShard::load(path, None)?;
        shard.count(CountRequest {
            filter: None,
            exact: true,
        })?;
        Ok::<_, OperationError>(shard)
    });
    match loaded {
        Ok(loaded) => loaded.map_err(|error| error.to_string()),
        Err(_) => Err("its files are damaged".to_owned()),
    }
}

fn config(schema: &StoreSchema) -> EdgeConfig {
    // No graph: searches are exact, and building one would cost minutes for nothing.
    let no_graph = HnswIndexConfig {
        m: 0,
        payload_m: Some(0),
        ..HnswIndexConfig::default()
    };
    EdgeConfig::builder()
        .vector(
            schema.embedder.clone(),
            EdgeVectorParams::builder(schema.dim, Distance::Dot)
                .hnsw_config(no_graph)
                .build(),
        )
        .sparse_vector(
            SPARSE_VECTOR,
            EdgeSparseVectorParams::builder()
                .modifier(Modifier::Idf)
                .build(),
        )
        .hnsw_config(no_graph)
        .build()
}

fn edge_point(dense_name: &str, point: &Point) -> qdrant_edge::PointStructPersisted {
    let named = std::collections::HashMap::from([
        (
            dense_name.to_owned(),
            VectorInternal::Dense(point.dense.clone()),
        ),
        (SPARSE_VECTOR.to_owned(), sparse_vector(&point.sparse)),
    ]);
    let payload =
        serde_json::json!({ COLLECTION_KEY: point.collection.0, DOCUMENT_KEY: point.document.0 });
    PointStruct::new(
        PointId::Uuid(point.id),
        Vectors(VectorStructInternal::Named(named)),
        payload,
    )
    .into()
}

fn sparse_vector(sparse: &SparseVector) -> VectorInternal {
    Vector::new_sparse(sparse.indices.clone(), sparse.values.clone())
        .map(|vector| vector.0)
        .expect("indices are distinct and as many as values")
}

fn edge_filter(filter: &Filter) -> Option<EdgeFilter> {
    let any = |key: &str, ids: Vec<i64>| {
        let any = AnyVariants::Integers(ids.into_iter().collect());
        Condition::Field(FieldCondition::new_match(
            json_path(key),
            Match::new_any(any),
        ))
    };
    let mut edge = EdgeFilter::new();
    if let Some(collections) = &filter.collections {
        edge.must = Some(vec![any(
            COLLECTION_KEY,
            collections.iter().map(|id| id.0).collect(),
        )]);
    }
    if !filter.exclude.is_empty() {
        edge.must_not = Some(vec![any(
            DOCUMENT_KEY,
            filter.exclude.iter().map(|id| id.0).collect(),
        )]);
    }
    (edge.must.is_some() || edge.must_not.is_some()).then_some(edge)
}

fn json_path(key: &str) -> JsonPath {
    key.parse().expect("the keys are plain names")
}

fn scored(point: &ScoredPoint) -> Option<Scored> {
    uuid(&point.id).map(|id| Scored {
        id,
        score: point.score,
    })
}

fn uuid(id: &PointId) -> Option<Uuid> {
    match id {
        PointId::Uuid(id) => Some(*id),
        PointId::NumId(_) => None,
    }
}
