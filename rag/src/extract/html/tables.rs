//! HTML tables: those that hold data become rows, those that only place things are read cell by cell.

use scraper::ElementRef;

use super::{Page, Place};
use crate::document::BlockKind;
use crate::extract::clean::clean_line;
use crate::extract::outline::Flow;
use crate::extract::table::Grid;

/// A cell that spans more columns or rows than this is read as spanning one.
const MAX_SPAN: usize = 100;

impl Page {
    pub(super) fn table(&self, table: ElementRef<'_>, flow: &mut Flow, place: Place) {
        flow.flush();
        if is_layout(table) {
            return self.walk_cells(table, flow, place);
        }
        let mut grid = Grid::default();
        // Cells that reach down into later rows: (rows left, text) by column.
        let mut carried: Vec<(usize, String)> = Vec::new();
        let mut in_header = true;
        for row in own_rows(table) {
            if self.visibility.is_skipped(row) {
                continue;
            }
            let place = self.within_row(row, place);
            let mut cells = Vec::new();
            let mut only_headers = true;
            for cell in row
                .child_elements()
                .filter(|cell| matches!(cell.value().name(), "td" | "th"))
            {
                if self.visibility.is_skipped(cell) {
                    continue;
                }
                take_carried(&mut carried, &mut cells);
                only_headers &= cell.value().name() == "th";
                let text = clean_line(&self.inline_text(cell, self.within(cell, place)));
                let rows = span(cell, "rowspan");
                for _ in 0..span(cell, "colspan") {
                    if carried.len() <= cells.len() {
                        carried.resize(cells.len() + 1, (0, String::new()));
                    }
                    carried[cells.len()] = (rows - 1, text.clone());
                    cells.push(text.clone());
                }
            }
            take_carried(&mut carried, &mut cells);
            let in_thead = ElementRef::wrap(row.parent().unwrap_or(*row))
                .is_some_and(|p| p.value().name() == "thead");
            in_header &= in_thead || (only_headers && !cells.is_empty());
            grid.push_row(cells);
            grid.num_header_rows += usize::from(in_header);
        }
        if let Some(caption) = table
            .child_elements()
            .find(|child| child.value().name() == "caption")
        {
            let place = self.within(caption, place);
            flow.writer.paragraph(&self.inline_text(caption, place));
        }
        if grid.num_columns() > 1 {
            flow.writer.lines(BlockKind::Table, &grid.to_markdown());
        } else {
            grid.rows()
                .iter()
                .flatten()
                .for_each(|cell| flow.writer.paragraph(cell));
        }
        if grid.truncated {
            flow.writer
                .warn("the end of a very large table was left out");
        }
    }

    /// Reads a table that only places things on the page, cell by cell.
    fn walk_cells(&self, table: ElementRef<'_>, flow: &mut Flow, place: Place) {
        for row in own_rows(table) {
            let place = self.within_row(row, place.deeper());
            for cell in row.child_elements() {
                if !self.visibility.is_skipped(cell) {
                    self.walk_children(cell, flow, self.within(cell, place));
                    flow.flush();
                }
            }
        }
    }

    /// What holds in a row of the table that lies in `place`.
    fn within_row(&self, row: ElementRef<'_>, place: Place) -> Place {
        let group = row
            .parent()
            .and_then(ElementRef::wrap)
            .filter(|parent| parent.value().name() != "table");
        let place = group.map_or(place, |group| self.within(group, place));
        self.within(row, place)
    }
}

/// Puts the cells that reach down from earlier rows at the end of `cells`.
fn take_carried(carried: &mut [(usize, String)], cells: &mut Vec<String>) {
    while let Some((rows_left, text)) = carried.get_mut(cells.len())
        && *rows_left > 0
    {
        *rows_left -= 1;
        cells.push(text.clone());
    }
}

fn span(cell: ElementRef<'_>, name: &str) -> usize {
    let stated = cell
        .value()
        .attr(name)
        .and_then(|value| value.trim().parse::<usize>().ok())
        .unwrap_or(1);
    if (1..=MAX_SPAN).contains(&stated) {
        stated
    } else {
        1
    }
}

/// The table's own rows, not those of tables within its cells.
fn own_rows<'a>(table: ElementRef<'a>) -> impl Iterator<Item = ElementRef<'a>> {
    table
        .child_elements()
        .flat_map(|child| match child.value().name() {
            "tr" => vec![child],
            "thead" | "tbody" | "tfoot" => child
                .child_elements()
                .filter(|row| row.value().name() == "tr")
                .collect(),
            _ => vec![],
        })
}

/// A table without header cells that holds tables, headings or a single cell only places things on the page.
fn is_layout(table: ElementRef<'_>) -> bool {
    let mut num_cells = 0;
    let mut holds_blocks = false;
    for element in table.descendent_elements().skip(1) {
        match element.value().name() {
            "th" => return false,
            "td" => num_cells += 1,
            "table" | "h1" | "h2" | "h3" | "h4" => holds_blocks = true,
            _ => {}
        }
    }
    holds_blocks || num_cells <= 1
}
