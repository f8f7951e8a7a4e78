//! The vocabulary of synthetic models: byte-level BPE of the 256 bytes and a few merges.

use crate::gguf::{Array, Value, writer::GgufWriter};

/// GGUF's number for an ordinary token.
const NORMAL: i32 = 1;

/// Writes a GPT-2 style vocabulary of the 256 bytes, a few merges, three control tokens and `unused` others; returns
/// its length.
pub fn put_vocabulary(writer: &mut GgufWriter, unused: usize) -> usize {
    let mut tokens: Vec<String> = byte_level_alphabet()
        .iter()
        .map(|c| c.to_string())
        .collect();
    let merges = [
        "t h",
        "th e",
        "\u{120} the",
        "i n",
        "a n",
        "an d",
        "o n",
        "e r",
    ];
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let mut kinds = vec![NORMAL; tokens.len()];
    let end_of_text = tokens.len() as u32;
    tokens.extend(["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned));
    kinds.extend([3, 3, 3]);
    tokens.extend((0..unused).map(|i| format!("<|unused_{i}|>")));
    // Ordinary ones, so that a model of random weights, which writes little else, streams text.
    kinds.resize(tokens.len(), NORMAL);
    let count = tokens.len();
    writer
        .set_str("tokenizer.ggml.model", "gpt2")
        .set_str("tokenizer.ggml.pre", "qwen2")
        .set("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)))
        .set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)))
        .set("tokenizer.ggml.merges", Value::Array(Array::String(merges.map(str::to_owned).to_vec())))
        .set_u32("tokenizer.ggml.bos_token_id", end_of_text)
        .set_u32("tokenizer.ggml.eos_token_id", end_of_text + 2)
        .set("tokenizer.ggml.add_bos_token", Value::Bool(false))
        .set_str(
            "tokenizer.chat_template",
            "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
        );
    count
}

/// GPT-2's printable stand-ins for the 256 bytes, in byte order.
fn byte_level_alphabet() -> Vec<char> {
    let printable = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256u32;
    (0..256u32)
        .map(|byte| {
            let code = if printable(byte) {
                byte
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
        })
        .collect()
}
