//! From positioned glyphs to *segments*: stretches of one baseline without a gap wider than a word space.
//!
//! PDF files place glyphs; spaces, words and lines are what a reader sees in the distances. All lengths
//! here are points, `em` is the font size. y grows upwards, as in PDF.

use pdf_oxide::layout::{FontWeight, TextChar};
use unicode_normalization::UnicodeNormalization;

use super::lines::TableCells;

/// A gap wider than this many em ends a segment: wider than word spaces in all but badly justified lines,
/// narrower than the space between table cells. A prose line split by mistake is joined again later.
const SEGMENT_GAP_EM: f32 = 0.9;
/// A gap wider than this many em (beyond the letter spacing of the segment) separates words...
const WORD_GAP_EM: f32 = 0.16;
/// ... and than this many where the text has space characters, which then tell the words apart themselves.
const WORD_GAP_BESIDE_SPACES_EM: f32 = 0.3;

/// How many glyphs to the left or right are looked at for the base of a script: about 50 points of a dense page.
const SCRIPT_WINDOW: usize = 400;
/// Smaller type cannot be read by people, so it is not read here: it carries identifiers or hidden instructions.
const MIN_SIZE: f32 = 1.5;

/// One visible character, in a frame in which its text runs left to right.
#[derive(Debug, Clone)]
pub(super) struct Glyph {
    pub(super) c: char,
    pub(super) x0: f32,
    pub(super) x1: f32,
    /// Baseline; the baseline of the base text for super- and subscripts.
    pub(super) y: f32,
    pub(super) size: f32,
    pub(super) bold: bool,
    /// Offset of a raised (positive) or lowered glyph from its base text, in points.
    rise: f32,
    /// Width of the space characters before the glyph; `None` if there were none.
    space_before: Option<f32>,
}

/// A stretch of text on one baseline.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) x0: f32,
    pub(super) x1: f32,
    pub(super) y: f32,
    pub(super) size: f32,
    pub(super) bold: bool,
    pub(super) text: String,
    /// A drawn table that stands here in place of text.
    pub(super) table: Option<Box<TableCells>>,
}

/// Reading frame of a page: how it is turned, and its lower and upper edge after that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// Quarter turns that the text runs away from left to right.
    turn: usize,
    pub(super) bottom: f32,
    pub(super) top: f32,
}

impl Frame {
    /// The frame in which most of a page's text is upright. `media`: x0, y0, x1, y1.
    pub(super) fn of(chars: &[TextChar], media: (f32, f32, f32, f32)) -> Self {
        let mut counts = [0usize; 4];
        for c in chars.iter().filter(|c| !c.char.is_whitespace()) {
            counts[quadrant(c)] += 1;
        }
        let turn = (0..4)
            .max_by_key(|&turn| counts[turn])
            .filter(|&turn| counts[turn] > counts[0])
            .unwrap_or(0);
        let mut frame = Self {
            turn,
            bottom: 0.0,
            top: 0.0,
        };
        let corners = [frame.place(media.0, media.1), frame.place(media.2, media.3)];
        frame.bottom = corners[0].1.min(corners[1].1);
        frame.top = corners[0].1.max(corners[1].1);
        frame
    }

    /// A point of the page in this frame.
    pub(super) fn place(&self, x: f32, y: f32) -> (f32, f32) {
        match self.turn {
            1 => (y, -x),
            2 => (-x, -y),
            3 => (-y, x),
            _ => (x, y),
        }
    }
}

/// Direction of a character in quarter turns from left to right.
fn quadrant(c: &TextChar) -> usize {
    let quarters = (c.rotation_degrees / 90.0).round().rem_euclid(4.0);
    if quarters.is_finite() {
        quarters as usize % 4
    } else {
        0
    }
}

/// The visible characters of a page in its frame. Left out is what is not upright there (stamps at the side),
/// what lies off the page, what is too small to see, and what is white on white; `is_painted` says whether a
/// point of the frame is not white.
pub(super) fn upright(
    chars: &[TextChar],
    frame: Frame,
    media: (f32, f32, f32, f32),
    is_painted: &dyn Fn(f32, f32) -> bool,
) -> Vec<Glyph> {
    let (left, right) = (media.0.min(media.2), media.0.max(media.2));
    let (bottom, top) = (media.1.min(media.3), media.1.max(media.3));
    let mut glyphs = Vec::with_capacity(chars.len());
    for c in chars {
        let numbers = [
            c.origin_x,
            c.origin_y,
            c.font_size,
            c.advance_width,
            c.rotation_degrees,
        ];
        let size = c.font_size.abs();
        if numbers.iter().any(|number| !number.is_finite()) || size < MIN_SIZE {
            continue;
        }
        let tilt = (c.rotation_degrees - 90.0 * (c.rotation_degrees / 90.0).round()).abs();
        let on_page = (left - 1.0..=right + 1.0).contains(&c.origin_x)
            && (bottom - 1.0..=top + 1.0).contains(&c.origin_y);
        if quadrant(c) != frame.turn || tilt > 5.0 || !on_page {
            continue;
        }
        let (x0, y) = frame.place(c.origin_x, c.origin_y);
        let white = c.color.r > 0.97 && c.color.g > 0.97 && c.color.b > 0.97;
        if white && !is_painted(x0 + 0.3 * size, y + 0.3 * size) {
            continue;
        }
        let bold = matches!(
            c.font_weight,
            FontWeight::Bold | FontWeight::SemiBold | FontWeight::ExtraBold | FontWeight::Black
        ) || c.font_name.to_ascii_lowercase().contains("bold");
        glyphs.push(Glyph {
            c: c.char,
            x0,
            x1: x0 + c.advance_width.abs(),
            y,
            size,
            bold,
            rise: 0.0,
            space_before: None,
        });
    }
    repair_utf8(&mut glyphs);
    glyphs
}

/// Joins glyphs that are the bytes of one UTF-8 character: a replacement text (`ActualText`) in UTF-8 comes out of
/// the reader byte by byte, "\u{a0}" as "Â\u{a0}". `glyphs` are sorted from top to bottom and left to right.
fn repair_utf8(glyphs: &mut Vec<Glyph>) {
    let mut at = 0;
    while at < glyphs.len() {
        let lead = u32::from(glyphs[at].c);
        let length = match lead {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => {
                at += 1;
                continue;
            }
        };
        let mut bytes = vec![lead as u8];
        let mut parts = vec![at];
        while bytes.len() < length {
            let last = &glyphs[parts[parts.len() - 1]];
            // The next byte stands exactly where the last one ends; the following text may stand in between.
            let next = (at + 1..glyphs.len().min(at + 12)).find(|&next| {
                let glyph = &glyphs[next];
                (0x80..=0xbf).contains(&u32::from(glyph.c))
                    && glyph.y == last.y
                    && (glyph.x0 - last.x1).abs() < 0.02
            });
            let Some(next) = next else { break };
            bytes.push(u32::from(glyphs[next].c) as u8);
            parts.push(next);
        }
        if bytes.len() == length
            && let Ok(text) = std::str::from_utf8(&bytes)
            && let Some(c) = text.chars().next()
        {
            glyphs[at].c = c;
            glyphs[at].x1 = glyphs[at].x0
                + if c.is_whitespace() {
                    0.2 * glyphs[at].size
                } else {
                    glyphs[at].x1 - glyphs[at].x0
                };
            for &part in parts[1..].iter().rev() {
                glyphs.remove(part);
            }
        }
        at += 1;
    }
}

/// The font size in which most of the text is set.
pub(super) fn body_size<'a>(sizes: impl Iterator<Item = (f32, usize)> + 'a) -> f32 {
    let mut weight = std::collections::BTreeMap::<i32, usize>::new();
    for (size, chars) in sizes {
        *weight.entry((size * 2.0).round() as i32).or_default() += chars;
    }
    weight
        .into_iter()
        .max_by_key(|(_, chars)| *chars)
        .map_or(10.0, |(half_points, _)| half_points as f32 / 2.0)
}

/// Groups glyphs into segments, top to bottom and left to right.
pub(super) fn segments(mut glyphs: Vec<Glyph>) -> Vec<Segment> {
    attach_scripts(&mut glyphs);
    glyphs.sort_by(|a, b| b.y.total_cmp(&a.y).then(a.x0.total_cmp(&b.x0)));
    let mut segments = Vec::new();
    let mut rest = &glyphs[..];
    while let Some(first) = rest.first() {
        let tolerance = (0.2 * first.size).max(0.8);
        let length = rest.partition_point(|glyph| first.y - glyph.y <= tolerance);
        let (line, below) = rest.split_at(length);
        line_segments(line.to_vec(), &mut segments);
        rest = below;
    }
    segments
}

/// Gives small raised or lowered glyphs the baseline of the larger glyph they follow, or precede.
fn attach_scripts(glyphs: &mut [Glyph]) {
    let body = body_size(glyphs.iter().map(|glyph| (glyph.size, 1)));
    glyphs.sort_by(|a, b| a.x0.total_cmp(&b.x0));
    let is_small = |glyph: &Glyph| glyph.size <= 0.85 * body && !glyph.c.is_whitespace();
    for at in 0..glyphs.len() {
        // Sorted by x0, so the base is close before.
        if is_small(&glyphs[at])
            && let Some(y) = glyphs[..at]
                .iter()
                .rev()
                .take(SCRIPT_WINDOW)
                .find_map(|base| base_line(&glyphs[at], base, base.x1 - glyphs[at].x0))
        {
            glyphs[at].rise = glyphs[at].y - y;
            glyphs[at].y = y;
        }
    }
    // "1 Ibid." begins with its raised number: the base follows.
    for at in (0..glyphs.len()).rev() {
        if is_small(&glyphs[at])
            && glyphs[at].rise == 0.0
            && let Some(y) = glyphs[at + 1..]
                .iter()
                .take(SCRIPT_WINDOW)
                .find_map(|base| base_line(&glyphs[at], base, base.x0 - glyphs[at].x1))
        {
            glyphs[at].rise = glyphs[at].y - y;
            glyphs[at].y = y;
        }
    }
}

/// The baseline that `small` shares with `base` if it is a script of it; `gap` is the distance between them.
fn base_line(small: &Glyph, base: &Glyph, gap: f32) -> Option<f32> {
    let same_run = (base.size - small.size).abs() < 0.1 && base.rise != 0.0;
    let rise = small.y - (base.y + if same_run { base.rise } else { 0.0 });
    let is_script = if same_run {
        rise.abs() < 0.5
    } else {
        base.size * 0.85 >= small.size && rise.abs() > 0.5 && rise.abs() < 0.6 * base.size
    };
    (is_script && !base.c.is_whitespace() && gap.abs() < 0.5 * small.size.max(base.size))
        .then_some(base.y)
}

fn line_segments(mut line: Vec<Glyph>, segments: &mut Vec<Segment>) {
    line.sort_by(|a, b| a.x0.total_cmp(&b.x0));
    let mut glyphs: Vec<Glyph> = Vec::with_capacity(line.len());
    let mut space: Option<f32> = None;
    for mut glyph in line {
        if glyph.c.is_whitespace() {
            space = Some(space.unwrap_or(0.0) + glyph.x1 - glyph.x0);
            continue;
        }
        // Bold type is sometimes the same glyph printed twice with a tiny shift.
        let doubled = glyphs.iter().rev().take(3).any(|before| {
            before.c == glyph.c
                && (before.x0 - glyph.x0).abs() < 0.15 * glyph.size.min(before.x1 - before.x0 + 0.1)
        });
        if doubled {
            continue;
        }
        if let Some(previous) = glyphs.last()
            && glyph.x0 - previous.x1 > SEGMENT_GAP_EM * glyph.size.max(previous.size)
        {
            segments.extend(segment(&glyphs));
            glyphs.clear();
            space = None;
        }
        glyph.space_before = if glyphs.is_empty() { None } else { space };
        space = None;
        glyphs.push(glyph);
    }
    segments.extend(segment(&glyphs));
}

fn segment(glyphs: &[Glyph]) -> Option<Segment> {
    let first = glyphs.first()?;
    let x1 = glyphs.iter().fold(first.x1, |x1, glyph| x1.max(glyph.x1));
    let full_size: Vec<&Glyph> = glyphs.iter().filter(|glyph| glyph.rise == 0.0).collect();
    // Small capitals are set in two sizes; the larger one is the segment's.
    let common = full_size.iter().map(|glyph| glyph.size).filter(|size| {
        full_size
            .iter()
            .filter(|other| (other.size - size).abs() < 0.3)
            .count()
            * 5
            >= full_size.len()
    });
    let size = common
        .fold(0.0, f32::max)
        .max(full_size.first().map_or(first.size, |_| MIN_SIZE));
    let bold = glyphs.iter().filter(|glyph| glyph.bold).count() * 10 >= glyphs.len() * 8;
    let gaps = WordGaps::of(glyphs);
    let mut text = String::with_capacity(glyphs.len() * 2);
    for (at, glyph) in glyphs.iter().enumerate() {
        let previous = at.checked_sub(1).map(|before| &glyphs[before]);
        if let Some(previous) = previous {
            gaps.push(&mut text, previous, glyph);
        }
        push_char(&mut text, glyph.c);
    }
    let text = logical_order(&text);
    Some(Segment {
        x0: first.x0,
        x1,
        y: first.y,
        size,
        bold,
        text,
        table: None,
    })
}

/// What separates the words of a segment.
struct WordGaps {
    /// Extra space between all letters ("M e s s a g e"), in points; 0 for ordinary text.
    spacing: f32,
    /// A gap wider than this many em separates words.
    gap_em: f32,
    /// A space character over a narrower gap than this, in points, was set back and is not seen.
    min_space: f32,
}

impl WordGaps {
    fn of(glyphs: &[Glyph]) -> Self {
        let median = |mut gaps: Vec<f32>| {
            gaps.sort_by(f32::total_cmp);
            gaps.get(gaps.len() / 2).copied().unwrap_or(0.0)
        };
        let size = glyphs.first().map_or(10.0, |glyph| glyph.size);
        let pairs = || glyphs.windows(2);
        // Space characters count with their own width, so that single letters between spaces are no spacing.
        let inner = pairs()
            .map(|pair| pair[1].x0 - pair[0].x1 - pair[1].space_before.unwrap_or(0.0))
            .collect();
        let spacing = if glyphs.len() >= 6 {
            Some(median(inner)).filter(|gap| *gap > 0.1 * size)
        } else {
            None
        };
        let spaces: Vec<f32> = pairs()
            .filter(|pair| pair[1].space_before.is_some())
            .map(|pair| pair[1].x0 - pair[0].x1)
            .collect();
        let has_spaces = spaces.len() * 12 >= glyphs.len();
        let usual_space = median(spaces);
        Self {
            spacing: spacing.unwrap_or(0.0),
            gap_em: if has_spaces {
                WORD_GAP_BESIDE_SPACES_EM
            } else {
                WORD_GAP_EM
            },
            // Fonts without widths have spaces without gaps; there every space counts.
            min_space: if usual_space > 0.15 * size {
                0.4 * usual_space
            } else {
                f32::NEG_INFINITY
            },
        }
    }

    /// Writes what stands between two glyphs.
    fn push(&self, text: &mut String, previous: &Glyph, glyph: &Glyph) {
        let em = glyph.size.max(previous.size);
        let gap = glyph.x0 - previous.x1 - self.spacing;
        let is_gap = gap > self.gap_em * em;
        // In spaced-out type a space character of hardly any width only carries the spacing.
        let is_space = glyph.space_before.is_some_and(|width| {
            if self.spacing == 0.0 {
                gap >= self.min_space
            } else {
                width > 0.1 * em || is_gap
            }
        });
        if is_space || is_gap {
            text.push(' ');
        } else if glyph.rise > 0.1 * em && previous.rise <= 0.0 && glyph.c.is_ascii_digit() {
            // 10^6 is not 106; a footnote number is not part of the word; m2 and 21st are fine as they are.
            let word_len = text.chars().rev().take_while(|c| c.is_alphabetic()).count();
            if previous.c.is_ascii_digit() {
                text.push('^');
            } else if word_len == 0 || word_len > 2 {
                text.push(' ');
            }
        }
    }
}

/// Ligatures and presentation forms become the letters they stand for, symbol-font bullets become bullets.
fn push_char(text: &mut String, c: char) {
    match c {
        '\u{fb00}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' => text.extend(std::iter::once(c).nfkc()),
        '\u{f0b7}' | '\u{f0a7}' | '\u{f0d8}' | '\u{f076}' | '\u{f06e}' | '\u{f0a8}'
        | '\u{f0fc}' => text.push('•'),
        // Symbol fonts repeat ASCII at U+F020.
        '\u{f020}'..='\u{f07e}' => text.extend(char::from_u32(u32::from(c) - 0xf000)),
        '\u{2010}' | '\u{2011}' => text.push('-'),
        c => text.push(c),
    }
}

fn is_rtl(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
}

/// Text read off the page left to right, in the order in which it is read: right-to-left runs are turned
/// around, numbers and Latin words within them stay.
fn logical_order(visual: &str) -> String {
    let rtl = visual.chars().filter(|&c| is_rtl(c)).count();
    if rtl == 0 {
        return visual.to_owned();
    }
    let latin = visual
        .chars()
        .filter(|c| c.is_alphabetic() && !is_rtl(*c))
        .count();
    let chars: Vec<char> = visual.chars().collect();
    let turned: Vec<char> = if rtl >= latin {
        chars.iter().rev().copied().collect()
    } else {
        chars
    };
    // The runs of the minority direction are now backwards.
    let minority = |c: char| {
        if rtl >= latin {
            !is_rtl(c) && c.is_alphanumeric()
        } else {
            is_rtl(c)
        }
    };
    let inner = |c: char| {
        minority(c)
            || (!is_rtl(c)
                && matches!(c, '.' | ',' | '/' | ':' | '-' | '%' | '\'' | '@' | ' ')
                && !(rtl < latin && c != ' '))
    };
    let mut out = Vec::with_capacity(turned.len());
    let mut at = 0;
    while at < turned.len() {
        if !minority(turned[at]) {
            out.push(turned[at]);
            at += 1;
            continue;
        }
        let run_end = at + turned[at..].iter().take_while(|&&c| inner(c)).count();
        let last = (at..run_end)
            .rev()
            .find(|&i| minority(turned[i]))
            .unwrap_or(at);
        out.extend(turned[at..=last].iter().rev());
        at = last + 1;
    }
    out.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, advance: f32, space: f32) -> Vec<Glyph> {
        let mut x = 0.0;
        let mut glyphs = Vec::new();
        for c in text.chars() {
            let width = if c == ' ' { space } else { 5.0 };
            glyphs.push(Glyph {
                c,
                x0: x,
                x1: x + width,
                y: 100.0,
                size: 10.0,
                bold: false,
                rise: 0.0,
                space_before: None,
            });
            x += width + advance;
        }
        glyphs
    }

    fn texts(glyphs: Vec<Glyph>) -> Vec<String> {
        segments(glyphs)
            .into_iter()
            .map(|segment| segment.text)
            .collect()
    }

    #[test]
    fn words_are_found_by_space_characters_or_by_gaps() {
        assert_eq!(texts(set("one two", 0.0, 2.5)), ["one two"]);
        let without_spaces: Vec<Glyph> = set("one two", 0.0, 2.5)
            .into_iter()
            .filter(|g| g.c != ' ')
            .collect();
        assert_eq!(texts(without_spaces), ["one two"]);
        assert_eq!(texts(set("ab    cd", 0.0, 2.5)), ["ab", "cd"]);
    }

    #[test]
    fn spaced_out_type_is_read_as_words() {
        let glyphs: Vec<Glyph> = set("Message from me", 2.0, 4.0)
            .into_iter()
            .filter(|g| g.c != ' ')
            .collect();
        assert_eq!(texts(glyphs), ["Message from me"]);
        assert_eq!(texts(set("a b c d e f", 0.0, 2.5)), ["a b c d e f"]);
    }

    #[test]
    fn scripts_join_their_line() {
        let raised = |text: &str, mark: char| {
            let mut glyphs = set(text, 0.0, 2.5);
            let x0 = glyphs[glyphs.len() - 1].x1;
            glyphs.push(Glyph {
                c: mark,
                x0,
                x1: x0 + 3.0,
                y: 104.0,
                size: 6.0,
                bold: false,
                rise: 0.0,
                space_before: None,
            });
            texts(glyphs)
        };
        assert_eq!(raised("10", '6'), ["10^6"]);
        assert_eq!(raised("km", '2'), ["km2"]);
        assert_eq!(raised("report", '7'), ["report 7"]);
        assert_eq!(raised("21", 's'), ["21s"]);
    }

    #[test]
    fn doubled_glyphs_are_read_once() {
        let mut glyphs = set("bold", 0.0, 2.5);
        let shifted: Vec<Glyph> = glyphs
            .iter()
            .map(|g| Glyph {
                x0: g.x0 + 0.3,
                x1: g.x1 + 0.3,
                ..g.clone()
            })
            .collect();
        glyphs.extend(shifted);
        assert_eq!(texts(glyphs), ["bold"]);
    }

    #[test]
    fn right_to_left_text_is_read_from_the_right() {
        assert_eq!(logical_order("םולש"), "שלום");
        assert_eq!(logical_order("2024 תנש"), "שנת 2024");
        assert_eq!(logical_order("the םולש word"), "the שלום word");
    }
}
