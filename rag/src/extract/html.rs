//! HTML to blocks: what a reader sees of the main content. Scripts, styles, navigation and hidden
//! elements are not seen and so not read; hidden text is a known way to smuggle in instructions.
//!
//! Style sheets are honoured as far as they hide things: a rule outside any `@` block whose
//! declarations hide ([`hides`]) applies by its selector. Colours are not compared with backgrounds.

use std::collections::HashSet;

use ego_tree::NodeId;
use encoding_rs::Encoding;
use scraper::{ElementRef, Html, Node, Selector};

use super::ExtractError;
use super::outline::Flow;
use super::table::Grid;
use super::text::{clean_line, decode};
use crate::document::{BlockKind, Extracted};

/// Elements nested deeper than this are read as flat text: real pages stay below 100, and the walk is recursive.
const MAX_DEPTH: usize = 200;
/// How many rules of a page's style sheets are looked at.
const MAX_RULES: usize = 4000;
/// A cell that spans more columns or rows than this is read as spanning one.
const MAX_SPAN: usize = 100;

/// Extracts an HTML document.
pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, ExtractError> {
    let text = decode_html(bytes)?;
    let page = Page::parse(Html::parse_document(&text));
    let mut flow = Flow::default();
    if let Some(title) = first(&page.html, "head > title") {
        flow.writer.suggest_title(&title.text().collect::<String>());
    }
    let body = first(&page.html, "body").unwrap_or_else(|| page.html.root_element());
    let root = page.main_content(body);
    page.walk_children(root, &mut flow, 0);
    flow.flush();
    if flow.writer.is_empty() {
        // The whole page sits in what looked like navigation.
        Page {
            keep_page_furniture: true,
            ..page
        }
        .walk_body(&mut flow);
    }
    Ok(flow.finish().finish(None))
}

/// Writes the blocks of an HTML fragment within another document (Markdown's raw HTML).
pub(super) fn write_fragment(fragment: &str, flow: &mut Flow) {
    let page = Page {
        keep_page_furniture: true,
        ..Page::parse(Html::parse_fragment(fragment))
    };
    page.walk_children(page.html.root_element(), flow, 0);
}

/// The stated character set (byte order mark, then `charset=` near the start), else as for plain text.
fn decode_html(bytes: &[u8]) -> Result<String, ExtractError> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(2048)]).to_ascii_lowercase();
    let label = head.split_once("charset=").map(|(_, rest)| {
        rest.trim_start_matches(['"', '\''])
            .split(|c: char| !(c.is_ascii_alphanumeric() || "-_:.".contains(c)))
            .next()
    });
    let stated = label
        .flatten()
        .and_then(|label| Encoding::for_label(label.as_bytes()));
    match stated {
        // A page that was saved again often still states its first encoding; valid UTF-8 speaks for itself.
        Some(encoding)
            if Encoding::for_bom(bytes).is_none() && std::str::from_utf8(bytes).is_err() =>
        {
            Ok(encoding.decode_without_bom_handling(bytes).0.into_owned())
        }
        _ => decode(bytes)
            .map(std::borrow::Cow::into_owned)
            .ok_or_else(|| ExtractError::corrupt("not text")),
    }
}

fn first<'a>(html: &'a Html, selector: &str) -> Option<ElementRef<'a>> {
    let selector = Selector::parse(selector).expect("the selector is a constant");
    html.select(&selector).next()
}

struct Page {
    html: Html,
    /// Elements that a style sheet hides.
    hidden: HashSet<NodeId>,
    /// Whether header, footer, navigation and aside are read too.
    keep_page_furniture: bool,
}

impl Page {
    fn parse(html: Html) -> Self {
        let style = Selector::parse("style").expect("the selector is a constant");
        let sheets: String = html
            .select(&style)
            .flat_map(|element| element.text())
            .collect();
        let mut hidden = HashSet::new();
        for selector in hiding_selectors(&sheets) {
            if let Ok(selector) = Selector::parse(&selector) {
                hidden.extend(html.select(&selector).map(|element| element.id()));
            }
        }
        Self {
            html,
            hidden,
            keep_page_furniture: false,
        }
    }

    fn walk_body(&self, flow: &mut Flow) {
        let body = first(&self.html, "body").unwrap_or_else(|| self.html.root_element());
        self.walk_children(body, flow, 0);
    }

    /// The one `main` (or sole top `article`) if it holds a good part of the text, else the body.
    fn main_content<'a>(&'a self, body: ElementRef<'a>) -> ElementRef<'a> {
        let length =
            |element: ElementRef<'_>| element.text().map(|text| text.trim().len()).sum::<usize>();
        let total = length(body);
        for selector in ["main, [role=main]", "article"] {
            let selector = Selector::parse(selector).expect("the selector is a constant");
            let mut found = body
                .select(&selector)
                .filter(|element| !self.is_skipped(*element));
            if let (Some(only), None) = (found.next(), found.next())
                && length(only) * 4 >= total
            {
                return only;
            }
        }
        body
    }

    fn is_skipped(&self, element: ElementRef<'_>) -> bool {
        let value = element.value();
        let name = value.name();
        if matches!(
            name,
            "script"
                | "style"
                | "noscript"
                | "template"
                | "head"
                | "iframe"
                | "object"
                | "embed"
                | "svg"
                | "canvas"
                | "audio"
                | "video"
                | "button"
                | "select"
                | "input"
                | "textarea"
                | "datalist"
                | "map"
                | "dialog"
        ) {
            return true;
        }
        let hidden = value.attr("hidden").is_some()
            || value.attr("aria-hidden") == Some("true")
            || value.attr("style").is_some_and(hides)
            || value.classes().any(|class| {
                matches!(
                    class,
                    "sr-only"
                        | "visually-hidden"
                        | "noprint"
                        | "no-print"
                        | "mw-editsection"
                        | "mw-jump-link"
                )
            })
            || self.hidden.contains(&element.id());
        if hidden || self.keep_page_furniture {
            return hidden;
        }
        let role = value.attr("role").unwrap_or("");
        if name == "nav" || matches!(role, "navigation" | "search" | "banner" | "contentinfo") {
            return true;
        }
        // A header or footer belongs to its article; outside of one it belongs to the site.
        matches!(name, "header" | "footer" | "aside")
            && !element
                .ancestors()
                .filter_map(ElementRef::wrap)
                .any(|above| matches!(above.value().name(), "article" | "main" | "section"))
    }

    fn walk_children(&self, parent: ElementRef<'_>, flow: &mut Flow, depth: usize) {
        for child in parent.children() {
            match child.value() {
                Node::Text(text) => flow.inline.push_str(text),
                Node::Element(_) => {
                    if let Some(element) = ElementRef::wrap(child)
                        && !self.is_skipped(element)
                    {
                        self.walk(element, flow, depth + 1);
                    }
                }
                _ => {}
            }
        }
    }

    fn walk(&self, element: ElementRef<'_>, flow: &mut Flow, depth: usize) {
        if depth > MAX_DEPTH {
            flow.inline.push_str(&flat_text(element));
            return;
        }
        let name = element.value().name();
        match name {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                flow.flush();
                let text = self.inline_text(element, depth);
                flow.writer.heading(name.as_bytes()[1] - b'0', &text);
            }
            "br" => flow.inline.push('\n'),
            "hr" => flow.flush(),
            "ul" | "menu" => self.walk_list(element, None, flow, depth),
            "ol" => {
                let start = element
                    .value()
                    .attr("start")
                    .and_then(|start| start.parse().ok())
                    .unwrap_or(1);
                self.walk_list(element, Some(start), flow, depth);
            }
            "dl" => self.walk_list(element, None, flow, depth),
            "li" | "dt" => {
                flow.open_item();
                self.walk_children(element, flow, depth);
                flow.flush();
            }
            "dd" => {
                flow.open_list(None);
                flow.open_item();
                self.walk_children(element, flow, depth);
                flow.close_list();
            }
            "pre" | "listing" | "xmp" => {
                flow.flush();
                flow.writer
                    .lines(BlockKind::Code, &element.text().collect::<String>());
            }
            "table" => self.table(element, flow, depth),
            "sub" | "sup" | "span" | "a" | "b" | "i" | "em" | "strong" | "u" | "s" | "code"
            | "small" | "abbr" | "cite" | "q" | "mark" | "font" | "label" | "time" | "kbd"
            | "samp" | "var" | "ins" | "del" | "big" | "tt" | "bdi" | "bdo" | "data" | "dfn"
            | "strike" | "wbr" | "ruby" | "rb" | "img" | "acronym" | "output" | "math" => {
                self.walk_children(element, flow, depth);
            }
            _ => {
                flow.flush();
                self.walk_children(element, flow, depth);
                flow.flush();
            }
        }
    }

    fn walk_list(
        &self,
        element: ElementRef<'_>,
        first: Option<u64>,
        flow: &mut Flow,
        depth: usize,
    ) {
        flow.open_list(first);
        self.walk_children(element, flow, depth);
        flow.close_list();
    }

    /// The text below `element` on one line.
    fn inline_text(&self, element: ElementRef<'_>, depth: usize) -> String {
        let mut flow = Flow::default();
        self.walk_children(element, &mut flow, depth);
        let blocks = flow.finish().finish(None).blocks;
        blocks
            .into_iter()
            .map(|block| block.text.replace('\n', " "))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn table(&self, table: ElementRef<'_>, flow: &mut Flow, depth: usize) {
        flow.flush();
        if is_layout(table) {
            return self.walk_cells(table, flow, depth);
        }
        let mut grid = Grid::default();
        // Cells that reach down into later rows: (rows left, text) by column.
        let mut carried: Vec<(usize, String)> = Vec::new();
        let mut in_header = true;
        for row in own_rows(table) {
            if self.is_skipped(row) {
                continue;
            }
            let mut cells = Vec::new();
            let mut only_headers = true;
            for cell in row
                .child_elements()
                .filter(|cell| matches!(cell.value().name(), "td" | "th"))
            {
                if self.is_skipped(cell) {
                    continue;
                }
                take_carried(&mut carried, &mut cells);
                only_headers &= cell.value().name() == "th";
                let text = clean_line(&self.inline_text(cell, depth));
                let rows = span(cell, "rowspan");
                for _ in 0..span(cell, "colspan") {
                    if carried.len() <= cells.len() {
                        carried.resize(cells.len() + 1, (0, String::new()));
                    }
                    carried[cells.len()] = (rows - 1, text.clone());
                    cells.push(text.clone());
                }
            }
            take_carried(&mut carried, &mut cells);
            let in_thead = ElementRef::wrap(row.parent().unwrap_or(*row))
                .is_some_and(|p| p.value().name() == "thead");
            in_header &= in_thead || (only_headers && !cells.is_empty());
            grid.push_row(cells);
            grid.num_header_rows += usize::from(in_header);
        }
        if let Some(caption) = table
            .child_elements()
            .find(|child| child.value().name() == "caption")
        {
            flow.writer.paragraph(&self.inline_text(caption, depth));
        }
        if grid.num_columns() > 1 {
            flow.writer.lines(BlockKind::Table, &grid.to_markdown());
        } else {
            grid.rows()
                .iter()
                .flatten()
                .for_each(|cell| flow.writer.paragraph(cell));
        }
        if grid.truncated {
            flow.writer
                .warn("the end of a very large table was left out");
        }
    }

    /// Reads a table that only places things on the page, cell by cell.
    fn walk_cells(&self, table: ElementRef<'_>, flow: &mut Flow, depth: usize) {
        for cell in own_rows(table).flat_map(|row| row.child_elements().collect::<Vec<_>>()) {
            if !self.is_skipped(cell) {
                self.walk_children(cell, flow, depth + 1);
                flow.flush();
            }
        }
    }
}

/// Puts the cells that reach down from earlier rows at the end of `cells`.
fn take_carried(carried: &mut [(usize, String)], cells: &mut Vec<String>) {
    while let Some((rows_left, text)) = carried.get_mut(cells.len())
        && *rows_left > 0
    {
        *rows_left -= 1;
        cells.push(text.clone());
    }
}

fn span(cell: ElementRef<'_>, name: &str) -> usize {
    let stated = cell
        .value()
        .attr(name)
        .and_then(|value| value.trim().parse::<usize>().ok())
        .unwrap_or(1);
    if (1..=MAX_SPAN).contains(&stated) {
        stated
    } else {
        1
    }
}

/// The table's own rows, not those of tables within its cells.
fn own_rows<'a>(table: ElementRef<'a>) -> impl Iterator<Item = ElementRef<'a>> {
    table
        .child_elements()
        .flat_map(|child| match child.value().name() {
            "tr" => vec![child],
            "thead" | "tbody" | "tfoot" => child
                .child_elements()
                .filter(|row| row.value().name() == "tr")
                .collect(),
            _ => vec![],
        })
}

/// A table without header cells that holds tables, headings or a single cell only places things on the page.
fn is_layout(table: ElementRef<'_>) -> bool {
    let mut num_cells = 0;
    let mut holds_blocks = false;
    for element in table.descendent_elements().skip(1) {
        match element.value().name() {
            "th" => return false,
            "td" => num_cells += 1,
            "table" | "h1" | "h2" | "h3" | "h4" => holds_blocks = true,
            _ => {}
        }
    }
    holds_blocks || num_cells <= 1
}

/// All text below `element` but that of scripts and styles, without recursion.
fn flat_text(element: ElementRef<'_>) -> String {
    let mut text = String::new();
    for node in element.descendants() {
        if let Node::Text(part) = node.value() {
            let parent = node
                .parent()
                .and_then(ElementRef::wrap)
                .map(|parent| parent.value().name());
            if !matches!(parent, Some("script" | "style" | "noscript" | "template")) {
                text.push_str(part);
                text.push(' ');
            }
        }
    }
    text
}

/// Selectors of the rules that hide what they match.
fn hiding_selectors(sheets: &str) -> Vec<String> {
    let mut selectors = Vec::new();
    let mut depth = 0;
    let mut prelude = String::new();
    for (rule_idx, part) in sheets.split_inclusive(['{', '}']).enumerate() {
        if rule_idx > 2 * MAX_RULES {
            break;
        }
        let body = part.trim_end_matches(['{', '}']);
        if part.ends_with('{') {
            if depth == 0 {
                prelude = without_comments(body);
            }
            depth += 1;
        } else {
            if depth == 1 && !prelude.trim_start().starts_with('@') && hides(body) {
                selectors.push(prelude.trim().to_owned());
            }
            depth = (depth - 1).max(0);
        }
    }
    selectors
}

fn without_comments(css: &str) -> String {
    let mut rest = css;
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once("/*") {
        out.push_str(before);
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    out + rest
}

/// Whether CSS declarations make text unseen: not displayed, transparent, of size zero or far off the page.
fn hides(declarations: &str) -> bool {
    declarations.split(';').any(|declaration| {
        let Some((property, value)) = declaration.split_once(':') else {
            return false;
        };
        let property = property.trim().to_ascii_lowercase();
        let value = value
            .trim()
            .trim_end_matches("!important")
            .trim()
            .to_ascii_lowercase();
        let number: String = value
            .chars()
            .take_while(|c| c.is_ascii_digit() || "-.".contains(*c))
            .collect();
        let number = number.parse::<f32>().ok();
        match property.as_str() {
            "display" => value == "none",
            "visibility" => matches!(value.as_str(), "hidden" | "collapse"),
            "opacity" => number == Some(0.0),
            // "0.8em" is small print, "0.5px" is not for eyes.
            "font-size" => number.is_some_and(|n| {
                n == 0.0 || (n <= 1.0 && (value.ends_with("px") || value.ends_with("pt")))
            }),
            "text-indent" | "left" | "top" | "margin-left" => number.is_some_and(|n| n <= -999.0),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(html: &str) -> Vec<String> {
        extract(html.as_bytes())
            .unwrap()
            .blocks
            .into_iter()
            .map(|block| block.text)
            .collect()
    }

    #[test]
    fn reads_only_what_is_seen() {
        let html = r##"<html><head><title>T</title><style>.a, p#b { color: red; display: none } @media print { .c { display: none } }</style></head>
            <body><nav>menu</nav><header>site</header><p>one</p><p class=a>hid1</p><p id=b>hid2</p><p class=c>two</p>
            <p style="FONT-SIZE: 0">hid3</p><p style="font-size:0.9em">three</p><p hidden>hid4</p><script>hid5</script>
            <article><header>four</header><!-- hid6 --><p>fi<b>ve</b></p></article><footer>(c)</footer></body></html>"##;
        assert_eq!(texts(html), ["one", "two", "three", "four", "five"]);
        assert_eq!(texts("<nav>only <a>this</a></nav>"), ["only this"]);
    }

    #[test]
    fn prefers_the_main_element() {
        assert_eq!(
            texts("<div>cookies</div><main><h1>A</h1>text of the page</main>"),
            ["A", "text of the page"]
        );
    }

    #[test]
    fn spans_repeat_their_text_and_layout_tables_are_read_cell_by_cell() {
        let html =
            "<table><tr><th>a<th colspan=2>b<tr><td rowspan=2>1<td>2<td>3<tr><td>4<td>5</table>";
        assert_eq!(
            texts(html),
            ["| a | b | b |\n| - | - | - |\n| 1 | 2 | 3 |\n| 1 | 4 | 5 |"]
        );
        let layout = "<table><tr><td><h1>H</h1><td><table><tr><td>x<td>y</table></table>";
        assert_eq!(texts(layout), ["H", "| x | y |"]);
        let bomb = "<table><tr><td colspan=99999999 rowspan=99999999>x<td>y</table>";
        assert_eq!(texts(bomb), ["| x | y |"]);
    }

    #[test]
    fn the_stated_character_set_is_used() {
        let mut page = b"<html><head><meta charset=\"koi8-r\"></head><body>".to_vec();
        page.extend(encoding_rs::KOI8_R.encode("Отчёт").0.iter());
        assert_eq!(extract(&page).unwrap().blocks[0].text, "Отчёт");
    }

    #[test]
    fn twenty_thousand_open_elements_do_not_overflow_the_stack() {
        let html = format!("{}deep", "<div>".repeat(20_000));
        assert_eq!(texts(&html), ["deep"]);
    }
}
