"""What one model's family marks, read off its tokenizer once: its chat template, its vocabulary, mlx-lm's wrapper.

mlx-lm's wrapper knows some of it, and what it knows counts; the table knows more. Knows nothing of streams.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgelm.text.families import harmony
from edgelm.text.families.llama_calls import read_llama_calls
from edgelm.text.families.table import (
    ANSWER_MARKS,
    CALLS,
    LLAMA_STOPS,
    PYTHON_TAG,
    THINKING,
    CallForm,
)


@dataclass(frozen=True, slots=True)
class Family:
    """How a model marks the parts of its replies."""

    thinking: tuple[str, str] | None = None
    """Start and end."""
    calls: tuple[CallForm, ...] = ()
    answer_marks: tuple[str, ...] = ()
    """Around the answer, and no part of it."""
    takes_bare_calls: bool = False
    """Whether an answer that is nothing but JSON of calls is one."""
    is_harmony: bool = False
    stops: tuple[str, ...] = ()
    """Tokens that end a reply, whether or not the files say so."""

    @property
    def can_think(self) -> bool:
        """Whether thinking is told apart."""
        return self.is_harmony or self.thinking is not None

    @property
    def can_call(self) -> bool:
        """Whether calls can be read."""
        return self.is_harmony or self.takes_bare_calls or bool(self.calls)


_families: weakref.WeakKeyDictionary[Any, Family] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def family_of(tokenizer: Any) -> Family:
    """Return the family of `tokenizer` (mlx-lm's TokenizerWrapper), which is looked up at the first call."""
    with _lock:
        if tokenizer not in _families:
            _families[tokenizer] = _find(tokenizer)
        return _families[tokenizer]


def template_text(tokenizer: Any) -> str:
    """Return the chat template's source; several named ones are joined."""
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, Mapping):
        return "\n".join(map(str, template.values()))
    return template if isinstance(template, str) else ""


def _find(tokenizer: Any) -> Family:
    if not hasattr(tokenizer, "get_vocab"):  # one of a caller's own: it marks nothing that could be looked up
        return Family()
    vocabulary, template = tokenizer.get_vocab(), template_text(tokenizer)
    if all(mark in vocabulary for mark in (harmony.START, harmony.CHANNEL, harmony.MESSAGE)):
        stops = tuple(mark for mark in harmony.STOPS if mark in vocabulary)
        return Family(is_harmony=True, stops=stops)

    is_llama = PYTHON_TAG in vocabulary or PYTHON_TAG in template
    calls = _calls(tokenizer, template, vocabulary)
    if is_llama:
        calls += (CallForm(PYTHON_TAG, "", read_llama_calls),)
    return Family(
        thinking=_thinking(tokenizer, template, vocabulary),
        calls=calls,
        answer_marks=_answer_marks(template, vocabulary),
        takes_bare_calls=is_llama or (not calls and _asks_for_json(template)),
        stops=tuple(mark for mark in LLAMA_STOPS if is_llama and mark in vocabulary),
    )


def _thinking(tokenizer: Any, template: str, vocabulary: Mapping[str, int]) -> tuple[str, str] | None:
    if tokenizer.think_start:
        return tokenizer.think_start, tokenizer.think_end
    for start, end in THINKING:
        # Without tokens of its own a mark is text, which the template must name.
        if (start in vocabulary and end in vocabulary) or end in template:
            return start, end
    return None


def _calls(tokenizer: Any, template: str, vocabulary: Mapping[str, int]) -> tuple[CallForm, ...]:
    known = {form.start: form for form in CALLS}
    forms = {form.start: form for form in CALLS if form.start in template or _is_token(form, vocabulary)}
    start = tokenizer.tool_call_start
    if start:
        own = known.get(start)
        forms[start] = own or CallForm(start, tokenizer.tool_call_end or "", _adapted(tokenizer.tool_parser))
    if "<tool_call>" in forms and "<function=" in template:
        # Qwen3-Coder often leaves the opening mark out; the one behind the function then stands alone.
        forms["<function="] = CallForm("<function=", "</function>", known["<seed:tool_call>"].read, True)
    return tuple(
        CallForm(form.start, "", form.read) if _lacks_end(form, template, vocabulary) else form
        for form in forms.values()
    )


def _is_token(form: CallForm, vocabulary: Mapping[str, int]) -> bool:
    """Whether the start is a token that only models that write such calls have; Qwen's vocabulary is everywhere."""
    return form.start in vocabulary and form.start != "<tool_call>"


def _lacks_end(form: CallForm, template: str, vocabulary: Mapping[str, int]) -> bool:
    """Granite 3 begins as Phi does, and its calls last to the end of the reply."""
    return form.start == "<|tool_call|>" and form.end not in vocabulary and form.end not in template


def _adapted(parser: Any) -> Any:
    def read(text: str, tools: Any) -> list[dict[str, Any]]:
        parsed = parser(text, tools)
        return parsed if isinstance(parsed, list) else [parsed]

    return read


def _answer_marks(template: str, vocabulary: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(
        mark
        for start, end in ANSWER_MARKS
        if (start in vocabulary and end in vocabulary) or (start in template and end in template)
        for mark in (start, end)
    )


def _asks_for_json(template: str) -> bool:
    """Whether the template tells the model to answer with bare JSON of calls, as xLAM's does."""
    return "tools" in template and any(
        f'"{key}' in template.replace("\\", "") for key in ("arguments", "parameters")
    )
