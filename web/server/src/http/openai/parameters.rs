//! What is done with each parameter that clients send to `/v1/*`: the table, and reading a request by it.
//!
//! A parameter is *read*; or *refused* by name unless its value is *neutral*, because it would change the result; or
//! *ignored*, because it changes nothing. Names that are not in the table are ignored. `null` is the same as absent, a
//! whole number, a token id too, may be written `5.0`, and some parameters have other *spellings*; an error names the one
//! that was sent.
//!
//! The rows themselves are in [`table`]; what values mean is checked by whoever uses them, in `sampling` and beside it.

mod table;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use web_api::openai::{ChatCompletionRequest, CompletionRequest, EmbeddingRequest};

use super::super::error::Failure;
use super::super::kind::{Kind, make_whole};
use super::messages;

/// An endpoint of `/v1/*` that takes parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/embeddings`
    Embeddings,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Chat, Self::Completions, Self::Embeddings];

    /// Its address.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
        }
    }

    /// The parameter without which nothing can be done.
    fn required(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Completions => "prompt",
            Self::Embeddings => "input",
        }
    }
}

/// What is done with a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterUse {
    /// Its value counts.
    Read,
    /// As one that is read, by another name.
    Spelling,
    /// An error unless its value changes nothing.
    Refused,
    /// Any value will do.
    Ignored,
}

/// One parameter of one endpoint, for tests and documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Where.
    pub endpoint: Endpoint,
    /// Its name in the request.
    pub name: &'static str,
    /// What is done with it.
    pub used: ParameterUse,
}

/// Every row of the table, for tests and documentation.
pub fn parameter_table() -> Vec<ParameterInfo> {
    let of_endpoint = |endpoint| {
        table::of(endpoint).map(move |parameter| ParameterInfo {
            endpoint,
            name: parameter.name,
            used: match parameter.rule {
                Rule::Read(_) => ParameterUse::Read,
                Rule::Spelling { .. } => ParameterUse::Spelling,
                Rule::Refused { .. } => ParameterUse::Refused,
                Rule::Ignored => ParameterUse::Ignored,
            },
        })
    };
    Endpoint::ALL.into_iter().flat_map(of_endpoint).collect()
}

/// A row.
struct Parameter {
    name: &'static str,
    endpoints: &'static [Endpoint],
    rule: Rule,
}

enum Rule {
    Read(Kind),
    Spelling {
        of: &'static str,
        /// Whether it counts where both are sent.
        wins: bool,
    },
    Refused {
        unless: Neutral,
        /// Why, as the end of a sentence.
        because: &'static str,
    },
    Ignored,
}

/// Values with which a refused parameter changes nothing; `null` is always one.
#[derive(Clone, Copy)]
enum Neutral {
    Null,
    False,
    True,
    /// A number.
    Is(f64),
    /// A text.
    Text(&'static str),
    /// An empty text, list or object.
    Empty,
    /// What the request or the model makes neutral, with what to send in words.
    When(fn(&Value, &Request) -> bool, &'static str),
}

/// What a neutral value may depend on.
struct Request<'a> {
    body: &'a Map<String, Value>,
    /// Length of the embedding model's vectors.
    dimensions: usize,
}

/// A request that is read by the table.
pub(in super::super) trait Parameters: DeserializeOwned {
    const ENDPOINT: Endpoint;

    /// Checks what has parts of its own, after the kinds of all parameters.
    ///
    /// # Errors
    /// 400 naming the place.
    fn check_parts(_body: &Map<String, Value>) -> Result<(), Failure> {
        Ok(())
    }
}

impl Parameters for ChatCompletionRequest {
    const ENDPOINT: Endpoint = Endpoint::Chat;

    fn check_parts(body: &Map<String, Value>) -> Result<(), Failure> {
        messages::check(body.get("messages").and_then(Value::as_array))
    }
}

impl Parameters for CompletionRequest {
    const ENDPOINT: Endpoint = Endpoint::Completions;
}

impl Parameters for EmbeddingRequest {
    const ENDPOINT: Endpoint = Endpoint::Embeddings;
}

/// The parameters that a request spelled otherwise than they are called here, as `(ours, theirs)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Spellings(Vec<(&'static str, &'static str)>);

impl Spellings {
    /// Names the parameter of a failure as the request does, in the text too.
    pub fn in_failure(&self, failure: Failure) -> Failure {
        let Some(&(ours, theirs)) = self.0.iter().find(|(ours, _)| failure.param == Some(ours))
        else {
            return failure;
        };
        Failure {
            param: Some(theirs),
            message: failure.message.replacen(ours, theirs, 1),
            ..failure
        }
    }
}

/// Reads the body of a request by the table.
///
/// # Errors
/// 400 naming the parameter that is missing, of the wrong kind, or refused.
pub(in super::super) fn read<T: Parameters>(
    mut body: Map<String, Value>,
    dimensions: usize,
) -> Result<(T, Spellings), Failure> {
    let endpoint = T::ENDPOINT;
    drop_nulls(&mut body);
    for parameter in table::of(endpoint) {
        if let Some(value) = body.get(parameter.name) {
            let request = Request {
                body: &body,
                dimensions,
            };
            parameter.check(endpoint, value, &request)?;
        }
    }
    let spellings = use_our_names(endpoint, &mut body);
    use_whole_numbers(endpoint, &mut body);
    let required = endpoint.required();
    if !body.contains_key(required) {
        return Err(Failure::missing(required));
    }
    T::check_parts(&body)?;
    // What is left is a number that no type here holds. The parser's words are about those types and stay here.
    let request = serde_json::from_value(Value::Object(body)).map_err(|error| {
        tracing::debug!(%error, "a request passed its checks and could not be read");
        Failure::invalid("A value of the request is out of range.")
    })?;
    Ok((request, spellings))
}

/// `null` is absent, also in the options of a stream.
fn drop_nulls(body: &mut Map<String, Value>) {
    body.retain(|_, value| !value.is_null());
    if let Some(Value::Object(options)) = body.get_mut("stream_options") {
        options.retain(|_, value| !value.is_null());
    }
}

fn use_our_names(endpoint: Endpoint, body: &mut Map<String, Value>) -> Spellings {
    let mut spellings = Spellings::default();
    for parameter in table::of(endpoint) {
        let Rule::Spelling { of, wins } = parameter.rule else {
            continue;
        };
        if let Some(value) = body.remove(parameter.name)
            && (wins || !body.contains_key(of))
        {
            body.insert(of.to_owned(), value);
            spellings.0.retain(|(ours, _)| *ours != of);
            spellings.0.push((of, parameter.name));
        }
    }
    spellings
}

/// Writes 5.0 as 5, and an empty list of biases as none.
fn use_whole_numbers(endpoint: Endpoint, body: &mut Map<String, Value>) {
    for parameter in table::of(endpoint) {
        match (&parameter.rule, body.get_mut(parameter.name)) {
            (Rule::Read(Kind::Integer | Kind::Count | Kind::Input), Some(value)) => {
                make_whole(value);
            }
            (Rule::Read(Kind::Biases), Some(Value::Array(_))) => {
                body.remove(parameter.name);
            }
            _ => {}
        }
    }
}

impl Parameter {
    fn check(&self, endpoint: Endpoint, value: &Value, request: &Request) -> Result<(), Failure> {
        match &self.rule {
            Rule::Read(kind) => kind.check(self.name, value),
            Rule::Spelling { of, .. } => {
                let ours = table::of(endpoint).find(|parameter| parameter.name == *of);
                match ours.map(|parameter| &parameter.rule) {
                    Some(Rule::Read(kind)) => kind.check(self.name, value),
                    _ => Ok(()),
                }
            }
            Rule::Refused { unless, because } if !unless.holds(value, request) => {
                Err(Failure::invalid_param(
                    self.name,
                    format!(
                        "{} is not supported: {because}. Leave it out{}.",
                        self.name,
                        unless.instead()
                    ),
                ))
            }
            Rule::Refused { .. } | Rule::Ignored => Ok(()),
        }
    }
}

impl Neutral {
    fn holds(self, value: &Value, request: &Request) -> bool {
        match self {
            Self::Null => false,
            Self::False => value == false,
            Self::True => value == true,
            Self::Is(number) => value.as_f64() == Some(number),
            Self::Text(text) => value == text,
            Self::Empty => match value {
                Value::String(text) => text.is_empty(),
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            },
            Self::When(is_neutral, _) => is_neutral(value, request),
        }
    }

    /// What may be sent, as the end of a sentence.
    fn instead(self) -> String {
        match self {
            Self::Null | Self::Empty => String::new(),
            Self::False => " or send false".to_owned(),
            Self::True => " or send true".to_owned(),
            Self::Is(number) => format!(" or send {number}"),
            Self::Text(text) => format!(" or send \"{text}\""),
            Self::When(_, words) => format!(" or {words}"),
        }
    }
}
