//! Forms: lines `Key: value`, or rows of two cells without a header, that belong together.
//!
//! Each line is a statement of its own, but only the whole form says what it is about: "Weight: 240 kg" is nothing without
//! "Machine: C-310". A form ends at a larger gap than the one behind its first line, and where its first key comes again.
//!
//! Must not know: claims, the question.

use super::window::Window;
use crate::text::sentence::Span;

/// Longest form that is shown whole, in characters; of a longer one, what fits behind its first lines.
const MAX_FORM_CHARS: usize = 500;

/// Notes in every window of a passage that is a line of a form where the form begins and ends.
pub(super) fn note_forms(passage: &str, windows: &mut [Window]) {
    let chars: Vec<char> = passage.chars().collect();
    let mut at = 0;
    while at < windows.len() {
        let length = block_length(&chars, &windows[at..]);
        if length > 1 {
            for i in at..at + length {
                windows[i].form = Some(shown_span(&windows[at..at + length], i - at));
            }
        }
        at += length.max(1);
    }
}

/// How many of the first windows are lines of one form.
fn block_length(chars: &[char], windows: &[Window]) -> usize {
    let key_of = |window: &Window| {
        let row = window.row.as_ref().filter(|row| row.is_form())?;
        Some(row.cells[0].text.clone())
    };
    let Some(first_key) = windows.first().and_then(key_of) else {
        return 0;
    };
    let mut first_gap = None;
    let mut length = 1;
    for pair in windows.windows(2) {
        let (end, start) = (pair[0].quote.span.end, pair[1].quote.span.start);
        let gap = chars[end..start].iter().filter(|c| **c == '\n').count();
        let is_same = key_of(&pair[1]).is_some_and(|key| key != first_key);
        if !is_same || gap > *first_gap.get_or_insert(gap) {
            break;
        }
        length += 1;
    }
    length
}

/// What is shown of a form for the sake of its line `at`: all of it, or the lines before it as far as they fit, and then
/// those behind it.
fn shown_span(block: &[Window], at: usize) -> Span {
    let mut span = block[at].quote.span;
    for window in block[..at].iter().rev() {
        let start = window.quote.span.start;
        if span.end - start > MAX_FORM_CHARS {
            break;
        }
        span.start = start;
    }
    for window in &block[at + 1..] {
        let end = window.quote.span.end;
        if end - span.start > MAX_FORM_CHARS {
            break;
        }
        span.end = end;
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::tests::context;
    use crate::answer::window::cut;

    /// The form of the line that begins with `line`.
    fn form_of(text: &str, line: &str) -> Option<String> {
        let start = text[..text.find(line).unwrap()].chars().count();
        let mut cut = cut(0, &context(&[("Sheet", text)])[0]).remove(0);
        note_forms(text, &mut cut.windows);
        let window = cut.windows.iter().find(|w| w.quote.span.start == start)?;
        let span = window.form?;
        Some(
            text.chars()
                .skip(span.start)
                .take(span.end - span.start)
                .collect(),
        )
    }

    #[test]
    fn the_lines_of_a_form_belong_together() {
        let sheet = "Maschine: C-310\nÖlfrei: nein\nGewicht: 240 kg";
        let two = format!("{sheet}\n\nMaschine: C-400\nÖlfrei: ja\nGewicht: 310 kg");
        let run_on = "Room: 204\nSeats: 12\nRoom: 205\nSeats: 40";
        let apart = "Machine: C-310\n\nOil-free: no\n\nWeight: 240 kg";
        let cases = [
            (sheet, "Gewicht", Some(sheet)),
            (two.as_str(), "Gewicht", Some(sheet)),
            (run_on, "Seats: 40", Some("Room: 205\nSeats: 40")),
            (apart, "Weight", Some(apart)),
            (
                "| Inflammable | non |\n| Armoire | K4 |",
                "| Armoire",
                Some("| Inflammable | non |\n| Armoire | K4 |"),
            ),
            ("| Name | Room |\n|---|---|\n| Ann | 204 |", "| Ann", None),
            ("Note: this is all there is.\nIt is short.", "Note", None),
        ];
        for (text, line, expected) in cases {
            assert_eq!(form_of(text, line).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_long_form_is_shown_as_far_as_it_fits() {
        let lines = (0..60).map(|i| format!("Field {i}: value {i}"));
        let text = lines.collect::<Vec<_>>().join("\n");
        let form = form_of(&text, "Field 40:").unwrap();
        assert!(form.contains("Field 40: value 40") && form.chars().count() <= MAX_FORM_CHARS);
    }
}
