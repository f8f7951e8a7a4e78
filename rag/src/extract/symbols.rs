//! Fonts whose glyphs are no letters: what their codes mean in Unicode (`symbols.tsv`).

use std::collections::HashMap;
use std::sync::LazyLock;

/// First code with a glyph.
const FIRST_CODE: u32 = 0x20;

/// A symbol font; its codes go from 0x20 to 0xFF and, in files, as often from U+F020 to U+F0FF.
#[derive(Debug)]
pub(super) struct SymbolFont {
    glyphs: Vec<Option<char>>,
}

static FONTS: LazyLock<HashMap<String, SymbolFont>> =
    LazyLock::new(|| parse(include_str!("symbols.tsv")));

fn parse(table: &str) -> HashMap<String, SymbolFont> {
    let mut fonts: HashMap<String, SymbolFont> = HashMap::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let mut fields = line.splitn(3, '\t');
        let (Some(name), Some(first), Some(glyphs)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let font = fonts
            .entry(key_of(name))
            .or_insert_with(|| SymbolFont { glyphs: Vec::new() });
        let first = u32::from_str_radix(first, 16).unwrap_or(FIRST_CODE);
        let start = usize::try_from(first.saturating_sub(FIRST_CODE)).unwrap_or(0);
        font.glyphs.resize(start, None);
        font.glyphs.extend(
            glyphs
                .chars()
                .map(|glyph| Some(glyph).filter(|&glyph| glyph != '\u{fffd}')),
        );
    }
    fonts
}

/// Font names differ in blanks and case between programs, and makers put theirs in front.
fn key_of(name: &str) -> String {
    let key: String = name
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    match key.as_str() {
        "itczapfdingbats" | "monotypesorts" | "dingbats" => "zapfdingbats".to_owned(),
        "symbolmt" | "symbolps" | "standardsymbolsps" | "standardsymbolsl" => "symbol".to_owned(),
        _ => key,
    }
}

/// The symbol font of that name.
pub(super) fn font(name: &str) -> Option<&'static SymbolFont> {
    FONTS.get(&key_of(name))
}

impl SymbolFont {
    /// What a code means; `None` for codes without a glyph and for characters that are no codes of such fonts.
    pub(super) fn read(&self, code: u32) -> Option<char> {
        let code = match code {
            0xf020..=0xf0ff => code - 0xf000,
            code => code,
        };
        let index = usize::try_from(code.checked_sub(FIRST_CODE)?).ok()?;
        *self.glyphs.get(index)?
    }
}

/// A character in the private area of symbol fonts whose font is not known to be one: Word draws it in Symbol.
pub(super) fn read_private(c: char) -> Option<char> {
    if !('\u{f020}'..='\u{f0ff}').contains(&c) {
        return Some(c);
    }
    font("Symbol").and_then(|symbol| symbol.read(u32::from(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_the_font_shows() {
        let cases = [
            ("Symbol", 0xf0a3, Some('≤')),
            ("symbol", 0x57, Some('Ω')),
            ("Symbol", 0xb1, Some('±')),
            ("Symbol", 0xfe, Some('⎭')),
            ("Symbol", 0xff, None),
            ("Symbol", 0x3a9, None),
            ("Wingdings", 0xf0fe, Some('☑')),
            ("Wingdings", 0xa8, Some('☐')),
            ("Wingdings", 0xe0, Some('→')),
            ("Wingdings 2", 0x52, Some('☑')),
            ("Wingdings2", 0xf0a3, Some('☐')),
            ("Webdings", 0x61, Some('✓')),
            ("ITC Zapf Dingbats", 0x34, Some('✔')),
            ("ITC Zapf Dingbats", 0x6e, Some('■')),
        ];
        for (name, code, want) in cases {
            assert_eq!(font(name).unwrap().read(code), want, "{name} {code:x}");
        }
        assert!(font("Arial").is_none());
        assert_eq!(read_private('\u{f0b3}'), Some('≥'));
        assert_eq!(read_private('x'), Some('x'));
    }
}
