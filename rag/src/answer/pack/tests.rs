//! Packing of passages under a token budget.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};

use super::*;
use crate::access::CollectionId;
use crate::document::BlockKind;
use crate::records::{DocumentInfo, DocumentState};

/// Documents by id: (page, heading, text) of each block.
type Blocks = &'static [(u32, &'static str, &'static str)];

const MANUAL: Blocks = &[
    (
        1,
        "Pump",
        "The pump moves water from the well to the tank on the roof.",
    ),
    (1, "Pump", "It is switched off at night."),
    (
        2,
        "Pump",
        "Its pressure is 15 bar and must never be raised above 18 bar.",
    ),
    (
        2,
        "Filter",
        "The filter is cleaned every 30 days with warm water and a soft brush.",
    ),
];
const COPY: Blocks = &[(
    1,
    "Pump",
    "The pump moves water from the well to the tank on the roof!",
)];
const NOTES: Blocks = &[(
    1,
    "",
    "Ann orders new filters in May. Bob fits them in June. Carl pays in July.",
)];

fn record(id: i64, blocks: Blocks) -> DocumentRecord {
    let mut text = String::new();
    let mut stored = Vec::new();
    for (page, heading, block) in blocks {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        let start = text.chars().count();
        text.push_str(block);
        let heading = if heading.is_empty() {
            Vec::new()
        } else {
            vec![(*heading).to_owned()]
        };
        stored.push(StoredBlock {
            kind: BlockKind::Paragraph,
            page: Some(*page),
            heading,
            level: 0,
            start,
            end: text.chars().count(),
        });
    }
    let info = DocumentInfo {
        id: DocumentId(id),
        collection: CollectionId(1),
        path: format!("{id}.md"),
        title: format!("Doc {id}"),
        state: DocumentState::Indexed,
        reason: None,
        pages: None,
        passages: blocks.len(),
        bytes: 0,
        updated_at: 0,
    };
    DocumentRecord {
        info,
        text,
        blocks: stored,
    }
}

/// A hit on block `block` of document `id`.
fn hit(documents: &BTreeMap<i64, Blocks>, id: i64, block: usize) -> Hit {
    let record = record(id, documents.get(&id).copied().unwrap_or(NOTES));
    let stored = &record.blocks[block];
    Hit {
        collection: CollectionId(1),
        document: DocumentId(id),
        path: record.info.path,
        title: record.info.title,
        page: stored.page,
        heading: stored.heading.clone(),
        start: stored.start,
        end: stored.end,
        text: record
            .text
            .chars()
            .skip(stored.start)
            .take(stored.end - stored.start)
            .collect(),
        passage_index: block as u32,
        score: 1.0,
        dense: None,
        bm25: None,
    }
}

/// Packs hits (document, block) with words as tokens and shows the windows; checks the invariants.
fn check(hits: &[(i64, usize)], budget: ContextBudget, expect: Expect) {
    let documents = BTreeMap::from([(1, MANUAL), (2, COPY), (3, NOTES)]);
    let hits: Vec<Hit> = hits
        .iter()
        .map(|&(id, block)| hit(&documents, id, block))
        .collect();
    let count = |text: &str| text.split_whitespace().count();
    let mut read = |id: DocumentId| Ok(documents.get(&id.0).map(|blocks| record(id.0, blocks)));
    let mut packer = Packer {
        budget: &budget,
        count_tokens: &count,
        documents: HashMap::new(),
        windows: Vec::new(),
        tokens: 0,
    };
    packer.choose(&hits, &mut read).unwrap();
    packer.widen();
    let context = packer.finish();
    let mut tokens = 0;
    for (i, passage) in context.iter().enumerate() {
        let record = record(passage.hit.document.0, documents[&passage.hit.document.0]);
        let verbatim: String = record
            .text
            .chars()
            .skip(passage.start)
            .take(passage.end - passage.start)
            .collect();
        assert_eq!(passage.text, verbatim);
        assert_eq!(passage.n, i + 1);
        tokens += count(&format!(
            "{}\n{}",
            passage_header(1, &passage.hit),
            passage.text
        ));
        for other in &context[..i] {
            let apart = other.hit.document != passage.hit.document
                || other.end <= passage.start
                || passage.end <= other.start;
            assert!(apart, "windows of one document do not overlap");
        }
    }
    assert!(tokens <= budget.max_tokens, "{tokens} tokens");
    let shown: Vec<String> = context
        .iter()
        .map(|p| {
            format!(
                "{} doc {} pages {:?}: {}",
                p.n,
                p.hit.document.0,
                p.pages,
                p.text.replace("\n\n", " ¶ ")
            )
        })
        .collect();
    expect.assert_eq(&shown.join("\n"));
}

fn budget(max_tokens: usize, max_passages: usize) -> ContextBudget {
    ContextBudget {
        max_tokens,
        max_passages,
    }
}

#[test]
fn a_short_window_grows_over_its_section_while_the_budget_lasts() {
    check(
        &[(1, 1)],
        budget(100, 4),
        expect![
            "1 doc 1 pages [(0, 1), (91, 2)]: The pump moves water from the well to the tank on the roof. ¶ It is switched off at night. ¶ Its pressure is 15 bar and must never be raised above 18 bar."
        ],
    );
    check(
        &[(1, 1)],
        budget(28, 4),
        expect![
            "1 doc 1 pages [(61, 1), (91, 2)]: It is switched off at night. ¶ Its pressure is 15 bar and must never be raised above 18 bar."
        ],
    );
    check(
        &[(1, 1)],
        budget(12, 4),
        expect!["1 doc 1 pages [(61, 1)]: It is switched off at night."],
    );
}

#[test]
fn hits_that_touch_become_one_window() {
    check(
        &[(1, 0), (3, 0), (1, 1)],
        budget(60, 4),
        expect![[r#"
        1 doc 1 pages [(0, 1), (91, 2)]: The pump moves water from the well to the tank on the roof. ¶ It is switched off at night. ¶ Its pressure is 15 bar and must never be raised above 18 bar.
        2 doc 3 pages [(0, 1)]: Ann orders new filters in May. Bob fits them in June. Carl pays in July."#]],
    );
}

#[test]
fn near_duplicates_and_vanished_documents_are_left_out() {
    check(
        &[(1, 0), (2, 0), (9, 0), (3, 0)],
        budget(40, 4),
        expect![[r#"
        1 doc 1 pages [(0, 1)]: The pump moves water from the well to the tank on the roof.
        2 doc 3 pages [(0, 1)]: Ann orders new filters in May. Bob fits them in June. Carl pays in July."#]],
    );
}

#[test]
fn the_budget_limits_tokens_and_passages() {
    check(
        &[(1, 0), (1, 3), (3, 0)],
        budget(45, 4),
        expect![[r#"
        1 doc 1 pages [(0, 1)]: The pump moves water from the well to the tank on the roof. ¶ It is switched off at night.
        2 doc 1 pages [(154, 2)]: The filter is cleaned every 30 days with warm water and a soft brush."#]],
    );
    check(
        &[(1, 0), (1, 3), (3, 0)],
        budget(200, 2),
        expect![[r#"
        1 doc 1 pages [(0, 1), (91, 2)]: The pump moves water from the well to the tank on the roof. ¶ It is switched off at night. ¶ Its pressure is 15 bar and must never be raised above 18 bar.
        2 doc 1 pages [(154, 2)]: The filter is cleaned every 30 days with warm water and a soft brush."#]],
    );
    check(
        &[(1, 0), (3, 0)],
        budget(16, 4),
        expect!["1 doc 3 pages [(0, 1)]: Ann orders new filters in May. Bob fits them in June."],
    );
}

#[test]
fn a_passage_above_the_whole_budget_is_cut_at_a_sentence() {
    check(
        &[(3, 0)],
        budget(14, 4),
        expect!["1 doc 3 pages [(0, 1)]: Ann orders new filters in May. Bob fits them in June."],
    );
    check(&[(3, 0)], budget(5, 4), expect![[r#""#]]);
}
