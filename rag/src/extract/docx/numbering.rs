//! Lists: the number or bullet that Word would draw in front of a paragraph.
//!
//! A *definition* (`w:abstractNum`) has nine levels and one set of counters; a *list* (`w:num`) uses a definition,
//! may replace levels and may start anew. Lists of one definition go on counting.

use std::collections::HashMap;

use super::format::RunProperties;
use super::number_format::format_number;
use super::spellout::Spellout;
use super::styles::Styles;
use super::xml::{self, Element, Space, Xml};
use crate::extract::ExtractError;

/// Levels a list has in Word.
const NUM_LEVELS: usize = 9;
/// Bullets that say something: whether a box is ticked.
const CHECK_MARKS: [char; 7] = ['☐', '☑', '☒', '✓', '✗', '✔', '✘'];

/// One level of a list.
#[derive(Debug, Clone)]
struct Level {
    start: u64,
    format: String,
    /// Example of the format "custom".
    pattern: String,
    /// "%1.%2." with the level numbers to fill in.
    text: String,
    /// Whether the numbers of all levels are written in digits.
    is_legal: bool,
    /// The level starts anew after paragraphs of the first so many levels; `None`: of any level above.
    restarts_after: Option<usize>,
    /// The paragraph style whose paragraphs stand on this level.
    style: Option<String>,
    run: RunProperties,
}

impl Default for Level {
    fn default() -> Self {
        Self {
            start: 1,
            format: "decimal".into(),
            pattern: String::new(),
            text: String::new(),
            is_legal: false,
            restarts_after: None,
            style: None,
            run: RunProperties::default(),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Definition {
    levels: Vec<Level>,
    /// The numbering style that this definition is the content of.
    style: Option<String>,
    /// The numbering style whose definition stands for this one.
    stands_for_style: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct List {
    definition: String,
    /// Where levels start anew when the list is first used.
    restarts: HashMap<usize, u64>,
    /// Levels in place of the definition's.
    levels: HashMap<usize, Level>,
    used: bool,
}

/// The numbering part with the counters of the document read so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbering {
    definitions: HashMap<String, Definition>,
    lists: HashMap<String, List>,
    counters: HashMap<String, [Option<u64>; NUM_LEVELS]>,
    /// How the language of the document spells numbers out.
    spellout: Option<&'static Spellout>,
}

/// What stands in front of a list paragraph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marker {
    /// A bullet, with its character if that is a check mark.
    Bullet(Option<char>),
    /// "2.1." as drawn; may be empty.
    Number(String),
}

/// What is open while the numbering part is read.
#[derive(Debug, Default)]
struct Place {
    definition: Option<String>,
    list: Option<String>,
    level: usize,
    within_level: bool,
    within_run: bool,
    /// Within the copy for older programs.
    within_fallback: bool,
}

impl Numbering {
    pub(super) fn parse(part: &str, styles: &Styles) -> Result<Self, ExtractError> {
        let mut numbering = Self {
            spellout: Spellout::of_language(styles.language()),
            ..Self::default()
        };
        let mut place = Place::default();
        xml::walk(part, &mut |event| match event {
            Xml::Open(element) if element.name == "Fallback" => place.within_fallback = true,
            Xml::Close(_, "Fallback") => place.within_fallback = false,
            Xml::Open(element) if element.space == Space::Word && !place.within_fallback => {
                numbering.read(&mut place, &element);
            }
            Xml::Close(Space::Word, "abstractNum") => place.definition = None,
            Xml::Close(Space::Word, "num") => place.list = None,
            Xml::Close(Space::Word, "lvl") => place.within_level = false,
            Xml::Close(Space::Word, "rPr") => place.within_run = false,
            _ => {}
        })?;
        numbering.follow_style_links(styles);
        Ok(numbering)
    }

    fn read(&mut self, place: &mut Place, element: &Element<'_>) {
        match element.name {
            "abstractNum" => {
                place.definition = element.attribute("abstractNumId");
                if let Some(id) = &place.definition {
                    let levels = vec![Level::default(); NUM_LEVELS];
                    let definition = Definition {
                        levels,
                        ..Definition::default()
                    };
                    self.definitions.insert(id.clone(), definition);
                }
            }
            "num" => {
                place.list = element.attribute("numId");
                if let Some(id) = &place.list {
                    self.lists.insert(id.clone(), List::default());
                }
            }
            "lvl" | "lvlOverride" => {
                place.level = level_of(element);
                place.within_level = element.name == "lvl";
            }
            "rPr" => place.within_run = true,
            _ => {
                if let Some(id) = &place.definition
                    && let Some(definition) = self.definitions.get_mut(id)
                {
                    match element.name {
                        "styleLink" => definition.style = element.value(),
                        "numStyleLink" => definition.stands_for_style = element.value(),
                        _ => definition.levels[place.level].read(element, place.within_run),
                    }
                } else if let Some(list) = place.list.as_ref().and_then(|id| self.lists.get_mut(id))
                {
                    list.read(place, element);
                }
            }
        }
    }

    /// Lists of a definition that stands for a numbering style use the definition of that style.
    fn follow_style_links(&mut self, styles: &Styles) {
        let by_style: HashMap<&str, &str> = self
            .definitions
            .iter()
            .filter_map(|(id, definition)| Some((definition.style.as_deref()?, id.as_str())))
            .collect();
        let meant: HashMap<String, String> = self
            .definitions
            .iter()
            .filter_map(|(id, definition)| {
                let style = definition.stands_for_style.as_deref()?;
                let through_list = || {
                    let list = self.lists.get(&styles.list(style).num_id?)?;
                    Some(list.definition.as_str())
                };
                let target = by_style.get(style).copied().or_else(through_list)?;
                Some((id.clone(), target.to_owned()))
            })
            .collect();
        for list in self.lists.values_mut() {
            if let Some(definition) = meant.get(&list.definition) {
                list.definition.clone_from(definition);
            }
        }
    }

    /// The level of list `num_id` that is bound to one of these styles, nearest first.
    pub(super) fn level_of_styles<'a>(
        &self,
        num_id: &str,
        mut styles: impl Iterator<Item = &'a str>,
    ) -> Option<u8> {
        let list = self.lists.get(num_id)?;
        let definition = self.definitions.get(&list.definition)?;
        styles.find_map(|style| {
            let is_bound =
                |level: usize| list.level(definition, level).style.as_deref() == Some(style);
            (0..NUM_LEVELS)
                .find(|&level| is_bound(level))
                .and_then(|level| u8::try_from(level).ok())
        })
    }

    /// Counts one paragraph of list `num_id` at `level` and returns its marker; `None` if there is no such list.
    pub(super) fn next(&mut self, num_id: &str, level: u8) -> Option<Marker> {
        let level = usize::from(level).min(NUM_LEVELS - 1);
        let list = self.lists.get_mut(num_id)?;
        let definition = self.definitions.get(&list.definition)?;
        let counters = self.counters.entry(list.definition.clone()).or_default();
        if !std::mem::replace(&mut list.used, true) {
            for &restarted in list.restarts.keys() {
                counters[restarted] = None;
            }
        }
        let list = &*list;
        let start = |level: usize| {
            let own = list.restarts.get(&level).copied();
            own.unwrap_or_else(|| list.level(definition, level).start)
        };
        counters[level] =
            Some(counters[level].map_or_else(|| start(level), |count| count.saturating_add(1)));
        for (below, counter) in counters.iter_mut().enumerate().skip(level + 1) {
            let restarts_after = list.level(definition, below).restarts_after;
            if restarts_after.is_none_or(|num_levels| level < num_levels) {
                *counter = None;
            }
        }
        // A level that was skipped counts as begun.
        for (above, counter) in counters.iter_mut().enumerate().take(level) {
            counter.get_or_insert_with(|| start(above));
        }
        Some(list.marker(definition, level, counters, self.spellout))
    }
}

impl List {
    fn read(&mut self, place: &Place, element: &Element<'_>) {
        match element.name {
            "abstractNumId" => self.definition = element.value().unwrap_or_default(),
            "startOverride" => {
                let start = element.number().unwrap_or(1);
                self.restarts.insert(place.level, start);
            }
            _ if place.within_level => self
                .levels
                .entry(place.level)
                .or_default()
                .read(element, place.within_run),
            _ => {}
        }
    }

    fn level<'a>(&'a self, definition: &'a Definition, level: usize) -> &'a Level {
        self.levels.get(&level).unwrap_or(&definition.levels[level])
    }

    fn marker(
        &self,
        definition: &Definition,
        at: usize,
        counters: &[Option<u64>; NUM_LEVELS],
        spellout: Option<&Spellout>,
    ) -> Marker {
        let level = self.level(definition, at);
        if level.format == "bullet" {
            let bullet = level.run.in_unicode(&level.text);
            return Marker::Bullet(bullet.chars().find(|c| CHECK_MARKS.contains(c)));
        }
        let mut text = level.text.clone();
        for (above, counter) in counters.iter().enumerate().take(at + 1) {
            let other = self.level(definition, above);
            let format = match other.format.as_str() {
                format @ ("decimalZero" | "none" | "custom") => format,
                _ if level.is_legal => "decimal",
                format => format,
            };
            let number = format_number(counter.unwrap_or(1), format, &other.pattern, spellout);
            text = text.replace(&format!("%{}", above + 1), &number);
        }
        Marker::Number(text.trim().to_owned())
    }
}

fn level_of(element: &Element<'_>) -> usize {
    element
        .attribute("ilvl")
        .and_then(|level| level.trim().parse::<usize>().ok())
        .unwrap_or(0)
        .min(NUM_LEVELS - 1)
}

impl Level {
    fn read(&mut self, element: &Element<'_>, within_run: bool) {
        if within_run {
            return self.run.read(element);
        }
        match element.name {
            "start" => self.start = element.number().unwrap_or(1),
            "numFmt" => {
                self.format = element.value().unwrap_or_default();
                self.pattern = element.attribute("format").unwrap_or_default();
            }
            "lvlText" => self.text = element.value().unwrap_or_default(),
            "isLgl" => self.is_legal = element.is_on(),
            "lvlRestart" => self.restarts_after = element.number(),
            "pStyle" => self.style = element.value(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part of definition 0 with the given levels, used by list 5, and more lists.
    fn numbering(levels: &str, lists: &str) -> Numbering {
        let part = format!(
            r#"<w:numbering xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">
            <w:abstractNum w:abstractNumId="0">{levels}</w:abstractNum>
            <w:num w:numId="5"><w:abstractNumId w:val="0"/></w:num>{lists}</w:numbering>"#
        );
        Numbering::parse(&part, &Styles::default()).unwrap()
    }

    fn level(level: usize, format: &str, text: &str, more: &str) -> String {
        format!(
            r#"<w:lvl w:ilvl="{level}"><w:start w:val="1"/><w:numFmt w:val="{format}"/>{more}<w:lvlText w:val="{text}"/></w:lvl>"#
        )
    }

    #[test]
    fn numbers_are_spelt_out_in_the_language_of_the_document() {
        let levels = level(0, "cardinalText", "Article %1", "") + &level(1, "ordinal", "%2", "");
        let mut english = numbering(&levels, "");
        english.spellout = Spellout::of_language("en-US");
        check(
            english,
            &[
                ("5", 0, "Article One"),
                ("5", 0, "Article Two"),
                ("5", 1, "1st"),
            ],
        );
        check(
            numbering(&levels, ""),
            &[("5", 0, "Article 1"), ("5", 1, "1")],
        );
        let styles = Styles::parse(
            r#"<w:styles xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:docDefaults>
            <w:rPrDefault><w:rPr><w:lang w:val="en-GB"/></w:rPr></w:rPrDefault></w:docDefaults></w:styles>"#,
        );
        assert_eq!(styles.unwrap().language(), "en-GB");
    }

    #[track_caller]
    fn check(mut numbering: Numbering, paragraphs: &[(&str, u8, &str)]) {
        for (at, (id, level, want)) in paragraphs.iter().enumerate() {
            let got = numbering.next(id, *level);
            let want = Some(Marker::Number((*want).to_owned()));
            assert_eq!(got, want, "paragraph {at}");
        }
    }

    #[test]
    fn levels_count_on_and_start_anew() {
        let levels = level(0, "decimal", "%1.", "") + &level(1, "lowerLetter", "%1.%2)", "");
        let restarted = r#"<w:num w:numId="6"><w:abstractNumId w:val="0"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="4"/></w:lvlOverride></w:num>"#;
        let mut lists = numbering(&levels, restarted);
        assert_eq!(lists.next("99", 0), None);
        check(
            lists,
            &[
                ("5", 0, "1."),
                ("5", 1, "1.a)"),
                ("5", 1, "1.b)"),
                ("5", 0, "2."),
                ("5", 1, "2.a)"),
                ("6", 0, "4."),
                ("6", 0, "5."),
                ("5", 0, "6."),
            ],
        );
    }

    #[test]
    fn a_level_may_count_through_or_wait_for_a_level_further_up() {
        let through = level(0, "upperRoman", "%1", "")
            + &level(1, "decimal", "Art. %2", r#"<w:lvlRestart w:val="0"/>"#);
        check(
            numbering(&through, ""),
            &[
                ("5", 0, "I"),
                ("5", 1, "Art. 1"),
                ("5", 0, "II"),
                ("5", 1, "Art. 2"),
            ],
        );
        let waits = level(0, "decimal", "%1", "")
            + &level(1, "decimal", "%1.%2", "")
            + &level(2, "decimal", "(%3)", r#"<w:lvlRestart w:val="1"/>"#);
        check(
            numbering(&waits, ""),
            &[
                ("5", 0, "1"),
                ("5", 1, "1.1"),
                ("5", 2, "(1)"),
                ("5", 1, "1.2"),
                ("5", 2, "(2)"),
                ("5", 0, "2"),
                ("5", 2, "(1)"),
            ],
        );
    }

    #[test]
    fn a_list_may_replace_a_level() {
        let own = format!(
            r#"<w:num w:numId="6"><w:abstractNumId w:val="0"/><w:lvlOverride w:ilvl="0">{}</w:lvlOverride></w:num>"#,
            level(0, "upperLetter", "Annex %1:", "")
        );
        let lists = numbering(&level(0, "decimal", "%1.", ""), &own);
        check(
            lists,
            &[("6", 0, "Annex A:"), ("6", 0, "Annex B:"), ("5", 0, "3.")],
        );
    }

    #[test]
    fn bullets_that_are_check_boxes_are_told() {
        let boxes = level(0, "bullet", "\u{f0a8}", "").replace(
            "</w:lvl>",
            r#"<w:rPr><w:rFonts w:ascii="Wingdings" w:hAnsi="Wingdings"/></w:rPr></w:lvl>"#,
        ) + &level(1, "bullet", "\u{f0b7}", "");
        let mut lists = numbering(&boxes, "");
        assert_eq!(lists.next("5", 0), Some(Marker::Bullet(Some('☐'))));
        assert_eq!(lists.next("5", 1), Some(Marker::Bullet(None)));
    }
}
