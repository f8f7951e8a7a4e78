//! Stored answers lose the words that their documents no longer have: of documents that were removed, and of those that
//! have another text, path or title now.
//!
//! The catalogue is the truth about documents, so the same comparison serves deletions on the page, those of the command
//! line, uploads and folders that were ingested again, and whatever a crash left undone, which the next start finds. Each
//! answer notes the version of each of its documents that it was last compared with.
//!
//! What becomes of an answer is decided by [`without_removed_words`].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rag::{AccessScope, DocumentId, LibraryError};
use web_api::Message;

use super::Suite;
use super::document_now::{DocumentNow, PresentDocument};
use super::without_sources::without_removed_words;
use crate::blocking::join;
use crate::db::{DatabaseError, UserId, messages, sources};

/// Why the answers could not be looked through.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// The documents cannot be read.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The answers cannot be changed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Suite {
    /// Takes the words of documents that are gone or were changed out of all stored answers, and empties the logs of both
    /// databases. Returns how many answers changed.
    ///
    /// # Errors
    /// [`ForgetError`]; what is left is done by the next call.
    pub(crate) async fn forget_removed_words(self: &Arc<Self>) -> Result<usize, ForgetError> {
        let suite = Arc::clone(self);
        join(tokio::task::spawn_blocking(move || suite.forget_removed_words_blocking()).await)
    }

    /// [`Self::forget_removed_words`] for callers that may block.
    ///
    /// # Errors
    /// [`ForgetError`]; what is left is done by the next call.
    pub(crate) fn forget_removed_words_blocking(&self) -> Result<usize, ForgetError> {
        let referred = self.database.read_blocking(sources::all_versions)?;
        let ids: BTreeSet<i64> = referred.iter().map(|(document, _)| *document).collect();
        let ids: Vec<i64> = ids.into_iter().collect();
        let versions = self.library.document_versions(&ids)?;
        let is_stale = |(document, known): &&(i64, String)| versions.get(document) != Some(known);
        let stale: BTreeSet<i64> = referred.iter().filter(is_stale).map(|(d, _)| *d).collect();
        let mut changed = 0;
        for document in stale {
            changed += self.compare_answers_with(document, versions.get(&document))?;
        }
        if changed > 0 {
            self.forget_words_of_answers()?;
            tracing::info!(
                answers = changed,
                "answers were changed as their documents were"
            );
        }
        Ok(changed)
    }

    /// Compares the answers that refer to a document with it as it is; `None` for the version of one that is gone.
    fn compare_answers_with(
        &self,
        document: i64,
        version: Option<&String>,
    ) -> Result<usize, ForgetError> {
        let now = HashMap::from([(document, self.document_now(document)?)]);
        let count = self.database.write_blocking(|transaction| {
            let mut changed = 0;
            for (user, before) in messages::of_document(transaction, document, version)? {
                let after = without_removed_words(before.clone(), &now);
                if after != before {
                    messages::update(transaction, user, &after)?;
                    changed += 1;
                }
                sources::compared(transaction, &before.id, document, version)?;
            }
            Ok(changed)
        })?;
        Ok(count)
    }

    fn document_now(&self, document: i64) -> Result<DocumentNow, LibraryError> {
        match self
            .library
            .document(&AccessScope::all(), DocumentId(document))
        {
            Ok(record) => Ok(DocumentNow::Present(PresentDocument {
                path: record.info.path,
                title: record.info.title,
                text: record.text,
                blocks: record.blocks,
            })),
            Err(LibraryError::UnknownDocument { .. }) => Ok(DocumentNow::Gone),
            Err(error) => Err(error),
        }
    }

    /// The same for an answer that was just stored, because a document may have been removed or changed while it was
    /// written. Returns the answer as it is now stored.
    ///
    /// # Errors
    /// [`ForgetError`]; what is left is done by the next call of [`Self::forget_removed_words`].
    pub(crate) async fn compare_stored(
        self: &Arc<Self>,
        user: UserId,
        message: Message,
    ) -> Result<Message, ForgetError> {
        let suite = Arc::clone(self);
        let compare = move || suite.compare_stored_blocking(user, message);
        join(tokio::task::spawn_blocking(compare).await)
    }

    fn compare_stored_blocking(
        &self,
        user: UserId,
        before: Message,
    ) -> Result<Message, ForgetError> {
        let documents: Vec<i64> = sources::documents_of(&before).into_iter().collect();
        // Before the texts: a version that is too old is compared again.
        let versions = self.library.document_versions(&documents)?;
        let now: Result<HashMap<i64, DocumentNow>, LibraryError> = documents
            .iter()
            .map(|document| Ok((*document, self.document_now(*document)?)))
            .collect();
        let after = without_removed_words(before.clone(), &now?);
        self.database.write_blocking(|transaction| {
            if after != before {
                messages::update(transaction, user, &after)?;
            }
            for document in &documents {
                sources::compared(transaction, &before.id, *document, versions.get(document))?;
            }
            Ok(())
        })?;
        if after != before {
            self.forget_words_of_answers()?;
        }
        Ok(after)
    }

    /// Forgets the held events of answers, which have the words, too (the stored message serves late listeners), and empties
    /// the log of the database.
    fn forget_words_of_answers(&self) -> Result<(), DatabaseError> {
        self.answers.forget_events();
        self.database.forget_blocking()
    }
}
