"""A bound on thinking: it is ended after so many tokens and not begun again, and nothing else is held."""

from __future__ import annotations

import random
from typing import Any

import pytest

from edgelm.runtime.constraints.budget import bounded
from edgelm.runtime.constraints.constraint import Constraint, MakeConstraint
from edgelm.runtime.constraints.grammar import Grammar
from edgelm.runtime.constraints.make import constraint_maker
from edgelm.text.segments import Segment, Segmenter
from tests.support.chat_templates import make_tokenizer
from tests.support.family_tokenizers import build_family

COLUMNS = 300
HARMONY = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>")
HEAD = "<|start|>user<|message|>Hi<|end|><|start|>assistant"


def spell(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def make(tokenizer: Any, prompt: str, budget: int, held: MakeConstraint | None = None) -> Constraint:
    maker = bounded(held, tokenizer, spell(tokenizer, prompt), budget)
    assert maker is not None
    return maker(COLUMNS)


def write(constraint: Constraint, wished: list[int], most: int) -> list[int]:
    """A reply that writes what it wishes where that may come, else the first that may."""
    written: list[int] = []
    wishes = iter(wished)
    while len(written) < most and (token := next(wishes, None)) is not None:
        row: Any = constraint.allowed()[0]
        while not row[token].item():
            forced = [at for at in range(COLUMNS) if row[at].item()]
            written.append(forced[0])
            constraint.accept(forced[0])
            row = constraint.allowed()[0]
        written.append(token)
        constraint.accept(token)
    return written


def channels(tokenizer: Any, prompt: str, reply: list[int]) -> dict[str, str]:
    reader = Segmenter(tokenizer, spell(tokenizer, prompt), plain_answer=False)
    texts: dict[str, str] = {"thinking": "", "answer": ""}
    for part in [part for token in reply for part in reader.add(token)] + reader.finish():
        assert isinstance(part, Segment)
        texts[part.channel] += part.text
    return texts


@pytest.fixture(scope="module")
def qwen() -> Any:
    return make_tokenizer("qwen3")


def test_thinking_that_the_prompt_begins_is_ended(qwen: Any) -> None:
    prompt = "<|im_start|>assistant\n<think>\n"
    reply = write(make(qwen, prompt, 5), spell(qwen, "abcdefgh yes"), 40)
    assert channels(qwen, prompt, reply) == {"thinking": "abcde", "answer": "fgh yes"}


def test_thinking_that_the_reply_begins_is_ended_and_begun_no_second_time(qwen: Any) -> None:
    prompt = "<|im_start|>assistant\n"
    constraint = make(qwen, prompt, 4)  # its mark, and three tokens
    reply = write(constraint, spell(qwen, "<think>abcdef"), 40)
    assert channels(qwen, prompt, reply) == {"thinking": "abc", "answer": "def"}
    (begin,) = spell(qwen, "<think>")
    row: Any = constraint.allowed()[0]
    assert not row[begin].item()
    assert row.sum().item() == COLUMNS - 1


def test_thinking_within_the_bound_is_left_alone(qwen: Any) -> None:
    wished = spell(qwen, "<think>abc</think>yes")
    constraint = make(qwen, "<|im_start|>assistant\n", 6)
    for token in wished:
        row: Any = constraint.allowed()[0]
        assert row.all().item()
        constraint.accept(token)
    assert not constraint.is_over


def test_an_answer_that_a_grammar_holds_stays_held(qwen: Any) -> None:
    prompt = "<|im_start|>assistant\n<think>\n"
    held = constraint_maker(
        Grammar.from_regex("yes|no"),
        qwen,
        spell(qwen, prompt),
        spell(qwen, "<|im_end|>"),
        may_think=True,
    )
    constraint = make(qwen, prompt, 3, held)
    reply = write(constraint, spell(qwen, "abcyes"), 40)
    assert channels(qwen, prompt, reply) == {"thinking": "abc", "answer": "yes"}
    assert constraint.is_over


@pytest.mark.parametrize("seed", range(6))
def test_guesses_are_judged_as_one_by_one(qwen: Any, seed: int) -> None:
    drawn = random.Random(seed)
    prompt = "<|im_start|>assistant\n<think>\n"
    tokens = [drawn.choice(spell(qwen, "ab</think><think>")) for _ in range(12)]
    at_once, one_by_one = make(qwen, prompt, 5), make(qwen, prompt, 5)
    for _ in range(6):
        drafts = tokens[: drawn.randint(0, 4)]
        rows: Any = at_once.allowed(drafts)
        assert 1 <= rows.shape[0] <= len(drafts) + 1
        for row, draft in enumerate([*drafts[: rows.shape[0] - 1], None]):
            here: Any = one_by_one.allowed()[0]
            assert (here == rows[row]).all().item()
            token = draft
            if token is None:
                wished = tokens[0]
                token = wished if here[wished].item() else here.tolist().index(True)
            at_once.accept(token)
            one_by_one.accept(token)
        tokens = tokens[1:]


def test_what_is_forced_is_the_mark(qwen: Any) -> None:
    constraint = make(qwen, "<|im_start|>assistant\n<think>\n", 1)
    assert constraint.forced(4) == []
    constraint.accept(*spell(qwen, "a"))
    assert constraint.forced(4) == spell(qwen, "</think>")


def test_harmony_goes_on_in_another_channel() -> None:
    tokenizer = build_family(HARMONY)
    constraint = make(tokenizer, HEAD, 4)
    begun = "<|channel|>analysis<|message|>"
    for token in spell(tokenizer, f"{begun}abc"):
        row: Any = constraint.allowed()[0]
        assert row[token].item()
        constraint.accept(token)
    closing = spell(tokenizer, "<|end|><|start|>assistant<|channel|>")
    while not constraint.forced(99):
        constraint.accept(*spell(tokenizer, "x"))
    for token in closing:
        row = constraint.allowed()[0]
        assert row.sum().item() == 1
        assert row[token].item()
        constraint.accept(token)
    row = constraint.allowed()[0]
    assert not row[spell(tokenizer, "analysis")[0]].item()
    for word in ("final", "commentary"):
        assert row[spell(tokenizer, word)[0]].item()


def test_a_family_that_tells_no_thinking_apart_is_left_alone() -> None:
    assert bounded(None, make_tokenizer("gemma"), [1, 2], 3) is None
