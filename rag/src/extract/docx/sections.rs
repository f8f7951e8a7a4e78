//! Sections: which headers and footers a document shows.

use std::collections::BTreeMap;

use super::xml::{Space, Xml};

/// Most headers and footers that are read.
const MAX_SHOWN: usize = 200;

/// Reads the section properties of the main part.
#[derive(Debug, Default)]
pub(super) struct Sections {
    /// Whether pages on the left have headers of their own.
    even_and_odd: bool,
    /// Relationship ids in force, by part and kind; a section without its own keeps those of the one before.
    in_force: BTreeMap<(Part, Pages), String>,
    has_title_page: bool,
    within_section: bool,
    /// Within the section's properties before a tracked change.
    within_change: bool,
    shown: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Header,
    Footer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pages {
    First,
    Default,
    Even,
}

impl Sections {
    pub(super) fn new(even_and_odd: bool) -> Self {
        Self {
            even_and_odd,
            ..Self::default()
        }
    }

    pub(super) fn event(&mut self, event: &Xml<'_>) {
        match event {
            Xml::Open(element) if element.space == Space::Word => match element.name {
                "sectPr" if !self.within_change => {
                    self.within_section = true;
                    self.has_title_page = false;
                }
                "sectPrChange" => self.within_change = true,
                _ if !self.within_section || self.within_change => {}
                "titlePg" => self.has_title_page = element.is_on(),
                name @ ("headerReference" | "footerReference") => {
                    let part = if name == "headerReference" {
                        Part::Header
                    } else {
                        Part::Footer
                    };
                    let pages = match element.attribute("type").as_deref() {
                        Some("first") => Pages::First,
                        Some("even") => Pages::Even,
                        _ => Pages::Default,
                    };
                    if let Some(id) = element.attribute("id") {
                        self.in_force.insert((part, pages), id);
                    }
                }
                _ => {}
            },
            Xml::Close(Space::Word, "sectPrChange") => self.within_change = false,
            Xml::Close(Space::Word, "sectPr") if !self.within_change => self.close(),
            _ => {}
        }
    }

    fn close(&mut self) {
        self.within_section = false;
        for ((_, pages), id) in &self.in_force {
            let is_shown = match pages {
                Pages::First => self.has_title_page,
                Pages::Even => self.even_and_odd,
                Pages::Default => true,
            };
            if is_shown && self.shown.len() < MAX_SHOWN && !self.shown.contains(id) {
                self.shown.push(id.clone());
            }
        }
    }

    /// Relationship ids of the headers and footers that some page shows, in the order of the sections.
    pub(super) fn into_shown(self) -> Vec<String> {
        self.shown
    }
}
