//! A small SentencePiece vocabulary for synthetic models: byte tokens, the printable characters of ASCII, and
//! a few words that merge step by step.

use super::{Array, Value, writer::GgufWriter};

/// Tokens that merging reaches, best score first; each is the concatenation of two tokens before it or of characters.
const MERGED: [&str; 16] = [
    "▁t", "he", "▁the", "in", "er", "▁a", "an", "on", "▁w", "▁c", "ing", "and", "▁and", "re", "▁▁",
    "▁in",
];

/// The template that Mistral 7B Instruct v0.1 carries, without its check that roles alternate.
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}";

/// Writes the vocabulary, with a chat template without a system role; returns the number of tokens. `<s>` starts a
/// prompt and `</s>` ends an answer, as is the default of such vocabularies.
pub fn put_spm_vocabulary(writer: &mut GgufWriter) -> usize {
    const NORMAL: i32 = 1;
    const UNKNOWN: i32 = 2;
    const CONTROL: i32 = 3;
    const BYTE: i32 = 6;
    let special = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
        .map(|(text, kind)| (text.to_owned(), kind));
    let bytes = (0..=u8::MAX).map(|byte| (format!("<0x{byte:02X}>"), BYTE));
    let words = MERGED.map(|word| (word.to_owned(), NORMAL));
    let characters = ('!'..='~').chain(['▁']).map(|c| (c.to_string(), NORMAL));
    let (tokens, types): (Vec<String>, Vec<i32>) = special
        .into_iter()
        .chain(bytes)
        .chain(words)
        .chain(characters)
        .unzip();
    let first_word = tokens.len() - MERGED.len() - 95;
    let scores = (0..tokens.len()).map(|id| {
        if id < first_word {
            0.0
        } else {
            first_word as f32 - id as f32
        }
    });
    let scores = scores.collect();
    let count = tokens.len();
    writer
        .set_str("tokenizer.ggml.model", "llama")
        .set("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)))
        .set("tokenizer.ggml.token_type", Value::Array(Array::I32(types)))
        .set("tokenizer.ggml.scores", Value::Array(Array::F32(scores)))
        .set_u32("tokenizer.ggml.unknown_token_id", 0)
        .set_u32("tokenizer.ggml.bos_token_id", 1)
        .set_u32("tokenizer.ggml.eos_token_id", 2)
        .set_str("tokenizer.chat_template", TEMPLATE);
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gguf::GgufFile,
        text::{AddSpecial, Tokenizer},
    };

    #[test]
    fn the_vocabulary_merges_words_and_spells_the_rest_in_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vocabulary.gguf");
        let mut writer = GgufWriter::new();
        let count = put_spm_vocabulary(&mut writer);
        writer.write(&path).unwrap();
        let tokenizer = Tokenizer::from_gguf(&GgufFile::open(&path).unwrap()).unwrap();
        assert_eq!(tokenizer.vocab_size(), count);
        let ids = tokenizer.encode("the wandering é", AddSpecial::Yes);
        let spelled: Vec<_> = ids
            .iter()
            .filter_map(|&id| tokenizer.token_text(id))
            .collect();
        assert_eq!(
            spelled,
            [
                "<s>", "▁the", "▁w", "and", "er", "ing", "▁", "<0xC3>", "<0xA9>"
            ]
        );
        assert_eq!(tokenizer.decode(&ids), "the wandering é");
    }
}
