//! Tables as Markdown rows: readable for people and language models, and splittable by line.

use std::collections::HashSet;

use super::clean::clean_line;
use crate::text::polarity;

/// Largest number of columns that is kept; a real table is narrower, a spreadsheet bomb is not.
const MAX_COLUMNS: usize = 256;
/// Largest number of cells a table may have, spans repeated; beyond it rows are dropped.
const MAX_CELLS: usize = 500_000;

/// A grid of cell texts.
#[derive(Debug, Default)]
pub(super) struct Grid {
    rows: Vec<Vec<String>>,
    num_cells: usize,
    /// How many rows at the top are headers.
    pub(super) num_header_rows: usize,
    /// Set once rows were dropped because of [`MAX_CELLS`].
    pub(super) truncated: bool,
}

impl Grid {
    /// An empty grid whose first `num_header_rows` rows will be headers.
    pub(super) fn with_header_rows(num_header_rows: usize) -> Self {
        Self {
            num_header_rows,
            ..Self::default()
        }
    }

    pub(super) fn push_row(&mut self, row: impl IntoIterator<Item = String>) {
        let row: Vec<String> = row
            .into_iter()
            .take(MAX_COLUMNS)
            .map(|cell| clean_line(&cell))
            .collect();
        self.num_cells += row.len().max(1);
        if self.num_cells > MAX_CELLS {
            self.truncated = true;
        } else {
            self.rows.push(row);
        }
    }

    pub(super) fn num_columns(&self) -> usize {
        self.rows.iter().map(Vec::len).max().unwrap_or(0)
    }

    pub(super) fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// Header rows, or one that nothing marks as such but that tells itself: names over columns of numbers, or of yes and no.
    ///
    /// A table of two columns may be a form, whose first row is a pair like the others, so it needs the yes and no.
    fn num_header_rows(&self) -> usize {
        let [first, rest @ ..] = self.rows.as_slice() else {
            return self.num_header_rows;
        };
        let is_name = |cell: &String| {
            cell.chars().any(char::is_alphabetic)
                && !cell.chars().any(char::is_numeric)
                && !cell.ends_with(['.', ':'])
                && polarity::cell(cell).is_none()
        };
        let are_names =
            first.iter().all(is_name) && first.iter().collect::<HashSet<_>>().len() == first.len();
        if self.num_header_rows > 0 || rest.len() < 2 || first.len() < 2 || !are_names {
            return self.num_header_rows;
        }
        let column = |i: usize| {
            rest.iter()
                .filter_map(move |row| row.get(i))
                .filter(|c| !c.is_empty())
        };
        let all = |i: usize, is_value: &dyn Fn(&String) -> bool| {
            column(i).count() > 1 && column(i).all(is_value)
        };
        let says = |cell: &String| polarity::cell(cell).is_some();
        let is_number = |cell: &String| cell.chars().any(char::is_numeric);
        let tells =
            (1..first.len()).any(|i| all(i, &says) || (first.len() > 2 && all(i, &is_number)));
        usize::from(tells)
    }

    /// The table as `| a | b |` lines, without empty rows and columns; a line of dashes follows the header rows.
    pub(super) fn to_markdown(&self) -> String {
        let num_header_rows = self.num_header_rows();
        let num_columns = self.num_columns();
        let used: Vec<usize> = (0..num_columns)
            .filter(|&column| {
                self.rows
                    .iter()
                    .any(|row| row.get(column).is_some_and(|cell| !cell.is_empty()))
            })
            .collect();
        let mut lines = Vec::with_capacity(self.rows.len() + 1);
        for (row_idx, row) in self.rows.iter().enumerate() {
            if row.iter().any(|cell| !cell.is_empty()) {
                let cells: Vec<String> = used
                    .iter()
                    .map(|&column| {
                        row.get(column)
                            .map_or(String::new(), |c| c.replace('|', "\\|"))
                    })
                    .collect();
                lines.push(format!("| {} |", cells.join(" | ")));
            }
            if row_idx + 1 == num_header_rows && !lines.is_empty() {
                lines.push(format!("|{}", " - |".repeat(used.len())));
            }
        }
        lines.join("\n")
    }
}

/// Whether a line of a table block is the dashes below its header rows.
pub(crate) fn is_rule(line: &str) -> bool {
    line.contains('-') && line.chars().all(|c| matches!(c, '|' | '-' | ' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_empty_rows_and_columns_and_rules_off_the_header() {
        let mut grid = Grid::with_header_rows(1);
        grid.push_row(["a".into(), String::new(), "b|c".into()]);
        grid.push_row([String::new(), String::new(), String::new()]);
        grid.push_row(["1\n2".into()]);
        assert_eq!(grid.to_markdown(), "| a | b\\|c |\n| - | - |\n| 1 2 |  |");
        assert!(is_rule("| - | - |") && !is_rule("| - | a |") && !is_rule("|  |"));
    }

    #[test]
    fn names_over_values_are_a_header_although_nothing_marks_them() {
        // Rows, whether the first one is a header.
        let cases: [(&[&[&str]], bool); 7] = [
            (
                &[
                    &["Boat", "Bar", "Cars"],
                    &["Svea", "no", "3"],
                    &["Ylva", "yes", "4"],
                ],
                true,
            ),
            (
                &[
                    &["Wagen", "Reichweite", "Privat"],
                    &["Tarn", "410 km", "a"],
                    &["Pico", "230 km", "b"],
                ],
                true,
            ),
            (&[&["Boat", "Bar"], &["Svea", "no"], &["Ylva", "yes"]], true),
            (
                &[&["Name", "Meyer"], &["Age", "34"], &["Phone", "0123"]],
                false,
            ),
            (
                &[
                    &["Name", "Meyer", "Smith"],
                    &["Age", "34", "36"],
                    &["Town", "Kiel", "Bonn"],
                ],
                false,
            ),
            (&[&["Svea", "no", "3"], &["Ylva", "yes", "4"]], false),
            (
                &[&["a", "b", "c"], &["d", "e", "f"], &["g", "h", "i"]],
                false,
            ),
        ];
        for (rows, is_header) in cases {
            let mut grid = Grid::default();
            for row in rows {
                grid.push_row(row.iter().map(|cell| (*cell).to_owned()));
            }
            let lines = grid.to_markdown();
            assert_eq!(lines.lines().any(is_rule), is_header, "{lines}");
        }
    }
}
