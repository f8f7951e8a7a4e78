//! PDF to blocks. `pdf_oxide` finds the glyphs and where they stand; words, columns, tables, paragraphs and
//! headings are read off the distances here, because its own text output glues words together at style
//! changes and reads tables column by column.
//!
//! content stream -> characters that can be seen ([`paint`], [`chars`]) -> glyphs -> segments ([`glyph`]) -> regions of
//! one column ([`columns`]) -> lines -> pieces ([`lines`]) -> sentences over page ends ([`continued`]) -> blocks (here,
//! once the whole document is known: body size, running heads, hyphenation). Form values, comments and links come
//! from [`annotations`]. Text that runs in another direction than most of its page follows the page's other text.

mod annotations;
mod chars;
mod columns;
mod content;
mod contents;
mod continued;
mod cuts;
mod furniture;
mod geometry;
mod glyph;
mod headings;
mod hyphens;
mod lines;
mod pages;
mod paint;
mod rules;
mod segments;
mod spelling;
mod symbolic;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use pdf_oxide::PdfDocument;
use pdf_oxide::object::Object;

use self::glyph::Frame;
use self::glyph::TableCells;
use self::headings::{HeadingClass, Levels, Style};
use self::hyphens::{Words, join_lines};
use self::lines::{Line, Piece, PieceKind};
use super::ExtractError;
use super::outline::BlockWriter;
use super::table::Grid;
use crate::document::{BlockKind, Extracted};

/// Longest document that is read, in pages.
const MAX_PAGES: usize = 20_000;
const TRUNCATED: &str = "the end of the file is missing";

/// The lines of one page, region by region in reading order.
struct PageLines {
    regions: Vec<Vec<Line>>,
    /// The regions of text that runs in other directions.
    asides: Vec<Vec<Line>>,
    comments: Vec<String>,
    frame: Frame,
    /// What the page is called where that is not its number in the file.
    label: Option<String>,
    /// The share of the page that images take.
    pictured: f32,
}

#[cfg(test)]
impl PageLines {
    /// A page of 800 points.
    fn upright(regions: Vec<Vec<Line>>) -> Self {
        Self {
            regions,
            asides: vec![],
            comments: vec![],
            frame: Frame::upright(0.0, 800.0),
            label: None,
            pictured: 0.0,
        }
    }
}

/// Extracts a PDF document.
pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, ExtractError> {
    let document =
        PdfDocument::from_bytes(bytes.to_vec()).map_err(|error| open_error(bytes, &error))?;
    if document.is_encrypted()
        && !document.is_authenticated()
        && !document.authenticate(b"").unwrap_or(false)
    {
        return Err(ExtractError::Encrypted);
    }
    check_page_tree(&document)?;
    let num_pages = document
        .page_count()
        .map_err(|error| open_error(bytes, &error))?;
    if num_pages == 0 {
        return Err(or_truncated(ExtractError::Empty, bytes));
    }
    if num_pages > MAX_PAGES {
        return Err(ExtractError::TooLarge {
            what: "pages".into(),
            got: num_pages as u64,
            limit: MAX_PAGES as u64,
        });
    }
    let mut writer = BlockWriter::new();
    let mut pages = pages::read_pages(&document, num_pages, &mut writer)
        .map_err(|error| or_truncated(error, bytes))?;
    if is_truncated(bytes) {
        writer.warn("the end of the file is missing; text may be missing with it");
    }
    furniture::drop_page_furniture(&mut pages);
    pages::warn_of_scans(&pages, &mut writer);
    furniture::drop_repeated_asides(&mut pages);
    if contents::drop_contents(&mut pages, num_pages) {
        writer.warn("the table of contents was left out");
    }
    if let Some(title) = metadata_title(&document) {
        writer.suggest_title(&title);
    }
    write_blocks(&pages, &mut writer);
    Ok(writer.finish(u32::try_from(num_pages).ok()))
}

/// Refuses page trees that contain themselves: with two branches each, looking up a page in one takes forever.
fn check_page_tree(document: &PdfDocument) -> Result<(), ExtractError> {
    let Ok(catalog) = document.catalog() else {
        return Ok(());
    };
    let Some(root) = catalog
        .as_dict()
        .and_then(|catalog| catalog.get("Pages"))
        .and_then(Object::as_reference)
    else {
        return Ok(());
    };
    let mut seen = HashSet::from([root]);
    let mut open = vec![root];
    while let Some(reference) = open.pop() {
        let Ok(node) = document.load_object(reference) else {
            continue;
        };
        let kids = node
            .as_dict()
            .and_then(|node| node.get("Kids"))
            .and_then(|kids| document.resolve_object(kids).ok());
        for kid in kids
            .iter()
            .filter_map(Object::as_array)
            .flatten()
            .filter_map(Object::as_reference)
        {
            if !seen.insert(kid) {
                return Err(ExtractError::corrupt("its page tree contains itself"));
            }
            open.push(kid);
        }
        if seen.len() > 4 * MAX_PAGES {
            return Err(ExtractError::TooLarge {
                what: "page tree nodes".into(),
                got: seen.len() as u64,
                limit: 4 * MAX_PAGES as u64,
            });
        }
    }
    Ok(())
}

fn open_error(bytes: &[u8], error: &pdf_oxide::Error) -> ExtractError {
    let sentence = error.to_string();
    if sentence.to_lowercase().contains("encrypt") || sentence.to_lowercase().contains("password") {
        ExtractError::Encrypted
    } else if is_truncated(bytes) {
        ExtractError::corrupt(TRUNCATED)
    } else {
        ExtractError::corrupt(sentence)
    }
}

/// Whether what stands at the end of every PDF file is missing.
fn is_truncated(bytes: &[u8]) -> bool {
    let end = &bytes[bytes.len().saturating_sub(4096)..];
    let has = |mark: &[u8]| end.windows(mark.len()).any(|window| window == mark);
    !has(b"%%EOF") && !has(b"startxref")
}

/// A file that was cut off seems empty or unreadable; this is why.
fn or_truncated(error: ExtractError, bytes: &[u8]) -> ExtractError {
    if is_truncated(bytes) {
        ExtractError::corrupt(TRUNCATED)
    } else {
        error
    }
}

/// The text of a string that says in which encoding it is (PDF 32000-1 §7.9.2.2).
fn text_string(bytes: &[u8]) -> Option<String> {
    match bytes {
        [0xfe, 0xff, rest @ ..] => {
            let units: Vec<u16> = rest
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect();
            String::from_utf16(&units).ok()
        }
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => None,
    }
}

/// The title in the document's metadata if it reads like one; many are file names of some template.
fn metadata_title(document: &PdfDocument) -> Option<String> {
    let info = document
        .resolve_object(document.trailer().as_dict()?.get("Info")?)
        .ok()?;
    let value = document
        .resolve_object(info.as_dict()?.get("Title")?)
        .ok()?;
    let bytes = value.as_string()?;
    let title = match text_string(bytes) {
        Some(title) => title,
        None => super::text::decode(bytes)?.into_owned(),
    };
    let title = super::clean::clean_line(&title);
    let lower = title.to_lowercase();
    let is_file_name = [
        ".doc", ".docx", ".pdf", ".indd", ".qxd", ".ppt", ".pptx", ".rtf", ".odt", ".xls", ".xlsx",
        ".tmp", ".dot",
    ]
    .iter()
    .any(|extension| lower.ends_with(extension));
    let letters = title.chars().filter(|c| c.is_alphabetic()).count();
    let printable = title.chars().all(|c| !c.is_control() && c != '\u{fffd}');
    let words = title.split_whitespace().count();
    let plausible = printable
        && letters >= 4
        && words >= 2
        && letters * 2 > title.chars().count()
        && !is_file_name;
    (plausible && !lower.starts_with("microsoft ") && !lower.starts_with("untitled"))
        .then_some(title)
}

/// Writes the blocks of all pages.
fn write_blocks(pages: &[PageLines], writer: &mut BlockWriter) {
    let all_lines = || pages.iter().flat_map(|page| page.regions.iter().flatten());
    let body = segments::body_size(all_lines().map(|line| (line.size, line.text().len())));
    let bold_chars: usize = all_lines()
        .filter(|line| line.bold)
        .map(|line| line.text().len())
        .sum();
    let all_chars: usize = all_lines().map(|line| line.text().len()).sum();
    let words = Words::of(
        pages
            .iter()
            .flat_map(|page| page.regions.iter().chain(&page.asides)),
    );
    let style = Style {
        body,
        bold_is_rare: bold_chars * 10 < all_chars * 4,
    };
    let pieces = all_pieces(pages, &style, &words);
    let mut headings: Vec<Option<HeadingClass>> = pieces
        .iter()
        .enumerate()
        .map(|(piece_idx, piece)| style.heading_class(piece, piece_idx < 3))
        .collect();
    if let Some(title) = headings::first_page_title(&pieces, &headings) {
        let case = pieces
            .iter()
            .take(4)
            .find_map(headings::case_of)
            .map(|case| format!(" ({case})"));
        writer.suggest_title(&format!("{title}{}", case.unwrap_or_default()));
    }
    headings::drop_labels(&pieces, &mut headings);
    let levels = Levels::of(&headings);
    let mut numbered: Vec<u8> = Vec::new();
    let mut indents: Vec<f32> = Vec::new();
    for (piece, class) in pieces.iter().zip(&headings) {
        let label = pages
            .get(piece.page as usize - 1)
            .and_then(|page| page.label.as_deref());
        writer.set_page(piece.page, label);
        if !matches!(piece.kind, PieceKind::Item(_)) {
            indents.clear();
        }
        match (&piece.kind, class) {
            (PieceKind::Table(table), _) => write_table(table, &words, writer),
            (_, Some(class)) => {
                let text = join_lines(&piece.lines, &words);
                writer.heading(
                    headings::numbered_level(levels.level(*class), &text, &mut numbered),
                    &text,
                );
            }
            (PieceKind::Item(marker), None) => {
                indents.retain(|&x0| x0 < piece.x0 - 0.5 * piece.size);
                writer.list_item(indents.len(), marker, &join_lines(&piece.lines, &words));
                indents.push(piece.x0);
            }
            (PieceKind::Text, None) => writer.paragraph(&join_lines(&piece.lines, &words)),
        }
    }
}

/// The pieces of all pages in reading order, broken sentences joined.
fn all_pieces(pages: &[PageLines], style: &Style, words: &Words) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    // The piece that the next region may continue; asides and comments stand between.
    let mut last: Option<usize> = None;
    for (page, number) in pages.iter().zip(1..) {
        for region in &page.regions {
            let mut next = lines::pieces(region, number);
            let before = last
                .and_then(|last| pieces.get_mut(last))
                .filter(|piece| style.heading_class(piece, false).is_none());
            if let Some(before) = before {
                continued::join_broken_sentence(before, &mut next, words);
            }
            if !next.is_empty() {
                pieces.extend(next);
                last = Some(pieces.len() - 1);
            }
        }
        for aside in &page.asides {
            pieces.extend(lines::pieces(aside, number));
        }
        pieces.extend(page.comments.iter().map(|comment| Piece {
            kind: PieceKind::Text,
            lines: vec![comment.clone()],
            page: number,
            x0: 0.0,
            size: style.body,
            bold: false,
        }));
    }
    pieces
}

fn write_table(table: &TableCells, words: &Words, writer: &mut BlockWriter) {
    let mut grid = Grid::with_header_rows(table.num_header_rows);
    for row in &table.rows {
        grid.push_row(row.iter().map(|cell| join_lines(cell, words)));
    }
    writer.lines(BlockKind::Table, &grid.to_markdown());
    if grid.truncated {
        writer.warn("the end of a very large table was left out");
    }
}
