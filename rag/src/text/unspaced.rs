//! Units of scripts that put no space between words (Han, kana, Thai, Khmer, ...), and of Hangul, whose particles stick
//! to the word: character bigrams, numbers written in Han characters, and denials.
//!
//! Bigrams need no dictionary, but a paraphrase that exchanges one particle changes two of them; [`fill_junctions`] makes
//! up for that. Absent on purpose: word segmentation.

use super::polarity::unspaced_denials;

/// How many bigrams a denial governs.
const DENIAL_REACH: usize = 4;

/// What a bigram counts whose two characters are both in bigrams that matched: two parts of the source were put together.
const JUNCTION: f32 = 0.8;

/// What a bigram counts of which one character alone did not match: a particle was exchanged.
const HALF: f32 = 0.5;

/// A part of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A bigram, or a character that stands alone.
    Text {
        key: String,
        /// A denial of the same run governs it.
        negated: bool,
    },
    /// A number written in Han characters, and the character behind it: the counter of `五年`.
    Number { value: u64, counter: Option<char> },
    /// A denial at the beginning of the run: what stands before the run is denied.
    DeniesBefore,
}

/// Scripts written without spaces between words, and Hangul.
pub fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// The units of a run in order. A denial and the bigrams that touch it are no terms, a number divides the run.
pub(crate) fn units(run: &[char]) -> Vec<Unit> {
    let denials = unspaced_denials(run);
    let mut units = Vec::new();
    if denials.iter().any(|d| d.backwards && d.start < 2) {
        units.push(Unit::DeniesBefore);
    }
    let is_denial = |at: usize| denials.iter().any(|d| (d.start..d.end).contains(&at));
    let negated = |at: usize| {
        denials.iter().any(|d| {
            if d.backwards {
                (d.start.saturating_sub(DENIAL_REACH)..d.start).contains(&at)
            } else {
                (d.end..d.end + DENIAL_REACH).contains(&at)
            }
        })
    };
    let mut at = 0;
    let mut part_start = 0;
    while at <= run.len() {
        let number = run.get(at..).and_then(number);
        if at == run.len() || is_denial(at) || number.is_some() {
            push_bigrams(&mut units, &run[part_start..at], part_start, &negated);
            part_start = at + 1;
        }
        match number {
            Some((length, value)) if !is_denial(at) => {
                at += length;
                units.push(Unit::Number {
                    value,
                    counter: run.get(at).copied().filter(|_| !is_denial(at)),
                });
                part_start = at;
            }
            _ => at += 1,
        }
    }
    units
}

fn push_bigrams(
    units: &mut Vec<Unit>,
    part: &[char],
    offset: usize,
    negated: &dyn Fn(usize) -> bool,
) {
    if let [single] = part {
        units.push(Unit::Text {
            key: single.to_string(),
            negated: negated(offset),
        });
    }
    for (i, pair) in part.windows(2).enumerate() {
        units.push(Unit::Text {
            key: pair.iter().collect(),
            negated: negated(offset + i),
        });
    }
}

/// The factor of a Han unit that stands behind digits: the 10,000 of `5万`.
pub(crate) fn large_unit(c: char) -> Option<f64> {
    unit(c).filter(|u| *u >= 1000).map(|u| u as f64)
}

fn digit(c: char) -> Option<u64> {
    let value = match c {
        '〇' | '零' => 0,
        '一' | '壹' => 1,
        '二' | '两' | '兩' | '贰' => 2,
        '三' | '叁' => 3,
        '四' | '肆' => 4,
        '五' | '伍' => 5,
        '六' | '陆' => 6,
        '七' | '柒' => 7,
        '八' | '捌' => 8,
        '九' | '玖' => 9,
        _ => return None,
    };
    Some(value)
}

fn unit(c: char) -> Option<u64> {
    let value = match c {
        '十' | '拾' => 10,
        '百' | '佰' => 100,
        '千' | '仟' => 1000,
        '万' | '萬' => 10_000,
        '亿' | '億' => 100_000_000,
        '兆' => 1_000_000_000_000,
        _ => return None,
    };
    Some(value)
}

/// The number at the beginning of `run` and its length in characters.
///
/// A `一` or a unit alone is a part of words more often than a number and is none here.
fn number(run: &[char]) -> Option<(usize, u64)> {
    let length = run
        .iter()
        .take_while(|&&c| digit(c).is_some() || unit(c).is_some())
        .count();
    let written = &run[..length];
    if length == 0
        || (length == 1 && (unit(written[0]).is_some() || matches!(written[0], '一' | '零' | '〇')))
    {
        return None;
    }
    if written.iter().all(|&c| digit(c).is_some()) {
        // 二〇二五 lists its digits. More than 18 are no number.
        let digits = written.iter().filter_map(|&c| digit(c));
        return (length <= 18).then(|| (length, digits.fold(0, |sum, d| 10 * sum + d)));
    }
    let (mut total, mut section, mut last) = (0u64, 0u64, 0u64);
    for &c in written {
        match (digit(c), unit(c)) {
            (Some(d), _) => last = d,
            (None, Some(u)) if u < 10_000 => {
                section = section.saturating_add(last.max(1).saturating_mul(u));
                last = 0;
            }
            (None, Some(10_000)) => {
                let factor = (section + last).max(1);
                total = total.saturating_add(factor.saturating_mul(10_000));
                (section, last) = (0, 0);
            }
            (None, Some(u)) => {
                total = total
                    .saturating_add(section + last)
                    .max(1)
                    .saturating_mul(u);
                (section, last) = (0, 0);
            }
            (None, None) => {}
        }
    }
    Some((length, total.saturating_add(section + last)))
}

/// The bigrams of every run of `text` in order, for [`fill_junctions`].
pub(crate) fn bigram_runs(text: &[char]) -> Vec<Vec<String>> {
    let mut runs = Vec::new();
    for run in text.split(|c| !is_unspaced(*c)).filter(|run| run.len() > 1) {
        let mut part: Vec<String> = Vec::new();
        for unit in units(run) {
            match unit {
                Unit::Text { key, .. }
                    if part
                        .last()
                        .is_none_or(|last| last.chars().last() == key.chars().next()) =>
                {
                    part.push(key)
                }
                Unit::Text { key, .. } => runs.push(std::mem::replace(&mut part, vec![key])),
                Unit::Number { .. } | Unit::DeniesBefore => runs.push(std::mem::take(&mut part)),
            }
        }
        runs.push(part);
    }
    runs.retain(|run| run.len() > 1);
    runs
}

/// Gives bigrams that did not match what they are worth when their neighbours did.
///
/// `strengths`: how well each bigram of one run matched, in order, 0 for not at all. A hole of two characters or more is
/// a word that the source does not have and stays at 0.
pub(crate) fn fill_junctions(strengths: &mut [f32]) {
    let matched: Vec<bool> = strengths.iter().map(|s| *s > 0.0).collect();
    let covered =
        |at: usize| matched.get(at).copied().unwrap_or(false) || (at > 0 && matched[at - 1]);
    let num_chars = strengths.len() + 1;
    for (at, strength) in strengths
        .iter_mut()
        .enumerate()
        .filter(|(at, _)| !matched[*at])
    {
        *strength = match (covered(at), covered(at + 1)) {
            (true, true) => JUNCTION,
            (true, false) if at + 2 == num_chars || covered(at + 2) => HALF,
            (false, true) if at == 0 || covered(at - 1) => HALF,
            _ => 0.0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    #[test]
    fn numbers_in_han_characters_have_their_value() {
        let table = [
            ("五万", Some((2, 50_000))),
            ("两万四千", Some((4, 24_000))),
            ("十五", Some((2, 15))),
            ("二〇二五", Some((4, 2025))),
            ("三百零五", Some((4, 305))),
            ("三亿五千万", Some((5, 350_000_000))),
            ("一万亿", Some((3, 1_000_000_000_000))),
            ("五", Some((1, 5))),
            ("一", None),
            ("千", None),
            ("年", None),
        ];
        for (text, value) in table {
            assert_eq!(number(&chars(text)), value, "{text}");
        }
    }

    #[test]
    fn numbers_divide_a_run_and_denials_mark_it() {
        let shown = |text: &str| {
            let units = units(&chars(text)).into_iter().map(|unit| match unit {
                Unit::Text { key, negated } => format!("{}{key}", if negated { "!" } else { "" }),
                Unit::Number { value, counter } => format!("#{value}{}", counter.unwrap_or(' ')),
                Unit::DeniesBefore => "<".to_owned(),
            });
            units.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown("押金为五万元"), "押金 金为 #50000元 元");
        assert_eq!(shown("甘油不易燃"), "甘油 !易燃");
        assert_eq!(shown("不锈钢管"), "不锈 锈钢 钢管");
        assert_eq!(shown("않습니다"), "< 습니 니다");
    }

    #[test]
    fn one_exchanged_particle_costs_little_and_a_missing_word_costs_all() {
        let filled = |strengths: &[f32]| {
            let mut strengths = strengths.to_vec();
            fill_junctions(&mut strengths);
            strengths
        };
        // 甘油 是易 燃的 put together elsewhere.
        assert_eq!(filled(&[1.0, 0.0, 1.0]), [1.0, JUNCTION, 1.0]);
        // One character between two matched ones.
        assert_eq!(filled(&[1.0, 0.0, 0.0, 1.0]), [1.0, HALF, HALF, 1.0]);
        // は大 大阪 阪に: the word is another one.
        assert_eq!(
            filled(&[1.0, 0.0, 0.0, 0.0, 1.0]),
            [1.0, 0.0, 0.0, 0.0, 1.0]
        );
        assert_eq!(filled(&[0.0, 0.0]), [0.0, 0.0]);
    }
}
