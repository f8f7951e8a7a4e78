//! Words for "and" and "or" in many languages; where they come from is said in `data/conjunctions.txt`.

use std::{collections::HashSet, sync::LazyLock};

static CONJUNCTIONS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    include_str!("../data/conjunctions.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .collect()
});

/// Whether a word, in lower case, joins others in any of the languages.
pub(crate) fn is_conjunction(word: &str) -> bool {
    CONJUNCTIONS.contains(word)
}
