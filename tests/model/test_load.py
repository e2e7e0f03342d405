"""What ends an answer: ids from whichever config names them, 0 among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_tokenizer

from edgelm.model.load import load_tokenizer

CASES: list[tuple[dict[str, Any], dict[str, Any] | None, set[int]]] = [
    ({"eos_token_id": 5}, {"eos_token_id": 0}, {0}),
    ({"eos_token_id": 5}, {"eos_token_id": [0, 7]}, {0, 7}),
    ({"eos_token_id": 0}, {}, {0}),
    ({"eos_token_id": 0}, None, {0}),
    ({"eos_token_id": 5}, {"eos_token_id": None}, {5}),
    ({"eos_token_id": 5}, {"eos_token_id": []}, {5}),
    ({"text_config": {"eos_token_id": 0}}, None, {0}),
    ({"eos_token_id": None, "text_config": {"eos_token_id": [6]}}, {}, {6}),
    ({}, None, set()),
]


@pytest.mark.parametrize(("config", "generation", "expected"), CASES)
def test_stops_are_those_of_the_config_that_names_them(
    config: dict[str, Any], generation: dict[str, Any] | None, expected: set[int], tmp_path: Path
) -> None:
    write_tokenizer(tmp_path)
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    # mlx-lm adds the tokenizer's own, </s>, which is 1 here.
    assert load_tokenizer(tmp_path, config).eos_token_ids == {*expected, 1}
