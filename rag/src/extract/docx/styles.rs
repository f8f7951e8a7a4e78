//! Styles: what they say about headings, lists and how text is drawn, with the document's defaults.

use std::collections::HashMap;

use super::format::{Fill, RunProperties};
use super::xml::{self, Element, Space, Xml};
use crate::extract::ExtractError;

/// Longest chain of styles based on one another that is followed; chains in files can be cycles.
const MAX_CHAIN: usize = 20;

/// One style as the file states it, without what it inherits.
#[derive(Debug, Default)]
struct Style {
    id: String,
    name: String,
    based_on: Option<String>,
    /// Outline level from 0; 9 means body text.
    outline: Option<u8>,
    num_id: Option<String>,
    list_level: Option<u8>,
    run: RunProperties,
    /// Shading of the paragraph.
    fill: Option<Fill>,
    /// Whether anything in the style is shaded: of a table style it is not known which cells.
    is_shaded: bool,
}

/// The styles part.
#[derive(Debug, Default)]
pub(super) struct Styles {
    by_id: HashMap<String, Style>,
    default_run: RunProperties,
    /// That of text for which nothing else is stated: "en-US".
    language: String,
    /// Styles of paragraphs and of characters that name none.
    default_paragraph: String,
    default_character: String,
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

/// The list a style puts its paragraphs in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct StyleList {
    pub(super) num_id: Option<String>,
    pub(super) level: Option<u8>,
}

/// Which properties the walk is within.
#[derive(Debug, Default)]
struct Within {
    run: bool,
    paragraph: bool,
    /// Properties of one part of a table, such as its first row.
    table_part: bool,
}

impl Styles {
    pub(super) fn parse(part: &str) -> Result<Self, ExtractError> {
        let mut styles = Self::default();
        let mut open: Option<Style> = None;
        let mut within = Within::default();
        xml::walk(part, &mut |event| match event {
            Xml::Open(element) if element.space == Space::Word => match element.name {
                "style" => open = Some(styles.open_style(&element)),
                "rPr" => within.run = true,
                "pPr" => within.paragraph = true,
                "tblStylePr" => within.table_part = true,
                _ => match &mut open {
                    Some(style) => style.read(&element, &within),
                    // Outside of styles, run properties are the document's defaults.
                    None if within.run && element.name == "lang" => {
                        styles.language = element.attribute("val").unwrap_or_default();
                    }
                    None if within.run => styles.default_run.read(&element),
                    None => {}
                },
            },
            Xml::Close(Space::Word, "style") => {
                styles
                    .by_id
                    .extend(open.take().map(|style| (style.id.clone(), style)));
            }
            Xml::Close(Space::Word, "rPr") => within.run = false,
            Xml::Close(Space::Word, "pPr") => within.paragraph = false,
            Xml::Close(Space::Word, "tblStylePr") => within.table_part = false,
            _ => {}
        })?;
        Ok(styles)
    }

    /// The language of the document as its defaults state it; empty if they do not.
    pub(super) fn language(&self) -> &str {
        &self.language
    }

    fn open_style(&mut self, element: &Element<'_>) -> Style {
        let id = element.attribute("styleId").unwrap_or_default();
        let is_default = element
            .attribute("default")
            .is_some_and(|value| matches!(value.as_str(), "1" | "true" | "on"));
        match element.attribute("type").as_deref() {
            Some("paragraph") if is_default => self.default_paragraph.clone_from(&id),
            Some("character") if is_default => self.default_character.clone_from(&id),
            _ => {}
        }
        Style {
            id,
            ..Style::default()
        }
    }

    /// The style and those it is based on, nearest first; for the empty id the default one of `fallback`.
    fn chain<'a>(&'a self, id: &str, fallback: &str) -> impl Iterator<Item = &'a Style> {
        let id = if id.is_empty() { fallback } else { id };
        let first = self.by_id.get(id);
        std::iter::successors(first, |style| self.by_id.get(style.based_on.as_deref()?))
            .take(MAX_CHAIN)
    }

    fn paragraph_chain<'a>(&'a self, id: &str) -> impl Iterator<Item = &'a Style> {
        self.chain(id, &self.default_paragraph)
    }

    /// What the style makes of a paragraph.
    pub(super) fn role(&self, id: &str) -> Role {
        for style in self.paragraph_chain(id) {
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

    /// The list that the style puts its paragraphs in.
    pub(super) fn list(&self, id: &str) -> StyleList {
        StyleList {
            num_id: self
                .paragraph_chain(id)
                .find_map(|style| style.num_id.clone()),
            level: self.paragraph_chain(id).find_map(|style| style.list_level),
        }
    }

    /// Ids of the style and of those it is based on.
    pub(super) fn lineage<'a>(&'a self, id: &str) -> impl Iterator<Item = &'a str> {
        self.paragraph_chain(id).map(|style| style.id.as_str())
    }

    /// How text of a paragraph and a character style is drawn.
    pub(super) fn run(&self, paragraph: &str, character: &str) -> RunProperties {
        let stated = |properties: RunProperties, style: &Style| properties.over(style.run);
        let character = self
            .chain(character, &self.default_character)
            .fold(RunProperties::default(), stated);
        let paragraph = self
            .paragraph_chain(paragraph)
            .fold(RunProperties::default(), stated);
        RunProperties::of_styles(character, paragraph, self.default_run)
    }

    /// Shading of the style's paragraphs.
    pub(super) fn fill(&self, id: &str) -> Fill {
        self.paragraph_chain(id)
            .find_map(|style| style.fill)
            .unwrap_or(Fill::None)
    }

    /// Whether a table style shades some cells.
    pub(super) fn shades_cells(&self, id: &str) -> bool {
        self.chain(id, "").any(|style| style.is_shaded)
    }
}

impl Style {
    fn read(&mut self, element: &Element<'_>, within: &Within) {
        if element.name == "shd" {
            let fill = Fill::of_shading(element);
            self.is_shaded |= fill != Fill::None;
            if within.paragraph && !within.run && !within.table_part {
                self.fill = Some(fill);
            }
        }
        if within.table_part {
            return;
        }
        if within.run {
            return self.run.read(element);
        }
        match element.name {
            "name" => self.name = element.value().unwrap_or_default().to_lowercase(),
            "basedOn" => self.based_on = element.value(),
            "outlineLvl" => self.outline = element.number(),
            "numId" => self.num_id = element.value(),
            "ilvl" => self.list_level = element.number(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: &str = r#"<w:styles xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">
        <w:docDefaults><w:rPrDefault><w:rPr><w:color w:val="000000"/></w:rPr></w:rPrDefault></w:docDefaults>
        <w:style w:type="paragraph" w:default="1" w:styleId="N"><w:name w:val="Normal"/></w:style>
        <w:style w:type="paragraph" w:styleId="Internal"><w:name w:val="Internal"/><w:basedOn w:val="N"/><w:rPr><w:vanish/></w:rPr></w:style>
        <w:style w:type="paragraph" w:styleId="Child"><w:basedOn w:val="Internal"/></w:style>
        <w:style w:type="paragraph" w:styleId="Shown"><w:basedOn w:val="Child"/><w:rPr><w:vanish w:val="0"/></w:rPr></w:style>
        <w:style w:type="character" w:styleId="Hide"><w:rPr><w:vanish/></w:rPr></w:style>
        <w:style w:type="character" w:styleId="HideToo"><w:basedOn w:val="Hide"/></w:style>
        <w:style w:type="character" w:styleId="Pale"><w:rPr><w:color w:val="FEFEFE"/></w:rPr></w:style>
        <w:style w:type="paragraph" w:styleId="Dark"><w:pPr><w:shd w:val="clear" w:fill="202020"/></w:pPr></w:style>
        <w:style w:type="table" w:styleId="Grid"><w:tblStylePr w:type="firstRow"><w:rPr><w:vanish/></w:rPr><w:tcPr><w:shd w:val="clear" w:fill="004080"/></w:tcPr></w:tblStylePr></w:style>
        </w:styles>"#;

    #[test]
    fn what_hides_text_is_inherited() {
        let styles = Styles::parse(PART).unwrap();
        let cases = [
            ("", "", false),
            ("Internal", "", true),
            ("Child", "", true),
            ("Shown", "", false),
            ("N", "HideToo", true),
            ("Internal", "Hide", false),
            ("N", "Pale", true),
            ("Dark", "Pale", false),
        ];
        for (paragraph, character, want) in cases {
            let run = styles.run(paragraph, character);
            let is_hidden = run.is_invisible(styles.fill(paragraph));
            assert_eq!(is_hidden, want, "{paragraph} {character}");
        }
        assert!(styles.shades_cells("Grid") && !styles.shades_cells("N"));
    }
}
