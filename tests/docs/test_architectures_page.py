"""docs/architectures.md says what the shipped table says: one command makes both."""

from __future__ import annotations

import json
from pathlib import Path

from proving.table import PAGE, page_of, written

from edgelm.zoo.proofs.table import PATH, shipped_table

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_made_of_the_table() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page_of(shipped_table())


def test_the_table_is_written_as_the_command_writes_it() -> None:
    text = PATH.read_text(encoding="utf-8")
    assert text == written(json.loads(text))
    assert len(text) < 150_000
