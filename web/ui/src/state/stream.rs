//! Following a running answer: server-sent events into an [`AnswerView`]. Browser only.
//!
//! One answer is followed at a time, because browsers allow six connections to a server over HTTP/1.1 and every open
//! stream takes one; the answer itself goes on whether or not anybody listens. A broken connection is mended by the
//! browser (it sends the last number again); when it gives up, the stored conversation is asked instead.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_api::AnswerEvent;
use web_sys::{Event, EventSource, MessageEvent};

use super::answer::AnswerView;
use crate::api;

/// Names of the events, each of which needs its own listener. `error` is also what the browser calls a broken connection.
const EVENT_NAMES: [&str; 7] = [
    "status",
    "sources",
    "delta",
    "citation",
    "unsupported",
    "done",
    "error",
];

/// After so many failed attempts the page stops trying by itself.
const MAX_ATTEMPTS: u32 = 5;

/// What to do when an answer has ended.
pub type OnEnd = Rc<dyn Fn()>;

thread_local! {
    static FOLLOWED: RefCell<Option<Followed>> = const { RefCell::new(None) };
}

/// An open event stream. Dropping it closes the connection.
struct Followed {
    source: EventSource,
    _listener: Closure<dyn FnMut(Event)>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.source.close();
    }
}

/// Follows the answer of `view` until its end; whatever was followed before is let go.
///
/// `on_end` runs once when the answer is complete, has failed, or could not be followed any longer.
pub fn follow(view: ArcRwSignal<AnswerView>, on_end: OnEnd) {
    follow_again(view, on_end, 0);
}

/// Lets go of whatever is followed.
pub fn let_go() {
    // Not dropped inside the listener that may be running right now.
    let followed = FOLLOWED.with(|slot| slot.borrow_mut().take());
    if followed.is_some() {
        spawn_local(async move { drop(followed) });
    }
}

fn follow_again(view: ArcRwSignal<AnswerView>, on_end: OnEnd, attempt: u32) {
    let_go();
    let (answer, last_event) =
        view.with_untracked(|view| (view.message.id.clone(), view.last_event));
    let path = format!("{}?after={last_event}", api::events_path(&answer));
    let Ok(source) = EventSource::new(&path) else {
        return recover(view, on_end, attempt);
    };
    let listener = {
        let source = source.clone();
        Closure::<dyn FnMut(Event)>::new(move |event: Event| {
            match event.dyn_ref::<MessageEvent>() {
                Some(message) => receive(&view, &on_end, message),
                None => lost(&view, &on_end, &source, attempt),
            }
        })
    };
    for name in EVENT_NAMES {
        let added =
            source.add_event_listener_with_callback(name, listener.as_ref().unchecked_ref());
        debug_assert!(added.is_ok());
    }
    let followed = Followed {
        source,
        _listener: listener,
    };
    FOLLOWED.with(|slot| *slot.borrow_mut() = Some(followed));
}

fn receive(view: &ArcRwSignal<AnswerView>, on_end: &OnEnd, message: &MessageEvent) {
    let Some(event) = message
        .data()
        .as_string()
        .and_then(|data| serde_json::from_str::<AnswerEvent>(&data).ok())
    else {
        // An event of a newer server: what it adds is in the stored message at the end.
        return;
    };
    let number = message.last_event_id().parse::<u64>().ok();
    let ends = event.is_last();
    view.update(|view| {
        let number = number.unwrap_or(view.last_event + 1);
        view.apply(number, event);
    });
    if ends {
        let_go();
        on_end();
    }
}

fn lost(view: &ArcRwSignal<AnswerView>, on_end: &OnEnd, source: &EventSource, attempt: u32) {
    if source.ready_state() == EventSource::CLOSED {
        let_go();
        recover(view.clone(), on_end.clone(), attempt);
    } else {
        view.update(|view| view.reconnecting = view.is_running());
    }
}

/// The stream is gone: takes the stored answer if it is complete, else follows again a little later.
fn recover(view: ArcRwSignal<AnswerView>, on_end: OnEnd, attempt: u32) {
    view.update(|view| view.reconnecting = view.is_running());
    let delay = Duration::from_millis(500 << attempt.min(4));
    set_timeout(
        move || {
            spawn_local(async move {
                let (conversation, answer) = view.with_untracked(|view| {
                    (
                        view.message.conversation_id.clone(),
                        view.message.id.clone(),
                    )
                });
                let stored = api::conversation(&conversation).await;
                let message = match stored {
                    Ok(detail) => detail
                        .messages
                        .into_iter()
                        .find(|message| message.id == answer),
                    Err(_) => None,
                };
                match message.map(AnswerView::from_message) {
                    Some(complete) if !complete.is_running() => {
                        view.set(complete);
                        on_end();
                    }
                    _ if attempt + 1 < MAX_ATTEMPTS => follow_again(view, on_end, attempt + 1),
                    _ => {
                        view.update(|view| {
                            view.fail("The connection to the server broke. Reload the page to see the whole answer.".into());
                        });
                        on_end();
                    }
                }
            });
        },
        delay,
    );
}
