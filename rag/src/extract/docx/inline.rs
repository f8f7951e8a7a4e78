//! Text of a paragraph as pieces of one look each, and how they are written as plain text: `~~struck out~~`, `10^5`,
//! `H2O`, "report 7" for a footnote number at the word.

use super::format::{Look, Script};

/// Text of one look.
#[derive(Debug, Clone)]
struct Piece {
    text: String,
    look: Look,
}

/// The text of a paragraph.
#[derive(Debug, Clone, Default)]
pub(super) struct Inline {
    pieces: Vec<Piece>,
}

impl Inline {
    pub(super) fn push(&mut self, text: &str, look: Look) {
        match self.pieces.last_mut() {
            Some(last) if last.look == look => last.text.push_str(text),
            _ if text.is_empty() => {}
            _ => self.pieces.push(Piece {
                text: text.to_owned(),
                look,
            }),
        }
    }

    /// Adds words that stand apart from what is before and after them.
    pub(super) fn push_apart(&mut self, text: &str) {
        self.push(&format!(" {text} "), Look::default());
    }

    /// Adds a formula: formulas in a row are separate, one within a sentence has its own spaces.
    pub(super) fn push_formula(&mut self, text: &str) {
        let last = self
            .pieces
            .last()
            .and_then(|piece| piece.text.chars().next_back());
        if last.is_some_and(char::is_alphanumeric) {
            self.push(" ", Look::default());
        }
        self.push(text, Look::default());
    }

    pub(super) fn is_blank(&self) -> bool {
        self.pieces.iter().all(Piece::is_blank)
    }

    /// Puts `before` in front.
    pub(super) fn prepend(&mut self, before: Self) {
        let own = std::mem::replace(self, before);
        for piece in own.pieces {
            self.push(&piece.text, piece.look);
        }
    }

    /// The text with marks for what the look means.
    pub(super) fn written(&self) -> String {
        let mut out = String::new();
        let mut previous = Script::Line;
        let mut is_struck = false;
        for (idx, piece) in self.pieces.iter().enumerate() {
            // Blanks are struck if the words on both sides are.
            let struck = if piece.is_blank() {
                is_struck
            } else {
                piece.look.struck
            };
            if is_struck && !struck {
                close_struck(&mut out);
            }
            let script = piece.look.script;
            let boundary = match script {
                Script::Line => after_script(&out, &piece.text, previous),
                _ => before_script(&out, piece, self.opens_fraction(idx)),
            };
            out.push_str(boundary);
            if struck && !is_struck {
                let words = piece.text.trim_start();
                out.push_str(&piece.text[..piece.text.len() - words.len()]);
                out.push_str("~~");
                out.push_str(words);
            } else {
                out.push_str(&piece.text);
            }
            is_struck = struck;
            previous = script;
        }
        if is_struck {
            close_struck(&mut out);
        }
        out
    }

    /// Whether the raised piece is the upper half of a fraction: `1/2` with the 1 raised and the 2 lowered.
    fn opens_fraction(&self, idx: usize) -> bool {
        let (Some(stroke), Some(below)) = (self.pieces.get(idx + 1), self.pieces.get(idx + 2))
        else {
            return false;
        };
        matches!(stroke.text.as_str(), "/" | "\u{2044}" | "\u{2215}")
            && below.look.script == Script::Sub
    }
}

impl Piece {
    fn is_blank(&self) -> bool {
        self.text.chars().all(char::is_whitespace)
    }
}

/// Ends struck text behind its last word.
fn close_struck(out: &mut String) {
    let words_len = out.trim_end().len();
    out.insert_str(words_len, "~~");
}

/// What stands between the line and a number that is raised or lowered: 10^5 is not 105, a footnote number is no
/// part of the word or number; m2 and H2O are fine as they are. Marks of letters stay at the number (21st), not at
/// the word, where they would make another word.
fn before_script(out: &str, piece: &Piece, opens_fraction: bool) -> &'static str {
    let (Some(last), Some(first)) = (out.chars().next_back(), piece.text.chars().next()) else {
        return "";
    };
    if last.is_whitespace() || first.is_whitespace() {
        return "";
    }
    let is_raised = piece.look.script == Script::Super;
    let unsigned = piece
        .text
        .trim_start_matches(['-', '+', '\u{2212}', '\u{2013}', '\u{2011}']);
    let is_signed = unsigned.len() < piece.text.len();
    let word_len = out.chars().rev().take_while(|c| c.is_alphabetic()).count();
    if !unsigned.starts_with(char::is_numeric) {
        let is_mark = is_raised && word_len > 2 && last.is_lowercase() && first.is_alphabetic();
        return if is_mark { " " } else { "" };
    }
    match (is_raised, last) {
        (true, last) if last.is_numeric() && opens_fraction => " ",
        (true, last) if last.is_numeric() || matches!(last, ')' | ']' | '}') => "^",
        (false, last) if last.is_numeric() => "_",
        // Only an exponent has a sign.
        (true, last) if is_signed && last.is_alphabetic() => "^",
        (true, _) if word_len == 0 || word_len > 2 => " ",
        _ => "",
    }
}

/// Digits on the line do not go on a raised or lowered number.
fn after_script(out: &str, text: &str, previous: Script) -> &'static str {
    let goes_on = previous != Script::Line
        && out.ends_with(char::is_numeric)
        && text.starts_with(char::is_numeric);
    if goes_on { " " } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(mark: char) -> Look {
        Look {
            struck: matches!(mark, '~' | '!'),
            script: match mark {
                '^' | '!' => Script::Super,
                '_' => Script::Sub,
                _ => Script::Line,
            },
        }
    }

    /// Pieces by a leading mark: '=' on the line, '^' raised, '_' lowered, '~' struck, '!' raised and struck.
    fn written(pieces: &[&str]) -> String {
        let mut inline = Inline::default();
        for piece in pieces {
            inline.push(&piece[1..], look(piece.chars().next().unwrap()));
        }
        inline.written()
    }

    #[test]
    fn raised_and_lowered_numbers_stay_apart_from_the_line() {
        let cases: &[(&[&str], &str)] = &[
            (&["=3 x 10", "^5", "= cells"], "3 x 10^5 cells"),
            (&["=10", "^-6", "= mbar"], "10^-6 mbar"),
            (&["=10", "^−6"], "10^−6"),
            (&["=45", "^1", "= million"], "45^1 million"),
            (&["=120 m", "^2", "=."], "120 m2."),
            (&["=m s", "^-1"], "m s^-1"),
            (&["=report", "^7"], "report 7"),
            (&["=report.", "^7"], "report. 7"),
            (&["=(1+r)", "^5"], "(1+r)^5"),
            (&["=the 21", "^st"], "the 21st"),
            (&["=XIX", "^e", "= siècle"], "XIXe siècle"),
            (&["=Mass", "^a"], "Mass a"),
            (&["=H", "_2", "=O"], "H2O"),
            (&["=SO", "_4", "^2-"], "SO4^2-"),
            (&["=1010", "_2"], "1010_2"),
            (&["=log", "_2", "=8"], "log2 8"),
            (&["^1", "=2025 figures"], "1 2025 figures"),
            (&["=3", "^1", "=/", "_2", "= inch"], "3 1/2 inch"),
            (&["=10", "^1", "^0"], "10^10"),
            (&["=CO", "_2", "= 400"], "CO2 400"),
        ];
        for (pieces, want) in cases {
            assert_eq!(written(pieces), *want);
        }
    }

    #[test]
    fn struck_words_are_marked_as_one() {
        let cases: &[(&[&str], &str)] = &[
            (
                &["=Fee ", "~120 euros", "= 150 euros"],
                "Fee ~~120 euros~~ 150 euros",
            ),
            (&["=Fee", "~ 120 ", "=150"], "Fee ~~120~~ 150"),
            (&["~120", "= ", "~euros", "=."], "~~120 euros~~."),
            (&["~all of it"], "~~all of it~~"),
            (&["~  ", "=shown"], "  shown"),
            (&["~10", "!5", "= cells"], "~~10^5~~ cells"),
        ];
        for (pieces, want) in cases {
            assert_eq!(written(pieces), *want);
        }
    }
}
