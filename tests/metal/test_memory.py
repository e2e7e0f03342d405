"""Wired memory, prompt chunks and the price of a quantized KV cache."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest

from edgelm import device
from edgelm.cli.commands.doctor.metal.kv_memory import measure_kv_memory
from edgelm.pricing.chunks import chunks_for
from edgelm.runtime.assemble import RuntimeOptions, assemble

pytestmark = pytest.mark.metal


def test_a_small_model_does_not_inherit_a_large_ones_wired_limit(tiny: Path) -> None:
    mx.set_wired_limit(1 << 30)
    assemble(tiny, RuntimeOptions())
    assert mx.set_wired_limit(0) == 0, "what it was before this call"


def test_the_working_set_of_the_table_is_what_metal_says() -> None:
    machine = device.detect()
    assert machine.working_set_bytes is not None
    simulated = device.simulate(machine.chip.removeprefix("Apple "), machine.memory_bytes / 2**30)
    assert device.recommended_working_set_bytes(simulated) == pytest.approx(
        machine.working_set_bytes, rel=0.02
    )


def test_chunks_are_long_near_the_beginning_and_short_far_from_it() -> None:
    chunks = chunks_for(device.detect(), 32)
    assert chunks.at(0) == 2048
    assert chunks.at(100_000) == 512


def test_a_quantized_cache_takes_no_more_than_was_planned(tiny: Path) -> None:
    for peak in measure_kv_memory(tiny, (None, 8, 4), tokens=4000).peaks:
        assert peak.peak_bytes <= 1.1 * peak.planned_bytes, peak
