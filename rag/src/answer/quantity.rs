//! Numbers with what they count: "24 days" is not "24 December", "30 minutes" is not "30 days".
//!
//! A word that is no unit, as "employees", says nothing ([`crate::text::units`]). So only a number that has a known unit in the
//! statement, and others, all known, in the quote, is held to be another quantity.
//!
//! Must not know: the language of a text. Absent on purpose: conversion (60 minutes and an hour are different numbers), and
//! numbers in words.

use std::collections::HashMap;

use crate::text::fold::normalise;
use crate::text::terms::{is_below_zero, number_key};
use crate::text::units::{self, Units};

/// How many words after a number may be its unit: "30 days", "30 calendar days", "24 de diciembre".
const WORDS_TO_UNIT: usize = 2;

/// The numbers of a text, as the keys of their terms, with the units of each time that they occur; none is 0.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quantities(HashMap<String, Vec<Units>>);

impl Quantities {
    pub fn of(text: &str) -> Self {
        let chars: Vec<char> = normalise(text)
            .into_iter()
            .flat_map(char::to_lowercase)
            .collect();
        let mut quantities = Self::default();
        let mut at = 0;
        while at < chars.len() {
            if !chars[at].is_ascii_digit() {
                at += 1;
                continue;
            }
            let end = end_of_number(&chars, at);
            if !is_part_of_name(&chars, at) {
                let sign = if is_below_zero(&chars, at) { "-" } else { "" };
                let digits: String = chars[at..end].iter().collect();
                let digits = format!("{sign}{digits}");
                let units = match units_after(&chars[end..]) {
                    0 => units_before(&chars[..at]),
                    units => units,
                };
                let key = number_key(&digits, 1.0);
                quantities.0.entry(key).or_default().push(units);
            }
            at = end;
        }
        quantities
    }

    /// Those of two texts.
    pub fn joined(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        for (key, units) in &other.0 {
            joined.0.entry(key.clone()).or_default().extend(units);
        }
        joined
    }

    /// Whether the number `key` counts something here that it counts nowhere in `source`, where all that it counts is known.
    pub fn is_other_in(&self, source: &Self, key: &str) -> bool {
        let (Some(said), Some(there)) = (self.0.get(key), source.0.get(key)) else {
            return false;
        };
        if there.contains(&0) {
            return false;
        }
        let is_there = |units: &Units| there.iter().any(|known| known & units != 0);
        said.iter().any(|units| *units != 0 && !is_there(units))
    }
}

/// Where the digits that begin at `at` end, with their separators.
fn end_of_number(chars: &[char], at: usize) -> usize {
    let is_digit = |i: usize| chars.get(i).is_some_and(char::is_ascii_digit);
    let mut end = at;
    while is_digit(end) || (matches!(chars.get(end), Some('.' | ',' | '\'')) && is_digit(end + 1)) {
        end += 1;
    }
    end
}

/// Whether the digits at `at` belong to a name such as `AX-24`.
fn is_part_of_name(chars: &[char], at: usize) -> bool {
    let before = &chars[..at];
    let before = before.strip_suffix(&['-']).unwrap_or(before);
    before.last().is_some_and(|c| c.is_alphabetic())
}

/// The units that stand behind a number. What is attached and unknown, such as the "th" of "24th", is passed over.
fn units_after(rest: &[char]) -> Units {
    let mut at = 0;
    let mut words = 0;
    while words < WORDS_TO_UNIT {
        let is_gap = |c: &&char| matches!(c, ' ' | '\u{a0}' | '-') || (words == 0 && **c == '.');
        let gap = rest[at..].iter().take_while(is_gap).count();
        let word = word_at(&rest[at + gap..]);
        let units = units::of(&word);
        if units != 0 || word.is_empty() {
            return units;
        }
        let is_attached = at + gap == 0;
        words += usize::from(!is_attached);
        at += gap + word.chars().count();
    }
    0
}

/// The currency or month that stands before a number: "EUR 24", "December 24".
fn units_before(before: &[char]) -> Units {
    let gap = |c: &&char| matches!(c, ' ' | '\u{a0}');
    let spaces = before.iter().rev().take_while(gap).count();
    let before = &before[..before.len() - spaces];
    let is_sign = |c: &&char| c.is_alphabetic() || is_currency_sign(**c);
    let length = before.iter().rev().take_while(is_sign).count();
    let word: String = before[before.len() - length..].iter().collect();
    let units = units::of(&word);
    units & units::before_numbers()
}

/// The word or sign that a text begins with: "days", "%", "km/h", "m2", "°c".
fn word_at(text: &[char]) -> String {
    let is_part = |i: usize, c: char| {
        c.is_alphabetic()
            || unicode_normalization::char::is_combining_mark(c)
            || is_currency_sign(c)
            || matches!(c, '%' | '‰' | '°')
            || (matches!(c, '/' | '\'')
                && i > 0
                && text.get(i + 1).is_some_and(|n| n.is_alphabetic()))
            || (matches!(c, '2' | '3') && i > 0 && text[i - 1].is_alphabetic())
    };
    let mut length = 0;
    while length < text.len() && is_part(length, text[length]) {
        length += 1;
    }
    text[..length].iter().collect()
}

fn is_currency_sign(c: char) -> bool {
    matches!(c, '$' | '£' | '¥' | '\u{20a0}'..='\u{20cf}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_another_quantity_where_both_units_are_known_and_differ() {
        // Statement, source, its number, whether it is another one.
        let cases = [
            ("24 days", "between 24 December and 1 January", "24", true),
            ("24 days", "on December 24", "24", true),
            ("24 days", "on the 24th of December", "24", true),
            ("24 Tage", "vom 24. Dezember bis 1. Januar", "24", true),
            ("24 jours", "le 24 décembre", "24", true),
            ("24 días", "el 24 de diciembre", "24", true),
            ("24 дня", "24 декабря", "24", true),
            ("24 December", "on 24 Dec. 2026", "24", false),
            ("24 Dezember", "24 December", "24", false),
            ("on the 24th", "24 December", "24", false),
            ("from 24 to 26 December", "24 December", "24", false),
            ("24 people", "24 December", "24", false),
            ("24 days", "24 people", "24", false),
            ("24 days", "days: 24", "24", false),
            ("30 hours", "within 30 calendar days", "30", true),
            ("30 days", "within 30 calendar days", "30", false),
            ("a 30-day period", "30 days", "30", false),
            ("a 30-day period", "30 minutes", "30", true),
            ("30 Stunden", "30 hours", "30", false),
            ("30 h", "30 hours", "30", false),
            ("30 h", "30 minutes", "30", true),
            ("5 km", "5 kilometres", "5", false),
            ("5 km", "5 kg", "5", true),
            ("5 m", "5 metres", "5", false),
            ("5 percent", "5 %", "5", false),
            ("5 EUR", "5%", "5", true),
            ("24 euros", "€24", "24", false),
            ("24 euros", "EUR 24", "24", false),
            ("24 dollars", "EUR 24", "24", true),
            ("$24", "24 US dollars", "24", false),
            ("24 pounds", "£24", "24", false),
            ("1,500 kg", "1,500 t and 1,500 kg", "1500", false),
            ("20 °C", "20 °F", "20", true),
            ("20 °C", "20°C", "20", false),
            ("20 degrees", "20 °C", "20", false),
            ("50 km/h", "50 kg", "50", true),
            ("50 km/h", "50 kilometres per hour", "50", false),
            ("type AX-24 days", "24 December", "24", false),
        ];
        for (said, source, number, want) in cases {
            let key = number_key(number, 1.0);
            let is_other = Quantities::of(said).is_other_in(&Quantities::of(source), &key);
            assert_eq!(is_other, want, "{said} against {source}");
        }
    }
}
