"""Tuning from Python, and the adapter live on a model that stays loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from tuning import SETTINGS, write_chats

import edgelm
from edgelm import paths
from edgelm.errors import EdgeLMError, FormatError, Interrupted, OptionError
from edgelm.runs.events import Stepped, TuneEvent
from edgelm.runs.folder import find_run
from edgelm.tune.api import resume_tune

ROWS = [
    {"prompt": f"what is {n}", "completion": f"the water number {n} boils{' over' * (n % 3)}"}
    for n in range(12)
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("base") / "model"
    write_checkpoint(directory, num_hidden_layers=2)
    return directory


@pytest.mark.slow
def test_a_model_is_tuned_and_talked_to_without_loading_it_again(
    base: Path, tmp_path: Path, home: Path
) -> None:
    data = write_chats(tmp_path / "chats.jsonl")
    with edgelm.load(base, check_fit=False) as model:
        before = model.generate("what is 3", max_tokens=12).text
        result = model.tune(data, **SETTINGS, answer_tokens=0, name="style")
        assert (result.run, result.adapter.name, result.steps) == ("style", "style", 12)
        assert result.first_loss is not None
        assert result.best_loss is not None
        assert result.best_loss < result.first_loss - 0.5
        tuned = model.generate("what is 3", max_tokens=12).text
        assert tuned != before
        model.set_adapter("style", 0.0)
        assert model.generate("what is 3", max_tokens=12).text == before
        model.set_adapter("style", 1.0)
        assert model.generate("what is 3", max_tokens=12).text == tuned
        assert model.adapters == {"style": 1.0}
        with pytest.raises(EdgeLMError, match="no adapter 'x'"):
            model.set_adapter("x", 1.0)
    with edgelm.load(base, adapter="style=0.5", check_fit=False) as model:
        assert model.adapters == {"style": 0.5}


@pytest.mark.slow
def test_edgelm_tune_is_a_function_and_a_package(base: Path, tmp_path: Path, home: Path) -> None:
    import edgelm.runs.events

    data = write_chats(tmp_path / "chats.jsonl")
    seen: list[TuneEvent] = []
    result = edgelm.tune(base, data, on_event=seen.append, **{**SETTINGS, "steps": 2}, answer_tokens=0)
    assert result.adapter.is_dir()
    assert [event.step for event in seen if isinstance(event, edgelm.runs.events.Stepped)] == [1, 2]
    with pytest.raises(OptionError, match="no setting 'rnak'"):
        edgelm.tune(base, data, rnak=4)


@pytest.mark.slow
def test_a_loaded_model_is_tuned_on_rows_in_memory(base: Path, home: Path) -> None:
    short = {**SETTINGS, "steps": 2, "answer_tokens": 0}
    with edgelm.load(base, check_fit=False) as model:
        result = edgelm.tune(model, iter(ROWS), name="rows", **short)
        assert model.adapters == {}  # `Model.tune` puts the result on it
    assert (result.run, result.steps, result.adapter.is_dir()) == ("rows", 2, True)
    (kept,) = paths.rows().iterdir()
    assert [json.loads(line) for line in kept.read_text().splitlines()] == ROWS


@pytest.mark.slow
def test_a_run_on_rows_in_memory_goes_on_with_those_that_are_kept(base: Path, home: Path) -> None:
    def interrupt(event: TuneEvent) -> None:
        if isinstance(event, Stepped) and event.step == 1:
            raise KeyboardInterrupt

    short = {**SETTINGS, "steps": 4, "answer_tokens": 0}
    with pytest.raises((KeyboardInterrupt, Interrupted)):
        edgelm.tune(base, ROWS, on_event=interrupt, name="cut", **short)
    (kept,) = paths.rows().iterdir()
    assert find_run("cut").config["request"]["data"] == str(kept)
    written = kept.read_text()
    kept.write_text(written.replace("boils", "freezes"))
    with pytest.raises(FormatError, match=f"{kept.name} changed since run cut began"):
        resume_tune("cut")
    kept.write_text(written)
    resumed = resume_tune()
    assert (resumed.run, resumed.steps) == ("cut", 4)


@pytest.mark.slow
def test_an_exception_in_the_caller_stops_the_run_with_a_checkpoint(
    base: Path, tmp_path: Path, home: Path
) -> None:
    data = write_chats(tmp_path / "chats.jsonl")

    def interrupt(event: TuneEvent) -> None:
        if isinstance(event, Stepped) and event.step == 3:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Interrupted)):
        edgelm.tune(base, data, on_event=interrupt, **SETTINGS, answer_tokens=0, name="cut")
    assert resume_tune("cut").steps == 12
