"""A form holds the final message of a harmony reply alone; analysis is free, and nothing else may come."""

from __future__ import annotations

from typing import Any

import pytest

from edgelm.runtime.constraints.constraint import Constraint
from edgelm.runtime.constraints.grammar import Grammar
from edgelm.runtime.constraints.make import constraint_maker
from edgelm.text.segments import Segment, Segmenter
from tests.support.family_tokenizers import build_family

MARKERS = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>")
HEAD = "<|start|>user<|message|>Hi<|end|><|start|>assistant"
THINKS, FINAL = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_family(MARKERS)


def spell(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def make(tokenizer: Any, prompt: str, *, may_think: bool = True) -> Constraint:
    stops = spell(tokenizer, "<|return|><|call|>")
    maker = constraint_maker(
        Grammar.from_regex("yes|no"), tokenizer, spell(tokenizer, prompt), stops, may_think=may_think
    )
    return maker(300)


def fits(constraint: Constraint, tokens: list[int]) -> bool:
    rows: Any = constraint.allowed(tokens)
    for at, token in enumerate(tokens):
        here: Any = constraint.allowed()
        assert (here[0] == rows[at]).all().item()
        if not here[0, token].item():
            return False
        constraint.accept(token)
    return True


@pytest.mark.parametrize(
    ("prompt", "reply", "may_think", "holds"),
    [
        (HEAD, f"{THINKS}Hm, maybe<|end|><|start|>assistant{FINAL}yes", True, True),
        (HEAD, f"{FINAL}yes", True, True),
        (HEAD, f"{FINAL}maybe", True, False),
        (HEAD, "yes", True, False),
        (HEAD, f"{THINKS}Hm<|end|>yes", True, False),
        (HEAD, f"{THINKS}Hm<|return|>", True, False),
        (HEAD, f"{THINKS}Hm<|end|><|start|>assistant<|channel|>commentary", True, False),
        (HEAD, f"{THINKS}Hm", False, False),
        (HEAD, f"{FINAL}no", False, True),
        (HEAD + THINKS, f"Hm<|end|><|start|>assistant{FINAL}no", True, True),
        (HEAD + FINAL, "no", True, True),
        ("Once upon", "no", True, True),
    ],
)  # fmt: skip
def test_what_may_come(prompt: str, reply: str, may_think: bool, holds: bool, tokenizer: Any) -> None:
    assert fits(make(tokenizer, prompt, may_think=may_think), spell(tokenizer, reply)) == holds


def test_what_only_the_form_decides_is_forced(tokenizer: Any) -> None:
    constraint = make(tokenizer, HEAD, may_think=False)
    assert constraint.forced(99) == spell(tokenizer, FINAL)
    constraint = make(tokenizer, HEAD)
    for token in spell(tokenizer, f"{THINKS}Hm<|end|>"):
        constraint.accept(token)
    assert constraint.forced(99) == spell(tokenizer, f"<|start|>assistant{FINAL}")
    assert not constraint.is_over


def test_the_answer_of_a_form_is_the_final_message(tokenizer: Any) -> None:
    segmenter = Segmenter(tokenizer, spell(tokenizer, HEAD), plain_answer=True)
    text = f"{THINKS}Hm<|end|><|start|>assistant{FINAL}" + '{"a": "<|call|>"}'
    found = [item for token in spell(tokenizer, text) for item in segmenter.add(token)] + segmenter.finish()
    said = {
        channel: "".join(item.text for item in found if isinstance(item, Segment) and item.channel == channel)
        for channel in ("thinking", "answer")
    }
    assert said == {"thinking": "Hm", "answer": '{"a": ""}'}  # special tokens are no text
