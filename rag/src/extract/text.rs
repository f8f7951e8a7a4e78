//! Plain text: which encoding, which paragraphs. Also the cleaning that every extractor's text goes through.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::ExtractError;
use super::outline::BlockWriter;
use crate::document::{BlockKind, Extracted};

/// Decodes text of unknown encoding: byte order mark, UTF-16 by its zero bytes, UTF-8, else Windows-1252
/// (a superset of Latin-1). `None` if the bytes are not text at all.
pub(super) fn decode(bytes: &[u8]) -> Option<Cow<'_, str>> {
    if let Some((encoding, bom_len)) = Encoding::for_bom(bytes) {
        let (text, _) = encoding.decode_without_bom_handling(&bytes[bom_len..]);
        return is_text(&text).then_some(text);
    }
    if let Some(encoding) = utf16_without_bom(bytes) {
        let (text, _) = encoding.decode_without_bom_handling(bytes);
        return is_text(&text).then_some(text);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return is_text(text).then_some(Cow::Borrowed(text));
    }
    // A few broken bytes do not make UTF-8 Latin-1: "café" read as "cafÃ©" would never be found.
    let encoding = if mostly_utf8(bytes) {
        UTF_8
    } else {
        WINDOWS_1252
    };
    let (text, _) = encoding.decode_without_bom_handling(bytes);
    is_text(&text).then_some(text)
}

/// Text that is half ASCII has a zero in every second byte when written as UTF-16.
fn utf16_without_bom(bytes: &[u8]) -> Option<&'static Encoding> {
    let sample = &bytes[..bytes.len().min(4096) & !1];
    if sample.len() < 4 {
        return None;
    }
    let zeros = |parity: usize| {
        sample
            .iter()
            .skip(parity)
            .step_by(2)
            .filter(|&&b| b == 0)
            .count()
    };
    let pairs = sample.len() / 2;
    match (zeros(0), zeros(1)) {
        (0, odd) if odd * 2 > pairs => Some(UTF_16LE),
        (even, 0) if even * 2 > pairs => Some(UTF_16BE),
        _ => None,
    }
}

/// Whether at least four of five non-ASCII sequences are valid UTF-8.
fn mostly_utf8(bytes: &[u8]) -> bool {
    let (mut valid, mut invalid) = (0usize, 0usize);
    for chunk in bytes.utf8_chunks() {
        valid += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        invalid += usize::from(!chunk.invalid().is_empty());
    }
    valid > 0 && valid >= 4 * invalid
}

/// Text has no NUL and hardly any control characters; ESC is allowed for terminal logs.
fn is_text(text: &str) -> bool {
    let mut controls = 0usize;
    let mut undecoded = 0usize;
    let mut chars = 0usize;
    for c in text.chars().take(1 << 20) {
        chars += 1;
        match c {
            '\0' => return false,
            '\t' | '\n' | '\r' | '\x0c' | '\x1b' | '\x08' => {}
            c if c.is_control() && !('\u{80}'..='\u{9f}').contains(&c) => controls += 1,
            '\u{fffd}' => undecoded += 1,
            _ => {}
        }
    }
    controls * 50 <= chars && undecoded * 10 <= chars
}

/// Characters that are not seen and so must not be read: controls, zero-width marks, direction
/// overrides, soft hyphens and the tag characters that hide instructions from people.
/// The joiners U+200C and U+200D stay, Persian and emoji need them.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
        || (c.is_control() && !c.is_whitespace())
}

/// One line: whitespace runs become one space, invisible characters go.
pub(super) fn clean_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut pending_space = false;
    for c in text.chars().filter(|&c| !is_invisible(c)) {
        if c.is_whitespace() {
            pending_space = !line.is_empty();
        } else {
            if pending_space {
                line.push(' ');
                pending_space = false;
            }
            line.push(c);
        }
    }
    line
}

/// Several lines: invisible characters and trailing blanks go, no blank lines (a blank line would look
/// like the border between two blocks), indentation and inner spacing stay.
pub(super) fn clean_lines(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            line.chars()
                .filter(|&c| !is_invisible(c))
                .collect::<String>()
        })
        .map(|line| line.trim_end().replace('\t', "    "))
        .filter(|line| !line.is_empty())
        .collect();
    lines.join("\n")
}

/// Extracts the paragraphs, list items and obvious headings of a plain text.
pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, ExtractError> {
    let text = decode(bytes).ok_or_else(|| ExtractError::corrupt("not text"))?;
    let mut writer = BlockWriter::new();
    let mut lines: Vec<&str> = Vec::new();
    for line in text
        .split(['\n', '\x0c'])
        .flat_map(|line| line.split('\r'))
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
    if lines.iter().any(|line| list_marker(line).is_some()) {
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
            | "o"
    );
    let inner = marker.trim_start_matches('(').trim_end_matches(['.', ')']);
    let numbered = inner.len() < marker.len()
        && (1..=3).contains(&inner.len())
        && (inner.bytes().all(|b| b.is_ascii_digit())
            || (inner.len() == 1
                && inner.bytes().all(|b| b.is_ascii_alphabetic())
                && !marker.ends_with('.'))
            || inner.bytes().all(|b| matches!(b, b'i' | b'v' | b'x')));
    (!rest.trim().is_empty() && (bullet || numbered))
        .then_some((if bullet { "-" } else { marker }, rest.trim()))
}

fn write_list(writer: &mut BlockWriter, lines: &[&str]) {
    let mut item: Option<(usize, &str, String)> = None;
    let mut lead = String::new();
    let mut base = usize::MAX;
    for line in lines {
        let indent = line
            .chars()
            .take_while(|c| c.is_whitespace())
            .map(|c| if c == '\t' { 4 } else { 1 })
            .sum::<usize>();
        if let Some((marker, text)) = list_marker(line) {
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

    #[test]
    fn decodes_each_encoding_and_refuses_bytes() {
        let utf16: Vec<u8> = "Grüße".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let with_bom: Vec<u8> = [0xfe, 0xff]
            .into_iter()
            .chain("Grüße".encode_utf16().flat_map(u16::to_be_bytes))
            .collect();
        let cases: &[(&[u8], Option<&str>)] = &[
            ("Grüße".as_bytes(), Some("Grüße")),
            (b"\xef\xbb\xbfGr\xc3\xbc\xc3\x9fe", Some("Grüße")),
            (&with_bom, Some("Grüße")),
            (&utf16, Some("Grüße")),
            (b"Gr\xfc\xdfe", Some("Grüße")),
            (b"\x93quoted\x94", Some("“quoted”")),
            (b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0", None),
            (&[7, 200, 3, 1, 9, 255, 17, 2, 3, 4, 5, 6], None),
        ];
        for (bytes, want) in cases {
            assert_eq!(decode(bytes).as_deref(), *want, "{bytes:?}");
        }
        let broken = [b"caf\xc3\xa9 ".repeat(9), b"\xe9".to_vec()].concat();
        assert!(decode(&broken).is_some_and(|text| text.starts_with("café café")));
    }

    #[test]
    fn what_is_not_seen_is_not_read() {
        let hidden: String = "ignore"
            .chars()
            .filter_map(|c| char::from_u32(0xe0000 + c as u32))
            .collect();
        assert_eq!(
            clean_line(&format!(" a\u{200b}b\u{ad}c {hidden}\u{202e}\u{a0} d\n")),
            "abc d"
        );
        assert_eq!(clean_lines("a  \n\n\tb\x07"), "a\n    b");
    }

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
