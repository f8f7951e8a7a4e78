//! DOCX to blocks: a ZIP archive of XML parts, read as Word would show the text: tracked deletions, field
//! codes, comments and hidden text are left out; headings come from styles, numbers from the numbering part.
//!
//! The archive is never unpacked to disk, and only a handful of parts is read, each under [`MAX_PART_BYTES`]
//! and [`MAX_EXPANSION`]; XML with a document type declaration is refused, which ends entity bombs and
//! external entities before they start.

mod body;
mod math;
mod numbering;
mod styles;
mod xml;

use std::collections::HashMap;
use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use self::body::Body;
use self::numbering::Numbering;
use self::styles::Styles;
use self::xml::{Space, Xml};
use super::ExtractError;
use super::text::decode;
use crate::document::Extracted;

/// Largest part that is read, uncompressed: the text of some ten thousand pages.
const MAX_PART_BYTES: u64 = 128 << 20;
/// A part larger than 4 MiB may be at most this many times larger than its compressed form; WordprocessingML
/// stays below 40, a bomb comes close to the 1032 that deflate allows.
const MAX_EXPANSION: u64 = 150;
/// Most entries an archive may have.
const MAX_ENTRIES: usize = 20_000;

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// Extracts a DOCX document.
pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, ExtractError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(zip_error)?;
    if archive.len() > MAX_ENTRIES {
        let got = archive.len() as u64;
        return Err(ExtractError::TooLarge {
            what: "archive entries".into(),
            got,
            limit: MAX_ENTRIES as u64,
        });
    }
    let main = main_part(&mut archive)?;
    let document = read_part(&mut archive, &main)?
        .ok_or_else(|| ExtractError::corrupt(format!("{main} is missing")))?;
    let folder = main.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut beside = |name: &str| {
        read_part(
            &mut archive,
            format!("{folder}/{name}").trim_start_matches('/'),
        )
    };
    let styles = beside("styles.xml")?
        .map(|xml| Styles::parse(&xml))
        .transpose()?
        .unwrap_or_default();
    let numbering = beside("numbering.xml")?
        .map(|xml| Numbering::parse(&xml))
        .transpose()?
        .unwrap_or_default();
    let mut notes = HashMap::new();
    for part in ["footnotes", "endnotes"] {
        if let Some(xml) = beside(&format!("{part}.xml"))? {
            notes.extend(parse_notes(&xml, part)?);
        }
    }
    let mut body = Body::new(styles, numbering, notes);
    xml::walk(&document, &mut |event| body.event(&event))?;
    let mut writer = body.finish();
    if let Some(core) = read_part(&mut archive, "docProps/core.xml")? {
        writer.suggest_title(&core_title(&core)?);
    }
    Ok(writer.finish(None))
}

fn zip_error(error: ZipError) -> ExtractError {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => ExtractError::Encrypted,
        error => ExtractError::corrupt(error),
    }
}

fn read_error(error: std::io::Error) -> ExtractError {
    match error.kind() {
        // How much there was is known to whoever set the limit.
        std::io::ErrorKind::OutOfMemory => ExtractError::OutOfMemory { limit_bytes: 0 },
        _ => ExtractError::corrupt(error),
    }
}

/// Path of the main document part as the package's relationships state it.
fn main_part(archive: &mut Archive<'_>) -> Result<String, ExtractError> {
    let mut target = None;
    if let Some(relationships) = read_part(archive, "_rels/.rels")? {
        xml::walk(&relationships, &mut |event| {
            if let Xml::Open(element) = event
                && element.name == "Relationship"
                && element
                    .attribute("Type")
                    .is_some_and(|kind| kind.ends_with("/officeDocument"))
            {
                target = element.attribute("Target");
            }
        })?;
    }
    Ok(target.map_or("word/document.xml".to_owned(), |target| {
        target.trim_start_matches('/').to_owned()
    }))
}

/// The text of one part; `None` if the archive has none of that name.
fn read_part(archive: &mut Archive<'_>, name: &str) -> Result<Option<String>, ExtractError> {
    let entry = match archive.by_name(name) {
        Ok(entry) => entry,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(zip_error(error)),
    };
    let limit = MAX_PART_BYTES.min((entry.compressed_size() * MAX_EXPANSION).max(4 << 20));
    let mut bytes = Vec::new();
    entry
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(read_error)?;
    if bytes.len() as u64 > limit {
        return Err(ExtractError::TooLarge {
            what: format!("bytes of {name}"),
            got: bytes.len() as u64,
            limit,
        });
    }
    let text =
        decode(&bytes).ok_or_else(|| ExtractError::corrupt(format!("{name} is not text")))?;
    Ok(Some(text.into_owned()))
}

/// Texts of the footnotes or endnotes by `part/id`; separators have none.
fn parse_notes(xml: &str, part: &str) -> Result<HashMap<String, String>, ExtractError> {
    let mut notes = HashMap::new();
    let mut open: Option<(String, Body)> = None;
    xml::walk(xml, &mut |event| match &event {
        Xml::Open(element)
            if element.is(Space::Word, "footnote") || element.is(Space::Word, "endnote") =>
        {
            let id = element.attribute("id").unwrap_or_default();
            open = Some((format!("{part}/{id}"), Body::default()));
        }
        Xml::Close(Space::Word, "footnote" | "endnote") => {
            if let Some((id, body)) = open.take() {
                let blocks = body.finish().finish(None).blocks;
                notes.insert(
                    id,
                    blocks
                        .into_iter()
                        .map(|block| block.text)
                        .collect::<Vec<_>>()
                        .join(" "),
                );
            }
        }
        event => {
            if let Some((_, body)) = &mut open {
                body.event(event);
            }
        }
    })?;
    Ok(notes)
}

fn core_title(core: &str) -> Result<String, ExtractError> {
    let mut title = String::new();
    let mut inside = false;
    xml::walk(core, &mut |event| match event {
        Xml::Open(element) => inside = element.name == "title",
        Xml::Close(..) => inside = false,
        Xml::Text(text) if inside => title.push_str(text),
        Xml::Text(_) => {}
    })?;
    let is_template = ["document", "word document", "untitled", "title"]
        .contains(&title.trim().to_lowercase().as_str());
    Ok(if is_template { String::new() } else { title })
}
