"""The combinations MLX can hold, and what they cost."""

from __future__ import annotations

import mlx.core as mx
import pytest

from edgelm.errors import OptionError
from edgelm.quant.scheme import AFFINE_BITS, BLOCK_MODES, Scheme, fit_group


def test_defaults_are_those_of_the_mode() -> None:
    assert Scheme().settings == {"group_size": 64, "bits": 4, "mode": "affine"}
    for mode, (bits, group_size) in BLOCK_MODES.items():
        assert Scheme(mode=mode).settings == {"group_size": group_size, "bits": bits, "mode": mode}


@pytest.mark.parametrize("group_size", [32, 64, 128])
@pytest.mark.parametrize("bits", AFFINE_BITS)
def test_bits_per_weight_are_the_bytes_of_mlx(bits: int, group_size: int) -> None:
    weight = mx.random.normal((8, 256)).astype(mx.float16)
    made = mx.quantize(weight, group_size, bits)
    stored = sum(part.nbytes for part in made) * 8 / weight.size
    assert Scheme(bits=bits, group_size=group_size).bits_per_weight() == stored


@pytest.mark.parametrize("mode", BLOCK_MODES)
def test_block_modes_cost_their_scales(mode: str) -> None:
    weight = mx.random.normal((8, 256)).astype(mx.float16)
    stored = sum(part.nbytes for part in mx.quantize(weight, mode=mode)) * 8 / weight.size
    assert Scheme(mode=mode).bits_per_weight() == stored


def test_a_width_takes_the_largest_group_that_divides_it() -> None:
    settings = Scheme(group_size=128).settings
    fitted = [fit_group(settings, width) for width in (256, 192, 96, 100)]
    assert [entry and entry["group_size"] for entry in fitted] == [128, 64, 32, None]
    assert fit_group(Scheme(mode="mxfp4").settings, 48) is None


def test_block_modes_allow_one_size() -> None:
    with pytest.raises(OptionError, match="group_size is 64, expected 32 in mode mxfp4"):
        Scheme(mode="mxfp4", group_size=64)
