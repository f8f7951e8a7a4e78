#!/usr/bin/env python3
"""Writes inference/tests/golden/transformers-logits.json: logits of Hugging Face transformers for synthetic models.

    pip install torch==2.4.1 transformers==4.57.1 gguf "numpy<2"    # CPU; downloads no model
    cargo run --release -p inference --example synthetic-models -- FOLDER
    scripts/goldens/transformers_logits.py FOLDER

Each GGUF file of FOLDER is read with the `gguf` package, and its F32 weights are put into the transformers model of
its architecture, whose configuration is built here from the file's keys and not by any converter. The weights are made
from a seed, so the files are not committed; the golden names their hash. Takes seconds.
"""

import base64
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from gguf import GGUFReader

from synthetic import fnv1a, tokens

GOLDEN = Path(__file__).resolve().parents[2] / "inference/tests/golden/transformers-logits.json"
NUM_TOKENS = 160
# Before and after the window of 24, the 64 tokens of scaled models, and blocks of 16.
POSITIONS = [0, 15, 25, 63, 66, 110, 159]
# Phi-3 chooses its factors by the length of the whole text.
SHORT = 60


class File:
    """Keys and tensors of a GGUF file."""

    def __init__(self, path):
        reader = GGUFReader(path)
        self.tensors = {tensor.name: torch.tensor(np.array(tensor.data)) for tensor in reader.tensors}
        self.fields = {name: field.contents() for name, field in reader.fields.items()}
        self.arch = self.fields["general.architecture"]

    def key(self, name, default=None):
        return self.fields.get(f"{self.arch}.{name}", default)


def rope_scaling(file):
    """The dictionary transformers wants, `None` for rope that is not scaled."""
    factor, original = file.key("rope.scaling.factor"), file.key("rope.scaling.original_context_length")
    kind = file.key("rope.scaling.type")
    if "rope_freqs.weight" in file.tensors:
        # What the factors were made from; transformers makes them again.
        return {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64}
    if "rope_factors_long.weight" in file.tensors:
        return {"type": "longrope", "short_factor": file.tensors["rope_factors_short.weight"].tolist(),
                "long_factor": file.tensors["rope_factors_long.weight"].tolist()}
    if kind == "yarn":
        return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    if factor:
        return {"rope_type": "linear", "factor": factor}
    return None


def common_config(file):
    return {
        "vocab_size": file.tensors["token_embd.weight"].shape[0],
        "hidden_size": file.key("embedding_length"),
        "intermediate_size": file.key("feed_forward_length"),
        "num_hidden_layers": file.key("block_count"),
        "num_attention_heads": file.key("attention.head_count"),
        "num_key_value_heads": file.key("attention.head_count_kv"),
        "head_dim": file.key("attention.key_length"),
        "max_position_embeddings": file.key("context_length"),
        "rms_norm_eps": file.key("attention.layer_norm_rms_epsilon"),
        "rope_theta": file.key("rope.freq_base"),
        "rope_scaling": rope_scaling(file),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "attn_implementation": "eager",
        "pad_token_id": 0,
    }


def granite_scales(file):
    return {
        "embedding_multiplier": file.key("embedding_scale"), "residual_multiplier": file.key("residual_scale"),
        "attention_multiplier": file.key("attention.scale"), "logits_scaling": file.key("logit_scale"),
    }


def experts_config(file, name="num_experts"):
    return {name: file.key("expert_count"), "num_experts_per_tok": file.key("expert_used_count")}


def build(file, name):
    """Returns the transformers model, without weights."""
    t, config = transformers, common_config(file)
    window = {"sliding_window": file.key("attention.sliding_window")}
    sparse = {"moe_intermediate_size": file.key("expert_feed_forward_length"), "decoder_sparse_step": 1, "mlp_only_layers": []}
    gemma = {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": config["head_dim"], **window}
    if name.startswith("mixtral"):
        return t.MixtralForCausalLM(t.MixtralConfig(**config, **experts_config(file, "num_local_experts"), sliding_window=None))
    if name == "mistral":
        return t.MistralForCausalLM(t.MistralConfig(**config, **window))
    if file.arch == "llama":
        return t.LlamaForCausalLM(t.LlamaConfig(**config))
    if file.arch == "qwen2":
        return t.Qwen2ForCausalLM(t.Qwen2Config(**config))
    if file.arch == "qwen2moe":
        shared = {"shared_expert_intermediate_size": file.key("expert_shared_feed_forward_length")}
        return t.Qwen2MoeForCausalLM(t.Qwen2MoeConfig(**config, **experts_config(file), **sparse, **shared, norm_topk_prob=False))
    if file.arch == "qwen3":
        return t.Qwen3ForCausalLM(t.Qwen3Config(**config))
    if file.arch == "qwen3moe":
        return t.Qwen3MoeForCausalLM(t.Qwen3MoeConfig(**config, **experts_config(file), **sparse, norm_topk_prob=True))
    if file.arch == "smollm3":
        return t.SmolLM3ForCausalLM(t.SmolLM3Config(**config, no_rope_layer_interval=4))
    if file.arch == "granite":
        return t.GraniteForCausalLM(t.GraniteConfig(**config, **granite_scales(file)))
    if file.arch == "granitemoe":
        shared = {"shared_intermediate_size": file.key("expert_shared_feed_forward_length")}
        experts = experts_config(file, "num_local_experts")
        return t.GraniteMoeSharedForCausalLM(t.GraniteMoeSharedConfig(**config, **experts, **shared, **granite_scales(file)))
    if file.arch == "phi3":
        original = file.key("rope.scaling.original_context_length", file.key("context_length"))
        return t.Phi3ForCausalLM(t.Phi3Config(**config, original_max_position_embeddings=original, sliding_window=None))
    if file.arch == "gemma2":
        caps = {"attn_logit_softcapping": file.key("attn_logit_softcapping"), "final_logit_softcapping": file.key("final_logit_softcapping")}
        return t.Gemma2ForCausalLM(t.Gemma2Config(**config, **gemma, **caps))
    if file.arch == "gemma3":
        return t.Gemma3ForCausalLM(t.Gemma3TextConfig(**config, **gemma, sliding_window_pattern=6, rope_local_base_freq=10000.0))
    return None


INTERLEAVED = {"llama", "smollm3", "granite", "granitemoe"}
NORMS = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
}
GEMMA_NORMS = {
    **NORMS, "post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
ATTENTION = {"attn_q": "q_proj", "attn_k": "k_proj", "attn_v": "v_proj", "attn_output": "o_proj", "attn_qkv": "qkv_proj"}
MLP = {"ffn_gate": "gate_proj", "ffn_up": "up_proj", "ffn_down": "down_proj"}
MIXTRAL = {"ffn_gate": "w1", "ffn_up": "w3", "ffn_down": "w2"}


def unpermuted(weight, num_heads):
    """GGUF files of interleaved rope hold a head's rows as (0, d/2, 1, d/2 + 1, ...)."""
    shape = weight.shape
    return weight.reshape(num_heads, shape[0] // num_heads // 2, 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def stack(file, layer, part):
    name = f"blk.{layer}.{part}"
    if f"{name}_exps.weight" in file.tensors:
        return file.tensors[f"{name}_exps.weight"]
    return torch.stack([file.tensors[f"{name}.{expert}.weight"] for expert in range(file.key("expert_count"))])


def expert_tensors(file, layer):
    base = f"model.layers.{layer}."
    tensors = {part: stack(file, layer, part) for part in MLP}
    router = file.tensors[f"blk.{layer}.ffn_gate_inp.weight"]
    if file.arch == "granitemoe":
        shared = {part: file.tensors[f"blk.{layer}.{part}_shexp.weight"] for part in MLP}
        return {
            f"{base}block_sparse_moe.router.layer.weight": router,
            f"{base}block_sparse_moe.input_linear.weight": torch.cat([tensors["ffn_gate"], tensors["ffn_up"]], 1),
            f"{base}block_sparse_moe.output_linear.weight": tensors["ffn_down"],
            f"{base}shared_mlp.input_linear.weight": torch.cat([shared["ffn_gate"], shared["ffn_up"]], 0),
            f"{base}shared_mlp.output_linear.weight": shared["ffn_down"],
        }
    block, names = ("block_sparse_moe", MIXTRAL) if file.arch == "llama" else ("mlp", MLP)
    out = {f"{base}{block}.gate.weight": router}
    for part, weights in tensors.items():
        for expert, weight in enumerate(weights):
            out[f"{base}{block}.experts.{expert}.{names[part]}.weight"] = weight
    if file.arch == "qwen2moe":
        for part, theirs in MLP.items():
            out[f"{base}mlp.shared_expert.{theirs}.weight"] = file.tensors[f"blk.{layer}.{part}_shexp.weight"]
        out[f"{base}mlp.shared_expert_gate.weight"] = file.tensors[f"blk.{layer}.ffn_gate_inp_shexp.weight"].reshape(1, -1)
    return out


def state_dict(file):
    gemma = file.arch.startswith("gemma")
    heads = {"attn_q": file.key("attention.head_count"), "attn_k": file.key("attention.head_count_kv")}
    state = {"model.embed_tokens.weight": file.tensors["token_embd.weight"]}
    state["lm_head.weight"] = file.tensors.get("output.weight", file.tensors["token_embd.weight"])
    # Gemma's norms multiply by 1 + weight; files hold the sum.
    state["model.norm.weight"] = file.tensors["output_norm.weight"] - (1.0 if gemma else 0.0)
    for name, tensor in file.tensors.items():
        match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
        if not match:
            continue
        layer, part, kind = match.groups()
        base, norms = f"model.layers.{layer}.", GEMMA_NORMS if gemma else NORMS
        if part in norms:
            state[f"{base}{norms[part]}.weight"] = tensor - (1.0 if gemma else 0.0)
        elif part in ATTENTION:
            if part in heads and file.arch in INTERLEAVED:
                tensor = unpermuted(tensor, heads[part])
            state[f"{base}self_attn.{ATTENTION[part]}.{kind}"] = tensor
        elif part == "ffn_up" and file.arch == "phi3":
            state[f"{base}mlp.gate_up_proj.weight"] = tensor
        elif part in MLP:
            state[f"{base}mlp.{MLP[part]}.weight"] = tensor
    if file.key("expert_count"):
        for layer in range(file.key("block_count")):
            state.update(expert_tensors(file, layer))
    return state


def logits(model, count, positions):
    with torch.no_grad():
        rows = model(torch.tensor([tokens(count)])).logits[0, positions].numpy()
    assert np.isfinite(rows).all()
    return {
        "num_tokens": count, "positions": positions,
        "logits": base64.b64encode(rows.astype("<f4").tobytes()).decode(),
    }


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    torch.set_num_threads(1)
    models = {}
    for path in sorted(Path(sys.argv[1]).glob("*.gguf")):
        file = File(path)
        model = build(file, path.stem)
        if model is None:
            print(f"{path.stem}: transformers {transformers.__version__} has no `{file.arch}`")
            continue
        model.load_state_dict(state_dict(file), strict=True)
        model.eval()
        runs = [logits(model, NUM_TOKENS, POSITIONS)]
        if "rope_factors_long.weight" in file.tensors:
            runs.append(logits(model, SHORT, [at for at in POSITIONS if at < SHORT]))
        models[path.stem] = {"file": fnv1a(path.read_bytes()), "runs": runs}
        print(path.stem)
    made_by = f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"
    text = json.dumps({"made_by": made_by, "models": models}, separators=(",", ":"))
    GOLDEN.write_text(text.replace('},"', '},\n"') + "\n")
    print(f"{GOLDEN.name}: {len(text)} bytes")


if __name__ == "__main__":
    main()
