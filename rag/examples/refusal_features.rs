//! Turns search results into the features of the refusal model, for `scripts/calibrate-refusal.py`.
//!
//! Standard input: one JSON object a line, `{"question": "...", "hits": [Hit, ...]}`, hits best first.
//! Standard output: one object a line with the features and the present model's score.

use std::io::{self, BufRead, Write};

use rag::{Hit, assess, refusal::Features};

#[derive(serde::Deserialize)]
struct Row {
    question: String,
    hits: Vec<Hit>,
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let row: Row = serde_json::from_str(&line?)?;
        let features = Features::of(&row.question, &row.hits);
        let score = assess(&row.question, &row.hits).score;
        writeln!(
            out,
            "{}",
            serde_json::json!({ "features": features, "score": score })
        )?;
    }
    Ok(())
}
