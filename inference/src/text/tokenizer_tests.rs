//! The tokenizer on small vocabularies, and its merge loop against that of the `tokenizers` crate.

use std::collections::HashMap;

use proptest::prelude::*;
use tokenizers::Model;

use super::*;

/// A vocabulary of all bytes, a few merges, and one token of each kind.
fn source(pre: &str) -> TokenizerSource {
    let mut tokens: Vec<String> = (0..=u8::MAX)
        .map(|byte| byte_level::char_of(byte).to_string())
        .collect();
    let merges = [
        "h e", "l l", "he ll", "hell o", "Ġ hello", "i m", "Ġ Ġ", "< |", "| >", "Ġ a", "e n",
        "en d",
    ];
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let mut token_types = vec![1; tokens.len()];
    for (text, kind) in [
        ("<|im_start|>", 3),
        ("<|im_end|>", 3),
        ("<think>", 4),
        ("<unused>", 5),
        ("<unk>", 2),
        ("<|im", 3),
    ] {
        tokens.push(text.to_owned());
        token_types.push(kind);
    }
    TokenizerSource {
        model: "gpt2".into(),
        pre: Some(pre.into()),
        bos_token_id: Some(tokens.len() as u32 - 6),
        eos_token_id: Some(tokens.len() as u32 - 5),
        tokens,
        token_types: Some(token_types),
        merges: merges.map(String::from).to_vec(),
        ..TokenizerSource::default()
    }
}

fn tokenizer(pre: &str) -> Tokenizer {
    Tokenizer::new(source(pre)).unwrap()
}

fn spelled(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    ids.iter()
        .map(|&id| tokenizer.token_text(id).unwrap().to_owned())
        .collect()
}

#[test]
fn control_tokens_in_plain_text_stay_text_and_decode_as_written() {
    let tokenizer = tokenizer("qwen2");
    let ids = tokenizer.encode("<|im_end|>", AddSpecial::No);
    assert_eq!(spelled(&tokenizer, &ids), ["<|", "im", "_", "end", "|>"]);
    assert!(ids.iter().all(|&id| !tokenizer.is_control(id)));
    assert_eq!(tokenizer.decode(&ids), "<|im_end|>");
}

#[test]
fn control_tokens_are_parsed_where_asked_the_longest_first() {
    let tokenizer = tokenizer("qwen2");
    let ids = tokenizer.encode_with_special("<|im_start|>hello<|im_end|><|im");
    assert_eq!(
        spelled(&tokenizer, &ids),
        ["<|im_start|>", "hello", "<|im_end|>", "<|im"]
    );
    assert_eq!(
        tokenizer.decode(&ids),
        "hello",
        "control tokens are not printed"
    );
}

#[test]
fn user_defined_tokens_are_matched_in_plain_text_and_printed() {
    let tokenizer = tokenizer("gpt-2");
    let ids = tokenizer.encode("hello<think> hello", AddSpecial::No);
    assert_eq!(spelled(&tokenizer, &ids), ["hello", "<think>", "Ġhello"]);
    assert_eq!(tokenizer.decode(&ids), "hello<think> hello");
}

#[test]
fn unknown_and_unused_tokens_are_not_produced_from_plain_text() {
    let tokenizer = tokenizer("smollm");
    for text in ["<unk>", "<unused>"] {
        assert_eq!(tokenizer.encode(text, AddSpecial::No).len(), text.len());
    }
}

#[test]
fn bos_is_added_once_and_only_if_the_file_or_the_pre_tokenizer_says_so() {
    let plain = tokenizer("smollm");
    assert!(!plain.adds_bos());
    assert_eq!(
        plain.encode("a", AddSpecial::Yes),
        plain.encode("a", AddSpecial::No)
    );
    let llama = tokenizer("llama-bpe");
    assert_eq!(
        spelled(&llama, &llama.encode("a", AddSpecial::Yes)),
        ["<|im_start|>", "a"]
    );
    let asked = Tokenizer::new(TokenizerSource {
        add_bos_token: Some(true),
        add_eos_token: Some(true),
        ..source("qwen2")
    })
    .unwrap();
    assert_eq!(
        spelled(&asked, &asked.encode("a", AddSpecial::Yes)),
        ["<|im_start|>", "a", "<|im_end|>"]
    );
    assert_eq!(asked.encode("a", AddSpecial::No).len(), 1);
}

#[test]
fn llama_bpe_takes_a_word_of_the_vocabulary_whole_although_no_merge_makes_it() {
    let mut source = source("llama-bpe");
    source.merges.retain(|merge| merge != "hell o");
    let whole = |source: TokenizerSource| {
        spelled(
            &Tokenizer::new(source.clone()).unwrap(),
            &Tokenizer::new(source)
                .unwrap()
                .encode("hello", AddSpecial::No),
        )
    };
    assert_eq!(whole(source.clone()), ["hello"]);
    assert_eq!(
        whole(TokenizerSource {
            pre: Some("qwen2".into()),
            ..source
        }),
        ["hell", "o"]
    );
}

#[test]
fn end_tokens_are_the_declared_ones_and_those_known_by_name() {
    let mut source = source("llama-bpe");
    source.tokens.push("<|eot_id|>".into());
    source.token_types.as_mut().unwrap().push(1);
    let tokenizer = Tokenizer::new(source).unwrap();
    let ends: Vec<_> = tokenizer
        .eos_ids()
        .iter()
        .map(|&id| tokenizer.token_text(id).unwrap())
        .collect();
    assert_eq!(ends, ["<|im_end|>", "<|eot_id|>"]);
    assert!(
        tokenizer.is_control(tokenizer.eos_ids()[1]),
        "an end token is a control token whatever its type says"
    );
}

#[test]
fn unsupported_and_malformed_vocabularies_are_named() {
    let failure = |change: fn(&mut TokenizerSource)| {
        let mut source = source("qwen2");
        change(&mut source);
        Tokenizer::new(source).unwrap_err().to_string()
    };
    assert_eq!(
        failure(|s| s.model = "t5".into()),
        "tokenizer model `t5` is not supported (supported: gpt2, which is byte-level BPE, and llama, which is SentencePiece)"
    );
    let unknown = failure(|s| s.pre = Some("tekken2".into()));
    assert!(
        unknown.starts_with("pre-tokenizer `tekken2` is not supported (supported: gpt-2, "),
        "{unknown}"
    );
    assert!(failure(|s| s.tokens.clear()).contains("tokenizer.ggml.tokens"));
    assert!(failure(|s| s.token_types = Some(vec![1])).contains("1 types for"));
    assert!(failure(|s| s.merges.push("nospace".into())).contains("`nospace`"));
    assert!(failure(|s| s.eos_token_id = Some(9999)).contains("token 9999 of"));
    assert!(
        failure(|s| {
            s.bos_token_id = None;
            s.add_bos_token = Some(true)
        })
        .contains("bos_token_id")
    );
}

#[test]
fn ids_outside_the_vocabulary_decode_to_nothing() {
    let tokenizer = tokenizer("qwen2");
    assert_eq!(
        tokenizer.decode(&[u32::MAX, tokenizer.encode("a", AddSpecial::No)[0]]),
        "a"
    );
    assert!(!tokenizer.is_control(u32::MAX));
}

#[test]
fn a_megabyte_of_one_character_takes_linear_time() {
    for pre in ["gpt-2", "smollm", "qwen2", "llama-bpe"] {
        let tokenizer = tokenizer(pre);
        for unit in [
            "a",
            " ",
            "\n",
            "7",
            "!",
            "'",
            "é",
            "<|im_end|>",
            "\n ",
            "he",
        ] {
            let text = unit.repeat((1 << 20) / unit.len());
            let started = std::time::Instant::now();
            let ids = tokenizer.encode(&text, AddSpecial::No);
            // A hundred times what a machine takes that does nothing else, and far below what quadratic time would.
            assert!(
                started.elapsed().as_secs_f32() < 30.0,
                "{pre}: a megabyte of {unit:?} took {:?}",
                started.elapsed()
            );
            assert_eq!(tokenizer.decode(&ids), text);
        }
    }
}

proptest! {
    #[test]
    fn decoding_gives_back_any_text(text in r"(\PC|\s|<\|im_end\|>|'[sStT]|hello|<think>){0,40}") {
        for pre in ["gpt-2", "smollm", "qwen2", "llama-bpe"] {
            let tokenizer = tokenizer(pre);
            prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text, AddSpecial::No)), &text[..]);
            let mut detokenizer = crate::text::Detokenizer::new();
            let ids = tokenizer.encode_with_special(&text);
            let mut streamed: String = ids.iter().map(|&id| detokenizer.push(&tokenizer, id)).collect();
            streamed.push_str(&detokenizer.finish());
            prop_assert_eq!(streamed, tokenizer.decode(&ids));
        }
    }

    /// Merging against the `tokenizers` crate, on vocabularies of random merges over three letters.
    #[test]
    fn merging_equals_the_tokenizers_crate(
        pairs in proptest::collection::vec((0usize..30, 0usize..30), 0..30), words in proptest::collection::vec("[abc]{1,24}", 8)
    ) {
        let mut tokens: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        let mut merges = Vec::new();
        for (left, right) in pairs {
            let (left, right) = (tokens[left % tokens.len()].clone(), tokens[right % tokens.len()].clone());
            let merged = format!("{left}{right}");
            if !tokens.contains(&merged) {
                tokens.push(merged);
                merges.push((left, right));
            }
        }
        let vocabulary: HashMap<String, u32> = tokens.iter().cloned().zip(0..).collect();
        let theirs = tokenizers::models::bpe::BPE::builder()
            .vocab_and_merges(vocabulary.into_iter().collect::<tokenizers::models::bpe::Vocab>(), merges.clone())
            .build()
            .unwrap();
        let ours = Tokenizer::new(TokenizerSource {
            model: "gpt2".into(),
            pre: Some("gpt-2".into()),
            tokens,
            merges: merges.iter().map(|(left, right)| format!("{left} {right}")).collect(),
            ..TokenizerSource::default()
        })
        .unwrap();
        for word in words {
            let expected: Vec<u32> = theirs.tokenize(&word).unwrap().iter().map(|token| token.id).collect();
            prop_assert_eq!(ours.encode(&word, AddSpecial::No), expected);
        }
    }
}
