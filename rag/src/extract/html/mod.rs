//! HTML to blocks: what a reader sees of the page. Scripts, styles, navigation and hidden elements are not seen
//! and so not read; hidden text is a known way to smuggle in instructions ([`visibility`]).
//!
//! Within a line, raised and lowered numbers stay apart from what they stand at, withdrawn text is marked
//! `~~...~~`, and addresses of links and texts of images are written out ([`inline`]). Lists have the markers that
//! the page shows ([`markers`]), forms what was filled in ([`forms`]).

mod colors;
mod css;
mod elements;
mod encoding;
mod forms;
mod furniture;
mod inline;
mod marker_style;
mod markers;
mod paint;
mod tables;
mod visibility;

use scraper::{ElementRef, Html, Node, Selector};

use super::ExtractError;
use super::encoding::Decoded;
use super::outline::Flow;
use crate::document::{BlockKind, Extracted};
use colors::Ink;
use css::Shift;
use elements::{INLINE, is_navigation};
use visibility::Visibility;

pub(super) use inline::{image_text, link_target, push_lowered, push_raised};

/// Elements nested deeper than this are read as flat text: real pages stay below 100, and the walk is recursive.
const MAX_DEPTH: usize = 200;
/// Longest text that is raised or lowered by its style, in chars: a list of notes ("12, 13, 14"), not a line.
const MAX_SHIFTED: usize = 16;

/// Extracts an HTML document.
pub(super) fn extract(bytes: &[u8]) -> Result<Extracted, ExtractError> {
    let Decoded { text, warnings } =
        super::encoding::decode(bytes, encoding::stated_encoding(bytes))
            .ok_or_else(|| ExtractError::corrupt("not text"))?;
    let mut page = Page::parse(Html::parse_document(&text));
    let mut flow = Flow::default();
    for warning in warnings {
        flow.writer.warn(warning);
    }
    if let Some(title) = first(&page.html, "head > title") {
        flow.writer.suggest_title(&title.text().collect::<String>());
    }
    page.walk_body(&mut flow, true);
    if flow.writer.is_empty() {
        // The whole page sits in what looked like navigation.
        page.visibility.keep_page_furniture = true;
        page.walk_body(&mut flow, false);
    }
    Ok(flow.finish().finish(None))
}

/// Writes the blocks of an HTML fragment within another document (Markdown's raw HTML).
pub(super) fn write_fragment(fragment: &str, flow: &mut Flow) {
    let mut page = Page::parse(Html::parse_fragment(fragment));
    page.visibility.keep_page_furniture = true;
    page.walk_children(page.html.root_element(), flow, page.outermost(true));
}

fn first<'a>(html: &'a Html, selector: &str) -> Option<ElementRef<'a>> {
    let selector = Selector::parse(selector).expect("the selector is a constant");
    html.select(&selector).next()
}

/// What holds for everything below an element.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Elements above.
    depth: usize,
    /// Whether the text is struck out.
    struck: bool,
    /// Whether addresses of links are written out.
    links: bool,
    /// Whether the links are those of a list of links.
    in_link_list: bool,
    ink: Ink,
}

impl Place {
    fn deeper(self) -> Self {
        Self {
            depth: self.depth + 1,
            ..self
        }
    }
}

struct Page {
    html: Html,
    visibility: Visibility,
}

impl Page {
    fn parse(html: Html) -> Self {
        Self {
            visibility: Visibility::of(&html),
            html,
        }
    }

    /// What holds for the page as a whole; `links`: addresses of links are written out.
    fn outermost(&self, links: bool) -> Place {
        Place {
            depth: 0,
            struck: false,
            links,
            in_link_list: false,
            ink: self.visibility.ink_of_page(),
        }
    }

    fn walk_body(&self, flow: &mut Flow, links: bool) {
        let root = self.html.root_element();
        let body = first(&self.html, "body").unwrap_or(root);
        let place = self.within(body, self.within(root, self.outermost(links)));
        self.walk_children(body, flow, place);
        flow.flush();
    }

    /// What holds below `element`, which lies in `place`.
    fn within(&self, element: ElementRef<'_>, place: Place) -> Place {
        let is_struck = matches!(element.value().name(), "del" | "s" | "strike")
            || self.visibility.is_struck(element);
        Place {
            struck: place.struck || is_struck,
            ink: self.visibility.ink_within(element, place.ink),
            ..place
        }
    }

    fn walk_children(&self, parent: ElementRef<'_>, flow: &mut Flow, place: Place) {
        for child in parent.children() {
            match child.value() {
                // It leaves a gap between the words beside it.
                Node::Text(_) if place.ink.is_unseen() => flow.inline.push(' '),
                Node::Text(text) if place.struck => inline::push_struck(&mut flow.inline, text),
                Node::Text(text) => flow.inline.push_str(text),
                Node::Element(_) => {
                    let Some(element) = ElementRef::wrap(child) else {
                        continue;
                    };
                    if !self.visibility.is_skipped(element) {
                        self.walk(element, flow, self.within(element, place.deeper()));
                    } else if element.value().name() == "li"
                        && self.visibility.is_displayed(element)
                    {
                        // It takes room, and a number.
                        flow.count_item(markers::stated_number(element));
                    }
                }
                _ => {}
            }
        }
    }

    fn walk(&self, element: ElementRef<'_>, flow: &mut Flow, place: Place) {
        if place.depth > MAX_DEPTH {
            flow.inline.push_str(&flat_text(element));
            return;
        }
        let name = element.value().name();
        match name {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                flow.flush();
                let place = Place {
                    links: false,
                    ..place
                };
                let text = self.inline_text(element, place);
                flow.writer.heading(name.as_bytes()[1] - b'0', &text);
            }
            "br" => flow.inline.push('\n'),
            "hr" => flow.flush(),
            "ul" | "menu" | "ol" | "dl" => self.walk_list(element, flow, place),
            "li" => {
                let number = flow.count_item(markers::stated_number(element));
                let style = self.visibility.marker_style(element);
                flow.open_item_marked(style.marker(number.unwrap_or(1)));
                self.walk_children(element, flow, place);
                flow.flush();
            }
            "dt" => {
                flow.open_item();
                self.walk_children(element, flow, place);
                if let Some(value) = value_of_term(element) {
                    flow.inline.push_str(": ");
                    self.walk_children(value, flow, place);
                }
                flow.flush();
            }
            // Written behind its term.
            "dd" if is_value_of_term(element) => {}
            "dd" => {
                flow.open_list(None);
                flow.open_item();
                self.walk_children(element, flow, place);
                flow.close_list();
            }
            "pre" | "listing" | "xmp" => {
                flow.flush();
                let mut text = String::new();
                self.preformatted(element, &mut text, place);
                flow.writer.lines(BlockKind::Code, &text);
            }
            "input" | "textarea" | "select" => self.field(element, flow, place),
            "table" => self.table(element, flow, place),
            "a" | "sup" | "sub" | "img" | "svg" | "math" | "rt" => {
                self.walk_special(element, flow, place)
            }
            "span" | "b" | "i" | "em" | "strong" | "u" | "s" | "code" | "small" | "abbr"
            | "cite" | "q" | "mark" | "font" | "label" | "time" | "kbd" | "samp" | "var"
            | "ins" | "del" | "big" | "tt" | "bdi" | "bdo" | "data" | "dfn" | "strike" | "wbr"
            | "ruby" | "rb" | "acronym" | "output" | "nobr" => match self.shift_of_text(element) {
                Some(shift) => self.shifted(element, flow, place, shift),
                None => self.walk_children(element, flow, place),
            },
            _ => {
                flow.flush();
                self.walk_children(element, flow, place);
                flow.flush();
            }
        }
    }

    /// Elements within a line that are more than the text they hold.
    fn walk_special(&self, element: ElementRef<'_>, flow: &mut Flow, place: Place) {
        match element.value().name() {
            "a" => match self.shift_of_text(element) {
                Some(shift) => self.shifted(element, flow, place, shift),
                None => self.link(element, flow, place),
            },
            "sup" => self.shifted(element, flow, place, Shift::Raised),
            "sub" => self.shifted(element, flow, place, Shift::Lowered),
            "math" if place.ink.is_unseen() => {}
            "math" => flow.inline.push_str(&inline::formula(element, 0)),
            "rt" => {
                flow.inline.push('(');
                self.walk_children(element, flow, place);
                flow.inline.push(')');
            }
            "svg" => {
                let title = element
                    .child_elements()
                    .find(|child| child.value().name() == "title");
                let text = match (element.value().attr("aria-label"), title) {
                    (Some(label), _) => label.to_owned(),
                    (None, Some(title)) => title.text().collect(),
                    (None, None) => return,
                };
                push_image(&mut flow.inline, &text);
            }
            _ => {
                let alt = element.value().attr("alt").unwrap_or("");
                let is_decoration =
                    matches!(element.value().attr("role"), Some("presentation" | "none"));
                if !is_decoration && !is_caption(element, alt) {
                    push_image(&mut flow.inline, alt);
                }
            }
        }
    }

    /// How the style shifts the text of an element within a line; `None` for what stands on the line, what is too long
    /// for a number or a mark, and what holds a `sup` or `sub` that says it.
    fn shift_of_text(&self, element: ElementRef<'_>) -> Option<Shift> {
        let shift = self.visibility.shift(element);
        if shift == Shift::Level {
            return None;
        }
        let says_it = |inner: ElementRef<'_>| matches!(inner.value().name(), "sup" | "sub");
        let text = flat_text(element);
        let is_short = (1..=MAX_SHIFTED).contains(&text.trim().chars().count());
        (is_short && !element.descendent_elements().any(says_it)).then_some(shift)
    }

    /// Raised or lowered text.
    fn shifted(&self, element: ElementRef<'_>, flow: &mut Flow, place: Place, shift: Shift) {
        let place = Place {
            links: false,
            ..place
        };
        let text = self.inline_text(element, place);
        let whole: String = element.text().collect();
        if whole.starts_with(char::is_whitespace) {
            flow.inline.push(' ');
        }
        let is_note = holds_note_link(element)
            || is_note_link(element)
            || element
                .parent()
                .and_then(ElementRef::wrap)
                .is_some_and(is_note_link);
        match shift {
            Shift::Level => flow.inline.push_str(&text),
            Shift::Lowered => inline::push_lowered(&mut flow.inline, &text),
            Shift::Raised => {
                let is_formula = is_variable_near(element);
                inline::push_raised(&mut flow.inline, &text, is_note, is_formula);
            }
        }
        if whole.ends_with(char::is_whitespace) {
            flow.inline.push(' ');
        }
    }

    fn link(&self, element: ElementRef<'_>, flow: &mut Flow, place: Place) {
        let start = flow.inline.len();
        let num_blocks = flow.writer.num_blocks();
        self.walk_children(element, flow, place);
        let Some(href) = element.value().attr("href").filter(|_| place.links) else {
            return;
        };
        let text = match flow.inline.get(start..) {
            Some(text) if !text.trim().is_empty() => text.to_owned(),
            _ => element.text().collect(),
        };
        let Some(target) = inline::link_target(href, &text, place.in_link_list) else {
            return;
        };
        let target = format!("({target})");
        // Blocks within a link are written by now.
        if flow.inline.trim().is_empty() && flow.writer.continue_last(num_blocks, &target) {
            return;
        }
        flow.inline.truncate(flow.inline.trim_end().len());
        flow.inline.push(' ');
        flow.inline.push_str(&target);
    }

    fn walk_list(&self, element: ElementRef<'_>, flow: &mut Flow, place: Place) {
        let place = Place {
            in_link_list: place.in_link_list || is_navigation(element),
            ..place
        };
        if element.value().name() == "dl" {
            flow.open_list(None);
        } else {
            let (first, step) = self.visibility.numbering(element);
            flow.open_counted_list(first, step);
        }
        self.walk_children(element, flow, place);
        flow.close_list();
    }

    /// Adds what is seen of preformatted text, its white space as it is.
    fn preformatted(&self, element: ElementRef<'_>, text: &mut String, place: Place) {
        if place.depth > MAX_DEPTH {
            return text.push_str(&flat_text(element));
        }
        for child in element.children() {
            match (child.value(), ElementRef::wrap(child)) {
                (Node::Text(part), _) if !place.ink.is_unseen() => text.push_str(part),
                (_, Some(child)) if child.value().name() == "br" => text.push('\n'),
                (_, Some(child)) if !self.visibility.is_skipped(child) => {
                    self.preformatted(child, text, self.within(child, place.deeper()));
                }
                _ => {}
            }
        }
    }

    /// The text below `element` on one line; `place` is what holds there.
    fn inline_text(&self, element: ElementRef<'_>, place: Place) -> String {
        let mut flow = Flow::default();
        self.walk_children(element, &mut flow, place);
        let blocks = flow.finish().finish(None).blocks;
        blocks
            .into_iter()
            .map(|block| block.text.replace('\n', " "))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Writes what stands for an image, apart from the words beside it.
fn push_image(inline: &mut String, alt: &str) {
    if let Some(text) = image_text(alt) {
        if inline.ends_with(|c: char| !c.is_whitespace()) {
            inline.push(' ');
        }
        inline.push_str(&text);
        inline.push(' ');
    }
}

/// Whether the caption of the figure says what the image's text says.
fn is_caption(image: ElementRef<'_>, alt: &str) -> bool {
    image
        .ancestors()
        .filter_map(ElementRef::wrap)
        .find(|above| above.value().name() == "figure")
        .and_then(|figure| {
            figure
                .descendent_elements()
                .find(|inner| inner.value().name() == "figcaption")
        })
        .is_some_and(|caption| {
            let caption: String = caption.text().collect();
            caption.to_lowercase().contains(&alt.trim().to_lowercase())
        })
}

/// Whether the element is a link to a place within the page.
fn is_note_link(element: ElementRef<'_>) -> bool {
    element.value().name() == "a"
        && element
            .value()
            .attr("href")
            .is_some_and(|href| href.contains('#'))
}

fn holds_note_link(element: ElementRef<'_>) -> bool {
    element.descendent_elements().any(is_note_link)
}

/// Whether the raised element, or what it stands at, is set as a variable.
fn is_variable_near(raised: ElementRef<'_>) -> bool {
    let is_variable =
        |element: ElementRef<'_>| matches!(element.value().name(), "var" | "i" | "em");
    let stands_at_variable = raised
        .prev_sibling()
        .and_then(ElementRef::wrap)
        .is_some_and(is_variable);
    stands_at_variable
        || raised.descendent_elements().any(is_variable)
        || raised
            .parent()
            .and_then(ElementRef::wrap)
            .is_some_and(is_variable)
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

/// Most characters of a term and of its description that are written as one line `term: description`.
const MAX_TERM_CHARS: usize = 80;

/// The description of a `dt` that belongs on its line: a short one without blocks of its own, the only one of the term.
fn value_of_term(term: ElementRef<'_>) -> Option<ElementRef<'_>> {
    let mut behind = term.next_siblings().filter_map(ElementRef::wrap);
    let value = behind.next().filter(|next| next.value().name() == "dd")?;
    let is_only = behind.next().is_none_or(|next| next.value().name() != "dd");
    let is_line = |element: ElementRef<'_>| {
        let len = element.text().map(|text| text.trim().len()).sum::<usize>();
        let mut inner = element.descendent_elements().skip(1);
        (1..=MAX_TERM_CHARS).contains(&len) && inner.all(|e| INLINE.contains(&e.value().name()))
    };
    let has_colon = term
        .text()
        .last()
        .is_some_and(|text| text.trim_end().ends_with(':'));
    (is_only && !has_colon && is_line(term) && is_line(value)).then_some(value)
}

fn is_value_of_term(description: ElementRef<'_>) -> bool {
    let mut before = description.prev_siblings().filter_map(ElementRef::wrap);
    let term = before.next().filter(|term| term.value().name() == "dt");
    term.and_then(value_of_term) == Some(description)
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
    fn a_term_and_its_short_description_are_one_line() {
        let texts = |html: &str| -> Vec<String> {
            let blocks = extract(html.as_bytes()).unwrap().blocks;
            blocks.into_iter().map(|block| block.text).collect()
        };
        assert_eq!(
            texts("<dl><dt>Height<dd>4.1 m<dt>Insulated<dd><b>no</b></dl>"),
            ["- Height: 4.1 m", "- Insulated: no"]
        );
        assert_eq!(
            texts("<dl><dt>Ladder<dd>for the roof<dd>for the wall</dl>"),
            ["- Ladder", "  - for the roof", "  - for the wall"]
        );
        assert_eq!(
            texts("<dl><dt>Use<dd><p>One.<p>Two.</dl>"),
            ["- Use", "  - One.", "Two."]
        );
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
    fn text_that_a_style_raises_stays_apart_from_what_it_stands_at() {
        let sheet = "<style>.c5{vertical-align:super;font-size:6.6pt}.c7{vertical-align:sub}\
                     sup{position:relative;top:-.5em;font-size:75%;vertical-align:baseline}\
                     .up{position:relative;font-size:70%;bottom:4px}.icon{vertical-align:middle}\
                     @media (min-width:9px){.wide{vertical-align:super}}</style>";
        let cases = [
            ("10<span class=c5>5</span> KBE", "10^5 KBE"),
            (
                "since 2021<span class=c5>2</span>, CO<span class=c7>2</span>",
                "since 2021^2, CO2",
            ),
            (
                "10<span style='vertical-align: SUPER'>6</span> lux",
                "10^6 lux",
            ),
            (
                "10<font style='vertical-align:super'>4</font> units",
                "10^4 units",
            ),
            ("10<span style='vertical-align:0.5em'>7</span> W", "10^7 W"),
            (
                "10<span style='vertical-align:40%;font-size:8pt'>7</span> W",
                "10^7 W",
            ),
            (
                "10<span style='position:relative;top:-.5em;font-size:70%'>6</span> cells",
                "10^6 cells",
            ),
            ("10<b class=up>6</b> cells", "10^6 cells"),
            ("word<a class=c5 href='#n1'>1</a> on", "word [^1] on"),
            ("2021<span class=c5>2 </span>and", "2021^2 and"),
            ("10<sup>6</sup>", "10^6"),
            ("10<span class=c5><sup>6</sup></span>", "10^6"),
            (
                "5<span style='vertical-align:baseline'>5</span> kg",
                "55 kg",
            ),
            ("5<span class=icon>5</span> kg", "55 kg"),
            ("5<span class=wide>5</span> kg", "55 kg"),
            ("5<span style='vertical-align:1px'>5</span> kg", "55 kg"),
            (
                "5<span style='position:relative;top:-.5em'>5</span> kg",
                "55 kg",
            ),
            (
                "5<span style='position:absolute;top:-.5em;font-size:70%'>5</span> kg",
                "55 kg",
            ),
        ];
        for (html, want) in cases {
            assert_eq!(texts(&format!("{sheet}<p>{html}</p>")), [want], "{html}");
        }
    }

    #[test]
    fn what_is_named_with_the_line_above_it_unfolds() {
        let cases = [
            // As Confluence and Divi write them, and by the names of BEM.
            (
                "<div class=expand-container><div class=expand-control><span class=expand-control-text>VPN</span></div>\
                 <div class=expand-content style='display:none'>MARK</div></div>",
                true,
            ),
            (
                "<div class='et_pb_toggle closed'><h5 class=et_pb_toggle_title>Versand</h5>\
                 <div class='et_pb_toggle_content clearfix' style='display:none'>MARK</div></div>",
                true,
            ),
            (
                "<div class=faq__list><p class=faq__q>One?<p class=faq__a hidden>MARK<p class=faq__q>Two?<p class=faq__a hidden>b</div>",
                true,
            ),
            (
                "<p>Start<span>...</span><span style='display:none'>MARK</span></p><button onclick='f()'>More</button>",
                true,
            ),
            (
                "<p>Start <span style='display:none'>MARK</span> end</p><button onclick='f()'>More</button>",
                false,
            ),
            // Nothing shows that these are parts of one thing.
            (
                "<div><div>VPN</div><div style='display:none'>MARK</div></div>",
                false,
            ),
            (
                "<div class=box><div class=box-title>VPN</div><div class=hint style='display:none'>MARK</div></div>",
                false,
            ),
            // More is seen of the thing than its title.
            (
                "<div class=box><div class=box-title>VPN</div><div class=box-note style='display:none'>MARK</div><p>Gateway</div>",
                false,
            ),
            (
                "<form><div class=field><span class=field-name>VPN</span><div class=field-error hidden>MARK</div></div></form>",
                false,
            ),
            (
                "<div class=menu><span class=menu-title>VPN</span><ul class=menu-list hidden><li><a href=/a>MARK</a></ul></div>",
                false,
            ),
        ];
        for (html, want) in cases {
            let texts = texts(&format!("<p>Text.</p>{html}"));
            let is_read = texts.iter().any(|text| text.contains("MARK"));
            assert_eq!(is_read, want, "{html}");
        }
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
