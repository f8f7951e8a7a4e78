//! Which lines of made pages are furniture: what repeats or counts the pages goes, and nothing of the body does.

use super::*;
use crate::extract::pdf::glyph::Segment;

/// Pages of 800 points with a line of `texts` every 14 points from 40 below the top, and the last at the foot.
fn pages(texts: &[&[&str]]) -> Vec<PageLines> {
    texts
        .iter()
        .map(|texts| {
            let line = |text: &str, y: f32| {
                let segment = Segment {
                    x0: 60.0,
                    x1: 60.0 + 5.0 * text.len() as f32,
                    y,
                    size: 10.0,
                    bold: false,
                    text: text.to_owned(),
                    table: None,
                };
                crate::extract::pdf::lines::lines(vec![segment]).remove(0)
            };
            let (foot, rest) = texts.split_last().unwrap();
            // The first line stands apart, as running heads do.
            let mut lines: Vec<Line> = rest
                .iter()
                .enumerate()
                .map(|(at, text)| {
                    line(
                        text,
                        if at == 0 {
                            770.0
                        } else {
                            754.0 - 14.0 * at as f32
                        },
                    )
                })
                .collect();
            lines.push(line("text in the middle of the page", 400.0));
            lines.push(line(foot, 30.0));
            PageLines::upright(vec![lines])
        })
        .collect()
}

fn kept(texts: &[&[&str]]) -> Vec<Vec<String>> {
    let mut pages = pages(texts);
    drop_page_furniture(&mut pages);
    pages
        .iter()
        .map(|page| {
            page.regions[0]
                .iter()
                .map(Line::text)
                .filter(|text| !text.starts_with("text in"))
                .collect()
        })
        .collect()
}

#[test]
fn running_heads_go_from_the_second_on_and_page_numbers_go() {
    for number in [
        ["7", "8", "9"],
        ["- 1 -", "- 2 -", "- 3 -"],
        ["iii", "iv", "v"],
        ["Page 1 of 3", "Page 2 of 3", "Page 3 of 3"],
        ["第1頁", "第2頁", "第3頁"],
        ["१", "२", "३"],
        ["A-1", "A-2", "A-3"],
    ] {
        let got = kept(&[
            &["Manual of pump X, edition 4", "one", number[0]],
            &["Manual of pump X, edition 4", "two", number[1]],
            &["Manual of pump X, edition 4", "three", number[2]],
        ]);
        assert_eq!(
            got,
            [
                vec!["Manual of pump X, edition 4", "one"],
                vec!["two"],
                vec!["three"]
            ],
            "{number:?}"
        );
    }
}

#[test]
fn what_differs_in_other_numbers_is_body() {
    for texts in [
        ["1000", "1035", "1070"],
        ["Invoice 4711", "Invoice 4712", "Invoice 4713"],
        ["ZX-1 | 5", "ZX-2 | 5", "ZX-3 | 5"],
        ["Invoice 2024-001", "Invoice 2024-002", "Invoice 2024-003"],
        ["12 kg", "14 kg", "19 kg"],
    ] {
        let pages: Vec<Vec<&str>> = texts
            .iter()
            .map(|text| vec![*text, "body", "end"])
            .collect();
        let pages: Vec<&[&str]> = pages.iter().map(Vec::as_slice).collect();
        for (got, text) in kept(&pages).iter().zip(texts) {
            assert!(got.contains(&text.to_owned()), "{text}");
        }
    }
}

#[test]
fn the_same_line_below_a_line_of_the_body_is_body() {
    let got = kept(&[
        &["Device: Oven", "Voltage: 230 V", "a"],
        &["Device: Saw", "Voltage: 230 V", "b"],
        &["Device: Pump", "Voltage: 230 V", "c"],
    ]);
    assert!(
        got.iter()
            .all(|page| page.contains(&"Voltage: 230 V".to_owned())),
        "{got:?}"
    );
}

#[test]
fn roman_numerals_are_read_in_their_usual_form() {
    for (text, value) in [
        ("iv", Some(4)),
        ("XLII", Some(42)),
        ("iiii", None),
        ("Iv", None),
        ("word", None),
        ("", None),
    ] {
        assert_eq!(roman(text), value, "{text}");
    }
}

#[test]
fn values_of_records_are_body() {
    let heads = |texts: [&'static str; 4]| {
        let pages: Vec<Vec<&str>> = texts
            .iter()
            .map(|text| vec![*text, "body", "end"])
            .collect();
        let pages: Vec<&[&str]> = pages.iter().map(Vec::as_slice).collect();
        let got = kept(&pages);
        got.iter()
            .zip(texts)
            .all(|(lines, text)| lines.contains(&text.to_owned()))
    };
    // The same on all pages, but a value; and one of two texts that stand at one place in turn.
    assert!(heads(["Total: 49.00"; 4]));
    assert!(heads(["Total 49,00"; 4]));
    assert!(heads(["Passed", "Failed", "Passed", "Passed"]));
    // Numbered as the pages are, at the edge of the text.
    assert!(heads(["Room 1", "Room 2", "Room 3", "Room 4"]));
    assert!(!heads(["Manual of the pump"; 4]));
}

#[test]
fn one_line_of_a_page_counts_the_pages() {
    let got = kept(&[
        &["Nr. 1", "one", "page 1 of 3"],
        &["Nr. 2", "two", "page 2 of 3"],
        &["Nr. 3", "three", "page 3 of 3"],
    ]);
    assert_eq!(
        got,
        [
            vec!["Nr. 1", "one"],
            vec!["Nr. 2", "two"],
            vec!["Nr. 3", "three"]
        ]
    );
}

#[test]
fn amounts_have_two_decimals_or_a_currency() {
    for (text, is_value) in [
        ("49,00", true),
        ("1.250,00 due", true),
        ("€ 49", true),
        ("State: open", true),
        ("Version 3.2", false),
        ("12.05.2024", false),
        ("Section 1.2.10", false),
        ("State:", false),
        ("http://a.example", false),
    ] {
        assert_eq!(gives_value(text), is_value, "{text}");
    }
}
