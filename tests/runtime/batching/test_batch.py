"""A batch says what each prompt alone says, in bounded memory, whatever happens to one of them."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

from edgelm.errors import EngineError, FitError, PromptError
from edgelm.runtime.batching import rows as sharing
from edgelm.runtime.many.results import BatchResult
from edgelm.zoo.caches.shape import trace_cache

pytestmark = pytest.mark.slow


def draw(count: int, low: int, high: int, *, seed: int = 0) -> list[list[int]]:
    """Prompts of random tokens and lengths."""
    drawn = random.Random(seed)
    return [[drawn.randrange(256) for _ in range(drawn.randint(low, high))] for _ in range(count)]


def check_same(results: dict[int, BatchResult], alone: dict[int, Any]) -> None:
    assert {index: result.error for index, result in results.items()} == dict.fromkeys(alone)
    for index, expected in alone.items():
        found = results[index].completion
        assert found is not None
        assert (index, found.tokens, found.text) == (index, expected.tokens, expected.text)
        assert (found.reason, found.matched) == (expected.reason, expected.matched)


@pytest.mark.parametrize("rows", [3, 8])
def test_greedy_answers_are_those_of_each_prompt_alone(
    any_network: Any, bench: Callable[..., Any], rows: int
) -> None:
    tried = bench(any_network)
    prompts = draw(7, 1, 40)
    check_same(tried.together(prompts, rows=rows, max_tokens=16), tried.alone(prompts, max_tokens=16))
    assert max(shape[0] for shape in tried.network.shapes) == min(rows, 7)


def test_prompts_longer_than_a_chunk_and_equally_long(any_network: Any, bench: Callable[..., Any]) -> None:
    tried = bench(any_network, context_length=None)
    prompts = draw(2, 530, 530) + draw(1, 531, 531, seed=1) + draw(1, 40, 40)
    check_same(tried.together(prompts, max_tokens=6), tried.alone(prompts, max_tokens=6))


def test_what_prompts_begin_with_is_computed_once(any_network: Any, bench: Callable[..., Any]) -> None:
    tried = bench(any_network)
    stem = draw(1, 50, 50)[0]
    prompts = [[*stem, *rest] for rest in draw(7, 1, 12, seed=1)] + draw(1, 9, 9, seed=2)
    results = tried.together(prompts, max_tokens=8)
    check_same(results, tried.alone(prompts, max_tokens=8))
    assert (1, 50) in tried.network.shapes
    assert max(length for _, length in tried.network.shapes if length != 50) <= 12
    assert [results[index].completion.usage.cached_tokens for index in range(8)] == [50] * 7 + [0]


def test_identical_prompts(any_network: Any, bench: Callable[..., Any]) -> None:
    tried = bench(any_network)
    prompts = draw(1, 40, 40) * 5
    check_same(tried.together(prompts, max_tokens=8), tried.alone(prompts, max_tokens=8))


def test_prompts_of_one_and_two_tokens(any_network: Any, bench: Callable[..., Any]) -> None:
    tried = bench(any_network)
    prompts = [[1], [2, 3], [4], [5, 6], [7, 8, 9]]
    check_same(tried.together(prompts, max_tokens=20), tried.alone(prompts, max_tokens=20))


def test_each_prompt_has_settings_of_its_own(network: Any, bench: Callable[..., Any]) -> None:
    tried = bench(network)
    ids = draw(6, 4, 30)
    prompts = [
        {"prompt": ids[0], "max_tokens": 3},
        {"prompt": ids[1], "temperature": 1.0, "seed": 5},
        {"prompt": ids[2], "temperature": 0.7, "top_k": 20, "top_p": 0.9, "seed": 6},
        {"prompt": ids[3], "repetition_penalty": 1.3},
        {"prompt": ids[4], "presence_penalty": 1.0, "logit_bias": {65: 4.0}},
        "plain text",
        {"messages": [{"role": "user", "content": "hello"}]},
    ]
    check_same(tried.together(prompts, max_tokens=20), tried.alone(prompts, max_tokens=20))


def test_stop_strings_end_one_reply(network: Any, bench: Callable[..., Any]) -> None:
    tried = bench(network)
    free = tried.alone(["one", "two"], max_tokens=30)
    stop = free[0].text[5:8]
    prompts = [{"prompt": "one", "stop": [stop]}, "two"]
    results = tried.together(prompts, max_tokens=30)
    check_same(results, tried.alone(prompts, max_tokens=30))
    assert results[0].completion.matched == stop
    assert results[0].completion.text == free[0].text[: free[0].text.index(stop)]


def test_logprobs_are_those_of_each_prompt_alone(network: Any, bench: Callable[..., Any]) -> None:
    tried = bench(network)
    prompts = [{"prompt": ids, "logprobs": 3} for ids in draw(3, 4, 30)]
    results, alone = tried.together(prompts, max_tokens=5), tried.alone(prompts, max_tokens=5)
    for index, expected in alone.items():
        for mine, its in zip(results[index].completion.logprobs, expected.logprobs, strict=True):
            assert mine.id == its.id
            assert math.isclose(mine.logprob, its.logprob, abs_tol=1e-4)
            assert [a.token for a in mine.alternatives] == [a.token for a in its.alternatives]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_each_answer_has_the_form_it_was_asked_in(
    network: Any, bench: Callable[..., Any], temperature: float
) -> None:
    tried = bench(network)
    ids = draw(5, 3, 20)
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    prompts = [
        {"prompt": ids[0], "regex": "[a-c]{4}x?"},
        ids[1],
        {"prompt": ids[2], "schema": schema, "logprobs": 1},
        {"prompt": ids[3], "repetition_penalty": 1.2},
        {"prompt": ids[4], "regex": "[0-9]+", "max_tokens": 5},
    ]
    settings = {"max_tokens": 40, "temperature": temperature, "seed": 1, "enable_thinking": False}
    results = tried.together(prompts, **settings)
    check_same(results, tried.alone(prompts, **settings))
    assert re.fullmatch("[a-c]{4}x?", results[0].text)
    assert isinstance(json.loads(results[2].text)["a"], bool)
    assert results[2].completion.parsed == json.loads(results[2].text)
    assert re.fullmatch("[0-9]{1,5}", results[4].text)


def test_results_come_as_they_end(network: Any, bench: Callable[..., Any]) -> None:
    tried = bench(network)
    prompts = [{"prompt": [7, 8], "max_tokens": count} for count in (9, 2, 5)]
    assert list(tried.together(prompts)) == [1, 2, 0]
    last = tried.progress[-1]
    assert (last.done, last.total, last.running, last.completion_tokens) == (3, 3, 0, 16)


def test_usage(network: Any, bench: Callable[..., Any]) -> None:
    usage = bench(network).together([[1, 2, 3], [4]], max_tokens=4)[0].completion.usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == (3, 0, 4)
    assert usage.first_token_s > 0
    assert usage.decode_s > 0
    assert usage.peak_memory_bytes > 0


def test_bad_prompts_fail_alone(network: Any, bench: Callable[..., Any]) -> None:
    tried = bench(network, context_length=40)
    good = draw(3, 5, 20)
    prompts = [good[0], [], [1, 300], good[1], [1] * 40, "\ud800", good[2]]
    results = tried.together(prompts, max_tokens=6)
    check_same({index: results[at] for index, at in enumerate((0, 3, 6))}, tried.alone(good, max_tokens=6))
    errors = {at: str(results[at].error) for at in (1, 2, 4, 5)}
    assert all(isinstance(results[at].error, PromptError) for at in errors)
    assert "empty" in errors[1]
    assert "token 300" in errors[2]
    assert "context of 40" in errors[4]
    assert "Unicode" in errors[5]
    with pytest.raises(PromptError, match="empty"):
        _ = results[1].text


def test_a_prompt_that_would_not_fit_in_memory_fails_alone(network: Any, bench: Callable[..., Any]) -> None:
    def check_fits(tokens: int) -> None:
        if tokens > 50:
            raise FitError(f"a prompt of {tokens} tokens needs too much")

    tried = bench(network)
    prompts = draw(2, 5, 30)
    expected = tried.alone(prompts, max_tokens=6)
    tried.check_fits = check_fits
    results = tried.together([*prompts, [1] * 51], max_tokens=6)
    assert isinstance(results.pop(2).error, FitError)
    check_same(results, expected)


def test_a_parser_that_fails_ends_its_reply_only(
    network: Any, bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgelm.text.segments import Segmenter

    add = Segmenter.add

    def fails(self: Segmenter, token: int) -> Any:
        self.count = getattr(self, "count", 0) + 1
        if self.count == 3 and self._tools:
            raise ZeroDivisionError("in the parser")
        return add(self, token)

    tried = bench(network)
    expected = tried.alone([[1, 2], [3]], max_tokens=8)
    monkeypatch.setattr(Segmenter, "add", fails)
    function = {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": "function", "function": function}]
    results = tried.together([[1, 2], {"prompt": [5, 6], "tools": tools}, [3]], max_tokens=8)
    check_same({0: results[0], 1: results[2]}, expected)
    assert isinstance(results[1].error, EngineError)
    assert "ZeroDivisionError: in the parser" in str(results[1].error)


def test_memory_is_bounded_and_who_was_sent_back_goes_on(
    any_network: Any, bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four fit until the caches grow beyond 256 tokens, then two."""
    monkeypatch.setattr(sharing, "_HEADROOM_TOKENS", 8)
    tried = bench(any_network, context_length=None)
    prompts = draw(4, 225, 245)
    settings = {"max_tokens": 36, "temperature": 1.0, "seed": 3, "repetition_penalty": 1.1}
    shape = trace_cache(any_network)
    assert shape is not None
    size_bytes = 4 * shape.elements_at(256) * 4
    results = tried.together(prompts, size_bytes=size_bytes, **settings)
    check_same(results, tried.alone(prompts, **settings))
    assert max(rows for rows, _ in tried.network.shapes) == 4
    assert 0 < tried.network.most_bytes <= size_bytes


def test_a_batch_that_mlx_cannot_take_is_halved(network: Any, bench: Callable[..., Any]) -> None:
    tried = bench(network)
    prompts = draw(7, 5, 30)
    expected = tried.alone(prompts, max_tokens=12)
    running = tried.batch(prompts, max_tokens=12)
    tried.network.before = fail_if(lambda ids: ids.shape[0] > 2)
    results = {event.index: event for event in running.events() if isinstance(event, BatchResult)}
    check_same(results, expected)


def test_a_prompt_that_mlx_cannot_take_fails_alone(network: Any, bench: Callable[..., Any]) -> None:
    tried = bench(network)
    prompts = [[*prompt, 7] for prompt in draw(5, 5, 30)]
    expected = tried.alone(prompts, max_tokens=12)
    running = tried.batch([[250, 251, 252, 7], *prompts], max_tokens=12)
    tried.network.before = fail_if(lambda ids: 252 in ids[:, :3].tolist()[0])
    results = {event.index: event for event in running.events() if isinstance(event, BatchResult)}
    poisoned = results.pop(0)
    assert isinstance(poisoned.error, EngineError)
    assert "out of memory" in str(poisoned.error)
    check_same({index - 1: result for index, result in results.items()}, expected)


def test_the_watchdog_ends_the_one_answer_that_is_too_long_for_it(
    network: Any, bench: Callable[..., Any]
) -> None:
    tried = bench(network)
    prompts = [[*prompt, 7] for prompt in draw(3, 5, 30)]
    expected = tried.alone(prompts, max_tokens=6)
    running = tried.batch([[250, 251, 252, 7], *prompts], max_tokens=6)
    text = "[METAL] Command buffer execution failed: Impacting Interactivity (0000000e)"
    tried.network.before = fail_if(lambda ids: 252 in ids[:, :3].tolist()[0], text)
    results = {event.index: event for event in running.events() if isinstance(event, BatchResult)}
    ended = results.pop(0).error
    assert isinstance(ended, EngineError)
    assert ended.message == f"the GPU's watchdog ended the answer: {text}"
    assert "compute less at once (a shorter prompt)" in str(ended.hint)  # it ran alone in the end
    check_same({index - 1: result for index, result in results.items()}, expected)


def fail_if(
    is_bad: Callable[[mx.array], bool], text: str = "[metal] out of memory"
) -> Callable[[mx.array], None]:
    def check(ids: mx.array) -> None:
        if is_bad(ids):
            raise RuntimeError(text)

    return check


def test_cancel(any_network: Any, bench: Callable[..., Any]) -> None:
    tried = bench(any_network)
    events = tried.batch(draw(9, 5, 30), rows=4, max_tokens=100).events()
    next(events)
    tried.cancel.set()
    so_far = len(tried.network.shapes)
    list(events)
    assert len(tried.network.shapes) <= so_far + 1


def test_cancelled_while_prompts_are_computed(network: Any, bench: Callable[..., Any]) -> None:
    tried = bench(network, context_length=None)
    events = tried.batch(draw(2, 2000, 2100), max_tokens=100).events()
    tried.network.before = lambda _: tried.cancel.set()
    assert not any(isinstance(event, BatchResult) for event in events)
    assert len(tried.network.shapes) == 1
