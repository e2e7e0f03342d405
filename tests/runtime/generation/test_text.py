"""Text over the engine: stop strings, segments, log-probabilities and settings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from edgelm.errors import EngineError, OptionError
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import ChatEvent, Finished, Prefill, Text, Token, Usage
from edgelm.runtime.generation.completion import collect
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.text import generate_text
from edgelm.runtime.requests import Cancel, Request
from edgelm.runtime.sampling.settings import Sampling

USAGE = Usage(1, 0, 0, 0.0, 0.0, 0.0, 0)


class Scripted:
    """An engine that says what it is told."""

    def __init__(self, tokens: Iterable[int]) -> None:
        self.tokens = tuple(tokens)
        self.said = 0

    def generate(self, request: Request, cancel: Cancel) -> Iterator[Any]:
        yield Prefill(1, 1, 0)
        for token in self.tokens:
            if cancel.is_set():
                yield Finished("cancelled", USAGE, None, self.tokens[: self.said])
                return
            self.said += 1
            yield Token(token)
        yield Finished("length", USAGE, None, self.tokens)


@pytest.fixture
def say(tokenizer: Any) -> Callable[..., tuple[list[ChatEvent], Scripted]]:
    def run(text: str, **settings: Any) -> tuple[list[ChatEvent], Scripted]:
        engine = Scripted(tokenizer.encode(text, add_special_tokens=False))
        options = GenerationOptions().changed(**settings)
        events = generate_text(engine, tokenizer, [1], options, threading.Event())  # type: ignore[arg-type]
        return list(events), engine

    return run


def test_text_is_the_decode_of_the_tokens(network: Any, tokenizer: Any, drive: Callable[..., Any]) -> None:
    engine = Engine(network, vocab_size=300)
    options = GenerationOptions(max_tokens=40)
    reply = collect(generate_text(engine, tokenizer, [72, 105], options, threading.Event()))
    assert list(reply.tokens) == drive(network).run([72, 105], max_tokens=40)
    whole = tokenizer.decode(list(reply.tokens), skip_special_tokens=True)
    assert not {"<think>", "</think>"} & {whole}
    assert reply.text + reply.thinking == whole
    assert (reply.reason, reply.logprobs) == ("length", ())


def test_a_stop_string_ends_the_engine_at_once(say: Callable[..., Any]) -> None:
    events, engine = say("One. Two. Three.", stop="o.")
    reply = collect(events)
    assert (reply.text, reply.reason, reply.matched) == ("One. Tw", "stop", "o.")
    assert engine.said == len("One. Two.")
    assert len(reply.tokens) == engine.said


def test_a_stop_string_held_to_the_end_is_let_go(say: Callable[..., Any]) -> None:
    events, _ = say("One. T", stop=["Two", "x"])
    assert collect(events).text == "One. T"
    assert collect(events).reason == "length"


def test_stop_strings_are_for_the_answer(say: Callable[..., Any]) -> None:
    events, _ = say("<think>a\n\nb</think>\n\nc\n\nd", stop="\n\n")
    reply = collect(events)
    assert (reply.thinking, reply.text, reply.matched) == ("a\n\nb", "c", "\n\n")


def test_tokens_come_only_with_logprobs(say: Callable[..., Any], network: Any, tokenizer: Any) -> None:
    events, _ = say("Hi")
    assert not [event for event in events if isinstance(event, Token)]
    engine = Engine(network, vocab_size=300)
    options = GenerationOptions(max_tokens=4, logprobs=2)
    reply = collect(generate_text(engine, tokenizer, [1, 2], options, threading.Event()))
    assert tuple(token.id for token in reply.logprobs) == reply.tokens
    assert all(len(token.alternatives) == 2 for token in reply.logprobs)


def test_the_cache_is_sound_after_a_stop_string(
    network: Any, tokenizer: Any, drive: Callable[..., Any]
) -> None:
    driver = drive(network)
    sampling = Sampling(temperature=1.0, seed=1)
    free = driver.run([1, 2], sampling=sampling)
    text = tokenizer.decode(free, skip_special_tokens=True)
    options = GenerationOptions(sampling=sampling, stop=text[2:4])
    reply = collect(generate_text(driver.engine, tokenizer, [1, 2], options, threading.Event()))
    assert reply.reason == "stop"
    following = [1, 2, *reply.tokens, 9]
    assert driver.run(following) == drive(network).run(following)


def test_changed_names_settings_at_any_depth() -> None:
    options = GenerationOptions(max_tokens=5).changed(temperature=0.5, stop="x")
    assert (options.sampling.temperature, options.max_tokens, options.stop) == (0.5, 5, ("x",))
    both = options.changed(sampling=Sampling(top_k=2), min_p=0.1)
    assert both.sampling == Sampling(top_k=2, min_p=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temprature": 1}, "'temprature'"),
        ({"top_p": 2}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ""}, "stop string is empty"),
        ({"sampling": 1}, "sampling is 1"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        GenerationOptions().changed(**settings)


def test_a_misspelt_setting_gets_a_hint() -> None:
    with pytest.raises(OptionError) as caught:
        GenerationOptions().changed(temprature=1)
    assert caught.value.hint == "did you mean temperature?"


def test_an_unfinished_generation_is_an_error() -> None:
    with pytest.raises(EngineError, match="without a result"):
        collect([Text("a")])
