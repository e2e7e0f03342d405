"""The buffers that MLX keeps during a conversion: by the device, and as before once it is over."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest

from edgelm import device
from edgelm.errors import EdgeLMError
from edgelm_converters.convert import convert


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every limit of the buffer cache that is set."""
    said: list[int] = []
    real = mx.set_cache_limit

    def limit(size_bytes: int) -> int:
        said.append(size_bytes)
        return real(size_bytes)

    monkeypatch.setattr(mx, "set_cache_limit", limit)
    return said


@pytest.mark.parametrize(("backend", "kept"), [("cpu", 0), ("metal", 512 << 20)])
def test_rounding_keeps_buffers_only_off_the_cpu(
    backend: device.Backend, kept: int, published: Path, tmp_path: Path, limits: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(device, "current_pace", lambda: device.conversion_pace(backend))
    before = mx.set_cache_limit(123 << 20)
    limits.clear()
    try:
        convert(published, tmp_path / "out", quality="rtn", bits=4, group_size=32, verify=False)
        inside = limits[:-1]
        assert inside
        assert set(inside) == {kept}
        assert limits[-1] == 123 << 20
    finally:
        mx.set_cache_limit(before)


def test_the_limit_comes_back_after_a_failure(source: Path, tmp_path: Path, limits: list[int]) -> None:
    before = mx.set_cache_limit(77 << 20)
    limits.clear()
    (source / "tokenizer.json").write_text("{")
    try:
        with pytest.raises(EdgeLMError):
            convert(source, tmp_path / "out", quality="rtn", bits=4, group_size=32)
        assert limits[-1] == 77 << 20
    finally:
        mx.set_cache_limit(before)
