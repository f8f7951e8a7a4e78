//! Earlier turns of a conversation as the model sees them: few, short, and without the numbers of other passages.
//!
//! Must not know: passages, the prompt around.

use super::context::rewrite_brackets;

/// How many earlier turns the model sees; more push the passages out of a small model's attention.
const MAX_TURNS: usize = 2;

/// Longest earlier question or answer that is repeated to the model, in characters.
const MAX_CHARS: usize = 400;

/// Most tokens of all turns together.
pub const MAX_HISTORY_TOKENS: usize = 256;

/// The last turns of `history` (question, answer; oldest first) that fit, shortened and without citation markers.
/// `count_tokens` counts tokens of the language model.
pub fn recent_history(
    history: &[(String, String)],
    count_tokens: &dyn Fn(&str) -> usize,
) -> Vec<(String, String)> {
    let mut left = MAX_HISTORY_TOKENS;
    let mut turns = Vec::new();
    for (question, answer) in history.iter().rev().take(MAX_TURNS) {
        let turn = (shortened(question), shortened(&without_markers(answer)));
        let tokens = count_tokens(&turn.0) + count_tokens(&turn.1);
        let Some(rest) = left.checked_sub(tokens) else {
            break;
        };
        left = rest;
        turns.push(turn);
    }
    turns.reverse();
    turns
}

/// An earlier answer without its `[n]`: those numbers mean other passages now.
fn without_markers(answer: &str) -> String {
    // A mark that no text has, so that the space before a marker goes with it.
    let marked = rewrite_brackets(answer, |_| "\0".to_owned());
    marked.replace(" \0", "").replace('\0', "")
}

fn shortened(text: &str) -> String {
    let text = text.trim();
    if text.chars().count() <= MAX_CHARS {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(MAX_CHARS).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_turns_stay_within_their_budget() {
        let turn = |text: &str| (text.to_owned(), text.to_owned());
        let history = [turn("old"), turn("middle"), turn("new")];
        let kept = |tokens: usize| recent_history(&history, &|_| tokens);
        assert_eq!(kept(1), [turn("middle"), turn("new")]);
        assert_eq!(kept(MAX_HISTORY_TOKENS / 2), [turn("new")]);
        assert_eq!(kept(MAX_HISTORY_TOKENS), []);
    }

    #[test]
    fn turns_are_short_and_have_no_markers() {
        let long = format!("30 days [1] [12]. See [a] and x[0. {}", "x".repeat(600));
        let history = [("How many?".to_owned(), long)];
        let turns = recent_history(&history, &|_| 1);
        assert_eq!(turns[0].0, "How many?");
        assert!(
            turns[0].1.starts_with("30 days. See [a] and x[0. xxx"),
            "{}",
            turns[0].1
        );
        assert_eq!(turns[0].1.chars().count(), MAX_CHARS + 1);
    }
}
