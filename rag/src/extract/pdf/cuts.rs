//! Which cell of a drawn table each glyph of a line stands in.
//!
//! Cells are hardly wider than their text at times, and text runs over the border into the next cell. What was shown by
//! one operator then tells the texts apart: each of its glyphs starts where the one before ends, while the next cell's
//! text starts anywhere. So a word that a border runs through stays whole, on the side where most of it is.

use super::glyph::Glyph;

/// Within one word glyphs start where the one before ends, but for kerning, which is mostly less than this many em.
const KERN_EM: f32 = 0.05;
/// A border is drawn through a glyph, not beside it, if the glyph reaches further than this over it, in em.
const OVERRUN_EM: f32 = 0.02;
/// How many words are open at once: of two cells printed over each other, and of bold type printed twice.
const MAX_OPEN: usize = 4;

/// A stretch of glyphs that follow each other without a blank.
struct Word {
    members: Vec<usize>,
    from: f32,
    to: f32,
}

/// For each glyph of `line` how many of `borders` it stands behind. `line` is sorted from left to right, `borders` are
/// the places of the drawn borders that the line crosses.
pub(super) fn cells(line: &[Glyph], borders: &[f32]) -> Vec<usize> {
    let cell_at = |from: f32, to: f32| {
        let middle = f32::midpoint(from, to);
        borders.iter().filter(|&&at| at < middle).count()
    };
    let mut cells: Vec<usize> = line
        .iter()
        .map(|glyph| cell_at(glyph.x0, glyph.x1))
        .collect();
    let is_overrun = |glyph: &Glyph| {
        let reach = OVERRUN_EM * glyph.size;
        borders
            .iter()
            .any(|at| glyph.x0 + reach < *at && *at < glyph.x1 - reach)
    };
    if !line.iter().any(is_overrun) {
        return cells;
    }
    for word in words(line) {
        if word.members.iter().any(|&at| is_overrun(&line[at])) {
            let cell = cell_at(word.from, word.to);
            for at in word.members {
                cells[at] = cell;
            }
        }
    }
    cells
}

fn words(line: &[Glyph]) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    for (at, glyph) in line.iter().enumerate() {
        if glyph.c.is_whitespace() {
            continue;
        }
        let distance = |word: &Word| (glyph.x0 - word.to).abs();
        let open = words.len().saturating_sub(MAX_OPEN);
        let before = words[open..]
            .iter_mut()
            .filter(|word| {
                let last = word.members.last().map(|&last| &line[last]);
                distance(word) <= KERN_EM * glyph.size
                    && last.is_some_and(|last| goes_on(last, glyph))
            })
            .min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let end = glyph.x1 + glyph.tracking;
        if let Some(word) = before {
            word.members.push(at);
            word.to = end;
        } else {
            words.push(Word {
                members: vec![at],
                from: glyph.x0,
                to: end,
            });
        }
    }
    words
}

/// Whether `next` may belong to the word of `last`: a new text may start just where the one before it ends.
fn goes_on(last: &Glyph, next: &Glyph) -> bool {
    let starts_anew = last.c.is_lowercase() && next.c.is_uppercase();
    last.bold == next.bold && !starts_anew
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `text` from `x` on, 5 points for each character.
    fn set(text: &str, x: f32) -> Vec<Glyph> {
        let places = (0u16..).map(|at| x + 5.0 * f32::from(at));
        text.chars()
            .zip(places)
            .map(|(c, x0)| Glyph {
                c,
                x0,
                x1: x0 + 5.0,
                y: 100.0,
                size: 10.0,
                bold: false,
                rise: 0.0,
                space_before: None,
                soft_space: false,
                tracking: 0.0,
                lead: 0.0,
                struck: false,
                link: 0,
            })
            .collect()
    }

    /// The texts of the cells of a line made of `parts`, with a border at `at`.
    fn told_apart(parts: &[(&str, f32)], at: f32) -> [String; 2] {
        let mut line: Vec<Glyph> = parts.iter().flat_map(|(text, x)| set(text, *x)).collect();
        line.sort_by(|a, b| a.x0.total_cmp(&b.x0));
        let mut texts = [String::new(), String::new()];
        for (glyph, cell) in line.iter().zip(cells(&line, &[at])) {
            texts[cell].push(glyph.c);
        }
        texts
    }

    #[test]
    fn words_that_run_over_a_border_stay_whole() {
        for (parts, border, want) in [
            // The next cell starts within the last letter, after two letters of it, just behind it, and far from it.
            (
                vec![("valves", 0.0), ("every", 28.0)],
                27.0,
                ["valves", "every"],
            ),
            (
                vec![("valves", 0.0), ("every", 22.0)],
                21.0,
                ["valves", "every"],
            ),
            (
                vec![("valves", 0.0), ("Every", 30.0)],
                27.0,
                ["valves", "Every"],
            ),
            (
                vec![("valves", 0.0), ("every", 40.0)],
                27.0,
                ["valves", "every"],
            ),
            // The text of the right cell runs over its left border.
            (
                vec![("10", 0.0), ("1234567", 12.0)],
                14.0,
                ["10", "1234567"],
            ),
            // Text that fits is cut where the border is, even within what looks like a word.
            (
                vec![("valves", 0.0), ("every", 30.0)],
                30.0,
                ["valves", "every"],
            ),
            // One text over both cells, cut between its words.
            (vec![("safe valves", 0.0)], 23.0, ["safe ", "valves"]),
            (
                vec![("第一行第二", 0.0), ("第三", 26.0)],
                24.0,
                ["第一行第二", "第三"],
            ),
        ] {
            assert_eq!(told_apart(&parts, border), want, "{parts:?}");
        }
    }
}
