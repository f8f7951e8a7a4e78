//! What a question is about: the identifiers, years, labelled numbers and names that an answer must not exchange.
//!
//! "The torque of pump P7" is not answered by a sentence about P5, however well the other words fit. Each entity has a
//! *shape*; entities of one shape are alternatives ("P5 and P50"), so a sentence needs those that it names, or one.
//!
//! - *identifier*: letters, then digits, maybe joined by `-`, `/`, `.` or `_` (`P7`, `AX-4401/B`); must be there;
//! - *year*: four digits from 1900; denied by another year in its place, because most documents name none;
//! - *labelled number*: a word and a number or a capital letter behind it ("room 12", "hall C"); denied by the same word with
//!   another one;
//! - *name*: capitalised words; must be somewhere in the passage.
//!
//! Comparison is between *runs* of letters and digits, joined: `TK 59906` holds `TK-59906`, `P50` does not hold `P5`.

use crate::text::fold::{folded, normalise, stem};
use crate::text::terms::{Term, TermKind, capitalises_nouns, is_stop_word, match_strength, terms};
use crate::text::unspaced::is_unspaced;

use std::collections::HashSet;

/// Parts of an identifier that are joined at most.
const MAX_PARTS: usize = 6;

/// Longest run of letters before the digits of an identifier that may be written small: "mid-2020" is none.
const MAX_SMALL_PREFIX: usize = 2;

/// An entity of a question.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entity {
    /// Letters and digits joined, in lower case, and how many letters lead.
    Identifier { joined: String, letters: usize },
    /// A year.
    Year(String),
    /// A word and the number behind it, in lower case.
    Labelled { label: String, number: String },
    /// Neighbouring capitalised words.
    Name(Vec<Term>),
}

/// Runs of letters and of digits of a text, in lower case, and the keys of its terms.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mentions {
    runs: Vec<String>,
    keys: HashSet<String>,
}

impl Mentions {
    pub fn of(text: &str) -> Self {
        let keys = terms(text).into_iter().map(|t| t.key).collect();
        Self {
            runs: runs(&normalise(text)).map(|r| r.to_lowercase()).collect(),
            keys,
        }
    }

    pub fn extend(&mut self, other: &Mentions) {
        // The mark keeps the end of one text from being joined to the beginning of the next.
        self.runs.push(String::new());
        self.runs.extend(other.runs.iter().cloned());
        self.keys.extend(other.keys.iter().cloned());
    }

    fn holds_joined(&self, joined: &str) -> bool {
        (0..self.runs.len()).any(|first| self.holds_joined_at(first, joined))
    }

    fn holds_joined_at(&self, first: usize, joined: &str) -> bool {
        let mut rest = joined;
        for run in self.runs[first..].iter().take(MAX_PARTS) {
            match rest.strip_prefix(run.as_str()) {
                Some("") if !run.is_empty() => return true,
                Some(more) if !run.is_empty() => rest = more,
                _ => return false,
            }
        }
        false
    }

    /// Whether the words stand here one behind the other: "Karl Ott", not "Kiel and Cork".
    pub fn hold_in_a_row(&self, words: &[Term]) -> bool {
        let is_word = |(run, word): (&String, &Term)| stem(&folded(run)) == word.key;
        let mut places = self.runs.windows(words.len().max(1));
        places.any(|runs| runs.iter().zip(words).all(is_word))
    }

    /// Whether the entity is named here.
    pub fn hold(&self, entity: &Entity) -> bool {
        match entity {
            Entity::Identifier { joined, .. } => self.holds_joined(joined),
            Entity::Year(year) => self.runs.contains(year),
            Entity::Labelled { label, number } => self.holds_joined(&format!("{label}{number}")),
            Entity::Name(parts) => {
                let held = parts.iter().filter(|p| match_strength(p, &self.keys) > 0.0);
                2 * held.count() >= parts.len()
            }
        }
    }

    /// Whether another entity of the same shape is named here, one that is not in `allowed`.
    pub fn hold_rival(&self, entity: &Entity, allowed: &Mentions) -> bool {
        // A label has numbers or letters, and no text has both.
        let is_like = |run: &str, number: &str| {
            let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
            match is_digits(number) {
                true => !run.is_empty() && is_digits(run),
                false => run.len() == 1 && run.bytes().all(|b| b.is_ascii_alphabetic()),
            }
        };
        match entity {
            Entity::Identifier { joined, letters } => {
                let prefix: String = joined.chars().take(*letters).collect();
                let starts_with_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
                (0..self.runs.len()).any(|at| {
                    let Some(rest) = self.runs[at].strip_prefix(prefix.as_str()) else {
                        return false;
                    };
                    let next = self.runs.get(at + 1).map_or("", String::as_str);
                    let digits = if rest.is_empty() { next } else { rest };
                    starts_with_digit(digits)
                        && !self.holds_joined_at(at, joined)
                        && !allowed.holds_joined(&format!("{prefix}{digits}"))
                })
            }
            Entity::Year(year) => {
                let rival =
                    |run: &String| is_year(run) && run != year && !allowed.runs.contains(run);
                self.runs.iter().any(rival)
            }
            Entity::Labelled { label, number } => self.runs.windows(2).any(|pair| {
                pair[0] == *label
                    && is_like(&pair[1], number)
                    && pair[1] != *number
                    && !allowed.runs.contains(&pair[1])
            }),
            Entity::Name(_) => false,
        }
    }
}

impl Entity {
    /// Whether two entities are alternatives of each other.
    pub fn same_shape(&self, other: &Entity) -> bool {
        match (self, other) {
            (
                Self::Identifier {
                    joined: a,
                    letters: n,
                },
                Self::Identifier {
                    joined: b,
                    letters: m,
                },
            ) => n == m && a.chars().take(*n).eq(b.chars().take(*m)),
            (Self::Labelled { label: a, .. }, Self::Labelled { label: b, .. }) => a == b,
            (Self::Year(_), Self::Year(_)) | (Self::Name(_), Self::Name(_)) => true,
            _ => false,
        }
    }
}

/// Runs of letters and digits; a run of an unspaced script is none.
fn runs(chars: &[char]) -> impl Iterator<Item = String> {
    let is_part = |c: &char| c.is_alphanumeric() && !is_unspaced(*c);
    chars
        .split(move |c| !is_part(c))
        .filter(|run| !run.is_empty())
        .map(|run| run.iter().collect())
}

fn is_year(run: &str) -> bool {
    run.len() == 4 && run.parse::<u32>().is_ok_and(|y| (1900..2100).contains(&y))
}

/// The entities of a question, in order, without repetition.
pub(crate) fn entities(question: &str) -> Vec<Entity> {
    let chars = normalise(question);
    let mut found: Vec<Entity> = Vec::new();
    let tokens = tokens(&chars);
    for (i, token) in tokens.iter().enumerate() {
        let entity = identifier(token)
            .or_else(|| is_year(token).then(|| Entity::Year(token.clone())))
            .or_else(|| labelled(tokens.get(i.checked_sub(1)?)?, token));
        found.extend(entity);
    }
    let of_identifiers: Vec<String> = tokens
        .iter()
        .filter(|token| identifier(token).is_some())
        .flat_map(|token| runs(&token.chars().collect::<Vec<_>>()).collect::<Vec<_>>())
        .map(|run| run.to_lowercase())
        .collect();
    found.extend(names(question, &of_identifiers));
    found.dedup();
    found
}

/// Words, numbers and identifiers: letters and digits with single joiners inside.
fn tokens(chars: &[char]) -> Vec<String> {
    let is_part = |at: usize| {
        chars
            .get(at)
            .is_some_and(|c| c.is_alphanumeric() && !is_unspaced(*c))
    };
    let mut tokens = vec![String::new()];
    for (at, &c) in chars.iter().enumerate() {
        let joins =
            matches!(c, '-' | '/' | '.' | '_') && at > 0 && is_part(at - 1) && is_part(at + 1);
        if is_part(at) || joins {
            tokens.last_mut().expect("never empty").push(c);
        } else {
            tokens.push(String::new());
            // What is set off by more than a space is no label of what follows.
            if c != ' ' {
                tokens.push(String::new());
            }
        }
    }
    tokens
}

fn identifier(token: &str) -> Option<Entity> {
    let joined: String = token.chars().filter(|c| c.is_alphanumeric()).collect();
    let letters = joined.chars().take_while(|c| c.is_alphabetic()).count();
    let has_digit = joined.chars().any(|c| c.is_ascii_digit());
    let is_large = token.starts_with(char::is_uppercase);
    if letters == 0 || !has_digit || !(is_large || letters <= MAX_SMALL_PREFIX) {
        return None;
    }
    Some(Entity::Identifier {
        joined: joined.to_lowercase(),
        letters,
    })
}

fn labelled(before: &str, token: &str) -> Option<Entity> {
    let label = before.to_lowercase();
    let is_letter = token.len() == 1 && token.bytes().all(|b| b.is_ascii_uppercase());
    let is_number = is_letter || !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit());
    let is_word = label.chars().count() > 1 && label.chars().all(char::is_alphabetic);
    (is_number && is_word && !is_stop_word(&label)).then(|| Entity::Labelled {
        label,
        number: token.to_lowercase(),
    })
}

/// Names are told by their capitals, so there are none where nouns have them too, nor where every word has.
fn names(question: &str, of_identifiers: &[String]) -> Vec<Entity> {
    let terms = terms(question);
    let plain = terms.iter().filter(|t| t.kind == TermKind::Word).count();
    let capitals = terms.iter().filter(|t| t.kind == TermKind::Name).count();
    if capitalises_nouns(question) || capitals > plain + 2 {
        return Vec::new();
    }
    let mut names: Vec<Vec<Term>> = Vec::new();
    let mut open = false;
    for term in terms {
        let is_name = term.kind == TermKind::Name
            && term.key.chars().count() > 1
            && !of_identifiers.contains(&term.key);
        if is_name && open {
            names.last_mut().expect("open").push(term);
        } else if is_name {
            names.push(vec![term]);
        }
        open = is_name;
    }
    names.into_iter().map(Entity::Name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(question: &str) -> String {
        let shown = entities(question).into_iter().map(|entity| match entity {
            Entity::Identifier { joined, .. } => joined,
            Entity::Year(year) => format!("year {year}"),
            Entity::Labelled { label, number } => format!("{label} {number}"),
            Entity::Name(parts) => {
                let keys: Vec<String> = parts.into_iter().map(|p| p.key).collect();
                keys.join("+")
            }
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn questions_name_what_they_are_about() {
        for (question, expected) in [
            ("What is the tightening torque of pump P7?", "p7"),
            ("What does AX-4401/B cost?", "ax4401b"),
            ("Wie viele Urlaubstage gab es im Jahr 2025?", "year 2025"),
            ("Is there a phone in room 12?", "room 12"),
            ("Who leads the office in Oslo?", "oslo"),
            ("May I fly for a trip of 600 km?", ""),
            ("What was paid in mid-2019 for 5kg of flour?", ""),
            ("押金是多少？", ""),
            ("価格はTK-59906のいくらですか", "tk59906"),
        ] {
            assert_eq!(shown(question), expected, "{question}");
        }
    }

    #[test]
    fn identifiers_are_held_whole_however_they_are_joined() {
        let id = |text: &str| entities(text).remove(0);
        for (text, entity, held) in [
            ("Pump P5 and pump P50", id("about P5"), true),
            ("Pump P50", id("about P5"), false),
            ("| AX 4401/B | ring |", id("about AX-4401/B"), true),
            ("| AX-4401/C | size B |", id("about AX-4401/B"), false),
            ("tk59906", id("about TK-59906"), true),
            ("TK-599", id("about TK-59906"), false),
        ] {
            assert_eq!(Mentions::of(text).hold(&entity), held, "{text} {entity:?}");
        }
        let none = Mentions::default();
        assert!(Mentions::of("Pump P50").hold_rival(&id("about P5"), &none));
        assert!(!Mentions::of("Pump P50").hold_rival(&id("about P5"), &Mentions::of("P50")));
        assert!(Mentions::of("Policy 2024").hold_rival(&id("in 2025"), &none));
        assert!(Mentions::of("Room 14 has one").hold_rival(&id("in room 12?"), &none));
        assert!(!Mentions::of("14 chairs").hold_rival(&id("in room 12?"), &none));
    }
}
