//! Ingestion over a tiny universe of files, crashed at every step: whatever happened before, a run that
//! completes leaves exactly what a first run over the same folder would.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::access::AccessScope;
use crate::catalogue::Catalogue;
use crate::disk::DiskSpace;
use crate::embed::Embedder;
use crate::error::LibraryError;
use crate::extract::ExtractError;
use crate::library::ExtractFn;
use crate::library::Library;
use crate::library::search::SearchRequest;
use crate::records::DocumentState;
use crate::store::edge::EdgeStore;
use crate::store::exact::ExactStore;
use crate::store::{Filter, StoreSchema, VectorStore};
use crate::testing::{DIM, HashEmbedder, Random};

mod swap;

/// Reads files in this process; some contents stand for files that cannot be read.
fn extract() -> ExtractFn {
    Box::new(|mut file: &fs::File, name: &Path| {
        let mut content = String::new();
        file.rewind().unwrap();
        let _ = file.read_to_string(&mut content);
        if content.starts_with("DAMAGED") {
            return Err(ExtractError::Corrupt {
                reason: "it is damaged".to_owned(),
            });
        }
        if content.starts_with("SLOW") {
            return Err(ExtractError::Timeout { seconds: 1 });
        }
        crate::extract::extract_open_file(file, name)
    })
}

/// Counts the texts it embeds.
#[derive(Default)]
struct CountingEmbedder {
    inner: HashEmbedder,
    texts: AtomicUsize,
}

impl Embedder for CountingEmbedder {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn dim(&self) -> usize {
        DIM
    }

    fn max_tokens(&self) -> usize {
        self.inner.max_tokens()
    }

    fn count_tokens(&self, text: &str) -> usize {
        self.inner.count_tokens(text)
    }

    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, crate::embed::EmbedError> {
        self.texts.fetch_add(texts.len(), Ordering::Relaxed);
        self.inner.embed(texts)
    }
}

/// A data directory, a folder of documents, and a clock for the files.
struct World {
    dir: tempfile::TempDir,
    store: Arc<ExactStore>,
    embedder: Arc<CountingEmbedder>,
    ticks: u64,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("docs")).unwrap();
        Self {
            dir,
            store: Arc::default(),
            embedder: Arc::default(),
            ticks: 0,
        }
    }

    fn docs(&self) -> PathBuf {
        self.dir.path().join("docs")
    }

    fn open(&self) -> Library {
        let catalogue = Catalogue::open(&self.dir.path().join("catalogue.db")).unwrap();
        let store = Box::new(self.store.clone());
        Library::assemble(
            catalogue,
            store,
            self.embedder.clone(),
            extract(),
            self.dir.path().join("uploads"),
        )
        .unwrap()
    }

    fn write(&mut self, name: &str, content: &str) {
        let path = self.docs().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        self.ticks += 1;
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000 + self.ticks);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.docs().join(name));
    }

    fn rename(&self, from: &str, to: &str) {
        let to = self.docs().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let _ = fs::rename(self.docs().join(from), to);
    }
}

fn ingest(library: &Library, docs: &Path) -> Result<IngestReport, IngestError> {
    let request = IngestRequest {
        collection: "c".to_owned(),
        paths: vec![docs.to_owned()],
        full: false,
    };
    library.ingest(&request, &mut |_| {}, &AtomicBool::new(false))
}

/// Everything that can be seen of a library, without what differs from run to run: row ids and times.
fn snapshot(library: &Library) -> BTreeMap<String, String> {
    let scope = AccessScope::all();
    let mut seen = BTreeMap::new();
    for collection in library.collections(&scope).unwrap() {
        for info in library.documents(&scope, collection.id).unwrap() {
            let record = library.document(&scope, info.id).unwrap();
            let passages = library.catalogue.passages_of_document(info.id).unwrap();
            let vectors = library
                .store
                .dense_vectors(&passages.iter().map(|p| p.point).collect::<Vec<_>>())
                .unwrap();
            assert_eq!(
                vectors.len(),
                passages.len(),
                "{}: a passage has no vector",
                info.path
            );
            let shown: Vec<String> = passages
                .iter()
                .map(|p| {
                    format!(
                        "{} {} {}..{} {:?} {:?}",
                        p.point, p.index, p.start, p.end, p.header, p.text
                    )
                })
                .collect();
            let line = format!(
                "{:?} {:?} {:?} {} bytes, text {:?} blocks {:?} passages {shown:#?}",
                info.title, info.state, info.reason, info.bytes, record.text, record.blocks
            );
            seen.insert(format!("{}/{}", collection.name, info.path), line);
        }
    }
    seen
}

/// The store holds the catalogue's points and nothing else, each with the document it belongs to.
fn assert_consistent(library: &Library, store: &ExactStore) {
    let points = store.points();
    let mut wanted = library.catalogue.all_points().unwrap();
    wanted.sort();
    assert_eq!(points.keys().copied().collect::<Vec<_>>(), wanted);
    for passage in library
        .catalogue
        .passages_of_points(&AccessScope::all(), &wanted)
        .unwrap()
    {
        let point = &points[&passage.point];
        assert_eq!(
            (point.collection, point.document),
            (passage.collection, passage.document)
        );
        let text = crate::library::searchable_text(&passage.header, &passage.text);
        assert_eq!(point.dense, HashEmbedder::vector(&text));
        assert_eq!(point.sparse, library.bm25.document(&text));
    }
}

fn clean_run(docs: &Path) -> BTreeMap<String, String> {
    let world = World::new();
    let library = world.open();
    match ingest(&library, docs) {
        Ok(_) | Err(IngestError::NothingToIngest { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    snapshot(&library)
}

const NAMES: &[&str] = &["a.txt", "b.txt", "sub/c.txt", "sub/d.md", "e.md"];
const CONTENTS: &[&str] = &[
    "Travel costs are paid within ten days.",
    "The canteen opens at noon.\n\nGuests eat for free on Fridays.",
    "# Backup policy\n\nBackups run at night.\n\n## Restore\n\nAsk the help desk.",
    "# Badge\n\nLost badges are reported to the reception.",
    "DAMAGED file",
    "SLOW file",
];

#[test]
fn any_history_of_changes_and_crashes_ends_in_the_state_of_a_clean_run() {
    for seed in 0..25 {
        let (mut world, mut random) = (World::new(), Random(seed));
        for _ in 0..12 {
            for _ in 0..1 + random.below(3) {
                let (name, other) = (*random.pick(NAMES), *random.pick(NAMES));
                match random.below(5) {
                    0 => world.remove(name),
                    1 => world.rename(name, other),
                    _ => world.write(name, random.pick::<&str>(CONTENTS)),
                }
            }
            let library = world.open();
            let crashes = random.below(3) > 0;
            library.crash_in.store(
                if crashes {
                    random.below(12)
                } else {
                    usize::MAX
                },
                Ordering::SeqCst,
            );
            let outcome = ingest(&library, &world.docs());
            drop(library);
            if random.below(2) == 0 {
                world.store.crash();
            }
            let complete = match outcome {
                Ok(_) => true,
                Err(IngestError::Cancelled) => false,
                Err(IngestError::NothingToIngest { .. }) => continue,
                Err(error) => panic!("seed {seed}: {error}"),
            };
            let library = world.open();
            assert_consistent(&library, &world.store);
            if complete {
                assert_eq!(snapshot(&library), clean_run(&world.docs()), "seed {seed}");
            }
        }
    }
}

#[test]
fn a_crash_at_any_step_is_completed_by_the_next_run() {
    let before = |world: &mut World| {
        for (name, content) in [
            ("gone.txt", CONTENTS[0]),
            ("moved.md", CONTENTS[2]),
            ("named.txt", CONTENTS[1]),
            ("changed.txt", "old text"),
            ("breaks.txt", "fine text"),
        ] {
            world.write(name, content);
        }
    };
    let change = |world: &mut World| {
        world.remove("gone.txt");
        world.rename("moved.md", "sub/moved.md");
        world.rename("named.txt", "renamed.txt");
        world.write("changed.txt", "new text, longer than before");
        world.write("breaks.txt", "DAMAGED now");
        world.write("new.txt", "a new document about parking");
    };
    let mut steps = 0;
    for crash_in in 0.. {
        let mut world = World::new();
        before(&mut world);
        ingest(&world.open(), &world.docs()).unwrap();
        change(&mut world);
        let library = world.open();
        library.crash_in.store(crash_in, Ordering::SeqCst);
        let outcome = ingest(&library, &world.docs());
        drop(library);
        world.store.crash();
        let library = world.open();
        assert_consistent(&library, &world.store);
        let report = ingest(&library, &world.docs()).unwrap();
        assert_consistent(&library, &world.store);
        assert_eq!(
            snapshot(&library),
            clean_run(&world.docs()),
            "crash at step {crash_in}"
        );
        assert_eq!(report.failed.len(), 1, "{report:?}");
        if outcome.is_ok() {
            assert_eq!(report.unchanged, 4, "nothing is left to do: {report:?}");
            steps = crash_in;
            break;
        }
    }
    assert!(steps >= 10, "only {steps} steps were crashed");
}

#[test]
fn the_report_counts_what_happened() {
    let mut world = World::new();
    for (name, content) in NAMES.iter().zip(CONTENTS) {
        world.write(name, content);
    }
    let library = world.open();
    let report = ingest(&library, &world.docs()).unwrap();
    assert_eq!((report.added, report.failed.len()), (4, 1), "{report:?}");
    assert_eq!(report.failed[0].path, "e.md");
    assert!(report.passages >= 4);

    world.remove("a.txt");
    world.write("b.txt", "The canteen is closed.");
    world.rename("sub/c.txt", "c.txt");
    let again = ingest(&library, &world.docs()).unwrap();
    let counts = (
        again.added,
        again.updated,
        again.unchanged,
        again.removed,
        again.renamed,
        again.failed.len(),
    );
    assert_eq!(counts, (0, 1, 1, 1, 1, 1), "{again:?}");
}

#[test]
fn a_renamed_document_keeps_its_id_and_its_vectors() {
    let mut world = World::new();
    world.write("old.md", CONTENTS[2]);
    let library = world.open();
    ingest(&library, &world.docs()).unwrap();
    let scope = AccessScope::all();
    let collection = library.collection_by_name(&scope, "c").unwrap().id;
    let id = library.documents(&scope, collection).unwrap()[0].id;
    let embedded = world.embedder.texts.load(Ordering::Relaxed);

    world.rename("old.md", "folder/new.md");
    let report = ingest(&library, &world.docs()).unwrap();
    assert_eq!(
        (report.renamed, report.added, report.removed),
        (1, 0, 0),
        "{report:?}"
    );
    let info = &library.documents(&scope, collection).unwrap()[0];
    assert_eq!((info.id, info.path.as_str()), (id, "folder/new.md"));
    assert_eq!(
        world.embedder.texts.load(Ordering::Relaxed),
        embedded,
        "nothing was embedded again"
    );
    assert_consistent(&library, &world.store);
}

#[test]
fn an_unchanged_file_is_not_read_and_a_failure_that_may_pass_is_tried_again() {
    let mut world = World::new();
    world.write("a.txt", CONTENTS[0]);
    world.write("damaged.txt", CONTENTS[4]);
    world.write("slow.txt", CONTENTS[5]);
    let catalogue = Catalogue::open(&world.dir.path().join("catalogue.db")).unwrap();
    let reads = Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let (log, inner) = (reads.clone(), extract());
    let counting: ExtractFn = Box::new(move |file, name| {
        log.lock().unwrap().push(name.display().to_string());
        inner(file, name)
    });
    let store = Box::new(world.store.clone());
    let library = Library::assemble(
        catalogue,
        store,
        world.embedder.clone(),
        counting,
        world.dir.path().join("u"),
    )
    .unwrap();
    let first = ingest(&library, &world.docs()).unwrap();
    assert_eq!(reads.lock().unwrap().drain(..).count(), 3);
    let second = ingest(&library, &world.docs()).unwrap();
    assert_eq!(*reads.lock().unwrap(), ["slow.txt"]);
    assert_eq!(first.failed, second.failed);
}

#[test]
fn a_file_changed_within_the_clock_tick_of_the_ingestion_is_noticed() {
    let mut world = World::new();
    world.write("a.txt", "first");
    let path = world.docs().join("a.txt");
    let now = std::time::SystemTime::now();
    let touch = || {
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(now)
            .unwrap()
    };
    touch();
    let library = world.open();
    ingest(&library, &world.docs()).unwrap();
    fs::write(&path, "other").unwrap();
    touch();
    assert_eq!(ingest(&library, &world.docs()).unwrap().updated, 1);
}

/// Permissions of files hold for the calling thread from here on, though the tests may run as root.
fn drop_override_of_permissions() {
    const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
    // CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
    const OVERRIDES: u32 = 1 << 1 | 1 << 2;
    // Version and thread (0: this one); effective, permitted and inheritable, 32 capabilities at a time.
    let header = [CAPABILITY_VERSION_3, 0];
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: the kernel reads the header and writes two sets of three words, which is what there is room for.
    let got = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
    assert_eq!(got, 0);
    sets[0][0] &= !OVERRIDES;
    // SAFETY: as above; the kernel reads both.
    let set = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    assert_eq!(set, 0);
}

#[test]
fn a_folder_that_cannot_be_listed_loses_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = World::new();
    world.write("a.txt", CONTENTS[0]);
    world.write("sub/c.txt", CONTENTS[1]);
    let library = world.open();
    ingest(&library, &world.docs()).unwrap();
    let sub = world.docs().join("sub");
    fs::set_permissions(&sub, fs::Permissions::from_mode(0o000)).unwrap();
    drop_override_of_permissions();
    assert!(fs::read_dir(&sub).is_err());
    let report = ingest(&library, &world.docs()).unwrap();
    fs::set_permissions(&sub, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!((report.removed, report.unchanged), (0, 1), "{report:?}");
    assert_eq!(report.failed[0].path, "sub");
    let scope = AccessScope::all();
    let collection = library.collection_by_name(&scope, "c").unwrap();
    assert_eq!(collection.documents, 2);
}

#[test]
fn paths_without_documents_change_nothing() {
    let mut world = World::new();
    world.write("a.txt", CONTENTS[0]);
    let library = world.open();
    ingest(&library, &world.docs()).unwrap();
    let before = snapshot(&library);
    world.remove("a.txt");
    assert!(matches!(
        ingest(&library, &world.docs()),
        Err(IngestError::NothingToIngest { .. })
    ));
    let missing = ingest(&library, &world.docs().join("nowhere"));
    assert!(matches!(missing, Err(IngestError::NoSuchPath { .. })));
    assert_eq!(snapshot(&library), before);
}

#[test]
fn a_cancelled_run_stops_between_files_and_the_next_one_goes_on() {
    let mut world = World::new();
    for number in 0..30 {
        world.write(
            &format!("{number}.txt"),
            &format!("document number {number}"),
        );
    }
    let library = world.open();
    let request = IngestRequest {
        collection: "c".to_owned(),
        paths: vec![world.docs()],
        full: false,
    };
    let cancel = AtomicBool::new(false);
    let mut stages = Vec::new();
    let outcome = library.ingest(
        &request,
        &mut |progress| {
            if progress.stage == IngestStage::Extract {
                cancel.store(true, Ordering::Relaxed);
            }
            stages.push(progress.stage);
        },
        &cancel,
    );
    assert!(matches!(outcome, Err(IngestError::Cancelled)));
    assert_eq!(stages[0], IngestStage::Scan);
    let report = ingest(&library, &world.docs()).unwrap();
    assert_eq!(report.added + report.unchanged, 30, "{report:?}");
    assert_eq!(snapshot(&library), clean_run(&world.docs()));
}

#[test]
fn uploads_are_added_replaced_kept_by_ingestion_and_removed_with_their_vectors() {
    let mut world = World::new();
    world.write("a.txt", CONTENTS[0]);
    let library = world.open();
    let scope = AccessScope::all();
    let collection = library.create_collection("c").unwrap().id;
    let upload = world.dir.path().join("upload.tmp");
    fs::write(&upload, "Visitors sign in at the gate.").unwrap();
    let added = library
        .add_file(collection, "visitors.txt", &upload)
        .unwrap();
    assert_eq!(
        (added.updated, added.document.state),
        (false, DocumentState::Indexed)
    );
    fs::write(&upload, "Visitors sign in at the reception.").unwrap();
    let replaced = library
        .add_file(collection, "visitors.txt", &upload)
        .unwrap();
    assert_eq!(
        (replaced.updated, replaced.document.id),
        (true, added.document.id)
    );
    fs::write(&upload, "DAMAGED").unwrap();
    let failed = library.add_file(collection, "broken.txt", &upload).unwrap();
    assert_eq!(failed.document.state, DocumentState::Failed);
    assert!(failed.document.reason.unwrap().contains("damaged"));

    assert_eq!(ingest(&library, &world.docs()).unwrap().added, 1);
    let paths: Vec<String> = library
        .documents(&scope, collection)
        .unwrap()
        .into_iter()
        .map(|info| info.path)
        .collect();
    assert_eq!(paths, ["a.txt", "broken.txt", "visitors.txt"]);
    assert!(
        library
            .document(&scope, added.document.id)
            .unwrap()
            .text
            .contains("reception")
    );
    assert_consistent(&library, &world.store);

    library.remove_document(&scope, added.document.id).unwrap();
    let gone = library.document(&scope, added.document.id);
    assert!(matches!(gone, Err(LibraryError::UnknownDocument { .. })));
    assert!(!world.dir.path().join("uploads/1/visitors.txt").exists());
    assert_consistent(&library, &world.store);
    library.delete_collection(collection).unwrap();
    assert_eq!(world.store.count(&Filter::default()).unwrap(), 0);
    assert!(library.collections(&scope).unwrap().is_empty());
    let unknown = library.add_file(collection, "x.txt", &upload);
    assert!(matches!(
        unknown,
        Err(IngestError::Library(LibraryError::UnknownCollection { .. }))
    ));
}

#[test]
fn a_lost_store_and_another_embedder_are_made_up_for_when_the_library_opens() {
    let mut world = World::new();
    for (name, content) in NAMES.iter().zip(CONTENTS) {
        world.write(name, content);
    }
    ingest(&world.open(), &world.docs()).unwrap();
    world.store.clear();
    let library = world.open();
    assert_consistent(&library, &world.store);
    assert_eq!(snapshot(&library), clean_run(&world.docs()));
    drop(library);

    world.embedder = Arc::new(CountingEmbedder {
        inner: HashEmbedder {
            name: "other".to_owned(),
        },
        ..Default::default()
    });
    let library = world.open();
    assert_consistent(&library, &world.store);
    let request = SearchRequest {
        query: "backup at night".to_owned(),
        k: 1,
        ..SearchRequest::default()
    };
    assert_eq!(
        library.search(&AccessScope::all(), &request).unwrap()[0].path,
        "sub/c.txt"
    );
    let report = ingest(&library, &world.docs()).unwrap();
    assert_eq!(
        report.updated, 4,
        "the other embedder's tokenizer measures passages anew: {report:?}"
    );
}

#[test]
fn a_file_without_an_end_worth_waiting_for_is_refused_before_it_is_read() {
    let mut world = World::new();
    world.write("a.txt", CONTENTS[0]);
    world.write("sparse.txt", "");
    let sparse = fs::File::options()
        .write(true)
        .open(world.docs().join("sparse.txt"));
    sparse.unwrap().set_len(1 << 40).unwrap();
    let report = ingest(&world.open(), &world.docs()).unwrap();
    assert_eq!(report.added, 1, "{report:?}");
    let [failed] = &report.failed[..] else {
        panic!("{report:?}");
    };
    assert_eq!(failed.path, "sparse.txt");
    assert!(failed.reason.contains("too large"), "{failed:?}");
}

/// A library on the embedded store with three collections of the same kind of documents.
fn three_collections(dir: &Path, seed: u64, sizes: [usize; 3]) -> Library {
    let catalogue = Catalogue::open(&dir.join("catalogue.db")).unwrap();
    let embedder = Arc::new(HashEmbedder::default());
    let schema = StoreSchema {
        embedder: embedder.name.clone(),
        dim: DIM,
    };
    let store =
        Box::new(EdgeStore::open(&dir.join("vectors"), &schema, DiskSpace::of(dir)).unwrap());
    let library =
        Library::assemble(catalogue, store, embedder, extract(), dir.join("uploads")).unwrap();
    for (collection_idx, size) in sizes.into_iter().enumerate() {
        // The first collection has the same documents whatever the sizes of the others.
        let mut random = Random(seed + collection_idx as u64);
        let collection = library
            .create_collection(&format!("c{collection_idx}"))
            .unwrap();
        for number in 0..size {
            let path = dir.join("upload.txt");
            fs::write(&path, random.words(30)).unwrap();
            library
                .add_file(collection.id, &format!("doc {number}.txt"), &path)
                .unwrap();
        }
    }
    library
}

#[test]
fn search_results_do_not_depend_on_forbidden_documents() {
    let results = |sizes: [usize; 3]| {
        let dir = tempfile::tempdir().unwrap();
        let library = three_collections(dir.path(), 5, sizes);
        let all = library.collections(&AccessScope::all()).unwrap();
        let scope = AccessScope::collections([all[0].id]);
        let mut random = Random(99);
        let mut results = Vec::new();
        for round in 0..30 {
            let words = 1 + random.below(5);
            // Asking for a forbidden collection is the same as asking for one that does not exist.
            let collections = if round % 3 == 0 {
                vec![all[0].id, all[1].id]
            } else {
                vec![]
            };
            let request = SearchRequest {
                query: random.words(words),
                collections,
                k: 10,
                exclude: vec![],
            };
            let hits = library.search(&scope, &request).unwrap();
            results.push(
                hits.into_iter()
                    .map(|hit| (hit.path, hit.text, hit.score, hit.dense, hit.bm25))
                    .collect(),
            );
            assert_eq!(library.search(&AccessScope::none(), &request).unwrap(), []);
            let only_forbidden = SearchRequest {
                collections: vec![all[1].id],
                ..request
            };
            assert_eq!(library.search(&scope, &only_forbidden).unwrap(), []);
        }
        assert_eq!(library.collections(&scope).unwrap().len(), 1);
        for forbidden in &all[1..] {
            assert!(library.documents(&scope, forbidden.id).is_err());
            for info in library
                .documents(&AccessScope::all(), forbidden.id)
                .unwrap()
            {
                assert!(library.document(&scope, info.id).is_err());
                assert!(library.remove_document(&scope, info.id).is_err());
            }
        }
        results
    };
    let alone: Vec<Vec<_>> = results([12, 0, 0]);
    assert!(alone.iter().any(|hits| !hits.is_empty()));
    assert_eq!(results([12, 20, 0]), alone);
    assert_eq!(results([12, 7, 15]), alone);
}

#[test]
fn an_excluded_document_is_as_if_it_were_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let library = three_collections(dir.path(), 1, [10, 0, 0]);
    let scope = AccessScope::all();
    let request = SearchRequest {
        query: "travel policy backup".to_owned(),
        k: 5,
        ..SearchRequest::default()
    };
    let best = library.search(&scope, &request).unwrap()[0].document;
    let without = library
        .search(
            &scope,
            &SearchRequest {
                exclude: vec![best],
                ..request.clone()
            },
        )
        .unwrap();
    library.remove_document(&scope, best).unwrap();
    assert_eq!(library.search(&scope, &request).unwrap(), without);
}

/// Sets how the documents say they were made.
fn set_pipelines(world: &World, condition: &str, pipeline: &str) {
    let connection = rusqlite::Connection::open(world.dir.path().join("catalogue.db")).unwrap();
    let sql = format!("UPDATE documents SET pipeline = {pipeline} WHERE {condition}");
    assert!(connection.execute(&sql, []).unwrap() > 0);
}

fn pipeline_of(world: &World, path: &str) -> String {
    let connection = rusqlite::Connection::open(world.dir.path().join("catalogue.db")).unwrap();
    let sql = "SELECT pipeline FROM documents WHERE path = ?1";
    connection.query_row(sql, [path], |row| row.get(0)).unwrap()
}

#[test]
fn a_reader_that_changed_reads_its_own_documents_again_and_no_others() {
    let mut world = World::new();
    for (name, content) in [
        ("a.txt", CONTENTS[0]),
        ("b.md", CONTENTS[2]),
        ("c.pptx", "DAMAGED"),
    ] {
        world.write(name, content);
    }
    ingest(&world.open(), &world.docs()).unwrap();
    let made = pipeline_of(&world, "b.md");

    set_pipelines(&world, "path = 'b.md'", "'2.markdown1/' || embedder");
    let report = ingest(&world.open(), &world.docs()).unwrap();
    assert_eq!((report.updated, report.unchanged), (1, 1), "{report:?}");
    assert_eq!(pipeline_of(&world, "b.md"), made);
    let nothing = ingest(&world.open(), &world.docs()).unwrap();
    assert_eq!((nothing.updated, nothing.unchanged), (0, 2), "{nothing:?}");

    // As catalogues were written when one number stood for all readers: a format without a reader is as before.
    set_pipelines(&world, "1", "'2/' || embedder");
    let report = ingest(&world.open(), &world.docs()).unwrap();
    assert_eq!((report.updated, report.failed.len()), (2, 1), "{report:?}");
    assert_eq!(pipeline_of(&world, "b.md"), made);
    assert!(pipeline_of(&world, "c.pptx").starts_with("2/"));
}

#[test]
fn a_full_run_finds_changes_that_left_size_and_time_as_they_were() {
    let mut world = World::new();
    world.write("a.txt", "Lunch is at noon.");
    world.write("b.txt", "The gate opens at six.");
    let library = world.open();
    ingest(&library, &world.docs()).unwrap();
    let path = world.docs().join("a.txt");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "Lunch is at nine.").unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(time)
        .unwrap();

    let quick = ingest(&library, &world.docs()).unwrap();
    assert_eq!((quick.updated, quick.unchanged), (0, 2), "{quick:?}");
    let request = IngestRequest {
        collection: "c".to_owned(),
        paths: vec![world.docs()],
        full: true,
    };
    let full = library
        .ingest(&request, &mut |_| {}, &AtomicBool::new(false))
        .unwrap();
    assert_eq!((full.updated, full.unchanged), (1, 1), "{full:?}");
    let seen = snapshot(&library);
    assert!(seen["c/a.txt"].contains("Lunch is at nine."));
}

#[test]
fn files_that_are_no_documents_are_named_in_the_report() {
    let mut world = World::new();
    world.write("a.txt", "Lunch is at noon.");
    world.write("drawing.dwg", "x");
    world.write(".draft.txt", "x");
    let report = ingest(&world.open(), &world.docs()).unwrap();
    let skipped: Vec<&str> = report
        .skipped
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(skipped, [".draft.txt", "drawing.dwg"]);
    assert_eq!(report.failed, []);
}
