//! What of a page is read: what its readers can see.
//!
//! Text may be hidden for two reasons. It *unfolds*: an answer below its question, the panel of a tab, a
//! section that fades in. Such text is read. Or nobody is to see it, which is a known way to smuggle in
//! instructions: it is not read. A page that is only looked at, not run, shows the difference by traces:
//! something refers to the hidden element (a control by its id, a script by its id or class), a rule of the style
//! sheet shows it in another state, a control or a heading without a section of its own stands before it, or
//! a twin beside it is shown.
//!
//! Site furniture is not read either ([`super::furniture`]).

use std::collections::{HashMap, HashSet};

use ego_tree::NodeId;
use scraper::{ElementRef, Html, Selector};

use super::css::{Cascade, Property, Shift, Style, Value, own_style};
use super::elements::{HEADINGS, INLINE, NEVER_READ, is_control, is_dialog, is_navigation};

/// Classes by which common style sheets, which the page does not contain, hide things from the eye.
const UNSEEN_CLASSES: &[&str] = &[
    "sr-only",
    "visually-hidden",
    "noprint",
    "no-print",
    "mw-editsection",
    "mw-jump-link",
];

/// Longest string of a script that is taken for a name, in bytes.
const MAX_LITERAL: usize = 200;

/// Longest title of what unfolds, in bytes: a question of two lines.
const MAX_TITLE: usize = 250;
/// Shortest common part of the names of a title and of what it opens; shorter ones are prefixes of style sheets.
const MIN_STEM: usize = 3;

/// A page and what is known about the visibility of its elements.
pub(super) struct Visibility {
    pub(super) cascade: Cascade,
    /// Ids to which a control or a link within the page refers.
    referenced: HashSet<String>,
    /// Words in the strings of the page's scripts.
    scripted: HashSet<String>,
    ids: HashMap<String, NodeId>,
    /// The first label of the field with this id.
    labels: HashMap<String, NodeId>,
    /// Whether there are styles that the page does not contain.
    pub(super) has_foreign_styles: bool,
    /// Whether browsers may show the page on a dark ground of their own.
    pub(super) may_be_dark: bool,
    /// Whether the page draws numbers as generated content.
    pub(super) draws_counters: bool,
    /// The main element, if the page has one that holds most of its text, and everything around it.
    pub(super) main_line: HashSet<NodeId>,
    pub(super) main: Option<NodeId>,
    /// Feet of the page that hold statements, and what in them is not read.
    pub(super) read_feet: HashSet<NodeId>,
    pub(super) left_out: HashSet<NodeId>,
    /// Whether header, footer, navigation and aside are read whatever they hold.
    pub(super) keep_page_furniture: bool,
}

impl Visibility {
    pub(super) fn of(html: &Html) -> Self {
        let style = Selector::parse("style").expect("the selector is a constant");
        let sheets: Vec<String> = html
            .select(&style)
            .map(|element| element.text().collect())
            .collect();
        let sheets = sheets.join("\n");
        let mut visibility = Self {
            cascade: Cascade::build(html, &sheets),
            referenced: HashSet::new(),
            scripted: HashSet::new(),
            ids: HashMap::new(),
            labels: HashMap::new(),
            has_foreign_styles: false,
            may_be_dark: allows_dark(&sheets),
            draws_counters: ["counter(", "counters("]
                .iter()
                .any(|function| sheets.contains(function)),
            main_line: HashSet::new(),
            main: None,
            read_feet: HashSet::new(),
            left_out: HashSet::new(),
            keep_page_furniture: false,
        };
        for element in html.root_element().descendent_elements() {
            visibility.note(element);
        }
        visibility.has_foreign_styles |=
            visibility.cascade.is_partial || sheets.contains("@import");
        visibility.find_main(html);
        visibility.find_feet(html);
        visibility
    }

    /// Notes what the element refers to.
    fn note(&mut self, element: ElementRef<'_>) {
        let value = element.value();
        if let Some(id) = value.id() {
            self.ids.entry(id.to_owned()).or_insert(element.id());
        }
        if let Some(field_id) = value.attr("for").filter(|_| value.name() == "label") {
            self.labels
                .entry(field_id.to_owned())
                .or_insert(element.id());
        }
        // Scripts from elsewhere bring styles with them.
        self.has_foreign_styles |= match value.name() {
            "link" => value
                .attr("rel")
                .is_some_and(|rel| rel.to_ascii_lowercase().contains("stylesheet")),
            "script" => value.attr("src").is_some(),
            _ => false,
        };
        self.may_be_dark |= value.attr("name") == Some("color-scheme")
            && value
                .attr("content")
                .is_some_and(|content| content.contains("dark"));
        if value.name() == "script" {
            let is_code = value
                .attr("type")
                .is_none_or(|kind| kind == "module" || kind.contains("javascript"));
            if is_code {
                let code: String = element.text().collect();
                self.scripted.extend(words_of_literals(&code));
            }
        }
        for (name, attribute) in value.attrs() {
            match name {
                "aria-controls" | "aria-owns" | "aria-details" => {
                    self.referenced
                        .extend(attribute.split_whitespace().map(str::to_owned));
                }
                "href" if value.name() == "a" => {
                    self.referenced
                        .extend(attribute.strip_prefix('#').map(str::to_owned));
                }
                name if name.starts_with("data-") => {
                    self.referenced
                        .extend(attribute.strip_prefix('#').map(str::to_owned));
                }
                name if name.starts_with("on") => {
                    self.referenced.extend(words_of_literals(attribute));
                }
                _ => {}
            }
        }
    }

    /// Whether the element's text is struck out by its style.
    pub(super) fn is_struck(&self, element: ElementRef<'_>) -> bool {
        self.cascade
            .decides(element, &own_style(element), Property::Strike)
            == Some(true)
    }

    /// Whether the style raises the element's text above its line or lowers it.
    pub(super) fn shift(&self, element: ElementRef<'_>) -> Shift {
        match self
            .cascade
            .value(element, &own_style(element), Property::Shift)
        {
            Some(Value::Shift(shift)) => shift,
            _ => Shift::Level,
        }
    }

    /// Whether the element and what it holds are not read.
    pub(super) fn is_skipped(&self, element: ElementRef<'_>) -> bool {
        let value = element.value();
        NEVER_READ.contains(&value.name())
            || (value.name() == "dialog"
                && value.attr("open").is_none()
                && !self.is_referenced(element))
            || (value.name() == "button" && !self.is_title(element))
            || self.is_hidden(element)
            || self.is_furniture(element)
    }

    pub(super) fn is_hidden(&self, element: ElementRef<'_>) -> bool {
        let value = element.value();
        if value.classes().any(|class| UNSEEN_CLASSES.contains(&class)) {
            return true;
        }
        let own = own_style(element);
        let decides = |property| self.cascade.decides(element, &own, property);
        let is_off = |property| decides(property) == Some(true);
        if [
            Property::TextIndent,
            Property::Left,
            Property::Top,
            Property::MarginLeft,
        ]
        .into_iter()
        .any(is_off)
            || (is_off(Property::FontSize) && !self.is_restored_within(element, Property::FontSize))
        {
            return true;
        }
        if !self.is_displayed(element) && !self.unfolds(element, Property::Display) {
            return true;
        }
        for property in [Property::Visibility, Property::Opacity] {
            let comes_back = || {
                self.appears(element, &own, property)
                    || self.unfolds(element, property)
                    || property == Property::Visibility
                        && self.is_restored_within(element, property)
            };
            if is_off(property) && !comes_back() {
                return true;
            }
        }
        value.attr("aria-hidden") == Some("true") && self.is_decoration(element)
    }

    /// Whether the element takes room on the page. Authors' rules win over the attribute.
    pub(super) fn is_displayed(&self, element: ElementRef<'_>) -> bool {
        self.cascade
            .decides(element, &own_style(element), Property::Display)
            .map_or(element.value().attr("hidden").is_none(), |hides| !hides)
    }

    /// The label that names the field by its id.
    pub(super) fn label_of<'a>(&self, field: ElementRef<'a>) -> Option<ElementRef<'a>> {
        let label = self.labels.get(field.value().id()?)?;
        field.tree().get(*label).and_then(ElementRef::wrap)
    }

    /// What is only kept from screen readers is seen by everybody else, but icons and second copies within
    /// a line are no text. The copy that is for the eye is read where the other is for screen readers only.
    fn is_decoration(&self, element: ElementRef<'_>) -> bool {
        if is_dialog(element) {
            return !self.is_referenced(element);
        }
        let spoken_beside = element
            .prev_siblings()
            .chain(element.next_siblings())
            .filter_map(ElementRef::wrap)
            .any(|sibling| {
                sibling
                    .value()
                    .classes()
                    .any(|class| UNSEEN_CLASSES.contains(&class))
            });
        INLINE.contains(&element.value().name()) && !spoken_beside
    }

    /// Whether something within has the property set back, so that the element hides only what lies between
    /// (`font-size: 0` closes the gaps between columns).
    fn is_restored_within(&self, element: ElementRef<'_>, property: Property) -> bool {
        element.descendent_elements().skip(1).any(|inner| {
            own_style(inner).shows(property)
                || self.cascade.any_rule(inner, |style| style.shows(property))
        })
    }

    /// Whether the element is transparent only until an animation shows it.
    fn appears(&self, element: ElementRef<'_>, own: &Style, property: Property) -> bool {
        let is_addressed = element
            .value()
            .attrs()
            .any(|(name, _)| name.starts_with("data-"));
        let holds_section = element
            .descendent_elements()
            .skip(1)
            .any(|inner| HEADINGS.contains(&inner.value().name()));
        own.moves
            || is_addressed
            || holds_section
            || self
                .cascade
                .any_rule(element, |style| style.moves || style.shows(property))
    }

    /// Whether readers can make the hidden element appear.
    fn unfolds(&self, element: ElementRef<'_>, property: Property) -> bool {
        if is_dialog(element) {
            return self.is_referenced(element);
        }
        if is_navigation(element) {
            return false;
        }
        let value = element.value();
        let is_scripted = value.id().is_some_and(|id| self.scripted.contains(id))
            || value.classes().any(|class| self.scripted.contains(class));
        self.is_referenced(element)
            || is_scripted
            || value.attr("role") == Some("tabpanel")
            || self.cascade.is_shown_in_another_state(element, property)
            || is_beside_control(element)
            || self.is_all_below_its_heading(element)
            || self.is_part_of_fold(element)
            || self.has_visible_twin(element)
    }

    pub(super) fn is_referenced(&self, element: ElementRef<'_>) -> bool {
        element
            .value()
            .id()
            .is_some_and(|id| self.referenced.contains(id))
    }

    /// A heading is there to be followed by something: if all of it is hidden, it unfolds.
    fn is_all_below_its_heading(&self, element: ElementRef<'_>) -> bool {
        let is_heading = |sibling: &ElementRef<'_>| HEADINGS.contains(&sibling.value().name());
        let is_switched_off = |sibling: &ElementRef<'_>| {
            sibling.value().attr("hidden").is_some()
                || self
                    .cascade
                    .decides(*sibling, &own_style(*sibling), Property::Display)
                    == Some(true)
        };
        let mut before = element.prev_siblings().filter_map(ElementRef::wrap);
        let mut after = element.next_siblings().filter_map(ElementRef::wrap);
        let heading = before.find(|sibling| !is_switched_off(sibling));
        let next = after.find(|sibling| !is_switched_off(sibling));
        // Below the last heading nothing follows; that what is there unfolds is seen by those before it.
        let is_one_of_several = || {
            before
                .find(|sibling| !is_switched_off(sibling))
                .is_some_and(|sibling| is_heading(&sibling))
        };
        heading.is_some_and(|heading| is_heading(&heading))
            && next.map_or_else(is_one_of_several, |next| is_heading(&next))
    }

    /// Whether names show that the element is what the line before it opens: both are parts of the same thing by their
    /// classes (`expand-control` and `expand-content` in an `expand-container`), and all that is seen of the thing are
    /// such lines.
    fn is_part_of_fold(&self, element: ElementRef<'_>) -> bool {
        let Some(whole) = element.parent().and_then(ElementRef::wrap) else {
            return false;
        };
        let is_in_form = element
            .ancestors()
            .filter_map(ElementRef::wrap)
            .any(|above| above.value().name() == "form");
        let is_title = |sibling: ElementRef<'_>| {
            is_line(sibling) && have_common_stem(&[whole, sibling, element])
        };
        let mut shown = whole
            .child_elements()
            .filter(|child| self.is_displayed(*child))
            .peekable();
        let mut before = element.prev_siblings().filter_map(ElementRef::wrap);
        !is_in_form
            && before
                .next()
                .is_some_and(|before| self.is_displayed(before))
            && shown.peek().is_some()
            && shown.all(is_title)
    }

    /// Alternatives (tabs, slides) are alike, and one of them is shown.
    fn has_visible_twin(&self, element: ElementRef<'_>) -> bool {
        let value = element.value();
        let is_block = matches!(
            value.name(),
            "div" | "section" | "article" | "ul" | "ol" | "table"
        );
        is_block
            && element.child_elements().next().is_some()
            && element
                .prev_siblings()
                .chain(element.next_siblings())
                .filter_map(ElementRef::wrap)
                .any(|sibling| {
                    let other = sibling.value();
                    other.name() == value.name()
                        && other
                            .classes()
                            .any(|class| value.classes().any(|own| own == class))
                        && other.attr("hidden").is_none()
                        && self
                            .cascade
                            .decides(sibling, &own_style(sibling), Property::Display)
                            != Some(true)
                })
    }

    /// Whether a button is the title of what it opens, rather than something to do.
    fn is_title(&self, button: ElementRef<'_>) -> bool {
        let opened = button
            .value()
            .attrs()
            .find_map(|(name, attribute)| match name {
                "aria-controls" => attribute.split_whitespace().next(),
                name if name.starts_with("data-") => attribute.strip_prefix('#'),
                _ => None,
            });
        if let Some(id) = opened {
            let opened = self
                .ids
                .get(id)
                .and_then(|id| button.tree().get(*id))
                .and_then(ElementRef::wrap);
            return opened.is_none_or(|opened| !is_navigation(opened) && !is_dialog(opened));
        }
        let value = button.value();
        let above = |names: &[&str]| {
            button
                .ancestors()
                .filter_map(ElementRef::wrap)
                .any(|element| names.contains(&element.value().name()))
        };
        let next = button.next_siblings().find_map(ElementRef::wrap);
        let heads_block = next.is_some_and(|next| {
            matches!(
                next.value().name(),
                "div" | "section" | "p" | "ul" | "ol" | "dl" | "table"
            ) && !is_navigation(next)
        });
        value.attr("aria-expanded").is_some()
            || value.attr("role") == Some("tab")
            || above(HEADINGS)
            || (heads_block && !above(&["form", "nav", "dialog", "fieldset"]))
    }
}

/// Whether a style sheet declares `color-scheme: dark`; the condition `prefers-color-scheme` says nothing of what
/// browsers do by themselves.
fn allows_dark(sheets: &str) -> bool {
    sheets.split(['{', ';']).any(|declaration| {
        declaration
            .trim_start()
            .strip_prefix("color-scheme")
            .is_some_and(|value| {
                value
                    .split('}')
                    .next()
                    .is_some_and(|value| value.contains("dark"))
            })
    })
}

/// Whether the element is one line of text, as the title of something is.
fn is_line(element: ElementRef<'_>) -> bool {
    let name = element.value().name();
    let len: usize = element.text().map(|text| text.trim().len()).sum();
    (1..=MAX_TITLE).contains(&len)
        && name != "label"
        && (HEADINGS.contains(&name) || element.descendent_elements().skip(1).all(is_inline))
}

fn is_inline(element: ElementRef<'_>) -> bool {
    INLINE.contains(&element.value().name())
}

/// Whether each of the elements has a class that begins with the same words: the whole may have them alone, its parts
/// have another word after them.
fn have_common_stem(whole_and_parts: &[ElementRef<'_>; 3]) -> bool {
    let [whole, first, second] = whole_and_parts;
    let stem = |class: &str| -> Option<String> {
        let (stem, _) = class.rsplit_once(['-', '_'])?;
        let stem = stem.trim_end_matches(['-', '_']);
        (stem.len() >= MIN_STEM).then(|| stem.to_owned())
    };
    let stems: Vec<String> = second.value().classes().filter_map(stem).collect();
    stems.iter().any(|own| {
        let begins = |class: &str| {
            class
                .strip_prefix(own.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
        };
        whole.value().classes().any(begins)
            && first
                .value()
                .classes()
                .any(|class| stem(class).is_some_and(|stem| stem == *own))
    })
}

/// Whether something to press stands directly before the element (a question), or after it ("read more"); rows
/// and items have it after their table or list, the last words of a paragraph after the paragraph.
fn is_beside_control(element: ElementRef<'_>) -> bool {
    let holds_control = |candidate: ElementRef<'_>| candidate.descendent_elements().any(is_control);
    if element
        .prev_siblings()
        .find_map(ElementRef::wrap)
        .is_some_and(holds_control)
    {
        return true;
    }
    let above = |names: &[&str]| {
        element
            .ancestors()
            .filter_map(ElementRef::wrap)
            .find(|above| names.contains(&above.value().name()))
    };
    // In a form the button after it sends the form.
    let is_in_form = above(&["form"]).is_some();
    let whole = match element.value().name() {
        "li" | "tr" | "tbody" => above(&["ul", "ol", "table"]),
        name if INLINE.contains(&name) && is_last(element) => element
            .parent()
            .and_then(ElementRef::wrap)
            .filter(|parent| parent.value().name() == "p"),
        _ => Some(element),
    };
    !is_in_form
        && whole
            .and_then(|whole| whole.next_siblings().find_map(ElementRef::wrap))
            .is_some_and(is_control)
}

/// Whether nothing follows the element in its parent.
fn is_last(element: ElementRef<'_>) -> bool {
    element.next_siblings().all(|node| {
        node.value()
            .as_text()
            .is_some_and(|text| text.trim().is_empty())
    })
}

/// The words in the strings of a script: names of elements are written there, as `'panel'`, `"#p1"` or
/// `'.faq .answer'`.
fn words_of_literals(code: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(['"', '\'', '`']) {
        let quote = rest[start..].chars().next().unwrap_or('"');
        rest = &rest[start + 1..];
        let end = rest.find([quote, '\n']).unwrap_or(rest.len());
        if end <= MAX_LITERAL {
            words.extend(
                rest[..end]
                    .split(|c: char| !(c.is_alphanumeric() || "-_".contains(c)))
                    .filter(|word| !word.is_empty())
                    .map(str::to_owned),
            );
        }
        rest = rest.get(end + 1..).unwrap_or("");
    }
    words
}
