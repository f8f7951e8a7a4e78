//! What a CUDA build sees of the machine's cards, and whether the language model fits on them.

use inference::{BUILT_FOR, CudaCard, Fit, HAS_CUDA, cuda_cards};
use serde_json::{Value, json};

use crate::args::ModelArgs;
use crate::compose::choose_model;
use crate::config::Config;
use crate::failure::chain;
use crate::models::ModelStore;
use crate::models::progress::size;

/// The cards with what is known of each.
#[derive(Debug)]
pub(super) struct Gpus {
    /// What is wrong with CUDA altogether, or each card.
    cards: Result<Vec<Card>, String>,
}

#[derive(Debug)]
enum Card {
    /// Why it cannot be used.
    Unusable { index: usize, reason: String },
    Usable {
        card: CudaCard,
        /// Name of the language model, and how it fits or why that is not known. `None`: there is no model.
        model: Option<(String, Result<Fit, String>)>,
    },
}

impl Gpus {
    /// Looks at every card; `None` in a build without CUDA.
    pub fn look(config: &Config) -> Option<Self> {
        if !HAS_CUDA {
            return None;
        }
        let model = ModelStore::open(&config.models_dir).and_then(|store| {
            let default = ModelArgs {
                model: None,
                no_model: false,
            };
            choose_model(config, &store, &default)
        });
        // Without a model the cards are shown all the same; what is wrong with it shows where it is used.
        let model = model.ok().flatten();
        let fit = |free| {
            let model = model.as_ref()?;
            let fit = inference::fit(&model.path, free, config.kv_cache_dtype)
                .map_err(|error| chain(&error));
            Some((model.name.clone(), fit))
        };
        let cards = cuda_cards().map_err(|error| chain(&error)).map(|cards| {
            let cards = cards.into_iter().enumerate();
            let look = |(index, card): (usize, _)| match card {
                Ok(card) => look_at(card, BUILT_FOR, fit),
                Err(error) => Card::Unusable {
                    index,
                    reason: chain(&error),
                },
            };
            cards.map(look).collect()
        });
        Some(Self { cards })
    }

    /// Returns the lines of the report: name and text.
    pub fn rows(&self) -> Vec<(String, String)> {
        let cards = match &self.cards {
            Ok(cards) if cards.is_empty() => return vec![row("CUDA", "sees no card")],
            Ok(cards) => cards,
            Err(reason) => return vec![row("CUDA", reason)],
        };
        cards.iter().flat_map(Card::rows).collect()
    }

    pub fn json(&self) -> Value {
        match &self.cards {
            Err(reason) => json!({ "problem": reason, "cards": [] }),
            Ok(cards) => {
                let cards: Vec<Value> = cards.iter().map(Card::json).collect();
                json!({ "problem": null, "cards": cards })
            }
        }
    }
}

impl Card {
    fn rows(&self) -> Vec<(String, String)> {
        match self {
            Self::Unusable { index, reason } => {
                vec![row(
                    &format!("cuda:{index}"),
                    &format!("not used: {reason}"),
                )]
            }
            Self::Usable { card, model } => {
                let (major, minor) = card.capability;
                let text = format!(
                    "{}, compute capability {major}.{minor}, {} of memory, {} of it free",
                    card.name,
                    size(card.total_bytes),
                    size(card.free_bytes)
                );
                let model = model
                    .iter()
                    .map(|(name, fit)| row("", &fit_text(name, fit)));
                [row(&format!("cuda:{}", card.index), &text)]
                    .into_iter()
                    .chain(model)
                    .collect()
            }
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Unusable { index, reason } => json!({ "index": index, "problem": reason }),
            Self::Usable { card, model } => {
                let fit = model.as_ref().and_then(|(_, fit)| fit.as_ref().ok());
                json!({
                    "index": card.index,
                    "problem": null,
                    "name": card.name,
                    "compute_capability": format!("{}.{}", card.capability.0, card.capability.1),
                    "total_bytes": card.total_bytes,
                    "free_bytes": card.free_bytes,
                    "model": model.as_ref().map(|(name, _)| name),
                    "model_problem": model.as_ref().and_then(|(_, fit)| fit.as_ref().err()),
                    "weights_bytes": fit.map(|fit| fit.weights_bytes),
                    "needed_bytes": fit.map(|fit| fit.needed_bytes),
                    "kv_bytes_per_token": fit.map(|fit| fit.kv_bytes_per_token),
                    "kv_tokens": fit.map(|fit| fit.kv_tokens),
                })
            }
        }
    }
}

/// What the kernels' instructions need (`cp.async`).
const LEAST_CAPABILITY_MAJOR: i32 = 8;

/// Returns what is to be said of a card that CUDA opens. One older than the program's kernels runs none of them.
fn look_at(
    card: CudaCard,
    built_for: Option<&str>,
    fit: impl Fn(u64) -> Option<(String, Result<Fit, String>)>,
) -> Card {
    let (major, minor) = card.capability;
    let needed: Option<i32> = built_for.and_then(|capability| capability.parse().ok());
    match needed.filter(|&needed| 10 * major + minor < needed) {
        Some(needed) => {
            let what = format!("{} has compute capability {major}.{minor}", card.name);
            let reason = if major < LEAST_CAPABILITY_MAJOR {
                format!(
                    "{what}, and Cloister needs {LEAST_CAPABILITY_MAJOR}.0; `--device cpu` does without it"
                )
            } else {
                format!(
                    "{what}, and this program was built for {} and later; build it with CUDA_COMPUTE_CAP={}",
                    dotted(&needed.to_string()),
                    10 * major + minor
                )
            };
            Card::Unusable {
                index: card.index,
                reason,
            }
        }
        None => Card::Usable {
            model: fit(card.free_bytes),
            card,
        },
    }
}

fn fit_text(name: &str, fit: &Result<Fit, String>) -> String {
    let fit = match fit {
        Ok(fit) => fit,
        Err(reason) => return format!("{name} cannot be read: {reason}"),
    };
    match fit.kv_tokens {
        Some(tokens) => format!(
            "{name} fits: {} of weights, and a cache of {tokens} tokens ({})",
            size(fit.weights_bytes),
            size(tokens as u64 * fit.kv_bytes_per_token)
        ),
        None => format!(
            "{name} does not fit: {} have to be free for its weights, to work in and the least cache, and {} are; stop what else \
             uses the card, or take a smaller model or quantization",
            size(fit.needed_bytes),
            size(fit.free_bytes)
        ),
    }
}

/// Returns a compute capability as people write it: `90` is 9.0.
pub(super) fn dotted(capability: &str) -> String {
    let (major, minor) = capability.split_at(capability.len().saturating_sub(1));
    format!("{major}.{minor}")
}

fn row(name: &str, text: &str) -> (String, String) {
    (name.to_owned(), text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    fn card(index: usize, capability: (i32, i32), free_gb: u64) -> CudaCard {
        CudaCard {
            index,
            name: format!("NVIDIA Test {index}"),
            capability,
            total_bytes: 80 * GB,
            free_bytes: free_gb * GB,
        }
    }

    fn fit(free_bytes: u64) -> Fit {
        let needed_bytes = 8 * GB;
        Fit {
            free_bytes,
            weights_bytes: 5 * GB,
            kv_bytes_per_token: 131_072,
            needed_bytes,
            kv_tokens: (free_bytes > needed_bytes).then_some(400_000),
        }
    }

    fn named(free: u64) -> Option<(String, Result<Fit, String>)> {
        Some(("llama-8b".to_owned(), Ok(fit(free))))
    }

    fn text(cards: Result<Vec<Card>, String>) -> String {
        let rows = Gpus { cards }.rows().into_iter();
        let lines: Vec<String> = rows
            .map(|(name, text)| format!("{name} | {text}"))
            .collect();
        lines.join("\n")
    }

    #[test]
    fn each_card_shows_its_numbers_and_whether_the_model_fits() {
        let cards = vec![
            look_at(card(0, (9, 0), 70), Some("80"), named),
            look_at(card(1, (8, 0), 3), Some("80"), named),
        ];
        assert_eq!(
            text(Ok(cards)),
            "cuda:0 | NVIDIA Test 0, compute capability 9.0, 80.0 GB of memory, 70.0 GB of it free\n \
             | llama-8b fits: 5.0 GB of weights, and a cache of 400000 tokens (52.4 GB)\n\
             cuda:1 | NVIDIA Test 1, compute capability 8.0, 80.0 GB of memory, 3.0 GB of it free\n \
             | llama-8b does not fit: 8.0 GB have to be free for its weights, to work in and the least cache, and 3.0 GB are; stop \
             what else uses the card, or take a smaller model or quantization"
        );
    }

    #[test]
    fn a_card_that_cannot_be_used_says_why() {
        let old = look_at(card(1, (8, 6), 70), Some("90"), named);
        let too_old = look_at(card(2, (7, 5), 70), Some("90"), named);
        let lost = Card::Unusable {
            index: 3,
            reason: "CUDA device 3 cannot be opened: unspecified launch failure".to_owned(),
        };
        assert_eq!(
            text(Ok(vec![old, too_old, lost])),
            "cuda:1 | not used: NVIDIA Test 1 has compute capability 8.6, and this program was built for 9.0 and later; build it \
             with CUDA_COMPUTE_CAP=86\n\
             cuda:2 | not used: NVIDIA Test 2 has compute capability 7.5, and Cloister needs 8.0; `--device cpu` does without it\n\
             cuda:3 | not used: CUDA device 3 cannot be opened: unspecified launch failure"
        );
        let reason = "CUDA device 0 cannot be used: the NVIDIA driver 580.65.06 sees no card";
        assert_eq!(text(Err(reason.to_owned())), format!("CUDA | {reason}"));
        assert_eq!(text(Ok(Vec::new())), "CUDA | sees no card");
    }

    #[test]
    fn a_card_is_shown_without_a_model_or_with_one_that_cannot_be_read() {
        let without = look_at(card(0, (12, 0), 70), Some("120"), |_| None);
        assert_eq!(without.rows().len(), 1);
        let broken = |_| Some(("odd".to_owned(), Err("no GGUF file".to_owned())));
        let rows = look_at(card(0, (12, 0), 70), None, broken).rows();
        assert_eq!(rows[1].1, "odd cannot be read: no GGUF file");
    }

    #[test]
    fn the_report_for_programs_has_the_same_numbers() {
        let cards = Ok(vec![look_at(card(0, (9, 0), 70), Some("90"), named)]);
        let report = Gpus { cards }.json();
        let first = &report["cards"][0];
        assert_eq!(first["compute_capability"], "9.0");
        assert_eq!(first["free_bytes"], 70 * GB);
        assert_eq!(first["kv_tokens"], 400_000);
        let report = Gpus {
            cards: Err("no driver".to_owned()),
        };
        assert_eq!(report.json()["problem"], "no driver");
    }

    #[test]
    fn a_capability_is_written_with_a_point() {
        assert_eq!([dotted("86"), dotted("120")], ["8.6", "12.0"]);
    }
}
