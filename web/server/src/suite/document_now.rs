//! A document that answers refer to, as it is now: where words that were taken from it stand, and which words it lost.
//!
//! The same words may stand under several headings ("# Pump Alpha", "# Pump Omega"), so the heading that they were read under
//! decides, then the distance to their old place. A heading may have been renamed, or its section removed: where the words
//! stand once, they are taken to be the same; where they stand several times and none of the places has the heading, nothing
//! tells which one was meant, and they count as gone.
//!
//! Must not know: answers, databases, the library.

use rag::{StoredBlock, is_unspaced};

/// A lost word of so many characters also counts inside of another one: `pressure` in "pressures", `druck` in "Höchstdruck".
const MIN_INFIX_CHARS: usize = 4;

/// What a document that answers refer to has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentNow {
    /// It is not there any more.
    Gone,
    /// It is there, perhaps with another text, path or title than the answers were made from.
    Present(PresentDocument),
}

/// A document that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentDocument {
    /// Path relative to the ingested folder.
    pub path: String,
    /// Its title.
    pub title: String,
    /// The whole text; empty while it is not searchable.
    pub text: String,
    /// Where each block is in the text, ascending.
    pub blocks: Vec<StoredBlock>,
}

impl PresentDocument {
    /// The character at which `words` stand that stood at `start`, under `heading` where that is known (not empty); `None`
    /// where they are gone.
    pub fn place_of(&self, words: &str, start: usize, heading: &[String]) -> Option<usize> {
        let places = self.occurrences(words);
        let rank = |at: usize| match self.heading_at(at) {
            now if heading.is_empty() || now == heading => 0,
            now if now.starts_with(heading) => 1,
            _ => 2,
        };
        let place = places.iter().copied();
        let nearest = place.min_by_key(|at| (rank(*at), at.abs_diff(start)))?;
        let is_lost = rank(nearest) == 2 && places.len() > 1 && !self.has_section(heading);
        (!is_lost).then_some(nearest)
    }

    /// Where `words` stand, in characters, ascending.
    fn occurrences(&self, words: &str) -> Vec<usize> {
        let (mut byte, mut chars) = (0, 0);
        let mut places = Vec::new();
        for (found, _) in self.text.match_indices(words) {
            chars += self.text[byte..found].chars().count();
            byte = found;
            places.push(chars);
        }
        places
    }

    fn has_section(&self, heading: &[String]) -> bool {
        self.blocks
            .iter()
            .any(|block| block.heading.starts_with(heading))
    }

    /// The headings above a character, outermost first.
    pub fn heading_at(&self, at: usize) -> &[String] {
        let block = self.blocks.iter().rev().find(|block| block.start <= at);
        block.map_or(&[], |block| &block.heading)
    }

    /// The page on which a character stands, where the format has pages.
    pub fn page_at(&self, at: usize) -> Option<u32> {
        let before = self.blocks.iter().rev().filter(|block| block.start <= at);
        before.filter_map(|block| block.page).next()
    }

    /// The header row of the table that a quote at `at` is a row of; `None` where it is none.
    pub fn table_head_of(&self, quote: &str, at: usize) -> Option<String> {
        if !quote.starts_with('|') {
            return None;
        }
        let chars: Vec<char> = self.text.chars().take(at).collect();
        rag::table_head_above(&chars, at)
    }
}

/// The words of `before` that `now` does not have, in small letters.
pub fn lost_words(before: &str, now: &str) -> Vec<String> {
    let now = now.to_lowercase();
    let mut lost = words(&before.to_lowercase());
    lost.retain(|word| !has_word(&now, word));
    lost
}

/// Whether a text in small letters has a word: as one of its own, or inside of one where the word is long or of a script
/// without spaces.
pub fn has_word(text: &str, word: &str) -> bool {
    if word.chars().count() >= MIN_INFIX_CHARS || word.chars().any(is_unspaced) {
        return text.contains(word);
    }
    runs(text).any(|run| run == word)
}

/// The words of a text; a run of a script without spaces gives its pairs of characters.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for run in runs(text) {
        let chars: Vec<char> = run.chars().collect();
        if chars.len() > 2 && chars.iter().all(|c| is_unspaced(*c)) {
            words.extend(chars.windows(2).map(|pair| pair.iter().collect::<String>()));
        } else {
            words.push(run.to_owned());
        }
    }
    words
}

/// Runs of letters and digits.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    let runs = text.split(|c: char| !c.is_alphanumeric());
    runs.filter(|run| !run.is_empty())
}

#[cfg(test)]
pub(super) mod tests {
    use rag::BlockKind;

    use super::*;

    /// A document of blocks: the headings above it joined by ` > `, its page, its text. The path is `new.txt`, the title
    /// "New".
    pub fn present(blocks: &[(&str, Option<u32>, &str)]) -> PresentDocument {
        let mut document = PresentDocument {
            path: "new.txt".to_owned(),
            title: "New".to_owned(),
            text: String::new(),
            blocks: Vec::new(),
        };
        for (heading, page, text) in blocks {
            if !document.text.is_empty() {
                document.text.push_str("\n\n");
            }
            let start = document.text.chars().count();
            document.text.push_str(text);
            document.blocks.push(StoredBlock {
                kind: BlockKind::Paragraph,
                page: *page,
                heading: path(heading),
                level: 0,
                start,
                end: start + text.chars().count(),
            });
        }
        document
    }

    fn path(heading: &str) -> Vec<String> {
        let parts = heading.split(" > ").filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    }

    #[test]
    fn words_are_found_under_their_heading_and_near_their_old_place() {
        let alpha = ("Alpha", Some(1), "120 bar.");
        let omega = ("Omega", Some(2), "120 bar.");
        let deep = ("Alpha > Deep", Some(3), "120 bar.");
        let other = ("Alpha", Some(1), "Größe");
        let new = ("New", Some(4), "120 bar.");
        type Case<'a> = (
            &'a str,
            &'a [(&'a str, Option<u32>, &'a str)],
            usize,
            Option<usize>,
        );
        // The heading and the start before, the blocks now, the start now.
        let cases: &[Case<'_>] = &[
            ("Alpha", &[alpha, omega], 0, Some(0)),
            ("Omega", &[alpha, omega], 0, Some(10)),
            ("Alpha", &[omega, alpha], 0, Some(10)),
            ("Alpha", &[omega, deep], 0, Some(10)),
            ("Alpha", &[omega, deep, alpha], 10, Some(20)),
            ("Alpha", &[other, omega], 0, Some(7)),
            // A renamed heading.
            ("Alpha", &[new], 0, Some(0)),
            // Nothing tells which of them it was.
            ("Alpha", &[new, omega], 0, None),
            // The section is still there, without the words.
            ("Alpha", &[new, other, omega], 17, Some(17)),
            // No heading is known.
            ("", &[alpha, omega], 9, Some(10)),
            ("", &[alpha, omega], 2, Some(0)),
            ("Alpha", &[other], 0, None),
            ("Alpha", &[], 0, None),
        ];
        for (heading, blocks, start, expected) in cases {
            let place = present(blocks).place_of("120 bar.", *start, &path(heading));
            assert_eq!(place, *expected, "{heading} at {start} of {blocks:?}");
        }
    }

    #[test]
    fn a_place_has_the_page_and_the_headings_of_its_block() {
        let document = present(&[
            ("", None, "Cover"),
            ("A", Some(1), "One"),
            ("A > B", None, "Two"),
        ]);
        let cases = [
            (0, None, ""),
            (7, Some(1), "A"),
            (9, Some(1), "A"),
            (12, Some(1), "A > B"),
            (99, Some(1), "A > B"),
        ];
        for (at, page, heading) in cases {
            assert_eq!(document.page_at(at), page, "{at}");
            assert_eq!(document.heading_at(at), path(heading), "{at}");
        }
    }

    #[test]
    fn a_word_is_lost_where_nothing_has_it() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("| Pump | bar |", "| pump | psi |", &["bar"]),
            // Short words are compared whole, long ones also count inside of others.
            ("bar", "barometer", &["bar"]),
            ("Druck", "Höchstdruck", &[]),
            ("Pressure", "PRESSURES in bar", &[]),
            ("最大压力", "最大流量", &["大压", "压力"]),
            ("U in V", "U in A", &["v"]),
            ("", "", &[]),
        ];
        for (before, now, lost) in cases {
            assert_eq!(lost_words(before, now), *lost, "{before:?} and {now:?}");
        }
    }
}
