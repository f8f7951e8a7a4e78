"""llama.cpp in process: the shared library inside the PyPI package xllamacpp, through ctypes.

The package's own interface answers whole requests; goldens need the logits of every position, which
the library's C interface gives. Structures passed by value are described only as far as they are
used, and their defaults are checked on loading, so that another version of the library fails loudly
instead of reading the wrong field.

Settings: one thread (the result does not depend on their number), flash attention off, keys and values in f32, no repacked weights: the plainest
arithmetic the library has.
"""

import ctypes
import struct
from pathlib import Path

import numpy as np
import xllamacpp

VERSION = "2026.10.11549"
N_THREADS = 1
GGML_TYPE_F32 = 0
GGML_TYPE_F16 = 1
FLASH_ATTENTION_OFF = 0


class _Params(ctypes.Structure):
    """Parameters by value; larger than any version's structure, of which the callee reads its part."""

    _fields_ = [("bytes", ctypes.c_ubyte * 512)]

    def put(self, offset, kind, value):
        struct.pack_into(kind, self.bytes, offset, value)

    def get(self, offset, kind):
        return struct.unpack_from(kind, bytes(self.bytes), offset)[0]


class _Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


# Byte offsets of the fields that are set, with their defaults.
_MODEL_FIELDS = {"n_gpu_layers": (16, "<i", -1), "vocab_only": (72, "<?", False), "use_extra_bufts": (74, "<?", True)}
_CONTEXT_FIELDS = {
    "n_ctx": (0, "<I", 512),
    "n_batch": (4, "<I", 2048),
    "n_ubatch": (8, "<I", 512),
    "n_threads": (28, "<i", 4),
    "n_threads_batch": (32, "<i", 4),
    "flash_attn_type": (52, "<i", -1),
    "type_k": (104, "<i", 1),
    "type_v": (108, "<i", 1),
}


def _library():
    if xllamacpp.__version__ != VERSION:
        raise SystemExit(f"xllamacpp {VERSION} is needed, {xllamacpp.__version__} is installed")
    lib = ctypes.CDLL(str(Path(xllamacpp.__file__).with_name("xllamacpp.abi3.so")))
    pointer, int32, boolean = ctypes.c_void_p, ctypes.c_int32, ctypes.c_bool
    for name, result, arguments in [
        ("llama_model_default_params", _Params, []),
        ("llama_context_default_params", _Params, []),
        ("llama_model_load_from_file", pointer, [ctypes.c_char_p, _Params]),
        ("llama_init_from_model", pointer, [pointer, _Params]),
        ("llama_model_get_vocab", pointer, [pointer]),
        ("llama_model_free", None, [pointer]),
        ("llama_free", None, [pointer]),
        ("llama_vocab_n_tokens", int32, [pointer]),
        ("llama_vocab_is_eog", boolean, [pointer, int32]),
        ("llama_vocab_get_add_bos", boolean, [pointer]),
        ("llama_vocab_bos", int32, [pointer]),
        ("llama_tokenize", int32, [pointer, ctypes.c_char_p, int32, pointer, int32, boolean, boolean]),
        ("llama_batch_init", _Batch, [int32, int32, int32]),
        ("llama_batch_free", None, [_Batch]),
        ("llama_decode", int32, [pointer, _Batch]),
        ("llama_get_logits_ith", ctypes.POINTER(ctypes.c_float), [pointer, int32]),
        ("llama_get_memory", pointer, [pointer]),
        ("llama_memory_clear", None, [pointer, boolean]),
        ("llama_model_chat_template", ctypes.c_char_p, [pointer, ctypes.c_char_p]),
        ("llama_log_set", None, [pointer, pointer]),
    ]:
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def _defaults(params, fields):
    for name, (offset, kind, default) in fields.items():
        if params.get(offset, kind) != default:
            raise SystemExit(f"{name} is not where it was expected: this is another version of llama.cpp")
    return params


class Model:
    """One GGUF file. `vocab_only` loads no weights, which is enough for `tokenize`."""

    def __init__(self, path, vocab_only=False, n_ctx=1024, cache_type=GGML_TYPE_F32):
        self.lib = _library()
        self._silence = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
        self.lib.llama_log_set(self._silence, None)
        params = _defaults(self.lib.llama_model_default_params(), _MODEL_FIELDS)
        for name, value in [("n_gpu_layers", 0), ("vocab_only", vocab_only), ("use_extra_bufts", False)]:
            params.put(*_MODEL_FIELDS[name][:2], value)
        self.model = self.lib.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise SystemExit(f"{path} cannot be loaded")
        self.vocab = self.lib.llama_model_get_vocab(self.model)
        self.n_vocab = self.lib.llama_vocab_n_tokens(self.vocab)
        self.context = None
        if not vocab_only:
            self._open_context(n_ctx, cache_type)

    def _open_context(self, n_ctx, cache_type):
        params = _defaults(self.lib.llama_context_default_params(), _CONTEXT_FIELDS)
        for name, value in [
            ("n_ctx", n_ctx), ("n_batch", n_ctx), ("n_threads", N_THREADS), ("n_threads_batch", N_THREADS),
            ("flash_attn_type", FLASH_ATTENTION_OFF), ("type_k", cache_type), ("type_v", cache_type),
        ]:
            params.put(*_CONTEXT_FIELDS[name][:2], value)
        self.context = self.lib.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit("a context cannot be created")

    def close(self):
        if self.context:
            self.lib.llama_free(self.context)
        self.lib.llama_model_free(self.model)

    def tokenize(self, text, add_special=False, parse_special=False):
        data = text.encode()
        ids = (ctypes.c_int32 * (len(data) + 2))()
        count = self.lib.llama_tokenize(self.vocab, data, len(data), ids, len(ids), add_special, parse_special)
        assert count >= 0, "a text has at most as many tokens as bytes"
        return list(ids[:count])

    def is_eog(self, token):
        return self.lib.llama_vocab_is_eog(self.vocab, token)

    def clear(self):
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)

    def decode(self, ids, start, all_logits=False):
        """Evaluates `ids` at positions from `start`; returns the logits of the last, or of all, positions."""
        batch = self.lib.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for index, token in enumerate(ids):
            batch.token[index] = token
            batch.pos[index] = start + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = all_logits or index + 1 == len(ids)
        status = self.lib.llama_decode(self.context, batch)
        self.lib.llama_batch_free(batch)
        assert status == 0, status
        wanted = range(len(ids)) if all_logits else [len(ids) - 1]
        rows = [np.ctypeslib.as_array(self.lib.llama_get_logits_ith(self.context, row), (self.n_vocab,)).copy() for row in wanted]
        return np.stack(rows) if all_logits else rows[0]
