"""A form holds what follows `<|START_RESPONSE|>`, which Command A writes before every answer of a chat."""

from __future__ import annotations

from typing import Any

import pytest

from edgelm.runtime.constraints.constraint import Constraint
from edgelm.runtime.constraints.grammar import Grammar
from edgelm.runtime.constraints.make import constraint_maker
from tests.support.family_tokenizers import build_family

MARKERS = (
    "<|CHATBOT_TOKEN|>", "<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>",
)  # fmt: skip
TURN = "Hi<|CHATBOT_TOKEN|>"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_family(MARKERS)


def spell(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def fits(constraint: Constraint, tokens: list[int]) -> bool:
    for token in tokens:
        here: Any = constraint.allowed()
        if not here[0, token].item():
            return False
        constraint.accept(token)
    return True


@pytest.mark.parametrize(
    ("prompt", "reply", "may_think", "holds"),
    [
        (TURN, "<|START_THINKING|>Hm<|END_THINKING|><|START_RESPONSE|>yes", True, True),
        (TURN, "<|START_THINKING|>Hm<|END_THINKING|>yes", True, False),
        (TURN, "<|START_RESPONSE|>yes", True, True),
        (TURN, "<|START_RESPONSE|>maybe", True, False),
        (TURN, "yes", True, False),
        (TURN, "<|START_THINKING|>Hm", False, False),
        (TURN + "<|START_THINKING|><|END_THINKING|>", "<|START_RESPONSE|>no", False, True),
        (TURN + "<|START_THINKING|>", "Hm<|END_THINKING|><|START_RESPONSE|>no", True, True),
        (TURN + "<|START_RESPONSE|>", "no", False, True),
        ("Once upon", "no", False, True),
    ],
)  # fmt: skip
def test_what_may_come(prompt: str, reply: str, may_think: bool, holds: bool, tokenizer: Any) -> None:
    maker = constraint_maker(
        Grammar.from_regex("yes|no"), tokenizer, spell(tokenizer, prompt), spell(tokenizer, "<end>"),
        may_think=may_think,
    )  # fmt: skip
    assert fits(maker(300), spell(tokenizer, reply)) == holds
