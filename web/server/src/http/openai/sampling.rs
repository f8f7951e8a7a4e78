//! OpenAI's sampling fields, checked, as the engine's.

use inference::SamplingParams;
use web_api::openai::{OneOrMany, SamplingFields};

use super::super::error::Failure;

/// Stop texts that OpenAI's API allows.
const MOST_STOPS: usize = 4;

/// Checks the fields.
///
/// `temperature` is used where the request names none. `max_tokens` likewise.
///
/// # Errors
/// 400 naming the field.
pub(super) fn sampling_params(
    fields: &SamplingFields,
    temperature: f32,
    max_tokens: usize,
) -> Result<SamplingParams, Failure> {
    in_range("temperature", fields.temperature, 0.0..=2.0)?;
    in_range("top_p", fields.top_p, f32::MIN_POSITIVE..=1.0)?;
    in_range("min_p", fields.min_p, 0.0..=1.0)?;
    in_range("presence_penalty", fields.presence_penalty, -2.0..=2.0)?;
    in_range("frequency_penalty", fields.frequency_penalty, -2.0..=2.0)?;
    in_range(
        "repetition_penalty",
        fields.repetition_penalty,
        f32::MIN_POSITIVE..=10.0,
    )?;
    if fields.n.is_some_and(|n| n != 1) {
        return Err(Failure::invalid_param(
            "n",
            "Only one answer a request is served: leave n out or set it to 1.",
        ));
    }
    let max_tokens = fields
        .max_completion_tokens
        .or(fields.max_tokens)
        .unwrap_or(max_tokens);
    if max_tokens == 0 {
        return Err(Failure::invalid_param(
            "max_tokens",
            "max_tokens must be 1 or more.",
        ));
    }
    Ok(SamplingParams {
        temperature: fields.temperature.unwrap_or(temperature),
        top_k: fields.top_k.unwrap_or(0),
        top_p: fields.top_p.unwrap_or(1.0),
        min_p: fields.min_p.unwrap_or(0.0),
        repetition_penalty: fields.repetition_penalty.unwrap_or(1.0),
        presence_penalty: fields.presence_penalty.unwrap_or(0.0),
        frequency_penalty: fields.frequency_penalty.unwrap_or(0.0),
        // OpenAI's seed is signed; only that equal seeds are equal matters.
        seed: fields.seed.map(|seed| seed as u64),
        max_tokens,
        stop: stop_texts(fields.stop.clone())?,
        ..SamplingParams::default()
    })
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

fn in_range(
    param: &'static str,
    value: Option<f32>,
    range: std::ops::RangeInclusive<f32>,
) -> Result<(), Failure> {
    match value {
        // NaN is in no range.
        Some(value) if !range.contains(&value) => Err(Failure::invalid_param(
            param,
            if *range.start() == f32::MIN_POSITIVE {
                format!(
                    "{param} must be above 0 and at most {}; it is {value}.",
                    range.end()
                )
            } else {
                format!(
                    "{param} must be between {} and {}; it is {value}.",
                    range.start(),
                    range.end()
                )
            },
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_outside_their_range_are_named() {
        let failing = [
            (
                "temperature",
                SamplingFields {
                    temperature: Some(2.5),
                    ..Default::default()
                },
            ),
            (
                "top_p",
                SamplingFields {
                    top_p: Some(0.0),
                    ..Default::default()
                },
            ),
            (
                "presence_penalty",
                SamplingFields {
                    presence_penalty: Some(f32::NAN),
                    ..Default::default()
                },
            ),
            (
                "n",
                SamplingFields {
                    n: Some(2),
                    ..Default::default()
                },
            ),
            (
                "max_tokens",
                SamplingFields {
                    max_tokens: Some(0),
                    ..Default::default()
                },
            ),
            (
                "stop",
                SamplingFields {
                    stop: Some(OneOrMany::One(String::new())),
                    ..Default::default()
                },
            ),
        ];
        for (param, fields) in failing {
            assert_eq!(
                sampling_params(&fields, 1.0, 16).unwrap_err().param,
                Some(param)
            );
        }
    }

    #[test]
    fn the_newer_name_of_the_token_limit_wins() {
        let fields = SamplingFields {
            max_tokens: Some(1),
            max_completion_tokens: Some(2),
            ..Default::default()
        };
        assert_eq!(sampling_params(&fields, 1.0, 16).unwrap().max_tokens, 2);
        assert_eq!(
            sampling_params(&SamplingFields::default(), 1.0, 16)
                .unwrap()
                .max_tokens,
            16
        );
    }
}
