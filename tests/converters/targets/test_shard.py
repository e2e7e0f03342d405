"""Shards: written whole or by slices of rows, the same bytes, and nothing passed over."""

from __future__ import annotations

import hashlib
from pathlib import Path

import mlx.core as mx
import pytest

from edgelm.errors import OutputError
from edgelm_converters.targets.mlx import shard
from edgelm_converters.targets.mlx.shard import ShardWriter

TENSORS = {
    "a.weight": mx.arange(24, dtype=mx.uint32).reshape(6, 4),
    "a.scales": (mx.arange(12) / 7).reshape(6, 2).astype(mx.bfloat16),
    "b": mx.array(3.0),
    "c": mx.zeros((0, 2)),
    "d": mx.arange(30).reshape(2, 3, 5).astype(mx.float16),
}
LAYOUT = {name: (tuple(array.shape), array.dtype) for name, array in TENSORS.items()}


@pytest.mark.parametrize("rows", [1, 2, 4, 100])
def test_slices_of_rows_make_the_file_that_whole_tensors_make(
    rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "SYNC_BYTES", 16)
    with ShardWriter(tmp_path / "whole", LAYOUT) as whole:
        for name, array in TENSORS.items():
            whole.write(name, array)
    with ShardWriter(tmp_path / "sliced", LAYOUT) as sliced:
        for name, array in TENSORS.items():
            for start in range(0, array.shape[0] if array.ndim and array.size else 1, rows):
                sliced.write(name, array[start : start + rows] if array.ndim else array)
    data = (tmp_path / "sliced").read_bytes()
    assert data == (tmp_path / "whole").read_bytes()
    assert sliced.sha256 == whole.sha256 == hashlib.sha256(data).hexdigest()
    loaded = mx.load(str(tmp_path / "sliced"), format="safetensors")
    assert isinstance(loaded, dict)
    assert all(mx.array_equal(loaded[name], array) for name, array in TENSORS.items())


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("a.scales", TENSORS["a.scales"]),
        ("a.weight", TENSORS["a.weight"].astype(mx.int32)),
        ("a.weight", TENSORS["a.weight"][:, :2]),
        ("a.weight", mx.concatenate([TENSORS["a.weight"]] * 2)),
    ],
    ids=["order", "type", "width", "rows"],
)
def test_what_was_not_announced_is_not_written(name: str, array: mx.array, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="announced"), ShardWriter(tmp_path / "out", LAYOUT) as writer:
        writer.write(name, array)


def test_a_full_disk_is_told_where_it_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    with (
        pytest.raises(OutputError, match="full"),
        ShardWriter(tmp_path / "full", {"a": ((1 << 16,), mx.float32)}) as writer,
    ):
        writer.write("a", mx.zeros(1 << 16))
