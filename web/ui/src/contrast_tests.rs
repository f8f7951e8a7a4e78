//! The style sheet's colours: both dark themes are the same, and text keeps a contrast of 4.5 (WCAG 2.2, 1.4.3).

use std::collections::BTreeMap;

const TOKENS: &str = include_str!("../style/00-tokens.css");

/// Text that stands on any of the page's grounds.
const TEXTS: [&str; 5] = ["ink", "ink-soft", "ink-faint", "accent", "danger"];
const GROUNDS: [&str; 4] = ["paper", "surface", "surface-sunken", "surface-hover"];
/// Other pairs of text and ground.
const PAIRS: [(&str, &str); 14] = [
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("accent-strong", "accent-soft"),
    ("ink", "accent-soft"),
    ("ink-faint", "accent-soft"),
    ("danger", "accent-soft"),
    ("danger", "danger-soft"),
    ("surface", "danger"),
    ("warning", "warning-soft"),
    ("warning", "surface"),
    ("warning", "paper"),
    ("ink", "warning-soft"),
    ("ink-soft", "warning-soft"),
    ("on-mark", "mark"),
];
/// Borders of fields need less (1.4.11).
const BORDERS: [(&str, &str); 2] = [("line-strong", "surface"), ("line-strong", "paper")];

type Theme = BTreeMap<String, String>;

/// The `--name: #rrggbb` of the rule that begins with `selector`.
fn theme(selector: &str) -> Theme {
    let rule = TOKENS.split_once(selector).unwrap().1;
    let body = rule.split_once('{').unwrap().1.split_once('}').unwrap().0;
    body.lines()
        .filter_map(|line| line.trim().strip_prefix("--")?.split_once(": #"))
        .map(|(name, colour)| (name.to_owned(), colour.trim_end_matches(';').to_owned()))
        .collect()
}

fn luminance(colour: &str) -> f64 {
    let channel = |at: usize| {
        let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
        if value <= 0.03928 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    };
    0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
}

fn contrast(theme: &Theme, one: &str, other: &str) -> f64 {
    let (one, other) = (luminance(&theme[one]), luminance(&theme[other]));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn text_can_be_read_in_both_themes() {
    for selector in [":root {", ":root[data-theme=\"dark\"] {"] {
        let theme = theme(selector.trim_end_matches('{'));
        let everywhere = TEXTS
            .iter()
            .flat_map(|text| GROUNDS.iter().map(move |ground| (*text, *ground)));
        for (text, ground) in everywhere.chain(PAIRS) {
            let found = contrast(&theme, text, ground);
            assert!(found >= 4.5, "{selector} {text} on {ground}: {found:.2}");
        }
        for (border, ground) in BORDERS {
            let found = contrast(&theme, border, ground);
            assert!(found >= 3.0, "{selector} {border} on {ground}: {found:.2}");
        }
    }
}

#[test]
fn the_chosen_dark_theme_equals_the_systems() {
    let chosen = theme(":root[data-theme=\"dark\"] ");
    let system = theme(":root:not([data-theme=\"light\"]) ");
    assert!(chosen.len() > 15, "{chosen:?}");
    assert_eq!(chosen, system);
}
