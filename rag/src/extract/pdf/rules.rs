//! Drawn tables: the lines of a page as a grid of cells, and what is painted below the text.
//!
//! A *rule* is a straight horizontal or vertical line, stroked or filled. Rules that touch form a table if
//! they enclose at least two rows and two columns. Where a rule is missing between two fields of the grid,
//! the fields are one cell, as in the merged cells of office programs.

use pdf_oxide::elements::{PathContent, PathOperation};

use super::glyph::{Frame, Segment};
use super::lines::TableCells;

/// A filled rectangle thinner than this is a rule, in points.
const MAX_RULE_WIDTH: f32 = 3.0;
/// Rules within this distance touch.
const TOUCH: f32 = 2.5;
/// Most rules of a page that are looked at; charts and maps have more and are no tables.
const MAX_RULES: usize = 6000;
/// Most fields of a grid.
const MAX_FIELDS: usize = 20_000;
/// A cell with more chars than this is a frame around running text.
const MAX_CELL_CHARS: usize = 1800;
/// Text of a merged cell is repeated in each of its fields up to this length, so that every row can be read alone.
const MAX_REPEATED_CHARS: usize = 60;

/// A line from `from` to `to` along its axis, at `at` across it.
#[derive(Debug, Clone, Copy)]
struct Rule {
    horizontal: bool,
    at: f32,
    from: f32,
    to: f32,
}

/// An axis-aligned box.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    x0: f32,
    y0: f32,
    x1: f32,
    y1: f32,
}

impl Area {
    fn holds(&self, x: f32, y: f32) -> bool {
        x >= self.x0 - 1.0 && x <= self.x1 + 1.0 && y >= self.y0 - 1.0 && y <= self.y1 + 1.0
    }
}

/// What is drawn on a page.
#[derive(Debug, Default)]
pub(super) struct Drawing {
    rules: Vec<Rule>,
    /// Areas filled with something other than white.
    fills: Vec<Area>,
}

impl Drawing {
    /// Sorts a page's paths into rules and fills, in the page's reading frame.
    pub(super) fn of(paths: &[PathContent], frame: Frame) -> Self {
        let mut drawing = Self::default();
        for path in paths {
            let mut at = (0.0, 0.0);
            for operation in &path.operations {
                match *operation {
                    PathOperation::MoveTo(x, y) => at = (x, y),
                    PathOperation::LineTo(x, y) => {
                        if path.stroke_color.is_some() {
                            drawing.push_line(frame.place(at.0, at.1), frame.place(x, y));
                        }
                        at = (x, y);
                    }
                    PathOperation::Rectangle(x, y, width, height) => {
                        drawing.push_rectangle(
                            path,
                            frame.place(x, y),
                            frame.place(x + width, y + height),
                        );
                    }
                    PathOperation::CurveTo(_, _, _, _, x, y) => at = (x, y),
                    PathOperation::ClosePath => {}
                }
            }
            if is_painted(path)
                && !path
                    .operations
                    .iter()
                    .any(|o| matches!(o, PathOperation::Rectangle(..)))
            {
                let bbox = &path.bbox;
                drawing.push_fill(
                    frame.place(bbox.x, bbox.y),
                    frame.place(bbox.x + bbox.width, bbox.y + bbox.height),
                );
            }
        }
        drawing
    }

    /// Whether something other than white is painted at a point.
    pub(super) fn is_painted(&self, x: f32, y: f32) -> bool {
        self.fills.iter().any(|fill| fill.holds(x, y))
    }

    fn push_line(&mut self, a: (f32, f32), b: (f32, f32)) {
        if (a.1 - b.1).abs() < 0.5 {
            self.push_rule(Rule {
                horizontal: true,
                at: a.1,
                from: a.0.min(b.0),
                to: a.0.max(b.0),
            });
        } else if (a.0 - b.0).abs() < 0.5 {
            self.push_rule(Rule {
                horizontal: false,
                at: a.0,
                from: a.1.min(b.1),
                to: a.1.max(b.1),
            });
        }
    }

    fn push_rectangle(&mut self, path: &PathContent, a: (f32, f32), b: (f32, f32)) {
        let (width, height) = ((a.0 - b.0).abs(), (a.1 - b.1).abs());
        if path.stroke_color.is_some() && width > MAX_RULE_WIDTH && height > MAX_RULE_WIDTH {
            self.push_line(a, (b.0, a.1));
            self.push_line((a.0, b.1), b);
            self.push_line(a, (a.0, b.1));
            self.push_line((b.0, a.1), b);
        }
        if !is_painted(path) {
            return;
        }
        if height <= MAX_RULE_WIDTH && width > height {
            self.push_line(
                (a.0, f32::midpoint(a.1, b.1)),
                (b.0, f32::midpoint(a.1, b.1)),
            );
        } else if width <= MAX_RULE_WIDTH {
            self.push_line(
                (f32::midpoint(a.0, b.0), a.1),
                (f32::midpoint(a.0, b.0), b.1),
            );
        } else {
            self.push_fill(a, b);
        }
    }

    fn push_fill(&mut self, a: (f32, f32), b: (f32, f32)) {
        if self.fills.len() < MAX_RULES {
            self.fills.push(Area {
                x0: a.0.min(b.0),
                y0: a.1.min(b.1),
                x1: a.0.max(b.0),
                y1: a.1.max(b.1),
            });
        }
    }

    fn push_rule(&mut self, rule: Rule) {
        if self.rules.len() < MAX_RULES
            && rule.at.is_finite()
            && rule.from.is_finite()
            && rule.to.is_finite()
        {
            self.rules.push(rule);
        }
    }

    /// Takes the segments that stand in drawn tables out of `segments` and puts one segment for each table
    /// in their place.
    pub(super) fn take_tables(&self, segments: &mut Vec<Segment>) {
        if self.rules.len() < 4 || self.rules.len() >= MAX_RULES {
            return;
        }
        for mesh in meshes(joined(&self.rules)) {
            let Some(mut grid) = FieldGrid::of(&mesh) else {
                continue;
            };
            let area = grid.area;
            let inside = |segment: &Segment| {
                segment.table.is_none()
                    && area.holds(
                        f32::midpoint(segment.x0, segment.x1),
                        segment.y + 0.3 * segment.size,
                    )
            };
            let Some(table) = grid.fill(segments.iter().filter(|segment| inside(segment))) else {
                continue;
            };
            let size = segments
                .iter()
                .find(|segment| inside(segment))
                .map_or(10.0, |segment| segment.size);
            segments.retain(|segment| !inside(segment));
            segments.push(Segment {
                x0: area.x0,
                x1: area.x1,
                y: area.y1 - size,
                size,
                bold: false,
                text: String::new(),
                table: Some(Box::new(table)),
            });
        }
        segments.sort_by(|a, b| b.y.total_cmp(&a.y).then(a.x0.total_cmp(&b.x0)));
    }
}

fn is_painted(path: &PathContent) -> bool {
    path.fill_color
        .is_some_and(|color| color.r < 0.97 || color.g < 0.97 || color.b < 0.97)
}

/// Joins rules on the same line that touch.
fn joined(rules: &[Rule]) -> Vec<Rule> {
    let mut sorted = rules.to_vec();
    sorted.sort_by(|a, b| {
        a.horizontal
            .cmp(&b.horizontal)
            .then((a.at / 1.5).round().total_cmp(&(b.at / 1.5).round()))
            .then(a.from.total_cmp(&b.from))
    });
    let mut out: Vec<Rule> = Vec::new();
    for rule in sorted {
        match out.last_mut() {
            Some(last)
                if last.horizontal == rule.horizontal
                    && (last.at - rule.at).abs() < 1.5
                    && rule.from <= last.to + TOUCH =>
            {
                last.to = last.to.max(rule.to);
            }
            _ => out.push(rule),
        }
    }
    out
}

/// Groups rules that touch or cross.
fn meshes(rules: Vec<Rule>) -> Vec<Vec<Rule>> {
    let (horizontal, vertical): (Vec<Rule>, Vec<Rule>) =
        rules.into_iter().partition(|rule| rule.horizontal);
    let mut group: Vec<usize> = (0..horizontal.len() + vertical.len()).collect();
    for (h_idx, h) in horizontal.iter().enumerate() {
        for (v_idx, v) in vertical.iter().enumerate() {
            let touches = v.at >= h.from - TOUCH
                && v.at <= h.to + TOUCH
                && h.at >= v.from - TOUCH
                && h.at <= v.to + TOUCH;
            if touches {
                union(&mut group, h_idx, horizontal.len() + v_idx);
            }
        }
    }
    let mut meshes = std::collections::BTreeMap::<usize, Vec<Rule>>::new();
    for (rule_idx, rule) in horizontal.into_iter().chain(vertical).enumerate() {
        meshes
            .entry(root(&mut group, rule_idx))
            .or_default()
            .push(rule);
    }
    meshes
        .into_values()
        .filter(|mesh| mesh.len() >= 3)
        .collect()
}

fn root(group: &mut [usize], mut at: usize) -> usize {
    while group[at] != at {
        group[at] = group[group[at]];
        at = group[at];
    }
    at
}

fn union(group: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(group, a), root(group, b));
    group[a.max(b)] = a.min(b);
}

/// The fields between the rules of one mesh.
struct FieldGrid {
    area: Area,
    /// Borders from left to right and from top to bottom; one more than there are columns and rows.
    xs: Vec<f32>,
    ys: Vec<f32>,
    /// The cell of each field, row by row: fields of one cell have the same number.
    cells: Vec<usize>,
}

impl FieldGrid {
    fn of(mesh: &[Rule]) -> Option<Self> {
        let extent = |horizontal: bool, pick: fn(f32, f32) -> f32, start: f32| {
            mesh.iter().fold(start, |extent, rule| {
                if rule.horizontal == horizontal {
                    pick(pick(extent, rule.from), rule.to)
                } else {
                    pick(extent, rule.at)
                }
            })
        };
        let area = Area {
            x0: extent(true, f32::min, f32::INFINITY),
            x1: extent(true, f32::max, f32::NEG_INFINITY),
            y0: extent(false, f32::min, f32::INFINITY),
            y1: extent(false, f32::max, f32::NEG_INFINITY),
        };
        let across = |horizontal: bool| {
            mesh.iter()
                .filter(move |rule| rule.horizontal == horizontal)
                .map(|rule| rule.at)
        };
        let xs = borders(across(false), area.x0, area.x1);
        let mut ys = borders(across(true), area.y0, area.y1);
        ys.reverse();
        let (columns, rows) = (xs.len() - 1, ys.len() - 1);
        if columns < 2 || rows < 2 || columns * rows > MAX_FIELDS {
            return None;
        }
        let mut cells: Vec<usize> = (0..columns * rows).collect();
        for row in 0..rows {
            for column in 0..columns {
                let (x, y) = (
                    f32::midpoint(xs[column], xs[column + 1]),
                    f32::midpoint(ys[row], ys[row + 1]),
                );
                if column + 1 < columns && !separated(mesh, false, xs[column + 1], y) {
                    union(
                        &mut cells,
                        row * columns + column,
                        row * columns + column + 1,
                    );
                }
                if row + 1 < rows && !separated(mesh, true, ys[row + 1], x) {
                    union(
                        &mut cells,
                        row * columns + column,
                        (row + 1) * columns + column,
                    );
                }
            }
        }
        Some(Self {
            area,
            xs,
            ys,
            cells,
        })
    }

    /// The table with the texts of `segments` in its cells; `None` if it is a frame, a chart or a form's lines.
    fn fill<'a>(&mut self, segments: impl Iterator<Item = &'a Segment>) -> Option<TableCells> {
        let (columns, rows) = (self.xs.len() - 1, self.ys.len() - 1);
        let mut lines: Vec<Vec<&Segment>> = vec![Vec::new(); columns * rows];
        for segment in segments {
            let column =
                self.xs[1..columns].partition_point(|&x| x < segment.x0 + 0.3 * segment.size);
            let row = self.ys[1..rows].partition_point(|&y| y > segment.y + 0.3 * segment.size);
            lines[root(&mut self.cells, row * columns + column)].push(segment);
        }
        let texts: Vec<Vec<String>> = lines.iter().map(|segments| cell_lines(segments)).collect();
        let filled = texts.iter().filter(|text| !text.is_empty()).count();
        let longest = texts
            .iter()
            .map(|lines| lines.iter().map(String::len).sum::<usize>())
            .max()
            .unwrap_or(0);
        if filled < 3 || longest > MAX_CELL_CHARS {
            return None;
        }
        let mut table = TableCells::default();
        let mut header = true;
        for row in 0..rows {
            let roots: Vec<usize> = (0..columns)
                .map(|column| root(&mut self.cells, row * columns + column))
                .collect();
            let whole_row = roots.iter().all(|&cell| cell == roots[0]);
            let mut cells = Vec::with_capacity(columns);
            for (column, &cell) in roots.iter().enumerate() {
                let first = cell == row * columns + column;
                let short =
                    texts[cell].iter().map(String::len).sum::<usize>() <= MAX_REPEATED_CHARS;
                cells.push(if first || (short && !whole_row) {
                    texts[cell].clone()
                } else {
                    Vec::new()
                });
            }
            let here: Vec<&&Segment> = roots.iter().flat_map(|&cell| &lines[cell]).collect();
            if here.is_empty() {
                continue;
            }
            header &= here.iter().all(|segment| segment.bold);
            table.num_header_rows += usize::from(header);
            table.rows.push(cells);
        }
        if table.num_header_rows == table.rows.len() {
            table.num_header_rows = 0;
        }
        Some(table)
    }
}

/// The distinct positions among `positions`, with both ends, in rising order.
fn borders(positions: impl Iterator<Item = f32>, low: f32, high: f32) -> Vec<f32> {
    let mut borders: Vec<f32> = positions.chain([low, high]).collect();
    borders.sort_by(f32::total_cmp);
    borders.dedup_by(|b, a| *b - *a < TOUCH);
    borders
}

/// Whether a rule at `at` across its axis covers `along`.
fn separated(mesh: &[Rule], horizontal: bool, at: f32, along: f32) -> bool {
    mesh.iter().any(|rule| {
        rule.horizontal == horizontal
            && (rule.at - at).abs() < TOUCH
            && rule.from <= along + TOUCH
            && rule.to >= along - TOUCH
    })
}

/// The lines of text in one cell, top to bottom.
fn cell_lines(segments: &[&Segment]) -> Vec<String> {
    let owned: Vec<Segment> = segments.iter().map(|segment| (*segment).clone()).collect();
    super::lines::lines(owned)
        .iter()
        .map(super::lines::Line::text)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(x: f32, y: f32, text: &str) -> Segment {
        Segment {
            x0: x,
            x1: x + 5.0 * text.len() as f32,
            y,
            size: 10.0,
            bold: false,
            text: text.into(),
            table: None,
        }
    }

    fn horizontal(at: f32, from: f32, to: f32) -> Rule {
        Rule {
            horizontal: true,
            at,
            from,
            to,
        }
    }

    fn vertical(at: f32, from: f32, to: f32) -> Rule {
        Rule {
            horizontal: false,
            at,
            from,
            to,
        }
    }

    #[test]
    fn cells_are_read_row_by_row_and_merged_cells_reach_over_their_fields() {
        // Two columns, three rows; the lower two fields on the left are one cell.
        let drawing = Drawing {
            rules: vec![
                horizontal(100.0, 0.0, 200.0),
                horizontal(80.0, 0.0, 200.0),
                horizontal(50.0, 100.0, 200.0),
                horizontal(20.0, 0.0, 200.0),
                vertical(0.0, 20.0, 100.0),
                vertical(100.0, 20.0, 100.0),
                vertical(200.0, 20.0, 100.0),
            ],
            fills: vec![],
        };
        let mut segments = vec![
            text(10.0, 120.0, "above"),
            text(10.0, 85.0, "Name"),
            text(110.0, 85.0, "Value"),
            text(110.0, 68.0, "first"),
            text(110.0, 57.0, "second"),
            text(10.0, 45.0, "both"),
            text(110.0, 30.0, "third"),
            text(10.0, 5.0, "below"),
        ];
        drawing.take_tables(&mut segments);
        let order: Vec<&str> = segments
            .iter()
            .map(|s| if s.table.is_some() { "table" } else { &s.text })
            .collect();
        assert_eq!(order, ["above", "table", "below"]);
        let table = segments[1].table.as_ref().unwrap();
        let rows: Vec<Vec<String>> = table
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| cell.join("/")).collect())
            .collect();
        assert_eq!(
            rows,
            [
                ["Name", "Value"],
                ["both", "first/second"],
                ["both", "third"]
            ]
        );
    }

    #[test]
    fn a_frame_around_text_is_no_table() {
        let frame = vec![
            horizontal(100.0, 0.0, 200.0),
            horizontal(0.0, 0.0, 200.0),
            vertical(0.0, 0.0, 100.0),
            vertical(200.0, 0.0, 100.0),
        ];
        let mut segments = vec![
            text(10.0, 80.0, "one"),
            text(10.0, 60.0, "two"),
            text(10.0, 40.0, "three"),
        ];
        Drawing {
            rules: frame,
            fills: vec![],
        }
        .take_tables(&mut segments);
        assert_eq!(segments.len(), 3);
    }
}
