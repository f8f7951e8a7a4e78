//! What lies on a page beside its content: values of form fields, comments, targets of links, attached files.
//!
//! Values and texts set on the page are read where they stand; comments follow the page. What is hidden, passwords and
//! buttons are not read. The appearance of a field is not looked at: its value says the same.

use std::collections::{HashMap, HashSet};

use pdf_oxide::PdfDocument;
use pdf_oxide::object::Object;
use pdf_oxide::optional_content::decode_pdf_text_string;

use super::geometry::Area;
use super::glyph::{Frame, Glyph, Segment};

/// Most annotations of a page, and most attached files that are named.
const MAX_ANNOTATIONS: usize = 5000;
const MAX_ATTACHMENTS: usize = 20;
/// Longest value or comment that is read, and longest link target, in chars.
const MAX_TEXT: usize = 20_000;
const MAX_TARGET: usize = 300;
/// Most nodes of a name tree and most parents of a field.
const MAX_NODES: usize = 2000;
const MAX_PARENTS: usize = 16;
/// Annotation flags: hidden, not shown on screen.
const HIDDEN: i64 = 0b10_0010;
/// Field flags.
const IS_PASSWORD: i64 = 1 << 13;
const IS_PUSH_BUTTON: i64 = 1 << 16;

type Dict = HashMap<String, Object>;

/// A text set on the page.
#[derive(Debug)]
struct Placed {
    area: Area,
    lines: Vec<String>,
    size: Option<f32>,
}

#[derive(Debug)]
struct Link {
    area: Area,
    target: String,
}

/// What the annotations of a page say.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    placed: Vec<Placed>,
    links: Vec<Link>,
    /// Boxes of struck-out text.
    strikes: Vec<Area>,
    /// Comments, each with its author in front if there is one.
    pub(super) comments: Vec<String>,
    /// Names of attached files.
    pub(super) attachments: Vec<String>,
}

impl Annotations {
    /// Reads the annotations of a page.
    pub(super) fn of(document: &PdfDocument, page: &Object) -> Self {
        let reader = Reader(document);
        let mut out = Self::default();
        let list = page.as_dict().and_then(|page| reader.value(page, "Annots"));
        let list = list.as_ref().and_then(Object::as_array);
        for annotation in list.into_iter().flatten().take(MAX_ANNOTATIONS) {
            let Ok(annotation) = document.resolve_object(annotation) else {
                continue;
            };
            if let Some(dict) = annotation.as_dict() {
                out.add(&reader, dict);
            }
        }
        // A link broken by a line's end is two annotations; its target is told after the last.
        let targets: Vec<String> = out.links.iter().map(|link| link.target.clone()).collect();
        let mut next = targets.iter().skip(1);
        out.links.retain(|link| next.next() != Some(&link.target));
        out
    }

    fn add(&mut self, reader: &Reader, dict: &Dict) {
        let flags = reader
            .value(dict, "F")
            .and_then(|flags| flags.as_integer())
            .unwrap_or(0);
        if flags & HIDDEN != 0 {
            return;
        }
        let area = reader.area(dict, "Rect");
        let text = || reader.text(dict, "Contents");
        match (dict.get("Subtype").and_then(Object::as_name), area) {
            (Some("Widget"), Some(area)) => {
                if let Some(value) = reader.field_value(dict) {
                    self.place(area, &value, reader.font_size(dict));
                }
            }
            (Some("FreeText"), Some(area)) => {
                if let Some(text) = text() {
                    self.place(area, &text, reader.font_size(dict));
                }
            }
            (Some("Link"), Some(area)) => {
                if let Some(target) = reader.link_target(dict) {
                    self.links.push(Link { area, target });
                }
            }
            (Some("FileAttachment"), _) => {
                let file = reader.value(dict, "FS");
                self.attachments
                    .extend(file.and_then(|file| reader.file_name(&file)));
                self.comments.extend(reader.comment(dict));
            }
            (Some("Popup" | "Redact" | "Link" | "Widget"), _) | (None, _) => {}
            (Some(subtype), _) => {
                if subtype == "StrikeOut" {
                    self.strikes.extend(reader.quads(dict));
                }
                self.comments.extend(reader.comment(dict));
            }
        }
    }

    fn place(&mut self, area: Area, text: &str, size: Option<f32>) {
        let lines: Vec<String> = text
            .split(['\r', '\n'])
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect();
        if !lines.is_empty() {
            self.placed.push(Placed { area, lines, size });
        }
    }

    /// Lines through struck-out text in the frame: height, left and right end.
    pub(super) fn strokes(&self, frame: Frame) -> Vec<(f32, f32, f32)> {
        let stroke = |area: &Area| {
            let area = area.placed(frame);
            // The box reaches from descenders to ascenders; its middle is that of small letters, or a little above.
            (area.y0 + 0.42 * area.height(), area.x0, area.x1)
        };
        self.strikes.iter().map(stroke).collect()
    }

    /// Adds the texts set on the page to its segments; returns how many letters they have.
    pub(super) fn place_texts(&self, segments: &mut Vec<Segment>, frame: Frame) -> usize {
        let mut added = Vec::new();
        for placed in &self.placed {
            let area = placed.area.placed(frame);
            let num_lines = placed.lines.len() as f32;
            let size = placed
                .size
                .unwrap_or_else(|| (0.7 * area.height() / num_lines).clamp(4.0, 11.0));
            let is_single = placed.lines.len() == 1 && area.height() < 3.0 * size;
            let top = area.y0 + area.height();
            for (at, line) in placed.lines.iter().enumerate() {
                let y = if is_single {
                    let middle = area.y0 + 0.5 * (area.height() - size) + 0.2 * size;
                    label_height(segments, &area, size).unwrap_or(middle)
                } else {
                    top - (1.0 + 1.2 * at as f32) * size
                };
                let x0 = area.x0 + 2.0;
                let width = 0.5 * size * line.chars().count() as f32;
                added.push(Segment {
                    x0,
                    x1: (x0 + width).min(area.x1.max(x0 + 1.0)),
                    y,
                    size,
                    bold: false,
                    text: line.clone(),
                    table: None,
                });
            }
        }
        let num_letters = added
            .iter()
            .map(|segment| segment.text.chars().count())
            .sum();
        if !added.is_empty() {
            segments.extend(added);
            segments.sort_by(|a, b| b.y.total_cmp(&a.y).then(a.x0.total_cmp(&b.x0)));
        }
        num_letters
    }

    /// Marks the last glyph of each linked text with the number of its target, from 1, and returns the targets. A
    /// target that the text itself shows, or that was told before (`told`), is not repeated.
    pub(super) fn mark_links(
        &self,
        glyphs: &mut [Glyph],
        frame: Frame,
        told: &mut HashSet<String>,
    ) -> Vec<String> {
        let mut targets: Vec<String> = Vec::new();
        for link in &self.links {
            let area = link.area.placed(frame);
            let mut shown: Vec<usize> = (0..glyphs.len())
                .filter(|&i| {
                    let glyph = &glyphs[i];
                    let middle = f32::midpoint(glyph.x0, glyph.x1);
                    !glyph.c.is_whitespace() && area.holds(middle, glyph.y + 0.3 * glyph.size)
                })
                .collect();
            shown.sort_by(|&a, &b| {
                glyphs[b]
                    .y
                    .total_cmp(&glyphs[a].y)
                    .then(glyphs[a].x0.total_cmp(&glyphs[b].x0))
            });
            let Some(&last) = shown.last() else {
                continue;
            };
            let text: String = shown.iter().map(|&i| glyphs[i].c).collect();
            if !shows_target(&text, &link.target) && told.insert(link.target.clone()) {
                targets.push(link.target.clone());
                glyphs[last].link = u16::try_from(targets.len()).unwrap_or(0);
            }
        }
        targets
    }
}

/// The height of the text to the left of a field that stands on its line.
fn label_height(segments: &[Segment], area: &Area, size: f32) -> Option<f32> {
    segments
        .iter()
        .filter(|segment| {
            segment.x0 < area.x0
                && segment.y > area.y0 - 0.3 * size
                && segment.y < area.y0 + area.height()
        })
        .max_by(|a, b| a.x1.total_cmp(&b.x1))
        .map(|segment| segment.y)
}

/// Whether the linked text names the target itself, scheme and ending left aside.
fn shows_target(text: &str, target: &str) -> bool {
    let bare = |address: &str| {
        let address = address.to_lowercase();
        let address = address
            .split_once("://")
            .map_or(address.as_str(), |(_, rest)| rest);
        let address = address
            .trim_start_matches("mailto:")
            .trim_start_matches("www.");
        address.trim_end_matches(['/', '.', ',']).to_owned()
    };
    let (text, target) = (bare(text), bare(target));
    text.contains(&target) || (text.len() > 8 && text.contains('.') && target.starts_with(&text))
}

/// Names of the files attached to the document as a whole.
pub(super) fn attached_files(document: &PdfDocument) -> Vec<String> {
    let reader = Reader(document);
    let mut names = Vec::new();
    let catalog = document.catalog().ok();
    let tree = catalog
        .as_ref()
        .and_then(Object::as_dict)
        .and_then(|catalog| reader.value(catalog, "Names"))
        .and_then(|names| reader.value(names.as_dict()?, "EmbeddedFiles"));
    let mut open: Vec<Object> = tree.into_iter().collect();
    let mut num_nodes = 0;
    while let Some(node) = open.pop() {
        num_nodes += 1;
        let Some(node) = node.as_dict().filter(|_| num_nodes < MAX_NODES) else {
            continue;
        };
        let children = |key: &str| match reader.value(node, key) {
            Some(Object::Array(children)) => children,
            _ => vec![],
        };
        let kids = children("Kids");
        open.extend(
            kids.iter()
                .take(MAX_NODES)
                .filter_map(|kid| document.resolve_object(kid).ok()),
        );
        for file in children("Names").iter().skip(1).step_by(2) {
            if names.len() < MAX_ATTACHMENTS {
                let file = document.resolve_object(file).ok();
                names.extend(file.and_then(|file| reader.file_name(&file)));
            }
        }
    }
    names
}

/// Looks up entries of dictionaries.
struct Reader<'a>(&'a PdfDocument);

impl Reader<'_> {
    fn value(&self, dict: &Dict, key: &str) -> Option<Object> {
        self.0.resolve_object(dict.get(key)?).ok()
    }

    fn text(&self, dict: &Dict, key: &str) -> Option<String> {
        text_of(&self.value(dict, key)?)
    }

    fn numbers(&self, dict: &Dict, key: &str) -> Vec<f32> {
        let list = self.value(dict, key);
        let list = list.as_ref().and_then(Object::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|number| self.0.resolve_object(number).ok())
            .filter_map(|number| match number {
                Object::Integer(value) => Some(value as f32),
                Object::Real(value) => Some(value as f32),
                _ => None,
            })
            .filter(|value| value.is_finite())
            .collect()
    }

    fn area(&self, dict: &Dict, key: &str) -> Option<Area> {
        match self.numbers(dict, key)[..] {
            [x0, y0, x1, y1] => Area::around(&[(x0, y0), (x1, y1)]),
            _ => None,
        }
    }

    fn quads(&self, dict: &Dict) -> Vec<Area> {
        self.numbers(dict, "QuadPoints")
            .chunks_exact(8)
            .filter_map(|quad| {
                let points: Vec<(f32, f32)> =
                    quad.chunks_exact(2).map(|xy| (xy[0], xy[1])).collect();
                Area::around(&points)
            })
            .collect()
    }

    /// An entry of a field, or of the group of fields it is in.
    fn inherited(&self, dict: &Dict, key: &str) -> Option<Object> {
        if let Some(value) = self.value(dict, key) {
            return Some(value);
        }
        let mut parent = self.value(dict, "Parent");
        for _ in 0..MAX_PARENTS {
            let node = parent?;
            let node = node.as_dict()?;
            if let Some(value) = self.value(node, key) {
                return Some(value);
            }
            parent = self.value(node, "Parent");
        }
        None
    }

    /// The value of a field as its reader sees it; buttons as checked or empty boxes.
    fn field_value(&self, dict: &Dict) -> Option<String> {
        let flags = self
            .inherited(dict, "Ff")
            .and_then(|flags| flags.as_integer())
            .unwrap_or(0);
        let kind = self.inherited(dict, "FT")?;
        let value = || self.inherited(dict, "V");
        match kind.as_name()? {
            "Tx" if flags & IS_PASSWORD == 0 => text_of(&value()?),
            "Ch" => {
                let options = self.inherited(dict, "Opt");
                let options = options.as_ref().and_then(Object::as_array);
                match value()? {
                    Object::Array(values) => {
                        let shown: Vec<String> = values
                            .iter()
                            .filter_map(text_of)
                            .map(|value| self.option_text(options, value))
                            .collect();
                        Some(shown.join(", "))
                    }
                    value => Some(self.option_text(options, text_of(&value)?)),
                }
            }
            "Btn" if flags & IS_PUSH_BUTTON == 0 => {
                let state = self.value(dict, "AS").or_else(value);
                let is_on = state
                    .as_ref()
                    .and_then(Object::as_name)
                    .is_some_and(|name| name != "Off");
                Some(if is_on { "☒" } else { "☐" }.to_owned())
            }
            "Sig" => self.text(value()?.as_dict()?, "Name"),
            _ => None,
        }
    }

    /// What a choice field shows for a value: options may be pairs of value and text.
    fn option_text(&self, options: Option<&Vec<Object>>, value: String) -> String {
        let shown = options.into_iter().flatten().find_map(|option| {
            let option = self.0.resolve_object(option).ok()?;
            let pair = option.as_array()?;
            (text_of(pair.first()?)? == value).then(|| text_of(pair.get(1)?))?
        });
        shown.unwrap_or(value)
    }

    /// The size in the default appearance ("/Helv 10 Tf 0 g"); 0 stands for automatic.
    fn font_size(&self, dict: &Dict) -> Option<f32> {
        let appearance = self.inherited(dict, "DA")?;
        let appearance = text_of(&appearance)?;
        let words: Vec<&str> = appearance.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "Tf")?;
        let size: f32 = words.get(at.checked_sub(1)?)?.parse().ok()?;
        (size > 2.0 && size < 100.0).then_some(size)
    }

    fn comment(&self, dict: &Dict) -> Option<String> {
        let text = self.text(dict, "Contents")?;
        Some(match self.text(dict, "T") {
            Some(author) => format!("{author}: {text}"),
            None => text,
        })
    }

    fn link_target(&self, dict: &Dict) -> Option<String> {
        let action = self.value(dict, "A")?;
        let target = self.text(action.as_dict()?, "URI")?;
        let is_shown = ["http://", "https://", "mailto:"]
            .iter()
            .any(|scheme| target.starts_with(scheme));
        (is_shown && target.chars().count() <= MAX_TARGET)
            .then(|| target.trim_start_matches("mailto:").to_owned())
    }

    fn file_name(&self, file: &Object) -> Option<String> {
        match file {
            Object::Dictionary(dict) => self.text(dict, "UF").or_else(|| self.text(dict, "F")),
            file => text_of(file),
        }
    }
}

/// A text string or a name; `None` if it is empty.
fn text_of(object: &Object) -> Option<String> {
    let text = match object {
        Object::String(bytes) => decode_pdf_text_string(bytes),
        Object::Name(name) => name.clone(),
        stream @ Object::Stream { .. } => {
            decode_pdf_text_string(&stream.decode_stream_data().ok()?)
        }
        _ => return None,
    };
    let text: String = text.chars().take(MAX_TEXT).collect();
    (!text.trim().is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_that_the_text_shows_are_not_repeated() {
        for (text, target, shown) in [
            ("https://example.com", "https://example.com/", true),
            ("www.example.com", "https://www.example.com/", true),
            ("seewww.example.com/a.", "http://example.com/a", true),
            ("it@example.com", "it@example.com", true),
            ("example.com/long", "https://example.com/longer/path", true),
            ("thevisitorportal", "https://visitors.example.com/", false),
            ("e.g.", "https://e.g.example.com/", false),
        ] {
            assert_eq!(shows_target(text, target), shown, "{text} {target}");
        }
    }
}
