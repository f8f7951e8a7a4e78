//! Adding text to the paragraph that is open, unless a reader would not see it.

use super::super::format::{Fill, Look, RunProperties};
use super::super::xml::Element;
use super::{Body, Open};
use crate::extract::clean::clean_line;
use crate::extract::symbols;

/// Links within one another whose text is kept.
const MAX_NESTED_LINKS: usize = 4;
/// Text of a link that is kept; it is only compared and named beside the address.
const MAX_LINK_BYTES: usize = 1000;

/// The note below a picture's description that a program made has at most so many words in any language.
const MAX_NOTE_WORDS: usize = 8;

impl Body<'_> {
    /// Adds text of the open run.
    pub(super) fn push(&mut self, text: &str) {
        if self.fields.hide_text() || self.controls.is_prompt() {
            return;
        }
        let Some(state) = self.controls.state_for(text) else {
            return;
        };
        self.push_shown(state.unwrap_or(text));
    }

    fn push_shown(&mut self, text: &str) {
        let drawn = self.run_properties();
        if drawn.is_some_and(|(_, is_hidden)| is_hidden) {
            return;
        }
        let (shown, look) = match drawn {
            Some((properties, _)) => (properties.in_unicode(text), properties.look()),
            None => (text.to_owned(), Look::default()),
        };
        let Some(paragraph) = self.paragraph() else {
            return;
        };
        paragraph.inline.push(&shown, look);
        self.push_to_links(&shown);
    }

    /// Links do not stand within one another, except in files made to exhaust the reader.
    fn push_to_links(&mut self, text: &str) {
        for link in self.links.iter_mut().rev().take(MAX_NESTED_LINKS) {
            if link.text.len() < MAX_LINK_BYTES {
                link.text.push_str(text);
            }
        }
    }

    /// How the open run is drawn and whether that hides it; `None` outside of runs.
    fn run_properties(&mut self) -> Option<(RunProperties, bool)> {
        let styles = self.around.styles;
        let paragraph = self.paragraph()?;
        let run = paragraph.run.as_ref()?;
        if let Some(known) = run.effective {
            return Some(known);
        }
        let of_styles = styles.run(&paragraph.properties.style, &run.style);
        let properties = run.stated.over(of_styles);
        let known = (properties, properties.is_invisible(self.fill_behind()));
        if let Some(run) = self.paragraph().and_then(|p| p.run.as_mut()) {
            run.effective = Some(known);
        }
        Some(known)
    }

    /// What is behind the open run, the run's own shading aside: from the paragraph outwards.
    fn fill_behind(&self) -> Fill {
        let styles = self.around.styles;
        let mut behind = Fill::None;
        for (depth, open) in self.open.iter().enumerate().rev() {
            let fill = match open {
                // The paragraph to which a text box is anchored is not behind it.
                Open::Paragraph(paragraph) if depth + 1 == self.open.len() => {
                    let properties = &paragraph.properties;
                    let of_style = || styles.fill(&properties.style);
                    properties.fill.unwrap_or_else(of_style)
                }
                Open::Paragraph(_) => Fill::None,
                Open::Table(table) => table.fill(),
            };
            behind = behind.or(fill).or(self.frames.fill_at(depth));
        }
        behind.or(if self.picture_behind {
            Fill::Unknown
        } else {
            self.page_fill
        })
    }

    pub(super) fn push_symbol(&mut self, element: &Element<'_>) {
        let code = element
            .attribute("char")
            .and_then(|code| u32::from_str_radix(code.trim(), 16).ok());
        let name = element.attribute("font").unwrap_or_default();
        let Some(code) = code else { return };
        let glyph = match symbols::font(&name) {
            Some(font) => font.read(code),
            // Codes of other fonts are Unicode, except in the private area, where each font has its own.
            None => char::from_u32(code).filter(|c| !('\u{e000}'..='\u{f8ff}').contains(c)),
        };
        match glyph {
            Some(glyph) => self.push(&glyph.to_string()),
            None if self.fields.hide_text() => {}
            None => {
                self.unknown_fonts.insert(name);
            }
        }
    }

    pub(super) fn push_note(&mut self, part: &str, element: &Element<'_>) {
        let is_hidden = self.run_properties().is_some_and(|(_, hidden)| hidden);
        if is_hidden || self.fields.hide_text() || self.controls.is_prompt() {
            return;
        }
        if let Some(id) = element.attribute("id")
            && let Some(paragraph) = self.paragraph()
        {
            paragraph.notes.push(format!("{part}/{id}"));
        }
    }

    /// Adds what a picture is said to show.
    pub(super) fn push_picture(&mut self, description: &str) {
        if is_generated(description) {
            return;
        }
        let text = clean_line(description);
        let drawn = self.run_properties();
        let is_off = drawn.is_some_and(|(properties, _)| properties.is_switched_off());
        if is_off || text.is_empty() || self.fields.hide_text() || self.controls.is_prompt() {
            return;
        }
        self.push_to_links(&text);
        if let Some(paragraph) = self.paragraph() {
            paragraph.inline.push_apart(&format!("[{text}]"));
        }
    }

    pub(super) fn push_drawing(&mut self, id: Option<String>) {
        if let Some(paragraph) = self.paragraph() {
            paragraph.drawings.extend(id);
        }
    }
}

/// Whether a program guessed what the picture shows: Word then adds a note below, in the language of its user
/// ("Description automatically generated"). What people write has one paragraph or says more in the second.
fn is_generated(description: &str) -> bool {
    let description = description.replace("\r\n", "\n");
    let mut paragraphs = description
        .split("\n\n")
        .map(str::trim)
        .filter(|paragraph| !paragraph.is_empty());
    let (Some(_), Some(note), None) = (paragraphs.next(), paragraphs.next(), paragraphs.next())
    else {
        return false;
    };
    !note.contains(['\n', ':'])
        && !note.contains(char::is_numeric)
        && note.split_whitespace().count() <= MAX_NOTE_WORDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_of_programs_are_told_by_their_note() {
        let generated = [
            "A cartoon duck holding a paper\n\nDescription automatically generated",
            "Ein Bild, das Text enthält.\r\n\r\nAutomatisch generierte Beschreibung",
            "Diagram\n\nAI-generated content may be incorrect.",
        ];
        let written = [
            "Exploded view: bolt M8x40 goes through flange 3",
            "Exploded view\n\nBolt M8x40 goes through flange 3",
            "Plan of the hall\nwith exits",
        ];
        assert!(generated.into_iter().all(is_generated));
        assert!(!written.into_iter().any(is_generated));
    }
}
