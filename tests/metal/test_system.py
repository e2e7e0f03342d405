"""macOS's own tools: sleep, heat, caches and the GPU's watchdog."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from edgelm import paths
from edgelm.cli.commands.doctor.metal.training import measure_training
from edgelm.cli.commands.doctor.system import tool_checks
from edgelm.machine import condition, power
from edgelm.machine.gpu.cores import gpu_cores

pytestmark = pytest.mark.metal


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_assertion_is_macoss_and_ends_with_the_job() -> None:
    waits_for = f"caffeinate asserting on behalf of Process ID {os.getpid()}"
    with power.kept_awake():
        assertions = said("/usr/bin/pmset", "-g", "assertions")
        assert "PreventUserIdleSystemSleep" in assertions
        assert waits_for in assertions
    assert waits_for not in said("/usr/bin/pmset", "-g", "assertions")


def test_every_tool_answers_and_is_understood() -> None:
    assert [check.name for check in tool_checks() if check.status != "ok"] == []
    now = condition.condition()
    assert "unknown" not in (now.power.partition(",")[0], now.thermal)
    assert gpu_cores()


def test_caches_are_left_out_of_backups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGELM_HOME")
    assert paths.caches() == Path.home() / "Library/Caches/edgelm"
    assert "[Excluded]" in said("/usr/bin/tmutil", "isexcluded", str(Path.home() / "Library/Caches"))


def test_what_ends_training_with_the_display_on_is_recognised(tiny: Path) -> None:
    """Either nothing does, or the watchdog, by its name: anything else would be raised."""
    found = measure_training(tiny, 20.0)
    assert found.endurance.steps > 0 or found.endurance.stopped_by
