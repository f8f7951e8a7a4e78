//! Sentences: where they begin and end, in documents and in text that is still being written.
//!
//! A *boundary* is decided from the sentence so far, its terminators (`.`, `?!`, `。`, with closing quotes) and
//! what follows. The same decision serves finished documents ([`split_sentences`]) and the answer stream, which
//! may have to wait for a word to know ([`Boundary::NeedMore`]).
//!
//! Rules made for English reports (titles, initials, `U.S.`, `No. 5`, decimals, enumerators, table rows), with
//! the full stops of other scripts; a script without any (Thai) yields one sentence a paragraph, cut at
//! [`MAX_SENTENCE_CHARS`]. Absent on purpose: language detection, trained models.

use super::units::is_month;

/// Longest sentence in characters; text without full stops is cut at the last clause or space before it, so
/// that a quote stays readable.
pub const MAX_SENTENCE_CHARS: usize = 700;

/// A character range of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First character.
    pub start: usize,
    /// One past the last character.
    pub end: usize,
}

impl Span {
    /// Whether all of another range is in this one.
    pub(crate) fn holds(self, other: Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

/// Whether a sentence ends after a run of terminators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boundary {
    /// The sentence ends here.
    Yes,
    /// The sentence goes on.
    No,
    /// Only the text that has not arrived yet can tell.
    NeedMore,
}

/// Abbreviations that are always followed by more of their sentence.
const NEVER_FINAL: &[&str] = &[
    "mr", "mrs", "ms", "dr", "prof", "st", "mt", "vs", "e.g", "i.e", "cf", "viz", "gen", "col",
    "sgt", "capt", "lt", "cmdr", "gov", "sen", "rep", "rev", "hon", "fig", "figs", "eq", "eqs",
    "ref", "refs", "approx", "ca", "z.b", "bzw", "d.h", "messrs", "mme",
];

/// Abbreviations that continue when a number follows.
const BEFORE_NUMBER: &[&str] = &[
    "no", "nos", "nr", "p", "pp", "vol", "sec", "secs", "art", "ch", "app", "par", "para", "tab",
    "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
];

/// Abbreviations that may end a sentence; the next word decides.
const MAYBE_FINAL: &[&str] = &[
    "inc", "ltd", "co", "corp", "llc", "plc", "bros", "jr", "sr", "etc", "al", "a.m", "p.m",
    "ph.d", "m.d", "b.c", "a.d", "dept", "univ", "assn", "ave", "blvd", "rd", "est", "min", "max",
    "avg", "ed", "eds", "ft", "in", "lb", "lbs", "oz", "hr", "hrs",
];

/// Longest name of a month for which a stream waits, in characters.
const LONGEST_MONTH: usize = 14;

/// Words that, capitalised after an abbreviation, begin a new sentence.
const STARTERS: &[&str] = &[
    "The",
    "This",
    "That",
    "These",
    "Those",
    "It",
    "Its",
    "He",
    "She",
    "They",
    "We",
    "You",
    "I",
    "In",
    "On",
    "At",
    "As",
    "If",
    "When",
    "While",
    "Where",
    "A",
    "An",
    "However",
    "For",
    "From",
    "By",
    "But",
    "And",
    "Or",
    "So",
    "Then",
    "There",
    "To",
    "Both",
    "All",
    "Each",
    "Other",
    "After",
    "Before",
    "Since",
    "Although",
    "Because",
    "During",
    "With",
    "According",
    "No",
    "Not",
    "His",
    "Her",
    "Their",
    "Our",
    "What",
    "Who",
    "How",
    "Why",
    "Which",
];

/// Returns whether `c` can end a sentence.
pub(crate) fn is_terminator(c: char) -> bool {
    matches!(
        c,
        '.' | '!' | '?' | '…' | '؟' | '۔' | '।' | '॥' | '։' | '።' | '။' | '។'
    ) || ends_without_space(c)
}

/// Full stops of scripts that put no space between sentences.
fn ends_without_space(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '｡' | '．')
}

/// Quotes and brackets that may close between the full stop and the space.
pub(crate) fn is_closer(c: char) -> bool {
    matches!(
        c,
        '"' | '\'' | '”' | '’' | '»' | ')' | ']' | '」' | '』' | '）' | '*' | '_' | '›'
    )
}

fn is_opener(c: char) -> bool {
    matches!(
        c,
        '"' | '\'' | '“' | '‘' | '«' | '(' | '[' | '*' | '_' | '„' | '¿' | '¡' | '#' | '‹'
    )
}

/// Decides whether a sentence ends after `terminators`.
///
/// `before`: the sentence up to its terminators. `terminators`: the run of terminators and closers. `after`: what
/// follows, as far as it is known; `at_end` says that nothing comes after it.
pub(crate) fn boundary(
    before: &[char],
    terminators: &[char],
    after: &[char],
    at_end: bool,
) -> Boundary {
    if terminators.iter().any(|&c| ends_without_space(c)) {
        return Boundary::Yes;
    }
    let open = |known: Boundary| if at_end { known } else { Boundary::NeedMore };
    let Some(first) = after.first() else {
        return open(Boundary::Yes);
    };
    if !first.is_whitespace() {
        return Boundary::No;
    }
    let Some(next) = after
        .iter()
        .position(|&c| !c.is_whitespace() && !is_opener(c))
    else {
        return open(Boundary::Yes);
    };
    if after[next].is_lowercase() {
        return Boundary::No;
    }
    let word: String = trailing_token(before);
    if terminators.first() != Some(&'.') {
        return Boundary::Yes;
    }
    if is_enumerator(before) {
        return Boundary::No;
    }
    let lower = word.to_lowercase();
    if NEVER_FINAL.contains(&lower.as_str()) {
        return Boundary::No;
    }
    // "am 31. März": the number of a day goes on with its month.
    let is_day = (1..=2).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_digit());
    if is_day {
        let rest = &after[next..];
        match rest.iter().position(|c| !c.is_alphabetic()) {
            Some(length) if is_month(&rest[..length].iter().collect::<String>()) => {
                return Boundary::No;
            }
            None if at_end && is_month(&rest.iter().collect::<String>()) => return Boundary::No,
            None if !at_end && rest.len() <= LONGEST_MONTH => return Boundary::NeedMore,
            _ => {}
        }
    }
    if BEFORE_NUMBER.contains(&lower.as_str()) && after[next].is_ascii_digit() {
        return Boundary::No;
    }
    if may_be_labelled(before) {
        match is_second_word_small(&after[next..], at_end) {
            Some(true) => return Boundary::Yes,
            Some(false) => {}
            None => return Boundary::NeedMore,
        }
    }
    let initial = word.chars().count() == 1 && word.chars().all(char::is_uppercase);
    if !(initial || word.contains('.') || MAYBE_FINAL.contains(&lower.as_str())) {
        return Boundary::Yes;
    }
    let rest = &after[next..];
    let length = rest.iter().position(|c| !c.is_alphabetic());
    let Some(length) = length.or(at_end.then_some(rest.len())) else {
        // No starter is longer than this, so a longer word needs no waiting.
        return if rest.len() > 12 {
            Boundary::No
        } else {
            Boundary::NeedMore
        };
    };
    let next_word: String = rest[..length].iter().collect();
    if STARTERS.contains(&next_word.as_str()) {
        Boundary::Yes
    } else {
        Boundary::No
    }
}

/// Letters by which things are labelled; later ones are initials more often.
const LABELS: std::ops::RangeInclusive<char> = 'A'..='H';

/// Fewest letters of a word that has a label: "by A. Smith" has none.
const MIN_LABELLED_CHARS: usize = 3;

/// Whether the letter at the end may be the label of a word in small letters: "deck A."
fn may_be_labelled(before: &[char]) -> bool {
    let words: String = before.iter().collect();
    let mut words = words.split_whitespace().rev();
    let is_label = |word: &str| word.len() == 1 && word.chars().all(|c| LABELS.contains(&c));
    let is_word = |word: &str| {
        word.chars().all(char::is_lowercase) && word.chars().count() >= MIN_LABELLED_CHARS
    };
    words.next().is_some_and(is_label) && words.next().is_some_and(is_word)
}

/// Whether the second word of a text begins small, as in "Parking on deck B" and not in "Theo Kearney"; `None` where only what
/// has not arrived yet can tell.
fn is_second_word_small(text: &[char], at_end: bool) -> Option<bool> {
    let gap = text.iter().position(|c| c.is_whitespace());
    let second = gap.and_then(|gap| text[gap..].iter().find(|c| !c.is_whitespace()));
    match second {
        Some(c) => Some(c.is_lowercase()),
        None => at_end.then_some(false),
    }
}

/// The last run of letters, digits and inner dots before the full stop.
fn trailing_token(before: &[char]) -> String {
    let start = before
        .iter()
        .rposition(|&c| !(c.is_alphanumeric() || c == '.'))
        .map_or(0, |at| at + 1);
    before[start..]
        .iter()
        .collect::<String>()
        .trim_start_matches('.')
        .to_owned()
}

/// `1.`, `(a)`, `IV.` at the start of a sentence number an item; they are no sentence.
fn is_enumerator(before: &[char]) -> bool {
    let text: Vec<char> = before
        .iter()
        .copied()
        .filter(|c| !c.is_whitespace() && !matches!(c, '#' | '*' | '-' | '(' | '_'))
        .collect();
    let digits =
        !text.is_empty() && text.len() <= 8 && text.iter().all(|c| c.is_ascii_digit() || *c == '.');
    let letter = text.len() == 1 && text[0].is_alphabetic();
    let roman =
        !text.is_empty() && text.len() <= 5 && text.iter().all(|c| matches!(c, 'I' | 'V' | 'X'));
    digits || letter || roman
}

/// Returns the sentences of `text` in order, without the white space around them; offsets are in characters.
///
/// Blank lines, list items and table rows end a sentence; other line breaks are white space, because documents
/// come with hard wraps.
pub fn split_sentences(text: &str) -> Vec<Span> {
    let chars: Vec<char> = text.chars().collect();
    let mut spans = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if c == '\n' && line_break_ends(&chars, start, at) {
            push_span(&mut spans, &chars, start, at);
            start = at + 1;
        } else if is_terminator(c) && !is_in_row(&chars, at) {
            let mut end = at + 1;
            while end < chars.len() && (is_terminator(chars[end]) || is_closer(chars[end])) {
                end += 1;
            }
            let after = skip_reference_marks(&chars, end);
            if boundary(&chars[start..at], &chars[at..end], &chars[after..], true) == Boundary::Yes
            {
                push_span(&mut spans, &chars, start, after);
                start = after;
            }
            at = after;
            continue;
        }
        at += 1;
    }
    push_span(&mut spans, &chars, start, chars.len());
    spans
}

/// Whether the line of `at` is a row of a table, which is one sentence with all full stops of its cells.
fn is_in_row(chars: &[char], at: usize) -> bool {
    let before = chars[..at].iter().rposition(|&c| c == '\n');
    let line = &chars[before.map_or(0, |i| i + 1)..at];
    line.iter().find(|c| !c.is_whitespace()) == Some(&'|')
}

/// Longest key, in words and characters, and longest value, in words, of a line `Key: value`. Longer ones are prose.
const MAX_KEY_WORDS: usize = 5;
const MAX_KEY_CHARS: usize = 40;
const MAX_VALUE_WORDS: usize = 12;

/// The key and the value of a line `Key: value`, maybe an item of a list.
pub(crate) fn key_and_value(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let line = ["- ", "* ", "• "]
        .iter()
        .find_map(|mark| line.strip_prefix(mark))
        .unwrap_or(line);
    let (at, colon) = line.char_indices().find(|(_, c)| matches!(c, ':' | '：'))?;
    let (key, value) = (line[..at].trim(), &line[at + colon.len_utf8()..]);
    let is_set_off = colon == '：' || value.starts_with([' ', '\t']);
    let value = value.trim();
    let is_key = key.starts_with(char::is_alphabetic)
        && !key.contains(['.', '?', '!', ',', '|'])
        && key.split_whitespace().count() <= MAX_KEY_WORDS
        && key.chars().count() <= MAX_KEY_CHARS;
    let is_value = !value.is_empty()
        && !value.contains(". ")
        && !value.ends_with(|c| is_terminator(c) && c != '.')
        && value.split_whitespace().count() <= MAX_VALUE_WORDS;
    (is_set_off && is_key && is_value).then_some((key, value))
}

/// Skips `[12]`, `[a]` directly behind a full stop, the way encyclopaedias cite.
fn skip_reference_marks(chars: &[char], mut at: usize) -> usize {
    while chars.get(at) == Some(&'[') {
        let Some(length) = chars[at..].iter().take(6).position(|&c| c == ']') else {
            break;
        };
        at += length + 1;
    }
    at
}

/// Whether the line break at `at` ends the sentence that began at `start`.
fn line_break_ends(chars: &[char], start: usize, at: usize) -> bool {
    let next: Vec<char> = chars[at + 1..]
        .iter()
        .copied()
        .take_while(|&c| c != '\n')
        .take(12)
        .collect();
    let next: String = next.into_iter().collect();
    let next = next.trim_start();
    if next.is_empty() {
        return true;
    }
    let line_start = chars[start..at]
        .iter()
        .rposition(|&c| c == '\n')
        .map_or(start, |i| start + i + 1);
    let this = chars[line_start..at].iter().find(|c| !c.is_whitespace());
    starts_item(next)
        || matches!(this, Some('|' | '#'))
        || this.is_none()
        || is_in_form(chars, line_start)
        || is_in_form(chars, at + 1)
}

/// Whether the line that begins at `start` is `Key: value` and so is the one before or behind it.
fn is_in_form(chars: &[char], start: usize) -> bool {
    let end = chars[start..].iter().position(|&c| c == '\n');
    let next = end.map(|end| start + end + 1);
    let before = start.checked_sub(1).map(|end| {
        let begin = chars[..end].iter().rposition(|&c| c == '\n');
        begin.map_or(0, |i| i + 1)
    });
    let mut neighbours = next.into_iter().chain(before);
    is_form_line(chars, start) && neighbours.any(|line| is_form_line(chars, line))
}

/// Whether the line that begins at `start` is `Key: value`.
fn is_form_line(chars: &[char], start: usize) -> bool {
    let line: String = chars[start..].iter().take_while(|&&c| c != '\n').collect();
    key_and_value(&line).is_some()
}

/// Whether a line begins a list item, a table row, a heading or a code fence.
fn starts_item(line: &str) -> bool {
    if line.starts_with(['|', '•', '‣', '◦', '▪'])
        || ["- ", "* ", "+ ", "# ", "## ", "### ", "```"]
            .iter()
            .any(|p| line.starts_with(p))
    {
        return true;
    }
    let digits = line.chars().take_while(char::is_ascii_digit).count();
    (1..=3).contains(&digits) && [". ", ") "].iter().any(|p| line[digits..].starts_with(p))
}

/// Adds `start..end` without surrounding white space, cut where it is too long; nothing if no letter or digit is in it.
fn push_span(spans: &mut Vec<Span>, chars: &[char], mut start: usize, mut end: usize) {
    while start < end && chars[start].is_whitespace() {
        start += 1;
    }
    while end > start && chars[end - 1].is_whitespace() {
        end -= 1;
    }
    if !chars[start..end].iter().any(|c| c.is_alphanumeric()) {
        return;
    }
    if end - start <= MAX_SENTENCE_CHARS {
        spans.push(Span { start, end });
        return;
    }
    let window = &chars[start..start + MAX_SENTENCE_CHARS];
    let floor = MAX_SENTENCE_CHARS / 3;
    let cut = [";；", ",，、", " \n\t"]
        .iter()
        .find_map(|set| {
            window
                .iter()
                .rposition(|&c| set.contains(c))
                .filter(|&at| at >= floor)
        })
        .map_or(MAX_SENTENCE_CHARS, |at| at + 1);
    push_span(spans, chars, start, start + cut);
    push_span(spans, chars, start + cut, end);
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expect: Expect) {
        let chars: Vec<char> = text.chars().collect();
        let lines: Vec<String> = split_sentences(text)
            .iter()
            .map(|s| {
                chars[s.start..s.end]
                    .iter()
                    .collect::<String>()
                    .replace('\n', "⏎")
            })
            .collect();
        expect.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn abbreviations_initials_and_decimals_do_not_end_a_sentence() {
        check(
            "Dr. J. K. Smith of Acme Inc. paid $3.5 million to the U.S. Treasury on Jan. 5. See Fig. 3 and No. 7, e.g. the margin. It rose 2.1 percent vs. 2019.",
            expect![[r#"
                Dr. J. K. Smith of Acme Inc. paid $3.5 million to the U.S. Treasury on Jan. 5.
                See Fig. 3 and No. 7, e.g. the margin.
                It rose 2.1 percent vs. 2019."#]],
        );
    }

    #[test]
    fn the_label_of_a_thing_ends_a_sentence_and_an_initial_does_not() {
        check(
            "Visitors park on deck A. Parking on deck B is for staff. It is named after the millionaire M. Theo Kearney. \
             A book by A. Smith was found. The clerk B. Anna Jones left. Go to hall C. Please wait.",
            expect![[r#"
                Visitors park on deck A.
                Parking on deck B is for staff.
                It is named after the millionaire M. Theo Kearney.
                A book by A. Smith was found.
                The clerk B. Anna Jones left.
                Go to hall C.
                Please wait."#]],
        );
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let before = chars("Visitors park on deck A");
        for (arrived, decision) in [
            (" Parking", Boundary::NeedMore),
            (" Parking ", Boundary::NeedMore),
            (" Parking o", Boundary::Yes),
            (" Parking O", Boundary::No),
        ] {
            let known = boundary(&before, &['.'], &chars(arrived), false);
            assert_eq!(known, decision, "{arrived:?}");
        }
    }

    #[test]
    fn the_number_of_a_day_does_not_end_a_sentence() {
        check(
            "Der Resturlaub verfällt am 31. März des Folgejahres. Die Frist endet am 1. Dezember. Es sind 24. Die Zahl gilt. It is 12. May I go?",
            expect![[r#"
                Der Resturlaub verfällt am 31. März des Folgejahres.
                Die Frist endet am 1. Dezember.
                Es sind 24.
                Die Zahl gilt.
                It is 12. May I go?"#]],
        );
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        for (arrived, decision) in [
            (" ", Boundary::NeedMore),
            (" M", Boundary::NeedMore),
            (" März", Boundary::NeedMore),
            (" März d", Boundary::No),
            (" Die ", Boundary::Yes),
        ] {
            let decided = boundary(&chars("am 31"), &['.'], &chars(arrived), false);
            assert_eq!(decided, decision, "{arrived:?}");
        }
    }

    #[test]
    fn an_abbreviation_ends_the_sentence_before_a_word_that_begins_one() {
        check(
            "They moved to the U.S. The firm is Acme Corp. It has Vitamin C. This helps. Is it No. Yes!",
            expect![[r#"
                They moved to the U.S.
                The firm is Acme Corp.
                It has Vitamin C.
                This helps.
                Is it No.
                Yes!"#]],
        );
    }

    #[test]
    fn quotes_and_reference_marks_belong_to_their_sentence() {
        check(
            "He said \"It works.\" Then he left.[12] Nobody asked \"why?\" again... They know. (See below.) End",
            expect![[r#"
                He said "It works."
                Then he left.[12]
                Nobody asked "why?" again...
                They know.
                (See below.)
                End"#]],
        );
    }

    #[test]
    fn lists_tables_and_blank_lines_end_sentences_but_hard_wraps_do_not() {
        check(
            "The report was\nwrapped here. Steps:\n1. Open the valve\n2. Close it\n- done\n\n| Part | Count |\n| A | 5 |\n\n2.1. Scope\n\nNext",
            expect![[r#"
                The report was⏎wrapped here.
                Steps:
                1. Open the valve
                2. Close it
                - done
                | Part | Count |
                | A | 5 |
                2.1. Scope
                Next"#]],
        );
    }

    #[test]
    fn rows_and_lines_of_a_form_are_sentences_of_their_own() {
        check(
            "| Tool no. | Obsolete |\n| 10459 | 7740 pcs. of it. Sold out |\n\nModel: C-310\nOil-free: no\nWeight: 240 kg\n\nPlease note: this line\ngoes on here.",
            expect![[r#"
                | Tool no. | Obsolete |
                | 10459 | 7740 pcs. of it. Sold out |
                Model: C-310
                Oil-free: no
                Weight: 240 kg
                Please note: this line⏎goes on here."#]],
        );
    }

    #[test]
    fn other_scripts_end_with_their_own_full_stops() {
        check(
            "会社は1998年に設立された。社員は十五人です！はい。 यह पहला है। यह दूसरा है। هل هذا صحيح؟ نعم هذا صحيح. Der Preis beträgt z.B. 5 €. Er steigt. ¿Cuándo? Mañana.",
            expect![[r#"
                会社は1998年に設立された。
                社員は十五人です！
                はい。
                यह पहला है।
                यह दूसरा है।
                هل هذا صحيح؟
                نعم هذا صحيح.
                Der Preis beträgt z.B. 5 €.
                Er steigt.
                ¿Cuándo?
                Mañana."#]],
        );
    }

    #[test]
    fn endless_text_is_cut_between_words_and_covers_everything() {
        let text = "wort und ".repeat(400);
        let spans = split_sentences(&text);
        assert!(spans.len() > 3 && spans.iter().all(|s| s.end - s.start <= MAX_SENTENCE_CHARS));
        let words: usize = spans
            .iter()
            .map(|s| text[s.start..s.end].split_whitespace().count())
            .sum();
        assert_eq!(words, 800);
    }

    #[test]
    fn a_stream_waits_only_where_the_next_word_decides() {
        let chars = |text: &str| text.chars().collect::<Vec<char>>();
        let table = [
            ("It ended", ".", "", false, Boundary::NeedMore),
            ("It ended", ".", "", true, Boundary::Yes),
            ("It ended", ".", " ", false, Boundary::NeedMore),
            ("It ended", ".", " T", false, Boundary::Yes),
            ("It is 3", ".", "5", false, Boundary::No),
            ("in the U.S", ".", " T", false, Boundary::NeedMore),
            ("in the U.S", ".", " The ", false, Boundary::Yes),
            ("in the U.S", ".", " Army ", false, Boundary::No),
            ("in the U.S", ".", " a", false, Boundary::No),
            ("終わり", "。", "", false, Boundary::Yes),
            ("1", ".", " F", false, Boundary::No),
        ];
        for (before, terminators, after, at_end, expected) in table {
            assert_eq!(
                boundary(&chars(before), &chars(terminators), &chars(after), at_end),
                expected,
                "{before:?} {after:?}"
            );
        }
    }
}
