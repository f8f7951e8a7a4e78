"""Prefill and decode of a GGUF file by mistral.rs (PyPI `mistralrs`), one line of JSON. Called by scripts/compare-cpu.

    mistral_rs.py MODEL.gguf PROMPT_TOKENS GENERATE_TOKENS       threads: RAYON_NUM_THREADS

mistral.rs reports the time of the prompt and of the answer itself; both are taken from the second of two requests.
The prompt is text, so its length is near PROMPT_TOKENS, and its rate is over the tokens it reports.
"""

import json
import sys
from pathlib import Path

from mistralrs import CompletionRequest, Runner, Which


def prompt(words, seed):
    """Text of different words, so that no cache of prefixes helps."""
    return " ".join(f"{chr(97 + (i * 7 + seed) % 26)}{chr(97 + (i * 11 + seed) % 26)}" for i in range(words))


def main():
    model, tokens, generate = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    runner = Runner(which=Which.GGUF(quantized_model_id=str(model.parent), quantized_filename=model.name), prefix_cache_n=0)
    words = tokens // 2

    def run(words, seed, count):
        request = CompletionRequest(prompt=prompt(words, seed), model="default", max_tokens=count, temperature=0.0, ignore_eos=True)
        return runner.send_completion_request(request).usage

    first = run(words, 3, 4)
    words = max(1, round(words * tokens / first.prompt_tokens))
    usage = run(words, 5, generate)
    print(json.dumps({
        "prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens,
        "prefill_tokens_per_s": usage.avg_prompt_tok_per_sec, "decode_tokens_per_s": usage.avg_compl_tok_per_sec,
    }))


main()
