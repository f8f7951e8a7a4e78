//! Page furniture: running heads, running feet and page numbers.
//!
//! Only the whole document shows what is furniture: the same text at the same distance from the same edge of several
//! pages, in which nothing differs but numbers that count the pages. A *slot* is a number in such a text. Rows of
//! tables and lines of forms differ in other numbers, or stand below a line that does: seen from the page's edge, the
//! first line that is no furniture begins the body, and the body is never touched.
//!
//! A text that is lost is far worse than a running head that stays. So what looks like the key or the value of a record,
//! one a page, is body: a number in large type or beside another that counts the pages, an amount or another value in
//! the type of the body, and whatever stands close to the body.
//!
//! No words are looked at ("page", "Seite"), so every language is treated alike.

use std::collections::{HashMap, HashSet};

use super::PageLines;
use super::glyph::Segment;
use super::lines::Line;
use super::segments::body_size;
use crate::text::unspaced::is_unspaced;

/// Share of the page height at its top and at its bottom in which running heads and feet stand.
const MARGIN: f32 = 0.12;
/// Lines whose distances from the edge differ by no more than this, in points, stand at the same place.
const SAME_PLACE: f32 = 4.0;
/// A line is set apart from the next if they are more than this many font sizes away from each other.
const SET_APART: f32 = 1.6;
/// Lines whose beginnings differ by no more than this, in points, begin at the same edge.
const SAME_EDGE: f32 = 3.0;
/// Type that is smaller than that of the body by this factor is told apart from it.
const BODY_TYPE: f32 = 0.95;
/// A text with no more letters than this beside its number is a bare page number ("p. 7", "A-7").
const MAX_BARE_LETTERS: usize = 2;
/// A text with no more letters than this beside the number of the page says nothing else ("Page 7 of 28").
const MAX_COUNTING_LETTERS: usize = 12;
/// Value of '0' in the scripts that have decimal digits; the other nine follow it (Unicode category Nd).
const ZEROS: [u32; 22] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66,
    0xe50, 0xed0, 0xf20, 0x1040, 0x17e0, 0x1810, 0x1946, 0x19d0, 0xff10,
];

/// Drops page numbers and lines that count pages, and running heads and feet from their second appearance on: the
/// first may be the only place that names the document's number or version.
pub(super) fn drop_page_furniture(pages: &mut [PageLines]) {
    let lines = margin_lines(pages);
    let fates = Judge::new(pages, &lines).fates();
    let mut dropped: HashSet<(usize, usize, usize)> = HashSet::new();
    for page_idx in 0..pages.len() {
        for zone in [Zone::Head, Zone::Foot] {
            for line_idx in before_body(&lines, &fates, page_idx, zone) {
                let line = &lines[line_idx];
                dropped.insert((page_idx, line.region_idx, line.line_idx));
            }
        }
    }
    for (page_idx, page) in pages.iter_mut().enumerate() {
        let num_lines: usize = page.regions.iter().map(Vec::len).sum();
        let num_dropped = dropped.iter().filter(|at| at.0 == page_idx).count();
        // A page of nothing but repeated lines would vanish; that is a page of its own, such as a form left blank.
        if num_lines == num_dropped && num_lines > 2 {
            continue;
        }
        for (region_idx, region) in page.regions.iter_mut().enumerate() {
            let mut line_idx = 0;
            region.retain(|_| {
                line_idx += 1;
                !dropped.contains(&(page_idx, region_idx, line_idx - 1))
            });
        }
    }
}

/// Drops what stands beside the text of several pages at the same place, in another direction, but for the first.
pub(super) fn drop_repeated_asides(pages: &mut [PageLines]) {
    let key = |line: &Line| (text_of(line), (line.y / SAME_PLACE).round() as i32);
    let mut counts: HashMap<(String, i32), usize> = HashMap::new();
    for page in pages.iter() {
        let here: HashSet<_> = page.asides.iter().flatten().map(key).collect();
        here.into_iter()
            .for_each(|key| *counts.entry(key).or_default() += 1);
    }
    let num_pages = pages.len();
    counts.retain(|_, count| *count >= 3 || (*count == 2 && num_pages <= 4));
    let mut seen = HashSet::new();
    for line_list in pages.iter_mut().flat_map(|page| &mut page.asides) {
        line_list.retain(|line| !counts.contains_key(&key(line)) || seen.insert(key(line)));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Zone {
    Head,
    Foot,
}

/// What becomes of a line in the margin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Body,
    /// Furniture that is kept because it is the first of its kind.
    First,
    Dropped,
}

/// A number in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    text: String,
    value: i64,
    /// Whether it can count pages: it is a word of its own and has no leading zero.
    is_free: bool,
}

/// A line in the upper or lower margin, as it is compared with those of other pages.
#[derive(Debug)]
struct MarginLine {
    page_idx: usize,
    region_idx: usize,
    line_idx: usize,
    zone: Zone,
    /// Distance of the baseline from the page's edge, in points.
    distance: f32,
    /// Distance to the next line towards the body, in font sizes.
    gap: f32,
    size: f32,
    bold: bool,
    /// Whether a number stands in it at one end, apart from the rest.
    has_number_apart: bool,
    /// Whether it begins where the next line towards the body does.
    begins_as_body: bool,
    /// Whether it gives an amount, or a value after a colon.
    gives_value: bool,
    /// The text with a mark in place of each number.
    template: String,
    letters: usize,
    slots: Vec<Slot>,
    /// Whether it stands for a drawn table.
    is_table: bool,
}

impl MarginLine {
    fn is_bare(&self) -> bool {
        self.letters <= MAX_BARE_LETTERS && self.slots.len() == 1
    }

    fn offset(&self, slot_idx: usize) -> i64 {
        self.slots[slot_idx].value - self.page_idx as i64
    }
}

fn margin_lines(pages: &[PageLines]) -> Vec<MarginLine> {
    let mut out = Vec::new();
    for (page_idx, page) in pages.iter().enumerate() {
        let frame = page.frame;
        let height = frame.top - frame.bottom;
        let first = out.len();
        for (region_idx, region) in page.regions.iter().enumerate() {
            for (line_idx, line) in region.iter().enumerate() {
                let (from_top, from_bottom) = (frame.top - line.y, line.y - frame.bottom);
                let (zone, distance) = if from_top < MARGIN * height {
                    (Zone::Head, from_top)
                } else if from_bottom < MARGIN * height {
                    (Zone::Foot, from_bottom)
                } else {
                    continue;
                };
                let text = text_of(line);
                let (template, slots) = template(&text);
                out.push(MarginLine {
                    page_idx,
                    region_idx,
                    line_idx,
                    zone,
                    distance,
                    gap: f32::INFINITY,
                    size: line.size,
                    bold: line.bold,
                    has_number_apart: has_number_apart(line),
                    begins_as_body: false,
                    gives_value: gives_value(&text),
                    letters: template.chars().filter(|c| c.is_alphabetic()).count(),
                    template,
                    slots,
                    is_table: line.segments.iter().any(|segment| segment.table.is_some()),
                });
            }
        }
        let ys: Vec<(f32, f32)> = (page.regions.iter().flatten())
            .map(|line| (line.y, line.x0))
            .collect();
        for line in &mut out[first..] {
            let x0 = page.regions[line.region_idx][line.line_idx].x0;
            let inward = |y: f32| match line.zone {
                Zone::Head => frame.top - y - line.distance,
                Zone::Foot => y - frame.bottom - line.distance,
            };
            let next = (ys.iter())
                .map(|&(y, x0)| (inward(y) / line.size.max(1.0), x0))
                .filter(|&(gap, _)| gap > 0.5)
                .min_by(|a, b| a.0.total_cmp(&b.0));
            line.gap = next.map_or(f32::INFINITY, |(gap, _)| gap);
            line.begins_as_body = next.is_some_and(|(_, next)| (next - x0).abs() < SAME_EDGE);
        }
    }
    out
}

/// The text of a line; of a drawn table that stands for it, all its cells.
fn text_of(line: &Line) -> String {
    let mut text = line.text();
    for table in line
        .segments
        .iter()
        .filter_map(|segment| segment.table.as_ref())
    {
        for cell in table.rows.iter().flatten() {
            text.push('|');
            text.push_str(&cell.join(" "));
        }
    }
    text
}

/// Whether a line gives an amount of money or a number with two decimals, or something after a colon.
fn gives_value(text: &str) -> bool {
    let after_colon = text.split_once(": ").is_some_and(|(key, value)| {
        key.ends_with(|c: char| c.is_alphabetic() || c == ')') && !value.trim().is_empty()
    });
    let is_currency = |c: char| matches!(c, '$' | '£' | '¥' | '¢' | '￥' | '\u{20a0}'..='\u{20cf}');
    let has_number = text.contains(|c: char| digit_value(c).is_some());
    after_colon
        || (has_number && text.contains(is_currency))
        || text.split_whitespace().any(has_two_decimals)
}

/// "1.250,00", but no date and no number of a section.
fn has_two_decimals(word: &str) -> bool {
    let number = word.trim_matches(|c: char| digit_value(c).is_none());
    let Some((whole, decimals)) = number.rsplit_once([',', '.']) else {
        return false;
    };
    let are_digits = |text: &str| text.chars().all(|c| digit_value(c).is_some());
    let mut groups = whole.split([',', '.', '\'', '’']);
    let is_whole = groups.next().is_some_and(are_digits)
        && groups.all(|group| group.chars().count() == 3 && are_digits(group));
    is_whole && decimals.chars().count() == 2 && are_digits(decimals)
}

fn has_number_apart(line: &Line) -> bool {
    let is_number = |segment: &Segment| {
        let has_digit = segment.text.contains(|c: char| digit_value(c).is_some());
        has_digit && !segment.text.contains(|c: char| c.is_alphabetic())
    };
    let ends = [line.segments.first(), line.segments.last()];
    line.segments.len() >= 2 && ends.into_iter().flatten().any(is_number)
}

fn digit_value(c: char) -> Option<i64> {
    let code = u32::from(c);
    ZEROS
        .iter()
        .find(|&&zero| (zero..zero + 10).contains(&code))
        .map(|zero| i64::from(code - zero))
}

/// The text with a mark for each number, and the numbers. A text that is one Roman numeral is one number.
fn template(text: &str) -> (String, Vec<Slot>) {
    let text: Vec<char> = text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .collect();
    let bare: String = text.iter().filter(|c| c.is_alphanumeric()).collect();
    if let Some(value) = roman(&bare) {
        let slot = Slot {
            text: bare,
            value,
            is_free: true,
        };
        return ("\u{1}".to_owned(), vec![slot]);
    }
    let mut template = String::new();
    let mut slots = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if digit_value(text[at]).is_none() {
            template.push(text[at]);
            at += 1;
            continue;
        }
        let end = at
            + text[at..]
                .iter()
                .take_while(|&&c| digit_value(c).is_some())
                .count();
        let value = text[at..end]
            .iter()
            .filter_map(|&c| digit_value(c))
            .fold(0i64, |value, digit| {
                value.saturating_mul(10).saturating_add(digit)
            });
        // "ZX-1034" and "3.2" are names; "7/28" and "第3頁" count pages.
        let joins = |c: Option<&char>| c.is_some_and(|c| matches!(c, '-' | '.' | ',' | ':' | '_'));
        let is_word = |c: Option<&char>| c.is_some_and(|c| c.is_alphanumeric() && !is_unspaced(*c));
        let before = at.checked_sub(1).and_then(|i| text.get(i));
        let before2 = at.checked_sub(2).and_then(|i| text.get(i));
        let (after, after2) = (text.get(end), text.get(end + 1));
        let is_joined = is_word(before)
            || is_word(after)
            || joins(before) && is_word(before2)
            || joins(after) && is_word(after2);
        let is_free = !is_joined && (end - at == 1 || digit_value(text[at]) != Some(0));
        template.push('\u{0}');
        slots.push(Slot {
            text: text[at..end].iter().collect(),
            value,
            is_free,
        });
        at = end;
    }
    (template, slots)
}

/// The value of a Roman numeral of either case in the usual form ("xiv").
fn roman(text: &str) -> Option<i64> {
    const PARTS: [(i64, &str); 13] = [
        (1000, "m"),
        (900, "cm"),
        (500, "d"),
        (400, "cd"),
        (100, "c"),
        (90, "xc"),
        (50, "l"),
        (40, "xl"),
        (10, "x"),
        (9, "ix"),
        (5, "v"),
        (4, "iv"),
        (1, "i"),
    ];
    let one_case = text.chars().all(char::is_lowercase) || text.chars().all(char::is_uppercase);
    let lower = text.to_lowercase();
    let mut rest = lower.as_str();
    let mut value = 0;
    for (part, letters) in PARTS {
        let mut times = 0;
        while let Some(after) = rest.strip_prefix(letters) {
            (rest, value, times) = (after, value + part, times + 1);
            if times == if letters.len() == 1 { 3 } else { 1 } {
                break;
            }
        }
    }
    (one_case && rest.is_empty() && value > 0).then_some(value)
}

/// Decides over the lines of all margins together.
struct Judge<'a> {
    pages: &'a [PageLines],
    lines: &'a [MarginLine],
    body_size: f32,
    /// Differences between the number on a page and its index that page numbers of this document have.
    offsets: HashSet<i64>,
    fates: Vec<Fate>,
}

/// Lines that may count the pages in one of their slots.
struct Counter {
    lines: Vec<usize>,
    slot_idx: usize,
}

impl<'a> Judge<'a> {
    fn new(pages: &'a [PageLines], lines: &'a [MarginLine]) -> Self {
        let all = || pages.iter().flat_map(|page| page.regions.iter().flatten());
        Self {
            pages,
            lines,
            body_size: body_size(all().map(|line| (line.size, line.text().len()))),
            offsets: HashSet::new(),
            fates: vec![Fate::Body; lines.len()],
        }
    }

    fn fates(mut self) -> Vec<Fate> {
        let groups = self.groups();
        self.offsets = self.page_number_offsets(&groups);
        let mut counters = Vec::new();
        for group in &groups {
            self.judge(group, &mut counters);
        }
        self.judge_counters(counters);
        for line_idx in 0..self.lines.len() {
            if self.is_lone_page_number(&self.lines[line_idx]) {
                self.fates[line_idx] = Fate::Dropped;
            }
        }
        self.fates
    }

    /// Lines of the same template at the same place, in page order.
    fn groups(&self) -> Vec<Vec<usize>> {
        let mut alike: HashMap<(Zone, &str), Vec<usize>> = HashMap::new();
        for (line_idx, line) in self.lines.iter().enumerate() {
            alike
                .entry((line.zone, &line.template))
                .or_default()
                .push(line_idx);
        }
        let mut groups = Vec::new();
        for mut members in alike.into_values() {
            members.sort_by(|&a, &b| self.lines[a].distance.total_cmp(&self.lines[b].distance));
            let near = |a: &usize, b: &usize| {
                self.lines[*b].distance - self.lines[*a].distance <= SAME_PLACE
            };
            groups.extend(members.chunk_by(near).map(<[usize]>::to_vec));
        }
        for group in &mut groups {
            group.sort_by_key(|&line_idx| self.lines[line_idx].page_idx);
        }
        groups.sort();
        groups
    }

    /// The slot that rises with the pages, if there is one and no page has the text twice.
    fn counting_slot(&self, group: &[usize]) -> Option<usize> {
        let first = &self.lines[*group.first()?];
        (0..first.slots.len()).find(|&slot_idx| {
            let steps = group.windows(2).map(|pair| (&self.lines[pair[0]], &self.lines[pair[1]]));
            let in_step = steps
                .clone()
                .filter(|(a, b)| a.page_idx < b.page_idx && a.offset(slot_idx) == b.offset(slot_idx))
                .count();
            group.len() >= 2
                && steps.clone().all(|(a, b)| a.page_idx < b.page_idx)
                && group.iter().all(|&line_idx| self.lines[line_idx].slots[slot_idx].is_free || first.is_bare())
                // A new chapter may begin to count anew.
                && in_step * 5 >= (group.len() - 1) * 4
        })
    }

    /// Whether the lines stand on enough of the pages between the first and the last of them. Left and right pages
    /// may differ, so somewhat less than half of the pages is enough.
    fn repeats(&self, group: &[usize]) -> bool {
        let page_of = |line_idx: Option<&usize>| line_idx.map_or(0, |&i| self.lines[i].page_idx);
        let span = page_of(group.last()) + 1 - page_of(group.first());
        let pages: HashSet<usize> = group.iter().map(|&i| self.lines[i].page_idx).collect();
        (pages.len() >= 3 && pages.len() * 5 >= span * 2)
            || (pages.len() == 2 && self.pages.len() <= 4)
    }

    /// What page numbers of this document add to the index of the page, as far as it is beyond doubt: numbers that
    /// stand alone, and numbers in which two different texts agree (left and right pages).
    fn page_number_offsets(&self, groups: &[Vec<usize>]) -> HashSet<i64> {
        let mut bare = HashSet::new();
        let mut worded: HashMap<i64, HashSet<&str>> = HashMap::new();
        for group in groups.iter().filter(|group| self.repeats(group)) {
            let Some(slot_idx) = self.counting_slot(group) else {
                continue;
            };
            if !self.is_set_as_page_number(group, slot_idx) {
                continue;
            }
            for &line_idx in group {
                let line = &self.lines[line_idx];
                if line.is_bare() {
                    bare.insert(line.offset(slot_idx));
                } else {
                    worded
                        .entry(line.offset(slot_idx))
                        .or_default()
                        .insert(&line.template);
                }
            }
        }
        bare.extend(
            worded
                .into_iter()
                .filter(|(_, texts)| texts.len() >= 2)
                .map(|(offset, _)| offset),
        );
        bare
    }

    /// Whether the slot holds the number of the page: as the file counts, as its labels do, or as beyond doubt elsewhere.
    fn is_page_number(&self, line: &MarginLine, slot_idx: usize) -> bool {
        let value = line.slots[slot_idx].value;
        let label = self.pages[line.page_idx].label.as_deref();
        // A drawn table is furniture if only "7 of 28" differs in it.
        if line.is_table && !self.names_total(line, slot_idx) {
            return false;
        }
        (value >= 1 && value <= line.page_idx as i64 + 1)
            || label == Some(&line.slots[slot_idx].text)
            || self.offsets.contains(&line.offset(slot_idx))
    }

    /// Whether the number of all pages follows: "7 of 28".
    fn names_total(&self, line: &MarginLine, slot_idx: usize) -> bool {
        let next = line.slots.get(slot_idx + 1);
        next.is_some_and(|next| next.value == self.pages.len() as i64)
    }

    /// Judges the lines of a group but those that may count pages, which go to `counters`.
    fn judge(&mut self, group: &[usize], counters: &mut Vec<Counter>) {
        let counting = self.counting_slot(group);
        let first = &self.lines[group[0]];
        // What differs besides belongs to the text: "Part 2" over several pages is the head of that part.
        let mut texts: Vec<(Vec<&str>, Vec<usize>)> = Vec::new();
        for &line_idx in group {
            let line = &self.lines[line_idx];
            let rest: Vec<&str> = (0..line.slots.len())
                .filter(|&slot_idx| Some(slot_idx) != counting)
                .map(|slot_idx| line.slots[slot_idx].text.as_str())
                .collect();
            match texts.iter_mut().find(|(other, _)| *other == rest) {
                Some((_, members)) => members.push(line_idx),
                None => texts.push((rest, vec![line_idx])),
            }
        }
        let letters = first.letters;
        for (_, members) in texts {
            if !self.repeats(&members) {
                continue;
            }
            match counting {
                Some(slot_idx) if self.counts_pages(&members, slot_idx) => counters.push(Counter {
                    lines: members,
                    slot_idx,
                }),
                None if letters >= 2 && !self.is_value(&members) => {
                    self.set_fates(&members, Fate::First);
                }
                _ => {}
            }
        }
    }

    fn set_fates(&mut self, group: &[usize], fate: Fate) {
        for (member_idx, &line_idx) in group.iter().enumerate() {
            self.fates[line_idx] = match fate {
                Fate::First if member_idx > 0 => Fate::Dropped,
                fate => fate,
            };
        }
    }

    /// A page has one number: where several lines count, the most certain of them does, and the others name records.
    fn judge_counters(&mut self, mut counters: Vec<Counter>) {
        let certainty = |counter: &Counter| {
            let first = &self.lines[counter.lines[0]];
            let is_number = first.is_bare() && first.letters == 0;
            (
                self.names_total(first, counter.slot_idx),
                is_number,
                first.zone == Zone::Foot,
                counter.lines.len(),
            )
        };
        counters.sort_by_key(|counter| std::cmp::Reverse(certainty(counter)));
        // The pages that have a number, and what it adds to their index.
        let mut numbered: HashMap<usize, i64> = HashMap::new();
        for counter in counters {
            let first = &self.lines[counter.lines[0]];
            let (is_number, letters) = (first.letters == 0, first.letters);
            let is_other = |&&line_idx: &&usize| {
                let line = &self.lines[line_idx];
                let known = numbered.get(&line.page_idx);
                known.is_some_and(|&known| !is_number || known != line.offset(counter.slot_idx))
            };
            if counter.lines.iter().filter(is_other).count() * 5 > counter.lines.len() {
                continue;
            }
            for &line_idx in &counter.lines {
                let line = &self.lines[line_idx];
                numbered.insert(line.page_idx, line.offset(counter.slot_idx));
            }
            let fate = if letters <= MAX_COUNTING_LETTERS {
                Fate::Dropped
            } else {
                Fate::First
            };
            self.set_fates(&counter.lines, fate);
        }
    }

    /// Whether the lines of a text that does not change are values that some pages share: "Passed: yes". A running
    /// head says no value, unless in small type, and no other text takes its place on a page between, or on every
    /// second page.
    fn is_value(&self, group: &[usize]) -> bool {
        let first = &self.lines[group[0]];
        if first.is_table || first.size < BODY_TYPE * self.body_size {
            return false;
        }
        if first.gives_value {
            return true;
        }
        let pages: HashSet<usize> = group.iter().map(|&i| self.lines[i].page_idx).collect();
        let (from, to) = (first.page_idx, self.lines[group[group.len() - 1]].page_idx);
        let is_side = |parity: usize| pages.iter().any(|page_idx| page_idx % 2 == parity);
        self.lines.iter().any(|line| {
            line.zone == first.zone
                && (from..=to).contains(&line.page_idx)
                && !pages.contains(&line.page_idx)
                && is_side(line.page_idx % 2)
                && (line.distance - first.distance).abs() <= SAME_PLACE
                && (line.size - first.size).abs() < 0.1 * first.size
        })
    }

    /// Whether most lines of a group pass a test.
    fn mostly(&self, group: &[usize], test: impl Fn(&MarginLine) -> bool) -> bool {
        let passed = group
            .iter()
            .filter(|&&line_idx| test(&self.lines[line_idx]));
        passed.count() * 5 >= group.len() * 4
    }

    /// "Page 7" is told from "Invoice 7" and "Device 7", one a page, by how it is set and by whether its number is known
    /// to be the page's.
    fn counts_pages(&self, group: &[usize], slot_idx: usize) -> bool {
        self.mostly(group, |line| self.is_page_number(line, slot_idx))
            && self.is_set_as_page_number(group, slot_idx)
    }

    /// Page numbers are set in plain type away from the body; alone at the foot they may be large. What begins at the
    /// edge of the text on left and right pages alike is a heading of its page, if it has words.
    fn is_set_as_page_number(&self, group: &[usize], slot_idx: usize) -> bool {
        let first = &self.lines[group[0]];
        let is_lone_foot = first.zone == Zone::Foot && first.is_bare() && first.letters == 0;
        let is_plain = |line: &MarginLine| line.size <= 1.1 * self.body_size && !line.bold;
        let is_alternate = group.windows(2).all(|pair| {
            let step = self.lines[pair[1]].page_idx - self.lines[pair[0]].page_idx;
            step.is_multiple_of(2)
        });
        let is_heading = first.zone == Zone::Head
            && first.letters > 0
            && !first.has_number_apart
            && !is_alternate
            && !self.names_total(first, slot_idx)
            && self.mostly(group, |line| line.begins_as_body);
        !is_heading
            && (is_lone_foot || self.mostly(group, is_plain))
            && self.mostly(group, |line| line.gap > SET_APART)
    }

    /// A number alone at the foot of a page, or where page numbers of this document are known, that fits its page.
    fn is_lone_page_number(&self, line: &MarginLine) -> bool {
        let stands_alone = line.is_bare()
            && line.gap > SET_APART
            && (line.zone == Zone::Foot || line.size <= 1.1 * self.body_size)
            && !self.lines.iter().any(|other| {
                other.page_idx == line.page_idx
                    && other.zone == line.zone
                    && (other.distance - line.distance).abs() < 0.5 * line.size
                    && (other.region_idx, other.line_idx) != (line.region_idx, line.line_idx)
            });
        if !stands_alone {
            return false;
        }
        let label = self.pages[line.page_idx].label.as_deref();
        let is_known = self.offsets.contains(&line.offset(0)) || label == Some(&line.slots[0].text);
        is_known || (line.zone == Zone::Foot && line.offset(0) == 1)
    }
}

/// The dropped lines of a margin that no line of the body comes before, seen from the edge.
fn before_body(lines: &[MarginLine], fates: &[Fate], page_idx: usize, zone: Zone) -> Vec<usize> {
    let from = lines.partition_point(|line| line.page_idx < page_idx);
    let to = lines.partition_point(|line| line.page_idx <= page_idx);
    let mut here: Vec<usize> = (from..to).filter(|&i| lines[i].zone == zone).collect();
    here.sort_by(|&a, &b| lines[a].distance.total_cmp(&lines[b].distance));
    let body_from = here
        .iter()
        .find(|&&i| fates[i] == Fate::Body)
        .map_or(f32::INFINITY, |&i| lines[i].distance + 0.35 * lines[i].size);
    here.retain(|&i| fates[i] == Fate::Dropped && lines[i].distance <= body_from);
    // A line close to the body belongs to it.
    while here.last().is_some_and(|&i| lines[i].gap <= SET_APART) {
        here.pop();
    }
    here
}

#[cfg(test)]
mod tests;
