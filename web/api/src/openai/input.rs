//! Texts as clients send them: one or many, as text or as token ids.

use serde::{Deserialize, Serialize};

/// A string or a list of strings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// `"text"`
    One(String),
    /// `["text", "text"]`
    Many(Vec<String>),
}

impl OneOrMany {
    /// The list.
    pub fn into_vec(self) -> Vec<String> {
        match self {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        }
    }
}

/// A text, or what a tokenizer made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TextOrTokens {
    /// `"text"`
    Text(String),
    /// Ids of the model's own vocabulary, without those that frame a text: `[7592, 2088]`.
    Tokens(Vec<u32>),
}

impl TextOrTokens {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        match self {
            TextOrTokens::Text(text) => text.is_empty(),
            TextOrTokens::Tokens(ids) => ids.is_empty(),
        }
    }
}

/// One text or many: `"text"`, `[7592, 2088]`, `["text", "text"]`, `[[7592, 2088], [2088]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Input {
    /// One.
    One(TextOrTokens),
    /// A list.
    Many(Vec<TextOrTokens>),
}

impl Input {
    /// The list.
    pub fn into_vec(self) -> Vec<TextOrTokens> {
        match self {
            // The same in JSON: nothing at all.
            Input::One(TextOrTokens::Tokens(ids)) if ids.is_empty() => Vec::new(),
            Input::One(one) => vec![one],
            Input::Many(many) => many,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_input_is_a_list_of_texts_or_token_ids() {
        let text = |text: &str| TextOrTokens::Text(text.to_owned());
        let ids = |ids: &[u32]| TextOrTokens::Tokens(ids.to_vec());
        let cases = [
            (r#""a b""#, vec![text("a b")]),
            (r#"["a", "b"]"#, vec![text("a"), text("b")]),
            ("[1, 2]", vec![ids(&[1, 2])]),
            ("[[1, 2], [3]]", vec![ids(&[1, 2]), ids(&[3])]),
            (r#"["a", [1]]"#, vec![text("a"), ids(&[1])]),
            ("[]", vec![]),
        ];
        for (json, want) in cases {
            let input: Input = serde_json::from_str(json).unwrap();
            assert_eq!(input.into_vec(), want, "{json}");
        }
        for wrong in ["5", "[-1]", "[1.5]", "{}", "[\"a\", 1]"] {
            assert!(serde_json::from_str::<Input>(wrong).is_err(), "{wrong}");
        }
    }
}
