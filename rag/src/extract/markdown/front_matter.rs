//! Front matter: the facts about a document that stand before its text, as YAML between lines of `---` or as TOML
//! between lines of `+++`. Owner, dates and status are what people ask for, so all of it is kept as it is
//! written, nested keys too; the values are not interpreted.

use crate::extract::clean::clean_lines;

/// What the front matter says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct FrontMatter {
    pub(super) title: Option<String>,
    /// All lines but the title's, comments left out.
    pub(super) facts: String,
}

/// Takes the front matter from the text; what comes after it.
pub(super) fn split(text: &str) -> (FrontMatter, &str) {
    let Some((inner, rest, separator)) = fenced(text) else {
        return (FrontMatter::default(), text);
    };
    let mut matter = FrontMatter::default();
    let mut facts = String::new();
    let mut lines = inner.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with('#') {
            continue;
        }
        let title = line
            .split_once(separator)
            .filter(|(key, _)| key.trim_end() == "title" && matter.title.is_none());
        let Some((_, title)) = title else {
            facts.push_str(&unquoted(line, separator));
            facts.push('\n');
            continue;
        };
        let mut title = without_quotes(title.trim()).to_owned();
        // A title of several lines, or one that begins on the next.
        if title.is_empty() || title.starts_with(['>', '|']) {
            title.clear();
            while let Some(more) = lines.next_if(|line| line.starts_with([' ', '\t'])) {
                title.push_str(more.trim());
                title.push(' ');
            }
        }
        matter.title = Some(title.trim().to_owned()).filter(|title| !title.is_empty());
    }
    matter.facts = clean_lines(&facts);
    (matter, rest)
}

/// The lines between the fences, the text after them, and what stands between key and value.
fn fenced(text: &str) -> Option<(&str, &str, char)> {
    let (first, after) = text.split_once('\n')?;
    let (separator, ends): (char, &[&str]) = match first.trim_end() {
        "---" => (':', &["---", "..."]),
        "+++" => ('=', &["+++"]),
        _ => return None,
    };
    let mut at = 0;
    for line in after.split_inclusive('\n') {
        if ends.contains(&line.trim_end()) {
            let inner = &after[..at];
            let begins_with_key = inner
                .lines()
                .map(str::trim)
                .find(|line| !line.is_empty() && !line.starts_with('#'))
                .is_none_or(|line| line.contains(separator) || line.starts_with('['));
            return begins_with_key.then(|| (inner, &after[at + line.len()..], separator));
        }
        at += line.len();
    }
    None
}

/// The line without the quotes around a whole value.
fn unquoted(line: &str, separator: char) -> String {
    match line.split_once(separator) {
        Some((key, value)) if without_quotes(value.trim()) != value.trim() => {
            format!("{key}{separator} {}", without_quotes(value.trim()))
        }
        _ => line.to_owned(),
    }
}

fn without_quotes(value: &str) -> &str {
    ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
        .filter(|inner| !inner.contains(['"', '\'']))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_facts_are_kept() {
        let (matter, rest) = split(
            "---\r\ntitle: \"Key policy\"\r\n# a comment\r\nowner: 'Facility Team'\r\nreview:\r\n  by: Ines\r\n  on: 2026-02-11\r\ntags: [keys, doors]\r\n---\r\n\r\n# Keys\r\n",
        );
        assert_eq!(matter.title.as_deref(), Some("Key policy"));
        assert_eq!(
            matter.facts,
            "owner: Facility Team\nreview:\n  by: Ines\n  on: 2026-02-11\ntags: [keys, doors]"
        );
        assert_eq!(rest, "\r\n# Keys\r\n");
    }

    #[test]
    fn titles_of_each_form_are_found() {
        for (text, title) in [
            ("+++\ntitle = \"A\"\n[extra]\nx = 1\n+++\nText", "A"),
            (
                "---\ntitle: >-\n  A long\n  one\nx: 1\n...\nText",
                "A long one",
            ),
            ("---\n\ntitle: It's\n---\nText", "It's"),
        ] {
            let (matter, rest) = split(text);
            assert_eq!(matter.title.as_deref(), Some(title));
            assert_eq!(rest, "Text");
        }
    }

    #[test]
    fn rules_and_open_fences_are_text() {
        for text in [
            "---\nProse between rules.\n---\nText",
            "---\ntitle: x\n",
            "Text\n---\na: b\n---\n",
        ] {
            assert_eq!(split(text), (FrontMatter::default(), text));
        }
    }
}
