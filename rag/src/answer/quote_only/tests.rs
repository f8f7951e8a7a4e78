//! Quote-only answers: which sentences are chosen, in what order.

use expect_test::{Expect, expect};

use super::*;
use crate::answer::tests::context;
use crate::answer::wording::on_one_line;

fn check(question: &str, passages: &[(&str, &str)], expect: Expect) {
    let answer = quote_only(question, &context(passages));
    let mut shown = answer.text.clone();
    for citation in &answer.citations {
        let (_, text) = passages[citation.document.0 as usize - 1];
        let quote: String = text
            .chars()
            .skip(citation.start - 100)
            .take(citation.end - citation.start)
            .collect();
        assert_eq!(citation.quote, quote, "verbatim");
        assert!(
            answer
                .text
                .contains(&format!("{} [{}]", on_one_line(&quote), citation.n))
        );
        shown.push_str(&format!("\n  [{}] {}", citation.n, citation.title));
    }
    if answer.refused {
        shown.push_str("\n  refused");
    }
    expect.assert_eq(&shown);
}

const POLICY: (&str, &str) = (
    "Travel",
    "Travel policy. Trips below 500 km are made by\ntrain. A hotel may cost 190 euros per night in Paris. A hotel elsewhere may cost less. Ann approves hotels.",
);
const CANTEEN: (&str, &str) = (
    "Canteen",
    "The canteen opens at 11:30. Lunch costs 6 euros.",
);

#[test]
fn the_best_sentence_is_quoted_verbatim() {
    check(
        "How much may a hotel cost per night in Paris?",
        &[CANTEEN, POLICY],
        expect![[r#"
        A hotel may cost 190 euros per night in Paris. [1]
          [1] Travel"#]],
    );
    check(
        "How are trips below 500 km made?",
        &[POLICY, CANTEEN],
        expect![[r#"
        Trips below 500 km are made by train. [1]
          [1] Travel"#]],
    );
}

#[test]
fn the_kind_of_thing_asked_for_breaks_ties() {
    check(
        "When does the canteen open?",
        &[POLICY, CANTEEN],
        expect![[r#"
        The canteen opens at 11:30. [1]
          [1] Canteen"#]],
    );
    check(
        "Who approves hotels?",
        &[POLICY, CANTEEN],
        expect![[r#"
        Ann approves hotels. [1]

        A hotel may cost 190 euros per night in Paris. [2]
          [1] Travel
          [2] Travel"#]],
    );
}

#[test]
fn without_a_common_word_the_nearest_passage_is_quoted_or_nothing() {
    let question = "Which vehicle for short journeys?";
    check(
        question,
        &[POLICY, CANTEEN],
        expect![[r#"
        Trips below 500 km are made by train. [1]

        A hotel may cost 190 euros per night in Paris. [2]

        A hotel elsewhere may cost less. [3]
          [1] Travel
          [2] Travel
          [3] Travel"#]],
    );
    let mut far = context(&[POLICY, CANTEEN]);
    for passage in &mut far {
        passage.hit.dense = Some(0.1);
    }
    assert!(quote_only(question, &far).refused);
    assert!(quote_only(question, &[]).refused);
}
