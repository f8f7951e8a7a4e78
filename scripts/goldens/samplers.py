#!/usr/bin/env python3
"""Writes inference/tests/golden/samplers.json: what llama.cpp's samplers keep of random logits, one by one and in a chain.

    pip install xllamacpp==2026.10.11549 numpy
    scripts/goldens/samplers.py MODEL.gguf

The model lends its vocabulary to DRY's sequence breakers (made with SmolLM2-135M); no weights are loaded. Logits have
four decimals so that the file holds exactly what llama.cpp saw.
"""

import ctypes
import sys

import llama_cpp
import make
import numpy as np

NUM_TOKENS = 96
FIRST_TEXT = 17  # SmolLM2's control tokens come first; they have no text here.
CASES = 40
BREAKERS = ["\n", ":", "\"", "*"]

i32, u32, f32, size, pointer = ctypes.c_int32, ctypes.c_uint32, ctypes.c_float, ctypes.c_size_t, ctypes.c_void_p


class Candidate(ctypes.Structure):
    _fields_ = [("id", i32), ("logit", f32), ("p", f32)]


class Candidates(ctypes.Structure):
    _fields_ = [("data", ctypes.POINTER(Candidate)), ("size", size), ("selected", ctypes.c_int64), ("sorted", ctypes.c_bool)]


def prepare(lib):
    for name, arguments in {
        "top_n_sigma": [f32], "top_k": [i32], "typical": [f32, size], "top_p": [f32, size], "min_p": [f32, size],
        "xtc": [f32, f32, size, u32], "temp": [f32], "mirostat_v2": [u32, f32, f32],
        "penalties": [i32, i32, f32, f32, f32],
        "dry": [pointer, f32, f32, i32, i32, ctypes.POINTER(ctypes.c_char_p), size],
    }.items():
        function = getattr(lib, f"llama_sampler_init_{name}")
        function.restype, function.argtypes = pointer, arguments
    lib.llama_sampler_apply.restype, lib.llama_sampler_apply.argtypes = None, [pointer, ctypes.POINTER(Candidates)]
    lib.llama_sampler_accept.restype, lib.llama_sampler_accept.argtypes = None, [pointer, i32]
    lib.llama_sampler_free.restype, lib.llama_sampler_free.argtypes = None, [pointer]
    lib.llama_token_to_piece.restype = i32
    lib.llama_token_to_piece.argtypes = [pointer, i32, ctypes.c_char_p, i32, i32, ctypes.c_bool]


def apply(lib, samplers, logits, history=()):
    """Returns id and logit of what a chain of samplers leaves.

    A sampler excludes by leaving out or, top-n-sigma, by minus infinity. Those are left out here before the next
    sampler: typical computes 0 * log(0) for them, and with an entropy of NaN keeps tokens in no particular order.
    """
    kept = list(enumerate(logits))
    for sampler in samplers:
        data = (Candidate * len(kept))(*[Candidate(id, logit, 0.0) for id, logit in kept])
        array = Candidates(data, len(kept), -1, False)
        for token in history:
            lib.llama_sampler_accept(sampler, token)
        lib.llama_sampler_apply(sampler, ctypes.byref(array))
        lib.llama_sampler_free(sampler)
        kept = [(array.data[index].id, array.data[index].logit) for index in range(array.size)]
        kept = sorted((id, logit) for id, logit in kept if logit > -np.inf)
    return kept


def changed(logits, kept):
    """Logits after a penalty, as far as they differ."""
    return [[id, round(float(logit), 5)] for id, logit in kept if abs(logit - logits[id]) > 1e-6]


def case(model, rng):
    lib = model.lib
    init = lambda name, *arguments: getattr(lib, f"llama_sampler_init_{name}")(*arguments)
    logits = [round(float(x), 4) for x in rng.normal(0, rng.choice([0.7, 2, 4]), NUM_TOKENS)]
    alphabet = rng.integers(FIRST_TEXT, NUM_TOKENS, rng.integers(2, 9))
    history = [int(id) for id in rng.choice(alphabet, rng.integers(1, 60))]
    number = lambda low, high: round(float(rng.uniform(low, high)), 3)
    p = {
        "top_n_sigma": number(1, 3), "top_k": int(rng.integers(5, 60)), "typical": number(0.5, 0.99),
        "top_p": number(0.5, 0.99), "min_p": number(0.001, 0.2), "xtc": number(0.01, 0.4), "temp": number(0.3, 2),
        "mirostat": number(1, 4), "last_n": int(rng.integers(1, 64)), "repetition": number(0.8, 1.5),
        "frequency": number(-0.5, 0.5), "presence": number(-0.5, 0.5), "dry_multiplier": number(0.2, 2),
        "dry_base": number(1.1, 2.5), "dry_allowed": int(rng.integers(1, 4)), "dry_last_n": int(rng.integers(1, 64)),
    }
    breakers = (ctypes.c_char_p * len(BREAKERS))(*[breaker.encode() for breaker in BREAKERS])
    build = {
        "penalties": lambda: init("penalties", NUM_TOKENS, p["last_n"], p["repetition"], p["frequency"], p["presence"]),
        "dry": lambda: init(
            "dry", model.vocab, p["dry_multiplier"], p["dry_base"], p["dry_allowed"], p["dry_last_n"], breakers, len(BREAKERS)
        ),
        "top_n_sigma": lambda: init("top_n_sigma", p["top_n_sigma"]),
        "top_k": lambda: init("top_k", p["top_k"]),
        "typical": lambda: init("typical", p["typical"], 0),
        "top_p": lambda: init("top_p", p["top_p"], 0),
        "min_p": lambda: init("min_p", p["min_p"], 0),
        "xtc": lambda: init("xtc", 1.0, p["xtc"], 0, 1),
        "temp": lambda: init("temp", p["temp"]),
    }
    ids = lambda kept: [id for id, _ in kept]
    alone = {
        name: ids(apply(lib, [build[name]()], logits))
        for name in ["top_n_sigma", "top_k", "typical", "top_p", "min_p", "xtc"]
    }
    # Mirostat also draws; what it drew from is what is left.
    alone["mirostat"] = ids(apply(lib, [init("mirostat_v2", 1, p["mirostat"], 0.1)], logits))
    chain = apply(lib, [build[name]() for name in build], logits, history)
    return {
        "logits": logits, "history": history, "parameters": p, "kept": alone,
        "penalties": changed(logits, apply(lib, [build["penalties"]()], logits, history)),
        "dry": changed(logits, apply(lib, [build["dry"]()], logits, history)),
        "chain": [[id, round(float(logit), 4)] for id, logit in chain],
    }


def text(model, id):
    buffer = ctypes.create_string_buffer(64)
    length = model.lib.llama_token_to_piece(model.vocab, id, buffer, len(buffer), 0, False)
    return buffer.raw[:length].decode("latin-1")


def main():
    model = llama_cpp.Model(sys.argv[1], vocab_only=True)
    prepare(model.lib)
    rng = np.random.default_rng(4)
    make.write("samplers.json", {
        "made_by": make.made_by_llama_cpp(),
        "breakers": BREAKERS,
        "texts_latin1": [text(model, id) if id >= FIRST_TEXT else "" for id in range(NUM_TOKENS)],
        "cases": [case(model, rng) for _ in range(CASES)],
    })


if __name__ == "__main__":
    main()
