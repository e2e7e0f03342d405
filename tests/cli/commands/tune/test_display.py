"""What a person reads of a run: predictions before it, corrections while it runs."""

from __future__ import annotations

import dataclasses

import pytest

from edgelm.cli.commands.tune.display import memory_text, started_lines, step_line
from edgelm.runs.events import Started, Stepped

STARTED = Started("run", "model", "lora", 0, 9, 10, 1, 100, 60, 5, 0.01, True)
STEP = Stepped(3, 9, 0.5, 2.0, 2.5, 1e-4, 1.5, 10, 20, 100.0, 700_000_000, 1.0, None)


def test_what_a_loss_watches_stands_in_its_line() -> None:
    watched = dataclasses.replace(
        STEP, metrics={"margin": 0.2134, "accuracy": 0.875, "chosen_log_prob": -31.27}
    )
    assert "margin +0.213  right 88%  chosen -31.3" in step_line(watched)
    assert "margin" not in step_line(STEP)


def test_predictions_are_told_before_the_first_step() -> None:
    priced = dataclasses.replace(STARTED, predicted_bytes=1_500_000_000, predicted_s=125.0)
    assert "1.5 GB of memory at the peak, about 2:05, as predicted from shapes" in list(started_lines(priced))
    assert not any("predicted" in line for line in started_lines(STARTED))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "700 MB"),
        ({"expected_bytes": 700_000_000}, "700 MB"),
        ({"expected_bytes": 1_500_000_000}, "700 MB of 1.5 GB expected"),
        ({"expected_bytes": 700_000_000, "is_over_budget": True}, "700 MB, more than is safe here"),
    ],
)
def test_memory_is_told_with_what_is_expected(changes: dict[str, object], text: str) -> None:
    assert memory_text(dataclasses.replace(STEP, **changes)) == text  # type: ignore[arg-type]
