"""Makes the constraint of one reply: the grammar, for this model's tokenizer, after this prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgelm.runtime.constraints.constraint import Constraint, MakeConstraint
from edgelm.runtime.constraints.grammar import Grammar
from edgelm.runtime.constraints.matcher import Matching
from edgelm.runtime.constraints.thinking import AfterThinking
from edgelm.runtime.constraints.vocabulary import vocabulary_of
from edgelm.text.families import harmony
from edgelm.text.families.family import Family, family_of
from edgelm.text.families.opening import Opening, opening
from edgelm.text.families.table import OPENS_ANSWER, OPENS_TURN


def constraint_maker(
    grammar: Grammar,
    tokenizer: Any,
    prompt: Sequence[int],
    stop_tokens: Iterable[int],
    *,
    may_think: bool,
) -> MakeConstraint:
    """Return what makes the constraint of a reply to `prompt`, once the number of the logits' columns is known.

    Args:
        grammar: what the answer must match.
        tokenizer: mlx-lm's TokenizerWrapper.
        prompt: its ids; one that ends by opening a thinking block leaves the block free.
        stop_tokens: ids that end the reply.
        may_think: whether the reply may open a thinking block by itself.

    Raises:
        UnsupportedError: a tokenizer that cannot be constrained.
    """
    vocabulary = vocabulary_of(tokenizer, stop_tokens)
    begin, family = opening(tokenizer, prompt), family_of(tokenizer)
    path = _path(family, begin, may_think=may_think, mark=_answer_mark(tokenizer, family, prompt))

    def spelt(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False)) if text else []

    def make(columns: int) -> Constraint:
        answer = Matching(grammar, vocabulary, columns)
        if path is None:
            return answer
        return AfterThinking(
            answer,
            vocabulary,
            columns,
            opens=spelt(path.opens),
            closes=spelt(path.closes),
            skips=spelt(path.skips),
            leads=spelt(path.leads),
            inside=begin.state == "thinking",
        )

    return make


def _answer_mark(tokenizer: Any, family: Family, prompt: Sequence[int]) -> str:
    """What a reply to `prompt` writes before its answer; nothing where the prompt has it, or is no turn of a chat."""
    mark = next((each for each in OPENS_ANSWER if each in family.answer_marks), "")
    turn = tokenizer.convert_tokens_to_ids(OPENS_TURN) if mark else None
    if turn is None or turn not in prompt:
        return ""
    last = len(prompt) - 1 - list(reversed(prompt)).index(turn)
    return "" if mark in tokenizer.decode(list(prompt[last:]), skip_special_tokens=False) else mark


@dataclass(frozen=True, slots=True)
class _Path:
    """What a reply writes on its way to the answer, as text; empty for nothing."""

    opens: str
    """Begins the thinking."""
    closes: str
    """Ends it."""
    skips: str = ""
    """Begins the answer where there is no thinking."""
    leads: str = ""
    """Stands between the thinking and the answer."""


def _path(family: Family, begin: Opening, *, may_think: bool, mark: str) -> _Path | None:
    """None where the answer begins at once."""
    if family.is_harmony and begin.state != "answer":
        # What of the header stands in the prompt already is not written again.
        given = begin.header.partition(harmony.CHANNEL)[1:]
        if any(given):
            return _Path("", harmony.END, _rest(harmony.ANSWERS, "".join(given)), harmony.TURNS)
        skips = harmony.TURNS if begin.header.startswith(harmony.ENDS) else harmony.ANSWERS
        return _Path(harmony.THINKS if may_think else "", harmony.END, skips, harmony.TURNS)
    if family.thinking is None or not (begin.state == "thinking" or may_think):
        return _Path("", "", mark) if mark else None
    start, end = family.thinking
    return _Path(start if may_think else "", end, mark, mark)


def _rest(whole: str, given: str) -> str:
    return whole.removeprefix(given) if whole.startswith(given) else whole
