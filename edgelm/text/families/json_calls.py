"""Calls written as JSON: an object, a list, or several one after the other, under any of the names that families use.

    {"name": "f", "arguments": {…}}            Hermes, Qwen, Granite, Phi, xLAM
    {"name": "f", "parameters": {…}}           Llama 3, InternLM
    {"tool_name": "f", "parameters": {…}}      Cohere
    {"type": "function", "function": {…}}      OpenAI, around one of these
    {"f": {…}}                                 Apertus, read only by `read_keyed_calls`

Arguments may be the JSON text of an object. Whatever is none of this raises `ValueError`: nothing is guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

Call = dict[str, Any]
"""`{"name", "arguments"}`, arguments an object; with "id" where the model wrote one."""
Tools = Sequence[Mapping[str, Any]] | None

_BETWEEN = re.compile(r"[\s;,]*")
_FENCE = re.compile(r"\A\s*```(?:json)?[ \t]*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_NAMES = ("name", "tool_name", "function")
_ARGUMENTS = ("arguments", "parameters", "args")
_IDS = ("id", "tool_call_id")
_DECODER = json.JSONDecoder(strict=False)


def read_json_calls(text: str, tools: Tools = None) -> list[Call]:
    """Return the calls in `text`, which holds nothing else.

    Raises:
        ValueError: it is no JSON, or not of calls.
    """
    calls = [call for value in json_values(text) for call in calls_in(value)]
    if not calls:
        raise ValueError("there is no call")
    return calls


def read_keyed_calls(text: str, tools: Tools = None) -> list[Call]:
    """Return Apertus's calls, `[{"f": {…}}, …]`, and the usual ones as well.

    Raises:
        ValueError: it is no JSON, or not of calls.
    """
    calls: list[Call] = []
    for value in json_values(text):
        for item in value if isinstance(value, list) else [value]:
            is_keyed = (
                isinstance(item, dict) and len(item) == 1 and isinstance(next(iter(item.values())), dict)
            )
            if is_keyed and not set(item) & set(_NAMES):
                name, arguments = next(iter(item.items()))
                calls.append({"name": name, "arguments": arguments})
            else:
                calls += calls_in(item)
    if not calls:
        raise ValueError("there is no call")
    return calls


def json_values(text: str) -> list[Any]:
    """Return the values that follow one another, with white space, commas or semicolons between, fenced or not.

    Raises:
        ValueError: something else is among them.
    """
    fenced = _FENCE.match(text)
    text = fenced[1] if fenced else text
    values, at = [], _skip(text, 0)
    while at < len(text):
        value, at = _DECODER.raw_decode(text, at)
        values.append(value)
        at = _skip(text, at)
    return values


def as_call(name: Any, arguments: Any, call_id: Any = None) -> Call:
    """Make a call of its parts.

    Raises:
        ValueError: no name, or arguments that are no object.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"the function's name is {name!r}")
    if isinstance(arguments, str):
        arguments = json.loads(arguments, strict=False) if arguments.strip() else {}
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, dict):
        raise ValueError(f"arguments are {arguments!r}, expected an object")
    call: Call = {"name": name.strip(), "arguments": arguments}
    return {**call, "id": call_id} if isinstance(call_id, str) and call_id else call


def calls_in(value: Any) -> list[Call]:
    """Return the calls of one JSON value.

    Raises:
        ValueError: it is no call.
    """
    if isinstance(value, list):
        return [call for item in value for call in calls_in(item)]
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is no call")
    inner = value.get("function")
    fields = {**value, **inner} if isinstance(inner, dict) else value
    if isinstance(inner, dict) and "name" not in inner:
        raise ValueError("the call has no name")
    name = next((fields[key] for key in _NAMES if isinstance(fields.get(key), str)), None)
    arguments = next((fields[key] for key in _ARGUMENTS if key in fields), None)
    return [as_call(name, arguments, next((value[key] for key in _IDS if key in value), None))]


def _skip(text: str, at: int) -> int:
    blank = _BETWEEN.match(text, at)
    return blank.end() if blank else at
