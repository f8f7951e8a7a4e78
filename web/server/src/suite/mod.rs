//! What requests share: database, library, language model, answers under way, and the limits on all of them.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rag::{AccessScope, Embedder, Library, LibraryError};
use tokio::sync::watch;

use crate::auth::{PasswordHashing, Revocations, Throttle};
use crate::blocking::join;
use crate::client_address::{ClientKey, Network};
use crate::db::{Database, DatabaseError, UserId, users};
use crate::metrics::Metrics;
use crate::model::LanguageModel;
use crate::public_url::PublicUrl;

mod accounts;
pub mod answers;
pub mod ask;
pub mod ask_stream;
pub mod document_now;
pub(crate) mod held_bytes;
mod people;
pub mod places;
pub mod removed_sources;
mod revoked;
pub mod turns;
pub mod upload;
pub mod without_sources;

/// Limits and places, with defaults that suit one machine and a few dozen colleagues.
#[derive(Debug, Clone)]
pub struct SuiteConfig {
    /// Folder of `suite.db`, `incoming/` (uploads not read yet) and the local socket. Created where missing.
    pub data_dir: PathBuf,
    /// A session that is not used for this long ends. Longer is more comfortable and leaves forgotten machines signed in.
    pub session_idle: Duration,
    /// A session ends after this long, used or not.
    pub session_max: Duration,
    /// Browsers come over TLS: cookies are `Secure` and named `__Host-`, and browsers are told to stay with TLS. Over plain HTTP
    /// they would drop the cookies.
    pub secure_cookies: bool,
    /// Where people reach the server, when that is not the address it listens on.
    pub public_url: Option<PublicUrl>,
    /// Proxies whose word about the client's address counts. Naming one that is none lets its users claim any address.
    pub trusted_proxies: Vec<Network>,
    /// A request's body may pause for this long. Longer lets silent senders keep their places.
    pub body_idle: Duration,
    /// Most bytes of one uploaded file. Larger files occupy the disk while they are received.
    pub max_upload_bytes: u64,
    /// Most bytes of a JSON request body.
    pub max_body_bytes: usize,
    /// Most bytes that JSON bodies of requests hold together while they arrive; one account holds up to half of it. More lets those
    /// who send slowly, or never end, take more memory; less turns away large requests that come at the same time.
    pub max_held_body_bytes: usize,
    /// An answer that takes longer is broken off; what there is of it is kept.
    pub answer_deadline: Duration,
    /// Most tokens of a written answer over documents. More is slower and rarely better with small models.
    pub max_answer_tokens: usize,
    /// Passages fetched for a question, before packing.
    pub search_k: usize,
    /// Budget of the passages given to the model. On CPU every 100 tokens cost about a second before the first word.
    pub context: rag::ContextBudget,
    /// Answers that one account may have under way at once, by whatever way it asks; each of `n` counts. As many as the model
    /// writes at a time would let one person keep all others waiting.
    pub max_answers_per_user: usize,
    /// Requests that one client behind a trusted proxy may have under way; those of others are limited by their connections.
    pub max_requests_per_client: usize,
    /// Most tokens of an answer of `/v1/*` whose request sets no limit; `None`: until the model or its context ends. More lets one
    /// forgotten request hold a place for longer.
    pub default_max_tokens: Option<usize>,
    /// Other names of models in `/v1/*`, each with the model's own name: for clients whose model name cannot be changed.
    pub model_aliases: BTreeMap<String, String>,
    /// When the embedding model was made, in seconds since the Unix epoch; 0 where nobody knows.
    pub embedder_created: i64,
    /// What an administrator does to add a language model; shown while there is none.
    pub how_to_add_model: String,
    /// Begin with new accounts although documents are there and their accounts are not. Whoever opens the setup link then
    /// reads all documents, so this is for those who know that the accounts are gone.
    pub new_accounts: bool,
}

impl SuiteConfig {
    /// The defaults for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            session_idle: Duration::from_secs(7 * 24 * 3600),
            session_max: Duration::from_secs(30 * 24 * 3600),
            secure_cookies: false,
            public_url: None,
            trusted_proxies: Vec::new(),
            body_idle: Duration::from_secs(30),
            max_upload_bytes: 200 * 1024 * 1024,
            max_body_bytes: 2 * 1024 * 1024,
            // 16 of the largest bodies, those of embeddings; for one account 8, as many as it may have answered at once.
            max_held_body_bytes: 128 * 1024 * 1024,
            answer_deadline: Duration::from_secs(300),
            max_answer_tokens: 256,
            search_k: 20,
            context: rag::ContextBudget::default(),
            max_answers_per_user: 8,
            max_requests_per_client: 256,
            default_max_tokens: None,
            model_aliases: BTreeMap::new(),
            embedder_created: 0,
            how_to_add_model: "Answers are verbatim quotes because no language model is installed. An administrator \
                               adds one with `cloister models pull` and restarts the server."
                .to_owned(),
            new_accounts: false,
        }
    }
}

impl SuiteConfig {
    /// The own name of the model that clients call `name`.
    pub(crate) fn model_of<'a>(&'a self, name: &'a str) -> &'a str {
        self.model_aliases.get(name).map_or(name, String::as_str)
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
    /// The library cannot be asked.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// There are documents, but the accounts that belong to them are not here.
    #[error(
        "{path} is missing or empty although there are documents: a new installation would let whoever comes first read them"
    )]
    AccountsLost {
        /// The database of accounts.
        path: PathBuf,
    },
    /// The threads that check passwords cannot be started.
    #[error("cannot start threads: {0}")]
    Threads(#[source] std::io::Error),
}

impl SuiteError {
    /// Whether making room on the disk is the way out.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::DataDir { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            Self::Database(error) => error.is_disk_full(),
            Self::Library(error) => error.is_disk_full(),
            Self::AccountsLost { .. } | Self::Threads(_) => false,
        }
    }
}

/// `/v1/embeddings` requests being computed at once, one of each account, so that they leave room for questions and for each other.
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
    pub(crate) password_hashing: PasswordHashing,
    pub(crate) embedding: turns::Turns<UserId>,
    pub(crate) places: places::PlacesBy<UserId>,
    pub(crate) requests: places::PlacesBy<ClientKey>,
    pub(crate) bodies: held_bytes::HeldBytes<held_bytes::Sender>,
    pub(crate) metrics: Metrics,
    pub(crate) uploads: upload::Uploads,
    pub(crate) revocations: Revocations,
    /// Whether whatever is still being answered has to end now.
    pub(crate) cut_off: watch::Sender<bool>,
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
        rag::private::create_dir(&config.data_dir).map_err(|source| SuiteError::DataDir {
            path: config.data_dir.clone(),
            source,
        })?;
        let database = open_accounts(&config, &library)?;
        database.write_blocking(crate::db::messages::fail_interrupted)?;
        let suite = Suite {
            uploads: upload::Uploads::new(incoming(&config)),
            bodies: held_bytes::HeldBytes::new(config.max_held_body_bytes),
            config,
            database,
            library,
            model,
            embedder,
            answers: answers::Answers::default(),
            throttle: Throttle::default(),
            password_hashing: PasswordHashing::start().map_err(SuiteError::Threads)?,
            embedding: turns::Turns::new(EMBEDDINGS_AT_ONCE),
            places: places::PlacesBy::default(),
            requests: places::PlacesBy::default(),
            metrics: Metrics::default(),
            cut_off: watch::Sender::new(false),
            revocations: Revocations::default(),
        };
        if let Err(error) = suite.forget_removed_words_blocking() {
            tracing::warn!(%error, "answers were not compared with their documents");
        }
        Ok(suite)
    }

    /// After deletions, writes the databases anew, which removes what SQLite left in gaps of their pages. Blocking: about a
    /// second for every 100 MB.
    pub fn tidy(&self) {
        if let Err(error) = self.library.tidy() {
            tracing::warn!(%error, "fragments of deleted text may remain in the catalogue");
        }
        if let Err(error) = self.database.tidy() {
            tracing::warn!(%error, "fragments of deleted text may remain in the database of accounts");
        }
    }

    /// Writes everything into the files themselves and closes the database, after which requests fail. Blocking.
    pub fn close(&self) {
        if let Err(error) = self.library.tidy() {
            tracing::warn!(%error, "fragments of deleted text may remain in the catalogue");
        }
        if let Err(error) = self.library.settle() {
            tracing::warn!(%error, "the documents could not be settled; the next start does it");
        }
        if let Err(error) = self.database.close() {
            tracing::warn!(%error, "the accounts could not be settled; the next start does it");
        }
    }

    /// Limits and places.
    pub fn config(&self) -> &SuiteConfig {
        &self.config
    }

    /// Completes when whatever is still being answered has to end.
    pub(crate) fn wait_for_cut_off(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut cut_off = self.cut_off.subscribe();
        async move {
            if cut_off.wait_for(|cut_off| *cut_off).await.is_err() {
                // Nobody is left who could cut it off.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Collections that an account may ask: all of them, for every account, until access lists exist.
    pub(crate) fn scope_of(&self, _user: &crate::auth::CurrentUser) -> AccessScope {
        AccessScope::all()
    }

    /// Places of an account for `count` answers, see [`places`].
    pub(crate) fn places(
        &self,
        user: &crate::auth::CurrentUser,
        count: usize,
    ) -> Result<places::Places<UserId>, places::TooMuch> {
        let most = self.config.max_answers_per_user;
        self.places.take(user.id, count, most)
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

/// Opens the database of accounts, unless it is plain that another one belongs to the documents: it was there before, or
/// documents are older than it. `Suite::open` itself makes the file before the first document comes. Without documents there is
/// nothing that whoever comes first could read.
fn open_accounts(config: &SuiteConfig, library: &Library) -> Result<Database, SuiteError> {
    let path = config.data_dir.join("suite.db");
    let had_accounts = library.had_accounts()?;
    let lost = || SuiteError::AccountsLost { path: path.clone() };
    let is_guarded = !config.new_accounts && has_documents(config, library)?;
    if is_guarded && Database::is_new(&path) {
        return Err(lost());
    }
    let database = Database::open(&path)?;
    let has_accounts = database.read_blocking(users::any)?;
    if is_guarded && had_accounts && !has_accounts {
        return Err(lost());
    }
    library.note_accounts(has_accounts)?;
    Ok(database)
}

/// Where uploads are received.
fn incoming(config: &SuiteConfig) -> PathBuf {
    config.data_dir.join("incoming")
}

/// Whether there are documents, read or still to be read.
fn has_documents(config: &SuiteConfig, library: &Library) -> Result<bool, SuiteError> {
    let collections = library.collections(&AccessScope::all())?;
    let has_any = collections
        .iter()
        .any(|collection| collection.documents > 0);
    Ok(has_any || upload::are_left(&incoming(config)))
}
