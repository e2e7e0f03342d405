"""Runs that learn from pairs and verdicts: what they tell, what they keep, and what they compare with."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import write_checkpoint
from tuning import request, run, write_judged, write_pairs

from edgelm.errors import EngineError, FormatError
from edgelm.runs import watched
from edgelm.runs.events import Referenced, RunEnded, Stepped, Validated, from_json, to_json
from edgelm.runs.folder import RunFolder
from edgelm.tune.loop import training_run
from edgelm.tune.loop.begin import begin, resume

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("base") / "model"
    write_checkpoint(directory, num_hidden_layers=2)
    return directory


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGELM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def of_kind(events: list[Any], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.mark.parametrize("method", ["lora", "dora", "full"])
def test_dpo_begins_at_the_loss_of_a_coin_and_learns(
    base: Path, home: Path, tmp_path: Path, method: str
) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl")
    options: dict[str, Any] = {"learning_rate": 0.003} if method == "full" else {}
    events = run(request(base, data, loss="dpo", method=method, dropout=0.0, steps=16, **options))
    told = of_kind(events, Referenced)
    assert told[-1].rows == told[-1].total_rows == 24
    steps = of_kind(events, Stepped)
    assert steps[0].loss == pytest.approx(math.log(2), abs=1e-4)
    assert steps[0].metrics["margin"] == pytest.approx(0, abs=1e-3)
    assert steps[-1].loss < 0.6
    assert steps[-1].metrics["accuracy"] > 0.8
    first, last = of_kind(events, Validated)[0], of_kind(events, Validated)[-1]
    assert first.loss == pytest.approx(math.log(2), abs=1e-4)
    assert last.metrics["accuracy"] >= first.metrics["accuracy"]


@pytest.mark.parametrize("loss", ["kto", "orpo", "simpo"])
def test_every_kind_of_loss_trains(base: Path, home: Path, tmp_path: Path, loss: str) -> None:
    write = write_judged if loss == "kto" else write_pairs
    events = run(request(base, write(tmp_path / "data.jsonl"), loss=loss, dropout=0.0, steps=12))
    losses = [step.loss for step in of_kind(events, Stepped)]
    assert bool(of_kind(events, Referenced)) == (loss == "kto")
    assert losses[-1] < losses[0]
    if loss == "kto":
        assert losses[0] == pytest.approx(0.5, abs=1e-3)
        assert of_kind(events, Stepped)[-1].metrics["kl"] >= 0


def test_numbers_of_rows_do_not_depend_on_the_batches_they_were_computed_in(
    base: Path, home: Path, tmp_path: Path
) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl")
    phases = []
    for name, packing in (("packed", True), ("alone", False)):
        session = begin(request(base, data, loss="dpo", packing=packing, name=name, steps=1))
        list(session.events())
        from safetensors.numpy import load_file

        phases.append(load_file(session.folder.path / "reference" / "train.safetensors")["values"])
    np.testing.assert_allclose(phases[0], phases[1], atol=2e-5)
    assert (phases[0] < 0).all()


def test_a_stop_while_the_reference_is_computed_keeps_what_is_there(
    base: Path, home: Path, tmp_path: Path
) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl")
    session = begin(request(base, data, loss="dpo", batch_tokens=64))
    events = []
    for event in session.events():
        events.append(event)
        session.control.give("stop")
    assert isinstance(events[-1], RunEnded)
    assert events[-1].reason == "stopped"
    assert events[-1].adapter is None
    assert list(session.folder.path.rglob("reference/*-parts/*.npy"))
    again = list(resume(RunFolder(session.folder.path)).events())
    assert of_kind(again, Referenced)[-1].rows == 24
    assert of_kind(again, RunEnded)[-1].reason == "done"
    assert not list(session.folder.path.rglob("reference/*-parts"))


def test_a_reference_of_other_weights_is_refused(base: Path, home: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    session = begin(request(base, write_pairs(tmp_path / "pairs.jsonl"), loss="ipo", steps=4))
    events = session.events()
    while not isinstance(next(events), Stepped):
        pass
    events.close()
    path = session.folder.path / "reference" / "train.safetensors"
    save_file(load_file(path), path, metadata={"base": "0" * 64, "data": session.data.train.sha256})
    with pytest.raises(FormatError, match="of another base") as caught:
        list(resume(RunFolder(session.folder.path)).events())
    assert "computed again" in str(caught.value.hint)
    path.write_bytes(b"nothing")
    with pytest.raises(FormatError, match="cannot be read"):
        list(resume(RunFolder(session.folder.path)).events())
    path.unlink()
    assert isinstance(list(resume(RunFolder(session.folder.path)).events())[-1], RunEnded)


def test_the_time_of_a_run_is_its_reference_too(
    base: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = iter([0.0, 40.0, 0.0, 0.0])  # before and after the reference, which seems to take 40 s
    monkeypatch.setattr(training_run, "passed_s", lambda: next(passed, 40.0))
    data = write_pairs(tmp_path / "pairs.jsonl")
    session = begin(request(base, data, loss="dpo", steps=None, for_s=30.0))
    with pytest.raises(EngineError, match=r"took 40 s, and the run was to take 30 s in all") as told:
        list(session.events())
    assert "--resume run" in str(told.value.hint)
    passed = iter([0.0, 10.0])
    monkeypatch.setattr(training_run, "passed_s", lambda: next(passed, 10.0))
    steps = of_kind(run(request(base, data, loss="dpo", name="counted", steps=2)), Stepped)
    assert steps[0].elapsed_s >= 10


def test_a_loss_without_a_reference_warns_of_a_collapse_by_what_is_held_out(
    base: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "_COLLAPSED", -0.05)  # a random network has not much to lose
    data = write_pairs(tmp_path / "pairs.jsonl")
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    swapped = tmp_path / "swapped.jsonl"  # what is held out prefers what training makes unlikely
    swapped.write_text(
        "".join(
            json.dumps({**row, "chosen": row["rejected"], "rejected": row["chosen"]}) + "\n" for row in rows
        )
    )
    settings: dict[str, Any] = {
        "loss": "simpo",
        "beta": 10.0,
        "gamma": 20.0,
        "dropout": 0.0,
        "learning_rate": 0.05,
    }
    first, *others = of_kind(run(request(base, data, validation=str(swapped), **settings)), Validated)
    assert first.metrics["chosen_gain"] == 0
    for event in others:
        lost = event.metrics["chosen_token_log_prob"] - first.metrics["chosen_token_log_prob"]
        assert event.metrics["chosen_gain"] == pytest.approx(lost)
        assert bool(event.warnings) == (lost < -0.05)
    told = next(event for event in others if event.warnings)
    assert f"have lost {-told.metrics['chosen_gain']:.2f} nats a token" in told.warnings[0]
    assert from_json(to_json(told)) == told
