//! Writing what is complete: paragraphs with their numbers, notes and links, tables, embedded parts.

use super::super::numbering::Marker;
use super::super::paragraph::Paragraph;
use super::super::styles::Role;
use super::{Body, Open};
use crate::document::BlockKind;
use crate::extract::clean::clean_line;

impl Body<'_> {
    pub(super) fn close_paragraph(&mut self) {
        self.fields.end_paragraph();
        let Some(Open::Paragraph(paragraph)) = self.open.pop() else {
            return;
        };
        let paragraph = paragraph.join();
        if paragraph.mark_deleted {
            self.unended = Some((self.open.len(), paragraph));
        } else {
            self.write_paragraph(&paragraph);
        }
    }

    /// Writes a paragraph whose end was deleted and that no other goes on with.
    pub(super) fn write_unended(&mut self) {
        if let Some((_, paragraph)) = self.unended.take()
            && !paragraph.inline.is_blank()
        {
            self.write_paragraph(&paragraph);
        }
    }

    fn write_paragraph(&mut self, paragraph: &Paragraph) {
        let properties = &paragraph.properties;
        let text = clean_line(&paragraph.inline.written());
        let role = match properties.outline {
            Some(level) if level < 9 => Role::Heading(level + 1),
            _ => self.around.styles.role(&properties.style),
        };
        if role == Role::Contents {
            return;
        }
        let (level, marker) = self.number(paragraph, text.is_empty());
        if !text.is_empty() {
            let addresses = paragraph.addresses(&text);
            if let Some(table) = self.table() {
                table.push(&marked(marker.as_ref(), &text));
                table.push(&addresses.unwrap_or_default());
            } else {
                self.write_block(role, level, marker, &text, addresses);
            }
        }
        for note in &paragraph.notes {
            let Some(note) = self.around.notes.get(note) else {
                continue;
            };
            match self.table() {
                Some(table) => table.push(note),
                None => self.writer.paragraph(note),
            }
        }
        for drawing in &paragraph.drawings {
            self.insert(drawing);
        }
    }

    /// Counts the paragraph in its list: its level and marker. Word counts and shows empty paragraphs too, unless
    /// even their end is hidden.
    fn number(&mut self, paragraph: &Paragraph, is_empty: bool) -> (u8, Option<Marker>) {
        let properties = &paragraph.properties;
        let styles = self.around.styles;
        let style = styles.list(&properties.style);
        let list = properties.num_id.clone().or(style.num_id);
        let Some(list) = list.filter(|id| id != "0") else {
            return (properties.list_level.or(style.level).unwrap_or(0), None);
        };
        let bound = || {
            self.numbering
                .level_of_styles(&list, styles.lineage(&properties.style))
        };
        let level = properties
            .list_level
            .or_else(bound)
            .or(style.level)
            .unwrap_or(0);
        let is_gone = is_empty
            && (paragraph.mark_hidden || styles.run(&properties.style, "").is_switched_off());
        let marker = if is_gone {
            None
        } else {
            self.numbering.next(&list, level)
        };
        (level, marker)
    }

    fn write_block(
        &mut self,
        role: Role,
        list_level: u8,
        marker: Option<Marker>,
        text: &str,
        addresses: Option<String>,
    ) {
        let numbered = match &marker {
            Some(Marker::Number(number)) if !number.is_empty() => Some(number.as_str()),
            _ => None,
        };
        let heading = match role {
            Role::Title if self.writer.is_empty() => {
                self.writer.title_block(text);
                self.writer.paragraph(&addresses.unwrap_or_default());
                return;
            }
            Role::Title => Some((1, text.to_owned())),
            Role::Heading(level) => Some((
                level,
                numbered.map_or_else(|| text.to_owned(), |n| format!("{n} {text}")),
            )),
            _ => None,
        };
        if let Some((level, heading)) = heading {
            self.writer.heading(level, &heading);
            self.writer.paragraph(&addresses.unwrap_or_default());
            return;
        }
        let text = match addresses {
            Some(addresses) => format!("{text} {addresses}"),
            None => text.to_owned(),
        };
        let depth = usize::from(list_level);
        match (role, &marker) {
            (_, Some(Marker::Number(number))) if !number.is_empty() => {
                self.writer.list_item(depth, number, &text);
            }
            (_, Some(Marker::Bullet(Some(mark)))) => {
                self.writer.list_item(depth, "-", &format!("{mark} {text}"));
            }
            (_, Some(Marker::Bullet(None))) | (Role::Bullet, None) => {
                self.writer.list_item(depth, "-", &text);
            }
            _ => self.writer.paragraph(&text),
        }
    }

    pub(super) fn close_table(&mut self) {
        let Some(Open::Table(table)) = self.open.pop() else {
            return;
        };
        let grid = table.finish();
        if let Some(outer) = self.table() {
            let rows: Vec<String> = grid.rows().iter().map(|row| row.join(" ")).collect();
            outer.push(&rows.join("; "));
        } else if grid.num_columns() > 1 {
            self.writer.lines(BlockKind::Table, &grid.to_markdown());
        } else {
            // A frame around text rather than a table.
            let cells = grid.rows().iter().flatten();
            cells.for_each(|cell| self.writer.paragraph(cell));
        }
        if grid.truncated {
            self.writer
                .warn("the end of a very large table was left out");
        }
    }

    /// Adds the blocks of a chart, diagram or embedded document.
    pub(super) fn insert(&mut self, id: &str) {
        self.write_unended();
        let embedded = self.around.embedded;
        for block in embedded.get(id).into_iter().flatten() {
            if let Some(table) = self.table() {
                table.push(&block.text);
                continue;
            }
            match block.kind {
                BlockKind::Title => self.writer.heading(1, &block.text),
                BlockKind::Heading => self.writer.heading(block.level.max(1), &block.text),
                BlockKind::Paragraph => self.writer.paragraph(&block.text),
                kind @ (BlockKind::ListItem | BlockKind::Table | BlockKind::Code) => {
                    self.writer.lines(kind, &block.text);
                }
            }
        }
    }
}

/// Text with its marker, for a cell.
fn marked(marker: Option<&Marker>, text: &str) -> String {
    match marker {
        Some(Marker::Number(number)) if !number.is_empty() => format!("{number} {text}"),
        Some(Marker::Bullet(Some(mark))) => format!("- {mark} {text}"),
        Some(Marker::Bullet(None)) => format!("- {text}"),
        Some(Marker::Number(_)) | None => text.to_owned(),
    }
}
