//! The walk over the main part: paragraphs, lists and tables as Word shows them.

use std::collections::HashMap;

use super::math::Formula;
use super::numbering::{Marker, Numbering};
use super::styles::{Role, Styles};
use super::xml::{Element, Space, Xml};
use crate::document::BlockKind;
use crate::extract::outline::BlockWriter;
use crate::extract::table::Grid;
use crate::extract::text::clean_line;

/// A cell spanning more columns than this is read as spanning one.
const MAX_SPAN: usize = 100;
/// Text of at most this many half points cannot be seen.
const INVISIBLE_HALF_POINTS: u32 = 2;

/// A paragraph that is open; text boxes open paragraphs within paragraphs.
#[derive(Debug, Default)]
struct Paragraph {
    style: String,
    num_id: Option<String>,
    list_level: Option<u8>,
    outline: Option<u8>,
    text: String,
    notes: Vec<String>,
    in_run: bool,
    run_start: usize,
    run_hidden: bool,
}

#[derive(Debug, Default)]
struct Table {
    grid: Grid,
    row: Vec<String>,
    row_deleted: bool,
    row_is_header: bool,
    first_row_is_header: bool,
    cell: String,
    span: usize,
    continues_above: bool,
    /// Text by column, for cells that go on below.
    above: Vec<String>,
}

/// State of the walk.
#[derive(Debug, Default)]
pub(super) struct Body {
    styles: Styles,
    numbering: Numbering,
    notes: HashMap<String, String>,
    writer: BlockWriter,
    paragraphs: Vec<Paragraph>,
    tables: Vec<Table>,
    formula: Formula,
    math_depth: usize,
    /// How many elements are open below and including one that is not read.
    skipped: usize,
    in_text: bool,
}

impl Body {
    pub(super) fn new(
        styles: Styles,
        numbering: Numbering,
        notes: HashMap<String, String>,
    ) -> Self {
        Self {
            styles,
            numbering,
            notes,
            ..Self::default()
        }
    }

    pub(super) fn finish(self) -> BlockWriter {
        self.writer
    }

    pub(super) fn event(&mut self, event: &Xml<'_>) {
        match event {
            Xml::Open(_) if self.skipped > 0 => self.skipped += 1,
            Xml::Close(..) if self.skipped > 0 => self.skipped -= 1,
            Xml::Open(element) if element.is(Space::Word, "del") && self.paragraphs.is_empty() => {
                // Outside of paragraphs it is a property: the row it stands in was deleted.
                if let Some(table) = self.tables.last_mut() {
                    table.row_deleted = true;
                }
            }
            Xml::Open(element) if is_unread(element) => self.skipped = 1,
            Xml::Open(element) => match element.space {
                Space::Word => self.open(element),
                Space::Math => self.open_math(element),
                Space::Other => {}
            },
            Xml::Close(Space::Word, name) => self.close(name),
            Xml::Close(Space::Math, name) => self.close_math(name),
            Xml::Text(text) if self.in_text && self.skipped == 0 => {
                if self.math_depth > 0 {
                    self.formula.push_text(text);
                } else if let Some(paragraph) = self.paragraphs.last_mut() {
                    paragraph.text.push_str(text);
                }
            }
            Xml::Close(..) | Xml::Text(_) => {}
        }
    }

    fn open(&mut self, element: &Element<'_>) {
        match element.name {
            "p" => return self.paragraphs.push(Paragraph::default()),
            "tbl" => return self.tables.push(Table::default()),
            "t" => return self.in_text = true,
            _ => {}
        }
        if let Some(paragraph) = self.paragraphs.last_mut() {
            if paragraph.in_run {
                open_in_run(paragraph, element, &self.styles);
            } else {
                open_in_paragraph(paragraph, element);
            }
        } else if let Some(table) = self.tables.last_mut() {
            open_in_table(table, element);
        }
    }

    fn close(&mut self, name: &str) {
        match name {
            "t" => self.in_text = false,
            "r" => {
                if let Some(paragraph) = self.paragraphs.last_mut() {
                    if paragraph.run_hidden {
                        paragraph.text.truncate(paragraph.run_start);
                    }
                    paragraph.in_run = false;
                    paragraph.run_hidden = false;
                }
            }
            "p" => {
                if let Some(paragraph) = self.paragraphs.pop() {
                    self.write_paragraph(paragraph);
                }
            }
            "tc" => {
                if let Some(table) = self.tables.last_mut() {
                    close_cell(table);
                }
            }
            "tr" => {
                if let Some(table) = self.tables.last_mut() {
                    close_row(table);
                }
            }
            "tbl" => {
                if let Some(table) = self.tables.pop() {
                    self.write_table(table);
                }
            }
            _ => {}
        }
    }

    fn open_math(&mut self, element: &Element<'_>) {
        match element.name {
            "oMath" => self.math_depth += 1,
            "t" => self.in_text = true,
            name => self.formula.open(name, element.value()),
        }
    }

    fn close_math(&mut self, name: &str) {
        match name {
            "t" => self.in_text = false,
            "oMath" => {
                self.math_depth = self.math_depth.saturating_sub(1);
                if self.math_depth == 0
                    && let Some(paragraph) = self.paragraphs.last_mut()
                {
                    let formula = self.formula.take();
                    // Formulas in a row are separate; a formula within a sentence has its own spaces.
                    if paragraph
                        .text
                        .chars()
                        .next_back()
                        .is_some_and(char::is_alphanumeric)
                    {
                        paragraph.text.push(' ');
                    }
                    paragraph.text.push_str(&formula);
                }
            }
            name => self.formula.close(name),
        }
    }

    fn write_paragraph(&mut self, paragraph: Paragraph) {
        let text = clean_line(&paragraph.text);
        let role = match paragraph.outline {
            Some(level) if level < 9 => Role::Heading(level + 1),
            _ => self.styles.role(&paragraph.style),
        };
        // An empty paragraph takes no number in Word's outline, and a list item without text shows nothing worth keeping.
        if text.is_empty() || role == Role::Contents {
            return;
        }
        let (style_list, style_level) = self.styles.list(&paragraph.style);
        let level = paragraph.list_level.or(style_level).unwrap_or(0);
        let list = paragraph.num_id.or(style_list).filter(|id| id != "0");
        let marker = list.and_then(|id| self.numbering.next(&id, level));
        if let Some(table) = self.tables.last_mut() {
            let marker = match &marker {
                Some(Marker::Number(number)) => format!("{number} "),
                Some(Marker::Bullet) => "- ".to_owned(),
                None => String::new(),
            };
            push_words(&mut table.cell, &format!("{marker}{text}"));
        } else {
            self.write_block(role, level, marker, &text);
        }
        for note in paragraph.notes.iter().filter_map(|id| self.notes.get(id)) {
            match self.tables.last_mut() {
                Some(table) => push_words(&mut table.cell, note),
                None => self.writer.paragraph(note),
            }
        }
    }

    fn write_block(&mut self, role: Role, list_level: u8, marker: Option<Marker>, text: &str) {
        match (role, marker) {
            (Role::Title, _) if self.writer.is_empty() => self.writer.title_block(text),
            (Role::Title, _) => self.writer.heading(1, text),
            (Role::Heading(level), Some(Marker::Number(number))) if !number.is_empty() => {
                self.writer.heading(level, &format!("{number} {text}"));
            }
            (Role::Heading(level), _) => self.writer.heading(level, text),
            (_, Some(Marker::Number(number))) if !number.is_empty() => {
                self.writer
                    .list_item(usize::from(list_level), &number, text);
            }
            (_, Some(Marker::Bullet)) | (Role::Bullet, None) => {
                self.writer.list_item(usize::from(list_level), "-", text)
            }
            _ => self.writer.paragraph(text),
        }
    }

    fn write_table(&mut self, mut table: Table) {
        let num_rows = table.grid.rows().len();
        if table.grid.num_header_rows == 0 && table.first_row_is_header && num_rows > 1 {
            table.grid.num_header_rows = 1;
        }
        if table.grid.num_header_rows >= num_rows {
            table.grid.num_header_rows = 0;
        }
        if let Some(outer) = self.tables.last_mut() {
            let rows: Vec<String> = table.grid.rows().iter().map(|row| row.join(" ")).collect();
            push_words(&mut outer.cell, &rows.join("; "));
        } else if table.grid.num_columns() > 1 {
            self.writer
                .lines(BlockKind::Table, &table.grid.to_markdown());
        } else {
            // A frame around text rather than a table.
            table
                .grid
                .rows()
                .iter()
                .flatten()
                .for_each(|cell| self.writer.paragraph(cell));
        }
        if table.grid.truncated {
            self.writer
                .warn("the end of a very large table was left out");
        }
    }
}

/// Deleted or replaced text, field codes, old properties, embedded objects, and the copy of newer content for
/// older programs.
fn is_unread(element: &Element<'_>) -> bool {
    match element.space {
        Space::Word => matches!(
            element.name,
            "del"
                | "moveFrom"
                | "rt"
                | "instrText"
                | "delText"
                | "delInstrText"
                | "pPrChange"
                | "rPrChange"
                | "tblPrChange"
                | "trPrChange"
                | "tcPrChange"
                | "sectPrChange"
                | "numberingChange"
        ),
        Space::Other => element.name == "Fallback",
        Space::Math => false,
    }
}

fn open_in_run(paragraph: &mut Paragraph, element: &Element<'_>, styles: &Styles) {
    match element.name {
        "tab" | "ptab" => paragraph.text.push(' '),
        "br" | "cr" => paragraph.text.push('\n'),
        "noBreakHyphen" => paragraph.text.push('-'),
        "vanish" | "specVanish" | "webHidden" => paragraph.run_hidden |= element.is_on(),
        "rStyle" => paragraph.run_hidden |= element.value().is_some_and(|id| styles.hides(&id)),
        "sz" => {
            let size = element.value().and_then(|size| size.parse::<u32>().ok());
            paragraph.run_hidden |= size.is_some_and(|size| size <= INVISIBLE_HALF_POINTS);
        }
        "footnoteReference" | "endnoteReference" => {
            let part = if element.name == "footnoteReference" {
                "footnotes"
            } else {
                "endnotes"
            };
            paragraph
                .notes
                .extend(element.attribute("id").map(|id| format!("{part}/{id}")));
        }
        _ => {}
    }
}

fn open_in_paragraph(paragraph: &mut Paragraph, element: &Element<'_>) {
    match element.name {
        "r" => {
            paragraph.in_run = true;
            paragraph.run_start = paragraph.text.len();
        }
        "pStyle" => paragraph.style = element.value().unwrap_or_default(),
        "numId" => paragraph.num_id = element.value(),
        "ilvl" => paragraph.list_level = element.value().and_then(|level| level.parse().ok()),
        "outlineLvl" => paragraph.outline = element.value().and_then(|level| level.parse().ok()),
        _ => {}
    }
}

fn open_in_table(table: &mut Table, element: &Element<'_>) {
    let number = || {
        element
            .value()
            .and_then(|value| value.parse::<usize>().ok())
            .filter(|n| (1..=MAX_SPAN).contains(n))
            .unwrap_or(1)
    };
    match element.name {
        "tblLook" => {
            let flags = element
                .value()
                .and_then(|value| u32::from_str_radix(&value, 16).ok())
                .unwrap_or(0);
            // 0x20 is the first-row flag of the hexadecimal form.
            table.first_row_is_header =
                element.attribute("firstRow").as_deref() == Some("1") || flags & 0x20 != 0;
        }
        "tr" => {
            table.row = Vec::new();
            table.row_deleted = false;
            table.row_is_header = false;
        }
        "tblHeader" => table.row_is_header = element.is_on(),
        "gridBefore" => table
            .row
            .extend(std::iter::repeat_n(String::new(), number())),
        "tc" => {
            table.cell = String::new();
            table.span = 1;
            table.continues_above = false;
        }
        "gridSpan" => table.span = number(),
        "vMerge" => table.continues_above = element.value().as_deref() != Some("restart"),
        _ => {}
    }
}

fn close_cell(table: &mut Table) {
    let column = table.row.len();
    let text = if table.continues_above {
        table.above.get(column).cloned().unwrap_or_default()
    } else {
        std::mem::take(&mut table.cell)
    };
    for _ in 0..table.span.max(1) {
        let column = table.row.len();
        if table.above.len() <= column {
            table.above.resize(column + 1, String::new());
        }
        table.above[column].clone_from(&text);
        table.row.push(text.clone());
    }
}

fn close_row(table: &mut Table) {
    let row = std::mem::take(&mut table.row);
    if table.row_deleted {
        return;
    }
    if table.row_is_header && table.grid.rows().len() == table.grid.num_header_rows {
        table.grid.num_header_rows += 1;
    }
    table.grid.push_row(row);
}

fn push_words(cell: &mut String, text: &str) {
    if !cell.is_empty() {
        cell.push(' ');
    }
    cell.push_str(text);
}
