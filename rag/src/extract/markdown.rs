//! Markdown (CommonMark with tables, footnotes, task lists and front matter) to blocks. HTML inside goes
//! through the HTML extractor, so that what is hidden there stays hidden here.

use pulldown_cmark::{
    CodeBlockKind, Event, HeadingLevel, MetadataBlockKind, Options, Parser, Tag, TagEnd,
};

use super::ExtractError;
use super::html;
use super::outline::Flow;
use super::table::Grid;
use super::text::decode;
use crate::document::{BlockKind, Extracted};

/// Extracts a Markdown document.
pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, ExtractError> {
    let text = decode(bytes).ok_or_else(|| ExtractError::corrupt("not text"))?;
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let mut walker = Walker::default();
    for event in Parser::new_ext(&text, options) {
        walker.event(event);
    }
    Ok(walker.flow.finish().finish(None))
}

/// State of the walk over the parser's events.
#[derive(Default)]
struct Walker {
    flow: Flow,
    grid: Option<(Grid, Vec<String>)>,
    html: String,
    metadata: bool,
    in_code: bool,
}

impl Walker {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Code(text) => self.flow.inline.push_str(&text),
            Event::InlineMath(text) | Event::DisplayMath(text) => self.flow.inline.push_str(&text),
            Event::FootnoteReference(label) => {
                self.flow.inline.push_str(" [^");
                self.flow.inline.push_str(&label);
                self.flow.inline.push(']');
            }
            Event::SoftBreak | Event::HardBreak => self.flow.inline.push('\n'),
            Event::Html(text) => self.html.push_str(&text),
            // Tags within a line only style it; a break is the one that separates words.
            Event::InlineHtml(tag) if tag.to_ascii_lowercase().starts_with("<br") => {
                self.flow.inline.push(' ')
            }
            Event::InlineHtml(_) | Event::Rule => {}
            Event::TaskListMarker(done) => {
                self.flow
                    .inline
                    .push_str(if done { "[x] " } else { "[ ] " })
            }
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::List(first) => self.flow.open_list(first),
            Tag::Item => self.flow.open_item(),
            Tag::Table(_) => {
                self.flow.flush();
                self.grid = Some((Grid::with_header_rows(1), Vec::new()));
            }
            Tag::CodeBlock(kind) => {
                self.flow.flush();
                self.in_code =
                    !matches!(kind, CodeBlockKind::Fenced(info) if info.as_ref() == "math");
            }
            Tag::MetadataBlock(kind) => self.metadata = kind == MetadataBlockKind::YamlStyle,
            Tag::Paragraph | Tag::Heading { .. } | Tag::HtmlBlock | Tag::FootnoteDefinition(_) => {
                self.flow.flush()
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => {
                let text = std::mem::take(&mut self.flow.inline);
                self.flow.writer.heading(heading_level(level), &text);
            }
            TagEnd::CodeBlock => {
                let code = std::mem::take(&mut self.flow.inline);
                self.flow.writer.lines(
                    if self.in_code {
                        BlockKind::Code
                    } else {
                        BlockKind::Paragraph
                    },
                    &code,
                );
                self.in_code = false;
            }
            TagEnd::MetadataBlock(_) => self.front_matter(),
            TagEnd::List(_) => self.flow.close_list(),
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.flow.inline);
                if let Some((_, row)) = &mut self.grid {
                    row.push(cell);
                }
            }
            TagEnd::TableHead | TagEnd::TableRow => {
                if let Some((grid, row)) = &mut self.grid {
                    grid.push_row(std::mem::take(row));
                }
            }
            TagEnd::Table => {
                if let Some((grid, _)) = self.grid.take() {
                    self.flow
                        .writer
                        .lines(BlockKind::Table, &grid.to_markdown());
                }
            }
            TagEnd::HtmlBlock => {
                let fragment = std::mem::take(&mut self.html);
                html::write_fragment(&fragment, &mut self.flow);
            }
            TagEnd::Paragraph
            | TagEnd::Item
            | TagEnd::BlockQuote(_)
            | TagEnd::FootnoteDefinition => self.flow.flush(),
            _ => {}
        }
    }

    /// Only the title is taken from the front matter; the rest are settings of some site generator.
    fn front_matter(&mut self) {
        let text = std::mem::take(&mut self.flow.inline);
        if std::mem::take(&mut self.metadata) {
            let title = text.lines().find_map(|line| line.strip_prefix("title:"));
            self.flow
                .writer
                .suggest_title(title.unwrap_or("").trim().trim_matches(['"', '\'']));
        }
    }
}

fn heading_level(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}
