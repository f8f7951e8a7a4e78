//! A table while it is open: rows and cells with their spans.

use super::format::Fill;
use super::xml::Element;
use crate::extract::table::Grid;

/// A cell spanning more columns than this is read as spanning one.
const MAX_SPAN: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Table {
    grid: Grid,
    row: Vec<String>,
    /// Whether the row was deleted or is hidden.
    row_left_out: bool,
    row_is_header: bool,
    within_row_properties: bool,
    first_row_is_header: bool,
    cell: String,
    span: usize,
    continues_above: bool,
    /// Text by column, for cells that go on below.
    above: Vec<String>,
    within_cell: bool,
    fill: Fills,
}

/// What is behind the text of a table.
#[derive(Debug)]
struct Fills {
    table: Fill,
    cell: Fill,
}

impl Default for Fills {
    fn default() -> Self {
        Self {
            table: Fill::None,
            cell: Fill::None,
        }
    }
}

impl Table {
    /// Takes in an element outside of paragraphs. `shades_cells` says whether a table style does.
    pub(super) fn open(&mut self, element: &Element<'_>, shades_cells: impl Fn(&str) -> bool) {
        match element.name {
            "tblLook" => {
                let flags = element
                    .value()
                    .and_then(|value| u32::from_str_radix(&value, 16).ok())
                    .unwrap_or(0);
                // 0x20 is the first-row flag of the hexadecimal form.
                self.first_row_is_header =
                    element.attribute("firstRow").as_deref() == Some("1") || flags & 0x20 != 0;
            }
            // Which cells a style shades depends on their place.
            "tblStyle" if element.value().is_some_and(|id| shades_cells(&id)) => {
                self.fill.table = Fill::Unknown;
            }
            "shd" if self.within_cell => self.fill.cell = Fill::of_shading(element),
            "shd" => self.fill.table = Fill::of_shading(element).or(self.fill.table),
            "tr" => {
                self.row = Vec::new();
                self.row_left_out = false;
                self.row_is_header = false;
            }
            "trPr" => self.within_row_properties = true,
            "del" | "hidden" if self.within_row_properties => self.row_left_out |= element.is_on(),
            "tblHeader" => self.row_is_header = element.is_on(),
            "gridBefore" => {
                let empty = std::iter::repeat_n(String::new(), span_of(element));
                self.row.extend(empty);
            }
            "tc" => {
                self.cell = String::new();
                self.span = 1;
                self.continues_above = false;
                self.within_cell = true;
                self.fill.cell = Fill::None;
            }
            "gridSpan" => self.span = span_of(element),
            "vMerge" => self.continues_above = element.value().as_deref() != Some("restart"),
            _ => {}
        }
    }

    pub(super) fn close(&mut self, name: &str) {
        match name {
            "tc" => self.close_cell(),
            "tr" => self.close_row(),
            "trPr" => self.within_row_properties = false,
            _ => {}
        }
    }

    /// Whether deletion marks at this place mean the row.
    pub(super) fn is_within_row_properties(&self) -> bool {
        self.within_row_properties
    }

    /// What is behind the text of the open cell.
    pub(super) fn fill(&self) -> Fill {
        self.fill.cell.or(self.fill.table)
    }

    /// Adds text to the open cell.
    pub(super) fn push(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if !self.cell.is_empty() {
            self.cell.push(' ');
        }
        self.cell.push_str(text);
    }

    fn close_cell(&mut self) {
        let column = self.row.len();
        let text = if self.continues_above {
            self.above.get(column).cloned().unwrap_or_default()
        } else {
            std::mem::take(&mut self.cell)
        };
        for _ in 0..self.span.max(1) {
            let column = self.row.len();
            if self.above.len() <= column {
                self.above.resize(column + 1, String::new());
            }
            self.above[column].clone_from(&text);
            self.row.push(text.clone());
        }
        self.within_cell = false;
    }

    fn close_row(&mut self) {
        let row = std::mem::take(&mut self.row);
        if self.row_left_out {
            return;
        }
        if self.row_is_header && self.grid.rows().len() == self.grid.num_header_rows {
            self.grid.num_header_rows += 1;
        }
        self.grid.push_row(row);
    }

    /// The finished table.
    pub(super) fn finish(mut self) -> Grid {
        let num_rows = self.grid.rows().len();
        if self.grid.num_header_rows == 0 && self.first_row_is_header && num_rows > 1 {
            self.grid.num_header_rows = 1;
        }
        if self.grid.num_header_rows >= num_rows {
            self.grid.num_header_rows = 0;
        }
        self.grid
    }
}

fn span_of(element: &Element<'_>) -> usize {
    element
        .number::<usize>()
        .filter(|n| (1..=MAX_SPAN).contains(n))
        .unwrap_or(1)
}
