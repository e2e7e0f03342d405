"""Prompts are computed in chunks that fit the device, layer by layer, and the device is never idle in between."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from virtual_device import VirtualDevice

from edgelm.device import Device, simulate
from edgelm.pricing.chunks import Chunks, chunks_for
from edgelm.pricing.fit import account_of, trace
from edgelm.pricing.memory_plan import MemoryPlan
from edgelm.runtime.batching.batch_cache import BatchCache
from edgelm.runtime.engine import Engine
from edgelm.runtime.prefill import Underway
from edgelm.runtime.requests import Request
from edgelm.runtime.runner import ModelRunner
from edgelm.zoo.caches.leaves import leaves_of
from edgelm.zoo.caches.maker import layer_maker
from edgelm.zoo.weights.safetensors_header import TensorInfo

PROMPT = [5, 17, 200, 3, 42, 42, 99, 150, 7, 21]
MAC = simulate("M3 Pro", 36)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> VirtualDevice:
    return VirtualDevice().install(monkeypatch)


def prefill(device: VirtualDevice, network: Any, **options: Any) -> None:
    engine = Engine(device.network(network), vocab_size=300, **options)
    for event in engine.generate(Request(PROMPT * 4, max_tokens=1, speculation=False), threading.Event()):
        if type(event).__name__ == "Token":
            return


def test_all_layers_are_started_before_the_first_is_waited_for(
    device: VirtualDevice, any_network: Any
) -> None:
    prefill(device, any_network, prefill_chunk=64)
    layers = len(list(leaves_of(layer_maker(any_network)())))
    begun = device.log.index("build")  # the engine has tried its caches out before
    asked = device.log[begun : begun + 1 + 2 * layers]
    assert asked == ["build", *["start"] * layers, *["read"] * layers]


def test_a_batch_of_prompts_too(device: VirtualDevice, network: Any) -> None:
    make = layer_maker(network)
    cache = BatchCache(ModelRunner(device.network(network)), pads=True)
    assert cache.join([PROMPT, PROMPT[::-1]], [make(), make()], lambda: False)
    assert device.log == ["build", *["start"] * 2, *["read"] * 2]


def test_layers_are_waited_for_in_the_order_of_the_network(
    monkeypatch: pytest.MonkeyPatch, network: Any
) -> None:
    layers = layer_maker(network)()
    network(mx.array([PROMPT]), cache=layers)
    waited: list[mx.array] = []

    def wait(arrays: list[mx.array]) -> None:
        waited.append(arrays[0])

    monkeypatch.setattr(mx, "eval", wait)
    assert Underway().compute(layers, lambda: False)
    firsts = [leaf.state[0].tolist() for leaf in leaves_of(layers)]
    assert firsts[0] != firsts[1]
    assert [first.tolist() for first in waited] == firsts


@pytest.mark.parametrize("after", range(4))
def test_a_stop_is_heard_at_every_layer(device: VirtualDevice, network: Any, after: int) -> None:
    """While layers are started, since MLX holds starts back where many wait, and while they are waited for."""
    asked = 0

    def is_cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > after

    layers = layer_maker(network)()
    network(mx.array([PROMPT]), cache=layers)
    underway = Underway()
    assert not underway.compute(layers, is_cancelled)
    assert device.log == ["start", "start", "read", "read"][: after + 1]
    underway.settle()
    assert sorted(device.log) == ["read", "read", "start", "start"]


def test_buffers_are_given_back_once_a_prompt(
    monkeypatch: pytest.MonkeyPatch, network: Any, drive: Callable[..., Any]
) -> None:
    cleared: list[None] = []
    monkeypatch.setattr(mx, "clear_cache", lambda: cleared.append(None))
    drive(network, prefill_chunk=4).run(PROMPT * 4)
    assert len(cleared) == 1
    make = layer_maker(network)
    BatchCache(ModelRunner(network), pads=True, chunks=Chunks(8, 8)).join(
        [PROMPT * 4, PROMPT * 4], [make(), make()], lambda: False
    )
    assert len(cleared) == 2


def on(backend: str) -> Device:
    return dataclasses.replace(MAC, backend=backend)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("backend", "heads", "context", "expected"),
    [
        ("metal", 32, 0, 2048),
        ("metal", 32, 60_000, 2048),
        ("metal", 32, 65_536, 512),
        ("metal", 32, 200_000, 512),
        ("metal", 8, 65_535, 2048),
        ("metal", 8, 65_536, 512),
        ("metal", 64, 20_000, 2048),
        ("metal", 64, 40_000, 1024),
        ("metal", 128, 40_000, 512),
        ("metal", None, 0, 2048),
        ("cpu", 32, 0, 128),
        ("cpu", 128, 200_000, 128),
        ("cuda", 32, 0, 512),
    ],
)
def test_chunks_by_device(backend: str, heads: int | None, context: int, expected: int) -> None:
    assert chunks_for(on(backend), heads).at(context) == expected


def test_chunks_get_shorter_along_a_prompt(network: Any) -> None:
    from edgelm.runtime.alone import chunk_bounds

    chunks = list(chunk_bounds(0, 100_000, chunks_for(MAC, 32).at, set()))
    sizes = [end - start for start, end in chunks]
    assert sizes[0] == 2048
    assert {size for (start, _), size in zip(chunks[:-1], sizes, strict=False) if start >= 65_536} == {512}
    assert sum(sizes) == 100_000


CONFIG: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "vocab_size": 128256,
    "max_position_embeddings": 131072, "rope_theta": 500000.0, "head_dim": 128,
}  # fmt: skip


def test_memory_shortens_them() -> None:
    """8B in 4 bits on a Mac of 8 GB: what the weights leave does not hold 2,048 tokens' work."""
    weights = {"model.embed_tokens.weight": TensorInfo("F16", (2_300_000_000,), 0, 4_600_000_000)}
    for memory_gb, expected in ((8, False), (36, True)):
        machine = simulate("M3 Pro" if memory_gb == 36 else "M2", memory_gb)
        plan = MemoryPlan(account_of(weights, trace(CONFIG, Path("llama-8b")), CONFIG, machine))
        chunks = chunks_for(machine, 32)
        found = chunks.capped(plan.chunk_for(plan.longest_prompt() // 2, chunks.near)).at(0)
        assert (found == 2048) == expected
        assert found >= 32
        assert chunks.capped(plan.chunk_within(4096, 2048, 100 << 20)).at(0) < 512
