//! Paragraph and character styles: what they say about headings, lists and hidden text.

use std::collections::HashMap;

use super::xml::{self, Space, Xml};
use crate::extract::ExtractError;

/// Longest chain of styles based on one another that is followed; chains in files can be cycles.
const MAX_CHAIN: usize = 20;

/// One style as the file states it, without what it inherits.
#[derive(Debug, Default)]
struct Style {
    name: String,
    based_on: Option<String>,
    /// Outline level from 0; 9 means body text.
    outline: Option<u8>,
    num_id: Option<String>,
    list_level: Option<u8>,
    hidden: Option<bool>,
}

/// The styles part.
#[derive(Debug, Default)]
pub(super) struct Styles {
    by_id: HashMap<String, Style>,
}

/// What a paragraph style makes of its paragraphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Title,
    /// Level from 1.
    Heading(u8),
    /// A line of a table of contents.
    Contents,
    /// A bulleted style, with or without a numbering definition.
    Bullet,
    Body,
}

impl Styles {
    pub(super) fn parse(part: &str) -> Result<Self, ExtractError> {
        let mut styles = Self::default();
        let mut open: Option<(String, Style)> = None;
        xml::walk(part, &mut |event| match event {
            Xml::Open(element) if element.is(Space::Word, "style") => {
                open = Some((
                    element.attribute("styleId").unwrap_or_default(),
                    Style::default(),
                ));
            }
            Xml::Close(Space::Word, "style") => styles.by_id.extend(open.take()),
            Xml::Open(element) if element.space == Space::Word => {
                let Some((_, style)) = &mut open else { return };
                match element.name {
                    "name" => style.name = element.value().unwrap_or_default().to_lowercase(),
                    "basedOn" => style.based_on = element.value(),
                    "outlineLvl" => {
                        style.outline = element.value().and_then(|level| level.parse().ok())
                    }
                    "numId" => style.num_id = element.value(),
                    "ilvl" => {
                        style.list_level = element.value().and_then(|level| level.parse().ok())
                    }
                    "vanish" => style.hidden = Some(element.is_on()),
                    _ => {}
                }
            }
            _ => {}
        })?;
        Ok(styles)
    }

    /// The style and those it is based on, nearest first.
    fn chain<'a>(&'a self, id: &str) -> impl Iterator<Item = &'a Style> {
        let first = self.by_id.get(id);
        std::iter::successors(first, |style| self.by_id.get(style.based_on.as_deref()?))
            .take(MAX_CHAIN)
    }

    /// What the style makes of a paragraph.
    pub(super) fn role(&self, id: &str) -> Role {
        for style in self.chain(id) {
            let name = style.name.as_str();
            if name == "title" {
                return Role::Title;
            }
            if name.starts_with("toc ") || name == "table of figures" {
                return Role::Contents;
            }
            if name.starts_with("list bullet") {
                return Role::Bullet;
            }
            if let Some(level) = name
                .strip_prefix("heading ")
                .and_then(|level| level.trim().parse::<u8>().ok())
            {
                return Role::Heading(level.clamp(1, 9));
            }
            if let Some(level) = style.outline {
                return if level < 9 {
                    Role::Heading(level + 1)
                } else {
                    Role::Body
                };
            }
        }
        Role::Body
    }

    /// The list (`numId`, level) that the style puts its paragraphs in.
    pub(super) fn list(&self, id: &str) -> (Option<String>, Option<u8>) {
        let num_id = self.chain(id).find_map(|style| style.num_id.clone());
        (num_id, self.chain(id).find_map(|style| style.list_level))
    }

    /// Whether the (character or paragraph) style hides its text.
    pub(super) fn hides(&self, id: &str) -> bool {
        self.chain(id)
            .find_map(|style| style.hidden)
            .unwrap_or(false)
    }
}
