"""The blocks of `docs/python.md`, run in order as they stand there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from checkpoints import write_checkpoint

import edgelm

PAGE = Path(__file__).resolve().parent.parent / "docs" / "python.md"


@pytest.mark.slow
def test_the_page_is_true(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path / "published", "llama", num_hidden_layers=2, max_position_embeddings=2048)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) > 6
    for block in blocks:
        line = text[: text.index(block)].count("\n")
        exec(compile("\n" * line + block, str(PAGE), "exec"), names)
    assert (tmp_path / "sky.json").is_file()


def test_every_name_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in edgelm.__all__ if not re.search(rf"\b{name}\b", text)] == ["__version__"]


@pytest.mark.parametrize("kind", [edgelm.Model, edgelm.Chat])
def test_every_method_is_on_the_page(kind: type) -> None:
    text = PAGE.read_text(encoding="utf-8")
    missing = [name for name in vars(kind) if not name.startswith("_") and not re.search(rf"`{name}\b", text)]
    assert not missing


def test_every_keyword_of_load_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    keywords = [name for name in inspect.signature(edgelm.load).parameters if name != "model"]
    assert [name for name in keywords if f"`{name}`" not in text] == []
