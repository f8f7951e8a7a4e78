//! What people and programs read: results on stdout, everything else on stderr.

use std::io::{IsTerminal, Write};
use std::process::exit;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// Writes to stdout without a line end and shows it at once. A reader that has gone away ends the program quietly.
pub fn print(text: &str) {
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
    let _ = writeln!(std::io::stderr().lock(), "{text}");
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
    bar.set_message(message.to_owned());
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
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
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

/// A text on one line, cut to `max` characters.
pub fn one_line(text: &str, max: usize) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= max {
        return flat;
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
    fn a_long_text_is_cut_at_a_character() {
        assert_eq!(one_line("ein  schöner\nTag", 9), "ein schö…");
        assert_eq!(one_line("kurz", 9), "kurz");
    }
}
