//! Plain text: which lines are paragraphs, lists and headings.

use std::borrow::Cow;

use encoding_rs::WINDOWS_1252;

use super::ExtractError;
use super::encoding::{self, Decoded};
use super::outline::BlockWriter;
use crate::document::{BlockKind, Extracted};

/// Decodes text that has an encoding of its own format's making (a part of a DOCX, a PDF's title), where
/// no more than a byte order mark, UTF-8 and Western European need to be told apart. Files: [`encoding`].
pub(super) fn decode(bytes: &[u8]) -> Option<Cow<'_, str>> {
    encoding::decode(bytes, Some(WINDOWS_1252)).map(|decoded| decoded.text)
}

/// Extracts the paragraphs, list items and obvious headings of a plain text.
pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, ExtractError> {
    let Decoded { text, warnings } =
        encoding::decode(bytes, None).ok_or_else(|| ExtractError::corrupt("not text"))?;
    let mut writer = BlockWriter::new();
    warnings
        .into_iter()
        .for_each(|warning| writer.warn(warning));
    let mut lines: Vec<&str> = Vec::new();
    // Lines end with LF, CR LF or, in old files, CR alone.
    for line in text
        .split(['\n', '\x0c'])
        .flat_map(|line| line.trim_end_matches('\r').split('\r'))
        .chain([""])
    {
        if line.trim().is_empty() {
            write_paragraph(&mut writer, &lines);
            lines.clear();
        } else {
            lines.push(line);
        }
    }
    Ok(writer.finish(None))
}

fn write_paragraph(writer: &mut BlockWriter, lines: &[&str]) {
    let Some((first, rest)) = lines.split_first() else {
        return;
    };
    if let [underline, body @ ..] = rest
        && let Some(level) = underline_level(first, underline)
    {
        writer.heading(level, first);
        return write_paragraph(writer, body);
    }
    if rest.is_empty()
        && let Some(level) = lone_heading_level(first)
    {
        return writer.heading(level, first);
    }
    if is_list(lines) {
        return write_list(writer, lines);
    }
    if is_wrapped(lines) {
        writer.paragraph(&lines.join("\n"));
    } else {
        writer.lines(BlockKind::Paragraph, &lines.join("\n"));
    }
}

/// A line of `=` is level 1 and a line of `-` level 2, as in Markdown, if about as long as the line above.
fn underline_level(line: &str, underline: &str) -> Option<u8> {
    let (length, underline) = (line.trim().chars().count(), underline.trim());
    let fits = underline.len() >= 3 && underline.len() * 2 >= length && length <= 120;
    match underline.chars().next()? {
        '=' if fits && underline.chars().all(|c| c == '=') => Some(1),
        '-' if fits && underline.chars().all(|c| c == '-') => Some(2),
        _ => None,
    }
}

/// A short line that stands alone is a heading if it is numbered ("2.1 Scope") or in capitals ("SCOPE OF WORK").
fn lone_heading_level(line: &str) -> Option<u8> {
    let line = line.trim();
    let letters = line.chars().filter(|c| c.is_alphabetic()).count();
    if !(4..=80).contains(&letters) || line.ends_with(['.', ',', ';', ':', '?', '!']) {
        return None;
    }
    if let Some(level) = section_number_level(line) {
        return Some(level);
    }
    let capitals = line.chars().filter(|c| c.is_uppercase()).count();
    (capitals == letters).then_some(1)
}

/// Depth of a leading section number: "2 Scope" is 1, "2.1 Scope" is 2. A bare number must be small ("1998 was"
/// is a sentence) and what follows starts with a capital.
pub(super) fn section_number_level(line: &str) -> Option<u8> {
    let line = line.trim();
    let end = line.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = line.split_at(end);
    let rest = rest.strip_prefix(')').unwrap_or(rest);
    // "4.Aims" and "4 Aims" are numbered, "4Aims" is a name.
    let separated = number.ends_with('.')
        || rest.len() < line.len() - end
        || rest.starts_with(char::is_whitespace);
    if !separated
        || !rest
            .trim_start()
            .chars()
            .next()
            .is_some_and(char::is_uppercase)
    {
        return None;
    }
    let parts: Vec<&str> = number.trim_end_matches('.').split('.').collect();
    let numeric = parts.iter().all(|part| (1..=2).contains(&part.len()));
    (numeric && parts.len() <= 6).then(|| u8::try_from(parts.len()).unwrap_or(6))
}

/// Splits "- text", "• text", "3. text" or "(a) text" into marker and text.
pub(super) fn list_marker(line: &str) -> Option<(&str, &str)> {
    let trimmed = line.trim_start();
    let (marker, rest) = trimmed.split_once(char::is_whitespace)?;
    let bullet = matches!(
        marker,
        "-" | "*"
            | "•"
            | "–"
            | "—"
            | "·"
            | "▪"
            | "◦"
            | "‣"
            | "●"
            | "○"
            | "■"
            | "□"
            | "➢"
            | "\u{f0b7}"
            | "\u{f0a7}"
    );
    // The second bullet of word processors is an "o", and "o" is a word of many languages: it stays as it is.
    let letter = marker == "o";
    let inner = marker.trim_start_matches('(').trim_end_matches(['.', ')']);
    let numbered = inner.len() < marker.len()
        && (1..=3).contains(&inner.len())
        && (inner.bytes().all(|b| b.is_ascii_digit())
            || (inner.len() == 1
                && inner.bytes().all(|b| b.is_ascii_alphabetic())
                && !marker.ends_with('.'))
            || inner.bytes().all(|b| matches!(b, b'i' | b'v' | b'x')));
    (!rest.trim().is_empty() && (bullet || letter || numbered))
        .then_some((if bullet { "-" } else { marker }, rest.trim()))
}

/// Whether the lines hold list items. A line of running text may begin like one ("...on\n12. May", "...oggi\no
/// domani"): in a wrapped paragraph, a single marker further down counts only after a colon.
fn is_list(lines: &[&str]) -> bool {
    let mut items = lines
        .iter()
        .enumerate()
        .filter(|(line_idx, line)| starts_item(lines, *line_idx, line))
        .map(|(line_idx, _)| line_idx);
    match (items.next(), items.next()) {
        (None, _) => false,
        (Some(0), _) | (_, Some(_)) => true,
        (Some(only), None) => {
            !is_wrapped(&lines[..=only]) || lines[only - 1].trim_end().ends_with([':', '：'])
        }
    }
}

/// Whether the line begins with a list marker. The letter "o" is one only where it stands apart from its text,
/// or further in than the line above that is not an item itself.
fn starts_item(lines: &[&str], line_idx: usize, line: &str) -> bool {
    match list_marker(line) {
        Some(("o", text)) => {
            let stands_apart = line
                .trim_start()
                .strip_prefix('o')
                .is_some_and(|rest| rest.starts_with(['\t', '\u{a0}']) || rest.starts_with("  "));
            let lead = lines[..line_idx]
                .iter()
                .rev()
                .find(|line| !matches!(list_marker(line), Some(("o", _))));
            !text.is_empty()
                && (stands_apart || lead.is_some_and(|lead| indent(line) > indent(lead)))
        }
        marker => marker.is_some(),
    }
}

/// Columns in front of the text.
fn indent(line: &str) -> usize {
    line.chars()
        .take_while(|c| c.is_whitespace())
        .map(|c| if c == '\t' { 4 } else { 1 })
        .sum()
}

fn write_list(writer: &mut BlockWriter, lines: &[&str]) {
    let mut item: Option<(usize, &str, String)> = None;
    let mut lead = String::new();
    let mut base = usize::MAX;
    for (line_idx, line) in lines.iter().enumerate() {
        let indent = indent(line);
        if starts_item(lines, line_idx, line)
            && let Some((marker, text)) = list_marker(line)
        {
            if let Some((depth, marker, text)) = item.take() {
                writer.list_item(depth, marker, &text);
            }
            writer.paragraph(&std::mem::take(&mut lead));
            base = base.min(indent);
            item = Some((indent.saturating_sub(base) / 2, marker, text.to_owned()));
        } else if let Some((_, _, text)) = &mut item {
            text.push(' ');
            text.push_str(line);
        } else {
            lead.push('\n');
            lead.push_str(line);
        }
    }
    writer.paragraph(&lead);
    if let Some((depth, marker, text)) = item {
        writer.list_item(depth, marker, &text);
    }
}

/// Whether the line breaks come from wrapping at a margin: all lines but the last are nearly as long as the longest.
fn is_wrapped(lines: &[&str]) -> bool {
    let longest = lines
        .iter()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or(0);
    lines.len() < 2
        || (longest >= 50
            && lines[..lines.len() - 1]
                .iter()
                .all(|line| line.chars().count() * 10 >= longest * 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<(BlockKind, String)> {
        extract(text.as_bytes())
            .unwrap()
            .blocks
            .into_iter()
            .map(|b| (b.kind, b.text))
            .collect()
    }

    #[test]
    fn finds_headings_lists_and_wrapped_paragraphs() {
        use BlockKind::{Heading, ListItem, Paragraph};
        let long = "word ".repeat(14);
        let text = format!(
            "Title\n=====\n\n2.1 Scope of it\n\n{long}\n{long}\nend.\n\nTo do:\n- one\n  more\n  - two\n\nname: x\nrole: y\n"
        );
        assert_eq!(
            kinds(&text),
            [
                (Heading, "Title".into()),
                (Heading, "2.1 Scope of it".into()),
                (Paragraph, format!("{long}{long}end.")),
                (Paragraph, "To do:".into()),
                (ListItem, "- one more".into()),
                (ListItem, "  - two".into()),
                (Paragraph, "name: x\nrole: y".into()),
            ]
        );
        for line_end in ["\r\n", "\r", "\r\r\n"] {
            let other = text.replace('\n', line_end);
            assert_eq!(kinds(&other), kinds(&text), "{line_end:?}");
        }
    }

    #[test]
    fn words_at_the_start_of_a_line_are_no_list_markers() {
        use BlockKind::{ListItem, Paragraph};
        let italian = "Il pagamento deve avvenire entro trenta giorni dalla fattura\no entro sessanta giorni se il cliente è un ente pubblico, come\nprevisto dal contratto quadro firmato nel mese di marzo.";
        assert_eq!(kinds(italian), [(Paragraph, italian.replace('\n', " "))]);
        let twice = "Si può pagare con la carta di credito o con il bonifico bancario,\no in contanti presso la cassa aperta dalle otto fino alle sedici,\no con assegno.";
        assert_eq!(kinds(twice), [(Paragraph, twice.replace('\n', " "))]);
        let date = "Die Sitzung des Ausschusses findet nach der Sommerpause erst am\n12. Mai im großen Saal des Rathauses statt, die Unterlagen liegen\ndort aus.";
        assert_eq!(kinds(date), [(Paragraph, date.replace('\n', " "))]);
        let items = "Bring:\no\tbread\no\tsalt";
        assert_eq!(
            kinds(items),
            [
                (Paragraph, "Bring:".into()),
                (ListItem, "o bread".into()),
                (ListItem, "o salt".into()),
            ]
        );
        let nested = "- tools\n  o saw\n  o file\n- wood";
        assert_eq!(
            kinds(nested)
                .into_iter()
                .map(|(_, text)| text)
                .collect::<Vec<_>>(),
            ["- tools", "  o saw", "  o file", "- wood"]
        );
    }

    #[test]
    fn sentences_are_not_headings() {
        for line in [
            "1998 was a good year",
            "He left in MAY",
            "3 of them came",
            "IT",
            "Was it?",
        ] {
            assert_eq!(lone_heading_level(line), None, "{line}");
        }
    }
}
