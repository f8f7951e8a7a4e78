//! Where a quote lies inside the blocks of a document, in chars.

use web_api::{BlockKind, Span, ViewBlock};

/// A piece of text that is either quoted or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Whether it belongs to the quote.
    pub quoted: bool,
}

/// Returns chars `piece` of a block's text, cut at the borders of `quote`. Both spans: offsets in the document text.
pub fn cut(text: &str, text_start: usize, quote: Span) -> Vec<Piece> {
    let length = text.chars().count();
    let from = quote.start.saturating_sub(text_start).min(length);
    let to = quote.end.saturating_sub(text_start).min(length).max(from);
    let mut chars = text.chars();
    let before: String = chars.by_ref().take(from).collect();
    let inside: String = chars.by_ref().take(to - from).collect();
    let after: String = chars.collect();
    [(before, false), (inside, true), (after, false)]
        .into_iter()
        .filter(|(text, _)| !text.is_empty())
        .map(|(text, quoted)| Piece { text, quoted })
        .collect()
}

/// Whether the block holds the first char of the quote: the place to scroll to.
pub fn begins_in(block: &ViewBlock, quote: Span) -> bool {
    let end = block.start + block.text.chars().count();
    block.start <= quote.start && quote.start < end
}

/// A cell of a table with its place in the document text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Trimmed text.
    pub text: String,
    /// Offset of the first char of `text` in the document text.
    pub start: usize,
}

/// Splits a Markdown table into rows of cells that still know their offsets; the row of dashes is left out.
///
/// `\|` does not end a cell. Text that is not a table comes back as rows of one cell.
pub fn table_rows(text: &str, text_start: usize) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    let mut offset = text_start;
    for line in text.split('\n') {
        let cells = split_cells(line, offset);
        let dashes = cells.iter().all(|cell| {
            cell.text.contains('-') && cell.text.chars().all(|c| matches!(c, '-' | ':'))
        });
        if !cells.is_empty() && !dashes {
            rows.push(cells);
        }
        offset += line.chars().count() + 1;
    }
    rows
}

fn split_cells(line: &str, line_start: usize) -> Vec<Cell> {
    let chars: Vec<char> = line.chars().collect();
    let mut borders = vec![];
    for (at, character) in chars.iter().enumerate() {
        if *character == '|' && (at == 0 || chars[at - 1] != '\\') {
            borders.push(at);
        }
    }
    let mut cells = Vec::new();
    let mut from = 0;
    for to in borders.into_iter().chain([chars.len()]) {
        let outside = (from == 0 && to == 0) || (to == chars.len() && from > 0);
        let cell = trimmed_cell(&chars[from..to], line_start + from);
        if !(outside && cell.text.is_empty()) {
            cells.push(cell);
        }
        from = (to + 1).min(chars.len());
    }
    if cells.iter().all(|cell| cell.text.is_empty()) {
        cells.clear();
    }
    cells
}

fn trimmed_cell(chars: &[char], start: usize) -> Cell {
    let lead = chars.iter().take_while(|c| c.is_whitespace()).count();
    let text: String = chars[lead..].iter().collect();
    Cell {
        text: text.trim_end().to_owned(),
        start: start + lead,
    }
}

/// Adds blocks that were loaded later to those on screen: in document order, none twice.
pub fn merge_blocks(shown: &[ViewBlock], loaded: &[ViewBlock]) -> Vec<ViewBlock> {
    let mut merged: Vec<ViewBlock> = shown.iter().chain(loaded).cloned().collect();
    merged.sort_by_key(|block| block.start);
    merged.dedup_by_key(|block| block.start);
    merged
}

/// Whether the block is running text, which is shown as paragraphs.
pub fn is_heading(kind: BlockKind) -> bool {
    matches!(kind, BlockKind::Title | BlockKind::Heading)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(pieces: Vec<Piece>) -> Vec<(String, bool)> {
        pieces
            .into_iter()
            .map(|piece| (piece.text, piece.quoted))
            .collect()
    }

    fn block(start: usize, text: &str) -> ViewBlock {
        ViewBlock {
            kind: BlockKind::Paragraph,
            text: text.into(),
            page: None,
            heading: Vec::new(),
            start,
        }
    }

    #[test]
    fn the_quote_is_cut_out_in_chars() {
        let pieces = cut(
            "Größe 🙂 und mehr",
            100,
            Span {
                start: 106,
                end: 111,
            },
        );
        assert_eq!(
            shape(pieces),
            [
                ("Größe ".into(), false),
                ("🙂 und".into(), true),
                (" mehr".into(), false)
            ]
        );
    }

    #[test]
    fn a_quote_over_several_blocks_marks_its_part_of_each() {
        let quote = Span { start: 3, end: 9 };
        assert_eq!(
            shape(cut("abcde", 0, quote)),
            [("abc".into(), false), ("de".into(), true)]
        );
        assert_eq!(
            shape(cut("fgh", 7, quote)),
            [("fg".into(), true), ("h".into(), false)]
        );
        assert_eq!(shape(cut("xyz", 20, quote)), [("xyz".into(), false)]);
    }

    #[test]
    fn a_quote_out_of_range_marks_nothing_and_keeps_the_text() {
        for quote in [
            Span { start: 9, end: 2 },
            Span { start: 0, end: 0 },
            Span {
                start: usize::MAX,
                end: usize::MAX,
            },
        ] {
            let text: String = cut("abc", 5, quote)
                .into_iter()
                .map(|piece| piece.text)
                .collect();
            assert_eq!(text, "abc");
        }
    }

    #[test]
    fn the_block_to_scroll_to_holds_the_first_char() {
        let quote = Span { start: 7, end: 12 };
        assert!(!begins_in(&block(0, "abcde"), quote));
        assert!(begins_in(&block(7, "fgh"), quote));
        assert!(!begins_in(&block(12, "ijk"), quote));
    }

    #[test]
    fn table_cells_keep_their_offsets() {
        let text = "| Name | Größe |\n|---|:--:|\n| a \\| b | 10 |";
        let rows = table_rows(text, 50);
        let cells: Vec<Vec<&str>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| cell.text.as_str()).collect())
            .collect();
        assert_eq!(cells, [vec!["Name", "Größe"], vec!["a \\| b", "10"]]);
        let chars: Vec<char> = text.chars().collect();
        for cell in rows.iter().flatten() {
            let start = cell.start - 50;
            let there: String = chars[start..start + cell.text.chars().count()]
                .iter()
                .collect();
            assert_eq!(there, cell.text);
        }
    }

    #[test]
    fn empty_inner_cells_stay_so_that_columns_align() {
        let rows = table_rows("a | | c", 0);
        assert_eq!(rows[0].len(), 3);
    }

    #[test]
    fn merged_blocks_are_in_order_and_single() {
        let merged = merge_blocks(
            &[block(10, "b"), block(20, "c")],
            &[block(0, "a"), block(10, "b")],
        );
        assert_eq!(
            merged.iter().map(|b| b.start).collect::<Vec<_>>(),
            [0, 10, 20]
        );
    }
}
