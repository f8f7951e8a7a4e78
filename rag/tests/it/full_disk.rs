//! A disk that fills up while documents are taken in: an error that says so, nothing lost, and no signal.
//!
//! The disk is a small `tmpfs` in a mount namespace of its own, in which this test binary runs again: a process that is
//! ended by `SIGBUS` could not say what was wrong. Where the system refuses such a mount, the same is tested with a
//! disk that only claims to be full.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rag::{
    AccessScope, DiskSpace, IngestError, IngestProgress, IngestReport, IngestRequest, IngestStage,
    Library, LibraryConfig, LibraryError, SearchRequest, StoreChoice,
};

use crate::library::{WordEmbedder, extractor};

const INNER_TEST: &str = "full_disk::acts_on_the_small_disk";
const PLACE: &str = "CLOISTER_TEST_SMALL_DISK";
const DISK_BYTES: u64 = 640 << 20;
/// Two batches.
const DOCUMENTS: usize = 120;

fn open(data: &Path) -> Result<Library, LibraryError> {
    let config = LibraryConfig {
        data_dir: data.to_owned(),
        store: StoreChoice::Embedded,
        extractor: extractor(),
    };
    Library::open(config, Arc::new(WordEmbedder))
}

fn ingest(
    library: &Library,
    docs: &Path,
    progress: &mut dyn FnMut(IngestProgress),
) -> Result<IngestReport, IngestError> {
    let request = IngestRequest {
        collection: "c".to_owned(),
        paths: vec![docs.to_owned()],
        full: false,
    };
    library.ingest(&request, progress, &AtomicBool::new(false))
}

fn write_documents(docs: &Path) {
    fs::create_dir_all(docs).unwrap();
    for number in 0..DOCUMENTS {
        let text = format!("Document {number} is about the number {number}.\n\n").repeat(20);
        fs::write(docs.join(format!("{number:03}.txt")), text).unwrap();
    }
}

fn searchable(library: &Library) -> usize {
    let collections = library.collections(&AccessScope::all()).unwrap();
    let Some(collection) = collections.first() else {
        return 0;
    };
    let documents = library
        .documents(&AccessScope::all(), collection.id)
        .unwrap();
    documents
        .iter()
        .filter(|document| document.state == rag::DocumentState::Indexed)
        .count()
}

/// Takes room away until so much is left.
fn fill(ballast: &Path, leave: u64) {
    let free = DiskSpace::of(ballast.parent().unwrap())
        .free_bytes()
        .unwrap();
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(ballast)
        .unwrap();
    let piece = vec![1_u8; 64 << 10];
    let mut left = free.saturating_sub(leave);
    while left >= piece.len() as u64 && file.write_all(&piece).is_ok() {
        left -= piece.len() as u64;
    }
}

/// What is true whenever a run ended for want of room: the error has the numbers, and everything reported is there.
fn assert_stopped_cleanly(error: &IngestError) {
    assert!(error.is_disk_full(), "{error}");
    if let IngestError::Library(LibraryError::DiskFull(full)) = error {
        assert!(full.free_bytes < full.needed_bytes, "{full}");
    }
}

/// Fills the disk to `leave` free bytes at the first event for which `when` holds, in a fresh data directory.
fn fill_during_ingestion(place: &Path, leave: u64, when: impl Fn(&IngestProgress) -> bool) {
    let (data, docs, ballast) = (
        place.join("data"),
        place.join("docs"),
        place.join("ballast"),
    );
    let _ = fs::remove_file(&ballast);
    let _ = fs::remove_dir_all(&data);
    let library = open(&data).unwrap();
    let mut is_filled = false;
    let outcome = ingest(&library, &docs, &mut |progress| {
        if !is_filled && when(&progress) {
            fill(&ballast, leave);
            is_filled = true;
        }
    });
    assert!(is_filled);
    match outcome {
        // What was left was enough for the rest.
        Ok(report) => assert_eq!(report.added, DOCUMENTS),
        Err(error) => assert_stopped_cleanly(&error),
    }
    let before = searchable(&library);
    let request = SearchRequest {
        query: "number 7".to_owned(),
        k: 3,
        ..SearchRequest::default()
    };
    library.search(&AccessScope::all(), &request).unwrap();
    drop(library);
    // It starts again, or says why not.
    match open(&data) {
        Ok(library) => assert_eq!(searchable(&library), before),
        Err(error) => assert!(error.is_disk_full(), "{error}"),
    }
    fs::remove_file(&ballast).unwrap();
    let library = open(&data).unwrap();
    assert_eq!(searchable(&library), before, "with {leave} left");
    let report = ingest(&library, &docs, &mut |_| {}).unwrap();
    assert_eq!(report.added, DOCUMENTS - before, "{report:?}");
    assert_eq!(searchable(&library), DOCUMENTS);
}

#[test]
fn acts_on_the_small_disk() {
    // Set by the test below; in an ordinary run there is nothing to do.
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else {
        return;
    };
    write_documents(&place.join("docs"));
    let stored = |progress: &IngestProgress| progress.stage == IngestStage::Store;
    for leave in [0, 700 << 10, 90 << 20] {
        fill_during_ingestion(&place, leave, stored);
        fill_during_ingestion(&place, leave, |progress| {
            stored(progress) && progress.done > 60
        });
    }
    for leave in [0, 700 << 10] {
        fill_during_ingestion(&place, leave, |progress| {
            progress.stage == IngestStage::Scan
        });
    }
    println!("the small disk was survived");
}

#[test]
fn a_disk_that_fills_up_is_an_error_and_nothing_is_lost() {
    let place = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size={DISK_BYTES} none {place} || exit 77
         exec {program} {INNER_TEST} --exact --nocapture --test-threads=1",
        place = place.path().display(),
        program = std::env::current_exe().unwrap().display(),
    );
    // As root, else as the root of a namespace.
    for namespaces in [
        vec!["--mount"],
        vec!["--mount", "--user", "--map-root-user"],
    ] {
        let output = Command::new("unshare")
            .args(namespaces)
            .args(["sh", "-c", &script])
            .env(PLACE, place.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(77) || errors.contains("unshare failed") {
            continue;
        }
        assert!(
            output.status.success(),
            "{}\n{text}\n{errors}",
            output.status
        );
        return assert!(text.contains("the small disk was survived"), "{text}");
    }
    println!("skipped: nothing may be mounted here; the test below holds in its place");
}

#[test]
fn a_disk_that_claims_to_be_full_is_not_written_to() {
    let place = tempfile::tempdir().unwrap();
    let docs = place.path().join("docs");
    write_documents(&docs);
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let claimed = Arc::clone(&free);
    let disk = DiskSpace::measured_by(place.path(), move |_| Ok(claimed.load(Ordering::Relaxed)));
    let library = open(&place.path().join("data"))
        .unwrap()
        .measure_disk_by(disk);
    let error = ingest(&library, &docs, &mut |progress| {
        if progress.stage == IngestStage::Store && progress.done > 40 {
            free.store(3 << 20, Ordering::Relaxed);
        }
    })
    .unwrap_err();
    let text = error.to_string();
    assert!(text.contains(place.path().to_str().unwrap()), "{text}");
    assert!(text.contains("3.0 MiB are free"), "{text}");
    assert_stopped_cleanly(&error);
    let before = searchable(&library);
    assert!((40..DOCUMENTS).contains(&before), "{before}");
    assert!(library.check_room().is_err());

    // A file that is gone makes room, so that it is taken out all the same; one that is new is not taken in.
    let scope = AccessScope::all();
    let collection = library.collections(&scope).unwrap()[0].id;
    let documents = library.documents(&scope, collection).unwrap();
    let indexed = documents
        .iter()
        .find(|document| document.state == rag::DocumentState::Indexed)
        .unwrap();
    library.remove_document(&scope, indexed.id).unwrap();
    assert_eq!(searchable(&library), before - 1);
    let upload = library.add_file(collection, "new.txt", &docs.join("001.txt"));
    assert!(upload.unwrap_err().is_disk_full());

    free.store(u64::MAX, Ordering::Relaxed);
    let report = ingest(&library, &docs, &mut |_| {}).unwrap();
    assert_eq!(report.failed, []);
    assert_eq!(searchable(&library), DOCUMENTS);
}
