//! Office MathML as one line of text: `x^2`, `(a+b)/c`, `√(x)`, `∑_(i=1)^n`. Enough to be found and read.

/// Collects one formula.
#[derive(Debug, Default)]
pub(super) struct Formula {
    text: String,
    /// Open parts: the element's name and where its text starts.
    open: Vec<(String, usize)>,
    /// Opening and closing character of each open delimiter.
    delimiters: Vec<(String, String)>,
}

impl Formula {
    pub(super) fn push_text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// `character` is the `val` of `chr`, `begChr` and `endChr`.
    pub(super) fn open(&mut self, name: &str, character: Option<String>) {
        match name {
            "d" => self.delimiters.push(("(".into(), ")".into())),
            "begChr" => {
                if let (Some(open), Some(character)) = (self.delimiters.last_mut(), character) {
                    open.0 = character;
                }
            }
            "endChr" => {
                if let (Some(open), Some(character)) = (self.delimiters.last_mut(), character) {
                    open.1 = character;
                }
            }
            // Only the sign of a sum or integral is read; an accent's is drawn above the letter.
            "chr" if self.open.iter().any(|(open, _)| open == "nary") => {
                self.text.push_str(&character.unwrap_or_default());
            }
            "num" | "den" | "sup" | "sub" | "deg" | "e" | "rad" | "func" | "nary" | "mr"
            | "fName" => {
                if name == "e"
                    && self.parent() == Some("mr")
                    && !self.text.ends_with("; ")
                    && !self.text.is_empty()
                {
                    self.text.push_str(", ");
                }
                self.open.push((name.to_owned(), self.text.len()));
            }
            _ => {}
        }
    }

    pub(super) fn close(&mut self, name: &str) {
        if name == "d" {
            self.delimiters.pop();
            return;
        }
        if self.open.last().is_none_or(|(open, _)| open != name) {
            return;
        }
        let Some((_, start)) = self.open.pop() else {
            return;
        };
        let part = self.text.split_off(start);
        let grouped = if part.chars().count() > 1 {
            format!("({part})")
        } else {
            part.clone()
        };
        let written = match name {
            _ if part.is_empty() => String::new(),
            "num" => grouped,
            "den" => format!("/{grouped}"),
            "sup" => format!("^{grouped}"),
            "sub" => format!("_{grouped}"),
            "deg" => format!("{part}-th "),
            "rad" => format!("√{grouped}"),
            "mr" => format!("{part}; "),
            "fName" => format!("{part} "),
            "e" if self
                .parent()
                .is_none_or(|parent| !matches!(parent, "mr" | "rad")) =>
            {
                self.delimited(part)
            }
            _ => part,
        };
        self.text.push_str(&written);
    }

    fn parent(&self) -> Option<&str> {
        self.open.last().map(|(name, _)| name.as_str())
    }

    /// The content of a delimiter between its characters; other content unchanged.
    fn delimited(&mut self, part: String) -> String {
        match self.delimiters.last_mut() {
            Some((begin, end)) if !(begin.is_empty() && end.is_empty()) => {
                let written = format!("{begin}{part}{end}");
                // What follows within the same delimiter, and exponents inside it, get none of their own.
                *begin = String::new();
                *end = String::new();
                written
            }
            _ => part,
        }
    }

    /// The formula, and an empty one again.
    pub(super) fn take(&mut self) -> String {
        self.open.clear();
        self.delimiters.clear();
        let text = std::mem::take(&mut self.text);
        text.trim().trim_end_matches(';').replace("( ", "(")
    }
}
