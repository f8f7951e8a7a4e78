//! Documents: list, upload, delete, and the view of the citation panel.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Extension;
use axum::Json as JsonResponse;
use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{Multipart, Path, State};
use axum::http::StatusCode;
use rag::{CollectionId, DocumentId, DocumentInfo, DocumentRecord, StoredBlock};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use web_api::{
    BlockKind, Document, DocumentState, DocumentView, UploadOutcome, UploadResponse, ViewBlock,
};

use super::super::body::{is_stalled, too_slow};
use super::super::error::Failure;
use super::super::json::{Query, number};
use super::numeric_id;
use crate::auth::CurrentUser;
use crate::blocking::join;
use crate::security;
use crate::suite::Suite;
use crate::suite::upload::{Upload, file_name};

/// Files in one upload; more is a folder, which is ingested from the command line.
const MOST_FILES: usize = 200;
/// Bytes received between two looks at the room on the disk.
const ROOM_CHECK_BYTES: u64 = 16 * 1024 * 1024;
/// Characters shown on either side of a range in a document without pages, at block borders.
const VIEW_MARGIN_CHARS: usize = 4000;
/// Most characters of a view. A page is far below it; it bounds formats with one huge block after another.
const VIEW_MAX_CHARS: usize = 60_000;

pub(crate) async fn list(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    Path(id): Path<String>,
) -> Result<JsonResponse<Vec<Document>>, Failure> {
    let id = CollectionId(numeric_id(&id, "collection")?);
    let scope = suite.scope_of(&user);
    let documents = suite
        .with_library(move |library| library.documents(&scope, id))
        .await?;
    let uploads = suite.uploads.documents(id);
    let mut documents: Vec<Document> = documents
        .into_iter()
        .map(document)
        // A newer version under way hides the one that it will replace.
        .filter(|document| !uploads.iter().any(|upload| upload.path == document.path))
        .collect();
    documents.extend(uploads);
    documents.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(JsonResponse(documents))
}

pub(crate) async fn delete(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    let id = DocumentId(numeric_id(&id, "document")?);
    let scope = suite.scope_of(&user);
    suite
        .with_library(move |library| library.remove_document(&scope, id))
        .await?;
    security::document_deleted(&user.actor(), id.0);
    suite.forget_removed_words().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Receives files to disk and queues them; nothing is held in memory.
pub(crate) async fn upload(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    Path(id): Path<String>,
    multipart: Result<Multipart, MultipartRejection>,
) -> Result<(StatusCode, JsonResponse<UploadResponse>), Failure> {
    let id = CollectionId(numeric_id(&id, "collection")?);
    let scope = suite.scope_of(&user);
    let collections = suite
        .with_library(move |library| library.collections(&scope))
        .await?;
    if !collections.iter().any(|collection| collection.id == id) {
        return Err(Failure::not_found("collection"));
    }
    let mut multipart = multipart.map_err(|_| {
        Failure::invalid(
            "An upload is a multipart form (`multipart/form-data`) with parts named `file`.",
        )
    })?;
    let mut files = Vec::new();
    while let Some(field) = multipart.next_field().await.map_err(broken_upload)? {
        let Some(sent_name) = field.file_name().map(str::to_owned) else {
            continue;
        };
        if files.len() == MOST_FILES {
            return Err(Failure::invalid(format!(
                "At most {MOST_FILES} files are taken at once; the first {MOST_FILES} were. Send the rest in another upload, \
                 or ingest a folder with `cloister ingest`."
            )));
        }
        files.push(match file_name(&sent_name) {
            Ok(name) => receive(&suite, id, name, field).await?,
            Err(reason) => UploadOutcome {
                path: sent_name,
                bytes: 0,
                accepted: false,
                reason: Some(reason.to_owned()),
            },
        });
    }
    if files.is_empty() {
        return Err(Failure::invalid(
            "The upload has no files. Choose at least one.",
        ));
    }
    Ok((StatusCode::ACCEPTED, JsonResponse(UploadResponse { files })))
}

async fn receive(
    suite: &Arc<Suite>,
    collection: CollectionId,
    name: String,
    field: Field<'_>,
) -> Result<UploadOutcome, Failure> {
    let limit = suite.config.max_upload_bytes;
    suite.with_library(|library| library.check_room()).await?;
    let (place, stored_name) = (Arc::clone(suite), name.clone());
    let incoming = join(
        tokio::task::spawn_blocking(move || place.uploads.receive(collection, &stored_name)).await,
    )?;
    match write_to_disk(suite, field, incoming.path(), limit).await? {
        Some(bytes) => {
            let upload: Upload =
                join(tokio::task::spawn_blocking(move || incoming.finish(bytes)).await)?;
            suite.uploads.add(upload);
            Ok(UploadOutcome {
                path: name,
                bytes,
                accepted: true,
                reason: None,
            })
        }
        None => Ok(UploadOutcome {
            path: name,
            bytes: limit,
            accepted: false,
            reason: Some(format!(
                "The file is larger than {} MiB, which is the limit for uploads.",
                limit / (1024 * 1024)
            )),
        }),
    }
}

/// Writes a part to a file and returns its size; `None` when it is larger than `limit` (the rest is read and dropped).
async fn write_to_disk(
    suite: &Suite,
    mut field: Field<'_>,
    path: PathBuf,
    limit: u64,
) -> Result<Option<u64>, Failure> {
    let mut file = tokio::fs::File::create(path).await?;
    let mut bytes = 0_u64;
    while let Some(piece) = field.chunk().await.map_err(broken_upload)? {
        let before = bytes;
        bytes += piece.len() as u64;
        if before / ROOM_CHECK_BYTES != bytes / ROOM_CHECK_BYTES {
            suite.with_library(|library| library.check_room()).await?;
        }
        if bytes <= limit {
            file.write_all(&piece).await?;
        } else if bytes > limit.saturating_mul(2) {
            // Reading on politely would only fill the network; the browser shows this answer or a broken connection.
            return Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                format!(
                    "The file is larger than {} MiB, which is the limit for uploads.",
                    limit / (1024 * 1024)
                ),
            ));
        }
    }
    file.sync_all().await?;
    Ok((bytes <= limit).then_some(bytes))
}

#[derive(Debug, Deserialize)]
pub(crate) struct ViewQuery {
    start: Option<String>,
    end: Option<String>,
}

pub(crate) async fn view(
    State(suite): State<Arc<Suite>>,
    Extension(user): Extension<CurrentUser>,
    Path(id): Path<String>,
    Query(query): Query<ViewQuery>,
) -> Result<JsonResponse<DocumentView>, Failure> {
    let id = DocumentId(numeric_id(&id, "document")?);
    let start = number("start", query.start.as_deref())?.unwrap_or(0);
    let end = number("end", query.end.as_deref())?.unwrap_or(start);
    let scope = suite.scope_of(&user);
    let view = suite
        .with_library(move |library| {
            let record = library.document(&scope, id)?;
            Ok::<_, Failure>(view_of(&record, start, end))
        })
        .await?;
    Ok(JsonResponse(view))
}

/// The blocks around `start..end`: of a document with pages the whole pages, of another some thousand characters.
fn view_of(record: &DocumentRecord, start: usize, end: usize) -> DocumentView {
    let blocks = &record.blocks;
    let first_hit = blocks
        .iter()
        .position(|block| block.end > start)
        .unwrap_or(blocks.len().saturating_sub(1));
    let last_hit = blocks
        .iter()
        .rposition(|block| block.start < end.max(start + 1))
        .unwrap_or(0)
        .max(first_hit);
    let hit = blocks.get(first_hit).zip(blocks.get(last_hit));
    let wanted = |block: &StoredBlock| match hit.map(|(first, last)| (first.page, last.page)) {
        Some((Some(first), Some(last))) => block
            .page
            .is_some_and(|page| (first..=last).contains(&page)),
        _ => {
            block.end + VIEW_MARGIN_CHARS > start
                && block.start < end.saturating_add(VIEW_MARGIN_CHARS)
        }
    };
    let in_bounds = |block: &StoredBlock| {
        block.start.abs_diff(start) <= VIEW_MAX_CHARS / 2
            || (block.start < end && block.end > start)
    };
    let shown = |index: &usize| {
        blocks
            .get(*index)
            .is_some_and(|block| wanted(block) && in_bounds(block))
    };
    let first = (0..first_hit)
        .rev()
        .take_while(shown)
        .last()
        .unwrap_or(first_hit);
    let last = (last_hit + 1..blocks.len())
        .take_while(shown)
        .last()
        .unwrap_or(last_hit);
    let chosen = blocks.get(first..=last).unwrap_or_default();
    DocumentView {
        id: record.info.id.0,
        title: record.info.title.clone(),
        path: record.info.path.clone(),
        page: blocks.get(first_hit).and_then(|block| block.page),
        pages: record.info.pages,
        blocks: view_blocks(&record.text, chosen),
        has_before: first > 0,
        has_after: last + 1 < blocks.len(),
    }
}

/// Cuts the blocks' texts out in one pass: offsets are characters, and finding the n-th one costs n steps.
fn view_blocks(text: &str, blocks: &[StoredBlock]) -> Vec<ViewBlock> {
    let mut rest = text.chars();
    let mut at = 0;
    let mut view = Vec::with_capacity(blocks.len());
    for block in blocks {
        let skip = block.start.saturating_sub(at);
        let cut: String = rest
            .by_ref()
            .skip(skip)
            .take(block.end - block.start)
            .collect();
        at = block.end;
        view.push(ViewBlock {
            kind: kind(block.kind),
            text: cut,
            page: block.page,
            heading: block.heading.clone(),
            start: block.start,
        });
    }
    view
}

fn kind(kind: rag::BlockKind) -> BlockKind {
    match kind {
        rag::BlockKind::Title => BlockKind::Title,
        rag::BlockKind::Heading => BlockKind::Heading,
        rag::BlockKind::Paragraph => BlockKind::Paragraph,
        rag::BlockKind::ListItem => BlockKind::ListItem,
        rag::BlockKind::Table => BlockKind::Table,
        rag::BlockKind::Code => BlockKind::Code,
    }
}

fn document(info: DocumentInfo) -> Document {
    Document {
        id: Some(info.id.0),
        path: info.path,
        title: info.title,
        state: match info.state {
            rag::DocumentState::Indexed => DocumentState::Indexed,
            rag::DocumentState::Failed => DocumentState::Failed,
            rag::DocumentState::Pending => DocumentState::Pending,
        },
        reason: info.reason,
        pages: info.pages,
        passages: info.passages as u64,
        bytes: info.bytes,
        updated_at: Some(info.updated_at.saturating_mul(1000)),
    }
}

fn broken_upload(error: MultipartError) -> Failure {
    if is_stalled(&error) {
        return too_slow();
    }
    Failure {
        status: error.status(),
        ..Failure::invalid(format!(
            "The upload broke off or cannot be read ({error}). Try again."
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(blocks: &[(&str, Option<u32>)]) -> DocumentRecord {
        let mut stored = Vec::new();
        let mut text = String::new();
        for (block, page) in blocks {
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            let start = text.chars().count();
            text.push_str(block);
            let end = text.chars().count();
            stored.push(StoredBlock {
                kind: rag::BlockKind::Paragraph,
                page: *page,
                heading: Vec::new(),
                level: 0,
                start,
                end,
            });
        }
        DocumentRecord {
            info: DocumentInfo {
                id: DocumentId(3),
                collection: CollectionId(1),
                path: "a.pdf".into(),
                title: "A".into(),
                state: rag::DocumentState::Indexed,
                reason: None,
                pages: None,
                passages: 1,
                bytes: 1,
                updated_at: 0,
            },
            text,
            blocks: stored,
        }
    }

    fn texts(view: &DocumentView) -> Vec<&str> {
        view.blocks
            .iter()
            .map(|block| block.text.as_str())
            .collect()
    }

    #[test]
    fn a_view_with_pages_is_the_page_of_the_range() {
        let record = record(&[
            ("öne", Some(1)),
            ("twö", Some(2)),
            ("three", Some(2)),
            ("four", Some(3)),
        ]);
        let view = view_of(&record, 12, 14);
        assert_eq!(texts(&view), ["twö", "three"]);
        assert_eq!(
            (view.page, view.has_before, view.has_after),
            (Some(2), true, true)
        );
        for block in &view.blocks {
            let there: String = record
                .text
                .chars()
                .skip(block.start)
                .take(block.text.chars().count())
                .collect();
            assert_eq!(there, block.text);
        }
    }

    #[test]
    fn a_view_without_pages_reaches_some_way_around_the_range() {
        let long = "x".repeat(VIEW_MARGIN_CHARS);
        let record = record(&[
            ("first", None),
            (&long, None),
            ("hit", None),
            (&long, None),
            ("last", None),
        ]);
        let at = record.blocks[2].start;
        let view = view_of(&record, at, at + 3);
        assert_eq!(view.blocks.len(), 3);
        assert!(view.has_before && view.has_after);
    }

    #[test]
    fn a_range_outside_the_document_shows_its_end_and_an_empty_document_nothing() {
        assert_eq!(
            texts(&view_of(&record(&[("one", None)]), 999, 1000)),
            ["one"]
        );
        assert_eq!(texts(&view_of(&record(&[]), 0, 0)), Vec::<&str>::new());
    }
}
