//! `cloister models quantize`

use inference::gguf::{self, QuantizeError, QuantizeOptions, QuantizeReport};
use serde_json::json;

use crate::args::QuantizeArgs;
use crate::config::Config;
use crate::failure::{Failure, Outcome, chain};
use crate::models::progress::{ByteProgress, size};
use crate::output;

/// Makes a smaller file of a model.
///
/// # Errors
/// A file that is no model, weights that were rounded before, a target that exists, a full disk.
pub fn run(config: &Config, args: &QuantizeArgs) -> Outcome<()> {
    let options = QuantizeOptions {
        recipe: args.r#type.recipe(),
        allow_requantize: args.allow_requantize,
        overwrite: args.force,
    };
    let mut bar: Option<ByteProgress> = None;
    let result = gguf::quantize(&args.input, &args.output, options, &mut |progress| {
        // Weights are counted as the bytes they have in F16, so that the bar shows a speed that means something.
        bar.get_or_insert_with(|| ByteProgress::new("quantizing", 2 * progress.weights))
            .set(2 * progress.weights_done);
    });
    if let Some(bar) = bar {
        bar.finish();
    }
    let report = result.map_err(|error| failure(args, &error))?;
    show(config, args, &report);
    Ok(())
}

fn show(config: &Config, args: &QuantizeArgs, report: &QuantizeReport) {
    let bits = report.output_bytes as f64 * 8.0 / report.weights.max(1) as f64;
    let recipe = args.r#type.recipe().name();
    if config.json {
        output::json(&json!({
            "path": args.output,
            "type": recipe,
            "tensors": report.tensors,
            "rounded": report.rounded,
            "fallbacks": report.fallbacks,
            "weights": report.weights,
            "bits_per_weight": bits,
            "input_bytes": report.input_bytes,
            "output_bytes": report.output_bytes,
        }));
        return;
    }
    output::line(&format!(
        "{} is {recipe}: {}, {bits:.2} bits a weight (was {})",
        args.output.display(),
        size(report.output_bytes),
        size(report.input_bytes)
    ));
    if report.fallbacks > 0 {
        output::note(&format!(
            "{} of {} tensors have rows that are not a multiple of 256 and took a larger type",
            report.fallbacks, report.tensors
        ));
    }
}

fn failure(args: &QuantizeArgs, error: &QuantizeError) -> Failure {
    let message = format!("cannot quantize {}: {}", args.input.display(), chain(error));
    match error {
        QuantizeError::Exists { .. } => Failure::user(message).hint("--force replaces it"),
        QuantizeError::Requantize { .. } => Failure::user(message)
            .hint("start from the F16, BF16 or F32 file; --allow-requantize does it all the same"),
        QuantizeError::Input(_) => Failure::user(message).hint(
            "a model is a GGUF file (.gguf), version 2 or 3; of a split one, name the first part",
        ),
        QuantizeError::Write { .. } => {
            Failure::config(message).hint("free space there, or name another place")
        }
        QuantizeError::NotFinite { .. } => {
            Failure::user(message).hint("the file is damaged or the model was saved in a bad state")
        }
        QuantizeError::Blocks { .. } => Failure::internal(message),
    }
}
