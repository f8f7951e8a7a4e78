//! `cloister ask`

use serde_json::Value;
use web_server::{LocalEvent, LocalRequest};

use super::local::{self, list, number, text};
use crate::args::AskArgs;
use crate::compose::Need;
use crate::config::Config;
use crate::failure::{Failure, Outcome};
use crate::output;

/// Answers one question; people see the text arrive and the sources below it.
///
/// # Errors
/// An empty question, an unknown collection, whatever the suite reports.
pub async fn run(config: &Config, args: AskArgs) -> Outcome<()> {
    if args.question.trim().is_empty() {
        return Err(Failure::user("the question is empty")
            .hint("cloister ask \"How many days of leave do I get?\""));
    }
    let request = LocalRequest::Ask {
        question: args.question,
        collections: args.collection,
        quote_only: args.quote_only,
    };
    let mut streamed = false;
    let need = if args.quote_only {
        Need::Retrieval
    } else {
        Need::Answers(args.model)
    };
    let answer = local::call(config, request, need, |event| {
        if let LocalEvent::Delta { text } = event
            && !config.json
        {
            streamed = true;
            output::print(text);
        }
    })
    .await?;
    if config.json {
        output::json(&answer);
        return Ok(());
    }
    if streamed {
        output::line("");
    } else {
        output::line(text(&answer, "answer"));
    }
    show_sources(&answer);
    Ok(())
}

fn show_sources(answer: &Value) {
    let citations = list(answer, "citations");
    if !citations.is_empty() {
        output::line("\nSources");
    }
    for citation in citations {
        let quote = output::one_line(text(citation, "quote"), 160);
        output::line(&format!(
            "  [{}] {}{}\n      \"{quote}\"",
            number(citation, "n"),
            document(citation),
            page(citation)
        ));
    }
    let unsupported = list(answer, "unsupported").len();
    if unsupported > 0 {
        output::note(&format!(
            "\n{unsupported} sentence(s) of this answer are not supported by the documents."
        ));
    }
    let model = answer
        .get("model")
        .and_then(Value::as_str)
        .unwrap_or("none (verbatim quotes)");
    let usage = answer.get("usage").cloned().unwrap_or_default();
    output::note(&format!(
        "\nmodel {model} · {} prompt tokens · {} written",
        number(&usage, "prompt_tokens"),
        number(&usage, "completion_tokens")
    ));
}

/// Path of a cited or found document, on one line.
pub fn document(value: &Value) -> String {
    let path = match value.get("document") {
        Some(Value::String(path)) => path.as_str(),
        _ => text(value, "path"),
    };
    output::name(path).into_owned()
}

/// `, page 3`, or nothing where the format has no pages.
pub fn page(value: &Value) -> String {
    value
        .get("page")
        .and_then(Value::as_u64)
        .map(|page| format!(", page {page}"))
        .unwrap_or_default()
}
