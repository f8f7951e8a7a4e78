//! Which encoding an HTML page states: the prescan of the WHATWG standard (13.2.3.2), and the XML
//! declaration of XHTML. Unlike a browser, which has to begin before the page is there, the scan does not end
//! after 1,024 bytes, and it passes over the content of scripts and styles.

use encoding_rs::{Encoding, WINDOWS_1252, X_USER_DEFINED};

use crate::extract::find;

/// A statement that comes later than this is not looked for.
const PRESCAN_BYTES: usize = 1 << 20;

/// Elements whose content is not markup.
const RAW_TEXT: &[&str] = &[
    "script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes",
];

/// The encoding that the page states, if any.
pub(super) fn stated_encoding(bytes: &[u8]) -> Option<&'static Encoding> {
    let bytes = &bytes[..bytes.len().min(PRESCAN_BYTES)];
    stated_by_meta(bytes).or_else(|| stated_by_xml(bytes))
}

fn stated_by_meta(bytes: &[u8]) -> Option<&'static Encoding> {
    let mut at = 0;
    while let Some(tag) = bytes.get(at..).and_then(|rest| find(rest, b"<")) {
        at += tag;
        let rest = &bytes[at..];
        if rest.starts_with(b"<!--") {
            // "<!-->" is a whole comment.
            at += 2 + find(&rest[2..], b"-->")? + 3;
            continue;
        }
        let is_end = rest.get(1) == Some(&b'/');
        let name_at = at + 1 + usize::from(is_end);
        if !bytes.get(name_at).is_some_and(u8::is_ascii_alphabetic) {
            at += match rest.get(1) {
                Some(b'!' | b'/' | b'?') => find(rest, b">")? + 1,
                _ => 1,
            };
            continue;
        }
        let name_len = bytes[name_at..]
            .iter()
            .position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>'))?;
        let name = lower(&bytes[name_at..name_at + name_len]);
        let (attributes, end) = attributes(bytes, name_at + name_len);
        at = end;
        if is_end {
            continue;
        }
        if name == "meta"
            && let Some(encoding) = stated_by_attributes(&attributes)
        {
            return Some(encoding);
        }
        if RAW_TEXT.contains(&name.as_str()) {
            at += find_end_tag(bytes.get(at..)?, &name)?;
        }
    }
    None
}

/// Attributes of a tag in lower case, from behind its name, and where the tag ends.
fn attributes(bytes: &[u8], mut at: usize) -> (Vec<(String, String)>, usize) {
    let skip = |at: usize, skipped: fn(&u8) -> bool| {
        let rest = bytes.get(at..).unwrap_or_default();
        at + rest.iter().take_while(|byte| skipped(byte)).count()
    };
    let mut attributes = Vec::new();
    loop {
        at = skip(at, |byte| byte.is_ascii_whitespace() || *byte == b'/');
        match bytes.get(at) {
            None => return (attributes, bytes.len()),
            Some(b'>') => return (attributes, at + 1),
            Some(_) => {}
        }
        // An equals sign at the very start belongs to the name.
        let end = skip(at + 1, |byte| {
            !byte.is_ascii_whitespace() && !matches!(byte, b'=' | b'/' | b'>')
        });
        let name = lower(&bytes[at..end]);
        at = skip(end, u8::is_ascii_whitespace);
        let mut value = String::new();
        if bytes.get(at) == Some(&b'=') {
            at = skip(at + 1, u8::is_ascii_whitespace);
            let end = match bytes.get(at) {
                Some(b'"') => skip(at + 1, |byte| *byte != b'"'),
                Some(b'\'') => skip(at + 1, |byte| *byte != b'\''),
                _ => skip(at, |byte| !byte.is_ascii_whitespace() && *byte != b'>'),
            };
            let is_quoted = matches!(bytes.get(at), Some(b'"' | b'\''));
            let start = at + usize::from(is_quoted);
            value = lower(bytes.get(start..end).unwrap_or_default());
            at = end + usize::from(is_quoted);
        }
        attributes.push((name, value));
    }
}

fn stated_by_attributes(attributes: &[(String, String)]) -> Option<&'static Encoding> {
    let value = |wanted: &str| {
        let found = attributes.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.trim())
    };
    if let Some(charset) = value("charset") {
        return encoding_for(charset);
    }
    if value("http-equiv") != Some("content-type") {
        return None;
    }
    let mut content = value("content")?;
    loop {
        let (_, rest) = content.split_once("charset")?;
        content = rest;
        let Some(label) = rest.trim_start().strip_prefix('=') else {
            continue;
        };
        let label = label.trim_start();
        let label = match label.strip_prefix(['"', '\'']) {
            Some(quoted) => quoted.split(['"', '\'']).next(),
            None => label.split([';', ' ', '\t', '\n', '\r']).next(),
        };
        return encoding_for(label?);
    }
}

fn stated_by_xml(bytes: &[u8]) -> Option<&'static Encoding> {
    let declaration = bytes.trim_ascii_start().strip_prefix(b"<?xml")?;
    let declaration = &declaration[..find(declaration, b"?>")?];
    let (attributes, _) = attributes(declaration, 0);
    let (_, label) = attributes.iter().find(|(name, _)| name == "encoding")?;
    encoding_for(label)
}

fn encoding_for(label: &str) -> Option<&'static Encoding> {
    let encoding = Encoding::for_label(label.trim().as_bytes())?;
    Some(if encoding == X_USER_DEFINED {
        WINDOWS_1252
    } else {
        encoding
    })
}

fn lower(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_ascii_lowercase()
}

fn find_end_tag(haystack: &[u8], name: &str) -> Option<usize> {
    haystack.windows(name.len() + 2).position(|window| {
        window.starts_with(b"</") && window[2..].eq_ignore_ascii_case(name.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_of_the_page_is_found_and_no_other() {
        let late = format!(
            "<style>{}</style><meta charset=koi8-r>",
            "/* */".repeat(2000)
        );
        let cases: &[(&str, Option<&str>)] = &[
            ("<meta charset=koi8-r>", Some("KOI8-R")),
            ("<META\nCharSet = 'KOI8-R' />", Some("KOI8-R")),
            (
                "<meta content='text/html; charset = \"koi8-r\"' http-equiv=Content-Type>",
                Some("KOI8-R"),
            ),
            (
                "<meta http-equiv=content-type content='charset charset=gbk'>",
                Some("GBK"),
            ),
            ("<meta name=x content='text/html; charset=gbk'>", None),
            (
                "<script src=a charset=utf-8></script><meta charset=gbk>",
                Some("GBK"),
            ),
            (
                "<script>document.write('<meta charset=utf-8>')</script><meta charset=gbk>",
                Some("GBK"),
            ),
            (
                "<!-- <meta charset=utf-8> --><meta charset=gbk>",
                Some("GBK"),
            ),
            ("<!--><meta charset=gbk>-->", Some("GBK")),
            (
                "<title><meta charset=utf-8></title><meta charset=gbk>",
                Some("GBK"),
            ),
            (
                "<a title='<meta charset=utf-8>'><meta charset=gbk>",
                Some("GBK"),
            ),
            ("<meta charset=nonsense><meta charset=gbk>", Some("GBK")),
            (
                "<?xml version='1.0' encoding='iso-8859-2'?><html>",
                Some("ISO-8859-2"),
            ),
            ("<?xml version='1.0'?><p encoding='iso-8859-2'>", None),
            (&late, Some("KOI8-R")),
            ("charset=gbk", None),
            ("<meta charset", None),
            ("<meta charset='gbk", Some("GBK")),
            ("<", None),
        ];
        for (html, want) in cases {
            assert_eq!(
                stated_encoding(html.as_bytes()).map(Encoding::name),
                *want,
                "{html}"
            );
        }
    }
}
