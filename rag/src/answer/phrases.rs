//! Phrases with which a model says that the documents do not answer.

/// What speaks of the documents.
const SOURCES: &[&str] = &[
    "passage",
    "document",
    "context",
    "excerpt",
    "provided text",
    "given text",
    "provided information",
    "given information",
    "source",
    "the text",
    "dokument",
    "textstelle",
    "pasaje",
    "texto",
    "documento",
];

/// What denies that they say it.
const SILENT: &[&str] = &[
    "not mention",
    "not contain",
    "not provide",
    "not specify",
    "not specified",
    "not state",
    "not include",
    "not say",
    "not indicate",
    "not give",
    "not answer",
    "not address",
    "not discuss",
    "not explicitly",
    "not directly",
    "not available",
    "no mention",
    "no information",
    "n't mention",
    "n't contain",
    "n't provide",
    "n't specify",
    "n't state",
    "n't include",
    "n't say",
    "n't give",
    "n't answer",
    "not found in",
    "not in the",
    "not mentioned",
    "not provided",
    "not stated",
    "nicht erwähnt",
    "keine information",
    "keine angabe",
    "nicht enthalten",
    "pas mention",
    "aucune information",
    "no se menciona",
    "no contiene",
    "no menciona",
];

/// Enough on its own.
const ALONE: &[&str] = &[
    "i don't have",
    "i do not have",
    "i cannot answer",
    "i can't answer",
    "i cannot find",
    "i can't find",
    "i could not find",
    "i couldn't find",
    "i don't know",
    "i do not know",
    "i am unable to",
    "i'm unable to",
    "i'm sorry",
    "i am sorry",
    "unable to answer",
    "cannot be answered",
    "cannot be determined",
    "can't be determined",
    "not enough information",
    "insufficient information",
    "no information is",
    "no information about",
    "there is no information",
    "not in the documents",
    "ich weiß es nicht",
    "ich weiß nicht",
    "je ne sais pas",
    "no lo sé",
];

/// Endings of a sentence that denies without naming the documents ("The price is not mentioned.").
const BARE: &[&str] = &[
    "is not mentioned",
    "are not mentioned",
    "is not specified",
    "is not provided",
    "is not stated",
    "was not mentioned",
    "not specified",
    "is not explicitly mentioned",
    "is not explicitly stated",
    "n/a",
    "unknown",
];

/// Whether a sentence says that the documents do not hold the answer.
pub(crate) fn denies_answer(sentence: &str) -> bool {
    let lower = sentence.to_lowercase().replace('’', "'");
    let lower =
        lower.trim_matches(|c: char| c.is_whitespace() || matches!(c, '.' | '!' | '"' | '*'));
    let any = |list: &[&str]| list.iter().any(|phrase| lower.contains(phrase));
    any(ALONE) || BARE.iter().any(|phrase| lower.ends_with(phrase)) || (any(SOURCES) && any(SILENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_are_told_from_statements_with_a_not_in_them() {
        let table = [
            ("Not in the documents.", true),
            ("I'm sorry, but I don't have that information.", true),
            ("The passages do not mention the price of the pump.", true),
            ("The provided text doesn’t specify a date.", true),
            ("The number of players is not mentioned.", true),
            ("There is no information about the merger.", true),
            ("Der Preis wird in den Dokumenten nicht erwähnt.", true),
            ("The warranty does not cover batteries.", false),
            ("The valve must not be opened.", false),
            ("Nobody knows where the passage leads.", false),
            ("The committee did not provide funds for the bridge.", false),
        ];
        for (sentence, expected) in table {
            assert_eq!(denies_answer(sentence), expected, "{sentence}");
        }
    }
}
