"""Headers that lie, in every family: nothing but EdgeLMError, and no memory for what is only said."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import gguf.constants
import pytest
from gguf.constants import GGMLQuantizationType as Kind
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgelm.errors import EdgeLMError
from edgelm_converters.sources.gguf import checkpoint
from edgelm_converters.sources.gguf.families.registry import ARCHITECTURES
from edgelm_converters.sources.gguf.metadata import Keys
from edgelm_converters.sources.gguf.parts import GGUFModel
from edgelm_converters.sources.gguf.reader import StoredTensor

PATH = Path("model.gguf")
LAYERS = 4
PLAUSIBLE: dict[str, Any] = {
    "block_count": LAYERS, "context_length": 128, "embedding_length": 64, "feed_forward_length": 96,
    "attention.head_count": 4, "attention.head_count_kv": 2, "attention.key_length": 16, "attention.value_length": 16,
    "attention.layer_norm_rms_epsilon": 1e-5, "attention.layer_norm_epsilon": 1e-5, "rope.dimension_count": 16,
    "rope.freq_base": 10_000.0, "rope.dimension_sections": [2, 3, 3, 0], "attention.sliding_window": 8,
    "attention.q_lora_rank": 8, "attention.kv_lora_rank": 8, "attention.key_length_mla": 24, "attention.value_length_mla": 16,
    "ssm.inner_size": 128, "ssm.state_size": 16, "ssm.conv_kernel": 4, "ssm.time_step_rank": 8, "ssm.group_count": 2,
    "kda.head_dim": 16, "shortconv.l_cache": 3, "expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32,
    "expert_shared_count": 1, "expert_shared_feed_forward_length": 48, "expert_gating_func": 2, "leading_dense_block_count": 1,
}  # fmt: skip
MIXED = {"attention.head_count_kv": [0, 0, 2, 0], "feed_forward_length": [0, 96, 0, 0]}
"""Layers of several kinds, as hybrids have them."""


def every_key() -> list[str]:
    """All keys that llama.cpp's writers know, without the architecture."""
    found = set(PLAUSIBLE)
    for group in vars(gguf.constants.Keys).values():
        for value in getattr(group, "__dict__", {}).values():
            if isinstance(value, str) and value.startswith("{arch}."):
                found.add(value.removeprefix("{arch}."))
    return sorted(key for key in found if not re.search(r"[{}]", key))


NUMBERS = st.one_of(
    st.integers(-3, 70),
    st.sampled_from([2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, -(2**63)]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.booleans(),
)
VALUES = st.one_of(NUMBERS, st.text(max_size=5), st.lists(NUMBERS, max_size=6))
CHANGES = st.dictionaries(st.sampled_from(every_key()), VALUES, max_size=4)
SHAPES = st.lists(st.sampled_from([1, 2, 16, 64, 2**31, 2**40]), min_size=1, max_size=4).map(tuple)


def tensors_of(name: str, metadata: dict[str, Any]) -> dict[str, StoredTensor]:
    """The tensors that the family's own rules ask for; an embedding alone where plausible sizes are none of its own."""
    tensors = {"token_embd.weight": StoredTensor("token_embd.weight", (50, 64), Kind.F32, PATH, 0)}
    keys, family = Keys(metadata, name, PATH), ARCHITECTURES[name]
    try:
        family = family.variant(keys) if family.variant else family
        lengths = family.lengths(keys, tensors)
    except EdgeLMError:
        return tensors
    for layer in (None, *range(lengths.layers)):
        sizes, prefix = lengths.at(layer), "" if layer is None else f"blk.{layer}."
        for rule in family.outer if layer is None else family.block:
            for each in rule.stored:
                shape = each.shape_for(sizes)
                if 0 not in shape:
                    tensors[prefix + each.name] = StoredTensor(prefix + each.name, shape, Kind.F32, PATH, 0)
    return tensors


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_only_named_errors_in_bounded_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        CHANGES,
        st.booleans(),
        st.sets(st.integers(0, 200), max_size=3),
        st.dictionaries(st.integers(0, 200), SHAPES, max_size=2),
    )
    def holds(
        changes: dict[str, Any], mixed: bool, dropped: set[int], shapes: dict[int, tuple[int, ...]]
    ) -> None:
        plain = {**PLAUSIBLE, **(MIXED if mixed else {})}
        tensors = tensors_of(name, {f"{name}.{key}": value for key, value in plain.items()})
        names = sorted(tensors)
        for at, shape in shapes.items():
            tensor = names[at % len(names)]
            tensors[tensor] = StoredTensor(tensor, shape, Kind.F32, PATH, 0)
        for at in dropped:
            tensors.pop(names[at % len(names)], None)
        metadata = {
            "general.architecture": name,
            **{f"{name}.{key}": value for key, value in {**plain, **changes}.items()},
        }
        monkeypatch.setattr(checkpoint, "read_parts", lambda _: GGUFModel(metadata, tensors, (PATH,)))
        tracemalloc.start()
        try:
            checkpoint.open_gguf(PATH)
        except EdgeLMError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 8 << 20

    holds()
