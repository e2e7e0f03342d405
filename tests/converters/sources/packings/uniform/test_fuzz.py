"""Packed checkpoints that lie: shapes, types, settings and descriptions that do not fit are refused, or read as they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integer_packings import (
    awq,
    awq_fast,
    awq_gemv,
    bitnet,
    bitsandbytes_4bit,
    gptq,
    hqq,
    llm_int8,
    quark,
    torchao_int4,
    torchao_int8,
    torchao_tiles,
)
from packed_sources import KINDS, source_of

from edgelm.errors import EdgeLMError
from edgelm_converters.sources.packings.packed_format import Presented
from edgelm_converters.sources.packings.registry import FORMATS

WEIGHT = torch.randn(32, 64, generator=torch.Generator().manual_seed(1)) * 0.1
QUARK = {
    "quant_method": "quark",
    "global_quant_config": {"weight": {"dtype": "int4", "qscheme": "per_group"}},
}
CASES = [
    (gptq(), {"quant_method": "gptq", "bits": 4, "group_size": 32}),
    (
        gptq(3, order=torch.arange(64) % 2),
        {"quant_method": "gptq", "bits": 3, "group_size": 32, "desc_act": True},
    ),
    (awq(), {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"}),
    (awq_gemv(), {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemv"}),
    (awq_fast(), {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemv_fast"}),
    (
        gptq(7),
        {"quant_method": "auto-round", "bits": 7, "group_size": 32, "packing_format": "auto_round:auto_gptq"},
    ),
    (hqq(), {"quant_method": "hqq"}),
    (hqq(3, axis=0), {"quant_method": "hqq"}),
    (torchao_int8(), {"quant_method": "torchao"}),
    (torchao_int4(), {"quant_method": "torchao"}),
    (torchao_tiles(), {"quant_method": "torchao"}),
    (llm_int8(), {"quant_method": "bitsandbytes", "load_in_8bit": True}),
    (bitnet(), {"quant_method": "bitnet"}),
    (quark(), QUARK),
    (quark("uint8", None), QUARK),
    (bitsandbytes_4bit(), {"quant_method": "bitsandbytes", "load_in_4bit": True}),
    (bitsandbytes_4bit("fp4", nested=True), {"quant_method": "bitsandbytes", "load_in_4bit": True}),
]
"""(packing, settings), each whole and right."""
PACKED = [(packing(WEIGHT)[0], said) for packing, said in CASES]

QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

sizes = st.integers(0, 70)
shapes = st.lists(sizes, max_size=3).map(tuple)
words = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 300), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["gemv", "gemv_fast", "marlin", "gptq_v2", "auto_round", "uint4", "int8", "per_channel", "per_tensor"]),
    st.lists(st.integers(-1, 100), max_size=3), st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)  # fmt: skip
keys = st.sampled_from([
    "bits", "w_bit", "group_size", "q_group_size", "version", "checkpoint_format", "packing_format", "sym", "desc_act",
    "linear_class", "use_rms_norm", "global_quant_config", "layer_quant_config", "export", "rotation_config",
])  # fmt: skip


def filled(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-300, 300, shape, generator=generator).to(dtype)


def check(parts: dict[str, torch.Tensor], said: dict[str, Any]) -> None:
    """Read all that is presented, or be refused in words; never more than the stored bytes can mean."""
    source = source_of(parts, said)
    packing = next((each for each in FORMATS if each.recognise(source)), None)
    if packing is None:
        return
    result = Presented()
    stored = sum(part.numel() * part.element_size() for part in parts.values())
    try:
        packing.present(source, result)
        for tensor in result.tensors.values():
            assert tensor.nbytes <= 40 * stored
            array = tensor.read()
            assert (tuple(array.shape), array.dtype) == (tensor.shape, tensor.dtype)
    except EdgeLMError as error:
        refusal = error.message
    else:
        return
    assert "\n" not in refusal
    assert len(refusal) < 400


@pytest.mark.slow
@settings(QUICK, max_examples=300)
@given(st.sampled_from(PACKED), st.data())
def test_a_part_of_another_shape_or_type(
    packed: tuple[dict[str, torch.Tensor], dict[str, Any]], data: st.DataObject
) -> None:
    parts, said = dict(packed[0]), packed[1]
    for name in data.draw(st.lists(st.sampled_from(sorted(parts)), min_size=1, max_size=2)):
        dtype = data.draw(
            st.one_of(
                st.just(parts[name].dtype),
                st.sampled_from([kind for kind in KINDS if kind != torch.float8_e4m3fn]),
            )
        )
        shape = data.draw(st.one_of(st.just(tuple(parts[name].shape)), shapes))
        parts[name] = filled(shape, dtype, data.draw(st.integers(0, 99)))
    check(parts, said)


@settings(QUICK, max_examples=150)
@given(st.sampled_from(PACKED), st.data())
def test_a_part_that_is_missing(
    packed: tuple[dict[str, torch.Tensor], dict[str, Any]], data: st.DataObject
) -> None:
    parts = dict(packed[0])
    parts.pop(data.draw(st.sampled_from(sorted(parts))))
    check(parts, packed[1])


@pytest.mark.slow
@settings(QUICK, max_examples=300)
@given(st.sampled_from(PACKED), st.dictionaries(keys, words, max_size=3))
def test_settings_that_lie(
    packed: tuple[dict[str, torch.Tensor], dict[str, Any]], changes: dict[str, Any]
) -> None:
    check(packed[0], {**packed[1], **changes})


@pytest.mark.slow
@settings(QUICK, max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(["shape", "blocksize", "nested_blocksize", "nested_offset", "quant_type"]), words
    )
)
def test_a_quant_state_that_lies(changes: dict[str, Any]) -> None:
    for at in (-2, -1):
        parts = dict(PACKED[at][0])
        name = next(name for name in parts if "quant_state" in name)
        said = {**json.loads(bytes(parts[name].tolist())), **changes}
        parts[name] = torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)
        check(parts, PACKED[at][1])


@settings(QUICK, max_examples=100)
@given(st.binary(max_size=200))
def test_a_quant_state_that_is_no_json(raw: bytes) -> None:
    parts = dict(PACKED[-2][0])
    name = next(name for name in parts if "quant_state" in name)
    parts[name] = torch.tensor(list(raw), dtype=torch.uint8)
    check(parts, PACKED[-2][1])
