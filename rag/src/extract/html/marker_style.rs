//! The styles of list markers, and the markers they make of numbers.
//!
//! Numbers are written as in DOCX, but letters after "z" as browsers count them: "aa", "ab", where Word has "aa",
//! "bb". Numbering systems that are not known here are written in digits.

use scraper::ElementRef;

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
    pub(super) fn of_attribute(element: ElementRef<'_>) -> Option<Self> {
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
