//! The conversations of the signed-in account, the open one, and what the next question will search.

use std::rc::Rc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use web_api::{ApiError, AskRequest, Conversation, ConversationDetail, ConversationHit, Message};

use super::answer::{AnswerView, Target};
use super::overlay::Overlay;
use super::session::Session;
use super::{Loadable, stream};
use crate::{api, dom};

/// Where the chosen collections are remembered.
const PICKED_KEY: &str = "collections";
/// Where the choice of quotes is remembered.
const QUOTES_KEY: &str = "quote-only";

/// A question with its answer on screen.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Unique among all turns of this visit; the server's id comes later.
    pub key: usize,
    /// The answer, which changes while it streams.
    pub view: ArcRwSignal<AnswerView>,
}

/// The conversation on screen.
#[derive(Debug, Clone, Default)]
pub struct Open {
    /// `None` before the first question of a new conversation.
    pub conversation: Option<Conversation>,
    /// Oldest first.
    pub turns: Vec<Turn>,
}

/// The open side panel.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Everything that one answer points to.
    pub targets: Vec<Target>,
    /// Which of them is shown.
    pub at: usize,
}

/// Shared by the sidebar, the chat and the side panel as a context.
#[derive(Debug, Clone, Copy)]
pub struct Chat {
    session: Session,
    overlay: Overlay,
    /// The conversation list, latest change first; best match first while searching.
    pub list: RwSignal<Loadable<Vec<ConversationHit>>>,
    /// What is searched for in conversations.
    pub query: RwSignal<String>,
    /// The conversation on screen.
    pub open: RwSignal<Loadable<Open>>,
    /// Id of the conversation on screen, also while it loads.
    pub open_id: RwSignal<Option<String>>,
    /// Collections of the next question; empty means all.
    pub picked: RwSignal<Vec<i64>>,
    /// Whether the next answer consists of quotes only.
    pub quote_only: RwSignal<bool>,
    /// The side panel.
    pub panel: RwSignal<Option<Panel>>,
    /// Where the page should go after a conversation has got its id.
    pub go_to: RwSignal<Option<String>>,
    /// A question that could not be asked, given back to the composer.
    pub returned: RwSignal<Option<String>>,
    requests: StoredValue<u64>,
    turns: StoredValue<usize>,
}

impl Chat {
    /// Nothing loaded yet.
    pub fn new(session: Session, overlay: Overlay) -> Self {
        Chat {
            session,
            overlay,
            list: RwSignal::new(Loadable::Loading),
            query: RwSignal::new(String::new()),
            open: RwSignal::new(Loadable::Loading),
            open_id: RwSignal::new(None),
            picked: RwSignal::new(Vec::new()),
            quote_only: RwSignal::new(false),
            panel: RwSignal::new(None),
            go_to: RwSignal::new(None),
            returned: RwSignal::new(None),
            requests: StoredValue::new(0),
            turns: StoredValue::new(0),
        }
    }

    /// The chat of the page around.
    pub fn here() -> Self {
        expect_context()
    }

    /// Brings back what was chosen at the last visit.
    pub fn recall(self) {
        let picked = dom::remembered(PICKED_KEY).unwrap_or_default();
        self.picked
            .set(picked.split(',').filter_map(|id| id.parse().ok()).collect());
        self.quote_only.set(dom::remembered(QUOTES_KEY).is_some());
    }

    /// Chooses or drops a collection for the next questions.
    pub fn toggle_collection(self, id: i64) {
        self.picked.update(
            |picked| match picked.iter().position(|other| *other == id) {
                Some(at) => {
                    picked.remove(at);
                }
                None => picked.push(id),
            },
        );
        self.remember_picked();
    }

    /// Lets the next questions search everything.
    pub fn pick_all(self) {
        self.picked.set(Vec::new());
        self.remember_picked();
    }

    fn remember_picked(self) {
        let ids = self.picked.with_untracked(|picked| {
            picked
                .iter()
                .map(i64::to_string)
                .collect::<Vec<_>>()
                .join(",")
        });
        dom::remember(PICKED_KEY, (!ids.is_empty()).then_some(&ids));
    }

    /// Switches between written answers and quotes.
    pub fn toggle_quotes(self) {
        self.quote_only.update(|on| *on = !*on);
        dom::remember(QUOTES_KEY, self.quote_only.get_untracked().then_some("1"));
    }

    /// Collections that were chosen and still exist.
    pub fn picked_existing(self) -> Vec<i64> {
        let existing = self.session.read(|me| {
            me.collections
                .iter()
                .map(|collection| collection.id)
                .collect::<Vec<_>>()
        });
        let mut picked = self.picked.get();
        if let Some(existing) = existing {
            picked.retain(|id| existing.contains(id));
        }
        picked
    }

    /// Loads the conversation list, or searches it. A slow older answer never replaces a newer one.
    pub fn load_list(self) {
        self.requests.update_value(|count| *count += 1);
        let request = self.requests.get_value();
        let query = self.query.get_untracked();
        spawn_local(async move {
            let list = api::conversations(&query).await;
            if self.requests.get_value() == request {
                self.list
                    .set(list.map_err(|error| self.session.check(error)).into());
            }
        });
    }

    /// Puts a conversation on screen; `None` is a new one. What is on screen already stays, with its running answer.
    pub fn show(self, id: Option<String>) {
        let unchanged = self.open_id.with_untracked(|open| *open == id);
        let ready = self
            .open
            .with_untracked(|open| matches!(open, Loadable::Ready(_)));
        if unchanged && ready {
            return;
        }
        if ready && id.is_none() {
            // Collections may have come or gone since the page was opened.
            self.session.load();
        }
        stream::let_go();
        self.panel.set(None);
        self.open_id.set(id.clone());
        match id {
            None => self.open.set(Loadable::Ready(Open::default())),
            Some(id) => self.load(id),
        }
    }

    /// Loads the conversation on screen again.
    pub fn reload(self) {
        if let Some(id) = self.open_id.get_untracked() {
            self.load(id);
        }
    }

    fn load(self, id: String) {
        self.open.set(Loadable::Loading);
        spawn_local(async move {
            let detail = api::conversation(&id).await;
            if self
                .open_id
                .with_untracked(|open| open.as_ref() == Some(&id))
            {
                match detail {
                    Ok(detail) => self.put(detail),
                    Err(error) => self.open.set(Loadable::Failed(self.session.check(error))),
                }
            }
        });
    }

    fn put(self, detail: ConversationDetail) {
        let turns: Vec<Turn> = detail
            .messages
            .into_iter()
            .map(|message| Turn {
                key: self.next_key(),
                view: ArcRwSignal::new(AnswerView::from_message(message)),
            })
            .collect();
        let running = turns
            .last()
            .filter(|turn| turn.view.with_untracked(AnswerView::is_running));
        if let Some(turn) = running {
            stream::follow(turn.view.clone(), self.on_end());
        }
        self.open.set(Loadable::Ready(Open {
            conversation: Some(detail.conversation),
            turns,
        }));
    }

    fn next_key(self) -> usize {
        self.turns.update_value(|count| *count += 1);
        self.turns.get_value()
    }

    fn on_end(self) -> stream::OnEnd {
        // The first answer gives the conversation its title, every answer its place in the list.
        Rc::new(move || self.load_list())
    }

    /// The answer that is being written on screen.
    pub fn running(self) -> Option<Turn> {
        self.open.with(|open| {
            let turn = open.ready()?.turns.last()?.clone();
            turn.view.with(AnswerView::is_running).then_some(turn)
        })
    }

    /// Asks. The question is on screen at once; if the server does not take it, it goes back to the composer.
    pub fn ask(self, question: String) {
        let request = AskRequest {
            question: question.clone(),
            collections: untrack(|| self.picked_existing()),
            quote_only: self.quote_only.get_untracked(),
        };
        let known = self.open.with_untracked(|open| {
            open.ready()
                .and_then(|open| open.conversation.as_ref())
                .map(|c| c.id.clone())
        });
        let turn = self.push_turn(&request);
        spawn_local(async move {
            match self.start(known, &request, &turn).await {
                Ok(()) => self.load_list(),
                Err(error) => {
                    let error = self.session.check(error);
                    self.drop_turn(turn.key);
                    self.returned.set(Some(question));
                    self.overlay.fail(error.message);
                }
            }
        });
    }

    async fn start(
        self,
        known: Option<String>,
        request: &AskRequest,
        turn: &Turn,
    ) -> Result<(), ApiError> {
        let csrf = self.session.csrf();
        let is_new = known.is_none();
        let id = match known {
            Some(id) => id,
            None => api::create_conversation(&csrf).await?.id,
        };
        let started = match api::ask(&csrf, &id, request).await {
            Ok(started) => started,
            Err(error) => {
                if is_new {
                    // An empty conversation is of no use to anybody; if this fails too, it only stays empty.
                    let _ = api::delete_conversation(&csrf, &id).await;
                }
                return Err(error);
            }
        };
        turn.view.update(|view| {
            view.message.id = started.answer_id;
            view.message.conversation_id.clone_from(&id);
        });
        let still_here = self.open.with_untracked(|open| {
            open.ready().is_some_and(|open| {
                open.turns.iter().any(|other| {
                    other.key == turn.key
                        && other
                            .view
                            .with_untracked(|view| view.message.conversation_id == id)
                })
            })
        });
        if !still_here {
            return Ok(());
        }
        self.open.update(|open| {
            if let Some(open) = open.ready_mut() {
                open.conversation = Some(started.conversation);
            }
        });
        stream::follow(turn.view.clone(), self.on_end());
        if is_new {
            self.open_id.set(Some(id.clone()));
            self.go_to.set(Some(format!("/c/{id}")));
        }
        Ok(())
    }

    fn push_turn(self, request: &AskRequest) -> Turn {
        let key = self.next_key();
        let unsent = Message::running(String::new(), String::new(), request, dom::clock().now);
        let turn = Turn {
            key,
            view: ArcRwSignal::new(AnswerView::from_message(unsent)),
        };
        self.open.update(|open| {
            if let Some(open) = open.ready_mut() {
                open.turns.push(turn.clone());
            }
        });
        turn
    }

    fn drop_turn(self, key: usize) {
        self.open.update(|open| {
            if let Some(open) = open.ready_mut() {
                open.turns.retain(|turn| turn.key != key);
            }
        });
    }

    /// Stops the running answer; its text so far stays.
    pub fn stop(self) {
        let Some(turn) = untrack(|| self.running()) else {
            return;
        };
        let id = turn.view.with_untracked(|view| view.message.id.clone());
        if id.is_empty() {
            return;
        }
        spawn_local(async move {
            if let Err(error) = api::stop_answer(&self.session.csrf(), &id).await {
                self.overlay.fail(self.session.check(error).message);
            }
        });
    }

    /// Gives a conversation another title.
    pub fn rename(self, id: String, title: String) {
        spawn_local(async move {
            match api::rename_conversation(&self.session.csrf(), &id, title).await {
                Ok(renamed) => {
                    self.list
                        .update(|list| replace_conversation(list, &renamed));
                    self.open.update(|open| {
                        if let Some(open) = open.ready_mut()
                            && open
                                .conversation
                                .as_ref()
                                .is_some_and(|c| c.id == renamed.id)
                        {
                            open.conversation = Some(renamed);
                        }
                    });
                }
                Err(error) => self.overlay.fail(self.session.check(error).message),
            }
        });
    }

    /// Deletes a conversation for good.
    pub fn delete(self, id: String) {
        spawn_local(async move {
            match api::delete_conversation(&self.session.csrf(), &id).await {
                Ok(()) => {
                    self.overlay.tell("Conversation deleted.");
                    if self
                        .open_id
                        .with_untracked(|open| open.as_ref() == Some(&id))
                    {
                        self.show(None);
                        self.go_to.set(Some("/".into()));
                    }
                    self.load_list();
                }
                Err(error) => self.overlay.fail(self.session.check(error).message),
            }
        });
    }
}

fn replace_conversation(list: &mut Loadable<Vec<ConversationHit>>, renamed: &Conversation) {
    for hit in list.ready_mut().into_iter().flatten() {
        if hit.conversation.id == renamed.id {
            hit.conversation = renamed.clone();
        }
    }
}
