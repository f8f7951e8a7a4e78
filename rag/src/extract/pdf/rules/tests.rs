//! Made segments and drawn rules become tables with every text in its cell.

use super::*;

fn text(x: f32, y: f32, text: &str) -> Segment {
    Segment {
        x0: x,
        x1: x + 5.0 * text.len() as f32,
        y,
        size: 10.0,
        bold: false,
        text: text.into(),
        table: None,
    }
}

fn horizontal(at: f32, from: f32, to: f32) -> Rule {
    Rule {
        horizontal: true,
        at,
        from,
        to,
    }
}

fn vertical(at: f32, from: f32, to: f32) -> Rule {
    Rule {
        horizontal: false,
        at,
        from,
        to,
    }
}

#[test]
fn cells_are_read_row_by_row_and_merged_cells_reach_over_their_fields() {
    // Two columns, three rows; the lower two fields on the left are one cell.
    let drawing = Drawing {
        rules: vec![
            horizontal(100.0, 0.0, 200.0),
            horizontal(80.0, 0.0, 200.0),
            horizontal(50.0, 100.0, 200.0),
            horizontal(20.0, 0.0, 200.0),
            vertical(0.0, 20.0, 100.0),
            vertical(100.0, 20.0, 100.0),
            vertical(200.0, 20.0, 100.0),
        ],
    };
    let mut segments = vec![
        text(10.0, 120.0, "above"),
        text(10.0, 85.0, "Name"),
        text(110.0, 85.0, "Value"),
        text(110.0, 68.0, "first"),
        text(110.0, 57.0, "second"),
        text(10.0, 45.0, "both"),
        text(110.0, 30.0, "third"),
        text(10.0, 5.0, "below"),
    ];
    drawing.take_tables(&mut segments);
    let order: Vec<&str> = segments
        .iter()
        .map(|s| if s.table.is_some() { "table" } else { &s.text })
        .collect();
    assert_eq!(order, ["above", "table", "below"]);
    let table = segments[1].table.as_ref().unwrap();
    let rows: Vec<Vec<String>> = table
        .rows
        .iter()
        .map(|row| row.iter().map(|cell| cell.join("/")).collect())
        .collect();
    assert_eq!(
        rows,
        [
            ["Name", "Value"],
            ["both", "first/second"],
            ["both", "third"]
        ]
    );
}

#[test]
fn a_frame_around_text_is_no_table() {
    let frame = vec![
        horizontal(100.0, 0.0, 200.0),
        horizontal(0.0, 0.0, 200.0),
        vertical(0.0, 0.0, 100.0),
        vertical(200.0, 0.0, 100.0),
    ];
    let mut segments = vec![
        text(10.0, 80.0, "one"),
        text(10.0, 60.0, "two"),
        text(10.0, 40.0, "three"),
    ];
    Drawing { rules: frame }.take_tables(&mut segments);
    assert_eq!(segments.len(), 3);
}

#[test]
fn lines_through_words_touch_borders_only_in_narrow_cells() {
    let glyphs = || -> Vec<Glyph> {
        (0..8)
            .map(|at| Glyph {
                c: 'x',
                x0: 10.0 + 5.0 * at as f32,
                x1: 15.0 + 5.0 * at as f32,
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
            })
            .collect()
    };
    let struck = |from: f32, to: f32| {
        let mut drawing = Drawing {
            rules: vec![
                horizontal(103.0, from, to),
                vertical(9.0, 90.0, 110.0),
                vertical(51.0, 90.0, 110.0),
            ],
        };
        let mut glyphs = glyphs();
        drawing.strike(&mut glyphs, &[]);
        let num_struck = glyphs.iter().filter(|glyph| glyph.struck).count();
        (num_struck, drawing.rules.len())
    };
    assert_eq!(struck(10.0, 50.0), (8, 2));
    // A border that runs on, and one that ends within the text.
    assert_eq!(struck(5.0, 55.0), (0, 3));
    assert_eq!(struck(9.0, 30.0), (0, 3));
}
