//! What floats above the page: short notices, and the question before something is deleted.

use std::sync::Arc;
use std::time::Duration;

use leptos::prelude::*;

/// How long a notice stays: enough to read a sentence twice.
const NOTICE_TIME: Duration = Duration::from_secs(6);

/// A short notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Distinguishes equal texts.
    pub id: u64,
    /// One sentence.
    pub text: String,
    /// Whether something went wrong.
    pub failure: bool,
}

/// A question that must be answered before something irreversible happens.
#[derive(Clone)]
pub struct Question {
    /// What is asked, e.g. `Delete this conversation?`.
    pub title: String,
    /// What will happen.
    pub text: String,
    /// Name of the button that does it.
    pub action: String,
    /// What it does.
    pub on_confirm: Arc<dyn Fn() + Send + Sync>,
}

/// Notices and questions; shared by all pages as a context.
#[derive(Debug, Clone, Copy)]
pub struct Overlay {
    /// Notices on screen, oldest first.
    pub notices: RwSignal<Vec<Notice>>,
    /// The open question.
    pub question: RwSignal<Option<Question>>,
}

impl Overlay {
    /// Nothing to show.
    pub fn new() -> Self {
        Overlay {
            notices: RwSignal::new(Vec::new()),
            question: RwSignal::new(None),
        }
    }

    /// The overlay of the page around.
    pub fn here() -> Self {
        expect_context()
    }

    /// Tells that something is done.
    pub fn tell(self, text: impl Into<String>) {
        self.push(text.into(), false);
    }

    /// Tells that something did not work.
    pub fn fail(self, text: impl Into<String>) {
        self.push(text.into(), true);
    }

    /// Takes a notice away.
    pub fn dismiss(self, id: u64) {
        self.notices
            .update(|notices| notices.retain(|notice| notice.id != id));
    }

    /// Asks before something is done.
    pub fn ask(self, question: Question) {
        self.question.set(Some(question));
    }

    fn push(self, text: String, failure: bool) {
        let newest = self
            .notices
            .with_untracked(|notices| notices.last().map(|notice| notice.id));
        let id = newest.map_or(0, |id| id + 1);
        self.notices
            .update(|notices| notices.push(Notice { id, text, failure }));
        set_timeout(move || self.dismiss(id), NOTICE_TIME);
    }
}
