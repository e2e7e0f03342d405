"""Runs that train a reward model: what they tell and leave, and who refuses the result."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from checkpoints import write_checkpoint
from safetensors.numpy import load_file
from tuning import request, run, write_pairs

from edgelm.adapters.base import check_base
from edgelm.adapters.files import Adapter, read_adapter
from edgelm.adapters.scoring.files import check_template, read_score
from edgelm.errors import EdgeLMError, FormatError, NotFoundError, OptionError, UnsupportedError
from edgelm.library.manifest import Manifest
from edgelm.model.load import load_tokenizer
from edgelm.runs.events import RunEnded, Started, Stepped, Validated
from edgelm.runs.watched import watched_facts
from edgelm.zoo.configs.normalise import normalise_config, read_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("base") / "model"
    write_checkpoint(directory, num_hidden_layers=2)
    return directory


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], Path]:
    """The events of a run and its adapter."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGELM_HOME", str(place / "home"))
        data = write_pairs(place / "pairs.jsonl")
        gc.collect()
        mx.clear_cache()
        others = mx.get_active_memory()  # what other tests of this process hold is no part of the run
        events = run(request(base, data, loss="reward", dropout=0.0, steps=12, check_fit=True))
        (ended,) = of_kind(events, RunEnded)
        assert ended.memory_bytes is not None
        events[events.index(ended)] = replace(ended, memory_bytes=ended.memory_bytes - others)
    return events, place / "home" / "adapters" / "run"


@pytest.fixture
def copied(trained: tuple[list[Any], Path], tmp_path: Path) -> Path:
    target = tmp_path / "judge"
    target.mkdir()
    for file in trained[1].iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def of_kind(events: list[Any], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_it_learns_to_tell_better_from_worse_and_says_how_well(trained: tuple[list[Any], Path]) -> None:
    events, _ = trained
    (started,) = of_kind(events, Started)
    assert started.targets_per_epoch == 2 * started.rows
    steps, validated = of_kind(events, Stepped), of_kind(events, Validated)
    assert steps[0].loss == pytest.approx(0.69, abs=0.25)
    assert steps[-1].loss < 0.2
    assert validated[-1].metrics["accuracy"] == 1
    assert validated[-1].metrics["margin"] > 2
    assert not validated[-1].answers
    facts = " ".join(watched_facts(steps[-1].metrics))
    assert all(word in facts for word in ("margin +", "right ", "reward ", "chosen ", "rejected "))
    peak = of_kind(events, RunEnded)[0].memory_bytes
    assert started.predicted_bytes == pytest.approx(peak, rel=0.15)


def test_the_adapter_says_what_it_is_and_stock_readers_still_read_it(
    trained: tuple[list[Any], Path], base: Path
) -> None:
    adapter = read_adapter(trained[1])
    assert adapter.config.task == "reward"
    assert not any("score" in name for name in adapter.tensors)
    score = read_score(adapter)
    assert score.shape == (1, read_config(base)["hidden_size"])
    assert (load_file(trained[1] / "score.safetensors")["score.weight"] == score).all()
    manifest = Manifest.read(trained[1])
    assert manifest is not None
    assert manifest.recipe["task"] == "reward"
    assert manifest.parents[0]["relation"] == "base"


def test_nobody_chats_with_it(trained: tuple[list[Any], Path], base: Path) -> None:
    with pytest.raises(UnsupportedError, match="is a reward model: it scores answers"):
        check_base(read_adapter(trained[1]), base)


def test_without_its_head_or_with_that_of_another_it_is_refused(copied: Path) -> None:
    head = copied / "score.safetensors"
    whole = head.read_bytes()
    head.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(FormatError, match="is not the head that"):
        read_score(read_adapter(copied))
    head.unlink()
    with pytest.raises(NotFoundError, match="without its head"):
        read_score(read_adapter(copied))


def test_an_adapter_that_writes_answers_is_no_reward_model(copied: Path) -> None:
    config = copied / "adapter_config.json"
    said = json.loads(config.read_text())
    del said["edgelm"]["task"]
    config.write_text(json.dumps(said))
    with pytest.raises(UnsupportedError, match="expected a reward model"):
        read_score(read_adapter(copied))


def test_another_template_is_refused(copied: Path, base: Path) -> None:
    adapter: Adapter = read_adapter(copied)
    tokenizer = load_tokenizer(base, normalise_config(read_config(base)))
    check_template(adapter, tokenizer, base)
    tokenizer.chat_template = "{{ messages }}"
    with pytest.raises(UnsupportedError, match="another chat template"):
        check_template(adapter, tokenizer, base)


@pytest.mark.parametrize(
    ("rows", "settings", "kind", "words"),
    [
        ([{"prompt": "a", "chosen": "b", "rejected": "c", "margin": "slightly"}], {}, FormatError, "margin"),
        ([{"prompt": "a", "completion": "b"}], {}, UnsupportedError, "holds sft rows"),
        ([{"prompt": "a", "chosen": "b", "rejected": "c"}], {"beta": 0.1}, OptionError, "does not read it"),
        (
            [{"prompt": "a", "chosen": "b", "rejected": "c"}],
            {"targets": ("head",)},
            OptionError,
            "no use for",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_loaded(
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[dict[str, Any]],
    settings: dict[str, Any],
    kind: type[EdgeLMError],
    words: str,
) -> None:
    monkeypatch.setenv("EDGELM_HOME", str(tmp_path / "home"))
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(kind, match=words):
        run(request(base, data, loss="reward", hold_out=0.0, **settings))


def test_margins_change_what_is_learnt_and_which_data_it_is(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELM_HOME", str(tmp_path / "home"))
    plain = write_pairs(tmp_path / "plain.jsonl", 6)
    wide = tmp_path / "wide.jsonl"
    rows = [{**json.loads(line), "margin": 2} for line in plain.read_text().splitlines()]
    wide.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {}
    for file in (plain, wide):
        events = run(request(base, file, name=file.stem, loss="reward", steps=1, hold_out=0.0, dropout=0.0))
        found[file.stem] = of_kind(events, Stepped)[0]
    assert found["wide"].metrics["margin"] == pytest.approx(found["plain"].metrics["margin"], rel=1e-5)
    assert found["wide"].loss > found["plain"].loss + 1
