"""The engine: the tokens of mlx-lm's own loop, with limits, cancels and errors that leave it ready."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import Mock

import mlx.core as mx
import numpy as np
import pytest

from edgelm.adapters.acting.rows import Acting
from edgelm.adapters.acting.variant import Variant
from edgelm.errors import EngineError, FitError, OptionError, PromptError
from edgelm.runtime.engine import Engine
from edgelm.runtime.events import Finished, Prefill, Token
from edgelm.runtime.requests import Request
from edgelm.runtime.sampling.settings import Sampling

PROMPT = [5, 17, 200, 3, 42, 42, 99, 150, 7, 21]


@pytest.mark.slow
def test_greedy_is_mlx_lms(any_network: Any, drive: Callable[..., Any]) -> None:
    from mlx_lm.generate import generate_step

    prompt = PROMPT * 6
    theirs = [int(token) for token, _ in generate_step(mx.array(prompt), any_network, max_tokens=40)]
    assert drive(any_network, prefill_chunk=7).run(prompt, max_tokens=40) == theirs


def test_same_seed_same_tokens(network: Any, drive: Callable[..., Any]) -> None:
    sampling = Sampling(temperature=1.5, top_p=0.9, seed=11, repetition_penalty=1.2)
    runs = [drive(network, prefill_chunk=chunk).run(PROMPT, sampling=sampling) for chunk in (2, 512)]
    assert runs[0] == runs[1]


def test_events_come_in_order(network: Any) -> None:
    engine = Engine(network, vocab_size=300, prefill_chunk=4)
    events = list(engine.generate(Request(PROMPT, max_tokens=3), threading.Event()))
    assert [event.done for event in events if isinstance(event, Prefill)] == [0, 4, 8, 9, 10]
    assert [type(event) for event in events[-4:]] == [Token, Token, Token, Finished]
    usage = events[-1].usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == (10, 0, 3)
    assert usage.first_token_s > 0
    assert usage.decode_s > 0
    assert usage.peak_memory_bytes > 0
    assert events[-1].tokens == tuple(event.id for event in events if isinstance(event, Token))


def test_a_stop_token_is_reported_and_not_emitted(network: Any, drive: Callable[..., Any]) -> None:
    driver = drive(network)
    free = driver.run(PROMPT)
    stop = next(token for token in free[1:] if token != free[0])
    assert driver.run(PROMPT, stop_tokens=frozenset({stop})) == free[: free.index(stop)]
    assert (driver.finished.reason, driver.finished.matched) == ("stop", stop)


def test_generation_ends_where_the_context_is_full(network: Any, drive: Callable[..., Any]) -> None:
    driver = drive(network, context_length=15)
    assert len(driver.run(PROMPT, max_tokens=None)) == 5
    assert driver.finished.reason == "length"
    with pytest.raises(PromptError, match=r"15 tokens.*context of 15"):
        driver.run([1] * 15)


@pytest.mark.parametrize(
    ("prompt", "message"), [([], "empty"), ([1, 300], "token 300, expected 0 to 299"), ([-1], "token -1")]
)
def test_bad_prompts_are_refused(
    network: Any, drive: Callable[..., Any], prompt: list[int], message: str
) -> None:
    with pytest.raises(PromptError, match=message):
        drive(network).run(prompt)


def test_a_bias_outside_the_vocabulary_is_refused(network: Any, drive: Callable[..., Any]) -> None:
    driver = drive(network)
    with pytest.raises(OptionError, match="token 300"):
        driver.run(PROMPT, sampling=Sampling(logit_bias={300: 1.0}))
    assert driver.run(PROMPT) == drive(network).run(PROMPT)


@pytest.mark.parametrize("bad", [{"max_tokens": 0}, {"logprobs": 21}, {"logprobs": -1}])
def test_bad_requests_are_refused_when_built(bad: dict[str, int]) -> None:
    with pytest.raises(OptionError, match=next(iter(bad))):
        Request(PROMPT, **bad)  # type: ignore[arg-type]


def test_top_k_above_the_vocabulary_is_all_of_it(network: Any, drive: Callable[..., Any]) -> None:
    sampling = Sampling(temperature=1.0, top_k=10**6, seed=1)
    assert len(drive(network).run(PROMPT, sampling=sampling)) == 8


def test_logprobs_are_the_models_own(network: Any) -> None:
    sampling = Sampling(temperature=2.0, seed=4, logit_bias={3: 5.0})
    request = Request(PROMPT, sampling=sampling, max_tokens=3, logprobs=4)
    tokens = [
        event
        for event in Engine(network, vocab_size=300).generate(request, threading.Event())
        if isinstance(event, Token)
    ]
    so_far = list(PROMPT)
    for token in tokens:
        logits = np.array(network(mx.array([so_far])))[0, -1].astype(np.float64)
        expected = logits - np.log(np.exp(logits).sum())
        assert token.logprob is not None
        assert math.isclose(token.logprob, expected[token.id], abs_tol=1e-4)
        best = np.argsort(-expected)[:4]
        assert [alternative.token for alternative in token.alternatives] == best.tolist()
        assert math.isclose(token.alternatives[0].logprob, expected.max(), abs_tol=1e-4)
        so_far.append(token.id)


def test_logprobs_may_be_of_the_chosen_token_only(network: Any) -> None:
    request = Request(PROMPT, max_tokens=1, logprobs=0)
    events = list(Engine(network, vocab_size=300).generate(request, threading.Event()))
    (token,) = (event for event in events if isinstance(event, Token))
    assert token.logprob is not None
    assert token.alternatives == ()


@pytest.mark.parametrize("after", [0, 2, 4, 6, 9])
@pytest.mark.parametrize("how", ["cancel", "close"])
def test_stopping_at_any_event_leaves_it_ready(
    any_network: Any, drive: Callable[..., Any], after: int, how: str
) -> None:
    driver = drive(any_network, prefill_chunk=8)
    cancel = threading.Event()
    prompt = PROMPT * 4
    events = driver.engine.generate(Request(prompt, max_tokens=50), cancel)
    seen = [next(events) for _ in range(after + 1)]
    if how == "cancel":
        cancel.set()
        rest = list(events)
        assert rest[-1].reason == "cancelled"
        assert len(rest) <= 2
    else:
        events.close()
    tokens = [event.id for event in seen if isinstance(event, Token)]
    following = prompt + tokens + [8, 9]
    assert driver.run(following) == drive(any_network).run(following)
    assert driver.finished.usage.cached_tokens > 0 or after == 0


@pytest.mark.parametrize("checks", range(1, 7))
def test_a_chunk_is_broken_off_between_its_layers(
    any_network: Any, drive: Callable[..., Any], checks: int
) -> None:
    class AfterChecks:
        """Set once it was asked so often."""

        asked = 0

        def is_set(self) -> bool:
            self.asked += 1
            return self.asked > checks

    driver = drive(any_network, prefill_chunk=16)
    prompt = PROMPT * 4
    events = list(driver.engine.generate(Request(prompt, max_tokens=50), AfterChecks()))
    assert events[-1].reason == "cancelled"
    assert not any(isinstance(event, Token) for event in events)
    # What was begun of the chunk is finished behind the end of the request, and used by the next one.
    assert driver.run(prompt) == drive(any_network).run(prompt)
    assert driver.finished.usage.cached_tokens > 0


def test_a_failure_does_not_reach_the_next_request(network: Any, drive: Callable[..., Any]) -> None:
    class Fails:
        def __init__(self) -> None:
            self.calls = 0
            self.layers = network.layers

        def __call__(self, ids: mx.array, cache: Any) -> mx.array:
            self.calls += 1
            if self.calls == 4:
                raise RuntimeError("[metal] out of luck")
            return network(ids, cache=cache)

    driver = drive(Fails())
    with pytest.raises(EngineError, match="out of luck"):
        driver.run(PROMPT)
    assert driver.run(PROMPT) == drive(network).run(PROMPT)
    assert driver.finished.usage.cached_tokens == 0


def test_an_exception_in_the_loop_that_reads_is_a_close(network: Any, drive: Callable[..., Any]) -> None:
    driver = drive(network)
    with pytest.raises(KeyError):
        for event in driver.engine.generate(Request(PROMPT), threading.Event()):
            if isinstance(event, Token):
                raise KeyError
    assert driver.run(PROMPT) == drive(network).run(PROMPT)


def test_reset_forgets(network: Any, drive: Callable[..., Any]) -> None:
    driver = drive(network)
    driver.run(PROMPT)
    driver.engine.reset()
    driver.run(PROMPT)
    assert driver.finished.usage.cached_tokens == 0


REFUSALS = [
    RuntimeError(
        "[metal::malloc] Attempting to allocate 9 bytes which is greater than the maximum allowed buffer size"
    ),
    RuntimeError("[malloc] Unable to allocate 9 bytes."),
    RuntimeError("[METAL] Command buffer execution failed: Insufficient Memory"),
    MemoryError(),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_memory_that_runs_out_leaves_a_session_that_works(
    network: Any, drive: Callable[..., Any], refusal: Exception
) -> None:
    """What MLX raises where its backend lets it be caught (its CPU backend does not)."""

    class Greedy:
        layers = network.layers
        is_greedy = False

        def __call__(self, ids: mx.array, cache: Any) -> mx.array:
            if self.is_greedy:
                raise refusal
            return network(ids, cache=cache)

    greedy = Greedy()
    driver = drive(greedy)
    expected = driver.run(PROMPT)
    greedy.is_greedy = True
    with pytest.raises(FitError, match="memory ran out") as caught:
        driver.run([*PROMPT, 1])
    assert "--kv-bits 8" in str(caught.value.hint)
    greedy.is_greedy = False
    assert driver.run(PROMPT) == expected
    assert driver.finished.usage.cached_tokens == 0


def test_the_watchdog_ends_an_answer_and_leaves_a_session_that_works(
    network: Any, drive: Callable[..., Any]
) -> None:
    text = "[METAL] Command buffer execution failed: Caused GPU Timeout Error (00000002)"

    class Watched:
        layers = network.layers
        is_slow = False

        def __call__(self, ids: mx.array, cache: Any) -> mx.array:
            if self.is_slow:
                raise RuntimeError(text)
            return network(ids, cache=cache)

    watched = Watched()
    driver = drive(watched)
    expected = driver.run(PROMPT)
    watched.is_slow = True
    with pytest.raises(EngineError) as caught:
        driver.run([*PROMPT, 1])
    assert caught.value.message == f"the GPU's watchdog ended the answer: {text}"
    assert "compute less at once (a shorter prompt)" in str(caught.value.hint)
    watched.is_slow = False
    assert driver.run(PROMPT) == expected
    assert driver.finished.usage.cached_tokens == 0


class Odd:
    """A constraint: odd tokens only, at most `most`; the first is forced."""

    def __init__(self, columns: int, most: int) -> None:
        self._odd = mx.arange(columns) % 2 == 1
        self._most = most
        self.taken: list[int] = []

    def allowed(self, drafts: Sequence[int] = ()) -> mx.array:
        admissible = next((at for at, draft in enumerate(drafts) if draft % 2 == 0), len(drafts))
        return mx.stack([self._odd] * (1 + admissible))

    def accept(self, token: int) -> None:
        self.taken.append(token)

    def forced(self, limit: int) -> list[int]:
        return []

    @property
    def is_over(self) -> bool:
        return len(self.taken) == self._most


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(temperature=1.5, seed=2)], ids=["greedy", "sampled"]
)
def test_a_constraint_holds(any_network: Any, drive: Callable[..., Any], sampling: Sampling) -> None:
    made: list[Odd] = []

    def make(columns: int) -> Odd:
        made.append(Odd(columns, most=6))
        return made[-1]

    driver = drive(any_network)
    tokens = driver.run(PROMPT, sampling=sampling, constraint=make, max_tokens=20)
    assert len(tokens) == 6
    assert all(token % 2 for token in tokens)
    assert made[0].taken == tokens
    assert driver.finished.reason == "stop"
    assert driver.run(PROMPT, sampling=sampling, constraint=make, max_tokens=6) == tokens
    assert driver.finished.reason == "stop"  # complete with its last token, not cut off
    # It is the plain choice among what is allowed.
    so_far = list(PROMPT)
    for token in tokens if sampling.is_greedy else ():
        logits = np.array(any_network(mx.array([so_far]))[0, -1])
        assert token == 1 + 2 * int(np.argmax(logits[1::2]))
        so_far.append(token)


def test_variants_do_not_share_a_cache(network: Any, drive: Callable[..., Any]) -> None:
    acting = Acting()
    driver = drive(network, variants=Mock(acting=acting, variant_of=lambda _: acting.default))
    driver.run([*PROMPT] * 4)
    acting.default = Variant("with adapter")
    driver.run([*PROMPT] * 4)
    assert driver.finished.usage.cached_tokens == 0
    driver.run([*PROMPT * 4, 1])
    assert driver.finished.usage.cached_tokens == 40
    acting.default = acting.base
    driver.run([*PROMPT * 4, 1])
    assert driver.finished.usage.cached_tokens == 40  # from the pool


@pytest.mark.slow
def test_a_long_soak_of_branches(any_network: Any, drive: Callable[..., Any]) -> None:
    """Turns, retries and other chats: every answer as in a cold run, and the memory in use stays flat."""
    import random

    rng = random.Random(5)
    warm, cold = drive(any_network, prefill_chunk=32), drive(any_network, prefill_chunk=32)
    chats: list[list[int]] = [[rng.randrange(300) for _ in range(20)] for _ in range(3)]
    in_use = []
    for _ in range(60):
        chat = rng.choice(chats)
        prompt = [*chat, *(rng.randrange(300) for _ in range(5))]
        answer = warm.run(prompt, max_tokens=4)
        cold.engine.reset()
        assert answer == cold.run(prompt, max_tokens=4)
        if rng.random() < 0.8:
            chat[:] = [*prompt, *answer]
        if len(chat) > 120:
            del chat[20:]
        mx.clear_cache()
        in_use.append(mx.get_active_memory())
    assert max(in_use[30:]) < 2 * max(in_use[:30])
