"""The device is one token ahead of whoever reads, in every kind of decoding: orders of calls, and rates in virtual time.

A forward pass takes 5 ms, and whoever listens 3 ms a token: a loop that overlaps them makes 200 token/s, one that does
not 125.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import pytest
from virtual_device import VirtualDevice

from edgelm.runtime.engine import Engine
from edgelm.runtime.events import Finished, Token
from edgelm.runtime.requests import Request
from edgelm.runtime.sampling.sampler import Sampler
from edgelm.runtime.sampling.settings import Sampling
from edgelm.runtime.sampling.step import Step
from edgelm.runtime.speculation.draft_model import DraftModel
from edgelm.zoo.caches.maker import layer_maker

PROMPT = [5, 17, 200, 3, 42, 42, 99, 150, 7, 21]
COUNT = 60
HOST_S = 0.003
BEST = 200.0
BAR = 0.95 * BEST

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sampled": {"sampling": Sampling(temperature=0.8, top_p=0.9, top_k=40, min_p=0.01, seed=3)},
    "penalties": {
        "sampling": Sampling(
            temperature=0.7, repetition_penalty=1.2, repetition_window=12, frequency_penalty=0.3, seed=4
        )
    },
    "biased": {"sampling": Sampling(logit_bias={3: 2.0}, presence_penalty=0.5)},
    "logprobs": {"logprobs": 4},
    "guesses that do not pay": {"speculation": True},
}


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> VirtualDevice:
    return VirtualDevice().install(monkeypatch)


def listen(device: VirtualDevice, engine: Engine, request: Request) -> tuple[list[int], float]:
    """The tokens, and how many came a second after the first while each cost the listener `HOST_S`."""
    ids, began = [], 0.0
    for event in engine.generate(request, threading.Event()):
        if isinstance(event, Token):
            began = began or device.now
            ids.append(event.id)
            device.log.append("yield")
            device.work(HOST_S)
    return ids, (len(ids) - 1) / (device.now - HOST_S - began)


@pytest.mark.parametrize("kind", KINDS)
def test_the_device_never_waits_for_the_listener(device: VirtualDevice, network: Any, kind: str) -> None:
    settings = {"speculation": False, **KINDS[kind]}
    request = Request(PROMPT, max_tokens=COUNT, **settings)
    ids, rate = listen(device, Engine(device.network(network), vocab_size=300), request)
    assert len(ids) == COUNT
    assert rate >= BAR


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "guesses" not in kind])
def test_a_step_is_started_before_the_token_before_it_is_read(
    device: VirtualDevice, network: Any, kind: str
) -> None:
    request = Request(PROMPT, max_tokens=5, speculation=False, **KINDS[kind])
    listen(device, Engine(device.network(network), vocab_size=300), request)
    first = len(device.log) - 1 - device.log[::-1].index("read")  # the last token: nothing is ahead of it
    assert device.log[first:] == ["read", "yield"]
    decoding = device.log[:first]
    assert decoding[-4 * 4 :] == ["build", "start", "read", "yield"] * 4


def test_a_constraint_keeps_the_network_ahead(device: VirtualDevice, network: Any) -> None:
    """Only the choice waits for the token: the forward pass after it has begun."""

    class Anything:
        is_over = False

        def __init__(self, columns: int) -> None:
            self._row = mx.ones((1, columns), dtype=mx.bool_)

        def allowed(self, drafts: Sequence[int] = ()) -> mx.array:
            return self._row

        def accept(self, token: int) -> None:
            pass

        def forced(self, limit: int) -> list[int]:
            return []

    request = Request(PROMPT, max_tokens=COUNT, speculation=False, constraint=Anything)
    _, rate = listen(device, Engine(device.network(network), vocab_size=300), request)
    assert rate >= BAR


def test_a_draft_model_feeds_its_guesses_before_they_are_read(device: VirtualDevice, network: Any) -> None:
    draft = device.network(network, forward_s=0.001, name="guess")
    model = DraftModel(draft, layer_maker(network))
    model.begin(PROMPT, threading.Event())
    model.propose(1, Sampler(Sampling(), PROMPT, 300))
    device.log.clear()
    guesses = model.propose(4, Sampler(Sampling(), PROMPT, 300))
    assert len(guesses) == 4
    assert device.log == ["guess", "start"] * 4 + ["read"] * 4


@pytest.mark.parametrize("after", range(4))
def test_a_draft_model_that_is_stopped_knows_what_it_has_fed(network: Any, after: int) -> None:
    """Guesses that were started and not read are undone."""

    class After:
        asked = 0

        def is_set(self) -> bool:
            self.asked += 1
            return self.asked > 6 + after

    def propose(model: DraftModel, prompt: list[int], cancel: Any) -> list[int]:
        model.begin(prompt, cancel)
        return model.propose(4, Sampler(Sampling(), prompt, 300))

    expected = propose(DraftModel(network, layer_maker(network)), PROMPT, threading.Event())
    model = DraftModel(network, layer_maker(network))
    stopped = propose(model, PROMPT, After())
    assert stopped == expected[: len(stopped)]
    assert propose(model, PROMPT, threading.Event()) == expected
    following = [*PROMPT, *expected[:1], 9]
    fresh = DraftModel(network, layer_maker(network))
    assert propose(model, following, threading.Event()) == propose(fresh, following, threading.Event())


@pytest.mark.slow
@pytest.mark.parametrize("end", ["stop", "length", "cancelled", "closed"])
@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(temperature=1.0, seed=2)], ids=["greedy", "sampled"]
)
def test_what_was_chosen_ahead_is_in_no_cache(
    any_network: Any, drive: Callable[..., Any], sampling: Sampling, end: str
) -> None:
    free = drive(any_network).run(PROMPT, sampling=sampling, speculation=False)
    stop = next((token for at, token in enumerate(free) if at >= 3 and token not in free[:at]), free[3])
    driver, cancel = drive(any_network), threading.Event()
    settings = {"stop_tokens": frozenset({stop})} if end == "stop" else {}
    most = 4 if end == "length" else 50
    request = Request(PROMPT, sampling=sampling, max_tokens=most, speculation=False, **settings)
    events = driver.engine.generate(request, cancel)
    said: list[int] = []
    for event in events:
        if isinstance(event, Token):
            said.append(event.id)
        if len(said) == 3 and end == "cancelled":
            cancel.set()
        if len(said) == 3 and end == "closed":
            break
        if isinstance(event, Finished):
            assert event.reason == end
    events.close()
    live = driver.engine._live
    held = [*PROMPT, *said, *([stop] if end == "stop" else [])]
    assert live.tokens == held[: len(live.tokens)]
    following = [*PROMPT, *said, 8, 9]
    assert driver.run(following, speculation=False) == drive(any_network).run(following, speculation=False)


def test_reading_a_step_builds_no_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an operation would wait for is the step that has been started meanwhile."""

    class Evaluated:
        """All that may be asked of an array is its whole value."""

        def __init__(self, value: Any) -> None:
            self.tolist = lambda: value

    waited: list[Any] = []
    monkeypatch.setattr(mx, "eval", waited.append)
    step = Step(
        ids=Evaluated([7, 2]),  # type: ignore[arg-type]
        logprobs=Evaluated([[-1.0], [-2.0]]),  # type: ignore[arg-type]
        top_ids=Evaluated([[5, 7, 3], [2, 4, 1]]),  # type: ignore[arg-type]
        top_logprobs=Evaluated([[-3.0, -1.0, -1.0], [-2.0, -0.5, -4.0]]),  # type: ignore[arg-type]
    )
    first, second = step.read()
    assert (first.id, first.logprob, second.id, second.logprob) == (7, -1.0, 2, -2.0)
    assert [one.token for one in first.alternatives] == [3, 7, 5]
    assert [(one.token, one.logprob) for one in second.alternatives] == [(4, -0.5), (2, -2.0), (1, -4.0)]
    assert waited == [[step.ids, step.logprobs, step.top_ids, step.top_logprobs]]
