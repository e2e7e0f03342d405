"""Llama 3's calls: JSON with `name` and `parameters`, or `name.call(key=value)`, after `<|python_tag|>` or alone."""

from __future__ import annotations

import re

from edgelm.text.families.json_calls import Call, Tools, read_json_calls
from edgelm.text.families.python_calls import read_python_calls

_LOOKS = re.compile(r"\s*(?:```(?:json)?\s*)?\[?\s*\{\s*\"(?:name|type|function|tool_name)\"\s*:")


def read_llama_calls(text: str, tools: Tools = None) -> list[Call]:
    """Return the calls in `text`, which holds nothing else.

    Raises:
        ValueError, SyntaxError: it is something else.
    """
    if look_like_calls(text):
        return read_json_calls(text, tools)
    return read_python_calls(text, tools)


def may_begin_calls(text: str) -> bool:
    """Return whether a reply that begins with `text` can still become calls and nothing else."""
    text = text.lstrip()
    return text[:1] in ("", "{", "[") or text.startswith("```") or "```".startswith(text)


def look_like_calls(text: str) -> bool:
    """Return whether a whole reply is meant as calls, whether or not it can be read."""
    return _LOOKS.match(text) is not None
