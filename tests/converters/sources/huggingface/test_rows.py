"""Rows of a tensor read by themselves are those of the whole, in every type that a file may hold."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from edgelm.errors import FormatError
from edgelm.zoo.weights.safetensors_header import read_header
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.huggingface.checkpoint import DTYPES, _lazy, _Shard

SIZES = {"64": 8, "32": 4, "16": 2, "8": 1, "F16": 2, "OOL": 1, "M0": 1, "M3": 1, "M2": 1, "UZ": 1}


def lazy_tensor(directory: Path, dtype: str) -> LazyTensor:
    """The second of two tensors [5, 3, 2] of `dtype`, of random bits."""
    item = next(size for end, size in SIZES.items() if dtype.endswith(end))
    raw = np.random.default_rng(0).integers(0, 2 if dtype == "BOOL" else 60, 2 * 30 * item, dtype=np.uint8)
    header = {
        name: {"dtype": dtype, "shape": [5, 3, 2], "data_offsets": [at, at + 30 * item]}
        for name, at in (("first", 0), ("second", 30 * item))
    }
    text = json.dumps(header).encode()
    path = directory / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw.tobytes())
    return _lazy(_Shard(path), "second", read_header(path)["second"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_those_of_the_whole(dtype: str, tmp_path: Path) -> None:
    tensor = lazy_tensor(tmp_path, dtype)
    assert tensor.read_rows is not None
    first, rest = tensor.read_rows(0, 2), tensor.read_rows(2, 5)
    whole = tensor.read()
    assert whole.shape == (5, 3, 2)
    assert first.dtype == whole.dtype == tensor.dtype
    together = mx.concatenate([first, rest])
    assert mx.array_equal(together, whole, equal_nan=mx.issubdtype(whole.dtype, mx.floating))


def test_a_file_that_shrank_is_told(tmp_path: Path) -> None:
    tensor = lazy_tensor(tmp_path, "F32")
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    assert tensor.read_rows is not None
    with pytest.raises(FormatError, match="shorter"):
        tensor.read_rows(2, 5)
