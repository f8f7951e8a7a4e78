//! The characters of a page with what the text reader leaves out: the stretch of content each comes from, how far it is
//! raised, what it stands for, the width of those that are turned, and whether they can be seen.

use std::collections::{HashMap, HashSet};

use pdf_oxide::extractors::TextExtractor;
use pdf_oxide::layout::TextChar;
use pdf_oxide::object::Object;
use pdf_oxide::{Error, PdfDocument};

use super::glyph::quadrant;
use super::paint::{Painting, Stretch};

/// If more than this share of a page's text is covered or cut off, the cover is not what we take it for.
const MAX_COVERED: f32 = 0.9;
/// Characters of one kind closer than this, in font sizes, are one character: that much two readings may differ.
const SAME_PLACE: f32 = 0.2;

/// Where the characters of one page come from.
pub(super) struct Source<'a> {
    pub(super) document: &'a PdfDocument,
    pub(super) page_idx: usize,
    pub(super) page: &'a Object,
    pub(super) content: &'a [u8],
    pub(super) painting: &'a Painting,
    /// Names of the layers that are not shown.
    pub(super) off: &'a HashSet<String>,
}

/// A character and the index of its stretch; `None` if that could not be told.
type Placed = (TextChar, Option<usize>);

impl Source<'_> {
    /// The characters that can be seen, with true widths, from top to bottom and left to right.
    pub(super) fn visible(&self) -> Result<Vec<TextChar>, Error> {
        let chars = self.all()?;
        let inked = |c: &TextChar| !c.char.is_whitespace();
        let num_inked = chars.iter().filter(|(c, _)| inked(c)).count();
        let is_covered = |(c, stretch): &Placed| {
            stretch.is_some_and(|stretch_idx| {
                self.painting.is_covered(c, stretch_idx) || self.painting.is_clipped(c, stretch_idx)
            })
        };
        let num_covered = chars
            .iter()
            .filter(|placed| inked(&placed.0) && is_covered(placed))
            .count();
        let covers_count = num_covered as f32 <= MAX_COVERED * num_inked as f32;
        let stretch_of = |placed: &Placed| {
            let stretch_idx = placed.1?;
            self.painting.stretches.get(stretch_idx)
        };
        let is_drawn =
            |placed: &Placed| stretch_of(placed).is_none_or(|stretch| !stretch.is_invisible);
        let is_outlined =
            |placed: &Placed| stretch_of(placed).is_some_and(|stretch| stretch.is_outlined);
        // Text recognized in a scan is set without ink on the image. Without any ink a page is a recognized one whose image was removed.
        let has_drawn = chars
            .iter()
            .any(|placed| inked(&placed.0) && is_drawn(placed));
        let shows = |placed: &Placed| {
            let (c, stretch) = placed;
            let is_white = c.color.r > 0.97 && c.color.g > 0.97 && c.color.b > 0.97;
            let drawn = is_drawn(placed);
            (drawn || !has_drawn || self.painting.is_on_image(c))
                && (!drawn
                    || !is_white
                    || is_outlined(placed)
                    || self.painting.shows_white(c, stretch.unwrap_or(usize::MAX)))
                && !(covers_count && is_covered(placed))
        };
        Ok(chars.into_iter().filter(shows).map(|(c, _)| c).collect())
    }

    fn all(&self) -> Result<Vec<Placed>, Error> {
        // What is placed from other files is judged by the reader over the whole stream.
        let is_placed = || self.content.windows(9).any(|window| window == b"PlacedPDF");
        let whole = [Stretch {
            bytes: 0..self.content.len(),
            ..Stretch::default()
        }];
        let (stretches, is_whole) = match &self.painting.stretches[..] {
            stretches if stretches.len() > 1 && !is_placed() => (stretches, false),
            [stretch] if stretch.is_invisible => (std::slice::from_ref(stretch), false),
            _ => (&whole[..], true),
        };
        let index = |stretch_idx: usize| (!is_whole).then_some(stretch_idx);
        let mut chars: Vec<Placed> = if is_whole {
            // Not `extract_chars`: it keeps every page's characters in a cache.
            let chars = self.document.extract_chars_filtered(
                self.page_idx,
                self.off.clone(),
                HashSet::new(),
            )?;
            chars.into_iter().map(|c| (c, None)).collect()
        } else {
            let chars = self.read(stretches, 0)?;
            chars
                .into_iter()
                .map(|(c, stretch_idx)| (c, index(stretch_idx)))
                .collect()
        };
        let mut is_sorted = is_whole;
        let turns = self.turns(&chars);
        if turns != [false; 4] {
            let is_turned = |(c, _): &Placed| turns[quadrant(c)];
            let (turned, others): (Vec<_>, Vec<_>) = chars.into_iter().partition(is_turned);
            chars = others;
            chars.extend(self.straightened(turned, turns, stretches, !is_whole)?);
            is_sorted = false;
        }
        if !is_whole {
            shift(&mut chars, stretches);
            chars = replaced(chars, stretches, &self.painting.replacements);
        }
        if !is_sorted {
            chars.sort_by(|(a, _), (b, _)| {
                b.bbox
                    .y
                    .total_cmp(&a.bbox.y)
                    .then(a.bbox.x.total_cmp(&b.bbox.x))
            });
        }
        Ok(chars)
    }

    /// The directions, in quarter turns, whose text is to be read on a turned page. `chars`: as read on the page as it is.
    /// Where there is text of one side, both are read: of text set in a mirrored space, as by programs that let y grow
    /// downwards, the reader gives the opposite direction.
    fn turns(&self, chars: &[Placed]) -> [bool; 4] {
        // Turned text of forms is cut off by the reader as if it stood upright, so it may not be among the characters.
        let mut turns = self.painting.turns_in_forms;
        turns[0] = false;
        let inked = chars.iter().filter(|(c, _)| !c.char.is_whitespace());
        for turn in inked.map(|(c, _)| quadrant(c)) {
            turns[turn] |= turn % 2 == 1;
        }
        let is_sideways = turns[1] || turns[3];
        (turns[1], turns[3]) = (is_sideways, is_sideways);
        turns
    }

    /// Turned characters with true widths and directions: those that stand upright on the turned page, which is the
    /// same in every space. `chars`: the characters of the directions in `turns` as the reader gave them;
    /// `has_stretches`: whether the stretches are told.
    fn straightened(
        &self,
        chars: Vec<Placed>,
        turns: [bool; 4],
        stretches: &[Stretch],
        has_stretches: bool,
    ) -> Result<Vec<Placed>, Error> {
        let mut out = Vec::with_capacity(chars.len());
        for turn in (1..4).filter(|&turn| turns[turn]) {
            let turned = self.read(stretches, turn)?.into_iter();
            out.extend(
                turned
                    .filter(|(c, _)| quadrant(c) == 0)
                    .map(|(c, stretch_idx)| {
                        (turned_back(c, turn), has_stretches.then_some(stretch_idx))
                    }),
            );
        }
        // What stands upright on none of the pages keeps the direction that the reader gave it.
        if out.len() < chars.len() {
            let mut found: HashMap<char, Vec<(f32, f32)>> = HashMap::new();
            for (c, _) in &out {
                found
                    .entry(c.char)
                    .or_default()
                    .push((c.origin_x, c.origin_y));
            }
            let is_found = |c: &TextChar| {
                found.get(&c.char).is_some_and(|places| {
                    places.iter().any(|(x, y)| {
                        (x - c.origin_x).hypot(y - c.origin_y) < SAME_PLACE * c.font_size
                    })
                })
            };
            let lost: Vec<Placed> = chars.into_iter().filter(|(c, _)| !is_found(c)).collect();
            out.extend(lost);
        }
        Ok(out)
    }

    /// Reads the stretches one by one, the page turned back by `turn` quarter turns: the reader knows the widths of
    /// upright characters only.
    fn read(&self, stretches: &[Stretch], turn: usize) -> Result<Vec<(TextChar, usize)>, Error> {
        let mut reader = TextExtractor::new();
        reader.set_page_index(u32::try_from(self.page_idx).unwrap_or(u32::MAX));
        let mut layers = self.off.clone();
        if stretches.len() > 1 || turn != 0 {
            // With a layer to leave out, even one that is not there, the reader looks at every operator. Otherwise it
            // expects a whole stream and passes over text whose beginning it did not see.
            layers.insert("\u{0}".to_owned());
        }
        if !layers.is_empty() {
            reader.set_excluded_layers(layers);
        }
        if let Some(resources) = self.page.as_dict().and_then(|page| page.get("Resources")) {
            reader.set_resources(resources.clone());
            reader.set_document(self.document);
            // Without its fonts the text is read as well as it can be, as the reader itself does it.
            drop(self.document.load_fonts_public(resources, &mut reader));
        }
        let turned: &[u8] = match turn {
            1 => b"0 -1 1 0 0 0 cm\n",
            2 => b"-1 0 0 -1 0 0 cm\n",
            3 => b"0 1 -1 0 0 0 cm\n",
            _ => b"",
        };
        reader.extract_owned(turned)?;
        let mut chars = Vec::new();
        for (stretch_idx, stretch) in stretches.iter().enumerate() {
            let bytes = self.content.get(stretch.bytes.clone()).unwrap_or_default();
            if !bytes.is_empty() {
                chars.extend(
                    reader
                        .extract_owned(bytes)?
                        .into_iter()
                        .map(|c| (c, stretch_idx)),
                );
            }
        }
        Ok(chars)
    }
}

/// Places raised and lowered characters where they stand.
fn shift(chars: &mut [Placed], stretches: &[Stretch]) {
    for (c, stretch_idx) in chars {
        if let Some(stretch) = stretch_idx.and_then(|stretch_idx| stretches.get(stretch_idx)) {
            c.origin_x += stretch.shift.0;
            c.origin_y += stretch.shift.1;
            c.bbox.x += stretch.shift.0;
            c.bbox.y += stretch.shift.1;
        }
    }
}

/// The characters with what they stand for in place of those that stand for another text.
fn replaced(chars: Vec<Placed>, stretches: &[Stretch], texts: &[String]) -> Vec<Placed> {
    if texts.is_empty() {
        return chars;
    }
    let mut groups: Vec<Vec<Placed>> = vec![Vec::new(); texts.len()];
    let mut out = Vec::with_capacity(chars.len());
    for placed in chars {
        let stretch = placed.1.and_then(|stretch_idx| stretches.get(stretch_idx));
        match stretch.and_then(|stretch| stretch.replacement) {
            Some(text_idx) => groups[text_idx].push(placed),
            None => out.push(placed),
        }
    }
    for (group, text) in groups.into_iter().zip(texts) {
        out.extend(standing_for(group, text));
    }
    out
}

/// The characters of `text` where those of `group` stand: evenly over what these take of each line.
fn standing_for(mut group: Vec<Placed>, text: &str) -> Vec<Placed> {
    let drawn = group.iter().map(|(c, _)| c.char);
    let inked = |c: &char| !c.is_whitespace();
    if drawn.clone().filter(inked).eq(text.chars().filter(inked)) {
        return group;
    }
    if drawn.clone().any(|c| inked(&c)) {
        group.retain(|(c, _)| inked(&c.char));
    }
    let direction = |c: &TextChar| {
        let (sin, cos) = c.rotation_degrees.to_radians().sin_cos();
        (cos, sin)
    };
    let end = |c: &TextChar| {
        let (cos, sin) = direction(c);
        (
            c.origin_x + c.advance_width * cos,
            c.origin_y + c.advance_width * sin,
        )
    };
    let same_line = |a: &Placed, b: &Placed| {
        let (cos, sin) = direction(&a.0);
        let (x, y) = (b.0.origin_x - a.0.origin_x, b.0.origin_y - a.0.origin_y);
        (y * cos - x * sin).abs() < 0.35 * a.0.font_size
    };
    let letters: Vec<char> = text.chars().collect();
    let num_glyphs = group.len();
    let mut out = Vec::with_capacity(letters.len());
    let mut num_before = 0;
    for line in group.chunk_by(same_line) {
        let share = |num_glyphs_before: usize| letters.len() * num_glyphs_before / num_glyphs;
        let letters = &letters[share(num_before)..share(num_before + line.len())];
        num_before += line.len();
        let (first, last) = (&line[0].0, end(&line[line.len() - 1].0));
        let step = (
            (last.0 - first.origin_x) / letters.len().max(1) as f32,
            (last.1 - first.origin_y) / letters.len().max(1) as f32,
        );
        for (at, &letter) in letters.iter().enumerate() {
            if letters.len() == line.len() {
                let (mut c, stretch_idx) = line[at].clone();
                c.char = letter;
                out.push((c, stretch_idx));
                continue;
            }
            let mut placed = line[0].clone();
            let c = &mut placed.0;
            let (x, y) = (at as f32 * step.0, at as f32 * step.1);
            c.char = letter;
            c.origin_x += x;
            c.origin_y += y;
            c.bbox.x += x;
            c.bbox.y += y;
            c.advance_width = step.0.hypot(step.1);
            c.rendered_advance = c.advance_width;
            out.push(placed);
        }
    }
    out
}

/// A character read on a page that was turned, as it stands on the page.
fn turned_back(mut c: TextChar, turn: usize) -> TextChar {
    let back = |x: f32, y: f32| match turn {
        1 => (-y, x),
        2 => (-x, -y),
        _ => (y, -x),
    };
    (c.origin_x, c.origin_y) = back(c.origin_x, c.origin_y);
    (c.bbox.x, c.bbox.y) = back(c.bbox.x, c.bbox.y);
    c.rotation_degrees += 90.0 * turn as f32;
    c
}
