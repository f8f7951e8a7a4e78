//! `cloister serve`

use tokio::signal::unix::{Signal, SignalKind, signal};
use web_server::{Ready, ServeConfig, ServeError, serve};

use crate::args::ServeArgs;
use crate::compose::{self, Need};
use crate::config::Config;
use crate::failure::{Failure, Outcome, chain};
use crate::output;

/// Serves until Ctrl-C or a request to end.
///
/// # Errors
/// Everything that keeps the server from starting, before the model is loaded where possible.
pub async fn run(config: Config, args: ServeArgs) -> Outcome<()> {
    let listen = args.listen.unwrap_or(config.file.server.listen);
    compose::check_listen(listen)?;
    if let Some(metrics) = config.file.server.metrics_listen {
        compose::check_listen(metrics)?;
    }
    let json = config.json;
    let mut serve_config = ServeConfig::new(listen, |_| {});
    // Before minutes go into loading a model.
    config.serve_on(&mut serve_config)?;
    let mut opening = config.clone();
    opening.new_accounts = args.new_accounts;
    let need = Need::Answers(args.model);
    let mut stop = StopSignals::listen();
    let open = tokio::task::spawn_blocking(move || compose::open(&opening, &need));
    let opened = tokio::select! {
        opened = open => opened.map_err(|_| Failure::internal("opening the data directory broke down"))??,
        () = stop.received() => return Ok(()),
    };
    let model = opened.model_name.clone();
    serve_config.on_ready = Box::new(move |ready| announce(&ready, model.as_deref(), json));
    let outcome = serve(
        std::sync::Arc::clone(&opened.suite),
        serve_config,
        async move { stop.received().await },
    )
    .await;
    let _ = tokio::task::spawn_blocking(move || drop(opened)).await;
    outcome.map_err(|error| match error {
        ServeError::Listen { listen, source } => compose::listen_failure(listen, &source),
        other => Failure::config(chain(&other)),
    })?;
    output::note("stopped");
    Ok(())
}

fn announce(ready: &Ready, model: Option<&str>, json: bool) {
    if json {
        output::json(&serde_json::json!({
            "url": ready.url, "address": ready.address, "setup_link": ready.setup_link, "model": model,
            "metrics": ready.metrics, "warning": ready.warning,
        }));
        return;
    }
    output::line(&format!("Cloister is ready:  {}", ready.url));
    match model {
        Some(name) => output::line(&format!("Language model:     {name}")),
        None => output::line(
            "Language model:     none, answers are verbatim quotes (`cloister models pull` adds one)",
        ),
    }
    if let Some(address) = ready.metrics {
        output::line(&format!("Metrics:            http://{address}/metrics"));
    }
    if let Some(link) = &ready.setup_link {
        output::line(
            "There is no administrator yet. This link creates the first one and works once:",
        );
        output::line(&format!("  {link}"));
    }
    if let Some(warning) = &ready.warning {
        output::line(&format!("Warning: {warning}"));
    }
    output::line("Ctrl-C stops it.");
}

/// Ctrl-C and SIGTERM, heard from the moment that this is made: one that comes while nobody waits is not lost.
struct StopSignals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
}

impl StopSignals {
    /// Without a handler the signal ends the program at once.
    fn listen() -> Self {
        let [interrupt, terminate] =
            [SignalKind::interrupt(), SignalKind::terminate()].map(|kind| signal(kind).ok());
        Self {
            interrupt,
            terminate,
        }
    }

    /// Completes at the first of them.
    async fn received(&mut self) {
        async fn next(signal: &mut Option<Signal>) {
            match signal {
                Some(signal) => {
                    signal.recv().await;
                }
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            () = next(&mut self.interrupt) => {}
            () = next(&mut self.terminate) => {}
        }
    }
}
