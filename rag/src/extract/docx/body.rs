//! The walk over a part with text: paragraphs, lists and tables as Word shows them.

mod text;
mod write;

use std::collections::{BTreeSet, HashMap};

use super::controls::Controls;
use super::fields::{self, Fields, Outcome};
use super::format::{Fill, parse_color};
use super::frames::Frames;
use super::math::Formula;
use super::numbering::Numbering;
use super::package::Relationships;
use super::paragraph::{Link, Paragraph};
use super::styles::Styles;
use super::table::Table;
use super::xml::{Element, Space, Xml};
use crate::document::Block;
use crate::extract::outline::BlockWriter;

/// A picture behind the text that is wider may be what white text stands on: a third of a page, in EMU (914,400 an
/// inch).
const BACKGROUND_EMU: u64 = 2_500_000;

/// Most fonts that a warning names.
const MAX_TOLD: usize = 10;

/// What the text of a part refers to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) styles: &'a Styles,
    pub(super) relationships: &'a Relationships,
    /// Texts of notes by `footnotes/3`.
    pub(super) notes: &'a HashMap<String, String>,
    /// Blocks of charts, diagrams and embedded documents by relationship id.
    pub(super) embedded: &'a HashMap<String, Vec<Block>>,
    /// Whether the part is a header or footer.
    pub(super) is_furniture: bool,
}

/// What is open around the place of the walk.
#[derive(Debug)]
enum Open {
    Paragraph(Box<Paragraph>),
    Table(Box<Table>),
}

/// State of the walk.
#[derive(Debug)]
pub(super) struct Body<'a> {
    around: Surroundings<'a>,
    numbering: Numbering,
    writer: BlockWriter,
    open: Vec<Open>,
    /// A paragraph whose end was deleted, and how many were open around it.
    unended: Option<(usize, Paragraph)>,
    formula: Formula,
    math_depth: usize,
    /// How many elements are open below and including one that is not read.
    skipped: usize,
    in_text: bool,
    in_instruction: bool,
    fields: Fields,
    links: Vec<Link>,
    controls: Controls,
    frames: Frames,
    /// What is behind the whole page.
    page_fill: Fill,
    anchored_behind: bool,
    /// Whether a picture lies behind the text of this page.
    picture_behind: bool,
    /// Fonts of symbols that were left out because nothing says what they look like.
    unknown_fonts: BTreeSet<String>,
}

impl<'a> Body<'a> {
    /// The walk over `part`, all of it or some element within.
    pub(super) fn new(part: &str, around: Surroundings<'a>, numbering: Numbering) -> Self {
        Self {
            around,
            numbering,
            writer: BlockWriter::new(),
            open: Vec::new(),
            unended: None,
            formula: Formula::default(),
            math_depth: 0,
            skipped: 0,
            in_text: false,
            in_instruction: false,
            fields: Fields::new(part, around.is_furniture),
            links: Vec::new(),
            controls: Controls::default(),
            frames: Frames::default(),
            page_fill: Fill::None,
            anchored_behind: false,
            picture_behind: false,
            unknown_fonts: BTreeSet::new(),
        }
    }

    /// The blocks, and the numbering as it was counted.
    pub(super) fn finish(mut self) -> (BlockWriter, Numbering) {
        self.write_unended();
        if !self.unknown_fonts.is_empty() {
            let fonts: Vec<String> = self.unknown_fonts.into_iter().take(MAX_TOLD).collect();
            let fonts = fonts.join(", ");
            self.writer.warn(format!(
                "symbols of these fonts were left out, as it is not known what they look like: {fonts}"
            ));
        }
        (self.writer, self.numbering)
    }

    pub(super) fn event(&mut self, event: &Xml<'_>) {
        match event {
            Xml::Open(element) if self.skipped > 0 => {
                self.skipped += 1;
                // Fields may begin in deleted text and end behind it.
                let outcome = self.field_character(element);
                self.fields.within_form = false;
                if !matches!(outcome, Outcome::Show(_)) {
                    self.act(outcome);
                }
            }
            Xml::Close(..) if self.skipped > 0 => self.skipped -= 1,
            Xml::Open(element) if self.is_property_of_row_or_mark(element) => {
                self.open_in_innermost(element);
            }
            Xml::Open(element) if is_unread(element) => self.skipped = 1,
            Xml::Open(element) => match element.space {
                Space::Word => self.open(element),
                Space::Math => self.open_math(element),
                Space::Drawing => {
                    self.in_text = element.name == "t";
                    self.frames.open_drawing(element);
                }
                Space::Other => self.open_other(element),
            },
            Xml::Close(Space::Word, name) => self.close(name),
            Xml::Close(Space::Math, name) => self.close_math(name),
            Xml::Close(Space::Drawing, name) => {
                self.in_text = false;
                self.frames.close_drawing(name);
                if *name == "p" {
                    self.push(" ");
                }
            }
            Xml::Close(Space::Other, name) => self.frames.close_other(name),
            Xml::Text(_) if self.skipped > 0 => {}
            Xml::Text(text) if self.in_instruction => self.fields.instruct(text),
            Xml::Text(text) if self.in_text && self.math_depth > 0 => self.formula.push_text(text),
            Xml::Text(text) if self.in_text => self.push(text),
            Xml::Text(_) => {}
        }
    }

    /// Whether a deletion mark is a property, of a table row or of a paragraph's end, and holds no deleted text.
    fn is_property_of_row_or_mark(&self, element: &Element<'_>) -> bool {
        element.space == Space::Word
            && matches!(element.name, "del" | "moveFrom")
            && match self.open.last() {
                Some(Open::Paragraph(paragraph)) => paragraph.is_within_mark(),
                Some(Open::Table(table)) => table.is_within_row_properties(),
                None => false,
            }
    }

    fn paragraph(&mut self) -> Option<&mut Paragraph> {
        match self.open.last_mut() {
            Some(Open::Paragraph(paragraph)) => Some(paragraph),
            _ => None,
        }
    }

    /// The table whose cell the walk is in, perhaps in a text box there.
    fn table(&mut self) -> Option<&mut Table> {
        self.open.iter_mut().rev().find_map(|open| match open {
            Open::Table(table) => Some(&mut **table),
            Open::Paragraph(_) => None,
        })
    }

    fn open(&mut self, element: &Element<'_>) {
        let outcome = self.field_character(element);
        self.act(outcome);
        match element.name {
            "p" => {
                let depth = self.open.len();
                let before = self.unended.take_if(|(at, _)| *at == depth);
                let paragraph =
                    before.map_or_else(Paragraph::default, |(_, p)| Paragraph::joined_to(p));
                return self.open.push(Open::Paragraph(Box::new(paragraph)));
            }
            "tbl" => {
                self.write_unended();
                return self.open.push(Open::Table(Box::default()));
            }
            "t" => return self.in_text = true,
            "instrText" => return self.in_instruction = true,
            "txbxContent" => self.frames.enter(self.open.len()),
            "background" => {
                let color = element.attribute("color").unwrap_or_default();
                self.page_fill = parse_color(&color).map_or(Fill::None, Fill::Color);
            }
            "hyperlink" => {
                let address = self.address(element).unwrap_or_default();
                return self.links.push(Link {
                    address,
                    ..Link::default()
                });
            }
            "altChunk" => {
                let chunk = element.attribute("id").unwrap_or_default();
                return self.insert(&chunk);
            }
            _ if self.controls.open(element) => return,
            _ => {}
        }
        if self.fields.within_form {
            return self.fields.read_form(element);
        }
        self.open_in_innermost(element);
    }

    fn open_in_innermost(&mut self, element: &Element<'_>) {
        match self.open.last_mut() {
            Some(Open::Paragraph(paragraph)) if paragraph.run.is_some() => {
                self.open_in_run(element);
            }
            Some(Open::Paragraph(paragraph)) => paragraph.open(element),
            Some(Open::Table(table)) => {
                table.open(element, |id| self.around.styles.shades_cells(id));
            }
            None => {}
        }
    }

    fn open_in_run(&mut self, element: &Element<'_>) {
        match element.name {
            "tab" | "ptab" => self.push(" "),
            "br" | "cr" => {
                if element.attribute("type").as_deref() == Some("page") {
                    self.picture_behind = false;
                }
                self.push("\n");
            }
            "lastRenderedPageBreak" => self.picture_behind = false,
            "noBreakHyphen" => self.push("-"),
            "sym" => self.push_symbol(element),
            "footnoteReference" => self.push_note("footnotes", element),
            "endnoteReference" => self.push_note("endnotes", element),
            _ => {
                let Some(run) = self.paragraph().and_then(|p| p.run.as_mut()) else {
                    return;
                };
                if element.name == "rStyle" {
                    run.style = element.value().unwrap_or_default();
                } else {
                    run.stated.read(element);
                }
            }
        }
    }

    /// Begin, separator and end of a field.
    fn field_character(&mut self, element: &Element<'_>) -> Outcome {
        match (element.space, element.name) {
            (Space::Word, "fldSimple") => {
                self.fields.begin();
                self.fields
                    .instruct(&element.attribute("instr").unwrap_or_default());
                self.fields.separate()
            }
            (Space::Word, "fldChar") => match element.attribute("fldCharType").as_deref() {
                Some("begin") => {
                    self.fields.begin();
                    self.fields.within_form = true;
                    Outcome::Nothing
                }
                Some("separate") => self.fields.separate(),
                Some("end") => self.fields.end(),
                _ => Outcome::Nothing,
            },
            _ => Outcome::Nothing,
        }
    }

    fn act(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Nothing => {}
            Outcome::Show(text) => self.push(&text),
            Outcome::OpenLink(address) => self.links.push(Link {
                address,
                ..Link::default()
            }),
            Outcome::CloseLink => self.close_link(),
        }
    }

    fn close_link(&mut self) {
        if let Some(link) = self.links.pop().filter(|link| !link.address.is_empty())
            && let Some(paragraph) = self.paragraph()
        {
            paragraph.links.push(link);
        }
    }

    /// Where a `w:hyperlink` leads, if out of the document.
    fn address(&self, element: &Element<'_>) -> Option<String> {
        let relationship = self
            .around
            .relationships
            .get(&element.attribute("id")?)
            .filter(|relationship| relationship.is_external)?;
        fields::with_anchor(relationship.target.clone(), element.attribute("anchor"))
    }

    /// Elements of pictures, shapes and newer vocabularies.
    fn open_other(&mut self, element: &Element<'_>) {
        self.frames.open_other(element);
        match element.name {
            "docPr" => {
                let told = |name| {
                    let text = element.attribute(name)?;
                    Some(text).filter(|text| !text.trim().is_empty())
                };
                if let Some(text) = told("descr").or_else(|| told("title")) {
                    self.push_picture(&text);
                }
            }
            "shape" | "rect" | "roundrect" | "oval" | "line" | "group" | "image" => {
                if let Some(text) = element.attribute("alt") {
                    self.push_picture(&text);
                }
            }
            "textpath" => {
                if let Some(text) = element.attribute("string") {
                    self.push(&format!(" {text} "));
                }
            }
            "chart" => self.push_drawing(element.attribute("id")),
            "relIds" => self.push_drawing(element.attribute("dm")),
            "anchor" => {
                self.anchored_behind = element
                    .attribute("behindDoc")
                    .is_some_and(|value| matches!(value.as_str(), "1" | "true"));
            }
            "extent" if self.anchored_behind => {
                let width = element
                    .attribute("cx")
                    .and_then(|cx| cx.parse::<u64>().ok());
                self.picture_behind |= width.is_some_and(|cx| cx >= BACKGROUND_EMU);
                self.anchored_behind = false;
            }
            _ => self.controls.open_other(element),
        }
    }

    fn close(&mut self, name: &str) {
        match name {
            "t" => self.in_text = false,
            "instrText" => self.in_instruction = false,
            "p" => return self.close_paragraph(),
            "fldChar" => self.fields.within_form = false,
            "fldSimple" => {
                let outcome = self.fields.end();
                self.act(outcome);
            }
            "hyperlink" => self.close_link(),
            "txbxContent" => {
                self.write_unended();
                self.frames.leave();
            }
            "tc" => self.write_unended(),
            "sdtContent" => {
                // A check box whose content shows nothing.
                if let Some(state) = self.controls.take_unshown_state() {
                    self.push(state);
                }
                self.controls.close_content();
            }
            "sdt" => self.controls.close(),
            _ => {}
        }
        match self.open.last_mut() {
            Some(Open::Paragraph(paragraph)) => paragraph.close(name),
            Some(Open::Table(_)) if name == "tbl" => self.close_table(),
            Some(Open::Table(table)) => table.close(name),
            None => {}
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
                if self.math_depth == 0 {
                    let formula = self.formula.take();
                    let is_hidden = self.fields.hide_text() || self.controls.is_prompt();
                    if let Some(paragraph) = self.paragraph().filter(|_| !is_hidden) {
                        paragraph.inline.push_formula(&formula);
                    }
                }
            }
            name => self.formula.close(name),
        }
    }
}

/// Deleted or replaced text, old properties, and the copy of newer content for older programs.
fn is_unread(element: &Element<'_>) -> bool {
    match element.space {
        Space::Word => matches!(
            element.name,
            "del"
                | "moveFrom"
                | "rt"
                | "delText"
                | "delInstrText"
                | "pPrChange"
                | "rPrChange"
                | "tblPrChange"
                | "trPrChange"
                | "tcPrChange"
                | "numberingChange"
                | "sectPr"
        ),
        Space::Other => element.name == "Fallback",
        Space::Math | Space::Drawing => false,
    }
}
