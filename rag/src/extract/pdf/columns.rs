//! Reading order: a page's segments as regions of one column each.
//!
//! A *gutter* is a vertical strip that separates two columns of running text. Tables have such strips
//! too, but their cells are short; columns are recognised by lines that fill them.

use super::glyph::Segment;
use crate::text::sentence::is_terminator;

/// Fewer segments than this on a side are no column, unless both sides are sentences that run over all their lines.
const MIN_COLUMN_SEGMENTS: usize = 5;
/// Fewest of those that are columns because most of their lines go on, though sentences end within them.
const MIN_RUNNING_LINES: usize = 3;
/// Type larger than the body by this factor heads a column and tells nothing about its lines.
const HEADING_SIZE: f32 = 1.15;
/// Fewest segments on a side in any case.
const MIN_LINES: usize = 2;
/// Median length of a line of running text in the narrowest column worth separating, in chars.
const MIN_LINE_CHARS: usize = 16;
/// Share of its column's width that the median line fills.
const MIN_FILL: f32 = 0.6;
/// The same for a list beside running text.
const MIN_LIST_FILL: f32 = 0.25;
/// Share of the lines of running text that at least go on with the sentence above in a way that shows: in a language
/// with large first letters of nouns fewer than in others.
const MIN_RUNNING: f32 = 0.33;
/// If this share of the paragraphs on one side begins beside a paragraph on the other, both are rows of a table.
const MAX_ALIGNED: f32 = 0.6;
/// A line that fills no more than this share of its column ends a paragraph.
const SHORT_LINE: f32 = 0.75;
/// Columns within columns are separated down to this depth (three columns need two).
const MAX_DEPTH: usize = 3;
/// Distance of the gutter positions that are tried, in points, and half the width a gutter has at least.
const STEP: f32 = 3.0;

/// Splits `segments` (top to bottom) into single-column regions in reading order.
pub(super) fn regions(segments: Vec<Segment>) -> Vec<Vec<Segment>> {
    let mut out = Vec::new();
    split(segments, 0, &mut out);
    out
}

fn split(segments: Vec<Segment>, depth: usize, out: &mut Vec<Vec<Segment>>) {
    let gutter = if depth < MAX_DEPTH {
        best_gutter(&segments)
    } else {
        None
    };
    let Some(gutter) = gutter else {
        if !segments.is_empty() {
            out.push(segments);
        }
        return;
    };
    let mut spanning = Vec::new();
    for run in runs(&segments, gutter) {
        if columns(run, gutter).is_some() {
            split(std::mem::take(&mut spanning), depth + 1, out);
            let (left, right): (Vec<Segment>, Vec<Segment>) =
                run.iter().cloned().partition(|s| s.x1 <= gutter);
            split(left, depth + 1, out);
            split(right, depth + 1, out);
        } else {
            spanning.extend_from_slice(run);
        }
    }
    split(spanning, depth + 1, out);
}

/// The gutter that separates most text into columns.
fn best_gutter(segments: &[Segment]) -> Option<f32> {
    if segments.len() < 2 * MIN_LINES {
        return None;
    }
    let left = segments.iter().map(|s| s.x0).fold(f32::INFINITY, f32::min);
    let right = segments
        .iter()
        .map(|s| s.x1)
        .fold(f32::NEG_INFINITY, f32::max);
    let steps = ((right - left) / STEP).clamp(0.0, 2000.0) as usize;
    let mut best: Option<(usize, f32)> = None;
    for step in steps / 8..steps - steps / 8 {
        let gutter = left + step as f32 * STEP;
        let score: usize = runs(segments, gutter)
            .into_iter()
            .filter_map(|run| columns(run, gutter))
            .sum();
        if score > best.map_or(0, |(score, _)| score) {
            best = Some((score, gutter));
        }
    }
    best.map(|(_, gutter)| gutter)
}

fn crosses(segment: &Segment, gutter: f32) -> bool {
    segment.x0 < gutter + STEP && segment.x1 > gutter - STEP
}

/// Maximal runs of segments that all cross the gutter or all keep clear of it.
fn runs(segments: &[Segment], gutter: f32) -> Vec<&[Segment]> {
    segments
        .chunk_by(|a, b| crosses(a, gutter) == crosses(b, gutter))
        .collect()
}

/// How many chars of running text `run` has in columns beside `gutter`; `None` if these are not two columns.
fn columns(run: &[Segment], gutter: f32) -> Option<usize> {
    if run.len() < 2 * MIN_LINES || crosses(&run[0], gutter) {
        return None;
    }
    let (left, right): (Vec<&Segment>, Vec<&Segment>) =
        run.iter().partition(|segment| segment.x1 <= gutter);
    let (left, right) = (Side::of(&left)?, Side::of(&right)?);
    let short = |side: &Side| side.num_segments < MIN_COLUMN_SEGMENTS;
    let are_sentences = || left.is_sentence && right.is_sentence || run_on(&left, &right);
    if short(&left) != short(&right) || (short(&left) && !are_sentences()) {
        return None;
    }
    let overlap = left.top.min(right.top) - left.bottom.max(right.bottom);
    let shorter = (left.top - left.bottom).min(right.top - right.bottom);
    // A list beside running text is a column too if it is as wide and as long; the labels of a table are narrow.
    let alike = left.width.min(right.width) >= 0.75 * left.width.max(right.width);
    let long = left.num_segments.min(right.num_segments) >= 2 * MIN_COLUMN_SEGMENTS;
    let running = left.is_running && right.is_running && !are_rows(&left, &right);
    let both = left.is_text && right.is_text || running;
    let one = (left.is_text || right.is_text)
        && alike
        && long
        && left.fill.min(right.fill) >= MIN_LIST_FILL;
    (overlap > 0.5 * shorter && (both || one))
        .then(|| run.iter().map(|segment| segment.text.len()).sum())
}

/// Whether few lines on both sides are running text: most go on with the line above, and no cells of a row begin beside
/// each other, unless the sentence of the left side goes on at the top of the right one.
fn run_on(left: &Side, right: &Side) -> bool {
    let runs = |side: &Side| {
        side.is_text
            && side.num_segments >= MIN_RUNNING_LINES
            && 2 * side.stops.len() < side.num_segments
    };
    let beside = |y: f32, other: &[f32]| other.iter().any(|at| (at - y).abs() < STEP);
    let begins_row = |side: &Side, other: &Side| {
        let mut starts = side.starts.iter();
        starts.any(|&y| beside(y, &other.stops))
    };
    runs(left)
        && runs(right)
        && (continues(left.last, right.first)
            || !(begins_row(left, right) || begins_row(right, left)))
}

/// What stands on one side of a gutter.
struct Side<'a> {
    first: &'a Segment,
    last: &'a Segment,
    /// Heights of the lines that do not go on with the line above.
    stops: Vec<f32>,
    num_segments: usize,
    bottom: f32,
    top: f32,
    width: f32,
    /// Share of the width that the median line fills.
    fill: f32,
    /// Whether the lines fill the width as running text does.
    is_text: bool,
    /// Whether every line goes on with the sentence of the line above.
    is_sentence: bool,
    /// Whether the lines fill the width and many go on with the sentence above. A line may be set with such wide blanks
    /// that it is several segments; and it may be that of two columns beside each other.
    is_running: bool,
    /// Heights at which paragraphs begin, but for the first.
    starts: Vec<f32>,
}

impl<'a> Side<'a> {
    fn of(segments: &[&'a Segment]) -> Option<Self> {
        let segments = below_heading(segments);
        if segments.len() < MIN_LINES {
            return None;
        }
        let extent = |value: fn(&Segment) -> f32| {
            let values = || segments.iter().map(|segment| value(segment));
            (
                values().fold(f32::INFINITY, f32::min),
                values().fold(f32::NEG_INFINITY, f32::max),
            )
        };
        let (bottom, top) = extent(|segment| segment.y);
        let width = extent(|segment| segment.x1).1 - extent(|segment| segment.x0).0;
        let mut widths: Vec<f32> = segments
            .iter()
            .map(|segment| segment.x1 - segment.x0)
            .collect();
        widths.sort_by(f32::total_cmp);
        let mut lengths: Vec<usize> = segments
            .iter()
            .map(|segment| segment.text.chars().count())
            .collect();
        lengths.sort_unstable();
        let middle = segments.len() / 2;
        let fill = widths[middle] / width.max(1.0);
        let is_text = fill >= MIN_FILL && lengths[middle] >= MIN_LINE_CHARS;
        let lines = whole_lines(segments);
        let stops = segments
            .windows(2)
            .filter(|pair| !goes_on(pair[0], pair[1]));
        Some(Self {
            first: segments[0],
            last: segments[segments.len() - 1],
            stops: stops.map(|pair| pair[1].y).collect(),
            num_segments: segments.len(),
            bottom,
            top,
            width,
            fill,
            is_text,
            is_sentence: segments.windows(2).all(|pair| continues(pair[0], pair[1])),
            is_running: are_running(&lines, width),
            starts: paragraph_starts(&lines, width),
        })
    }
}

/// The segments of a side, from top to bottom, without the heading that they begin with.
fn below_heading<'a, 'b>(segments: &'b [&'a Segment]) -> &'b [&'a Segment] {
    let mut sizes: Vec<f32> = segments.iter().map(|segment| segment.size).collect();
    sizes.sort_by(f32::total_cmp);
    let body = sizes.get(sizes.len() / 2).copied().unwrap_or(0.0);
    let is_heading = |segment: &&&Segment| segment.size > HEADING_SIZE * body;
    &segments[segments.iter().take_while(is_heading).count()..]
}

/// The segments of each baseline, from left to right. `segments` are sorted from top to bottom.
fn whole_lines<'a>(segments: &[&'a Segment]) -> Vec<Vec<&'a Segment>> {
    let mut lines: Vec<Vec<&Segment>> = Vec::new();
    for &segment in segments {
        match lines.last_mut() {
            Some(line) if line[0].y - segment.y <= 0.35 * segment.size.min(line[0].size) => {
                line.push(segment);
            }
            _ => lines.push(vec![segment]),
        }
    }
    for line in &mut lines {
        line.sort_by(|a, b| a.x0.total_cmp(&b.x0));
    }
    lines
}

fn line_width(line: &[&Segment]) -> f32 {
    line[line.len() - 1].x1 - line[0].x0
}

fn are_running(lines: &[Vec<&Segment>], width: f32) -> bool {
    if lines.len() < MIN_COLUMN_SEGMENTS {
        return false;
    }
    let num_full = lines
        .iter()
        .filter(|line| {
            let num_chars: usize = line.iter().map(|s| s.text.chars().count()).sum();
            line_width(line) >= MIN_FILL * width && num_chars >= MIN_LINE_CHARS
        })
        .count();
    let num_running = lines
        .windows(2)
        .filter(|pair| goes_on(pair[0][pair[0].len() - 1], pair[1][0]))
        .count();
    num_full * 2 > lines.len() && num_running as f32 >= MIN_RUNNING * (lines.len() - 1) as f32
}

/// Heights of the lines with which paragraphs begin: below a line that ends early or a sentence, and not small.
fn paragraph_starts(lines: &[Vec<&Segment>], width: f32) -> Vec<f32> {
    lines
        .windows(2)
        .filter(|pair| {
            let (above, below) = (&pair[0], &pair[1]);
            let last = above[above.len() - 1];
            let ends = last.text.trim_end().ends_with(is_terminator)
                || line_width(above) < SHORT_LINE * width;
            ends && !goes_on(last, below[0]) && !starts_small(below[0])
        })
        .map(|pair| pair[1][0].y)
        .collect()
}

/// Whether the paragraphs of the two sides begin beside each other, as cells of rows do.
fn are_rows(left: &Side, right: &Side) -> bool {
    let (few, many) = if left.starts.len() <= right.starts.len() {
        (&left.starts, &right.starts)
    } else {
        (&right.starts, &left.starts)
    };
    let beside = |y: &&f32| many.iter().any(|other| (other - **y).abs() < STEP);
    few.len() >= 2 && few.iter().filter(beside).count() as f32 >= MAX_ALIGNED * few.len() as f32
}

/// Whether a line below another goes on with its sentence.
fn continues(above: &Segment, below: &Segment) -> bool {
    let ends = above
        .text
        .trim_end()
        .chars()
        .next_back()
        .is_none_or(|c| is_terminator(c) || c == ':');
    !ends && starts_small(below) && (above.size - below.size).abs() < 0.5
}

fn starts_small(segment: &Segment) -> bool {
    segment.text.chars().next().is_some_and(char::is_lowercase)
}

/// The same, or with the second half of a word.
fn goes_on(above: &Segment, below: &Segment) -> bool {
    let breaks_word = above.text.trim_end().ends_with(['-', '\u{ad}', '\u{2010}']);
    breaks_word || continues(above, below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(x0: f32, x1: f32, y: f32, text: &str) -> Segment {
        Segment {
            x0,
            x1,
            y,
            size: 10.0,
            bold: false,
            text: text.into(),
            table: None,
        }
    }

    #[test]
    fn columns_are_read_one_after_the_other_below_a_title_that_spans_them() {
        let mut page = vec![line(100.0, 500.0, 700.0, "A title across both columns")];
        for row in 0..8 {
            let y = 680.0 - 12.0 * row as f32;
            page.push(line(
                50.0,
                290.0,
                y,
                &format!("left text of the line number {row}"),
            ));
            page.push(line(
                310.0,
                550.0,
                y - 3.0,
                &format!("right text of the line number {row}"),
            ));
        }
        let order: Vec<String> = regions(page)
            .concat()
            .into_iter()
            .map(|s| s.text[..5].to_owned())
            .collect();
        let want = [vec!["A tit"], vec!["left "; 8], vec!["right"; 8]].concat();
        assert_eq!(order, want);
    }

    #[test]
    fn two_lines_a_side_are_columns_if_sentences_run_over_them() {
        let page = |left: [&str; 2], right: [&str; 2]| {
            let segments = (0..2).flat_map(|row| {
                let y = 680.0 - 12.0 * row as f32;
                [(50.0, left[row]), (300.0, right[row])]
                    .map(|(x, text)| line(x, x + 5.0 * text.len() as f32, y, text))
            });
            regions(segments.collect()).len()
        };
        let prose = page(
            ["The committee looked at the yearly", "statement and"],
            ["agreed to the spending plan for the", "following season."],
        );
        let rows = page(
            ["Sealing ring of the pump", "Valve of the boiler"],
            ["made of rubber, in stock", "made of brass, on order"],
        );
        assert_eq!((prose, rows), (2, 1));
    }

    #[test]
    fn three_lines_a_side_are_columns_if_most_go_on() {
        let page = |left: &[&str], right: &[&str]| {
            let side = |x: f32, lines: &[&str]| -> Vec<Segment> {
                let lines = lines.iter().zip(0u8..);
                lines
                    .map(|(text, row)| {
                        let y = 680.0 - 12.0 * f32::from(row);
                        line(x, x + 5.0 * text.len() as f32, y, text)
                    })
                    .collect()
            };
            let mut segments = [side(50.0, left), side(300.0, right)].concat();
            segments.sort_by(|a, b| b.y.total_cmp(&a.y).then(a.x0.total_cmp(&b.x0)));
            regions(segments).len()
        };
        // Sentences end beside each other, but one runs over the gutter.
        let over = page(
            &[
                "The board met on Monday in the old town hall",
                "and welcomed two new members from the south.",
                "It then heard the report of the treasurer and",
            ],
            &[
                "approved the accounts for the past business",
                "year without any changes to the summary.",
                "The next meeting takes place in September.",
            ],
        );
        // Nouns with large first letters, of full lines.
        let nouns = page(
            &[
                "Der Verein vermietet den Saal an seine",
                "Mitglieder von April bis Oktober und nimmt",
                "dafür eine Gebühr, die Wasser und Strom",
                "deckt.",
            ],
            &[
                "Gäste der Mitglieder dürfen nach sechs Uhr",
                "hinter dem Haus parken, sofern die",
                "Feuerwehrzufahrt frei bleibt.",
            ],
        );
        // Cells of two lines.
        let rows = page(
            &[
                "Sealing ring of the pump, made of rubber",
                "and kept in stock",
                "Valve of the boiler, made of brass and",
                "only made on order",
            ],
            &[
                "To be replaced every year by the fitter",
                "or at once if it leaks",
                "To be greased every month by the caretaker",
                "and replaced every ten years",
            ],
        );
        assert_eq!((over, nouns, rows), (2, 2, 1));
    }

    #[test]
    fn a_table_is_one_region() {
        let page: Vec<Segment> = (0..10)
            .flat_map(|row| {
                let y = 680.0 - 12.0 * row as f32;
                [
                    line(50.0, 120.0, y, "Accident Number:"),
                    line(200.0, 400.0 - 15.0 * row as f32, y, "NYC08"),
                ]
            })
            .collect();
        assert_eq!(regions(page).len(), 1);
    }
}
