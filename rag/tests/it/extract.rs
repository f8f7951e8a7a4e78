//! Extractors against real files and their expected text, and against hostile ones. All in this process;
//! `extract_child` covers the process around them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rag::extract::extract_bytes;
use rag::{BlockKind, ExtractError, Extracted, extract_file};

/// A folder of `tests/data`.
pub(crate) fn data(folder: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(folder);
    assert!(path.is_dir(), "{} is absent", path.display());
    path
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .filter(|path| !path.to_string_lossy().ends_with(".expected.md"))
        .collect();
    files.sort();
    files
}

/// Lower-case words of extracted text.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Words of a Markdown file as it reads: without comments, link targets and entities.
fn markdown_words(markdown: &str) -> Vec<String> {
    let mut text = String::new();
    let mut rest = markdown;
    while let Some((before, after)) = rest.split_once("<!--") {
        text.push_str(before);
        rest = after.split_once("-->").map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    let mut read = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("](") {
        read.push_str(before);
        read.push(' ');
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    read.push_str(rest);
    words(
        &read
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&")
            .replace("&#124;", "|"),
    )
}

/// Length of the longest common subsequence.
fn common(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0usize; b.len() + 1];
    for word in a {
        let mut diagonal = 0;
        for (column, other) in b.iter().enumerate() {
            let above = row[column + 1];
            row[column + 1] = if word == other {
                diagonal + 1
            } else {
                above.max(row[column])
            };
            diagonal = above;
        }
    }
    row[b.len()]
}

fn text_of(extracted: &Extracted) -> String {
    extracted
        .blocks
        .iter()
        .map(|block| block.text.as_str())
        .collect::<Vec<_>>()
        .join("\n\n")
}

/// The text without the addresses of links and the texts of images that are written out: the expected texts are
/// compared without them. `source` is the file, from which they are taken.
fn without_additions(text: &str, source: &Path) -> String {
    let source = String::from_utf8_lossy(&std::fs::read(source).unwrap()).into_owned();
    let mut text = text.to_owned();
    for (open, close) in [
        ("href=\"", '"'),
        ("href='", '\''),
        ("](", ')'),
        ("<", '>'),
        ("]: ", '\n'),
    ] {
        for part in source.split(open).skip(1) {
            // Fragments are kept in addresses of other sites only.
            for end in [[close, close], [close, '#']] {
                let address = part.split(end).next().unwrap_or("").replace("&amp;", "&");
                let address = address.strip_prefix("mailto:").unwrap_or(&address).trim();
                if !address.is_empty() {
                    text = text.replace(&format!("({address})"), "");
                }
            }
        }
    }
    for part in source.split("alt=\"").skip(1) {
        let alt = part.split('"').next().unwrap_or("");
        text = text.replace(&format!("[{alt}]"), "");
    }
    text
}

/// Checks that the words of each file and of its expected text are the same in the same order, to the share
/// `threshold` of all words.
fn check_folder(folder: &str, extension: &str, threshold: f64, except: &[&str]) {
    let folder = data(folder);
    for path in files(&folder, extension) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let expected_path = folder.join(format!("{name}.expected.md"));
        if !expected_path.exists() || except.contains(&name.as_str()) {
            continue;
        }
        let extracted = extract_file(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let got = words(&without_additions(&text_of(&extracted), &path));
        let want = markdown_words(&std::fs::read_to_string(&expected_path).unwrap());
        let ratio = 2.0 * common(&got, &want) as f64 / (got.len() + want.len()) as f64;
        println!("{ratio:.3} {name}");
        assert!(
            ratio >= threshold,
            "{name}: {ratio:.3} of the words agree\n{}",
            text_of(&extracted)
        );
    }
}

#[test]
fn markdown_files_have_the_expected_words_in_order() {
    // One of the files is made of entities, which hardly leave a word to agree on.
    check_folder("parsing/md", "md", 0.85, &[]);
}

#[test]
fn docx_files_have_the_expected_words_in_order() {
    // Its expected text leaves out the headers and footers, which the next test looks for.
    let furniture = "docx_page_header_footer_first_page.docx";
    check_folder("parsing/docx", "docx", 0.93, &[furniture]);
}

#[test]
fn docx_headers_and_footers_follow_the_text_once() {
    let folder = data("parsing/docx");
    let path = folder.join("docx_page_header_footer_first_page.docx");
    let extracted = extract_file(&path).unwrap();
    let expected = format!("{}.expected.md", path.display());
    let mut want = markdown_words(&std::fs::read_to_string(expected).unwrap());
    let furniture = [
        "FIRST PAGE HEADER (page 1 only)",
        "REGULAR HEADER (page 2 onward)",
        "FIRST PAGE FOOTER (page 1 only)",
        "REGULAR FOOTER (page 2 onward)",
    ];
    want.extend(furniture.iter().flat_map(|text| words(text)));
    let got = words(&text_of(&extracted));
    assert_eq!(got, want);
    let last: Vec<&Vec<String>> = extracted.blocks[extracted.blocks.len() - 4..]
        .iter()
        .map(|block| &block.heading)
        .collect();
    assert!(last.iter().all(|heading| heading.is_empty()), "{last:?}");
}

#[test]
fn html_files_have_the_expected_words_in_order() {
    // The saved encyclopedia page keeps its navigation in the expected text; see the next test.
    // Table captions are read here and not there.
    check_folder("parsing/html", "html", 0.9, &["wiki_duck.html"]);
}

#[test]
fn a_saved_web_page_is_read_without_its_navigation() {
    let folder = data("parsing/html");
    let path = folder.join("wiki_duck.html");
    let extracted = extract_file(&path).unwrap();
    let got = words(&without_additions(&text_of(&extracted), &path));
    let want = markdown_words(
        &std::fs::read_to_string(folder.join("wiki_duck.html.expected.md")).unwrap(),
    );
    let found = common(&got, &want) as f64 / got.len() as f64;
    assert!(found > 0.95, "{found:.3} of the words are expected ones");
    let text = text_of(&extracted);
    assert!(text.contains("Duck is the common name for numerous species of waterfowl"));
    assert!(!text.contains("136 languages") && !text.contains("Toggle the table of contents"));
    assert!(
        extracted
            .blocks
            .iter()
            .any(|b| b.kind == BlockKind::Heading && b.text == "Etymology" && b.level == 2)
    );
}

#[test]
fn headings_lists_and_tables_keep_their_structure() {
    let folder = data("parsing/docx");
    let extracted = extract_file(&folder.join("unit_test_headers_numbered.docx")).unwrap();
    assert_eq!(extracted.title.as_deref(), Some("Test Document"));
    let detail = extracted
        .blocks
        .iter()
        .find(|b| b.text == "Paragraph 1.2.3.1")
        .unwrap();
    assert_eq!(
        detail.heading,
        ["1. Section 1", "1.2. Section 1.2", "1.2.1. Section 1.2.3"]
    );
    let tables = extract_file(&folder.join("word_tables.docx")).unwrap();
    let merged = tables
        .blocks
        .iter()
        .filter(|b| b.kind == BlockKind::Table)
        .nth(1)
        .unwrap();
    assert_eq!(
        merged.text.lines().nth(2),
        Some("| Cell 1.0 | Merged Cell 1.1 1.2 | Merged Cell 1.1 1.2 |")
    );
}

/// Sentences of the reports and the pages they stand on, read off the rendered pages.
const REPORT_FACTS: &[(&str, u32, &str)] = &[
    (
        "us-fed/2013-annual-performance-report.pdf",
        7,
        "the claims inventory was 17,719 cases – a 71 percent reduction",
    ),
    (
        "us-fed/2013-annual-performance-report.pdf",
        22,
        "| Honor Service | Ensure comparable recognition and reward for exemplary performance",
    ),
    (
        "us-fed/2013-annual-performance-report.pdf",
        29,
        "| Percent of investigations determined to be quality complete | n/a | n/a | n/a | n/a | 99.83% | 99% | Met |",
    ),
    (
        "us-fed/DOC2022.pdf",
        1,
        "Strengthening American Competitiveness in the 21st Century",
    ),
    (
        "us-fed/DOC2022.pdf",
        5,
        "employees. The Department’s workforce ranges from 321 uniformed service officers in the NOAA",
    ),
    (
        "us-fed/DOL2022.pdf",
        5,
        "Empowering all workers morning, noon and night.",
    ),
    (
        "nih/NCT06149832_Prot_000.pdf",
        3,
        "A total of 38 patients will be enrolled.",
    ),
    (
        "nih/NCT06149832_Prot_000.pdf",
        4,
        "MSCs (1×10^9/ml) dressing was applied 4 times/day for 2 weeks.",
    ),
];

#[test]
fn all_reports_are_read_and_facts_stand_on_their_pages() {
    let folder = data("reports");
    let mut num_files = 0;
    for group in ["ntsb", "nih", "us-fed"] {
        for path in files(&folder.join(group), "pdf") {
            num_files += 1;
            let started = Instant::now();
            let extracted =
                extract_file(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let name = format!("{group}/{}", path.file_name().unwrap().to_string_lossy());
            println!(
                "{name}: {} pages, {} blocks, {:?}",
                extracted.pages.unwrap_or(0),
                extracted.blocks.len(),
                started.elapsed()
            );
            let pages = extracted.pages.unwrap();
            assert!(
                extracted
                    .blocks
                    .iter()
                    .all(|block| block.page.is_some_and(|page| (1..=pages).contains(&page))),
                "{name}"
            );
            let order: Vec<u32> = extracted
                .blocks
                .iter()
                .filter_map(|block| block.page)
                .collect();
            assert!(order.is_sorted(), "{name}: pages are out of order");
            // Glued words are long; real ones of that length are links.
            let all = words(&text_of(&extracted));
            let glued = all.iter().filter(|word| word.chars().count() > 24).count();
            assert!(
                glued * 1000 <= all.len(),
                "{name}: {glued} of {} words are very long",
                all.len()
            );
            for (file, page, fact) in REPORT_FACTS.iter().filter(|(file, _, _)| *file == name) {
                let on_page = extracted
                    .blocks
                    .iter()
                    .filter(|block| block.page == Some(*page));
                let text: Vec<&str> = on_page.map(|block| block.text.as_str()).collect();
                assert!(
                    text.join("\n").contains(fact),
                    "{file} page {page}: {fact:?} not in\n{}",
                    text.join("\n")
                );
            }
        }
    }
    assert_eq!(num_files, 20);
}

#[test]
fn files_without_readable_text_say_why() {
    let folder = data("parsing");
    assert_eq!(
        extract_file(&folder.join("pdf_password/2206.01062_pg3.pdf")),
        Err(ExtractError::Encrypted)
    );
    assert_eq!(
        extract_file(&folder.join("ocr/nemotron_multipage.pdf")),
        Err(ExtractError::NeedsOcr { pages: 4 })
    );
    let legacy = extract_file(&folder.join("doc/legacy_sample.doc"));
    assert!(
        matches!(&legacy, Err(ExtractError::Unsupported { found }) if found.contains("Word 97-2003")),
        "{legacy:?}"
    );
    let workbook = extract_file(&folder.join("xlsx/xlsx_04_inflated.xlsx"));
    assert!(
        matches!(&workbook, Err(ExtractError::Unsupported { found }) if found.contains("Excel")),
        "{workbook:?}"
    );
}

#[test]
fn a_truncated_pdf_is_damaged_or_partly_read_but_never_a_panic() {
    let folder = data("reports/nih");
    let bytes = std::fs::read(folder.join("NCT06145295_Prot_SAP_000.pdf")).unwrap();
    for part in 1..8 {
        match extract_bytes(&bytes[..bytes.len() * part / 8], "pdf") {
            Ok(extracted) => assert!(!extracted.blocks.is_empty()),
            Err(error) => assert!(
                matches!(
                    error,
                    ExtractError::Corrupt { .. }
                        | ExtractError::Empty
                        | ExtractError::NeedsOcr { .. }
                ),
                "{part}/8: {error}"
            ),
        }
    }
}

/// A PDF of the given objects (numbered from 1, the first is the catalogue) with a correct cross-reference table.
fn pdf(objects: &[&str]) -> Vec<u8> {
    let mut bytes = b"%PDF-1.7\n".to_vec();
    let mut offsets = Vec::new();
    for (object, number) in objects.iter().zip(1..) {
        offsets.push(bytes.len());
        write!(bytes, "{number} 0 obj\n{object}\nendobj\n").unwrap();
    }
    let xref = bytes.len();
    write!(
        bytes,
        "xref\n0 {}\n0000000000 65535 f \n",
        objects.len() + 1
    )
    .unwrap();
    for offset in offsets {
        bytes.extend_from_slice(format!("{offset:010} 00000 n \n").as_bytes());
    }
    write!(
        bytes,
        "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{xref}\n%%EOF\n",
        objects.len() + 1
    )
    .unwrap();
    bytes
}

/// A one-page PDF that draws `content`.
fn pdf_page(content: &str) -> Vec<u8> {
    let stream = format!(
        "<< /Length {} >>\nstream\n{content}\nendstream",
        content.len()
    );
    pdf(&[
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        &stream,
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ])
}

fn block_texts(result: Result<Extracted, ExtractError>) -> Vec<String> {
    result
        .unwrap()
        .blocks
        .into_iter()
        .map(|block| block.text)
        .collect()
}

#[test]
fn text_that_cannot_be_seen_on_the_page_is_not_read() {
    let content = "BT /F1 12 Tf 72 700 Td (Seen by people.) Tj ET \
        1 1 1 rg BT /F1 12 Tf 72 650 Td (White on white.) Tj ET \
        0 0 0 rg BT /F1 0.5 Tf 72 600 Td (Too small to see.) Tj ET \
        BT /F1 12 Tf 72 -500 Td (Below the page.) Tj ET \
        0 0.2 0.6 rg 60 480 300 40 re f 1 1 1 rg BT /F1 12 Tf 72 495 Td (White on blue.) Tj ET";
    assert_eq!(
        block_texts(extract_bytes(&pdf_page(content), "pdf")),
        ["Seen by people.", "White on blue."]
    );
}

#[test]
fn pdfs_that_refer_to_themselves_end() {
    let page_tree_cycle = pdf(&[
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 9 >>",
    ]);
    let length_cycle = pdf(&[
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>",
        "<< /Length 4 0 R >>\nstream\nBT (x) Tj ET\nendstream",
    ]);
    let previous_cycle = b"%PDF-1.4\nxref\n0 1\n0000000000 65535 f \ntrailer\n<< /Size 1 /Prev 9 >>\nstartxref\n9\n%%EOF".to_vec();
    let many_pages = pdf(&[
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [] /Count 2000000000 >>",
    ]);
    for (name, bytes) in [
        ("page tree", page_tree_cycle),
        ("length", length_cycle),
        ("previous table", previous_cycle),
        ("page count", many_pages),
    ] {
        let started = Instant::now();
        let result = extract_bytes(&bytes, "pdf");
        assert!(
            match &result {
                // Its text is there although its length is not.
                Ok(extracted) => name == "length" && text_of(extracted) == "x",
                Err(error) => matches!(
                    error,
                    ExtractError::Corrupt { .. }
                        | ExtractError::Empty
                        | ExtractError::TooLarge { .. }
                ),
            },
            "{name}: {result:?}"
        );
        assert!(
            started.elapsed().as_secs() < 10,
            "{name} took {:?}",
            started.elapsed()
        );
    }
}

/// A DOCX of the given parts; `word/document.xml` among them.
pub(crate) fn docx(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in parts {
        zip.start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A document part around `body`.
pub(crate) fn document_xml(body: &str) -> String {
    format!(
        "<w:document xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\" \
         xmlns:mc=\"http://schemas.openxmlformats.org/markup-compatibility/2006\"><w:body>{body}</w:body></w:document>"
    )
}

fn docx_texts(body: &str) -> Vec<String> {
    block_texts(extract_bytes(
        &docx(&[("word/document.xml", document_xml(body).as_bytes())]),
        "docx",
    ))
}

#[test]
fn deleted_and_hidden_words_are_not_read() {
    let body = r#"<w:p><w:r><w:t>Kept </w:t></w:r><w:del w:id="1"><w:r><w:delText>deleted</w:delText></w:r></w:del>
        <w:ins w:id="2"><w:r><w:t>inserted</w:t></w:r></w:ins>
        <w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>
        <w:r><w:rPr><w:vanish w:val="0"/></w:rPr><w:t> shown</w:t></w:r>
        <w:r><w:rPr><w:webHidden/></w:rPr><w:t xml:space="preserve"> printed</w:t></w:r>
        <w:r><w:rPr><w:sz w:val="1"/></w:rPr><w:t>tiny</w:t></w:r>
        <w:r><w:instrText>HYPERLINK "http://example.org"</w:instrText></w:r></w:p>
        <w:p><w:r><mc:AlternateContent><mc:Choice><w:txbxContent><w:p><w:r><w:t>A box.</w:t></w:r></w:p></w:txbxContent></mc:Choice>
        <mc:Fallback><w:txbxContent><w:p><w:r><w:t>A box.</w:t></w:r></w:p></w:txbxContent></mc:Fallback></mc:AlternateContent></w:r>
        <w:r><w:t>Beside it.</w:t></w:r></w:p>
        <w:tbl><w:tr><w:trPr><w:del w:id="3"/></w:trPr><w:tc><w:p><w:r><w:t>old</w:t></w:r></w:p></w:tc><w:tc><w:p/></w:tc></w:tr>
        <w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>b</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"#;
    assert_eq!(
        docx_texts(body),
        [
            "Kept inserted shown printed",
            "A box.",
            "Beside it.",
            "| a | b |"
        ]
    );
}

#[test]
fn archives_that_expand_without_end_are_refused() {
    let zeros = vec![b' '; 300 << 20];
    let bomb = docx(&[("word/document.xml", &zeros)]);
    assert!(bomb.len() < 1 << 20);
    let started = Instant::now();
    let error = extract_bytes(&bomb, "docx").unwrap_err();
    assert!(matches!(error, ExtractError::TooLarge { .. }), "{error}");
    assert!(started.elapsed().as_secs() < 5);
}

#[test]
fn xml_entities_of_ones_own_are_refused() {
    let laughs = "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]>";
    let external = "<!DOCTYPE x [<!ENTITY b SYSTEM \"file:///etc/passwd\">]>";
    for doctype in [laughs, external] {
        let xml = format!(
            "{doctype}{}",
            document_xml("<w:p><w:r><w:t>&b;</w:t></w:r></w:p>")
        );
        let error =
            extract_bytes(&docx(&[("word/document.xml", xml.as_bytes())]), "docx").unwrap_err();
        assert!(
            matches!(&error, ExtractError::Corrupt { reason } if reason.contains("document type")),
            "{error}"
        );
    }
}

#[test]
fn malformed_archives_are_damaged() {
    let good = docx(&[(
        "word/document.xml",
        document_xml("<w:p><w:r><w:t>text</w:t></w:r></w:p>").as_bytes(),
    )]);
    assert_eq!(block_texts(extract_bytes(&good, "docx")), ["text"]);
    for broken in [
        &good[..good.len() / 2],
        &docx(&[("word/document.xml", b"<w:document><w:p>")])[..],
    ] {
        let error = extract_bytes(broken, "docx").unwrap_err();
        assert!(matches!(error, ExtractError::Corrupt { .. }), "{error}");
    }
    let other = extract_bytes(&docx(&[("mimetype", b"application/zip")]), "docx").unwrap_err();
    assert!(
        matches!(other, ExtractError::TypeMismatch { .. }),
        "{other}"
    );
}

/// A DOCX that shows a part of its own by `w:altChunk`.
fn docx_with_chunk(name: &str, content: &[u8], times: usize) -> Vec<u8> {
    let relationships: String = (0..times)
        .map(|at| {
            format!(
                r#"<Relationship Id="c{at}" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/aFChunk" Target="{name}"/>"#
            )
        })
        .collect();
    let chunks: String = (0..times)
        .map(|at| format!(r#"<w:altChunk r:id="c{at}"/>"#))
        .collect();
    let body = format!("<w:p><w:r><w:t>Level.</w:t></w:r></w:p>{chunks}");
    let document = document_xml(&body).replace("<w:body>", r#"<w:body xmlns:r="r">"#);
    docx(&[
        ("word/document.xml", document.as_bytes()),
        (
            "word/_rels/document.xml.rels",
            format!("<Relationships>{relationships}</Relationships>").as_bytes(),
        ),
        (&format!("word/{name}"), content),
    ])
}

#[test]
fn documents_within_documents_end() {
    let mut nested = docx_with_chunk("a.txt", b"Innermost.", 1);
    for _ in 0..10 {
        nested = docx_with_chunk("a.docx", &nested, 1);
    }
    let extracted = extract_bytes(&nested, "docx").unwrap();
    assert_eq!(text_of(&extracted), ["Level."; 4].join("\n\n"));
    assert!(
        extracted.warnings.iter().any(|w| w.contains("left out")),
        "{:?}",
        extracted.warnings
    );
}

#[test]
fn many_parts_that_expand_are_bounded_together() {
    let started = Instant::now();
    // Four MiB of blanks each, which no single part's limit refuses: 256 MiB in all.
    let bomb = docx_with_chunk("a.txt", &vec![b' '; 4 << 20], 300);
    let extracted = extract_bytes(&bomb, "docx").unwrap();
    assert!(
        extracted.warnings.iter().any(|w| w.contains("too large")),
        "{:?}",
        extracted.warnings
    );
    assert!(started.elapsed().as_secs() < 20);
}

#[test]
fn a_table_nested_ten_thousand_deep_is_read_or_refused() {
    let body = format!(
        "{}{}",
        "<w:tbl><w:tr><w:tc>".repeat(10_000),
        "</w:tc></w:tr></w:tbl>".repeat(10_000)
    );
    let result = extract_bytes(
        &docx(&[("word/document.xml", document_xml(&body).as_bytes())]),
        "docx",
    );
    assert!(
        matches!(
            result,
            Err(ExtractError::Empty | ExtractError::Corrupt { .. })
        ),
        "{result:?}"
    );
}

#[test]
fn what_is_not_a_file_with_content_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("empty.pdf"), b"").unwrap();
    assert_eq!(extract_file(&path("empty.pdf")), Err(ExtractError::Empty));
    std::fs::write(path("page.pdf"), b"<!DOCTYPE html><p>not a PDF").unwrap();
    let error = extract_file(&path("page.pdf")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the name ends in .pdf but the content is an HTML page; rename the file to what it is"
    );
    assert!(matches!(
        extract_file(&path("missing.txt")),
        Err(ExtractError::Unreadable { .. })
    ));
    assert!(matches!(
        extract_file(folder.path()),
        Err(ExtractError::Unreadable { .. })
    ));
    let fifo = std::ffi::CString::new(path("pipe.txt").to_str().unwrap()).unwrap();
    // SAFETY: `fifo` is a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    assert!(matches!(
        extract_file(&path("pipe.txt")),
        Err(ExtractError::Unreadable { .. })
    ));
}
