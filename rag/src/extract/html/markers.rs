//! Markers of list items, as the page draws them: by `type`, `start`, `value` and `reversed`, and by
//! `list-style-type`, which wins over them.
//!
//! Numbers are written as in DOCX, but letters after "z" as browsers count them: "aa", "ab", where Word has "aa",
//! "bb". Numbering systems that are not known here are written in digits, and so are numbers that are generated content
//! (`counters()`); `@counter-style` is not followed.

use scraper::ElementRef;

use super::css::{Property, Value, own_style};
use super::marker_style::MarkerStyle;
use super::visibility::Visibility;

impl Visibility {
    /// How the marker of a list item is drawn.
    pub(super) fn marker_style(&self, item: ElementRef<'_>) -> MarkerStyle {
        let stated = |element: ElementRef<'_>| {
            let own = own_style(element);
            match self.cascade.value(element, &own, Property::ListStyle) {
                Some(Value::Marker(style)) => Some(style),
                _ => MarkerStyle::of_attribute(element),
            }
        };
        let list = item
            .ancestors()
            .filter_map(ElementRef::wrap)
            .find(|above| is_list(*above));
        let by_name = match list.map(|list| list.value().name()) {
            Some("ol") => MarkerStyle::Digits,
            _ => MarkerStyle::Bullet,
        };
        match stated(item).or(list.and_then(stated)) {
            // The numbers are drawn by other means.
            Some(MarkerStyle::Nothing) if self.draws_counters => by_name,
            stated => stated.unwrap_or(by_name),
        }
    }

    /// The number of a list's first item, and how much the next one is more.
    pub(super) fn numbering(&self, list: ElementRef<'_>) -> (i64, i64) {
        let value = list.value();
        let is_reversed = value.name() == "ol" && value.attr("reversed").is_some();
        let start = value.attr("start").and_then(integer);
        if !is_reversed {
            return (start.unwrap_or(1), 1);
        }
        let num_items = || {
            let items = list
                .child_elements()
                .filter(|child| child.value().name() == "li" && self.is_displayed(*child));
            i64::try_from(items.count()).unwrap_or(i64::MAX)
        };
        (start.unwrap_or_else(num_items), -1)
    }
}

fn is_list(element: ElementRef<'_>) -> bool {
    matches!(element.value().name(), "ol" | "ul" | "menu")
}

/// The number that an item states itself.
pub(super) fn stated_number(item: ElementRef<'_>) -> Option<i64> {
    item.value().attr("value").and_then(integer)
}

/// An integer as attributes have it: what follows the digits means nothing.
fn integer(attribute: &str) -> Option<i64> {
    let number = attribute.trim_start();
    let sign_len = usize::from(number.starts_with(['-', '+']));
    let num_digits = number[sign_len..]
        .bytes()
        .take_while(u8::is_ascii_digit)
        .count();
    number[..sign_len + num_digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use crate::extract::html::extract;

    fn items(html: &str) -> Vec<String> {
        let blocks = extract(html.as_bytes()).unwrap().blocks;
        blocks.into_iter().map(|block| block.text).collect()
    }

    #[test]
    fn markers_are_those_the_page_shows() {
        let cases: &[(&str, &[&str])] = &[
            ("<ol type=a><li>x<li>y</ol>", &["a. x", "b. y"]),
            ("<ol type=A start=27><li>x</ol>", &["AA. x"]),
            ("<ol type=i start=4><li>x<li>y</ol>", &["iv. x", "v. y"]),
            ("<ol type=I start=1999><li>x</ol>", &["MCMXCIX. x"]),
            (
                "<ol start=3><li>x<li value=7>y<li>z</ol>",
                &["3. x", "7. y", "8. z"],
            ),
            ("<ol reversed><li>x<li>y</ol>", &["2. x", "1. y"]),
            (
                "<ol reversed><li>x<li hidden>h<li>y</ol>",
                &["2. x", "1. y"],
            ),
            ("<ol reversed start=9><li>x<li>y</ol>", &["9. x", "8. y"]),
            ("<ol start=-1><li>x<li>y</ol>", &["-1. x", "0. y"]),
            ("<ol start=x><li type=A>x<li>y</ol>", &["A. x", "2. y"]),
            (
                "<ol><li style='visibility:hidden'>h<li style='display:none'>h<li>x</ol>",
                &["2. x"],
            ),
            (
                "<ol type=a><li>x<ol type=i><li>y<li>z</ol><li>v</ol>",
                &["a. x", "  i. y", "  ii. z", "b. v"],
            ),
            (
                "<ol type=1 style='list-style-type: upper-roman'><li>x</ol>",
                &["I. x"],
            ),
            (
                "<style>.k > li { list-style: lower-latin inside }</style><ul class=k><li>x<li>y</ul>",
                &["a. x", "b. y"],
            ),
            (
                "<style>ol ol { list-style-type: decimal-leading-zero }</style><ol><li>x<ol><li>y</ol></ol>",
                &["1. x", "  01. y"],
            ),
            ("<ol style='list-style: none'><li>x</ol>", &["- x"]),
            (
                "<style>ol { list-style: none; counter-reset: c } li::before { content: counters(c, '.') }</style>\
                 <ol><li>x</ol>",
                &["1. x"],
            ),
            ("<ul><li>x<li value=3>y</ul>", &["- x", "- y"]),
            (
                "<ol style='list-style-type: lower-greek' start=18><li>x</ol>",
                &["σ. x"],
            ),
            ("<ol type=I start=4000><li>x</ol>", &["4000. x"]),
        ];
        for (html, want) in cases {
            assert_eq!(items(html), *want, "{html}");
        }
    }
}
