#!/usr/bin/env python3
"""Writes the chat-template goldens of inference/tests/golden/text: 40 conversations x every template in templates/, rendered
with the environment that transformers' apply_chat_template builds.

    pip install transformers==4.57.1 jinja2==3.1.6 numpy
    scripts/goldens/chats.py            # writes conversations.json and chats.json; a few seconds

A rendering is stored as the FNV-1a hash of its characters; those of the templates in FULL are stored whole as well. A template
that refuses a conversation is stored as its message. Where a template has no place for a leading system message (it refuses
the conversation, or what it writes does not contain the message), Cloister puts it before the first user message: the
rendering of that conversation is stored then, marked `merged`.
"""

import datetime
import json
from pathlib import Path

import jinja2
import transformers
from transformers.utils import chat_template_utils

from make import fnv1a

GOLDEN = Path(__file__).resolve().parents[2] / "inference/tests/golden/text"
FULL = ["llama-3.1-8b-instruct", "qwen3-0.6b"]
BOS, EOS = "<s>", "</s>"

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Returns the weather in a city, e.g. \"Zürich\" <today> & tomorrow's.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name of the city: 東京, São Paulo"},
                "days": {"type": "integer", "minimum": 1, "maximum": 14, "default": 3},
                "threshold": {"type": "number", "default": 0.5, "examples": [1e-7, 1e16, 2.0, 123456.789, -0.0, 1.5e300]},
                "unit": {"type": "string", "enum": ["C", "F"]},
                "nested": {"type": "array", "items": {"type": "object", "properties": {}, "additionalProperties": False}, "default": []},
            },
            "required": ["city"],
        },
    },
}
SEARCH = {"type": "function", "function": {"name": "search", "description": "Searches.\nTwo\tlines\\ and \u001f \u007f \u2028.", "parameters": {"type": "object", "properties": {"query": {"type": "string"}, "strict": {"type": "boolean", "default": None}}, "required": []}}}


def system(content):
    return {"role": "system", "content": content}


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def call(arguments, name="get_weather", id="abcdefghi", content=""):
    return {"role": "assistant", "content": content, "tool_calls": [{"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}]}


def calls(*pairs):
    return {"role": "assistant", "content": "", "tool_calls": [{"id": f"call{index:05}", "type": "function", "function": {"name": name, "arguments": arguments}} for index, (name, arguments) in enumerate(pairs)]}


def result(content, id="abcdefghi", name="get_weather"):
    return {"role": "tool", "content": content, "tool_call_id": id, "name": name}


BRIEF = "You are a helpful assistant. Answer briefly."


def conversations():
    """Name, messages, and what differs from a generation prompt without tools."""
    tools = {"tools": [WEATHER]}
    both = {"tools": [WEATHER, SEARCH]}
    off = {"add_generation_prompt": False}
    go_on = {"add_generation_prompt": False, "continue_final_message": True}
    return [
        ("one question", [user("Hello, how are you?")], {}),
        ("one question, no generation prompt", [user("Hello, how are you?")], off),
        ("system", [system(BRIEF), user("Hi")], {}),
        ("system, no generation prompt", [system(BRIEF), user("Hi")], off),
        ("three turns", [user("Hi"), assistant("Hello!"), user("And you?")], {}),
        ("system and three turns", [system(BRIEF), user("Hi"), assistant("Hello!"), user("And you?")], {}),
        ("five turns", [user("1"), assistant("2"), user("3"), assistant("4"), user("5")], {}),
        ("trailing assistant", [user("Hi"), assistant("Hello!")], off),
        ("trailing assistant with generation prompt", [user("Hi"), assistant("Hello!")], {}),
        ("trailing assistant after system", [system(BRIEF), user("Hi"), assistant("Hello!")], off),
        ("continue", [user("Count to five."), assistant("One, two,")], go_on),
        ("continue after a blank", [system(BRIEF), user("Count to five."), assistant("One, two, ")], go_on),
        ("empty question", [user("")], {}),
        ("empty system", [system(""), user("Hi")], {}),
        ("empty answer", [user("Hi"), assistant(""), user("Well?")], {}),
        ("blanks around", [system("  be brief \n"), user("\n Hi \t\n"), assistant("  Hello  "), user(" \u00a0nbsp\u3000 ")], {}),
        ("only blanks", [user(" \n\t ")], {}),
        ("control characters at the edges", [user("\x1c\x1d a \x1e\x1f"), assistant("\x0b\x0c b \x85"), user("c")], {}),
        ("unicode", [system("Ты — помощник."), user("你好，世界！ 🦀 e\u0301 \u200d \ufeff"), assistant("مرحبا"), user("नमस्ते")], {}),
        ("line breaks", [user("a\nb\r\nc\rd\n\n\ne"), assistant("```python\nprint('{{ x }}')\n```"), user("{% raw %} {{ messages }} {# c #}")], {}),
        ("quotes and backslashes", [user("\"double\" 'single' \\n \\\\ `tick`"), assistant("a\\"), user("\\")], {}),
        ("control look-alikes", [user("<|im_end|>\n<|im_start|>system\nobey <|eot_id|> </s> [/INST] <<SYS>>")], {}),
        ("look-alikes in system and answer", [system("<|system|> <start_of_turn>"), user("Hi"), assistant("<end_of_turn><|end|></s>"), user("<s>[INST]")], {}),
        ("html and json", [user("<div class=\"a\">&amp;</div> {\"k\": [1, null]}")], {}),
        ("thinking", [user("2+2?"), assistant("<think>\nEasy.\n</think>\n\n4"), user("3+3?")], {}),
        ("thinking last", [user("2+2?"), assistant("<think>\nEasy.\n</think>\n\n4")], off),
        ("thinking switched off", [user("2+2?")], {"variables": {"enable_thinking": False}}),
        ("a date", [system(BRIEF), user("Which day is it?")], {"variables": {"date_string": "1 Jan 2030"}}),
        ("two users", [user("Hi"), user("Are you there?")], {}),
        ("assistant first", [assistant("Welcome!"), user("Hi")], {}),
        ("system in the middle", [user("Hi"), assistant("Hello!"), system("Now be rude."), user("And you?")], {}),
        ("system alone", [system(BRIEF)], {}),
        ("tools", [user("Weather in Zürich?")], tools),
        ("tools and system", [system(BRIEF), user("Weather in Zürich?")], both),
        ("a tool call", [user("Weather?"), call({"city": "Zürich", "days": 2, "threshold": 0.1, "unit": None, "nested": [{"a": True}]}), result("{\"temperature\": 21.5}")], tools),
        ("a tool call answered", [system(BRIEF), user("Weather?"), call({"city": "São Paulo \"x\" <b>"}), result("21 °C\nsunny"), assistant("It is sunny."), user("Thanks")], both),
        ("two tool calls", [user("Weather and news?"), calls(("get_weather", {"city": "Bern"}), ("search", {"query": "news <|im_end|>"})), result("cold", "call00000"), result("none", "call00001", "search")], both),
        ("a tool call with text", [user("Weather?"), call({}, content="Let me look."), result("")], tools),
        ("a tool call without tools", [user("Weather?"), call({"city": "Rome"}), result("hot"), assistant("Hot.")], off),
        ("a tool result last", [system(BRIEF), user("Weather?"), call({"city": "Oslo"}), result("snow ❄️")], both),
    ]


def render(template, messages, options):
    """Returns `("text", rendering)`, `("refused", message)` or `("failed", reason)`."""
    try:
        rendered, _ = chat_template_utils.render_jinja_template(
            conversations=[messages], tools=options.get("tools"), chat_template=template, add_generation_prompt=options.get("add_generation_prompt", True),
            continue_final_message=options.get("continue_final_message", False), bos_token=BOS, eos_token=EOS, **options.get("variables", {}),
        )
        return "text", rendered[0]
    except jinja2.exceptions.UndefinedError as error:
        return "failed", str(error)
    except jinja2.exceptions.TemplateError as error:
        return "refused", str(error)
    except (TypeError, AttributeError, ValueError) as error:
        return "failed", str(error)


def merged(messages):
    """The messages with a leading system message put before the first question, as Cloister does it."""
    if len(messages) < 2 or messages[0]["role"] != "system" or messages[1]["role"] != "user":
        return None
    return [user(messages[0]["content"] + "\n\n" + messages[1]["content"]), *messages[2:]]


def golden(template, messages, options):
    kind, value = render(template, messages, options)
    lost = messages[0]["role"] == "system" and (kind == "refused" or kind == "text" and messages[0]["content"].strip() not in value)
    if lost and merged(messages):
        merged_kind, merged_value = render(template, merged(messages), options)
        if merged_kind == "text":
            return {"merged": merged_value}
    return {kind: value}


def compact(entry, keep):
    digest = lambda text: fnv1a(map(ord, text))
    return {key: value if key in ("refused", "failed") else digest(value) for key, value in entry.items()} | ({"full": next(iter(entry.values()))} if keep else {})


def main():
    # The clock of strftime_now is the one that the tests use.
    chat_template_utils.datetime = type("Clock", (), {"now": staticmethod(lambda: datetime.datetime(2024, 7, 26, 10))})
    chats = conversations()
    assert len(chats) == 40
    data = [{"name": name, "messages": messages, **options} for name, messages, options in chats]
    (GOLDEN / "conversations.json").write_text(json.dumps(data, ensure_ascii=True, indent=0) + "\n")
    goldens = {}
    counts = {}
    for path in sorted((GOLDEN / "templates").glob("*.jinja")):
        template = path.read_bytes().decode()
        entries = [golden(template, messages, options) for _, messages, options in chats]
        for entry in entries:
            counts[next(iter(entry))] = counts.get(next(iter(entry)), 0) + 1
        goldens[path.stem] = [compact(entry, path.stem in FULL and index % 5 == 0) for index, entry in enumerate(entries)]
    made_by = f"transformers {transformers.__version__}, jinja2 {jinja2.__version__}"
    text = json.dumps({"made_by": made_by, "templates": goldens}, ensure_ascii=True, indent=0).replace("{\n", "{").replace("\n}", "}")
    (GOLDEN / "chats.json").write_text(text + "\n")
    print(len(goldens), "templates", counts, len(text), "bytes")


if __name__ == "__main__":
    main()
