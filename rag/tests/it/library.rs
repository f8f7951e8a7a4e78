//! From a folder to search results, and back after accidents.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rag::{
    AccessScope, DocumentState, EmbedError, Embedder, Extractor, IngestReport, IngestRequest,
    Library, LibraryConfig, Limits, SearchRequest, StoreChoice,
};

use crate::extract_child::CHILD_TEST;

/// Hashes words to dimensions; texts that share words are similar.
pub(crate) struct WordEmbedder;

impl Embedder for WordEmbedder {
    fn name(&self) -> &str {
        "words-128"
    }

    fn dim(&self) -> usize {
        128
    }

    fn max_tokens(&self) -> usize {
        256
    }

    fn count_tokens(&self, text: &str) -> usize {
        text.split_whitespace().count()
    }

    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let embed = |text: &String| {
            let mut vector = vec![1e-3f32; 128];
            for word in text
                .to_lowercase()
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty())
            {
                let hash = word.bytes().fold(7usize, |hash, byte| {
                    hash.wrapping_mul(31).wrapping_add(byte.into())
                });
                vector[hash % 128] += 1.0;
            }
            let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vector.into_iter().map(|x| x / norm).collect()
        };
        Ok(texts.iter().map(embed).collect())
    }
}

/// This test binary again, as the extraction child.
pub(crate) fn extractor() -> Extractor {
    let args = [CHILD_TEST, "--exact", "--nocapture", "--test-threads=1"]
        .map(String::from)
        .to_vec();
    Extractor {
        program: std::env::current_exe().unwrap(),
        args,
        limits: Limits::default(),
    }
}

pub(crate) fn open(data_dir: &Path) -> Library {
    let config = LibraryConfig {
        data_dir: data_dir.to_owned(),
        store: StoreChoice::Embedded,
        extractor: extractor(),
    };
    Library::open(config, Arc::new(WordEmbedder)).unwrap()
}

pub(crate) fn ingest(library: &Library, docs: &Path) -> IngestReport {
    let request = IngestRequest {
        collection: "handbook".to_owned(),
        paths: vec![docs.to_owned()],
        full: false,
    };
    library
        .ingest(&request, &mut |_| {}, &AtomicBool::new(false))
        .unwrap()
}

fn best(library: &Library, query: &str) -> (String, String, f32) {
    let request = SearchRequest {
        query: query.to_owned(),
        k: 3,
        ..SearchRequest::default()
    };
    let hit = library
        .search(&AccessScope::all(), &request)
        .unwrap()
        .swap_remove(0);
    let record = library.document(&AccessScope::all(), hit.document).unwrap();
    let quoted: String = record
        .text
        .chars()
        .skip(hit.start)
        .take(hit.end - hit.start)
        .collect();
    assert_eq!(quoted, hit.text, "the offsets of a hit lead to its text");
    (hit.path, hit.text, hit.score)
}

fn write_handbook(docs: &Path) {
    fs::create_dir_all(docs.join("it")).unwrap();
    fs::write(docs.join("travel.md"), "# Travel\n\n## Hotels\n\nHotels cost at most 140 euros a night.\n\n## Trains\n\nBook second class.\n").unwrap();
    fs::write(
        docs.join("it/backup.txt"),
        "Backups run every night at two.\n\nThe help desk restores files within a day.\n",
    )
    .unwrap();
    fs::write(docs.join("page.html"), "<html><head><title>Canteen</title></head><body><p>Lunch is served from noon.</p></body></html>").unwrap();
    fs::write(docs.join("empty.txt"), "").unwrap();
    fs::write(docs.join("broken.pdf"), "%PDF-1.7\nnot much of a PDF").unwrap();
    fs::write(docs.join("lying.docx"), "plain text in disguise").unwrap();
}

#[test]
fn a_folder_becomes_searchable_and_bad_files_are_reported_with_their_reasons() {
    let dir = tempfile::tempdir().unwrap();
    let docs = dir.path().join("docs");
    write_handbook(&docs);
    let library = open(&dir.path().join("data"));
    let report = ingest(&library, &docs);
    assert_eq!(report.added, 3, "{report:?}");
    let failed: Vec<&str> = report
        .failed
        .iter()
        .map(|failed| failed.path.as_str())
        .collect();
    assert_eq!(
        failed,
        ["broken.pdf", "empty.txt", "lying.docx"],
        "{report:?}"
    );
    assert!(report.failed.iter().all(|failed| !failed.reason.is_empty()));

    assert_eq!(best(&library, "hotel price for a night").0, "travel.md");
    assert_eq!(best(&library, "who restores my files?").0, "it/backup.txt");
    assert_eq!(best(&library, "when is lunch").0, "page.html");

    let scope = AccessScope::all();
    let collection = library.collection_by_name(&scope, "handbook").unwrap();
    assert_eq!(
        (collection.documents, collection.failed, collection.passages),
        (6, 3, report.passages)
    );
    let documents = library.documents(&scope, collection.id).unwrap();
    let lying = documents
        .iter()
        .find(|info| info.path == "lying.docx")
        .unwrap();
    assert_eq!(lying.state, DocumentState::Failed);
    let canteen = documents
        .iter()
        .find(|info| info.path == "page.html")
        .unwrap();
    assert_eq!(canteen.title, "Canteen");

    let again = ingest(&library, &docs);
    assert_eq!(
        (again.added, again.updated, again.unchanged),
        (0, 0, 3),
        "{again:?}"
    );
    assert_eq!(again.failed, report.failed);
}

#[test]
fn the_report_has_the_keys_of_the_command_contract() {
    let json = serde_json::to_value(IngestReport::default()).unwrap();
    for key in [
        "added",
        "updated",
        "unchanged",
        "removed",
        "failed",
        "passages",
        "seconds",
    ] {
        assert!(json.get(key).is_some(), "{key}");
    }
}

#[test]
fn a_lost_or_damaged_vector_index_is_rebuilt_when_the_library_opens() {
    let dir = tempfile::tempdir().unwrap();
    let (docs, data) = (dir.path().join("docs"), dir.path().join("data"));
    write_handbook(&docs);
    let library = open(&data);
    ingest(&library, &docs);
    let before = best(&library, "hotel price for a night");
    drop(library);
    assert_eq!(best(&open(&data), "hotel price for a night"), before);

    fs::remove_dir_all(data.join("vectors")).unwrap();
    assert_eq!(best(&open(&data), "hotel price for a night"), before);

    // Every segment file is cut to nothing: what loads then is not what was written.
    let mut files = vec![data.join("vectors")];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            fs::write(&path, "").unwrap();
        }
    }
    assert_eq!(best(&open(&data), "hotel price for a night"), before);
}

#[test]
fn ingesting_another_folder_replaces_the_documents_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    write_handbook(&first);
    fs::create_dir_all(&second).unwrap();
    fs::write(second.join("parking.txt"), "Parking is free for visitors.").unwrap();
    let library = open(&dir.path().join("data"));
    ingest(&library, &first);
    let report = ingest(&library, &second);
    assert_eq!(
        (report.added, report.removed, report.passages),
        (1, 6, 1),
        "{report:?}"
    );
    assert_eq!(best(&library, "hotel price for a night").0, "parking.txt");
}
