"""A reply as a message of the history, made of what was heard of it."""

from __future__ import annotations

from typing import Any

from edgelm.runtime.generation.completion import Collector

UNREAD = "unread_calls"
"""The key of calls that could not be read; no template sees them."""


def reply_message(collector: Collector) -> dict[str, Any] | None:
    """Return the message of a reply, whole or partial; None where it was stopped before its first word."""
    finished = collector.finished
    is_partial = finished is None or finished.reason == "cancelled"
    reply: dict[str, Any] = {"role": "assistant", "content": collector.text()}
    if thinking := collector.text("thinking").strip():
        reply["reasoning_content"] = thinking
    calls = [
        {"type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
        for call in collector.tool_calls
        if call.error is None
    ]
    if calls:
        reply["tool_calls"] = calls
    unread = [
        {"text": call.text, "error": call.error} for call in collector.tool_calls if call.error is not None
    ]
    if unread:
        reply[UNREAD] = unread
    if not is_partial:
        return reply
    return {**reply, "partial": True} if len(reply) > 2 or reply["content"] else None
