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


def several_answers_with_logprobs(model):
    def ask():
        return client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Name a colour."}], max_tokens=8, n=2, seed=7,
            temperature=1, logprobs=True, top_logprobs=3, extra_body={"min_p": 0.02, "banned_strings": ["blue", "Blue"]},
        )

    answer, again = ask(), ask()
    texts = [choice.message.content for choice in answer.choices]
    assert [choice.index for choice in answer.choices] == [0, 1], answer
    assert texts == [choice.message.content for choice in again.choices], (texts, again)
    assert not any(banned in text for text in texts for banned in ("blue", "Blue")), texts
    for choice in answer.choices:
        tokens = choice.logprobs.content
        spelled = b"".join(bytes(token.bytes) for token in tokens).decode("utf-8", "replace")
        assert spelled == choice.message.content, (spelled, choice)
        assert all(token.logprob <= 0 and len(token.top_logprobs) == 3 for token in tokens), tokens
    assert answer.usage.completion_tokens >= sum(len(choice.logprobs.content) for choice in answer.choices), answer.usage
    return repr(texts)


def streamed_logprobs(model):
    stream = client.completions.create(
        model=model, prompt="The capital of France is", max_tokens=6, temperature=0, logprobs=2, stream=True
    )
    text, tokens, offsets = "", [], []
    for chunk in stream:
        for choice in chunk.choices:
            text += choice.text
            if choice.logprobs:
                tokens += choice.logprobs.tokens
                offsets += choice.logprobs.text_offset
    assert "".join(tokens) == text and offsets == [len("".join(tokens[:index])) for index in range(len(tokens))], tokens
    return repr(tokens)


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
    assert error(openai.BadRequestError, n=9).param == "n"
    assert error(openai.BadRequestError, logit_bias={"999999999": 1}).param == "logit_bias"
    assert error(openai.BadRequestError, extra_body={"min_p": 2}).param == "min_p"
    assert error(openai.BadRequestError, logprobs=True, extra_body={"collections": [COLLECTION]}).param == "logprobs"
    return "401, 404, 400 with the numbers, unknown collection, parameters by name"


model = models()
CHECKS = (
    streamed_answer_from_documents,
    whole_answer_without_documents,
    several_answers_with_logprobs,
    completion,
    streamed_logprobs,
    embeddings,
    refused_requests,
)
for check in CHECKS:
    print(f"ok  {check.__name__.replace('_', ' ')}: {check(model)}")
print(f"the OpenAI client {openai.__version__} works with {URL}")
sys.exit(0)
