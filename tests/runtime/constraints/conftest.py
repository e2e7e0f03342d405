"""Grammars over the tokenizer of `tests/runtime/conftest.py`: bytes as tokens, and a few more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgelm.runtime.constraints.grammar import Grammar
from edgelm.runtime.constraints.matcher import Matching
from edgelm.runtime.constraints.vocabulary import Vocabulary, vocabulary_of

SCHEMAS: dict[str, Any] = json.loads(Path(__file__).with_name("schemas.json").read_text(encoding="utf-8"))
COLUMNS = 300
"""Of the networks' logits; the tokenizer has 259 tokens."""


@pytest.fixture
def vocabulary(tokenizer: Any) -> Vocabulary:
    return vocabulary_of(tokenizer, tokenizer.eos_token_ids)


@pytest.fixture
def match(vocabulary: Vocabulary) -> Callable[..., Matching]:
    """`match(Grammar)` → its constraint."""

    def make(grammar: Grammar, columns: int = COLUMNS) -> Matching:
        return Matching(grammar, vocabulary, columns)

    return make


@pytest.fixture
def spell(tokenizer: Any) -> Callable[[str], list[int]]:
    """Text as tokens; `<end>` and the thinking markers are single ones."""

    def ids(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    return ids


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that ask for `named_schema` run once for each of the schemas."""
    if "named_schema" in metafunc.fixturenames:
        metafunc.parametrize("named_schema", SCHEMAS.items(), ids=SCHEMAS.keys())
