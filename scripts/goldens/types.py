#!/usr/bin/env python3
"""Writes the goldens of weight types: inference/tests/golden/types-*.json.

    pip install gguf==0.19.0 numpy xllamacpp==2026.10.11549
    scripts/goldens/types.py blocks           # values of random blocks, by the gguf package
    scripts/goldens/types.py greedy DIR       # 64 greedy tokens of a model of each type, by llama.cpp
    scripts/goldens/types.py perplexity MODELS DIR    # of what our quantizer made of SmolLM2, by llama.cpp (minutes)
    scripts/goldens/types.py quantize         # hashes of blocks of each type that ggml's quantizer makes

DIR holds the models that this writes (they are made from a seed and not committed):

    CLOISTER_GOLDEN_MODELS=DIR CLOISTER_TEST_MODELS=... cargo test --release -p inference -- --ignored writes_the_models_of_the_goldens
"""

import ctypes
import json
import sys
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parents[2] / "inference/tests/golden"
WEIGHTS = 16384
# Offsets of the floats in a block, whose top exponent bit is cleared so that none is infinite or NaN. (The exponent of
# MXFP4 loses a bit for the same reason.)
FLOATS = {
    "F32": [2], "F16": [0], "BF16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [],
}
PROMPT = [40, 71, 100, 3, 258, 17, 90, 12]
GREEDY_TOKENS = 64


def splitmix64(seed, count):
    """`count` bytes of the generator splitmix64, which is as short in any other language."""
    with np.errstate(over="ignore"):
        state = np.uint64(seed) + np.arange(1, -(-count // 8) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return state.view(np.uint8)[:count].copy()


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in bytes(data):
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def write(name, value):
    text = json.dumps(value, separators=(",", ":")).replace('},"', '},\n"')
    (GOLDEN / name).write_text(text + "\n")
    print(f"{name}: {len(text)} bytes")


def blocks():
    import gguf

    types = {}
    for name, offsets in FLOATS.items():
        kind = gguf.GGMLQuantizationType[name]
        block_weights, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        data = splitmix64(kind, WEIGHTS // block_weights * block_bytes).reshape(-1, block_bytes)
        for offset in offsets:
            data[:, offset + 1] &= 0xBF
        if name == "MXFP4":
            data[:, 0] &= 0xF7
        values = gguf.quants.dequantize(data.reshape(-1), kind).astype(np.float32)
        assert values.size == WEIGHTS and np.isfinite(values).all(), name
        types[name] = {"hash": fnv1a(values.tobytes()), "first": [float(value) for value in values[:4]]}
    from importlib.metadata import version

    write("types-blocks.json", {"made_by": f"gguf {version('gguf')}", "weights": WEIGHTS, "types": types})


def greedy(folder):
    import llama_cpp

    types = {}
    for name in FLOATS:
        run, ids, rows = {"tokens": [], "gaps": []}, list(PROMPT), []
        model = llama_cpp.Model(folder / f"{name}.gguf", n_ctx=256)
        # Token by token: with several at once llama.cpp sums in another order.
        while len(run["tokens"]) < GREEDY_TOKENS:
            rows.append(model.decode([ids[len(rows)]], len(rows)))
            if len(rows) == len(ids):
                second, first = np.argsort(rows[-1])[-2:]
                run["tokens"].append(int(first))
                run["gaps"].append(round(float(rows[-1][first] - rows[-1][second]), 5))
                ids.append(int(first))
        model.close()
        model = llama_cpp.Model(folder / f"{name}.gguf", n_ctx=256, cache_type=llama_cpp.GGML_TYPE_F16)
        other = [model.decode([token], position) for position, token in enumerate(ids[:-1])]
        model.close()
        run["noise"] = round(float(np.sqrt(((np.array(rows) - np.array(other)) ** 2)[len(PROMPT) - 1:].mean())), 5)
        types[name] = run
        print(name, run["tokens"][:12], min(run["gaps"]), run["noise"])
    write("types-greedy.json", {"made_by": f"llama.cpp, xllamacpp {llama_cpp.VERSION}", "prompt": PROMPT, "types": types})


# Types that our quantizer writes.
QUANTIZED = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]


def weights_to_quantize():
    """Products of two uniform numbers in f32: many small, few large, as in real matrices."""
    words = splitmix64(4, 8 * WEIGHTS).view("<u4")
    uniform = (words >> 8).astype(np.float32) / np.float32(8388608) - np.float32(1)
    weights = uniform[:WEIGHTS] * uniform[WEIGHTS:]
    # A block of zeros, and one of a single value.
    weights[:256] = 0
    weights[256:512] = np.float32(0.375)
    return weights


def quantize_chunk(kind, weights):
    """Blocks by ggml's quantizer, without an importance matrix."""
    import gguf
    import llama_cpp

    block_weights, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
    lib, int64, pointer = llama_cpp._library(), ctypes.c_int64, ctypes.c_void_p
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, int64, int64, int64, pointer]
    weights = np.ascontiguousarray(weights, dtype=np.float32)
    data = np.zeros(weights.size // block_weights * block_bytes, dtype=np.uint8)
    written = lib.ggml_quantize_chunk(kind, weights.ctypes.data, data.ctypes.data, 0, weights.size // 256, 256, None)
    assert written == data.size, written
    return data


def quantize():
    import gguf
    import llama_cpp

    weights = weights_to_quantize()
    types = {name: fnv1a(quantize_chunk(gguf.GGMLQuantizationType[name], weights)) for name in QUANTIZED}
    write("types-quantize.json", {"made_by": f"llama.cpp, xllamacpp {llama_cpp.VERSION}", "weights": WEIGHTS, "types": types})


def perplexity(models, folder):
    """Of our quantizer's files, on a short text; with the original on one long enough to tell 0.3 % from noise."""
    import llama_cpp
    import make

    files = sorted(folder.glob("smollm2-*.gguf"))
    texts = {}
    for text, paths in [("prose.txt", files), ("verse.txt", [*files, make.model_file(models, "smollm2-135m-instruct")])]:
        texts[text] = {}
        for path in paths:
            texts[text][path.stem] = make.perplexity_of(path, text)
            print(text, path.stem, texts[text][path.stem], flush=True)
    write("types-perplexity.json", {"made_by": f"llama.cpp, xllamacpp {llama_cpp.VERSION}", "window": make.WINDOW, "texts": texts})


def main():
    match sys.argv[1:]:
        case ["blocks"]:
            blocks()
        case ["greedy", folder]:
            greedy(Path(folder))
        case ["perplexity", models, folder]:
            perplexity(Path(models), Path(folder))
        case ["quantize"]:
            quantize()
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
