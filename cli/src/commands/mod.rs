//! The commands: each turns its arguments into one piece of work and shows the result.

pub mod accounts;
pub mod ask;
pub mod collection;
pub mod doctor;
pub mod eval;
pub mod extract;
pub mod generate;
pub mod ingest;
pub mod local;
pub mod models;
mod quantize;
pub mod search;
pub mod serve;

use crate::args::{Command, ConfigCommand};
use crate::config::Config;
use crate::failure::{Failure, Outcome};
use crate::output;

/// Runs any command but `serve` and the extraction child, which the caller runs itself.
///
/// # Errors
/// The command's failure, ready to be shown.
pub async fn run(config: Config, command: Command) -> Outcome<()> {
    match command {
        Command::Serve(args) => serve::run(config, args).await,
        Command::Ingest(args) => ingest::run(&config, args).await,
        Command::Ask(args) => ask::run(&config, args).await,
        Command::Search(args) => search::run(&config, args).await,
        Command::Extract(args) => blocking(move || extract::run(&config, &args)).await,
        Command::ExtractChild(args) => Err(Failure::internal(format!(
            "cannot extract {} here",
            args.file.display()
        ))),
        Command::Generate(args) => blocking(move || generate::generate(&config, &args)).await,
        Command::Tokenize(args) => blocking(move || generate::tokenize(&config, &args)).await,
        Command::Perplexity(args) => blocking(move || generate::perplexity(&config, &args)).await,
        Command::Models(command) => blocking(move || models::run(&config, command)).await,
        Command::Eval(args) => eval::run(&config, args).await,
        Command::User(command) => accounts::user(&config, command).await,
        Command::Key(command) => accounts::key(&config, command).await,
        Command::Collection(command) => collection::run(&config, command).await,
        Command::Status => collection::status(&config).await,
        Command::Doctor(args) => blocking(move || doctor::run(&config, &args)).await,
        Command::Config(ConfigCommand::Show) => show_config(&config),
    }
}

/// Runs work that computes or waits for the disk on a thread of its own.
async fn blocking(work: impl FnOnce() -> Outcome<()> + Send + 'static) -> Outcome<()> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::internal(
            "the command broke down; please report what you did",
        )),
    }
}

fn show_config(config: &Config) -> Outcome<()> {
    let mut shown = config.file.clone();
    shown.models.dir = Some(config.models_dir.clone());
    if config.json {
        output::json(&serde_json::json!({ "data_dir": config.data_dir, "config": shown }));
        return Ok(());
    }
    let text = toml::to_string(&shown).map_err(|error| Failure::internal(error.to_string()))?;
    output::line(&format!(
        "# data directory: {}\n{text}",
        config.data_dir.display()
    ));
    Ok(())
}
