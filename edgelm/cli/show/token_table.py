"""Tokens of an answer with their probabilities, one a line. Knows no command."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgelm.cli.show.output import console

if TYPE_CHECKING:
    from edgelm.runtime.events import Token


def print_tokens(tokens: Sequence[Token]) -> None:
    """Print a table on stdout: each token as JSON writes text, its log-probability (nats), probability, and alternatives."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    names = ("token", "logprob", "probability", "alternatives")
    for name in names if any(token.alternatives for token in tokens) else names[:-1]:
        is_number = name in ("logprob", "probability")
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for token in tokens:
        cells = [_quoted(token.text), *_numbers(token.logprob), alternatives(token)]
        table.add_row(*map(Text, cells[: len(table.columns)]))
    console().print(table)


def alternatives(token: Token) -> str:
    """Say what else could have stood there, as `" Paris" 88.4%, " the" 5.1%`."""
    return ", ".join(f"{_quoted(one.text)} {math.exp(one.logprob):.1%}" for one in token.alternatives)


def _numbers(logprob: float | None) -> tuple[str, str]:
    return ("", "") if logprob is None else (f"{logprob:.4f}", f"{math.exp(logprob):.1%}")


def _quoted(text: str) -> str:
    """Put a token in quotes, control characters escaped: what a model writes must not steer the terminal."""
    shown = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else ascii(char)[1:-1] for char in shown) + '"'
