//! `cloister search`

use serde_json::Value;
use web_server::LocalRequest;

use super::ask::{document, page};
use super::local::{self, list, text};
use crate::args::SearchArgs;
use crate::compose::Need;
use crate::config::Config;
use crate::failure::{Failure, Outcome};
use crate::output;

/// Shows the best passages.
///
/// # Errors
/// An empty query, an unknown collection, whatever the suite reports.
pub async fn run(config: &Config, args: SearchArgs) -> Outcome<()> {
    if args.query.trim().is_empty() {
        return Err(Failure::user("the query is empty").hint("cloister search \"travel expenses\""));
    }
    if args.k == 0 {
        return Err(Failure::user("-k 0 asks for no hits").hint("use -k 10"));
    }
    let request = LocalRequest::Search {
        query: args.query,
        collections: args.collection,
        k: args.k,
    };
    let found = local::call(config, request, Need::Retrieval, |_| {}).await?;
    if config.json {
        output::json(&found);
        return Ok(());
    }
    let hits = list(&found, "hits");
    if hits.is_empty() {
        output::line("Nothing found.");
    }
    for (idx, hit) in hits.iter().enumerate() {
        let score = hit.get("score").and_then(Value::as_f64).unwrap_or_default();
        output::line(&format!(
            "{:>2}. {}{}   {score:.2}",
            idx + 1,
            document(hit),
            page(hit)
        ));
        output::line(&format!("    {}", output::one_line(text(hit, "text"), 200)));
    }
    Ok(())
}
