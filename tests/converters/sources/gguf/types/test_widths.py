"""What types become that MLX cannot hold: near enough, and no larger than the file allows."""

from __future__ import annotations

import gguf
import mlx.core as mx
import numpy as np
import pytest

from edgelm.quant.matrix.formats import dequantized, searched
from edgelm.quant.matrix.search import DISCRETE
from edgelm.quant.scheme import settings_bits_per_weight
from edgelm_converters.sources.gguf.types.kinds import Kind, block_bytes, values_per_block
from edgelm_converters.sources.gguf.types.widths import LARGEST_RATIO, STEPS, chosen_widths, settings_of

WEIGHTS = 1 << 20


def file_bits(kind):
    return block_bytes(kind) * 8 / values_per_block(kind)


def result_bits(settings):
    return settings_bits_per_weight(settings)


@pytest.mark.parametrize("kind", STEPS, ids=lambda kind: kind.name)
def test_alone_a_type_stays_within_the_ratio_or_becomes_the_least_that_is_near_enough(kind):
    chosen = chosen_widths({kind: WEIGHTS}, 0, int(WEIGHTS * file_bits(kind) / 8))[kind]
    least = settings_of(*STEPS[kind][0][:2])
    too_large = result_bits(least) > LARGEST_RATIO * file_bits(kind)
    assert too_large == (kind in (Kind.IQ1_S, Kind.IQ2_XXS, Kind.IQ2_XS, Kind.IQ3_XXS))
    assert chosen == least if too_large else result_bits(chosen) <= LARGEST_RATIO * file_bits(kind)


@pytest.mark.parametrize("kind", STEPS, ids=lambda kind: kind.name)
def test_steps_go_from_the_smallest_to_the_nearest(kind):
    sizes = [result_bits(settings_of(bits, group)) for bits, group, _ in STEPS[kind]]
    losses = [lost for *_, lost in STEPS[kind]]
    assert sizes == sorted(sizes)
    assert losses == sorted(losses, reverse=True)


def test_what_the_rest_of_a_file_leaves_is_spent():
    """Q4_K grows by a ninth: the embedding of a Q2_K file leaves room for the rest."""
    file_bytes = int(WEIGHTS * (2.625 + 4.5) / 8)
    chosen = chosen_widths({Kind.Q2_K: WEIGHTS}, WEIGHTS * 5 // 8, file_bytes)[Kind.Q2_K]
    assert chosen == settings_of(3, 32)


@pytest.mark.parametrize(("kind", "bits"), [(Kind.IQ1_S, 2), (Kind.IQ3_S, 4)], ids=str)
def test_types_on_even_grids_are_met_exactly(kind, bits, blocks):
    values = gguf.quants.dequantize(blocks(kind, 8, 512), gguf.GGMLQuantizationType(kind))
    settings = settings_of(bits, 32)
    found = np.array(
        dequantized(searched(mx.array(values).astype(mx.float16), settings, effort=DISCRETE), settings)
    )
    assert np.square(found - values).sum() < 3e-6 * np.square(values).sum()


@pytest.mark.parametrize("kind", [Kind.Q2_K, Kind.Q3_K, Kind.Q6_K, Kind.IQ2_S], ids=lambda kind: kind.name)
def test_what_is_lost_is_what_the_table_says(kind, blocks):
    """On blocks of random bytes, whose scales differ more than those of real weights, it may be twice that."""
    values = gguf.quants.dequantize(blocks(kind, 16, 1024), gguf.GGMLQuantizationType(kind))
    for bits, group, lost in STEPS[kind][:2]:
        settings = settings_of(bits, group)
        weight = mx.array(values).astype(mx.float16)
        found = np.array(dequantized(searched(weight, settings, effort=DISCRETE), settings))
        assert np.square(found - values).sum() < 2.5 * lost * np.square(values).sum()
