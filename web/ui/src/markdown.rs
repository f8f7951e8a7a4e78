//! Answers as HTML: Markdown made safe, `[n]` markers made buttons, unsupported sentences marked.
//!
//! The text comes from a language model that has read documents nobody vouches for, so nothing in it is trusted:
//! - raw HTML is shown as text, never interpreted;
//! - images are dropped (only their alternative text stays), so that no address is ever fetched;
//! - links keep only `http`, `https` and `mailto`, open apart and with `rel="noopener noreferrer nofollow"`, and say beside
//!   their text where they lead, unless the text is that very address;
//! - text of documents is no Markdown: an answer made of quotes, and quotes inside another answer, are shown as they are;
//! - every other byte passes through an escaper.
//!
//! The result is a list of top-level blocks. While an answer streams, only the last ones change, so the page replaces
//! only these and selections, focus and the screen reader's place survive.
//!
//! How markers survive Markdown: `[1][2]` would be a reference link, so markers and the borders of unsupported
//! sentences are first replaced by four rare punctuation characters ([`CITE_OPEN`] ...), which Markdown leaves alone.

use std::collections::BTreeSet;

use pulldown_cmark::{
    CodeBlockKind, CowStr, Event, Options, Parser, Tag, TagEnd, TextMergeStream, html,
};
use web_api::Span;

/// Opens a citation number; any such character of the answer itself becomes `\u{FFFD}`.
const CITE_OPEN: char = '\u{2E22}';
/// Closes a citation number.
const CITE_CLOSE: char = '\u{2E23}';
/// Begins an unsupported sentence.
const UNSUPPORTED_OPEN: char = '\u{2E24}';
/// Ends an unsupported sentence.
const UNSUPPORTED_CLOSE: char = '\u{2E25}';

/// Longest number that is taken for a citation.
const MAX_MARKER_DIGITS: usize = 3;

/// Longest host that is shown beside a link. Of a longer one the end is shown, which says whose it is.
const MAX_PLACE_CHARS: usize = 60;

/// What the renderer needs to know about an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnswerMarks {
    /// Numbers that may become buttons, each with the label that a screen reader says.
    pub sources: Vec<(usize, String)>,
    /// Sentences without support, in chars of the answer.
    pub unsupported: Vec<Span>,
    /// Whether no part of the text is Markdown: it was put together from sentences and titles of documents.
    pub verbatim: bool,
    /// Quotes of documents. Where the answer has one word for word, it is not Markdown.
    pub quotes: Vec<String>,
}

impl AnswerMarks {
    fn label(&self, n: usize) -> Option<&str> {
        let found = self.sources.iter().find(|(number, _)| *number == n);
        found.map(|(_, label)| label.as_str())
    }
}

/// Returns the answer as one HTML string for each top-level block, safe to insert as it is.
///
/// The k-th marker of the whole text carries `data-mark="k"` and its number as `data-n`. A number that is not in
/// `marks.sources` stays plain text.
pub fn render(text: &str, marks: &AnswerMarks) -> Vec<String> {
    let marked = insert_sentinels(text, marks);
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let parser = TextMergeStream::new(Parser::new_ext(&marked, options));
    let mut writer = BlockWriter::new(marks);
    for event in parser {
        writer.push(event);
    }
    writer.finish()
}

/// Returns the text as people copy it: Markdown with its `[n]`, followed by the list of sources.
pub fn to_clipboard(text: &str, sources: &[String]) -> String {
    if sources.is_empty() {
        return text.trim().to_owned();
    }
    format!("{}\n\nSources:\n{}", text.trim(), sources.join("\n"))
}

/// Numbers of the `[n]` markers in order of appearance, repetitions included.
pub fn marker_numbers(text: &str) -> Vec<usize> {
    let chars: Vec<char> = text.chars().collect();
    let mut numbers = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        match marker_at(&chars, at) {
            Some((number, length)) => {
                numbers.push(number);
                at += length;
            }
            None => at += 1,
        }
    }
    numbers
}

/// Escapes text for HTML content and double-quoted attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Whether a link's address may be clicked. Control characters and spaces are ignored as browsers ignore them.
fn is_safe_address(address: &str) -> bool {
    let compact: String = address
        .chars()
        .filter(|character| !character.is_control() && !character.is_whitespace())
        .collect();
    let lower = compact.to_ascii_lowercase();
    ["http://", "https://", "mailto:"]
        .iter()
        .any(|scheme| lower.starts_with(scheme))
}

/// What to say beside a link: its host, or its mail address. `None` where the link's text is the address itself or the host,
/// so that it hides nothing.
fn place_to_show(address: &str, text: &str) -> Option<String> {
    let address: String = address
        .chars()
        .filter(|character| !character.is_control() && !character.is_whitespace())
        .collect();
    let (scheme, rest) = address.split_once(':')?;
    // Browsers take a backslash for a slash, and what stands before the last @ for a user's name.
    let rest = rest.trim_start_matches(['/', '\\']);
    let is_mail = scheme.eq_ignore_ascii_case("mailto");
    let authority = match is_mail {
        true => rest.split('?').next(),
        false => rest.split(['/', '\\', '?', '#']).next(),
    }?;
    let place = match is_mail {
        true => authority,
        false => authority.rsplit('@').next()?,
    };
    let text = text.trim();
    let is_said = [address.as_str(), rest, rest.trim_end_matches('/'), place]
        .iter()
        .any(|said| said.eq_ignore_ascii_case(text));
    // A user's name in front, or letters that look like others, can make an address look like another one.
    if is_said && place.is_ascii() && (is_mail || place.len() == authority.len()) {
        return None;
    }
    let place: Vec<char> = place.chars().collect();
    let shown = &place[place.len().saturating_sub(MAX_PLACE_CHARS)..];
    let cut = if shown.len() < place.len() { "…" } else { "" };
    Some(format!("{cut}{}", shown.iter().collect::<String>()))
}

/// `[12]` at `at`: its number and its length in chars.
fn marker_at(chars: &[char], at: usize) -> Option<(usize, usize)> {
    if chars.get(at) != Some(&'[') {
        return None;
    }
    let digits: String = chars[at + 1..]
        .iter()
        .take(MAX_MARKER_DIGITS)
        .take_while(|character| character.is_ascii_digit())
        .collect();
    let number = digits.parse().ok()?;
    let close = at + 1 + digits.len();
    (chars.get(close) == Some(&']')).then_some((number, digits.len() + 2))
}

/// Replaces known markers by sentinels and puts sentinels around unsupported sentences.
fn insert_sentinels(text: &str, marks: &AnswerMarks) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut opens = BTreeSet::new();
    let mut closes = BTreeSet::new();
    for span in &marks.unsupported {
        if let Some((start, end)) = trimmed_sentence(&chars, *span) {
            opens.insert(start);
            closes.insert(end);
        }
    }
    let literal = literal_chars(text, marks);
    let mut marked = String::with_capacity(text.len() + 16);
    let mut at = 0;
    while at <= chars.len() {
        if closes.contains(&at) {
            marked.push(UNSUPPORTED_CLOSE);
        }
        if opens.contains(&at) {
            marked.push(UNSUPPORTED_OPEN);
        }
        let Some(&character) = chars.get(at) else {
            break;
        };
        match marker_at(&chars, at).filter(|(number, _)| marks.label(*number).is_some()) {
            Some((number, length)) => {
                marked.push(CITE_OPEN);
                marked.push_str(&number.to_string());
                marked.push(CITE_CLOSE);
                // A border inside a marker moves behind it, so that sentinels always come in pairs.
                for inside in at + 1..at + length {
                    if closes.contains(&inside) {
                        marked.push(UNSUPPORTED_CLOSE);
                    }
                    if opens.contains(&inside) {
                        marked.push(UNSUPPORTED_OPEN);
                    }
                }
                at += length;
            }
            // Space before the first word of a line is structure, too.
            None if marks.verbatim
                && matches!(character, ' ' | '\t')
                && (marked.is_empty() || marked.ends_with('\n')) =>
            {
                at += 1;
            }
            None => {
                if character.is_ascii_punctuation() && literal.get(at) == Some(&true) {
                    marked.push('\\');
                }
                marked.push(if is_sentinel(character) {
                    char::REPLACEMENT_CHARACTER
                } else {
                    character
                });
                at += 1;
            }
        }
    }
    marked
}

/// Which chars of the answer are a document's own text; short where there are none.
fn literal_chars(text: &str, marks: &AnswerMarks) -> Vec<bool> {
    if marks.verbatim {
        return vec![true; text.chars().count()];
    }
    let mut literal = Vec::new();
    for quote in &marks.quotes {
        // As quotes are shown: the line breaks of the document are white space.
        let quote = quote.split_whitespace().collect::<Vec<_>>().join(" ");
        if !quote.contains(|c: char| c.is_ascii_punctuation()) {
            continue;
        }
        for (at, found) in text.match_indices(&quote) {
            let start = text[..at].chars().count();
            let end = start + found.chars().count();
            if literal.len() < end {
                literal.resize(end, false);
            }
            literal[start..end].fill(true);
        }
    }
    literal
}

fn is_sentinel(character: char) -> bool {
    (CITE_OPEN..=UNSUPPORTED_CLOSE).contains(&character)
}

/// The span without leading list, heading or quote marks (a sentinel before them would make them plain text) and
/// without trailing white space; `None` when nothing is left.
fn trimmed_sentence(chars: &[char], span: Span) -> Option<(usize, usize)> {
    let mut end = span.end.min(chars.len());
    let mut start = span.start.min(end);
    while start < end {
        let rest = &chars[start..end];
        let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
        if rest[0].is_whitespace() || matches!(rest[0], '#' | '>' | '*' | '-' | '+' | '_' | '|') {
            start += 1;
        } else if digits > 0
            && matches!(rest.get(digits), Some('.' | ')'))
            && rest.get(digits + 1) == Some(&' ')
        {
            start += digits + 1;
        } else {
            break;
        }
    }
    while end > start && (chars[end - 1].is_whitespace() || matches!(chars[end - 1], '|')) {
        end -= 1;
    }
    (start < end).then_some((start, end))
}

/// Collects safe events, and writes them out at the end of each top-level block.
struct BlockWriter<'marks, 'text> {
    marks: &'marks AnswerMarks,
    blocks: Vec<String>,
    events: Vec<Event<'text>>,
    depth: usize,
    in_code_block: bool,
    in_unsupported: bool,
    /// Number of markers so far, those inside code included.
    marker_idx: usize,
    /// The link that is open.
    link: Option<OpenLink>,
}

/// A link whose end has not come yet. Links do not nest in Markdown.
struct OpenLink {
    /// `None` where it may not be clicked.
    address: Option<String>,
    /// What it shows.
    text: String,
}

impl<'marks, 'text> BlockWriter<'marks, 'text> {
    fn new(marks: &'marks AnswerMarks) -> Self {
        BlockWriter {
            marks,
            blocks: Vec::new(),
            events: Vec::new(),
            depth: 0,
            in_code_block: false,
            in_unsupported: false,
            marker_idx: 0,
            link: None,
        }
    }

    fn push(&mut self, event: Event<'text>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.in_code_block => {
                let restored = self.restore(&text);
                self.events.push(Event::Text(restored.into()));
            }
            Event::Text(text) => self.text(&text),
            Event::Code(code) => {
                let restored = self.restore(&code);
                if let Some(link) = &mut self.link {
                    link.text.push_str(&restored);
                }
                self.events.push(Event::Code(restored.into()));
            }
            Event::Html(source) | Event::InlineHtml(source) => self.text(&source),
            Event::SoftBreak | Event::HardBreak => self.events.push(event),
            Event::Rule => {
                self.events.push(event);
                self.flush_at_top();
            }
            // Extensions that are not switched on; as text they are harmless.
            Event::FootnoteReference(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.text(&text)
            }
            Event::TaskListMarker(_) => {}
        }
    }

    fn start(&mut self, tag: Tag<'text>) {
        self.depth += 1;
        match tag {
            Tag::Image { .. } | Tag::HtmlBlock => {}
            Tag::Link { dest_url, .. } => {
                let address = self.restore(&dest_url);
                let is_safe = is_safe_address(&address);
                if is_safe {
                    self.raw(format!(
                        "<a href=\"{}\" target=\"_blank\" rel=\"noopener noreferrer nofollow\">",
                        escape(&address)
                    ));
                } else {
                    self.raw("<span>".into());
                }
                self.link = Some(OpenLink {
                    address: is_safe.then_some(address),
                    text: String::new(),
                });
            }
            Tag::CodeBlock(kind) => {
                self.in_code_block = true;
                let language = match &kind {
                    CodeBlockKind::Fenced(info) => self.restore(info),
                    CodeBlockKind::Indented => String::new(),
                };
                let language = language.split_whitespace().next().unwrap_or_default();
                self.raw(format!(
                    "<pre tabindex=\"0\" data-language=\"{}\"><code>",
                    escape(language)
                ));
            }
            Tag::Table(alignments) => {
                // Wide tables scroll on their own instead of widening the page.
                self.raw("<div class=\"table-scroll\" tabindex=\"0\">".into());
                self.events.push(Event::Start(Tag::Table(
                    alignments
                        .iter()
                        .map(|_| pulldown_cmark::Alignment::None)
                        .collect(),
                )));
            }
            // Headings of an answer stand below those of the page; ids and classes of the source are dropped.
            Tag::Heading { level, .. } => {
                let level = (level as usize + 2).min(6);
                self.raw(format!("<h{level}>"));
            }
            other => self.events.push(Event::Start(other)),
        }
    }

    fn end(&mut self, tag: TagEnd) {
        self.depth = self.depth.saturating_sub(1);
        match tag {
            TagEnd::Image | TagEnd::HtmlBlock => {}
            // Both forms of a link are closed by the element that was opened: see `start`.
            TagEnd::Link => self.close_link(),
            TagEnd::CodeBlock => {
                self.in_code_block = false;
                self.raw("</code></pre>".into());
            }
            TagEnd::Table => {
                self.events.push(Event::End(tag));
                self.raw("</div>".into());
            }
            TagEnd::Heading(level) => {
                let level = (level as usize + 2).min(6);
                self.raw(format!("</h{level}>"));
            }
            other => self.events.push(Event::End(other)),
        }
        self.flush_at_top();
    }

    /// Closes the link: an `a` with the place it leads to, or the `span` that replaced an unsafe one.
    fn close_link(&mut self) {
        let Some(link) = self.link.take() else {
            return;
        };
        let Some(address) = link.address else {
            self.raw("</span>".into());
            return;
        };
        self.raw("</a>".into());
        if let Some(place) = place_to_show(&address, &link.text) {
            self.raw(format!(
                "<span class=\"link-host\"> ({})</span>",
                escape(&place)
            ));
        }
    }

    /// Writes text with its sentinels turned into buttons and marks.
    fn text(&mut self, text: &str) {
        let mut plain = String::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match character {
                CITE_OPEN => {
                    self.plain(&mut plain);
                    let digits: String = rest.by_ref().take_while(|c| *c != CITE_CLOSE).collect();
                    self.marker(&digits);
                }
                UNSUPPORTED_OPEN => {
                    self.plain(&mut plain);
                    self.in_unsupported = true;
                }
                UNSUPPORTED_CLOSE => {
                    self.plain(&mut plain);
                    if self.in_unsupported {
                        self.raw(
                            "<span class=\"unsupported-label\">not found in the documents</span>"
                                .into(),
                        );
                    }
                    self.in_unsupported = false;
                }
                CITE_CLOSE => {}
                other => plain.push(other),
            }
        }
        self.plain(&mut plain);
    }

    fn plain(&mut self, plain: &mut String) {
        if plain.is_empty() {
            return;
        }
        let text = std::mem::take(plain);
        if let Some(link) = &mut self.link {
            link.text.push_str(&text);
        }
        if self.in_unsupported {
            self.raw(format!(
                "<span class=\"unsupported\">{}</span>",
                escape(&text)
            ));
        } else {
            self.events.push(Event::Text(text.into()));
        }
    }

    fn marker(&mut self, digits: &str) {
        let Some(n) = digits.parse::<usize>().ok() else {
            return;
        };
        let label = self.marks.label(n).unwrap_or_default();
        self.raw(format!(
            "<button type=\"button\" class=\"cite\" data-mark=\"{}\" data-n=\"{n}\" aria-label=\"Source {n}: {}\">{n}</button>",
            self.marker_idx,
            escape(label)
        ));
        self.marker_idx += 1;
    }

    /// Text in which sentinels mean nothing: markers get their brackets back, borders vanish.
    fn restore(&mut self, text: &str) -> String {
        let mut restored = String::with_capacity(text.len());
        for character in text.chars() {
            match character {
                CITE_OPEN => {
                    self.marker_idx += 1;
                    restored.push('[');
                }
                CITE_CLOSE => restored.push(']'),
                UNSUPPORTED_OPEN => self.in_unsupported = true,
                UNSUPPORTED_CLOSE => self.in_unsupported = false,
                other => restored.push(other),
            }
        }
        restored
    }

    fn raw(&mut self, source: String) {
        self.events.push(Event::InlineHtml(CowStr::from(source)));
    }

    fn flush_at_top(&mut self) {
        if self.depth == 0 && !self.events.is_empty() {
            let mut block = String::new();
            html::push_html(&mut block, self.events.drain(..));
            if !block.trim().is_empty() {
                self.blocks.push(block);
            }
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.depth = 0;
        self.flush_at_top();
        self.blocks
    }
}

#[cfg(test)]
#[path = "markdown_tests.rs"]
mod tests;
