//! A server of the Qdrant protocol for tests: the gRPC services that the store calls, over the points of
//! an exact search in memory. What it does not know it refuses, so that a request which a test does not
//! cover is noticed.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use qdrant_client::qdrant::collections_server::{Collections, CollectionsServer};
use qdrant_client::qdrant::points_server::{Points, PointsServer};
use qdrant_client::qdrant::{
    self as proto, condition::ConditionOneOf, r#match::MatchValue, vector_input, vectors,
};
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::exact::{matches, search};
use super::{
    COLLECTION_KEY, DOCUMENT_KEY, Filter, HybridQuery, Point, SPARSE_VECTOR, Scored, SparseVector,
};
use crate::access::{CollectionId, DocumentId};

/// A running server; stops when dropped.
pub(crate) struct TestServer {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl TestServer {
    /// Starts a server on a free port; with a key it refuses requests without it.
    pub(crate) fn start(api_key: Option<&'static str>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let check = move |request: Request<()>| match api_key {
                    Some(key)
                        if request
                            .metadata()
                            .get("api-key")
                            .is_none_or(|sent| sent != key) =>
                    {
                        Err(Status::unauthenticated("wrong key"))
                    }
                    _ => Ok(request),
                };
                let service = Service::default();
                let incoming =
                    TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
                Server::builder()
                    .add_service(CollectionsServer::with_interceptor(service.clone(), check))
                    .add_service(PointsServer::with_interceptor(service, check))
                    .serve_with_incoming_shutdown(incoming, async {
                        let _ = stopped.await;
                    })
                    .await
                    .unwrap();
            });
        });
        Self {
            address,
            _stop: stop,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

struct StoredCollection {
    vectors: proto::VectorsConfig,
    dense_name: String,
    dim: usize,
    points: BTreeMap<Uuid, Point>,
}

#[derive(Clone, Default)]
struct Service(Arc<Mutex<HashMap<String, StoredCollection>>>);

impl Service {
    fn with<T>(
        &self,
        name: &str,
        run: impl FnOnce(&mut StoredCollection) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let mut collections = self.0.lock().unwrap();
        let collection = collections
            .get_mut(name)
            .ok_or_else(|| Status::not_found(format!("no collection `{name}`")))?;
        run(collection)
    }
}

type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'a>>;

/// Methods of a service that nothing here calls, as `async_trait` would write them.
macro_rules! refuse {
    ($($method:ident($request:ident) -> $reply:ident;)*) => {$(
        fn $method<'life, 'fut>(&'life self, _: Request<proto::$request>) -> Reply<'fut, proto::$reply>
        where
            'life: 'fut,
            Self: 'fut,
        {
            Box::pin(async { Err(Status::unimplemented(stringify!($method))) })
        }
    )*};
}

#[tonic::async_trait]
impl Collections for Service {
    async fn get(
        &self,
        request: Request<proto::GetCollectionInfoRequest>,
    ) -> Result<Response<proto::GetCollectionInfoResponse>, Status> {
        self.with(&request.into_inner().collection_name, |collection| {
            let params = proto::CollectionParams {
                vectors_config: Some(collection.vectors.clone()),
                ..proto::CollectionParams::default()
            };
            let config = proto::CollectionConfig {
                params: Some(params),
                ..proto::CollectionConfig::default()
            };
            let info = proto::CollectionInfo {
                config: Some(config),
                ..proto::CollectionInfo::default()
            };
            Ok(Response::new(proto::GetCollectionInfoResponse {
                result: Some(info),
                time: 0.0,
            }))
        })
    }

    async fn create(
        &self,
        request: Request<proto::CreateCollection>,
    ) -> Result<Response<proto::CollectionOperationResponse>, Status> {
        let request = request.into_inner();
        let invalid = || {
            Status::invalid_argument(
                "one named dense vector and one sparse vector with IDF expected",
            )
        };
        let vectors = request.vectors_config.ok_or_else(invalid)?;
        let Some(proto::vectors_config::Config::ParamsMap(named)) = &vectors.config else {
            return Err(invalid());
        };
        let (dense_name, params) = named.map.iter().next().ok_or_else(invalid)?;
        let sparse = request.sparse_vectors_config.ok_or_else(invalid)?;
        let modifier = sparse.map.get(SPARSE_VECTOR).ok_or_else(invalid)?.modifier;
        if modifier != Some(proto::Modifier::Idf as i32)
            || params.distance != proto::Distance::Dot as i32
        {
            return Err(invalid());
        }
        let collection = StoredCollection {
            dense_name: dense_name.clone(),
            dim: params.size as usize,
            vectors,
            points: BTreeMap::new(),
        };
        let mut collections = self.0.lock().unwrap();
        if collections
            .insert(request.collection_name, collection)
            .is_some()
        {
            return Err(Status::already_exists("the collection exists"));
        }
        Ok(Response::new(proto::CollectionOperationResponse {
            result: true,
            time: 0.0,
        }))
    }

    async fn delete(
        &self,
        request: Request<proto::DeleteCollection>,
    ) -> Result<Response<proto::CollectionOperationResponse>, Status> {
        let result = self
            .0
            .lock()
            .unwrap()
            .remove(&request.into_inner().collection_name)
            .is_some();
        Ok(Response::new(proto::CollectionOperationResponse {
            result,
            time: 0.0,
        }))
    }

    async fn collection_exists(
        &self,
        request: Request<proto::CollectionExistsRequest>,
    ) -> Result<Response<proto::CollectionExistsResponse>, Status> {
        let exists = self
            .0
            .lock()
            .unwrap()
            .contains_key(&request.into_inner().collection_name);
        let result = Some(proto::CollectionExists { exists });
        Ok(Response::new(proto::CollectionExistsResponse {
            result,
            time: 0.0,
        }))
    }

    refuse! {
        list(ListCollectionsRequest) -> ListCollectionsResponse;
        update(UpdateCollection) -> CollectionOperationResponse;
        update_aliases(ChangeAliases) -> CollectionOperationResponse;
        list_collection_aliases(ListCollectionAliasesRequest) -> ListAliasesResponse;
        list_aliases(ListAliasesRequest) -> ListAliasesResponse;
        collection_cluster_info(CollectionClusterInfoRequest) -> CollectionClusterInfoResponse;
        update_collection_cluster_setup(UpdateCollectionClusterSetupRequest) -> UpdateCollectionClusterSetupResponse;
        create_shard_key(CreateShardKeyRequest) -> CreateShardKeyResponse;
        delete_shard_key(DeleteShardKeyRequest) -> DeleteShardKeyResponse;
        list_shard_keys(ListShardKeysRequest) -> ListShardKeysResponse;
    }
}

#[tonic::async_trait]
impl Points for Service {
    async fn upsert(
        &self,
        request: Request<proto::UpsertPoints>,
    ) -> Result<Response<proto::PointsOperationResponse>, Status> {
        let request = request.into_inner();
        self.with(&request.collection_name, |collection| {
            for point in request.points {
                let point = stored_point(point, &collection.dense_name, collection.dim)?;
                collection.points.insert(point.id, point);
            }
            Ok(done())
        })
    }

    async fn delete(
        &self,
        request: Request<proto::DeletePoints>,
    ) -> Result<Response<proto::PointsOperationResponse>, Status> {
        let request = request.into_inner();
        let Some(proto::points_selector::PointsSelectorOneOf::Points(list)) = request
            .points
            .and_then(|selector| selector.points_selector_one_of)
        else {
            return Err(Status::unimplemented("only lists of ids"));
        };
        self.with(&request.collection_name, |collection| {
            for id in &list.ids {
                collection.points.remove(&uuid(Some(id))?);
            }
            Ok(done())
        })
    }

    async fn get(
        &self,
        request: Request<proto::GetPoints>,
    ) -> Result<Response<proto::GetResponse>, Status> {
        let request = request.into_inner();
        self.with(&request.collection_name, |collection| {
            let mut result = Vec::new();
            for id in &request.ids {
                if let Some(point) = collection.points.get(&uuid(Some(id))?) {
                    result.push(retrieved(point, Some(&collection.dense_name)));
                }
            }
            Ok(Response::new(proto::GetResponse {
                result,
                ..proto::GetResponse::default()
            }))
        })
    }

    async fn create_field_index(
        &self,
        request: Request<proto::CreateFieldIndexCollection>,
    ) -> Result<Response<proto::PointsOperationResponse>, Status> {
        let request = request.into_inner();
        if request.field_type != Some(proto::FieldType::Integer as i32) {
            return Err(Status::unimplemented("only integer fields"));
        }
        self.with(&request.collection_name, |_| Ok(done()))
    }

    async fn scroll(
        &self,
        request: Request<proto::ScrollPoints>,
    ) -> Result<Response<proto::ScrollResponse>, Status> {
        let request = request.into_inner();
        let from = match &request.offset {
            Some(offset) => uuid(Some(offset))?,
            None => Uuid::nil(),
        };
        // Smaller pages than asked for, so that paging is tested with few points.
        let page = (request.limit.unwrap_or(10) as usize).min(64);
        self.with(&request.collection_name, |collection| {
            let mut points = collection.points.range(from..).map(|(_, point)| point);
            let result = points
                .by_ref()
                .take(page)
                .map(|point| retrieved(point, None))
                .collect();
            let next_page_offset = points.next().map(|point| point.id.to_string().into());
            Ok(Response::new(proto::ScrollResponse {
                result,
                next_page_offset,
                ..proto::ScrollResponse::default()
            }))
        })
    }

    async fn count(
        &self,
        request: Request<proto::CountPoints>,
    ) -> Result<Response<proto::CountResponse>, Status> {
        let request = request.into_inner();
        let filter = stored_filter(request.filter)?;
        self.with(&request.collection_name, |collection| {
            let count = collection
                .points
                .values()
                .filter(|point| matches(&filter, point))
                .count() as u64;
            let result = Some(proto::CountResult { count });
            Ok(Response::new(proto::CountResponse {
                result,
                ..proto::CountResponse::default()
            }))
        })
    }

    async fn query_batch(
        &self,
        request: Request<proto::QueryBatchPoints>,
    ) -> Result<Response<proto::QueryBatchResponse>, Status> {
        let request = request.into_inner();
        self.with(&request.collection_name, |collection| {
            let lists: Result<Vec<_>, Status> = request
                .query_points
                .into_iter()
                .map(|query| answer(collection, query))
                .collect();
            let result = lists?
                .into_iter()
                .map(|result| proto::BatchResult { result })
                .collect();
            Ok(Response::new(proto::QueryBatchResponse {
                result,
                ..proto::QueryBatchResponse::default()
            }))
        })
    }

    refuse! {
        update_vectors(UpdatePointVectors) -> PointsOperationResponse;
        delete_vectors(DeletePointVectors) -> PointsOperationResponse;
        set_payload(SetPayloadPoints) -> PointsOperationResponse;
        overwrite_payload(SetPayloadPoints) -> PointsOperationResponse;
        delete_payload(DeletePayloadPoints) -> PointsOperationResponse;
        clear_payload(ClearPayloadPoints) -> PointsOperationResponse;
        delete_field_index(DeleteFieldIndexCollection) -> PointsOperationResponse;
        create_vector_name(CreateVectorNameRequest) -> PointsOperationResponse;
        delete_vector_name(DeleteVectorNameRequest) -> PointsOperationResponse;
        search(SearchPoints) -> SearchResponse;
        search_batch(SearchBatchPoints) -> SearchBatchResponse;
        search_groups(SearchPointGroups) -> SearchGroupsResponse;
        recommend(RecommendPoints) -> RecommendResponse;
        recommend_batch(RecommendBatchPoints) -> RecommendBatchResponse;
        recommend_groups(RecommendPointGroups) -> RecommendGroupsResponse;
        discover(DiscoverPoints) -> DiscoverResponse;
        discover_batch(DiscoverBatchPoints) -> DiscoverBatchResponse;
        update_batch(UpdateBatchPoints) -> UpdateBatchResponse;
        query(QueryPoints) -> QueryResponse;
        query_groups(QueryPointGroups) -> QueryGroupsResponse;
        facet(FacetCounts) -> FacetResponse;
        search_matrix_pairs(SearchMatrixPoints) -> SearchMatrixPairsResponse;
        search_matrix_offsets(SearchMatrixPoints) -> SearchMatrixOffsetsResponse;
    }
}

fn done() -> Response<proto::PointsOperationResponse> {
    Response::new(proto::PointsOperationResponse::default())
}

/// Answers one nearest query; it must be exact, and as on a real server only the sparse search may name
/// the points of its IDF, which must be those of its filter.
fn answer(
    collection: &StoredCollection,
    query: proto::QueryPoints,
) -> Result<Vec<proto::ScoredPoint>, Status> {
    let params = query.params.unwrap_or_default();
    let using = query.using.unwrap_or_default();
    let idf_of = (using == SPARSE_VECTOR).then(|| query.filter.clone().unwrap_or_default());
    if params.exact != Some(true) || params.idf.and_then(|idf| idf.corpus) != idf_of {
        return Err(Status::invalid_argument(
            "an exact search with the IDF of its filter expected",
        ));
    }
    let Some(proto::query::Variant::Nearest(vector)) = query.query.and_then(|query| query.variant)
    else {
        return Err(Status::unimplemented("only nearest queries"));
    };
    let filter = stored_filter(query.filter)?;
    let limit = query.limit.unwrap_or(10) as usize;
    let empty = HybridQuery {
        dense: vec![0.0; collection.dim],
        sparse: SparseVector::default(),
        filter,
        limit,
    };
    let points = collection.points.values();
    let list = match vector.variant {
        Some(vector_input::Variant::Dense(dense)) if using == collection.dense_name => {
            search(
                points,
                &HybridQuery {
                    dense: dense.data,
                    ..empty
                },
            )
            .dense
        }
        Some(vector_input::Variant::Sparse(sparse)) if using == SPARSE_VECTOR => {
            let sparse = SparseVector {
                indices: sparse.indices,
                values: sparse.values,
            };
            search(points, &HybridQuery { sparse, ..empty }).bm25
        }
        _ => {
            return Err(Status::invalid_argument(format!(
                "no such vector: `{using}`"
            )));
        }
    };
    Ok(list.into_iter().map(scored_point).collect())
}

fn scored_point(scored: Scored) -> proto::ScoredPoint {
    let id = Some(scored.id.to_string().into());
    proto::ScoredPoint {
        id,
        score: scored.score,
        ..proto::ScoredPoint::default()
    }
}

fn retrieved(point: &Point, dense_name: Option<&str>) -> proto::RetrievedPoint {
    let vectors = dense_name.map(|name| {
        let dense = proto::DenseVector {
            data: point.dense.clone(),
        };
        let vector = proto::VectorOutput {
            vector: Some(proto::vector_output::Vector::Dense(dense)),
            ..proto::VectorOutput::default()
        };
        let named = proto::NamedVectorsOutput {
            vectors: HashMap::from([(name.to_owned(), vector)]),
        };
        proto::VectorsOutput {
            vectors_options: Some(proto::vectors_output::VectorsOptions::Vectors(named)),
        }
    });
    proto::RetrievedPoint {
        id: Some(point.id.to_string().into()),
        vectors,
        ..proto::RetrievedPoint::default()
    }
}

fn stored_point(point: proto::PointStruct, dense_name: &str, dim: usize) -> Result<Point, Status> {
    let invalid = |what: &str| Status::invalid_argument(what.to_owned());
    let Some(vectors::VectorsOptions::Vectors(mut named)) =
        point.vectors.and_then(|vectors| vectors.vectors_options)
    else {
        return Err(invalid("named vectors expected"));
    };
    let mut take = |name: &str| named.vectors.remove(name).and_then(|vector| vector.vector);
    let Some(proto::vector::Vector::Dense(dense)) = take(dense_name) else {
        return Err(invalid("the dense vector is missing"));
    };
    let Some(proto::vector::Vector::Sparse(sparse)) = take(SPARSE_VECTOR) else {
        return Err(invalid("the sparse vector is missing"));
    };
    if dense.data.len() != dim {
        return Err(invalid("the dense vector has another length"));
    }
    let integer = |key: &str| point.payload.get(key).and_then(proto::Value::as_integer);
    Ok(Point {
        id: uuid(point.id.as_ref())?,
        collection: CollectionId(integer(COLLECTION_KEY).ok_or_else(|| invalid("no collection"))?),
        document: DocumentId(integer(DOCUMENT_KEY).ok_or_else(|| invalid("no document"))?),
        dense: dense.data,
        sparse: SparseVector {
            indices: sparse.indices,
            values: sparse.values,
        },
    })
}

fn stored_filter(filter: Option<proto::Filter>) -> Result<Filter, Status> {
    let filter = filter.unwrap_or_default();
    let ids = |condition: &proto::Condition, key: &str| match &condition.condition_one_of {
        Some(ConditionOneOf::Field(field)) if field.key == key => {
            match field.r#match.as_ref().and_then(|m| m.match_value.as_ref()) {
                Some(MatchValue::Integers(list)) => Ok(list.integers.clone()),
                _ => Err(Status::unimplemented("only matches with integers")),
            }
        }
        _ => Err(Status::unimplemented("only the fields of a point")),
    };
    let collections = match filter.must.as_slice() {
        [] => None,
        [condition] => Some(
            ids(condition, COLLECTION_KEY)?
                .into_iter()
                .map(CollectionId)
                .collect(),
        ),
        _ => return Err(Status::unimplemented("one condition")),
    };
    let exclude = match filter.must_not.as_slice() {
        [] => Vec::new(),
        [condition] => ids(condition, DOCUMENT_KEY)?
            .into_iter()
            .map(DocumentId)
            .collect(),
        _ => return Err(Status::unimplemented("one condition")),
    };
    Ok(Filter {
        collections,
        exclude,
    })
}

fn uuid(id: Option<&proto::PointId>) -> Result<Uuid, Status> {
    match id.and_then(|id| id.point_id_options.as_ref()) {
        Some(proto::point_id::PointIdOptions::Uuid(text)) => {
            Uuid::parse_str(text).map_err(|error| Status::invalid_argument(error.to_string()))
        }
        _ => Err(Status::invalid_argument("a UUID expected")),
    }
}
