//! One suite for every vector store: the same operations and the same queries as on [`ExactStore`],
//! the same ids in the same order, scores equal to rounding.
//!
//! It runs on the embedded store, and on the Qdrant store against a server of the Qdrant protocol in
//! this process ([`super::test_server`]). With `CLOISTER_QDRANT_URL` (and `CLOISTER_QDRANT_API_KEY`) set
//! it also runs on a real server: `CLOISTER_QDRANT_URL=http://127.0.0.1:6334 cargo test --release -p rag
//! conformance`.

use std::collections::BTreeSet;
use std::path::Path;

use uuid::Uuid;

use super::bm25::Bm25;
use super::edge::EdgeStore;
use super::exact::ExactStore;
use super::qdrant::{QdrantConfig, QdrantStore};
use super::test_server::TestServer;
use super::{Filter, HybridQuery, Point, Scored, StoreError, StoreSchema, VectorStore};
use crate::access::{CollectionId, DocumentId};
use crate::disk::DiskSpace;
use crate::testing::{DIM, HashEmbedder, Random};

const TOLERANCE: f32 = 1e-4;

/// The disk of the tests' folders.
fn disk() -> DiskSpace {
    DiskSpace::of(std::env::temp_dir())
}

fn schema() -> StoreSchema {
    StoreSchema {
        embedder: "hash-64".to_owned(),
        dim: DIM,
    }
}

fn point(random: &mut Random, bm25: &Bm25, number: u128) -> Point {
    let words = 5 + random.below(40);
    // A number of its own in every text keeps scores apart, so that the order is never a matter of rounding.
    let text = format!("{} unique{number}", random.words(words));
    let document = DocumentId(1 + random.below(40) as i64);
    Point {
        id: Uuid::from_u128(number),
        collection: CollectionId(1 + document.0 % 3),
        document,
        dense: HashEmbedder::vector(&text),
        sparse: bm25.document(&text),
    }
}

fn filters() -> Vec<Filter> {
    let only = |ids: &[i64]| {
        Some(
            ids.iter()
                .copied()
                .map(CollectionId)
                .collect::<BTreeSet<_>>(),
        )
    };
    vec![
        Filter::default(),
        Filter {
            collections: only(&[1]),
            exclude: vec![],
        },
        Filter {
            collections: only(&[2, 3]),
            exclude: vec![DocumentId(2), DocumentId(4)],
        },
        Filter {
            collections: None,
            exclude: vec![DocumentId(7)],
        },
        Filter {
            collections: only(&[99]),
            exclude: vec![],
        },
        Filter {
            collections: only(&[]),
            exclude: vec![],
        },
    ]
}

fn query(random: &mut Random, bm25: &Bm25, filter: Filter, limit: usize) -> HybridQuery {
    let words = 1 + random.below(6);
    let text = random.words(words);
    HybridQuery {
        dense: HashEmbedder::vector(&text),
        sparse: bm25.query(&text),
        filter,
        limit,
    }
}

/// Equal ids in equal order; points whose scores differ by rounding only may stand in either order.
fn assert_same(got: &[Scored], want: &[Scored], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: number of candidates");
    for (got_one, want_one) in got.iter().zip(want) {
        assert!(
            (got_one.score - want_one.score).abs() < TOLERANCE,
            "{what}: {got_one:?} instead of {want_one:?}"
        );
        if got_one.id != want_one.id {
            let twin = want.iter().find(|candidate| candidate.id == got_one.id);
            let twin = twin.unwrap_or_else(|| panic!("{what}: {} should not be there", got_one.id));
            assert!(
                (twin.score - got_one.score).abs() < TOLERANCE,
                "{what}: {} is at the wrong place",
                got_one.id
            );
        }
    }
}

fn compare(store: &dyn VectorStore, truth: &ExactStore, seed: u64, num_queries: usize) {
    let (mut random, bm25) = (Random(seed), Bm25::new());
    for filter in filters() {
        assert_eq!(
            store.count(&filter).unwrap(),
            truth.count(&filter).unwrap(),
            "count under {filter:?}"
        );
    }
    let sorted = |mut ids: Vec<Uuid>| {
        ids.sort();
        ids
    };
    assert_eq!(sorted(store.ids().unwrap()), sorted(truth.ids().unwrap()));
    for query_idx in 0..num_queries {
        let filter = filters()[query_idx % filters().len()].clone();
        // Lists are not cut inside a tie: the limit is above the number of points.
        let query = query(&mut random, &bm25, filter, 1000);
        let (got, want) = (store.query(&query).unwrap(), truth.query(&query).unwrap());
        assert_same(
            &got.dense,
            &want.dense,
            &format!("dense list of query {query_idx}"),
        );
        assert_same(
            &got.bm25,
            &want.bm25,
            &format!("bm25 list of query {query_idx}"),
        );
        let cut = store.query(&HybridQuery { limit: 5, ..query }).unwrap();
        assert_same(
            &cut.dense,
            &want.dense[..want.dense.len().min(5)],
            "dense list of 5",
        );
    }
}

/// The suite. `reopen` closes the store and opens it again, as a restart does.
fn check_store(
    mut store: Box<dyn VectorStore>,
    mut reopen: impl FnMut(Box<dyn VectorStore>) -> Box<dyn VectorStore>,
) {
    let (mut random, bm25, truth) = (Random(7), Bm25::new(), ExactStore::default());
    compare(&*store, &truth, 1, 6);

    let points: Vec<Point> = (1..=400)
        .map(|number| point(&mut random, &bm25, number))
        .collect();
    for part in points.chunks(150) {
        store.upsert(part).unwrap();
        truth.upsert(part).unwrap();
    }
    store.flush().unwrap();
    compare(&*store, &truth, 2, 60);

    // Again under the same ids: replaced, not doubled.
    let changed: Vec<Point> = (100..=200)
        .map(|number| point(&mut random, &bm25, number))
        .collect();
    store.upsert(&changed).unwrap();
    truth.upsert(&changed).unwrap();
    let deleted: Vec<Uuid> = (150..=260).chain(5000..5010).map(Uuid::from_u128).collect();
    store.delete(&deleted).unwrap();
    truth.delete(&deleted).unwrap();
    compare(&*store, &truth, 3, 60);

    let asked: Vec<Uuid> = [1, 2, 3, 160, 9999].map(Uuid::from_u128).to_vec();
    let mut vectors = store.dense_vectors(&asked).unwrap();
    vectors.sort_by_key(|(id, _)| *id);
    assert_eq!(vectors, truth.dense_vectors(&asked).unwrap());

    store.flush().unwrap();
    store.optimize().unwrap();
    compare(&*store, &truth, 4, 30);
    store = reopen(store);
    compare(&*store, &truth, 5, 30);

    store.upsert(&[]).unwrap();
    store.delete(&[]).unwrap();
    let none = HybridQuery {
        dense: vec![0.0; DIM],
        sparse: bm25.query("zzz"),
        filter: Filter::default(),
        limit: 0,
    };
    assert_eq!(store.query(&none).unwrap(), super::Candidates::default());
}

fn open_edge(path: &Path) -> Box<dyn VectorStore> {
    Box::new(EdgeStore::open(path, &schema(), disk()).unwrap())
}

#[test]
fn the_embedded_store_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vectors");
    check_store(open_edge(&path), |store| {
        drop(store);
        open_edge(&path)
    });
}

#[test]
fn the_store_over_the_qdrant_protocol_conforms() {
    let server = TestServer::start(None);
    check_remote(&server.url(), None);
}

#[test]
fn a_real_qdrant_server_conforms() {
    let Ok(url) = std::env::var("CLOISTER_QDRANT_URL") else {
        println!("skipped: CLOISTER_QDRANT_URL is not set");
        return;
    };
    check_remote(&url, std::env::var("CLOISTER_QDRANT_API_KEY").ok());
}

fn check_remote(url: &str, api_key: Option<String>) {
    let collection = format!("cloister-conformance-{}", Uuid::new_v4().simple());
    let open = || -> Box<dyn VectorStore> {
        let config = QdrantConfig {
            url: url.to_owned(),
            api_key: api_key.clone(),
            collection: collection.clone(),
        };
        Box::new(QdrantStore::open(config, &schema()).unwrap())
    };
    check_store(open(), |store| {
        drop(store);
        open()
    });
    let config = QdrantConfig {
        url: url.to_owned(),
        api_key: api_key.clone(),
        collection: collection.clone(),
    };
    QdrantStore::open(config, &schema())
        .unwrap()
        .drop_collection()
        .unwrap();
}

/// Points no filter shows must not move a score, an order or an id.
fn check_hidden_points_have_no_influence(store: &dyn VectorStore) {
    let (mut random, bm25) = (Random(11), Bm25::new());
    let visible: Vec<Point> = (1..=120)
        .map(|number| point(&mut random, &bm25, number))
        .collect();
    store.upsert(&visible).unwrap();
    let filter = Filter {
        collections: Some(BTreeSet::from([CollectionId(1), CollectionId(2)])),
        exclude: vec![DocumentId(1000)],
    };
    let queries: Vec<HybridQuery> = (0..40)
        .map(|_| query(&mut random, &bm25, filter.clone(), 50))
        .collect();
    let before: Vec<_> = queries
        .iter()
        .map(|query| store.query(query).unwrap())
        .collect();
    for round in 0..4u128 {
        let hidden: Vec<Point> = (0..50)
            .map(|number| {
                let mut point = point(&mut random, &bm25, 10_000 + round * 100 + number);
                if number % 2 == 0 {
                    point.collection = CollectionId(3);
                } else {
                    (point.collection, point.document) = (CollectionId(1), DocumentId(1000));
                }
                point
            })
            .collect();
        store.upsert(&hidden).unwrap();
        let after: Vec<_> = queries
            .iter()
            .map(|query| store.query(query).unwrap())
            .collect();
        assert_eq!(after, before, "round {round}");
    }
}

#[test]
fn points_outside_the_filter_have_no_influence_on_the_embedded_store() {
    let dir = tempfile::tempdir().unwrap();
    check_hidden_points_have_no_influence(&*open_edge(&dir.path().join("vectors")));
}

#[test]
fn points_outside_the_filter_have_no_influence_over_the_qdrant_protocol() {
    let server = TestServer::start(None);
    let config = QdrantConfig {
        url: server.url(),
        api_key: None,
        collection: "c".to_owned(),
    };
    check_hidden_points_have_no_influence(&QdrantStore::open(config, &schema()).unwrap());
}

#[test]
fn a_damaged_folder_or_one_of_another_embedder_becomes_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vectors");
    let mut random = Random(3);
    let fill = |random: &mut Random| {
        let store = open_edge(&path);
        store.upsert(&[point(random, &Bm25::new(), 1)]).unwrap();
        store.flush().unwrap();
    };
    fill(&mut random);
    assert_eq!(open_edge(&path).count(&Filter::default()).unwrap(), 1);

    let other = StoreSchema {
        embedder: "other".to_owned(),
        dim: 8,
    };
    assert_eq!(
        EdgeStore::open(&path, &other, disk())
            .unwrap()
            .count(&Filter::default())
            .unwrap(),
        0
    );

    fill(&mut random);
    std::fs::write(path.join("edge_config.json"), "not json").unwrap();
    assert_eq!(open_edge(&path).count(&Filter::default()).unwrap(), 0);

    std::fs::remove_dir_all(&path).unwrap();
    std::fs::write(&path, "a file where the folder should be").unwrap();
    let error = EdgeStore::open(&path, &schema(), disk())
        .err()
        .expect("a file is no folder");
    assert!(matches!(error, StoreError::Embedded { .. }), "{error}");
}

#[test]
fn a_shard_that_is_open_is_not_taken_for_a_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vectors");
    let store = open_edge(&path);
    store
        .upsert(&[point(&mut Random(3), &Bm25::new(), 1)])
        .unwrap();
    let error = EdgeStore::open(&path, &schema(), disk())
        .err()
        .expect("it is open");
    assert!(error.to_string().contains("another process"), "{error}");
    drop(store);
    assert_eq!(open_edge(&path).count(&Filter::default()).unwrap(), 1);
}

#[test]
fn a_log_that_a_starting_child_still_holds_is_waited_for_and_nothing_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors");
    let store = EdgeStore::open(&path, &schema(), disk()).unwrap();
    store
        .upsert(&[point(&mut Random(1), &Bm25::new(), 1)])
        .unwrap();
    store.flush().unwrap();
    drop(store);
    let held = std::fs::File::open(path.join("wal")).unwrap();
    held.lock().unwrap();
    let release = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(150));
        drop(held);
    });
    let store = EdgeStore::open(&path, &schema(), disk()).unwrap();
    assert_eq!(store.count(&Filter::default()).unwrap(), 1);
    release.join().unwrap();
}

#[test]
fn a_collection_of_another_embedder_on_the_server_is_replaced() {
    let server = TestServer::start(None);
    let config = || QdrantConfig {
        url: server.url(),
        api_key: None,
        collection: "c".to_owned(),
    };
    let store = QdrantStore::open(config(), &schema()).unwrap();
    store
        .upsert(&[point(&mut Random(1), &Bm25::new(), 1)])
        .unwrap();
    drop(store);
    assert_eq!(
        QdrantStore::open(config(), &schema())
            .unwrap()
            .count(&Filter::default())
            .unwrap(),
        1
    );
    let other = StoreSchema {
        embedder: "other".to_owned(),
        dim: 8,
    };
    assert_eq!(
        QdrantStore::open(config(), &other)
            .unwrap()
            .count(&Filter::default())
            .unwrap(),
        0
    );
}

#[test]
fn an_unreachable_server_a_wrong_key_and_a_wrong_address_are_told_apart() {
    let open = |url: &str, api_key: Option<&str>| {
        let config = QdrantConfig {
            url: url.to_owned(),
            api_key: api_key.map(str::to_owned),
            collection: "c".to_owned(),
        };
        QdrantStore::open(config, &schema()).err()
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = open(&format!("http://{closed}"), None).unwrap();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");

    let server = TestServer::start(Some("secret"));
    let error = open(&server.url(), Some("wrong")).unwrap();
    assert!(matches!(error, StoreError::Unauthorized { .. }), "{error}");
    assert!(open(&server.url(), Some("secret")).is_none());

    let error = open("localhost:6334", None).unwrap();
    assert!(matches!(error, StoreError::InvalidUrl { .. }), "{error}");
}
