"""The reported cost is the time of the whole command, step by step; the announced one names what comes after."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from edgelm_converters.convert import convert
from edgelm_converters.stopwatch import Stopwatch


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands where the test puts it."""
    at = [100.0]
    monkeypatch.setattr("edgelm.machine.clock.passed_s", lambda: at[0])
    return at


def test_steps_are_summed_and_the_rest_is_in_the_whole(now: list[float]) -> None:
    watch = Stopwatch()
    now[0] += 1
    for took in (2.0, 3.0):
        with watch.step("writing"):
            now[0] += took
    with pytest.raises(ValueError, match="x"), watch.step("comparing"):
        now[0] += 4
        raise ValueError("x")
    assert watch.steps() == {"writing": 5.0, "comparing": 4.0}
    assert watch.elapsed_s == 10.0


@pytest.mark.slow
def test_the_receipt_counts_every_step_that_the_command_takes(
    now: list[float], published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    took = {
        "convert.open_checkpoint": 7.0, "methods.calibration.run._calibrate": 20.0, "convert.write_weights": 30.0,
        "result.report.measure_loss": 400.0,
    }  # fmt: skip
    for place, seconds in took.items():
        module, _, name = f"edgelm_converters.{place}".rpartition(".")
        real = getattr(importlib.import_module(module), name)

        def slow(*given: Any, real: Any = real, seconds: float = seconds, **named: Any) -> Any:
            now[0] += seconds
            return real(*given, **named)

        monkeypatch.setattr(f"{module}.{name}", slow)
    announced: list[Any] = []
    made = convert(
        published, tmp_path / "out", bits=4, group_size=32, quality="good", calibration_tokens=512, loss_tokens=512,
        on_estimate=announced.append,
    )  # fmt: skip
    receipt = made.manifest.receipt
    assert receipt["elapsed_s"] == sum(took.values())
    assert receipt["quality"]["elapsed_s"] == sum(took.values())
    steps = {name: seconds for name, seconds in receipt["steps_s"].items() if seconds}
    assert steps == {
        "opening the source": 7.0, "calibrating": 20.0, "writing": 30.0, "measuring the loss": 400.0,
    }  # fmt: skip
    assert set(announced[-1].later_s) == {"writing", "measuring the loss"}
    assert all(seconds > 0 for seconds in announced[-1].later_s.values())


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [0, 512])
def test_measuring_the_loss_is_announced_where_nothing_is_calibrated(
    tokens: int, published: Path, tmp_path: Path
) -> None:
    announced: list[Any] = []
    convert(
        published, tmp_path / "out", bits=4, group_size=32, quality="fast", loss_tokens=tokens, verify=False,
        on_estimate=announced.append,
    )  # fmt: skip
    assert [one.task for one in announced] == (["measuring the loss"] if tokens else [])
    assert all(one.elapsed_s > 0 and set(one.later_s) == {"writing"} for one in announced)
