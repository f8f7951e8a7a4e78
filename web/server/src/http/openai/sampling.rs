//! OpenAI's sampling fields, checked, as the engine's.

use std::collections::BTreeMap;

use inference::{Dry, Mirostat, SamplingParams};
use web_api::openai::{OneOrMany, SamplingFields};

use super::super::error::{Failure, with_full_stop};

/// Stop texts of a request. OpenAI's API allows 4; agents send more, and each costs a search in what was just written.
const MOST_STOPS: usize = 16;
/// A limit of -1 is none, as in llama.cpp's server.
const UNLIMITED: i64 = -1;
/// Highest temperature that OpenAI's API allows; the engine itself allows more.
const HIGHEST_TEMPERATURE: f32 = 2.0;
/// Most of `top_n_sigma`, as the engine has it.
const MOST_SIGMAS: f32 = 100.0;

/// Checks the fields.
///
/// `temperature` is used where the request names none; `max_tokens` where it sets no limit.
///
/// # Errors
/// 400 naming the field and its range.
pub(super) fn sampling_params(
    fields: &SamplingFields,
    temperature: f32,
    max_tokens: usize,
) -> Result<SamplingParams, Failure> {
    let temperature = fields.temperature.unwrap_or(temperature);
    // NaN is in no range.
    if !(0.0..=HIGHEST_TEMPERATURE).contains(&temperature) {
        return Err(Failure::invalid_param(
            "temperature",
            format!(
                "temperature must be between 0 and {HIGHEST_TEMPERATURE}; it is {temperature}."
            ),
        ));
    }
    let defaults = SamplingParams::default();
    let params = SamplingParams {
        temperature,
        top_k: top_k(fields.top_k)?,
        top_p: top_p(fields.top_p.unwrap_or(defaults.top_p))?,
        min_p: fields.min_p.unwrap_or(defaults.min_p),
        typical_p: fields.typical_p.unwrap_or(defaults.typical_p),
        top_n_sigma: top_n_sigma(fields.top_n_sigma.unwrap_or(defaults.top_n_sigma))?,
        xtc_probability: fields.xtc_probability.unwrap_or(defaults.xtc_probability),
        xtc_threshold: fields.xtc_threshold.unwrap_or(defaults.xtc_threshold),
        mirostat: mirostat(fields)?,
        repetition_penalty: fields
            .repetition_penalty
            .unwrap_or(defaults.repetition_penalty),
        presence_penalty: fields.presence_penalty.unwrap_or(defaults.presence_penalty),
        frequency_penalty: fields
            .frequency_penalty
            .unwrap_or(defaults.frequency_penalty),
        penalty_last_n: last_n("repeat_last_n", fields.repeat_last_n)?,
        dry: dry(fields)?,
        logit_bias: logit_bias(fields.logit_bias.as_ref())?,
        banned_strings: fields.banned_strings.clone().unwrap_or_default(),
        // OpenAI's seed is signed; only that equal seeds are equal matters.
        seed: fields.seed.map(|seed| seed as u64),
        max_tokens: token_limit(fields)?.unwrap_or(max_tokens),
        stop: stop_texts(fields.stop.clone())?,
        ignore_eos: fields.ignore_eos.unwrap_or(defaults.ignore_eos),
        ..defaults
    };
    params
        .validate()
        .map_err(|error| Failure::invalid_param(error.name, with_full_stop(error.to_string())))?;
    Ok(params)
}

/// Returns the most tokens that the request wants; `None` where it sets no limit.
///
/// # Errors
/// 400 naming `max_tokens`.
pub(super) fn token_limit(fields: &SamplingFields) -> Result<Option<usize>, Failure> {
    match fields.max_tokens {
        None | Some(UNLIMITED) => Ok(None),
        Some(limit) if limit >= 1 => Ok(Some(usize::try_from(limit).unwrap_or(usize::MAX))),
        Some(limit) => Err(Failure::invalid_param(
            "max_tokens",
            format!("max_tokens must be at least 1, or -1 for no limit; it is {limit}."),
        )),
    }
}

/// Refuses what makes no sense for an answer that is checked against documents and marked with citations.
///
/// # Errors
/// 400 naming the field.
pub(super) fn allowed_with_collections(fields: &SamplingFields) -> Result<(), Failure> {
    let refused = [
        (
            "n",
            fields.n.is_some_and(|n| n != 1),
            "only one answer is written",
        ),
        (
            "ignore_eos",
            fields.ignore_eos == Some(true),
            "an answer ends where the model ends it",
        ),
    ];
    match refused.into_iter().find(|(_, is_there, _)| *is_there) {
        Some((param, _, reason)) => Err(not_with_collections(param, reason)),
        None => Ok(()),
    }
}

/// The error of a field that does not go with `collections`.
pub(super) fn not_with_collections(param: &'static str, reason: &str) -> Failure {
    Failure::invalid_param(
        param,
        format!("{param} cannot be used with collections: {reason}. Leave it out."),
    )
}

fn mirostat(fields: &SamplingFields) -> Result<Option<Mirostat>, Failure> {
    let defaults = Mirostat::default();
    match fields.mirostat.unwrap_or(0) {
        0 => Ok(None),
        2 => Ok(Some(Mirostat {
            tau: fields.mirostat_tau.unwrap_or(defaults.tau),
            eta: fields.mirostat_eta.unwrap_or(defaults.eta),
        })),
        other => Err(Failure::invalid_param(
            "mirostat",
            format!("mirostat must be 0 (off) or 2; it is {other}."),
        )),
    }
}

fn dry(fields: &SamplingFields) -> Result<Dry, Failure> {
    let defaults = Dry::default();
    let breakers = fields.dry_sequence_breakers.clone();
    Ok(Dry {
        multiplier: fields.dry_multiplier.unwrap_or(defaults.multiplier),
        base: fields.dry_base.unwrap_or(defaults.base),
        allowed_length: fields.dry_allowed_length.unwrap_or(defaults.allowed_length),
        last_n: last_n("dry_penalty_last_n", fields.dry_penalty_last_n)?,
        sequence_breakers: breakers.unwrap_or(defaults.sequence_breakers),
    })
}

/// -1 is off, as 0 is: the one in vLLM's notation, the other in llama.cpp's.
fn top_k(value: Option<i64>) -> Result<usize, Failure> {
    match value.unwrap_or(0) {
        -1 => Ok(0),
        value if value >= 0 => Ok(usize::try_from(value).unwrap_or(usize::MAX)),
        value => Err(Failure::invalid_param(
            "top_k",
            format!("top_k must be 0 or -1 (off) or more; it is {value}."),
        )),
    }
}

/// 0, as OpenAI's API allows it, leaves the best token, which every share above 0 does, too.
fn top_p(value: f32) -> Result<f32, Failure> {
    match value {
        0.0 => Ok(f32::MIN_POSITIVE),
        value if (0.0..=1.0).contains(&value) => Ok(value),
        value => Err(Failure::invalid_param(
            "top_p",
            format!("top_p must be between 0 and 1; it is {value}."),
        )),
    }
}

/// -1 is off in llama.cpp's notation.
fn top_n_sigma(value: f32) -> Result<f32, Failure> {
    match value {
        -1.0 => Ok(0.0),
        value if (0.0..=MOST_SIGMAS).contains(&value) => Ok(value),
        value => Err(Failure::invalid_param(
            "top_n_sigma",
            format!("top_n_sigma must be between 0 and {MOST_SIGMAS}, or -1 (off); it is {value}."),
        )),
    }
}

/// A window in llama.cpp's notation: -1 is everything.
fn last_n(param: &'static str, value: Option<i64>) -> Result<Option<usize>, Failure> {
    match value.unwrap_or(-1) {
        -1 => Ok(None),
        // A window longer than any context is the context.
        value if value >= 0 => Ok(Some(usize::try_from(value).unwrap_or(usize::MAX))),
        value => Err(Failure::invalid_param(
            param,
            format!("{param} must be -1 (everything) or more; it is {value}."),
        )),
    }
}

fn logit_bias(biases: Option<&BTreeMap<String, f32>>) -> Result<Vec<(u32, f32)>, Failure> {
    let read = |(id, bias): (&String, &f32)| match id.parse() {
        Ok(id) => Ok((id, *bias)),
        Err(_) => Err(Failure::invalid_param(
            "logit_bias",
            "logit_bias must map token ids (whole numbers as strings) to numbers from -100 to 100.",
        )),
    };
    biases.into_iter().flatten().map(read).collect()
}

fn stop_texts(stop: Option<OneOrMany>) -> Result<Vec<String>, Failure> {
    let texts = stop.map(OneOrMany::into_vec).unwrap_or_default();
    if texts.len() > MOST_STOPS || texts.iter().any(String::is_empty) {
        return Err(Failure::invalid_param(
            "stop",
            format!("stop takes up to {MOST_STOPS} texts, none of them empty."),
        ));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The fields as a client sends them.
    fn fields(json: serde_json::Value) -> SamplingFields {
        serde_json::from_value(json).unwrap()
    }

    #[rustfmt::skip]
    #[test]
    fn fields_outside_their_range_are_named_with_it() {
        let failing = [
            ("temperature", json!({ "temperature": 2.5 }), "2"),
            ("top_p", json!({ "top_p": 1.5 }), "between 0 and 1"),
            ("top_p", json!({ "top_p": -0.5 }), "between 0 and 1"),
            ("top_k", json!({ "top_k": -2 }), "-1 (off)"),
            ("min_p", json!({ "min_p": 1.5 }), "from 0 to 1"),
            ("typical_p", json!({ "typical_p": 0 }), "above 0"),
            ("top_n_sigma", json!({ "top_n_sigma": -2 }), "or -1 (off)"),
            ("top_n_sigma", json!({ "top_n_sigma": 101 }), "between 0 and 100"),
            ("xtc_probability", json!({ "xtc_probability": 2 }), "from 0 to 1"),
            ("xtc_threshold", json!({ "xtc_threshold": 0 }), "above 0"),
            ("mirostat", json!({ "mirostat": 1 }), "0 (off) or 2"),
            ("mirostat_tau", json!({ "mirostat": 2, "mirostat_tau": 0 }), "above 0"),
            ("mirostat_eta", json!({ "mirostat": 2, "mirostat_eta": 3 }), "above 0"),
            ("repetition_penalty", json!({ "repetition_penalty": 0 }), "0.01"),
            ("repetition_penalty", json!({ "repetition_penalty": 11 }), "10"),
            ("repeat_last_n", json!({ "repeat_last_n": -2 }), "-1"),
            ("presence_penalty", json!({ "presence_penalty": 3 }), "from -2 to 2"),
            ("frequency_penalty", json!({ "frequency_penalty": -3 }), "from -2 to 2"),
            ("dry_multiplier", json!({ "dry_multiplier": -1 }), "from 0"),
            ("dry_base", json!({ "dry_base": 0 }), "from 1"),
            ("dry_allowed_length", json!({ "dry_allowed_length": 0 }), "at least 1"),
            ("dry_penalty_last_n", json!({ "dry_penalty_last_n": -5 }), "-1"),
            ("dry_sequence_breakers", json!({ "dry_sequence_breakers": [""] }), "1 to 256"),
            ("logit_bias", json!({ "logit_bias": { "12": 101 } }), "from -100 to 100"),
            ("logit_bias", json!({ "logit_bias": { "hello": 1 } }), "token ids"),
            ("banned_strings", json!({ "banned_strings": [""] }), "1 to 256"),
            ("max_tokens", json!({ "max_tokens": 0 }), "at least 1"),
            ("max_tokens", json!({ "max_tokens": -2 }), "-1 for no limit"),
            ("stop", json!({ "stop": "" }), "up to 16"),
            ("stop", json!({ "stop": vec!["a"; 17] }), "up to 16"),
        ];
        for (param, json, range) in failing {
            let failure = sampling_params(&fields(json), 1.0, 16).unwrap_err();
            assert_eq!((failure.param, failure.status.as_u16()), (Some(param), 400));
            let message = failure.message;
            assert!(message.starts_with(param) && message.contains(range), "{message}");
        }
        let not_a_number = SamplingFields { presence_penalty: Some(f32::NAN), ..Default::default() };
        let failure = sampling_params(&not_a_number, 1.0, 16).unwrap_err();
        assert_eq!(failure.param, Some("presence_penalty"));
    }

    #[test]
    fn fields_mean_what_their_names_say() {
        let all = json!({
            "temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.8, "top_n_sigma": 1.5,
            "xtc_probability": 0.5, "xtc_threshold": 0.2, "mirostat": 2, "mirostat_tau": 4, "mirostat_eta": 0.2,
            "repetition_penalty": 1.1, "repeat_last_n": 64, "presence_penalty": 0.2, "frequency_penalty": 0.3,
            "dry_multiplier": 0.8, "dry_base": 2, "dry_allowed_length": 3, "dry_penalty_last_n": 0,
            "dry_sequence_breakers": ["x"], "logit_bias": { "5": -100, "70": 2.5 }, "banned_strings": ["no"],
            "seed": -1, "max_tokens": 7, "stop": ["a", "b"], "ignore_eos": true,
        });
        let want = SamplingParams {
            temperature: 0.5,
            top_k: 3,
            top_p: 0.9,
            min_p: 0.1,
            typical_p: 0.8,
            top_n_sigma: 1.5,
            xtc_probability: 0.5,
            xtc_threshold: 0.2,
            mirostat: Some(Mirostat { tau: 4.0, eta: 0.2 }),
            repetition_penalty: 1.1,
            presence_penalty: 0.2,
            frequency_penalty: 0.3,
            penalty_last_n: Some(64),
            dry: Dry {
                multiplier: 0.8,
                base: 2.0,
                allowed_length: 3,
                last_n: Some(0),
                sequence_breakers: vec!["x".into()],
            },
            logit_bias: vec![(5, -100.0), (70, 2.5)],
            banned_strings: vec!["no".into()],
            seed: Some(u64::MAX),
            max_tokens: 7,
            stop: vec!["a".into(), "b".into()],
            ignore_eos: true,
            ..Default::default()
        };
        assert_eq!(sampling_params(&fields(all), 1.0, 16).unwrap(), want);
        let defaults = SamplingParams {
            temperature: 1.0,
            max_tokens: 16,
            ..Default::default()
        };
        assert_eq!(
            sampling_params(&fields(json!({})), 1.0, 16).unwrap(),
            defaults
        );
    }

    #[test]
    fn what_is_off_in_other_servers_is_off() {
        let sent = fields(
            json!({ "max_tokens": -1, "top_k": -1, "repeat_last_n": -1, "top_n_sigma": -1, "stop": vec!["a"; 16] }),
        );
        let params = sampling_params(&sent, 1.0, 40).unwrap();
        assert_eq!(
            (params.max_tokens, params.top_k, params.penalty_last_n),
            (40, 0, None)
        );
        assert_eq!((params.top_n_sigma, params.stop.len()), (0.0, 16));
        let greedy = sampling_params(&fields(json!({ "top_p": 0 })), 1.0, 40).unwrap();
        assert!(greedy.top_p > 0.0 && greedy.top_p < 1e-30);
    }
}
