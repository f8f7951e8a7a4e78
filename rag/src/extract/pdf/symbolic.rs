//! What the codes of symbol fonts (U+F020 to U+F0FF) show. Word-like programs write them as they are into the character
//! map of a font, so only the font's name tells a micro sign from the letter m.
//!
//! A font of another name is either one that a program set in place of those it lacked; then its codes are those of
//! Symbol or of a font of check boxes and bullets, and the place tells which. Or its maker put letters there.

use pdf_oxide::layout::TextChar;

use super::glyph::quadrant;
use crate::extract::symbols;

/// Fonts that stand in for several symbol fonts.
const SUBSTITUTES: &[&str] = &["opensymbol", "starsymbol"];
/// A character nearer to another than this, in font sizes, touches it: no word space is so narrow.
const TOUCHING: f32 = 0.16;
/// What stands farther apart than this, in font sizes, belongs to something else: a cell, a column.
const APART: f32 = 1.5;

/// The character at `at` as it looks. `chars` are sorted from top to bottom and left to right.
pub(super) fn read(chars: &[TextChar], at: usize) -> char {
    let c = &chars[at];
    let code = u32::from(c.char);
    let name = family(&c.font_name);
    let is_code = (0xf020..=0xf0ff).contains(&code);
    if let Some(font) = symbols::font(name) {
        // A font of pictures has no letters, whatever its encoding says.
        let is_picture = code < 0x100 && !c.char.is_whitespace() && !is_of_letters(name);
        return if is_code || is_picture {
            font.read(code).map_or(c.char, bullet)
        } else {
            c.char
        };
    }
    if !is_code {
        return c.char;
    }
    let name = name.to_lowercase();
    if SUBSTITUTES.iter().any(|font| name.contains(font)) {
        return Place::of(chars, at).read(code).unwrap_or(c.char);
    }
    match code {
        0xf0b7 | 0xf0a7 | 0xf0d8 | 0xf076 | 0xf06e | 0xf0a8 | 0xf0fc => '•',
        // Text fonts of the old kind repeat ASCII at U+F020.
        0xf020..=0xf07e => char::from_u32(code - 0xf000).unwrap_or(c.char),
        _ => c.char,
    }
}

/// The name of a font without the mark of a subset and without its style.
fn family(name: &str) -> &str {
    let name = name.split_once('+').map_or(name, |(_, name)| name);
    let name = name.split_once(',').map_or(name, |(name, _)| name);
    name.strip_suffix("-Regular").unwrap_or(name)
}

/// Whether a symbol font has letters and signs beside pictures.
fn is_of_letters(name: &str) -> bool {
    name.to_lowercase().contains("symbol")
}

/// The two ornaments that word processors offer as bullets are bullets.
fn bullet(glyph: char) -> char {
    if matches!(glyph, '⮚' | '❖') {
        '•'
    } else {
        glyph
    }
}

/// Where a character stands among its neighbours.
#[derive(Debug, Clone, Copy)]
struct Place {
    starts_line: bool,
    touches: bool,
    before_digit: bool,
}

impl Place {
    fn of(chars: &[TextChar], at: usize) -> Self {
        let c = &chars[at];
        let on_line = |other: &&TextChar| {
            quadrant(other) == quadrant(c)
                && (other.origin_y - c.origin_y).abs() < 0.3 * c.font_size
                && !other.char.is_whitespace()
        };
        // Turned text is not sorted along its lines: there every symbol stands alone.
        let is_upright = quadrant(c) == 0;
        let before = chars[..at].iter().rev().take(3).find(on_line);
        let after = chars[at + 1..].iter().take(3).find(on_line);
        let gap_before = before
            .filter(|_| is_upright)
            .map(|before| c.origin_x - before.origin_x - before.advance_width);
        let gap_after = after
            .filter(|_| is_upright)
            .map(|after| after.origin_x - c.origin_x - c.advance_width);
        let within =
            |gap: Option<f32>, limit: f32| gap.is_some_and(|gap| gap < limit * c.font_size);
        Self {
            starts_line: !within(gap_before, APART),
            touches: within(gap_before, TOUCHING) || within(gap_after, TOUCHING),
            before_digit: within(gap_after, APART)
                && after.is_some_and(|after| after.char.is_numeric()),
        }
    }

    /// What a code means here if its font may be any symbol font.
    fn read(self, code: u32) -> Option<char> {
        let (touches, starts_line) = (self.touches, self.starts_line);
        let font = match code {
            // Symbol has card suits, parts of tall brackets, and letters that look like Latin ones.
            0xf0a7 | 0xf0a8 | 0xf0fb..=0xf0fe | 0xf06f => "Wingdings",
            0xf052 => "Wingdings 2",
            // "≤ 6 bar", but a box before a word.
            0xf0a3 if !self.before_digit => "Wingdings 2",
            // A crossed box and an arrow; ξ and ◊ stand in formulas.
            0xf078 | 0xf0e0 if !touches => "Wingdings",
            // Bullets begin lines; λ, ν, θ, ϖ and ¬ hardly do.
            0xf06c | 0xf06e | 0xf071 | 0xf076 | 0xf0d8 if starts_line && !touches => {
                return Some('•');
            }
            _ => "Symbol",
        };
        symbols::font(font)?.read(code)
    }
}
