//! From the glyphs of a segment to its text: where words end, ligatures, right-to-left text, marks of struck-out words
//! and of links.

use unicode_normalization::UnicodeNormalization;

use super::glyph::Glyph;

/// A gap wider than this many em (beyond the letter spacing of the segment) separates words...
const WORD_GAP_EM: f32 = 0.16;
/// ... and than this many where the text has space characters, which then tell the words apart themselves.
const WORD_GAP_BESIDE_SPACES_EM: f32 = 0.3;
/// Gaps that differ by less than this many em are the same letter spacing, and so many show that a line has one.
const EVEN_EM: f32 = 0.05;
const MIN_EVEN_GAPS: usize = 6;
/// What stands before and after struck-out text, as in Markdown.
const STRIKE: &str = "~~";

/// The letter spacing of a line, in points.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tracking {
    /// Of a line whose letters are placed one by one, each with a shift after it.
    lone: Option<f32>,
    /// Of a line whose words are all spaced out.
    even: Option<f32>,
}

impl Tracking {
    /// `groups`: the glyphs of the line's segments.
    pub(super) fn of(groups: &[Vec<Glyph>]) -> Self {
        Self {
            lone: lone_letters(groups),
            even: even_spacing(groups),
        }
    }
}

/// The spacing of a line that has the same between all its letters where there is no space character.
fn even_spacing(groups: &[Vec<Glyph>]) -> Option<f32> {
    let gaps: Vec<f32> = letter_gaps(groups.iter().map(Vec::as_slice)).collect();
    let size = groups.iter().flatten().next()?.size;
    let usual = median(gaps.clone());
    let num_even = gaps
        .iter()
        .filter(|gap| (*gap - usual).abs() < EVEN_EM * size)
        .count();
    (gaps.len() >= MIN_EVEN_GAPS && usual > 0.1 * size && num_even * 5 >= gaps.len() * 4)
        .then_some(usual)
}

/// The white between neighbours without a space character between them.
fn letter_gaps<'a>(groups: impl Iterator<Item = &'a [Glyph]>) -> impl Iterator<Item = f32> {
    groups
        .flat_map(|glyphs| glyphs.windows(2))
        .filter(|pair| pair[1].space_before.is_none())
        .map(|pair| pair[0].gap_to(&pair[1]))
}

/// The letter spacing of a line whose letters are placed one by one, each with a shift after it; `None` for others.
fn lone_letters(groups: &[Vec<Glyph>]) -> Option<f32> {
    let pairs = || groups.iter().flat_map(|glyphs| glyphs.windows(2));
    let num_pairs = pairs().count();
    let num_shifts = pairs()
        .filter(|pair| pair[1].space_before.is_some() && pair[1].soft_space)
        .count();
    if num_shifts * 2 <= num_pairs {
        return None;
    }
    let size = groups
        .iter()
        .flatten()
        .next()
        .map_or(10.0, |glyph| glyph.size);
    let gaps = pairs().map(|pair| pair[0].gap_to(&pair[1])).collect();
    // A row of a matrix is set like this too, but in digits.
    let num_glyphs = groups.iter().map(Vec::len).sum::<usize>();
    let letters = groups
        .iter()
        .flatten()
        .filter(|glyph| glyph.c.is_alphabetic())
        .count();
    let is_word = if num_pairs >= 5 {
        letters * 5 >= num_glyphs * 4
    } else {
        matches!(groups, [glyphs] if is_short_word(glyphs))
    };
    Some(median(gaps))
        .filter(|gap| *gap > 0.1 * size && is_word)
        .or(Some(0.0))
}

/// Whether few letters with shifts between them are a word in capitals and no labels: labels stand in the order of the
/// alphabet or at different distances.
fn is_short_word(glyphs: &[Glyph]) -> bool {
    let gaps = || glyphs.windows(2).map(|pair| pair[0].gap_to(&pair[1]));
    let first = gaps().next().unwrap_or(0.0);
    let is_even = |gap: f32| (gap - first).abs() < EVEN_EM * glyphs[0].size;
    let follows = |pair: &[Glyph]| u32::from(pair[1].c) == u32::from(pair[0].c) + 1;
    glyphs.len() >= 3
        && glyphs.iter().all(|glyph| glyph.c.is_uppercase())
        && gaps().all(is_even)
        && !glyphs.windows(2).all(follows)
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The text of a segment. `tracking`: of its line; `targets`: of the links, by their numbers.
pub(super) fn spell(glyphs: &[Glyph], tracking: Tracking, targets: &[String]) -> String {
    let gaps = WordGaps::of(glyphs, tracking);
    let mut text = String::with_capacity(glyphs.len() * 2);
    let mut links = Vec::new();
    for (at, glyph) in glyphs.iter().enumerate() {
        let previous = at.checked_sub(1).map(|before| &glyphs[before]);
        let struck_before = previous.is_some_and(|previous| previous.struck);
        if struck_before && !glyph.struck {
            text.push_str(STRIKE);
        }
        if let Some(previous) = previous {
            gaps.push(&mut text, previous, glyph);
        }
        if glyph.struck && !struck_before {
            text.push_str(STRIKE);
        }
        push_char(&mut text, glyph.c);
        if let Some(target) = usize::from(glyph.link)
            .checked_sub(1)
            .and_then(|at| targets.get(at))
        {
            links.push((text.len(), target));
        }
    }
    if glyphs.last().is_some_and(|glyph| glyph.struck) {
        text.push_str(STRIKE);
    }
    let mut text = logical_order(&text);
    // Where the order of the text was turned around, the place is that of another character.
    for (at, target) in links.into_iter().rev() {
        let at = (at..text.len())
            .find(|&at| text.is_char_boundary(at))
            .unwrap_or(text.len());
        text.insert_str(at, &format!(" ({target})"));
    }
    text
}

/// What separates the words of a segment.
struct WordGaps {
    /// Extra space between all letters ("M e s s a g e"), in points; 0 for ordinary text.
    spacing: f32,
    /// A gap wider than this many em separates words.
    gap_em: f32,
    /// A space character over a narrower gap than this, in points, was set back and is not seen.
    min_space: f32,
    /// Whether every letter is placed alone: then shifts taken for spaces say nothing.
    letters_alone: bool,
}

impl WordGaps {
    fn of(glyphs: &[Glyph], tracking: Tracking) -> Self {
        let lone = tracking.lone;
        let size = glyphs.first().map_or(10.0, |glyph| glyph.size);
        let pairs = || glyphs.windows(2).map(|pair| (&pair[0], &pair[1]));
        let letters_alone = lone.is_some();
        let space_before = |glyph: &Glyph| {
            glyph
                .space_before
                .filter(|_| !(letters_alone && glyph.soft_space))
        };
        // Space characters count with their own width, so that single letters between spaces are no spacing.
        let inner = pairs()
            .map(|(a, b)| a.gap_to(b) - space_before(b).unwrap_or(0.0))
            .collect();
        let spacing = lone
            .or_else(|| Some(median(inner)).filter(|gap| glyphs.len() >= 6 && *gap > 0.1 * size))
            // A short word of a line that is spaced out.
            .or_else(|| {
                let is_like = |even: &f32| {
                    letter_gaps(std::iter::once(glyphs))
                        .all(|gap| (gap - even).abs() < EVEN_EM * size)
                };
                tracking.even.filter(is_like)
            });
        let spaces: Vec<f32> = pairs()
            .filter(|(_, b)| space_before(b).is_some())
            .map(|(a, b)| a.gap_to(b))
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
            letters_alone,
        }
    }

    /// Writes what stands between two glyphs.
    fn push(&self, text: &mut String, previous: &Glyph, glyph: &Glyph) {
        let em = glyph.size.max(previous.size);
        let gap = previous.gap_to(glyph) - self.spacing;
        let is_gap = gap > self.gap_em * em;
        // In spaced-out type a space character of hardly any width only carries the spacing.
        let space_before = glyph
            .space_before
            .filter(|_| !(self.letters_alone && glyph.soft_space));
        let is_space = space_before.is_some_and(|width| {
            if self.spacing == 0.0 {
                gap >= self.min_space
            } else {
                width > 0.1 * em || is_gap
            }
        });
        if is_space || is_gap {
            text.push(' ');
        } else if glyph.rise > 0.1 * em && previous.rise <= 0.0 {
            // 10^6 is not 106 and 10^-7 no range; a footnote number is not part of the word; m2 and 21st are fine as
            // they are.
            let is_digit = glyph.c.is_ascii_digit();
            let is_sign = matches!(glyph.c, '-' | '+' | '−' | '–' | '\u{2010}' | '\u{2011}');
            let word_len = text.chars().rev().take_while(|c| c.is_alphabetic()).count();
            if previous.c.is_ascii_digit() && (is_digit || is_sign) {
                text.push('^');
            } else if is_digit && (word_len == 0 || word_len > 2) {
                text.push(' ');
            }
        }
    }
}

/// Ligatures and presentation forms become the letters they stand for.
fn push_char(text: &mut String, c: char) {
    match c {
        '\u{fb00}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' => text.extend(std::iter::once(c).nfkc()),
        '\u{2010}' | '\u{2011}' => text.push('-'),
        c => text.push(c),
    }
}

fn is_rtl(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
}

/// Text read off the page left to right, in the order in which it is read: right-to-left runs are turned
/// around, numbers and Latin words within them stay.
pub(super) fn logical_order(visual: &str) -> String {
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
