"""The sweep proves what is equal, and what is broken on purpose does not pass it."""

from __future__ import annotations

from pathlib import Path

import pytest
from proving import judge
from proving.case import DROP, KEEP, Case
from proving.cases import all_cases
from proving.layouts import published_config
from proving.report import counts
from proving.table import table_of
from proving.workers import proved

from edgelm.zoo.configs import rope
from edgelm.zoo.configs.sources import module_source
from edgelm.zoo.fixes import window
from edgelm.zoo.proofs.table import name_of, parse_table


def case(name: str) -> Case:
    return next(one for one in all_cases() if one.name == name)


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3: tied", "qwen3_moe", "granite"])
def test_a_family_is_proved_in_both_layouts(name: str, tmp_path: Path) -> None:
    outcomes = judge.prove(case(name), tmp_path)
    assert [outcome.layout for outcome in outcomes] == ["transformers", "published"]
    assert [outcome.verdict for outcome in outcomes] == ["equal", "equal"], outcomes
    assert all(outcome.error is not None and outcome.error < 1e-5 for outcome in outcomes)


@pytest.mark.parity
@pytest.mark.slow
def test_a_broken_fix_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "windows_of", lambda config: None)
    (outcome,) = judge.prove(case("mistral: window"), tmp_path, ["transformers"])
    assert outcome.verdict == "differs"
    assert outcome.error is not None
    assert outcome.error > 1e-2
    entry = parse_table(table_of([outcome])).architectures["mistral"]
    assert entry.cases == ()
    assert entry.others[0].verdict == "differs"


@pytest.mark.parity
@pytest.mark.slow
def test_a_key_that_is_lost_fails_and_a_refusal_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rope, "_write_flat_keys", lambda config, nested: config.update(rope_theta=1e4))
    (outcome,) = judge.prove(case("llama"), tmp_path / "lost", ["transformers"])
    assert outcome.verdict == "differs"
    (outcome,) = judge.prove(case("llava of qwen2"), tmp_path / "refused", ["transformers"])
    assert outcome.verdict == "refused"
    assert "this one is qwen2" in outcome.words


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.usefixtures("children_with_torch")
def test_a_process_that_dies_is_a_row() -> None:
    outcomes = list(proved([case("gpt2"), case("llama")], ["transformers"], workers=1, prepare=_die_at_gpt2))
    assert [(outcome.family, outcome.verdict) for outcome in outcomes] == [
        ("gpt2", "failed"),
        ("llama", "equal"),
    ]
    assert "crashed" in outcomes[0].words


def _die_at_gpt2() -> None:
    import os

    real = judge.build

    def build(one: Case) -> object:
        return os._exit(3) if one.family == "gpt2" else real(one)

    judge.build = build


def test_every_case_is_of_an_architecture_that_both_have() -> None:
    cases = all_cases()
    assert len(cases) > 150
    assert len({one.name for one in cases}) == len(cases)
    assert len({one.architecture for one in cases}) >= 89
    known = [one.family for one in cases if not one.variant and module_source(one.architecture)]
    assert len(known) >= 89


@pytest.mark.slow
def test_a_family_is_called_what_its_configs_are_looked_up_by() -> None:
    bases = [one for one in all_cases() if not one.variant]
    assert [one.family for one in bases] == [name_of(one.config().to_dict()) for one in bases]


def test_a_published_config_has_the_keys_of_its_time() -> None:
    config = {
        "dtype": "float32",
        "rope_parameters": {"rope_type": "yarn", "rope_theta": 5.0, "factor": 2.0},
        "text_config": {"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}, "layer_types": ["x"]},
    }
    assert published_config(config, {"more": 1, "text_config": {"layer_types": DROP}}) == {
        "torch_dtype": "float32",
        "rope_theta": 5.0,
        "rope_scaling": {"type": "yarn", "factor": 2.0},
        "text_config": {"rope_theta": 7.0, "rope_scaling": None},
        "more": 1,
    }
    kept = published_config(config, {"rope_parameters": KEEP})
    assert kept["rope_parameters"] == config["rope_parameters"]


def test_families_are_counted_by_all_their_cases() -> None:
    outcomes = [
        judge.Outcome("llama", "", "transformers", "equal", 1e-6),
        judge.Outcome("llama", "yarn", "transformers", "differs", 0.1),
        judge.Outcome("gpt2", "", "transformers", "equal", 1e-6),
    ]
    assert counts(outcomes)[0].startswith(
        "transformers: 1 of 2 families equal in every case, 2 in their plain one"
    )
