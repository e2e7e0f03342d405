"""Headers: what is in a sound one, and what a hostile one gets."""

from __future__ import annotations

import struct
import tracemalloc

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgelm.errors import EdgeLMError, FormatError, NotFoundError, UnsupportedError
from edgelm_converters.sources.gguf.checkpoint import open_gguf
from edgelm_converters.sources.gguf.reader import read_gguf

U32, STRING, ARRAY = 4, 8, 9
HUGE = [2**31, 2**40, 2**63, 2**64 - 1]


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def test_agrees_with_ggufs_own_reader(tiny_gguf):
    ours, theirs = read_gguf(tiny_gguf), gguf.GGUFReader(tiny_gguf)
    assert ours.metadata == {
        key: item.contents() for key, item in theirs.fields.items() if not key.startswith("GGUF.")
    }
    assert {name: (t.shape, t.kind, t.begin, t.size_bytes) for name, t in ours.tensors.items()} == {
        t.name: (tuple(int(n) for n in reversed(t.shape)), t.tensor_type, t.data_offset, t.n_bytes)
        for t in theirs.tensors
    }


def test_every_value_type_becomes_a_plain_python_value(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    values = {
        "uint8": 200,
        "uint16": 60000,
        "uint32": 2**32 - 1,
        "uint64": 2**64 - 1,
        "int8": -3,
        "int16": -300,
        "int32": -5,
        "int64": -(2**60),
        "float32": 0.5,
        "float64": 0.1,
        "bool": True,
        "string": "né",
    }
    for kind, value in values.items():
        getattr(writer, f"add_{kind}")(kind, value)
    arrays = {"ints": [1, 2], "floats": [0.5, -1.5], "bools": [True, False], "texts": ["a", "", "ö"]}
    for name, value in arrays.items():
        writer.add_array(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    found = read_gguf(tmp_path / "m.gguf").metadata
    assert {**values, **arrays}.items() <= found.items()
    assert {name: type(found[name]) for name in values} == {
        name: type(value) for name, value in values.items()
    }


@pytest.mark.slow
def test_a_vocabulary_of_256k_is_read_whole(tmp_path, raw_gguf):
    count = 262_144
    items = b"".join(text(f"token{i}") for i in range(count))
    merges = b"".join(text(f"to ken{i}") for i in range(count))
    raw = raw_gguf()
    for name, value in (("tokens", items), ("merges", merges)):
        raw.key(name, ARRAY, struct.pack("<IQ", STRING, count) + value)
    raw.key("scores", ARRAY, struct.pack("<IQ", 6, count) + b"\0" * 4 * count)
    path = raw.write(tmp_path / "vocabulary.gguf")
    found = read_gguf(path).metadata
    assert found["merges"][-1] == f"to ken{count - 1}"


def test_no_such_file(tmp_path):
    with pytest.raises(NotFoundError, match="does not exist"):
        read_gguf(tmp_path / "none.gguf")


def test_a_directory_is_not_a_file(tmp_path):
    with pytest.raises(EdgeLMError):
        read_gguf(tmp_path)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"magic": b"GGML"}, FormatError, "begins with b'GGML', expected b'GGUF'"),
        ({"version": 1}, UnsupportedError, "GGUF version 1, expected 2 or 3"),
        ({"version": 4}, UnsupportedError, "GGUF version 4, expected 2 or 3"),
        ({"version": 3 << 24}, UnsupportedError, "big-endian"),
        *(({"key_count": count}, FormatError, f"metadata count of {count}") for count in HUGE),
        *(({"tensor_count": count}, FormatError, f"tensor count of {count}") for count in HUGE),
        ({"key_count": 5000}, FormatError, "bytes short: the type of ''"),
        ({"tensor_count": 5000}, FormatError, "bytes short: the dimensions of tensor ''"),
    ],
)
def test_the_first_24_bytes(change, error, message, tmp_path, raw_gguf):
    with pytest.raises(error, match=message):
        read_gguf(raw_gguf(**change).write(tmp_path / "bad.gguf"))


@pytest.mark.parametrize("length", HUGE)
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (STRING, lambda n: struct.pack("<Q", n)),
        (ARRAY, lambda n: struct.pack("<IQ", STRING, n)),
        (ARRAY, lambda n: struct.pack("<IQ", 12, n)),
        (ARRAY, lambda n: struct.pack("<IQQ", STRING, 1, n)),
    ],
    ids=["string", "strings", "doubles", "string in strings"],
)
def test_absurd_lengths_cost_nothing(length, kind, value, tmp_path, raw_gguf):
    path = raw_gguf(data=b"\0" * 4096).key("k", kind, value(length)).write(tmp_path / "bad.gguf")
    tracemalloc.start()
    with pytest.raises(FormatError, match="'k'"):
        read_gguf(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (13, b"", "value type 13, expected 0 to 12"),
        (ARRAY, struct.pack("<IQ", ARRAY, 1), "array of arrays"),
        (ARRAY, struct.pack("<IQ", 99, 1), "value type 99"),
        (STRING, struct.pack("<Q", 2) + b"\xff\xfe", "expected UTF-8"),
        (ARRAY, struct.pack("<IQQ", STRING, 1, 1) + b"\xff", "expected UTF-8"),
    ],
)
def test_values_that_cannot_be(kind, value, message, tmp_path, raw_gguf):
    with pytest.raises(FormatError, match=message):
        read_gguf(raw_gguf().key("k", kind, value).write(tmp_path / "bad.gguf"))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([("x", (2, 2), 0, 0), ("x", (2, 2), 0, 32)], "tensor 'x' twice"),
        ([("x", (), 0, 0)], "has 0 dimensions"),
        ([("x", (1, 1, 1, 1, 1), 0, 0)], "has 5 dimensions"),
        ([("x", (0,), 0, 0)], r"shape \(0,\)"),
        ([("x", (2**32, 2**32), 0, 0)], "expected lengths from 1"),
        ([("x", (2**31 - 1,) * 4, 0, 0)], "bytes short: tensor 'x'"),
        ([("x", (4,), 99, 0)], "tensor type 99"),
        ([("x", (33,), 2, 0)], "33 wide, expected a multiple of 32 for Q4_0"),
        ([("x", (4,), 0, 7)], "begins at 7, expected a multiple of 32"),
        ([("x", (4,), 0, 2**64 - 32)], "bytes short: tensor 'x'"),
        ([("x", (16,), 0, 0), ("y", (4,), 0, 32)], "'x' and 'y' overlap"),
    ],
)
def test_tensors_that_cannot_be(tensors, message, tmp_path, raw_gguf):
    raw = raw_gguf(data=b"\0" * 256)
    for tensor in tensors:
        raw.tensor(*tensor)
    with pytest.raises(FormatError, match=message):
        read_gguf(raw.write(tmp_path / "bad.gguf"))


@pytest.mark.parametrize("alignment", [0, 3, 1 << 31])
def test_alignment_that_cannot_be(alignment, tmp_path, raw_gguf):
    raw = raw_gguf().key("general.alignment", U32, struct.pack("<I", alignment))
    with pytest.raises(FormatError, match=f"general.alignment {alignment}"):
        read_gguf(raw.write(tmp_path / "bad.gguf"))


def test_a_truncated_file_says_how_much_is_missing(tiny_gguf):
    data = tiny_gguf.read_bytes()
    missing = gguf.GGUFReader(tiny_gguf).tensors[-1]
    end = missing.data_offset + missing.n_bytes
    tiny_gguf.write_bytes(data[: end - 100])
    with pytest.raises(FormatError, match=rf"100 bytes short: tensor '{missing.name}'") as caught:
        read_gguf(tiny_gguf)
    assert "fetch the file again" in str(caught.value.hint)


def opened_within_bounds(data: bytes, path) -> None:
    """Open and read all of it: an EdgeLMError or nothing, in little memory."""
    path.write_bytes(data)
    message = str(path.parent)
    tracemalloc.start()
    try:
        for tensor in open_gguf(path).tensors.values():
            assert tensor.read().shape == tensor.shape
    except EdgeLMError as error:
        message = error.message
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert str(path.parent) in message
    assert peak < 8 << 20


FUZZ = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.slow
@FUZZ
@given(cut=st.floats(0, 1, exclude_max=True))
def test_any_truncation(cut, tiny_gguf, tmp_path):
    data = tiny_gguf.read_bytes()
    opened_within_bounds(data[: int(len(data) * cut)], tmp_path / "cut.gguf")


@pytest.mark.slow
@FUZZ
@given(seed=st.integers(0, 2**32), count=st.integers(1, 8), reach=st.sampled_from([40, 600, 3000, 100_000]))
def test_any_bytes_changed(seed, count, reach, tiny_gguf, tmp_path):
    rng = np.random.default_rng(seed)
    data = bytearray(tiny_gguf.read_bytes())
    for at in rng.integers(4, min(reach, len(data)), count):
        data[at] = rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))])
    opened_within_bounds(bytes(data), tmp_path / "changed.gguf")


@pytest.mark.slow
@FUZZ
@given(at=st.integers(0, 400), value=st.sampled_from([0, 1, *HUGE, 2**32 - 1, 10_000, 100_000]))
def test_any_eight_bytes_replaced_by_a_count(at, value, tiny_gguf, tmp_path):
    data = bytearray(tiny_gguf.read_bytes())
    data[8 + at : 16 + at] = struct.pack("<Q", value)
    opened_within_bounds(bytes(data), tmp_path / "count.gguf")


@pytest.mark.slow
@FUZZ
@given(tail=st.binary(max_size=400), counts=st.tuples(st.integers(0, 20), st.integers(0, 20)))
def test_any_bytes_after_the_magic(tail, counts, tmp_path):
    opened_within_bounds(b"GGUF" + struct.pack("<IQQ", 3, *counts) + tail, tmp_path / "noise.gguf")
