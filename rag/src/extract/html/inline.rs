//! What within a line is more than its letters: raised and lowered numbers, struck-out text, addresses of links,
//! texts of images, formulas.

use scraper::{ElementRef, Node};

/// Longest address that is written out, in chars; longer ones are tickets and tracking.
const MAX_TARGET: usize = 200;
/// A formula nested deeper than this is read as flat text.
const MAX_FORMULA_DEPTH: usize = 40;

/// Writes `text` so that it is known to be withdrawn: `~~30 euros~~`. Text that continues what was struck
/// out before continues the mark.
pub(super) fn push_struck(inline: &mut String, text: &str) {
    let core = text.trim();
    if core.is_empty() {
        inline.push_str(text);
        return;
    }
    let lead = &text[..text.len() - text.trim_start().len()];
    let tail = &text[text.trim_end().len()..];
    let end = inline.trim_end().len();
    if let Some(start) = inline[..end].strip_suffix("~~").map(str::len) {
        let blank = inline[end..].to_owned();
        inline.truncate(start);
        inline.push_str(&blank);
        inline.push_str(lead);
    } else {
        inline.push_str(lead);
        inline.push_str("~~");
    }
    inline.push_str(core);
    inline.push_str("~~");
    inline.push_str(tail);
}

/// Writes raised text: 10^6 is not 106, a footnote number is not part of the word; m2 and 21st are fine
/// as they are (as in PDFs). `is_note`: it leads to a note. `is_formula`: letters are variables here.
pub(crate) fn push_raised(inline: &mut String, text: &str, is_note: bool, is_formula: bool) {
    let raised = text.trim();
    let Some(first) = raised.chars().next() else {
        return;
    };
    let is_sign = |c: char| matches!(c, '+' | '-' | '−' | '–');
    let is_number = first.is_ascii_digit() || (is_sign(first) && raised.chars().count() > 1);
    let before = inline.trim_end_matches("~~").chars().next_back();
    let word_len = inline
        .chars()
        .rev()
        .take_while(|c| c.is_alphabetic())
        .count();
    if is_note {
        inline.push(' ');
        if raised.starts_with(['[', '(']) {
            inline.push_str(raised);
        } else {
            inline.push_str(&format!("[^{raised}]"));
        }
        return;
    }
    let is_power = match before {
        Some(c) if c.is_ascii_digit() || matches!(c, ')' | ']') => is_number || is_formula,
        Some(c) if c.is_alphabetic() => is_sign(first) && is_number || is_formula,
        _ => false,
    };
    if is_power {
        inline.push('^');
        let inner = &raised[first.len_utf8()..];
        if inner.contains(['+', '-', '−', '*', '·', '/', ' ']) {
            inline.push_str(&format!("({raised})"));
        } else {
            inline.push_str(raised);
        }
        return;
    }
    let is_apart = match before {
        Some(c) if c.is_alphabetic() => word_len > 2,
        Some(c) => !c.is_whitespace(),
        None => false,
    };
    if is_number && is_apart {
        inline.push(' ');
    }
    inline.push_str(raised);
}

/// Writes lowered text: CO2 and H2O as people write them, but 101_2, where a number would go on.
pub(crate) fn push_lowered(inline: &mut String, text: &str) {
    let lowered = text.trim();
    let goes_on = inline.ends_with(|c: char| c.is_ascii_digit())
        && lowered.starts_with(|c: char| c.is_ascii_digit());
    if goes_on {
        inline.push('_');
    }
    inline.push_str(lowered);
}

/// The address of a link as it is written behind its text, `None` where it says nothing more than the text:
/// places within the page, scripts, and addresses that the text itself is.
/// `in_link_list`: pages of the same site are left out too, the list is navigation.
pub(crate) fn link_target(href: &str, text: &str, in_link_list: bool) -> Option<String> {
    let href: String = href.split_whitespace().collect();
    let lower = href.to_ascii_lowercase();
    let scheme = lower
        .split_once(':')
        .map(|(scheme, _)| scheme)
        .filter(|scheme| {
            !scheme.is_empty()
                && scheme
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        });
    let is_relative = scheme.is_none() && !href.starts_with("//");
    let target = match scheme {
        Some("mailto" | "tel" | "sms" | "callto") => {
            let address = href.split_once(':').map_or("", |(_, address)| address);
            percent_decoded(address.split('?').next().unwrap_or(""))
        }
        Some("javascript" | "vbscript" | "data" | "about" | "blob") => return None,
        None => href.split('#').next().unwrap_or("").to_owned(),
        // A place within another page or document belongs to its address.
        Some(_) => href.trim_end_matches('#').to_owned(),
    };
    let target = if target.chars().count() > MAX_TARGET {
        target.split('?').next().unwrap_or("").to_owned()
    } else {
        target
    };
    let said = letters(text);
    if target.is_empty() || target.chars().count() > MAX_TARGET || said.is_empty() {
        return None;
    }
    let without_scheme = target
        .split_once("://")
        .map_or(target.as_str(), |(_, rest)| rest);
    let without_scheme = without_scheme
        .strip_prefix("www.")
        .unwrap_or(without_scheme);
    let address = letters(without_scheme);
    if said == address || (!is_relative && said.contains(&address)) {
        return None;
    }
    let path = target.split('?').next().unwrap_or("").trim_end_matches('/');
    let name = percent_decoded(path.rsplit('/').next().unwrap_or(""));
    let (stem, extension) = name.rsplit_once('.').unwrap_or((&name, ""));
    let is_page = extension.is_empty() || extension.to_ascii_lowercase().contains("htm");
    let says_the_same = letters(stem) == said && is_page;
    if is_relative && (says_the_same || (in_link_list && is_page)) {
        return None;
    }
    Some(target)
}

/// Letters and digits in lower case.
fn letters(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = match (first, tail) {
            (b'%', [high, low, ..]) => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The text that stands for an image, in brackets; `None` where it is decoration or only named after its file.
pub(crate) fn image_text(alt: &str) -> Option<String> {
    let alt = alt.trim();
    let is_file_name = !alt.contains(char::is_whitespace)
        && [
            ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".bmp", ".tif",
        ]
        .iter()
        .any(|extension| alt.to_ascii_lowercase().contains(extension));
    if alt.is_empty() || is_file_name {
        return None;
    }
    // An emoji that was made an image is a letter.
    Some(if alt.contains(char::is_alphanumeric) {
        format!("[{alt}]")
    } else {
        alt.to_owned()
    })
}

/// A MathML element as one line: `x^2`, `(a+b)/c`, `√(x)`.
pub(super) fn formula(element: ElementRef<'_>, depth: usize) -> String {
    if depth > MAX_FORMULA_DEPTH {
        return element.text().collect();
    }
    let parts = || {
        element
            .child_elements()
            .map(|child| formula(child, depth + 1))
            .collect::<Vec<String>>()
    };
    let grouped = |part: &str| {
        if part.chars().count() > 1 && !part.chars().all(char::is_alphanumeric) {
            format!("({part})")
        } else {
            part.to_owned()
        }
    };
    let name = element.value().name();
    match (name, parts().as_slice()) {
        ("annotation" | "annotation-xml", _) => String::new(),
        ("semantics", [shown, ..]) => shown.clone(),
        ("mfrac", [over, under]) => format!("{}/{}", grouped(over), grouped(under)),
        ("msup" | "mover", [base, raised]) => format!("{}^{}", grouped(base), grouped(raised)),
        ("msub" | "munder", [base, lowered]) => format!("{}_{}", grouped(base), grouped(lowered)),
        ("msubsup" | "munderover", [base, lowered, raised]) => {
            format!("{}_{}^{}", grouped(base), grouped(lowered), grouped(raised))
        }
        ("mroot", [inner, degree]) => format!("{}√({inner})", grouped(degree)),
        ("msqrt", parts) => format!("√({})", parts.concat()),
        ("mtr", cells) => cells.join(", "),
        ("mtable", rows) => rows.join("; "),
        (_, []) => element
            .children()
            .filter_map(|node| match node.value() {
                Node::Text(text) => Some(text.trim()),
                _ => None,
            })
            .collect(),
        (_, parts) => parts.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raised_numbers_stay_apart_from_what_they_stand_at() {
        let cases = [
            ("3 x 10", "5", "3 x 10^5"),
            ("10", "-6", "10^-6"),
            ("10", "−3", "10^−3"),
            ("s", "-1", "s^-1"),
            ("900 m", "2", "900 m2"),
            ("21", "st", "21st"),
            ("n", "o", "no"),
            ("word", "3", "word 3"),
            ("end.", "3", "end. 3"),
            ("(a+b)", "2", "(a+b)^2"),
            ("45", "1", "45^1"),
            ("Brand", "®", "Brand®"),
            ("", "1", "1"),
        ];
        for (before, raised, want) in cases {
            let mut inline = before.to_owned();
            push_raised(&mut inline, raised, false, false);
            assert_eq!(inline, want);
        }
        let mut inline = "2".to_owned();
        push_raised(&mut inline, "n+1", false, true);
        assert_eq!(inline, "2^(n+1)");
        for (raised, want) in [("2", "2025 [^2]"), ("[2]", "2025 [2]")] {
            let mut inline = "2025".to_owned();
            push_raised(&mut inline, raised, true, false);
            assert_eq!(inline, want);
        }
    }

    #[test]
    fn lowered_numbers_do_not_prolong_numbers() {
        for (before, lowered, want) in [
            ("CO", "2", "CO2"),
            ("101", "2", "101_2"),
            ("T", "max", "Tmax"),
        ] {
            let mut inline = before.to_owned();
            push_lowered(&mut inline, lowered);
            assert_eq!(inline, want);
        }
    }

    #[test]
    fn struck_text_is_marked_once() {
        let mut inline = "now ".to_owned();
        for part in ["30", " euros ", " ", "or less "] {
            push_struck(&mut inline, part);
        }
        assert_eq!(inline, "now ~~30 euros  or less~~ ");
    }

    #[test]
    fn targets_are_written_where_they_say_more_than_the_text() {
        let cases = [
            (
                "https://shop.example.com/toner",
                "supply shop",
                Some("https://shop.example.com/toner"),
            ),
            ("forms/leave.pdf", "Leave form", Some("forms/leave.pdf")),
            ("../rules/", "the rules of 2024", Some("../rules/")),
            (
                "mailto:it@example.com?subject=x",
                "the IT team",
                Some("it@example.com"),
            ),
            ("MAILTO:a%2Bb@example.com", "mail", Some("a+b@example.com")),
            ("tel:+4712345", "call", Some("+4712345")),
            ("https://www.example.com/", "www.example.com", None),
            ("mailto:it@example.com", "it@example.com", None),
            ("#top", "up", None),
            ("/wiki/Heat_pump#History", "heat pump", None),
            ("javascript:void(0)", "open", None),
            ("https://a.example/x", "", None),
            (
                "https://a.example/x.pdf#page=2",
                "page 2",
                Some("https://a.example/x.pdf#page=2"),
            ),
        ];
        for (href, text, want) in cases {
            assert_eq!(link_target(href, text, false).as_deref(), want, "{href}");
        }
        assert_eq!(link_target("/products", "What we sell", true), None);
        assert!(link_target("/a/form.pdf", "Form of leave", true).is_some());
        let long = format!("https://a.example/x?{}", "t".repeat(400));
        assert_eq!(
            link_target(&long, "text", false).as_deref(),
            Some("https://a.example/x")
        );
    }

    #[test]
    fn images_that_say_something_are_read() {
        for (alt, want) in [
            ("bolt M8x40", Some("[bolt M8x40]")),
            ("IMG_0042.JPG", None),
            (" ", None),
            ("😀", Some("😀")),
        ] {
            assert_eq!(image_text(alt).as_deref(), want);
        }
    }
}
