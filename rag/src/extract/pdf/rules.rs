//! Drawn lines of a page: as the grids of tables, and through text that is struck out.
//!
//! A *rule* is a straight horizontal or vertical line, stroked or filled. Rules that touch form a table if
//! they enclose at least two rows and two columns. Where a rule is missing between two fields of the grid,
//! the fields are one cell, as in the merged cells of office programs, unless their texts ([`unmerge`]) or their
//! shades ([`tiles`]) show otherwise.

mod tiles;
mod unmerge;

use pdf_oxide::elements::{PathContent, PathOperation};

use super::geometry::Area;
use super::glyph::{Frame, Glyph, Segment, TableCells};

/// A filled rectangle thinner than this is a rule, in points.
const MAX_RULE_WIDTH: f32 = 3.0;
/// Rules within this distance touch.
const TOUCH: f32 = 2.5;
/// A table has at least four lines.
const MIN_RULES: usize = 4;
/// Most rules of a page that are looked at; charts and maps have more and are no tables.
const MAX_RULES: usize = 6000;
/// Most fields of a grid.
const MAX_FIELDS: usize = 20_000;
/// A cell with more chars than this is a frame around running text.
const MAX_CELL_CHARS: usize = 1800;
/// A line through text runs between these heights above the baseline, in font sizes.
const STRIKE_FROM_EM: f32 = 0.15;
const STRIKE_TO_EM: f32 = 0.45;
/// Text of a merged cell is repeated in each of its fields up to this length, so that every row can be read alone.
const MAX_REPEATED_CHARS: usize = 60;

/// A line from `from` to `to` along its axis, at `at` across it.
#[derive(Debug, Clone, Copy)]
struct Rule {
    horizontal: bool,
    at: f32,
    from: f32,
    to: f32,
    /// Whether it is a line and not just the edge of a filled box.
    is_drawn: bool,
}

/// What is drawn on a page.
#[derive(Debug, Default)]
pub(super) struct Drawing {
    rules: Vec<Rule>,
    /// Filled boxes, each once.
    fills: Vec<Area>,
}

impl Drawing {
    /// Sorts a page's paths into rules and fills, in the page's reading frame.
    pub(super) fn of(paths: &[PathContent], frame: Frame) -> Self {
        let mut drawing = Self::default();
        for path in paths {
            let mut at = (0.0, 0.0);
            let is_stroked = path.stroke_color.is_some() || is_uncoloured(path) && is_line(path);
            for operation in &path.operations {
                match *operation {
                    PathOperation::MoveTo(x, y) => at = (x, y),
                    PathOperation::LineTo(x, y) => {
                        if is_stroked {
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
        }
        drawing
    }

    fn push_line(&mut self, a: (f32, f32), b: (f32, f32)) {
        if (a.1 - b.1).abs() < 0.5 {
            self.push_rule(Rule {
                horizontal: true,
                at: a.1,
                from: a.0.min(b.0),
                to: a.0.max(b.0),
                is_drawn: true,
            });
        } else if (a.0 - b.0).abs() < 0.5 {
            self.push_rule(Rule {
                horizontal: false,
                at: a.0,
                from: a.1.min(b.1),
                to: a.1.max(b.1),
                is_drawn: true,
            });
        }
    }

    fn push_rectangle(&mut self, path: &PathContent, a: (f32, f32), b: (f32, f32)) {
        let (width, height) = ((a.0 - b.0).abs(), (a.1 - b.1).abs());
        if (path.stroke_color.is_some() || is_uncoloured(path))
            && width > MAX_RULE_WIDTH
            && height > MAX_RULE_WIDTH
        {
            self.push_line(a, (b.0, a.1));
            self.push_line((a.0, b.1), b);
            self.push_line(a, (a.0, b.1));
            self.push_line((b.0, a.1), b);
        }
        if path.fill_color.is_some()
            && width > MAX_RULE_WIDTH
            && height > MAX_RULE_WIDTH
            && let Some(area) = Area::around(&[a, b])
        {
            self.push_fill(area);
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

    /// Vertical rules of grids, from left to right: what stands on their two sides are two cells.
    pub(super) fn cell_borders(&self) -> CellBorders {
        let mut borders: Vec<Rule> = Vec::new();
        if self.rules.len() < MAX_RULES {
            for mesh in meshes(joined(&self.rules)) {
                let num_across = mesh.iter().filter(|rule| rule.horizontal).count();
                if num_across >= 2 {
                    borders.extend(mesh.iter().filter(|rule| !rule.horizontal));
                }
            }
        }
        borders.sort_by(|a, b| a.at.total_cmp(&b.at));
        CellBorders(borders)
    }

    /// Marks the glyphs that a rule is drawn through; such rules are then no rules of tables. `more`: further lines,
    /// each as height, left and right end.
    pub(super) fn strike(&mut self, glyphs: &mut [Glyph], more: &[(f32, f32, f32)]) {
        let largest = glyphs.iter().map(|glyph| glyph.size).fold(0.0, f32::max);
        let mut strike = |stroke: &Stroke| {
            // Sorted from top to bottom.
            let first = glyphs.partition_point(|glyph| glyph.y > stroke.at);
            let end = stroke.at - STRIKE_TO_EM * largest;
            let last = glyphs.partition_point(|glyph| glyph.y >= end);
            stroke.mark(&mut glyphs[first..last])
        };
        for &(at, from, to) in more {
            strike(&Stroke {
                at,
                from,
                to,
                is_border: false,
            });
        }
        if self.rules.len() >= MAX_RULES {
            return;
        }
        let rules = std::mem::take(&mut self.rules);
        let is_strike = |rule: &Rule| {
            let mut verticals = rules.iter().filter(|rule| !rule.horizontal);
            rule.horizontal
                && strike(&Stroke {
                    at: rule.at,
                    from: rule.from,
                    to: rule.to,
                    is_border: verticals.any(|vertical| touch(rule, vertical)),
                })
        };
        let strikes: Vec<bool> = rules.iter().map(is_strike).collect();
        let drawn = rules.iter().zip(strikes);
        self.rules = drawn
            .filter(|(_, is_strike)| !is_strike)
            .map(|(rule, _)| *rule)
            .collect();
    }

    /// Takes the segments that stand in drawn tables out of `segments` and puts one segment for each table
    /// in their place.
    pub(super) fn take_tables(&self, segments: &mut Vec<Segment>) {
        if self.rules.len() < MIN_RULES || self.rules.len() >= MAX_RULES {
            return;
        }
        // What shades divide is tried first; where that makes no table, the lines alone may.
        let edges = self.tile_edges();
        if !edges.is_empty() {
            let rules: Vec<Rule> = self.rules.iter().copied().chain(edges).collect();
            for mesh in meshes(joined(&rules)) {
                let num_drawn = mesh.iter().filter(|rule| rule.is_drawn).count();
                if num_drawn >= MIN_RULES {
                    take_table(&mesh, segments);
                }
            }
        }
        for mesh in meshes(joined(&self.rules)) {
            take_table(&mesh, segments);
        }
        segments.sort_by(|a, b| b.y.total_cmp(&a.y).then(a.x0.total_cmp(&b.x0)));
    }
}

/// Puts one segment in place of those in the table that a mesh is, if it is one.
fn take_table(mesh: &[Rule], segments: &mut Vec<Segment>) {
    let Some(mut grid) = FieldGrid::of(mesh) else {
        return;
    };
    let area = grid.area;
    let inside = |segment: &Segment| {
        segment.table.is_none()
            && area.holds(
                f32::midpoint(segment.x0, segment.x1),
                segment.y + 0.3 * segment.size,
            )
    };
    let content: Vec<&Segment> = segments.iter().filter(|segment| inside(segment)).collect();
    let size = content.first().map_or(10.0, |segment| segment.size);
    grid.unmerge(&content);
    let Some(table) = grid.fill(&content) else {
        return;
    };
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

/// A horizontal line that may strike out text.
struct Stroke {
    at: f32,
    from: f32,
    to: f32,
    /// Whether it touches a vertical line, as borders of tables do.
    is_border: bool,
}

impl Stroke {
    /// Marks the glyphs that the line is drawn through, unless it runs on beyond them as the lines of charts and forms
    /// do. Returns whether there are any.
    fn mark(&self, glyphs: &mut [Glyph]) -> bool {
        let is_struck = |glyph: &Glyph| {
            let middle = f32::midpoint(glyph.x0, glyph.x1);
            self.is_within(glyph) && self.from <= middle && middle <= self.to
        };
        let struck = || {
            let inked = |glyph: &&Glyph| is_struck(glyph) && !glyph.c.is_whitespace();
            glyphs.iter().filter(inked)
        };
        let Some(size) = struck().map(|glyph| glyph.size).reduce(f32::max) else {
            return false;
        };
        let left = struck().map(|glyph| glyph.x0).fold(f32::INFINITY, f32::min);
        let right = struck()
            .map(|glyph| glyph.x1)
            .fold(f32::NEG_INFINITY, f32::max);
        let is_strike = if self.is_border {
            // Borders may run through overfull cells. What strikes out the text of a narrow cell touches them too, but
            // it begins and ends with that text.
            let near = |glyph: &Glyph| {
                let gap = (glyph.x0 - right).max(left - glyph.x1);
                self.is_within(glyph) && gap > -0.1 * size && gap < 0.15 * size
            };
            let ends_with_it = (self.from - left).abs().max((self.to - right).abs()) < 0.1 * size;
            let goes_on =
                |glyph: &Glyph| near(glyph) && !is_struck(glyph) && !glyph.c.is_whitespace();
            ends_with_it && !glyphs.iter().any(goes_on)
        } else {
            self.from >= left - size && self.to <= right + size
        };
        for glyph in glyphs.iter_mut().filter(|_| is_strike) {
            glyph.struck |= is_struck(glyph);
        }
        is_strike
    }

    /// Whether the line runs at a height within the glyph's small letters.
    fn is_within(&self, glyph: &Glyph) -> bool {
        let height = (self.at - glyph.y) / glyph.size.max(1.0);
        (STRIKE_FROM_EM..=STRIKE_TO_EM).contains(&height)
    }
}

/// Vertical borders of cells, see [`Drawing::cell_borders`].
pub(super) struct CellBorders(Vec<Rule>);

impl CellBorders {
    /// Where borders lie between `from` and `to` at the height `y`, from left to right.
    pub(super) fn between(&self, y: f32, from: f32, to: f32) -> Vec<f32> {
        let first = self.0.partition_point(|border| border.at <= from);
        self.0[first..]
            .iter()
            .take_while(|border| border.at < to)
            .filter(|border| border.from <= y && y <= border.to)
            .map(|border| border.at)
            .collect()
    }
}

/// Whether a horizontal and a vertical rule meet or cross.
fn touch(h: &Rule, v: &Rule) -> bool {
    v.at >= h.from - TOUCH && v.at <= h.to + TOUCH && h.at >= v.from - TOUCH && h.at <= v.to + TOUCH
}

/// Whether a path is filled in some ink, or filled or stroked before any colour was set.
fn is_painted(path: &PathContent) -> bool {
    path.fill_color.map_or_else(
        || is_uncoloured(path),
        |color| color.r < 0.97 || color.g < 0.97 || color.b < 0.97,
    )
}

/// Whether a path is painted in the colour that a page begins with, black: the reader gives only colours that were set,
/// and paths that are painted.
fn is_uncoloured(path: &PathContent) -> bool {
    path.stroke_color.is_none() && path.fill_color.is_none()
}

/// Whether a path is nothing but lines from point to point, which no filling could show.
fn is_line(path: &PathContent) -> bool {
    let mut num_points = 0;
    path.operations.iter().all(|operation| {
        num_points = match operation {
            PathOperation::MoveTo(..) => 1,
            _ => num_points + 1,
        };
        matches!(
            operation,
            PathOperation::MoveTo(..) | PathOperation::LineTo(..)
        ) && num_points <= 2
    })
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
                    && rule.from <= last.to + TOUCH
                    && rule.to >= last.from - TOUCH =>
            {
                // Rules that differ a little in height are not in the order of their ends.
                last.from = last.from.min(rule.from);
                last.to = last.to.max(rule.to);
                last.is_drawn |= rule.is_drawn;
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
            if touch(h, v) {
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

    /// The row and the column in which a text stands.
    fn place(&self, segment: &Segment) -> (usize, usize) {
        let (columns, rows) = (self.xs.len() - 1, self.ys.len() - 1);
        // A text may run over the border on its left by a part of its first word.
        let start = segment.x0 + (0.5 * (segment.x1 - segment.x0)).min(segment.size);
        let column = self.xs[1..columns].partition_point(|&x| x < start);
        let row = self.ys[1..rows].partition_point(|&y| y > segment.y + 0.3 * segment.size);
        (row, column)
    }

    /// The table with the texts of `segments` in its cells; `None` if it is a frame, a chart or a form's lines.
    fn fill(&mut self, segments: &[&Segment]) -> Option<TableCells> {
        let (columns, rows) = (self.xs.len() - 1, self.ys.len() - 1);
        let mut lines: Vec<Vec<&Segment>> = vec![Vec::new(); columns * rows];
        for &segment in segments {
            let (row, column) = self.place(segment);
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
mod tests;
