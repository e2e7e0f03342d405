"""Speculation changes how fast tokens come, never which: greedy or sampled, with penalties, on every kind of cache."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map

from edgelm.runtime.events import Token
from edgelm.runtime.requests import Request
from edgelm.runtime.sampling.settings import Sampling
from edgelm.runtime.speculation.draft import Draft, Grade
from edgelm.runtime.speculation.draft_model import DraftModel
from edgelm.runtime.speculation.governor import Governor
from edgelm.zoo.caches.maker import layer_maker

pytestmark = pytest.mark.slow

PROMPT = [5, 17, 200, 3, 42, 42, 99, 150, 7, 21] * 3

SAMPLINGS = [
    Sampling(),
    Sampling(temperature=1.0, seed=5),
    Sampling(temperature=1.3, top_p=0.9, top_k=50, min_p=0.01, seed=6),
    Sampling(temperature=0.8, repetition_penalty=1.3, repetition_window=12, frequency_penalty=0.4, seed=7),
    Sampling(presence_penalty=1.0, logit_bias={3: 2.0}),
]


class Eager(Governor):
    """Always checks as many guesses as it is told to, in turn."""

    def __init__(self, *lengths: int) -> None:
        super().__init__()
        self._lengths = itertools.cycle(lengths)

    def best_length(self, grade: Grade, limit: int) -> int:
        return max(0, min(next(self._lengths), limit))


def twin(network: Any, noise: float) -> Any:
    """A network that mostly agrees."""
    import copy

    mx.random.seed(1)
    other = copy.deepcopy(network)
    other.update(tree_map(lambda w: w + noise * mx.std(w) * mx.random.normal(w.shape), other.parameters()))
    mx.eval(other.parameters())
    return other


def speculating(
    drive: Callable[..., Any], network: Any, noise: float | None, *lengths: int, **options: Any
) -> Any:
    """A driver that guesses whenever it can; with a draft model that is off by `noise`."""
    if noise is not None:
        other = network if noise == 0 else twin(network, noise)
        options["draft_model"] = DraftModel(other, layer_maker(other), prefill_chunk=8)
    driver = drive(network, **options)
    driver.engine._governor = Eager(*lengths)
    return driver


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=range(len(SAMPLINGS)))
@pytest.mark.parametrize("noise", [0, 0.05], ids=["self", "near"])
def test_tokens_are_those_of_plain_decoding(
    any_network: Any, drive: Callable[..., Any], sampling: Sampling, noise: float
) -> None:
    plain = drive(any_network)
    expected = plain.run(PROMPT, sampling=sampling, max_tokens=40, logprobs=2, speculation=False)
    driver = speculating(drive, any_network, noise, 3, 1, 5)
    assert driver.run(PROMPT, sampling=sampling, max_tokens=40, logprobs=2) == expected
    assert driver.logprobs == pytest.approx(plain.logprobs, abs=2e-3)
    usage = driver.finished.usage
    assert usage.drafted_tokens >= usage.accepted_tokens > 0
    if noise == 0:
        assert usage.drafted_tokens == usage.accepted_tokens
    # What is in the cache afterwards is right too.
    following = [*PROMPT, *expected, 8, 9]
    assert driver.run(following, sampling=sampling) == drive(any_network).run(following, sampling=sampling)


@pytest.mark.parametrize("sampling", SAMPLINGS[:2], ids=["greedy", "sampled"])
def test_prompt_lookup_is_lossless(any_network: Any, drive: Callable[..., Any], sampling: Sampling) -> None:
    """The answer is put in front of the question: what is looked up is often right, and sometimes wrong."""
    settings = {"sampling": sampling, "max_tokens": 30, "speculation": False}
    first = drive(any_network).run(PROMPT, **settings)
    prompt = [*PROMPT, *first, 9, *PROMPT]
    expected = drive(any_network).run(prompt, **settings)
    driver = speculating(drive, any_network, None, 4, 2)
    assert driver.run(prompt, **{**settings, "speculation": True}) == expected


def test_right_guesses_of_lookup_are_taken(network: Any, drive: Callable[..., Any]) -> None:
    """A bias makes the model copy its prompt."""
    prompt = [*range(10, 30)] * 3
    copying = Copying(network)
    driver = speculating(drive, copying, None, 4)
    answer = driver.run(prompt, max_tokens=20)
    assert answer == list(range(10, 30))
    usage = driver.finished.usage
    assert usage.accepted_tokens == usage.drafted_tokens >= 14
    assert copying.calls < 10


class Copying:
    """Follows every token by its successor, from 29 by 10."""

    def __init__(self, network: Any) -> None:
        self.layers = network.layers
        self._network = network
        self.calls = 0

    def __call__(self, ids: mx.array, cache: Any) -> mx.array:
        self.calls += 1
        following = mx.where(ids == 29, 10, ids + 1)
        return self._network(ids, cache=cache) + 1000.0 * (mx.arange(300)[None, None] == following[..., None])


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 7])
def test_limits_hold(network: Any, drive: Callable[..., Any], max_tokens: int) -> None:
    driver = speculating(drive, network, 0, 5)
    assert driver.run(PROMPT, max_tokens=max_tokens) == drive(network).run(PROMPT, max_tokens=max_tokens)
    assert driver.finished.reason == "length"


def test_a_stop_token_among_the_guesses_ends_it(network: Any, drive: Callable[..., Any]) -> None:
    free = drive(network).run(PROMPT, max_tokens=20)
    stop = next(token for token in free[3:] if token not in free[:3])
    driver = speculating(drive, network, 0, 8)
    assert driver.run(PROMPT, max_tokens=20, stop_tokens=frozenset({stop})) == free[: free.index(stop)]
    assert (driver.finished.reason, driver.finished.matched) == ("stop", stop)
    following = [*PROMPT, *free[:2], 77]
    assert driver.run(following) == drive(network).run(following)


@pytest.mark.parametrize("after", range(1, 12, 2))
@pytest.mark.parametrize("how", ["cancel", "close"])
def test_stopping_between_guesses_leaves_it_ready(
    any_network: Any, drive: Callable[..., Any], after: int, how: str
) -> None:
    driver = speculating(drive, any_network, 0.05, 4)
    cancel = threading.Event()
    events = driver.engine.generate(Request(PROMPT, max_tokens=50), cancel)
    tokens = [event.id for event in itertools.islice(events, after + 2) if isinstance(event, Token)]
    if how == "cancel":
        cancel.set()
        rest = [event for event in events if not isinstance(event, Token)]
        assert rest[-1].reason == "cancelled"  # type: ignore[union-attr]
        tokens = list(rest[-1].tokens)  # type: ignore[union-attr]
    else:
        events.close()
    following = [*PROMPT, *tokens, 8, 9]
    assert driver.run(following) == drive(any_network).run(following)


def test_cancel_works_while_the_draft_model_reads_the_prompt(network: Any, drive: Callable[..., Any]) -> None:
    class Slow:
        """Counts what it is fed, and has the request cancelled at the second chunk."""

        layers = network.layers

        def __init__(self) -> None:
            self.fed: list[int] = []

        def __call__(self, ids: mx.array, cache: Any) -> mx.array:
            self.fed.append(ids.shape[1])
            if len(self.fed) == 2:
                cancel.set()
            return network(ids, cache=cache)

    slow, cancel = Slow(), threading.Event()
    driver = drive(network, draft_model=DraftModel(slow, layer_maker(network), prefill_chunk=8))
    driver.engine._governor = Eager(3)
    events = list(driver.engine.generate(Request(PROMPT, max_tokens=50), cancel))
    assert events[-1].reason == "cancelled"  # type: ignore[union-attr]
    assert slow.fed == [8, 8]
    assert driver.run(PROMPT) == drive(network).run(PROMPT)


class Never(Governor):
    def best_length(self, grade: Grade, limit: int) -> int:
        return 0


def pairs(driver: Any, temperature: float, count: int) -> Iterator[tuple[int, int]]:
    for seed in range(count):
        sampling = Sampling(temperature=temperature, top_k=4, seed=seed)
        first, second, *_ = driver.run(PROMPT, sampling=sampling, max_tokens=4, logprobs=None)
        yield first, second


def test_the_distribution_is_the_models_own(network: Any, drive: Callable[..., Any]) -> None:
    """Chi-square over the first two tokens, the second of which a draft model has guessed."""
    count = 1200
    seen: dict[tuple[int, int], int] = {}
    driver = speculating(drive, network, 0.3, 3)
    for pair in pairs(driver, 1.0, count):
        seen[pair] = seen.get(pair, 0) + 1
    expected = joint(network, PROMPT)
    assert set(seen) <= set(expected)
    chi2 = sum((seen.get(pair, 0) - count * p) ** 2 / (count * p) for pair, p in expected.items())
    assert chi2 < 37.7  # p > 0.001 at 15 degrees of freedom; the seeds are fixed


def joint(network: Any, prompt: list[int]) -> dict[tuple[int, int], float]:
    """Exact probabilities of the first two tokens at temperature 1 and top-k 4."""

    def likeliest(tokens: list[int]) -> dict[int, float]:
        logits = np.array(network(mx.array([tokens]))[0, -1]).astype(np.float64)
        best = np.argsort(-logits)[:4]
        weights = np.exp(logits[best] - logits[best].max())
        return dict(zip(best.tolist(), (weights / weights.sum()).tolist(), strict=True))

    return {
        (first, second): p * q
        for first, p in likeliest(prompt).items()
        for second, q in likeliest([*prompt, first]).items()
    }


def acceptance(driver: Any, temperature: float) -> float:
    drafted = accepted = 0
    for seed in range(12):
        driver.run(PROMPT, sampling=Sampling(temperature=temperature, seed=seed), max_tokens=40)
        usage = driver.finished.usage
        drafted, accepted = drafted + usage.drafted_tokens, accepted + usage.accepted_tokens
    return accepted / drafted


def test_acceptance_does_not_fall_with_the_temperature(network: Any, drive: Callable[..., Any]) -> None:
    """Where a peer that compares two independent draws falls from 75% to 18%."""
    itself = speculating(drive, network, 0, 3)
    assert acceptance(itself, 0.0) == acceptance(itself, 1.0) == 1.0
    near = speculating(drive, network, 0.02, 1)
    assert acceptance(near, 1.0) > 0.8 * acceptance(near, 0.0)


def test_off_is_off(network: Any, drive: Callable[..., Any]) -> None:
    driver = speculating(drive, network, 0, 4)
    driver.run(PROMPT, max_tokens=20, speculation=False)
    assert driver.finished.usage.drafted_tokens == 0


def test_drafts_of_another_vocabulary_size_fit(network: Any, drive: Callable[..., Any]) -> None:
    class Padded:
        """The same network, its embedding padded or cut to another number of rows."""

        layers = network.layers

        def __init__(self, columns: int) -> None:
            self._columns = columns

        def __call__(self, ids: mx.array, cache: Any) -> mx.array:
            logits = network(ids, cache=cache)
            extra = mx.full((*logits.shape[:-1], 20), 1e4)
            return mx.concatenate([logits, extra], axis=-1)[..., : self._columns]

    expected = drive(network).run(PROMPT, max_tokens=20)
    for columns in (320, 299):
        other = Padded(columns)
        driver = drive(network, draft_model=DraftModel(other, layer_maker(network)))
        driver.engine._governor = Eager(3)
        assert driver.run(PROMPT, max_tokens=20) == expected


def test_drafts_are_plain_values() -> None:
    assert Draft((1, 2), Grade("lookup", 3)).grade.strength == 3
