//! Fields that no line separates and that are no merged cell all the same: in some table styles only the head, or
//! every other row, has lines. Text shows it: on one line it stands in several columns, each part within its own.

use super::{FieldGrid, root};
use crate::extract::pdf::glyph::Segment;

/// Text may reach over the border of its column by this much, in points.
const OVERHANG: f32 = 1.0;
/// Baselines closer than this, in font sizes, are one line.
const SAME_LINE: f32 = 0.35;

impl FieldGrid {
    /// Takes apart the fields that are one cell though their texts stand in columns, and those of a body without any
    /// lines into rows.
    pub(super) fn unmerge(&mut self, segments: &[&Segment]) {
        let columns = self.columns();
        let num_fields = self.cells.len();
        let mut fields: Vec<Vec<usize>> = vec![Vec::new(); num_fields];
        for field in 0..num_fields {
            fields[root(&mut self.cells, field)].push(field);
        }
        let mut texts: Vec<Vec<&Segment>> = vec![Vec::new(); num_fields];
        for &segment in segments {
            let (row, column) = self.place(segment);
            texts[root(&mut self.cells, row * columns + column)].push(segment);
        }
        let mut cuts = Vec::new();
        for (fields, texts) in fields.iter().zip(&texts) {
            let lines = text_lines(texts);
            if !self.stands_in_columns(&lines) {
                continue;
            }
            let in_column = |column: usize| {
                fields
                    .iter()
                    .filter(move |&&field| field % columns == column)
            };
            let is_whole = (0..columns).all(|column| in_column(column).next().is_some());
            let row_cuts = if is_whole {
                self.row_cuts(&lines)
            } else {
                None
            };
            if let Some(row_cuts) = row_cuts {
                cuts.extend(row_cuts);
                fields.iter().for_each(|&field| self.cells[field] = field);
                continue;
            }
            for column in 0..columns {
                if let Some(&first) = in_column(column).next() {
                    in_column(column).for_each(|&field| self.cells[field] = first);
                }
            }
        }
        cuts.into_iter().for_each(|y| self.cut(y));
    }

    fn columns(&self) -> usize {
        self.xs.len() - 1
    }

    /// Whether each text lies within one column and some line has texts in two.
    fn stands_in_columns(&self, lines: &[Vec<&Segment>]) -> bool {
        let within = |segment: &Segment| {
            let column = self.place(segment).1;
            segment.x0 >= self.xs[column] - OVERHANG && segment.x1 <= self.xs[column + 1] + OVERHANG
        };
        let mut all = lines.iter().flatten();
        let in_two = |line: &Vec<&Segment>| {
            let first = self.place(line[0]).1;
            line.iter().any(|segment| self.place(segment).1 != first)
        };
        all.all(|segment| within(segment)) && lines.iter().any(in_two)
    }

    /// Where the lines of a body without lines between its rows are to be cut: if each begins in the first column and goes
    /// on in another, each is a row.
    fn row_cuts(&self, lines: &[Vec<&Segment>]) -> Option<Vec<f32>> {
        let is_row = |line: &Vec<&Segment>| {
            let mut columns = line.iter().map(|segment| self.place(segment).1);
            columns.clone().any(|column| column == 0) && columns.any(|column| column > 0)
        };
        let middle = |pair: &[Vec<&Segment>]| {
            let (above, below) = (pair[0][0], pair[1][0]);
            f32::midpoint(above.y, below.y + 0.7 * below.size)
        };
        lines
            .iter()
            .all(is_row)
            .then(|| lines.windows(2).map(middle).collect())
    }

    /// Divides the row at the height `y` into two.
    fn cut(&mut self, y: f32) {
        let (columns, rows) = (self.columns(), self.ys.len() - 1);
        let row = self.ys[1..rows].partition_point(|&border| border > y);
        let is_new = (self.ys[row] - y).abs() > OVERHANG && (self.ys[row + 1] - y).abs() > OVERHANG;
        if !is_new || self.cells.len() >= super::MAX_FIELDS {
            return;
        }
        // Later fields move down by a row, and so do the numbers of their cells.
        let after = (row + 1) * columns;
        for cell in &mut self.cells {
            if *cell >= after {
                *cell += columns;
            }
        }
        self.cells.splice(after..after, after..after + columns);
        self.ys.insert(row + 1, y);
    }
}

/// The texts line by line, from top to bottom.
fn text_lines<'a>(texts: &[&'a Segment]) -> Vec<Vec<&'a Segment>> {
    let mut sorted = texts.to_vec();
    sorted.sort_by(|a, b| b.y.total_cmp(&a.y));
    let mut lines: Vec<Vec<&Segment>> = Vec::new();
    for segment in sorted {
        match lines.last_mut() {
            Some(line) if line[0].y - segment.y <= SAME_LINE * segment.size => line.push(segment),
            _ => lines.push(vec![segment]),
        }
    }
    lines
}
