"""Sensitivities are measured once for every budget."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint

from edgelm.progress import OnProgress, Progress
from edgelm.quant.layers.sensitivity import MEASURED_BITS, OUTER_BITS
from edgelm_converters.convert import convert
from edgelm_converters.methods.budget import sensitivities
from edgelm_converters.methods.budget.sensitivities import TASK, read_sensitivities

pytestmark = pytest.mark.slow

MEASURED, READ = ["measuring sensitivity", "calibrating"], ["calibrating"]


class Budgets:
    """Conversions of one source to budgets."""

    def __init__(self, source: Path, outputs: Path) -> None:
        self.source, self.outputs, self.made = source, outputs, 0
        self.tasks: set[str] = set()
        """Those of the last conversion that reported progress."""

    def estimated(self, **settings: Any) -> list[str]:
        """Convert, and say for which steps an estimate was given."""
        found: list[str] = []
        self.tasks.clear()
        self.made += 1
        few: dict[str, Any] = {
            "calibration_tokens": 1024,
            "quality": "good",
            "verify": False,
            "loss_tokens": 0,
        }
        few["on_progress"] = lambda p: self.tasks.add(p.task)
        convert(
            self.source, self.outputs / f"{self.made}",
            on_estimate=lambda estimate: found.append(estimate.task), **{**few, **settings},
        )  # fmt: skip
        return found


@dataclass(frozen=True)
class Measured:
    """A first conversion, to 4 bits a weight, which the tests of this module go on from."""

    source: Path
    caches: Path
    estimated: list[str]
    tasks: set[str]


@pytest.fixture(scope="module", autouse=True)
def _a_little_text() -> Iterator[None]:
    """What is kept is the point here, not how good it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sensitivities, "TEXT_ROWS", 2)
        patch.setattr(sensitivities, "SAMPLED_ROWS", 2)
        yield


@pytest.fixture(scope="module")
def measured(_a_little_text: None, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    root = tmp_path_factory.mktemp("measured")
    write_checkpoint(root / "source", "llama3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGELM_HOME", str(root / "home"))
        first = Budgets(root / "source", root)
        return Measured(root / "source", root / "home/caches", first.estimated(bpw=4.0), set(first.tasks))


@pytest.fixture
def budgets(measured: Measured, tmp_path: Path, home: Path) -> Budgets:
    """More conversions of the source, by someone who has made the first one."""
    shutil.copytree(measured.caches, home / "caches")
    return Budgets(measured.source, tmp_path)


@pytest.fixture
def kept(budgets: Budgets, home: Path) -> Path:
    """The file of what was measured."""
    (path,) = (home / "caches" / "sensitivity").glob("*.json")
    return path


def test_another_budget_reads_what_was_measured(measured: Measured, budgets: Budgets) -> None:
    assert measured.estimated == MEASURED
    assert TASK in measured.tasks
    assert budgets.estimated(bpw=5.0) == READ
    assert TASK not in budgets.tasks


def test_so_does_another_number_of_tokens_to_calibrate_on(budgets: Budgets) -> None:
    assert budgets.estimated(bpw=4.0, calibration_tokens=2048) == READ


def test_another_text_or_quality_is_measured_anew(budgets: Budgets) -> None:
    assert budgets.estimated(bpw=4.0, seed=1) == MEASURED
    assert budgets.estimated(bpw=4.0, quality="best") == MEASURED


def test_what_was_measured_is_read_back(kept: Path) -> None:
    found = read_sensitivities(kept)
    assert found is not None
    assert found.is_whole
    assert found.tied == "model.embed_tokens"
    assert set(found.tensors[found.tied].kl) == set(OUTER_BITS)
    others = {tuple(one.kl) for path, one in found.tensors.items() if path != found.tied}
    assert others == {(MEASURED_BITS,)}


def test_stopped_it_goes_on_at_the_layer_it_had_come_to(budgets: Budgets, kept: Path) -> None:
    whole = kept.read_bytes()
    kept.unlink()
    with pytest.raises(KeyboardInterrupt):
        budgets.estimated(bpw=4.0, on_progress=stop_at_layer(2))
    found = read_sensitivities(kept)
    assert found is not None
    assert not found.is_whole
    assert {path.split(".")[2] for path in found.tensors} == {"0", "1"}
    resumed: list[str] = []
    budgets.estimated(bpw=4.0, on_progress=lambda p: resumed.append(p.detail) if p.task == TASK else None)
    assert kept.read_bytes() == whole
    assert not any(".layers.1." in detail for detail in resumed)
    assert any(".layers.2." in detail for detail in resumed)


def stop_at_layer(index: int) -> OnProgress:
    def report(progress: Progress) -> None:
        if progress.task == TASK and f".layers.{index}." in progress.detail:
            raise KeyboardInterrupt

    return report


def test_what_cannot_be_read_is_measured_anew(budgets: Budgets, kept: Path) -> None:
    whole = kept.read_text()
    kept.write_text(whole[:-9])
    assert budgets.estimated(bpw=4.0) == MEASURED
    assert kept.read_text() == whole


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "\xff", '{"tensors": {"a": {}}}', '{"tensors": 3}', '{"tensors": {"a": {"kl": [1]}}}'],
)
def test_damage(tmp_path: Path, damage: str) -> None:
    (tmp_path / "kept.json").write_bytes(damage.encode("latin-1"))
    assert read_sensitivities(tmp_path / "kept.json") is None
    assert read_sensitivities(tmp_path / "missing.json") is None
