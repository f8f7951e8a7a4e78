//! The composition root: builds encoder, library, engine and suite from the settings and hands them to each other.

mod lock;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use indicatif::ProgressBar;
use inference::{DeviceChoice, Encoder, EncoderError, Engine, HAS_CUDA, LoadError, LoadProgress};
use rag::{EmbedError, Embedder, Library, LibraryConfig, LibraryError};
use web_server::{LanguageModel, Suite, SuiteError};

pub use lock::DataLock;

use crate::args::ModelArgs;
use crate::config::Config;
use crate::failure::{Failure, Outcome, chain};
use crate::models::choose::{self, Chosen};
use crate::models::{ModelKind, ModelStore};
use crate::output;

/// An open data directory: whoever holds this is its owner.
pub struct Opened {
    /// Everything that requests share.
    pub suite: Arc<Suite>,
    /// The language model that answers; `None` in quote-only mode.
    pub model_name: Option<String>,
    _lock: DataLock,
}

impl Drop for Opened {
    /// Databases are written into their files and closed, whoever still holds the suite. Blocking.
    fn drop(&mut self) {
        self.suite.close();
    }
}

/// What a command needs beside accounts and documents.
#[derive(Debug, Clone)]
pub enum Need {
    /// No language model.
    Retrieval,
    /// A language model where there is one; quote-only otherwise.
    Answers(ModelArgs),
}

/// Opens the data directory for this process. Blocks for as long as models load.
///
/// # Errors
/// Another owner, a missing or damaged model, a database that cannot be opened; each with the way out.
pub fn open(config: &Config, need: &Need) -> Outcome<Opened> {
    let lock = DataLock::acquire(&config.data_dir)?;
    let store = ModelStore::open(&config.models_dir)?;
    let chosen = match need {
        Need::Retrieval => None,
        Need::Answers(args) => choose_model(config, &store, args)?,
    };
    if let Need::Answers(_) = need {
        check_aliases(config, &store, chosen.as_ref())?;
    }
    let (model, (library, embedder)) = load(config, &store, chosen.as_ref())?;
    let model_name = model.as_ref().map(|engine| engine.model().name.clone());
    let max_num_seqs = model.as_ref().map(Engine::max_num_seqs);
    let model = model.map(|engine| Arc::new(engine) as Arc<dyn LanguageModel>);
    let mut settings = config.suite(max_num_seqs)?;
    settings.embedder_created = embedder_created(config, &store);
    let suite = Suite::open(settings, Arc::new(library), model, embedder)
        .map_err(|error| suite_failure(config, &error))?;
    Ok(Opened {
        suite: Arc::new(suite),
        model_name,
        _lock: lock,
    })
}

/// Every other name must be one of a model that answers; without a language model, of one that is installed.
fn check_aliases(config: &Config, store: &ModelStore, chosen: Option<&Chosen>) -> Outcome<()> {
    let models = &config.file.models;
    if models.aliases.is_empty() {
        return Ok(());
    }
    let embedder = choose::resolve(store, &models.embedder, ModelKind::Embedding)?.name;
    for (alias, name) in &models.aliases {
        let is_known = *name == embedder
            || match chosen {
                Some(chosen) => *name == chosen.name,
                None => choose::resolve(store, name, ModelKind::Chat).is_ok(),
            };
        if !is_known {
            let there = chosen.map_or_else(String::new, |chosen| format!("{} and ", chosen.name));
            return Err(Failure::config(format!(
                "`aliases` under [models]: `{alias}` is a name of `{name}`, which is not in use"
            ))
            .hint(format!("the models in use are {there}{embedder}")));
        }
    }
    Ok(())
}

/// When the embedding model's weights were written, in seconds since the Unix epoch; 0 where the system does not say.
fn embedder_created(config: &Config, store: &ModelStore) -> i64 {
    let embedder = &config.file.models.embedder;
    let chosen = choose::resolve(store, embedder, ModelKind::Embedding).ok();
    let weights = chosen.map(|chosen| chosen.path.join("model.safetensors"));
    let modified = weights.and_then(|weights| weights.metadata().ok()?.modified().ok());
    let since_epoch = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since_epoch.map_or(0, |time| time.as_secs() as i64)
}

/// Documents, and the encoder that finds them.
type Documents = (Library, Arc<dyn Embedder>);

/// Loads the language model and opens the documents beside it: encoder and indexes take as long as a small model does.
fn load(
    config: &Config,
    store: &ModelStore,
    chosen: Option<&Chosen>,
) -> Outcome<(Option<Engine>, Documents)> {
    let model = || chosen.map(|chosen| load_model(config, chosen)).transpose();
    // On a GPU the model's cache is what it finds free, so nothing else may be loaded meanwhile.
    if HAS_CUDA && !matches!(config.device, DeviceChoice::Cpu) {
        return Ok((model()?, open_library(config, store)?));
    }
    // Whoever computes first makes the threads, as many as the settings say.
    inference::check_threads(config.file.engine.threads)
        .map_err(|error| Failure::config(chain(&error)))?;
    let (model, library) = std::thread::scope(|scope| {
        let library = scope.spawn(|| open_library(config, store));
        (model(), library.join())
    });
    let library = library.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    Ok((model?, library?))
}

fn open_library(config: &Config, store: &ModelStore) -> Outcome<Documents> {
    let embedder: Arc<dyn Embedder> = Arc::new(load_embedder(config, store)?);
    let library_config = LibraryConfig {
        data_dir: config.data_dir.clone(),
        store: config.store()?,
        extractor: config.extractor()?,
    };
    let library = Library::open(library_config, Arc::clone(&embedder))
        .map_err(|error| library_failure(config, &error))?;
    Ok((library, embedder))
}

fn load_model(config: &Config, chosen: &Chosen) -> Outcome<Engine> {
    let bar = output::loading(&chosen.name);
    let settings = config.engine(chosen);
    let engine = settings
        .map_err(|error| load_failure(chosen, &error))
        .and_then(|settings| load_with_bar(chosen, settings, &bar));
    bar.finish_and_clear();
    engine
}

/// The language model that flags, settings or memory choose, checked; `None` means quote-only, and says so.
///
/// # Errors
/// An unknown or damaged model.
pub fn choose_model(
    config: &Config,
    store: &ModelStore,
    args: &ModelArgs,
) -> Outcome<Option<Chosen>> {
    let spec = args.model.as_deref().unwrap_or(&config.file.models.chat);
    if args.no_model || spec == "none" {
        return Ok(None);
    }
    if spec != "auto" {
        return choose::resolve(store, spec, ModelKind::Chat).map(Some);
    }
    let available = choose::available_memory();
    let Some(default) = choose::default_chat(store, available) else {
        let advice = choose::recommended_chat(store, available)
            .map_or("NAME", |manifest| manifest.name.as_str());
        output::note(&format!(
            "no language model is installed: answers are verbatim quotes. `cloister models pull {advice}` adds one"
        ));
        return Ok(None);
    };
    let name = default.name.clone();
    choose::resolve(store, &name, ModelKind::Chat).map(Some)
}

/// Loads the embedding model of the settings.
fn load_embedder(config: &Config, store: &ModelStore) -> Outcome<EncoderEmbedder> {
    let chosen = choose::resolve(store, &config.file.models.embedder, ModelKind::Embedding)?;
    let encoder = Encoder::load(&chosen.path, &config.device).map_err(|error| {
        Failure::config(format!(
            "cannot load the embedding model {}: {}",
            chosen.name,
            chain(&error)
        ))
        .hint(format!(
            "`cloister models verify {}` checks its files",
            chosen.name
        ))
    })?;
    Ok(EncoderEmbedder {
        name: chosen.name,
        encoder,
    })
}

/// Loads a language model by itself, for commands without documents.
///
/// # Errors
/// An unknown or damaged model, or one this version cannot run.
pub fn load_engine(
    config: &Config,
    spec: &str,
    adjust: impl FnOnce(&mut inference::EngineConfig),
) -> Outcome<Engine> {
    let store = ModelStore::open(&config.models_dir)?;
    let chosen = choose::resolve(&store, spec, ModelKind::Chat)?;
    let engine_config = config.engine(&chosen);
    let mut engine_config = engine_config.map_err(|error| load_failure(&chosen, &error))?;
    adjust(&mut engine_config);
    // What these commands print is for programs, too: no line where nobody watches.
    let bar = match output::is_interactive() {
        true => output::loading(&chosen.name),
        false => ProgressBar::hidden(),
    };
    let engine = load_with_bar(&chosen, engine_config, &bar);
    bar.finish_and_clear();
    engine
}

fn load_with_bar(
    chosen: &Chosen,
    config: inference::EngineConfig,
    bar: &ProgressBar,
) -> Outcome<Engine> {
    Engine::load_with(config, &|LoadProgress { done, total }| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })
    .map_err(|error| load_failure(chosen, &error))
}

/// What a model that cannot be loaded means for the user.
pub fn load_failure(chosen: &Chosen, error: &LoadError) -> Failure {
    let message = format!("cannot load the model {}: {}", chosen.name, chain(error));
    match error {
        LoadError::Device(_) => Failure::config(message).hint("choose a device that is there, e.g. --device cpu"),
        LoadError::Memory { .. } => Failure::config(message)
            .hint("`cloister doctor --plan` shows what a card needs for a model; --device cpu computes without it"),
        _ => Failure::user(message)
            .hint("`cloister models list` shows models that work; a file that was cut off must be fetched again"),
    }
}

fn suite_failure(config: &Config, error: &SuiteError) -> Failure {
    let failure = Failure::config(format!(
        "cannot open {}: {}",
        config.data_dir.display(),
        chain(error)
    ));
    match error {
        SuiteError::AccountsLost { .. } => failure.hint(
            "put suite.db back from a copy (and suite.db-wal with it, if the copy has one); if the accounts and \
             conversations are gone for good, `cloister serve --new-accounts` begins with new ones beside the documents",
        ),
        full if full.is_disk_full() => failure.hint(ROOM_HINT),
        _ => failure,
    }
}

/// What helps when the data directory cannot be opened because its disk is full.
const ROOM_HINT: &str = "make room on that disk and start again; nothing that was stored is lost";

fn library_failure(config: &Config, error: &LibraryError) -> Failure {
    let failure = Failure::config(format!(
        "cannot open the documents in {}: {}",
        config.data_dir.display(),
        chain(error)
    ));
    if error.is_disk_full() {
        return failure.hint(ROOM_HINT);
    }
    match config.store() {
        Ok(rag::StoreChoice::Server { url, .. }) => {
            failure.hint(format!("is the vector store at {url} running? Its address is `url` under [store] in the configuration"))
        }
        _ => failure,
    }
}

/// Fails early when a port is taken, before minutes go into loading a model.
///
/// # Errors
/// The address cannot be listened on.
pub fn check_listen(listen: SocketAddr) -> Outcome<()> {
    std::net::TcpListener::bind(listen)
        .map(drop)
        .map_err(|error| listen_failure(listen, &error))
}

/// What an address that cannot be listened on means for the user.
pub fn listen_failure(listen: SocketAddr, error: &std::io::Error) -> Failure {
    let next = SocketAddr::new(listen.ip(), listen.port().saturating_add(1));
    match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::config(format!(
            "port {} of {} is in use by another program",
            listen.port(),
            listen.ip()
        ))
        .hint(format!(
            "stop that program or choose another port: --listen {next}"
        )),
        std::io::ErrorKind::PermissionDenied => Failure::config(format!(
            "port {} may not be used by this account",
            listen.port()
        ))
        .hint("choose a port from 1024 up, e.g. --listen 127.0.0.1:8080"),
        std::io::ErrorKind::AddrNotAvailable => {
            Failure::config(format!("{} is not an address of this machine", listen.ip()))
                .hint("use 127.0.0.1 for this machine only, or 0.0.0.0 for all its addresses")
        }
        _ => Failure::config(format!("cannot listen on {listen}: {error}")),
    }
}

/// An inference encoder as the library's embedder.
struct EncoderEmbedder {
    name: String,
    encoder: Encoder,
}

impl Embedder for EncoderEmbedder {
    fn name(&self) -> &str {
        &self.name
    }

    fn dim(&self) -> usize {
        self.encoder.dim()
    }

    fn max_tokens(&self) -> usize {
        self.encoder.max_tokens()
    }

    fn count_tokens(&self, text: &str) -> usize {
        self.encoder.count_tokens(text)
    }

    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let embedded = self.encoder.embed(texts);
        embedded.map_err(|error| self.failure(&error))
    }

    fn vocab_size(&self) -> usize {
        self.encoder.vocab_size()
    }

    fn embed_tokens(&self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let embedded = self.encoder.embed_tokens(texts);
        embedded.map_err(|error| self.failure(&error))
    }
}

impl EncoderEmbedder {
    fn failure(&self, error: &EncoderError) -> EmbedError {
        EmbedError {
            model: self.name.clone(),
            reason: chain(error),
        }
    }
}

/// Whether a GPU was asked for.
pub fn on_gpu(config: &Config) -> bool {
    matches!(config.device, DeviceChoice::Cuda(_))
}
