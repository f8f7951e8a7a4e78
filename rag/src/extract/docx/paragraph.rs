//! A paragraph while it is open: its properties, its runs, what is shown after it.

use super::format::{Fill, RunProperties};
use super::inline::Inline;
use super::xml::Element;
use crate::extract::clean::clean_line;
use crate::extract::html::link_target;

/// A link's text that is longer is not repeated beside the address.
const MAX_LABEL_CHARS: usize = 80;

/// What decides about a paragraph's kind and number.
#[derive(Debug, Clone, Default)]
pub(super) struct Properties {
    pub(super) style: String,
    pub(super) num_id: Option<String>,
    pub(super) list_level: Option<u8>,
    pub(super) outline: Option<u8>,
    pub(super) fill: Option<Fill>,
}

/// A run that is open.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// What the run itself states.
    pub(super) stated: RunProperties,
    pub(super) style: String,
    /// What holds for its text, once that is known, and whether it can be seen.
    pub(super) effective: Option<(RunProperties, bool)>,
}

/// A link's text and address.
#[derive(Debug, Default, Clone)]
pub(super) struct Link {
    pub(super) text: String,
    pub(super) address: String,
}

/// Where in a paragraph's properties the walk is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Within {
    #[default]
    Content,
    Properties,
    /// Properties of the paragraph mark.
    Mark,
}

/// A paragraph that is open; text boxes open paragraphs within paragraphs.
#[derive(Debug, Default)]
pub(super) struct Paragraph {
    pub(super) properties: Properties,
    pub(super) inline: Inline,
    /// Ids of notes, as `footnotes/3`.
    pub(super) notes: Vec<String>,
    pub(super) links: Vec<Link>,
    /// Relationship ids of charts and diagrams.
    pub(super) drawings: Vec<String>,
    pub(super) run: Option<Run>,
    within: Within,
    /// The end of the paragraph was deleted: the next one goes on with it.
    pub(super) mark_deleted: bool,
    /// The end of the paragraph is hidden; if it is empty, nothing of it shows, not even a number.
    pub(super) mark_hidden: bool,
    /// The paragraph that this one goes on with.
    joined: Option<Box<Paragraph>>,
}

impl Paragraph {
    /// A paragraph that goes on with `before`.
    pub(super) fn joined_to(before: Self) -> Self {
        Self {
            joined: Some(Box::new(before)),
            ..Self::default()
        }
    }

    /// Puts the paragraph that this one goes on with in front. The properties are those of the last mark, as the
    /// text goes into the following paragraph (ECMA-376 part 1, 17.13.5.15), unless that one has no text.
    pub(super) fn join(mut self) -> Self {
        let Some(before) = self.joined.take() else {
            return self;
        };
        if self.inline.is_blank() && !before.inline.is_blank() {
            self.properties = before.properties;
        }
        self.inline.prepend(before.inline);
        put_in_front(before.notes, &mut self.notes);
        put_in_front(before.links, &mut self.links);
        put_in_front(before.drawings, &mut self.drawings);
        self
    }

    /// Whether deletion marks at this place mean the end of the paragraph.
    pub(super) fn is_within_mark(&self) -> bool {
        self.within == Within::Mark
    }

    /// Takes in an element outside of runs.
    pub(super) fn open(&mut self, element: &Element<'_>) {
        match (self.within, element.name) {
            (_, "r") => self.run = Some(Run::default()),
            (_, "pPr") => self.within = Within::Properties,
            (Within::Properties, "rPr") => self.within = Within::Mark,
            (Within::Properties, _) => self.read_property(element),
            (Within::Mark, "del" | "moveFrom") => self.mark_deleted = true,
            (Within::Mark, "vanish") => self.mark_hidden = element.is_on(),
            _ => {}
        }
    }

    pub(super) fn close(&mut self, name: &str) {
        match (self.within, name) {
            (_, "r") => self.run = None,
            (Within::Mark, "rPr") => self.within = Within::Properties,
            (_, "pPr") => self.within = Within::Content,
            _ => {}
        }
    }

    fn read_property(&mut self, element: &Element<'_>) {
        let properties = &mut self.properties;
        match element.name {
            "pStyle" => properties.style = element.value().unwrap_or_default(),
            "numId" => properties.num_id = element.value(),
            "ilvl" => properties.list_level = element.number(),
            "outlineLvl" => properties.outline = element.number(),
            "shd" => properties.fill = Some(Fill::of_shading(element)),
            _ => {}
        }
    }

    /// `text` with the addresses of the paragraph's links, where the text does not show them itself.
    pub(super) fn addresses(&self, text: &str) -> Option<String> {
        let mut told: Vec<String> = Vec::new();
        for link in &self.links {
            let label = clean_line(&link.text);
            let Some(address) = link_target(&link.address, &label, false) else {
                continue;
            };
            if text.contains(bare_address(&address)) {
                continue;
            }
            let entry = if label == text || label.chars().count() > MAX_LABEL_CHARS {
                address
            } else {
                format!("{label}: {address}")
            };
            if !told.contains(&entry) {
                told.push(entry);
            }
        }
        (!told.is_empty()).then(|| format!("({})", told.join("; ")))
    }
}

fn put_in_front<T>(before: Vec<T>, items: &mut Vec<T>) {
    let own = std::mem::replace(items, before);
    items.extend(own);
}

/// An address as people write it: without scheme and without the slash at the end.
fn bare_address(address: &str) -> &str {
    let bare = address.split_once("://").map_or(address, |(_, rest)| rest);
    bare.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_where_they_lead_somewhere_and_the_text_does_not_show_them() {
        let cases = [
            (
                "https://a.example/c.pdf#p2",
                "(the form: https://a.example/c.pdf#p2)",
            ),
            (
                "mailto:desk@a.example?subject=x",
                "(the form: desk@a.example)",
            ),
            ("https://shown.example/", ""),
            ("javascript:alert(1)", ""),
            ("data:text/html,hello", ""),
        ];
        for (address, want) in cases {
            let paragraph = Paragraph {
                links: vec![Link {
                    text: "the form".to_owned(),
                    address: address.to_owned(),
                }],
                ..Paragraph::default()
            };
            let told = paragraph.addresses("Take the form or see shown.example first.");
            assert_eq!(told.unwrap_or_default(), want, "{address}");
        }
    }
}
