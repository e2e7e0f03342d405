"""How far each kind of decoding overlaps the device with Python: token/s beside a device that sleeps in a thread.

    python tests/benchmarks/pipeline.py [--forward-ms 5] [--host-ms 3] [--tokens 60]

A forward pass takes 5 ms on the device and whoever listens 3 ms a token, so a loop that overlaps them makes 200 token/s and
one that does not 125. A tiny network gives the tokens, whose own time comes on top. Two columns: in virtual time, where
Python itself is free, and by the clock. A draft model's forward takes a fifth of the large one's.
"""

from __future__ import annotations

import argparse
import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import edgelm.device

edgelm.device.preload_blas()

import mlx.core as mx  # noqa: E402
import pytest  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from tiny_networks import VOCAB, build  # noqa: E402
from virtual_device import VirtualDevice, arrays_in  # noqa: E402

from edgelm.runtime.engine import Engine  # noqa: E402
from edgelm.runtime.events import Token  # noqa: E402
from edgelm.runtime.requests import Request  # noqa: E402
from edgelm.runtime.sampling.settings import Sampling  # noqa: E402
from edgelm.runtime.speculation.draft import Grade  # noqa: E402
from edgelm.runtime.speculation.draft_model import DraftModel  # noqa: E402
from edgelm.runtime.speculation.governor import Governor  # noqa: E402
from edgelm.zoo.caches.maker import layer_maker  # noqa: E402

PROMPT = [5, 17, 200, 3, 42, 42, 99, 150, 7, 21]


class SleepingDevice(VirtualDevice):
    """The same queue in real time: a thread that sleeps."""

    def __init__(self, forward_s: float) -> None:
        super().__init__(forward_s)
        self._queue: queue.SimpleQueue[tuple[float, threading.Event]] = queue.SimpleQueue()
        self._done: dict[int, tuple[mx.array, threading.Event]] = {}
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def now(self) -> float:
        return time.perf_counter()

    @now.setter
    def now(self, value: float) -> None:
        """The clock goes by itself."""

    def work(self, seconds: float) -> None:
        time.sleep(seconds)

    def _run(self) -> None:
        while True:
            seconds, done = self._queue.get()
            time.sleep(seconds)
            done.set()

    def _begin(self, arrays: list[mx.array]) -> None:
        if not arrays:  # nothing is started: what is built waits on
            return
        self._really_start(arrays)  # type: ignore[no-untyped-call]
        done = threading.Event()
        self._queue.put((self._built_s, done))
        self._built_s = 0.0
        for array in arrays:
            self._done.setdefault(id(array), (array, done))

    def _wait(self, *trees: Any) -> None:
        arrays = list(arrays_in(trees))
        self._begin([array for array in arrays if id(array) not in self._done])
        for array in arrays:
            self._done[id(array)][1].wait()
        self._really_eval(arrays)


class Anything:
    """A constraint that allows all."""

    is_over = False

    def __init__(self, columns: int) -> None:
        self._row = mx.ones((1, columns), dtype=mx.bool_)

    def allowed(self, drafts: Sequence[int] = ()) -> mx.array:
        return mx.repeat(self._row, 1 + len(drafts), axis=0)

    def accept(self, token: int) -> None:
        """Nothing follows from it."""

    def forced(self, limit: int) -> list[int]:
        return []


class Three(Governor):
    """Always three guesses."""

    def best_length(self, grade: Grade, limit: int) -> int:
        return min(3, limit) if grade.drafter == "model" else 0


SAMPLED = Sampling(temperature=0.8, top_p=0.9, seed=3)
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sampled": {"sampling": SAMPLED},
    "penalties": {
        "sampling": Sampling(temperature=0.8, repetition_penalty=1.2, frequency_penalty=0.2, seed=3)
    },
    "logprobs": {"logprobs": 4},
    "constrained": {"constraint": Anything},
    "draft model, 3 right guesses": {"speculation": True},
}


def tokens_per_s(device: VirtualDevice, kind: str, tokens: int, host_s: float) -> float:
    times = [device.now for _ in listened(device, kind, tokens, host_s)]
    return (len(times) - 1) / (times[-1] - times[0])


def listened(device: VirtualDevice, kind: str, tokens: int, host_s: float) -> Iterator[None]:
    network = build("llama")
    settings = {"speculation": False, **KINDS[kind]}
    draft = None
    if settings["speculation"]:
        small = device.network(network, forward_s=device.forward_s / 5)
        draft = DraftModel(small, layer_maker(network))
    engine = Engine(device.network(network), vocab_size=VOCAB, draft_model=draft)
    if draft is not None:
        engine._governor = Three()
    for event in engine.generate(Request(PROMPT, max_tokens=tokens, **settings), threading.Event()):
        if isinstance(event, Token):
            device.work(host_s)
            yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--forward-ms", type=float, default=5.0)
    parser.add_argument("--host-ms", type=float, default=3.0)
    parser.add_argument("--tokens", type=int, default=60)
    asked = parser.parse_args()
    forward_s, host_s = asked.forward_ms / 1000, asked.host_ms / 1000
    best, serial = 1 / max(forward_s, host_s), 1 / (forward_s + host_s)
    print(f"overlapped {best:.0f} token/s, one after the other {serial:.0f}")
    print(f"{'':30}{'virtual':>10}{'clock':>10}{'of best':>10}")
    for kind in KINDS:
        found = []
        for device in (VirtualDevice(forward_s), SleepingDevice(forward_s)):
            with pytest.MonkeyPatch.context() as patch:
                device.install(patch)
                found.append(tokens_per_s(device, kind, asked.tokens, host_s))
        print(f"{kind:30}{found[0]:10.1f}{found[1]:10.1f}{found[0] / best:9.0%}", flush=True)


if __name__ == "__main__":
    main()
