"""MLX's limits follow what is loaded: none is inherited by the next model, on simulated Macs."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from checkpoints import write_checkpoint

from edgelm import device as devices
from edgelm.device import cache_limit_bytes, recommended_working_set_bytes, settle_memory, simulate
from edgelm.runtime import assemble as assembling
from edgelm.runtime.assemble import RuntimeOptions, assemble, release
from edgelm.runtime.speculation.draft import Grade
from edgelm.runtime.speculation.governor import MOST, Governor
from edgelm.runtime.speculation.speculator import Speculator
from edgelm.runtime.speculation.width import most_guesses
from edgelm.runtime.worker import EngineThread

pytestmark = pytest.mark.slow

MAC = simulate("M3 Pro", 36)


class Limits:
    """MLX's memory, and what it was told in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.in_use = 0
        self.log: list[tuple[str, int | None]] = []
        monkeypatch.setattr(mx, "get_active_memory", lambda: self.in_use)
        for name in ("set_cache_limit", "set_wired_limit", "clear_cache", "synchronize"):
            monkeypatch.setattr(mx, name, self._note(name))

    def _note(self, name: str) -> Any:
        return lambda *value: self.log.append((name, *(value or (None,))))

    def settle(self, machine: devices.Device, in_use: int, **options: Any) -> dict[str, int | None]:
        self.in_use = in_use
        self.log.clear()
        settle_memory(machine, **options)
        return dict(self.log)


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Limits:
    return Limits(monkeypatch)


def test_a_small_model_does_not_inherit_a_large_ones_limit(limits: Limits) -> None:
    recommended = recommended_working_set_bytes(MAC)
    large, small = recommended * 9 // 10, recommended // 10
    assert limits.settle(MAC, large)["set_wired_limit"] == large
    assert [name for name, _ in limits.log] == [
        "synchronize",  # never while something is under way
        "clear_cache",  # what is only kept is not wired
        "set_cache_limit",
        "set_wired_limit",
    ]
    assert limits.settle(MAC, small)["set_wired_limit"] == 0
    assert limits.settle(MAC, large, wire=False)["set_wired_limit"] == 0


@pytest.mark.parametrize("share", [0, 10, 50, 90])
def test_the_buffer_cache_is_bounded_by_what_is_left(limits: Limits, share: int) -> None:
    in_use = recommended_working_set_bytes(MAC) * share // 100
    assert limits.settle(MAC, in_use)["set_cache_limit"] == cache_limit_bytes(MAC, in_use)


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_only_metal_wires(limits: Limits, backend: Any) -> None:
    machine = dataclasses.replace(MAC, backend=backend)
    assert "set_wired_limit" not in limits.settle(machine, recommended_working_set_bytes(MAC))


def test_limits_are_set_again_when_a_model_is_closed(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> None:
    """On the thread that owned it, once its memory is free."""

    class Weights:
        def __del__(self) -> None:
            limits.in_use = 0

    monkeypatch.setattr(devices, "detect", lambda: MAC)
    thread = EngineThread(Weights, teardown=release)
    limits.in_use = recommended_working_set_bytes(MAC)
    limits.log.clear()
    thread.close()
    assert dict(limits.log)["set_wired_limit"] == 0
    assert dict(limits.log)["set_cache_limit"] == cache_limit_bytes(MAC, 0)


def test_a_model_that_may_not_be_wired_forbids_it_while_it_is_there(
    monkeypatch: pytest.MonkeyPatch, limits: Limits, tmp_path: Path
) -> None:
    """MLX wires whatever is in use: a second model, opened or closed, must not wire a large one that may not be."""
    write_checkpoint(tmp_path / "tiny", "llama")
    monkeypatch.setattr(devices, "detect", lambda: MAC)
    large = limits.in_use = recommended_working_set_bytes(MAC) * 9 // 10

    def last() -> int | None:
        return dict(limits.log)["set_wired_limit"]

    def opened(*, wire: bool) -> EngineThread[Any]:
        options = RuntimeOptions(check_fit=False, wire=wire)
        return EngineThread(lambda: assemble(tmp_path / "tiny", options), teardown=release)

    unwired = opened(wire=False)
    assert last() == 0
    one, two = opened(wire=True), opened(wire=True)
    assert last() == 0
    one.close()
    assert last() == 0
    unwired.close()
    assert last() == large
    two.close()
    assert last() == large  # what is in use still, by others


def test_a_draft_counts_among_what_is_wired(
    monkeypatch: pytest.MonkeyPatch, limits: Limits, tmp_path: Path
) -> None:
    """Limits are set once everything is there."""
    write_checkpoint(tmp_path / "tiny", "llama")
    monkeypatch.setattr(devices, "detect", lambda: MAC)
    loaded = assembling.load

    def load(*arguments: Any, **settings: Any) -> Any:
        limits.in_use += recommended_working_set_bytes(MAC) * 4 // 10
        return loaded(*arguments, **settings)

    monkeypatch.setattr(assembling, "load", load)
    options = RuntimeOptions(check_fit=False, draft=tmp_path / "tiny")
    thread = EngineThread(lambda: assemble(tmp_path / "tiny", options), teardown=release)
    assert dict(limits.log)["set_wired_limit"] == limits.in_use
    thread.close()


def test_the_teardown_runs_on_the_thread_and_after_a_failed_setup_too() -> None:
    ran: list[int] = []

    def fails() -> None:
        raise ValueError("no model")

    def note() -> None:
        ran.append(threading.get_ident())

    EngineThread(threading.get_ident, teardown=note).close()
    with pytest.raises(ValueError, match="no model"):
        EngineThread(fails, teardown=note)
    assert len(ran) == 2
    assert threading.get_ident() not in ran


@pytest.mark.parametrize(
    ("backend", "heads", "key_heads", "expected"),
    [
        ("metal", 32, 32, 7),
        ("metal", 32, 8, 7),  # 4 share a key: 8 queries are 32 rows
        ("metal", 40, 8, 5),
        ("metal", 64, 8, 3),
        ("metal", 32, 2, 1),
        ("metal", 64, 1, 0),
        ("metal", 9, 3, 7),
        ("metal", None, None, 7),
        ("metal", 8, None, 7),
        ("cpu", 64, 1, MOST),
        ("cuda", 64, 1, MOST),
    ],
)
def test_guesses_by_device(backend: Any, heads: int | None, key_heads: int | None, expected: int) -> None:
    assert most_guesses(dataclasses.replace(MAC, backend=backend), heads, key_heads) == expected


class Eager(Governor):
    def best_length(self, grade: Grade, limit: int) -> int:
        return limit


@pytest.mark.parametrize("most", [1, 3, 7])
def test_no_step_checks_more(most: int) -> None:
    speculator = Speculator(Eager(), [*range(20), *range(20)][:30], most=most)
    draft = speculator.propose(100, None)  # type: ignore[arg-type] # no draft model draws
    forced = speculator.propose_forced(range(50))
    assert draft is not None
    assert forced is not None
    assert (len(draft.tokens), len(forced.tokens)) == (most, most)
