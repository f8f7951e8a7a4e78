//! Python's behaviour in Jinja templates where minijinja differs: how values print, JSON, string methods.
//!
//! Chat templates are written for Jinja2 in Python, and a prompt must be theirs byte for byte.

use std::fmt::Write;

use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, ErrorKind, Output, State, Value};

/// Deepest value that is printed or written as JSON; Python gives up at a thousand.
const MAX_DEPTH: usize = 100;

/// Widest indentation of JSON.
const MAX_INDENT: usize = 16;

/// Prints a value as `{{ value }}` does in Python: `None`, `True`, `{'a': 1}`.
pub(super) fn print(
    output: &mut Output<'_>,
    _: &State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    let text = to_str(value)?;
    output.write_str(&text).map_err(Error::from)
}

/// The filter `string`.
pub(super) fn string_filter(value: &Value) -> Result<String, Error> {
    to_str(value)
}

/// `str(value)`.
fn to_str(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    let mut text = String::new();
    if !value.is_undefined() {
        write_repr(&mut text, value, 0)?;
    }
    Ok(text)
}

fn write_repr(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    check_depth(depth)?;
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push_str(&number(value)?),
        ValueKind::String => write_str_repr(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (index, item) in value.try_iter()?.enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_repr(out, &item, depth + 1)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_repr(out, &key, depth + 1)?;
                out.push_str(": ");
                write_repr(out, &value.get_item(&key)?, depth + 1)?;
            }
            out.push('}');
        }
        _ => write!(out, "{value}").map_err(Error::from)?,
    }
    Ok(())
}

/// `repr` of a string: single quotes unless only those occur in it.
fn write_str_repr(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// `tojson` as transformers defines it: `json.dumps(value, ensure_ascii=False, indent=None, separators=None,
/// sort_keys=False)`. The filter that minijinja brings escapes for HTML, which changes the prompt.
pub(super) fn tojson(state: &State<'_, '_>, value: &Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent: Option<Value> = kwargs.get("indent")?;
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    let indent = match indent {
        None => None,
        Some(indent) if indent.is_none() => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.chars().take(MAX_INDENT).collect(),
            None => " ".repeat((i64::try_from(indent)?.max(0) as usize).min(MAX_INDENT)),
        }),
    };
    let (item_separator, key_separator) = match separators.as_deref() {
        None if indent.is_some() => (",", ": "),
        None => (", ", ": "),
        Some([item, key]) => (item.as_str(), key.as_str()),
        Some(_) => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "separators are two strings",
            ));
        }
    };
    let writer = Json {
        indent: indent.as_deref(),
        item_separator,
        key_separator,
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ensure_ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        marker: state
            .lookup(MARKER_VARIABLE)
            .and_then(|marker| marker.as_str()?.chars().next()),
    };
    kwargs.assert_all_used()?;
    let mut json = String::new();
    writer.write(&mut json, value, 0)?;
    Ok(Value::from(json))
}

/// Variable that holds the marker of look-alikes, which stays itself where other characters are escaped.
pub(super) const MARKER_VARIABLE: &str = "_marker";

struct Json<'a> {
    indent: Option<&'a str>,
    item_separator: &'a str,
    key_separator: &'a str,
    sort_keys: bool,
    ensure_ascii: bool,
    marker: Option<char>,
}

impl Json<'_> {
    fn write(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        check_depth(depth)?;
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&number(value)?),
            ValueKind::String => self.write_string(out, value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.write_items(out, ['[', ']'], depth, items.iter(), |out, item| {
                    self.write(out, item, depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut entries = Vec::new();
                for key in value.try_iter()? {
                    entries.push((json_key(&key)?, value.get_item(&key)?));
                }
                if self.sort_keys {
                    entries.sort_by(|left, right| left.0.cmp(&right.0));
                }
                self.write_items(
                    out,
                    ['{', '}'],
                    depth,
                    entries.iter(),
                    |out, (key, value)| {
                        self.write_string(out, key);
                        out.push_str(self.key_separator);
                        self.write(out, value, depth + 1)
                    },
                )?;
            }
            kind => {
                let reason = format!("a value of type {kind} is not JSON serializable");
                return Err(Error::new(ErrorKind::BadSerialization, reason));
            }
        }
        Ok(())
    }

    fn write_items<T>(
        &self,
        out: &mut String,
        [open, close]: [char; 2],
        depth: usize,
        items: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut String, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let is_empty = items.len() == 0;
        out.push(open);
        for (index, item) in items.enumerate() {
            out.push_str(if index == 0 { "" } else { self.item_separator });
            self.new_line(out, depth + 1);
            write(out, item)?;
        }
        if !is_empty {
            self.new_line(out, depth);
        }
        out.push(close);
        Ok(())
    }

    fn new_line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = self.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    }

    fn write_string(&self, out: &mut String, text: &str) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && c > '\u{7e}' && Some(c) != self.marker) => {
                    let units = c.encode_utf16(&mut [0; 2]).to_vec();
                    units
                        .iter()
                        .for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

fn json_key(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(key.is_true().to_string()),
        ValueKind::Number => number(key),
        kind => Err(Error::new(
            ErrorKind::BadSerialization,
            format!("a key of type {kind} is not JSON serializable"),
        )),
    }
}

fn check_depth(depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::new(
            ErrorKind::BadSerialization,
            "a value is nested too deeply",
        ));
    }
    Ok(())
}

/// `repr` of a number; floats by their shortest digits, with an exponent below 1e-4 and from 1e16.
fn number(value: &Value) -> Result<String, Error> {
    if value.is_integer() {
        return Ok(value.to_string());
    }
    let float = f64::try_from(value.clone())?;
    if float.is_nan() {
        return Ok("NaN".to_owned());
    }
    if float.is_infinite() {
        return Ok(if float > 0.0 { "Infinity" } else { "-Infinity" }.to_owned());
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if float == 0.0 || (-4..16).contains(&exponent) {
        let plain = format!("{float}");
        return Ok(if plain.contains('.') {
            plain
        } else {
            format!("{plain}.0")
        });
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    Ok(format!("{digits}e{sign}{:02}", exponent.abs()))
}

/// Whether Python's `str.strip()` removes `c`: Unicode's blanks and four separators of ASCII.
pub(super) fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Which ends of a string are stripped.
#[derive(Clone, Copy)]
struct Ends {
    start: bool,
    end: bool,
}

fn strip<'t>(text: &'t str, chars: Option<&str>, ends: Ends) -> &'t str {
    let removed = |c: char| chars.map_or_else(|| is_blank(c), |chars| chars.contains(c));
    let text = if ends.start {
        text.trim_start_matches(removed)
    } else {
        text
    };
    if ends.end {
        text.trim_end_matches(removed)
    } else {
        text
    }
}

/// The filter `trim`.
pub(super) fn trim_filter(text: &Value, chars: Option<&str>) -> Result<String, Error> {
    let text = to_str(text)?;
    Ok(strip(
        &text,
        chars,
        Ends {
            start: true,
            end: true,
        },
    )
    .to_owned())
}

/// Methods of Python's strings and containers: those that minijinja-contrib lacks or has otherwise, then its own.
pub(super) fn call_method(
    state: &State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args);
    };
    let ends = match method {
        "strip" => Some((true, true)),
        "lstrip" => Some((true, false)),
        "rstrip" => Some((false, true)),
        _ => None,
    };
    if let Some((start, end)) = ends {
        let (chars,): (Option<Value>,) = from_args(args)?;
        let chars = chars.as_ref().and_then(Value::as_str);
        return Ok(Value::from(strip(text, chars, Ends { start, end })));
    }
    match method {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let (found, missing) = if method == "partition" {
                (text.split_once(separator), [text, "", ""])
            } else {
                (text.rsplit_once(separator), ["", "", text])
            };
            let parts = found.map_or(missing, |(before, after)| [before, separator, after]);
            Ok(Value::from(parts.map(Value::from).to_vec()))
        }
        "isspace" => {
            let () = from_args(args)?;
            Ok(Value::from(!text.is_empty() && text.chars().all(is_blank)))
        }
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args),
    }
}
