"""A constraint after the thinking block: the block is free, the answer is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgelm.runtime.constraints import matcher, thinking
from edgelm.runtime.constraints.constraint import Constraint
from edgelm.runtime.constraints.grammar import Grammar
from edgelm.runtime.constraints.make import constraint_maker
from edgelm.runtime.constraints.thinking import AfterThinking

Spell = Callable[[str], list[int]]
Make = Callable[..., Constraint]


@pytest.fixture
def make(tokenizer: Any, spell: Spell) -> Make:
    def build(prompt: str, *, may_think: bool = True, pattern: str = "yes") -> Constraint:
        stops = tokenizer.eos_token_ids
        maker = constraint_maker(
            Grammar.from_regex(pattern), tokenizer, spell(prompt), stops, may_think=may_think
        )
        return maker(300)

    return build


def fits(constraint: Constraint, tokens: list[int]) -> bool:
    """Whether all of them may come; the rows along them say the same, asked at once and one by one."""
    rows: Any = constraint.allowed(tokens)
    for at, token in enumerate(tokens):
        here: Any = constraint.allowed()
        assert (here[0] == rows[at]).all().item()
        if not here[0, token].item():
            assert rows.shape[0] == at + 1
            return False
        constraint.accept(token)
    assert rows.shape[0] == len(tokens) + 1
    return True


@pytest.mark.parametrize(
    ("prompt", "reply", "holds"),
    [
        ("Hi", "yes", True),
        ("Hi", "<think>Hm, no?</think>yes", True),
        ("Hi", "<think></think>\nyes", True),
        ("Hi", "<think></think>\n\nyes", False),  # one newline token may part the block from the answer
        ("Hi", "Hm<think>", False),
        ("Hi", "yes<think>", False),
        ("Hi<think>", "free</think>yes", True),
        ("Hi<think>\n", "free</think>no", False),
        ("Hi<think></think>", "yes", True),
    ],
)
def test_what_may_come(prompt: str, reply: str, holds: bool, make: Make, spell: Spell) -> None:
    assert fits(make(prompt), spell(reply)) == holds


def test_without_thinking_only_the_answer(make: Make, spell: Spell) -> None:
    assert not isinstance(make("Hi", may_think=False), AfterThinking)
    assert not fits(make("Hi", may_think=False), spell("<think>"))


def test_a_reply_does_not_end_inside_its_thinking(make: Make, spell: Spell) -> None:
    (end,) = spell("<end>")
    constraint = make("Hi<think>")
    assert not constraint.allowed()[0, end].item()
    for token in spell("x</think>yes"):
        assert not constraint.is_over
        constraint.accept(token)
    assert constraint.is_over


def test_what_is_forced_begins_with_the_answer(make: Make, spell: Spell) -> None:
    constraint = make("Hi<think>")
    assert constraint.forced(9) == []
    for token in spell("x</think>y"):
        constraint.accept(token)
    assert constraint.forced(9) == spell("es")


@pytest.mark.parametrize(
    "reply", ["<think>Hm, no?</think>\nyes<end>", "yes<end>", "Hm"], ids=["thinking", "answer", "refused"]
)
def test_a_mask_is_put_together_without_the_device(
    reply: str, make: Make, spell: Spell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operation would wait for the forward pass under way: the one array is made of bytes that are there."""
    handed: list[Any] = []

    class Device:
        """All that may be asked of MLX."""

        @staticmethod
        def array(values: Any) -> Any:
            handed.append(values)
            return values

    monkeypatch.setattr(thinking, "mx", Device)
    monkeypatch.setattr(matcher, "mx", Device)
    constraint, tokens = make("Hi"), spell(reply)
    for at, token in enumerate(tokens):
        rows: Any = constraint.allowed(tokens[at:])
        constraint.forced(4)
        if not rows[0, token]:
            break
        constraint.accept(token)
    assert len(handed) == (1 if reply == "Hm" else len(tokens))
    assert all(isinstance(values, np.ndarray) and values.dtype == bool for values in handed)
