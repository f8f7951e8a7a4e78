//! `cloister eval`

use std::path::Path;

use serde_json::Value;
use web_server::{EvalQuestion, LocalRequest};

use super::local;
use crate::args::EvalArgs;
use crate::compose::Need;
use crate::config::Config;
use crate::failure::{Failure, Outcome};
use crate::output;

/// Measures retrieval, and answers unless told otherwise.
///
/// # Errors
/// A question file that cannot be used (with the line), an unknown collection, whatever the suite reports.
pub async fn run(config: &Config, args: EvalArgs) -> Outcome<()> {
    let questions = read_questions(&args.file)?;
    let need = if args.retrieval_only {
        Need::Retrieval
    } else {
        Need::Answers(args.model)
    };
    let request = LocalRequest::Eval {
        questions,
        collection: args.collection,
        retrieval_only: args.retrieval_only,
    };
    let metrics = local::call_with_progress(config, request, need).await?;
    if config.json {
        output::json(&metrics);
    } else {
        output::print(&output::table(&["METRIC", "VALUE"], &rows("", &metrics)));
    }
    Ok(())
}

/// One row a number, nested names joined by dots; lists (the single questions) are left to `--json`.
fn rows(prefix: &str, value: &Value) -> Vec<Vec<String>> {
    let Some(map) = value.as_object() else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    for (key, value) in map {
        let name = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            Value::Object(_) => rows.extend(self::rows(&name, value)),
            Value::Number(number) if number.is_f64() => {
                rows.push(vec![
                    name,
                    format!("{:.3}", number.as_f64().unwrap_or_default()),
                ]);
            }
            Value::Number(number) => rows.push(vec![name, number.to_string()]),
            Value::String(text) => rows.push(vec![name, text.clone()]),
            Value::Null => rows.push(vec![name, "-".to_owned()]),
            Value::Bool(_) | Value::Array(_) => {}
        }
    }
    rows
}

fn read_questions(path: &Path) -> Outcome<Vec<EvalQuestion>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::user(format!(
            "cannot read the questions in {}: {error}",
            path.display()
        ))
    })?;
    let mut questions = Vec::new();
    for (idx, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let question = serde_json::from_str(line).map_err(|error| {
            Failure::user(format!("{}:{}: not a question: {error}", path.display(), idx + 1))
                .hint(r#"a line is {"question": "...", "document": "path/in/folder.md", "answer": "..."}"#)
        })?;
        questions.push(question);
    }
    if questions.is_empty() {
        return Err(Failure::user(format!(
            "{} has no questions",
            path.display()
        )));
    }
    Ok(questions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let good = r#"{"question": "a", "document": "b.txt", "answer": ["c", "d"]}"#;
        std::fs::write(file.path(), format!("{good}\n\n{{\"question\": 1}}\n")).unwrap();
        let failure = read_questions(file.path()).unwrap_err();
        assert!(
            failure.message.contains(":3: not a question"),
            "{}",
            failure.message
        );
        std::fs::write(file.path(), good).unwrap();
        assert_eq!(
            read_questions(file.path()).unwrap()[0].answer.as_slice(),
            ["c", "d"]
        );
    }

    #[test]
    fn nested_metrics_become_rows_with_dotted_names() {
        let metrics =
            serde_json::json!({"recall@1": 0.5, "refusal": {"auroc": null}, "answers": [1]});
        assert_eq!(
            rows("", &metrics),
            [["recall@1", "0.500"], ["refusal.auroc", "-"]]
        );
    }
}
