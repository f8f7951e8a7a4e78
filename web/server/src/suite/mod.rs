//! What requests share: database, library, language model, answers under way, and the limits on all of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rag::{AccessScope, Embedder, Library};
use tokio::sync::Semaphore;

use crate::auth::Throttle;
use crate::db::{Database, DatabaseError};
use crate::http::Metrics;
use crate::model::LanguageModel;

pub mod answers;
pub mod ask;
pub mod ask_stream;
pub mod upload;

/// Limits and places, with defaults that suit one machine and a few dozen colleagues.
#[derive(Debug, Clone)]
pub struct SuiteConfig {
    /// Folder of `suite.db`, `incoming/` (uploads not read yet) and the local socket. Created where missing.
    pub data_dir: PathBuf,
    /// A session that is not used for this long ends. Longer is more comfortable and leaves forgotten machines signed in.
    pub session_idle: Duration,
    /// A session ends after this long, used or not.
    pub session_max: Duration,
    /// Set the `Secure` flag on the session cookie: for a server behind TLS. Over plain HTTP the browser would then drop the cookie.
    pub secure_cookies: bool,
    /// Most bytes of one uploaded file. Larger files occupy the disk while they are received.
    pub max_upload_bytes: u64,
    /// Most bytes of a JSON request body.
    pub max_body_bytes: usize,
    /// An answer that takes longer is broken off; what there is of it is kept.
    pub answer_deadline: Duration,
    /// Most tokens of a written answer over documents. More is slower and rarely better with small models.
    pub max_answer_tokens: usize,
    /// Passages fetched for a question, before packing.
    pub search_k: usize,
    /// Budget of the passages given to the model. On CPU every 100 tokens cost about a second before the first word.
    pub context: rag::ContextBudget,
    /// Answers that one account may have under way at once.
    pub max_answers_per_user: usize,
    /// What an administrator does to add a language model; shown while there is none.
    pub how_to_add_model: String,
}

impl SuiteConfig {
    /// The defaults for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            session_idle: Duration::from_secs(7 * 24 * 3600),
            session_max: Duration::from_secs(30 * 24 * 3600),
            secure_cookies: false,
            max_upload_bytes: 200 * 1024 * 1024,
            max_body_bytes: 2 * 1024 * 1024,
            answer_deadline: Duration::from_secs(300),
            max_answer_tokens: 256,
            search_k: 20,
            context: rag::ContextBudget::default(),
            max_answers_per_user: 4,
            how_to_add_model: "Answers are verbatim quotes because no language model is installed. An administrator \
                               adds one with `cloister models pull` and restarts the server."
                .to_owned(),
        }
    }
}

/// Why the suite could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// The data directory cannot be created.
    #[error("cannot create the data directory {path}: {source}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Passwords being hashed at once: each takes 19 MiB and tens of milliseconds of a core.
const PASSWORD_HASHES_AT_ONCE: usize = 2;

/// `/v1/embeddings` requests being computed at once, so that they leave room for questions.
const EMBEDDINGS_AT_ONCE: usize = 2;

/// Everything that requests share. Lives behind an `Arc`.
pub struct Suite {
    pub(crate) config: SuiteConfig,
    pub(crate) database: Database,
    pub(crate) library: Arc<Library>,
    pub(crate) model: Option<Arc<dyn LanguageModel>>,
    pub(crate) embedder: Arc<dyn Embedder>,
    pub(crate) answers: answers::Answers,
    pub(crate) throttle: Throttle,
    pub(crate) password_hashing: Semaphore,
    pub(crate) embedding: Semaphore,
    pub(crate) metrics: Metrics,
    pub(crate) uploads: upload::Uploads,
}

impl Suite {
    /// Opens (and migrates) the database and takes the parts handed in. Blocking.
    ///
    /// Answers that were under way when the previous process ended are marked as failed.
    ///
    /// # Errors
    /// [`SuiteError`] when the data directory or the database cannot be used, or the database is of a newer version.
    pub fn open(
        config: SuiteConfig,
        library: Arc<Library>,
        model: Option<Arc<dyn LanguageModel>>,
        embedder: Arc<dyn Embedder>,
    ) -> Result<Suite, SuiteError> {
        create_private_dir(&config.data_dir).map_err(|source| SuiteError::DataDir {
            path: config.data_dir.clone(),
            source,
        })?;
        let database = Database::open(&config.data_dir.join("suite.db"))?;
        database.write_blocking(crate::db::messages::fail_interrupted)?;
        Ok(Suite {
            uploads: upload::Uploads::new(config.data_dir.join("incoming")),
            config,
            database,
            library,
            model,
            embedder,
            answers: answers::Answers::default(),
            throttle: Throttle::default(),
            password_hashing: Semaphore::new(PASSWORD_HASHES_AT_ONCE),
            embedding: Semaphore::new(EMBEDDINGS_AT_ONCE),
            metrics: Metrics::default(),
        })
    }

    /// Limits and places.
    pub fn config(&self) -> &SuiteConfig {
        &self.config
    }

    /// Collections that an account may ask: all of them, for every account, until access lists exist.
    pub(crate) fn scope_of(&self, _user: &crate::auth::CurrentUser) -> AccessScope {
        AccessScope::all()
    }

    /// Runs blocking work of the library off the async threads.
    pub(crate) async fn with_library<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Library) -> T + Send + 'static,
    ) -> T {
        let library = Arc::clone(&self.library);
        join(tokio::task::spawn_blocking(move || work(&library)).await)
    }
}

/// A new data directory is its owner's alone. The mode of one that exists is the owner's choice.
fn create_private_dir(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// The result of a blocking task; a panic goes on in the caller, where the server catches it and names the request.
pub(crate) fn join<T>(result: Result<T, tokio::task::JoinError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Blocking tasks are never aborted here, so that the runtime itself must be going down.
        Err(error) => std::panic::panic_any(format!("a blocking task was cancelled: {error}")),
    }
}
