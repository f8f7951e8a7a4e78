//! Markers of list items, as the page draws them: by `type`, `start`, `value` and `reversed`, and by
//! `list-style-type`, which wins over them.
//!
//! Numbers are written as in DOCX, but letters after "z" as browsers count them: "aa", "ab", where Word has "aa",
//! "bb". Numbering systems that are not known here are written in digits, and so are numbers that are generated content
//! (`counters()`); `@counter-style` is not followed.

use scraper::ElementRef;

use super::css::{Property, Value};
use super::visibility::{Visibility, own_style};

/// How the markers of a list are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MarkerStyle {
    Bullet,
    /// Nothing is drawn.
    Nothing,
    Digits,
    /// Two digits at least.
    PaddedDigits,
    Letters {
        first: char,
        last: char,
    },
    LowerRoman,
    UpperRoman,
}

const LOWER_LATIN: MarkerStyle = MarkerStyle::Letters {
    first: 'a',
    last: 'z',
};
const UPPER_LATIN: MarkerStyle = MarkerStyle::Letters {
    first: 'A',
    last: 'Z',
};
const LOWER_GREEK: MarkerStyle = MarkerStyle::Letters {
    first: 'α',
    last: 'ω',
};

impl MarkerStyle {
    /// The style that `list-style-type` or `list-style` states, in lower case; `None` where it leaves the choice to
    /// what is above.
    pub(super) fn of_css(value: &str) -> Option<Self> {
        // The shorthand without a type draws discs.
        let mut style = Self::Bullet;
        for word in value.split_whitespace() {
            style = match word {
                "inherit" | "unset" | "revert" | "revert-layer" => return None,
                _ if word.starts_with("var(") => return None,
                "inside" | "outside" | "initial" => continue,
                "none" => Self::Nothing,
                "disc" | "circle" | "square" | "disclosure-open" | "disclosure-closed" => {
                    Self::Bullet
                }
                "lower-alpha" | "lower-latin" => LOWER_LATIN,
                "upper-alpha" | "upper-latin" => UPPER_LATIN,
                "lower-greek" => LOWER_GREEK,
                "lower-roman" => Self::LowerRoman,
                "upper-roman" => Self::UpperRoman,
                "decimal-leading-zero" => Self::PaddedDigits,
                // Pictures and strings.
                _ if word.contains(['(', '"', '\'']) => continue,
                _ => Self::Digits,
            };
        }
        Some(style)
    }

    /// The style that the attribute `type` states.
    fn of_attribute(element: ElementRef<'_>) -> Option<Self> {
        let stated = element.value().attr("type")?.trim();
        match stated {
            "1" => Some(Self::Digits),
            "a" => Some(LOWER_LATIN),
            "A" => Some(UPPER_LATIN),
            "i" => Some(Self::LowerRoman),
            "I" => Some(Self::UpperRoman),
            _ => ["none", "disc", "circle", "square"]
                .iter()
                .any(|bullet| stated.eq_ignore_ascii_case(bullet))
                .then_some(Self::Bullet),
        }
    }

    /// The marker of item `number`; "-" for bullets.
    pub(super) fn marker(self, number: i64) -> String {
        let text = match (self, u32::try_from(number)) {
            (Self::Bullet | Self::Nothing, _) => return "-".to_owned(),
            (Self::PaddedDigits, _) => format!("{number:02}"),
            (Self::Letters { first, last }, Ok(number)) if number > 0 => {
                letters(number, first, last)
            }
            (Self::LowerRoman, Ok(number)) if (1..4000).contains(&number) => {
                roman(number).to_lowercase()
            }
            (Self::UpperRoman, Ok(number)) if (1..4000).contains(&number) => roman(number),
            _ => number.to_string(),
        };
        format!("{text}.")
    }
}

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

/// a, b, ..., z, aa, ab, ...
fn letters(number: u32, first: char, last: char) -> String {
    // The second form of the Greek sigma, at the end of words, is no letter of its own.
    let alphabet: Vec<char> = (first..=last).filter(|&letter| letter != 'ς').collect();
    let mut letters = Vec::new();
    let mut rest = usize::try_from(number).unwrap_or(0);
    while rest > 0 {
        rest -= 1;
        letters.push(alphabet[rest % alphabet.len()]);
        rest /= alphabet.len();
    }
    letters.iter().rev().collect()
}

fn roman(number: u32) -> String {
    const PLACES: [[&str; 10]; 4] = [
        ["", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"],
        ["", "X", "XX", "XXX", "XL", "L", "LX", "LXX", "LXXX", "XC"],
        ["", "C", "CC", "CCC", "CD", "D", "DC", "DCC", "DCCC", "CM"],
        ["", "M", "MM", "MMM", "", "", "", "", "", ""],
    ];
    let digits: Vec<usize> = number
        .to_string()
        .bytes()
        .map(|digit| usize::from(digit - b'0'))
        .collect();
    let places = PLACES[..digits.len()].iter().rev();
    places
        .zip(digits)
        .map(|(place, digit)| place[digit])
        .collect()
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
