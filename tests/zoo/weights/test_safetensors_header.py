"""Hostile safetensors headers end in FormatError, within bounded memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgelm.errors import FormatError
from edgelm.zoo.weights.safetensors_header import read_header

GOOD = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [], "data_offsets": [24, 26]},
}


def write(path: Path, header: Any, data: int = 26) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(data))
    return path


def test_offsets_are_those_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x", {**GOOD, "__metadata__": {"format": "pt"}})
    found = read_header(path)
    assert found["a"].shape == (2, 3)
    assert found["a"].end - found["a"].begin == 24
    assert found["b"].end == path.stat().st_size


BAD: dict[str, tuple[Any, str]] = {
    "not an object": ([1], "expected an object"),
    "not JSON": (b"{", "not valid JSON"),
    "twice": (b'{"a":1,"a":1}', "appears twice"),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, "lacks dtype, shape or data_offsets"),
    "dtype": ({"a": {"dtype": "F13", "shape": [1], "data_offsets": [0, 4]}}, "dtype 'F13'"),
    "size": (
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        "spans 4 bytes, but F32 of shape .* takes 8",
    ),
    "negative": ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, "expected counts"),
    "true": ({"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}}, "expected counts"),
    "overlap": ({**GOOD, "c": {"dtype": "U8", "shape": [1], "data_offsets": [3, 4]}}, "overlaps"),
    "truncated": ({"a": {"dtype": "U8", "shape": [99], "data_offsets": [0, 99]}}, "truncated: 73 of"),
    "no items in a row too long for MLX": (
        {"a": {"dtype": "U8", "shape": [1 << 40, 0], "data_offsets": [0, 0]}},
        "expected counts",
    ),
    "huge": ({"a": {"dtype": "U8", "shape": [1 << 60], "data_offsets": [0, 1 << 60]}}, "expected counts"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_headers_are_named(name: str, tmp_path: Path) -> None:
    header, message = BAD[name]
    with pytest.raises(FormatError, match=message):
        read_header(write(tmp_path / "x", header))


@pytest.mark.parametrize("content", [b"", b"1234567", (1 << 62).to_bytes(8, "little") + b"{}"])
def test_short_files_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(FormatError):
        read_header(tmp_path / "x")


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["F32", "U8"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["dtype", "shape", "data_offsets", "x", "__metadata__"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(header=ANYTHING | st.binary(max_size=40), cut=st.integers(0, 60))
def test_only_format_errors_come_out(header: Any, cut: int, tmp_path: Path) -> None:
    path = write(tmp_path / "fuzz", header)
    path.write_bytes(path.read_bytes()[: path.stat().st_size - cut])
    tracemalloc.start()
    try:
        read_header(path)
    except FormatError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2_000_000
