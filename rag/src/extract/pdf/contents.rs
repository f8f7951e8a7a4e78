//! Tables of contents: their lines match every question about a heading and answer none, so they are left out.

use std::collections::{HashMap, HashSet};

use super::PageLines;
use super::lines::Line;

/// So many letters of an entry are looked for at the starts of lines.
const START_CHARS: usize = 24;

/// Drops the entries of tables of contents ("Scope ........ 12"). A list with leaders is one if its numbers rise and
/// most of its texts stand where the numbers point to; prices and telephone numbers point nowhere. Elsewhere leader
/// dots are shortened.
pub(super) fn drop_contents(pages: &mut [PageLines], num_pages: usize) -> bool {
    let starts = line_starts(pages, num_pages);
    let mut dropped = false;
    for page in pages {
        let entries: Vec<(String, usize)> = page
            .regions
            .iter()
            .flatten()
            .map(Line::text)
            .filter_map(|text| contents_target(&text, num_pages).map(|target| (text, target)))
            .collect();
        let rising = entries
            .windows(2)
            .filter(|pair| pair[0].1 <= pair[1].1)
            .count();
        if entries.len() >= 3
            && rising + 1 >= entries.len() * 9 / 10
            && points_to_its_texts(&entries, &starts)
        {
            for region in &mut page.regions {
                drop_entries(region, num_pages);
            }
            dropped = true;
        }
        let lines = page.regions.iter_mut().flatten();
        for segment in lines.flat_map(|line| &mut line.segments) {
            segment.text = shorten_leaders(&segment.text);
        }
    }
    dropped
}

/// The lines of all pages but for those with leaders, as [`start_of`] them and their page's index, sorted.
fn line_starts(pages: &[PageLines], num_pages: usize) -> Vec<(String, usize)> {
    let has_entries = |page: &PageLines| {
        let lines = page.regions.iter().flatten();
        lines
            .filter(|line| contents_target(&line.text(), num_pages).is_some())
            .count()
            >= 3
    };
    if !pages.iter().any(has_entries) {
        return vec![];
    }
    let mut starts: Vec<(String, usize)> = Vec::new();
    for (page_idx, page) in pages.iter().enumerate() {
        for line in page.regions.iter().flatten() {
            let text = line.text();
            if contents_target(&text, num_pages).is_none() {
                starts.push((start_of(&text), page_idx));
            }
        }
    }
    starts.sort();
    starts
}

/// The first letters and digits of a text without its number, in lower case; a heading may be broken where an entry is not.
fn start_of(text: &str) -> String {
    text.trim_start_matches(|c: char| !c.is_alphabetic())
        .chars()
        .filter(|c| c.is_alphanumeric())
        .take(START_CHARS)
        .flat_map(char::to_lowercase)
        .collect()
}

/// Whether half of the entries stand on pages that are equally far from those they name.
fn points_to_its_texts(entries: &[(String, usize)], starts: &[(String, usize)]) -> bool {
    let mut distances: HashMap<i64, usize> = HashMap::new();
    for (text, target) in entries {
        let title = text.trim_end_matches(|c: char| c.is_ascii_digit());
        let wanted = start_of(title.trim_end_matches(['.', '…', '_', ' ']));
        let from = starts.partition_point(|(start, _)| *start < wanted);
        let found = starts[from..]
            .iter()
            .take_while(|(start, _)| start.starts_with(&wanted));
        let here: HashSet<i64> = found
            .filter(|_| !wanted.is_empty())
            .map(|(_, page_idx)| *page_idx as i64 - *target as i64)
            .collect();
        for distance in here {
            *distances.entry(distance).or_default() += 1;
        }
    }
    distances.into_values().max().unwrap_or(0) * 2 >= entries.len()
}

fn drop_entries(region: &mut Vec<Line>, num_pages: usize) {
    let is_entry: Vec<bool> = region
        .iter()
        .map(|line| contents_target(&line.text(), num_pages).is_some())
        .collect();
    // A long entry's first line has no dots; only its neighbours tell what it is.
    let mut line_idx = 0;
    region.retain(|_| {
        let near = is_entry[line_idx]
            || is_entry[line_idx + 1..].iter().take(2).any(|&entry| entry)
                && is_entry[..line_idx]
                    .iter()
                    .rev()
                    .take(2)
                    .any(|&entry| entry);
        line_idx += 1;
        !near
    });
}

/// The page that a line of a table of contents points to.
fn contents_target(line: &str, num_pages: usize) -> Option<usize> {
    let line = line.trim_end();
    let number: String = line
        .chars()
        .rev()
        .take_while(char::is_ascii_digit)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    let rest = line[..line.len() - number.len()].trim_end();
    let leader = rest
        .chars()
        .rev()
        .take_while(|&c| matches!(c, '.' | '…' | ' ' | '_'))
        .filter(|c| *c != ' ')
        .count();
    let target = number.parse::<usize>().ok()?;
    (leader >= 4 && target <= num_pages + 20).then_some(target)
}

fn shorten_leaders(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['.', '…', '_']) {
        let run: usize = rest[at..]
            .chars()
            .take_while(|c| matches!(c, '.' | '…' | '_' | ' '))
            .map(char::len_utf8)
            .sum();
        let dots = rest[at..at + run].chars().filter(|c| *c != ' ').count();
        out.push_str(&rest[..at]);
        out.push_str(if dots >= 5 {
            " … "
        } else {
            &rest[at..at + run]
        });
        rest = &rest[at + run..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_lines_are_told_from_price_lists() {
        assert_eq!(contents_target("1.2 Scope .......... 12", 30), Some(12));
        assert_eq!(contents_target("Scope . . . . . . 7", 30), Some(7));
        assert_eq!(contents_target("Hammer ........ 1250", 30), None);
        assert_eq!(contents_target("He paused... 3", 30), None);
        assert_eq!(
            shorten_leaders("Name ......... Date ... x"),
            "Name  … Date ... x"
        );
    }

    /// Pages with the texts, 14 points apart.
    fn pages(texts: &[&[&str]]) -> Vec<PageLines> {
        let line = |(at, text): (usize, &&str)| crate::extract::pdf::glyph::Segment {
            x0: 60.0,
            x1: 60.0 + 5.0 * text.len() as f32,
            y: 700.0 - 14.0 * at as f32,
            size: 10.0,
            bold: false,
            text: (*text).to_owned(),
            table: None,
        };
        let region = |texts: &&[&str]| {
            crate::extract::pdf::lines::lines(texts.iter().enumerate().map(line).collect())
        };
        texts
            .iter()
            .map(|texts| PageLines::upright(vec![region(texts)]))
            .collect()
    }

    #[test]
    fn only_lists_that_point_to_their_texts_are_contents() {
        let list: &[&str] = &[
            "1 Scope ........ 2",
            "2 Aims and what is left out of them ........ 2",
            "3 Means ........ 3",
        ];
        let mut contents = pages(&[
            list,
            &["1 Scope", "text", "2 Aims and what is left", "out of them"],
            &["3 Means"],
        ]);
        assert!(drop_contents(&mut contents, 3));
        assert!(contents[0].regions[0].is_empty());
        let mut menu = pages(&[
            &["Coffee ........ 2", "Soup ........ 4", "Cutlet ........ 9"],
            &["Soup is made of", "Coffee is"],
        ]);
        assert!(!drop_contents(&mut menu, 2));
        assert_eq!(menu[0].regions[0].len(), 3);
    }
}
