"""Data that is wrong in one way each, and what is to be said of it."""

from __future__ import annotations

import json
from typing import Any

GOOD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}


def rows(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


USER = {"role": "user", "content": "Hi"}
BOT = {"role": "assistant", "content": "Hello."}

BAD_ROWS: dict[str, tuple[str, str | bytes, int, str, str]] = {
    "cut off": (
        "a.jsonl",
        '{"text": "ab',
        1,
        "",
        "not valid JSON: Unterminated string starting at at column 10",
    ),
    "after a blank line": (
        "a.jsonl",
        rows(GOOD) + "\n\n" + "nonsense\n",
        4,
        "",
        "not valid JSON: Expecting value",
    ),
    "no object": ("a.jsonl", "[1, 2]\n", 1, "", "the row is a list, expected an object"),
    "null": ("a.jsonl", "null\n", 1, "", "the row is null, expected an object"),
    "not UTF-8": (
        "a.jsonl",
        rows(GOOD).encode() + b'{"text": "\xff"}\n',
        2,
        "",
        "byte 11 of the line is not UTF-8 text",
    ),
    "nested without end": ("a.jsonl", "[" * 100_000 + "\n", 1, "", "not valid JSON: nested too deeply"),
    "a number of many digits": (
        "a.jsonl",
        '{"text": ' + "9" * 5000 + "}\n",
        1,
        "",
        "not valid JSON: Exceeds the limit",
    ),
    "half a surrogate pair": (
        "a.jsonl",
        '{"text": "ab\\ud800"}\n',
        1,
        "text",
        "character 2 is half of a surrogate pair",
    ),
    "unknown keys": (
        "a.jsonl",
        rows({"question": "a", "answer": "b"}),
        1,
        "",
        "unknown format: expected messages",
    ),
    "prompt alone": ("a.jsonl", rows({"prompt": "a"}), 1, "", "completion is missing; keys are prompt"),
    "chosen alone": (
        "a.jsonl",
        rows({"prompt": "a", "chosen": "b"}),
        1,
        "",
        "rejected is missing; keys are prompt, chosen",
    ),
    "null text": ("a.jsonl", rows({"text": None}), 1, "", "text is null; keys are text"),
    "text that is a number": ("a.jsonl", rows({"text": 7}), 1, "text", "the number 7, expected text"),
    "blank text": ("a.jsonl", rows({"text": "  "}), 1, "text", "empty, expected text"),
    "messages that are text": ("a.jsonl", rows({"messages": "Hi"}), 1, "messages", "'Hi', expected a list"),
    "no messages": ("a.jsonl", rows(chat()), 1, "messages", "the list is empty, expected messages"),
    "a message that is text": (
        "a.jsonl",
        rows(chat("Hi")),
        1,
        "messages[0]",
        "'Hi', expected an object with role and content",
    ),
    "no role": ("a.jsonl", rows(chat({"content": "x"})), 1, "messages[0]", "no role; keys are content"),
    "unknown role": (
        "a.jsonl",
        rows(chat({"role": "wizard", "content": "x"})),
        1,
        "messages[0].role",
        "'wizard', expected one of system",
    ),
    "a role that is a number": (
        "a.jsonl",
        rows(chat({"role": 1, "content": "x"})),
        1,
        "messages[0].role",
        "the number 1, expected one of",
    ),
    "no content": (
        "a.jsonl",
        rows(chat(USER, {"role": "assistant"})),
        1,
        "messages[1].content",
        "null, expected text",
    ),
    "an image": (
        "a.jsonl",
        rows(chat({"role": "user", "content": [{"type": "image_url"}]}, BOT)),
        1,
        "messages[0].content[0]",
        "'image_url', expected a text part",
    ),
    "no answer": (
        "a.jsonl",
        rows(chat(USER)),
        1,
        "messages",
        "no message of the assistant, so nothing would be trained",
    ),
    "all weights zero": (
        "a.jsonl",
        rows(chat(USER, {**BOT, "weight": 0})),
        1,
        "messages",
        "every answer has weight 0",
    ),
    "a strange weight": (
        "a.jsonl",
        rows(chat(USER, {**BOT, "weight": 0.5})),
        1,
        "messages[1].weight",
        "the number 0.5, expected 0 (not trained) or 1",
    ),
    "only empty answers": (
        "a.jsonl",
        rows(chat(USER, {"role": "assistant", "content": " "})),
        1,
        "messages[1].content",
        "empty, and there is no other answer",
    ),
    "empty completion": (
        "a.jsonl",
        rows({"prompt": "a", "completion": ""}),
        1,
        "completion",
        "empty, and there is no other answer",
    ),
    "a call without a name": (
        "a.jsonl",
        rows(chat(USER, {"role": "assistant", "tool_calls": [{"function": {"arguments": {}}}]})),
        1,
        "messages[1].tool_calls[0].function.name",
        "null, expected the function's name",
    ),
    "broken arguments": (
        "a.jsonl",
        rows(
            chat(USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{x"}}]})
        ),
        1,
        "messages[1].tool_calls[0].function.arguments",
        "not a valid JSON object",
    ),
    "tools that are no list": (
        "a.jsonl",
        rows(chat(USER, BOT, tools={"name": "f"})),
        1,
        "tools",
        "an object, expected a list",
    ),
    "a tool that is text": (
        "a.jsonl",
        rows(chat(USER, BOT, tools=["f"])),
        1,
        "tools[0]",
        "'f', expected an object",
    ),
    "ShareGPT speaker": (
        "a.jsonl",
        rows({"conversations": [{"from": "alien", "value": "x"}]}),
        1,
        "conversations[0].from",
        "'alien', expected one of",
    ),
    "empty instruction": (
        "a.jsonl",
        rows({"instruction": "", "output": "x"}),
        1,
        "instruction",
        "empty, expected what to do",
    ),
    "history of singles": (
        "a.jsonl",
        rows({"instruction": "a", "output": "x", "history": [["q"]]}),
        1,
        "history[0]",
        "a list of 1, expected a question and an answer",
    ),
    "equal preferences": (
        "a.jsonl",
        rows({"prompt": "a", "chosen": "b", "rejected": "b"}),
        1,
        "rejected",
        "the same as chosen, which teaches nothing",
    ),
    "empty rejected": (
        "a.jsonl",
        rows({"prompt": "a", "chosen": "b", "rejected": ""}),
        1,
        "rejected",
        "empty, expected an answer",
    ),
    "preferences without a prompt": (
        "a.jsonl",
        rows({"chosen": "b", "rejected": "c"}),
        1,
        "prompt",
        "missing, and chosen and rejected do not begin with the same turns",
    ),
    "chosen by the user": (
        "a.jsonl",
        rows({"prompt": "a", "chosen": [USER], "rejected": [BOT]}),
        1,
        "chosen[0].role",
        "'user', expected the assistant's answer: it begins with another question",
    ),
    "two conversations": (
        "a.jsonl",
        rows({"chosen": [USER, BOT], "rejected": [{"role": "user", "content": "b"}, BOT]}),
        1,
        "prompt",
        "their prompts differ",
    ),
    "no chosen at all": (
        "a.jsonl",
        rows({"prompt": "a", "chosen": [], "rejected": [BOT]}),
        1,
        "chosen",
        "empty",
    ),
    "a chat of the app": (
        "a.jsonl",
        rows({"edgelm_chat": 1, "messages": [USER, BOT]}),
        1,
        "edgelm_chat",
        "a chat with all its alternatives",
    ),
    "a label in words": (
        "a.jsonl",
        rows({"prompt": "a", "completion": "b", "label": "maybe"}),
        1,
        "label",
        "'maybe', expected true or false",
    ),
    "mixed kinds": (
        "a.jsonl",
        rows(GOOD, {"prompt": "a", "chosen": "b", "rejected": "c"}),
        2,
        "",
        "a row for preferences, but",
    ),
    "a list that breaks off": (
        "a.json",
        '[\n{"text": "a"},\n{"text": \n',
        4,
        "",
        "not valid JSON: Expecting value",
    ),
    "a comma too few": (
        "a.json",
        '[{"text": "a"}\n{"text": "b"}]',
        2,
        "",
        "not valid JSON: expected , or ] after a row",
    ),
    "a cell too many": (
        "a.csv",
        "prompt,completion\na,b\na,b,c\n",
        3,
        "",
        "the row has 3 cells, expected 2 as in the header",
    ),
    "a quote without end": (
        "a.csv",
        'prompt,completion\na,b\n"a,b\n',
        3,
        "",
        "not readable as CSV from here on",
    ),
    "a broken list in a cell": ("a.csv", 'messages\n"[{broken"\n', 2, "messages", "not a valid JSON list"),
}
"""What is wrong → (file name, content, line, field, reason)."""
