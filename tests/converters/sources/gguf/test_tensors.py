"""Stored tensors as lazy arrays: decoded once, a slice at a time, and requantized where they must be."""

from __future__ import annotations

import gguf
import mlx.core as mx
import numpy as np
import pytest

from edgelm.errors import FormatError, UnsupportedError
from edgelm_converters.sources.gguf import gathered, tensors
from edgelm_converters.sources.gguf.families.rows import permuted
from edgelm_converters.sources.gguf.families.rule import same
from edgelm_converters.sources.gguf.families.values import Shifted
from edgelm_converters.sources.gguf.names import targets_of
from edgelm_converters.sources.gguf.reader import read_gguf
from edgelm_converters.sources.gguf.tensors import TensorSource
from edgelm_converters.sources.gguf.types.kinds import Kind
from edgelm_converters.sources.gguf.types.widths import STEPS, settings_of


@pytest.fixture
def source_of(tmp_path, write_gguf):
    """One stored tensor, presented as model.x.weight."""

    def make(data, kind=None, heads=0, offset=0.0, name="model.x.weight"):
        path = write_gguf(tmp_path / "one.gguf", "llama", {}, {"x": data if kind is None else (data, kind)})
        stored = read_gguf(path).tensors["x"]
        source = TensorSource()
        add(source, stored, name, heads, offset)
        return source

    return make


def add(source, stored, name, heads=0, offset=0.0):
    """One tensor that is one tensor, its rows permuted in heads, or its values shifted."""
    sizes = {"heads": heads, "head": stored.shape[0] // heads if heads else 0}
    rows, values = permuted("heads") if heads else None, Shifted(offset) if offset else None
    for target in targets_of(
        same(stored.name, name, *stored.shape, rows=rows, values=values), [stored], sizes
    ):
        source.add(target)


def triple(source):
    return [source.tensors[f"model.x.{part}"].read() for part in ("weight", "scales", "biases")]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_float_types_are_kept(dtype, source_of):
    values = np.random.default_rng(0).standard_normal((6, 10)).astype(dtype)
    tensor = source_of(values).tensors["model.x.weight"]
    read = tensor.read()
    assert read.dtype == tensor.dtype == mx.array(values).dtype
    np.testing.assert_array_equal(np.array(read), values)


def test_bfloat16_is_kept(source_of):
    values = mx.random.normal((6, 10)).astype(mx.bfloat16)
    raw = np.array(values.view(mx.uint16)).view(np.uint8)
    read = source_of(raw, Kind.BF16).tensors["model.x.weight"].read()
    assert read.dtype == mx.bfloat16
    assert mx.array_equal(read, values)


def test_a_triple_is_decoded_once_and_let_go(source_of, blocks, monkeypatch):
    source = source_of(blocks(Kind.Q4_1, 8, 64), Kind.Q4_1)
    calls = []
    monkeypatch.setattr(
        tensors, "read_rows", lambda *args: calls.append(args) or tuple(mx.zeros((8, 1)) for _ in "wsb")
    )
    triple(source)
    assert len(calls) == 1
    assert not source._kept
    triple(source)
    assert len(calls) == 2


def test_reading_another_tensor_lets_go_of_the_last(tmp_path, write_gguf, blocks):
    path = write_gguf(
        tmp_path / "two.gguf",
        "llama",
        {},
        {"x": (blocks(Kind.Q8_0, 4, 32), Kind.Q8_0), "y": np.ones(3, np.float32)},
    )
    source = TensorSource()
    for name, stored in read_gguf(path).tensors.items():
        add(source, stored, f"model.{name}.weight")
    source.tensors["model.x.scales"].read()
    assert source._kept
    source.tensors["model.y.weight"].read()
    assert not source._kept


@pytest.mark.parametrize("kind", [Kind.Q5_K, Kind.Q6_K, Kind.F16], ids=lambda kind: kind.name)
@pytest.mark.parametrize("heads", [0, 4])
def test_slices_of_rows_join_to_the_whole(kind, heads, source_of, blocks, monkeypatch):
    data = (
        (np.arange(64 * 512).reshape(64, 512).astype(np.float16))
        if kind is Kind.F16
        else blocks(kind, 64, 512)
    )
    source = source_of(data, None if kind is Kind.F16 else kind, heads)
    whole = {name: np.array(tensor.read()) for name, tensor in source.tensors.items()}
    monkeypatch.setattr(gathered, "SLICE_VALUES", 512 * 20)
    for name, tensor in source.tensors.items():
        read = tensor.read()
        assert (read.shape, read.dtype) == (tensor.shape, tensor.dtype)
        np.testing.assert_array_equal(np.array(read), whole[name])


def test_a_read_takes_little_more_than_its_result(source_of, blocks, monkeypatch):
    tensor = source_of(blocks(Kind.Q8_0, 2048, 512), Kind.Q8_0).tensors["model.x.weight"]
    monkeypatch.setattr(gathered, "SLICE_VALUES", 512 * 64)
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    read = tensor.read()
    mx.eval(read)
    whole = tensor.nbytes * 34 / 32
    assert mx.get_peak_memory() - before < 1.2 * whole


def test_rows_are_unpermuted_within_each_head(source_of):
    heads, head_rows, width = 3, 8, 32
    original = np.arange(heads * head_rows * width, dtype=np.float32).reshape(-1, width)
    # LlamaModel.permute in convert_hf_to_gguf.py.
    stored = original.reshape(heads, 2, head_rows // 2, width).swapaxes(1, 2).reshape(original.shape)
    for data, kind in ((stored, None), (gguf.quants.quantize(stored, Kind.Q8_0), Kind.Q8_0)):
        source = source_of(data, kind, heads)
        if kind is None:
            found = np.array(source.tensors["model.x.weight"].read())
        else:
            weight, *factors = triple(source)
            found = np.array(
                mx.dequantize(weight, *[f.astype(mx.float32) for f in factors], group_size=32, bits=8)
            )
        np.testing.assert_allclose(found, original, atol=0 if kind is None else 4)


def test_the_offset_is_taken_off_norms(source_of):
    tensor = source_of(np.array([1.5, 0.25], np.float32), offset=1.0).tensors["model.x.weight"]
    assert tensor.read().tolist() == [0.5, -0.75]


def test_biases_are_unpermuted_like_rows(source_of):
    tensor = source_of(np.arange(8, dtype=np.float32), heads=2).tensors["model.x.weight"]
    assert tensor.read().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_one_dimensional_tensors_are_never_quantized(source_of, blocks):
    source = source_of(blocks(Kind.Q8_0, 1, 64)[0], Kind.Q8_0)
    assert not source.quantization
    assert source.tensors["model.x.weight"].read().shape == (64,)


@pytest.mark.parametrize("kind", STEPS, ids=lambda kind: kind.name)
def test_other_types_are_dequantized_as_gguf_does(kind, source_of, blocks):
    raw = blocks(kind, 4, 512)
    expected = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(kind))
    if not np.isfinite(expected).all():
        pytest.skip("random bytes make infinite scales of this type")
    source = source_of(raw, kind)
    np.testing.assert_array_equal(np.array(source.tensors["model.x.weight"].read()), expected)
    assert source.requantized["model.x"] in [settings_of(bits, group) for bits, group, _ in STEPS[kind]]


def test_scales_that_float16_cannot_hold_are_refused(source_of, blocks):
    raw = blocks(Kind.Q8_0, 2, 32)
    raw[1, :2] = np.array([600], np.float16).view(np.uint8)
    with pytest.raises(FormatError, match=r"'x' \(Q8_0\) has scales that are not finite in float16"):
        triple(source_of(raw, Kind.Q8_0))


def test_values_that_are_not_numbers_are_refused(source_of, blocks):
    raw = blocks(Kind.Q6_K, 2, 256)
    raw[0, -2:] = np.array([np.nan], np.float16).view(np.uint8)
    with pytest.raises(FormatError, match=r"'x' \(Q6_K\) has values that are not finite"):
        source_of(raw, Kind.Q6_K).tensors["model.x.weight"].read()


def test_a_type_nobody_can_decode_is_named(source_of):
    with pytest.raises(UnsupportedError, match="'x' is stored as I32"):
        source_of(np.ones((2, 2), np.int32))


def test_factors_that_are_not_floats_are_refused(tmp_path, write_gguf):
    path = write_gguf(tmp_path / "one.gguf", "llama", {}, {"rope_freqs.weight": np.ones(8, np.int32)})
    with pytest.raises(FormatError, match=r"'rope_freqs\.weight' is stored as I32, expected floats"):
        tensors.read_vector(read_gguf(path).tensors["rope_freqs.weight"])


def test_a_file_that_is_gone_after_opening(source_of, tmp_path):
    source = source_of(np.ones((2, 2), np.float32))
    (tmp_path / "one.gguf").unlink()
    with pytest.raises(FormatError, match="can no longer be read"):
        source.tensors["model.x.weight"].read()


def test_a_file_that_shrinks_after_opening(tmp_path, write_gguf):
    path = write_gguf(tmp_path / "one.gguf", "llama", {}, {"x": np.ones((8, 8), np.float32)})
    stored = read_gguf(path).tensors["x"]
    source = TensorSource()
    add(source, stored, "x.weight")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FormatError, match="40 bytes short: tensor 'x'"):
        source.tensors["x.weight"].read()


@pytest.mark.parametrize(("kind", "code"), [(Kind.MXFP4, 253), (Kind.NVFP4, 0xFF)])
def test_scales_that_stand_for_no_number_are_refused(kind, code, source_of, blocks):
    raw = blocks(kind, 2, 64)
    raw[1, 0] = code
    with pytest.raises(FormatError, match=rf"'x' \({kind.name}\) has a scale of code"):
        source_of(raw, kind).tensors["model.x.scales"].read()


def test_stacked_experts_stay_packed(tmp_path, raw_gguf, blocks):
    raw = blocks(Kind.TQ2_0, 6, 256)
    file = raw_gguf(data=raw.tobytes()).tensor("x", (256, 3, 2), Kind.TQ2_0)
    stored = read_gguf(file.write(tmp_path / "experts.gguf")).tensors["x"]
    source = TensorSource()
    add(source, stored, "model.x.weight")
    assert [tensor.shape for tensor in source.tensors.values()] == [(2, 3, 16), (2, 3, 2), (2, 3, 2)]
    weight, *factors = triple(source)
    found = mx.dequantize(weight, *[f.astype(mx.float32) for f in factors], group_size=128, bits=2)
    expected = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType.TQ2_0).reshape(2, 3, 256)
    np.testing.assert_array_equal(np.array(found), expected)


def test_float64_is_read_as_float32(source_of):
    values = np.random.default_rng(0).standard_normal((3, 4))
    tensor = source_of(values).tensors["model.x.weight"]
    assert (tensor.dtype, tensor.stored_as) == (mx.float32, "F64")
    np.testing.assert_array_equal(np.array(tensor.read()), values.astype(np.float32))


def test_a_type_that_gguf_cannot_unpack_is_read_where_it_is_no_matrix(tmp_path, raw_gguf):
    half = np.array([0.5], np.float16).tobytes()
    file = raw_gguf(data=half + bytes([0b11100100] * 16)).tensor("x", (64,), Kind.Q2_0)
    stored = read_gguf(file.write(tmp_path / "vector.gguf")).tensors["x"]
    source = TensorSource()
    add(source, stored, "model.x.weight")
    assert source.tensors["model.x.weight"].read()[:4].tolist() == [-0.5, 0.0, 0.5, 1.0]
