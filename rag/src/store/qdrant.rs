//! The vector store on a Qdrant server, over gRPC.
//!
//! One Qdrant collection holds the points of all our collections, told apart by payload. Its name
//! carries the catalogue's instance id, so several suites can share a server. Needs Qdrant 1.19 or
//! newer, the first to compute the IDF over the points of a filter.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use qdrant_client::qdrant::vectors_output::VectorsOptions;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder,
    DeletePointsBuilder, Distance, FieldType, Filter as ServerFilter, GetPointsBuilder,
    HnswConfigDiffBuilder, IdfParamsBuilder, Modifier, PointId, PointStruct, PointsIdsList, Query,
    QueryBatchPointsBuilder, QueryPoints, QueryPointsBuilder, ScoredPoint, ScrollPointsBuilder,
    SearchParamsBuilder, SparseVectorParamsBuilder, SparseVectorsConfigBuilder,
    UpsertPointsBuilder, Vector, VectorInput, VectorParamsBuilder, VectorsConfigBuilder,
    VectorsSelector, point_id::PointIdOptions, vector_output, vectors_config,
};
use qdrant_client::{Qdrant, QdrantError};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use super::{
    COLLECTION_KEY, Candidates, DOCUMENT_KEY, Filter, HybridQuery, Point, SPARSE_VECTOR, Scored,
    StoreError, StoreSchema, VectorStore, rank,
};

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for an answer; an exact search over millions of points takes seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Points sent in one request: 500 of 384 dimensions are under 1 MiB.
const UPSERT_BATCH: usize = 500;
/// Ids sent or read in one request.
const ID_BATCH: usize = 4096;

/// gRPC status codes told apart here.
const DEADLINE_EXCEEDED: i32 = 4;
const PERMISSION_DENIED: i32 = 7;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

/// How to reach the server.
#[derive(Debug, Clone)]
pub struct QdrantConfig {
    /// gRPC address, such as `http://127.0.0.1:6334`.
    pub url: String,
    /// The server's key, where it wants one.
    pub api_key: Option<String>,
    /// Name of the Qdrant collection.
    pub collection: String,
}

/// A collection on a Qdrant server.
pub struct QdrantStore {
    url: String,
    collection: String,
    dense_name: String,
    client: Qdrant,
    /// Drives the connection. `None` only while it is being dropped.
    runtime: Option<Runtime>,
}

impl QdrantStore {
    /// Connects and makes sure that the collection exists and fits `schema`. A collection that was made
    /// for another embedder is replaced by an empty one; the caller fills it from the catalogue.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::Unauthorized`], [`StoreError::InvalidUrl`] and
    /// [`StoreError::Server`].
    pub fn open(config: QdrantConfig, schema: &StoreSchema) -> Result<Self, StoreError> {
        let QdrantConfig {
            url,
            api_key,
            collection,
        } = config;
        let invalid = |reason: String| StoreError::InvalidUrl {
            url: url.clone(),
            reason,
        };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(invalid("it must begin with http:// or https://".to_owned()));
        }
        let mut builder = Qdrant::from_url(&url)
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT);
        builder.api_key = api_key;
        builder.check_compatibility = false; // It would print to stdout.
        let client = builder
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        // One worker keeps the connection alive between calls.
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("qdrant-client")
            .enable_all()
            .build()
            .map_err(|error| StoreError::Unreachable {
                url: url.clone(),
                reason: error.to_string(),
            })?;
        let store = Self {
            url,
            collection,
            dense_name: schema.embedder.clone(),
            client,
            runtime: Some(runtime),
        };
        store.prepare_collection(schema)?;
        Ok(store)
    }

    /// Deletes the whole collection from the server.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drop_collection(self) -> Result<(), StoreError> {
        self.call(
            "delete the collection",
            self.client.delete_collection(&self.collection),
        )?;
        Ok(())
    }

    fn call<T>(
        &self,
        operation: &'static str,
        request: impl Future<Output = Result<T, QdrantError>>,
    ) -> Result<T, StoreError> {
        let runtime = self.runtime.as_ref().expect("present until dropped");
        runtime
            .block_on(request)
            .map_err(|error| self.error(operation, error))
    }

    fn error(&self, operation: &'static str, error: QdrantError) -> StoreError {
        let url = self.url.clone();
        let QdrantError::ResponseError { status } = error else {
            return StoreError::Server {
                url,
                operation,
                reason: error.to_string(),
            };
        };
        let reason = status.message().to_owned();
        match i32::from(status.code()) {
            UNAVAILABLE | DEADLINE_EXCEEDED => StoreError::Unreachable { url, reason },
            UNAUTHENTICATED | PERMISSION_DENIED => StoreError::Unauthorized { url },
            // The client reports a refused connection as an internal error with this text.
            _ if reason.starts_with("Failed to connect") => StoreError::Unreachable { url, reason },
            _ => StoreError::Server {
                url,
                operation,
                reason,
            },
        }
    }

    fn prepare_collection(&self, schema: &StoreSchema) -> Result<(), StoreError> {
        let name = &self.collection;
        if self.call(
            "look for the collection",
            self.client.collection_exists(name),
        )? {
            if self.fits(schema)? {
                return Ok(());
            }
            tracing::warn!(collection = %name, "the collection was made for another embedder; replacing it");
            self.call("delete the collection", self.client.delete_collection(name))?;
        }
        // No graph: searches are exact.
        let no_graph = HnswConfigDiffBuilder::default().m(0).payload_m(0);
        let mut dense = VectorsConfigBuilder::default();
        let params = VectorParamsBuilder::new(schema.dim as u64, Distance::Dot)
            .hnsw_config(no_graph.clone());
        dense.add_named_vector_params(&schema.embedder, params);
        let mut sparse = SparseVectorsConfigBuilder::default();
        let modifier = SparseVectorParamsBuilder::default().modifier(Modifier::Idf);
        sparse.add_named_vector_params(SPARSE_VECTOR, modifier);
        let request = CreateCollectionBuilder::new(name)
            .vectors_config(dense)
            .sparse_vectors_config(sparse)
            .hnsw_config(no_graph);
        self.call(
            "create the collection",
            self.client.create_collection(request),
        )?;
        for key in [COLLECTION_KEY, DOCUMENT_KEY] {
            let request =
                CreateFieldIndexCollectionBuilder::new(name, key, FieldType::Integer).wait(true);
            self.call(
                "index a payload field",
                self.client.create_field_index(request),
            )?;
        }
        Ok(())
    }

    /// Whether the existing collection has the dense vector of `schema`.
    fn fits(&self, schema: &StoreSchema) -> Result<bool, StoreError> {
        let info = self.call(
            "describe the collection",
            self.client.collection_info(&self.collection),
        )?;
        let config = info
            .result
            .and_then(|info| info.config)
            .and_then(|config| config.params)
            .and_then(|params| params.vectors_config)
            .and_then(|vectors| vectors.config);
        Ok(match config {
            Some(vectors_config::Config::ParamsMap(named)) => named
                .map
                .get(&schema.embedder)
                .is_some_and(|params| params.size == schema.dim as u64),
            _ => false,
        })
    }

    fn search_request(&self, vector: VectorInput, using: &str, query: &HybridQuery) -> QueryPoints {
        let filter = server_filter(&query.filter);
        let mut params = SearchParamsBuilder::default().exact(true);
        // Without a corpus of its own the IDF would count deleted points until they are vacuumed; the
        // dense search has no IDF, and refuses to be given one.
        if using == SPARSE_VECTOR {
            params = params.idf(IdfParamsBuilder::new().corpus(filter.clone().unwrap_or_default()));
        }
        let mut request = QueryPointsBuilder::new(&self.collection)
            .query(Query::new_nearest(vector))
            .using(using)
            .limit(query.limit as u64)
            .with_payload(false);
        if let Some(filter) = filter {
            request = request.filter(filter);
        }
        request.params(params).build()
    }
}

impl Drop for QdrantStore {
    fn drop(&mut self) {
        // Waiting for the runtime here would panic when the last owner lives in async code.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl VectorStore for QdrantStore {
    fn upsert(&self, points: &[Point]) -> Result<(), StoreError> {
        for batch in points.chunks(UPSERT_BATCH) {
            let batch: Vec<PointStruct> = batch
                .iter()
                .map(|point| server_point(&self.dense_name, point))
                .collect();
            let request = UpsertPointsBuilder::new(&self.collection, batch).wait(true);
            self.call("write points", self.client.upsert_points(request))?;
        }
        Ok(())
    }

    fn delete(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        for batch in ids.chunks(ID_BATCH) {
            let ids = PointsIdsList {
                ids: batch.iter().map(server_id).collect(),
            };
            let request = DeletePointsBuilder::new(&self.collection)
                .points(ids)
                .wait(true);
            self.call("delete points", self.client.delete_points(request))?;
        }
        Ok(())
    }

    fn query(&self, query: &HybridQuery) -> Result<Candidates, StoreError> {
        if query.filter.is_nothing() || query.limit == 0 {
            return Ok(Candidates::default());
        }
        let dense = VectorInput::new_dense(query.dense.clone());
        let mut queries = vec![self.search_request(dense, &self.dense_name, query)];
        if !query.sparse.indices.is_empty() {
            let sparse =
                VectorInput::new_sparse(query.sparse.indices.clone(), query.sparse.values.clone());
            queries.push(self.search_request(sparse, SPARSE_VECTOR, query));
        }
        let request = QueryBatchPointsBuilder::new(&self.collection, queries);
        let response = self.call("search", self.client.query_batch(request))?;
        let mut lists = response.result.into_iter();
        let mut next = || {
            let list = lists.next().map(|list| list.result).unwrap_or_default();
            rank(list.iter().filter_map(scored).collect(), query.limit)
        };
        Ok(Candidates {
            dense: next(),
            bm25: next(),
        })
    }

    fn dense_vectors(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, Vec<f32>)>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for batch in ids.chunks(UPSERT_BATCH) {
            let ids: Vec<PointId> = batch.iter().map(server_id).collect();
            let request = GetPointsBuilder::new(&self.collection, ids)
                .with_payload(false)
                .with_vectors(VectorsSelector {
                    names: vec![self.dense_name.clone()],
                });
            let response = self.call("read points", self.client.get_points(request))?;
            for point in response.result {
                let (Some(id), Some(vectors)) = (uuid(point.id.as_ref()), point.vectors) else {
                    continue;
                };
                let Some(VectorsOptions::Vectors(mut named)) = vectors.vectors_options else {
                    continue;
                };
                let Some(vector) = named.vectors.remove(&self.dense_name) else {
                    continue;
                };
                if let vector_output::Vector::Dense(dense) = vector.into_vector() {
                    found.push((id, dense.data));
                }
            }
        }
        Ok(found)
    }

    fn count(&self, filter: &Filter) -> Result<usize, StoreError> {
        if filter.is_nothing() {
            return Ok(0);
        }
        let mut request = CountPointsBuilder::new(&self.collection).exact(true);
        if let Some(filter) = server_filter(filter) {
            request = request.filter(filter);
        }
        let response = self.call("count points", self.client.count(request))?;
        Ok(response.result.map_or(0, |result| {
            usize::try_from(result.count).unwrap_or(usize::MAX)
        }))
    }

    fn ids(&self) -> Result<Vec<Uuid>, StoreError> {
        let mut ids = Vec::new();
        let mut offset: Option<PointId> = None;
        loop {
            let mut request = ScrollPointsBuilder::new(&self.collection)
                .limit(u32::try_from(ID_BATCH).expect("a small number"))
                .with_payload(false)
                .with_vectors(false);
            if let Some(offset) = offset {
                request = request.offset(offset);
            }
            let response = self.call("list points", self.client.scroll(request))?;
            ids.extend(
                response
                    .result
                    .iter()
                    .filter_map(|point| uuid(point.id.as_ref())),
            );
            offset = response.next_page_offset;
            if offset.is_none() {
                return Ok(ids);
            }
        }
    }

    /// Nothing to do: every write waits for the server, which logs before it answers.
    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Nothing to do: the server does so by itself.
    fn optimize(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn server_point(dense_name: &str, point: &Point) -> PointStruct {
    let sparse = Vector::new_sparse(point.sparse.indices.clone(), point.sparse.values.clone());
    let vectors = HashMap::from([
        (
            dense_name.to_owned(),
            Vector::new_dense(point.dense.clone()),
        ),
        (SPARSE_VECTOR.to_owned(), sparse),
    ]);
    let payload: HashMap<String, qdrant_client::qdrant::Value> = HashMap::from([
        (COLLECTION_KEY.to_owned(), point.collection.0.into()),
        (DOCUMENT_KEY.to_owned(), point.document.0.into()),
    ]);
    PointStruct::new(server_id(&point.id), vectors, payload)
}

fn server_filter(filter: &Filter) -> Option<ServerFilter> {
    let must = filter.collections.as_ref().map(|collections| {
        Condition::matches(
            COLLECTION_KEY,
            collections.iter().map(|id| id.0).collect::<Vec<i64>>(),
        )
    });
    let must_not = (!filter.exclude.is_empty()).then(|| {
        Condition::matches(
            DOCUMENT_KEY,
            filter.exclude.iter().map(|id| id.0).collect::<Vec<i64>>(),
        )
    });
    (must.is_some() || must_not.is_some()).then(|| ServerFilter {
        must: must.into_iter().collect(),
        must_not: must_not.into_iter().collect(),
        ..ServerFilter::default()
    })
}

fn scored(point: &ScoredPoint) -> Option<Scored> {
    uuid(point.id.as_ref()).map(|id| Scored {
        id,
        score: point.score,
    })
}

fn server_id(id: &Uuid) -> PointId {
    id.to_string().into()
}

fn uuid(id: Option<&PointId>) -> Option<Uuid> {
    match id?.point_id_options.as_ref()? {
        PointIdOptions::Uuid(text) => Uuid::parse_str(text).ok(),
        PointIdOptions::Num(_) => None,
    }
}
