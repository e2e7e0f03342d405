"""What a message says: content as text or parts, and thinking under any of its names.

Parts are joined without anything between them, as chat templates join them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelm.messages.values import MessageError, describe, read_text

_TEXT_PARTS = ("text", "input_text", "output_text")
"""OpenAI's chat completions, then its responses."""
_THINKING_PARTS = ("thinking", "reasoning")
REASONING_NAMES = ("reasoning_content", "reasoning", "thinking", "thought")
"""`reasoning_content` is the one that most templates read."""


def read_content(value: Any, field: str, *, may_lack: bool) -> tuple[str, str]:
    """Return `(text, thinking)` of a content that is text or a list of parts.

    Args:
        may_lack: null is no content instead of an error.

    Raises:
        MessageError: neither, or a part that is no text.
    """
    if value is None and may_lack:
        return "", ""
    if not isinstance(value, (list, tuple)):
        return read_text(value, field), ""
    texts: dict[str, list[str]] = {"text": [], "thinking": []}
    for index, part in enumerate(value):
        kind, text = _read_part(part, f"{field}[{index}]")
        texts[kind].append(text)
    return "".join(texts["text"]), "".join(texts["thinking"])


def _read_part(part: Any, field: str) -> tuple[str, str]:
    kind = part.get("type") if isinstance(part, Mapping) else part
    if isinstance(part, Mapping):
        if kind in _TEXT_PARTS or (kind is None and "text" in part):
            return "text", read_text(part.get("text"), f"{field}.text")
        if kind in _THINKING_PARTS:
            return "thinking", _read_thinking(part, str(kind), field)
    raise MessageError(field, f"{describe(kind)}, expected a text part: edgelm reads text only")


def _read_thinking(part: Mapping[str, Any], kind: str, field: str) -> str:
    """Anthropic's and Mistral's parts: text, or parts of text."""
    key = next((name for name in (kind, "text", "content") if part.get(name) is not None), kind)
    inner = part.get(key)
    if isinstance(inner, (list, tuple)):
        return "".join(_read_part(item, f"{field}.{key}[{i}]")[1] for i, item in enumerate(inner))
    return read_text(inner, f"{field}.{key}")


def read_reasoning(message: Mapping[str, Any], field: str) -> str | None:
    """Return what an answer thought, under the first of its names that is there.

    Raises:
        MessageError: it is no text.
    """
    for name in REASONING_NAMES:
        if message.get(name) is not None:
            return read_content(message[name], f"{field}.{name}", may_lack=False)[0]
    return None
