//! From segments to lines, and from lines to *pieces*: paragraphs, list items and tables, whose place in the
//! document (heading or not, which level) is decided once all pages are known.

use super::glyph::{Segment, TableCells};
use crate::extract::text::list_marker;
use crate::text::sentence::is_closer;

/// Columns of a table are at least this far apart, in points.
const MIN_COLUMN_GAP: usize = 3;
/// Rows of two full lines are told from single rows if there are at least this many.
const MIN_PAIRS: usize = 3;
/// Widest region that is looked at for tables, in points (posters are cut off).
const MAX_WIDTH: usize = 4000;

/// Everything on one baseline of a region.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) segments: Vec<Segment>,
    pub(super) x0: f32,
    pub(super) x1: f32,
    pub(super) y: f32,
    pub(super) size: f32,
    pub(super) bold: bool,
}

impl Line {
    pub(super) fn text(&self) -> String {
        self.segments
            .iter()
            .map(|segment| segment.text.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// What a piece is as far as its own page shows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PieceKind {
    Text,
    /// A list item with its marker.
    Item(String),
    Table(TableCells),
}

/// A paragraph, list item or table of one page.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) kind: PieceKind,
    pub(super) lines: Vec<String>,
    pub(super) page: u32,
    pub(super) x0: f32,
    pub(super) size: f32,
    pub(super) bold: bool,
}

/// Groups a region's segments into lines, top to bottom.
pub(super) fn lines(mut region: Vec<Segment>) -> Vec<Line> {
    region.sort_by(|a, b| b.y.total_cmp(&a.y).then(a.x0.total_cmp(&b.x0)));
    let mut lines: Vec<Line> = Vec::new();
    for segment in region {
        match lines.last_mut() {
            Some(line)
                if line.y - segment.y <= 0.35 * segment.size.min(line.size)
                    && segment.table.is_none()
                    && line.segments[0].table.is_none() =>
            {
                line.segments.push(segment);
            }
            _ => lines.push(Line {
                x0: segment.x0,
                x1: segment.x1,
                y: segment.y,
                size: segment.size,
                bold: segment.bold,
                segments: vec![segment],
            }),
        }
    }
    for line in &mut lines {
        line.segments.sort_by(|a, b| a.x0.total_cmp(&b.x0));
        line.x0 = line.segments[0].x0;
        line.x1 = line
            .segments
            .iter()
            .map(|segment| segment.x1)
            .fold(line.x1, f32::max);
        // "1.4. WMD" may have its number in another size: the largest that a good part of the line has.
        let num_bytes: usize = line.segments.iter().map(|segment| segment.text.len()).sum();
        let large = line
            .segments
            .iter()
            .filter(|segment| segment.text.len() * 10 >= num_bytes * 3);
        line.size = large
            .map(|segment| segment.size)
            .fold(0.0, f32::max)
            .max(1.0);
        line.bold = line.segments.iter().all(|segment| segment.bold);
    }
    lines
}

/// Groups a region's lines into pieces.
pub(super) fn pieces(lines: &[Line], page: u32) -> Vec<Piece> {
    let edge = justified_edge(lines);
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut text_from = 0;
    while at < lines.len() {
        let drawn = lines[at].segments[0]
            .table
            .as_deref()
            .map(|table| (1, table.clone()));
        if let Some((length, table)) = drawn.or_else(|| table_at(&lines[at..], edge)) {
            text_pieces(&lines[text_from..at], page, &mut pieces);
            let first = &lines[at];
            pieces.push(Piece {
                kind: PieceKind::Table(table),
                lines: vec![],
                page,
                x0: first.x0,
                size: first.size,
                bold: false,
            });
            at += length;
            text_from = at;
        } else {
            at += 1;
        }
    }
    text_pieces(&lines[text_from..], page, &mut pieces);
    pieces
}

/// The table that starts with the first line: how many lines it has and its cells.
///
/// `edge`: as [`justified_edge`] of the region.
fn table_at(lines: &[Line], edge: Option<f32>) -> Option<(usize, TableCells)> {
    let is_stretched = |rows: &[Line]| edge.is_some_and(|edge| are_stretched(rows, edge));
    if lines.first()?.segments.len() < 2 || marker_and_text(&lines[0]) {
        return None;
    }
    let mut length = table_length(lines);
    // A caption or a paragraph that was taken in at the end can hide the columns; so can a spanning note within.
    while length >= 2 {
        let rows = &lines[..length];
        let columns = columns(rows);
        if columns.len() >= 2 && fits(rows, &columns) && !is_stretched(rows) {
            return Some((length, cells(rows, &columns)));
        }
        length = if length > 8 {
            length * 3 / 4
        } else {
            length - 1
        };
    }
    None
}

/// How many lines could belong to a table that starts with the first line.
fn table_length(lines: &[Line]) -> usize {
    let x0 = lines
        .iter()
        .take(40)
        .map(|line| line.x0)
        .fold(f32::INFINITY, f32::min);
    let x1 = lines
        .iter()
        .take(40)
        .map(|line| line.x1)
        .fold(f32::NEG_INFINITY, f32::max);
    let mut length = 0;
    let mut singles = 0;
    for (line_idx, line) in lines.iter().enumerate() {
        let gap = line_idx
            .checked_sub(1)
            .map_or(0.0, |before| lines[before].y - line.y);
        if gap > 4.0 * line.size || line.segments[0].table.is_some() {
            break;
        }
        if line.segments.len() >= 2 && !marker_and_text(line) {
            length = line_idx + 1;
            singles = 0;
        } else {
            singles += 1;
            let is_prose = line.x1 - line.x0 > 0.6 * (x1 - x0);
            let is_heading = line.size > 1.1 * lines[0].size;
            if is_prose || is_heading || singles > 4 {
                break;
            }
            // A cell that goes on below its row belongs to the table even if no row follows.
            if line.x0 > lines[0].x0 + line.size && gap < 1.4 * line.size {
                length = line_idx + 1;
            }
        }
    }
    length
}

/// "•   text" is a list item, not a row.
fn marker_and_text(line: &Line) -> bool {
    line.segments.len() == 2
        && list_marker(&line.text()).is_some_and(|(_, text)| text == line.segments[1].text)
}

/// x ranges that hold the cells: strips that hardly any line crosses separate them.
fn columns(rows: &[Line]) -> Vec<(f32, f32)> {
    let multi: Vec<&Line> = rows
        .iter()
        .filter(|line| line.segments.len() >= 2)
        .collect();
    let left = rows
        .iter()
        .map(|line| line.x0)
        .fold(f32::INFINITY, f32::min);
    let right = rows
        .iter()
        .map(|line| line.x1)
        .fold(f32::NEG_INFINITY, f32::max);
    let width = ((right - left).max(0.0).ceil() as usize).min(MAX_WIDTH);
    let mut covered = vec![0usize; width + 1];
    for segment in multi.iter().flat_map(|line| &line.segments) {
        let from = ((segment.x0 - left).max(0.0) as usize).min(width);
        let to = ((segment.x1 - left).max(0.0).ceil() as usize).min(width);
        covered[from..to].iter_mut().for_each(|count| *count += 1);
    }
    let mut columns = Vec::new();
    for (from, to) in ranges_above(&covered, 0..width + 1, multi.len() / 10) {
        // A value that runs on over its neighbour must not hide two columns that most rows fill.
        let parts = ranges_above(&covered, from..to, multi.len() / 4);
        let filled = |&(from, to): &(usize, usize)| {
            covered[from..to]
                .iter()
                .any(|&count| count * 5 >= multi.len() * 2)
        };
        if parts.len() >= 2 && parts.iter().all(filled) {
            columns.extend(parts);
        } else {
            columns.push((from, to));
        }
    }
    columns
        .into_iter()
        .map(|(from, to)| (left + from as f32, left + to as f32))
        .collect()
}

/// Ranges of `within` in which more than `allowed` lines have text, small gaps closed.
fn ranges_above(
    covered: &[usize],
    within: std::ops::Range<usize>,
    allowed: usize,
) -> Vec<(usize, usize)> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for x in within.filter(|&x| covered[x] > allowed) {
        match ranges.last_mut() {
            Some((_, to)) if x - *to < MIN_COLUMN_GAP => *to = x + 1,
            _ => ranges.push((x, x + 1)),
        }
    }
    ranges
}

/// Whether the rows really are cells: most multi-segment lines touch at least two columns, and cells are short.
fn fits(rows: &[Line], columns: &[(f32, f32)]) -> bool {
    let multi: Vec<&Line> = rows
        .iter()
        .filter(|line| line.segments.len() >= 2)
        .collect();
    let split = multi
        .iter()
        .filter(|line| {
            column_of(&line.segments[0], columns)
                != column_of(&line.segments[line.segments.len() - 1], columns)
        })
        .count();
    // Two lines alone can be badly justified text: there the columns must be far apart.
    let gap = columns
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].1)
        .fold(f32::INFINITY, f32::min);
    let far_apart = gap > 1.8 * rows[0].size;
    multi.len() >= 2 && split * 4 >= multi.len() * 3 && (multi.len() >= 3 || far_apart)
}

/// The right edge of a region of running text that is stretched to it.
fn justified_edge(lines: &[Line]) -> Option<f32> {
    let left = lines
        .iter()
        .map(|line| line.x0)
        .fold(f32::INFINITY, f32::min);
    let right = lines
        .iter()
        .map(|line| line.x1)
        .fold(f32::NEG_INFINITY, f32::max);
    let full = lines.iter().filter(|line| right - line.x1 < line.size);
    let unbroken = full
        .clone()
        .filter(|line| line.segments.len() == 1 && line.x1 - line.x0 > 0.9 * (right - left));
    (full.count() * 2 > lines.len() && unbroken.count() * 4 > lines.len()).then_some(right)
}

/// Whether the rows are running text stretched to `edge`, whose blanks may stand below each other: in such a line all
/// blanks are equally wide.
fn are_stretched(rows: &[Line], edge: f32) -> bool {
    let is_even = |line: &&Line| {
        let gaps = line.segments.windows(2).map(|pair| pair[1].x0 - pair[0].x1);
        let (narrowest, widest) = gaps.fold((f32::INFINITY, 0.0f32), |(low, high), gap| {
            (low.min(gap), high.max(gap))
        });
        widest - narrowest < 0.05 * line.size
    };
    let telling = || rows.iter().filter(|line| line.segments.len() >= 3);
    let full = rows.iter().filter(|line| edge - line.x1 < line.size);
    full.count() * 2 >= rows.len() && telling().count() > 0 && telling().all(|line| is_even(&line))
}

/// The column that a segment overlaps most; the first of those that it runs across.
fn column_of(segment: &Segment, columns: &[(f32, f32)]) -> usize {
    let overlap = |&(from, to): &(f32, f32)| segment.x1.min(to) - segment.x0.max(from);
    let covers = |column: &(f32, f32)| overlap(column) > 0.6 * (column.1 - column.0);
    let widest = columns
        .iter()
        .enumerate()
        .max_by(|a, b| overlap(a.1).total_cmp(&overlap(b.1)));
    let widest = widest.map_or(0, |(column, _)| column);
    columns
        .iter()
        .position(covers)
        .map_or(widest, |first| first.min(widest))
}

fn cells(rows: &[Line], columns: &[(f32, f32)]) -> TableCells {
    let gaps: Vec<f32> = rows.windows(2).map(|pair| pair[0].y - pair[1].y).collect();
    let tight = gaps.iter().copied().fold(f32::INFINITY, f32::min);
    let loose = gaps.iter().copied().fold(0.0, f32::max);
    // Rows are set apart from the lines of one cell; where they are not, every line is a row.
    let two_spacings = loose > 1.25 * tight && tight < 1.45 * rows[0].size;
    let texts: Vec<Vec<String>> = rows.iter().map(|line| row_texts(line, columns)).collect();
    let is_tight =
        |line_idx: usize| two_spacings && line_idx > 0 && gaps[line_idx - 1] <= 1.12 * tight;
    // The spacing alone proves nothing: the rows below a header that is set apart stand as close as lines of a cell.
    let mut first_of_block = 0;
    let mut is_rest = vec![false; rows.len()];
    let mut num_tight = 0;
    let mut no_block_is_longer = true;
    for line_idx in 0..rows.len() {
        if is_tight(line_idx) {
            num_tight += 1;
            no_block_is_longer &= line_idx == first_of_block + 1;
            is_rest[line_idx] = is_rest_of_row(&texts[first_of_block], &texts[line_idx]);
        } else {
            first_of_block = line_idx;
        }
    }
    let num_rests = is_rest.iter().filter(|&&is_rest| is_rest).count();
    // Nor is it chance if all rows but a header or a footer have two lines.
    let num_blocks = rows.len() - num_tight;
    let are_pairs = num_tight >= MIN_PAIRS && num_tight + 1 >= num_blocks && no_block_is_longer;
    let tight_is_rest = num_rests * 2 >= num_tight || are_pairs;
    let mut table = TableCells::default();
    let mut bold: Vec<bool> = Vec::new();
    for ((line_idx, line), row) in rows.iter().enumerate().zip(texts) {
        let gap = line_idx.checked_sub(1).map(|before| gaps[before]);
        let continues = match (gap, table.rows.last()) {
            (Some(gap), Some(above)) => {
                let below_text = row
                    .iter()
                    .zip(above)
                    .all(|(cell, above)| cell.is_empty() || !above.is_empty());
                let is_rest = is_tight(line_idx) && (tight_is_rest || is_rest[line_idx]);
                below_text && (is_rest || row[0].is_empty() && gap < 1.4 * line.size)
            }
            _ => false,
        };
        let row = row
            .into_iter()
            .map(|cell| if cell.is_empty() { vec![] } else { vec![cell] });
        if let (true, Some(above)) = (continues, table.rows.last_mut()) {
            above
                .iter_mut()
                .zip(row)
                .for_each(|(above, cell)| above.extend(cell));
        } else {
            table.rows.push(row.collect());
            bold.push(line.bold);
        }
    }
    table.num_header_rows = usize::from(bold.len() > 1 && bold[0] && !bold[1..].iter().all(|&b| b));
    table
}

/// What a line has in each column.
fn row_texts(line: &Line, columns: &[(f32, f32)]) -> Vec<String> {
    let mut row = vec![String::new(); columns.len()];
    for segment in &line.segments {
        let cell = &mut row[column_of(segment, columns)];
        if !cell.is_empty() {
            cell.push(' ');
        }
        cell.push_str(&segment.text);
    }
    row
}

/// Whether a line below the first line of a row has text in so few of its cells that it is no row itself.
fn is_rest_of_row(first: &[String], line: &[String]) -> bool {
    let num_filled = |row: &[String]| row.iter().filter(|cell| !cell.is_empty()).count();
    let (above, here) = (num_filled(first), num_filled(line));
    here < above && (line[0].is_empty() || here * 2 <= above)
}

/// Groups lines of running text into paragraphs and list items.
fn text_pieces(lines: &[Line], page: u32, pieces: &mut Vec<Piece>) {
    let left = lines
        .iter()
        .map(|line| line.x0)
        .fold(f32::INFINITY, f32::min);
    let right = lines
        .iter()
        .map(|line| line.x1)
        .fold(f32::NEG_INFINITY, f32::max);
    let leading = leading(lines);
    let mut current: Option<Piece> = None;
    for (line_idx, line) in lines.iter().enumerate() {
        let text = line.text();
        let starts_new = match (
            line_idx.checked_sub(1).map(|before| &lines[before]),
            &current,
        ) {
            (Some(above), Some(piece)) => starts_piece(above, line, piece, leading, (left, right)),
            _ => true,
        };
        if !starts_new {
            if let Some(piece) = &mut current {
                piece.lines.push(text);
            }
            continue;
        }
        pieces.extend(current.take());
        let (kind, text) = match list_marker(&text) {
            // A large or bold "1. Scope" is a heading.
            Some((marker, rest)) if !line.bold || marker == "-" => {
                (PieceKind::Item(marker.to_owned()), rest.to_owned())
            }
            _ => (PieceKind::Text, text),
        };
        current = Some(Piece {
            kind,
            lines: vec![text],
            page,
            x0: line.x0,
            size: line.size,
            bold: line.bold,
        });
    }
    pieces.extend(current);
}

/// Usual distance between the baselines of neighbouring lines.
fn leading(lines: &[Line]) -> f32 {
    let mut gaps: Vec<f32> = lines
        .windows(2)
        .filter(|pair| (pair[0].size - pair[1].size).abs() < 0.6)
        .map(|pair| (pair[0].y - pair[1].y) / pair[1].size.max(1.0))
        .filter(|gap| (0.8..2.5).contains(gap))
        .collect();
    gaps.sort_by(f32::total_cmp);
    // The lower third: in a region of one-line paragraphs the median is the paragraph gap.
    gaps.get(gaps.len() / 3).copied().unwrap_or(1.2)
}

/// Whether what looks like an item's marker can be one after the text above: not within a hyphenated word ("pump P-" /
/// "101. It"), and a number within a sentence only as the first or the next of a list.
fn can_open_item(above: &str, piece: &Piece, marker: &str) -> bool {
    let above = above.trim_end();
    let hyphenated = above
        .strip_suffix(['-', '\u{ad}'])
        .is_some_and(|stem| stem.ends_with(char::is_alphanumeric));
    if hyphenated {
        return false;
    }
    let number = |marker: &str| {
        let digits = marker.trim_matches(|c: char| !c.is_ascii_digit());
        digits.parse::<u32>().ok()
    };
    let Some(here) = number(marker) else {
        return true;
    };
    let before = match &piece.kind {
        PieceKind::Item(marker) => number(marker),
        _ => None,
    };
    let ended = above
        .trim_end_matches(|c: char| is_closer(c))
        .chars()
        .next_back()
        .is_none_or(|c| !(c.is_alphanumeric() || c == ','));
    ended || here <= 1 || before.is_some_and(|before| here == before + 1)
}

fn starts_piece(
    above: &Line,
    line: &Line,
    piece: &Piece,
    leading: f32,
    (left, right): (f32, f32),
) -> bool {
    let gap = (above.y - line.y) / line.size.max(1.0);
    if gap > leading * 1.25 + 0.1
        || (line.size - above.size).abs() > 0.12 * above.size.max(line.size)
    {
        return true;
    }
    // The end of a bold heading; a bold word at the start of a line does not make the line bold.
    if line.bold != above.bold && (above.bold || line.bold) {
        return true;
    }
    let text = line.text();
    if let Some((marker, _)) = list_marker(&text) {
        if !can_open_item(&above.text(), piece, marker) {
            return false;
        }
        // "...in section\n3. of the act" is no item; an item starts where items start.
        return matches!(piece.kind, PieceKind::Item(_))
            || above.x1 < right - 0.1 * (right - left)
            || line.x0 > left + line.size;
    }
    let indent = line.x0 - above.x0;
    if matches!(piece.kind, PieceKind::Item(_)) {
        // Text under an item is indented to the item's text; back at the marker's edge something new begins.
        return line.x0 < piece.x0 + 0.3 * line.size
            && piece.lines.len() == 1
            && above.x1 < right - 0.15 * (right - left);
    }
    let ends_early = above.x1 < right - 0.2 * (right - left);
    let sentence_ends = above.text().ends_with(['.', '!', '?', ':', ';', '”', '"']);
    let capital = text
        .chars()
        .next()
        .is_some_and(|c| c.is_uppercase() || c.is_ascii_digit());
    (indent > 0.8 * line.size && indent < 6.0 * line.size && sentence_ends && capital)
        || (ends_early && sentence_ends && capital)
        || (ends_early && above.x1 - above.x0 < 0.45 * (right - left) && capital)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of lines with cells at the given places; each line: its distance from the one above, its cells.
    fn table(lines: &[(f32, &[(f32, &str)])]) -> Vec<String> {
        let mut y = 700.0;
        let rows: Vec<Line> = lines
            .iter()
            .flat_map(|(gap, cells)| {
                y -= gap;
                let segment = |&(x0, text): &(f32, &str)| Segment {
                    x0,
                    x1: x0 + 5.0 * text.len() as f32,
                    y,
                    size: 10.0,
                    bold: false,
                    text: text.into(),
                    table: None,
                };
                super::lines(cells.iter().map(segment).collect())
            })
            .collect();
        cells(&rows, &columns(&rows))
            .rows
            .iter()
            .map(|row| {
                row.iter()
                    .map(|cell| cell.join("/"))
                    .collect::<Vec<_>>()
                    .join("|")
            })
            .collect()
    }

    #[test]
    fn rows_below_a_header_that_is_set_apart_are_rows() {
        let got = table(&[
            (0.0, &[(0.0, "Day"), (100.0, "Text")]),
            (20.0, &[(0.0, "1"), (100.0, "rent")]),
            (12.0, &[(0.0, "2"), (100.0, "wage")]),
            (12.0, &[(0.0, "3"), (100.0, "fuel")]),
        ]);
        assert_eq!(got, ["Day|Text", "1|rent", "2|wage", "3|fuel"]);
    }

    #[test]
    fn blanks_of_stretched_lines_are_equally_wide() {
        let line = |x0s: [f32; 3]| {
            let segment = |x0: f32| Segment {
                x0,
                x1: x0 + 20.0,
                y: 700.0,
                size: 10.0,
                bold: false,
                text: "word".into(),
                table: None,
            };
            super::lines(x0s.map(segment).to_vec()).remove(0)
        };
        let text = [line([0.0, 40.0, 80.0]), line([0.0, 40.02, 80.0])];
        let table = [line([0.0, 50.0, 80.0]), line([0.0, 50.0, 80.0])];
        assert_eq!(
            (are_stretched(&text, 100.0), are_stretched(&table, 100.0)),
            (true, false)
        );
        assert!(!are_stretched(&text, 200.0));
    }

    #[test]
    fn rows_of_two_full_lines_are_told_by_their_distances() {
        let pair = |gap| {
            [
                (gap, &[(0.0, "Bureau"), (100.0, "Office")][..]),
                (12.0, &[(0.0, "leads"), (100.0, "helps")][..]),
            ]
        };
        let got = table(&[pair(0.0), pair(20.0), pair(20.0)].concat());
        assert_eq!(got, ["Bureau/leads|Office/helps"; 3]);
    }

    #[test]
    fn a_line_without_most_cells_goes_on_with_its_row() {
        let got = table(&[
            (0.0, &[(0.0, "pump"), (100.0, "oil"), (200.0, "May")]),
            (12.0, &[(100.0, "and filter")]),
            (20.0, &[(0.0, "valve"), (100.0, "seal"), (200.0, "June")]),
            (12.0, &[(0.0, "of brass")]),
        ]);
        assert_eq!(got, ["pump|oil/and filter|May", "valve/of brass|seal|June"]);
    }
}
