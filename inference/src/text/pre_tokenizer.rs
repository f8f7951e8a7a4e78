//! Splitting text into the words that BPE may merge within.
//!
//! A pre-tokenizer is a list of published regular expressions. The first cuts the text into its matches
//! and what lies between them, the next cuts each of those pieces again. The expressions are written out
//! by hand in [`matchers`]: most need a look-ahead (`\s+(?!\S)`), and a backtracking engine takes quadratic
//! time, or gives up, on a megabyte of one character.
//!
//! Where llama.cpp adapts an expression (no `\p{Lu}` in `tekken`), its adaptation counts: ids must equal
//! those of the program that most files were tested with. In `(?i:'s)` only ASCII letters match, as there.
//!
//! A name that is not known is an error, not a guess: another split gives other ids for the same text, and
//! the model answers badly without any sign of it. A file that names none (made before mid-2024) gets the
//! split that llama.cpp calls `default`, with a warning.

mod matchers;

use matchers::{
    Found, Matcher, Modern, cased_letters, deepseek_letters, deepseek_punctuation,
    deepseek_v3_word, digit_triple, east_asian_run, falcon_punctuation, gpt2_word, kana_or_han_run,
    letters, letters_after_space, letters_and_marks, line_break, line_run, number, number_run,
    number_triple, old_punctuation, punctuation_after_space, sentence_word, trailing_blanks,
};

/// How text is cut into words before merging; the meaning of `tokenizer.ggml.pre`.
#[derive(Clone, Copy)]
pub struct PreTokenizer {
    name: &'static str,
    steps: &'static [Matcher],
    ignores_merges: bool,
    adds_bos: bool,
}

impl std::fmt::Debug for PreTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Names of a family, and what they stand for.
struct Family {
    names: &'static [&'static str],
    steps: &'static [Matcher],
    /// A word that is a vocabulary entry is taken whole, whatever the merges say. No GGUF key says so.
    ignores_merges: bool,
    /// BOS starts a prompt when the file does not say.
    adds_bos: bool,
}

const PLAIN: Family = Family {
    names: &[],
    steps: &[],
    ignores_merges: false,
    adds_bos: false,
};

/// Words of Qwen2: one symbol may lead the letters, each digit is a word, line breaks stay with symbols.
const QWEN2: Modern = Modern {
    contractions: true,
    letters,
    marks_are_letters: false,
    suffix: false,
    max_digits: 1,
    tail: "\r\n",
};
const LLAMA3: Modern = Modern {
    max_digits: 3,
    ..QWEN2
};
const QWEN35: Modern = Modern {
    letters: letters_and_marks,
    marks_are_letters: true,
    ..QWEN2
};
const TEKKEN: Modern = Modern {
    contractions: false,
    letters: cased_letters,
    tail: "\r\n/",
    ..QWEN2
};
const GPT4O: Modern = Modern {
    suffix: true,
    max_digits: 3,
    ..TEKKEN
};
const SEED_CODER: Modern = Modern { tail: "", ..QWEN2 };
const UFAKZEKA: Modern = Modern {
    contractions: false,
    ..QWEN2
};
const MINICPM5: Modern = Modern {
    max_digits: usize::MAX,
    ..QWEN2
};

/// Every supported name. Expressions by step:
///
/// | step | expression |
/// |---|---|
/// | `gpt2_word` | `'s\|'t\|'re\|'ve\|'m\|'ll\|'d\| ?\p{L}+\| ?\p{N}+\| ?[^\s\p{L}\p{N}]+\|\s+(?!\S)\|\s+` |
/// | `QWEN2` | `(?i:'s\|'t\|'re\|'ve\|'m\|'ll\|'d)\|[^\r\n\p{L}\p{N}]?\p{L}+\|\p{N}\| ?[^\s\p{L}\p{N}]+[\r\n]*\|\s*[\r\n]+\|\s+(?!\S)\|\s+` |
/// | `LLAMA3` | as `QWEN2`, with `\p{N}{1,3}` |
/// | others | in their constant above, or at their function |
const FAMILIES: &[Family] = &[
    Family {
        names: &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "exaone4",
        ],
        steps: &[gpt2_word],
        ..PLAIN
    },
    Family {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        steps: &[number, gpt2_word],
        ..PLAIN
    },
    Family {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "megrez",
            "grok-2",
            "kormo",
            // `\s*[\r\n]` of this one ends where `\s*[\r\n]+` does, at the last line break of the blanks.
            "bailingmoe",
            "bailingmoe2",
            "llada-moe",
        ],
        steps: &[|text| QWEN2.word(text)],
        ..PLAIN
    },
    Family {
        names: &["qwen35"],
        steps: &[|text| QWEN35.word(text)],
        ..PLAIN
    },
    Family {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
        ],
        steps: &[|text| LLAMA3.word(text)],
        ignores_merges: true,
        adds_bos: true,
    },
    Family {
        names: &["dbrx", "smaug-bpe", "chatglm-bpe"],
        steps: &[|text| LLAMA3.word(text)],
        ..PLAIN
    },
    Family {
        names: &["glm4"],
        steps: &[|text| LLAMA3.word(text)],
        ignores_merges: true,
        ..PLAIN
    },
    Family {
        names: &["tekken"],
        steps: &[|text| TEKKEN.word(text)],
        ignores_merges: true,
        adds_bos: true,
    },
    Family {
        names: &["gpt-4o", "llama4", "kanana2", "minimax-m2"],
        steps: &[|text| GPT4O.word(text)],
        ..PLAIN
    },
    Family {
        names: &["deepseek-llm"],
        steps: &[
            line_break,
            deepseek_letters,
            deepseek_punctuation,
            trailing_blanks,
            east_asian_run,
            number_run,
        ],
        ..PLAIN
    },
    Family {
        names: &["deepseek-coder"],
        steps: &[
            line_break,
            letters_after_space,
            punctuation_after_space,
            east_asian_run,
            number,
        ],
        ..PLAIN
    },
    Family {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm"],
        steps: &[number_triple, kana_or_han_run, deepseek_v3_word],
        ..PLAIN
    },
    Family {
        names: &["falcon"],
        steps: &[falcon_punctuation, gpt2_word, digit_triple],
        ..PLAIN
    },
    Family {
        names: &["bloom", "poro-chat", "gpt3-finnish"],
        steps: &[sentence_word],
        ..PLAIN
    },
    Family {
        names: &["viking"],
        steps: &[sentence_word, number],
        ..PLAIN
    },
    Family {
        names: &["seed-coder"],
        steps: &[|text| SEED_CODER.word(text)],
        ..PLAIN
    },
    Family {
        names: &["minicpm5"],
        steps: &[number_triple, |text| MINICPM5.word(text)],
        ignores_merges: true,
        ..PLAIN
    },
    Family {
        names: &["ufakzeka"],
        steps: &[|text| UFAKZEKA.word(text)],
        ..PLAIN
    },
    Family {
        names: &["laguna"],
        steps: &[line_run, |text| QWEN2.word(text)],
        ..PLAIN
    },
    Family {
        names: &["default"],
        steps: &[old_punctuation, gpt2_word, number_run, digit_triple],
        ..PLAIN
    },
];

impl PreTokenizer {
    /// Returns the pre-tokenizer that GGUF files call `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        FAMILIES.iter().find_map(|family| {
            let name = family.names.iter().find(|known| **known == name)?;
            Some(Self {
                name,
                steps: family.steps,
                ignores_merges: family.ignores_merges,
                adds_bos: family.adds_bos,
            })
        })
    }

    /// Names accepted by [`PreTokenizer::from_name`].
    pub fn supported() -> impl Iterator<Item = &'static str> {
        FAMILIES.iter().flat_map(|family| family.names).copied()
    }

    /// The name in the file.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Whether a word that is a vocabulary entry is taken whole, whatever the merges say.
    pub(super) fn ignores_merges(self) -> bool {
        self.ignores_merges
    }

    /// Whether a BOS token starts a prompt when the file does not say.
    pub(super) fn adds_bos_by_default(self) -> bool {
        self.adds_bos
    }

    /// Calls `word` with each word of `text` in order; the words joined are `text`.
    pub(super) fn split<'t>(self, text: &'t str, mut word: impl FnMut(&'t str)) {
        cut(self.steps, text, &mut word);
    }
}

/// Cuts `text` by the first step, and each piece by the steps after it.
fn cut<'t>(steps: &[Matcher], text: &'t str, word: &mut dyn FnMut(&'t str)) {
    if text.is_empty() {
        return;
    }
    let Some((find, later)) = steps.split_first() else {
        word(text);
        return;
    };
    let (mut gap_start, mut at) = (0, 0);
    while at < text.len() {
        match find(&text[at..]) {
            Found::Match(len) => {
                cut(later, &text[gap_start..at], word);
                cut(later, &text[at..at + len], word);
                at += len;
                gap_start = at;
            }
            Found::Nothing(len) => at += len,
        }
    }
    cut(later, &text[gap_start..], word);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, text: &str, expected: &[&str]) {
        let mut words = Vec::new();
        PreTokenizer::from_name(name)
            .unwrap()
            .split(text, |word| words.push(word));
        assert_eq!(words, expected, "{name}");
        assert_eq!(words.concat(), text);
    }

    #[test]
    fn gpt2_keeps_a_space_with_the_word_that_follows() {
        check(
            "gpt-2",
            "I'll  say 'S \t it's 42%\n\n x ",
            &[
                "I", "'ll", " ", " say", " '", "S", " \t", " it", "'s", " 42", "%", "\n\n", " x",
                " ",
            ],
        );
    }

    #[test]
    fn smollm_takes_digits_one_by_one_and_does_not_look_past_them() {
        check("smollm", "a  12½ b", &["a", "  ", "1", "2", "½", " b"]);
    }

    #[test]
    fn qwen2_attaches_one_symbol_to_letters_and_newlines_to_symbols() {
        check(
            "qwen2",
            "it'S (ok);\n\n  \n  foo\tbar 1234\r\n",
            &[
                "it", "'S", " (", "ok", ");\n\n", "  \n", " ", " foo", "\tbar", " ", "1", "2", "3",
                "4", "\r\n",
            ],
        );
    }

    #[test]
    fn qwen35_keeps_marks_with_letters() {
        check("qwen35", "नमस्ते \u{301}x", &["नमस्ते", " \u{301}x"]);
        check("qwen2", "e\u{301}x", &["e", "\u{301}x"]);
    }

    #[test]
    fn llama_bpe_groups_three_digits() {
        check("llama-bpe", "12345 x", &["123", "45", " x"]);
    }

    #[test]
    fn tekken_starts_a_word_at_a_capital_and_takes_slashes_with_symbols() {
        check(
            "tekken",
            "camelCase HTTPServer éÀB ?//\n12",
            &[
                "camel",
                "Case",
                " HTTPServer",
                " éÀ",
                "B",
                " ?//\n",
                "1",
                "2",
            ],
        );
        check(
            "gpt-4o",
            "We'LL ABC's 1234",
            &["We'LL", " ABC's", " ", "123", "4"],
        );
    }

    #[test]
    fn deepseek_coder_and_llm_cut_by_class() {
        check(
            "deepseek-coder",
            "a b1。\n漢字 x",
            &["a", " b", "1", "。", "\n", "漢字", " x"],
        );
        check(
            "deepseek-llm",
            "a  b12!\r漢字かな  ",
            &["a", " ", " b", "12", "!", "\r", "漢字かな", "  "],
        );
    }

    #[test]
    fn deepseek_v3_puts_punctuation_before_latin_letters_and_takes_han_apart() {
        check(
            "deepseek-v3",
            "x.foo(12345)漢字é\n\n y",
            &[
                "x", ".foo", "(", "123", "45", ")", "漢字", "é", "\n\n", " y",
            ],
        );
    }

    #[test]
    fn falcon_takes_punctuation_first_and_digits_in_threes() {
        check("falcon", "a, b1234$", &["a", ",", " b", "123", "4", "$"]);
    }

    #[test]
    fn bloom_words_end_at_sentence_marks() {
        check(
            "bloom",
            "Hi, (you) there.",
            &["Hi", ", (", "you", ")", " there", "."],
        );
    }

    #[test]
    fn names_are_unique_and_unknown_names_are_not_mistaken_for_another() {
        let mut names: Vec<_> = PreTokenizer::supported().collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(PreTokenizer::from_name("kimi-k2").is_none());
        assert!(PreTokenizer::from_name("").is_none());
    }
}
