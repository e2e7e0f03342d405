"""Where in a reply its prompt leaves off: templates open thinking blocks, and the headers of messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.text.families import harmony
from edgelm.text.families.family import family_of
from edgelm.text.families.harmony import read_header
from edgelm.text.families.markers import State

_OPENING_TOKENS = 48
"""Longer than any mark is in tokens, with white space after it."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Where in a reply its prompt leaves off."""

    state: State
    header: str = ""
    """What of a harmony message's header the prompt holds."""


def opening(tokenizer: Any, prompt: Sequence[int]) -> Opening:
    """Return where a reply to `prompt` begins: in its answer, in a thinking block, or in the header of a message."""
    family = family_of(tokenizer)
    if family.is_harmony:
        return _harmony_opening(tokenizer, prompt)
    return Opening("thinking" if opens_thinking(tokenizer, prompt) else "answer")


def _harmony_opening(tokenizer: Any, prompt: Sequence[int]) -> Opening:
    start = tokenizer.convert_tokens_to_ids(harmony.START)
    last = next((at for at in range(len(prompt) - 1, -1, -1) if prompt[at] == start), None)
    if last is None:
        return Opening("answer")
    header, is_open, body = tokenizer.decode(list(prompt[last:]), skip_special_tokens=False).partition(
        harmony.MESSAGE
    )
    ended = [body.rfind(mark) for mark in harmony.ENDS if mark in body]
    if not is_open or ended:
        return Opening("header", body[max(ended) :] if ended else header)
    if not header.startswith(f"{harmony.START}assistant"):
        return Opening("answer")
    kind = read_header(header).kind
    return Opening("answer" if kind == "tool_call" else kind)


def opens_thinking(tokenizer: Any, prompt: Sequence[int]) -> bool:
    """Return whether the prompt ends with the start of a thinking block and nothing but space after it."""
    family = family_of(tokenizer)
    if family.is_harmony:
        return _harmony_opening(tokenizer, prompt).state == "thinking"
    if family.thinking is None:
        return False
    start = family.thinking[0]
    tail: str = tokenizer.decode(list(prompt[-_OPENING_TOKENS:]), skip_special_tokens=False)
    return tail.rstrip().endswith(start)
