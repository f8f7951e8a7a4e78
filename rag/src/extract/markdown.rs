//! Markdown (CommonMark with tables, footnotes, task lists and front matter) to blocks. HTML inside goes
//! through the HTML extractor, so that what is hidden there stays hidden here.

mod front_matter;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::ExtractError;
use super::encoding::{self, Decoded};
use super::html;
use super::outline::Flow;
use super::table::Grid;
use crate::document::{Block, BlockKind, Extracted};

/// Extracts a Markdown document.
pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, ExtractError> {
    let Decoded { text, warnings } =
        encoding::decode(bytes, None).ok_or_else(|| ExtractError::corrupt("not text"))?;
    let (matter, text) = front_matter::split(&text);
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS;
    let mut walker = Walker::default();
    for warning in warnings {
        walker.flow.writer.warn(warning);
    }
    walker
        .flow
        .writer
        .suggest_title(matter.title.as_deref().unwrap_or(""));
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        match event {
            // "5~10 and 20~30" are ranges; only two tildes strike out.
            Event::Start(Tag::Strikethrough) | Event::End(TagEnd::Strikethrough) => {
                let is_double = text[range].starts_with("~~");
                walker
                    .flow
                    .inline
                    .push_str(if is_double { "~~" } else { "~" });
            }
            event => walker.event(event),
        }
    }
    let mut extracted = walker.flow.finish().finish(None);
    if !matter.facts.is_empty() {
        // Put in front afterwards: a first heading is the title although facts stand above it.
        let block = Block {
            kind: BlockKind::Paragraph,
            text: matter.facts,
            page: None,
            page_label: None,
            heading: vec![],
            level: 0,
        };
        extracted.blocks.insert(0, block);
    }
    Ok(extracted)
}

/// State of the walk over the parser's events.
#[derive(Default)]
struct Walker {
    flow: Flow,
    grid: Option<(Grid, Vec<String>)>,
    html: String,
    in_code: bool,
    in_heading: bool,
    /// Open links and images: where their text begins, and the address.
    targets: Vec<(usize, String)>,
    /// Where open raised and lowered text begins.
    shifted: Vec<usize>,
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
            Event::InlineHtml(tag) => self.inline_html(&tag.to_ascii_lowercase()),
            Event::Rule => {}
            Event::TaskListMarker(done) => {
                self.flow
                    .inline
                    .push_str(if done { "[x] " } else { "[ ] " })
            }
        }
    }

    /// Tags within a line only style it, except those that separate words, withdraw them or move numbers.
    fn inline_html(&mut self, tag: &str) {
        let is_end = tag.starts_with("</");
        let name = tag
            .trim_start_matches(['<', '/'])
            .split(|c: char| !c.is_ascii_alphanumeric())
            .next()
            .unwrap_or("");
        match name {
            "br" => self.flow.inline.push(' '),
            "del" | "s" | "strike" => self.flow.inline.push_str("~~"),
            "sup" | "sub" if !is_end => self.shifted.push(self.flow.inline.len()),
            "sup" | "sub" => {
                let start = self.shifted.pop();
                let Some(text) = start.and_then(|start| self.take_inline(start)) else {
                    return;
                };
                if name == "sup" {
                    html::push_raised(&mut self.flow.inline, &text, text.contains("[^"), false);
                } else {
                    html::push_lowered(&mut self.flow.inline, &text);
                }
            }
            _ => {}
        }
    }

    /// Takes the text of the link or image that ends here; `None` where a block ended within it.
    fn take_target(&mut self) -> Option<(String, String)> {
        let (start, address) = self.targets.pop()?;
        Some((self.take_inline(start)?, address))
    }

    fn take_inline(&mut self, start: usize) -> Option<String> {
        let inline = &mut self.flow.inline;
        // A tag that was left open in an earlier block says nothing about this one.
        inline
            .is_char_boundary(start)
            .then(|| inline.split_off(start))
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
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.targets
                    .push((self.flow.inline.len(), dest_url.into_string()));
            }
            Tag::Heading { .. } => {
                self.flow.flush();
                self.in_heading = true;
            }
            Tag::Paragraph | Tag::HtmlBlock | Tag::FootnoteDefinition(_) => self.flow.flush(),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => {
                let text = std::mem::take(&mut self.flow.inline);
                self.flow.writer.heading(heading_level(level), &text);
                self.in_heading = false;
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
            TagEnd::Link => {
                if let Some((text, address)) = self.take_target() {
                    self.flow.inline.push_str(&text);
                    if !self.in_heading
                        && let Some(target) = html::link_target(&address, &text, false)
                    {
                        self.flow.inline.push_str(&format!(" ({target})"));
                    }
                }
            }
            TagEnd::Image => {
                if let Some((alt, _)) = self.take_target()
                    && let Some(text) = html::image_text(&alt)
                {
                    self.flow.inline.push_str(&text);
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(markdown: &str) -> Vec<String> {
        let extracted = extract(markdown.as_bytes()).unwrap();
        extracted
            .blocks
            .into_iter()
            .map(|block| block.text)
            .collect()
    }

    #[test]
    fn what_is_more_than_letters_is_written_out() {
        let cases = [
            ("The fee is ~~30~~ 45 euros.", "The fee is ~~30~~ 45 euros."),
            ("5~10 and 20~30 bar", "5~10 and 20~30 bar"),
            (
                "Now <del>30</del> 45, <s>10</s> 12.",
                "Now ~~30~~ 45, ~~10~~ 12.",
            ),
            ("10<sup>5</sup> cells, H<sub>2</sub>O", "10^5 cells, H2O"),
            (
                "See [the form](forms/leave.pdf).",
                "See the form (forms/leave.pdf).",
            ),
            ("Write to <it@example.com>.", "Write to it@example.com."),
            (
                "Write [us](mailto:it@example.com).",
                "Write us (it@example.com).",
            ),
            (
                "[Up](#top) and ![wiring of R4](a.png)",
                "Up and [wiring of R4]",
            ),
            (
                "[![logo of the club](a.png)](https://club.example)",
                "[logo of the club] (https://club.example)",
            ),
        ];
        for (markdown, want) in cases {
            assert_eq!(texts(markdown), [want], "{markdown}");
        }
        assert_eq!(texts("# [A](https://a.example)\n\n**b**"), ["A", "b"]);
    }

    #[test]
    fn a_rule_in_the_text_is_no_front_matter() {
        assert_eq!(
            texts("One.\n\n---\n\nkey: value\n\n---\n\nTwo."),
            ["One.", "key: value", "Two."]
        );
    }
}
