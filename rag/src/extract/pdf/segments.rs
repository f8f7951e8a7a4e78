//! From positioned glyphs to *segments*: stretches of one baseline without a gap wider than a word space.
//!
//! PDF files place glyphs; spaces, words and lines are what a reader sees in the distances. All lengths
//! here are points, `em` is the font size. y grows upwards, as in PDF.

use std::collections::HashSet;

use pdf_oxide::layout::{FontWeight, TextChar};

use super::cuts;
use super::glyph::{Frame, Glyph, Segment, quadrant};
use super::spelling::{Tracking, spell};
use super::symbolic;

/// A gap wider than this many em ends a segment: wider than word spaces in all but badly justified lines,
/// narrower than the space between table cells. A prose line split by mistake is joined again later.
const SEGMENT_GAP_EM: f32 = 0.9;

/// Letter spacing up to this many em is read as spaced-out type; what stands wider apart are cells placed that way.
const MAX_TRACKING_EM: f32 = 1.2;

/// How many glyphs to the left or right are looked at for the base of a script: about 50 points of a dense page.
const SCRIPT_WINDOW: usize = 400;
/// Type up to this share of another size is small beside it; from this share on it is as large.
const SMALL: f32 = 0.85;
const FULL_SIZE: f32 = 0.99;
/// Smaller type cannot be read by people, so it is not read here: it carries identifiers or hidden instructions.
const MIN_SIZE: f32 = 1.5;
/// Text tilted by more degrees than this away from a quarter turn is a watermark or a drawing's.
const MAX_TILT: f32 = 5.0;

/// The directions of a page's text, in quarter turns: that of most of it first.
pub(super) fn turns<'a>(chars: impl Iterator<Item = &'a TextChar>) -> Vec<usize> {
    let mut counts = [0usize; 4];
    for c in chars.filter(|c| !c.char.is_whitespace() && tilt(c) <= MAX_TILT) {
        counts[quadrant(c)] += 1;
    }
    let mut turns: Vec<usize> = (0..4)
        .filter(|&turn| counts[turn] > 0 || turn == 0)
        .collect();
    turns.sort_by_key(|&turn| (std::cmp::Reverse(counts[turn]), turn));
    turns.retain(|&turn| counts[turn] > 0 || turn == 0);
    turns
}

/// How far a character is turned away from the nearest quarter turn, in degrees.
fn tilt(c: &TextChar) -> f32 {
    (c.rotation_degrees - 90.0 * (c.rotation_degrees / 90.0).round()).abs()
}

/// The characters of a page that are upright in the frame, as glyphs. Left out is what lies off the page and what is
/// too small to see.
pub(super) fn upright(chars: &[TextChar], frame: Frame, area: (f32, f32, f32, f32)) -> Vec<Glyph> {
    let (left, right) = (area.0.min(area.2), area.0.max(area.2));
    let (bottom, top) = (area.1.min(area.3), area.1.max(area.3));
    // Spaces that the reader makes of shifts carry the name of a resource in place of a font's.
    let fonts: HashSet<&str> = chars
        .iter()
        .filter(|c| !c.char.is_whitespace())
        .map(|c| c.font_name.as_str())
        .collect();
    let mut glyphs = Vec::with_capacity(chars.len());
    for (at, c) in chars.iter().enumerate() {
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
        let on_page = (left - 1.0..=right + 1.0).contains(&c.origin_x)
            && (bottom - 1.0..=top + 1.0).contains(&c.origin_y);
        if quadrant(c) != frame.turn || tilt(c) > MAX_TILT || !on_page {
            continue;
        }
        let (x0, y) = frame.place(c.origin_x, c.origin_y);
        let bold = matches!(
            c.font_weight,
            FontWeight::Bold | FontWeight::SemiBold | FontWeight::ExtraBold | FontWeight::Black
        ) || c.font_name.to_ascii_lowercase().contains("bold");
        let tracking = c.rendered_advance - c.advance_width;
        let is_tracked =
            !c.char.is_whitespace() && tracking > 0.05 * size && tracking < MAX_TRACKING_EM * size;
        glyphs.push(Glyph {
            c: symbolic::read(chars, at),
            x0,
            x1: x0 + c.advance_width.abs(),
            y,
            size,
            bold,
            rise: 0.0,
            space_before: None,
            soft_space: c.char == ' ' && !fonts.contains(c.font_name.as_str()),
            tracking: if is_tracked { tracking } else { 0.0 },
            lead: 0.0,
            struck: false,
            link: 0,
        });
    }
    if frame.turn != 0 {
        glyphs.sort_by(|a, b| b.y.total_cmp(&a.y).then(a.x0.total_cmp(&b.x0)));
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

/// Groups glyphs into segments, top to bottom and left to right. `borders(y, from, to)` gives the places of the cell
/// borders between `from` and `to` at the height `y`; `targets` are those of the links in the order of their numbers.
pub(super) fn segments(
    mut glyphs: Vec<Glyph>,
    borders: &dyn Fn(f32, f32, f32) -> Vec<f32>,
    targets: &[String],
) -> Vec<Segment> {
    attach_scripts(&mut glyphs);
    glyphs.sort_by(|a, b| b.y.total_cmp(&a.y).then(a.x0.total_cmp(&b.x0)));
    let mut segments = Vec::new();
    let mut rest = &glyphs[..];
    while let Some(first) = rest.first() {
        let tolerance = (0.2 * first.size).max(0.8);
        let length = rest.partition_point(|glyph| first.y - glyph.y <= tolerance);
        let (line, below) = rest.split_at(length);
        segments.extend(line_segments(line.to_vec(), borders, targets));
        rest = below;
    }
    segments
}

/// Gives raised or lowered glyphs the baseline of the larger glyph they follow, or, if they are small, precede.
fn attach_scripts(glyphs: &mut [Glyph]) {
    let body = body_size(glyphs.iter().map(|glyph| (glyph.size, 1)));
    glyphs.sort_by(|a, b| a.x0.total_cmp(&b.x0));
    let is_small = |glyph: &Glyph| glyph.size <= SMALL * body && !glyph.c.is_whitespace();
    let largest = glyphs.iter().map(|glyph| glyph.size).fold(0.0, f32::max);
    let may_be_script =
        |glyph: &Glyph| glyph.size < FULL_SIZE * largest && !glyph.c.is_whitespace();
    for at in 0..glyphs.len() {
        // Sorted by x0, so the base is close before.
        let fits = |base: &Glyph| is_small(&glyphs[at]) || base.size * SMALL < glyphs[at].size;
        if may_be_script(&glyphs[at])
            && let Some(y) = glyphs[..at]
                .iter()
                .rev()
                .take(SCRIPT_WINDOW)
                .filter(|base| fits(base))
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
    let rise_em = rise.abs() / base.size;
    let (is_script, max_gap_em) = if same_run {
        (rise.abs() < 0.5, 0.5)
    } else if small.size <= base.size * SMALL {
        (rise.abs() > 0.5 && rise_em < 0.6, 0.5)
    } else {
        // Hardly smaller, as browsers set scripts: then it must touch its base and clearly leave the line.
        let leaves = (0.25..0.6).contains(&rise_em);
        (small.size < base.size * FULL_SIZE && leaves, 0.12)
    };
    let is_near = gap.abs() < max_gap_em * small.size.max(base.size);
    (is_script && is_near && !base.c.is_whitespace()).then_some(base.y)
}

/// The glyphs of a line, sorted from left to right, cell by cell, each with the number of its cell.
fn by_cell(line: Vec<Glyph>, borders: &dyn Fn(f32, f32, f32) -> Vec<f32>) -> Vec<(usize, Glyph)> {
    let Some(first) = line.first() else {
        return Vec::new();
    };
    let right = line
        .iter()
        .fold(first.x1, |right, glyph| right.max(glyph.x1));
    let borders = borders(first.y + 0.3 * first.size, first.x0, right);
    let mut placed: Vec<(usize, Glyph)> =
        cuts::cells(&line, &borders).into_iter().zip(line).collect();
    placed.sort_by_key(|(cell, _)| *cell);
    placed
}

fn line_segments(
    mut line: Vec<Glyph>,
    borders: &dyn Fn(f32, f32, f32) -> Vec<f32>,
    targets: &[String],
) -> Vec<Segment> {
    line.sort_by(|a, b| a.x0.total_cmp(&b.x0));
    let line = by_cell(line, borders);
    let mut glyphs: Vec<Glyph> = Vec::with_capacity(line.len());
    let mut last_cell = 0;
    let mut spaces: Vec<Glyph> = Vec::new();
    let mut groups: Vec<Vec<Glyph>> = Vec::new();
    for (cell, mut glyph) in line {
        if glyph.c.is_whitespace() {
            spaces.push(glyph);
            continue;
        }
        // Bold type is sometimes the same glyph printed twice with a tiny shift.
        let doubled = glyphs.iter().rev().take(3).any(|before| {
            cell == last_cell
                && before.c == glyph.c
                && (before.x0 - glyph.x0).abs() < 0.15 * glyph.size.min(before.x1 - before.x0 + 0.1)
        });
        if doubled {
            continue;
        }
        if let Some(previous) = glyphs.last() {
            let num_characters = spaces.iter().filter(|space| !space.soft_space).count();
            glyph.lead = previous.tracking * (num_characters + 1) as f32;
            if previous.gap_to(&glyph) > SEGMENT_GAP_EM * glyph.size.max(previous.size)
                || cell != last_cell
            {
                groups.push(std::mem::take(&mut glyphs));
                spaces.clear();
                glyph.lead = 0.0;
            }
        }
        if !glyphs.is_empty() && !spaces.is_empty() {
            glyph.space_before = Some(spaces.iter().map(|space| space.x1 - space.x0).sum());
            glyph.soft_space = spaces.iter().all(|space| space.soft_space);
        }
        spaces.clear();
        glyphs.push(glyph);
        last_cell = cell;
    }
    groups.push(glyphs);
    let tracking = Tracking::of(&groups);
    groups
        .iter()
        .filter_map(|glyphs| segment(glyphs, tracking, targets))
        .collect()
}

/// `tracking`: of its line.
fn segment(glyphs: &[Glyph], tracking: Tracking, targets: &[String]) -> Option<Segment> {
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
    let text = spell(glyphs, tracking, targets);
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

#[cfg(test)]
mod tests;
