//! Fields of forms: what was filled in and chosen, behind its label as the page shows it. Empty fields say nothing.
//!
//! Boxes to tick are written ☒ and ☐, as in DOCX and PDF. A list to choose from says something only where an option
//! is `selected`: browsers show the first one otherwise, but nobody has chosen it. Passwords, hidden values, searches
//! and buttons are not read, nor boxes that fold a part of the page in or out, with which pages work without scripts.

use ego_tree::NodeRef;
use scraper::{ElementRef, Node};

use super::elements::{INLINE, is_control};
use super::{Page, Place};
use crate::extract::clean::clean_line;
use crate::extract::outline::Flow;

const TICKED: &str = "☒";
const EMPTY_BOX: &str = "☐";
/// Fields whose value is not filled in, or not for readers.
const UNREAD_TYPES: &[&str] = &[
    "button", "file", "hidden", "image", "password", "reset", "search", "submit",
];

/// What stands before a field on its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// Words that tell what the field is.
    Words,
    /// Another field, or what belongs to one.
    Field,
}

impl Page {
    pub(super) fn field(&self, field: ElementRef<'_>, flow: &mut Flow, place: Place) {
        if place.ink.is_unseen() {
            return;
        }
        let inline = &mut flow.inline;
        if is_box(field) {
            if self.is_choice(field) {
                let is_ticked = field.value().attr("checked").is_some();
                push_apart(inline, if is_ticked { TICKED } else { EMPTY_BOX });
            }
            return;
        }
        let Some(value) = value_of(field) else { return };
        let is_word = inline
            .trim_end()
            .ends_with(|c: char| c.is_alphanumeric() || matches!(c, ')' | ']' | '*' | '☒' | '☐'));
        match before(field) {
            Before::Nothing => {
                if let Some(label) = self.label_elsewhere(field) {
                    let colon = if label.ends_with(char::is_alphanumeric) {
                        ":"
                    } else {
                        ""
                    };
                    push_apart(inline, &format!("{label}{colon}"));
                }
            }
            Before::Words | Before::Field if !is_word => {}
            before => {
                inline.truncate(inline.trim_end().len());
                inline.push(if before == Before::Words { ':' } else { ',' });
            }
        }
        push_apart(inline, &value);
    }

    /// What is seen of the label of a field that has nothing before it on its line, unless it is another cell of the
    /// same row.
    fn label_elsewhere(&self, field: ElementRef<'_>) -> Option<String> {
        let label = self.visibility.label_of(field);
        // Its words come later, on the same line.
        if label.is_some_and(|label| field.ancestors().any(|above| above.id() == label.id())) {
            return None;
        }
        let row = |element: ElementRef<'_>| above(element, &["tr"]).map(|row| row.id());
        if let Some(label) = label
            && row(label).is_some()
            && row(label) == row(field)
        {
            return None;
        }
        let label = label.filter(|label| {
            let mut around = label.ancestors().filter_map(ElementRef::wrap);
            !self.visibility.is_skipped(*label)
                && !around.any(|above| self.visibility.is_skipped(above))
        })?;
        let mut text = String::new();
        self.preformatted(label, &mut text, self.within(label, self.outermost(false)));
        Some(clean_line(&text)).filter(|text| !text.is_empty())
    }

    /// Whether a box is something to choose, with words that say what.
    fn is_choice(&self, field: ElementRef<'_>) -> bool {
        let works_the_page = is_control(field)
            || ["aria-controls", "aria-haspopup"]
                .iter()
                .any(|name| field.value().attr(name).is_some())
            || self.visibility.cascade.is_switch(field);
        if works_the_page {
            return false;
        }
        if let Some(label) = above(field, &["label"]) {
            return has_words(*label);
        }
        if self
            .visibility
            .label_of(field)
            .is_some_and(|label| has_words(*label))
        {
            // Outside a form, a box and a label that stands apart from it make a switch.
            return above(field, &["form", "fieldset"]).is_some();
        }
        let fills_cell = field
            .parent()
            .and_then(ElementRef::wrap)
            .is_some_and(|parent| matches!(parent.value().name(), "td" | "th"));
        let next = field.next_siblings().find(|next| !is_blank(*next));
        let words_follow = next.is_some_and(|next| match next.value() {
            Node::Text(_) => true,
            Node::Element(element) => INLINE.contains(&element.name()) && has_words(next),
            _ => false,
        });
        fills_cell || words_follow || before(field) == Before::Words
    }
}

fn is_box(field: ElementRef<'_>) -> bool {
    field.value().name() == "input" && matches!(input_type(field).as_str(), "checkbox" | "radio")
}

fn input_type(field: ElementRef<'_>) -> String {
    let stated = field.value().attr("type").unwrap_or("");
    stated.trim().to_ascii_lowercase()
}

/// What was filled in or chosen, if anything.
fn value_of(field: ElementRef<'_>) -> Option<String> {
    let value = match field.value().name() {
        "select" => chosen(field)?,
        "textarea" => field.text().collect(),
        _ if UNREAD_TYPES.contains(&input_type(field).as_str()) => return None,
        _ => field.value().attr("value")?.to_owned(),
    };
    let value = clean_line(&value);
    // A prompt, also one that a script takes away.
    let is_prompt = field.value().attr("placeholder") == Some(value.as_str())
        || field
            .value()
            .attrs()
            .any(|(name, code)| name.starts_with("on") && code.contains(&value));
    (!value.is_empty() && !is_prompt).then_some(value)
}

/// The options of a list that the page states to be chosen. One without a value, or one that cannot be chosen,
/// asks for a choice.
fn chosen(list: ElementRef<'_>) -> Option<String> {
    let acts_at_once =
        list.value().attr("onchange").is_some() && above(list, &["form", "fieldset"]).is_none();
    if acts_at_once {
        return None;
    }
    let selected = list.descendent_elements().filter(|option| {
        let value = option.value();
        value.name() == "option" && value.attr("selected").is_some()
    });
    let mut selected: Vec<ElementRef<'_>> = selected.collect();
    if list.value().attr("multiple").is_none() {
        // The last one wins.
        selected.drain(..selected.len().saturating_sub(1));
    }
    let texts: Vec<String> = selected
        .into_iter()
        .filter(|option| {
            let value = option.value();
            value.attr("value") != Some("") && value.attr("disabled").is_none()
        })
        .map(|option| match option.value().attr("label") {
            Some(label) if !label.is_empty() => label.to_owned(),
            _ => clean_line(&option.text().collect::<String>()),
        })
        .collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn before(field: ElementRef<'_>) -> Before {
    let mut place = field;
    loop {
        for node in place.prev_siblings().filter(|node| !is_blank(*node)) {
            let Some(element) = ElementRef::wrap(node) else {
                return Before::Words;
            };
            let name = element.value().name();
            if matches!(name, "input" | "textarea" | "select") || is_of_another(element, field) {
                return Before::Field;
            }
            if INLINE.contains(&name) {
                return Before::Words;
            }
            if name != "br" {
                return Before::Nothing;
            }
        }
        match place.parent().and_then(ElementRef::wrap) {
            Some(parent) if INLINE.contains(&parent.value().name()) => place = parent,
            _ => return Before::Nothing,
        }
    }
}

/// Whether the element holds another field, or is the label of one.
fn is_of_another(element: ElementRef<'_>, field: ElementRef<'_>) -> bool {
    let labels_another = element
        .value()
        .attr("for")
        .is_some_and(|id| field.value().id() != Some(id));
    labels_another
        || element
            .descendent_elements()
            .any(|inner| matches!(inner.value().name(), "input" | "textarea" | "select"))
}

/// Whether a node shows nothing: white space, comments, fields without a look.
fn is_blank(node: NodeRef<'_, Node>) -> bool {
    match node.value() {
        Node::Text(text) => text.trim().is_empty(),
        Node::Element(element) if element.name() == "input" => element
            .attr("type")
            .is_some_and(|kind| kind.eq_ignore_ascii_case("hidden")),
        Node::Element(element) => INLINE.contains(&element.name()) && !shows_something(node),
        _ => true,
    }
}

fn shows_something(node: NodeRef<'_, Node>) -> bool {
    node.descendants().any(|inner| match inner.value() {
        Node::Text(text) => !text.trim().is_empty(),
        Node::Element(element) => {
            matches!(
                element.name(),
                "input" | "textarea" | "select" | "img" | "svg"
            )
        }
        _ => false,
    })
}

fn has_words(node: NodeRef<'_, Node>) -> bool {
    node.descendants().any(|inner| {
        inner
            .value()
            .as_text()
            .is_some_and(|text| !text.trim().is_empty())
    })
}

fn above<'a>(element: ElementRef<'a>, names: &[&str]) -> Option<ElementRef<'a>> {
    element
        .ancestors()
        .filter_map(ElementRef::wrap)
        .find(|above| names.contains(&above.value().name()))
}

fn push_apart(inline: &mut String, text: &str) {
    if inline.ends_with(|c: char| !c.is_whitespace()) {
        inline.push(' ');
    }
    inline.push_str(text);
    inline.push(' ');
}

#[cfg(test)]
mod tests {
    use crate::extract::html::extract;

    #[test]
    fn filled_fields_read_as_key_and_value_and_empty_ones_say_nothing() {
        let cases: &[(&str, &[&str])] = &[
            (
                "<p><label>Name <input value='Ada B'></label></p>",
                &["Name: Ada B"],
            ),
            (
                "<p><label>Name: <input value=Ada></label></p>",
                &["Name: Ada"],
            ),
            ("<p><label>Name <input></label></p>", &["Name"]),
            (
                "<div><label for=d>Due</label> <input type=date id=d value=2026-05-03></div>",
                &["Due: 2026-05-03"],
            ),
            (
                "<div><label for=d>Due</label></div><div><input id=d value=May></div>",
                &["Due", "Due: May"],
            ),
            (
                "<div><label for=d hidden>Due</label></div><div><input id=d value=May></div>",
                &["May"],
            ),
            (
                "<div><label for=a><input id=a value=1></label> x</div>",
                &["1 x"],
            ),
            (
                "<table><tr><td><label for=d>Due</label><td><input id=d value=May></table>",
                &["| Due | May |"],
            ),
            (
                "<p><label>Why <textarea>\nTwo\nlines</textarea></label></p>",
                &["Why: Two lines"],
            ),
            (
                "<p>from <input value=3> to <input value=5> days</p>",
                &["from: 3 to: 5 days"],
            ),
            (
                "<p><label>Size</label> <input value=3><input value=5></p>",
                &["Size: 3, 5"],
            ),
            (
                "<p>x <input type=password value=s><input type=hidden value=s><input type=submit value=s></p>",
                &["x"],
            ),
            (
                "<p>x <input value='Your name' onfocus=\"if (this.value == 'Your name') this.value = ''\"></p>",
                &["x"],
            ),
            (
                "<p>Colour <select><option>red<option selected>blue</select></p>",
                &["Colour: blue"],
            ),
            (
                "<p>Colour <select><option>red<option>blue</select></p>",
                &["Colour"],
            ),
            (
                "<p>Colour <select><option selected value=''>choose<option>blue</select></p>",
                &["Colour"],
            ),
            (
                "<p>Days <select multiple><option selected>Mo<option>Tu<option selected label=Wed>3</select></p>",
                &["Days: Mo, Wed"],
            ),
            (
                "<p>Pay: <label><input type=radio name=z> cash</label> <label><input type=radio name=z checked> card</label></p>",
                &["Pay: ☐ cash ☒ card"],
            ),
            (
                "<ul><li><input type=checkbox disabled checked> done<li><input type=checkbox> open</ul>",
                &["- ☒ done", "- ☐ open"],
            ),
            (
                "<form><p><input type=checkbox id=c checked><label for=c>yes</label></p></form>",
                &["☒ yes"],
            ),
            (
                "<table><tr><td><input type=checkbox checked><td>yes</table>",
                &["| ☒ | yes |"],
            ),
            (
                "<form><label><input type=checkbox checked> news</label><select><option selected>blue</select></form>",
                &["☒ news, blue"],
            ),
        ];
        for (html, want) in cases {
            let blocks = extract(html.as_bytes()).unwrap().blocks;
            let texts: Vec<String> = blocks.into_iter().map(|block| block.text).collect();
            assert_eq!(texts, *want, "{html}");
        }
    }

    #[test]
    fn boxes_that_work_the_page_are_no_choices() {
        let cases = [
            "<input type=checkbox id=m><label for=m>Menu</label><div>x</div>",
            "<input type=checkbox class=t><div>x</div>",
            "<input type=checkbox role=button aria-label=Menu> Menu",
            "<style>#m:checked ~ .x { display: block } .x { display: none }</style>\
             <form><input type=checkbox id=m><label for=m>More</label><div class=x>x</div></form>",
        ];
        for html in cases {
            let blocks = extract(html.as_bytes()).unwrap().blocks;
            assert!(
                blocks.iter().all(|block| !block.text.contains('☐')),
                "{html}"
            );
        }
    }
}
