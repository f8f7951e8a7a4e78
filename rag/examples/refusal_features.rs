//! Turns search results into the features of the refusal model, for `scripts/calibrate-refusal.py`.
//!
//! Standard input: one JSON object a line, `{"question": "...", "hits": [...]}` with the hits as `cloister search --json`
//! prints them. Standard output: one object a line with the features and the present model's score.

use std::io::{self, BufRead, Write};

use rag::{CollectionId, DocumentId, Hit, RefusalFeatures, assess};

#[derive(serde::Deserialize)]
struct Row {
    question: String,
    hits: Vec<PrintedHit>,
}

#[derive(serde::Deserialize)]
struct PrintedHit {
    document: String,
    document_id: DocumentId,
    collection_id: CollectionId,
    title: String,
    page: Option<u32>,
    heading: Vec<String>,
    start: usize,
    end: usize,
    text: String,
    score: f32,
    dense: Option<f32>,
    bm25: Option<f32>,
}

impl From<PrintedHit> for Hit {
    fn from(hit: PrintedHit) -> Self {
        Hit {
            collection: hit.collection_id,
            document: hit.document_id,
            path: hit.document,
            title: hit.title,
            page: hit.page,
            heading: hit.heading,
            start: hit.start,
            end: hit.end,
            text: hit.text,
            passage_index: 0,
            score: hit.score,
            dense: hit.dense,
            bm25: hit.bm25,
        }
    }
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let row: Row = serde_json::from_str(&line?)?;
        let hits: Vec<Hit> = row.hits.into_iter().map(Hit::from).collect();
        let features = RefusalFeatures::of(&row.question, &hits);
        let score = assess(&row.question, &hits).score;
        let result = serde_json::json!({ "features": features, "score": score });
        writeln!(out, "{result}")?;
    }
    Ok(())
}
