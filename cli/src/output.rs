//! What people and programs read: results on stdout, everything else on stderr.
//!
//! Names of files and accounts come from others, so nothing reaches a terminal that could command it: everything that is
//! printed here loses control characters and overrides of the writing direction, which are shown as `\u001b` (also a valid
//! escape in JSON). [`name`] does the same with line breaks, for text that must stay on its line.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::process::exit;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// Whether a terminal would take the character for a command, or show what follows in another order: control characters
/// (C1 included) and the embeddings, overrides and isolates of Unicode's bidirectional algorithm. Marks that single words of
/// Arabic or Hebrew need (U+200E, U+200F, U+061C) are none of these.
fn is_command(character: char) -> bool {
    character.is_control() && !matches!(character, '\n' | '\t')
        || matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn escape(text: &str, must_go: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&must_go) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if must_go(character) {
            // All of them are in the basic plane, where four digits are enough.
            escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Text of any length as a terminal may have it.
fn harmless(text: &str) -> Cow<'_, str> {
    // The line ends of Windows are no reason to show escapes.
    match text.contains("\r\n") {
        true => Cow::Owned(escape(&text.replace("\r\n", "\n"), is_command).into_owned()),
        false => escape(text, is_command),
    }
}

/// A name of something, on its line: line and paragraph separators are escaped, too.
pub fn name(text: &str) -> Cow<'_, str> {
    escape(text, |character| {
        is_command(character) || matches!(character, '\n' | '\t' | '\u{2028}' | '\u{2029}')
    })
}

/// Writes a document to stdout: as it is for a program that reads it, harmless for a terminal.
pub fn document(text: &str) {
    if std::io::stdout().is_terminal() {
        print(text);
    } else {
        write_out(text);
    }
}

/// Writes to stdout without a line end and shows it at once. A reader that has gone away ends the program quietly.
pub fn print(text: &str) {
    write_out(&harmless(text));
}

fn write_out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .is_err()
    {
        exit(0);
    }
}

/// Writes a line to stdout.
pub fn line(text: &str) {
    print(&format!("{text}\n"));
}

/// Writes one JSON document to stdout, on one line.
pub fn json<T: Serialize>(value: &T) {
    match serde_json::to_string(value) {
        Ok(text) => line(&text),
        Err(error) => note(&format!("cannot write JSON: {error}")),
    }
}

/// Writes a line to stderr.
pub fn note(text: &str) {
    // Nobody can be told that stderr is closed.
    let _ = writeln!(std::io::stderr().lock(), "{}", harmless(text));
}

/// Whether people watch stderr.
pub fn is_interactive() -> bool {
    std::io::stderr().is_terminal()
}

/// A turning mark on stderr while something of unknown length runs; one plain line where nobody watches.
pub fn spinner(message: &str) -> ProgressBar {
    if !is_interactive() {
        note(message);
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new_spinner();
    bar.set_message(name(message).into_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// A bar on stderr that fills while a model is loaded; one plain line where nobody watches.
pub fn loading(model: &str) -> ProgressBar {
    let bar = spinner(&format!("loading {model}"));
    let template = "{spinner} {msg} [{bar:28}] {percent:>3} %  {elapsed}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_length(1);
    bar
}

/// A bar that counts things on stderr; hidden where nobody watches.
pub fn counter() -> ProgressBar {
    let target = if is_interactive() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) =
        ProgressStyle::with_template("{prefix:>10} [{bar:28}] {pos}/{len}  {wide_msg}")
    {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Columns padded to their widest cell, two spaces apart; the last column is not padded.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<Cow<'_, str>>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| name(cell)).collect())
        .collect();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
        cells
            .chain([header[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    let header: Vec<Cow<'_, str>> = header.iter().map(|&cell| Cow::Borrowed(cell)).collect();
    for row in std::iter::once(&header).chain(&rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = widths
                .get(column)
                .map_or(0, |width| width.saturating_sub(cell.chars().count()));
            line.push_str(cell);
            line.push_str(&" ".repeat(pad + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A text on one line, harmless, cut to `max` characters.
pub fn one_line(text: &str, max: usize) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let flat = name(&flat);
    if flat.chars().count() <= max {
        return flat.into_owned();
    }
    let cut: String = flat.chars().take(max.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_do_not_end_in_spaces() {
        let text = table(
            &["NAME", "SIZE"],
            &[
                vec!["a".into(), "1".into()],
                vec!["longer".into(), String::new()],
            ],
        );
        assert_eq!(text, "NAME    SIZE\na       1\nlonger\n");
    }

    #[test]
    fn nothing_that_commands_a_terminal_is_left_and_other_scripts_stay() {
        let table = [
            (
                "\u{1b}]52;c;aGk=\u{7}note.pdf",
                "\\u001b]52;c;aGk=\\u0007note.pdf",
            ),
            ("\u{9b}2Jx", "\\u009b2Jx"),
            ("invoice\u{202e}fdp.exe", "invoice\\u202efdp.exe"),
            ("\u{2067}x\u{2069}", "\\u2067x\\u2069"),
            ("a\nb\u{2028}c\td\re", "a\\u000ab\\u2028c\\u0009d\\u000de"),
            ("سلام‌ها \u{200f}שלום größe 👩‍🔧", "سلام‌ها \u{200f}שלום größe 👩‍🔧"),
        ];
        for (raw, shown) in table {
            assert_eq!(name(raw), shown);
        }
        assert_eq!(
            harmless("one\r\ntwo\tthree\u{1b}[0m"),
            "one\ntwo\tthree\\u001b[0m"
        );
        let listed = table_of("evil\nforged  line\u{1b}[2J");
        assert_eq!(listed.lines().count(), 2, "{listed:?}");
        // What is escaped in JSON is the same text for whoever reads it.
        let json = serde_json::to_string(&serde_json::json!({ "a": "x\u{9b}\u{202e}" })).unwrap();
        let read: serde_json::Value = serde_json::from_str(&harmless(&json)).unwrap();
        assert_eq!(read["a"], "x\u{9b}\u{202e}");
        assert!(!one_line("a \u{1b}[31m b", 60).contains('\u{1b}'));
    }

    fn table_of(cell: &str) -> String {
        table(&["NAME"], &[vec![cell.to_owned()]])
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        assert_eq!(one_line("ein  schöner\nTag", 9), "ein schö…");
        assert_eq!(one_line("kurz", 9), "kurz");
    }
}
