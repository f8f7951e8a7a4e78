#!/usr/bin/env python3
"""Writes the golden files of inference/tests/golden.

    pip install xllamacpp==2026.10.11549 numpy        # tokens, greedy, perplexity
    pip install sentence-transformers==3.3.1 torch==2.4.1 transformers==4.46.3 "numpy<2"    # embeddings (CPU)
    scripts/goldens/make.py MODELS_DIR tokens|greedy|exact|perplexity|noise|embeddings [MODEL...]

MODELS_DIR is a models directory of Cloister. `tokens` takes seconds, `greedy`, `perplexity` and `noise` a few
minutes for the largest model (`perplexity` ten), `exact` a quarter of an hour and 7 GB of temporary space, `embeddings` half a minute.
Every file names the program and version that made it. `exact` needs the package gguf as well.
"""

import base64
import json
import math
import sys
import tempfile
from pathlib import Path

import numpy as np

import cases

GOLDEN = Path(__file__).resolve().parents[2] / "inference/tests/golden"
GREEDY_TOKENS = 64
WINDOW = 512
CODEPOINT_BLOCK = 0x1000


def write(name, value):
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    # One line an entry of the outer lists keeps differences readable.
    (GOLDEN / name).write_text(text.replace('],[[', '],\n[[').replace('},{', '},\n{').replace('"],["', '"],\n["') + "\n")
    print(f"{name}: {len(text)} bytes")


def model_file(models, name):
    files = sorted((models / name).glob("*.gguf"))
    if len(files) != 1:
        raise SystemExit(f"{models / name}: expected one GGUF file, found {len(files)}")
    return files[0]


def made_by_llama_cpp():
    import llama_cpp

    return f"llama.cpp, xllamacpp {llama_cpp.VERSION}"


def codepoint_text(block):
    """All characters of a block among letters, spaces and digits, so that their class decides the splits."""
    characters = (chr(c) for c in range(block, block + CODEPOINT_BLOCK) if not 0xD800 <= c < 0xE000)
    return "".join(f"a{c}b {c}{c}1{c} \n{c}\n" for c in characters)


def fnv1a(ids):
    value = 0xCBF29CE484222325
    for token in ids:
        for byte in token.to_bytes(4, "little"):
            value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def tokens(models, names):
    from llama_cpp import Model

    for name in names:
        model = Model(model_file(models, name), vocab_only=True)
        prose = (GOLDEN / "prose.txt").read_text()
        blocks = [fnv1a(model.tokenize(codepoint_text(block))) for block in range(0, 0x110000, CODEPOINT_BLOCK)]
        write(f"tokens-{name}.json", {
            "made_by": made_by_llama_cpp(),
            "cases": [{"text": text, "plain": model.tokenize(text), "special": model.tokenize(text, parse_special=True)} for text in cases.TORTURE],
            "prose": fnv1a(model.tokenize(prose)),
            "prose_with_bos": fnv1a(model.tokenize(prose, add_special=True)),
            "codepoint_blocks": blocks,
            "end_tokens": [token for token in range(model.n_vocab) if model.is_eog(token)],
        })
        model.close()


def chat_prompt(question):
    """ChatML with the system prompt given, which is what the templates of all three models write."""
    turns = [("system", cases.SYSTEM), ("user", question)]
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns) + "<|im_start|>assistant\n"


def greedy_run(model, prompt):
    ids = model.tokenize(prompt, parse_special=True)
    run = {"tokens": [], "seconds": [], "gaps": []}
    model.clear()
    logits, position = model.decode(ids, 0), len(ids)
    while len(run["tokens"]) < GREEDY_TOKENS:
        second, first = np.argsort(logits)[-2:]
        run["tokens"].append(int(first))
        run["seconds"].append(int(second))
        run["gaps"].append(round(float(logits[first] - logits[second]), 4))
        if model.is_eog(int(first)):
            break
        logits, position = model.decode([int(first)], position), position + 1
    return {"prompt_tokens": len(ids), **run}


def dequantized(path, out):
    """Writes the file again with every weight as the f32 number that its quantized form stands for."""
    import gguf

    reader = gguf.GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(out, architecture)
    for field in reader.fields.values():
        if field.name == "general.architecture" or field.name.startswith("GGUF."):
            continue
        item = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=item)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def exact(models, names):
    """Greedy text of the dequantized weights: nothing rounds activations, so two correct programs agree closely."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(folder) / f"{name}.gguf"
            dequantized(model_file(models, name), path)
            greedy_of(path, f"exact-{name}.json")
            path.unlink()


def greedy(models, names):
    for name in names:
        greedy_of(model_file(models, name), f"greedy-{name}.json")


def greedy_of(path, golden):
    from llama_cpp import Model

    model = Model(path)
    runs = [{"question": question, **greedy_run(model, chat_prompt(question))} for question in cases.QUESTIONS]
    runs += [{"completion": text, **greedy_run(model, text)} for text in cases.COMPLETIONS]
    write(golden, {"made_by": made_by_llama_cpp(), "system": cases.SYSTEM, "runs": runs})
    model.close()


def perplexity_of(path, text):
    """Perplexity as llama-perplexity counts it: the second half of each window of WINDOW tokens."""
    from llama_cpp import Model

    model = Model(path)
    ids = model.tokenize((GOLDEN / text).read_text(), add_special=True)
    adds_bos, bos = model.lib.llama_vocab_get_add_bos(model.vocab), model.lib.llama_vocab_bos(model.vocab)
    total, count = 0.0, 0
    for start in range(0, len(ids) // WINDOW * WINDOW, WINDOW):
        window = ids[start:start + WINDOW]
        inputs = [bos, *window[1:]] if adds_bos else window
        model.clear()
        logits = model.decode(inputs, 0, all_logits=True).astype(np.float64)
        for position in range(WINDOW // 2, WINDOW - 1):
            row = logits[position]
            largest = row.max()
            total += largest + math.log(np.exp(row - largest).sum()) - row[window[position + 1]]
            count += 1
    model.close()
    return {"perplexity": round(math.exp(total / count), 6), "tokens": count, "text_tokens": len(ids)}


def perplexity(models, names):
    for name in names:
        merge_perplexity("verse.txt", name, perplexity_of(model_file(models, name), "verse.txt"))


def merge_perplexity(text, name, result):
    """Writes a perplexity beside those of other texts and files."""
    print(text, name, result, flush=True)
    path = GOLDEN / "perplexity.json"
    texts = json.loads(path.read_text())["texts"] if path.exists() else {}
    texts.setdefault(text, {})[name] = result
    write(path.name, {"made_by": made_by_llama_cpp(), "window": WINDOW, "texts": texts})


def noise(models, names):
    """How far llama.cpp is from itself: keys and values in f16, its default, against f32, over one window.

    Activations are rounded to 8 bits at every product, so any change of the last bit of a sum spreads
    through the layers. Two correct programs differ by about this much; no tolerance can be smaller.
    """
    from llama_cpp import GGML_TYPE_F16, GGML_TYPE_F32, Model

    results = {}
    for name in names:
        logits = {}
        for cache_type in (GGML_TYPE_F32, GGML_TYPE_F16):
            model = Model(model_file(models, name), cache_type=cache_type)
            ids = model.tokenize((GOLDEN / "prose.txt").read_text(), add_special=True)[:WINDOW]
            logits[cache_type] = model.decode(ids, 0, all_logits=True)[WINDOW // 2:]
            model.close()
        f32, f16 = logits[GGML_TYPE_F32], logits[GGML_TYPE_F16]
        results[name] = {
            "logit_rms": round(float(np.sqrt(((f32 - f16) ** 2).mean())), 4),
            "positions": len(f32),
            "other_greedy_tokens": int((f32.argmax(1) != f16.argmax(1)).sum()),
        }
        print(name, results[name])
    merge_models("noise.json", {}, results)


def merge_models(name, header, results):
    """Writes `results` beside those of the models that were not run now."""
    path = GOLDEN / name
    known = json.loads(path.read_text())["models"] if path.exists() else {}
    write(name, {"made_by": made_by_llama_cpp(), **header, "models": {**known, **results}})


def embeddings(models, _names):
    import sentence_transformers
    import torch

    torch.set_num_threads(2)
    model = sentence_transformers.SentenceTransformer(str(models / "all-minilm-l6-v2"), device="cpu")
    prose = (GOLDEN / "prose.txt").read_text()
    texts = cases.EMBED_TEXTS + [prose[start:start + length] for start, length in cases.EMBED_PROSE]
    values = model.encode(texts, normalize_embeddings=True, convert_to_numpy=True).astype(np.float32)
    write("embeddings.json", {
        "made_by": f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}",
        "texts": cases.EMBED_TEXTS,
        "prose": cases.EMBED_PROSE,
        "dim": values.shape[1],
        "f16_base64": base64.b64encode(values.astype("<f2").tobytes()).decode(),
    })


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    models, what = Path(sys.argv[1]), sys.argv[2]
    names = sys.argv[3:] or ["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct"]
    {"tokens": tokens, "greedy": greedy, "exact": exact, "perplexity": perplexity, "noise": noise, "embeddings": embeddings}[what](models, names)


if __name__ == "__main__":
    main()
