//! What of a page belongs to its site rather than to its text: navigation, the head and foot of the site, and
//! what lies over or beside the main element (banners, notices about cookies).
//!
//! A banner is told from text by its structure: a dialog, a fixed position, something to press. Bare words in a
//! box beside the main element are left out, paragraphs there are read.
//!
//! The foot of a page may hold who approved it and when. Of such a foot the *statements* are read (several words that
//! are no link and no copyright); its menus and copyrights are not.

use scraper::{ElementRef, Html, Selector};

use super::css::own_style;
use super::elements::{HEADINGS, NEVER_READ, is_control, is_dialog, is_navigation, text_len};
use super::visibility::Visibility;

/// A piece of a foot is a statement with so many words, or with one less if it has a number; fewer are the name of
/// something or "all rights reserved".
const MIN_STATEMENT_WORDS: usize = 4;
/// So many letters without blanks are as much as one word more.
const LETTERS_A_WORD: usize = 10;
/// What stands apart from the text around it.
const BLOCKS: &[&str] = &[
    "p",
    "div",
    "ul",
    "ol",
    "li",
    "dl",
    "dt",
    "dd",
    "table",
    "tbody",
    "tr",
    "td",
    "th",
    "section",
    "address",
    "nav",
    "form",
    "figure",
    "blockquote",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
];

impl Visibility {
    /// Finds the feet of the page that hold statements, and what in them is left out.
    pub(super) fn find_feet(&mut self, html: &Html) {
        let selector =
            Selector::parse("footer, [role=contentinfo]").expect("the selector is a constant");
        let feet: Vec<ElementRef<'_>> = html
            .select(&selector)
            .filter(|foot| is_of_site(*foot) && self.is_furniture(*foot))
            .collect();
        for foot in feet {
            let mut pieces = vec![];
            add_pieces(foot, &mut pieces);
            let (statements, rest): (Vec<_>, Vec<_>) =
                pieces.into_iter().partition(|piece| is_statement(*piece));
            if !statements.is_empty() {
                self.read_feet.insert(foot.id());
                self.left_out.extend(rest.iter().map(|piece| piece.id()));
            }
        }
    }

    /// Whether the element is a foot with statements, or nothing but a box around one.
    fn holds_only_read_foot(&self, element: ElementRef<'_>) -> bool {
        only_children(element).any(|inner| self.read_feet.contains(&inner.id()))
    }

    /// Finds the main element: the only one, and with more text than what would be left out because of it.
    pub(super) fn find_main(&mut self, html: &Html) {
        let selector = Selector::parse("main, [role=main]").expect("the selector is a constant");
        let found: Vec<ElementRef<'_>> = html
            .select(&selector)
            .filter(|element| !self.is_skipped(*element))
            .take(2)
            .collect();
        let [only] = found[..] else { return };
        self.main_line = only
            .ancestors()
            .map(|node| node.id())
            .chain([only.id()])
            .collect();
        self.main = Some(only.id());
        let left_out: usize = only
            .ancestors()
            .filter_map(ElementRef::wrap)
            .flat_map(|above| above.child_elements())
            .filter(|element| {
                !self.main_line.contains(&element.id())
                    && !NEVER_READ.contains(&element.value().name())
                    && !is_site_navigation(*element)
                    && !self.is_hidden(*element)
                    && self.is_left_out_for_main(*element)
            })
            .map(text_len)
            .sum();
        if text_len(only) < left_out {
            self.main_line.clear();
            self.main = None;
        }
    }

    pub(super) fn is_furniture(&self, element: ElementRef<'_>) -> bool {
        if self.keep_page_furniture {
            return false;
        }
        if is_site_navigation(element) || self.left_out.contains(&element.id()) {
            return true;
        }
        if self.holds_only_read_foot(element) {
            return false;
        }
        if is_of_site(element)
            && (is_navigation(element)
                || !holds(
                    element,
                    &["p", "h1", "h2", "h3", "table", "dl", "address", "time"],
                ))
        {
            return true;
        }
        let is_beside_main = element.parent().is_some_and(|parent| {
            self.main_line.contains(&parent.id()) && Some(parent.id()) != self.main
        }) && !self.main_line.contains(&element.id());
        if is_beside_main {
            return self.is_left_out_for_main(element);
        }
        element.value().name() == "aside" && is_navigation(element)
    }

    /// Whether an element beside the main element is not read although it is no navigation by name.
    fn is_left_out_for_main(&self, element: ElementRef<'_>) -> bool {
        if is_of_site(element) {
            return is_foot(element);
        }
        let name = element.value().name();
        let is_text = matches!(name, "aside" | "section" | "article" | "p" | "table" | "dl")
            || HEADINGS.contains(&name)
            || holds(element, HEADINGS)
            || holds(element, &["aside", "article", "header"])
            || is_plain_text(element);
        !is_text || is_navigation(element) || self.is_overlay(element)
    }

    /// Whether the element lies over the page. An aside says itself what it is, wherever it is put.
    fn is_overlay(&self, element: ElementRef<'_>) -> bool {
        let is_pinned = || {
            only_children(element).any(|element| {
                own_style(element).is_pinned
                    || self.cascade.any_rule(element, |style| style.is_pinned)
            })
        };
        (is_dialog(element) && !self.is_referenced(element))
            || (element.value().name() != "aside" && is_pinned())
    }
}

/// The element, its only child, the only child of that, and so on.
fn only_children(element: ElementRef<'_>) -> impl Iterator<Item = ElementRef<'_>> {
    std::iter::successors(Some(element), |outer| {
        let mut inner = outer.child_elements();
        inner.next().filter(|_| inner.next().is_none())
    })
}

/// The parts of an element that stand apart from each other and hold no such parts.
fn add_pieces<'a>(element: ElementRef<'a>, pieces: &mut Vec<ElementRef<'a>>) {
    if !holds(element, BLOCKS) {
        return pieces.push(element);
    }
    for child in element.child_elements() {
        add_pieces(child, pieces);
    }
}

fn is_statement(piece: ElementRef<'_>) -> bool {
    let text: String = piece.text().collect();
    let letters_of = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).count();
    let num_words: usize = text
        .split_whitespace()
        .map(letters_of)
        .filter(|num_letters| *num_letters > 0)
        .map(|num_letters| 1 + num_letters / LETTERS_A_WORD)
        .sum();
    let has_number = text.contains(|c: char| c.is_ascii_digit());
    let leads_away = |inner: ElementRef<'_>| {
        let href = inner.value().attr("href").unwrap_or("#");
        !["#", "mailto:", "tel:"]
            .iter()
            .any(|start| href.starts_with(start))
    };
    num_words + usize::from(has_number) >= MIN_STATEMENT_WORDS
        && !text.contains('©')
        && !NEVER_READ.contains(&piece.value().name())
        && !piece
            .descendent_elements()
            .any(|inner| leads_away(inner) || is_control(inner) || is_site_navigation(inner))
}

/// Whether a box without a heading holds paragraphs or the like, and nothing of a menu, a form, a banner or the
/// foot of a site (the sign of copyright stands there). A list with links is rather a menu or the path to the page.
fn is_plain_text(element: ElementRef<'_>) -> bool {
    let holds_text = holds(
        element,
        &["p", "table", "dl", "blockquote", "pre", "address"],
    ) || (holds(element, &["ul", "ol"]) && !holds(element, &["a"]));
    holds_text
        && !holds(element, &["form", "input", "select", "textarea"])
        && !element.descendent_elements().any(|inner| {
            is_control(inner) || is_dialog(inner) || is_foot(inner) || is_site_navigation(inner)
        })
        && !element.text().any(|text| text.contains('©'))
}

fn is_site_navigation(element: ElementRef<'_>) -> bool {
    let value = element.value();
    value.name() == "nav" || matches!(value.attr("role"), Some("navigation" | "search"))
}

fn is_foot(element: ElementRef<'_>) -> bool {
    let value = element.value();
    value.name() == "footer" || value.attr("role") == Some("contentinfo")
}

/// Whether the element is the head or foot of the site rather than of an article.
fn is_of_site(element: ElementRef<'_>) -> bool {
    let value = element.value();
    let is_head = value.name() == "header" || value.attr("role") == Some("banner");
    (is_head || is_foot(element))
        && !element
            .ancestors()
            .filter_map(ElementRef::wrap)
            .any(|above| matches!(above.value().name(), "article" | "main" | "section"))
}

fn holds(element: ElementRef<'_>, names: &[&str]) -> bool {
    element
        .descendent_elements()
        .skip(1)
        .any(|inner| names.contains(&inner.value().name()))
}

#[cfg(test)]
mod tests {
    use crate::extract::html::extract;

    /// Whether the word `MARK` of the piece is read where the piece stands beside a main element.
    fn is_read_beside_main(head: &str, piece: &str) -> bool {
        let page = format!(
            "<html><head><title>A long title of the page</title>{head}</head><body><header><h1>Rule</h1></header>\
             <main><h2>Scope</h2><p>It covers all tower cranes on the sites.</p></main>{piece}</body></html>"
        );
        let blocks = extract(page.as_bytes()).unwrap().blocks;
        assert!(blocks.iter().any(|block| block.text.contains("cranes")));
        blocks.iter().any(|block| block.text.contains("MARK"))
    }

    #[test]
    fn text_beside_the_main_element_is_told_from_banners_by_structure() {
        let pinned = "<style>.low { position: fixed; bottom: 0 }</style>";
        let cases = [
            ("", "<div><p>MARK 5512.</p></div>", true),
            (
                "",
                "<div><div><p>MARK <a href='/x'>x</a>.</p></div></div>",
                true,
            ),
            ("", "<div><ul><li>MARK 8 to 12</li></ul></div>", true),
            ("", "<aside><p>MARK</p></aside>", true),
            (pinned, "<aside class=low><p>MARK</p></aside>", true),
            (pinned, "<div class=high><p>MARK</p></div>", true),
            ("", "<div>MARK</div>", false),
            ("", "<div role=dialog><p>MARK</p></div>", false),
            ("", "<div role=dialog><h2>MARK</h2><p>x</p></div>", false),
            ("", "<div><p>MARK</p><button>x</button></div>", false),
            ("", "<div><p>MARK</p><a href='#'>x</a></div>", false),
            ("", "<div style='position: fixed'><p>MARK</p></div>", false),
            (pinned, "<div class=low><h2>MARK</h2><p>x</p></div>", false),
            (pinned, "<div><div class=low><p>MARK</p></div></div>", false),
            ("", "<div><footer><p>MARK</p></footer></div>", false),
            ("", "<div><p>© 2026 MARK</p></div>", false),
            (
                "",
                "<div><ul><li><a href='/'>x</a><li>MARK</ul></div>",
                false,
            ),
            (
                "",
                "<div><p><a href='/a'>MARK a</a> <a href='/b'>b</a></p></div>",
                false,
            ),
        ];
        for (head, piece, want) in cases {
            assert_eq!(is_read_beside_main(head, piece), want, "{head} {piece}");
        }
    }

    #[test]
    fn statements_in_the_foot_of_a_page_are_read_and_its_menus_are_not() {
        let menu =
            "<ul><li><a href='/'>NAV home</a></li></ul><p>© 2026 NAV all rights of 3 firms</p>";
        let cases = [
            (
                "<footer>MARK approved by Ines Duarte on 20 April 2026</footer>",
                true,
            ),
            ("<footer>Issued by dept. MARK</footer>", true),
            ("<footer><p>Signed MARK 2026</p>{menu}</footer>", true),
            (
                "<div><footer><p>MARK by the head of Logistics</p>{menu}</footer></div>",
                true,
            ),
            (
                "<div role=contentinfo>MARK by <a href='mailto:q@a.example'>dept. Q</a></div>",
                true,
            ),
            (
                "<footer>{menu}<div><span>承認者は品質保証部長の田中太郎、二〇二六年四月 MARK</span></div></footer>",
                true,
            ),
            ("<footer>MARK rights reserved</footer>", false),
            (
                "<footer><p>Powered by the famous <a href='https://a.example'>MARK</a></p></footer>",
                false,
            ),
            ("<footer><p>© 2026 MARK of three firms</p></footer>", false),
            (
                "<footer><nav>MARK and many other words</nav></footer>",
                false,
            ),
            (
                "<footer><a href='/a'>MARK and terms</a> <a href='/b'>of this site</a></footer>",
                false,
            ),
        ];
        for (foot, want) in cases {
            let foot = foot.replace("{menu}", menu);
            assert_eq!(is_read_beside_main("", &foot), want, "{foot}");
            let page = format!("<h1>Rule</h1><p>It covers all tower cranes.</p>{foot}");
            let blocks = extract(page.as_bytes()).unwrap().blocks;
            let reads = |word: &str| blocks.iter().any(|block| block.text.contains(word));
            assert!(reads("MARK") || !want, "{foot}");
            assert!(!reads("NAV") || foot.contains("<p>"), "{foot}");
        }
    }

    #[test]
    fn a_main_element_with_little_of_the_text_is_not_the_page() {
        let page = format!("<main>Short.</main><div>{}</div>", "Long text. ".repeat(9));
        let blocks = extract(page.as_bytes()).unwrap().blocks;
        assert!(blocks.iter().any(|block| block.text.contains("Long text.")));
    }
}
