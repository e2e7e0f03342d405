"""Constraints through the engine: with sampling, penalties, log-probabilities, stop strings, thinking, speculation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from edgelm.errors import UnsupportedError
from edgelm.runtime.constraints.grammar import Grammar
from edgelm.runtime.constraints.vocabulary import vocabulary_of
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import Finished, Prefill, Token, Usage
from edgelm.runtime.generation.completion import Completion, collect
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.text import generate_text
from edgelm.runtime.requests import Cancel, Request

Ask = Callable[..., Completion]
USAGE = Usage(1, 0, 0, 0.0, 0.0, 0.0, 0)
LETTERS = "[a-z]{30}"


@pytest.fixture
def ask(tokenizer: Any, build_network: Callable[[str], Any]) -> Ask:
    engine = Engine(build_network("llama"), vocab_size=300)

    def run(prompt: str = "Hi", **settings: Any) -> Completion:
        options = GenerationOptions(max_tokens=100, enable_thinking=False).changed(**settings)
        ids = tokenizer.encode(prompt, add_special_tokens=False)
        stops = frozenset(tokenizer.eos_token_ids)
        events = generate_text(engine, tokenizer, ids, options, threading.Event(), stop_tokens=stops)
        return collect(events, options.grammar)

    return run


def test_a_reply_ends_where_its_grammar_does(ask: Ask) -> None:
    reply = ask(regex=LETTERS)
    assert (len(reply.text), reply.reason) == (30, "stop")


def test_max_tokens_cuts_and_says_so(ask: Ask) -> None:
    reply = ask(
        schema={"type": "array", "items": {"const": "abcdef"}, "minItems": 5, "maxItems": 5}, max_tokens=9
    )
    assert (reply.text, reply.reason) == ('["abcdef"', "length")


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 1.5, "seed": 4}, {"temperature": 0.7, "top_k": 5, "seed": 2}]
)
def test_guessing_ahead_changes_nothing(settings: dict[str, Any], ask: Ask) -> None:
    grammar = 'start: ("abcabcabc" /[0-9]/){6}'
    plain = ask(grammar=grammar, speculation=False, **settings)
    assert ask(grammar=grammar, speculation=True, **settings).tokens == plain.tokens
    assert len(plain.text) == 60


@pytest.mark.slow
def test_filters_choose_among_what_is_allowed(ask: Ask) -> None:
    """Top-k of the whole vocabulary would leave nothing that fits."""
    assert ask(regex=LETTERS, temperature=1.0, top_k=1, seed=1).text == ask(regex=LETTERS).text
    assert len(ask(regex=LETTERS, temperature=2.0, top_p=0.01, min_p=0.9, seed=1).text) == 30


@pytest.mark.slow
def test_penalties_apply_to_what_is_allowed(ask: Ask) -> None:
    assert len(set(ask(regex=LETTERS, presence_penalty=2.0, frequency_penalty=2.0).text)) > len(
        set(ask(regex=LETTERS).text)
    )


def test_log_probabilities_are_the_models_own(ask: Ask) -> None:
    reply = ask(regex="[ab]{3}", logprobs=2)
    assert [token.id for token in reply.logprobs] == list(reply.tokens)
    for token in reply.logprobs:
        assert token.logprob is not None
        assert len(token.alternatives) == 2
        assert token.logprob <= token.alternatives[0].logprob


def test_a_stop_string_ends_it_earlier(ask: Ask) -> None:
    reply = ask(regex="a{5}b{5}", stop="bb")
    assert (reply.text, reply.reason, reply.matched) == ("aaaaa", "stop", "bb")


def test_the_constraint_begins_after_the_thinking(ask: Ask) -> None:
    reply = ask("Hi<think>", regex="yes|no", temperature=2.0, seed=9, max_tokens=3000, logit_bias={258: 3.0})
    assert reply.text in ("yes", "no")
    assert reply.thinking
    assert reply.reason == "stop"


class Scripted:
    """An engine that says what it is told."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    def generate(self, request: Request, cancel: Cancel) -> Iterator[Any]:
        yield Prefill(1, 1, 0)
        yield from (Token(token) for token in self.tokens)
        yield Finished("stop", USAGE, None, tuple(self.tokens))


def test_markers_inside_the_answer_are_text(tokenizer: Any) -> None:
    said = tokenizer.encode("<think>a</think>", add_special_tokens=False)
    said += [tokenizer.encode(c, add_special_tokens=False)[0] for c in '"<think>b</think>"']
    options = GenerationOptions().changed(schema={"type": "string"})
    stops = frozenset(tokenizer.eos_token_ids)
    events = generate_text(Scripted(said), tokenizer, [1], options, threading.Event(), stop_tokens=stops)  # type: ignore[arg-type]
    reply = collect(events, options.grammar)
    assert (reply.thinking, reply.parsed) == ("a", "<think>b</think>")


def test_a_vocabulary_is_made_once(tokenizer: Any) -> None:
    stops = tokenizer.eos_token_ids
    assert vocabulary_of(tokenizer, stops) is vocabulary_of(tokenizer, set(stops))
    assert vocabulary_of(tokenizer, {3}) is not vocabulary_of(tokenizer, stops)
    with pytest.raises(UnsupportedError, match="no stop token"):
        vocabulary_of(tokenizer, ())


def test_a_grammar_is_equal_to_its_like() -> None:
    assert Grammar.from_regex("a") == Grammar.from_regex("a")
    assert Grammar.from_regex("a") != Grammar.from_lark("start: /a/")


@pytest.mark.parametrize("settings", [{}, {"regex": LETTERS}, {"temperature": 1.0, "seed": 3}])
def test_thinking_ends_with_its_budget(settings: dict[str, Any], ask: Ask) -> None:
    reply = ask("Hi<think>", thinking_budget=7, max_tokens=60, **settings)
    assert reply.usage.thinking_tokens == 7 + 1  # and its mark
    assert reply.usage.completion_tokens > 8
    assert ask("Hi<think>", max_tokens=60, greedy=True).usage.thinking_tokens > 30  # without a bound
