//! Ingestion that is killed (SIGKILL) at arbitrary moments: a second run completes it, and nothing is
//! lost or doubled.
//!
//! The process that is killed is this test binary, told to run [`acts_as_an_ingestion`] alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rag::{AccessScope, Library, SearchRequest};

use crate::library::{ingest, open};

const CHILD_TEST: &str = "killed::acts_as_an_ingestion";
/// Folder with `docs` and `data`, for the child.
const FOLDER: &str = "CLOISTER_TEST_INGEST_FOLDER";
const ROUNDS: u64 = 8;
const NUM_DOCUMENTS: u64 = 50;

#[test]
fn acts_as_an_ingestion() {
    // Set by the test below; in an ordinary test run there is nothing to do.
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    ingest(&open(&folder.join("data")), &folder.join("docs"));
    std::process::exit(0);
}

fn start_ingestion(folder: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args([CHILD_TEST, "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A number that looks random and is the same in every run.
fn scramble(number: u64) -> u64 {
    (number + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(31)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9)
        >> 11
}

fn write_document(docs: &Path, number: u64, version: u64) {
    const WORDS: [&str; 12] = [
        "invoice", "travel", "backup", "pension", "laptop", "badge", "parking", "salary",
        "printer", "visitor", "heating", "audit",
    ];
    let word = |seed: u64| WORDS[(scramble(seed) % 12) as usize];
    let paragraphs: Vec<String> = (0..1 + number % 3)
        .map(|paragraph| {
            let seed = number * 1000 + version * 100 + paragraph * 10;
            format!(
                "Rule {number}.{version}.{paragraph}: {} {} {}.",
                word(seed),
                word(seed + 1),
                word(seed + 2)
            )
        })
        .collect();
    fs::write(
        docs.join(format!("{number}.md")),
        format!("# Title {number}\n\n{}\n", paragraphs.join("\n\n")),
    )
    .unwrap();
}

/// Changes some documents, removes some and renames some.
fn change(docs: &Path, round: u64) {
    for number in 0..NUM_DOCUMENTS {
        let path = docs.join(format!("{number}.md"));
        match scramble(round * 100 + number) % 6 {
            0 | 1 => write_document(docs, number, round),
            2 => drop(fs::remove_file(path)),
            3 => drop(fs::rename(path, docs.join(format!("{number}-{round}.md")))),
            _ => {}
        }
    }
}

/// What can be seen of a library, without row ids and times.
struct Seen {
    documents: Vec<String>,
    /// Fused score, cosine and BM25 of each hit: (query, path, first character).
    hits: BTreeMap<(&'static str, String, usize), [f32; 3]>,
}

fn seen(library: &Library) -> Seen {
    let scope = AccessScope::all();
    let mut documents = Vec::new();
    for collection in library.collections(&scope).unwrap() {
        for info in library.documents(&scope, collection.id).unwrap() {
            let text = library.document(&scope, info.id).unwrap().text;
            let line = format!(
                "{} {:?} {:?} {} {text:?}",
                info.path, info.title, info.state, info.passages
            );
            documents.push(line);
        }
    }
    let mut hits = BTreeMap::new();
    for query in [
        "invoice travel",
        "rule 7",
        "laptop badge audit",
        "title 30 heating",
        "pension salary",
    ] {
        // More than there are: no list is cut inside a tie.
        let request = SearchRequest {
            query: query.to_owned(),
            k: 500,
            ..SearchRequest::default()
        };
        for hit in library.search(&scope, &request).unwrap() {
            let scores = [
                hit.score,
                hit.dense.unwrap_or(-1.0),
                hit.bm25.unwrap_or(-1.0),
            ];
            assert!(
                hits.insert((query, hit.path, hit.start), scores).is_none(),
                "a passage is there twice"
            );
        }
    }
    Seen { documents, hits }
}

/// Scores may differ by rounding: the order in which a sum is taken depends on where points are stored.
fn assert_same(got: &Seen, want: &Seen, when: &str) {
    assert_eq!(got.documents, want.documents, "{when}");
    let keys = |seen: &Seen| seen.hits.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(got), keys(want), "{when}");
    for ((key, got), want) in got.hits.iter().zip(want.hits.values()) {
        let close = got
            .iter()
            .zip(want)
            .all(|(got, want)| (got - want).abs() < 1e-4);
        assert!(close, "{when}: {key:?} has {got:?} instead of {want:?}");
    }
}

#[test]
fn an_ingestion_that_is_killed_is_completed_by_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let docs = dir.path().join("docs");
    fs::create_dir_all(&docs).unwrap();
    (0..NUM_DOCUMENTS).for_each(|number| write_document(&docs, number, 0));

    // How long a whole run takes here decides when the others are killed.
    let clean_dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    ingest(&open(&clean_dir.path().join("data")), &docs);
    let whole = started.elapsed();

    let mut killed = 0;
    for round in 0..ROUNDS {
        if round > 0 {
            change(&docs, round);
        }
        let mut child = start_ingestion(dir.path());
        let fraction = (scramble(round + 500) % 1000) as f64 / 1000.0;
        std::thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * fraction));
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());

        let library = open(&dir.path().join("data"));
        ingest(&library, &docs);
        let clean_dir = tempfile::tempdir().unwrap();
        let clean = open(&clean_dir.path().join("data"));
        ingest(&clean, &docs);
        let when = format!("round {round}, killed after {fraction} of {whole:?}");
        assert_same(&seen(&library), &seen(&clean), &when);
    }
    assert!(
        killed >= 3,
        "only {killed} of {ROUNDS} runs were killed before they ended"
    );
}
