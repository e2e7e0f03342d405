"""The marks that switch from one part of a reply to another, as one tokenizer spells them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgelm.text.families import harmony
from edgelm.text.families.family import family_of
from edgelm.text.families.table import CallForm

Channel = Literal["answer", "thinking", "tool_call"]
State = Literal["answer", "thinking", "tool_call", "header"]
"""A channel, or the header of a harmony message, which is in none."""


@dataclass(frozen=True, slots=True)
class Marker:
    """What switches from one state to another; found by `ids` if it has any, else by `text`."""

    text: str
    ids: tuple[int, ...]
    leads_to: State
    form: CallForm | None = None
    """How the calls are written that it begins."""


@dataclass(frozen=True)
class Markers:
    """The markers that matter in each state; none for a model without thinking or tools."""

    by_state: Mapping[State, tuple[Marker, ...]] = field(default_factory=dict)
    ends: Mapping[str, tuple[Marker, ...]] = field(default_factory=dict)
    """What ends a call, by the start of its form."""

    @classmethod
    def of(cls, tokenizer: Any, *, plain_answer: bool = False) -> Markers:
        """Read the markers off mlx-lm's TokenizerWrapper and the table of families."""
        family, make = family_of(tokenizer), _MakeMarker(tokenizer)
        if family.is_harmony:
            return _harmony_markers(make)
        start, end = family.thinking or ("", "")
        forms = () if plain_answer else family.calls
        calling = tuple(mark for form in forms for mark in make(form.start, "tool_call", form))
        around = tuple(mark for text in family.answer_marks for mark in make(text, "answer"))
        return cls(
            by_state={
                "answer": make(start, "thinking") + calling + around,
                "thinking": make(end, "answer"),
            },
            ends={form.start: make(form.end, "answer") for form in forms},
        )


class _MakeMarker:
    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._added = frozenset(tokenizer.added_tokens_decoder)

    def __call__(self, text: str, leads_to: State, form: CallForm | None = None) -> tuple[Marker, ...]:
        if not text:
            return ()
        ids = tuple(self._tokenizer.encode(text, add_special_tokens=False))
        return (Marker(text, ids if self._added.intersection(ids) else (), leads_to, form),)


def _harmony_markers(make: _MakeMarker) -> Markers:
    leave = tuple(
        mark for text in (harmony.START, harmony.CHANNEL, *harmony.ENDS) for mark in make(text, "header")
    )
    states: tuple[State, ...] = ("answer", "thinking", "tool_call")
    return Markers({**dict.fromkeys(states, leave), "header": make(harmony.MESSAGE, "answer")})
