#!/usr/bin/env python3
"""Writes inference/tests/golden/greedy-synthetic.json: greedy tokens of llama.cpp for synthetic models.

    pip install xllamacpp==2026.10.11549 numpy
    cargo run --release -p inference --example synthetic-models -- FOLDER
    scripts/goldens/synthetic_greedy.py FOLDER

Left out are the models that llama.cpp runs otherwise or not at all: it ignores the sliding window of `llama` files and
no longer reads a tensor an expert. Takes seconds.
"""

import json
import sys
from pathlib import Path

import numpy as np

import llama_cpp
from synthetic import fnv1a, tokens

GOLDEN = Path(__file__).resolve().parents[2] / "inference/tests/golden/greedy-synthetic.json"
LEFT_OUT = {"mistral", "mixtral-split"}
PROMPT_TOKENS = 20
GREEDY_TOKENS = 64
# What the engine's longest prompt plus answer is; Phi-3 chooses its factors by it.
CONTEXT = 512


def greedy(model):
    """End tokens are tokens like any other here."""
    run = {"tokens": [], "gaps": []}
    logits, position = model.decode(tokens(PROMPT_TOKENS), 0), PROMPT_TOKENS
    while len(run["tokens"]) < GREEDY_TOKENS:
        second, first = np.argsort(logits)[-2:]
        run["tokens"].append(int(first))
        run["gaps"].append(round(float(logits[first] - logits[second]), 5))
        logits, position = model.decode([int(first)], position), position + 1
    return run


def noise(path, run):
    """How far llama.cpp is from itself along the text (root mean square of logits): keys and values in f16, its default,
    against f32. Where activations are rounded to 8 bits at every product, a change of a last bit spreads that far."""
    ids = tokens(PROMPT_TOKENS) + run["tokens"]
    logits = []
    for cache_type in (llama_cpp.GGML_TYPE_F32, llama_cpp.GGML_TYPE_F16):
        model = llama_cpp.Model(path, n_ctx=CONTEXT, cache_type=cache_type)
        logits.append(model.decode(ids, 0, all_logits=True))
        model.close()
    return round(float(np.sqrt(((logits[0] - logits[1]) ** 2).mean())), 5)


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    models = {}
    for path in sorted(Path(sys.argv[1]).glob("*.gguf")):
        if path.stem in LEFT_OUT:
            continue
        model = llama_cpp.Model(path, n_ctx=CONTEXT)
        run = greedy(model)
        model.close()
        models[path.stem] = {"file": fnv1a(path.read_bytes()), "noise": noise(path, run), **run}
        print(path.stem, len(set(models[path.stem]["tokens"])), "different tokens, noise", models[path.stem]["noise"])
    made_by = f"llama.cpp, xllamacpp {llama_cpp.VERSION}"
    header = {"made_by": made_by, "prompt_tokens": PROMPT_TOKENS}
    text = json.dumps({**header, "models": models}, separators=(",", ":"))
    GOLDEN.write_text(text.replace('},"', '},\n"') + "\n")
    print(f"{GOLDEN.name}: {len(text)} bytes")


if __name__ == "__main__":
    main()
