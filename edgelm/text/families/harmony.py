"""OpenAI's harmony format (gpt-oss): messages with headers that say who speaks, in which channel, and to whom.

    <|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…<|return|>
    <|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{…}<|call|>

`analysis` is thinking, a message to a function is a call, everything else is the answer. Source: OpenAI's harmony
guide, "Receiving messages".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

START, CHANNEL, MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
END, RETURN, CALL = "<|end|>", "<|return|>", "<|call|>"
ENDS = (END, RETURN, CALL)
STOPS = (RETURN, CALL)

THINKS = f"{CHANNEL}analysis{MESSAGE}"
"""What begins a reply that thinks."""
ANSWERS = f"{CHANNEL}final{MESSAGE}"
"""What begins an answer."""
TURNS = f"{START}assistant{ANSWERS}"
"""What leads from an ended message to the answer."""

_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_CHANNEL = re.compile(re.escape(CHANNEL) + r"\s*(\w+)")


@dataclass(frozen=True, slots=True)
class Header:
    """What a message's header says."""

    kind: Literal["answer", "thinking", "tool_call"]
    function: str = ""


def read_header(text: str) -> Header:
    """Return the header that stood before `<|message|>`: from `<|start|>` on, or what of it was generated."""
    # The recipient stands after the role or after the channel.
    recipient = _RECIPIENT.search(text)
    if recipient is not None and recipient[1] not in ("assistant", "user"):
        return Header("tool_call", recipient[1].removeprefix("functions."))
    channel = _CHANNEL.search(text)
    return Header("thinking" if channel is not None and channel[1] == "analysis" else "answer")
