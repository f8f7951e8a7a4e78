//! Collects blocks and keeps track of the headings above them.

use crate::document::{Block, BlockKind, Extracted};

use super::clean::{clean_line, clean_lines};
use crate::text::sentence::key_and_value;

/// Longest heading that is kept in heading paths, in chars: a path is repeated in every passage's header.
const MAX_PATH_CHARS: usize = 160;

/// Collects the blocks of one document in reading order.
#[derive(Debug, Default)]
pub(super) struct BlockWriter {
    blocks: Vec<Block>,
    /// Open headings, outermost first, levels strictly increasing.
    open: Vec<(u8, String)>,
    page: Option<u32>,
    page_label: Option<String>,
    title: Option<String>,
    warnings: Vec<String>,
}

impl BlockWriter {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Page of the blocks that follow, and what it is called if that is not its number.
    pub(super) fn set_page(&mut self, page: u32, label: Option<&str>) {
        self.page = Some(page);
        self.page_label = label.map(str::to_owned);
    }

    pub(super) fn warn(&mut self, sentence: impl Into<String>) {
        self.warnings.push(sentence.into());
    }

    pub(super) fn num_blocks(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// What was added so far.
    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Ends all open sections: what follows belongs to the document as a whole.
    pub(super) fn end_sections(&mut self) {
        self.open.clear();
    }

    /// Sets the document's title unless one is known; text without a letter or digit is no title.
    pub(super) fn suggest_title(&mut self, title: &str) {
        let title = clean_line(title);
        if self.title.is_none() && title.chars().any(char::is_alphanumeric) {
            self.title = Some(title);
        }
    }

    /// Adds the title block; later headings are below it, yet it is not part of their paths.
    pub(super) fn title_block(&mut self, text: &str) {
        let text = clean_line(text);
        if text.is_empty() {
            return;
        }
        self.suggest_title(&text);
        self.open.clear();
        self.blocks.push(Block {
            kind: BlockKind::Title,
            text,
            page: self.page,
            page_label: self.page_label.clone(),
            heading: vec![],
            level: 0,
        });
    }

    /// Adds a heading of `level` >= 1 and makes it the section of what follows.
    pub(super) fn heading(&mut self, level: u8, text: &str) {
        let text = clean_line(text);
        if text.is_empty() {
            return;
        }
        self.open.retain(|(open_level, _)| *open_level < level);
        let heading = self.path();
        self.open
            .push((level, text.chars().take(MAX_PATH_CHARS).collect()));
        self.blocks.push(Block {
            kind: BlockKind::Heading,
            text,
            page: self.page,
            page_label: self.page_label.clone(),
            heading,
            level,
        });
    }

    /// Adds a paragraph whose line breaks mean nothing.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.push(BlockKind::Paragraph, clean_line(text));
    }

    /// Adds a list item; `depth` 0 is the outermost list, `marker` is "-" or "3.".
    pub(super) fn list_item(&mut self, depth: usize, marker: &str, text: &str) {
        let text = clean_line(text);
        if !text.is_empty() {
            // Deeper than eight levels is malformed input; the indent would outgrow the text.
            self.push(
                BlockKind::ListItem,
                format!("{}{marker} {text}", "  ".repeat(depth.min(8))),
            );
        }
    }

    /// Adds to the text of the block that was written last if it was written after the first `num_blocks` and is
    /// running text; false if not.
    pub(super) fn continue_last(&mut self, num_blocks: usize, text: &str) -> bool {
        let is_new = self.blocks.len() > num_blocks;
        match self.blocks.last_mut() {
            Some(block)
                if is_new && matches!(block.kind, BlockKind::Paragraph | BlockKind::ListItem) =>
            {
                block.text.push(' ');
                block.text.push_str(&clean_line(text));
                true
            }
            _ => false,
        }
    }

    /// Adds preformatted lines of `kind`.
    pub(super) fn lines(&mut self, kind: BlockKind, text: &str) {
        self.push(kind, clean_lines(text));
    }

    fn push(&mut self, kind: BlockKind, text: String) {
        if !text.trim().is_empty() {
            self.blocks.push(Block {
                kind,
                text,
                page: self.page,
                page_label: self.page_label.clone(),
                heading: self.path(),
                level: 0,
            });
        }
    }

    fn path(&self) -> Vec<String> {
        self.open.iter().map(|(_, text)| text.clone()).collect()
    }

    /// Ends the document. Without a stated title, a level-1 heading that opens it and has no equal is the title.
    pub(super) fn finish(mut self, pages: Option<u32>) -> Extracted {
        if self.title.is_none() {
            let top = self
                .blocks
                .iter()
                .filter(|b| b.kind == BlockKind::Heading)
                .map(|b| b.level)
                .min();
            let mut tops = self
                .blocks
                .iter()
                .filter(|b| b.kind == BlockKind::Heading && Some(b.level) == top);
            let first_is_top = self
                .blocks
                .first()
                .is_some_and(|b| b.kind == BlockKind::Heading && Some(b.level) == top);
            if let (true, Some(only), None) = (first_is_top, tops.next(), tops.next()) {
                self.title = Some(only.text.clone());
            }
        }
        Extracted {
            title: self.title,
            pages,
            blocks: self.blocks,
            warnings: self.warnings,
        }
        .bounded()
    }
}

/// A list that is open.
#[derive(Debug, Clone, Copy)]
struct List {
    /// The number of the next item, `None` for bullets.
    next: Option<i64>,
    /// How much the number after it is more.
    step: i64,
}

/// Block-by-block writing for formats with inline text and nested lists (Markdown, HTML).
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) writer: BlockWriter,
    /// Inline text of the block that is open.
    pub(super) inline: String,
    /// One entry per open list.
    lists: Vec<List>,
    /// Marker of the list item whose first text has not been written yet.
    marker: Option<String>,
}

/// Whether all lines, of two or more, are `Key: value`: their breaks mean something, unlike those of prose.
fn is_form(text: &str) -> bool {
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    lines().count() > 1 && lines().all(|line| key_and_value(line).is_some())
}

impl Flow {
    /// Opens a list; `first` is the number of its first item, `None` for bullets.
    pub(super) fn open_list(&mut self, first: Option<u64>) {
        let next = first.map(|first| i64::try_from(first).unwrap_or(i64::MAX));
        self.push_list(List { next, step: 1 });
    }

    /// Opens a list whose items are counted from `first` in steps of `step`.
    pub(super) fn open_counted_list(&mut self, first: i64, step: i64) {
        self.push_list(List {
            next: Some(first),
            step,
        });
    }

    fn push_list(&mut self, list: List) {
        self.flush();
        self.marker = None;
        self.lists.push(list);
    }

    pub(super) fn close_list(&mut self) {
        self.flush();
        self.marker = None;
        self.lists.pop();
    }

    pub(super) fn open_item(&mut self) {
        let marker = self
            .count_item(None)
            .map_or_else(|| "-".to_owned(), |number| format!("{number}."));
        self.open_item_marked(marker);
    }

    /// Opens an item with a marker of its own.
    pub(super) fn open_item_marked(&mut self, marker: String) {
        self.flush();
        self.marker = Some(marker);
    }

    /// The number of the item that comes now, which may be stated, and counts it; `None` for bullets.
    pub(super) fn count_item(&mut self, stated: Option<i64>) -> Option<i64> {
        let list = self.lists.last_mut()?;
        let number = stated.or(list.next)?;
        list.next = Some(number.saturating_add(list.step));
        Some(number)
    }

    /// Writes the open inline text as a list item or a paragraph.
    pub(super) fn flush(&mut self) {
        if self.inline.trim().is_empty() {
            self.inline.clear();
            return;
        }
        let text = std::mem::take(&mut self.inline);
        match self.marker.take() {
            Some(marker) => {
                self.writer
                    .list_item(self.lists.len().saturating_sub(1), &marker, &text)
            }
            None if is_form(&text) => self.writer.lines(BlockKind::Paragraph, &text),
            None => self.writer.paragraph(&text),
        }
    }

    /// Writes what is open and takes the writer back.
    pub(super) fn finish(mut self) -> BlockWriter {
        self.flush();
        self.writer
    }
}
