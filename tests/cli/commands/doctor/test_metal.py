"""The measurements of `doctor --metal`, on the CPU backend with a tiny model; how they come out on Metal is not known here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from checkpoints import write_checkpoint

from edgelm import device
from edgelm.cli.commands.doctor.metal import measure, require_metal
from edgelm.cli.commands.doctor.metal.kv_memory import measure_kv_memory
from edgelm.cli.commands.doctor.metal.training import measure_training, train_for
from edgelm.cli.commands.doctor.metal.widths import compare_widths, measure_widths
from edgelm.errors import NotFoundError, UnsupportedError

WATCHDOG = "[METAL] Command buffer execution failed: Impacting Interactivity (0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)"  # noqa: E501


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("metal") / "tiny"
    write_checkpoint(directory, "qwen3", max_position_embeddings=512)  # heads of 32, which MLX can quantize
    return directory


@pytest.mark.skipif(device.detect().backend == "metal", reason="there is one")
def test_without_an_apple_gpu_it_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"an Apple GPU, and MLX computes on (cpu|cuda)"):
        require_metal()


@pytest.mark.slow
def test_on_the_cpu_every_width_chooses_the_same(tiny: Path) -> None:
    found = measure_widths(tiny, (1, 2, 7, 17)).widths
    assert [width.width for width in found] == [1, 2, 7, 17]
    for width in found:
        assert (width.positions, width.other_choices) == (68, 0)
    assert found[0].largest_difference == 0
    assert found[-1].largest_difference < 1e-4


def test_a_network_that_depends_on_the_width_is_found_out() -> None:
    class Fickle:
        def __call__(self, ids: mx.array, cache: Any) -> mx.array:
            logits = mx.zeros((1, ids.shape[1], 4))
            return logits + mx.array([0.0, 1.0, 0, 0]) + mx.array([2.0, 0, 0, 0]) * (ids.shape[1] == 3)

    found = compare_widths(Fickle(), list, list(range(10)), (2, 3), context=4)
    assert [(width.width, width.other_choices, width.largest_difference) for width in found] == [
        (2, 0, 0.0),
        (3, 6, 2.0),
    ]


@pytest.mark.slow
def test_a_quantized_cache_is_measured_beside_its_plan(tiny: Path) -> None:
    found = measure_kv_memory(tiny, (None, 4), tokens=200)
    plain, four = found.peaks
    assert len(found.table()) == 3
    assert (plain.kv_bits, four.kv_bits) == (None, 4)
    for peak in (plain, four):
        assert peak.tokens == 200
        assert peak.peak_bytes > 0
        assert peak.planned_bytes > 0


def test_a_kind_that_the_architecture_cannot_have_is_said(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "narrow", "llama")
    found = measure_kv_memory(tmp_path / "narrow", (4,), tokens=20)
    assert found.peaks == ()
    assert "heads are 16 wide" in found.refused[0]


@pytest.mark.slow
def test_steps_are_measured_by_shape_and_for_a_while(tiny: Path) -> None:
    found = measure_training(tiny, 0.01, shapes=((1, 16), (2, 32), (1, 4096)))
    assert [(shape.lanes, shape.length) for shape in found.shapes] == [(1, 16), (2, 32), (1, 512)]
    for shape in found.shapes:
        assert shape.first_s > 0
        assert shape.step_s > 0
        assert shape.peak_bytes > 0
    assert found.endurance.steps >= 1
    assert found.endurance.stopped_by is None
    assert len(found.table()) == 5


def test_the_watchdog_is_a_finding_and_other_failures_are_not() -> None:
    class Stopped:
        def __init__(self, text: str) -> None:
            self.text = text

        def gradients(self, _: Any) -> None:
            raise RuntimeError(self.text)

        def update(self, *_: Any) -> None:
            raise AssertionError("there are no gradients")

    run = train_for(Stopped(WATCHDOG), (1, 16), 60.0)  # type: ignore[arg-type]
    assert run.steps == 0
    assert "Impacting Interactivity" in (run.stopped_by or "")
    with pytest.raises(RuntimeError, match="shapes"):
        train_for(Stopped("shapes do not match"), (1, 16), 60.0)  # type: ignore[arg-type]


@pytest.mark.slow
def test_all_of_it_becomes_one_report(tiny: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgelm.cli.commands.doctor.metal import kv_memory, training, widths

    monkeypatch.setattr(training, "SHAPES", ((1, 16),))
    monkeypatch.setattr(widths, "WIDTHS", (1, 2))
    monkeypatch.setattr(kv_memory, "KINDS", (None,))
    said = measure(str(tiny), 0.01)
    assert said["model"] == "tiny"
    assert set(said["tables"]) == {"widths", "kv_memory", "training"}
    assert any("other choices" in line for line in said["lines"])
    with pytest.raises(NotFoundError, match="no model to measure with"):
        measure(None, 0.01)
