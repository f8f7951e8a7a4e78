//! As much of style sheets as decides whether text is seen, whether it is struck out, raised or lowered, and how lists
//! are marked: which rule wins for an element (importance, specificity, order), and which rules would show it in another
//! state of the page.
//!
//! Rules for print only do not apply; rules under another condition (`@media (min-width: ...)`) apply where
//! they show something, because some reader sees it. What colours make of text: [`super::colors`].

use std::collections::HashMap;

use ego_tree::NodeId;
use scraper::{ElementRef, Html, Selector};

use super::marker_style::MarkerStyle;
use super::paint::Paint;

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
    /// The colour of text.
    Color,
    /// The colour behind text.
    Ground,
    /// A picture behind text.
    Picture,
    /// Shadows and strokes that set text off from what is behind it.
    Outline,
    Position,
    ListStyle,
    /// Whether text is raised above its line or lowered below it.
    Shift,
}

/// What a declaration gives its property.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    Shows,
    /// It makes text unseen (or struck out).
    Hides,
    Paint(Paint),
    Position(Position),
    Marker(MarkerStyle),
    Shift(Shift),
}

impl Value {
    /// Whether the value says by itself whether text is seen.
    fn is_switch(self) -> bool {
        matches!(self, Self::Shows | Self::Hides)
    }
}

/// Where text stands in relation to its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shift {
    Level,
    Raised,
    Lowered,
}

/// Where an element stands in relation to what is around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    InFlow,
    /// Moved from its place, above what does not have a position.
    Relative,
    /// Anywhere, above something else.
    Above,
}

/// One declaration: the property, what it is given, and its importance.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Declaration {
    property: Property,
    value: Value,
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
        let css = css.to_ascii_lowercase();
        let declarations = css
            .split(';')
            .filter_map(|declaration| declaration.split_once(':'));
        for (name, value) in declarations.clone() {
            style.push(name.trim(), value);
        }
        let value_of = |wanted: &str| {
            let mut found = declarations
                .clone()
                .filter(|(name, _)| name.trim() == wanted);
            found.next_back().map_or("", |(_, value)| value.trim())
        };
        if let Some(shift) = Shift::by_position(value_of) {
            style.declarations.push(Declaration {
                property: Property::Shift,
                value: Value::Shift(shift),
                important: false,
            });
        }
        style
    }

    fn push(&mut self, name: &str, value: &str) {
        let (value, important) = match value.split_once('!') {
            Some((value, flag)) => (value.trim(), flag.trim() == "important"),
            None => (value.trim(), false),
        };
        if name == "position" {
            self.is_pinned = value == "fixed";
        }
        for (property, value) in looks(name, value) {
            self.declarations.push(Declaration {
                property,
                value,
                important,
            });
        }
        let number = leading_number(value);
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
            value: if hides { Value::Hides } else { Value::Shows },
            important,
        });
    }

    fn is_empty(&self) -> bool {
        self.declarations.is_empty() && !self.moves && !self.is_pinned
    }

    fn hides_something(&self) -> bool {
        self.declarations
            .iter()
            .any(|declaration| declaration.value == Value::Hides)
    }

    fn changes_looks(&self) -> bool {
        self.declarations
            .iter()
            .any(|declaration| !declaration.value.is_switch())
    }

    /// Whether the looks change in what decides whether text is seen: resets of `vertical-align` stand everywhere.
    fn changes_more_than_shift(&self) -> bool {
        self.declarations.iter().any(|declaration| {
            !declaration.value.is_switch() && declaration.property != Property::Shift
        })
    }

    /// Whether one of the declarations is about the property.
    pub(super) fn states(&self, property: Property) -> bool {
        self.declarations
            .iter()
            .any(|declaration| declaration.property == property)
    }

    /// Whether one of the declarations gives the property a value that shows text.
    pub(super) fn shows(&self, property: Property) -> bool {
        self.declarations.iter().any(|declaration| {
            declaration.property == property && declaration.value != Value::Hides
        })
    }
}

pub(super) fn own_style(element: ElementRef<'_>) -> Style {
    element
        .value()
        .attr("style")
        .map(Style::parse)
        .unwrap_or_default()
}

impl Shift {
    /// What `vertical-align` says of text: words and lengths. The other words place boxes (cells, images).
    fn of_vertical_align(value: &str) -> Self {
        match value {
            "super" => Self::Raised,
            "sub" => Self::Lowered,
            _ => Self::of_height(value),
        }
    }

    /// What a box says that is moved from its place, if its type is smaller too: so are raised numbers set where they
    /// are not to change the height of the line.
    fn by_position<'a>(value_of: impl Fn(&str) -> &'a str) -> Option<Self> {
        let font_size = value_of("font-size");
        let is_smaller = matches!(font_size, "smaller" | "small" | "x-small" | "xx-small")
            || leading_number(font_size).is_some_and(|size| match unit_of(font_size) {
                "%" => size < 100.0,
                "em" => size < 1.0,
                // Of running text, of which 12 points are the usual size.
                "pt" => size < 10.0,
                "px" => size < 13.0,
                _ => false,
            });
        if value_of("position") != "relative" || !is_smaller {
            return None;
        }
        let (top, bottom) = (value_of("top"), value_of("bottom"));
        let up = if top.is_empty() {
            bottom.to_owned()
        } else {
            negated(top)
        };
        Some(Self::of_height(&up)).filter(|shift| *shift != Self::Level)
    }

    fn of_height(value: &str) -> Self {
        // Less is done to set an image or another font on the line.
        let least = match unit_of(value) {
            "em" | "rem" => 0.2,
            "ex" => 0.4,
            "%" => 20.0,
            "px" | "pt" => 3.0,
            _ => return Self::Level,
        };
        match leading_number(value) {
            Some(height) if height >= least => Self::Raised,
            Some(height) if height <= -least => Self::Lowered,
            _ => Self::Level,
        }
    }
}

/// The number that a value begins with.
fn leading_number(value: &str) -> Option<f32> {
    value[..value.len() - unit_of(value).len()].parse().ok()
}

/// What follows the number that a value begins with.
fn unit_of(value: &str) -> &str {
    value.trim_start_matches(|c: char| c.is_ascii_digit() || "-.".contains(c))
}

fn negated(value: &str) -> String {
    value
        .strip_prefix('-')
        .map_or_else(|| format!("-{value}"), str::to_owned)
}

/// What a declaration says about colours, place and markers.
fn looks(name: &str, value: &str) -> Vec<(Property, Value)> {
    let unless_none = |property| {
        let paint = match value {
            "none" => Paint::CLEAR,
            _ => Paint::Unknown,
        };
        vec![(property, Value::Paint(paint))]
    };
    match name {
        "color" => vec![(Property::Color, Value::Paint(Paint::of_css(value)))],
        "background-color" => vec![(Property::Ground, Value::Paint(Paint::of_css(value)))],
        "background-image" => unless_none(Property::Picture),
        "background" => {
            let (ground, picture) = Paint::of_background(value);
            vec![
                (Property::Ground, Value::Paint(ground)),
                (Property::Picture, Value::Paint(picture)),
            ]
        }
        "text-shadow"
        | "mix-blend-mode"
        | "-webkit-text-fill-color"
        | "-webkit-text-stroke"
        | "-webkit-text-stroke-color" => unless_none(Property::Outline),
        "position" => {
            let position = match value {
                "absolute" | "fixed" | "sticky" => Position::Above,
                "relative" => Position::Relative,
                _ => Position::InFlow,
            };
            vec![(Property::Position, Value::Position(position))]
        }
        "vertical-align" => {
            let shift = Shift::of_vertical_align(value);
            vec![(Property::Shift, Value::Shift(shift))]
        }
        "list-style" | "list-style-type" => MarkerStyle::of_css(value)
            .map(|style| (Property::ListStyle, Value::Marker(style)))
            .into_iter()
            .collect(),
        _ => vec![],
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

/// The value of a property that has won so far.
type Applied = (Property, Priority, Value);

/// The style sheets of a page, applied to its elements.
#[derive(Debug, Default)]
pub(super) struct Cascade {
    rules: Vec<Rule>,
    /// Whether an element is seen: only of elements that some rule hides or strikes out.
    applied: HashMap<NodeId, Vec<Applied>>,
    /// Whether some rules could not be applied, so that the colours of an element may be other ones.
    pub(super) is_partial: bool,
}

impl Cascade {
    pub(super) fn build(html: &Html, sheets: &str) -> Self {
        let mut cascade = Self {
            rules: parse_sheets(sheets),
            ..Self::default()
        };
        let mut applied: HashMap<NodeId, Vec<Applied>> = HashMap::new();
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
                    rule.apply(order, Value::is_switch, &mut applied, element);
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
                    rule.apply(order, Value::is_switch, &mut applied, *element);
                }
            }
        }
        let is_nested = sheets_are_nested(sheets);
        let mut is_partial = is_nested || cascade.rules.len() >= MAX_RULES;
        let with_looks = cascade.rules.iter().enumerate();
        for (order, rule) in with_looks.filter(|(_, rule)| rule.style.changes_looks()) {
            let Some(selector) = &rule.selector else {
                is_partial |= rule.style.changes_more_than_shift() && rule.is_beyond_us();
                continue;
            };
            if matches_left <= num_elements {
                is_partial = true;
                break;
            }
            matches_left -= num_elements;
            for element in html.select(selector) {
                rule.apply(order, |value| !value.is_switch(), &mut applied, element);
            }
        }
        cascade.applied = applied;
        cascade.is_partial = is_partial;
        cascade
    }

    /// Whether the property makes the element unseen (or struck out); `None` where no declaration hides, or none is
    /// there.
    pub(super) fn decides(
        &self,
        element: ElementRef<'_>,
        own: &Style,
        property: Property,
    ) -> Option<bool> {
        self.value(element, own, property)
            .map(|value| value == Value::Hides)
    }

    /// The value of the property: that of the winning declaration of the style sheets and of the element's own
    /// `style`.
    pub(super) fn value(
        &self,
        element: ElementRef<'_>,
        own: &Style,
        property: Property,
    ) -> Option<Value> {
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
                (declaration.property, priority, declaration.value)
            });
        from_sheets
            .chain(own)
            .filter(|(of, ..)| *of == property)
            .max_by_key(|(_, priority, _)| *priority)
            .map(|(.., value)| value)
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

    /// Whether ticking the box shows or hides something else (`#menu:checked ~ .panel`): it works the page and is no
    /// field of a form. What is drawn for the box itself is generated content.
    pub(super) fn is_switch(&self, check_box: ElementRef<'_>) -> bool {
        self.rules.iter().any(|rule| {
            let Some((before, after)) = rule.text.split_once(":checked") else {
                return false;
            };
            let subject = before
                .rsplit(|c: char| c.is_whitespace() || matches!(c, '>' | '+' | '~'))
                .next()
                .unwrap_or("");
            let switches = [Property::Display, Property::Visibility, Property::Opacity]
                .into_iter()
                .any(|property| rule.style.states(property));
            switches
                && after.contains(['~', '+'])
                && ![":before", ":after"]
                    .iter()
                    .any(|part| after.contains(part))
                && (subject.is_empty()
                    || Selector::parse(subject).is_ok_and(|selector| selector.matches(&check_box)))
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
    /// Applies the declarations whose values are `wanted`. Per property only the winner is kept.
    fn apply(
        &self,
        order: usize,
        wanted: fn(Value) -> bool,
        applied: &mut HashMap<NodeId, Vec<Applied>>,
        element: ElementRef<'_>,
    ) {
        let applied = applied.entry(element.id()).or_default();
        for declaration in &self.style.declarations {
            let value = match declaration.value {
                value if !wanted(value) => continue,
                Value::Hides | Value::Position(_) | Value::Marker(_) | Value::Shift(_)
                    if self.conditional =>
                {
                    continue;
                }
                // Some readers see it so, some not.
                Value::Paint(_) if self.conditional => Value::Paint(Paint::Unknown),
                value => value,
            };
            let priority = (declaration.important, false, self.specificity, order);
            let found = applied
                .iter_mut()
                .find(|(property, ..)| *property == declaration.property);
            match found {
                Some(winner) if winner.1 > priority => {}
                Some(winner) => *winner = (declaration.property, priority, value),
                None => applied.push((declaration.property, priority, value)),
            }
        }
    }

    /// Whether the rule may hold for elements as they are, but its selector is not understood. States and generated
    /// content are understood: they do not hold.
    fn is_beyond_us(&self) -> bool {
        [":is(", ":where(", ":has(", ":not(", ":nth-"]
            .iter()
            .any(|part| self.text.contains(part))
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

/// Whether rules stand within rules, of which neither is read whole.
fn sheets_are_nested(sheets: &str) -> bool {
    let sheets = without_comments(sheets);
    let mut open: Vec<bool> = Vec::new();
    for part in sheets.split_inclusive(['{', '}']) {
        if let Some(body) = part.strip_suffix('{') {
            let prelude = body.rsplit(';').next().unwrap_or("").trim();
            let is_rule = kind_of(prelude) == Block::Rule;
            if open.last() == Some(&true) {
                return true;
            }
            open.push(is_rule);
        } else {
            open.pop();
        }
    }
    false
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
