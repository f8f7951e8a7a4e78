//! PDF to blocks. `pdf_oxide` finds the glyphs and where they stand; words, columns, tables, paragraphs and
//! headings are read off the distances here, because its own text output glues words together at style
//! changes and reads tables column by column.
//!
//! glyphs -> segments ([`glyph`]) -> regions of one column ([`columns`]) -> lines -> pieces ([`lines`])
//! -> sentences over page ends ([`continued`]) -> blocks (here, once the whole document is known: body size,
//! running headers, hyphenation).

mod columns;
mod continued;
mod glyph;
mod lines;
mod rules;

use std::collections::{BTreeMap, HashMap, HashSet};

use pdf_oxide::PdfDocument;
use pdf_oxide::layout::TextChar;
use pdf_oxide::object::Object;

use self::glyph::Frame;
use self::lines::{Line, Piece, PieceKind, TableCells};
use self::rules::Drawing;
use super::ExtractError;
use super::outline::BlockWriter;
use super::table::Grid;
use super::text::section_number_level;
use crate::document::{BlockKind, Extracted};

/// Longest document that is read, in pages.
const MAX_PAGES: usize = 20_000;
/// Share of the page height at its top and at its bottom in which running headers and page numbers stand.
const MARGIN: f32 = 0.12;
/// A font this much larger than the body's is a heading's.
const HEADING_RATIO: f32 = 1.12;
/// Longest addition to the title that says which case a form is about; passage headers have room for no more.
const MAX_CASE_CHARS: usize = 48;
/// How many sizes of headings are told apart.
const MAX_HEADING_SIZES: usize = 5;

/// The lines of one page, region by region in reading order.
struct PageLines {
    regions: Vec<Vec<Line>>,
    frame: Frame,
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
        return Err(ExtractError::Empty);
    }
    if num_pages > MAX_PAGES {
        return Err(ExtractError::TooLarge {
            what: "pages".into(),
            got: num_pages as u64,
            limit: MAX_PAGES as u64,
        });
    }
    let mut writer = BlockWriter::new();
    let mut pages = read_pages(&document, num_pages, &mut writer)?;
    drop_page_furniture(&mut pages);
    if drop_contents(&mut pages, num_pages) {
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
    } else if !bytes
        .windows(5)
        .rev()
        .take(4096)
        .any(|window| window == b"%%EOF")
    {
        ExtractError::corrupt("the end of the file is missing")
    } else {
        ExtractError::corrupt(sentence)
    }
}

/// Reads all pages; says which have no text though they show something.
fn read_pages(
    document: &PdfDocument,
    num_pages: usize,
    writer: &mut BlockWriter,
) -> Result<Vec<PageLines>, ExtractError> {
    let mut pages = Vec::with_capacity(num_pages);
    let mut scanned = Vec::new();
    let mut failed = Vec::new();
    let mut first_failure = None;
    let (mut readable, mut unreadable) = (0usize, 0usize);
    for page_idx in 0..num_pages {
        // Not `extract_chars`: it keeps every page's characters in a cache.
        let chars = document
            .extract_chars_filtered(page_idx, HashSet::new(), HashSet::new())
            .unwrap_or_else(|error| {
                failed.push(page_idx + 1);
                first_failure.get_or_insert(error.to_string());
                Vec::new()
            });
        let media = document
            .get_page_media_box(page_idx)
            .unwrap_or((0.0, 0.0, 612.0, 792.0));
        let frame = Frame::of(&chars, media);
        let paths = if chars.is_empty() {
            vec![]
        } else {
            document.extract_paths(page_idx).unwrap_or_default()
        };
        let drawing = Drawing::of(&paths, frame);
        // White text may stand on a picture, whose place is not known here.
        let is_white = |c: &TextChar| c.color.r > 0.97 && c.color.g > 0.97 && c.color.b > 0.97;
        let has_images = || {
            document
                .page_image_handles(page_idx)
                .is_ok_and(|images| !images.is_empty())
        };
        let on_picture = chars.iter().any(is_white) && has_images();
        let glyphs = glyph::upright(&chars, frame, media, &|x, y| {
            on_picture || drawing.is_painted(x, y)
        });
        unreadable += glyphs.iter().filter(|glyph| glyph.c == '\u{fffd}').count();
        let visible = glyphs
            .iter()
            .filter(|glyph| !glyph.c.is_whitespace() && glyph.c != '\u{fffd}')
            .count();
        readable += visible;
        if visible == 0
            && document
                .page_image_handles(page_idx)
                .is_ok_and(|images| !images.is_empty())
        {
            scanned.push(page_idx + 1);
        }
        let mut segments = glyph::segments(glyphs);
        drawing.take_tables(&mut segments);
        let regions = columns::regions(segments)
            .into_iter()
            .map(lines::lines)
            .collect();
        pages.push(PageLines { regions, frame });
    }
    if readable == 0 {
        return Err(match first_failure {
            Some(reason) => ExtractError::Corrupt { reason },
            None if scanned.is_empty() && unreadable == 0 => ExtractError::Empty,
            None => ExtractError::NeedsOcr {
                pages: u32::try_from(num_pages).unwrap_or(u32::MAX),
            },
        });
    }
    // Fonts without a character map give boxes: the text can be seen but not read.
    if unreadable > readable {
        return Err(ExtractError::NeedsOcr {
            pages: u32::try_from(num_pages).unwrap_or(u32::MAX),
        });
    }
    if !scanned.is_empty() {
        writer.warn(format!(
            "{} without text, only images; OCR would be needed",
            page_list(&scanned)
        ));
    }
    if !failed.is_empty() {
        writer.warn(format!("{} could not be read", page_list(&failed)));
    }
    Ok(pages)
}

/// "page 3", "pages 3, 5-7".
fn page_list(pages: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &page in pages {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == page => *last = page,
            _ => ranges.push((page, page)),
        }
    }
    let names: Vec<String> = ranges
        .iter()
        .map(|&(a, b)| {
            if a == b {
                a.to_string()
            } else {
                format!("{a}-{b}")
            }
        })
        .collect();
    format!(
        "page{} {}",
        if pages.len() == 1 { "" } else { "s" },
        names.join(", ")
    )
}

/// Drops page numbers and lines that count pages, and running headers and footers from their second appearance
/// on: the first may be the only place that names the document's number or version.
fn drop_page_furniture(pages: &mut [PageLines]) {
    let mut places: HashMap<(String, i32), usize> = HashMap::new();
    for page in pages.iter() {
        let mut seen = HashSet::new();
        for line in margin_lines(page) {
            if seen.insert(place(line)) {
                *places.entry(place(line)).or_default() += 1;
            }
        }
    }
    let num_pages = pages.len();
    let repeated: HashSet<(String, i32)> = places
        .into_iter()
        .filter(|(_, count)| *count >= 3 || (*count == 2 && num_pages <= 4))
        .map(|(key, _)| key)
        .collect();
    let mut kept = HashSet::new();
    for page in pages {
        let frame = page.frame;
        for region in &mut page.regions {
            region.retain(|line| {
                let text = line.text();
                let is_repeated = repeated.contains(&place(line));
                let is_counted = is_repeated && text.to_lowercase().contains("page ");
                let drops = is_page_number(&text)
                    || is_counted
                    || (is_repeated && !kept.insert(place(line)));
                !(in_margin(line, frame) && drops)
            });
        }
    }
}

fn margin_lines(page: &PageLines) -> impl Iterator<Item = &Line> {
    page.regions
        .iter()
        .flatten()
        .filter(|line| in_margin(line, page.frame))
}

fn in_margin(line: &Line, frame: Frame) -> bool {
    let height = frame.top - frame.bottom;
    line.y > frame.top - MARGIN * height || line.y < frame.bottom + MARGIN * height
}

/// A line's text without its numbers, and its height on the page within six points.
fn place(line: &Line) -> (String, i32) {
    let text: String = line
        .text()
        .chars()
        .filter(|c| !c.is_ascii_digit() && !c.is_whitespace())
        .collect();
    (text, (line.y / 6.0).round() as i32)
}

/// "7", "- 7 -", "iii", "Page 7 of 28".
fn is_page_number(text: &str) -> bool {
    let text = text
        .trim()
        .trim_matches(['-', '–', '—', '|', '[', ']', ' '])
        .to_lowercase();
    let text = text
        .strip_prefix("page")
        .or_else(|| text.strip_prefix("p."))
        .unwrap_or(&text);
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c == '/')
        .filter(|word| !word.is_empty())
        .collect();
    let number = |word: &str| {
        (word.len() <= 4 && word.bytes().all(|b| b.is_ascii_digit()))
            || (word.len() <= 6 && word.bytes().all(|b| matches!(b, b'i' | b'v' | b'x' | b'l')))
    };
    match words.as_slice() {
        [one] => number(one),
        [one, "of" | "von" | "de" | "sur", all] => number(one) && number(all),
        [one, all] => number(one) && number(all) && text.contains('/'),
        _ => false,
    }
}

/// Drops lines such as "Scope ........ 12" where at least three in a row on a page name rising page numbers:
/// they match every question about a heading and answer none. Elsewhere leader dots are shortened.
fn drop_contents(pages: &mut [PageLines], num_pages: usize) -> bool {
    let mut dropped = false;
    for page in pages {
        let targets: Vec<usize> = page
            .regions
            .iter()
            .flatten()
            .filter_map(|line| contents_target(&line.text(), num_pages))
            .collect();
        let rising = targets.windows(2).filter(|pair| pair[0] <= pair[1]).count();
        if targets.len() >= 3 && rising + 1 >= targets.len() * 9 / 10 {
            for region in &mut page.regions {
                let is_entry: Vec<bool> = region
                    .iter()
                    .map(|line| contents_target(&line.text(), num_pages).is_some())
                    .collect();
                // A long entry's first line has no dots; only its neighbours tell what it is.
                let mut line_idx = 0;
                region.retain(|_| {
                    let near = is_entry[line_idx]
                        || is_entry[line_idx + 1..].iter().take(2).any(|&entry| entry)
                            && is_entry[..line_idx]
                                .iter()
                                .rev()
                                .take(2)
                                .any(|&entry| entry);
                    line_idx += 1;
                    !near
                });
            }
            dropped = true;
        }
        for segment in page
            .regions
            .iter_mut()
            .flatten()
            .flat_map(|line| &mut line.segments)
        {
            segment.text = shorten_leaders(&segment.text);
        }
    }
    dropped
}

/// The page that a line of a table of contents points to.
fn contents_target(line: &str, num_pages: usize) -> Option<usize> {
    let line = line.trim_end();
    let number: String = line
        .chars()
        .rev()
        .take_while(char::is_ascii_digit)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    let rest = line[..line.len() - number.len()].trim_end();
    let leader = rest
        .chars()
        .rev()
        .take_while(|&c| matches!(c, '.' | '…' | ' ' | '_'))
        .filter(|c| *c != ' ')
        .count();
    let target = number.parse::<usize>().ok()?;
    (leader >= 4 && target <= num_pages + 20).then_some(target)
}

fn shorten_leaders(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['.', '…', '_']) {
        let run: usize = rest[at..]
            .chars()
            .take_while(|c| matches!(c, '.' | '…' | '_' | ' '))
            .map(char::len_utf8)
            .sum();
        let dots = rest[at..at + run].chars().filter(|c| *c != ' ').count();
        out.push_str(&rest[..at]);
        out.push_str(if dots >= 5 {
            " … "
        } else {
            &rest[at..at + run]
        });
        rest = &rest[at + run..];
    }
    out + rest
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
    let title = match bytes {
        [0xfe, 0xff, rest @ ..] => {
            let units: Vec<u16> = rest
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect();
            String::from_utf16(&units).ok()?
        }
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok()?,
        bytes => super::text::decode(bytes)?.into_owned(),
    };
    let title = super::text::clean_line(&title);
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
    let body = glyph::body_size(all_lines().map(|line| (line.size, line.text().len())));
    let bold_chars: usize = all_lines()
        .filter(|line| line.bold)
        .map(|line| line.text().len())
        .sum();
    let all_chars: usize = all_lines().map(|line| line.text().len()).sum();
    let vocabulary = vocabulary(all_lines());
    let style = Style {
        body,
        bold_is_rare: bold_chars * 10 < all_chars * 4,
    };
    let mut pieces: Vec<Piece> = Vec::new();
    for (page, number) in pages.iter().zip(1..) {
        for region in &page.regions {
            let mut next = lines::pieces(region, number);
            let text = pieces
                .last_mut()
                .filter(|piece| style.heading_class(piece, false).is_none());
            if let Some(before) = text {
                continued::join_broken_sentence(before, &mut next, &vocabulary);
            }
            pieces.extend(next);
        }
    }
    let mut headings: Vec<Option<HeadingClass>> = pieces
        .iter()
        .enumerate()
        .map(|(piece_idx, piece)| style.heading_class(piece, piece_idx < 3))
        .collect();
    if let Some(title) = first_page_title(&pieces, &headings) {
        let case = pieces
            .iter()
            .take(4)
            .find_map(case_of)
            .map(|case| format!(" ({case})"));
        writer.suggest_title(&format!("{title}{}", case.unwrap_or_default()));
    }
    drop_labels(&pieces, &mut headings);
    let levels = Levels::of(&headings);
    let mut numbered: Vec<u8> = Vec::new();
    let mut indents: Vec<f32> = Vec::new();
    for (piece, class) in pieces.iter().zip(&headings) {
        writer.set_page(piece.page);
        if !matches!(piece.kind, PieceKind::Item(_)) {
            indents.clear();
        }
        match (&piece.kind, class) {
            (PieceKind::Table(table), _) => write_table(table, &vocabulary, writer),
            (_, Some(class)) => {
                let text = join_lines(&piece.lines, &vocabulary);
                writer.heading(
                    numbered_level(levels.level(*class), &text, &mut numbered),
                    &text,
                );
            }
            (PieceKind::Item(marker), None) => {
                indents.retain(|&x0| x0 < piece.x0 - 0.5 * piece.size);
                writer.list_item(
                    indents.len(),
                    marker,
                    &join_lines(&piece.lines, &vocabulary),
                );
                indents.push(piece.x0);
            }
            (PieceKind::Text, None) => writer.paragraph(&join_lines(&piece.lines, &vocabulary)),
        }
    }
}

fn write_table(table: &TableCells, vocabulary: &HashSet<String>, writer: &mut BlockWriter) {
    let mut grid = Grid::with_header_rows(table.num_header_rows);
    for row in &table.rows {
        grid.push_row(row.iter().map(|cell| join_lines(cell, vocabulary)));
    }
    writer.lines(BlockKind::Table, &grid.to_markdown());
    if grid.truncated {
        writer.warn("the end of a very large table was left out");
    }
}

/// What makes a piece a heading; larger sizes come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum HeadingClass {
    /// Larger than the body, in half points.
    Large(i32),
    Bold,
    Capitals,
    Numbered,
}

/// Takes back what is no heading though it looks like one: bold labels of a form whose values are empty, and
/// cover pages, lists and addresses in large or bold type (several in a row; the last may head what follows).
fn drop_labels(pieces: &[Piece], headings: &mut [Option<HeadingClass>]) {
    let mut at = 0;
    while at < headings.len() {
        let class = headings[at];
        let run = headings[at..]
            .iter()
            .take_while(|other| **other == class)
            .count();
        let follows = headings.get(at + run).copied().flatten();
        let is_large = matches!(class, Some(HeadingClass::Large(_)));
        let is_list = run >= if is_large { 4 } else { 3 };
        for idx in at..at + run {
            let is_last = idx + 1 == at + run;
            let heads_nothing = !is_last || follows.is_some() || at + run == headings.len();
            let is_label = !is_large
                && pieces[idx]
                    .lines
                    .last()
                    .is_some_and(|line| line.trim_end().ends_with(':'));
            if (is_label && heads_nothing) || (is_list && !is_last) {
                headings[idx] = None;
            }
        }
        at += run;
    }
}

/// What ordinary text looks like in this document.
struct Style {
    body: f32,
    bold_is_rare: bool,
}

impl Style {
    fn heading_class(&self, piece: &Piece, opens_document: bool) -> Option<HeadingClass> {
        let text = piece.lines.join(" ");
        let length = text.chars().count();
        let letters = text.chars().filter(|c| c.is_alphabetic()).count();
        if matches!(piece.kind, PieceKind::Table(_))
            || piece.lines.len() > 3
            || letters < 3
            || length > 200
        {
            return None;
        }
        let is_item = matches!(piece.kind, PieceKind::Item(_));
        // A title may be a sentence, a heading within the text hardly ever is.
        let is_sentence = !opens_document
            && text.ends_with(['.', ';', ','])
            && text.split_whitespace().count() >= 8;
        if piece.size >= HEADING_RATIO * self.body
            && letters * 2 > length
            && !is_item
            && !is_sentence
        {
            return Some(HeadingClass::Large((piece.size * 2.0).round() as i32));
        }
        if is_item || text.ends_with(['.', ',', ';']) || piece.lines.len() > 2 || length > 120 {
            return None;
        }
        let starts_high = text
            .chars()
            .find(|c| c.is_alphabetic())
            .is_some_and(|c| !c.is_lowercase());
        let full_size = piece.size >= 0.95 * self.body;
        if piece.bold && self.bold_is_rare && full_size && starts_high {
            return Some(HeadingClass::Bold);
        }
        if piece.lines.len() > 1 || !full_size {
            return None;
        }
        let capitals = text.chars().filter(|c| c.is_uppercase()).count();
        if capitals == letters && letters >= 4 && length <= 80 {
            return Some(HeadingClass::Capitals);
        }
        (section_number_level(&text).is_some_and(|level| level >= 2) && length <= 90)
            .then_some(HeadingClass::Numbered)
    }
}

/// Heading levels by class: the larger, the higher.
struct Levels(BTreeMap<HeadingClass, u8>);

impl Levels {
    fn of(headings: &[Option<HeadingClass>]) -> Self {
        let mut sizes: Vec<HeadingClass> = headings
            .iter()
            .flatten()
            .copied()
            .filter(|class| matches!(class, HeadingClass::Large(_)))
            .collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes.dedup();
        let mut levels = BTreeMap::new();
        for (size_idx, class) in sizes.iter().enumerate() {
            levels.insert(
                *class,
                u8::try_from(size_idx.min(MAX_HEADING_SIZES - 1) + 1).unwrap_or(1),
            );
        }
        let mut below = u8::try_from(sizes.len().min(MAX_HEADING_SIZES)).unwrap_or(0) + 1;
        for class in [
            HeadingClass::Capitals,
            HeadingClass::Bold,
            HeadingClass::Numbered,
        ] {
            if headings.contains(&Some(class)) {
                levels.insert(class, below);
                below += 1;
            }
        }
        Self(levels)
    }

    fn level(&self, class: HeadingClass) -> u8 {
        self.0.get(&class).copied().unwrap_or(1)
    }
}

/// Puts "2.1 Scope" below "2 Aims" even when both look the same. `numbered` holds the levels given to the
/// numbers above.
fn numbered_level(level: u8, text: &str, numbered: &mut Vec<u8>) -> u8 {
    let Some(depth) = section_number_level(text) else {
        return level;
    };
    let depth = usize::from(depth);
    // A numbered section is one level below its parent whatever its type; a lone "1." may number anything.
    let sibling = numbered.get(depth - 1).copied().filter(|_| depth > 1);
    numbered.truncate(depth - 1);
    let above = numbered
        .last()
        .copied()
        .filter(|_| numbered.len() == depth - 1);
    let level = sibling.unwrap_or_else(|| above.map_or(level, |above| above + 1));
    numbered.push(level);
    level
}

/// The largest heading of the first page that has text.
fn first_page_title(pieces: &[Piece], headings: &[Option<HeadingClass>]) -> Option<String> {
    let first_page = pieces.first()?.page;
    let on_first = || {
        pieces
            .iter()
            .zip(headings)
            .filter(|(piece, _)| piece.page == first_page)
    };
    let largest = on_first()
        .filter_map(|(_, class)| *class)
        .filter(|class| matches!(class, HeadingClass::Large(_)))
        .max()?;
    // A title set in several lines far apart is several pieces in a row.
    let lines: Vec<String> = on_first()
        .skip_while(|(_, class)| **class != Some(largest))
        .take_while(|(_, class)| **class == Some(largest))
        .map(|(piece, _)| piece.lines.join(" "))
        .collect();
    let title = lines.join(" ");
    if title.chars().count() <= 200 {
        return Some(title);
    }
    // Authors and institutions follow in the same type.
    lines
        .into_iter()
        .find(|line| line.split_whitespace().count() >= 4)
}

/// What a form is about: the first values of the table under its title ("Madill, OK; DFW08CA044"). Reports of one
/// kind share a title, and their passages would otherwise not say which case they belong to.
fn case_of(piece: &Piece) -> Option<String> {
    let PieceKind::Table(table) = &piece.kind else {
        return None;
    };
    let cells = || table.rows.iter().flatten().map(|cell| cell.join(" "));
    let pairs: Vec<(String, String)> = cells()
        .zip(cells().skip(1))
        .filter(|(label, _)| label.ends_with(':'))
        .collect();
    let mut case = String::new();
    for (_, value) in &pairs {
        if value.is_empty() || value.ends_with(':') || value.chars().count() > MAX_CASE_CHARS - 8 {
            continue;
        }
        if case.chars().count() + value.chars().count() > MAX_CASE_CHARS {
            break;
        }
        if !case.is_empty() {
            case.push_str("; ");
        }
        case.push_str(value);
    }
    (pairs.len() >= 4 && !case.is_empty()).then_some(case)
}

/// Words of the document in lower case, hyphenated ones included.
fn vocabulary<'a>(lines: impl Iterator<Item = &'a Line>) -> HashSet<String> {
    let mut words = HashSet::new();
    for line in lines {
        let text = line.text();
        for word in text.split(|c: char| !c.is_alphanumeric() && c != '-') {
            if word.len() > 2 && !word.ends_with('-') {
                words.insert(word.to_lowercase());
            }
        }
    }
    words
}

/// Joins the lines of a paragraph. A hyphen at a line's end goes if the joined word occurs elsewhere in the
/// document, and stays if the hyphenated word or both of its parts do; Chinese and Japanese lines are joined without a space.
fn join_lines(lines: &[String], vocabulary: &HashSet<String>) -> String {
    let mut text = String::new();
    for line in lines {
        let line = line.trim();
        let Some(next) = line.chars().next() else {
            continue;
        };
        let Some(last) = text.chars().next_back() else {
            text.push_str(line);
            continue;
        };
        let stem = text.strip_suffix(['-', '\u{ad}']);
        match stem {
            Some(stem)
                if next.is_lowercase()
                    && stem.chars().next_back().is_some_and(char::is_alphabetic) =>
            {
                let word = |s: &str| {
                    s.chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '-')
                        .collect::<String>()
                        .to_lowercase()
                };
                let head: String = word(&stem.chars().rev().collect::<String>())
                    .chars()
                    .rev()
                    .collect();
                let tail = word(line);
                let knows = |word: &str| vocabulary.contains(word);
                let two_words = knows(&format!("{head}-{tail}")) || (knows(&head) && knows(&tail));
                let keeps = last == '-' && !knows(&format!("{head}{tail}")) && two_words;
                if !keeps {
                    text.truncate(stem.len());
                }
            }
            Some(_) => {}
            None if is_cjk(last) && is_cjk(next) => {}
            None => text.push(' '),
        }
        text.push_str(line);
    }
    text
}

fn is_cjk(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_numbers_are_told_from_text() {
        for text in ["7", "- 7 -", "iii", "Page 7 of 28", "7 / 28", "Page 12"] {
            assert!(is_page_number(text), "{text}");
        }
        for text in [
            "Page seven",
            "Version 2",
            "2013 report",
            "12345",
            "7 28",
            "",
        ] {
            assert!(!is_page_number(text), "{text}");
        }
    }

    #[test]
    fn contents_lines_are_told_from_price_lists() {
        assert_eq!(contents_target("1.2 Scope .......... 12", 30), Some(12));
        assert_eq!(contents_target("Scope . . . . . . 7", 30), Some(7));
        assert_eq!(contents_target("Hammer ........ 1250", 30), None);
        assert_eq!(contents_target("He paused... 3", 30), None);
        assert_eq!(
            shorten_leaders("Name ......... Date ... x"),
            "Name  … Date ... x"
        );
    }

    #[test]
    fn hyphens_at_line_ends_go_unless_the_word_has_one() {
        let vocabulary: HashSet<String> = ["information", "long-term"].map(String::from).into();
        let join = |lines: &[&str]| {
            join_lines(
                &lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>(),
                &vocabulary,
            )
        };
        assert_eq!(join(&["infor-", "mation here"]), "information here");
        assert_eq!(join(&["a long-", "term plan"]), "a long-term plan");
        assert_eq!(join(&["Smith-", "Jones"]), "Smith-Jones");
        assert_eq!(join(&["pages 3-", "4"]), "pages 3-4");
        assert_eq!(join(&["第一", "行"]), "第一行");
        assert_eq!(join(&["one", "two"]), "one two");
    }

    #[test]
    fn pages_are_listed_as_ranges() {
        assert_eq!(page_list(&[3]), "page 3");
        assert_eq!(page_list(&[1, 3, 4, 5]), "pages 1, 3-5");
    }
}
