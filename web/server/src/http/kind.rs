//! Kinds of values in JSON, checked in words of our own: what a parser says speaks of its types and not of the request.

use serde_json::{Map, Value};

use super::error::Failure;

/// Characters that an error repeats of a name that was sent.
const SHOWN_CHARS: usize = 40;

/// What kind of value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    /// A whole number.
    Integer,
    /// A whole number that is not negative.
    Count,
    Number,
    Text,
    TextOrTexts,
    Texts,
    /// A list of whole numbers.
    Integers,
    List,
    /// An object of switches.
    Switches,
    /// An object of numbers, or an empty list, which is none.
    Biases,
    /// Texts or token ids.
    Input,
}

/// A value that is not what it should be.
struct Wrong<'a> {
    /// Where it is inside the value that was checked: `[3]`, `.name`, or nothing.
    place: String,
    what: &'static str,
    there: &'a Value,
}

impl Kind {
    /// Checks the value of a parameter.
    ///
    /// # Errors
    /// 400 naming the parameter and, inside a list or an object, the place.
    pub fn check(self, name: &'static str, value: &Value) -> Result<(), Failure> {
        match self.wrong(value) {
            None => Ok(()),
            Some(Wrong { place, what, there }) => Err(Failure::invalid_param(
                name,
                format!("{name}{place} must be {what}; it is {}.", in_words(there)),
            )),
        }
    }

    fn wrong(self, value: &Value) -> Option<Wrong<'_>> {
        match (self, value) {
            (Self::TextOrTexts | Self::Texts, Value::Array(texts)) => {
                in_list(texts, Value::is_string, "a text")
            }
            (Self::Integers, Value::Array(numbers)) => {
                in_list(numbers, Value::is_i64, "a whole number")
            }
            (Self::Switches, Value::Object(switches)) => {
                in_object(switches, Value::is_boolean, "true or false")
            }
            (Self::Biases, Value::Object(biases)) => {
                in_object(biases, Value::is_number, "a number")
            }
            (Self::Input, Value::Array(input)) => match input.first() {
                Some(Value::Number(_)) => {
                    in_list(input, is_count, "a token id, a whole number of 0 or more")
                }
                _ => in_list(input, is_text_or_tokens, "a text or a list of token ids"),
            },
            _ => (!self.holds(value)).then(|| Wrong {
                place: String::new(),
                what: self.in_words(),
                there: value,
            }),
        }
    }

    /// Whether the value is right, lists and objects aside.
    fn holds(self, value: &Value) -> bool {
        match self {
            Self::Bool => value.is_boolean(),
            Self::Integer => whole_number(value).is_some(),
            Self::Count => is_count(value),
            Self::Number => value.is_number(),
            Self::Text | Self::TextOrTexts | Self::Input => value.is_string(),
            Self::List => value.is_array(),
            Self::Biases => value.as_array().is_some_and(Vec::is_empty),
            Self::Texts | Self::Integers | Self::Switches => false,
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Integer => "a whole number",
            Self::Count => "a whole number, 0 or more",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::TextOrTexts => "a text or a list of texts",
            Self::Texts => "a list of texts",
            Self::Integers => "a list of whole numbers",
            Self::List => "a list",
            Self::Switches => "an object of true and false",
            Self::Biases => "an object of token ids (whole numbers as strings) and numbers",
            Self::Input => "a text, a list of token ids, or a list of those",
        }
    }
}

fn in_list<'a>(
    list: &'a [Value],
    is_right: impl Fn(&Value) -> bool,
    what: &'static str,
) -> Option<Wrong<'a>> {
    let (index, there) = list
        .iter()
        .enumerate()
        .find(|(_, value)| !is_right(value))?;
    Some(Wrong {
        place: format!("[{index}]"),
        what,
        there,
    })
}

fn in_object<'a>(
    object: &'a Map<String, Value>,
    is_right: impl Fn(&Value) -> bool,
    what: &'static str,
) -> Option<Wrong<'a>> {
    let (name, there) = object.iter().find(|(_, value)| !is_right(value))?;
    Some(Wrong {
        place: format!(".{}", shown(name)),
        what,
        there,
    })
}

/// A whole number from 0, as token ids are.
fn is_count(value: &Value) -> bool {
    whole_number(value).is_some_and(|count| u32::try_from(count).is_ok())
}

fn is_text_or_tokens(value: &Value) -> bool {
    let are_ids = |list: &Vec<Value>| list.iter().all(is_count);
    value.is_string() || value.as_array().is_some_and(are_ids)
}

/// The number, if it has no fraction and fits.
pub(super) fn whole_number(value: &Value) -> Option<i64> {
    // Beyond this a float no longer tells neighbouring integers apart.
    const MOST: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && number.abs() <= MOST).then_some(number as i64)
    })
}

/// Writes 5.0 as 5, in lists and their lists too.
pub(super) fn make_whole(value: &mut Value) {
    if let Value::Array(list) = value {
        list.iter_mut().for_each(make_whole);
    } else if let Some(whole) = whole_number(value) {
        *value = whole.into();
    }
}

/// What a value is, without repeating what may be long or private.
pub(super) fn in_words(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// The beginning of a name that was sent.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let cases = [
            (
                Kind::TextOrTexts,
                json!(5),
                "x must be a text or a list of texts; it is 5.",
            ),
            (
                Kind::TextOrTexts,
                json!([null, "a"]),
                "x[0] must be a text; it is null.",
            ),
            (
                Kind::Texts,
                json!(["a", {}]),
                "x[1] must be a text; it is an object.",
            ),
            (
                Kind::Integers,
                json!([1, "a"]),
                "x[1] must be a whole number; it is a text.",
            ),
            (
                Kind::Switches,
                json!({ "on": 1 }),
                "x.on must be true or false; it is 1.",
            ),
            (
                Kind::Switches,
                json!(true),
                "x must be an object of true and false; it is true.",
            ),
            (
                Kind::Biases,
                json!({ "5": "much" }),
                "x.5 must be a number; it is a text.",
            ),
            (
                Kind::Input,
                json!([1, 1.5]),
                "x[1] must be a token id, a whole number of 0 or more; it is 1.5.",
            ),
            (
                Kind::Input,
                json!([1.0, -1.0]),
                "x[1] must be a token id, a whole number of 0 or more; it is -1.0.",
            ),
            (
                Kind::Input,
                json!(["a", 1]),
                "x[1] must be a text or a list of token ids; it is 1.",
            ),
            (
                Kind::Count,
                json!(-1),
                "x must be a whole number, 0 or more; it is -1.",
            ),
        ];
        for (kind, value, want) in cases {
            assert_eq!(kind.check("x", &value).unwrap_err().message, want);
        }
        for (kind, value) in [
            (Kind::TextOrTexts, json!([])),
            (Kind::Texts, json!(["a"])),
            (Kind::Integers, json!([1, 2])),
            (Kind::Biases, json!([])),
            (Kind::Input, json!([[1], "a"])),
            (Kind::Input, json!([1.0, 2])),
            (Kind::Input, json!([[1.0], "a"])),
            (Kind::Input, json!("a")),
            (Kind::Count, json!(5.0)),
        ] {
            assert!(kind.check("x", &value).is_ok(), "{value}");
        }
    }
}
