"""Several answers of one prompt: each that of its seed alone, from one computation of the prompt, whoever else is served."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from edgelm.runtime.engine import Engine
from edgelm.runtime.events import ChatEvent, Finished, Text
from edgelm.runtime.generation.answers import TextAnswers
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.text import Voice, generate_text
from edgelm.runtime.requests import Request

pytestmark = pytest.mark.slow

STOP = frozenset({256})
PROMPT = [random.Random(7).randrange(32, 127) for _ in range(60)]
OPTIONS = GenerationOptions().changed(
    temperature=1.0, seed=30, max_tokens=10, speculation=False, stop=["e", "7"]
)
COUNT = 4


def text_of(events: list[ChatEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def serve_others(engine: Engine, timing: str) -> int:
    """Requests of others, served or waiting as the answers are asked for; the tokens of theirs that are to be computed."""
    other = [random.Random(8).randrange(32, 127) for _ in range(60)]
    half = [*PROMPT[:40], *other[:20]]
    prompts: dict[str, list[list[int]]] = {
        "alone": [],
        "beside one": [other],
        "beside two": [other, other[:50]],
        "behind its like": [half, half[:55]],
    }
    for prompt in prompts[timing]:
        engine.scheduler.add(Request(prompt, max_tokens=30, speculation=False), threading.Event())
    for _ in range(0 if timing == "behind its like" else 6):
        engine.scheduler.step()
    return 2 * 20 if timing == "behind its like" else 0


@pytest.mark.parametrize("timing", ["alone", "beside one", "beside two", "behind its like"])
@pytest.mark.parametrize("kind", ["llama", "hybrid"])
def test_the_prompt_is_computed_once(
    bench: Callable[..., Any], build_network: Callable[[str], Any], tokenizer: Any, kind: str, timing: str
) -> None:
    watched = bench(build_network(kind))
    engine = watched.engine()
    theirs = serve_others(engine, timing)
    watched.network.shapes.clear()
    answers = TextAnswers(Voice(tokenizer, STOP), PROMPT, OPTIONS, threading.Event(), count=COUNT)
    events: list[list[ChatEvent]] = [[] for _ in range(COUNT)]
    for item in answers.events(engine.scheduler):
        if item is None:
            engine.scheduler.step()
        else:
            events[item[0]].append(item[1])
    computed = sum(rows * tokens for rows, tokens in watched.network.shapes if tokens > 1)
    assert computed <= len(PROMPT) + theirs + 2 * COUNT
    plain = Engine(build_network(kind), vocab_size=259, context_length=200)
    for number, each in enumerate(events):
        options = OPTIONS.changed(seed=30 + number)
        alone = list(generate_text(plain, tokenizer, PROMPT, options, threading.Event(), stop_tokens=STOP))
        assert text_of(each) == text_of(alone)
        last, expected = each[-1], alone[-1]
        assert isinstance(last, Finished)
        assert isinstance(expected, Finished)
        assert (last.reason, last.matched) == (expected.reason, expected.matched)
    assert len({text_of(each) for each in events}) > 1
