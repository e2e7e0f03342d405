"""No test of the app touches the user's own home; one that drives the app is slow."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.css.stylesheet import Stylesheet


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        drives_it = isinstance(item, pytest.Function) and (
            inspect.iscoroutinefunction(item.function) or "snap_compare" in item.fixturenames
        )
        if drives_it and item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def _style_sheets_are_parsed_once() -> Iterator[None]:
    """Textual parses those of all its widgets for every app and every theme: here once for each set of colours."""
    parse, known = Stylesheet._parse_rules, {}

    def remembered(self: Any, *sheet: Any, **options: Any) -> Any:
        key = (frozenset(self._variables.items()), sheet, frozenset(options.items()))
        if key not in known:
            known[key] = parse(self, *sheet, **options)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stylesheet, "_parse_rules", remembered)
        yield


@pytest.fixture(autouse=True)
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGELM_HOME", str(home))
    monkeypatch.delenv("NO_COLOR", raising=False)
    # Clipboards of this machine are left alone.
    monkeypatch.setattr("edgelm_tui.app.copy_text", lambda _: False)
