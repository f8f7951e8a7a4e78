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
        is_drawn: true,
    }
}

fn vertical(at: f32, from: f32, to: f32) -> Rule {
    Rule {
        horizontal: false,
        at,
        from,
        to,
        is_drawn: true,
    }
}

fn drawn(rules: Vec<Rule>) -> Drawing {
    Drawing {
        rules,
        fills: vec![],
    }
}

/// The rows of the tables among what `segments` become, cells joined by bars.
fn rows(drawing: &Drawing, mut segments: Vec<Segment>) -> Vec<String> {
    drawing.take_tables(&mut segments);
    let tables = segments.iter().filter_map(|segment| segment.table.as_ref());
    tables
        .flat_map(|table| &table.rows)
        .map(|row| {
            let cells: Vec<String> = row.iter().map(|lines| lines.join(" ")).collect();
            cells.join(" | ")
        })
        .collect()
}

/// Three columns of 100 points; rows of 20 points from 100 down.
fn tariffs(num_rows: usize) -> Vec<Segment> {
    let cells = [
        ["Tarif", "Zone", "Preis"],
        ["T1", "Nord", "12"],
        ["T2", "Ost", "14"],
        ["T3", "West", "16"],
    ];
    let row = |(row_idx, row): (usize, &[&str; 3])| {
        let y = 86.0 - 20.0 * row_idx as f32;
        [
            text(5.0, y, row[0]),
            text(105.0, y, row[1]),
            text(205.0, y, row[2]),
        ]
    };
    cells[..num_rows].iter().enumerate().flat_map(row).collect()
}

const TARIFFS: [&str; 4] = [
    "Tarif | Zone | Preis",
    "T1 | Nord | 12",
    "T2 | Ost | 14",
    "T3 | West | 16",
];

#[test]
fn rows_without_inner_lines_are_read_cell_by_cell() {
    // Lines between the columns of every other row.
    let mut rules: Vec<Rule> = [100.0, 80.0, 60.0, 40.0, 20.0]
        .map(|y| horizontal(y, 0.0, 300.0))
        .into();
    rules.extend([0.0, 300.0].map(|x| vertical(x, 20.0, 100.0)));
    rules.extend([100.0, 200.0].map(|x| vertical(x, 60.0, 80.0)));
    assert_eq!(rows(&drawn(rules), tariffs(4)), TARIFFS);
    // Lines in the head only.
    let mut rules: Vec<Rule> = [100.0, 80.0, 20.0]
        .map(|y| horizontal(y, 0.0, 300.0))
        .into();
    rules.extend([0.0, 300.0].map(|x| vertical(x, 20.0, 100.0)));
    rules.extend([100.0, 200.0].map(|x| vertical(x, 80.0, 100.0)));
    assert_eq!(rows(&drawn(rules.clone()), tariffs(4)), TARIFFS);
    // Running text below a head is one cell.
    let mut segments = tariffs(1);
    segments.push(text(5.0, 66.0, "A sentence over the three of them that"));
    segments.push(text(5.0, 46.0, "goes on here"));
    segments.push(text(105.0, 46.0, "after a wide blank."));
    assert_eq!(
        rows(&drawn(rules), segments)[1].split(" | ").next(),
        Some("A sentence over the three of them that goes on here after a wide blank.")
    );
}

#[test]
fn shaded_cells_divide_tables_whose_lines_do_not() {
    let shade = |drawing: &mut Drawing, column: usize, row: usize| {
        let corner = (100.0 * column as f32, 100.0 - 20.0 * row as f32);
        let opposite = (corner.0 + 100.0, corner.1 - 20.0);
        if let Some(area) = Area::around(&[corner, opposite]) {
            drawing.push_fill(area);
        }
    };
    // Lines right of the first column only, below the head; everything else is shaded.
    let mut rules: Vec<Rule> = [60.0, 40.0, 20.0]
        .map(|y| horizontal(y, 100.0, 300.0))
        .into();
    rules.push(horizontal(80.0, 0.0, 300.0));
    rules.extend([100.0, 200.0, 300.0].map(|x| vertical(x, 20.0, 80.0)));
    let mut drawing = drawn(rules);
    for (column, row) in (0..3).flat_map(|column| (0..4).map(move |row| (column, row))) {
        shade(&mut drawing, column, row);
    }
    assert_eq!(rows(&drawing, tariffs(4)), TARIFFS);
    // Marked words side by side in a cell divide nothing.
    let mut rules: Vec<Rule> = [100.0, 80.0, 60.0]
        .map(|y| horizontal(y, 0.0, 200.0))
        .into();
    rules.extend([0.0, 100.0, 200.0].map(|x| vertical(x, 60.0, 100.0)));
    let mut drawing = drawn(rules);
    for (from, to) in [(5.0, 25.0), (25.0, 55.0)] {
        drawing
            .fills
            .extend(Area::around(&[(from, 83.0), (to, 95.0)]));
    }
    let segments = vec![
        text(5.0, 86.0, "marked word"),
        text(105.0, 86.0, "b"),
        text(5.0, 66.0, "c"),
        text(105.0, 66.0, "d"),
    ];
    assert_eq!(rows(&drawing, segments), ["marked word | b", "c | d"]);
}

#[test]
fn cells_are_read_row_by_row_and_merged_cells_reach_over_their_fields() {
    // Two columns, three rows; the lower two fields on the left are one cell.
    let drawing = drawn(vec![
        horizontal(100.0, 0.0, 200.0),
        horizontal(80.0, 0.0, 200.0),
        horizontal(50.0, 100.0, 200.0),
        horizontal(20.0, 0.0, 200.0),
        vertical(0.0, 20.0, 100.0),
        vertical(100.0, 20.0, 100.0),
        vertical(200.0, 20.0, 100.0),
    ]);
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
    drawn(frame).take_tables(&mut segments);
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
        let mut drawing = drawn(vec![
            horizontal(103.0, from, to),
            vertical(9.0, 90.0, 110.0),
            vertical(51.0, 90.0, 110.0),
        ]);
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
