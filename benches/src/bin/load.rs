//! Load generator: N users who ask a running server at the same time, one question after the other.
//!
//! Measures the time to the first token (TTFT) and between tokens (ITL) as a client sees them, over
//! `/v1/chat/completions` with streaming. A piece of text that arrives counts as one token: the server sends one event a
//! token. Answers of 429 are counted and tried again after `Retry-After`, as a well-behaved client does. The questions
//! are a fixed list, so two runs ask the same; the first question of each user is warm-up and not counted.
//! All users share one key and so the places of one account: for so many, set `[answers] per_user` of the server to as many and
//! `[engine] max_num_seqs` to at least twice as many.
//!
//! `cargo run --release -p benches --bin load -- --url http://127.0.0.1:8080 --key KEY --users 4 --requests 8 --json`

use std::io::{BufRead, BufReader, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use serde_json::{Value, json};

const QUESTIONS: [&str; 6] = [
    "How many days of paid leave does a full-time employee have?",
    "How long must a password be?",
    "What does a blinking red light on the sensor mean?",
    "Within how many days must expenses be handed in?",
    "What is the maximum test pressure of the test benches?",
    "Who approves a purchase of 4,000 euros?",
];

/// Drives a running server with concurrent users.
#[derive(Debug, Parser)]
struct Args {
    /// Base address of the server
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// API key
    #[arg(long, env = "CLOISTER_API_KEY")]
    key: String,
    /// Model to ask [default: the first that the server lists]
    #[arg(long)]
    model: Option<String>,
    /// Collections to answer from; none asks the bare model
    #[arg(long)]
    collection: Vec<String>,
    /// Users at the same time
    #[arg(long, default_value_t = 4)]
    users: usize,
    /// Counted requests of each user
    #[arg(long, default_value_t = 4)]
    requests: usize,
    /// Most tokens of an answer
    #[arg(long, default_value_t = 64)]
    max_tokens: usize,
    /// Print the result as JSON only
    #[arg(long)]
    json: bool,
}

/// What one answered request showed.
struct Answered {
    ttft: Duration,
    gaps: Vec<Duration>,
}

/// What all users saw together.
#[derive(Default)]
struct Totals {
    answered: Vec<Answered>,
    overloaded: usize,
    failed: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(600)))
        .build()
        .into();
    let model = match &args.model {
        Some(model) => model.clone(),
        None => first_model(&agent, &args)?,
    };
    let totals = Mutex::new(Totals::default());
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for user in 0..args.users {
            let (agent, args, model, totals) = (&agent, &args, &model, &totals);
            scope.spawn(move || run_user(agent, args, model, user, totals));
        }
    });
    let wall = begin.elapsed();
    let totals = totals
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    report(&args, &model, &totals, wall)
}

fn first_model(agent: &ureq::Agent, args: &Args) -> anyhow::Result<String> {
    let mut response = agent
        .get(format!("{}/v1/models", args.url))
        .header("authorization", format!("Bearer {}", args.key))
        .call()
        .with_context(|| format!("cannot reach {}", args.url))?;
    let body: Value = serde_json::from_str(&response.body_mut().read_to_string()?)?;
    body["data"][0]["id"]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("no model is listed: {body}"))
}

fn run_user(agent: &ureq::Agent, args: &Args, model: &str, user: usize, totals: &Mutex<Totals>) {
    for request in 0..=args.requests {
        let question = QUESTIONS[(user + request) % QUESTIONS.len()];
        let outcome = ask_patiently(agent, args, model, question, totals);
        let mut totals = totals
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match outcome {
            Ok(answered) if request > 0 => totals.answered.push(answered),
            Ok(_) => {}
            Err(error) => totals.failed.push(format!("{error:#}")),
        }
    }
}

/// Asks until the server has room.
fn ask_patiently(
    agent: &ureq::Agent,
    args: &Args,
    model: &str,
    question: &str,
    totals: &Mutex<Totals>,
) -> anyhow::Result<Answered> {
    loop {
        match ask(agent, args, model, question)? {
            Ok(answered) => return Ok(answered),
            Err(retry_after) => {
                totals
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .overloaded += 1;
                std::thread::sleep(retry_after);
            }
        }
    }
}

/// One streamed answer; the inner error is how long an overloaded server asks to wait.
fn ask(
    agent: &ureq::Agent,
    args: &Args,
    model: &str,
    question: &str,
) -> anyhow::Result<Result<Answered, Duration>> {
    let mut body = json!({
        "model": model, "stream": true, "max_tokens": args.max_tokens, "temperature": 0,
        "messages": [{"role": "user", "content": question}],
    });
    if !args.collection.is_empty() {
        body["collections"] = json!(args.collection);
    }
    let sent = Instant::now();
    let response = agent
        .post(format!("{}/v1/chat/completions", args.url))
        .header("authorization", format!("Bearer {}", args.key))
        .header("content-type", "application/json")
        .send(body.to_string())?;
    if response.status() == 429 {
        let seconds = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        return Ok(Err(Duration::from_secs(seconds.unwrap_or(1))));
    }
    if response.status() != 200 {
        bail!("the server answered {}", response.status());
    }
    let (mut ttft, mut gaps, mut last) = (None, Vec::new(), sent);
    for line in BufReader::new(response.into_body().into_reader()).lines() {
        let line = line?;
        let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") else {
            continue;
        };
        let event: Value = serde_json::from_str(data)?;
        if event["choices"][0]["delta"]["content"]
            .as_str()
            .is_none_or(str::is_empty)
        {
            continue;
        }
        let now = Instant::now();
        match ttft {
            None => ttft = Some(now - sent),
            Some(_) => gaps.push(now - last),
        }
        last = now;
    }
    let ttft = ttft.context("the answer is empty")?;
    Ok(Ok(Answered { ttft, gaps }))
}

fn report(args: &Args, model: &str, totals: &Totals, wall: Duration) -> anyhow::Result<()> {
    let mut ttft: Vec<f64> = totals
        .answered
        .iter()
        .map(|answered| millis(answered.ttft))
        .collect();
    let mut gaps: Vec<f64> = totals
        .answered
        .iter()
        .flat_map(|answered| &answered.gaps)
        .copied()
        .map(millis)
        .collect();
    let tokens = gaps.len() + ttft.len();
    ttft.sort_by(f64::total_cmp);
    gaps.sort_by(f64::total_cmp);
    let spread = |sorted: &[f64]| json!({"p50": quantile(sorted, 0.5), "p95": quantile(sorted, 0.95), "p99": quantile(sorted, 0.99)});
    let result = json!({
        "model": model, "users": args.users, "requests": totals.answered.len(), "failed": totals.failed.len(),
        "overloaded": totals.overloaded, "wall_s": wall.as_secs_f64(), "tokens": tokens,
        "tokens_per_s": tokens as f64 / wall.as_secs_f64(), "ttft_ms": spread(&ttft), "itl_ms": spread(&gaps),
    });
    let mut stdout = std::io::stdout().lock();
    if !args.json {
        writeln!(stdout, "{:>12} {:>9} {:>9} {:>9}", "", "p50", "p95", "p99")?;
        for (name, sorted) in [("TTFT ms", &ttft), ("ITL ms", &gaps)] {
            let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|q| quantile(sorted, q));
            writeln!(stdout, "{name:>12} {p50:>9.1} {p95:>9.1} {p99:>9.1}")?;
        }
    }
    writeln!(stdout, "{result}")?;
    match totals.failed.first() {
        None => Ok(()),
        Some(first) => bail!(
            "{} requests failed; the first: {first}",
            totals.failed.len()
        ),
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Nearest-rank quantile of sorted values; 0 where there are none.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            [0.5, 0.95, 0.99].map(|q| quantile(&values, q)),
            [50.0, 95.0, 99.0]
        );
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
