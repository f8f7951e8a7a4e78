//! Passages by point: what a search shows, and what rebuilding the vector store needs.

use rusqlite::{Row, params};
use uuid::Uuid;

use super::Catalogue;
use crate::access::{AccessScope, CollectionId, DocumentId};
use crate::error::LibraryError;

/// A passage with everything a hit shows.
#[derive(Debug, Clone)]
pub(crate) struct StoredPassage {
    pub point: Uuid,
    pub collection: CollectionId,
    pub document: DocumentId,
    pub path: String,
    pub title: String,
    pub index: u32,
    pub start: usize,
    pub end: usize,
    pub page: Option<u32>,
    pub heading: Vec<String>,
    pub header: String,
    pub text: String,
}

const STORED_PASSAGE: &str = "
    SELECT p.point_id, d.collection_id, d.id, d.path, d.title, p.idx, p.start, p.end, p.page, p.heading, p.header, p.text
    FROM passages p JOIN documents d ON d.id = p.document_id";

impl Catalogue {
    /// The passages of those points that exist and are in the scope, in the order of `points`.
    pub(crate) fn passages_of_points(
        &self,
        scope: &AccessScope,
        points: &[Uuid],
    ) -> Result<Vec<StoredPassage>, LibraryError> {
        self.read(|connection| {
            let snapshot = connection.unchecked_transaction()?;
            let mut statement =
                snapshot.prepare_cached(&format!("{STORED_PASSAGE} WHERE p.point_id = ?1"))?;
            let mut passages = Vec::with_capacity(points.len());
            for point in points {
                let mut rows = statement.query([point])?;
                if let Some(row) = rows.next()? {
                    let passage = stored_passage(row)?;
                    if scope.allows(passage.collection) {
                        passages.push(passage);
                    }
                }
            }
            Ok(passages)
        })
    }

    /// The passages of a document, in order.
    pub(crate) fn passages_of_document(
        &self,
        id: DocumentId,
    ) -> Result<Vec<StoredPassage>, LibraryError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached(&format!("{STORED_PASSAGE} WHERE d.id = ?1 ORDER BY p.idx"))?;
            let rows = statement.query_map([id.0], stored_passage)?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })
    }

    /// Every point the vector store should have.
    pub(crate) fn all_points(&self) -> Result<Vec<Uuid>, LibraryError> {
        self.read(|connection| {
            let mut statement = connection.prepare("SELECT point_id FROM passages")?;
            let rows = statement.query_map([], |row| row.get::<_, Uuid>(0))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })
    }

    /// Searchable documents whose points belong to another embedder:
    /// id, collection name, path, hash, pipeline.
    #[allow(clippy::type_complexity)]
    pub(crate) fn documents_of_other_embedders(
        &self,
        embedder: &str,
    ) -> Result<Vec<(DocumentId, String, String, String, String)>, LibraryError> {
        self.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT d.id, c.name, d.path, d.hash, d.pipeline
                 FROM documents d JOIN collections c ON c.id = d.collection_id
                 WHERE d.state = 'indexed' AND d.embedder <> ?1 ORDER BY d.id",
            )?;
            let rows = statement.query_map([embedder], |row| {
                Ok((
                    DocumentId(row.get(0)?),
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            })?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })
    }

    /// Names other points for the passages of a document.
    pub(crate) fn write_points(
        &self,
        id: DocumentId,
        embedder: &str,
        points: &[(u32, Uuid)],
    ) -> Result<(), LibraryError> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE documents SET embedder = ?2 WHERE id = ?1",
                params![id.0, embedder],
            )?;
            for (index, point) in points {
                transaction.execute(
                    "UPDATE passages SET point_id = ?3 WHERE document_id = ?1 AND idx = ?2",
                    params![id.0, index, point],
                )?;
            }
            Ok(())
        })
    }

    /// Number of searchable passages of a collection.
    pub(crate) fn passage_count(&self, collection: CollectionId) -> Result<usize, LibraryError> {
        self.read(|connection| {
            Ok(connection.query_row(
                "SELECT coalesce(sum(passages), 0) FROM documents WHERE collection_id = ?1",
                [collection.0],
                |row| row.get(0),
            )?)
        })
    }
}

fn stored_passage(row: &Row<'_>) -> rusqlite::Result<StoredPassage> {
    let heading: String = row.get(9)?;
    Ok(StoredPassage {
        point: row.get(0)?,
        collection: CollectionId(row.get(1)?),
        document: DocumentId(row.get(2)?),
        path: row.get(3)?,
        title: row.get(4)?,
        index: row.get(5)?,
        start: row.get(6)?,
        end: row.get(7)?,
        page: row.get(8)?,
        heading: serde_json::from_str(&heading).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(
                9,
                rusqlite::types::Type::Text,
                Box::new(error),
            )
        })?,
        header: row.get(10)?,
        text: row.get(11)?,
    })
}
