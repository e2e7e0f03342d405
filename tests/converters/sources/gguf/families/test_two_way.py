"""Every rule of every family goes both ways: what is read can be written, with the same values in the same places."""

from __future__ import annotations

import numpy as np
import pytest

from edgelm_converters.sources.gguf.families.lengths import Lengths
from edgelm_converters.sources.gguf.families.registry import ARCHITECTURES
from edgelm_converters.sources.gguf.families.rule import Rule
from edgelm_converters.sources.gguf.families.values import NegatedExponential

TIED = {
    "gptneox", "mamba2", "falcon-h1", "granitehybrid", "nemotron_h", "nemotron_h_moe", "qwen3next", "qwen35", "qwen35moe",
}  # fmt: skip
"""Families with lengths that are sums of others: held against files alone (`gguf_families.check_two_way`)."""

FAMILIES = [
    (name, variant)
    for name, family in ARCHITECTURES.items()
    if name not in TIED
    for variant in {id(each): each for each in (family, *family.others)}.values()
]
GIVEN = {"heads": 4, "kv_heads": 2, "head": 8, "feed_forward": 12, "expert": 6, "experts": 3, "shared": 10}


def sizes_of(family):
    """Small lengths under every name that the family's tables use."""
    names = {
        length
        for rule in (*family.outer, *family.block)
        for tensor in (*rule.stored, *rule.network)
        for length in tensor.shape
        if isinstance(length, str)
    }
    sizes = Lengths(1, GIVEN).at(0)
    for index, name in enumerate(sorted(names - sizes.keys() - set(DERIVED))):
        sizes[name] = 4 + 2 * index
    return {**sizes, **{name: value for name, value in Lengths(1, sizes).at(0).items() if name in DERIVED}}


DERIVED = ("kv_b", "output")
"""Products of others."""


def arrays_for(tensors, sizes, rule: Rule):
    rng = np.random.default_rng(5)
    arrays = [rng.standard_normal(tensor.shape_for(sizes)).astype(np.float32) for tensor in tensors]
    return [-np.exp(each) for each in arrays] if isinstance(rule.values, NegatedExponential) else arrays


@pytest.mark.parametrize(("name", "family"), FAMILIES, ids=[f"{n}-{f.model_type}" for n, f in FAMILIES])
def test_reading_and_writing_undo_each_other(name, family):
    sizes = sizes_of(family)
    for rule in (*family.outer, *family.block):
        stored = arrays_for(rule.stored, sizes, rule)
        network = rule.from_gguf(stored, sizes)
        assert [each.shape for each in network] == [tensor.shape_for(sizes) for tensor in rule.network]
        again = rule.to_gguf(network, sizes)
        for tensor, first, second in zip(rule.stored, stored, again, strict=True):
            assert second.shape == first.shape, tensor.name
            np.testing.assert_allclose(second, first, rtol=1e-6, atol=1e-6, err_msg=tensor.name)


@pytest.mark.parametrize(("name", "family"), FAMILIES, ids=[f"{n}-{f.model_type}" for n, f in FAMILIES])
def test_an_order_of_rows_takes_every_row_once(name, family):
    sizes = sizes_of(family)
    for rule in (*family.outer, *family.block):
        if rule.rows is not None:
            rows = sum(tensor.rows_for(sizes) for tensor in rule.stored)
            assert sorted(rule.rows.indices(sizes)) == list(range(rows))
            assert rows == sum(tensor.rows_for(sizes) for tensor in rule.network)


def test_every_architecture_is_one_that_mlx_lm_has():
    from edgelm.zoo.configs.check import check_architecture

    for _, family in FAMILIES:
        check_architecture({"model_type": family.model_type})
