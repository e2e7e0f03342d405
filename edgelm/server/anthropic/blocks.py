"""Content blocks of one turn, read: what is said and thought, which tools are called, what they gave.

Blocks that this server cannot read (pictures, files, what Anthropic's own tools gave) are refused by name. A URL or a
file's id is never opened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgelm.messages.values import MessageError, describe, read_list, read_object, read_text
from edgelm.server.anthropic.thinking import thinking_of

_BILLING = re.compile(r"\Ax-anthropic-billing-header:[^\n]*\n?")
"""Claude Code's first words of every system prompt, for Anthropic's bill: other ones each time, so that no prompt would begin
as the one before did, whose computed state could be used again."""


@dataclass
class TurnBlocks:
    """What the blocks of one turn say."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    """Each tool_use: id, name, input."""
    results: list[tuple[str, str, str]] = field(default_factory=list)
    """Each tool_result: its place, the id of its call, its text."""


def system_text(system: Any, field: str = "system") -> str:
    """Return a system prompt, which is text or text blocks.

    Raises:
        MessageError: it is neither.
    """
    if isinstance(system, str):
        return _BILLING.sub("", read_text(system, field))
    texts = [_text(block, at) for block, at in _blocks(system, field)]
    return "\n".join(text for text in (_BILLING.sub("", text) for text in texts) if text)


def read_blocks(content: Any, field: str, role: str, into: TurnBlocks) -> None:
    """Add what the content of a message says to `into`.

    Raises:
        MessageError: a block that is none, or that cannot be read here, or that another role has.
    """
    if isinstance(content, str):
        into.texts.append(read_text(content, field))
        return
    for block, at in _blocks(content, field):
        kind = block.get("type")
        match role, kind:
            case "assistant", "thinking":
                shown = read_text(block.get("thinking"), f"{at}.thinking")
                into.thoughts.append(thinking_of(shown, str(block.get("signature") or "")))
            case "assistant", "redacted_thinking":
                pass  # encrypted for Anthropic's servers: nobody here has said it, and nobody can read it
            case "assistant", "tool_use":
                into.calls.append(_call(block, at))
            case "user", "tool_result":
                into.results.append(_result(block, at))
            case "user", "document":
                into.texts.append(_document(block, at))
            case _:
                into.texts.append(_text(block, at))


def _blocks(content: Any, field: str) -> list[tuple[Mapping[str, Any], str]]:
    blocks = []
    for index, item in enumerate(read_list(content, field)):
        at = f"{field}[{index}]"
        blocks.append((read_object(item, at, "a content block"), at))
    return blocks


def _text(block: Mapping[str, Any], at: str) -> str:
    if block.get("type") != "text":
        kind = describe(block.get("type"))
        raise MessageError(f"{at}.type", f"{kind}, expected text here: edgelm reads no such block")
    return read_text(block.get("text"), f"{at}.text")


def _call(block: Mapping[str, Any], at: str) -> dict[str, Any]:
    return {
        "id": read_text(block.get("id"), f"{at}.id"),
        "name": read_text(block.get("name"), f"{at}.name"),
        "input": dict(read_object(block.get("input"), f"{at}.input")),
    }


def _result(block: Mapping[str, Any], at: str) -> tuple[str, str, str]:
    content = block.get("content")
    if content is None:
        text = ""
    elif isinstance(content, str):
        text = read_text(content, f"{at}.content")
    else:
        text = "\n".join(_result_text(part, place) for part, place in _blocks(content, f"{at}.content"))
    if block.get("is_error") and "error" not in text[:24].lower():
        text = f"error: {text}"  # as edgelm's own loop of tools tells a model
    return at, read_text(block.get("tool_use_id"), f"{at}.tool_use_id"), text


def _result_text(part: Mapping[str, Any], at: str) -> str:
    match part.get("type"):
        case "document":
            return _document(part, at)
        case "tool_reference":
            # A tool that a search for tools has found; the model has been told of all of them.
            return read_text(part.get("tool_name"), f"{at}.tool_name")
        case _:
            return _text(part, at)


def _document(block: Mapping[str, Any], at: str) -> str:
    source = read_object(block.get("source"), f"{at}.source")
    citations = block.get("citations")
    if isinstance(citations, Mapping) and citations.get("enabled"):
        raise MessageError(f"{at}.citations", "enabled, and edgelm cites nothing")
    match source.get("type"):
        case "text":
            text = read_text(source.get("data"), f"{at}.source.data")
        case "content":
            text = _content_source(source.get("content"), f"{at}.source.content")
        case kind:
            raise MessageError(f"{at}.source.type", f"{describe(kind)}, expected text: edgelm reads no files")
    heads = [block.get(name) for name in ("title", "context")]
    return "\n".join([*(read_text(head, at) for head in heads if head), text])


def _content_source(content: Any, field: str) -> str:
    if isinstance(content, str):
        return read_text(content, field)
    return "\n".join(_text(part, at) for part, at in _blocks(content, field))


def texts_of(texts: Sequence[str], role: str) -> str:
    """Return the blocks of a turn as one text: what people and programs put together stands on lines of its own, while an
    answer is one text that calls have cut.
    """
    return ("" if role == "assistant" else "\n").join(texts)
