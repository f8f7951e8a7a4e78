"""The official OpenAI client against a running server: models, streamed and whole answers, collections, embeddings, errors.

Run through `scripts/with-server python3 tests/openai/check.py`, which sets the variables read below.
"""
import math
import os
import sys

import openai

URL = os.environ["CLOISTER_URL"]
COLLECTION = os.environ["CLOISTER_COLLECTION"]
client = openai.OpenAI(base_url=f"{URL}/v1", api_key=os.environ["CLOISTER_API_KEY"], max_retries=0, timeout=300)

QUESTION = [{"role": "user", "content": "How long must a password be?"}]


def models():
    names = [model.id for model in client.models.list()]
    assert any("smollm2" in name for name in names), names
    return next(name for name in names if "smollm2" in name)


def streamed_answer_from_documents(model):
    stream = client.chat.completions.create(
        model=model,
        messages=QUESTION,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"collections": [COLLECTION]},
    )
    pieces, finish, usage = [], None, None
    for chunk in stream:
        if chunk.usage:
            usage = chunk.usage
        for choice in chunk.choices:
            if choice.delta.content:
                pieces.append(choice.delta.content)
            finish = choice.finish_reason or finish
    assert len(pieces) > 1, f"the answer came in {len(pieces)} piece(s)"
    assert "".join(pieces).strip(), "the answer is empty"
    assert finish in ("stop", "length"), finish
    assert usage and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage
    return f"{len(pieces)} pieces"


def whole_answer_without_documents(model):
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Say hello."}], max_tokens=12, temperature=0
    )
    assert answer.choices[0].message.content, answer
    assert 0 < answer.usage.completion_tokens <= 12, answer.usage
    return repr(answer.choices[0].message.content)


def completion(model):
    answer = client.completions.create(model=model, prompt="The capital of France is", max_tokens=6, temperature=0)
    assert "Paris" in answer.choices[0].text, answer
    return repr(answer.choices[0].text)


def embeddings(_):
    listed = [model.id for model in client.models.list()]
    name = next((name for name in listed if "minilm" in name), "all-minilm-l6-v2")
    result = client.embeddings.create(model=name, input=["leave", "holiday", "solder"])
    vectors = [item.embedding for item in result.data]
    assert len(vectors) == 3 and len(vectors[0]) == 384, len(vectors[0])
    assert all(abs(math.hypot(*vector) - 1) < 1e-3 for vector in vectors)
    near, far = (sum(a * b for a, b in zip(vectors[0], other)) for other in vectors[1:])
    assert near > far, (near, far)
    return f"{near:.2f} > {far:.2f}"


def refused_requests(model):
    def error(expected, **changes):
        try:
            client.with_options(**changes.pop("options", {})).chat.completions.create(
                **{"model": model, "messages": QUESTION, "max_tokens": 4, **changes}
            )
        except expected as caught:
            return caught
        raise AssertionError(f"{changes} was accepted")

    error(openai.AuthenticationError, options={"api_key": "clo_wrong"})
    error(openai.NotFoundError, model="gpt-9")
    long = error(openai.BadRequestError, messages=[{"role": "user", "content": "word " * 40_000}])
    assert any(character.isdigit() for character in long.message), long.message
    error(openai.APIStatusError, extra_body={"collections": ["no such collection"]})
    return "401, 404, 400 with the numbers, unknown collection"


model = models()
for check in (streamed_answer_from_documents, whole_answer_without_documents, completion, embeddings, refused_requests):
    print(f"ok  {check.__name__.replace('_', ' ')}: {check(model)}")
print(f"the OpenAI client {openai.__version__} works with {URL}")
sys.exit(0)
