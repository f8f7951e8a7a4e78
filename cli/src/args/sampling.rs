//! Flags that say how `cloister generate` chooses tokens: the engine's samplers by the names of the HTTP interface.

use clap::Args;
use inference::{Dry, Mirostat, SamplingParams};

/// The end of `cloister generate --help`.
pub const ORDER: &str = "\
Order of sampling, as in llama.cpp: --logit-bias and --ban, penalties, DRY,
top-n-sigma, top-k, typical-p, top-p, min-p, XTC, temperature.
--mirostat takes the place of everything from top-n-sigma to XTC. Temperature 0 takes the best token
after bias, bans, penalties and DRY. --repetition-penalty counts prompt and answer, --presence-penalty
and --frequency-penalty the answer alone.";

/// How tokens are chosen.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// 0 always takes the most likely token
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Consider only this many tokens (0 = all)
    #[arg(long, default_value_t = 0, value_name = "N")]
    top_k: usize,
    /// Consider the most likely tokens up to this probability
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    top_p: f32,
    /// Drop tokens below this part of the best one's probability
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    min_p: f32,
    /// Consider the tokens of the most typical surprise up to this probability
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    typical_p: f32,
    /// Drop tokens more than this many standard deviations of the logits below the best (0 = none)
    #[arg(long, default_value_t = 0.0, value_name = "N")]
    top_n_sigma: f32,
    /// XTC: how often all but the least likely of the likely tokens are dropped
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    xtc_probability: f32,
    /// XTC: from which probability a token is likely
    #[arg(long, default_value_t = SamplingParams::default().xtc_threshold, value_name = "P")]
    xtc_threshold: f32,
    /// Mirostat 2: keep the surprise of the text near this many bits, for example 5
    #[arg(long, value_name = "TAU")]
    mirostat: Option<f32>,
    /// Mirostat 2: how fast the bound follows
    #[arg(long, default_value_t = Mirostat::default().eta, value_name = "ETA", requires = "mirostat")]
    mirostat_eta: f32,
    /// Above 1 discourages repetition
    #[arg(long, default_value_t = 1.0)]
    repetition_penalty: f32,
    /// Taken from the logit of every token of the answer
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// Taken from a token's logit for every time it is in the answer
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// The penalties look at this many last tokens [default: all]
    #[arg(long, value_name = "N")]
    repeat_last_n: Option<usize>,
    /// DRY: penalty for continuing a repetition, for example 0.8 (0 = none)
    #[arg(long, default_value_t = 0.0, value_name = "M")]
    dry_multiplier: f32,
    /// DRY: growth of the penalty with each token of the repetition
    #[arg(long, default_value_t = Dry::default().base, value_name = "B")]
    dry_base: f32,
    /// DRY: repetitions shorter than this cost nothing
    #[arg(long, default_value_t = Dry::default().allowed_length, value_name = "N")]
    dry_allowed_length: usize,
    /// Added to a token's logit, from -100 (never) to 100; may be repeated
    #[arg(long, value_name = "ID=BIAS", value_parser = bias)]
    logit_bias: Vec<(u32, f32)>,
    /// Text that may not appear, however it would be spelled in tokens; may be repeated
    #[arg(long, value_name = "TEXT")]
    ban: Vec<String>,
    /// Makes sampling repeatable
    #[arg(long)]
    seed: Option<u64>,
}

impl SamplingArgs {
    /// Returns the engine's parameters, which the engine checks; those of the text's end are its defaults.
    pub fn params(&self) -> SamplingParams {
        SamplingParams {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            typical_p: self.typical_p,
            top_n_sigma: self.top_n_sigma,
            xtc_probability: self.xtc_probability,
            xtc_threshold: self.xtc_threshold,
            mirostat: self.mirostat.map(|tau| Mirostat {
                tau,
                eta: self.mirostat_eta,
            }),
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            penalty_last_n: self.repeat_last_n,
            dry: Dry {
                multiplier: self.dry_multiplier,
                base: self.dry_base,
                allowed_length: self.dry_allowed_length,
                ..Dry::default()
            },
            logit_bias: self.logit_bias.clone(),
            banned_strings: self.ban.clone(),
            seed: self.seed,
            ..SamplingParams::default()
        }
    }
}

fn bias(text: &str) -> Result<(u32, f32), String> {
    let parsed = text
        .split_once('=')
        .and_then(|(id, bias)| Some((id.trim().parse().ok()?, bias.trim().parse().ok()?)));
    parsed.ok_or_else(|| "a token id and a number are needed, such as 42=-100".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::Cli;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        sampling: SamplingArgs,
    }

    fn params(flags: &[&str]) -> Result<SamplingParams, clap::Error> {
        let flags = [&["generate"], flags].concat();
        Flags::try_parse_from(flags).map(|flags| flags.sampling.params())
    }

    #[test]
    fn without_flags_sampling_is_the_engines_default() {
        assert_eq!(params(&[]).unwrap(), SamplingParams::default());
    }

    #[test]
    fn every_flag_reaches_its_field() {
        #[rustfmt::skip]
        let flags = [
            "--temperature=0.7", "--top-k=40", "--top-p=0.9", "--min-p=0.05", "--typical-p=0.8", "--top-n-sigma=1.5",
            "--xtc-probability=0.5", "--xtc-threshold=0.2", "--mirostat=4", "--mirostat-eta=0.2",
            "--repetition-penalty=1.1", "--presence-penalty=-0.5", "--frequency-penalty", "-0.25", "--repeat-last-n=64",
            "--dry-multiplier=0.8", "--dry-base=2", "--dry-allowed-length=3", "--logit-bias=5=-100", "--logit-bias", "7=1.5",
            "--ban=foo", "--ban=bar", "--seed=9",
        ];
        let want = SamplingParams {
            temperature: 0.7,
            top_k: 40,
            top_p: 0.9,
            min_p: 0.05,
            typical_p: 0.8,
            top_n_sigma: 1.5,
            xtc_probability: 0.5,
            xtc_threshold: 0.2,
            mirostat: Some(Mirostat { tau: 4.0, eta: 0.2 }),
            repetition_penalty: 1.1,
            presence_penalty: -0.5,
            frequency_penalty: -0.25,
            penalty_last_n: Some(64),
            dry: Dry {
                multiplier: 0.8,
                base: 2.0,
                allowed_length: 3,
                ..Dry::default()
            },
            logit_bias: vec![(5, -100.0), (7, 1.5)],
            banned_strings: vec!["foo".to_owned(), "bar".to_owned()],
            seed: Some(9),
            ..SamplingParams::default()
        };
        let params = params(&flags).unwrap();
        assert_eq!(params, want);
        params.validate().unwrap();
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_an_example() {
        for flags in [["--logit-bias=5"], ["--logit-bias=x=1"]] {
            let message = params(&flags).unwrap_err().to_string();
            assert!(message.contains("42=-100"), "{message}");
        }
        assert!(params(&["--mirostat-eta=0.2"]).is_err());
    }

    #[test]
    fn the_help_of_generate_tells_the_order() {
        let mut cli = Cli::command();
        let generate = cli.find_subcommand_mut("generate").unwrap();
        let help = generate.render_long_help().to_string();
        assert!(
            help.contains("top-n-sigma, top-k, typical-p, top-p, min-p, XTC"),
            "{help}"
        );
    }
}
