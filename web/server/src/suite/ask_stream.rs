//! An answer as a stream, for clients that are one connection: when they go, the work ends.

use std::sync::Arc;

use futures_util::{Stream, stream};
use tokio::sync::{mpsc, watch};
use web_api::AnswerEvent;

use super::Suite;
use super::ask::{Ask, AskError, Outcome};

/// What happens in an answer.
#[derive(Debug)]
pub enum Item {
    /// See [`AnswerEvent`]; never `Done` or `Error`.
    Event(AnswerEvent),
    /// The end.
    End(Result<Box<Outcome>, AskError>),
}

/// Starts an answer and returns what happens in it. Dropping the stream cancels the answer.
pub fn ask_stream(suite: Arc<Suite>, ask: Ask) -> impl Stream<Item = Item> + Send + 'static {
    // Unbounded, because an answer is bounded itself: some hundred tokens, each at most one event.
    let (sender, receiver) = mpsc::unbounded_channel();
    // Nobody stops these answers by a signal; the sender only has to outlive the work.
    let (never, stop) = watch::channel(false);
    tokio::spawn(async move {
        let mut sink = |event| {
            // A closed channel is noticed below.
            let _ = sender.send(Item::Event(event));
        };
        let result = tokio::select! {
            result = suite.ask(ask, stop, &mut sink) => result,
            () = sender.closed() => return,
        };
        let _ = sender.send(Item::End(result.map(Box::new)));
        drop(never);
    });
    stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    })
}
