//! Ingestion survives being killed: at 20 random points, the next run completes and equals a run that was left alone.

use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;

use crate::run::Place;

const KILLS: u32 = 20;
/// Runs that are tried for them: some end before they are killed.
const MOST_RUNS: u32 = 4 * KILLS;
const QUERIES: [&str; 3] = [
    "calibration of sensors",
    "annual leave",
    "zebra crossing rules",
];

/// Small documents on different subjects, one of them unreadable.
fn write_documents(place: &Place) {
    let subjects = [
        "calibration",
        "leave",
        "safety",
        "travel",
        "backup",
        "visitors",
        "parking",
        "canteen",
        "training",
    ];
    for (idx, subject) in subjects.iter().cycle().take(18).enumerate() {
        let paragraphs: String = (0..4)
            .map(|n| format!("Rule {n} about {subject} in building {idx}: ask the {subject} team, extension {}.\n\n", 100 + idx * 7 + n))
            .collect();
        place.write(
            &format!("docs/{subject}/{idx}.md"),
            format!("# {subject} {idx}\n\n{paragraphs}"),
        );
    }
    place.write("docs/broken.pdf", "no PDF");
}

fn ingest_args(place: &Place) -> [String; 4] {
    [
        "ingest".to_owned(),
        place.path("docs").display().to_string(),
        "--collection".to_owned(),
        "rules".to_owned(),
    ]
}

/// Documents and search results, without ids and times, which may differ.
fn state(place: &Place) -> Vec<Value> {
    let strip = |value: &Value, keys: &[&str]| -> Value {
        keys.iter()
            .map(|&key| (key.to_owned(), value.get(key).cloned().unwrap_or_default()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let documents = place.json(&["collection", "documents", "rules"]);
    let mut state: Vec<Value> = documents["documents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|document| strip(document, &["path", "state", "passages", "reason"]))
        .collect();
    state.sort_by_key(|document| document["path"].as_str().map(str::to_owned));
    for query in QUERIES {
        let found = place.json(&["search", query, "--collection", "rules", "-k", "8"]);
        state.extend(
            found["hits"]
                .as_array()
                .unwrap()
                .iter()
                .map(|hit| strip(hit, &["document", "start", "end", "text"])),
        );
    }
    state
}

#[test]
fn killed_at_twenty_random_points_the_next_run_completes_to_the_same_state() {
    let Some(clean) = Place::with_test_models(&["all-minilm-l6-v2"]) else {
        return;
    };
    write_documents(&clean);
    let start = Instant::now();
    let report = clean.json(&ingest_args(&clean));
    let mut whole_run = start.elapsed();
    assert_eq!(
        (
            report["added"].as_u64(),
            report["failed"].as_array().map(Vec::len)
        ),
        (Some(18), Some(1)),
        "{report}"
    );
    let expected = state(&clean);
    assert!(expected.len() > 19 + QUERIES.len(), "{expected:?}");

    let mut seed = 20_261_125_u64;
    let mut interrupted = 0;
    for point in 0..MOST_RUNS {
        if interrupted == KILLS {
            break;
        }
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let fraction = (seed >> 33) as f64 / f64::from(1_u32 << 31);
        let place = Place::with_test_models(&["all-minilm-l6-v2"]).unwrap();
        write_documents(&place);
        let mut child = place
            .command(&ingest_args(&place))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let delay = whole_run.mul_f64(fraction);
        std::thread::sleep(delay);
        if child.try_wait().unwrap().is_some() {
            // A run takes no longer than this: the first one read everything from the disk, or had the machine to share.
            whole_run = delay;
            continue;
        }
        interrupted += 1;
        // SIGKILL: nothing of the program runs after it.
        child.kill().unwrap();
        child.wait().unwrap();
        let report = place.json(&ingest_args(&place));
        assert_eq!(
            report["failed"].as_array().map(Vec::len),
            Some(1),
            "point {point}: {report}"
        );
        assert_eq!(
            state(&place),
            expected,
            "killed at {fraction:.3} of a run (point {point})"
        );
        let again = place.json(&ingest_args(&place));
        assert_eq!(
            again["unchanged"].as_u64(),
            Some(18),
            "point {point}: {again}"
        );
    }
    assert_eq!(
        interrupted, KILLS,
        "runs that were still going when killed, of {MOST_RUNS}"
    );
}
