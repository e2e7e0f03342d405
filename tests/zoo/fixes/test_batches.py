"""Requests side by side get from a mended network what each gets alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoints import write_tokenizer
from endless import without_stops
from upstream import TOKENS, publish
from upstream_cases import CASES

import edgelm

pytestmark = [pytest.mark.parity, pytest.mark.slow]


@pytest.mark.parametrize(
    "name",
    [
        "multipliers",
        "correction bias",
        "unnormalised experts",
        "a window in every layer",
        "one choice for two layers",
        "keys for every head",
    ],
)
def test_a_batch_is_as_each_alone(name: str, tmp_path: Path) -> None:
    publish(CASES[name].config(), tmp_path)
    write_tokenizer(tmp_path)
    prompts = [TOKENS[:40], TOKENS[5:17], TOKENS[20:70]]
    with edgelm.load(tmp_path, check_fit=False) as model:
        without_stops(model)
        alone = [list(model.generate(ids, max_tokens=12, temperature=0).tokens) for ids in prompts]
        results = model.generate_many(prompts, max_tokens=12, temperature=0)
        together = sorted(results, key=lambda each: each.index)
        assert [list(each.tokens) for each in together] == alone
