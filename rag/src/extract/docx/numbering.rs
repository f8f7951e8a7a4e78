//! Lists: the number or bullet that Word would draw in front of a paragraph.

use std::collections::HashMap;

use super::xml::{self, Space, Xml};
use crate::extract::ExtractError;

/// Levels a list has in Word.
const NUM_LEVELS: usize = 9;

/// One level of a list definition.
#[derive(Debug, Clone)]
struct Level {
    start: u64,
    format: String,
    /// "%1.%2." with the level numbers to fill in.
    text: String,
}

impl Default for Level {
    fn default() -> Self {
        Self {
            start: 1,
            format: "decimal".into(),
            text: String::new(),
        }
    }
}

/// A list (`w:num`): a definition and where its counting starts anew.
#[derive(Debug, Default)]
struct List {
    definition: String,
    restarts: HashMap<usize, u64>,
    used: bool,
}

/// The numbering part with the counters of the document read so far.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    definitions: HashMap<String, Vec<Level>>,
    lists: HashMap<String, List>,
    /// Counters by definition: lists of one definition go on counting.
    counters: HashMap<String, [Option<u64>; NUM_LEVELS]>,
}

/// What stands in front of a list paragraph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marker {
    Bullet,
    /// "2.1." as drawn; may be empty.
    Number(String),
}

impl Numbering {
    pub(super) fn parse(part: &str) -> Result<Self, ExtractError> {
        let mut numbering = Self::default();
        // Ids of the open definition or list, and the open level.
        let (mut definition, mut list, mut level) = (None::<String>, None::<String>, 0usize);
        xml::walk(part, &mut |event| {
            let element = match event {
                Xml::Open(element) if element.space == Space::Word => element,
                Xml::Close(Space::Word, "abstractNum") => return definition = None,
                Xml::Close(Space::Word, "num") => return list = None,
                _ => return,
            };
            match element.name {
                "abstractNum" => {
                    definition = element.attribute("abstractNumId");
                    if let Some(id) = &definition {
                        numbering
                            .definitions
                            .insert(id.clone(), vec![Level::default(); NUM_LEVELS]);
                    }
                }
                "num" => {
                    list = element.attribute("numId");
                    if let Some(id) = &list {
                        numbering.lists.insert(id.clone(), List::default());
                    }
                }
                "lvl" | "lvlOverride" => level = level_of(element.attribute("ilvl")),
                _ => {
                    if let Some(id) = &definition
                        && let Some(levels) = numbering.definitions.get_mut(id)
                    {
                        read_level(&mut levels[level], &element);
                    } else if let Some(list) =
                        list.as_ref().and_then(|id| numbering.lists.get_mut(id))
                    {
                        match element.name {
                            "abstractNumId" => {
                                list.definition = element.value().unwrap_or_default()
                            }
                            "startOverride" => {
                                let start = element
                                    .value()
                                    .and_then(|start| start.parse().ok())
                                    .unwrap_or(1);
                                list.restarts.insert(level, start);
                            }
                            _ => {}
                        }
                    }
                }
            }
        })?;
        Ok(numbering)
    }

    /// Counts one paragraph of list `num_id` at `level` and returns its marker; `None` if there is no such list.
    pub(super) fn next(&mut self, num_id: &str, level: u8) -> Option<Marker> {
        let level = usize::from(level).min(NUM_LEVELS - 1);
        let list = self.lists.get_mut(num_id)?;
        let levels = self.definitions.get(&list.definition)?;
        let counters = self.counters.entry(list.definition.clone()).or_default();
        if !std::mem::replace(&mut list.used, true) {
            for &restarted in list.restarts.keys() {
                counters[restarted] = None;
            }
        }
        let start = |level: usize| {
            list.restarts
                .get(&level)
                .copied()
                .unwrap_or(levels[level].start)
        };
        counters[level] =
            Some(counters[level].map_or_else(|| start(level), |count| count.saturating_add(1)));
        counters[level + 1..].fill(None);
        // A level that was skipped counts as begun.
        for (above, counter) in counters.iter_mut().enumerate().take(level) {
            counter.get_or_insert_with(|| start(above));
        }
        if levels[level].format == "bullet" {
            return Some(Marker::Bullet);
        }
        let mut text = levels[level].text.clone();
        for (above, counter) in counters.iter().enumerate().take(level + 1) {
            let number = format_number(counter.unwrap_or(1), &levels[above].format);
            text = text.replace(&format!("%{}", above + 1), &number);
        }
        Some(Marker::Number(text.trim().to_owned()))
    }
}

fn level_of(attribute: Option<String>) -> usize {
    attribute
        .and_then(|level| level.parse::<usize>().ok())
        .unwrap_or(0)
        .min(NUM_LEVELS - 1)
}

fn read_level(level: &mut Level, element: &xml::Element<'_>) {
    match element.name {
        "start" => {
            level.start = element
                .value()
                .and_then(|start| start.parse().ok())
                .unwrap_or(1)
        }
        "numFmt" => level.format = element.value().unwrap_or_default(),
        "lvlText" => level.text = element.value().unwrap_or_default(),
        _ => {}
    }
}

/// A number in one of Word's formats; unknown formats are written in digits.
fn format_number(number: u64, format: &str) -> String {
    match format {
        "lowerLetter" => letters(number).to_lowercase(),
        "upperLetter" => letters(number),
        "lowerRoman" => roman(number).to_lowercase(),
        "upperRoman" => roman(number),
        "decimalZero" => format!("{number:02}"),
        "none" => String::new(),
        _ => number.to_string(),
    }
}

/// A, B, ..., Z, AA, BB, ... as Word counts.
fn letters(number: u64) -> String {
    let Some(index) = number.checked_sub(1).filter(|&index| index < 26 * 20) else {
        return number.to_string();
    };
    let letter = char::from(b'A' + u8::try_from(index % 26).unwrap_or(0));
    std::iter::repeat_n(letter, usize::try_from(index / 26 + 1).unwrap_or(1)).collect()
}

fn roman(number: u64) -> String {
    if number == 0 || number >= 4000 {
        return number.to_string();
    }
    const SYMBOLS: [(u64, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let mut rest = number;
    let mut text = String::new();
    for (value, symbol) in SYMBOLS {
        while rest >= value {
            rest -= value;
            text.push_str(symbol);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_drawn_as_word_draws_them() {
        let cases = [
            (4, "lowerRoman", "iv"),
            (1999, "upperRoman", "MCMXCIX"),
            (28, "lowerLetter", "bb"),
            (3, "decimal", "3"),
            (7, "decimalZero", "07"),
            (0, "upperLetter", "0"),
        ];
        for (number, format, want) in cases {
            assert_eq!(format_number(number, format), want);
        }
    }

    #[test]
    fn levels_count_on_and_start_anew() {
        let part = r#"<w:numbering xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">
            <w:abstractNum w:abstractNumId="0">
              <w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1."/></w:lvl>
              <w:lvl w:ilvl="1"><w:start w:val="1"/><w:numFmt w:val="lowerLetter"/><w:lvlText w:val="%1.%2)"/></w:lvl>
            </w:abstractNum>
            <w:num w:numId="5"><w:abstractNumId w:val="0"/></w:num>
            <w:num w:numId="6"><w:abstractNumId w:val="0"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="1"/></w:lvlOverride></w:num>
            </w:numbering>"#;
        let mut numbering = Numbering::parse(part).unwrap();
        let drawn: Vec<Marker> = [("5", 0), ("5", 1), ("5", 1), ("5", 0), ("5", 1), ("6", 0)]
            .iter()
            .filter_map(|(id, level)| numbering.next(id, *level))
            .collect();
        let want =
            ["1.", "1.a)", "1.b)", "2.", "2.a)", "1."].map(|text| Marker::Number(text.into()));
        assert_eq!(drawn, want);
        assert_eq!(numbering.next("99", 0), None);
    }
}
