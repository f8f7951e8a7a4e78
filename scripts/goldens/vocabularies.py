"""Vocabularies for tokenizer goldens: small ones trained here and committed, and real ones converted from packages.

`train()` writes vocabulary-bpe.json and vocabulary-spm.json from the committed texts. The byte-level one is trained without
any pre-tokenizer, so that its merges cross every border that a pre-tokenizer might draw: a wrong split shows as wrong ids.
`small(folder)` and `real(folder)` write vocab-only GGUF files, which llama.cpp and the tests read.
"""

import base64
import collections
import io
import json
import zipfile
from pathlib import Path

from text_lines import GOLDEN, fragments

NUM_MERGES = 1200
SPM_PIECES = 1000
# Tokens that no merge makes: only where `ignore_merges` holds do they appear.
WHOLE_WORDS = [" fox", "HTTPServer", " quick", "Case", "मस्ते", "42", "123", "();", " ===", "isn"]
SPECIAL = [
    ("<|im_start|>", 3), ("<|im_end|>", 3), ("<|endoftext|>", 3), ("<think>", 4), ("</think>", 4), ("<tool_call>", 4), ("[PAD]", 5),
    ("<unk>", 2), ("<|fim_prefix|>", 1), ("   \t", 4), ("<|im", 3),
]
SPM_USER_DEFINED = ["<think>", "[INST]", "\n\n"]
SPM_CONTROL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|end|>"]
TEKKEN_SPECIAL = [
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]",
    "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]",
]
# One name for each split that pre_tokenizer.rs knows.
PRE_NAMES = [
    "gpt-2", "smollm", "qwen2", "qwen35", "llama-bpe", "dbrx", "glm4", "tekken", "gpt-4o", "deepseek-llm", "deepseek-coder",
    "deepseek-v3", "falcon", "bloom", "viking", "seed-coder", "minicpm5", "ufakzeka", "laguna", "bailingmoe", "default",
]


def byte_alphabet():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def corpus():
    prose = (GOLDEN.parent / "prose.txt").read_text()
    return prose + "\n".join(fragments()) + "\n" + prose[:2000].upper() + " 123 1234 12345 2024-07-26 ".join(fragments()[:80])


def train_bpe():
    ids = list(corpus().encode())
    spelled = {byte: bytes([byte]) for byte in range(256)}
    merges = []
    while len(merges) < NUM_MERGES:
        pairs = collections.Counter(zip(ids, ids[1:]))
        # Ties go to the pair that is spelled first, so that the result does not depend on the order of a dictionary.
        (left, right), count = max(pairs.items(), key=lambda item: (item[1], -len(spelled[item[0][0]] + spelled[item[0][1]]), spelled[item[0][0]], spelled[item[0][1]]))
        if count < 2:
            break
        merged = spelled[left] + spelled[right]
        known = [token for token, text in spelled.items() if text == merged]
        new = known[0] if known else len(spelled)
        spelled[new] = merged
        merges.append((left, right))
        joined, index = [], 0
        while index < len(ids):
            if index + 1 < len(ids) and (ids[index], ids[index + 1]) == (left, right):
                joined.append(new)
                index += 2
            else:
                joined.append(ids[index])
                index += 1
        ids = joined
    alphabet = byte_alphabet()
    spell = lambda data: "".join(alphabet[byte] for byte in data)
    tokens = [spell(text) for _, text in sorted(spelled.items())]
    tokens += [word for word in (spell(text.encode()) for text in WHOLE_WORDS) if word not in tokens]
    types = [1] * len(tokens) + [kind for _, kind in SPECIAL]
    tokens += [text for text, _ in SPECIAL]
    return {"tokens": tokens, "types": types, "merges": [f"{spell(spelled[left])} {spell(spelled[right])}" for left, right in merges]}


def train_spm():
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for line in corpus().split("\n") if line.strip()), model_writer=model, vocab_size=SPM_PIECES, model_type="bpe", byte_fallback=True,
        character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False, user_defined_symbols=SPM_USER_DEFINED,
        control_symbols=SPM_CONTROL, split_digits=True, allow_whitespace_only_pieces=True, num_threads=1, minloglevel=2,
    )
    return spm_pieces(model.getvalue())


def spm_pieces(data):
    """SentencePiece's types are those of ggml."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(data)
    tokens, scores, types = [], [], []
    for piece in model.pieces:
        text = piece.piece.replace("▁", " ") if piece.type == 4 else piece.piece
        tokens.append(text)
        scores.append(piece.score)
        types.append(piece.type)
    return {"tokens": tokens, "scores": scores, "types": types}


def train():
    for name, value in [("bpe", train_bpe()), ("spm", train_spm())]:
        (GOLDEN / f"vocabulary-{name}.json").write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")
        print(name, len(value["tokens"]), "tokens")


def write_gguf(path, vocabulary, model, pre=None, name="vocabulary", **keys):
    import gguf

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name(name)
    writer.add_vocab_size(len(vocabulary["tokens"]))
    for add in [writer.add_context_length, writer.add_embedding_length, writer.add_block_count, writer.add_head_count, writer.add_feed_forward_length]:
        add(32)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(model)
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(vocabulary["tokens"])
    writer.add_token_types(vocabulary["types"])
    if "scores" in vocabulary:
        writer.add_token_scores(vocabulary["scores"])
    if "merges" in vocabulary:
        writer.add_token_merges(vocabulary["merges"])
    for key, value in keys.items():
        (writer.add_bool if isinstance(value, bool) else writer.add_uint32)(f"tokenizer.ggml.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def small(folder):
    """Returns the names and files of the committed vocabularies, one for each way they are used."""
    folder.mkdir(parents=True, exist_ok=True)
    bpe, spm = (json.loads((GOLDEN / f"vocabulary-{name}.json").read_text()) for name in ("bpe", "spm"))
    start, end = bpe["tokens"].index("<|im_start|>"), bpe["tokens"].index("<|im_end|>")
    files = {}
    for pre in PRE_NAMES:
        files[f"bpe-{pre}"] = folder / f"bpe-{pre}.gguf"
        write_gguf(files[f"bpe-{pre}"], bpe, "gpt2", pre, bos_token_id=start, eos_token_id=end)
    for name, keys in [("spm", {}), ("spm-no-prefix", {"add_space_prefix": False, "add_bos_token": False, "add_eos_token": True})]:
        files[name] = folder / f"{name}.gguf"
        write_gguf(files[name], spm, "llama", **keys)
    files["spm-phi-3"] = folder / "spm-phi-3.gguf"
    write_gguf(files["spm-phi-3"], spm, "llama", name="Phi-3 like")
    return files


def tiktoken_merges(ranks):
    """Merges of a vocabulary that gives only ranks: each token's last merge is how lower ranks split it in two."""
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [bytes([byte]) for byte in token]
        while len(parts) > 2:
            options = [(ranks.get(parts[i] + parts[i + 1], rank), i) for i in range(len(parts) - 1)]
            best, index = min(options)
            if best >= rank:
                break
            parts[index : index + 2] = [parts[index] + parts[index + 1]]
        if len(parts) == 2:
            merges.append(tuple(parts))
    return merges


def ranked(ranks, special, first):
    """A byte-level vocabulary from ranks; `special` is put at ids from `first`."""
    alphabet = byte_alphabet()
    spell = lambda data: "".join(alphabet[byte] for byte in data)
    ordered = [spell(token) for token, _ in sorted(ranks.items(), key=lambda item: item[1])]
    tokens = special + ordered if first == 0 else ordered + special
    types = [3] * len(special) + [1] * len(ordered) if first == 0 else [1] * len(ordered) + [3] * len(special)
    return {"tokens": tokens, "types": types, "merges": [f"{spell(left)} {spell(right)}" for left, right in tiktoken_merges(ranks)]}


def real(folder, wheels, llama_cpp_source):
    """Returns the names and files of real vocabularies: those that llama.cpp's sources carry, Mistral's from the wheel of
    mistral-common 1.13.1 and Llama's from that of llama-models 0.3.0. None of them is committed."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name in ["llama-bpe", "command-r", "deepseek-coder", "deepseek-llm", "falcon", "gpt-2", "mpt", "starcoder", "refact", "llama-spm", "phi-3", "baichuan", "qwen35"]:
        source = llama_cpp_source / f"models/ggml-vocab-{name}.gguf"
        files[name] = folder / f"{name}.gguf"
        if not files[name].exists():
            files[name].write_bytes(source.read_bytes())
    mistral = zipfile.ZipFile(next(wheels.glob("mistral_common-*.whl")))
    for name, entry in [("mistral-v1", "tokenizer.model.v1"), ("mistral-v3", "mistral_instruct_tokenizer_240323.model.v3")]:
        files[name] = folder / f"{name}.gguf"
        if not files[name].exists():
            write_gguf(files[name], spm_pieces(mistral.read(f"mistral_common/data/{entry}")), "llama")
    files["tekken"] = folder / "tekken.gguf"
    if not files["tekken"].exists():
        data = json.loads(mistral.read("mistral_common/data/tekken_240911.json"))
        config = data["config"]
        special = TEKKEN_SPECIAL[:]
        special += [f"<SPECIAL_{i}>" for i in range(len(special), config["default_num_special_tokens"])]
        words = data["vocab"][: config["default_vocab_size"] - len(special)]
        ranks = {base64.b64decode(word["token_bytes"]): word["rank"] for word in words}
        write_gguf(files["tekken"], ranked(ranks, special, 0), "gpt2", "tekken", bos_token_id=1, eos_token_id=2)
    files["llama4"] = folder / "llama4.gguf"
    if not files["llama4"].exists():
        wheel = zipfile.ZipFile(next(wheels.glob("llama_models-*.whl")))
        lines = wheel.read("llama_models/llama4/tokenizer.model").decode().split("\n")
        ranks = {base64.b64decode(word): int(rank) for word, rank in (line.split() for line in lines if line)}
        special = ["<|begin_of_text|>", "<|end_of_text|>", "<|fim_prefix|>", "<|eot|>", "<|header_start|>"]
        write_gguf(files["llama4"], ranked(ranks, special, len(ranks)), "gpt2", "llama4", bos_token_id=len(ranks), eos_token_id=len(ranks) + 1, add_bos_token=True)
    return files
