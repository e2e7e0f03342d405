"""Replies of equal settings are drawn together: each row gets its own sampler's token, for as many operations as one row."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from edgelm.runtime.batching.draw import Draw, Drawer
from edgelm.runtime.batching.group import group_key
from edgelm.runtime.events import Token
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.text import TextReply, Voice
from edgelm.runtime.many.prompts import read_prompts
from edgelm.runtime.requests import Request
from edgelm.runtime.sampling.sampler import Sampler
from edgelm.runtime.sampling.settings import Sampling
from edgelm.runtime.sampling.step import Step
from edgelm.runtime.sequence import ActiveRequest

V = 300
SETTINGS: list[dict[str, Any]] = [
    {"temperature": 1.0},
    {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.01},
    {"temperature": 1.2, "repetition_penalty": 1.4, "repetition_window": 6},
    {"temperature": 0.9, "repetition_penalty": 1.2, "repetition_window": 64, "frequency_penalty": 0.3},
    {"presence_penalty": 1.5, "logit_bias": {3: 2.0, 9: -1.0}},
    {"temperature": 0.0},
]


@pytest.fixture
def replies(tokenizer: Any) -> Callable[..., list[ActiveRequest]]:
    def make(count: int, **settings: Any) -> list[ActiveRequest]:
        prompts = [
            {"prompt": [at % 250, *range(at % 9)], "seed": at, "max_tokens": 100, **settings}
            for at in range(count)
        ]
        tasks, errors = read_prompts(prompts, GenerationOptions())
        assert not errors
        cancel = threading.Event()
        texts = [TextReply(Voice(tokenizer), task.encode(tokenizer), task.options, cancel) for task in tasks]
        return [ActiveRequest(text.request, cancel) for text in texts]

    return make


class Alone:
    """Each reply with a sampler of its own."""

    def __init__(self) -> None:
        self._samplers: dict[int, Sampler] = {}

    def draw(self, logits: mx.array, replies: list[ActiveRequest]) -> list[int]:
        found: list[int] = []
        for row, reply in enumerate(replies):
            prompt = reply.ids[: reply.prompt_tokens]
            sampler = self._samplers.setdefault(id(reply), Sampler(reply.request.sampling, prompt, V))
            found += sampler.sample(logits[row : row + 1]).tolist()  # type: ignore[arg-type]
        return found


def deal(replies: list[ActiveRequest], tokens: list[Token]) -> None:
    for reply, token in zip(replies, tokens, strict=True):
        assert not reply.deal(token)
        assert not reply.ends()


@pytest.mark.slow
@pytest.mark.parametrize("mixed", [False, True], ids=["one group", "all settings"])
@pytest.mark.parametrize("settings", SETTINGS, ids=range(len(SETTINGS)))
def test_tokens_are_those_of_each_rows_own_sampler(
    replies: Callable[..., list[ActiveRequest]], settings: dict[str, Any], mixed: bool
) -> None:
    """Also when replies leave, others join, and one that was sent back comes again with what it has said."""
    mx.random.seed(4)
    everybody = replies(9, **settings)
    if mixed:
        everybody += [reply for other in SETTINGS for reply in replies(2, **other)]
    drawer, alone = Drawer(), Alone()
    running = everybody[:5]
    for step in range(14):
        logits = mx.random.normal((len(running), V)) * 3
        drawn = drawer.draw(logits, running)
        drawn.start()
        tokens = drawn.read()
        assert [token.id for token in tokens] == alone.draw(logits, running)
        assert drawn.ids.tolist() == [token.id for token in tokens]
        deal(running, tokens)
        if step == 3:
            running = [running[0], *running[2:]]
        if step == 5:
            running = running + everybody[5:]
        if step == 8:
            waiting, running = running[1:3], [running[0], *running[3:]]
        if step == 11:
            running = running + waiting


def test_the_next_step_is_built_before_tokens_are_dealt(replies: Callable[..., list[ActiveRequest]]) -> None:
    running = replies(4, temperature=1.0, repetition_penalty=1.5)
    drawer, alone = Drawer(), Alone()
    mx.random.seed(1)
    first, second = mx.random.normal((4, V)), mx.random.normal((4, V))
    drawn = [drawer.draw(first, running), drawer.draw(second, running)]
    expected = [alone.draw(first, running), alone.draw(second, running)]
    assert [[token.id for token in one.read()] for one in drawn] == expected


def operations(draw: Draw, path: Path) -> Counter[str]:
    """By name, that are not computed yet."""
    mx.export_to_dot(str(path), draw.ids)
    return Counter(re.findall(r'label ?= ?"?([^",\]]*)', path.read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS, ids=range(len(SETTINGS)))
def test_operations_grow_with_groups_not_with_rows(
    replies: Callable[..., list[ActiveRequest]], tmp_path: Path, settings: dict[str, Any]
) -> None:
    counts = {}
    for rows in (2, 8, 32):
        running, drawer = replies(rows, **settings), Drawer()
        for _ in range(9):  # the first seats them; then their windows are full
            drawn = drawer.draw(mx.zeros((rows, V)), running)
            mx.eval(drawn.ids, *(group._keys for group in drawer._groups.values()))
        counts[rows] = operations(drawer.draw(mx.zeros((rows, V)), running), tmp_path / "graph.dot")
    assert counts[2] == counts[8] == counts[32]
    assert counts[2].total() > 0
    several = [reply for at in range(4) for reply in replies(8, temperature=1.0 + at)]
    assert operations(Drawer().draw(mx.zeros((32, V)), several), tmp_path / "graph.dot").total() < 32 * 10


def test_what_is_read_after_some_have_left_was_started_before() -> None:
    """Nothing new is asked of the device."""

    class Evaluated:
        def __init__(self, value: Any) -> None:
            self.tolist = lambda: value

    step = Step(Evaluated([5, 6, 7]))  # type: ignore[arg-type]
    kept = Draw(mx.array([5, 6, 7]), (step,), ((0, 0), (0, 1), (0, 2))).keep([0, 2])
    assert kept.steps == (step,)
    assert kept.places == ((0, 0), (0, 2))
    assert kept.ids.tolist() == [5, 7]


def test_what_replies_must_have_in_common() -> None:
    def key(logprobs: int | None = None, **settings: Any) -> Any:
        return group_key(Request([1], sampling=Sampling(**settings), logprobs=logprobs))

    assert key(temperature=1.0, seed=1) == key(temperature=1.0, seed=2)
    assert key(temperature=1.0) != key(temperature=1.1)
    assert key(temperature=0.0, top_p=0.5) == key(temperature=1.0, top_k=1)
    assert key(repetition_window=3) == key(repetition_window=9)
    assert key(repetition_penalty=1.1, repetition_window=3) != key(
        repetition_penalty=1.1, repetition_window=9
    )
    assert key(logit_bias={1: 2.0, 3: 4.0}) == key(logit_bias={3: 4.0, 1: 2.0})
    assert key(logprobs=2) != key(logprobs=None)
    hash(key(logit_bias={1: 2.0}))
