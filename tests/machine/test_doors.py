"""Every long job is kept awake for its time and not longer, and calls the GPU's watchdog by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint
from tuning import request, write_chats

from edgelm.errors import EngineError
from edgelm.evaluate.quality import Subject, evaluate
from edgelm.evaluate.rows import Measuring
from edgelm.machine import power
from edgelm.tune.loop.begin import begin
from edgelm_converters.convert import convert

WATCHDOG = "[METAL] Command buffer execution failed: Impacting Interactivity"


class Recorder:
    """Stands for the assertion."""

    def __init__(self) -> None:
        self.wanted = self.released = self.most = 0

    def change(self, *, wanted: int = 0, released: int = 0) -> None:
        self.wanted += wanted
        self.released += released
        self.most = max(self.most, self.wanted)


@pytest.fixture
def assertion(monkeypatch: pytest.MonkeyPatch, home: Path) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(power, "_assertion", recorder)
    return recorder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("doors") / "source"
    write_checkpoint(directory)
    return directory


def seen(assertion: Recorder) -> tuple[list[int], Callable[[Any], None]]:
    found: list[int] = []
    return found, lambda _: found.append(assertion.wanted)


def test_a_conversion(source: Path, tmp_path: Path, assertion: Recorder) -> None:
    found, note = seen(assertion)
    convert(source, tmp_path / "out", quality="rtn", verify=False, loss_tokens=0, on_progress=note)
    assert found[-1] == 1
    assert assertion.wanted == 0


def test_a_conversion_that_the_watchdog_ends(
    source: Path, tmp_path: Path, assertion: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError(WATCHDOG)

    monkeypatch.setattr("edgelm_converters.pipeline.planning.make_plan", fail)
    with pytest.raises(EngineError, match="watchdog ended the conversion") as caught:
        convert(source, tmp_path / "out", quality="rtn")
    assert "display sleep" in (caught.value.hint or "")
    assert assertion.wanted == 0
    assert not (tmp_path / "out").exists()


def test_an_evaluation(source: Path, assertion: Recorder) -> None:
    found, note = seen(assertion)
    evaluate(Subject(source), measuring=Measuring(tokens=64, length=32), on_progress=note)
    assert set(found) == {1}
    assert assertion.wanted == 0


@pytest.mark.slow
def test_a_training_run_and_one_that_the_watchdog_ends(
    source: Path, tmp_path: Path, assertion: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_chats(tmp_path / "data.jsonl")
    found, note = seen(assertion)
    for event in begin(request(source, data, name="whole")).events():
        note(event)
    assert set(found) == {1}
    assert assertion.wanted == 0
    monkeypatch.setattr("edgelm.tune.step.stepper.Stepper.update", lambda *_: _raise())
    with pytest.raises(EngineError, match="watchdog ended training") as caught:
        list(begin(request(source, data, name="cut")).events())
    for word in ("--resume", "display sleep", "--batch-tokens", "AGX_RELAX_CDM_CTXSTORE_TIMEOUT=1"):
        assert word in (caught.value.hint or "")
    assert assertion.wanted == 0


def _raise() -> None:
    raise RuntimeError(WATCHDOG)
