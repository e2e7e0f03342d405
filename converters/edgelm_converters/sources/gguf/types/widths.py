"""What the types become that no format of MLX can hold: as near as a bounded size allows.

They share scales among 16 weights where MLX's smallest group has 32, or take their values from code books. Searched
affine codes come near them (`edgelm.quant.matrix.search.DISCRETE`), some of them exactly: IQ1_S and IQ3_S lie on even
grids of 32. How near costs bytes. The least that a type becomes adds at most about a third of the error that the type itself
has; more is spent as long as the whole result stays within `LARGEST_RATIO` of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelm.quant.budget import WidthChoice, allocate
from edgelm.quant.scheme import settings_bits_per_weight
from edgelm_converters.sources.gguf.types.kinds import Kind

Settings = dict[str, Any]
Step = tuple[int, int, float]
"""(bits, group size, what is lost of the mean square of what the file says)."""

LARGEST_RATIO = 1.3
"""The result to the file, as far as the steps allow."""

STEPS: Mapping[Kind, tuple[Step, ...]] = {
    Kind.Q6_K: ((8, 128, 2.9e-5), (8, 64, 2.1e-5), (8, 32, 1.2e-5)),
    Kind.IQ4_NL: ((5, 128, 1.8e-3), (5, 64, 1.3e-3), (5, 32, 8e-4), (6, 64, 3e-4), (8, 64, 1.5e-5)),
    Kind.IQ4_XS: ((5, 128, 1.8e-3), (5, 64, 1.3e-3), (5, 32, 8e-4), (6, 64, 3e-4), (8, 64, 1.5e-5)),
    Kind.Q3_K: ((4, 128, 6.5e-3), (4, 64, 4.7e-3), (4, 32, 2.6e-3), (5, 64, 1e-3), (5, 32, 4.8e-4)),
    Kind.IQ3_S: ((4, 128, 5.8e-3), (4, 64, 3.7e-3), (4, 32, 0.0)),
    Kind.IQ3_XXS: ((4, 128, 6e-3), (4, 64, 3.8e-3), (4, 32, 1.7e-4)),
    Kind.IQ2_S: ((3, 128, 0.021), (3, 64, 0.017), (3, 32, 0.011), (4, 64, 4.9e-3)),
    Kind.Q2_K: ((3, 128, 0.025), (3, 64, 0.019), (3, 32, 0.01), (4, 64, 4.2e-3), (4, 32, 1.8e-3)),
    Kind.IQ2_XS: ((3, 128, 0.022), (3, 64, 0.018), (3, 32, 0.011), (4, 64, 5e-3)),
    Kind.IQ2_XXS: ((3, 128, 0.016), (3, 64, 9.9e-3), (3, 32, 4.8e-4)),
    Kind.IQ1_S: ((2, 128, 0.054), (2, 64, 0.033), (2, 32, 0.0)),
    Kind.IQ1_M: ((2, 128, 0.071), (2, 64, 0.065), (2, 32, 0.048), (3, 64, 0.013)),
}
"""From the smallest to what loses next to nothing: measured on Gaussian weights that ggml quantized, by
`tests/benchmarks/gguf_types.py --table`. A type's own error is 3e-4 (Q6_K), 0.006 (4 bits), 0.02 (3), 0.07 (Q2_K), 0.24
(IQ1_S)."""


def chosen_widths(weights: Mapping[Kind, int], other_bytes: int, file_bytes: int) -> dict[Kind, Settings]:
    """Choose what each type becomes: the least loss that keeps the result within `LARGEST_RATIO` of the file.

    Args:
        weights: how many are stored as each type.
        other_bytes: what the rest of the result takes.
        file_bytes: what all tensors take in the file.
    """
    choices = {
        kind.name: [
            WidthChoice(settings_of(bits, group), _bytes(bits, group, count), lost * count)
            for bits, group, lost in STEPS[kind]
        ]
        for kind, count in weights.items()
    }
    budget = int(LARGEST_RATIO * file_bytes) - other_bytes
    if sum(choice[0].size_bytes for choice in choices.values()) > budget:
        return {Kind[name]: choice[0].settings for name, choice in choices.items()}
    return {Kind[name]: choice.settings for name, choice in allocate(choices, budget).items()}


def _bytes(bits: int, group_size: int, weights: int) -> int:
    return round(settings_bits_per_weight(settings_of(bits, group_size)) * weights / 8)


def settings_of(bits: int, group_size: int) -> Settings:
    """Return affine settings as `config.json` has them."""
    return {"group_size": group_size, "bits": bits, "mode": "affine"}
