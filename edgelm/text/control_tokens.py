"""Control tokens in what people write: text that spells one (`<|im_end|>`) stays text.

A tokenizer makes a token of such text wherever it stands, so that a row with `<|im_end|>` in its answer would train a
turn's end, and a prompt or an attached file could begin another's turn. TRL lets it, and transformers unless it is told not to
(`sanitize_control_tokens`, 5.24); edgelm does not, since a message's content never means the token. While the template
renders, such text stands between two marks, and what is between them is encoded as plain text. Plain prompts and rows of
`text` mean what they spell, and are left alone.

The marks are non-characters of Unicode, which no text holds.
"""

from __future__ import annotations

import re
import threading
import weakref
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from edgelm.text.families.family import family_of

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_GUARDED = re.compile(f"{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}")
_KEPT = ("role", "type", "id", "tool_call_id")
"""Keys whose values templates compare and do not write as text."""

_WELL_KNOWN = re.compile(
    r"<\|(?:im_start|im_end|im_sep|endoftext|begin_of_text|end_of_text|start_header_id|end_header_id|eot_id|eom_id"
    r"|python_tag|system|user|assistant|end|start|channel|message|return|call|constrain|eot|header_start|header_end)\|>"
    r"|<start_of_turn>|<end_of_turn>|<bos>|<eos>|</?s>|\[/?INST\]|\[/?AVAILABLE_TOOLS\]|\[TOOL_CALLS\]|\[/?TOOL_RESULTS\]"
    r"|<\|(?:START|END)_OF_TURN_TOKEN\|>|<\|(?:USER|CHATBOT|SYSTEM)_TOKEN\|>|<｜[^｜<>\n]{2,30}｜>"
)

_patterns: weakref.WeakKeyDictionary[Any, re.Pattern[str] | None] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def find_control_tokens(text: str, tokenizer: Any = None, *, is_answer: bool = False) -> list[str]:
    """Return the control tokens that `text` spells, each once.

    Args:
        text: of a message.
        tokenizer: whose tokens; None is those of well-known families.
        is_answer: whether it is an answer, which holds the marks of thinking and calls on purpose.
    """
    pattern = _WELL_KNOWN if tokenizer is None else _pattern(tokenizer)
    own = _own_marks(tokenizer) if is_answer and tokenizer is not None else ()
    spelled = pattern.findall(text) if pattern is not None else []
    return [token for token in dict.fromkeys(spelled) if token not in own]


def guard_messages(messages: Sequence[Mapping[str, Any]], tokenizer: Any) -> list[dict[str, Any]]:
    """Return the messages with every control token that they spell between marks, to be rendered."""
    pattern = _pattern(tokenizer)
    if pattern is None:
        return [dict(message) for message in messages]
    own = _own_marks(tokenizer)
    return [
        {
            key: value
            if key in _KEPT
            else _guarded(value, pattern, own if message.get("role") == "assistant" else ())
            for key, value in message.items()
        }
        for message in messages
    ]


def guard(value: Any, tokenizer: Any) -> Any:
    """Return any JSON value, such as the description of a tool, with the control tokens that it spells between marks."""
    pattern = _pattern(tokenizer)
    return value if pattern is None else _guarded(value, pattern, ())


def is_guarded(text: str) -> bool:
    """Return whether a rendered text holds marks."""
    return _OPEN in text and _GUARDED.search(text) is not None


def unguarded(text: str) -> str:
    """Return a rendered text without the marks, as people read it."""
    return _GUARDED.sub(r"\1", text)


def encode_guarded(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of a rendered text; what stands between marks is plain text.

    The template's own control tokens cut the text, as they do in the tokenizer; the pieces that hold marks are encoded by
    themselves, so that words around a mark have the tokens that they have in any text.
    """
    if not is_guarded(text):
        return list(tokenizer.encode(text, add_special_tokens=False))
    pattern = _pattern(tokenizer)
    assert pattern is not None
    ids: list[int] = []
    for piece in _pieces(text, pattern):
        if is_guarded(piece):
            ids += tokenizer.encode(unguarded(piece), add_special_tokens=False, split_special_tokens=True)
        elif piece:
            ids += tokenizer.encode(piece, add_special_tokens=False)
    return ids


def _pieces(text: str, pattern: re.Pattern[str]) -> list[str]:
    """Stretches with marks, and stretches without, cut at control tokens outside the marks.

    The time grows with the text alone, however many tokens it spells: an asker may spell a hundred thousand.
    """
    spans = [match.span() for match in _GUARDED.finditer(text)]
    begins = [begin for begin, _ in spans]

    def is_guarded_at(place: int) -> bool:
        """Whether the span that begins before a place goes on beyond it."""
        before = bisect_left(begins, place) - 1
        return before >= 0 and place < spans[before][1]

    cuts = [match.span() for match in pattern.finditer(text) if not is_guarded_at(match.start())]
    starts, ends = [start for start, _ in cuts], [end for _, end in cuts]
    pieces, at = [], 0
    for begin, end in spans:
        last, following = bisect_right(ends, begin), bisect_left(starts, end)
        left = ends[last - 1] if last else 0
        right = starts[following] if following < len(starts) else len(text)
        if left >= at:
            pieces += [text[at:left], text[left:right]]
            at = right
    return [*pieces, text[at:]]


def _guarded(value: Any, pattern: re.Pattern[str], kept: Sequence[str]) -> Any:
    if isinstance(value, str):
        return pattern.sub(
            lambda match: match[0] if match[0] in kept else f"{_OPEN}{match[0]}{_CLOSE}", value
        )
    if isinstance(value, Mapping):
        return {key: item if key in _KEPT else _guarded(item, pattern, kept) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_guarded(item, pattern, kept) for item in value]
    return value


def _own_marks(tokenizer: Any) -> tuple[str, ...]:
    """Marks that answers hold on purpose: of thinking, of calls, around answers."""
    family = family_of(tokenizer)
    calls = [mark for form in family.calls for mark in (form.start, form.end)]
    return (*(family.thinking or ()), *calls, *family.answer_marks)


def _pattern(tokenizer: Any) -> re.Pattern[str] | None:
    """Matches the tokenizer's special tokens, the longest first; None where it has none."""
    with _lock:
        if tokenizer not in _patterns:
            added = tokenizer.added_tokens_decoder.values()
            special = sorted({entry.content for entry in added if entry.special}, key=len, reverse=True)
            texts = [text for text in special if text.strip()]
            _patterns[tokenizer] = re.compile("|".join(map(re.escape, texts))) if texts else None
        return _patterns[tokenizer]
