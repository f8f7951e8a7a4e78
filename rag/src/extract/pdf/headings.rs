//! What is a heading, of which level, and what the document is called, judged once all pages are known.

use std::collections::BTreeMap;

use super::lines::{Piece, PieceKind};
use crate::extract::text::section_number_level;

/// A font this much larger than the body's is a heading's.
const HEADING_RATIO: f32 = 1.12;
/// Longest addition to the title that says which case a form is about; passage headers have room for no more.
const MAX_CASE_CHARS: usize = 48;
/// How many sizes of headings are told apart.
const MAX_HEADING_SIZES: usize = 5;

/// What makes a piece a heading; larger sizes come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HeadingClass {
    /// Larger than the body, in half points.
    Large(i32),
    Bold,
    Capitals,
    Numbered,
}

/// Takes back what is no heading though it looks like one: bold labels of a form whose values are empty, and
/// cover pages, lists and addresses in large or bold type (several in a row; the last may head what follows).
pub(super) fn drop_labels(pieces: &[Piece], headings: &mut [Option<HeadingClass>]) {
    let mut at = 0;
    while at < headings.len() {
        let class = headings[at];
        let run = headings[at..]
            .iter()
            .take_while(|other| **other == class)
            .count();
        let follows = headings.get(at + run).copied().flatten();
        let is_large = matches!(class, Some(HeadingClass::Large(_)));
        let is_list = run >= if is_large { 4 } else { 3 };
        for idx in at..at + run {
            let is_last = idx + 1 == at + run;
            let heads_nothing = !is_last || follows.is_some() || at + run == headings.len();
            let is_label = !is_large
                && pieces[idx]
                    .lines
                    .last()
                    .is_some_and(|line| line.trim_end().ends_with(':'));
            if (is_label && heads_nothing) || (is_list && !is_last) {
                headings[idx] = None;
            }
        }
        at += run;
    }
}

/// What ordinary text looks like in this document.
pub(super) struct Style {
    pub(super) body: f32,
    pub(super) bold_is_rare: bool,
}

impl Style {
    pub(super) fn heading_class(
        &self,
        piece: &Piece,
        opens_document: bool,
    ) -> Option<HeadingClass> {
        let text = piece.lines.join(" ");
        let length = text.chars().count();
        let letters = text.chars().filter(|c| c.is_alphabetic()).count();
        if matches!(piece.kind, PieceKind::Table(_))
            || piece.lines.len() > 3
            || letters < 3
            || length > 200
        {
            return None;
        }
        let is_item = matches!(piece.kind, PieceKind::Item(_));
        // A title may be a sentence, a heading within the text hardly ever is.
        let is_sentence = !opens_document
            && text.ends_with(['.', ';', ','])
            && text.split_whitespace().count() >= 8;
        if piece.size >= HEADING_RATIO * self.body
            && letters * 2 > length
            && !is_item
            && !is_sentence
        {
            return Some(HeadingClass::Large((piece.size * 2.0).round() as i32));
        }
        if is_item || text.ends_with(['.', ',', ';']) || piece.lines.len() > 2 || length > 120 {
            return None;
        }
        let starts_high = text
            .chars()
            .find(|c| c.is_alphabetic())
            .is_some_and(|c| !c.is_lowercase());
        let full_size = piece.size >= 0.95 * self.body;
        if piece.bold && self.bold_is_rare && full_size && starts_high {
            return Some(HeadingClass::Bold);
        }
        if piece.lines.len() > 1 || !full_size {
            return None;
        }
        let capitals = text.chars().filter(|c| c.is_uppercase()).count();
        if capitals == letters && letters >= 4 && length <= 80 {
            return Some(HeadingClass::Capitals);
        }
        (section_number_level(&text).is_some_and(|level| level >= 2) && length <= 90)
            .then_some(HeadingClass::Numbered)
    }
}

/// Heading levels by class: the larger, the higher.
pub(super) struct Levels(BTreeMap<HeadingClass, u8>);

impl Levels {
    pub(super) fn of(headings: &[Option<HeadingClass>]) -> Self {
        let mut sizes: Vec<HeadingClass> = headings
            .iter()
            .flatten()
            .copied()
            .filter(|class| matches!(class, HeadingClass::Large(_)))
            .collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes.dedup();
        let mut levels = BTreeMap::new();
        for (size_idx, class) in sizes.iter().enumerate() {
            levels.insert(
                *class,
                u8::try_from(size_idx.min(MAX_HEADING_SIZES - 1) + 1).unwrap_or(1),
            );
        }
        let mut below = u8::try_from(sizes.len().min(MAX_HEADING_SIZES)).unwrap_or(0) + 1;
        for class in [
            HeadingClass::Capitals,
            HeadingClass::Bold,
            HeadingClass::Numbered,
        ] {
            if headings.contains(&Some(class)) {
                levels.insert(class, below);
                below += 1;
            }
        }
        Self(levels)
    }

    pub(super) fn level(&self, class: HeadingClass) -> u8 {
        self.0.get(&class).copied().unwrap_or(1)
    }
}

/// Puts "2.1 Scope" below "2 Aims" even when both look the same. `numbered` holds the levels given to the
/// numbers above.
pub(super) fn numbered_level(level: u8, text: &str, numbered: &mut Vec<u8>) -> u8 {
    let Some(depth) = section_number_level(text) else {
        return level;
    };
    let depth = usize::from(depth);
    // A numbered section is one level below its parent whatever its type; a lone "1." may number anything.
    let sibling = numbered.get(depth - 1).copied().filter(|_| depth > 1);
    numbered.truncate(depth - 1);
    let above = numbered
        .last()
        .copied()
        .filter(|_| numbered.len() == depth - 1);
    let level = sibling.unwrap_or_else(|| above.map_or(level, |above| above + 1));
    numbered.push(level);
    level
}

/// The largest heading of the first page that has text.
pub(super) fn first_page_title(
    pieces: &[Piece],
    headings: &[Option<HeadingClass>],
) -> Option<String> {
    let first_page = pieces.first()?.page;
    let on_first = || {
        pieces
            .iter()
            .zip(headings)
            .filter(|(piece, _)| piece.page == first_page)
    };
    let largest = on_first()
        .filter_map(|(_, class)| *class)
        .filter(|class| matches!(class, HeadingClass::Large(_)))
        .max()?;
    // A title set in several lines far apart is several pieces in a row.
    let lines: Vec<String> = on_first()
        .skip_while(|(_, class)| **class != Some(largest))
        .take_while(|(_, class)| **class == Some(largest))
        .map(|(piece, _)| piece.lines.join(" "))
        .collect();
    let title = lines.join(" ");
    if title.chars().count() <= 200 {
        return Some(title);
    }
    // Authors and institutions follow in the same type.
    lines
        .into_iter()
        .find(|line| line.split_whitespace().count() >= 4)
}

/// What a form is about: the first values of the table under its title ("Madill, OK; DFW08CA044"). Reports of one
/// kind share a title, and their passages would otherwise not say which case they belong to.
pub(super) fn case_of(piece: &Piece) -> Option<String> {
    let PieceKind::Table(table) = &piece.kind else {
        return None;
    };
    let cells = || table.rows.iter().flatten().map(|cell| cell.join(" "));
    let pairs: Vec<(String, String)> = cells()
        .zip(cells().skip(1))
        .filter(|(label, _)| label.ends_with(':'))
        .collect();
    let mut case = String::new();
    for (_, value) in &pairs {
        if value.is_empty() || value.ends_with(':') || value.chars().count() > MAX_CASE_CHARS - 8 {
            continue;
        }
        if case.chars().count() + value.chars().count() > MAX_CASE_CHARS {
            break;
        }
        if !case.is_empty() {
            case.push_str("; ");
        }
        case.push_str(value);
    }
    (pairs.len() >= 4 && !case.is_empty()).then_some(case)
}
