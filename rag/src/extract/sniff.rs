//! Which format a file has, by its content; and whether its name says the same.

use std::io::Cursor;

use super::ExtractError;
use super::format::Format;
use super::readers::{kind_of, reader_for};
use super::{encoding, find};

/// What the content is, before the name is looked at.
#[derive(Debug, PartialEq)]
enum Content {
    Supported(Format),
    /// Text that could be anything written in text.
    Text,
    /// An Office file behind a password: a compound file that holds `EncryptedPackage`.
    EncryptedOffice,
    /// A ZIP archive without a readable directory.
    BrokenZip(String),
    /// Something else; the words complete "the content is ...".
    Other(&'static str),
}

/// File signatures of what has no extractor, longest first where they overlap.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"{\\rtf", "an RTF document"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"BM", "a BMP image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"SQLite format 3\0", "a database"),
    (b"%!PS", "a PostScript document"),
    (b"OggS", "an audio file"),
    (b"ID3", "an audio file"),
    (b"RIFF", "an audio or video file"),
];

/// Decides which extractor reads the file.
///
/// # Errors
/// [`ExtractError::TypeMismatch`] if `extension` names another format than the content has,
/// [`ExtractError::Unsupported`] if no extractor takes it, [`ExtractError::Empty`] for blank files.
pub(super) fn detect(bytes: &[u8], extension: &str) -> Result<Format, ExtractError> {
    let named = reader_for(extension).format;
    if bytes
        .iter()
        .all(|byte| byte.is_ascii_whitespace() || *byte == 0)
    {
        return Err(ExtractError::Empty);
    }
    let content = content_of(bytes);
    let mismatch = |found: &str| ExtractError::TypeMismatch {
        extension: extension.to_owned(),
        found: found.to_owned(),
    };
    match (named, content) {
        (Some(named), Content::Supported(found)) if named == found => Ok(found),
        // A note about HTML may well begin with a tag; Markdown may even consist of them.
        (Some(Format::Markdown), Content::Supported(Format::Html)) => Ok(Format::Markdown),
        (Some(named @ (Format::Text | Format::Markdown | Format::Html)), Content::Text) => {
            Ok(named)
        }
        (Some(Format::Docx), Content::EncryptedOffice) => Err(ExtractError::Encrypted),
        (Some(Format::Docx), Content::BrokenZip(reason)) => Err(ExtractError::Corrupt { reason }),
        (Some(_), Content::Supported(found)) => Err(mismatch(kind_of(found))),
        (Some(_), Content::Text) => Err(mismatch("plain text")),
        (Some(_), Content::EncryptedOffice) => Err(mismatch("a protected Office document")),
        (Some(_), Content::BrokenZip(_)) => Err(mismatch("a ZIP archive")),
        (Some(_), Content::Other(found)) => Err(mismatch(found)),
        (None, Content::Supported(found)) if extension.is_empty() => Ok(found),
        (None, Content::Text) if extension.is_empty() => Ok(Format::Text),
        (None, Content::Supported(found)) if found != Format::Html => Err(mismatch(kind_of(found))),
        (None, Content::Other(found)) => Err(ExtractError::Unsupported {
            found: format!("{found} (.{extension})"),
        }),
        (None, _) => Err(ExtractError::Unsupported {
            found: format!(".{extension}"),
        }),
    }
}

fn content_of(bytes: &[u8]) -> Content {
    // Readers accept junk in front of the PDF header, up to 1 KiB.
    let head = &bytes[..bytes.len().min(1024)];
    if find(head, b"%PDF-").is_some() && !head.starts_with(b"PK\x03\x04") {
        return Content::Supported(Format::Pdf);
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return zip_content(bytes);
    }
    if bytes.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return compound_content(bytes);
    }
    let found = SIGNATURES
        .iter()
        .find(|(signature, _)| bytes.starts_with(signature))
        .map(|(_, name)| *name);
    let Some(text) = encoding::decode(bytes, None).map(|decoded| decoded.text) else {
        return Content::Other(found.unwrap_or("binary data"));
    };
    match found {
        // Two letters prove nothing about a text.
        Some(name) if !matches!(name, "a program" | "a BMP image" | "an audio file") => {
            Content::Other(name)
        }
        _ if looks_like_html(&text) => Content::Supported(Format::Html),
        _ => Content::Text,
    }
}

fn looks_like_html(text: &str) -> bool {
    let mut start = text.trim_start();
    while let Some(rest) = start
        .strip_prefix("<!--")
        .and_then(|rest| rest.split_once("-->"))
    {
        start = rest.1.trim_start();
    }
    let head: String = start
        .chars()
        .take(512)
        .collect::<String>()
        .to_ascii_lowercase();
    head.starts_with("<!doctype html")
        || head.starts_with("<html")
        || (head.starts_with("<?xml") && head.contains("<html"))
}

fn zip_content(bytes: &[u8]) -> Content {
    let archive = match zip::ZipArchive::new(Cursor::new(bytes)) {
        Ok(archive) => archive,
        Err(error) => {
            return Content::BrokenZip(format!("the ZIP directory is unreadable: {error}"));
        }
    };
    let has = |name: &str| {
        archive
            .file_names()
            .any(|entry| entry.is_ok_and(|entry| entry.starts_with(name)))
    };
    if has("word/document") {
        Content::Supported(Format::Docx)
    } else if has("ppt/") {
        Content::Other("a PowerPoint presentation")
    } else if has("xl/") {
        Content::Other("an Excel workbook")
    } else if has("META-INF/container.xml") {
        Content::Other("an EPUB book")
    } else if has("content.xml") {
        Content::Other("an OpenDocument file")
    } else {
        Content::Other("a ZIP archive")
    }
}

fn compound_content(bytes: &[u8]) -> Content {
    let name = |text: &str| {
        text.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    if find(bytes, &name("EncryptedPackage")).is_some() {
        Content::EncryptedOffice
    } else if find(bytes, &name("WordDocument")).is_some() {
        Content::Other("a Word 97-2003 document (.doc)")
    } else if find(bytes, &name("__substg1.0_")).is_some() {
        Content::Other("an Outlook message (.msg)")
    } else {
        Content::Other("an old Office document")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_must_agree_with_the_content() {
        let mismatch = |extension: &str, found: &str| {
            Err(ExtractError::TypeMismatch {
                extension: extension.into(),
                found: found.into(),
            })
        };
        let cases: &[(&[u8], &str, Result<Format, ExtractError>)] = &[
            (b"hello", "txt", Ok(Format::Text)),
            (b"# hello", "md", Ok(Format::Markdown)),
            (b"hello", "html", Ok(Format::Html)),
            (b"<!DOCTYPE html><p>x", "html", Ok(Format::Html)),
            (b"<!DOCTYPE html><p>x", "md", Ok(Format::Markdown)),
            (b"<!-- a --> <html>", "txt", mismatch("txt", "an HTML page")),
            (b"%PDF-1.7\n", "pdf", Ok(Format::Pdf)),
            (b"%PDF-1.7\n", "docx", mismatch("docx", "a PDF document")),
            (b"hello", "pdf", mismatch("pdf", "plain text")),
            (
                b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
                "pdf",
                mismatch("pdf", "a PNG image"),
            ),
            (
                b"\x7fELF\x02\x01\x01\0\0\0",
                "txt",
                mismatch("txt", "a program"),
            ),
            (b"MZ is a prefix of text too", "txt", Ok(Format::Text)),
            (b"%PDF-1.7\n", "csv", mismatch("csv", "a PDF document")),
            (
                b"a,b",
                "csv",
                Err(ExtractError::Unsupported {
                    found: ".csv".into(),
                }),
            ),
            (b"hello", "", Ok(Format::Text)),
            (b"hello\0", "txt", Ok(Format::Text)),
            (b" \n\t", "txt", Err(ExtractError::Empty)),
            (b"\0\0\0", "pdf", Err(ExtractError::Empty)),
        ];
        for (bytes, extension, want) in cases {
            assert_eq!(
                &detect(bytes, extension),
                want,
                "{:?}.{extension}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}
