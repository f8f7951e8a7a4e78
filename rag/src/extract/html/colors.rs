//! Text in the colour of what is behind it: nobody sees it, so it is not read.
//!
//! Text is unseen where its colour and its *ground* (the colour behind it) are both known and nearly equal, as in
//! DOCX. Whatever may be other than the page says is not known, and text on it is read: pictures and gradients,
//! variables, boxes that lie above others, and elements to which a style sheet that the page does not contain may
//! give colours. Text that another state of the page shows is read as well.

use scraper::ElementRef;

use super::css::{Position, Property, Style, Value, own_style};
use super::elements::INLINE;
use super::paint::{BLACK, Paint, Rgb, WHITE};
use super::visibility::Visibility;

/// Text is as good as invisible if no channel differs more than this from what is behind it; the same in DOCX.
const INVISIBLE_DIFFERENCE: u8 = 7;
/// What browsers give links.
const LINK: Rgb = [0, 0, 238];
/// What browsers give marked text.
const MARK: Rgb = [255, 255, 0];
/// How many elements before one that was moved may lie below it.
const MAX_BELOW: usize = 8;
/// Elements beside those of a line that style sheets seldom give a ground by their name alone.
const PLAIN: &[&str] = &["html", "body", "p", "div", "font", "ul", "ol", "li", "br"];

/// The colour of text and of what is behind it, `None` where it is not known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ink {
    text: Option<Rgb>,
    ground: Option<Rgb>,
}

impl Ink {
    /// Whether text cannot be told from what is behind it.
    pub(super) fn is_unseen(self) -> bool {
        match (self.text, self.ground) {
            (Some(text), Some(ground)) => text
                .iter()
                .zip(ground)
                .all(|(a, b)| a.abs_diff(b) <= INVISIBLE_DIFFERENCE),
            _ => false,
        }
    }
}

impl Visibility {
    pub(super) fn ink_of_page(&self) -> Ink {
        Ink {
            text: (!self.has_foreign_styles && !self.may_be_dark).then_some(BLACK),
            ground: (!self.may_be_dark).then_some(WHITE),
        }
    }

    /// The ink within `element`, where `around` is that of its parent.
    pub(super) fn ink_within(&self, element: ElementRef<'_>, around: Ink) -> Ink {
        let own = own_style(element);
        let stated = |property| match self.cascade.value(element, &own, property) {
            Some(Value::Paint(paint)) => Some(paint),
            _ => None,
        };
        let is_styled_elsewhere = self.has_foreign_styles && may_be_styled(element);
        let (text_by_name, ground_by_name) = if is_styled_elsewhere {
            (Some(Paint::Unknown), Some(Paint::Unknown))
        } else {
            by_name(element)
        };
        let text = stated(Property::Color)
            .or_else(|| attribute_color(element, &["color", "text"]))
            .or(text_by_name);
        let ground = stated(Property::Ground)
            .or_else(|| attribute_color(element, &["bgcolor"]))
            .or(ground_by_name);

        let mut ink = around;
        if self.lies_above(element, &own) {
            ink.ground = None;
        }
        if let Some(ground) = ground {
            ink.ground = ground.over(ink.ground);
        }
        let picture = stated(Property::Picture);
        let has_picture = element.value().attr("background").is_some();
        if picture == Some(Paint::Unknown) || (picture.is_none() && has_picture) {
            ink.ground = None;
        }
        match text {
            None | Some(Paint::Inherited) => {}
            Some(paint) => ink.text = paint.over(ink.ground),
        }
        if stated(Property::Outline) == Some(Paint::Unknown) {
            ink.text = None;
        }
        let states_something = text.is_some() || ground.is_some() || picture.is_some();
        if states_something && ink.is_unseen() && self.is_coloured_in_another_state(element) {
            ink.text = None;
        }
        ink
    }

    fn is_coloured_in_another_state(&self, element: ElementRef<'_>) -> bool {
        [Property::Color, Property::Ground, Property::Picture]
            .into_iter()
            .any(|property| self.cascade.is_shown_in_another_state(element, property))
    }

    /// Whether the element may lie above something else than its parent.
    fn lies_above(&self, element: ElementRef<'_>, own: &Style) -> bool {
        let position =
            |element, own: &Style| match self.cascade.value(element, own, Property::Position) {
                Some(Value::Position(position)) => position,
                _ => Position::InFlow,
            };
        match position(element, own) {
            Position::InFlow => false,
            Position::Above => true,
            Position::Relative => element
                .prev_siblings()
                .filter_map(ElementRef::wrap)
                .take(MAX_BELOW)
                .any(|below| {
                    matches!(
                        below.value().name(),
                        "img" | "picture" | "video" | "svg" | "canvas" | "iframe"
                    ) || position(below, &own_style(below)) == Position::Above
                }),
        }
    }
}

/// Whether a style sheet that is not there may give the element colours.
fn may_be_styled(element: ElementRef<'_>) -> bool {
    let value = element.value();
    let name = value.name();
    let is_plain = PLAIN.contains(&name) || (INLINE.contains(&name) && name != "a");
    !is_plain || value.attr("class").is_some() || value.attr("id").is_some()
}

/// Colours of text and ground that browsers give an element by its name.
fn by_name(element: ElementRef<'_>) -> (Option<Paint>, Option<Paint>) {
    let value = element.value();
    match value.name() {
        "a" if value.attr("href").is_some() => (Some(Paint::solid(LINK)), None),
        "mark" => (Some(Paint::solid(BLACK)), Some(Paint::solid(MARK))),
        "input" | "textarea" | "select" => (Some(Paint::solid(BLACK)), Some(Paint::solid(WHITE))),
        _ => (None, None),
    }
}

/// The colour that an attribute of old pages states, where the element has such an attribute.
fn attribute_color(element: ElementRef<'_>, names: &[&str]) -> Option<Paint> {
    let value = element.value();
    let name = names.iter().find(|name| match (**name, value.name()) {
        ("color", "font") | ("text", "body") => true,
        ("bgcolor", element) => matches!(
            element,
            "body" | "table" | "thead" | "tbody" | "tfoot" | "tr" | "td" | "th"
        ),
        _ => false,
    })?;
    value.attr(name).map(Paint::of_attribute)
}

#[cfg(test)]
mod tests {
    use crate::extract::html::extract;

    /// Whether the word `MARK` of the page is read.
    fn is_read(page: &str) -> bool {
        let blocks = extract(format!("<p>Text.</p>{page}").as_bytes())
            .unwrap()
            .blocks;
        assert!(blocks.iter().any(|block| block.text == "Text."), "{page}");
        blocks.iter().any(|block| block.text.contains("MARK"))
    }

    #[test]
    fn text_in_the_colour_of_its_ground_is_not_read() {
        let unseen = [
            "<p style='color:#fff'>MARK</p>",
            "<p style='color:rgb(250,250,250)'>MARK</p>",
            "<p style='color:transparent'>MARK</p>",
            "<p style='color:rgba(0,0,0,.01)'>MARK</p>",
            "<p><font color=#FFFFFF>MARK</font></p>",
            "<p><font color=ffffff>MARK</font></p>",
            "<p>a <span style='color:white'>b <b>MARK</b></span></p>",
            "<style>.w { color: white }</style><p class=w>MARK</p>",
            "<style>.w { color: white }</style><h2 class=w>MARK</h2>",
            "<style>.w { color: white }</style><ul class=w><li>MARK</ul>",
            "<style>.w { color: white }</style><pre class=w>MARK</pre>",
            "<div style='background:#000'><p style='color:#030303'>MARK</p></div>",
            "<p style='background:#000'>MARK</p>",
            "<table><tr bgcolor=navy><td>a<td><font color=navy>MARK</font></table>",
            "<table><tr><td>a<td style='color:#fefefe'>MARK</table>",
            "<div style='background:url(a.png)'><p style='background:#fff;color:#fff'>MARK</p></div>",
            "<style>.w:hover { color: black }</style><p style='color:white'>MARK</p>",
            "<link rel=stylesheet href=a.css><p><span style='color:white'>MARK</span></p>",
            "<link rel=stylesheet href=a.css><p class=x style='color:#fff;background:#fff'>MARK</p>",
            "<input style='color:white' value=MARK>",
        ];
        for page in unseen {
            assert!(!is_read(page), "{page}");
        }
    }

    #[test]
    fn text_that_some_reader_sees_is_read_whatever_its_colour() {
        let seen = [
            "<div style='background:#000'><p style='color:#fff'>MARK</p></div>",
            "<div style='background:#000 url(a.png)'><p style='color:#000'>MARK</p></div>",
            "<div style='background-image:url(a.png)'><p style='color:#fff'>MARK</p></div>",
            "<p style='color:#eee'>MARK</p>",
            "<p style='color:white;text-shadow:0 0 3px black'>MARK</p>",
            "<p style='color:white;position:absolute'>MARK</p>",
            "<div><img src=a.jpg><p style='color:white;position:relative'>MARK</p></div>",
            "<div style='background:rgba(0,0,0,.6)'><p style='color:#fff'>MARK</p></div>",
            "<table><thead style='background:#333'><tr><th style='color:#fff'>MARK<th>b</thead></table>",
            "<table bgcolor=black><tr><td><font color=white>MARK</font><td>b</table>",
            "<table background=a.gif><tr><td><font color=white>MARK</font><td>b</table>",
            "<style>.w { color: #fff } .d { background: #123 }</style><div class=d><p class=w>MARK</p></div>",
            "<style>.s { color: #000; background: #000 } .s:hover { color: #fff }</style><p class=s>MARK</p>",
            "<style>.p { color: #fff } .p.active { color: #000 }</style><p class=p>MARK</p>",
            "<style>.w { color: #fff } @media (min-width: 9px) { .w { background: #000 } }</style><p class=w>MARK</p>",
            "<style>.d { background: #000; .x { margin: 0 } }</style><div class=d><p style='color:#fff'>MARK</p></div>",
            "<style>:root { color-scheme: light dark }</style><p style='color:white'>MARK</p>",
            "<style>.w { color: var(--ink) }</style><p class=w>MARK</p>",
            "<div style='color:white'><a href=/x>MARK</a></div>",
            "<div style='color:#fff'><mark>MARK</mark></div>",
            "<div style='background:#000'><input value=MARK></div>",
            "<link rel=stylesheet href=a.css><div class=dark><p style='color:#fff'>MARK</p></div>",
            "<link rel=stylesheet href=a.css><table><tr><th style='color:#fff'>MARK<th>b</table>",
            "<link rel=stylesheet href=a.css><h2 style='background:#000'>MARK</h2>",
            "<style>@import 'a.css';</style><p class=x style='color:#fff'>MARK</p>",
        ];
        for page in seen {
            assert!(is_read(page), "{page}");
        }
    }
}
