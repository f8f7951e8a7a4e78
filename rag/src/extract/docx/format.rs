//! How text is drawn, as far as it changes what a reader reads: hidden, struck out, raised, in which symbol font.

use super::xml::Element;
use crate::extract::symbols::{self, SymbolFont};

/// Text of at most this many half points cannot be seen.
const INVISIBLE_HALF_POINTS: u32 = 2;
/// Text moved up or down by more half points than this is a superscript or subscript set by hand.
const BASELINE_HALF_POINTS: i32 = 2;
/// Text is as good as invisible if no channel differs more than this from what is behind it.
const INVISIBLE_DIFFERENCE: u8 = 7;

/// Where text stands relative to its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Script {
    #[default]
    Line,
    Super,
    Sub,
}

/// What of the drawing is written into the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Look {
    pub(super) struck: bool,
    pub(super) script: Script,
}

type Rgb = [u8; 3];

const WHITE: Rgb = [255, 255, 255];

/// What is behind text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// Nothing of its own: what is below shows.
    None,
    Color(Rgb),
    /// Something whose colour is not known, such as a picture.
    Unknown,
}

impl Fill {
    /// This fill, or the one below if this is none.
    pub(super) fn or(self, below: Self) -> Self {
        if self == Self::None { below } else { self }
    }

    /// The fill of a `w:shd`.
    pub(super) fn of_shading(element: &Element<'_>) -> Self {
        let color = |name| {
            element
                .attribute(name)
                .and_then(|value| parse_color(&value))
        };
        match element.value().as_deref() {
            Some("nil") => Self::None,
            Some("solid") => color("color").map_or(Self::Unknown, Self::Color),
            Some("clear") | None => match color("fill") {
                Some(fill) => Self::Color(fill),
                None if element.attribute("themeFill").is_some() => Self::Unknown,
                None => Self::None,
            },
            Some(_) => Self::Unknown,
        }
    }
}

/// Run properties as one element or style states them; what is not stated is inherited.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RunProperties {
    hidden: Option<bool>,
    struck: Option<bool>,
    doubly_struck: Option<bool>,
    script: Option<Script>,
    raised_half_points: Option<i32>,
    size_half_points: Option<u32>,
    /// `Some(None)` is the automatic colour, which can always be read.
    color: Option<Option<Rgb>>,
    highlight: Option<Fill>,
    shading: Option<Fill>,
    /// Fonts of ASCII and of all other characters; `Some(None)` is a font of letters.
    ascii_font: Option<Option<&'static SymbolFont>>,
    other_font: Option<Option<&'static SymbolFont>>,
}

impl RunProperties {
    /// Takes in one child of `w:rPr`.
    pub(super) fn read(&mut self, element: &Element<'_>) {
        match element.name {
            // Not `webHidden`, which is printed.
            "vanish" | "specVanish" => {
                self.hidden = Some(element.is_on() || self.hidden == Some(true));
            }
            "strike" => self.struck = Some(element.is_on()),
            "dstrike" => self.doubly_struck = Some(element.is_on()),
            "vertAlign" => {
                self.script = Some(match element.value().as_deref() {
                    Some("superscript") => Script::Super,
                    Some("subscript") => Script::Sub,
                    _ => Script::Line,
                });
            }
            "position" => self.raised_half_points = element.number(),
            "sz" => self.size_half_points = element.number(),
            "color" => self.color = Some(text_color(element)),
            "highlight" => self.highlight = Some(highlight(element.value().as_deref())),
            "shd" => self.shading = Some(Fill::of_shading(element)),
            "rFonts" => {
                let font = |theme, names: [&str; 2]| {
                    // A font of the theme is one of letters and goes before the name beside it.
                    if element.attribute(theme).is_some() {
                        return Some(None);
                    }
                    let name = names.iter().find_map(|name| element.attribute(name))?;
                    Some(symbols::font(&name))
                };
                self.ascii_font = font("asciiTheme", ["ascii", "hAnsi"]).or(self.ascii_font);
                self.other_font = font("hAnsiTheme", ["hAnsi", "ascii"]).or(self.other_font);
            }
            _ => {}
        }
    }

    /// These properties where they state something, otherwise those of `base`.
    pub(super) fn over(self, base: Self) -> Self {
        Self {
            hidden: self.hidden.or(base.hidden),
            struck: self.struck.or(base.struck),
            doubly_struck: self.doubly_struck.or(base.doubly_struck),
            script: self.script.or(base.script),
            raised_half_points: self.raised_half_points.or(base.raised_half_points),
            size_half_points: self.size_half_points.or(base.size_half_points),
            color: self.color.or(base.color),
            highlight: self.highlight.or(base.highlight),
            shading: self.shading.or(base.shading),
            ascii_font: self.ascii_font.or(base.ascii_font),
            other_font: self.other_font.or(base.other_font),
        }
    }

    /// Character style over paragraph style over document defaults: where both styles switch hiding or striking
    /// on, they cancel each other (ECMA-376 part 1, 17.7.3).
    pub(super) fn of_styles(character: Self, paragraph: Self, defaults: Self) -> Self {
        let toggled = |of: fn(&Self) -> Option<bool>| {
            let on = |properties: &Self| of(properties) == Some(true);
            Some(on(&defaults) || (on(&character) != on(&paragraph)))
        };
        Self {
            hidden: toggled(|properties| properties.hidden),
            struck: toggled(|properties| properties.struck),
            ..character.over(paragraph.over(defaults))
        }
    }

    pub(super) fn look(&self) -> Look {
        let raised = self.raised_half_points.unwrap_or(0);
        let script = match self.script {
            Some(script @ (Script::Super | Script::Sub)) => script,
            _ if raised > BASELINE_HALF_POINTS => Script::Super,
            _ if raised < -BASELINE_HALF_POINTS => Script::Sub,
            _ => Script::Line,
        };
        Look {
            struck: self.struck == Some(true) || self.doubly_struck == Some(true),
            script,
        }
    }

    /// Whether the text is hidden by itself, whatever its colour.
    pub(super) fn is_switched_off(&self) -> bool {
        self.hidden == Some(true)
            || self
                .size_half_points
                .is_some_and(|size| size <= INVISIBLE_HALF_POINTS)
    }

    /// Whether a reader cannot see the text in front of `behind`, the fill below what the run has of its own.
    pub(super) fn is_invisible(&self, behind: Fill) -> bool {
        let own = self.highlight.unwrap_or(Fill::None);
        let behind = own.or(self.shading.unwrap_or(Fill::None)).or(behind);
        let behind = match behind {
            Fill::None => WHITE,
            Fill::Color(color) => color,
            Fill::Unknown => return self.is_switched_off(),
        };
        let is_drowned = self.color.flatten().is_some_and(|color| {
            color
                .iter()
                .zip(behind)
                .all(|(a, b)| a.abs_diff(b) <= INVISIBLE_DIFFERENCE)
        });
        self.is_switched_off() || is_drowned
    }

    /// The text as the run's fonts show it.
    pub(super) fn in_unicode(&self, text: &str) -> String {
        let font = |c: char| {
            let (first, second) = if c.is_ascii() {
                (self.ascii_font, None)
            } else {
                (self.other_font, self.ascii_font)
            };
            first.flatten().or(second.flatten())
        };
        text.chars()
            .filter_map(|c| match font(c) {
                Some(font) if !c.is_whitespace() => {
                    font.read(u32::from(c)).or_else(|| symbols::read_private(c))
                }
                _ => symbols::read_private(c),
            })
            .collect()
    }
}

fn text_color(element: &Element<'_>) -> Option<Rgb> {
    let value = element.value().unwrap_or_default();
    let theme = element.attribute("themeColor").unwrap_or_default();
    parse_color(&value).or_else(|| {
        // The page's own colour, which is white unless a shade is stated.
        let is_page = matches!(theme.as_str(), "background1" | "light1");
        (is_page && element.attribute("themeShade").is_none()).then_some(WHITE)
    })
}

/// Six hexadecimal digits.
pub(super) fn parse_color(value: &str) -> Option<Rgb> {
    let value = value.trim_start_matches('#');
    if value.len() != 6 {
        return None;
    }
    let number = u32::from_str_radix(value, 16).ok()?;
    let [_, rgb @ ..] = number.to_be_bytes();
    Some(rgb)
}

/// The sixteen colours of the marker pen.
fn highlight(name: Option<&str>) -> Fill {
    Fill::Color(match name.unwrap_or("none") {
        "black" => [0, 0, 0],
        "blue" => [0, 0, 255],
        "cyan" => [0, 255, 255],
        "green" => [0, 255, 0],
        "magenta" => [255, 0, 255],
        "red" => [255, 0, 0],
        "yellow" => [255, 255, 0],
        "white" => WHITE,
        "darkBlue" => [0, 0, 128],
        "darkCyan" => [0, 128, 128],
        "darkGreen" => [0, 128, 0],
        "darkMagenta" => [128, 0, 128],
        "darkRed" => [128, 0, 0],
        "darkYellow" => [128, 128, 0],
        "darkGray" => [128, 128, 128],
        "lightGray" => [192, 192, 192],
        _ => return Fill::None,
    })
}
