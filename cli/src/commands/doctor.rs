//! `cloister doctor`: what this machine has for models. With `--plan` what a graphics card could do with a model, from numbers
//! alone, so that a box can be sized before it is bought.

use inference::{
    BUILT_FOR, GgufFile, GpuDriver, HAS_CUDA, describe_device,
    roofline::{CARDS, Card, Floor, ModelNeeds, Plan},
};
use rag::Protection;
use serde_json::{Value, json};

mod gpus;

use self::gpus::{Gpus, dotted};
use crate::args::{DoctorArgs, ModelArgs};
use crate::compose::choose_model;
use crate::config::Config;
use crate::failure::{Failure, Outcome, chain};
use crate::models::ModelStore;
use crate::models::choose::available_memory;
use crate::models::progress::size;
use crate::output;

/// Batches and contexts that one card is shown with: one person, a team, a company; a question, a long document.
const BATCHES: [usize; 4] = [1, 8, 32, 64];
const CONTEXTS: [usize; 2] = [1_024, 8_192];
/// What the table of all cards shows.
const OVERVIEW_BATCH: usize = 32;
const OVERVIEW_CONTEXT: usize = 1_024;

const EXPLANATION: &str = "\
The floor is the time to read the weights and the cache once, at 90 % of the data sheet's bandwidth: no program can write a
token faster. On an H200 Cloister takes two to three times the floor. Room: 90 % of the card's memory, less the weights and 1 GiB
to work in.";

/// Shows the machine, or a plan.
///
/// # Errors
/// With `--plan`: an unknown card, a model that is not there or cannot be run.
pub fn run(config: &Config, args: &DoctorArgs) -> Outcome<()> {
    if args.plan {
        plan(config, args)
    } else {
        machine(config);
        Ok(())
    }
}

fn machine(config: &Config) {
    let driver = GpuDriver::find();
    let problem = GpuDriver::problem(driver.as_ref()).map(|problem| problem.to_string());
    let device = describe_device(&config.device).map_err(|error| chain(&error));
    let gpus = Gpus::look(config);
    let reading = reading(config);
    if config.json {
        output::json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cuda_build": HAS_CUDA,
            "driver": driver.as_ref().map(|driver| &driver.version),
            "gpus": driver.as_ref().map_or(&[][..], |driver| &driver.cards),
            "gpu_problem": problem,
            "cuda": gpus.map(|gpus| gpus.json()),
            "device": device.as_ref().ok(),
            "device_problem": device.as_ref().err(),
            "available_memory_bytes": available_memory(),
            "document_reader": {
                "missing_protections": reading.as_ref().ok(),
                "problem": reading.as_ref().err(),
            },
        }));
        return;
    }
    let cards = driver
        .filter(|driver| !driver.cards.is_empty())
        .map(|driver| format!("{} (driver {})", driver.cards.join(", "), driver.version));
    let gpu = match (cards, problem) {
        (Some(cards), None) => cards,
        (Some(cards), Some(problem)) => format!("{cards}; {problem}"),
        (None, problem) => format!("none; {}", problem.unwrap_or_default()),
    };
    let build = match BUILT_FOR {
        Some(capability) => format!(
            "with CUDA, for compute capability {} and later",
            dotted(capability)
        ),
        None => "without CUDA: computes on the CPU whatever the machine has".to_owned(),
    };
    let mut rows = vec![
        ("Cloister".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("build".to_owned(), build),
        ("GPU".to_owned(), gpu),
    ];
    rows.extend(gpus.iter().flat_map(Gpus::rows));
    rows.extend(
        [
            (
                "models compute on",
                device.unwrap_or_else(|problem| format!("nothing: {problem}")),
            ),
            ("memory available", size(available_memory())),
            ("document reader", reader_row(&reading)),
            ("data directory", config.data_dir.display().to_string()),
            ("models directory", config.models_dir.display().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    for (name, value) in rows {
        output::line(&format!("{name:<18} {value}"));
    }
}

/// What the kernel refuses of the confinement of the process that reads documents, or why that process does not start.
fn reading(config: &Config) -> Result<Vec<Protection>, String> {
    let extractor = config.extractor().map_err(|failure| failure.message)?;
    extractor
        .missing_protections()
        .map_err(|error| chain(&error))
}

fn reader_row(reading: &Result<Vec<Protection>, String>) -> String {
    match reading {
        Err(problem) => format!("does not start: {problem}"),
        Ok(missing) if missing.is_empty() => {
            "confined: no files, network, programs or other processes".to_owned()
        }
        Ok(missing) => {
            let missing: Vec<String> = missing.iter().map(Protection::to_string).collect();
            format!("this kernel lacks {}", missing.join("; "))
        }
    }
}

fn plan(config: &Config, args: &DoctorArgs) -> Outcome<()> {
    let card = args.card.as_deref().map(find_card).transpose()?;
    let (name, needs) = model(config, args)?;
    let cards = card.map_or_else(|| CARDS.to_vec(), |card| vec![card]);
    let plans: Vec<Plan> = cards.iter().map(|card| Plan::new(card, &needs)).collect();
    if config.json {
        let plans: Vec<Value> = plans.iter().map(|plan| plan_json(plan, &needs)).collect();
        output::json(&json!({
            "model": name,
            "weights_bytes": needs.weights_bytes,
            "read_bytes_per_token": needs.read_bytes(1),
            "kv_bytes_per_token": needs.kv_bytes_per_token,
            "kv_cache_dtype": config.kv_cache_dtype.name(),
            "context_len": needs.context_len,
            "cards": plans,
        }));
        return Ok(());
    }
    output::line(&format!(
        "{name}: {} of weights, {} of them read for a token, {:.1} KiB of cache a token in {}, context {}\n",
        size(needs.weights_bytes),
        size(needs.read_bytes(1) as u64),
        needs.kv_bytes_per_token as f64 / 1024.0,
        config.kv_cache_dtype,
        needs.context_len,
    ));
    output::print(&match card {
        Some(_) => details(&plans[0], &needs),
        None => overview(&plans, &needs),
    });
    output::line(&format!("\n{EXPLANATION}"));
    Ok(())
}

fn find_card(name: &str) -> Outcome<Card> {
    Card::find(name).copied().ok_or_else(|| {
        let known: Vec<&str> = CARDS.iter().map(|card| card.name).collect();
        Failure::user(format!("no numbers are known for the card `{name}`"))
            .hint(format!("known cards: {}", known.join(", ")))
    })
}

/// Reads what the model takes; its weights are not loaded.
fn model(config: &Config, args: &DoctorArgs) -> Outcome<(String, ModelNeeds)> {
    let store = ModelStore::open(&config.models_dir)?;
    let model_args = ModelArgs {
        model: args.model.clone(),
        no_model: false,
    };
    let chosen = choose_model(config, &store, &model_args)?.ok_or_else(|| {
        Failure::user("there is no language model to plan for")
            .hint("name one with --model NAME or --model FILE.gguf")
    })?;
    let failure = |error: &dyn std::error::Error| {
        Failure::user(format!("cannot read {}: {}", chosen.name, chain(error)))
            .hint("`cloister models list` shows models that work")
    };
    let file = GgufFile::open(&chosen.path).map_err(|error| failure(&error))?;
    let needs =
        ModelNeeds::from_gguf(&file, config.kv_cache_dtype).map_err(|error| failure(&error))?;
    Ok((chosen.name.clone(), needs))
}

/// One line a card.
fn overview(plans: &[Plan], needs: &ModelNeeds) -> String {
    let rows: Vec<Vec<String>> = plans
        .iter()
        .map(|plan| {
            let alone = plan.floor(needs, 1, OVERVIEW_CONTEXT);
            let many = plan.floor(needs, OVERVIEW_BATCH, OVERVIEW_CONTEXT);
            let mut row = vec![
                plan.card.name.to_owned(),
                format!("{} GB", plan.card.memory_gb),
                format!("{} GB/s", plan.card.bandwidth_gb_per_s),
            ];
            row.extend(match plan.kv_bytes {
                None => [
                    "weights do not fit".to_owned(),
                    String::new(),
                    String::new(),
                ],
                Some(_) => [
                    format!("{} tokens", plan.kv_tokens),
                    format!("{:.2} ms", alone.ms),
                    if_it_fits(&many, format!("{:.0} tokens/s", many.tokens_per_s)),
                ],
            });
            row
        })
        .collect();
    output::table(
        &[
            "card",
            "memory",
            "bandwidth",
            "room for context",
            "floor, 1 answer",
            "at best, 32 answers",
        ],
        &rows,
    )
}

/// One line a batch and context.
fn details(plan: &Plan, needs: &ModelNeeds) -> String {
    let card = &plan.card;
    let (major, minor) = card.capability;
    let head = format!(
        "{}: {} GB, {} GB/s, compute capability {major}.{minor}\n",
        card.name, card.memory_gb, card.bandwidth_gb_per_s
    );
    let Some(kv_bytes) = plan.kv_bytes else {
        return format!(
            "{head}The weights do not fit: {} of memory to use, {} of weights and 1 GiB to work in.\n",
            size(plan.usable_bytes),
            size(needs.weights_bytes)
        );
    };
    let rows: Vec<Vec<String>> = floors(plan, needs)
        .map(|floor| {
            vec![
                floor.batch.to_string(),
                floor.context.to_string(),
                if_it_fits(&floor, format!("{:.2} ms", floor.ms)),
                if_it_fits(&floor, format!("{:.0}", floor.tokens_per_s)),
            ]
        })
        .collect();
    format!(
        "{head}Room for context: {}, {} tokens over all answers\n\n{}",
        size(kv_bytes),
        plan.kv_tokens,
        output::table(
            &[
                "answers",
                "context each",
                "floor a token",
                "tokens/s at best"
            ],
            &rows
        )
    )
}

fn floors<'a>(plan: &'a Plan, needs: &'a ModelNeeds) -> impl Iterator<Item = Floor> + 'a {
    let contexts = CONTEXTS.into_iter();
    let contexts = contexts.filter(|&context| context <= needs.context_len);
    contexts.flat_map(move |context| BATCHES.map(|batch| plan.floor(needs, batch, context)))
}

fn if_it_fits(floor: &Floor, text: String) -> String {
    if floor.fits {
        text
    } else {
        "no room".to_owned()
    }
}

fn plan_json(plan: &Plan, needs: &ModelNeeds) -> Value {
    let floors: Vec<Value> = floors(plan, needs)
        .map(|floor| {
            json!({
                "batch": floor.batch,
                "context": floor.context,
                "fits": floor.fits,
                "floor_ms": floor.ms,
                "tokens_per_s": floor.tokens_per_s,
            })
        })
        .collect();
    json!({
        "card": plan.card.name,
        "memory_gb": plan.card.memory_gb,
        "bandwidth_gb_per_s": plan.card.bandwidth_gb_per_s,
        "fits": plan.kv_bytes.is_some(),
        "kv_bytes": plan.kv_bytes,
        "kv_tokens": plan.kv_tokens,
        "floors": floors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(weights_bytes: u64) -> ModelNeeds {
        ModelNeeds {
            weights_bytes,
            dense_bytes: weights_bytes,
            expert_bytes: 0,
            experts_used: 1.0,
            kv_bytes_per_token: 131_072,
            context_len: 4_096,
        }
    }

    #[test]
    fn a_protection_that_the_kernel_lacks_is_named() {
        assert!(reader_row(&Ok(vec![])).starts_with("confined"));
        let row = reader_row(&Ok(vec![Protection::Landlock, Protection::Seccomp]));
        assert!(
            row.contains("lacks Landlock") && row.contains("; seccomp"),
            "{row}"
        );
        assert!(reader_row(&Err("no memory".to_owned())).contains("no memory"));
    }

    #[test]
    fn an_unknown_card_is_the_users_mistake_and_names_the_known_ones() {
        let failure = find_card("GTX 970").unwrap_err();
        assert!(failure.hint.unwrap().contains("RTX 4090"));
        assert_eq!(find_card("rtx-4090").unwrap().name, "RTX 4090");
    }

    #[test]
    fn a_card_shows_what_fits_and_what_does_not() {
        let small = needs(5_000_000_000);
        let card = find_card("RTX 3060").unwrap();
        let text = details(&Plan::new(&card, &small), &small);
        // 10.8 GB less 5 GB and 1 GiB is room for 36,048 tokens: 32 answers of 1,024, not 64.
        assert!(text.contains("36048 tokens"), "{text}");
        assert_eq!(text.matches("no room").count(), 2, "{text}");
        assert!(
            !text.contains("8192"),
            "the model has a context of 4096: {text}"
        );
        let large = needs(50_000_000_000);
        assert!(details(&Plan::new(&card, &large), &large).contains("do not fit"));
    }

    #[test]
    fn every_card_has_a_line() {
        let needs = needs(20_000_000_000);
        let plans: Vec<Plan> = CARDS.iter().map(|card| Plan::new(card, &needs)).collect();
        let text = overview(&plans, &needs);
        assert_eq!(text.lines().count(), CARDS.len() + 1);
        assert!(text.contains("weights do not fit") && text.contains("tokens/s"));
    }
}
