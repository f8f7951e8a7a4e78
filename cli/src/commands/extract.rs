//! `cloister extract`

use std::fmt::Write;

use rag::{Block, BlockKind};
use serde_json::json;

use crate::args::ExtractArgs;
use crate::config::Config;
use crate::failure::{Failure, Outcome};
use crate::output;

/// Shows a document as ingestion sees it, read in the same limited process.
///
/// # Errors
/// Why the document has no text to offer.
pub fn run(config: &Config, args: &ExtractArgs) -> Outcome<()> {
    let extracted = config
        .extractor()?
        .extract(&args.file)
        .map_err(|error| Failure::user(format!("{}: {error}", args.file.display())))?;
    for warning in &extracted.warnings {
        output::note(&format!("warning: {warning}"));
    }
    if config.json {
        let blocks: Vec<_> = extracted
            .blocks
            .iter()
            .map(|block| {
                let mut value = json!({"kind": block.kind, "text": block.text, "page": block.page, "heading": block.heading});
                if let Some(label) = &block.page_label {
                    value["page_label"] = json!(label);
                }
                value
            })
            .collect();
        output::json(&json!({
            "title": extracted.title, "pages": extracted.pages, "blocks": blocks, "warnings": extracted.warnings,
        }));
    } else {
        output::document(&markdown(&extracted.blocks));
    }
    Ok(())
}

/// Blocks as Markdown, with a comment where a page begins.
fn markdown(blocks: &[Block]) -> String {
    let mut text = String::new();
    let mut page = None;
    for block in blocks {
        if block.page.is_some() && block.page != page {
            page = block.page;
            let number = page.unwrap_or_default().to_string();
            let _ = writeln!(
                text,
                "<!-- page {} -->\n",
                block.page_label.as_ref().unwrap_or(&number)
            );
        }
        let _ = match block.kind {
            BlockKind::Title => writeln!(text, "# {}\n", block.text),
            BlockKind::Heading => writeln!(
                text,
                "{} {}\n",
                "#".repeat(usize::from(block.level.clamp(1, 6))),
                block.text
            ),
            BlockKind::Code => writeln!(text, "```\n{}\n```\n", block.text),
            BlockKind::Paragraph | BlockKind::ListItem | BlockKind::Table => {
                writeln!(text, "{}\n", block.text)
            }
        };
    }
    text
}
