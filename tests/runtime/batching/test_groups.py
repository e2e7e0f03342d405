"""Groups of answers from one prompt, with the log-probabilities of every token as it was drawn and as the model has it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from edgelm.errors import OptionError, PromptError
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import Finished, Token
from edgelm.runtime.requests import Request
from edgelm.runtime.sampling.sampler import keep_likeliest
from edgelm.runtime.sampling.settings import Sampling

pytestmark = pytest.mark.slow

PROMPT = [random.Random(1).randrange(256) for _ in range(20)]
SAMPLINGS = [
    Sampling(temperature=1.0, seed=3),
    Sampling(temperature=0.7, top_k=40, top_p=0.9, min_p=0.01, seed=4),
    Sampling(temperature=0.9, repetition_penalty=1.3, repetition_window=8, seed=5),
    Sampling(temperature=1.2, presence_penalty=0.5, frequency_penalty=0.2, logit_bias={3: 2.0}, seed=6),
    Sampling(logit_bias={3: 2.0}),
]


def alone(network: Any, request: Request) -> Finished:
    *events, last = Engine(network, vocab_size=300).generate(request, threading.Event())
    assert isinstance(last, Finished)
    assert request.scored != any(isinstance(event, Token) for event in events)
    return last


def answers(engine: Engine, *requests: Request) -> list[tuple[Finished, ...]]:
    groups = sorted(engine.answer(requests, threading.Event()), key=lambda group: group.index)
    assert [group.error for group in groups] == [None] * len(requests)
    return [group.answers for group in groups]


def logprobs(logits: np.ndarray[Any, Any], token: int) -> float:
    logits = logits.astype(np.float64)
    return float(logits[token] - np.log(np.exp(logits - logits.max()).sum()) - logits.max())


def distribution(sampling: Sampling, logits: np.ndarray[Any, Any], said: list[int]) -> np.ndarray[Any, Any]:
    """The logits that a token is drawn from, by the definitions of the settings."""
    row = logits.astype(np.float64)
    for token, bias in sampling.logit_bias.items():
        row[token] += bias
    recent = set([*PROMPT, *said][-sampling.repetition_window :])
    for token in recent if sampling.repetition_penalty != 1 else ():
        row[token] *= sampling.repetition_penalty if row[token] < 0 else 1 / sampling.repetition_penalty
    for token in set(said):
        row[token] -= sampling.presence_penalty + sampling.frequency_penalty * said.count(token)
    scaled = mx.array(row / sampling.temperature)[None].astype(mx.float32)
    return np.array(keep_likeliest(scaled, sampling.top_k, sampling.top_p, sampling.min_p)[0])


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=range(len(SAMPLINGS)))
@pytest.mark.parametrize("n", [1, 4])
def test_scores_are_those_of_the_definitions(
    network: Any, bench: Callable[..., Any], sampling: Sampling, n: int
) -> None:
    request = Request(PROMPT, max_tokens=12, sampling=sampling, n=n, scored=True)
    (group,) = answers(bench(network).engine(vocab_size=300), request)
    assert len(group) == n
    for answer in group:
        scores = answer.scores
        assert scores is not None
        assert scores.tokens.tolist() == list(answer.tokens)
        assert (scores.tokens.dtype, scores.sampled.dtype, scores.model.dtype) == (
            np.int32,
            np.float32,
            np.float32,
        )
        assert scores.sampled.shape == scores.model.shape == (12,)
        logits = np.array(network(mx.array([[*PROMPT, *answer.tokens[:-1]]]))[0, len(PROMPT) - 1 :])
        for at, token in enumerate(answer.tokens):
            assert abs(scores.model[at] - logprobs(logits[at], token)) < 1e-3
            said = list(answer.tokens[:at])
            drawn = 0.0 if sampling.is_greedy else logprobs(distribution(sampling, logits[at], said), token)
            assert abs(scores.sampled[at] - drawn) < 1e-3


def test_scores_under_a_constraint_and_with_a_stop_token(network: Any, bench: Callable[..., Any]) -> None:
    """What is not allowed has no share; the stop token that was drawn is scored too."""

    class Odd:
        is_over = False

        def __init__(self, columns: int) -> None:
            self._row = (mx.arange(columns) % 2 == 1)[None]

        def allowed(self, drafts: Any = ()) -> mx.array:
            return self._row

        def accept(self, token: int) -> None:
            assert token % 2

        def forced(self, limit: int) -> list[int]:
            return []

    stops = frozenset(range(1, 300, 6))
    request = Request(
        PROMPT, max_tokens=40, sampling=Sampling(temperature=1.0, seed=2), n=3, scored=True, constraint=Odd,
        stop_tokens=stops,
    )  # fmt: skip
    (group,) = answers(bench(network).engine(vocab_size=300), request)
    for answer in group:
        assert answer.matched in stops
        assert answer.scores is not None
        tokens = answer.scores.tokens.tolist()
        assert tokens == [*answer.tokens, answer.matched]
        logits = np.array(network(mx.array([[*PROMPT, *tokens[:-1]]]))[0, len(PROMPT) - 1 :])
        for at, token in enumerate(tokens):
            allowed = np.where(np.arange(300) % 2 == 1, logits[at], -np.inf)
            assert abs(answer.scores.sampled[at] - logprobs(allowed, token)) < 1e-3
            assert answer.scores.sampled[at] >= answer.scores.model[at]


def test_a_group_is_computed_once(any_network: Any, bench: Callable[..., Any]) -> None:
    """Of one prompt, each answer is that of its own seed alone; scored or not, the tokens are the same."""
    tried = bench(any_network, context_length=None)
    engine = tried.engine(vocab_size=300)
    request = Request(PROMPT, max_tokens=10, sampling=Sampling(temperature=1.0, seed=7), n=5, scored=True)
    (group,) = answers(engine, request)
    assert sum(length for _, length in tried.network.shapes if length > 1) == len(PROMPT) - 1
    for number, answer in enumerate(group):
        sampling = Sampling(temperature=1.0, seed=7 + number)
        assert answer.tokens == alone(any_network, Request(PROMPT, max_tokens=10, sampling=sampling)).tokens
    assert len({answer.tokens for answer in group}) == 5


def test_scores_alone_are_those_of_a_row(network: Any, bench: Callable[..., Any]) -> None:
    request = Request(PROMPT, max_tokens=10, sampling=SAMPLINGS[1], scored=True)
    other = Request(PROMPT[::-1], max_tokens=30)
    (row,), _ = answers(bench(network).engine(vocab_size=300), request, other)
    by_itself = alone(network, request)
    assert row.tokens == by_itself.tokens
    assert row.scores is not None
    assert by_itself.scores is not None
    np.testing.assert_allclose(row.scores.sampled, by_itself.scores.sampled, atol=1e-4)
    np.testing.assert_allclose(row.scores.model, by_itself.scores.model, atol=1e-4)


def test_an_engine_whose_requests_cannot_share_answers_them_in_turn(network: Any) -> None:
    request = Request(PROMPT, max_tokens=6, sampling=Sampling(temperature=1.0, seed=7), n=3)
    (group,) = answers(Engine(network, vocab_size=300), request)
    assert [answer.usage.cached_tokens for answer in group] == [0, 19, 19]


def test_what_one_request_meets_is_its_groups(network: Any, bench: Callable[..., Any]) -> None:
    requests = [Request(PROMPT, max_tokens=5, n=2), Request([], n=2), Request([7, 8], max_tokens=3)]
    groups = {group.index: group for group in bench(network).engine().answer(requests, threading.Event())}
    assert isinstance(groups[1].error, PromptError)
    assert [len(groups[index].answers) for index in range(3)] == [2, 0, 1]


def test_many_groups_and_a_cancel(network: Any, bench: Callable[..., Any]) -> None:
    cancel = threading.Event()
    tried = bench(network)
    requests = [Request([5, at], max_tokens=4, sampling=Sampling(temperature=1.0), n=4) for at in range(50)]
    groups = tried.engine(rows=8).answer(requests, cancel)
    seen = [next(groups).index for _ in range(20)]
    assert len(set(seen)) == 20
    cancel.set()
    assert list(groups) == []


def test_one_stream_is_of_one_answer(network: Any) -> None:
    with pytest.raises(OptionError, match="n is 2, expected 1 where one answer is streamed"):
        next(Engine(network, vocab_size=300).generate(Request(PROMPT, n=2), threading.Event()))
