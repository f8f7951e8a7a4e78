//! Fields: instructions of which a reader sees the result only, check boxes and lists of forms, links.
//!
//! A complex field is a run of characters: begin, instruction, separator, result, end; within instruction and
//! result there may be further fields.

use super::xml::Element;
use crate::extract::symbols;

/// Fields within fields that are followed; what lies deeper is not shown.
const MAX_DEPTH: usize = 64;
/// What a ticked and an empty check box look like.
pub(super) const TICKED: &str = "☒";
pub(super) const EMPTY_BOX: &str = "☐";

/// The control of a form that a field is.
#[derive(Debug, Default)]
struct Form {
    is_check_box: bool,
    is_ticked: bool,
    is_list: bool,
    entries: Vec<String>,
    chosen: Option<usize>,
    default: usize,
}

#[derive(Debug, Default)]
struct Field {
    instruction: String,
    within_result: bool,
    form: Form,
    /// Whether the result that the file holds is not shown.
    hides_result: bool,
    is_link: bool,
}

/// The fields that are open.
#[derive(Debug, Default)]
pub(super) struct Fields {
    open: Vec<Field>,
    /// How many open fields lie beyond [`MAX_DEPTH`].
    beyond: usize,
    /// Whether the walk is in what a form control states about itself.
    pub(super) within_form: bool,
    /// Whether page numbers are left out: in headers they say nothing.
    without_pages: bool,
    /// Whether some field of the part has no end, so that an instruction may end with its paragraph at the latest.
    lack_ends: bool,
}

/// What the reader has to do about a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Nothing,
    /// Text in place of the field's result.
    Show(String),
    /// A link to this address begins.
    OpenLink(String),
    CloseLink,
}

impl Fields {
    /// Fields of `part`, of which page numbers are left out if `without_pages`.
    pub(super) fn new(part: &str, without_pages: bool) -> Self {
        let count = |kind: &str| part.matches(&format!("fldCharType=\"{kind}\"")).count();
        Self {
            without_pages,
            lack_ends: count("begin") != count("end"),
            ..Self::default()
        }
    }

    pub(super) fn begin(&mut self) {
        if self.open.len() < MAX_DEPTH {
            self.open.push(Field::default());
        } else {
            self.beyond += 1;
        }
    }

    /// Takes in a part of the innermost field's instruction.
    pub(super) fn instruct(&mut self, text: &str) {
        if let Some(field) = self.open.last_mut()
            && !field.within_result
            && self.beyond == 0
        {
            field.instruction.push_str(text);
        }
    }

    /// Takes in an element of the field's form data.
    pub(super) fn read_form(&mut self, element: &Element<'_>) {
        let Some(Field { form, .. }) = self.open.last_mut() else {
            return;
        };
        match element.name {
            "checkBox" => form.is_check_box = true,
            "ddList" => form.is_list = true,
            // The default is stated before the state.
            "default" | "checked" if form.is_check_box => form.is_ticked = element.is_on(),
            "result" if form.is_list => form.chosen = element.number(),
            "default" if form.is_list => form.default = element.number().unwrap_or(0),
            "listEntry" => form.entries.extend(element.value()),
            _ => {}
        }
    }

    /// The instruction is complete, the result follows.
    pub(super) fn separate(&mut self) -> Outcome {
        match self.open.last_mut() {
            Some(field) if self.beyond == 0 && !field.within_result => {
                field.within_result = true;
                let Some(link) = link_of(&field.instruction) else {
                    field.hides_result = field.shows_itself()
                        || (self.without_pages && is_page_number(&field.instruction));
                    return Outcome::Nothing;
                };
                field.is_link = true;
                Outcome::OpenLink(link)
            }
            _ => Outcome::Nothing,
        }
    }

    pub(super) fn end(&mut self) -> Outcome {
        if self.beyond > 0 {
            self.beyond -= 1;
            return Outcome::Nothing;
        }
        match self.open.pop() {
            Some(field) if field.is_link => Outcome::CloseLink,
            Some(field) => field.shown().map_or(Outcome::Nothing, Outcome::Show),
            None => Outcome::Nothing,
        }
    }

    /// A paragraph ended.
    pub(super) fn end_paragraph(&mut self) {
        if self.lack_ends {
            self.open.retain(|field| field.within_result);
            self.beyond = 0;
        }
    }

    /// Whether text at this place is not shown: it belongs to an instruction or to a result that is replaced.
    pub(super) fn hide_text(&self) -> bool {
        self.beyond > 0
            || self
                .open
                .iter()
                .any(|field| !field.within_result || field.hides_result)
    }
}

impl Field {
    fn shows_itself(&self) -> bool {
        self.form.is_check_box || self.form.is_list || is(&self.instruction, "SYMBOL")
    }

    /// The text of a field that shows more than its result.
    fn shown(&self) -> Option<String> {
        if self.form.is_check_box {
            let state = if self.form.is_ticked {
                TICKED
            } else {
                EMPTY_BOX
            };
            return Some(state.to_owned());
        }
        if self.form.is_list {
            return self
                .form
                .entries
                .get(self.form.chosen.unwrap_or(self.form.default))
                .cloned();
        }
        symbol_of(&self.instruction).map(String::from)
    }
}

fn is(instruction: &str, name: &str) -> bool {
    instruction
        .split_whitespace()
        .next()
        .is_some_and(|first| first.eq_ignore_ascii_case(name))
}

fn is_page_number(instruction: &str) -> bool {
    ["PAGE", "NUMPAGES", "SECTIONPAGES", "SECTION"]
        .iter()
        .any(|name| is(instruction, name))
}

/// Words of an instruction; quotes hold words together.
fn words(instruction: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = instruction.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

/// Address of a HYPERLINK field that leads out of the document.
fn link_of(instruction: &str) -> Option<String> {
    if !is(instruction, "HYPERLINK") {
        return None;
    }
    let mut address = None;
    let mut anchor = None;
    let mut words = words(instruction).into_iter().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "\\l" => anchor = words.next(),
            "\\o" | "\\t" => {
                words.next();
            }
            switch if switch.starts_with('\\') && switch.len() == 2 => {}
            _ => address = address.or(Some(word)),
        }
    }
    with_anchor(address?, anchor)
}

/// The address with the place within what it leads to; `None` for places of this document.
pub(super) fn with_anchor(address: String, anchor: Option<String>) -> Option<String> {
    let address = address.trim();
    if address.is_empty() || address.starts_with('#') {
        return None;
    }
    Some(match anchor {
        Some(anchor) if !anchor.is_empty() => format!("{address}#{anchor}"),
        _ => address.to_owned(),
    })
}

/// The character of a SYMBOL field: `SYMBOL 163 \f "Symbol"`, the code decimal or hexadecimal.
fn symbol_of(instruction: &str) -> Option<char> {
    if !is(instruction, "SYMBOL") {
        return None;
    }
    let words = words(instruction);
    let code = words.get(1)?;
    let code = match code.strip_prefix("0x").or_else(|| code.strip_prefix("0X")) {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok()?,
        None => code.parse().ok()?,
    };
    let font = words
        .iter()
        .position(|word| word.eq_ignore_ascii_case("\\f"))
        .and_then(|switch| words.get(switch + 1))
        .and_then(|name| symbols::font(name));
    match font {
        Some(font) => font.read(code),
        None => {
            let is_unicode = words.iter().any(|word| word.eq_ignore_ascii_case("\\u"));
            // Without that switch the code is one of Windows-1252, which differs from Unicode below U+00A0.
            match u8::try_from(code) {
                Ok(byte) if !is_unicode => encoding_rs::WINDOWS_1252
                    .decode_without_bom_handling(&[byte])
                    .0
                    .chars()
                    .next(),
                _ => char::from_u32(code).and_then(symbols::read_private),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_out_of_the_document() {
        let cases = [
            (
                " HYPERLINK \"https://example.com/a b\" \\o \"a tip\" ",
                Some("https://example.com/a b"),
            ),
            (
                "HYPERLINK https://example.com \\l part \\h",
                Some("https://example.com#part"),
            ),
            ("HYPERLINK \\l \"_Toc1\"", None),
            ("PAGEREF _Toc1 \\h", None),
        ];
        for (instruction, want) in cases {
            assert_eq!(link_of(instruction).as_deref(), want, "{instruction}");
        }
    }

    #[test]
    fn symbol_fields_show_their_character() {
        let cases = [
            ("SYMBOL 163 \\f \"Symbol\" \\s 12", Some('≤')),
            ("symbol 0xFE \\f Wingdings", Some('☑')),
            ("SYMBOL 8805 \\u", Some('≥')),
            ("SYMBOL 128", Some('€')),
            ("SYMBOL", None),
        ];
        for (instruction, want) in cases {
            assert_eq!(symbol_of(instruction), want, "{instruction}");
        }
    }

    #[test]
    fn only_results_are_shown() {
        let mut fields = Fields::default();
        fields.begin();
        fields.instruct(" IF ");
        fields.begin();
        fields.instruct("DOCPROPERTY x");
        assert_eq!(fields.separate(), Outcome::Nothing);
        assert!(fields.hide_text(), "a result within an instruction");
        fields.end();
        fields.separate();
        assert!(!fields.hide_text());
        fields.end();
        for _ in 0..=MAX_DEPTH {
            fields.begin();
        }
        assert!(fields.hide_text());
        for _ in 0..=MAX_DEPTH {
            fields.end();
        }
        assert!(!fields.hide_text());
    }
}
