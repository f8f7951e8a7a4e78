//! Glyphs set at made places become segments with the right blanks, cut where cells are.

use super::*;
use crate::extract::pdf::spelling::logical_order;

fn set(text: &str, advance: f32, space: f32) -> Vec<Glyph> {
    let mut x = 0.0;
    let mut glyphs = Vec::new();
    for c in text.chars() {
        let width = if c == ' ' { space } else { 5.0 };
        glyphs.push(Glyph {
            c,
            x0: x,
            x1: x + width,
            y: 100.0,
            size: 10.0,
            bold: false,
            rise: 0.0,
            space_before: None,
            soft_space: false,
            tracking: 0.0,
            lead: 0.0,
            struck: false,
            link: 0,
        });
        x += width + advance;
    }
    glyphs
}

fn texts(glyphs: Vec<Glyph>) -> Vec<String> {
    segments(glyphs, &|_, _, _| Vec::new(), &[])
        .into_iter()
        .map(|segment| segment.text)
        .collect()
}

#[test]
fn words_are_found_by_space_characters_or_by_gaps() {
    assert_eq!(texts(set("one two", 0.0, 2.5)), ["one two"]);
    let without_spaces: Vec<Glyph> = set("one two", 0.0, 2.5)
        .into_iter()
        .filter(|g| g.c != ' ')
        .collect();
    assert_eq!(texts(without_spaces), ["one two"]);
    assert_eq!(texts(set("ab    cd", 0.0, 2.5)), ["ab", "cd"]);
}

#[test]
fn spaced_out_type_is_read_as_words() {
    let glyphs: Vec<Glyph> = set("Message from me", 2.0, 4.0)
        .into_iter()
        .filter(|g| g.c != ' ')
        .collect();
    assert_eq!(texts(glyphs), ["Message from me"]);
    assert_eq!(texts(set("a b c d e f", 0.0, 2.5)), ["a b c d e f"]);
}

#[test]
fn letters_placed_alone_make_words_where_the_gaps_are() {
    // A shift after every letter, which the reader takes for a space; real spaces are characters.
    let mut glyphs = set("in one", 0.0, 2.5);
    for at in (0..glyphs.len()).rev() {
        let shift = Glyph {
            c: ' ',
            x0: glyphs[at].x1,
            x1: glyphs[at].x1 + 50.0,
            soft_space: true,
            ..glyphs[at].clone()
        };
        glyphs.insert(at + 1, shift);
    }
    assert_eq!(texts(glyphs), ["in one"]);
    // Letters spaced out by such shifts.
    let mut glyphs = set("TERMS OF", 4.0, 3.0);
    glyphs.retain(|glyph| glyph.c != ' ');
    for at in (0..glyphs.len()).rev() {
        let shift = Glyph {
            c: ' ',
            x0: glyphs[at].x1,
            x1: glyphs[at].x1 + 4.0,
            soft_space: true,
            ..glyphs[at].clone()
        };
        glyphs.insert(at + 1, shift);
    }
    assert_eq!(texts(glyphs).join("/"), "TERMS/OF");
    // By letter spacing, however wide.
    let tracked = |spacing: f32| {
        let mut glyphs = set("TERMS OF IT", spacing, 3.0);
        glyphs
            .iter_mut()
            .filter(|glyph| glyph.c != ' ')
            .for_each(|glyph| glyph.tracking = spacing);
        texts(glyphs)
    };
    assert_eq!(tracked(1.0), ["TERMS OF IT"]);
    assert_eq!(tracked(8.0), ["TERMS OF IT"]);
}

#[test]
fn short_words_are_spaced_out_like_their_line() {
    // So wide that every word is a segment, too short to show its spacing alone.
    assert_eq!(
        texts(set("one big dog ran", 3.5, 2.5)),
        ["one", "big", "dog", "ran"]
    );
    // A few capitals with a shift after each.
    let shifted = |text: &str| {
        let mut glyphs = set(text, 3.0, 2.5);
        for at in (0..glyphs.len()).rev() {
            let shift = Glyph {
                c: ' ',
                x0: glyphs[at].x1,
                x1: glyphs[at].x1 + 3.0,
                soft_space: true,
                ..glyphs[at].clone()
            };
            glyphs.insert(at + 1, shift);
        }
        texts(glyphs).join("/")
    };
    for (text, want) in [
        ("MENU", "MENU"),
        ("TOTAL", "TOTAL"),
        ("ABC", "A B C"),
        ("xyn", "x y n"),
        ("135", "1 3 5"),
    ] {
        assert_eq!(shifted(text), want);
    }
}

#[test]
fn struck_out_words_are_marked_and_rules_cut() {
    let mut glyphs = set("was 40 now 55", 0.0, 2.5);
    glyphs[4..6]
        .iter_mut()
        .for_each(|glyph| glyph.struck = true);
    assert_eq!(texts(glyphs), ["was ~~40~~ now 55"]);
    let borders = |_: f32, _: f32, _: f32| vec![30.0];
    let cut = segments(set("valvesEvery", 0.0, 2.5), &borders, &[]);
    let cut: Vec<&str> = cut.iter().map(|segment| segment.text.as_str()).collect();
    assert_eq!(cut, ["valves", "Every"]);
}

#[test]
fn scripts_join_their_line() {
    let raised = |text: &str, mark: char, size: f32| {
        let mut glyphs = set(text, 0.0, 2.5);
        let x0 = glyphs[glyphs.len() - 1].x1;
        glyphs.push(Glyph {
            c: mark,
            x0,
            x1: x0 + 3.0,
            y: 104.0,
            size,
            bold: false,
            rise: 0.0,
            space_before: None,
            soft_space: false,
            tracking: 0.0,
            lead: 0.0,
            struck: false,
            link: 0,
        });
        texts(glyphs)
    };
    assert_eq!(raised("10", '6', 6.0), ["10^6"]);
    assert_eq!(raised("km", '2', 6.0), ["km2"]);
    assert_eq!(raised("report", '7', 6.0), ["report 7"]);
    assert_eq!(raised("21", 's', 6.0), ["21s"]);
    // Browsers make them hardly smaller.
    assert_eq!(raised("10", '6', 9.7), ["10^6"]);
}

#[test]
fn doubled_glyphs_are_read_once() {
    let mut glyphs = set("bold", 0.0, 2.5);
    let shifted: Vec<Glyph> = glyphs
        .iter()
        .map(|g| Glyph {
            x0: g.x0 + 0.3,
            x1: g.x1 + 0.3,
            ..g.clone()
        })
        .collect();
    glyphs.extend(shifted);
    assert_eq!(texts(glyphs), ["bold"]);
}

#[test]
fn right_to_left_text_is_read_from_the_right() {
    assert_eq!(logical_order("םולש"), "שלום");
    assert_eq!(logical_order("2024 תנש"), "שנת 2024");
    assert_eq!(logical_order("the םולש word"), "the שלום word");
}
