"""Rope settings recovered from what llama.cpp stores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.sources.gguf.metadata import Keys
from edgelm_converters.sources.gguf.rope import rope_scaling


def scaling_of(metadata, dims=128, **factors):
    keys = Keys({f"llama.{key}": value for key, value in metadata.items()}, "llama", Path("m.gguf"))
    return rope_scaling(keys, dims, lambda name: factors.get(name.removesuffix(".weight")))


def published(factor, original=8192, low=1.0, high=4.0):
    return {
        "factor": factor,
        "original_max_position_embeddings": original,
        "low_freq_factor": low,
        "high_freq_factor": high,
    }


@pytest.mark.parametrize(("factor", "dims"), [(8.0, 128), (32.0, 64), (32.0, 128)])
def test_llama_3_settings_come_back_as_published(factor, dims, llama3_factors):
    said = published(factor)
    factors = llama3_factors(dims, 500_000.0, said)
    found = scaling_of({"rope.freq_base": 500_000.0}, dims, rope_freqs=factors)
    assert found == {"rope_type": "llama3", "type": "llama3", **said}


@pytest.mark.slow
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    factor=st.floats(1.5, 64),
    original=st.integers(32, 32768),
    low=st.sampled_from([1.0, 2.0]),
    spread=st.floats(1.2, 8),
    base=st.sampled_from([10_000.0, 500_000.0, 1_000_000.0]),
    dims=st.sampled_from([16, 64, 128]),
)
def test_other_settings_reproduce_the_stored_factors(
    factor, original, low, spread, base, dims, llama3_factors
):
    said = published(factor, original, low, low * spread)
    factors = llama3_factors(dims, base, said)
    # Where no frequency is scaled in full, the full factor is nowhere in the file.
    if not np.isclose(factors.max(), factor):
        return
    found = scaling_of({"rope.freq_base": base}, dims, rope_freqs=factors)
    np.testing.assert_allclose(llama3_factors(dims, base, found), factors, rtol=2e-4)


def test_factors_of_one_are_no_scaling():
    assert scaling_of({}, 16, rope_freqs=np.ones(8, np.float32)) is None


@pytest.mark.parametrize("values", [[1, 4, 2, 8], [0, 0, 0, 0], [-1, 2, 3, 4], [1, 1e30, 1, 1e38]])
def test_factors_of_another_kind_are_refused(values):
    with pytest.raises(UnsupportedError, match="not llama3 scaling"):
        scaling_of({}, 8, rope_freqs=np.array(values, np.float32))


def test_linear_and_yarn():
    assert scaling_of({"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}) == {
        "rope_type": "linear",
        "type": "linear",
        "factor": 8.0,
    }
    yarn = {"type": "yarn", "factor": 4.0, "original_context_length": 32768, "yarn_beta_fast": 16.0}
    assert scaling_of({f"rope.scaling.{key}": value for key, value in yarn.items()}) == {
        "rope_type": "yarn",
        "type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 32768,
        "beta_fast": 16.0,
    }


def test_longrope_factors_are_the_decimals_that_were_published():
    long, short = np.array([1.08, 64.96], np.float32), np.array([1.05, 2.9], np.float32)
    found = scaling_of(
        {"rope.scaling.original_context_length": 4096}, 4, rope_factors_long=long, rope_factors_short=short
    )
    assert found["type"] == "longrope"
    assert found["long_factor"] == [1.08, 64.96]
    assert found["short_factor"] == [1.05, 2.9]


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        ({"rope.scaling.type": "dynamic"}, UnsupportedError, "rope scaling 'dynamic'"),
        ({"rope.scaling.type": 3}, FormatError, "expected text"),
        ({"rope.scaling.type": "linear"}, FormatError, "no metadata key 'llama.rope.scaling.factor'"),
        ({"rope.scaling.type": "linear", "rope.scaling.factor": 0.0}, FormatError, "a number above 0"),
        (
            {"rope.scaling.type": "linear", "rope.scaling.factor": float("inf")},
            FormatError,
            "a finite number",
        ),
    ],
)
def test_settings_that_cannot_be(metadata, error, message):
    with pytest.raises(error, match=message):
        scaling_of(metadata)
