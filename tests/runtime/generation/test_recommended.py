"""What `generation_config.json` recommends, against what transformers makes of the same file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from edgelm.errors import OptionError
from edgelm.runtime.generation.options import GenerationOptions
from edgelm.runtime.generation.recommended import Recommended, read_recommended, recommended
from edgelm.runtime.sampling.settings import Sampling


def of_transformers(said: dict[str, Any]) -> dict[str, Any]:
    """The sampler that `model.generate` would use."""
    config = GenerationConfig(**said)
    unsaid = GenerationConfig._get_default_generation_params()
    found = {
        name: getattr(config, name)
        for name in ("do_sample", "temperature", "top_k", "top_p", "repetition_penalty")
    }
    return {name: unsaid[name] if value is None else value for name, value in found.items()}


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"do_sample": True},
        {"do_sample": True, "temperature": 0.6, "top_p": 0.9},
        {"do_sample": True, "temperature": None, "top_k": None},
        {"do_sample": True, "top_k": 0, "repetition_penalty": 1.05},
        {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.1},
        {"do_sample": False, "temperature": 0.7, "top_p": 0.9},
        {"temperature": 0.7},
        {"do_sample": None, "temperature": 0.7, "repetition_penalty": 1.2},
        {"eos_token_id": [1, 2], "bos_token_id": 0},
    ],
)
def test_as_transformers_means_it(said: dict[str, Any]) -> None:
    expected, found = of_transformers(said), read_recommended(said).sampling
    assert found.is_greedy is not expected["do_sample"]
    assert found.repetition_penalty == expected["repetition_penalty"]
    if expected["do_sample"]:
        assert (found.temperature, found.top_k, found.top_p) == tuple(
            expected[name] for name in ("temperature", "top_k", "top_p")
        )


@pytest.mark.parametrize(
    ("name", "value", "left"),
    [
        ("temperature", "0.6", 1.0),
        ("temperature", -1, 1.0),
        ("temperature", float("nan"), 1.0),
        ("temperature", True, 1.0),
        ("temperature", [0.6], 1.0),
        ("top_p", 0, 1.0),
        ("top_p", 1.5, 1.0),
        ("top_k", -5, 50),
        ("top_k", 2.5, 50),
        ("top_k", "many", 50),
        ("min_p", 2, 0.0),
    ],
)
def test_what_cannot_be_used_is_passed_over_by_name(name: str, value: Any, left: float) -> None:
    found = read_recommended({"do_sample": True, name: value})
    assert getattr(found.sampling, name) == left
    assert [name in problem and repr(value) in problem for problem in found.passed_over] == [True]


def test_odd_ways_to_say_plain_things() -> None:
    assert read_recommended({"do_sample": True, "top_k": 20.0}).sampling.top_k == 20
    assert read_recommended({"do_sample": True, "top_k": -1}).sampling.top_k == 0
    assert read_recommended({"do_sample": True, "temperature": 0}).sampling.is_greedy
    assert read_recommended({"do_sample": "yes"}).passed_over
    assert read_recommended({"max_new_tokens": 20.0}).max_tokens == 20
    assert read_recommended({"max_new_tokens": 0}).max_tokens is None


def test_the_penalty_looks_back_on_everything_as_in_transformers() -> None:
    assert read_recommended({"repetition_penalty": 1.1}).sampling.repetition_window > 1 << 30
    assert (
        read_recommended({"repetition_penalty": 1.1, "penalty_last_n": 32}).sampling.repetition_window == 32
    )


def test_a_model_without_the_file_recommends_nothing(tmp_path: Path) -> None:
    assert recommended(tmp_path) == Recommended()
    (tmp_path / "generation_config.json").write_text(json.dumps({"do_sample": True}))
    assert recommended(tmp_path).sampling == Sampling(temperature=1.0, top_k=50)


ADVICE = read_recommended({"do_sample": True, "temperature": 0.6, "top_p": 0.9, "repetition_penalty": 1.1})


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "temperature 0.6, top_k 50, top_p 0.9, repetition_penalty 1.1"),
        ({"temperature": 0.2, "top_k": 0}, "top_p 0.9, repetition_penalty 1.1"),
        ({"temperature": 0}, "repetition_penalty 1.1"),
        ({"greedy": True}, ""),
        ({"sampling": Sampling()}, ""),
    ],
)
def test_what_acts_is_said(said: dict[str, Any], words: str) -> None:
    assert ADVICE.in_words(said) == words


def test_layers() -> None:
    defaults = GenerationOptions(sampling=ADVICE.sampling)
    assert defaults.changed().sampling == ADVICE.sampling
    assert defaults.changed(temperature=0).sampling.is_greedy
    assert defaults.changed(top_k=0).sampling.top_k == 0
    assert defaults.changed(top_k=0).sampling.temperature == 0.6
    chat = defaults.changed(temperature=0.3)
    assert chat.changed(top_p=1.0).sampling == Sampling(
        temperature=0.3, top_k=50, repetition_penalty=1.1, repetition_window=1 << 31
    )
    assert defaults.changed(greedy=True, seed=3).sampling == Sampling(seed=3)
    assert defaults.changed(greedy=False) == defaults
    with pytest.raises(OptionError, match=r"greedy and temperature 0\.5"):
        defaults.changed(greedy=True, temperature=0.5)
    with pytest.raises(OptionError, match="greedy is 'yes', expected bool"):
        defaults.changed(greedy="yes")
