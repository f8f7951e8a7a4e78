//! Documents of one page made here, from their bytes to the texts of their blocks.

use crate::extract::extract_bytes;

/// A PDF of the given objects (numbered from 1, the first is the catalogue).
fn file(objects: &[String]) -> Vec<u8> {
    let mut text = String::from("%PDF-1.7\n");
    let mut offsets = String::new();
    for (object, number) in objects.iter().zip(1..) {
        offsets += &format!("{:010} 00000 n \n", text.len());
        text += &format!("{number} 0 obj\n{object}\nendobj\n");
    }
    let (xref, size) = (text.len(), objects.len() + 1);
    text += &format!(
        "xref\n0 {size}\n0000000000 65535 f \n{offsets}\
         trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{xref}\n%%EOF\n"
    );
    text.into_bytes()
}

fn stream(content: &str) -> String {
    format!(
        "<< /Length {} >>\nstream\n{content}\nendstream",
        content.len()
    )
}

/// A page of 600 by 800 points that draws `content` in Helvetica (`F1`). `resources`: further ones; `more`: further
/// objects, numbered from 6.
fn page(content: &str, resources: &str, more: &[&str]) -> Vec<u8> {
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources << {resources} >> >>"
        ),
        stream(content),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    objects.extend(more.iter().map(|&object| object.to_owned()));
    file(&objects)
}

const HELVETICA: &str = "/Font << /F1 5 0 R >>";

fn texts(bytes: &[u8]) -> Vec<String> {
    let extracted = extract_bytes(bytes, "pdf").unwrap();
    extracted
        .blocks
        .into_iter()
        .map(|block| block.text)
        .collect()
}

#[test]
fn sideways_text_is_read_in_spaces_whose_y_grows_downwards() {
    let upright = "BT /F1 12 Tf 1 0 0 -1 72 100 Tm (Upright line of the page.) Tj ET";
    // From bottom to top and from top to bottom, turned by the space or by the text itself.
    for turned in [
        "q 0 -1 1 0 300 600 cm BT /F1 12 Tf 1 0 0 -1 0 0 Tm (Sideways words) Tj ET Q",
        "q 0 1 -1 0 300 200 cm BT /F1 12 Tf 1 0 0 -1 0 0 Tm (Sideways words) Tj ET Q",
        "BT /F1 12 Tf 0 -1 -1 0 300 600 Tm (Sideways words) Tj ET",
        "BT /F1 12 Tf 0 1 1 0 300 200 Tm (Sideways words) Tj ET",
    ] {
        let content = format!("1 0 0 -1 0 800 cm {upright} {turned}");
        assert_eq!(
            texts(&page(&content, HELVETICA, &[])),
            ["Upright line of the page.", "Sideways words"],
            "{turned}"
        );
        let alone = format!("1 0 0 -1 0 800 cm {turned}");
        assert_eq!(
            texts(&page(&alone, HELVETICA, &[])),
            ["Sideways words"],
            "{turned}"
        );
    }
}

#[test]
fn text_that_stands_upside_down_or_sideways_in_forms_is_read() {
    // The box of the form ends just above and below the line.
    let form = |matrix: &str| {
        let content = format!("{matrix} cm BT /F1 12 Tf 1 0 0 1 0 3 Tm (Words of a form) Tj ET");
        let length = content.len();
        format!(
            "<< /Type /XObject /Subtype /Form /BBox [0 0 100 100] /Resources << {HELVETICA} >> /Length {length} >>\n\
             stream\n{content}\nendstream"
        )
    };
    let resources = format!("{HELVETICA} /XObject << /Fm 6 0 R >>");
    let content =
        "BT /F1 12 Tf 72 700 Td (Upright line of the page.) Tj ET q 1 0 0 1 300 300 cm /Fm Do Q";
    for matrix in [
        "1 0 0 1 0 80",
        "-1 0 0 -1 100 10",
        "0 1 -1 0 10 0",
        "0 -1 1 0 90 100",
    ] {
        assert_eq!(
            texts(&page(content, &resources, &[&form(matrix)])),
            ["Upright line of the page.", "Words of a form"],
            "{matrix}"
        );
    }
}

#[test]
fn white_is_white_in_spaces_that_are_named_by_a_resource() {
    let content = "/Cs cs 1 1 1 scn 0 0 600 800 re f 0 0 0 scn BT /F1 12 Tf 72 700 Td (Seen by people.) Tj ET \
        1 1 1 scn BT /F1 12 Tf 72 650 Td (White on white.) Tj ET \
        0 0.2 0.6 scn 60 480 300 40 re f 1 1 1 scn BT /F1 12 Tf 72 495 Td (White on blue.) Tj ET";
    for space in ["/DeviceRGB", "[/DeviceRGB]"] {
        let resources = format!("{HELVETICA} /ColorSpace << /Cs {space} >>");
        assert_eq!(
            texts(&page(content, &resources, &[])),
            ["Seen by people.", "White on blue."],
            "{space}"
        );
    }
}

/// Whether it is set in codes of the symbol font, and the text.
type Part<'a> = (bool, &'a str);

/// A line of words in Helvetica and of codes of another font, whose character map has them at U+F000.
fn symbol_page(font: &str, parts: &[Part<'_>]) -> Vec<u8> {
    let mut content = String::from("BT /F1 12 Tf 72 700 Td ");
    for (is_symbol, text) in parts {
        if *is_symbol {
            let codes: String = text
                .chars()
                .map(|c| format!("{:02x}", u32::from(c)))
                .collect();
            content += &format!("/F2 12 Tf <{codes}> Tj ");
        } else {
            content += &format!("/F1 12 Tf ({text}) Tj ");
        }
    }
    content += "ET";
    let map = "/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <00> <ff> endcodespacerange \
        1 beginbfrange <20> <ff> <f020> endbfrange endcmap end";
    let widths = "600 ".repeat(224);
    page(
        &content,
        "/Font << /F1 5 0 R /F2 6 0 R >>",
        &[
            &format!(
                "<< /Type /Font /Subtype /TrueType /BaseFont /{font} /FirstChar 32 /LastChar 255 /Widths [{widths}] \
                 /FontDescriptor 8 0 R /ToUnicode 7 0 R >>"
            ),
            &stream(map),
            &format!("<< /Type /FontDescriptor /FontName /{font} /Flags 4 >>"),
        ],
    )
}

#[test]
fn codes_of_symbol_fonts_mean_what_the_font_shows() {
    let word = |text| (false, text);
    let code = |text| (true, text);
    let cases: [(&str, &[Part<'_>], &str); 14] = [
        (
            "AAAAAA+SymbolMT",
            &[word("47 "), code("m"), word("F")],
            "47 μF",
        ),
        ("AAAAAA+Symbol", &[word("10 "), code("W")], "10 Ω"),
        ("Symbol", &[code("\u{a3}"), word(" 6 bar")], "≤ 6 bar"),
        (
            "ABCDEF+Wingdings-Regular",
            &[code("\u{fe}"), word(" yes")],
            "☑ yes",
        ),
        ("ABCDEF+Wingdings2", &[code("\u{a3}"), word(" no")], "☐ no"),
        (
            "Wingdings",
            &[code("\u{d8}"), word(" an item")],
            "- an item",
        ),
        ("Webdings", &[word("done "), code("a")], "done ✓"),
        // A font in place of several.
        (
            "AAAAAA+OpenSymbol",
            &[word("47 "), code("m"), word("F")],
            "47 μF",
        ),
        (
            "AAAAAA+OpenSymbol",
            &[code("\u{a3}"), word(" 6 bar")],
            "≤ 6 bar",
        ),
        ("AAAAAA+OpenSymbol", &[code("\u{a3}"), word(" no")], "☐ no"),
        (
            "AAAAAA+OpenSymbol",
            &[word("earthed "), code("\u{fe}"), code("\u{a8}")],
            "earthed ☑☐",
        ),
        (
            "AAAAAA+OpenSymbol",
            &[
                word("20 "),
                code("\u{b0}"),
                word("C "),
                code("\u{b1}"),
                word(" 2"),
            ],
            "20 °C ± 2",
        ),
        // A text font of the old kind.
        ("AAAAAA+Frutiger", &[word("one "), code("two")], "one two"),
        (
            "AAAAAA+Frutiger",
            &[code("\u{b7}"), word(" an item")],
            "- an item",
        ),
    ];
    for (font, parts, want) in cases {
        assert_eq!(texts(&symbol_page(font, parts)), [want], "{font}");
    }
}

#[test]
fn white_text_with_an_outline_is_seen_and_text_outside_the_clip_is_not() {
    let content = "q 1 1 1 rg 0 G 2 Tr BT /F1 20 Tf 72 700 Td (Outlined title here) Tj ET Q \
        q 1 1 1 rg 1 1 1 RG 2 Tr BT /F1 12 Tf 72 650 Td (White in white.) Tj ET Q \
        q 72 500 200 20 re W n BT /F1 12 Tf 72 300 Td (Outside of its clip.) Tj ET \
        BT /F1 12 Tf 74 505 Td (Inside of its clip.) Tj ET Q \
        q 100 400 300 20 re W n BT /F1 12 Tf 80 405 Td (X     ) Tj (that begins outside.) Tj ET Q";
    assert_eq!(
        texts(&page(content, HELVETICA, &[])),
        [
            "Outlined title here",
            "Inside of its clip.",
            "that begins outside."
        ]
    );
}

#[test]
fn a_scan_with_long_stamps_or_of_a_slip_of_paper_is_told() {
    let image = "<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 \
        /Length 1 >>\nstream\nx\nendstream";
    let resources = format!("{HELVETICA} /XObject << /Im 6 0 R >>");
    let scan = |width: u32, height: u32, text: &str| {
        let stamp =
            "The office of the town clerk, file 118, confidential, page 2 of 17 pages. ".repeat(2);
        let content = format!(
            "q {width} 0 0 {height} 40 100 cm /Im Do Q BT /F1 6 Tf 9 780 Td ({stamp}) Tj ET \
             BT /F1 10 Tf 72 740 Td ({text}) Tj ET"
        );
        page(&content, &resources, &[image])
    };
    let words = "Certified copy, received by the court on 4 June. ".repeat(2);
    for (width, height, text, want) in [
        (560, 660, "A stamp", true),
        (330, 430, "Receipt 12 of the journey", true),
        (330, 430, &words, false),
        (100, 100, "A logo", false),
    ] {
        let extracted = extract_bytes(&scan(width, height, text), "pdf").unwrap();
        let told = extracted
            .warnings
            .iter()
            .any(|warning| warning.contains("OCR"));
        assert_eq!(told, want, "{width} x {height}: {text}");
    }
}
