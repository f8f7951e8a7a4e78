//! `cloister collection` and `cloister status`

use serde_json::Value;
use web_server::LocalRequest;

use super::local::{self, list, number, text};
use crate::args::CollectionCommand;
use crate::compose::Need;
use crate::config::Config;
use crate::failure::{Failure, Outcome};
use crate::output;

/// Lists and deletes collections.
///
/// # Errors
/// An unknown collection, a deletion that was not confirmed, whatever the suite reports.
pub async fn run(config: &Config, command: CollectionCommand) -> Outcome<()> {
    match command {
        CollectionCommand::List => {
            let value =
                local::call(config, LocalRequest::Collections, Need::Retrieval, |_| {}).await?;
            show(config, &value, |value| {
                let count = |item: &Value, key: &str| number(item, key).to_string();
                let row = |item: &Value| {
                    vec![
                        text(item, "name").to_owned(),
                        count(item, "documents"),
                        count(item, "failed"),
                        count(item, "passages"),
                    ]
                };
                let rows: Vec<_> = list(value, "collections").iter().map(row).collect();
                output::table(&["NAME", "DOCUMENTS", "FAILED", "PASSAGES"], &rows)
            });
        }
        CollectionCommand::Documents { name } => {
            let request = LocalRequest::Documents { collection: name };
            let value = local::call(config, request, Need::Retrieval, |_| {}).await?;
            show(config, &value, |value| {
                let row = |item: &Value| {
                    vec![
                        text(item, "path").to_owned(),
                        text(item, "state").to_owned(),
                        number(item, "passages").to_string(),
                        text(item, "reason").to_owned(),
                    ]
                };
                let rows: Vec<_> = list(value, "documents").iter().map(row).collect();
                output::table(&["DOCUMENT", "STATE", "PASSAGES", "REMARK"], &rows)
            });
        }
        CollectionCommand::Delete { name, yes } => {
            if !yes {
                return Err(
                    Failure::user(format!("deleting collection {name} cannot be undone"))
                        .hint(format!("cloister collection delete {name} --yes")),
                );
            }
            let request = LocalRequest::CollectionDelete { name };
            let value = local::call(config, request, Need::Retrieval, |_| {}).await?;
            show(config, &value, |value| {
                format!("collection {} is deleted", text(value, "name"))
            });
        }
    }
    Ok(())
}

/// Shows what runs on the data directory.
///
/// # Errors
/// Whatever keeps the data from being opened.
pub async fn status(config: &Config) -> Outcome<()> {
    let value = local::call(config, LocalRequest::Status, Need::Retrieval, |_| {}).await?;
    show(config, &value, |value| {
        toml::to_string(&without_nulls(value)).unwrap_or_else(|_| value.to_string())
    });
    Ok(())
}

/// TOML has no null: what is not there is not shown.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items
            .iter()
            .filter(|item| !item.is_null())
            .map(without_nulls)
            .collect(),
        other => other.clone(),
    }
}

fn show(config: &Config, value: &Value, text: impl FnOnce(&Value) -> String) {
    if config.json {
        output::json(value);
    } else {
        output::line(text(value).trim_end());
    }
}
