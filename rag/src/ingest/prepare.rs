//! From a file to a document that is ready to be embedded: extracted, split, with its facts.

use std::fs::File;
use std::io;
use std::path::Path;

use super::plan::hash_file;
use super::scan::{ScannedFile, modified_ns};
use super::source::unreadable;
use crate::catalogue::FileFacts;
use crate::document::cut;
use crate::document::{DocumentText, Extracted};
use crate::extract::ExtractError;
use crate::library::Library;
use crate::passage::{PassageLimits, split_passages};
use crate::records::StoredBlock;

/// How often a file that changes while it is read is read again.
const MAX_READS: usize = 3;

/// Longest reason that is kept and shown, in characters.
const MAX_REASON_CHARS: usize = 1000;

/// A document that is ready to be embedded.
pub(super) struct Prepared {
    pub(super) facts: FileFacts,
    pub(super) hash: String,
    pub(super) own_title: bool,
    pub(super) title: String,
    pub(super) note: Option<String>,
    pub(super) pages: Option<u32>,
    pub(super) text: String,
    pub(super) blocks: Vec<StoredBlock>,
    pub(super) passages: Vec<crate::passage::Passage>,
}

/// A document that could not be read.
pub(super) struct Unprepared {
    pub(super) facts: FileFacts,
    /// Only where the same content will fail again.
    pub(super) hash: Option<String>,
    pub(super) reason: String,
}

impl Library {
    /// Extracts and splits a file. It is opened once, and hash, text and facts are all of what was opened.
    pub(super) fn prepare(&self, file: &ScannedFile) -> Result<Box<Prepared>, Box<Unprepared>> {
        let mut facts = file.facts.clone();
        let opened = match file.source.open() {
            Ok(opened) => opened,
            Err(error) => return Err(failure(facts, None, &unreadable(&error))),
        };
        for _ in 0..MAX_READS {
            let read = observe(&opened)
                .and_then(|before| Ok((before, hash_file(&opened)?)))
                .and_then(|(before, hash)| {
                    let extracted = (self.extract)(&opened, Path::new(&facts.path));
                    Ok((before, hash, extracted, observe(&opened)?))
                });
            let (before, hash, extracted, after) = match read {
                Ok(read) => read,
                Err(error) => return Err(failure(facts, None, &unreadable(&error))),
            };
            // What was extracted is of this hash only if the file is as it was when it was hashed.
            if before != after {
                continue;
            }
            (facts.bytes, facts.modified_ns) = after;
            return match extracted {
                Ok(extracted) => self.split(facts, hash, extracted),
                Err(error) => {
                    let hash = repeats(&error).then_some(hash);
                    Err(failure(facts, hash, &error.to_string()))
                }
            };
        }
        Err(failure(
            facts,
            None,
            "the file changes while it is read; run the ingestion again when it is finished",
        ))
    }

    fn split(
        &self,
        facts: FileFacts,
        hash: String,
        mut extracted: Extracted,
    ) -> Result<Box<Prepared>, Box<Unprepared>> {
        let text = DocumentText::build(&extracted);
        let own_title = extracted
            .title
            .as_ref()
            .is_some_and(|title| !title.trim().is_empty());
        let name = facts
            .path
            .rsplit('/')
            .next()
            .unwrap_or(&facts.path)
            .to_owned();
        let title = if own_title {
            extracted.title.clone().unwrap_or_default()
        } else {
            name
        };
        if !own_title {
            // A file name often says what the document is about, and nothing else may.
            extracted.title = spoken_name(&facts.path);
        }
        let embedder = &self.embedder;
        let count_tokens = |text: &str| embedder.count_tokens(text);
        let passages = split_passages(&extracted, &text, &count_tokens, &PassageLimits::default());
        if passages.is_empty() {
            return Err(failure(facts, Some(hash), &ExtractError::Empty.to_string()));
        }
        let blocks = extracted
            .blocks
            .into_iter()
            .zip(&text.spans)
            .map(|(block, span)| StoredBlock {
                kind: block.kind,
                page: block.page,
                heading: block.heading,
                level: block.level,
                start: span.start,
                end: span.end,
            })
            .collect();
        let note = (!extracted.warnings.is_empty()).then(|| extracted.warnings.join("; "));
        let (pages, text) = (extracted.pages, text.text);
        Ok(Box::new(Prepared {
            facts,
            hash,
            own_title,
            title,
            note,
            pages,
            text,
            blocks,
            passages,
        }))
    }
}

/// Size and time of change of an open file.
fn observe(file: &File) -> io::Result<(u64, i64)> {
    let metadata = file.metadata()?;
    Ok((metadata.len(), modified_ns(&metadata)))
}

fn failure(facts: FileFacts, hash: Option<String>, reason: &str) -> Box<Unprepared> {
    let mut reason = reason.to_owned();
    // Part of it may be the file's own words.
    cut(&mut reason, MAX_REASON_CHARS);
    Box::new(Unprepared {
        facts,
        hash,
        reason,
    })
}

/// Whether the same content will fail again, so that trying is not worth the time.
fn repeats(error: &ExtractError) -> bool {
    match error {
        ExtractError::Unsupported { .. }
        | ExtractError::Encrypted
        | ExtractError::Empty
        | ExtractError::Corrupt { .. }
        | ExtractError::TypeMismatch { .. }
        | ExtractError::TooLarge { .. }
        | ExtractError::NeedsOcr { .. } => true,
        ExtractError::Timeout { .. }
        | ExtractError::OutOfMemory { .. }
        | ExtractError::Unreadable { .. }
        | ExtractError::Failed { .. } => false,
    }
}

/// The words of a file name, or nothing where it has none: `travel-policy_2024.txt` is
/// "travel policy 2024", `p0017.txt` is nothing.
fn spoken_name(path: &str) -> Option<String> {
    let stem = Path::new(path).file_stem()?.to_string_lossy().into_owned();
    let words: Vec<&str> = stem
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    // Fewer letters are a code rather than a word: `p0017`, `v2`.
    let is_word = |word: &&str| word.chars().filter(|c| c.is_alphabetic()).count() >= 3;
    words.iter().any(is_word).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_spoken_only_where_it_has_words() {
        assert_eq!(
            spoken_name("hr/travel-policy_2024.txt").as_deref(),
            Some("travel policy 2024")
        );
        assert_eq!(
            spoken_name("Reisekosten.txt").as_deref(),
            Some("Reisekosten")
        );
        assert_eq!(spoken_name("p0017.txt"), None);
        assert_eq!(spoken_name("2024-03.txt"), None);
    }
}
