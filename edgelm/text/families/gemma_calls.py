"""Gemma's calls: `call:name{key:value,…}`, with strings between marks of their own (`<escape>`, or `<|"|>` in Gemma 4)."""

from __future__ import annotations

import re
from typing import Any

from edgelm.text.families.json_calls import Call, Tools

_HEAD = re.compile(r"\s*call:([\w.-]+)\s*(?=\{)")
_KEY = re.compile(r"\s*([^\s:{}\[\],<\"]+)\s*:")
_BARE = re.compile(r"[^,{}\[\]]+")
_BLANK = re.compile(r"\s*")
_QUOTES = ("<escape>", '<|"|>', '"')
_WORDS = {"true": True, "false": False, "null": None, "none": None}


def read_gemma_calls(text: str, tools: Tools = None) -> list[Call]:
    """Return the calls in `text`, which holds nothing else.

    Raises:
        ValueError: it holds something else, or a call that does not end.
    """
    calls, at = [], 0
    while text[at:].strip():
        head = _HEAD.match(text, at)
        if head is None:
            raise ValueError(f"{text[at : at + 40]!r} is no call")
        arguments, at = _object(text, head.end())
        calls.append({"name": head[1], "arguments": arguments})
    if not calls:
        raise ValueError("there is no call")
    return calls


def _value(text: str, at: int) -> tuple[Any, int]:
    at = _skip(text, at)
    quote = next((mark for mark in _QUOTES if text.startswith(mark, at)), None)
    if quote is not None:
        begin = at + len(quote)
        end = text.find(quote, begin)
        if end < 0:
            raise ValueError("a string does not end")
        return text[begin:end], end + len(quote)
    if text.startswith("{", at):
        return _object(text, at)
    if text.startswith("[", at):
        return _array(text, at)
    bare = _BARE.match(text, at)
    if bare is None:
        raise ValueError(f"no value at {text[at : at + 20]!r}")
    return _scalar(bare[0].strip()), bare.end()


def _object(text: str, at: int) -> tuple[dict[str, Any], int]:
    fields: dict[str, Any] = {}
    at = _skip(text, at + 1)
    while not text.startswith("}", at):
        name, at = _key(text, at)
        fields[name], at = _value(text, at)
        at = _separated(text, at, "}")
    return fields, at + 1


def _key(text: str, at: int) -> tuple[str, int]:
    bare = _KEY.match(text, at)
    if bare is not None:
        return bare[1], bare.end()
    name, at = _value(text, at)
    at = _skip(text, at)
    if not isinstance(name, str) or not text.startswith(":", at):
        raise ValueError(f"no key before {text[at : at + 20]!r}")
    return name, at + 1


def _array(text: str, at: int) -> tuple[list[Any], int]:
    items = []
    at = _skip(text, at + 1)
    while not text.startswith("]", at):
        value, at = _value(text, at)
        items.append(value)
        at = _separated(text, at, "]")
    return items, at + 1


def _separated(text: str, at: int, end: str) -> int:
    at = _skip(text, at)
    if text.startswith(",", at):
        return _skip(text, at + 1)
    if not text.startswith(end, at):
        raise ValueError(f"expected , or {end} at {text[at : at + 20]!r}")
    return at


def _scalar(word: str) -> Any:
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _skip(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at
