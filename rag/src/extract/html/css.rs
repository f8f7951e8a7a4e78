//! As much of style sheets as decides whether text is seen, and whether it is struck out: which rule wins for an
//! element (importance, specificity, order), and which rules would show it in another state of the page.
//!
//! Rules for print only do not apply; rules under another condition (`@media (min-width: ...)`) apply where
//! they show something, because some reader sees it. Colours are not compared with backgrounds.

use std::collections::HashMap;

use ego_tree::NodeId;
use scraper::{ElementRef, Html, Selector};

/// How many rules of a page's style sheets are looked at.
const MAX_RULES: usize = 4000;
/// How often a rule is compared with an element, in all: real pages stay far below.
const MAX_MATCHES: usize = 20_000_000;

/// What a declaration is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Property {
    Display,
    Visibility,
    Opacity,
    FontSize,
    TextIndent,
    Left,
    Top,
    MarginLeft,
    /// `text-decoration`; what "unseen" is to the others is "struck out" here.
    Strike,
}

/// One declaration: the property, whether its value makes text unseen (or struck out), and its importance.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Declaration {
    property: Property,
    hides: bool,
    important: bool,
}

/// The declarations of a rule or a `style` attribute.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Style {
    declarations: Vec<Declaration>,
    /// Whether something moves or fades here: the element is shown by an animation.
    pub(super) moves: bool,
    /// Whether it stays where it is on the screen while the page scrolls.
    pub(super) is_pinned: bool,
}

impl Style {
    pub(super) fn parse(css: &str) -> Self {
        let mut style = Self::default();
        for declaration in css.split(';') {
            if let Some((name, value)) = declaration.split_once(':') {
                style.push(
                    &name.trim().to_ascii_lowercase(),
                    &value.to_ascii_lowercase(),
                );
            }
        }
        style
    }

    fn push(&mut self, name: &str, value: &str) {
        let (value, important) = match value.split_once('!') {
            Some((value, flag)) => (value.trim(), flag.trim() == "important"),
            None => (value.trim(), false),
        };
        let number: String = value
            .chars()
            .take_while(|c| c.is_ascii_digit() || "-.".contains(*c))
            .collect();
        let number = number.parse::<f32>().ok();
        // Off the page; no page is laid out so wide.
        let is_far = number.is_some_and(|n| n <= -999.0);
        let (property, hides) = match name {
            "display" => (Property::Display, value == "none"),
            "visibility" => (Property::Visibility, matches!(value, "hidden" | "collapse")),
            "opacity" => (Property::Opacity, number == Some(0.0)),
            // "0.8em" is small print, "0.5px" is not for eyes.
            "font-size" => (
                Property::FontSize,
                number.is_some_and(|n| {
                    n == 0.0 || (n <= 1.0 && (value.ends_with("px") || value.ends_with("pt")))
                }),
            ),
            "text-indent" => (Property::TextIndent, is_far),
            "left" => (Property::Left, is_far),
            "top" => (Property::Top, is_far),
            "margin-left" => (Property::MarginLeft, is_far),
            "text-decoration" | "text-decoration-line" => {
                (Property::Strike, value.contains("line-through"))
            }
            "position" => {
                self.is_pinned = value == "fixed";
                return;
            }
            _ => {
                let name = name.strip_prefix("-webkit-").unwrap_or(name);
                let is_motion = [
                    "transform",
                    "transition",
                    "animation",
                    "will-change",
                    "filter",
                ]
                .iter()
                .any(|motion| name.starts_with(motion));
                self.moves |= is_motion && value != "none";
                return;
            }
        };
        self.declarations.push(Declaration {
            property,
            hides,
            important,
        });
    }

    fn is_empty(&self) -> bool {
        self.declarations.is_empty() && !self.moves && !self.is_pinned
    }

    fn hides_something(&self) -> bool {
        self.declarations
            .iter()
            .any(|declaration| declaration.hides)
    }

    /// Whether one of the declarations gives the property a value that shows text.
    pub(super) fn shows(&self, property: Property) -> bool {
        self.declarations
            .iter()
            .any(|declaration| declaration.property == property && !declaration.hides)
    }
}

/// A rule with one selector (of a list, one rule each).
#[derive(Debug)]
struct Rule {
    text: String,
    /// `None` where the selector is about a state or about generated content (`:hover`, `::before`).
    selector: Option<Selector>,
    specificity: [u32; 3],
    style: Style,
    /// Whether it stands under a condition.
    conditional: bool,
}

/// What makes one declaration win over another, weakest first: important, in the element itself, specificity,
/// order.
type Priority = (bool, bool, [u32; 3], usize);

/// The style sheets of a page, applied to its elements.
#[derive(Debug, Default)]
pub(super) struct Cascade {
    rules: Vec<Rule>,
    /// Only elements that some rule hides or strikes out.
    applied: HashMap<NodeId, Vec<(Property, Priority, bool)>>,
}

impl Cascade {
    pub(super) fn build(html: &Html, sheets: &str) -> Self {
        let mut cascade = Self {
            rules: parse_sheets(sheets),
            ..Self::default()
        };
        let mut applied: HashMap<NodeId, Vec<(Property, Priority, bool)>> = HashMap::new();
        let num_elements = html.tree.nodes().count();
        let mut matches_left = MAX_MATCHES;
        for (order, rule) in cascade.rules.iter().enumerate() {
            if let Some(selector) = &rule.selector
                && rule.style.hides_something()
                && !rule.conditional
                && matches_left > num_elements
            {
                matches_left -= num_elements;
                for element in html.select(selector) {
                    rule.apply(order, applied.entry(element.id()).or_default());
                }
            }
        }
        // What shows something matters only for what is hidden.
        let found: Vec<ElementRef<'_>> = applied
            .keys()
            .filter_map(|id| html.tree.get(*id).and_then(ElementRef::wrap))
            .collect();
        for (order, rule) in cascade.rules.iter().enumerate() {
            if let Some(selector) = &rule.selector
                && (!rule.style.hides_something() || rule.conditional)
                && matches_left > found.len()
            {
                matches_left -= found.len();
                for element in found.iter().filter(|element| selector.matches(element)) {
                    rule.apply(order, applied.entry(element.id()).or_default());
                }
            }
        }
        cascade.applied = applied;
        cascade
    }

    /// Whether the property makes the element unseen (or struck out): the winning declaration of the style
    /// sheets and of the element's own `style`; `None` where no declaration hides, or none is there.
    pub(super) fn decides(
        &self,
        element: ElementRef<'_>,
        own: &Style,
        property: Property,
    ) -> Option<bool> {
        let from_sheets = self
            .applied
            .get(&element.id())
            .into_iter()
            .flatten()
            .copied();
        let own = own
            .declarations
            .iter()
            .enumerate()
            .map(|(order, declaration)| {
                let priority = (declaration.important, true, [0; 3], order);
                (declaration.property, priority, declaration.hides)
            });
        from_sheets
            .chain(own)
            .filter(|(of, ..)| *of == property)
            .max_by_key(|(_, priority, _)| *priority)
            .map(|(.., hides)| hides)
    }

    /// Whether a rule that matches the element meets the condition.
    pub(super) fn any_rule(
        &self,
        element: ElementRef<'_>,
        condition: impl Fn(&Style) -> bool,
    ) -> bool {
        self.rules.iter().any(|rule| {
            condition(&rule.style)
                && rule
                    .selector
                    .as_ref()
                    .is_some_and(|selector| selector.matches(&element))
        })
    }

    /// Whether some rule would show the element if the page were in another state: it names the element by its
    /// class or id, but asks for more (`.panel.active`, `.open > .panel`, `input:checked ~ .panel`).
    pub(super) fn is_shown_in_another_state(
        &self,
        element: ElementRef<'_>,
        property: Property,
    ) -> bool {
        self.rules.iter().any(|rule| {
            rule.style.shows(property)
                && names_subject(&rule.text, element)
                && !rule
                    .selector
                    .as_ref()
                    .is_some_and(|selector| selector.matches(&element))
        })
    }
}

impl Rule {
    fn apply(&self, order: usize, applied: &mut Vec<(Property, Priority, bool)>) {
        let declarations = self.style.declarations.iter();
        applied.extend(
            declarations
                .filter(|declaration| !(self.conditional && declaration.hides))
                .map(|declaration| {
                    let priority = (declaration.important, false, self.specificity, order);
                    (declaration.property, priority, declaration.hides)
                }),
        );
    }
}

/// Whether the last part of a selector names the element by a class or id of its own, and no other tag.
fn names_subject(selector: &str, element: ElementRef<'_>) -> bool {
    let subject = selector
        .rsplit(|c: char| c.is_whitespace() || matches!(c, '>' | '+' | '~'))
        .next()
        .unwrap_or("");
    // What is generated before or after an element says nothing about the element.
    let is_generated = ["::", ":before", ":after"]
        .iter()
        .any(|pseudo| subject.contains(pseudo));
    if is_generated {
        return false;
    }
    let subject = subject.split([':', '[']).next().unwrap_or("");
    let tag_len = subject.find(['.', '#']).unwrap_or(subject.len());
    let (tag, names) = subject.split_at(tag_len);
    let value = element.value();
    let mut is_named = false;
    for part in names
        .split_inclusive(['.', '#'])
        .collect::<Vec<_>>()
        .windows(2)
    {
        let name = part[1].trim_end_matches(['.', '#']);
        is_named |= match part[0].chars().next_back() {
            Some('#') => value.id() == Some(name),
            _ => value.classes().any(|class| class == name),
        };
    }
    is_named && (tag.is_empty() || tag == "*" || tag.eq_ignore_ascii_case(value.name()))
}

/// Where a block of a style sheet stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Block {
    /// Its rules apply.
    Plain,
    /// Its rules apply under a condition.
    Conditional,
    /// Its rules do not apply (print, keyframes, fonts).
    Ignored,
    /// It is a rule.
    Rule,
}

fn parse_sheets(sheets: &str) -> Vec<Rule> {
    let sheets = without_comments(sheets);
    let mut rules = Vec::new();
    let mut open: Vec<(Block, &str)> = Vec::new();
    for part in sheets.split_inclusive(['{', '}']) {
        if rules.len() >= MAX_RULES {
            break;
        }
        let body = part.trim_end_matches(['{', '}']);
        if part.ends_with('{') {
            let prelude = body.rsplit(';').next().unwrap_or("").trim();
            let is_nested = open.iter().any(|(block, _)| *block == Block::Rule);
            open.push((
                if is_nested {
                    Block::Ignored
                } else {
                    kind_of(prelude)
                },
                prelude,
            ));
        } else if let Some((Block::Rule, prelude)) = open.pop()
            && !open.iter().any(|(block, _)| *block == Block::Ignored)
        {
            let style = Style::parse(body);
            if style.is_empty() {
                continue;
            }
            let conditional = open.iter().any(|(block, _)| *block == Block::Conditional);
            rules.extend(split_selectors(prelude).map(|text| Rule {
                selector: Selector::parse(text).ok(),
                specificity: specificity(text),
                style: style.clone(),
                conditional,
                text: text.to_owned(),
            }));
        }
    }
    rules
}

fn kind_of(prelude: &str) -> Block {
    if !prelude.starts_with('@') {
        return Block::Rule;
    }
    let prelude = prelude.to_ascii_lowercase();
    match prelude.split_once(|c: char| c.is_whitespace() || c == '(') {
        Some(("@media", query)) => match query.trim() {
            "screen" | "all" | "only screen" => Block::Plain,
            query
                if query.contains("print")
                    && !query.contains("screen")
                    && !query.contains("not") =>
            {
                Block::Ignored
            }
            _ => Block::Conditional,
        },
        Some(("@supports" | "@layer" | "@container", _)) => Block::Plain,
        None if prelude == "@layer" => Block::Plain,
        _ => Block::Ignored,
    }
}

/// The selectors of a list; commas within brackets do not separate.
fn split_selectors(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0i32;
    list.split(move |c: char| {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|selector| !selector.is_empty())
}

/// Ids, classes (with attributes and states), elements.
fn specificity(selector: &str) -> [u32; 3] {
    let mut counts = [0; 3];
    let mut previous = ' ';
    let mut in_brackets = false;
    for c in selector.chars() {
        match c {
            ']' => in_brackets = false,
            _ if in_brackets => {}
            '[' => {
                in_brackets = true;
                counts[1] += 1;
            }
            '#' => counts[0] += 1,
            '.' => counts[1] += 1,
            ':' if previous != ':' => counts[1] += 1,
            c if c.is_ascii_alphabetic()
                && matches!(previous, ' ' | '>' | '+' | '~' | '(' | ',') =>
            {
                counts[2] += 1;
            }
            _ => {}
        }
        previous = c;
    }
    counts
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(sheet: &str, html: &str) -> bool {
        let html = Html::parse_fragment(html);
        let cascade = Cascade::build(&html, sheet);
        let subject = Selector::parse("#x").unwrap();
        let element = html.select(&subject).next().unwrap();
        let own = Style::parse(element.value().attr("style").unwrap_or(""));
        cascade.decides(element, &own, Property::Display) == Some(true)
    }

    #[test]
    fn the_winning_rule_decides() {
        let cases = [
            (".a{display:none}", "<p id=x class=a>", true),
            (
                ".a{display:none} .a.b{display:block}",
                "<p id=x class='a b'>",
                false,
            ),
            (
                ".a.b{display:block} .a{display:none}",
                "<p id=x class='a b'>",
                false,
            ),
            (
                ".a{display:block} .a{display:none}",
                "<p id=x class=a>",
                true,
            ),
            (
                ".a{display:none} p{display:block}",
                "<p id=x class=a>",
                true,
            ),
            (
                ".a{display:none!important} #x{display:block}",
                "<p id=x class=a>",
                true,
            ),
            (
                ".a{display:none}",
                "<p id=x class=a style='display:block'>",
                false,
            ),
            (
                ".a{display:none !important}",
                "<p id=x class=a style='display:block'>",
                true,
            ),
            ("@charset 'x'; .a{display:none}", "<p id=x class=a>", true),
            ("b,.a:not(.c,.d){display:none}", "<p id=x class=a>", true),
            ("@media print{.a{display:none}}", "<p id=x class=a>", false),
            ("@media screen{.a{display:none}}", "<p id=x class=a>", true),
            (
                "@media (max-width:9px){.a{display:none}}",
                "<p id=x class=a>",
                false,
            ),
            (
                ".a{display:none}@media (min-width:9px){.a{display:block}}",
                "<p id=x class=a>",
                false,
            ),
            (
                "@keyframes k{from{display:none}} /*.a{*/.b{display:none}",
                "<p id=x class=a>",
                false,
            ),
        ];
        for (sheet, html, want) in cases {
            assert_eq!(hidden(sheet, html), want, "{sheet} {html}");
        }
    }

    #[test]
    fn rules_for_another_state_are_known() {
        let cases = [
            (".p.active{display:block}", true),
            (".open > .p{display:block}", true),
            ("input:checked ~ .p{display:block}", true),
            ("div.p:target{display:flex}", true),
            (".other{display:block}", false),
            ("span.p.active{display:block}", false),
            // It matches as it is, and lost.
            (".p{display:block}", false),
            ("@media print{.p.active{display:block}}", false),
            (".p::before{display:block}", false),
        ];
        for (sheet, want) in cases {
            let html = Html::parse_fragment("<div class=p>x</div>");
            let cascade = Cascade::build(&html, sheet);
            let selector = Selector::parse("div").unwrap();
            let element = html.select(&selector).next().unwrap();
            assert_eq!(
                cascade.is_shown_in_another_state(element, Property::Display),
                want,
                "{sheet}"
            );
        }
    }
}
