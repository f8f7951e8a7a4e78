//! Numbers as lists write them: digits, letters, Roman and the alphabets of other scripts.
//!
//! Formats that spell numbers out depend on the language of the document ([`Spellout`]). What it has no words for is
//! written in digits, as are unknown formats.

use super::spellout::Spellout;

/// Letters of the formats that count as Word does with letters: A to Z, then AA, BB, ...
const ALPHABETS: &[(&str, &str)] = &[
    ("lowerLetter", "abcdefghijklmnopqrstuvwxyz"),
    ("upperLetter", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    ("russianLower", "абвгдежзиклмнопрстуфхцчшщыэюя"),
    ("russianUpper", "АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЫЭЮЯ"),
    ("hebrew2", "אבגדהוזחטיכלמנסעפצקרשת"),
    ("arabicAlpha", "أبتثجحخدذرزسشصضطظعغفقكلمنهوي"),
    ("arabicAbjad", "أبجدهوزحطيكلمنسعفصقرشتثخذضظغ"),
    ("thaiLetters", "กขคงจฉชซฌญฎฏฐฑฒณดตถทธนบปผฝพฟภมยรลวศษสหฬอฮ"),
    (
        "aiueo",
        "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン",
    ),
    (
        "aiueoFullWidth",
        "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン",
    ),
    (
        "iroha",
        "イロハニホヘトチリヌルヲワカヨタレソツネナラムウヰノオクヤマケフコエテアサキユメミシヱヒモセスン",
    ),
    (
        "irohaFullWidth",
        "イロハニホヘトチリヌルヲワカヨタレソツネナラムウヰノオクヤマケフコエテアサキユメミシヱヒモセスン",
    ),
    ("ganada", "가나다라마바사아자차카타파하"),
    ("chosung", "ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ"),
    ("ideographTraditional", "甲乙丙丁戊己庚辛壬癸"),
    ("ideographZodiac", "子丑寅卯辰巳午未申酉戌亥"),
    ("chicago", "*†‡§"),
];

/// Digits of the formats that write numbers place by place.
const DIGITS: &[(&str, &str)] = &[
    ("decimalFullWidth", "０１２３４５６７８９"),
    ("decimalFullWidth2", "０１２３４５６７８９"),
    ("hindiNumbers", "०१२३४५६७८९"),
    ("thaiNumbers", "๐๑๒๓๔๕๖๗๘๙"),
    ("ideographDigital", "〇一二三四五六七八九"),
    ("japaneseDigitalTenThousand", "〇一二三四五六七八九"),
    ("taiwaneseDigital", "○一二三四五六七八九"),
    ("koreanDigital", "영일이삼사오육칠팔구"),
    ("koreanDigital2", "零一二三四五六七八九"),
];

/// Formats that have a character of their own for each number: first character, how many there are.
const ENCLOSED: &[(&str, char, u64)] = &[
    ("decimalEnclosedCircle", '①', 20),
    ("decimalEnclosedCircleChinese", '①', 20),
    ("decimalEnclosedParen", '⑴', 20),
    ("decimalEnclosedFullstop", '⒈', 20),
    ("ideographEnclosedCircle", '㊀', 10),
];

/// Most letters that are written for one number; more are digits, as the letters would say nothing.
const MAX_REPEATED: usize = 20;

/// A number in one of Word's formats; `pattern` is that of the format "custom": "001, 002, 003, ...". `spellout` is
/// that of the document's language, if it is known.
pub(super) fn format_number(
    number: u64,
    format: &str,
    pattern: &str,
    spellout: Option<&Spellout>,
) -> String {
    let table = |tables: &[(&str, &'static str)]| {
        tables
            .iter()
            .find(|(name, _)| *name == format)
            .map(|(_, characters)| *characters)
    };
    if let Some(alphabet) = table(ALPHABETS) {
        return letters(number, alphabet);
    }
    if let Some(digits) = table(DIGITS) {
        return in_digits(number, digits);
    }
    if let Some(&(_, first, count)) = ENCLOSED.iter().find(|(name, ..)| *name == format)
        && (1..=count).contains(&number)
    {
        let code = u32::from(first) + u32::try_from(number - 1).unwrap_or(0);
        return char::from_u32(code).map_or_else(|| number.to_string(), String::from);
    }
    let spelt = match format {
        "cardinalText" => spellout.and_then(|spellout| spellout.cardinal(number)),
        "ordinalText" => spellout.and_then(|spellout| spellout.ordinal(number)),
        "ordinal" => spellout.and_then(|spellout| spellout.ordinal_in_digits(number)),
        _ => None,
    };
    if let Some(spelt) = spelt {
        return spelt;
    }
    match format {
        "lowerRoman" => roman(number).to_lowercase(),
        "upperRoman" => roman(number),
        "decimalZero" => format!("{number:02}"),
        "custom" => padded(number, pattern),
        "numberInDash" => format!("- {number} -"),
        "hex" => format!("{number:X}"),
        "chineseCounting"
        | "chineseCountingThousand"
        | "japaneseCounting"
        | "taiwaneseCounting"
        | "taiwaneseCountingThousand"
        | "ideographLegalTraditional"
            if number < 100 =>
        {
            counted_in_tens(number)
        }
        "none" => String::new(),
        _ => number.to_string(),
    }
}

/// A, B, ..., Z, AA, BB, ... as Word counts.
fn letters(number: u64, alphabet: &str) -> String {
    let count = alphabet.chars().count();
    let Some(index) = number
        .checked_sub(1)
        .and_then(|index| usize::try_from(index).ok())
        .filter(|&index| index < count * MAX_REPEATED)
    else {
        return number.to_string();
    };
    alphabet
        .chars()
        .nth(index % count)
        .map_or_else(String::new, |letter| {
            std::iter::repeat_n(letter, index / count + 1).collect()
        })
}

fn in_digits(number: u64, digits: &str) -> String {
    number
        .to_string()
        .chars()
        .filter_map(|digit| {
            digits
                .chars()
                .nth(usize::try_from(digit.to_digit(10)?).ok()?)
        })
        .collect()
}

/// As many digits as the first example of the pattern has.
fn padded(number: u64, pattern: &str) -> String {
    let width = pattern.chars().take_while(char::is_ascii_digit).count();
    format!("{number:0width$}")
}

/// 十一 is eleven, 二十 twenty.
fn counted_in_tens(number: u64) -> String {
    let digit = |n: u64| in_digits(n, "〇一二三四五六七八九");
    match (number / 10, number % 10) {
        (0, ones) => digit(ones),
        (tens, ones) => {
            let tens = if tens == 1 {
                String::new()
            } else {
                digit(tens)
            };
            let ones = if ones == 0 {
                String::new()
            } else {
                digit(ones)
            };
            format!("{tens}十{ones}")
        }
    }
}

fn roman(number: u64) -> String {
    if number == 0 || number >= 4000 {
        return number.to_string();
    }
    const SYMBOLS: [(u64, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let mut rest = number;
    let mut text = String::new();
    for (value, symbol) in SYMBOLS {
        while rest >= value {
            rest -= value;
            text.push_str(symbol);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_drawn_as_word_draws_them() {
        let cases = [
            (4, "lowerRoman", "iv"),
            (1999, "upperRoman", "MCMXCIX"),
            (28, "lowerLetter", "bb"),
            (3, "decimal", "3"),
            (7, "decimalZero", "07"),
            (0, "upperLetter", "0"),
            (2, "russianLower", "б"),
            (12, "decimalEnclosedCircle", "⑫"),
            (21, "decimalEnclosedCircle", "21"),
            (15, "ideographDigital", "一五"),
            (23, "chineseCounting", "二十三"),
            (10, "japaneseCounting", "十"),
            (5, "chicago", "**"),
            (4, "cardinalText", "4"),
            (9, "none", ""),
        ];
        for (number, format, want) in cases {
            assert_eq!(format_number(number, format, "", None), want, "{format}");
        }
        assert_eq!(
            format_number(12, "custom", "001, 002, 003, ...", None),
            "012"
        );
    }
}
