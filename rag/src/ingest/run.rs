//! The work of an ingestion: extraction in worker threads, embedding and writing in this one.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::pipeline::pipeline_name;
use super::plan::{Basis, Change, Job, Plan, Rename, Unreadable, plan};
use super::prepare::{Prepared, Unprepared};
use super::scan::scan;
use super::{FailedFile, IngestError, IngestProgress, IngestReport, IngestRequest, IngestStage};
use crate::access::{CollectionId, DocumentId};
use crate::catalogue::{
    FailedDocument, FileFacts, IndexedDocument, NewPassage, RenamedDocument, Written,
};
use crate::embed::EmbedError;
use crate::error::LibraryError;
use crate::library::Library;
use crate::library::{check_name, searchable_text};
use crate::store::{OPTIMIZE_AFTER, Point, PointKey, point_id};

/// Passages that are embedded at a time; enough to sort them by length into even batches.
const EMBED_BATCH: usize = 128;
/// Documents committed together at most: bounds what a crash repeats.
const MAX_BATCH_DOCUMENTS: usize = 64;
/// Characters of text held between extraction and commit, beyond the document that crosses the line.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// Extraction processes at a time.
const MAX_EXTRACTORS: usize = 4;
/// Coarsest clock of a file system in use (FAT).
const CLOCK_TICK: Duration = Duration::from_secs(2);

impl Library {
    /// Makes the collection equal to the given paths: documents are added, updated, renamed and
    /// removed until it holds exactly the documents found there. The collection is created where it
    /// does not exist.
    ///
    /// All paths of one call together are the collection: ingesting folder `x` and later folder `y` into
    /// it leaves only the documents of `y`. Pass both paths, or use two collections, to keep both.
    /// Uploaded documents ([`Library::add_file`]) stay whatever the folders hold. Against accidents: a
    /// path that does not exist, or paths without any document (an unmounted share), are errors that
    /// change nothing, and nothing is removed below a folder that could not be listed.
    ///
    /// `cancel` is looked at between files and between batches of passages. A run that was cancelled,
    /// failed or killed is completed by the next one.
    ///
    /// # Errors
    /// [`IngestError`]; failures of single files are in the report instead.
    pub fn ingest(
        &self,
        request: &IngestRequest,
        progress: &mut dyn FnMut(IngestProgress),
        cancel: &AtomicBool,
    ) -> Result<IngestReport, IngestError> {
        let started = Instant::now();
        check_name(&request.collection)?;
        progress(IngestProgress {
            done: 0,
            total: 0,
            current: None,
            stage: IngestStage::Scan,
        });
        let scan = scan(&request.paths)?;
        let collection = self.collection_to_fill(&request.collection)?;
        let lock = self.collection_lock(collection);
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);

        let rows = self.catalogue.document_rows(collection)?;
        let total = scan.files.len();
        let mut done = 0;
        let mut on_file = |path: &str| {
            let current = Some(path.to_owned());
            progress(IngestProgress {
                done,
                total,
                current,
                stage: IngestStage::Scan,
            });
            done += 1;
            !cancel.load(Ordering::Relaxed)
        };
        let basis = Basis {
            embedder: self.embedder.name(),
            full: request.full,
        };
        let plan = plan(&scan, rows, basis, &mut on_file).ok_or(IngestError::Cancelled)?;

        let mut run = Run::new(self, collection, &request.collection, progress, cancel);
        run.report.failed = scan.failed;
        run.report.skipped = scan.skipped;
        run.execute(plan)?;
        let mut report = run.report;
        report.failed.sort_by(|a, b| a.path.cmp(&b.path));
        report.passages = self.catalogue.passage_count(collection)?;
        report.seconds = started.elapsed().as_secs_f64();
        Ok(report)
    }

    fn collection_to_fill(&self, name: &str) -> Result<CollectionId, LibraryError> {
        if let Some(info) = self.catalogue.collection_by_name(name)? {
            return Ok(info.id);
        }
        match self.catalogue.create_collection(name) {
            // Somebody else created it in between.
            Err(LibraryError::CollectionExists { .. }) => {
                let info = self.catalogue.collection_by_name(name)?;
                Ok(info
                    .ok_or_else(|| LibraryError::UnknownCollection {
                        name: name.to_owned(),
                    })?
                    .id)
            }
            created => created,
        }
    }

    /// A point at which tests let the process "crash": the rest of the run does not happen.
    #[allow(clippy::unnecessary_wraps, clippy::unused_self)]
    fn checkpoint(&self) -> Result<(), IngestError> {
        #[cfg(test)]
        if self.crash_in.fetch_sub(1, Ordering::SeqCst) == 0 {
            return Err(IngestError::Cancelled);
        }
        Ok(())
    }
}

/// One ingestion.
pub(super) struct Run<'a> {
    library: &'a Library,
    collection: CollectionId,
    collection_name: &'a str,
    pub(super) report: IngestReport,
    progress: &'a mut dyn FnMut(IngestProgress),
    cancel: &'a AtomicBool,
    done: usize,
    total: usize,
    points_written: usize,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        library: &'a Library,
        collection: CollectionId,
        collection_name: &'a str,
        progress: &'a mut dyn FnMut(IngestProgress),
        cancel: &'a AtomicBool,
    ) -> Self {
        let report = IngestReport::default();
        Self {
            library,
            collection,
            collection_name,
            report,
            progress,
            cancel,
            done: 0,
            total: 0,
            points_written: 0,
        }
    }

    fn execute(&mut self, plan: Plan) -> Result<(), IngestError> {
        let Plan {
            unchanged,
            touched,
            still_failed,
            unreadable,
            renames,
            mut jobs,
            removals,
            taken_over,
        } = plan;
        self.report.unchanged = unchanged;
        self.total = unchanged + still_failed.len() + unreadable.len() + renames.len() + jobs.len();
        self.done = unchanged + still_failed.len();
        self.report.failed.extend(still_failed);
        let touched: Vec<_> = touched
            .into_iter()
            .map(|(id, facts)| (id, recorded(facts)))
            .collect();
        self.library.catalogue.write_touched(&touched)?;
        self.library.checkpoint()?;
        self.record_unreadable(unreadable)?;
        for rename in renames {
            self.stop_if_cancelled()?;
            if let Some(job) = self.rename(rename)? {
                jobs.push(job);
            }
        }
        self.run_jobs(&jobs)?;
        self.remove(&removals)?;
        for path in taken_over {
            // The folder's file stands for it now; a copy that cannot be deleted is only wasted space.
            let _ = std::fs::remove_file(self.library.uploads_of(self.collection).join(path));
        }
        self.library.store.flush().map_err(LibraryError::from)?;
        if self.points_written >= OPTIMIZE_AFTER {
            self.library.optimize_index()?;
        }
        // Documents that left the folder or changed leave no text behind.
        self.library.catalogue.forget()?;
        Ok(())
    }

    fn stop_if_cancelled(&self) -> Result<(), IngestError> {
        if self.cancel.load(Ordering::Relaxed) {
            Err(IngestError::Cancelled)
        } else {
            Ok(())
        }
    }

    fn tell(&mut self, stage: IngestStage, current: Option<&str>) {
        let current = current.map(str::to_owned);
        (self.progress)(IngestProgress {
            done: self.done,
            total: self.total,
            current,
            stage,
        });
    }

    fn record_unreadable(&mut self, unreadable: Vec<Unreadable>) -> Result<(), IngestError> {
        for Unreadable { id, facts, reason } in unreadable {
            let id = self.reserve_one(id, &facts)?;
            self.write_failed(
                id,
                Unprepared {
                    facts,
                    hash: None,
                    reason,
                },
            )?;
        }
        Ok(())
    }

    fn reserve_one(
        &self,
        id: Option<DocumentId>,
        facts: &FileFacts,
    ) -> Result<DocumentId, IngestError> {
        match id {
            Some(id) => Ok(id),
            None => Ok(self
                .library
                .catalogue
                .reserve_documents(self.collection, std::slice::from_ref(facts))?[0]),
        }
    }

    /// Moves a document to its new path. Where its passages would be embedded with the same words, their
    /// vectors are copied; otherwise the work that is left is returned.
    fn rename(&mut self, rename: Rename) -> Result<Option<Job>, IngestError> {
        let Rename { row, file, hash } = rename;
        self.tell(IngestStage::Store, Some(&file.facts.path));
        let points = if row.own_title {
            self.moved_points(&row.path, row.id, &file.facts.path, &hash)?
        } else {
            None
        };
        let Some(points) = points else {
            return Ok(Some(Job {
                id: Some(row.id),
                file,
                change: Change::Renamed,
            }));
        };
        let store = &self.library.store;
        store.upsert(&points).map_err(LibraryError::from)?;
        self.library.checkpoint()?;
        store.flush().map_err(LibraryError::from)?;
        self.library.checkpoint()?;
        let indices = points
            .iter()
            .zip(0..)
            .map(|(point, index)| (index, point.id))
            .collect();
        let renamed = RenamedDocument {
            id: row.id,
            file: recorded(file.facts),
            points: indices,
        };
        let written = self
            .library
            .catalogue
            .write_renamed(self.collection, &renamed)?;
        self.library.checkpoint()?;
        self.delete_stale(written, points.iter().map(|point| (renamed.id, point.id)))?;
        self.report.renamed += 1;
        self.done += 1;
        Ok(None)
    }

    /// The points of a document under its new path, with the vectors of the old ones; `None` where
    /// the store does not have them all.
    fn moved_points(
        &self,
        old_path: &str,
        id: DocumentId,
        path: &str,
        hash: &str,
    ) -> Result<Option<Vec<Point>>, IngestError> {
        let passages = self.library.catalogue.passages_of_document(id)?;
        let old: Vec<Uuid> = passages.iter().map(|passage| passage.point).collect();
        let found = self
            .library
            .store
            .dense_vectors(&old)
            .map_err(LibraryError::from)?;
        let mut found: std::collections::HashMap<Uuid, Vec<f32>> = found.into_iter().collect();
        let mut points = Vec::with_capacity(passages.len());
        let pipeline = self.pipeline(path);
        let key = self.point_key(path, hash, &pipeline);
        for passage in passages {
            let Some(dense) = found.remove(&passage.point) else {
                tracing::info!(
                    document = old_path,
                    "vectors of a renamed document are missing; embedding it again"
                );
                return Ok(None);
            };
            points.push(Point {
                id: point_id(key, passage.index),
                collection: self.collection,
                document: id,
                dense,
                sparse: self
                    .library
                    .bm25
                    .document(&searchable_text(&passage.header, &passage.text)),
            });
        }
        Ok(Some(points))
    }

    fn pipeline(&self, path: &str) -> String {
        pipeline_name(path, self.library.embedder.name())
    }

    fn point_key<'k>(&'k self, path: &'k str, hash: &'k str, pipeline: &'k str) -> PointKey<'k> {
        let embedder = self.library.embedder.name();
        PointKey {
            collection: self.collection_name,
            path,
            hash,
            pipeline,
            embedder,
        }
    }

    /// Extracts in worker threads and stores the results in batches, in whatever order they come.
    fn run_jobs(&mut self, jobs: &[Job]) -> Result<(), IngestError> {
        if jobs.is_empty() {
            return Ok(());
        }
        self.library.check_room().map_err(LibraryError::from)?;
        let new: Vec<FileFacts> = jobs
            .iter()
            .filter(|job| job.id.is_none())
            .map(|job| job.file.facts.clone())
            .collect();
        let mut reserved = self
            .library
            .catalogue
            .reserve_documents(self.collection, &new)?
            .into_iter();
        let ids: Vec<DocumentId> = jobs
            .iter()
            .map(|job| {
                job.id
                    .unwrap_or_else(|| reserved.next().expect("an id for each new file"))
            })
            .collect();
        self.library.checkpoint()?;

        let (library, cancel) = (self.library, self.cancel);
        let next_job = AtomicUsize::new(0);
        let workers = thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MAX_EXTRACTORS)
            .min(jobs.len());
        thread::scope(|scope| {
            // Small, so that extraction does not run far ahead of embedding and fill the memory.
            let (sender, receiver) = sync_channel(workers.max(1));
            for _ in 0..workers {
                let sender = sender.clone();
                let next_job = &next_job;
                scope.spawn(move || {
                    while !cancel.load(Ordering::Relaxed) {
                        let job_idx = next_job.fetch_add(1, Ordering::Relaxed);
                        let Some(job) = jobs.get(job_idx) else { break };
                        let prepared = library.prepare(&job.file);
                        if sender.send((job_idx, prepared)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            let mut batch = Batch::default();
            for (job_idx, prepared) in receiver {
                self.stop_if_cancelled()?;
                let job = &jobs[job_idx];
                self.tell(IngestStage::Extract, Some(&job.file.facts.path));
                match prepared {
                    Ok(prepared) => batch.push(ids[job_idx], job.change, *prepared),
                    Err(failure) => self.write_failed(ids[job_idx], *failure)?,
                }
                if batch.is_full() {
                    self.store_batch(std::mem::take(&mut batch))?;
                }
            }
            self.stop_if_cancelled()?;
            self.store_batch(batch)
        })
    }

    pub(super) fn write_failed(
        &mut self,
        id: DocumentId,
        failure: Unprepared,
    ) -> Result<(), IngestError> {
        let Unprepared {
            facts,
            hash,
            reason,
        } = failure;
        let embedder = self.library.embedder.name().to_owned();
        let path = facts.path.clone();
        let failed = FailedDocument {
            id,
            file: recorded(facts),
            hash,
            reason: reason.clone(),
            pipeline: self.pipeline(&path),
            embedder,
        };
        let written = self
            .library
            .catalogue
            .write_failed(self.collection, &[failed])?;
        self.library.checkpoint()?;
        self.delete_stale(written, std::iter::empty())?;
        self.report.failed.push(FailedFile { path, reason });
        self.done += 1;
        Ok(())
    }

    /// Embeds and writes the points of some documents, then commits them together.
    pub(super) fn store_batch(&mut self, batch: Batch) -> Result<(), IngestError> {
        let Batch { documents, .. } = batch;
        if documents.is_empty() {
            return Ok(());
        }
        self.library.check_room().map_err(LibraryError::from)?;
        let mut rows = Vec::with_capacity(documents.len());
        let mut changes = Vec::with_capacity(documents.len());
        for (id, change, prepared) in documents {
            rows.push(self.indexed_document(id, prepared));
            changes.push(change);
        }
        self.write_points(&rows)?;
        self.tell(IngestStage::Store, None);
        self.library.store.flush().map_err(LibraryError::from)?;
        self.library.checkpoint()?;
        let written = self
            .library
            .catalogue
            .write_indexed(self.collection, &rows)?;
        self.library.checkpoint()?;
        for change in changes {
            match change {
                Change::Added => self.report.added += 1,
                Change::Updated => self.report.updated += 1,
                Change::Renamed => self.report.renamed += 1,
            }
        }
        self.done += rows.len();
        let points = rows
            .iter()
            .flat_map(|row| row.passages.iter().map(|passage| (row.id, passage.point)));
        self.delete_stale(written, points)?;
        self.tell(IngestStage::Store, None);
        Ok(())
    }

    fn indexed_document(&self, id: DocumentId, prepared: Prepared) -> IndexedDocument {
        let Prepared {
            facts,
            hash,
            own_title,
            title,
            note,
            pages,
            text,
            blocks,
            passages,
        } = prepared;
        let pipeline = self.pipeline(&facts.path);
        let key = self.point_key(&facts.path, &hash, &pipeline);
        let passages = passages
            .into_iter()
            .map(|passage| NewPassage {
                point: point_id(key, passage.index),
                index: passage.index,
                start: passage.start,
                end: passage.end,
                page: passage.page,
                heading: passage.heading,
                header: passage.header,
                text: passage.text,
            })
            .collect();
        let embedder = self.library.embedder.name().to_owned();
        IndexedDocument {
            id,
            file: recorded(facts),
            hash,
            title,
            own_title,
            note,
            pages,
            pipeline,
            embedder,
            text,
            blocks,
            passages,
        }
    }

    fn write_points(&mut self, rows: &[IndexedDocument]) -> Result<(), IngestError> {
        let passages: Vec<(&IndexedDocument, &NewPassage)> = rows
            .iter()
            .flat_map(|row| row.passages.iter().map(move |passage| (row, passage)))
            .collect();
        for part in passages.chunks(EMBED_BATCH) {
            self.stop_if_cancelled()?;
            self.tell(IngestStage::Embed, Some(&part[0].0.file.path));
            let texts: Vec<String> = part
                .iter()
                .map(|(_, passage)| searchable_text(&passage.header, &passage.text))
                .collect();
            let vectors = self.library.embed_passages(&texts)?;
            let points: Vec<Point> = part
                .iter()
                .zip(&texts)
                .zip(vectors)
                .map(|(((row, passage), text), dense)| Point {
                    id: passage.point,
                    collection: self.collection,
                    document: row.id,
                    dense,
                    sparse: self.library.bm25.document(text),
                })
                .collect();
            self.library
                .store
                .upsert(&points)
                .map_err(LibraryError::from)?;
            self.points_written += points.len();
            self.library.checkpoint()?;
        }
        Ok(())
    }

    /// Deletes points that nothing names: those of the earlier version, and those just written for
    /// documents that somebody removed meanwhile. Not flushed: what a crash brings back is deleted when
    /// the library is opened.
    fn delete_stale(
        &self,
        written: Written,
        new_points: impl Iterator<Item = (DocumentId, Uuid)>,
    ) -> Result<(), IngestError> {
        let Written {
            stale_points: mut stale,
            gone,
        } = written;
        let gone: HashSet<DocumentId> = gone.into_iter().collect();
        stale.extend(
            new_points
                .filter(|(id, _)| gone.contains(id))
                .map(|(_, point)| point),
        );
        self.library.delete_points(&stale)?;
        self.library.checkpoint()
    }

    fn remove(&mut self, removals: &[crate::catalogue::DocumentRow]) -> Result<(), IngestError> {
        if removals.is_empty() {
            return Ok(());
        }
        self.stop_if_cancelled()?;
        let ids: Vec<DocumentId> = removals.iter().map(|row| row.id).collect();
        let points = self.library.catalogue.remove_documents(&ids)?;
        self.library.checkpoint()?;
        self.library.delete_points(&points)?;
        self.library.checkpoint()?;
        // A row that never became searchable is the trace of an interrupted run, not a document.
        self.report.removed += removals
            .iter()
            .filter(|row| row.state != crate::records::DocumentState::Pending)
            .count();
        Ok(())
    }
}

/// Documents to be stored together.
#[derive(Default)]
pub(super) struct Batch {
    documents: Vec<(DocumentId, Change, Prepared)>,
    passages: usize,
    bytes: usize,
}

impl Batch {
    pub(super) fn push(&mut self, id: DocumentId, change: Change, prepared: Prepared) {
        self.passages += prepared.passages.len();
        self.bytes += prepared.text.len();
        self.documents.push((id, change, prepared));
    }

    fn is_full(&self) -> bool {
        self.passages >= EMBED_BATCH
            || self.documents.len() >= MAX_BATCH_DOCUMENTS
            || self.bytes >= MAX_BATCH_BYTES
    }
}

impl Library {
    /// Embeds and checks that the embedder keeps its contract.
    fn embed_passages(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let vectors = self.embedder.embed(texts)?;
        let dim = self.embedder.dim();
        if vectors.len() != texts.len() || vectors.iter().any(|vector| vector.len() != dim) {
            let reason = format!("it did not give {} vectors of {dim} values", texts.len());
            return Err(EmbedError {
                model: self.embedder.name().to_owned(),
                reason,
            });
        }
        Ok(vectors)
    }
}

/// The facts as the catalogue keeps them. A file that was changed a moment ago may change again within
/// the same tick of the file system's clock, so its time is not trusted: it is hashed next time.
fn recorded(mut facts: FileFacts) -> FileFacts {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let modified = u128::try_from(facts.modified_ns).unwrap_or(0);
    if modified + CLOCK_TICK.as_nanos() > now {
        facts.modified_ns = -1;
    }
    facts
}
