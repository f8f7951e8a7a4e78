//! Documents on which some reader once lost text, invented some, or told the opposite: `tests/data/faults/*.json`.
//!
//! Each case names a file and what must hold of its extraction:
//! - `has`, `hasnt`: texts that must, must not be in title and blocks (runs of white space count as one blank);
//! - `any`: groups of texts of which one must be there, in the blocks, the warnings or the error;
//! - `unless_absent`: beside `any`; leaving all of these texts out is right too;
//! - `count`: text -> how many times; `rows`: `[pattern, first, last]`, each as a whole word;
//! - `warn`: a part of a warning or of the error; `json_title`, `json_headings`; `blocks_once`: a sentence in one block;
//! - `json_page`: `[text, page]`, the page or its label on which the blocks with that text begin;
//! - `exception`: why the case does not hold; the test fails once it does, so that the exception goes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rag::document::{BlockKind, Extracted};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    happened: String,
    kind: String,
    file: String,
    #[serde(default)]
    has: Vec<String>,
    #[serde(default)]
    hasnt: Vec<String>,
    #[serde(default)]
    any: Vec<Vec<String>>,
    unless_absent: Option<Vec<String>>,
    #[serde(default)]
    count: BTreeMap<String, usize>,
    rows: Option<(String, usize, usize)>,
    warn: Option<String>,
    json_title: Option<String>,
    json_headings: Option<Vec<String>>,
    blocks_once: Option<String>,
    json_page: Option<(String, String)>,
    exception: Option<String>,
    #[serde(default, rename = "note")]
    _note: String,
}

/// What a reader made of a file, as the conditions of a case look at it.
struct Outcome {
    extracted: Extracted,
    /// Title and blocks, and the same with runs of white space as one blank.
    whole: String,
    text: String,
    /// Warnings and error.
    told: String,
}

fn normalized(text: &str) -> String {
    let mut out = String::new();
    let mut blank = false;
    for c in text.chars() {
        if !c.is_whitespace() {
            out.push(c);
        } else if !blank {
            out.push(' ');
        }
        blank = c.is_whitespace();
    }
    out
}

fn outcome_of(path: &Path) -> Outcome {
    let (extracted, error) = match rag::extract::extract_file(path) {
        Ok(extracted) => (extracted, String::new()),
        Err(error) => (Extracted::default(), error.to_string()),
    };
    let blocks: Vec<&str> = extracted
        .blocks
        .iter()
        .map(|block| block.text.as_str())
        .collect();
    let whole = format!(
        "{}\n{}",
        extracted.title.as_deref().unwrap_or(""),
        blocks.join("\n\n")
    );
    let told = format!("{} {error}", extracted.warnings.join(" "));
    Outcome {
        text: normalized(&whole),
        whole,
        told,
        extracted,
    }
}

fn contains_word(text: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].chars().next_back().is_some_and(is_word)
            && !text[at + word.len()..].chars().next().is_some_and(is_word)
    })
}

fn problems_of(case: &Case, outcome: &Outcome) -> Vec<String> {
    let mut problems = Vec::new();
    let Outcome {
        extracted,
        whole,
        text,
        told,
    } = outcome;
    let everything = format!("{text} {told}").to_lowercase();
    for wanted in &case.has {
        if !text.contains(&normalized(wanted)) && !whole.contains(wanted.as_str()) {
            problems.push(format!("missing «{wanted}»"));
        }
    }
    for unwanted in &case.hasnt {
        if text.contains(&normalized(unwanted)) {
            problems.push(format!("unwanted «{unwanted}»"));
        }
    }
    let all_absent = case
        .unless_absent
        .as_ref()
        .is_some_and(|absent| !absent.iter().any(|part| text.contains(&normalized(part))));
    for group in &case.any {
        if !all_absent
            && !group
                .iter()
                .any(|part| everything.contains(&normalized(part).to_lowercase()))
        {
            problems.push(format!("none of {group:?}"));
        }
    }
    for (part, times) in &case.count {
        let got = text.matches(&normalized(part)).count();
        if got != *times {
            problems.push(format!("«{part}» {got} times, not {times}"));
        }
    }
    if let Some(warning) = &case.warn
        && !told.to_lowercase().contains(&warning.to_lowercase())
    {
        problems.push(format!("no warning with «{warning}»"));
    }
    problems.extend(problems_of_rows(case, text));
    problems.extend(problems_of_structure(case, extracted));
    problems
}

fn problems_of_rows(case: &Case, text: &str) -> Option<String> {
    let (pattern, first, last) = case.rows.as_ref()?;
    let lost: Vec<String> = (*first..=*last)
        .map(|number| pattern.replace("%d", &number.to_string()))
        .filter(|row| !contains_word(text, row))
        .collect();
    (!lost.is_empty()).then(|| format!("{} rows lost: {lost:?}", lost.len()))
}

fn problems_of_structure(case: &Case, extracted: &Extracted) -> Vec<String> {
    let mut problems = Vec::new();
    if case.json_title.is_some() && extracted.title != case.json_title {
        problems.push(format!("title {:?}", extracted.title));
    }
    if let Some(wanted) = &case.json_headings {
        let got: Vec<&String> = extracted
            .blocks
            .iter()
            .filter(|block| matches!(block.kind, BlockKind::Title | BlockKind::Heading))
            .map(|block| &block.text)
            .collect();
        if got != wanted.iter().collect::<Vec<_>>() {
            problems.push(format!("headings {got:?}"));
        }
    }
    if let Some(sentence) = &case.blocks_once
        && !extracted
            .blocks
            .iter()
            .any(|block| normalized(&block.text).contains(&normalized(sentence)))
    {
        problems.push("the sentence is cut in two".into());
    }
    if let Some((part, page)) = &case.json_page {
        let got: Vec<String> = extracted
            .blocks
            .iter()
            .filter(|block| block.text.contains(part.as_str()))
            .map(|block| {
                let page = || block.page.map_or_else(String::new, |page| page.to_string());
                block.page_label.clone().unwrap_or_else(page)
            })
            .collect();
        if got != [page.clone()] {
            problems.push(format!("page {got:?}, not {page}"));
        }
    }
    problems
}

/// Checks the cases whose file lies in `inputs/FOLDER` of every case list.
#[track_caller]
fn check(folder: &str) {
    let data = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/faults"));
    let mut checked = 0;
    let mut failed = Vec::new();
    for list in std::fs::read_dir(&data).unwrap() {
        let list = list.unwrap().path();
        if list.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(&list).unwrap()).unwrap();
        for case in cases
            .iter()
            .filter(|case| case.file.starts_with(&format!("inputs/{folder}/")))
        {
            checked += 1;
            let problems = problems_of(case, &outcome_of(&data.join(&case.file)));
            if let Some(exception) = &case.exception {
                if problems.is_empty() {
                    failed.push(format!(
                        "{} holds, without its exception: {exception}",
                        case.id
                    ));
                }
            } else if !problems.is_empty() {
                failed.push(format!(
                    "{} {} ({}): {}",
                    case.id,
                    case.kind,
                    case.happened,
                    problems.join("; ")
                ));
            }
        }
    }
    assert!(checked > 0, "no case in {folder}");
    assert!(
        failed.is_empty(),
        "{} of {checked} failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

#[test]
fn docx_cases_hold() {
    check("docx");
}

#[test]
fn html_cases_hold() {
    check("html");
}

#[test]
fn markdown_cases_hold() {
    check("md");
}

#[test]
fn pdf_cases_hold() {
    check("pdf");
}

#[test]
fn text_cases_hold() {
    check("txt");
}
