//! DOCX to blocks: a ZIP archive of XML parts, read as Word would show the text: tracked deletions, field
//! codes, comments, prompts and hidden text are left out; headings come from styles, numbers from the numbering
//! part. Struck-out text is marked `~~like this~~`, a picture is what its description says, a link is followed by
//! its address. Texts of headers and footers come once each, after the text.
//!
//! What is read and how far is bounded in [`package`]; XML with a document type declaration is refused, which ends
//! entity bombs and external entities before they start.

mod body;
mod controls;
mod embedded;
mod fields;
mod format;
mod frames;
mod inline;
mod math;
mod mhtml;
mod number_format;
mod numbering;
mod package;
mod paragraph;
mod sections;
mod spellout;
mod styles;
mod table;
mod xml;

use std::collections::{HashMap, HashSet};

use self::body::{Body, Surroundings};
use self::embedded::Embedded;
use self::numbering::Numbering;
use self::package::{Budget, Package, Relationships, first_of};
use self::sections::Sections;
use self::styles::Styles;
use self::xml::{Space, Xml};
use super::ExtractError;
use super::outline::BlockWriter;
use crate::document::{Block, BlockKind, Extracted};

/// Extracts a DOCX document.
pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, ExtractError> {
    extract_nested(bytes, &mut Budget::new(), 0)
}

/// Extracts a document within `nesting` others.
fn extract_nested(
    bytes: &[u8],
    budget: &mut Budget,
    nesting: usize,
) -> Result<Extracted, ExtractError> {
    let mut package = Package::open(bytes, budget)?;
    let main = package.main_part()?;
    let document = package
        .text(&main)?
        .ok_or_else(|| ExtractError::corrupt(format!("{main} is missing")))?;
    let mut reader = Reader::open(package, &main, nesting)?;
    let mut writer = reader.main(&document)?;
    reader.add_furniture(&mut writer);
    if let Some(core) = reader.package.text("docProps/core.xml")? {
        writer.suggest_title(&core_title(&core)?);
    }
    Ok(writer.finish(None))
}

/// A document's parts but for its text.
struct Reader<'a> {
    package: Package<'a>,
    relationships: Relationships,
    styles: Styles,
    numbering: Numbering,
    notes: HashMap<String, String>,
    nesting: usize,
    even_and_odd: bool,
    /// Relationship ids of the headers and footers that are shown.
    shown: Vec<String>,
}

impl<'a> Reader<'a> {
    fn open(mut package: Package<'a>, main: &str, nesting: usize) -> Result<Self, ExtractError> {
        let relationships = package.relationships(main)?;
        let mut part_of =
            |kind: &str, file: &str| package.text(&part_path(&relationships, main, kind, file));
        let styles = match part_of("styles", "styles.xml")? {
            Some(part) => Styles::parse(&part)?,
            None => Styles::default(),
        };
        let numbering = match part_of("numbering", "numbering.xml")? {
            Some(part) => Numbering::parse(&part, &styles)?,
            None => Numbering::default(),
        };
        let settings = part_of("settings", "settings.xml")?;
        let even_and_odd = settings.is_some_and(|part| has_even_and_odd(&part));
        let mut reader = Self {
            package,
            relationships,
            styles,
            numbering,
            notes: HashMap::new(),
            nesting,
            even_and_odd,
            shown: Vec::new(),
        };
        for kind in ["footnotes", "endnotes"] {
            let path = part_path(&reader.relationships, main, kind, &format!("{kind}.xml"));
            let notes = reader.read_notes(&path, kind)?;
            reader.notes.extend(notes);
        }
        Ok(reader)
    }

    /// The text of the main part.
    fn main(&mut self, document: &str) -> Result<BlockWriter, ExtractError> {
        let mut sections = Sections::new(self.even_and_odd);
        let embedded = Embedded::read(&mut self.package, &self.relationships, self.nesting);
        let around = Surroundings {
            styles: &self.styles,
            relationships: &self.relationships,
            notes: &self.notes,
            embedded: &embedded.blocks,
            is_furniture: false,
        };
        let mut body = Body::new(document, around, self.numbering.clone());
        xml::walk(document, &mut |event| {
            sections.event(&event);
            body.event(&event);
        })?;
        let (mut writer, _) = body.finish();
        embedded
            .warnings
            .into_iter()
            .for_each(|warning| writer.warn(warning));
        self.shown = sections.into_shown();
        Ok(writer)
    }

    /// Adds the texts of headers and footers, each once, without those that the text has too.
    fn add_furniture(&mut self, writer: &mut BlockWriter) {
        let mut told: HashSet<String> = writer
            .blocks()
            .iter()
            .map(|block| block.text.clone())
            .collect();
        writer.end_sections();
        for id in std::mem::take(&mut self.shown) {
            let Some(relationship) = self.relationships.get(&id) else {
                continue;
            };
            let path = relationship.target.clone();
            let blocks = match self.furniture(&path) {
                Ok(blocks) => blocks,
                Err(error) => {
                    writer.warn(format!("{path} was left out: {error}"));
                    continue;
                }
            };
            for block in blocks {
                if !told.insert(block.text.clone()) {
                    continue;
                }
                match block.kind {
                    BlockKind::Table => writer.lines(BlockKind::Table, &block.text),
                    _ => writer.paragraph(&block.text),
                }
            }
        }
    }

    /// The blocks of one header or footer.
    fn furniture(&mut self, path: &str) -> Result<Vec<Block>, ExtractError> {
        let Some(part) = self.package.text(path)? else {
            return Ok(Vec::new());
        };
        let relationships = self.package.relationships(path)?;
        let embedded = Embedded::read(&mut self.package, &relationships, self.nesting);
        let around = Surroundings {
            styles: &self.styles,
            relationships: &relationships,
            notes: &self.notes,
            embedded: &embedded.blocks,
            is_furniture: true,
        };
        let mut body = Body::new(&part, around, self.numbering.clone());
        xml::walk(&part, &mut |event| body.event(&event))?;
        let (writer, _) = body.finish();
        Ok(writer.finish(None).blocks)
    }

    /// Texts of the footnotes or endnotes by `kind/id`; separators have none.
    fn read_notes(
        &mut self,
        path: &str,
        kind: &str,
    ) -> Result<HashMap<String, String>, ExtractError> {
        let mut notes = HashMap::new();
        let Some(part) = self.package.text(path)? else {
            return Ok(notes);
        };
        let relationships = self.package.relationships(path)?;
        let (no_notes, no_parts) = (HashMap::new(), HashMap::new());
        let around = Surroundings {
            styles: &self.styles,
            relationships: &relationships,
            notes: &no_notes,
            embedded: &no_parts,
            is_furniture: false,
        };
        let mut numbering = self.numbering.clone();
        let mut open: Option<(String, Body<'_>)> = None;
        xml::walk(&part, &mut |event| match &event {
            Xml::Open(element)
                if element.is(Space::Word, "footnote") || element.is(Space::Word, "endnote") =>
            {
                let id = element.attribute("id").unwrap_or_default();
                let body = Body::new("", around, std::mem::take(&mut numbering));
                open = Some((format!("{kind}/{id}"), body));
            }
            Xml::Close(Space::Word, "footnote" | "endnote") => {
                if let Some((id, body)) = open.take() {
                    let (writer, counted) = body.finish();
                    numbering = counted;
                    let blocks = writer.finish(None).blocks;
                    let texts: Vec<String> = blocks.into_iter().map(|block| block.text).collect();
                    notes.insert(id, texts.join(" "));
                }
            }
            event => {
                if let Some((_, body)) = &mut open {
                    body.event(event);
                }
            }
        })?;
        Ok(notes)
    }
}

/// Path of the part with that kind of relationship; files without relationships have it beside the main part.
fn part_path(relationships: &Relationships, main: &str, kind: &str, file: &str) -> String {
    first_of(relationships, kind).unwrap_or_else(|| match main.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{file}"),
        None => file.to_owned(),
    })
}

/// Whether the settings give left pages headers of their own; damaged settings say nothing about the text.
fn has_even_and_odd(settings: &str) -> bool {
    let mut found = false;
    let walked = xml::walk(settings, &mut |event| {
        if let Xml::Open(element) = event
            && element.is(Space::Word, "evenAndOddHeaders")
        {
            found = element.is_on();
        }
    });
    walked.is_ok() && found
}

fn core_title(core: &str) -> Result<String, ExtractError> {
    let mut title = String::new();
    let mut inside = false;
    xml::walk(core, &mut |event| match event {
        Xml::Open(element) => inside = element.name == "title",
        Xml::Close(..) => inside = false,
        Xml::Text(text) if inside => title.push_str(text),
        Xml::Text(_) => {}
    })?;
    let is_template = ["document", "word document", "untitled", "title"]
        .contains(&title.trim().to_lowercase().as_str());
    Ok(if is_template { String::new() } else { title })
}
