"""Whatever setting of a config is changed, logits follow transformers', or the setting is named and the model refused.

No setting is picked by hand: all that transformers' code reads and that is not known to be harmless are tried, one at a time.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from huggingface_hub.errors import StrictDataclassError
from proving.case import Case, rope
from proving.cases import all_cases
from proving.networks import build, logits_of

from edgelm.errors import EdgeLMError
from edgelm.zoo.configs.harmless import HARMLESS
from edgelm.zoo.configs.normalise import normalise_config, read_config
from edgelm.zoo.configs.readers import transformers_reads
from edgelm.zoo.weights.network import load_network

FAMILIES = ("llama", "gemma2", "olmoe", "qwen3_moe", "granite", "phi", "cohere")
IDS = np.random.default_rng(2).integers(8, 320, 40).tolist()
KINDS = {
    "dynamic": {"factor": 4.0},
    "linear": {"factor": 4.0},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 8.0},
}
OTHER_ACTIVATIONS = {"silu": "relu", "gelu": "silu"}
BY_NAME: dict[str, Any] = {"clip_qkv": 0.2, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0}


@functools.cache
def base_of(family: str) -> Case:
    return next(case for case in all_cases() if case.family == family and not case.variant)


@functools.cache
def usual_logits(family: str) -> Any:
    return logits_of(build(base_of(family)), IDS)


def flips(family: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every setting of the family that counts, with another value."""
    case = base_of(family)
    for name, value in case.config().to_dict().items():
        if (
            name in HARMLESS
            or name in ("rope_parameters", "layer_types")
            or not transformers_reads(case.architecture, (name,))
        ):
            continue
        flipped = _flipped(name, value)
        if flipped is not None:
            yield name, {name: flipped}
    yield "rope_theta", {"rope_parameters": rope(theta=3_000.0)}
    yield from (
        (f"rope_type {kind}", {"rope_parameters": rope(kind, **more)}) for kind, more in KINDS.items()
    )


def _flipped(name: str, value: Any) -> Any:
    if name in BY_NAME:
        return BY_NAME[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return value * 1.7 + 0.01
    if isinstance(value, str) and "act" in name:
        return OTHER_ACTIVATIONS.get(value, "silu")
    return None


@pytest.mark.parity
@pytest.mark.parametrize(
    ("family", "name", "changes"),
    [pytest.param(family, *flip, id=f"{family}: {flip[0]}") for family in FAMILIES for flip in flips(family)],
)
def test_logits_follow_or_the_setting_is_named(
    family: str, name: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    case = base_of(family)
    try:
        network = build(dataclasses.replace(case, settings={**case.settings, **changes}))
        expected = logits_of(network, IDS)
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError, StrictDataclassError):
        pytest.skip("transformers has no such model")
    if expected.shape == usual_logits(family).shape and np.array_equal(expected, usual_logits(family)):
        pytest.skip("changes nothing in transformers")
    network.save_pretrained(tmp_path)
    config = normalise_config(read_config(tmp_path))
    try:
        loaded, _ = load_network(tmp_path, config)
    except EdgeLMError as error:
        refusal = str(error)
        is_named = any(
            said in refusal for said in (name.split()[0], "rope_parameters", "rope_scaling", "scales RoPE")
        )
        assert is_named, refusal
        return
    got = np.array(loaded(mx.array([IDS]))[0])
    assert np.abs(got - expected).max() < 1e-4 * np.abs(expected).max(), f"{name} is passed over in silence"
