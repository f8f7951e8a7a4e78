#!/usr/bin/env python3
"""Writes the tokenizer goldens of inference/tests/golden/text.

    pip install xllamacpp==2026.10.11549 numpy gguf sentencepiece==0.2.3 tokenizers
    scripts/goldens/text.py vocabularies                             # trains the small vocabularies (a minute)
    scripts/goldens/text.py tokens VOCABULARIES WHEELS LLAMA_CPP MODELS   # ids of llama.cpp (minutes)
    scripts/goldens/text.py huggingface MODELS                       # compares llama.cpp's ids with the tokenizers library's

VOCABULARIES is a folder to put vocab-only GGUF files into; the tests look for those of real models where
CLOISTER_TEST_VOCABULARIES points. WHEELS holds the wheels of mistral-common and llama-models (`pip download --no-deps`),
LLAMA_CPP is a source tree of llama.cpp, MODELS a models directory of Cloister.

For each vocabulary: `all` is a 64-bit hash of the ids of every line, `lines` 8 bits of each line's hash to find the
one that differs (base64). Both with control tokens as text (`plain`) and parsed (`special`).
"""

import base64
import json
import sys
from pathlib import Path

import vocabularies
from make import fnv1a, model_file
from text_lines import GOLDEN, lines

# Vocabularies whose splits depend on the class of every character, each in another way.
CLASS_NAMES = ["bpe-deepseek-v3", "bpe-falcon", "bpe-qwen35"]
CLASS_BLOCK = 0x1000
# Where characters are assigned.
CLASS_BLOCKS = [*range(0, 0x32000, CLASS_BLOCK), 0xE0000]
REAL_MODELS = ["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"]


def hashes(ids_of_lines):
    each = [fnv1a(ids) for ids in ids_of_lines]
    whole = fnv1a([int(value[:8], 16) for value in each] + [int(value[8:], 16) for value in each])
    return {"all": whole, "lines": base64.b64encode(bytes(int(value[-2:], 16) for value in each)).decode()}


def llama_cpp_ids(path, texts):
    from llama_cpp import Model

    model = Model(path, vocab_only=True)
    golden = {
        "plain": hashes([model.tokenize(text) for text in texts]),
        "special": hashes([model.tokenize(text, add_special=True, parse_special=True) for text in texts]),
        "end_tokens": [token for token in range(model.n_vocab) if model.is_eog(token)],
    }
    model.close()
    return golden


def characters(path):
    """32 bits of a hash for each 4,096 characters, which stand among letters, blanks and digits. The texts are short because the
    regular expressions of C++ take stack for each character."""
    from llama_cpp import Model

    model, found = Model(path, vocab_only=True), []
    for block in CLASS_BLOCKS:
        ids = []
        for start in range(block, block + CLASS_BLOCK, 64):
            text = "".join(f"a{chr(c)}b {chr(c)}{chr(c)}1{chr(c)} \n{chr(c)}\n" for c in range(start, start + 64) if not 0xD800 <= c < 0xE000)
            ids += model.tokenize(text)
        found.append(fnv1a(ids)[:8])
    model.close()
    return found


def tokens(folder, wheels, source, models):
    import llama_cpp

    texts = lines()
    made_by = f"llama.cpp, xllamacpp {llama_cpp.VERSION}"
    files = {
        "small": vocabularies.small(folder / "small"),
        "real": vocabularies.real(folder, wheels, source),
        "models": {name: model_file(models, name) for name in REAL_MODELS},
    }
    classes = {name: characters(files["small"][name]) for name in CLASS_NAMES}
    (GOLDEN / "characters.json").write_text(json.dumps(classes).replace("], ", "],\n") + "\n")
    text_hash = fnv1a([ord(c) for text in texts for c in text + "\n"])
    for kind, paths in files.items():
        golden = {"made_by": made_by, "texts": text_hash, "vocabularies": {}}
        for name, path in paths.items():
            golden["vocabularies"][name] = llama_cpp_ids(path, texts)
            print(name, golden["vocabularies"][name]["plain"]["all"], golden["vocabularies"][name]["end_tokens"], flush=True)
        (GOLDEN / f"tokens-{kind}.json").write_text(json.dumps(golden, indent=0) + "\n")


def huggingface_tokenizer(path):
    """The tokenizer.json of the model's repository, put together from the GGUF file: its model, pre-tokenizer and normaliser
    are published, its added tokens are the control and user-defined ones."""
    import gguf
    import tokenizers
    from tokenizers import Regex, models, normalizers, pre_tokenizers

    reader = gguf.GGUFReader(path)
    read = lambda key: reader.fields[f"tokenizer.ggml.{key}"].contents()
    words, types = read("tokens"), read("token_type")
    merges = [tuple(merge.split(" ")) for merge in read("merges")]
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab={word: id for id, word in enumerate(words)}, merges=merges))
    byte_level = lambda use_regex: pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=use_regex)
    if read("pre") == "smollm":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(True)])
    else:
        split = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), byte_level(False)])
    special = [tokenizers.AddedToken(word, special=kind == 3, normalized=False) for word, kind in zip(words, types) if kind in (3, 4)]
    tokenizer.add_special_tokens([token for token in special if token.special])
    tokenizer.add_tokens([token for token in special if not token.special])
    return tokenizer


def huggingface(models):
    """Compares ids with control tokens parsed, which is the only way the library has."""
    import unicodedata

    from llama_cpp import Model

    texts = lines()
    for name in REAL_MODELS + ["qwen2.5-coder-1.5b-instruct"]:
        path = model_file(models, name)
        tokenizer, model = huggingface_tokenizer(path), Model(path, vocab_only=True)
        different = [text for text in texts if tokenizer.encode(text, add_special_tokens=False).ids != model.tokenize(text, parse_special=True)]
        normalised = [text for text in different if unicodedata.normalize("NFC", text) != text]
        # In Qwen's vocabulary this is an ordinary token; llama.cpp makes an end token of it by its name.
        named = [text for text in different if "</s>" in text and text not in normalised]
        rest = [text for text in different if text not in normalised and text not in named]
        print(f"{name}: {len(texts) - len(different)} of {len(texts)} equal; {len(normalised)} differ by NFC, {len(named)} by </s>, {len(rest)} otherwise")
        for text in rest[:20]:
            print("   ", ascii(text))
        model.close()


def main():
    if sys.argv[1:2] == ["vocabularies"]:
        vocabularies.train()
    elif sys.argv[1:2] == ["tokens"] and len(sys.argv) == 6:
        tokens(*map(Path, sys.argv[2:]))
    elif sys.argv[1:2] == ["huggingface"] and len(sys.argv) == 3:
        huggingface(Path(sys.argv[2]))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
