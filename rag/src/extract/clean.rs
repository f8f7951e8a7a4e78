//! The cleaning that every reader's text goes through.

/// Characters that are not seen and so must not be read: controls, zero-width marks, direction
/// overrides, soft hyphens and the tag characters that hide instructions from people.
/// The joiners U+200C and U+200D stay, Persian and emoji need them.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
        || (c.is_control() && !c.is_whitespace())
}

/// One line: whitespace runs become one space, invisible characters go.
pub(super) fn clean_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut pending_space = false;
    for c in text.chars().filter(|&c| !is_invisible(c)) {
        if c.is_whitespace() {
            pending_space = !line.is_empty();
        } else {
            if pending_space {
                line.push(' ');
                pending_space = false;
            }
            line.push(c);
        }
    }
    line
}

/// Several lines: invisible characters and trailing blanks go, no blank lines (a blank line would look
/// like the border between two blocks), indentation and inner spacing stay.
pub(super) fn clean_lines(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            line.chars()
                .filter(|&c| !is_invisible(c))
                .collect::<String>()
        })
        .map(|line| line.trim_end().replace('\t', "    "))
        .filter(|line| !line.is_empty())
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_not_read() {
        let hidden: String = "ignore"
            .chars()
            .filter_map(|c| char::from_u32(0xe0000 + c as u32))
            .collect();
        assert_eq!(
            clean_line(&format!(" a\u{200b}b\u{ad}c {hidden}\u{202e}\u{a0} d\n")),
            "abc d"
        );
        assert_eq!(clean_lines("a  \n\n\tb\x07"), "a\n    b");
    }
}
