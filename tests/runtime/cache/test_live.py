"""Cache reuse: whatever was computed before, the tokens are those of a cold run."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow

CHUNK = 16


def edited(rng: random.Random, prompt: list[int], answer: list[int]) -> list[int]:
    """What a person does next: go on, retry, edit an earlier turn, or begin anew."""
    fresh = [rng.randrange(300) for _ in range(rng.randrange(1, 60))]
    whole = prompt + answer
    return {
        "continue": lambda: whole + fresh,
        "retry": lambda: list(prompt),
        "shorten": lambda: whole[: rng.randrange(1, len(whole) + 1)],
        "edit": lambda: whole[: rng.randrange(len(whole))] + fresh,
        "new": lambda: fresh,
        # Templates that drop the thinking and reopen the turn differ a little before the prompt's end.
        "rewrite": lambda: prompt[: max(1, len(prompt) - 5)] + answer[-3:] + fresh,
    }[rng.choice(["continue", "continue", "retry", "shorten", "edit", "new", "rewrite", "rewrite"])]()


@pytest.mark.parametrize("seed", range(3))
def test_reuse_equals_a_cold_run(any_network: Any, drive: Callable[..., Any], seed: int) -> None:
    rng = random.Random(seed)
    warm = drive(any_network, prefill_chunk=CHUNK)
    prompt = [rng.randrange(300) for _ in range(40)]
    reused = 0
    for _ in range(10):
        count = rng.randrange(1, 9)
        answer = warm.run(prompt, max_tokens=count)
        reused += warm.finished.usage.cached_tokens
        cold = drive(any_network, prefill_chunk=CHUNK)
        assert answer == cold.run(prompt, max_tokens=count)
        assert warm.logprobs == pytest.approx(cold.logprobs, abs=2e-3)
        prompt = edited(rng, prompt, answer)[-150:]
    assert reused > 0


def test_all_but_the_last_token_is_reused(network: Any, drive: Callable[..., Any]) -> None:
    driver = drive(network)
    prompt = list(range(50))
    driver.run(prompt)
    driver.run(prompt)
    assert driver.finished.usage.cached_tokens == 49


def test_the_answer_is_reused_too(any_network: Any, drive: Callable[..., Any]) -> None:
    driver = drive(any_network)
    prompt = list(range(50))
    answer = driver.run(prompt, max_tokens=5)
    driver.run([*prompt, *answer, 1, 2, 3])
    assert driver.finished.usage.cached_tokens == 54  # the last token was never fed


@pytest.mark.parametrize("kind", ["sliding", "recurrent", "hybrid", "nested"])
def test_states_that_cannot_be_cut_back_are_restored(
    build_network: Callable[[str], Any], drive: Callable[..., Any], kind: str
) -> None:
    """A template that rewrites the end of the last prompt costs the end, not all of it."""
    driver = drive(build_network(kind))
    prompt = list(range(200))
    driver.run(prompt, max_tokens=20)
    driver.run([*prompt[:-5], 250, 251])
    assert driver.finished.usage.cached_tokens == 199 - 32
    driver.run(prompt)  # the branch that was left is in the pool
    assert driver.finished.usage.cached_tokens == 199


def test_nothing_in_common_begins_anew(any_network: Any, drive: Callable[..., Any]) -> None:
    driver = drive(any_network)
    driver.run([1, 2, 3])
    driver.run([4, 5, 6])
    assert driver.finished.usage.cached_tokens == 0
