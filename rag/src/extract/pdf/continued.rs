//! Sentences that the end of a column or page breaks. Passages do not cross pages without need, so the rest of
//! such a sentence would be searched, quoted and checked apart from the words it says something about.
//!
//! Knows pieces and their text, not where on the page they stand.

use super::hyphens::{Words, join_lines};
use super::lines::{Piece, PieceKind};
use crate::text::sentence::{is_closer, is_terminator, split_sentences};

/// Fonts of one text differ by less than this, in points; notes below the text differ by more.
const SAME_SIZE: f32 = 0.5;

/// Gives the rest of the sentence that `before` breaks off to `before`. `region` is the next column or page in
/// reading order: of another page only the words up to the first full stop move, of the same page the paragraph.
pub(super) fn join_broken_sentence(before: &mut Piece, region: &mut Vec<Piece>, words: &Words) {
    let Some(after) = region.first_mut().filter(|after| continues(before, after)) else {
        return;
    };
    if before.page == after.page {
        before.lines.append(&mut after.lines);
        region.remove(0);
        return;
    }
    let text = join_lines(&after.lines, words);
    let Some(sentence) = split_sentences(&text).into_iter().next() else {
        return;
    };
    let end = text
        .char_indices()
        .nth(sentence.end)
        .map_or(text.len(), |(byte, _)| byte);
    before.lines.push(text[..end].to_owned());
    let rest = text[end..].trim_start();
    if rest.is_empty() {
        region.remove(0);
    } else {
        after.lines = vec![rest.to_owned()];
    }
}

/// Whether `after` begins within a sentence of `before`: a text without a full stop, and one that starts small.
fn continues(before: &Piece, after: &Piece) -> bool {
    let is_prose = !matches!(before.kind, PieceKind::Table(_)) && after.kind == PieceKind::Text;
    let last = before.lines.last().map_or("", String::as_str);
    let open_end = last
        .trim_end_matches(|c: char| c.is_whitespace() || is_closer(c))
        .chars()
        .next_back()
        .is_some_and(|c| !is_terminator(c) && c != ':');
    let first = after.lines.first().map_or("", String::as_str);
    let small_start = first
        .trim_start()
        .chars()
        .next()
        .is_some_and(char::is_lowercase);
    is_prose && open_end && small_start && (before.size - after.size).abs() < SAME_SIZE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(page: u32, lines: &[&str]) -> Piece {
        Piece {
            kind: PieceKind::Text,
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            page,
            x0: 72.0,
            size: 11.0,
            bold: false,
        }
    }

    /// The texts before and after, joined; the latter `None` if nothing of it is left.
    fn joined(mut before: Piece, after: Piece) -> (String, Option<String>) {
        let words = Words::of_texts(&["recorded"]);
        let mut region = vec![after];
        join_broken_sentence(&mut before, &mut region, &words);
        let text = |piece: &Piece| join_lines(&piece.lines, &words);
        (text(&before), region.first().map(text))
    }

    #[test]
    fn a_sentence_broken_by_a_page_stays_on_the_page_where_it_starts() {
        let before = || piece(2, &["Videos were presented and", "recor-"]);
        assert_eq!(
            joined(
                before(),
                piece(
                    3,
                    &["ded for 10 min. each. Some", "were not. None", "was lost."]
                )
            ),
            (
                "Videos were presented and recorded for 10 min. each.".into(),
                Some("Some were not. None was lost.".into())
            )
        );
        assert_eq!(
            joined(before(), piece(3, &["ded by nurses."])),
            ("Videos were presented and recorded by nurses.".into(), None)
        );
    }

    #[test]
    fn a_paragraph_broken_by_a_column_is_one_paragraph() {
        assert_eq!(
            joined(
                piece(2, &["The pilot"]),
                piece(2, &["landed. He was", "unhurt."])
            ),
            ("The pilot landed. He was unhurt.".into(), None)
        );
    }

    #[test]
    fn what_does_not_continue_stays_apart() {
        let apart = |before: Piece, after: Piece| {
            let expected = (before.lines.join(" "), Some(after.lines.join(" ")));
            assert_eq!(joined(before, after), expected);
        };
        apart(piece(2, &["It ended."]), piece(3, &["which was seen."]));
        apart(
            piece(2, &["It ended (so they said.)"]),
            piece(3, &["which was seen."]),
        );
        apart(piece(2, &["The parts are:"]), piece(3, &["wings, wheels"]));
        apart(piece(2, &["The pilot"]), piece(3, &["Landed late."]));
        let note = Piece {
            size: 8.0,
            ..piece(2, &["Smith 2019, p. 4"])
        };
        apart(note, piece(3, &["which was seen."]));
        let item = Piece {
            kind: PieceKind::Item("-".into()),
            ..piece(3, &["which was seen."])
        };
        apart(piece(2, &["The pilot"]), item);
    }
}
