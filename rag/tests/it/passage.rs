//! Passages: invariants on random documents, and what they look like on a small one.

use proptest::prelude::*;
use rag::{Block, BlockKind, DocumentText, Extracted, Passage, PassageLimits, split_passages};

/// A stand-in for the embedder's tokenizer: long words are several pieces, other scripts one a character.
fn count_tokens(text: &str) -> usize {
    text.split_whitespace()
        .map(|word| {
            let wide = word.chars().filter(|c| !c.is_ascii()).count();
            wide + (word.chars().count() - wide).div_ceil(6)
        })
        .sum()
}

fn block(kind: BlockKind, text: &str, page: u32, heading: &[&str]) -> Block {
    let level = if kind == BlockKind::Heading {
        u8::try_from(heading.len()).unwrap() + 1
    } else {
        0
    };
    Block {
        kind,
        text: text.into(),
        page: Some(page),
        page_label: None,
        heading: heading.iter().map(|h| (*h).to_owned()).collect(),
        level,
    }
}

fn split(extracted: &Extracted, limits: &PassageLimits) -> (DocumentText, Vec<Passage>) {
    let text = DocumentText::build(extracted);
    let passages = split_passages(extracted, &text, &count_tokens, limits);
    check_invariants(extracted, &text, &passages, limits);
    (text, passages)
}

fn check_invariants(
    extracted: &Extracted,
    text: &DocumentText,
    passages: &[Passage],
    limits: &PassageLimits,
) {
    let budget = (limits.max_tokens as f32 * limits.header_max_fraction) as usize;
    let mut end = 0;
    for (passage, index) in passages.iter().zip(0..) {
        assert_eq!(passage.index, index);
        assert!(
            passage.start >= end && passage.start < passage.end && passage.end <= text.len_chars()
        );
        end = passage.end;
        assert_eq!(text.slice(passage.start, passage.end), passage.text);
        assert_eq!(passage.text.trim(), passage.text);
        // A single character may be more than the limit allows; nothing else may.
        assert!(
            count_tokens(&passage.text) <= limits.max_tokens || passage.end - passage.start < 2,
            "{passage:?}"
        );
        assert!(count_tokens(&passage.header) <= budget, "{passage:?}");
        let first = text.blocks_in(&(passage.start..passage.start + 1)).start;
        assert_eq!(passage.page, extracted.blocks[first].page);
        for block_idx in text.blocks_in(&(passage.start..passage.end)) {
            assert_eq!(extracted.blocks[block_idx].heading, passage.heading);
        }
    }
    let covered = |at: usize| passages.iter().any(|p| (p.start..p.end).contains(&at));
    for (block, span) in extracted.blocks.iter().zip(&text.spans) {
        if !block.kind.is_heading() {
            for (offset, c) in block.text.chars().enumerate() {
                assert!(
                    c.is_whitespace() || covered(span.start + offset),
                    "{c:?} of {block:?} is in no passage"
                );
            }
        }
    }
}

/// Random text: sentences, words without spaces, scripts of several bytes.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "([A-Z][a-z]{1,8}( [a-z0-9]{1,12}){0,20}[.!?] ?){1,30}".prop_map(|s| s.trim().to_owned()),
        1 => "[a-z]{200,2000}",
        1 => "[一-龥。]{1,400}",
        1 => "\\PC{1,80}",
    ]
    .prop_filter("blocks have text", |text| !text.trim().is_empty())
}

fn any_table() -> impl Strategy<Value = String> {
    (1usize..5, 0usize..40, "[a-z ]{1,30}").prop_map(|(columns, rows, cell)| {
        let row = |n: usize| format!("| {} |", vec![format!("{cell}{n}"); columns].join(" | "));
        let mut lines = vec![row(0), format!("|{}", " - |".repeat(columns))];
        lines.extend((1..=rows).map(row));
        lines.join("\n")
    })
}

fn any_document() -> impl Strategy<Value = Extracted> {
    let piece = prop_oneof![
        2 => ("[A-Z][a-z ]{2,200}", 1u8..4).prop_map(|(text, level)| (BlockKind::Heading, text.trim().to_owned(), level)),
        6 => any_text().prop_map(|text| (BlockKind::Paragraph, text, 0)),
        2 => any_text().prop_map(|text| (BlockKind::ListItem, format!("- {text}"), 0)),
        1 => any_table().prop_map(|text| (BlockKind::Table, text, 0)),
        1 => "([a-z(){};=]{1,20}\n){1,60}[a-z]".prop_map(|text| (BlockKind::Code, text, 0)),
    ];
    (
        proptest::option::of("[A-Z][a-z ]{3,60}"),
        prop::collection::vec((piece, 0u32..2), 1..25),
    )
        .prop_map(|(title, pieces)| {
            let mut open: Vec<(u8, String)> = Vec::new();
            let mut page = 1;
            let mut blocks = Vec::new();
            for ((kind, text, level), turns) in pieces {
                page += turns;
                if kind == BlockKind::Heading {
                    open.retain(|(above, _)| *above < level);
                }
                let heading = open.iter().map(|(_, text)| text.clone()).collect();
                if kind == BlockKind::Heading {
                    open.push((level, text.clone()));
                }
                blocks.push(Block {
                    kind,
                    text,
                    page: Some(page),
                    page_label: None,
                    heading,
                    level,
                });
            }
            Extracted {
                title,
                pages: Some(page),
                blocks,
                warnings: vec![],
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn passages_cover_the_text_exactly_and_within_their_limits(
        document in any_document(),
        max_tokens in 20usize..220,
        share in 0.0f32..0.5,
    ) {
        let limits = PassageLimits { max_tokens, min_tokens: max_tokens * 3 / 10, header_max_fraction: share };
        split(&document, &limits);
    }
}

#[test]
fn short_paragraphs_stay_together_and_sections_apart() {
    let sentence = "Twenty words make a paragraph that is short enough to be kept with the one that follows it here.";
    let extracted = Extracted {
        title: Some("Manual".into()),
        pages: Some(2),
        blocks: vec![
            block(BlockKind::Heading, "Safety", 1, &[]),
            block(BlockKind::Paragraph, sentence, 1, &["Safety"]),
            block(BlockKind::Paragraph, sentence, 1, &["Safety"]),
            block(BlockKind::Heading, "Use", 2, &[]),
            block(BlockKind::Heading, "Daily", 2, &["Use"]),
            block(BlockKind::ListItem, "- one", 2, &["Use", "Daily"]),
            block(BlockKind::Heading, "Index", 2, &[]),
        ],
        warnings: vec![],
    };
    let (_, passages) = split(&extracted, &PassageLimits::default());
    let got: Vec<(&str, Option<u32>, usize)> = passages
        .iter()
        .map(|p| (p.header.as_str(), p.page, p.text.lines().count()))
        .collect();
    // The last heading has nothing below it and is text itself.
    assert_eq!(
        got,
        [
            ("Manual > Safety", Some(1), 3),
            ("Manual > Use > Daily", Some(2), 1),
            ("Manual", Some(2), 1)
        ]
    );
    assert_eq!(passages[2].text, "Index");
}

#[test]
fn a_long_table_is_split_by_rows_and_its_header_row_is_repeated() {
    let rows: Vec<String> = (0..60)
        .map(|n| format!("| item {n} | costs {n} | remark about it |"))
        .collect();
    let table = format!(
        "| Name | Price | Note |\n| - | - | - |\n{}",
        rows.join("\n")
    );
    let extracted = Extracted {
        title: Some("Prices".into()),
        pages: Some(1),
        blocks: vec![block(BlockKind::Table, &table, 1, &[])],
        warnings: vec![],
    };
    let (_, passages) = split(&extracted, &PassageLimits::default());
    assert!(passages.len() > 2);
    assert_eq!(passages[0].header, "Prices");
    for passage in &passages[1..] {
        assert_eq!(passage.header, "Prices\n| Name | Price | Note |");
        assert!(
            passage
                .text
                .lines()
                .all(|line| line.starts_with("| item") && line.ends_with('|'))
        );
    }
}

#[test]
fn long_paths_lose_their_middle_first() {
    let long = "a heading of quite some length that goes on";
    let extracted = Extracted {
        title: Some("Title".into()),
        pages: None,
        blocks: vec![block(
            BlockKind::Paragraph,
            "Text.",
            1,
            &["First part", long, "between", long, "Last part"],
        )],
        warnings: vec![],
    };
    let (_, passages) = split(
        &extracted,
        &PassageLimits {
            max_tokens: 40,
            ..PassageLimits::default()
        },
    );
    assert_eq!(passages[0].header, "Title > Last part");
    assert_eq!(passages[0].heading.len(), 5);
}

#[test]
fn the_work_grows_with_the_document_and_not_with_its_title_or_head_row() {
    let words = "word ".repeat(20_000);
    let table = format!(
        "| {words} | b |\n| --- | --- |\n{}",
        "| cell | other |\n".repeat(2_000)
    );
    let extracted = Extracted {
        title: Some(words.clone()),
        pages: None,
        blocks: vec![
            block(BlockKind::Paragraph, &words.repeat(10), 1, &["One"]),
            block(BlockKind::Code, &"x".repeat(1_000_000), 1, &["Two"]),
            block(BlockKind::Table, &table, 1, &["Three"]),
        ],
        warnings: vec![],
    };
    let text = DocumentText::build(&extracted);
    let counted = std::cell::Cell::new(0);
    let count = |text: &str| {
        counted.set(counted.get() + text.len());
        count_tokens(text)
    };
    let limits = PassageLimits::default();
    let passages = split_passages(&extracted, &text, &count, &limits);
    check_invariants(&extracted, &text, &passages, &limits);
    let share = counted.get() / text.text.len();
    assert!(share <= 6, "counted {share} times its length");
}
