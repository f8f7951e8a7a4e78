//! Text boxes: what is behind their text.

use super::format::{Fill, parse_color};
use super::xml::Element;

/// The shapes around the place of the walk.
#[derive(Debug)]
pub(super) struct Frames {
    /// How many paragraphs and tables are open around each open text box, and its fill.
    open: Vec<(usize, Fill)>,
    /// Fill of the shape whose text follows.
    next: Fill,
    within_properties: bool,
    /// Within the properties of the shape's outline, which has a colour too.
    within_line: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            open: Vec::new(),
            next: Fill::Unknown,
            within_properties: false,
            within_line: false,
        }
    }
}

impl Frames {
    /// Takes in an element of DrawingML's main vocabulary.
    pub(super) fn open_drawing(&mut self, element: &Element<'_>) {
        match element.name {
            "ln" => self.within_line = true,
            _ if self.within_line || !self.within_properties => {}
            "noFill" => self.next = Fill::None,
            "srgbClr" => {
                let color = element.value().and_then(|value| parse_color(&value));
                self.next = color.map_or(Fill::Unknown, Fill::Color);
            }
            "blipFill" | "gradFill" | "pattFill" | "grpFill" => self.next = Fill::Unknown,
            _ => {}
        }
    }

    pub(super) fn close_drawing(&mut self, name: &str) {
        self.within_line &= name != "ln";
    }

    /// Takes in an element of other vocabularies: a shape's properties, or a shape of VML.
    pub(super) fn open_other(&mut self, element: &Element<'_>) {
        let is_off = |name| {
            element
                .attribute(name)
                .is_some_and(|value| matches!(value.as_str(), "f" | "false" | "0"))
        };
        match element.name {
            "spPr" => {
                // Without a fill of its own the shape has that of its style.
                self.next = Fill::Unknown;
                self.within_properties = true;
            }
            "shape" | "rect" | "roundrect" | "oval" => {
                self.next = match element.attribute("fillcolor") {
                    _ if is_off("filled") => Fill::None,
                    Some(color) => vml_color(&color),
                    None => Fill::Color([255, 255, 255]),
                };
            }
            "fill" if is_off("on") => self.next = Fill::None,
            "fill"
                if element
                    .attribute("type")
                    .is_some_and(|kind| kind != "solid") =>
            {
                self.next = Fill::Unknown;
            }
            _ => {}
        }
    }

    pub(super) fn close_other(&mut self, name: &str) {
        self.within_properties &= name != "spPr";
    }

    /// A text box begins within `depth` open paragraphs and tables.
    pub(super) fn enter(&mut self, depth: usize) {
        let fill = std::mem::replace(&mut self.next, Fill::Unknown);
        self.open.push((depth, fill));
    }

    pub(super) fn leave(&mut self) {
        self.open.pop();
    }

    /// What is behind the text of the boxes at `depth`.
    pub(super) fn fill_at(&self, depth: usize) -> Fill {
        self.open
            .iter()
            .rev()
            .filter(|(at, _)| *at == depth)
            .fold(Fill::None, |above, (_, fill)| above.or(*fill))
    }
}

/// "#1F3864", "#fff", or a name; a palette index may follow in brackets.
fn vml_color(color: &str) -> Fill {
    let color = color.split_whitespace().next().unwrap_or("");
    let long = match color.strip_prefix('#') {
        Some(short) if short.len() == 3 => short.chars().flat_map(|c| [c, c]).collect(),
        _ => color.to_owned(),
    };
    match long.as_str() {
        "white" => Fill::Color([255, 255, 255]),
        "black" => Fill::Color([0, 0, 0]),
        hexadecimal => parse_color(hexadecimal).map_or(Fill::Unknown, Fill::Color),
    }
}
