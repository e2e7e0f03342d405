"""Every long job is kept awake for its time and not longer, and calls the GPU's watchdog by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adapter_files import write_adapter_named
from checkpoints import write_checkpoint
from fake_hub import FakeHub
from tuning import request, write_chats

from edgelm import device
from edgelm.adapters import merge as merging
from edgelm.adapters.files import read_adapter
from edgelm.adapters.fuse import fuse
from edgelm.adapters.merge_settings import MergeSettings
from edgelm.adapters.use import AdapterUse
from edgelm.api import load
from edgelm.errors import EngineError, UnsupportedError
from edgelm.evaluate.bench.options import BenchOptions
from edgelm.evaluate.bench.run import run_bench
from edgelm.evaluate.harness import run_tasks
from edgelm.evaluate.quality import Subject, evaluate
from edgelm.evaluate.rows import Measuring
from edgelm.hub.fetch import fetch
from edgelm.machine import power
from edgelm.runtime.assemble import RuntimeOptions, assemble
from edgelm.tune.loop.begin import begin
from edgelm_converters.compare import Comparing, compare_methods
from edgelm_converters.convert import convert

Note = Callable[[Any], None]
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


def seen(assertion: Recorder) -> tuple[list[int], Note]:
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


@pytest.mark.slow
@pytest.mark.parametrize("is_left", [False, True])
def test_a_batch_to_its_end_and_one_that_is_left(source: Path, assertion: Recorder, is_left: bool) -> None:
    found, note = seen(assertion)
    with load(source, check_fit=False) as model:
        results = model.generate_many(["the water", "at"], max_tokens=2, on_progress=note)
        assert assertion.wanted == 0, "nothing runs before somebody listens"
        next(results)
        assert assertion.wanted == 1
        if is_left:
            results.close()
        else:
            assert len(list(results)) == 1
        assert assertion.wanted == 0
    assert set(found) == {1}


def test_a_download_and_one_that_fails(
    assertion: Recorder, fake_hub: FakeHub, published: dict[str, bytes]
) -> None:
    found, note = seen(assertion)
    fake_hub.add("org/model", published)
    fetch("org/model", on_progress=note)
    assert set(found) == {1}
    assert assertion.wanted == 0
    assert assertion.most == 1

    def fail(_: Any) -> None:
        raise KeyboardInterrupt

    fake_hub.add("org/another", published)
    with pytest.raises(KeyboardInterrupt):
        fetch("org/another", on_progress=fail)
    assert assertion.wanted == 0


def _benchmark(source: Path, _: Path, note: Note, __: pytest.MonkeyPatch) -> None:
    options = BenchOptions(cases=("depths",), depths=(0,), prompt_tokens=8, new_tokens=2, repeats=1)
    ready = assemble(source, RuntimeOptions(check_fit=False))
    run_bench(ready, device.detect(), options, on_progress=note)


def _tasks(source: Path, _: Path, note: Note, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without lm-eval, which need not be there: it is looked for inside."""
    monkeypatch.setattr("edgelm.evaluate.harness.is_installed", lambda: note(None))
    with pytest.raises(UnsupportedError):
        run_tasks(Subject(source), ["arc_easy"])


def _fusing(source: Path, tmp_path: Path, note: Note, _: pytest.MonkeyPatch) -> None:
    def measure(*_: Any) -> tuple[float, float]:
        note(None)
        return 1.0, 0.0

    fuse(source, [AdapterUse(write_adapter_named("one", value=1.0))], tmp_path / "out", measure=measure)


def _merging(_: Path, tmp_path: Path, note: Note, monkeypatch: pytest.MonkeyPatch) -> None:
    uniform = merging.uniform

    def watched(*given: Any) -> Any:
        note(None)
        return uniform(*given)

    monkeypatch.setattr(merging, "uniform", watched)
    both = [(read_adapter(write_adapter_named(name, value=1.0)), 1.0) for name in ("one", "two")]
    merging.merge(both, tmp_path / "out", MergeSettings())


def _comparison(source: Path, _: Path, note: Note, __: pytest.MonkeyPatch) -> None:
    measuring = Measuring(tokens=64, length=32)
    compare_methods(source, Comparing(("rtn",), (4,), dtype="float32", measuring=measuring), on_progress=note)


DOORS = {
    "the benchmark": _benchmark, "the tasks": _tasks, "fusing": _fusing, "merging": _merging,
    "the comparison": _comparison,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("job", DOORS)
def test_other_jobs(
    job: str, source: Path, tmp_path: Path, assertion: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, note = seen(assertion)
    DOORS[job](source, tmp_path, note, monkeypatch)
    assert min(found) == found[-1] == 1, "a conversion inside a comparison asks once more"
    assert assertion.wanted == 0


@pytest.mark.parametrize("job", DOORS)
def test_other_jobs_that_the_watchdog_ends(
    job: str, source: Path, tmp_path: Path, assertion: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> None:
        if assertion.wanted == 1:  # the job itself, and no conversion inside it
            raise RuntimeError(WATCHDOG)

    with pytest.raises(EngineError, match=f"watchdog ended {job}") as caught:
        DOORS[job](source, tmp_path, fail, monkeypatch)
    assert "display sleep" in (caught.value.hint or "")
    assert assertion.wanted == 0
    assert not (tmp_path / "out").exists()
