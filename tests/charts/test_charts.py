"""Charts: whole files, the same bytes for the same data, and no display."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelm.charts import chart
from edgelm.errors import OptionError, OutputError


def draw(path: Path, *, label: str = "train") -> bytes:
    with chart(path, title="Loss", x="step", y="nats") as axes:
        axes.plot([1, 2, 3], [3.0, 2.0, 1.5], label=label)
    return path.read_bytes()


@pytest.mark.slow
def test_the_same_data_gives_the_same_svg(tmp_path: Path) -> None:
    first = draw(tmp_path / "a.svg")
    assert first == draw(tmp_path / "b.svg")
    for text in (b"Loss", b"step", b"nats", b"train"):
        assert text in first
    assert first != draw(tmp_path / "c.svg", label="validation")


@pytest.mark.slow
def test_a_png(tmp_path: Path) -> None:
    assert draw(tmp_path / "a.png").startswith(b"\x89PNG")


def test_another_format_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"expected a name that ends in \.svg or \.png"):
        draw(tmp_path / "a.pdf")


@pytest.mark.slow
def test_a_failure_leaves_the_old_chart(tmp_path: Path) -> None:
    before = draw(tmp_path / "a.svg")
    with pytest.raises(ValueError, match="no"), chart(tmp_path / "a.svg", title="", x="", y=""):
        raise ValueError("no")
    assert (tmp_path / "a.svg").read_bytes() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        draw(tmp_path / "file" / "a.svg")
