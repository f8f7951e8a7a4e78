#!/usr/bin/env python3
"""Writes the goldens of weight types: inference/tests/golden/types-*.json.

    pip install gguf==0.19.0 numpy xllamacpp==2026.10.11549
    scripts/goldens/types.py blocks           # values of random blocks, by the gguf package
    scripts/goldens/types.py greedy DIR       # 64 greedy tokens of a model of each type, by llama.cpp
    scripts/goldens/types.py exact DIR        # the same with the weights written out as F32; after `greedy`
    scripts/goldens/types.py perplexity DIR   # of what our quantizer made of SmolLM2, by llama.cpp (minutes)
    scripts/goldens/types.py quantize         # hashes of blocks of each type that ggml's quantizer makes
    scripts/goldens/types.py files MODELS LIBRARIES   # hashes of the files that llama.cpp's quantizer makes of SmolLM2

LIBRARIES holds libllama and libggml, which xllamacpp has, but without the quantizer of whole files; the npm package
@node-llama-cpp/linux-x64 3.22.1 has it (`npm pack` it; they are in package/bins/linux-x64; llama.cpp v0.5.0).

DIR holds the models that this writes (they are made from a seed and not committed):

    CLOISTER_GOLDEN_MODELS=DIR CLOISTER_TEST_MODELS=... cargo test --release -p inference -- --ignored writes_the_models_of_the_goldens
"""

import ctypes
import json
import sys
import tempfile
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


def greedy_run(path):
    """Greedy tokens and the gaps of their logits, and the logits from the last of the prompt on."""
    import llama_cpp

    run, ids, rows = {"tokens": [], "gaps": []}, list(PROMPT), []
    model = llama_cpp.Model(path, n_ctx=256)
    # Token by token: with several at once llama.cpp sums in another order.
    while len(run["tokens"]) < GREEDY_TOKENS:
        rows.append(model.decode([ids[len(rows)]], len(rows)))
        if len(rows) == len(ids):
            second, first = np.argsort(rows[-1])[-2:]
            run["tokens"].append(int(first))
            run["gaps"].append(round(float(rows[-1][first] - rows[-1][second]), 5))
            ids.append(int(first))
    model.close()
    return run, np.array(rows[len(PROMPT) - 1:])


def logits_of(path, tokens, cache_type):
    """Logits of the prompt and `tokens`, at the positions whose tokens they predict."""
    import llama_cpp

    model = llama_cpp.Model(path, n_ctx=256, cache_type=cache_type)
    rows = [model.decode([token], position) for position, token in enumerate([*PROMPT, *tokens[:-1]])]
    model.close()
    return np.array(rows[len(PROMPT) - 1:])


def rms(difference):
    return round(float(np.sqrt((difference ** 2).mean())), 5)


def greedy(folder):
    import llama_cpp

    types = {}
    for name in FLOATS:
        path = folder / f"{name}.gguf"
        run, logits = greedy_run(path)
        run["noise"] = rms(logits - logits_of(path, run["tokens"], llama_cpp.GGML_TYPE_F16))
        types[name] = run
        print(name, run["tokens"][:12], min(run["gaps"]), run["noise"])
    write("types-greedy.json", {"made_by": f"llama.cpp, xllamacpp {llama_cpp.VERSION}", "prompt": PROMPT, "types": types})


def exact(folder):
    """Greedy text of the dequantized weights, where neither program rounds anything, and what rounding does to the logits.

    Along the text of the quantized model: `rounding`, how far its logits are from those of the same weights in f32, and
    `exact_gaps`, how far the f32 model's two best are apart there.
    """
    import llama_cpp
    import make

    quantized = json.loads((GOLDEN / "types-greedy.json").read_text())["types"]
    types = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in FLOATS:
            path = Path(temporary) / f"{name}.gguf"
            make.dequantized(folder / f"{name}.gguf", path)
            run, _ = greedy_run(path)
            text = quantized[name]["tokens"]
            rounded = logits_of(folder / f"{name}.gguf", text, llama_cpp.GGML_TYPE_F32)
            plain = logits_of(path, text, llama_cpp.GGML_TYPE_F32)
            best = np.sort(plain, axis=1)
            run["rounding"] = rms(rounded - plain)
            run["exact_gaps"] = [round(float(gap), 5) for gap in best[:, -1] - best[:, -2]]
            types[name] = run
            print(name, run["tokens"][:12], min(run["gaps"]), run["rounding"], flush=True)
    write("types-exact.json", {"made_by": f"llama.cpp, xllamacpp {llama_cpp.VERSION}", "prompt": PROMPT, "types": types})


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


def perplexity(folder):
    """Of our quantizer's files, on the text that is long enough to tell 0.3 % from noise."""
    import make

    for path in sorted(folder.glob("smollm2-*.gguf")):
        make.merge_perplexity("verse.txt", path.stem, make.perplexity_of(path, "verse.txt"))


# Values of llama.cpp's `llama_ftype`.
RECIPES = {"Q8_0": 7, "Q4_0": 2, "Q4_K_M": 15, "Q5_K_M": 17}


def quantizer(libraries):
    """llama.cpp's quantizer: a function of two paths and a recipe."""

    class Params(ctypes.Structure):
        _fields_ = [("threads", ctypes.c_int32), ("ftype", ctypes.c_int32), ("rest", ctypes.c_ubyte * 248)]

    for pattern in ["libggml-base*.so", "libggml.*so"]:
        ctypes.CDLL(str(next(libraries.glob(pattern))), ctypes.RTLD_GLOBAL)
    lib = ctypes.CDLL(str(next(libraries.glob("libllama.*so"))))
    lib.llama_model_quantize_default_params.restype = Params
    lib.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]

    def run(source, target, recipe):
        params = lib.llama_model_quantize_default_params()
        assert params.ftype == RECIPES["Q8_0"], "the default was Q8_0; this is another version"
        params.ftype = RECIPES[recipe]
        assert lib.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)) == 0

    return run


def files(models, libraries):
    """Of each recipe and kind of matrix, a hash of the types and blocks of all layers in order."""
    import gguf
    import make

    run, recipes = quantizer(libraries), {}
    with tempfile.TemporaryDirectory() as temporary:
        plain, target = Path(temporary) / "plain.gguf", Path(temporary) / "quantized.gguf"
        make.dequantized(make.model_file(models, "smollm2-135m-instruct"), plain)
        for recipe in RECIPES:
            run(plain, target, recipe)
            kinds = {}
            for tensor in gguf.GGUFReader(target).tensors:
                parts = tensor.name.split(".")
                layer = int(parts[1]) if parts[0] == "blk" else 0
                kinds.setdefault(parts[-2], []).append((layer, bytes([tensor.tensor_type]) + tensor.data.tobytes()))
            recipes[recipe] = {kind: fnv1a(b"".join(data for _, data in sorted(rows))) for kind, rows in sorted(kinds.items())}
            print(recipe, recipes[recipe], flush=True)
    write("types-files.json", {"made_by": "llama.cpp v0.5.0, @node-llama-cpp/linux-x64 3.22.1", "recipes": recipes})


def main():
    match sys.argv[1:]:
        case ["blocks"]:
            blocks()
        case ["greedy", folder]:
            greedy(Path(folder))
        case ["exact", folder]:
            exact(Path(folder))
        case ["perplexity", folder]:
            perplexity(Path(folder))
        case ["files", models, libraries]:
            files(Path(models), Path(libraries))
        case ["quantize"]:
            quantize()
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
