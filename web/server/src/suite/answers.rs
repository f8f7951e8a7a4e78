//! Answers under way: each is a task of the server that goes on whether or not anybody listens.
//!
//! Events are numbered from 1 and kept, so that a page that was reloaded follows from where it was. A finished answer
//! stays here for a while for late listeners; after that its stored message is all there is, and at once where words were
//! deleted: held events may have them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{Stream, stream};
use tokio::sync::watch;
use uuid::Uuid;
use web_api::{AnswerEvent, AnswerStatus, AskRequest, Conversation, Message};

use super::Suite;
use super::ask::Ask;
use super::places::{Places, TooMuch};
use crate::auth::CurrentUser;
use crate::db::{DatabaseError, UserId, conversations, messages, now_ms};

/// How long a finished answer's events are kept.
const KEEP_FINISHED: Duration = Duration::from_secs(120);

/// The answers under way and the ones just finished.
#[derive(Default)]
pub struct Answers {
    by_id: Mutex<HashMap<String, Arc<Running>>>,
}

/// How far an answer is.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Number of events so far.
    count: usize,
    /// Whether the last one was the last.
    is_over: bool,
}

/// One answer under way.
pub struct Running {
    user: UserId,
    events: Mutex<Vec<AnswerEvent>>,
    // How far it is; followers wait for this to change.
    progress: watch::Sender<Progress>,
    stop: watch::Sender<bool>,
    finished: Mutex<Option<Instant>>,
    /// Its events may have words that were deleted while it was written, so they are not kept.
    is_outdated: AtomicBool,
    /// The account's place, until the last event.
    place: Mutex<Option<Places<UserId>>>,
}

impl Answers {
    /// The account's answer, if it is here.
    pub fn find(&self, user: UserId, id: &str) -> Option<Arc<Running>> {
        self.lock()
            .get(id)
            .filter(|running| running.user == user)
            .cloned()
    }

    /// Number of answers being written now.
    pub fn running(&self) -> usize {
        self.lock()
            .values()
            .filter(|running| !running.is_finished())
            .count()
    }

    /// Asks every answer to stop, as when the server does.
    pub fn stop_all(&self) {
        for running in self.lock().values() {
            running.stop();
        }
    }

    /// Completes when no answer is being written, or stored, any more.
    pub async fn until_idle(&self) {
        while self.running() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks the account's answers to stop, as when it is suspended.
    pub fn stop_of(&self, user: UserId) {
        for running in self.lock().values().filter(|running| running.user == user) {
            running.stop();
        }
    }

    /// Forgets the events of finished answers, and those of others as soon as they are finished; their stored messages are
    /// all there is then.
    pub fn forget_events(&self) {
        self.lock().retain(|_, running| {
            running.is_outdated.store(true, Ordering::Relaxed);
            !running.is_finished()
        });
    }

    /// Ends an answer, which is stored. Under one lock, so that [`Self::forget_events`] finds it either under way or
    /// finished.
    fn finish(&self, id: &str, running: &Running, last: AnswerEvent) {
        let mut by_id = self.lock();
        // Before its last event: whoever asks again then gets the stored message.
        if running.is_outdated.load(Ordering::Relaxed) {
            by_id.remove(id);
        }
        running.push(last);
    }

    /// Begins a new answer of the account, which has a place for it.
    fn start(&self, user: UserId, id: &str, place: Places<UserId>) -> Arc<Running> {
        let mut by_id = self.lock();
        by_id.retain(|_, running| !running.is_older_than(KEEP_FINISHED));
        let running = Arc::new(Running {
            user,
            events: Mutex::default(),
            progress: watch::Sender::default(),
            stop: watch::Sender::new(false),
            finished: Mutex::default(),
            is_outdated: AtomicBool::default(),
            place: Mutex::new(Some(place)),
        });
        by_id.insert(id.to_owned(), Arc::clone(&running));
        running
    }

    fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Running>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Asks the answer to end; what there is of it is kept.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether nothing comes behind number `after`: the answer is over there, or never had so many events, which nobody can
    /// have seen.
    pub fn is_over_after(&self, after: usize) -> bool {
        let progress = *self.progress.borrow();
        after > progress.count || progress.is_over && after == progress.count
    }

    /// The events behind number `after`, those that are there and those that come, with their numbers from 1. Ends
    /// with the last event. A follower that is slow costs no memory: it reads from the list.
    pub fn follow(
        self: Arc<Self>,
        after: usize,
    ) -> impl Stream<Item = (usize, AnswerEvent)> + Send + 'static {
        let progress = self.progress.subscribe();
        stream::unfold(
            (self, progress, after, false),
            |(running, mut progress, sent, ended)| async move {
                if ended {
                    return None;
                }
                // The sender lives in `running`, so waiting fails only if nothing comes any more; then we are done.
                let more = |progress: &Progress| progress.count > sent || progress.is_over;
                progress.wait_for(more).await.ok()?;
                let event = running
                    .events
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get(sent)
                    .cloned()?;
                let ended = event.is_last();
                Some(((sent + 1, event), (running, progress, sent + 1, ended)))
            },
        )
    }

    fn push(&self, event: AnswerEvent) {
        let last = event.is_last();
        let count = {
            let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            events.push(event);
            events.len()
        };
        if last {
            // Before anybody reads of the end and asks again.
            drop(
                self.place
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            );
            *self.finished.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        self.progress.send_modify(|progress| {
            progress.count = count;
            progress.is_over |= last;
        });
    }

    fn is_finished(&self) -> bool {
        self.finished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn is_older_than(&self, age: Duration) -> bool {
        self.finished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|at| at.elapsed() > age)
    }
}

/// Why a question was not taken.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The account has no such conversation.
    #[error("there is no such conversation")]
    UnknownConversation,
    /// The account has as many answers under way as it may.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Suite {
    /// Stores the question and starts its answer.
    ///
    /// # Errors
    /// [`StartError`]; nothing was stored then.
    pub(crate) async fn start_answer(
        self: &Arc<Self>,
        user: &CurrentUser,
        conversation_id: &str,
        request: AskRequest,
    ) -> Result<(String, Conversation), StartError> {
        let message = Message::running(
            Uuid::new_v4().to_string(),
            conversation_id.to_owned(),
            &request,
            now_ms(),
        );
        let id = message.id.clone();
        let place = self.places(user, 1)?;
        let running = self.answers.start(user.id, &id, place);
        let user_id = user.id;
        let stored = message.clone();
        let prepared = self
            .database
            .write(move |transaction| {
                let id = &stored.conversation_id;
                if !conversations::note_question(
                    transaction,
                    user_id,
                    id,
                    &stored.question,
                    &stored.collections,
                )? {
                    return Ok(None);
                }
                let history = messages::list(transaction, user_id, id)?;
                messages::insert(transaction, user_id, &stored)?;
                Ok(conversations::find(transaction, user_id, id)?
                    .map(|conversation| (conversation, history)))
            })
            .await;
        let (conversation, history) = match prepared {
            Ok(Some(prepared)) => prepared,
            Ok(None) => {
                self.answers.forget(&id);
                return Err(StartError::UnknownConversation);
            }
            Err(error) => {
                self.answers.forget(&id);
                return Err(error.into());
            }
        };
        let ask = Ask {
            history: history_of(history),
            collections: request
                .collections
                .iter()
                .copied()
                .map(rag::CollectionId)
                .collect(),
            quote_only: request.quote_only,
            ..Ask::new(request.question, self.scope_of(user))
        };
        let suite = Arc::clone(self);
        // The task is watched by the one below, so that a panic in it still ends the stream and the message.
        let work = tokio::spawn({
            let (suite, running, message) =
                (Arc::clone(&suite), Arc::clone(&running), message.clone());
            async move { run(&suite, &running, user_id, message, ask).await }
        });
        tokio::spawn(async move {
            if let Err(error) = work.await {
                tracing::error!(answer = %message.id, %error, "an answer broke down");
                let message = failed(
                    message,
                    "Something went wrong on the server while writing this answer. Ask again.",
                );
                store_and_finish(&suite, &running, user_id, message).await;
            }
        });
        Ok((id, conversation))
    }
}

/// Produces one answer, from the question to the stored message.
async fn run(suite: &Arc<Suite>, running: &Running, user: UserId, mut message: Message, ask: Ask) {
    let stop = running.stop.subscribe();
    // What has been shown so far, kept when the pipeline fails.
    let mut shown = String::new();
    let result = {
        let mut sink = |event: AnswerEvent| {
            if let AnswerEvent::Delta { text } = &event {
                shown.push_str(text);
            }
            running.push(event);
        };
        suite.ask(ask, stop, &mut sink).await
    };
    let message = match result {
        Ok(outcome) => outcome.into_message(message),
        Err(error) => {
            tracing::warn!(answer = %message.id, %error, "an answer failed");
            message.answer = shown;
            failed(message, &error.to_string())
        }
    };
    store_and_finish(suite, running, user, message).await;
}

async fn store_and_finish(suite: &Arc<Suite>, running: &Running, user: UserId, message: Message) {
    suite
        .metrics
        .answer_finished(message.mode, message.status, message.refused);
    let stored = message.clone();
    let result = suite
        .database
        .write(move |transaction| messages::update(transaction, user, &stored))
        .await;
    if let Err(error) = result {
        tracing::error!(answer = %message.id, %error, "an answer could not be stored");
    }
    let message = match suite.compare_stored(user, message.clone()).await {
        Ok(message) => message,
        Err(error) => {
            tracing::warn!(answer = %message.id, %error, "whether the documents still have an answer's words is not known");
            message
        }
    };
    let id = message.id.clone();
    suite
        .answers
        .finish(&id, running, message.into_last_event());
}

fn failed(message: Message, reason: &str) -> Message {
    Message {
        status: AnswerStatus::Failed,
        error: Some(reason.to_owned()),
        ..message
    }
}

/// Earlier questions with their answers; broken-off ones say nothing reliable.
fn history_of(messages: Vec<Message>) -> Vec<(String, String)> {
    messages
        .into_iter()
        .filter(|message| message.status == AnswerStatus::Done)
        .map(|message| (message.question, message.answer))
        .collect()
}
