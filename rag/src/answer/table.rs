//! Rows of tables as statements: every cell read with the head of its column.
//!
//! Extraction writes tables as `| a | b |`, a line of dashes behind the header row. A row says "flammable: no" only with
//! its header, which may stand outside the window ([`crate::answer::context::ContextPassage::table_head`]). A table without header whose
//! rows have two cells is a form: the first cell is the head of the second.

use std::collections::HashSet;

use crate::extract::is_table_rule;
use crate::text::polarity::{self, Languages};
use crate::text::sentence::{Span, key_and_value};
use crate::text::terms::{Term, match_strength, terms_in};
use crate::text::unspaced::is_unspaced;

/// A cell with its head.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub head: String,
    pub text: String,
    pub head_keys: HashSet<String>,
    pub keys: HashSet<String>,
    /// The whole cell is a yes or a no.
    pub says: Option<bool>,
}

impl Cell {
    /// Whether a text has the whole cell, of an unspaced script: a name of one character has no bigram.
    pub fn is_in(&self, text: &str) -> bool {
        let is_unspaced = !self.text.is_empty() && self.text.chars().all(is_unspaced);
        is_unspaced && text.contains(&self.text)
    }
}

/// A row of a table. Its first cell is its *key*: what the row is about.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub cells: Vec<Cell>,
    languages: Languages,
}

/// Whether a sentence of a document is a row of a table.
pub(crate) fn is_row(text: &str) -> bool {
    text.starts_with('|')
}

/// The cells of a line `| a | b |`; `\|` is a bar inside a cell.
pub(crate) fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches('|');
    let mut cells = vec![String::new()];
    let mut escaped = false;
    for c in line.chars() {
        let cell = cells.last_mut().expect("never empty");
        match c {
            '|' if escaped => {
                cell.pop();
                cell.push('|');
            }
            '|' => cells.push(String::new()),
            _ => cell.push(c),
        }
        escaped = c == '\\';
    }
    if line.ends_with('|') && !line.ends_with("\\|") {
        cells.pop();
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

/// Whether the line of `chars` behind the one that ends at `end` is the dashes under a header row.
pub(crate) fn is_header(chars: &[char], end: usize) -> bool {
    let rest = chars.get(end..).unwrap_or_default();
    let line = rest.iter().skip_while(|c| **c != '\n').skip(1);
    let line: String = line.take_while(|c| **c != '\n').collect();
    is_table_rule(&line)
}

/// The header row above `start`, a character inside a table; `None` where the table has none or `start` is in it.
pub fn head_above(chars: &[char], start: usize) -> Option<String> {
    let above: String = chars.get(..start)?.iter().collect();
    let mut below_is_rule = false;
    for line in above.lines().rev() {
        if is_table_rule(line) {
            below_is_rule = true;
        } else if below_is_rule {
            return is_row(line).then(|| line.to_owned());
        } else if !is_row(line) && !line.trim().is_empty() {
            return None;
        }
    }
    None
}

/// Where the lines `Key: value` begin that have a neighbour of the kind: one alone may introduce a sentence.
pub(crate) fn lines_of_forms(chars: &[char], spans: &[Span]) -> HashSet<usize> {
    let is_form = |span: &Span| {
        let text: String = chars[span.start..span.end].iter().collect();
        !is_row(&text) && !text.contains('\n') && key_and_value(&text).is_some()
    };
    let pairs = spans.windows(2);
    pairs
        .filter(|pair| pair.iter().all(is_form))
        .flat_map(|pair| [pair[0].start, pair[1].start])
        .collect()
}

impl Row {
    /// Reads a row under the cells of its header; `heads` is empty for a table without one.
    pub fn new(line: &str, heads: &[String], languages: Languages) -> Self {
        let texts = cells(line);
        let is_form = heads.is_empty() && texts.len() == 2;
        let head_of = |i: usize| match i {
            1 if is_form => texts[0].clone(),
            _ => heads.get(i).cloned().unwrap_or_default(),
        };
        let term_keys = |text: &str| -> HashSet<String> {
            terms_in(text, languages)
                .into_iter()
                .map(|t| t.key)
                .collect()
        };
        let cells = texts.iter().enumerate().map(|(i, text)| {
            let head = head_of(i);
            Cell {
                head_keys: term_keys(&head),
                keys: term_keys(text),
                says: polarity::cell(text),
                head,
                text: text.clone(),
            }
        });
        Self {
            cells: cells.collect(),
            languages,
        }
    }

    /// Reads a line `Key: value`; `None` where it is none.
    pub fn of_form(line: &str, languages: Languages) -> Option<Self> {
        let (key, value) = key_and_value(line)?;
        let [key, value] = [key, value].map(|text| text.replace('|', "\\|"));
        Some(Self::new(&format!("| {key} | {value} |"), &[], languages))
    }

    /// The terms of all cells and heads; a cell that says no denies through [`Cell::says`], not here.
    pub fn terms(&self) -> Vec<Term> {
        let cells = self
            .cells
            .iter()
            .flat_map(|cell| terms_in(&cell.text, self.languages));
        let heads = self
            .cells
            .iter()
            .flat_map(|cell| terms_in(&cell.head, self.languages))
            // A head denies nothing: the "no." of "Tool no." is a number.
            .map(|term| Term {
                negated: false,
                ..term
            });
        cells.chain(heads).collect()
    }

    /// The row as a line to read: `Substance: Glycerol | Flammable: no`, cut to its key and the columns of `asked`, whole
    /// where those are none or the key's alone.
    pub fn shown(&self, asked: &[usize]) -> String {
        let asks_values = asked.iter().any(|i| *i > 0);
        let is_shown = |i: usize| !asks_values || i == 0 || asked.contains(&i);
        let cells = self.cells.iter().enumerate();
        let parts: Vec<String> = cells
            .filter(|(i, cell)| is_shown(*i) && !cell.text.is_empty() && !self.is_head_of_next(*i))
            .map(|(_, cell)| match cell.head.as_str() {
                "" => cell.text.clone(),
                head => format!("{head}: {}", cell.text),
            })
            .collect();
        parts.join(" | ")
    }

    /// The columns whose head has a term of `terms`, apart from the key's.
    pub fn columns_named(&self, terms: &[Term]) -> Vec<usize> {
        let named = |cell: &Cell| {
            terms
                .iter()
                .any(|t| match_strength(t, &cell.head_keys) > 0.0)
        };
        let cells = self.cells.iter().enumerate();
        cells
            .filter(|(_, cell)| named(cell))
            .map(|(i, _)| i)
            .collect()
    }

    /// Those of them whose heads have the most of the terms.
    pub fn columns_best_named(&self, terms: &[Term]) -> Vec<usize> {
        let count = |i: &usize| {
            let head = &self.cells[*i].head_keys;
            let terms = terms.iter().filter(|t| match_strength(t, head) > 0.0);
            terms.count()
        };
        let mut named = self.columns_named(terms);
        let most = named.iter().map(count).max();
        named.retain(|i| Some(count(i)) == most);
        named
    }

    /// Whether it is a key and a value.
    pub fn is_form(&self) -> bool {
        self.cells.len() == 2 && self.is_head_of_next(0)
    }

    /// Whether any cell says no.
    pub fn denies(&self) -> bool {
        self.cells.iter().any(|cell| cell.says == Some(false))
    }

    fn is_head_of_next(&self, i: usize) -> bool {
        let next = self.cells.get(i + 1);
        self.cells[i].head.is_empty() && next.is_some_and(|next| next.head == self.cells[i].text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_with_its_heads() {
        let heads = cells("| Substance | Flammable | Cabinet |");
        let row = Row::new("| Glycerol | no | K4 |", &heads, Languages::unknown());
        assert_eq!(
            row.shown(&[]),
            "Substance: Glycerol | Flammable: no | Cabinet: K4"
        );
        assert_eq!(row.shown(&[1]), "Substance: Glycerol | Flammable: no");
        assert_eq!(row.shown(&[0]), row.shown(&[]));
        assert_eq!(row.cells[1].says, Some(false));
        assert!(row.denies());
        let form = Row::new("| Inflammable | non |", &[], Languages::unknown());
        assert_eq!(form.shown(&[]), "Inflammable: non");
        assert_eq!(form.cells[1].says, Some(false));
        let bars = Row::new(r"| a \| b | c", &[], Languages::unknown());
        assert_eq!(bars.cells[0].text, "a | b");
    }

    #[test]
    fn the_header_is_found_above_a_window_that_begins_inside_a_table() {
        let text = "Intro.\n\n| A | B |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n\nEnd.\n| 5 | 6 |";
        let chars: Vec<char> = text.chars().collect();
        let at = |part: &str| text.find(part).unwrap();
        assert_eq!(head_above(&chars, at("| 3")).as_deref(), Some("| A | B |"));
        assert_eq!(head_above(&chars, at("| A")), None);
        assert_eq!(head_above(&chars, at("| 5")), None);
        assert!(is_header(&chars, at("| A") + 9));
        assert!(!is_header(&chars, at("| 1") + 9));
    }
}
