//! Ending a generation at a string, wherever token borders fall.
//!
//! The stop string whose last character arrives first ends the text, and of several that end there
//! the longest; the result therefore does not depend on how the text is cut into pieces. The text
//! before it is kept, the string itself is not. Text that may be the start of a stop string is held
//! back until the next piece decides.

/// Looks for stop strings in a stream of text.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    stops: Vec<String>,
    /// Text not yet given out: the longest suffix that is a proper prefix of a stop string.
    held: String,
    stopped: bool,
}

/// What [`StopMatcher::push`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StopOutcome {
    /// Text that is certain to belong to the result.
    pub emit: String,
    /// A stop string is complete; nothing more is emitted.
    pub stopped: bool,
}

impl StopMatcher {
    /// Returns a matcher for `stops`; empty strings are ignored, and with none everything passes.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops
            .iter()
            .filter(|stop| !stop.is_empty())
            .cloned()
            .collect();
        Self {
            stops,
            held: String::new(),
            stopped: false,
        }
    }

    /// Takes the next piece of text. After a stop it returns nothing more.
    pub fn push(&mut self, text: &str) -> StopOutcome {
        if self.stopped {
            return StopOutcome {
                emit: String::new(),
                stopped: true,
            };
        }
        self.held.push_str(text);
        if let Some(start) = self.first_match_start() {
            self.held.truncate(start);
            self.stopped = true;
            return StopOutcome {
                emit: std::mem::take(&mut self.held),
                stopped: true,
            };
        }
        let tail = self
            .held
            .split_off(self.held.len() - self.longest_open_suffix());
        StopOutcome {
            emit: std::mem::replace(&mut self.held, tail),
            stopped: false,
        }
    }

    /// Returns the text still held back, for a generation that ended otherwise.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    fn first_match_start(&self) -> Option<usize> {
        let matches = self.stops.iter().filter_map(|stop| {
            self.held
                .find(stop.as_str())
                .map(|start| (start + stop.len(), start))
        });
        matches.min().map(|(_, start)| start)
    }

    /// Length of the longest suffix of the held text that is a proper prefix of a stop string.
    fn longest_open_suffix(&self) -> usize {
        let longest = self
            .stops
            .iter()
            .map(|stop| stop.len() - 1)
            .max()
            .unwrap_or(0)
            .min(self.held.len());
        let from = self.held.len() - longest;
        let is_open = |&start: &usize| {
            self.held.is_char_boundary(start)
                && self.stops.iter().any(|stop| {
                    stop.len() > self.held.len() - start && stop.starts_with(&self.held[start..])
                })
        };
        (from..self.held.len())
            .find(is_open)
            .map_or(0, |start| self.held.len() - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matcher(stops: &[&str]) -> StopMatcher {
        StopMatcher::new(
            &stops
                .iter()
                .map(|stop| (*stop).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    /// The definition: cut at the match that ends first, the longest among those.
    fn naive(stops: &[String], text: &str) -> (String, bool) {
        for (end, _) in text.char_indices().skip(1).chain([(text.len(), ' ')]) {
            let ending = stops
                .iter()
                .filter(|stop| !stop.is_empty() && text[..end].ends_with(stop.as_str()));
            if let Some(longest) = ending.max_by_key(|stop| stop.len()) {
                return (text[..end - longest.len()].to_owned(), true);
            }
        }
        (text.to_owned(), false)
    }

    #[test]
    fn a_stop_string_across_three_pieces_is_found_and_not_emitted() {
        let mut matcher = matcher(&["\n\nQ:"]);
        assert_eq!(
            matcher.push("Yes.\n"),
            StopOutcome {
                emit: "Yes.".into(),
                stopped: false
            }
        );
        assert_eq!(matcher.push("\nQ"), StopOutcome::default());
        assert_eq!(
            matcher.push(": more"),
            StopOutcome {
                emit: String::new(),
                stopped: true
            }
        );
        assert_eq!(
            matcher.push("after"),
            StopOutcome {
                emit: String::new(),
                stopped: true
            }
        );
    }

    #[test]
    fn held_text_is_released_when_it_turns_out_to_be_text() {
        let mut matcher = matcher(&["###"]);
        assert_eq!(matcher.push("a##").emit, "a");
        assert_eq!(matcher.push("b#").emit, "##b");
        assert_eq!(matcher.finish(), "#");
    }

    #[test]
    fn without_stop_strings_everything_passes_at_once() {
        assert_eq!(
            matcher(&[""]).push("text"),
            StopOutcome {
                emit: "text".into(),
                stopped: false
            }
        );
    }

    proptest! {
        #[test]
        fn any_cut_gives_what_a_search_of_the_whole_text_gives(
            text in "[abé]{0,30}", stops in proptest::collection::vec("[abé]{0,4}", 0..4), cut in 1usize..5
        ) {
            let mut matcher = StopMatcher::new(&stops);
            let (mut emitted, mut stopped) = (String::new(), false);
            let chars: Vec<char> = text.chars().collect();
            for piece in chars.chunks(cut) {
                let outcome = matcher.push(&piece.iter().collect::<String>());
                emitted.push_str(&outcome.emit);
                stopped = outcome.stopped;
            }
            if !stopped {
                emitted.push_str(&matcher.finish());
            }
            prop_assert_eq!((emitted, stopped), naive(&stops, &text));
        }
    }
}
