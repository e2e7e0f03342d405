"""Which models were used last."""

from __future__ import annotations

from pathlib import Path

from edgelm.library.recent import last_model, model_uses, remember_model


def test_the_last_used_is_remembered(home: Path) -> None:
    assert last_model() is None
    for name in ("a", "b", "a"):
        remember_model(name)
    assert last_model() == "a"
    assert set(model_uses()) == {"a", "b"}


def test_a_home_that_cannot_be_written_costs_only_the_memory(home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    home.write_text("a file")
    remember_model("a")
    assert last_model() is None
