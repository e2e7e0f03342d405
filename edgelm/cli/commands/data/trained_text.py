"""Rows of training data as people read them: the text, with what is trained of it marked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgelm.cli.show.output import paint
from edgelm.units import count

if TYPE_CHECKING:
    from edgelm.tune.data.rows import Example, Row

_GREEN, _DIM = "32", "2"
_OPEN, _CLOSE = "⟦", "⟧"


def row_lines(row: Row, tokenizer: Any) -> Iterator[str]:
    """Show a row as the model reads it: a head line and the text of each of its sequences."""
    from edgelm.tune.data.rows import Judged, Pair

    names = ("chosen", "rejected") if isinstance(row, Pair) else ("",)
    for name, example in zip(names, row.sequences, strict=True):
        verdict = f", {'good' if row.is_desirable else 'bad'}" if isinstance(row, Judged) else ""
        head = f"{row.origin}{', ' * bool(name)}{name}{verdict}"
        yield paint(
            f"── {head}: {count(len(example.tokens), 'token')}, {example.target_count:,} trained",
            _DIM,
            sys.stdout,
        )
        yield "".join(_painted(text, is_trained) for text, is_trained in _stretches(example, tokenizer))


def _painted(text: str, is_trained: bool) -> str:
    """Trained text is green; without colour it stands in brackets."""
    if not is_trained:
        return text
    painted = "\n".join(paint(line, _GREEN, sys.stdout) for line in text.split("\n"))
    return painted if painted != text else f"{_OPEN}{text}{_CLOSE}"


def _stretches(example: Example, tokenizer: Any) -> list[tuple[str, bool]]:
    """Runs of trained and untrained text."""
    from itertools import groupby

    runs = groupby(zip(example.trained, example.tokens, strict=True), key=lambda pair: pair[0])
    return [(tokenizer.decode([token for _, token in run]), is_trained) for is_trained, run in runs]


def row_json(row: Row, tokenizer: Any) -> dict[str, Any]:
    """Give a row for `--json`: its origin, and tokens, marks and text of each sequence."""
    return {
        "file": row.origin.file,
        "line": row.origin.line,
        "sequences": [
            {
                "tokens": list(example.tokens),
                "trained": list(example.trained),
                "text": [
                    {"text": text, "trained": is_trained}
                    for text, is_trained in _stretches(example, tokenizer)
                ],
            }
            for example in row.sequences
        ],
    }
